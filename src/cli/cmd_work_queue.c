#include "cli/commands.h"
#include "cli/pools.h"

#define DEFAULT_AGENT_POOL "default-agent-pool"

/* " in work pool 'p'" where a pool was named. */
static Str in_pool(struct cli *x)
{
    Str pool = args_text(&x->args, "pool");
    if (!pool.p)
        return STR("");
    Str quoted = text_quoted(x->a, pool);
    return str_fmt(x->a, " in work pool %.*s", STR_ARG(quoted));
}

/* "'q' in work pool 'p'". */
static Str queue_title(struct cli *x)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name")), in = in_pool(x);
    return str_fmt(x->a, "%.*s%.*s", STR_ARG(quoted), STR_ARG(in));
}

/* The queue that NAME (or an id) and --pool mean. */
static int resolve(struct cli *x, const struct json **ret, struct err *err)
{
    Str name = args_text(&x->args, "name"), pool = args_text(&x->args, "pool"), segment = url_segment(x->a, name);
    Uuid id;
    Str path;
    if (uuid_parse(name, &id)) {
        path = str_fmt(x->a, "/work_queues/%s", uuid_text(id).s);
    } else if (pool.p) {
        Str at = pool_path(x->a, pool);
        path = str_fmt(x->a, "%.*s/queues/%.*s", STR_ARG(at), STR_ARG(segment));
    } else {
        path = str_fmt(x->a, "/work_queues/name/%.*s", STR_ARG(segment));
    }
    if (api_get(x, path, ret, err) == 0)
        return 0;
    Str quoted = text_quoted(x->a, name), where = in_pool(x);
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "No work queue named %.*s found%.*s%s", STR_ARG(quoted), STR_ARG(where),
                                                pool.p ? "." : "; `--pool` says whose it is.")
                                      : -1;
}

/* The change; with -o json, the queue as it is then. */
static int patch(struct cli *x, Str body, struct err *err)
{
    const struct json *queue;
    if (resolve(x, &queue, err) < 0)
        return -1;
    Str id = field(queue, "id"), path = str_fmt(x->a, "/work_queues/%.*s", STR_ARG(id));
    if (api_patch(x, path, body, err) < 0)
        return -1;
    return cli_result_at(x, path, err);
}

static int create(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), pool = args_text(&x->args, "pool"), path = STR("/work_queues/");
    Str quoted = text_quoted(x->a, name), where = in_pool(x);
    if (pool.p) {
        Str at = pool_path(x->a, pool);
        path = str_fmt(x->a, "%.*s/queues", STR_ARG(at));
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "name", name);
    if (args_given(&x->args, "limit"))
        jw_kint(&w, "concurrency_limit", args_int(&x->args, "limit"));
    if (args_given(&x->args, "priority"))
        jw_kint(&w, "priority", args_int(&x->args, "priority"));
    jw_end(&w);
    const struct json *queue;
    if (api_post(x, path, buf_view(&b), &queue, err) < 0) {
        if (err->code == ERR_CONFLICT)
            return err_set(err, ERR_CONFLICT, "A work queue named %.*s already exists%.*s.", STR_ARG(quoted), STR_ARG(where));
        if (err->code == ERR_NOT_FOUND && pool.p) {
            return pool_missing(x, pool, err);
        }
        return -1;
    }
    cli_result(x, queue);
    Str id = field(queue, "id"), shown_pool = pool.p ? pool : STR(DEFAULT_AGENT_POOL);
    cli_ok(x, "Created work queue with properties:");
    cli_ok(x, "    name - %.*s", STR_ARG(quoted));
    quoted = text_quoted(x->a, shown_pool);
    cli_ok(x, "    work pool - %.*s", STR_ARG(quoted));
    cli_ok(x, "    id - %.*s", STR_ARG(id));
    int64_t limit = field_int(queue, "concurrency_limit");
    if (limit == INT_NONE)
        cli_ok(x, "    concurrency limit - None");
    else
        cli_ok(x, "    concurrency limit - %lld", (long long)limit);
    cli_ok(x, "\nA worker for this queue alone:");
    cli_ok(x, "    %s worker start --pool %.*s --work-queue %.*s", x->program, STR_ARG(shown_pool), STR_ARG(name));
    cli_ok(x, "The queue as it is:");
    if (pool.p)
        cli_ok(x, "    %s work-queue inspect %.*s --pool %.*s", x->program, STR_ARG(name), STR_ARG(pool));
    else
        cli_ok(x, "    %s work-queue inspect %.*s", x->program, STR_ARG(name));
    return 0;
}

