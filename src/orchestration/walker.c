/* The algorithm of semantics.md 1.1: rules are entered in order and left in reverse. */
#include "orchestration/transition.h"
#include "store/artifacts.h"

#include <string.h>

#define RULES_MAX 48     /* a policy and its global transforms */
#define TIMESTAMPS_MAX 1000 /* states of one run within as many µs: never seen, but not for ever */

const struct orchestration_settings orchestration_defaults = {
    .deployment_slot_wait = 30 * SEC,
    .initial_lease = 300 * SEC,
    .tag_slot_wait = 10 * SEC,
    .max_slot_wait = 30 * SEC,
    .max_cache_key = 2000,
    .late_grace = 15 * SEC,
    .cancelling_timeout = 300 * SEC,
};

/* ---- verdicts ---- */

static int nullify(struct transition *t, enum verdict verdict, Str reason)
{
    t->to = -1;
    t->verdict = verdict;
    t->reason = reason;
    return 0;
}

int abort_because(struct transition *t, Str reason)
{
    return nullify(t, VERDICT_ABORT, reason);
}

int reject(struct transition *t, Str reason)
{
    /* Without a state there is nothing to fall back to. */
    return nullify(t, t->from == NO_STATE ? VERDICT_ABORT : VERDICT_REJECT, reason);
}

int wait_for(struct transition *t, int64_t seconds, Str reason)
{
    t->delay_seconds = seconds;
    return nullify(t, VERDICT_WAIT, reason);
}

int reject_with(struct transition *t, const struct state *instead, const struct state_details *details, Str reason)
{
    t->proposed = *instead;
    t->details = *details;
    t->to = state_type_of(instead->type);
    t->verdict = VERDICT_REJECT;
    t->reason = reason;
    return 0;
}

struct state_details details_none(void)
{
    struct state_details d;
    record_init(&state_details_shape, &d);
    d.deferred = d.untrackable_result = d.pause_reschedule = 0;
    return d;
}

/* ---- what rules look at ---- */

static int version_cmp(const int have[3], int major, int minor, int patch)
{
    int want[3] = {major, minor, patch};
    for (int i = 0; i < 3; i++)
        if (have[i] != want[i])
            return have[i] < want[i] ? -1 : 1;
    return 0;
}

bool client_api_from(const struct client_info *client, int major, int minor, int patch)
{
    static const int absent[3];
    return !memcmp(client->api, absent, sizeof absent) || version_cmp(client->api, major, minor, patch) >= 0;
}

bool client_from(const struct client_info *client, int major, int minor, int patch)
{
    return client->version[0] >= 0 && version_cmp(client->version, major, minor, patch) >= 0;
}

struct flow_run_policy *flow_policy(struct transition *t)
{
    if (!t->policy_read)
        shape_read(t->o->a, &flow_run_policy_shape, t->flow_run->empirical_policy, &t->flow_policy);
    t->policy_read = true;
    return &t->flow_policy;
}

void flow_policy_put(struct transition *t)
{
    t->flow_run->empirical_policy = shape_text(t->o->a, &flow_run_policy_shape, &t->flow_policy);
}

const struct task_run_policy *task_policy(struct transition *t)
{
    if (!t->policy_read)
        shape_read(t->o->a, &task_run_policy_shape, t->task_run->empirical_policy, &t->task_policy);
    t->policy_read = true;
    return &t->task_policy;
}

int enclosing_read(struct transition *t, struct err *err)
{
    struct enclosing *e = &t->enclosing;
    if (e->read || uuid_is_nil(t->task_run->flow_run_id))
        return 0;
    AUTO(stmt_finish) struct stmt *q =
        db_query(t->o->conn, err, "SELECT state_type, run_count, state_id, state_timestamp FROM flow_run WHERE id = $1", "u",
                 t->task_run->flow_run_id);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc < 0)
        return -1;
    e->read = true;
    if (rc == 1)
        *e = (struct enclosing){true, true, state_type_of(stmt_str(q, 0)), stmt_int(q, 1), stmt_uuid(q, 2), stmt_int(q, 3)};
    return 0;
}

/* ---- the current state and what is around ---- */

#define STATE_COLUMNS "s.id, s.type, s.name, s.timestamp, s.message, " STATE_DATA("s.") ", s.state_details"
#define STATE_JOIN " LEFT JOIN flow_run_state s ON s.run_id = $1 AND s.timestamp = $2 AND s.id = $3"

