#include "tests/unit/databases.h"

#include "base/limits.h"
#include "base/log.h"
#include "services/recorder.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLOW "11111111-0000-7000-8000-000000000001"
#define FLOW_RUN "22222222-0000-7000-8000-000000000001"
#define LATER_RUN "22222222-0000-7000-8000-000000000002"

struct fixture {
    struct arena *a;
    struct workspace ws;
    struct recorder *r;
};

static int sql_work(struct conn *c, void *arg, struct err *err)
{
    return db_exec_v(c, err, str_of(arg), NULL, 0) < 0 ? -1 : 0;
}

static void run_sql(struct db *db, const char *sql)
{
    struct err err;
    if (db_write_wait(db, sql_work, (void *)(uintptr_t)sql, &err) < 0)
        fail_msg("%s: %s", sql, err.text);
}

static const char *uuid_literal(struct fixture *f, const char *uuid)
{
    if (db_kind(f->ws.db) == DB_POSTGRES)
        return str_fmt(f->a, "'%s'", uuid).p;
    AUTO(buf_free) struct buf b = BUF(100);
    for (const char *p = uuid; *p; p++)
        if (*p != '-')
            buf_char(&b, *p);
    return str_fmt(f->a, "x'%.*s'", STR_ARG(buf_view(&b))).p;
}

static void make_flow_run(struct fixture *f, const char *id)
{
    run_sql(f->ws.db,
            str_fmt(f->a,
                    "INSERT INTO flow_run(id, created, updated, name, flow_id, parameters, context, empirical_policy, tags, "
                    "run_count, total_run_time, auto_scheduled) VALUES (%s, 0, 0, 'r', %s, '{}', '{}', '{}', '[]', 0, 0, 0)",
                    uuid_literal(f, id), uuid_literal(f, FLOW))
                .p);
}

static struct fixture set_up(int postgres)
{
    struct err err;
    struct fixture f = {.a = arena_create()};
    f.ws.db = open_database(f.a, postgres, "main");
    f.r = recorder_start(&f.ws, &err);
    run_sql(f.ws.db,
            str_fmt(f.a, "INSERT INTO flow(id, created, updated, name, tags) VALUES (%s, 0, 0, 'f', '[]')", uuid_literal(&f, FLOW)).p);
    make_flow_run(&f, FLOW_RUN);
    return f;
}

static void tear_down(struct fixture *f)
{
    recorder_stop(f->r);
    db_close(f->ws.db);
    arena_free(f->a);
}

/* The event of run `n` entering its k-th state, as the 3.8.8 client sends it. */
struct told {
    int n, k;
    const char *type, *run, *flow_run; /* run: further members of payload.task_run */
    const char *state;                 /* further members of payload.validated_state */
};

static struct event make(struct fixture *f, struct told t)
{
    struct event e = {.event = str_fmt(f->a, "prefect.task-run.%s", t.type)};
    assert_true(time_parse(STR("2026-11-23T12:00:00Z"), &e.occurred));
    e.occurred += t.k * SEC;
    assert_true(uuid_parse(str_fmt(f->a, "44444444-%04x-7000-8000-%012x", t.n, t.k), &e.id));
    e.resource_id = str_fmt(f->a, "prefect.task-run.33333333-0000-7000-8000-%012x", t.n);
    e.resource = str_fmt(f->a, "{\"prefect.resource.id\":\"%.*s\",\"prefect.orchestration\":\"client\"}", STR_ARG(e.resource_id));
    e.related = t.flow_run ? str_fmt(f->a,
                                     "[{\"prefect.resource.id\":\"prefect.tag.x\",\"prefect.resource.role\":\"tag\"},"
                                     "{\"prefect.resource.id\":\"prefect.flow-run.%s\",\"prefect.resource.role\":\"flow-run\"}]",
                                     t.flow_run)
                           : STR("[]");
    e.payload = str_fmt(f->a,
                        "{\"validated_state\":{\"type\":\"%s\",\"name\":\"%s\",\"message\":\"\",\"state_details\":{}%s},"
                        "\"task_run\":{\"task_key\":\"key\",\"dynamic_key\":\"dyn-%d\"%s}}",
                        t.type, t.type, t.state ? t.state : "", t.n, t.run ? t.run : "");
    return e;
}

struct answer {
    sem_t done;
    bool failed;
    struct err err;
};

static void answered(void *arg, const struct err *err)
{
    struct answer *a = arg;
    a->failed = err != NULL;
    if (err)
        a->err = *err;
    sem_post(&a->done);
}

static void add(struct fixture *f, const struct event *events, size_t n)
{
    struct answer a = {0};
    sem_init(&a.done, 0, 0);
    recorder_add(f->r, events, n, answered, &a);
    sem_wait(&a.done);
    sem_destroy(&a.done);
    if (a.failed)
        fail_msg("%s", a.err.text);
}

