#include "tests/unit/test.h"

#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/db.h"

/* Every test runs on each kind of database that is here. */
enum target { FILE_DB, MEMORY_DB, SERVER_DB };
static const char *const target_names[] = {"file", "memory", "postgres"};

static char dir[] = "/tmp/millpond-db-XXXXXX";
static Str server_url; /* STR_NONE: PostgreSQL is not installed */
static int schemas;

static const struct migration first[] = {
    {"0001_init", {NULL, 0}},
};
#define INIT                                                                                                 \
    "-- text in a comment; and a 'quote\n"                                                                   \
    "CREATE TABLE item (\n"                                                                                  \
    "    id uuid PRIMARY KEY, -- uuid;\n"                                                                    \
    "    n bigint CHECK (n < 1000000), x double precision, s text DEFAULT 'a text; bigint', b bytea,\n"      \
    "    name text UNIQUE\n"                                                                                 \
    ");\n"                                                                                                   \
    "CREATE TABLE child (id bigint PRIMARY KEY, item uuid NOT NULL REFERENCES item (id) ON DELETE "          \
    "CASCADE);\n"                                                                                            \
    "CREATE TABLE counter (id bigint PRIMARY KEY, value bigint NOT NULL);\n"                                 \
    "INSERT INTO counter (id, value) VALUES (1, 0);\n"                                                       \
    "CREATE INDEX item_n ON item (n) WHERE n IS NOT NULL; --sqlite\n"                                        \
    "CREATE INDEX item_n ON item USING btree (n); --postgres\n"

struct fixture {
    struct arena *a;
    struct db_options o;
    struct db *db;
    struct migration list[4];
};

static struct fixture set_up(enum target t)
{
    struct fixture f = {.a = arena_create()};
    if (t == FILE_DB)
        f.o.url = str_fmt(f.a, "sqlite:%s/new/dir-%d/a.db", dir, schemas++);
    else if (t == MEMORY_DB)
        f.o.url = STR("sqlite::memory:");
    else
        f.o.url = server_url;
    if (t == SERVER_DB)
        f.o.schema = str_fmt(f.a, "t-%d", schemas++);
    return f;
}

static void open_db(struct fixture *f)
{
    struct err err;
    f->list[0] = first[0];
    f->list[0].sql = STR(INIT);
    if (!f->o.migrations) {
        f->o.migrations = f->list;
        f->o.migration_count = 1;
    }
    f->db = db_open(&f->o, &err);
    if (!f->db)
        fail_msg("%s", err.text);
}

static void tear_down(struct fixture *f)
{
    db_close(f->db);
    arena_free(f->a);
}

static enum target target_of(void **state)
{
    return (enum target)(uintptr_t)*state;
}

static int64_t get_int(struct db *db, const char *sql);

#define WRITE(f, work, arg)                                                                                  \
    do {                                                                                                     \
        struct err err_;                                                                                     \
        if (db_write_wait((f)->db, work, arg, &err_) < 0)                                                    \
            fail_msg("%s", err_.text);                                                                       \
    } while (0)
#define READ(f, work, arg)                                                                                   \
    do {                                                                                                     \
        struct err err_;                                                                                     \
        if (db_read_wait((f)->db, work, arg, &err_) < 0 || db_read_here((f)->db, work, arg, &err_) < 0)      \
            fail_msg("%s", err_.text);                                                                       \
    } while (0)

/* ---- values ---- */

static int write_values(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    static const char bytes[] = "\0\x80\xff";
    Uuid one = {.b = {1, 2, 3}}, two = {.b = {2}};
    /* $2 stands before $1: SQLite would number by appearance. */
    if (db_exec(c, err, "INSERT INTO item (n, id, x, s, b, name) VALUES ($2, $1, $3, $4, $5, $6)", "uidsbz",
                one, INT64_C(-5), 1.5, STR("h\xc3\xa9llo"), ((Str){bytes, 3}), "one") != 1)
        return -1;
    if (db_exec(c, err, "INSERT INTO item (id, n, x, s, b, name) VALUES ($1, $2, $3, $4, $5, $6)", "utdsbz",
                two, TIME_NONE, NAN, STR_NONE, STR_NONE, NULL) != 1)
        return -1;
    return 0;
}

