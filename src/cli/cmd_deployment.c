#include "cli/commands.h"
#include "cli/deployments.h"
#include "cli/files.h"
#include "cli/guess.h"
#include "cli/progress.h"
#include "cli/runs.h"

#include <stdio.h>

/* "Deployment 'f/d' not found! Did you mean 'f/e'?" */
static int deployment_missing(struct cli *x, Str name, struct err *err)
{
    struct items deployments, flows;
    struct guesses g = {.word = name};
    struct err ignored;
    if (api_list(x, STR("/deployments/filter"), STR(""), INT_NONE, &deployments, &ignored) == 0 && deployments.n &&
        api_list(x, STR("/flows/filter"), STR(""), INT_NONE, &flows, &ignored) == 0)
        for (size_t i = 0; i < deployments.n; i++) {
            Str flow = field(items_find(&flows, "id", field(deployments.v[i], "flow_id")), "name"), own = field(deployments.v[i], "name");
            guess_try(&g, str_fmt(x->a, "%.*s/%.*s", STR_ARG(flow), STR_ARG(own)));
        }
    Str quoted = text_quoted(x->a, name), near = guess_text(x->a, &g);
    return err_set(err, ERR_NOT_FOUND, "Deployment %.*s not found!%s%.*s%s", STR_ARG(quoted), near.n ? " Did you mean " : "", STR_ARG(near), near.n ? "?" : "");
}

