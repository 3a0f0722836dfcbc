#include "services/recorder.h"

#include "base/limits.h"
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_RECORDS 500 /* in one write: a long one holds up all others */
#define TRIES 5
#define RETRY_FIRST (100 * MSEC) /* then doubled each time */

/* One event, read: a state of a task run, and what it says of the run. */
struct record {
    struct task_run run; /* run.set: the fields that it tells of */
    struct state state;
};

/* One call of recorder_add, shared by its batches; the last one calls done. */
struct ticket {
    atomic_size_t left;
    pthread_mutex_t lock;
    bool failed;
    struct err err;
    db_done *done;
    void *arg;
};

/* One write of the records' database. */
struct batch {
    struct recorder *recorder;
    struct batch *next; /* among those that wait for another try */
    struct ticket *ticket;
    struct arena *a;
    VEC(struct record *) records;
    int tries;
    Dur retry_at;
    bool careful; /* a record of it cannot be stored: each in a savepoint, the bad ones are left out */
    /* Made anew by each run of the write. */
    struct arena *scratch;
    VEC(struct record *) missing; /* whose flow run is not there */
    size_t refused;
};

struct recorder {
    struct db *db;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *retries;
    size_t outstanding; /* batches that the database has */
    bool closing, has_thread;
    pthread_t thread; /* started when first something must be tried again */
    struct recorder_stats stats;
};

/* ---- reading events ---- */

#define BIT(field) ((FieldSet)1 << task_run__##field)
/* What payload.task_run may tell; the rest of the row is known from elsewhere. */
#define TOLD                                                                                                           \
    (BIT(name) | BIT(task_key) | BIT(dynamic_key) | BIT(cache_key) | BIT(cache_expiration) | BIT(task_version) |       \
     BIT(empirical_policy) | BIT(tags) | BIT(labels) | BIT(task_inputs) | BIT(run_count) | BIT(flow_run_run_count) |   \
     BIT(expected_start_time) | BIT(next_scheduled_start_time) | BIT(start_time) | BIT(end_time) |                     \
     BIT(total_run_time))
#define OF_STATE (BIT(state_id) | BIT(state_type) | BIT(state_name) | BIT(state_timestamp))

#define PREFIX STR("prefect.task-run.")

static void copy_fields(struct task_run *to, const struct task_run *from, FieldSet which)
{
    static const size_t sizes[] = {
        [F_UUID] = sizeof(Uuid),  [F_STR] = sizeof(Str),    [F_TIME] = sizeof(Time), [F_DUR] = sizeof(Dur),
        [F_INT] = sizeof(int64_t), [F_BOOL] = sizeof(int8_t), [F_DOUBLE] = sizeof(double), [F_JSON] = sizeof(Str),
        [F_OBJECT] = sizeof(Str), [F_LIST] = sizeof(Str),   [F_TAGS] = sizeof(Str),  [F_LABELS] = sizeof(Str),
        [F_ENUM] = sizeof(Str),   [F_SHAPE] = sizeof(Str),  [F_UUIDS] = sizeof(Str), [F_SHAPES] = sizeof(Str),
    };
    for (size_t i = 0; i < task_run_resource.n; i++) {
        const struct field *f = &task_run_resource.fields[i];
        if (which >> i & 1)
            memcpy((char *)to + f->offset, (const char *)from + f->offset, sizes[f->type]);
    }
    to->set |= which;
}

static Uuid related_flow_run(struct arena *a, Str related)
{
    struct err err;
    const struct json *list = json_parse(a, related, &err);
    Uuid id = UUID_NIL;
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        const struct json *r = &list->array.items[i];
        Str rid = json_get_str(r, STR("prefect.resource.id"));
        if (str_eqz(json_get_str(r, STR("prefect.resource.role")), "flow-run") && str_starts(rid, STR("prefect.flow-run.")) &&
            uuid_parse(str_sub(rid, 17, rid.n), &id))
            return id;
    }
    return UUID_NIL;
}

