#include "events/log.h"

#include "base/limits.h"

#include <string.h>

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

void log_parse(struct arena *a, const struct json *body, struct log *ret, struct violations *v)
{
    record_init(&log_resource, ret);
    if (!json_is(body, JSON_OBJECT)) {
        violation_add(v, "model_attributes_type", STR_NONE, body, "must be an object");
        return;
    }
    for (size_t i = 0; i < body->object.n; i++) {
        const struct json_member *m = &body->object.members[i];
        const struct field *f = resource_field(&log_resource, m->key);
        Str *text = f && f->type == F_STR ? (Str *)(void *)((char *)ret + f->offset) : NULL;
        if (!f || !(f->flags & CREATE)) {
            violation_add(v, "extra_forbidden", m->key, &m->value, "is not a known key here");
            continue;
        }
        if (text && m->value.kind == JSON_STRING)
            *text = without_nul(a, m->value.string);
        else
            field_parse(a, f, &m->value, ret, v);
        ret->set |= (FieldSet)1 << (f - log_resource.fields);
    }
    for (size_t i = 0; i < log_resource.n; i++)
        if ((log_resource.fields[i].flags & REQUIRED) && !IS_SET(ret, i))
            violation_add(v, "missing", str_of(log_resource.fields[i].name), body, "is required");
    ret->id = uuid_v7();
}

Time log_created(const struct log *l)
{
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | l->id.b[i];
    return ms * MSEC;
}

void log_print(struct jw *w, const struct log *l)
{
    struct log full = *l;
    full.created = full.updated = log_created(l);
    jw_object(w);
    record_print(w, &log_resource, &full, NULL);
    jw_end(w);
}

#define INSERT "INSERT INTO log(id, name, level, message, timestamp, flow_run_id, task_run_id) VALUES "
#define COLUMNS 7

/* SQLite: a prepared statement a row, no cheaper way is known. */
static int insert_singly(struct conn *c, const struct log *logs, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct log *l = &logs[i];
        if (db_exec(c, err, INSERT "($1, $2, $3, $4, $5, $6, $7)", "usistuu", l->id, l->name, l->level, l->message, l->timestamp,
                    l->flow_run_id, l->task_run_id) < 0)
            return -1;
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
    return str_dup(a, buf_view(&b));
}

/* PostgreSQL: many rows a round trip, in runs of 128, 16 and 1, so that there are three statements to prepare. */
static int insert_together(struct conn *c, const struct log *logs, size_t n, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct db_value *values = arena_array(a, struct db_value, 128 * COLUMNS);
    const Str texts[] = {multi_insert(a, 128), multi_insert(a, 16), multi_insert(a, 1)};
    for (size_t done = 0, rows; done < n; done += rows) {
        int which = n - done >= 128 ? 0 : n - done >= 16 ? 1 : 2;
        rows = which == 0 ? 128 : which == 1 ? 16 : 1;
        for (size_t i = 0; i < rows; i++) {
            const struct log *l = &logs[done + i];
            struct db_value *v = &values[i * COLUMNS];
            v[0] = (struct db_value){.type = 'u', .u = l->id};
            v[1] = (struct db_value){.type = 's', .s = l->name};
            v[2] = (struct db_value){.type = 'i', .i = l->level};
            v[3] = (struct db_value){.type = 's', .s = l->message};
            v[4] = (struct db_value){.type = 't', .i = l->timestamp};
            v[5] = (struct db_value){.type = 'u', .u = l->flow_run_id};
            v[6] = (struct db_value){.type = 'u', .u = l->task_run_id};
        }
        if (db_exec_v(c, err, texts[which], values, rows * COLUMNS) < 0)
            return -1;
    }
    return 0;
}

int logs_insert(struct conn *c, const struct log *logs, size_t n, struct err *err)
{
    return conn_kind(c) == DB_POSTGRES ? insert_together(c, logs, n, err) : insert_singly(c, logs, n, err);
}