struct look {
    struct fixture *f;
    int n;
    struct task_run run;
    int64_t runs, states, states_of_run;
    Str newest_details, newest_data;
    bool found;
};

static int look_work(struct conn *c, void *arg, struct err *err)
{
    struct look *l = arg;
    Uuid id;
    assert_true(uuid_parse(str_fmt(l->f->a, "33333333-0000-7000-8000-%012x", l->n), &id));
    int rc = record_by_id(c, l->f->a, &task_run_resource, id, &l->run, err);
    if (rc < 0)
        return -1;
    l->found = rc;
    AUTO(stmt_finish) struct stmt *q =
        db_query(c, err, "SELECT state_details, data FROM task_run_state WHERE run_id = $1 ORDER BY timestamp DESC LIMIT 1", "u", id);
    if (!q || (rc = stmt_step(q, err)) < 0)
        return -1;
    if (rc) {
        l->newest_details = str_dup(l->f->a, stmt_str(q, 0));
        l->newest_data = stmt_is_null(q, 1) ? STR_NONE : str_dup(l->f->a, stmt_str(q, 1));
    }
    return db_get_int(c, err, &l->runs, "SELECT count(*) FROM task_run", "") < 0 ||
                   db_get_int(c, err, &l->states, "SELECT count(*) FROM task_run_state", "") < 0 ||
                   db_get_int(c, err, &l->states_of_run, "SELECT count(*) FROM task_run_state WHERE run_id = $1", "u", id) < 0
               ? -1
               : 0;
}

static struct look look(struct fixture *f, int n)
{
    struct err err;
    struct look l = {.f = f, .n = n};
    if (db_read_wait(f->ws.db, look_work, &l, &err) < 0)
        fail_msg("%s", err.text);
    return l;
}

/* Each event tells all that is known of the run by then, as the client's do. */
#define PENDING_FIELDS                                                                                                 \
    ",\"name\":\"add-1\",\"tags\":[\"x\"],\"labels\":{},\"empirical_policy\":{\"max_retries\":0,\"retry_delay_seconds\":0.0,"   \
    "\"retries\":2,\"retry_delay\":0},\"task_inputs\":{\"a\":[]},\"expected_start_time\":\"2026-11-23T12:00:00Z\""
#define RUNNING_FIELDS PENDING_FIELDS ",\"run_count\":1,\"flow_run_run_count\":1,\"start_time\":\"2026-11-23T12:00:01Z\""
static const struct told life[] = {
    {1, 0, "PENDING", PENDING_FIELDS ",\"run_count\":0,\"total_run_time\":0.0", FLOW_RUN, NULL},
    {1, 1, "RUNNING", RUNNING_FIELDS ",\"total_run_time\":0.0,\"end_time\":null", FLOW_RUN, NULL},
    {1, 3, "COMPLETED", RUNNING_FIELDS ",\"end_time\":\"2026-11-23T12:00:03Z\",\"total_run_time\":2.0,\"unknown\":[1]", FLOW_RUN,
     ",\"data\":{\"type\":\"reference\",\"n\":12345678901234567890}"},
};

static void check_completed(struct fixture *f)
{
    struct look l = look(f, 1);
    assert_true(l.found);
    assert_int_equal(l.runs, 1);
    assert_int_equal(l.states_of_run, 3);
    const struct task_run *r = &l.run;
    assert_true(str_eqz(r->state_type, "COMPLETED") && str_eqz(r->state_name, "COMPLETED") && str_eqz(r->name, "add-1"));
    assert_true(r->run_count == 1 && r->flow_run_run_count == 1 && r->total_run_time == 2 * SEC);
    assert_true(r->end_time - r->start_time == 2 * SEC && r->expected_start_time == r->start_time - SEC);
    assert_true(str_eqz(r->tags, "[\"x\"]") && str_eqz(r->task_inputs, "{\"a\":[]}"));
    assert_true(str_find(r->empirical_policy, STR("\"retries\":2")) >= 0);
    assert_string_equal(uuid_text(r->flow_run_id).s, FLOW_RUN);
    assert_true(str_find(l.newest_details, STR("\"flow_run_id\":\"" FLOW_RUN "\"")) >= 0);
    assert_true(str_find(l.newest_details, STR("\"task_run_id\":\"33333333-0000-7000-8000-000000000001\"")) >= 0);
    assert_true(str_eqz(l.newest_data, "{\"type\":\"reference\",\"n\":12345678901234567890}"));
}

