#include "worker/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPEC_MAX ((size_t)8 << 20) /* parameters are not in it; environment variables are */

int file_read(struct arena *a, const char *path, size_t max, Str *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "no file %s", path) : err_errno(err, "opening %s", path);
    size_t n = 0, cap = 4096;
    char *p = arena_alloc(a, cap);
    for (;;) {
        if (n == cap) {
            p = arena_grow(a, p, n, cap * 2);
            cap *= 2;
        }
        ssize_t got = read(fd, p + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_errno(err, "reading %s", path);
            close(fd);
            return -1;
        }
        if (!got)
            break;
        n += (size_t)got;
        if (n > max) {
            close(fd);
            return err_set(err, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, max);
        }
    }
    close(fd);
    *ret = (Str){p, n};
    return 0;
}

int file_replace(const char *path, Str text, bool durable, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const char *tmp = str_fmt(a, "%s.%d", path, (int)getpid()).p;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, "making %s", tmp);
    for (Str rest = text; rest.n;) {
        ssize_t done = write(fd, rest.p, rest.n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            err_errno(err, "writing %s", tmp);
            goto fail;
        }
        rest = str_sub(rest, (size_t)done, rest.n);
    }
    if (durable && fsync(fd) < 0) {
        err_errno(err, "writing %s", tmp);
        goto fail;
    }
    close(fd);
    if (rename(tmp, path) < 0) {
        err_errno(err, "renaming %s", tmp);
        unlink(tmp);
        return -1;
    }
    return 0;
fail:
    close(fd);
    unlink(tmp);
    return -1;
}

int dir_make(const char *path, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    char *p = str_z(a, str_of(path));
    for (char *s = p + 1;; s++) {
        if (*s && *s != '/')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, 0700) < 0 && errno != EEXIST)
            return err_errno(err, "making directory %s", p);
        *s = c;
        if (!c)
            return 0;
    }
}

static void put_strs(struct jw *w, const char *key, const Str *v, size_t n)
{
    jw_key(w, str_of(key));
    jw_array(w);
    for (size_t i = 0; i < n; i++)
        jw_str(w, v[i]);
    jw_end(w);
}

void run_spec_print(struct buf *b, const struct run_spec *s)
{
    struct jw w = jw_on(b);
    jw_object(&w);
    jw_kint(&w, "version", 1);
    jw_kuuid(&w, "flow_run_id", s->flow_run_id);
    jw_kuuid(&w, "claim_state", s->claim_state);
    jw_kstr(&w, "name", s->name);
    jw_kstr(&w, "pool", s->pool);
    jw_kstr(&w, "pool_type", s->pool_type);
    if (s->container.p)
        jw_kraw(&w, "container", s->container);
    jw_kstr(&w, "worker", s->worker);
    put_strs(&w, "command", s->argv.v, s->argv.n);
    jw_key(&w, STR("env"));
    jw_object(&w);
    for (size_t i = 0; i < s->env.n; i++) {
        jw_key(&w, s->env.v[i].name);
        jw_str(&w, s->env.v[i].value);
    }
    jw_end(&w);
    jw_kstr(&w, "cwd", s->cwd);
    jw_kbool(&w, "echo", s->echo);
    jw_kbool(&w, "capture", s->capture);
    jw_key(&w, STR("api"));
    jw_object(&w);
    jw_kstr(&w, "url", s->api.base_url);
    jw_kstr(&w, "auth_string", s->api.auth_string);
    jw_kstr(&w, "api_key", s->api.api_key);
    jw_kstr(&w, "headers", s->api.headers);
    jw_end(&w);
    jw_key(&w, STR("limits"));
    jw_object(&w);
    jw_kdouble(&w, "seconds", (double)s->limits.time / SEC);
    jw_kdouble(&w, "grace_seconds", (double)s->limits.grace / SEC);
    jw_kint(&w, "memory_mb", s->limits.memory_mb);
    jw_kdouble(&w, "cpus", s->limits.cpus);
    jw_kint(&w, "pids", s->limits.pids);
    jw_kint(&w, "disk_mb", s->limits.disk_mb);
    jw_end(&w);
    if (s->sandbox) {
        jw_key(&w, STR("sandbox"));
        jw_object(&w);
        jw_kstr(&w, "network", s->network);
        put_strs(&w, "network_allow", s->network_allow.v, s->network_allow.n);
        jw_kstr(&w, "python", s->python);
        jw_kstr(&w, "client", s->client);
        put_strs(&w, "packages", s->packages.v, s->packages.n);
        jw_kbool(&w, "engine", s->engine);
        jw_end(&w);
    }
    jw_end(&w);
}

