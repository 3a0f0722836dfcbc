/* Schedules of deployments. */
#include "api/deployments.h"
#include "base/limits.h"
#include "schedule/schedule.h"

void schedule_print_row(struct jw *w, const struct deployment_schedule *s)
{
    jw_object(w);
    record_print(w, &deployment_schedule_resource, s, NULL);
    jw_knull(w, "max_active_runs"); /* 2.x */
    jw_kbool(w, "catchup", false);
    jw_end(w);
}

int schedules_of(struct call *c, Uuid deployment_id, ScheduleList *ret, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(&deployment_schedule_resource));
    sql_z(&q, " FROM deployment_schedule WHERE deployment_id = ");
    sql_uuid(&q, deployment_id);
    sql_z(&q, " ORDER BY updated DESC, id DESC");
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct deployment_schedule s;
        record_load(c->a, &deployment_schedule_resource, rows, 0, &s);
        vec_push(c->a, ret, s);
    }
    return rc;
}

/* The schedule's text := as it is stored, with defaults; how many runs ahead it may ask for. */
static void normalise(struct call *c, struct deployment_schedule *s, const struct json *body)
{
    if (s->max_scheduled_runs != INT_NONE && s->max_scheduled_runs > LIMIT_SCHEDULE_AHEAD)
        violation_add(&c->violations, "value_error", STR("max_scheduled_runs"), json_getz(body, "max_scheduled_runs"),
                      str_fmt(c->a, "must be at most %d", LIMIT_SCHEDULE_AHEAD).p);
    const struct json *spec = json_getz(body, "schedule");
    struct err why;
    if (!json_is(spec, JSON_OBJECT))
        return; /* said already */
    const struct schedule *schedule = schedule_parse(c->a, spec, c->now, &why);
    if (!schedule) {
        violation_add(&c->violations, "value_error", STR("schedule"), spec, why.text);
        return;
    }
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    schedule_print(schedule, &w);
    s->schedule = str_dup(c->a, buf_view(&b));
}

static void parse_one(struct call *c, const struct json *body, int view, struct deployment_schedule *ret)
{
    record_init(&deployment_schedule_resource, ret);
    record_parse(c->a, &deployment_schedule_resource, view, body, ret, &c->violations);
    normalise(c, ret, body);
}

void schedules_parse(struct call *c, const struct json *list, int view, ScheduleList *ret)
{
    if (!json_is(list, JSON_ARRAY)) {
        violation_add(&c->violations, "list_type", STR_NONE, list, "must be a list of schedules");
        return;
    }
    for (size_t i = 0; i < list->array.n; i++) {
        struct deployment_schedule s;
        Str before = violations_enter_item(&c->violations, i);
        parse_one(c, &list->array.items[i], view, &s);
        c->violations.prefix = before;
        vec_push(c->a, ret, s);
    }
}

int schedule_insert(struct call *c, Uuid deployment_id, struct deployment_schedule *s, struct err *err)
{
    if (!s->schedule.p)
        return err_set(err, ERR_UNPROCESSABLE, "A new schedule needs a 'schedule' that says when it fires.");
    s->id = uuid_v7();
    s->created = s->updated = c->now;
    s->deployment_id = deployment_id;
    if (s->active == BOOL_NONE)
        s->active = 1;
    if (!s->parameters.p)
        s->parameters = STR("{}");
    int64_t n = record_insert(c->conn, &deployment_schedule_resource, s, "ON CONFLICT (deployment_id, slug) DO NOTHING", err);
    if (n == 0)
        return err_set(err, ERR_CONFLICT, "The deployment has a schedule with the slug '%.*s' already.", STR_ARG(str_sub(s->slug, 0, 150)));
    return n < 0 ? -1 : 0;
}

int schedules_replace(struct call *c, Uuid deployment_id, ScheduleList *list, struct err *err)
{
    if (db_exec(c->conn, err, "DELETE FROM deployment_schedule WHERE deployment_id = $1", "u", deployment_id) < 0)
        return -1;
    for (size_t i = 0; i < list->n; i++)
        if (schedule_insert(c, deployment_id, &list->v[i], err) < 0)
            return -1;
    return 0;
}

