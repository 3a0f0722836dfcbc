#include "store/concurrency.h"

#include <math.h>

#define SLOT_WAIT_TAG (10 * SEC)   /* where the caller names none */
#define SLOT_WAIT (30 * SEC)       /* the cap by which refused slots decay */
#define OCCUPANCY_MIN 0.1          /* seconds; shorter ones would make waiters spin */
#define SPREAD 0.3
#define EXPIRE_BATCH 500           /* leases of one tick: bounds the transaction */

/* ---- time's work on a limit ---- */

static bool is_tag(Str name)
{
    return str_starts(name, STR("tag:"));
}

static double denied_rate(const struct concurrency_limit *l)
{
    double most = (double)(is_tag(l->name) ? SLOT_WAIT_TAG : SLOT_WAIT) / SEC;
    if (l->slot_decay_per_second > 0)
        return l->slot_decay_per_second;
    return 1 / fmin(fmax(l->avg_slot_occupancy_seconds, OCCUPANCY_MIN), most);
}

static int64_t after_decay(int64_t slots, double per_second, double seconds)
{
    double gone = floor(per_second * seconds);
    return gone >= (double)slots ? 0 : slots - (int64_t)gone;
}

/* A decaying limit's `updated` moves only by the time that whole slots took, so that what is left of a slot's time is not lost
 * to whoever looks often. */
void limit_decay(struct concurrency_limit *l, Time now)
{
    double seconds = (double)(now - l->updated) / SEC;
    if (seconds <= 0)
        return;
    double rate = l->slot_decay_per_second;
    l->denied_slots = after_decay(l->denied_slots, denied_rate(l), seconds);
    if (rate > 0)
        l->active_slots = after_decay(l->active_slots, rate, seconds);
    if (rate > 0 && (l->active_slots || l->denied_slots))
        l->updated += (Time)(floor(rate * seconds) / rate * SEC);
    else
        l->updated = now;
}

double clamped_poisson(double mean, double f)
{
    if (!(mean > 0))
        return 0;
    double k = 1 + f, two_k = exp2(k);
    double low = mean * log2(two_k / (two_k - 1)), high = mean * k;
    double from = -expm1(-low / mean), to = -expm1(-high / mean);
    double x = -mean * log1p(-(from + (to - from) * random_double()));
    return fmin(fmax(x, low), high);
}

/* ---- slots ---- */

/* The limits asked for, locked in the order of their names, so that two takers of the same limits cannot wait for each other. */
static int lock_limits(struct conn *c, struct arena *a, const struct slots_wanted *want, Time now, struct slots_result *ret, struct err *err)
{
    *ret = (struct slots_result){0};
    if (!want->n)
        return 0;
    AUTO(sql_free) struct sql q = sql_new(a, conn_kind(c));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&concurrency_limit_resource));
    sql_z(&q, want->names ? " FROM concurrency_limit_v2 WHERE name IN (" : " FROM concurrency_limit_v2 WHERE id IN (");
    for (size_t i = 0; i < want->n; i++) {
        if (i)
            sql_z(&q, ", ");
        if (want->names)
            sql_str(&q, want->names[i]);
        else
            sql_uuid(&q, want->ids[i]);
    }
    sql_z(&q, ") ORDER BY name");
    if (q.kind == DB_POSTGRES)
        sql_z(&q, " FOR UPDATE");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct concurrency_limit l;
        record_load(a, &concurrency_limit_resource, rows, 0, &l);
        limit_decay(&l, now);
        vec_push(a, &ret->limits, l);
    }
    return rc;
}

static int store_limit(struct conn *c, const struct concurrency_limit *l, struct err *err)
{
    int64_t n = db_exec(c, err,
                        "UPDATE concurrency_limit_v2 SET updated = $1, active_slots = $2, denied_slots = $3,"
                        " avg_slot_occupancy_seconds = $4 WHERE id = $5",
                        "tiidu", l->updated, l->active_slots, l->denied_slots, l->avg_slot_occupancy_seconds, l->id);
    return n < 0 ? -1 : 0;
}

