#include "tests/unit/test.h"

#include "json/json.h"

#include <dirent.h>
#include <stdio.h>

/* The public parsing cases (y_ must be read, n_ must be refused, i_ may be either but must not crash),
 * where they are beside the checkout. */
#define CASES "../shared/data/json-parsing"

static Str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = arena_alloc(a, (size_t)1 << 20);
    size_t n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    return str_dup(a, (Str){p, n});
}

static void test_public_cases(void **state)
{
    UNUSED(state);
    DIR *dir = opendir(CASES);
    if (!dir) {
        print_message("# left out: %s is not here\n", CASES);
        return;
    }
    int seen = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        Str name = str_of(e->d_name);
        if (!str_ends(name, STR(".json")))
            continue;
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        const struct json *v =
            json_parse(a, read_file(a, str_fmt(a, CASES "/%s", e->d_name).p), &err);
        if ((name.p[0] == 'y' && !v) || (name.p[0] == 'n' && v))
            fail_msg("%s: %s", e->d_name, v ? "read" : err.text);
        seen++;
    }
    closedir(dir);
    assert_true(seen > 200);
}

static void test_keeps_text(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(
        a, STR(" {\"big\": 123456789012345678901234567890, \"x\": 1.50, \"s\": \"a\\u00e9\\ud83d\\ude00\\n\"} "),
        &err);
    assert_non_null(v);
    assert_true(str_eqz(json_get(v, STR("big"))->raw, "123456789012345678901234567890"));
    assert_true(str_eqz(json_get(v, STR("x"))->raw, "1.50"));
    assert_true(str_eqz(json_get_str(v, STR("s")), "a\xc3\xa9\xf0\x9f\x98\x80\n"));
    assert_true(str_eqz(json_text(a, v), "{\"big\":123456789012345678901234567890,\"x\":1.50,"
                                         "\"s\":\"a\xc3\xa9\xf0\x9f\x98\x80\\n\"}"));
    assert_true(str_eqz(json_text_python(a, v), "{\"big\": 123456789012345678901234567890, "
                                                "\"s\": \"a\\u00e9\\ud83d\\ude00\\n\", \"x\": 1.50}"));
}

static void test_writer(void **state)
{
    UNUSED(state);
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kint(&w, "i", 5);
    jw_kdouble(&w, "d", 0.1);
    jw_kdouble(&w, "z", 3);
    jw_ktime(&w, "t", TIME_NONE);
    jw_key(&w, STR("a"));
    jw_array(&w);
    jw_bool(&w, true);
    jw_object(&w);
    jw_end(&w);
    jw_end(&w);
    jw_kuuid(&w, "u", UUID_NIL);
    jw_end(&w);
    AUTO(arena_freep) struct arena *a = arena_create();
    assert_string_equal(str_z(a, buf_view(&b)),
                        "{\"i\":5,\"d\":0.1,\"z\":3.0,\"t\":null,\"a\":[true,{}],\"u\":null}");
}

static void test_equal(void **state)
{
    UNUSED(state);
    static const struct {
        const char *x, *y;
        bool equal;
    } cases[] = {
        {"1", "1.0", true},     {"100", "1e2", true},        {"-0", "0", true},
        {"1", "true", false},   {"0.1", "1e-1", true},       {"9007199254740993", "9007199254740992", false},
        {"[1,2]", "[2,1]", false}, {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true}, {"{\"a\":1}", "{\"a\":1,\"b\":1}", false},
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err;
        const struct json *x = json_parse(a, str_of(cases[i].x), &err);
        const struct json *y = json_parse(a, str_of(cases[i].y), &err);
        if (json_equal(x, y) != cases[i].equal)
            fail_msg("%s and %s", cases[i].x, cases[i].y);
    }
}

static void test_depth(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    char deep[100000];
    memset(deep, '[', sizeof deep);
    struct err err;
    assert_null(json_parse(a, (Str){deep, sizeof deep}, &err));
    assert_non_null(strstr(err.text, "deep"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_public_cases), cmocka_unit_test(test_keeps_text),
        cmocka_unit_test(test_writer),       cmocka_unit_test(test_equal),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
