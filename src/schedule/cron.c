#include "schedule/cron.h"

#include <ctype.h>
#include <string.h>

#define SEARCH_YEARS 50
#define FIRST_YEAR 1970
#define NTH_LAST                                                                                             \
    5 /* bit of struct cron's nth for the last one of the month; 0 to 4 are the 1st to the 5th               \
       */

/* A bit for each value of a field. */
struct cron {
    uint64_t minutes, seconds;
    uint64_t years[3]; /* from FIRST_YEAR; all set without a year field */
    uint32_t hours, days;
    uint16_t months;
    uint8_t weekdays; /* bit 0: Sunday */
    uint8_t nth[7];   /* of each weekday; all 0: `weekdays` counts instead */
    bool last_day, has_nth;
    bool any_day, any_weekday, either; /* either: a day that matches one of the two fields will do */
};

enum { MINUTE_FIELD, HOUR_FIELD, DAY_FIELD, MONTH_FIELD, WEEKDAY_FIELD, SECOND_FIELD, YEAR_FIELD, FIELDS };

static const struct {
    const char *name;
    int min, max;
    const char *names; /* three letters each, from `min` on */
} fields[FIELDS] = {
    [MINUTE_FIELD] = {"minute", 0, 59, ""},
    [HOUR_FIELD] = {"hour", 0, 23, ""},
    [DAY_FIELD] = {"day", 1, 31, ""},
    [MONTH_FIELD] = {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    [WEEKDAY_FIELD] = {"weekday", 0, 6, "sunmontuewedthufrisat"},
    [SECOND_FIELD] = {"second", 0, 59, ""},
    [YEAR_FIELD] = {"year", FIRST_YEAR, 2099, ""},
};

static const struct {
    const char *name, *text;
} aliases[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

/* What a field's text says. */
struct set {
    uint64_t bits[3]; /* from the field's least value */
    uint8_t nth[7];
    bool star, last_day, has_nth;
};

struct reader {
    Str text; /* the whole expression, for messages */
    int field, columns;
    struct err *err;
};

static int fail(const struct reader *r, Str part, const char *why)
{
    return err_set(r->err, ERR_UNPROCESSABLE, "invalid cron expression \"%.*s\": %s \"%.*s\" %s",
                   (int)MIN(r->text.n, (size_t)100), r->text.p, fields[r->field].name,
                   (int)MIN(part.n, (size_t)40), part.p, why);
}

static bool digits(Str s, int *ret)
{
    int v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!isdigit((unsigned char)s.p[i]))
            return false;
        v = MIN(v * 10 + (s.p[i] - '0'), 99999);
    }
    *ret = v;
    return s.n > 0;
}

static bool named(int field, Str s, int *ret)
{
    const char *names = fields[field].names;
    for (int i = 0; s.n == 3 && names[3 * i]; i++)
        if (memcmp(names + 3 * i, s.p, 3) == 0)
            return *ret = fields[field].min + i, true;
    return false;
}

/* A number or a name. 7 is Sunday in five columns; with seconds behind, a day 0 is the first. */
static int read_value(const struct reader *r, Str s, int *ret)
{
    int v;
    if (!digits(s, &v) && !named(r->field, s, &v))
        return fail(r, s, "is no value of this field");
    if (r->field == WEEKDAY_FIELD && v == 7 && r->columns == 5)
        v = 0;
    if (r->field == DAY_FIELD && v == 0 && r->columns == 6)
        v = 1;
    if (v < fields[r->field].min || v > fields[r->field].max)
        return fail(r, s, "is out of range");
    *ret = v;
    return 0;
}

static void add(const struct reader *r, struct set *set, int v, int nth)
{
    int i = v - fields[r->field].min;
    if (nth < 0) {
        set->bits[i / 64] |= UINT64_C(1) << i % 64;
    } else {
        set->nth[v] = (uint8_t)(set->nth[v] | 1 << nth);
        set->has_nth = true;
    }
}