int run_dir_create(struct arena *a, Str home, const struct run_spec *spec, Str *ret_dir, struct err *err)
{
    Str runs = str_fmt(a, "%.*s/runs", STR_ARG(home));
    if (dir_make(runs.p, err) < 0)
        return -1;
    struct uuid_text id = uuid_text(spec->flow_run_id);
    Str dir = str_fmt(a, "%.*s/%s", STR_ARG(runs), id.s);
    for (int n = 2; mkdir(dir.p, 0700) < 0; n++) {
        if (errno != EEXIST || n > 99)
            return err_errno(err, "making directory %s", dir.p);
        dir = str_fmt(a, "%.*s/%s.%d", STR_ARG(runs), id.s, n);
    }
    AUTO(buf_free) struct buf b = BUF(SPEC_MAX);
    run_spec_print(&b, spec);
    if (b.overflow)
        err_set(err, ERR_TOO_LARGE, "the run's environment is larger than %zu bytes", SPEC_MAX);
    if (b.overflow || file_replace(str_fmt(a, "%.*s/spec.json", STR_ARG(dir)).p, buf_view(&b), /* durable: */ true, err) < 0) {
        struct err ignored;
        (void)!run_dir_remove(dir, &ignored);
        return -1;
    }
    *ret_dir = dir;
    return 0;
}

#define GET_STRS(a, v, to)                                                                                             \
    do {                                                                                                               \
        const struct json *v_ = (v);                                                                                   \
        for (size_t i_ = 0; json_is(v_, JSON_ARRAY) && i_ < v_->array.n; i_++)                                         \
            vec_push((a), (to), json_str(&v_->array.items[i_]));                                                       \
    } while (0)

static bool get_bool(const struct json *v, Str key)
{
    const struct json *b = json_get(v, key);
    return json_is(b, JSON_BOOL) && b->boolean;
}

static double get_double(const struct json *v, Str key)
{
    double d = 0;
    const struct json *x = json_get(v, key);
    return x && json_double(x, &d) ? d : 0;
}

static int64_t get_int(const struct json *v, Str key)
{
    int64_t n = 0;
    const struct json *x = json_get(v, key);
    return x && json_int(x, &n) ? n : 0;
}

int run_spec_read(struct arena *a, Str dir, struct run_spec *ret, struct err *err)
{
    Str text;
    if (file_read(a, str_fmt(a, "%.*s/spec.json", STR_ARG(dir)).p, SPEC_MAX, &text, err) < 0)
        return -1;
    return run_spec_parse(a, text, ret, err) < 0 ? err_wrap(err, "%.*s/spec.json", STR_ARG(dir)) : 0;
}

