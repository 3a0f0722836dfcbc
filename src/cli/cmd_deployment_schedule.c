#include "cli/commands.h"
#include "cli/deployments.h"
#include "cli/progress.h"

#include "schedule/schedule.h"

#include <math.h>

/* "cron: 0 9 * * *", "interval: 1:00:00s", "rrule: …". */
static Str schedule_text(struct cli *x, const struct json *s)
{
    Str cron = field(s, "cron"), rrule = field(s, "rrule");
    double seconds;
    if (cron.n)
        return str_fmt(x->a, "cron: %.*s", STR_ARG(cron));
    if (rrule.n)
        return str_fmt(x->a, "rrule: %.*s", STR_ARG(rrule));
    if (!json_double(json_getz(s, "interval"), &seconds) || seconds < 0 || seconds > 1e12)
        return STR("unknown");
    int64_t whole = (int64_t)seconds, days = whole / 86400, micro = (int64_t)((seconds - (double)whole) * 1e6 + 0.5);
    Str day = days ? str_fmt(x->a, "%lld day%s, ", (long long)days, days == 1 ? "" : "s") : STR("");
    Str fraction = micro ? str_fmt(x->a, ".%06lld", (long long)micro) : STR("");
    return str_fmt(x->a, "interval: %.*s%d:%02d:%02d%.*ss", STR_ARG(day), (int)(whole / 3600 % 24), (int)(whole / 60 % 60),
                   (int)(whole % 60), STR_ARG(fraction));
}

/* {"rrule": …, "timezone": …} or the rule alone. */
static int put_rrule(struct cli *x, struct jw *w, Str text, Str zone, struct err *err)
{
    struct err ignored;
    const struct json *v = json_parse(x->a, text, &ignored);
    if (json_is(v, JSON_OBJECT)) {
        text = json_get_str(v, STR("rrule"));
        Str inner = json_get_str(v, STR("timezone"));
        if (!text.p)
            return err_set(err, ERR_INVALID, "--rrule: the JSON object has no \"rrule\"");
        if (inner.p && zone.p)
            return err_set(err, ERR_INVALID, "--rrule has a time zone in it: leave out --timezone");
        zone = inner.p ? inner : zone;
    }
    if (str_find(text, STR("DTSTART")) < 0)
        text = str_fmt(x->a, "DTSTART:20200101T000000\n%.*s", STR_ARG(text));
    jw_kstr(w, "rrule", text);
    jw_kstr(w, "timezone", zone.p ? zone : STR("UTC"));
    return 0;
}

static int put_schedule(struct cli *x, struct jw *w, struct err *err)
{
    Str cron = args_text(&x->args, "cron"), rrule = args_text(&x->args, "rrule"), zone = args_text(&x->args, "timezone"),
        anchor = args_text(&x->args, "anchor-date");
    double interval = args_float(&x->args, "interval");
    Time t;
    int kinds = (cron.p != NULL) + (rrule.p != NULL) + !isnan(interval);
    if (kinds != 1)
        return err_set(err, ERR_INVALID, "Exactly one of `--interval`, `--rrule` or `--cron` must be provided.");
    if (anchor.p && isnan(interval))
        return err_set(err, ERR_INVALID, "An anchor date can only be provided with an interval schedule.");
    if (anchor.p && !time_parse(anchor, &t))
        return err_set(err, ERR_INVALID, "--anchor-date: \"%.*s\" is no ISO 8601 time", STR_ARG(anchor));
    if (!isnan(interval) && interval <= 0)
        return err_set(err, ERR_INVALID, "--interval is more than 0 seconds");
    if (cron.p) {
        jw_kstr(w, "cron", cron);
        jw_kstr(w, "timezone", zone);
        jw_kbool(w, "day_or", args_flag(&x->args, "day-or", true));
        return 0;
    }
    if (rrule.p)
        return put_rrule(x, w, rrule, zone, err);
    jw_kdouble(w, "interval", interval);
    if (anchor.p)
        jw_ktime(w, "anchor_date", t);
    jw_kstr(w, "timezone", zone);
    return 0;
}

