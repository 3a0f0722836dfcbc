#include "model/record.h"

#include "base/limits.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

static inline void *at(const struct field *f, const void *rec)
{
    return (char *)(uintptr_t)rec + f->offset;
}

/* ---- violations ---- */

static Str quoted(struct arena *a, Str s)
{
    return json_new_str(a, s)->raw;
}

void violation_add(struct violations *v, const char *type, Str key, const struct json *input, const char *msg)
{
    struct violation one = {.type = type, .msg = str_of(msg), .input = input ? input->raw : STR("null")};
    if (key.p)
        one.loc = str_fmt(v->a, "%.*s,%.*s]", STR_ARG(v->prefix), STR_ARG(quoted(v->a, key)));
    else
        one.loc = str_fmt(v->a, "%.*s]", STR_ARG(v->prefix));
    one.msg = str_dup(v->a, one.msg);
    if (v->list.n < 100)
        vec_push(v->a, &v->list, one);
}

Str violations_enter(struct violations *v, Str key)
{
    Str before = v->prefix;
    v->prefix = str_fmt(v->a, "%.*s,%.*s", STR_ARG(before), STR_ARG(quoted(v->a, key)));
    return before;
}

Str violations_enter_item(struct violations *v, size_t index)
{
    Str before = v->prefix;
    v->prefix = str_fmt(v->a, "%.*s,%zu", STR_ARG(before), index);
    return before;
}

/* ---- JSON in ---- */

static void set_none(const struct field *f, void *rec)
{
    void *p = at(f, rec);
    switch (f->type) {
    case F_UUID:
        *(Uuid *)p = UUID_NIL;
        break;
    case F_TIME:
        *(Time *)p = TIME_NONE;
        break;
    case F_DUR:
    case F_INT:
        *(int64_t *)p = INT_NONE;
        break;
    case F_BOOL:
        *(int8_t *)p = BOOL_NONE;
        break;
    case F_DOUBLE:
        *(double *)p = NAN;
        break;
    case F_STR:
    case F_JSON:
    case F_OBJECT:
    case F_LIST:
    case F_TAGS:
    case F_LABELS:
    case F_ENUM:
    case F_SHAPE:
    case F_UUIDS:
    case F_SHAPES:
        *(Str *)p = STR_NONE;
        break;
    }
}

void record_init(const struct resource *r, void *rec)
{
    memset(rec, 0, r->size);
    for (size_t i = 0; i < r->n; i++)
        set_none(&r->fields[i], rec);
}

static bool read_int(const struct json *v, int64_t *ret)
{
    if (json_is(v, JSON_STRING))
        return str_int(str_trim(v->string), ret);
    return json_int(v, ret);
}

static bool read_bool(const struct json *v, int8_t *ret)
{
    int64_t i;
    if (v->kind == JSON_BOOL) {
        *ret = v->boolean;
    } else if (json_int(v, &i) && (i == 0 || i == 1)) {
        *ret = (int8_t)i;
    } else if (v->kind == JSON_STRING) {
        static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"}, {"off", "on"}, {"n", "y"}, {"f", "t"}};
        for (size_t k = 0; k < COUNT_OF(words); k++)
            for (int8_t yes = 0; yes < 2; yes++)
                if (str_ieq(v->string, str_of(words[k][yes]))) {
                    *ret = yes;
                    return true;
                }
        return false;
    } else {
        return false;
    }
    return true;
}

static bool read_double(const struct json *v, double *ret)
{
    return json_double(v, ret) || (v->kind == JSON_STRING && str_double(str_trim(v->string), ret));
}

static bool read_dur(const struct json *v, Dur *ret)
{
    double d;
    if (v->kind == JSON_STRING && dur_parse(v->string, ret))
        return true;
    if (!(v->kind == JSON_STRING ? dur_parse_clock(v->string, &d) : json_double(v, &d)) || fabs(d) > 9e12)
        return false;
    *ret = (Dur)llround(d * 1e6);
    return true;
}

#define MILLISECONDS_FROM 2e10

