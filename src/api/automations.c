/* Automations: what is done when something happens. Here they are made, checked and listed. */
#include "api/deployments.h"
#include "api/handlers.h"
#include "api/list.h"
#include "base/limits.h"
#include "events/automation.h"

static int found(struct call *c, int64_t rc, struct err *err)
{
    if (rc == 0)
        c->exception_shape = true;
    return rc == 0 ? call_not_found(err, "Automation") : rc < 0 ? -1 : 0;
}

static void tell(struct call *c, const char *what, const struct automation *automation)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    record_print(&w, &automation_resource, automation, NULL);
    jw_end(&w);
    event_resource_changed(c, "automation", what, automation->id, automation->name, str_dup(c->a, buf_view(&b)));
}

/* ---- bodies ---- */

static Str settled(struct call *c, const char *key, Str (*settle)(struct arena *, const struct json *, struct violations *), enum json_kind kind, Str as_it_was)
{
    const struct json *sent = json_get(c->body, str_of(key));
    if (!json_is(sent, kind))
        return as_it_was; /* not sent, or refused by its field's type */
    Str before = violations_enter(&c->violations, str_of(key));
    Str text = settle(c->a, sent, &c->violations);
    c->violations.prefix = before;
    return text;
}

/* Refuses one that would set itself off for ever; `enabled` false cannot. */
static int check_loops(struct call *c, bool enabled, Str trigger, Str actions, struct err *err)
{
    const struct json *t = enabled ? json_parse(c->a, trigger, err) : NULL, *list = t ? json_parse(c->a, actions, err) : NULL;
    if (enabled && !list)
        return -1;
    const char *why = enabled ? automation_loops(t, list) : NULL;
    if (why)
        violation_add(&c->violations, "value_error", STR_NONE, c->body, why);
    return call_invalid(c, err);
}

/* Job variables of the deployments that are run must fit their pools. Those of the deployment itself do not count here, as published. */
static int check_job_variables(struct call *c, int view, Str actions, struct err *err)
{
    const struct json *list = json_parse(c->a, actions, err);
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        const struct json *variables = json_getz(&list->array.items[i], "job_variables");
        struct deployment d;
        Uuid id;
        if (!json_is(variables, JSON_OBJECT) || (view == CREATE && !variables->object.n) || !uuid_parse(json_get_str(&list->array.items[i], STR("deployment_id")), &id))
            continue;
        int rc = record_by_id(c->conn, c->a, &deployment_resource, id, &d, err);
        if (rc <= 0)
            return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "Deployment not found.");
        if (variables->object.n && job_variables_check(c, d.work_queue_id, &variables->raw, 1, 0, "Error creating automation", err) < 0)
            return -1;
    }
    return list ? 0 : -1;
}

static int parse(struct call *c, int view, struct automation *ret, struct err *err)
{
    call_read(c, &automation_resource, view, ret);
    ret->trigger = settled(c, "trigger", trigger_settle, JSON_OBJECT, ret->trigger);
    ret->actions = settled(c, "actions", actions_settle, JSON_ARRAY, ret->actions);
    ret->actions_on_trigger = settled(c, "actions_on_trigger", actions_settle, JSON_ARRAY, ret->actions_on_trigger);
    ret->actions_on_resolve = settled(c, "actions_on_resolve", actions_settle, JSON_ARRAY, ret->actions_on_resolve);
    if (call_invalid(c, err) < 0 || check_loops(c, ret->enabled != 0, ret->trigger, ret->actions, err) < 0)
        return -1;
    return check_job_variables(c, view, ret->actions, err);
}

/* ---- what they are about ---- */

static int relate(struct call *c, Uuid automation, Str resource, bool owned, struct err *err)
{
    /* what owns it still owns it where it is also run */
    int64_t n = db_exec(c->conn, err,
                        "INSERT INTO automation_related_resource (automation_id, resource_id, owned) VALUES ($1, $2, $3)"
                        " ON CONFLICT (automation_id, resource_id) DO UPDATE SET owned = CASE WHEN excluded.owned = 1 THEN 1 ELSE automation_related_resource.owned END",
                        "uso", automation, resource, (int)owned);
    return n < 0 ? -1 : 0;
}

/* The deployments that its actions select. */
static int relate_deployments(struct call *c, const struct automation *automation, struct err *err)
{
    UuidList ids = {0};
    const struct json *actions = json_parse(c->a, automation->actions, err);
    if (!actions || db_exec(c->conn, err, "DELETE FROM automation_related_resource WHERE automation_id = $1 AND owned = 0", "u", automation->id) < 0)
        return -1;
    actions_deployments(c->a, actions, &ids);
    for (size_t i = 0; i < ids.n; i++)
        if (relate(c, automation->id, str_fmt(c->a, "prefect.deployment.%s", uuid_text(ids.v[i]).s), false, err) < 0)
            return -1;
    return 0;
}

