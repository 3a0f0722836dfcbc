/* Global concurrency limits: kept, taken from, given back to, leased. */
#include "api/concurrency.h"

#include "api/list.h"
#include "base/limits.h"

#include <math.h>


/* ---- what both generations of routes share ---- */

void limit_event(struct call *c, const struct concurrency_limit *l, const char *what)
{
    event_resource_changed(c, "concurrency-limit", what, l->id, l->name, STR_NONE);
}

int limit_delete(struct call *c, const struct concurrency_limit *l, struct err *err)
{
    if (leases_forget_limit(c->conn, c->a, l->id, err) < 0 || record_delete(c->conn, &concurrency_limit_resource, l->id, err) < 0)
        return -1;
    outbox_alarm(&c->outbox, ALARM_SLOT, c->now);
    limit_event(c, l, "deleted");
    return 0;
}

void limits_print_minimal(struct call *c, const struct slots_result *r, size_t prefix)
{
    jw_array(&c->w);
    for (size_t i = 0; i < r->limits.n; i++) {
        const struct concurrency_limit *l = &r->limits.v[i];
        jw_object(&c->w);
        jw_kuuid(&c->w, "id", l->id);
        jw_kstr(&c->w, "name", str_sub(l->name, prefix, l->name.n));
        jw_kint(&c->w, "limit", l->limit);
        jw_end(&c->w);
    }
    jw_end(&c->w);
}

int reply_locked(struct call *c, double retry_after, Str detail)
{
    c->status = 423;
    c->retry_after = retry_after;
    jw_object(&c->w);
    jw_kstr(&c->w, "detail", detail);
    jw_end(&c->w);
    return 0;
}

/* ---- the limits themselves ---- */

static int name_taken(struct err *err, Str name)
{
    return err_set(err, ERR_CONFLICT, "A concurrency limit with the name '%.*s' already exists.", STR_ARG(str_sub(name, 0, 200)));
}

int concurrency_limits_v2_create(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    if (call_parse(c, &concurrency_limit_resource, CREATE, &l, err) < 0)
        return -1;
    l.id = uuid_v7();
    l.created = l.updated = c->now;
    int64_t made = record_insert(c->conn, &concurrency_limit_resource, &l, "ON CONFLICT (name) DO NOTHING", err);
    if (made <= 0)
        return made < 0 ? -1 : name_taken(err, l.name);
    limit_event(c, &l, "created");
    return record_print_object(c, &concurrency_limit_resource, &l);
}

/* The limit that the path names by its id or its name. */
static int find(struct call *c, struct concurrency_limit *ret, struct err *err)
{
    Uuid id;
    int rc = 0;
    if (uuid_parse(c->params[0], &id))
        rc = record_by_id(c->conn, c->a, &concurrency_limit_resource, id, ret, err);
    if (rc == 0)
        rc = record_find(c->conn, c->a, &concurrency_limit_resource, ret, err, "name = $1", "s", c->params[0]);
    return rc == 0 ? call_not_found(err, "Concurrency limit") : rc < 0 ? -1 : 0;
}

/* Slots as they are now, `updated` as it is stored, and none of the server's own figures. */
static void print_limit(struct call *c, struct concurrency_limit l)
{
    static const char *const skip[] = {"denied_slots", "avg_slot_occupancy_seconds", NULL};
    Time updated = l.updated;
    limit_decay(&l, c->now);
    l.updated = updated;
    jw_object(&c->w);
    record_print(&c->w, &concurrency_limit_resource, &l, skip);
    jw_end(&c->w);
}

int concurrency_limits_v2_read(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    if (find(c, &l, err) < 0)
        return -1;
    print_limit(c, l);
    return 0;
}

int concurrency_limits_v2_filter(struct call *c, struct err *err)
{
    int64_t limit, offset;
    if (call_page(c, &limit, &offset, err) < 0 || call_invalid(c, err) < 0)
        return -1;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&concurrency_limit_resource));
    sql_z(&q, " FROM concurrency_limit_v2 ORDER BY name LIMIT ");
    sql_int(&q, limit);
    sql_z(&q, " OFFSET ");
    sql_int(&q, offset);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct concurrency_limit l;
        record_load(c->a, &concurrency_limit_resource, rows, 0, &l);
        print_limit(c, l);
    }
    jw_end(&c->w);
    return rc;
}

int concurrency_limits_v2_update(struct call *c, struct err *err)
{
    struct concurrency_limit change, l, twin;
    if (call_parse(c, &concurrency_limit_resource, UPDATE, &change, err) < 0 || find(c, &l, err) < 0 ||
        record_lock(c->conn, c->a, &concurrency_limit_resource, l.id, &l, err) < 0)
        return -1;
    if (IS_SET(&change, concurrency_limit__name) && !str_eq(change.name, l.name)) {
        int rc = record_find(c->conn, c->a, &concurrency_limit_resource, &twin, err, "name = $1", "s", change.name);
        if (rc != 0)
            return rc < 0 ? -1 : name_taken(err, change.name);
    }
    /* what has come back by itself is written down before the rate or the clock it is counted from change */
    limit_decay(&l, c->now);
    if (!IS_SET(&change, concurrency_limit__active_slots))
        change.active_slots = l.active_slots;
    if (!IS_SET(&change, concurrency_limit__denied_slots))
        change.denied_slots = l.denied_slots;
    change.updated = c->now;
    FieldSet mask = change.set | (FieldSet)1 << concurrency_limit__active_slots | (FieldSet)1 << concurrency_limit__denied_slots |
                    (FieldSet)1 << concurrency_limit__updated;
    if (record_update(c->conn, &concurrency_limit_resource, &change, mask, l.id, err) < 0)
        return -1;
    if (IS_SET(&change, concurrency_limit__name))
        l.name = change.name;
    outbox_alarm(&c->outbox, ALARM_SLOT, c->now);
    limit_event(c, &l, "updated");
    return call_empty(c, 204);
}