/* Seconds that one who was refused should wait: the longer the more are known to wait before. */
static double wait_time(const struct slots_result *r, const struct slots_wanted *want, Dur max_wait)
{
    double worst = -1, mean = 0;
    for (size_t i = 0; i < r->limits.n; i++) {
        const struct concurrency_limit *l = &r->limits.v[i];
        if (l->active != 1)
            continue;
        Dur cap = max_wait;
        if (is_tag(l->name))
            cap = MIN(cap, want->max_tag_wait ? want->max_tag_wait : SLOT_WAIT_TAG);
        double most = (double)cap / SEC, blocking = (double)(want->slots + l->denied_slots);
        if (!(l->slot_decay_per_second > 0))
            blocking /= (double)MAX(l->limit, 1);
        if (blocking <= worst)
            continue;
        worst = blocking;
        if (l->slot_decay_per_second > 0)
            mean = blocking / l->slot_decay_per_second;
        else
            mean = fmin(fmin(l->avg_slot_occupancy_seconds, most) * blocking, most);
    }
    return clamped_poisson(mean, SPREAD);
}

static int check_possible(const struct slots_result *r, const struct slots_wanted *want, struct err *err)
{
    for (size_t i = 0; i < r->limits.n; i++) {
        const struct concurrency_limit *l = &r->limits.v[i];
        if (l->active == 1 && l->limit < want->slots)
            return err_set(err, ERR_UNPROCESSABLE, "Slots requested is greater than the limit");
    }
    for (size_t i = 0; i < r->limits.n; i++) {
        const struct concurrency_limit *l = &r->limits.v[i];
        if (l->active == 1 && want->rate_limit && !(l->slot_decay_per_second > 0))
            return err_set(err, ERR_UNPROCESSABLE, "limit '%.*s' has no slot decay, so it cannot limit a rate", STR_ARG(l->name));
    }
    return 0;
}

int slots_take(struct conn *c, struct arena *a, const struct slots_wanted *want, Dur max_wait, Time now, struct slots_result *ret, struct err *err)
{
    if (lock_limits(c, a, want, now, ret, err) < 0 || check_possible(ret, want, err) < 0)
        return -1;
    ret->taken = true;
    for (size_t i = 0; i < ret->limits.n; i++) {
        const struct concurrency_limit *l = &ret->limits.v[i];
        if (l->active == 1 && l->active_slots > l->limit - want->slots)
            ret->taken = false;
    }
    if (!ret->taken) {
        ret->retry_after = wait_time(ret, want, max_wait);
        return 0;
    }
    for (size_t i = 0; i < ret->limits.n; i++) {
        struct concurrency_limit l = ret->limits.v[i];
        if (l.active != 1)
            continue;
        l.active_slots += want->slots;
        if (store_limit(c, &l, err) < 0)
            return -1;
    }
    return 0;
}

int slots_count_refused(struct conn *c, const struct slots_result *refused, int64_t slots, struct err *err)
{
    for (size_t i = 0; i < refused->limits.n; i++) {
        struct concurrency_limit l = refused->limits.v[i];
        if (l.active != 1)
            continue;
        l.denied_slots += slots;
        if (store_limit(c, &l, err) < 0)
            return -1;
    }
    return 0;
}

int slots_give(struct conn *c, struct arena *a, const struct slots_wanted *want, double occupancy, Time now, struct slots_result *ret, struct outbox *out, struct err *err)
{
    if (lock_limits(c, a, want, now, ret, err) < 0)
        return -1;
    for (size_t i = 0; i < ret->limits.n; i++) {
        struct concurrency_limit l = ret->limits.v[i];
        if (l.active != 1)
            continue;
        l.active_slots = MAX(l.active_slots - want->slots, 0);
        if (!isnan(occupancy)) {
            double each = fmax(occupancy / (double)MAX(want->slots, 1), OCCUPANCY_MIN), window = 2 * (double)MAX(l.limit, 1);
            l.avg_slot_occupancy_seconds += each / window - l.avg_slot_occupancy_seconds / window;
        }
        if (store_limit(c, &l, err) < 0)
            return -1;
        if (!is_tag(l.name)) /* runs of deployments do not wait for those */
            outbox_alarm(out, ALARM_SLOT, now);
    }
    return 0;
}

