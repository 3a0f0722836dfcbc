/* Events: in as lists, out as pages and counts. */
#include "api/handlers.h"
#include "api/server.h"
#include "events/event.h"
#include "events/filter.h"

#include "base/limits.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

#define COUNT_ORIGIN ((Time)1711929600 * SEC) /* 2024-04-01T00:00Z, a Monday: where time buckets are aligned to */
#define BUCKETS_MAX 1000
#define COUNTS_MAX 10000 /* names or resources in one answer */

/* ---- in ---- */

static void create_done(void *arg, const struct err *err)
{
    call_finish(arg, err);
}

int events_create(struct call *c, struct err *err)
{
    if (!json_is(c->body, JSON_ARRAY)) {
        violation_add(&c->violations, c->body ? "list_type" : "missing", STR_NONE, c->body, "must be a list of events");
        return call_invalid(c, err);
    }
    size_t n = c->body->array.n;
    struct event *events = arena_array(c->a, struct event, n + 1);
    for (size_t i = 0; i < n; i++) {
        Str before = violations_enter_item(&c->violations, i);
        event_parse(c->a, &c->body->array.items[i], &events[i], &c->violations);
        c->violations.prefix = before;
    }
    if (call_invalid(c, err) < 0)
        return -1;
    workspace_take_events(c->ws, events, n, create_done, c);
    return 0;
}

/* ---- pages ---- */

/* A page's place in an answer that goes on asking the same question. */
struct page {
    struct event_filter filter;
    Str filter_text; /* JSON, with its times filled in */
    int64_t size, offset, total;
};

static int count_all(struct call *c, const struct event_filter *f, int64_t *ret, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT count(*)");
    event_filter_from(&q, f);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    *ret = stmt_int(rows, 0);
    return 0;
}

static Str token_of(struct call *c, const struct page *p)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kraw(&w, "filter", p->filter_text);
    jw_kint(&w, "count", p->total);
    jw_kint(&w, "page_size", p->size);
    jw_kint(&w, "offset", p->offset + p->size);
    jw_end(&w);
    size_t n = sodium_base64_ENCODED_LEN(b.n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *text = arena_alloc(c->a, n);
    sodium_bin2base64(text, n, (unsigned char *)b.p, b.n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return str_of(text);
}

/* An absolute URL, made of what the client itself called. `path` is that of events/filter. */
static Str next_page(struct call *c, const struct page *p)
{
    Str host = exchange_header(c->x, "Host"), proto = exchange_header(c->x, "X-Forwarded-Proto");
    Str path = exchange_path(c->x);
    if (str_ends(path, STR("/next")))
        path = str_sub(path, 0, path.n - 5);
    bool tls = c->server->options->tls_cert.n || str_eqz(proto, "https");
    return str_fmt(c->a, "%s://%.*s%.*s/next?page-token=%.*s", tls ? "https" : "http", STR_ARG(host.p ? host : STR("localhost")),
                   STR_ARG(path), STR_ARG(token_of(c, p)));
}

static int print_page(struct call *c, const struct page *p, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_z(&q, event_columns);
    event_filter_from(&q, &p->filter);
    sql_z(&q, p->filter.ascending ? " ORDER BY event.occurred, event.id LIMIT " : " ORDER BY event.occurred DESC, event.id DESC LIMIT ");
    sql_int(&q, p->size);
    sql_z(&q, " OFFSET ");
    sql_int(&q, p->offset);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows)
        return -1;
    jw_object(&c->w);
    jw_key(&c->w, STR("events"));
    jw_array(&c->w);
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        struct event e;
        Time received;
        event_load(c->a, rows, 0, &e, &received);
        event_print(&c->w, &e, received);
    }
    if (rc < 0)
        return -1;
    jw_end(&c->w);
    jw_kint(&c->w, "total", p->total);
    jw_kstr(&c->w, "next_page", p->size && p->offset + p->size < p->total ? next_page(c, p) : STR_NONE);
    jw_end(&c->w);
    return 0;
}

static const struct json *read_filter(struct call *c, struct event_filter *ret)
{
    const struct json *object = call_json(c, "filter");
    Str before = violations_enter(&c->violations, STR("filter"));
    event_filter_parse(c->a, object, c->now, ret, &c->violations);
    c->violations.prefix = before;
    return object;
}

int events_filter(struct call *c, struct err *err)
{
    struct page p = {.size = call_int(c, "limit")};
    const struct json *object = read_filter(c, &p.filter);
    if (call_invalid(c, err) < 0 || count_all(c, &p.filter, &p.total, err) < 0)
        return -1;
    p.filter_text = event_filter_text(c->a, &p.filter, object);
    return print_page(c, &p, err);
}

