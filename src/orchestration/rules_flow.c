/* The rules for flow runs (semantics.md 1.2 and 5), in the order in which they are asked. */
#include "orchestration/transition.h"

#include <math.h>

#define S(type) STATE_BIT(STATE_##type)

static bool terminal(int type)
{
    return type >= 0 && type < STATE_COUNT && (STATES_TERMINAL & STATE_BIT(type));
}

static Str quoted_type(int type)
{
    return state_type_text((enum state_type)type);
}

static bool is_named(const struct state *s, const char *name)
{
    return str_eqz(s->name, name);
}

/* ---- what has been said already ---- */

static int preserve_lease(struct transition *t, struct err *err)
{
    if (t->to >= 0 && uuid_is_nil(t->details.deployment_concurrency_lease_id))
        t->details.deployment_concurrency_lease_id = t->current_details.deployment_concurrency_lease_id;
    return 0;
}

static int prevent_duplicates(struct transition *t, struct err *err)
{
    Uuid id = t->details.transition_id;
    if (uuid_is_nil(id) || !uuid_eq(id, t->current_details.transition_id))
        return 0;
    return reject(t, STR("This run has made this state transition already."));
}

/* Who claims a run that it was told of some time ago wants it only as it was then: another may have run it to its end since. */
static int stay_unless_expected(struct transition *t, struct err *err)
{
    if (!t->o->expected || (t->from >= 0 && (t->o->expected & STATE_BIT(t->from))))
        return 0;
    return abort_because(t, STR("The run is not in the expected state any more."));
}

/* ---- terminal states ---- */

#define OVERWRITES_RESULT STR("A COMPLETED state that has a stored result cannot give way to one that has none.")

static int prevent_result_loss(struct transition *t, struct err *err)
{
    if (t->from == STATE_COMPLETED && t->to == STATE_COMPLETED && state_data_kind(t->current.data) == DATA_PERSISTED &&
        state_data_kind(t->proposed.data) != DATA_PERSISTED)
        return reject(t, OVERWRITES_RESULT);
    return 0;
}

/* A 2.x client that is told of a success asks for its result; one that failed has a reference to something else. */
static int mark_unknown_result(struct transition *t, struct err *err)
{
    struct err why;
    const struct json *data = t->current.data.p ? json_parse(t->o->a, t->current.data, &why) : NULL;
    if (t->o->client.version[0] == 2 && str_eqz(json_get_str(data, STR("type")), "reference"))
        t->proposed.data = STR("{\"type\":\"unknown\",\"value\":null}");
    return 0;
}

static int leave_terminal(struct transition *t, struct err *err)
{
    if (t->to == STATE_CANCELLING || t->to == STATE_PAUSED || t->to == STATE_CRASHED)
        return abort_because(t, str_fmt(t->o->a, "The run is in terminal state %.*s already.", STR_ARG(quoted_type(t->from))));
    if (t->from == STATE_COMPLETED && !terminal(t->to) && state_data_kind(t->current.data) == DATA_PERSISTED)
        return reject(t, STR("The run is COMPLETED already."));
    if (terminal(t->to))
        return prevent_result_loss(t, err);
    if (t->to == STATE_SCHEDULED && uuid_is_nil(t->flow_run->deployment_id))
        return abort_because(t, STR("A run without a deployment cannot be rescheduled."));
    if (client_api_from(&t->o->client, 0, 8, 4)) {
        struct flow_run_policy *p = flow_policy(t);
        t->old_policy = t->flow_run->empirical_policy;
        p->resuming = 0;
        p->pause_keys = STR("[]");
        p->retry_type = t->to == STATE_SCHEDULED ? STR("reschedule") : STR_NONE;
        flow_policy_put(t);
    }
    return 0;
}

static int leave_terminal_undo(struct transition *t, struct err *err)
{
    if (!t->old_policy.p)
        return 0;
    t->flow_run->empirical_policy = t->old_policy;
    t->policy_read = false;
    return 0;
}

/* ---- cancelling ---- */

static int cancelling_ends_cancelled(struct transition *t, struct err *err)
{
    return reject(t, STR("A run that is being cancelled can only become Cancelled."));
}

static int reject_cancelled(struct transition *t, Str message, Str reason)
{
    struct state s = state_new(STATE_CANCELLED, STR_NONE, message, t->o->now);
    struct state_details d = details_none();
    return reject_with(t, &s, &d, reason);
}

