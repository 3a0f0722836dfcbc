/* What several handlers share. */
#include "api/handlers.h"

#include "base/limits.h"

#include <sodium.h>
#include <string.h>

void event_resource_changed(struct call *c, const char *kind, const char *what, Uuid id, Str name, Str payload)
{
    outbox_changed(&c->outbox, c->now, kind, what, id, name, STR_NONE, payload);
}

/* "task_run" → "task run". */
static Str words_of(struct arena *a, const struct resource *r)
{
    char *text = str_z(a, str_of(r->name));
    for (char *p = text; *p; p++)
        *p = *p == '_' ? ' ' : *p;
    return str_of(text);
}

int bulk_delete(struct call *c, const struct listing *l, int (*one)(struct call *c, Uuid id, struct err *err), struct err *err)
{
    int64_t limit = call_int(c, "limit");
    VEC(Uuid) ids = {0};
    {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        buf_fmt(&q.text, "SELECT %s.id FROM %s", l->resource->table, l->resource->table);
        listing_where(&q, l, c->body, &c->violations);
        buf_fmt(&q.text, " ORDER BY %s.id LIMIT ", l->resource->table);
        sql_int(&q, limit);
        if (call_invalid(c, err) < 0)
            return -1;
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        if (!rows)
            return -1;
        int rc;
        while ((rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &ids, stmt_uuid(rows, 0));
        if (rc < 0)
            return -1;
    }
    jw_object(&c->w);
    jw_key(&c->w, STR("deleted"));
    jw_array(&c->w);
    for (size_t i = 0; i < ids.n; i++) {
        int gone = one(c, ids.v[i], err);
        if (gone < 0)
            return -1;
        if (gone)
            jw_uuid(&c->w, ids.v[i]);
    }
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}

int call_refers(struct call *c, const char *key, const struct resource *to, Uuid id, struct err *err)
{
    if (uuid_is_nil(id))
        return 0;
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE id = $1", to->table);
    int64_t one;
    int rc = db_get_int(c->conn, err, &one, sql, "u", id);
    return rc != 0 ? MIN(rc, 0) : err_set(err, ERR_CONFLICT, "%s names %s, and there is no such %s.", key, uuid_text(id).s, words_of(c->a, to).p);
}

int subflows_release(struct call *c, const char *tasks, Uuid id, struct err *err)
{
    char sql[256];
    snprintf(sql, sizeof sql, "UPDATE flow_run SET parent_task_run_id = NULL WHERE parent_task_run_id IN (%s)", tasks);
    return db_exec(c->conn, err, sql, "u", id) < 0 ? -1 : 0;
}

void parameters_check(struct call *c, Str parameters)
{
    if (parameters.n > LIMIT_PARAMETERS)
        violation_add(&c->violations, "value_error", STR("parameters"), NULL,
                      str_fmt(c->a, "must not be larger than %zu bytes", LIMIT_PARAMETERS).p);
}

Str created_by_header(struct call *c)
{
    Str id = exchange_header(c->x, "Prefect-Automation-ID"), name = exchange_header(c->x, "Prefect-Automation-Name");
    Uuid uuid;
    unsigned char text[512];
    size_t n = 0;
    if (!id.p || !uuid_parse(id, &uuid))
        return STR_NONE;
    if (name.p && (name.n > 600 || sodium_base642bin(text, sizeof text, name.p, name.n, "=", &n, NULL,
                                                     sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0))
        n = 0;
    struct created_by by;
    record_init(&created_by_shape, &by);
    by.id = uuid;
    by.type = STR("AUTOMATION");
    if (n && str_utf8_valid((Str){(const char *)text, n}))
        by.display_value = str_dup(c->a, (Str){(const char *)text, n});
    return shape_text(c->a, &created_by_shape, &by);
}

struct scheduling call_scheduling(struct call *c)
{
    return (struct scheduling){c->conn, c->a, c->now, &c->outbox, c->ws};
}
