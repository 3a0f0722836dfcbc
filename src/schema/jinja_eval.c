/* Walks a template's nodes over a context. */
#include "schema/jinja.h"

#include "schema/pyrepr.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Expressions and blocks within each other at run time; a C stack frame each. */
#define CALLS_MAX 1500

const struct json *oops(struct machine *m, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(m->err, ERR_INVALID, "line %d: %s", m->line, text);
    return NULL;
}

bool spend(struct machine *m, size_t n)
{
    if (m->steps >= 0)
        m->steps -= (int64_t)MIN(n, (size_t)INT32_MAX);
    if (m->steps >= 0)
        return true;
    oops(m, "the template takes too long");
    return false;
}

/* Known by its address; reads as JSON where it stands in a list that is printed as such. */
static const char undefined_mark[] = "null";

const struct json *undefined(struct machine *m, Str name)
{
    struct json *v = arena_new(m->a, struct json);
    *v = (struct json){.kind = JSON_NULL, .raw = {undefined_mark, 4}, .string = name};
    return v;
}

bool is_undefined(const struct json *v)
{
    return v->kind == JSON_NULL && v->raw.p == undefined_mark;
}

static const struct json *undefined_oops(struct machine *m, const struct json *v)
{
    return oops(m, "'%.*s' is undefined", (int)MIN(v->string.n, 100), v->string.p);
}

bool truthy(const struct json *v)
{
    bool whole;
    int64_t i;
    double d;
    switch (v->kind) {
    case JSON_NULL:
        return false;
    case JSON_BOOL:
        return v->boolean;
    case JSON_NUMBER:
        return !number_of(v, &whole, &i, &d) || (whole ? i != 0 : d != 0);
    case JSON_STRING:
        return v->string.n > 0;
    case JSON_ARRAY:
        return v->array.n > 0;
    case JSON_OBJECT:
        return v->object.n > 0;
    }
    return false;
}

Str text_of(struct machine *m, const struct json *v)
{
    if (is_undefined(v))
        return STR("");
    if (v->kind == JSON_STRING)
        return spend(m, v->string.n / 64) ? v->string : STR_NONE;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX);
    py_str(&b, v);
    if (b.overflow) {
        oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
        return STR_NONE;
    }
    return spend(m, b.n / 16) ? str_dup(m->a, buf_view(&b)) : STR_NONE;
}

const struct json *made_str(struct machine *m, Str s)
{
    if (!s.p)
        return NULL;
    if (s.n > JINJA_OUTPUT_MAX)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    return spend(m, 1 + s.n / 16) ? tree_str(m->a, s) : NULL;
}

bool items_of(struct machine *m, const struct json *v, struct tree_items *ret)
{
    *ret = (struct tree_items){0};
    switch (v->kind) {
    case JSON_NULL:
        if (is_undefined(v))
            return true;
        break;
    case JSON_ARRAY:
        if (!spend(m, v->array.n))
            return false;
        for (size_t i = 0; i < v->array.n; i++)
            tree_push(m->a, ret, &v->array.items[i]);
        return true;
    case JSON_OBJECT:
        if (!spend(m, v->object.n))
            return false;
        for (size_t i = 0; i < v->object.n; i++)
            tree_push(m->a, ret, tree_str(m->a, v->object.members[i].key));
        return true;
    case JSON_STRING:
        if (!spend(m, v->string.n))
            return false;
        for (size_t i = 0, n; i < v->string.n; i += n) {
            for (n = 1; i + n < v->string.n && ((unsigned char)v->string.p[i + n] & 0xc0) == 0x80;)
                n++;
            tree_push(m->a, ret, tree_str(m->a, str_sub(v->string, i, n)));
        }
        return true;
    case JSON_BOOL:
    case JSON_NUMBER:
        break;
    }
    oops(m, "%s cannot be gone through",
         v->kind == JSON_NULL   ? "none"
         : v->kind == JSON_BOOL ? "a boolean"
                                : "a number");
    return false;
}

