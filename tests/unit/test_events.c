#include "tests/unit/databases.h"

#include "base/limits.h"
#include "events/bus.h"
#include "events/event.h"
#include "events/filter.h"
#include "events/log.h"
#include "events/log_filter.h"
#include "events/store.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct db *open_telemetry(struct arena *a, int postgres)
{
    return open_database(a, postgres, "telemetry");
}

/* ---- the filter: one table of cases, asked as SQL and in memory ---- */

static const struct json *load_cases(struct arena *a)
{
    struct err err;
    FILE *f = fopen("tests/data/event-filters.json", "rb");
    assert_non_null(f);
    char *p = arena_alloc(a, (size_t)1 << 20);
    size_t n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    const struct json *v = json_parse(a, (Str){p, n}, &err);
    if (!v)
        fail_msg("%s", err.text);
    return v;
}

typedef VEC(struct event) EventList;

static EventList load_events(struct arena *a, const struct json *cases)
{
    EventList list = {0};
    const struct json *events = json_getz(cases, "events");
    for (size_t i = 0; i < events->array.n; i++) {
        struct event e;
        struct violations v = {.a = a, .prefix = STR("[")};
        event_parse(a, &events->array.items[i], &e, &v);
        assert_int_equal(v.list.n, 0);
        vec_push(a, &list, e);
    }
    return list;
}

struct filter_run {
    struct arena *a;
    const struct json *cases;
    EventList events;
    int wrong;
};

static int insert_work(struct conn *c, void *arg, struct err *err)
{
    struct filter_run *r = arg;
    bool *fresh = arena_array(r->a, bool, r->events.n);
    if (events_insert(c, r->events.v, r->events.n, 1, fresh, err) < 0)
        return -1;
    for (size_t i = 0; i < r->events.n; i++)
        assert_true(fresh[i]);
    return 0;
}

static Str numbers(struct arena *a, const int *ids, size_t n)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    for (size_t i = 0; i < n; i++)
        buf_fmt(&b, "%d ", ids[i]);
    return str_dup(a, buf_view(&b));
}

static int newest_first(const void *x, const void *y)
{
    return *(const int *)y - *(const int *)x;
}

static int filter_work(struct conn *c, void *arg, struct err *err)
{
    struct filter_run *r = arg;
    const struct json *list = json_getz(r->cases, "cases");
    Time now;
    assert_true(time_parse(STR("2026-11-23T12:01:00Z"), &now));
    for (size_t i = 0; i < list->array.n; i++) {
        const struct json *one = &list->array.items[i], *want = json_getz(one, "ids");
        Str name = json_get_str(one, STR("name"));
        struct event_filter f;
        struct violations v = {.a = r->a, .prefix = STR("[")};
        event_filter_parse(r->a, json_getz(one, "filter"), now, &f, &v);
        if (v.list.n)
            fail_msg("%.*s: %.*s", STR_ARG(name), STR_ARG(v.list.v[0].msg));
        int wanted[64], by_sql[64], in_memory[64];
        size_t n_wanted = 0, n_sql = 0, n_memory = 0;
        for (size_t k = 0; k < want->array.n; k++) {
            int64_t id;
            assert_true(json_int(&want->array.items[k], &id));
            wanted[n_wanted++] = (int)id;
        }
        AUTO(sql_free) struct sql q = sql_new(r->a, conn_kind(c));
        sql_z(&q, "SELECT ");
        sql_z(&q, event_columns);
        event_filter_from(&q, &f);
        sql_z(&q, f.ascending ? " ORDER BY event.occurred, event.id" : " ORDER BY event.occurred DESC, event.id DESC");
        AUTO(stmt_finish) struct stmt *rows = sql_query(c, &q, err);
        if (!rows)
            return err_wrap(err, "%.*s", STR_ARG(name));
        int rc;
        while ((rc = stmt_step(rows, err)) == 1) {
            struct event e;
            Time received;
            event_load(r->a, rows, 0, &e, &received);
            by_sql[n_sql++] = e.id.b[15];
        }
        if (rc < 0)
            return err_wrap(err, "%.*s", STR_ARG(name));
        for (size_t k = 0; k < r->events.n; k++)
            if (event_filter_match(&f, &r->events.v[k]))
                in_memory[n_memory++] = r->events.v[k].id.b[15];
        Str texts[3] = {numbers(r->a, wanted, n_wanted), numbers(r->a, by_sql, n_sql), STR_NONE};
        if (!str_eq(texts[0], texts[1])) {
            print_error("%.*s: wanted %.*s, SQL finds %.*s\n", STR_ARG(name), STR_ARG(texts[0]), STR_ARG(texts[1]));
            r->wrong++;
        }
        if (f.distinct) /* of a stream nobody can say what is newest */
            continue;
        qsort(wanted, n_wanted, sizeof *wanted, newest_first);
        qsort(in_memory, n_memory, sizeof *in_memory, newest_first);
        texts[0] = numbers(r->a, wanted, n_wanted);
        texts[2] = numbers(r->a, in_memory, n_memory);
        if (!str_eq(texts[0], texts[2])) {
            print_error("%.*s: wanted %.*s, in memory %.*s\n", STR_ARG(name), STR_ARG(texts[0]), STR_ARG(texts[2]));
            r->wrong++;
        }
    }
    return 0;
}