/* In every order, one by one or together, once or twice: the same rows. */
static void test_any_order(void **state)
{
    UNUSED(state);
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    EACH_DATABASE(postgres)
    for (size_t o = 0; o < COUNT_OF(orders); o++)
        for (int together = 0; together <= 1; together++) {
            struct fixture f = set_up(postgres);
            struct event events[6];
            for (int i = 0; i < 6; i++)
                events[i] = make(&f, life[orders[o][i % 3]]);
            if (together)
                add(&f, events, 6);
            else
                for (int i = 0; i < 6; i++)
                    add(&f, &events[i], 1);
            check_completed(&f);
            tear_down(&f);
        }
}

/* A run that REST made first, or that another id has under the same natural key, keeps its id. */
static void test_natural_key(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        struct fixture f = set_up(postgres);
        struct event first = make(&f, (struct told){1, 0, "PENDING", NULL, FLOW_RUN, NULL});
        add(&f, &first, 1);
        /* the same call of the same task under another id */
        struct event other = make(&f, (struct told){2, 1, "RUNNING", ",\"dynamic_key\":\"dyn-1\"", FLOW_RUN, NULL});
        add(&f, &other, 1);
        struct look l = look(&f, 1);
        assert_int_equal(l.runs, 1);
        assert_int_equal(l.states_of_run, 2);
        assert_true(str_eqz(l.run.state_type, "RUNNING"));
        /* without a flow run: by id, whatever its keys say */
        struct event lone = make(&f, (struct told){3, 0, "PENDING", NULL, NULL, NULL});
        struct event again = make(&f, (struct told){3, 1, "RUNNING", ",\"dynamic_key\":\"changed\"", NULL, NULL});
        add(&f, &lone, 1);
        add(&f, &again, 1);
        l = look(&f, 3);
        assert_int_equal(l.runs, 2);
        assert_int_equal(l.states_of_run, 2);
        assert_true(str_eqz(l.run.state_type, "RUNNING") && str_eqz(l.run.dynamic_key, "dyn-3"));
        tear_down(&f);
    }
}

/* A run that runs again has no end, and one that has begun waits for no start. */
static void test_times_that_are_over(void **state)
{
    UNUSED(state);
    struct fixture f = set_up(0);
    struct event scheduled = make(&f, (struct told){1, 0, "SCHEDULED", ",\"next_scheduled_start_time\":\"2026-11-23T12:00:00Z\"", FLOW_RUN, NULL});
    struct event failed = make(&f, (struct told){1, 1, "FAILED", ",\"end_time\":\"2026-11-23T12:00:01Z\"", FLOW_RUN, NULL});
    struct event again = make(&f, (struct told){1, 2, "RUNNING", NULL, FLOW_RUN, NULL});
    add(&f, &scheduled, 1);
    assert_true(look(&f, 1).run.next_scheduled_start_time != TIME_NONE);
    add(&f, &failed, 1);
    struct look l = look(&f, 1);
    assert_true(l.run.next_scheduled_start_time == TIME_NONE && l.run.end_time != TIME_NONE);
    add(&f, &again, 1);
    assert_true(look(&f, 1).run.end_time == TIME_NONE);
    tear_down(&f);
}

/* What is no task run's, or cannot be read, stops nobody. */
static void test_passed_over(void **state)
{
    UNUSED(state);
    struct fixture f = set_up(0);
    struct event good = make(&f, life[0]), server = good, name = good, run = good, type = good, id = good, nul, field;
    server.resource = STR("{\"prefect.resource.id\":\"x\",\"prefect.orchestration\":\"server\"}");
    name.event = STR("prefect.flow-run.Running");
    run.payload = STR("{\"validated_state\":{\"type\":\"PENDING\"}}");
    type.payload = STR("{\"validated_state\":{\"type\":\"SLEEPING\"},\"task_run\":{\"task_key\":\"k\",\"dynamic_key\":\"d\"}}");
    id.resource_id = STR("prefect.task-run.none");
    struct event bad[] = {server, name, run, type, id};
    log_set_level(LOG_ERROR);
    add(&f, bad, COUNT_OF(bad));
    assert_int_equal(look(&f, 1).runs, 0);
    assert_int_equal(recorder_stats(f.r).malformed, 3);
    add(&f, NULL, 0);
    /* NUL characters in a message go; a field of the wrong type stays as it was */
    nul = make(&f, (struct told){5, 0, "FAILED", NULL, FLOW_RUN, ",\"message\":\"a\\u0000b\""});
    field = make(&f, (struct told){6, 0, "RUNNING", ",\"run_count\":\"many\",\"tags\":5,\"name\":\"n\"", FLOW_RUN, NULL});
    add(&f, &nul, 1);
    add(&f, &field, 1);
    struct look l = look(&f, 6);
    assert_true(l.found && l.run.run_count == 0 && str_eqz(l.run.tags, "[]") && str_eqz(l.run.name, "n"));
    assert_true(look(&f, 5).found);
    tear_down(&f);
}

