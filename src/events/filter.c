#include "events/filter.h"

#include "base/limits.h"

#include <string.h>

#define ID_LABEL STR("prefect.resource.id")
#define ROLE_LABEL STR("prefect.resource.role")
#define VALUE_MAX 8192 /* bytes of one value: databases have limits of their own to a pattern */
#define REACH (180 * DAY) /* how far back a filter without `since` looks, from the start of today */

/* ---- the table: which key makes which test ---- */

enum shape { SHAPE_TEXTS, SHAPE_LABELS, SHAPE_PAIRS, SHAPE_DISTINCT };

struct row {
    const char *key;
    enum shape shape;
    enum event_test_kind kind;
    const char *label; /* NULL: the event's name */
};
struct part {
    const char *key;
    enum event_scope scope;
    bool list; /* a list of such objects is accepted: each must find a resource */
    bool nullable;
    const struct row *rows;
    size_t n;
};

/* clang-format off */
static const struct row name_rows[] = {
    {"prefix",         SHAPE_TEXTS, TEST_PREFIX,     NULL},
    {"exclude_prefix", SHAPE_TEXTS, TEST_NOT_PREFIX, NULL},
    {"name",           SHAPE_TEXTS, TEST_IN,         NULL},
    {"exclude_name",   SHAPE_TEXTS, TEST_NOT_IN,     NULL},
};
static const struct row resource_rows[] = {
    {"id",        SHAPE_TEXTS,    TEST_IN,      "prefect.resource.id"},
    {"id_prefix", SHAPE_TEXTS,    TEST_PREFIX,  "prefect.resource.id"},
    {"labels",    SHAPE_LABELS,   TEST_PATTERN, NULL},
    {"distinct",  SHAPE_DISTINCT, TEST_IN,      NULL},
};
static const struct row related_rows[] = {
    {"id",                 SHAPE_TEXTS,  TEST_IN,      "prefect.resource.id"},
    {"role",               SHAPE_TEXTS,  TEST_IN,      "prefect.resource.role"},
    {"resources_in_roles", SHAPE_PAIRS,  TEST_PAIR,    NULL},
    {"labels",             SHAPE_LABELS, TEST_PATTERN, NULL},
};
static const struct row any_rows[] = {
    {"id",        SHAPE_TEXTS,  TEST_IN,      "prefect.resource.id"},
    {"id_prefix", SHAPE_TEXTS,  TEST_PREFIX,  "prefect.resource.id"},
    {"labels",    SHAPE_LABELS, TEST_PATTERN, NULL},
};
static const struct part parts[] = {
    {"event",        SCOPE_NAME,     false, true, name_rows,     COUNT_OF(name_rows)},
    {"resource",     SCOPE_RESOURCE, false, true, resource_rows, COUNT_OF(resource_rows)},
    {"related",      SCOPE_RELATED,  true,  true, related_rows,  COUNT_OF(related_rows)},
    {"any_resource", SCOPE_ANY,      true,  true, any_rows,      COUNT_OF(any_rows)},
};
/* clang-format on */

/* ---- reading ---- */

struct reader {
    struct arena *a;
    struct event_filter *f;
    struct violations *v;
    size_t values;
};

static Str text_value(struct reader *r, Str key, const struct json *x)
{
    if (x->kind != JSON_STRING)
        violation_add(r->v, "string_type", key, x, "must be a string");
    else if (memchr(x->string.p, 0, x->string.n))
        violation_add(r->v, "value_error", key, x, "must not hold a NUL character");
    else if (x->string.n > VALUE_MAX)
        violation_add(r->v, "string_too_long", key, NULL, "must have at most 8192 bytes");
    else if (++r->values > LIMIT_FILTER_TERMS)
        violation_add(r->v, "too_long", key, NULL, "the filter has too many values");
    else
        return x->string;
    return STR("");
}

