/* Calls to connect() from inside, carried out here.
 *
 * The caller's socket is fetched (pidfd_getfd) and so held fast; what it is connected to, and that it is done, is decided here on
 * our own copy of the address. Letting the kernel go on with the call itself (which reads the address again) is harmless too:
 * the socket is one of the sandbox's network, which leads nowhere. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/relay_int.h"

#define SOON (300 * MSEC) /* a socket that does not block has its answer within this, made up or not */
#define ARRIVAL_TIME (10 * SEC)

int calls_prepare(struct relay *r)
{
    struct seccomp_notif_sizes s;
    if (r->o.ways[WAY_CONNECTS] < 0)
        return 0;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &s) < 0)
        return -1;
    struct sockaddr_storage at;
    struct place p = {0};
    socklen_t n = sizeof at;
    if (getsockname(r->o.ways[WAY_OUT], (struct sockaddr *)&at, &n) < 0 || !place_of(&at, &p)) {
        errno = EINVAL;
        return -1;
    }
    r->out_port = p.port;
    r->notif_size = MAX(sizeof(struct seccomp_notif), s.seccomp_notif);
    r->answer_size = MAX(sizeof(struct seccomp_notif_resp), s.seccomp_notif_resp);
    r->notif = calloc(1, r->notif_size);
    r->answer = calloc(1, r->answer_size);
    if (!r->notif || !r->answer)
        die("out of memory");
    return 0;
}

/* `error` 0 or an errno; `go_on`: the kernel carries the call out. A caller that is gone hears nothing. */
static void answer(struct relay *r, uint64_t call, int error, bool go_on)
{
    struct seccomp_notif_resp *a = r->answer;
    memset(a, 0, r->answer_size);
    a->id = call;
    a->error = -error;
    a->flags = go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    (void)ioctl(r->o.ways[WAY_CONNECTS], SECCOMP_IOCTL_NOTIF_SEND, a);
}

static bool still_there(struct relay *r, uint64_t call)
{
    return ioctl(r->o.ways[WAY_CONNECTS], SECCOMP_IOCTL_NOTIF_ID_VALID, &call) == 0;
}

static void finish(struct relay *r, struct link *l, int error)
{
    answer(r, l->call, error, false);
    link_close(l);
}

void call_drop(struct relay *r, struct link *l)
{
    finish(r, l, ECONNABORTED);
}

/* The process that a thread belongs to; pidfd_open() takes no other. */
static int process_of(int tid)
{
    char path[40], text[2048];
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC), pid = -1;
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[MAX(n, 0)] = '\0';
    const char *at = strstr(text, "\nTgid:");
    return at && sscanf(at + 6, "%d", &pid) == 1 ? pid : -1;
}

static int fetch_socket(int pid, int number)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        return -1;
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0), saved = errno;
    close(pidfd);
    errno = saved;
    return fd;
}

/* connect() that never waits: 0, EINPROGRESS or another error. Inside a network namespace all is decided at once, but for a listener
 * whose queue is full. */
static int connect_on(int fd, const struct sockaddr *to, socklen_t n)
{
    int flags = fcntl(fd, F_GETFL), e = 0;
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, to, n) < 0)
        e = errno;
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags);
    struct pollfd f = {.fd = fd, .events = POLLOUT};
    if (e == EINPROGRESS && poll(&f, 1, 0) == 1) {
        socklen_t len = sizeof e;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        if (e)
            (void)!connect(fd, &none, sizeof none); /* or the next one would be told of this */
    }
    return e;
}

static bool local_place(int fd, struct place *ret)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    return getsockname(fd, (struct sockaddr *)&s, &n) == 0 && place_of(&s, ret);
}

/* Our own end for a socket of this family that wanted to go to `to`. */
static socklen_t our_end(const struct relay *r, int family, const struct place *to, int port, struct sockaddr_storage *ret)
{
    struct place p = {.address = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .port = port};
    UNUSED(r);
    if (family == AF_INET6 && memcmp(to->address, p.address, 12)) /* not IPv4 in IPv6's clothes */
        p = (struct place){.address = {[15] = 1}, .port = port};
    return place_sockaddr(&p, family, ret);
}

/* What was asked for is there, or will be: the caller's socket is connected to us, and the call comes to its end. */
static void admit(struct relay *r, struct link *l, bool is_there)
{
    struct sockaddr_storage s;
    int family = AF_INET;
    socklen_t n = sizeof family;
    struct place to = {.port = 0};
    getsockopt(l->sock, SOL_SOCKET, SO_DOMAIN, &family, &n);
    memcpy(to.address, l->from.address, 16); /* until here: where it wants to go */
    n = our_end(r, family, &to, r->out_port, &s);
    int e = connect_on(l->sock, (struct sockaddr *)&s, n);
    if (e == EINPROGRESS)
        e = EAGAIN; /* our queue is full */
    if (e || !local_place(l->sock, &l->from)) {
        finish(r, l, e ? e : EIO);
        return;
    }
    close(l->sock);
    l->sock = -1;
    l->until = time_monotonic() + ARRIVAL_TIME;
    l->stage = is_there ? STAGE_OPEN : STAGE_CONNECTING;
    answer(r, l->call, 0, false);
}

/* Begins the connection outside. The link is the call's until it is answered. */
static void go_out(struct relay *r, struct link *l, const struct place *to)
{
    if (!relay_permits(r, to)) {
        finish(r, l, atomic_load(&r->policy) == RELAY_NOTHING ? ENETUNREACH : EACCES);
        return;
    }
    struct place target = *to;
    if (place_is_loopback(to) && !target.address[12] && target.address[10]) /* 0.0.0.0 */
        target.address[12] = 127, target.address[15] = 1;
    l->out = place_dial(&target, SOCK_STREAM);
    if (l->out < 0) {
        finish(r, l, errno);
        return;
    }
    l->stage = STAGE_ASKED;
    l->from = *to;
    struct timeval most = {0};
    socklen_t n = sizeof most;
    getsockopt(l->sock, SOL_SOCKET, SO_SNDTIMEO, &most, &n);
    Dur d = (Dur)most.tv_sec * SEC + most.tv_usec;
    l->until = l->waits ? (d ? time_monotonic() + d : TIME_NEVER) : time_monotonic() + SOON;
}

