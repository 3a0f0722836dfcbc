/* What must not be possible inside a sandbox, a row each: this program runs itself in one, and each row tries. */
#include "tests/unit/test.h"

#include "worker/sandbox.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int arg; /* what a row is told: a port, a pid */

static bool refused(long rc)
{
    return rc < 0 && (errno == EPERM || errno == ENOSYS || errno == EACCES || errno == EROFS);
}

static bool no_mount(void)
{
    return refused(mount("tmpfs", "/tmp", "tmpfs", 0, NULL)) && refused(mount("/", "/tmp", NULL, MS_BIND, NULL)) &&
           refused(mount(NULL, "/", NULL, MS_REMOUNT, NULL)) && refused(umount("/proc")) &&
           refused(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0)) && refused(syscall(SYS_fsopen, "tmpfs", 0)) &&
           refused(syscall(SYS_open_tree, AT_FDCWD, "/", 1)) && refused(syscall(SYS_pivot_root, "/tmp", "/tmp")) && refused(chroot("/tmp"));
}

static int child_nothing(void *a)
{
    UNUSED(a);
    return 0;
}

static bool no_namespaces(void)
{
    static const int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
    static char stack[65536] __attribute__((aligned(16)));
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (!refused(unshare(flags[i])) || !refused(clone(child_nothing, stack + sizeof stack, flags[i] | SIGCHLD, NULL)))
            return false;
    uint64_t args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    int ns = open("/proc/self/ns/user", O_RDONLY);
    return refused(syscall(SYS_clone3, args, sizeof args)) && refused(setns(ns, 0));
}

static bool no_tracing(void)
{
    char b[8];
    struct {
        void *p;
        size_t n;
    } v = {b, 8};
    int mem = open("/proc/1/mem", O_RDONLY), env = open("/proc/1/environ", O_RDONLY);
    return refused(ptrace(PTRACE_ATTACH, 1, 0, 0)) && refused(ptrace(PTRACE_TRACEME, 0, 0, 0)) && mem < 0 && env < 0 &&
           refused(syscall(SYS_process_vm_readv, 1, &v, 1, &v, 1, 0)) && refused(syscall(SYS_kcmp, 1, 2, 0, 0, 0)) &&
           refused(syscall(SYS_pidfd_getfd, 0, 0, 0)) && refused(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static bool no_kernel(void)
{
    return refused(syscall(SYS_bpf, 0, NULL, 0)) && refused(syscall(SYS_userfaultfd, 0)) && refused(syscall(SYS_io_uring_setup, 1, NULL)) &&
           refused(syscall(SYS_keyctl, 0, 0)) && refused(syscall(SYS_add_key, "user", "a", "b", 1, -2)) &&
           refused(syscall(SYS_request_key, "user", "a", NULL, 0)) && refused(syscall(SYS_init_module, NULL, 0, "")) &&
           refused(syscall(SYS_finit_module, -1, "", 0)) && refused(syscall(SYS_kexec_load, 0, 0, NULL, 0)) &&
           refused(syscall(SYS_reboot, 0, 0, 0, NULL)) && refused(syscall(SYS_swapon, "/x", 0)) && refused(syscall(SYS_acct, NULL)) &&
           refused(syscall(SYS_syslog, 3, NULL, 0)) && refused(syscall(SYS_iopl, 3)) && refused(syscall(SYS_quotactl, 0, NULL, 0, NULL)) &&
           refused(syscall(SYS_personality, 0x0400000)) && refused(syscall(SYS_settimeofday, NULL, NULL)) &&
           refused(syscall(SYS_name_to_handle_at, 0, "", NULL, NULL, 0)) && refused(syscall(SYS_open_by_handle_at, 0, NULL, 0)) &&
           refused(sethostname("x", 1)) && refused(syscall(99999));
}

static bool no_odd_sockets(void)
{
    static const struct {
        int family, type, protocol;
    } odd[] = {{AF_PACKET, SOCK_RAW, 0}, {AF_INET, SOCK_RAW, 1}, {AF_INET6, SOCK_RAW, 58}, {AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1}, {40 /* VSOCK */, SOCK_STREAM, 0},
               {38 /* ALG */, SOCK_SEQPACKET, 0}, {AF_NETLINK, SOCK_RAW, 9}, {AF_NETLINK, SOCK_RAW, 12}, {31 /* BLUETOOTH */, SOCK_RAW, 0},
               {AF_INET, SOCK_SEQPACKET, 132}, {44 /* XDP */, SOCK_RAW, 0}, {AF_KEY, SOCK_RAW, 2}};
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        if (!refused(socket(odd[i].family, odd[i].type, odd[i].protocol)))
            return false;
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 && socket(AF_INET6, SOCK_DGRAM, 0) >= 0 &&
           socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0;
}

static bool no_rights(void)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}}, have[2];
    gid_t zero = 0;
    if (syscall(SYS_capget, &h, have) < 0 || have[0].effective | have[0].permitted | have[1].effective | have[1].permitted)
        return false;
    for (int cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
            return false;
    return syscall(SYS_capset, &h, d) < 0 && setuid(0) < 0 && setresuid(0, 0, 0) < 0 && setgid(0) < 0 && syscall(SYS_setgroups, 1, &zero) < 0 &&
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && getuid() == 1000 && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2;
}

