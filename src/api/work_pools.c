/* Work pools: what kind of infrastructure runs a run, and with which settings. */
#include "api/list.h"
#include "api/pools.h"
#include "assets/assets.h"
#include "schema/hydrate.h"

#include <string.h>

int pool_find(struct call *c, Str name, struct work_pool *ret, struct err *err)
{
    int rc = record_find(c->conn, c->a, &work_pool_resource, ret, err, "name = $1", "s", name);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "Work pool \"%.*s\" not found.", STR_ARG(str_sub(name, 0, 200)));
    return rc < 0 ? -1 : 0;
}

bool pool_is_serverless(Str type)
{
    return str_ends(type, STR(":managed")) || str_ends(type, STR(":push"));
}

static bool is_reserved(Str name)
{
    return str_ieq(str_sub(name, 0, 7), STR("prefect"));
}

void pool_event(struct call *c, const struct work_pool *pool, const char *what)
{
    event_resource_changed(c, "work-pool", what, pool->id, pool->name, STR_NONE);
}

int pool_set_status(struct call *c, struct work_pool *pool, Str status, struct err *err)
{
    if (str_eq(pool->status, status))
        return 0;
    pool->status = status;
    pool->last_transitioned_status_at = pool->updated = c->now;
    FieldSet mask = (FieldSet)1 << work_pool__status | (FieldSet)1 << work_pool__last_transitioned_status_at |
                    (FieldSet)1 << work_pool__updated;
    if (record_update(c->conn, &work_pool_resource, pool, mask, pool->id, err) < 0)
        return -1;
    pool_event(c, pool, str_eqz(status, "READY") ? "ready" : str_eqz(status, "PAUSED") ? "paused" : "not-ready");
    vec_push(c->a, &c->outbox.pools_changed, pool->id);
    return 0;
}

/* The status that an unpaused pool has. */
static int awake_status(struct call *c, const struct work_pool *pool, Str *ret, struct err *err)
{
    int64_t one = 0;
    int rc = pool_is_serverless(pool->type) ? 1
                                            : db_get_int(c->conn, err, &one, "SELECT 1 FROM worker WHERE work_pool_id = $1 AND status = 'ONLINE' LIMIT 1",
                                                         "u", pool->id);
    if (rc < 0)
        return -1;
    *ret = rc ? STR("READY") : STR("NOT_READY");
    return 0;
}

int pool_active_slots(struct call *c, Uuid pool_id, int64_t *ret, struct err *err)
{
    return db_get_int(c->conn, err, ret,
                      "SELECT count(*) FROM work_queue JOIN flow_run ON flow_run.work_queue_id = work_queue.id"
                      " WHERE work_queue.work_pool_id = $1 AND flow_run.state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING')"
                      " AND flow_run.state_type IN ('PENDING', 'RUNNING')",
                      "u", pool_id) < 0
               ? -1
               : 0;
}

int pool_print(struct call *c, const struct work_pool *pool, struct err *err)
{
    static const char *const skip[] = {"status", "storage_configuration", NULL};
    int64_t active = INT_NONE;
    if (pool->concurrency_limit != INT_NONE && pool_active_slots(c, pool->id, &active, err) < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &work_pool_resource, pool, skip);
    jw_kstr(&c->w, "status", str_eqz(pool->type, "prefect-agent") ? STR_NONE : pool->status);
    /* clients up to 3.3.7 refuse a key that they do not know there */
    const int *v = c->client.version;
    bool old = v[0] == 3 && (v[1] < 3 || (v[1] == 3 && v[2] <= 7));
    struct work_pool_storage storage;
    shape_read(c->a, &work_pool_storage_shape, pool->storage_configuration, &storage);
    jw_key(&c->w, STR("storage_configuration"));
    jw_object(&c->w);
    jw_kraw(&c->w, "bundle_upload_step", storage.bundle_upload_step);
    jw_kraw(&c->w, "bundle_execution_step", storage.bundle_execution_step);
    if (!old)
        jw_kuuid(&c->w, "default_result_storage_block_id", storage.default_result_storage_block_id);
    jw_end(&c->w);
    jw_kint(&c->w, "active_slots", active);
    jw_end(&c->w);
    return 0;
}

static int print_row(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row), UNUSED(extra);
    return pool_print(c, rec, err);
}

static int check_template(struct call *c, Str text, struct err *err)
{
    const struct json *v = json_parse(c->a, text, err);
    if (!v)
        return -1;
    return template_check(c->a, v, err);
}