static void test_filter_cases(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct filter_run r = {.a = a, .cases = load_cases(a)};
        r.events = load_events(a, r.cases);
        struct err err;
        struct db *db = open_telemetry(a, postgres);
        if (db_write_wait(db, insert_work, &r, &err) < 0 || db_read_wait(db, filter_work, &r, &err) < 0)
            fail_msg("%s", err.text);
        db_close(db);
        assert_int_equal(r.wrong, 0);
    }
}

static void test_filter_refused(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {
        "5",
        "{\"bad\": 1}",
        "{\"order\": \"UP\"}",
        "{\"order\": null}",
        "{\"occurred\": null}",
        "{\"occurred\": {\"since\": \"yesterday\"}}",
        "{\"occurred\": {\"from\": \"2026-11-23T12:00:00Z\"}}",
        "{\"id\": null}",
        "{\"id\": {\"id\": [\"x\"]}}",
        "{\"id\": {\"ids\": []}}",
        "{\"event\": 5}",
        "{\"event\": []}",
        "{\"event\": {\"prefix\": \"x\"}}",
        "{\"event\": {\"prefix\": [1]}}",
        "{\"event\": {\"suffix\": [\"x\"]}}",
        "{\"resource\": {\"role\": [\"x\"]}}",
        "{\"resource\": {\"labels\": {\"a\": 1}}}",
        "{\"resource\": {\"labels\": {\"a\": null}}}",
        "{\"resource\": {\"labels\": [\"a\"]}}",
        "{\"resource\": {\"distinct\": 1}}",
        "{\"resource\": [{}]}",
        "{\"related\": 5}",
        "{\"related\": [5]}",
        "{\"related\": {\"id_prefix\": [\"x\"]}}",
        "{\"related\": {\"resources_in_roles\": [[\"a\"]]}}",
        "{\"related\": {\"resources_in_roles\": {}}}",
        "{\"any_resource\": {\"role\": [\"x\"]}}",
        "{\"text\": {}}",
        "{\"text\": {\"query\": 5}}",
        "{\"text\": {\"query\": \"a\\u0000b\"}}",
        "{\"text\": {\"query\": \"a\", \"x\": 1}}",
        "{\"resource\": {\"id\": [\"a\\u0000b\"]}}",
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err;
        struct event_filter f;
        struct violations v = {.a = a, .prefix = STR("[\"body\"")};
        const struct json *object = json_parse(a, str_of(bad[i]), &err);
        assert_non_null(object);
        event_filter_parse(a, object, 0, &f, &v);
        if (!v.list.n)
            fail_msg("taken: %s", bad[i]);
        for (size_t k = 0; k < v.list.n; k++)
            assert_non_null(json_parse(a, v.list.v[k].loc, &err));
    }
    /* a filter of too many values is refused, not built */
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    buf_z(&b, "{\"event\": {\"name\": [\"x\"");
    for (int i = 0; i < LIMIT_FILTER_TERMS; i++)
        buf_z(&b, ",\"x\"");
    buf_z(&b, "]}}");
    struct err err;
    struct event_filter f;
    struct violations v = {.a = a, .prefix = STR("[\"body\"")};
    event_filter_parse(a, json_parse(a, buf_view(&b), &err), 0, &f, &v);
    assert_int_equal(v.list.n, 1);
}