bool number_of(const struct json *v, bool *ret_whole, int64_t *ret_i, double *ret_d)
{
    *ret_whole = true;
    *ret_i = 0;
    if (v->kind == JSON_BOOL) {
        *ret_i = v->boolean;
        *ret_d = v->boolean;
        return true;
    }
    if (v->kind != JSON_NUMBER)
        return false;
    if (str_int(v->raw, ret_i)) {
        *ret_d = (double)*ret_i;
        return true;
    }
    *ret_whole = false;
    if (!str_double(v->raw, ret_d))
        *ret_d = v->raw.p[0] == '-' ? -INFINITY : INFINITY;
    return true;
}

/* Nodes in a value, to charge for what walks it; counts no further than `max`. */
static size_t weight(const struct json *v, size_t max)
{
    size_t n = 1;
    for (size_t i = 0; v->kind == JSON_ARRAY && i < v->array.n && n < max; i++)
        n += weight(&v->array.items[i], max - n);
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n && n < max; i++)
        n += weight(&v->object.members[i].value, max - n);
    return n;
}

bool pay_comparison(struct machine *m, const struct json *x, const struct json *y)
{
    if (x->kind != y->kind)
        return true;
    switch (x->kind) {
    case JSON_NULL:
    case JSON_BOOL:
        return true;
    case JSON_NUMBER:
        return spend(m, (x->raw.n + y->raw.n) / 256);
    case JSON_STRING:
        return spend(m, MIN(x->string.n, y->string.n) / 256);
    case JSON_ARRAY:
        return x->array.n != y->array.n || spend(m, weight(x, JINJA_STEPS));
    case JSON_OBJECT:
        return spend(m, weight(x, JINJA_STEPS) + x->object.n * MIN(y->object.n, JINJA_STEPS) / 16);
    }
    return true;
}

bool equal_values(const struct json *x, const struct json *y)
{
    bool wx, wy;
    int64_t ix, iy;
    double dx, dy;
    if (is_undefined(x) || is_undefined(y))
        return is_undefined(x) && is_undefined(y);
    if (x->kind != y->kind && number_of(x, &wx, &ix, &dx) && number_of(y, &wy, &iy, &dy))
        return dx == dy; /* True is 1 */
    return json_equal(x, y);
}

static const char *kind_name(const struct json *v)
{
    static const char *const names[] = {"none", "a boolean", "a number", "a text", "a list", "a mapping"};
    return names[v->kind];
}

int order_of(struct machine *m, const struct json *x, const struct json *y)
{
    bool wx, wy;
    int64_t ix, iy;
    double dx, dy;
    if (is_undefined(x) || is_undefined(y)) {
        undefined_oops(m, is_undefined(x) ? x : y);
        return 2;
    }
    if (number_of(x, &wx, &ix, &dx) && number_of(y, &wy, &iy, &dy))
        return wx && wy ? (ix > iy) - (ix < iy) : (dx > dy) - (dx < dy);
    if (x->kind == JSON_STRING && y->kind == JSON_STRING)
        return str_cmp(x->string, y->string) > 0 ? 1 : str_cmp(x->string, y->string) < 0 ? -1 : 0;
    oops(m, "%s and %s have no order", kind_name(x), kind_name(y));
    return 2;
}

const struct json *arg_get(const struct args *args, size_t i, const char *name)
{
    for (size_t k = 0; k < args->named; k++)
        if (str_eqz(args->names[k], name))
            return args->values[args->n - args->named + k];
    return i < args->n - args->named ? args->values[i] : NULL;
}

const struct json *attribute(struct machine *m, const struct json *v, Str name)
{
    const struct json *found = json_get(v, name);
    if (v->kind == JSON_OBJECT && !spend(m, v->object.n / 16))
        return NULL;
    return found ? found : undefined(m, name);
}

/* ---- expressions ---- */

static const struct json *eval(struct machine *m, const struct node *n);

static const struct json *lookup(struct machine *m, Str name)
{
    for (struct variables *s = m->scope; s; s = s->outer)
        for (size_t i = s->list.n; i-- > 0;)
            if (str_eq(s->list.v[i].key, name))
                return &s->list.v[i].value;
    return m->vars ? attribute(m, m->vars, name) : undefined(m, name);
}