static int set_limit(struct cli *x, struct err *err)
{
    Str limit = args_text(&x->args, "limit"), title = queue_title(x);
    if (patch(x, str_fmt(x->a, "{\"concurrency_limit\":%.*s}", STR_ARG(limit)), err) < 0)
        return -1;
    cli_ok(x, "Concurrency limit of %.*s set on work queue %.*s", STR_ARG(limit), STR_ARG(title));
    return 0;
}

static int clear_limit(struct cli *x, struct err *err)
{
    Str title = queue_title(x);
    if (patch(x, STR("{\"concurrency_limit\":null}"), err) < 0)
        return -1;
    cli_ok(x, "Concurrency limits removed on work queue %.*s", STR_ARG(title));
    return 0;
}

static int pause_queue(struct cli *x, struct err *err)
{
    Str title = queue_title(x);
    Str question = str_fmt(x->a, "Pause work queue %.*s of the default agent pool?", STR_ARG(title));
    if (!args_text(&x->args, "pool").p && cli_confirm(x, question.p, "Work queue pause aborted!", err) < 0)
        return -1;
    if (patch(x, STR("{\"is_paused\":true}"), err) < 0)
        return -1;
    cli_ok(x, "Work queue %.*s paused", STR_ARG(title));
    return 0;
}

static int resume(struct cli *x, struct err *err)
{
    Str title = queue_title(x);
    if (patch(x, STR("{\"is_paused\":false}"), err) < 0)
        return -1;
    cli_ok(x, "Work queue %.*s resumed", STR_ARG(title));
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *queue, *status;
    if (resolve(x, &queue, err) < 0)
        return -1;
    Str id = field(queue, "id");
    if (api_get(x, str_fmt(x->a, "/work_queues/%.*s/status", STR_ARG(id)), &status, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        status = NULL;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (size_t i = 0; json_is(queue, JSON_OBJECT) && i < queue->object.n; i++) {
        jw_key(&w, queue->object.members[i].key);
        jw_value(&w, &queue->object.members[i].value);
    }
    if (status)
        jw_kvalue(&w, "status_details", status);
    jw_end(&w);
    const struct json *both = json_parse(x->a, str_dup(x->a, buf_view(&b)), err);
    if (!both)
        return -1;
    cli_show(x, both);
    return 0;
}

static int newest_first(const struct json *x, const struct json *y)
{
    Time s = field_time(x, "created"), t = field_time(y, "created");
    return s == t ? 0 : s > t ? -1 : 1;
}

static void ls_of_pool(struct cli *x, struct items *queues, Str pool)
{
    static const struct column columns[] = {
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "Priority", .style = STYLE_MAGENTA},
        {.title = "Concurrency Limit", .style = STYLE_BLUE},
        {.title = "Description", .style = STYLE_CYAN, .wrap = true},
    };
    bool verbose = args_flag(&x->args, "verbose", false);
    Str quoted = text_quoted(x->a, pool);
    struct table *t = table_create(x->a, str_fmt(x->a, "Work Queues in Work Pool %.*s", STR_ARG(quoted)).p, columns, COUNT_OF(columns) - !verbose);
    table_caption(t, "(**) denotes a paused queue", STYLE_RED);
    for (size_t i = 0; i < queues->n; i++) {
        const struct json *q = queues->v[i];
        table_cell(t, field(q, "name"));
        if (field_bool(q, "is_paused"))
            table_append(t, STYLE_RED, STR(" (**)"));
        table_cellf(t, "%lld", (long long)field_int(q, "priority"));
        limit_cell(t, q, "concurrency_limit");
        if (verbose)
            table_cell(t, field(q, "description"));
    }
    cli_table(x, t);
}

static void ls_of_all(struct cli *x, struct items *queues)
{
    static const struct column columns[] = {
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "Pool", .style = STYLE_MAGENTA},
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Concurrency Limit", .style = STYLE_BLUE},
        {.title = "Priority", .style = STYLE_MAGENTA},
    };
    struct table *t = table_create(x->a, "Work Queues", columns, COUNT_OF(columns) - !args_flag(&x->args, "verbose", false));
    table_caption(t, "(**) denotes a paused queue", STYLE_RED);
    for (size_t i = 0; i < queues->n; i++) {
        const struct json *q = queues->v[i];
        table_cell(t, field(q, "name"));
        if (field_bool(q, "is_paused"))
            table_append(t, STYLE_RED, STR(" (**)"));
        table_cell(t, field(q, "work_pool_name"));
        table_cell(t, field(q, "id"));
        limit_cell(t, q, "concurrency_limit");
        if (args_flag(&x->args, "verbose", false))
            table_cellf(t, "%lld", (long long)field_int(q, "priority"));
    }
    cli_table(x, t);
}