/* A field that cannot be read is left as the row has it, as one that is absent or null is: better than to lose the state. */
static void read_run(struct arena *a, const struct json *told, struct task_run *run)
{
    for (size_t i = 0; i < told->object.n; i++) {
        const struct json_member *m = &told->object.members[i];
        const struct field *f = resource_field(&task_run_resource, m->key);
        FieldSet bit = f ? (FieldSet)1 << (f - task_run_resource.fields) : 0;
        if (!(bit & TOLD) || m->value.kind == JSON_NULL)
            continue;
        struct violations v = {.a = a, .prefix = STR("[")};
        struct task_run one;
        field_parse(a, f, &m->value, &one, &v);
        if (!v.list.n)
            copy_fields(run, &one, bit);
    }
}

static Str without_nul(struct arena *a, Str s)
{
    if (!s.n || !memchr(s.p, 0, s.n))
        return s;
    char *p = arena_alloc(a, s.n);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i])
            p[n++] = s.p[i];
    return (Str){p, n};
}

static void read_state(struct arena *a, const struct json *told, const struct event *e, struct record *r)
{
    struct state *s = &r->state;
    struct state_details d;
    shape_read(a, &state_details_shape, STR("{}"), &d); /* the defaults: not every sender has all keys */
    s->id = e->id;
    s->timestamp = e->occurred;
    s->type = json_get_str(told, STR("type"));
    s->name = without_nul(a, json_get_str(told, STR("name")));
    s->message = without_nul(a, json_get_str(told, STR("message")));
    const struct json *data = json_getz(told, "data"), *details = json_getz(told, "state_details");
    if (!json_is_null(data) && !str_eqz(json_get_str(data, STR("type")), "unpersisted"))
        s->data = data->raw;
    if (json_is(details, JSON_OBJECT)) {
        struct violations passed_over = {.a = a, .prefix = STR("[")};
        record_parse(a, &state_details_shape, 0, details, &d, &passed_over);
    }
    d.task_run_id = r->run.id;
    d.flow_run_id = r->run.flow_run_id;
    s->state_details = shape_text(a, &state_details_shape, &d);
}

/* What the client leaves out because it is over: the end of an earlier try, the time of a start that has come. */
static void settle_times(struct record *r)
{
    int type = state_type_of(r->state.type);
    if (type != STATE_SCHEDULED && !(r->run.set & BIT(next_scheduled_start_time)))
        r->run.set |= BIT(next_scheduled_start_time);
    if (!(STATES_TERMINAL & STATE_BIT(type)) && !(r->run.set & BIT(end_time)))
        r->run.set |= BIT(end_time);
}

/* NULL: the event tells of no task run, or of none that can be read (then *err says why). */
static struct record *read_event(struct arena *a, const struct event *e, struct err *err)
{
    err->code = ERR_NONE;
    if (!str_starts(e->event, PREFIX) || !str_starts(e->resource_id, PREFIX) ||
        str_find(e->resource, STR("prefect.orchestration")) < 0)
        return NULL;
    struct err bad;
    const struct json *resource = json_parse(a, e->resource, &bad), *payload = json_parse(a, str_dup(a, e->payload), &bad);
    if (!str_eqz(json_get_str(resource, STR("prefect.orchestration")), "client"))
        return NULL;
    struct record *r = arena_new(a, struct record);
    record_init(&task_run_resource, &r->run);
    record_init(&state_resource, &r->state);
    const struct json *run = json_getz(payload, "task_run"), *state = json_getz(payload, "validated_state");
    if (!uuid_parse(str_sub(e->resource_id, PREFIX.n, e->resource_id.n), &r->run.id) || !json_is(run, JSON_OBJECT) ||
        !json_is(state, JSON_OBJECT)) {
        err_set(err, ERR_INVALID, "it has no run's id, task_run or validated_state");
        return NULL;
    }
    r->run.flow_run_id = related_flow_run(a, e->related);
    read_run(a, run, &r->run);
    read_state(a, state, e, r);
    if (!r->run.task_key.n || !r->run.dynamic_key.n || state_type_of(r->state.type) < 0) {
        err_set(err, ERR_INVALID, "it has no task_key, dynamic_key or type of a state");
        return NULL;
    }
    settle_times(r);
    r->run.state_id = r->state.id;
    r->run.state_type = r->state.type;
    r->run.state_name = r->state.name.p ? r->state.name : r->state.type;
    r->run.state_timestamp = r->state.timestamp;
    r->run.set |= OF_STATE;
    return r;
}