static bool no_foreign_files(void)
{
    static const char *const hidden[] = {"/etc/shadow", "/root/.bashrc", "/home/user", "/var/log", "/sys", "/boot", "/run", "/dev/sda",
                                         "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/fuse", "/dev/net/tun", "/proc/kcore", "/old", "/scratch"};
    for (size_t i = 0; i < COUNT_OF(hidden); i++)
        if (open(hidden[i], O_RDONLY) >= 0)
            return false;
    static const char *const fixed[] = {"/x", "/usr/x", "/etc/x", "/etc/passwd", "/usr/bin/env", "/dev/x", "/proc/sysrq-trigger",
                                        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/1/oom_score_adj"};
    for (size_t i = 0; i < COUNT_OF(fixed); i++)
        if (open(fixed[i], O_WRONLY | O_CREAT, 0600) >= 0)
            return false;
    return mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)) < 0 && mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)) < 0 &&
           open("/tmp/mine", O_WRONLY | O_CREAT, 0600) >= 0 && open(SANDBOX_HOME "/mine", O_WRONLY | O_CREAT, 0600) >= 0 &&
           open("/dev/shm/mine", O_WRONLY | O_CREAT, 0600) >= 0;
}

static int count_in(const char *dir, bool numbers)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += numbers ? e->d_name[0] >= '0' && e->d_name[0] <= '9' : e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static bool no_foreign_processes(void)
{
    /* init and this one; their supervisor, whose pid we are told, is nobody here */
    return count_in("/proc", true) == 2 && kill(arg, 0) < 0 && errno == ESRCH && getppid() == 1 && kill(1, SIGKILL) == 0 &&
           usleep(10000) == 0 && kill(1, 0) == 0;
}

static bool no_inherited_files(void)
{
    return count_in("/proc/self/fd", true) == 4; /* 0, 1, 2 and the listing itself */
}

static int dial(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(fd, (struct sockaddr *)&a, sizeof a);
}

static bool no_network(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return dial(arg) < 0 && connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno == ENETUNREACH && dial(4200) == 0;
}

static bool open_network(void)
{
    return dial(arg) == 0;
}

static bool no_abstract_sockets(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), n = snprintf(a.sun_path + 1, 60, "millpond-test-%d", arg);
    return connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0 && errno == EPERM;
}

static bool no_more_processes(void)
{
    int n = 0;
    for (int pid; n < 500 && (pid = fork()) >= 0; n++)
        if (!pid) {
            pause();
            _exit(0);
        }
    return n > 10 && n < 70;
}

static bool no_more_disk(void)
{
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    int fd = open("/tmp/big", O_WRONLY | O_CREAT, 0600), n = 0;
    while (n < 100 && write(fd, block, sizeof block) == (ssize_t)sizeof block)
        n++;
    int e = errno, other = open("/dev/shm/more", O_WRONLY | O_CREAT, 0600);
    return n >= 30 && n <= 33 && e == ENOSPC && write(other, block, sizeof block) < (ssize_t)sizeof block;
}

/* Not a refusal but an end: the row is killed. */
static bool eats_memory(void)
{
    for (int i = 0; i < 1024; i++) {
        char *p = malloc((size_t)1 << 20);
        if (!p)
            _exit(9); /* a limit on the process */
        memset(p, i + 1, (size_t)1 << 20);
    }
    return false;
}