/* Every step-th value from low to high; past the field's end it goes on at its beginning. */
static void add_range(const struct reader *r, struct set *set, int low, int high, int step, int nth)
{
    int min = fields[r->field].min, max = fields[r->field].max;
    if (low == high)
        low = min, high = max;
    int last = low, end = low > high ? max : high;
    for (int v = low; v <= end; v += step)
        add(r, set, last = v, nth);
    if (low > high) {
        /* A step that leaves the field lands as if the field had one value less before its first. */
        int from = min + (last + step > max + 1 && max - last < step ? step - (max - last) : 0);
        for (int v = from; v <= high; v += step)
            add(r, set, v, nth);
    }
}

/* "fri#2", "mon-fri#1" and "L5": takes the mark off *item. */
static int read_nth(const struct reader *r, Str *item, int *ret_nth)
{
    int n;
    Str s = *item;
    ptrdiff_t mark = str_find(s, STR("#"));
    if (mark >= 0) {
        Str left = str_sub(s, 0, (size_t)mark), first = left;
        if (!digits(str_sub(s, (size_t)mark + 1, s.n), &n) || n < 1 || n > 5)
            return fail(r, s, "has no number from 1 to 5 after \"#\"");
        Str rest = left;
        int v;
        (void)str_cut(&rest, '-', &first);
        if (rest.p ? !named(r->field, first, &v) || !named(r->field, rest, &v)
                   : !named(r->field, first, &v) && !digits(first, &v))
            return fail(r, s, "has no weekday or range of names before \"#\"");
        *item = left;
        *ret_nth = n - 1;
    } else if (s.n > 1 && s.p[0] == 'l' && digits(str_sub(s, 1, s.n), &n)) {
        *item = str_sub(s, 1, s.n);
        *ret_nth = NTH_LAST;
    }
    return 0;
}

static int read_item(const struct reader *r, Str item, struct set *set)
{
    int low, high, step = 1, nth = -1;
    if (str_eqz(item, "*")) {
        set->star = true;
        return 0;
    }
    if (r->field == DAY_FIELD && str_eqz(item, "l")) {
        set->last_day = true;
        return 0;
    }
    if (item.n && (item.p[0] == 'h' || item.p[0] == 'r'))
        return fail(r, item, "is random or hashed, which is not supported");
    if (r->field == WEEKDAY_FIELD && read_nth(r, &item, &nth) < 0)
        return -1;
    Str range = item, part;
    bool stepped = str_find(item, STR("/")) >= 0;
    if (stepped) {
        Str rest = item;
        (void)str_cut(&rest, '/', &range);
        if (!digits(rest, &step) || step < 1)
            return fail(r, item, "has no step above 0 after \"/\"");
    }
    if (str_eqz(range, "*")) {
        low = fields[r->field].min, high = fields[r->field].max;
    } else {
        Str rest = range;
        (void)str_cut(&rest, '-', &part);
        if (read_value(r, part, &low) < 0)
            return -1;
        if (!rest.p && !stepped) {
            add(r, set, low, nth);
            return 0;
        }
        high = fields[r->field].max;
        if (rest.p && !(r->field == DAY_FIELD && str_eqz(rest, "l")) && read_value(r, rest, &high) < 0)
            return -1;
    }
    add_range(r, set, low, high, step, nth);
    return 0;
}