void call_step(struct relay *r, struct link *l, short sock, short out)
{
    int e = 0;
    socklen_t n = sizeof e;
    if (l->stage == STAGE_INSIDE && sock) {
        getsockopt(l->sock, SOL_SOCKET, SO_ERROR, &e, &n);
        finish(r, l, e);
    } else if (l->stage == STAGE_ASKED && out) {
        getsockopt(l->out, SOL_SOCKET, SO_ERROR, &e, &n);
        if (e)
            finish(r, l, e);
        else
            admit(r, l, true);
    } else if (l->stage == STAGE_ASKED && time_monotonic() >= l->until) {
        if (l->waits)
            finish(r, l, EINPROGRESS); /* as for any socket with a time limit */
        else
            admit(r, l, false);
    } else if (!still_there(r, l->call)) {
        link_close(l);
    }
}

/* A connected stream. */
static void stream(struct relay *r, uint64_t call, int sock, const struct sockaddr_storage *s, socklen_t n, const struct place *to)
{
    bool waits = !(fcntl(sock, F_GETFL) & O_NONBLOCK), local = place_is_loopback(to);
    int e = ECONNREFUSED;
    if (local || (r->alias.port && !memcmp(to->address, r->alias.address, 16)))
        e = connect_on(sock, (const struct sockaddr *)s, n);
    struct link *l = e == ECONNREFUSED || (e == EINPROGRESS && waits) ? link_new(r, WAY_OUT, -1) : NULL;
    if (!l) {
        answer(r, call, e == ECONNREFUSED ? ENOBUFS : e, false);
        close(sock);
        return;
    }
    l->call = call;
    l->sock = sock;
    l->waits = waits;
    l->stage = STAGE_INSIDE;
    if (e == EINPROGRESS)
        return;
    if (local && !relay_permits(r, to))
        finish(r, l, ECONNREFUSED);
    else
        go_out(r, l, to);
}

/* A UDP socket gets a way of its own; nothing is sent yet. */
static void datagrams(struct relay *r, uint64_t call, int sock, int family, const struct sockaddr_storage *s, socklen_t n, const struct place *to)
{
    struct place from;
    struct sockaddr_storage us;
    int e;
    if (place_is_loopback(to)) {
        e = connect_on(sock, (const struct sockaddr *)s, n);
    } else if (!relay_permits(r, to)) {
        e = atomic_load(&r->policy) == RELAY_NOTHING ? ENETUNREACH : EACCES;
    } else {
        n = our_end(r, family, to, 53, &us);
        e = connect_on(sock, (struct sockaddr *)&us, n);
        if (!e && (!local_place(sock, &from) || path_make(r, &from, to) < 0))
            e = ENETUNREACH;
    }
    answer(r, call, e, false);
    close(sock);
}

static void one_call(struct relay *r, const struct seccomp_notif *q)
{
    struct sockaddr_storage s = {0};
    socklen_t n = (socklen_t)MIN(q->data.args[2], sizeof s);
    struct iovec here = {&s, n}, there = {(void *)(uintptr_t)q->data.args[1], n};
    int pid = process_of((int)q->pid), domain = AF_UNSPEC, type = 0;
    socklen_t len = sizeof domain;
    struct place to;
    if (q->data.args[2] > INT32_MAX || n < sizeof s.ss_family || pid < 0 || process_vm_readv((int)q->pid, &here, 1, &there, 1, 0) != (ssize_t)n) {
        if (errno == EPERM && !r->told) {
            r->told = true;
            log_at(LOG_WARN, "supervisor", "this machine lets nobody look into calls: the run's network is closed", "error=\"%s\"", strerror(errno));
        }
        answer(r, q->id, 0, true);
        return;
    }
    int sock = fetch_socket(pid, (int)q->data.args[0]);
    if (sock < 0 || !still_there(r, q->id)) {
        if (sock >= 0)
            close(sock);
        answer(r, q->id, 0, true);
        return;
    }
    getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len);
    socklen_t least = s.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6) - 4;
    if ((domain != AF_INET && domain != AF_INET6) || (type != SOCK_STREAM && type != SOCK_DGRAM) || n < least || !place_of(&s, &to) ||
        (domain == AF_INET && s.ss_family != AF_INET)) {
        answer(r, q->id, 0, true); /* other families, and what is no address: the kernel's own answers */
        close(sock);
    } else if (type == SOCK_STREAM) {
        stream(r, q->id, sock, &s, n, &to);
    } else {
        datagrams(r, q->id, sock, domain, &s, n, &to);
    }
}

void calls_read(struct relay *r)
{
    struct seccomp_notif *q = r->notif;
    memset(q, 0, r->notif_size);
    if (ioctl(r->o.ways[WAY_CONNECTS], SECCOMP_IOCTL_NOTIF_RECV, q) == 0) {
        one_call(r, q);
        return;
    }
    struct pollfd f = {.fd = r->o.ways[WAY_CONNECTS], .events = POLLIN};
    if (poll(&f, 1, 0) == 1 && f.revents & (POLLHUP | POLLERR | POLLNVAL)) { /* nobody is left who could call */
        close(r->o.ways[WAY_CONNECTS]);
        r->o.ways[WAY_CONNECTS] = -1;
    }
}
