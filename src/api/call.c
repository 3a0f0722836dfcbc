#include "api/call.h"

#include "base/limits.h"

#include <math.h>

int call_invalid(struct call *c, struct err *err)
{
    return c->violations.list.n ? err_set(err, ERR_UNPROCESSABLE, "invalid request") : 0;
}

int call_parse(struct call *c, const struct resource *r, int view, void *rec, struct err *err)
{
    record_init(r, rec);
    record_parse(c->a, r, view, c->body, rec, &c->violations);
    return call_invalid(c, err);
}

int64_t call_int(struct call *c, const char *key, int64_t dflt, int64_t min, int64_t max)
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

bool call_bool(struct call *c, const char *key, bool dflt)
{
    const struct json *v = json_get(c->body, str_of(key));
    if (json_is_null(v))
        return dflt;
    if (v->kind != JSON_BOOL)
        violation_add(&c->violations, "bool_parsing", str_of(key), v, "must be true or false");
    return v->kind == JSON_BOOL && v->boolean;
}

Str call_str(struct call *c, const char *key)
{
    const struct json *v = json_get(c->body, str_of(key));
    if (json_is_null(v))
        return STR_NONE;
    if (v->kind != JSON_STRING)
        violation_add(&c->violations, "string_type", str_of(key), v, "must be a string");
    return json_str(v);
}

double call_double(struct call *c, const char *key, double dflt)
{
    const struct json *v = json_get(c->body, str_of(key));
    double n = dflt;
    if (!json_is_null(v) && (!json_double(v, &n) || !isfinite(n)))
        violation_add(&c->violations, "float_parsing", str_of(key), v, "must be a number");
    return n;
}

Dur call_dur(struct call *c, const char *key, Dur dflt, Dur min, Dur max)
{
    const struct json *v = json_get(c->body, str_of(key));
    if (json_is_null(v))
        return dflt;
    const struct field f = {.name = key, .type = F_DUR};
    Dur d = dflt;
    field_parse(c->a, &f, v, &d, &c->violations);
    if (d < min)
        violation_add(&c->violations, "greater_than_equal", str_of(key), v, str_fmt(c->a, "must be at least %g seconds", (double)min / SEC).p);
    if (d > max)
        violation_add(&c->violations, "less_than_equal", str_of(key), v, str_fmt(c->a, "must be at most %g seconds", (double)max / SEC).p);
    return d;
}

Uuid call_uuid(struct call *c, const char *key)
{
    const struct json *v = json_get(c->body, str_of(key));
    Uuid id = UUID_NIL;
    if (json_is_null(v))
        violation_add(&c->violations, "missing", str_of(key), c->body, "is required");
    else if (v->kind != JSON_STRING || !uuid_parse(v->string, &id))
        violation_add(&c->violations, "uuid_parsing", str_of(key), v, "must be a UUID");
    return id;
}

/* The items of a list that must be there; NULL with a violation. */
static const struct json *call_list(struct call *c, const char *key, size_t max)
{
    const struct json *v = json_get(c->body, str_of(key));
    if (json_is_null(v))
        violation_add(&c->violations, "missing", str_of(key), c->body, "is required");
    else if (v->kind != JSON_ARRAY)
        violation_add(&c->violations, "list_type", str_of(key), v, "must be a list");
    else if (v->array.n > max)
        violation_add(&c->violations, "too_long", str_of(key), NULL, str_fmt(c->a, "must have at most %zu items", max).p);
    else
        return v;
    return NULL;
}

Uuid *call_uuids(struct call *c, const char *key, size_t max, size_t *ret_n)
{
    const struct json *list = call_list(c, key, max);
    size_t n = list ? list->array.n : 0;
    Uuid *ids = arena_array(c->a, Uuid, n + 1);
    for (size_t i = 0; i < n; i++)
        if (!uuid_parse(json_str(&list->array.items[i]), &ids[i]))
            violation_add(&c->violations, "uuid_parsing", str_of(key), &list->array.items[i], "must be a UUID");
    *ret_n = n;
    return ids;
}

Str *call_strs(struct call *c, const char *key, size_t max, size_t *ret_n)
{
    const struct json *list = call_list(c, key, max);
    size_t n = list ? list->array.n : 0;
    Str *strs = arena_array(c->a, Str, n + 1);
    for (size_t i = 0; i < n; i++) {
        strs[i] = json_str(&list->array.items[i]);
        if (!strs[i].p)
            violation_add(&c->violations, "string_type", str_of(key), &list->array.items[i], "must be a string");
    }
    *ret_n = n;
    return strs;
}

static int page_limit(struct call *c, int64_t *ret, struct err *err)
{
    *ret = call_int(c, "limit", LIMIT_PAGE, INT64_MIN + 1, INT64_MAX);
    if (*ret > LIMIT_PAGE)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid limit: must be less than or equal to %d.", LIMIT_PAGE);
    if (*ret < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Invalid limit: must be greater than or equal to 0.");
    return 0;
}

int call_page(struct call *c, int64_t *ret_limit, int64_t *ret_offset, struct err *err)
{
    *ret_offset = call_int(c, "offset", 0, 0, INT64_MAX);
    return page_limit(c, ret_limit, err);
}

int call_page_number(struct call *c, int64_t *ret_limit, int64_t *ret_page, struct err *err)
{
    *ret_page = call_int(c, "page", 1, 1, INT32_MAX);
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