int deployment_find(struct cli *x, Str name, const struct json **ret, struct err *err)
{
    Str rest = name, flow, quoted = text_quoted(x->a, name);
    if (!memchr(name.p, '/', name.n) || !str_cut(&rest, '/', &flow) || !flow.n || !rest.n)
        return err_set(err, ERR_INVALID, "Invalid deployment name %.*s: its form is <flow-name>/<deployment-name>", STR_ARG(quoted));
    flow = url_segment(x->a, flow);
    rest = url_segment(x->a, rest);
    if (api_get(x, str_fmt(x->a, "/deployments/name/%.*s/%.*s", STR_ARG(flow), STR_ARG(rest)), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? deployment_missing(x, name, err) : -1;
}

static int deployment_by_id(struct cli *x, Str text, const struct json **ret, struct err *err)
{
    Uuid id;
    if (!uuid_parse(text, &id))
        return err_set(err, ERR_INVALID, "--id: \"%.*s\" is not a UUID", STR_ARG(text));
    if (api_get(x, str_fmt(x->a, "/deployments/%s", uuid_text(id).s), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Deployment '%s' not found!", uuid_text(id).s) : -1;
}

/* By NAME or --id, one of the two. */
static int find(struct cli *x, const struct json **ret, struct err *err)
{
    Str name = args_text(&x->args, "name"), id = args_text(&x->args, "id");
    if (name.p && id.p)
        return err_set(err, ERR_INVALID, "Must provide either a deployment's name or its id, but not both.");
    if (!name.p && !id.p)
        return err_set(err, ERR_INVALID, "Must provide a deployment's name or its id.");
    return name.p ? deployment_find(x, name, ret, err) : deployment_by_id(x, id, ret, err);
}

/* --- run --- */

struct launch {
    const struct json *deployment, *flow;
    Str title;                 /* flow/deployment */
    struct map parameters;     /* given: name to a Str of JSON */
    struct map job_variables;
    Time due;
    Str name;
};

/* --params, then --param over it. */
static int read_parameters(struct cli *x, struct launch *l, struct err *err)
{
    Str text = args_text(&x->args, "params");
    if (text.p && str_eq(text, STR("-")) && path_read(x->a, text, &text, err) < 0)
        return -1;
    const struct json *given = text.p ? json_parse(x->a, text, err) : NULL;
    if (text.p && !given)
        return err_wrap(err, "--params");
    if (given && !json_is(given, JSON_OBJECT))
        return err_set(err, ERR_INVALID, "--params is a JSON object, name to value");
    struct map single = {0};
    if (pairs_json(x->a, args_list(&x->args, "param"), "param", &single, err) < 0)
        return -1;
    for (size_t i = 0; given && i < given->object.n; i++) {
        Str *value = arena_new(x->a, Str);
        *value = json_text(x->a, &given->object.members[i].value);
        *map_at(x->a, &l->parameters, given->object.members[i].key) = value;
    }
    for (size_t i = 0; i < single.n; i++) {
        Str key = single.entries[i].key;
        if (map_get(&l->parameters, key))
            cli_note(x, "'%.*s' stands in --params and in --param: the latter counts.", STR_ARG(key));
        *map_at(x->a, &l->parameters, key) = single.entries[i].value;
    }
    return 0;
}

/* The server checks values; a name that is none of the flow's is told here, with those that are. */
static int check_parameters(struct cli *x, const struct launch *l, struct err *err)
{
    const struct json *known = json_path(l->deployment, "parameter_openapi_schema.properties");
    if (!json_is(known, JSON_OBJECT))
        return 0;
    Str unknown = STR(""), all = STR("");
    for (size_t i = 0; i < l->parameters.n; i++) {
        Str key = l->parameters.entries[i].key;
        if (!json_get(known, key))
            unknown = str_fmt(x->a, "%.*s%s'%.*s'", STR_ARG(unknown), unknown.n ? ", " : "", STR_ARG(key));
    }
    for (size_t i = 0; i < known->object.n; i++)
        all = str_fmt(x->a, "%.*s%s'%.*s'", STR_ARG(all), i ? ", " : "", STR_ARG(known->object.members[i].key));
    if (!unknown.n)
        return 0;
    return err_set(err, ERR_INVALID, "the flow has no parameters %.*s\nit has: %.*s", STR_ARG(unknown), all.n ? (int)all.n : 4, all.n ? all.p : "none");
}

static int read_due(struct cli *x, struct launch *l, struct err *err)
{
    Str in = args_text(&x->args, "start-in"), at = args_text(&x->args, "start-at");
    Dur span;
    l->due = x->now;
    if (in.p && at.p)
        return err_set(err, ERR_INVALID, "Only one of `--start-in` or `--start-at` can be set, not both.");
    if (in.p) {
        Str bare = str_starts(in, STR("in ")) ? str_sub(in, 3, SIZE_MAX) : in;
        if (!text_span(bare, &span))
            return err_set(err, ERR_INVALID, "Unable to parse scheduled start time '%.*s': try '5 minutes' or '2 hours'", STR_ARG(in));
        l->due = x->now + span;
    }
    if (at.p && !text_when(at, x->now, &l->due))
        return err_set(err, ERR_INVALID, "Unable to parse scheduled start time '%.*s': try '5:30pm', 'tomorrow 9am' or an ISO 8601 time", STR_ARG(at));
    return 0;
}

/* A parameter's value, given or of the deployment, as text for a run's name; false where there is none. */
static bool parameter_text(struct cli *x, const struct launch *l, Str key, Str *ret)
{
    const Str *given = map_get(&l->parameters, key);
    struct err ignored;
    const struct json *v = given ? json_parse(x->a, *given, &ignored) : json_get(json_getz(l->deployment, "parameters"), key);
    if (!v)
        return false;
    AUTO(buf_free) struct buf b = BUF(LIMIT_PARAMETERS);
    if (v->kind == JSON_STRING)
        buf_str(&b, v->string);
    else
        text_python(&b, v);
    *ret = str_dup(x->a, buf_view(&b));
    return true;
}

/* --flow-run-name with its {parameter} places filled; {{ and }} are braces. */
static int fill_name(struct cli *x, struct launch *l, struct err *err)
{
    Str text = args_text(&x->args, "flow-run-name");
    if (!text.p)
        return 0;
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if ((c == '{' || c == '}') && i + 1 < text.n && text.p[i + 1] == c) {
            buf_char(&b, c);
            i++;
            continue;
        }
        if (c != '{') {
            buf_char(&b, c);
            continue;
        }
        const char *end = memchr(text.p + i, '}', text.n - i);
        Str key = end ? str_sub(text, i + 1, (size_t)(end - text.p) - i - 1) : STR(""), value;
        if (!end || !parameter_text(x, l, key, &value))
            return err_set(err, ERR_INVALID, "--flow-run-name: there is no parameter '%.*s' to put in", STR_ARG(key));
        buf_str(&b, value);
        i = (size_t)(end - text.p);
    }
    l->name = str_dup(x->a, buf_view(&b));
    return 0;
}

static void put_map(struct jw *w, const struct map *m)
{
    jw_object(w);
    for (size_t i = 0; i < m->n; i++) {
        jw_key(w, m->entries[i].key);
        jw_raw(w, *(Str *)m->entries[i].value);
    }
    jw_end(w);
}

static int launch_post(struct cli *x, const struct launch *l, const struct json **ret, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("state"));
    jw_object(&w);
    jw_kz(&w, "type", "SCHEDULED");
    jw_kz(&w, "name", "Scheduled");
    jw_key(&w, STR("state_details"));
    jw_object(&w);
    jw_ktime(&w, "scheduled_time", l->due);
    jw_end(&w);
    jw_end(&w);
    if (l->name.p)
        jw_kstr(&w, "name", l->name);
    jw_key(&w, STR("parameters"));
    put_map(&w, &l->parameters);
    if (l->job_variables.n) {
        jw_key(&w, STR("job_variables"));
        put_map(&w, &l->job_variables);
    }
    struct strs tags = args_list(&x->args, "tag");
    if (tags.n) {
        jw_key(&w, STR("tags"));
        jw_array(&w);
        for (size_t i = 0; i < tags.n; i++)
            jw_str(&w, tags.v[i]);
        jw_end(&w);
    }
    jw_end(&w);
    if (b.overflow)
        return err_set(err, ERR_TOO_LARGE, "the parameters are over %zu MB", LIMIT_BODY >> 20);
    Str id = field(l->deployment, "id");
    if (api_post(x, str_fmt(x->a, "/deployments/%.*s/create_flow_run", STR_ARG(id)), buf_view(&b), ret, err) < 0)
        return err->code == ERR_IO || err->code == ERR_AUTH || str_starts(str_of(err->text), STR("Error creating flow run"))
                   ? -1
                   : err_wrap(err, "Error creating flow run");
    return 0;
}

static Str python_text(struct cli *x, const struct json *v)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY * 4);
    text_python(&b, v);
    return str_dup(x->a, buf_view(&b));
}