/* ---- leases ---- */

#define LEASE_COLUMNS "id, created, expires, slots, limit_ids, holder_type, holder_id"

static void lease_load(struct arena *a, struct stmt *q, struct lease *ret)
{
    *ret = (struct lease){
        .id = stmt_uuid(q, 0),
        .created = stmt_int(q, 1),
        .expires = stmt_int(q, 2),
        .slots = stmt_int(q, 3),
        .limit_ids = str_dup(a, stmt_str(q, 4)),
        .holder_type = str_dup(a, stmt_str(q, 5)),
        .holder_id = stmt_uuid(q, 6),
    };
}

static void put_ids(struct jw *w, const Uuid *ids, size_t n)
{
    jw_array(w);
    for (size_t i = 0; i < n; i++)
        jw_uuid(w, ids[i]);
    jw_end(w);
}

int lease_create(struct conn *c, struct arena *a, const Uuid *limit_ids, size_t n, int64_t slots, Dur ttl, Str holder_type,
                 Uuid holder_id, Time now, struct outbox *out, Uuid *ret_id, struct err *err)
{
    AUTO(buf_free) struct buf ids = BUF(LIMIT_BODY);
    struct jw w = jw_on(&ids);
    put_ids(&w, limit_ids, n);
    Uuid id = uuid_v7();
    if (db_exec(c, err, "INSERT INTO concurrency_lease (" LEASE_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7)", "uttissu", id, now,
                now + ttl, slots, buf_view(&ids), holder_type, holder_id) < 0)
        return -1;
    outbox_alarm(out, ALARM_LEASE, now + ttl);
    *ret_id = id;
    return 0;
}

int lease_find(struct conn *c, struct arena *a, Uuid id, Time now, struct lease *ret, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q =
        db_query(c, err, "SELECT " LEASE_COLUMNS " FROM concurrency_lease WHERE id = $1 AND expires > $2", "ut", id, now);
    int rc = q ? stmt_step(q, err) : -1;
    if (rc == 1)
        lease_load(a, q, ret);
    return rc;
}

static int renewed(int64_t n, Time expires, struct outbox *out)
{
    if (n > 0)
        outbox_alarm(out, ALARM_LEASE, expires);
    return n < 0 ? -1 : n > 0;
}

int lease_renew(struct conn *c, Uuid id, Dur ttl, Time now, struct outbox *out, struct err *err)
{
    /* also one that has run out and was not taken back yet: it holds its slots still */
    int64_t n = db_exec(c, err, "UPDATE concurrency_lease SET expires = $1 WHERE id = $2", "tu", now + ttl, id);
    return renewed(n, now + ttl, out);
}

int lease_renew_held(struct conn *c, Uuid id, Uuid holder_id, Dur ttl, Time now, struct outbox *out, struct err *err)
{
    int64_t n =
        db_exec(c, err, "UPDATE concurrency_lease SET expires = $1 WHERE id = $2 AND holder_id = $3", "tuu", now + ttl, id, holder_id);
    return renewed(n, now + ttl, out);
}

static int limits_of(struct arena *a, const struct lease *l, Uuid **ret_ids, size_t *ret_n, struct err *err)
{
    struct err why;
    const struct json *list = json_parse(a, l->limit_ids, &why);
    if (!json_is(list, JSON_ARRAY))
        return err_set(err, ERR_INTERNAL, "limits of lease %s are no list", uuid_text(l->id).s);
    *ret_ids = arena_array(a, Uuid, list->array.n + 1);
    *ret_n = 0;
    for (size_t i = 0; i < list->array.n; i++)
        *ret_n += uuid_parse(json_str(&list->array.items[i]), &(*ret_ids)[*ret_n]);
    return 0;
}

