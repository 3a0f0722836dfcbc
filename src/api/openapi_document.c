/* Prints the API's description (OpenAPI 3.1) from the tables that read requests and write answers; run when the program is built,
 * whose text is then a part of it (src/meson.build): a server makes none, and holds none in memory until it is asked for. */
#include "api/call.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

enum direction { ASKED, REPLACED, CHANGED, ANSWERED }; /* in a create or by key, a whole replacement, a change; in an answer */

/* Schemas that were referred to, each printed once. */
struct wanted {
    const struct resource *shape;
    enum direction direction;
    const struct filter_def *filter;
};
static struct arena *arena;
static VEC(struct wanted) wanted;

static const char *const suffixes[] = {[ASKED] = "_create", [REPLACED] = "_replace", [CHANGED] = "_update", [ANSWERED] = ""};

/* A shape without a table is the same in both directions, but for those of the model, of which all keys are answered. */
static Str name_of(const struct wanted *w)
{
    if (w->filter)
        return str_fmt(arena, "%s_filter", w->filter->table);
    bool keys = strstr(w->shape->name, "_keys");
    return str_fmt(arena, "%s%s", w->shape->name, keys ? "" : suffixes[w->direction]);
}

static void put_ref(struct jw *w, struct wanted to)
{
    bool known = false;
    for (size_t i = 0; i < wanted.n; i++)
        known |= wanted.v[i].shape == to.shape && wanted.v[i].direction == to.direction && wanted.v[i].filter == to.filter;
    if (!known)
        vec_push(arena, &wanted, to);
    jw_kstr(w, "$ref", str_fmt(arena, "#/components/schemas/%.*s", STR_ARG(name_of(&to))));
}

static void put_shape_ref(struct jw *w, const struct resource *shape, enum direction d)
{
    put_ref(w, (struct wanted){.shape = shape, .direction = d == ANSWERED || !shape->table ? (d == ANSWERED ? ANSWERED : ASKED) : d});
}

static void put_names(struct jw *w, const char *const *names)
{
    jw_kz(w, "type", "string");
    jw_key(w, STR("enum"));
    jw_array(w);
    for (; names && *names; names++)
        jw_z(w, *names);
    jw_end(w);
}

static void put_items(struct jw *w, const char *format)
{
    jw_kz(w, "type", "array");
    jw_key(w, STR("items"));
    jw_object(w);
    jw_kz(w, "type", "string");
    if (format)
        jw_kz(w, "format", format);
    jw_end(w);
}

static void put_bound(struct jw *w, const char *key, double n)
{
    jw_key(w, str_of(key));
    jw_raw(w, str_fmt(arena, "%.15g", n));
}

/* Bounds that field_parse holds. */
static void put_bounds(struct jw *w, const struct field *f, enum direction d)
{
    if (d == ANSWERED)
        return;
    bool bounded = f->min != 0 || f->max != 0;
    if (f->flags & POSITIVE)
        put_bound(w, "exclusiveMinimum", 0);
    if (bounded || (f->flags & NOT_NEGATIVE))
        put_bound(w, "minimum", f->min);
    if (bounded)
        put_bound(w, "maximum", f->max);
}

static void put_text_rules(struct jw *w, const struct field *f, enum direction d)
{
    if (d == ANSWERED)
        return;
    if (f->flags & NAME)
        jw_kz(w, "pattern", "^[^/%&><]+$");
    if (f->flags & (SLUG | SLUG_))
        jw_kz(w, "pattern", f->flags & SLUG_ ? "^[a-z0-9_-]+$" : "^[a-z0-9-]+$");
}

