#include "schema/apply.h"

#include "schema/decimal.h"
#include "schema/pyrepr.h"
#include "schema/uri.h"

#include <string.h>

/* Half a microsecond or less each. A value of LIMIT_PARAMETERS costs a few for each of its items. */
#define STEPS 2000000
#define PATTERN_STEPS 3000000
/* Applications within applications: more than the deepest value with a few combinators a level. */
#define DEPTH_MAX 800
/* Objects of more members get an index. */
#define SMALL_OBJECT 8

enum fit charge(struct run *r, size_t n)
{
    if (r->steps < 0)
        return BROKEN;
    r->steps -= (int64_t)MIN(n, (size_t)INT32_MAX);
    if (r->steps >= 0)
        return FIT;
    err_set(r->err, ERR_UNPROCESSABLE, "checking the value against its schema takes too long");
    return BROKEN;
}

enum fit bad_keyword(struct run *r, enum keyword_id id)
{
    static const char *const kinds[] = {
        [IS_ANY] = "a value",
        [IS_SCHEMA] = "a schema",
        [IS_SCHEMAS] = "an array of schemas",
        [IS_SCHEMA_MAP] = "an object of schemas",
        [IS_PATTERN_MAP] = "an object of schemas",
        [IS_STRING] = "a string",
        [IS_NAME] = "a name",
        [IS_REGEX] = "a regular expression",
        [IS_NUMBER] = "a number",
        [IS_POSITIVE] = "a number above 0",
        [IS_NATURAL] = "a whole number, 0 or more",
        [IS_BOOL] = "true or false",
        [IS_BOOLS] = "an object of true and false",
        [IS_LIST] = "an array",
        [IS_STRINGS] = "an array of strings",
        [IS_STRINGS_MAP] = "an object of arrays of strings",
        [IS_TYPE] = "the name of a type or an array of such",
    };
    err_set(r->err, ERR_UNPROCESSABLE, "%s must be %s", keywords[id].name.p, kinds[keywords[id].is]);
    return BROKEN;
}

void say_value(struct buf *b, const struct json *v)
{
    AUTO(buf_free) struct buf text = BUF(1200);
    py_repr(&text, v);
    buf_str(b, buf_view(&text));
    if (text.overflow)
        buf_z(b, "…");
}

void say_name(struct buf *b, Str name)
{
    struct json v = {.kind = JSON_STRING, .string = name};
    say_value(b, &v);
}

/* The slots of an object's index: member numbers + 1 by hash of the key, the last of equal keys. */
static const uint32_t *index_of(struct run *r, const struct json *object, size_t *ret_mask)
{
    size_t size = 16;
    while (size < object->object.n * 2)
        size *= 2;
    *ret_mask = size - 1;
    if (r->indexes.n * 2 >= r->indexes.cap) {
        size_t cap = r->indexes.cap ? r->indexes.cap * 2 : 16;
        const struct json **objects = arena_array(r->a, const struct json *, cap);
        uint32_t **slots = arena_array(r->a, uint32_t *, cap);
        for (size_t i = 0; i < r->indexes.cap; i++) {
            if (!r->indexes.objects[i])
                continue;
            size_t at = ((uintptr_t)r->indexes.objects[i] >> 4) * 0x9e3779b9u & (cap - 1);
            while (objects[at])
                at = (at + 1) & (cap - 1);
            objects[at] = r->indexes.objects[i];
            slots[at] = r->indexes.slots[i];
        }
        r->indexes.objects = objects;
        r->indexes.slots = slots;
        r->indexes.cap = cap;
    }
    size_t at = ((uintptr_t)object >> 4) * 0x9e3779b9u & (r->indexes.cap - 1);
    while (r->indexes.objects[at] && r->indexes.objects[at] != object)
        at = (at + 1) & (r->indexes.cap - 1);
    if (r->indexes.objects[at])
        return r->indexes.slots[at];
    uint32_t *slots = arena_array(r->a, uint32_t, size);
    for (size_t i = 0; i < object->object.n; i++) {
        size_t s = str_hash(object->object.members[i].key) & (size - 1);
        while (slots[s] && !str_eq(object->object.members[slots[s] - 1].key, object->object.members[i].key))
            s = (s + 1) & (size - 1);
        slots[s] = (uint32_t)i + 1;
    }
    r->indexes.objects[at] = object;
    r->indexes.slots[at] = slots;
    r->indexes.n++;
    return slots;
}

