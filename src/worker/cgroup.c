#include "worker/cgroup.h"

#include "base/time.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One mounted hierarchy and where we are in it. */
struct hierarchy {
    Str mount, own;
    bool found;
};

struct layout {
    struct hierarchy unified; /* version 2, with controllers or without */
    struct hierarchy memory, cpu, cpuacct, pids, systemd;
};

static Str slurp(struct arena *a, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return STR_NONE;
    size_t cap = (size_t)64 << 10, n = 0;
    char *p = arena_alloc(a, cap);
    for (ssize_t got; n < cap && (got = read(fd, p + n, cap - n)) > 0;)
        n += (size_t)got;
    close(fd);
    return (Str){p, n};
}

static int put(struct arena *a, Str dir, const char *file, const char *text)
{
    int fd = open(str_fmt(a, "%.*s/%s", STR_ARG(dir), file).p, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t n = strlen(text);
    ssize_t done = write(fd, text, n);
    int saved = errno;
    close(fd);
    errno = saved;
    return done == (ssize_t)n ? 0 : -1;
}

static bool has_word(Str list, char sep, Str word)
{
    for (Str part; str_cut(&list, sep, &part);)
        if (str_eq(part, word))
            return true;
    return false;
}

static struct hierarchy *by_controllers(struct layout *l, Str list, int i)
{
    struct {
        Str name;
        struct hierarchy *h;
    } all[] = {
        {STR("memory"), &l->memory}, {STR("cpu"), &l->cpu}, {STR("cpuacct"), &l->cpuacct},
        {STR("pids"), &l->pids},     {STR("name=systemd"), &l->systemd},
    };
    for (size_t k = 0, seen = 0; k < COUNT_OF(all); k++)
        if (has_word(list, ',', all[k].name) && (int)seen++ == i)
            return all[k].h;
    return NULL;
}

/* Mounts from /proc/self/mountinfo, own places from /proc/self/cgroup. */
static void layout_find(struct arena *a, struct layout *l)
{
    *l = (struct layout){0};
    Str mounts = slurp(a, "/proc/self/mountinfo");
    for (Str line; str_cut(&mounts, '\n', &line);) {
        Str field, point = STR_NONE, rest = line;
        for (int i = 0; i < 5 && str_cut(&rest, ' ', &field); i++)
            point = field;
        ptrdiff_t dash = str_find(line, STR(" - "));
        if (dash < 0)
            continue;
        rest = str_sub(line, (size_t)dash + 3, line.n);
        Str type, source, options = STR_NONE;
        if (!str_cut(&rest, ' ', &type) || !str_cut(&rest, ' ', &source))
            continue;
        options = rest;
        if (str_eqz(type, "cgroup2") && !l->unified.found)
            l->unified = (struct hierarchy){.mount = point, .found = true};
        for (int i = 0; str_eqz(type, "cgroup"); i++) {
            struct hierarchy *h = by_controllers(l, options, i);
            if (!h)
                break;
            if (!h->found)
                *h = (struct hierarchy){.mount = point, .found = true};
        }
    }
    Str own = slurp(a, "/proc/self/cgroup");
    for (Str line; str_cut(&own, '\n', &line);) {
        Str id, list, rest = line;
        if (!str_cut(&rest, ':', &id) || !str_cut(&rest, ':', &list))
            continue;
        if (!list.n)
            l->unified.own = rest;
        else
            for (int i = 0; by_controllers(l, list, i); i++)
                by_controllers(l, list, i)->own = rest;
    }
}

/* mount + own + "/millpond", or mount + "/millpond": the first that can be made. STR_NONE where neither. */
static Str base_dir(struct arena *a, const struct hierarchy *h, bool controllers)
{
    if (!h->found)
        return STR_NONE;
    for (int root = 0; root < 2; root++) {
        Str at = root || h->own.n < 2 ? h->mount : str_fmt(a, "%.*s%.*s", STR_ARG(h->mount), STR_ARG(h->own));
        if (controllers && (put(a, at, "cgroup.subtree_control", "+memory") < 0 ||
                            put(a, at, "cgroup.subtree_control", "+cpu") < 0 ||
                            put(a, at, "cgroup.subtree_control", "+pids") < 0))
            continue; /* none given to us, or processes beside us in it */
        Str dir = str_fmt(a, "%.*s/millpond", STR_ARG(at));
        if (mkdir(dir.p, 0755) < 0 && errno != EEXIST)
            continue;
        if (access(dir.p, W_OK) < 0)
            continue;
        if (controllers && put(a, dir, "cgroup.subtree_control", "+memory +cpu +pids") < 0)
            continue;
        return dir;
    }
    return STR_NONE;
}

static Str group_dir(struct arena *a, Str base, Str name)
{
    if (!base.p)
        return STR_NONE;
    Str dir = str_fmt(a, "%.*s/%.*s", STR_ARG(base), STR_ARG(name));
    if (mkdir(dir.p, 0755) < 0 && errno != EEXIST)
        return STR_NONE;
    return dir;
}

static void limit(struct arena *a, const struct cgroup *g, enum cgroup_part part, const char *what, const char *file,
                  const char *value, struct buf *notes)
{
    if (!g->dir[part].p)
        buf_fmt(notes, "no control group for %s can be made here\n", what);
    else if (put(a, g->dir[part], file, value) < 0)
        buf_fmt(notes, "the limit of %s could not be set in %.*s: %s\n", what, STR_ARG(g->dir[part]), strerror(errno));
}

void cgroup_limit(struct arena *a, const struct cgroup *g, const struct cgroup_limits *l, struct buf *notes)
{
    char text[64];
    if (l->memory_bytes) {
        snprintf(text, sizeof text, "%lld", (long long)l->memory_bytes);
        Str dir = g->dir[CGROUP_MEMORY];
        bool v1 = dir.p && !g->v2[CGROUP_MEMORY];
        /* Swap is no way around it; a kernel without it has no such file. In version 1 the second limit may not be below the
         * first at any moment, whichever way they go. */
        if (v1)
            (void)!put(a, dir, "memory.memsw.limit_in_bytes", text);
        limit(a, g, CGROUP_MEMORY, "memory", v1 ? "memory.limit_in_bytes" : "memory.max", text, notes);
        if (v1)
            (void)!put(a, dir, "memory.memsw.limit_in_bytes", text);
        else if (dir.p)
            (void)!put(a, dir, "memory.swap.max", "0");
    }
    if (l->pids) {
        snprintf(text, sizeof text, "%lld", (long long)l->pids);
        limit(a, g, CGROUP_PIDS, "processes", "pids.max", text, notes);
    }
    if (l->cpus > 0) {
        long long quota = (long long)(l->cpus * 100000);
        if (g->v2[CGROUP_CPU]) {
            snprintf(text, sizeof text, "%lld 100000", MAX(quota, 1000));
            limit(a, g, CGROUP_CPU, "CPU", "cpu.max", text, notes);
        } else {
            snprintf(text, sizeof text, "%lld", MAX(quota, 1000));
            limit(a, g, CGROUP_CPU, "CPU", "cpu.cfs_quota_us", text, notes);
        }
    }
}

void cgroup_create(struct arena *a, Str name, const struct cgroup_limits *limits, struct cgroup *ret, struct buf *notes)
{
    *ret = (struct cgroup){0};
    struct layout l;
    layout_find(a, &l);
    bool wanted = limits->memory_bytes || limits->pids || limits->cpus > 0;
    bool v1 = l.memory.found || l.pids.found || l.cpu.found;
    Str all = wanted && !v1 ? group_dir(a, base_dir(a, &l.unified, true), name) : STR_NONE;
    if (all.p) {
        for (int i = 0; i < CGROUP_PART_COUNT; i++) {
            ret->dir[i] = all;
            ret->v2[i] = true;
        }
    } else {
        Str kill = group_dir(a, base_dir(a, &l.unified, false), name);
        if (kill.p && access(str_fmt(a, "%.*s/cgroup.kill", STR_ARG(kill)).p, W_OK) == 0) {
            ret->dir[CGROUP_KILL] = kill;
            ret->v2[CGROUP_KILL] = true;
        } else if (kill.p) {
            rmdir(kill.p);
        }
        if (wanted) {
            ret->dir[CGROUP_MEMORY] = group_dir(a, base_dir(a, &l.memory, false), name);
            ret->dir[CGROUP_CPU] = group_dir(a, base_dir(a, &l.cpu, false), name);
            ret->dir[CGROUP_PIDS] = group_dir(a, base_dir(a, &l.pids, false), name);
            ret->dir[CGROUP_ACCOUNT] = group_dir(a, base_dir(a, &l.cpuacct, false), name);
        }
    }
    cgroup_limit(a, ret, limits, notes);
}

static bool same_as_before(const struct cgroup *g, int part)
{
    for (int i = 0; i < part; i++)
        if (g->dir[i].p && str_eq(g->dir[i], g->dir[part]))
            return true;
    return false;
}

int cgroup_enter(const struct cgroup *g, int pid, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    char text[24];
    snprintf(text, sizeof text, "%d", pid);
    for (int i = 0; i < CGROUP_PART_COUNT; i++)
        if (g->dir[i].p && !same_as_before(g, i) && put(a, g->dir[i], "cgroup.procs", text) < 0)
            return err_errno(err, "entering control group %.*s", STR_ARG(g->dir[i]));
    return 0;
}

bool cgroup_kill(const struct cgroup *g)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    return g->dir[CGROUP_KILL].p && put(a, g->dir[CGROUP_KILL], "cgroup.kill", "1") == 0;
}

