/* Runs counted over time: what dashboards draw. */
#include "api/run_history.h"

#include "api/list.h"
#include "api/pools.h"
#include "api/run_tally.h"
#include "base/limits.h"

#include <string.h>

#define INTERVALS_MAX 500
#define TIMES_END ((Time)253402300799 * SEC) /* the last second of year 9999 */

void sql_estimated_run_time(struct sql *q, const char *table, Time now)
{
    buf_fmt(&q->text, "(%s.total_run_time + CASE WHEN %s.state_type = 'RUNNING' AND %s.state_timestamp < ", table, table, table);
    sql_time(q, now);
    sql_z(q, " THEN ");
    sql_time(q, now);
    buf_fmt(&q->text, " - %s.state_timestamp ELSE 0 END)", table);
}

void sql_estimated_lateness(struct sql *q, const char *t, Time now)
{
    buf_fmt(&q->text,
            "(CASE WHEN %s.expected_start_time IS NULL THEN 0"
            " WHEN %s.start_time IS NOT NULL THEN CASE WHEN %s.start_time > %s.expected_start_time THEN %s.start_time - %s.expected_start_time ELSE 0 END"
            " WHEN %s.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') THEN 0 WHEN %s.expected_start_time < ",
            t, t, t, t, t, t, t, t);
    sql_time(q, now);
    sql_z(q, " THEN ");
    sql_time(q, now);
    buf_fmt(&q->text, " - %s.expected_start_time ELSE 0 END)", t);
}

/* ---- history ---- */

struct span {
    Time start;
    Dur interval;
    int64_t count; /* intervals, from `start` on */
};

static int parse_span(struct call *c, struct span *ret, struct err *err)
{
    ret->start = call_time(c, "history_start", 0);
    Time end = call_time(c, "history_end", 0);
    ret->interval = call_dur(c, "history_interval_seconds");
    Dur whole = end - ret->start;
    ret->count = whole <= 0 ? 0 : MIN(whole / ret->interval + (whole % ret->interval != 0), INTERVALS_MAX);
    return 0;
}

static Time instant(const struct span *s, int64_t i)
{
    return MIN(s->start + i * s->interval, TIMES_END);
}