static struct deployment_schedule *by_slug(ScheduleList *list, Str slug)
{
    for (size_t i = 0; slug.p && i < list->n; i++)
        if (str_eq(list->v[i].slug, slug))
            return &list->v[i];
    return NULL;
}

int schedules_patch(struct call *c, Uuid deployment_id, ScheduleList *list, struct err *err)
{
    ScheduleList have = {0};
    if (schedules_of(c, deployment_id, &have, err) < 0)
        return -1;
    bool have_slugs = have.n > 0, sent_slugs = true;
    for (size_t i = 0; i < have.n; i++)
        have_slugs &= have.v[i].slug.p != NULL;
    for (size_t i = 0; i < list->n; i++)
        sent_slugs &= list->v[i].slug.p != NULL;
    if (have_slugs && !sent_slugs)
        return err_set(err, ERR_UNPROCESSABLE, "Each schedule needs a slug, so that it is clear which of the deployment's schedules it updates.");
    if (!have_slugs)
        return schedules_replace(c, deployment_id, list, err);
    for (size_t i = 0; i < list->n; i++) {
        struct deployment_schedule *s = &list->v[i];
        for (size_t k = 0; k < i; k++)
            if (s->replaces.p && str_eq(list->v[k].replaces, s->replaces))
                return err_set(err, ERR_UNPROCESSABLE, "Two schedules replace the same slug: %.*s", STR_ARG(str_sub(s->replaces, 0, 150)));
        struct deployment_schedule *target = s->replaces.p ? by_slug(&have, s->replaces) : by_slug(&have, s->slug);
        if (s->replaces.p && target && !str_eq(s->slug, s->replaces) && by_slug(&have, s->slug))
            return err_set(err, ERR_UNPROCESSABLE, "A schedule with the slug '%.*s' exists, so '%.*s' cannot be renamed to it.",
                           STR_ARG(str_sub(s->slug, 0, 150)), STR_ARG(str_sub(s->replaces, 0, 150)));
        if (!target)
            target = by_slug(&have, s->slug);
        if (!target) {
            if (schedule_insert(c, deployment_id, s, err) < 0)
                return -1;
            continue;
        }
        s->updated = c->now;
        SET_FIELD(s, deployment_schedule__updated);
        if (record_update(c->conn, &deployment_schedule_resource, s, s->set, target->id, err) < 0)
            return -1;
    }
    return 0;
}

int schedules_changed(struct call *c, const struct deployment *d, struct err *err)
{
    struct scheduling s = call_scheduling(c);
    return schedule_drop_runs(&s, d->id, UUID_NIL, false, err) < 0 || schedule_arm(&s, d->id, d->paused == 1, err) < 0 ? -1 : 0;
}

/* ---- routes ---- */

