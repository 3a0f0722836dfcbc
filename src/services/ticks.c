/* The periodic duties of semantics.md 3 and 4, each a tick that ends with the instant of the next. */
#include "services/ticks.h"

#include "services/names.h"
#include "store/cleanups.h"
#include "store/concurrency.h"
#include "store/state.h"

#define LATE_BATCH 400
#define PAUSE_BATCH 200
#define CANCEL_BATCH 100
#define AWAITING "AwaitingConcurrencySlot"

int tick_next(struct tick *t, const char *sql, Dur after, struct err *err)
{
    int64_t at;
    int rc = db_get_int(t->conn, err, &at, sql, "");
    if (rc < 0)
        return -1;
    t->next = rc == 0 || at == INT_NONE ? TIME_NEVER : at + after;
    return 0;
}

static struct orchestration orchestration_of(struct tick *t, enum policy policy, bool force)
{
    return (struct orchestration){.conn = t->conn, .a = t->a, .now = t->now, .policy = policy, .force = force,
                                  .client = {.version = {-1, -1, -1}}, .out = &t->out, .settings = &t->ws->orchestration};
}

typedef VEC(Uuid) Ids;

static int collect(struct tick *t, struct stmt *rows, Ids *ret, struct err *err)
{
    AUTO(stmt_finish) struct stmt *own = rows;
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(own, err)) == 1)
        vec_push(t->a, ret, stmt_uuid(own, 0));
    return rc;
}

/* Proposes the state to the run under a policy; a run that is gone or refuses is passed over. */
static int propose(struct tick *t, Uuid run_id, const struct state *state, enum policy policy, bool force, struct err *err)
{
    struct flow_run run;
    int rc = record_lock(t->conn, t->a, &flow_run_resource, run_id, &run, err);
    if (rc <= 0)
        return rc;
    struct orchestration o = orchestration_of(t, policy, force);
    struct verdict_result result;
    return orchestrate_flow_run(&o, &run, state, &result, err);
}

/* ---- late runs ---- */

int tick_late(struct tick *t, struct err *err)
{
    struct flow_run *runs = arena_array(t->a, struct flow_run, LATE_BATCH);
    size_t n = 0;
    {
        AUTO(stmt_finish) struct stmt *q = db_query(t->conn, err,
            "SELECT id, next_scheduled_start_time FROM flow_run WHERE state_type = 'SCHEDULED' AND state_name = 'Scheduled'"
            " AND next_scheduled_start_time <= $1 ORDER BY next_scheduled_start_time LIMIT 400", "t", t->now - t->ws->orchestration.late_grace);
        int rc = q ? 1 : -1;
        while (rc == 1 && n < LATE_BATCH && (rc = stmt_step(q, err)) == 1) {
            runs[n].id = stmt_uuid(q, 0);
            runs[n++].next_scheduled_start_time = stmt_int(q, 1);
        }
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < n; i++) {
        struct state late = state_new(STATE_SCHEDULED, STR("Late"), STR_NONE, t->now);
        struct state_details d;
        state_details_get(t->a, &late, &d);
        d.scheduled_time = runs[i].next_scheduled_start_time;
        state_details_put(t->a, &late, &d);
        if (propose(t, runs[i].id, &late, POLICY_MARK_LATE, false, err) < 0)
            return -1;
    }
    return tick_next(t, "SELECT min(next_scheduled_start_time) FROM flow_run WHERE state_type = 'SCHEDULED' AND state_name = 'Scheduled'",
                     t->ws->orchestration.late_grace, err);
}

/* ---- runs that are due now: whoever waits for them is woken ---- */

