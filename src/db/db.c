#include "db/db.h"

#include <assert.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "db/driver.h"

#define RACES_MAX 5 /* times a job that lost to another is run again */
#define RING_FIRST 64

/* The connection whose job this thread runs, and the database whose thread this is. */
static _Thread_local struct conn *running;
static _Thread_local const struct db *thread_of;

/* ---- queues ---- */

static void queue_init(struct queue *q, size_t max)
{
    *q = (struct queue){.max = max};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->wake, NULL);
}

static void queue_clear(struct queue *q)
{
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->wake);
    free(q->ring);
}

static void ring_resize(struct queue *q, size_t cap)
{
    struct job *ring = malloc(cap * sizeof *ring);
    if (!ring)
        die("out of memory");
    for (size_t i = 0; i < q->n; i++)
        ring[i] = q->ring[(q->first + i) % q->cap];
    free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->first = 0;
}

static int queue_put(struct queue *q, const struct job *job, struct err *err)
{
    pthread_mutex_lock(&q->lock);
    if (q->closing || q->n >= q->max) {
        bool closing = q->closing;
        pthread_mutex_unlock(&q->lock);
        return closing ? err_set(err, ERR_BUSY, "the database is closing")
                       : err_set(err, ERR_BUSY, "%zu jobs are waiting for the database", q->max);
    }
    if (q->n == q->cap)
        ring_resize(q, q->cap ? q->cap * 2 : RING_FIRST);
    q->ring[(q->first + q->n++) % q->cap] = *job;
    bool wake = q->sleepers > 0;
    pthread_mutex_unlock(&q->lock);
    if (wake)
        pthread_cond_signal(&q->wake);
    return 0;
}

/* Waits for jobs and takes up to `most`; 0 when the queue is closed and empty. */
static size_t queue_take(struct queue *q, struct job *ret, size_t most)
{
    pthread_mutex_lock(&q->lock);
    while (!q->n && !q->closing) {
        q->sleepers++;
        pthread_cond_wait(&q->wake, &q->lock);
        q->sleepers--;
    }
    size_t n = MIN(q->n, most);
    for (size_t i = 0; i < n; i++)
        ret[i] = q->ring[(q->first + i) % q->cap];
    if (n) {
        q->first = (q->first + n) % q->cap;
        q->n -= n;
        if (!q->n && q->cap > LIMIT_BATCH) /* a burst is over: give its memory back */
            ring_resize(q, RING_FIRST);
    }
    pthread_mutex_unlock(&q->lock);
    return n;
}

static void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->wake);
}

/* ---- transactions ---- */

bool db_test_strikes(struct db *db, struct err *err)
{
    if (atomic_load_explicit(&db->fail_in, memory_order_relaxed) <= 0 ||
        atomic_fetch_sub(&db->fail_in, 1) != 1)
        return false;
    err_set(err, ERR_DB, "failure made for a test");
    return true;
}

int conn_begin(struct conn *c, bool writing, struct err *err)
{
    c->failed = c->raced = false;
    c->savepoints = 0;
    c->writing = writing;
    if (c->driver->begin(c, err) < 0)
        return -1;
    c->open = true;
    return 0;
}

int conn_commit(struct conn *c, struct err *err)
{
    if (c->writing && db_test_strikes(c->db, err)) {
        conn_rollback(c);
        return -1;
    }
    c->open = false;
    if (c->driver->commit(c, err) == 0)
        return 0;
    conn_rollback(c);
    return -1;
}

void conn_rollback(struct conn *c)
{
    conn_finish_all(c);
    c->open = false;
    c->driver->rollback(c);
}

/* Runs a job's work in the open transaction. */
static int conn_work(struct conn *c, db_work *work, void *arg, struct err *err)
{
    struct conn *outer = running;
    running = c;
    c->failed = c->raced = false;
    c->savepoints = 0;
    err_set(err, ERR_INTERNAL, "a job failed and did not say why");
    int rc = work(c, arg, err);
    running = outer;
    assert(!c->busy.first); /* a statement without its stmt_finish */
    conn_finish_all(c);
    if (rc == 0 && c->failed) {
        *err = c->failure;
        rc = err_wrap(err, "a job went on after a failed statement");
    }
    if (rc == 0 && c->driver->settled)
        rc = c->driver->settled(c, err);
    return rc;
}

