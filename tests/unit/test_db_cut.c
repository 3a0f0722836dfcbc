/* A connection to PostgreSQL that is cut after every so many bytes of what the server says, wherever that falls: in an answer, between
 * two of a pipeline, in the commit's. Each job is run again and succeeds, or fails with ERR_DB; never with another code. */
#include "tests/unit/dbtest.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- between the two: counts the server's bytes and hangs up once ---- */

static struct sockaddr_un server_at, proxy_at;
static _Atomic int64_t left = INT64_MAX; /* bytes until it hangs up, once */
static _Atomic int64_t passed;
static _Atomic bool with_reset; /* hang up so that the other side reads an error, not an end */
static int listening;

static bool forward(int from, int to, bool counted)
{
    char buf[4096];
    ssize_t n = read(from, buf, sizeof buf);
    if (n <= 0)
        return false;
    int64_t may = counted ? atomic_fetch_sub(&left, n) : n;
    bool cut = counted && may <= n;
    if (counted)
        passed += n;
    if (cut) {
        left = INT64_MAX;
        n = may;
    }
    return write(to, buf, (size_t)n) == n && !cut;
}

static void *carry(void *arg)
{
    int client = (int)(intptr_t)arg, server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(server, (struct sockaddr *)&server_at, sizeof server_at) == 0) {
        struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
        while (poll(fds, 2, -1) > 0) {
            if (fds[0].revents && !forward(client, server, false))
                break;
            if (fds[1].revents && !forward(server, client, true))
                break;
        }
    }
    if (with_reset) /* what the client sent and nobody reads makes its next read an ECONNRESET */
        usleep(2000);
    close(client);
    close(server);
    return NULL;
}

static void *proxy(void *arg)
{
    for (int fd; (fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        pthread_t t;
        pthread_create(&t, NULL, carry, (void *)(intptr_t)fd);
        pthread_detach(t);
    }
    return arg;
}

static void proxy_start(const char *url)
{
    Str at = str_of(strstr(url, "host=") + 5); /* %2Ftmp%2F… */
    char path[96];
    size_t n = 0;
    for (size_t i = 0; i < at.n && n < sizeof path - 1; i++) {
        bool slash = str_starts(str_sub(at, i, 3), STR("%2F"));
        path[n++] = slash ? '/' : at.p[i];
        i += slash ? 2 : 0;
    }
    path[n] = 0;
    server_at.sun_family = proxy_at.sun_family = AF_UNIX;
    assert_true(snprintf(server_at.sun_path, sizeof server_at.sun_path, "%s/.s.PGSQL.5432", path) > 0);
    assert_true(snprintf(proxy_at.sun_path, sizeof proxy_at.sun_path, "%s/.s.PGSQL.5433", dbtest_dir) > 0);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&proxy_at, sizeof proxy_at), 0);
    assert_int_equal(listen(listening, 64), 0);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, proxy, NULL), 0);
    pthread_detach(t);
}

/* ---- jobs ---- */

static _Atomic int serial; /* a text of its own each time: it must be prepared */

static int fresh(struct conn *c, struct err *err, int64_t *ret)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT count(*), 'a text of some length, so that the answer has a middle' FROM flow -- %d", serial++);
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, sql, "");
    int rc = q ? stmt_step(q, err) : -1;
    if (rc == 1)
        *ret = stmt_int(q, 0);
    return rc == 1 ? 0 : rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "no row");
}

static int insert(struct conn *c, struct err *err)
{
    Uuid id = uuid_v4();
    return db_exec(c, err, "INSERT INTO flow (id, created, updated, name, tags) VALUES ($1, 1, 1, $2, '[]')", "uz", id, uuid_text(id).s) < 0 ? -1 : 0;
}

static int write_job(struct conn *c, void *arg, struct err *err)
{
    int64_t before, after;
    UNUSED(arg);
    if (fresh(c, err, &before) < 0 || insert(c, err) < 0 || db_savepoint(c, err) < 0 || insert(c, err) < 0 || db_rollback_to(c, err) < 0 ||
        fresh(c, err, &after) < 0)
        return -1;
    return after == before + 1 ? 0 : err_set(err, ERR_INTERNAL, "%lld rows, then %lld", (long long)before, (long long)after);
}

static int read_job(struct conn *c, void *arg, struct err *err)
{
    int64_t n;
    UNUSED(arg);
    return fresh(c, err, &n) < 0 || fresh(c, err, &n) < 0 ? -1 : 0;
}

/* A savepoint's failure that a job takes for an answer: what follows must not be taken for ours. */
static int stubborn_job(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    struct err why;
    int64_t n;
    if (db_savepoint(c, err) < 0)
        return -1;
    bool failed = insert(c, &why) < 0;
    if ((failed ? db_rollback_to(c, err) : db_release(c, err)) < 0)
        return -1;
    return fresh(c, err, &n);
}

static int cut_each(struct db *db, int (*run)(struct db *, db_work *, void *, struct err *), db_work *work, const char *name, struct err *err)
{
    EXPECT(run(db, work, NULL, err) == 0);
    int64_t before = passed;
    EXPECT(run(db, work, NULL, err) == 0);
    int64_t bytes = passed - before;
    EXPECT(bytes > 100 && bytes < 5000);
    int again = 0, told = 0;
    for (int64_t at = 1; at <= bytes; at += 2) {
        struct err why = {0};
        left = at;
        with_reset = at % 4 == 1;
        int rc = run(db, work, NULL, &why);
        if (rc < 0 && why.code != ERR_DB)
            return err_set(err, ERR_INTERNAL, "%s, cut after %lld bytes: %s: %s", name, (long long)at, err_name(why.code), why.text);
        again += rc == 0, told += rc < 0;
        left = INT64_MAX;
        if (run(db, work, NULL, err) < 0) /* and then all is well, or will be at once */
            EXPECT(run(db, work, NULL, err) == 0);
    }
    print_message("# %s: %lld bytes, %d run again, %d told\n", name, (long long)bytes, again, told);
    EXPECT(again > told);
    return 0;
}

static struct db *db;

#define TEST(name, run, work)                                                                                          \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        struct err err;                                                                                                \
        UNUSED(state);                                                                                                 \
        if (cut_each(db, run, work, #name, &err) < 0)                                                                  \
            fail_msg("%s", err.text);                                                                                  \
    }
TEST(writes, db_write_wait, write_job)
TEST(reads, db_read_wait, read_job)
TEST(stubborn_writes, db_write_wait, stubborn_job)

int main(void)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    static const struct CMUnitTest tests[] = {cmocka_unit_test(writes), cmocka_unit_test(reads), cmocka_unit_test(stubborn_writes)};
    char line[256];
    struct err err;
    if (!mkdtemp(dbtest_dir))
        return 1;
    if (!dbtest_server("start", line, sizeof line)) {
        print_message("# left out: PostgreSQL is not installed or does not start\n1..0\n");
        return 0;
    }
    proxy_start(line);
    struct db_options o = {.url = str_fmt(a, "postgresql://millpond@/postgres?port=5433&host=%s", dbtest_dir), .schema = STR("t"), .queue_max = 100, .readers = 1};
    o.migrations = asset_migrations(a, "main", &o.migration_count);
    db = db_open(&o, &err);
    int failed = db ? cmocka_run_group_tests_name("db_cut", tests, NULL, NULL) : 1;
    if (!db)
        fprintf(stderr, "%s\n", err.text);
    db_close(db);
    (void)dbtest_server("stop", line, sizeof line);
    nftw(dbtest_dir, dbtest_remove, 16, FTW_DEPTH | FTW_PHYS);
    return failed;
}
