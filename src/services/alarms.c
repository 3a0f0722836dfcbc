#include "services/alarms.h"

#include "base/log.h"
#include "store/concurrency.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* A failed tick is tried again after this. */
#define RETRY_AFTER (2 * SEC)
/* The longest wait: on PostgreSQL other servers write too, and a wait that is wrong ends. */
#define LONGEST_SQLITE (10 * MINUTE)
#define LONGEST_POSTGRES (5 * SEC)
/* The clock thread looks at least this often, whatever the timer says. */
#define LOOK_MS 60000
/* Less than this is the clock's being trimmed, not its being set. */
#define STEP_MIN (5 * SEC)
/* How long live holders have for renewing their leases after the clock was set forward, where leases are not moved. */
#define LEASES_HELD (5 * MINUTE)

struct entry {
    struct alarms *of;
    enum alarm which;
    Time due;      /* when to run next; lowered at any time */
    Time earliest; /* not before this: the service's min_gap */
    bool running;
    Dur began, failing_since; /* time since boot; failing_since 0: it is not */
    struct tick tick;
    struct alarm_stats stats;
};

struct alarms {
    struct workspace *ws;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a tick has ended */
    int timer, poke;        /* what the thread sleeps on: the next instant, and an eventfd for what comes in between */
    Dur offset;             /* of the wall clock to the one that nobody sets */
    Dur leases_held_until;  /* on the latter; 0: not held */
    bool stopping;
    struct entry entries[ALARM_COUNT];
};

static void poke(struct alarms *a)
{
    eventfd_write(a->poke, 1);
}

/* Goes on while the machine sleeps, so that to have slept is no change of the clock. */
static Dur time_since_boot(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec / 1000;
}

static int tick_work(struct conn *c, void *arg, struct err *err)
{
    struct entry *e = arg;
    struct tick *t = &e->tick;
    arena_reset(t->a);
    t->ws = e->of->ws;
    t->conn = c;
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
    e->failing_since = !err ? 0 : e->failing_since ? e->failing_since : time_since_boot();
    e->earliest = now + services[e->which].min_gap;
    Time longest = now + (db_kind(a->ws->db) == DB_POSTGRES ? LONGEST_POSTGRES : LONGEST_SQLITE);
    Time next = err ? now + RETRY_AFTER : MIN(e->tick.next, longest);
    e->due = MIN(e->due, next);
    pthread_cond_signal(&a->changed);
    poke(a);
    pthread_mutex_unlock(&a->lock);
}

static void start_tick(struct alarms *a, struct entry *e, Time now)
{
    e->running = true;
    e->began = time_since_boot();
    e->stats.last_lag = now - e->due;
    e->due = TIME_NEVER;
    e->tick.now = now; /* looked at already for the clock's being set, which a later one is not */
    pthread_mutex_unlock(&a->lock);
    struct err err;
    if ((services[e->which].reads ? db_read : db_write)(a->ws->db, tick_work, tick_done, e, &err) < 0)
        tick_done(e, &err);
    pthread_mutex_lock(&a->lock);
}

/* ---- the clock is set ---- */

struct step {
    Dur by;
};

static int move_leases(struct conn *c, void *arg, struct err *err)
{
    const struct step *s = arg;
    return leases_move(c, s->by, err);
}

static void moved(void *arg, const struct err *err)
{
    if (err)
        log_at(LOG_WARN, "services", "leases could not follow the clock", "error=\"%s\"", err->text);
    free(arg);
}

/* Instants that are told to people (a run's start, the end of a pause) mean the wall clock and stay; how long a lease lasts does not depend on
 * it. Where other servers share the database, the leases are theirs too: there they only do not end before their holders had time to renew. */
static void follow_clock(struct alarms *a, Time now)
{
    Dur offset = now - time_since_boot(), by = offset - a->offset;
    if (by < STEP_MIN && by > -STEP_MIN) {
        a->offset += by / 64; /* trimmed */
        return;
    }
    a->offset = offset;
    log_at(LOG_WARN, "services", "the clock was set", "by=%.3fs", (double)by / SEC);
    for (int i = 0; i < ALARM_COUNT; i++) { /* when each is due next was found by the old clock */
        a->entries[i].earliest = 0;
        a->entries[i].due = now;
    }
    if (db_kind(a->ws->db) == DB_POSTGRES) {
        if (by > 0)
            a->leases_held_until = time_since_boot() + LEASES_HELD;
        return;
    }
    struct step *s = malloc(sizeof *s);
    struct err err;
    if (!s)
        die("out of memory");
    s->by = by;
    pthread_mutex_unlock(&a->lock);
    if (db_write(a->ws->db, move_leases, moved, s, &err) < 0)
        moved(s, &err);
    pthread_mutex_lock(&a->lock);
}