static int read_values(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    AUTO(stmt_finish)
    struct stmt *q =
        db_query(c, err, "SELECT id, n, x, s, b, name, n IS NULL AS gone FROM item ORDER BY id", "");
    if (!q || stmt_step(q, err) != 1)
        return -1;
    assert_int_equal(stmt_columns(q), 7);
    int n = stmt_column(q, "n"), x = stmt_column(q, "x"), s = stmt_column(q, "s"), b = stmt_column(q, "b");
    int id = stmt_column(q, "id"), name = stmt_column(q, "name"), gone = stmt_column(q, "gone");
    assert_int_equal(stmt_int(q, n), -5);
    assert_true(stmt_double(q, x) == 1.5);
    assert_true(str_eqz(stmt_str(q, s), "h\xc3\xa9llo"));
    assert_true(str_eq(stmt_str(q, b), (Str){"\0\x80\xff", 3}));
    assert_true(str_eqz(stmt_str(q, name), "one"));
    assert_true(uuid_eq(stmt_uuid(q, id), (Uuid){.b = {1, 2, 3}}));
    assert_int_equal(stmt_int(q, gone), 0);
    assert_false(stmt_is_null(q, n));
    assert_int_equal(stmt_step(q, err), 1);
    assert_true(stmt_is_null(q, n) && stmt_int(q, n) == INT_NONE);
    assert_true(isnan(stmt_double(q, x)));
    assert_null(stmt_str(q, s).p);
    assert_null(stmt_str(q, b).p);
    assert_null(stmt_str(q, name).p);
    assert_int_equal(stmt_int(q, gone), 1);
    assert_int_equal(stmt_step(q, err), 0);
    assert_int_equal(stmt_step(q, err), 0);

    struct db_value v[] = {{.type = 'u', .u = {.b = {1, 2, 3}}}, {.type = 'o', .i = 1}};
    AUTO(stmt_finish)
    struct stmt *r = db_query_v(c, err, STR("SELECT s FROM item WHERE id = $1 AND $2 = 1"), v, COUNT_OF(v));
    if (!r || stmt_step(r, err) != 1)
        return -1;
    /* the same text while the first is under way */
    AUTO(stmt_finish)
    struct stmt *r2 = db_query_v(c, err, STR("SELECT s FROM item WHERE id = $1 AND $2 = 1"), v, COUNT_OF(v));
    if (!r2 || stmt_step(r2, err) != 1)
        return -1;
    assert_true(str_eqz(stmt_str(r, 0), "h\xc3\xa9llo"));
    assert_true(str_eqz(stmt_str(r2, 0), "h\xc3\xa9llo"));

    Uuid u;
    int64_t i;
    assert_int_equal(db_get_uuid(c, err, &u, "SELECT id FROM item WHERE n = $1", "i", INT64_C(-5)), 1);
    assert_true(uuid_eq(u, (Uuid){.b = {1, 2, 3}}));
    assert_int_equal(db_get_uuid(c, err, &u, "SELECT id FROM item WHERE n = $1", "i", INT64_C(-6)), 0);
    assert_int_equal(db_get_int(c, err, &i, "SELECT count(*) FROM item", ""), 1);
    assert_int_equal(i, 2);
    /* numbers that PostgreSQL makes into "numeric" */
    assert_int_equal(db_get_int(c, err, &i, "SELECT sum(n) FROM item", ""), 1);
    assert_int_equal(i, -5);
    AUTO(stmt_finish) struct stmt *avg = db_query(c, err, "SELECT avg(n) / 4, sum(x) FROM item", "");
    assert_true(avg && stmt_step(avg, err) == 1);
    assert_true(stmt_double(avg, 0) == -1.25);
    assert_true(stmt_double(avg, 1) == 1.5);
    return 0;
}

static void test_values(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, write_values, NULL);
    READ(&f, read_values, NULL);
    struct db_stats s = db_stats(f.db);
    assert_int_equal(s.writes, 1);
    assert_int_equal(s.commits, 1);
    assert_int_equal(s.reads, 2);
    assert_int_equal(s.failed, 0);
    tear_down(&f);
}