const struct json *member(struct run *r, const struct json *object, Str key)
{
    if (object->kind != JSON_OBJECT)
        return NULL;
    if (object->object.n <= SMALL_OBJECT)
        return json_get(object, key);
    size_t mask;
    const uint32_t *slots = index_of(r, object, &mask);
    for (size_t s = str_hash(key) & mask; slots[s]; s = (s + 1) & mask)
        if (str_eq(object->object.members[slots[s] - 1].key, key))
            return &object->object.members[slots[s] - 1].value;
    return NULL;
}

size_t member_index(const struct json *object, const struct json *value)
{
    const char *first = (const char *)&object->object.members[0].value;
    return (size_t)((const char *)value - first) / sizeof(struct json_member);
}

bool member_counts(struct run *r, const struct json *object, size_t i)
{
    return member(r, object, object->object.members[i].key) == &object->object.members[i].value;
}

size_t member_count(struct run *r, const struct json *object)
{
    size_t n = 0;
    for (size_t i = 0; i < object->object.n; i++)
        n += member_counts(r, object, i);
    return n;
}

void seen_add(struct run *r, struct seen *s, const struct json *value, size_t i)
{
    if (!s || s->all)
        return;
    if (!s->bits) {
        s->n = value->kind == JSON_OBJECT ? value->object.n : value->array.n;
        s->bits = arena_array(r->a, uint64_t, s->n / 64 + 1);
    }
    s->bits[i / 64] |= (uint64_t)1 << (i % 64);
}

bool seen_has(const struct seen *s, size_t i)
{
    return s->all || (s->bits && (s->bits[i / 64] >> (i % 64) & 1));
}

static void seen_join(struct seen *s, const struct seen *more)
{
    s->all |= more->all;
    if (!more->bits || s->all)
        return;
    if (!s->bits) {
        s->bits = more->bits;
        s->n = more->n;
        return;
    }
    for (size_t i = 0; i < s->n / 64 + 1; i++)
        s->bits[i] |= more->bits[i];
}

enum fit same_value(struct run *r, const struct json *x, const struct json *y)
{
    if (x == y)
        return FIT;
    if (x->kind != y->kind)
        return UNFIT;
    switch (x->kind) {
    case JSON_NULL:
        return FIT;
    case JSON_BOOL:
        return x->boolean == y->boolean ? FIT : UNFIT;
    case JSON_NUMBER:
        if (charge(r, (x->raw.n + y->raw.n) / 64) == BROKEN)
            return BROKEN;
        return decimal_cmp(x->raw, y->raw) == 0 ? FIT : UNFIT;
    case JSON_STRING:
        if (charge(r, x->string.n / 256) == BROKEN)
            return BROKEN;
        return str_eq(x->string, y->string) ? FIT : UNFIT;
    case JSON_ARRAY:
        if (x->array.n != y->array.n)
            return UNFIT;
        for (size_t i = 0; i < x->array.n; i++) {
            enum fit fit =
                charge(r, 1) == BROKEN ? BROKEN : same_value(r, &x->array.items[i], &y->array.items[i]);
            if (fit != FIT)
                return fit;
        }
        return FIT;
    case JSON_OBJECT:
        if (charge(r, x->object.n + y->object.n) == BROKEN)
            return BROKEN;
        if (member_count(r, x) != member_count(r, y))
            return UNFIT;
        for (size_t i = 0; i < x->object.n; i++) {
            if (!member_counts(r, x, i))
                continue;
            const struct json *other = member(r, y, x->object.members[i].key);
            enum fit fit = other ? same_value(r, &x->object.members[i].value, other) : UNFIT;
            if (fit != FIT)
                return fit;
        }
        return FIT;
    }
    return UNFIT;
}

