/* Loaded before a server's libraries (LD_PRELOAD): its clock can be set, and the disk under its files can fail. What happens is said by
 * the file BADDAY_CONTROL, which the test writes to; the server has it in memory. Tests alone use it. */
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t offset_us;  /* of the wall clock to the true one */
    _Atomic int32_t write_errno; /* that writes to files meet with; 0: none */
    _Atomic int32_t sync_errno;  /* that fsync and fdatasync do */
    _Atomic int64_t kill_in;     /* the n-th sync from now on ends the process, before it is done; 0: none */
    char match[256];             /* of a file's path: those that fail */
};

static struct control none, *control = &none;
static _Atomic bool is_realtime[1024]; /* timers that count by the wall clock */

static int64_t offset(void)
{
    return atomic_load_explicit(&control->offset_us, memory_order_relaxed);
}

static void add(struct timespec *ts, int64_t us)
{
    int64_t ns = ts->tv_nsec + us % 1000000 * 1000;
    ts->tv_sec += us / 1000000 + ns / 1000000000;
    ns %= 1000000000;
    if (ns < 0) {
        ns += 1000000000;
        ts->tv_sec--;
    }
    ts->tv_nsec = ns;
}

/* The kernel ends a wait when the clock is set; here a thread does, within some milliseconds. */
static void *watch(void *arg)
{
    (void)arg;
    for (int64_t was = offset();;) {
        usleep(5000);
        int64_t now = offset();
        if (now == was)
            continue;
        was = now;
        struct itimerspec soon = {.it_value.tv_nsec = 1};
        for (int fd = 0; fd < 1024; fd++)
            if (is_realtime[fd])
                syscall(SYS_timerfd_settime, fd, 0, &soon, NULL);
    }
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BADDAY_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        abort();
    control = p;
    pthread_t t;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the server's own threads */
    if (pthread_create(&t, NULL, watch, NULL) == 0)
        pthread_detach(t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        add(ts, offset());
    return rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    (void)zone;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    *tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *ret)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ret)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}

int timerfd_create(clockid_t id, int flags)
{
    int fd = (int)syscall(SYS_timerfd_create, id, flags);
    if (fd >= 0 && fd < 1024)
        is_realtime[fd] = id == CLOCK_REALTIME;
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
    struct itimerspec moved = *at;
    if (fd >= 0 && fd < 1024 && is_realtime[fd] && flags & TFD_TIMER_ABSTIME)
        add(&moved.it_value, -offset());
    return (int)syscall(SYS_timerfd_settime, fd, flags, &moved, old);
}

/* ---- the disk ---- */

static bool strikes(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = 0;
    return path[0] == '/' && strstr(path, control->match) != NULL;
}

static int failure(int fd, _Atomic int32_t *which)
{
    int e = atomic_load_explicit(which, memory_order_relaxed);
    return e && strikes(fd) ? e : 0;
}

#define FAIL_IF(fd, which)                                                                                   \
    do {                                                                                                     \
        int e_ = failure(fd, &control->which);                                                               \
        if (e_) {                                                                                            \
            errno = e_;                                                                                      \
            return -1;                                                                                       \
        }                                                                                                    \
    } while (0)

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    FAIL_IF(fd, write_errno);
    return syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return pwrite64(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
    FAIL_IF(fd, write_errno);
    return syscall(SYS_write, fd, p, n);
}

int ftruncate64(int fd, off64_t n)
{
    FAIL_IF(fd, write_errno);
    return (int)syscall(SYS_ftruncate, fd, n);
}

int posix_fallocate64(int fd, off64_t at, off64_t n)
{
    int e = failure(fd, &control->write_errno);
    return e ? e : syscall(SYS_fallocate, fd, 0, at, n) < 0 ? errno : 0;
}

static void count_sync(int fd)
{
    if (atomic_load_explicit(&control->kill_in, memory_order_relaxed) > 0 && strikes(fd) &&
        atomic_fetch_sub(&control->kill_in, 1) == 1)
        syscall(SYS_kill, getpid(), 9);
}

int fsync(int fd)
{
    count_sync(fd);
    FAIL_IF(fd, sync_errno);
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    count_sync(fd);
    FAIL_IF(fd, sync_errno);
    return (int)syscall(SYS_fdatasync, fd);
}