/* "2026-11-23 18:35:00 UTC" in the machine's zone. */
static Str local_text(struct cli *x, Time t)
{
    time_t seconds = (time_t)(t / SEC);
    struct tm tm;
    char text[64];
    if (!localtime_r(&seconds, &tm) || !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &tm))
        return text_time(x->a, t);
    return str_dup(x->a, str_of(text));
}

static void print_created(struct cli *x, const struct launch *l, const struct json *run)
{
    Str name = field(run, "name"), id = field(run, "id"), parameters = python_text(x, json_getz(run, "parameters")),
        url = ui_page(x, "/runs/flow-run/%.*s", STR_ARG(id)), when = local_text(x, l->due);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    put_map(&w, &l->job_variables);
    struct err ignored;
    Str variables = python_text(x, json_parse(x->a, str_dup(x->a, buf_view(&b)), &ignored));
    cli_put(x, "Creating flow run for deployment '%.*s'...\nCreated flow run '%.*s'.\n", STR_ARG(l->title), STR_ARG(name));
    cli_put(x, "└── UUID: %.*s\n", STR_ARG(id));
    cli_put(x, "└── Parameters: %.*s\n", STR_ARG(parameters));
    cli_put(x, "└── Job Variables: %.*s\n", STR_ARG(variables));
    Str relative = l->due <= x->now ? STR("now") : text_relative(x->a, l->due, x->now);
    cli_put(x, "└── Scheduled start time: %.*s (%.*s)\n", STR_ARG(when), STR_ARG(relative));
    cli_put(x, "└── URL: %.*s\n", STR_ARG(url));
}

