#include "model/filter.h"

#include <string.h>

static bool has_key(const char *keys, Str key)
{
    Str rest = str_of(keys), one;
    while (str_cut(&rest, ' ', &one))
        if (str_eq(one, key))
            return true;
    return false;
}

void sql_in_uuids(struct sql *q, const char *expr, const Uuid *ids, size_t n)
{
    if (!n) {
        sql_z(q, "1 = 0");
        return;
    }
    sql_z(q, expr);
    sql_z(q, " IN (");
    for (size_t i = 0; i < n; i++) {
        if (i)
            sql_z(q, ", ");
        sql_uuid(q, ids[i]);
    }
    sql_z(q, ")");
}

/* The nil UUID is no object's. */
static bool is_nobody(enum leaf_kind kind, const struct json *v)
{
    Uuid id;
    return kind == LEAF_UUID && uuid_parse(json_str(v), &id) && uuid_is_nil(id);
}

static bool is_one_of(const char *const *names, Str s)
{
    for (; *names; names++)
        if (str_eqz(s, *names))
            return true;
    return false;
}

/* One value of a list operator, of the leaf's own type. */
static void list_value(struct sql *q, enum leaf_kind kind, const char *const *names, const struct json *v, struct violations *out)
{
    Uuid id = UUID_NIL;
    if (kind == LEAF_UUID) {
        if (v->kind != JSON_STRING || !uuid_parse(v->string, &id))
            violation_add(out, "uuid_parsing", STR_NONE, v, "must be a UUID");
        sql_uuid(q, id);
    } else {
        if (v->kind != JSON_STRING)
            violation_add(out, "string_type", STR_NONE, v, "must be a string");
        else if (names && !is_one_of(names, v->string))
            violation_add(out, "enum", STR_NONE, v, "is none of the values that there are");
        sql_str(q, v->kind == JSON_STRING ? v->string : STR(""));
    }
}

static void any_of(struct sql *q, const struct leaf *l, bool negate, const struct json *v, struct violations *out)
{
    if (v->kind != JSON_ARRAY) {
        violation_add(out, "list_type", STR_NONE, v, "must be a list");
        return;
    }
    const char *open = negate ? " NOT IN (" : " IN (", *before = open;
    for (size_t i = 0; i < v->array.n; i++) {
        if (is_nobody(l->kind, &v->array.items[i]))
            continue;
        if (before == open)
            sql_z(q, l->expr);
        sql_z(q, before);
        list_value(q, l->kind, l->names, &v->array.items[i], out);
        before = ", ";
    }
    sql_z(q, before != open ? ")" : negate ? "1 = 1" : "1 = 0");
}

static void like(struct sql *q, const char *expr, Str pattern)
{
    sql_z(q, expr);
    sql_z(q, q->kind == DB_POSTGRES ? " ILIKE " : " LIKE ");
    sql_str(q, pattern);
}

static void tag_of(struct sql *q, const char *expr, const struct json *v, struct violations *out)
{
    if (q->kind == DB_POSTGRES)
        buf_fmt(&q->text, "(%s)::jsonb ? ", expr);
    else
        buf_fmt(&q->text, "EXISTS (SELECT 1 FROM json_each(%s) AS tag WHERE tag.value = ", expr);
    list_value(q, LEAF_TEXT, NULL, v, out);
    if (q->kind != DB_POSTGRES)
        sql_z(q, ")");
}

static void tags(struct sql *q, const struct leaf *l, const char *joiner, const struct json *v, struct violations *out)
{
    if (v->kind != JSON_ARRAY) {
        violation_add(out, "list_type", STR_NONE, v, "must be a list");
        return;
    }
    if (!v->array.n) {
        sql_z(q, strcmp(joiner, " OR ") ? "1 = 1" : "1 = 0");
        return;
    }
    sql_z(q, "(");
    for (size_t i = 0; i < v->array.n; i++) {
        if (i)
            sql_z(q, joiner);
        tag_of(q, l->expr, &v->array.items[i], out);
    }
    sql_z(q, ")");
}