static void test_filter_text(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    struct event_filter f, again;
    struct violations v = {.a = a, .prefix = STR("[")};
    Time now = 1795435200 * SEC;
    const struct json *object = json_parse(a, STR("{\"event\": {\"prefix\": [\"a.\"]}, \"order\": \"ASC\"}"), &err);
    event_filter_parse(a, object, now, &f, &v);
    Str text = event_filter_text(a, &f, object);
    event_filter_parse(a, json_parse(a, text, &err), now + HOUR, &again, &v);
    assert_int_equal(v.list.n, 0);
    assert_true(again.since == f.since && again.until == now && again.ascending && again.groups.n == 1);
    assert_true(f.since % DAY == 0 && now - f.since >= 180 * DAY && now - f.since < 181 * DAY);
}

/* ---- events in and out ---- */

static const struct json *parse(struct arena *a, const char *text)
{
    struct err err;
    const struct json *v = json_parse(a, str_of(text), &err);
    if (!v)
        fail_msg("%s: %s", text, err.text);
    return v;
}

#define ID "\"id\":\"00000000-0000-7000-8000-000000000001\""
#define GOOD "{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\"}," ID

static void test_event_parse(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text, *problem; /* NULL: fine */
    } cases[] = {
        {GOOD "}", NULL},
        {GOOD ",\"unknown\":5,\"follows\":null,\"payload\":{\"a\":[1]},\"related\":[]}", NULL},
        {GOOD ",\"payload\":null}", "must be an object"},
        {GOOD ",\"related\":null}", "must be a list"},
        {GOOD ",\"related\":[{\"prefect.resource.id\":\"x\"}]}", "prefect.resource.role"},
        {GOOD ",\"related\":[{\"prefect.resource.role\":\"x\"}]}", "prefect.resource.id"},
        {GOOD ",\"related\":[5]}", "must be an object of labels"},
        {GOOD ",\"follows\":5}", "must be a UUID"},
        {"{\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\"}," ID "}", "is required"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"resource\":{\"prefect.resource.id\":\"r\"}," ID "}", "is required"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\"," ID "}", "is required"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\"}}", "is required"},
        {"{\"occurred\":\"x\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\"}," ID "}", "date and time"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":5,\"resource\":{\"prefect.resource.id\":\"r\"}," ID "}", "must be a string"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"\"}," ID "}", "not be empty"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\",\"n\":5}," ID "}", "must be a string"},
        {"{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r\"},\"id\":\"1\"}", "must be a UUID"},
        {"[]", "must be an object"},
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct event e;
        struct violations v = {.a = a, .prefix = STR("[\"body\"")};
        event_parse(a, parse(a, cases[i].text), &e, &v);
        if (!cases[i].problem != !v.list.n)
            fail_msg("%s: %.*s", cases[i].text, STR_ARG(v.list.n ? v.list.v[0].msg : STR("taken")));
        if (v.list.n && str_find(v.list.v[0].msg, str_of(cases[i].problem)) < 0)
            fail_msg("%s: %.*s", cases[i].text, STR_ARG(v.list.v[0].msg));
    }
    /* labels lose NUL characters and doubles; what is plain is kept as it came */
    struct event e;
    struct violations v = {.a = a, .prefix = STR("[")};
    event_parse(a,
                parse(a, "{\"occurred\":\"2026-11-23T12:00:00Z\",\"event\":\"\",\"resource\":{\"prefect.resource.id\":\"r\\u0000s\","
                         "\"k\":\"1\",\"k\":\"2\"},\"related\":[ {\"prefect.resource.id\":\"x\", \"prefect.resource.role\":\"y\"} ]," ID "}"),
                &e, &v);
    assert_int_equal(v.list.n, 0);
    assert_true(str_eqz(e.resource_id, "rs"));
    assert_true(str_eqz(e.resource, "{\"prefect.resource.id\":\"rs\",\"k\":\"2\"}"));
    assert_true(str_eqz(e.related, "[ {\"prefect.resource.id\":\"x\", \"prefect.resource.role\":\"y\"} ]"));
    assert_true(e.event.p && !e.event.n);
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    event_print(&w, &e, e.occurred + SEC);
    const struct json *out = parse(a, str_z(a, buf_view(&b)));
    assert_true(str_eqz(json_get_str(out, STR("received")), "2026-11-23T12:00:01Z"));
    assert_true(json_is_null(json_getz(out, "follows")) && json_getz(out, "follows"));
    assert_int_equal(out->object.n, 8);
}