static void job_failed(struct job *job, const struct err *err)
{
    if (job->err)
        return;
    job->err = malloc(sizeof *job->err);
    if (!job->err)
        die("out of memory");
    *job->err = *err;
}

static void job_done(struct db *db, struct job *job)
{
    if (job->kind != JOB_BARE) {
        if (job->err)
            atomic_fetch_add_explicit(&db->failed, 1, memory_order_relaxed);
        else
            atomic_fetch_add_explicit(job->kind == JOB_WRITE ? &db->writes : &db->reads, 1,
                                      memory_order_relaxed);
    }
    if (job->done)
        job->done(job->arg, job->err);
    free(job->err);
}

static void count_commit(struct db *db, Dur took, size_t batch)
{
    atomic_fetch_add_explicit(&db->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->commit_time, took, memory_order_relaxed);
    uint64_t most = atomic_load_explicit(&db->largest_batch, memory_order_relaxed);
    while (batch > most && !atomic_compare_exchange_weak(&db->largest_batch, &most, batch))
        ;
}

static int timed_commit(struct conn *c, size_t batch, struct err *err)
{
    Dur start = time_monotonic();
    if (conn_commit(c, err) < 0)
        return -1;
    count_commit(c->db, time_monotonic() - start, batch);
    return 0;
}

/* ---- the writer that gathers ---- */

/* Runs the jobs in one transaction and commits it; job->err is set for those that failed.
 * False where a failure took the whole transaction with it, and what ran before it. */
static bool batch_try(struct conn *c, struct job *jobs, size_t n)
{
    struct err err;
    size_t kept = 0;
    int rc = conn_begin(c, true, &err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (n > 1 && (rc = conn_plain(c, "SAVEPOINT job", &err)) < 0)
            break;
        struct err why;
        bool good = conn_work(c, jobs[i].work, jobs[i].arg, &why) == 0;
        if (!good)
            job_failed(&jobs[i], &why);
        if (!c->driver->in_transaction(c)) {
            job_failed(&jobs[i], &why);
            conn_rollback(c);
            return false;
        }
        if (n > 1 && !good && conn_plain(c, "ROLLBACK TO SAVEPOINT job", &err) < 0) {
            conn_rollback(c);
            return false;
        }
        c->failed = false;
        if (n > 1)
            rc = conn_plain(c, "RELEASE SAVEPOINT job", &err);
        kept += good;
    }
    if (rc < 0 || !kept)
        conn_rollback(c);
    else
        rc = timed_commit(c, n, &err);
    if (rc < 0)
        for (size_t i = 0; i < n; i++)
            job_failed(&jobs[i], &err);
    return true;
}

static void batch_run(struct conn *c, struct job *jobs, size_t n)
{
    if (batch_try(c, jobs, n) || n == 1)
        return;
    /* The others of the batch were innocent: each again, alone. */
    for (size_t i = 0; i < n; i++)
        if (!jobs[i].err)
            (void)batch_try(c, &jobs[i], 1);
}

static void *writer_main(void *arg)
{
    struct db *db = arg;
    thread_of = db;
    struct conn *c = db->writer_conn;
    struct job *jobs = malloc(LIMIT_BATCH * sizeof *jobs);
    if (!jobs)
        die("out of memory");
    for (size_t n; (n = queue_take(&db->writer, jobs, LIMIT_BATCH));) {
        if (db->single)
            pthread_mutex_lock(&db->single_lock);
        batch_run(c, jobs, n);
        if (db->single)
            pthread_mutex_unlock(&db->single_lock);
        for (size_t i = 0; i < n; i++)
            job_done(db, &jobs[i]);
        if (c->driver->upkeep)
            c->driver->upkeep(c);
    }
    free(jobs);
    return NULL;
}

/* ---- the pool ---- */

/* A job in a transaction of its own. */
static int run_alone(struct conn *c, bool writing, db_work *work, void *arg, struct err *err)
{
    if (conn_begin(c, writing, err) < 0)
        return -1;
    if (conn_work(c, work, arg, err) < 0) {
        conn_rollback(c);
        return -1;
    }
    return writing ? timed_commit(c, 1, err) : conn_commit(c, err);
}

