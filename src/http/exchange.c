/* The handler's view of a request, and its reply. */
#include "http/exchange.h"

#include "base/time.h"

#include <netdb.h>

struct arena *exchange_arena(struct exchange *x)
{
    return x->arena;
}

Str exchange_method(const struct exchange *x)
{
    return x->method;
}

Str exchange_path(const struct exchange *x)
{
    return x->path;
}

Str exchange_query_text(const struct exchange *x)
{
    return x->query;
}

Str exchange_body(const struct exchange *x)
{
    return buf_view(&x->body);
}

Str exchange_header(const struct exchange *x, const char *name)
{
    Str wanted = str_of(name);
    for (size_t i = 0; i < x->header_count; i++)
        if (str_ieq(x->headers[i].name, wanted))
            return x->headers[i].value;
    return STR_NONE;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As HTML forms encode: '+' is a space, %XX a byte; a '%' that starts no such pair stands for itself. */
static Str form_decode(struct arena *a, Str s)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            c = (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return (Str){out, n};
}

Str exchange_query(const struct exchange *x, const char *name)
{
    return exchange_query_nth(x, name, 0);
}

Str exchange_query_nth(const struct exchange *x, const char *name, size_t nth)
{
    Str wanted = str_of(name);
    for (Str rest = x->query, pair; str_cut(&rest, '&', &pair);) {
        Str key = STR_NONE;
        Str value = pair;
        if (!str_cut(&value, '=', &key) || key.n == 0)
            continue;
        if (key.n != wanted.n && str_find(key, STR("%")) < 0)
            continue;
        if (str_eq(form_decode(x->arena, key), wanted) && nth-- == 0)
            return value.p ? form_decode(x->arena, value) : STR("");
    }
    return STR_NONE;
}

Str exchange_peer(struct exchange *x)
{
    char host[64];
    if (getnameinfo(&x->peer.any, sizeof x->peer, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
        return STR("");
    Str s = str_of(host);
    /* An IPv4 client on a dual-stack socket is shown as what it is. */
    if (str_starts(s, STR("::ffff:")) && str_find(s, STR(".")) >= 0)
        s = str_sub(s, 7, s.n);
    return str_dup(x->arena, s);
}

void exchange_set_data(struct exchange *x, void *data)
{
    x->data = data;
}

void *exchange_data(const struct exchange *x)
{
    return x->data;
}

void exchange_add_header(struct exchange *x, const char *name, Str value)
{
    struct header h = {str_dup(x->arena, str_of(name)), str_dup(x->arena, value)};
    vec_push(x->arena, &x->reply.headers, h);
}

void exchange_tell(struct exchange *x, int status)
{
    if (x->server->o.replied)
        x->server->o.replied(x, status, x->handed ? time_monotonic() - x->handed : 0);
}

void exchange_reply(struct exchange *x, int status, const char *content_type, struct buf *body)
{
    x->reply.status = status;
    x->reply.content_type = content_type ? str_z(x->arena, str_of(content_type)) : NULL;
    if (body) {
        x->reply.body = *body;
        *body = BUF(body->max);
    }
    exchange_tell(x, status);
    exchange_done(x);
}
