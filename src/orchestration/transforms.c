/* What every written state does to its run's row (semantics.md 1.4). */
#include "orchestration/transition.h"

static bool terminal(int type)
{
    return type != NO_STATE && (STATES_TERMINAL & STATE_BIT(type));
}

/* States of a run are told apart by their instant. The rare case of an older state with this instant shows when it is stored. */
static int ensure_unique_timestamp(struct transition *t, struct err *err)
{
    if (t->to >= 0 && t->from != NO_STATE && t->proposed.timestamp == *t->run.state_timestamp)
        t->proposed.timestamp++;
    return 0;
}

static int set_state_columns(struct transition *t, struct err *err)
{
    if (t->to < 0)
        return 0;
    *t->run.state_type = t->proposed.type;
    *t->run.state_name = t->proposed.name;
    *t->run.state_timestamp = t->proposed.timestamp;
    return 0;
}

static int set_start_time(struct transition *t, struct err *err)
{
    if (t->to == STATE_RUNNING && *t->run.start_time == TIME_NONE)
        *t->run.start_time = t->proposed.timestamp;
    return 0;
}

static int set_end_time(struct transition *t, struct err *err)
{
    if (t->to < 0)
        return 0;
    if (!terminal(t->to)) {
        if (terminal(t->from))
            *t->run.end_time = TIME_NONE;
    } else if (*t->run.end_time == TIME_NONE) {
        if (*t->run.start_time == TIME_NONE)
            *t->run.start_time = t->proposed.timestamp;
        *t->run.end_time = t->proposed.timestamp;
    }
    return 0;
}

static int increment_run_time(struct transition *t, struct err *err)
{
    if (t->to >= 0 && t->from == STATE_RUNNING)
        *t->run.total_run_time += MAX(t->proposed.timestamp - t->current.timestamp, 0);
    return 0;
}

static int set_expected_start_time(struct transition *t, struct err *err)
{
    if (t->to >= 0 && *t->run.expected_start_time == TIME_NONE)
        *t->run.expected_start_time = t->to == STATE_SCHEDULED ? t->details.scheduled_time : t->proposed.timestamp;
    return 0;
}

static int set_next_scheduled_start_time(struct transition *t, struct err *err)
{
    if (t->to == STATE_SCHEDULED)
        *t->run.next_scheduled_start_time = t->details.scheduled_time;
    else if (t->to >= 0 && t->from == STATE_SCHEDULED)
        *t->run.next_scheduled_start_time = TIME_NONE;
    return 0;
}

/* ---- flow runs ---- */

static int flow_details(struct transition *t, struct err *err)
{
    t->details.flow_run_id = t->flow_run->id;
    if (!uuid_is_nil(t->flow_run->parent_task_run_id))
        t->details.task_run_id = t->flow_run->parent_task_run_id;
    return 0;
}

static bool resumes(struct transition *t)
{
    return client_api_from(&t->o->client, 0, 8, 4) && flow_policy(t)->resuming == 1;
}

static int count_flow_run(struct transition *t, struct err *err)
{
    if (t->to == STATE_RUNNING && !resumes(t))
        t->flow_run->run_count++;
    return 0;
}

static int end_of_resuming(struct transition *t, struct err *err)
{
    if (t->to >= 0 && (t->to == STATE_RUNNING || terminal(t->to)) && resumes(t)) {
        flow_policy(t)->resuming = 0;
        flow_policy_put(t);
    }
    return 0;
}

/* The task run that stands for a subflow in its parent is in the state that the subflow is in. */
static int update_parent(struct transition *t, struct err *err)
{
    if (!t->wrote || uuid_is_nil(t->flow_run->parent_task_run_id))
        return 0;
    struct task_run parent;
    int rc = record_lock(t->o->conn, t->o->a, &task_run_resource, t->flow_run->parent_task_run_id, &parent, err);
    if (rc <= 0)
        return rc;
    struct state copy = t->proposed;
    struct state_details details = t->details;
    copy.id = uuid_v7();
    details.child_flow_run_id = t->flow_run->id;
    state_details_put(t->o->a, &copy, &details);
    struct orchestration o = *t->o;
    o.policy = POLICY_MINIMAL;
    o.force = true;
    o.insert = NULL;
    struct verdict_result ignored;
    return orchestrate_task_run(&o, &parent, &copy, &ignored, err);
}

/* ---- task runs ---- */

static int task_details(struct transition *t, struct err *err)
{
    t->details.task_run_id = t->task_run->id;
    t->details.flow_run_id = t->task_run->flow_run_id;
    return 0;
}

static int count_task_run(struct transition *t, struct err *err)
{
    if (t->to == STATE_RUNNING)
        t->task_run->run_count++;
    return 0;
}

#define TRANSFORM(fn) {#fn, ANY_FROM, EVERY_STATE, .before = fn, .transform = true}

static const struct rule of_flows[] = {
    TRANSFORM(ensure_unique_timestamp),
    TRANSFORM(set_state_columns),
    TRANSFORM(set_start_time),
    TRANSFORM(set_end_time),
    TRANSFORM(increment_run_time),
    TRANSFORM(set_expected_start_time),
    TRANSFORM(set_next_scheduled_start_time),
    TRANSFORM(flow_details),
    TRANSFORM(count_flow_run),
    TRANSFORM(end_of_resuming),
    {"update_parent", ANY_FROM, EVERY_STATE, .after = update_parent, .transform = true},
};
const struct rule_list flow_global = {of_flows, COUNT_OF(of_flows)};

static const struct rule of_tasks[] = {
    TRANSFORM(set_state_columns),
    TRANSFORM(set_start_time),
    TRANSFORM(set_end_time),
    TRANSFORM(increment_run_time),
    TRANSFORM(set_expected_start_time),
    TRANSFORM(set_next_scheduled_start_time),
    TRANSFORM(task_details),
    TRANSFORM(count_task_run),
};
const struct rule_list task_global = {of_tasks, COUNT_OF(of_tasks)};
