#include "store/cleanups.h"

#include <string.h>

#define OTHERS_FIRST (5 * SEC) /* for workers of its own queue; for others than the one that gave it back */
#define DEAD_KEPT (7 * DAY)

int cleanup_add(struct conn *c, Uuid flow_run, Time now, struct outbox *out, struct err *err)
{
    Uuid pool, queue;
    Str place;
    AUTO(arena_freep) struct arena *a = arena_create();
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c, err,
            "SELECT work_queue.work_pool_id, work_queue.id, flow_run.infrastructure_pid FROM flow_run"
            " JOIN work_queue ON work_queue.id = flow_run.work_queue_id JOIN work_pool ON work_pool.id = work_queue.work_pool_id"
            " WHERE flow_run.id = $1 AND work_pool.type NOT LIKE '%:managed' AND work_pool.type NOT LIKE '%:push'", "u", flow_run);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc <= 0)
            return rc;
        pool = stmt_uuid(q, 0);
        queue = stmt_uuid(q, 1);
        place = str_dup(a, stmt_str(q, 2));
    }
    if (db_exec(c, err,
                "INSERT INTO worker_cleanup (id, created, work_pool_id, work_queue_id, flow_run_id, infrastructure_pid, deliveries, again, dead)"
                " VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0)", "utuuus", uuid_v7(), now, pool, queue, flow_run, place) < 0)
        return -1;
    outbox_alarm(out, ALARM_CANCEL, now);
    return 0;
}

static bool serves(const Uuid *queues, size_t n, Uuid queue)
{
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(queues[i], queue))
            return true;
    return n == 0;
}

int cleanup_reserve(struct conn *c, struct arena *a, Uuid pool, Str worker, const Uuid *queues, size_t n, int64_t most, Time now,
                    struct outbox *out, struct cleanup *ret, struct err *err)
{
    int64_t held;
    if (db_get_int(c, err, &held, "SELECT count(*) FROM worker_cleanup WHERE work_pool_id = $1 AND dead = 0 AND token IS NOT NULL AND worker = $2 AND lease > $3",
                   "ust", pool, worker, now) < 0)
        return -1;
    if (held >= most)
        return 0;
    bool found = false;
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c, err,
            "SELECT id, work_queue_id, flow_run_id, infrastructure_pid, deliveries, created FROM worker_cleanup WHERE work_pool_id = $1 AND dead = 0"
            " AND (token IS NULL OR lease <= $2) AND (worker IS NULL OR worker <> $3 OR again <= $2) AND deliveries < 3 ORDER BY created LIMIT 100",
            "uts", pool, now, worker);
        int rc = q ? 1 : -1;
        while (!found && rc == 1 && (rc = stmt_step(q, err)) == 1) {
            *ret = (struct cleanup){.id = stmt_uuid(q, 0), .pool_id = pool, .queue_id = stmt_uuid(q, 1), .flow_run_id = stmt_uuid(q, 2),
                                    .infrastructure_pid = str_dup(a, stmt_str(q, 3)), .deliveries = stmt_int(q, 4) + 1, .lease = now + CLEANUP_LEASE};
            Time created = stmt_int(q, 5);
            found = serves(queues, n, ret->queue_id) || created + OTHERS_FIRST <= now;
            if (!found)
                outbox_alarm(out, ALARM_CANCEL, created + OTHERS_FIRST);
        }
        if (rc < 0)
            return -1;
    }
    if (!found)
        return 0;
    ret->token = str_dup(a, str_of(uuid_text(uuid_v4()).s));
    /* another worker may have been quicker (PostgreSQL) */
    int64_t taken = db_exec(c, err,
        "UPDATE worker_cleanup SET deliveries = $1, token = $2, worker = $3, lease = $4, again = $5 WHERE id = $6 AND dead = 0 AND deliveries = $1 - 1",
        "issttu", ret->deliveries, ret->token, worker, ret->lease, ret->lease + OTHERS_FIRST, ret->id);
    if (taken < 0)
        return -1;
    outbox_alarm(out, ALARM_CANCEL, taken ? ret->lease : now);
    return taken > 0;
}

int cleanup_operate(struct conn *c, enum cleanup_operation op, Uuid pool, Str worker, Uuid id, Str token, Time now, struct outbox *out,
                    const char **ret_status, Time *ret_lease, struct err *err)
{
    *ret_status = "accepted";
    *ret_lease = TIME_NONE;
    int64_t deliveries;
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c, err, "SELECT work_pool_id, worker, token, lease, dead, deliveries FROM worker_cleanup WHERE id = $1", "u", id);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc < 0)
            return -1;
        if (rc == 0 || !uuid_eq(stmt_uuid(q, 0), pool))
            *ret_status = "not_found";
        else if (stmt_int(q, 4))
            *ret_status = "dead_lettered";
        else if (stmt_is_null(q, 2))
            *ret_status = "not_current";
        else if (!str_eq(stmt_str(q, 2), token))
            *ret_status = "invalid_token";
        else if (!str_eq(stmt_str(q, 1), worker))
            *ret_status = "unauthorized";
        else if (stmt_int(q, 3) <= now)
            *ret_status = "expired";
        deliveries = rc == 1 ? stmt_int(q, 5) : 0;
    }
    if (strcmp(*ret_status, "accepted") != 0)
        return 0;
    switch (op) {
    case CLEANUP_ACK:
        return db_exec(c, err, "DELETE FROM worker_cleanup WHERE id = $1", "u", id) < 0 ? -1 : 0;
    case CLEANUP_RELEASE:
        outbox_alarm(out, ALARM_CANCEL, now);
        return db_exec(c, err, "UPDATE worker_cleanup SET token = NULL, lease = NULL, again = $1, dead = $2 WHERE id = $3", "tiu", now + OTHERS_FIRST,
                       (int64_t)(deliveries >= CLEANUP_DELIVERIES), id) < 0 ? -1 : 0;
    case CLEANUP_RENEW:
        *ret_lease = now + CLEANUP_LEASE;
        outbox_alarm(out, ALARM_CANCEL, *ret_lease);
        return db_exec(c, err, "UPDATE worker_cleanup SET lease = $1, again = $2 WHERE id = $3", "ttu", *ret_lease, *ret_lease + OTHERS_FIRST, id) < 0 ? -1 : 0;
    }
    return 0;
}

int cleanup_tick(struct conn *c, struct arena *a, Time now, struct outbox *out, Time *ret_next, struct err *err)
{
    if (db_exec(c, err, "UPDATE worker_cleanup SET dead = 1, token = NULL WHERE dead = 0 AND deliveries >= 3 AND lease <= $1", "t", now) < 0 ||
        db_exec(c, err, "DELETE FROM worker_cleanup WHERE dead = 1 AND created < $1", "t", now - DEAD_KEPT) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *q = db_query(c, err,
        "SELECT work_pool_id, min(CASE WHEN token IS NULL OR lease <= $1 THEN 0 ELSE 1 END), min(CASE WHEN lease > $1 THEN lease END),"
        " min(CASE WHEN again > $1 THEN again END) FROM worker_cleanup WHERE dead = 0 GROUP BY work_pool_id", "t", now);
    int rc = q ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(q, err)) == 1) {
        if (stmt_int(q, 1) == 0)
            vec_push(a, &out->pools_cleanup, stmt_uuid(q, 0));
        for (int col = 2; col < 4; col++)
            if (!stmt_is_null(q, col))
                *ret_next = MIN(*ret_next, stmt_int(q, col));
    }
    return rc;
}
