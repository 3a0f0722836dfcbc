/* Blocks: types, their schemas, and documents whose secrets are sealed. */
#include "api/handlers.h"
#include "api/list.h"
#include "services/catalogue.h"
#include "store/blocks.h"

#include <string.h>

static int found(int rc, const char *what, struct err *err)
{
    return rc == 0 ? call_not_found(err, what) : rc < 0 ? -1 : 0;
}

/* ---- types ---- */

static Str escape_html(struct arena *a, Str s)
{
    if (!s.p)
        return s;
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&':
            buf_z(&b, "&amp;");
            break;
        case '<':
            buf_z(&b, "&lt;");
            break;
        case '>':
            buf_z(&b, "&gt;");
            break;
        default:
            buf_char(&b, s.p[i]);
        }
    }
    return str_dup(a, buf_view(&b));
}

static int type_by_slug(struct call *c, Str slug, struct block_type *ret, struct err *err)
{
    return found(record_find(c->conn, c->a, &block_type_resource, ret, err, "slug = $1", "s", slug), "Block type", err);
}

static int type_by_id(struct call *c, Uuid id, struct block_type *ret, struct err *err)
{
    return found(record_by_id(c->conn, c->a, &block_type_resource, id, ret, err), "Block type", err);
}

int block_types_create(struct call *c, struct err *err)
{
    struct block_type t;
    if (call_parse(c, &block_type_resource, CREATE, &t, err) < 0)
        return -1;
    if (str_starts(t.name, STR("Prefect")))
        return err_set(err, ERR_FORBIDDEN, "Block type names that start with 'Prefect' are reserved.");
    t.id = uuid_v7();
    t.created = t.updated = c->now;
    t.description = escape_html(c->a, t.description);
    t.code_example = escape_html(c->a, t.code_example);
    int64_t n = record_insert(c->conn, &block_type_resource, &t, "ON CONFLICT (slug) DO NOTHING", err);
    if (n <= 0)
        return n < 0 ? -1 : err_set(err, ERR_CONFLICT, "Block type with name \"%.*s\" already exists", STR_ARG(str_sub(t.name, 0, 200)));
    event_resource_changed(c, "block-type", "created", t.id, t.name, STR_NONE);
    return record_print_object(c, &block_type_resource, &t);
}

int block_types_read(struct call *c, struct err *err)
{
    struct block_type t;
    return type_by_id(c, c->id, &t, err) < 0 ? -1 : record_print_object(c, &block_type_resource, &t);
}

int block_types_read_by_slug(struct call *c, struct err *err)
{
    struct block_type t;
    return type_by_slug(c, c->params[0], &t, err) < 0 ? -1 : record_print_object(c, &block_type_resource, &t);
}

int block_types_filter(struct call *c, struct err *err)
{
    return list_filter(c, &block_type_listing, NULL, list_print_record, err);
}

int block_types_update(struct call *c, struct err *err)
{
    struct block_type t;
    if (call_parse(c, &block_type_resource, UPDATE, &t, err) < 0)
        return -1;
    t.updated = c->now;
    SET_FIELD(&t, block_type__updated);
    int64_t n = record_update(c->conn, &block_type_resource, &t, t.set, c->id, err);
    return n <= 0 ? found((int)n, "Block type", err) : call_empty(c, 204);
}

int block_types_delete(struct call *c, struct err *err)
{
    struct block_type t;
    if (type_by_id(c, c->id, &t, err) < 0)
        return -1;
    if (t.is_protected == 1)
        return err_set(err, ERR_FORBIDDEN, "protected block types cannot be deleted.");
    event_resource_changed(c, "block-type", "deleted", t.id, t.name, STR_NONE);
    return record_delete(c->conn, &block_type_resource, t.id, err) < 0 ? -1 : call_empty(c, 204);
}

/* ---- schemas ---- */

static int print_schema(struct call *c, const struct block_schema *s, struct err *err)
{
    struct block_type t;
    int rc = record_by_id(c->conn, c->a, &block_type_resource, s->block_type_id, &t, err);
    if (rc < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &block_schema_resource, s, NULL);
    jw_key(&c->w, STR("block_type"));
    if (rc)
        record_print_object(c, &block_type_resource, &t);
    else
        jw_null(&c->w);
    jw_end(&c->w);
    return 0;
}

