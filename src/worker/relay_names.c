/* Datagrams: questions for the machine's name servers, and what connected UDP sockets send.
 *
 * A sandbox's UDP sockets are connected to port 53 of its loopback, whatever they asked for: who sends tells where it goes. A sender
 * that nobody announced asks for names. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "worker/relay_int.h"

#define DATAGRAM 65536
#define HEADER 12

/* "address" or "address:port" (IPv4), or an IPv6 address. */
static bool read_server(const char *text, struct place *ret)
{
    struct sockaddr_storage s = {.ss_family = AF_INET6};
    char v4[64];
    int port = 53;
    if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&s)->sin6_addr) != 1) {
        s.ss_family = AF_INET;
        if (sscanf(text, "%63[0-9.]:%d", v4, &port) < 1 || inet_pton(AF_INET, v4, &((struct sockaddr_in *)&s)->sin_addr) != 1)
            return false;
    }
    bool ok = place_of(&s, ret);
    ret->port = port;
    return ok;
}

/* The machine's own list. */
void names_prepare(struct relay *r)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    if (r->o.names.n && read_server(str_z(a, r->o.names), &r->servers[0])) {
        r->server_count = 1;
        return;
    }
    FILE *f = fopen("/etc/resolv.conf", "re");
    char line[512], text[64];
    while (f && r->server_count < (int)COUNT_OF(r->servers) && fgets(line, sizeof line, f)) {
        if (sscanf(line, " nameserver %63s", text) == 1 && read_server(text, &r->servers[r->server_count]))
            r->server_count++;
    }
    if (f)
        fclose(f);
    if (!r->server_count) /* as a resolver without a list does */
        r->servers[r->server_count++] = (struct place){.address = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .port = 53};
}

/* One name at p[*at], which moves on behind it; `ret` (256 bytes) may be NULL. Compressed names are followed back alone. */
static bool read_name(const unsigned char *p, size_t n, size_t *at, char *ret)
{
    size_t i = *at, out = 0;
    bool jumped = false;
    for (int steps = 0; steps < 128; steps++) {
        if (i >= n)
            return false;
        unsigned len = p[i];
        if (!len) {
            if (!jumped)
                *at = i + 1;
            if (ret)
                ret[out ? out - 1 : 0] = '\0';
            return true;
        }
        if ((len & 0xc0) == 0xc0) {
            if (i + 1 >= n)
                return false;
            size_t to = (size_t)(len & 0x3f) << 8 | p[i + 1];
            if (!jumped)
                *at = i + 2;
            if (to >= i)
                return false;
            jumped = true;
            i = to;
            continue;
        }
        if (len & 0xc0 || i + 1 + len > n || out + len + 1 > 255)
            return false;
        for (unsigned k = 0; ret && k < len; k++) {
            char c = (char)p[i + 1 + k];
            if (c == '.' || c == ':' || c == '\0')
                return false; /* no name of a host */
            ret[out + k] = c;
        }
        if (ret)
            ret[out + len] = '.';
        out += len + 1;
        i += 1 + len;
    }
    return false;
}

/* The one question's name. */
static bool question(const unsigned char *p, size_t n, char name[256], size_t *ret_end)
{
    size_t at = HEADER;
    if (n < HEADER + 5 || p[4] || p[5] != 1 || !read_name(p, n, &at, name) || at + 4 > n)
        return false;
    *ret_end = at + 4;
    return true;
}

/* "No": to a question about a name that is not on the list. */
static size_t refuse(unsigned char *p, size_t end)
{
    p[2] = (unsigned char)(0x80 | (p[2] & 0x79)); /* an answer, of the same kind */
    p[3] = 5;                                     /* refused */
    memset(p + 6, 0, 6);
    return end;
}

/* Addresses of a name of the list may be connected to from now on. */
static void learn(struct relay *r, const unsigned char *p, size_t n)
{
    char name[256];
    size_t at;
    if (n < HEADER || !(p[2] & 0x80) || !question(p, n, name, &at))
        return;
    unsigned count = (unsigned)p[6] << 8 | p[7];
    for (unsigned i = 0; i < count; i++) {
        if (!read_name(p, n, &at, NULL) || at + 10 > n)
            return;
        unsigned type = (unsigned)p[at] << 8 | p[at + 1], len = (unsigned)p[at + 8] << 8 | p[at + 9];
        at += 10;
        if (at + len > n)
            return;
        struct place place = {.address = {[10] = 0xff, [11] = 0xff}};
        if (type == 1 && len == 4)
            memcpy(place.address + 12, p + at, 4);
        else if (type == 28 && len == 16)
            memcpy(place.address, p + at, 16);
        at += len;
        if ((type != 1 && type != 28) || place_is_loopback(&place) || relay_forbids(place.address))
            continue;
        bool known = false;
        for (size_t k = 0; k < COUNT_OF(r->known) && !known; k++)
            known = !memcmp(r->known[k].address, place.address, 16) && !strcmp(r->known[k].name, name);
        if (known)
            continue;
        struct known_name *entry = &r->known[r->known_next++ % COUNT_OF(r->known)];
        memcpy(entry->address, place.address, 16);
        memcpy(entry->name, name, sizeof name);
    }
}