static int ls(struct cli *x, struct err *err)
{
    Str pool = args_text(&x->args, "pool"), match = args_text(&x->args, "match"), path = STR("/work_queues/filter");
    Str members = STR("\"work_queues\":null");
    if (match.p) {
        Str quoted = json_quote(x->a, match);
        members = str_fmt(x->a, "\"work_queues\":{\"name\":{\"startswith_\":[%.*s]}}", STR_ARG(quoted));
    }
    if (pool.p) {
        Str at = pool_path(x->a, pool);
        path = str_fmt(x->a, "%.*s/queues/filter", STR_ARG(at));
    }
    struct items queues;
    if (api_list(x, path, members, INT_NONE, &queues, err) < 0) {
        Str quoted = text_quoted(x->a, pool.p ? pool : STR(""));
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "No work pool found: %.*s", STR_ARG(quoted)) : -1;
    }
    if (x->json) {
        cli_show_items(x, &queues);
        return 0;
    }
    items_sort(&queues, newest_first);
    if (pool.p)
        ls_of_pool(x, &queues, pool);
    else
        ls_of_all(x, &queues);
    return 0;
}

static int preview(struct cli *x, struct err *err)
{
    Str pool = args_text(&x->args, "pool"), title = queue_title(x), path, body;
    int64_t hours = args_given(&x->args, "hours") ? args_int(&x->args, "hours") : 1;
    if (hours < 0 || hours > 24 * 366)
        return err_set(err, ERR_INVALID, "--hours is 0 to %d", 24 * 366);
    struct time_text until = time_iso(x->now + hours * HOUR);
    const struct json *queue, *v;
    if (resolve(x, &queue, err) < 0)
        return -1;
    if (pool.p) {
        Str at = pool_path(x->a, pool), quoted = json_quote(x->a, field(queue, "name"));
        path = str_fmt(x->a, "%.*s/get_scheduled_flow_runs", STR_ARG(at));
        body = str_fmt(x->a, "{\"work_queue_names\":[%.*s],\"scheduled_before\":\"%s\"}", STR_ARG(quoted), until.s);
    } else {
        Str id = field(queue, "id");
        path = str_fmt(x->a, "/work_queues/%.*s/get_runs", STR_ARG(id));
        body = str_fmt(x->a, "{\"limit\":10,\"scheduled_before\":\"%s\"}", until.s);
    }
    if (api_post(x, path, body, &v, err) < 0)
        return -1;
    struct items runs = {0};
    for (size_t i = 0; json_is(v, JSON_ARRAY) && i < v->array.n; i++) {
        const struct json *run = &v->array.items[i], *inner = json_getz(run, "flow_run");
        vec_push(x->a, &runs, inner ? inner : run);
    }
    if (x->json)
        cli_show_items(x, &runs);
    else if (!runs.n)
        cli_note(x, "No runs are due within %lld hour%s; `--hours` looks further ahead.", (long long)hours, hours == 1 ? "" : "s");
    else
        scheduled_runs_table(x, str_fmt(x->a, "Preview of Work Queue %.*s", STR_ARG(title)).p, &runs);
    return 0;
}

static int read_runs(struct cli *x, struct err *err)
{
    Str title = queue_title(x);
    const struct json *queue, *runs;
    if (resolve(x, &queue, err) < 0)
        return -1;
    Str id = field(queue, "id");
    struct time_text now = time_iso(x->now);
    if (api_post(x, str_fmt(x->a, "/work_queues/%.*s/get_runs", STR_ARG(id)),
                 str_fmt(x->a, "{\"limit\":10,\"scheduled_before\":\"%s\"}", now.s), &runs, err) < 0)
        return -1;
    if (x->json) {
        text_json(&x->out, runs);
        return 0;
    }
    size_t n = json_is(runs, JSON_ARRAY) ? runs->array.n : 0;
    cli_put(x, "Read %zu runs for work queue %.*s\n", n, STR_ARG(title));
    for (size_t i = 0; i < n; i++) {
        Str run = field(&runs->array.items[i], "id"), name = field(&runs->array.items[i], "name");
        cli_put(x, "%.*s %.*s\n", STR_ARG(run), STR_ARG(name));
    }
    return 0;
}

