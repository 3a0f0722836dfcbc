/* api/run_tally.h: how many runs there are in each interval of time, by state: what charts and counters ask again and again.
 *
 * Flow runs that have ended are counted in the table flow_run_tally, by the minute and by the hour of their expected start, so a
 * question costs what its intervals cost, however many runs there were. Counted one by one are runs that have not ended, and
 * those of a minute that an interval's edge divides; and everything where the filters ask for more than types of states and a
 * range of expected starts. */
#pragma once
#include "api/call.h"

struct tally_span {
    Time start, end; /* [start, end); TIME_NONE and TIME_LAST: no bound, and runs without an expected start count as well */
    Dur interval;    /* 0: one interval, which is the whole */
};

struct tally_cell {
    int64_t interval; /* from 0 */
    Str type, name;   /* name: the type where the state has none */
    int64_t runs;
    double run_time, lateness; /* sums, µs, as run_history.h estimates them */
};

struct tally {
    VEC(struct tally_cell) cells; /* sorted by interval, type, name */
    uint32_t *slots;
    size_t slot_count;
};

/* Runs that are in a state, of `l` (flow runs or task runs), that the body's filters choose. Freed with the arena. */
NODISCARD int tally_history(struct call *c, const struct listing *l, const struct tally_span *span, struct tally *ret, struct err *err);
/* The number of rows that the body's filters choose, where the tally knows it: 1; 0: it does not (list_count counts them); -1. */
NODISCARD int tally_count(struct call *c, const struct listing *l, int64_t *ret, struct err *err);