/* ---- writing ---- */

/* A run of the batch: what all its records say together. */
struct entry {
    struct task_run run;
    Uuid row; /* its id in the table: an older row of the same natural key keeps its own */
    bool missing;
    VEC(struct record *) states;
    struct entry *next; /* of equal hash */
};
struct entries {
    VEC(struct entry *) list;
    struct entry *by_hash[256];
};

static struct entry *entry_of(struct arena *a, struct entries *all, const struct record *r)
{
    struct entry **at = &all->by_hash[r->run.id.b[15]];
    for (struct entry *e = *at; e; e = e->next)
        if (uuid_eq(e->run.id, r->run.id))
            return e;
    struct entry *e = arena_new(a, struct entry);
    e->run = r->run;
    e->next = *at;
    *at = e;
    vec_push(a, &all->list, e);
    return e;
}

/* The newer record's fields count; an older one's only where no newer tells of them. */
static void merge(struct entry *e, const struct record *r)
{
    if (r->run.state_timestamp >= e->run.state_timestamp)
        copy_fields(&e->run, &r->run, r->run.set);
    else
        copy_fields(&e->run, &r->run, r->run.set & ~e->run.set);
    if (uuid_is_nil(e->run.flow_run_id))
        e->run.flow_run_id = r->run.flow_run_id;
}

#define SELECT "SELECT id, state_timestamp FROM task_run WHERE "

/* By the natural key, locked where others may write. */
static struct stmt *query_by_key(struct conn *c, const struct task_run *run, struct err *err)
{
    bool pg = conn_kind(c) == DB_POSTGRES;
    if (uuid_is_nil(run->flow_run_id))
        return db_query(c, err,
                        pg ? SELECT "flow_run_id IS NULL AND task_key = $1 AND dynamic_key = $2 FOR UPDATE"
                           : SELECT "flow_run_id IS NULL AND task_key = $1 AND dynamic_key = $2",
                        "ss", run->task_key, run->dynamic_key);
    return db_query(c, err,
                    pg ? SELECT "flow_run_id = $1 AND task_key = $2 AND dynamic_key = $3 FOR UPDATE"
                       : SELECT "flow_run_id = $1 AND task_key = $2 AND dynamic_key = $3",
                    "uss", run->flow_run_id, run->task_key, run->dynamic_key);
}

static struct stmt *query_by_id(struct conn *c, const struct task_run *run, struct err *err)
{
    return db_query(c, err, conn_kind(c) == DB_POSTGRES ? SELECT "id = $1 FOR UPDATE" : SELECT "id = $1", "u", run->id);
}

/* The row of this run: 1, 0, -1. Without a flow run its id comes first: a background task was made with it over REST. */
static int find_row(struct conn *c, const struct task_run *run, Uuid *ret_id, Time *ret_timestamp, struct err *err)
{
    bool id_first = uuid_is_nil(run->flow_run_id);
    for (int second = 0; second < 2; second++) {
        AUTO(stmt_finish) struct stmt *q = second == id_first ? query_by_key(c, run, err) : query_by_id(c, run, err);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc == 1) {
            *ret_id = stmt_uuid(q, 0);
            *ret_timestamp = stmt_int(q, 1);
        }
        if (rc)
            return rc;
    }
    return 0;
}

static int flow_run_there(struct conn *c, Uuid id, struct err *err)
{
    int64_t one;
    return db_get_int(c, err, &one,
                      conn_kind(c) == DB_POSTGRES ? "SELECT 1 FROM flow_run WHERE id = $1 FOR KEY SHARE"
                                                  : "SELECT 1 FROM flow_run WHERE id = $1",
                      "u", id);
}