/* One statement for a flow run: its current state, and the names that its event will tell. */
static int look_around(struct transition *t, bool *ret_state, struct err *err)
{
    struct flow_run *run = t->flow_run;
    struct arena *a = t->o->a;
    bool plain = uuid_is_nil(run->deployment_id) && uuid_is_nil(run->work_queue_id) && uuid_is_nil(run->parent_task_run_id);
    AUTO(stmt_finish) struct stmt *q = NULL;
    if (plain)
        q = db_query(t->o->conn, err, "SELECT " STATE_COLUMNS ", f.name, f.tags FROM flow f" STATE_JOIN " WHERE f.id = $4", "utuu",
                     run->id, run->state_timestamp, run->state_id, run->flow_id);
    else
        q = db_query(t->o->conn, err,
                     "SELECT " STATE_COLUMNS ", f.name, f.tags, d.id, d.name, d.tags, d.concurrency_options, d.concurrency_limit_id,"
                     " q.name, q.concurrency_limit, p.id, p.name, p.type, p.concurrency_limit, r.name"
                     " FROM flow f" STATE_JOIN " LEFT JOIN deployment d ON d.id = $5 LEFT JOIN work_queue q ON q.id = $6"
                     " LEFT JOIN work_pool p ON p.id = q.work_pool_id LEFT JOIN task_run r ON r.id = $7 WHERE f.id = $4",
                     "utuuuuu", run->id, run->state_timestamp, run->state_id, run->flow_id, run->deployment_id, run->work_queue_id,
                     run->parent_task_run_id);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc <= 0)
        return rc;
    *ret_state = !stmt_is_null(q, 0);
    if (*ret_state)
        state_load(a, q, 0, &t->current);
    t->around = (struct around){.flow_name = str_dup(a, stmt_str(q, 7)), .flow_tags = str_dup(a, stmt_str(q, 8))};
    if (plain)
        return 0;
    t->around.has_deployment = !stmt_is_null(q, 9);
    t->around.deployment_name = str_dup(a, stmt_str(q, 10));
    t->around.deployment_tags = str_dup(a, stmt_str(q, 11));
    t->around.concurrency_options = str_dup(a, stmt_str(q, 12));
    t->around.limit_id = stmt_uuid(q, 13);
    t->around.queue_name = str_dup(a, stmt_str(q, 14));
    t->around.queue_limit = stmt_int(q, 15);
    t->around.pool_id = stmt_uuid(q, 16);
    t->around.pool_name = str_dup(a, stmt_str(q, 17));
    t->around.pool_type = str_dup(a, stmt_str(q, 18));
    t->around.pool_limit = stmt_int(q, 19);
    t->around.parent_name = str_dup(a, stmt_str(q, 20));
    return 0;
}

static int read_current(struct transition *t, struct err *err)
{
    bool have = false;
    int rc = 0;
    if (t->kind == FLOW_RUN)
        rc = look_around(t, &have, err);
    else if (!uuid_is_nil(*t->run.state_id))
        have = (rc = state_find_at(t->o->conn, t->o->a, TASK_RUN, *t->run.id, *t->run.state_timestamp, *t->run.state_id, &t->current, err)) == 1;
    if (rc < 0)
        return -1;
    t->from = NO_STATE;
    if (uuid_is_nil(*t->run.state_id))
        return 0;
    int type = state_type_of(*t->run.state_type);
    if (!have)
        t->current = (struct state){.id = *t->run.state_id,
                                    .type = *t->run.state_type,
                                    .name = *t->run.state_name,
                                    .timestamp = *t->run.state_timestamp,
                                    .state_details = STR("{}")};
    if (type < 0)
        return err_set(err, ERR_INTERNAL, "run %s is in no known state", uuid_text(*t->run.id).s);
    t->from = type;
    state_details_get(t->o->a, &t->current, &t->current_details);
    return 0;
}

/* ---- the walk ---- */

struct step {
    const struct rule *rule;
    bool ran;
    int left_to; /* what stood proposed when its before-hook was done */
};

static size_t choose(const struct transition *t, const struct rule_list *const lists[], size_t n, struct step *ret)
{
    size_t count = 0;
    for (size_t l = 0; l < n; l++) {
        for (size_t i = 0; i < lists[l]->n; i++) {
            const struct rule *rule = &lists[l]->rules[i];
            if (!(rule->from & STATE_BIT(t->from)) || !(rule->to & STATE_BIT(t->to)))
                continue;
            if (count == RULES_MAX)
                die("a policy has more than %d rules", RULES_MAX);
            ret[count++] = (struct step){.rule = rule};
        }
    }
    return count;
}

