#include "cli/commands.h"
#include "cli/files.h"
#include "cli/pools.h"

static int write_body(struct buf *b, struct err *err)
{
    return b->overflow ? err_set(err, ERR_TOO_LARGE, "the request is over %zu MB", LIMIT_BODY >> 20) : 0;
}

static const char *status_text(const struct json *pool)
{
    Str status = field(pool, "status");
    return str_eq(status, STR("READY")) ? "Ready" : str_eq(status, STR("PAUSED")) ? "Paused" : "Not ready";
}

static void print_summary(struct cli *x, const struct json *pool)
{
    if (x->json) {
        text_json(&x->out, pool);
        return;
    }
    Str id = field(pool, "id"), type = field(pool, "type"), description = field(pool, "description");
    Str name = url_segment(x->a, field(pool, "name")), url = ui_page(x, "/work-pools/work-pool/%.*s", STR_ARG(name));
    cli_put(x, "└── UUID: %.*s\n", STR_ARG(id));
    cli_put(x, "└── Type: %.*s\n", STR_ARG(type));
    cli_put(x, "└── Description: %.*s\n", description.n ? (int)description.n : 4, description.n ? description.p : "None");
    cli_put(x, "└── Status: %s\n", status_text(pool));
    cli_put(x, "└── URL: %.*s\n\n", STR_ARG(url));
}

/* Asks for a type where none was given. */
static int choose_type(struct cli *x, Str *ret, struct err *err)
{
    struct items records;
    struct strs rows = {0};
    if (!cli_interactive(x))
        return err_set(err, ERR_INVALID, "nobody can be asked here which type the pool has: give it with `--type`");
    if (pool_type_records(x, &records, err) < 0)
        return -1;
    for (size_t i = 0; i < records.n; i++) {
        Str type = field(records.v[i], "type"), title = field(records.v[i], "display_name");
        vec_push(x->a, &rows, str_fmt(x->a, "%-28.*s %.*s", STR_ARG(type), STR_ARG(title)));
    }
    int k = cli_choose(x, "Where shall the pool's flows run", rows.v, rows.n, err);
    if (k < 0)
        return -1;
    *ret = field(records.v[k], "type");
    return 0;
}

/* --set-as-default: the pool of deployments that name none, in the active profile. */
static int set_as_default(struct cli *x, Str name, struct err *err)
{
    struct profiles *p = settings_profiles(x->settings);
    Str active = settings_profile(x->settings);
    struct profile *f = profiles_find(p, active);
    if (!f) {
        const struct profile *below = settings_profile_find(x->settings, active);
        f = profiles_add(p, active);
        for (size_t i = 0; below && i < below->settings.n; i++)
            profile_set(p, f, below->settings.v[i].key, below->settings.v[i].value);
    }
    if (!p->active.p)
        p->active = active;
    const struct setting *row = setting_find(STR("deployments.default_work_pool_name"));
    Str key = setting_env(x->a, row, settings_prefix(x->settings));
    profile_set(p, f, key, name);
    if (profiles_save(p, err) < 0)
        return -1;
    if (x->json)
        return 0;
    cli_put(x, "Deployments that name no pool now go to it (profile '%.*s'); another one is set by\n\n\t", STR_ARG(active));
    cli_styled(x, STYLE_BLUE, "%s config set %.*s=<work-pool-name>", x->program, STR_ARG(key));
    cli_put(x, "\n\n");
    return 0;
}

static int overwrite(struct cli *x, Str name, const struct json *template, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    if (args_given(&x->args, "paused"))
        jw_kbool(&w, "is_paused", args_flag(&x->args, "paused", false));
    if (template)
        jw_kvalue(&w, "base_job_template", template);
    jw_end(&w);
    if (write_body(&b, err) < 0 || api_patch(x, pool_path(x->a, name), buf_view(&b), err) < 0)
        return -1;
    const struct json *pool;
    if (pool_get(x, name, &pool, err) < 0)
        return -1;
    Str quoted = text_quoted(x->a, name);
    cli_ok(x, "Updated work pool %.*s!", STR_ARG(quoted));
    cli_say(x, "\n");
    print_summary(x, pool);
    return 0;
}

