#include "cli/cli.h"
#include "cli/commands.h"

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "Created"},
    };
    struct items flows;
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 15;
    if (args_flag(&x->args, "all", false))
        limit = INT_NONE;
    if (api_list(x, STR("/flows/filter"), STR("\"sort\":\"CREATED_DESC\""), limit, &flows, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &flows);
        return 0;
    }
    if (!flows.n) {
        cli_ok(x, "No flows found.");
        return 0;
    }
    struct table *t = table_create(x->a, "Flows", columns, COUNT_OF(columns));
    for (size_t i = 0; i < flows.n; i++) {
        table_cell(t, field(flows.v[i], "id"));
        table_cell(t, field(flows.v[i], "name"));
        table_cell(t, text_time(x->a, field_time(flows.v[i], "created")));
    }
    cli_table(x, t);
    return 0;
}

static const struct command commands[] = {
    {.name = "ls", .summary = "List flows", .run = ls,
     .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (15)"}, {"all", NULL, VALUE_FLAG, OPTION_NO_NEG, "As many as there are"}, OPTION_OUTPUT)},
    {0},
};

static const struct command *const groups[] = {&command_flow_serve, NULL};

const struct command command_flow = {.name = "flow", .alias = "flows", .summary = "Flows that the server knows", .groups = groups, .commands = commands};
