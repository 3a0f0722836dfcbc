/* A template: whatever it is, it is refused with a line or prints at most a megabyte of UTF-8, the same each
 * time. */
#include "schema/hydrate.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_jinja: " #x);                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char vars[] =
        "{\"a\":{\"b\":[1,2,{\"c\":\"x\"}],\"n\":null,\"f\":1.5},\"s\":\"hello World\",\"l\":[3,1,2],"
        "\"e\":[],\"t\":true,\"big\":123456789012345678901234567890,\"d\":{\"k\":1,\"z\":\"q\"},"
        "\"u\":\"\xc3\xa9t\xc3\xa9\"}";
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err = {0};
    Str text = {(const char *)p, n}, out, again;
    int line = 0, checked = jinja_check(text, &line, &err);
    CHECK(checked == 0 || (line >= 1 && err.code == ERR_INVALID && err.text[0]));
    const struct json *v = json_parse(a, str_of(vars), &err);
    CHECK(v);
    int rc = jinja_render(a, text, v, &out, &err);
    bool tags = str_find(text, STR("{{")) >= 0 || str_find(text, STR("{%")) >= 0;
    CHECK(rc == 0 || (tags && err.text[0]));
    CHECK(checked == 0 || !tags || rc < 0);
    if (rc < 0)
        return 0;
    CHECK(out.n <= MAX((size_t)1 << 20, n));
    CHECK(!tags || str_utf8_valid(out));
    CHECK(jinja_render(a, text, v, &again, &err) == 0 && str_eq(out, again));
    return 0;
}
