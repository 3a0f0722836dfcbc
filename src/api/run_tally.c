#include "api/run_tally.h"

#include "api/run_history.h"

/* What a body asks for, where the tally can say it. */
struct scope {
    unsigned types; /* bits of state types; all: also runs without a state */
    Time from, to;  /* expected starts in [from, to); TIME_NONE, TIME_LAST: unbounded */
};
#define ALL_TYPES ((1u << STATE_COUNT) - 1)

enum part { EVERY_RUN, ENDED, UNDER_WAY };

static bool filters(const struct json *v)
{
    return json_is(v, JSON_OBJECT) ? v->object.n > 0 : !json_is_null(v);
}

/* No member but these says anything. */
static bool only(const struct json *object, const char *a, const char *b)
{
    if (!json_is(object, JSON_OBJECT))
        return json_is_null(object);
    for (size_t i = 0; i < object->object.n; i++) {
        const struct json_member *m = &object->object.members[i];
        if (str_eqz(m->key, "operator") ? !str_eqz(json_str(&m->value), "and_") : !str_eqz(m->key, a) && !str_eqz(m->key, b) && !json_is_null(&m->value))
            return false;
    }
    return true;
}

static bool scope_types(const struct json *any, unsigned *ret)
{
    *ret = ALL_TYPES;
    if (json_is_null(any))
        return true;
    if (any->kind != JSON_ARRAY || !any->array.n)
        return false;
    *ret = 0;
    for (size_t i = 0; i < any->array.n; i++) {
        int type = state_type_of(json_str(&any->array.items[i]));
        if (type < 0)
            return false;
        *ret |= STATE_BIT(type);
    }
    return true;
}

/* False: the tally does not know the answer (or the body is wrong, which the usual way will say). */
static bool scope_read(const struct listing *l, const struct json *body, struct scope *ret)
{
    *ret = (struct scope){ALL_TYPES, TIME_NONE, TIME_LAST};
    if (l != &flow_run_listing)
        return false;
    for (size_t i = 0; i < l->join_count; i++)
        if (filters(json_get(body, str_of(l->joins[i].to->key))) || (l->joins[i].to->also && filters(json_get(body, str_of(l->joins[i].to->also)))))
            return false;
    if (l->self->also && filters(json_get(body, str_of(l->self->also))))
        return false;
    const struct json *own = json_get(body, str_of(l->self->key)), *state = json_getz(own, "state"), *type = json_getz(state, "type"),
                      *expected = json_getz(own, "expected_start_time"), *after = json_getz(expected, "after_"), *before = json_getz(expected, "before_");
    if (!only(own, "state", "expected_start_time") || !only(state, "type", "type") || !only(type, "any_", "any_") || !only(expected, "after_", "before_"))
        return false;
    if (!scope_types(json_getz(type, "any_"), &ret->types))
        return false;
    if (!json_is_null(after) && !time_read(after, &ret->from))
        return false;
    if (!json_is_null(before)) {
        if (!time_read(before, &ret->to))
            return false;
        ret->to++; /* before_ is the last that counts */
    }
    return true;
}

/* ---- cells ---- */

static uint64_t cell_hash(int64_t interval, Str type, Str name)
{
    return (str_hash(type) * 31 + str_hash(name)) * 31 + (uint64_t)interval * 0x9e3779b97f4a7c15u;
}

static void slots_grow(struct arena *a, struct tally *t)
{
    t->slot_count = MAX(t->slot_count * 2, 64);
    t->slots = arena_array(a, uint32_t, t->slot_count);
    for (size_t i = 0; i < t->cells.n; i++) {
        const struct tally_cell *cell = &t->cells.v[i];
        size_t at = cell_hash(cell->interval, cell->type, cell->name) & (t->slot_count - 1);
        while (t->slots[at])
            at = (at + 1) & (t->slot_count - 1);
        t->slots[at] = (uint32_t)i + 1;
    }
}