static bool nested_within(const struct json *v, int depth)
{
    if (depth < 0)
        return false;
    for (size_t i = 0; v->kind == JSON_ARRAY && i < v->array.n; i++)
        if (!nested_within(&v->array.items[i], depth - 1))
            return false;
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++)
        if (!nested_within(&v->object.members[i].value, depth - 1))
            return false;
    return true;
}

static bool contained(struct machine *m, const struct json *v)
{
    if (v->kind != JSON_ARRAY && v->kind != JSON_OBJECT)
        return true;
    if (!spend(m, weight(v, JINJA_STEPS)))
        return false;
    if (nested_within(v, LIMIT_JSON_DEPTH - JINJA_DEPTH_MAX))
        return true;
    oops(m, "a list is nested too deeply");
    return false;
}

static const struct json *eval_list(struct machine *m, const struct node *n)
{
    struct tree_items items = {0};
    for (size_t i = 0; i < n->items.list.n; i++) {
        const struct json *v = eval(m, n->items.list.v[i]);
        if (!v || !contained(m, v))
            return NULL;
        tree_push(m->a, &items, v);
    }
    return tree_array(m->a, &items);
}

static const struct json *eval_dict(struct machine *m, const struct node *n)
{
    struct tree_members members = {0};
    for (size_t i = 0; i + 1 < n->items.list.n; i += 2) {
        const struct json *key = eval(m, n->items.list.v[i]);
        const struct json *v = key ? eval(m, n->items.list.v[i + 1]) : NULL;
        if (!v || !contained(m, v))
            return NULL;
        if (!spend(m, members.list.n / 8))
            return NULL;
        Str name = text_of(m, key);
        if (!name.p)
            return NULL;
        tree_set(m->a, &members, name, v);
    }
    return tree_object(m->a, &members);
}

static const struct json *eval_index(struct machine *m, const struct node *n)
{
    const struct json *x = eval(m, n->x), *y = x ? eval(m, n->y) : NULL;
    if (!y)
        return NULL;
    int64_t i;
    if (x->kind == JSON_OBJECT) {
        Str key = text_of(m, y);
        return key.p ? attribute(m, x, key) : NULL;
    }
    if ((x->kind == JSON_ARRAY || x->kind == JSON_STRING) && y->kind == JSON_NUMBER && str_int(y->raw, &i)) {
        struct tree_items items;
        if (x->kind == JSON_ARRAY)
            items.list.v = NULL, items.list.n = x->array.n;
        else if (!items_of(m, x, &items))
            return NULL;
        if (i < 0)
            i += (int64_t)items.list.n;
        if (i >= 0 && (uint64_t)i < items.list.n)
            return x->kind == JSON_ARRAY ? &x->array.items[i] : &items.list.v[i];
    }
    return undefined(m, STR("the item"));
}

/* from, to or step of a slice; -1 with the error. */
static int slice_part(struct machine *m, const struct node *n, int64_t absent, int64_t *ret)
{
    const struct json *v;
    *ret = absent;
    if (!n)
        return 0;
    if (!(v = eval(m, n)))
        return -1;
    if (v->kind == JSON_NUMBER && str_int(v->raw, ret)) {
        *ret = MAX(MIN(*ret, (int64_t)1 << 40), -((int64_t)1 << 40));
        return 0;
    }
    oops(m, "a slice wants whole numbers");
    return -1;
}