/* A flow run that comes late is waited for; one that never comes is given up, and nobody waits for ever. */
static void test_flow_run_late(void **state)
{
    UNUSED(state);
    struct fixture f = set_up(0);
    struct answer a = {0};
    sem_init(&a.done, 0, 0);
    struct event late = make(&f, (struct told){1, 0, "PENDING", NULL, LATER_RUN, NULL});
    struct event there = make(&f, (struct told){2, 0, "PENDING", NULL, FLOW_RUN, NULL});
    struct event both[] = {late, there};
    recorder_add(f.r, both, 2, answered, &a);
    while (!look(&f, 2).found)
        usleep(1000);
    assert_false(look(&f, 1).found);
    assert_int_equal(sem_trywait(&a.done), -1);
    make_flow_run(&f, LATER_RUN);
    sem_wait(&a.done);
    assert_false(a.failed);
    assert_true(look(&f, 1).found);
    /* never */
    struct event never = make(&f, (struct told){3, 0, "PENDING", NULL, "22222222-0000-7000-8000-000000000009", NULL});
    Dur begun = time_monotonic();
    recorder_add(f.r, &never, 1, answered, &a);
    sem_wait(&a.done);
    assert_false(a.failed);
    assert_true(time_monotonic() - begun > 3 * SEC);
    assert_int_equal(recorder_stats(f.r).given_up, 1);
    assert_false(look(&f, 3).found);
    /* a stop does not wait the pauses out */
    recorder_add(f.r, &never, 1, answered, &a);
    begun = time_monotonic();
    tear_down(&f);
    sem_wait(&a.done);
    assert_true(time_monotonic() - begun < SEC);
}

/* Whatever statement fails: who waits hears of it, and the same events again make it whole. */
static void test_failures(void **state)
{
    UNUSED(state);
    struct fixture f = set_up(0);
    struct event events[3];
    for (int i = 0; i < 3; i++)
        events[i] = make(&f, life[i]);
    bool struck = true;
    int failed = 0;
    for (int n = 1; struck; n++) {
        struct answer a = {0};
        sem_init(&a.done, 0, 0);
        db_test_fail_at(f.ws.db, n);
        recorder_add(f.r, events, 3, answered, &a);
        sem_wait(&a.done);
        struck = db_test_fail_at(f.ws.db, 0) <= 0;
        assert_int_equal(a.failed, struck);
        failed += a.failed;
        sem_destroy(&a.done);
    }
    assert_true(failed >= 5);
    check_completed(&f);
    tear_down(&f);
}

/* A record that the database lets in under no circumstances keeps no other one out. */
static void test_bad_among_good(void **state)
{
    UNUSED(state);
    struct fixture f = set_up(0);
    run_sql(f.ws.db, "CREATE TRIGGER refuse BEFORE INSERT ON task_run WHEN NEW.name = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END");
    struct event events[] = {make(&f, (struct told){1, 0, "PENDING", ",\"name\":\"a\"", FLOW_RUN, NULL}),
                             make(&f, (struct told){2, 0, "PENDING", ",\"name\":\"bad\"", FLOW_RUN, NULL}),
                             make(&f, (struct told){3, 0, "PENDING", ",\"name\":\"b\"", FLOW_RUN, NULL})};
    log_set_level(LOG_ERROR);
    add(&f, events, 3);
    assert_true(look(&f, 1).found && look(&f, 3).found);
    assert_int_equal(look(&f, 2).runs, 2);
    assert_int_equal(look(&f, 2).states, 2);
    assert_int_equal(recorder_stats(f.r).given_up, 1);
    assert_int_equal(recorder_stats(f.r).recorded, 2);
    tear_down(&f);
}

/* More than one write's worth in one call. */
static void test_many(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        struct fixture f = set_up(postgres);
        enum { N = 1300 };
        struct event *events = arena_array(f.a, struct event, 2 * N);
        for (int i = 0; i < N; i++) {
            events[2 * i] = make(&f, (struct told){i + 1, 0, "PENDING", NULL, FLOW_RUN, NULL});
            events[2 * i + 1] = make(&f, (struct told){i + 1, 1, "RUNNING", NULL, FLOW_RUN, NULL});
        }
        add(&f, events, 2 * N);
        struct look l = look(&f, N);
        assert_int_equal(l.runs, N);
        assert_int_equal(l.states, 2 * N);
        assert_true(str_eqz(l.run.state_type, "RUNNING"));
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order), cmocka_unit_test(test_natural_key), cmocka_unit_test(test_passed_over), cmocka_unit_test(test_times_that_are_over),
        cmocka_unit_test(test_flow_run_late), cmocka_unit_test(test_failures), cmocka_unit_test(test_bad_among_good),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, set_up_databases, tear_down_databases);
}