bool time_read(const struct json *v, Time *ret)
{
    double n;
    if (json_is(v, JSON_STRING)) {
        if (time_parse(v->string, ret))
            return true;
        for (size_t i = 0; i < v->string.n; i++)
            if (!strchr("+-.0123456789", v->string.p[i]) || !v->string.p[i])
                return false;
        if (!str_double(v->string, &n))
            return false;
    } else if (!json_double(v, &n)) {
        return false;
    }
    n *= fabs(n) > MILLISECONDS_FROM ? 1e3 : 1e6;
    if (!(n >= (double)TIME_FIRST && n < (double)TIME_LAST + 1))
        return false;
    *ret = (Time)llround(n);
    return true;
}

static bool is_name(Str s)
{
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (strchr("/%&><", s.p[i]) && s.p[i])
            return false;
    return true;
}

static bool is_slug(Str s, bool underscore)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (underscore && c == '_')))
            return false;
    }
    return s.n > 0;
}

static bool in_list(const char *const *names, Str s)
{
    for (; *names; names++)
        if (str_eqz(s, *names))
            return true;
    return false;
}

static void check_number(const struct field *f, Str key, const struct json *v, double n, struct violations *out)
{
    if ((f->flags & POSITIVE) && !(n > 0))
        violation_add(out, "greater_than", key, v, "must be greater than 0");
    if ((f->flags & NOT_NEGATIVE) && n < 0)
        violation_add(out, "greater_than_equal", key, v, "must be 0 or more");
    if ((f->min != 0 || f->max != 0) && !(n >= f->min))
        violation_add(out, "greater_than_equal", key, v, str_fmt(out->a, "must be at least %.15g", f->min).p);
    if ((f->min != 0 || f->max != 0) && !(n <= f->max))
        violation_add(out, "less_than_equal", key, v, str_fmt(out->a, "must be at most %.15g", f->max).p);
}

/* A list of at most f->max items of one kind. */
static void check_list(const struct field *f, Str key, const struct json *v, enum json_kind kind, const char *what, struct violations *out)
{
    if (v->kind != JSON_ARRAY) {
        violation_add(out, "list_type", key, v, str_fmt(out->a, "must be a list of %s", kind == JSON_OBJECT ? "objects" : f->type == F_UUIDS ? "UUIDs" : "strings").p);
        return;
    }
    if (f->max != 0 && (double)v->array.n > f->max)
        violation_add(out, "too_long", key, NULL, str_fmt(out->a, "must have at most %.15g items", f->max).p);
    Str before = violations_enter(out, key);
    for (size_t i = 0; i < v->array.n; i++) {
        const struct json *one = &v->array.items[i];
        Uuid id;
        if (one->kind == kind && (f->type != F_UUIDS || uuid_parse(one->string, &id)))
            continue;
        Str item = violations_enter_item(out, i);
        violation_add(out, f->type == F_UUIDS ? "uuid_parsing" : kind == JSON_OBJECT ? "model_attributes_type" : "string_type", STR_NONE, one, what);
        out->prefix = item;
    }
    out->prefix = before;
}

