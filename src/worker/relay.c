#include "worker/relay.h"

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
#include <sys/socket.h>
#include <unistd.h>

#define LINKS 256 /* connections at once; more wait in the socket's queue */
#define CHUNK ((size_t)16 << 10)
#define RETRY (250 * MSEC)
#define HEAD_TIME (20 * SEC)

enum stage { STAGE_FREE, STAGE_HEAD, STAGE_WAIT, STAGE_CONNECTING, STAGE_OPEN };

struct half {
    char *p; /* CHUNK bytes read from one side, not yet written to the other */
    size_t from, n;
    bool end;  /* nothing more will be read */
    bool shut; /* and the other side has been told */
};

struct link {
    enum stage stage;
    int in, out;
    bool proxy;
    struct half up, down; /* from the sandbox, to the sandbox */
    Dur until, next_try;
    char host[256];
    int port;
};

struct relay {
    struct relay_options o;
    pthread_t thread;
    int quit;
    char host[256];
    struct link links[LINKS];
};

bool url_origin(Str url, Str *ret_host, int *ret_port, bool *ret_tls)
{
    ptrdiff_t at = str_find(url, STR("://"));
    if (at < 0)
        return false;
    Str scheme = str_sub(url, 0, (size_t)at), rest = str_sub(url, (size_t)at + 3, url.n), authority = rest;
    *ret_tls = str_ieq(scheme, STR("https")) || str_ieq(scheme, STR("wss"));
    if (!*ret_tls && !str_ieq(scheme, STR("http")) && !str_ieq(scheme, STR("ws")))
        return false;
    for (size_t i = 0; i < rest.n; i++)
        if (strchr("/?#", rest.p[i])) {
            authority = str_sub(rest, 0, i);
            break;
        }
    for (ptrdiff_t user; (user = str_find(authority, STR("@"))) >= 0;)
        authority = str_sub(authority, (size_t)user + 1, authority.n);
    *ret_port = *ret_tls ? 443 : 80;
    Str host = authority, port = STR_NONE;
    ptrdiff_t colon;
    if (authority.n && authority.p[0] == '[') {
        ptrdiff_t end = str_find(authority, STR("]"));
        if (end < 0)
            return false;
        host = str_sub(authority, 1, (size_t)end - 1);
        if ((size_t)end + 1 < authority.n)
            port = str_sub(authority, (size_t)end + 2, authority.n);
    } else if ((colon = str_find(authority, STR(":"))) >= 0) {
        host = str_sub(authority, 0, (size_t)colon);
        port = str_sub(authority, (size_t)colon + 1, authority.n);
    }
    int64_t n;
    if (port.n && (!str_int(port, &n) || n < 1 || n > 65535))
        return false;
    if (port.n)
        *ret_port = (int)n;
    *ret_host = host;
    return host.n > 0;
}

bool relay_allows(const Str *allow, size_t n, Str host, int port)
{
    while (host.n && host.p[host.n - 1] == '.')
        host.n--;
    for (size_t i = 0; i < n; i++) {
        Str name = str_trim(allow[i]);
        int64_t only = 0;
        ptrdiff_t colon = str_find(name, STR(":"));
        /* One colon is a port; several are an address. */
        if (colon >= 0 && str_find(str_sub(name, (size_t)colon + 1, name.n), STR(":")) < 0) {
            if (!str_int(str_sub(name, (size_t)colon + 1, name.n), &only))
                continue;
            name = str_sub(name, 0, (size_t)colon);
        }
        if (!name.n || (only && only != port))
            continue;
        if (str_starts(name, STR("*."))) {
            Str suffix = str_sub(name, 1, name.n);
            if (host.n > suffix.n && str_ieq(str_sub(host, host.n - suffix.n, suffix.n), suffix))
                return true;
        } else if (str_ieq(name, host)) {
            return true;
        }
    }
    return false;
}

static void link_close(struct link *l)
{
    if (l->in >= 0)
        close(l->in);
    if (l->out >= 0)
        close(l->out);
    free(l->up.p);
    free(l->down.p);
    *l = (struct link){.in = -1, .out = -1};
}

/* Begins a connection; -1 where there is nothing to connect to. Names are looked up here and now. */
static int dial(const char *host, int port)
{
    char service[8];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, service, &hints, &found))
        return -1;
    int fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    int one = 1;
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void link_dial(struct link *l)
{
    l->out = dial(l->host, l->port);
    l->stage = l->out < 0 ? STAGE_WAIT : STAGE_CONNECTING;
    l->next_try = time_monotonic() + RETRY;
}

