#include "schedule/rrule_rule.h"

#include "base/limits.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ALL_60 ((UINT64_C(1) << 60) - 1)
#define ALL_24 UINT32_C(0xffffff)

struct reader {
    struct arena *a;
    Str text;      /* upper case */
    int64_t steps; /* left for counting */
    struct err *err;
};

static int fail(const struct reader *r, Str part, const char *why)
{
    return err_set(r->err, ERR_UNPROCESSABLE, "invalid recurrence rule: \"%.*s\" %s",
                   (int)MIN(part.n, (size_t)60), part.p, why);
}

static Str upper(struct arena *a, Str s)
{
    char *z = str_z(a, s);
    for (size_t i = 0; i < s.n; i++)
        z[i] = (char)toupper((unsigned char)z[i]);
    return (Str){z, s.n};
}

/* --- dates --- */

static bool number(Str s, size_t from, size_t n, int *ret)
{
    int v = 0;
    if (from + n > s.n)
        return false;
    for (size_t i = from; i < from + n; i++) {
        if (!isdigit((unsigned char)s.p[i]))
            return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *ret = v;
    return true;
}

/* What follows the time of day: 'Z' or an offset. Taken off: dates are read as wall time all the same. */
static bool take_zone(Str *s)
{
    ptrdiff_t t = str_find(*s, STR("T"));
    if (t < 0)
        return false;
    for (size_t i = (size_t)t; i < s->n; i++) {
        char c = s->p[i];
        if (c != '+' && c != '-' && c != 'Z')
            continue;
        size_t from = i + 1, n = s->n - from, colon = n == 5 && s->p[from + 2] == ':';
        int unused;
        if (c == 'Z' ? n != 0
                     : !number(*s, from, 2, &unused) || !number(*s, from + 2 + colon, 2, &unused) ||
                           n != 4 + colon)
            return false;
        *s = str_sub(*s, 0, i);
        return true;
    }
    return false;
}

/* "20260107", "20260107T093000", "20260107T0930", "2026-01-07T09:30:00", each with a zone or without
 * (*ret_zoned). */
static int read_date(const struct reader *r, Str text, int64_t *ret, bool *ret_zoned)
{
    Str s = text;
    Time t;
    int y, mo, d, h = 0, mi = 0, sec = 0;
    *ret_zoned = take_zone(&s);
    if (str_find(s, STR("-")) >= 0) {
        if (!time_parse(s, &t))
            return fail(r, text, "is no date");
        *ret = t / SEC - (t % SEC < 0);
        return 0;
    }
    bool timed = s.n > 8;
    if (!number(s, 0, 4, &y) || !number(s, 4, 2, &mo) || !number(s, 6, 2, &d) ||
        (timed && (s.p[8] != 'T' || !number(s, 9, 2, &h) || (s.n > 11 && !number(s, 11, 2, &mi)) ||
                   (s.n > 13 && !number(s, 13, 2, &sec)))) ||
        (s.n != 8 && s.n != 11 && s.n != 13 && s.n != 15) || y < 1 || mo < 1 || mo > 12 || d < 1 ||
        d > civil_month_days(y, mo) || h > 23 || mi > 59 || sec > 59)
        return fail(r, text, "is no date");
    *ret = civil_days(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec;
    return 0;
}

/* --- one rule: "FREQ=WEEKLY;BYDAY=MO,FR" --- */

/* What the text says, before the start fills in what it leaves open. */
struct said {
    struct rrule rule;
    bool zoned_until, any_day_part; /* any_day_part: some BYxxx that is about days, whatever its value */
    bool has_freq, has_hours, has_minutes, has_seconds;
    bool odd_hour, odd_minute, odd_second; /* values that no clock shows */
};

static const char weekdays[] = "MOTUWETHFRSASU";

static int weekday_index(Str s)
{
    for (int i = 0; s.n == 2 && i < 7; i++)
        if (memcmp(weekdays + 2 * i, s.p, 2) == 0)
            return i;
    return -1;
}

static bool read_int(Str s, int64_t *ret)
{
    if (s.n > 1 && s.p[0] == '+' && isdigit((unsigned char)s.p[1]))
        s = str_sub(s, 1, s.n);
    return s.n < 12 && str_int(s, ret);
}

/* Sets bit v of `to`, or bit -v of `back`, within max; what lies outside matches nothing. */
static void add_bit(uint64_t *to, uint64_t *back, int64_t v, int64_t max)
{
    if (v < 0 && back)
        v = -v, to = back;
    if (v >= 0 && v <= max)
        to[v / 64] |= UINT64_C(1) << v % 64;
}

struct bits {
    uint64_t to[6], back[6];
    bool odd, any; /* odd: a value below 0 or above max; any: one that is not 0 */
};

static int read_bits(const struct reader *r, Str value, int64_t max, struct bits *b)
{
    *b = (struct bits){0};
    for (Str rest = value, part; str_cut(&rest, ',', &part);) {
        int64_t v;
        if (!read_int(part, &v))
            return fail(r, part, "is no number");
        add_bit(b->to, b->back, v, max);
        b->odd = b->odd || v < 0 || v > max;
        b->any = b->any || v;
    }
    return 0;
}

static int read_numbers(const struct reader *r, Str value, const int **ret, size_t *ret_n)
{
    VEC(int) list = {0};
    for (Str rest = value, part; str_cut(&rest, ',', &part);) {
        int64_t v;
        if (!read_int(part, &v) || v > INT32_MAX || v < INT32_MIN)
            return fail(r, part, "is no number");
        vec_push(r->a, &list, (int)v);
    }
    *ret = list.v;
    *ret_n = list.n;
    return 0;
}

/* "MO", "-1FR", "+2TU" and "TU(+2)". */
static int read_weekdays(const struct reader *r, Str value, struct rrule *rule)
{
    VEC(struct weekday_nth) nth = {0};
    for (Str rest = value, part; str_cut(&rest, ',', &part);) {
        Str name = part, count = STR_NONE;
        ptrdiff_t open = str_find(part, STR("("));
        if (open >= 0) {
            name = str_sub(part, 0, (size_t)open);
            count = str_sub(part, (size_t)open + 1, part.n);
            if (!str_ends(count, STR(")")))
                return fail(r, part, "is no weekday");
            count.n--;
        } else if (part.n > 2) {
            name = str_sub(part, part.n - 2, 2);
            count = str_sub(part, 0, part.n - 2);
        }
        int64_t n = 0;
        int day = weekday_index(name);
        if (day < 0 || (count.p && (!read_int(count, &n) || n == 0 || n > 1000 || n < -1000)))
            return fail(r, part, "is no weekday");
        if (n && rule->freq <= MONTHLY) {
            struct weekday_nth item = {day, (int)n};
            vec_push(r->a, &nth, item);
        } else {
            rule->weekdays = (uint8_t)(rule->weekdays | 1 << day);
            rule->has_weekdays = true;
        }
    }
    rule->nth = nth.v;
    rule->nth_count = nth.n;
    return 0;
}

static int read_freq(const struct reader *r, Str value, struct said *s)
{
    static const char *const names[] = {"YEARLY", "MONTHLY",  "WEEKLY",  "DAILY",
                                        "HOURLY", "MINUTELY", "SECONDLY"};
    static_assert(COUNT_OF(names) == FREQ_COUNT, "a name for each frequency");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (str_eqz(value, names[i])) {
            s->rule.freq = (enum freq)i;
            s->has_freq = true;
            return 0;
        }
    }
    return fail(r, value, "is no frequency");
}

static int read_part(const struct reader *r, Str name, Str value, struct said *s)
{
    struct rrule *rule = &s->rule;
    struct bits b;
    if (str_eqz(name, "FREQ"))
        return 0; /* read before the others */
    if (str_eqz(name, "INTERVAL")) {
        if (!read_int(value, &rule->interval) || rule->interval < 1 || rule->interval > 1000000000)
            return fail(r, value, "is no interval: a number from 1 on is needed");
        return 0;
    }
    if (str_eqz(name, "COUNT"))
        return read_int(value, &rule->count) ? 0 : fail(r, value, "is no count");
    if (str_eqz(name, "UNTIL"))
        return read_date(r, value, &rule->until, &s->zoned_until);
    if (str_eqz(name, "WKST")) {
        rule->week_start = weekday_index(value);
        return rule->week_start < 0 ? fail(r, value, "is no weekday") : 0;
    }
    if (str_eqz(name, "BYSETPOS")) {
        if (read_numbers(r, value, &rule->picks, &rule->picks_count) < 0)
            return -1;
        for (size_t i = 0; i < rule->picks_count; i++)
            if (!rule->picks[i] || rule->picks[i] > 366 || rule->picks[i] < -366)
                return fail(r, value, "is out of range: BYSETPOS counts from 1 to 366 or from -1 to -366");
        return 0;
    }
    if (str_eqz(name, "BYHOUR")) {
        if (read_bits(r, value, 23, &b) < 0)
            return -1;
        rule->hours = (uint32_t)b.to[0];
        s->has_hours = true;
        s->odd_hour = b.odd;
        return 0;
    }
    if (str_eqz(name, "BYMINUTE")) {
        if (read_bits(r, value, 59, &b) < 0)
            return -1;
        rule->minutes = b.to[0];
        s->has_minutes = true;
        s->odd_minute = b.odd;
        return 0;
    }
    if (str_eqz(name, "BYSECOND")) {
        if (read_bits(r, value, 59, &b) < 0)
            return -1;
        rule->seconds = b.to[0];
        s->has_seconds = true;
        s->odd_second = b.odd;
        return 0;
    }
    if (str_eqz(name, "BYMONTH")) {
        if (read_bits(r, value, 12, &b) < 0)
            return -1;
        rule->months = (uint16_t)(b.to[0] & ~UINT64_C(1));
        rule->has_months = true;
        return 0;
    }
    /* From here on the start does not choose the day any more. */
    s->any_day_part = true;
    if (str_eqz(name, "BYDAY") || str_eqz(name, "BYWEEKDAY"))
        return read_weekdays(r, value, rule);
    if (str_eqz(name, "BYMONTHDAY")) {
        if (read_bits(r, value, 31, &b) < 0)
            return -1;
        rule->monthdays = (uint32_t)(b.to[0] & ~UINT64_C(1));
        rule->monthdays_back = (uint32_t)b.back[0];
        rule->has_monthdays = b.any;
        return 0;
    }
    if (str_eqz(name, "BYYEARDAY")) {
        if (read_bits(r, value, 366, &b) < 0)
            return -1;
        memcpy(rule->yeardays, b.to, sizeof b.to);
        memcpy(rule->yeardays_back, b.back, sizeof b.back);
        rule->has_yeardays = true;
        return 0;
    }
    if (str_eqz(name, "BYWEEKNO")) {
        if (read_bits(r, value, 53, &b) < 0)
            return -1;
        rule->weeks = b.to[0] & ~UINT64_C(1);
        rule->weeks_back = b.back[0];
        rule->has_weeks = true;
        return 0;
    }
    if (str_eqz(name, "BYEASTER"))
        return read_numbers(r, value, &rule->easter, &rule->easter_count);
    return fail(r, name, "is no part of a rule");
}

static int gcd(int64_t a, int b)
{
    while (b) {
        int rest = (int)(a % b);
        a = b, b = rest;
    }
    return (int)a;
}

/* Does some step of `interval` from `start` land on a value of the set, counting modulo `base`? */
static bool reachable(uint64_t bits, int start, int64_t interval, int base)
{
    int step = gcd(interval, base);
    for (int v = start % step; v < base; v += step)
        if (bits >> v & 1)
            return true;
    return false;
}

static int complete(struct reader *r, Str text, struct said *s, int64_t start)
{
    struct rrule *rule = &s->rule;
    int64_t day = start / 86400 - (start % 86400 < 0), year;
    int time = (int)(start - day * 86400), month, mday;
    civil_date(day, &year, &month, &mday);
    rule->start = start;
    if (!s->any_day_part) {
        if (rule->freq == YEARLY && !rule->has_months) {
            rule->has_months = true;
            rule->months = (uint16_t)(1 << month);
        }
        if (rule->freq <= MONTHLY) {
            rule->has_monthdays = true;
            rule->monthdays = UINT32_C(1) << mday;
        } else if (rule->freq == WEEKLY) {
            rule->has_weekdays = true;
            rule->weekdays = (uint8_t)(1 << ((day + 3) % 7 + 7) % 7);
        }
    }
    if ((s->odd_hour && rule->freq < HOURLY) || (s->odd_minute && rule->freq < MINUTELY) ||
        (s->odd_second && rule->freq < SECONDLY))
        return fail(r, text, "names an hour, minute or second that does not exist");
    if (!s->has_hours)
        rule->hours = rule->freq < HOURLY ? UINT32_C(1) << time / 3600 : ALL_24;
    else if (rule->freq == HOURLY && !s->odd_hour && !reachable(rule->hours, time / 3600, rule->interval, 24))
        return fail(r, text, "never comes to an hour of its BYHOUR");
    if (!s->has_minutes)
        rule->minutes = rule->freq < MINUTELY ? UINT64_C(1) << time / 60 % 60 : ALL_60;
    else if (rule->freq == MINUTELY && !s->odd_minute &&
             !reachable(rule->minutes, time / 60 % 60, rule->interval, 60))
        return fail(r, text, "never comes to a minute of its BYMINUTE");
    if (!s->has_seconds)
        rule->seconds = rule->freq < SECONDLY ? UINT64_C(1) << time % 60 : ALL_60;
    else if (rule->freq == SECONDLY && !s->odd_second &&
             !reachable(rule->seconds, time % 60, rule->interval, 60))
        return fail(r, text, "never comes to a second of its BYSECOND");
    return rrule_settle_count(r->a, rule, &r->steps, r->err);
}

struct lines {
    VEC(Str) rules, exrules;
    VEC(int64_t) dates, exdates;
    bool has_start, zoned_start;
    int64_t start;
};

static int read_rule(struct reader *r, Str text, const struct lines *l, struct rrule_set *set,
                     struct rrule *ret)
{
    struct said s = {.rule = {.interval = 1, .count = INT64_MAX, .until = INT64_MAX}};
    for (int pass = 0; pass < 2; pass++) {
        for (Str rest = text, part; str_cut(&rest, ';', &part);) {
            Str value = part, name;
            if (!str_cut(&value, '=', &name) || !value.p || str_find(value, STR("=")) >= 0)
                return fail(r, part, "is no NAME=VALUE");
            if (pass == 0 ? str_eqz(name, "FREQ") && read_freq(r, value, &s) < 0
                          : read_part(r, name, value, &s) < 0)
                return -1;
        }
        if (!s.has_freq)
            return fail(r, text, "has no FREQ");
    }
    if (l->has_start && s.rule.until != INT64_MAX && s.zoned_until != l->zoned_start)
        return fail(r, text, "has an UNTIL in UTC and a DTSTART without a zone, or the other way round");
    set->zoned_until = set->zoned_until || s.zoned_until;
    if (complete(r, text, &s, l->start) < 0)
        return -1;
    *ret = s.rule;
    return 0;
}

/* --- the lines --- */

static int compare_dates(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* DTSTART and EXDATE may say VALUE=DATE or DATE-TIME and a TZID; RDATE only VALUE=DATE-TIME. The zone is that
 * of the schedule whatever they say. */
static int check_params(const struct reader *r, Str params, bool any, bool *ret_zoned)
{
    *ret_zoned = false;
    int values = 0;
    for (Str rest = params, part; str_cut(&rest, ';', &part);) {
        bool zone = any && str_starts(part, STR("TZID="));
        values += !zone;
        if ((!zone && !str_eqz(part, "VALUE=DATE-TIME") && !(any && str_eqz(part, "VALUE=DATE"))) ||
            values > 1)
            return fail(r, part, "is not supported here");
        *ret_zoned = *ret_zoned || zone;
    }
    return 0;
}

static int read_line(const struct reader *r, Str line, struct lines *l)
{
    Str name = STR("RRULE"), value = line, params = STR_NONE;
    ptrdiff_t colon = str_find(line, STR(":"));
    if (colon >= 0) {
        params = str_sub(line, 0, (size_t)colon);
        value = str_sub(line, (size_t)colon + 1, line.n);
        (void)str_cut(&params, ';', &name);
    }
    bool rule = str_eqz(name, "RRULE"), exrule = str_eqz(name, "EXRULE"), date = str_eqz(name, "RDATE");
    bool exdate = str_eqz(name, "EXDATE"), start = str_eqz(name, "DTSTART"), zoned, zone_param = false;
    if (rule || exrule) {
        if (params.p)
            return fail(r, params, "is not supported here");
        if (rule)
            vec_push(r->a, &l->rules, value);
        else
            vec_push(r->a, &l->exrules, value);
        return 0;
    }
    if (!date && !exdate && !start)
        return fail(r, name, "is no RRULE, EXRULE, RDATE, EXDATE or DTSTART");
    if (check_params(r, params, !date, &zone_param) < 0)
        return -1;
    for (Str rest = value, part; str_cut(&rest, ',', &part);) {
        int64_t t;
        if (read_date(r, part, &t, &zoned) < 0)
            return -1;
        if (date) {
            vec_push(r->a, &l->dates, t);
        } else if (exdate) {
            vec_push(r->a, &l->exdates, t);
        } else {
            if (rest.p)
                return fail(r, value, "is more than one DTSTART");
            l->start = t;
            l->has_start = true;
            l->zoned_start = zoned || zone_param;
        }
    }
    return 0;
}

static const struct rrule *read_rules(struct reader *r, const Str *texts, size_t n, const struct lines *l,
                                      struct rrule_set *set)
{
    struct rrule *rules = arena_array(r->a, struct rrule, n);
    for (size_t i = 0; i < n; i++)
        if (read_rule(r, texts[i], l, set, &rules[i]) < 0)
            return NULL;
    return rules;
}

const struct rrule_set *rrule_parse(struct arena *a, Str text, int64_t start, struct err *err)
{
    struct reader r = {.a = a, .steps = LIMIT_RRULE_COUNT_STEPS, .err = err};
    struct lines l = {.start = start};
    if (text.n > LIMIT_RRULE) {
        err_set(err, ERR_UNPROCESSABLE, "invalid recurrence rule: %zu characters, more than %d", text.n,
                LIMIT_RRULE);
        return NULL;
    }
    r.text = upper(a, text);
    for (size_t i = 0; i < r.text.n;) {
        while (i < r.text.n && isspace((unsigned char)r.text.p[i]))
            i++;
        size_t from = i;
        while (i < r.text.n && !isspace((unsigned char)r.text.p[i]))
            i++;
        if (i > from && read_line(&r, str_sub(r.text, from, i - from), &l) < 0)
            return NULL;
    }
    if (!l.rules.n && !l.dates.n) {
        err_set(err, ERR_UNPROCESSABLE, "invalid recurrence rule: there is no RRULE and no RDATE in it");
        return NULL;
    }
    struct rrule_set *set = arena_new(a, struct rrule_set);
    set->rules = read_rules(&r, l.rules.v, l.rules.n, &l, set);
    set->exrules = set->rules ? read_rules(&r, l.exrules.v, l.exrules.n, &l, set) : NULL;
    if (!set->exrules)
        return NULL;
    set->rule_count = l.rules.n;
    set->exrule_count = l.exrules.n;
    if (l.dates.n)
        qsort(l.dates.v, l.dates.n, sizeof *l.dates.v, compare_dates);
    if (l.exdates.n)
        qsort(l.exdates.v, l.exdates.n, sizeof *l.exdates.v, compare_dates);
    set->dates = l.dates.v, set->date_count = l.dates.n;
    set->exdates = l.exdates.v, set->exdate_count = l.exdates.n;
    return set;
}
