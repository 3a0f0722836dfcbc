#include "tests/unit/test.h"

#include "base/err.h"
#include "base/str.h"
#include "base/time.h"

static void test_time_text(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text;
        const char *iso; /* NULL: refused */
    } cases[] = {
        {"2026-11-23T17:43:25.360630Z", "2026-11-23T17:43:25.360630Z"},
        {"2026-11-23 17:45:13.515569+00:00", "2026-11-23T17:45:13.515569Z"},
        {"2026-11-23T17:45:13+05:30", "2026-11-23T12:15:13Z"},
        {"2026-11-23T17:45:13.5-0100", "2026-11-23T18:45:13.500000Z"},
        {"2026-11-23T17:45", "2026-11-23T17:45:00Z"},
        {"2024-02-29", "2024-02-29T00:00:00Z"},
        {"1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"},
        {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
        {"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
        {"0001-01-01T00:00:00+00:01", NULL}, /* out of the calendar by its offset */
        {"9999-12-31T23:59:59-00:01", NULL},
        {"0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00Z"},
        {"2023-02-29", NULL},
        {"2026-13-01", NULL},
        {"2026-11-23T24:00:00Z", NULL},
        {"2026-11-23T17:45:13.", NULL},
        {"2026-11-23T17:45:13Zx", NULL},
        {"", NULL},
        {"now", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Time t;
        bool ok = time_parse(str_of(cases[i].text), &t);
        if (ok != (cases[i].iso != NULL) || (ok && strcmp(time_iso(t).s, cases[i].iso)))
            fail_msg("%s: got %s", cases[i].text, ok ? time_iso(t).s : "refused");
    }
}

static void test_civil(void **state)
{
    UNUSED(state);
    for (int64_t day = -719162; day < 2932896; day += 13) {
        int64_t y;
        int m, d;
        civil_date(day, &y, &m, &d);
        assert_int_equal(civil_days(y, m, d), day);
    }
}

static void test_durations(void **state)
{
    UNUSED(state);
    Dur d;
    assert_true(dur_parse(STR("PT1H30M"), &d));
    assert_int_equal(d, 90 * MINUTE);
    assert_true(dur_parse(STR("-P1DT2.5S"), &d));
    assert_int_equal(d, -(DAY + 2 * SEC + SEC / 2));
    assert_false(dur_parse(STR("P"), &d));
    assert_false(dur_parse(STR("PT"), &d));
    assert_false(dur_parse(STR("1H"), &d));
    static const struct {
        const char *text;
        double seconds; /* -1: none */
    } clocks[] = {{"01:30:00", 5400}, {"26:00", 93600}, {"1 day", 86400}, {"2 days, 00:00:01.5", 172801.5}, {"-1d 00:10", -87000},
                  {"60", -1},         {"", -1},         {"1:60", -1},     {"1 week", -1},                   {"1:2:3:4", -1}};
    for (size_t i = 0; i < COUNT_OF(clocks); i++) {
        double seconds = -1;
        if (!dur_parse_clock(str_of(clocks[i].text), &seconds))
            seconds = -1;
        if (seconds != clocks[i].seconds)
            fail_msg("%s is %g", clocks[i].text, seconds);
    }
}

static void test_uuid(void **state)
{
    UNUSED(state);
    Uuid last = uuid_v7();
    for (int i = 0; i < 10000; i++) {
        Uuid u = uuid_v7(), back;
        assert_true(memcmp(last.b, u.b, 8) < 0);
        assert_true(uuid_parse(str_of(uuid_text(u).s), &back));
        assert_true(uuid_eq(u, back));
        last = u;
    }
    Uuid u;
    assert_true(uuid_parse(STR("0192F4E0C1B27ABC8DEF0123456789AB"), &u));
    assert_string_equal(uuid_text(u).s, "0192f4e0-c1b2-7abc-8def-0123456789ab");
    assert_false(uuid_parse(STR("0192f4e0-c1b2-7abc-8def-0123456789a"), &u));
    assert_false(uuid_parse(STR("0192f4e0-c1b2-7abc-8def-0123456789ag"), &u));
    assert_false(uuid_parse(STR("0192f4e0xc1b2-7abc-8def-0123456789ab"), &u));
}

static void test_buf_cap(void **state)
{
    UNUSED(state);
    AUTO(buf_free) struct buf b = BUF(10);
    buf_z(&b, "12345");
    buf_z(&b, "67890");
    assert_false(b.overflow);
    buf_char(&b, 'x');
    assert_true(b.overflow);
    assert_int_equal(b.n, 10);
}

static void test_map_and_cut(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct map m = {0};
    for (int i = 0; i < 1000; i++)
        *map_at(a, &m, str_fmt(a, "key %d", i)) = str_z(a, str_fmt(a, "%d", i));
    assert_int_equal(m.n, 1000);
    assert_string_equal(map_get(&m, STR("key 777")), "777");
    assert_null(map_get(&m, STR("key 1000")));
    Str rest = STR("a,,b"), part;
    int n = 0;
    while (str_cut(&rest, ',', &part))
        n++;
    assert_int_equal(n, 3);
}

static void test_numbers(void **state)
{
    UNUSED(state);
    int64_t i;
    assert_true(str_int(STR("-9223372036854775808"), &i));
    assert_false(str_int(STR("9223372036854775808"), &i));
    assert_false(str_int(STR(" 1"), &i));
    assert_false(str_int(STR("1x"), &i));
    double d;
    assert_true(str_double(STR("1e300"), &d));
    assert_false(str_double(STR("1e400"), &d));
    assert_false(str_double(STR("0x10"), &d));
    assert_true(str_utf8_valid(STR("h\xc3\xa9llo \xf0\x9f\x91\x8b")));
    assert_false(str_utf8_valid(STR("\xc0\xaf")));
    assert_false(str_utf8_valid(STR("\xed\xa0\x80")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_text), cmocka_unit_test(test_civil),
        cmocka_unit_test(test_durations), cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_buf_cap),   cmocka_unit_test(test_map_and_cut),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
