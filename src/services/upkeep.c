#include "services/upkeep.h"

#include "base/log.h"
#include "events/retention.h"
#include "events/store.h"

#include <pthread.h>
#include <stdlib.h>

/* How far before the mark states are looked at: it is moved once a second, and on PostgreSQL transactions commit in
 * another order than their states were made in. */
#define MARGIN_SQLITE (5 * SEC)
#define MARGIN_POSTGRES (60 * SEC)
#define WITHOUT_MARK (10 * MINUTE) /* a telemetry database that is new, or was removed */
#define AHEAD_MAX (366 * DAY)      /* ids further ahead of the clock are not ours */
#define STEP 256                   /* states looked at in one transaction */
#define RETENTION_EVERY (10 * MINUTE)
#define RETENTION_ROWS 2000 /* deleted in one transaction */
#define RETRY_AFTER (30 * SEC)

/* ---- events that a crash kept from being stored ---- */

struct told_state {
    Uuid id, run_id;
    bool stored;
};
struct telling {
    struct workspace *ws;
    struct arena *a;
    Uuid after, until;
    int64_t mark_ms;
    VEC(struct told_state) states;
    struct outbox out;
};

static Uuid id_at(Time t)
{
    Uuid id = {{0}};
    uint64_t ms = (uint64_t)MAX(t / MSEC, 1);
    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.b[i] = (uint8_t)ms;
    return id;
}

static int read_mark(struct conn *c, void *arg, struct err *err)
{
    struct telling *t = arg;
    t->mark_ms = 0;
    return db_get_int(c, err, &t->mark_ms, "SELECT value FROM mark WHERE name = 'flow_run_states'", "") < 0 ? -1 : 0;
}

/* In the mark's place, where there is none yet. */
static int read_latest(struct conn *c, void *arg, struct err *err)
{
    struct telling *t = arg;
    Uuid id;
    int rc = db_get_uuid(c, err, &id, "SELECT id FROM flow_run_state ORDER BY id DESC LIMIT 1", "");
    for (int i = 0; rc == 1 && id.b[6] >> 4 == 7 && i < 6; i++)
        t->mark_ms = t->mark_ms << 8 | id.b[i];
    return rc < 0 ? -1 : 0;
}

static int read_states(struct conn *c, void *arg, struct err *err)
{
    struct telling *t = arg;
    t->states.n = 0;
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, "SELECT id, run_id FROM flow_run_state WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3",
                                                "uui", t->after, t->until, (int64_t)STEP);
    if (!q)
        return -1;
    int rc;
    while ((rc = stmt_step(q, err)) == 1) {
        struct told_state s = {.id = stmt_uuid(q, 0), .run_id = stmt_uuid(q, 1)};
        vec_push(t->a, &t->states, s);
    }
    return rc;
}

static int look_stored(struct conn *c, void *arg, struct err *err)
{
    struct telling *t = arg;
    for (size_t i = 0; i < t->states.n; i++) {
        int64_t one;
        int rc = db_get_int(c, err, &one, "SELECT 1 FROM event WHERE id = $1", "u", t->states.v[i].id);
        if (rc < 0)
            return -1;
        t->states.v[i].stored = rc;
    }
    return 0;
}

static int make_events(struct conn *c, void *arg, struct err *err)
{
    struct telling *t = arg;
    outbox_init(&t->out, t->a);
    struct orchestration o = {.conn = c, .a = t->a, .now = time_now(), .out = &t->out, .settings = &t->ws->orchestration};
    for (size_t i = 0; i < t->states.n; i++)
        if (!t->states.v[i].stored && orchestrate_tell_again(&o, t->states.v[i].run_id, t->states.v[i].id, err) < 0)
            return -1;
    return 0;
}

static Dur margin_of(const struct workspace *ws)
{
    return db_kind(ws->db) == DB_POSTGRES ? MARGIN_POSTGRES : MARGIN_SQLITE;
}

/* The first instant whose ids are this server's own. The clock may have been set back since the one before it stopped: its last states are
 * then ahead of the clock, and so ids go on behind them. */