static int insert(struct call *c, struct work_pool *pool, struct err *err)
{
    pool->id = uuid_v7();
    pool->created = pool->updated = pool->last_transitioned_status_at = c->now;
    pool->status = pool->is_paused == 1 ? STR("PAUSED") : pool_is_serverless(pool->type) ? STR("READY") : STR("NOT_READY");
    int64_t made = record_insert(c->conn, &work_pool_resource, pool, "ON CONFLICT (name) DO NOTHING", err);
    if (made < 0)
        return -1;
    if (!made)
        return err_set(err, ERR_CONFLICT, "A work pool with name '%.*s' already exists.", STR_ARG(str_sub(pool->name, 0, 200)));
    struct work_queue q;
    record_init(&work_queue_resource, &q);
    q.name = STR("default");
    q.description = STR("The work pool's default queue.");
    q.is_paused = 0;
    q.priority = 1;
    if (queue_insert(c, pool, &q, err) < 0)
        return -1;
    pool->default_queue_id = q.id;
    if (record_update(c->conn, &work_pool_resource, pool, (FieldSet)1 << work_pool__default_queue_id, pool->id, err) < 0)
        return -1;
    pool_event(c, pool, "created");
    vec_push(c->a, &c->outbox.pools_changed, pool->id);
    return 0;
}

int pool_ensure_agent(struct call *c, struct work_pool *ret, struct err *err)
{
    const Str name = STR("default-agent-pool");
    int rc = record_find(c->conn, c->a, &work_pool_resource, ret, err, "name = $1", "s", name);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    record_init(&work_pool_resource, ret);
    ret->name = name;
    ret->type = STR("prefect-agent");
    ret->base_job_template = ret->storage_configuration = STR("{}");
    ret->is_paused = 0;
    return insert(c, ret, err);
}

/* Prefect's workers fill a template that is empty; managed pools have a worker in this program only, which fills nothing. */
static int fill_managed(struct call *c, struct work_pool *pool, struct err *err)
{
    const struct json *given = json_parse(c->a, pool->base_job_template, err);
    if (!given || !str_ends(pool->type, STR(":managed")) || (json_is(given, JSON_OBJECT) && given->object.n))
        return given ? 0 : -1;
    const struct json *all = json_parse(c->a, asset_find("worker-metadata.json"), err);
    if (!all)
        return -1;
    for (size_t i = 0; i < all->object.n; i++) {
        const struct json *package = &all->object.members[i].value;
        for (size_t k = 0; json_is(package, JSON_OBJECT) && k < package->object.n; k++) {
            const struct json *record = &package->object.members[k].value;
            if (str_eqz(json_get_str(record, STR("type")), "prefect:managed"))
                pool->base_job_template = json_getz(record, "default_base_job_configuration")->raw;
        }
    }
    return 0;
}

int pool_make(struct call *c, struct work_pool *pool, struct err *err)
{
    if (is_reserved(pool->name))
        return err_set(err, ERR_FORBIDDEN, "Work pools whose name starts with 'prefect' are reserved.");
    return check_template(c, pool->base_job_template, err) < 0 || fill_managed(c, pool, err) < 0 || insert(c, pool, err) < 0 ? -1 : 0;
}

int pool_set_template(struct call *c, struct work_pool *pool, Str template, struct err *err)
{
    if (check_template(c, template, err) < 0)
        return -1;
    pool->base_job_template = template;
    pool->updated = c->now;
    if (record_update(c->conn, &work_pool_resource, pool, (FieldSet)1 << work_pool__base_job_template | (FieldSet)1 << work_pool__updated, pool->id, err) < 0)
        return -1;
    pool_event(c, pool, "updated");
    vec_push(c->a, &c->outbox.pools_changed, pool->id);
    return 0;
}

int work_pools_create(struct call *c, struct err *err)
{
    struct work_pool pool;
    if (call_parse(c, &work_pool_resource, CREATE, &pool, err) < 0)
        return -1;
    return pool_make(c, &pool, err) < 0 ? -1 : pool_print(c, &pool, err);
}

int work_pools_read(struct call *c, struct err *err)
{
    struct work_pool pool;
    return pool_find(c, c->params[0], &pool, err) < 0 ? -1 : pool_print(c, &pool, err);
}

int work_pools_filter(struct call *c, struct err *err)
{
    return list_filter(c, &work_pool_listing, NULL, print_row, err);
}

int work_pools_count(struct call *c, struct err *err)
{
    return list_count(c, &work_pool_listing, err);
}

