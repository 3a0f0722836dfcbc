/* A line of three words (zone, start, number), then the text of a rule: as the API takes it. What is found is
 * ascending and within its bounds, what is stored is read back as the same, and neither takes long. */
#include "schedule/schedule.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_rrule: " #x);                                                                          \
    } while (0)

static const struct schedule *parse(struct arena *a, Str text, Time now)
{
    struct err err = {0};
    const struct json *v = json_parse(a, text, &err);
    const struct schedule *s = v ? schedule_parse(a, v, now, &err) : NULL;
    CHECK(s || err.text[0]);
    return s;
}

static Str print(struct arena *a, const struct schedule *s)
{
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    schedule_print(s, &w);
    return str_dup(a, buf_view(&b));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str rest = {(const char *)p, n}, line, zone, start;
    int64_t from = 0, count = 0;
    Time got[50];
    if (!str_cut(&rest, '\n', &line) || !str_cut(&line, ' ', &zone) || !str_cut(&line, ' ', &start) ||
        !str_utf8_valid(rest) || !str_utf8_valid(zone))
        return 0;
    (void)str_int(start, &from);
    (void)str_int(line, &count);
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "rrule", rest.p ? rest : STR(""));
    if (zone.n)
        jw_kstr(&w, "timezone", zone);
    jw_end(&w);
    from = from % (TIME_LAST / SEC) * SEC;
    const struct schedule *s = parse(a, buf_view(&b), from);
    if (!s)
        return 0;
    size_t want = (size_t)count % (COUNT_OF(got) + 1),
           found = schedule_next(a, s, from, TIME_NONE, want, got);
    CHECK(found <= want);
    for (size_t i = 0; i < found; i++)
        CHECK(got[i] >= from && got[i] <= TIME_LAST && (!i || got[i] > got[i - 1]));
    if (found > 1) { /* a later beginning and an end cut the same run short */
        Time again[COUNT_OF(got)];
        CHECK(schedule_next(a, s, got[1], got[found - 1], want, again) == found - 1 && again[0] == got[1]);
    }
    Str stored = print(a, s);
    const struct schedule *s2 = parse(a, stored, 0);
    CHECK(s2 && str_eq(print(a, s2), stored));
    return 0;
}
