#include "api/call.h"

#include "base/limits.h"

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