/* Caps: labels of a resource, related resources, the name. */
static void test_event_caps(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    for (int over = 0; over <= 1; over++) {
        AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
        buf_z(&b, "{\"occurred\":\"2026-11-23T12:00:00Z\"," ID ",\"event\":\"");
        for (int i = 0; i < EVENT_NAME_MAX + over; i++)
            buf_z(&b, "é");
        buf_z(&b, "\",\"resource\":{\"prefect.resource.id\":\"r\"");
        for (int i = 1; i < EVENT_LABELS_MAX + over; i++)
            buf_fmt(&b, ",\"l%d\":\"v\"", i);
        buf_z(&b, "},\"related\":[");
        for (int i = 0; i < EVENT_RELATED_MAX + over; i++)
            buf_fmt(&b, "%s{\"prefect.resource.id\":\"r%d\",\"prefect.resource.role\":\"x\"}", i ? "," : "", i);
        buf_z(&b, "]}");
        struct event e;
        struct violations v = {.a = a, .prefix = STR("[")};
        event_parse(a, parse(a, str_z(a, buf_view(&b))), &e, &v);
        assert_int_equal(v.list.n, over ? 3 : 0);
    }
}

/* ---- the filter of live logs ---- */

static void test_log_filter(void **state)
{
    UNUSED(state);
#define FLOW "00000000-0000-7000-8000-00000000000a"
#define TASK "00000000-0000-7000-8000-00000000000b"
    static const struct {
        const char *filter;
        int fits; /* -1: refused */
    } cases[] = {
        {"null", 1},
        {"{}", 1},
        {"{\"level\":{\"ge_\":20}}", 1},
        {"{\"level\":{\"ge_\":21}}", 0},
        {"{\"level\":{\"le_\":20,\"ge_\":10}}", 1},
        {"{\"level\":{\"le_\":19}}", 0},
        {"{\"level\":{}}", 1},
        {"{\"timestamp\":{\"after_\":\"2026-11-23T12:00:00Z\"}}", 1},
        {"{\"timestamp\":{\"after_\":\"2026-11-23T12:00:01Z\"}}", 0},
        {"{\"timestamp\":{\"before_\":\"2026-11-23T12:00:00Z\"}}", 1},
        {"{\"flow_run_id\":{\"any_\":[\"" FLOW "\"]}}", 1},
        {"{\"flow_run_id\":{\"any_\":[\"" TASK "\"]}}", 0},
        {"{\"flow_run_id\":{\"any_\":[]}}", 0},
        {"{\"flow_run_id\":{\"any_\":null}}", 1},
        {"{\"task_run_id\":{\"is_null_\":true}}", 1},
        {"{\"task_run_id\":{\"is_null_\":false}}", 0},
        {"{\"task_run_id\":{\"any_\":[\"" TASK "\"]}}", 0},
        {"{\"text\":{\"query\":\"LOST -debug\"}}", 1},
        {"{\"text\":{\"query\":\"logger\"}}", 1},
        {"{\"text\":{\"query\":\"+lost +debug\"}}", 0},
        {"{\"operator\":\"or_\",\"level\":{\"ge_\":50},\"text\":{\"query\":\"lost\"}}", 1},
        {"{\"operator\":\"or_\",\"level\":{\"ge_\":50},\"text\":{\"query\":\"found\"}}", 0},
        {"{\"operator\":\"and_\",\"level\":{\"ge_\":50},\"text\":{\"query\":\"lost\"}}", 0},
        {"{\"operator\":\"or_\"}", 1},
        {"{\"operator\":\"xor\"}", -1},
        {"{\"level\":{\"gt_\":1}}", -1},
        {"{\"level\":{\"ge_\":\"x\"}}", -1},
        {"{\"level\":5}", -1},
        {"{\"levels\":{}}", -1},
        {"{\"flow_run_id\":{\"any_\":[\"x\"]}}", -1},
        {"{\"flow_run_id\":{\"any_\":\"x\"}}", -1},
        {"{\"task_run_id\":{\"is_null_\":1}}", -1},
        {"{\"timestamp\":{\"after_\":\"x\"}}", -1},
        {"{\"text\":{}}", -1},
        {"[]", -1},
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    struct log l;
    record_init(&log_resource, &l);
    l.id = uuid_v7();
    l.name = STR("my.logger");
    l.message = STR("Connection lost");
    l.level = 20;
    assert_true(time_parse(STR("2026-11-23T12:00:00Z"), &l.timestamp));
    assert_true(uuid_parse(STR(FLOW), &l.flow_run_id));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct violations v = {.a = a, .prefix = STR("[")};
        struct log_filter *f = log_filter_parse(a, parse(a, cases[i].filter), &v);
        int got = v.list.n ? -1 : log_filter_match(f, &l);
        if (got != cases[i].fits)
            fail_msg("%s: %d", cases[i].filter, got);
    }
    Time now = time_now();
    assert_true(log_created(&l) <= now && log_created(&l) > now - MINUTE);
}