/* A list of strings, or (`single`) one alone. An empty list has n 0. */
static bool text_list(struct reader *r, Str key, const struct json *x, bool single, struct event_test *t)
{
    if (single && x->kind == JSON_STRING) {
        Str *one = arena_new(r->a, Str);
        *one = text_value(r, key, x);
        t->values = one;
        t->n = 1;
        return true;
    }
    if (x->kind != JSON_ARRAY) {
        violation_add(r->v, "list_type", key, x, single ? "must be a string or a list of strings" : "must be a list of strings");
        return false;
    }
    Str *values = arena_array(r->a, Str, x->array.n + 1);
    for (size_t i = 0; i < x->array.n && r->values <= LIMIT_FILTER_TERMS; i++)
        values[i] = text_value(r, key, &x->array.items[i]);
    t->values = values;
    t->n = x->array.n;
    return true;
}

static void read_labels(struct reader *r, struct event_group *g, const struct json *x)
{
    if (x->kind != JSON_OBJECT) {
        violation_add(r->v, "dict_type", STR("labels"), x, "must be an object of labels");
        return;
    }
    Str before = violations_enter(r->v, STR("labels"));
    for (size_t i = 0; i < x->object.n; i++) {
        const struct json_member *m = &x->object.members[i];
        struct event_test t = {.kind = TEST_PATTERN, .label = m->key};
        if (memchr(m->key.p, 0, m->key.n) || m->key.n > VALUE_MAX)
            violation_add(r->v, "value_error", STR_NONE, NULL, "a label must not hold a NUL character nor be longer than 8192 bytes");
        else if (json_get(x, m->key) == &m->value && text_list(r, m->key, &m->value, true, &t))
            vec_push(r->a, &g->tests, t); /* here an empty list fits nothing */
    }
    r->v->prefix = before;
}

static void read_pairs(struct reader *r, struct event_group *g, const struct json *x)
{
    Str key = STR("resources_in_roles");
    if (x->kind != JSON_ARRAY) {
        violation_add(r->v, "list_type", key, x, "must be a list of pairs");
        return;
    }
    if (!x->array.n)
        return;
    Str *values = arena_array(r->a, Str, 2 * x->array.n);
    for (size_t i = 0; i < x->array.n && r->values <= LIMIT_FILTER_TERMS; i++) {
        const struct json *pair = &x->array.items[i];
        if (pair->kind != JSON_ARRAY || pair->array.n != 2) {
            violation_add(r->v, "value_error", key, pair, "must be a pair of a resource's id and a role");
            continue;
        }
        values[2 * i] = text_value(r, key, &pair->array.items[0]);
        values[2 * i + 1] = text_value(r, key, &pair->array.items[1]);
    }
    struct event_test t = {.kind = TEST_PAIR, .values = values, .n = x->array.n};
    vec_push(r->a, &g->tests, t);
}

static void read_member(struct reader *r, struct event_group *g, const struct row *row, const struct json *x)
{
    struct event_test t = {.kind = row->kind, .label = row->label ? str_of(row->label) : STR_NONE};
    switch (row->shape) {
    case SHAPE_TEXTS:
        if (text_list(r, str_of(row->key), x, false, &t) && t.n) /* an empty list says nothing */
            vec_push(r->a, &g->tests, t);
        break;
    case SHAPE_LABELS:
        read_labels(r, g, x);
        break;
    case SHAPE_PAIRS:
        read_pairs(r, g, x);
        break;
    case SHAPE_DISTINCT:
        if (x->kind != JSON_BOOL)
            violation_add(r->v, "bool_type", str_of(row->key), x, "must be true or false");
        else
            r->f->distinct = x->boolean;
        break;
    }
}

static const struct row *find_row(const struct part *p, Str key)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eqz(key, p->rows[i].key))
            return &p->rows[i];
    return NULL;
}

static void read_group(struct reader *r, const struct part *p, const struct json *x)
{
    if (x->kind != JSON_OBJECT) {
        violation_add(r->v, "model_attributes_type", STR_NONE, x, "must be an object");
        return;
    }
    struct event_group g = {.scope = p->scope};
    for (size_t i = 0; i < x->object.n; i++) {
        const struct json_member *m = &x->object.members[i];
        const struct row *row = find_row(p, m->key);
        if (!row)
            violation_add(r->v, "extra_forbidden", m->key, &m->value, "is not a known key here");
        else if (m->value.kind != JSON_NULL && json_get(x, m->key) == &m->value)
            read_member(r, &g, row, &m->value);
    }
    if (g.tests.n)
        vec_push(r->a, &r->f->groups, g);
}

