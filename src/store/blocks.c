#include "store/blocks.h"

#include "base/limits.h"

#include <sodium.h>

#define DEPTH_MAX 50

/* {"$ref": {"block_document_id": id}} */
static bool is_reference(const struct json *v, Uuid *ret)
{
    return uuid_parse(json_get_str(json_getz(v, "$ref"), STR("block_document_id")), ret);
}

int block_values_seal(struct arena *a, const struct seal_key *k, const struct json *data, struct block_document *d, struct err *err)
{
    UNUSED(err);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (size_t i = 0; i < data->object.n; i++) {
        Uuid id;
        if (is_reference(&data->object.members[i].value, &id))
            continue;
        jw_key(&w, data->object.members[i].key);
        jw_raw(&w, data->object.members[i].value.raw);
    }
    jw_end(&w);
    d->sealed = seal(a, k, buf_view(&b));
    sodium_memzero(b.p, b.n);
    return 0;
}

/* Does `from` lead to `to` through references? 1, 0, -1. */
static int leads_to(struct conn *c, struct arena *a, Uuid from, Uuid to, int depth, struct err *err)
{
    if (uuid_eq(from, to))
        return 1;
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "block documents refer to each other more than %d deep", DEPTH_MAX);
    VEC(Uuid) next = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c, err, "SELECT reference_block_document_id FROM block_document_reference WHERE parent_block_document_id = $1", "u", from);
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(a, &next, stmt_uuid(q, 0));
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < next.n; i++) {
        int rc = leads_to(c, a, next.v[i], to, depth + 1, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int block_references_store(struct conn *c, struct arena *a, const struct json *data, Uuid document_id, Time now, struct err *err)
{
    for (size_t i = 0; i < data->object.n; i++) {
        const struct json_member *m = &data->object.members[i];
        Uuid target;
        int64_t one;
        if (db_exec(c, err, "DELETE FROM block_document_reference WHERE parent_block_document_id = $1 AND name = $2", "us", document_id, m->key) < 0)
            return -1;
        if (!is_reference(&m->value, &target))
            continue;
        int rc = db_get_int(c, err, &one, "SELECT 1 FROM block_document WHERE id = $1", "u", target);
        if (rc <= 0)
            return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "there is no block document %s, which '%.*s' refers to", uuid_text(target).s, STR_ARG(str_sub(m->key, 0, 100)));
        rc = leads_to(c, a, target, document_id, 0, err);
        if (rc != 0)
            return rc < 0 ? -1 : err_set(err, ERR_INVALID, "'%.*s' would make a circle of block documents", STR_ARG(str_sub(m->key, 0, 100)));
        if (db_exec(c, err, "INSERT INTO block_document_reference (id, created, updated, name, parent_block_document_id, reference_block_document_id)"
                    " VALUES ($1, $2, $2, $3, $4, $5)", "utsuu", uuid_v7(), now, m->key, document_id, target) < 0)
            return -1;
    }
    return 0;
}

struct reference {
    Str name;
    struct block_document document;
};

static int references_of(struct conn *c, struct arena *a, Uuid id, struct reference **ret, size_t *ret_n, struct err *err)
{
    VEC(struct reference) list = {0};
    AUTO(sql_free) struct sql q = sql_new(a, conn_kind(c));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&block_document_resource));
    sql_z(&q, ", block_document_reference.name FROM block_document_reference JOIN block_document ON block_document.id ="
              " block_document_reference.reference_block_document_id WHERE block_document_reference.parent_block_document_id = ");
    sql_uuid(&q, id);
    sql_z(&q, " ORDER BY block_document_reference.name");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct reference r;
        record_load(a, &block_document_resource, rows, 0, &r.document);
        r.name = str_dup(a, stmt_str(rows, stmt_columns(rows) - 1));
        vec_push(a, &list, r);
    }
    *ret = list.v;
    *ret_n = list.n;
    return rc;
}

static int print_reference(struct conn *c, struct arena *a, struct jw *w, const struct reference *r, Str nested, struct err *err)
{
    struct block_type type;
    int rc = record_by_id(c, a, &block_type_resource, r->document.block_type_id, &type, err);
    if (rc < 0)
        return -1;
    jw_key(w, r->name);
    jw_object(w);
    jw_key(w, STR("block_document"));
    jw_object(w);
    jw_kuuid(w, "id", r->document.id);
    jw_kstr(w, "name", r->document.name);
    jw_key(w, STR("block_type"));
    if (rc) {
        jw_object(w);
        record_print(w, &block_type_resource, &type, NULL);
        jw_end(w);
    } else {
        jw_null(w);
    }
    jw_kbool(w, "is_anonymous", r->document.is_anonymous == 1);
    jw_kraw(w, "block_document_references", nested);
    jw_end(w);
    jw_end(w);
    return 0;
}

