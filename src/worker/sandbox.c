#include "worker/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/seccomp.h"

#define INSIDE 1000             /* the run's user and group inside */
#define OUTSIDE_BASE 1900000000 /* where root starts it: a user of its own, which nothing belongs to */

#define MEMORY_MB 4096
#define PIDS 1024
#define DISK_MB 1024

/* What the child has to say before it becomes the run. */
struct word {
    int error; /* errno */
    char text[252];
};

struct plan {
    const struct sandbox_spec *s;
    struct sandbox_root root;
    char **argv, **env;
    bool root_user;    /* started by root */
    bool memory_by_process; /* no control group holds it */
    int64_t memory_mb, pids;
    in_addr_t address; /* 0: none */
    char *words; /* of our command line, as the kernel shows it of process 1 */
    size_t words_n;
    int go_fd, say_fd; /* say_fd: a socket, over which the listening socket goes too */
};

static _Noreturn void give_up(const struct plan *p, const char *text)
{
    struct word w = {.error = errno};
    snprintf(w.text, sizeof w.text, "%s", text);
    ssize_t done = write(p->say_fd, &w, sizeof w);
    UNUSED(done);
    _exit(127);
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t done = write(fd, text, strlen(text));
    int saved = errno;
    close(fd);
    errno = saved;
    return done < 0 ? -1 : 0;
}

/* Users of the first namespace, written from outside: us, and for root a user that owns nothing. */
static int map_users(int pid, bool root_user, struct err *err)
{
    char path[64], map[128], groups[128];
    unsigned outside = OUTSIDE_BASE + (unsigned)getpid();
    if (root_user) {
        snprintf(map, sizeof map, "0 0 1\n%d %u 1\n", INSIDE, outside);
        snprintf(groups, sizeof groups, "%s", map);
    } else {
        snprintf(map, sizeof map, "%d %u 1\n", INSIDE, (unsigned)geteuid());
        snprintf(groups, sizeof groups, "%d %u 1\n", INSIDE, (unsigned)getegid());
        snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
        if (write_file(path, "deny") < 0)
            return err_errno(err, "the sandbox's groups cannot be closed");
    }
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    if (write_file(path, map) < 0)
        return err_errno(err, "the sandbox's users cannot be mapped");
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    if (write_file(path, groups) < 0)
        return err_errno(err, "the sandbox's groups cannot be mapped");
    return 0;
}

static void raise_loopback(const struct plan *p)
{
    struct ifreq r = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
        give_up(p, "looking at the loopback interface");
    r.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        give_up(p, "raising the loopback interface");
    /* An address that is no loopback's: where a machine has none, many programs do not ask for names' IPv4 addresses. And the
     * API's own, so that its address is right inside too. */
    in_addr_t more[] = {htonl(0xc0000008) /* 192.0.0.8, IPv4's dummy address */, p->address};
    for (size_t i = 0; i < COUNT_OF(more) && more[i]; i++) {
        struct ifreq alias = {0};
        snprintf(alias.ifr_name, sizeof alias.ifr_name, "lo:%zu", i);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = more[i]};
        memcpy(&alias.ifr_addr, &a, sizeof a);
        if (ioctl(fd, SIOCSIFADDR, &alias) < 0)
            give_up(p, "giving the loopback interface an address");
        struct sockaddr_in mask = {.sin_family = AF_INET, .sin_addr.s_addr = 0xffffffff};
        memcpy(&alias.ifr_netmask, &mask, sizeof mask);
        if (ioctl(fd, SIOCSIFNETMASK, &alias) < 0)
            give_up(p, "giving the loopback interface an address");
    }
    close(fd);
}

static void hand_out(const struct plan *p, int which, int fd)
{
    char index = (char)which;
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec v = {.iov_base = &index, .iov_len = 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(p->say_fd, &m, 0) < 0)
        give_up(p, "handing out a socket");
    close(fd);
}