/* What a lease held goes back to its limits. */
static int give_back(struct conn *c, struct arena *a, const struct lease *l, bool counts, Time now, struct outbox *out, struct err *err)
{
    Uuid *ids;
    size_t n;
    if (limits_of(a, l, &ids, &n, err) < 0)
        return -1;
    struct slots_wanted give = {.ids = ids, .n = n, .slots = l->slots};
    struct slots_result ignored;
    double age = counts ? (double)MAX(now - l->created, 0) / SEC : NAN;
    return slots_give(c, a, &give, age, now, &ignored, out, err);
}

typedef VEC(struct lease) LeaseList;

static int leases_load(struct arena *a, struct stmt *own, LeaseList *ret, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = own;
    int rc = q ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(q, err)) == 1) {
        struct lease l;
        lease_load(a, q, &l);
        vec_push(a, ret, l);
    }
    return rc;
}

/* Deletes the leases that the statement returns, and gives back what they held: their number, or -1. */
static int release(struct conn *c, struct arena *a, struct stmt *own, bool counts, Time now, struct outbox *out, struct err *err)
{
    LeaseList gone = {0};
    if (leases_load(a, own, &gone, err) < 0)
        return -1;
    for (size_t i = 0; i < gone.n; i++)
        if (give_back(c, a, &gone.v[i], counts, now, out, err) < 0)
            return -1;
    return (int)gone.n;
}

int lease_release(struct conn *c, struct arena *a, Uuid id, Time now, struct outbox *out, struct err *err)
{
    return release(c, a, db_query(c, err, "DELETE FROM concurrency_lease WHERE id = $1 RETURNING " LEASE_COLUMNS, "u", id),
                   /* counts= */ true, now, out, err);
}

int lease_release_run(struct conn *c, struct arena *a, Uuid run_id, Uuid id, Uuid limit_id, Time now, struct outbox *out, struct err *err)
{
    AUTO(buf_free) struct buf alone = BUF(64);
    struct jw w = jw_on(&alone);
    put_ids(&w, &limit_id, !uuid_is_nil(limit_id));
    struct stmt *q = db_query(c, err,
                              "DELETE FROM concurrency_lease WHERE holder_id = $1 AND holder_type = 'flow_run'"
                              " AND (id = $2 OR limit_ids = $3) RETURNING " LEASE_COLUMNS,
                              "uus", run_id, id, uuid_is_nil(limit_id) ? STR_NONE : buf_view(&alone));
    return release(c, a, q, /* counts= */ true, now, out, err);
}

int leases_release(struct conn *c, struct arena *a, Str holder_type, Uuid holder_id, Time now, struct outbox *out, struct err *err)
{
    return release(c, a,
                   db_query(c, err,
                            "DELETE FROM concurrency_lease WHERE holder_id = $1 AND holder_type = $2 RETURNING " LEASE_COLUMNS,
                            "us", holder_id, holder_type),
                   /* counts= */ true, now, out, err);
}

int leases_release_tasks(struct conn *c, struct arena *a, Uuid flow_run_id, Time now, struct outbox *out, struct err *err)
{
    return release(c, a,
                   db_query(c, err,
                            "DELETE FROM concurrency_lease WHERE holder_type = 'task_run' AND holder_id IN"
                            " (SELECT id FROM task_run WHERE flow_run_id = $1) RETURNING " LEASE_COLUMNS,
                            "u", flow_run_id),
                   /* counts= */ true, now, out, err);
}

int leases_release_flow(struct conn *c, struct arena *a, Uuid flow_id, Time now, struct outbox *out, struct err *err)
{
    return release(c, a,
                   db_query(c, err,
                            "DELETE FROM concurrency_lease WHERE holder_id IN"
                            " (SELECT id FROM flow_run WHERE flow_id = $1 UNION ALL"
                            " SELECT task_run.id FROM task_run JOIN flow_run ON flow_run.id = task_run.flow_run_id"
                            " WHERE flow_run.flow_id = $1) RETURNING " LEASE_COLUMNS,
                            "u", flow_id),
                   /* counts= */ true, now, out, err);
}