static bool leaves_daemon(void)
{
    if (!fork()) {
        setsid();
        if (!fork()) {
            for (int fd = 0; fd < 3; fd++)
                if (fd != 1)
                    close(fd);
            for (;;) {
                if (write(1, ".", 1) < 0)
                    _exit(0);
                usleep(10000);
            }
        }
        _exit(0);
    }
    usleep(50000);
    return true;
}

static bool ends_by_signal(void)
{
    raise(SIGKILL);
    return false;
}

enum { OPEN_NET = 1, ROOT_ONLY = 2, NOT_SANITIZED = 4 };

static const struct row {
    const char *name;
    bool (*holds)(void);
    int flags, code; /* expected exit code; 0 where it holds */
} rows[] = {
    {"mount", no_mount, 0, 0},
    {"namespaces", no_namespaces, 0, 0},
    {"tracing", no_tracing, 0, 0},
    {"kernel", no_kernel, 0, 0},
    {"sockets", no_odd_sockets, 0, 0},
    {"rights", no_rights, 0, 0},
    {"files", no_foreign_files, 0, 0},
    {"processes", no_foreign_processes, 0, 0},
    {"inherited", no_inherited_files, 0, 0},
    {"network", no_network, 0, 0},
    {"open-network", open_network, OPEN_NET, 0},
    {"abstract", no_abstract_sockets, OPEN_NET, 0},
    {"fork-bomb", no_more_processes, 0, 0},
    {"disk", no_more_disk, 0, 0},
    {"memory", eats_memory, NOT_SANITIZED, 137},
    {"daemon", leaves_daemon, 0, 0},
    {"signal", ends_by_signal, 0, 137},
};

static char exe[4096], home_dir[4096];
static bool possible;
static char why_not[500];
static int listener, listener_port, abstract_fd;

static bool landlock_scopes(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 6;
}

