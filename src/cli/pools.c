#include "cli/pools.h"

#include "cli/files.h"

Str pool_type(Str type)
{
    return str_eq(type, STR("managed")) ? STR("prefect:managed") : type;
}

bool pool_type_is_push(Str type)
{
    return str_ends(type, STR(":push"));
}

bool pool_type_is_managed(Str type)
{
    return str_ends(type, STR(":managed"));
}

static int by_type(const struct json *x, const struct json *y)
{
    return str_cmp(field(x, "type"), field(y, "type"));
}

int pool_type_records(struct cli *x, struct items *ret, struct err *err)
{
    const struct json *view;
    if (api_get(x, STR("/collections/views/aggregate-worker-metadata"), &view, err) < 0)
        return err_wrap(err, "asking which types of pools there are");
    struct items items = {0};
    for (size_t i = 0; json_is(view, JSON_OBJECT) && i < view->object.n; i++) {
        const struct json *package = &view->object.members[i].value;
        for (size_t k = 0; json_is(package, JSON_OBJECT) && k < package->object.n; k++) {
            const struct json *record = &package->object.members[k].value;
            if (field(record, "type").n && !items_find(&items, "type", field(record, "type")))
                vec_push(x->a, &items, record);
        }
    }
    items_sort(&items, by_type);
    *ret = items;
    return 0;
}

int pool_type_record(struct cli *x, Str type, const struct json **ret, struct err *err)
{
    struct items records;
    if (pool_type_records(x, &records, err) < 0)
        return -1;
    const struct json *found = items_find(&records, "type", pool_type(type));
    if (!found) {
        AUTO(buf_free) struct buf b = BUF(400);
        for (size_t i = 0; i < records.n; i++) {
            Str name = field(records.v[i], "type");
            if (!str_eq(name, STR("prefect-agent")))
                buf_fmt(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(name));
        }
        Str quoted = text_quoted(x->a, type), all = buf_view(&b);
        return err_set(err, ERR_NOT_FOUND, "Unknown work pool type %.*s: it is one of %.*s", STR_ARG(quoted), STR_ARG(all));
    }
    *ret = found;
    return 0;
}

Str pool_path(struct arena *a, Str name)
{
    Str segment = url_segment(a, name);
    return str_fmt(a, "/work_pools/%.*s", STR_ARG(segment));
}

int pool_get(struct cli *x, Str name, const struct json **ret, struct err *err)
{
    if (!name.n)
        return err_set(err, ERR_INVALID, "the work pool's name is empty");
    if (api_get(x, pool_path(x->a, name), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? pool_missing(x, name, err) : -1;
}

int pool_missing(struct cli *x, Str name, struct err *err)
{
    Str quoted = text_quoted(x->a, name), hint = api_nearest(x, STR("/work_pools/filter"), name);
    return err_set(err, ERR_NOT_FOUND, "Work pool %.*s not found!%.*s", STR_ARG(quoted), STR_ARG(hint));
}

int template_read(struct cli *x, Str path, const struct json **ret, struct err *err)
{
    const struct json *v;
    if (document_read(x->a, path, &v, err) < 0)
        return -1;
    if (!json_is(v, JSON_OBJECT))
        return err_set(err, ERR_INVALID, "%.*s: a base job template is an object", STR_ARG(path));
    *ret = v;
    return 0;
}

static int by_due(const struct json *x, const struct json *y)
{
    Time s = field_time(x, "next_scheduled_start_time"), t = field_time(y, "next_scheduled_start_time");
    return s == t ? 0 : s < t ? -1 : 1;
}

void scheduled_runs_table(struct cli *x, const char *title, struct items *runs)
{
    static const struct column columns[] = {
        {.title = "Scheduled Start Time", .style = STYLE_YELLOW},
        {.title = "Run ID", .style = STYLE_CYAN},
        {.title = "Name", .style = STYLE_GREEN},
        {.title = "Deployment ID", .style = STYLE_BLUE},
    };
    struct table *t = table_create(x->a, title, columns, COUNT_OF(columns));
    table_caption(t, "(**) denotes a late run", STYLE_RED);
    items_sort(runs, by_due);
    for (size_t i = 0; i < runs->n; i++) {
        const struct json *r = runs->v[i];
        Time due = field_time(r, "next_scheduled_start_time");
        if (due == TIME_NONE)
            due = field_time(r, "expected_start_time");
        table_cell(t, text_time(x->a, due));
        if (due != TIME_NONE && due < x->now)
            table_append(t, STYLE_RED, STR(" (**)"));
        table_cell(t, field(r, "id"));
        table_cell(t, field(r, "name"));
        table_cell(t, field(r, "deployment_id"));
    }
    cli_table(x, t);
}

void slots_line(struct cli *x, int64_t active, int64_t limit)
{
    if (limit == INT_NONE) {
        cli_put(x, "  Slots: ");
        cli_styled(x, STYLE_BLUE, "%lld active (Unlimited)", (long long)active);
        cli_put(x, "\n");
        return;
    }
    int64_t filled = limit > 0 ? MIN(active * 20 / limit, (int64_t)20) : active ? 20 : 0;
    int64_t percent = limit > 0 ? active * 100 / limit : active ? 100 : 0;
    const char *style = percent <= 60 ? STYLE_GREEN : percent <= 80 ? STYLE_YELLOW : STYLE_RED;
    cli_put(x, "  Slots: ");
    for (int64_t i = 0; i < 20; i++)
        cli_styled(x, style, "%s", i < filled ? "█" : "░");
    cli_put(x, " %lld / %lld\n", (long long)active, (long long)limit);
}

void limit_cell(struct table *t, const struct json *v, const char *key)
{
    int64_t n = field_int(v, key);
    if (n == INT_NONE)
        table_styled(t, STYLE_BLUE, STR("None"));
    else
        table_cellf(t, "%lld", (long long)n);
}
