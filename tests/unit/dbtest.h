/* Tests that run inside a write, on SQLite in memory and, where it is installed, on PostgreSQL.
 *
 * A test body is a database job: it says what is wrong by EXPECT and TRY (cmocka's own asserts would leap off the
 * database's thread), and its writes are kept. All bodies of a program share a database of each kind. */
#pragma once
#include "tests/unit/test.h"

#include "assets/assets.h"
#include "store/outbox.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    struct conn *c;
    struct arena *a;
    struct outbox out;
    Time now;
    const char *on; /* the database's name, for messages */
};
typedef int db_test(struct world *w, struct err *err);
struct db_case {
    const char *name;
    db_test *fn;                                  /* runs as a write; or */
    int (*outside)(struct db *db, struct err *err); /* outside of any, with the database at hand */
};

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return err_set(err, ERR_INTERNAL, "%s:%d: %s", __FILE__, __LINE__, #cond);             \
    } while (0)
#define EXPECT_INT(have, want)                                                                     \
    do {                                                                                           \
        int64_t have_ = (have), want_ = (want);                                                    \
        if (have_ != want_)                                                                        \
            return err_set(err, ERR_INTERNAL, "%s:%d: %s is %lld, not %lld", __FILE__, __LINE__,   \
                           #have, (long long)have_, (long long)want_);                             \
    } while (0)
#define EXPECT_STR(have, want)                                                                     \
    do {                                                                                           \
        Str have_ = (have);                                                                        \
        const char *want_ = (want);                                                                \
        if (!str_eqz(have_, want_))                                                                \
            return err_set(err, ERR_INTERNAL, "%s:%d: %s is '%.*s', not '%s'", __FILE__, __LINE__, \
                           #have, STR_ARG(have_), want_);                                          \
    } while (0)
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            return err_wrap(err, "%s:%d", __FILE__, __LINE__);                                     \
    } while (0)

static char dbtest_dir[] = "/tmp/millpond-test-XXXXXX";
static struct db *dbtest_db[2];
static const char *const dbtest_on[] = {"sqlite", "postgres"};
static Time dbtest_now = 1800000000 * SEC; /* moved on by each test */

static bool dbtest_server(const char *what, char *ret_line, size_t n)
{
    char sh[160];
    snprintf(sh, sizeof sh, "tests/pg.sh %s %s", what, dbtest_dir);
    FILE *p = popen(sh, "r");
    bool said = p && fgets(ret_line, (int)n, p);
    ret_line[said ? strcspn(ret_line, "\n") : 0] = 0;
    return p && pclose(p) == 0 && said;
}

static struct db *dbtest_open(struct arena *a, Str url, struct err *err)
{
    struct db_options o = {.url = url, .schema = STR("t"), .queue_max = 100};
    o.migrations = asset_migrations(a, "main", &o.migration_count);
    return db_open(&o, err);
}

struct dbtest_run {
    const struct db_case *test;
    struct db *db;
    const char *on;
};

static int dbtest_body(struct conn *c, void *arg, struct err *err)
{
    struct dbtest_run *run = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct world w = {.c = c, .a = a, .now = dbtest_now, .on = run->on};
    outbox_init(&w.out, a);
    return run->test->fn(&w, err);
}

static void dbtest_one(void **state)
{
    struct dbtest_run *run = *state;
    struct err err;
    dbtest_now += DAY;
    if ((run->test->fn ? db_write_wait(run->db, dbtest_body, run, &err) : run->test->outside(run->db, &err)) < 0)
        fail_msg("%s", err.text);
}

static int dbtest_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    return remove(path);
}

/* Runs all on each database: for main(). */
__attribute__((unused)) static int dbtest_main(const char *group, const struct db_case *cases, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    char line[256];
    if (!mkdtemp(dbtest_dir))
        return 1;
    dbtest_db[0] = dbtest_open(a, STR("sqlite::memory:"), &err);
    bool server = dbtest_db[0] && dbtest_server("start", line, sizeof line);
    if (server)
        dbtest_db[1] = dbtest_open(a, str_of(line), &err);
    else
        print_message("# left out: PostgreSQL is not installed or does not start\n");
    if (!dbtest_db[0] || (server && !dbtest_db[1]))
        fprintf(stderr, "%s\n", err.text);
    struct CMUnitTest *tests = arena_array(a, struct CMUnitTest, n * 2);
    struct dbtest_run *runs = arena_array(a, struct dbtest_run, n * 2);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        for (int d = 0; d < 2; d++) {
            if (!dbtest_db[d])
                continue;
            runs[count] = (struct dbtest_run){&cases[i], dbtest_db[d], dbtest_on[d]};
            tests[count] = (struct CMUnitTest){.name = str_fmt(a, "%s (%s)%c", cases[i].name, dbtest_on[d], 0).p,
                                               .test_func = dbtest_one,
                                               .initial_state = &runs[count]};
            count++;
        }
    }
    int failed = count < n ? 1 : _cmocka_run_group_tests(group, tests, count, NULL, NULL);
    db_close(dbtest_db[0]);
    db_close(dbtest_db[1]);
    if (server)
        (void)dbtest_server("stop", line, sizeof line);
    nftw(dbtest_dir, dbtest_remove, 16, FTW_DEPTH | FTW_PHYS);
    return failed || (server && !dbtest_db[1]);
}