static int print_schema_row(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row), UNUSED(extra);
    return print_schema(c, rec, err);
}

int block_schemas_create(struct call *c, struct err *err)
{
    struct block_schema s, old;
    struct block_type t;
    if (call_parse(c, &block_schema_resource, CREATE, &s, err) < 0)
        return -1;
    const struct json *fields = json_parse(c->a, s.fields, err);
    if (!fields || type_by_id(c, s.block_type_id, &t, err) < 0)
        return -1;
    const struct json *references = json_getz(fields, "block_schema_references");
    for (size_t i = 0; json_is(references, JSON_OBJECT) && i < references->object.n; i++) {
        const struct json *v = &references->object.members[i].value;
        size_t n = v->kind == JSON_ARRAY ? v->array.n : 1;
        for (size_t k = 0; k < n; k++) {
            const struct json *one = v->kind == JSON_ARRAY ? &v->array.items[k] : v;
            Str sum = json_get_str(one, STR("block_schema_checksum"));
            int64_t there;
            int rc = db_get_int(c->conn, err, &there, "SELECT 1 FROM block_schema WHERE checksum = $1 LIMIT 1", "s", sum.p ? sum : STR(""));
            if (rc <= 0)
                return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "The block schema that '%.*s' refers to has to be there first.",
                                             STR_ARG(str_sub(references->object.members[i].key, 0, 100)));
        }
    }
    s.checksum = block_checksum(c->a, fields);
    int rc = record_find(c->conn, c->a, &block_schema_resource, &old, err, "checksum = $1 AND version = $2", "ss", s.checksum, s.version);
    if (rc < 0)
        return -1;
    if (rc) {
        c->status = 200;
        return print_schema(c, &old, err);
    }
    s.id = uuid_v7();
    s.created = s.updated = c->now;
    if (record_insert(c->conn, &block_schema_resource, &s, "", err) < 0)
        return -1;
    return print_schema(c, &s, err);
}

int block_schemas_read(struct call *c, struct err *err)
{
    struct block_schema s;
    return found(record_by_id(c->conn, c->a, &block_schema_resource, c->id, &s, err), "Block schema", err) < 0 ? -1 : print_schema(c, &s, err);
}

int block_schemas_read_by_checksum(struct call *c, struct err *err)
{
    struct block_schema s;
    Str version = call_str(c, "version");
    int rc = version.p ? record_find(c->conn, c->a, &block_schema_resource, &s, err, "checksum = $1 AND version = $2", "ss", c->params[0], version)
                       : record_find(c->conn, c->a, &block_schema_resource, &s, err, "checksum = $1 ORDER BY created DESC LIMIT 1", "s", c->params[0]);
    return found(rc, "Block schema", err) < 0 ? -1 : print_schema(c, &s, err);
}

int block_schemas_filter(struct call *c, struct err *err)
{
    return list_filter(c, &block_schema_listing, NULL, print_schema_row, err);
}

int block_schemas_delete(struct call *c, struct err *err)
{
    struct block_schema s;
    struct block_type t;
    if (found(record_by_id(c->conn, c->a, &block_schema_resource, c->id, &s, err), "Block schema", err) < 0 || type_by_id(c, s.block_type_id, &t, err) < 0)
        return -1;
    if (t.is_protected == 1)
        return err_set(err, ERR_FORBIDDEN, "Schemas of protected block types cannot be deleted.");
    return record_delete(c->conn, &block_schema_resource, s.id, err) < 0 ? -1 : call_empty(c, 204);
}

int block_capabilities_read(struct call *c, struct err *err)
{
    struct map seen = {0};
    AUTO(stmt_finish) struct stmt *rows = db_query(c->conn, err, "SELECT DISTINCT capabilities FROM block_schema", "");
    int rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct err why;
        const struct json *list = json_parse(c->a, str_dup(c->a, stmt_str(rows, 0)), &why);
        for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
            Str name = json_str(&list->array.items[i]);
            void **slot = map_at(c->a, &seen, name);
            if (*slot)
                continue;
            *slot = &seen;
            jw_str(&c->w, name);
        }
    }
    jw_end(&c->w);
    return rc;
}

/* ---- documents ---- */


