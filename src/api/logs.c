/* Logs: batches in, pages out, and a run's as a file. */
#include "api/handlers.h"
#include "api/list.h"
#include "events/log.h"

#include "base/limits.h"

/* ---- in ---- */

/* Read and checked on the HTTP thread, so that the writer does nothing but write. */
struct log_batch {
    struct call *call;
    struct log *logs;
    size_t n;
};

static int insert_work(struct conn *c, void *arg, struct err *err)
{
    const struct log_batch *b = arg;
    return logs_insert(c, b->logs, b->n, err);
}

static void insert_done(void *arg, const struct err *err)
{
    const struct log_batch *b = arg;
    struct bus *bus = b->call->ws->bus;
    for (size_t i = 0; !err && i < b->n && bus_has(bus, TOPIC_LOG); i++) {
        struct message m = {.topic = TOPIC_LOG, .id = b->logs[i].id, .when = b->logs[i].timestamp, .log = &b->logs[i]};
        bus_publish(bus, &m);
    }
    if (!err)
        call_null(b->call);
    call_finish(b->call, err);
}

int logs_create(struct call *c, struct err *err)
{
    if (!json_is(c->body, JSON_ARRAY)) {
        violation_add(&c->violations, c->body ? "list_type" : "missing", STR_NONE, c->body, "must be a list of logs");
        return call_invalid(c, err);
    }
    struct log_batch *b = arena_new(c->a, struct log_batch);
    b->call = c;
    b->n = c->body->array.n;
    b->logs = arena_array(c->a, struct log, b->n + 1);
    for (size_t i = 0; i < b->n; i++) {
        Str before = violations_enter_item(&c->violations, i);
        log_parse(c->a, &c->body->array.items[i], &b->logs[i], &c->violations);
        c->violations.prefix = before;
    }
    if (call_invalid(c, err) < 0)
        return -1;
    return db_write(c->ws->telemetry, insert_work, insert_done, b, err);
}

/* ---- out ---- */

static int print_log(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row);
    UNUSED(extra);
    UNUSED(err);
    log_print(&c->w, rec);
    return 0;
}

int logs_filter(struct call *c, struct err *err)
{
    return list_filter(c, &log_listing, NULL, print_log, err);
}

/* ---- a flow run's logs as CSV ---- */

struct run_name {
    struct call *call;
    bool found;
    Str name;
};

static int find_name(struct conn *conn, void *arg, struct err *err)
{
    struct run_name *r = arg;
    AUTO(stmt_finish) struct stmt *q = db_query(conn, err, "SELECT name FROM flow_run WHERE id = $1", "u", r->call->id);
    int rc = q ? stmt_step(q, err) : -1;
    r->found = rc == 1;
    if (r->found)
        r->name = str_dup(r->call->a, stmt_str(q, 0));
    return rc < 0 ? -1 : 0;
}

static Str percent_encode(struct arena *a, Str s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = arena_alloc(a, 3 * s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        bool letter = (ch | 32) >= 'a' && (ch | 32) <= 'z', digit = ch >= '0' && ch <= '9';
        if (letter || digit || ch == '-' || ch == '_' || ch == '.' || ch == '~') {
            p[n++] = (char)ch;
        } else {
            p[n++] = '%';
            p[n++] = hex[ch >> 4];
            p[n++] = hex[ch & 15];
        }
    }
    return (Str){p, n};
}

/* RFC 4180: in quotes where it holds a comma, a quote or a line end. */
static void csv_text(struct buf *b, Str s)
{
    bool plain = true;
    for (size_t i = 0; i < s.n && plain; i++)
        plain = s.p[i] != ',' && s.p[i] != '"' && s.p[i] != '\n' && s.p[i] != '\r';
    if (plain) {
        buf_str(b, s);
        return;
    }
    buf_char(b, '"');
    for (Str rest = s, part; rest.n;) {
        ptrdiff_t quote = str_find(rest, STR("\""));
        part = str_sub(rest, 0, quote < 0 ? rest.n : (size_t)quote + 1);
        buf_str(b, part);
        if (quote >= 0)
            buf_char(b, '"');
        rest = str_sub(rest, part.n, rest.n);
    }
    buf_char(b, '"');
}

/* "2026-11-23 12:00:00.500000+00:00" */
static void csv_time(struct buf *b, Time t)
{
    struct time_text iso = time_iso(t);
    Str s = str_of(iso.s);
    buf_str(b, str_sub(s, 0, 10));
    buf_char(b, ' ');
    buf_str(b, str_sub(s, 11, s.n - 12));
    buf_z(b, "+00:00");
}

static void csv_id(struct buf *b, Uuid id)
{
    if (!uuid_is_nil(id))
        buf_z(b, uuid_text(id).s);
}

int logs_download(struct call *c, struct err *err)
{
    struct run_name run = {.call = c};
    if (db_read_here(c->ws->db, find_name, &run, err) < 0)
        return -1;
    if (!run.found)
        return call_not_found(err, "Flow run");
    AUTO(stmt_finish) struct stmt *q = db_query(
        c->conn, err, "SELECT timestamp, level, flow_run_id, task_run_id, message FROM log WHERE flow_run_id = $1 ORDER BY timestamp, id",
        "u", c->id);
    if (!q)
        return -1;
    buf_z(&c->out, "timestamp,level,flow_run_id,task_run_id,message\r\n");
    int rc;
    while ((rc = stmt_step(q, err)) == 1) {
        csv_time(&c->out, stmt_int(q, 0));
        buf_fmt(&c->out, ",%lld,", (long long)stmt_int(q, 1));
        csv_id(&c->out, stmt_uuid(q, 2));
        buf_char(&c->out, ',');
        csv_id(&c->out, stmt_uuid(q, 3));
        buf_char(&c->out, ',');
        csv_text(&c->out, stmt_str(q, 4));
        buf_z(&c->out, "\r\n");
    }
    if (rc < 0)
        return -1;
    c->content_type = "text/csv; charset=utf-8";
    exchange_add_header(c->x, "Content-Disposition",
                        str_fmt(c->a, "attachment; filename=\"flow-run-logs.csv\"; filename*=UTF-8''%.*s-logs.csv",
                                STR_ARG(percent_encode(c->a, run.name))));
    return 0;
}
