#include "schema/apply.h"

#include "schema/uri.h"

#include <string.h>

const struct json metaschema = {.kind = JSON_NULL};

static Str anchor_key(struct run *r, const struct resource *resource, Str name)
{
    return str_fmt(r->a, "%.*s#%.*s", STR_ARG(resource->uri), STR_ARG(name));
}

static Str id_of(const struct json *schema)
{
    Str fragment;
    Str id = json_get_str(schema, STR("$id"));
    return id.p ? uri_cut_fragment(id, &fragment) : STR_NONE;
}

static void note_anchor(struct run *r, struct resource *resource, const struct json *schema, Str name,
                        bool dynamic)
{
    if (!name.p)
        return;
    struct anchor *a = arena_new(r->a, struct anchor);
    *a = (struct anchor){resource, schema, dynamic};
    void **slot = map_at(r->a, &r->anchors, anchor_key(r, resource, name));
    if (!*slot)
        *slot = a;
}

static int scan(struct run *r, const struct json *schema, struct resource *resource, int depth);

static int scan_all(struct run *r, const struct json *v, struct resource *resource, int depth)
{
    for (size_t i = 0; v->kind == JSON_ARRAY && i < v->array.n; i++)
        if (scan(r, &v->array.items[i], resource, depth) < 0)
            return -1;
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++)
        if (scan(r, &v->object.members[i].value, resource, depth) < 0)
            return -1;
    return 0;
}