static int watch_to_end(struct cli *x, const struct json *run, struct err *err)
{
    int64_t timeout = args_int(&x->args, "watch-timeout");
    Str id = field(run, "id"), name = field(run, "name");
    cli_say(x, "Watching flow run '%.*s'...\n", STR_ARG(name));
    cli_flush(x);
    if (watch_run(x, run, x->json ? WATCH_NOTHING : WATCH_ALL, timeout == INT_NONE ? 0 : timeout * SEC, &run, err) < 0)
        return err_wrap(err, "watching flow run '%.*s'", STR_ARG(id));
    cli_result(x, run);
    Str state = field(run, "state_name");
    if (!str_eq(field(run, "state_type"), STR("COMPLETED")))
        return err_set(err, ERR_CONFLICT, "Flow run finished in state '%.*s'.", STR_ARG(state));
    cli_ok(x, "Flow run finished successfully in '%.*s'.", STR_ARG(state));
    return 0;
}

static int run(struct cli *x, struct err *err)
{
    struct launch l = {0};
    const struct json *created;
    if (read_parameters(x, &l, err) < 0 ||
        pairs_json(x->a, args_list(&x->args, "job-variable"), "job-variable", &l.job_variables, err) < 0 || read_due(x, &l, err) < 0 ||
        find(x, &l.deployment, err) < 0)
        return -1;
    if (args_text(&x->args, "name").p) {
        l.title = args_text(&x->args, "name");
    } else {
        Str flow_id = field(l.deployment, "flow_id"), name = field(l.deployment, "name");
        if (api_get(x, str_fmt(x->a, "/flows/%.*s", STR_ARG(flow_id)), &l.flow, err) < 0)
            return -1;
        Str flow = field(l.flow, "name");
        l.title = str_fmt(x->a, "%.*s/%.*s", STR_ARG(flow), STR_ARG(name));
    }
    if (check_parameters(x, &l, err) < 0 || fill_name(x, &l, err) < 0)
        return -1;
    if (launch_post(x, &l, &created, err) < 0)
        return -1;
    bool watch = args_flag(&x->args, "watch", false);
    if (!x->json)
        print_created(x, &l, created);
    else if (!watch) /* else the run is shown as it is at its end */
        text_json(&x->out, created);
    return watch ? watch_to_end(x, created, err) : 0;
}

/* --- ls, inspect, delete, pause --- */

/* A deployment and its flow's name, to be sorted together. */
struct named {
    const struct json *deployment;
    Str flow, name;
};

static int by_name(const void *x, const void *y)
{
    const struct named *s = x, *t = y;
    int c = str_cmp(s->flow, t->flow);
    return c ? c : str_cmp(s->name, t->name);
}