static void read_part(struct reader *r, const struct part *p, const struct json *x)
{
    Str before = violations_enter(r->v, str_of(p->key));
    if (p->list && x->kind == JSON_ARRAY) {
        for (size_t i = 0; i < x->array.n && r->v->list.n < 100; i++) {
            Str outer = violations_enter_item(r->v, i);
            if (++r->values > LIMIT_FILTER_TERMS)
                violation_add(r->v, "too_long", STR_NONE, NULL, "the filter has too many values");
            read_group(r, p, &x->array.items[i]);
            r->v->prefix = outer;
        }
    } else {
        read_group(r, p, x);
    }
    r->v->prefix = before;
}

static void read_occurred(struct reader *r, const struct json *x)
{
    Str before = violations_enter(r->v, STR("occurred"));
    if (x->kind != JSON_OBJECT)
        violation_add(r->v, "model_attributes_type", STR_NONE, x, "must be an object");
    for (size_t i = 0; x->kind == JSON_OBJECT && i < x->object.n; i++) {
        const struct json_member *m = &x->object.members[i];
        Time *at = str_eqz(m->key, "since") ? &r->f->since : str_eqz(m->key, "until") ? &r->f->until : NULL;
        if (!at)
            violation_add(r->v, "extra_forbidden", m->key, &m->value, "is not a known key here");
        else if (!time_read(&m->value, at))
            violation_add(r->v, "datetime_parsing", m->key, &m->value, "must be a date and time in ISO 8601");
    }
    r->v->prefix = before;
}

static void read_ids(struct reader *r, const struct json *x)
{
    Str before = violations_enter(r->v, STR("id"));
    if (x->kind != JSON_OBJECT)
        violation_add(r->v, "model_attributes_type", STR_NONE, x, "must be an object");
    for (size_t i = 0; x->kind == JSON_OBJECT && i < x->object.n; i++) {
        const struct json_member *m = &x->object.members[i];
        if (!str_eqz(m->key, "id"))
            violation_add(r->v, "extra_forbidden", m->key, &m->value, "is not a known key here");
        else if (m->value.kind != JSON_NULL && m->value.kind != JSON_ARRAY)
            violation_add(r->v, "list_type", m->key, &m->value, "must be a list of UUIDs");
        for (size_t k = 0; m->value.kind == JSON_ARRAY && k < m->value.array.n && r->values <= LIMIT_FILTER_TERMS; k++) {
            Uuid id = UUID_NIL;
            if (!uuid_parse(text_value(r, m->key, &m->value.array.items[k]), &id))
                violation_add(r->v, "uuid_parsing", m->key, &m->value.array.items[k], "must be a UUID");
            vec_push(r->a, &r->f->ids, id);
        }
    }
    r->v->prefix = before;
}

static void read_text(struct reader *r, const struct json *x)
{
    Str before = violations_enter(r->v, STR("text"));
    if (x->kind != JSON_OBJECT) {
        violation_add(r->v, "model_attributes_type", STR_NONE, x, "must be an object");
    } else {
        for (size_t i = 0; i < x->object.n; i++)
            if (!str_eqz(x->object.members[i].key, "query"))
                violation_add(r->v, "extra_forbidden", x->object.members[i].key, &x->object.members[i].value,
                              "is not a known key here");
        r->f->text = text_query_parse(r->a, STR("query"), json_getz(x, "query"), r->v);
    }
    r->v->prefix = before;
}

static void read_order(struct reader *r, const struct json *x)
{
    if (str_eqz(json_str(x), "ASC"))
        r->f->ascending = true;
    else if (!str_eqz(json_str(x), "DESC"))
        violation_add(r->v, "enum", STR("order"), x, "must be ASC or DESC");
}