static int insert_run(struct conn *c, struct entry *e, Time now, struct err *err)
{
    struct task_run *run = &e->run;
    if (!uuid_is_nil(run->flow_run_id)) {
        int there = flow_run_there(c, run->flow_run_id, err);
        e->missing = there == 0;
        if (there <= 0)
            return there;
    }
    run->created = run->updated = now;
    if (!run->name.n)
        run->name = run->task_key;
    Str *const texts[] = {&run->empirical_policy, &run->tags, &run->task_inputs};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (!texts[i]->p)
            *texts[i] = i == 1 ? STR("[]") : STR("{}");
    int64_t *const numbers[] = {&run->run_count, &run->flow_run_run_count, &run->total_run_time};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (*numbers[i] == INT_NONE)
            *numbers[i] = 0;
    int64_t made = record_insert(c, &task_run_resource, run, "ON CONFLICT DO NOTHING", err);
    e->row = run->id;
    return made < 0 ? -1 : made > 0;
}

static int write_run(struct conn *c, struct entry *e, Time now, struct err *err)
{
    Time newest = TIME_NONE;
    for (int tries = 0; tries < 2; tries++) {
        int rc = find_row(c, &e->run, &e->row, &newest, err);
        if (rc < 0)
            return -1;
        if (rc && newest != TIME_NONE && newest >= e->run.state_timestamp)
            return 0; /* what the row shows is newer */
        if (rc) {
            FieldSet mask = (e->run.set & ~(BIT(task_key) | BIT(dynamic_key))) | BIT(updated);
            e->run.updated = now;
            return record_update(c, &task_run_resource, &e->run, mask, e->row, err) < 0 ? -1 : 0;
        }
        rc = insert_run(c, e, now, err);
        if (rc || e->missing)
            return rc < 0 ? -1 : 0;
        /* somebody else made it in between: again */
    }
    e->missing = true;
    return 0;
}

static int write_state(struct conn *c, Uuid row, const struct state *s, struct err *err)
{
    return db_exec(c, err,
                   "INSERT INTO task_run_state(run_id, id, type, name, timestamp, message, data, state_details) "
                   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                   "uusstsss", row, s->id, s->type, s->name, s->timestamp, s->message, s->data, s->state_details) < 0
               ? -1
               : 0;
}

/* A run and its states, together or not at all. */
static int write_entry(struct conn *c, struct entry *e, Time now, struct err *err)
{
    if (write_run(c, e, now, err) < 0)
        return -1;
    for (size_t i = 0; i < e->states.n && !e->missing; i++)
        if (write_state(c, e->row, &e->states.v[i]->state, err) < 0)
            return -1;
    return 0;
}

static int write_carefully(struct conn *c, struct batch *b, struct entry *e, Time now, struct err *err)
{
    if (db_savepoint(c, err) < 0)
        return -1;
    if (write_entry(c, e, now, err) == 0)
        return db_release(c, err);
    if (err->code == ERR_DB || err->code == ERR_DISK || err->code == ERR_BUSY)
        return -1;
    log_at(LOG_WARN, "recorder", "a task run cannot be stored, skipping", "task_run=%s error=\"%s\"",
           uuid_text(e->run.id).s, err->text);
    b->refused += e->states.n;
    return db_rollback_to(c, err);
}

static int batch_work(struct conn *c, void *arg, struct err *err)
{
    struct batch *b = arg;
    Time now = time_now();
    arena_reset(b->scratch);
    b->missing.n = b->missing.cap = 0;
    b->refused = 0;
    struct entries *all = arena_new(b->scratch, struct entries);
    for (size_t i = 0; i < b->records.n; i++) {
        struct entry *e = entry_of(b->scratch, all, b->records.v[i]);
        merge(e, b->records.v[i]);
        vec_push(b->scratch, &e->states, b->records.v[i]);
    }
    for (size_t i = 0; i < all->list.n; i++) {
        struct entry *e = all->list.v[i];
        if ((b->careful ? write_carefully(c, b, e, now, err) : write_entry(c, e, now, err)) < 0)
            return -1;
        for (size_t k = 0; k < e->states.n && e->missing; k++)
            vec_push(b->scratch, &b->missing, e->states.v[k]);
    }
    return 0;
}