static void pause_for(Dur d)
{
    struct timespec t = {.tv_sec = d / SEC, .tv_nsec = d % SEC * 1000};
    nanosleep(&t, NULL);
}

/* Again, while it only lost to others (jitter keeps the same two from meeting again) or the connection
 * was gone before anything of it could be kept; and once where it made what another had made since it looked. */
static int pool_run(struct conn *c, const struct job *job, struct err *err)
{
    for (int round = 0;; round++) {
        c->raced = c->clashed = false;
        int rc = job->kind == JOB_BARE ? job->work(c, job->arg, err)
                                       : run_alone(c, job->kind == JOB_WRITE, job->work, job->arg, err);
        if (rc < 0 && c->clashed && round == 0)
            continue;
        if (rc == 0 || !c->raced || round == RACES_MAX)
            return rc;
        pause_for((Dur)((0.5 + random_double()) * (double)(2 * MSEC << round)));
    }
}

static struct conn *take_spare(struct db *db)
{
    pthread_mutex_lock(&db->conns_lock);
    struct conn *c = TAKE(db->spare);
    pthread_mutex_unlock(&db->conns_lock);
    return c;
}

/* For a second, or until the database is closed. */
static void rest(struct db *db)
{
    bool closing = false;
    for (int i = 0; i < 20 && !closing; i++) {
        pause_for(50 * MSEC);
        pthread_mutex_lock(&db->pool.lock);
        closing = db->pool.closing;
        pthread_mutex_unlock(&db->pool.lock);
    }
}

static void *pool_main(void *arg)
{
    struct db *db = arg;
    thread_of = db;
    struct conn *own = NULL;
    for (struct job job; queue_take(&db->pool, &job, 1);) {
        struct err err;
        struct conn *c = own;
        if (db->single) {
            pthread_mutex_lock(&db->single_lock);
            c = db->writer_conn;
        } else if (!own) {
            own = take_spare(db);
            if (!own)
                own = db->driver->open(db, db->connected ? CONN_MORE : CONN_READER, &err);
            db->connected += own != NULL;
            c = own;
        }
        if (!c && db->connected && queue_put(&db->pool, &job, &err) == 0) {
            rest(db); /* there is no room for us: those that have a connection do the work */
            continue;
        }
        if (!c || pool_run(c, &job, &err) < 0)
            job_failed(&job, &err);
        if (db->single)
            pthread_mutex_unlock(&db->single_lock);
        job_done(db, &job);
    }
    if (own)
        db->driver->close(own);
    return NULL;
}

/* ---- waiting for a job ---- */

struct waiter {
    db_work *work;
    void *arg;
    sem_t done;
    struct err *err;
    int rc;
};

static int waiter_work(struct conn *c, void *arg, struct err *err)
{
    struct waiter *w = arg;
    return w->work(c, w->arg, err);
}

static void waiter_done(void *arg, const struct err *err)
{
    struct waiter *w = arg;
    if (err)
        *w->err = *err;
    w->rc = err ? -1 : 0;
    sem_post(&w->done);
}

static int wait_for(struct queue *q, struct db *db, enum job_kind kind, db_work *work, void *arg,
                    struct err *err)
{
    assert(thread_of != db && (!running || running->db != db)); /* would wait for itself */
    struct waiter w = {.work = work, .arg = arg, .err = err};
    struct job job = {.work = waiter_work, .done = waiter_done, .arg = &w, .kind = kind};
    sem_init(&w.done, 0, 0);
    int rc = queue_put(q, &job, err);
    if (rc == 0) {
        while (sem_wait(&w.done) < 0)
            ;
        rc = w.rc;
    }
    sem_destroy(&w.done);
    return rc;
}

/* ---- reads on the caller's thread ---- */

static void here_closed(void *arg) /* the thread ends */
{
    struct conn *c = arg;
    struct db *db = c->db;
    pthread_mutex_lock(&db->conns_lock);
    struct conn **at = &db->here_conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&db->conns_lock);
    c->driver->close(c);
}

static struct conn *here_conn(struct db *db, struct err *err)
{
    struct conn *c = pthread_getspecific(db->here);
    if (c)
        return c;
    c = db->driver->open(db, CONN_READER, err);
    if (!c)
        return NULL;
    pthread_mutex_lock(&db->conns_lock);
    c->next = db->here_conns;
    db->here_conns = c;
    pthread_mutex_unlock(&db->conns_lock);
    pthread_setspecific(db->here, c);
    return c;
}

