#include "services/workspace.h"

#include "base/log.h"
#include "events/store.h"
#include "services/alarms.h"
#include "services/catalogue.h"
#include "services/recorder.h"
#include "services/task_queues.h"
#include "store/seal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const struct service_settings service_defaults = {
    .min_scheduled_time = HOUR,
    .max_scheduled_time = 100 * DAY,
    .min_runs = 3,
    .max_runs = 100,
    .deployment_silence = 60 * SEC,
    .queue_silence = 60 * SEC,
    .retention = {.events = 7 * DAY, .logs = 30 * DAY},
};

static void publish_ids(struct workspace *ws, enum topic topic, const Uuid *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct message m = {.topic = topic, .id = ids[i]};
        bus_publish(ws->bus, &m);
    }
}

struct dropped_logs {
    size_t n;
    Uuid runs[];
};

static int drop_logs(struct conn *c, void *arg, struct err *err)
{
    const struct dropped_logs *d = arg;
    for (size_t i = 0; i < d->n; i++)
        if (db_exec(c, err, "DELETE FROM log WHERE flow_run_id = $1", "u", d->runs[i]) < 0)
            return -1;
    return 0;
}

static void drop_logs_done(void *arg, const struct err *err)
{
    UNUSED(err); /* what is left goes with its retention */
    free(arg);
}

static void forget_logs(struct workspace *ws, const struct outbox *o)
{
    struct dropped_logs *d = malloc(sizeof *d + o->runs_deleted.n * sizeof *d->runs);
    if (!d)
        die("out of memory");
    d->n = o->runs_deleted.n;
    memcpy(d->runs, o->runs_deleted.v, d->n * sizeof *d->runs);
    struct err err;
    if (db_write(ws->telemetry, drop_logs, drop_logs_done, d, &err) < 0)
        free(d);
}

void workspace_tell(struct workspace *ws, const struct outbox *o)
{
    if (o->events.n)
        event_store_add(ws->events, o->events.v, o->events.n, NULL, NULL);
    publish_ids(ws, TOPIC_POOL_DUE, o->pools_due.v, o->pools_due.n);
    publish_ids(ws, TOPIC_RUN_CANCELLING, o->runs_cancelling.v, o->runs_cancelling.n);
    publish_ids(ws, TOPIC_POOL_CHANGED, o->pools_changed.v, o->pools_changed.n);
    publish_ids(ws, TOPIC_POOL_CLEANUP, o->pools_cleanup.v, o->pools_cleanup.n);
    if (o->tasks_scheduled.n && ws->task_queues)
        task_queues_add(ws->task_queues, o->tasks_scheduled.v, o->tasks_scheduled.n);
    if (o->runs_deleted.n)
        forget_logs(ws, o);
    for (int i = 0; i < ALARM_COUNT; i++)
        alarms_lower(ws->alarms, (enum alarm)i, o->alarm[i]);
}

void workspace_store_events(struct workspace *ws, const struct event *events, size_t n, db_done *done, void *arg)
{
    event_store_add(ws->events, events, n, done, arg);
}

/* The store and the recorder work side by side; the later one answers. */
struct taken {
    atomic_int left;
    atomic_bool failed;
    struct err err; /* whose of the two, where both fail, is all the same: written by the first to fail */
    db_done *done;
    void *arg;
};

static void part_done(void *arg, const struct err *err)
{
    struct taken *t = arg;
    if (err && !atomic_exchange(&t->failed, true))
        t->err = *err;
    if (atomic_fetch_sub(&t->left, 1) > 1)
        return;
    t->done(t->arg, t->failed ? &t->err : NULL);
    free(t);
}

void workspace_take_events(struct workspace *ws, const struct event *events, size_t n, db_done *done, void *arg)
{
    struct taken *t = calloc(1, sizeof *t);
    if (!t)
        die("out of memory");
    t->left = 2;
    t->done = done;
    t->arg = arg;
    event_store_add(ws->events, events, n, part_done, t);
    recorder_add(ws->recorder, events, n, part_done, t);
}

struct preparation {
    const struct workspace *ws;
    bool forget_secrets;
    int64_t forgotten;
};

static int prepare(struct conn *c, void *arg, struct err *err)
{
    struct preparation *p = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    Time now = time_now();
    return seal_key_check(c, p->ws->key, now, p->forget_secrets, &p->forgotten, err) < 0 ? -1 : catalogue_install(c, a, now, err);
}

int workspace_prepare(struct workspace *ws, bool forget_secrets, struct err *err)
{
    struct preparation p = {.ws = ws, .forget_secrets = forget_secrets};
    if (db_write_wait(ws->db, prepare, &p, err) < 0)
        return -1;
    if (p.forgotten)
        log_at(LOG_WARN, "server", "deleted the block documents whose key is lost", "documents=%lld", (long long)p.forgotten);
    return 0;
}