static const struct json *eval_slice(struct machine *m, const struct node *n)
{
    const struct json *x = eval(m, n->x);
    int64_t from, to, step;
    struct tree_items items, out = {0};
    if (!x || !items_of(m, x, &items) || slice_part(m, n->items.list.v[2], 1, &step) < 0)
        return NULL;
    int64_t count = (int64_t)items.list.n;
    if (step == 0)
        return oops(m, "a slice's step may not be 0");
    if (slice_part(m, n->items.list.v[0], step > 0 ? 0 : count - 1, &from) < 0 ||
        slice_part(m, n->items.list.v[1], step > 0 ? count : -count - 1, &to) < 0)
        return NULL;
    from = from < 0 ? from + count : from;
    to = to < 0 ? to + count : to;
    from = step > 0 ? MAX(from, 0) : MIN(from, count - 1);
    to = step > 0 ? MIN(to, count) : MAX(to, -1);
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        tree_push(m->a, &out, &items.list.v[i]);
    if (x->kind != JSON_STRING)
        return tree_array(m->a, &out);
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < out.list.n; i++)
        buf_str(&b, out.list.v[i].string);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static bool eval_args(struct machine *m, const struct node *n, struct args *ret)
{
    const struct json **values = arena_array(m->a, const struct json *, n->items.list.n);
    for (size_t i = 0; i < n->items.list.n; i++)
        if (!(values[i] = eval(m, n->items.list.v[i])))
            return false;
    *ret = (struct args){values, n->items.list.n, n->names.list.v, n->names.list.n};
    return true;
}

static const struct json *call_range(struct machine *m, const struct args *args)
{
    int64_t part[3] = {0, 0, 1};
    if (args->n < 1 || args->n > 3 || args->named)
        return oops(m, "range wants one to three numbers");
    for (size_t i = 0; i < args->n; i++)
        if (args->values[i]->kind != JSON_NUMBER ||
            !str_int(args->values[i]->raw, &part[args->n == 1 ? 1 : i]))
            return oops(m, "range wants whole numbers");
    if (part[2] == 0)
        return oops(m, "range's step may not be 0");
    struct tree_items items = {0};
    for (int64_t i = part[0]; part[2] > 0 ? i < part[1] : i > part[1];) {
        if (items.list.n == JINJA_RANGE_MAX)
            return oops(m, "a range may have %d numbers at most", JINJA_RANGE_MAX);
        tree_push(m->a, &items, tree_int(m->a, i));
        if (__builtin_add_overflow(i, part[2], &i))
            break;
    }
    return tree_array(m->a, &items);
}

static const struct json *eval_call(struct machine *m, const struct node *n)
{
    struct args args;
    if (n->x->kind == NODE_NAME && str_eqz(n->x->name, "range"))
        return eval_args(m, n, &args) ? call_range(m, &args) : NULL;
    if (n->x->kind == NODE_ATTR) {
        const struct json *v = eval(m, n->x->x);
        if (!v || !eval_args(m, n, &args))
            return NULL;
        return is_undefined(v) ? undefined_oops(m, v) : jinja_method(m, n->x->name, v, &args);
    }
    return n->x->kind == NODE_NAME
               ? oops(m, "'%.*s' cannot be called", (int)MIN(n->x->name.n, 60), n->x->name.p)
               : oops(m, "this cannot be called");
}

static const struct json *whole_binary(struct machine *m, enum op op, int64_t x, int64_t y, bool *ret_done)
{
    int64_t v = 0;
    *ret_done = true;
    switch (op) {
    case OP_ADD:
        *ret_done = !__builtin_add_overflow(x, y, &v);
        break;
    case OP_SUB:
        *ret_done = !__builtin_sub_overflow(x, y, &v);
        break;
    case OP_MUL:
        *ret_done = !__builtin_mul_overflow(x, y, &v);
        break;
    case OP_FLOOR:
        if (y == -1) {
            *ret_done = !__builtin_sub_overflow((int64_t)0, x, &v);
        } else {
            v = x / y - (x % y != 0 && (x < 0) != (y < 0));
        }
        break;
    case OP_MOD:
        v = y == -1 ? 0 : x % y;
        v += v != 0 && (v < 0) != (y < 0) ? y : 0;
        break;
    case OP_POW:
        *ret_done = y >= 0;
        v = 1;
        for (int64_t i = 0; *ret_done && i < y; i++) {
            if (x == 0 || x == 1 || x == -1) { /* whatever the power */
                v = x == -1 && y % 2 == 0 ? 1 : x;
                break;
            }
            *ret_done = !__builtin_mul_overflow(v, x, &v);
        }
        break;
    default:
        *ret_done = false;
    }
    return *ret_done ? tree_int(m->a, v) : NULL;
}