/* A socket that lives in here and is served from outside. Of both families; a kernel without the newer has one that will do. */
static void make_way(const struct plan *p, int which)
{
    int type = (which == WAY_DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, one = 1, zero = 0, port = p->s->ways[which];
    int fd = socket(AF_INET6, type, 0);
    in_port_t at = port == SANDBOX_ANY_PORT ? 0 : htons((uint16_t)port);
    struct sockaddr_in6 both = {.sin6_family = AF_INET6, .sin6_port = at};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = at};
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&both, sizeof both) < 0) {
        if (fd >= 0)
            close(fd);
        fd = socket(AF_INET, type, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 || bind(fd, (struct sockaddr *)&four, sizeof four) < 0)
            give_up(p, "making a way out");
    }
    if (which != WAY_DATAGRAMS && listen(fd, 512) < 0)
        give_up(p, "listening for the way out");
    hand_out(p, which, fd);
}

static void set_limit(const struct plan *p, int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) < 0)
        return;
    struct rlimit l = {.rlim_cur = MIN(most, now.rlim_max), .rlim_max = MIN(most, now.rlim_max)};
    if (setrlimit((__rlimit_resource_t)what, &l) < 0)
        give_up(p, "setting a resource limit");
}

static void set_limits(const struct plan *p)
{
    set_limit(p, RLIMIT_CORE, 0);
    set_limit(p, RLIMIT_NOFILE, 65536);
    set_limit(p, RLIMIT_MEMLOCK, 8 << 20);
    if (p->memory_by_process)
        set_limit(p, RLIMIT_DATA, (rlim_t)p->memory_mb << 20);
    (void)!write_file("/proc/self/oom_score_adj", "500");
}

static void drop_capabilities(const struct plan *p)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            give_up(p, "dropping capabilities");
    if (syscall(SYS_capset, &h, none) < 0)
        give_up(p, "dropping capabilities");
}

/* The run's user, then a second user namespace: none of the mounts and namespaces made so far belong to it, so that even a
 * capability won in it would open nothing. */
static void become_nobody(const struct plan *p)
{
    char map[32];
    if (p->root_user && (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, INSIDE, INSIDE, INSIDE) < 0 ||
                         syscall(SYS_setresuid, INSIDE, INSIDE, INSIDE) < 0))
        give_up(p, "becoming the run's user");
    prctl(PR_SET_DUMPABLE, 1); /* or the files written next belong to somebody else */
    if (unshare(CLONE_NEWUSER) < 0)
        give_up(p, "making a second user namespace");
    snprintf(map, sizeof map, "%d %d 1\n", INSIDE, INSIDE);
    if (write_file("/proc/self/setgroups", "deny") < 0 || write_file("/proc/self/uid_map", map) < 0 ||
        write_file("/proc/self/gid_map", map) < 0)
        give_up(p, "mapping the run's user");
    set_limit(p, RLIMIT_NPROC, (rlim_t)p->pids); /* counted in this namespace alone */
    drop_capabilities(p);
}

static _Noreturn void run_command(const struct plan *p)
{
    const struct sandbox_spec *s = p->s;
    child_reset_signals();
    setsid();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = fcntl(s->out_fd, F_DUPFD_CLOEXEC, 10), errs = fcntl(s->err_fd, F_DUPFD_CLOEXEC, 10),
        pass = s->pass_fd >= 0 ? fcntl(s->pass_fd, F_DUPFD_CLOEXEC, 10) : -1, say = fcntl(p->say_fd, F_DUPFD_CLOEXEC, 10);
    struct plan q = *p;
    q.say_fd = say;
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(errs, 2) < 0 || (pass >= 0 && dup2(pass, 3) < 0))
        give_up(&q, "laying out files");
    syscall(SYS_close_range, pass >= 0 ? 4 : 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
    if (chdir(p->root.cwd) < 0) {
        static char text[200];
        snprintf(text, sizeof text, "entering the working directory %s", p->root.cwd);
        give_up(&q, text);
    }
    environ = p->env;
    execvp(p->argv[0], p->argv);
    static char text[200];
    snprintf(text, sizeof text, "executing the command '%s'", p->argv[0]);
    give_up(&q, text);
}

