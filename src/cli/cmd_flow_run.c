#include "cli/commands.h"
#include "cli/runs.h"

int run_find(struct cli *x, Str id_or_name, const struct json **ret, struct err *err)
{
    Uuid id;
    Str quoted = text_quoted(x->a, id_or_name);
    if (uuid_parse(id_or_name, &id)) {
        if (api_get(x, str_fmt(x->a, "/flow_runs/%s", uuid_text(id).s), ret, err) == 0)
            return 0;
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Flow run %.*s not found!", STR_ARG(quoted)) : -1;
    }
    Str name = json_quote(x->a, id_or_name);
    struct items found;
    if (api_list(x, STR("/flow_runs/filter"), str_fmt(x->a, "\"flow_runs\":{\"name\":{\"any_\":[%.*s]}},\"sort\":\"EXPECTED_START_TIME_DESC\"", STR_ARG(name)), 100,
                 &found, err) < 0)
        return -1;
    if (!found.n)
        return err_set(err, ERR_NOT_FOUND, "Flow run %.*s not found!", STR_ARG(quoted));
    if (found.n > 1) {
        cli_put(x, "%zu runs are called %.*s:\n", found.n, STR_ARG(quoted));
        for (size_t i = 0; i < found.n; i++) {
            Str rid = field(found.v[i], "id"), state = field(found.v[i], "state_name"), when = text_relative(x->a, field_time(found.v[i], "created"), x->now);
            cli_put(x, "  %.*s (%.*s, %.*s)\n", STR_ARG(rid), STR_ARG(state), STR_ARG(when));
        }
        return err_set(err, ERR_CONFLICT, "give the run's id instead of %.*s", STR_ARG(quoted));
    }
    *ret = found.v[0];
    return 0;
}

static int find(struct cli *x, const struct json **ret, struct err *err)
{
    return run_find(x, args_text(&x->args, "id"), ret, err);
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *run;
    if (find(x, &run, err) < 0)
        return -1;
    if (args_flag(&x->args, "web", false)) {
        Str id = field(run, "id"), url = ui_page(x, "/runs/flow-run/%.*s", STR_ARG(id));
        return cli_open_page(x, url, err);
    }
    cli_show(x, run);
    return 0;
}

static int delete_run(struct cli *x, struct err *err)
{
    const struct json *run;
    if (find(x, &run, err) < 0)
        return -1;
    Str id = field(run, "id"), question = str_fmt(x->a, "Delete flow run '%.*s'?", STR_ARG(id));
    if (cli_confirm(x, question.p, "Deletion aborted!", err) < 0 || api_delete(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(id)), err) < 0)
        return -1;
    cli_ok(x, "Successfully deleted flow run '%.*s'.", STR_ARG(id));
    cli_result(x, run);
    return 0;
}

int run_set_state(struct cli *x, Str id, Str state, bool force, struct err *err)
{
    const struct json *v;
    if (api_post(x, str_fmt(x->a, "/flow_runs/%.*s/set_state", STR_ARG(id)),
                 str_fmt(x->a, "{\"state\":%.*s,\"force\":%s}", STR_ARG(state), force ? "true" : "false"), &v, err) < 0)
        return -1;
    if (str_eq(field(v, "status"), STR("ACCEPT")) || (str_eq(field(v, "status"), STR("REJECT")) && !json_is_null(json_getz(v, "state"))))
        return 0;
    Str reason = field(json_getz(v, "details"), "reason"), status = field(v, "status");
    return err_set(err, ERR_CONFLICT, "%.*s", reason.n ? (int)reason.n : (int)status.n, reason.n ? reason.p : status.p);
}

static int cancel(struct cli *x, struct err *err)
{
    const struct json *run;
    if (find(x, &run, err) < 0)
        return -1;
    Str id = field(run, "id");
    if (run_set_state(x, id, STR("{\"type\":\"CANCELLING\",\"name\":\"Cancelling\"}"), /* force= */ false, err) < 0)
        return err->code == ERR_CONFLICT ? err_wrap(err, "Flow run '%.*s' was not cancelled. Reason", STR_ARG(id)) : -1;
    cli_ok(x, "Flow run '%.*s' is scheduled for cancellation.", STR_ARG(id));
    return cli_result_at(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(id)), err);
}