static void put_type(struct jw *w, const struct field *f, enum direction d)
{
    switch (f->type) {
    case F_UUID:
        jw_kz(w, "type", "string");
        jw_kz(w, "format", "uuid");
        break;
    case F_STR:
        jw_kz(w, "type", "string");
        put_text_rules(w, f, d);
        break;
    case F_TIME:
        jw_kz(w, "type", "string");
        jw_kz(w, "format", "date-time");
        break;
    case F_DUR:
    case F_DOUBLE:
        jw_kz(w, "type", "number");
        put_bounds(w, f, d);
        break;
    case F_INT:
        jw_kz(w, "type", "integer");
        put_bounds(w, f, d);
        break;
    case F_BOOL:
        jw_kz(w, "type", "boolean");
        break;
    case F_JSON:
        if (f->more)
            put_shape_ref(w, f->more, d);
        break;
    case F_OBJECT:
        jw_kz(w, "type", "object");
        break;
    case F_LIST:
        jw_kz(w, "type", "array");
        jw_kraw(w, "items", STR("{}"));
        break;
    case F_TAGS:
    case F_UUIDS:
        put_items(w, f->type == F_UUIDS ? "uuid" : NULL);
        if (d != ANSWERED && f->max != 0)
            put_bound(w, "maxItems", f->max);
        break;
    case F_LABELS:
        jw_kz(w, "type", "object");
        jw_kraw(w, "additionalProperties", STR("{\"type\":[\"string\",\"number\",\"boolean\"]}"));
        break;
    case F_ENUM:
        put_names(w, f->more);
        break;
    case F_SHAPE:
        put_shape_ref(w, f->more, d);
        break;
    case F_SHAPES:
        jw_kz(w, "type", "array");
        jw_key(w, STR("items"));
        jw_object(w);
        if (f->more)
            put_shape_ref(w, f->more, d);
        else
            jw_kz(w, "type", "object");
        jw_end(w);
        break;
    }
}

/* Of a body's keys, all that need not be there may be null. */
static bool may_be_null(const struct field *f, const struct resource *of, enum direction d)
{
    if (f->type == F_JSON && !f->more)
        return false; /* any value: null is one */
    if (d == ANSWERED)
        return (f->flags & NULLABLE && !(f->flags & ALWAYS)) || (!f->dflt && !(f->flags & (REQUIRED | ALWAYS)));
    if (d == CHANGED && (f->flags & UPDATE_NULL_UNSETS))
        return true;
    return f->flags & NULLABLE || (strstr(of->name, "_keys") && of->ignore_unknown && !(f->flags & REQUIRED));
}

static void put_field(struct jw *w, const struct field *f, const struct resource *of, enum direction d)
{
    jw_key(w, str_of(f->name));
    jw_object(w);
    if (may_be_null(f, of, d)) {
        jw_key(w, STR("anyOf"));
        jw_array(w);
        jw_object(w);
        put_type(w, f, d);
        jw_end(w);
        jw_raw(w, STR("{\"type\":\"null\"}"));
        jw_end(w);
    } else {
        put_type(w, f, d);
    }
    if ((d == ASKED || !(f->flags & CREATE)) && d != ANSWERED && f->dflt && !(f->flags & REQUIRED))
        jw_kraw(w, "default", str_of(f->dflt));
    jw_kz(w, "description", f->doc);
    jw_end(w);
}

/* ---- shapes ---- */

static bool is_among(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static bool belongs(const struct resource *r, const struct field *f, enum direction d)
{
    static const int views[] = {[ASKED] = CREATE, [REPLACED] = UPDATE, [CHANGED] = UPDATE, [ANSWERED] = READ};
    return !r->table && !(r->n && r->size && d == ASKED && (r->fields[0].flags & CREATE)) ? true : (f->flags & views[d]) != 0;
}

static bool is_always_there(const struct field *f, enum direction d)
{
    if (d == ANSWERED)
        return f->flags & (REQUIRED | NULLABLE | READ);
    return d != CHANGED && f->flags & REQUIRED;
}

static void put_fields(struct jw *w, const struct resource *r, enum direction d, const char *const *without, bool names_only)
{
    if (r->base)
        put_fields(w, r->base, d, r->without, names_only);
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        if (!belongs(r, f, d) || is_among(without, f->name))
            continue;
        if (!names_only)
            put_field(w, f, r, d);
        else if (is_always_there(f, d))
            jw_z(w, f->name);
    }
}

