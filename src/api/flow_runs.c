/* Flow runs: made, read, moved from state to state. */
#include "api/deployments.h"
#include "api/handlers.h"
#include "api/list.h"
#include "base/limits.h"
#include "services/names.h"
#include "store/concurrency.h"

#include <string.h>

/* ---- out ---- */

void flow_run_print_fields(struct call *c, const struct flow_run *run, const struct state *state, Uuid pool_id, Str pool_name)
{
    struct jw *w = &c->w;
    record_print(w, &flow_run_resource, run, NULL);
    int type = state_type_of(run->state_type);
    jw_key(w, STR("state"));
    state_print(w, state);
    jw_kdouble(w, "estimated_run_time", (double)estimated_run_time(run->total_run_time, type, run->state_timestamp, c->now) / 1e6);
    jw_kdouble(w, "estimated_start_time_delta",
               (double)estimated_start_time_delta(run->start_time, run->expected_start_time, type, c->now) / 1e6);
    jw_kuuid(w, "work_pool_id", pool_id);
    jw_kstr(w, "work_pool_name", pool_name);
}

int flow_run_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(err);
    struct state state;
    bool has = state_load(c->a, row, extra, &state);
    jw_object(&c->w);
    flow_run_print_fields(c, rec, has ? &state : NULL, stmt_uuid(row, extra + 7), str_dup(c->a, stmt_str(row, extra + 8)));
    jw_end(&c->w);
    return 0;
}

int flow_run_print_by_id(struct call *c, Uuid id, struct err *err)
{
    return list_one(c, &flow_run_listing, "flow_run.id = ", id, flow_run_print, err);
}

static int found(int rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Flow run") : rc < 0 ? -1 : 0;
}

/* ---- making ---- */

/* run->labels := flow's, the id of the flow (and deployment), and what was sent. */
static int labels_fill(struct call *c, struct flow_run *run, struct err *err)
{
    struct scheduling s = call_scheduling(c);
    Str of_deployment = STR_NONE, labels;
    Uuid deployment = UUID_NIL;
    if (!uuid_is_nil(run->deployment_id)) {
        AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err, "SELECT labels FROM deployment WHERE id = $1", "u", run->deployment_id);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc < 0)
            return -1;
        if (rc) { /* it may be gone */
            of_deployment = str_dup(c->a, stmt_str(q, 0));
            deployment = run->deployment_id;
        }
    }
    if (run_labels(&s, run->flow_id, deployment, of_deployment, &labels, err) < 0)
        return -1;
    run->labels = json_merge(c->a, labels, run->labels);
    return 0;
}

int flow_run_insert(struct call *c, struct flow_run *run, const struct state *state, struct err *err)
{
    run->id = uuid_v7();
    run->created = run->updated = c->now;
    run->run_count = 0;
    run->total_run_time = 0;
    if (run->auto_scheduled == BOOL_NONE)
        run->auto_scheduled = 0;
    if (!run->name.n)
        run->name = name_invent(c->a);
    if (!run->created_by.p)
        run->created_by = created_by_header(c);
    if (labels_fill(c, run, err) < 0)
        return -1;
    struct orchestration o = call_orchestration(c, POLICY_MINIMAL, true);
    struct verdict_result result;
    o.insert = run->idempotency_key.p ? "ON CONFLICT (flow_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING" : "";
    if (orchestrate_flow_run(&o, run, state, &result, err) < 0)
        return -1;
    if (!result.exists) {
        outbox_alarm(&c->outbox, ALARM_NAMES, c->now + NAMES_AFTER);
        return 1;
    }
    return record_find(c->conn, c->a, &flow_run_resource, run, err, "flow_id = $1 AND idempotency_key = $2", "us", run->flow_id,
                       run->idempotency_key) < 0
               ? -1
               : 0;
}

/* work_pool_name and work_queue_name of a request → the queue. */
static int resolve_queue(struct call *c, struct flow_run *run, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = NULL;
    if (!run->work_pool_name.p)
        return 0;
    if (run->work_queue_name.p)
        q = db_query(c->conn, err, "SELECT work_queue.id, work_queue.name FROM work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id"
                     " WHERE work_pool.name = $1 AND work_queue.name = $2", "ss", run->work_pool_name, run->work_queue_name);
    else
        q = db_query(c->conn, err, "SELECT work_queue.id, work_queue.name FROM work_pool JOIN work_queue ON work_queue.id = work_pool.default_queue_id"
                     " WHERE work_pool.name = $1", "s", run->work_pool_name);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc < 0)
        return -1;
    if (!rc)
        return err_set(err, ERR_NOT_FOUND, "Work pool \"%.*s\"%s not found", STR_ARG(run->work_pool_name),
                       run->work_queue_name.p ? " or its work queue" : "");
    run->work_queue_id = stmt_uuid(q, 0);
    run->work_queue_name = str_dup(c->a, stmt_str(q, 1));
    return 0;
}