static const struct json *number_binary(struct machine *m, enum op op, const struct json *x,
                                        const struct json *y)
{
    bool wx, wy, done;
    int64_t ix, iy;
    double dx, dy, v = 0;
    if (!number_of(x, &wx, &ix, &dx) || !number_of(y, &wy, &iy, &dy)) {
        static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
        return oops(m, "%s %s %s has no meaning", kind_name(x), signs[op], kind_name(y));
    }
    if ((op == OP_DIV || op == OP_FLOOR || op == OP_MOD) && dy == 0)
        return oops(m, "division by zero");
    if (wx && wy) {
        const struct json *whole = whole_binary(m, op, ix, iy, &done);
        if (done)
            return whole;
    }
    switch (op) {
    case OP_ADD:
        v = dx + dy;
        break;
    case OP_SUB:
        v = dx - dy;
        break;
    case OP_MUL:
        v = dx * dy;
        break;
    case OP_DIV:
        v = dx / dy;
        break;
    case OP_FLOOR:
        v = floor(dx / dy);
        break;
    case OP_MOD:
        v = fmod(dx, dy);
        v += v != 0 && (v < 0) != (dy < 0) ? dy : 0;
        break;
    case OP_POW:
        v = pow(dx, dy);
        break;
    default:
        break;
    }
    return isfinite(v) ? tree_double(m->a, v) : oops(m, "the result is no number");
}

static const struct json *concat(struct machine *m, Str x, Str y)
{
    if (!x.p || !y.p)
        return NULL;
    if (x.n + y.n > JINJA_OUTPUT_MAX)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    char *text = arena_alloc(m->a, x.n + y.n + 1);
    memcpy(text, x.p, x.n);
    memcpy(text + x.n, y.p, y.n);
    return made_str(m, (Str){text, x.n + y.n});
}

static const struct json *repeat(struct machine *m, Str s, const struct json *times)
{
    bool whole;
    int64_t n;
    double d;
    if (!number_of(times, &whole, &n, &d) || !whole)
        return oops(m, "a text can be repeated a whole number of times");
    n = MAX(n, 0);
    if (s.n && (uint64_t)n > JINJA_OUTPUT_MAX / s.n)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    if (!s.n || !n)
        return made_str(m, STR(""));
    char *text = arena_alloc(m->a, s.n * (size_t)n);
    for (int64_t i = 0; i < n; i++)
        memcpy(text + (size_t)i * s.n, s.p, s.n);
    return made_str(m, (Str){text, s.n * (size_t)n});
}

static const struct json *eval_binary(struct machine *m, const struct node *n)
{
    const struct json *x = eval(m, n->x), *y = x ? eval(m, n->y) : NULL;
    if (!y)
        return NULL;
    m->line = n->line;
    if (n->op == OP_CONCAT) {
        Str s = text_of(m, x);
        return s.p ? concat(m, s, text_of(m, y)) : NULL;
    }
    if (is_undefined(x) || is_undefined(y))
        return undefined_oops(m, is_undefined(x) ? x : y);
    if (n->op == OP_ADD && x->kind == JSON_STRING && y->kind == JSON_STRING)
        return concat(m, x->string, y->string);
    if (n->op == OP_MUL && x->kind == JSON_STRING)
        return repeat(m, x->string, y);
    if (n->op == OP_MUL && y->kind == JSON_STRING)
        return repeat(m, y->string, x);
    if (n->op == OP_ADD && x->kind == JSON_ARRAY && y->kind == JSON_ARRAY) {
        struct tree_items items;
        if (!items_of(m, x, &items) || !spend(m, y->array.n))
            return NULL;
        for (size_t i = 0; i < y->array.n; i++)
            tree_push(m->a, &items, &y->array.items[i]);
        return tree_array(m->a, &items);
    }
    return number_binary(m, n->op, x, y);
}

