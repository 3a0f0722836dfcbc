/* The HTTP proxy for the hosts of a list. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/relay_int.h"

/* A proxy's refusal, and the end. */
void proxy_refuse(struct link *l, const char *status, const char *text)
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
void proxy_read(struct relay *r, struct link *l)
{
    if (l->up.n == CHUNK) {
        proxy_refuse(l, "431 Request Header Fields Too Large", "The head of the request is too large.");
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
        proxy_refuse(l, "400 Bad Request", "This is no request.");
        return;
    }
    tunnel = str_eqz(method, "CONNECT");
    char url[512];
    snprintf(url, sizeof url, "https://%.*s/", STR_ARG(target));
    if (!url_origin(tunnel ? str_of(url) : target, &host, &port, &tls) || host.n >= sizeof l->host || (tls && !tunnel)) {
        proxy_refuse(l, "400 Bad Request", "This is no address that a proxy can reach.");
        return;
    }
    if (!relay_allows(r->allow, r->allow_count, host, port)) {
        char text[400];
        snprintf(text, sizeof text, "The work pool's network_allow does not name %.*s:%d.", STR_ARG(host), port);
        proxy_refuse(l, "403 Forbidden", text);
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
            proxy_refuse(l, "431 Request Header Fields Too Large", "The head of the request is too large.");
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
    link_dial(r, l);
}

