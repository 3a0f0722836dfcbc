#include "cli/cli.h"
#include "cli/commands.h"

static Str variable_path(struct cli *x, Str name)
{
    Str segment = url_segment(x->a, name);
    return str_fmt(x->a, "/variables/name/%.*s", STR_ARG(segment));
}

static int find(struct cli *x, const struct json **ret, struct err *err)
{
    Str name = args_text(&x->args, "name");
    if (api_get(x, variable_path(x, name), ret, err) == 0)
        return 0;
    Str quoted = text_quoted(x->a, name);
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Variable %.*s not found.", STR_ARG(quoted)) : -1;
}

static int by_name(const struct json *x, const struct json *y)
{
    return str_cmp(field(x, "name"), field(y, "name"));
}

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Name", .style = STYLE_BLUE},
        {.title = "Value", .style = STYLE_BLUE, .most = 50},
        {.title = "Created", .style = STYLE_BLUE},
        {.title = "Updated", .style = STYLE_BLUE},
    };
    struct items variables;
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 100;
    if (api_list(x, STR("/variables/filter"), STR(""), limit, &variables, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &variables);
        return 0;
    }
    items_sort(&variables, by_name);
    struct table *t = table_create(x->a, "Variables", columns, COUNT_OF(columns));
    table_caption(t, str_fmt(x->a, "`%s variable inspect NAME` shows one in full", x->program).p, NULL);
    for (size_t i = 0; i < variables.n; i++) {
        const struct json *v = variables.v[i], *value = json_getz(v, "value");
        table_cell(t, field(v, "name"));
        table_cell(t, value ? json_text(x->a, value) : STR("null"));
        table_cell(t, text_relative(x->a, field_time(v, "created"), x->now));
        table_cell(t, text_relative(x->a, field_time(v, "updated"), x->now));
    }
    cli_table(x, t);
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *v;
    if (find(x, &v, err) < 0)
        return -1;
    cli_show(x, v);
    return 0;
}

static int get(struct cli *x, struct err *err)
{
    const struct json *v;
    if (find(x, &v, err) < 0)
        return -1;
    const struct json *value = json_getz(v, "value");
    Str text = value ? json_text(x->a, value) : STR("null");
    cli_put(x, "%.*s\n", STR_ARG(text));
    return 0;
}

static int set(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), quoted = text_quoted(x->a, name), text = args_text(&x->args, "value");
    struct err ignored;
    const struct json *value = json_parse(x->a, text, &ignored), *old;
    if (!value)
        value = json_new_str(x->a, text);
    bool exists = find(x, &old, err) == 0;
    if (!exists && err->code != ERR_NOT_FOUND)
        return -1;
    if (exists && !args_flag(&x->args, "overwrite", false))
        return err_set(err, ERR_CONFLICT, "Variable %.*s already exists. `--overwrite` changes it.", STR_ARG(quoted));
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    struct strs tags = args_list(&x->args, "tag");
    jw_object(&w);
    jw_kstr(&w, "name", name);
    jw_kvalue(&w, "value", value);
    if (args_given(&x->args, "tag") || x->as_prefect || !exists) {
        jw_key(&w, STR("tags"));
        jw_array(&w);
        for (size_t i = 0; i < tags.n; i++)
            jw_str(&w, tags.v[i]);
        jw_end(&w);
    }
    jw_end(&w);
    if (exists ? api_patch(x, variable_path(x, name), buf_view(&b), err) < 0 : api_post(x, STR("/variables/"), buf_view(&b), NULL, err) < 0)
        return -1;
    cli_say(x, "Set variable %.*s.\n", STR_ARG(quoted));
    return cli_result_at(x, variable_path(x, name), err);
}

static int unset(struct cli *x, struct err *err)
{
    const struct json *v;
    Str name = args_text(&x->args, "name"), quoted = text_quoted(x->a, name), question = str_fmt(x->a, "Delete variable %.*s?", STR_ARG(quoted));
    if (find(x, &v, err) < 0 || cli_confirm(x, question.p, "Unset aborted.", err) < 0 || api_delete(x, variable_path(x, name), err) < 0)
        return -1;
    cli_say(x, "Unset variable %.*s.\n", STR_ARG(quoted));
    cli_result(x, v);
    return 0;
}

#define NAME {"name", "Its name"}

static const struct command commands[] = {
    {.name = "ls", .summary = "List variables", .run = ls, .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (100)"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a variable", .run = inspect, .args = ARGS(NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "get", .summary = "Print a variable's value", .run = get, .args = ARGS(NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "set", .summary = "Set a variable", .run = set, .args = ARGS(NAME, {"value", "JSON, or a text"}),
     .options = OPTIONS({"overwrite", NULL, VALUE_FLAG, 0, "Also where it exists"}, {"tag", NULL, VALUE_TEXT, OPTION_LIST, "A tag"}, OPTION_OUTPUT)},
    {.name = "unset", .alias = "delete", .summary = "Delete a variable", .run = unset, .args = ARGS(NAME), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_variable = {.name = "variable", .summary = "Values by name, kept on the server", .commands = commands};
