#include "services/task_queues.h"

#include "base/log.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RUNS_MAX 100000     /* known at once; more stay in the table until there is room */
#define LOOK_MAX 10000      /* rows that one look into the table brings */
#define LOOK_IDLE_SQLITE (60 * SEC)
#define LOOK_IDLE_POSTGRES (5 * SEC) /* runs come through other servers too */
#define LOOK_SOON SEC
#define BEGIN_WITHIN (60 * SEC) /* a run that was taken and still is SCHEDULED after this is handed out again */
#define SLOTS 4096

struct queue;

struct run {
    Uuid id;
    struct queue *queue;
    struct run *by_hash, *next;
    enum { WAITS, GIVEN, TAKEN } where;
    Dur taken; /* monotonic */
};

struct list {
    struct run *first, **end;
    size_t n;
};

struct queue { /* of a task key; there while a run of the key is known */
    struct queue *by_hash;
    Str key; /* owned */
    size_t runs;
    struct list scheduled, retry;
};

struct task_worker {
    struct task_queues *q;
    struct task_worker *next; /* among all, in the order of joining */
    struct arena *a;
    Str *keys;
    size_t n;
    Str client_id;
    Time seen;
    void (*run)(void *user, Uuid id);
    void *user;
    bool waiting;
    uint64_t since; /* who waits longest is first */
    struct run *given;
};

/* On its way to the queues. */
struct fresh {
    Uuid id;
    Str key; /* owned */
    bool retry;
};

struct task_queues {
    struct db *db;
    struct loop *loop;
    pthread_mutex_t lock; /* over fresh, posted, looks, closing; and over workers, which the loop alone changes */
    pthread_cond_t changed;
    struct fresh *fresh;
    size_t fresh_n, fresh_cap;
    bool posted, closing, no_room;
    size_t looks; /* into the table, under way */
    struct task_worker *workers;
    /* the loop's alone */
    uv_timer_t *timer;
    struct run *runs[SLOTS];
    struct queue *queues[SLOTS];
    struct list taken; /* oldest first */
    size_t run_count;
    bool begun;         /* the first look is over: what waited before the start stands before all that came later */
    bool looking, more; /* a look is under way; there is more in the table than fits here */
    uint64_t turns;
};

/* ---- lists and tables ---- */

static void list_push(struct list *l, struct run *r)
{
    if (!l->first)
        l->end = &l->first;
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
    l->n++;
}

static void list_push_front(struct list *l, struct run *r)
{
    r->next = l->first;
    if (!l->first)
        l->end = &r->next;
    l->first = r;
    l->n++;
}

static struct run *list_pop(struct list *l)
{
    struct run *r = l->first;
    if (r) {
        l->first = r->next;
        l->n--;
    }
    return r;
}

static size_t run_slot(Uuid id)
{
    uint64_t h;
    memcpy(&h, id.b + 8, sizeof h);
    return (size_t)(h * 0x9e3779b97f4a7c15u >> 52) % SLOTS;
}

static struct run *run_find(struct task_queues *q, Uuid id)
{
    for (struct run *r = q->runs[run_slot(id)]; r; r = r->by_hash)
        if (uuid_eq(r->id, id))
            return r;
    return NULL;
}

/* Its place in the table: NULL there where no run of the key is known. */
static struct queue **queue_place(struct task_queues *q, Str key)
{
    struct queue **at = &q->queues[str_hash(key) % SLOTS];
    while (*at && !str_eq((*at)->key, key))
        at = &(*at)->by_hash;
    return at;
}

static struct queue *queue_make(struct task_queues *q, Str key)
{
    struct queue **at = queue_place(q, key);
    if (*at)
        return *at;
    struct queue *k = calloc(1, sizeof *k + key.n);
    if (!k)
        die("out of memory");
    memcpy(k + 1, key.p, key.n);
    k->key = (Str){(char *)(k + 1), key.n};
    return *at = k;
}

static void run_forget(struct task_queues *q, struct run *r)
{
    struct run **at = &q->runs[run_slot(r->id)];
    while (*at != r)
        at = &(*at)->by_hash;
    *at = r->by_hash;
    q->run_count--;
    struct queue *k = r->queue;
    if (--k->runs == 0) {
        *queue_place(q, k->key) = k->by_hash;
        free(k);
    }
    free(r);
}

/* Those that were taken long enough ago are forgotten: a later look finds them where they did not begin. */
static void forget_taken(struct task_queues *q)
{
    Dur now = time_monotonic();
    while (q->taken.first && now - q->taken.first->taken >= BEGIN_WITHIN)
        run_forget(q, list_pop(&q->taken));
}

