/* The rules for task runs (semantics.md 1.3 and 6), in the order in which they are asked; and those that flow runs share. */
#include "orchestration/transition.h"

#include <math.h>

#define S(type) STATE_BIT(STATE_##type)
#define CACHE_KEY_BYTES 2600 /* what an index entry of PostgreSQL can hold, less some room; a longer key is not kept */

/* ---- rules of both kinds ---- */

int copy_scheduled_time(struct transition *t, struct err *err)
{
    if (t->details.scheduled_time == TIME_NONE)
        t->details.scheduled_time = t->current_details.scheduled_time;
    return 0;
}

int wait_for_scheduled_time(struct transition *t, struct err *err)
{
    Time at = t->current_details.scheduled_time;
    if (at == TIME_NONE || at <= t->o->now)
        return 0;
    Dur left = at - t->o->now;
    int64_t seconds = left / SEC + (left % SEC > SEC / 2); /* half a second is rounded to the even 0 */
    return seconds > 0 ? wait_for(t, seconds, STR("The scheduled time is in the future.")) : 0;
}

/* One claim a run: the first worker that gets it to PENDING has it. A worker may then say more exactly what it waits for. */
int prevent_pending(struct transition *t, struct err *err)
{
    if (t->from == STATE_PENDING && !str_eq(t->proposed.name, t->current.name) &&
        !str_eq(t->proposed.name, state_type_title(STATE_PENDING))) {
        if (t->details.scheduled_time == TIME_NONE)
            t->details.scheduled_time = t->current_details.scheduled_time;
        if (uuid_is_nil(t->details.deployment_concurrency_lease_id))
            t->details.deployment_concurrency_lease_id = t->current_details.deployment_concurrency_lease_id;
        return 0;
    }
    return abort_because(t, str_fmt(t->o->a, "A run in state %s cannot become PENDING.", state_type_names[t->from]));
}

/* ---- caching ---- */

static int retrieve_cached(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    Str key = t->details.cache_key;
    if (!key.n || t->details.refresh_cache == 1)
        return 0;
    struct state cached;
    {
        AUTO(stmt_finish) struct stmt *q =
            db_query(o->conn, err,
                     "SELECT s.id, s.type, s.name, s.timestamp, s.message, " STATE_DATA("s.") ", s.state_details FROM task_run_state_cache c"
                     " JOIN task_run_state s ON s.id = c.task_run_state_id"
                     " WHERE c.cache_key = $1 AND (c.cache_expiration IS NULL OR c.cache_expiration > $2) ORDER BY c.id DESC LIMIT 1",
                     "st", key, o->now);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc <= 0)
            return rc;
        state_load(o->a, q, 0, &cached);
    }
    struct state_details d;
    state_details_get(o->a, &cached, &d);
    struct state s = state_new(STATE_COMPLETED, STR("Cached"), cached.message, o->now);
    s.data = cached.data;
    return reject_with(t, &s, &d, STR("The state comes from the cache."));
}

static size_t max_cache_key(const struct transition *t)
{
    return (size_t)MAX(t->o->settings->max_cache_key, 0);
}

static int check_cache_key(struct transition *t, struct err *err)
{
    if (!t->details.cache_key.p || str_codepoints(t->details.cache_key) <= max_cache_key(t))
        return 0;
    struct state same = t->proposed;
    struct state_details d = t->details;
    return reject_with(t, &same, &d,
                       str_fmt(t->o->a, "The cache key is longer than %zu characters: the result is not cached.", max_cache_key(t)));
}

static int insert_cached(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    Str key = t->details.cache_key;
    if (!t->wrote || !key.n || key.n > CACHE_KEY_BYTES || str_codepoints(key) > max_cache_key(t))
        return 0;
    return db_exec(o->conn, err,
                   "INSERT INTO task_run_state_cache (id, created, cache_key, cache_expiration, task_run_state_id)"
                   " VALUES ($1, $2, $3, $4, $5)",
                   "utstu", uuid_v7(), o->now, key, t->details.cache_expiration, t->proposed.id) < 0
               ? -1
               : 0;
}

/* ---- terminal states, and the flow run around ---- */