int tick_due(struct tick *t, struct err *err)
{
    Ids pools = {0};
    /* Those of the last minute: older ones were told of; a worker asks again by itself. */
    if (collect(t, db_query(t->conn, err,
                "SELECT DISTINCT work_queue.work_pool_id FROM flow_run JOIN work_queue ON work_queue.id = flow_run.work_queue_id"
                " WHERE flow_run.state_type = 'SCHEDULED' AND flow_run.next_scheduled_start_time <= $1 AND flow_run.next_scheduled_start_time > $2",
                "tt", t->now, t->now - MINUTE), &pools, err) < 0)
        return -1;
    for (size_t i = 0; i < pools.n; i++)
        vec_push(t->a, &t->out.pools_due, pools.v[i]);
    int64_t at;
    int rc = db_get_int(t->conn, err, &at, "SELECT min(next_scheduled_start_time) FROM flow_run WHERE state_type = 'SCHEDULED' AND next_scheduled_start_time > $1", "t", t->now);
    if (rc < 0)
        return -1;
    t->next = rc == 0 || at == INT_NONE ? TIME_NEVER : at;
    return 0;
}

/* ---- pauses that nobody ended ---- */

int tick_pauses(struct tick *t, struct err *err)
{
    Ids runs = {0};
    StateList states = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(t->conn, err,
            "SELECT flow_run.id, flow_run_state.state_details FROM flow_run JOIN flow_run_state ON flow_run_state.run_id = flow_run.id"
            " AND flow_run_state.timestamp = flow_run.state_timestamp WHERE flow_run.state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') AND flow_run.state_type = 'PAUSED'", "");
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1) {
            struct state s = {.state_details = str_dup(t->a, stmt_str(q, 1))};
            vec_push(t->a, &runs, stmt_uuid(q, 0));
            vec_push(t->a, &states, s);
        }
        if (rc < 0)
            return -1;
    }
    size_t ended = 0;
    for (size_t i = 0; i < runs.n; i++) {
        struct state_details d;
        state_details_get(t->a, &states.v[i], &d);
        if (d.pause_timeout == TIME_NONE)
            continue;
        if (d.pause_timeout >= t->now || ended == PAUSE_BATCH) {
            t->next = MIN(t->next, MAX(d.pause_timeout, t->now));
            continue;
        }
        struct state failed = state_new(STATE_FAILED, STR_NONE, STR("The pause ran out and nobody resumed the flow run."), t->now);
        if (propose(t, runs.v[i], &failed, POLICY_MINIMAL, true, err) < 0)
            return -1;
        ended++;
    }
    return 0;
}

int tick_leases(struct tick *t, struct err *err)
{
    return leases_expire(t->conn, t->a, t->now, &t->next, &t->out, err);
}

/* ---- runs that wait for a slot of their deployment's limit ---- */

struct waiting {
    Uuid run, limit; /* the limit: nil where the deployment has none any more */
    bool due;        /* it may try already */
};
struct free_slots {
    Uuid limit;
    int64_t n;
};

/* How many runs of the limit may try: one that is due and has not tried yet counts as if it had its slot. */
static int free_slots_of(struct tick *t, Uuid limit, int64_t *ret, struct err *err)
{
    struct concurrency_limit l;
    *ret = INT32_MAX;
    int rc = uuid_is_nil(limit) ? 0 : record_by_id(t->conn, t->a, &concurrency_limit_resource, limit, &l, err);
    if (rc <= 0)
        return rc;
    limit_decay(&l, t->now);
    if (l.active == 1)
        *ret = l.limit - l.active_slots;
    return 0;
}

/* The waiting run is due at once. On PostgreSQL it may have been taken since it was found. */
static int let_try(struct tick *t, Uuid id, struct err *err)
{
    struct flow_run run;
    int rc = record_lock(t->conn, t->a, &flow_run_resource, id, &run, err);
    if (rc <= 0 || !str_eqz(run.state_type, "SCHEDULED") || !str_eqz(run.state_name, AWAITING))
        return MIN(rc, 0);
    struct state s = state_new(STATE_SCHEDULED, STR(AWAITING), STR("A slot of the deployment's concurrency limit is free."), t->now);
    struct state_details d;
    state_details_get(t->a, &s, &d);
    d.scheduled_time = t->now;
    state_details_put(t->a, &s, &d);
    struct orchestration o = orchestration_of(t, POLICY_MINIMAL, true);
    struct verdict_result result;
    return orchestrate_flow_run(&o, &run, &s, &result, err);
}