/* 1, 0; -1 with the error. */
static int is_in(struct machine *m, const struct json *x, const struct json *y)
{
    switch (y->kind) {
    case JSON_OBJECT:
        return x->kind == JSON_STRING && json_get(y, x->string) ? 1 : 0;
    case JSON_STRING:
        if (x->kind == JSON_STRING)
            return spend(m, y->string.n / 64) ? str_find(y->string, x->string) >= 0 : -1;
        if (is_undefined(x))
            return 1; /* as the empty text */
        break;
    case JSON_ARRAY:
        for (size_t i = 0; i < y->array.n; i++) {
            if (!spend(m, 1) || !pay_comparison(m, x, &y->array.items[i]))
                return -1;
            if (equal_values(x, &y->array.items[i]))
                return 1;
        }
        return 0;
    case JSON_NULL:
        if (is_undefined(y))
            return 0;
        break;
    case JSON_BOOL:
    case JSON_NUMBER:
        break;
    }
    oops(m, "%s cannot be in %s", kind_name(x), kind_name(y));
    return -1;
}

int jinja_compare(struct machine *m, enum op op, const struct json *x, const struct json *y)
{
    int order, in;
    if (!pay_comparison(m, x, y))
        return -1;
    switch (op) {
    case OP_EQ:
    case OP_NE:
        return equal_values(x, y) == (op == OP_EQ);
    case OP_IN:
    case OP_NOT_IN:
        in = is_in(m, x, y);
        return in < 0 ? -1 : in == (op == OP_IN);
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        order = order_of(m, x, y);
        if (order == 2)
            return -1;
        return op == OP_LT ? order < 0 : op == OP_LE ? order <= 0 : op == OP_GT ? order > 0 : order >= 0;
    default:
        return 0;
    }
}

static const struct json *eval_compare(struct machine *m, const struct node *n)
{
    const struct json *x = eval(m, n->x);
    for (size_t i = 0; x && i < n->items.list.n; i++) {
        const struct json *y = eval(m, n->items.list.v[i]);
        if (!y)
            return NULL;
        m->line = n->line;
        int rc = jinja_compare(m, n->ops.list.v[i], x, y);
        if (rc <= 0)
            return rc < 0 ? NULL : tree_bool(false);
        x = y;
    }
    return x ? tree_bool(true) : NULL;
}

static const struct json *eval_junction(struct machine *m, const struct node *n)
{
    const struct json *v = NULL;
    for (size_t i = 0; i < n->items.list.n; i++) {
        v = eval(m, n->items.list.v[i]);
        if (!v || truthy(v) == (n->kind == NODE_OR))
            return v;
    }
    return v;
}

static const struct json *eval_sign(struct machine *m, const struct node *n)
{
    const struct json *x = eval(m, n->x);
    if (!x)
        return NULL;
    if (is_undefined(x))
        return undefined_oops(m, x);
    return number_binary(m, n->kind == NODE_NEGATE ? OP_SUB : OP_ADD, tree_int(m->a, 0), x);
}

static const struct json *eval_node(struct machine *m, const struct node *n)
{
    const struct json *x;
    struct args args;
    switch (n->kind) {
    case NODE_LITERAL:
        return n->value;
    case NODE_NAME:
        return lookup(m, n->name);
    case NODE_LIST:
        return eval_list(m, n);
    case NODE_DICT:
        return eval_dict(m, n);
    case NODE_ATTR:
        x = eval(m, n->x);
        return x ? attribute(m, x, n->name) : NULL;
    case NODE_INDEX:
        return eval_index(m, n);
    case NODE_SLICE:
        return eval_slice(m, n);
    case NODE_CALL:
        return eval_call(m, n);
    case NODE_FILTER:
        x = eval(m, n->x);
        if (!x || !eval_args(m, n, &args))
            return NULL;
        m->line = n->line;
        return jinja_filter(m, n->name, x, &args);
    case NODE_TEST:
        x = eval(m, n->x);
        if (!x || !eval_args(m, n, &args))
            return NULL;
        m->line = n->line;
        x = jinja_test(m, n->name, x, &args);
        return x && n->negated ? tree_bool(!truthy(x)) : x;
    case NODE_NEGATE:
    case NODE_PLUS:
        return eval_sign(m, n);
    case NODE_NOT:
        x = eval(m, n->x);
        return x ? tree_bool(!truthy(x)) : NULL;
    case NODE_AND:
    case NODE_OR:
        return eval_junction(m, n);
    case NODE_COMPARE:
        return eval_compare(m, n);
    case NODE_BINARY:
        return eval_binary(m, n);
    case NODE_TERNARY:
        x = eval(m, n->y);
        if (!x)
            return NULL;
        if (truthy(x))
            return eval(m, n->x);
        return n->z ? eval(m, n->z) : undefined(m, STR("the value"));
    case NODE_TEXT:
    case NODE_PRINT:
    case NODE_IF:
    case NODE_FOR:
    case NODE_SET:
    case NODE_BLOCK:
        break;
    }
    return oops(m, "no expression");
}