/* ---- handing out ---- */

static struct run *next_for(struct task_worker *w)
{
    if (!w->q->begun)
        return NULL;
    for (size_t i = 0; i < w->n; i++) {
        struct queue *k = *queue_place(w->q, w->keys[i]);
        struct run *r = k ? list_pop(&k->retry) : NULL;
        if (k && !r)
            r = list_pop(&k->scheduled);
        if (r)
            return r;
    }
    return NULL;
}

static void give(struct task_worker *w, struct run *r)
{
    r->where = GIVEN;
    w->given = r;
    w->waiting = false;
    w->run(w->user, r->id);
}

/* To those who wait, the longest first, until nothing fits. */
static void hand_out(struct task_queues *q)
{
    for (;;) {
        struct task_worker *best = NULL;
        struct run *r = NULL;
        uint64_t after = 0;
        do { /* the next in the order of waiting whose keys have a run */
            best = NULL;
            for (struct task_worker *w = q->workers; w; w = w->next)
                if (w->waiting && w->since > after && (!best || w->since < best->since))
                    best = w;
            if (best) {
                after = best->since;
                r = next_for(best);
            }
        } while (best && !r);
        if (!r)
            return;
        give(best, r);
    }
}

/* `anew`: it has just entered SCHEDULED; else it was merely found so, and one that a worker took may yet begin. */
static void enqueue(struct task_queues *q, Uuid id, Str key, bool retry, bool anew)
{
    struct run *r = run_find(q, id);
    if (r && (r->where != TAKEN || !anew))
        return;
    if (r) {
        struct run **at = &q->taken.first;
        while (*at != r)
            at = &(*at)->next;
        *at = r->next;
        if (q->taken.end == &r->next)
            q->taken.end = at;
        q->taken.n--;
        run_forget(q, r);
    }
    if (q->run_count >= RUNS_MAX) {
        q->more = true;
        return;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        die("out of memory");
    r->id = id;
    r->queue = queue_make(q, key);
    r->queue->runs++;
    struct run **slot = &q->runs[run_slot(id)];
    r->by_hash = *slot;
    *slot = r;
    q->run_count++;
    list_push(retry ? &r->queue->retry : &r->queue->scheduled, r);
}

/* Puts what came since into the queues. */
static void absorb(struct task_queues *q)
{
    if (!q->begun)
        return;
    pthread_mutex_lock(&q->lock);
    struct fresh *fresh = TAKE(q->fresh);
    size_t n = q->fresh_n;
    q->fresh_n = q->fresh_cap = 0;
    q->more |= q->no_room;
    q->no_room = false;
    pthread_mutex_unlock(&q->lock);
    for (size_t i = 0; i < n; i++) {
        enqueue(q, fresh[i].id, fresh[i].key, fresh[i].retry, true);
        free((char *)(uintptr_t)fresh[i].key.p);
    }
    free(fresh);
}

/* ---- looking into the table ---- */

struct found {
    Uuid id;
    Str key;
    bool retry;
    Time since;
};
struct look {
    struct task_queues *q;
    struct arena *a;
    VEC(struct found) found;
    bool failed;
};

static int look_rows(struct look *l, struct stmt *rows, struct err *err)
{
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        struct found f = {.id = stmt_uuid(rows, 0), .key = str_dup(l->a, stmt_str(rows, 1)), .since = stmt_int(rows, 4)};
        f.retry = str_eqz(stmt_str(rows, 2), "AwaitingRetry");
        struct state_details d;
        shape_read(l->a, &state_details_shape, str_dup(l->a, stmt_str(rows, 3)), &d);
        if (d.deferred == 1)
            vec_push(l->a, &l->found, f);
    }
    return rc;
}

static int by_since(const void *x, const void *y)
{
    const struct found *a = x, *b = y;
    return a->since != b->since ? (a->since > b->since) - (a->since < b->since) : memcmp(a->id.b, b->id.b, sizeof a->id.b);
}

static int look_work(struct conn *c, void *arg, struct err *err)
{
    struct look *l = arg;
    l->found.n = 0;
    AUTO(stmt_finish) struct stmt *rows = db_query(c, err,
        "SELECT task_run.id, task_run.task_key, task_run.state_name, task_run_state.state_details, task_run.state_timestamp FROM task_run"
        " JOIN task_run_state ON task_run_state.run_id = task_run.id AND task_run_state.id = task_run.state_id"
        " WHERE task_run.state_type = 'SCHEDULED' ORDER BY task_run.id LIMIT $1", "i", (int64_t)LOOK_MAX);
    if (!rows || look_rows(l, rows, err) < 0)
        return -1;
    if (l->found.n)
        qsort(l->found.v, l->found.n, sizeof *l->found.v, by_since);
    return 0;
}

