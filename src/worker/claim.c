#include "worker/crew.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "schema/hydrate.h"
#include "worker/supervised.h"

#define TRIES 8 /* to read what a claimed run needs */

/* A claim on its way: $MILLPOND_HOME/claims/<worker>/<flow run id> holds its transition and pool from before the claim is sent until
 * the run's supervisor has started, so that the next worker knows whether the pending run is one that was claimed here. The directory
 * is locked for as long as its worker lives: only what a dead one left is taken over, and by one alone. */
static Str claim_path(struct arena *a, Str dir, Uuid run)
{
    return str_fmt(a, "%.*s/%s", STR_ARG(dir), uuid_text(run).s);
}

/* Opened and locked; -1 where somebody else has it, or it is none. */
static int lock_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int claims_open(struct crew *c, struct err *err)
{
    c->claims = str_fmt(c->arena, "%.*s/claims/%s", STR_ARG(c->host.home), uuid_text(uuid_v7()).s);
    if (dir_make(c->claims.p, err) < 0)
        return -1;
    c->claims_fd = lock_directory(c->claims.p);
    return c->claims_fd < 0 ? err_errno(err, "locking %s", c->claims.p) : 0;
}

void claims_close(struct crew *c)
{
    if (c->claims_fd < 0)
        return;
    rmdir(c->claims.p); /* claims that were not carried out stay for the next worker */
    close(c->claims_fd);
    c->claims_fd = -1;
}

static void claim_record(struct hand *h, const struct job *j)
{
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kuuid(&w, "transition", j->transition);
    jw_kz(&w, "pool", j->pool->name);
    jw_end(&w);
    struct err err;
    if (file_replace(claim_path(h->arena, h->crew->claims, j->run).p, buf_view(&b), /* durable: */ false, &err) < 0)
        log_at(LOG_WARN, "worker", "a claim could not be noted down, going on", "error=\"%s\"", err.text);
}

static void claim_forget(struct hand *h, Uuid run)
{
    unlink(claim_path(h->arena, h->crew->claims, run).p);
}

static void let_go(struct hand *h, struct job *j)
{
    claim_forget(h, j->run);
    crew_release(h->crew, j->run);
    free(j->flow_run);
    free(j->why);
    free(j->said);
}

/* Later, with growing pauses; the run stays in hand. */
static void again(struct hand *h, struct job *j)
{
    Dur pause = MIN(SEC << MIN(j->tries, 5), 20 * SEC);
    j->tries++;
    crew_add(h->crew, *j, pause);
}

static const struct json *get(struct hand *h, Str path, struct err *err)
{
    const struct json *v;
    return client_json(h->api, h->arena, "GET", path, STR_NONE, &v, err) < 0 ? NULL : v;
}

static const struct json *find_variable(void *user, Str name, struct err *err)
{
    struct hand *h = user;
    const struct json *v = get(h, str_fmt(h->arena, "/variables/name/%.*s", STR_ARG(url_segment(h->arena, name))), err);
    return v ? json_getz(v, "value") : NULL;
}

static const struct json *find_block(void *user, Uuid id, Str type_slug, Str name, struct err *err)
{
    struct hand *h = user;
    Str path = uuid_is_nil(id)
                   ? str_fmt(h->arena, "/block_types/slug/%.*s/block_documents/name/%.*s?include_secrets=true",
                             STR_ARG(url_segment(h->arena, type_slug)), STR_ARG(url_segment(h->arena, name)))
                   : str_fmt(h->arena, "/block_documents/%s?include_secrets=true", uuid_text(id).s);
    const struct json *v = get(h, path, err);
    return v ? json_getz(v, "data") : NULL;
}

/* {"ctx": {"flow_run": …, "flow": …}} for names that are templates themselves. */
static const struct json *context(struct hand *h, const struct json *flow_run, const struct json *flow)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("ctx"));
    jw_object(&w);
    jw_kvalue(&w, "flow_run", flow_run);
    if (flow)
        jw_kvalue(&w, "flow", flow);
    jw_end(&w);
    jw_end(&w);
    struct err err;
    return b.overflow ? NULL : json_parse(h->arena, str_dup(h->arena, buf_view(&b)), &err);
}

