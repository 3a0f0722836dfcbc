/* [template, overrides, extra]: a base job template of any shape, job variables and parameters: what comes
 * out is whole JSON within its caps. */
#include "schema/hydrate.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_template: " #x);                                                                       \
    } while (0)

static const struct json *find_variable(void *user, Str name, struct err *err)
{
    const struct json *v = json_get(user, name);
    if (!v)
        err_set(err, ERR_NOT_FOUND, "no variable");
    return v;
}

static const struct json *find_block(void *user, Uuid id, Str slug, Str name, struct err *err)
{
    const struct json *v = uuid_is_nil(id) ? json_get(user, name) : user;
    if (!v)
        err_set(err, ERR_NOT_FOUND, "no block");
    return v;
}

static void check_whole(struct arena *a, const struct json *v)
{
    struct err err;
    if (!v)
        return;
    const struct json *again = json_parse(a, v->raw, &err);
    CHECK(v->raw.n <= HYDRATE_MAX && again);
    if (v->raw.n < 10000)
        CHECK(json_equal(again, v));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, (Str){(const char *)p, n}, &err);
    if (!json_is(v, JSON_ARRAY) || v->array.n < 3)
        return 0;
    const struct json *template = &v->array.items[0], *over = &v->array.items[1], *extra = &v->array.items[2];
    /* The context holds values and not the caller's own const-ness. */
    const struct hydrate_context ctx = {
        .user = (void *)(uintptr_t)extra, .variable = find_variable, .block = find_block, .vars = extra};
    int good = template_check(a, template, &err);
    const struct json *overrides[] = {over, NULL, extra};
    const struct json *variables = template_variables(a, template, overrides, COUNT_OF(overrides), 0, &err);
    check_whole(a, variables);
    check_whole(a, template_resolve(a, template, over, extra, &ctx, &err));
    check_whole(a, template_resolve(a, template, over, NULL, NULL, &err));
    if (good == 0 && variables)
        check_whole(a, template_resolve(a, template, variables, extra, &ctx, &err));
    check_whole(a, hydrate(a, over, &ctx, &err));
    struct hydrate_marks marks;
    const struct json *form = hydrate_form(a, over, &ctx, &marks, &err);
    check_whole(a, form);
    struct schema_errors errors;
    if (form && schema_validate(a, template, form, 0, NULL, NULL, &errors, &err) == 0)
        hydrate_marks_apply(a, &marks, &errors);
    return 0;
}