void field_parse(struct arena *a, const struct field *f, const struct json *v, void *rec, struct violations *out)
{
    Str key = str_of(f->name);
    void *p = at(f, rec);
    if (v->kind == JSON_NULL && f->type != F_JSON) {
        if (!(f->flags & NULLABLE))
            violation_add(out, "value_error", key, v, "must not be null");
        set_none(f, rec);
        if (f->type == F_LABELS && (f->flags & ALWAYS)) /* null is no labels */
            *(Str *)p = STR("{}");
        return;
    }
    switch (f->type) {
    case F_UUID:
        if (v->kind != JSON_STRING || !uuid_parse(v->string, p))
            violation_add(out, "uuid_parsing", key, v, "must be a UUID");
        else if (uuid_is_nil(*(Uuid *)p)) /* which is how "none" is kept: null is for that */
            violation_add(out, "value_error", key, v, "must not be the nil UUID");
        break;
    case F_STR:
        if (v->kind != JSON_STRING)
            violation_add(out, "string_type", key, v, "must be a string");
        else if (memchr(v->string.p, 0, v->string.n))
            violation_add(out, "value_error", key, v, "must not hold a NUL character");
        else if ((f->flags & NAME) && !is_name(v->string))
            violation_add(out, "value_error", key, v, "must not be empty nor hold any of / % & > <");
        else if ((f->flags & (SLUG | SLUG_)) && !is_slug(v->string, f->flags & SLUG_))
            violation_add(out, "value_error", key, v,
                          f->flags & SLUG_ ? "must hold only lower-case letters, digits, '-' and '_'"
                                           : "must hold only lower-case letters, digits and '-'");
        *(Str *)p = json_str(v);
        break;
    case F_TIME:
        if (!time_read(v, p))
            violation_add(out, "datetime_parsing", key, v, "must be a date and time in ISO 8601");
        break;
    case F_DUR:
        if (!read_dur(v, p))
            violation_add(out, "time_delta_parsing", key, v, "must be a number of seconds or an ISO 8601 duration");
        else
            check_number(f, key, v, (double)*(Dur *)p / SEC, out);
        break;
    case F_INT:
        if (!read_int(v, p))
            violation_add(out, "int_parsing", key, v, "must be a whole number");
        else
            check_number(f, key, v, (double)*(int64_t *)p, out);
        break;
    case F_BOOL:
        if (!read_bool(v, p))
            violation_add(out, "bool_parsing", key, v, "must be true or false");
        break;
    case F_DOUBLE:
        if (!read_double(v, p))
            violation_add(out, "float_parsing", key, v, "must be a number");
        else
            check_number(f, key, v, *(double *)p, out);
        break;
    case F_JSON:
        *(Str *)p = v->kind == JSON_NULL ? STR_NONE : v->raw;
        break;
    case F_OBJECT:
        if (v->kind != JSON_OBJECT)
            violation_add(out, "dict_type", key, v, "must be an object");
        *(Str *)p = v->raw;
        break;
    case F_LIST:
        if (v->kind != JSON_ARRAY)
            violation_add(out, "list_type", key, v, "must be a list");
        *(Str *)p = v->raw;
        break;
    case F_TAGS:
        check_list(f, key, v, JSON_STRING, "must be a string", out);
        *(Str *)p = v->raw;
        break;
    case F_UUIDS:
        check_list(f, key, v, JSON_STRING, "must be a UUID", out);
        *(Str *)p = v->raw;
        break;
    case F_SHAPES:
        check_list(f, key, v, JSON_OBJECT, "must be an object", out);
        *(Str *)p = v->raw;
        break;
    case F_LABELS:
        if (v->kind != JSON_OBJECT)
            violation_add(out, "dict_type", key, v, "must be an object");
        else
            for (size_t i = 0; i < v->object.n; i++)
                if (v->object.members[i].value.kind >= JSON_ARRAY || v->object.members[i].value.kind == JSON_NULL)
                    violation_add(out, "value_error", key, &v->object.members[i].value,
                                  "a label must be a string, number, true or false");
        *(Str *)p = v->raw;
        break;
    case F_ENUM:
        if (v->kind != JSON_STRING || !in_list(f->more, v->string))
            violation_add(out, "enum", key, v, "is none of the allowed values");
        *(Str *)p = json_str(v);
        break;
    case F_SHAPE:
        if (v->kind != JSON_OBJECT) {
            violation_add(out, "dict_type", key, v, "must be an object");
        } else {
            const struct resource *shape = f->more;
            void *tmp = arena_alloc(a, shape->size);
            record_init(shape, tmp);
            Str before = violations_enter(out, key);
            record_parse(a, shape, 0, v, tmp, out);
            out->prefix = before;
            *(Str *)p = shape_text(a, shape, tmp);
        }
        break;
    }
}

static const struct json *default_value(struct arena *a, const struct field *f)
{
    struct err err;
    const struct json *v = json_parse(a, str_of(f->dflt), &err);
    if (!v)
        die("default of %s: %s", f->name, err.text);
    return v;
}

const struct field *resource_field(const struct resource *r, Str name)
{
    for (size_t i = 0; i < r->n; i++)
        if (str_eqz(name, r->fields[i].name))
            return &r->fields[i];
    return NULL;
}