int work_pools_update(struct call *c, struct err *err)
{
    struct work_pool change, pool;
    if (call_parse(c, &work_pool_resource, UPDATE, &change, err) < 0)
        return -1;
    FieldSet harmless = (FieldSet)1 << work_pool__is_paused | (FieldSet)1 << work_pool__concurrency_limit;
    if (is_reserved(c->params[0]) && (change.set & ~harmless))
        return err_set(err, ERR_FORBIDDEN, "Only is_paused and concurrency_limit of a reserved work pool can be changed.");
    if (pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    if (IS_SET(&change, work_pool__base_job_template) && check_template(c, change.base_job_template, err) < 0)
        return -1;
    change.updated = c->now;
    SET_FIELD(&change, work_pool__updated);
    if (record_update(c->conn, &work_pool_resource, &change, change.set, pool.id, err) < 0)
        return -1;
    if (IS_SET(&change, work_pool__is_paused) && change.is_paused != pool.is_paused) {
        Str status = STR("PAUSED");
        if (!change.is_paused && awake_status(c, &pool, &status, err) < 0)
            return -1;
        if (pool_set_status(c, &pool, status, err) < 0)
            return -1;
        if (!change.is_paused)
            vec_push(c->a, &c->outbox.pools_due, pool.id);
    }
    if (IS_SET(&change, work_pool__concurrency_limit))
        vec_push(c->a, &c->outbox.pools_due, pool.id);
    pool_event(c, &pool, "updated");
    vec_push(c->a, &c->outbox.pools_changed, pool.id);
    return call_empty(c, 204);
}

int work_pools_delete(struct call *c, struct err *err)
{
    struct work_pool pool;
    if (is_reserved(c->params[0]))
        return err_set(err, ERR_FORBIDDEN, "Reserved work pools cannot be deleted.");
    if (pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    /* runs keep their queue's name; the queue itself goes */
    if (db_exec(c->conn, err, "UPDATE flow_run SET work_queue_id = NULL WHERE work_queue_id IN (SELECT id FROM work_queue WHERE work_pool_id = $1)", "u", pool.id) < 0 ||
        record_delete(c->conn, &work_pool_resource, pool.id, err) < 0)
        return -1;
    pool_event(c, &pool, "deleted");
    vec_push(c->a, &c->outbox.pools_changed, pool.id);
    return call_empty(c, 204);
}

/* ---- what workers ask ---- */

int deployments_polled(struct call *c, bool by_queue, const Uuid *ids, size_t n, struct err *err)
{
    const char *column = by_queue ? "work_queue_id" : "id";
    if (!n)
        return 0;
    VEC(struct deployment) woken = {0};
    {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        sql_z(&q, "SELECT id, name FROM deployment WHERE status = 'NOT_READY' AND ");
        sql_in_uuids(&q, column, ids, n);
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        int rc = rows ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &woken, ((struct deployment){.id = stmt_uuid(rows, 0), .name = str_dup(c->a, stmt_str(rows, 1))}));
        if (rc < 0)
            return -1;
    }
    /* `updated` stays: being asked for is no change. A poll of seconds ago needs no other write, and one of a queue is in the queue's row. */
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "UPDATE deployment SET status = 'READY', last_polled = ");
    sql_time(&q, c->now);
    if (by_queue) {
        sql_z(&q, " WHERE status = 'NOT_READY' AND ");
    } else {
        sql_z(&q, " WHERE (status <> 'READY' OR last_polled IS NULL OR last_polled < ");
        sql_time(&q, c->now - 5 * SEC);
        sql_z(&q, ") AND ");
    }
    sql_in_uuids(&q, column, ids, n);
    if ((woken.n || !by_queue) && sql_exec(c->conn, &q, err) < 0)
        return -1;
    for (size_t i = 0; i < woken.n; i++)
        event_resource_changed(c, "deployment", "ready", woken.v[i].id, woken.v[i].name, STR_NONE);
    outbox_alarm(&c->outbox, ALARM_FOREMAN, c->now + MINUTE);
    return 0;
}

int queues_polled(struct call *c, const Uuid *queues, size_t n, struct err *err)
{
    if (!n)
        return 0;
    VEC(struct work_queue) woken = {0};
    {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        sql_z(&q, "SELECT id, name FROM work_queue WHERE status = 'NOT_READY' AND is_paused = 0 AND ");
        sql_in_uuids(&q, "id", queues, n);
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        int rc = rows ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &woken, ((struct work_queue){.id = stmt_uuid(rows, 0), .name = str_dup(c->a, stmt_str(rows, 1))}));
        if (rc < 0)
            return -1;
    }
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "UPDATE work_queue SET status = CASE WHEN is_paused = 0 THEN 'READY' ELSE status END, last_polled = ");
    sql_time(&q, c->now);
    sql_z(&q, " WHERE (status = 'NOT_READY' OR last_polled IS NULL OR last_polled < ");
    sql_time(&q, c->now - 5 * SEC);
    sql_z(&q, ") AND ");
    sql_in_uuids(&q, "id", queues, n);
    if (sql_exec(c->conn, &q, err) < 0)
        return -1;
    for (size_t i = 0; i < woken.n; i++)
        queue_event(c, &woken.v[i], "ready");
    return deployments_polled(c, true, queues, n, err);
}

