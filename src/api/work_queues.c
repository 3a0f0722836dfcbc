/* Work queues: order and limits within a pool. */
#include "api/list.h"
#include "api/pools.h"

#include <string.h>

/* A queue counts as asked for within this. */
#define POLLED_WITHIN (60 * SEC)

void queue_event(struct call *c, const struct work_queue *q, const char *what)
{
    event_resource_changed(c, "work-queue", what, q->id, q->name, STR_NONE);
}

int queue_active_slots(struct call *c, Uuid queue_id, bool cancelling, int64_t *ret, struct err *err)
{
    const char *text = cancelling
        ? "SELECT count(*) FROM flow_run WHERE work_queue_id = $1 AND state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING')"
          " AND state_type IN ('PENDING', 'RUNNING', 'CANCELLING')"
        : "SELECT count(*) FROM flow_run WHERE work_queue_id = $1 AND state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING')"
          " AND state_type IN ('PENDING', 'RUNNING')";
    return db_get_int(c->conn, err, ret, text, "u", queue_id) < 0 ? -1 : 0;
}

/* Makes room for `q`'s priority: others at it and after move down one, as far as they touch. */
static int make_room(struct call *c, Uuid pool_id, struct work_queue *q, struct err *err)
{
    VEC(struct work_queue) others = {0};
    AUTO(stmt_finish) struct stmt *rows =
        db_query(c->conn, err, "SELECT id, priority FROM work_queue WHERE work_pool_id = $1 AND id <> $2 ORDER BY priority, id", "uu", pool_id, q->id);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1)
        vec_push(c->a, &others, ((struct work_queue){.id = stmt_uuid(rows, 0), .priority = stmt_int(rows, 1)}));
    if (rc < 0)
        return -1;
    if (q->priority == INT_NONE) {
        q->priority = 1;
        for (size_t i = 0; i < others.n; i++)
            if (others.v[i].priority == q->priority)
                q->priority++;
        return 0;
    }
    int64_t taken = q->priority;
    for (size_t i = 0; i < others.n; i++) {
        if (others.v[i].priority < q->priority)
            continue;
        if (others.v[i].priority > taken)
            break;
        taken++;
        if (db_exec(c->conn, err, "UPDATE work_queue SET priority = $1 WHERE id = $2", "iu", taken, others.v[i].id) < 0)
            return -1;
    }
    return 0;
}

int queue_insert(struct call *c, const struct work_pool *pool, struct work_queue *q, struct err *err)
{
    q->id = uuid_v7();
    q->created = q->updated = c->now;
    q->work_pool_id = pool->id;
    q->status = q->is_paused == 1 ? STR("PAUSED") : STR("NOT_READY");
    int64_t one;
    int rc = db_get_int(c->conn, err, &one, "SELECT 1 FROM work_queue WHERE work_pool_id = $1 AND name = $2", "us", pool->id, q->name);
    if (rc != 0)
        return rc < 0 ? -1
                      : err_set(err, ERR_CONFLICT, "Work queue '%.*s' already exists in work pool '%.*s'.", STR_ARG(str_sub(q->name, 0, 150)),
                                STR_ARG(str_sub(pool->name, 0, 150)));
    if (make_room(c, pool->id, q, err) < 0 || record_insert(c->conn, &work_queue_resource, q, "", err) < 0)
        return -1;
    queue_event(c, q, "created");
    return 0;
}

int queue_ensure(struct call *c, const struct work_pool *pool, Str name, struct work_queue *ret, struct err *err)
{
    int rc = record_find(c->conn, c->a, &work_queue_resource, ret, err, "work_pool_id = $1 AND name = $2", "us", pool->id, name);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    record_init(&work_queue_resource, ret);
    ret->name = name;
    ret->description = STR("");
    ret->is_paused = 0;
    return queue_insert(c, pool, ret, err);
}

static int print(struct call *c, const struct work_queue *q, Str pool_name, bool legacy, struct err *err)
{
    int64_t active = INT_NONE;
    if (q->concurrency_limit != INT_NONE && queue_active_slots(c, q->id, legacy, &active, err) < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &work_queue_resource, q, NULL);
    jw_kstr(&c->w, "work_pool_name", pool_name);
    jw_kint(&c->w, "active_slots", active);
    jw_end(&c->w);
    return 0;
}

int work_queue_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    return print(c, rec, str_dup(c->a, stmt_str(row, extra)), c->listed == &work_queue_listing, err);
}

static int found(int rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Work queue") : rc < 0 ? -1 : 0;
}

