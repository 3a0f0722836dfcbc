/* [filter, event]: a filter of any shape and an event of any shape: what SQL says of the stored event, the match in
 * memory says too. */
#include "assets/assets.h"
#include "events/event.h"
#include "events/filter.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_event_filter: " #x);                                                                   \
    } while (0)

struct asked {
    struct arena *a;
    const struct event *e;
    const struct event_filter *f;
    int64_t found;
};

static int ask(struct conn *c, void *arg, struct err *err)
{
    struct asked *q = arg;
    bool fresh;
    if (db_exec(c, err, "DELETE FROM event", "") < 0 || events_insert(c, q->e, 1, 0, &fresh, err) < 0)
        return -1;
    CHECK(fresh);
    AUTO(sql_free) struct sql sql = sql_new(q->a, conn_kind(c));
    sql_z(&sql, "SELECT count(*)");
    event_filter_from(&sql, q->f);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &sql, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    q->found = stmt_int(rows, 0);
    return 0;
}

static struct db *memory_db(void)
{
    static struct db *db; /* one for all inputs */
    if (db)
        return db;
    struct err err;
    struct db_options o = {.url = STR("sqlite::memory:")};
    AUTO(arena_freep) struct arena *a = arena_create();
    o.migrations = asset_migrations(a, "telemetry", &o.migration_count);
    db = db_open(&o, &err);
    CHECK(db);
    return db;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, (Str){(const char *)p, n}, &err);
    if (!json_is(v, JSON_ARRAY) || v->array.n != 2)
        return 0;
    struct event e;
    struct event_filter f, again;
    struct violations bad_filter = {.a = a, .prefix = STR("[\"body\"")}, bad_event = bad_filter, bad_again = bad_filter;
    event_filter_parse(a, &v->array.items[0], 1800000000 * SEC, &f, &bad_filter);
    event_parse(a, &v->array.items[1], &e, &bad_event);
    for (size_t i = 0; i < bad_filter.list.n; i++)
        CHECK(json_parse(a, bad_filter.list.v[i].loc, &err));
    for (size_t i = 0; i < bad_event.list.n; i++)
        CHECK(json_parse(a, bad_event.list.v[i].loc, &err));
    if (bad_filter.list.n || bad_event.list.n)
        return 0;
    CHECK(json_parse(a, e.resource, &err) && json_parse(a, e.related, &err) && json_parse(a, e.payload, &err));
    bool fits = event_filter_match(&f, &e);
    /* The text that pages go on with asks the same. */
    const struct json *text = json_parse(a, event_filter_text(a, &f, &v->array.items[0]), &err);
    CHECK(text);
    event_filter_parse(a, text, 0, &again, &bad_again);
    CHECK(!bad_again.list.n && event_filter_match(&again, &e) == fits);
    struct asked q = {.a = a, .e = &e, .f = &f};
    if (db_write_wait(memory_db(), ask, &q, &err) < 0)
        CHECK(err.code == ERR_UNPROCESSABLE); /* too large a statement */
    else
        CHECK(q.found == fits);
    return 0;
}