static void fill_defaults(struct arena *a, const struct resource *r, int view, void *rec)
{
    FieldSet set = *(FieldSet *)rec;
    struct violations none = {.a = a};
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        if ((set >> i & 1) || !f->dflt)
            continue;
        if (view == 0 || view == CREATE) {
            /* The common ones without a detour through the parser. */
            if (f->type == F_OBJECT || f->type == F_LIST || f->type == F_TAGS || f->type == F_LABELS ||
                f->type == F_SHAPE || f->type == F_JSON)
                *(Str *)at(f, rec) = str_of(f->dflt);
            else
                field_parse(a, f, default_value(a, f), rec, &none);
        }
    }
}

void record_parse(struct arena *a, const struct resource *r, int view, const struct json *body, void *rec,
                  struct violations *v)
{
    if (!json_is(body, JSON_OBJECT)) {
        violation_add(v, body ? "model_attributes_type" : "missing", STR_NONE, body,
                      body ? "must be an object" : "a body is required");
        return;
    }
    FieldSet *set = rec;
    for (size_t k = 0; k < body->object.n; k++) {
        const struct json_member *m = &body->object.members[k];
        const struct field *f = resource_field(r, m->key);
        if (!f || (view && !(f->flags & view))) {
            if (!r->ignore_unknown)
                violation_add(v, "extra_forbidden", m->key, &m->value, "is not a known key here");
            continue;
        }
        size_t i = (size_t)(f - r->fields);
        if (view == UPDATE && (f->flags & UPDATE_NULL_UNSETS) && m->value.kind == JSON_NULL)
            continue;
        field_parse(a, f, &m->value, rec, v);
        *set |= (FieldSet)1 << i;
    }
    for (size_t i = 0; i < r->n; i++)
        if ((r->fields[i].flags & REQUIRED) && view != UPDATE && (!view || (r->fields[i].flags & view)) && !(*set >> i & 1))
            violation_add(v, "missing", str_of(r->fields[i].name), body, "is required");
    if (view != UPDATE)
        fill_defaults(a, r, view, rec);
    if (r->settle)
        r->settle(a, rec, v);
}

/* ---- JSON out ---- */

void record_print_field(struct jw *w, const struct field *f, const void *rec)
{
    const void *p = at(f, rec);
    switch (f->type) {
    case F_UUID:
        jw_uuid(w, *(const Uuid *)p);
        break;
    case F_TIME:
        jw_time(w, *(const Time *)p);
        break;
    case F_DUR:
        if (*(const Dur *)p == INT_NONE)
            jw_null(w);
        else
            jw_double(w, (double)*(const Dur *)p / 1e6);
        break;
    case F_INT:
        jw_int(w, *(const int64_t *)p);
        break;
    case F_BOOL:
        if (*(const int8_t *)p == BOOL_NONE)
            jw_null(w);
        else
            jw_bool(w, *(const int8_t *)p);
        break;
    case F_DOUBLE:
        jw_double(w, *(const double *)p);
        break;
    case F_STR:
    case F_ENUM:
        jw_str(w, *(const Str *)p);
        break;
    case F_JSON:
    case F_OBJECT:
    case F_LIST:
    case F_TAGS:
    case F_LABELS:
    case F_UUIDS:
    case F_SHAPES:
        jw_raw(w, *(const Str *)p);
        break;
    case F_SHAPE: {
        Str text = *(const Str *)p;
        if (!text.p) {
            jw_null(w);
            break;
        }
        AUTO(arena_freep) struct arena *a = arena_create();
        const struct resource *shape = f->more;
        void *tmp = arena_alloc(a, shape->size);
        shape_read(a, shape, text, tmp);
        shape_print(w, shape, tmp);
        break;
    }
    }
}

void record_print(struct jw *w, const struct resource *r, const void *rec, const char *const *skip)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        if (!(f->flags & READ) || (skip && in_list(skip, str_of(f->name))))
            continue;
        jw_key(w, str_of(f->name));
        record_print_field(w, f, rec);
    }
}

/* ---- shapes ---- */

void shape_read(struct arena *a, const struct resource *shape, Str text, void *rec)
{
    record_init(shape, rec);
    struct err err;
    struct violations v = {.a = a, .prefix = STR("[")};
    const struct json *body = text.n > 2 ? json_parse(a, text, &err) : NULL;
    if (body)
        record_parse(a, shape, 0, body, rec, &v);
    else
        fill_defaults(a, shape, 0, rec);
}

