#include "tests/unit/databases.h"

#include "events/event.h"
#include "events/log.h"
#include "events/store.h"
#include "services/upkeep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct arena *a;
    struct workspace ws;
    struct bus *bus;
};

static struct fixture set_up(int postgres)
{
    struct err err;
    struct fixture f = {.a = arena_create(), .bus = bus_create()};
    f.ws.db = open_database(f.a, postgres, "main");
    f.ws.telemetry = open_database(f.a, postgres, "telemetry");
    f.ws.bus = f.bus;
    f.ws.orchestration = orchestration_defaults;
    f.ws.events = event_store_create(f.ws.telemetry, f.bus, &err);
    assert_non_null(f.ws.events);
    return f;
}

static void tear_down(struct fixture *f)
{
    db_close(f->ws.db);
    event_store_free(f->ws.events);
    db_close(f->ws.telemetry);
    bus_free(f->bus);
    arena_free(f->a);
}

/* ---- events told again ---- */

/* A run of a tagged flow goes through its states; what each write tells is kept and not stored. */
struct lived {
    struct fixture *f;
    Uuid run;
    VEC(struct event) told;
};

static int make_run(struct conn *c, void *arg, struct err *err)
{
    struct lived *l = arg;
    struct arena *a = l->f->a;
    struct flow flow;
    struct flow_run run;
    record_init(&flow_resource, &flow);
    record_init(&flow_run_resource, &run);
    flow.id = uuid_v7();
    flow.created = flow.updated = run.created = run.updated = time_now();
    flow.name = str_fmt(a, "flow-%s", uuid_text(flow.id).s);
    flow.tags = STR("[\"of flow\"]");
    run.id = l->run = uuid_v7();
    run.flow_id = flow.id;
    run.name = STR("a \"run\"");
    run.tags = STR("[\"blue\", \"red\"]");
    run.parameters = run.context = run.empirical_policy = STR("{}");
    run.run_count = run.total_run_time = run.auto_scheduled = 0;
    return record_insert(c, &flow_resource, &flow, "", err) < 0 || record_insert(c, &flow_run_resource, &run, "", err) < 0 ? -1 : 0;
}

struct entering {
    struct lived *l;
    enum state_type type;
    Str message;
};

static int enter_state(struct conn *c, void *arg, struct err *err)
{
    struct entering *e = arg;
    struct arena *a = e->l->f->a;
    struct outbox out;
    struct flow_run run;
    struct verdict_result verdict;
    outbox_init(&out, a);
    struct orchestration o = {.conn = c, .a = a, .now = time_now(), .policy = POLICY_MINIMAL, .force = true, .out = &out};
    struct state s = state_new(e->type, STR_NONE, e->message, o.now);
    if (record_lock(c, a, &flow_run_resource, e->l->run, &run, err) != 1 || orchestrate_flow_run(&o, &run, &s, &verdict, err) < 0)
        return -1;
    for (size_t i = 0; i < out.events.n; i++)
        vec_push(a, &e->l->told, out.events.v[i]);
    return 0;
}

static void enter(struct lived *l, enum state_type type, Str message)
{
    struct err err;
    struct entering e = {l, type, message};
    if (db_write_wait(l->f->ws.db, enter_state, &e, &err) < 0)
        fail_msg("%s", err.text);
    usleep(2000); /* states of different instants, of different ids' ms */
}

struct stored {
    struct fixture *f;
    VEC(struct event) events;
};

static int read_stored(struct conn *c, void *arg, struct err *err)
{
    struct stored *s = arg;
    s->events.n = 0;
    AUTO(sql_free) struct sql q = sql_new(s->f->a, conn_kind(c));
    sql_z(&q, "SELECT ");
    sql_z(&q, event_columns);
    sql_z(&q, " FROM event ORDER BY event.occurred");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &q, err);
    int rc;
    while (rows && (rc = stmt_step(rows, err)) == 1) {
        struct event e;
        Time received;
        event_load(s->f->a, rows, 0, &e, &received);
        vec_push(s->f->a, &s->events, e);
    }
    return rows ? rc : -1;
}