/* Scheduled runs of one queue: those that the running process retries itself are not given out. */
static int queue_due_runs(struct call *c, const struct work_queue *queue, Time before, Time after, int64_t limit, DueRuns *ret, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&flow_run_resource));
    sql_z(&q, " FROM flow_run WHERE state_type = 'SCHEDULED' AND work_queue_id IS NOT NULL AND work_queue_id = ");
    sql_uuid(&q, queue->id);
    sql_z(&q, " AND next_scheduled_start_time <= ");
    sql_time(&q, before);
    if (after != TIME_NONE) {
        sql_z(&q, " AND next_scheduled_start_time >= ");
        sql_time(&q, after);
    }
    sql_z(&q, " AND empirical_policy NOT LIKE '%\"retry_type\":\"in_process\"%' ORDER BY next_scheduled_start_time, id LIMIT ");
    sql_int(&q, limit);
    if (q.kind == DB_POSTGRES)
        sql_z(&q, " FOR UPDATE SKIP LOCKED"); /* two workers that ask at once are told of different runs */
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct due_run due = {.pool_id = queue->work_pool_id};
        record_load(c->a, &flow_run_resource, rows, 0, &due.run);
        vec_push(c->a, ret, due);
    }
    return rc;
}

static int by_priority(const void *x, const void *y)
{
    const struct work_queue *p = x, *q = y;
    return p->priority != q->priority ? (p->priority > q->priority ? 1 : -1) : memcmp(p->id.b, q->id.b, sizeof p->id.b);
}

int pool_due_runs(struct call *c, const struct work_pool *pool, const struct work_queue *queues, size_t n, Time before,
                  Time after, int64_t limit, DueRuns *ret, struct err *err)
{
    if (pool->is_paused == 1)
        return 0;
    if (pool->concurrency_limit != INT_NONE) {
        int64_t active;
        if (pool_active_slots(c, pool->id, &active, err) < 0)
            return -1;
        limit = MIN(limit, pool->concurrency_limit - active);
    }
    struct work_queue *order = arena_array(c->a, struct work_queue, n + 1);
    if (n)
        memcpy(order, queues, n * sizeof *queues);
    qsort(order, n, sizeof *order, by_priority);
    for (size_t i = 0; i < n && limit > (int64_t)ret->n; i++) {
        int64_t room = limit - (int64_t)ret->n;
        if (order[i].is_paused == 1)
            continue;
        if (order[i].concurrency_limit != INT_NONE) {
            int64_t active;
            if (queue_active_slots(c, order[i].id, false, &active, err) < 0)
                return -1;
            room = MIN(room, order[i].concurrency_limit - active);
        }
        if (room > 0 && queue_due_runs(c, &order[i], before, after, room, ret, err) < 0)
            return -1;
    }
    return 0;
}

int pool_queues(struct call *c, const struct work_pool *pool, const struct json *names, struct work_queue **ret, size_t *ret_n, struct err *err)
{
    VEC(struct work_queue) list = {0};
    bool some = json_is(names, JSON_ARRAY) && names->array.n;
    for (size_t i = 0; some && i < names->array.n; i++) {
        struct work_queue q;
        Str name = json_str(&names->array.items[i]);
        int rc = record_find(c->conn, c->a, &work_queue_resource, &q, err, "work_pool_id = $1 AND name = $2", "us", pool->id, name);
        if (rc <= 0)
            return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "Work queue '%.*s' not found.", STR_ARG(str_sub(name, 0, 200)));
        vec_push(c->a, &list, q);
    }
    if (!some) {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        sql_z(&q, "SELECT ");
        sql_put(&q, resource_columns(&work_queue_resource));
        sql_z(&q, " FROM work_queue WHERE work_pool_id = ");
        sql_uuid(&q, pool->id);
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        int rc = rows ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
            struct work_queue one;
            record_load(c->a, &work_queue_resource, rows, 0, &one);
            vec_push(c->a, &list, one);
        }
        if (rc < 0)
            return -1;
    }
    *ret = list.v;
    *ret_n = list.n;
    return 0;
}