static int read_field(const struct reader *r, Str text, struct set *set)
{
    *set = (struct set){0};
    if (str_find(text, STR("?")) >= 0) {
        if (!str_eqz(text, "?") || (r->field != DAY_FIELD && r->field != WEEKDAY_FIELD))
            return fail(r, text, "may have \"?\" alone in a day field only");
        set->star = true;
        return 0;
    }
    for (Str rest = text, item; str_cut(&rest, ',', &item);)
        if (read_item(r, item, set) < 0)
            return -1;
    if (set->has_nth) {
        uint64_t plain = set->bits[0];
        for (int w = 0; w < 7; w++)
            if (set->nth[w]) {
                plain &= ~(UINT64_C(1) << w);
                set->bits[0] |= UINT64_C(1) << w;
            }
        if (plain && set->bits[0] != 0x7f)
            return fail(r, text, "mixes weekdays with and without \"#\"");
    }
    int count = fields[r->field].max - fields[r->field].min + 1;
    if (set->star)
        for (int i = 0; i < count; i++)
            set->bits[i / 64] |= UINT64_C(1) << i % 64;
    return 0;
}

const struct cron *cron_parse(struct arena *a, Str text, bool day_or, struct err *err)
{
    struct reader r = {.text = text, .err = err};
    Str lower = str_lower(a, text);
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (str_eqz(lower, aliases[i].name))
            lower = str_of(aliases[i].text);
    Str column[FIELDS + 1];
    for (size_t i = 0; i < lower.n; r.columns++) {
        while (i < lower.n && isspace((unsigned char)lower.p[i]))
            i++;
        size_t from = i;
        while (i < lower.n && !isspace((unsigned char)lower.p[i]))
            i++;
        if (i == from || r.columns > FIELDS)
            break;
        column[MIN(r.columns, FIELDS)] = str_sub(lower, from, i - from);
    }
    if (r.columns < 5 || r.columns > FIELDS) {
        err_set(err, ERR_UNPROCESSABLE,
                "invalid cron expression \"%.*s\": 5 fields are needed (minute hour day month weekday), or 6 "
                "with "
                "seconds, or 7 with seconds and years",
                (int)MIN(text.n, (size_t)100), text.p);
        return NULL;
    }
    struct set set[FIELDS];
    for (r.field = 0; r.field < r.columns; r.field++)
        if (read_field(&r, column[r.field], &set[r.field]) < 0)
            return NULL;

    struct cron *c = arena_new(a, struct cron);
    const struct set *day = &set[DAY_FIELD], *weekday = &set[WEEKDAY_FIELD];
    c->minutes = set[MINUTE_FIELD].bits[0];
    c->hours = (uint32_t)set[HOUR_FIELD].bits[0];
    c->days = (uint32_t)(day->bits[0] << 1);
    c->last_day = day->last_day;
    c->months = (uint16_t)(set[MONTH_FIELD].bits[0] << 1);
    c->weekdays = (uint8_t)weekday->bits[0];
    memcpy(c->nth, weekday->nth, sizeof c->nth);
    c->has_nth = weekday->has_nth;
    c->seconds = r.columns > SECOND_FIELD ? set[SECOND_FIELD].bits[0] : 1;
    for (int i = 0; i < 3; i++)
        c->years[i] = r.columns > YEAR_FIELD && !set[YEAR_FIELD].star ? set[YEAR_FIELD].bits[i] : UINT64_MAX;
    /* A field that lists all its values restricts nothing only if the other one has a star. */
    c->any_day = day->star || (c->days == 0xfffffffe && str_find(column[WEEKDAY_FIELD], STR("*")) >= 0);
    c->any_weekday = weekday->star || (c->weekdays == 0x7f && str_find(column[DAY_FIELD], STR("*")) >= 0);
    c->either = day_or && !c->any_day && !c->any_weekday;
    return c;
}

/* The days of a month that match, bit 1 for the first. `first`: weekday of the first, 0 is Sunday; `skipped`:
 * so many days at the beginning do not count as days of the month. */
