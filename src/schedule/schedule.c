#include "schedule/schedule.h"

#include <stdio.h>
#include <string.h>

#include "schedule/cron.h"
#include "schedule/interval.h"
#include "schedule/rrule.h"

#define DEFAULT_START "DTSTART:20200101T000000"

struct schedule {
    enum schedule_kind kind;
    Str text;     /* the cron expression or the rule */
    Str timezone; /* as it was sent; STR_NONE for null */
    const struct zone *zone;
    bool day_or;
    union {
        const struct cron *cron;
        const struct rrule_set *rrule;
        struct interval interval;
    };
};

static const struct {
    const char *key, *label;
    const char *keys[4];
} kinds[] = {
    [SCHEDULE_CRON] = {"cron", "Cron", {"cron", "timezone", "day_or"}},
    [SCHEDULE_INTERVAL] = {"interval", "Interval", {"interval", "anchor_date", "timezone"}},
    [SCHEDULE_RRULE] = {"rrule", "RRule", {"rrule", "timezone"}},
};

/* --- reading --- */

static int parse_kind(const struct json *v, enum schedule_kind *ret, struct err *err)
{
    if (!json_is(v, JSON_OBJECT))
        return err_set(err, ERR_UNPROCESSABLE, "a schedule must be an object");
    int found = -1;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        if (!json_get(v, str_of(kinds[k].key)))
            continue;
        if (found >= 0)
            return err_set(err, ERR_UNPROCESSABLE, "a schedule has one of %s and %s, not both",
                           kinds[found].key, kinds[k].key);
        found = (int)k;
    }
    if (found < 0)
        return err_set(err, ERR_UNPROCESSABLE, "a schedule needs one of cron, interval and rrule");
    for (size_t i = 0; i < v->object.n; i++) {
        Str key = v->object.members[i].key;
        bool known = false;
        for (size_t j = 0; j < COUNT_OF(kinds[found].keys); j++)
            known = known || (kinds[found].keys[j] && str_eqz(key, kinds[found].keys[j]));
        if (!known)
            return err_set(err, ERR_UNPROCESSABLE, "a schedule by %s has no \"%.*s\"", kinds[found].key,
                           (int)MIN(key.n, (size_t)60), key.p);
    }
    *ret = (enum schedule_kind)found;
    return 0;
}

/* Empty, as null, means UTC; a rule has a zone or null. */
static int parse_timezone(struct arena *a, const struct json *v, struct schedule *s, struct err *err)
{
    Str name = json_str(v);
    if (v && !json_is(v, JSON_STRING) && !json_is_null(v))
        return err_set(err, ERR_UNPROCESSABLE, "timezone must be a name or null");
    s->zone = zone_find(name.n || s->kind == SCHEDULE_RRULE ? (name.p ? name : STR("UTC")) : STR("UTC"));
    if (!s->zone)
        return err_set(
            err, ERR_UNPROCESSABLE,
            "invalid timezone \"%.*s\": a name of the IANA time zone database is needed, as Europe/Berlin",
            (int)MIN(name.n, (size_t)60), name.n ? name.p : "");
    s->timezone = str_dup(a, name);
    return 0;
}

static int parse_bool(const struct json *v, bool *ret)
{
    static const char *const words[] = {"false", "true", "0", "1", "off", "on",
                                        "f",     "t",    "n", "y", "no",  "yes"};
    double number;
    if (json_is(v, JSON_BOOL)) {
        *ret = v->boolean;
        return 0;
    }
    if (json_double(v, &number) && (number == 0 || number == 1)) {
        *ret = number != 0;
        return 0;
    }
    for (size_t i = 0; json_is(v, JSON_STRING) && i < COUNT_OF(words); i++) {
        if (str_ieq(v->string, str_of(words[i]))) {
            *ret = i % 2;
            return 0;
        }
    }
    return -1;
}

static int parse_cron(struct arena *a, const struct json *v, struct schedule *s, struct err *err)
{
    const struct json *text = json_getz(v, "cron"), *day_or = json_getz(v, "day_or");
    s->day_or = true;
    if (!json_is(text, JSON_STRING))
        return err_set(err, ERR_UNPROCESSABLE, "cron must be a string");
    if (text->string.n > LIMIT_CRON)
        return err_set(err, ERR_UNPROCESSABLE, "a cron expression has at most %d characters", LIMIT_CRON);
    if (day_or && parse_bool(day_or, &s->day_or) < 0)
        return err_set(err, ERR_UNPROCESSABLE, "day_or must be true or false");
    s->text = str_dup(a, text->string);
    s->cron = cron_parse(a, s->text, s->day_or, err);
    return s->cron ? 0 : -1;
}

