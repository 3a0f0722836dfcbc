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
#include "db/driver.h" /* db_migration_text */

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
    f->o.migrations = f->list;
    if (!f->o.migration_count)
        f->o.migration_count = 1;
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
    if (err && !l->fail_every && err->code != ERR_DB)
        die("%s %s", err_name(err->code), err->text);
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
    sem_post(&((struct load *)arg)->gate); /* a job may be run again */
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

/* The text of a migration for SQLite. */
static void test_migration_text(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"CREATE TABLE a (id uuid, n bigint, x Double  Precision, t text, b bytea);\n",
         "CREATE TABLE a (id BLOB, n INTEGER, x REAL, t TEXT, b BLOB) STRICT;\n"},
        {"CREATE TABLE a (id bigint CHECK (id IN (1, 2))) WITHOUT ROWID; --sqlite\nCREATE TABLE a (); "
         "--postgres\n",
         "CREATE TABLE a (id INTEGER CHECK (id IN (1, 2))) WITHOUT ROWID, STRICT; \n\n"},
        {"create table if not exists \"uuid\" (contexts text); CREATE INDEX text_i ON a (n);\n",
         "create table if not exists \"uuid\" (contexts TEXT) STRICT; CREATE INDEX text_i ON a (n);\n"},
        {"CREATE TEMP TABLE a AS SELECT (1);\nCREATE VIEW v AS SELECT CAST(x AS text) FROM t;\n",
         "CREATE TEMP TABLE a AS SELECT (1);\nCREATE VIEW v AS SELECT CAST(x AS TEXT) FROM t;\n"},
        {"-- it's a uuid;\nINSERT INTO t VALUES ('text; it''s (', \"bigint\");\n",
         "-- it's a uuid;\nINSERT INTO t VALUES ('text; it''s (', \"bigint\");\n"},
        {"CREATE TABLE a (\n  -- ) ;\n  s text DEFAULT ');'\n)\n;\n",
         "CREATE TABLE a (\n  -- ) ;\n  s TEXT DEFAULT ');'\n)\n STRICT;\n"},
        {"", ""},
        {"'", "'"},
    };
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str got = db_migration_text(a, str_of(cases[i].in), DB_SQLITE);
        if (!str_eqz(got, cases[i].out))
            fail_msg("%s\ngave %s", cases[i].in, got.p);
    }
    assert_true(str_eqz(db_migration_text(a, STR("a uuid; --sqlite\nb uuid; --postgres\n"), DB_POSTGRES),
                        "\nb uuid; \n"));
}

static void test_strict(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct err err;
    static const char sql[] = "INSERT INTO counter (id, value) SELECT 5, 'many' WHERE $1 IS NOT NULL";
    assert_int_equal(db_write_wait(f.db, run_bad, (void *)(uintptr_t)sql, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    tear_down(&f);
}

/* ---- a transaction that goes as a whole ---- */

static int insert_bytes(struct conn *c, void *arg, struct err *err)
{
    size_t n = *(const size_t *)arg;
    char *p = calloc(1, n);
    int64_t rc = db_exec(c, err, "INSERT INTO item (id, b) VALUES ($1, $2)", "ub", uuid_v7(), (Str){p, n});
    free(p);
    return rc == 1 ? 0 : -1;
}

static int cap_pages(struct conn *c, void *arg, struct err *err)
{
    return db_exec(c, err, arg, "") < 0 ? -1 : 0;
}

static void count_done(void *arg, const struct err *err)
{
    struct load *l = arg;
    l->failed += err != NULL;
    if (err && err->code != ERR_DB && err->code != ERR_DISK)
        die("%s %s", err_name(err->code), err->text);
    if (++l->done == l->jobs)
        sem_post(&l->all);
}

struct sized_job {
    size_t bytes; /* first: insert_bytes reads it */
    struct load *load;
};

static void sized_done(void *arg, const struct err *err)
{
    count_done(((struct sized_job *)arg)->load, err);
}

/* The file is full for one large row and not for the small ones of its batch. */
static void test_full_for_one(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, cap_pages, (void *)(uintptr_t) "PRAGMA max_page_count=100");
    struct load l = {.jobs = 21};
    sem_init(&l.gate, 0, 0);
    sem_init(&l.all, 0, 0);
    struct err err;
    struct sized_job jobs[21];
    assert_int_equal(db_write(f.db, gate_work, NULL, &l, &err), 0);
    for (int i = 0; i < 21; i++) {
        jobs[i] = (struct sized_job){i == 10 ? 4000000 : 100, &l};
        assert_int_equal(db_write(f.db, insert_bytes, sized_done, &jobs[i], &err), 0);
    }
    sem_post(&l.gate);
    sem_wait(&l.all);
    assert_int_equal(l.failed, 1);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 20);
    tear_down(&f);
}