static int find_by_id(struct call *c, struct work_queue *ret, struct err *err)
{
    return found(record_by_id(c->conn, c->a, &work_queue_resource, c->id, ret, err), err);
}

static int find_in_pool(struct call *c, struct work_pool *pool, struct work_queue *ret, struct err *err)
{
    if (pool_find(c, c->params[0], pool, err) < 0)
        return -1;
    return found(record_find(c->conn, c->a, &work_queue_resource, ret, err, "work_pool_id = $1 AND name = $2", "us", pool->id, c->params[1]), err);
}

/* ---- below a pool ---- */

int work_queues_create_in_pool(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    if (call_parse(c, &work_queue_resource, CREATE, &q, err) < 0 || pool_find(c, c->params[0], &pool, err) < 0 || queue_insert(c, &pool, &q, err) < 0)
        return -1;
    return print(c, &q, pool.name, false, err);
}

int work_queues_read_in_pool(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    return find_in_pool(c, &pool, &q, err) < 0 ? -1 : print(c, &q, pool.name, false, err);
}

static int update(struct call *c, const struct work_queue *q, struct err *err)
{
    struct work_queue change;
    if (call_parse(c, &work_queue_resource, UPDATE, &change, err) < 0)
        return -1;
    change.id = q->id;
    if (IS_SET(&change, work_queue__name) && !str_eq(change.name, q->name)) {
        int64_t one;
        int rc = db_get_int(c->conn, err, &one, "SELECT 1 FROM work_queue WHERE work_pool_id = $1 AND name = $2", "us", q->work_pool_id, change.name);
        if (rc != 0)
            return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "Work queue '%.*s' already exists in this work pool.", STR_ARG(str_sub(change.name, 0, 150)));
    }
    if (IS_SET(&change, work_queue__priority) && make_room(c, q->work_pool_id, &change, err) < 0)
        return -1;
    const char *told = "updated";
    if (IS_SET(&change, work_queue__is_paused) && change.is_paused != q->is_paused) {
        bool asked = q->last_polled != TIME_NONE && q->last_polled > c->now - POLLED_WITHIN;
        change.status = change.is_paused ? STR("PAUSED") : asked ? STR("READY") : STR("NOT_READY");
        SET_FIELD(&change, work_queue__status);
        told = change.is_paused ? "paused" : asked ? "ready" : "not-ready";
    }
    change.updated = c->now;
    SET_FIELD(&change, work_queue__updated);
    if (record_update(c->conn, &work_queue_resource, &change, change.set, q->id, err) < 0)
        return -1;
    queue_event(c, q, told);
    vec_push(c->a, &c->outbox.pools_due, q->work_pool_id); /* more may be given out now */
    return call_empty(c, 204);
}

static int delete(struct call *c, const struct work_queue *q, struct err *err)
{
    int64_t one;
    int rc = db_get_int(c->conn, err, &one, "SELECT 1 FROM work_pool WHERE default_queue_id = $1", "u", q->id);
    if (rc != 0)
        return rc < 0 ? -1 : err_set(err, ERR_CONFLICT, "Work queue '%.*s' is its pool's default queue and cannot be deleted.", STR_ARG(str_sub(q->name, 0, 150)));
    if (db_exec(c->conn, err, "UPDATE flow_run SET work_queue_id = NULL WHERE work_queue_id = $1", "u", q->id) < 0 ||
        record_delete(c->conn, &work_queue_resource, q->id, err) < 0)
        return -1;
    queue_event(c, q, "deleted");
    return call_empty(c, 204);
}

int work_queues_update_in_pool(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    return find_in_pool(c, &pool, &q, err) < 0 ? -1 : update(c, &q, err);
}

int work_queues_delete_in_pool(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    return find_in_pool(c, &pool, &q, err) < 0 ? -1 : delete(c, &q, err);
}

/* ---- by id; without a pool: the agents' one ---- */

int work_queues_create(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    if (call_parse(c, &work_queue_resource, CREATE, &q, err) < 0 || pool_ensure_agent(c, &pool, err) < 0 || queue_insert(c, &pool, &q, err) < 0)
        return -1;
    return print(c, &q, pool.name, true, err);
}

int work_queues_read(struct call *c, struct err *err)
{
    return found(list_one(c, &work_queue_listing, "work_queue.id = ", c->id, work_queue_print, err), err);
}