static void starts(struct sql *q, const struct leaf *l, const struct json *v, struct violations *out)
{
    if (v->kind != JSON_ARRAY) {
        violation_add(out, "list_type", STR_NONE, v, "must be a list");
        return;
    }
    sql_z(q, "(1 = 0");
    for (size_t i = 0; i < v->array.n; i++) {
        sql_z(q, " OR ");
        like(q, l->expr, str_fmt(q->a, "%.*s%%", STR_ARG(json_str(&v->array.items[i]))));
    }
    sql_z(q, ")");
}

static bool boolean(const struct json *v, struct violations *out)
{
    if (v->kind != JSON_BOOL)
        violation_add(out, "bool_type", STR_NONE, v, "must be true or false");
    return v->kind == JSON_BOOL && v->boolean;
}

static void is_null(struct sql *q, const struct leaf *l, bool yes)
{
    if (l->kind == LEAF_TAGS) {
        buf_fmt(&q->text, q->kind == DB_POSTGRES ? "jsonb_array_length((%s)::jsonb) " : "json_array_length(%s) ", l->expr);
        sql_z(q, yes ? "= 0" : "> 0");
        return;
    }
    sql_z(q, l->null_expr ? l->null_expr : l->expr);
    sql_z(q, yes ? " IS NULL" : " IS NOT NULL");
}

static void operator_clause(struct sql *q, const struct leaf *l, Str op, const struct json *v, struct violations *out)
{
    if (str_eqz(op, "any_") || str_eqz(op, "id_") || str_eqz(op, "type_")) {
        if (l->kind == LEAF_TAGS)
            tags(q, l, " OR ", v, out);
        else
            any_of(q, l, false, v, out);
    } else if (str_eqz(op, "not_any_")) {
        any_of(q, l, true, v, out);
    } else if (str_eqz(op, "all_")) {
        tags(q, l, " AND ", v, out);
    } else if (str_eqz(op, "is_null_")) {
        is_null(q, l, boolean(v, out));
    } else if (str_eqz(op, "exists_")) {
        is_null(q, l, !boolean(v, out));
    } else if (str_eqz(op, "like_") || str_eqz(op, "query")) {
        if (v->kind != JSON_STRING)
            violation_add(out, "string_type", STR_NONE, v, "must be a string");
        like(q, l->expr, str_fmt(q->a, "%%%.*s%%", STR_ARG(json_str(v).p ? json_str(v) : STR(""))));
    } else if (str_eqz(op, "startswith_")) {
        starts(q, l, v, out);
    } else if (str_eqz(op, "before_") || str_eqz(op, "after_")) {
        Time t = 0;
        if (!time_read(v, &t))
            violation_add(out, "datetime_parsing", STR_NONE, v, "must be a date and time in ISO 8601");
        sql_z(q, l->expr);
        sql_z(q, str_eqz(op, "before_") ? " <= " : " >= ");
        sql_time(q, t);
    } else if (str_eqz(op, "eq_")) {
        sql_z(q, l->expr);
        sql_z(q, " = ");
        sql_int(q, boolean(v, out));
    } else if (str_eqz(op, "ge_") || str_eqz(op, "le_")) {
        int64_t n = 0;
        if (!json_int(v, &n))
            violation_add(out, "int_type", STR_NONE, v, "must be a whole number");
        sql_z(q, l->expr);
        sql_z(q, str_eqz(op, "ge_") ? " >= " : " <= ");
        sql_int(q, n);
    } else {
        die("filter operator %.*s has no clause", STR_ARG(op));
    }
}

/* " AND " or " OR " by the object's `operator`. */
static const char *joiner_of(const struct json *object, struct violations *out)
{
    const struct json *op = json_getz(object, "operator");
    if (json_is_null(op) || str_eqz(json_str(op), "and_"))
        return " AND ";
    if (!str_eqz(json_str(op), "or_"))
        violation_add(out, "enum", STR("operator"), op, "must be and_ or or_");
    return " OR ";
}

static void leaves_where(struct sql *q, const struct leaf *leaves, size_t n, const struct json *object, struct violations *out);

