#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/progress.h"

/* Those that NAME or --id mean; several may have one name. */
static int find(struct cli *x, struct items *ret, struct err *err)
{
    Str name = args_text(&x->args, "name"), id = args_text(&x->args, "id");
    if (!name.p == !id.p)
        return err_set(err, ERR_INVALID, name.p ? "Please provide either a name or an id, but not both." : "Must provide an automation's name or its id.");
    struct items items = {0};
    if (id.p) {
        const struct json *v;
        if (api_get(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), &v, err) < 0)
            return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Automation with id '%.*s' not found.", STR_ARG(id)) : -1;
        vec_push(x->a, &items, v);
    } else {
        Str quoted = json_quote(x->a, name);
        if (api_list(x, STR("/automations/filter"), str_fmt(x->a, "\"sort\":\"UPDATED_DESC\",\"automations\":{\"name\":{\"any_\":[%.*s]}}", STR_ARG(quoted)), INT_NONE, &items, err) < 0)
            return -1;
        if (!items.n)
            return err_set(err, ERR_NOT_FOUND, "Automation '%.*s' not found.", STR_ARG(name));
    }
    *ret = items;
    return 0;
}

static Str joined(struct cli *x, const struct json *list)
{
    Str all = STR("");
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        Str s = json_str(&list->array.items[i]);
        all = str_fmt(x->a, "%.*s%s%.*s", STR_ARG(all), i ? ", " : "", STR_ARG(s));
    }
    return all;
}

/* A trigger in a sentence. */
static Str trigger_text(struct cli *x, const struct json *t)
{
    Str type = field(t, "type");
    int64_t n = field_int(t, "threshold");
    double within = 0;
    (void)json_double(json_getz(t, "within"), &within);
    Str span = within > 0 ? text_duration(x->a, (Dur)(within * 1e6)) : STR_NONE;
    if (str_eq(type, STR("event"))) {
        bool proactive = str_eq(field(t, "posture"), STR("Proactive"));
        Str expected = joined(x, json_getz(t, "expect"));
        return str_fmt(x->a, "%s: %s %lld of %.*s%s%.*s", proactive ? "Proactive" : "Reactive", proactive ? "fewer than" : "expecting",
                       (long long)(n == INT_NONE ? 1 : n), expected.n ? (int)expected.n : 9, expected.n ? expected.p : "any event", span.p ? " within " : "",
                       span.p ? (int)span.n : 0, span.p ? span.p : "");
    }
    const struct json *inner = json_getz(t, "triggers");
    size_t count = json_is(inner, JSON_ARRAY) ? inner->array.n : 0;
    return str_fmt(x->a, "%.*s of %zu triggers", STR_ARG(type), count);
}

static Str actions_text(struct cli *x, const struct json *v)
{
    static const struct {
        const char *key, *suffix;
    } lists[] = {{"actions", ""}, {"actions_on_trigger", " (trigger)"}, {"actions_on_resolve", " (resolve)"}};
    Str all = STR("");
    for (size_t k = 0; k < COUNT_OF(lists); k++) {
        const struct json *list = json_get(v, str_of(lists[k].key));
        for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
            Str type = field(&list->array.items[i], "type");
            all = str_fmt(x->a, "%.*s%s%.*s%s", STR_ARG(all), all.n ? "\n" : "", STR_ARG(type), lists[k].suffix);
        }
    }
    return all;
}

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Automation", .wrap = true}, {.title = "Enabled", .style = STYLE_GREEN}, {.title = "Trigger", .wrap = true}, {.title = "Actions", .wrap = true}};
    struct items items;
    if (api_list(x, STR("/automations/filter"), STR(""), INT_NONE, &items, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &items);
        return 0;
    }
    struct table *t = table_create(x->a, "Automations", columns, COUNT_OF(columns));
    table_lines(t);
    for (size_t i = 0; i < items.n; i++) {
        const struct json *v = items.v[i];
        Str name = field(v, "name"), id = field(v, "id"), text = field(v, "description");
        table_cellf(t, "%.*s\n%.*s%s%.*s", STR_ARG(name), STR_ARG(id), text.n ? "\n" : "", STR_ARG(text));
        table_styled(t, field_bool(v, "enabled") ? STYLE_GREEN : STYLE_RED, field_bool(v, "enabled") ? STR("True") : STR("False"));
        table_cell(t, trigger_text(x, json_getz(v, "trigger")));
        table_cell(t, actions_text(x, v));
    }
    cli_table(x, t);
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    struct items items;
    Str format = args_text(&x->args, "format");
    bool json = args_flag(&x->args, "json", false) || str_ieq(format.p ? format : STR(""), STR("json"));
    if (format.p && !json && !str_ieq(format, STR("yaml")))
        return err_set(err, ERR_INVALID, "--output: json and yaml are known, not '%.*s'", STR_ARG(format));
    if (find(x, &items, err) < 0)
        return -1;
    if (json && !args_text(&x->args, "id").p) {
        cli_show_items(x, &items);
        return 0;
    }
    for (size_t i = 0; i < items.n; i++) {
        if (json)
            text_json(&x->out, items.v[i]);
        else
            text_yaml(&x->out, items.v[i], 0);
        if (!json && i + 1 < items.n)
            cli_put(x, "---\n");
    }
    return 0;
}