/* ---- the bus ---- */

struct listener {
    int64_t got[2000];
    atomic_int n;
    sem_t gate; /* the first delivery waits for it */
    bool gated;
    bool only_even;
    struct subscription *sub;
    int leave_after;
    int lost, lost_after;
};

static bool wants(void *user, const struct message *m)
{
    struct listener *l = user;
    return !l->only_even || m->when % 2 == 0;
}

static void deliver(void *user, const struct message *m)
{
    struct listener *l = user;
    if (l->gated && l->n == 0)
        sem_wait(&l->gate);
    l->got[l->n++] = m->when;
    if (l->leave_after && l->n == l->leave_after)
        bus_unsubscribe(TAKE(l->sub));
}

static void lost(void *user)
{
    struct listener *l = user;
    l->lost++;
    l->lost_after = l->n;
}

static void flag(void *arg)
{
    sem_post(arg);
}

static void settle(struct loop *loop)
{
    sem_t s;
    sem_init(&s, 0, 0);
    for (int i = 0; i < 2; i++) {
        loop_post(loop, flag, &s);
        sem_wait(&s);
    }
    sem_destroy(&s);
}

static void leave(void *arg)
{
    struct listener *l = arg;
    if (l->sub)
        bus_unsubscribe(TAKE(l->sub));
}

static void listen_to(struct bus *b, struct loop *loop, struct listener *l, unsigned topics)
{
    sem_init(&l->gate, 0, 0);
    struct subscriber s = {topics, wants, deliver, lost, l};
    l->sub = bus_subscribe(b, loop, &s);
}