static int by_created(const void *x, const void *y)
{
    Time s = field_time(((const struct named *)x)->deployment, "created"), t = field_time(((const struct named *)y)->deployment, "created");
    return s == t ? by_name(x, y) : s > t ? -1 : 1;
}

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Name", .style = STYLE_BLUE, .share = 40},
        {.title = "ID", .style = STYLE_CYAN, .share = 40},
        {.title = "Work Pool", .style = STYLE_GREEN, .share = 20},
    };
    Str flow_names = json_strings(x->a, args_list(&x->args, "flow-name")), pools = json_strings(x->a, args_list(&x->args, "pool")), tags = json_strings(x->a, args_list(&x->args, "tag"));
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    buf_z(&b, "\"sort\":\"NAME_ASC\"");
    if (flow_names.n)
        buf_fmt(&b, ",\"flows\":{\"name\":{\"any_\":[%.*s]}}", STR_ARG(flow_names));
    if (pools.n)
        buf_fmt(&b, ",\"work_pools\":{\"name\":{\"any_\":[%.*s]}}", STR_ARG(pools));
    if (tags.n)
        buf_fmt(&b, ",\"deployments\":{\"tags\":{\"all_\":[%.*s]}}", STR_ARG(tags));
    struct items deployments, flows = {0};
    if (api_list(x, STR("/deployments/filter"), buf_view(&b), INT_NONE, &deployments, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &deployments);
        return 0;
    }
    Str ids = field_ids(x->a, &deployments, "flow_id");
    if (ids.n && api_list(x, STR("/flows/filter"), str_fmt(x->a, "\"flows\":{\"id\":{\"any_\":[%.*s]}}", STR_ARG(ids)), INT_NONE, &flows, err) < 0)
        return -1;
    struct named *rows = arena_array(x->a, struct named, deployments.n + 1);
    for (size_t i = 0; i < deployments.n; i++) {
        const struct json *d = deployments.v[i];
        rows[i] = (struct named){d, field(items_find(&flows, "id", field(d, "flow_id")), "name"), field(d, "name")};
    }
    qsort(rows, deployments.n, sizeof *rows, args_flag(&x->args, "by-created", false) ? by_created : by_name);
    struct table *t = table_create(x->a, "Deployments", columns, COUNT_OF(columns));
    table_expand(t);
    for (size_t i = 0; i < deployments.n; i++) {
        table_cell(t, str_fmt(x->a, "%.*s/", STR_ARG(rows[i].flow)));
        table_append(t, STYLE_BLUE ";1", rows[i].name);
        table_cell(t, field(rows[i].deployment, "id"));
        table_cell(t, field(rows[i].deployment, "work_pool_name"));
    }
    cli_table(x, t);
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *d, *automations = NULL;
    if (deployment_find(x, args_text(&x->args, "name"), &d, err) < 0)
        return -1;
    Str id = field(d, "id");
    if (api_get(x, str_fmt(x->a, "/automations/related-to/prefect.deployment.%.*s", STR_ARG(id)), &automations, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        automations = NULL; /* a server without automations has none for it */
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (size_t i = 0; json_is(d, JSON_OBJECT) && i < d->object.n; i++) {
        jw_key(&w, d->object.members[i].key);
        jw_value(&w, &d->object.members[i].value);
    }
    if (automations)
        jw_kvalue(&w, "automations", automations);
    jw_end(&w);
    const struct json *all = json_parse(x->a, str_dup(x->a, buf_view(&b)), err);
    if (!all)
        return -1;
    cli_show(x, all);
    return 0;
}

static int delete_all(struct cli *x, struct err *err)
{
    struct items all;
    if (api_list(x, STR("/deployments/filter"), STR(""), INT_NONE, &all, err) < 0)
        return -1;
    if (!all.n) {
        cli_say(x, "No deployments found.\n");
        cli_result_items(x, &all);
        return 0;
    }
    Str question = str_fmt(x->a, "Delete all %zu deployments?", all.n);
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        Str id = field(all.v[i], "id");
        progress_steps(x, "Deleting", i, all.n);
        if (api_delete(x, str_fmt(x->a, "/deployments/%.*s", STR_ARG(id)), err) < 0 && err->code != ERR_NOT_FOUND)
            return err_wrap(err, "after %zu of %zu deployments", i, all.n);
    }
    progress_steps(x, "Deleting", all.n, all.n);
    cli_ok(x, "Deleted %zu deployment%s.", all.n, all.n == 1 ? "" : "s");
    cli_result_items(x, &all);
    return 0;
}

static int delete_deployment(struct cli *x, struct err *err)
{
    const struct json *d;
    Str name = args_text(&x->args, "name"), given = args_text(&x->args, "id");
    if (args_flag(&x->args, "all", false)) {
        if (name.p || given.p)
            return err_set(err, ERR_INVALID, "Cannot provide a deployment's name or id together with `--all`.");
        return delete_all(x, err);
    }
    if (find(x, &d, err) < 0)
        return -1;
    Str shown = name.p ? name : given, quoted = text_quoted(x->a, shown), id = field(d, "id");
    Str question = str_fmt(x->a, "Delete deployment %.*s?", STR_ARG(quoted));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 || api_delete(x, str_fmt(x->a, "/deployments/%.*s", STR_ARG(id)), err) < 0)
        return -1;
    cli_ok(x, "Deleted deployment %.*s.", STR_ARG(quoted));
    cli_result(x, d);
    return 0;
}

