/* From a request to its handler and back. */
#include "api/call.h"
#include "api/server.h"
#include "base/limits.h"
#include "base/log.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define API_BASE "/api"

/* ---- the tree of routes: one node a path segment, made once from the table ---- */

struct node {
    Str segment; /* literal; STR_NONE: a parameter */
    const char *param;
    struct node *children, *next;
    const struct route *by_method[8];
};

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"};

static int method_index(Str m)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (str_eqz(m, methods[i]))
            return (int)i;
    return -1;
}

static struct node *root;
static struct arena *tree_arena;

static struct node *child(struct node *parent, Str segment)
{
    bool is_param = segment.n > 1 && segment.p[0] == '{';
    Str name = is_param ? str_sub(segment, 1, segment.n - 2) : STR_NONE;
    for (struct node *n = parent->children; n; n = n->next)
        if (is_param ? n->param && str_eqz(name, n->param) : str_eq(n->segment, segment))
            return n;
    struct node *n = arena_new(tree_arena, struct node);
    n->segment = is_param ? STR_NONE : segment;
    if (is_param)
        n->param = str_z(tree_arena, name);
    /* literals before the parameter, so that the closest match wins */
    struct node **at = &parent->children;
    while (*at && (is_param || (*at)->segment.p))
        at = &(*at)->next;
    n->next = *at;
    *at = n;
    return n;
}