static void link_accept(struct relay *r, const struct relay_listener *from)
{
    struct link *l = NULL;
    for (size_t i = 0; i < LINKS && !l; i++)
        if (r->links[i].stage == STAGE_FREE)
            l = &r->links[i];
    if (!l)
        return;
    int fd = accept4(from->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *l = (struct link){.in = fd, .out = -1, .proxy = from->proxy, .up.p = malloc(CHUNK), .down.p = malloc(CHUNK), .port = r->o.port};
    if (!l->up.p || !l->down.p)
        die("out of memory");
    if (from->proxy) {
        l->stage = STAGE_HEAD;
        l->until = time_monotonic() + HEAD_TIME;
        return;
    }
    snprintf(l->host, sizeof l->host, "%s", r->host);
    l->until = time_monotonic() + (r->o.patience ? r->o.patience : 45 * SEC);
    link_dial(l);
}

/* A proxy's refusal, and the end. */
static void refuse(struct link *l, const char *status, const char *text)
{
    char head[512];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n", status,
                     strlen(text) + 1, text);
    ssize_t done = write(l->in, head, (size_t)n);
    UNUSED(done);
    shutdown(l->in, SHUT_WR);
    link_close(l);
}

/* The head of a request without what speaks to the proxy, and with "Connection: close": one request a connection. */
static size_t plain_head(Str head, Str method, Str path, char *out, size_t room)
{
    int n = snprintf(out, room, "%.*s %.*s HTTP/1.1\r\nConnection: close\r\n", STR_ARG(method), path.n ? (int)path.n : 1, path.n ? path.p : "/");
    Str rest = head, line;
    (void)str_cut(&rest, '\n', &line);
    while (n > 0 && (size_t)n < room && str_cut(&rest, '\n', &line)) {
        Str name, value = line;
        (void)str_cut(&value, ':', &name);
        if (str_ieq(name, STR("connection")) || str_ieq(name, STR("proxy-connection")) || str_ieq(name, STR("proxy-authorization")) ||
            str_ieq(name, STR("keep-alive")))
            continue;
        n += snprintf(out + n, room - (size_t)n, "%.*s\n", STR_ARG(line));
    }
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

/* "CONNECT host:port HTTP/1.1" or "GET http://host/path HTTP/1.1", once the head is whole. */
static void read_head(struct relay *r, struct link *l)
{
    if (l->up.n == CHUNK) {
        refuse(l, "431 Request Header Fields Too Large", "The head of the request is too large.");
        return;
    }
    ssize_t got = read(l->in, l->up.p + l->up.n, CHUNK - l->up.n);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            link_close(l);
        return;
    }
    l->up.n += (size_t)got;
    Str all = {l->up.p, l->up.n};
    ptrdiff_t end = str_find(all, STR("\r\n\r\n"));
    if (end < 0)
        return;
    Str head = str_sub(all, 0, (size_t)end + 4), rest = head, line, method, target, host;
    int port;
    bool tls, tunnel;
    if (!str_cut(&rest, '\n', &line) || !str_cut(&line, ' ', &method) || !str_cut(&line, ' ', &target)) {
        refuse(l, "400 Bad Request", "This is no request.");
        return;
    }
    tunnel = str_eqz(method, "CONNECT");
    char url[512];
    snprintf(url, sizeof url, "https://%.*s/", STR_ARG(target));
    if (!url_origin(tunnel ? str_of(url) : target, &host, &port, &tls) || host.n >= sizeof l->host || (tls && !tunnel)) {
        refuse(l, "400 Bad Request", "This is no address that a proxy can reach.");
        return;
    }
    if (!relay_allows(r->o.allow, r->o.allow_count, host, port)) {
        char text[400];
        snprintf(text, sizeof text, "The work pool's network_allow does not name %.*s:%d.", STR_ARG(host), port);
        refuse(l, "403 Forbidden", text);
        return;
    }
    l->port = port;
    snprintf(l->host, sizeof l->host, "%.*s", STR_ARG(host));
    if (!tunnel) {
        static char changed[CHUNK];
        ptrdiff_t slash = str_find(str_sub(target, 7, target.n), STR("/"));
        Str path = slash < 0 ? STR("/") : str_sub(target, 7 + (size_t)slash, target.n);
        size_t body = l->up.n - head.n, n = plain_head(head, method, path, changed, sizeof changed);
        if (!n || n + body > CHUNK) {
            refuse(l, "431 Request Header Fields Too Large", "The head of the request is too large.");
            return;
        }
        memmove(l->up.p + n, l->up.p + head.n, body);
        memcpy(l->up.p, changed, n);
        l->up.n = n + body;
    } else {
        l->up.n -= head.n;
        memmove(l->up.p, l->up.p + head.n, l->up.n);
        static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";
        memcpy(l->down.p, ok, sizeof ok - 1);
        l->down.n = sizeof ok - 1;
    }
    l->until = time_monotonic(); /* one try */
    link_dial(l);
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
    switch (l->stage) {
    case STAGE_FREE:
        return;
    case STAGE_HEAD:
        if (in)
            read_head(r, l);
        else if (time_monotonic() > l->until)
            link_close(l);
        return;
    case STAGE_WAIT:
        if (time_monotonic() >= l->until && l->proxy)
            refuse(l, "502 Bad Gateway", "The host does not answer.");
        else if (time_monotonic() >= l->until || in & (POLLHUP | POLLERR))
            link_close(l);
        else if (time_monotonic() >= l->next_try)
            link_dial(l);
        return;
    case STAGE_CONNECTING:
        if (out)
            connected(l);
        return;
    case STAGE_OPEN:
        if (!carry(&l->up, l->in, l->out, in) || !carry(&l->down, l->out, l->in, out) || (l->up.shut && l->down.shut))
            link_close(l);
        return;
    }
}