static int64_t number_in(struct arena *a, Str dir, const char *file, const char *key)
{
    Str text = dir.p ? slurp(a, str_fmt(a, "%.*s/%s", STR_ARG(dir), file).p) : STR_NONE;
    int64_t n;
    if (!key)
        return text.p && str_int(str_trim(text), &n) ? n : -1;
    for (Str line, name; str_cut(&text, '\n', &line);)
        if (str_cut(&line, ' ', &name) && str_eqz(name, key) && str_int(str_trim(line), &n))
            return n;
    return -1;
}

struct cgroup_use cgroup_use(const struct cgroup *g)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct cgroup_use u = {.cpu = -1, .peak_memory = -1};
    Str memory = g->dir[CGROUP_MEMORY];
    if (g->v2[CGROUP_MEMORY]) {
        u.peak_memory = number_in(a, memory, "memory.peak", NULL);
        u.oom_kills = MAX(number_in(a, memory, "memory.events", "oom_kill"), 0);
    } else {
        u.peak_memory = number_in(a, memory, "memory.max_usage_in_bytes", NULL);
        u.oom_kills = MAX(number_in(a, memory, "memory.oom_control", "oom_kill"), 0);
    }
    if (g->v2[CGROUP_ACCOUNT] || !g->dir[CGROUP_ACCOUNT].p) {
        Str dir = g->v2[CGROUP_ACCOUNT] ? g->dir[CGROUP_ACCOUNT] : g->dir[CGROUP_KILL];
        u.cpu = number_in(a, dir, "cpu.stat", "usage_usec");
    } else {
        int64_t ns = number_in(a, g->dir[CGROUP_ACCOUNT], "cpuacct.usage", NULL);
        u.cpu = ns < 0 ? -1 : ns / 1000;
    }
    return u;
}

