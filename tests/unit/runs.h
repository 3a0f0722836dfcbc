/* Flow runs and task runs to try rules on: makers, proposals written as JSON, and what a run looks like as one line of text. */
#pragma once
#include "tests/unit/dbtest.h"

#include "orchestration/orchestrate.h"
#include "store/concurrency.h"

struct setup {
    struct world *w;
    Uuid flow;
    struct client_info client;
    Uuid limit;         /* whose slots a line tells */
    int64_t statements; /* of the last proposal */
};

static const struct client_info client_newest = {{0, 8, 4}, {3, 8, 8}};

static inline int start(struct world *w, struct setup *s, struct err *err)
{
    struct flow f;
    record_init(&flow_resource, &f);
    f.id = uuid_v7();
    f.created = f.updated = w->now;
    f.name = str_fmt(w->a, "flow-%s", uuid_text(f.id).s);
    f.tags = STR("[\"of-flow\",\"b\"]");
    f.labels = STR("{}");
    *s = (struct setup){.w = w, .client = client_newest, .flow = f.id};
    return record_insert(w->c, &flow_resource, &f, "", err) < 0 ? -1 : 0;
}

static inline int insert_limit(struct world *w, Str name, int64_t limit, double decay, struct concurrency_limit *ret, struct err *err)
{
    *ret = (struct concurrency_limit){.id = uuid_v7(),
                                      .created = w->now,
                                      .updated = w->now,
                                      .active = 1,
                                      .name = name,
                                      .limit = limit,
                                      .slot_decay_per_second = decay,
                                      .avg_slot_occupancy_seconds = 2};
    return record_insert(w->c, &concurrency_limit_resource, ret, "", err) < 0 ? -1 : 0;
}

/* limit < 0: none; options (concurrency_options) may be NULL. The limit becomes the one that lines tell. */
static inline int insert_deployment(struct setup *s, int64_t limit, const char *options, Uuid *ret, struct err *err)
{
    struct world *w = s->w;
    struct deployment d;
    struct concurrency_limit l;
    struct violations v = {.a = w->a, .prefix = STR("[")};
    const struct json *body = json_parse(w->a, STR("{\"name\":\"x\",\"flow_id\":\"00000000-0000-0000-0000-000000000001\"}"), err);
    record_init(&deployment_resource, &d);
    record_parse(w->a, &deployment_resource, CREATE, body, &d, &v);
    d.id = *ret = uuid_v7();
    d.created = d.updated = w->now;
    d.flow_id = s->flow;
    d.name = str_fmt(w->a, "nightly-%s", uuid_text(d.id).s);
    d.tags = STR("[\"of-deployment\",\"b\"]");
    d.status = STR("NOT_READY");
    d.concurrency_options = options ? str_of(options) : STR_NONE;
    if (limit >= 0) {
        if (insert_limit(w, str_fmt(w->a, "deployment:%s", uuid_text(d.id).s), limit, 0, &l, err) < 0)
            return -1;
        s->limit = d.concurrency_limit_id = l.id;
    }
    return record_insert(w->c, &deployment_resource, &d, "", err) < 0 ? -1 : 0;
}

/* "@60", "@-5" in a text are the instants so many seconds from now. */
static inline Str with_times(struct world *w, const char *text)
{
    Str out = STR("");
    for (const char *p = text; *p;) {
        const char *at = strchr(p, '@');
        if (!at)
            return str_fmt(w->a, "%.*s%s", STR_ARG(out), p);
        char *end;
        double seconds = strtod(at + 1, &end);
        out = str_fmt(w->a, "%.*s%.*s%s", STR_ARG(out), (int)(at - p), p, time_iso(w->now + (Dur)(seconds * SEC)).s);
        p = end;
    }
    return out;
}