static int read_values(struct conn *c, struct arena *a, const struct seal_key *k, const struct block_document *d, int depth,
                       struct block_values *ret, struct err *err)
{
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "block documents refer to each other more than %d deep", DEPTH_MAX);
    Str plain;
    if (unseal(a, k, d->sealed, &plain, err) < 0)
        return err_wrap(err, "block document %s", uuid_text(d->id).s);
    const struct json *own = json_parse(a, plain, err);
    if (!own)
        return -1;
    struct reference *list;
    size_t n;
    if (references_of(c, a, d->id, &list, &n, err) < 0)
        return -1;
    AUTO(buf_free) struct buf data = BUF(LIMIT_REPLY);
    AUTO(buf_free) struct buf refs = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&data), r = jw_on(&refs);
    jw_object(&w), jw_object(&r);
    for (size_t i = 0; i < own->object.n; i++) {
        jw_key(&w, own->object.members[i].key);
        jw_raw(&w, own->object.members[i].value.raw);
    }
    for (size_t i = 0; i < n; i++) {
        struct block_values inner;
        if (read_values(c, a, k, &list[i].document, depth + 1, &inner, err) < 0)
            return -1;
        jw_key(&w, list[i].name);
        jw_value(&w, inner.data);
        if (print_reference(c, a, &r, &list[i], inner.references, err) < 0)
            return -1;
    }
    jw_end(&w), jw_end(&r);
    ret->references = str_dup(a, buf_view(&refs));
    ret->data = json_parse(a, str_dup(a, buf_view(&data)), err);
    return ret->data ? 0 : -1;
}

int block_values_read(struct conn *c, struct arena *a, const struct seal_key *k, const struct block_document *d, struct block_values *ret, struct err *err)
{
    return read_values(c, a, k, d, 0, ret, err);
}

/* Writes `v` with what the path leads to masked. */
static void mask_into(struct jw *w, const struct json *v, const Str *paths, size_t n, int depth)
{
    bool here = false;
    for (size_t i = 0; i < n; i++)
        here |= paths[i].p && !paths[i].n;
    if (here && v->kind != JSON_NULL) {
        jw_z(w, BLOCK_MASK);
        return;
    }
    if (depth > LIMIT_JSON_DEPTH - 2) {
        jw_null(w);
        return;
    }
    if (v->kind == JSON_OBJECT) {
        Str *inner = alloca(n * sizeof *inner + 1);
        jw_object(w);
        for (size_t k = 0; k < v->object.n; k++) {
            const struct json_member *m = &v->object.members[k];
            for (size_t i = 0; i < n; i++) {
                Str rest = paths[i], head;
                inner[i] = STR_NONE;
                if (rest.p && rest.n && str_cut(&rest, '.', &head) && (str_eq(head, m->key) || str_eqz(head, "*")))
                    inner[i] = rest.p ? rest : STR("");
            }
            jw_key(w, m->key);
            mask_into(w, &m->value, inner, n, depth + 1);
        }
        jw_end(w);
    } else if (v->kind == JSON_ARRAY) {
        Str *inner = alloca(n * sizeof *inner + 1);
        for (size_t i = 0; i < n; i++) {
            Str rest = paths[i], head;
            inner[i] = paths[i];
            if (rest.p && rest.n && str_cut(&rest, '.', &head) && str_eqz(head, "*"))
                inner[i] = rest.p ? rest : STR("");
        }
        jw_array(w);
        for (size_t k = 0; k < v->array.n; k++)
            mask_into(w, &v->array.items[k], inner, n, depth + 1);
        jw_end(w);
    } else {
        jw_raw(w, v->raw);
    }
}

const struct json *block_mask(struct arena *a, Str schema_fields, const struct json *data)
{
    struct err err;
    const struct json *fields = json_parse(a, schema_fields, &err);
    const struct json *secret = json_getz(fields, "secret_fields");
    if (!json_is(secret, JSON_ARRAY) || !secret->array.n)
        return data;
    size_t n = MIN(secret->array.n, 200);
    Str *paths = arena_array(a, Str, n);
    for (size_t i = 0; i < n; i++)
        paths[i] = json_str(&secret->array.items[i]);
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    mask_into(&w, data, paths, n, 0);
    return json_parse(a, str_dup(a, buf_view(&b)), &err);
}

