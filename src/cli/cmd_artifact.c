#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/progress.h"

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Key", .style = STYLE_BLUE},
        {.title = "Type", .style = STYLE_BLUE},
        {.title = "Updated"},
    };
    struct items artifacts;
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 100;
    bool all = args_flag(&x->args, "all", false);
    if (api_list(x, all ? STR("/artifacts/filter") : STR("/artifacts/latest/filter"), STR("\"sort\":\"KEY_ASC\""), limit, &artifacts, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &artifacts);
        return 0;
    }
    struct table *t = table_create(x->a, "Artifacts", columns, COUNT_OF(columns));
    if (!all)
        table_caption(t, "The newest of each key; `--all` shows the others too", NULL);
    for (size_t i = 0; i < artifacts.n; i++) {
        const struct json *v = artifacts.v[i];
        table_cell(t, all ? field(v, "id") : field(v, "latest_id").n ? field(v, "latest_id") : field(v, "id"));
        table_cell(t, field(v, "key"));
        table_cell(t, field(v, "type"));
        table_cell(t, text_relative(x->a, field_time(v, "updated"), x->now));
    }
    cli_table(x, t);
    return 0;
}

static int of_key(struct cli *x, Str key, int64_t limit, struct items *ret, struct err *err)
{
    Str quoted = json_quote(x->a, key);
    if (api_list(x, STR("/artifacts/filter"), str_fmt(x->a, "\"artifacts\":{\"key\":{\"any_\":[%.*s]}},\"sort\":\"UPDATED_DESC\"", STR_ARG(quoted)), limit, ret, err) < 0)
        return -1;
    quoted = text_quoted(x->a, key);
    return ret->n ? 0 : err_set(err, ERR_NOT_FOUND, "No artifacts found with key %.*s", STR_ARG(quoted));
}

static int inspect(struct cli *x, struct err *err)
{
    struct items artifacts;
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 10;
    if (of_key(x, args_text(&x->args, "key"), limit, &artifacts, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &artifacts);
        return 0;
    }
    for (size_t i = 0; i < artifacts.n; i++) {
        if (i)
            cli_put(x, "---\n");
        cli_show(x, artifacts.v[i]);
    }
    return 0;
}

static int delete_artifact(struct cli *x, struct err *err)
{
    Str key = args_text(&x->args, "key"), id = args_text(&x->args, "id");
    struct items artifacts = {0};
    if (!key.p == !id.p)
        return err_set(err, ERR_INVALID, key.p ? "Please provide either a key or an artifact id but not both." : "Key or id must be provided.");
    if (key.p && of_key(x, key, INT_NONE, &artifacts, err) < 0)
        return -1;
    if (id.p && x->json) { /* what is gone can be shown only if it is read before */
        const struct json *v;
        if (api_get(x, str_fmt(x->a, "/artifacts/%.*s", STR_ARG(id)), &v, err) < 0)
            return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Artifact with id '%.*s' not found.", STR_ARG(id)) : -1;
        vec_push(x->a, &artifacts, v);
    }
    Str question = key.p ? str_fmt(x->a, "Delete %zu artifact(s) with key '%.*s'?", artifacts.n, STR_ARG(key)) : str_fmt(x->a, "Delete artifact '%.*s'?", STR_ARG(id));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0)
        return -1;
    if (id.p) {
        if (api_delete(x, str_fmt(x->a, "/artifacts/%.*s", STR_ARG(id)), err) < 0)
            return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Artifact with id '%.*s' not found.", STR_ARG(id)) : -1;
        cli_ok(x, "Deleted artifact '%.*s'.", STR_ARG(id));
        cli_result_items(x, &artifacts);
        return 0;
    }
    for (size_t i = 0; i < artifacts.n; i++) {
        id = field(artifacts.v[i], "id");
        progress_steps(x, "Deleting", i, artifacts.n);
        if (api_delete(x, str_fmt(x->a, "/artifacts/%.*s", STR_ARG(id)), err) < 0 && err->code != ERR_NOT_FOUND)
            return -1;
    }
    progress_clear(x);
    cli_ok(x, "Deleted %zu artifact(s) with key '%.*s'.", artifacts.n, STR_ARG(key));
    cli_result_items(x, &artifacts);
    return 0;
}

static const struct command commands[] = {
    {.name = "ls", .summary = "List artifacts", .run = ls,
     .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (100)"}, {"all", "a", VALUE_FLAG, 0, "Older ones of a key too"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a key's artifacts", .run = inspect, .args = ARGS({"key", "The key"}),
     .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (10)"}, OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a key's artifacts, or one", .run = delete_artifact, .args = ARGS({"key", "The key", .optional = true}),
     .options = OPTIONS({"id", NULL, VALUE_UUID, 0, "One artifact, by its id"}, OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_artifact = {.name = "artifact", .summary = "What runs leave to be looked at", .commands = commands};
