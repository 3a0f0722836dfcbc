/* Limits on task tags, as clients of the first generation know them: stored as global limits named "tag:<tag>",
 * whose slots are held by leases of task runs. */
#include "api/concurrency.h"

#include "base/limits.h"

#include <math.h>

#define PREFIX 4 /* "tag:" */
#define HOLDER STR("task_run")

static Str limit_name(struct call *c, Str tag)
{
    return str_fmt(c->a, "tag:%.*s", STR_ARG(tag));
}

static int found(int rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Concurrency limit") : rc < 0 ? -1 : 0;
}

static int find_by_tag(struct call *c, Str tag, struct concurrency_limit *ret, struct err *err)
{
    return found(record_find(c->conn, c->a, &concurrency_limit_resource, ret, err, "name = $1", "s", limit_name(c, tag)), err);
}

static int find_by_id(struct call *c, struct concurrency_limit *ret, struct err *err)
{
    int rc = record_by_id(c->conn, c->a, &concurrency_limit_resource, c->id, ret, err);
    return found(rc == 1 && !str_starts(ret->name, STR("tag:")) ? 0 : rc, err);
}

/* ---- out ---- */

struct slot {
    Str limit_ids; /* of the holder's lease */
    Uuid task_run;
};
typedef VEC(struct slot) SlotList;

/* Who holds slots of tags: of one limit, or (nil) of any. */
static int holders(struct call *c, Uuid limit_id, SlotList *ret, struct err *err)
{
    Str pattern = uuid_is_nil(limit_id) ? STR("%") : str_fmt(c->a, "%%%s%%", uuid_text(limit_id).s);
    AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err,
                                                "SELECT limit_ids, holder_id FROM concurrency_lease WHERE holder_type = 'task_run'"
                                                " AND holder_id IS NOT NULL AND limit_ids LIKE $1 AND expires > $2 ORDER BY created, id",
                                                "st", pattern, c->now);
    int rc = q ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(q, err)) == 1)
        vec_push(c->a, ret, ((struct slot){str_dup(c->a, stmt_str(q, 0)), stmt_uuid(q, 1)}));
    return rc;
}

static void print_limit(struct call *c, const struct concurrency_limit *l, const SlotList *slots)
{
    struct uuid_text id = uuid_text(l->id);
    jw_object(&c->w);
    jw_kuuid(&c->w, "id", l->id);
    jw_ktime(&c->w, "created", l->created);
    jw_ktime(&c->w, "updated", l->updated);
    jw_kstr(&c->w, "tag", str_sub(l->name, PREFIX, l->name.n));
    jw_kint(&c->w, "concurrency_limit", l->limit);
    jw_key(&c->w, STR("active_slots"));
    jw_array(&c->w);
    for (size_t i = 0; i < slots->n; i++)
        if (str_find(slots->v[i].limit_ids, str_of(id.s)) >= 0)
            jw_uuid(&c->w, slots->v[i].task_run);
    jw_end(&c->w);
    jw_end(&c->w);
}

static int print_one(struct call *c, const struct concurrency_limit *l, struct err *err)
{
    SlotList slots = {0};
    if (holders(c, l->id, &slots, err) < 0)
        return -1;
    print_limit(c, l, &slots);
    return 0;
}

/* ---- the limits ---- */

int concurrency_limits_create(struct call *c, struct err *err)
{
    Str tag = call_str(c, "tag");
    int64_t limit = call_int(c, "concurrency_limit");
    if (!tag.n)
        violation_add(&c->violations, "value_error", STR("tag"), json_getz(c->body, "tag"), "must not be empty");
    if (call_invalid(c, err) < 0)
        return -1;
    struct concurrency_limit l = {.id = uuid_v7(), .created = c->now, .updated = c->now, .active = 1, .name = limit_name(c, tag), .limit = limit,
                                  .avg_slot_occupancy_seconds = 2};
    int64_t made = record_insert(c->conn, &concurrency_limit_resource, &l, "ON CONFLICT (name) DO NOTHING", err);
    if (made < 0)
        return -1;
    c->status = made ? 201 : 200;
    if (!made && (db_exec(c->conn, err, "UPDATE concurrency_limit_v2 SET \"limit\" = $1, updated = $2 WHERE name = $3", "its", limit, c->now, l.name) < 0 ||
                  find_by_tag(c, tag, &l, err) < 0))
        return -1;
    limit_event(c, &l, made ? "created" : "updated");
    return print_one(c, &l, err);
}

int concurrency_limits_filter(struct call *c, struct err *err)
{
    int64_t limit, offset;
    SlotList slots = {0};
    if (call_page(c, &limit, &offset, err) < 0 || call_invalid(c, err) < 0 || holders(c, UUID_NIL, &slots, err) < 0)
        return -1;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&concurrency_limit_resource));
    sql_z(&q, " FROM concurrency_limit_v2 WHERE name LIKE 'tag:%' ORDER BY name LIMIT ");
    sql_int(&q, limit);
    sql_z(&q, " OFFSET ");
    sql_int(&q, offset);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct concurrency_limit l;
        record_load(c->a, &concurrency_limit_resource, rows, 0, &l);
        print_limit(c, &l, &slots);
    }
    jw_end(&c->w);
    return rc;
}