int deployment_schedules_read(struct call *c, struct err *err)
{
    struct deployment d;
    ScheduleList list = {0};
    if (deployment_load(c, c->id, false, &d, err) < 0 || schedules_of(c, d.id, &list, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < list.n; i++)
        schedule_print_row(&c->w, &list.v[i]);
    jw_end(&c->w);
    return 0;
}

int deployment_schedules_create(struct call *c, struct err *err)
{
    struct deployment d;
    ScheduleList list = {0};
    schedules_parse(c, c->body, CREATE, &list);
    if (call_invalid(c, err) < 0 || deployment_load(c, c->id, true, &d, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < list.n; i++) {
        if (schedule_insert(c, d.id, &list.v[i], err) < 0)
            return -1;
        schedule_print_row(&c->w, &list.v[i]);
    }
    jw_end(&c->w);
    return schedules_changed(c, &d, err);
}

static int schedule_id(struct call *c, Uuid *ret, struct err *err)
{
    if (!uuid_parse(c->params[1], ret))
        return call_not_found(err, "Schedule");
    return 0;
}

int deployment_schedules_update(struct call *c, struct err *err)
{
    struct deployment d;
    struct deployment_schedule s;
    Uuid id;
    call_read(c, &deployment_schedule_resource, UPDATE, &s);
    normalise(c, &s, c->body);
    if (call_invalid(c, err) < 0 || schedule_id(c, &id, err) < 0 || deployment_load(c, c->id, true, &d, err) < 0)
        return -1;
    int64_t n;
    int rc = db_get_int(c->conn, err, &n, "SELECT 1 FROM deployment_schedule WHERE id = $1 AND deployment_id = $2", "uu", id, d.id);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Schedule");
    s.updated = c->now;
    SET_FIELD(&s, deployment_schedule__updated);
    if (record_update(c->conn, &deployment_schedule_resource, &s, s.set, id, err) < 0)
        return -1;
    struct scheduling on = call_scheduling(c);
    if (schedule_drop_runs(&on, d.id, id, false, err) < 0 || schedule_arm(&on, d.id, d.paused == 1, err) < 0)
        return -1;
    return call_empty(c, 204);
}

int deployment_schedules_delete(struct call *c, struct err *err)
{
    struct deployment d;
    Uuid id;
    if (schedule_id(c, &id, err) < 0 || deployment_load(c, c->id, true, &d, err) < 0)
        return -1;
    struct scheduling on = call_scheduling(c);
    if (schedule_drop_runs(&on, d.id, id, true, err) < 0)
        return -1;
    int64_t n = db_exec(c->conn, err, "DELETE FROM deployment_schedule WHERE id = $1 AND deployment_id = $2", "uu", id, d.id);
    return n < 0 ? -1 : n == 0 ? call_not_found(err, "Schedule") : call_empty(c, 204);
}

int deployments_schedule(struct call *c, struct err *err)
{
    struct deployment d;
    ScheduleList list = {0};
    struct horizon h = horizon_from(c->ws, c->now);
    h.start = call_time(c, "start_time", h.start);
    h.end = call_time(c, "end_time", h.end);
    Dur least = call_dur(c, "min_time");
    int64_t min_runs = call_int(c, "min_runs"), max_runs = call_int(c, "max_runs");
    h.min_time = least != INT_NONE ? least : h.min_time;
    h.min_runs = min_runs != INT_NONE ? min_runs : h.min_runs;
    h.max_runs = max_runs != INT_NONE ? max_runs : h.max_runs;
    if (call_invalid(c, err) < 0 || deployment_load(c, c->id, true, &d, err) < 0 || schedules_of(c, d.id, &list, err) < 0)
        return -1;
    struct scheduling s = call_scheduling(c);
    for (size_t i = 0; i < list.n; i++) {
        Time next;
        list.v[i].made_to = TIME_NONE; /* asked for outright */
        if (list.v[i].active == 1 && schedule_make_runs(&s, &d, &list.v[i], &h, &next, err) < 0)
            return -1;
    }
    return call_null(c);
}

static int set_paused(struct call *c, bool paused, struct err *err)
{
    struct deployment d;
    if (deployment_load(c, c->id, true, &d, err) < 0)
        return -1;
    d.paused = paused;
    d.updated = c->now;
    FieldSet mask = (FieldSet)1 << deployment__paused | (FieldSet)1 << deployment__updated;
    struct scheduling s = call_scheduling(c);
    if (record_update(c->conn, &deployment_resource, &d, mask, d.id, err) < 0 ||
        (paused && schedule_drop_runs(&s, d.id, UUID_NIL, true, err) < 0) || schedule_arm(&s, d.id, paused, err) < 0)
        return -1;
    return call_null(c);
}

int deployments_pause(struct call *c, struct err *err)
{
    return set_paused(c, true, err);
}

int deployments_resume(struct call *c, struct err *err)
{
    return set_paused(c, false, err);
}

/* 2.x: its deployments have one schedule; where there are several, which one is meant cannot be told. */
static int set_active(struct call *c, bool active, struct err *err)
{
    ScheduleList list = {0};
    struct deployment d;
    if (deployment_load(c, c->id, true, &d, err) < 0 || schedules_of(c, d.id, &list, err) < 0)
        return -1;
    if (list.n > 1)
        return err_set(err, ERR_UNPROCESSABLE, "Error updating deployment: Deployment %s has multiple schedules; use its schedules' own routes.",
                       uuid_text(d.id).s);
    if (db_exec(c->conn, err, "UPDATE deployment_schedule SET active = $2, updated = $3 WHERE deployment_id = $1", "uot", d.id, active, c->now) < 0)
        return -1;
    return set_paused(c, !active, err);
}

int deployments_set_schedule_active(struct call *c, struct err *err)
{
    return set_active(c, true, err);
}

int deployments_set_schedule_inactive(struct call *c, struct err *err)
{
    return set_active(c, false, err);
}
