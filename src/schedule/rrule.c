#include "schedule/rrule_rule.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

#define LAST_DAY 2932896 /* 9999-12-31 */

struct day {
    int64_t n, year;                                       /* n: days since 1970 */
    int month, mday, yday, weekday, month_days, year_days; /* yday from 0 */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int weekday_of(int64_t day)
{
    return (int)((day + 3) % 7 + 7) % 7;
}

static struct day day_at(int64_t n)
{
    struct day d = {.n = n, .weekday = weekday_of(n)};
    civil_date(n, &d.year, &d.month, &d.mday);
    d.yday = (int)(n - civil_days(d.year, 1, 1));
    d.month_days = civil_month_days(d.year, d.month);
    d.year_days = civil_month_days(d.year, 2) + 337;
    return d;
}

static bool in_set(const uint64_t *bits, int64_t v, int64_t max)
{
    return v > 0 && v <= max && (bits[v / 64] >> v % 64 & 1);
}

/* First day of the year's first week, which is the one with four days or more in it. */
static int64_t first_week(int64_t year, int week_start)
{
    int64_t jan1 = civil_days(year, 1, 1);
    int into = (weekday_of(jan1) - week_start + 7) % 7;
    return into > 3 ? jan1 + 7 - into : jan1 - into;
}

/* Numbers from the end count in the year that the week belongs to; at the edges of the calendar year the
 * dialect knows -1 for the days before the first week, and only week 1 for those after the last. */
static bool week_matches(const struct rrule *r, const struct day *d)
{
    int64_t first = first_week(d->year, r->week_start);
    if (d->n < first)
        return (r->weeks_back >> 1 & 1) ||
               (r->weeks >> ((d->n - first_week(d->year - 1, r->week_start)) / 7 + 1) & 1);
    int64_t next = first_week(d->year + 1, r->week_start);
    if (d->n >= next)
        return r->weeks >> 1 & 1;
    int64_t week = (d->n - first) / 7 + 1, weeks = (next - first) / 7;
    return (r->weeks >> week & 1) || (r->weeks_back >> (weeks - week + 1) & 1);
}

/* Easter Sunday of the Gregorian calendar: the Sunday after the full moon of the church's tables. */
static int64_t easter_of(int64_t year)
{
    int64_t century = year / 100, golden = year % 19;
    int64_t epact = (19 * golden + century - century / 4 - (century - (century + 8) / 25 + 1) / 3 + 15) % 30;
    if (epact == 29 || (epact == 28 && golden > 10))
        epact--;
    int64_t moon = civil_days(year, 3, 21) + epact;
    return moon + 7 - (weekday_of(moon) + 1) % 7;
}

static bool nth_matches(const struct rrule *r, const struct day *d)
{
    bool in_year = r->freq == YEARLY && !r->has_months;
    int at = in_year ? d->yday : d->mday - 1, length = in_year ? d->year_days : d->month_days;
    for (size_t i = 0; i < r->nth_count; i++) {
        int n = r->nth[i].n;
        if (r->nth[i].weekday == d->weekday && (n > 0 ? at / 7 + 1 == n : (length - 1 - at) / 7 + 1 == -n))
            return true;
    }
    return false;
}

static bool day_matches(const struct rrule *r, const struct day *d)
{
    if (r->has_months && !(r->months >> d->month & 1))
        return false;
    if (r->has_weekdays && !(r->weekdays >> d->weekday & 1))
        return false;
    if (r->has_monthdays && !(r->monthdays >> d->mday & 1) &&
        !(r->monthdays_back >> (d->month_days - d->mday + 1) & 1))
        return false;
    if (r->nth_count && !nth_matches(r, d))
        return false;
    if (r->has_yeardays && !in_set(r->yeardays, d->yday + 1, 366) &&
        !in_set(r->yeardays_back, d->year_days - d->yday, 366))
        return false;
    if (r->has_weeks && !week_matches(r, d))
        return false;
    if (r->easter_count) {
        int64_t from_easter = d->n - easter_of(d->year);
        size_t i = 0;
        while (i < r->easter_count && r->easter[i] != from_easter)
            i++;
        return i < r->easter_count;
    }
    return true;
}

/* --- the walk over one rule --- */

/* A period is a run of days and the times on each: a whole year, month, week or day with all times of the
 * rule, or one day with those within an hour, a minute, or a second. */
struct rule_walk {
    const struct rrule *r;
    int64_t from, budget;
    int64_t k;            /* number of the period in hand */
    int64_t day, day_end; /* of it, what is still to come */
    int time;             /* on `day` */
    bool day_known;       /* `day` has been found to match */
    uint32_t hours;
    uint64_t minutes, seconds;
    int64_t matched, unmatched; /* the last days found to match, and not to */
    int64_t *picked;            /* BYSETPOS: the period's instants */
    size_t picked_count, picked_at;
    bool over;
};

/* DAILY and finer. */
static int64_t unit_of(enum freq freq)
{
    return freq == DAILY ? 86400 : freq == HOURLY ? 3600 : freq == MINUTELY ? 60 : 1;
}

static int next_bit(uint64_t bits, int from)
{
    bits = from > 63 ? 0 : bits >> from << from;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* The first second of a day not before `from` within the three sets, or -1. */
static int next_time(uint32_t hours, uint64_t minutes, uint64_t seconds, int from)
{
    int first_minute = next_bit(minutes, 0), first_second = next_bit(seconds, 0), h = from / 3600;
    if (first_minute < 0 || first_second < 0)
        return -1;
    if (h < 24 && (hours >> h & 1)) {
        int m = next_bit(minutes, from / 60 % 60);
        int s = m == from / 60 % 60 ? next_bit(seconds, from % 60) : first_second;
        if (m >= 0 && s < 0) {
            m = next_bit(minutes, m + 1);
            s = first_second;
        }
        if (m >= 0)
            return h * 3600 + m * 60 + s;
        h++;
    }
    h = next_bit(hours, h);
    return h < 0 ? -1 : h * 3600 + first_minute * 60 + first_second;
}

static bool spend(struct rule_walk *w)
{
    if (w->budget > 0 && w->budget--)
        return true;
    w->over = true;
    return false;
}

/* The first day from `day` on that may match, as far as its month tells. */
static int64_t skip_months(const struct rrule *r, int64_t day)
{
    if (!r->has_months)
        return day;
    int64_t year;
    int month, mday;
    civil_date(day, &year, &month, &mday);
    if (r->months >> month & 1)
        return day;
    int next = next_bit(r->months, month + 1);
    return next > 0 ? civil_days(year, next, 1) : civil_days(year + 1, 1, 1);
}

static bool try_day(struct rule_walk *w, int64_t day)
{
    if (day == w->matched)
        return true;
    if (day == w->unmatched)
        return false;
    struct day d = day_at(day);
    bool hit = day_matches(w->r, &d);
    *(hit ? &w->matched : &w->unmatched) = day;
    return hit;
}

/* DAILY and finer: from period k on, finds one whose day, hour, minute and second the rule allows. */
static bool find_moment(struct rule_walk *w)
{
    const struct rrule *r = w->r;
    int64_t unit = unit_of(r->freq), base = floor_div(r->start, unit) * unit, step = r->interval * unit;
    while (spend(w)) {
        int64_t at = base + w->k * step, day = floor_div(at, 86400), next;
        if (day > LAST_DAY)
            return false;
        int h = (int)(at - day * 86400) / 3600, m = (int)(at - day * 86400) / 60 % 60;
        int s = (int)(at - day * 86400) % 60;
        if (!try_day(w, day)) {
            next = skip_months(r, day + 1) * 86400;
        } else if (r->freq > DAILY && !(r->hours >> h & 1)) {
            int to = next_bit(r->hours, h);
            next = to < 0 ? (day + 1) * 86400 : day * 86400 + to * 3600;
        } else if (r->freq > HOURLY && !(r->minutes >> m & 1)) {
            int to = next_bit(r->minutes, m);
            next = day * 86400 + (to < 0 ? (h + 1) * 3600 : h * 3600 + to * 60);
        } else if (r->freq > MINUTELY && !(r->seconds >> s & 1)) {
            int to = next_bit(r->seconds, s);
            next = day * 86400 + h * 3600 + (to < 0 ? (m + 1) * 60 : m * 60 + to);
        } else {
            w->day = day, w->day_end = day + 1;
            w->hours = r->freq > DAILY ? UINT32_C(1) << h : r->hours;
            w->minutes = r->freq > HOURLY ? UINT64_C(1) << m : r->minutes;
            w->seconds = r->freq > MINUTELY ? UINT64_C(1) << s : r->seconds;
            return true;
        }
        w->k += (next - at + step - 1) / step;
    }
    return false;
}

/* WEEKLY and coarser. */
static bool find_days(struct rule_walk *w)
{
    const struct rrule *r = w->r;
    struct day d = day_at(floor_div(r->start, 86400));
    if (!spend(w))
        return false;
    if (r->freq == YEARLY) {
        int64_t year = d.year + r->interval * w->k;
        if (year > 9999)
            return false;
        w->day = civil_days(year, 1, 1);
        w->day_end = civil_days(year + 1, 1, 1);
    } else if (r->freq == MONTHLY) {
        int64_t months = d.year * 12 + d.month - 1 + r->interval * w->k;
        if (months / 12 > 9999)
            return false;
        w->day = civil_days(months / 12, (int)(months % 12) + 1, 1);
        w->day_end = w->day + civil_month_days(months / 12, (int)(months % 12) + 1);
    } else {
        /* The first week begins with the start: BYSETPOS counts from there. */
        int64_t week = d.n - (d.weekday - r->week_start + 7) % 7 + 7 * r->interval * w->k;
        w->day = w->k ? week : d.n;
        w->day_end = week + 7;
    }
    w->hours = r->hours, w->minutes = r->minutes, w->seconds = r->seconds;
    return w->day <= LAST_DAY;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The n-th set bit. */
static int bit_at(uint64_t bits, int64_t n)
{
    while (n-- > 0)
        bits &= bits - 1;
    return __builtin_ctzll(bits);
}

/* BYSETPOS: the chosen ones of the period's instants, counted through without making them. */
static void pick(struct rule_walk *w)
{
    const struct rrule *r = w->r;
    int64_t days[366];
    int64_t day_count = 0;
    for (int64_t day = w->day; day < w->day_end && spend(w); day++)
        if (try_day(w, day))
            days[day_count++] = day;
    int64_t m = __builtin_popcountll(w->minutes), s = __builtin_popcountll(w->seconds);
    int64_t times = __builtin_popcount(w->hours) * m * s, all = times * day_count;
    w->picked_at = w->picked_count = 0;
    for (size_t i = 0; i < r->picks_count; i++) {
        int64_t n = r->picks[i] > 0 ? r->picks[i] - 1 : all + r->picks[i];
        if (n < 0 || n >= all)
            continue;
        int64_t t = n % times;
        w->picked[w->picked_count++] = days[n / times] * 86400 + bit_at(w->hours, t / (m * s)) * 3600 +
                                       bit_at(w->minutes, t / s % m) * 60 + bit_at(w->seconds, t % s);
    }
    qsort(w->picked, w->picked_count, sizeof *w->picked, compare_times);
}

static void enter_period(struct rule_walk *w)
{
    if (w->over || !(w->r->freq < DAILY ? find_days(w) : find_moment(w))) {
        w->over = true;
        return;
    }
    w->time = 0;
    w->day_known = false;
    int64_t from_day = floor_div(w->from, 86400);
    if (w->r->picks_count) {
        pick(w);
    } else if (w->day <= from_day) {
        w->time = w->day_end > from_day ? (int)(w->from - from_day * 86400) : 0;
        w->day = MIN(from_day, w->day_end);
    }
}

/* The next instant of the period in hand, or RRULE_NEVER. */
static int64_t next_in_period(struct rule_walk *w)
{
    if (w->r->picks_count) {
        while (w->picked_at < w->picked_count) {
            int64_t t = w->picked[w->picked_at++];
            if (t >= w->from)
                return t;
        }
        return RRULE_NEVER;
    }
    while (w->day < w->day_end && !w->over) {
        if (!w->day_known) {
            int64_t skipped = skip_months(w->r, w->day);
            if (!spend(w))
                break;
            if (skipped != w->day || !try_day(w, w->day)) {
                w->day = MAX(skipped, w->day + 1);
                w->time = 0;
                continue;
            }
            w->day_known = true;
        }
        int t = next_time(w->hours, w->minutes, w->seconds, w->time);
        if (t >= 0) {
            w->time = t + 1;
            return w->day * 86400 + t;
        }
        w->day++;
        w->time = 0;
        w->day_known = false;
    }
    return RRULE_NEVER;
}

static int64_t rule_next(struct rule_walk *w)
{
    while (!w->over) {
        int64_t t = next_in_period(w);
        if (t != RRULE_NEVER) {
            w->over = t > w->r->until;
            return w->over ? RRULE_NEVER : t;
        }
        w->k++;
        enter_period(w);
    }
    return RRULE_NEVER;
}

/* The period that `from` lies in, or the last one before it. */
static int64_t period_of(const struct rrule *r, int64_t from)
{
    struct day start = day_at(floor_div(r->start, 86400)), d = day_at(floor_div(from, 86400));
    switch (r->freq) {
    case YEARLY:
        return (d.year - start.year) / r->interval;
    case MONTHLY:
        return ((d.year - start.year) * 12 + d.month - start.month) / r->interval;
    case WEEKLY:
        return (d.n - start.n + (start.weekday - r->week_start + 7) % 7) / 7 / r->interval;
    default: {
        int64_t unit = unit_of(r->freq);
        return (from - floor_div(r->start, unit) * unit) / (r->interval * unit);
    }
    }
}

static void rule_seek(struct rule_walk *w, int64_t from)
{
    w->from = MAX(from, w->r->start);
    w->over = w->over || w->from > w->r->until || w->from / 86400 > LAST_DAY;
    if (w->over)
        return;
    w->k = period_of(w->r, w->from);
    enter_period(w);
}

static struct rule_walk rule_walk_on(struct arena *a, const struct rrule *r, int64_t budget)
{
    struct rule_walk w = {.r = r, .budget = budget, .matched = INT64_MIN, .unmatched = INT64_MIN};
    if (r->picks_count)
        w.picked = arena_array(a, int64_t, r->picks_count);
    return w;
}

int rrule_settle_count(struct arena *a, struct rrule *r, int64_t *steps, struct err *err)
{
    int64_t count = r->count, last = INT64_MIN, t = 0;
    if (count == INT64_MAX)
        return 0;
    if (count <= 0) {
        r->until = INT64_MIN;
        return 0;
    }
    /* Every period alike and of one instant: no need to walk. */
    bool plain = r->freq >= DAILY && !r->has_months && !r->has_monthdays && !r->has_weekdays &&
                 !r->has_yeardays && !r->has_weeks && !r->nth_count && !r->easter_count && !r->picks_count;
    uint64_t coarse = (r->freq > DAILY && r->hours != 0xffffff) ||
                      (r->freq > HOURLY && r->minutes != (UINT64_C(1) << 60) - 1) ||
                      (r->freq > MINUTELY && r->seconds != (UINT64_C(1) << 60) - 1);
    int64_t fine = (r->freq > DAILY ? 1 : __builtin_popcount(r->hours)) *
                   (r->freq > HOURLY ? 1 : __builtin_popcountll(r->minutes)) *
                   (r->freq > MINUTELY ? 1 : __builtin_popcountll(r->seconds));
    struct rule_walk w = rule_walk_on(a, r, LIMIT_SCHEDULE_STEPS);
    rule_seek(&w, r->start);
    if (plain && !coarse && fine == 1) {
        int64_t step = r->interval * unit_of(r->freq);
        last = rule_next(&w);
        if (last != RRULE_NEVER && count - 1 < (MIN(r->until, TIME_LAST / SEC) - last) / step)
            r->until = last + (count - 1) * step;
        return 0;
    }
    /* As for the walk to come, a rule that gets nowhere for so long is at its end. */
    for (int64_t i = 0; i < count && t != RRULE_NEVER && *steps > 0; i++) {
        t = rule_next(&w);
        *steps -= LIMIT_SCHEDULE_STEPS - w.budget + 1;
        w.budget = LIMIT_SCHEDULE_STEPS;
        last = t != RRULE_NEVER ? t : last;
    }
    if (*steps <= 0)
        return err_set(err, ERR_UNPROCESSABLE, "invalid recurrence rule: COUNT %lld takes too long to follow",
                       (long long)count);
    r->until = last;
    return 0;
}

/* --- the walk over a set --- */

struct dates {
    const int64_t *v;
    size_t n, at;
};

/* Rules and dates merged: `next` holds what each of them gives next. A rule that gets nowhere with `budget`
 * steps is at its end, so that one that never fires does not stop the others; `work` counts the steps of all.
 */
struct merge {
    struct rule_walk *rules;
    int64_t *next;
    size_t rule_count;
    int64_t budget, work;
    struct dates dates;
};

struct rrule_walk {
    struct merge in, out;
    int64_t excluded; /* the next instant of `out` */
    int64_t budget;   /* for both, and for instants that are excluded */
};

static void merge_init(struct arena *a, struct merge *m, const struct rrule *rules, size_t n,
                       struct dates dates, int64_t budget)
{
    m->rules = arena_array(a, struct rule_walk, n);
    m->next = arena_array(a, int64_t, n);
    m->rule_count = n;
    m->dates = dates;
    m->budget = n ? MAX(budget / (int64_t)n, budget / 50) : 0;
    for (size_t i = 0; i < n; i++) {
        m->rules[i] = rule_walk_on(a, &rules[i], m->budget);
        m->next[i] = INT64_MIN;
    }
}

static void merge_seek(struct merge *m, int64_t from)
{
    for (size_t i = 0; i < m->rule_count; i++) {
        struct rule_walk *w = &m->rules[i];
        if (m->next[i] >= from)
            continue;
        w->budget = m->budget;
        rule_seek(w, from);
        m->next[i] = rule_next(w);
        m->work += m->budget - w->budget;
    }
    while (m->dates.at < m->dates.n && m->dates.v[m->dates.at] < from)
        m->dates.at++;
}

static int64_t merge_next(struct merge *m)
{
    struct dates *d = &m->dates;
    int64_t least = d->at < d->n ? d->v[d->at] : RRULE_NEVER;
    for (size_t i = 0; i < m->rule_count; i++)
        least = MIN(least, m->next[i]);
    if (least == RRULE_NEVER)
        return least;
    for (size_t i = 0; i < m->rule_count; i++) {
        struct rule_walk *w = &m->rules[i];
        if (m->next[i] != least)
            continue;
        w->budget = m->budget;
        m->next[i] = rule_next(w);
        m->work += m->budget - w->budget;
    }
    while (d->at < d->n && d->v[d->at] == least)
        d->at++;
    return least;
}

struct rrule_walk *rrule_seek(struct arena *a, const struct rrule_set *set, int64_t from, int64_t budget)
{
    struct rrule_walk *w = arena_new(a, struct rrule_walk);
    w->excluded = INT64_MIN;
    merge_init(a, &w->in, set->rules, set->rule_count, (struct dates){set->dates, set->date_count, 0},
               budget);
    merge_init(a, &w->out, set->exrules, set->exrule_count,
               (struct dates){set->exdates, set->exdate_count, 0}, budget);
    merge_seek(&w->in, from);
    w->budget = w->in.work + 4 * budget;
    return w;
}

int64_t rrule_next(struct rrule_walk *w)
{
    for (; w->in.work + w->out.work < w->budget; w->budget--) {
        int64_t t = merge_next(&w->in);
        if (t == RRULE_NEVER)
            break;
        if (w->excluded < t) {
            merge_seek(&w->out, t);
            w->excluded = merge_next(&w->out);
        }
        if (t != w->excluded)
            return t;
    }
    return RRULE_NEVER;
}

int64_t rrule_period(const struct rrule_set *set)
{
    const struct rrule *r = set->rules;
    if (set->rule_count != 1 || set->exrule_count || set->date_count || set->exdate_count ||
        r->freq < MINUTELY || r->count != INT64_MAX)
        return 0;
    return r->interval * unit_of(r->freq);
}

bool rrule_zoned_until(const struct rrule_set *set)
{
    return set->zoned_until;
}
