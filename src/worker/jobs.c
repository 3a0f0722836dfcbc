#include "worker/crew.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/cgroup.h"
#include "worker/supervised.h"

#define UNCLAIMED_PATIENCE (15 * SEC) /* a run that is being cancelled and has no place yet may get one */

bool is_passing_error(const struct err *err)
{
    switch (err->code) {
    case ERR_AUTH:
    case ERR_FORBIDDEN:
    case ERR_BUSY:
    case ERR_DB:
    case ERR_DISK:
    case ERR_IO:
    case ERR_INTERNAL:
        return true;
    default:
        return false;
    }
}

static Str pool_path(struct hand *h, const struct pool *p, const char *rest)
{
    return str_fmt(h->arena, "/work_pools/%.*s%s", STR_ARG(url_segment(h->arena, str_of(p->name))), rest);
}

bool pool_take(struct crew *c, struct pool *p, const struct json *v)
{
    if (!json_is(v, JSON_OBJECT))
        return p->driver;
    Str type = json_get_str(v, STR("type"));
    const struct json *template = json_getz(v, "base_job_template"), *paused = json_getz(v, "is_paused");
    const struct infra_driver *driver = infra_find(type);
    char *text = strndup(template ? template->raw.p : "{}", template ? template->raw.n : 2);
    pthread_mutex_lock(&c->lock);
    free(p->template);
    p->template = text;
    p->paused = json_is(paused, JSON_BOOL) && paused->boolean;
    p->refreshed = time_now();
    p->gone = false;
    if (!p->type || !str_eqz(type, p->type)) {
        free(p->type);
        p->type = strndup(type.p ? type.p : "", type.n);
        p->driver = driver;
    }
    pthread_mutex_unlock(&c->lock);
    return driver;
}

/* The template that a new pool of the type starts with, from the server's catalogue. */
static const struct json *default_template(struct hand *h, Str type, struct err *err)
{
    if (h->crew->o.base_job_template.p)
        return json_parse(h->arena, h->crew->o.base_job_template, err);
    const struct json *all;
    if (client_json(h->api, h->arena, "GET", STR("/collections/views/aggregate-worker-metadata"), STR_NONE, &all, err) < 0)
        return NULL;
    for (size_t i = 0; json_is(all, JSON_OBJECT) && i < all->object.n; i++) {
        const struct json *package = &all->object.members[i].value;
        for (size_t k = 0; json_is(package, JSON_OBJECT) && k < package->object.n; k++) {
            const struct json *record = &package->object.members[k].value;
            if (str_eq(json_get_str(record, STR("type")), type))
                return json_getz(record, "default_base_job_configuration");
        }
    }
    err_set(err, ERR_NOT_FOUND, "the server knows no kind of work pool '%.*s'", STR_ARG(type));
    return NULL;
}

static int pool_create(struct hand *h, struct pool *p, struct err *err)
{
    Str type = h->crew->o.type;
    const struct json *template = default_template(h, type, err), *made;
    if (!template)
        return err_wrap(err, "making work pool '%s'", p->name);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "name", p->name);
    jw_kstr(&w, "type", type);
    jw_kvalue(&w, "base_job_template", template);
    jw_end(&w);
    if (client_json(h->api, h->arena, "POST", STR("/work_pools/"), buf_view(&b), &made, err) < 0 && err->code != ERR_CONFLICT)
        return err_wrap(err, "making work pool '%s'", p->name);
    log_at(LOG_INFO, "worker", "work pool made", "pool=\"%s\" type=%.*s", p->name, STR_ARG(type));
    return 0;
}

static void get_ready(struct hand *h, struct pool *p)
{
    struct crew *c = h->crew;
    pthread_mutex_lock(&c->lock);
    bool first = !c->ready;
    c->ready = true;
    pthread_mutex_unlock(&c->lock);
    if (first) {
        log_at(LOG_INFO, "worker", "ready", "name=\"%.*s\" pool=\"%s\"", STR_ARG(c->o.name), p ? p->name : "(managed)");
        if (c->o.ready)
            c->o.ready(c->o.user);
        crew_nudge(c);
    }
    if (p) {
        claims_recover(h);
        crew_poll(c, p);
    }
}

