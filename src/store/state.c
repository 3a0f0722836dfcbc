#include "store/state.h"

#define COLUMNS "id, type, name, timestamp, message, " STATE_DATA("") ", state_details"
#define INSERTED "run_id, id, type, name, timestamp, message, data, state_details, result_artifact_id"

static const char *const titles[] = {"Scheduled", "Pending", "Running", "Completed", "Failed",
                                     "Cancelled", "Crashed", "Paused",  "Cancelling"};
_Static_assert(COUNT_OF(titles) == STATE_COUNT, "a title per state type");

Str state_type_title(enum state_type type)
{
    return str_of(titles[type]);
}

/* ---- rows ---- */

enum state_data state_data_kind(Str data)
{
    Str s = str_trim(data);
    if (!s.p || s.n < 2 || s.p[0] != '{')
        return DATA_NONE;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, s, &err);
    if (!json_is(v, JSON_OBJECT) || !v->object.n)
        return DATA_NONE;
    return str_eqz(json_get_str(v, STR("type")), "unpersisted") ? DATA_UNPERSISTED : DATA_PERSISTED;
}

int state_insert(struct conn *c, enum run_kind kind, Uuid run_id, const struct state *s, struct err *err)
{
    static const char *const sql[] = {
        [FLOW_RUN] = "INSERT INTO flow_run_state (" INSERTED ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                     " ON CONFLICT (run_id, timestamp) DO NOTHING",
        [TASK_RUN] = "INSERT INTO task_run_state (" INSERTED ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                     " ON CONFLICT (run_id, timestamp, id) DO NOTHING",
    };
    bool elsewhere = !uuid_is_nil(s->result_artifact_id) || state_data_kind(s->data) == DATA_UNPERSISTED;
    Str data = elsewhere ? STR_NONE : s->data;
    return (int)db_exec(c, err, sql[kind], "uusstsssu", run_id, s->id, s->type, s->name, s->timestamp, s->message, data, s->state_details, s->result_artifact_id);
}

bool state_load(struct arena *a, struct stmt *q, int first, struct state *ret)
{
    if (stmt_is_null(q, first))
        return false;
    Str type = stmt_str(q, first + 1);
    int t = state_type_of(type);
    *ret = (struct state){
        .id = stmt_uuid(q, first),
        .type = t >= 0 ? state_type_text((enum state_type)t) : str_dup(a, type),
        .name = str_dup(a, stmt_str(q, first + 2)),
        .timestamp = stmt_int(q, first + 3),
        .message = str_dup(a, stmt_str(q, first + 4)),
        .data = str_dup(a, stmt_str(q, first + 5)),
        .state_details = str_dup(a, stmt_str(q, first + 6)),
    };
    return true;
}

static int load_one(struct arena *a, struct stmt *own, struct state *ret, Uuid *ret_run, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = own;
    int rc = q ? stmt_step(q, err) : -1;
    if (rc == 1) {
        (void)state_load(a, q, 0, ret);
        if (ret_run)
            *ret_run = stmt_uuid(q, 7);
    }
    return rc;
}

int state_find(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, Uuid state_id, struct state *ret, struct err *err)
{
    static const char *const sql[] = {
        [FLOW_RUN] = "SELECT " COLUMNS " FROM flow_run_state WHERE run_id = $1 AND id = $2",
        [TASK_RUN] = "SELECT " COLUMNS " FROM task_run_state WHERE run_id = $1 AND id = $2",
    };
    return load_one(a, db_query(c, err, sql[kind], "uu", run_id, state_id), ret, NULL, err);
}

int state_find_at(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, Time at, Uuid state_id, struct state *ret, struct err *err)
{
    static const char *const sql[] = {
        [FLOW_RUN] = "SELECT " COLUMNS " FROM flow_run_state WHERE run_id = $1 AND timestamp = $2 AND id = $3",
        [TASK_RUN] = "SELECT " COLUMNS " FROM task_run_state WHERE run_id = $1 AND timestamp = $2 AND id = $3",
    };
    return load_one(a, db_query(c, err, sql[kind], "utu", run_id, at, state_id), ret, NULL, err);
}

int state_by_id(struct conn *c, struct arena *a, enum run_kind kind, Uuid state_id, struct state *ret, Uuid *ret_run, struct err *err)
{
    static const char *const sql[] = {
        [FLOW_RUN] = "SELECT " COLUMNS ", run_id FROM flow_run_state WHERE id = $1",
        [TASK_RUN] = "SELECT " COLUMNS ", run_id FROM task_run_state WHERE id = $1",
    };
    return load_one(a, db_query(c, err, sql[kind], "u", state_id), ret, ret_run, err);
}

int state_list(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, StateList *ret, struct err *err)
{
    static const char *const sql[] = {
        [FLOW_RUN] = "SELECT " COLUMNS " FROM flow_run_state WHERE run_id = $1 ORDER BY timestamp",
        [TASK_RUN] = "SELECT " COLUMNS " FROM task_run_state WHERE run_id = $1 ORDER BY timestamp, id",
    };
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, sql[kind], "u", run_id);
    int rc = q ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(q, err)) == 1) {
        struct state s;
        state_load(a, q, 0, &s);
        vec_push(a, ret, s);
    }
    return rc;
}

/* ---- as a value and as JSON ---- */

struct state state_new(enum state_type type, Str name, Str message, Time now)
{
    return (struct state){
        .id = uuid_v7(),
        .type = state_type_text(type),
        .name = name.p ? name : state_type_title(type),
        .timestamp = now,
        .message = message,
        .data = STR_NONE,
        .state_details = STR("{}"),
    };
}

/* What a result's artifact will be called stands in its data (store/artifacts.h). */
static void check_artifact_keys(const struct json *data, struct violations *v)
{
    static const char *const keys[] = {"artifact_type", "artifact_key", "artifact_description"};
    Str before = violations_enter(v, STR("data"));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct json *text = json_get(data, str_of(keys[i]));
        if (!json_is_null(text) && text->kind != JSON_STRING)
            violation_add(v, "string_type", str_of(keys[i]), text, "must be a string");
    }
    v->prefix = before;
}

void state_parse(struct arena *a, const struct json *body, Time now, struct state *ret, struct violations *v)
{
    size_t before = v->list.n;
    record_init(&state_resource, ret);
    record_parse(a, &state_resource, CREATE, body, ret, v);
    check_artifact_keys(json_getz(body, "data"), v);
    if (v->list.n != before)
        return;
    int type = state_type_of(ret->type);
    ret->type = state_type_text((enum state_type)type);
    if (!ret->name.p)
        ret->name = state_type_title((enum state_type)type);
    ret->id = uuid_v7();
    ret->timestamp = now;
    if (type == STATE_SCHEDULED) {
        struct state_details d;
        state_details_get(a, ret, &d);
        if (d.scheduled_time == TIME_NONE) {
            d.scheduled_time = now;
            state_details_put(a, ret, &d);
        }
    }
}

void state_print(struct jw *w, const struct state *s)
{
    if (!s) {
        jw_null(w);
        return;
    }
    jw_object(w);
    record_print(w, &state_resource, s, NULL);
    jw_end(w);
}

void state_details_get(struct arena *a, const struct state *s, struct state_details *ret)
{
    shape_read(a, &state_details_shape, s->state_details, ret);
}

void state_details_put(struct arena *a, struct state *s, const struct state_details *d)
{
    s->state_details = shape_text(a, &state_details_shape, d);
}
