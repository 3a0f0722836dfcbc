/* schedule/cron.h: cron expressions, on the wall clock alone: no zones here.
 *
 * The dialect is that of the API's clients: minute hour day month weekday [second [year]], names, lists,
 * ranges that may wrap around, steps, "L" (last day), "L5" (last Friday), "fri#2" (second Friday), "?" for
 * "*" in the two day fields, and
 * @yearly to @hourly. A range whose ends are equal is the whole field. Times are seconds since 1970 on the
 * wall clock. */
#pragma once
#include "base/err.h"
#include "base/time.h"

struct cron; /* immutable once parsed: threads may share it */

#define CRON_NEVER INT64_MAX

/* `day_or`: where both day fields are restricted a day needs to match one of them, else both. The result
 * lives as long as `a`. NULL with ERR_UNPROCESSABLE, naming the field at fault. */
NODISCARD const struct cron *cron_parse(struct arena *a, Str text, bool day_or, struct err *err);

/* The first match not before `from`, which is in the years 1 to 9999; CRON_NEVER where none comes within 50
 * years. */
int64_t cron_next(const struct cron *c, int64_t from);
