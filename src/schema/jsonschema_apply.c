/* Keywords that apply further schemas, to the same value or to its parts. */
#include "schema/apply.h"

#include "schema/decimal.h"
#include "schema/format.h"

static bool truth(const struct json *v)
{
    return v->kind == JSON_BOOL && v->boolean;
}

static bool falsehood(const struct json *v)
{
    return v->kind == JSON_BOOL && !v->boolean;
}

/* After the first UNFIT, is there a reason to go on? */
static bool done(const struct frame *f, enum fit fit)
{
    return fit == BROKEN || (fit == UNFIT && !f->faults);
}

/* ---- the same value ---- */

enum fit kw_all_of(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_ALL_OF);
    enum fit result = FIT;
    for (size_t i = 0; i < arg->array.n; i++) {
        enum fit fit = apply_here(r, f, &arg->array.items[i], f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    return result;
}

/* Why each branch failed. */
static enum fit branch_faults(struct run *r, const struct frame *f, const struct json *branches,
                              struct faults *ret)
{
    *ret = (struct faults){.base = f->path ? f->path->depth : 0};
    for (size_t i = 0; i < branches->array.n && r->fault_count < FAULTS_MAX; i++)
        if (apply(r, f, &branches->array.items[i], f->value, f->scope, f->path, NULL, ret) == BROKEN)
            return BROKEN;
    return UNFIT;
}

static enum fit no_branch(struct run *r, const struct frame *f, const struct json *branches,
                          enum keyword_id id)
{
    if (!f->faults)
        return UNFIT;
    struct faults context;
    if (branch_faults(r, f, branches, &context) == BROKEN)
        return BROKEN;
    AUTO(buf_free) struct buf b = MESSAGE;
    say_value(&b, f->value);
    buf_z(&b, " is valid under none of the given schemas");
    return unfit(r, f, id, STR_NONE, &context, &b);
}

enum fit kw_any_of(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_ANY_OF);
    bool any = false;
    for (size_t i = 0; i < arg->array.n && (!any || f->seen); i++) {
        enum fit fit = apply_here(r, f, &arg->array.items[i], NULL);
        if (fit == BROKEN)
            return BROKEN;
        any |= fit == FIT;
    }
    return any ? FIT : no_branch(r, f, arg, KW_ANY_OF);
}

enum fit kw_one_of(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_ONE_OF);
    size_t n = 0;
    for (size_t i = 0; i < arg->array.n && n < 2; i++) {
        enum fit fit = apply_here(r, f, &arg->array.items[i], NULL);
        if (fit == BROKEN)
            return BROKEN;
        n += fit == FIT;
    }
    if (n == 1)
        return FIT;
    if (n == 0)
        return no_branch(r, f, arg, KW_ONE_OF);
    AUTO(buf_free) struct buf b = MESSAGE;
    if (f->faults) {
        say_value(&b, f->value);
        buf_z(&b, " is valid under more than one of the given schemas");
    }
    return unfit(r, f, KW_ONE_OF, STR_NONE, NULL, &b);
}

enum fit kw_not(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit = apply(r, f, arg, f->value, f->scope, f->path, NULL, NULL);
    if (fit != FIT)
        return fit == BROKEN ? BROKEN : FIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    if (f->faults) {
        say_value(&b, f->value);
        buf_z(&b, " must not be valid under ");
        say_value(&b, arg);
    }
    return unfit(r, f, KW_NOT, STR_NONE, NULL, &b);
}

enum fit kw_if(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit = apply_here(r, f, arg, NULL);
    if (fit == BROKEN)
        return BROKEN;
    const struct json *next = f->kw[fit == FIT ? KW_THEN : KW_ELSE];
    return next ? apply_here(r, f, next, f->faults) : FIT;
}

