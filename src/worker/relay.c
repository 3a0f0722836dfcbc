#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker/relay_int.h"

#define HEAD_TIME (20 * SEC)

struct link *link_new(struct relay *r, enum way way, int in)
{
    for (size_t i = 0; i < LINKS; i++) {
        struct link *l = &r->links[i];
        if (l->stage != STAGE_FREE)
            continue;
        *l = (struct link){.stage = STAGE_WAIT, .in = in, .out = -1, .sock = -1, .way = way, .up.p = malloc(CHUNK), .down.p = malloc(CHUNK)};
        if (!l->up.p || !l->down.p)
            die("out of memory");
        return l;
    }
    return NULL;
}

void link_close(struct link *l)
{
    if (l->in >= 0)
        close(l->in);
    if (l->out >= 0)
        close(l->out);
    if (l->sock >= 0)
        close(l->sock);
    free(l->up.p);
    free(l->down.p);
    *l = (struct link){.in = -1, .out = -1, .sock = -1};
}

static void reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1};
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void link_reset(struct link *l)
{
    reset_on_close(l->in);
    reset_on_close(l->out);
    link_close(l);
}

/* Begins a connection to a name; -1 where there is nothing to connect to. It is looked up here and now. A name of the
 * list does not lead to this machine itself: whoever owns the name could say so. */
static int dial_name(const struct link *l)
{
    char service[8];
    snprintf(service, sizeof service, "%d", l->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(l->host, service, &hints, &found))
        return -1;
    hints.ai_flags = AI_NUMERICHOST;
    struct addrinfo *literal = NULL;
    bool exact = l->way != WAY_PROXY || str_ieq(str_of(l->host), STR("localhost")) || getaddrinfo(l->host, service, &hints, &literal) == 0;
    if (literal)
        freeaddrinfo(literal);
    int fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        struct sockaddr_storage s = {0};
        struct place p;
        memcpy(&s, a->ai_addr, MIN(a->ai_addrlen, sizeof s));
        if (place_of(&s, &p) && (exact || (!place_is_loopback(&p) && !relay_forbids(p.address))))
            fd = place_dial(&p, SOCK_STREAM);
    }
    freeaddrinfo(found);
    return fd;
}

void link_dial(struct relay *r, struct link *l)
{
    if (l->way == WAY_NAMES)
        l->out = r->server_count ? place_dial(&r->servers[0], SOCK_STREAM) : -1;
    else
        l->out = dial_name(l);
    l->stage = l->out < 0 ? STAGE_WAIT : STAGE_CONNECTING;
    l->next_try = time_monotonic() + RETRY;
}

/* Where an accepted connection comes from; false where nobody knows. */
static bool arrived_from(int fd, struct place *ret)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    return getpeername(fd, (struct sockaddr *)&s, &n) == 0 && place_of(&s, ret);
}

static void begin(struct relay *r, enum way way, int fd)
{
    struct link *l;
    struct place from;
    if (way == WAY_OUT) {
        for (size_t i = 0; arrived_from(fd, &from) && i < LINKS; i++) {
            l = &r->links[i];
            if ((l->stage == STAGE_OPEN || l->stage == STAGE_CONNECTING) && l->in < 0 && place_same(&l->from, &from)) {
                l->in = fd;
                return;
            }
        }
        reset_on_close(fd); /* nobody asked for it, or what was asked for is broken already */
        close(fd);
        return;
    }
    l = link_new(r, way, fd);
    if (!l) {
        close(fd);
        return;
    }
    if (way == WAY_PROXY) {
        l->stage = STAGE_HEAD;
        l->until = time_monotonic() + HEAD_TIME;
        return;
    }
    snprintf(l->host, sizeof l->host, "%s", r->host);
    l->port = r->o.port;
    l->until = time_monotonic() + (way == WAY_NAMES ? 0 : r->o.patience ? r->o.patience : 45 * SEC);
    link_dial(r, l);
}