static bool is_default(const struct field *f, const void *rec)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    record_print_field(&w, f, rec);
    return str_eqz(buf_view(&b), f->dflt ? f->dflt : "null");
}

static bool is_none(const struct field *f, const void *rec)
{
    const void *p = at(f, rec);
    switch (f->type) {
    case F_UUID:
        return uuid_is_nil(*(const Uuid *)p);
    case F_TIME:
    case F_DUR:
    case F_INT:
        return *(const int64_t *)p == INT_NONE;
    case F_BOOL:
        return *(const int8_t *)p == BOOL_NONE;
    case F_DOUBLE:
        return isnan(*(const double *)p);
    case F_STR:
    case F_JSON:
    case F_OBJECT:
    case F_LIST:
    case F_TAGS:
    case F_LABELS:
    case F_ENUM:
    case F_SHAPE:
    case F_UUIDS:
    case F_SHAPES:
        return !((const Str *)p)->p;
    }
    return false;
}

Str shape_text(struct arena *a, const struct resource *shape, const void *rec)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (size_t i = 0; i < shape->n; i++) {
        const struct field *f = &shape->fields[i];
        if (f->dflt ? is_default(f, rec) : is_none(f, rec))
            continue;
        jw_key(&w, str_of(f->name));
        record_print_field(&w, f, rec);
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

void shape_print(struct jw *w, const struct resource *shape, const void *rec)
{
    jw_object(w);
    for (size_t i = 0; i < shape->n; i++) {
        jw_key(w, str_of(shape->fields[i].name));
        record_print_field(w, &shape->fields[i], rec);
    }
    jw_end(w);
}

/* ---- SQL ---- */

struct sql sql_new(struct arena *a, enum db_kind kind)
{
    return (struct sql){.a = a, .text = BUF(LIMIT_SQL), .kind = kind};
}

void sql_free(struct sql *q)
{
    buf_free(&q->text);
}

void sql_z(struct sql *q, const char *text)
{
    buf_z(&q->text, text);
}

void sql_put(struct sql *q, Str text)
{
    buf_str(&q->text, text);
}

static void sql_value(struct sql *q, struct db_value v)
{
    vec_push(q->a, &q->values, v);
    buf_fmt(&q->text, "$%zu", q->values.n);
}

void sql_uuid(struct sql *q, Uuid v)
{
    sql_value(q, (struct db_value){.type = 'u', .u = v});
}

void sql_str(struct sql *q, Str v)
{
    sql_value(q, (struct db_value){.type = 's', .s = v});
}

void sql_int(struct sql *q, int64_t v)
{
    sql_value(q, (struct db_value){.type = 'i', .i = v});
}

void sql_time(struct sql *q, Time v)
{
    sql_value(q, (struct db_value){.type = 't', .i = v});
}

void sql_double(struct sql *q, double v)
{
    sql_value(q, (struct db_value){.type = 'd', .d = v});
}

void sql_bool(struct sql *q, bool v)
{
    sql_value(q, (struct db_value){.type = 'o', .i = v});
}

static int sql_check(struct sql *q, struct err *err)
{
    if (q->text.overflow || q->values.n > LIMIT_FILTER_TERMS)
        return err_set(err, ERR_UNPROCESSABLE, "the filter is too large");
    return 0;
}

struct stmt *sql_query(struct conn *c, struct sql *q, struct err *err)
{
    if (sql_check(q, err) < 0)
        return NULL;
    return db_query_v(c, err, buf_view(&q->text), q->values.v, q->values.n);
}

int64_t sql_exec(struct conn *c, struct sql *q, struct err *err)
{
    if (sql_check(q, err) < 0)
        return -1;
    return db_exec_v(c, err, buf_view(&q->text), q->values.v, q->values.n);
}

static char letter(enum ftype t)
{
    switch (t) {
    case F_UUID:
        return 'u';
    case F_TIME:
        return 't';
    case F_DUR:
    case F_INT:
        return 'i';
    case F_BOOL:
        return 'o';
    case F_DOUBLE:
        return 'd';
    case F_STR:
    case F_JSON:
    case F_OBJECT:
    case F_LIST:
    case F_TAGS:
    case F_LABELS:
    case F_ENUM:
    case F_SHAPE:
    case F_UUIDS:
    case F_SHAPES:
        break;
    }
    return 's';
}

static struct db_value field_value(const struct field *f, const void *rec)
{
    const void *p = at(f, rec);
    struct db_value v = {.type = letter(f->type)};
    switch (v.type) {
    case 'u':
        v.u = *(const Uuid *)p;
        break;
    case 'o':
        v.i = *(const int8_t *)p;
        break;
    case 'd':
        v.d = *(const double *)p;
        break;
    case 's':
        v.s = *(const Str *)p;
        break;
    default:
        v.i = *(const int64_t *)p;
    }
    return v;
}

static const struct resource_sql *texts(const struct resource *r)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct arena *a; /* lives as long as the program: a few kB a resource */
    struct resource_sql *s = r->sql;
    if (__atomic_load_n(&s->column_count, __ATOMIC_ACQUIRE))
        return s;
    pthread_mutex_lock(&lock);
    if (!s->column_count) {
        if (!a)
            a = arena_create();
        AUTO(buf_free) struct buf cols = BUF(LIMIT_SQL);
        AUTO(buf_free) struct buf ins = BUF(LIMIT_SQL);
        AUTO(buf_free) struct buf places = BUF(LIMIT_SQL);
        size_t n = 0;
        buf_fmt(&ins, "INSERT INTO %s(", r->table);
        for (size_t i = 0; i < r->n; i++) {
            if (!(r->fields[i].flags & COL))
                continue;
            const char *comma = n++ ? ", " : "";
            buf_fmt(&cols, "%s%s.\"%s\"", comma, r->table, r->fields[i].name);
            buf_fmt(&ins, "%s\"%s\"", comma, r->fields[i].name);
            buf_fmt(&places, "%s$%zu", comma, n);
        }
        buf_z(&ins, ") VALUES (");
        buf_str(&ins, buf_view(&places));
        buf_z(&ins, ")");
        s->columns = str_dup(a, buf_view(&cols));
        s->insert = str_dup(a, buf_view(&ins));
        s->by_id = str_fmt(a, "SELECT %.*s FROM %s WHERE id = $1", STR_ARG(s->columns), r->table);
        __atomic_store_n(&s->column_count, n, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return s;
}

Str resource_columns(const struct resource *r)
{
    return texts(r)->columns;
}

void record_load(struct arena *a, const struct resource *r, struct stmt *q, int first, void *rec)
{
    *(FieldSet *)rec = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        if (!(f->flags & COL)) {
            set_none(f, rec);
            continue;
        }
        void *p = at(f, rec);
        switch (letter(f->type)) {
        case 'u':
            *(Uuid *)p = stmt_uuid(q, first);
            break;
        case 'o':
            *(int8_t *)p = stmt_is_null(q, first) ? BOOL_NONE : stmt_int(q, first) != 0;
            break;
        case 'd':
            *(double *)p = stmt_double(q, first);
            break;
        case 's':
            *(Str *)p = str_dup(a, stmt_str(q, first));
            break;
        default:
            *(int64_t *)p = stmt_int(q, first);
        }
        first++;
    }
}

int64_t record_insert(struct conn *c, const struct resource *r, const void *rec, const char *tail, struct err *err)
{
    const struct resource_sql *s = texts(r);
    struct db_value values[64];
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->fields[i].flags & COL)
            values[n++] = field_value(&r->fields[i], rec);
    Str sql = s->insert;
    char text[4096];
    if (*tail) {
        int len = snprintf(text, sizeof text, "%.*s %s", STR_ARG(s->insert), tail);
        if (len < 0 || (size_t)len >= sizeof text)
            die("insert into %s: text too long", r->table);
        sql = (Str){text, (size_t)len};
    }
    int64_t rows = db_exec_v(c, err, sql, values, n);
    if (rows < 0)
        conflict_explain(r, rec, err);
    return rows;
}