static void test_bus(void **state)
{
    UNUSED(state);
    struct err err;
    struct loop *loop = loop_start("test", &err);
    assert_non_null(loop);
    struct bus *b = bus_create();
    static struct listener all, even, other, leaver;
    all = even = other = leaver = (struct listener){0};
    assert_false(bus_has(b, TOPIC_EVENT));
    listen_to(b, loop, &all, TOPIC_BIT(TOPIC_EVENT));
    even.only_even = true;
    listen_to(b, loop, &even, TOPIC_BIT(TOPIC_EVENT) | TOPIC_BIT(TOPIC_LOG));
    listen_to(b, loop, &other, TOPIC_BIT(TOPIC_POOL_DUE));
    leaver.leave_after = 10;
    listen_to(b, loop, &leaver, TOPIC_BIT(TOPIC_EVENT));
    assert_true(bus_has(b, TOPIC_EVENT) && bus_has(b, TOPIC_POOL_DUE) && !bus_has(b, TOPIC_POOL_CHANGED));
    for (int i = 0; i < 1000; i++) {
        struct message m = {.topic = TOPIC_EVENT, .when = i, .text = STR("{}")};
        bus_publish(b, &m);
        if (i % 100 == 0)
            settle(loop);
    }
    settle(loop);
    assert_int_equal(all.n, 1000);
    assert_int_equal(even.n, 500);
    assert_int_equal(other.n, 0);
    assert_int_equal(leaver.n, 10);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(all.got[i], i);
    for (int i = 0; i < 500; i++)
        assert_int_equal(even.got[i], 2 * i);
    assert_int_equal(bus_dropped(b), 0);
    struct listener *listeners[] = {&all, &even, &other, &leaver};
    for (size_t i = 0; i < COUNT_OF(listeners); i++)
        loop_post(loop, leave, listeners[i]);
    settle(loop);
    assert_false(bus_has(b, TOPIC_EVENT));
    loop_stop(loop);
    bus_free(b);
}

/* One that is behind loses what comes past its queue, not what it does not want, and holds nobody up. */
static void test_bus_behind(void **state)
{
    UNUSED(state);
    struct err err;
    struct loop *slow_loop = loop_start("slow", &err), *loop = loop_start("test", &err);
    struct bus *b = bus_create();
    static struct listener slow, picky, quick;
    slow = picky = quick = (struct listener){0};
    slow.gated = true;
    listen_to(b, slow_loop, &slow, TOPIC_BIT(TOPIC_EVENT));
    picky.only_even = true;
    listen_to(b, slow_loop, &picky, TOPIC_BIT(TOPIC_EVENT));
    listen_to(b, loop, &quick, TOPIC_BIT(TOPIC_EVENT));
    int sent = LIMIT_SUBSCRIBER_QUEUE + 100;
    for (int i = 0; i < sent; i++) {
        struct message m = {.topic = TOPIC_EVENT, .when = i, .text = STR("{}")};
        bus_publish(b, &m);
        settle(loop);
    }
    assert_int_equal(quick.n, sent);
    sem_post(&slow.gate);
    settle(slow_loop);
    /* one was in its hands when the queue filled up, unless the loop had not come to it yet */
    assert_in_range(slow.n, LIMIT_SUBSCRIBER_QUEUE, LIMIT_SUBSCRIBER_QUEUE + 1);
    assert_int_equal(picky.n, sent / 2);
    assert_int_equal(bus_dropped(b), sent - slow.n);
    for (int i = 0; i < slow.n; i++)
        assert_int_equal(slow.got[i], i);
    assert_int_equal(slow.lost, 1);
    assert_int_equal(slow.lost_after, slow.n);
    assert_int_equal(quick.lost + picky.lost, 0);
    struct message after = {.topic = TOPIC_EVENT, .when = -1, .text = STR("{}")};
    int before = slow.n;
    bus_publish(b, &after);
    settle(slow_loop);
    assert_int_equal(slow.n, before + 1);
    loop_post(slow_loop, leave, &slow);
    loop_post(slow_loop, leave, &picky);
    loop_post(loop, leave, &quick);
    settle(slow_loop);
    settle(loop);
    loop_stop(slow_loop);
    loop_stop(loop);
    bus_free(b);
}

/* ---- the store ---- */

struct answer {
    sem_t done;
    struct err err;
    bool failed;
};

static void answered(void *arg, const struct err *err)
{
    struct answer *a = arg;
    a->failed = err != NULL;
    if (err)
        a->err = *err;
    sem_post(&a->done);
}

static int count_work(struct conn *c, void *arg, struct err *err)
{
    return db_get_int(c, err, arg, "SELECT count(*) FROM event", "") == 1 ? 0 : -1;
}