/* ---- batches ---- */

static struct batch *batch_new(struct recorder *rec, struct ticket *t)
{
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        die("out of memory");
    b->recorder = rec;
    b->ticket = t;
    b->a = arena_create();
    b->scratch = arena_create();
    atomic_fetch_add(&t->left, 1);
    return b;
}

/* `err`: what kept a part of it from being stored, or NULL. */
static void ticket_part(struct ticket *t, const struct err *err)
{
    if (err) {
        pthread_mutex_lock(&t->lock);
        t->failed = true;
        t->err = *err;
        pthread_mutex_unlock(&t->lock);
    }
    if (atomic_fetch_sub(&t->left, 1) > 1)
        return;
    if (t->done)
        t->done(t->arg, t->failed ? &t->err : NULL);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void batch_end(struct batch *b, const struct err *err)
{
    ticket_part(b->ticket, err);
    arena_free(b->a);
    arena_free(b->scratch);
    free(b);
}

static void batch_done(void *arg, const struct err *err);

/* Under the lock. */
static int queue(struct recorder *rec, struct batch *b, struct err *err)
{
    if (db_write(rec->db, batch_work, batch_done, b, err) < 0)
        return -1;
    rec->outstanding++;
    return 0;
}

static void *retry_thread(void *arg)
{
    struct recorder *rec = arg;
    pthread_mutex_lock(&rec->lock);
    while (!rec->closing) {
        Dur now = time_monotonic(), wake = INT64_MAX;
        for (struct batch **at = &rec->retries; *at;) {
            struct batch *b = *at;
            struct err busy;
            if (b->retry_at > now || queue(rec, b, &busy) < 0) {
                wake = MIN(wake, MAX(b->retry_at, now + RETRY_FIRST));
                at = &b->next;
            } else {
                *at = b->next;
            }
        }
        if (wake == INT64_MAX) {
            pthread_cond_wait(&rec->changed, &rec->lock);
        } else {
            struct timespec ts = {.tv_sec = wake / SEC, .tv_nsec = wake % SEC * 1000};
            pthread_cond_timedwait(&rec->changed, &rec->lock, &ts);
        }
    }
    pthread_mutex_unlock(&rec->lock);
    return NULL;
}

/* Under the lock: keeps what found no flow run, with all who wait for the batch. False: given up. */
static bool try_again(struct recorder *rec, struct batch *b)
{
    if (!b->missing.n)
        return false;
    if (b->tries == TRIES || rec->closing) {
        const struct record *r = b->missing.v[0];
        rec->stats.given_up += b->missing.n;
        log_at(LOG_WARN, "recorder", "task runs whose flow run is not there, skipping", "states=%zu task_run=%s flow_run=%s",
               b->missing.n, uuid_text(r->run.id).s, uuid_text(r->run.flow_run_id).s);
        return false;
    }
    memcpy(b->records.v, b->missing.v, b->missing.n * sizeof *b->missing.v);
    b->records.n = b->missing.n;
    rec->stats.retried += b->missing.n;
    b->retry_at = time_monotonic() + (RETRY_FIRST << b->tries++);
    b->next = rec->retries;
    rec->retries = b;
    if (!rec->has_thread)
        rec->has_thread = pthread_create(&rec->thread, NULL, retry_thread, rec) == 0;
    pthread_cond_broadcast(&rec->changed);
    return true;
}

/* Under the lock: a record that no rule of the database lets in must not keep the others out. */
static bool try_carefully(struct recorder *rec, struct batch *b, const struct err *err)
{
    struct err busy;
    if (b->careful || err->code == ERR_DB || err->code == ERR_DISK || err->code == ERR_BUSY)
        return false;
    b->careful = true;
    return queue(rec, b, &busy) == 0;
}

static void batch_done(void *arg, const struct err *err)
{
    struct batch *b = arg;
    struct recorder *rec = b->recorder;
    pthread_mutex_lock(&rec->lock);
    if (!err) {
        rec->stats.recorded += b->records.n - b->missing.n - b->refused;
        rec->stats.given_up += b->refused;
    }
    bool kept = err ? try_carefully(rec, b, err) : try_again(rec, b);
    pthread_mutex_unlock(&rec->lock);
    if (!kept)
        batch_end(b, err);
    pthread_mutex_lock(&rec->lock);
    rec->outstanding--;
    pthread_cond_broadcast(&rec->changed);
    pthread_mutex_unlock(&rec->lock);
}

/* ---- from outside ---- */

struct recorder *recorder_start(struct workspace *ws, struct err *err)
{
    UNUSED(err);
    struct recorder *rec = calloc(1, sizeof *rec);
    if (!rec)
        die("out of memory");
    rec->db = ws->db;
    pthread_mutex_init(&rec->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&rec->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return rec;
}

void recorder_stop(struct recorder *rec)
{
    if (!rec)
        return;
    pthread_mutex_lock(&rec->lock);
    rec->closing = true;
    pthread_cond_broadcast(&rec->changed);
    if (rec->has_thread) {
        pthread_mutex_unlock(&rec->lock);
        pthread_join(rec->thread, NULL);
        pthread_mutex_lock(&rec->lock);
    }
    struct batch *list = TAKE(rec->retries), *refused = NULL;
    for (struct batch *b = list, *next; b; b = next) { /* once more, without waiting */
        struct err busy;
        next = b->next;
        if (queue(rec, b, &busy) < 0) {
            b->next = refused;
            refused = b;
        }
    }
    while (rec->outstanding)
        pthread_cond_wait(&rec->changed, &rec->lock);
    pthread_mutex_unlock(&rec->lock);
    struct err stopping;
    err_set(&stopping, ERR_BUSY, "the server is stopping");
    for (struct batch *b = refused, *next; b; b = next) {
        next = b->next;
        batch_end(b, &stopping);
    }
    pthread_mutex_destroy(&rec->lock);
    pthread_cond_destroy(&rec->changed);
    free(rec);
}

static void hand_over(struct recorder *rec, struct batch *b)
{
    struct err err;
    pthread_mutex_lock(&rec->lock);
    int rc = queue(rec, b, &err);
    pthread_mutex_unlock(&rec->lock);
    if (rc < 0)
        batch_end(b, &err);
}

void recorder_add(struct recorder *rec, const struct event *events, size_t n, db_done *done, void *arg)
{
    struct ticket *t = calloc(1, sizeof *t);
    if (!t)
        die("out of memory");
    t->left = 1; /* this call's own part */
    t->done = done;
    t->arg = arg;
    pthread_mutex_init(&t->lock, NULL);
    struct batch *b = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct event *e = &events[i];
        struct err err;
        if (!str_starts(e->event, PREFIX))
            continue;
        if (!b)
            b = batch_new(rec, t);
        struct record *r = read_event(b->a, e, &err);
        if (r) {
            vec_push(b->a, &b->records, r);
        } else if (err.code) {
            __atomic_add_fetch(&rec->stats.malformed, 1, __ATOMIC_RELAXED);
            log_at(LOG_WARN, "recorder", "a task run's event cannot be read, skipping", "event=%s error=\"%s\"",
                   uuid_text(e->id).s, err.text);
        }
        if (b->records.n == BATCH_RECORDS)
            hand_over(rec, TAKE(b));
    }
    if (b && b->records.n)
        hand_over(rec, b);
    else if (b)
        batch_end(b, NULL);
    ticket_part(t, NULL);
}

struct recorder_stats recorder_stats(const struct recorder *rec_const)
{
    struct recorder *rec = (struct recorder *)(uintptr_t)rec_const; /* the lock changes, the recorder does not */
    pthread_mutex_lock(&rec->lock);
    struct recorder_stats s = rec->stats;
    s.waiting = rec->outstanding;
    for (const struct batch *b = rec->retries; b; b = b->next)
        s.waiting++;
    pthread_mutex_unlock(&rec->lock);
    return s;
}