static const struct json *configure(struct hand *h, struct job *j, const struct json *flow_run, const struct json *deployment,
                                    const struct json *flow, Str *ret_type, struct err *err)
{
    struct crew *c = h->crew;
    pthread_mutex_lock(&c->lock);
    Str text = str_dup(h->arena, str_of(j->pool->template)), type = str_dup(h->arena, str_of(j->pool->type));
    pthread_mutex_unlock(&c->lock);
    *ret_type = type;
    const struct json *template = json_parse(h->arena, text, err);
    if (!template)
        return NULL;
    if (!json_getz(template, "job_configuration"))
        return json_parse(h->arena, STR("{}"), err);
    const struct json *over[] = {json_getz(deployment, "job_variables"), json_getz(flow_run, "job_variables")};
    for (size_t i = 0; i < COUNT_OF(over); i++)
        if (json_is_null(over[i]))
            over[i] = NULL;
    struct hydrate_context ctx = {.user = h, .variable = find_variable, .block = find_block};
    int flags = str_ends(type, STR(":managed")) ? TEMPLATE_CLOSED : 0;
    const struct json *variables = template_variables(h->arena, template, over, COUNT_OF(over), flags, err);
    if (!variables)
        return NULL;
    return template_resolve(h->arena, template, variables, context(h, flow_run, flow), &ctx, err);
}

static void set_if(struct arena *a, EnvVars *env, const char *name, Str value)
{
    if (value.n)
        env_set(a, env, str_of(name), value);
}

static void compose_env(struct hand *h, const struct json *flow_run, const struct json *deployment, const struct json *flow,
                        const struct json *config, EnvVars *env)
{
    struct arena *a = h->arena;
    const struct infra_host *host = &h->crew->host;
    set_if(a, env, "PREFECT_API_URL", host->api.base_url);
    set_if(a, env, "PREFECT_API_KEY", host->api.api_key);
    set_if(a, env, "PREFECT_API_AUTH_STRING", host->api.auth_string);
    set_if(a, env, "PREFECT__FLOW_RUN_ID", json_get_str(flow_run, STR("id")));
    set_if(a, env, "PREFECT__FLOW_ID", json_get_str(flow_run, STR("flow_id")));
    set_if(a, env, "PREFECT__FLOW_NAME", json_get_str(flow, STR("name")));
    set_if(a, env, "PREFECT__DEPLOYMENT_ID", json_get_str(flow_run, STR("deployment_id")));
    set_if(a, env, "PREFECT__DEPLOYMENT_NAME", json_get_str(deployment, STR("name")));
    set_if(a, env, "PREFECT__WORKER_NAME", host->worker_name);
    const struct json *own = json_getz(config, "env");
    for (size_t i = 0; json_is(own, JSON_OBJECT) && i < own->object.n; i++) {
        const struct json *v = &own->object.members[i].value;
        /* What is no text is written as JSON; null takes the variable away. */
        if (json_is_null(v))
            env_unset(a, env, own->object.members[i].key);
        else
            env_set(a, env, own->object.members[i].key, v->kind == JSON_STRING ? v->string : json_text(a, v));
    }
}

/* 0: its supervisor runs; -1 with what is wrong. */
static int submit(struct hand *h, struct job *j, struct err *err)
{
    struct crew *c = h->crew;
    const struct json *flow_run = json_parse(h->arena, str_of(j->flow_run), err), *deployment = NULL, *flow = NULL;
    if (!flow_run)
        return err_wrap(err, "the flow run");
    Str id = json_get_str(flow_run, STR("deployment_id"));
    if (id.n) {
        deployment = get(h, str_fmt(h->arena, "/deployments/%.*s", STR_ARG(id)), err);
        if (!deployment && err->code == ERR_NOT_FOUND) {
            j->final = "CANCELLED";
            return err_set(err, ERR_NOT_FOUND, "Deployment %.*s no longer exists, cancelled run.", STR_ARG(id));
        }
        if (!deployment)
            return -1;
    }
    id = json_get_str(flow_run, STR("flow_id"));
    if (id.n && !(flow = get(h, str_fmt(h->arena, "/flows/%.*s", STR_ARG(id)), err)))
        return -1;
    Str type;
    const struct json *config = configure(h, j, flow_run, deployment, flow, &type, err);
    if (!config)
        return -1;
    struct infra_run run = {
        .id = j->run,
        .claim_state = j->state,
        .name = json_get_str(flow_run, STR("name")),
        .pool_name = str_of(j->pool->name),
        .pool_type = type,
        .flow_run = flow_run,
        .deployment = deployment,
        .config = config,
    };
    compose_env(h, flow_run, deployment, flow, config, &run.env);
    struct infra_context cx = {.a = h->arena, .api = h->api, .host = &c->host};
    j->tries = TRIES; /* from here on trying again does not help */
    if (j->pool->driver->check && j->pool->driver->check(&cx, &run, err) < 0)
        return -1;
    Str identifier, host;
    int pid;
    if (j->pool->driver->submit(&cx, &run, &identifier, err) < 0)
        return -1;
    if (identifier_parse(identifier, &host, &pid))
        crew_started(c, j->run, pid);
    log_at(LOG_INFO, "worker", "run submitted", "flow_run=%s name=\"%.*s\" infrastructure=%.*s", uuid_text(j->run).s, STR_ARG(run.name),
           STR_ARG(identifier));
    return 0;
}

