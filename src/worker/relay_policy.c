/* Which addresses a sandbox may reach, and addresses themselves. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "worker/relay_int.h"

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

/* "::ffff:a.b.c.d" */
static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b};

bool relay_forbids(const unsigned char a[16])
{
    static const unsigned char aws[4] = {0xfd, 0, 0x0e, 0xc2};
    static const unsigned char clouds[][4] = {{168, 63, 129, 16}, {100, 100, 100, 200}, {192, 0, 0, 192}};
    if (!memcmp(a, mapped, sizeof mapped) || !memcmp(a, nat64, sizeof nat64)) {
        const unsigned char *v4 = a + 12;
        for (size_t i = 0; i < COUNT_OF(clouds); i++)
            if (!memcmp(v4, clouds[i], 4))
                return true;
        return v4[0] == 169 && v4[1] == 254;
    }
    if (!memcmp(a, aws, sizeof aws))
        return true;
    return a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
}

bool place_of(const struct sockaddr_storage *s, struct place *ret)
{
    if (s->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)s;
        memcpy(ret->address, mapped, sizeof mapped);
        memcpy(ret->address + 12, &v4->sin_addr, 4);
        ret->port = ntohs(v4->sin_port);
        return true;
    }
    if (s->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)s;
        memcpy(ret->address, &v6->sin6_addr, 16);
        ret->port = ntohs(v6->sin6_port);
        return true;
    }
    return false;
}

socklen_t place_sockaddr(const struct place *p, int family, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
        memcpy(&v4->sin_addr, p->address + 12, 4);
        v4->sin_port = htons((uint16_t)p->port);
        return memcmp(p->address, mapped, sizeof mapped) ? 0 : sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    memcpy(&v6->sin6_addr, p->address, 16);
    v6->sin6_port = htons((uint16_t)p->port);
    return sizeof *v6;
}

bool place_is_loopback(const struct place *p)
{
    static const unsigned char any[16] = {0}, one[16] = {[15] = 1};
    if (!memcmp(p->address, mapped, sizeof mapped))
        return p->address[12] == 127 || p->address[12] == 0;
    return !memcmp(p->address, any, 16) || !memcmp(p->address, one, 16);
}

bool place_same(const struct place *x, const struct place *y)
{
    return x->port == y->port && !memcmp(x->address, y->address, 16);
}

int place_dial(const struct place *p, int type)
{
    struct sockaddr_storage s;
    int family = memcmp(p->address, mapped, sizeof mapped) ? AF_INET6 : AF_INET, one = 1;
    socklen_t n = place_sockaddr(p, family, &s);
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    if (connect(fd, (struct sockaddr *)&s, n) < 0 && errno != EINPROGRESS) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

bool relay_permits(const struct relay *r, const struct place *p)
{
    int policy = atomic_load_explicit(&r->policy, memory_order_acquire);
    bool local = place_is_loopback(p);
    char text[INET6_ADDRSTRLEN];
    switch (policy) {
    case RELAY_ALL:
        return local ? r->loopback : !relay_forbids(p->address);
    case RELAY_LISTED:
        if (!memcmp(p->address, mapped, sizeof mapped))
            inet_ntop(AF_INET, p->address + 12, text, sizeof text);
        else
            inet_ntop(AF_INET6, p->address, text, sizeof text);
        if (relay_allows(r->allow, r->allow_count, str_of(text), p->port))
            return true;
        if (local)
            return relay_allows(r->allow, r->allow_count, STR("localhost"), p->port);
        for (size_t i = 0; i < COUNT_OF(r->known) && !relay_forbids(p->address); i++)
            if (r->known[i].name[0] && !memcmp(r->known[i].address, p->address, 16) &&
                relay_allows(r->allow, r->allow_count, str_of(r->known[i].name), p->port))
                return true;
        return false;
    default:
        return false;
    }
}

void relay_permit(struct relay *r, enum relay_policy policy, bool loopback, const Str *allow, size_t allow_count)
{
    r->loopback = loopback;
    r->allow = allow;
    r->allow_count = allow_count;
    atomic_store_explicit(&r->policy, (int)policy, memory_order_release);
}