static bool has_start(Str text)
{
    for (size_t i = 0; i + 7 <= text.n; i++)
        if (str_ieq(str_sub(text, i, 7), STR("DTSTART")))
            return true;
    return false;
}

/* A rule without DTSTART gets one in its text: 2020, or for one that goes by seconds or minutes the last
 * instant before now in step with it, so that servers that count up from the start have less to do. */
static int parse_rrule(struct arena *a, const struct json *v, Time now, struct schedule *s, struct err *err)
{
    const struct json *text = json_getz(v, "rrule");
    if (!json_is(text, JSON_STRING))
        return err_set(err, ERR_UNPROCESSABLE, "rrule must be a string");
    int64_t start = civil_days(2020, 1, 1) * 86400;
    s->text = str_dup(a, text->string);
    s->rrule = rrule_parse(a, s->text, start, err);
    if (!s->rrule)
        return -1;
    if (has_start(s->text) || rrule_zoned_until(s->rrule))
        return 0;
    Str line = STR(DEFAULT_START);
    int64_t period = rrule_period(s->rrule), local = (now + zone_offset(s->zone, now)) / SEC;
    if (period && local > start) {
        struct time_text t = time_iso((start + (local - start) / period * period) * SEC);
        line = str_fmt(a, "DTSTART:%.4s%.2s%.2sT%.2s%.2s%.2s", t.s, t.s + 5, t.s + 8, t.s + 11, t.s + 14,
                       t.s + 17);
    }
    s->text = str_fmt(a, "%.*s\n%.*s", STR_ARG(line), STR_ARG(s->text));
    s->rrule = rrule_parse(a, s->text, start, err);
    return s->rrule ? 0 : -1;
}

const struct schedule *schedule_parse(struct arena *a, const struct json *v, Time now, struct err *err)
{
    struct schedule *s = arena_new(a, struct schedule);
    if (parse_kind(v, &s->kind, err) < 0 || parse_timezone(a, json_getz(v, "timezone"), s, err) < 0)
        return NULL;
    int rc = -1;
    switch (s->kind) {
    case SCHEDULE_CRON:
        rc = parse_cron(a, v, s, err);
        break;
    case SCHEDULE_INTERVAL:
        rc = interval_parse(json_getz(v, "interval"), json_getz(v, "anchor_date"), now, &s->interval, err);
        s->interval.zone = s->zone;
        if (!s->timezone.p)
            s->timezone = STR("UTC");
        break;
    case SCHEDULE_RRULE:
        if (!json_get(v, STR("timezone")))
            s->timezone = STR("UTC");
        rc = parse_rrule(a, v, now, s, err);
        break;
    }
    return rc < 0 ? NULL : s;
}

/* --- writing --- */

enum schedule_kind schedule_kind(const struct schedule *s)
{
    return s->kind;
}

Str schedule_timezone(const struct schedule *s)
{
    return s->timezone;
}

void schedule_print(const struct schedule *s, struct jw *w)
{
    jw_object(w);
    jw_key(w, str_of(kinds[s->kind].key));
    if (s->kind == SCHEDULE_INTERVAL) {
        jw_double(w, s->interval.seconds);
        jw_key(w, STR("anchor_date"));
        interval_print_anchor(&s->interval, w);
    } else {
        jw_str(w, s->text);
    }
    jw_kstr(w, "timezone", s->timezone);
    if (s->kind == SCHEDULE_CRON)
        jw_kbool(w, "day_or", s->day_or);
    jw_end(w);
}

Str schedule_local_text(struct arena *a, const struct schedule *s, Time t)
{
    Dur offset = zone_offset(s->zone, t), east = offset < 0 ? -offset : offset;
    struct time_text text = time_iso(t + offset);
    char *mark = strchr(text.s, 'T'), *end = strchr(text.s, 'Z');
    *mark = ' ';
    *end = 0;
    char seconds[8] = "";
    if (east % MINUTE)
        snprintf(seconds, sizeof seconds, ":%02d", (int)(east / SEC % 60));
    return str_fmt(a, "%s%c%02d:%02d%s", text.s, offset < 0 ? '-' : '+', (int)(east / HOUR),
                   (int)(east / MINUTE % 60), seconds);
}