void event_filter_parse(struct arena *a, const struct json *object, Time now, struct event_filter *ret, struct violations *v)
{
    struct reader r = {.a = a, .f = ret, .v = v};
    Time today = now - (now % DAY + DAY) % DAY;
    *ret = (struct event_filter){.since = today - REACH, .until = now};
    if (json_is_null(object))
        return;
    if (object->kind != JSON_OBJECT) {
        violation_add(v, "model_attributes_type", STR_NONE, object, "must be an object");
        return;
    }
    for (size_t i = 0; i < object->object.n; i++) {
        const struct json_member *m = &object->object.members[i];
        const struct part *p = NULL;
        if (json_get(object, m->key) != &m->value)
            continue; /* the same key comes again */
        for (size_t k = 0; k < COUNT_OF(parts); k++)
            if (str_eqz(m->key, parts[k].key))
                p = &parts[k];
        if (p && m->value.kind != JSON_NULL)
            read_part(&r, p, &m->value);
        else if (str_eqz(m->key, "occurred"))
            read_occurred(&r, &m->value);
        else if (str_eqz(m->key, "id"))
            read_ids(&r, &m->value);
        else if (str_eqz(m->key, "text") && m->value.kind != JSON_NULL)
            read_text(&r, &m->value);
        else if (str_eqz(m->key, "order"))
            read_order(&r, &m->value);
        else if (!p && !str_eqz(m->key, "text"))
            violation_add(v, "extra_forbidden", m->key, &m->value, "is not a known key here");
    }
}

Str event_filter_text(struct arena *a, const struct event_filter *f, const struct json *object)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("occurred"));
    jw_object(&w);
    jw_ktime(&w, "since", f->since);
    jw_ktime(&w, "until", f->until);
    jw_end(&w);
    for (size_t i = 0; json_is(object, JSON_OBJECT) && i < object->object.n; i++) {
        const struct json_member *m = &object->object.members[i];
        if (str_eqz(m->key, "occurred"))
            continue;
        jw_key(&w, m->key);
        jw_value(&w, &m->value);
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

/* ---- as SQL ---- */

/* A resource in SQL: where its JSON is, and its id where that is a column. */
struct place {
    const char *json;
    const char *id;
};

/* The value of a label. SQLite's paths know no escapes, so that a label with a quote or a control character (which the
 * stored text spells with an escape) is looked for among all members. */
static void label_expr(struct sql *q, struct place at, Str label)
{
    if (at.id && str_eq(label, ID_LABEL)) {
        sql_z(q, at.id);
        return;
    }
    if (q->kind == DB_POSTGRES) {
        buf_fmt(&q->text, "json_extract_path_text((%s)::json, ", at.json);
        sql_str(q, label);
        sql_z(q, ")");
        return;
    }
    bool plain = true;
    for (size_t i = 0; i < label.n; i++)
        plain = plain && (unsigned char)label.p[i] >= ' ' && label.p[i] != '"' && label.p[i] != '\\';
    if (plain) {
        buf_fmt(&q->text, "json_extract(%s, ", at.json);
        sql_str(q, str_fmt(q->a, "$.\"%.*s\"", STR_ARG(label)));
        sql_z(q, ")");
    } else {
        buf_fmt(&q->text, "(SELECT member.value FROM json_each(%s) AS member WHERE member.key = ", at.json);
        sql_str(q, label);
        sql_z(q, ")");
    }
}

static void value_expr(struct sql *q, struct place at, Str label)
{
    if (!label.p)
        sql_z(q, "event.event");
    else
        label_expr(q, at, label);
}

/* A pattern of the database's own for "begins with" (`prefix`) or for '*' and '?': GLOB, which minds case, or LIKE. */
static Str native_pattern(struct sql *q, Str s, bool prefix)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY * 4);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool wild = !prefix && (c == '*' || c == '?');
        if (q->kind == DB_POSTGRES) {
            if (wild) {
                buf_char(&b, c == '*' ? '%' : '_');
                continue;
            }
            if (c == '%' || c == '_' || c == '\\')
                buf_char(&b, '\\');
            buf_char(&b, c);
        } else if (!wild && (c == '*' || c == '?' || c == '[')) {
            buf_fmt(&b, "[%c]", c);
        } else {
            buf_char(&b, c);
        }
    }
    if (prefix)
        buf_char(&b, q->kind == DB_POSTGRES ? '%' : '*');
    return str_dup(q->a, buf_view(&b));
}