static bool same(const struct field *f, const void *x, const void *y)
{
    const void *p = at(f, x), *q = at(f, y);
    double d, e;
    switch (letter(f->type)) {
    case 'u':
        return uuid_eq(*(const Uuid *)p, *(const Uuid *)q);
    case 'o':
        return *(const int8_t *)p == *(const int8_t *)q;
    case 'd':
        d = *(const double *)p;
        e = *(const double *)q;
        return d == e || (isnan(d) && isnan(e));
    case 's':
        return !((const Str *)p)->p == !((const Str *)q)->p && str_eq(*(const Str *)p, *(const Str *)q);
    default:
        return *(const int64_t *)p == *(const int64_t *)q;
    }
}

FieldSet record_diff(const struct resource *r, const void *x, const void *y)
{
    FieldSet mask = 0;
    for (size_t i = 0; i < r->n; i++)
        if ((r->fields[i].flags & COL) && !same(&r->fields[i], x, y))
            mask |= (FieldSet)1 << i;
    return mask;
}

int64_t record_update(struct conn *c, const struct resource *r, const void *rec, FieldSet mask, Uuid id, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(sql_free) struct sql q = sql_new(a, conn_kind(c));
    sql_z(&q, "UPDATE ");
    sql_z(&q, r->table);
    sql_z(&q, " SET ");
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (!(mask >> i & 1) || !(r->fields[i].flags & COL))
            continue;
        if (n++)
            sql_z(&q, ", ");
        buf_fmt(&q.text, "\"%s\" = ", r->fields[i].name);
        sql_value(&q, field_value(&r->fields[i], rec));
    }
    if (!n)
        sql_z(&q, "id = id");
    sql_z(&q, " WHERE id = ");
    sql_uuid(&q, id);
    int64_t rows = sql_exec(c, &q, err);
    if (rows < 0)
        conflict_explain(r, rec, err);
    return rows;
}

