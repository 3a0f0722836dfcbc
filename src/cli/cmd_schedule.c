#include "cli/cli.h"
#include "cli/commands.h"

#include "schedule/schedule.h"

#include <math.h>

#define COUNT_MAX 10000

/* The API's schedule object, from the options. */
static int schedule_object(struct cli *x, Str *ret, struct err *err)
{
    Str cron = args_text(&x->args, "cron"), rrule = args_text(&x->args, "rrule"), zone = args_text(&x->args, "timezone"),
        anchor = args_text(&x->args, "anchor-date");
    double interval = args_float(&x->args, "interval");
    Time t;
    if ((cron.p != NULL) + (rrule.p != NULL) + !isnan(interval) != 1)
        return err_set(err, ERR_INVALID, "give one of --cron, --interval and --rrule");
    if (anchor.p && isnan(interval))
        return err_set(err, ERR_INVALID, "--anchor-date goes with --interval alone");
    if (!cron.p && args_given(&x->args, "day-or"))
        return err_set(err, ERR_INVALID, "--no-day-or goes with --cron alone");
    if (anchor.p && !time_parse(anchor, &t))
        return err_set(err, ERR_INVALID, "--anchor-date: \"%.*s\" is no ISO 8601 time", STR_ARG(anchor));
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    jw_object(&w);
    if (cron.p) {
        jw_kstr(&w, "cron", cron);
        jw_kbool(&w, "day_or", args_flag(&x->args, "day-or", true));
    } else if (rrule.p) {
        jw_kstr(&w, "rrule", rrule);
    } else {
        jw_kdouble(&w, "interval", interval);
        if (anchor.p)
            jw_ktime(&w, "anchor_date", t);
    }
    if (zone.p)
        jw_kstr(&w, "timezone", zone);
    jw_end(&w);
    *ret = str_dup(x->a, buf_view(&b));
    return 0;
}

static int next(struct cli *x, struct err *err)
{
    Str after = args_text(&x->args, "after"), text;
    int64_t count = args_given(&x->args, "count") ? args_int(&x->args, "count") : 5;
    Time start = x->now;
    if (after.p && !text_when(after, x->now, &start))
        return err_set(err, ERR_INVALID, "--after: \"%.*s\" is no time", STR_ARG(after));
    if (count < 1 || count > COUNT_MAX)
        return err_set(err, ERR_INVALID, "--count is 1 to %d", COUNT_MAX);
    if (schedule_object(x, &text, err) < 0)
        return -1;
    const struct json *v = json_parse(x->a, text, err);
    const struct schedule *s = v ? schedule_parse(x->a, v, x->now, err) : NULL;
    if (!s)
        return -1;
    Time *times = arena_array(x->a, Time, count);
    size_t n = schedule_next(x->a, s, start + USEC, TIME_NONE, (size_t)count, times);
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        jw_array(&w);
        for (size_t i = 0; i < n; i++)
            jw_time(&w, times[i]);
        jw_end(&w);
        buf_char(&x->out, '\n');
    }
    for (size_t i = 0; i < n && !x->json; i++)
        cli_put(x, "%s\n", time_iso(times[i]).s);
    cli_flush(x);
    if (!n)
        fprintf(stderr, "%s: the schedule never fires after %s\n", x->program, time_iso(start - start % SEC).s);
    else if (n < (size_t)count)
        fprintf(stderr, "%s: the schedule fires no more after %s\n", x->program, time_iso(times[n - 1]).s);
    return 0;
}

static const struct command commands[] = {
    {.name = "next", .summary = "Print the next instants of a schedule, in UTC", .run = next,
     .options = OPTIONS({"cron", NULL, VALUE_TEXT, 0, "A cron expression"},
                        {"day-or", NULL, VALUE_FLAG, OPTION_ON, "Either of day of month and day of week is enough"},
                        {"interval", NULL, VALUE_FLOAT, 0, "Seconds between two instants"},
                        {"anchor-date", NULL, VALUE_TEXT, 0, "A time that intervals are counted from"},
                        {"rrule", NULL, VALUE_TEXT, 0, "An RFC 5545 rule"}, {"timezone", NULL, VALUE_TEXT, 0, "The schedule's time zone (UTC)"},
                        {"after", NULL, VALUE_TEXT, 0, "Only instants after this one (now)"}, {"count", "n", VALUE_INT, 0, "How many (5)"}, OPTION_OUTPUT)},
    {0},
};

const struct command command_schedule = {.name = "schedule", .summary = "Try out schedules", .commands = commands};
