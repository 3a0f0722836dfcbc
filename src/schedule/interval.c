#include "schedule/interval.h"

#include <math.h>
#include <stdio.h>

#define EVERY_MAX 999999999.0 /* days; published */
#define EVERY_KEPT                                                                                           \
    (4000000 * DAY)                /* past the calendar's end from any anchor: the rest makes no difference  \
                                    */
#define ANCHOR_LIMIT 20000000000.0 /* a number above it is meant in milliseconds */

static int every_parse(const struct json *v, struct interval *ret, struct err *err)
{
    double seconds = 0;
    Dur d;
    int64_t whole;
    if (json_int(v, &whole) && whole > 0 && whole < EVERY_KEPT / SEC) {
        ret->every = whole * SEC;
        ret->seconds = (double)whole;
        return 0;
    }
    if (json_is(v, JSON_STRING) && dur_parse(v->string, &d))
        seconds = (double)d / (double)SEC;
    else if (!json_double(v, &seconds) && !(json_is(v, JSON_STRING) && dur_parse_clock(v->string, &seconds)))
        return err_set(err, ERR_UNPROCESSABLE,
                       "interval must be a number of seconds or an ISO 8601 duration");
    if (seconds > EVERY_MAX * 86400)
        return err_set(err, ERR_UNPROCESSABLE, "interval must not be above 999,999,999 days");
    double us = nearbyint(seconds * (double)SEC);
    if (us < 1)
        return err_set(err, ERR_UNPROCESSABLE, "interval must be above 0");
    ret->every = us < (double)EVERY_KEPT ? (Dur)us : EVERY_KEPT;
    ret->seconds = us / (double)SEC;
    return 0;
}

static int anchor_parse(const struct json *v, struct interval *ret, struct err *err)
{
    double number;
    Str s = json_str(v);
    if (json_double(v, &number) || str_double(s, &number)) {
        if (fabs(number) > ANCHOR_LIMIT)
            number /= 1000;
        double us = nearbyint(number * (double)SEC);
        if (!(us >= (double)TIME_FIRST && us <= (double)TIME_LAST))
            return err_set(err, ERR_UNPROCESSABLE, "anchor_date is out of range");
        ret->anchor = (Time)us;
        return 0;
    }
    Time wall;
    if (!s.p || !time_parse(s, &ret->anchor))
        return err_set(err, ERR_UNPROCESSABLE, "anchor_date must be a date and time in ISO 8601");
    /* The same text without its offset, read as UTC, is off by the offset. */
    size_t n = s.n > 10 ? 10 : s.n;
    while (n < s.n && s.p[n] != '+' && s.p[n] != '-' && s.p[n] != 'Z' && s.p[n] != 'z')
        n++;
    if (time_parse(str_sub(s, 0, n), &wall))
        ret->anchor_offset = wall - ret->anchor;
    return 0;
}

int interval_parse(const struct json *interval, const struct json *anchor, Time now, struct interval *ret,
                   struct err *err)
{
    *ret = (struct interval){.anchor = now};
    if (every_parse(interval, ret, err) < 0)
        return -1;
    return anchor ? anchor_parse(anchor, ret, err) : 0;
}

void interval_print_anchor(const struct interval *v, struct jw *w)
{
    struct time_text text = time_iso(v->anchor + v->anchor_offset);
    if (!v->anchor_offset) {
        jw_z(w, text.s);
        return;
    }
    Dur east = v->anchor_offset < 0 ? -v->anchor_offset : v->anchor_offset;
    Str wall = str_of(text.s);
    char out[64];
    int n = snprintf(out, sizeof out, "%.*s%c%02d:%02d", (int)wall.n - 1, wall.p,
                     v->anchor_offset < 0 ? '-' : '+', (int)(east / HOUR), (int)(east / MINUTE % 60));
    if (east % MINUTE)
        snprintf(out + n, sizeof out - (size_t)n, ":%02d", (int)(east / SEC % 60));
    jw_z(w, out);
}

static Time step(const struct interval *v, Time t)
{
    if (v->every < DAY)
        return t + v->every;
    return zone_to_utc(v->zone, t + zone_offset(v->zone, t) + v->every, ZONE_LATER);
}

/* Where clocks are set back, an instant that shows the same time as one before it in this run of instants is
 * left out: the clients' servers tell instants apart by their wall time. One added on the wall clock comes
 * late in any case. */
static bool shown_before(const struct interval *v, Time first, Time t)
{
    if (v->every >= DAY)
        return false;
    Time other = zone_to_utc(v->zone, t + zone_offset(v->zone, t), ZONE_EARLIER);
    return other < t && other >= first && (other - first) % v->every == 0;
}

size_t interval_next(const struct interval *v, Time start, Time end, size_t n, Time *ret)
{
    /* Whole intervals from the anchor, cut towards it: before the anchor that is the first one not before the
     * start. */
    Time t = v->anchor + (start - v->anchor) / v->every * v->every;
    while (t < start)
        t = step(v, t);
    size_t found = 0;
    for (size_t i = 0; found < n && i < LIMIT_SCHEDULE_RUNS && t <= end; i++, t = step(v, t))
        if (!found || !shown_before(v, ret[0], t))
            ret[found++] = t;
    return found;
}