static int slots(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Flow Run", .style = STYLE_GREEN}, {.title = "State"}, {.title = "Duration", .right = true}};
    const struct json *queue, *v;
    if (resolve(x, &queue, err) < 0)
        return -1;
    Str id = field(queue, "id"), name = field(queue, "name");
    if (api_post(x, str_fmt(x->a, "/work_queues/%.*s/concurrency_status", STR_ARG(id)), STR("{\"page\":1}"), &v, err) < 0)
        return -1;
    if (x->json) {
        cli_show(x, v);
        return 0;
    }
    cli_put(x, "\nWork Queue: %.*s\n", STR_ARG(name));
    slots_line(x, field_int(v, "active_slots"), field_int(v, "concurrency_limit"));
    cli_put(x, "\n");
    const struct json *runs = json_getz(v, "flow_runs");
    if (!json_is(runs, JSON_ARRAY) || !runs->array.n) {
        cli_styled(x, STYLE_DIM, "No flow runs occupying slots.\n");
        return 0;
    }
    struct table *t = table_create(x->a, NULL, columns, COUNT_OF(columns));
    for (size_t i = 0; i < runs->array.n; i++) {
        const struct json *r = &runs->array.items[i];
        Time since = field_time(r, "start_time");
        table_cell(t, field(r, "name"));
        table_cell(t, field(r, "state_type"));
        table_cell(t, since == TIME_NONE ? STR("N/A") : text_duration(x->a, x->now - since));
    }
    cli_table(x, t);
    return 0;
}

static int delete_queue(struct cli *x, struct err *err)
{
    Str title = queue_title(x);
    const struct json *queue;
    if (resolve(x, &queue, err) < 0)
        return -1;
    Str id = field(queue, "id"), question = str_fmt(x->a, "Delete work queue %.*s?", STR_ARG(title));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 ||
        api_delete(x, str_fmt(x->a, "/work_queues/%.*s", STR_ARG(id)), err) < 0)
        return -1;
    cli_ok(x, "Successfully deleted work queue %.*s", STR_ARG(title));
    cli_result(x, queue);
    return 0;
}

#define QUEUE_NAME {"name", "The queue's name, or its id"}
#define OPTION_POOL {"pool", "p", VALUE_TEXT, 0, "The queue's work pool"}

static const struct command commands[] = {
    {.name = "create", .summary = "Make a work queue", .run = create, .args = ARGS({"name", "Its name"}),
     .options = OPTIONS({"limit", "l", VALUE_INT, 0, "Most runs at once"}, OPTION_POOL,
                        {"priority", "q", VALUE_INT, 0, "1 is the highest"}, OPTION_OUTPUT)},
    {.name = "set-concurrency-limit", .summary = "Bound how many runs a queue has at once", .run = set_limit,
     .args = ARGS(QUEUE_NAME, {"limit", "Most runs at once", VALUE_INT}), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "clear-concurrency-limit", .summary = "Take away a queue's bound", .run = clear_limit, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "pause", .summary = "Start no more runs of a queue", .run = pause_queue, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_YES, OPTION_OUTPUT)},
    {.name = "resume", .summary = "Start a paused queue's runs again", .run = resume, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a work queue and how it fares", .run = inspect, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "slots", .summary = "Show what occupies a queue's slots", .run = slots, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "ls", .summary = "List work queues", .run = ls,
     .options = OPTIONS({"verbose", "v", VALUE_FLAG, 0, "Show more columns"}, {"match", "m", VALUE_TEXT, 0, "Only names that begin so"},
                        OPTION_POOL, OPTION_OUTPUT)},
    {.name = "preview", .summary = "Show the runs that are due next", .run = preview, .args = ARGS(QUEUE_NAME),
     .options = OPTIONS({"hours", "h", VALUE_INT, 0, "How far ahead (1)"}, OPTION_POOL, OPTION_OUTPUT)},
    {.name = "read-runs", .summary = "Read due runs as a worker would; counts as a poll", .run = read_runs, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a work queue", .run = delete_queue, .args = ARGS(QUEUE_NAME), .options = OPTIONS(OPTION_POOL, OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_work_queue = {
    .name = "work-queue", .alias = "work-queues", .summary = "The lines that runs wait in", .commands = commands};
