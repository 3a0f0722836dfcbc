#include "schema/apply.h"

#include "schema/decimal.h"

#include <string.h>

const struct keyword keywords[KW_COUNT] = {
#define K(id, name, is, vocabulary, handler) [KW_##id] = {STR(name), IS_##is, IN_##vocabulary, handler},
    KEYWORDS(K)
#undef K
};

enum keyword_id keyword_find(Str name)
{
    static const uint8_t first_of_length[] = {
        [2] = KW_IF,
        [3] = KW_ID,
        [4] = KW_REF,
        [5] = KW_DEFS,
        [6] = KW_FORMAT,
        [7] = KW_ANCHOR,
        [8] = KW_CONTAINS,
        [9] = KW_MIN_LENGTH,
        [10] = KW_MULTIPLE_OF,
        [11] = KW_PREFIX_ITEMS,
        [13] = KW_MIN_PROPERTIES,
        [14] = KW_DYNAMIC_ANCHOR,
        [16] = KW_DEPENDENT_SCHEMAS,
        [17] = KW_PATTERN_PROPERTIES,
        [20] = KW_ADDITIONAL_PROPERTIES,
        [21] = KW_UNEVALUATED_PROPERTIES,
    };
    if (name.n >= COUNT_OF(first_of_length) || !first_of_length[name.n])
        return KW_UNKNOWN;
    for (int i = first_of_length[name.n]; i < KW_COUNT && keywords[i].name.n == name.n; i++)
        if (memcmp(keywords[i].name.p, name.p, name.n) == 0)
            return (enum keyword_id)i;
    return KW_UNKNOWN;
}

struct checker {
    struct patterns *p;
    struct err *err;
};

/* The place of a keyword: its schemas' keywords and keys from the root. */
struct place {
    const struct place *outer;
    Str name;
};

static void place_text(struct buf *b, const struct place *at)
{
    if (!at)
        return;
    place_text(b, at->outer);
    if (b->n)
        buf_char(b, '.');
    buf_str(b, str_sub(at->name, 0, 80));
}

static int wrong(const struct checker *c, const struct place *at, const char *what)
{
    AUTO(buf_free) struct buf b = BUF(300);
    place_text(&b, at);
    return err_set(c->err, ERR_UNPROCESSABLE, "%.*s must be %s", STR_ARG(buf_view(&b)), what);
}

static int check_schema(const struct checker *c, const struct json *schema, const struct place *at);

static int check_strings(const struct checker *c, const struct json *v, const struct place *at)
{
    if (v->kind != JSON_ARRAY)
        return wrong(c, at, "an array of strings");
    struct map names = {0};
    for (size_t i = 0; i < v->array.n; i++) {
        if (v->array.items[i].kind != JSON_STRING)
            return wrong(c, at, "an array of strings");
        void **slot = map_at(c->p->a, &names, v->array.items[i].string);
        if (*slot)
            return wrong(c, at, "an array of strings, each once");
        *slot = &names;
    }
    return 0;
}

static bool type_name(const struct json *v)
{
    static const char *const names[] = {"array", "boolean", "integer", "null", "number", "object", "string"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eqz(json_str(v), names[i]))
            return true;
    return false;
}

static int check_type(const struct checker *c, const struct json *v, const struct place *at)
{
    static const char what[] =
        "one of array, boolean, integer, null, number, object, string, or an array of these, each once";
    if (v->kind != JSON_ARRAY)
        return type_name(v) ? 0 : wrong(c, at, what);
    for (size_t i = 0; i < v->array.n; i++)
        if (!type_name(&v->array.items[i]))
            return wrong(c, at, what);
    return v->array.n ? check_strings(c, v, at) : wrong(c, at, what);
}

static bool plain_name(Str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
        if (!letter && (i == 0 || !((ch >= '0' && ch <= '9') || ch == '-' || ch == '.')))
            return false;
    }
    return s.n > 0;
}

static int check_schemas(const struct checker *c, const struct json *v, const struct place *at)
{
    if (v->kind != JSON_ARRAY || !v->array.n)
        return wrong(c, at, "an array of one schema or more");
    for (size_t i = 0; i < v->array.n; i++) {
        char index[24];
        int n = snprintf(index, sizeof index, "%zu", i);
        if (check_schema(c, &v->array.items[i], &(struct place){at, {index, (size_t)n}}) < 0)
            return -1;
    }
    return 0;
}