/* ---- opening and closing ---- */

static int start_thread(pthread_t *t, void *(*fn)(void *), struct db *db, const char *name, struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's */
    int rc = pthread_create(t, NULL, fn, db);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return err_set(err, ERR_IO, "cannot start a thread for the database (error %d)", rc);
    pthread_setname_np(*t, name);
    return 0;
}

static int db_start(struct db *db, const struct db_options *o, struct err *err)
{
    if (db->driver->start(db, err) < 0)
        return -1;
    struct conn *c = db->driver->open(db, CONN_WRITER, err);
    if (!c)
        return -1;
    if (db->driver->gathers)
        db->writer_conn = c;
    else
        db->spare = c;
    if (!db->peek && db_migrate(c, o->migrations, o->migration_count, err) < 0)
        return -1;
    if (db->driver->gathers && !db->single) {
        if (pthread_key_create(&db->here, here_closed))
            return err_set(err, ERR_IO, "too many databases are open");
        db->has_here = true;
    }
    if (db->driver->gathers) {
        if (start_thread(&db->writer_thread, writer_main, db, "db-writer", err) < 0)
            return -1;
        db->has_writer = true;
    }
    db->pool_size = o->readers > 0 ? o->readers : db->driver->gathers ? 2 : 8;
    db->pool_threads = arena_array(db->a, pthread_t, db->pool_size);
    for (; db->pool_started < db->pool_size; db->pool_started++)
        if (start_thread(&db->pool_threads[db->pool_started], pool_main, db, "db-pool", err) < 0)
            return -1;
    return 0;
}

struct db *db_open(const struct db_options *options, struct err *err)
{
    const struct db_driver *driver;
    if (str_starts(options->url, STR("sqlite:"))) {
        driver = &db_sqlite;
    } else if (str_starts(options->url, STR("postgresql:")) || str_starts(options->url, STR("postgres:"))) {
        driver = &db_postgres;
    } else {
        /* What stands before the colon is shown, not the rest: it may hold a password. */
        ptrdiff_t colon = str_find(options->url, STR(":"));
        Str scheme = colon < 0 ? STR("") : str_sub(options->url, 0, (size_t)MIN(colon, 40));
        err_set(err, ERR_INVALID, "a database URL starts with sqlite: or postgresql:, not '%.*s%s'",
                STR_ARG(scheme), colon < 0 ? "" : ":");
        return NULL;
    }
    struct arena *a = arena_create();
    struct db *db = arena_new(a, struct db);
    db->a = a;
    db->driver = driver;
    db->url = str_dup(a, options->url);
    db->schema = options->schema.p && options->schema.n ? str_dup(a, options->schema) : STR_NONE;
    db->relaxed = options->relaxed;
    db->peek = options->peek;
    size_t most = options->queue_max ? options->queue_max : LIMIT_WRITE_QUEUE;
    queue_init(&db->writer, most);
    queue_init(&db->pool, most);
    pthread_mutex_init(&db->single_lock, NULL);
    pthread_mutex_init(&db->conns_lock, NULL);
    if (db_start(db, options, err) < 0) {
        db_close(db);
        return NULL;
    }
    return db;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    assert(thread_of != db);
    queue_close(&db->writer);
    if (db->has_writer)
        pthread_join(db->writer_thread, NULL);
    queue_close(&db->pool);
    for (int i = 0; i < db->pool_started; i++)
        pthread_join(db->pool_threads[i], NULL);
    if (db->has_here)
        pthread_key_delete(db->here);
    while (db->here_conns) {
        struct conn *c = db->here_conns;
        db->here_conns = c->next;
        db->driver->close(c);
    }
    if (db->spare)
        db->driver->close(db->spare);
    if (db->writer_conn)
        db->driver->close(db->writer_conn);
    db->driver->stop(db);
    queue_clear(&db->writer);
    queue_clear(&db->pool);
    pthread_mutex_destroy(&db->single_lock);
    pthread_mutex_destroy(&db->conns_lock);
    arena_free(db->a);
}