static int find_start(struct workspace *ws, Time *ret, struct err *err)
{
    struct telling t = {.ws = ws};
    if (db_read_wait(ws->telemetry, read_mark, &t, err) < 0 || (!t.mark_ms && db_read_wait(ws->db, read_latest, &t, err) < 0))
        return -1;
    Time now = time_now(), last = t.mark_ms * MSEC;
    *ret = last > now && last < now + AHEAD_MAX ? last + margin_of(ws) : now;
    if (*ret > now)
        uuid_v7_after(*ret);
    return 0;
}

int upkeep_tell_again(struct workspace *ws, Time until, const bool *stop, size_t *ret_told, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct telling t = {.ws = ws, .a = a};
    *ret_told = 0;
    if (db_read_wait(ws->telemetry, read_mark, &t, err) < 0)
        return -1;
    Dur margin = margin_of(ws);
    Uuid after = id_at(t.mark_ms ? t.mark_ms * MSEC - margin : until - WITHOUT_MARK);
    do {
        arena_reset(a);
        t = (struct telling){.ws = ws, .a = a, .after = after, .until = id_at(until)};
        if (db_read_wait(ws->db, read_states, &t, err) < 0 || db_read_wait(ws->telemetry, look_stored, &t, err) < 0 ||
            db_read_wait(ws->db, make_events, &t, err) < 0)
            return -1;
        event_store_add(ws->events, t.out.events.v, t.out.events.n, NULL, NULL);
        *ret_told += t.out.events.n;
        if (t.states.n)
            after = t.states.v[t.states.n - 1].id;
    } while (t.states.n == STEP && !(stop && __atomic_load_n(stop, __ATOMIC_RELAXED)));
    return 0;
}

/* ---- the thread ---- */

struct upkeep {
    struct workspace *ws;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    Time started;
};

struct expiring {
    const struct retention *keep;
    bool more;
};

static int expire_work(struct conn *c, void *arg, struct err *err)
{
    struct expiring *e = arg;
    return retention_step(c, e->keep, time_now(), RETENTION_ROWS, &e->more, err);
}

/* How long to wait before the next time. */
static Dur expire(struct upkeep *u)
{
    struct expiring e = {.keep = &u->ws->services.retention};
    do {
        struct err err;
        if (db_write_wait(u->ws->telemetry, expire_work, &e, &err) < 0) {
            log_at(LOG_WARN, "upkeep", "old events and logs cannot be deleted, trying again", "error=\"%s\"", err.text);
            return RETRY_AFTER;
        }
    } while (e.more && !__atomic_load_n(&u->stopping, __ATOMIC_RELAXED));
    return RETENTION_EVERY;
}

/* False once it is to stop. */
static bool rest(struct upkeep *u, Dur pause)
{
    Dur wake = time_monotonic() + pause;
    struct timespec ts = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000};
    pthread_mutex_lock(&u->lock);
    while (!u->stopping && time_monotonic() < wake)
        pthread_cond_timedwait(&u->changed, &u->lock, &ts);
    bool go_on = !u->stopping;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static void *upkeep_thread(void *arg)
{
    struct upkeep *u = arg;
    struct err err;
    size_t told;
    while (upkeep_tell_again(u->ws, u->started, &u->stopping, &told, &err) < 0) {
        log_at(LOG_WARN, "upkeep", "events that a stop cut off cannot be told yet, trying again", "error=\"%s\"", err.text);
        if (!rest(u, RETRY_AFTER))
            return NULL;
    }
    if (told)
        log_at(LOG_INFO, "upkeep", "told of states whose events a stop had cut off", "events=%zu", told);
    while (rest(u, expire(u)))
        ;
    return NULL;
}

struct upkeep *upkeep_start(struct workspace *ws, struct err *err)
{
    Time started;
    if (find_start(ws, &started, err) < 0)
        return NULL;
    struct upkeep *u = calloc(1, sizeof *u);
    if (!u)
        die("out of memory");
    u->ws = ws;
    u->started = started;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = pthread_create(&u->thread, NULL, upkeep_thread, u);
    if (rc) {
        pthread_mutex_destroy(&u->lock);
        pthread_cond_destroy(&u->changed);
        free(u);
        err_set(err, ERR_IO, "cannot start a thread for upkeep (error %d)", rc);
        return NULL;
    }
    pthread_setname_np(u->thread, "upkeep");
    return u;
}

void upkeep_stop(struct upkeep *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->changed);
    free(u);
}
