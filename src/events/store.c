#include "events/store.h"

#include "events/event.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_EVENTS 2000
#define BATCH_BYTES ((size_t)4 << 20)
#define STALLED_BYTES ((size_t)64 << 20) /* own events kept while the database fails; past it the newest are lost */
#define GATHER (10 * MSEC) /* between two batches that nobody waits for: a commit costs as much as twenty events */
#define RETRY_FIRST (100 * MSEC)
#define RETRY_LONGEST (5 * SEC)
#define MARK_STEP SEC /* how often the mark is moved: on PostgreSQL all batches would wait for its row */

struct waiter {
    size_t first, n; /* of the batch' events */
    db_done *done;
    void *arg;
};

/* One write of the telemetry database. Open (more may be added) until its turn comes there. */
struct batch {
    struct event_store *store;
    struct batch *next; /* among the stalled */
    struct arena *a;
    VEC(struct event) events;
    VEC(struct waiter) waiters;
    size_t bytes;
    bool queued; /* the database has it */
    Time received;
    bool *fresh;
    int64_t mark; /* ms of the newest own state; 0: none */
};

struct event_store {
    struct db *db;
    struct bus *bus;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *open;  /* gathers events; NULL: the next one begins another */
    Dur gather_until;    /* monotonic: an open batch that nobody waits for is not queued before */
    struct batch *spare; /* its arena is kept */
    size_t outstanding;  /* batches that the database has */
    struct batch *stalled, **stalled_end;
    size_t stalled_bytes;
    int64_t mark_written;
    Dur pause; /* before the next try; 0: nothing has failed since the last success */
    Dur retry_at;
    bool closing;
    pthread_t thread; /* queues what has gathered, tries again what has stalled */
    struct event_store_stats stats;
};

static struct batch *batch_new(struct event_store *s)
{
    struct batch *b = TAKE(s->spare);
    if (!b) {
        b = calloc(1, sizeof *b);
        if (!b)
            die("out of memory");
        b->a = arena_create();
    }
    b->store = s;
    return b;
}

/* Under the lock. */
static void batch_free(struct event_store *s, struct batch *b)
{
    struct arena *a = b->a;
    if (s->spare) {
        arena_free(a);
        free(b);
        return;
    }
    arena_reset(a);
    *b = (struct batch){.a = a};
    s->spare = b;
}

/* ---- the write ---- */

static int write_mark(struct conn *c, int64_t ms, struct err *err)
{
    return db_exec(c, err,
                   "INSERT INTO mark(name, value) VALUES ('flow_run_states', $1) "
                   "ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE mark.value < excluded.value",
                   "i", ms) < 0
               ? -1
               : 0;
}

static int batch_work(struct conn *c, void *arg, struct err *err)
{
    struct batch *b = arg;
    struct event_store *s = b->store;
    pthread_mutex_lock(&s->lock);
    if (s->open == b)
        s->open = NULL;
    bool mark = b->mark > s->mark_written + MARK_STEP / MSEC;
    pthread_mutex_unlock(&s->lock);
    if (!b->fresh)
        b->fresh = arena_array(b->a, bool, b->events.n + 1);
    b->received = time_now();
    if (mark && write_mark(c, b->mark, err) < 0)
        return -1;
    return events_insert(c, b->events.v, b->events.n, b->received, b->fresh, err);
}

static void publish(struct batch *b)
{
    struct bus *bus = b->store->bus;
    for (size_t i = 0; i < b->events.n && bus_has(bus, TOPIC_EVENT); i++) {
        const struct event *e = &b->events.v[i];
        struct message m = {.topic = TOPIC_EVENT, .id = e->id, .when = e->occurred, .received = b->received, .event = e};
        if (b->fresh[i])
            bus_publish(bus, &m);
    }
}

static void tell_waiters(struct batch *b, const struct err *err)
{
    for (size_t i = 0; i < b->waiters.n; i++)
        b->waiters.v[i].done(b->waiters.v[i].arg, err);
}

/* Takes the events out for which somebody waits who was told of the failure. */
static void keep_own(struct batch *b)
{
    size_t kept = 0, w = 0;
    for (size_t i = 0; i < b->events.n; i++) {
        while (w < b->waiters.n && i >= b->waiters.v[w].first + b->waiters.v[w].n)
            w++;
        if (w == b->waiters.n || i < b->waiters.v[w].first)
            b->events.v[kept++] = b->events.v[i];
    }
    b->events.n = kept;
    b->waiters.n = 0;
    b->fresh = NULL;
}

static void stall(struct event_store *s, struct batch *b);