enum fit kw_dependent_schemas(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_OBJECT)
        return bad_keyword(r, KW_DEPENDENT_SCHEMAS);
    enum fit result = FIT;
    for (size_t i = 0; f->value->kind == JSON_OBJECT && i < arg->object.n; i++) {
        if (charge(r, 1) == BROKEN)
            return BROKEN;
        if (!member_counts(r, arg, i) || !member(r, f->value, arg->object.members[i].key))
            continue;
        enum fit fit = apply_here(r, f, &arg->object.members[i].value, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    return result;
}

/* The same schema met again for the same value means a ring of references. */
static bool goes_round(const struct frame *f, const struct json *schema)
{
    for (const struct json *value = f->value; f && f->value == value; f = f->outer)
        if (f->schema == schema)
            return true;
    return false;
}

static enum fit apply_ref(struct run *r, const struct frame *f, Str ref, const struct json *target,
                          const struct resource *resource)
{
    if (goes_round(f, target)) {
        err_set(r->err, ERR_UNPROCESSABLE, "the schema's references go round in a circle at '%.*s'",
                (int)MIN(ref.n, 200), ref.p);
        return BROKEN;
    }
    struct scope inner = {f->scope, resource};
    struct frame there = *f;
    if (resource != f->scope->resource)
        there.scope = &inner;
    return apply_here(r, &there, target, f->faults);
}

enum fit kw_ref(struct run *r, const struct frame *f, const struct json *arg)
{
    const struct resource *resource;
    const struct anchor *anchor;
    if (arg->kind != JSON_STRING)
        return bad_keyword(r, KW_REF);
    const struct json *target = ref_find(r, f->scope->resource, arg->string, &resource, &anchor);
    return target ? apply_ref(r, f, arg->string, target, resource) : BROKEN;
}

enum fit kw_dynamic_ref(struct run *r, const struct frame *f, const struct json *arg)
{
    const struct resource *resource;
    const struct anchor *anchor;
    if (arg->kind != JSON_STRING)
        return bad_keyword(r, KW_DYNAMIC_REF);
    const struct json *target = ref_find(r, f->scope->resource, arg->string, &resource, &anchor);
    if (!target)
        return BROKEN;
    if (anchor && anchor->dynamic) {
        /* The outermost resource on the way here that has a dynamic anchor of that name decides. */
        Str name = json_get_str(target, STR("$dynamicAnchor"));
        for (const struct scope *s = f->scope; s; s = s->outer) {
            if (charge(r, 1) == BROKEN)
                return BROKEN;
            const struct anchor *outer = anchor_find(r, s->resource, name);
            if (outer && outer->dynamic) {
                target = outer->schema;
                resource = outer->resource;
            }
        }
    }
    return apply_ref(r, f, arg->string, target, resource);
}

enum fit kw_format(struct run *r, const struct frame *f, const struct json *arg)
{
    if (!(r->flags & SCHEMA_FORMATS) || f->value->kind != JSON_STRING || arg->kind != JSON_STRING)
        return FIT;
    struct err why;
    bool fits = str_eqz(arg->string, "regex") ? pattern_check(&r->patterns, f->value->string, &why) == 0
                                              : format_fits(arg->string, f->value->string);
    if (fits)
        return FIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    if (f->faults) {
        say_value(&b, f->value);
        buf_z(&b, " is not in the format ");
        say_name(&b, arg->string);
    }
    return unfit(r, f, KW_FORMAT, STR_NONE, NULL, &b);
}

/* ---- members ---- */

enum fit kw_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_OBJECT)
        return bad_keyword(r, KW_PROPERTIES);
    enum fit result = FIT;
    if (f->value->kind != JSON_OBJECT)
        return FIT;
    if (charge(r, arg->object.n / 8) == BROKEN)
        return BROKEN;
    for (size_t i = 0; i < arg->object.n; i++) {
        Str key = arg->object.members[i].key;
        const struct json *value = member(r, f->value, key);
        if (!value || !member_counts(r, arg, i))
            continue;
        seen_add(r, f->seen, f->value, member_index(f->value, value));
        enum fit fit =
            apply_at(r, f, &arg->object.members[i].value, value, (struct schema_step){.key = key}, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    return result;
}

enum fit kw_pattern_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_OBJECT)
        return bad_keyword(r, KW_PATTERN_PROPERTIES);
    enum fit result = FIT;
    if (f->value->kind != JSON_OBJECT)
        return FIT;
    for (size_t p = 0; p < arg->object.n; p++) {
        for (size_t i = 0; i < f->value->object.n; i++) {
            const struct json_member *m = &f->value->object.members[i];
            if (charge(r, 1) == BROKEN)
                return BROKEN;
            int match = pattern_match(&r->patterns, arg->object.members[p].key, m->key, r->err);
            if (match < 0)
                return BROKEN;
            if (!match || !member_counts(r, f->value, i))
                continue;
            seen_add(r, f->seen, f->value, i);
            enum fit fit = apply_at(r, f, &arg->object.members[p].value, &m->value,
                                    (struct schema_step){.key = m->key}, f->faults);
            if (done(f, fit))
                return fit;
            result = MIN(result, fit);
        }
    }
    return result;
}