/* Process 1: passes a wish to end on, collects what ends, and ends with the command. */
static _Noreturn void be_init(const struct plan *p)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int main_pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); /* not fork(): no locks of the caller's threads */
    if (main_pid < 0)
        give_up(p, "starting the command");
    if (!main_pid)
        run_command(p);
    prctl(PR_SET_DUMPABLE, 0); /* what we remember of the caller is nobody's */
    prctl(PR_SET_NAME, "mp-init");
    if (p->words_n > 4) { /* anybody may read it */
        memset(p->words, 0, p->words_n);
        memcpy(p->words, "init", 4);
    }
    syscall(SYS_close_range, 0, ~0U, 0);
    for (;;) {
        int sig = sigwaitinfo(&set, NULL), status, pid;
        if (sig == SIGTERM)
            kill(main_pid, SIGTERM);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            if (pid == main_pid)
                _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static _Noreturn void build_and_run(const struct plan *p)
{
    char go;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(p->go_fd, &go, 1) != 1)
        _exit(127);
    if (unshare(CLONE_NEWCGROUP) < 0)
        give_up(p, "making a cgroup namespace");
    if (sethostname("run", 3) < 0)
        give_up(p, "naming the host");
    raise_loopback(p);
    for (int i = 0; i < WAY_CONNECTS; i++)
        if (p->s->ways[i])
            make_way(p, i);
    const char *failed = sandbox_root_enter(&p->root);
    if (failed)
        give_up(p, failed);
    set_limits(p);
    become_nobody(p);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten when the user changed */
    if (getppid() != 0)
        _exit(127); /* inside, the caller is out of sight: 0. Anything else: it died before */
    if (seccomp_enter() < 0)
        give_up(p, "entering the filter of system calls");
    if (p->s->ways[WAY_CONNECTS]) {
        int fd = seccomp_ask_connect();
        if (fd < 0)
            give_up(p, "having calls to connect() looked at (seccomp's user notification)");
        hand_out(p, WAY_CONNECTS, fd);
    }
    be_init(p);
}

/* What the child says: nothing but the end where all went well; a listening socket on the way, where one was asked for. */
static int listen_to_child(int fd, int ret_ways[WAY_COUNT], struct err *err)
{
    for (;;) {
        struct word w;
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec v = {.iov_base = &w, .iov_len = sizeof w};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        int which = *(const char *)&w;
        if (n == 1 && c && c->cmsg_type == SCM_RIGHTS && which >= 0 && which < WAY_COUNT) {
            memcpy(&ret_ways[which], CMSG_DATA(c), sizeof(int));
            continue;
        }
        if (n != sizeof w)
            return err_set(err, ERR_INTERNAL, "the sandbox said something odd");
        w.text[sizeof w.text - 1] = '\0';
        errno = w.error;
        return err_errno(err, "%s", w.text);
    }
}

