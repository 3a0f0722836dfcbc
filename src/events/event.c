#include "events/event.h"

#include "base/limits.h"

#include <string.h>

/* ---- JSON in ---- */

/* Without NUL characters, which no text column holds. */
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

/* Labels as they came, unless that text would mean something else to a database's JSON functions: an escape (which may
 * hide a NUL, or spell a key differently) or a key that comes twice. */
static bool is_plain(struct arena *a, const struct json *labels)
{
    if (memchr(labels->raw.p, '\\', labels->raw.n))
        return false;
    if (labels->object.n <= 16) {
        for (size_t i = 0; i < labels->object.n; i++)
            if (json_get(labels, labels->object.members[i].key) != &labels->object.members[i].value)
                return false;
        return true;
    }
    struct map seen = {0};
    for (size_t i = 0; i < labels->object.n; i++) {
        void **slot = map_at(a, &seen, labels->object.members[i].key);
        if (*slot)
            return false;
        *slot = &seen;
    }
    return true;
}

static void labels_print(struct arena *a, struct jw *w, const struct json *labels)
{
    struct map last = {0};
    for (size_t i = 0; i < labels->object.n; i++) {
        const struct json_member *m = &labels->object.members[i];
        *map_at(a, &last, without_nul(a, m->key)) = (void *)(uintptr_t)&m->value;
    }
    jw_object(w);
    for (size_t i = 0; i < last.n; i++) {
        jw_key(w, last.entries[i].key);
        jw_str(w, without_nul(a, ((const struct json *)last.entries[i].value)->string));
    }
    jw_end(w);
}

/* Checks one resource; `role`: it is a related one. */
static bool check_labels(const struct json *r, bool role, struct violations *v)
{
    size_t before = v->list.n;
    if (!json_is(r, JSON_OBJECT)) {
        violation_add(v, "dict_type", STR_NONE, r, "must be an object of labels");
        return false;
    }
    if (r->object.n > EVENT_LABELS_MAX) {
        violation_add(v, "value_error", STR_NONE, NULL, "a resource may have at most 500 labels");
        return false;
    }
    for (size_t i = 0; i < r->object.n; i++)
        if (r->object.members[i].value.kind != JSON_STRING)
            violation_add(v, "string_type", r->object.members[i].key, &r->object.members[i].value, "a label's value must be a string");
    if (!json_get_str(r, STR("prefect.resource.id")).n)
        violation_add(v, "value_error", STR_NONE, r, "the label prefect.resource.id is required and must not be empty");
    if (role && !json_get_str(r, STR("prefect.resource.role")).n)
        violation_add(v, "value_error", STR_NONE, r, "a related resource must have the label prefect.resource.role");
    return v->list.n == before;
}

static Str printed(struct arena *a, const struct json *resource, const struct json *list)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    if (resource) {
        labels_print(a, &w, resource);
    } else {
        jw_array(&w);
        for (size_t i = 0; i < list->array.n; i++)
            labels_print(a, &w, &list->array.items[i]);
        jw_end(&w);
    }
    return str_dup(a, buf_view(&b));
}

static void parse_resource(struct arena *a, const struct json *r, struct event *ret, struct violations *v)
{
    Str before = violations_enter(v, STR("resource"));
    if (!r)
        violation_add(v, "missing", STR_NONE, NULL, "is required");
    else if (check_labels(r, false, v)) {
        ret->resource = is_plain(a, r) ? r->raw : printed(a, r, NULL);
        ret->resource_id = without_nul(a, json_get_str(r, STR("prefect.resource.id")));
    }
    v->prefix = before;
}

