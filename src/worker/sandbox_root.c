/* The file system that a sandboxed run sees. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/sandbox.h"

/* linux/mount.h and sys/mount.h of this libc cannot be included together. */
extern int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
extern int umount2(const char *target, int flags);
enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, REMOUNT = 32, BIND = 4096, REC = 16384, PRIVATE = 1 << 18, DETACH = 2 };

/* Of the machine's /etc, what programs need and tells nothing about its users. */
static const char *const etc[] = {
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
    "/etc/nsswitch.conf", "/etc/localtime", "/etc/timezone", "/etc/alternatives", "/etc/mime.types",
    "/etc/services", "/etc/protocols", "/etc/gai.conf", "/etc/host.conf", "/etc/python3", "/etc/magic",
};
static const char *const system_dirs[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
/* Of /proc, what tells of the machine and not of its processors and memory. */
static const char *const hidden[] = {"cmdline", "keys", "key-users", "kcore", "kmsg", "kallsyms", "timer_list", "sched_debug", "latency_stats", "modules", "config.gz",
                                     "partitions", "diskstats", "mdstat", "swaps"};
static const char *const devices[] = {"null", "zero", "full", "random", "urandom"};

static void add(struct arena *a, struct sandbox_root *r, struct sandbox_mount m)
{
    struct sandbox_mount *grown = arena_array(a, struct sandbox_mount, r->count + 1);
    if (r->count)
        memcpy(grown, r->mounts, r->count * sizeof *grown);
    grown[r->count] = m;
    r->mounts = grown;
    r->count++;
}

/* Where a path that is shown at its own place is or goes through a link, the real one is, and a link to it. */
static int add_path(struct arena *a, struct sandbox_root *r, const struct sandbox_path *p, bool writable)
{
    char real[PATH_MAX];
    struct stat st;
    const char *target = str_z(a, p->target);
    bool same = str_eq(p->source, p->target);
    if (p->source.p[0] != '/' || p->target.p[0] != '/' || !realpath(str_z(a, p->source), real) || stat(real, &st) < 0)
        return -1;
    for (size_t i = 0; i < r->count; i++) /* under one that is shown already */
        if (same && !r->mounts[i].link && !writable && !r->mounts[i].veiled && r->mounts[i].directory &&
            str_starts(str_of(real), str_of(r->mounts[i].target)) && strchr("/", real[strlen(r->mounts[i].target)]))
            goto link;
    add(a, r, (struct sandbox_mount){.source = str_z(a, str_of(real)), .target = same ? str_z(a, str_of(real)) : target,
                                     .directory = S_ISDIR(st.st_mode), .writable = writable, .veiled = !same});
link:
    if (same && strcmp(real, target))
        add(a, r, (struct sandbox_mount){.source = str_z(a, str_of(real)), .target = target, .link = true});
    return 0;
}

static void plan_system(struct arena *a, struct sandbox_root *r)
{
    for (size_t i = 0; i < COUNT_OF(system_dirs); i++) {
        char to[PATH_MAX];
        ssize_t n = readlink(system_dirs[i], to, sizeof to - 1);
        struct stat st;
        if (n > 0) {
            to[n] = '\0';
            add(a, r, (struct sandbox_mount){.source = str_z(a, str_of(to)), .target = system_dirs[i], .link = true});
        } else if (stat(system_dirs[i], &st) == 0) {
            add(a, r, (struct sandbox_mount){.source = system_dirs[i], .target = system_dirs[i], .directory = true});
        }
    }
    for (size_t i = 0; i < COUNT_OF(etc); i++) {
        char real[PATH_MAX];
        struct stat st;
        /* Links in /etc often lead out of what is shown (localtime): the file itself comes in its place. */
        if (realpath(etc[i], real) && stat(real, &st) == 0)
            add(a, r, (struct sandbox_mount){.source = str_z(a, str_of(real)), .target = etc[i], .directory = S_ISDIR(st.st_mode)});
    }
}

int sandbox_root_plan(struct arena *a, const struct sandbox_spec *s, struct sandbox_root *ret, struct err *err)
{
    *ret = (struct sandbox_root){.disk_mb = s->disk_mb, .cwd = s->cwd.p ? str_z(a, s->cwd) : SANDBOX_HOME};
    ret->hosts = str_fmt(a, "127.0.0.1 localhost run\n::1 localhost\n%.*s", STR_ARG(s->hosts)).p;
    memcpy(ret->files, s->files, sizeof ret->files);
    plan_system(a, ret);
    for (size_t i = 0; i < s->read_only_count; i++)
        if (add_path(a, ret, &s->read_only[i], false) < 0)
            return err_set(err, ERR_INVALID, "the sandbox cannot show %.*s: it is not there", STR_ARG(s->read_only[i].source));
    if (s->writable.source.p && add_path(a, ret, &s->writable, true) < 0)
        return err_set(err, ERR_INVALID, "the sandbox cannot show %.*s: it is not there", STR_ARG(s->writable.source));
    return 0;
}

/* From here on: in the child, after a fork; no memory is allocated. */

static int make_dirs(char *path, mode_t mode)
{
    for (char *s = path + 1; *s; s++) {
        if (*s != '/')
            continue;
        *s = '\0';
        int rc = mkdir(path, mode);
        *s = '/';
        if (rc < 0 && errno != EEXIST && errno != EROFS)
            return -1;
    }
    return 0;
}

static int make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    size_t n = text ? strlen(text) : 0;
    ssize_t done = n ? write(fd, text, n) : 0;
    close(fd);
    return done == (ssize_t)n ? 0 : -1;
}

