#include "tests/unit/test.h"

#include "schedule/cron.h"
#include "schedule/rrule.h"
#include "schedule/schedule.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OURS "tests/data/schedules.json"
/* What the reference answers, where it is beside the checkout. It holds all of these; where it is known to
 * answer otherwise the case stands in OURS, with "differs" saying why. */
#define REFERENCE "../shared/data/schedules.json"

static const struct json *read_cases(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *p = arena_alloc(a, (size_t)1 << 20);
    size_t n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    struct err err;
    const struct json *v = json_parse(a, (Str){p, n}, &err);
    if (!v)
        fail_msg("%s: %s", path, err.text);
    return v;
}

static Time at(Str text)
{
    Time t;
    if (!time_parse(text, &t))
        fail_msg("no time: %.*s", STR_ARG(text));
    return t;
}

static const struct schedule *parse(struct arena *a, const char *text, Time now, struct err *err)
{
    const struct json *v = json_parse(a, str_of(text), err);
    if (!v)
        fail_msg("%s: %s", text, err->text);
    return schedule_parse(a, v, now, err);
}

static Str print(struct arena *a, const struct schedule *s)
{
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    schedule_print(s, &w);
    return str_dup(a, buf_view(&b));
}

/* One case: the instants from `start` on, all of them and one by one. */
static void check_case(struct arena *a, const struct json *c, const struct json *object)
{
    struct err err;
    Time start = at(json_get_str(c, STR("start"))), end = TIME_NONE, got[32];
    const struct json *want = json_getz(c, "dates");
    int64_t n = 6;
    (void)json_int(json_getz(c, "n"), &n);
    if (json_getz(c, "end"))
        end = at(json_get_str(c, STR("end")));
    const struct schedule *s = schedule_parse(a, object, start, &err);
    if (!s && json_getz(c, "error"))
        return;
    if (!s)
        fail_msg("%.*s: %s", STR_ARG(object->raw), err.text);
    size_t found = schedule_next(a, s, start, end, (size_t)n, got);
    for (size_t i = 0; i < MAX(found, want->array.n); i++)
        if (i >= found || i >= want->array.n || got[i] != at(want->array.items[i].string))
            fail_msg("%.*s from %s: number %zu is %s", STR_ARG(object->raw), time_iso(start).s, i + 1,
                     i < found ? time_iso(got[i]).s : "not there");
    /* Asked for one at a time, beginning after the last, nothing else may come. Intervals that are added on
     * the wall clock are exempt: they go on from where the start makes them begin. */
    for (size_t i = 0; schedule_kind(s) != SCHEDULE_INTERVAL && i < found; i++) {
        Time one;
        size_t k = schedule_next(a, s, i ? got[i - 1] + 1 : start, end, 1, &one);
        if (k != 1 || one != got[i])
            fail_msg("%.*s: one by one, number %zu is %s", STR_ARG(object->raw), i + 1,
                     k ? time_iso(one).s : "none");
    }
    /* What is stored is read back as the same. */
    Str stored = print(a, s);
    const struct json *again = json_parse(a, stored, &err);
    const struct schedule *s2 = again ? schedule_parse(a, again, 0, &err) : NULL;
    if (!s2 || !str_eq(print(a, s2), stored))
        fail_msg("%.*s: stored as %.*s, which is read back otherwise", STR_ARG(object->raw), STR_ARG(stored));
}

static void test_ours(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct json *v = read_cases(a, OURS);
    assert_non_null(v);
    assert_true(v->array.n > 100);
    for (size_t i = 0; i < v->array.n; i++)
        check_case(a, &v->array.items[i], json_getz(&v->array.items[i], "schedule"));
}