static int delete_schedules(struct cli *x, Str deployment, const struct json *schedules, struct err *err)
{
    for (size_t i = 0; json_is(schedules, JSON_ARRAY) && i < schedules->array.n; i++) {
        Str id = field(&schedules->array.items[i], "id");
        if (api_delete(x, str_fmt(x->a, "/deployments/%.*s/schedules/%.*s", STR_ARG(deployment), STR_ARG(id)), err) < 0)
            return -1;
    }
    return 0;
}

static int create(struct cli *x, struct err *err)
{
    const struct json *d;
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    jw_object(&w);
    jw_key(&w, STR("schedule"));
    jw_object(&w);
    if (put_schedule(x, &w, err) < 0)
        return -1;
    jw_end(&w);
    jw_kbool(&w, "active", args_flag(&x->args, "active", true));
    jw_end(&w);
    jw_end(&w);
    /* A bad expression is told here, in one line, whatever server it is that would refuse it. */
    const struct json *body = json_parse(x->a, str_dup(x->a, buf_view(&b)), err);
    const struct schedule *schedule = body ? schedule_parse(x->a, json_getz(&body->array.items[0], "schedule"), x->now, err) : NULL;
    Time next;
    if (!schedule || deployment_find(x, args_text(&x->args, "name"), &d, err) < 0)
        return -1;
    Str id = field(d, "id");
    const struct json *old = json_getz(d, "schedules");
    size_t n = json_is(old, JSON_ARRAY) ? old->array.n : 0;
    bool replace = args_flag(&x->args, "replace", false) && n;
    if (replace) {
        Str question = str_fmt(x->a, "Replace the %zu schedule%s that there %s?", n, n == 1 ? "" : "s", n == 1 ? "is" : "are");
        if (cli_confirm(x, question.p, "Schedule replacement cancelled.", err) < 0)
            return -1;
    }
    /* The new one first: where it is refused, the old ones stay. */
    const struct json *created;
    if (api_post(x, str_fmt(x->a, "/deployments/%.*s/schedules", STR_ARG(id)), buf_view(&b), &created, err) < 0 ||
        (replace && delete_schedules(x, id, old, err) < 0))
        return -1;
    if (!schedule_next(x->a, schedule, x->now, TIME_NONE, 1, &next))
        cli_note(x, "There is no time to come at which this schedule fires.");
    cli_ok(x, replace ? "Replaced existing deployment schedule(s) with new schedule!" : "Created deployment schedule!");
    cli_result(x, json_is(created, JSON_ARRAY) && created->array.n == 1 ? &created->array.items[0] : created);
    return 0;
}

static int newest_first(const struct json *x, const struct json *y)
{
    Time s = field_time(x, "created"), t = field_time(y, "created");
    return s == t ? 0 : s > t ? -1 : 1;
}

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_BLUE},
        {.title = "Schedule", .style = STYLE_CYAN},
        {.title = "Active", .style = STYLE_MAGENTA},
    };
    const struct json *d;
    if (deployment_find(x, args_text(&x->args, "deployment-name"), &d, err) < 0)
        return -1;
    const struct json *list = json_getz(d, "schedules");
    struct items schedules = {0};
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++)
        vec_push(x->a, &schedules, &list->array.items[i]);
    items_sort(&schedules, newest_first);
    if (x->json) {
        cli_show_items(x, &schedules);
        return 0;
    }
    struct table *t = table_create(x->a, "Deployment Schedules", columns, COUNT_OF(columns));
    for (size_t i = 0; i < schedules.n; i++) {
        table_cell(t, field(schedules.v[i], "id"));
        table_cell(t, schedule_text(x, json_getz(schedules.v[i], "schedule")));
        table_cell(t, field_bool(schedules.v[i], "active") ? STR("True") : STR("False"));
    }
    cli_table(x, t);
    return 0;
}

static const struct json *schedule_of(const struct json *d, Str id)
{
    const struct json *list = json_getz(d, "schedules");
    Uuid wanted, is;
    for (size_t i = 0; uuid_parse(id, &wanted) && json_is(list, JSON_ARRAY) && i < list->array.n; i++)
        if (uuid_parse(field(&list->array.items[i], "id"), &is) && uuid_eq(is, wanted))
            return &list->array.items[i];
    return NULL;
}

static int set_active(struct cli *x, Str deployment, Str schedule, bool active, struct err *err)
{
    return api_patch(x, str_fmt(x->a, "/deployments/%.*s/schedules/%.*s", STR_ARG(deployment), STR_ARG(schedule)),
                     active ? STR("{\"active\":true}") : STR("{\"active\":false}"), err);
}

