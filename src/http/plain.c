#include "http/plain.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_WITHIN (10 * SEC)
#define HEAD_MAX ((size_t)64 << 10)
#define READ_MOST ((size_t)64 << 10)

struct clock {
    Dur until; /* monotonic */
    void (*waiting)(void *user);
    void *user;
};

bool plain_init(struct plain *p, Str url, const char *socket)
{
    *p = (struct plain){.socket = socket, .fd = -1, .in = BUF(LIMIT_REPLY)};
    if (!str_starts(url, STR("http://")))
        return false;
    Str rest = str_sub(url, 7, SIZE_MAX);
    size_t n = 0;
    while (n < rest.n && !strchr("/?#", rest.p[n]))
        n++;
    rest.n = n;
    if (memchr(rest.p, '@', rest.n) || !rest.n)
        return false;
    Str host = rest, port = STR("80");
    if (rest.p[0] == '[') {
        ptrdiff_t end = str_find(rest, STR("]"));
        if (end < 0)
            return false;
        host = str_sub(rest, 1, (size_t)end - 1);
        rest = str_sub(rest, (size_t)end + 1, SIZE_MAX);
        if (rest.n > 1 && rest.p[0] == ':')
            port = str_sub(rest, 1, SIZE_MAX);
    } else {
        Str tail = rest, head;
        if (str_cut(&tail, ':', &head) && head.n < rest.n) {
            host = head;
            port = tail.n ? tail : port;
        }
    }
    return snprintf(p->host, sizeof p->host, "%.*s", STR_ARG(host)) < (int)sizeof p->host &&
           snprintf(p->port, sizeof p->port, "%.*s", STR_ARG(port)) < (int)sizeof p->port;
}

static void hang_up(struct plain *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    buf_reset(&p->in);
}

void plain_clear(struct plain *p)
{
    hang_up(p);
    buf_free(&p->in);
}

/* False once the time is over. */
static bool wait_for(int fd, short events, const struct clock *c)
{
    for (;;) {
        Dur left = c->until - time_monotonic();
        if (left <= 0)
            return false;
        Dur step = c->waiting ? MIN(left, SEC) : left;
        struct pollfd f = {.fd = fd, .events = events};
        int n = poll(&f, 1, (int)(MIN(step, 3600 * SEC) / MSEC) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return true; /* the call that follows says what is wrong */
        if (n == 0 && c->waiting)
            c->waiting(c->user);
    }
}

static bool dial(struct plain *p, const struct sockaddr *to, socklen_t n, const struct clock *c)
{
    p->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return false;
    struct clock shorter = *c;
    shorter.until = MIN(c->until, time_monotonic() + CONNECT_WITHIN);
    int error = 0, one = 1;
    socklen_t size = sizeof error;
    if (connect(p->fd, to, n) < 0) {
        bool begun = errno == EINPROGRESS && wait_for(p->fd, POLLOUT, &shorter);
        if (!begun || getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error) {
            hang_up(p);
            return false;
        }
    }
    if (to->sa_family != AF_UNIX)
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return true;
}

static enum plain_result open_connection(struct plain *p, const struct clock *c)
{
    if (p->socket) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        if (snprintf(un.sun_path, sizeof un.sun_path, "%s", p->socket) >= (int)sizeof un.sun_path)
            return PLAIN_NO_CONNECT;
        return dial(p, (struct sockaddr *)&un, sizeof un, c) ? PLAIN_OK : PLAIN_NO_CONNECT;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list = NULL;
    /* "localhost" asks nobody: name services are libraries too */
    const char *const here[] = {p->host, "127.0.0.1", "::1"};
    bool local = !strcmp(p->host, "localhost");
    for (size_t i = local; i < (local ? COUNT_OF(here) : 1); i++) {
        if (getaddrinfo(here[i], p->port, &hints, &list) != 0)
            break;
        bool done = dial(p, list->ai_addr, list->ai_addrlen, c);
        freeaddrinfo(list);
        if (done)
            return PLAIN_OK;
        if (!local)
            return PLAIN_NO_CONNECT;
    }
    if (local)
        return PLAIN_NO_CONNECT;
    hints.ai_flags = AI_ADDRCONFIG;
    if (getaddrinfo(p->host, p->port, &hints, &list) != 0)
        return PLAIN_NO_HOST;
    bool done = false;
    for (struct addrinfo *i = list; i && !done; i = i->ai_next)
        done = dial(p, i->ai_addr, i->ai_addrlen, c);
    freeaddrinfo(list);
    return done ? PLAIN_OK : PLAIN_NO_CONNECT;
}

static bool send_all(struct plain *p, Str text, const struct clock *c)
{
    while (text.n) {
        ssize_t n = send(p->fd, text.p, text.n, MSG_NOSIGNAL);
        if (n > 0)
            text = str_sub(text, (size_t)n, SIZE_MAX);
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno != EAGAIN)
            return false;
        else if (!wait_for(p->fd, POLLOUT, c))
            return false;
    }
    return true;
}