static int set_enabled(struct cli *x, bool enabled, struct err *err)
{
    struct items items;
    if (find(x, &items, err) < 0)
        return -1;
    if (items.n > 1) {
        Str question = str_fmt(x->a, "%s all %zu automations of this name?", enabled ? "Resume" : "Pause", items.n);
        if (cli_confirm(x, question.p, "Operation cancelled.", err) < 0)
            return -1;
    }
    struct items now = {0};
    for (size_t i = 0; i < items.n; i++) {
        Str id = field(items.v[i], "id"), name = field(items.v[i], "name");
        const struct json *v;
        if (api_patch(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), enabled ? STR("{\"enabled\":true}") : STR("{\"enabled\":false}"), err) < 0)
            return -1;
        cli_ok(x, "%s automation '%.*s' with id '%.*s'", enabled ? "Resumed" : "Paused", STR_ARG(name), STR_ARG(id));
        if (x->json && api_get(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), &v, err) < 0)
            return -1;
        if (x->json)
            vec_push(x->a, &now, v);
    }
    cli_result_items(x, &now);
    return 0;
}

static int pause_automation(struct cli *x, struct err *err)
{
    return set_enabled(x, false, err);
}

static int resume(struct cli *x, struct err *err)
{
    return set_enabled(x, true, err);
}

static int delete_items(struct cli *x, const struct items *items, struct err *err)
{
    for (size_t i = 0; i < items->n; i++) {
        Str id = field(items->v[i], "id"), name = field(items->v[i], "name");
        progress_steps(x, "Deleting", i, items->n);
        if (api_delete(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), err) < 0 && err->code != ERR_NOT_FOUND)
            return -1;
        cli_ok(x, "Deleted automation '%.*s' with id '%.*s'", STR_ARG(name), STR_ARG(id));
    }
    progress_clear(x);
    cli_result_items(x, items);
    return 0;
}

static int delete_automation(struct cli *x, struct err *err)
{
    struct items items;
    Str name = args_text(&x->args, "name"), question;
    if (args_flag(&x->args, "all", false)) {
        if (name.p || args_text(&x->args, "id").p)
            return err_set(err, ERR_INVALID, "Cannot provide a name or an id together with `--all`.");
        if (api_list(x, STR("/automations/filter"), STR(""), INT_NONE, &items, err) < 0)
            return -1;
        if (!items.n) {
            cli_say(x, "No automations found.\n");
            cli_result_items(x, &items);
            return 0;
        }
        question = str_fmt(x->a, "Delete all %zu automations?", items.n);
    } else {
        if (find(x, &items, err) < 0)
            return -1;
        if (items.n > 1)
            return err_set(err, ERR_CONFLICT, "%zu automations are called '%.*s': give one's id with `--id`.", items.n, STR_ARG(name));
        name = field(items.v[0], "name");
        question = str_fmt(x->a, "Delete automation '%.*s'?", STR_ARG(name));
    }
    return cli_confirm(x, question.p, "Deletion aborted.", err) < 0 ? -1 : delete_items(x, &items, err);
}

/* The objects of --from-file or --from-json: one, a list, or {"automations": […]}. */
static int read_objects(struct cli *x, struct items *ret, struct err *err)
{
    Str file = args_text(&x->args, "from-file"), text = args_text(&x->args, "from-json");
    struct items items = {0};
    if (!file.p == !text.p)
        return err_set(err, ERR_INVALID, "Please provide one of --from-file and --from-json.");
    const struct json *v;
    if (file.p && document_read(x->a, file, &v, err) < 0)
        return -1;
    if (!file.p && !(v = json_parse(x->a, text, err)))
        return err_wrap(err, "--from-json");
    const struct json *list = json_is(v, JSON_ARRAY) ? v : json_getz(v, "automations");
    if (!json_is(list, JSON_ARRAY)) {
        vec_push(x->a, &items, v);
    } else {
        for (size_t i = 0; i < list->array.n; i++)
            vec_push(x->a, &items, &list->array.items[i]);
    }
    for (size_t i = 0; i < items.n; i++)
        if (!json_is(items.v[i], JSON_OBJECT))
            return err_set(err, ERR_INVALID, "an automation is an object");
    *ret = items;
    return 0;
}