static void put_filter_key(struct jw *w, const struct filter_def *f, const char *key)
{
    jw_key(w, str_of(key));
    jw_object(w);
    jw_key(w, STR("anyOf"));
    jw_array(w);
    jw_object(w);
    put_ref(w, (struct wanted){.filter = f});
    jw_end(w);
    jw_raw(w, STR("{\"type\":\"null\"}"));
    jw_end(w);
    jw_end(w);
}

static void put_int_key(struct jw *w, const char *key, const char *rules, const char *doc, const char *dflt)
{
    jw_key(w, str_of(key));
    jw_raw(w, str_fmt(arena, "{\"anyOf\":[{\"type\":\"integer\",%s},{\"type\":\"null\"}]%s%s,\"description\":\"%s\"}", rules, dflt ? ",\"default\":" : "", dflt ? dflt : "", doc));
}

static void put_sort_key(struct jw *w, const struct listing *l, Str dflt)
{
    jw_key(w, STR("sort"));
    jw_object(w);
    jw_key(w, STR("anyOf"));
    jw_array(w);
    jw_object(w);
    jw_kz(w, "type", "string");
    jw_key(w, STR("enum"));
    jw_array(w);
    for (size_t i = 0; i < l->sort_count; i++)
        jw_z(w, l->sorts[i].name);
    jw_end(w);
    jw_end(w);
    jw_raw(w, STR("{\"type\":\"null\"}"));
    jw_end(w);
    jw_kraw(w, "default", dflt);
    jw_end(w);
}

static void put_listing_keys(struct jw *w, const struct asks *asks)
{
    const struct listing *l = asks->listing;
    if (l->self) {
        put_filter_key(w, l->self, l->self->key);
        if (l->self->also)
            put_filter_key(w, l->self, l->self->also);
    }
    for (size_t i = 0; i < l->join_count; i++) {
        put_filter_key(w, l->joins[i].to, l->joins[i].to->key);
        if (l->joins[i].to->also)
            put_filter_key(w, l->joins[i].to, l->joins[i].to->also);
    }
    if (asks->part == FILTERS_ALONE)
        return;
    put_int_key(w, "limit", str_fmt(arena, "\"minimum\":0,\"maximum\":%d", LIMIT_PAGE).p, "Most rows of the answer", NULL);
    if (asks->part == FILTERS_SORT_PAGE)
        put_int_key(w, "page", "\"minimum\":1", "Which page, from 1", "1");
    else
        put_int_key(w, "offset", "\"minimum\":0", "Rows to pass over", "0");
    if (l->sorts[0].name)
        put_sort_key(w, l, str_fmt(arena, "\"%s\"", l->sorts[0].name));
}

/* ---- filters ---- */

static void put_operator_type(struct jw *w, const struct leaf *l, Str op)
{
    bool uuids = l->kind == LEAF_UUID || l->kind == LEAF_FN;
    if (str_eqz(op, "any_") || str_eqz(op, "not_any_")) {
        jw_kz(w, "type", "array");
        jw_key(w, STR("items"));
        jw_object(w);
        if (l->names)
            put_names(w, l->names);
        else
            jw_kz(w, "type", "string");
        if (uuids)
            jw_kz(w, "format", "uuid");
        jw_end(w);
    } else if (str_eqz(op, "id_")) {
        put_items(w, "uuid");
    } else if (str_eqz(op, "all_") || str_eqz(op, "startswith_") || str_eqz(op, "type_")) {
        put_items(w, NULL);
    } else if (str_eqz(op, "is_null_") || str_eqz(op, "exists_") || str_eqz(op, "eq_")) {
        jw_kz(w, "type", "boolean");
    } else if (str_eqz(op, "before_") || str_eqz(op, "after_")) {
        jw_kz(w, "type", "string");
        jw_kz(w, "format", "date-time");
    } else if (str_eqz(op, "ge_") || str_eqz(op, "le_")) {
        jw_kz(w, "type", "integer");
    } else {
        jw_kz(w, "type", "string");
    }
}