static int int_work(struct conn *c, void *arg, struct err *err)
{
    void **p = arg;
    int64_t n = 0;
    return db_get_int(c, err, &n, p[0], "") == 1 ? (*(int64_t *)p[1] = n, 0) : -1;
}

static int64_t get_int(struct db *db, const char *sql)
{
    struct err err;
    int64_t n = INT_NONE;
    void *args[] = {(void *)(uintptr_t)sql, &n};
    if (db_read_here(db, int_work, args, &err) < 0)
        fail_msg("%s: %s", sql, err.text);
    return n;
}

/* ---- changed rows, RETURNING ---- */

static int change_rows(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    for (int64_t i = 1; i <= 10; i++)
        if (db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, $2)", "ui", uuid_v7(), i) != 1)
            return -1;
    assert_int_equal(db_exec(c, err, "UPDATE item SET x = 1 WHERE n > $1", "i", INT64_C(7)), 3);
    assert_int_equal(db_exec(c, err, "UPDATE item SET x = 1 WHERE n > $1", "i", INT64_C(70)), 0);
    assert_int_equal(db_exec(c, err, "SELECT * FROM item", ""), 0);
    assert_int_equal(db_exec(c, err, "DELETE FROM item WHERE n <= $1 RETURNING n", "i", INT64_C(2)), 2);
    /* done when asked, not when stepped through */
    AUTO(stmt_finish)
    struct stmt *q =
        db_query(c, err, "UPDATE item SET n = n + 100 WHERE n > $1 RETURNING n", "i", INT64_C(8));
    assert_non_null(q);
    stmt_finish(&q);
    int64_t n;
    assert_int_equal(db_get_int(c, err, &n, "SELECT count(*) FROM item WHERE n > 100", ""), 1);
    assert_int_equal(n, 2);
    return 0;
}

static void test_changes(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, change_rows, NULL);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 8);
    tear_down(&f);
}

/* ---- errors ---- */

static const struct {
    const char *sql;
    enum err_code code;
    const char *says;
} bad_sql[] = {
    {"INSERT INTO item (id, name) VALUES ($1, 'taken')", ERR_CONFLICT, "name"},
    {"INSERT INTO item (id, n) VALUES ($1, 1000001)", ERR_CONFLICT, "n"},
    {"INSERT INTO child (id, item) VALUES (1, $1)", ERR_CONFLICT, "child"},
    {"INSERT INTO item (id, nothing) VALUES ($1, 1)", ERR_INTERNAL, "nothing"},
    {"INSERT INTO child (id, item) SELECT 7, NULL WHERE $1 IS NOT NULL", ERR_INTERNAL, "item"},
    {"SELEC $1", ERR_INTERNAL, "SELEC"},
    {"SELECT 1", ERR_INTERNAL, ""}, /* a value too many */
    {"UPDATE item SET n = 1 WHERE id = $1; DELETE FROM item", ERR_INTERNAL, ""},
};

static int run_bad(struct conn *c, void *arg, struct err *err)
{
    return db_exec(c, err, arg, "u", uuid_v7()) < 0 ? -1 : 0;
}

static int insert_taken(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    return db_exec(c, err, "INSERT INTO item (id, name) VALUES ($1, 'taken')", "u", uuid_v7()) < 0 ? -1 : 0;
}

static int ignore_failure(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    (void)!db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, 5)", "u", uuid_v7());
    (void)!insert_taken(c, NULL, err);
    (void)!db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, 6)", "u", uuid_v7());
    return 0;
}

