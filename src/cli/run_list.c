/* `flow-run ls` and `task-run ls`: which runs, in which order, as which rows. */
#include "cli/runs.h"

#define LIMIT_DEFAULT 15

static const char *const state_types[] = {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"};

/* State names as the API spells them, with the type that each is of. */
static const struct {
    const char *name, *type;
} state_names[] = {
    {"Scheduled", "SCHEDULED"},     {"Late", "SCHEDULED"},       {"AwaitingRetry", "SCHEDULED"}, {"AwaitingConcurrencySlot", "SCHEDULED"},
    {"Resuming", "SCHEDULED"},      {"Pending", "PENDING"},      {"Submitting", "PENDING"},      {"InfrastructurePending", "PENDING"},
    {"Running", "RUNNING"},         {"Retrying", "RUNNING"},     {"Completed", "COMPLETED"},     {"Cached", "COMPLETED"},
    {"RolledBack", "COMPLETED"},    {"Failed", "FAILED"},        {"TimedOut", "FAILED"},         {"Crashed", "CRASHED"},
    {"Cancelled", "CANCELLED"},     {"Cancelling", "CANCELLING"}, {"Paused", "PAUSED"},          {"Suspended", "PAUSED"},
};

const char *state_style(Str type)
{
    static const struct {
        const char *type, *style;
    } styles[] = {
        {"SCHEDULED", STYLE_YELLOW}, {"PENDING", STYLE_DIM}, {"RUNNING", STYLE_BLUE}, {"COMPLETED", STYLE_GREEN},
        {"FAILED", STYLE_RED},       {"CRASHED", "33;1"},    {"PAUSED", STYLE_DIM},
    };
    for (size_t i = 0; i < COUNT_OF(styles); i++)
        if (str_eqz(type, styles[i].type))
            return styles[i].style;
    return STYLE_DIM;
}

bool state_is_final(Str type)
{
    return str_eq(type, STR("COMPLETED")) || str_eq(type, STR("FAILED")) || str_eq(type, STR("CRASHED")) || str_eq(type, STR("CANCELLED"));
}

/* What --state and --state-type ask for. */
struct wanted {
    Str state;      /* the filter on the state ("\"state\":{…}"), or "" */
    bool scheduled; /* only runs that are still to come */
    bool any;       /* those that are to come, and others */
};

/* Reads --state and --state-type. *ret_scheduled says whether all that was given is of type SCHEDULED, and *ret_any
 * whether some is. */
static int read_states(struct cli *x, struct wanted *ret, struct err *err)
{
    struct strs names = args_list(&x->args, "state"), types = args_list(&x->args, "state-type");
    size_t coming = 0;
    for (size_t i = 0; i < types.n; i++) {
        size_t k = 0;
        while (k < COUNT_OF(state_types) && !str_ieq(types.v[i], str_of(state_types[k])))
            k++;
        if (k == COUNT_OF(state_types))
            return err_set(err, ERR_INVALID, "Invalid state type '%.*s': it is one of SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, CRASHED, PAUSED, CANCELLING",
                           STR_ARG(types.v[i]));
        types.v[i] = str_of(state_types[k]);
        coming += k == 0;
    }
    for (size_t i = 0; i < names.n; i++) {
        size_t k = 0;
        while (k < COUNT_OF(state_names) && !str_ieq(names.v[i], str_of(state_names[k].name)))
            k++;
        if (k == COUNT_OF(state_names)) {
            cli_note(x, "No state is usually called '%.*s'.", STR_ARG(names.v[i]));
            continue;
        }
        names.v[i] = str_of(state_names[k].name);
        coming += !strcmp(state_names[k].type, "SCHEDULED");
    }
    size_t given = names.n + types.n;
    Str name_list = json_strings(x->a, names), type_list = json_strings(x->a, types);
    *ret = (struct wanted){.scheduled = given && coming == given, .any = !given || (coming && coming < given), .state = STR("")};
    if (names.n && types.n)
        ret->state = str_fmt(x->a, "\"state\":{\"name\":{\"any_\":[%.*s]},\"type\":{\"any_\":[%.*s]}}", STR_ARG(name_list), STR_ARG(type_list));
    else if (given)
        ret->state = str_fmt(x->a, "\"state\":{\"%s\":{\"any_\":[%.*s]}}", names.n ? "name" : "type",
                             names.n ? (int)name_list.n : (int)type_list.n, names.n ? name_list.p : type_list.p);
    return 0;
}

static Str joined(struct arena *a, Str x, Str y)
{
    return str_fmt(a, "%.*s%s%.*s", STR_ARG(x), x.n && y.n ? "," : "", STR_ARG(y));
}

/* A list being asked for: where, by which filters. */
struct list {
    Str path;
    const char *key;  /* "flow_runs": the filter on the runs themselves */
    Str inner, outer; /* members of that filter; other members of the body */
};

static int fetch(struct cli *x, const struct list *l, Str bound, const char *sort, int64_t limit, struct items *ret, struct err *err)
{
    Str inner = joined(x->a, l->inner, bound);
    Str body = str_fmt(x->a, "\"sort\":\"%s\",\"%s\":{%.*s}", sort, l->key, STR_ARG(inner));
    return api_list(x, l->path, joined(x->a, body, l->outer), limit, ret, err);
}

/* When a run is due, or what it is came about. */
static Time when_of(const struct json *run)
{
    const struct json *state = json_getz(run, "state");
    if (!str_eq(field(run, "state_type"), STR("SCHEDULED")))
        return field_time(state, "timestamp");
    Time due = field_time(json_getz(state, "state_details"), "scheduled_time");
    return due == TIME_NONE ? field_time(run, "next_scheduled_start_time") : due;
}

static int by_when_latest(const struct json *x, const struct json *y)
{
    Time s = when_of(x), t = when_of(y);
    return s == t ? 0 : s > t ? -1 : 1;
}

/* The runs to show. Those to come are listed next first. Where others are wanted too, all are in order of time, the latest first;
 * and since a schedule has a hundred runs waiting, those to come take no more than a third of the places that others could have. */
static int select_runs(struct cli *x, const struct list *l, const struct wanted *w, int64_t limit, struct items *ret, struct err *err)
{
    if (w->scheduled)
        return fetch(x, l, STR(""), "NEXT_SCHEDULED_START_TIME_ASC", limit, ret, err);
    struct items coming = {0}, past;
    if (!w->any || limit == INT_NONE) {
        if (fetch(x, l, STR(""), "EXPECTED_START_TIME_DESC", limit, ret, err) < 0)
            return -1;
        items_sort(ret, by_when_latest);
        return 0;
    }
    struct time_text now = time_iso(x->now), later = time_iso(x->now + USEC);
    if (fetch(x, l, str_fmt(x->a, "\"expected_start_time\":{\"after_\":\"%s\"}", later.s), "NEXT_SCHEDULED_START_TIME_ASC", limit, &coming, err) < 0 ||
        fetch(x, l, str_fmt(x->a, "\"expected_start_time\":{\"before_\":\"%s\"}", now.s), "EXPECTED_START_TIME_DESC", limit, &past, err) < 0)
        return -1;
    size_t places = (size_t)limit, least = MAX(places / 3, (size_t)1);
    coming.n = MIN(coming.n, MAX(least, places - MIN(past.n, places)));
    past.n = MIN(past.n, places - MIN(coming.n, places));
    for (size_t i = 0; i < past.n; i++)
        vec_push(x->a, &coming, past.v[i]);
    items_sort(&coming, by_when_latest);
    *ret = coming;
    return 0;
}

static int64_t limit_of(struct cli *x)
{
    if (args_flag(&x->args, "all", false))
        return INT_NONE;
    return args_given(&x->args, "limit") ? args_int(&x->args, "limit") : LIMIT_DEFAULT;
}

/* The state by its name, which says more; scripts of `prefect` look for the type. */
static void state_cell(struct cli *x, struct table *t, const struct json *run)
{
    Str type = field(run, "state_type"), name = field(run, "state_name");
    if (x->as_prefect)
        table_cell(t, type);
    else
        table_styled(t, state_style(type), name.n ? name : type);
}

/* A member {"name":{"any_":[…]}} for an option's values; "" where none was given. */
static Str named(struct cli *x, const char *member, const char *inner, const char *option)
{
    Str list = json_strings(x->a, args_list(&x->args, option));
    return list.n ? str_fmt(x->a, "\"%s\":{\"%s\":[%.*s]}", member, inner, STR_ARG(list)) : STR("");
}

static Str wrapped(struct cli *x, const char *member, Str inner)
{
    return inner.n ? str_fmt(x->a, "\"%s\":{%.*s}", member, STR_ARG(inner)) : inner;
}

int flow_run_ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN, .right = true},
        {.title = "Flow", .style = STYLE_BLUE},
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "State"},
        {.title = "When", .style = STYLE_BOLD},
    };
    struct wanted w;
    struct items runs, flows;
    int64_t limit = limit_of(x);
    if (limit != INT_NONE && limit < 1)
        return err_set(err, ERR_INVALID, "--limit is at least 1");
    if (read_states(x, &w, err) < 0)
        return -1;
    struct list l = {.path = STR("/flow_runs/filter"), .key = "flow_runs", .inner = joined(x->a, w.state, named(x, "tags", "all_", "tag")), .outer = STR("")};
    l.outer = joined(x->a, l.outer, wrapped(x, "flows", named(x, "name", "any_", "flow-name")));
    l.outer = joined(x->a, l.outer, wrapped(x, "work_pools", named(x, "name", "any_", "pool")));
    l.outer = joined(x->a, l.outer, wrapped(x, "deployments", named(x, "name", "any_", "deployment")));
    if (select_runs(x, &l, &w, limit, &runs, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &runs);
        return 0;
    }
    if (!runs.n) {
        cli_ok(x, "No flow runs found.");
        return 0;
    }
    Str ids = field_ids(x->a, &runs, "flow_id");
    if (api_list(x, STR("/flows/filter"), str_fmt(x->a, "\"flows\":{\"id\":{\"any_\":[%.*s]}}", STR_ARG(ids)), INT_NONE, &flows, err) < 0)
        return -1;
    struct table *t = table_create(x->a, "Flow Runs", columns, COUNT_OF(columns));
    for (size_t i = 0; i < runs.n; i++) {
        const struct json *r = runs.v[i];
        table_cell(t, field(r, "id"));
        table_cell(t, field(items_find(&flows, "id", field(r, "flow_id")), "name"));
        table_cell(t, field(r, "name"));
        state_cell(x, t, r);
        table_cell(t, text_relative(x->a, when_of(r), x->now));
    }
    cli_table(x, t);
    return 0;
}