int work_queues_read_by_name(struct call *c, struct err *err)
{
    struct work_pool pool;
    struct work_queue q;
    int rc = record_find(c->conn, c->a, &work_pool_resource, &pool, err, "name = 'default-agent-pool'", "");
    if (rc > 0)
        rc = record_find(c->conn, c->a, &work_queue_resource, &q, err, "work_pool_id = $1 AND name = $2", "us", pool.id, c->params[0]);
    else if (rc == 0 && (rc = record_find(c->conn, c->a, &work_queue_resource, &q, err, /* no queue is without a pool yet: any pool's */
                                          "id = (SELECT id FROM work_queue WHERE name = $1 ORDER BY id LIMIT 1)", "s", c->params[0])) > 0)
        rc = record_find(c->conn, c->a, &work_pool_resource, &pool, err, "id = $1", "u", q.work_pool_id);
    return rc <= 0 ? found(rc, err) : print(c, &q, pool.name, true, err);
}

int work_queues_filter(struct call *c, struct err *err)
{
    return list_filter(c, &work_queue_listing, NULL, work_queue_print, err);
}

int work_queues_update(struct call *c, struct err *err)
{
    struct work_queue q;
    return find_by_id(c, &q, err) < 0 ? -1 : update(c, &q, err);
}

int work_queues_delete(struct call *c, struct err *err)
{
    struct work_queue q;
    return find_by_id(c, &q, err) < 0 ? -1 : delete(c, &q, err);
}

int work_queues_status(struct call *c, struct err *err)
{
    struct work_queue q;
    int64_t late;
    if (find_by_id(c, &q, err) < 0 ||
        db_get_int(c->conn, err, &late, "SELECT count(*) FROM flow_run WHERE work_queue_id = $1 AND state_type = 'SCHEDULED' AND state_name = 'Late'", "u", q.id) < 0)
        return -1;
    jw_object(&c->w);
    jw_kbool(&c->w, "healthy", late == 0 && q.last_polled != TIME_NONE && q.last_polled > c->now - POLLED_WITHIN);
    jw_kint(&c->w, "late_runs_count", late);
    jw_ktime(&c->w, "last_polled", q.last_polled);
    jw_key(&c->w, STR("health_check_policy"));
    jw_object(&c->w);
    jw_kint(&c->w, "maximum_late_runs", 0);
    jw_kint(&c->w, "maximum_seconds_since_last_polled", POLLED_WITHIN / SEC);
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}

/* Old agents: runs by queue, or by the tags and deployments of the queue's filter. */
int work_queues_get_runs(struct call *c, struct err *err)
{
    Time before = call_time(c, "scheduled_before", TIME_LAST);
    int64_t limit, offset, active;
    struct work_queue q;
    if (call_page(c, &limit, &offset, err) < 0 || call_invalid(c, err) < 0 || find_by_id(c, &q, err) < 0)
        return -1;
    if (!call_bool(c, "x-prefect-ui") && queues_polled(c, &q.id, 1, err) < 0)
        return -1;
    if (q.is_paused == 1)
        limit = 0;
    if (q.concurrency_limit != INT_NONE) {
        if (queue_active_slots(c, q.id, true, &active, err) < 0)
            return -1;
        limit = MAX(0, MIN(limit, q.concurrency_limit - active));
    }
    struct queue_filter filter;
    shape_read(c->a, &queue_filter_shape, q.filter.p ? q.filter : STR("{}"), &filter);
    bool filtered = filter.tags.p || filter.deployment_ids.p;
    AUTO(buf_free) struct buf body = BUF((size_t)1 << 20);
    struct jw w = jw_on(&body);
    jw_object(&w);
    jw_key(&w, STR("flow_runs"));
    jw_object(&w);
    jw_kraw(&w, "state", STR("{\"type\":{\"any_\":[\"SCHEDULED\"]}}"));
    jw_kraw(&w, "next_scheduled_start_time", str_fmt(c->a, "{\"before_\":\"%s\"}", time_iso(before).s));
    if (filter.tags.p)
        jw_kraw(&w, "tags", str_fmt(c->a, "{\"all_\":%.*s}", STR_ARG(filter.tags)));
    if (filter.deployment_ids.p)
        jw_kraw(&w, "deployment_id", str_fmt(c->a, "{\"any_\":%.*s}", STR_ARG(filter.deployment_ids)));
    jw_end(&w);
    if (!filtered)
        jw_kraw(&w, "work_pool_queues", str_fmt(c->a, "{\"id\":{\"any_\":[\"%s\"]}}", uuid_text(q.id).s));
    jw_kz(&w, "sort", "NEXT_SCHEDULED_START_TIME_ASC");
    jw_kint(&w, "limit", limit);
    jw_end(&w);
    c->body = json_parse(c->a, str_dup(c->a, buf_view(&body)), err);
    return c->body ? list_filter(c, &flow_run_listing, NULL, flow_run_print, err) : -1;
}
