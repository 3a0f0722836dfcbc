/* concurrency-limit (by tag of task runs) and global-concurrency-limit (by name). */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"

#include <math.h>

/* --- by tag --- */

static Str tag_path(struct cli *x)
{
    Str tag = url_segment(x->a, args_text(&x->args, "tag"));
    return str_fmt(x->a, "/concurrency_limits/tag/%.*s", STR_ARG(tag));
}

static int tag_missing(struct cli *x, struct err *err)
{
    Str tag = args_text(&x->args, "tag");
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "No concurrency limit found for the tag: %.*s", STR_ARG(tag)) : -1;
}

static int tag_create(struct cli *x, struct err *err)
{
    const struct json *v;
    Str tag = args_text(&x->args, "tag"), quoted = json_quote(x->a, tag), limit = args_text(&x->args, "concurrency-limit");
    if (api_post(x, STR("/concurrency_limits/"), str_fmt(x->a, "{\"tag\":%.*s,\"concurrency_limit\":%.*s}", STR_ARG(quoted), STR_ARG(limit)), &v, err) < 0)
        return -1;
    cli_ok(x, "Created concurrency limit with properties:");
    cli_ok(x, "    tag - '%.*s'", STR_ARG(tag));
    cli_ok(x, "    concurrency_limit - %.*s", STR_ARG(limit));
    cli_result(x, v);
    cli_say(x, "\nHow it fares: %s concurrency-limit inspect %.*s\n", x->program, STR_ARG(tag));
    return 0;
}

static int tag_inspect(struct cli *x, struct err *err)
{
    const struct json *v;
    if (api_get(x, tag_path(x), &v, err) < 0)
        return tag_missing(x, err);
    cli_show(x, v);
    return 0;
}

static int tag_ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Tag", .style = STYLE_GREEN},
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Concurrency Limit", .style = STYLE_BLUE},
        {.title = "Active Task Runs", .style = STYLE_MAGENTA},
    };
    struct items limits;
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 15, offset = args_given(&x->args, "offset") ? args_int(&x->args, "offset") : 0;
    if (offset < 0 || limit < 0)
        return err_set(err, ERR_INVALID, "--limit and --offset are 0 or more");
    if (api_list(x, STR("/concurrency_limits/filter"), STR(""), limit + offset, &limits, err) < 0)
        return -1;
    size_t skip = MIN((size_t)offset, limits.n);
    limits.v += skip;
    limits.n -= skip;
    if (x->json) {
        cli_show_items(x, &limits);
        return 0;
    }
    struct table *t = table_create(x->a, "Concurrency Limits", columns, COUNT_OF(columns));
    for (size_t i = 0; i < limits.n; i++) {
        const struct json *slots = json_getz(limits.v[i], "active_slots");
        table_cell(t, field(limits.v[i], "tag"));
        table_cell(t, field(limits.v[i], "id"));
        table_cellf(t, "%lld", (long long)field_int(limits.v[i], "concurrency_limit"));
        table_cellf(t, "%zu", json_is(slots, JSON_ARRAY) ? slots->array.n : 0);
    }
    cli_table(x, t);
    return 0;
}

static int tag_reset(struct cli *x, struct err *err)
{
    Str path = tag_path(x), tag = args_text(&x->args, "tag");
    if (api_post(x, str_fmt(x->a, "%.*s/reset", STR_ARG(path)), STR("{\"slot_override\":null}"), NULL, err) < 0)
        return tag_missing(x, err);
    cli_ok(x, "Reset concurrency limit set on the tag: %.*s", STR_ARG(tag));
    return cli_result_at(x, path, err);
}

static int tag_delete(struct cli *x, struct err *err)
{
    Str tag = args_text(&x->args, "tag"), question = str_fmt(x->a, "Delete the concurrency limit of tag '%.*s'?", STR_ARG(tag));
    const struct json *v;
    if (api_get(x, tag_path(x), &v, err) < 0)
        return tag_missing(x, err);
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 || api_delete(x, tag_path(x), err) < 0)
        return -1;
    cli_ok(x, "Deleted concurrency limit set on the tag: %.*s", STR_ARG(tag));
    cli_result(x, v);
    return 0;
}

/* --- by name --- */

static Str limit_path(struct cli *x)
{
    Str name = url_segment(x->a, args_text(&x->args, "name"));
    return str_fmt(x->a, "/v2/concurrency_limits/%.*s", STR_ARG(name));
}

static int limit_missing(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Global concurrency limit %.*s not found.", STR_ARG(quoted)) : -1;
}

static int by_name(const struct json *x, const struct json *y)
{
    return str_cmp(field(x, "name"), field(y, "name"));
}

