/* What must not be possible inside a sandbox, a row each: this program runs itself in one, and each row tries. */
#include "tests/unit/test.h"

#include "worker/relay.h"
#include "worker/run_dir.h"
#include "worker/sandbox.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
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

static struct {
    int pid;     /* of the test: nobody in there */
    int host;    /* port on the machine's loopback that answers (serve()) */
    int guarded; /* another, which no row may reach */
    int closed;  /* one where nobody listens */
    int abstract;
    char outside[64]; /* an address of the machine that is no loopback's; "-": it has none */
} told;

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
    return count_in("/proc", true) == 2 && kill(told.pid, 0) < 0 && errno == ESRCH && getppid() == 1 && kill(1, SIGKILL) == 0 &&
           usleep(10000) == 0 && kill(1, 0) == 0;
}

static bool no_inherited_files(void)
{
    return count_in("/proc/self/fd", true) == 4; /* 0, 1, 2 and the listing itself */
}

/* connect() to "address" and port; its errno, 0 where it is there. */
static int reach(const char *address, int port, int type, bool waits, int *ret_fd)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&s;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s;
    socklen_t n = sizeof *v4;
    int family = AF_INET, e = 0;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
    } else {
        inet_pton(AF_INET6, address, &v6->sin6_addr);
        v6->sin6_family = AF_INET6;
        family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        n = sizeof *v6;
    }
    int fd = socket(family, type | (waits ? 0 : SOCK_NONBLOCK), 0);
    struct pollfd f = {.fd = fd, .events = POLLOUT};
    if (connect(fd, (struct sockaddr *)&s, n) < 0)
        e = errno;
    if (e == EINPROGRESS && poll(&f, 1, 5000) == 1) {
        n = sizeof e;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
    }
    if (ret_fd)
        *ret_fd = fd;
    else
        close(fd);
    return e;
}

/* The machine's server sends back as many bytes as it is asked for. */
static bool speaks(int fd, uint32_t count)
{
    static char bytes[1 << 16];
    uint32_t got = 0;
    struct pollfd f = {.fd = fd, .events = POLLIN};
    if (send(fd, &count, sizeof count, 0) != sizeof count)
        return false;
    while (got < count && poll(&f, 1, 10000) == 1) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != (char)((got + (uint32_t)i) % 251))
                return false;
        if (n <= 0 && !(n < 0 && errno == EAGAIN))
            return false;
        got += (uint32_t)MAX(n, 0);
    }
    shutdown(fd, SHUT_WR);
    char last;
    bool end = poll(&f, 1, 10000) == 1 && read(fd, &last, 1) == 0;
    close(fd);
    return got == count && end;
}

static bool no_network(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808)};
    return reach("8.8.8.8", 53, SOCK_DGRAM, true, NULL) == ENETUNREACH && reach("8.8.8.8", 53, SOCK_STREAM, true, NULL) == ENETUNREACH &&
           reach("8.8.8.8", 53, SOCK_STREAM, false, NULL) == ENETUNREACH && reach("169.254.169.254", 80, SOCK_STREAM, true, NULL) == ENETUNREACH &&
           sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof a) < 0 && errno == ENETUNREACH &&
           reach("127.0.0.1", told.host, SOCK_STREAM, true, NULL) == ECONNREFUSED && reach("::1", told.host, SOCK_STREAM, false, NULL) == ECONNREFUSED &&
           (told.outside[0] == '-' || reach(told.outside, told.host, SOCK_STREAM, true, NULL) == ENETUNREACH) &&
           reach("127.0.0.1", 4200, SOCK_STREAM, true, NULL) == 0;
}

