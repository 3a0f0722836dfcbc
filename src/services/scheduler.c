#include "services/scheduler.h"

#include "base/limits.h"
#include "base/log.h"
#include "schedule/schedule.h"
#include "services/alarms.h"
#include "services/names.h"
#include "services/ticks.h"
#include "store/merge.h"
#include "store/state.h"

/* Schedules that one tick looks at: a bound for the time a commit takes. */
#define BATCH 100

int run_labels(struct scheduling *s, Uuid flow_id, Uuid deployment_id, Str deployment_labels, Str *ret, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = db_query(s->conn, err, "SELECT labels FROM flow WHERE id = $1", "u", flow_id);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "flow_id names %s, and there is no such flow.", uuid_text(flow_id).s);
    Str labels = str_dup(s->a, stmt_str(q, 0));
    labels = json_merge(s->a, labels, str_fmt(s->a, "{\"prefect.flow.id\":\"%s\"}", uuid_text(flow_id).s));
    if (!uuid_is_nil(deployment_id)) {
        labels = json_merge(s->a, labels, deployment_labels);
        labels = json_merge(s->a, labels, str_fmt(s->a, "{\"prefect.deployment.id\":\"%s\"}", uuid_text(deployment_id).s));
    }
    *ret = labels;
    return 0;
}

static const char *kind_name(const struct schedule *s)
{
    switch (schedule_kind(s)) {
    case SCHEDULE_CRON:
        return "CronSchedule";
    case SCHEDULE_INTERVAL:
        return "IntervalSchedule";
    case SCHEDULE_RRULE:
        return "RRuleSchedule";
    }
    return NULL;
}

static Str created_by(struct arena *a, const struct deployment_schedule *row, const struct schedule *schedule)
{
    struct created_by by;
    record_init(&created_by_shape, &by);
    by.id = row->id;
    by.type = STR("SCHEDULE");
    by.display_value = row->slug.p ? row->slug : str_of(kind_name(schedule));
    return shape_text(a, &created_by_shape, &by);
}

/* One run at `at`, as the orchestrator would leave it; no event tells of it, as the API has it. */
static int make_run(struct scheduling *s, const struct flow_run *like, Time at, struct err *err)
{
    struct flow_run run = *like;
    struct state state = state_new(STATE_SCHEDULED, STR_NONE, STR("Flow run scheduled"), s->now);
    struct state_details details;
    state_details_get(s->a, &state, &details);
    run.id = uuid_v7();
    run.name = name_invent(s->a);
    details.scheduled_time = at;
    details.flow_run_id = run.id;
    state_details_put(s->a, &state, &details);
    run.state_id = state.id;
    run.state_type = STR("SCHEDULED");
    run.state_name = STR("Scheduled");
    run.state_timestamp = state.timestamp;
    run.expected_start_time = run.next_scheduled_start_time = at;
    int64_t made = record_insert(s->conn, &flow_run_resource, &run,
                                 "ON CONFLICT (flow_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING", err);
    if (made <= 0)
        return (int)made;
    if (state_insert(s->conn, FLOW_RUN, run.id, &state, err) < 0)
        return -1;
    outbox_alarm(s->out, ALARM_LATE, at + s->ws->orchestration.late_grace);
    outbox_alarm(s->out, ALARM_DUE, at);
    outbox_alarm(s->out, ALARM_NAMES, s->now + NAMES_AFTER);
    return 0;
}

/* When fewer runs than wanted will lie ahead. */
static Time look_again(const struct scheduling *s, const struct schedule *schedule, const Time *dates, size_t n, bool full, Time end)
{
    if (!n) {
        Time beyond;
        return schedule_next(s->a, schedule, end, TIME_NONE, 1, &beyond) ? s->now + DAY : TIME_NONE;
    }
    Time next;
    size_t least = (size_t)MAX(s->ws->services.min_runs, 1);
    if (full)
        next = dates[n / 2];
    else if (n < least)
        next = MIN(dates[0], s->now + DAY);
    else
        next = MIN(dates[n - least], dates[n - 1] - s->ws->services.min_scheduled_time);
    return MAX(next, s->now + SEC);
}

/* Schedules of one second are looked at throughout it, and not in the instant in which their runs fall due and are waited for. */
static Dur spread(Uuid id)
{
    return (Dur)(str_hash((Str){(const char *)id.b, sizeof id.b}) % SEC);
}

struct horizon horizon_from(const struct workspace *ws, Time start)
{
    const struct service_settings *s = &ws->services;
    return (struct horizon){.start = start, .end = TIME_NONE, .min_time = s->min_scheduled_time, .min_runs = s->min_runs, .max_runs = s->max_runs};
}