static const struct json *eval(struct machine *m, const struct node *n)
{
    m->line = n->line;
    if (!spend(m, 1))
        return NULL;
    if (m->depth >= CALLS_MAX)
        return oops(m, "the template is nested too deeply");
    m->depth++;
    const struct json *v = eval_node(m, n);
    m->depth--;
    return v;
}

/* ---- statements ---- */

static int run(struct machine *m, const struct nodes *nodes, struct buf *out);

static void assign(struct machine *m, struct variables *scope, Str name, const struct json *v)
{
    for (size_t i = 0; i < scope->list.n; i++) {
        if (str_eq(scope->list.v[i].key, name)) {
            scope->list.v[i].value = *v;
            return;
        }
    }
    struct json_member member = {name, *v};
    vec_push(m->a, &scope->list, member);
}

/* One name takes the value; several take its items. */
static int assign_names(struct machine *m, struct variables *scope, const struct node *n,
                        const struct json *v)
{
    if (n->names.list.n == 1) {
        assign(m, scope, n->names.list.v[0], v);
        return 0;
    }
    struct tree_items items;
    if (!items_of(m, v, &items))
        return -1;
    if (items.list.n != n->names.list.n) {
        oops(m, "%zu values for %zu names", items.list.n, n->names.list.n);
        return -1;
    }
    for (size_t i = 0; i < items.list.n; i++)
        assign(m, scope, n->names.list.v[i], &items.list.v[i]);
    return 0;
}

static const struct json *loop_variable(struct machine *m, const struct tree_items *items, size_t i)
{
    struct tree_members l = {0};
    int64_t n = (int64_t)items->list.n, k = (int64_t)i;
    tree_add(m->a, &l, STR("index"), tree_int(m->a, k + 1));
    tree_add(m->a, &l, STR("index0"), tree_int(m->a, k));
    tree_add(m->a, &l, STR("first"), tree_bool(i == 0));
    tree_add(m->a, &l, STR("last"), tree_bool(k == n - 1));
    tree_add(m->a, &l, STR("length"), tree_int(m->a, n));
    tree_add(m->a, &l, STR("revindex"), tree_int(m->a, n - k));
    tree_add(m->a, &l, STR("revindex0"), tree_int(m->a, n - k - 1));
    if (i)
        tree_add(m->a, &l, STR("previtem"), &items->list.v[i - 1]);
    if (k < n - 1)
        tree_add(m->a, &l, STR("nextitem"), &items->list.v[i + 1]);
    return tree_object(m->a, &l);
}

/* Those of the items for which the loop's condition holds. */
static int choose(struct machine *m, const struct node *n, struct tree_items *items)
{
    struct tree_items chosen = {0};
    for (size_t i = 0; i < items->list.n; i++) {
        struct variables scope = {m->scope};
        m->scope = &scope;
        const struct json *v = assign_names(m, &scope, n, &items->list.v[i]) < 0 ? NULL : eval(m, n->y);
        m->scope = scope.outer;
        if (!v)
            return -1;
        if (truthy(v))
            tree_push(m->a, &chosen, &items->list.v[i]);
    }
    *items = chosen;
    return 0;
}