int flow_runs_create(struct call *c, struct err *err)
{
    struct flow_run run;
    struct state state;
    call_read(c, &flow_run_resource, CREATE, &run);
    parameters_check(c, run.parameters);
    const struct json *sent = json_getz(c->body, "state");
    if (json_is_null(sent))
        state = state_new(STATE_PENDING, STR_NONE, STR_NONE, c->now);
    else
        state_parse(c->a, sent, c->now, &state, &c->violations);
    if (call_invalid(c, err) < 0 || resolve_queue(c, &run, err) < 0)
        return -1;
    if (call_refers(c, "parent_task_run_id", &task_run_resource, run.parent_task_run_id, err) < 0 ||
        call_refers(c, "infrastructure_document_id", &block_document_resource, run.infrastructure_document_id, err) < 0)
        return -1;
    int made = flow_run_insert(c, &run, &state, err);
    if (made < 0)
        return -1;
    c->status = made ? 201 : 200;
    return found(flow_run_print_by_id(c, run.id, err), err);
}

/* ---- reading ---- */

int flow_runs_read(struct call *c, struct err *err)
{
    return found(flow_run_print_by_id(c, c->id, err), err);
}

int flow_runs_filter(struct call *c, struct err *err)
{
    return list_filter(c, &flow_run_listing, NULL, flow_run_print, err);
}

int flow_runs_count(struct call *c, struct err *err)
{
    return list_count(c, &flow_run_listing, err);
}

int flow_runs_paginate(struct call *c, struct err *err)
{
    return list_paginate(c, &flow_run_listing, flow_run_print, err);
}

/* ---- changing ---- */

static int lock_run(struct call *c, Uuid id, struct flow_run *ret, struct err *err)
{
    return found(record_lock(c->conn, c->a, &flow_run_resource, id, ret, err), err);
}

int flow_runs_update(struct call *c, struct err *err)
{
    struct flow_run change, run;
    call_read(c, &flow_run_resource, UPDATE, &change);
    parameters_check(c, change.parameters);
    if (call_invalid(c, err) < 0 || lock_run(c, c->id, &run, err) < 0)
        return -1;
    if (IS_SET(&change, flow_run__job_variables)) {
        if (!str_eqz(run.state_type, "SCHEDULED"))
            return err_set(err, ERR_INVALID, "Job variables for a flow run in state %.*s cannot be updated",
                           STR_ARG(run.state_type.p ? run.state_type : STR("(none)")));
        if (uuid_is_nil(run.deployment_id))
            return err_set(err, ERR_INVALID, "Job variables can be changed only for the run of a deployment");
        struct deployment d;
        if (deployment_load(c, run.deployment_id, /* lock: */ false, &d, err) < 0)
            return err->code == ERR_NOT_FOUND ? err_set(err, ERR_INVALID, "The run's deployment is no longer there") : -1;
        Str overrides[] = {d.job_variables, change.job_variables};
        if (job_variables_check(c, run.work_queue_id, overrides, COUNT_OF(overrides), 0, "Error updating flow run", err) < 0)
            return -1;
    }
    if (IS_SET(&change, flow_run__name) && !change.name.n) /* null or "" keeps the name */
        change.set &= ~((FieldSet)1 << flow_run__name);
    if (IS_SET(&change, flow_run__name))
        outbox_alarm(&c->outbox, ALARM_NAMES, c->now + NAMES_AFTER);
    change.updated = c->now;
    SET_FIELD(&change, flow_run__updated);
    return record_update(c->conn, &flow_run_resource, &change, change.set, c->id, err) < 0 ? -1 : call_empty(c, 204);
}

int flow_runs_update_labels(struct call *c, struct err *err)
{
    struct flow_run run;
    if (call_invalid(c, err) < 0 || lock_run(c, c->id, &run, err) < 0)
        return -1;
    run.labels = json_merge(c->a, run.labels, c->body->raw);
    run.updated = c->now;
    FieldSet mask = (FieldSet)1 << flow_run__labels | (FieldSet)1 << flow_run__updated;
    return record_update(c->conn, &flow_run_resource, &run, mask, c->id, err) < 0 ? -1 : call_empty(c, 204);
}

/* A run that holds a slot of its deployment's limit gives it back. */
static int give_slot_back(struct call *c, const struct flow_run *run, struct err *err)
{
    int type = state_type_of(run->state_type);
    if (uuid_is_nil(run->deployment_id) || (type != STATE_PENDING && type != STATE_RUNNING && type != STATE_CANCELLING))
        return 0;
    Uuid limit;
    struct state state;
    struct state_details details = {0};
    int rc = db_get_uuid(c->conn, err, &limit, "SELECT concurrency_limit_id FROM deployment WHERE id = $1", "u", run->deployment_id);
    if (rc <= 0 || uuid_is_nil(limit))
        return rc < 0 ? -1 : 0;
    rc = state_find(c->conn, c->a, FLOW_RUN, run->id, run->state_id, &state, err);
    if (rc < 0)
        return -1;
    if (rc)
        state_details_get(c->a, &state, &details);
    return lease_release_run(c->conn, c->a, run->id, details.deployment_concurrency_lease_id, limit, c->now, &c->outbox, err) < 0 ? -1 : 0;
}

