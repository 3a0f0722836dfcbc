/* Task runs that come over REST: all of 2.x, and the subflow parents and background tasks of 3.x. */
#include "api/handlers.h"
#include "api/list.h"
#include "store/concurrency.h"

#include <string.h>

void task_run_print_fields(struct call *c, const struct task_run *run, const struct state *state)
{
    record_print(&c->w, &task_run_resource, run, NULL);
    int type = state_type_of(run->state_type);
    jw_key(&c->w, STR("state"));
    state_print(&c->w, state);
    jw_kdouble(&c->w, "estimated_run_time", (double)estimated_run_time(run->total_run_time, type, run->state_timestamp, c->now) / 1e6);
    jw_kdouble(&c->w, "estimated_start_time_delta",
               (double)estimated_start_time_delta(run->start_time, run->expected_start_time, type, c->now) / 1e6);
}

int task_run_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(err);
    struct state state;
    bool has = state_load(c->a, row, extra, &state);
    jw_object(&c->w);
    task_run_print_fields(c, rec, has ? &state : NULL);
    jw_end(&c->w);
    return 0;
}

static int found(int rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Task run") : rc < 0 ? -1 : 0;
}

static int print_by_id(struct call *c, Uuid id, struct err *err)
{
    return found(list_one(c, &task_run_listing, "task_run.id = ", id, task_run_print, err), err);
}

/* The run of the same natural key: 1, 0, -1. */
static int find_twin(struct call *c, const struct task_run *run, struct task_run *ret, struct err *err)
{
    if (uuid_is_nil(run->flow_run_id))
        return record_find(c->conn, c->a, &task_run_resource, ret, err, "flow_run_id IS NULL AND task_key = $1 AND dynamic_key = $2",
                           "ss", run->task_key, run->dynamic_key);
    return record_find(c->conn, c->a, &task_run_resource, ret, err, "flow_run_id = $1 AND task_key = $2 AND dynamic_key = $3", "uss",
                       run->flow_run_id, run->task_key, run->dynamic_key);
}

/* run->labels := the flow run's, its id, and what was sent. */
static int labels_fill(struct call *c, struct task_run *run, struct err *err)
{
    if (uuid_is_nil(run->flow_run_id))
        return 0;
    AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err, "SELECT labels FROM flow_run WHERE id = $1", "u", run->flow_run_id);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "flow_run_id names %s, and there is no such flow run.", uuid_text(run->flow_run_id).s);
    Str of_run = stmt_is_null(q, 0) ? STR("{}") : str_dup(c->a, stmt_str(q, 0));
    of_run = json_merge(c->a, of_run, str_fmt(c->a, "{\"prefect.flow-run.id\":\"%s\"}", uuid_text(run->flow_run_id).s));
    run->labels = json_merge(c->a, of_run, run->labels);
    return 0;
}

/* What arguments came from: lists, by argument, of a run's id, a parameter's name or a constant's type. */
static void inputs_check(struct call *c, const struct json *inputs)
{
    static const struct {
        const char *type, *of;
    } kinds[] = {{"task_run", "id"}, {"flow_run", "id"}, {"parameter", "name"}, {"constant", "type"}};
    if (!json_is(inputs, JSON_OBJECT))
        return; /* absent, or said already */
    Str before = violations_enter(&c->violations, STR("task_inputs"));
    for (size_t i = 0; i < inputs->object.n; i++) {
        const struct json_member *m = &inputs->object.members[i];
        if (m->value.kind != JSON_ARRAY)
            violation_add(&c->violations, "list_type", m->key, &m->value, "must be a list");
        for (size_t k = 0; m->value.kind == JSON_ARRAY && k < m->value.array.n; k++) {
            const struct json *item = &m->value.array.items[k];
            const struct json *type = json_is(item, JSON_OBJECT) ? json_getz(item, "input_type") : NULL;
            bool ok = false;
            for (size_t n = 0; n < COUNT_OF(kinds) && json_is(item, JSON_OBJECT) && !ok; n++) {
                Str value = json_str(json_get(item, str_of(kinds[n].of)));
                Uuid id;
                ok = (!type || str_eq(json_str(type), str_of(kinds[n].type))) && value.p && (strcmp(kinds[n].of, "id") != 0 || uuid_parse(value, &id));
            }
            if (!ok)
                violation_add(&c->violations, "value_error", m->key, item, "must hold a task_run's or flow_run's id, a parameter's name or a constant's type");
        }
    }
    c->violations.prefix = before;
}