void job_refresh(struct hand *h, struct pool *p)
{
    struct crew *c = h->crew;
    const struct json *v;
    struct err err;
    bool first = !p->refreshed;
    if (client_json(h->api, h->arena, "GET", pool_path(h, p, ""), STR_NONE, &v, &err) == 0) {
        if (!pool_take(c, p, v)) {
            if (!p->told_unusable)
                log_at(LOG_ERROR, "worker", "no driver for this kind of work pool", "pool=\"%s\" type=%s", p->name, p->type);
            p->told_unusable = true;
            err_set(&err, ERR_INVALID, "work pool '%s' is of type '%s', which this worker cannot serve", p->name, p->type);
            if (!c->o.managed)
                crew_fail(c, &err);
            return;
        }
        struct infra_context cx = {.a = h->arena, .api = h->api, .host = &c->host};
        AUTO(buf_free) struct buf notes = BUF(4096);
        if (first && p->driver->probe && p->driver->probe(&cx, &notes, &err) < 0) {
            log_at(LOG_ERROR, "worker", "this machine cannot serve the work pool", "pool=\"%s\" error=\"%s\"", p->name, err.text);
            err_wrap(&err, "work pool '%s' cannot be served here", p->name);
            if (!c->o.managed)
                crew_fail(c, &err);
            return;
        }
        Str lines = buf_view(&notes);
        for (Str line; first && str_cut(&lines, '\n', &line);)
            if (line.n)
                log_at(LOG_WARN, "worker", "weaker than it could be", "pool=\"%s\" why=\"%.*s\"", p->name, STR_ARG(line));
        if (first)
            get_ready(h, p);
        return;
    }
    if (is_passing_error(&err)) {
        log_at(LOG_WARN, "worker", "the work pool cannot be read, trying again", "pool=\"%s\" error=\"%s\"", p->name, err.text);
        if (first && (err.code == ERR_AUTH || err.code == ERR_FORBIDDEN))
            crew_fail(c, &err);
        if (first)
            crew_add(c, (struct job){.kind = JOB_REFRESH, .pool = p}, 2 * SEC);
        return;
    }
    if (err.code == ERR_NOT_FOUND && !c->o.managed && c->o.create_pool_if_not_found && !p->created) {
        p->created = true;
        if (pool_create(h, p, &err) == 0) {
            crew_add(c, (struct job){.kind = JOB_REFRESH, .pool = p}, 0);
            return;
        }
        p->created = false;
    }
    p->gone = true;
    if (c->o.managed)
        return;
    if (first)
        crew_fail(c, &err);
    else
        log_at(LOG_WARN, "worker", "the work pool is gone", "pool=\"%s\" error=\"%s\"", p->name, err.text);
}

void job_discover(struct hand *h)
{
    struct crew *c = h->crew;
    struct err err;
    for (int offset = 0;; offset += LIMIT_PAGE) {
        const struct json *list;
        Str body = str_fmt(h->arena, "{\"limit\":%d,\"offset\":%d}", LIMIT_PAGE, offset);
        if (client_json(h->api, h->arena, "POST", STR("/work_pools/filter"), body, &list, &err) < 0) {
            log_at(LOG_WARN, "worker", "work pools cannot be listed, trying again", "error=\"%s\"", err.text);
            crew_add(c, (struct job){.kind = JOB_DISCOVER}, 2 * SEC);
            return;
        }
        for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
            const struct json *v = &list->array.items[i];
            Str type = json_get_str(v, STR("type")), name = json_get_str(v, STR("name"));
            if (!str_ends(type, STR(":managed")))
                continue;
            struct pool *p = crew_pool(c, name);
            bool is_new = !p;
            if (is_new) {
                p = calloc(1, sizeof *p);
                if (!p)
                    die("out of memory");
                p->name = strndup(name.p, name.n);
                pthread_mutex_lock(&c->lock);
                p->next = c->pools;
                c->pools = p;
                pthread_mutex_unlock(&c->lock);
                crew_add(c, (struct job){.kind = JOB_REFRESH, .pool = p}, 0);
                crew_add(c, (struct job){.kind = JOB_SWEEP, .pool = p}, 0);
            } else {
                (void)pool_take(c, p, v);
            }
        }
        if (!json_is(list, JSON_ARRAY) || list->array.n < LIMIT_PAGE)
            break;
    }
    get_ready(h, NULL);
}

