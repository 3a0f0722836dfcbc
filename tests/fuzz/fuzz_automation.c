/* [trigger, actions] of any shape: what is taken is complete, so that taking it again changes nothing but the ids. */
#include "events/automation.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_automation: " #x);                                                                     \
    } while (0)

/* Equal but for the members `id` of triggers. */
static bool same(const struct json *x, const struct json *y)
{
    const struct json *inner = json_getz(x, "triggers"), *other = json_getz(y, "triggers");
    if (!json_is(x, JSON_OBJECT) || !json_is(y, JSON_OBJECT) || x->object.n != y->object.n)
        return false;
    for (size_t i = 0; i < x->object.n; i++) {
        Str key = x->object.members[i].key;
        if (!str_eqz(key, "id") && !str_eqz(key, "triggers") && !json_equal(json_get(x, key), json_get(y, key)))
            return false;
    }
    if (!inner || !other)
        return !inner && !other;
    if (inner->array.n != other->array.n)
        return false;
    for (size_t i = 0; i < inner->array.n; i++)
        if (!same(&inner->array.items[i], &other->array.items[i]))
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, (Str){(const char *)p, n}, &err);
    if (!json_is(v, JSON_ARRAY) || v->array.n != 2)
        return 0;
    struct violations wrong = {.a = a, .prefix = STR("[")}, none = wrong;
    const struct json *trigger = NULL, *actions = NULL;
    Str text = trigger_settle(a, &v->array.items[0], &wrong);
    if (!wrong.list.n) {
        CHECK((trigger = json_parse(a, text, &err)));
        Str again = trigger_settle(a, trigger, &none);
        CHECK(!none.list.n && same(trigger, json_parse(a, again, &err)));
    }
    wrong.list.n = 0;
    text = actions_settle(a, &v->array.items[1], &wrong);
    if (!wrong.list.n) {
        CHECK((actions = json_parse(a, text, &err)));
        Str again = actions_settle(a, actions, &none);
        CHECK(!none.list.n && json_equal(actions, json_parse(a, again, &err)));
        UuidList ids = {0};
        actions_deployments(a, actions, &ids);
    }
    if (trigger && actions)
        (void)automation_loops(trigger, actions);
    return 0;
}
