/* schedule/rrule_rule.h: one rule, between its reader (rrule_text.c) and its walker (rrule.c). */
#pragma once
#include "schedule/rrule.h"

enum freq { YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY, FREQ_COUNT };

struct weekday_nth {
    int weekday, n; /* n-th of the period, from its end where negative */
};

/* BYxxx as sets: bit v for v, and for -v in the other. `has_…` also where no value can match. Weekdays: 0 is
 * Monday. */
struct rrule {
    enum freq freq;
    int64_t interval, start, until, count; /* count: INT64_MAX where there is none */
    int week_start;
    bool has_months, has_monthdays, has_weekdays, has_yeardays, has_weeks;
    uint16_t months;
    uint8_t weekdays;
    uint32_t monthdays, monthdays_back;
    uint64_t weeks, weeks_back;
    uint64_t yeardays[6], yeardays_back[6];
    uint32_t hours;
    uint64_t minutes, seconds;
    const struct weekday_nth *nth;
    const int *easter, *picks; /* days from Easter Sunday; BYSETPOS */
    size_t nth_count, easter_count, picks_count;
};

struct rrule_set {
    const struct rrule *rules, *exrules;
    const int64_t *dates, *exdates; /* ascending */
    size_t rule_count, exrule_count, date_count, exdate_count;
    bool zoned_until; /* some UNTIL has a zone */
};

/* Turns a COUNT into an UNTIL; *steps is what is left of LIMIT_RRULE_COUNT_STEPS for all rules of a text. */
int rrule_settle_count(struct arena *a, struct rrule *r, int64_t *steps, struct err *err);