static int limit_ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN, .right = true}, {.title = "Name", .style = STYLE_GREEN},   {.title = "Active"},
        {.title = "Limit", .style = STYLE_BLUE},             {.title = "Active Slots", .style = STYLE_BLUE},
        {.title = "Slot Decay Per Second"},                  {.title = "Created"},                       {.title = "Updated"},
    };
    struct items limits;
    if (api_list(x, STR("/v2/concurrency_limits/filter"), STR(""), INT_NONE, &limits, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &limits);
        return 0;
    }
    if (!limits.n) {
        cli_put(x, "No global concurrency limits found.\n");
        return 0;
    }
    items_sort(&limits, by_name);
    struct table *t = table_create(x->a, "Global Concurrency Limits", columns, COUNT_OF(columns));
    for (size_t i = 0; i < limits.n; i++) {
        const struct json *l = limits.v[i], *decay = json_getz(l, "slot_decay_per_second");
        table_cell(t, field(l, "id"));
        table_cell(t, field(l, "name"));
        table_cell(t, field_bool(l, "active") ? STR("True") : STR("False"));
        table_cellf(t, "%lld", (long long)field_int(l, "limit"));
        table_cellf(t, "%lld", (long long)field_int(l, "active_slots"));
        table_cell(t, decay ? decay->raw : STR(""));
        table_cell(t, text_time(x->a, field_time(l, "created")));
        table_cell(t, text_relative(x->a, field_time(l, "updated"), x->now));
    }
    cli_table(x, t);
    return 0;
}

static int limit_inspect(struct cli *x, struct err *err)
{
    const struct json *v;
    Str file = args_text(&x->args, "file");
    if (file.p && !x->json)
        return err_set(err, ERR_INVALID, "--file needs --output json");
    if (api_get(x, limit_path(x), &v, err) < 0)
        return limit_missing(x, err);
    if (!file.p) {
        cli_show(x, v);
        return 0;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    text_json(&b, v);
    return path_write(x->a, file, buf_view(&b), 0644, err);
}

/* --active-slots and --slot-decay-per-second within their range. */
static int check_numbers(struct cli *x, struct err *err)
{
    int64_t limit = args_int(&x->args, "limit"), slots = args_int(&x->args, "active-slots");
    double decay = args_float(&x->args, "slot-decay-per-second");
    if ((limit != INT_NONE && limit < 0) || (slots != INT_NONE && slots < 0) || decay < 0)
        return err_set(err, ERR_INVALID, "--limit, --active-slots and --slot-decay-per-second are 0 or more");
    return 0;
}

static void put_numbers(struct cli *x, struct jw *w)
{
    if (args_given(&x->args, "limit"))
        jw_kint(w, "limit", args_int(&x->args, "limit"));
    if (args_given(&x->args, "active-slots"))
        jw_kint(w, "active_slots", args_int(&x->args, "active-slots"));
    if (args_given(&x->args, "slot-decay-per-second"))
        jw_kdouble(w, "slot_decay_per_second", args_float(&x->args, "slot-decay-per-second"));
}

static int limit_create(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), quoted = text_quoted(x->a, name);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    const struct json *v;
    if (check_numbers(x, err) < 0)
        return -1;
    jw_object(&w);
    jw_kstr(&w, "name", name);
    jw_kbool(&w, "active", !args_flag(&x->args, "disable", false));
    put_numbers(x, &w);
    jw_end(&w);
    if (api_post(x, STR("/v2/concurrency_limits/"), buf_view(&b), &v, err) < 0)
        return err->code == ERR_CONFLICT ? err_set(err, ERR_CONFLICT, "Global concurrency limit %.*s already exists.", STR_ARG(quoted)) : -1;
    Str id = field(v, "id");
    cli_ok(x, "Created global concurrency limit with name %.*s and ID '%.*s'. Shown by `%s gcl inspect`.", STR_ARG(quoted), STR_ARG(id), x->program);
    cli_result(x, v);
    return 0;
}

static int limit_patch(struct cli *x, Str body, struct err *err)
{
    if (api_patch(x, limit_path(x), body, err) < 0)
        return limit_missing(x, err);
    return 0;
}