void cgroup_remove(struct cgroup *g)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    for (int i = 0; i < CGROUP_PART_COUNT; i++) {
        if (!g->dir[i].p || same_as_before(g, i))
            continue;
        const char *dir = str_z(a, g->dir[i]);
        for (int n = 0; n < 50 && rmdir(dir) < 0 && errno == EBUSY; n++)
            usleep(2000);
    }
    *g = (struct cgroup){0};
}

/* The directories of ours that there may be: below where we are, and below each root. */
static Str base_at(struct arena *a, const struct layout *l, size_t i)
{
    const struct hierarchy *all[] = {&l->unified, &l->memory, &l->cpu, &l->cpuacct, &l->pids}, *h;
    if (i >= 2 * COUNT_OF(all))
        return STR_NONE;
    h = all[i / 2];
    if (!h->found)
        return STR("/nonexistent");
    return str_fmt(a, "%.*s%.*s/millpond", STR_ARG(h->mount), i & 1 ? 0 : (int)h->own.n, h->own.p ? h->own.p : "");
}

void cgroup_end(Str name)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct layout l;
    layout_find(a, &l);
    Str base;
    for (size_t i = 0; (base = base_at(a, &l, i)).p; i++) {
        Str dir = str_fmt(a, "%.*s/%.*s", STR_ARG(base), STR_ARG(name));
        for (int n = 0; n < 100 && rmdir(dir.p) < 0 && errno == EBUSY; n++) {
            if (put(a, dir, "cgroup.kill", "1") < 0) {
                Str pids = slurp(a, str_fmt(a, "%.*s/cgroup.procs", STR_ARG(dir)).p);
                int64_t pid;
                for (Str line; str_cut(&pids, '\n', &line);)
                    if (str_int(line, &pid) && pid > 1)
                        kill((pid_t)pid, SIGKILL);
            }
            usleep(5000);
        }
    }
}

void cgroup_sweep(void)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct layout l;
    layout_find(a, &l);
    Str base;
    for (size_t i = 0; (base = base_at(a, &l, i)).p; i++) {
        DIR *d = opendir(base.p);
        for (struct dirent *e; d && (e = readdir(d));) {
            const char *group = str_fmt(a, "%.*s/%s", STR_ARG(base), e->d_name).p;
            struct stat st; /* a young one may be about to be entered */
            if (e->d_name[0] != '.' && stat(group, &st) == 0 && time_now() - (Time)st.st_mtim.tv_sec * SEC > MINUTE)
                rmdir(group);
        }
        if (d)
            closedir(d);
    }
}

void cgroup_leave_service(void)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct layout l;
    layout_find(a, &l);
    struct hierarchy *both[] = {&l.unified, &l.systemd};
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        if (!both[i]->found || !(str_ends(both[i]->own, STR(".service")) || str_ends(both[i]->own, STR(".scope"))))
            continue;
        Str dir = str_fmt(a, "%.*s/millpond-supervisors", STR_ARG(both[i]->mount));
        if (mkdir(dir.p, 0755) == 0 || errno == EEXIST)
            (void)!put(a, dir, "cgroup.procs", pid);
    }
}