static int leave_terminal(struct transition *t, struct err *err)
{
    struct task_run *run = t->task_run;
    t->old_run_count = run->run_count;
    if (t->to == STATE_CANCELLING || t->to == STATE_PAUSED || t->to == STATE_CRASHED)
        return abort_because(t, str_fmt(t->o->a, "The run is %s already.", state_type_names[t->from]));
    if (t->from == STATE_COMPLETED && state_data_kind(t->current.data) == DATA_PERSISTED)
        return reject(t, STR("The run is completed already."));
    if (STATES_TERMINAL & STATE_BIT(t->to))
        return 0;
    run->run_count = 0;
    if (t->to == STATE_RUNNING) {
        if (enclosing_read(t, err) < 0)
            return -1;
        if (t->enclosing.found && run->flow_run_run_count < t->enclosing.run_count)
            t->proposed.name = STR("Retrying");
    }
    return 0;
}

static int leave_terminal_undo(struct transition *t, struct err *err)
{
    t->task_run->run_count = t->old_run_count;
    return 0;
}

static int flow_must_run(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    if (uuid_is_nil(t->task_run->flow_run_id))
        return 0;
    if (enclosing_read(t, err) < 0)
        return -1;
    if (t->enclosing.found && t->enclosing.type == STATE_PAUSED) {
        Uuid flow_run = t->task_run->flow_run_id;
        struct state paused, s = state_new(STATE_PAUSED, STR("NotReady"), STR_NONE, o->now);
        struct state_details of_flow = details_none(), d = details_none();
        int rc = state_find_at(o->conn, o->a, FLOW_RUN, flow_run, t->enclosing.state_timestamp, t->enclosing.state_id, &paused, err);
        if (rc < 0)
            return -1;
        if (rc)
            state_details_get(o->a, &paused, &of_flow);
        d.pause_timeout = of_flow.pause_timeout;
        d.pause_reschedule = of_flow.pause_reschedule;
        return reject_with(t, &s, &d, str_fmt(o->a, "The flow run %s is paused: its tasks can run when it is resumed.", uuid_text(flow_run).s));
    }
    if (!t->enclosing.found || t->enclosing.type != STATE_RUNNING)
        return abort_because(t, STR("A task can run only while its flow run is running."));
    return 0;
}

static int remember_flow_run_count(struct transition *t, struct err *err)
{
    if (!t->wrote || uuid_is_nil(t->task_run->flow_run_id))
        return 0;
    if (enclosing_read(t, err) < 0)
        return -1;
    if (!t->enclosing.found)
        return err_set(err, ERR_NOT_FOUND, "Flow run with id %s not found", uuid_text(t->task_run->flow_run_id).s);
    t->task_run->flow_run_run_count = t->enclosing.run_count;
    return 0;
}

/* ---- slots of limits on tags ---- */

#define HOLDER STR("task_run")

static bool has_tags(const struct transition *t)
{
    return t->task_run->tags.n > 2;
}

/* The limits' names, "tag:<tag>" for each of the run's tags. */
static size_t limit_names(struct transition *t, Str **ret)
{
    struct arena *a = t->o->a;
    struct err why;
    const struct json *tags = json_parse(a, t->task_run->tags, &why);
    if (!json_is(tags, JSON_ARRAY))
        return 0;
    size_t n = 0;
    *ret = arena_array(a, Str, tags->array.n + 1);
    for (size_t i = 0; i < tags->array.n; i++) {
        Str tag = json_str(&tags->array.items[i]);
        if (tag.p)
            (*ret)[n++] = str_fmt(a, "tag:%.*s", STR_ARG(tag));
    }
    return n;
}

static Str tag_of(const struct concurrency_limit *l)
{
    return str_sub(l->name, 4, l->name.n);
}

/* None was free: how long to wait, and for which tags. */
static int wait_for_slots(struct transition *t, const struct slots_result *got)
{
    struct orchestration *o = t->o;
    double most = (double)o->settings->tag_slot_wait / SEC, mean = 0;
    Str full = STR("");
    for (size_t i = 0; i < got->limits.n; i++) {
        const struct concurrency_limit *l = &got->limits.v[i];
        if (l->active != 1 || l->active_slots < l->limit)
            continue;
        double avg = l->avg_slot_occupancy_seconds > 0 ? l->avg_slot_occupancy_seconds : most;
        mean = fmax(mean, fmin(avg, most));
        full = str_fmt(o->a, "%.*s%s%.*s", STR_ARG(full), full.n ? ", " : "", STR_ARG(tag_of(l)));
    }
    return wait_for(t, MAX(llround(clamped_poisson(mean, 0.3)), 1), str_fmt(o->a, "The concurrency limit is reached for tags: %.*s", STR_ARG(full)));
}