typedef VEC(struct automation) Automations;

static int find_related(struct call *c, Str resource, bool owned, Automations *ret, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&automation_resource));
    sql_z(&q, " FROM automation JOIN automation_related_resource AS related ON related.automation_id = automation.id WHERE related.resource_id = ");
    sql_str(&q, resource);
    sql_z(&q, owned ? " AND related.owned = 1" : "");
    sql_z(&q, " ORDER BY automation.id");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct automation one;
        record_load(c->a, &automation_resource, rows, 0, &one);
        vec_push(c->a, ret, one);
    }
    return rc;
}

/* ---- handlers ---- */

int automations_create(struct call *c, struct err *err)
{
    struct automation automation;
    if (parse(c, CREATE, &automation, err) < 0)
        return -1;
    automation.id = uuid_v7();
    automation.created = automation.updated = c->now;
    if (record_insert(c->conn, &automation_resource, &automation, "", err) < 0 || relate_deployments(c, &automation, err) < 0)
        return -1;
    if (automation.owner_resource.n && relate(c, automation.id, automation.owner_resource, true, err) < 0)
        return -1;
    tell(c, "created", &automation);
    return record_print_object(c, &automation_resource, &automation);
}

int automations_read(struct call *c, struct err *err)
{
    struct automation automation;
    if (found(c, record_by_id(c->conn, c->a, &automation_resource, c->id, &automation, err), err) < 0)
        return -1;
    return record_print_object(c, &automation_resource, &automation);
}

static int change(struct call *c, struct automation *to, struct err *err)
{
    to->updated = c->now;
    SET_FIELD(to, automation__updated);
    struct automation now;
    if (found(c, record_update(c->conn, &automation_resource, to, to->set, c->id, err), err) < 0 ||
        found(c, record_by_id(c->conn, c->a, &automation_resource, c->id, &now, err), err) < 0)
        return -1;
    tell(c, "updated", &now);
    return call_empty(c, 204);
}

/* All of it but what is not sent: description, enabled, tags and the lesser actions stay as they were. */
int automations_update(struct call *c, struct err *err)
{
    struct automation to;
    if (parse(c, UPDATE, &to, err) < 0 || change(c, &to, err) < 0)
        return -1;
    to.id = c->id;
    return relate_deployments(c, &to, err);
}

/* On or off. */
int automations_switch(struct call *c, struct err *err)
{
    struct automation to, now;
    record_init(&automation_resource, &to);
    to.enabled = call_bool(c, "enabled");
    if (call_json(c, "enabled"))
        SET_FIELD(&to, automation__enabled);
    if (call_invalid(c, err) < 0 || found(c, record_by_id(c->conn, c->a, &automation_resource, c->id, &now, err), err) < 0 ||
        check_loops(c, to.enabled == 1, now.trigger, now.actions, err) < 0)
        return -1;
    return change(c, &to, err);
}

static int delete_one(struct call *c, const struct automation *automation, struct err *err)
{
    int64_t n = record_delete(c->conn, &automation_resource, automation->id, err);
    if (n > 0) /* not by somebody else meanwhile */
        tell(c, "deleted", automation);
    return n < 0 ? -1 : 0;
}

int automations_delete(struct call *c, struct err *err)
{
    struct automation automation;
    if (found(c, record_lock(c->conn, c->a, &automation_resource, c->id, &automation, err), err) < 0 || delete_one(c, &automation, err) < 0)
        return -1;
    return call_empty(c, 204);
}

int automations_delete_owned(struct call *c, struct err *err)
{
    Automations all = {0};
    if (find_related(c, c->params[0], true, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (delete_one(c, &all.v[i], err) < 0)
            return -1;
    return call_null(c);
}

int automations_related(struct call *c, struct err *err)
{
    Automations all = {0};
    if (find_related(c, c->params[0], false, &all, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < all.n; i++)
        record_print_object(c, &automation_resource, &all.v[i]);
    jw_end(&c->w);
    return 0;
}

int automations_filter(struct call *c, struct err *err)
{
    return list_filter(c, &automation_listing, NULL, list_print_record, err);
}

int automations_count(struct call *c, struct err *err)
{
    return list_count(c, &automation_listing, err);
}
