/* Deployments: a flow, where its code is, where and when it runs. */
#include "api/deployments.h"
#include "api/list.h"
#include "api/pools.h"
#include "schema/hydrate.h"

#include <string.h>

/* ---- out ---- */

static int print_limit(struct call *c, Uuid id, struct err *err)
{
    struct concurrency_limit l;
    int rc = uuid_is_nil(id) ? 0 : record_by_id(c->conn, c->a, &concurrency_limit_resource, id, &l, err);
    if (rc < 0)
        return -1;
    jw_key(&c->w, STR("global_concurrency_limit"));
    if (!rc) {
        jw_null(&c->w);
        return 0;
    }
    static const char *const skip[] = {"denied_slots", "avg_slot_occupancy_seconds", NULL};
    jw_object(&c->w);
    record_print(&c->w, &concurrency_limit_resource, &l, skip);
    jw_end(&c->w);
    return 0;
}

int deployment_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    static const char *const skip[] = {"work_queue_name", NULL};
    struct deployment own = *(const struct deployment *)rec;
    const struct deployment *d = &own;
    own.last_polled = MAX(own.last_polled, stmt_is_null(row, extra + 3) ? TIME_NONE : stmt_int(row, extra + 3));
    Str pool = str_dup(c->a, stmt_str(row, extra + 1)), queue = str_dup(c->a, stmt_str(row, extra + 2));
    ScheduleList list = {0};
    if (schedules_of(c, d->id, &list, err) < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &deployment_resource, d, skip);
    jw_kstr(&c->w, "work_queue_name", queue.p ? queue : d->work_queue_name);
    jw_kstr(&c->w, "work_pool_name", pool);
    jw_key(&c->w, STR("schedules"));
    jw_array(&c->w);
    for (size_t i = 0; i < list.n; i++)
        schedule_print_row(&c->w, &list.v[i]);
    jw_end(&c->w);
    if (print_limit(c, d->concurrency_limit_id, err) < 0)
        return -1;
    /* what 2.x reads */
    jw_kraw(&c->w, "infra_overrides", d->job_variables);
    jw_kbool(&c->w, "is_schedule_active", d->paused != 1);
    jw_knull(&c->w, "manifest_path");
    jw_kraw(&c->w, "schedule", list.n ? list.v[0].schedule : STR_NONE);
    jw_end(&c->w);
    return 0;
}

static int found(int rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Deployment") : rc < 0 ? -1 : 0;
}

int deployment_load(struct call *c, Uuid id, bool lock, struct deployment *ret, struct err *err)
{
    return found(lock ? record_lock(c->conn, c->a, &deployment_resource, id, ret, err)
                      : record_by_id(c->conn, c->a, &deployment_resource, id, ret, err),
                 err);
}

static int print_by_id(struct call *c, Uuid id, struct err *err)
{
    return found(list_one(c, &deployment_listing, "deployment.id = ", id, deployment_print, err), err);
}

/* ---- in ---- */

/* Both generations' bodies into one record: the older spellings fill what the newer ones leave unset. */
static void parse(struct call *c, int view, struct deployment *d, ScheduleList *schedules)
{
    call_read(c, &deployment_resource, view, d);
    parameters_check(c, d->parameters);
    if (IS_SET(d, deployment__infra_overrides) && d->infra_overrides.p && !IS_SET(d, deployment__job_variables)) {
        d->job_variables = d->infra_overrides;
        SET_FIELD(d, deployment__job_variables);
    }
    if (IS_SET(d, deployment__is_schedule_active) && d->is_schedule_active != BOOL_NONE && !IS_SET(d, deployment__paused)) {
        d->paused = !d->is_schedule_active;
        SET_FIELD(d, deployment__paused);
    }
    if (d->concurrency_limit != INT_NONE && !uuid_is_nil(d->global_concurrency_limit_id))
        violation_add(&c->violations, "value_error", STR("global_concurrency_limit_id"), json_getz(c->body, "global_concurrency_limit_id"),
                      "cannot be given together with concurrency_limit");
    const struct json *list = json_getz(c->body, "schedules"), *single = json_getz(c->body, "schedule");
    if (!json_is_null(list)) {
        Str before = violations_enter(&c->violations, STR("schedules"));
        schedules_parse(c, list, view, schedules);
        c->violations.prefix = before;
    } else if (!json_is_null(single)) {
        struct json_member *m = arena_new(c->a, struct json_member);
        *m = (struct json_member){STR("schedule"), *single};
        struct json *one = arena_new(c->a, struct json), *many = arena_new(c->a, struct json);
        *one = (struct json){.kind = JSON_OBJECT, .raw = single->raw, .object = {m, 1}};
        *many = (struct json){.kind = JSON_ARRAY, .raw = single->raw, .array = {one, 1}};
        schedules_parse(c, many, CREATE, schedules);
        SET_FIELD(d, deployment__schedules);
    }
}