void job_heartbeat(struct hand *h, struct pool *p)
{
    pthread_mutex_lock(&h->crew->lock);
    bool linked = h->crew->linked;
    pthread_mutex_unlock(&h->crew->lock);
    if (linked)
        return;
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "name", h->crew->o.name);
    jw_kint(&w, "heartbeat_interval_seconds", h->crew->o.heartbeat_every / SEC);
    jw_end(&w);
    const struct json *v;
    struct err err;
    if (client_json(h->api, h->arena, "POST", pool_path(h, p, "/workers/heartbeat"), buf_view(&b), &v, &err) < 0)
        log_at(LOG_WARN, "worker", "the heartbeat was not taken", "pool=\"%s\" error=\"%s\"", p->name, err.text);
    arena_reset(h->arena);
    job_refresh(h, p);
}

void job_poll(struct hand *h, struct pool *p)
{
    struct crew *c = h->crew;
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_ktime(&w, "scheduled_before", time_now() + c->o.prefetch);
    jw_key(&w, STR("work_queue_names"));
    jw_array(&w);
    for (size_t i = 0; i < c->o.queue_count; i++)
        jw_str(&w, c->o.queues[i]);
    jw_end(&w);
    jw_end(&w);
    const struct json *list = NULL;
    struct err err;
    bool failed = client_json(h->api, h->arena, "POST", pool_path(h, p, "/get_scheduled_flow_runs"), buf_view(&b), &list, &err) < 0;
    if (failed)
        log_at(LOG_WARN, "worker", "due runs cannot be asked for", "pool=\"%s\" error=\"%s\"", p->name, err.text);
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        const struct json *run = json_getz(&list->array.items[i], "flow_run");
        Uuid id;
        bool full;
        if (!uuid_parse(json_get_str(run, STR("id")), &id))
            continue;
        if (!crew_reserve(c, id, p, &full)) {
            if (full)
                break;
            continue;
        }
        crew_add(c, (struct job){.kind = JOB_CLAIM, .pool = p, .run = id, .transition = uuid_v4(),
                                 .flow_run = strndup(run->raw.p, run->raw.n)}, 0);
    }
    pthread_mutex_lock(&c->lock);
    p->poll_queued = false;
    bool again = p->poll_again;
    p->poll_again = false;
    pthread_mutex_unlock(&c->lock);
    if (again)
        crew_poll(c, p);
}

/* Runs of the pool that are being cancelled: for servers that tell nobody, and for what was missed. */
void job_sweep(struct hand *h, struct pool *p)
{
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("flow_runs"));
    jw_raw(&w, STR("{\"state\":{\"type\":{\"any_\":[\"CANCELLING\"]}}}"));
    jw_key(&w, STR("work_pools"));
    jw_object(&w);
    jw_key(&w, STR("name"));
    jw_object(&w);
    jw_key(&w, STR("any_"));
    jw_array(&w);
    jw_z(&w, p->name);
    jw_end(&w);
    jw_end(&w);
    jw_end(&w);
    jw_kint(&w, "limit", LIMIT_PAGE);
    jw_end(&w);
    const struct json *list;
    struct err err;
    if (client_json(h->api, h->arena, "POST", STR("/flow_runs/filter"), buf_view(&b), &list, &err) < 0) {
        log_at(LOG_WARN, "worker", "cancelled runs cannot be asked for", "pool=\"%s\" error=\"%s\"", p->name, err.text);
        return;
    }
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++) {
        Uuid id;
        if (uuid_parse(json_get_str(&list->array.items[i], STR("id")), &id))
            crew_add(h->crew, (struct job){.kind = JOB_CANCEL, .pool = p, .run = id}, 0);
    }
}