/* 1: neither `properties` nor `patternProperties` names it; -1: broken. */
static int is_additional(struct run *r, const struct frame *f, Str key)
{
    const struct json *properties = f->kw[KW_PROPERTIES], *patterns = f->kw[KW_PATTERN_PROPERTIES];
    if (charge(r, 1) == BROKEN)
        return -1;
    if (properties && member(r, properties, key))
        return 0;
    for (size_t p = 0; patterns && patterns->kind == JSON_OBJECT && p < patterns->object.n; p++) {
        if (charge(r, 1) == BROKEN)
            return -1;
        int match = pattern_match(&r->patterns, patterns->object.members[p].key, key, r->err);
        if (match)
            return match < 0 ? -1 : 0;
    }
    return 1;
}

static int by_name(const void *x, const void *y)
{
    const Str *a = x, *b = y;
    return str_cmp(*a, *b);
}

struct names {
    VEC(Str) list;
};

/* "… are not allowed ('a', 'b' were unexpected)", in order. */
static void say_unexpected(struct run *r, struct buf *b, const char *what, struct names *extra)
{
    qsort(extra->list.v, extra->list.n, sizeof *extra->list.v, by_name);
    buf_fmt(b, "%s are not allowed (", what);
    for (size_t i = 0; i < extra->list.n && !b->overflow; i++) {
        if (i)
            buf_z(b, ", ");
        say_name(b, extra->list.v[i]);
    }
    buf_z(b, extra->list.n == 1 ? " was unexpected)" : " were unexpected)");
}

