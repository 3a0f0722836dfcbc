/* schedule/schedule.h: when a schedule next fires: cron, interval, RRULE; in a time zone.
 *
 * Reads the API's schedule objects ({cron, timezone, day_or}, {interval, anchor_date, timezone}, {rrule,
 * timezone}) and walks their instants in order. Immutable once parsed: threads may share it. */
#pragma once
#include "json/json.h"

struct zone;     /* a time zone by IANA name; lives as long as the process; thread-safe */
struct schedule; /* lives as long as its arena */

/* A wall time that a clock change skips or repeats means two instants, an offset change apart: skipped, with
 * the offset after the change (earlier) or before it (later); repeated, the first or the second time. */
enum zone_pick { ZONE_EARLIER, ZONE_LATER };

/* By name ("Europe/Berlin", "UTC", "EST5EDT"), NULL where there is none such. Each is read from the system
 * once. */
const struct zone *zone_find(Str name);
Str zone_name(const struct zone *z);
/* Offset from UTC in force at t, µs. */
Dur zone_offset(const struct zone *z, Time utc);
/* Local wall time (µs since 1970 as if it were UTC) to UTC. */
Time zone_to_utc(const struct zone *z, Time local, enum zone_pick pick);
/* The latest change of offset not after t, or TIME_NONE; the first after t, or TIME_NEVER. */
Time zone_change_before(const struct zone *z, Time utc);
Time zone_change_after(const struct zone *z, Time utc);

enum schedule_kind { SCHEDULE_CRON, SCHEDULE_INTERVAL, SCHEDULE_RRULE };

/* From the API's object: the kind by its keys; unknown keys, bad expressions, zones and ranges are refused:
 * NULL with ERR_UNPROCESSABLE and a sentence that names what is wrong. `now` stands for a missing anchor
 * date, and a rule of seconds or minutes without DTSTART is anchored near it. Nothing of `v` is kept. */
NODISCARD const struct schedule *schedule_parse(struct arena *a, const struct json *v, Time now,
                                                struct err *err);
enum schedule_kind schedule_kind(const struct schedule *s);
/* The object with its defaults filled in, as the API stores and answers it (timezone null, day_or true,
 * anchor_date with the offset it was sent with, interval as float seconds). A rule without DTSTART has got
 * one; parsing the printed object again changes nothing. */
void schedule_print(const struct schedule *s, struct jw *w);
Str schedule_timezone(const struct schedule *s); /* STR_NONE or "": UTC */

/* The first instants not before `start` (and, unless TIME_NONE, not after `end`), ascending, without doubles,
 * at most n; the number found. A cron whose start has microseconds begins after it, as the reference's does.
 * Work is bounded: no more than LIMIT_SCHEDULE_RUNS instants are given, and what does not fire within 50
 * years (cron), or within LIMIT_SCHEDULE_STEPS days looked at (RRULE), counts as never. */
size_t schedule_next(struct arena *a, const struct schedule *s, Time start, Time end, size_t n, Time *ret);

/* An instant in the schedule's zone as "2026-03-07 09:00:00-05:00" (microseconds if any): part of the
 * idempotency key of scheduled runs. */
Str schedule_local_text(struct arena *a, const struct schedule *s, Time t);
/* For people: "Cron: 0 9 * * * (Europe/Berlin)", "Interval: 1:30:00", "RRule: FREQ=DAILY (UTC)". */
Str schedule_describe(struct arena *a, const struct schedule *s);