/* A state as a request has it; a word alone is a type. */
static inline int state_of(struct world *w, const char *text, struct state *ret, struct err *err)
{
    struct violations v = {.a = w->a, .prefix = STR("[\"body\"")};
    Str json = *text == '{' ? with_times(w, text) : str_fmt(w->a, "{\"type\":\"%s\"}", text);
    const struct json *body = json_parse(w->a, json, err);
    if (!body)
        return -1;
    state_parse(w->a, body, w->now, ret, &v);
    if (v.list.n)
        return err_set(err, ERR_INTERNAL, "%s: %.*s", text, STR_ARG(v.list.v[0].msg));
    return 0;
}

static inline struct orchestration asking(struct setup *s, enum policy policy, bool force)
{
    struct world *w = s->w;
    return (struct orchestration){
        .conn = w->c, .a = w->a, .now = w->now, .policy = policy, .force = force, .client = s->client, .out = &w->out};
}

#define MANY_STATEMENTS 1000000

static inline int propose(struct setup *s, Uuid id, const char *text, enum policy policy, bool force, struct verdict_result *ret, struct err *err)
{
    struct world *w = s->w;
    struct state state;
    struct flow_run run;
    w->now += MSEC;
    if (state_of(w, text, &state, err) < 0 || record_lock(w->c, w->a, &flow_run_resource, id, &run, err) < 0)
        return -1;
    struct orchestration o = asking(s, policy, force);
    db_test_fail_at(conn_db(w->c), MANY_STATEMENTS);
    int rc = orchestrate_flow_run(&o, &run, &state, ret, err);
    s->statements = MANY_STATEMENTS - db_test_fail_at(conn_db(w->c), 0);
    return rc;
}

static inline int propose_task(struct setup *s, Uuid id, const char *text, enum policy policy, bool force, struct verdict_result *ret, struct err *err)
{
    struct world *w = s->w;
    struct state state;
    struct task_run run;
    w->now += MSEC;
    if (state_of(w, text, &state, err) < 0 || record_lock(w->c, w->a, &task_run_resource, id, &run, err) < 0)
        return -1;
    struct orchestration o = asking(s, policy, force);
    db_test_fail_at(conn_db(w->c), MANY_STATEMENTS);
    int rc = orchestrate_task_run(&o, &run, &state, ret, err);
    s->statements = MANY_STATEMENTS - db_test_fail_at(conn_db(w->c), 0);
    return rc;
}

struct run_options {
    Uuid deployment, parent, queue;
    const char *state;  /* forced on the new run; NULL: none */
    const char *policy; /* empirical_policy */
    const char *pid;
    const char *tags;
    const char *created_by;
};

static inline int insert_run(struct setup *s, struct run_options o, Uuid *ret, struct err *err)
{
    struct world *w = s->w;
    struct flow_run r;
    struct state state;
    struct verdict_result got;
    struct orchestration asked = asking(s, POLICY_MINIMAL, true);
    record_init(&flow_run_resource, &r);
    r.id = *ret = uuid_v7();
    r.created = r.updated = w->now;
    r.name = STR("brisk-heron");
    r.flow_id = s->flow;
    r.deployment_id = o.deployment;
    r.work_queue_id = o.queue;
    r.parent_task_run_id = o.parent;
    r.parameters = r.context = r.labels = STR("{}");
    r.empirical_policy = o.policy ? str_of(o.policy) : STR("{}");
    r.tags = o.tags ? str_of(o.tags) : STR("[]");
    r.infrastructure_pid = o.pid ? str_of(o.pid) : STR_NONE;
    r.created_by = o.created_by ? str_of(o.created_by) : STR_NONE;
    r.run_count = r.total_run_time = r.auto_scheduled = 0;
    if (!o.state)
        return record_insert(w->c, &flow_run_resource, &r, "", err) < 0 ? -1 : 0;
    w->now += MSEC;
    if (state_of(w, o.state, &state, err) < 0)
        return -1;
    asked.now = w->now;
    asked.insert = "";
    return orchestrate_flow_run(&asked, &r, &state, &got, err);
}

struct task_options {
    Uuid flow_run;
    const char *state, *policy, *tags;
};