static void leaf_where(struct sql *q, const struct leaf *l, const struct json *v, struct violations *out)
{
    if (v->kind != JSON_OBJECT) {
        violation_add(out, "model_attributes_type", STR_NONE, v, "must be an object");
        sql_z(q, "1 = 1");
        return;
    }
    for (size_t i = 0; l->kind != LEAF_GROUP && i < v->object.n; i++)
        if (!has_key(l->keys, v->object.members[i].key))
            violation_add(out, "extra_forbidden", v->object.members[i].key, &v->object.members[i].value, "is not a known key here");
    if (l->must && !json_get(v, str_of(l->must)))
        violation_add(out, "missing", str_of(l->must), v, "is required");
    switch (l->kind) {
    case LEAF_GROUP:
        leaves_where(q, l->sub, l->sub_count, v, out);
        return;
    case LEAF_FN:
        l->fn(q, v, out);
        return;
    case LEAF_IGNORED:
        sql_z(q, "1 = 1");
        return;
    case LEAF_UUID:
    case LEAF_TEXT:
    case LEAF_TAGS:
    case LEAF_TIME:
    case LEAF_BOOL:
    case LEAF_INT:
        break;
    }
    const char *joiner = joiner_of(v, out);
    size_t n = 0;
    sql_z(q, "(");
    for (size_t i = 0; i < v->object.n; i++) {
        const struct json_member *m = &v->object.members[i];
        if (!has_key(l->keys, m->key) || m->value.kind == JSON_NULL || str_eqz(m->key, "operator"))
            continue;
        if (n++)
            sql_z(q, joiner);
        Str before = violations_enter(out, m->key);
        operator_clause(q, l, m->key, &m->value, out);
        out->prefix = before;
    }
    if (l->set_unless && !json_getz(v, "is_null_")) {
        if (n++)
            sql_z(q, joiner);
        is_null(q, l, false);
    }
    sql_z(q, n ? ")" : "1 = 1)");
}

static const struct leaf *find_leaf(const struct leaf *leaves, size_t n, Str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, leaves[i].name))
            return &leaves[i];
    return NULL;
}

static void leaves_where(struct sql *q, const struct leaf *leaves, size_t n, const struct json *object, struct violations *out)
{
    const char *joiner = joiner_of(object, out);
    size_t written = 0;
    sql_z(q, "(");
    for (size_t i = 0; i < object->object.n; i++) {
        const struct json_member *m = &object->object.members[i];
        if (str_eqz(m->key, "operator"))
            continue;
        const struct leaf *l = find_leaf(leaves, n, m->key);
        if (!l) {
            violation_add(out, "extra_forbidden", m->key, &m->value, "is not a known key here");
            continue;
        }
        if (m->value.kind == JSON_NULL)
            continue;
        if (written++)
            sql_z(q, joiner);
        Str before = violations_enter(out, m->key);
        leaf_where(q, l, &m->value, out);
        out->prefix = before;
    }
    for (size_t i = 0; i < n; i++) {
        if (!leaves[i].dflt || json_get(object, str_of(leaves[i].name)))
            continue;
        struct err err;
        const struct json *v = json_parse(q->a, str_of(leaves[i].dflt), &err);
        if (!v)
            die("default of filter %s: %s", leaves[i].name, err.text);
        if (written++)
            sql_z(q, joiner);
        leaf_where(q, &leaves[i], v, out);
    }
    sql_z(q, written ? ")" : "1 = 1)");
}

void filter_where(struct sql *q, const struct filter_def *f, const struct json *object, struct violations *v)
{
    if (!json_is_null(object) && object->kind != JSON_OBJECT) {
        violation_add(v, "model_attributes_type", STR_NONE, object, "must be an object");
        object = NULL;
    }
    static const struct json empty = {.kind = JSON_OBJECT};
    if (f->if_given && json_is_null(object)) {
        sql_z(q, "1 = 1");
        return;
    }
    const struct json *joined = f->plain ? json_getz(object, "operator") : NULL;
    if (joined)
        violation_add(v, "extra_forbidden", STR("operator"), joined, "is not a known key here");
    leaves_where(q, f->leaves, f->n, json_is_null(object) ? &empty : object, v);
}