static const char *const constraint_names[] = {"UNIQUE", "FOREIGN KEY", "CHECK"};
_Static_assert(COUNT_OF(constraint_names) == DB_CONSTRAINT_COUNT, "a name per constraint");
#define CONFLICT " constraint failed: "

int db_conflict_set(struct err *err, enum db_constraint kind, Str table, Str columns)
{
    return err_set(err, ERR_CONFLICT, "%s" CONFLICT "%.*s(%.*s)", constraint_names[kind], STR_ARG(table), STR_ARG(columns));
}

bool db_conflict_read(const struct err *err, struct db_conflict *ret)
{
    Str text = str_of(err->text), table;
    if (err->code != ERR_CONFLICT || !str_ends(text, STR(")")))
        return false;
    for (int i = 0; i < DB_CONSTRAINT_COUNT; i++) {
        Str name = str_of(constraint_names[i]);
        if (!str_starts(text, name) || !str_starts(str_sub(text, name.n, text.n), STR(CONFLICT)))
            continue;
        Str rest = str_sub(text, name.n + sizeof CONFLICT - 1, text.n);
        if (!str_cut(&rest, '(', &table))
            return false;
        *ret = (struct db_conflict){(enum db_constraint)i, table, str_sub(rest, 0, rest.n - 1)};
        return true;
    }
    return false;
}

enum db_kind db_kind(const struct db *db)
{
    return db->driver->kind;
}

struct db *conn_db(const struct conn *c)
{
    return c->db;
}

enum db_kind conn_kind(const struct conn *c)
{
    return c->driver->kind;
}

static struct queue *write_queue(struct db *db)
{
    return db->driver->gathers ? &db->writer : &db->pool;
}

int db_write(struct db *db, db_work *work, db_done *done, void *arg, struct err *err)
{
    struct job job = {.work = work, .done = done, .arg = arg, .kind = JOB_WRITE};
    return queue_put(write_queue(db), &job, err);
}

int db_read(struct db *db, db_work *work, db_done *done, void *arg, struct err *err)
{
    struct job job = {.work = work, .done = done, .arg = arg, .kind = JOB_READ};
    return queue_put(&db->pool, &job, err);
}

int db_queue_bare(struct db *db, db_work *work, db_done *done, void *arg)
{
    struct err ignored;
    struct job job = {.work = work, .done = done, .arg = arg, .kind = JOB_BARE};
    return queue_put(&db->pool, &job, &ignored);
}

int db_write_wait(struct db *db, db_work *work, void *arg, struct err *err)
{
    return wait_for(write_queue(db), db, JOB_WRITE, work, arg, err);
}

int db_read_wait(struct db *db, db_work *work, void *arg, struct err *err)
{
    return wait_for(&db->pool, db, JOB_READ, work, arg, err);
}

int db_read_here(struct db *db, db_work *work, void *arg, struct err *err)
{
    if (running && running->db == db) /* inside a job: part of it */
        return work(running, arg, err);
    if (!db->driver->gathers)
        return db_read_wait(db, work, arg, err);
    struct conn *c = db->single ? db->writer_conn : here_conn(db, err);
    if (!c)
        return -1;
    struct err why;
    if (db->single)
        pthread_mutex_lock(&db->single_lock);
    int rc = run_alone(c, false, work, arg, &why);
    if (db->single)
        pthread_mutex_unlock(&db->single_lock);
    atomic_fetch_add_explicit(rc < 0 ? &db->failed : &db->reads, 1, memory_order_relaxed);
    if (rc < 0)
        *err = why;
    return rc;
}

struct db_stats db_stats(const struct db *db_const)
{
    struct db *db = (struct db *)(uintptr_t)db_const; /* the locks change, the database does not */
    struct db_stats s = {
        .commits = db->commits,
        .writes = db->writes,
        .failed = db->failed,
        .reads = db->reads,
        .largest_batch = db->largest_batch,
        .commit_time = db->commit_time,
    };
    struct queue *queues[] = {&db->writer, &db->pool};
    for (size_t i = 0; i < COUNT_OF(queues); i++) {
        pthread_mutex_lock(&queues[i]->lock);
        s.queue_now += queues[i]->n;
        pthread_mutex_unlock(&queues[i]->lock);
    }
    return s;
}

int64_t db_test_fail_at(struct db *db, int64_t n)
{
    return atomic_exchange(&db->fail_in, n);
}