/* Lists the resources and anchors in a schema and in all that stand in it where the draft has schemas. */
static int scan(struct run *r, const struct json *schema, struct resource *resource, int depth)
{
    if (schema->kind != JSON_OBJECT)
        return 0;
    if (charge(r, 1 + schema->object.n / 8) == BROKEN)
        return -1;
    if (depth > LIMIT_JSON_DEPTH)
        return err_set(r->err, ERR_UNPROCESSABLE, "the schema is nested too deeply");
    Str id = id_of(schema);
    if (id.n) {
        Str uri = uri_resolve(r->a, resource->uri, id);
        if (resource->root != schema) {
            struct resource *inner = arena_new(r->a, struct resource);
            *inner = (struct resource){uri, schema};
            resource = inner;
        } else if (resource != &r->root) { /* whose URI is known from the start */
            resource->uri = uri;
        }
    }
    if (resource->root == schema) {
        void **slot = map_at(r->a, &r->resources, resource->uri);
        if (!*slot)
            *slot = resource;
    }
    note_anchor(r, resource, schema, json_get_str(schema, STR("$anchor")), false);
    note_anchor(r, resource, schema, json_get_str(schema, STR("$dynamicAnchor")), true);
    for (size_t i = 0; i < schema->object.n; i++) {
        const struct json_member *m = &schema->object.members[i];
        enum keyword_value is = keywords[keyword_find(m->key)].is;
        int rc = 0;
        if (is == IS_SCHEMA && m->value.kind == JSON_OBJECT)
            rc = scan(r, &m->value, resource, depth + 1);
        else if (is == IS_SCHEMA || is == IS_SCHEMAS || is == IS_SCHEMA_MAP || is == IS_PATTERN_MAP)
            rc = scan_all(r, &m->value, resource, depth + 1);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int scan_root(struct run *r)
{
    if (r->scanned)
        return 0;
    r->scanned = true;
    return scan(r, r->root.root, &r->root, 0);
}

/* The resource of an absolute URI: one of the document, the metaschema, or one that the caller finds. */
static const struct resource *resource_find(struct run *r, Str uri)
{
    static const struct resource meta = {{METASCHEMA_URI, sizeof METASCHEMA_URI - 1}, &metaschema};
    if (scan_root(r) < 0)
        return NULL;
    struct resource *found = map_get(&r->resources, uri);
    if (found)
        return found;
    if (str_eq(uri, meta.uri))
        return &meta;
    const struct json *document = r->resolve ? r->resolve(r->user, uri) : NULL;
    if (!document) {
        err_set(r->err, ERR_UNPROCESSABLE, "the reference '%.*s' leads to no schema that is known here",
                (int)MIN(uri.n, 200), uri.p);
        return NULL;
    }
    struct resource *res = arena_new(r->a, struct resource);
    *res = (struct resource){uri, document};
    *map_at(r->a, &r->resources, uri) = res;
    return scan(r, document, res, 0) < 0 ? NULL : res;
}

const struct resource *resource_enter(struct run *r, const struct resource *resource,
                                      const struct json *schema)
{
    Str id = id_of(schema);
    if (resource->root == schema || !id.n)
        return resource;
    if (scan_root(r) < 0)
        return NULL;
    Str uri = uri_resolve(r->a, resource->uri, id);
    struct resource *found = map_get(&r->resources, uri);
    if (found && found->root == schema)
        return found;
    /* It stands where the draft knows of no schema; a reference has led here. */
    found = arena_new(r->a, struct resource);
    *found = (struct resource){uri, schema};
    return scan(r, schema, found, 0) < 0 ? NULL : found;
}

const struct anchor *anchor_find(struct run *r, const struct resource *resource, Str name)
{
    return scan_root(r) < 0 ? NULL : map_get(&r->anchors, anchor_key(r, resource, name));
}

static Str pointer_part(struct arena *a, Str part)
{
    if (str_find(part, STR("~")) < 0)
        return part;
    char *out = arena_alloc(a, part.n);
    size_t n = 0;
    for (size_t i = 0; i < part.n; i++) {
        bool escape = part.p[i] == '~' && i + 1 < part.n;
        if (escape && part.p[i + 1] == '0')
            out[n++] = '~', i++;
        else if (escape && part.p[i + 1] == '1')
            out[n++] = '/', i++;
        else
            out[n++] = part.p[i];
    }
    return (Str){out, n};
}

static const struct json *pointer_find(struct run *r, const struct resource *resource, Str pointer,
                                       const struct resource **ret_resource)
{
    const struct json *v = resource->root;
    Str rest = str_sub(pointer, 1, pointer.n), part;
    while (v && str_cut(&rest, '/', &part)) {
        if (charge(r, 1) == BROKEN)
            return NULL;
        if (v->kind == JSON_ARRAY) {
            int64_t i;
            v = str_int(part, &i) && i >= 0 && (uint64_t)i < v->array.n ? &v->array.items[i] : NULL;
        } else {
            v = member(r, v, pointer_part(r->a, part));
        }
        if (v && v->kind == JSON_OBJECT && !(resource = resource_enter(r, resource, v)))
            return NULL;
    }
    if (!v)
        err_set(r->err, ERR_UNPROCESSABLE, "the reference '#%.*s' leads nowhere in the schema",
                (int)MIN(pointer.n, 200), pointer.p);
    *ret_resource = resource;
    return v;
}

const struct json *ref_find(struct run *r, const struct resource *resource, Str ref,
                            const struct resource **ret_resource, const struct anchor **ret_anchor)
{
    Str fragment;
    Str uri = uri_cut_fragment(ref, &fragment);
    *ret_anchor = NULL;
    if (uri.n) {
        resource = resource_find(r, uri_resolve(r->a, resource->uri, uri));
        if (!resource)
            return NULL;
    }
    *ret_resource = resource;
    if (!fragment.n)
        return resource->root;
    fragment = uri_decode(r->a, fragment);
    if (fragment.n && fragment.p[0] == '/')
        return pointer_find(r, resource, fragment, ret_resource);
    const struct anchor *anchor = anchor_find(r, resource, fragment);
    if (!anchor) {
        err_set(r->err, ERR_UNPROCESSABLE, "the reference '%.*s' leads nowhere in the schema",
                (int)MIN(ref.n, 200), ref.p);
        return NULL;
    }
    *ret_anchor = anchor;
    *ret_resource = anchor->resource;
    return anchor->schema;
}