/* Stores the state, at the first instant from its own on that no state of the run has, and points the run at it. */
static int store_state(struct transition *t, struct err *err)
{
    Uuid flow_run = t->kind == FLOW_RUN ? *t->run.id : t->task_run->flow_run_id, task_run = t->kind == TASK_RUN ? *t->run.id : UUID_NIL;
    if (artifact_of_state(t->o->conn, t->o->out, t->o->now, flow_run, task_run, &t->proposed, err) < 0)
        return -1;
    for (int i = 0; i < TIMESTAMPS_MAX; i++) {
        state_details_put(t->o->a, &t->proposed, &t->details);
        int rc = state_insert(t->o->conn, t->kind, *t->run.id, &t->proposed, err);
        if (rc < 0)
            return -1;
        if (rc > 0)
            return 0;
        /* Only a clock that was put back leads here; what transforms took from the timestamp is off by some µs. */
        *t->run.state_timestamp = ++t->proposed.timestamp;
    }
    return err_set(err, ERR_INTERNAL, "run %s has a state at every instant", uuid_text(*t->run.id).s);
}

static int insert_run(struct transition *t, struct err *err)
{
    *t->run.updated = t->o->now;
    int64_t n = record_insert(t->o->conn, t->resource, t->row, t->o->insert, err);
    t->exists = n == 0;
    memcpy(t->before, t->row, t->resource->size);
    return n < 0 ? -1 : 0;
}

/* Writes those columns of the run's row that differ from what the table has. */
static int store_run(struct transition *t, struct err *err)
{
    FieldSet changed = record_diff(t->resource, t->before, t->row);
    if (!changed)
        return 0;
    if (*t->run.updated != t->o->now) {
        *t->run.updated = t->o->now;
        changed |= record_diff(t->resource, t->before, t->row);
    }
    return record_update(t->o->conn, t->resource, t->row, changed, *t->run.id, err) < 0 ? -1 : 0;
}

static int enter(struct transition *t, struct step *steps, size_t n, struct err *err)
{
    int to = t->to;
    for (size_t i = 0; i < n; i++) {
        const struct rule *rule = steps[i].rule;
        steps[i].ran = rule->transform || t->to == to;
        if (steps[i].ran && rule->before && rule->before(t, err) < 0)
            return err_wrap(err, "%s", rule->name);
        steps[i].left_to = t->to;
    }
    return 0;
}

static int leave(struct transition *t, const struct step *steps, size_t n, struct err *err)
{
    for (size_t i = n; i-- > 0;) {
        const struct rule *rule = steps[i].rule;
        if (!steps[i].ran)
            continue;
        bool stood = rule->transform || steps[i].left_to == t->to;
        int (*hook)(struct transition *, struct err *) = stood ? rule->after : rule->cleanup;
        if (hook && hook(t, err) < 0)
            return err_wrap(err, "%s", rule->name);
    }
    return 0;
}

static int walk(struct transition *t, const struct state *proposed, const struct rule_list *policy, const struct rule_list *global, struct err *err)
{
    struct step steps[RULES_MAX];
    const struct rule_list *lists[] = {policy, global};
    if (read_current(t, err) < 0)
        return -1;
    t->proposed = *proposed;
    t->to = state_type_of(proposed->type);
    if (t->to < 0)
        return err_set(err, ERR_INTERNAL, "the proposed state has no type");
    state_details_get(t->o->a, proposed, &t->details);
    if (t->to == STATE_SCHEDULED && t->details.scheduled_time == TIME_NONE)
        t->details.scheduled_time = t->o->now;
    t->verdict = VERDICT_ACCEPT;
    size_t n = choose(t, lists, COUNT_OF(lists), steps);
    if (enter(t, steps, n, err) < 0)
        return -1;
    if (t->to >= 0)
        *t->run.state_id = t->proposed.id;
    if (t->o->insert && insert_run(t, err) < 0)
        return -1;
    if (t->exists)
        return 0;
    if (t->to >= 0 && store_state(t, err) < 0)
        return -1;
    t->wrote = t->to >= 0;
    return leave(t, steps, n, err) < 0 ? -1 : store_run(t, err);
}