static int retry(struct cli *x, struct err *err)
{
    const struct json *run;
    if (run_find(x, args_text(&x->args, "id-or-name"), &run, err) < 0)
        return -1;
    Str id = field(run, "id"), type = field(run, "state_type"), name = field(run, "state_name");
    if (!state_is_final(type))
        return err_set(err, ERR_CONFLICT, "flow run '%.*s' is %.*s: only a run that has ended can be tried again", STR_ARG(id), STR_ARG(name));
    Str entrypoint = args_text(&x->args, "entrypoint");
    if (!field(run, "deployment_id").n && !entrypoint.p)
        return err_set(err, ERR_INVALID, "flow run '%.*s' has no deployment: say where its code is with --entrypoint path.py:function, and it runs again here", STR_ARG(id));
    struct time_text now = time_iso(x->now);
    Str state = str_fmt(x->a, "{\"type\":\"SCHEDULED\",\"name\":\"Scheduled\",\"message\":\"Tried again by hand\",\"state_details\":{\"scheduled_time\":\"%s\"}}", now.s);
    if (run_set_state(x, id, state, /* force= */ true, err) < 0)
        return err_wrap(err, "flow run '%.*s' is not tried again", STR_ARG(id));
    if (!field(run, "deployment_id").n) {
        cli_say(x, "Running flow run '%.*s' again, here.\n", STR_ARG(id));
        return run_execute(x, run, entrypoint, err);
    }
    cli_ok(x, "Flow run '%.*s' is scheduled to run again.", STR_ARG(id));
    return cli_result_at(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(id)), err);
}

static int execute(struct cli *x, struct err *err)
{
    Str id = args_text(&x->args, "id"), given = str_of(getenv("PREFECT__FLOW_RUN_ID"));
    const struct json *run;
    if (!id.p)
        id = given;
    if (!id.n)
        return err_set(err, ERR_INVALID, "Could not determine the ID of the flow run to execute. Give it, or set PREFECT__FLOW_RUN_ID.");
    if (run_find(x, id, &run, err) < 0)
        return -1;
    if (state_is_final(field(run, "state_type"))) {
        Str name = field(run, "state_name");
        return err_set(err, ERR_CONFLICT, "flow run '%.*s' is %.*s: it has ended", STR_ARG(id), STR_ARG(name));
    }
    return run_execute(x, run, STR_NONE, err);
}

static int logs(struct cli *x, struct err *err)
{
    bool head = args_flag(&x->args, "head", false), tail = args_flag(&x->args, "tail", false), reverse = args_flag(&x->args, "reverse", false),
         follow = args_flag(&x->args, "follow", false);
    int64_t n = args_int(&x->args, "num-logs");
    const struct json *run;
    if (head && tail)
        return err_set(err, ERR_INVALID, "Please provide either a `head` or `tail` option but not both.");
    if (n != INT_NONE && n < 1)
        return err_set(err, ERR_INVALID, "--num-logs is at least 1");
    if (follow && x->json)
        return err_set(err, ERR_INVALID, "--follow shows lines as they come: it does not go with --output json");
    if (follow && (reverse || head || tail || n != INT_NONE))
        return err_set(err, ERR_INVALID, "--follow shows all lines as they come: it goes with none of --head, --tail, --reverse and --num-logs");
    if (find(x, &run, err) < 0)
        return -1;
    if (follow)
        return watch_run(x, run, WATCH_LOGS, 0, &run, err);
    if (n == INT_NONE && (head || tail))
        n = 20;
    Str id = field(run, "id"), name = field(run, "name");
    bool from_end = tail || (reverse && !head);
    struct items records;
    if (api_list(x, STR("/logs/filter"), str_fmt(x->a, "\"logs\":{\"flow_run_id\":{\"any_\":[\"%.*s\"]}},\"sort\":\"%s\"", STR_ARG(id),
                                                 from_end ? "TIMESTAMP_DESC" : "TIMESTAMP_ASC"), n, &records, err) < 0)
        return -1;
    if (from_end != reverse) /* what came one way is shown the other */
        for (size_t i = 0; i < records.n / 2; i++) {
            const struct json *swap = records.v[i];
            records.v[i] = records.v[records.n - 1 - i];
            records.v[records.n - 1 - i] = swap;
        }
    if (x->json) {
        cli_show_items(x, &records);
        return 0;
    }
    for (size_t i = 0; i < records.n; i++)
        log_line(x, "Flow run", name, records.v[i]);
    return 0;
}