static void parse_related(struct arena *a, const struct json *list, struct event *ret, struct violations *v)
{
    if (!list)
        return;
    Str before = violations_enter(v, STR("related"));
    if (list->kind != JSON_ARRAY) {
        violation_add(v, "list_type", STR_NONE, list, "must be a list");
    } else if (list->array.n > EVENT_RELATED_MAX) {
        violation_add(v, "value_error", STR_NONE, NULL, "an event may have at most 100 related resources");
    } else {
        bool good = true, plain = true;
        for (size_t i = 0; i < list->array.n; i++) {
            Str outer = violations_enter_item(v, i);
            bool fine = check_labels(&list->array.items[i], true, v);
            v->prefix = outer;
            plain = plain && fine && is_plain(a, &list->array.items[i]);
            good = good && fine;
        }
        if (good)
            ret->related = plain ? list->raw : printed(a, NULL, list);
    }
    v->prefix = before;
}

void event_parse(struct arena *a, const struct json *body, struct event *ret, struct violations *v)
{
    *ret = (struct event){.occurred = TIME_NONE, .resource = STR("{}"), .related = STR("[]"), .payload = STR("{}")};
    if (!json_is(body, JSON_OBJECT)) {
        violation_add(v, "model_attributes_type", STR_NONE, body, "must be an object");
        return;
    }
    const struct json *x = json_getz(body, "occurred");
    if (!x)
        violation_add(v, "missing", STR("occurred"), NULL, "is required");
    else if (!time_read(x, &ret->occurred))
        violation_add(v, "datetime_parsing", STR("occurred"), x, "must be a date and time in ISO 8601");
    x = json_getz(body, "event");
    if (!x)
        violation_add(v, "missing", STR("event"), NULL, "is required");
    else if (x->kind != JSON_STRING)
        violation_add(v, "string_type", STR("event"), x, "must be a string");
    else if (str_codepoints(x->string) > EVENT_NAME_MAX)
        violation_add(v, "value_error", STR("event"), x, "must have at most 1024 characters");
    else
        ret->event = without_nul(a, x->string);
    parse_resource(a, json_getz(body, "resource"), ret, v);
    parse_related(a, json_getz(body, "related"), ret, v);
    x = json_getz(body, "payload");
    if (x && x->kind != JSON_OBJECT)
        violation_add(v, "dict_type", STR("payload"), x, "must be an object");
    else if (x)
        ret->payload = str_find(x->raw, STR("\\u")) < 0 ? x->raw : json_text(a, x); /* é as é, so that a search finds it */
    x = json_getz(body, "id");
    if (!x)
        violation_add(v, "missing", STR("id"), NULL, "is required");
    else if (x->kind != JSON_STRING || !uuid_parse(x->string, &ret->id) || uuid_is_nil(ret->id))
        violation_add(v, "uuid_parsing", STR("id"), x, "must be a UUID");
    x = json_getz(body, "follows");
    if (!json_is_null(x) && (x->kind != JSON_STRING || !uuid_parse(x->string, &ret->follows)))
        violation_add(v, "uuid_parsing", STR("follows"), x, "must be a UUID");
}

/* ---- JSON out ---- */

void event_print(struct jw *w, const struct event *e, Time received)
{
    jw_object(w);
    jw_ktime(w, "occurred", e->occurred);
    jw_kstr(w, "event", e->event);
    jw_kraw(w, "resource", e->resource);
    jw_kraw(w, "related", e->related);
    jw_kraw(w, "payload", e->payload);
    jw_kuuid(w, "id", e->id);
    jw_kuuid(w, "follows", e->follows);
    jw_ktime(w, "received", received);
    jw_end(w);
}

Str event_label(struct arena *a, Str resource, Str label)
{
    struct err err;
    return json_get_str(json_parse(a, resource, &err), label);
}

/* ---- rows ---- */

const char event_columns[] = "event.id, event.occurred, event.received, event.event, event.resource_id, event.resource, "
                             "event.related, event.payload, event.follows";