static void give_verdict(const struct transition *t, struct verdict_result *ret)
{
    *ret = (struct verdict_result){
        .exists = t->exists,
        .verdict = t->verdict,
        .wrote = t->wrote,
        .has_state = t->wrote || t->from != NO_STATE,
        .reason = t->reason,
        .delay_seconds = t->delay_seconds,
    };
    if (ret->has_state)
        ret->state = t->wrote ? t->proposed : t->current;
}

/* ---- what is told after the commit ---- */

static void raise_alarms(struct transition *t)
{
    struct outbox *out = t->o->out;
    Time now = t->o->now, due = t->flow_run->next_scheduled_start_time;
    const struct orchestration_settings *s = t->o->settings;
    switch ((enum state_type)t->to) {
    case STATE_SCHEDULED:
        if (str_eqz(t->proposed.name, "Scheduled"))
            outbox_alarm(out, ALARM_LATE, due + s->late_grace);
        if (!uuid_is_nil(t->flow_run->work_queue_id) || !uuid_is_nil(t->flow_run->deployment_id))
            outbox_alarm(out, ALARM_DUE, due);
        if (due <= now && !uuid_is_nil(t->around.pool_id))
            vec_push(out->a, &out->pools_due, t->around.pool_id);
        break;
    case STATE_PAUSED:
        outbox_alarm(out, ALARM_PAUSE, t->details.pause_timeout);
        break;
    case STATE_CANCELLED:
        outbox_alarm(out, ALARM_CANCEL, now);
        break;
    case STATE_CANCELLING:
        outbox_alarm(out, ALARM_CANCEL, t->proposed.timestamp + s->cancelling_timeout);
        vec_push(out->a, &out->runs_cancelling, t->flow_run->id);
        break;
    case STATE_PENDING:
    case STATE_RUNNING:
    case STATE_COMPLETED:
    case STATE_FAILED:
    case STATE_CRASHED:
    case STATE_COUNT:
        break;
    }
    /* A place in a limited pool or queue has become free: another run may have waited for it. */
    unsigned places = STATE_BIT(STATE_PENDING) | STATE_BIT(STATE_RUNNING);
    if (t->from != NO_STATE && (places & STATE_BIT(t->from)) && !(places & STATE_BIT(t->to)) && !uuid_is_nil(t->around.pool_id) &&
        (t->around.pool_limit != INT_NONE || t->around.queue_limit != INT_NONE))
        vec_push(out->a, &out->pools_due, t->around.pool_id);
}

/* ---- public ---- */

static const struct orchestration_settings *settings_of(const struct orchestration *o)
{
    return o->settings ? o->settings : &orchestration_defaults;
}

int orchestrate_flow_run(struct orchestration *given, struct flow_run *run, const struct state *proposed, struct verdict_result *ret, struct err *err)
{
    struct orchestration o = *given;
    o.settings = settings_of(given);
    struct flow_run before = *run;
    struct transition t = {.o = &o, .kind = FLOW_RUN, .flow_run = run, .resource = &flow_run_resource, .row = run, .before = &before};
#define X(type, name) t.run.name = &run->name;
    RUN_COLUMNS(X)
#undef X
    const struct rule_list *policy = &flow_minimal;
    if (o.policy == POLICY_MARK_LATE)
        policy = &flow_mark_late;
    else if (o.policy == POLICY_CORE && !o.force)
        policy = &flow_core;
    if (walk(&t, proposed, policy, &flow_global, err) < 0)
        return -1;
    if (t.wrote)
        raise_alarms(&t);
    give_verdict(&t, ret);
    return 0;
}

int orchestrate_task_run(struct orchestration *given, struct task_run *run, const struct state *proposed, struct verdict_result *ret, struct err *err)
{
    struct orchestration o = *given;
    o.settings = settings_of(given);
    struct task_run before = *run;
    struct transition t = {.o = &o, .kind = TASK_RUN, .task_run = run, .resource = &task_run_resource, .row = run, .before = &before};
#define X(type, name) t.run.name = &run->name;
    RUN_COLUMNS(X)
#undef X
    struct state_details details;
    state_details_get(o.a, proposed, &details);
    const struct rule_list *policy = &task_core;
    struct state background = *proposed;
    if (o.client.version[0] == 2 && uuid_is_nil(run->flow_run_id)) { /* it has no word for it: its runs without a flow run are all of this kind */
        details.deferred = 1;
        state_details_put(o.a, &background, &details);
        proposed = &background;
        policy = &task_autonomous;
    } else if (details.deferred == 1)
        policy = &task_background;
    else if (o.force || o.policy != POLICY_CORE)
        policy = &task_minimal;
    if (walk(&t, proposed, policy, &task_global, err) < 0)
        return -1;
    give_verdict(&t, ret);
    return 0;
}