/* work_pool_name and work_queue_name → the queue, made where it is missing. */
static int resolve_queue(struct call *c, struct deployment *d, struct err *err)
{
    struct work_pool pool;
    struct work_queue queue;
    if (d->work_pool_name.p) {
        if (pool_find(c, d->work_pool_name, &pool, err) < 0)
            return -1;
        if (d->work_queue_name.p) {
            if (queue_ensure(c, &pool, d->work_queue_name, &queue, err) < 0)
                return -1;
        } else if (record_by_id(c->conn, c->a, &work_queue_resource, pool.default_queue_id, &queue, err) < 0) {
            return -1;
        }
    } else if (d->work_queue_name.p) {
        if (pool_ensure_agent(c, &pool, err) < 0 || queue_ensure(c, &pool, d->work_queue_name, &queue, err) < 0)
            return -1;
    } else {
        return 0;
    }
    d->work_queue_id = queue.id;
    d->work_queue_name = queue.name;
    SET_FIELD(d, deployment__work_queue_id);
    SET_FIELD(d, deployment__work_queue_name);
    return 0;
}

int job_variables_check(struct call *c, Uuid queue_id, const Str *overrides, size_t n, int flags, const char *prefix, struct err *err)
{
    if (uuid_is_nil(queue_id))
        return 0;
    Str text;
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err,
            "SELECT work_pool.base_job_template, work_pool.type FROM work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id WHERE work_queue.id = $1", "u", queue_id);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc <= 0)
            return rc;
        text = str_dup(c->a, stmt_str(q, 0));
        if (str_ends(stmt_str(q, 1), STR(":managed"))) /* our own to run: what is not opened would be passed over in silence */
            flags |= TEMPLATE_CLOSED;
    }
    const struct json *template = json_parse(c->a, text, err);
    if (!template)
        return -1;
    const struct json *list[4];
    struct hydrate_context world = call_hydrate_context(c);
    for (size_t i = 0; i < n && i < COUNT_OF(list); i++) {
        list[i] = NULL;
        struct err why;
        const struct json *v = overrides[i].p ? json_parse(c->a, overrides[i], err) : NULL;
        if (overrides[i].p && !v)
            return -1;
        if (v && !(list[i] = hydrate(c->a, v, &world, &why)))
            return err_set(err, ERR_UNPROCESSABLE, "%s: %s", prefix, why.text);
    }
    struct err why;
    if (!template_variables(c->a, template, list, n, flags, &why))
        return err_set(err, ERR_UNPROCESSABLE, "%s: %s", prefix, why.text);
    return 0;
}

/* Parameters against the deployment's schema, `required` aside: a run may still give what is missing. */
static int check_parameters(struct call *c, Str schema_text, Str parameters, Str *ret_why, struct err *err)
{
    const struct json *schema = json_parse(c->a, schema_text.p ? schema_text : STR("{}"), err);
    const struct json *values = schema ? json_parse(c->a, parameters.p ? parameters : STR("{}"), err) : NULL;
    if (!values)
        return -1;
    struct err why;
    struct schema_errors errors = {0};
    *ret_why = STR_NONE;
    if (schema_validate(c->a, schema_preprocess(c->a, schema), values, SCHEMA_IGNORE_REQUIRED, NULL, NULL, &errors, &why) < 0)
        *ret_why = str_dup(c->a, str_of(why.text));
    else if (errors.list.n)
        *ret_why = schema_error_text(c->a, &errors);
    return 0;
}

/* The limit `deployment:<id>` made, changed or removed; or an existing one linked. */
static int apply_limit(struct call *c, struct deployment *d, Uuid before, struct err *err)
{
    if (IS_SET(d, deployment__global_concurrency_limit_id)) {
        d->concurrency_limit_id = d->global_concurrency_limit_id;
    } else if (IS_SET(d, deployment__concurrency_limit) && d->concurrency_limit == INT_NONE) {
        d->concurrency_limit_id = UUID_NIL;
        if (db_exec(c->conn, err, "DELETE FROM concurrency_limit_v2 WHERE id = $1 AND name = $2", "us", before,
                    str_fmt(c->a, "deployment:%s", uuid_text(d->id).s)) < 0)
            return -1;
    } else if (IS_SET(d, deployment__concurrency_limit)) {
        struct concurrency_limit l = {.id = uuid_v7(), .created = c->now, .updated = c->now, .active = 1, .limit = d->concurrency_limit,
                                      .name = str_fmt(c->a, "deployment:%s", uuid_text(d->id).s), .avg_slot_occupancy_seconds = 2.0};
        if (record_insert(c->conn, &concurrency_limit_resource, &l, "ON CONFLICT (name) DO UPDATE SET \"limit\" = excluded.\"limit\", updated = excluded.updated", err) < 0 ||
            db_get_uuid(c->conn, err, &l.id, "SELECT id FROM concurrency_limit_v2 WHERE name = $1", "s", l.name) < 0)
            return -1;
        d->concurrency_limit_id = l.id;
    } else {
        return 0;
    }
    outbox_alarm(&c->outbox, ALARM_SLOT, c->now);
    return record_update(c->conn, &deployment_resource, d, (FieldSet)1 << deployment__concurrency_limit_id, d->id, err) < 0 ? -1 : 0;
}