static int history(struct call *c, const struct listing *l, struct err *err)
{
    struct span s;
    struct tally tally;
    if (parse_span(c, &s, err) < 0 || tally_history(c, l, &(struct tally_span){s.start, s.start + s.count * s.interval, s.interval}, &tally, err) < 0)
        return -1;
    const struct tally_cell *cell = tally.cells.v, *end = tally.cells.n ? cell + tally.cells.n : cell;
    jw_array(&c->w);
    for (int64_t i = 0; i < s.count; i++) {
        jw_object(&c->w);
        jw_ktime(&c->w, "interval_start", instant(&s, i));
        jw_ktime(&c->w, "interval_end", instant(&s, i + 1));
        jw_key(&c->w, STR("states"));
        jw_array(&c->w);
        for (; cell < end && cell->interval == i; cell++) {
            jw_object(&c->w);
            jw_kstr(&c->w, "state_type", cell->type);
            jw_kstr(&c->w, "state_name", cell->name);
            jw_kint(&c->w, "count_runs", cell->runs);
            jw_kdouble(&c->w, "sum_estimated_run_time", cell->run_time / SEC);
            jw_kdouble(&c->w, "sum_estimated_lateness", cell->lateness / SEC);
            jw_end(&c->w);
        }
        jw_end(&c->w);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return 0;
}

int flow_runs_history(struct call *c, struct err *err)
{
    return history(c, &flow_run_listing, err);
}

int task_runs_history(struct call *c, struct err *err)
{
    return history(c, &task_run_listing, err);
}

int flow_runs_lateness(struct call *c, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT CAST(avg(");
    sql_estimated_lateness(&q, "flow_run", c->now);
    sql_z(&q, ") AS double precision) FROM flow_run");
    listing_where(&q, &flow_run_listing, c->body, &c->violations);
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    if (stmt_is_null(rows, 0))
        return call_null(c);
    jw_double(&c->w, stmt_double(rows, 0) / SEC);
    return 0;
}

/* ---- the web UI's ---- */

/* The body, with the sort order that this route has where none is given. */
static const struct json *newest_first(struct call *c)
{
    if (c->body && c->body->kind != JSON_OBJECT)
        return c->body; /* refused by who reads it */
    size_t n = 0, sent = c->body ? c->body->object.n : 0;
    struct json_member *members = arena_array(c->a, struct json_member, sent + 1);
    for (size_t i = 0; i < sent; i++)
        if (!str_eqz(c->body->object.members[i].key, "sort") || c->body->object.members[i].value.kind != JSON_NULL)
            members[n++] = c->body->object.members[i];
    if (json_is_null(json_getz(c->body, "sort")))
        members[n++] = (struct json_member){STR("sort"), {.kind = JSON_STRING, .string = STR("EXPECTED_START_TIME_DESC")}};
    struct json *body = arena_new(c->a, struct json);
    *body = (struct json){.kind = JSON_OBJECT, .object = {members, n}};
    return body;
}

int ui_flow_runs_history(struct call *c, struct err *err)
{
    int64_t limit = call_int(c, "limit"), offset = call_int(c, "offset");
    const struct json *body = newest_first(c);
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT flow_run.id, flow_run.state_type, coalesce(flow_run.start_time, flow_run.expected_start_time), ");
    sql_estimated_run_time(&q, "flow_run", c->now);
    sql_z(&q, ", ");
    sql_estimated_lateness(&q, "flow_run", c->now);
    listing_from_where(&q, &flow_run_listing, body, &c->violations);
    sql_z(&q, " AND flow_run.state_type IS NOT NULL AND coalesce(flow_run.start_time, flow_run.expected_start_time) IS NOT NULL");
    listing_order(&q, &flow_run_listing, body, &c->violations);
    sql_z(&q, " LIMIT ");
    sql_int(&q, limit);
    sql_z(&q, " OFFSET ");
    sql_int(&q, offset);
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        jw_object(&c->w);
        jw_kuuid(&c->w, "id", stmt_uuid(rows, 0));
        jw_kstr(&c->w, "state_type", stmt_str(rows, 1));
        jw_ktime(&c->w, "timestamp", stmt_int(rows, 2));
        jw_kdouble(&c->w, "duration", (double)stmt_int(rows, 3) / SEC);
        jw_kdouble(&c->w, "lateness", (double)stmt_int(rows, 4) / SEC);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return rc;
}

int ui_task_runs_count(struct call *c, struct err *err)
{
    int64_t counts[STATE_COUNT] = {0};
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT task_run.state_type, count(*) FROM task_run");
    listing_where(&q, &task_run_listing, c->body, &c->violations);
    sql_z(&q, " GROUP BY task_run.state_type");
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        int type = state_type_of(stmt_str(rows, 0));
        if (type >= 0)
            counts[type] = stmt_int(rows, 1);
    }
    jw_object(&c->w);
    for (int i = 0; i < STATE_COUNT; i++) {
        jw_key(&c->w, state_type_text((enum state_type)i));
        jw_int(&c->w, counts[i]);
    }
    jw_end(&c->w);
    return rc;
}

#define BUCKETS 20

int ui_task_runs_dashboard_counts(struct call *c, struct err *err)
{
    const struct json *range = json_path(c->body, "task_runs.start_time");
    Time start, end = c->now;
    const struct json *after = json_getz(range, "after_"), *before = json_getz(range, "before_");
    if (!after || !time_read(after, &start))
        return err_set(err, ERR_UNPROCESSABLE, "task_runs.start_time.after_ is required, and must be a date and time");
    if (!json_is_null(before) && !time_read(before, &end))
        return err_set(err, ERR_UNPROCESSABLE, "task_runs.start_time.before_ must be a date and time");
    /* whole minutes: a page that is looked at again shows the same buckets */
    start -= ((start % MINUTE) + MINUTE) % MINUTE;
    end += MINUTE - (((end % MINUTE) + MINUTE) % MINUTE);
    Dur width = MAX((end - start) / BUCKETS, 1);
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT (coalesce(task_run.start_time, task_run.expected_start_time) - ");
    sql_time(&q, start);
    sql_z(&q, ") / ");
    sql_int(&q, width);
    sql_z(&q, ", sum(CASE WHEN task_run.state_type IN ('FAILED', 'CRASHED') THEN 1 ELSE 0 END), count(*) FROM task_run");
    listing_where(&q, &task_run_listing, c->body, &c->violations);
    sql_z(&q, " AND task_run.state_type IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED') GROUP BY 1");
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int64_t failed[BUCKETS] = {0}, all[BUCKETS] = {0};
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        int64_t i = stmt_int(rows, 0);
        if (i < 0 || i >= BUCKETS)
            continue; /* after the window: now has gone on */
        failed[i] += stmt_int(rows, 1);
        all[i] += stmt_int(rows, 2);
    }
    jw_array(&c->w);
    for (int i = 0; i < BUCKETS; i++) {
        jw_object(&c->w);
        jw_kint(&c->w, "completed", all[i] - failed[i]);
        jw_kint(&c->w, "failed", failed[i]);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return rc;
}