static const struct json *filter_in(const struct json *body, const struct filter_def *f, Str *ret_key)
{
    *ret_key = str_of(f->key);
    const struct json *v = json_get(body, *ret_key);
    if (json_is_null(v) && f->also) {
        *ret_key = str_of(f->also);
        v = json_get(body, *ret_key);
    }
    return json_is_null(v) ? NULL : v;
}

static void where_in(struct sql *q, const struct filter_def *f, const struct json *object, Str key, struct violations *v)
{
    Str before = violations_enter(v, key);
    filter_where(q, f, object, v);
    v->prefix = before;
}

void listing_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v)
{
    Str key;
    sql_z(q, " WHERE ");
    if (l->self) {
        const struct json *own = filter_in(body, l->self, &key);
        where_in(q, l->self, own, key, v);
    } else {
        sql_z(q, "1 = 1");
    }
    for (size_t i = 0; i < l->join_count; i++) {
        const struct json *object = filter_in(body, l->joins[i].to, &key);
        if (!object)
            continue;
        Str exists = str_of(l->joins[i].exists);
        ptrdiff_t at = str_find(exists, STR("%s"));
        sql_z(q, " AND ");
        sql_put(q, str_sub(exists, 0, (size_t)at));
        where_in(q, l->joins[i].to, object, key, v);
        sql_put(q, str_sub(exists, (size_t)at + 2, exists.n));
    }
}

static const struct sort *sort_of(const struct listing *l, const struct json *body)
{
    const struct json *sort = json_getz(body, "sort");
    if (json_is_null(sort) || !l->sorts[0].name)
        return &l->sorts[0];
    for (size_t i = 0; i < l->sort_count; i++)
        if (str_eqz(json_str(sort), l->sorts[i].name))
            return &l->sorts[i];
    return NULL;
}

static bool sort_is_driven(const struct listing *l, const struct json *body)
{
    const struct sort *sort = sort_of(l, body);
    return sort && sort->driven;
}

/* A tag that every row of the answer must have, or STR_NONE: then the listing does not go along its tag table. */
static Str driving_tag(const struct sql *q, const struct listing *l, const struct json *body)
{
    if (!l->tag_table || q->kind != DB_SQLITE || q->by_name)
        return STR_NONE;
    const struct json *own = json_get(body, str_of(l->self->key)), *by_tag = json_getz(own, "tags");
    if (str_eqz(json_get_str(own, STR("operator")), "or_") || str_eqz(json_get_str(by_tag, STR("operator")), "or_"))
        return STR_NONE;
    const struct json *all = json_getz(by_tag, "all_"), *any = json_getz(by_tag, "any_");
    if (json_is(all, JSON_ARRAY) && all->array.n)
        return json_str(&all->array.items[0]);
    return json_is(any, JSON_ARRAY) && any->array.n == 1 ? json_str(&any->array.items[0]) : STR_NONE;
}

/* ---- by a part of the name ---- */

#define PART_MIN 3       /* letters that the index looks for */
#define FOUND_FEW 5000   /* rows: more are found sooner along the sort order's index */

/* What every row's name must be like, or STR_NONE. */
static Str name_part(const struct sql *q, const struct listing *l, const struct json *body)
{
    if (!l->name_table || q->kind != DB_SQLITE)
        return STR_NONE;
    const struct json *own = json_get(body, str_of(l->self->key)), *by_name = json_getz(own, "name");
    if (str_eqz(json_get_str(own, STR("operator")), "or_") || str_eqz(json_get_str(by_name, STR("operator")), "or_"))
        return STR_NONE;
    return json_get_str(by_name, STR("like_"));
}

/* FTS5 query of the pieces between the wildcards, "wit" AND "otter"; STR_NONE: all are too short. */
static Str name_match(struct sql *q, Str like)
{
    AUTO(buf_free) struct buf text = BUF(8 * like.n + 64);
    for (size_t i = 0; i < like.n;) {
        size_t begin = i, letters = 0;
        for (; i < like.n && like.p[i] != '%' && like.p[i] != '_' && like.p[i]; i++)
            letters += ((uint8_t)like.p[i] & 0xc0) != 0x80;
        if (letters >= PART_MIN) {
            buf_z(&text, text.n ? " AND \"" : "\"");
            for (size_t j = begin; j < i; j++)
                buf_fmt(&text, like.p[j] == '"' ? "\"\"" : "%c", like.p[j]);
            buf_z(&text, "\"");
        }
        i += i < like.n;
    }
    return text.n ? str_dup(q->a, buf_view(&text)) : STR_NONE;
}