static void arm(struct task_queues *q);

static void look_over(struct look *l)
{
    struct task_queues *q = l->q;
    arena_free(l->a);
    free(l);
    pthread_mutex_lock(&q->lock);
    q->looks--;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void looked(void *arg)
{
    struct look *l = arg;
    struct task_queues *q = l->q;
    q->looking = false;
    q->more = l->failed || l->found.n >= LOOK_MAX;
    for (size_t i = 0; i < l->found.n; i++)
        enqueue(q, l->found.v[i].id, l->found.v[i].key, l->found.v[i].retry, false);
    q->begun = true;
    absorb(q);
    hand_out(q);
    arm(q);
    look_over(l);
}

static void look_done(void *arg, const struct err *err)
{
    struct look *l = arg;
    l->failed = err != NULL;
    if (err)
        log_at(LOG_WARN, "task_queues", "task runs that wait cannot be read, trying again", "error=\"%s\"", err->text);
    loop_post(l->q->loop, looked, l);
}

static void look(struct task_queues *q)
{
    struct look *l = calloc(1, sizeof *l);
    if (!l)
        die("out of memory");
    l->q = q;
    l->a = arena_create();
    q->looking = true;
    pthread_mutex_lock(&q->lock);
    q->looks++;
    pthread_mutex_unlock(&q->lock);
    struct err err;
    if (db_read(q->db, look_work, look_done, l, &err) < 0)
        look_done(l, &err);
}

static bool somebody_waits(const struct task_queues *q)
{
    for (const struct task_worker *w = q->workers; w; w = w->next)
        if (w->waiting)
            return true;
    return false;
}

static void on_timer(uv_timer_t *t)
{
    struct task_queues *q = t->data;
    forget_taken(q);
    if (!q->looking && somebody_waits(q))
        look(q);
    else
        arm(q);
}

/* The next look: soon where the table is known to hold more, now and then while a worker stands idle. */
static void arm(struct task_queues *q)
{
    if (!q->timer)
        return;
    if (!somebody_waits(q)) {
        uv_timer_stop(q->timer);
        return;
    }
    Dur idle = db_kind(q->db) == DB_POSTGRES ? LOOK_IDLE_POSTGRES : LOOK_IDLE_SQLITE;
    Dur pause = q->more ? LOOK_SOON : idle;
    if (!uv_is_active((uv_handle_t *)q->timer) || uv_timer_get_due_in(q->timer) > (uint64_t)(pause / MSEC))
        uv_timer_start(q->timer, on_timer, (uint64_t)(pause / MSEC), 0);
}

static void on_added(void *arg)
{
    struct task_queues *q = arg;
    pthread_mutex_lock(&q->lock);
    q->posted = false;
    pthread_mutex_unlock(&q->lock);
    absorb(q);
    hand_out(q);
    arm(q);
}

void task_queues_add(struct task_queues *q, const struct task_scheduled *runs, size_t n)
{
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < n && !q->closing; i++) {
        if (q->fresh_n >= RUNS_MAX) {
            q->no_room = true;
            break;
        }
        if (q->fresh_n == q->fresh_cap) {
            q->fresh_cap = q->fresh_cap ? q->fresh_cap * 2 : 64;
            q->fresh = realloc(q->fresh, q->fresh_cap * sizeof *q->fresh);
            if (!q->fresh)
                die("out of memory");
        }
        char *key = malloc(runs[i].key.n + 1);
        if (!key)
            die("out of memory");
        memcpy(key, runs[i].key.p, runs[i].key.n);
        q->fresh[q->fresh_n++] = (struct fresh){runs[i].id, {key, runs[i].key.n}, runs[i].retry};
    }
    if (n && !q->posted && !q->closing) {
        q->posted = true;
        loop_post(q->loop, on_added, q);
    }
    pthread_mutex_unlock(&q->lock);
}

/* ---- workers ---- */

struct task_worker *task_worker_join(struct task_queues *q, const Str *keys, size_t n, Str client_id,
                                     void (*run)(void *user, Uuid id), void *user)
{
    struct arena *a = arena_create();
    struct task_worker *w = arena_new(a, struct task_worker);
    w->q = q;
    w->a = a;
    w->keys = arena_array(a, Str, n);
    for (size_t i = 0; i < n; i++)
        w->keys[i] = str_dup(a, keys[i]);
    w->n = n;
    w->client_id = str_dup(a, client_id);
    w->seen = time_now();
    w->run = run;
    w->user = user;
    pthread_mutex_lock(&q->lock);
    struct task_worker **at = &q->workers;
    while (*at)
        at = &(*at)->next;
    *at = w;
    pthread_mutex_unlock(&q->lock);
    return w;
}