static int post_pool(struct cli *x, Str name, Str type, const struct json *template, const struct json **ret, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "name", name);
    jw_kstr(&w, "type", type);
    jw_kvalue(&w, "base_job_template", template);
    jw_kbool(&w, "is_paused", args_flag(&x->args, "paused", false));
    jw_end(&w);
    if (write_body(&b, err) < 0)
        return -1;
    return api_post(x, STR("/work_pools/"), buf_view(&b), ret, err);
}

static int create(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), type = pool_type(args_text(&x->args, "type")),
        file = args_text(&x->args, "base-job-template"), quoted = text_quoted(x->a, name);
    const struct json *template = NULL, *record, *pool;
    if (!str_trim(name).n)
        return err_set(err, ERR_INVALID, "a work pool's name cannot be empty");
    if (file.p && template_read(x, file, &template, err) < 0)
        return -1;
    if (pool_get(x, name, &pool, err) == 0) {
        if (!args_flag(&x->args, "overwrite", false))
            return err_set(err, ERR_CONFLICT, "Work pool named %.*s already exists. `--overwrite` changes it.", STR_ARG(quoted));
        return overwrite(x, name, template, err);
    }
    if (err->code != ERR_NOT_FOUND)
        return -1;
    if (!type.p && choose_type(x, &type, err) < 0)
        return -1;
    if (pool_type_record(x, type, &record, err) < 0)
        return -1;
    if (!template)
        template = json_getz(record, "default_base_job_configuration");
    if (args_flag(&x->args, "provision-infrastructure", false)) {
        if (pool_type_is_push(type))
            return err_set(err, ERR_INVALID, "millpond %s cannot yet provision for pools of type %.*s", MILLPOND_VERSION, STR_ARG(type));
        cli_note(x, "A pool of type '%.*s' needs no infrastructure to be made: automatic provisioning is not supported for it.", STR_ARG(type));
    }
    if (post_pool(x, name, type, template, &pool, err) < 0)
        return -1;
    cli_ok(x, "Created work pool %.*s!", STR_ARG(quoted));
    cli_say(x, "\n");
    if (!x->json && !args_flag(&x->args, "paused", false) && !pool_type_is_push(type) && !pool_type_is_managed(type)) {
        cli_put(x, "Its runs wait for a worker; to start one:\n\n\t");
        cli_styled(x, STYLE_BLUE, "%s worker start --pool %.*s", x->program,
                   STR_ARG((memchr(name.p, ' ', name.n) ? quoted : name)));
        cli_put(x, "\n\n");
    }
    if (args_flag(&x->args, "set-as-default", false) && set_as_default(x, name, err) < 0)
        return -1;
    print_summary(x, pool);
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
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "Type", .style = STYLE_MAGENTA},
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Concurrency Limit", .style = STYLE_RED},
        {.title = "Base Job Template", .style = STYLE_MAGENTA, .most = 80},
    };
    struct items pools;
    if (api_list(x, STR("/work_pools/filter"), STR("\"work_pools\":null"), INT_NONE, &pools, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &pools);
        return 0;
    }
    if (!pools.n) {
        cli_ok(x, "No work pools found.");
        return 0;
    }
    bool verbose = args_flag(&x->args, "verbose", false);
    struct table *t = table_create(x->a, "Work Pools", columns, COUNT_OF(columns) - !verbose);
    table_caption(t, "(**) denotes a paused pool", STYLE_RED);
    items_sort(&pools, newest_first);
    for (size_t i = 0; i < pools.n; i++) {
        const struct json *p = pools.v[i];
        table_cell(t, field(p, "name"));
        if (field_bool(p, "is_paused"))
            table_append(t, STYLE_RED, STR(" (**)"));
        table_cell(t, field(p, "type"));
        table_cell(t, field(p, "id"));
        limit_cell(t, p, "concurrency_limit");
        const struct json *template = json_getz(p, "base_job_template");
        if (verbose)
            table_cell(t, template ? json_text(x->a, template) : STR(""));
    }
    cli_table(x, t);
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *pool;
    if (pool_get(x, args_text(&x->args, "name"), &pool, err) < 0)
        return -1;
    cli_show(x, pool);
    return 0;
}

