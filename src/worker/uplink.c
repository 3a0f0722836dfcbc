#include "worker/uplink.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#define BATCH_BYTES ((size_t)512 << 10)
#define BATCH_RECORDS 500
#define LINGER (150 * MSEC)       /* what is printed together is sent together */
#define LOGS_PATIENCE (10 * SEC)  /* at the end: how long logs may hold up the report */
#define PAUSE_FIRST (200 * MSEC)
#define PAUSE_MOST (15 * SEC)
#define REFUSALS 3

struct record {
    struct record *next;
    Time at;
    const char *logger;
    int level;
    size_t n;
    char text[];
};

struct uplink {
    struct uplink_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct record *first, **last;
    size_t waiting;      /* bytes in the list */
    size_t taken;        /* bytes of output ever accepted */
    size_t dropped;      /* lines since the last note */
    bool cut;            /* the total was reached, and said so */
    bool failing;        /* the last batch was not taken */
    _Atomic bool ending, quit;
    const struct run_end *end;
    int fd;
};

/* Until quit (or, where told, the end) is asked for, or `d` has passed. */
static void wait_for(struct uplink *u, Dur d, bool or_end)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t ns = ts.tv_nsec + (d % SEC) * 1000;
    ts.tv_sec += d / SEC + ns / 1000000000;
    ts.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&u->lock);
    while (!u->quit && !(or_end && u->ending) && pthread_cond_timedwait(&u->wake, &u->lock, &ts) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&u->lock);
}

static Dur next_pause(Dur pause, Dur retry_after)
{
    Dur doubled = MIN(pause * 2, PAUSE_MOST);
    Dur wait = (Dur)((double)doubled * (0.75 + random_double() / 2));
    return MAX(wait, MIN(retry_after, MINUTE));
}

/* Takes it that trying again helps: no answer, too busy, not (yet) allowed. */
static bool is_passing(int status)
{
    return status >= 500 || status == 408 || status == 425 || status == 429 || status == 401 || status == 403;
}

/* One call, tried until it has an answer that will not change; that answer, or status 0 on quit or after `patience` (0: never). */
static struct response call(struct uplink *u, struct client *c, struct arena *a, const char *method, Str path, Str body,
                            Dur patience)
{
    Dur started = time_monotonic(), pause = PAUSE_FIRST / 2;
    bool told = false;
    for (;;) {
        struct response r = {.retry_after = -1};
        struct err err;
        int rc = client_call(c, a, method, path, body, &r, &err);
        if (rc == 0 && !is_passing(r.status))
            return r;
        if (!told) {
            if (rc == 0)
                (void)response_error(a, &r, &err);
            log_at(LOG_WARN, "supervisor", "the API does not answer as it should, trying again", "call=\"%s %.*s\" error=\"%s\"",
                   method, STR_ARG(path), err.text);
        }
        told = true;
        if (u->quit || (patience && time_monotonic() - started > patience))
            return (struct response){0};
        pause = next_pause(pause, r.retry_after);
        wait_for(u, pause, false);
    }
}

static Str run_path(struct arena *a, const struct uplink *u, const char *rest)
{
    return str_fmt(a, "/flow_runs/%s%s", uuid_text(u->o.flow_run_id).s, rest);
}

/* Says where the run lives, so that anybody can cancel it. One try at a time: output must not wait for it. */
static bool tell_place(struct uplink *u, struct client *c, struct arena *a)
{
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "infrastructure_pid", u->o.identifier);
    jw_end(&w);
    struct response r;
    struct err err;
    return client_call(c, a, "PATCH", run_path(a, u, ""), buf_view(&b), &r, &err) == 0 && !is_passing(r.status);
}

/* A batch off the front of the queue. With the lock held. */
static struct record *cut_batch(struct uplink *u)
{
    struct record *first = u->first, *r = first, **end = &u->first;
    size_t bytes = 0;
    for (int n = 0; r && n < BATCH_RECORDS && bytes < BATCH_BYTES; n++, r = r->next) {
        bytes += r->n + sizeof *r;
        end = &r->next;
    }
    if (first) {
        u->first = *end;
        *end = NULL;
        if (!u->first)
            u->last = &u->first;
        u->waiting -= bytes;
    }
    return first;
}