int schedule_make_runs(struct scheduling *s, const struct deployment *d, struct deployment_schedule *row,
                       const struct horizon *h, Time *ret_next, struct err *err)
{
    const struct json *spec = json_parse(s->a, row->schedule, err);
    const struct schedule *schedule = spec ? schedule_parse(s->a, spec, s->now, err) : NULL;
    if (!schedule)
        return err_wrap(err, "schedule %s", uuid_text(row->id).s);
    Time end = MIN(h->end == TIME_NONE ? h->start + s->ws->services.max_scheduled_time : h->end, TIME_LAST);
    size_t max = (size_t)MIN(MAX(h->max_runs, 0), LIMIT_SCHEDULE_RUNS);
    Time *dates = arena_array(s->a, Time, max + 1);
    size_t n = schedule_next(s->a, schedule, h->start, end, max, dates), keep = 0;
    while (keep < n && !(keep && (int64_t)keep >= h->min_runs && dates[keep - 1] - h->min_time >= h->start))
        keep++;

    struct flow_run like;
    record_init(&flow_run_resource, &like);
    like.created = like.updated = s->now;
    like.flow_id = d->flow_id;
    like.deployment_id = d->id;
    like.deployment_version = d->version;
    like.work_queue_id = d->work_queue_id;
    like.work_queue_name = d->work_queue_name;
    like.parameters = json_merge(s->a, d->parameters, row->parameters);
    like.context = like.empirical_policy = STR("{}");
    like.tags = tags_union(s->a, STR("[\"auto-scheduled\"]"), d->tags);
    like.run_count = like.total_run_time = 0;
    like.auto_scheduled = 1;
    like.infrastructure_document_id = d->infrastructure_document_id;
    like.created_by = created_by(s->a, row, schedule);
    if (keep && run_labels(s, d->flow_id, d->id, d->labels, &like.labels, err) < 0)
        return -1;
    for (size_t i = 0; i < keep; i++) {
        if (row->made_to != TIME_NONE && dates[i] <= row->made_to)
            continue;
        like.idempotency_key = str_fmt(s->a, "scheduled %s %s %.*s", uuid_text(d->id).s, uuid_text(row->id).s,
                                       STR_ARG(schedule_local_text(s->a, schedule, dates[i])));
        if (make_run(s, &like, dates[i], err) < 0)
            return -1;
    }
    if (keep)
        row->made_to = MAX(row->made_to, dates[keep - 1]);
    *ret_next = look_again(s, schedule, dates, keep, keep == max, end);
    if (*ret_next != TIME_NONE)
        *ret_next += spread(row->id);
    return 0;
}

int schedule_drop_runs(struct scheduling *s, Uuid deployment_id, Uuid schedule_id, bool past_too, struct err *err)
{
    Time after = past_too ? 0 : s->now;
    Str by = uuid_is_nil(schedule_id) ? STR("%") : str_fmt(s->a, "%%\"id\":\"%s\"%%", uuid_text(schedule_id).s);
    return db_exec(s->conn, err,
                   "DELETE FROM flow_run WHERE deployment_id = $1 AND auto_scheduled = 1 AND state_type = 'SCHEDULED' AND run_count = 0"
                   " AND state_name <> 'AwaitingConcurrencySlot' AND next_scheduled_start_time > $2 AND created_by LIKE $3",
                   "uts", deployment_id, after, by) < 0
               ? -1
               : 0;
}

int schedule_arm(struct scheduling *s, Uuid deployment_id, bool paused, struct err *err)
{
    Time due = paused ? TIME_NONE : s->now;
    if (db_exec(s->conn, err, "UPDATE deployment_schedule SET next_due = CASE WHEN active = 1 THEN $2 ELSE NULL END, made_to = NULL WHERE deployment_id = $1",
                "ut", deployment_id, due) < 0)
        return -1;
    if (!paused)
        outbox_alarm(s->out, ALARM_SCHEDULER, s->now);
    return 0;
}

/* Schedules whose time has come, the most overdue first. */
static int due_schedules(struct tick *t, struct deployment_schedule *rows, size_t *ret_n, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(t->a, conn_kind(t->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&deployment_schedule_resource));
    sql_z(&q, " FROM deployment_schedule WHERE next_due IS NOT NULL AND next_due <= ");
    sql_time(&q, t->now);
    sql_z(&q, " ORDER BY next_due LIMIT ");
    sql_int(&q, BATCH);
    if (q.kind == DB_POSTGRES)
        sql_z(&q, " FOR UPDATE SKIP LOCKED");
    AUTO(stmt_finish) struct stmt *found = sql_query(t->conn, &q, err);
    int rc = found ? 1 : -1;
    for (*ret_n = 0; rc == 1 && (rc = stmt_step(found, err)) == 1; ++*ret_n)
        record_load(t->a, &deployment_schedule_resource, found, 0, &rows[*ret_n]);
    return rc;
}

int tick_scheduler(struct tick *t, struct err *err)
{
    struct scheduling s = {t->conn, t->a, t->now, &t->out, t->ws};
    struct deployment_schedule *rows = arena_array(t->a, struct deployment_schedule, BATCH);
    size_t n;
    if (due_schedules(t, rows, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct deployment d;
        Time next = TIME_NONE;
        int rc = record_by_id(t->conn, t->a, &deployment_resource, rows[i].deployment_id, &d, err);
        if (rc < 0)
            return -1;
        struct horizon h = horizon_from(t->ws, t->now);
        struct err why;
        if (rc && d.paused != 1 && rows[i].active == 1 && schedule_make_runs(&s, &d, &rows[i], &h, &next, &why) < 0) {
            if (why.code == ERR_DB || why.code == ERR_DISK || why.code == ERR_INTERNAL) {
                *err = why;
                return -1;
            }
            log_at(LOG_WARN, "scheduler", "a stored schedule cannot be read, skipping it", "schedule=%s error=\"%s\"",
                   uuid_text(rows[i].id).s, why.text);
            next = TIME_NONE;
        }
        if (db_exec(t->conn, err, "UPDATE deployment_schedule SET next_due = $2, made_to = $3 WHERE id = $1", "utt", rows[i].id, next, rows[i].made_to) < 0)
            return -1;
    }
    return tick_next(t, "SELECT min(next_due) FROM deployment_schedule WHERE next_due IS NOT NULL", 0, err);
}