static void fits_expr(struct sql *q, Str pattern)
{
    sql_z(q, q->kind == DB_POSTGRES ? " LIKE " : " GLOB ");
    sql_str(q, pattern);
    if (q->kind == DB_POSTGRES)
        sql_z(q, " ESCAPE '\\'");
}

static void list_expr(struct sql *q, const struct event_test *t)
{
    sql_z(q, t->kind == TEST_NOT_IN ? " NOT IN (" : " IN (");
    for (size_t i = 0; i < t->n; i++) {
        if (i)
            sql_z(q, ", ");
        sql_str(q, t->values[i]);
    }
    sql_z(q, ")");
}

static void pattern_expr(struct sql *q, struct place at, Str label, Str value)
{
    bool negated = value.n && value.p[0] == '!';
    if (negated)
        value = str_sub(value, 1, value.n);
    bool wild = memchr(value.p, '*', value.n) || memchr(value.p, '?', value.n);
    sql_z(q, negated ? "NOT " : ""); /* of NULL it is NULL: a label that is not there fits nothing */
    label_expr(q, at, label);
    if (wild) {
        fits_expr(q, native_pattern(q, value, false));
    } else {
        sql_z(q, " = ");
        sql_str(q, value);
    }
}

static void test_where(struct sql *q, struct place at, const struct event_test *t)
{
    if (t->kind == TEST_IN || t->kind == TEST_NOT_IN) {
        value_expr(q, at, t->label);
        list_expr(q, t);
        return;
    }
    sql_z(q, t->kind == TEST_NOT_PREFIX ? "NOT (" : "(");
    if (!t->n)
        sql_z(q, "1 = 0");
    for (size_t i = 0; i < t->n; i++) {
        if (i)
            sql_z(q, " OR ");
        switch (t->kind) {
        case TEST_PATTERN:
            pattern_expr(q, at, t->label, t->values[i]);
            break;
        case TEST_PAIR:
            sql_z(q, "(");
            label_expr(q, at, ID_LABEL);
            sql_z(q, " = ");
            sql_str(q, t->values[2 * i]);
            sql_z(q, " AND ");
            label_expr(q, at, ROLE_LABEL);
            sql_z(q, " = ");
            sql_str(q, t->values[2 * i + 1]);
            sql_z(q, ")");
            break;
        case TEST_PREFIX:
        case TEST_NOT_PREFIX:
            value_expr(q, at, t->label);
            fits_expr(q, native_pattern(q, t->values[i], true));
            break;
        case TEST_IN:
        case TEST_NOT_IN:
            break;
        }
    }
    sql_z(q, ")");
}

static void tests_where(struct sql *q, struct place at, const struct event_group *g)
{
    for (size_t i = 0; i < g->tests.n; i++) {
        if (i)
            sql_z(q, " AND ");
        test_where(q, at, &g->tests.v[i]);
    }
}

/* Every value as it stands, neither pattern nor "not". */
static bool is_literal(const struct event_test *t)
{
    if (t->kind != TEST_PATTERN)
        return t->kind == TEST_IN || t->kind == TEST_PREFIX || t->kind == TEST_PAIR;
    for (size_t i = 0; i < t->n; i++)
        if ((t->values[i].n && t->values[i].p[0] == '!') || memchr(t->values[i].p, '*', t->values[i].n) ||
            memchr(t->values[i].p, '?', t->values[i].n))
            return false;
    return true;
}

/* Reading JSON costs ten times what looking for a text in it does: rows that do not even hold the text of a value that is
 * asked for are passed over first. */