static void test_errors(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, insert_taken, NULL);
    for (size_t i = 0; i < COUNT_OF(bad_sql); i++) {
        struct err err;
        assert_int_equal(db_write_wait(f.db, run_bad, (void *)(uintptr_t)bad_sql[i].sql, &err), -1);
        if (err.code != bad_sql[i].code || !strstr(err.text, bad_sql[i].says))
            fail_msg("%s: %s %s", bad_sql[i].sql, err_name(err.code), err.text);
    }
    struct err err;
    assert_int_equal(db_write_wait(f.db, ignore_failure, NULL, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_int_equal(db_read_wait(f.db, insert_taken, NULL, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_int_equal(db_read_here(f.db, insert_taken, NULL, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 1);
    assert_int_equal(db_stats(f.db).failed, COUNT_OF(bad_sql) + 3);
    tear_down(&f);
}

/* ---- batches ---- */

struct load {
    struct db *db;
    _Atomic int done, failed;
    sem_t gate, all;
    int jobs;
    int64_t fail_every; /* the job does its insert, then fails */
};

struct load_job {
    struct load *load;
    int64_t n;
};

static int load_work(struct conn *c, void *arg, struct err *err)
{
    struct load_job *j = arg;
    if (db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, $2)", "ui", uuid_v7(), j->n) != 1 ||
        db_exec(c, err, "UPDATE counter SET value = value + 1 WHERE id = 1", "") != 1)
        return -1;
    if (j->load->fail_every && j->n % j->load->fail_every == 0)
        return err_set(err, ERR_NOT_FOUND, "job %lld", (long long)j->n);
    return 0;
}

static void load_done(void *arg, const struct err *err)
{
    struct load_job *j = arg;
    struct load *l = j->load;
    if (err && l->fail_every) {
        char want[32];
        snprintf(want, sizeof want, "job %lld", (long long)j->n);
        if (err->code != ERR_NOT_FOUND || strcmp(err->text, want))
            abort();
    }
    l->failed += err != NULL;
    if (++l->done == l->jobs)
        sem_post(&l->all);
}

static int gate_work(struct conn *c, void *arg, struct err *err)
{
    UNUSED(c);
    UNUSED(err);
    sem_wait(&((struct load *)arg)->gate);
    return 0;
}

/* Queues `n` jobs while the writer is held up, then lets it go. */
static void run_load(struct fixture *f, struct load *l, int n, int64_t fail_every)
{
    struct err err;
    *l = (struct load){.db = f->db, .jobs = n, .fail_every = fail_every};
    sem_init(&l->gate, 0, 0);
    sem_init(&l->all, 0, 0);
    assert_int_equal(db_write(f->db, gate_work, NULL, l, &err), 0);
    struct load_job *jobs = arena_array(f->a, struct load_job, n);
    for (int i = 0; i < n; i++) {
        jobs[i] = (struct load_job){l, i + 1};
        if (db_write(f->db, load_work, load_done, &jobs[i], &err) < 0)
            fail_msg("%s", err.text);
    }
    sem_post(&l->gate);
    sem_wait(&l->all);
    sem_destroy(&l->gate);
    sem_destroy(&l->all);
}

static void test_batches(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct load l;
    run_load(&f, &l, 1000, 0);
    assert_int_equal(l.failed, 0);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 1000);
    assert_int_equal(get_int(f.db, "SELECT value FROM counter"), 1000);
    struct db_stats s = db_stats(f.db);
    assert_int_equal(s.writes, 1001);
    if (db_kind(f.db) == DB_SQLITE) {
        assert_in_range(s.commits, 1, 4);
        assert_in_range(s.largest_batch, 500, 1024);
    }
    tear_down(&f);
}

static void test_failed_alone(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct load l;
    run_load(&f, &l, 300, 3);
    assert_int_equal(l.failed, 100);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 200);
    assert_int_equal(get_int(f.db, "SELECT value FROM counter"), 200);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item WHERE n % 3 = 0"), 0);
    assert_int_equal(db_stats(f.db).failed, 100);
    tear_down(&f);
}

static void test_busy(void **state)
{
    struct fixture f = set_up(target_of(state));
    f.o.queue_max = 10;
    f.o.readers = 1;
    open_db(&f);
    struct load l = {.db = f.db, .jobs = 1000};
    sem_init(&l.gate, 0, 0);
    sem_init(&l.all, 0, 0);
    struct err err;
    assert_int_equal(db_write(f.db, gate_work, NULL, &l, &err), 0);
    int taken = 0;
    struct load_job j = {&l, 1};
    while (taken < 20 && db_write(f.db, load_work, load_done, &j, &err) == 0)
        taken++;
    assert_int_equal(err.code, ERR_BUSY);
    assert_in_range(taken, 9, 10); /* the first may be in the queue still */
    sem_post(&l.gate);
    db_close(f.db); /* runs them */
    assert_int_equal(l.done, taken);
    arena_free(f.a);
}

/* ---- failures made for the test ---- */

static void test_each_failure(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct load l = {.db = f.db};
    int64_t n = 1, kept = 0;
    for (;; n++) {
        struct load_job j = {&l, n};
        struct err err;
        db_test_fail_at(f.db, n);
        int rc = db_write_wait(f.db, load_work, &j, &err);
        bool struck = db_test_fail_at(f.db, 0) <= 0;
        assert_int_equal(rc, struck ? -1 : 0);
        kept += rc == 0;
        assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), kept);
        assert_int_equal(get_int(f.db, "SELECT value FROM counter"), kept);
        if (!struck)
            break;
        assert_int_equal(err.code, ERR_DB);
    }
    assert_int_equal(n, 4); /* two statements and a commit */
    tear_down(&f);
}

