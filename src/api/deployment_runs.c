/* Runs of deployments: asked for now, and those that are due. */
#include "api/deployments.h"
#include "api/list.h"
#include "api/pools.h"

#define BULK_MAX 100 /* runs of one request; published */

/* Parameters := deployment's overlaid with the request's, hydrated; checked against the schema where that is asked for. */
static int parameters_of(struct call *c, const struct deployment *d, const struct deployment_flow_run *ask, Str *ret, struct err *err)
{
    struct err why;
    struct hydrate_context world = call_hydrate_context(c);
    const struct json *values = json_parse(c->a, json_merge(c->a, d->parameters, ask->parameters), err);
    if (!values)
        return -1;
    values = hydrate(c->a, values, &world, &why);
    if (!values)
        return err_set(err, ERR_INVALID, "Error hydrating flow run parameters: %s", why.text);
    *ret = json_text(c->a, values);
    bool enforce = ask->enforce_parameter_schema != BOOL_NONE ? ask->enforce_parameter_schema == 1 : d->enforce_parameter_schema == 1;
    if (!enforce)
        return 0;
    const struct json *schema = d->parameter_openapi_schema.p ? json_parse(c->a, d->parameter_openapi_schema, err) : NULL;
    if (!json_is(schema, JSON_OBJECT))
        return err_set(err, ERR_CONFLICT, "Error creating flow run: the deployment enforces a parameter schema but has none that is valid.");
    struct schema_errors errors = {0};
    if (schema_validate(c->a, schema_preprocess(c->a, schema), values, 0, NULL, NULL, &errors, &why) < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Error creating flow run: %s", why.text);
    if (errors.list.n)
        return err_set(err, ERR_CONFLICT, "Error creating flow run: %.*s", STR_ARG(schema_error_text(c->a, &errors)));
    return 0;
}

/* Another queue of the deployment's pool, made where it is missing. */
static int other_queue(struct call *c, const struct deployment *d, Str name, struct flow_run *run, struct err *err)
{
    struct work_pool pool;
    struct work_queue queue;
    Uuid pool_id = UUID_NIL;
    int rc = uuid_is_nil(d->work_queue_id) ? 0 : db_get_uuid(c->conn, err, &pool_id, "SELECT work_pool_id FROM work_queue WHERE id = $1", "u", d->work_queue_id);
    if (rc < 0)
        return -1;
    if (!rc)
        return err_set(err, ERR_INVALID, "Cannot set work_queue_name for a run of a deployment that has no work pool.");
    rc = record_by_id(c->conn, c->a, &work_pool_resource, pool_id, &pool, err);
    if (rc <= 0 || queue_ensure(c, &pool, name, &queue, err) < 0)
        return -1;
    run->work_queue_id = queue.id;
    run->work_queue_name = queue.name;
    return 0;
}

/* One DeploymentFlowRunCreate body. */
struct asked {
    struct deployment_flow_run run;
    struct state state;
};

static void ask_parse(struct call *c, const struct json *body, struct asked *ret)
{
    static const struct json empty = {.kind = JSON_OBJECT, .raw = {"{}", 2}};
    ret->state = state_new(STATE_SCHEDULED, STR_NONE, STR_NONE, c->now);
    record_init(&deployment_flow_run_resource, &ret->run);
    record_parse(c->a, &deployment_flow_run_resource, CREATE, body ? body : &empty, &ret->run, &c->violations);
    parameters_check(c, ret->run.parameters);
    const struct json *sent = json_getz(body, "state");
    if (!json_is_null(sent)) {
        Str before = violations_enter(&c->violations, STR("state"));
        state_parse(c->a, sent, c->now, &ret->state, &c->violations);
        c->violations.prefix = before;
    } else {
        struct state_details details;
        state_details_get(c->a, &ret->state, &details);
        details.scheduled_time = c->now;
        state_details_put(c->a, &ret->state, &details);
    }
}

/* The run that was asked for. 1: made, 0: was there, -1. */
static int create_one(struct call *c, const struct deployment *d, const struct asked *asked, struct flow_run *run, struct err *err)
{
    struct deployment_flow_run ask = asked->run;
    record_init(&flow_run_resource, run);
    run->flow_id = d->flow_id;
    run->deployment_id = d->id;
    run->deployment_version = d->version;
    run->work_queue_id = d->work_queue_id;
    run->work_queue_name = d->work_queue_name;
    run->name = ask.name;
    run->context = ask.context;
    run->empirical_policy = ask.empirical_policy;
    run->tags = tags_union(c->a, d->tags, ask.tags);
    run->labels = ask.labels;
    run->idempotency_key = ask.idempotency_key;
    run->parent_task_run_id = ask.parent_task_run_id;
    run->infrastructure_document_id = uuid_is_nil(ask.infrastructure_document_id) ? d->infrastructure_document_id : ask.infrastructure_document_id;
    run->job_variables = ask.job_variables;
    run->created_by = created_by_header(c);
    if (call_refers(c, "parent_task_run_id", &task_run_resource, ask.parent_task_run_id, err) < 0 ||
        call_refers(c, "infrastructure_document_id", &block_document_resource, ask.infrastructure_document_id, err) < 0)
        return -1;
    if (ask.work_queue_name.p && other_queue(c, d, ask.work_queue_name, run, err) < 0)
        return -1;
    Str overrides[] = {d->job_variables, ask.job_variables};
    if (parameters_of(c, d, &ask, &run->parameters, err) < 0 ||
        job_variables_check(c, run->work_queue_id, overrides, COUNT_OF(overrides), 0, "Error creating flow run", err) < 0)
        return -1;
    return flow_run_insert(c, run, &asked->state, err);
}

int deployments_create_flow_run(struct call *c, struct err *err)
{
    struct deployment d;
    struct flow_run run;
    struct asked asked;
    if (deployment_load(c, c->id, false, &d, err) < 0)
        return -1;
    ask_parse(c, c->body, &asked);
    if (call_invalid(c, err) < 0)
        return -1;
    int made = create_one(c, &d, &asked, &run, err);
    if (made < 0)
        return -1;
    c->status = made ? 201 : 200;
    return flow_run_print_by_id(c, run.id, err) == 1 ? 0 : -1;
}

/* A list of runs: each is made or fails alone. */
int deployments_create_flow_run_bulk(struct call *c, struct err *err)
{
    struct deployment d;
    if (!json_is(c->body, JSON_ARRAY))
        violation_add(&c->violations, "list_type", STR_NONE, c->body, "must be a list");
    else if (c->body->array.n > BULK_MAX)
        violation_add(&c->violations, "too_long", STR_NONE, NULL, str_fmt(c->a, "must have at most %d items", BULK_MAX).p);
    if (call_invalid(c, err) < 0 || deployment_load(c, c->id, false, &d, err) < 0)
        return -1;
    size_t n = c->body->array.n;
    struct asked *asked = arena_array(c->a, struct asked, n);
    for (size_t i = 0; i < n; i++) {
        Str before = violations_enter_item(&c->violations, i);
        ask_parse(c, &c->body->array.items[i], &asked[i]);
        c->violations.prefix = before;
    }
    if (call_invalid(c, err) < 0)
        return -1;
    jw_object(&c->w);
    jw_key(&c->w, STR("results"));
    jw_array(&c->w);
    for (size_t i = 0; i < n; i++) {
        struct flow_run run;
        struct err why;
        struct outbox before = c->outbox; /* what an undone run would have told is not told */
        if (db_savepoint(c->conn, err) < 0)
            return -1;
        bool failed = create_one(c, &d, &asked[i], &run, &why) < 0;
        if (failed && (why.code == ERR_DB || why.code == ERR_DISK)) {
            *err = why;
            return -1;
        }
        if ((failed ? db_rollback_to(c->conn, err) : db_release(c->conn, err)) < 0)
            return -1;
        if (failed)
            c->outbox = before;
        jw_object(&c->w);
        jw_kuuid(&c->w, "flow_run_id", failed ? UUID_NIL : run.id);
        jw_kz(&c->w, "status", failed ? "FAILED" : "CREATED");
        jw_kz(&c->w, "error", failed ? why.text : NULL);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}

int deployments_get_scheduled_flow_runs(struct call *c, struct err *err)
{
    const struct json *sent = call_json(c, "deployment_ids");
    Time before = call_time(c, "scheduled_before", TIME_NONE);
    int64_t limit, offset;
    size_t n;
    Uuid *ids = call_uuids(c, "deployment_ids", &n);
    if (call_page(c, &limit, &offset, err) < 0 || call_invalid(c, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "sort", "NEXT_SCHEDULED_START_TIME_ASC");
    jw_kint(&w, "limit", limit);
    jw_key(&w, STR("flow_runs"));
    jw_object(&w);
    jw_kraw(&w, "state", STR("{\"type\":{\"any_\":[\"SCHEDULED\"]}}"));
    jw_kraw(&w, "deployment_id", str_fmt(c->a, "{\"any_\":%.*s}", STR_ARG(sent->raw)));
    if (before != TIME_NONE)
        jw_kraw(&w, "next_scheduled_start_time", str_fmt(c->a, "{\"before_\":\"%s\"}", time_iso(before).s));
    jw_end(&w);
    jw_end(&w);
    c->body = json_parse(c->a, str_dup(c->a, buf_view(&b)), err);
    if (!c->body || deployments_polled(c, false, ids, n, err) < 0)
        return -1;
    return list_filter(c, &flow_run_listing, NULL, flow_run_print, err);
}