static void quick_where(struct sql *q, const struct event_group *g)
{
    for (size_t i = 0; i < g->tests.n; i++) {
        const struct event_test *t = &g->tests.v[i];
        size_t step = t->kind == TEST_PAIR ? 2 : 1;
        if (!t->n || t->n > 16 || !is_literal(t))
            continue;
        for (size_t k = 0; k < t->n; k++) {
            Str quoted = json_new_str(q->a, t->values[k * step])->raw;
            sql_z(q, k ? " OR " : "(");
            sql_z(q, q->kind == DB_POSTGRES ? "strpos(event.related, " : "instr(event.related, ");
            sql_str(q, str_sub(quoted, 0, quoted.n - (t->kind == TEST_PREFIX)));
            sql_z(q, ") > 0");
        }
        sql_z(q, ") AND ");
    }
}

static void group_where(struct sql *q, const struct event_group *g)
{
    static const struct place primary = {"event.resource", "event.resource_id"}, related = {"r.value", NULL};
    if (g->scope == SCOPE_NAME || g->scope == SCOPE_RESOURCE) {
        tests_where(q, primary, g);
        return;
    }
    if (g->scope == SCOPE_ANY) {
        sql_z(q, "(");
        tests_where(q, primary, g);
        sql_z(q, " OR ");
    }
    sql_z(q, "(");
    quick_where(q, g);
    sql_z(q, q->kind == DB_POSTGRES ? "EXISTS (SELECT 1 FROM json_array_elements(event.related::json) AS r(value) WHERE "
                                    : "EXISTS (SELECT 1 FROM json_each(event.related) AS r WHERE ");
    tests_where(q, related, g);
    sql_z(q, g->scope == SCOPE_ANY ? ")))" : "))");
}

static void filter_where(struct sql *q, const struct event_filter *f)
{
    static const char *const columns[] = {"event.event", "event.resource", "event.related", "event.payload", NULL};
    sql_z(q, "event.occurred >= ");
    sql_time(q, f->since);
    sql_z(q, " AND event.occurred <= ");
    sql_time(q, f->until);
    if (f->ids.n) {
        sql_z(q, " AND event.id IN (");
        for (size_t i = 0; i < f->ids.n; i++) {
            if (i)
                sql_z(q, ", ");
            sql_uuid(q, f->ids.v[i]);
        }
        sql_z(q, ")");
    }
    for (size_t i = 0; i < f->groups.n; i++) {
        sql_z(q, " AND ");
        group_where(q, &f->groups.v[i]);
    }
    if (f->text.n) {
        sql_z(q, " AND ");
        text_query_where(q, &f->text, columns);
    }
}

void event_filter_from(struct sql *q, const struct event_filter *f)
{
    /* The newest of each resource, among those that fit. */
    sql_z(q, f->distinct ? " FROM (SELECT event.*, row_number() OVER (PARTITION BY event.resource_id "
                           "ORDER BY event.occurred DESC, event.id DESC) AS place FROM event WHERE "
                         : " FROM event WHERE ");
    filter_where(q, f);
    if (f->distinct)
        sql_z(q, ") AS event WHERE event.place = 1");
}

/* ---- in memory ---- */