static bool type_fits(const struct frame *f)
{
    const struct json *type = f->kw ? f->kw[KW_TYPE] : NULL;
    if (!type)
        return false;
    /* Asked without faults, kw_type only looks. */
    struct frame quiet = *f;
    quiet.faults = NULL;
    struct run none = {.err = &(struct err){0}, .steps = 1};
    return kw_type(&none, &quiet, type) == FIT;
}

enum fit unfit(struct run *r, const struct frame *f, enum keyword_id id, Str property,
               const struct faults *context, const struct buf *message)
{
    if (!f->faults || (r->fault_count >= FAULTS_MAX && f->faults->list.n))
        return UNFIT; /* past the cap each list still has its first, so that no list is empty for want of room
                       */
    r->fault_count++;
    struct fault *x = arena_new(r->a, struct fault);
    x->base = f->faults->base;
    x->weak = id == KW_ANY_OF || id == KW_ONE_OF;
    x->type_fits = type_fits(f);
    if (context)
        x->context = *context;
    size_t n = f->path ? f->path->depth : 0;
    struct schema_step *steps = arena_array(r->a, struct schema_step, n);
    for (const struct path *p = f->path; p; p = p->outer)
        steps[p->depth - 1] = p->step;
    x->error = (struct schema_error){
        .path = steps_text(r->a, steps, n),
        .message = str_dup(r->a, buf_view(message)),
        .keyword = keywords[id].name,
        .instance = f->value,
        .property = property,
        .steps = steps,
        .step_count = n,
    };
    vec_push(r->a, &f->faults->list, x);
    return UNFIT;
}

static enum fit apply_keywords(struct run *r, struct frame *f)
{
    const struct json *kw[KW_COUNT] = {0};
    const struct json *schema = f->schema;
    uint8_t order[KW_COUNT];
    size_t n = 0;
    for (size_t i = 0; i < schema->object.n; i++) {
        enum keyword_id id = keyword_find(schema->object.members[i].key);
        if (id == KW_UNKNOWN)
            continue;
        if (!kw[id] && keywords[id].handle)
            order[n++] = (uint8_t)id;
        kw[id] = &schema->object.members[i].value;
    }
    f->kw = kw;
    struct scope inner;
    if (kw[KW_ID]) {
        const struct resource *resource = resource_enter(r, f->scope->resource, schema);
        if (!resource)
            return BROKEN;
        if (resource != f->scope->resource) {
            inner = (struct scope){f->scope, resource};
            f->scope = &inner;
        }
    }
    struct seen own = {0};
    if (!f->seen && (kw[KW_UNEVALUATED_ITEMS] || kw[KW_UNEVALUATED_PROPERTIES]))
        f->seen = &own;
    enum fit result = FIT;
    bool late = false;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < n; i++) {
            const struct keyword *k = &keywords[order[i]];
            late |= k->vocabulary == IN_LATE;
            if ((k->vocabulary == IN_LATE) != (round == 1) ||
                (k->vocabulary == IN_ASSERT && r->no_assertions))
                continue;
            enum fit fit = k->handle(r, f, kw[order[i]]);
            if (fit == BROKEN || (fit == UNFIT && !f->faults))
                return fit;
            result = MIN(result, fit);
        }
        if (!late)
            break;
    }
    return result;
}

static enum fit apply_metaschema(struct run *r, const struct frame *f)
{
    struct err why = {0};
    struct patterns patterns = patterns_on(r->a, 1000000);
    if (keyword_check(&patterns, f->value, &why) == 0)
        return FIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    buf_z(&b, why.text);
    return unfit(r, f, KW_REF, STR_NONE, NULL, &b);
}