static const char deferred_key[] = "CREATE TABLE late (id bigint PRIMARY KEY, other bigint REFERENCES late "
                                   "(id) DEFERRABLE INITIALLY DEFERRED);\n";

struct late_job {
    struct load_job j;
    int64_t id, other;
};

static int late_work(struct conn *c, void *arg, struct err *err)
{
    struct late_job *l = arg;
    return db_exec(c, err, "INSERT INTO late (id, other) VALUES ($1, $2)", "ii", l->id, l->other) == 1 ? 0
                                                                                                       : -1;
}

static void late_done(void *arg, const struct err *err)
{
    struct load *l = ((struct load_job *)arg)->load;
    if (err && err->code != ERR_CONFLICT)
        die("%s %s", err_name(err->code), err->text);
    l->failed += err != NULL;
    if (++l->done == l->jobs)
        sem_post(&l->all);
}

/* What a deferred constraint refuses at the commit is its own job's failure. */
static void test_deferred(void **state)
{
    struct fixture f = set_up(target_of(state));
    f.list[1] = (struct migration){"0002_late", {deferred_key, sizeof deferred_key - 1}};
    f.o.migration_count = 2;
    open_db(&f);
    struct load l = {.jobs = 6};
    sem_init(&l.gate, 0, 0);
    sem_init(&l.all, 0, 0);
    struct err err;
    struct late_job jobs[6];
    assert_int_equal(db_write(f.db, gate_work, NULL, &l, &err), 0);
    for (int i = 0; i < 6; i++) {
        jobs[i] = (struct late_job){{&l, i}, i, i == 3 ? 77 : i};
        assert_int_equal(db_write(f.db, late_work, late_done, &jobs[i], &err), 0);
    }
    sem_post(&l.gate);
    sem_wait(&l.all);
    assert_int_equal(l.failed, 1);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM late WHERE other = id"), 5);
    tear_down(&f);
}

/* ---- a process that dies ---- */

struct acks {
    struct db *db;
    int fd;
    struct ack_job {
        struct acks *all;
        int64_t n;
    } jobs[64];
    _Atomic int64_t next;
};

static int ack_work(struct conn *c, void *arg, struct err *err)
{
    struct ack_job *j = arg;
    return db_exec(c, err, "INSERT INTO counter (id, value) VALUES ($1, $2)", "ii", j->n, -j->n) == 1 ? 0
                                                                                                      : -1;
}

static void ack_done(void *arg, const struct err *err)
{
    struct ack_job *j = arg;
    struct err ignored;
    if (!err && write(j->all->fd, &j->n, sizeof j->n) != sizeof j->n)
        _exit(9);
    j->n = ++j->all->next;
    if (db_write(j->all->db, ack_work, ack_done, j, &ignored) < 0)
        _exit(8);
}

static _Noreturn void ack_child(const struct db_options *o, int fd)
{
    struct err err;
    static struct acks all;
    all = (struct acks){.fd = fd, .next = 1000};
    all.db = db_open(o, &err);
    if (!all.db)
        _exit(7);
    for (size_t i = 0; i < COUNT_OF(all.jobs); i++) {
        all.jobs[i] = (struct ack_job){&all, ++all.next};
        if (db_write(all.db, ack_work, ack_done, &all.jobs[i], &err) < 0)
            _exit(6);
    }
    for (;;)
        pause();
}

static int check_acks(struct conn *c, void *arg, struct err *err)
{
    VEC(int64_t) *acked = arg;
    for (size_t i = 0; i < acked->n; i++) {
        int64_t value;
        if (db_get_int(c, err, &value, "SELECT value FROM counter WHERE id = $1", "i", acked->v[i]) != 1 ||
            value != -acked->v[i])
            return err_set(err, ERR_INTERNAL, "write %lld of %zu was acknowledged and is gone",
                           (long long)acked->v[i], acked->n);
    }
    return 0;
}