static int bypass_cancelling(struct transition *t, struct err *err)
{
    if (t->from == STATE_SCHEDULED && (!t->flow_run->infrastructure_pid.n || is_named(&t->current, "Resuming")))
        return reject_cancelled(t, STR_NONE, STR("The run was scheduled: it has no infrastructure to stop."));
    if (t->from == STATE_PAUSED && t->current_details.pause_reschedule == 1)
        return reject_cancelled(t, STR_NONE, STR("The run is suspended: it has no infrastructure to stop."));
    return 0;
}

/* ---- slots of the deployment's limit ----
 *
 * A run that is PENDING, RUNNING or CANCELLING has a slot in the form of a lease, which its states name (but for forced ones).
 * Who holds no lease (its deployment was limited later, say) gives none back, so that the count is never below what is in use. */

#define LIMIT_REACHED STR("The deployment's concurrency limit is reached.")

static void options_of(const struct transition *t, struct concurrency_options *ret)
{
    shape_read(t->o->a, &concurrency_options_shape, t->around.concurrency_options, ret);
}

static Dur lease_time(const struct transition *t, const struct concurrency_options *options)
{
    return options->grace_period_seconds != INT_NONE ? options->grace_period_seconds * SEC : t->o->settings->initial_lease;
}

/* 1: t->lease is a new lease on a slot; 0: none is free (or the deployment is not limited: *ret_limited); -1. */
static int take_slot(struct transition *t, Dur ttl, bool *ret_limited, struct err *err)
{
    struct orchestration *o = t->o;
    struct slots_wanted want = {.ids = &t->around.limit_id, .n = 1, .slots = 1};
    struct slots_result got;
    *ret_limited = true;
    if (slots_take(o->conn, o->a, &want, o->settings->max_slot_wait, o->now, &got, err) < 0)
        return -1;
    *ret_limited = got.limits.n > 0;
    if (!got.taken || !got.limits.n)
        return 0;
    return lease_create(o->conn, o->a, &t->around.limit_id, got.limits.v[0].active == 1, 1, ttl, STR("flow_run"), t->flow_run->id, o->now,
                        o->out, &t->lease, err) < 0
               ? -1
               : 1;
}

static int give_back_new_lease(struct transition *t, struct err *err)
{
    return uuid_is_nil(t->lease) ? 0 : lease_undo(t->o->conn, t->o->a, t->lease, t->o->now, t->o->out, err) < 0 ? -1 : 0;
}

/* 3.0.0 to 3.0.3 could not cope with what this rule answers. */
static bool client_knows_slots(const struct client_info *c)
{
    return !(c->version[0] == 3 && c->version[1] == 0 && c->version[2] <= 3);
}

static int secure_slot(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    if (uuid_is_nil(t->flow_run->deployment_id) || !client_knows_slots(&o->client))
        return 0;
    if (!t->around.has_deployment)
        return abort_because(t, STR("The run's deployment does not exist any more."));
    if (uuid_is_nil(t->around.limit_id))
        return 0;
    struct concurrency_options options;
    options_of(t, &options);
    Dur ttl = lease_time(t, &options);

    /* A run that waits for its retry has kept its slot. */
    Uuid kept = t->current_details.deployment_concurrency_lease_id;
    if (!uuid_is_nil(kept)) {
        int rc = lease_renew_held(o->conn, kept, t->flow_run->id, ttl, o->now, o->out, err);
        if (rc != 0) {
            t->details.deployment_concurrency_lease_id = kept;
            return rc < 0 ? -1 : 0;
        }
    }
    bool limited;
    int rc = take_slot(t, ttl, &limited, err);
    if (rc < 0 && err->code == ERR_UNPROCESSABLE) /* one slot is more than the limit */
        return abort_because(t, STR("The deployment's concurrency limit is 0: the run could never start."));
    if (rc < 0)
        return -1;
    t->details.deployment_concurrency_lease_id = t->lease;
    if (rc || !limited)
        return 0;
    if (str_eqz(options.collision_strategy, "CANCEL_NEW"))
        return reject_cancelled(t, LIMIT_REACHED, LIMIT_REACHED);
    struct state s = state_new(STATE_SCHEDULED, STR("AwaitingConcurrencySlot"), STR_NONE, o->now);
    struct state_details d = details_none();
    d.scheduled_time = o->now + o->settings->deployment_slot_wait;
    return reject_with(t, &s, &d, LIMIT_REACHED);
}

#define RENEWS_LEASES 3, 4, 11 /* the first client that does */