/* Nothing of the machine's own: interfaces, addresses, connections, listening sockets. */
static bool own_network(void)
{
    struct ifaddrs *all = NULL;
    int n = 0;
    char text[4096] = "";
    getifaddrs(&all);
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        n += strncmp(i->ifa_name, "lo", 2) != 0;
    int fd = open("/proc/net/tcp", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    char host[16];
    snprintf(host, sizeof host, ":%04X", (unsigned)told.host);
    return n == 0 && got > 0 && !strstr(text, host);
}

static bool open_network(void)
{
    int fd;
    /* Both manners of connecting, both families, and through to the end. */
    return reach("127.0.0.1", told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 20 << 20) &&
           reach("127.0.0.1", told.host, SOCK_STREAM, false, &fd) == 0 && speaks(fd, 1000) &&
           reach("::ffff:127.0.0.1", told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 0) &&
           reach("0.0.0.0", told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 77) &&
           (told.outside[0] == '-' || (reach(told.outside, told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 70000))) &&
           reach("127.0.0.1", told.closed, SOCK_STREAM, true, NULL) == ECONNREFUSED &&
           reach("127.0.0.1", told.closed, SOCK_STREAM, false, NULL) == ECONNREFUSED && reach("127.0.0.1", 4200, SOCK_STREAM, true, NULL) == 0;
}

static bool no_link_local(void)
{
    static const char *const forbidden[] = {"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "169.254.0.1", "fe80::1", "febf::1",
                                            "fd00:ec2::254",   "168.63.129.16",          "100.100.100.200",          "192.0.0.192"};
    for (size_t i = 0; i < COUNT_OF(forbidden); i++)
        for (int waits = 0; waits < 2; waits++)
            if (reach(forbidden[i], 80, SOCK_STREAM, waits, NULL) != EACCES || reach(forbidden[i], 53, SOCK_DGRAM, waits, NULL) != EACCES)
                return false;
    return reach("127.0.0.1", told.guarded, SOCK_STREAM, true, NULL) == ECONNREFUSED && reach("0.0.0.0", told.guarded, SOCK_STREAM, true, NULL) == ECONNREFUSED &&
           reach("::1", told.guarded, SOCK_STREAM, true, NULL) == ECONNREFUSED && reach("::", told.guarded, SOCK_STREAM, true, NULL) == ECONNREFUSED;
}

/* Servers of the run's own are reached inside; several runs may use one port. */
static bool inner_servers(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), port, peer, one;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)told.host)};
    char c = 0;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1))
        return false;
    port = told.host;
    if (reach("127.0.0.1", port, SOCK_STREAM, false, &peer) || (one = accept(fd, NULL, NULL)) < 0 || write(one, "k", 1) != 1)
        return false;
    struct pollfd f = {.fd = peer, .events = POLLIN};
    return poll(&f, 1, 2000) == 1 && read(peer, &c, 1) == 1 && c == 'k';
}

/* The call's address and socket are changed while it is looked at. */
static struct sockaddr_in turning;
static _Atomic bool stop_turning;
static int turned[2];

static void *turn(void *unused)
{
    UNUSED(unused);
    for (unsigned i = 0; !stop_turning; i++) {
        turning.sin_port = htons((uint16_t)(i & 1 ? told.guarded : 4200));
        turning.sin_addr.s_addr = htonl(i & 2 ? 0xa9fea9fe : INADDR_LOOPBACK);
        if (i % 64 == 0)
            dup2(turned[(i / 64) & 1], 100);
    }
    return NULL;
}