static bool is_held(struct alarms *a, int which)
{
    if (which != ALARM_LEASE || !a->leases_held_until)
        return false;
    if (time_since_boot() < a->leases_held_until)
        return true;
    a->leases_held_until = 0;
    return false;
}

/* Until `wake`, a poke, or the clock's being set. */
static void rest(struct alarms *a, Time wake)
{
    struct itimerspec at = {.it_value = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000}};
    timerfd_settime(a->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
    struct pollfd fds[] = {{.fd = a->timer, .events = POLLIN}, {.fd = a->poke, .events = POLLIN}};
    uint64_t count;
    if (poll(fds, COUNT_OF(fds), LOOK_MS) <= 0)
        return;
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        if (fds[i].revents && read(fds[i].fd, &count, sizeof count) < 0)
            continue; /* ECANCELED: the clock was set */
}

static void *clock_thread(void *arg)
{
    struct alarms *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        Time now = time_now(), wake = TIME_NEVER;
        follow_clock(a, now);
        for (int i = 0; i < ALARM_COUNT; i++) {
            struct entry *e = &a->entries[i];
            if (e->running || e->due == TIME_NEVER || is_held(a, i))
                continue;
            /* a tick that ended while the clock was set back may have spoken of the old one */
            e->due = MIN(e->due, now + LONGEST_SQLITE);
            e->earliest = MIN(e->earliest, now + services[i].min_gap);
            Time at = MAX(e->due, e->earliest);
            if (at <= now)
                start_tick(a, e, now);
            else
                wake = MIN(wake, at);
        }
        if (a->stopping)
            break;
        pthread_mutex_unlock(&a->lock);
        rest(a, MIN(wake, now + MINUTE));
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void alarms_free(struct alarms *a)
{
    for (int i = 0; i < ALARM_COUNT; i++)
        arena_free(a->entries[i].tick.a);
    if (a->timer >= 0)
        close(a->timer);
    if (a->poke >= 0)
        close(a->poke);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a);
}

struct alarms *alarms_start(struct workspace *ws, struct err *err)
{
    struct alarms *a = calloc(1, sizeof *a);
    if (!a)
        die("out of memory");
    a->ws = ws;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    a->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->offset = time_now() - time_since_boot();
    for (int i = 0; i < ALARM_COUNT; i++) {
        a->entries[i] = (struct entry){.of = a, .which = (enum alarm)i, .due = time_now()};
        a->entries[i].tick.a = arena_create();
    }
    ws->alarms = a; /* the first ticks may lower alarms */
    if (a->timer < 0 || a->poke < 0 || pthread_create(&a->thread, NULL, clock_thread, a) != 0) {
        err_set(err, ERR_INTERNAL, "the clock thread cannot be started");
        ws->alarms = NULL;
        alarms_free(a);
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
    poke(a);
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
    alarms_free(a);
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
            poke(a);
    }
    pthread_mutex_unlock(&a->lock);
}

struct alarm_stats alarms_stats(const struct alarms *a, enum alarm which)
{
    struct alarms *mutable = (struct alarms *)(uintptr_t)a;
    if (!a)
        return (struct alarm_stats){.due = TIME_NEVER};
    pthread_mutex_lock(&mutable->lock);
    struct entry *e = &mutable->entries[which];
    struct alarm_stats s = e->stats;
    Time now = time_now(), at = MAX(e->due, e->earliest);
    s.due = e->due;
    if (e->running)
        s.overdue = time_since_boot() - e->began;
    else if (e->due != TIME_NEVER && at < now && !is_held(mutable, (int)which))
        s.overdue = now - at;
    s.failing = e->failing_since ? time_since_boot() - e->failing_since : 0;
    pthread_mutex_unlock(&mutable->lock);
    return s;
}