static void put_joined_by(struct jw *w)
{
    jw_kraw(w, "operator", STR("{\"type\":\"string\",\"enum\":[\"and_\",\"or_\"],\"default\":\"and_\"}"));
}

static void put_leaves(struct jw *w, const struct leaf *leaves, size_t n, bool joined);

static void put_leaf(struct jw *w, const struct leaf *l)
{
    if (l->kind == LEAF_GROUP) {
        put_leaves(w, l->sub, l->sub_count, true);
        return;
    }
    jw_kz(w, "type", "object");
    jw_key(w, STR("properties"));
    jw_object(w);
    Str rest = str_of(l->keys), op;
    while (str_cut(&rest, ' ', &op)) {
        if (str_eqz(op, "operator")) {
            put_joined_by(w);
            continue;
        }
        jw_key(w, op);
        jw_object(w);
        jw_key(w, STR("anyOf"));
        jw_array(w);
        jw_object(w);
        put_operator_type(w, l, op);
        jw_end(w);
        jw_raw(w, STR("{\"type\":\"null\"}"));
        jw_end(w);
        if (l->set_unless && str_eqz(op, "is_null_"))
            jw_kbool(w, "default", false);
        jw_end(w);
    }
    jw_end(w);
    if (l->must)
        jw_kraw(w, "required", str_fmt(arena, "[\"%s\"]", l->must));
    jw_kbool(w, "additionalProperties", false);
}

static void put_leaves(struct jw *w, const struct leaf *leaves, size_t n, bool joined)
{
    jw_kz(w, "type", "object");
    jw_key(w, STR("properties"));
    jw_object(w);
    if (joined)
        put_joined_by(w);
    for (size_t i = 0; i < n; i++) {
        jw_key(w, str_of(leaves[i].name));
        jw_object(w);
        jw_key(w, STR("anyOf"));
        jw_array(w);
        jw_object(w);
        put_leaf(w, &leaves[i]);
        jw_end(w);
        jw_raw(w, STR("{\"type\":\"null\"}"));
        jw_end(w);
        if (leaves[i].dflt)
            jw_kraw(w, "default", str_of(leaves[i].dflt));
        jw_end(w);
    }
    jw_end(w);
    jw_kbool(w, "additionalProperties", false);
}

static void put_wanted(struct jw *w, struct wanted one)
{
    jw_key(w, name_of(&one));
    jw_object(w);
    if (one.filter) {
        put_leaves(w, one.filter->leaves, one.filter->n, !one.filter->plain);
        jw_end(w);
        return;
    }
    jw_kz(w, "type", "object");
    jw_key(w, STR("properties"));
    jw_object(w);
    put_fields(w, one.shape, one.direction, NULL, false);
    jw_end(w);
    jw_key(w, STR("required"));
    jw_array(w);
    put_fields(w, one.shape, one.direction, NULL, true);
    jw_end(w);
    if (one.direction != ANSWERED && !one.shape->ignore_unknown)
        jw_kbool(w, "additionalProperties", false);
    jw_end(w);
}

/* ---- operations ---- */

static void put_parameter(struct jw *w, const struct field *f, const struct resource *of, const char *in)
{
    struct buf b = BUF(LIMIT_REPLY);
    struct jw schema = jw_on(&b);
    struct field bare = *f;
    bool path = !strcmp(in, "path");
    jw_object(&schema);
    put_type(&schema, &bare, ASKED);
    if (f->dflt)
        jw_kraw(&schema, "default", str_of(f->dflt));
    jw_end(&schema);
    UNUSED(of);
    jw_object(w);
    jw_kz(w, "name", f->name);
    jw_kz(w, "in", in);
    jw_kbool(w, "required", path || f->flags & REQUIRED);
    jw_kraw(w, "schema", str_dup(arena, buf_view(&b)));
    if (f->doc)
        jw_kz(w, "description", f->doc);
    jw_end(w);
    buf_free(&b);
}

static bool is_id(Str name)
{
    return str_eqz(name, "id") || str_ends(name, STR("_id"));
}