/* The blocks that a body names must be there. */
static int check_references(struct call *c, const struct deployment *d, struct err *err)
{
    if (call_refers(c, "storage_document_id", &block_document_resource, d->storage_document_id, err) < 0 ||
        call_refers(c, "infrastructure_document_id", &block_document_resource, d->infrastructure_document_id, err) < 0)
        return -1;
    if (call_refers(c, "global_concurrency_limit_id", &concurrency_limit_resource, d->global_concurrency_limit_id, err) == 0)
        return 0;
    return err->code == ERR_CONFLICT ? call_not_found(err, "Concurrency limit") : -1;
}

static void event(struct call *c, const struct deployment *d, const char *what)
{
    event_resource_changed(c, "deployment", what, d->id, d->name, STR_NONE);
}

/* d->labels := flow's, the id of the flow, and what was sent. */
static int labels_fill(struct call *c, struct deployment *d, struct err *err)
{
    struct scheduling s = call_scheduling(c);
    Str labels;
    if (run_labels(&s, d->flow_id, UUID_NIL, STR_NONE, &labels, err) < 0)
        return -1;
    d->labels = json_merge(c->a, labels, d->labels);
    return 0;
}

int deployments_create(struct call *c, struct err *err)
{
    struct deployment d, old;
    ScheduleList schedules = {0};
    parse(c, CREATE, &d, &schedules);
    if (call_invalid(c, err) < 0 || check_references(c, &d, err) < 0 || resolve_queue(c, &d, err) < 0)
        return -1;
    Str why;
    if (IS_SET(&d, deployment__enforce_parameter_schema) && d.enforce_parameter_schema == 1) {
        if (check_parameters(c, d.parameter_openapi_schema, d.parameters, &why, err) < 0)
            return -1;
        if (why.p)
            return err_set(err, ERR_UNPROCESSABLE, "Error creating deployment: %.*s", STR_ARG(why));
    }
    if (job_variables_check(c, d.work_queue_id, &d.job_variables, 1, SCHEMA_IGNORE_REQUIRED, "Error creating deployment", err) < 0)
        return -1;
    int rc = record_find(c->conn, c->a, &deployment_resource, &old, err, "flow_id = $1 AND name = $2", "us", d.flow_id, d.name);
    if (rc < 0)
        return -1;
    if ((!rc || IS_SET(&d, deployment__labels)) && labels_fill(c, &d, err) < 0)
        return -1;
    d.updated = c->now;
    d.updated_by = created_by_header(c);
    FieldSet given = d.set;
    if (rc) {
        d.id = old.id;
        SET_FIELD(&d, deployment__updated);
        if (d.updated_by.p)
            SET_FIELD(&d, deployment__updated_by);
        if (record_update(c->conn, &deployment_resource, &d, d.set, d.id, err) < 0)
            return -1;
        if (!(given >> deployment__paused & 1))
            d.paused = old.paused;
        event(c, &d, "updated");
    } else {
        d.id = uuid_v7();
        d.created = c->now;
        d.created_by = d.updated_by;
        d.status = STR("NOT_READY");
        if (record_insert(c->conn, &deployment_resource, &d, "", err) < 0)
            return -1;
        c->status = 201;
        event(c, &d, "created");
    }
    if (apply_limit(c, &d, rc ? old.concurrency_limit_id : UUID_NIL, err) < 0)
        return -1;
    if ((!rc || (d.set >> deployment__schedules & 1)) && schedules_replace(c, d.id, &schedules, err) < 0)
        return -1;
    return schedules_changed(c, &d, err) < 0 ? -1 : print_by_id(c, d.id, err);
}