static size_t char_bytes(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* '*' any text, '?' one character. One place to come back to is enough: a later '*' takes over from an earlier. */
static bool fits(Str s, Str pattern)
{
    size_t i = 0, k = 0, star = SIZE_MAX, mark = 0;
    while (i < s.n) {
        if (k < pattern.n && pattern.p[k] == '*') {
            star = k++;
            mark = i;
        } else if (k < pattern.n && pattern.p[k] == '?') {
            k++;
            i += char_bytes((unsigned char)s.p[i]);
        } else if (k < pattern.n && pattern.p[k] == s.p[i]) {
            k++;
            i++;
        } else if (star != SIZE_MAX) {
            k = star + 1;
            mark += char_bytes((unsigned char)s.p[mark]);
            i = mark;
        } else {
            return false;
        }
    }
    while (k < pattern.n && pattern.p[k] == '*')
        k++;
    return k == pattern.n && i == s.n;
}

static bool passes_pattern(Str value, const struct event_test *t)
{
    for (size_t i = 0; i < t->n; i++) {
        Str p = t->values[i];
        bool negated = p.n && p.p[0] == '!';
        if (fits(value, negated ? str_sub(p, 1, p.n) : p) != negated)
            return true;
    }
    return false;
}

/* `resource` is NULL for tests of the name. */
static bool passes(const struct event_test *t, const struct event *e, const struct json *resource)
{
    Str value = !t->label.p ? e->event : json_get_str(resource, t->label);
    bool found = false;
    if (t->kind == TEST_PAIR) {
        Str id = json_get_str(resource, ID_LABEL), role = json_get_str(resource, ROLE_LABEL);
        for (size_t i = 0; i < t->n && !found; i++)
            found = str_eq(id, t->values[2 * i]) && role.p && str_eq(role, t->values[2 * i + 1]);
        return found;
    }
    if (!value.p)
        return false;
    switch (t->kind) {
    case TEST_PATTERN:
        return passes_pattern(value, t);
    case TEST_IN:
    case TEST_NOT_IN:
        for (size_t i = 0; i < t->n && !found; i++)
            found = str_eq(value, t->values[i]);
        return found == (t->kind == TEST_IN);
    case TEST_PREFIX:
    case TEST_NOT_PREFIX:
        for (size_t i = 0; i < t->n && !found; i++)
            found = str_starts(value, t->values[i]);
        return found == (t->kind == TEST_PREFIX);
    case TEST_PAIR:
        break;
    }
    return false;
}

static bool all_pass(const struct event_group *g, const struct event *e, const struct json *resource)
{
    for (size_t i = 0; i < g->tests.n; i++)
        if (!passes(&g->tests.v[i], e, resource))
            return false;
    return true;
}

/* What can be told without reading JSON: 1 passes, 0 does not, -1 unknown. */
static int quick_match(const struct event_group *g, const struct event *e)
{
    if (g->scope == SCOPE_NAME)
        return all_pass(g, e, NULL);
    if (g->scope != SCOPE_RESOURCE)
        return -1;
    struct json_member id = {ID_LABEL, {.kind = JSON_STRING, .string = e->resource_id}};
    struct json only_id = {.kind = JSON_OBJECT, .object = {&id, 1}};
    int known = 1;
    for (size_t i = 0; i < g->tests.n; i++) {
        if (!str_eq(g->tests.v[i].label, ID_LABEL))
            known = -1;
        else if (!passes(&g->tests.v[i], e, &only_id))
            return 0;
    }
    return known;
}

static bool group_match(const struct event_group *g, const struct event *e, const struct json *resource, const struct json *related)
{
    if ((g->scope == SCOPE_RESOURCE || g->scope == SCOPE_ANY) && all_pass(g, e, resource))
        return true;
    if (g->scope == SCOPE_RESOURCE || !json_is(related, JSON_ARRAY))
        return false;
    for (size_t i = 0; i < related->array.n; i++)
        if (all_pass(g, e, &related->array.items[i]))
            return true;
    return false;
}

bool event_filter_match(const struct event_filter *f, const struct event *e)
{
    if (e->occurred < f->since || e->occurred > f->until)
        return false;
    bool found = !f->ids.n, unknown = false;
    for (size_t i = 0; i < f->ids.n && !found; i++)
        found = uuid_eq(e->id, f->ids.v[i]);
    if (!found)
        return false;
    for (size_t i = 0; i < f->groups.n; i++) {
        int quick = quick_match(&f->groups.v[i], e);
        if (!quick)
            return false;
        unknown |= quick < 0;
    }
    if (f->text.n) {
        const Str texts[] = {e->event, e->resource, e->related, e->payload};
        if (!text_query_match(&f->text, texts, COUNT_OF(texts)))
            return false;
    }
    if (!unknown)
        return true;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *resource = json_parse(a, e->resource, &err), *related = json_parse(a, e->related, &err);
    for (size_t i = 0; i < f->groups.n; i++)
        if (quick_match(&f->groups.v[i], e) < 0 && !group_match(&f->groups.v[i], e, resource, related))
            return false;
    return true;
}
