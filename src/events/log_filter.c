#include "events/log_filter.h"

#include <string.h>

typedef VEC(Uuid) UuidList;

/* A leaf holds where each of its members that were sent does; by `operator` all leaves must hold, or one. */
struct log_filter {
    bool any;
    bool has_level, has_time, has_flow, has_task, has_text;
    int64_t level_ge, level_le;
    Time after, before;
    bool flow_any, task_any;
    UuidList flow_runs, task_runs;
    int8_t task_null;
    struct text_query text;
};

static bool is_operator(const struct json_member *m)
{
    return str_eqz(m->key, "operator");
}

static void unknown(struct violations *v, const struct json_member *m)
{
    violation_add(v, "extra_forbidden", m->key, &m->value, "is not a known key here");
}

static void read_level(struct log_filter *f, const struct json_member *m, struct violations *v)
{
    int64_t *at = str_eqz(m->key, "ge_") ? &f->level_ge : str_eqz(m->key, "le_") ? &f->level_le : NULL;
    if (!at)
        unknown(v, m);
    else if (m->value.kind != JSON_NULL && !json_int(&m->value, at))
        violation_add(v, "int_type", m->key, &m->value, "must be a whole number");
}

static void read_time(struct log_filter *f, const struct json_member *m, struct violations *v)
{
    Time *at = str_eqz(m->key, "after_") ? &f->after : str_eqz(m->key, "before_") ? &f->before : NULL;
    if (!at)
        unknown(v, m);
    else if (m->value.kind != JSON_NULL && !time_read(&m->value, at))
        violation_add(v, "datetime_parsing", m->key, &m->value, "must be a date and time in ISO 8601");
}

static void read_ids(struct arena *a, UuidList *list, const struct json_member *m, struct violations *v)
{
    if (m->value.kind != JSON_ARRAY) {
        violation_add(v, "list_type", m->key, &m->value, "must be a list of UUIDs");
        return;
    }
    for (size_t i = 0; i < m->value.array.n; i++) {
        const struct json *x = &m->value.array.items[i];
        Uuid id = UUID_NIL;
        if (x->kind != JSON_STRING || !uuid_parse(x->string, &id))
            violation_add(v, "uuid_parsing", m->key, x, "must be a UUID");
        vec_push(a, list, id);
    }
}

static void read_flow_run(struct arena *a, struct log_filter *f, const struct json_member *m, struct violations *v)
{
    if (!str_eqz(m->key, "any_")) {
        unknown(v, m);
    } else if (m->value.kind != JSON_NULL) {
        f->flow_any = true;
        read_ids(a, &f->flow_runs, m, v);
    }
}

static void read_task_run(struct arena *a, struct log_filter *f, const struct json_member *m, struct violations *v)
{
    if (str_eqz(m->key, "any_")) {
        if (m->value.kind == JSON_NULL)
            return;
        f->task_any = true;
        read_ids(a, &f->task_runs, m, v);
    } else if (str_eqz(m->key, "is_null_")) {
        if (m->value.kind == JSON_BOOL)
            f->task_null = m->value.boolean;
        else if (m->value.kind != JSON_NULL)
            violation_add(v, "bool_type", m->key, &m->value, "must be true or false");
    } else {
        unknown(v, m);
    }
}

static void read_leaf(struct arena *a, struct log_filter *f, Str name, const struct json_member *m, struct violations *v)
{
    if (str_eqz(name, "level"))
        read_level(f, m, v);
    else if (str_eqz(name, "timestamp"))
        read_time(f, m, v);
    else if (str_eqz(name, "flow_run_id"))
        read_flow_run(a, f, m, v);
    else if (str_eqz(name, "task_run_id"))
        read_task_run(a, f, m, v);
    else if (!str_eqz(m->key, "query"))
        unknown(v, m);
    else
        f->text = text_query_parse(a, STR("query"), &m->value, v);
}

struct log_filter *log_filter_parse(struct arena *a, const struct json *object, struct violations *v)
{
    struct log_filter *f = arena_new(a, struct log_filter);
    f->level_ge = f->after = INT64_MIN;
    f->level_le = f->before = INT64_MAX;
    f->task_null = BOOL_NONE;
    if (json_is_null(object))
        return f;
    if (object->kind != JSON_OBJECT) {
        violation_add(v, "model_attributes_type", STR_NONE, object, "must be an object");
        return f;
    }
    const struct {
        const char *key;
        bool *has;
    } leaves[] = {{"level", &f->has_level},
                  {"timestamp", &f->has_time},
                  {"flow_run_id", &f->has_flow},
                  {"task_run_id", &f->has_task},
                  {"text", &f->has_text}};
    for (size_t i = 0; i < object->object.n; i++) {
        const struct json_member *m = &object->object.members[i];
        bool *has = NULL;
        for (size_t k = 0; k < COUNT_OF(leaves); k++)
            if (str_eqz(m->key, leaves[k].key))
                has = leaves[k].has;
        if (is_operator(m)) {
            f->any = str_eqz(json_str(&m->value), "or_");
            if (!f->any && !str_eqz(json_str(&m->value), "and_") && m->value.kind != JSON_NULL)
                violation_add(v, "enum", m->key, &m->value, "must be and_ or or_");
        } else if (!has) {
            unknown(v, m);
        } else if (m->value.kind == JSON_OBJECT) {
            *has = true;
            Str before = violations_enter(v, m->key);
            for (size_t k = 0; k < m->value.object.n; k++)
                read_leaf(a, f, m->key, &m->value.object.members[k], v);
            if (has == &f->has_text && !json_getz(&m->value, "query"))
                violation_add(v, "missing", STR("query"), &m->value, "is required");
            v->prefix = before;
        } else if (m->value.kind != JSON_NULL) {
            violation_add(v, "model_attributes_type", m->key, &m->value, "must be an object");
        }
    }
    return f;
}

static bool among(Uuid id, const Uuid *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (uuid_eq(id, list[i]))
            return true;
    return false;
}

bool log_filter_match(const struct log_filter *f, const struct log *l)
{
    const Str texts[] = {l->message, l->name};
    const struct {
        bool asked, holds;
    } leaves[] = {
        {f->has_level, l->level >= f->level_ge && l->level <= f->level_le},
        {f->has_time, l->timestamp >= f->after && l->timestamp <= f->before},
        {f->has_flow, !f->flow_any || among(l->flow_run_id, f->flow_runs.v, f->flow_runs.n)},
        {f->has_task, (!f->task_any || among(l->task_run_id, f->task_runs.v, f->task_runs.n)) &&
                          (f->task_null == BOOL_NONE || f->task_null == uuid_is_nil(l->task_run_id))},
        {f->has_text, !f->has_text || text_query_match(&f->text, texts, COUNT_OF(texts))},
    };
    size_t asked = 0, hold = 0;
    for (size_t i = 0; i < COUNT_OF(leaves); i++) {
        asked += leaves[i].asked;
        hold += leaves[i].asked && leaves[i].holds;
    }
    return f->any && asked ? hold > 0 : hold == asked;
}