int task_run_ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN, .right = true}, {.title = "Task", .style = STYLE_BLUE}, {.title = "Name", .style = STYLE_GREEN},
        {.title = "State"},                                  {.title = "When", .style = STYLE_BOLD},
    };
    struct wanted w;
    struct items runs;
    int64_t limit = limit_of(x);
    if (limit != INT_NONE && limit < 1)
        return err_set(err, ERR_INVALID, "--limit is at least 1");
    if (read_states(x, &w, err) < 0)
        return -1;
    struct list l = {.path = STR("/task_runs/filter"), .key = "task_runs", .outer = STR("")};
    l.inner = joined(x->a, w.state, named(x, "name", "any_", "task-run-name"));
    if (select_runs(x, &l, &w, limit, &runs, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &runs);
        return 0;
    }
    if (!runs.n) {
        cli_ok(x, "No task runs found.");
        return 0;
    }
    struct table *t = table_create(x->a, "Task Runs", columns, COUNT_OF(columns));
    for (size_t i = 0; i < runs.n; i++) {
        const struct json *r = runs.v[i];
        Str key = field(r, "task_key");
        table_cell(t, field(r, "id"));
        table_cell(t, x->as_prefect || !key.n ? field(r, "name") : key);
        table_cell(t, field(r, "name"));
        state_cell(x, t, r);
        table_cell(t, text_relative(x->a, when_of(r), x->now));
    }
    cli_table(x, t);
    return 0;
}