/* Adds flags to a mount and all below it, whatever flags the kernel has locked there. */
static int restrict_mount(const char *path, uint64_t flags)
{
    struct mount_attr attr = {.attr_set = flags};
    return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof attr);
}

/* As an overlay with nothing over it: a bind mount's source stands in the list of mounts, an overlay's only as it was named. */
static int show_veiled(const char *source, const char *target)
{
    if (chdir(source) < 0)
        return -1;
    int rc = mount("overlay", target, "overlay", RDONLY | NOSUID | NODEV, "lowerdir=.:/nothing");
    return chdir("/") < 0 ? -1 : rc;
}

static int show(const struct sandbox_mount *m, unsigned uid, unsigned gid)
{
    char source[PATH_MAX], target[PATH_MAX];
    if (snprintf(source, sizeof source, "/old%s", m->source) >= (int)sizeof source ||
        snprintf(target, sizeof target, "/new%s", m->target) >= (int)sizeof target) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (make_dirs(target, 0755) < 0)
        return -1;
    if (m->link)
        return symlink(m->source, target) < 0 && errno != EEXIST ? -1 : 0;
    if (m->directory ? mkdir(target, 0755) < 0 && errno != EEXIST : make_file(target, NULL) < 0)
        return -1;
    if ((!m->veiled || !m->directory || m->writable || show_veiled(source, target) < 0) && mount(source, target, NULL, BIND | REC, NULL) < 0)
        return -1;
    if (m->writable && chown(target, uid, gid) < 0)
        return -1;
    return restrict_mount(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (m->writable ? 0 : MOUNT_ATTR_RDONLY));
}

static const char *make_dev(void)
{
    char source[64], target[64];
    if (mkdir("/new/dev", 0755) < 0)
        return "making /dev";
    for (size_t i = 0; i < COUNT_OF(devices); i++) {
        snprintf(source, sizeof source, "/old/dev/%s", devices[i]);
        snprintf(target, sizeof target, "/new/dev/%s", devices[i]);
        if (make_file(target, NULL) < 0 || mount(source, target, NULL, BIND, NULL) < 0)
            return "showing devices";
        (void)!restrict_mount(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }
    if (mkdir("/new/dev/pts", 0755) < 0 ||
        mount("devpts", "/new/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620") < 0)
        return "mounting /dev/pts";
    if (symlink("pts/ptmx", "/new/dev/ptmx") < 0 || symlink("/proc/self/fd", "/new/dev/fd") < 0 ||
        symlink("/proc/self/fd/0", "/new/dev/stdin") < 0 || symlink("/proc/self/fd/1", "/new/dev/stdout") < 0 ||
        symlink("/proc/self/fd/2", "/new/dev/stderr") < 0)
        return "making links in /dev";
    return NULL;
}

/* One memory file system of limited size for all that can be written. */
static const char *make_scratch(const struct sandbox_root *r)
{
    static const struct {
        const char *dir, *target;
        mode_t mode;
        bool own;
    } parts[] = {
        {"/scratch/tmp", "/new/tmp", 01777, false},
        {"/scratch/vartmp", "/new/var/tmp", 01777, false},
        {"/scratch/shm", "/new/dev/shm", 01777, false},
        {"/scratch/home", "/new" SANDBOX_HOME, 0700, true},
    };
    char options[96], target[PATH_MAX];
    snprintf(options, sizeof options, "mode=0755,size=%lldm,nr_inodes=%lldk", (long long)r->disk_mb,
             (long long)MAX(r->disk_mb / 4, 64));
    if (mkdir("/scratch", 0755) < 0 || mount("tmpfs", "/scratch", "tmpfs", NOSUID | NODEV, options) < 0)
        return "mounting scratch space";
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        snprintf(target, sizeof target, "%s", parts[i].target);
        if (mkdir(parts[i].dir, parts[i].mode) < 0 || chmod(parts[i].dir, parts[i].mode) < 0 || make_dirs(target, 0755) < 0 ||
            (mkdir(target, 0755) < 0 && errno != EEXIST) || mount(parts[i].dir, target, NULL, BIND, NULL) < 0)
            return "laying out scratch space";
        if (parts[i].own && chown(parts[i].dir, r->uid, r->gid) < 0)
            return "giving scratch space to the run";
    }
    return NULL;
}

