#include "schema/hydrate.h"

#include "schema/apply.h"
#include "schema/tree.h"

#define KIND "__prefect_kind"

struct hydration {
    struct arena *a;
    const struct hydrate_context *ctx;
    struct hydrate_marks *marks; /* a form: NULL otherwise */
    const struct path *path;
    struct err *err;
    int depth;
};

/* What became of a value: itself or another; nothing, so that its key goes too; a place that a form must
 * mark. */
enum outcome { FAILED = -1, HAS_VALUE, IS_REMOVED, IS_MARKED };

static enum outcome walk(struct hydration *h, const struct json *v, const struct json **ret);

static void mark(struct hydration *h, Str message)
{
    size_t n = h->path ? h->path->depth : 0;
    struct schema_step *steps = arena_array(h->a, struct schema_step, n);
    for (const struct path *p = h->path; p; p = p->outer)
        steps[p->depth - 1] = p->step;
    struct hydrate_mark m = {steps_text(h->a, steps, n), message, steps, n};
    vec_push(h->a, &h->marks->list, m);
}

/* What cannot be had: a mark in a form, else an error. */
static enum outcome wrong(struct hydration *h, Str message, const struct json **ret)
{
    if (!h->marks)
        return err_set(h->err, ERR_INVALID, "%.*s", (int)MIN(message.n, 400), message.p);
    mark(h, message);
    *ret = tree_null();
    return IS_MARKED;
}

static enum outcome missing(struct hydration *h, const char *key, const struct json **ret)
{
    return wrong(h, str_fmt(h->a, "'%s' is missing beside '%s'", key, KIND), ret);
}

/* An argument of a kind: an object may itself be of a kind, all else is taken as it stands. */
static enum outcome argument(struct hydration *h, const struct json *v, const struct json **ret)
{
    if (v->kind == JSON_OBJECT)
        return walk(h, v, ret);
    *ret = v;
    return HAS_VALUE;
}

static enum outcome kind_none(struct hydration *h, const struct json *v, const struct json **ret)
{
    const struct json *value = json_getz(v, "value");
    return value ? walk(h, value, ret) : missing(h, "value", ret);
}

static enum outcome kind_json(struct hydration *h, const struct json *v, const struct json **ret)
{
    const struct json *value = json_getz(v, "value");
    if (!value)
        return IS_REMOVED;
    enum outcome outcome = argument(h, value, ret);
    if (outcome != HAS_VALUE || (*ret)->kind != JSON_STRING)
        return outcome;
    struct err why;
    const struct json *parsed = json_parse(h->a, (*ret)->string, &why);
    if (!parsed)
        return wrong(h, str_fmt(h->a, "Invalid JSON: %s", why.text), ret);
    *ret = parsed;
    return HAS_VALUE;
}

static enum outcome kind_jinja(struct hydration *h, const struct json *v, const struct json **ret)
{
    const struct json *template = json_getz(v, "template");
    if (!template)
        return missing(h, "template", ret);
    enum outcome outcome = argument(h, template, ret);
    if (outcome != HAS_VALUE)
        return outcome;
    if ((*ret)->kind != JSON_STRING)
        return wrong(h, STR("Invalid jinja: a template must be a text"), ret);
    struct err why;
    Str text = (*ret)->string;
    if (h->marks) {
        int line;
        if (jinja_check(text, &line, &why) < 0)
            return wrong(h, str_fmt(h->a, "Invalid jinja: line %d: %s", line, why.text), ret);
        mark(h, STR_NONE);
        *ret = tree_null();
        return IS_MARKED;
    }
    if (jinja_render_with(h->a, text, h->ctx ? h->ctx->vars : NULL, h->ctx ? h->ctx->filters : NULL, &text,
                          &why) < 0)
        return wrong(h, str_fmt(h->a, "Invalid jinja: %s", why.text), ret);
    *ret = tree_str(h->a, text);
    return HAS_VALUE;
}

static enum outcome kind_variable(struct hydration *h, const struct json *v, const struct json **ret)
{
    const struct json *name = json_getz(v, "variable_name");
    if (!name)
        return IS_REMOVED;
    enum outcome outcome = argument(h, name, ret);
    if (outcome != HAS_VALUE)
        return outcome;
    if ((*ret)->kind != JSON_STRING)
        return wrong(h, STR("the name of a variable must be a text"), ret);
    Str text = (*ret)->string;
    struct err why = {.code = ERR_NOT_FOUND};
    const struct json *found = h->ctx && h->ctx->variable ? h->ctx->variable(h->ctx->user, text, &why) : NULL;
    if (found) {
        *ret = found;
        return HAS_VALUE;
    }
    if (why.code != ERR_NOT_FOUND) {
        *h->err = why;
        return err_wrap(h->err, "variable '%.*s'", (int)MIN(text.n, 100), text.p);
    }
    return wrong(h, str_fmt(h->a, "Variable '%.*s' not found in workspace.", (int)MIN(text.n, 300), text.p),
                 ret);
}