/* With -o json: the pool as it is after the change. */
static int show_now(struct cli *x, struct err *err)
{
    return cli_result_at(x, pool_path(x->a, args_text(&x->args, "name")), err);
}

/* PATCH with one member. */
static int patch_one(struct cli *x, const char *member, Str value, struct err *err)
{
    Str name = args_text(&x->args, "name");
    Str body = str_fmt(x->a, "{\"%s\":%.*s}", member, STR_ARG(value));
    if (api_patch(x, pool_path(x->a, name), body, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? pool_missing(x, name, err) : -1;
}

static int pause_pool(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    if (patch_one(x, "is_paused", STR("true"), err) < 0)
        return -1;
    cli_ok(x, "Paused work pool %.*s", STR_ARG(quoted));
    return show_now(x, err);
}

static int resume(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    if (patch_one(x, "is_paused", STR("false"), err) < 0)
        return -1;
    cli_ok(x, "Resumed work pool %.*s", STR_ARG(quoted));
    return show_now(x, err);
}

static int set_limit(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name")), limit = args_text(&x->args, "concurrency-limit");
    if (patch_one(x, "concurrency_limit", limit, err) < 0)
        return -1;
    cli_ok(x, "Set concurrency limit for work pool %.*s to %.*s", STR_ARG(quoted), STR_ARG(limit));
    return show_now(x, err);
}

static int clear_limit(struct cli *x, struct err *err)
{
    Str quoted = text_quoted(x->a, args_text(&x->args, "name"));
    if (patch_one(x, "concurrency_limit", STR("null"), err) < 0)
        return -1;
    cli_ok(x, "Cleared concurrency limit for work pool %.*s", STR_ARG(quoted));
    return show_now(x, err);
}

static int update(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), file = args_text(&x->args, "base-job-template"),
        description = args_text(&x->args, "description"), quoted = text_quoted(x->a, name);
    const struct json *template = NULL;
    if (file.p && template_read(x, file, &template, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    if (template)
        jw_kvalue(&w, "base_job_template", template);
    if (args_given(&x->args, "concurrency-limit"))
        jw_kint(&w, "concurrency_limit", args_int(&x->args, "concurrency-limit"));
    if (description.p)
        jw_kstr(&w, "description", description);
    jw_end(&w);
    if (write_body(&b, err) < 0)
        return -1;
    if (api_patch(x, pool_path(x->a, name), buf_view(&b), err) < 0)
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Work pool named %.*s does not exist.", STR_ARG(quoted)) : -1;
    cli_ok(x, "Updated work pool %.*s", STR_ARG(quoted));
    return show_now(x, err);
}

static int delete_pool(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), quoted = text_quoted(x->a, name);
    const struct json *pool;
    if (pool_get(x, name, &pool, err) < 0)
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Work pool %.*s does not exist.", STR_ARG(quoted)) : -1;
    Str question = str_fmt(x->a, "Delete work pool %.*s with its queues?", STR_ARG(quoted));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 || api_delete(x, pool_path(x->a, name), err) < 0)
        return -1;
    cli_ok(x, "Deleted work pool %.*s", STR_ARG(quoted));
    cli_result(x, pool);
    return 0;
}

static int get_template(struct cli *x, struct err *err)
{
    Str type = args_text(&x->args, "type"), file = args_text(&x->args, "file");
    const struct json *record;
    if (!type.p && choose_type(x, &type, err) < 0)
        return -1;
    if (pool_type_record(x, type, &record, err) < 0)
        return -1;
    const struct json *template = json_getz(record, "default_base_job_configuration");
    if (!file.p) {
        text_json(&x->out, template);
        return 0;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    text_json(&b, template);
    return write_body(&b, err) < 0 ? -1 : path_write(x->a, file, buf_view(&b), 0644, err);
}

static int preview(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name");
    int64_t hours = args_given(&x->args, "hours") ? args_int(&x->args, "hours") : 1;
    if (!name.p)
        name = settings_text(x->settings, "deployments.default_work_pool_name");
    if (!name.p)
        return err_set(err, ERR_INVALID, "give the pool's NAME: no pool is set as the default");
    if (hours < 0 || hours > 24 * 366)
        return err_set(err, ERR_INVALID, "--hours is 0 to %d", 24 * 366);
    struct time_text until = time_iso(x->now + hours * HOUR);
    Str path = pool_path(x->a, name);
    path = str_fmt(x->a, "%.*s/get_scheduled_flow_runs", STR_ARG(path));
    const struct json *v;
    if (api_post(x, path, str_fmt(x->a, "{\"scheduled_before\":\"%s\"}", until.s), &v, err) < 0)
        return err->code == ERR_NOT_FOUND ? pool_missing(x, name, err) : -1;
    struct items runs = {0};
    for (size_t i = 0; json_is(v, JSON_ARRAY) && i < v->array.n; i++)
        if (json_getz(&v->array.items[i], "flow_run"))
            vec_push(x->a, &runs, json_getz(&v->array.items[i], "flow_run"));
    if (x->json)
        cli_show_items(x, &runs);
    else if (!runs.n)
        cli_note(x, "No runs are due within %lld hour%s; `--hours` looks further ahead.", (long long)hours, hours == 1 ? "" : "s");
    else
        scheduled_runs_table(x, NULL, &runs);
    return 0;
}

/* The run rows of the slots table: queue (where there is one), run, state, since when. */
static void slot_rows(struct cli *x, struct table *t, const struct json *queue, bool name_queue)
{
    const struct json *runs = json_getz(queue, "flow_runs");
    for (size_t i = 0; json_is(runs, JSON_ARRAY) && i < runs->array.n; i++) {
        const struct json *r = &runs->array.items[i];
        Time since = field_time(r, "start_time");
        if (name_queue)
            table_cell(t, field(queue, "queue_name"));
        table_cell(t, field(r, "name"));
        table_cell(t, field(r, "state_type"));
        table_cell(t, since == TIME_NONE ? STR("N/A") : text_duration(x->a, x->now - since));
    }
}

static int slots(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Queue"}, {.title = "Flow Run", .style = STYLE_GREEN}, {.title = "State"}, {.title = "Duration", .right = true}};
    Str name = args_text(&x->args, "name");
    Str path = pool_path(x->a, name);
    path = str_fmt(x->a, "%.*s/concurrency_status", STR_ARG(path));
    struct table *t = table_create(x->a, NULL, columns, COUNT_OF(columns));
    const struct json *v;
    int64_t pages = 1, shown = 0;
    for (int64_t page = 1; page <= pages && page < 1000; page++) {
        if (api_post(x, path, str_fmt(x->a, "{\"page\":%lld,\"flow_run_limit\":200}", (long long)page), &v, err) < 0)
            return err->code == ERR_NOT_FOUND ? pool_missing(x, name, err) : -1;
        pages = field_int(v, "pages");
        if (x->json) {
            cli_show(x, v);
            return 0;
        }
        if (page == 1) {
            cli_put(x, "\nWork Pool: %.*s\n", STR_ARG(name));
            slots_line(x, field_int(v, "active_slots"), field_int(v, "concurrency_limit"));
            cli_put(x, "\n");
        }
        const struct json *queues = json_getz(v, "queues");
        for (size_t i = 0; json_is(queues, JSON_ARRAY) && i < queues->array.n; i++) {
            const struct json *q = &queues->array.items[i], *runs = json_getz(q, "flow_runs");
            slot_rows(x, t, q, /* name_queue= */ true);
            shown += json_is(runs, JSON_ARRAY) ? (int64_t)runs->array.n : 0;
        }
    }
    if (shown)
        cli_table(x, t);
    else
        cli_styled(x, STYLE_DIM, "No flow runs occupying slots.\n");
    return 0;
}

static int provision(struct cli *x, struct err *err)
{
    const struct json *pool;
    if (pool_get(x, args_text(&x->args, "name"), &pool, err) < 0)
        return -1;
    Str type = field(pool, "type");
    if (!pool_type_is_push(type))
        return err_set(err, ERR_INVALID, "a pool of type '%.*s' is no push pool: there is nothing to provision", STR_ARG(type));
    return err_set(err, ERR_INVALID, "millpond %s cannot yet provision for pools of type %.*s", MILLPOND_VERSION, STR_ARG(type));
}

#define POOL_NAME {"name", "The pool's name"}

static const struct command commands[] = {
    {.name = "create", .summary = "Make a work pool", .run = create, .args = ARGS(POOL_NAME),
     .details = "A pool says where its flows run: in processes of this machine, in a sandbox of the server (managed), in containers, "
                "in a cloud. Its base job template says what a deployment may set.",
     .options = OPTIONS(
         {"type", "t", VALUE_TEXT, 0, "What runs the flows: process, managed, docker, ecs:push, …"},
         {"base-job-template", NULL, VALUE_PATH, 0, "JSON file with the template; else the type's own"},
         {"paused", NULL, VALUE_FLAG, 0, "The pool begins paused"},
         {"set-as-default", NULL, VALUE_FLAG, 0, "Deployments that name no pool go to it"},
         {"provision-infrastructure", NULL, VALUE_FLAG, 0, "Make what a push pool needs in its cloud", .alias = "provision-infra"},
         {"overwrite", NULL, VALUE_FLAG, 0, "Where it exists, change what is given here"}, OPTION_OUTPUT)},
    {.name = "ls", .summary = "List work pools", .run = ls,
     .options = OPTIONS({"verbose", "v", VALUE_FLAG, 0, "Show the templates too"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a work pool", .run = inspect, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "slots", .summary = "Show what occupies a pool's slots", .run = slots, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "pause", .summary = "Start no more runs of a pool", .run = pause_pool, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "resume", .summary = "Start a paused pool's runs again", .run = resume, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "update", .summary = "Change a work pool", .run = update, .args = ARGS(POOL_NAME),
     .options = OPTIONS({"base-job-template", NULL, VALUE_PATH, 0, "JSON file with the template"},
                        {"concurrency-limit", NULL, VALUE_INT, 0, "Most runs at once"},
                        {"description", NULL, VALUE_TEXT, 0, "What it is for"}, OPTION_OUTPUT)},
    {.name = "provision-infrastructure", .alias = "provision-infra", .summary = "Make what a push pool needs in its cloud",
     .run = provision, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a work pool", .run = delete_pool, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {.name = "set-concurrency-limit", .summary = "Bound how many runs a pool has at once", .run = set_limit,
     .args = ARGS(POOL_NAME, {"concurrency-limit", "Most runs at once", VALUE_INT}), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "clear-concurrency-limit", .summary = "Take away a pool's bound", .run = clear_limit, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "get-default-base-job-template", .summary = "Print a type's own base job template", .run = get_template,
     .options = OPTIONS({"type", "t", VALUE_TEXT, 0, "The pool type"}, {"file", "f", VALUE_PATH, 0, "Write it to this file"}, OPTION_OUTPUT)},
    {.name = "preview", .summary = "Show the runs that are due next", .run = preview, .args = ARGS({"name", "The pool's name", .optional = true}),
     .options = OPTIONS({"hours", "h", VALUE_INT, 0, "How far ahead (1)"}, OPTION_OUTPUT)},
    {0},
};

static const struct command *const groups[] = {&command_work_pool_storage, NULL};

const struct command command_work_pool = {
    .name = "work-pool", .alias = "work-pools", .summary = "Where flows run", .groups = groups, .commands = commands};