enum fit kw_additional_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit result = FIT;
    struct names extra = {0};
    if (truth(arg) && !f->seen)
        return FIT;
    for (size_t i = 0; f->value->kind == JSON_OBJECT && i < f->value->object.n; i++) {
        const struct json_member *m = &f->value->object.members[i];
        int additional = is_additional(r, f, m->key);
        if (additional < 0)
            return BROKEN;
        if (!additional || !member_counts(r, f->value, i))
            continue;
        if (falsehood(arg)) {
            if (!f->faults)
                return UNFIT;
            vec_push(r->a, &extra.list, m->key);
            continue;
        }
        seen_add(r, f->seen, f->value, i);
        if (truth(arg))
            continue;
        enum fit fit = apply_at(r, f, arg, &m->value, (struct schema_step){.key = m->key}, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    if (!extra.list.n)
        return result;
    Str first = extra.list.v[0];
    AUTO(buf_free) struct buf b = MESSAGE;
    say_unexpected(r, &b, "Additional properties", &extra);
    return unfit(r, f, KW_ADDITIONAL_PROPERTIES, first, NULL, &b);
}

enum fit kw_unevaluated_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit result = FIT;
    struct names extra = {0};
    for (size_t i = 0; f->value->kind == JSON_OBJECT && i < f->value->object.n; i++) {
        const struct json_member *m = &f->value->object.members[i];
        if (seen_has(f->seen, i) || !member_counts(r, f->value, i))
            continue;
        seen_add(r, f->seen, f->value, i);
        if (falsehood(arg)) {
            if (!f->faults)
                return UNFIT;
            vec_push(r->a, &extra.list, m->key);
            continue;
        }
        enum fit fit = apply_at(r, f, arg, &m->value, (struct schema_step){.key = m->key}, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    if (!extra.list.n)
        return result;
    Str first = extra.list.v[0];
    AUTO(buf_free) struct buf b = MESSAGE;
    say_unexpected(r, &b, "Unevaluated properties", &extra);
    return unfit(r, f, KW_UNEVALUATED_PROPERTIES, first, NULL, &b);
}

enum fit kw_property_names(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit result = FIT;
    for (size_t i = 0; f->value->kind == JSON_OBJECT && i < f->value->object.n; i++) {
        struct json *name = arena_new(r->a, struct json);
        name->kind = JSON_STRING;
        name->string = f->value->object.members[i].key;
        enum fit fit = apply(r, f, arg, name, f->scope, f->path, NULL, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    return result;
}

/* ---- items ---- */

static enum fit apply_items(struct run *r, const struct frame *f, const struct json *schemas, size_t from,
                            size_t n, const struct json *each)
{
    enum fit result = FIT;
    for (size_t i = from; i < n && i < f->value->array.n; i++) {
        seen_add(r, f->seen, f->value, i);
        enum fit fit = apply_at(r, f, each ? each : &schemas->array.items[i], &f->value->array.items[i],
                                (struct schema_step){.index = i}, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    return result;
}

enum fit kw_prefix_items(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_PREFIX_ITEMS);
    return f->value->kind == JSON_ARRAY ? apply_items(r, f, arg, 0, arg->array.n, NULL) : FIT;
}

static size_t prefix_length(const struct frame *f)
{
    const struct json *prefix = f->kw[KW_PREFIX_ITEMS];
    return json_is(prefix, JSON_ARRAY) ? prefix->array.n : 0;
}

enum fit kw_items(struct run *r, const struct frame *f, const struct json *arg)
{
    if (f->value->kind != JSON_ARRAY)
        return FIT;
    if (arg->kind == JSON_ARRAY) /* as drafts before this one had it; clients of old still send it */
        return apply_items(r, f, arg, 0, arg->array.n, NULL);
    size_t from = prefix_length(f), n = f->value->array.n;
    if (!falsehood(arg) || n <= from)
        return apply_items(r, f, NULL, from, n, arg);
    AUTO(buf_free) struct buf b = MESSAGE;
    if (f->faults)
        buf_fmt(&b, "at most %zu items are allowed, and there are %zu", from, n);
    return unfit(r, f, KW_ITEMS, STR_NONE, NULL, &b);
}

/* minContains and maxContains: INT64_MAX for none. */
static bool contains_bound(const struct json *arg, int64_t absent, int64_t *ret)
{
    *ret = absent;
    if (!arg)
        return true;
    if (arg->kind != JSON_NUMBER || !decimal_is_integer(arg->raw) || decimal_cmp(arg->raw, STR("0")) < 0)
        return false;
    if (!json_int(arg, ret)) /* more than any array has */
        *ret = INT64_MAX;
    return true;
}

enum fit kw_contains(struct run *r, const struct frame *f, const struct json *arg)
{
    if (f->value->kind != JSON_ARRAY)
        return FIT;
    int64_t least, most, n = 0;
    if (!contains_bound(f->kw[KW_MIN_CONTAINS], 1, &least))
        return bad_keyword(r, KW_MIN_CONTAINS);
    if (!contains_bound(f->kw[KW_MAX_CONTAINS], INT64_MAX, &most))
        return bad_keyword(r, KW_MAX_CONTAINS);
    if (r->no_assertions)
        least = 1, most = INT64_MAX;
    for (size_t i = 0; i < f->value->array.n; i++) {
        enum fit fit = apply_at(r, f, arg, &f->value->array.items[i], (struct schema_step){.index = i}, NULL);
        if (fit == BROKEN)
            return BROKEN;
        if (fit == UNFIT)
            continue;
        n++;
        seen_add(r, f->seen, f->value, i);
        if (!f->seen && n >= least && most == INT64_MAX)
            return FIT;
        if (n > most)
            break;
    }
    if (n >= least && n <= most)
        return FIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    if (f->faults) {
        say_value(&b, f->value);
        if (n > most) {
            buf_z(&b, " has more items that match the given schema than ");
            say_value(&b, f->kw[KW_MAX_CONTAINS]);
        } else if (least == 1) {
            buf_z(&b, " has no item that matches the given schema");
        } else {
            buf_fmt(&b, " has %lld items that match the given schema, of at least ", (long long)n);
            say_value(&b, f->kw[KW_MIN_CONTAINS]);
        }
    }
    return unfit(r, f, KW_CONTAINS, STR_NONE, NULL, &b);
}

enum fit kw_unevaluated_items(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit result = FIT;
    size_t extra = 0, first = 0;
    for (size_t i = 0; f->value->kind == JSON_ARRAY && i < f->value->array.n; i++) {
        if (seen_has(f->seen, i))
            continue;
        seen_add(r, f->seen, f->value, i);
        if (falsehood(arg)) {
            if (!f->faults)
                return UNFIT;
            if (!extra++)
                first = i;
            continue;
        }
        enum fit fit =
            apply_at(r, f, arg, &f->value->array.items[i], (struct schema_step){.index = i}, f->faults);
        if (done(f, fit))
            return fit;
        result = MIN(result, fit);
    }
    if (!extra)
        return result;
    AUTO(buf_free) struct buf b = MESSAGE;
    buf_z(&b, "Unevaluated items are not allowed (");
    say_value(&b, &f->value->array.items[first]);
    if (extra > 1)
        buf_fmt(&b, " and %zu more were unexpected)", extra - 1);
    else
        buf_z(&b, " was unexpected)");
    return unfit(r, f, KW_UNEVALUATED_ITEMS, STR_NONE, NULL, &b);
}