static struct tally_cell *cell_of(struct arena *a, struct tally *t, int64_t interval, Str type, Str name)
{
    if (2 * (t->cells.n + 1) > t->slot_count)
        slots_grow(a, t);
    size_t at = cell_hash(interval, type, name) & (t->slot_count - 1);
    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1)) {
        struct tally_cell *cell = &t->cells.v[t->slots[at] - 1];
        if (cell->interval == interval && str_eq(cell->type, type) && str_eq(cell->name, name))
            return cell;
    }
    struct tally_cell new = {.interval = interval, .type = str_dup(a, type), .name = str_dup(a, name)};
    vec_push(a, &t->cells, new);
    t->slots[at] = (uint32_t)t->cells.n;
    return &t->cells.v[t->cells.n - 1];
}

static int cell_order(const void *a, const void *b)
{
    const struct tally_cell *x = a, *y = b;
    int by_type = str_cmp(x->type, y->type);
    return x->interval != y->interval ? (x->interval < y->interval ? -1 : 1) : by_type ? by_type : str_cmp(x->name, y->name);
}

/* ---- where the rows come from ---- */

struct walk {
    struct call *c;
    const struct listing *l;
    const struct tally_span *span;
    struct tally *tally;
};

static int64_t interval_of(const struct tally_span *s, Time t)
{
    return s->interval ? (t - s->start) / s->interval : 0;
}

static Time floor_to(Time t, Dur unit)
{
    return t - ((t % unit) + unit) % unit;
}

/* Rows: expected start (or the begin of `width` of them), type, name, runs, run time, lateness. What an edge divides is left to others. */
static int add_rows(struct walk *w, struct sql *q, Dur width, struct err *err)
{
    AUTO(stmt_finish) struct stmt *rows = sql_query(w->c->conn, q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        Time at = stmt_int(rows, 0);
        int64_t interval = interval_of(w->span, at);
        if (width && interval_of(w->span, at + width - 1) != interval)
            continue;
        struct tally_cell *cell = cell_of(w->c->a, w->tally, interval, stmt_str(rows, 1), stmt_str(rows, 2));
        cell->runs += stmt_int(rows, 3);
        cell->run_time += (double)stmt_int(rows, 4);
        cell->lateness += (double)stmt_int(rows, 5);
    }
    return rc;
}

static void sql_part(struct sql *q, const char *table, enum part part)
{
    static const char *const types[] = {[EVERY_RUN] = "IS NOT NULL", [ENDED] = "IN ('COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED')",
                                        [UNDER_WAY] = "IN ('SCHEDULED', 'PENDING', 'RUNNING', 'PAUSED', 'CANCELLING')"};
    buf_fmt(&q->text, " AND %s.state_type %s", table, types[part]);
}

static void sql_range(struct sql *q, const char *table, const char *column, Time from, Time to)
{
    if (from != TIME_NONE) {
        buf_fmt(&q->text, " AND %s.%s >= ", table, column);
        sql_time(q, from);
    }
    if (to != TIME_LAST) {
        buf_fmt(&q->text, " AND %s.%s < ", table, column);
        sql_time(q, to);
    }
}

/* Runs themselves, one by one. */
static int add_runs(struct walk *w, enum part part, Time from, Time to, struct err *err)
{
    from = MAX(from, w->span->start), to = MIN(to, w->span->end);
    if (from >= to)
        return 0;
    const char *table = w->l->resource->table;
    AUTO(sql_free) struct sql q = sql_new(w->c->a, conn_kind(w->c->conn));
    buf_fmt(&q.text, "SELECT %s.expected_start_time, %s.state_type, coalesce(%s.state_name, %s.state_type), 1, ", table, table, table, table);
    sql_estimated_run_time(&q, table, w->c->now);
    sql_z(&q, ", ");
    sql_estimated_lateness(&q, table, w->c->now);
    buf_fmt(&q.text, " FROM %s", table);
    listing_where(&q, w->l, w->c->body, &w->c->violations);
    sql_part(&q, table, part);
    sql_range(&q, table, "expected_start_time", from, to);
    return call_invalid(w->c, err) < 0 ? -1 : add_rows(w, &q, 0, err);
}