static inline int insert_task(struct setup *s, struct task_options o, Uuid *ret, struct err *err)
{
    struct world *w = s->w;
    struct task_run r;
    struct state state;
    struct verdict_result got;
    struct orchestration asked = asking(s, POLICY_MINIMAL, true);
    record_init(&task_run_resource, &r);
    r.id = *ret = uuid_v7();
    r.created = r.updated = w->now;
    r.name = STR("stir-0");
    r.flow_run_id = o.flow_run;
    r.task_key = STR("stir");
    r.dynamic_key = str_fmt(w->a, "%s", uuid_text(r.id).s);
    r.empirical_policy = o.policy ? str_of(o.policy) : STR("{}");
    r.tags = o.tags ? str_of(o.tags) : STR("[]");
    r.labels = r.task_inputs = STR("{}");
    r.run_count = r.flow_run_run_count = r.total_run_time = 0;
    if (!o.state)
        return record_insert(w->c, &task_run_resource, &r, "", err) < 0 ? -1 : 0;
    w->now += MSEC;
    if (state_of(w, o.state, &state, err) < 0)
        return -1;
    asked.now = w->now;
    asked.insert = "ON CONFLICT DO NOTHING";
    return orchestrate_task_run(&asked, &r, &state, &got, err);
}

static inline char letter_of(const struct verdict_result *r)
{
    switch (r->verdict) {
    case VERDICT_ACCEPT:
        return 'A';
    case VERDICT_REJECT:
        return 'R';
    case VERDICT_WAIT:
        return 'W';
    case VERDICT_ABORT:
        return 'B';
    }
    return '?';
}

static inline Str seconds_from(struct world *w, const char *label, Time at)
{
    return at == TIME_NONE ? STR("") : str_fmt(w->a, " %s%+.3g", label, (double)(at - w->now) / SEC);
}

/* What a flow run looks like: "RUNNING/Running n1 …", with the policy's marks, times in seconds from now, and the state's message,
 * data and lease; then slots taken of the deployment's limit and leases on it. Absent things are left out. */
static inline int flow_line(struct setup *s, Uuid id, Str *ret, struct err *err)
{
    struct world *w = s->w;
    struct flow_run run;
    struct flow_run_policy p;
    struct state state;
    struct state_details d;
    int rc = record_by_id(w->c, w->a, &flow_run_resource, id, &run, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "no such run");
    shape_read(w->a, &flow_run_policy_shape, run.empirical_policy, &p);
    Str line = str_fmt(w->a, "%.*s/%.*s n%lld%s", STR_ARG(run.state_type), STR_ARG(run.state_name), (long long)run.run_count,
                       p.resuming == 1 ? " resuming" : "");
    if (p.pause_keys.n > 2)
        line = str_fmt(w->a, "%.*s keys=%.*s", STR_ARG(line), STR_ARG(p.pause_keys));
    if (p.retry_type.p)
        line = str_fmt(w->a, "%.*s retry=%.*s", STR_ARG(line), STR_ARG(p.retry_type));
    line = str_fmt(w->a, "%.*s%.*s", STR_ARG(line), STR_ARG(seconds_from(w, "next", run.next_scheduled_start_time)));
    if ((rc = state_find(w->c, w->a, FLOW_RUN, id, run.state_id, &state, err)) <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "the state is not stored");
    if (!str_eq(state.type, run.state_type) || !str_eq(state.name, run.state_name) || state.timestamp != run.state_timestamp)
        return err_set(err, ERR_INTERNAL, "run and state differ");
    state_details_get(w->a, &state, &d);
    if (state.message.p)
        line = str_fmt(w->a, "%.*s '%.*s'", STR_ARG(line), STR_ARG(state.message));
    if (state.data.p)
        line = str_fmt(w->a, "%.*s data=%.*s", STR_ARG(line), STR_ARG(state.data));
    if (!uuid_is_nil(d.deployment_concurrency_lease_id))
        line = str_fmt(w->a, "%.*s lease", STR_ARG(line));
    if (!uuid_is_nil(s->limit)) {
        struct concurrency_limit l;
        int64_t leases = 0;
        if (record_by_id(w->c, w->a, &concurrency_limit_resource, s->limit, &l, err) < 0 ||
            db_get_int(w->c, err, &leases, "SELECT count(*) FROM concurrency_lease WHERE limit_ids LIKE $1", "s",
                       str_fmt(w->a, "%%%s%%", uuid_text(s->limit).s)) < 0)
            return -1;
        line = str_fmt(w->a, "%.*s slots%lld/%lld", STR_ARG(line), (long long)l.active_slots, (long long)leases);
    }
    *ret = line;
    return 0;
}