static void merge_into(struct jw *w, const struct json *old, const struct json *change)
{
    if (json_is(change, JSON_STRING) && str_eqz(change->string, BLOCK_MASK) && old) {
        jw_raw(w, old->raw);
        return;
    }
    if (!json_is(old, JSON_OBJECT) || !json_is(change, JSON_OBJECT)) {
        jw_raw(w, change->raw);
        return;
    }
    jw_object(w);
    for (size_t i = 0; i < change->object.n; i++) {
        const struct json_member *m = &change->object.members[i];
        jw_key(w, m->key);
        merge_into(w, json_get(old, m->key), &m->value);
    }
    jw_end(w);
}

const struct json *block_merge(struct arena *a, const struct json *old, const struct json *change)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    struct err err;
    jw_object(&w);
    for (size_t i = 0; json_is(old, JSON_OBJECT) && i < old->object.n; i++) {
        if (json_get(change, old->object.members[i].key))
            continue;
        jw_key(&w, old->object.members[i].key);
        jw_raw(&w, old->object.members[i].value.raw);
    }
    for (size_t i = 0; i < change->object.n; i++) {
        jw_key(&w, change->object.members[i].key);
        merge_into(&w, json_get(old, change->object.members[i].key), &change->object.members[i].value);
    }
    jw_end(&w);
    const struct json *v = json_parse(a, str_dup(a, buf_view(&b)), &err);
    if (!v)
        die("merged JSON is none: %s", err.text);
    return v;
}

/* Names of definitions that `v` refers to, added to `seen` with what they refer to in turn. */
static void reach(struct arena *a, const struct json *v, const struct json *definitions, struct map *seen)
{
    if (v->kind == JSON_ARRAY)
        for (size_t i = 0; i < v->array.n; i++)
            reach(a, &v->array.items[i], definitions, seen);
    if (v->kind != JSON_OBJECT)
        return;
    for (size_t i = 0; i < v->object.n; i++) {
        const struct json_member *m = &v->object.members[i];
        Str ref = json_str(&m->value);
        if (str_eqz(m->key, "$ref") && str_starts(ref, STR("#/definitions/"))) {
            Str name = str_sub(ref, 14, ref.n);
            const struct json *target = json_get(definitions, name);
            void **slot = map_at(a, seen, name);
            if (target && !*slot) {
                *slot = (void *)(uintptr_t)target;
                reach(a, target, definitions, seen);
            }
        }
        reach(a, &m->value, definitions, seen);
    }
}

/* `v` without "secret_fields" at any depth of objects (lists are left alone). */
static void without_secret_fields(struct jw *w, const struct json *v, const struct json *definitions, bool top)
{
    if (v->kind != JSON_OBJECT) {
        jw_value(w, v);
        return;
    }
    jw_object(w);
    for (size_t i = 0; i < v->object.n; i++) {
        const struct json_member *m = &v->object.members[i];
        if (str_eqz(m->key, "secret_fields") || (top && str_eqz(m->key, "definitions")))
            continue;
        jw_key(w, m->key);
        without_secret_fields(w, &m->value, NULL, false);
    }
    if (top && definitions) {
        jw_key(w, STR("definitions"));
        without_secret_fields(w, definitions, NULL, false);
    }
    jw_end(w);
}

Str block_checksum(struct arena *a, const struct json *fields)
{
    struct err err;
    const struct json *definitions = json_getz(fields, "definitions"), *kept = NULL;
    AUTO(buf_free) struct buf defs = BUF(LIMIT_BODY);
    if (json_is(definitions, JSON_OBJECT)) {
        struct map seen = {0};
        for (size_t i = 0; i < fields->object.n; i++)
            if (!str_eqz(fields->object.members[i].key, "definitions"))
                reach(a, &fields->object.members[i].value, definitions, &seen);
        struct jw w = jw_on(&defs);
        size_t n = 0;
        jw_object(&w);
        for (size_t i = 0; i < seen.n; i++) {
            const struct json *d = seen.entries[i].value;
            if (!d || json_getz(d, "block_type_slug"))
                continue;
            jw_key(&w, seen.entries[i].key);
            jw_value(&w, d);
            n++;
        }
        jw_end(&w);
        if (n)
            kept = json_parse(a, str_dup(a, buf_view(&defs)), &err);
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_array(&w), jw_array(&w);
    without_secret_fields(&w, fields, kept, true);
    jw_end(&w), jw_object(&w), jw_end(&w), jw_end(&w);
    const struct json *whole = json_parse(a, str_dup(a, buf_view(&b)), &err);
    if (!whole)
        die("block fields written wrongly: %s", err.text);
    Str text = json_text_python(a, whole);
    unsigned char hash[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof hash + 1];
    crypto_hash_sha256(hash, (const unsigned char *)text.p, text.n);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    return str_fmt(a, "sha256:%s", hex);
}