/* More of the answer: 1, 0 at its end, -1 where the connection broke or the time is over. */
static int read_more(struct plain *p, const struct clock *c)
{
    char chunk[READ_MOST / 4];
    for (;;) {
        ssize_t n = recv(p->fd, chunk, sizeof chunk, 0);
        if (n > 0) {
            buf_put(&p->in, chunk, (size_t)n);
            return p->in.overflow ? -1 : 1;
        }
        if (n == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || !wait_for(p->fd, POLLIN, c))
            return -1;
    }
}

static void drop(struct plain *p, size_t n)
{
    Str rest = str_sub(buf_view(&p->in), n, SIZE_MAX);
    memmove(p->in.p, rest.p, rest.n);
    p->in.n = rest.n;
}

/* A line without its end, in the buffer; -1 where none came. *ret_n is what to drop. */
static int read_line(struct plain *p, Str *ret, size_t *ret_n, const struct clock *c)
{
    for (;;) {
        Str all = buf_view(&p->in);
        const char *end = all.n ? memchr(all.p, '\n', all.n) : NULL;
        if (end) {
            *ret_n = (size_t)(end - all.p) + 1;
            *ret = str_trim(str_sub(all, 0, *ret_n - 1));
            return 0;
        }
        if (all.n > HEAD_MAX || read_more(p, c) <= 0)
            return -1;
    }
}

struct head {
    int64_t length; /* -1: not said */
    bool chunked, closes;
};

static bool number(Str s, int base, int64_t *ret)
{
    int64_t v = 0;
    if (!s.n || s.n > 15)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int ch = (unsigned char)s.p[i], d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : 99;
        if (d >= base)
            return false;
        v = v * base + d;
    }
    *ret = v;
    return true;
}

/* Status line and headers: 0; -1 broken, -2 no HTTP. */
static int read_head(struct plain *p, struct head *h, struct plain_answer *ret, const struct clock *c)
{
    Str line, name;
    size_t n, total = 0;
    int64_t status;
    *h = (struct head){.length = -1};
    *ret = (struct plain_answer){0};
    if (read_line(p, &line, &n, c) < 0)
        return -1;
    if (!str_starts(line, STR("HTTP/1.")) || line.n < 12 || !number(str_sub(line, 9, 3), 10, &status))
        return -2;
    h->closes = line.p[7] == '0';
    ret->status = (int)status;
    for (drop(p, n);; drop(p, n)) {
        if (read_line(p, &line, &n, c) < 0)
            return -1;
        if ((total += n) > HEAD_MAX)
            return -2;
        if (!line.n) {
            drop(p, n);
            return 0;
        }
        if (!str_cut(&line, ':', &name))
            continue;
        Str value = str_trim(line);
        if (str_ieq(name, STR("content-length"))) {
            if (!number(value, 10, &h->length))
                return -2;
        } else if (str_ieq(name, STR("transfer-encoding"))) {
            if (!str_ieq(value, STR("chunked")))
                return -2;
            h->chunked = true;
        } else if (str_ieq(name, STR("connection"))) {
            h->closes = str_ieq(value, STR("close"));
        } else if (str_ieq(name, STR("content-type"))) {
            snprintf(ret->type, sizeof ret->type, "%.*s", STR_ARG(value));
        } else if (str_ieq(name, STR("retry-after"))) {
            snprintf(ret->retry_after, sizeof ret->retry_after, "%.*s", STR_ARG(value));
        }
    }
}

/* `n` bytes of the connection into the body. */
static int take(struct plain *p, int64_t n, struct buf *body, const struct clock *c)
{
    while (n > 0) {
        Str some = str_sub(buf_view(&p->in), 0, (size_t)n);
        if (some.n) {
            buf_put(body, some.p, some.n);
            n -= (int64_t)some.n;
            drop(p, some.n);
            if (body->overflow)
                return -2;
        } else if (read_more(p, c) <= 0) {
            return -1;
        }
    }
    return 0;
}