static int print_document(struct call *c, const struct block_document *d, struct err *err)
{
    struct block_schema s;
    struct block_type t;
    struct block_values values;
    bool secrets = call_asks(c, "include_secrets") && call_bool(c, "include_secrets");
    if (found(record_by_id(c->conn, c->a, &block_schema_resource, d->block_schema_id, &s, err), "Block schema", err) < 0 ||
        type_by_id(c, d->block_type_id, &t, err) < 0 || block_values_read(c->conn, c->a, c->ws->key, d, &values, err) < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &block_document_resource, d, NULL);
    jw_kstr(&c->w, "block_type_name", t.name);
    jw_key(&c->w, STR("data"));
    jw_value(&c->w, secrets ? values.data : block_mask(c->a, s.fields, values.data));
    jw_key(&c->w, STR("block_schema"));
    if (print_schema(c, &s, err) < 0)
        return -1;
    jw_key(&c->w, STR("block_type"));
    record_print_object(c, &block_type_resource, &t);
    jw_kraw(&c->w, "block_document_references", values.references);
    jw_end(&c->w);
    return 0;
}

static int print_document_row(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row), UNUSED(extra);
    return print_document(c, rec, err);
}

static bool is_document_name(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-'))
            return false;
    return s.n > 0;
}

int block_documents_create(struct call *c, struct err *err)
{
    struct block_document d;
    struct block_schema s;
    call_read(c, &block_document_resource, CREATE, &d);
    bool anonymous = d.is_anonymous == 1;
    if (!d.name.p && !anonymous)
        violation_add(&c->violations, "value_error", STR("name"), json_getz(c->body, "name"), "is required for a block document that is not anonymous");
    if (d.name.p && !is_document_name(d.name))
        violation_add(&c->violations, "value_error", STR("name"), json_getz(c->body, "name"), "must hold only lower-case letters, digits and '-'");
    if (call_invalid(c, err) < 0)
        return -1;
    if (!d.name.p)
        d.name = str_fmt(c->a, "anonymous-%s", uuid_text(uuid_v4()).s);
    if (call_refers(c, "block_type_id", &block_type_resource, d.block_type_id, err) < 0 ||
        call_refers(c, "block_schema_id", &block_schema_resource, d.block_schema_id, err) < 0 ||
        record_by_id(c->conn, c->a, &block_schema_resource, d.block_schema_id, &s, err) < 0)
        return -1;
    if (!uuid_eq(s.block_type_id, d.block_type_id))
        return err_set(err, ERR_INVALID, "The block schema belongs to another block type.");
    const struct json *data = json_parse(c->a, d.data, err);
    if (!data)
        return -1;
    d.id = uuid_v7();
    d.created = d.updated = c->now;
    if (block_values_seal(c->a, c->ws->key, data, &d, err) < 0)
        return -1;
    int64_t n = record_insert(c->conn, &block_document_resource, &d, "ON CONFLICT (block_type_id, name) DO NOTHING", err);
    if (n <= 0)
        return n < 0 ? -1 : err_set(err, ERR_CONFLICT, "A block document named '%.*s' of this type exists already", STR_ARG(str_sub(d.name, 0, 200)));
    if (block_references_store(c->conn, c->a, data, d.id, c->now, err) < 0)
        return -1;
    if (!anonymous)
        event_resource_changed(c, "block-document", "created", d.id, d.name, STR_NONE);
    return print_document(c, &d, err);
}

static int document_find(struct call *c, struct block_document *ret, struct err *err)
{
    return found(record_by_id(c->conn, c->a, &block_document_resource, c->id, ret, err), "Block document", err);
}

int block_documents_read(struct call *c, struct err *err)
{
    struct block_document d;
    return document_find(c, &d, err) < 0 ? -1 : print_document(c, &d, err);
}

int block_documents_filter(struct call *c, struct err *err)
{
    return list_filter(c, &block_document_listing, NULL, print_document_row, err);
}

int block_documents_count(struct call *c, struct err *err)
{
    return list_count(c, &block_document_listing, err);
}

int block_documents_delete(struct call *c, struct err *err)
{
    struct block_document d;
    if (document_find(c, &d, err) < 0)
        return -1;
    if (d.is_anonymous != 1)
        event_resource_changed(c, "block-document", "deleted", d.id, d.name, STR_NONE);
    if (db_exec(c->conn, err, "DELETE FROM configuration WHERE key = 'default_result_storage' AND value = $1", "z", uuid_text(d.id).s) < 0)
        return -1;
    return record_delete(c->conn, &block_document_resource, d.id, err) < 0 ? -1 : call_empty(c, 204);
}

