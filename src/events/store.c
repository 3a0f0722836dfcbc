#include "events/store.h"

#include "events/event.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_EVENTS 2000
#define BATCH_BYTES ((size_t)4 << 20)
#define STALLED_BYTES ((size_t)64 << 20) /* own events kept while the database fails; past it the newest are lost */
#define RETRY_FIRST (100 * MSEC)
#define RETRY_LONGEST (5 * SEC)
#define MARK_STEP SEC /* how often the mark is moved: on PostgreSQL all batches would wait for its row */

struct waiter {
    size_t first, n; /* of the batch' events */
    db_done *done;
    void *arg;
};

/* One write of the telemetry database. Open (more may be added) until its turn comes. */
struct batch {
    struct event_store *store;
    struct batch *next; /* among the stalled */
    struct arena *a;
    VEC(struct event) events;
    VEC(struct waiter) waiters;
    size_t bytes;
    Time received;
    bool *fresh;
    int64_t mark; /* ms of the newest own state; 0: none */
};

struct event_store {
    struct db *db;
    struct bus *bus;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *open;  /* queued at the database, not begun */
    struct batch *spare; /* its arena is kept */
    size_t outstanding;  /* batches that the database has */
    struct batch *stalled, **stalled_end;
    size_t stalled_bytes;
    int64_t mark_written;
    Dur pause; /* before the next try; 0: nothing has failed since the last success */
    bool closing, has_thread;
    pthread_t thread; /* tries stalled batches again; started by the first failure */
    struct event_store_stats stats;
};

struct event_store *event_store_create(struct db *telemetry, struct bus *bus)
{
    struct event_store *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->db = telemetry;
    s->bus = bus;
    s->stalled_end = &s->stalled;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return s;
}

static struct batch *batch_new(struct event_store *s)
{
    struct batch *b = s->spare;
    s->spare = NULL;
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
        struct message m = {.topic = TOPIC_EVENT, .id = e->id, .when = b->received, .event = e};
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

/* ---- after a failure ---- */

/* Under the lock. Hands a batch to the database, or keeps it for later. */
static void queue(struct event_store *s, struct batch *b)
{
    struct err err;
    s->outstanding++;
    if (db_write(s->db, batch_work, batch_done, b, &err) == 0)
        return;
    s->outstanding--;
    stall(s, b);
}

static void *retry_thread(void *arg)
{
    struct event_store *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->closing) {
        if (!s->stalled) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        s->pause = s->pause ? MIN(s->pause * 2, RETRY_LONGEST) : RETRY_FIRST;
        Time wake = time_now() + s->pause;
        struct timespec ts = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000};
        while (!s->closing && time_now() < wake)
            pthread_cond_timedwait(&s->changed, &s->lock, &ts);
        struct batch *list = s->stalled, *next;
        s->stalled = NULL;
        s->stalled_end = &s->stalled;
        s->stalled_bytes = 0;
        for (; list; list = next) {
            next = list->next;
            list->next = NULL;
            queue(s, list);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Under the lock. */
static void stall(struct event_store *s, struct batch *b)
{
    if (s->open == b)
        s->open = NULL;
    if (s->closing || s->stalled_bytes + b->bytes > STALLED_BYTES) {
        s->stats.lost += b->events.n;
        batch_free(s, b);
        return;
    }
    b->next = NULL;
    *s->stalled_end = b;
    s->stalled_end = &b->next;
    s->stalled_bytes += b->bytes;
    if (!s->has_thread)
        s->has_thread = pthread_create(&s->thread, NULL, retry_thread, s) == 0;
    pthread_cond_broadcast(&s->changed);
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
    bool v7 = e->id.b[6] >> 4 == 7 && ms * MSEC <= now + MINUTE;
    return v7 && str_starts(e->event, STR("prefect.flow-run.")) ? ms : 0;
}

void event_store_add(struct event_store *s, const struct event *events, size_t n, db_done *done, void *arg)
{
    Time now = time_now();
    struct err busy;
    bool refused = false;
    pthread_mutex_lock(&s->lock);
    struct batch *b = s->open;
    bool is_new = !b || b->events.n >= BATCH_EVENTS || b->bytes >= BATCH_BYTES;
    if (is_new)
        b = batch_new(s);
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
    if (is_new) {
        s->open = b;
        s->outstanding++;
        if (db_write(s->db, batch_work, batch_done, b, &busy) < 0) {
            s->outstanding--;
            s->open = NULL;
            refused = done != NULL;
            if (refused)
                batch_free(s, b);
            else
                stall(s, b);
        }
    }
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
    if (s->has_thread) {
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        pthread_mutex_lock(&s->lock);
    }
    for (struct batch *b = s->stalled, *next; b; b = next) { /* once more */
        next = b->next;
        queue(s, b);
    }
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
    stats.waiting = s->outstanding;
    for (const struct batch *b = s->stalled; b; b = b->next)
        stats.waiting++;
    pthread_mutex_unlock(&s->lock);
    return stats;
}
