/* base/time.h: instants as text and back, the clock, random bytes and UUIDs. */
#pragma once
#include "base/str.h"

/* Wall time now. Code whose behaviour depends on time takes a `Time now` or a struct clock instead. */
Time time_now(void);
/* Monotonic µs, for measuring. */
Dur time_monotonic(void);

/* ISO 8601 as the API writes it: "2026-11-23T17:43:25.360630Z", no fraction where it is zero. */
struct time_text {
    char s[36];
};
struct time_text time_iso(Time t);
/* ISO 8601 with 'T' or a space, optional seconds and up to 9 fraction digits, 'Z' or an offset;
 * without an offset UTC is meant. A date alone is midnight. False where it is none of these, or outside of TIME_FIRST to
 * TIME_LAST by its offset. */
bool time_parse(Str s, Time *ret);
/* ISO 8601 duration ("PT1H30M", "P1DT2S", "-PT3.5S"); a year is 365 days and a month 30, as the API's clients
 * read them. False where it is none. */
bool dur_parse(Str s, Dur *ret);
/* "1 day, 02:30:00", "-1d 00:10", "26:00:00.5", "2 days": what str() of a Python timedelta gives, and its kin; in seconds. */
bool dur_parse_clock(Str s, double *ret);

/* Gregorian calendar from year 1, no zone: days since 1970-01-01 from a date, and back. */
int64_t civil_days(int64_t year, int month, int day);
void civil_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
int civil_month_days(int64_t year, int month);

#define UUID_NIL ((Uuid){{0}})
bool uuid_eq(Uuid a, Uuid b);
bool uuid_is_nil(Uuid u);
/* Version 7: 48 bits of ms, then a counter so that ids made by one process only grow. Thread-safe. */
Uuid uuid_v7(void);
/* From now on they are greater than those of `t`, whatever the clock says: one that was set back does not put them among older ones. */
void uuid_v7_after(Time t);
/* The instant in the latest: ahead of the clock where that was set back. 0: none was made yet. */
Time uuid_v7_latest(void);
Uuid uuid_v4(void);
struct uuid_text {
    char s[37];
};
struct uuid_text uuid_text(Uuid u);
/* 36 characters with hyphens, or 32 without, or either in braces / after "urn:uuid:". */
bool uuid_parse(Str s, Uuid *ret);

/* From the kernel's generator. Thread-safe. */
void random_bytes(void *p, size_t n);
/* Uniform in [0, 1). */
double random_double(void);