static int watch(struct cli *x, struct err *err)
{
    const struct json *run;
    int64_t timeout = args_int(&x->args, "timeout");
    if (find(x, &run, err) < 0)
        return -1;
    Str id = field(run, "id");
    if (state_is_final(field(run, "state_type")))
        cli_note(x, "Flow run '%.*s' is over already.", STR_ARG(id));
    else if (watch_run(x, run, x->json ? WATCH_NOTHING : WATCH_ALL, timeout == INT_NONE ? 0 : timeout * SEC, &run, err) < 0)
        return -1;
    cli_result(x, run);
    Str type = field(run, "state_type"), name = field(run, "state_name");
    if (!str_eq(type, STR("COMPLETED")))
        return err_set(err, ERR_CONFLICT, "Flow run '%.*s' ended in state '%.*s'.", STR_ARG(id), STR_ARG(name));
    cli_ok(x, "Flow run '%.*s' ended in state '%.*s'.", STR_ARG(id), STR_ARG(name));
    return 0;
}

#define RUN_ID {"id", "The run's id, or its name"}

static const struct command commands[] = {
    {.name = "ls", .summary = "List flow runs", .run = flow_run_ls,
     .options = OPTIONS({"flow-name", NULL, VALUE_TEXT, OPTION_LIST, "Only runs of this flow"},
                        {"limit", NULL, VALUE_INT, 0, "At most this many (15)"}, {"all", NULL, VALUE_FLAG, OPTION_NO_NEG, "As many as there are"},
                        {"state", NULL, VALUE_TEXT, OPTION_LIST, "Only runs in a state of this name"},
                        {"state-type", NULL, VALUE_TEXT, OPTION_LIST, "Only runs in a state of this type"},
                        {"pool", NULL, VALUE_TEXT, OPTION_LIST, "Only runs of this work pool"},
                        {"deployment", NULL, VALUE_TEXT, OPTION_LIST, "Only runs of deployments of this name"},
                        {"tag", NULL, VALUE_TEXT, OPTION_LIST, "Only runs with this tag"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a flow run", .run = inspect, .args = ARGS(RUN_ID),
     .options = OPTIONS({"web", NULL, VALUE_FLAG, 0, "Open its page instead"}, OPTION_OUTPUT)},
    {.name = "logs", .summary = "Show a run's log", .run = logs, .args = ARGS(RUN_ID),
     .options = OPTIONS({"head", "h", VALUE_FLAG, 0, "The first lines (20)"}, {"num-logs", "n", VALUE_INT, 0, "How many"},
                        {"reverse", "r", VALUE_FLAG, 0, "Newest first"}, {"tail", "t", VALUE_FLAG, 0, "The last lines (20)"},
                        {"follow", "f", VALUE_FLAG, 0, "Go on as lines come, to the run's end"}, OPTION_OUTPUT)},
    {.name = "watch", .summary = "Follow a run to its end; fails where it fails", .run = watch, .args = ARGS(RUN_ID),
     .options = OPTIONS({"timeout", NULL, VALUE_INT, 0, "Seconds after which to give up"}, OPTION_OUTPUT)},
    {.name = "cancel", .summary = "Cancel a run", .run = cancel, .args = ARGS(RUN_ID), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "retry", .summary = "Run an ended run of a deployment again", .run = retry, .args = ARGS({"id-or-name", "The run's id, or its name"}),
     .details = "A run of a deployment is scheduled anew. One without runs here, with the code that --entrypoint names.",
     .options = OPTIONS({"entrypoint", "e", VALUE_TEXT, 0, "path.py:function, for a run without deployment"}, OPTION_OUTPUT)},
    {.name = "execute", .summary = "Carry out a run here and now", .run = execute, .args = ARGS({"id", "The run's id; else PREFECT__FLOW_RUN_ID", .optional = true}),
     .details = "What a container or a cloud's task is started with: the deployment's pull steps, then the flow, in an empty folder. A cancelled run is stopped, one "
                "that dies is reported. PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR says what SIGTERM means: crash (usual), reschedule, relinquish."},
    {.name = "delete", .summary = "Delete a run and its history", .run = delete_run, .args = ARGS(RUN_ID), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_flow_run = {
    .name = "flow-run", .alias = "flow-runs", .summary = "Single runs of flows", .commands = commands};