int leases_release_limits(struct conn *c, struct arena *a, Str holder_type, Uuid holder_id, const Str *names, size_t n, Time now, struct outbox *out, struct err *err)
{
    struct slots_wanted want = {.names = names, .n = n};
    struct slots_result named;
    LeaseList held = {0};
    int released = 0;
    if (lock_limits(c, a, &want, now, &named, err) < 0 ||
        leases_load(a, db_query(c, err, "SELECT " LEASE_COLUMNS " FROM concurrency_lease WHERE holder_id = $1 AND holder_type = $2",
                                "us", holder_id, holder_type), &held, err) < 0)
        return -1;
    for (size_t i = 0; i < held.n; i++) {
        Uuid *ids;
        size_t count, hits = 0;
        if (limits_of(a, &held.v[i], &ids, &count, err) < 0)
            return -1;
        for (size_t k = 0; k < count; k++)
            for (size_t j = 0; j < named.limits.n; j++)
                hits += uuid_eq(ids[k], named.limits.v[j].id);
        if (!count || hits < count)
            continue;
        if (lease_release(c, a, held.v[i].id, now, out, err) < 0)
            return -1;
        released++;
    }
    return released;
}

int leases_forget_limit(struct conn *c, struct arena *a, Uuid limit_id, struct err *err)
{
    LeaseList list = {0};
    Str pattern = str_fmt(a, "%%%s%%", uuid_text(limit_id).s);
    if (leases_load(a, db_query(c, err, "SELECT " LEASE_COLUMNS " FROM concurrency_lease WHERE limit_ids LIKE $1", "s", pattern), &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        Uuid *ids;
        size_t n, left = 0;
        if (limits_of(a, &list.v[i], &ids, &n, err) < 0)
            return -1;
        for (size_t k = 0; k < n; k++)
            if (!uuid_eq(ids[k], limit_id))
                ids[left++] = ids[k];
        AUTO(buf_free) struct buf text = BUF(LIMIT_BODY);
        struct jw w = jw_on(&text);
        put_ids(&w, ids, left);
        int64_t changed = left ? db_exec(c, err, "UPDATE concurrency_lease SET limit_ids = $1 WHERE id = $2", "su", buf_view(&text), list.v[i].id)
                               : db_exec(c, err, "DELETE FROM concurrency_lease WHERE id = $1", "u", list.v[i].id);
        if (changed < 0)
            return -1;
    }
    return 0;
}

int lease_undo(struct conn *c, struct arena *a, Uuid id, Time now, struct outbox *out, struct err *err)
{
    return release(c, a, db_query(c, err, "DELETE FROM concurrency_lease WHERE id = $1 RETURNING " LEASE_COLUMNS, "u", id),
                   /* counts= */ false, now, out, err);
}

int leases_expire(struct conn *c, struct arena *a, Time now, Time *ret_next, struct outbox *out, struct err *err)
{
    struct stmt *q = db_query(c, err,
                              "DELETE FROM concurrency_lease WHERE id IN (SELECT id FROM concurrency_lease WHERE expires <= $1"
                              " ORDER BY expires LIMIT $2) RETURNING " LEASE_COLUMNS,
                              "ti", now, (int64_t)EXPIRE_BATCH);
    if (release(c, a, q, /* counts= */ true, now, out, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *next = db_query(c, err, "SELECT MIN(expires) FROM concurrency_lease", "");
    int rc = next ? stmt_step(next, err) : -1;
    if (rc < 0)
        return -1;
    *ret_next = rc == 0 || stmt_is_null(next, 0) ? TIME_NEVER : stmt_int(next, 0);
    return 0;
}

int leases_move(struct conn *c, Dur by, struct err *err)
{
    return db_exec(c, err, "UPDATE concurrency_lease SET expires = expires + $1", "i", by) < 0 ? -1 : 0;
}