static bool read_token(struct call *c, Str token, struct page *ret)
{
    size_t n;
    unsigned char *text = arena_alloc(c->a, token.n + 1);
    if (sodium_base642bin(text, token.n + 1, token.p, token.n, NULL, &n, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return false;
    struct err err;
    const struct json *v = json_parse(c->a, (Str){(char *)text, n}, &err), *filter = json_getz(v, "filter");
    struct violations wrong = {.a = c->a, .prefix = STR("[")};
    if (!json_int(json_getz(v, "count"), &ret->total) || !json_int(json_getz(v, "page_size"), &ret->size) ||
        !json_int(json_getz(v, "offset"), &ret->offset) || !json_is(filter, JSON_OBJECT))
        return false;
    event_filter_parse(c->a, filter, c->now, &ret->filter, &wrong);
    ret->filter_text = filter->raw;
    return !wrong.list.n && ret->size > 0 && ret->size <= LIMIT_EVENTS_PAGE && ret->offset >= 0 && ret->total >= 0;
}

int events_filter_next(struct call *c, struct err *err)
{
    struct page p;
    Str token = call_str(c, "page-token");
    if (!read_token(c, token, &p))
        return err_set(err, ERR_FORBIDDEN, "Forbidden");
    return print_page(c, &p, err);
}

/* ---- counts ---- */

static void print_count(struct jw *w, Str value, Str label, int64_t count, Time start, Time end)
{
    jw_object(w);
    jw_kstr(w, "value", value);
    jw_kstr(w, "label", label);
    jw_kint(w, "count", count);
    jw_ktime(w, "start_time", start);
    jw_ktime(w, "end_time", end);
    jw_end(w);
}

/* By name, or by resource: the most frequent first. */
static int count_groups(struct call *c, const struct event_filter *f, bool resources, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    if (!resources)
        sql_z(&q, "SELECT event.event, event.event, count(*), min(event.occurred), max(event.occurred)");
    else if (q.kind == DB_POSTGRES)
        sql_z(&q, "SELECT event.resource_id, coalesce(max(json_extract_path_text(event.resource::json, 'prefect.resource.name')), "
                  "event.resource_id) AS label, count(*), min(event.occurred), max(event.occurred)");
    else
        sql_z(&q, "SELECT event.resource_id, coalesce(max(json_extract(event.resource, '$.\"prefect.resource.name\"')), "
                  "event.resource_id) AS label, count(*), min(event.occurred), max(event.occurred)");
    event_filter_from(&q, f);
    sql_z(&q, resources ? " GROUP BY event.resource_id ORDER BY count(*) DESC, label, event.resource_id LIMIT "
                        : " GROUP BY event.event ORDER BY count(*) DESC, event.event LIMIT ");
    sql_int(&q, COUNTS_MAX);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows)
        return -1;
    int rc;
    jw_array(&c->w);
    while ((rc = stmt_step(rows, err)) == 1)
        print_count(&c->w, stmt_str(rows, 0), stmt_str(rows, 1), stmt_int(rows, 2), stmt_int(rows, 3), stmt_int(rows, 4));
    jw_end(&c->w);
    return rc;
}

static Time bucket_start(Time t, Dur width)
{
    Dur since = t - COUNT_ORIGIN, in = since % width;
    return t - (in < 0 ? in + width : in);
}

/* By time: every bucket from the filter's first instant to its last, also the empty ones. */
static int count_buckets(struct call *c, const struct event_filter *f, Dur width, struct err *err)
{
    jw_array(&c->w);
    if (f->until < f->since) {
        jw_end(&c->w);
        return 0;
    }
    Time first = bucket_start(f->since, width);
    int64_t n = (f->until - first) / width + 1;
    if (n > BUCKETS_MAX)
        return err_set(err, ERR_UNPROCESSABLE, "the interval makes %lld buckets of this time range; at most %d can be counted: take a longer interval or a shorter range",
                       (long long)n, BUCKETS_MAX);
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT (event.occurred - ");
    sql_int(&q, first);
    sql_z(&q, ") / ");
    sql_int(&q, width);
    sql_z(&q, " AS bucket, count(*)");
    event_filter_from(&q, f);
    sql_z(&q, " GROUP BY bucket");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows)
        return -1;
    int64_t counts[BUCKETS_MAX] = {0};
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        int64_t bucket = stmt_int(rows, 0);
        if (bucket >= 0 && bucket < n)
            counts[bucket] = stmt_int(rows, 1);
    }
    if (rc < 0)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        Time start = first + i * width;
        struct time_text iso = time_iso(start);
        Str label = str_fmt(c->a, "%.*s+00:00", (int)strlen(iso.s) - 1, iso.s);
        print_count(&c->w, str_fmt(c->a, "%lld", (long long)i), label, counts[i], start, start + width - 1);
    }
    jw_end(&c->w);
    return 0;
}

static Dur read_interval(struct call *c)
{
    static const struct {
        const char *name;
        Dur width;
    } units[] = {{"week", 7 * DAY}, {"day", DAY}, {"hour", HOUR}, {"minute", MINUTE}, {"second", SEC}};
    Str unit = call_str(c, "time_unit");
    Dur width = DAY;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (str_eqz(unit, units[i].name))
            width = units[i].width;
    return llround((double)width * call_double(c, "time_interval"));
}

int events_count_by(struct call *c, struct err *err)
{
    static const char *const names[] = {"day", "time", "event", "resource"};
    size_t by = 0;
    while (by + 1 < COUNT_OF(names) && !str_eqz(c->params[0], names[by])) /* asks_check knows no other */
        by++;
    Dur width = read_interval(c);
    struct event_filter f;
    (void)read_filter(c, &f);
    if (call_invalid(c, err) < 0)
        return -1;
    if (by >= 2)
        return count_groups(c, &f, by == 3, err);
    return count_buckets(c, &f, by == 0 ? DAY : MAX(width, 1), err);
}
