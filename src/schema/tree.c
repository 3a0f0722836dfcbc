#include "schema/tree.h"

#include "schema/pyrepr.h"

#include <math.h>

void tree_add(struct arena *a, struct tree_members *m, Str key, const struct json *value)
{
    struct json_member member = {key, *value};
    vec_push(a, &m->list, member);
}

void tree_set(struct arena *a, struct tree_members *m, Str key, const struct json *value)
{
    for (size_t i = m->list.n; i-- > 0;) {
        if (str_eq(m->list.v[i].key, key)) {
            m->list.v[i].value = *value;
            return;
        }
    }
    tree_add(a, m, key, value);
}

void tree_push(struct arena *a, struct tree_items *t, const struct json *value)
{
    vec_push(a, &t->list, *value);
}

const struct json *tree_object(struct arena *a, const struct tree_members *m)
{
    struct json *v = arena_new(a, struct json);
    v->kind = JSON_OBJECT;
    v->object.members = m->list.v;
    v->object.n = m->list.n;
    return v;
}

const struct json *tree_array(struct arena *a, const struct tree_items *t)
{
    struct json *v = arena_new(a, struct json);
    v->kind = JSON_ARRAY;
    v->array.items = t->list.v;
    v->array.n = t->list.n;
    return v;
}

const struct json *tree_bool(bool v)
{
    static const struct json values[] = {
        {.kind = JSON_BOOL, .raw = {"false", 5}},
        {.kind = JSON_BOOL, .raw = {"true", 4}, .boolean = true},
    };
    return &values[v];
}

const struct json *tree_null(void)
{
    static const struct json value = {.kind = JSON_NULL, .raw = {"null", 4}};
    return &value;
}

const struct json *tree_int(struct arena *a, int64_t v)
{
    struct json *j = arena_new(a, struct json);
    j->kind = JSON_NUMBER;
    j->raw = str_fmt(a, "%lld", (long long)v);
    return j;
}

const struct json *tree_double(struct arena *a, double v)
{
    if (!isfinite(v))
        return tree_null();
    AUTO(buf_free) struct buf b = BUF(64);
    py_repr_double(&b, v);
    struct json *j = arena_new(a, struct json);
    j->kind = JSON_NUMBER;
    j->raw = str_dup(a, buf_view(&b));
    return j;
}

const struct json *tree_str(struct arena *a, Str s)
{
    struct json *j = arena_new(a, struct json);
    j->kind = JSON_STRING;
    j->string = s;
    return j;
}

/* Counts what the text would at least come to, and stops at once where that or the depth is too much:
 * a value may stand in a made tree thousands of times. */
static int measure(const struct json *v, int depth, size_t *left, struct err *err)
{
    if (depth <= 0)
        return err_set(err, ERR_INVALID, "the values come to lie nested too deeply");
    size_t n = v->kind == JSON_STRING ? v->string.n + 2 : 1;
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++)
        n += v->object.members[i].key.n + 3;
    if (n > *left)
        return err_set(err, ERR_TOO_LARGE, "the values come to too much text");
    *left -= n;
    if (v->kind == JSON_ARRAY)
        for (size_t i = 0; i < v->array.n; i++)
            if (measure(&v->array.items[i], depth - 1, left, err) < 0)
                return -1;
    if (v->kind == JSON_OBJECT)
        for (size_t i = 0; i < v->object.n; i++)
            if (measure(&v->object.members[i].value, depth - 1, left, err) < 0)
                return -1;
    return 0;
}

const struct json *tree_seal(struct arena *a, const struct json *v, size_t max, struct err *err)
{
    size_t left = max;
    if (measure(v, LIMIT_JSON_DEPTH, &left, err) < 0)
        return NULL;
    AUTO(buf_free) struct buf b = BUF(max);
    struct jw w = jw_on(&b);
    jw_value(&w, v);
    if (b.overflow) {
        err_set(err, ERR_TOO_LARGE, "the values come to too much text");
        return NULL;
    }
    return json_parse(a, str_dup(a, buf_view(&b)), err);
}