static size_t put_parameters(struct jw *w, const struct route *r)
{
    size_t n = 0;
    jw_key(w, STR("parameters"));
    jw_array(w);
    Str rest = str_of(r->path + 1), segment;
    while (str_cut(&rest, '/', &segment)) {
        if (!segment.n || segment.p[0] != '{')
            continue;
        Str name = str_sub(segment, 1, segment.n - 2);
        const struct field *row = r->asks.path ? resource_field(r->asks.path, name) : NULL;
        struct field f = row ? *row : (struct field){.name = str_z(arena, name), .type = is_id(name) ? F_UUID : F_STR};
        put_parameter(w, &f, NULL, "path");
        n++;
    }
    for (size_t i = 0; r->asks.query && i < r->asks.query->n; i++, n++)
        put_parameter(w, &r->asks.query->fields[i], r->asks.query, "query");
    for (size_t i = 0; r->asks.header && i < r->asks.header->n; i++)
        put_parameter(w, &r->asks.header->fields[i], r->asks.header, "header");
    if (strcmp(r->path, "/health") && strcmp(r->path, "/version"))
        jw_raw(w, STR("{\"$ref\":\"#/components/parameters/version\"}"));
    jw_end(w);
    return n;
}

static void open_schema(struct jw *w)
{
    jw_key(w, STR("content"));
    jw_object(w);
    jw_key(w, STR("application/json"));
    jw_object(w);
    jw_key(w, STR("schema"));
    jw_object(w);
}

static void close_schema(struct jw *w)
{
    for (int i = 0; i < 3; i++)
        jw_end(w);
}

static bool has_required(const struct resource *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->fields[i].flags & REQUIRED)
            return true;
    return false;
}

static void put_record_ref(struct jw *w, const struct asks *asks)
{
    enum direction d = asks->view == CREATE ? ASKED : asks->replace ? REPLACED : CHANGED;
    put_ref(w, (struct wanted){.shape = asks->record, .direction = d});
}

static void put_body(struct jw *w, const struct asks *asks)
{
    jw_key(w, STR("requestBody"));
    jw_object(w);
    open_schema(w);
    if (asks->whole) {
        put_type(w, asks->whole, ASKED);
        if (asks->whole->dflt)
            jw_kraw(w, "default", str_of(asks->whole->dflt));
    } else if (asks->record && asks->list) {
        jw_kz(w, "type", "array");
        jw_key(w, STR("items"));
        jw_object(w);
        put_record_ref(w, asks);
        jw_end(w);
    } else if (asks->record) {
        put_record_ref(w, asks);
    } else if (!asks->listing) {
        put_ref(w, (struct wanted){.shape = asks->keys, .direction = ASKED});
    } else {
        jw_kz(w, "type", "object");
        jw_key(w, STR("properties"));
        jw_object(w);
        put_listing_keys(w, asks);
        for (size_t i = 0; asks->keys && i < asks->keys->n; i++) {
            const struct field *f = &asks->keys->fields[i];
            if (f->type == F_ENUM && !f->more)
                put_sort_key(w, asks->listing, str_of(f->dflt));
            else
                put_field(w, f, asks->keys, ASKED);
        }
        jw_end(w);
        if (asks->own_filter)
            jw_kraw(w, "required", str_fmt(arena, "[\"%s\"]", asks->listing->self->key));
        if (asks->keys && has_required(asks->keys)) {
            jw_key(w, STR("required"));
            jw_array(w);
            put_fields(w, asks->keys, ASKED, NULL, true);
            jw_end(w);
        }
    }
    close_schema(w);
    jw_kbool(w, "required", asks->record || asks->own_filter || (asks->whole && asks->whole->flags & REQUIRED) || (asks->keys && has_required(asks->keys)));
    jw_end(w);
}