static void tree_make(void)
{
    tree_arena = arena_create();
    root = arena_new(tree_arena, struct node);
    for (size_t i = 0; i < route_count; i++) {
        struct node *n = root;
        Str rest = str_of(routes[i].path + 1), segment;
        while (str_cut(&rest, '/', &segment))
            n = child(n, segment);
        int m = method_index(str_of(routes[i].method));
        if (n->by_method[m])
            die("route twice: %s %s", routes[i].method, routes[i].path);
        n->by_method[m] = &routes[i];
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static Str percent_decode(struct arena *a, Str s)
{
    if (str_find(s, STR("%")) < 0)
        return s;
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int hi, lo;
        if (s.p[i] == '%' && i + 2 < s.n && (hi = hex_digit(s.p[i + 1])) >= 0 && (lo = hex_digit(s.p[i + 2])) >= 0) {
            out[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    return (Str){out, n};
}

struct match {
    int method;               /* asked for; -1: one that no route has */
    const struct node *node;
    const struct node *other; /* the first that has the path, but not the method */
    Str params[4];
    const char *names[4];
    size_t n;
};

static bool is_id_name(const char *name)
{
    size_t n = strlen(name);
    return !strcmp(name, "id") || (n > 3 && !strcmp(name + n - 3, "_id"));
}

static bool is_route(const struct node *n)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (n->by_method[i])
            return true;
    return false;
}

/* Depth first: a literal is tried before the parameter beside it, which has the request where the literal has not its method (a limit
 * may be named "filter"). `rest` is what follows the slash. */
static bool match_path(struct arena *a, const struct node *n, Str rest, struct match *m)
{
    Str segment;
    if (!str_cut(&rest, '/', &segment)) {
        if (m->method >= 0 && n->by_method[m->method]) {
            m->node = n;
            return true;
        }
        if (!m->other && is_route(n))
            m->other = n;
        return false;
    }
    size_t depth = m->n;
    for (const struct node *k = n->children; k; k = k->next) {
        if (k->segment.p) {
            if (str_eq(k->segment, segment) && match_path(a, k, rest, m))
                return true;
        } else if (segment.n && m->n < COUNT_OF(m->params)) {
            Uuid id;
            m->params[m->n] = percent_decode(a, segment);
            m->names[m->n++] = k->param;
            if ((!is_id_name(k->param) || uuid_parse(m->params[depth], &id)) && match_path(a, k, rest, m))
                return true;
            m->n = depth;
        }
    }
    return false;
}

/* ---- who asks ---- */

static bool equal_secret(Str x, Str y)
{
    /* hashes have one length, so that the time taken tells nothing of either */
    unsigned char hx[crypto_generichash_BYTES], hy[crypto_generichash_BYTES];
    crypto_generichash(hx, sizeof hx, (const unsigned char *)x.p, x.n, NULL, 0);
    crypto_generichash(hy, sizeof hy, (const unsigned char *)y.p, y.n, NULL, 0);
    return sodium_memcmp(hx, hy, sizeof hx) == 0;
}

bool api_token_fits(const struct server *s, Str token)
{
    Str want = s->options->auth_string;
    return !want.n || (token.p && equal_secret(token, want));
}

bool api_authorized(const struct server *s, Str header)
{
    if (!s->options->auth_string.n)
        return true;
    if (!header.p)
        return false;
    if (str_ieq(str_sub(header, 0, 7), STR("bearer ")))
        return api_token_fits(s, str_trim(str_sub(header, 7, header.n)));
    if (!str_ieq(str_sub(header, 0, 6), STR("basic ")))
        return false;
    Str b64 = str_trim(str_sub(header, 6, header.n));
    unsigned char plain[1024];
    size_t n;
    if (b64.n > 1300 || sodium_base642bin(plain, sizeof plain, b64.p, b64.n, "=", &n, NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0)
        return false;
    bool fits = api_token_fits(s, (Str){(const char *)plain, n});
    sodium_memzero(plain, sizeof plain);
    return fits;
}

static bool read_version(Str s, int out[3])
{
    for (int i = 0; i < 3; i++) {
        size_t n = 0;
        int v = 0;
        while (n < s.n && n < 6 && s.p[n] >= '0' && s.p[n] <= '9')
            v = v * 10 + (s.p[n++] - '0');
        if (!n || (i < 2 && (n >= s.n || s.p[n] != '.')))
            return false;
        out[i] = v;
        s = str_sub(s, n + (i < 2), s.n);
    }
    return s.n == 0;
}

static struct client_info client_of(const struct exchange *x)
{
    struct client_info c = {.version = {-1, -1, -1}};
    Str agent = exchange_header(x, "User-Agent");
    if (str_starts(agent, STR("prefect/"))) {
        Str v = str_sub(agent, 8, agent.n);
        ptrdiff_t end = str_find(v, STR(" (API "));
        if (end > 0 && v.p[v.n - 1] == ')') {
            v = str_sub(v, 0, (size_t)end);
            size_t n = 0; /* digits and dots: a suffix such as "rc1" does not count */
            while (n < v.n && (v.p[n] == '.' || (v.p[n] >= '0' && v.p[n] <= '9')))
                n++;
            int got[3];
            if (read_version(str_sub(v, 0, n), got))
                memcpy(c.version, got, sizeof got);
        }
    }
    return c;
}

/* ---- answers ---- */

static void reply_text(struct exchange *x, int status, const char *key, const char *text)
{
    struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, str_of(key));
    jw_z(&w, text);
    jw_end(&w);
    exchange_reply(x, status, "application/json", &b);
}

static void reply_violations(struct call *c)
{
    struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "exception_message", "Invalid request received.");
    jw_key(&w, STR("exception_detail"));
    jw_array(&w);
    for (size_t i = 0; i < c->violations.list.n; i++) {
        const struct violation *v = &c->violations.list.v[i];
        jw_object(&w);
        jw_kz(&w, "type", v->type);
        jw_kraw(&w, "loc", v->loc);
        jw_kstr(&w, "msg", v->msg);
        /* a large value is not sent back: the place says which it was */
        jw_kraw(&w, "input", v->input.n <= 4096 ? v->input : STR_NONE);
        jw_end(&w);
    }
    jw_end(&w);
    Str body = exchange_body(c->x);
    jw_kraw(&w, "request_body", c->body && body.n <= 65536 ? c->body->raw : STR_NONE);
    jw_end(&w);
    exchange_reply(c->x, 422, "application/json", &b);
}

static void call_reset(struct call *c)
{
    c->status = c->route->status;
    c->content_type = "application/json";
    buf_reset(&c->out);
    c->w = jw_on(&c->out);
    c->violations = (struct violations){.a = c->a, .prefix = STR("[\"body\"")};
    c->exception_shape = false;
    c->retry_after = -1;
    outbox_init(&c->outbox, c->a);
}

static void reply_error(struct call *c, const struct err *as_it_came)
{
    struct err worded = *as_it_came, *err = &worded;
    conflict_explain(NULL, NULL, err); /* what no record explained: the raw text names columns */
    int status = err_http_status(err->code);
    if (c->retry_after >= 0)
        exchange_add_header(c->x, "Retry-After", str_fmt(c->a, "%.6f", c->retry_after));
    switch (err->code) {
    case ERR_INTERNAL:
    case ERR_IO:
        log_at(LOG_ERROR, "api", "request failed", "method=%.*s path=%.*s error=\"%s\"", STR_ARG(exchange_method(c->x)),
               STR_ARG(exchange_path(c->x)), err->text);
        reply_text(c->x, 500, "exception_message", "Internal Server Error");
        break;
    case ERR_DB:
        log_at(LOG_WARN, "api", "database failed", "path=%.*s error=\"%s\"", STR_ARG(exchange_path(c->x)), err->text);
        exchange_add_header(c->x, "Retry-After", STR("1"));
        reply_text(c->x, 503, "exception_message", "Service Unavailable");
        break;
    case ERR_DISK: /* in our words: nothing in them tells of the machine */
        log_at(LOG_WARN, "api", "database not written", "path=%.*s error=\"%s\"", STR_ARG(exchange_path(c->x)), err->text);
        exchange_add_header(c->x, "Retry-After", STR("1"));
        reply_text(c->x, 503, "exception_message", err->text);
        break;
    case ERR_BUSY:
        exchange_add_header(c->x, "Retry-After", STR("1"));
        reply_text(c->x, 503, "exception_message", "Service Unavailable");
        break;
    default:
        reply_text(c->x, status, c->exception_shape ? "exception_message" : "detail", err->text);
    }
}

/* The end of every call: after the commit of a write, or with what went wrong. */
static void call_done(void *arg, const struct err *err)
{
    struct call *c = arg;
    if (!err)
        workspace_tell(c->ws, &c->outbox);
    else
        buf_free(&c->out); /* what was written before it failed */
    if (err && c->violations.list.n) {
        reply_violations(c);
    } else if (err) {
        reply_error(c, err);
    } else if (c->out.overflow) {
        struct err large;
        buf_free(&c->out);
        err_set(&large, ERR_INTERNAL, "the answer is larger than %zu bytes", LIMIT_REPLY);
        reply_error(c, &large);
    } else {
        if (c->retry_after >= 0)
            exchange_add_header(c->x, "Retry-After", str_fmt(c->a, "%.6f", c->retry_after));
        /* out is moved into the reply; the call lives in the exchange's arena and ends with it */
        struct buf out = c->out;
        c->out = BUF(LIMIT_REPLY);
        exchange_reply(c->x, c->status, out.n ? c->content_type : NULL, &out);
        return;
    }
}

void call_finish(struct call *c, const struct err *err)
{
    call_done(c, err);
}

static int call_work(struct conn *conn, void *arg, struct err *err)
{
    struct call *c = arg;
    call_reset(c);
    c->conn = conn;
    c->now = time_now();
    int rc = c->route->handler(c, err);
    c->conn = NULL;
    if (rc == 0 && c->violations.list.n)
        return err_set(err, ERR_UNPROCESSABLE, "invalid request");
    return rc;
}

static void run_now(struct call *c)
{
    struct err err;
    call_done(c, call_work(NULL, c, &err) < 0 ? &err : NULL);
}

static void dispatch(struct call *c)
{
    struct err err;
    int rc = 0;
    switch (c->route->kind) {
    case INLINE:
        run_now(c);
        return;
    case LATER:
        call_reset(c);
        c->now = time_now();
        if (c->route->handler(c, &err) < 0)
            call_done(c, &err);
        return;
    case SOCKET:
        call_reset(c);
        c->now = time_now();
        if (c->route->handler(c, &err) < 0)
            reply_error(c, &err);
        return;
    case READ_:
        if (db_kind(c->ws->db) == DB_SQLITE) {
            rc = db_read_here(c->ws->db, call_work, c, &err);
            call_done(c, rc < 0 ? &err : NULL);
            return;
        }
        rc = db_read(c->ws->db, call_work, call_done, c, &err);
        break;
    case HEAVY:
        rc = db_read(c->ws->db, call_work, call_done, c, &err);
        break;
    case WRITE:
        rc = db_write(c->ws->db, call_work, call_done, c, &err);
        break;
    case LOGS_READ:
        rc = db_read(c->ws->telemetry, call_work, call_done, c, &err);
        break;
    case LOGS_WRITE:
        rc = db_write(c->ws->telemetry, call_work, call_done, c, &err);
        break;
    }
    if (rc < 0)
        call_done(c, &err);
}

/* ---- the way in ---- */

/* "*", or names with commas between. */
static bool is_listed(Str list, Str name)
{
    if (str_eqz(str_trim(list), "*"))
        return true;
    for (Str one; str_cut(&list, ',', &one);)
        if (str_ieq(str_trim(one), name))
            return true;
    return false;
}

/* False for a page of an origin that may not: then its browser, which finds no header, keeps the answer from it. */
static bool cors(const struct server_options *o, struct exchange *x)
{
    Str origin = exchange_header(x, "Origin");
    if (!origin.p)
        return true;
    bool all = str_eqz(str_trim(o->cors_origins), "*");
    if (!all)
        exchange_add_header(x, "Vary", STR("Origin"));
    if (!is_listed(o->cors_origins, origin))
        return false;
    exchange_add_header(x, "Access-Control-Allow-Origin", all ? STR("*") : origin);
    return true;
}

static void reply_preflight(const struct server_options *o, struct exchange *x, bool welcome)
{
    Str method = exchange_header(x, "Access-Control-Request-Method"), wanted = exchange_header(x, "Access-Control-Request-Headers"), rest = wanted;
    const char *refused = !welcome ? "Pages of this origin may not use the API." :
                          method.p && !is_listed(o->cors_methods, method) ? "Pages of other origins may not use this method." : NULL;
    for (Str one; !refused && str_cut(&rest, ',', &one);)
        if (str_trim(one).n && !is_listed(o->cors_headers, str_trim(one)))
            refused = "Pages of other origins may not send these headers.";
    if (refused) {
        reply_text(x, 400, "detail", refused);
        return;
    }
    bool all = str_eqz(str_trim(o->cors_methods), "*");
    exchange_add_header(x, "Access-Control-Allow-Methods", all ? STR("GET, POST, PUT, PATCH, DELETE, OPTIONS") : o->cors_methods);
    all = str_eqz(str_trim(o->cors_headers), "*");
    exchange_add_header(x, "Access-Control-Allow-Headers", !all ? o->cors_headers : wanted.p ? wanted : STR("*"));
    exchange_add_header(x, "Access-Control-Max-Age", STR("600"));
    exchange_reply(x, 200, NULL, NULL);
}

static bool version_refused(struct exchange *x, struct client_info *info)
{
    Str v = exchange_header(x, "X-PREFECT-API-VERSION");
    if (!v.p)
        return false;
    struct arena *a = exchange_arena(x);
    if (!read_version(v, info->api)) {
        reply_text(x, 400, "detail",
                   str_fmt(a, "X-PREFECT-API-VERSION must be of the form x.y.z, not %.*s", STR_ARG(str_sub(v, 0, 60))).p);
        return true;
    }
    if (info->api[0] == 0 && info->api[1] < 8) {
        reply_text(x, 400, "detail",
                   str_fmt(a, "API version %.*s is too old: this server speaks 0.8.0 and later", STR_ARG(v)).p);
        return true;
    }
    return false;
}

/* "GET, HEAD, PATCH" */
static Str allowed(struct arena *a, const struct node *n)
{
    Str list = STR("");
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (n->by_method[i])
            list = str_fmt(a, "%.*s%s%s%s", STR_ARG(list), list.n ? ", " : "", methods[i], i ? "" : ", HEAD");
    return list;
}

/* With or without the slash at the end it is a path, whatever the method. */
static bool redirected(struct exchange *x, struct arena *a, Str rest)
{
    Str other = rest;
    while (str_ends(other, STR("/")))
        other = str_sub(other, 0, other.n - 1);
    if (other.n == rest.n)
        other = str_fmt(a, "%.*s/", STR_ARG(rest));
    struct match m = {.method = -1};
    (void)match_path(a, root, other, &m);
    if (!m.other)
        return false;
    Str query = exchange_query_text(x);
    exchange_add_header(x, "Location", str_fmt(a, API_BASE "/%.*s%s%.*s", STR_ARG(other), query.n ? "?" : "", STR_ARG(query)));
    exchange_reply(x, 307, NULL, NULL);
    return true;
}

bool csrf_refused(struct call *c); /* api/csrf.c */

void api_handle(struct exchange *x, void *user)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, tree_make);
    struct server *s = user;
    struct arena *a = exchange_arena(x);
    Str path = exchange_path(x), method = exchange_method(x);
    bool welcome = cors(s->options, x);
    if (str_eqz(method, "OPTIONS")) {
        reply_preflight(s->options, x, welcome);
        return;
    }
    if (str_eqz(path, "/openapi.json")) /* as published: at the root too */
        path = STR(API_BASE "/openapi.json");
    if (!str_starts(path, STR(API_BASE "/"))) {
        reply_text(x, 404, "detail", "Not Found");
        return;
    }
    Str rest = str_sub(path, sizeof API_BASE, path.n);
    bool open_to_all = str_eqz(rest, "health") || str_eqz(rest, "ready");
    bool head = str_eqz(method, "HEAD");
    struct match m = {.method = head ? 0 : method_index(method)};
    bool found = match_path(a, root, rest, &m);
    /* Sockets ask for a token in their first message; the header alone makes no socket of another route. */
    bool socket = found && m.node->by_method[m.method]->kind == SOCKET && exchange_is_upgrade(x);
    if (!open_to_all && !socket && !api_authorized(s, exchange_header(x, "Authorization"))) {
        exchange_add_header(x, "WWW-Authenticate", STR("Basic"));
        reply_text(x, 401, "exception_message", "Unauthorized");
        return;
    }
    struct client_info info = client_of(x);
    if (!str_eqz(rest, "health") && !str_eqz(rest, "version") && version_refused(x, &info))
        return;

    if (!found) {
        if (m.other) {
            exchange_add_header(x, "Allow", allowed(a, m.other));
            reply_text(x, 405, "detail", "Method Not Allowed");
        } else if (!redirected(x, a, rest)) {
            reply_text(x, 404, "detail", "Not Found");
        }
        return;
    }
    const struct route *route = m.node->by_method[m.method];
    exchange_set_data(x, (void *)(uintptr_t)route); /* for metrics_replied */
    struct call *c = arena_new(a, struct call);
    c->a = a;
    c->x = x;
    c->server = s;
    c->ws = s->ws;
    c->route = route;
    c->client = info;
    c->out = BUF(LIMIT_REPLY);
    memcpy(c->params, m.params, sizeof c->params);
    call_reset(c);
    bool has_id = false;
    for (size_t i = 0; i < m.n; i++) {
        if (!str_utf8_valid(m.params[i]) || memchr(m.params[i].p, 0, m.params[i].n)) {
            reply_text(x, 404, "detail", "Not Found");
            return;
        }
        if (is_id_name(m.names[i]) && !has_id)
            has_id = uuid_parse(m.params[i], &c->id);
    }
    Str body = exchange_body(x);
    if (str_trim(body).n) {
        struct err err;
        c->body = json_parse(a, body, &err);
        if (!c->body) {
            violation_add(&c->violations, "json_invalid", STR_NONE, NULL, err.text);
            reply_violations(c);
            return;
        }
    }
    if (s->options->csrf && !str_eqz(method, "GET") && !head && csrf_refused(c))
        return;
    asks_check(c);
    if (c->violations.list.n) {
        reply_violations(c);
        return;
    }
    dispatch(c);
}