static short interest(const struct half *reads, const struct half *writes)
{
    return (short)((!reads->end && !reads->n ? POLLIN : 0) | (writes->n ? POLLOUT : 0));
}

static void *run(void *arg)
{
    struct relay *r = arg;
    static const size_t first = 3;
    struct pollfd f[3 + 2 * LINKS];
    for (;;) {
        int ms = -1;
        bool full = true;
        f[0] = (struct pollfd){.fd = r->quit, .events = POLLIN};
        for (size_t i = 0; i < LINKS; i++) {
            struct link *l = &r->links[i];
            struct pollfd *in = &f[first + 2 * i], *out = in + 1;
            *in = (struct pollfd){.fd = -1};
            *out = (struct pollfd){.fd = -1};
            full &= l->stage != STAGE_FREE;
            if (l->stage == STAGE_HEAD || l->stage == STAGE_WAIT)
                ms = (int)(RETRY / MSEC);
            if (l->stage == STAGE_HEAD)
                *in = (struct pollfd){.fd = l->in, .events = POLLIN};
            else if (l->stage == STAGE_WAIT)
                *in = (struct pollfd){.fd = l->in};
            else if (l->stage == STAGE_CONNECTING)
                *out = (struct pollfd){.fd = l->out, .events = POLLOUT};
            else if (l->stage == STAGE_OPEN) {
                short a = interest(&l->up, &l->down), b = interest(&l->down, &l->up);
                /* Without interest no poll: a half-closed socket would report itself for ever. */
                *in = (struct pollfd){.fd = a ? l->in : -1, .events = a};
                *out = (struct pollfd){.fd = b ? l->out : -1, .events = b};
            }
        }
        for (size_t i = 0; i < 2; i++)
            f[1 + i] = (struct pollfd){.fd = i < r->o.listener_count && !full ? r->o.listeners[i].fd : -1, .events = POLLIN};
        if (poll(f, COUNT_OF(f), ms) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (f[0].revents)
            break;
        for (size_t i = 0; i < LINKS; i++)
            step(r, &r->links[i], f[first + 2 * i].revents, f[first + 2 * i + 1].revents);
        for (size_t i = 0; i < r->o.listener_count; i++)
            if (f[1 + i].revents)
                link_accept(r, &r->o.listeners[i]);
    }
    for (size_t i = 0; i < LINKS; i++)
        link_close(&r->links[i]);
    return NULL;
}

struct relay *relay_start(const struct relay_options *o, struct err *err)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        die("out of memory");
    r->o = *o;
    snprintf(r->host, sizeof r->host, "%.*s", STR_ARG(o->host));
    for (size_t i = 0; i < LINKS; i++)
        r->links[i] = (struct link){.in = -1, .out = -1};
    for (size_t i = 0; i < o->listener_count; i++)
        fcntl(o->listeners[i].fd, F_SETFL, O_NONBLOCK);
    r->quit = eventfd(0, EFD_CLOEXEC);
    if (r->quit < 0 || pthread_create(&r->thread, NULL, run, r)) {
        err_errno(err, "starting the relay");
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
    for (size_t i = 0; i < r->o.listener_count; i++)
        close(r->o.listeners[i].fd);
    close(r->quit);
    free(r);
}
