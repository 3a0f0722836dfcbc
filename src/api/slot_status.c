/* Which runs take up a work pool's or queue's concurrency limit. */
#include "api/pools.h"
#include "base/limits.h"

#define POOL_STATES "('PENDING', 'RUNNING')"
#define QUEUE_STATES "('PENDING', 'RUNNING', 'CANCELLING')"

/* [{id, name, state …}] of a queue's runs, oldest first. */
static int print_runs(struct call *c, Uuid queue_id, bool cancelling, int64_t limit, int64_t offset, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT id, name, state_type, state_name, start_time, state_timestamp FROM flow_run WHERE work_queue_id = ");
    sql_uuid(&q, queue_id);
    sql_z(&q, " AND state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') AND state_type IN "); /* the first names the index */
    sql_z(&q, cancelling ? QUEUE_STATES : POOL_STATES);
    sql_z(&q, " ORDER BY id LIMIT ");
    sql_int(&q, limit);
    sql_z(&q, " OFFSET ");
    sql_int(&q, offset);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        jw_object(&c->w);
        jw_kuuid(&c->w, "id", stmt_uuid(rows, 0));
        jw_kstr(&c->w, "name", stmt_str(rows, 1));
        jw_kstr(&c->w, "state_type", stmt_str(rows, 2));
        jw_kstr(&c->w, "state_name", stmt_str(rows, 3));
        jw_ktime(&c->w, "start_time", stmt_is_null(rows, 4) ? TIME_NONE : stmt_int(rows, 4));
        Time since = stmt_is_null(rows, 5) ? TIME_NONE : stmt_int(rows, 5);
        jw_ktime(&c->w, "state_timestamp", since);
        if (since == TIME_NONE)
            jw_knull(&c->w, "time_in_current_state");
        else
            jw_kdouble(&c->w, "time_in_current_state", (double)MAX(c->now - since, 0) / SEC);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return rc;
}

static void print_page(struct call *c, int64_t count, int64_t limit, int64_t page)
{
    jw_kint(&c->w, "count", count);
    jw_kint(&c->w, "limit", limit);
    jw_kint(&c->w, "pages", limit ? (count + limit - 1) / limit : 0);
    jw_kint(&c->w, "page", page);
}

int work_pools_concurrency_status(struct call *c, struct err *err)
{
    int64_t limit, page, count = 0, active, runs = call_int(c, "flow_run_limit");
    struct work_pool pool;
    if (call_page_number(c, &limit, &page, err) < 0 || call_invalid(c, err) < 0 || pool_find(c, c->params[0], &pool, err) < 0 ||
        db_get_int(c->conn, err, &count, "SELECT count(*) FROM work_queue WHERE work_pool_id = $1", "u", pool.id) < 0 ||
        pool_active_slots(c, pool.id, &active, err) < 0)
        return -1;
    VEC(struct work_queue) queues = {0};
    {
        AUTO(stmt_finish) struct stmt *rows = db_query(c->conn, err,
                                                       "SELECT id, name, concurrency_limit FROM work_queue WHERE work_pool_id = $1"
                                                       " ORDER BY priority, id LIMIT $2 OFFSET $3",
                                                       "uii", pool.id, limit, (page - 1) * limit);
        int rc = rows ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &queues, ((struct work_queue){.id = stmt_uuid(rows, 0), .name = str_dup(c->a, stmt_str(rows, 1)),
                                                         .concurrency_limit = stmt_is_null(rows, 2) ? INT_NONE : stmt_int(rows, 2)}));
        if (rc < 0)
            return -1;
    }
    jw_object(&c->w);
    jw_kint(&c->w, "concurrency_limit", pool.concurrency_limit);
    jw_kint(&c->w, "active_slots", active);
    jw_key(&c->w, STR("queues"));
    jw_array(&c->w);
    for (size_t i = 0; i < queues.n; i++) {
        const struct work_queue *q = &queues.v[i];
        if (queue_active_slots(c, q->id, false, &active, err) < 0)
            return -1;
        jw_object(&c->w);
        jw_kuuid(&c->w, "queue_id", q->id);
        jw_kstr(&c->w, "queue_name", q->name);
        jw_kint(&c->w, "concurrency_limit", q->concurrency_limit);
        jw_kint(&c->w, "active_slots", active);
        jw_kint(&c->w, "flow_run_count", active);
        jw_key(&c->w, STR("flow_runs"));
        if (print_runs(c, q->id, false, active ? runs : 0, 0, err) < 0)
            return -1;
        jw_end(&c->w);
    }
    jw_end(&c->w);
    print_page(c, count, limit, page);
    jw_end(&c->w);
    return 0;
}

int work_queues_concurrency_status(struct call *c, struct err *err)
{
    int64_t limit, page, active;
    struct work_queue q;
    if (call_page_number(c, &limit, &page, err) < 0 || call_invalid(c, err) < 0)
        return -1;
    int rc = record_by_id(c->conn, c->a, &work_queue_resource, c->id, &q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Work queue");
    if (queue_active_slots(c, q.id, true, &active, err) < 0)
        return -1;
    jw_object(&c->w);
    jw_kint(&c->w, "concurrency_limit", q.concurrency_limit);
    jw_kint(&c->w, "active_slots", active);
    jw_key(&c->w, STR("flow_runs"));
    if (print_runs(c, q.id, true, limit, (page - 1) * limit, err) < 0)
        return -1;
    print_page(c, active, limit, page);
    jw_end(&c->w);
    return 0;
}