/* With the lock held. */
static struct record *note_dropped(struct uplink *u, struct record *batch)
{
    char text[96];
    int n = snprintf(text, sizeof text, "%zu lines of output were left out here: they came faster than the API took them.", u->dropped);
    struct record *r = malloc(sizeof *r + (size_t)n);
    if (!r)
        die("out of memory");
    *r = (struct record){.next = batch, .at = time_now(), .logger = "millpond.supervisor", .level = UPLINK_WARNING, .n = (size_t)n};
    memcpy(r->text, text, (size_t)n);
    u->dropped = 0;
    return r;
}

/* The next batch, with a word about what had to be left out before it; the caller frees it. */
static struct record *take_batch(struct uplink *u)
{
    pthread_mutex_lock(&u->lock);
    struct record *batch = cut_batch(u);
    if (u->dropped && (!u->failing || u->ending))
        batch = note_dropped(u, batch);
    pthread_mutex_unlock(&u->lock);
    return batch;
}

static void free_batch(struct record *r)
{
    while (r) {
        struct record *next = r->next;
        free(r);
        r = next;
    }
}

static bool ship(struct uplink *u, struct client *c, struct arena *a, const struct record *batch, Dur patience)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    for (const struct record *r = batch; r; r = r->next) {
        jw_object(&w);
        jw_kz(&w, "name", r->logger);
        jw_kint(&w, "level", r->level);
        jw_kstr(&w, "message", ((Str){r->text, r->n}));
        jw_ktime(&w, "timestamp", r->at);
        jw_kuuid(&w, "flow_run_id", u->o.flow_run_id);
        jw_end(&w);
    }
    jw_end(&w);
    struct response r = {.retry_after = -1};
    struct err err;
    if (patience < 0) { /* one try */
        if (client_call(c, a, "POST", STR("/logs/"), buf_view(&b), &r, &err) < 0 || is_passing(r.status))
            return false;
    } else {
        r = call(u, c, a, "POST", STR("/logs/"), buf_view(&b), patience);
    }
    if (r.status >= 400)
        log_at(LOG_WARN, "supervisor", "the API refused log records, skipping them", "error=\"%.*s\"",
               STR_ARG(response_error_text(a, &r)));
    return r.status != 0;
}

static void write_state(struct jw *w, const struct uplink *u, const struct verdict *v, Uuid transition)
{
    jw_object(w);
    jw_key(w, STR("state"));
    jw_object(w);
    jw_kz(w, "type", v->type);
    if (v->name)
        jw_kz(w, "name", v->name);
    jw_kstr(w, "message", v->message);
    jw_key(w, STR("state_details"));
    jw_object(w);
    jw_kuuid(w, "flow_run_id", u->o.flow_run_id);
    jw_kuuid(w, "transition_id", transition);
    jw_end(w);
    jw_end(w);
    jw_kbool(w, "force", v->force);
    jw_end(w);
}

/* Until the run's state says how it ended. */
static void report(struct uplink *u, struct client *c, struct arena *a)
{
    for (int refused = 0; refused < REFUSALS && !u->quit;) {
        arena_reset(a);
        struct response r = call(u, c, a, "GET", run_path(a, u, ""), STR_NONE, 0);
        if (!r.status || r.status == 404)
            return;
        if (r.status != 200 || !r.json) {
            refused++;
            wait_for(u, PAUSE_MOST, false);
            continue;
        }
        struct verdict v = run_verdict(a, u->end, r.json, u->o.claim_state, u->o.identifier);
        log_at(LOG_DEBUG, "supervisor", "the process has ended", "code=%d verdict=%s why=\"%s\"", u->end->code,
               v.kind == VERDICT_STATE ? v.type : "none", v.why);
        if (v.kind == VERDICT_NOTHING)
            return;
        AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
        struct jw w = jw_on(&b);
        write_state(&w, u, &v, uuid_v4());
        r = call(u, c, a, "POST", run_path(a, u, "/set_state"), buf_view(&b), 0);
        Str status = json_get_str(r.json, STR("status"));
        if (!r.status || r.status == 404 || str_eqz(status, "ACCEPT"))
            return;
        /* Refused: the run has moved on since it was read. Look again, but not for ever. */
        refused++;
        log_at(LOG_INFO, "supervisor", "the state was not taken", "type=%s status=%.*s http=%d", v.type, STR_ARG(status),
               r.status);
        wait_for(u, PAUSE_FIRST * refused, false);
    }
}