static const char *kind_of(const struct err *err)
{
    return err->code == ERR_INVALID || err->code == ERR_UNPROCESSABLE ? "ValueError" : err->code == ERR_NOT_FOUND ? "ObjectNotFound" : "RuntimeError";
}

static const char *advice(const struct err *why)
{
    switch (why->code) {
    case ERR_INVALID:
    case ERR_UNPROCESSABLE:
    case ERR_TOO_LARGE:
        return "Correct it where it is set (the deployment, its job variables or the run's, the work pool's base job template), and start the run again.";
    case ERR_NOT_FOUND:
        return "Make what is missing, or take the reference to it out of the job variables, and start the run again.";
    default:
        return "The log of the worker may say more; start the run again once the cause is gone.";
    }
}

static void fail(struct hand *h, struct job *j, const struct err *why)
{
    bool gone = j->final != NULL;
    if (!gone)
        j->final = "CRASHED";
    const struct infra_host *host = &h->crew->host;
    Str line = gone ? str_of(why->text)
                    : str_fmt(h->arena, "The run could not be started on work pool '%s' by worker '%.*s' (%.*s): %s%s %s", j->pool->name,
                              STR_ARG(host->worker_name), STR_ARG(host->host_name), why->text,
                              str_ends(str_of(why->text), STR(".")) ? "" : ".", advice(why));
    j->said = strndup(line.p, line.n);
    Str text = gone ? str_of(why->text)
                    : str_fmt(h->arena, "Failed to submit flow run to infrastructure: %s: %s", kind_of(why), why->text);
    log_at(LOG_WARN, "worker", "a run could not be submitted", "flow_run=%s error=\"%s\"", uuid_text(j->run).s, why->text);
    j->why = strndup(text.p, text.n);
    j->stage = CLAIM_FAIL;
    j->tries = 0;
    crew_add(h->crew, *j, 0);
}

/* Why the run did not start, as a line of its own log. */
static int say(struct hand *h, const struct job *j, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_array(&w);
    jw_object(&w);
    jw_kz(&w, "name", "millpond.worker");
    jw_kint(&w, "level", 40);
    jw_kz(&w, "message", j->said);
    jw_ktime(&w, "timestamp", time_now());
    jw_kuuid(&w, "flow_run_id", j->run);
    jw_end(&w);
    jw_end(&w);
    const struct json *ignored;
    return client_json(h->api, h->arena, "POST", STR("/logs/"), buf_view(&b), &ignored, err);
}