static inline int task_line(struct setup *s, Uuid id, Str *ret, struct err *err)
{
    struct world *w = s->w;
    struct task_run run;
    struct state state;
    int64_t leases = 0;
    int rc = record_by_id(w->c, w->a, &task_run_resource, id, &run, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "no such run");
    Str line = str_fmt(w->a, "%.*s/%.*s n%lld,%lld", STR_ARG(run.state_type), STR_ARG(run.state_name), (long long)run.run_count,
                       (long long)run.flow_run_run_count);
    line = str_fmt(w->a, "%.*s%.*s", STR_ARG(line), STR_ARG(seconds_from(w, "next", run.next_scheduled_start_time)));
    if ((rc = state_find(w->c, w->a, TASK_RUN, id, run.state_id, &state, err)) <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "the state is not stored");
    if (!str_eq(state.type, run.state_type) || !str_eq(state.name, run.state_name) || state.timestamp != run.state_timestamp)
        return err_set(err, ERR_INTERNAL, "run and state differ");
    if (state.message.p)
        line = str_fmt(w->a, "%.*s '%.*s'", STR_ARG(line), STR_ARG(state.message));
    if (state.data.p)
        line = str_fmt(w->a, "%.*s data=%.*s", STR_ARG(line), STR_ARG(state.data));
    if (db_get_int(w->c, err, &leases, "SELECT count(*) FROM concurrency_lease WHERE holder_id = $1", "u", id) < 0)
        return -1;
    if (leases)
        line = str_fmt(w->a, "%.*s leases%lld", STR_ARG(line), (long long)leases);
    *ret = line;
    return 0;
}

/* A run's life: proposals, and after each the verdict and what the run looks like. */
struct step {
    const char *state;  /* a word or JSON; NULL ends the list */
    const char *expect; /* verdict letter, then the line */
    const char *reason; /* a part of it; NULL: not looked at */
    Dur later;          /* time that passes before */
    bool force;
    enum policy policy; /* POLICY_CORE */
    const struct client_info *client; /* NULL: the newest */
    int64_t delay;      /* WAIT: delay_seconds */
};

static inline int live(struct setup *s, bool task, Uuid id, const struct step *steps, struct err *err)
{
    struct world *w = s->w;
    for (size_t i = 0; steps[i].state; i++) {
        const struct step *step = &steps[i];
        struct verdict_result got;
        Str line;
        w->now += step->later;
        s->client = step->client ? *step->client : client_newest;
        if ((task ? propose_task : propose)(s, id, step->state, step->policy, step->force, &got, err) < 0 ||
            (task ? task_line : flow_line)(s, id, &line, err) < 0)
            return err_wrap(err, "step %zu (%s)", i, step->state);
        line = str_fmt(w->a, "%c %.*s", letter_of(&got), STR_ARG(line));
        if (!str_eqz(line, step->expect))
            return err_set(err, ERR_INTERNAL, "step %zu (%s): '%.*s', not '%s'; %.*s", i, step->state, STR_ARG(line), step->expect,
                           STR_ARG(got.reason));
        if (step->reason && str_find(got.reason, str_of(step->reason)) < 0)
            return err_set(err, ERR_INTERNAL, "step %zu (%s): reason '%.*s' has no '%s'", i, step->state, STR_ARG(got.reason), step->reason);
        if (step->delay && got.delay_seconds != step->delay)
            return err_set(err, ERR_INTERNAL, "step %zu (%s): wait %lld, not %lld", i, step->state, (long long)got.delay_seconds,
                           (long long)step->delay);
    }
    s->client = client_newest;
    return 0;
}
