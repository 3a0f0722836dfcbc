#include "cli/runs.h"

#include <errno.h>

#define POLL (150 * MSEC)
#define LOG_POLL (300 * MSEC)
#define LATE (3 * SEC)      /* how far behind a log record may arrive: clients send them in batches */
#define DRAIN (2500 * MSEC) /* how long after the end the last batch is waited for */

static void pause_for(Dur d)
{
    struct timespec t = {d / SEC, d % SEC * 1000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

static const char *level_name(int64_t level)
{
    return level >= 50 ? "CRITICAL" : level >= 40 ? "ERROR" : level >= 30 ? "WARNING" : level >= 20 ? "INFO" : "DEBUG";
}

void log_line(struct cli *x, const char *kind, Str name, const struct json *record)
{
    Time t = field_time(record, "timestamp");
    struct time_text day = time_iso(t);
    Str clock = text_clock(x->a, t), quoted = text_quoted(x->a, name), text = field(record, "message");
    cli_put(x, "%.10s %.*s | %-7s | %s %.*s - %.*s\n", day.s, STR_ARG(clock), level_name(field_int(record, "level")), kind,
            STR_ARG(quoted), STR_ARG(text));
}

int log_reader_next(struct cli *x, struct log_reader *r, struct items *ret, struct err *err)
{
    Str since = STR("");
    if (r->last) {
        struct time_text t = time_iso(r->last - LATE);
        since = str_fmt(x->a, ",\"timestamp\":{\"after_\":\"%s\"}", t.s);
    }
    Str members = str_fmt(x->a, "\"sort\":\"TIMESTAMP_ASC\",\"logs\":{\"flow_run_id\":{\"any_\":[\"%.*s\"]}%.*s}", STR_ARG(r->run_id), STR_ARG(since));
    struct items page, fresh = {0};
    if (api_list(x, STR("/logs/filter"), members, INT_NONE, &page, err) < 0)
        return -1;
    for (size_t i = 0; i < page.n; i++) {
        Str id = field(page.v[i], "id");
        if (map_get(&r->seen, id))
            continue;
        *map_at(r->a, &r->seen, str_dup(r->a, id)) = r;
        Time t = field_time(page.v[i], "timestamp");
        r->last = MAX(r->last, t == TIME_NONE ? 0 : t);
        vec_push(x->a, &fresh, page.v[i]);
    }
    *ret = fresh;
    return 0;
}

struct watch {
    enum watch_style style;
    Str id, name;
    struct log_reader logs;
    struct map states; /* printed already */
    Str state_id;      /* of the newest seen */
    struct arena *keep;
    bool finished;     /* the engine's own last line was there */
};

static void print_log(struct cli *x, struct watch *w, const struct json *record)
{
    if (w->style == WATCH_LOGS) {
        log_line(x, "Flow run", w->name, record);
        return;
    }
    Str clock = text_clock(x->a, field_time(record, "timestamp")), rest = field(record, "message"), line;
    int64_t level = field_int(record, "level");
    const char *style = level >= 40 ? STYLE_RED : level >= 30 ? STYLE_YELLOW : NULL;
    for (bool first = true; text_line(&rest, SIZE_MAX, &line); first = false) {
        if (first)
            cli_put(x, "▪ %.*s  ", STR_ARG(clock));
        else
            cli_put(x, "%16s", "");
        text_styled(&x->out, x->color, style, line);
        cli_put(x, "\n");
    }
}

static int print_logs(struct cli *x, struct watch *w, size_t *ret_n, struct err *err)
{
    struct items fresh;
    if (log_reader_next(x, &w->logs, &fresh, err) < 0)
        return -1;
    for (size_t i = 0; i < fresh.n; i++) {
        print_log(x, w, fresh.v[i]);
        if (!field(fresh.v[i], "task_run_id").n && str_starts(field(fresh.v[i], "message"), STR("Finished in state")))
            w->finished = true;
    }
    *ret_n = fresh.n;
    return 0;
}

static int print_states(struct cli *x, struct watch *w, const struct json *run, struct err *err)
{
    Str id = field(run, "state_id");
    if (w->style != WATCH_ALL || str_eq(id, w->state_id))
        return 0;
    const struct json *states;
    if (api_get(x, str_fmt(x->a, "/flow_run_states/?flow_run_id=%.*s", STR_ARG(w->id)), &states, err) < 0)
        return -1;
    for (size_t i = 0; json_is(states, JSON_ARRAY) && i < states->array.n; i++) {
        const struct json *s = &states->array.items[i];
        Str state_id = field(s, "id"), clock = text_clock(x->a, field_time(s, "timestamp")), message = field(s, "message");
        if (map_get(&w->states, state_id))
            continue;
        *map_at(w->keep, &w->states, str_dup(w->keep, state_id)) = w;
        cli_styled(x, state_style(field(s, "type")), "● ");
        cli_put(x, "%.*s  ", STR_ARG(clock));
        text_styled(&x->out, x->color, STYLE_BOLD, field(s, "name"));
        cli_put(x, " %.*s%s%.*s\n", STR_ARG(w->name), message.n ? ": " : "", STR_ARG(message));
    }
    w->state_id = str_dup(w->keep, id);
    return 0;
}

/* Looks until the run is final; x->a is reset with each look. */
static int follow(struct cli *x, struct watch *w, Dur timeout, struct err *err)
{
    Dur begun = time_monotonic(), logs_at = 0, final_at = 0;
    for (;;) {
        const struct json *run;
        size_t fresh = 0;
        arena_reset(x->a);
        if (api_get(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(w->id)), &run, err) < 0)
            return -1;
        bool final = state_is_final(field(run, "state_type"));
        if (print_states(x, w, run, err) < 0)
            return -1;
        Dur now = time_monotonic();
        if (w->style != WATCH_NOTHING && (final || now >= logs_at + LOG_POLL)) {
            if (print_logs(x, w, &fresh, err) < 0)
                return -1;
            logs_at = now;
        }
        cli_flush(x);
        if (final && !final_at)
            final_at = now;
        bool ran = field_time(run, "start_time") != TIME_NONE;
        if (final && (w->finished || w->style == WATCH_NOTHING || !ran || now >= final_at + DRAIN))
            return 0;
        if (timeout && now >= begun + timeout)
            return err_set(err, ERR_BUSY, "the run is still %.*s after %lld seconds; it goes on", STR_ARG(field(run, "state_name")), (long long)(timeout / SEC));
        pause_for(POLL);
    }
}

int watch_run(struct cli *x, const struct json *run, enum watch_style style, Dur timeout, const struct json **ret, struct err *err)
{
    struct arena *keep = x->a;
    struct watch w = {.style = style, .id = field(run, "id"), .name = field(run, "name"), .keep = keep};
    w.logs = (struct log_reader){.run_id = w.id, .a = keep};
    AUTO(arena_freep) struct arena *scratch = arena_create();
    x->a = scratch;
    int rc = follow(x, &w, timeout, err);
    x->a = keep;
    if (rc < 0)
        return -1;
    return api_get(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(w.id)), ret, err);
}