int tick_slots(struct tick *t, struct err *err)
{
    VEC(struct waiting) runs = {0};
    {
        /* They try by themselves when their wait is over: none is later than that. Those long due have nobody who takes them. */
        AUTO(stmt_finish) struct stmt *q = db_query(t->conn, err,
            "SELECT flow_run.id, deployment.concurrency_limit_id, flow_run.next_scheduled_start_time FROM flow_run"
            " JOIN deployment ON deployment.id = flow_run.deployment_id WHERE flow_run.state_type = 'SCHEDULED'"
            " AND flow_run.next_scheduled_start_time > $1 AND flow_run.next_scheduled_start_time <= $2"
            " AND flow_run.state_name = '" AWAITING "' ORDER BY flow_run.expected_start_time, flow_run.id",
            "tt", t->now - MINUTE, t->now + t->ws->orchestration.deployment_slot_wait);
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(t->a, &runs, ((struct waiting){stmt_uuid(q, 0), stmt_uuid(q, 1), stmt_int(q, 2) <= t->now}));
        if (rc < 0)
            return -1;
    }
    VEC(struct free_slots) limits = {0};
    for (int due = 1; due >= 0; due--) {
        for (size_t i = 0; i < runs.n; i++) {
            size_t k = 0;
            while (k < limits.n && !uuid_eq(limits.v[k].limit, runs.v[i].limit))
                k++;
            if (k == limits.n) {
                vec_push(t->a, &limits, ((struct free_slots){.limit = runs.v[i].limit}));
                if (free_slots_of(t, runs.v[i].limit, &limits.v[k].n, err) < 0)
                    return -1;
            }
            if (runs.v[i].due != due || limits.v[k].n <= 0)
                continue;
            limits.v[k].n--;
            if (due)
                continue;
            if (let_try(t, runs.v[i].run, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* ---- who has fallen silent ---- */

static void tell(struct tick *t, const char *kind, const char *what, Uuid id, Str name)
{
    struct event e = {.id = uuid_v7(), .occurred = t->now, .related = STR("[]"), .payload = STR("{}")};
    e.event = str_fmt(t->a, "prefect.%s.%s", kind, what);
    e.resource_id = str_fmt(t->a, "prefect.%s.%s", kind, uuid_text(id).s);
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "prefect.resource.id", e.resource_id);
    jw_kstr(&w, "prefect.resource.name", name);
    jw_end(&w);
    e.resource = str_dup(t->a, buf_view(&b));
    vec_push(t->a, &t->out.events, e);
}

/* Rows of `table` found by `sql` ($1 a time) become NOT_READY; each is told of. */
static int silence(struct tick *t, const char *kind, const char *sql, const char *update, Time limit, bool pools, struct err *err)
{
    struct named {
        Uuid id;
        Str name;
    };
    VEC(struct named) found = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(t->conn, err, sql, "t", limit);
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(t->a, &found, ((struct named){stmt_uuid(q, 0), str_dup(t->a, stmt_str(q, 1))}));
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < found.n; i++) {
        if (db_exec(t->conn, err, update, "ut", found.v[i].id, t->now) < 0)
            return -1;
        tell(t, kind, "not-ready", found.v[i].id, found.v[i].name);
        if (pools)
            vec_push(t->a, &t->out.pools_changed, found.v[i].id);
    }
    return 0;
}

int tick_foreman(struct tick *t, struct err *err)
{
    if (db_exec(t->conn, err,
                "UPDATE worker SET status = 'OFFLINE' WHERE status = 'ONLINE'"
                " AND (last_heartbeat_time IS NULL OR last_heartbeat_time + 3000000 * coalesce(heartbeat_interval_seconds, 30) < $1)", "t", t->now) < 0)
        return -1;
    if (silence(t, "work-pool",
                "SELECT id, name FROM work_pool WHERE status = 'READY' AND type NOT LIKE '%:managed' AND type NOT LIKE '%:push' AND updated <= $1"
                " AND NOT EXISTS (SELECT 1 FROM worker WHERE worker.work_pool_id = work_pool.id AND worker.status = 'ONLINE')",
                "UPDATE work_pool SET status = 'NOT_READY', last_transitioned_status_at = $2, updated = $2 WHERE id = $1", t->now, true, err) < 0)
        return -1;
    Dur deployment = t->ws->services.deployment_silence, queue = t->ws->services.queue_silence;
    if (silence(t, "deployment",
                "SELECT deployment.id, deployment.name FROM work_queue CROSS JOIN deployment WHERE deployment.work_queue_id = work_queue.id"
                " AND (work_queue.last_polled IS NULL OR work_queue.last_polled < $1) AND deployment.status = 'READY' AND deployment.last_polled < $1"
                " UNION ALL SELECT id, name FROM deployment WHERE work_queue_id IS NULL AND status = 'READY' AND last_polled < $1",
                "UPDATE deployment SET status = 'NOT_READY' WHERE id = $1 AND $2 > 0", t->now - deployment, false, err) < 0)
        return -1;
    if (silence(t, "work-queue", "SELECT id, name FROM work_queue WHERE status = 'READY' AND last_polled < $1",
                "UPDATE work_queue SET status = 'NOT_READY', updated = $2 WHERE id = $1", t->now - queue, false, err) < 0)
        return -1;
    const struct {
        const char *sql;
        Dur after;
    } waits[] = {
        {"SELECT min(last_heartbeat_time + 3000000 * coalesce(heartbeat_interval_seconds, 30)) FROM worker WHERE status = 'ONLINE'", 0},
        {"SELECT min(CASE WHEN queue > own THEN queue ELSE own END) FROM (SELECT last_polled AS queue, (SELECT min(last_polled) FROM deployment"
         " WHERE status = 'READY' AND work_queue_id = work_queue.id) AS own FROM work_queue) AS polls WHERE own IS NOT NULL", deployment},
        {"SELECT min(last_polled) FROM deployment WHERE status = 'READY' AND work_queue_id IS NULL", deployment},
        {"SELECT min(last_polled) FROM work_queue WHERE status = 'READY'", queue},
    };
    Time next = TIME_NEVER;
    for (size_t i = 0; i < COUNT_OF(waits); i++) {
        if (tick_next(t, waits[i].sql, waits[i].after, err) < 0)
            return -1;
        next = MIN(next, t->next);
    }
    t->next = next == TIME_NEVER ? next : MAX(next, t->now) + MSEC;
    return 0;
}

/* ---- what a cancelled run leaves behind ---- */

static int cancel_tasks(struct tick *t, bool *ret_more, struct err *err)
{
    Ids tasks = {0};
    if (collect(t, db_query(t->conn, err,
                "SELECT task_run.id FROM flow_run JOIN task_run ON task_run.flow_run_id = flow_run.id WHERE flow_run.state_type = 'CANCELLED'"
                " AND flow_run.end_time > $1 AND task_run.state_type IN ('SCHEDULED', 'PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') LIMIT 100",
                "t", t->now - DAY), &tasks, err) < 0)
        return -1;
    for (size_t i = 0; i < tasks.n; i++) {
        struct task_run run;
        if (record_lock(t->conn, t->a, &task_run_resource, tasks.v[i], &run, err) < 0)
            return -1;
        struct state cancelled = state_new(STATE_CANCELLED, STR_NONE, STR("The flow run that it belongs to was cancelled."), t->now);
        struct orchestration o = orchestration_of(t, POLICY_MINIMAL, true);
        struct verdict_result result;
        if (orchestrate_task_run(&o, &run, &cancelled, &result, err) < 0)
            return -1;
    }
    *ret_more = tasks.n == CANCEL_BATCH;
    return 0;
}

static int cancel_subflows(struct tick *t, struct err *err)
{
    struct sub {
        Uuid id, deployment;
    };
    VEC(struct sub) subs = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(t->conn, err,
            "SELECT sub.id, sub.deployment_id FROM flow_run AS sub JOIN task_run ON task_run.id = sub.parent_task_run_id"
            " JOIN flow_run AS parent ON parent.id = task_run.flow_run_id WHERE sub.parent_task_run_id IS NOT NULL"
            " AND parent.state_type = 'CANCELLED' AND parent.end_time > $1 AND sub.state_type IN ('SCHEDULED', 'PENDING', 'RUNNING', 'PAUSED') LIMIT 100",
            "t", t->now - DAY);
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(t->a, &subs, ((struct sub){stmt_uuid(q, 0), stmt_uuid(q, 1)}));
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < subs.n; i++) {
        enum state_type type = uuid_is_nil(subs.v[i].deployment) ? STATE_CANCELLED : STATE_CANCELLING;
        struct state s = state_new(type, STR_NONE, STR("The flow run that it belongs to was cancelled."), t->now);
        if (propose(t, subs.v[i].id, &s, POLICY_MINIMAL, true, err) < 0)
            return -1;
    }
    return 0;
}

int tick_cancellation(struct tick *t, struct err *err)
{
    bool more;
    Ids stuck = {0};
    if (cancel_tasks(t, &more, err) < 0 || cancel_subflows(t, err) < 0)
        return -1;
    if (collect(t, db_query(t->conn, err,
                "SELECT id FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') AND state_type = 'CANCELLING'"
                " AND state_timestamp < $1 LIMIT 100", "t", t->now - t->ws->orchestration.cancelling_timeout), &stuck, err) < 0)
        return -1;
    for (size_t i = 0; i < stuck.n; i++) {
        struct state s = state_new(STATE_CANCELLED, STR_NONE, STR("Nobody confirmed the cancellation in time; the flow run counts as cancelled."), t->now);
        if (propose(t, stuck.v[i], &s, POLICY_CORE, false, err) < 0 || cleanup_add(t->conn, stuck.v[i], t->now, &t->out, err) < 0)
            return -1;
    }
    Time cleanup = TIME_NEVER;
    if (cleanup_tick(t->conn, t->a, t->now, &t->out, &cleanup, err) < 0)
        return -1;
    if (more || stuck.n == CANCEL_BATCH) {
        t->next = t->now;
        return 0;
    }
    if (tick_next(t, "SELECT min(state_timestamp) FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') AND state_type = 'CANCELLING'",
                  t->ws->orchestration.cancelling_timeout + MSEC, err) < 0)
        return -1;
    t->next = MIN(t->next, cleanup);
    return 0;
}

const struct service services[ALARM_COUNT] = {
    [ALARM_SCHEDULER] = {"scheduler", ALARM_SCHEDULER, 10 * MSEC, tick_scheduler, "makes the runs of schedules ahead of time"},
    [ALARM_LATE] = {"late_runs", ALARM_LATE, 500 * MSEC, tick_late, "marks runs that nobody started in time"},
    [ALARM_DUE] = {"due_runs", ALARM_DUE, MSEC, tick_due, "wakes workers when a run's time has come", .reads = true},
    [ALARM_PAUSE] = {"pause_expirations", ALARM_PAUSE, SEC, tick_pauses, "fails runs whose pause ran out"},
    [ALARM_LEASE] = {"repossessor", ALARM_LEASE, SEC, tick_leases, "takes slots back whose holder fell silent"},
    [ALARM_FOREMAN] = {"foreman", ALARM_FOREMAN, SEC, tick_foreman, "sees which workers, pools, queues and deployments are there"},
    [ALARM_SLOT] = {"slot_waiters", ALARM_SLOT, 10 * MSEC, tick_slots, "lets runs that wait for a slot of their deployment try again when one is free"},
    [ALARM_CANCEL] = {"cancellation_cleanup", ALARM_CANCEL, 100 * MSEC, tick_cancellation, "cancels what belongs to cancelled runs, and has what they left running ended"},
    [ALARM_NAMES] = {"names", ALARM_NAMES, 100 * MSEC, tick_names, "indexes parts of flow runs' names"},
};