enum fit apply(struct run *r, const struct frame *outer, const struct json *schema, const struct json *value,
               const struct scope *scope, const struct path *path, struct seen *seen, struct faults *faults)
{
    if (charge(r, 1) == BROKEN)
        return BROKEN;
    if (schema->kind == JSON_BOOL && schema->boolean)
        return FIT;
    struct frame f = {outer, schema, value, NULL, scope, path, seen, faults};
    if (schema == &metaschema)
        return apply_metaschema(r, &f);
    if (schema->kind == JSON_BOOL) {
        AUTO(buf_free) struct buf b = MESSAGE;
        if (faults) {
            say_value(&b, value);
            buf_z(&b, " is not allowed here");
        }
        return unfit(r, &f, KW_UNKNOWN, STR_NONE, NULL, &b);
    }
    if (schema->kind != JSON_OBJECT) {
        err_set(r->err, ERR_UNPROCESSABLE, "a schema must be an object, true or false");
        return BROKEN;
    }
    if (r->depth >= DEPTH_MAX) {
        err_set(r->err, ERR_UNPROCESSABLE, "the schema is nested too deeply");
        return BROKEN;
    }
    r->depth++;
    enum fit fit = apply_keywords(r, &f);
    r->depth--;
    return fit;
}

enum fit apply_here(struct run *r, const struct frame *f, const struct json *schema, struct faults *faults)
{
    if (!f->seen)
        return apply(r, f, schema, f->value, f->scope, f->path, NULL, faults);
    struct seen inner = {0};
    enum fit fit = apply(r, f, schema, f->value, f->scope, f->path, &inner, faults);
    if (fit == FIT)
        seen_join(f->seen, &inner);
    return fit;
}

enum fit apply_at(struct run *r, const struct frame *f, const struct json *schema, const struct json *value,
                  struct schema_step step, struct faults *faults)
{
    struct path path = {f->path, step, f->path ? f->path->depth + 1 : 1};
    return apply(r, f, schema, value, f->scope, &path, NULL, faults);
}

/* A schema may name a metaschema of its own, which says what vocabularies it is made of. */
static void read_vocabulary(struct run *r, const struct json *schema)
{
    Str uri = json_get_str(schema, STR("$schema"));
    if (!uri.p || !r->resolve || str_eqz(uri, METASCHEMA_URI))
        return;
    const struct json *vocabulary = json_get(r->resolve(r->user, uri), STR("$vocabulary"));
    if (!vocabulary)
        return;
    r->no_assertions = !json_get(vocabulary, STR("https://json-schema.org/draft/2020-12/vocab/validation"));
    if (json_get(vocabulary, STR("https://json-schema.org/draft/2020-12/vocab/format-assertion")))
        r->flags |= SCHEMA_FORMATS;
}

int schema_validate(struct arena *a, const struct json *schema, const struct json *value, int flags,
                    schema_resolve *resolve, void *user, struct schema_errors *ret, struct err *err)
{
    struct run r = {
        .a = a,
        .flags = flags,
        .resolve = resolve,
        .user = user,
        .err = err,
        .steps = STEPS,
        .patterns = patterns_on(a, PATTERN_STEPS),
        .root = {STR(""), schema},
    };
    Str id = json_get_str(schema, STR("$id")), fragment;
    if (id.n)
        r.root.uri = uri_resolve(a, STR(""), uri_cut_fragment(id, &fragment));
    read_vocabulary(&r, schema);
    struct scope scope = {NULL, &r.root};
    *ret = (struct schema_errors){0};
    /* Nearly all values fit, and that is told without collecting anything. */
    enum fit fit = apply(&r, NULL, schema, value, &scope, NULL, NULL, NULL);
    struct faults faults = {0};
    if (fit == UNFIT)
        fit = apply(&r, NULL, schema, value, &scope, NULL, NULL, &faults);
    if (fit == BROKEN)
        return -1;
    for (size_t i = 0; i < faults.list.n && i < SCHEMA_ERRORS_MAX; i++)
        vec_push(a, &ret->list, faults.list.v[i]->error);
    ret->best = faults_best(&faults);
    return 0;
}