void task_worker_next(struct task_worker *w)
{
    struct task_queues *q = w->q;
    pthread_mutex_lock(&q->lock);
    w->seen = time_now();
    pthread_mutex_unlock(&q->lock);
    absorb(q); /* the post that tells of them may still be on its way */
    struct run *r = next_for(w);
    if (r) {
        give(w, r);
        return;
    }
    w->waiting = true;
    w->since = ++q->turns;
    arm(q);
}

void task_worker_taken(struct task_worker *w)
{
    struct run *r = TAKE(w->given);
    if (!r)
        return;
    r->where = TAKEN;
    r->taken = time_monotonic();
    list_push(&w->q->taken, r);
    forget_taken(w->q);
}

void task_worker_leave(struct task_worker *w)
{
    struct task_queues *q = w->q;
    pthread_mutex_lock(&q->lock);
    struct task_worker **at = &q->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_mutex_unlock(&q->lock);
    if (w->given) {
        w->given->where = WAITS;
        list_push_front(&w->given->queue->retry, w->given);
    }
    arena_free(w->a);
    hand_out(q);
}

void task_workers_print(struct task_queues *q, struct jw *out, const Str *keys, size_t n)
{
    jw_array(out);
    pthread_mutex_lock(&q->lock);
    for (struct task_worker *w = q->workers; w; w = w->next) {
        bool serves = !n;
        for (size_t i = 0; i < w->n && !serves; i++)
            for (size_t k = 0; k < n && !serves; k++)
                serves = str_eq(w->keys[i], keys[k]);
        if (!serves)
            continue;
        jw_object(out);
        jw_kstr(out, "identifier", w->client_id);
        jw_key(out, STR("task_keys"));
        jw_array(out);
        for (size_t i = 0; i < w->n; i++)
            jw_str(out, w->keys[i]);
        jw_end(out);
        jw_ktime(out, "timestamp", w->seen);
        jw_end(out);
    }
    pthread_mutex_unlock(&q->lock);
    jw_end(out);
}

/* ---- start and stop ---- */

static void begin(void *arg)
{
    struct task_queues *q = arg;
    q->timer = calloc(1, sizeof *q->timer);
    if (!q->timer)
        die("out of memory");
    uv_timer_init(loop_uv(q->loop), q->timer);
    q->timer->data = q;
    look(q);
}

struct task_queues *task_queues_start(struct workspace *ws, struct err *err)
{
    UNUSED(err);
    struct task_queues *q = calloc(1, sizeof *q);
    if (!q)
        die("out of memory");
    q->db = ws->db;
    q->loop = ws->loop;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    loop_post(q->loop, begin, q);
    return q;
}

static void timer_closed(uv_handle_t *h)
{
    free(h);
}

struct ending {
    struct task_queues *q;
    sem_t done;
};

static void end(void *arg)
{
    struct ending *e = arg;
    struct task_queues *q = e->q;
    uv_close((uv_handle_t *)q->timer, timer_closed);
    q->timer = NULL;
    sem_post(&e->done);
}

void task_queues_stop(struct task_queues *q)
{
    if (!q)
        return;
    struct ending e = {.q = q};
    sem_init(&e.done, 0, 0);
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_mutex_unlock(&q->lock);
    loop_post(q->loop, end, &e); /* behind `begin` and all that was posted */
    while (sem_wait(&e.done) < 0)
        ;
    sem_destroy(&e.done);
    pthread_mutex_lock(&q->lock);
    while (q->looks)
        pthread_cond_wait(&q->changed, &q->lock);
    pthread_mutex_unlock(&q->lock);
    if (q->workers)
        die("task_queues_stop: a worker is still there");
    for (size_t i = 0; i < SLOTS; i++) {
        for (struct run *r; (r = q->runs[i]);) {
            q->runs[i] = r->by_hash;
            free(r);
        }
        for (struct queue *k; (k = q->queues[i]);) {
            q->queues[i] = k->by_hash;
            free(k);
        }
    }
    for (size_t i = 0; i < q->fresh_n; i++)
        free((char *)(uintptr_t)q->fresh[i].key.p);
    free(q->fresh);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    free(q);
}