static int64_t count_events(struct db *db)
{
    struct err err;
    int64_t n = -1;
    if (db_read_wait(db, count_work, &n, &err) < 0)
        fail_msg("%s", err.text);
    return n;
}

static struct event make_event(struct arena *a, int i)
{
    return (struct event){.id = uuid_v7(),
                          .occurred = time_now(),
                          .event = STR("prefect.flow-run.Running"),
                          .resource_id = str_fmt(a, "prefect.flow-run.%d", i),
                          .resource = str_fmt(a, "{\"prefect.resource.id\":\"prefect.flow-run.%d\"}", i),
                          .related = STR("[]"),
                          .payload = STR("{}")};
}

static void test_store(void **state)
{
    UNUSED(state);
    EACH_DATABASE(postgres)
    {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        struct loop *loop = loop_start("test", &err);
        struct bus *b = bus_create();
        struct db *db = open_telemetry(a, postgres);
        struct event_store *s = event_store_create(db, b, &err);
        static struct listener heard;
        heard = (struct listener){0};
        listen_to(b, loop, &heard, TOPIC_BIT(TOPIC_EVENT));
        struct event list[100];
        for (int i = 0; i < 100; i++)
            list[i] = make_event(a, i);
        struct answer answer = {0};
        sem_init(&answer.done, 0, 0);
        /* one by one, all at once, and again: each is stored and told once */
        for (int i = 0; i < 50; i++)
            event_store_add(s, &list[i], 1, NULL, NULL);
        event_store_add(s, list, 100, answered, &answer);
        sem_wait(&answer.done);
        assert_false(answer.failed);
        assert_int_equal(count_events(db), 100);
        event_store_add(s, list, 100, answered, &answer);
        sem_wait(&answer.done);
        assert_int_equal(count_events(db), 100);
        event_store_add(s, NULL, 0, answered, &answer);
        sem_wait(&answer.done);
        assert_false(answer.failed);
        settle(loop);
        assert_int_equal(heard.n, 100);
        struct event_store_stats stats = event_store_stats(s);
        assert_int_equal(stats.stored, 100);
        assert_int_equal(stats.doubles, 150);
        event_store_free(s);
        loop_post(loop, leave, &heard);
        settle(loop);
        loop_stop(loop);
        db_close(db);
        bus_free(b);
    }
}

/* Whatever statement fails: what a client waits for is answered with the error, what is the server's own is kept and
 * comes through in the end. */
static void test_store_failures(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    struct bus *b = bus_create();
    struct db *db = open_telemetry(a, false);
    struct event_store *s = event_store_create(db, b, &err);
    int64_t stored = 0;
    bool struck = true;
    for (int n = 1; struck; n++) {
        struct event own = make_event(a, n), asked = make_event(a, n + 1000);
        struct answer answer = {0};
        sem_init(&answer.done, 0, 0);
        db_test_fail_at(db, n);
        event_store_add(s, &own, 1, NULL, NULL);
        event_store_add(s, &asked, 1, answered, &answer);
        sem_wait(&answer.done);
        while (event_store_stats(s).waiting)
            usleep(1000);
        struck = db_test_fail_at(db, 0) <= 0;
        stored += 1 + !answer.failed;
        assert_int_equal(count_events(db), stored);
        sem_destroy(&answer.done);
    }
    struct event_store_stats stats = event_store_stats(s);
    assert_true(stats.failures > 0 && stats.lost == 0);
    event_store_free(s);
    db_close(db);
    bus_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_cases),  cmocka_unit_test(test_filter_refused), cmocka_unit_test(test_filter_text),
        cmocka_unit_test(test_event_parse),   cmocka_unit_test(test_event_caps),     cmocka_unit_test(test_log_filter),
        cmocka_unit_test(test_bus),           cmocka_unit_test(test_bus_behind),     cmocka_unit_test(test_store),
        cmocka_unit_test(test_store_failures),
    };
    return cmocka_run_group_tests(tests, set_up_databases, tear_down_databases);
}
