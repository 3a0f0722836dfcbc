#include "cli/commands.h"
#include "cli/runs.h"

static int find(struct cli *x, const struct json **ret, struct err *err)
{
    Str id = args_text(&x->args, "id");
    if (api_get(x, str_fmt(x->a, "/task_runs/%.*s", STR_ARG(id)), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Task run '%.*s' not found!", STR_ARG(id)) : -1;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *run;
    if (find(x, &run, err) < 0)
        return -1;
    if (args_flag(&x->args, "web", false)) {
        Str id = field(run, "id");
        return cli_open_page(x, ui_page(x, "/runs/task-run/%.*s", STR_ARG(id)), err);
    }
    cli_show(x, run);
    return 0;
}

static int logs(struct cli *x, struct err *err)
{
    bool head = args_flag(&x->args, "head", false), tail = args_flag(&x->args, "tail", false), reverse = args_flag(&x->args, "reverse", false);
    int64_t n = args_given(&x->args, "num-logs") ? args_int(&x->args, "num-logs") : head || tail || x->as_prefect ? 20 : INT_NONE;
    const struct json *run;
    if (head && tail)
        return err_set(err, ERR_INVALID, "Please provide either a `head` or `tail` option but not both.");
    if (n != INT_NONE && n < 1)
        return err_set(err, ERR_INVALID, "--num-logs is at least 1");
    if (find(x, &run, err) < 0)
        return -1;
    Str id = field(run, "id"), name = field(run, "name");
    bool from_end = tail || (reverse && !head);
    struct items records;
    if (api_list(x, STR("/logs/filter"), str_fmt(x->a, "\"logs\":{\"task_run_id\":{\"any_\":[\"%.*s\"]}},\"sort\":\"%s\"", STR_ARG(id),
                                                 from_end ? "TIMESTAMP_DESC" : "TIMESTAMP_ASC"), n, &records, err) < 0)
        return -1;
    if (x->json && from_end == reverse) {
        cli_show_items(x, &records);
        return 0;
    }
    for (size_t i = 0; i < records.n; i++)
        log_line(x, "Task run", name, records.v[from_end == reverse ? i : records.n - 1 - i]);
    return 0;
}

#define RUN_ID {"id", "The run's id", VALUE_UUID}

static const struct command commands[] = {
    {.name = "ls", .summary = "List task runs", .run = task_run_ls,
     .options = OPTIONS({"task-run-name", NULL, VALUE_TEXT, OPTION_LIST, "Only runs of this name"}, {"limit", NULL, VALUE_INT, 0, "At most this many (15)"}, {"all", NULL, VALUE_FLAG, OPTION_NO_NEG, "As many as there are"},
                        {"state", NULL, VALUE_TEXT, OPTION_LIST, "Only runs in a state of this name"}, {"state-type", NULL, VALUE_TEXT, OPTION_LIST, "Only runs in a state of this type"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a task run", .run = inspect, .args = ARGS(RUN_ID), .options = OPTIONS({"web", NULL, VALUE_FLAG, 0, "Open its page instead"}, OPTION_OUTPUT)},
    {.name = "logs", .summary = "Show a task run's log", .run = logs, .args = ARGS(RUN_ID),
     .options = OPTIONS({"head", "h", VALUE_FLAG, 0, "The first lines (20)"}, {"num-logs", "n", VALUE_INT, 0, "How many"}, {"reverse", "r", VALUE_FLAG, 0, "Newest first"},
                        {"tail", "t", VALUE_FLAG, 0, "The last lines (20)"}, OPTION_OUTPUT)},
    {0},
};

const struct command command_task_run = {.name = "task-run", .alias = "task-runs", .summary = "Single runs of tasks", .commands = commands};