int propose(struct hand *h, Uuid run, const char *type, const char *name, Str message, Uuid transition, const char *expected,
            const struct json **ret, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("state"));
    jw_object(&w);
    jw_kz(&w, "type", type);
    if (name)
        jw_kz(&w, "name", name);
    if (message.p)
        jw_kstr(&w, "message", message);
    jw_key(&w, STR("state_details"));
    jw_object(&w);
    jw_kuuid(&w, "flow_run_id", run);
    jw_kuuid(&w, "transition_id", transition);
    jw_end(&w);
    jw_end(&w);
    if (expected)
        jw_kz(&w, "expected_state_type", expected);
    jw_end(&w);
    const struct json *v;
    Str path = str_fmt(h->arena, "/flow_runs/%s/set_state", uuid_text(run).s);
    if (client_json(h->api, h->arena, "POST", path, buf_view(&b), &v, err) < 0)
        return -1;
    const struct json *state = json_getz(v, "state");
    *ret = state;
    if (str_eqz(json_get_str(v, STR("status")), "ACCEPT") && str_eqz(json_get_str(state, STR("type")), type))
        return 1;
    /* An answer that was lost: the same transition has been made before. */
    Uuid made;
    if (uuid_parse(json_str(json_path(state, "state_details.transition_id")), &made) && uuid_eq(made, transition) &&
        str_eqz(json_get_str(state, STR("type")), type))
        return 1;
    return 0;
}

/* Nothing of it runs anywhere that we could reach. */
static void cancel_without_place(struct hand *h, Uuid run, const char *why)
{
    struct err err;
    const struct json *state;
    if (propose(h, run, "CANCELLED", NULL, str_of(why), uuid_v4(), /* expected: */ NULL, &state, &err) < 0)
        log_at(LOG_WARN, "worker", "a cancelled run could not be marked, trying at the next look", "flow_run=%s error=\"%s\"",
               uuid_text(run).s, err.text);
}

void job_cancel(struct hand *h, struct job *j)
{
    struct crew *c = h->crew;
    struct err err;
    int pid = crew_slot_pid(c, j->run);
    if (pid < 0) { /* on its way: once it is there, or refused, look again */
        if (j->tries++ < 100)
            crew_add(c, *j, 100 * MSEC);
        return;
    }
    const struct json *run;
    Str path = str_fmt(h->arena, "/flow_runs/%s", uuid_text(j->run).s);
    if (client_json(h->api, h->arena, "GET", path, STR_NONE, &run, &err) < 0) {
        if (is_passing_error(&err) && j->tries++ < 100)
            crew_add(c, *j, 2 * SEC);
        return;
    }
    if (!str_eqz(json_get_str(run, STR("state_type")), "CANCELLING"))
        return;
    Str pool = json_get_str(run, STR("work_pool_name")), where = json_get_str(run, STR("infrastructure_pid"));
    struct pool *p = j->pool ? j->pool : crew_pool(c, pool);
    if (!p || !p->driver)
        return;
    if (pid > 0)
        where = str_fmt(h->arena, "%.*s:%d", STR_ARG(c->host.host_name), pid);
    struct infra_context cx = {.a = h->arena, .api = h->api, .host = &c->host};
    if (p->driver->cancel(&cx, j->run, where, 30 * SEC, &err) == 0) {
        log_at(LOG_INFO, "worker", "cancelling a run", "flow_run=%s", uuid_text(j->run).s);
        return;
    }
    if (err.code == ERR_FORBIDDEN) {
        log_at(LOG_DEBUG, "worker", "not ours to cancel", "flow_run=%s why=\"%s\"", uuid_text(j->run).s, err.text);
        return;
    }
    if (err.code != ERR_NOT_FOUND) {
        log_at(LOG_WARN, "worker", "a run could not be cancelled, trying again", "flow_run=%s error=\"%s\"", uuid_text(j->run).s, err.text);
        if (j->tries++ < 100)
            crew_add(c, *j, 5 * SEC);
        return;
    }
    Time since;
    if (!where.n) {
        /* Pending somewhere, perhaps in another worker's hands for a moment yet. */
        if (time_parse(json_str(json_path(run, "state.timestamp")), &since) && time_now() - since < UNCLAIMED_PATIENCE) {
            if (j->tries++ < 100)
                crew_add(c, *j, 5 * SEC);
            return;
        }
        cancel_without_place(h, j->run, "Flow run was cancelled before anything was started for it.");
    } else {
        cancel_without_place(h, j->run, "Flow run was cancelled; its process is no longer there.");
    }
}