static void batch_done(void *arg, const struct err *err)
{
    struct batch *b = arg;
    struct event_store *s = b->store;
    if (!err)
        publish(b);
    tell_waiters(b, err);
    if (err)
        keep_own(b);
    pthread_mutex_lock(&s->lock);
    if (s->open == b) /* the job never began */
        s->open = NULL;
    s->stats.batches++;
    s->stats.failures += err != NULL;
    for (size_t i = 0; !err && i < b->events.n; i++)
        *(b->fresh[i] ? &s->stats.stored : &s->stats.doubles) += 1;
    if (!err) {
        s->pause = 0;
        s->mark_written = MAX(s->mark_written, b->mark > s->mark_written + MARK_STEP / MSEC ? b->mark : 0);
    }
    if (err && b->events.n)
        stall(s, b);
    else
        batch_free(s, b);
    if (--s->outstanding == 0)
        pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- handing over, and trying again after a failure ---- */

/* Under the lock. */
static void stall(struct event_store *s, struct batch *b)
{
    if (s->open == b)
        s->open = NULL;
    b->queued = false;
    if (s->closing || s->stalled_bytes + b->bytes > STALLED_BYTES) {
        s->stats.lost += b->events.n;
        batch_free(s, b);
        return;
    }
    b->next = NULL;
    *s->stalled_end = b;
    s->stalled_end = &b->next;
    s->stalled_bytes += b->bytes;
    if (!s->retry_at) {
        s->pause = s->pause ? MIN(s->pause * 2, RETRY_LONGEST) : RETRY_FIRST;
        s->retry_at = time_monotonic() + s->pause;
    }
    pthread_cond_broadcast(&s->changed);
}

/* Under the lock. 0, or -1: the database takes no more. */
static int queue(struct event_store *s, struct batch *b, struct err *err)
{
    b->queued = true;
    s->outstanding++;
    s->gather_until = time_monotonic() + GATHER;
    if (db_write(s->db, batch_work, batch_done, b, err) == 0)
        return 0;
    b->queued = false;
    s->outstanding--;
    return -1;
}

static void queue_stalled(struct event_store *s)
{
    struct batch *list = s->stalled, *next;
    s->stalled = NULL;
    s->stalled_end = &s->stalled;
    s->stalled_bytes = 0;
    s->retry_at = 0;
    for (; list; list = next) {
        struct err busy;
        next = list->next;
        if (queue(s, list, &busy) < 0)
            stall(s, list);
    }
}

static void *clock_thread(void *arg)
{
    struct event_store *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        Dur now = time_monotonic(), wake = INT64_MAX;
        if (s->open && !s->open->queued) {
            struct err busy;
            if (now < s->gather_until)
                wake = s->gather_until;
            else if (queue(s, s->open, &busy) < 0)
                stall(s, s->open);
        }
        if (s->stalled && now >= s->retry_at)
            queue_stalled(s);
        if (s->stalled)
            wake = MIN(wake, s->retry_at);
        if (wake == INT64_MAX) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else {
            struct timespec ts = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000};
            pthread_cond_timedwait(&s->changed, &s->lock, &ts);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct event_store *event_store_create(struct db *telemetry, struct bus *bus, struct err *err)
{
    struct event_store *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->db = telemetry;
    s->bus = bus;
    s->stalled_end = &s->stalled;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = pthread_create(&s->thread, NULL, clock_thread, s);
    if (rc) {
        err_set(err, ERR_IO, "cannot start a thread for events (error %d)", rc);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    pthread_setname_np(s->thread, "events");
    return s;
}

/* ---- adding ---- */

static Str keep(char **at, Str s)
{
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    *at = p + s.n;
    return (Str){p, s.n};
}

static size_t event_copy(struct arena *a, const struct event *e, struct event *ret)
{
    size_t n = e->event.n + e->resource_id.n + e->resource.n + e->related.n + e->payload.n;
    char *at = arena_alloc(a, n + 1);
    *ret = *e;
    ret->event = keep(&at, e->event);
    ret->resource_id = keep(&at, e->resource_id);
    ret->resource = keep(&at, e->resource);
    ret->related = keep(&at, e->related);
    ret->payload = keep(&at, e->payload);
    return n + sizeof *e;
}

/* The instant in the id of a flow run's state that the server made itself; 0: none of its own making. */
static int64_t state_ms(const struct event *e, Time now)
{
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | e->id.b[i];
    bool v7 = e->id.b[6] >> 4 == 7 && ms * MSEC <= MAX(now, uuid_v7_latest()) + MINUTE;
    return v7 && str_starts(e->event, STR("prefect.flow-run.")) ? ms : 0;
}

void event_store_add(struct event_store *s, const struct event *events, size_t n, db_done *done, void *arg)
{
    Time now = time_now();
    struct err busy;
    bool refused = false;
    pthread_mutex_lock(&s->lock);
    struct batch *b = s->open;
    if (!b)
        b = s->open = batch_new(s);
    size_t first = b->events.n;
    for (size_t i = 0; i < n; i++) {
        struct event e;
        b->bytes += event_copy(b->a, &events[i], &e);
        vec_push(b->a, &b->events, e);
        if (!done)
            b->mark = MAX(b->mark, state_ms(&e, now));
    }
    if (done)
        vec_push(b->a, &b->waiters, ((struct waiter){first, n, done, arg}));
    bool full = b->events.n >= BATCH_EVENTS || b->bytes >= BATCH_BYTES;
    if (!b->queued) {
        if (done || full || time_monotonic() >= s->gather_until) {
            if (queue(s, b, &busy) < 0) {
                refused = done != NULL;
                if (refused) {
                    b->waiters.n--;
                    b->events.n = first;
                }
                stall(s, b);
            }
        } else if (!first) {
            pthread_cond_broadcast(&s->changed);
        }
    }
    if (full && s->open == b)
        s->open = NULL;
    pthread_mutex_unlock(&s->lock);
    if (refused)
        done(arg, &busy);
}

void event_store_free(struct event_store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->lock);
    struct err busy;
    if (s->open && !s->open->queued && queue(s, s->open, &busy) < 0)
        stall(s, s->open);
    queue_stalled(s); /* once more */
    while (s->outstanding)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->spare) {
        arena_free(s->spare->a);
        free(s->spare);
    }
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

struct event_store_stats event_store_stats(const struct event_store *s_const)
{
    struct event_store *s = (struct event_store *)(uintptr_t)s_const; /* the lock changes, the store does not */
    pthread_mutex_lock(&s->lock);
    struct event_store_stats stats = s->stats;
    stats.waiting = s->outstanding + (s->open && !s->open->queued);
    for (const struct batch *b = s->stalled; b; b = b->next)
        stats.waiting++;
    pthread_mutex_unlock(&s->lock);
    return stats;
}
