#include "events/retention.h"

/* The smallest id that is made at `t` or later. Logs get their ids when they arrive, so that their primary key is in the
 * order of their age. */
static Uuid id_from(Time t)
{
    Uuid id = {{0}};
    uint64_t ms = t > 0 ? (uint64_t)(t / MSEC) : 0;
    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.b[i] = (uint8_t)ms;
    id.b[15] = 1; /* never nil, which would be NULL */
    return id;
}

int retention_step(struct conn *c, const struct retention *keep, Time now, int64_t max, bool *ret_more, struct err *err)
{
    int64_t events = 0, logs = 0;
    if (keep->events > 0)
        events = db_exec(c, err, "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE occurred < $1 ORDER BY occurred LIMIT $2)",
                         "ti", now - keep->events, max);
    if (events >= 0 && keep->logs > 0)
        logs = db_exec(c, err, "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE id < $1 ORDER BY id LIMIT $2)", "ui",
                       id_from(now - keep->logs), max);
    if (events < 0 || logs < 0)
        return -1;
    *ret_more = events == max || logs == max;
    return 0;
}