static int delete_one(struct call *c, Uuid id, struct err *err)
{
    struct flow_run run;
    int rc = record_lock(c->conn, c->a, &flow_run_resource, id, &run, err);
    if (rc <= 0)
        return rc;
    if (subflows_release(c, "SELECT id FROM task_run WHERE flow_run_id = $1", id, err) < 0 || give_slot_back(c, &run, err) < 0 || leases_release_tasks(c->conn, c->a, id, c->now, &c->outbox, err) < 0 || record_delete(c->conn, &flow_run_resource, id, err) < 0)
        return -1;
    vec_push(c->a, &c->outbox.runs_deleted, id);
    return 1;
}

int flow_runs_delete(struct call *c, struct err *err)
{
    int rc = delete_one(c, c->id, err);
    return rc > 0 ? call_empty(c, 204) : found(rc, err);
}

int flow_runs_bulk_delete(struct call *c, struct err *err)
{
    return bulk_delete(c, &flow_run_listing, delete_one, err);
}

/* ---- states ---- */

/* The shared body of set_state: {state, force}. */
static void parse_proposal(struct call *c, struct state *ret, bool *ret_force)
{
    *ret_force = call_bool(c, "force");
    Str before = violations_enter(&c->violations, STR("state"));
    state_parse(c->a, call_json(c, "state"), c->now, ret, &c->violations);
    c->violations.prefix = before;
}

static int propose(struct call *c, Uuid id, const struct state *state, bool force, unsigned expected, struct verdict_result *ret, struct err *err)
{
    struct flow_run run;
    int rc = record_lock(c->conn, c->a, &flow_run_resource, id, &run, err);
    if (rc <= 0) {
        c->exception_shape = rc == 0;
        return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "Flow run with id %s not found", uuid_text(id).s);
    }
    struct orchestration o = call_orchestration(c, POLICY_CORE, force);
    o.expected = expected;
    return orchestrate_flow_run(&o, &run, state, ret, err);
}

int flow_runs_set_state(struct call *c, struct err *err)
{
    struct state state;
    bool force;
    Str expected = call_str(c, "expected_state_type");
    parse_proposal(c, &state, &force);
    if (call_invalid(c, err) < 0)
        return -1;
    struct verdict_result result;
    if (propose(c, c->id, &state, force, expected.n ? STATE_BIT(state_type_of(expected)) : 0, &result, err) < 0)
        return -1;
    c->status = result.wrote ? 201 : 200;
    verdict_print(&c->w, &result);
    return 0;
}

int flow_runs_bulk_set_state(struct call *c, struct err *err)
{
    struct state state;
    bool force;
    int64_t limit = call_int(c, "limit");
    parse_proposal(c, &state, &force);
    VEC(Uuid) ids = {0};
    {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        sql_z(&q, "SELECT flow_run.id FROM flow_run");
        listing_where(&q, &flow_run_listing, c->body, &c->violations);
        sql_z(&q, " ORDER BY flow_run.id LIMIT ");
        sql_int(&q, limit);
        if (call_invalid(c, err) < 0)
            return -1;
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        int rc = rows ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &ids, stmt_uuid(rows, 0));
        if (rc < 0)
            return -1;
    }
    jw_object(&c->w);
    jw_key(&c->w, STR("results"));
    jw_array(&c->w);
    for (size_t i = 0; i < ids.n; i++) {
        struct state one = state;
        one.id = uuid_v7();
        struct verdict_result result = {0};
        struct err why;
        if (db_savepoint(c->conn, err) < 0)
            return -1;
        bool failed = propose(c, ids.v[i], &one, force, /* expected= */ 0, &result, &why) < 0;
        if (failed)
            result = (struct verdict_result){.verdict = VERDICT_ABORT, .reason = str_dup(c->a, str_of(why.text))};
        if ((failed ? db_rollback_to(c->conn, err) : db_release(c->conn, err)) < 0)
            return -1;
        jw_object(&c->w);
        jw_kuuid(&c->w, "flow_run_id", ids.v[i]);
        jw_kz(&c->w, "status", verdict_name(result.verdict));
        jw_key(&c->w, STR("state"));
        state_print(&c->w, result.has_state ? &result.state : NULL);
        jw_key(&c->w, STR("details"));
        verdict_details_print(&c->w, &result);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}