static void *run(void *arg)
{
    struct uplink *u = arg;
    struct client_options o = *u->o.api;
    o.retries = 0;
    o.repeat_posts = true;
    AUTO(client_freep) struct client *c = client_create(&o);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct record *batch = NULL;
    bool placed = !u->o.identifier.n;
    Dur pause = PAUSE_FIRST;
    for (;;) {
        arena_reset(a);
        if (!placed)
            placed = tell_place(u, c, a);
        pthread_mutex_lock(&u->lock);
        if (!u->first && !batch && !u->ending && !u->quit && placed)
            pthread_cond_wait(&u->wake, &u->lock);
        bool ending = u->ending || u->quit, more = u->waiting > BATCH_BYTES;
        pthread_mutex_unlock(&u->lock);
        if (ending)
            break;
        if (!batch && !more)
            wait_for(u, LINGER, true);
        if (!batch)
            batch = take_batch(u);
        if (!batch && placed)
            continue;
        bool sent = !batch || ship(u, c, a, batch, -1);
        if (sent) {
            free_batch(batch);
            batch = NULL;
        }
        pthread_mutex_lock(&u->lock);
        u->failing = !sent;
        pthread_mutex_unlock(&u->lock);
        if (sent && placed) {
            pause = PAUSE_FIRST;
        } else {
            wait_for(u, pause, true);
            pause = next_pause(pause, -1);
        }
    }
    Dur patience = LOGS_PATIENCE;
    for (bool go = true; go && !u->quit;) {
        if (!batch && !(batch = take_batch(u)))
            break;
        arena_reset(a);
        go = ship(u, c, a, batch, patience);
        if (go) {
            free_batch(batch);
            batch = NULL;
        }
    }
    if (!u->quit && u->end)
        report(u, c, a);
    /* What would not go before the report: once more, now that the API answers. */
    while (!u->quit && batch && ship(u, c, a, batch, LOGS_PATIENCE)) {
        free_batch(batch);
        batch = take_batch(u);
    }
    free_batch(batch);
    uint64_t one = 1;
    ssize_t done = write(u->fd, &one, sizeof one);
    UNUSED(done);
    return NULL;
}

struct uplink *uplink_start(const struct uplink_options *o)
{
    struct uplink *u = calloc(1, sizeof *u);
    if (!u)
        die("out of memory");
    u->o = *o;
    if (!u->o.total)
        u->o.total = UPLINK_TOTAL;
    u->last = &u->first;
    u->fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (u->fd < 0 || pthread_create(&u->thread, NULL, run, u))
        die("cannot start the uplink's thread");
    return u;
}

static void append(struct uplink *u, const char *logger, int level, Str text)
{
    struct record *r = malloc(sizeof *r + text.n);
    if (!r)
        die("out of memory");
    *r = (struct record){.at = time_now(), .logger = logger, .level = level, .n = text.n};
    memcpy(r->text, text.p, text.n);
    *u->last = r;
    u->last = &r->next;
    u->waiting += text.n + sizeof *r;
    pthread_cond_broadcast(&u->wake);
}

void uplink_log(struct uplink *u, const char *logger, int level, Str text, bool is_output)
{
    pthread_mutex_lock(&u->lock);
    if (u->ending || (u->cut && is_output)) {
        /* too late, or enough */
    } else if (is_output && u->taken + text.n > u->o.total) {
        u->cut = true;
        char note[96];
        int n = snprintf(note, sizeof note, "The run has printed more than %zu MiB; the rest of its output is not kept.", u->o.total >> 20);
        append(u, "millpond.supervisor", UPLINK_WARNING, (Str){note, (size_t)n});
    } else if (is_output && u->waiting + text.n > UPLINK_QUEUE) {
        u->dropped++;
    } else {
        u->taken += is_output ? text.n : 0;
        append(u, logger, level, text);
    }
    pthread_mutex_unlock(&u->lock);
}

bool uplink_room(struct uplink *u)
{
    pthread_mutex_lock(&u->lock);
    bool room = u->waiting < UPLINK_QUEUE / 2 || u->failing || u->cut || u->ending;
    pthread_mutex_unlock(&u->lock);
    return room;
}

void uplink_end(struct uplink *u, const struct run_end *end)
{
    pthread_mutex_lock(&u->lock);
    u->end = end;
    u->ending = true;
    pthread_cond_broadcast(&u->wake);
    pthread_mutex_unlock(&u->lock);
}

int uplink_fd(const struct uplink *u)
{
    return u->fd;
}

void uplink_free(struct uplink *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->quit = true;
    pthread_cond_broadcast(&u->wake);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    free_batch(u->first);
    close(u->fd);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->wake);
    free(u);
}