static void test_killed(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    db_close(f.db);
    VEC(int64_t) acked = {0};
    for (int round = 0; round < 3; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            close(fds[0]);
            ack_child(&f.o, fds[1]);
        }
        close(fds[1]);
        acked.n = 0;
        for (int64_t n; read(fds[0], &n, sizeof n) == sizeof n;) {
            vec_push(f.a, &acked, n);
            if (acked.n == (size_t)(500 + 777 * round))
                kill(child, SIGKILL);
        }
        close(fds[0]);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(acked.n >= 500);
        open_db(&f);
        WRITE(&f, check_acks, &acked);
        static const char *const wipe = "DELETE FROM counter";
        WRITE(&f, cap_pages, (void *)(uintptr_t)wipe);
        db_close(f.db);
    }
    arena_free(f.a);
}

/* ---- a disk that is full ---- */

#define FILE_LIMIT (600 << 10)

/* Writes until the file size limit stops it, lifts the limit, writes again; exit status says what was wrong.
 */
static _Noreturn void full_child(struct fixture *f)
{
    struct err err;
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    struct rlimit low = {.rlim_cur = FILE_LIMIT, .rlim_max = limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &low) < 0)
        _exit(20);
    struct db *db = db_open(&f->o, &err);
    if (!db)
        _exit(21);
    size_t bytes = 5000;
    int64_t kept = 0;
    int failures = 0;
    for (int i = 0; i < 400 && failures < 5; i++) {
        if (db_write_wait(db, insert_bytes, &bytes, &err) == 0)
            kept++;
        else if (err.code != ERR_DISK)
            _exit(22);
        else
            failures++;
    }
    if (failures < 5 || kept < 20 || get_int(db, "SELECT count(*) FROM item") != kept)
        _exit(23);
    setrlimit(RLIMIT_FSIZE, &limit);
    if (db_write_wait(db, insert_bytes, &bytes, &err) < 0)
        _exit(24);
    if (get_int(db, "SELECT count(*) FROM item") != kept + 1)
        _exit(25);
    db_close(db);
    db = db_open(&f->o, &err);
    if (!db || get_int(db, "SELECT count(*) FROM item") != kept + 1)
        _exit(26);
    db_close(db);
    _exit(0);
}

static void test_disk_full(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    db_close(f.db);
    pid_t child = fork();
    if (child == 0)
        full_child(&f);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    arena_free(f.a);
}

/* ---- the file ---- */