void event_load(struct arena *a, struct stmt *q, int first, struct event *ret, Time *ret_received)
{
    *ret = (struct event){
        .id = stmt_uuid(q, first),
        .occurred = stmt_int(q, first + 1),
        .event = str_dup(a, stmt_str(q, first + 3)),
        .resource_id = str_dup(a, stmt_str(q, first + 4)),
        .resource = str_dup(a, stmt_str(q, first + 5)),
        .related = str_dup(a, stmt_str(q, first + 6)),
        .payload = str_dup(a, stmt_str(q, first + 7)),
        .follows = stmt_uuid(q, first + 8),
    };
    *ret_received = stmt_int(q, first + 2);
}

#define INSERT "INSERT INTO event(id, occurred, received, event, resource_id, resource, related, payload, follows) VALUES "
#define COLUMNS 9

/* SQLite: a prepared statement a row, no cheaper way is known. */
static int insert_singly(struct conn *c, const struct event *events, size_t n, Time received, bool *fresh, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct event *e = &events[i];
        int64_t made = db_exec(c, err, INSERT "($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING", "uttsssssu", e->id,
                               e->occurred, received, e->event, e->resource_id, e->resource, e->related, e->payload, e->follows);
        if (made < 0)
            return -1;
        fresh[i] = made > 0;
    }
    return 0;
}

static Str multi_insert(struct arena *a, size_t rows)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_SQL);
    buf_z(&b, INSERT);
    for (size_t i = 0; i < rows; i++) {
        buf_char(&b, i ? ',' : ' ');
        for (size_t k = 1; k <= COLUMNS; k++)
            buf_fmt(&b, "%s$%zu", k == 1 ? "(" : ", ", i * COLUMNS + k);
        buf_char(&b, ')');
    }
    buf_z(&b, " ON CONFLICT DO NOTHING RETURNING id");
    return str_dup(a, buf_view(&b));
}

/* PostgreSQL: many rows a round trip, in runs of 64, 8 and 1, so that there are three statements to prepare. The ids that
 * come back are those that were new, in order. */
static int insert_together(struct conn *c, const struct event *events, size_t n, Time received, bool *fresh, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct db_value *values = arena_array(a, struct db_value, 64 * COLUMNS);
    memset(fresh, 0, n * sizeof *fresh);
    for (size_t done = 0, rows; done < n; done += rows) {
        rows = n - done >= 64 ? 64 : n - done >= 8 ? 8 : 1;
        for (size_t i = 0; i < rows; i++) {
            const struct event *e = &events[done + i];
            struct db_value *v = &values[i * COLUMNS];
            v[0] = (struct db_value){.type = 'u', .u = e->id};
            v[1] = (struct db_value){.type = 't', .i = e->occurred};
            v[2] = (struct db_value){.type = 't', .i = received};
            v[3] = (struct db_value){.type = 's', .s = e->event};
            v[4] = (struct db_value){.type = 's', .s = e->resource_id};
            v[5] = (struct db_value){.type = 's', .s = e->resource};
            v[6] = (struct db_value){.type = 's', .s = e->related};
            v[7] = (struct db_value){.type = 's', .s = e->payload};
            v[8] = (struct db_value){.type = 'u', .u = e->follows};
        }
        AUTO(stmt_finish) struct stmt *q = db_query_v(c, err, multi_insert(a, rows), values, rows * COLUMNS);
        if (!q)
            return -1;
        int rc;
        size_t at = done;
        while ((rc = stmt_step(q, err)) == 1) {
            Uuid id = stmt_uuid(q, 0);
            while (at < done + rows && !uuid_eq(events[at].id, id))
                at++;
            if (at < done + rows)
                fresh[at++] = true;
        }
        if (rc < 0)
            return -1;
    }
    return 0;
}

int events_insert(struct conn *c, const struct event *events, size_t n, Time received, bool *fresh, struct err *err)
{
    return conn_kind(c) == DB_POSTGRES ? insert_together(c, events, n, received, fresh, err)
                                       : insert_singly(c, events, n, received, fresh, err);
}
