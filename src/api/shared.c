/* What several handlers share. */
#include "api/handlers.h"

#include "base/limits.h"

#include <sodium.h>
#include <string.h>

void event_resource_changed(struct call *c, const char *kind, const char *what, Uuid id, Str name, Str payload)
{
    struct event e = {.id = uuid_v7(), .occurred = c->now};
    e.event = str_fmt(c->a, "prefect.%s.%s", kind, what);
    e.resource_id = str_fmt(c->a, "prefect.%s.%s", kind, uuid_text(id).s);
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "prefect.resource.id", e.resource_id);
    if (name.p)
        jw_kstr(&w, "prefect.resource.name", name);
    jw_end(&w);
    e.resource = str_dup(c->a, buf_view(&b));
    e.related = STR("[]");
    e.payload = payload.p ? payload : STR("{}");
    vec_push(c->a, &c->outbox.events, e);
}

int bulk_delete(struct call *c, const struct listing *l, int (*one)(struct call *c, Uuid id, struct err *err), struct err *err)
{
    int64_t limit = call_int(c, "limit", 50, 1, 50);
    VEC(Uuid) ids = {0};
    {
        AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
        buf_fmt(&q.text, "SELECT %s.id FROM %s", l->resource->table, l->resource->table);
        listing_where(&q, l, c->body, &c->violations);
        buf_fmt(&q.text, " ORDER BY %s.id LIMIT ", l->resource->table);
        sql_int(&q, limit);
        if (call_invalid(c, err) < 0)
            return -1;
        AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
        if (!rows)
            return -1;
        int rc;
        while ((rc = stmt_step(rows, err)) == 1)
            vec_push(c->a, &ids, stmt_uuid(rows, 0));
        if (rc < 0)
            return -1;
    }
    jw_object(&c->w);
    jw_key(&c->w, STR("deleted"));
    jw_array(&c->w);
    for (size_t i = 0; i < ids.n; i++) {
        int gone = one(c, ids.v[i], err);
        if (gone < 0)
            return -1;
        if (gone)
            jw_uuid(&c->w, ids.v[i]);
    }
    jw_end(&c->w);
    jw_end(&c->w);
    return 0;
}

Str json_merge(struct arena *a, Str x, Str y)
{
    struct err err;
    const struct json *parts[2] = {x.p ? json_parse(a, x, &err) : NULL, y.p ? json_parse(a, y, &err) : NULL};
    if (!json_is(parts[0], JSON_OBJECT) || !parts[0]->object.n)
        return json_is(parts[1], JSON_OBJECT) ? y : STR("{}");
    if (!json_is(parts[1], JSON_OBJECT) || !parts[1]->object.n)
        return x;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < parts[k]->object.n; i++) {
            const struct json_member *m = &parts[k]->object.members[i];
            if (k == 0 && json_get(parts[1], m->key))
                continue;
            jw_key(&w, m->key);
            jw_raw(&w, m->value.raw);
        }
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

Str tags_union(struct arena *a, Str x, Str y)
{
    struct err err;
    const struct json *lists[2] = {x.p ? json_parse(a, x, &err) : NULL, y.p ? json_parse(a, y, &err) : NULL};
    struct map seen = {0};
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; json_is(lists[k], JSON_ARRAY) && i < lists[k]->array.n; i++) {
            Str tag = json_str(&lists[k]->array.items[i]);
            void **slot = map_at(a, &seen, tag);
            if (*slot)
                continue;
            *slot = &seen;
            jw_str(&w, tag);
        }
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

Str name_invent(struct arena *a)
{
    static const char *const first[] = {
        "amber",  "brisk",   "calm",    "clever", "copper",  "crisp",  "curious", "dapper", "deft",   "eager",
        "early",  "fleet",   "fond",    "frosty", "gentle",  "glad",   "golden",  "grand",  "hardy",  "hazel",
        "humble", "ivory",   "jolly",   "keen",   "kind",    "lively", "lucid",   "mellow", "merry",  "mild",
        "mossy",  "nimble",  "noble",   "olive",  "patient", "placid", "plucky",  "polite", "quick",  "quiet",
        "rapid",  "rosy",    "rustic",  "sandy",  "serene",  "sharp",  "silver",  "sleek",  "smart",  "snug",
        "sober",  "spry",    "steady",  "still",  "sturdy",  "sunny",  "swift",   "tidy",   "tranquil", "trusty",
        "velvet", "vivid",   "warm",    "wise",
    };
    static const char *const second[] = {
        "badger", "bear",   "beaver", "bee",     "bison",   "bittern", "carp",   "coot",    "crane",  "crow",
        "curlew", "dace",   "deer",   "dipper",  "dove",    "duck",    "eagle",  "egret",   "elk",    "falcon",
        "finch",  "fox",    "frog",   "gecko",   "goose",   "grebe",   "gull",   "hare",    "hawk",   "heron",
        "ibis",   "jay",    "kestrel", "lark",   "lynx",    "mallard", "marten", "merlin",  "mink",   "mole",
        "moth",   "newt",   "otter",  "owl",     "perch",   "pike",    "plover", "quail",   "raven",  "robin",
        "rook",   "salmon", "seal",   "shrew",   "snipe",   "sparrow", "stork",  "swan",    "teal",   "tern",
        "toad",   "trout",  "vole",   "wren",
    };
    uint8_t r[2];
    random_bytes(r, sizeof r);
    return str_fmt(a, "%s-%s", first[r[0] % COUNT_OF(first)], second[r[1] % COUNT_OF(second)]);
}

void parameters_check(struct call *c, Str parameters)
{
    if (parameters.n > LIMIT_PARAMETERS)
        violation_add(&c->violations, "value_error", STR("parameters"), NULL,
                      str_fmt(c->a, "must not be larger than %zu bytes", LIMIT_PARAMETERS).p);
}

Str created_by_header(struct call *c)
{
    Str id = exchange_header(c->x, "Prefect-Automation-ID"), name = exchange_header(c->x, "Prefect-Automation-Name");
    Uuid uuid;
    unsigned char text[512];
    size_t n = 0;
    if (!id.p || !uuid_parse(id, &uuid))
        return STR_NONE;
    if (name.p && (name.n > 600 || sodium_base642bin(text, sizeof text, name.p, name.n, "=", &n, NULL,
                                                     sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0))
        n = 0;
    struct created_by by;
    record_init(&created_by_shape, &by);
    by.id = uuid;
    by.type = STR("AUTOMATION");
    if (n && str_utf8_valid((Str){(const char *)text, n}))
        by.display_value = str_dup(c->a, (Str){(const char *)text, n});
    return shape_text(c->a, &created_by_shape, &by);
}