int concurrency_limits_read(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    return find_by_id(c, &l, err) < 0 ? -1 : print_one(c, &l, err);
}

int concurrency_limits_read_by_tag(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    return find_by_tag(c, c->params[0], &l, err) < 0 ? -1 : print_one(c, &l, err);
}

int concurrency_limits_delete(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    return find_by_id(c, &l, err) < 0 || limit_delete(c, &l, err) < 0 ? -1 : call_null(c);
}

int concurrency_limits_delete_by_tag(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    return find_by_tag(c, c->params[0], &l, err) < 0 || limit_delete(c, &l, err) < 0 ? -1 : call_null(c);
}

/* Nobody holds a slot any more, but for the task runs of `slot_override`. */
int concurrency_limits_reset(struct call *c, struct err *err)
{
    size_t n;
    Uuid *ids = call_uuids(c, "slot_override", &n), lease;
    struct concurrency_limit l;
    if (call_invalid(c, err) < 0 || find_by_tag(c, c->params[0], &l, err) < 0 || leases_forget_limit(c->conn, c->a, l.id, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (lease_create(c->conn, c->a, &l.id, 1, /* slots= */ 1, LEASE_FOREVER, HOLDER, ids[i], c->now, &c->outbox, &lease, err) < 0)
            return -1;
    if (db_exec(c->conn, err, "UPDATE concurrency_limit_v2 SET active_slots = $1, denied_slots = 0, updated = $2 WHERE id = $3", "itu", (int64_t)n, c->now, l.id) < 0)
        return -1;
    limit_event(c, &l, "updated");
    return call_null(c);
}

/* ---- slots, as the engine takes and returns them for a task run ---- */

static Str *parse_names(struct call *c, size_t *ret_n, Uuid *ret_task_run)
{
    Str *names = call_strs(c, "names", ret_n);
    *ret_task_run = call_uuid(c, "task_run_id");
    for (size_t i = 0; i < *ret_n; i++)
        names[i] = limit_name(c, names[i]);
    return names;
}

int concurrency_limits_increment(struct call *c, struct err *err)
{
    Uuid task_run, lease;
    struct slots_result got;
    struct slots_wanted want = {.slots = 1, .max_tag_wait = c->ws->orchestration.tag_slot_wait};
    want.names = parse_names(c, &want.n, &task_run);
    if (call_invalid(c, err) < 0)
        return -1;
    /* one that sends its request again has its slots */
    if (leases_release_limits(c->conn, c->a, HOLDER, task_run, want.names, want.n, c->now, &c->outbox, err) < 0)
        return -1;
    struct err why;
    if (slots_take(c->conn, c->a, &want, c->ws->orchestration.max_slot_wait, c->now, &got, &why) < 0) {
        if (why.code != ERR_UNPROCESSABLE) {
            *err = why;
            return -1;
        }
        for (size_t i = 0; i < got.limits.n; i++)
            if (got.limits.v[i].active == 1 && got.limits.v[i].limit < 1)
                return reply_locked(c, -1, str_fmt(c->a, "The limit on tag \"%.*s\" is 0: a task of this tag can never run.",
                                                   STR_ARG(str_sub(got.limits.v[i].name, PREFIX, got.limits.v[i].name.n))));
        *err = why;
        return -1;
    }
    if (!got.taken) {
        Str full = STR("?");
        for (size_t i = 0; i < got.limits.n; i++)
            if (got.limits.v[i].active == 1 && got.limits.v[i].active_slots >= got.limits.v[i].limit)
                full = str_sub(got.limits.v[i].name, PREFIX, got.limits.v[i].name.n);
        return reply_locked(c, got.retry_after, str_fmt(c->a, "The limit on tag \"%.*s\" is reached.", STR_ARG(full)));
    }
    Uuid *ids = arena_array(c->a, Uuid, got.limits.n + 1);
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < got.limits.n; i++)
        if (got.limits.v[i].active == 1) {
            ids[n++] = got.limits.v[i].id;
            got.limits.v[kept++] = got.limits.v[i];
        }
    got.limits.n = kept;
    if (n && lease_create(c->conn, c->a, ids, n, want.slots, LEASE_FOREVER, HOLDER, task_run, c->now, &c->outbox, &lease, err) < 0)
        return -1;
    limits_print_minimal(c, &got, PREFIX);
    return 0;
}

int concurrency_limits_decrement(struct call *c, struct err *err)
{
    Uuid task_run;
    size_t n;
    Str *names = parse_names(c, &n, &task_run);
    if (call_invalid(c, err) < 0)
        return -1;
    if (leases_release_limits(c->conn, c->a, HOLDER, task_run, names, n, c->now, &c->outbox, err) < 0)
        return -1;
    struct slots_wanted none = {.names = names, .n = n};
    struct slots_result got;
    if (slots_give(c->conn, c->a, &none, NAN, c->now, &got, &c->outbox, err) < 0) /* to name those that are there, by their whole name */
        return -1;
    limits_print_minimal(c, &got, 0);
    return 0;
}