int work_pools_get_scheduled_flow_runs(struct call *c, struct err *err)
{
    const struct json *names = call_json(c, "work_queue_names");
    Time before = call_time(c, "scheduled_before", TIME_LAST), after = call_time(c, "scheduled_after", TIME_NONE);
    int64_t limit, offset;
    struct work_pool pool;
    struct work_queue *queues = NULL;
    size_t n = 0;
    if (call_page(c, &limit, &offset, err) < 0 || call_invalid(c, err) < 0 || pool_find(c, c->params[0], &pool, err) < 0 ||
        pool_queues(c, &pool, names, &queues, &n, err) < 0)
        return -1;
    DueRuns due = {0};
    Uuid *ids = arena_array(c->a, Uuid, n + 1);
    for (size_t i = 0; i < n; i++)
        ids[i] = queues[i].id;
    if (pool_due_runs(c, &pool, queues, n, before, after, limit, &due, err) < 0 || queues_polled(c, ids, n, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < due.n; i++) {
        jw_object(&c->w);
        jw_kuuid(&c->w, "work_pool_id", pool.id);
        jw_kuuid(&c->w, "work_queue_id", due.v[i].run.work_queue_id);
        jw_key(&c->w, STR("flow_run"));
        jw_object(&c->w);
        flow_run_print_fields(c, &due.v[i].run, NULL, pool.id, pool.name);
        jw_end(&c->w);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return 0;
}

/* ---- workers ---- */

int worker_heard(struct call *c, struct work_pool *pool, Str name, int64_t interval, struct err *err)
{
    struct worker w = {.id = uuid_v7(), .created = c->now, .updated = c->now, .name = name, .work_pool_id = pool->id, .last_heartbeat_time = c->now,
                       .heartbeat_interval_seconds = interval, .status = STR("ONLINE")};
    if (record_insert(c->conn, &worker_resource, &w,
                      "ON CONFLICT (work_pool_id, name) DO UPDATE SET last_heartbeat_time = excluded.last_heartbeat_time,"
                      " updated = excluded.updated, status = 'ONLINE',"
                      " heartbeat_interval_seconds = coalesce(excluded.heartbeat_interval_seconds, worker.heartbeat_interval_seconds)",
                      err) < 0)
        return -1;
    if (str_eqz(pool->status, "NOT_READY") && pool_set_status(c, pool, STR("READY"), err) < 0)
        return -1;
    outbox_alarm(&c->outbox, ALARM_FOREMAN, c->now + 3 * (interval == INT_NONE ? 30 : interval) * SEC);
    return 0;
}

int workers_heartbeat(struct call *c, struct err *err)
{
    Str name = call_str(c, "name");
    int64_t interval = call_int(c, "heartbeat_interval_seconds");
    if (!name.n)
        violation_add(&c->violations, "value_error", STR("name"), json_getz(c->body, "name"), "must not be empty");
    struct work_pool pool;
    if (call_invalid(c, err) < 0 || pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    if (worker_heard(c, &pool, name, interval, err) < 0)
        return -1;
    return call_empty(c, 204);
}

static int print_worker(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row), UNUSED(extra), UNUSED(err);
    struct worker w = *(const struct worker *)rec;
    int64_t interval = w.heartbeat_interval_seconds == INT_NONE ? 30 : w.heartbeat_interval_seconds;
    bool online = w.last_heartbeat_time != TIME_NONE && w.last_heartbeat_time > c->now - 3 * interval * SEC;
    w.status = online ? STR("ONLINE") : STR("OFFLINE");
    return record_print_object(c, &worker_resource, &w);
}

/* Further condition of the lists below: rows of the pool in c->id. */
static void of_pool(struct call *c, struct sql *q)
{
    buf_fmt(&q->text, " AND %s.work_pool_id = ", c->listed->resource->table);
    sql_uuid(q, c->id);
}

int workers_filter(struct call *c, struct err *err)
{
    struct work_pool pool;
    if (pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    c->id = pool.id;
    return list_filter(c, &worker_listing, of_pool, print_worker, err);
}

int workers_delete(struct call *c, struct err *err)
{
    struct work_pool pool;
    if (pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    int64_t n = db_exec(c->conn, err, "DELETE FROM worker WHERE work_pool_id = $1 AND name = $2", "us", pool.id, c->params[1]);
    return n < 0 ? -1 : n == 0 ? call_not_found(err, "Worker") : call_empty(c, 204);
}

int work_queues_filter_in_pool(struct call *c, struct err *err)
{
    struct work_pool pool;
    if (pool_find(c, c->params[0], &pool, err) < 0)
        return -1;
    c->id = pool.id;
    return list_filter(c, &work_pool_queue_listing, of_pool, work_queue_print, err);
}