/* " FROM names AS named CROSS JOIN <from>"; its condition is names_where. */
static void names_from(struct sql *q, const struct listing *l)
{
    buf_fmt(&q->text, "%s AS named CROSS JOIN ", l->name_table);
}

static void names_where(struct sql *q, const struct listing *l, Str like_part)
{
    buf_fmt(&q->text, " AND %s.name = named.name AND (named.id IN (SELECT rowid FROM %s_part WHERE %s_part MATCH ", l->resource->table, l->name_table, l->name_table);
    sql_str(q, name_match(q, like_part));
    buf_fmt(&q->text, ") OR named.id > (SELECT coalesce(max(name_id), 0) FROM %s_mark)) AND ", l->name_table);
    like(q, "named.name", str_fmt(q->a, "%%%.*s%%", STR_ARG(like_part)));
}

int listing_plan(struct sql *q, struct conn *c, const struct listing *l, const struct json *body, struct err *err)
{
    Str part = name_part(q, l, body);
    if (!part.p || !name_match(q, part).p)
        return 0;
    AUTO(sql_free) struct sql probe = sql_new(q->a, q->kind);
    sql_z(&probe, "SELECT count(*) FROM (SELECT 1 FROM ");
    names_from(&probe, l);
    buf_fmt(&probe.text, "%s WHERE 1 = 1", l->resource->table);
    names_where(&probe, l, part);
    sql_z(&probe, " LIMIT ");
    sql_int(&probe, FOUND_FEW + 1);
    sql_z(&probe, ")");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &probe, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    q->by_name = stmt_int(rows, 0) <= FOUND_FEW;
    return 0;
}

void listing_order(struct sql *q, const struct listing *l, const struct json *body, struct violations *v)
{
    const struct sort *use = sort_of(l, body);
    if (!use) {
        violation_add(v, "enum", STR("sort"), json_getz(body, "sort"), "is no sort order of these objects");
        use = &l->sorts[0];
    }
    sql_z(q, " ORDER BY ");
    sql_z(q, use->driven && driving_tag(q, l, body).p ? use->driven : use->order);
}

/* Along the tag table where `driven`, or the names. */
static void from_where(struct sql *q, const struct listing *l, const char *from, bool driven, const struct json *body, struct violations *v)
{
    Str tag = driven ? driving_tag(q, l, body) : STR_NONE;
    sql_z(q, " FROM ");
    if (tag.p)
        buf_fmt(&q->text, "%s AS drive CROSS JOIN ", l->tag_table);
    if (q->by_name)
        names_from(q, l);
    sql_z(q, from);
    listing_where(q, l, body, v);
    if (q->by_name)
        names_where(q, l, name_part(q, l, body));
    if (tag.p) {
        buf_fmt(&q->text, " AND %s.id = drive.run_id AND drive.tag = ", l->resource->table);
        sql_str(q, tag);
    }
}

static void select_columns(struct sql *q, const struct listing *l)
{
    sql_z(q, "SELECT ");
    sql_put(q, resource_columns(l->resource));
    if (l->columns)
        sql_z(q, l->columns);
}

void listing_select(struct sql *q, const struct listing *l)
{
    select_columns(q, l);
    sql_z(q, " FROM ");
    sql_z(q, l->from ? l->from : l->resource->table);
}

void listing_select_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v)
{
    select_columns(q, l);
    from_where(q, l, l->from ? l->from : l->resource->table, sort_is_driven(l, body), body, v);
}

void listing_from_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v)
{
    from_where(q, l, l->resource->table, sort_is_driven(l, body), body, v);
}

void listing_count(struct sql *q, const struct listing *l, const struct json *body, struct violations *v)
{
    /* no filter speaks of what the joins of `from` bring */
    sql_z(q, "SELECT count(*)");
    Str part = name_part(q, l, body);
    q->by_name = part.p && name_match(q, part).p;
    from_where(q, l, l->resource->table, true, body, v);
}