static int read_chunks(struct plain *p, struct buf *body, const struct clock *c)
{
    for (;;) {
        Str line, size;
        size_t n;
        int64_t length;
        if (read_line(p, &line, &n, c) < 0)
            return -1;
        size = line;
        (void)str_cut(&line, ';', &size);
        if (!number(str_trim(size), 16, &length))
            return -2;
        drop(p, n);
        int rc = take(p, length, body, c);
        if (rc < 0)
            return rc;
        do { /* the chunk's end; after the last one what comes up to an empty line */
            if (read_line(p, &line, &n, c) < 0)
                return -1;
            bool empty = !line.n;
            drop(p, n);
            if (empty)
                break;
        } while (length == 0);
        if (length == 0)
            return 0;
    }
}

static int read_answer(struct plain *p, const char *method, struct buf *body, struct plain_answer *ret, const struct clock *c)
{
    struct head h;
    int rc;
    do {
        rc = read_head(p, &h, ret, c);
    } while (rc == 0 && ret->status < 200 && ret->status != 101);
    if (rc < 0)
        return rc;
    if (ret->status == 101)
        return 0; /* what follows is no HTTP */
    bool empty = !strcmp(method, "HEAD") || ret->status == 204 || ret->status == 304;
    if (!empty && h.chunked) {
        rc = read_chunks(p, body, c);
    } else if (!empty && h.length >= 0) {
        rc = take(p, h.length, body, c);
    } else if (!empty) {
        int more;
        while ((more = read_more(p, c)) > 0)
            ;
        buf_put(body, p->in.p, p->in.n);
        rc = more < 0 ? -1 : body->overflow ? -2 : 0;
        h.closes = true;
    }
    if (rc < 0 || h.closes || p->in.n)
        hang_up(p);
    return rc;
}

/* Has the other side ended a connection that was idle? */
static bool is_stale(const struct plain *p)
{
    char c;
    ssize_t n = recv(p->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

enum plain_result plain_call(struct plain *p, const char *method, Str target, Str headers, Str body, Dur timeout,
                             void (*waiting)(void *user), void *user, struct buf *ret_body, struct plain_answer *ret, const char **ret_why)
{
    struct clock c = {time_monotonic() + timeout, waiting, user};
    AUTO(buf_free) struct buf head = BUF(HEAD_MAX * 4 + body.n);
    bool v6 = strchr(p->host, ':');
    buf_fmt(&head, "%s %.*s HTTP/1.1\r\nHost: %s%s%s%s%s\r\n%.*s", method, STR_ARG(target.n ? target : STR("/")), v6 ? "[" : "",
            p->socket ? "localhost" : p->host, v6 ? "]" : "", strcmp(p->port, "80") ? ":" : "", strcmp(p->port, "80") ? p->port : "", STR_ARG(headers));
    if (body.p || !strcmp(method, "POST") || !strcmp(method, "PUT") || !strcmp(method, "PATCH"))
        buf_fmt(&head, "Content-Length: %zu\r\n", body.n);
    buf_fmt(&head, "\r\n");
    if (body.n)
        buf_put(&head, body.p, body.n);
    if (p->fd >= 0 && is_stale(p))
        hang_up(p);
    for (bool reused = p->fd >= 0;; reused = false) {
        if (p->fd < 0) {
            enum plain_result r = open_connection(p, &c);
            if (r != PLAIN_OK) {
                *ret_why = r == PLAIN_NO_HOST ? "the host's name has no address" : "nothing answers there";
                return r;
            }
        }
        buf_reset(ret_body);
        bool sent = send_all(p, buf_view(&head), &c);
        int rc = read_answer(p, method, ret_body, ret, &c); /* what was sent before it broke may be answered all the same */
        if (rc == 0)
            return PLAIN_OK;
        bool nothing = !ret->status && !p->in.n;
        hang_up(p);
        if (reused && nothing && time_monotonic() < c.until)
            continue; /* it was given up while it was idle */
        *ret_why = rc == -2 ? "what it answered is no HTTP/1.1, or too much" : time_monotonic() >= c.until ? "no answer came in time"
                            : sent ? "the connection broke before the answer was there" : "the connection broke";
        return rc == -2 ? PLAIN_BAD : PLAIN_BROKE;
    }
}