static enum outcome walk_kind(struct hydration *h, const struct json *v, const struct json *kind,
                              const struct json **ret)
{
    static const struct {
        const char *name;
        enum outcome (*fill)(struct hydration *h, const struct json *v, const struct json **ret);
    } kinds[] = {
        {"none", kind_none},
        {"json", kind_json},
        {"jinja", kind_jinja},
        {"workspace_variable", kind_variable},
    };
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eqz(json_str(kind), kinds[i].name))
            return kinds[i].fill(h, v, ret);
    const struct json *value = json_getz(v, "value");
    *ret = value ? value : tree_null();
    return HAS_VALUE;
}

/* A part of the value; its place is told to the marks. */
static enum outcome walk_part(struct hydration *h, const struct json *v, struct schema_step step,
                              const struct json **ret)
{
    struct path path = {h->path, step, h->path ? h->path->depth + 1 : 1};
    h->path = &path;
    enum outcome outcome = walk(h, v, ret);
    h->path = path.outer;
    return outcome;
}

static enum outcome walk_array(struct hydration *h, const struct json *v, const struct json **ret)
{
    struct tree_items items = {0};
    for (size_t i = 0; i < v->array.n; i++) {
        const struct json *item;
        enum outcome outcome =
            walk_part(h, &v->array.items[i], (struct schema_step){.index = items.list.n}, &item);
        if (outcome == FAILED)
            return FAILED;
        if (outcome != IS_REMOVED)
            tree_push(h->a, &items, item);
    }
    *ret = tree_array(h->a, &items);
    return HAS_VALUE;
}

static enum outcome walk_object(struct hydration *h, const struct json *v, const struct json **ret)
{
    struct tree_members members = {0};
    for (size_t i = 0; i < v->object.n; i++) {
        const struct json_member *m = &v->object.members[i];
        const struct json *value;
        enum outcome outcome = walk_part(h, &m->value, (struct schema_step){.key = m->key}, &value);
        if (outcome == FAILED)
            return FAILED;
        if (outcome != IS_REMOVED)
            tree_add(h->a, &members, m->key, value);
    }
    *ret = tree_object(h->a, &members);
    return HAS_VALUE;
}

static enum outcome walk(struct hydration *h, const struct json *v, const struct json **ret)
{
    if (h->depth >= LIMIT_JSON_DEPTH)
        return err_set(h->err, ERR_INVALID, "the values are nested too deeply");
    h->depth++;
    enum outcome outcome = HAS_VALUE;
    const struct json *kind = json_getz(v, KIND);
    if (kind)
        outcome = walk_kind(h, v, kind, ret);
    else if (v->kind == JSON_ARRAY)
        outcome = walk_array(h, v, ret);
    else if (v->kind == JSON_OBJECT)
        outcome = walk_object(h, v, ret);
    else
        *ret = v;
    h->depth--;
    return outcome;
}

/* Is there anything to do at all? */
static bool has_kinds(const struct json *v)
{
    if (v->kind == JSON_ARRAY)
        for (size_t i = 0; i < v->array.n; i++)
            if (has_kinds(&v->array.items[i]))
                return true;
    if (v->kind == JSON_OBJECT)
        for (size_t i = 0; i < v->object.n; i++)
            if (str_eqz(v->object.members[i].key, KIND) || has_kinds(&v->object.members[i].value))
                return true;
    return false;
}

static const struct json *hydrate_all(struct hydration *h, const struct json *value)
{
    const struct json *v = NULL;
    if (!has_kinds(value))
        return value;
    enum outcome outcome = walk(h, value, &v);
    if (outcome == FAILED)
        return NULL;
    if (outcome == IS_REMOVED)
        v = tree_object(h->a, &(struct tree_members){0});
    return tree_seal(h->a, v, HYDRATE_MAX, h->err);
}

const struct json *hydrate(struct arena *a, const struct json *value, const struct hydrate_context *ctx,
                           struct err *err)
{
    struct hydration h = {.a = a, .ctx = ctx, .err = err};
    return hydrate_all(&h, value);
}

const struct json *hydrate_form(struct arena *a, const struct json *value, const struct hydrate_context *ctx,
                                struct hydrate_marks *ret, struct err *err)
{
    struct hydration h = {.a = a, .ctx = ctx, .marks = ret, .err = err};
    *ret = (struct hydrate_marks){0};
    return hydrate_all(&h, value);
}

void hydrate_marks_apply(struct arena *a, const struct hydrate_marks *marks, struct schema_errors *errors)
{
    struct schema_errors kept = {0};
    for (size_t i = 0; i < errors->list.n; i++) {
        bool marked = false;
        for (size_t k = 0; k < marks->list.n && !marked; k++)
            marked = str_eq(marks->list.v[k].path, errors->list.v[i].path);
        if (!marked)
            vec_push(a, &kept.list, errors->list.v[i]);
    }
    for (size_t k = 0; k < marks->list.n && kept.list.n < SCHEMA_ERRORS_MAX; k++) {
        const struct hydrate_mark *m = &marks->list.v[k];
        if (!m->message.p)
            continue;
        struct schema_error e = {
            .path = m->path,
            .message = m->message,
            .keyword = STR(""),
            .instance = tree_null(),
            .steps = m->steps,
            .step_count = m->step_count,
        };
        vec_push(a, &kept.list, e);
    }
    kept.best = kept.list.n ? &kept.list.v[0] : NULL;
    *errors = kept;
}
