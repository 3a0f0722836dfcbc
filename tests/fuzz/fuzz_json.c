/* JSON text: what is read is written as the same value, alike twice, whole, and within its cap. */
#include "json/json.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_json: " #x);                                                                           \
    } while (0)

/* Kinds and members fit what the accessors say. */
static void walk(const struct json *v)
{
    int64_t i;
    double d;
    CHECK(v->raw.n > 0);
    CHECK(json_is(v, JSON_STRING) == (json_str(v).p != NULL) && json_is_null(v) == (v->kind == JSON_NULL));
    if (json_int(v, &i))
        CHECK(v->kind == JSON_NUMBER);
    if (json_double(v, &d))
        CHECK(v->kind == JSON_NUMBER && d == d);
    if (v->kind == JSON_STRING)
        CHECK(str_utf8_valid(v->string) && str_codepoints(v->string) <= v->string.n);
    if (v->kind == JSON_ARRAY)
        for (size_t k = 0; k < v->array.n; k++)
            walk(&v->array.items[k]);
    if (v->kind == JSON_OBJECT)
        for (size_t k = 0; k < v->object.n; k++) {
            CHECK(json_get(v, v->object.members[k].key));
            walk(&v->object.members[k].value);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err = {0};
    const struct json *v = json_parse(a, (Str){(const char *)p, n}, &err);
    if (!v) {
        CHECK(err.code == ERR_INVALID && err.text[0]);
        return 0;
    }
    walk(v);
    Str text = json_text(a, v), python = json_text_python(a, v);
    const struct json *again = json_parse(a, text, &err), *sorted = json_parse(a, python, &err);
    CHECK(again && sorted);
    /* Comparing objects takes the square of their size. */
    if (n < 20000)
        CHECK(json_equal(v, v) && json_equal(v, again) && json_equal(again, v) && json_equal(v, sorted));
    CHECK(str_eq(json_text(a, again), text) && str_eq(json_text_python(a, again), python));
    AUTO(buf_free) struct buf b = BUF(64), pretty = BUF((size_t)1 << 26);
    struct jw w = jw_on(&b);
    jw_value(&w, v);
    CHECK(b.n <= 64 && b.overflow == (text.n > 64));
    w = jw_on(&pretty);
    w.indent = 2;
    jw_value(&w, v);
    CHECK(pretty.overflow || json_parse(a, buf_view(&pretty), &err));
    return 0;
}
