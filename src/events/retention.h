/* events/retention.h: events and logs go when they are old. */
#pragma once
#include "db/db.h"

struct retention {
    Dur events, logs; /* how long they are kept; 0: for ever */
};
/* Deletes at most `max` rows of each kind that are older than their time at `now`, the oldest first: short steps, so that
 * writes in between do not wait. On the telemetry database. *ret_more: there are more. */
NODISCARD int retention_step(struct conn *c, const struct retention *keep, Time now, int64_t max, bool *ret_more, struct err *err);
