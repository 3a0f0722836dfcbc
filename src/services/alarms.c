#include "services/alarms.h"

#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>

/* A failed tick is tried again after this. */
#define RETRY_AFTER (2 * SEC)
/* The longest wait: on PostgreSQL other servers write too, and a wait that is wrong ends. */
#define LONGEST_SQLITE (10 * MINUTE)
#define LONGEST_POSTGRES (5 * SEC)

struct entry {
    struct alarms *of;
    enum alarm which;
    Time due;      /* when to run next; lowered at any time */
    Time earliest; /* not before this: the service's min_gap */
    bool running;
    struct tick tick;
    struct alarm_stats stats;
};

struct alarms {
    struct workspace *ws;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    struct entry entries[ALARM_COUNT];
};

static int tick_work(struct conn *c, void *arg, struct err *err)
{
    struct entry *e = arg;
    struct tick *t = &e->tick;
    arena_reset(t->a);
    t->ws = e->of->ws;
    t->conn = c;
    t->now = time_now();
    t->next = TIME_NEVER;
    outbox_init(&t->out, t->a);
    return services[e->which].tick(t, err);
}

static void tick_done(void *arg, const struct err *err)
{
    struct entry *e = arg;
    struct alarms *a = e->of;
    Time now = time_now();
    if (err)
        log_at(LOG_WARN, "services", "a tick failed, trying again", "service=%s error=\"%s\"", services[e->which].name, err->text);
    else
        workspace_tell(a->ws, &e->tick.out); /* may lower alarms, this one too */
    pthread_mutex_lock(&a->lock);
    e->running = false;
    e->stats.ticks++;
    e->stats.failures += err != NULL;
    e->earliest = now + services[e->which].min_gap;
    Time longest = now + (db_kind(a->ws->db) == DB_POSTGRES ? LONGEST_POSTGRES : LONGEST_SQLITE);
    Time next = err ? now + RETRY_AFTER : MIN(e->tick.next, longest);
    e->due = MIN(e->due, next);
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static void start_tick(struct alarms *a, struct entry *e, Time now)
{
    e->running = true;
    e->stats.last_lag = now - e->due;
    e->due = TIME_NEVER;
    pthread_mutex_unlock(&a->lock);
    struct err err;
    if (db_write(a->ws->db, tick_work, tick_done, e, &err) < 0)
        tick_done(e, &err);
    pthread_mutex_lock(&a->lock);
}

static void *clock_thread(void *arg)
{
    struct alarms *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        Time now = time_now(), wake = TIME_NEVER;
        for (int i = 0; i < ALARM_COUNT; i++) {
            struct entry *e = &a->entries[i];
            if (e->running)
                continue;
            Time at = MAX(e->due, e->earliest);
            /* a clock that was set back must not hold a service for long */
            if (e->due != TIME_NEVER && e->earliest > now + services[i].min_gap)
                at = e->earliest = MAX(e->due, now);
            if (e->due != TIME_NEVER && at <= now)
                start_tick(a, e, now);
            else if (e->due != TIME_NEVER)
                wake = MIN(wake, at);
        }
        if (a->stopping)
            break;
        /* The wait is against the wall clock: a clock set forward ends it. */
        wake = MIN(wake, now + MINUTE);
        struct timespec ts = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000};
        pthread_cond_timedwait(&a->changed, &a->lock, &ts);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct alarms *alarms_start(struct workspace *ws, struct err *err)
{
    struct alarms *a = calloc(1, sizeof *a);
    if (!a)
        die("out of memory");
    a->ws = ws;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    for (int i = 0; i < ALARM_COUNT; i++) {
        a->entries[i] = (struct entry){.of = a, .which = (enum alarm)i, .due = time_now()};
        a->entries[i].tick.a = arena_create();
    }
    ws->alarms = a; /* the first ticks may lower alarms */
    if (pthread_create(&a->thread, NULL, clock_thread, a) != 0) {
        err_set(err, ERR_INTERNAL, "the clock thread cannot be started");
        ws->alarms = NULL;
        free(a);
        return NULL;
    }
    return a;
}

void alarms_stop(struct alarms *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    /* ticks under way end on the database's threads */
    for (bool busy = true; busy;) {
        busy = false;
        pthread_mutex_lock(&a->lock);
        for (int i = 0; i < ALARM_COUNT; i++)
            busy |= a->entries[i].running;
        if (busy)
            pthread_cond_wait(&a->changed, &a->lock);
        pthread_mutex_unlock(&a->lock);
    }
    for (int i = 0; i < ALARM_COUNT; i++)
        arena_free(a->entries[i].tick.a);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a);
}

void alarms_lower(struct alarms *a, enum alarm which, Time at)
{
    if (!a || at == TIME_NEVER)
        return;
    pthread_mutex_lock(&a->lock);
    struct entry *e = &a->entries[which];
    if (at < e->due) {
        e->due = at;
        if (!e->running)
            pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
}

struct alarm_stats alarms_stats(const struct alarms *a, enum alarm which)
{
    struct alarms *mutable = (struct alarms *)(uintptr_t)a;
    pthread_mutex_lock(&mutable->lock);
    struct alarm_stats s = a->entries[which].stats;
    s.due = a->entries[which].due;
    pthread_mutex_unlock(&mutable->lock);
    return s;
}