/* The run as it was before it entered `s`; 1, 0 where there is no such run, -1. */
static int run_before(struct orchestration *o, Uuid run_id, const struct state *s, struct flow_run *run, struct err *err)
{
    int rc = record_by_id(o->conn, o->a, &flow_run_resource, run_id, run, err);
    if (rc <= 0)
        return rc;
    AUTO(stmt_finish) struct stmt *q =
        db_query(o->conn, err, "SELECT id, type, name, timestamp FROM flow_run_state WHERE run_id = $1 AND timestamp < $2 "
                               "ORDER BY timestamp DESC LIMIT 1", "ut", run_id, s->timestamp);
    rc = q ? stmt_step(q, err) : -1;
    if (rc < 0)
        return -1;
    run->state_id = rc ? stmt_uuid(q, 0) : UUID_NIL;
    run->state_type = rc ? str_dup(o->a, stmt_str(q, 1)) : STR_NONE;
    run->state_name = rc ? str_dup(o->a, stmt_str(q, 2)) : STR_NONE;
    run->state_timestamp = rc ? stmt_int(q, 3) : TIME_NONE;
    int64_t starts = 0; /* a resumed run did not count all of them */
    if (db_get_int(o->conn, err, &starts, "SELECT count(*) FROM flow_run_state WHERE run_id = $1 AND timestamp <= $2 AND type = 'RUNNING'",
                   "ut", run_id, s->timestamp) < 0)
        return -1;
    run->run_count = MIN(run->run_count, starts);
    return 1;
}

int orchestrate_tell_again(struct orchestration *o, Uuid run_id, Uuid state_id, struct err *err)
{
    struct flow_run run;
    struct transition t = {.o = o, .kind = FLOW_RUN, .flow_run = &run};
#define X(type, name) t.run.name = &run.name;
    RUN_COLUMNS(X)
#undef X
    int rc = state_find(o->conn, o->a, FLOW_RUN, run_id, state_id, &t.proposed, err);
    if (rc == 1)
        rc = run_before(o, run_id, &t.proposed, &run, err);
    if (rc <= 0)
        return rc;
    if (read_current(&t, err) < 0)
        return -1;
    t.to = state_type_of(t.proposed.type);
    state_details_get(o->a, &t.proposed, &t.details);
    event_flow_run(&t);
    return 1;
}

const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {
        [VERDICT_ACCEPT] = "ACCEPT", [VERDICT_REJECT] = "REJECT", [VERDICT_WAIT] = "WAIT", [VERDICT_ABORT] = "ABORT"};
    return names[v];
}

void verdict_details_print(struct jw *w, const struct verdict_result *r)
{
    static const char *const types[] = {[VERDICT_ACCEPT] = "accept_details",
                                        [VERDICT_REJECT] = "reject_details",
                                        [VERDICT_WAIT] = "wait_details",
                                        [VERDICT_ABORT] = "abort_details"};
    jw_object(w);
    jw_kz(w, "type", types[r->verdict]);
    if (r->verdict == VERDICT_WAIT)
        jw_kint(w, "delay_seconds", r->delay_seconds);
    if (r->verdict != VERDICT_ACCEPT)
        jw_kstr(w, "reason", r->reason);
    jw_end(w);
}

void verdict_print(struct jw *w, const struct verdict_result *r)
{
    jw_object(w);
    jw_key(w, STR("state"));
    state_print(w, r->has_state ? &r->state : NULL);
    jw_kz(w, "status", verdict_name(r->verdict));
    jw_key(w, STR("details"));
    verdict_details_print(w, r);
    jw_end(w);
}

Dur estimated_run_time(Dur total_run_time, int state_type, Time state_timestamp, Time now)
{
    Dur total = total_run_time == INT_NONE ? 0 : total_run_time;
    if (state_type == STATE_RUNNING && state_timestamp != TIME_NONE)
        total += MAX(now - state_timestamp, 0);
    return total;
}

Dur estimated_start_time_delta(Time start_time, Time expected_start_time, int state_type, Time now)
{
    if (expected_start_time == TIME_NONE)
        return 0;
    if (start_time != TIME_NONE)
        return MAX(start_time - expected_start_time, 0);
    if (state_type >= 0 && (STATES_TERMINAL & STATE_BIT(state_type)))
        return 0;
    return MAX(now - expected_start_time, 0);
}