static int arm_commit(struct conn *c, void *arg, struct err *err)
{
    int rc = load_work(c, arg, err);
    db_test_fail_at(conn_db(c), 1);
    return rc;
}

/* A commit that fails fails every job of its batch. */
static void test_commit_failure(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct load l = {.db = f.db, .jobs = 11};
    sem_init(&l.gate, 0, 0);
    sem_init(&l.all, 0, 0);
    struct load_job jobs[11];
    struct err err;
    bool gathers = db_kind(f.db) == DB_SQLITE;
    assert_int_equal(db_write(f.db, gate_work, NULL, &l, &err), 0);
    for (int i = 0; i < 11; i++) {
        jobs[i] = (struct load_job){&l, i};
        if (i == 10 && !gathers) /* one connection's commit must not strike another's statement */
            while (l.done < 10)
                usleep(1000);
        if (i == 0 && gathers)
            usleep(100000);
        assert_int_equal(db_write(f.db, i == 10 ? arm_commit : load_work, load_done, &jobs[i], &err), 0);
    }
    if (!gathers)
        l.jobs = 11;
    sem_post(&l.gate);
    sem_wait(&l.all);
    assert_int_equal(l.failed, gathers ? 11 : 1);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), gathers ? 0 : 10);
    run_load(&f, &l, 10, 0);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), gathers ? 10 : 20);
    tear_down(&f);
}

/* ---- savepoints ---- */

static int savepoint_work(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    static const char insert[] = "INSERT INTO item (id, n) VALUES ($1, $2)";
    struct err e;
    int64_t n;
    assert_int_equal(db_exec(c, err, insert, "ui", uuid_v7(), INT64_C(1)), 1);
    assert_int_equal(db_savepoint(c, err), 0);
    assert_int_equal(db_exec(c, err, insert, "ui", uuid_v7(), INT64_C(2)), 1);
    assert_int_equal(db_savepoint(c, err), 0);
    assert_int_equal(db_exec(c, err, insert, "ui", uuid_v7(), INT64_C(3)), 1);
    assert_int_equal(db_exec(c, &e, insert, "ui", uuid_v7(), INT64_C(2000000)), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_int_equal(db_exec(c, &e, insert, "ui", uuid_v7(), INT64_C(4)),
                     -1); /* nothing runs before it is undone */
    assert_int_equal(db_release(c, &e), -1);
    assert_int_equal(db_rollback_to(c, err), 0);
    assert_int_equal(db_get_int(c, err, &n, "SELECT sum(n) FROM item", ""), 1);
    assert_int_equal(n, 3);
    assert_int_equal(db_release(c, err), 0);
    assert_int_equal(db_savepoint(c, err), 0);
    assert_int_equal(db_exec(c, err, insert, "ui", uuid_v7(), INT64_C(50)), 1);
    assert_int_equal(db_rollback_to(c, err), 0);
    return 0;
}

static void test_savepoints(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, savepoint_work, NULL);
    assert_int_equal(get_int(f.db, "SELECT sum(n) FROM item"), 3);
    tear_down(&f);
}