/* The stored values, with references as they were given. */
static int stored_data(struct call *c, const struct block_document *d, const struct json **ret, struct err *err)
{
    Str plain;
    if (unseal(c->a, c->ws->key, d->sealed, &plain, err) < 0)
        return -1;
    *ret = json_parse(c->a, plain, err);
    return *ret ? 0 : -1;
}

int block_documents_update(struct call *c, struct err *err)
{
    struct block_document change, d;
    struct block_schema s;
    if (call_parse(c, &block_document_resource, UPDATE, &change, err) < 0 || document_find(c, &d, err) < 0)
        return -1;
    if (IS_SET(&change, block_document__block_schema_id)) {
        if (call_refers(c, "block_schema_id", &block_schema_resource, change.block_schema_id, err) < 0 ||
            record_by_id(c->conn, c->a, &block_schema_resource, change.block_schema_id, &s, err) < 0)
            return -1;
        if (!uuid_eq(s.block_type_id, d.block_type_id))
            return err_set(err, ERR_INVALID, "A block document cannot take a schema of another block type.");
        d.block_schema_id = change.block_schema_id;
    }
    if (IS_SET(&change, block_document__data)) {
        const struct json *sent = json_parse(c->a, change.data, err), *old;
        if (!sent || stored_data(c, &d, &old, err) < 0)
            return -1;
        bool merge = !IS_SET(&change, block_document__merge_existing_data) || change.merge_existing_data == 1;
        static const struct json empty = {.kind = JSON_OBJECT, .raw = {"{}", 2}};
        const struct json *data = block_merge(c->a, old, sent); /* masks keep what they mask */
        if (!merge) {
            /* only the keys that were sent stay */
            AUTO(buf_free) struct buf b = BUF((size_t)16 << 20);
            struct jw w = jw_on(&b);
            jw_object(&w);
            for (size_t i = 0; i < sent->object.n; i++) {
                jw_key(&w, sent->object.members[i].key);
                jw_value(&w, json_get(data, sent->object.members[i].key));
            }
            jw_end(&w);
            data = json_parse(c->a, str_dup(c->a, buf_view(&b)), err);
            if (!data || db_exec(c->conn, err, "DELETE FROM block_document_reference WHERE parent_block_document_id = $1", "u", d.id) < 0)
                return -1;
        }
        if (block_values_seal(c->a, c->ws->key, data ? data : &empty, &d, err) < 0 ||
            block_references_store(c->conn, c->a, sent, d.id, c->now, err) < 0)
            return -1;
    }
    d.updated = c->now;
    FieldSet mask = (FieldSet)1 << block_document__updated | (FieldSet)1 << block_document__sealed | (FieldSet)1 << block_document__block_schema_id;
    if (record_update(c->conn, &block_document_resource, &d, mask, d.id, err) < 0)
        return -1;
    if (d.is_anonymous != 1)
        event_resource_changed(c, "block-document", "updated", d.id, d.name, STR_NONE);
    return call_empty(c, 204);
}

int block_types_documents(struct call *c, struct err *err)
{
    struct block_type t;
    if (type_by_slug(c, c->params[0], &t, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF((size_t)4096);
    buf_fmt(&b, "{\"block_documents\":{\"block_type_id\":{\"any_\":[\"%s\"]}}}", uuid_text(t.id).s);
    c->body = json_parse(c->a, str_dup(c->a, buf_view(&b)), err);
    return c->body ? list_filter(c, &block_document_listing, NULL, print_document_row, err) : -1;
}

int block_types_document_by_name(struct call *c, struct err *err)
{
    struct block_type t;
    struct block_document d;
    if (type_by_slug(c, c->params[0], &t, err) < 0)
        return -1;
    int rc = record_find(c->conn, c->a, &block_document_resource, &d, err, "block_type_id = $1 AND name = $2", "us", t.id, c->params[1]);
    return found(rc, "Block document", err) < 0 ? -1 : print_document(c, &d, err);
}

int block_types_install(struct call *c, struct err *err)
{
    return catalogue_install(c->conn, c->a, c->now, err) < 0 ? -1 : call_null(c);
}