static int spawn(uint64_t flags, int *ret_pidfd)
{
    struct clone_args args = {.flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
    return (int)syscall(SYS_clone3, &args, sizeof args);
}

/* Where the kernel looks for the words of our command line: the same in a child. */
static void find_words(struct plan *p)
{
    char text[1024];
    unsigned long long from = 0, to = 0;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[MAX(n, 0)] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (at && sscanf(at, " %llu %llu", &from, &to) == 2 && from && to > from && to - from < (1 << 20)) {
        p->words = (char *)(uintptr_t)from;
        p->words_n = (size_t)(to - from);
    }
}

static int start(struct plan *p, struct child *c, int ret_ways[WAY_COUNT], struct err *err)
{
    int go[2], say[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        return err_errno(err, "making a pipe");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, say) < 0) {
        close(go[0]);
        close(go[1]);
        return err_errno(err, "making a socket");
    }
    p->go_fd = go[0];
    p->say_fd = say[1];
    uint64_t flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
    int pidfd = -1, pid = spawn(flags, &pidfd);
    if (!pid) {
        close(go[1]);
        close(say[0]);
        build_and_run(p);
    }
    int saved = errno;
    close(go[0]);
    close(say[1]);
    int rc = -1;
    if (pid < 0) {
        errno = saved;
        err_errno(err, "this kernel refuses namespaces to this user");
    } else if (map_users(pid, p->root_user, err) == 0 && cgroup_enter(&c->group, pid, err) == 0) {
        ssize_t done = write(go[1], "g", 1);
        UNUSED(done);
        rc = listen_to_child(say[0], ret_ways, err);
    }
    close(go[1]);
    close(say[0]);
    c->pid = MAX(pid, 0);
    c->init = true;
    c->pidfd = pidfd;
    if (rc < 0 && pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(pidfd);
        c->pid = c->pidfd = 0;
    }
    return rc;
}

int sandbox_start(struct arena *a, const struct sandbox_spec *s, struct child *c, int ret_ways[WAY_COUNT],
                  struct buf *notes, struct err *err)
{
    struct sandbox_spec full = *s;
    if (!full.disk_mb)
        full.disk_mb = DISK_MB;
    struct plan p = {
        .s = &full,
        .argv = argv_block(a, s->argv, s->argc),
        .env = env_block(a, s->env),
        .root_user = geteuid() == 0,
        .memory_mb = s->memory_mb ? s->memory_mb : MEMORY_MB,
        .pids = s->pids ? s->pids : PIDS,
    };
    for (int i = 0; i < WAY_COUNT; i++)
        ret_ways[i] = -1;
    if (s->address.p && inet_pton(AF_INET, str_z(a, s->address), &p.address) != 1)
        return err_set(err, ERR_INVALID, "%.*s is no IPv4 address", STR_ARG(s->address));
    if (sandbox_root_plan(a, &full, &p.root, err) < 0)
        return -1;
    find_words(&p);
    p.root.uid = p.root.gid = INSIDE;
    struct cgroup_limits limits = {.memory_bytes = p.memory_mb << 20, .pids = p.pids, .cpus = s->cpus};
    cgroup_create(a, s->group, &limits, &c->group, notes);
    p.memory_by_process = !c->group.dir[CGROUP_MEMORY].p;
    if (p.memory_by_process)
        buf_z(notes, "memory is limited for each process instead of for all together\n");
    if (start(&p, c, ret_ways, err) == 0)
        return 0;
    for (int i = 0; i < WAY_COUNT; i++) {
        if (ret_ways[i] >= 0)
            close(ret_ways[i]);
        ret_ways[i] = -1;
    }
    child_clear(c);
    return -1;
}

int sandbox_probe(struct buf *notes, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str argv[] = {STR("/bin/true")};
    EnvVars env = {0};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0)
        return err_errno(err, "opening /dev/null");
    struct sandbox_spec s = {
        .argv = argv, .argc = 1, .env = &env, .ways = {[WAY_API] = 4200, [WAY_CONNECTS] = 1}, .out_fd = null, .err_fd = null, .pass_fd = -1,
        .group = str_fmt(a, "probe-%d", (int)getpid()), .disk_mb = 16, .cpus = 1,
    };
    struct child c = {0};
    int ways[WAY_COUNT], status = 0;
    int rc = sandbox_start(a, &s, &c, ways, notes, err);
    close(null);
    if (rc < 0)
        return err_wrap(err, "no sandbox can be made here");
    close(ways[WAY_API]);
    close(ways[WAY_CONNECTS]);
    waitpid(c.pid, &status, 0);
    child_clear(&c);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : err_set(err, ERR_IO, "no sandbox can be made here: /bin/true does not run in it");
}