/* A directory whose supervisor is dead gets one that reports. */
static void report_lost(struct crew *c, const struct run_dir *d)
{
    struct err err;
    int pid;
    if (supervised_report(&c->host, d->path, &pid, &err) < 0)
        log_at(LOG_WARN, "worker", "a lost run cannot be reported, skipping", "directory=\"%.*s\" error=\"%s\"", STR_ARG(d->path), err.text);
    else
        log_at(LOG_WARN, "worker", "reporting a run whose supervisor died", "flow_run=%s", uuid_text(d->flow_run_id).s);
}

void runs_lost(struct crew *c, Uuid run)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    RunDirs dirs = {0};
    run_dir_list(a, c->host.home, run, &dirs);
    for (size_t i = 0; i < dirs.n; i++)
        if (!run_dir_holder(dirs.v[i].path))
            report_lost(c, &dirs.v[i]);
}

void runs_adopt(struct crew *c)
{
    cgroup_sweep();
    AUTO(arena_freep) struct arena *a = arena_create();
    RunDirs dirs = {0};
    run_dir_list(a, c->host.home, UUID_NIL, &dirs);
    for (size_t i = 0; i < dirs.n; i++) {
        bool full;
        int pid = run_dir_holder(dirs.v[i].path);
        if (!pid && run_dir_age(dirs.v[i].path) > 10 * SEC) /* else another worker of this home may be starting it */
            report_lost(c, &dirs.v[i]);
        struct run_spec spec;
        struct err ignored;
        if (!pid || run_spec_read(a, dirs.v[i].path, &spec, &ignored) < 0)
            continue;
        bool ours = c->o.managed ? str_ends(spec.pool_type, STR(":managed")) : str_eq(spec.pool, c->o.pool);
        if (ours && crew_reserve(c, dirs.v[i].flow_run_id, NULL, &full))
            crew_started(c, dirs.v[i].flow_run_id, pid);
    }
}

/* A run that counts as cancelled though nobody said that it ended: what is left of it. */
void job_teardown(struct hand *h, struct job *j)
{
    struct crew *c = h->crew;
    struct err err;
    const struct json *m = json_parse(h->arena, str_of(j->flow_run), &err);
    Str where = json_str(json_path(m, "target.infrastructure_pid"));
    struct infra_context cx = {.a = h->arena, .api = h->api, .host = &c->host};
    const char *reason = NULL;
    if (!j->pool->driver)
        reason = "unsupported_worker_type";
    else if (where.n && j->pool->driver->cancel(&cx, j->run, where, 30 * SEC, &err) < 0 && err.code != ERR_NOT_FOUND)
        reason = err.code == ERR_FORBIDDEN ? "infrastructure_not_available" : "handler_failed";
    log_at(LOG_INFO, "worker", reason ? "what is left of a cancelled run is for another" : "what was left of a cancelled run is ended",
           "flow_run=%s infrastructure=%.*s%s%s", uuid_text(j->run).s, STR_ARG(where), reason ? " why=" : "", reason ? reason : "");
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "message_id", json_get_str(m, STR("message_id")));
    jw_kstr(&w, "reservation_token", json_get_str(m, STR("reservation_token")));
    if (reason)
        jw_kz(&w, "reason", reason);
    jw_end(&w);
    wake_send(c->link, reason ? "cleanup.release.v1" : "cleanup.ack.v1", buf_view(&b));
    free(TAKE(j->flow_run));
}