static void put_page(struct jw *w, const struct resource *shape)
{
    jw_kz(w, "type", "object");
    jw_key(w, STR("properties"));
    jw_object(w);
    jw_key(w, STR("results"));
    jw_object(w);
    jw_kz(w, "type", "array");
    jw_key(w, STR("items"));
    jw_object(w);
    put_shape_ref(w, shape, ANSWERED);
    jw_end(w);
    jw_end(w);
    static const char *const keys[] = {"count", "limit", "pages", "page"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        jw_key(w, str_of(keys[i]));
        jw_raw(w, STR("{\"type\":\"integer\"}"));
    }
    jw_end(w);
    jw_kraw(w, "required", STR("[\"results\",\"count\",\"limit\",\"pages\",\"page\"]"));
}

static void put_value(struct jw *w, const struct answers *a)
{
    const struct field f = {.type = a->type};
    if (a->shape)
        put_shape_ref(w, a->shape, ANSWERED);
    else
        put_type(w, &f, ANSWERED);
}

static void put_value_or_null(struct jw *w, const struct answers *a)
{
    if (!a->nullable) {
        put_value(w, a);
        return;
    }
    jw_key(w, STR("anyOf"));
    jw_array(w);
    jw_object(w);
    put_value(w, a);
    jw_end(w);
    jw_raw(w, STR("{\"type\":\"null\"}"));
    jw_end(w);
}

static void put_answer(struct jw *w, int status, const struct answers *a)
{
    jw_key(w, str_fmt(arena, "%d", status));
    jw_object(w);
    jw_kz(w, "description", status == 201 && a->made ? "It was made" : "Done");
    if (a->kind == ANSWER_CSV)
        jw_kraw(w, "content", STR("{\"text/csv\":{\"schema\":{\"type\":\"string\"}}}"));
    if (a->kind == ANSWER_TEXT)
        jw_kraw(w, "content", STR("{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}"));
    if (a->kind == ANSWER_CSV || a->kind == ANSWER_TEXT || a->kind == ANSWER_NOTHING) {
        jw_end(w);
        return;
    }
    open_schema(w);
    switch (a->kind) {
    case ANSWER_NOTHING:
    case ANSWER_CSV:
    case ANSWER_TEXT:
        break;
    case ANSWER_NULL:
        jw_kz(w, "type", "null");
        break;
    case ANSWER_VALUE:
    case ANSWER_ONE:
        put_value_or_null(w, a);
        break;
    case ANSWER_MANY:
        jw_kz(w, "type", "array");
        jw_key(w, STR("items"));
        jw_object(w);
        put_shape_ref(w, a->shape, ANSWERED);
        jw_end(w);
        break;
    case ANSWER_PAGE:
        put_page(w, a->shape);
        break;
    case ANSWER_MAP:
        jw_kz(w, "type", "object");
        jw_key(w, STR("additionalProperties"));
        jw_object(w);
        put_value_or_null(w, a);
        jw_end(w);
        break;
    }
    close_schema(w);
    jw_end(w);
}

/* "get_flow_runs_id": unique, as the path is. */
static Str id_of(const struct route *r, Str method)
{
    struct buf b = BUF(256);
    buf_str(&b, method);
    for (const char *p = r->path; *p; p++)
        if (*p != '{' && *p != '}' && (*p != '/' || p[1]))
            buf_fmt(&b, "%c", strchr("/-.", *p) ? '_' : *p);
    Str id = str_dup(arena, buf_view(&b));
    buf_free(&b);
    return id;
}

static void put_operation(struct jw *w, const struct route *r)
{
    const struct asks *asks = &r->asks;
    char method[8];
    size_t i = 0;
    for (; r->method[i] && i < sizeof method - 1; i++)
        method[i] = (char)(r->method[i] | 32);
    jw_key(w, (Str){method, i});
    jw_object(w);
    Str tag = str_of(r->path + 1), first;
    if (str_cut(&tag, '/', &first)) {
        jw_key(w, STR("tags"));
        jw_array(w);
        jw_str(w, first);
        jw_end(w);
    }
    jw_key(w, STR("operationId"));
    jw_str(w, id_of(r, (Str){method, i}));
    bool body = asks->keys || asks->record || asks->listing || asks->whole;
    bool checked = put_parameters(w, r) + body > 0;
    if (body)
        put_body(w, asks);
    jw_key(w, STR("responses"));
    jw_object(w);
    put_answer(w, r->status, &r->answers);
    if (r->answers.made)
        put_answer(w, 201, &r->answers);
    if (checked)
        jw_kraw(w, "422", STR("{\"$ref\":\"#/components/responses/invalid\"}"));
    jw_kraw(w, "default", STR("{\"$ref\":\"#/components/responses/error\"}"));
    jw_end(w);
    jw_end(w);
}