static void test_file(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    expect_refused(&f, "in use by another millpond");
    const char *path = f.o.url.p + strlen("sqlite:");
    expect_refused(&f, path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(str_fmt(f.a, "%s-wal", path).p, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    Str parent = str_sub(str_of(path), 0, strlen(path) - strlen("/a.db"));
    assert_int_equal(stat(str_z(f.a, parent), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    db_close(f.db);

    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(
        write(fd, "this is no database, whatever its name may say, and so it must be refused............",
              80),
        80);
    close(fd);
    expect_refused(&f, "not a database");
    f.o.url = str_fmt(f.a, "sqlite:%s/deeper/b.db", path);
    expect_refused(&f, "cannot make");
    f.o.url = str_fmt(f.a, "sqlite:%.*s", STR_ARG(parent));
    expect_refused(&f, "cannot open");
    static const char *const bad[] = {"sqlite:", "mysql://root:secret@host/x", "", "sqlite",
                                      "postgresql://[::1/x"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        f.o.url = str_of(bad[i]);
        expect_refused(&f, "URL");
        struct err err;
        assert_null(db_open(&f.o, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(strstr(err.text, "secret"));
    }
    arena_free(f.a);
}

/* The log does not grow with what is written. */
static void test_log_bounded(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    struct load l = {.jobs = 8000};
    sem_init(&l.all, 0, 0);
    struct sized_job job = {20000, &l};
    struct err err;
    const char *wal = str_fmt(f.a, "%s-wal", f.o.url.p + strlen("sqlite:")).p;
    off_t most = 0;
    struct stat st;
    for (int i = 0; i < l.jobs; i++) {
        while (db_write(f.db, insert_bytes, sized_done, &job, &err) < 0 || l.done + 200 < i)
            usleep(100);
        if (i % 100 == 0 && stat(wal, &st) == 0)
            most = MAX(most, st.st_size);
    }
    sem_wait(&l.all);
    assert_int_equal(l.failed, 0);
    assert_in_range(most, 1 << 20, 96 << 20); /* 160 MB were written */
    tear_down(&f);
}

/* ---- reads inside of jobs, and on threads that end ---- */

static int inner_read(struct conn *c, void *arg, struct err *err)
{
    return db_get_int(c, err, arg, "SELECT count(*) FROM item", "") == 1 ? 0 : -1;
}

static int read_inside(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    int64_t n = 0;
    if (insert_taken(c, NULL, err) < 0 || db_read_here(conn_db(c), inner_read, &n, err) < 0)
        return -1;
    return n == 1 ? 0 : err_set(err, ERR_INTERNAL, "%lld", (long long)n); /* it sees what the job did */
}

static void *short_thread(void *arg)
{
    for (int i = 0; i < 3; i++)
        get_int(arg, "SELECT count(*) FROM item");
    return NULL;
}

static void test_here(void **state)
{
    struct fixture f = set_up(target_of(state)), g = set_up(target_of(state));
    open_db(&f);
    open_db(&g); /* several are open at once */
    WRITE(&f, read_inside, NULL);
    for (int i = 0; i < 10; i++) {
        pthread_t t;
        pthread_create(&t, NULL, short_thread, i % 2 ? f.db : g.db);
        pthread_join(t, NULL);
    }
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 1);
    assert_int_equal(get_int(g.db, "SELECT count(*) FROM item"), 0);
    tear_down(&f);
    tear_down(&g);
}

/* ---- a server that goes away ---- */

static _Atomic int runs;

static int cut_once(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    runs++;
    if (db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, 1)", "u", uuid_v7()) != 1)
        return -1;
    if (runs == 1 && db_exec(c, err, "SELECT pg_terminate_backend(pg_backend_pid())", "") < 0)
        return -1;
    return 0;
}

static const char cut_at_commit[] =
    "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS\n"
    "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';\n"
    "CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON counter DEFERRABLE INITIALLY DEFERRED\n"
    "    FOR EACH ROW EXECUTE FUNCTION cut();\n";

static int count_up(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    runs++;
    return db_exec(c, err, "UPDATE counter SET value = value + 1", "") == 1 ? 0 : -1;
}

static int count_rows(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    int64_t n;
    return db_get_int(c, err, &n, "SELECT count(*) FROM item", "") == 1 ? 0 : -1;
}

static void test_lost(void **state)
{
    struct fixture f = set_up(target_of(state));
    f.list[1] = (struct migration){"0002_cut", {cut_at_commit, sizeof cut_at_commit - 1}};
    f.o.migration_count = 2;
    open_db(&f);
    struct err err;
    runs = 0;
    WRITE(&f, cut_once, NULL); /* lost before its commit: run again */
    assert_int_equal(runs, 2);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 1);
    runs = 0;
    assert_int_equal(db_write_wait(f.db, count_up, NULL, &err),
                     -1); /* lost in its commit: told, not run again */
    assert_int_equal(err.code, ERR_DB);
    assert_non_null(strstr(err.text, "unknown"));
    assert_int_equal(runs, 1);

    server("stop");
    Dur start = time_monotonic();
    assert_int_equal(db_write_wait(f.db, insert_taken, NULL, &err), -1);
    assert_int_equal(err.code, ERR_DB);
    assert_in_range(time_monotonic() - start, SEC, 6 * SEC);
    start = time_monotonic();
    for (int i = 0; i < 20; i++)
        assert_int_equal(db_write_wait(f.db, insert_taken, NULL, &err), -1);
    assert_in_range(time_monotonic() - start, 0, SEC); /* now it is known */
    start_server();
    bool back = false;
    for (int i = 0; i < 100 && !back; i++, usleep(50000))
        back = db_write_wait(f.db, insert_taken, NULL, &err) == 0;
    assert_true(back);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 2);
    server("restart");
    WRITE(&f, count_rows, NULL); /* waits for the new connection by itself */
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM item"), 2);
    db_close(f.db);

    f.o.url = str_fmt(f.a, "postgresql:///x?host=%s/nowhere", dir);
    expect_refused(&f, "cannot reach");
    arena_free(f.a);
}

/* Two that lock two rows in opposite orders: the server ends one, which is run again. */
struct crossing {
    sem_t *mine, *other;
    int64_t first, second;
    _Atomic int runs;
};

static int cross(struct conn *c, void *arg, struct err *err)
{
    struct crossing *x = arg;
    static const char sql[] = "UPDATE item SET x = coalesce(x, 0) + 1 WHERE n = $1";
    if (db_exec(c, err, sql, "i", x->first) != 1)
        return -1;
    if (x->runs++ == 0) {
        sem_post(x->mine);
        sem_wait(x->other);
    }
    return db_exec(c, err, sql, "i", x->second) == 1 ? 0 : -1;
}

static int two_rows(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    return db_exec(c, err, "INSERT INTO item (id, n) VALUES ($1, 1), ($2, 2)", "uu", uuid_v7(), uuid_v7()) ==
                   2
               ? 0
               : -1;
}

static void crossing_done(void *arg, const struct err *err)
{
    struct load *l = arg;
    l->failed += err != NULL;
    if (++l->done == 2)
        sem_post(&l->all);
}

static struct load crossing_load;

static void cross_done(void *arg, const struct err *err)
{
    UNUSED(arg);
    crossing_done(&crossing_load, err);
}

static void test_deadlock(void **state)
{
    struct fixture f = set_up(target_of(state));
    open_db(&f);
    WRITE(&f, two_rows, NULL);
    sem_t s[2];
    sem_init(&s[0], 0, 0);
    sem_init(&s[1], 0, 0);
    sem_init(&crossing_load.all, 0, 0);
    struct crossing x = {&s[0], &s[1], 1, 2, 0}, y = {&s[1], &s[0], 2, 1, 0};
    struct err err;
    assert_int_equal(db_write(f.db, cross, cross_done, &x, &err), 0);
    assert_int_equal(db_write(f.db, cross, cross_done, &y, &err), 0);
    sem_wait(&crossing_load.all);
    assert_int_equal(crossing_load.failed, 0);
    assert_in_range(x.runs + y.runs, 3, 6); /* the one that runs again may be first again */
    assert_int_equal(get_int(f.db, "SELECT sum(x) FROM item"), 4);
    tear_down(&f);
}

/* Servers that start at once: one migrates, the others find it done. */
static void *open_and_close(void *arg)
{
    struct err err;
    struct db *db = db_open(arg, &err);
    if (!db)
        return strdup(err.text);
    db_close(db);
    return NULL;
}

static void test_open_at_once(void **state)
{
    struct fixture f = set_up(target_of(state));
    f.list[0] = first[0];
    f.list[0].sql = STR(INIT);
    f.o.migrations = f.list;
    f.o.migration_count = 1;
    f.o.readers = 1;
    pthread_t threads[5];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_create(&threads[i], NULL, open_and_close, &f.o);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *why;
        pthread_join(threads[i], &why);
        if (why)
            fail_msg("%s", (char *)why);
    }
    open_db(&f);
    assert_int_equal(get_int(f.db, "SELECT count(*) FROM schema_version"), 1);
    tear_down(&f);
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
    enum { F = 1 << FILE_DB, M = 1 << MEMORY_DB, P = 1 << SERVER_DB };
    static const struct {
        const char *name;
        CMUnitTestFunction fn;
        unsigned on;
    } cases[] = {
        {"values", test_values, F | M | P},
        {"changes", test_changes, F | M | P},
        {"errors", test_errors, F | M | P},
        {"strict", test_strict, F | M | P},
        {"batches", test_batches, F | M | P},
        {"failed_alone", test_failed_alone, F | M | P},
        {"busy", test_busy, F | M | P},
        {"each_failure", test_each_failure, F | M | P},
        {"commit_failure", test_commit_failure, F | M | P},
        {"full_for_one", test_full_for_one, F | M},
        {"deferred", test_deferred, F | M | P},
        {"savepoints", test_savepoints, F | M | P},
        {"cache", test_cache, F | M | P},
        {"one_view", test_one_view, F | M | P},
        {"here", test_here, F | M | P},
        {"migrations", test_migrations, F | M | P},
        {"migration_text", test_migration_text, M},
        {"killed", test_killed, F | P},
        {"disk_full", test_disk_full, F},
        {"file", test_file, F},
        {"log_bounded", test_log_bounded, F},
        {"deadlock", test_deadlock, P},
        {"open_at_once", test_open_at_once, P},
        {"lost", test_lost, P},
    };
    if (!mkdtemp(dir))
        return 1;
    start_server();
    struct CMUnitTest tests[COUNT_OF(cases) * 3];
    char names[COUNT_OF(tests)][40];
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (uintptr_t t = FILE_DB; t <= (server_url.p ? SERVER_DB : MEMORY_DB); t++) {
            if (!(cases[i].on & 1u << t))
                continue;
            snprintf(names[n], sizeof names[n], "%s (%s)", cases[i].name, target_names[t]);
            tests[n] = (struct CMUnitTest){names[n], cases[i].fn, NULL, NULL, (void *)t};
            n++;
        }
    }
    int failed = _cmocka_run_group_tests("db", tests, n, NULL, NULL);
    server("stop");
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}