static uint32_t days_of_month(const struct cron *c, int length, int first, int skipped)
{
    uint32_t all = (uint32_t)((UINT64_C(2) << length) - 2);
    uint32_t by_day = c->days | (c->last_day ? UINT32_C(1) << length : 0), by_weekday = 0;
    by_day = c->any_day ? all : by_day & ~UINT32_C(0) << (1 + skipped);
    if (c->any_weekday && !c->has_nth) {
        by_weekday = all;
    } else {
        for (int w = 0; w < 7; w++) {
            uint32_t days = UINT32_C(0x10204081) << (1 + (w - first + 7) % 7) & all;
            if (!c->has_nth) {
                by_weekday |= c->weekdays >> w & 1 ? days : 0;
                continue;
            }
            for (int n = 0; days; n++) {
                uint32_t rest = days & (days - 1);
                if ((c->nth[w] >> n & 1) || (!rest && (c->nth[w] >> NTH_LAST & 1)))
                    by_weekday |= days & ~rest;
                days = rest;
            }
        }
    }
    /* "fri#2" wins over days of the month that would do as well. */
    return all & (!c->either ? by_day & by_weekday : c->has_nth ? by_weekday : by_day | by_weekday);
}

/* The dialect steps from one day of the list to the next by their distance, also where February ends in
 * between: past the last one there is, "1,30" goes on from 30 February, which is 1 or 2 March: the first of
 * March is left out. */
static int skipped_in_march(const struct cron *c, int february)
{
    uint32_t beyond = c->days >> february;
    if (c->any_day || c->last_day || c->has_nth || !(c->any_weekday || c->either) || !beyond || (beyond & 1))
        return 0;
    return __builtin_ctz(beyond) - 1;
}

/* The least member of `bits` not below `from`, or -1. */
static int next_bit(uint64_t bits, int from)
{
    bits = from > 63 ? 0 : bits >> from << from;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* The first matching second of a day not before `from`, or -1. */
static int next_time(const struct cron *c, int from)
{
    int h = next_bit(c->hours, from / 3600);
    if (h < 0)
        return -1;
    int m = 0, s = 0;
    if (h == from / 3600) {
        m = next_bit(c->minutes, from / 60 % 60);
        s = m < 0 ? -1 : m == from / 60 % 60 ? next_bit(c->seconds, from % 60) : next_bit(c->seconds, 0);
        if (m >= 0 && s < 0) {
            m = next_bit(c->minutes, m + 1);
            s = next_bit(c->seconds, 0);
        }
        if (m >= 0)
            return h * 3600 + m * 60 + s;
        h = next_bit(c->hours, h + 1);
        if (h < 0)
            return -1;
    }
    return h * 3600 + next_bit(c->minutes, 0) * 60 + next_bit(c->seconds, 0);
}

static bool year_matches(const struct cron *c, int64_t year)
{
    if (year < FIRST_YEAR || year - FIRST_YEAR >= 192)
        return c->years[2] == UINT64_MAX;
    return c->years[(year - FIRST_YEAR) / 64] >> (year - FIRST_YEAR) % 64 & 1;
}

int64_t cron_next(const struct cron *c, int64_t from)
{
    if (c->seconds == 1)
        from += (60 - from % 60) % 60; /* whole minutes only */
    int64_t today = from / 86400 - (from % 86400 < 0), year;
    int time = next_time(c, (int)(from - today * 86400)), month, day, skipped = 0;
    civil_date(today, &year, &month, &day);
    if (time < 0)
        day++; /* none left today */
    for (int64_t end = year + SEARCH_YEARS; year <= end; year++, month = 1, day = 1, skipped = 0) {
        if (!year_matches(c, year))
            continue;
        for (int m; (m = next_bit(c->months, month)) > 0; month = m + 1, day = 1) {
            if (m != month)
                day = 1, skipped = 0;
            int64_t first = civil_days(year, m, 1);
            int length = civil_month_days(year, m);
            int hit = next_bit(days_of_month(c, length, (int)(((first + 4) % 7 + 7) % 7), skipped), day);
            if (hit > 0) {
                int64_t n = first + hit - 1;
                return n * 86400 + (n == today ? time : next_time(c, 0));
            }
            skipped = m == 2 ? skipped_in_march(c, length) : 0;
        }
    }
    return CRON_NEVER;
}