/* Beside the schemas of the tables: what the router answers itself. */
static const char fixed[] =
    "\"parameters\":{\"version\":{\"name\":\"x-prefect-api-version\",\"in\":\"header\",\"required\":false,"
    "\"description\":\"Version of the API that the client speaks: 0.8.0 or later\",\"schema\":{\"type\":\"string\"}}},"
    "\"responses\":{\"invalid\":{\"description\":\"The request is not as it must be\",\"content\":{\"application/json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/error\"}}}},"
    "\"error\":{\"description\":\"It was not done\",\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/error\"}}}}},"
    "\"securitySchemes\":{\"basic\":{\"type\":\"http\",\"scheme\":\"basic\"},\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"}},";
/* A sentence, under one of two keys; what is wrong with a request, by place; where a template is wrong; what is not ready. */
static const char errors[] =
    "{\"type\":\"object\",\"properties\":{\"detail\":{\"type\":\"string\"},\"exception_message\":{\"type\":\"string\"},\"request_body\":{},"
    "\"message\":{\"type\":\"string\"},\"failing\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"exception_detail\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},"
    "\"loc\":{\"type\":\"array\",\"items\":{}},\"msg\":{\"type\":\"string\"},\"input\":{}},\"required\":[\"type\",\"loc\",\"msg\",\"input\"]}},"
    "\"error\":{\"type\":\"object\",\"properties\":{\"line\":{\"type\":\"integer\"},\"message\":{\"type\":\"string\"},\"source\":{\"type\":\"string\"}},"
    "\"required\":[\"line\",\"message\",\"source\"]}}}";

static void put_paths(struct jw *w)
{
    bool *done = arena_array(arena, bool, route_count);
    jw_object(w);
    for (size_t i = 0; i < route_count; i++) {
        if (done[i] || routes[i].kind == SOCKET)
            continue;
        jw_key(w, str_of(routes[i].path));
        jw_object(w);
        for (size_t k = i; k < route_count; k++)
            if (!strcmp(routes[k].path, routes[i].path) && routes[k].kind != SOCKET) {
                put_operation(w, &routes[k]);
                done[k] = true;
            }
        jw_end(w);
    }
    jw_end(w);
}

int main(void)
{
    arena = arena_create();
    struct buf b = BUF(LIMIT_REPLY), parts = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b), p = jw_on(&parts);
    jw_object(&w);
    jw_kz(&w, "openapi", "3.1.0");
    jw_kraw(&w, "info", STR("{\"title\":\"millpond\",\"version\":\"" MILLPOND_VERSION "\",\"description\":\"Flows, their deployments, runs and workers.\"}"));
    jw_kraw(&w, "servers", STR("[{\"url\":\"/api\"}]"));
    jw_kraw(&w, "security", STR("[{},{\"basic\":[]},{\"bearer\":[]}]"));
    jw_key(&w, STR("paths"));
    put_paths(&w);
    jw_object(&p);
    jw_kraw(&p, "error", str_of(errors));
    for (size_t i = 0; i < wanted.n; i++) /* which grows meanwhile */
        put_wanted(&p, wanted.v[i]);
    jw_end(&p);
    buf_z(&b, ",\"components\":{");
    buf_z(&b, fixed);
    buf_z(&b, "\"schemas\":");
    buf_str(&b, buf_view(&parts));
    buf_z(&b, "}}\n");
    if (b.overflow || parts.overflow)
        die("the document is larger than %zu bytes", LIMIT_REPLY);
    fwrite(b.p, 1, b.n, stdout);
    buf_free(&b);
    buf_free(&parts);
    arena_free(arena);
    return fflush(stdout) == 0 ? 0 : 1;
}
