/* [schema, value]: whatever both are, the answer comes, is the same each time, agrees with that for {"not":
 * schema} and
 * {"anyOf": [schema]}, and can be told and printed. */
#include "schema/hydrate.h"
#include "schema/tree.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_jsonschema: " #x);                                                                     \
    } while (0)

/* 1 fits, 0 does not, -1 the schema is no good. */
static int fits(struct arena *a, const struct json *schema, const struct json *value, int flags)
{
    struct schema_errors errors, again;
    struct err err;
    int rc = schema_validate(a, schema, value, flags, NULL, NULL, &errors, &err);
    CHECK(rc == schema_validate(a, schema, value, flags, NULL, NULL, &again, &err));
    if (rc < 0)
        return -1;
    CHECK(errors.list.n == again.list.n && errors.list.n <= SCHEMA_ERRORS_MAX);
    CHECK((errors.best != NULL) == (errors.list.n > 0));
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    schema_errors_print(&errors, &w);
    const struct json *printed = json_parse(a, buf_view(&b), &err);
    CHECK(printed);
    CHECK((printed->array.n > 0) == (errors.list.n > 0));
    for (size_t i = 0; i < errors.list.n; i++)
        CHECK(str_utf8_valid(errors.list.v[i].message) && str_utf8_valid(errors.list.v[i].path));
    CHECK(!errors.best || str_utf8_valid(schema_error_text(a, &errors)));
    return errors.list.n == 0;
}

static const struct json *around(struct arena *a, const char *key, const struct json *schema, bool list)
{
    struct tree_members m = {0};
    struct tree_items items = {0};
    tree_push(a, &items, schema);
    tree_add(a, &m, str_of(key), list ? tree_array(a, &items) : schema);
    return tree_object(a, &m);
}

/* References from the root mean another schema when it is put inside one. */
static bool self_contained(const struct json *schema)
{
    return str_find(schema->raw, STR("ef")) < 0 && str_find(schema->raw, STR("\\u")) < 0 &&
           str_find(schema->raw, STR("$id")) < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, (Str){(const char *)p, n}, &err);
    if (!json_is(v, JSON_ARRAY) || v->array.n < 2)
        return 0;
    const struct json *schema = &v->array.items[0], *value = &v->array.items[1];
    int plain = fits(a, schema, value, 0);
    (void)fits(a, schema, value, SCHEMA_FORMATS | SCHEMA_IGNORE_REQUIRED);
    if (plain >= 0 && self_contained(schema)) {
        int inverse = fits(a, around(a, "not", schema, false), value, 0);
        int any = fits(a, around(a, "anyOf", schema, true), value, 0);
        CHECK(inverse < 0 || inverse == !plain);
        CHECK(any < 0 || any == plain);
    }
    if (plain == 0 && schema_check(a, schema, &err) == 0)
        (void)fits(a, schema_preprocess(a, schema), value, 0);
    /* What passes as a schema must not be found bad when it is used, but for references, patterns and time.
     */
    if (plain < 0 && schema_check(a, schema, &err) == 0) {
        struct schema_errors errors;
        CHECK(schema_validate(a, schema, value, 0, NULL, NULL, &errors, &err) < 0);
        CHECK(str_find(str_of(err.text), STR(" must be ")) < 0 || !self_contained(schema));
    }
    (void)schema_preprocess_variables(a, schema);
    return 0;
}