static struct stored stored(struct fixture *f)
{
    struct err err;
    struct stored s = {.f = f};
    while (event_store_stats(f->ws.events).waiting)
        usleep(1000);
    if (db_read_wait(f->ws.telemetry, read_stored, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static size_t tell_again(struct fixture *f)
{
    struct err err;
    size_t told = 0;
    if (upkeep_tell_again(&f->ws, time_now() + SEC, NULL, &told, &err) < 0)
        fail_msg("%s", err.text);
    return told;
}

static void same_text(Str x, Str y)
{
    if (!str_eq(x, y))
        fail_msg("%.*s\n    is not\n%.*s", STR_ARG(x), STR_ARG(y));
}

static void test_told_again(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        struct err err;
        struct fixture f = set_up(postgres);
        struct lived l = {.f = &f};
        assert_int_equal(db_write_wait(f.ws.db, make_run, &l, &err), 0);
        enter(&l, STATE_PENDING, STR_NONE);
        enter(&l, STATE_RUNNING, STR_NONE);
        enter(&l, STATE_FAILED, STR("it \"broke\""));
        enter(&l, STATE_RUNNING, STR_NONE);
        enter(&l, STATE_COMPLETED, STR("well"));
        assert_int_equal(l.told.n, 5);
        /* one of them got through before the crash */
        event_store_add(f.ws.events, &l.told.v[1], 1, NULL, NULL);
        assert_int_equal(stored(&f).events.n, 1);
        assert_int_equal(tell_again(&f), 4);
        struct stored s = stored(&f);
        assert_int_equal(s.events.n, 5);
        for (size_t i = 0; i < 5; i++) {
            const struct event *was = &l.told.v[i], *is = &s.events.v[i];
            assert_true(uuid_eq(was->id, is->id) && uuid_eq(was->follows, is->follows) && was->occurred == is->occurred);
            same_text(is->event, was->event);
            same_text(is->resource_id, was->resource_id);
            same_text(is->resource, was->resource);
            same_text(is->related, was->related);
            same_text(is->payload, was->payload);
        }
        /* now the mark stands behind them: nothing is told twice */
        assert_int_equal(tell_again(&f), 0);
        assert_int_equal(event_store_stats(f.ws.events).doubles, 0);
        tear_down(&f);
    }
}

/* More than one step's worth, and states older than the mark are left alone. */
static int many_runs(struct conn *c, void *arg, struct err *err)
{
    struct lived *l = arg;
    for (int i = 0; i < 600; i++) {
        struct entering e = {l, STATE_PENDING, STR_NONE};
        if (make_run(c, l, err) < 0 || enter_state(c, &e, err) < 0)
            return -1;
    }
    return 0;
}

static void test_told_in_steps(void **state)
{
    UNUSED(state);
    struct err err;
    struct fixture f = set_up(0);
    struct lived l = {.f = &f};
    assert_int_equal(db_write_wait(f.ws.db, many_runs, &l, &err), 0);
    assert_int_equal(tell_again(&f), 600);
    assert_int_equal(stored(&f).events.n, 600);
    tear_down(&f);
}

/* ---- the end of what is old ---- */

struct aging {
    struct fixture *f;
    Time now;
    struct retention keep;
    int64_t max;
    bool more;
    int64_t events, logs;
};

static int fill(struct conn *c, void *arg, struct err *err)
{
    struct aging *g = arg;
    for (int i = 0; i < 10; i++) { /* one a day, back from today */
        Time at = g->now - i * DAY;
        struct event e = {.id = uuid_v4(), .occurred = at, .event = STR("e"), .resource_id = STR("r"), .resource = STR("{}"), .related = STR("[]"), .payload = STR("{}")};
        struct log l;
        bool fresh;
        record_init(&log_resource, &l);
        l.id = uuid_v7();
        for (int k = 5, ms = 0; k >= 0; k--, ms += 8) /* as if it had come then */
            l.id.b[k] = (uint8_t)((uint64_t)(at / MSEC) >> ms);
        l.name = l.message = STR("x");
        l.level = 20;
        l.timestamp = at;
        if (events_insert(c, &e, 1, at, &fresh, err) < 0 || logs_insert(c, &l, 1, err) < 0)
            return -1;
    }
    return 0;
}

static int expire(struct conn *c, void *arg, struct err *err)
{
    struct aging *g = arg;
    return retention_step(c, &g->keep, g->now, g->max, &g->more, err) < 0 ||
                   db_get_int(c, err, &g->events, "SELECT count(*) FROM event", "") < 0 ||
                   db_get_int(c, err, &g->logs, "SELECT count(*) FROM log", "") < 0
               ? -1
               : 0;
}

static void test_retention(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        struct err err;
        struct fixture f = set_up(postgres);
        struct aging g = {.f = &f, .now = time_now(), .max = 100};
        assert_int_equal(db_write_wait(f.ws.telemetry, fill, &g, &err), 0);
        const struct {
            Dur events, logs;
            int64_t max, left_events, left_logs;
            bool more;
        } steps[] = {
            {0, 0, 100, 10, 10, false},
            {20 * DAY, 20 * DAY, 100, 10, 10, false},
            {7 * DAY + HOUR, 9 * DAY - HOUR, 1, 9, 9, true}, /* the oldest of each */
            {7 * DAY + HOUR, 9 * DAY - HOUR, 2, 8, 9, false},
            {2 * DAY - HOUR, 0, 100, 2, 9, false},
            {1, 1, 100, 1, 1, false}, /* that of now */
        };
        for (size_t i = 0; i < COUNT_OF(steps); i++) {
            g.keep = (struct retention){steps[i].events, steps[i].logs};
            g.max = steps[i].max;
            if (db_write_wait(f.ws.telemetry, expire, &g, &err) < 0)
                fail_msg("%s", err.text);
            if (g.events != steps[i].left_events || g.logs != steps[i].left_logs || g.more != steps[i].more)
                fail_msg("step %zu: %lld events, %lld logs, more %d", i, (long long)g.events, (long long)g.logs, g.more);
        }
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_again),
        cmocka_unit_test(test_told_in_steps),
        cmocka_unit_test(test_retention),
    };
    return cmocka_run_group_tests(tests, set_up_databases, tear_down_databases);
}