static void take_in(struct relay *r, enum way way)
{
    int one = 1;
    for (int fd; (fd = accept4(r->o.ways[way], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        begin(r, way, fd);
    }
}

static void connected(struct link *l)
{
    int e = 0;
    socklen_t n = sizeof e;
    getsockopt(l->out, SOL_SOCKET, SO_ERROR, &e, &n);
    if (!e) {
        l->stage = STAGE_OPEN;
        return;
    }
    if (l->way == WAY_OUT) {
        link_reset(l);
        return;
    }
    close(l->out);
    l->out = -1;
    l->stage = STAGE_WAIT;
}

/* Reads what there is room for, writes what there is. False where the link is broken. */
static bool carry(struct half *h, int from, int to, bool readable)
{
    if (readable && !h->end && !h->n) {
        ssize_t got = read(from, h->p, CHUNK);
        if (got > 0) {
            h->from = 0;
            h->n = (size_t)got;
        } else if (got == 0) {
            h->end = true;
        } else if (errno != EAGAIN && errno != EINTR) {
            return false;
        }
    }
    while (h->n) {
        ssize_t put = send(to, h->p + h->from, h->n, MSG_NOSIGNAL);
        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (put <= 0)
            return false;
        h->from += (size_t)put;
        h->n -= (size_t)put;
    }
    if (h->end && !h->n && !h->shut) {
        h->shut = true;
        shutdown(to, SHUT_WR);
    }
    return true;
}

static void step(struct relay *r, struct link *l, short in, short out)
{
    Dur now = time_monotonic();
    switch (l->stage) {
    case STAGE_FREE:
        return;
    case STAGE_INSIDE:
    case STAGE_ASKED:
        call_step(r, l, in, out);
        return;
    case STAGE_HEAD:
        if (in)
            proxy_read(r, l);
        else if (now > l->until)
            link_close(l);
        return;
    case STAGE_WAIT:
        if (now >= l->until && l->way == WAY_PROXY)
            proxy_refuse(l, "502 Bad Gateway", "The host does not answer.");
        else if (now >= l->until || in & (POLLHUP | POLLERR))
            link_close(l);
        else if (now >= l->next_try)
            link_dial(r, l);
        return;
    case STAGE_CONNECTING:
        if (out)
            connected(l);
        else if (l->way == WAY_OUT && l->in >= 0 && in & (POLLHUP | POLLERR))
            link_close(l); /* its other end has given up */
        return;
    case STAGE_OPEN:
        if (l->in < 0) { /* a call's socket, about to arrive */
            if (now > l->until)
                link_close(l);
        } else if (!carry(&l->up, l->in, l->out, in) || !carry(&l->down, l->out, l->in, out)) {
            link_reset(l);
        } else if (l->up.shut && l->down.shut) {
            link_close(l);
        }
        return;
    }
}

static short interest(const struct half *reads, const struct half *writes)
{
    return (short)((!reads->end && !reads->n ? POLLIN : 0) | (writes->n ? POLLOUT : 0));
}

/* What a link waits for, on its two files. */
static void watch(const struct link *l, struct pollfd *in, struct pollfd *out)
{
    *in = (struct pollfd){.fd = -1};
    *out = (struct pollfd){.fd = -1};
    switch (l->stage) {
    case STAGE_FREE:
        return;
    case STAGE_HEAD:
        *in = (struct pollfd){.fd = l->in, .events = POLLIN};
        return;
    case STAGE_INSIDE:
        *in = (struct pollfd){.fd = l->sock, .events = POLLOUT};
        return;
    case STAGE_WAIT:
        *in = (struct pollfd){.fd = l->in};
        return;
    case STAGE_CONNECTING:
        *in = (struct pollfd){.fd = l->in};
        __attribute__((fallthrough));
    case STAGE_ASKED:
        *out = (struct pollfd){.fd = l->out, .events = POLLOUT};
        return;
    case STAGE_OPEN:
        if (l->in >= 0) {
            short a = interest(&l->up, &l->down), b = interest(&l->down, &l->up);
            /* Without interest no poll: a half-closed socket would report itself for ever. */
            *in = (struct pollfd){.fd = a ? l->in : -1, .events = a};
            *out = (struct pollfd){.fd = b ? l->out : -1, .events = b};
        }
        return;
    }
}

static void *run(void *arg)
{
    struct relay *r = arg;
    static const enum way listening[] = {WAY_API, WAY_PROXY, WAY_NAMES, WAY_OUT};
    enum { LISTENING = COUNT_OF(listening), FIXED = 3 + LISTENING };
    struct pollfd f[FIXED + PATHS + 2 * LINKS];
    struct path *paths[PATHS];
    struct link *links[LINKS];
    for (;;) {
        int ms = -1;
        size_t n = FIXED, path_n = 0, link_n = 0;
        f[0] = (struct pollfd){.fd = r->quit, .events = POLLIN};
        f[1] = (struct pollfd){.fd = r->o.ways[WAY_CONNECTS], .events = POLLIN};
        f[2] = (struct pollfd){.fd = r->o.ways[WAY_DATAGRAMS], .events = POLLIN};
        for (size_t i = 0; i < PATHS; i++) {
            if (!r->paths[i].used || r->paths[i].out < 0)
                continue;
            paths[path_n++] = &r->paths[i];
            f[n++] = (struct pollfd){.fd = r->paths[i].out, .events = POLLIN};
        }
        for (size_t i = 0; i < LINKS; i++) {
            struct link *l = &r->links[i];
            if (l->stage == STAGE_FREE)
                continue;
            if (l->stage != STAGE_OPEN || l->in < 0)
                ms = l->stage == STAGE_ASKED ? 50 : ms == 50 ? ms : (int)(RETRY / MSEC);
            links[link_n++] = l;
            watch(l, &f[n], &f[n + 1]);
            n += 2;
        }
        for (size_t i = 0; i < LISTENING; i++) /* with all links taken those of the call alone may still arrive */
            f[3 + i] = (struct pollfd){.fd = link_n < LINKS || listening[i] == WAY_OUT ? r->o.ways[listening[i]] : -1, .events = POLLIN};
        if (poll(f, (nfds_t)n, ms) < 0 && errno != EINTR)
            return NULL;
        if (f[0].revents)
            return NULL;
        size_t at = FIXED;
        for (size_t i = 0; i < path_n; i++, at++)
            if (f[at].revents)
                path_down(r, paths[i]);
        for (size_t i = 0; i < link_n; i++, at += 2)
            step(r, links[i], f[at].revents, f[at + 1].revents);
        for (size_t i = 0; i < LISTENING; i++)
            if (f[3 + i].revents)
                take_in(r, listening[i]);
        if (f[2].revents)
            path_up(r);
        if (f[1].revents)
            calls_read(r);
    }
}

struct relay *relay_start(const struct relay_options *o, struct err *err)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        die("out of memory");
    r->o = *o;
    r->o.ways[WAY_CONTROL] = -1;
    snprintf(r->host, sizeof r->host, "%.*s", STR_ARG(o->host));
    for (size_t i = 0; i < LINKS; i++)
        r->links[i] = (struct link){.in = -1, .out = -1, .sock = -1};
    for (size_t i = 0; i < WAY_COUNT; i++)
        if (r->o.ways[i] >= 0 && i != WAY_CONNECTS)
            fcntl(r->o.ways[i], F_SETFL, O_NONBLOCK);
    struct sockaddr_in alias = {.sin_family = AF_INET, .sin_port = 1};
    char text[64];
    snprintf(text, sizeof text, "%.*s", STR_ARG(o->alias));
    struct sockaddr_storage s = {0};
    if (o->alias.n && inet_pton(AF_INET, text, &alias.sin_addr) == 1) {
        memcpy(&s, &alias, sizeof alias);
        (void)place_of(&s, &r->alias);
    }
    names_prepare(r);
    r->quit = eventfd(0, EFD_CLOEXEC);
    if (r->quit < 0 || calls_prepare(r) < 0 || pthread_create(&r->thread, NULL, run, r)) {
        err_errno(err, "starting the relay");
        for (size_t i = 0; i < WAY_COUNT; i++)
            if (r->o.ways[i] >= 0)
                close(r->o.ways[i]);
        if (r->quit >= 0)
            close(r->quit);
        free(r->notif);
        free(r->answer);
        free(r);
        return NULL;
    }
    return r;
}

void relay_stop(struct relay *r)
{
    if (!r)
        return;
    uint64_t one = 1;
    ssize_t done = write(r->quit, &one, sizeof one);
    UNUSED(done);
    pthread_join(r->thread, NULL);
    for (size_t i = 0; i < LINKS; i++)
        if (r->links[i].stage != STAGE_FREE)
            link_close(&r->links[i]);
    for (size_t i = 0; i < PATHS; i++)
        if (r->paths[i].used && r->paths[i].out >= 0)
            close(r->paths[i].out);
    for (size_t i = 0; i < WAY_COUNT; i++)
        if (r->o.ways[i] >= 0)
            close(r->o.ways[i]);
    close(r->quit);
    free(r->notif);
    free(r->answer);
    free(r);
}