static const char *make_etc(const struct sandbox_root *r)
{
    if (mkdir("/new/etc", 0755) < 0 && errno != EEXIST)
        return "making /etc";
    if (make_file("/new/etc/passwd", "root:x:0:0:root:/:/usr/sbin/nologin\n"
                                     "run:x:1000:1000:run:" SANDBOX_HOME ":/bin/sh\n"
                                     "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n") < 0 ||
        make_file("/new/etc/group", "root:x:0:\nrun:x:1000:\nnogroup:x:65534:\n") < 0 ||
        make_file("/new/etc/hostname", "run\n") < 0 || make_file("/new/etc/hosts", r->hosts) < 0)
        return "writing /etc";
    for (size_t i = 0; i < COUNT_OF(r->files); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "/new%s", r->files[i].path ? r->files[i].path : "");
        if (r->files[i].path && make_file(path, r->files[i].text) < 0)
            return "writing files of ours to /etc";
    }
    return NULL;
}

/* The working directory, where it lies in scratch space and is not there. */
static void make_cwd(const struct sandbox_root *r)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/", r->cwd) >= (int)sizeof path)
        return;
    for (char *s = path + 1; *s; s++) {
        if (*s != '/')
            continue;
        *s = '\0';
        if (mkdir(path, 0755) == 0)
            (void)!chown(path, r->uid, r->gid);
        *s = '/';
    }
}

const char *sandbox_root_enter(const struct sandbox_root *r)
{
    umask(0022);
    if (mount(NULL, "/", NULL, REC | PRIVATE, NULL) < 0)
        return "making mounts private";
    /* A base of our own, on which old and new root stand side by side. */
    if (mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "mode=0755,size=4m,nr_inodes=16k") < 0)
        return "mounting a memory file system";
    if (mkdir("/tmp/old", 0755) < 0 || mkdir("/tmp/new", 0755) < 0 || mkdir("/tmp/nothing", 0755) < 0)
        return "making the root";
    if (syscall(SYS_pivot_root, "/tmp", "/tmp/old") < 0 || chdir("/") < 0)
        return "changing the root (pivot_root)";
    if (mount("tmpfs", "/new", "tmpfs", NOSUID | NODEV, "mode=0755,size=4m,nr_inodes=16k") < 0)
        return "mounting the root";
    const char *failed;
    if ((failed = make_dev()) || (failed = make_scratch(r)) || (failed = make_etc(r)))
        return failed;
    for (size_t i = 0; i < r->count; i++) {
        static char what[PATH_MAX];
        snprintf(what, sizeof what, "showing %s", r->mounts[i].target);
        if (show(&r->mounts[i], r->uid, r->gid) < 0)
            return what;
    }
    if (mkdir("/new/proc", 0555) < 0 || mount("proc", "/new/proc", "proc", NOSUID | NODEV | NOEXEC, NULL) < 0)
        return "mounting /proc";
    for (size_t i = 0; i < COUNT_OF(hidden); i++) {
        char path[64];
        snprintf(path, sizeof path, "/new/proc/%s", hidden[i]);
        if (access(path, F_OK) == 0 && mount("/old/dev/null", path, NULL, BIND, NULL) < 0)
            return "hiding what /proc tells of the machine";
    }
    if (chdir("/new") < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return "entering the root (pivot_root)";
    /* The base, with the old root on it, lies over "." now. */
    if (umount2(".", DETACH) < 0 || chdir("/") < 0)
        return "leaving the old root";
    make_cwd(r);
    /* The root itself; what is mounted on it keeps its own flags. */
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof attr) < 0)
        return "making the root read-only";
    return NULL;
}
