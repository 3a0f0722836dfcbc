/* Input that a paused run waits for, and the end of the pause. */
#include "api/handlers.h"
#include "api/list.h"
#include "schema/hydrate.h"
#include "schema/jsonschema.h"

static int run_exists(struct call *c, struct err *err)
{
    int64_t n;
    int rc = db_get_int(c->conn, err, &n, "SELECT 1 FROM flow_run WHERE id = $1", "u", c->id);
    return rc < 0 ? -1 : rc == 0 ? call_not_found(err, "Flow run") : 0;
}

static int insert(struct call *c, struct flow_run_input *in, struct err *err)
{
    in->id = uuid_v7();
    in->created = in->updated = c->now;
    in->flow_run_id = c->id;
    int64_t n = record_insert(c->conn, &flow_run_input_resource, in, "ON CONFLICT (flow_run_id, key) DO NOTHING", err);
    if (n == 0)
        return err_set(err, ERR_CONFLICT, "A flow run input with this key already exists.");
    return n < 0 ? -1 : 0;
}

int flow_run_input_create(struct call *c, struct err *err)
{
    struct flow_run_input in;
    if (call_parse(c, &flow_run_input_resource, CREATE, &in, err) < 0 || run_exists(c, err) < 0 || insert(c, &in, err) < 0)
        return -1;
    c->status = 201;
    return call_null(c);
}

int flow_run_input_filter(struct call *c, struct err *err)
{
    int64_t limit = call_int(c, "limit");
    Str prefix = call_str(c, "prefix");
    size_t n;
    Str *exclude = call_strs(c, "exclude_keys", &n);
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&flow_run_input_resource));
    sql_z(&q, " FROM flow_run_input WHERE flow_run_id = ");
    sql_uuid(&q, c->id);
    sql_z(&q, " AND key LIKE ");
    sql_str(&q, str_fmt(c->a, "%.*s%%", STR_ARG(prefix)));
    for (size_t i = 0; i < n; i++) {
        sql_z(&q, " AND key <> ");
        sql_str(&q, exclude[i]);
    }
    sql_z(&q, " ORDER BY created, id LIMIT ");
    sql_int(&q, limit);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows)
        return -1;
    jw_array(&c->w);
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        struct flow_run_input in;
        record_load(c->a, &flow_run_input_resource, rows, 0, &in);
        record_print_object(c, &flow_run_input_resource, &in);
    }
    jw_end(&c->w);
    return rc;
}

static int find(struct call *c, Str key, struct flow_run_input *ret, struct err *err)
{
    return record_find(c->conn, c->a, &flow_run_input_resource, ret, err, "flow_run_id = $1 AND key = $2", "us", c->id, key);
}

int flow_run_input_read(struct call *c, struct err *err)
{
    struct flow_run_input in;
    int rc = find(c, c->params[1], &in, err);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Flow run input");
    buf_str(&c->out, in.value);
    c->content_type = "text/plain; charset=utf-8";
    return 0;
}

int flow_run_input_delete(struct call *c, struct err *err)
{
    int64_t n = db_exec(c->conn, err, "DELETE FROM flow_run_input WHERE flow_run_id = $1 AND key = $2", "us", c->id, c->params[1]);
    return n < 0 ? -1 : n == 0 ? call_not_found(err, "Flow run input") : call_empty(c, 204);
}

/* ---- resume ---- */

static int answer(struct call *c, enum verdict verdict, const struct state *state, const char *reason)
{
    struct verdict_result r = {.verdict = verdict, .reason = str_of(reason), .has_state = state != NULL};
    if (state)
        r.state = *state;
    c->status = 200;
    verdict_print(&c->w, &r);
    return 0;
}

/* What was sent fits the schema that the paused run left at keyset.schema: 0; else a sentence in *ret_why and 1; -1. */
static int check_input(struct call *c, const struct json *keyset, const struct json *input, Str *ret_why, struct err *err)
{
    struct flow_run_input stored;
    Str key = json_get_str(keyset, STR("schema"));
    int rc = find(c, key.p ? key : STR(""), &stored, err);
    if (rc < 0)
        return -1;
    if (rc == 0) {
        *ret_why = STR("Run input schema not found.");
        return 1;
    }
    struct err why;
    const struct json *schema = json_parse(c->a, stored.value, &why);
    if (!json_is(schema, JSON_OBJECT)) {
        *ret_why = STR("Run input schema is not valid JSON.");
        return 1;
    }
    struct schema_errors errors = {0};
    if (schema_validate(c->a, schema_preprocess(c->a, schema), input, 0, NULL, NULL, &errors, &why) < 0) {
        *ret_why = str_fmt(c->a, "Invalid schema: %s", why.text);
        return 1;
    }
    if (errors.list.n) {
        *ret_why = str_fmt(c->a, "Reason: %.*s", STR_ARG(schema_error_text(c->a, &errors)));
        return 1;
    }
    return 0;
}

int flow_runs_resume(struct call *c, struct err *err)
{
    struct flow_run run;
    struct state paused;
    struct state_details details;
    const struct json *input = call_json(c, "run_input");
    int rc = record_lock(c->conn, c->a, &flow_run_resource, c->id, &run, err);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Flow run");
    if (!str_eqz(run.state_type, "PAUSED"))
        return answer(c, VERDICT_ABORT, NULL, "Cannot resume a flow run that is not paused.");
    if ((rc = state_find(c->conn, c->a, FLOW_RUN, run.id, run.state_id, &paused, err)) <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "state of run %s is gone", uuid_text(run.id).s);
    state_details_get(c->a, &paused, &details);

    const struct json *keyset = NULL;
    struct err why;
    if (details.run_input_keyset.p && !(keyset = json_parse(c->a, details.run_input_keyset, &why)))
        return err_set(err, ERR_INTERNAL, "input keys of run %s: %s", uuid_text(run.id).s, why.text);
    if (keyset) {
        struct json *empty = arena_new(c->a, struct json);
        *empty = (struct json){.kind = JSON_OBJECT, .raw = STR("{}")};
        struct hydrate_context world = call_hydrate_context(c);
        input = hydrate(c->a, json_is_null(input) ? empty : input, &world, &why);
        if (!input)
            return answer(c, VERDICT_REJECT, &paused, str_fmt(c->a, "Error hydrating run input: %s", why.text).p);
        Str text;
        if ((rc = check_input(c, keyset, input, &text, err)) != 0)
            return rc < 0 ? -1 : answer(c, VERDICT_REJECT, &paused, str_z(c->a, text));
    }
    struct state next = details.pause_reschedule == 1 ? state_new(STATE_SCHEDULED, STR("Resuming"), STR_NONE, c->now)
                                                      : state_new(STATE_RUNNING, STR_NONE, STR_NONE, c->now);
    if (details.pause_reschedule == 1) {
        struct state_details d;
        state_details_get(c->a, &next, &d);
        d.scheduled_time = c->now;
        state_details_put(c->a, &next, &d);
    }
    struct orchestration o = call_orchestration(c, POLICY_CORE, false);
    struct verdict_result result;
    if (orchestrate_flow_run(&o, &run, &next, &result, err) < 0)
        return -1;
    if (keyset && input && result.verdict == VERDICT_ACCEPT) {
        struct flow_run_input response = {.key = json_get_str(keyset, STR("response")), .value = json_text(c->a, input)};
        if (response.key.p && insert(c, &response, err) < 0)
            return -1;
    }
    c->status = result.wrote ? 201 : 200;
    verdict_print(&c->w, &result);
    return 0;
}
