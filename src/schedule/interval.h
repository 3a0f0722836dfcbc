/* schedule/interval.h: every so many seconds from an anchor, in a zone.
 *
 * An interval of a day or more is added on the wall clock, so that it keeps its hour when clocks change; a
 * shorter one is added to the instant. */
#pragma once
#include "schedule/schedule.h"

struct interval {
    Dur every; /* > 0 */
    Time anchor;
    double seconds;    /* as it is printed: `every` is cut where it leaves the calendar */
    Dur anchor_offset; /* that it was sent with: printed again */
    const struct zone *zone;
};

/* {"interval": seconds or text, "anchor_date": …} of the API; the zone is not touched. -1 with
 * ERR_UNPROCESSABLE. */
NODISCARD int interval_parse(const struct json *interval, const struct json *anchor, Time now,
                             struct interval *ret, struct err *err);
void interval_print_anchor(const struct interval *v, struct jw *w);
/* As schedule_next, with an end. */
size_t interval_next(const struct interval *v, Time start, Time end, size_t n, Time *ret);