int task_runs_create(struct call *c, struct err *err)
{
    struct task_run run, twin;
    struct state state;
    call_read(c, &task_run_resource, CREATE, &run);
    inputs_check(c, json_getz(c->body, "task_inputs"));
    const struct json *sent = json_getz(c->body, "state");
    if (json_is_null(sent))
        state = state_new(STATE_PENDING, STR_NONE, STR_NONE, c->now);
    else
        state_parse(c->a, sent, c->now, &state, &c->violations);
    if (call_invalid(c, err) < 0)
        return -1;
    if (uuid_is_nil(run.id))
        run.id = uuid_v7();
    if (!run.name.n)
        run.name = str_fmt(c->a, "%.*s-%.*s", STR_ARG(run.task_key), STR_ARG(str_sub(run.dynamic_key, 0, 8)));
    run.created = run.updated = c->now;
    run.run_count = run.flow_run_run_count = run.total_run_time = 0;
    if (labels_fill(c, &run, err) < 0)
        return -1;
    struct orchestration o = call_orchestration(c, POLICY_MINIMAL, true);
    struct verdict_result result;
    o.insert = "ON CONFLICT DO NOTHING";
    if (orchestrate_task_run(&o, &run, &state, &result, err) < 0)
        return -1;
    if (result.exists) {
        int rc = find_twin(c, &run, &twin, err);
        if (rc <= 0)
            return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "a task run with id %s already exists", uuid_text(run.id).s);
        c->status = 200;
        return print_by_id(c, twin.id, err);
    }
    c->status = 201;
    return print_by_id(c, run.id, err);
}

int task_runs_read(struct call *c, struct err *err)
{
    return print_by_id(c, c->id, err);
}

int task_runs_filter(struct call *c, struct err *err)
{
    return list_filter(c, &task_run_listing, NULL, task_run_print, err);
}

int task_runs_count(struct call *c, struct err *err)
{
    return list_count(c, &task_run_listing, err);
}

int task_runs_paginate(struct call *c, struct err *err)
{
    return list_paginate(c, &task_run_listing, task_run_print, err);
}

int task_runs_update(struct call *c, struct err *err)
{
    struct task_run change;
    if (call_parse(c, &task_run_resource, UPDATE, &change, err) < 0)
        return -1;
    change.updated = c->now;
    SET_FIELD(&change, task_run__updated);
    int64_t n = record_update(c->conn, &task_run_resource, &change, change.set, c->id, err);
    return n <= 0 ? found((int)n, err) : call_empty(c, 204);
}

int task_runs_delete(struct call *c, struct err *err)
{
    if (subflows_release(c, "SELECT id FROM task_run WHERE id = $1", c->id, err) < 0 || leases_release(c->conn, c->a, STR("task_run"), c->id, c->now, &c->outbox, err) < 0)
        return -1;
    int64_t n = record_delete(c->conn, &task_run_resource, c->id, err);
    return n <= 0 ? found((int)n, err) : call_empty(c, 204);
}

int task_runs_set_state(struct call *c, struct err *err)
{
    struct state state;
    bool force = call_bool(c, "force");
    Str before = violations_enter(&c->violations, STR("state"));
    state_parse(c->a, call_json(c, "state"), c->now, &state, &c->violations);
    c->violations.prefix = before;
    if (call_invalid(c, err) < 0)
        return -1;
    struct task_run run;
    int rc = record_lock(c->conn, c->a, &task_run_resource, c->id, &run, err);
    if (rc <= 0) {
        c->exception_shape = rc == 0;
        return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "Task run with id %s not found", uuid_text(c->id).s);
    }
    struct orchestration o = call_orchestration(c, POLICY_CORE, force);
    struct verdict_result result;
    if (orchestrate_task_run(&o, &run, &state, &result, err) < 0)
        return -1;
    c->status = result.wrote ? 201 : 200;
    verdict_print(&c->w, &result);
    return 0;
}
