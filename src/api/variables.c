/* Variables: named JSON values that flows and job templates read. */
#include "api/handlers.h"
#include "api/list.h"
#include "store/blocks.h"

#define NAME_MAX_LENGTH 255
#define VALUE_MAX_LENGTH 5000

static int found(int rc, struct err *err)
{
    return rc == 0 ? err_set(err, ERR_NOT_FOUND, "Variable not found.") : rc < 0 ? -1 : 0;
}

static int parse(struct call *c, int view, struct variable *v, struct err *err)
{
    call_read(c, &variable_resource, view, v);
    if (v->name.n > NAME_MAX_LENGTH)
        violation_add(&c->violations, "string_too_long", STR("name"), json_getz(c->body, "name"), "must have at most 255 characters");
    const struct json *value = json_getz(c->body, "value");
    if (value && json_text(c->a, value).n > VALUE_MAX_LENGTH)
        violation_add(&c->violations, "value_error", STR("value"), value, "must have at most 5000 characters as JSON");
    return call_invalid(c, err);
}

static int taken(struct err *err, Str name)
{
    return err_set(err, ERR_CONFLICT, "A variable with the name '%.*s' already exists.", STR_ARG(str_sub(name, 0, 255)));
}

int variables_create(struct call *c, struct err *err)
{
    struct variable v;
    if (parse(c, CREATE, &v, err) < 0)
        return -1;
    v.id = uuid_v7();
    v.created = v.updated = c->now;
    int64_t n = record_insert(c->conn, &variable_resource, &v, "ON CONFLICT (name) DO NOTHING", err);
    if (n <= 0)
        return n < 0 ? -1 : taken(err, v.name);
    event_resource_changed(c, "variable", "created", v.id, v.name, STR_NONE);
    return record_print_object(c, &variable_resource, &v);
}

static int find(struct call *c, bool by_name, struct variable *ret, struct err *err)
{
    return found(by_name ? record_find(c->conn, c->a, &variable_resource, ret, err, "name = $1", "s", c->params[0])
                         : record_by_id(c->conn, c->a, &variable_resource, c->id, ret, err),
                 err);
}

static int read_one(struct call *c, bool by_name, struct err *err)
{
    struct variable v;
    return find(c, by_name, &v, err) < 0 ? -1 : record_print_object(c, &variable_resource, &v);
}

static int update(struct call *c, bool by_name, struct err *err)
{
    struct variable change, v, twin;
    if (parse(c, UPDATE, &change, err) < 0 || find(c, by_name, &v, err) < 0)
        return -1;
    if (IS_SET(&change, variable__name) && !str_eq(change.name, v.name)) {
        int rc = record_find(c->conn, c->a, &variable_resource, &twin, err, "name = $1", "s", change.name);
        if (rc != 0)
            return rc < 0 ? -1 : taken(err, change.name);
    }
    change.updated = c->now;
    SET_FIELD(&change, variable__updated);
    if (record_update(c->conn, &variable_resource, &change, change.set, v.id, err) < 0)
        return -1;
    event_resource_changed(c, "variable", "updated", v.id, v.name, STR_NONE);
    return call_empty(c, 204);
}

static int delete(struct call *c, bool by_name, struct err *err)
{
    struct variable v;
    if (find(c, by_name, &v, err) < 0 || record_delete(c->conn, &variable_resource, v.id, err) < 0)
        return -1;
    event_resource_changed(c, "variable", "deleted", v.id, v.name, STR_NONE);
    return call_empty(c, 204);
}

int variables_read(struct call *c, struct err *err)
{
    return read_one(c, false, err);
}

int variables_read_by_name(struct call *c, struct err *err)
{
    return read_one(c, true, err);
}

int variables_update(struct call *c, struct err *err)
{
    return update(c, false, err);
}

int variables_update_by_name(struct call *c, struct err *err)
{
    return update(c, true, err);
}

int variables_delete(struct call *c, struct err *err)
{
    return delete(c, false, err);
}

int variables_delete_by_name(struct call *c, struct err *err)
{
    return delete(c, true, err);
}

int variables_filter(struct call *c, struct err *err)
{
    return list_filter(c, &variable_listing, NULL, list_print_record, err);
}

int variables_count(struct call *c, struct err *err)
{
    return list_count(c, &variable_listing, err);
}

/* ---- for hydration and templates ---- */

static const struct json *look_up_variable(void *user, Str name, struct err *err)
{
    struct call *c = user;
    struct variable v;
    int rc = record_find(c->conn, c->a, &variable_resource, &v, err, "name = $1", "s", name);
    if (rc <= 0) {
        if (rc == 0)
            err_set(err, ERR_NOT_FOUND, "Variable '%.*s' not found in workspace.", STR_ARG(str_sub(name, 0, 255)));
        return NULL;
    }
    return json_parse(c->a, v.value.p ? v.value : STR("null"), err);
}

static const struct json *look_up_block(void *user, Uuid id, Str slug, Str name, struct err *err)
{
    struct call *c = user;
    struct block_document d;
    int rc;
    if (!uuid_is_nil(id))
        rc = record_by_id(c->conn, c->a, &block_document_resource, id, &d, err);
    else
        rc = record_find(c->conn, c->a, &block_document_resource, &d, err,
                         "block_type_id = (SELECT id FROM block_type WHERE slug = $1) AND name = $2", "ss", slug, name);
    if (rc <= 0) {
        if (rc == 0)
            err_set(err, ERR_NOT_FOUND, "Block document not found");
        return NULL;
    }
    struct block_values values;
    return block_values_read(c->conn, c->a, c->ws->key, &d, &values, err) < 0 ? NULL : values.data;
}

struct hydrate_context call_hydrate_context(struct call *c)
{
    return (struct hydrate_context){c, look_up_variable, look_up_block};
}