static int validate_slot(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    Uuid lease = t->details.deployment_concurrency_lease_id;
    if (uuid_is_nil(lease) || uuid_is_nil(t->around.limit_id) || !client_from(&o->client, RENEWS_LEASES))
        return 0;
    struct concurrency_options options;
    options_of(t, &options);
    Dur ttl = lease_time(t, &options);
    int rc = lease_renew_held(o->conn, lease, t->flow_run->id, ttl, o->now, o->out, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    bool limited;
    rc = take_slot(t, ttl, &limited, err);
    if (rc < 0 && err->code != ERR_UNPROCESSABLE)
        return -1;
    if (rc > 0)
        t->details.deployment_concurrency_lease_id = t->lease;
    if (rc > 0 || !limited)
        return 0;
    return reject_cancelled(t, STR("The run's slot of its deployment's concurrency limit was lost before it started, and no other is free."),
                            STR("The lease on the slot has expired and the deployment's concurrency limit is reached."));
}

/* An older client does not renew its lease: from now on only the run's end ends it. */
static int keep_lease_of_old_client(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    Uuid lease = t->current_details.deployment_concurrency_lease_id;
    if (!t->wrote || uuid_is_nil(lease) || client_from(&o->client, RENEWS_LEASES))
        return 0;
    return lease_renew_held(o->conn, lease, t->flow_run->id, LEASE_FOREVER, o->now, o->out, err) < 0 ? -1 : 0;
}

static int release_slot(struct transition *t, struct err *err)
{
    const unsigned with_slot = S(PENDING) | S(RUNNING) | S(CANCELLING);
    Uuid lease = t->current_details.deployment_concurrency_lease_id, limit = t->around.limit_id;
    if (!t->wrote || (uuid_is_nil(lease) && uuid_is_nil(limit)) || !(with_slot & STATE_BIT(t->from)) || (with_slot & STATE_BIT(t->to)))
        return 0;
    if (t->verdict == VERDICT_REJECT && is_named(&t->proposed, "AwaitingRetry"))
        return 0;
    return lease_release_run(t->o->conn, t->o->a, t->flow_run->id, lease, limit, t->o->now, t->o->out, err) < 0 ? -1 : 0;
}

/* ---- late runs ---- */

static int only_scheduled_are_late(struct transition *t, struct err *err)
{
    if (!is_named(&t->proposed, "Late"))
        return 0;
    if (t->from != STATE_SCHEDULED)
        return reject(t, STR("Only a scheduled run can be late."));
    if (is_named(&t->current, "Late"))
        return reject(t, STR("The run is known to be late already."));
    return 0;
}

static int late_without_slot(struct transition *t, struct err *err)
{
    struct concurrency_options options;
    if (!is_named(&t->proposed, "Late") || uuid_is_nil(t->around.limit_id))
        return 0;
    options_of(t, &options);
    if (!str_eqz(options.collision_strategy, "CANCEL_NEW"))
        return 0;
    struct concurrency_limit l;
    int rc = record_by_id(t->o->conn, t->o->a, &concurrency_limit_resource, t->around.limit_id, &l, err);
    if (rc <= 0)
        return rc;
    limit_decay(&l, t->o->now);
    if (l.active != 1 || l.active_slots < l.limit)
        return 0;
    return reject_cancelled(t, LIMIT_REACHED, STR("The deployment's concurrency limit is reached, and it cancels runs that find no slot."));
}

/* ---- pauses ---- */

static bool has_key(struct transition *t, Str keys, Str key)
{
    struct err why;
    const struct json *list = keys.p ? json_parse(t->o->a, keys, &why) : NULL;
    if (!json_is(list, JSON_ARRAY))
        return false;
    for (size_t i = 0; i < list->array.n; i++)
        if (str_eq(json_str(&list->array.items[i]), key))
            return true;
    return false;
}

static int pause_run(struct transition *t, struct err *err)
{
    struct arena *a = t->o->a;
    const char *verb = is_named(&t->proposed, "Suspended") ? "suspend" : "pause";
    if (t->from == NO_STATE)
        return abort_because(t, str_fmt(a, "Cannot %s a run that has no state.", verb));
    if (t->from != STATE_RUNNING)
        return reject(t, str_fmt(a, "Cannot %s a run that is not running.", verb));
    Str key = t->details.pause_key;
    if (!key.p)
        key = str_fmt(a, "%s", uuid_text(uuid_v4()).s);
    if (has_key(t, flow_policy(t)->pause_keys, key))
        return reject(t, str_fmt(a, "This %s has happened already.", verb));
    if (t->details.pause_reschedule == 1) {
        if (!uuid_is_nil(t->flow_run->parent_task_run_id))
            return abort_because(t, str_fmt(a, "Cannot %s a subflow.", verb));
        if (uuid_is_nil(t->flow_run->deployment_id))
            return abort_because(t, str_fmt(a, "Cannot %s a run without a deployment.", verb));
    }
    t->pause_key = key;
    return 0;
}

static int pause_done(struct transition *t, struct err *err)
{
    if (!t->pause_key.p)
        return 0;
    struct flow_run_policy *p = flow_policy(t);
    Str key = json_new_str(t->o->a, t->pause_key)->raw;
    if (p->pause_keys.n > 2)
        p->pause_keys = str_fmt(t->o->a, "%.*s,%.*s]", (int)(p->pause_keys.n - 1), p->pause_keys.p, STR_ARG(key));
    else
        p->pause_keys = str_fmt(t->o->a, "[%.*s]", STR_ARG(key));
    flow_policy_put(t);
    return 0;
}

static int resume_run(struct transition *t, struct err *err)
{
    struct arena *a = t->o->a;
    const unsigned allowed = S(RUNNING) | S(SCHEDULED) | S(CANCELLING) | STATES_TERMINAL;
    if (!(allowed & STATE_BIT(t->to)))
        return reject(t, str_fmt(a, "This run cannot get from state PAUSED to state %.*s.", STR_ARG(quoted_type(t->to))));
    if (t->to == STATE_CANCELLING)
        return 0;
    if (t->current_details.pause_reschedule == 1 && uuid_is_nil(t->flow_run->deployment_id))
        return reject(t, str_fmt(a, "A suspended run without a deployment cannot get to state %.*s.", STR_ARG(t->proposed.name)));
    Time timeout = t->current_details.pause_timeout;
    if (timeout != TIME_NONE && timeout < t->o->now) {
        const char *verb = is_named(&t->current, "Suspended") ? "suspension" : "pause";
        Str message = str_fmt(a, "The run was %.*s and was not resumed in time.", STR_ARG(str_lower(a, t->current.name)));
        struct state s = state_new(STATE_FAILED, STR_NONE, message, t->o->now);
        struct state_details d = details_none();
        return reject_with(t, &s, &d, str_fmt(a, "The %s of this run has timed out.", verb));
    }
    return 0;
}

/* Also after this rule's own refusal; and, standing before the transforms, after what they did to `resuming`. */
static int resume_done(struct transition *t, struct err *err)
{
    flow_policy(t)->resuming = 1;
    flow_policy_put(t);
    return 0;
}

/* ---- retries ---- */

/* A task run that had failed starts anew with its flow run (clients below API 0.8.3 leave that to the server). */
static int await_retry_of_tasks(struct transition *t, Time at, struct err *err)
{
    struct orchestration o = *t->o;
    VEC(Uuid) ids = {0};
    {
        AUTO(stmt_finish) struct stmt *q =
            db_query(o.conn, err, "SELECT id FROM task_run WHERE flow_run_id = $1 AND state_type = 'FAILED'", "u", t->flow_run->id);
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(o.a, &ids, stmt_uuid(q, 0));
        if (rc < 0)
            return -1;
    }
    o.policy = POLICY_MINIMAL;
    o.force = true;
    o.insert = NULL;
    for (size_t i = 0; i < ids.n; i++) {
        struct task_run run;
        int rc = record_lock(o.conn, o.a, &task_run_resource, ids.v[i], &run, err);
        if (rc < 0)
            return -1;
        if (!rc || state_type_of(run.state_type) != STATE_FAILED)
            continue;
        struct state s = state_new(STATE_SCHEDULED, STR("AwaitingRetry"), STR_NONE, o.now);
        struct state_details d = details_none();
        struct verdict_result ignored;
        d.scheduled_time = at;
        state_details_put(o.a, &s, &d);
        if (orchestrate_task_run(&o, &run, &s, &ignored, err) < 0)
            return -1;
        run.run_count = 0;
        if (record_update(o.conn, &task_run_resource, &run, (FieldSet)1 << task_run__run_count, run.id, err) < 0)
            return -1;
    }
    return 0;
}

static int retry_failed(struct transition *t, struct err *err)
{
    struct flow_run_policy *p = flow_policy(t);
    int64_t retries = p->retries, delay = p->retry_delay;
    Dur after = 0;
    if (delay != INT_NONE && delay)
        after = delay < INT32_MAX ? delay * SEC : (Dur)INT32_MAX * SEC;
    else if (p->retry_delay_seconds > 0)
        after = (Dur)llround(fmin(p->retry_delay_seconds, INT32_MAX) * SEC); /* a fraction, which retry_delay cannot say */
    if (retries == INT_NONE || t->flow_run->run_count > retries) {
        if (p->retry_type.p) {
            p->retry_type = STR_NONE;
            flow_policy_put(t);
        }
        return 0;
    }
    Time at = t->o->now + MAX(after, 0);
    if (!client_api_from(&t->o->client, 0, 8, 3) && await_retry_of_tasks(t, at, err) < 0)
        return -1;
    if (client_api_from(&t->o->client, 0, 8, 4)) {
        p->resuming = 0;
        p->pause_keys = STR("[]");
        p->retry_type = STR("in_process");
        flow_policy_put(t);
    }
    struct state s = state_new(STATE_SCHEDULED, STR("AwaitingRetry"), t->proposed.message, t->o->now);
    struct state_details d = details_none();
    s.data = t->proposed.data;
    d.scheduled_time = at;
    d.deployment_concurrency_lease_id = t->details.deployment_concurrency_lease_id;
    return reject_with(t, &s, &d, STR("Retrying"));
}

static int instrument(struct transition *t, struct err *err)
{
    if (t->wrote)
        event_flow_run(t);
    return 0;
}

/* clang-format off */
#define ANY   EVERY_STATE
#define BYPASS     {"bypass_cancelling",      S(SCHEDULED) | S(PAUSED), S(CANCELLING), bypass_cancelling}
#define INSTRUMENT {"instrument",             ANY_FROM, ANY, .after = instrument, .transform = true}
#define RELEASE    {"release_slot",           ANY_FROM, ANY, .after = release_slot, .transform = true}
#define ONLY_LATE  {"only_scheduled_are_late", ANY_FROM, S(SCHEDULED), only_scheduled_are_late}

static const struct rule core[] = {
    {"preserve_lease",            ANY_FROM,            ANY,                   preserve_lease, .transform = true},
    {"prevent_duplicates",        ANY_FROM,            ANY,                   prevent_duplicates},
    {"stay_unless_expected",      ANY_FROM,            ANY,                   stay_unless_expected},
    {"leave_terminal",            STATES_TERMINAL,     ANY,                   leave_terminal, .cleanup = leave_terminal_undo},
    {"cancelling_ends_cancelled", S(CANCELLING),       ANY & ~S(CANCELLED),   cancelling_ends_cancelled},
    BYPASS,
    {"prevent_pending",           S(PENDING) | S(CANCELLING) | S(RUNNING) | S(CANCELLED), S(PENDING), prevent_pending},
    {"validate_slot",             S(PENDING),          S(RUNNING),            validate_slot, .cleanup = give_back_new_lease},
    {"secure_slot",               ANY_FROM & ~(S(PENDING) | S(RUNNING) | S(CANCELLING)), S(PENDING), secure_slot, .cleanup = give_back_new_lease},
    {"keep_lease_of_old_client",  S(PENDING),          S(RUNNING) | S(CANCELLING), .after = keep_lease_of_old_client},
    ONLY_LATE,
    {"pause_run",                 ANY_FROM,            S(PAUSED),             pause_run, pause_done},
    {"resume_run",                S(PAUSED),           ANY,                   resume_run, resume_done},
    {"copy_scheduled_time",       S(SCHEDULED),        S(PENDING),            copy_scheduled_time},
    {"wait_for_scheduled_time",   S(SCHEDULED) | S(PENDING), S(RUNNING),      wait_for_scheduled_time},
    {"retry_failed",              S(RUNNING),          S(FAILED),             retry_failed},
    INSTRUMENT,
    RELEASE,
};
const struct rule_list flow_core = {core, COUNT_OF(core)};

static const struct rule minimal[] = {
    {"prevent_result_loss",       STATES_TERMINAL,     STATES_TERMINAL,       prevent_result_loss},
    {"mark_unknown_result",       S(FAILED) | S(CRASHED), S(COMPLETED),       mark_unknown_result},
    BYPASS,
    INSTRUMENT,
    RELEASE,
};
const struct rule_list flow_minimal = {minimal, COUNT_OF(minimal)};

static const struct rule mark_late[] = {
    ONLY_LATE,
    {"late_without_slot",         S(SCHEDULED),        S(SCHEDULED),          late_without_slot},
    INSTRUMENT,
};
const struct rule_list flow_mark_late = {mark_late, COUNT_OF(mark_late)};