int run_spec_parse(struct arena *a, Str text, struct run_spec *ret, struct err *err)
{
    const struct json *v = json_parse(a, text, err);
    if (!v)
        return -1;
    if (get_int(v, STR("version")) != 1)
        return err_set(err, ERR_INVALID, "it is of another version of this program");
    struct run_spec s = {
        .name = json_get_str(v, STR("name")),
        .pool = json_get_str(v, STR("pool")),
        .pool_type = json_get_str(v, STR("pool_type")),
        .container = json_getz(v, "container") ? json_getz(v, "container")->raw : STR_NONE,
        .worker = json_get_str(v, STR("worker")),
        .cwd = json_get_str(v, STR("cwd")),
    };
    if (!uuid_parse(json_get_str(v, STR("flow_run_id")), &s.flow_run_id))
        return err_set(err, ERR_INVALID, "it names no run");
    (void)uuid_parse(json_get_str(v, STR("claim_state")), &s.claim_state);
    GET_STRS(a, json_getz(v, "command"), &s.argv);
    const struct json *env = json_getz(v, "env");
    for (size_t i = 0; json_is(env, JSON_OBJECT) && i < env->object.n; i++)
        vec_push(a, &s.env, ((struct env_var){env->object.members[i].key, json_str(&env->object.members[i].value)}));
    s.echo = get_bool(v, STR("echo"));
    s.capture = get_bool(v, STR("capture"));
    const struct json *api = json_getz(v, "api");
    s.api = (struct client_options){
        .base_url = json_get_str(api, STR("url")),
        .auth_string = json_get_str(api, STR("auth_string")),
        .api_key = json_get_str(api, STR("api_key")),
        .headers = json_get_str(api, STR("headers")),
    };
    const struct json *limits = json_getz(v, "limits");
    s.limits = (struct run_limits){
        .time = (Dur)(get_double(limits, STR("seconds")) * SEC),
        .grace = (Dur)(get_double(limits, STR("grace_seconds")) * SEC),
        .memory_mb = get_int(limits, STR("memory_mb")),
        .cpus = get_double(limits, STR("cpus")),
        .pids = get_int(limits, STR("pids")),
        .disk_mb = get_int(limits, STR("disk_mb")),
    };
    const struct json *sandbox = json_getz(v, "sandbox");
    if (sandbox) {
        s.sandbox = true;
        s.network = json_get_str(sandbox, STR("network"));
        s.python = json_get_str(sandbox, STR("python"));
        GET_STRS(a, json_getz(sandbox, "network_allow"), &s.network_allow);
        s.client = json_get_str(sandbox, STR("client"));
        s.engine = get_bool(sandbox, STR("engine"));
        GET_STRS(a, json_getz(sandbox, "packages"), &s.packages);
    }
    *ret = s;
    return 0;
}

int run_status_write(Str dir, const struct run_status *s, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "phase", s->phase);
    jw_kstr(&w, "identifier", s->identifier);
    jw_kint(&w, "pid", s->pid);
    jw_ktime(&w, "at", time_now());
    if (s->ended) {
        jw_key(&w, STR("end"));
        jw_object(&w);
        jw_kbool(&w, "started", s->end.started);
        jw_kint(&w, "code", s->end.code);
        jw_kint(&w, "reason", s->end.reason);
        jw_kbool(&w, "out_of_memory", s->end.out_of_memory);
        jw_kdouble(&w, "time_limit", (double)s->end.time_limit / SEC);
        jw_kstr(&w, "detail", s->end.detail);
        jw_end(&w);
    }
    jw_end(&w);
    return file_replace(str_fmt(a, "%.*s/status.json", STR_ARG(dir)).p, buf_view(&b),
                        /* durable: */ s->ended, err);
}

int run_status_read(struct arena *a, Str dir, struct run_status *ret, struct err *err)
{
    Str text;
    if (file_read(a, str_fmt(a, "%.*s/status.json", STR_ARG(dir)).p, (size_t)64 << 10, &text, err) < 0)
        return -1;
    const struct json *v = json_parse(a, text, err);
    if (!v)
        return err_wrap(err, "%.*s/status.json", STR_ARG(dir));
    *ret = (struct run_status){
        .phase = json_get_str(v, STR("phase")),
        .identifier = json_get_str(v, STR("identifier")),
        .pid = get_int(v, STR("pid")),
    };
    const struct json *end = json_getz(v, "end");
    if (end) {
        ret->ended = true;
        ret->end = (struct run_end){
            .started = get_bool(end, STR("started")),
            .code = (int)get_int(end, STR("code")),
            .reason = (enum stop_reason)get_int(end, STR("reason")),
            .out_of_memory = get_bool(end, STR("out_of_memory")),
            .time_limit = (Dur)(get_double(end, STR("time_limit")) * SEC),
            .detail = json_get_str(end, STR("detail")),
        };
    }
    return 0;
}