int deployments_update(struct call *c, struct err *err)
{
    struct deployment d, old;
    ScheduleList schedules = {0};
    parse(c, UPDATE, &d, &schedules);
    if (call_invalid(c, err) < 0 || deployment_load(c, c->id, true, &old, err) < 0 || check_references(c, &d, err) < 0 || resolve_queue(c, &d, err) < 0)
        return -1;
    d.id = old.id;
    d.name = old.name;
    bool enforce = IS_SET(&d, deployment__enforce_parameter_schema) ? d.enforce_parameter_schema == 1 : old.enforce_parameter_schema == 1;
    if (enforce && (IS_SET(&d, deployment__parameters) || IS_SET(&d, deployment__parameter_openapi_schema))) {
        Str why, schema = IS_SET(&d, deployment__parameter_openapi_schema) ? d.parameter_openapi_schema : old.parameter_openapi_schema;
        if (check_parameters(c, schema, IS_SET(&d, deployment__parameters) ? d.parameters : old.parameters, &why, err) < 0)
            return -1;
        if (why.p)
            return err_set(err, ERR_CONFLICT, "Error updating deployment: %.*s", STR_ARG(why));
    }
    if (IS_SET(&d, deployment__job_variables)) {
        Uuid queue = uuid_is_nil(d.work_queue_id) ? old.work_queue_id : d.work_queue_id;
        if (job_variables_check(c, queue, &d.job_variables, 1, SCHEMA_IGNORE_REQUIRED, "Error updating deployment", err) < 0) {
            if (err->code == ERR_UNPROCESSABLE)
                err->code = ERR_CONFLICT;
            return -1;
        }
    }
    d.updated = c->now;
    SET_FIELD(&d, deployment__updated);
    d.updated_by = created_by_header(c);
    if (d.updated_by.p)
        SET_FIELD(&d, deployment__updated_by);
    if (record_update(c->conn, &deployment_resource, &d, d.set, d.id, err) < 0 || apply_limit(c, &d, old.concurrency_limit_id, err) < 0)
        return -1;
    if (IS_SET(&d, deployment__schedules) && schedules_patch(c, d.id, &schedules, err) < 0)
        return -1;
    if (!IS_SET(&d, deployment__paused))
        d.paused = old.paused;
    event(c, &d, "updated");
    return schedules_changed(c, &d, err) < 0 ? -1 : call_empty(c, 204);
}

static int delete_one(struct call *c, Uuid id, struct err *err)
{
    struct deployment d;
    int rc = record_lock(c->conn, c->a, &deployment_resource, id, &d, err);
    if (rc <= 0)
        return rc;
    if (subflows_release(c, "SELECT task_run.id FROM task_run JOIN flow_run ON flow_run.id = task_run.flow_run_id"
                            " WHERE flow_run.deployment_id = $1 AND flow_run.state_type = 'SCHEDULED'", id, err) < 0 ||
        db_exec(c->conn, err, "DELETE FROM flow_run WHERE deployment_id = $1 AND state_type = 'SCHEDULED'", "u", id) < 0 ||
        record_delete(c->conn, &deployment_resource, id, err) < 0 ||
        db_exec(c->conn, err, "DELETE FROM concurrency_limit_v2 WHERE name = $1", "s", str_fmt(c->a, "deployment:%s", uuid_text(id).s)) < 0)
        return -1;
    event(c, &d, "deleted");
    return 1;
}

int deployments_delete(struct call *c, struct err *err)
{
    int rc = delete_one(c, c->id, err);
    return rc > 0 ? call_empty(c, 204) : found(rc, err);
}

int deployments_bulk_delete(struct call *c, struct err *err)
{
    return bulk_delete(c, &deployment_listing, delete_one, err);
}

int deployments_read(struct call *c, struct err *err)
{
    return print_by_id(c, c->id, err);
}

int deployments_read_by_name(struct call *c, struct err *err)
{
    Uuid id;
    int rc = db_get_uuid(c->conn, err, &id, "SELECT deployment.id FROM deployment JOIN flow ON flow.id = deployment.flow_id WHERE flow.name = $1 AND deployment.name = $2",
                         "ss", c->params[0], c->params[1]);
    return rc <= 0 ? found(rc, err) : print_by_id(c, id, err);
}

int deployments_filter(struct call *c, struct err *err)
{
    return list_filter(c, &deployment_listing, NULL, deployment_print, err);
}

int deployments_count(struct call *c, struct err *err)
{
    return list_count(c, &deployment_listing, err);
}

int deployments_paginate(struct call *c, struct err *err)
{
    return list_paginate(c, &deployment_listing, deployment_print, err);
}

int deployments_work_queue_check(struct call *c, struct err *err)
{
    struct deployment d;
    struct work_queue q;
    if (deployment_load(c, c->id, false, &d, err) < 0)
        return -1;
    jw_array(&c->w);
    int rc = uuid_is_nil(d.work_queue_id) ? 0 : record_by_id(c->conn, c->a, &work_queue_resource, d.work_queue_id, &q, err);
    if (rc < 0)
        return -1;
    if (rc) {
        jw_object(&c->w);
        record_print(&c->w, &work_queue_resource, &q, work_queue_plain_resource.without);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return 0;
}
