/* schedule/rrule.h: recurrence rules of RFC 5545, on the wall clock alone: no zones here.
 *
 * A set is what lines of RRULE, RDATE, EXRULE, EXDATE and DTSTART say together, in the dialect of the API's
 * clients (python-dateutil): each BYxxx part narrows down the days and times of a period, also where RFC 5545
 * would refuse it; BYDAY with and without numbers at once asks for both; DTSTART is an instant only if the
 * rule says so. Ours and not libical's: of 1000 random rules libical 3.0.16 gave the clients' instants for
 * 688, refused 118, and was still busy with 72 after half a second, without a way to stop it. Times are
 * seconds since 1970 on the wall clock; offsets and zones that stand in the text are not applied. */
#pragma once
#include "base/err.h"
#include "base/time.h"

struct rrule_set; /* immutable once parsed: threads may share it */

#define RRULE_NEVER INT64_MAX

/* `start` stands for a DTSTART that the text does not have. The result lives as long as `a`. NULL with
 * ERR_UNPROCESSABLE where the text is wrong, or COUNT is out of reach (more than LIMIT_RRULE_COUNT_STEPS of
 * work). */
NODISCARD const struct rrule_set *rrule_parse(struct arena *a, Str text, int64_t start, struct err *err);
/* Of a rule that stands alone, has no COUNT and goes by seconds or minutes: the seconds from one period to
 * the next; moving its start by a multiple changes nothing after it. Otherwise 0. */
int64_t rrule_period(const struct rrule_set *set);
/* An UNTIL in UTC forbids a DTSTART without a zone. */
bool rrule_zoned_until(const struct rrule_set *set);

/* A walk over the instants of a set, ascending and without doubles, from `from` on. It gives up, as at the
 * end, on a rule that has looked at `budget` days or periods for its next instant, and on all when they come
 * to four times that. Lives as long as `a`; one thread at a time. */
struct rrule_walk;
struct rrule_walk *rrule_seek(struct arena *a, const struct rrule_set *set, int64_t from, int64_t budget);
int64_t rrule_next(struct rrule_walk *w); /* RRULE_NEVER at the end */