static bool no_race(void)
{
    pthread_t t;
    turned[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    turned[1] = socket(AF_INET, SOCK_DGRAM, 0);
    turning = (struct sockaddr_in){.sin_family = AF_INET};
    pthread_create(&t, NULL, turn, NULL);
    for (int i = 0; i < 2000; i++) {
        int fd = socket(AF_INET, (i & 3 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
        (void)!connect(i & 1 ? 100 : fd, (struct sockaddr *)&turning, sizeof turning);
        (void)!send(fd, "reached", 7, MSG_NOSIGNAL);
        close(fd);
        if (i % 16 == 0) {
            turned[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            dup2(turned[0], 101);
            close(turned[0]);
            turned[0] = 101;
        }
    }
    stop_turning = true;
    pthread_join(t, NULL);
    return true; /* who counts is the guarded server */
}

static bool listed_network(void)
{
    int fd;
    return reach("127.0.0.1", told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 1000) &&
           reach("127.0.0.1", told.guarded, SOCK_STREAM, true, NULL) == ECONNREFUSED && reach("8.8.8.8", 53, SOCK_STREAM, true, NULL) == EACCES &&
           reach("8.8.8.8", 53, SOCK_DGRAM, true, NULL) == EACCES && reach("169.254.169.254", 80, SOCK_STREAM, true, NULL) == EACCES;
}

static bool looks_up(const char *name, const char *expected)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    int rc = getaddrinfo(name, "80", &hints, &found);
    char text[64] = "";
    if (!rc)
        getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    return expected ? !rc && !strcmp(text, expected) : rc != 0;
}

static bool names(void)
{
    return looks_up("test.millpond.invalid", told.outside[0] == '-' ? "192.0.2.77" : told.outside) && looks_up("localhost", "127.0.0.1");
}

static bool listed_names(void)
{
    int fd;
    if (!looks_up("other.millpond.invalid", NULL) || (told.outside[0] != '-' && reach(told.outside, told.host, SOCK_STREAM, true, NULL) != EACCES))
        return false;
    if (told.outside[0] == '-')
        return true;
    return looks_up("test.millpond.invalid", told.outside) && reach(told.outside, told.host, SOCK_STREAM, true, &fd) == 0 && speaks(fd, 10) &&
           reach(told.outside, told.guarded, SOCK_STREAM, true, NULL) == EACCES;
}

static bool no_abstract_sockets(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), n = snprintf(a.sun_path + 1, 60, "millpond-test-%d", told.abstract);
    return connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0 && errno == ECONNREFUSED;
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

/* Three that want a processor each get one together. */
static bool no_more_cpu(void)
{
    Dur until = time_monotonic() + SEC;
    for (int i = 0; i < 3; i++)
        if (!fork()) {
            while (time_monotonic() < until)
                ;
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    struct rusage use;
    getrusage(RUSAGE_CHILDREN, &use);
    return use.ru_utime.tv_sec + use.ru_stime.tv_sec < 1 || (use.ru_utime.tv_sec + use.ru_stime.tv_sec == 1 && use.ru_utime.tv_usec + use.ru_stime.tv_usec < 400000);
}

static ssize_t slurp(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);
    text[MAX(n, 0)] = '\0';
    if (fd >= 0)
        close(fd);
    return n;
}

/* What the machine is called, what runs on it and from where: none of it is told. */
static bool no_foreign_words(void)
{
    static char text[1 << 16];
    static const char *const links[] = {"/proc/1/exe", "/proc/1/cwd", "/proc/1/root", "/proc/1/fd/0", "/proc/1/ns/net"};
    for (size_t i = 0; i < COUNT_OF(links); i++)
        if (readlink(links[i], text, sizeof text) >= 0)
            return false;
    ssize_t n = slurp("/proc/1/cmdline", text, sizeof text);
    for (ssize_t i = 0; i < n; i++)
        if (text[i] && (i > 3 || text[i] != "init"[i]))
            return false;
    if (slurp("/proc/1/maps", text, sizeof text) > 0 || slurp("/proc/cmdline", text, sizeof text) > 0 || slurp("/proc/keys", text, sizeof text) > 0)
        return false;
    if (slurp("/proc/self/mountinfo", text, sizeof text) <= 0 || strstr(text, "millpond-hidden"))
        return false;
    if (slurp("/proc/self/cgroup", text, sizeof text) <= 0 || strstr(text, "test-"))
        return false;
    char host[64] = "";
    return gethostname(host, sizeof host) == 0 && !strcmp(host, "run") && slurp("/opt/shown/file", text, sizeof text) == 5 &&
           slurp("/etc/passwd", text, sizeof text) > 0 && !strstr(text, "/root") && environ[0] && !getenv("HOME") && !getenv("MILLPOND_SECRET");
}

/* Ways around the root. */
static bool no_way_round(void)
{
    static const char *const ways[] = {"/tmp/link", "/proc/self/root/etc/shadow", "/proc/self/cwd/../../../../etc/shadow", "/proc/1/root/etc/shadow",
                                       "/../../../etc/shadow", "/proc/self/task/../root/../etc/shadow", "/dev/fd/../../../etc/shadow", "/tmp/dir/up/etc/shadow"};
    if (symlink("/etc/shadow", "/tmp/link") || mkdir("/tmp/dir", 0700) || symlink("../../../../..", "/tmp/dir/up") || chdir("/tmp"))
        return false;
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        if (open(ways[i], O_RDONLY) >= 0)
            return false;
    int root = open("/", O_RDONLY | O_DIRECTORY), up = root;
    for (int i = 0; i < 20; i++)
        up = openat(up, "..", O_RDONLY | O_DIRECTORY);
    struct stat a, b;
    return fstat(root, &a) == 0 && fstat(up, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev && link("/usr/bin/env", "/tmp/env") < 0 &&
           rename("/etc/hosts", "/tmp/hosts") < 0 && unlink("/etc/hosts") < 0 && truncate("/etc/hosts", 0) < 0 && chmod("/usr/bin/env", 04755) < 0 &&
           chown("/tmp/dir", 0, 0) < 0 && utimensat(AT_FDCWD, "/usr/bin/env", NULL, 0) < 0;
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

enum { OPEN_NET = 1, OPEN_LOOPBACK = 2, LISTED_NET = 8, NOT_SANITIZED = 4 };

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
    {"own-network", own_network, OPEN_NET | OPEN_LOOPBACK, 0},
    {"open-network", open_network, OPEN_NET | OPEN_LOOPBACK, 0},
    {"link-local", no_link_local, OPEN_NET, 0},
    {"inner-servers", inner_servers, OPEN_NET | OPEN_LOOPBACK, 0},
    {"race", no_race, OPEN_NET, 0},
    {"listed-network", listed_network, LISTED_NET, 0},
    {"names", names, OPEN_NET, 0},
    {"listed-names", listed_names, LISTED_NET, 0},
    {"abstract", no_abstract_sockets, OPEN_NET | OPEN_LOOPBACK, 0},
    {"words", no_foreign_words, 0, 0},
    {"way-round", no_way_round, 0, 0},
    {"cpu", no_more_cpu, 0, 0},
    {"fork-bomb", no_more_processes, 0, 0},
    {"disk", no_more_disk, 0, 0},
    {"memory", eats_memory, NOT_SANITIZED, 137},
    {"daemon", leaves_daemon, 0, 0},
    {"signal", ends_by_signal, 0, 137},
};

static char exe[4096], hidden_dir[200];
static bool possible;
static char why_not[500];
static int listener, guarded, abstract_fd, name_server, name_port;
static _Atomic int guarded_count;

/* One connection: as many bytes as the other end wants, then its end awaited. */
static void serve_one(int fd)
{
    static char bytes[1 << 16];
    uint32_t count = 0;
    if (recv(fd, &count, sizeof count, MSG_WAITALL) == sizeof count) {
        for (uint32_t sent = 0; sent < count;) {
            uint32_t n = MIN(count - sent, (uint32_t)sizeof bytes);
            for (uint32_t i = 0; i < n; i++)
                bytes[i] = (char)((sent + i) % 251);
            for (uint32_t k = 0; k < n;) {
                ssize_t put = send(fd, bytes + k, n - k, MSG_NOSIGNAL);
                if (put <= 0)
                    return;
                k += (uint32_t)put;
            }
            sent += n;
        }
        (void)!read(fd, bytes, 1);
    }
}

static void *serve(void *unused)
{
    UNUSED(unused);
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd))
        serve_one(fd);
    return NULL;
}

static void *guard(void *unused)
{
    UNUSED(unused);
    for (int fd; (fd = accept4(guarded, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd))
        guarded_count++;
    return NULL;
}

/* Every name has one address. */
static void *name_names(void *unused)
{
    UNUSED(unused);
    unsigned char q[600];
    struct sockaddr_in from;
    for (;;) {
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(name_server, q, 500, 0, (struct sockaddr *)&from, &len);
        if (n < 16)
            return NULL;
        size_t end = 12; /* the question's end; more sections are left out of the answer */
        while (end < (size_t)n && q[end])
            end += q[end] + 1u;
        end += 5;
        bool v4 = q[end - 3] == 1;
        const unsigned char head[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};
        q[2] |= 0x80;
        q[3] = 0;
        memset(q + 6, 0, 6);
        if (v4) {
            q[7] = 1;
            memcpy(q + end, head, sizeof head);
            end += sizeof head;
            inet_pton(AF_INET, told.outside[0] == '-' ? "192.0.2.77" : told.outside, q + end);
            end += 4;
        }
        sendto(name_server, q, end, 0, (struct sockaddr *)&from, len);
    }
}

/* Runs `exe row NAME …`; its exit code. */
static int run_row(struct arena *a, const struct row *r, struct cgroup_use *ret_use, int out)
{
    Str argv[] = {str_of(exe), STR("row"), str_of(r->name),
                  str_fmt(a, "%d %d %d %d %d %s", told.pid, told.host, told.guarded, told.closed, told.abstract, told.outside)};
    Str dir = str_of(exe);
    while (dir.p[dir.n - 1] != '/')
        dir.n--;
    dir.n--;
    struct sandbox_path shown[] = {{str_of(str_z(a, dir)), str_of(str_z(a, dir))}, {str_of(hidden_dir), STR("/opt/shown")}};
    EnvVars env = {0};
    env_set(a, &env, STR("PATH"), STR("/usr/bin"));
    env_set(a, &env, STR("ASAN_OPTIONS"), STR("detect_leaks=0"));
    AUTO(buf_free) struct buf notes = BUF(4096);
    struct sandbox_spec s = {
        .argv = argv, .argc = COUNT_OF(argv), .env = &env, .read_only = shown, .read_only_count = COUNT_OF(shown),
        .ways = {[WAY_API] = 4200, [WAY_NAMES] = 53, [WAY_DATAGRAMS] = 53, [WAY_OUT] = SANDBOX_ANY_PORT, [WAY_CONNECTS] = 1},
        .files = {{"/etc/resolv.conf", "nameserver 127.0.0.1\n"}},
        .group = str_fmt(a, "test-%d", (int)getpid()), .memory_mb = SANITIZED ? 2048 : 128, .pids = 64, .disk_mb = 32, .cpus = 1,
        .out_fd = out, .err_fd = 2, .pass_fd = -1,
    };
    struct child c = {0};
    struct err err;
    struct relay_options o = {.host = STR("127.0.0.1"), .port = told.host, .names = str_fmt(a, "127.0.0.1:%d", name_port)};
    if (sandbox_start(a, &s, &c, o.ways, &notes, &err) < 0)
        fail_msg("%s: %s", r->name, err.text);
    struct relay *relay = relay_start(&o, &err);
    assert_non_null(relay);
    Str list[] = {str_fmt(a, "127.0.0.1:%d", told.host), str_fmt(a, "test.millpond.invalid:%d", told.host)};
    if (r->flags & OPEN_NET)
        relay_permit(relay, RELAY_ALL, r->flags & OPEN_LOOPBACK, NULL, 0);
    if (r->flags & LISTED_NET)
        relay_permit(relay, RELAY_LISTED, false, list, COUNT_OF(list));
    int status;
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    *ret_use = cgroup_use(&c.group);
    child_clear(&c);
    relay_stop(relay);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_rows(void **state)
{
    UNUSED(state);
    if (!possible) {
        print_message("# left out: %s\n", why_not);
        return;
    }
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct row *r = &rows[i];
        AUTO(arena_freep) struct arena *a = arena_create();
        if (r->flags & NOT_SANITIZED && SANITIZED) {
            print_message("# left out: %s\n", r->name);
            continue;
        }
        struct cgroup_use use;
        int out[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        int code = run_row(a, r, &use, out[1]);
        close(out[1]);
        bool ok = code == r->code || (r->holds == no_more_cpu && use.peak_memory < 0);
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
            print_message("# %s does not hold: %d\n", r->name, code);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
    assert_int_equal(guarded_count, 0);
}

static void test_bad_requests(void **state)
{
    UNUSED(state);
    if (!possible) {
        print_message("# left out: %s\n", why_not);
        return;
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf notes = BUF(4096);
    EnvVars env = {0};
    struct sandbox_path missing[] = {{STR("/no/such/path"), STR("/x")}};
    Str argv[] = {STR("/no/such/program")};
    struct sandbox_spec s = {.argv = argv, .argc = 1, .env = &env, .group = STR("test-bad"), .out_fd = 1, .err_fd = 2, .pass_fd = -1};
    struct child c = {0};
    struct err err;
    int inner[WAY_COUNT];
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
        print_message("# left out: %s\n", why_not);
        return;
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
        int inner[WAY_COUNT], status;
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
    print_message("# to exec of /bin/true: p50 %.1f ms, p90 %.1f ms\n", (double)took[ROUNDS / 2] / MSEC, (double)took[ROUNDS * 9 / 10] / MSEC);
    assert_true(took[ROUNDS / 2] < 100 * MSEC); /* a tripwire for something gone badly wrong, on any machine */
}

static int listen_any(in_addr_t where, int type, int *ret_port)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(where)};
    socklen_t len = sizeof any;
    if (bind(fd, (struct sockaddr *)&any, len) || (type == SOCK_STREAM && listen(fd, 100)) || getsockname(fd, (struct sockaddr *)&any, &len))
        fail_msg("no socket to listen with");
    *ret_port = ntohs(any.sin_port);
    return fd;
}

static const char *in_hidden(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", hidden_dir, name);
    return path;
}

/* The same again as a user without any rights, from a place that it can read. */
static void test_plain_user(void **state)
{
    UNUSED(state);
    if (!possible || geteuid() || SANITIZED) { /* without a control group memory is limited by address space, of which ASan takes all */
        print_message("# left out: %s\n", !possible ? why_not : SANITIZED ? "a plain user's rows" : "not root: the rows were a plain user's already");
        return;
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    Str self;
    char plain[] = "/tmp/millpond-plain-XXXXXX";
    assert_true(mkdtemp(plain) && chown(plain, 65534, 65534) == 0);
    char *words[] = {str_z(a, str_fmt(a, "%s/test", plain)), str_z(a, STR("rows")), NULL};
    assert_int_equal(file_read(a, exe, (size_t)64 << 20, &self, &err), 0);
    assert_int_equal(file_replace(words[0], self, false, &err), 0);
    assert_int_equal(chmod(words[0], 0755), 0);
    setenv("TEST_DIR", plain, 1);
    int pid = fork();
    if (!pid) {
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        if (syscall(SYS_setgroups, 0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) || dup2(2, 1) < 0)
            _exit(99);
        execv(words[0], words);
        _exit(98);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(run_dir_remove(str_of(plain), &err), 0);
    assert_int_equal(status, 0);
}

/* Of sandboxes that ended, nothing: no process, no group, no mount. */
static int count_lines(const char *path, const char *with)
{
    FILE *f = fopen(path, "re");
    char line[4096];
    int n = 0;
    while (f && fgets(line, sizeof line, f))
        n += strstr(line, with) != NULL;
    if (f)
        fclose(f);
    return n;
}

static void test_nothing_left(void **state)
{
    UNUSED(state);
    static const char *const trees[] = {"unified", "memory", "cpu", "pids", "cpuacct", ""};
    char path[256];
    for (size_t i = 0; i < COUNT_OF(trees); i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/millpond/test-%d", trees[i], (int)getpid());
        if (access(path, F_OK) == 0)
            fail_msg("%s is left", path);
    }
    assert_int_equal(count_lines("/proc/self/mountinfo", "/opt/shown"), 0);
    assert_int_equal(count_lines("/proc/self/mountinfo", "scratch"), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static int teardown(void **state)
{
    UNUSED(state);
    struct err err;
    return run_dir_remove(str_of(hidden_dir), &err);
}

static int setup(void **state)
{
    UNUSED(state);
    AUTO(buf_free) struct buf notes = BUF(4096);
    struct err err;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[MAX(n, 0)] = '\0';
    snprintf(hidden_dir, sizeof hidden_dir, "%s/millpond-hidden-XXXXXX", getenv("TEST_DIR") ? getenv("TEST_DIR") : "/tmp");
    setenv("MILLPOND_SECRET", "x", 1);
    if (!mkdtemp(hidden_dir) || chmod(hidden_dir, 0755) || file_replace(in_hidden("file"), STR("hello"), false, &err) < 0 ||
        chmod(in_hidden("file"), 0644) < 0)
        return -1;
    possible = sandbox_probe(&notes, &err) == 0;
    if (!possible)
        snprintf(why_not, sizeof why_not, "%s", err.text);
    struct ifaddrs *all = NULL;
    snprintf(told.outside, sizeof told.outside, "-");
    getifaddrs(&all);
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && strcmp(i->ifa_name, "lo"))
            inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, told.outside, sizeof told.outside);
    freeifaddrs(all);
    int unused;
    listener = listen_any(INADDR_ANY, SOCK_STREAM, &told.host);
    guarded = listen_any(INADDR_LOOPBACK, SOCK_STREAM, &told.guarded);
    name_server = listen_any(INADDR_LOOPBACK, SOCK_DGRAM, &name_port);
    unused = listen_any(INADDR_LOOPBACK, SOCK_STREAM, &told.closed);
    close(unused);
    told.pid = told.abstract = (int)getpid();
    pthread_t t;
    if (pthread_create(&t, NULL, serve, NULL) || pthread_create(&t, NULL, guard, NULL) || pthread_create(&t, NULL, name_names, NULL))
        return -1;
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    int m = snprintf(u.sun_path + 1, 60, "millpond-test-%d", (int)getpid());
    abstract_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(abstract_fd, (struct sockaddr *)&u, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)m)) || listen(abstract_fd, 10);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "row")) {
        if (sscanf(argv[3], "%d %d %d %d %d %63s", &told.pid, &told.host, &told.guarded, &told.closed, &told.abstract, told.outside) != 6)
            return 3;
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            if (!strcmp(rows[i].name, argv[2]))
                return rows[i].holds() ? 0 : 1;
        return 2;
    }
    if (argc == 2 && !strcmp(argv[1], "rows")) {
        const struct CMUnitTest one[] = {cmocka_unit_test(test_rows)};
        cmocka_set_message_output(CM_OUTPUT_STDOUT);
        return cmocka_run_group_tests_name("sandbox", one, setup, teardown);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_plain_user),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests_name("sandbox", tests, setup, teardown);
}