static int create(struct cli *x, struct err *err)
{
    struct items items, all = {0};
    size_t failed = 0;
    if (read_objects(x, &items, err) < 0)
        return -1;
    for (size_t i = 0; i < items.n; i++) {
        const struct json *made;
        Str name = field(items.v[i], "name");
        if (api_post(x, STR("/automations/"), json_text(x->a, items.v[i]), &made, err) < 0) {
            if (items.n == 1 || err->code == ERR_IO)
                return -1;
            if (x->json)
                fprintf(stderr, "%s: '%.*s' was not made: %s\n", x->program, STR_ARG(name), err->text);
            else
                cli_styled(x, STYLE_RED, "'%.*s' was not made: %s\n", STR_ARG(name), err->text);
            failed++;
            continue;
        }
        Str id = field(made, "id");
        cli_ok(x, "Created automation '%.*s' with id '%.*s'", STR_ARG(name), STR_ARG(id));
        vec_push(x->a, &all, made);
    }
    cli_result_items(x, &all);
    return failed ? err_set(err, ERR_INVALID, "%zu of %zu automations were not made", failed, items.n) : 0;
}

static int update(struct cli *x, struct err *err)
{
    struct items items;
    Str id = args_text(&x->args, "id");
    const struct json *old;
    if (read_objects(x, &items, err) < 0)
        return -1;
    if (items.n != 1)
        return err_set(err, ERR_INVALID, "one automation is wanted, not %zu", items.n);
    if (api_get(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), &old, err) < 0)
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Automation with id '%.*s' not found.", STR_ARG(id)) : -1;
    if (client_json(cli_client(x), x->a, "PUT", str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), json_text(x->a, items.v[0]), &old, err) < 0)
        return -1;
    cli_ok(x, "Updated automation with id '%.*s'", STR_ARG(id));
    return cli_result_at(x, str_fmt(x->a, "/automations/%.*s", STR_ARG(id)), err);
}

#define NAME {"name", "Its name", .optional = true}
#define OPTION_ID {"id", NULL, VALUE_UUID, 0, "Its id, instead of the name"}
#define OPTIONS_FROM {"from-file", "f", VALUE_PATH, 0, "JSON or YAML file with one automation, or a list"}, {"from-json", "j", VALUE_JSON, 0, "The same, given here"}

static const struct command commands[] = {
    {.name = "ls", .summary = "List automations", .run = ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show automations of a name, or one", .run = inspect, .args = ARGS(NAME),
     .options = OPTIONS(OPTION_ID, {"yaml", NULL, VALUE_FLAG, 0, "As YAML, which it is anyway"}, {"json", NULL, VALUE_FLAG, 0, "As JSON"},
                        {"format", "o", VALUE_TEXT, 0, "json or yaml", .alias = "output"})},
    {.name = "pause", .alias = "disable", .summary = "Let an automation do nothing", .run = pause_automation, .args = ARGS(NAME), .options = OPTIONS(OPTION_ID, OPTION_YES, OPTION_OUTPUT)},
    {.name = "resume", .alias = "enable", .summary = "Put a paused automation to work again", .run = resume, .args = ARGS(NAME), .options = OPTIONS(OPTION_ID, OPTION_YES, OPTION_OUTPUT)},
    {.name = "create", .summary = "Make automations", .run = create, .options = OPTIONS(OPTIONS_FROM, OPTION_OUTPUT)},
    {.name = "update", .summary = "Replace an automation", .run = update, .options = OPTIONS({"id", NULL, VALUE_UUID, OPTION_REQUIRED, "Its id"}, OPTIONS_FROM, OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete an automation", .run = delete_automation, .args = ARGS(NAME),
     .options = OPTIONS(OPTION_ID, {"all", NULL, VALUE_FLAG, 0, "All that there are"}, OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_automation = {.name = "automation", .alias = "automations", .summary = "What is done when something happens", .commands = commands};