/* With -o json: the schedules as they are now. */
static int show_again(struct cli *x, const struct items *schedules, struct err *err)
{
    struct items now = {0};
    for (size_t i = 0; x->json && i < schedules->n; i++) {
        const struct json *list;
        Str deployment = field(schedules->v[i], "deployment_id"), id = field(schedules->v[i], "id");
        if (api_get(x, str_fmt(x->a, "/deployments/%.*s/schedules", STR_ARG(deployment)), &list, err) < 0)
            return -1;
        for (size_t k = 0; json_is(list, JSON_ARRAY) && k < list->array.n; k++)
            if (str_eq(field(&list->array.items[k], "id"), id))
                vec_push(x->a, &now, &list->array.items[k]);
    }
    cli_result_items(x, &now);
    return 0;
}

/* All schedules of all deployments that are not so already. */
static int set_all(struct cli *x, bool active, struct err *err)
{
    struct items all, changed = {0};
    size_t n = 0;
    if (api_list(x, STR("/deployments/filter"), STR(""), INT_NONE, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        const struct json *list = json_getz(all.v[i], "schedules");
        for (size_t k = 0; json_is(list, JSON_ARRAY) && k < list->array.n; k++)
            n += field_bool(&list->array.items[k], "active") != active;
    }
    if (!n) {
        cli_note(x, "There are no schedules to %s.", active ? "resume" : "pause");
        cli_result_items(x, &changed);
        return 0;
    }
    Str question = str_fmt(x->a, "%s %zu schedule%s?", active ? "Resume" : "Pause", n, n == 1 ? "" : "s");
    if (cli_confirm(x, question.p, "Operation cancelled.", err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        const struct json *list = json_getz(all.v[i], "schedules");
        Str deployment = field(all.v[i], "id"), name = field(all.v[i], "name");
        for (size_t k = 0; json_is(list, JSON_ARRAY) && k < list->array.n; k++) {
            const struct json *s = &list->array.items[k];
            if (field_bool(s, "active") == active)
                continue;
            progress_steps(x, active ? "Resuming" : "Pausing", changed.n, n);
            if (set_active(x, deployment, field(s, "id"), active, err) < 0)
                return -1;
            Str text = schedule_text(x, json_getz(s, "schedule"));
            cli_say(x, "%s schedule for deployment %.*s: %.*s\n", active ? "Resumed" : "Paused", STR_ARG(name), STR_ARG(text));
            vec_push(x->a, &changed, s);
        }
    }
    progress_clear(x);
    cli_ok(x, "%s %zu deployment schedule(s).", active ? "Resumed" : "Paused", n);
    return show_again(x, &changed, err);
}

static int change(struct cli *x, bool active, struct err *err)
{
    Str name = args_text(&x->args, "deployment-name"), id = args_text(&x->args, "schedule-id");
    const struct json *d;
    if (args_flag(&x->args, "all", false)) {
        if (name.p || id.p)
            return err_set(err, ERR_INVALID, "Cannot specify a deployment or schedule together with `--all`.");
        return set_all(x, active, err);
    }
    if (!name.p || !id.p)
        return err_set(err, ERR_INVALID, "Must provide DEPLOYMENT-NAME and SCHEDULE-ID, or `--all`.");
    if (deployment_find(x, name, &d, err) < 0)
        return -1;
    const struct json *s = schedule_of(d, id);
    if (!s)
        return err_set(err, ERR_NOT_FOUND, "Deployment schedule '%.*s' not found!", STR_ARG(id));
    Str text = schedule_text(x, json_getz(s, "schedule"));
    if (field_bool(s, "active") == active)
        return err_set(err, ERR_CONFLICT, "Deployment schedule '%.*s' is already %s", STR_ARG(id), active ? "active" : "inactive");
    if (set_active(x, field(d, "id"), field(s, "id"), active, err) < 0)
        return -1;
    cli_ok(x, "%s schedule %.*s for deployment %.*s", active ? "Resumed" : "Paused", STR_ARG(text), STR_ARG(name));
    struct items one = {0};
    vec_push(x->a, &one, s);
    return show_again(x, &one, err);
}

static int pause_schedule(struct cli *x, struct err *err)
{
    return change(x, false, err);
}

static int resume(struct cli *x, struct err *err)
{
    return change(x, true, err);
}

static int delete_schedule(struct cli *x, struct err *err)
{
    Str id = args_text(&x->args, "schedule-id");
    const struct json *d;
    if (deployment_find(x, args_text(&x->args, "deployment-name"), &d, err) < 0)
        return -1;
    const struct json *s = schedule_of(d, id);
    if (!s)
        return err_set(err, ERR_NOT_FOUND, "Deployment schedule '%.*s' not found!", STR_ARG(id));
    Str question = str_fmt(x->a, "Delete deployment schedule '%.*s'?", STR_ARG(id)), deployment = field(d, "id"), own = field(s, "id");
    if (cli_confirm(x, question.p, "Deletion cancelled.", err) < 0 ||
        api_delete(x, str_fmt(x->a, "/deployments/%.*s/schedules/%.*s", STR_ARG(deployment), STR_ARG(own)), err) < 0)
        return -1;
    cli_ok(x, "Deleted deployment schedule %.*s", STR_ARG(id));
    cli_result(x, s);
    return 0;
}

static int clear(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "deployment-name");
    const struct json *d;
    if (deployment_find(x, name, &d, err) < 0)
        return -1;
    Str question = str_fmt(x->a, "Delete all schedules of deployment '%.*s'?", STR_ARG(name));
    if (cli_confirm(x, question.p, "Clearing schedules cancelled.", err) < 0 || delete_schedules(x, field(d, "id"), json_getz(d, "schedules"), err) < 0)
        return -1;
    cli_ok(x, "Cleared all schedules for deployment %.*s", STR_ARG(name));
    const struct json *gone = json_getz(d, "schedules");
    if (gone)
        cli_result(x, gone);
    return 0;
}

#define DEPLOYMENT {"deployment-name", "flow/deployment"}
#define SCHEDULE {"schedule-id", "The schedule's id"}

static const struct command commands[] = {
    {.name = "create", .summary = "Give a deployment a schedule", .run = create, .args = ARGS({"name", "flow/deployment"}),
     .options = OPTIONS({"interval", NULL, VALUE_FLOAT, 0, "Seconds between two runs"},
                        {"anchor-date", NULL, VALUE_TEXT, 0, "A time that intervals are counted from"},
                        {"rrule", NULL, VALUE_TEXT, 0, "An RFC 5545 rule, or JSON with rrule and timezone"},
                        {"cron", NULL, VALUE_TEXT, 0, "A cron expression"},
                        {"day-or", NULL, VALUE_FLAG, OPTION_ON, "Cron: either of day of month and day of week is enough"},
                        {"timezone", NULL, VALUE_TEXT, 0, "Its time zone (UTC)"},
                        {"active", NULL, VALUE_FLAG, OPTION_ON, "It is in force at once"},
                        {"replace", NULL, VALUE_FLAG, 0, "Instead of those that there are"},
                        OPTION_YES, OPTION_OUTPUT)},
    {.name = "ls", .summary = "List a deployment's schedules", .run = ls, .args = ARGS(DEPLOYMENT), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "pause", .summary = "Start no runs by a schedule", .run = pause_schedule,
     .args = ARGS({"deployment-name", "flow/deployment", .optional = true}, {"schedule-id", "The schedule's id", .optional = true}),
     .options = OPTIONS({"all", NULL, VALUE_FLAG, 0, "All schedules of all deployments"}, OPTION_YES, OPTION_OUTPUT)},
    {.name = "resume", .summary = "Start runs by a paused schedule again", .run = resume,
     .args = ARGS({"deployment-name", "flow/deployment", .optional = true}, {"schedule-id", "The schedule's id", .optional = true}),
     .options = OPTIONS({"all", NULL, VALUE_FLAG, 0, "All schedules of all deployments"}, OPTION_YES, OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a schedule", .run = delete_schedule, .args = ARGS(DEPLOYMENT, SCHEDULE), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {.name = "clear", .summary = "Delete all of a deployment's schedules", .run = clear, .args = ARGS(DEPLOYMENT), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_deployment_schedule = {.name = "schedule", .summary = "When a deployment runs by itself", .commands = commands};