static int limit_update(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    bool enable = args_flag(&x->args, "enable", false), disable = args_flag(&x->args, "disable", false);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    if (enable && disable)
        return err_set(err, ERR_INVALID, "Cannot enable and disable a global concurrency limit at the same time.");
    if (check_numbers(x, err) < 0)
        return -1;
    jw_object(&w);
    if (enable || disable)
        jw_kbool(&w, "active", enable);
    put_numbers(x, &w);
    jw_end(&w);
    if (b.n == 2)
        return err_set(err, ERR_INVALID, "No update arguments provided.");
    if (limit_patch(x, buf_view(&b), err) < 0)
        return -1;
    cli_ok(x, "Updated global concurrency limit with name %.*s.", STR_ARG(quoted));
    return cli_result_at(x, limit_path(x), err);
}

static int set_active(struct cli *x, bool active, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    const struct json *v;
    if (api_get(x, limit_path(x), &v, err) < 0)
        return limit_missing(x, err);
    if (field_bool(v, "active") == active)
        return err_set(err, ERR_CONFLICT, "Global concurrency limit with name %.*s is already %s.", STR_ARG(quoted), active ? "enabled" : "disabled");
    if (limit_patch(x, active ? STR("{\"active\":true}") : STR("{\"active\":false}"), err) < 0)
        return -1;
    cli_ok(x, "%s global concurrency limit with name %.*s.", active ? "Enabled" : "Disabled", STR_ARG(quoted));
    return cli_result_at(x, limit_path(x), err);
}

static int limit_enable(struct cli *x, struct err *err)
{
    return set_active(x, true, err);
}

static int limit_disable(struct cli *x, struct err *err)
{
    return set_active(x, false, err);
}

static int limit_delete(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name")), question = str_fmt(x->a, "Delete global concurrency limit %.*s?", STR_ARG(quoted));
    const struct json *v;
    if (api_get(x, limit_path(x), &v, err) < 0)
        return limit_missing(x, err);
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 || api_delete(x, limit_path(x), err) < 0)
        return -1;
    cli_ok(x, "Deleted global concurrency limit with name %.*s.", STR_ARG(quoted));
    cli_result(x, v);
    return 0;
}

#define TAG {"tag", "The tag of task runs"}
#define NAME {"name", "The limit's name"}

static const struct command tag_commands[] = {
    {.name = "create", .summary = "Bound the task runs of a tag", .run = tag_create, .args = ARGS(TAG, {"concurrency-limit", "Most at once", VALUE_INT}), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "ls", .summary = "List limits of tags", .run = tag_ls,
     .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (15)"}, {"offset", NULL, VALUE_INT, 0, "Leave out the first so many"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a tag's limit and what holds its slots", .run = tag_inspect, .args = ARGS(TAG), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "reset", .summary = "Free all slots of a tag", .run = tag_reset, .args = ARGS(TAG), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a tag's limit", .run = tag_delete, .args = ARGS(TAG), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};

static const struct command limit_commands[] = {
    {.name = "ls", .summary = "List global limits", .run = limit_ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a global limit", .run = limit_inspect, .args = ARGS(NAME),
     .options = OPTIONS(OPTION_OUTPUT, {"file", "f", VALUE_PATH, 0, "Write it to this file"})},
    {.name = "create", .summary = "Make a global limit", .run = limit_create, .args = ARGS(NAME),
     .options = OPTIONS({"limit", "l", VALUE_INT, OPTION_REQUIRED, "Most at once"}, {"disable", NULL, VALUE_FLAG, 0, "Not in force yet"},
                        {"active-slots", NULL, VALUE_INT, 0, "Slots taken at first (0)"}, {"slot-decay-per-second", NULL, VALUE_FLOAT, 0, "How fast slots free themselves: a rate limit (0)"}, OPTION_OUTPUT)},
    {.name = "update", .summary = "Change a global limit", .run = limit_update, .args = ARGS(NAME),
     .options = OPTIONS({"enable", NULL, VALUE_FLAG, 0, "Put it in force"}, {"disable", NULL, VALUE_FLAG, 0, "Take it out of force"}, {"limit", "l", VALUE_INT, 0, "Most at once"},
                        {"active-slots", NULL, VALUE_INT, 0, "Slots taken"}, {"slot-decay-per-second", NULL, VALUE_FLOAT, 0, "How fast slots free themselves"}, OPTION_OUTPUT)},
    {.name = "enable", .summary = "Put a global limit in force", .run = limit_enable, .args = ARGS(NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "disable", .summary = "Take a global limit out of force", .run = limit_disable, .args = ARGS(NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a global limit", .run = limit_delete, .args = ARGS(NAME), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_concurrency_limit = {
    .name = "concurrency-limit", .alias = "concurrency-limits", .summary = "Bounds on task runs, by tag", .commands = tag_commands};
const struct command command_gcl = {
    .name = "global-concurrency-limit", .alias = "gcl", .summary = "Bounds on anything, by name", .commands = limit_commands};
