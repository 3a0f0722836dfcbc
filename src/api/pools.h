/* api/pools.h: work pools and queues, for the handlers that need one. */
#pragma once
#include "api/handlers.h"

/* The pool of this name: 0, or -1 with 404. */
NODISCARD int pool_find(struct call *c, Str name, struct work_pool *ret, struct err *err);
/* Checks and inserts it, with its default queue; a name that is taken is a 409, a reserved one a 403. */
NODISCARD int pool_make(struct call *c, struct work_pool *pool, struct err *err);
NODISCARD int pool_set_template(struct call *c, struct work_pool *pool, Str template, struct err *err);
/* As the API's WorkPool. */
int pool_print(struct call *c, const struct work_pool *pool, struct err *err);
/* Its queues of these names (a JSON list; none: all); 404 where one is missing. */
NODISCARD int pool_queues(struct call *c, const struct work_pool *pool, const struct json *names, struct work_queue **ret, size_t *ret_n, struct err *err);
/* A sign of life of the pool's worker; interval in seconds or INT_NONE. */
NODISCARD int worker_heard(struct call *c, struct work_pool *pool, Str name, int64_t interval, struct err *err);
/* The server itself runs what such a pool's runs say: no worker is waited for. */
bool pool_is_serverless(Str type);
/* Puts a pool's status (READY, NOT_READY, PAUSED) right and tells of it where it changed. */
NODISCARD int pool_set_status(struct call *c, struct work_pool *pool, Str status, struct err *err);
/* A queue of the pool by name; made, with the next free priority, where it is missing. */
NODISCARD int queue_ensure(struct call *c, const struct work_pool *pool, Str name, struct work_queue *ret, struct err *err);
/* The pool that queues without one belong to, made where it is missing. */
NODISCARD int pool_ensure_agent(struct call *c, struct work_pool *ret, struct err *err);
/* Gives the queue its id and times, finds room for its priority and inserts it; the name's clash is a 409. */
NODISCARD int queue_insert(struct call *c, const struct work_pool *pool, struct work_queue *q, struct err *err);
/* `prefect.work-pool.<what>` and `prefect.work-queue.<what>`. */
void pool_event(struct call *c, const struct work_pool *pool, const char *what);
void queue_event(struct call *c, const struct work_queue *q, const char *what);
/* Runs in these states now: PENDING and RUNNING (and CANCELLING). */
NODISCARD int queue_active_slots(struct call *c, Uuid queue_id, bool cancelling, int64_t *ret, struct err *err);
NODISCARD int pool_active_slots(struct call *c, Uuid pool_id, int64_t *ret, struct err *err);
/* Who asks for these queues' runs was heard now: queues and their deployments become READY. */
NODISCARD int queues_polled(struct call *c, const Uuid *queues, size_t n, struct err *err);
/* Deployments that were asked for are READY: those of queues (the ids are queues), or those of the ids. */
NODISCARD int deployments_polled(struct call *c, bool by_queue, const Uuid *ids, size_t n, struct err *err);
/* Runs that a worker of the pool may take now, by queue priority and due time. */
struct due_run {
    struct flow_run run;
    Uuid pool_id;
};
typedef VEC(struct due_run) DueRuns;
NODISCARD int pool_due_runs(struct call *c, const struct work_pool *pool, const struct work_queue *queues, size_t n, Time before, Time after, int64_t limit, DueRuns *ret, struct err *err);
int work_queue_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err);