/* ---- the statement cache ---- */

static int many_texts(struct conn *c, void *arg, struct err *err)
{
    struct fixture *f = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    UNUSED(f);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1500; i++) {
            struct db_value v = {.type = 'i', .i = i};
            AUTO(stmt_finish)
            struct stmt *q = db_query_v(c, err, str_fmt(a, "SELECT $1 + %d AS c%d", i, i), &v, 1);
            if (!q || stmt_step(q, err) != 1)
                return -1;
            assert_int_equal(stmt_int(q, stmt_column(q, str_fmt(a, "c%d", i).p)), 2 * i);
        }
    }
    /* one place in memory, several texts */
    char sql[64];
    for (int i = 0; i < 10; i++) {
        int64_t n;
        snprintf(sql, sizeof sql, "SELECT %d", i * 7);
        assert_int_equal(db_get_int(c, err, &n, sql, ""), 1);
        assert_int_equal(n, i * 7);
    }
    /* the oldest is dropped while it is stepped through */
    AUTO(stmt_finish) struct stmt *held = db_query(c, err, "SELECT 41 UNION ALL SELECT 42 ORDER BY 1", "");
    assert_true(held && stmt_step(held, err) == 1);
    for (int i = 0; i < 1000; i++) {
        AUTO(stmt_finish) struct stmt *q = db_query_v(c, err, str_fmt(a, "SELECT %d AS x", i), NULL, 0);
        if (!q)
            return -1;
    }
    assert_int_equal(stmt_step(held, err), 1);
    assert_int_equal(stmt_int(held, 0), 42);
    return 0;
}

static void test_cache(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, many_texts, &f);
    READ(&f, many_texts, &f);
    tear_down(&f);
}

/* ---- one view ---- */

static int transfer(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    return db_exec(c, err, "UPDATE item SET n = n - 1 WHERE name = 'a'", "") == 1 &&
                   db_exec(c, err, "UPDATE item SET n = n + 1 WHERE name = 'b'", "") == 1
               ? 0
               : -1;
}

static int two_accounts(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    return db_exec(c, err, "INSERT INTO item (id, name, n) VALUES ($1, 'a', 0), ($2, 'b', 0)", "uu",
                   uuid_v7(), uuid_v7()) == 2
               ? 0
               : -1;
}

static int one_view(struct conn *c, void *arg, struct err *err)
{
    int64_t a, b, again;
    if (db_get_int(c, err, &a, "SELECT n FROM item WHERE name = 'a'", "") != 1)
        return -1;
    if (arg)
        usleep(500);
    if (db_get_int(c, err, &b, "SELECT n FROM item WHERE name = 'b'", "") != 1 ||
        db_get_int(c, err, &again, "SELECT n FROM item WHERE name = 'a'", "") != 1)
        return -1;
    return a + b == 0 && a == again ? 0 : err_set(err, ERR_INTERNAL, "%lld %lld", (long long)a, (long long)b);
}

struct viewer {
    struct db *db;
    _Atomic bool stop;
    _Atomic int bad, seen;
};

static void *viewer_main(void *arg)
{
    struct viewer *v = arg;
    struct err err;
    for (int i = 0; !v->stop; i++) {
        int rc = i % 2 ? db_read_here(v->db, one_view, v, &err) : db_read_wait(v->db, one_view, v, &err);
        v->bad += rc < 0;
        v->seen++;
    }
    return NULL;
}

static void test_one_view(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, two_accounts, NULL);
    struct viewer v = {.db = f.db};
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_create(&threads[i], NULL, viewer_main, &v);
    for (int i = 0; i < 300; i++)
        WRITE(&f, transfer, NULL);
    while (v.seen < 50)
        usleep(1000);
    v.stop = true;
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(v.bad, 0);
    assert_int_equal(get_int(f.db, "SELECT n FROM item WHERE name = 'b'"), 300);
    tear_down(&f);
}

/* ---- migrations ---- */