int concurrency_limits_v2_delete(struct call *c, struct err *err)
{
    struct concurrency_limit l;
    return find(c, &l, err) < 0 || limit_delete(c, &l, err) < 0 ? -1 : call_empty(c, 204);
}

/* ---- slots ---- */

static void parse_wanted(struct call *c, struct slots_wanted *ret)
{
    *ret = (struct slots_wanted){.max_tag_wait = c->ws->orchestration.tag_slot_wait};
    ret->names = call_strs(c, "names", &ret->n);
    ret->slots = call_int(c, "slots");
    ret->rate_limit = call_asks(c, "mode") && str_eqz(call_str(c, "mode"), "rate_limit");
}

static int take(struct call *c, const struct slots_wanted *want, struct slots_result *ret, struct err *err)
{
    if (slots_take(c->conn, c->a, want, c->ws->orchestration.max_slot_wait, c->now, ret, err) < 0)
        return -1;
    return ret->taken ? 0 : slots_count_refused(c->conn, ret, want->slots, err);
}

int concurrency_limits_v2_increment(struct call *c, struct err *err)
{
    struct slots_wanted want;
    struct slots_result got;
    parse_wanted(c, &want);
    if (call_invalid(c, err) < 0 || take(c, &want, &got, err) < 0)
        return -1;
    if (!got.taken)
        return reply_locked(c, got.retry_after, STR("Locked"));
    limits_print_minimal(c, &got, 0);
    return 0;
}

int concurrency_limits_v2_decrement(struct call *c, struct err *err)
{
    struct slots_wanted give;
    struct slots_result got;
    parse_wanted(c, &give);
    double held = call_double(c, "occupancy_seconds");
    if (call_invalid(c, err) < 0 || slots_give(c->conn, c->a, &give, held, c->now, &got, &c->outbox, err) < 0)
        return -1;
    limits_print_minimal(c, &got, 0);
    return 0;
}

/* ---- leases ---- */

static void parse_holder(struct call *c, Str *ret_type, Uuid *ret_id)
{
    const struct json *v = call_json(c, "holder");
    struct lease l = {0};
    *ret_type = STR_NONE;
    *ret_id = UUID_NIL;
    if (!v)
        return;
    Str before = violations_enter(&c->violations, STR("holder"));
    for (size_t i = 0; i < lease_holder_shape.n; i++) {
        const struct field *f = &lease_holder_shape.fields[i];
        const struct json *member = json_get(v, str_of(f->name));
        if (member)
            field_parse(c->a, f, member, &l, &c->violations);
        else
            violation_add(&c->violations, "missing", str_of(f->name), v, "is required");
    }
    for (size_t i = 0; i < v->object.n; i++)
        if (!resource_field(&lease_holder_shape, v->object.members[i].key))
            violation_add(&c->violations, "extra_forbidden", v->object.members[i].key, &v->object.members[i].value, "is not known here");
    c->violations.prefix = before;
    *ret_type = l.holder_type;
    *ret_id = l.holder_id;
}

int concurrency_limits_v2_increment_with_lease(struct call *c, struct err *err)
{
    struct slots_wanted want;
    struct slots_result got;
    Str holder_type;
    Uuid holder, lease;
    parse_wanted(c, &want);
    parse_holder(c, &holder_type, &holder);
    Dur ttl = call_dur(c, "lease_duration");
    if (call_invalid(c, err) < 0 || take(c, &want, &got, err) < 0)
        return -1;
    if (!got.taken)
        return reply_locked(c, got.retry_after, STR("Locked"));
    Uuid *ids = arena_array(c->a, Uuid, got.limits.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < got.limits.n; i++)
        if (got.limits.v[i].active == 1) /* one that does not count now must not be given a slot back later */
            ids[n++] = got.limits.v[i].id;
    if (lease_create(c->conn, c->a, ids, n, want.slots, ttl, holder_type, holder, c->now, &c->outbox, &lease, err) < 0)
        return -1;
    jw_object(&c->w);
    jw_kuuid(&c->w, "lease_id", lease);
    jw_key(&c->w, STR("limits"));
    limits_print_minimal(c, &got, 0);
    jw_end(&c->w);
    return 0;
}

int concurrency_limits_v2_decrement_with_lease(struct call *c, struct err *err)
{
    Uuid lease = call_uuid(c, "lease_id");
    if (call_invalid(c, err) < 0 || lease_release(c->conn, c->a, lease, c->now, &c->outbox, err) < 0)
        return -1;
    return call_empty(c, 204); /* also where it has expired: the slots are free, as was asked */
}

int concurrency_leases_renew(struct call *c, struct err *err)
{
    Dur ttl = call_dur(c, "lease_duration");
    if (call_invalid(c, err) < 0)
        return -1;
    int rc = lease_renew(c->conn, c->id, ttl, c->now, &c->outbox, err);
    return rc < 0 ? -1 : rc == 0 ? err_set(err, ERR_GONE, "Lease not found: it has expired, or was given back") : call_empty(c, 204);
}