static int secure_slots(struct transition *t, struct err *err)
{
    struct orchestration *o = t->o;
    Str *names = NULL;
    size_t n = has_tags(t) ? limit_names(t, &names) : 0;
    if (!n)
        return 0;
    if (t->from == STATE_RUNNING || t->from == STATE_CANCELLING) { /* started again without an end: it has its slots */
        Uuid held;
        int rc = db_get_uuid(o->conn, err, &held, "SELECT id FROM concurrency_lease WHERE holder_id = $1 AND holder_type = $2", "us",
                             t->task_run->id, HOLDER);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
    }
    struct slots_wanted want = {.names = names, .n = n, .slots = 1, .max_tag_wait = o->settings->tag_slot_wait};
    struct slots_result got;
    if (slots_take(o->conn, o->a, &want, o->settings->max_slot_wait, o->now, &got, err) < 0) {
        if (err->code != ERR_UNPROCESSABLE)
            return -1;
        Str tag = STR("");
        for (size_t i = got.limits.n; i-- > 0;)
            if (got.limits.v[i].active == 1 && got.limits.v[i].limit < 1)
                tag = tag_of(&got.limits.v[i]);
        return abort_because(t, str_fmt(o->a, "The concurrency limit on tag \"%.*s\" is 0: the task could never run.", STR_ARG(tag)));
    }
    if (!got.taken)
        return wait_for_slots(t, &got);
    Uuid *ids = arena_array(o->a, Uuid, got.limits.n + 1);
    size_t held = 0;
    for (size_t i = 0; i < got.limits.n; i++)
        if (got.limits.v[i].active == 1)
            ids[held++] = got.limits.v[i].id;
    if (!held)
        return 0;
    return lease_create(o->conn, o->a, ids, held, 1, LEASE_FOREVER, HOLDER, t->task_run->id, o->now, o->out, &t->lease, err);
}

static int give_back_slots(struct transition *t, struct err *err)
{
    return uuid_is_nil(t->lease) ? 0 : lease_undo(t->o->conn, t->o->a, t->lease, t->o->now, t->o->out, err) < 0 ? -1 : 0;
}

static int release_slots(struct transition *t, struct err *err)
{
    const unsigned with_slots = S(RUNNING) | S(CANCELLING);
    if (!t->wrote || t->from == NO_STATE || !has_tags(t) || (with_slots & STATE_BIT(t->to)))
        return 0;
    return leases_release(t->o->conn, t->o->a, HOLDER, t->task_run->id, t->o->now, t->o->out, err) < 0 ? -1 : 0;
}

/* ---- retries ---- */

/* Seconds of a retry_delay: a number, or a list with one for each retry (the last for all further ones). */
static double delay_of(struct arena *a, const struct task_run_policy *p, int64_t run_count)
{
    struct err why;
    double seconds = 0;
    const struct json *v = p->retry_delay.p ? json_parse(a, p->retry_delay, &why) : NULL;
    if (json_is(v, JSON_ARRAY)) {
        if (!v->array.n)
            return 0;
        int64_t i = MIN(MAX(run_count - 1, 0), (int64_t)v->array.n - 1);
        v = &v->array.items[i];
    }
    return json_double(v, &seconds) ? seconds : 0;
}

static int retry_failed(struct transition *t, struct err *err)
{
    const struct task_run_policy *p = task_policy(t);
    int64_t retries = p->retries, run_count = t->task_run->run_count;
    if (t->details.retriable == 0 || retries == INT_NONE || run_count > retries)
        return 0;
    double delay = delay_of(t->o->a, p, run_count);
    if (delay > 0 && p->retry_jitter_factor > 0)
        delay = clamped_poisson(delay, p->retry_jitter_factor);
    if (!(delay > 0))
        delay = 0;
    struct state s = state_new(STATE_SCHEDULED, STR("AwaitingRetry"), t->proposed.message, t->o->now);
    struct state_details d = details_none();
    s.data = t->proposed.data;
    d.scheduled_time = t->o->now + (Dur)llround(fmin(delay, INT32_MAX) * SEC);
    return reject_with(t, &s, &d, STR("Retrying"));
}