/* What is counted by `width`, wholly within [from, to). */
static int add_tallied(struct walk *w, Dur width, Time from, Time to, struct err *err)
{
    if (w->span->start != TIME_NONE)
        from = MAX(from, floor_to(w->span->start + width - 1, width));
    if (w->span->end != TIME_LAST)
        to = MIN(to, floor_to(w->span->end, width));
    if (from >= to)
        return 0;
    AUTO(sql_free) struct sql q = sql_new(w->c->a, conn_kind(w->c->conn));
    sql_z(&q, "SELECT at, state_type, state_name, runs, run_time, lateness FROM flow_run_tally WHERE span = ");
    sql_int(&q, width);
    sql_range(&q, "flow_run_tally", "at", from, to);
    return add_rows(w, &q, width, err);
}

/* Those that have ended: whole hours; of an hour that an edge divides, its minutes; of such a minute, its runs. */
static int add_ended(struct walk *w, struct err *err)
{
    const struct tally_span *s = w->span;
    if (add_tallied(w, HOUR, TIME_NONE, TIME_LAST, err) < 0)
        return -1;
    Time hour = TIME_NONE, minute = TIME_NONE;
    for (Time edge = s->start == TIME_NONE ? s->end : s->start; edge != TIME_LAST && edge <= s->end;) {
        if (edge % HOUR && floor_to(edge, HOUR) != hour) {
            hour = floor_to(edge, HOUR);
            if (add_tallied(w, MINUTE, hour, hour + HOUR, err) < 0)
                return -1;
        }
        if (edge % MINUTE && floor_to(edge, MINUTE) != minute) {
            minute = floor_to(edge, MINUTE);
            if (add_runs(w, ENDED, minute, minute + MINUTE, err) < 0)
                return -1;
        }
        if (edge == s->end)
            break;
        edge = s->interval ? MIN(edge + s->interval, s->end) : s->end;
    }
    return 0;
}

static void clip(struct tally_span *s, const struct scope *scope)
{
    s->start = MAX(s->start, scope->from), s->end = MIN(s->end, scope->to);
}

int tally_history(struct call *c, const struct listing *l, const struct tally_span *span, struct tally *ret, struct err *err)
{
    *ret = (struct tally){0};
    struct scope scope;
    struct walk w = {c, l, span, ret};
    /* A range within the span would have edges of its own: those runs are counted one by one. */
    bool tallied = scope_read(l, c->body, &scope) && scope.from <= span->start && scope.to >= span->end;
    if (tallied ? add_ended(&w, err) < 0 || add_runs(&w, UNDER_WAY, span->start, span->end, err) < 0
                : add_runs(&w, EVERY_RUN, span->start, span->end, err) < 0)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < ret->cells.n; i++) /* none: all have gone on since (PostgreSQL keeps both sides' rows) */
        if (ret->cells.v[i].runs && (!tallied || scope.types & STATE_BIT(state_type_of(ret->cells.v[i].type))))
            ret->cells.v[n++] = ret->cells.v[i];
    ret->cells.n = n;
    if (ret->cells.n)
        qsort(ret->cells.v, ret->cells.n, sizeof *ret->cells.v, cell_order);
    return 0;
}

static int count_others(struct call *c, const struct listing *l, int64_t *ret, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    const char *table = l->resource->table;
    listing_count(&q, l, c->body, &c->violations);
    buf_fmt(&q.text, " AND (%s.state_type IS NULL OR %s.state_type IN ('SCHEDULED', 'PENDING', 'RUNNING', 'PAUSED', 'CANCELLING'))", table, table);
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    *ret += stmt_int(rows, 0);
    return 0;
}

int tally_count(struct call *c, const struct listing *l, int64_t *ret, struct err *err)
{
    struct scope scope;
    if (!scope_read(l, c->body, &scope) || !(scope.types & STATES_TERMINAL))
        return 0;
    struct tally tally = {0};
    struct tally_span span = {TIME_NONE, TIME_LAST, 0};
    clip(&span, &scope);
    *ret = 0;
    if (add_ended(&(struct walk){c, l, &span, &tally}, err) < 0 || count_others(c, l, ret, err) < 0)
        return -1;
    for (size_t i = 0; i < tally.cells.n; i++)
        if (scope.types & STATE_BIT(state_type_of(tally.cells.v[i].type)))
            *ret += tally.cells.v[i].runs;
    return 1;
}