static struct path *find(struct relay *r, const struct place *from)
{
    for (size_t i = 0; i < PATHS; i++)
        if (r->paths[i].used && place_same(&r->paths[i].from, from))
            return &r->paths[i];
    return NULL;
}

static struct path *make(struct relay *r, const struct place *from)
{
    struct path *p = find(r, from);
    for (size_t i = 0; i < PATHS && !p; i++)
        if (!r->paths[i].used)
            p = &r->paths[i];
    if (!p) {
        p = &r->paths[0];
        for (size_t i = 1; i < PATHS; i++)
            if (r->paths[i].last < p->last)
                p = &r->paths[i];
    }
    if (p->used && p->out >= 0)
        close(p->out);
    *p = (struct path){.used = true, .from = *from, .out = -1, .last = time_monotonic()};
    return p;
}

int path_make(struct relay *r, const struct place *from, const struct place *to)
{
    if (r->o.ways[WAY_DATAGRAMS] < 0)
        return -1;
    make(r, from)->to = *to;
    return 0;
}

/* A question goes to all servers; the first answer that comes is the one. */
static void ask(struct relay *r, struct path *p, const unsigned char *bytes, size_t n)
{
    int family = r->servers[0].address[10] == 0xff && r->servers[0].address[11] == 0xff ? AF_INET : AF_INET6;
    if (p->out < 0)
        p->out = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    for (int i = 0; i < r->server_count && p->out >= 0; i++) {
        struct sockaddr_storage s;
        socklen_t len = place_sockaddr(&r->servers[i], family, &s);
        if (len)
            (void)!sendto(p->out, bytes, n, MSG_NOSIGNAL, (struct sockaddr *)&s, len);
    }
}

/* To the inside. */
static void reply(struct relay *r, const struct place *to, const unsigned char *bytes, size_t n)
{
    struct sockaddr_storage s;
    int family = AF_INET;
    socklen_t len = sizeof family;
    getsockopt(r->o.ways[WAY_DATAGRAMS], SOL_SOCKET, SO_DOMAIN, &family, &len);
    len = place_sockaddr(to, family, &s);
    if (len)
        (void)!sendto(r->o.ways[WAY_DATAGRAMS], bytes, n, MSG_NOSIGNAL, (struct sockaddr *)&s, len);
}

void path_up(struct relay *r)
{
    static unsigned char bytes[DATAGRAM];
    struct sockaddr_storage s;
    struct place from;
    socklen_t len = sizeof s;
    ssize_t n = recvfrom(r->o.ways[WAY_DATAGRAMS], bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&s, &len);
    if (n < 0 || !place_of(&s, &from))
        return;
    struct path *p = find(r, &from);
    if (!p) {
        p = make(r, &from);
        p->names = true;
    }
    p->last = time_monotonic();
    if (!p->names) {
        if (p->out < 0)
            p->out = place_dial(&p->to, SOCK_DGRAM);
        if (p->out >= 0)
            (void)!send(p->out, bytes, (size_t)n, MSG_NOSIGNAL);
        return;
    }
    char name[256];
    size_t end;
    int policy = atomic_load(&r->policy);
    if (policy == RELAY_NOTHING || !question(bytes, (size_t)n, name, &end))
        return;
    bool listed = policy == RELAY_ALL;
    for (size_t i = 0; i < r->allow_count && !listed; i++) { /* whatever the port */
        Str entry = str_trim(r->allow[i]), host;
        if (!str_cut(&entry, ':', &host))
            continue;
        listed = relay_allows(&host, 1, str_of(name), 0);
    }
    if (listed)
        ask(r, p, bytes, (size_t)n);
    else
        reply(r, &from, bytes, refuse(bytes, end));
}

void path_down(struct relay *r, struct path *p)
{
    static unsigned char bytes[DATAGRAM];
    struct sockaddr_storage s;
    struct place from;
    socklen_t len = sizeof s;
    ssize_t n = recvfrom(p->out, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&s, &len);
    if (n < 0 || !p->used)
        return;
    p->last = time_monotonic();
    if (p->names) {
        bool one_of_them = false;
        for (int i = 0; place_of(&s, &from) && i < r->server_count && !one_of_them; i++)
            one_of_them = place_same(&from, &r->servers[i]);
        if (!one_of_them)
            return;
        if (atomic_load(&r->policy) == RELAY_LISTED)
            learn(r, bytes, (size_t)n);
    }
    reply(r, &p->from, bytes, (size_t)n);
}