Str schedule_describe(struct arena *a, const struct schedule *s)
{
    Str what = s->text, zone = STR("");
    if (s->kind == SCHEDULE_INTERVAL) {
        Dur d = s->interval.every;
        Str days =
            d < DAY ? STR("") : str_fmt(a, "%lld day%s, ", (long long)(d / DAY), d / DAY == 1 ? "" : "s");
        Str fraction = d % SEC ? str_fmt(a, ".%06d", (int)(d % SEC)) : STR("");
        what = str_fmt(a, "%.*s%d:%02d:%02d%.*s", STR_ARG(days), (int)(d / HOUR % 24), (int)(d / MINUTE % 60),
                       (int)(d / SEC % 60), STR_ARG(fraction));
    }
    if (s->timezone.n)
        zone = str_fmt(a, " (%.*s)", STR_ARG(s->timezone));
    char *line = str_z(a, what);
    for (size_t i = 0; i < what.n; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    return str_fmt(a, "%s: %s%.*s", kinds[s->kind].label, line, STR_ARG(zone));
}

/* --- walking --- */

/* Instants of the wall clock, ascending: of a cron or of a rule. */
struct wall_walk {
    const struct cron *cron;
    int64_t next; /* cron: the first second not yet looked at */
    struct rrule_walk *rrule;
};

static int64_t wall_next(struct wall_walk *w)
{
    if (w->rrule)
        return rrule_next(w->rrule);
    int64_t t = cron_next(w->cron, w->next);
    if (t != CRON_NEVER)
        w->next = t + 1;
    return t;
}

/* The first wall time from which on instants are not before t: where clocks have been set back not long ago,
 * that is when they show something new. */
static Time wall_from(const struct zone *z, Time t)
{
    Time change = zone_change_before(z, t);
    if (change == TIME_NONE)
        return t + zone_offset(z, t);
    return MAX(t + zone_offset(z, t), change + zone_offset(z, change - 1));
}

/* A sorted run of the first `max` instants. */
struct run {
    Time *v;
    size_t n, max;
};

static void run_add(struct run *r, Time t)
{
    size_t at = r->n;
    while (at && r->v[at - 1] > t)
        at--;
    if ((at && r->v[at - 1] == t) || at == r->max)
        return;
    size_t moved = MIN(r->n, r->max - 1) - at;
    memmove(&r->v[at + 1], &r->v[at], moved * sizeof *r->v);
    r->v[at] = t;
    r->n = MIN(r->n + 1, r->max);
}

/* The wall time up to which instants not after t may still come: those in the hour that clocks skip count
 * from its beginning again, and so may land before t. */
static Time wall_until(const struct zone *z, Time t)
{
    Time change = zone_change_after(z, t);
    if (change != TIME_NEVER) {
        Dur skipped = zone_offset(z, change) - zone_offset(z, change - 1);
        if (skipped > 0 && t >= change - skipped)
            return change + zone_offset(z, change);
    }
    return t + zone_offset(z, t);
}

static size_t walk(struct arena *a, const struct schedule *s, Time start, Time end, size_t n, Time *ret)
{
    struct run run = {.v = ret, .max = n};
    Time from = wall_from(s->zone, start), until = end == TIME_LAST ? TIME_NEVER : wall_until(s->zone, end);
    int64_t second = from / SEC + (from % SEC > 0);
    struct wall_walk w = {.next = second};
    if (s->kind == SCHEDULE_CRON)
        w.cron = s->cron;
    else
        w.rrule = rrule_seek(a, s->rrule, second, LIMIT_SCHEDULE_STEPS);
    for (int steps = 0; steps < LIMIT_SCHEDULE_RUNS;) {
        int64_t wall = wall_next(&w);
        if (wall > TIME_LAST / SEC || wall * SEC > until)
            break;
        Time t = zone_to_utc(s->zone, wall * SEC, ZONE_EARLIER);
        if (t < start)
            continue;
        steps++;
        if (t > end)
            continue;
        run_add(&run, t);
        if (run.n == n) {
            until = wall_until(s->zone, run.v[n - 1]);
            if (wall * SEC >= until)
                break;
        }
    }
    return run.n;
}

size_t schedule_next(struct arena *a, const struct schedule *s, Time start, Time end, size_t n, Time *ret)
{
    start = MAX(start, TIME_FIRST + DAY);
    end = end == TIME_NONE ? TIME_LAST : MIN(end, TIME_LAST);
    n = MIN(n, (size_t)LIMIT_SCHEDULE_RUNS);
    if (start > end || !n)
        return 0;
    return s->kind == SCHEDULE_INTERVAL ? interval_next(&s->interval, start, end, n, ret)
                                        : walk(a, s, start, end, n, ret);
}