static void expect_refused(struct fixture *f, const char *says)
{
    struct err err;
    struct db *db = db_open(&f->o, &err);
    if (db || !strstr(err.text, says))
        fail_msg("wanted '%s', got %s", says, db ? "a database" : err.text);
}

static void test_migrations(void **state)
{
    enum target t = target_of(state);
    struct fixture f = set_up(t);
    open_db(&f);
    assert_int_equal(get_int(f.db, "SELECT max(version) FROM schema_version"), 1);
    f.list[1] = (struct migration){"0002_more", STR("ALTER TABLE item ADD COLUMN extra text;\n"
                                                    "UPDATE counter SET value = 7;\n")};
    f.list[2] = (struct migration){"0003_bad", STR("UPDATE counter SET value = 8;\n"
                                                   "CREATE TABLE half (id bigint);\n"
                                                   "INSERT INTO nowhere VALUES (1);\n")};
    f.o.migration_count = 2;
    if (t == MEMORY_DB) { /* does not outlive its closing */
        tear_down(&f);
        return;
    }
    db_close(f.db);
    open_db(&f);
    assert_int_equal(get_int(f.db, "SELECT max(version) FROM schema_version"), 2);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item WHERE extra IS NULL"), 0);
    db_close(f.db);

    f.o.migration_count = 1;
    expect_refused(&f, "schema version 2");
    f.o.migration_count = 3;
    expect_refused(&f, "nowhere");
    expect_refused(&f, "0003_bad");
    f.o.migration_count = 2;
    open_db(&f);
    assert_int_equal(get_int(f.db, "SELECT value FROM counter"), 7);
    assert_int_equal(get_int(f.db, "SELECT max(version) FROM schema_version"), 2);
    db_close(f.db);
    f.list[1].name = "0002_other";
    expect_refused(&f, "0002_other");
    f.list[1].name = "0002_more";
    f.list[2] = (struct migration){"0003_good", STR("CREATE TABLE half (id bigint);\n")};
    f.o.migration_count = 3;
    open_db(&f);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM half"), 0);
    tear_down(&f);
}

/* Runs tests/pg.sh; the first line it prints. */
static Str server(const char *what)
{
    static char line[256];
    char sh[128];
    snprintf(sh, sizeof sh, "tests/pg.sh %s %s", what, dir);
    if (strcmp(what, "start") && !server_url.p)
        return STR_NONE;
    FILE *p = popen(sh, "r");
    *line = 0;
    bool said = p && fgets(line, sizeof line, p);
    line[strcspn(line, "\n")] = 0;
    int rc = p ? pclose(p) : -1;
    return said && rc == 0 ? str_of(line) : STR_NONE;
}

static void start_server(void)
{
    static char url[256];
    Str line = server("start");
    if (!line.p) {
        print_message("left out: PostgreSQL is not installed or does not start\n");
        return;
    }
    memcpy(url, line.p, line.n + 1);
    server_url = str_of(url);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    UNUSED(st);
    UNUSED(kind);
    UNUSED(at);
    return remove(path);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction fn;
    } cases[] = {
        {"values", test_values},
        {"changes", test_changes},
        {"errors", test_errors},
        {"batches", test_batches},
        {"failed_alone", test_failed_alone},
        {"busy", test_busy},
        {"each_failure", test_each_failure},
        {"commit_failure", test_commit_failure},
        {"savepoints", test_savepoints},
        {"cache", test_cache},
        {"one_view", test_one_view},
        {"migrations", test_migrations},
    };
    if (!mkdtemp(dir))
        return 1;
    start_server();
    struct CMUnitTest tests[COUNT_OF(cases) * 3];
    char names[COUNT_OF(tests)][40];
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uintptr_t t = FILE_DB; t <= (server_url.p ? SERVER_DB : MEMORY_DB); t++, n++) {
            snprintf(names[n], sizeof names[n], "%s (%s)", cases[i].name, target_names[t]);
            tests[n] = (struct CMUnitTest){names[n], cases[i].fn, NULL, NULL, (void *)t};
        }
    }
    int failed = _cmocka_run_group_tests("db", tests, n, NULL, NULL);
    server("stop");
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}