static int run_for(struct machine *m, const struct node *n, struct buf *out)
{
    struct tree_items items;
    const struct json *v = eval(m, n->x);
    if (!v || !items_of(m, v, &items) || (n->y && choose(m, n, &items) < 0))
        return -1;
    if (!items.list.n)
        return run(m, &n->otherwise, out);
    for (size_t i = 0; i < items.list.n; i++) {
        struct variables scope = {m->scope};
        m->line = n->line;
        if (!spend(m, n->uses_loop ? 12 : 2) || assign_names(m, &scope, n, &items.list.v[i]) < 0)
            return -1;
        if (n->uses_loop)
            assign(m, &scope, STR("loop"), loop_variable(m, &items, i));
        m->scope = &scope;
        int rc = run(m, &n->body, out);
        m->scope = scope.outer;
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int run_if(struct machine *m, const struct node *n, struct buf *out)
{
    for (;;) {
        const struct json *v = eval(m, n->x);
        if (!v)
            return -1;
        if (truthy(v))
            return run(m, &n->body, out);
        if (n->otherwise.list.n != 1 || n->otherwise.list.v[0]->kind != NODE_IF)
            return run(m, &n->otherwise, out);
        n = n->otherwise.list.v[0];
    }
}

static int put(struct machine *m, struct buf *out, Str text)
{
    if (!text.p)
        return -1;
    buf_str(out, text);
    if (out->overflow) {
        oops(m, "the template prints more than %zu bytes", JINJA_OUTPUT_MAX);
        return -1;
    }
    return 0;
}

static int run_node(struct machine *m, const struct node *n, struct buf *out)
{
    const struct json *v;
    switch (n->kind) {
    case NODE_TEXT:
        return put(m, out, n->name);
    case NODE_PRINT:
        v = eval(m, n->x);
        return v ? put(m, out, text_of(m, v)) : -1;
    case NODE_IF:
        return run_if(m, n, out);
    case NODE_FOR:
        return run_for(m, n, out);
    case NODE_SET:
        v = eval(m, n->x);
        return v ? assign_names(m, m->scope, n, v) : -1;
    case NODE_BLOCK: {
        AUTO(buf_free) struct buf inner = BUF(JINJA_OUTPUT_MAX);
        if (run(m, &n->body, &inner) < 0)
            return -1;
        v = made_str(m, str_dup(m->a, buf_view(&inner)));
        return v ? assign_names(m, m->scope, n, v) : -1;
    }
    default:
        oops(m, "no statement");
        return -1;
    }
}

static int run(struct machine *m, const struct nodes *nodes, struct buf *out)
{
    int rc = 0;
    for (size_t i = 0; i < nodes->list.n && rc == 0; i++) {
        m->line = nodes->list.v[i]->line;
        rc = spend(m, 1) ? run_node(m, nodes->list.v[i], out) : -1;
    }
    return rc;
}

/* ---- the outside ---- */

static bool has_tags(Str text)
{
    return str_find(text, STR("{{")) >= 0 || str_find(text, STR("{%")) >= 0;
}

int jinja_render_with(struct arena *a, Str text, const struct json *vars, const struct jinja_filters *filters,
                      Str *ret, struct err *err)
{
    if (!has_tags(text)) { /* no template: not even its comments are */
        *ret = text;
        return 0;
    }
    int line;
    const struct nodes *nodes = jinja_parse(a, text, &line, err);
    if (!nodes)
        return err_wrap(err, "line %d", line);
    struct variables top = {0};
    struct machine m = {
        .a = a, .err = err, .steps = JINJA_STEPS, .line = 1, .vars = vars, .scope = &top, .filters = filters};
    AUTO(buf_free) struct buf out = BUF(JINJA_OUTPUT_MAX);
    if (run(&m, nodes, &out) < 0)
        return -1;
    *ret = str_dup(a, buf_view(&out));
    return 0;
}

int jinja_render(struct arena *a, Str text, const struct json *vars, Str *ret, struct err *err)
{
    return jinja_render_with(a, text, vars, NULL, ret, err);
}

int jinja_check(Str text, int *ret_line, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    return jinja_parse(a, text, ret_line, err) ? 0 : -1;
}