static int set_paused(struct cli *x, bool paused, struct err *err)
{
    const struct json *d;
    if (find(x, &d, err) < 0)
        return -1;
    Str flow = args_text(&x->args, "name"), id = field(d, "id"), quoted = text_quoted(x->a, flow.p ? flow : id);
    Str path = str_fmt(x->a, "/deployments/%.*s", STR_ARG(id));
    if (api_patch(x, path, paused ? STR("{\"paused\":true}") : STR("{\"paused\":false}"), err) < 0)
        return -1;
    cli_ok(x, "%s deployment %.*s.", paused ? "Paused" : "Resumed", STR_ARG(quoted));
    return cli_result_at(x, path, err);
}

static int pause_deployment(struct cli *x, struct err *err)
{
    return set_paused(x, true, err);
}

static int resume(struct cli *x, struct err *err)
{
    return set_paused(x, false, err);
}

#define NAME {"name", "flow/deployment"}
#define NAME_OPTIONAL {"name", "flow/deployment", .optional = true}
#define OPTION_ID {"id", NULL, VALUE_TEXT, 0, "The deployment's id, instead of its name"}

static const struct command commands[] = {
    {.name = "run", .summary = "Run a deployment's flow", .run = run, .args = ARGS(NAME_OPTIONAL),
     .details = "Values of --param, --params and --job-variable are JSON; a word that is none counts as text.",
     .options = OPTIONS(OPTION_ID, {"param", "p", VALUE_TEXT, OPTION_LIST, "KEY=VALUE of a parameter"},
                        {"params", NULL, VALUE_JSON, OPTION_DASH, "All parameters as a JSON object; - reads standard input"},
                        {"job-variable", "jv", VALUE_TEXT, OPTION_LIST, "KEY=VALUE for the pool's job template"},
                        {"start-in", NULL, VALUE_TEXT, 0, "When: '5 minutes', '2h'"},
                        {"start-at", NULL, VALUE_TEXT, 0, "When: '5:30pm', 'tomorrow 9am', ISO 8601; UTC"},
                        {"tag", NULL, VALUE_TEXT, OPTION_LIST, "A tag for the run"},
                        {"watch", NULL, VALUE_FLAG, 0, "Follow the run to its end; fails where it fails"},
                        {"watch-interval", NULL, VALUE_INT, OPTION_HIDDEN, "Not used"},
                        {"watch-timeout", NULL, VALUE_INT, 0, "Seconds after which watching ends"},
                        {"flow-run-name", NULL, VALUE_TEXT, 0, "The run's name; {parameter} puts one's value in"}, OPTION_OUTPUT)},
    {.name = "ls", .summary = "List deployments", .run = ls, .args = ARGS({"flow-name", "Only deployments of these flows", .optional = true, .many = true}),
     .options = OPTIONS({"by-created", NULL, VALUE_FLAG, 0, "Newest first, instead of by name"},
                        {"pool", NULL, VALUE_TEXT, OPTION_LIST, "Only deployments of this work pool"},
                        {"tag", NULL, VALUE_TEXT, OPTION_LIST, "Only deployments with this tag"}, OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a deployment", .run = inspect, .args = ARGS(NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "pause", .summary = "Start no scheduled runs of a deployment", .run = pause_deployment, .args = ARGS(NAME_OPTIONAL), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT)},
    {.name = "resume", .summary = "Start a paused deployment's runs again", .run = resume, .args = ARGS(NAME_OPTIONAL), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT)},
    {.name = "pause-schedule", .summary = "Start no scheduled runs of a deployment", .run = pause_deployment, .args = ARGS(NAME_OPTIONAL), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT), .hidden = true},
    {.name = "resume-schedule", .summary = "Start a paused deployment's runs again", .run = resume, .args = ARGS(NAME_OPTIONAL), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT), .hidden = true},
    {.name = "delete", .summary = "Delete a deployment", .run = delete_deployment, .args = ARGS(NAME_OPTIONAL),
     .options = OPTIONS(OPTION_ID, {"all", NULL, VALUE_FLAG, 0, "All that there are"}, OPTION_YES, OPTION_OUTPUT)},
    {0},
};

static const struct command *const groups[] = {&command_deployment_schedule, NULL};

const struct command command_deployment = {
    .name = "deployment", .alias = "deployments", .summary = "Flows that the server can run", .groups = groups, .commands = commands};
