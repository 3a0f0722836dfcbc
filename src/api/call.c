#include "api/call.h"

#include "base/limits.h"

#include <math.h>

int call_invalid(struct call *c, struct err *err)
{
    return c->violations.list.n ? err_set(err, ERR_UNPROCESSABLE, "invalid request") : 0;
}

void call_read(struct call *c, const struct resource *r, int view, void *rec)
{
    const struct asks *asks = &c->route->asks;
    if (asks->record != r || asks->view != view)
        die("%s %s: routes.def does not say that it is read as %s", c->route->method, c->route->path, r->name);
    record_init(r, rec);
    record_parse(c->a, r, view, c->body, rec, &c->violations);
    const FieldSet *set = rec;
    for (size_t i = 0; asks->replace && json_is(c->body, JSON_OBJECT) && i < r->n; i++)
        if ((r->fields[i].flags & REQUIRED) && (r->fields[i].flags & view) && !(*set >> i & 1))
            violation_add(&c->violations, "missing", str_of(r->fields[i].name), c->body, "is required");
}

int call_parse(struct call *c, const struct resource *r, int view, void *rec, struct err *err)
{
    call_read(c, r, view, rec);
    return call_invalid(c, err);
}

/* ---- keys, by the route's rows ---- */

/* What was sent for a key, or its row's default; NULL for neither. */
static const struct json *sent(struct call *c, const char *key, enum ftype type, struct field *ret_row)
{
    const struct resource *keys = c->route->asks.keys, *query = c->route->asks.query, *header = c->route->asks.header;
    const struct field *in_query = query ? resource_field(query, str_of(key)) : NULL;
    const struct field *in_header = header ? resource_field(header, str_of(key)) : NULL, *row = in_query ? in_query : in_header;
    if (!row && keys)
        row = resource_field(keys, str_of(key));
    if (!row || (row->type != type && !(row->type == F_ENUM && type == F_STR)))
        die("%s %s: no key \"%s\" of this type is asked for", c->route->method, c->route->path, key);
    *ret_row = *row;
    ret_row->offset = 0;
    const struct json *v = NULL;
    if (row == in_query || row == in_header) {
        Str text = in_query ? exchange_query(c->x, key) : exchange_header(c->x, key);
        v = text.p ? json_new_str(c->a, text) : NULL;
    } else {
        v = json_get(c->body, str_of(key));
    }
    struct err err;
    if (json_is_null(v))
        v = row->dflt ? json_parse(c->a, str_of(row->dflt), &err) : NULL;
    return v;
}

/* Into `ret`, which keeps its value where there is none. */
static void take(struct call *c, const char *key, enum ftype type, void *ret)
{
    struct field row;
    const struct json *v = sent(c, key, type, &row);
    struct violations known = {.a = c->a, .prefix = STR("[")}; /* asks_check has said them */
    if (v)
        field_parse(c->a, &row, v, ret, &known);
}

int64_t call_int(struct call *c, const char *key)
{
    int64_t n = INT_NONE;
    take(c, key, F_INT, &n);
    return n;
}

bool call_bool(struct call *c, const char *key)
{
    int8_t yes = 0;
    take(c, key, F_BOOL, &yes);
    return yes == 1;
}

Str call_str(struct call *c, const char *key)
{
    Str s = STR_NONE;
    take(c, key, F_STR, &s);
    return s;
}

double call_double(struct call *c, const char *key)
{
    double n = NAN;
    take(c, key, F_DOUBLE, &n);
    return n;
}

Dur call_dur(struct call *c, const char *key)
{
    Dur d = INT_NONE;
    take(c, key, F_DUR, &d);
    return d;
}

Time call_time(struct call *c, const char *key, Time dflt)
{
    Time t = dflt;
    take(c, key, F_TIME, &t);
    return t;
}

Uuid call_uuid(struct call *c, const char *key)
{
    Uuid id = UUID_NIL;
    take(c, key, F_UUID, &id);
    return id;
}

Uuid *call_uuids(struct call *c, const char *key, size_t *ret_n)
{
    struct field row;
    const struct json *list = sent(c, key, F_UUIDS, &row);
    *ret_n = list ? list->array.n : 0;
    Uuid *ids = arena_array(c->a, Uuid, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        (void)!uuid_parse(list->array.items[i].string, &ids[i]);
    return ids;
}

Str *call_strs(struct call *c, const char *key, size_t *ret_n)
{
    struct field row;
    const struct json *list = sent(c, key, F_TAGS, &row);
    *ret_n = list ? list->array.n : 0;
    Str *strs = arena_array(c->a, Str, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        strs[i] = list->array.items[i].string;
    return strs;
}

bool call_asks(const struct call *c, const char *key)
{
    const struct asks *asks = &c->route->asks;
    return (asks->keys && resource_field(asks->keys, str_of(key))) || (asks->query && resource_field(asks->query, str_of(key)));
}

const struct json *call_json(struct call *c, const char *key)
{
    const struct resource *keys = c->route->asks.keys;
    const struct field *row = keys ? resource_field(keys, str_of(key)) : NULL;
    if (!row)
        die("%s %s: no key \"%s\" is asked for", c->route->method, c->route->path, key);
    const struct json *v = json_get(c->body, str_of(key));
    return json_is_null(v) ? NULL : v;
}

/* ---- pages ---- */

/* A whole number of the body; these are asked for by what a listing is (asks.part), or stand in the route's keys. */
static int64_t page_int(struct call *c, const char *key, int64_t dflt, int64_t min, int64_t max)
{
    const struct json *v = json_get(c->body, str_of(key));
    int64_t n;
    if (json_is_null(v))
        return dflt;
    if (!json_int(v, &n)) {
        violation_add(&c->violations, "int_parsing", str_of(key), v, "must be a whole number");
        return dflt;
    }
    if (n < min)
        violation_add(&c->violations, "greater_than_equal", str_of(key), v, str_fmt(c->a, "must be at least %lld", (long long)min).p);
    if (n > max)
        violation_add(&c->violations, "less_than_equal", str_of(key), v, str_fmt(c->a, "must be at most %lld", (long long)max).p);
    return n;
}

static int page_limit(struct call *c, int64_t *ret, struct err *err)
{
    *ret = page_int(c, "limit", LIMIT_PAGE, INT64_MIN + 1, INT64_MAX);
    if (*ret > LIMIT_PAGE)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid limit: must be less than or equal to %d.", LIMIT_PAGE);
    if (*ret < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid limit: must be greater than or equal to 0.");
    return 0;
}

int call_page(struct call *c, int64_t *ret_limit, int64_t *ret_offset, struct err *err)
{
    *ret_offset = page_int(c, "offset", 0, 0, INT64_MAX);
    return page_limit(c, ret_limit, err);
}

int call_page_number(struct call *c, int64_t *ret_limit, int64_t *ret_page, struct err *err)
{
    *ret_page = page_int(c, "page", 1, 1, INT32_MAX);
    return page_limit(c, ret_limit, err);
}

int call_null(struct call *c)
{
    jw_null(&c->w);
    return 0;
}

int call_empty(struct call *c, int status)
{
    c->status = status;
    return 0;
}

int call_not_found(struct err *err, const char *what)
{
    return err_set(err, ERR_NOT_FOUND, "%s not found", what);
}

struct orchestration call_orchestration(struct call *c, enum policy policy, bool force)
{
    return (struct orchestration){.conn = c->conn,
                                  .a = c->a,
                                  .now = c->now,
                                  .policy = policy,
                                  .force = force,
                                  .client = c->client,
                                  .out = &c->outbox,
                                  .settings = &c->ws->orchestration};
}