static void test_reference(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct json *v = read_cases(a, REFERENCE);
    if (!v) {
        print_message("# left out: %s is not here\n", REFERENCE);
        return;
    }
    size_t refused = 0;
    for (size_t i = 0; i < v->array.n; i++) {
        const struct json *c = &v->array.items[i];
        static const char *const keys[] = {"cron", "day_or", "interval", "anchor_date", "rrule", "timezone"};
        AUTO(buf_free) struct buf b = BUF((size_t)1 << 16);
        struct jw w = jw_on(&b);
        jw_object(&w);
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            const struct json *member = json_get(c, str_of(keys[k]));
            if (member) {
                jw_key(&w, str_of(keys[k]));
                jw_value(&w, member);
            }
        }
        jw_end(&w);
        struct err err;
        const struct json *object = json_parse(a, str_dup(a, buf_view(&b)), &err);
        if (json_getz(c, "error")) {
            assert_null(schedule_parse(a, object, 0, &err));
            refused++;
        } else {
            check_case(a, c, object);
        }
    }
    assert_int_equal(v->array.n, 400);
    assert_int_equal(refused, 2);
}

static void test_refused(void **state)
{
    UNUSED(state);
    /* The text, and a word of the sentence that says why. */
    static const char *const cases[][2] = {
        {"[]", "object"},
        {"null", "object"},
        {"{}", "cron, interval and rrule"},
        {"{\"cron\":\"0 0 * * *\",\"interval\":5}", "not both"},
        {"{\"cron\":\"0 0 * * *\",\"anchor_date\":\"2026-01-01\"}", "anchor_date"},
        {"{\"interval\":5,\"day_or\":true}", "day_or"},
        {"{\"cron\":5}", "string"},
        {"{\"cron\":null}", "string"},
        {"{\"cron\":\"\"}", "5 fields"},
        {"{\"cron\":\"0 0 * *\"}", "5 fields"},
        {"{\"cron\":\"0 0 * * * 0 2027 1\"}", "5 fields"},
        {"{\"cron\":\"@daily \"}", "5 fields"},
        {"{\"cron\":\"@reboot\"}", "5 fields"},
        {"{\"cron\":\"60 0 * * *\"}", "minute \"60\""},
        {"{\"cron\":\"0 24 * * *\"}", "hour \"24\""},
        {"{\"cron\":\"0 0 0 * *\"}", "day \"0\""},
        {"{\"cron\":\"0 0 32 * *\"}", "day \"32\""},
        {"{\"cron\":\"0 0 * 0 *\"}", "month \"0\""},
        {"{\"cron\":\"0 0 * 13 *\"}", "month \"13\""},
        {"{\"cron\":\"0 0 * * 8\"}", "weekday \"8\""},
        {"{\"cron\":\"0 0 * * * 60\"}", "second \"60\""},
        {"{\"cron\":\"0 0 * * * 0 1969\"}", "year \"1969\""},
        {"{\"cron\":\"0 0 * * 5L\"}", "weekday \"5l\""},
        {"{\"cron\":\"0 0 * * L\"}", "weekday"},
        {"{\"cron\":\"0 0 * * mon#6\"}", "from 1 to 5"},
        {"{\"cron\":\"0 0 * * 1-3#2\"}", "before \"#\""},
        {"{\"cron\":\"0 0 * * *#2\"}", "before \"#\""},
        {"{\"cron\":\"0 0 * * mon#1,tue\"}", "mixes"},
        {"{\"cron\":\"0 0 monday * *\"}", "monday"},
        {"{\"cron\":\"1,,2 0 * * *\"}", "no value"},
        {"{\"cron\":\"1, 0 * * *\"}", "no value"},
        {"{\"cron\":\"-5 0 * * *\"}", "no value"},
        {"{\"cron\":\"*/0 0 * * *\"}", "step"},
        {"{\"cron\":\"*/x 0 * * *\"}", "step"},
        {"{\"cron\":\"1-2-3 0 * * *\"}", "no value"},
        {"{\"cron\":\"*/5/2 0 * * *\"}", "step"},
        {"{\"cron\":\"? 0 * * *\"}", "day field"},
        {"{\"cron\":\"0 0 ?,1 * *\"}", "day field"},
        {"{\"cron\":\"h 0 * * *\"}", "hashed"},
        {"{\"cron\":\"R(1-5) 0 * * *\"}", "hashed"},
        {"{\"cron\":\"0 0 * * *\",\"day_or\":null}", "day_or"},
        {"{\"cron\":\"0 0 * * *\",\"timezone\":5}", "timezone"},
        {"{\"cron\":\"0 0 * * *\",\"timezone\":\"europe/berlin\"}", "europe/berlin"},
        {"{\"cron\":\"0 0 * * *\",\"timezone\":\"../../../etc/passwd\"}", "timezone"},
        {"{\"interval\":null}", "seconds"},
        {"{\"interval\":\"3600\"}", "seconds"},
        {"{\"interval\":\"pt1h\"}", "seconds"},
        {"{\"interval\":\"01:60\"}", "seconds"},
        {"{\"interval\":0}", "above 0"},
        {"{\"interval\":-1}", "above 0"},
        {"{\"interval\":4e-7}", "above 0"},
        {"{\"interval\":\"-PT1H\"}", "above 0"},
        {"{\"interval\":1e15}", "999,999,999 days"},
        {"{\"interval\":60,\"anchor_date\":null}", "anchor_date"},
        {"{\"interval\":60,\"anchor_date\":\"x\"}", "anchor_date"},
        {"{\"interval\":60,\"anchor_date\":1e300}", "anchor_date"},
        {"{\"rrule\":7}", "string"},
        {"{\"rrule\":\"\"}", "no RRULE"},
        {"{\"rrule\":\"DTSTART:20260101T000000\"}", "no RRULE"},
        {"{\"rrule\":\"FREQ=DAILY\",\"timezone\":\"\"}", "timezone"},
        {"{\"rrule\":\"COUNT=3\"}", "FREQ"},
        {"{\"rrule\":\"FREQ=FORTNIGHTLY\"}", "frequency"},
        {"{\"rrule\":\"FREQ=DAILY;\"}", "NAME=VALUE"},
        {"{\"rrule\":\"FREQ=DAILY; COUNT=3\"}", "NAME=VALUE"},
        {"{\"rrule\":\"FREQ=DAILY;COLOUR=3\"}", "COLOUR"},
        {"{\"rrule\":\"FREQ=DAILY;INTERVAL=0\"}", "from 1"},
        {"{\"rrule\":\"FREQ=DAILY;INTERVAL=-1\"}", "from 1"},
        {"{\"rrule\":\"FREQ=DAILY;COUNT=x\"}", "count"},
        {"{\"rrule\":\"FREQ=DAILY;UNTIL=soon\"}", "SOON"},
        {"{\"rrule\":\"FREQ=DAILY;UNTIL=20260101T000000-x\"}", "no date"},
        {"{\"rrule\":\"FREQ=DAILY;UNTIL=20260229\"}", "no date"},
        {"{\"rrule\":\"FREQ=DAILY;BYDAY=XX\"}", "weekday"},
        {"{\"rrule\":\"FREQ=MONTHLY;BYDAY=0MO\"}", "weekday"},
        {"{\"rrule\":\"FREQ=DAILY;WKST=1\"}", "weekday"},
        {"{\"rrule\":\"FREQ=DAILY;BYHOUR=1,,2\"}", "number"},
        {"{\"rrule\":\"FREQ=DAILY;BYHOUR=24\"}", "does not exist"},
        {"{\"rrule\":\"FREQ=HOURLY;INTERVAL=4;BYHOUR=3\"}", "never comes"},
        {"{\"rrule\":\"FREQ=DAILY;BYSETPOS=0\"}", "BYSETPOS"},
        {"{\"rrule\":\"FREQ=DAILY;BYSETPOS=367\"}", "BYSETPOS"},
        {"{\"rrule\":\"SUMMARY:x\\nFREQ=DAILY\"}", "SUMMARY"},
        {"{\"rrule\":\"RRULE;X=1:FREQ=DAILY\"}", "X=1"},
        {"{\"rrule\":\"RDATE;VALUE=DATE:20260101\"}", "VALUE=DATE"},
        {"{\"rrule\":\"DTSTART:20260101,20260102\\nFREQ=DAILY\"}", "more than one"},
        {"{\"rrule\":\"DTSTART:20260101T000000\\nRRULE:FREQ=DAILY;UNTIL=20280101T000000Z\"}", "UTC"},
        {"{\"rrule\":\"FREQ=SECONDLY;BYDAY=MO;COUNT=9999999\"}", "COUNT"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err = {0};
        const struct schedule *s = parse(a, cases[i][0], 0, &err);
        if (s || err.code != ERR_UNPROCESSABLE || !strstr(err.text, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], s ? "accepted" : err.text);
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    char line[7000];
    memset(line, 'A', sizeof line);
    struct err err;
    assert_null(rrule_parse(a, (Str){line, sizeof line}, 0, &err));
    assert_non_null(strstr(err.text, "6500"));
}

static void test_print(void **state)
{
    UNUSED(state);
    static const struct {
        const char *sent, *stored, *described;
    } cases[] = {
        {"{\"cron\":\"0 9 * * *\"}", "{\"cron\":\"0 9 * * *\",\"timezone\":null,\"day_or\":true}",
         "Cron: 0 9 * * *"},
        {"{\"cron\":\" @Daily\",\"timezone\":\"\",\"day_or\":\"No\"}", NULL, NULL},
        {"{\"cron\":\"@Daily\",\"timezone\":\"\",\"day_or\":\"No\"}",
         "{\"cron\":\"@Daily\",\"timezone\":\"\",\"day_or\":false}", "Cron: @Daily"},
        {"{\"day_or\":0,\"timezone\":\"Europe/Berlin\",\"cron\":\"0 9 * * *\"}",
         "{\"cron\":\"0 9 * * *\",\"timezone\":\"Europe/Berlin\",\"day_or\":false}",
         "Cron: 0 9 * * * (Europe/Berlin)"},
        {"{\"interval\":3600}",
         "{\"interval\":3600.0,\"anchor_date\":\"2026-11-23T20:17:42.250000Z\",\"timezone\":\"UTC\"}",
         "Interval: 1:00:00 (UTC)"},
        {"{\"interval\":\"P1DT2H\",\"anchor_date\":\"2026-01-01T00:00:00.5-05:30\",\"timezone\":\"Asia/"
         "Tokyo\"}",
         "{\"interval\":93600.0,\"anchor_date\":\"2026-01-01T00:00:00.500000-05:30\",\"timezone\":\"Asia/"
         "Tokyo\"}",
         "Interval: 1 day, 2:00:00 (Asia/Tokyo)"},
        {"{\"interval\":\"P1M\",\"anchor_date\":\"2026-01-01\"}",
         "{\"interval\":2592000.0,\"anchor_date\":\"2026-01-01T00:00:00Z\",\"timezone\":\"UTC\"}",
         "Interval: 30 days, 0:00:00 (UTC)"},
        {"{\"interval\":\"1 day, 02:00:00.25\",\"anchor_date\":1767225600}",
         "{\"interval\":93600.25,\"anchor_date\":\"2026-01-01T00:00:00Z\",\"timezone\":\"UTC\"}",
         "Interval: 1 day, 2:00:00.250000 (UTC)"},
        {"{\"interval\":0.0000015,\"anchor_date\":\"2026-01-01 00:00+02:00\"}",
         "{\"interval\":2e-06,\"anchor_date\":\"2026-01-01T00:00:00+02:00\",\"timezone\":\"UTC\"}", NULL},
        {"{\"interval\":1e12,\"anchor_date\":\"2026-01-01\"}",
         "{\"interval\":1000000000000.0,\"anchor_date\":\"2026-01-01T00:00:00Z\",\"timezone\":\"UTC\"}",
         NULL},
        {"{\"rrule\":\"FREQ=DAILY\"}",
         "{\"rrule\":\"DTSTART:20200101T000000\\nFREQ=DAILY\",\"timezone\":\"UTC\"}",
         "RRule: DTSTART:20200101T000000 FREQ=DAILY (UTC)"},
        {"{\"rrule\":\"FREQ=DAILY\",\"timezone\":null}",
         "{\"rrule\":\"DTSTART:20200101T000000\\nFREQ=DAILY\",\"timezone\":null}", NULL},
        {"{\"rrule\":\"dtstart:20260101\\nfreq=daily\"}",
         "{\"rrule\":\"dtstart:20260101\\nfreq=daily\",\"timezone\":\"UTC\"}", NULL},
        {"{\"rrule\":\"FREQ=MINUTELY;INTERVAL=7\",\"timezone\":\"Europe/Berlin\"}",
         "{\"rrule\":\"DTSTART:20261123T211700\\nFREQ=MINUTELY;INTERVAL=7\",\"timezone\":\"Europe/Berlin\"}",
         NULL},
        {"{\"rrule\":\"FREQ=SECONDLY;INTERVAL=7;COUNT=3\"}",
         "{\"rrule\":\"DTSTART:20200101T000000\\nFREQ=SECONDLY;INTERVAL=7;COUNT=3\",\"timezone\":\"UTC\"}",
         NULL},
        {"{\"rrule\":\"FREQ=MINUTELY\\nEXDATE:20260101T000000\"}",
         "{\"rrule\":\"DTSTART:20200101T000000\\nFREQ=MINUTELY\\nEXDATE:20260101T000000\",\"timezone\":"
         "\"UTC\"}",
         NULL},
        {"{\"rrule\":\"FREQ=DAILY;UNTIL=20280101T000000Z\"}",
         "{\"rrule\":\"FREQ=DAILY;UNTIL=20280101T000000Z\",\"timezone\":\"UTC\"}", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        const struct schedule *s = parse(a, cases[i].sent, at(STR("2026-11-23T20:17:42.250Z")), &err);
        if (!s != !cases[i].stored)
            fail_msg("%s: %s", cases[i].sent, s ? "accepted" : err.text);
        if (!s)
            continue;
        assert_string_equal(print(a, s).p, cases[i].stored);
        if (cases[i].described)
            assert_string_equal(str_z(a, schedule_describe(a, s)), cases[i].described);
    }
}

static void test_local_text(void **state)
{
    UNUSED(state);
    static const struct {
        const char *zone, *time, *text;
    } cases[] = {
        {"America/New_York", "2026-03-07T14:00:00Z", "2026-03-07 09:00:00-05:00"},
        {"America/New_York", "2026-03-08T13:00:00Z", "2026-03-08 09:00:00-04:00"},
        {"Asia/Kolkata", "2026-03-08T13:00:00.000250Z", "2026-03-08 18:30:00.000250+05:30"},
        {"UTC", "2026-03-08T13:00:00Z", "2026-03-08 13:00:00+00:00"},
        {"Africa/Monrovia", "1950-01-01T00:00:00Z", "1949-12-31 23:15:30-00:44:30"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        Str object = str_fmt(a, "{\"cron\":\"* * * * *\",\"timezone\":\"%s\"}", cases[i].zone);
        const struct schedule *s = parse(a, object.p, 0, &err);
        assert_non_null(s);
        Str got = schedule_local_text(a, s, at(str_of(cases[i].time)));
        if (!str_eqz(got, cases[i].text))
            fail_msg("%s: %.*s", cases[i].text, STR_ARG(got));
    }
}

static void test_zones(void **state)
{
    UNUSED(state);
    static const char *const none[] = {
        "",          "Mars",      "/UTC",   "UTC/",          "../UTC",   "Europe//Berlin", "posix/UTC",
        "right/UTC", "localtime", "Europe", "europe/berlin", "zone.tab", "leapseconds",    "Europe/Berlin\n"};
    for (size_t i = 0; i < COUNT_OF(none); i++)
        if (zone_find(str_of(none[i])))
            fail_msg("\"%s\" is a zone", none[i]);
    static const struct {
        const char *name, *wall, *earlier, *later;
    } cases[] = {
        {"UTC", "2026-03-08T02:30:00", "2026-03-08T02:30:00Z", "2026-03-08T02:30:00Z"},
        {"America/New_York", "2026-03-08T01:59:59", "2026-03-08T06:59:59Z", "2026-03-08T06:59:59Z"},
        {"America/New_York", "2026-03-08T02:00:00", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"},
        {"America/New_York", "2026-03-08T02:59:59", "2026-03-08T06:59:59Z", "2026-03-08T07:59:59Z"},
        {"America/New_York", "2026-03-08T03:00:00", "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
        {"America/New_York", "2026-11-01T00:59:59", "2026-11-01T04:59:59Z", "2026-11-01T04:59:59Z"},
        {"America/New_York", "2026-11-01T01:00:00", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
        {"America/New_York", "2026-11-01T01:59:59", "2026-11-01T05:59:59Z", "2026-11-01T06:59:59Z"},
        {"America/New_York", "2026-11-01T02:00:00", "2026-11-01T07:00:00Z", "2026-11-01T07:00:00Z"},
        {"America/New_York", "2426-03-08T02:30:00", "2426-03-08T06:30:00Z", "2426-03-08T07:30:00Z"},
        {"America/New_York", "9998-07-01T12:00:00", "9998-07-01T16:00:00Z", "9998-07-01T16:00:00Z"},
        {"Australia/Lord_Howe", "2026-10-04T02:10:00", "2026-10-03T15:10:00Z", "2026-10-03T15:40:00Z"},
        {"Africa/Casablanca", "2026-02-15T02:30:00", "2026-02-15T01:30:00Z", "2026-02-15T02:30:00Z"},
        {"Pacific/Apia", "2011-12-30T12:00:00", "2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"},
        {"EST5EDT", "2026-07-01T12:00:00", "2026-07-01T16:00:00Z", "2026-07-01T16:00:00Z"},
        {"Etc/GMT-14", "2026-07-01T12:00:00", "2026-06-30T22:00:00Z", "2026-06-30T22:00:00Z"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct zone *z = zone_find(str_of(cases[i].name));
        assert_non_null(z);
        assert_true(str_eqz(zone_name(z), cases[i].name));
        Time wall = at(str_of(cases[i].wall)), earlier = zone_to_utc(z, wall, ZONE_EARLIER);
        Time later = zone_to_utc(z, wall, ZONE_LATER);
        if (earlier != at(str_of(cases[i].earlier)) || later != at(str_of(cases[i].later)))
            fail_msg("%s %s: %s, %s", cases[i].name, cases[i].wall, time_iso(earlier).s, time_iso(later).s);
        /* An instant that a wall time means shows that wall time, unless it was skipped. */
        if (earlier == later)
            assert_int_equal(earlier + zone_offset(z, earlier), wall);
    }
    const struct zone *ny = zone_find(STR("America/New_York"));
    Time change = at(STR("2026-03-08T07:00:00Z"));
    assert_int_equal(zone_offset(ny, change - 1), -5 * HOUR);
    assert_int_equal(zone_offset(ny, change), -4 * HOUR);
    assert_int_equal(zone_change_before(ny, change), change);
    assert_int_equal(zone_change_after(ny, change - 1), change);
    assert_int_equal(zone_change_after(ny, change), at(STR("2026-11-01T06:00:00Z")));
    assert_int_equal(zone_change_after(ny, at(STR("3026-01-01T00:00:00Z"))), at(STR("3026-03-12T07:00:00Z")));
    const struct zone *utc = zone_find(STR("UTC"));
    assert_int_equal(zone_change_before(utc, change), TIME_NONE);
    assert_int_equal(zone_change_after(utc, change), TIME_NEVER);
    assert_ptr_equal(zone_find(STR("UTC")), utc);
}

static void *find_many(void *unused)
{
    UNUSED(unused);
    static const char *const names[] = {"Europe/Paris", "Asia/Tokyo", "America/Lima", "Europe/Rome",
                                        "Asia/Seoul"};
    size_t found = 0;
    for (int i = 0; i < 1000; i++)
        found += zone_find(str_of(names[i % 5])) != NULL;
    return (void *)(uintptr_t)found;
}

static void test_zone_threads(void **state)
{
    UNUSED(state);
    pthread_t t[4];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, find_many, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        void *found;
        pthread_join(t[i], &found);
        assert_int_equal((uintptr_t)found, 1000);
    }
}

/* Rules that never fire, or nearly never, or make much work: an answer comes soon. */
static void test_bounded(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text;
        size_t found; /* of 3 */
    } cases[] = {
        {"{\"cron\":\"0 0 30 2 *\"}", 0},
        {"{\"cron\":\"0 0 31 4,6,9,11 *\"}", 0},
        {"{\"cron\":\"0 0 29 2 1\",\"day_or\":false}", 3},
        {"{\"cron\":\"0 0 1 1 * 0 2025\"}", 0},
        {"{\"cron\":\"* * * * * *\",\"timezone\":\"America/New_York\"}", 3},
        {"{\"interval\":0.000001,\"anchor_date\":\"0001-01-01\"}", 3},
        {"{\"interval\":1e12,\"anchor_date\":\"2026-01-01\"}", 0},
        {"{\"interval\":86400,\"anchor_date\":\"9999-12-31\",\"timezone\":\"Pacific/Apia\"}", 3},
        {"{\"rrule\":\"FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\"}", 0},
        {"{\"rrule\":\"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=5\"}", 0},
        {"{\"rrule\":\"FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;BYHOUR=1;BYMINUTE=1;BYSECOND=1\"}", 0},
        {"{\"rrule\":\"FREQ=MINUTELY;INTERVAL=1440;BYHOUR=5\"}", 0},
        {"{\"rrule\":\"DTSTART:00010101T000000\\nRRULE:FREQ=SECONDLY\"}", 3},
        {"{\"rrule\":\"DTSTART:00010101T000000\\nRRULE:FREQ=SECONDLY;COUNT=99999999999\"}", 3},
        {"{\"rrule\":\"DTSTART:20260101T000000\\nRRULE:FREQ=MINUTELY;COUNT=100000000\"}", 3},
        {"{\"rrule\":\"DTSTART:20260101T000000\\nRRULE:FREQ=DAILY;INTERVAL=1000000000\"}", 0},
        {"{\"rrule\":\"DTSTART:99991231T235959\\nRRULE:FREQ=SECONDLY\"}", 1},
        {"{\"rrule\":\"FREQ=SECONDLY\\nEXRULE:FREQ=SECONDLY\"}", 0},
        {"{\"rrule\":\"FREQ=DAILY\\nEXRULE:FREQ=HOURLY;BYHOUR=0,24\"}", 0},
        {"{\"rrule\":\"FREQ=DAILY\\nEXRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\"}", 3},
        {"{\"rrule\":\"FREQ=DAILY\\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\"}", 3},
        {"{\"rrule\":\"FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9;BYMINUTE=0,1,2,3,4,5,6,7,8,9\\nEXRULE:FREQ="
         "MINUTELY\"}",
         0},
        {"{\"rrule\":\"FREQ=YEARLY;BYSETPOS=-366,366,-1,1;BYDAY=MO,TU,WE,TH,FR,SA,SU\"}", 3},
    };
    Time now = at(STR("2026-11-23T20:17:42Z"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        Time got[3];
        Dur before = time_monotonic();
        const struct schedule *s = parse(a, cases[i].text, now, &err);
        if (!s)
            fail_msg("%s: %s", cases[i].text, err.text);
        size_t found = schedule_next(a, s, now, TIME_NONE, 3, got);
        Dur took = time_monotonic() - before;
        if (found != cases[i].found || took > 2 * SEC)
            fail_msg("%s: %zu in %lld µs", cases[i].text, found, (long long)took);
    }
    /* The longest text there is, of rules that never fire. */
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf b = BUF(LIMIT_RRULE);
    while (b.n + 60 < LIMIT_RRULE)
        buf_z(&b, "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\n");
    struct err err;
    Dur before = time_monotonic();
    const struct rrule_set *set = rrule_parse(a, buf_view(&b), 0, &err);
    assert_non_null(set);
    assert_int_equal(rrule_next(rrule_seek(a, set, 0, LIMIT_SCHEDULE_STEPS)), RRULE_NEVER);
    assert_true(time_monotonic() - before < 5 * SEC);
}

/* Any start and any end are answered, and the answer lies between them, ascending, no more than asked for. */
static void test_extremes(void **state)
{
    UNUSED(state);
    static const char *const schedules[] = {
        "{\"cron\":\"*/7 * * * *\",\"timezone\":\"Europe/Berlin\"}",
        "{\"interval\":86400,\"anchor_date\":\"2026-01-01\",\"timezone\":\"Europe/Berlin\"}",
        "{\"interval\":17,\"anchor_date\":\"2026-01-01\"}",
        "{\"rrule\":\"FREQ=HOURLY;INTERVAL=5\",\"timezone\":\"Europe/Berlin\"}",
    };
    static const Time times[] = {INT64_MIN,       INT64_MIN + 1, TIME_FIRST,    -1,       0, 1,
                                 TIME_LAST - DAY, TIME_LAST,     TIME_LAST + 1, INT64_MAX};
    for (size_t i = 0; i < COUNT_OF(schedules); i++) {
        for (size_t j = 0; j < COUNT_OF(times); j++) {
            for (size_t k = 0; k < COUNT_OF(times); k++) {
                AUTO(arena_freep) struct arena *a = arena_create();
                struct err err;
                Time got[5];
                const struct schedule *s = parse(a, schedules[i], 0, &err);
                assert_non_null(s);
                size_t n = schedule_next(a, s, times[j], times[k], 5, got);
                assert_true(n <= 5);
                for (size_t g = 0; g < n; g++)
                    if (got[g] < times[j] || (times[k] != TIME_NONE && got[g] > times[k]) ||
                        (g && got[g] <= got[g - 1]))
                        fail_msg("%s from %lld to %lld: %lld", schedules[i], (long long)times[j],
                                 (long long)times[k], (long long)got[g]);
            }
        }
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    Time *many = arena_array(a, Time, 5000);
    const struct schedule *s = parse(a, "{\"cron\":\"* * * * *\"}", 0, &err);
    assert_int_equal(schedule_next(a, s, 0, TIME_NONE, 5000, many), 1000);
    assert_int_equal(schedule_next(a, s, 0, TIME_NONE, 0, many), 0);
    s = parse(a, "{\"interval\":60}", 0, &err);
    assert_int_equal(schedule_next(a, s, 0, TIME_NONE, 5000, many), 1000);
}

/* A hundred thousand schedules and a thousand due each second: the next instant of a usual cron may cost 2
 * µs. The test allows twenty times that, for slow machines and sanitizers; the figure is printed. */
static void test_speed(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct schedule *s =
        parse(a, "{\"cron\":\"30 9 * * mon-fri\",\"timezone\":\"America/New_York\"}", 0, &err);
    Time t = at(STR("2026-01-01T00:00:00Z"));
    int rounds = 20000;
    Dur before = time_monotonic();
    for (int i = 0; i < rounds; i++) {
        assert_int_equal(schedule_next(a, s, t, TIME_NONE, 1, &t), 1);
        t++;
    }
    Dur took = time_monotonic() - before;
    print_message("# %.3f µs for the next instant of a cron\n", (double)took / rounds);
    assert_true(took < 40 * rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),         cmocka_unit_test(test_reference),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_print),
        cmocka_unit_test(test_local_text),   cmocka_unit_test(test_zones),
        cmocka_unit_test(test_zone_threads), cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_extremes),     cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