/* Runs `exe row NAME arg`; its exit code. */
static int run_row(struct arena *a, const struct row *r, int told, struct cgroup_use *ret_use, int out)
{
    Str argv[] = {str_of(exe), STR("row"), str_of(r->name), str_fmt(a, "%d", told)};
    Str dir = str_of(exe);
    while (dir.p[dir.n - 1] != '/')
        dir.n--;
    dir.n--;
    Str shown[] = {str_of(str_z(a, dir))};
    EnvVars env = {0};
    env_set(a, &env, STR("PATH"), STR("/usr/bin"));
    env_set(a, &env, STR("ASAN_OPTIONS"), STR("detect_leaks=0"));
    AUTO(buf_free) struct buf notes = BUF(4096);
    struct sandbox_spec s = {
        .argv = argv, .argc = COUNT_OF(argv), .env = &env, .read_only = shown, .read_only_count = 1,
        .network = r->flags & OPEN_NET ? SANDBOX_OPEN : SANDBOX_CLOSED, .listen_ports = {r->flags & OPEN_NET ? 0 : 4200},
        .group = str_fmt(a, "test-%d", (int)getpid()), .memory_mb = SANITIZED ? 2048 : 128, .pids = 64, .disk_mb = 32, .cpus = 1,
        .out_fd = out, .err_fd = 2, .pass_fd = -1,
    };
    struct child c = {0};
    struct err err;
    int inner[SANDBOX_LISTENERS];
    if (sandbox_start(a, &s, &c, inner, &notes, &err) < 0)
        fail_msg("%s: %s", r->name, err.text);
    int status;
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    *ret_use = cgroup_use(&c.group);
    child_clear(&c);
    if (inner[0] >= 0)
        close(inner[0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_rows(void **state)
{
    UNUSED(state);
    if (!possible) {
        print_message("left out: %s\n", why_not);
        skip();
    }
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct row *r = &rows[i];
        AUTO(arena_freep) struct arena *a = arena_create();
        if ((r->flags & NOT_SANITIZED && SANITIZED) || (r->holds == no_abstract_sockets && !landlock_scopes())) {
            print_message("left out: %s\n", r->name);
            continue;
        }
        int told = r->holds == no_foreign_processes || r->holds == no_abstract_sockets ? (int)getpid() : listener_port;
        struct cgroup_use use;
        int out[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        int code = run_row(a, r, told, &use, out[1]);
        close(out[1]);
        bool ok = code == r->code;
        if (r->holds == eats_memory && use.peak_memory < 0)
            ok = code == 9; /* no control group here: the process's own limit */
        else if (r->holds == eats_memory)
            ok = ok && use.oom_kills > 0;
        if (r->holds == leaves_daemon) {
            /* With the sandbox its last writer is gone: the pipe comes to an end. */
            char b[4096];
            ssize_t n;
            struct pollfd f = {.fd = out[0], .events = POLLIN};
            while ((ok = poll(&f, 1, 2000) == 1) && (n = read(out[0], b, sizeof b)) > 0)
                ;
        }
        close(out[0]);
        if (!ok) {
            print_message("%s does not hold: %d\n", r->name, code);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

static void test_bad_requests(void **state)
{
    UNUSED(state);
    if (!possible) {
        print_message("left out: %s\n", why_not);
        skip();
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf notes = BUF(4096);
    EnvVars env = {0};
    Str missing[] = {STR("/no/such/path")}, argv[] = {STR("/no/such/program")};
    struct sandbox_spec s = {.argv = argv, .argc = 1, .env = &env, .group = STR("test-bad"), .out_fd = 1, .err_fd = 2, .pass_fd = -1};
    struct child c = {0};
    struct err err;
    int inner[SANDBOX_LISTENERS];
    assert_int_equal(sandbox_start(a, &s, &c, inner, &notes, &err), -1);
    assert_non_null(strstr(err.text, "executing the command '/no/such/program': No such file"));
    s.read_only = missing;
    s.read_only_count = 1;
    assert_int_equal(sandbox_start(a, &s, &c, inner, &notes, &err), -1);
    assert_non_null(strstr(err.text, "cannot show /no/such/path"));
    s.read_only_count = 0;
    s.cwd = STR("/usr/no/such");
    assert_int_equal(sandbox_start(a, &s, &c, inner, &notes, &err), -1);
    assert_non_null(strstr(err.text, "entering the working directory /usr/no/such"));
    assert_int_equal(c.pid, 0);
}

/* The whole way from the call to the command's first instruction. */
static void test_speed(void **state)
{
    UNUSED(state);
    if (!possible) {
        print_message("left out: %s\n", why_not);
        skip();
    }
    enum { ROUNDS = 41 };
    Dur took[ROUNDS];
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf notes = BUF(65536);
    EnvVars env = {0};
    Str argv[] = {STR("/bin/true")};
    for (int i = 0; i < ROUNDS; i++) {
        struct sandbox_spec s = {.argv = argv, .argc = 1, .env = &env, .group = STR("test-speed"), .out_fd = 1, .err_fd = 2, .pass_fd = -1, .cpus = 1};
        struct child c = {0};
        struct err err;
        int inner[SANDBOX_LISTENERS], status;
        Dur began = time_monotonic();
        assert_int_equal(sandbox_start(a, &s, &c, inner, &notes, &err), 0);
        took[i] = time_monotonic() - began;
        waitpid(c.pid, &status, 0);
        child_clear(&c);
    }
    for (int i = 0; i < ROUNDS; i++)
        for (int k = i + 1; k < ROUNDS; k++)
            if (took[k] < took[i]) {
                Dur t = took[i];
                took[i] = took[k];
                took[k] = t;
            }
    print_message("to exec of /bin/true: p50 %.1f ms, p90 %.1f ms\n", (double)took[ROUNDS / 2] / MSEC, (double)took[ROUNDS * 9 / 10] / MSEC);
    assert_true(took[ROUNDS / 2] < 100 * MSEC); /* a tripwire for something gone badly wrong, on any machine */
}

static int setup(void **state)
{
    UNUSED(state);
    AUTO(buf_free) struct buf notes = BUF(4096);
    struct err err;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[MAX(n, 0)] = '\0';
    snprintf(home_dir, sizeof home_dir, "%s", getenv("HOME") ? getenv("HOME") : "/");
    possible = sandbox_probe(&notes, &err) == 0;
    if (!possible)
        snprintf(why_not, sizeof why_not, "%s", err.text);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    if (bind(listener, (struct sockaddr *)&any, len) || listen(listener, 10) || getsockname(listener, (struct sockaddr *)&any, &len))
        return -1;
    listener_port = ntohs(any.sin_port);
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    int m = snprintf(u.sun_path + 1, 60, "millpond-test-%d", (int)getpid());
    abstract_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(abstract_fd, (struct sockaddr *)&u, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)m)) || listen(abstract_fd, 10);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "row")) {
        int64_t told;
        arg = str_int(str_of(argv[3]), &told) ? (int)told : 0;
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            if (!strcmp(rows[i].name, argv[2]))
                return rows[i].holds() ? 0 : 1;
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests_name("sandbox", tests, setup, NULL);
}