void job_claim(struct hand *h, struct job *j)
{
    struct err err;
    const struct json *state = NULL;
    int rc;
    switch (j->stage) {
    case CLAIM_ASK:
        claim_record(h, j);
        rc = propose(h, j->run, "PENDING", NULL, STR_NONE, j->transition, /* expected: */ "SCHEDULED", &state, &err);
        if (rc < 0 && is_passing_error(&err)) {
            again(h, j);
            return;
        }
        if (rc <= 0) {
            log_at(LOG_DEBUG, "worker", "a run was not to be had", "flow_run=%s state=%.*s%s%s", uuid_text(j->run).s,
                   STR_ARG(json_get_str(state, STR("type"))), rc < 0 ? " error=" : "", rc < 0 ? err.text : "");
            let_go(h, j);
            return;
        }
        (void)uuid_parse(json_get_str(state, STR("id")), &j->state);
        j->stage = CLAIM_SUBMIT;
        j->tries = 0;
        __attribute__((fallthrough));
    case CLAIM_SUBMIT:
        if (submit(h, j, &err) == 0) {
            claim_forget(h, j->run);
            free(j->flow_run);
            return;
        }
        if (is_passing_error(&err) && j->tries < TRIES)
            again(h, j);
        else
            fail(h, j, &err);
        return;
    case CLAIM_FAIL:
        if (j->said && say(h, j, &err) < 0 && is_passing_error(&err)) {
            again(h, j);
            return;
        }
        free(TAKE(j->said));
        rc = propose(h, j->run, j->final, NULL, str_of(j->why), uuid_v4(), /* expected: */ NULL, &state, &err);
        if (rc < 0 && is_passing_error(&err))
            again(h, j);
        else
            let_go(h, j);
        return;
    }
}

/* One claim that a dead worker left in `dir`: 0 done with, -1 the API gave no answer. */
static int recover(struct hand *h, Str dir, Uuid run, struct err *err)
{
    struct crew *c = h->crew;
    Str text, path = claim_path(h->arena, dir, run);
    const struct json *claim, *v;
    Uuid transition, made;
    if (file_read(h->arena, path.p, 4096, &text, err) < 0 || !(claim = json_parse(h->arena, text, err)) ||
        !uuid_parse(json_get_str(claim, STR("transition")), &transition)) {
        unlink(path.p);
        return 0;
    }
    struct pool *p = crew_pool(c, json_get_str(claim, STR("pool")));
    if (!p || !p->driver)
        return 0; /* another worker's */
    if (!(v = get(h, str_fmt(h->arena, "/flow_runs/%s", uuid_text(run).s), err))) {
        if (is_passing_error(err))
            return -1;
        unlink(path.p);
        return 0;
    }
    RunDirs dirs = {0};
    run_dir_list(h->arena, c->host.home, run, &dirs);
    bool full, ours = uuid_parse(json_str(json_path(v, "state.state_details.transition_id")), &made) &&
                      uuid_eq(made, transition) && str_eqz(json_get_str(v, STR("state_type")), "PENDING");
    if (!ours || dirs.n) {
        unlink(path.p);
        return 0;
    }
    if (!crew_reserve(c, run, p, &full))
        return 0;
    if (rename(path.p, claim_path(h->arena, c->claims, run).p) < 0)
        log_at(LOG_WARN, "worker", "a claim made before cannot be moved, going on", "flow_run=%s errno=%d", uuid_text(run).s, errno);
    struct job j = {.kind = JOB_CLAIM, .pool = p, .run = run, .stage = CLAIM_SUBMIT, .transition = transition,
                    .flow_run = strndup(v->raw.p, v->raw.n)};
    (void)uuid_parse(json_str(json_path(v, "state.id")), &j.state);
    log_at(LOG_INFO, "worker", "going on with a claim made before", "flow_run=%s", uuid_text(run).s);
    crew_add(c, j, 0);
    return 0;
}

static void recover_all(struct hand *h, Str dir)
{
    DIR *d = opendir(dir.p);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        Uuid run;
        struct err err;
        if (strlen(e->d_name) != 36 || !uuid_parse(str_of(e->d_name), &run) || crew_slot_pid(h->crew, run))
            continue;
        if (recover(h, dir, run, &err) < 0)
            log_at(LOG_WARN, "worker", "a claim made before cannot be looked at, skipping", "flow_run=%s error=\"%s\"", e->d_name, err.text);
    }
    closedir(d);
    rmdir(dir.p);
}

void claims_recover(struct hand *h)
{
    Str dir = str_fmt(h->arena, "%.*s/claims", STR_ARG(h->crew->host.home));
    DIR *d = opendir(dir.p);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        Str left = str_fmt(h->arena, "%.*s/%s", STR_ARG(dir), e->d_name);
        int fd = lock_directory(left.p);
        if (fd < 0)
            continue;
        recover_all(h, left);
        close(fd);
    }
    closedir(d);
}
