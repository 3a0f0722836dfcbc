/* What the web UIs ask beside the resources' own routes. */
#include "api/handlers.h"
#include "api/list.h"
#include "base/limits.h"

#include <string.h>


/* ---- a figure for each of the asked ids ---- */

static bool asked_before(const Uuid *ids, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (uuid_eq(ids[k], ids[i]))
            return true;
    return false;
}

/* {id: number}: `text` selects id and count, and ends before " AND <column> IN (…) GROUP BY <column>". */
static int counts_by_id(struct call *c, const char *key, const char *text, const char *column, struct err *err)
{
    size_t n;
    Uuid *ids = call_uuids(c, key, &n);
    int64_t counts[LIMIT_PAGE] = {0};
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, text);
    sql_in_uuids(&q, column, ids, n);
    buf_fmt(&q.text, " GROUP BY %s", column);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        Uuid id = stmt_uuid(rows, 0);
        for (size_t i = 0; i < n; i++)
            if (uuid_eq(ids[i], id))
                counts[i] = stmt_int(rows, 1);
    }
    jw_object(&c->w);
    for (size_t i = 0; i < n; i++) {
        if (asked_before(ids, i))
            continue;
        jw_key(&c->w, str_of(uuid_text(ids[i]).s));
        jw_int(&c->w, counts[i]);
    }
    jw_end(&c->w);
    return rc;
}

int ui_flow_runs_count_task_runs(struct call *c, struct err *err)
{
    /* one that stands for a subflow is counted where the subflow is */
    return counts_by_id(c, "flow_run_ids",
                        "SELECT task_run.flow_run_id, count(*) FROM task_run"
                        " WHERE NOT EXISTS (SELECT 1 FROM flow_run AS sub WHERE sub.parent_task_run_id = task_run.id) AND ",
                        "task_run.flow_run_id", err);
}

int ui_flows_count_deployments(struct call *c, struct err *err)
{
    return counts_by_id(c, "flow_ids", "SELECT deployment.flow_id, count(*) FROM deployment WHERE ", "deployment.flow_id", err);
}

int ui_flows_next_runs(struct call *c, struct err *err)
{
    size_t n;
    Uuid *ids = call_uuids(c, "flow_ids", &n);
    struct flow_run next[LIMIT_PAGE];
    if (call_invalid(c, err) < 0)
        return -1;
    memset(next, 0, sizeof next);
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT flow_run.flow_id, flow_run.id, flow_run.name, flow_run.state_name, flow_run.next_scheduled_start_time"
              " FROM flow JOIN flow_run ON flow_run.id = (SELECT due.id FROM flow_run AS due WHERE due.flow_id = flow.id"
              " AND due.state_type = 'SCHEDULED' AND due.next_scheduled_start_time IS NOT NULL"
              " ORDER BY due.next_scheduled_start_time, due.id LIMIT 1) WHERE ");
    sql_in_uuids(&q, "flow.id", ids, n);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        Uuid flow = stmt_uuid(rows, 0);
        for (size_t i = 0; i < n; i++)
            if (uuid_eq(ids[i], flow))
                next[i] = (struct flow_run){.id = stmt_uuid(rows, 1), .name = str_dup(c->a, stmt_str(rows, 2)),
                                            .state_name = str_dup(c->a, stmt_str(rows, 3)), .next_scheduled_start_time = stmt_int(rows, 4)};
    }
    jw_object(&c->w);
    for (size_t i = 0; i < n; i++) {
        if (asked_before(ids, i))
            continue;
        jw_key(&c->w, str_of(uuid_text(ids[i]).s));
        if (uuid_is_nil(next[i].id)) {
            jw_null(&c->w);
            continue;
        }
        jw_object(&c->w);
        jw_kuuid(&c->w, "id", next[i].id);
        jw_kuuid(&c->w, "flow_id", ids[i]);
        jw_kstr(&c->w, "name", next[i].name);
        jw_kstr(&c->w, "state_name", next[i].state_name);
        jw_kz(&c->w, "state_type", "SCHEDULED");
        jw_ktime(&c->w, "next_scheduled_start_time", next[i].next_scheduled_start_time);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return rc;
}

/* ---- a task run with its flow run's name ---- */

static int print_task_run(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(err);
    struct state state;
    bool has = state_load(c->a, row, extra, &state);
    jw_object(&c->w);
    task_run_print_fields(c, rec, has ? &state : NULL);
    jw_kstr(&c->w, "flow_run_name", stmt_str(row, extra + 7));
    jw_end(&c->w);
    return 0;
}

int ui_task_runs_read(struct call *c, struct err *err)
{
    struct listing l = task_run_listing;
    l.from = str_z(c->a, str_fmt(c->a, "%s LEFT JOIN flow_run AS of_flow ON of_flow.id = task_run.flow_run_id", task_run_listing.from));
    l.columns = str_z(c->a, str_fmt(c->a, "%s, of_flow.name", task_run_listing.columns));
    int rc = list_one(c, &l, "task_run.id = ", c->id, print_task_run, err);
    return rc == 0 ? call_not_found(err, "Task run") : rc < 0 ? -1 : 0;
}

/* ---- forms and templates ---- */

int ui_schemas_validate(struct call *c, struct err *err)
{
    const struct json *schema = call_json(c, "schema"), *values = call_json(c, "values");
    struct hydrate_context world = call_hydrate_context(c);
    struct hydrate_marks marks = {0};
    struct schema_errors errors = {0};
    struct err why;
    if (schema_check(c->a, schema, &why) < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid schema: %s", why.text);
    values = hydrate_form(c->a, values, &world, &marks, &why);
    if (!values)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid values: %s", why.text);
    if (schema_validate(c->a, schema_preprocess(c->a, schema), values, 0, NULL, NULL, &errors, &why) < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid schema: %s", why.text);
    hydrate_marks_apply(c->a, &marks, &errors);
    jw_object(&c->w);
    jw_key(&c->w, STR("errors"));
    schema_errors_print(&errors, &c->w);
    jw_kbool(&c->w, "valid", errors.list.n == 0);
    jw_end(&c->w);
    return 0;
}

int templates_validate(struct call *c, struct err *err)
{
    Str text = json_is_null(c->body) ? STR("") : c->body->string;
    struct err why;
    int line = 1;
    if (jinja_check(text, &line, &why) == 0)
        return call_empty(c, 204);
    c->status = 422;
    jw_object(&c->w);
    jw_key(&c->w, STR("error"));
    jw_object(&c->w);
    jw_kint(&c->w, "line", line);
    jw_kz(&c->w, "message", why.text);
    jw_kstr(&c->w, "source", text);
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}