static int load_one(struct arena *a, const struct resource *r, struct stmt *q, void *ret, struct err *err)
{
    AUTO(stmt_finish) struct stmt *own = q;
    UNUSED(own);
    if (!q)
        return -1;
    int rc = stmt_step(q, err);
    if (rc == 1)
        record_load(a, r, q, 0, ret);
    return rc;
}

int record_find(struct conn *c, struct arena *a, const struct resource *r, void *ret, struct err *err,
                const char *where, const char *types, ...)
{
    struct db_value values[8];
    va_list ap;
    va_start(ap, types);
    size_t n = 0;
    for (; types[n]; n++) {
        values[n] = (struct db_value){.type = types[n]};
        switch (types[n]) {
        case 'u':
            values[n].u = va_arg(ap, Uuid);
            break;
        case 's':
            values[n].s = va_arg(ap, Str);
            break;
        case 'o':
            values[n].i = va_arg(ap, int);
            break;
        default:
            values[n].i = va_arg(ap, int64_t);
        }
    }
    va_end(ap);
    char text[4096];
    int len = snprintf(text, sizeof text, "SELECT %.*s FROM %s WHERE %s", STR_ARG(texts(r)->columns), r->table, where);
    if (len < 0 || (size_t)len >= sizeof text)
        die("select from %s: text too long", r->table);
    return load_one(a, r, db_query_v(c, err, (Str){text, (size_t)len}, values, n), ret, err);
}

int record_by_id(struct conn *c, struct arena *a, const struct resource *r, Uuid id, void *ret, struct err *err)
{
    struct db_value v = {.type = 'u', .u = id};
    return load_one(a, r, db_query_v(c, err, texts(r)->by_id, &v, 1), ret, err);
}

int record_lock(struct conn *c, struct arena *a, const struct resource *r, Uuid id, void *ret, struct err *err)
{
    if (conn_kind(c) == DB_SQLITE)
        return record_by_id(c, a, r, id, ret, err);
    return record_find(c, a, r, ret, err, "id = $1 FOR UPDATE", "u", id);
}

int64_t record_delete(struct conn *c, const struct resource *r, Uuid id, struct err *err)
{
    char text[128];
    int len = snprintf(text, sizeof text, "DELETE FROM %s WHERE id = $1", r->table);
    struct db_value v = {.type = 'u', .u = id};
    return db_exec_v(c, err, (Str){text, (size_t)len}, &v, 1);
}