static const char *lock_path(struct arena *a, Str dir)
{
    return str_fmt(a, "%.*s/lock", STR_ARG(dir)).p;
}

int run_dir_lock(Str dir, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const char *path = lock_path(a, dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &l) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            err_set(err, ERR_BUSY, "%s is held by a supervisor that lives", path);
        else
            err_errno(err, "locking %s", path);
        close(fd);
        return -1;
    }
    return fd;
}

int run_dir_holder(Str dir)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = open(lock_path(a, dir), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 0;
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc = fcntl(fd, F_GETLK, &l);
    close(fd);
    return rc == 0 && l.l_type != F_UNLCK ? (int)l.l_pid : 0;
}

Dur run_dir_age(Str dir)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct stat st;
    if (stat(str_z(a, dir), &st) < 0)
        return 0;
    struct stat spec;
    if (stat(str_fmt(a, "%.*s/spec.json", STR_ARG(dir)).p, &spec) == 0)
        st = spec;
    return time_now() - ((Time)st.st_mtim.tv_sec * SEC + st.st_mtim.tv_nsec / 1000);
}

void run_dir_list(struct arena *a, Str home, Uuid id, RunDirs *ret)
{
    Str runs = str_fmt(a, "%.*s/runs", STR_ARG(home));
    DIR *d = opendir(runs.p);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        struct run_dir r;
        Str name = str_of(e->d_name);
        if (name.n < 36 || !uuid_parse(str_sub(name, 0, 36), &r.flow_run_id))
            continue;
        if (!uuid_is_nil(id) && !uuid_eq(id, r.flow_run_id))
            continue;
        r.path = str_fmt(a, "%.*s/%.*s", STR_ARG(runs), STR_ARG(name));
        vec_push(a, ret, r);
    }
    closedir(d);
}

static int remove_in(int at, const char *name, int depth)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if ((errno != EISDIR && errno != EPERM) || depth > 200)
        return -1;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -1;
    }
    int rc = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && remove_in(fd, e->d_name, depth + 1) < 0)
            rc = -1;
    closedir(d);
    return unlinkat(at, name, AT_REMOVEDIR) < 0 ? -1 : rc;
}

int run_dir_remove(Str dir, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    if (remove_in(AT_FDCWD, str_z(a, dir), 0) < 0)
        return err_errno(err, "removing %.*s", STR_ARG(dir));
    return 0;
}

int argv_split(struct arena *a, Str command, Str **ret_v, size_t *ret_n, struct err *err)
{
    VEC(Str) out = {0};
    char *word = arena_alloc(a, command.n + 1);
    size_t n = 0;
    bool in = false;
    char quote = 0;
    for (size_t i = 0; i < command.n; i++) {
        char c = command.p[i];
        if (!c)
            return err_set(err, ERR_INVALID, "the command holds a zero byte");
        if (quote == '\'' || (quote == '"' && c != '\\')) {
            if (c == quote)
                quote = 0;
            else
                word[n++] = c;
        } else if (c == '\\') {
            if (i + 1 == command.n)
                return err_set(err, ERR_INVALID, "the command ends in a backslash");
            char next = command.p[++i];
            if (quote && next != '"' && next != '\\' && next != '$' && next != '`' && next != '\n')
                word[n++] = '\\';
            if (next != '\n')
                word[n++] = next;
            in = true;
        } else if (c == '"' || c == '\'') {
            quote = c;
            in = true;
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            if (in)
                vec_push(a, &out, str_dup(a, ((Str){word, n})));
            in = false;
            n = 0;
        } else {
            word[n++] = c;
            in = true;
        }
    }
    if (quote)
        return err_set(err, ERR_INVALID, "the command has a %s quote that is not closed", quote == '"' ? "double" : "single");
    if (in)
        vec_push(a, &out, str_dup(a, ((Str){word, n})));
    if (!out.n)
        return err_set(err, ERR_INVALID, "the command is empty");
    *ret_v = out.v;
    *ret_n = out.n;
    return 0;
}