static int check_map(const struct checker *c, const struct json *v, const struct place *at,
                     int (*check)(const struct checker *c, const struct json *v, const struct place *at))
{
    if (v->kind != JSON_OBJECT)
        return wrong(c, at, "an object");
    for (size_t i = 0; i < v->object.n; i++)
        if (check(c, &v->object.members[i].value, &(struct place){at, v->object.members[i].key}) < 0)
            return -1;
    return 0;
}

static int check_value(const struct checker *c, enum keyword_value is, const struct json *v,
                       const struct place *at)
{
    switch (is) {
    case IS_ANY:
        return 0;
    case IS_SCHEMA:
        return check_schema(c, v, at);
    case IS_SCHEMAS:
        return check_schemas(c, v, at);
    case IS_PATTERN_MAP:
        if (v->kind == JSON_OBJECT)
            for (size_t i = 0; i < v->object.n; i++)
                if (pattern_check(c->p, v->object.members[i].key, c->err) < 0)
                    return -1;
        return check_map(c, v, at, check_schema);
    case IS_SCHEMA_MAP:
        return check_map(c, v, at, check_schema);
    case IS_STRING:
        return v->kind == JSON_STRING ? 0 : wrong(c, at, "a string");
    case IS_NAME:
        return plain_name(json_str(v)) ? 0 : wrong(c, at, "a name of letters, digits, '-', '_' and '.'");
    case IS_REGEX:
        if (v->kind != JSON_STRING)
            return wrong(c, at, "a regular expression");
        return pattern_check(c->p, v->string, c->err) < 0 ? -1 : 0;
    case IS_NUMBER:
        return v->kind == JSON_NUMBER ? 0 : wrong(c, at, "a number");
    case IS_POSITIVE:
        return v->kind == JSON_NUMBER && decimal_cmp(v->raw, STR("0")) > 0 ? 0
                                                                           : wrong(c, at, "a number above 0");
    case IS_NATURAL:
        return v->kind == JSON_NUMBER && decimal_is_integer(v->raw) && decimal_cmp(v->raw, STR("0")) >= 0
                   ? 0
                   : wrong(c, at, "a whole number, 0 or more");
    case IS_BOOL:
        return v->kind == JSON_BOOL ? 0 : wrong(c, at, "true or false");
    case IS_BOOLS:
        for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++)
            if (v->object.members[i].value.kind != JSON_BOOL)
                return wrong(c, at, "an object of true and false");
        return v->kind == JSON_OBJECT ? 0 : wrong(c, at, "an object");
    case IS_LIST:
        return v->kind == JSON_ARRAY ? 0 : wrong(c, at, "an array");
    case IS_STRINGS:
        return check_strings(c, v, at);
    case IS_STRINGS_MAP:
        return check_map(c, v, at, check_strings);
    case IS_TYPE:
        return check_type(c, v, at);
    }
    return 0;
}

static int check_schema(const struct checker *c, const struct json *schema, const struct place *at)
{
    if (schema->kind == JSON_BOOL)
        return 0;
    if (schema->kind != JSON_OBJECT)
        return at ? wrong(c, at, "a schema: an object, true or false")
                  : err_set(c->err, ERR_UNPROCESSABLE, "a schema must be an object, true or false");
    for (size_t i = 0; i < schema->object.n; i++) {
        const struct json_member *m = &schema->object.members[i];
        enum keyword_id id = keyword_find(m->key);
        if (id != KW_UNKNOWN && check_value(c, keywords[id].is, &m->value, &(struct place){at, m->key}) < 0)
            return -1;
    }
    return 0;
}

int keyword_check(struct patterns *p, const struct json *schema, struct err *err)
{
    struct checker c = {p, err};
    return check_schema(&c, schema, NULL);
}

int schema_check(struct arena *a, const struct json *schema, struct err *err)
{
    struct patterns p = patterns_on(a, 1000000);
    return keyword_check(&p, schema, err);
}