static int rename_reruns(struct transition *t, struct err *err)
{
    if (t->task_run->run_count > 0)
        t->proposed.name = str_eqz(t->current.name, "AwaitingRetry") ? STR("Retrying") : STR("Rerunning");
    return 0;
}

/* ---- background tasks ---- */

static int copy_task_parameters(struct transition *t, struct err *err)
{
    if (uuid_is_nil(t->details.task_parameters_id))
        t->details.task_parameters_id = t->current_details.task_parameters_id;
    return 0;
}

static int enqueue_scheduled(struct transition *t, struct err *err)
{
    struct task_scheduled s = {t->task_run->id, t->task_run->task_key, str_eqz(t->proposed.name, "AwaitingRetry")};
    if (t->wrote && t->details.deferred == 1)
        vec_push(t->o->out->a, &t->o->out->tasks_scheduled, s);
    return 0;
}

/* clang-format off */
#define ANY EVERY_STATE
#define CACHED     {"retrieve_cached",         ANY_FROM,        S(RUNNING),   retrieve_cached}
#define TERMINAL   {"leave_terminal",          STATES_TERMINAL, ANY,          leave_terminal, .cleanup = leave_terminal_undo}
#define COPY_TIME  {"copy_scheduled_time",     S(SCHEDULED),    S(PENDING),   copy_scheduled_time}
#define WAIT       {"wait_for_scheduled_time", S(SCHEDULED) | S(PENDING), S(RUNNING), wait_for_scheduled_time}
#define RETRY      {"retry_failed",            S(RUNNING),      S(FAILED),    retry_failed}
#define RENAME     {"rename_reruns",           ANY_FROM,        S(RUNNING),   rename_reruns}
#define COUNT      {"remember_flow_run_count", ANY_FROM,        S(RUNNING),   .after = remember_flow_run_count}
#define CACHE      {"cache",                   ANY_FROM,        S(COMPLETED), check_cache_key, insert_cached}
#define RELEASE    {"release_slots",           ANY_FROM,        ANY,          .after = release_slots, .transform = true}

static const struct rule core[] = {
    CACHED,
    TERMINAL,
    {"flow_must_run",        ANY_FROM, S(RUNNING), flow_must_run},
    {"secure_slots",         ANY_FROM, S(RUNNING), secure_slots, .cleanup = give_back_slots},
    COPY_TIME,
    WAIT,
    RETRY,
    RENAME,
    COUNT,
    CACHE,
    RELEASE,
};
const struct rule_list task_core = {core, COUNT_OF(core)};

static const struct rule background[] = {
    {"prevent_pending",      S(PENDING) | S(CANCELLING) | S(RUNNING) | S(CANCELLED), S(PENDING), prevent_pending},
    CACHED,
    TERMINAL,
    COPY_TIME,
    {"copy_task_parameters", S(SCHEDULED) | S(PENDING), S(PENDING) | S(RUNNING), copy_task_parameters},
    WAIT,
    RETRY,
    RENAME,
    COUNT,
    CACHE,
    RELEASE,
    {"enqueue_scheduled",    ANY_FROM, S(SCHEDULED), .after = enqueue_scheduled},
};
const struct rule_list task_background = {background, COUNT_OF(background)};

/* The older client's, which leaves the limits of tags to the server. */
static const struct rule autonomous[] = {
    {"prevent_pending",      S(PENDING) | S(CANCELLING) | S(RUNNING) | S(CANCELLED), S(PENDING), prevent_pending},
    CACHED,
    TERMINAL,
    {"secure_slots",         ANY_FROM, S(RUNNING), secure_slots, .cleanup = give_back_slots},
    COPY_TIME,
    {"copy_task_parameters", S(SCHEDULED) | S(PENDING), S(PENDING) | S(RUNNING), copy_task_parameters},
    WAIT,
    RETRY,
    RENAME,
    COUNT,
    CACHE,
    RELEASE,
    {"enqueue_scheduled",    ANY_FROM, S(SCHEDULED), .after = enqueue_scheduled},
};
const struct rule_list task_autonomous = {autonomous, COUNT_OF(autonomous)};

static const struct rule minimal[] = {
    RELEASE,
};
const struct rule_list task_minimal = {minimal, COUNT_OF(minimal)};
