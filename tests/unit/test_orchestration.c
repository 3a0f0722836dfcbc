#include "tests/unit/dbtest.h"

#include "orchestration/orchestrate.h"
#include "store/concurrency.h"

#include <math.h>

/* ---- the world: a flow, deployments, runs ---- */

static const struct client_info newest = {{0, 8, 4}, {3, 8, 8}};

struct setup {
    struct world *w;
    Uuid flow;
    struct client_info client;
    int64_t statements; /* of the last proposal */
};

static int insert_flow(struct world *w, Uuid *ret, struct err *err)
{
    struct flow f;
    record_init(&flow_resource, &f);
    f.id = *ret = uuid_v7();
    f.created = f.updated = w->now;
    f.name = str_fmt(w->a, "flow-%s", uuid_text(f.id).s);
    f.tags = STR("[\"of-flow\",\"b\"]");
    f.labels = STR("{}");
    return record_insert(w->c, &flow_resource, &f, "", err) < 0 ? -1 : 0;
}

static int start(struct world *w, struct setup *s, struct err *err)
{
    *s = (struct setup){.w = w, .client = newest};
    return insert_flow(w, &s->flow, err);
}

/* A deployment; limit < 0: none. options may be NULL. */
static int insert_deployment(struct setup *s, int64_t limit, const char *options, Uuid *ret, Uuid *ret_limit, struct err *err)
{
    struct world *w = s->w;
    struct deployment d;
    struct violations v = {.a = w->a, .prefix = STR("[")};
    const struct json *body = json_parse(w->a, STR("{\"name\":\"x\",\"flow_id\":\"00000000-0000-0000-0000-000000000001\"}"), err);
    record_init(&deployment_resource, &d);
    record_parse(w->a, &deployment_resource, CREATE, body, &d, &v);
    d.id = *ret = uuid_v7();
    d.created = d.updated = w->now;
    d.flow_id = s->flow;
    d.name = str_fmt(w->a, "deployment-%s", uuid_text(d.id).s);
    d.tags = STR("[\"of-deployment\"]");
    d.status = STR("NOT_READY");
    d.concurrency_options = options ? str_of(options) : STR_NONE;
    if (limit >= 0) {
        struct concurrency_limit l = {.id = uuid_v7(),
                                      .created = w->now,
                                      .updated = w->now,
                                      .active = 1,
                                      .name = str_fmt(w->a, "deployment:%s", uuid_text(d.id).s),
                                      .limit = limit,
                                      .avg_slot_occupancy_seconds = 2};
        if (record_insert(w->c, &concurrency_limit_resource, &l, "", err) < 0)
            return -1;
        d.concurrency_limit_id = l.id;
        if (ret_limit)
            *ret_limit = l.id;
    }
    return record_insert(w->c, &deployment_resource, &d, "", err) < 0 ? -1 : 0;
}

/* A state from JSON, as a request has it. */
static int state_of(struct world *w, const char *json, struct state *ret, struct err *err)
{
    struct violations v = {.a = w->a, .prefix = STR("[\"body\"")};
    const struct json *body = json_parse(w->a, str_of(json), err);
    if (!body)
        return -1;
    state_parse(w->a, body, w->now, ret, &v);
    if (v.list.n)
        return err_set(err, ERR_INTERNAL, "%s: %.*s", json, STR_ARG(v.list.v[0].msg));
    return 0;
}

static int propose(struct setup *s, Uuid id, const char *json, enum policy policy, bool force, struct verdict_result *ret, struct err *err)
{
    struct world *w = s->w;
    struct state state;
    struct flow_run run;
    w->now += MSEC;
    if (state_of(w, json, &state, err) < 0 || record_lock(w->c, w->a, &flow_run_resource, id, &run, err) < 0)
        return -1;
    struct orchestration o = {.conn = w->c, .a = w->a, .now = w->now, .policy = policy, .force = force, .client = s->client, .out = &w->out};
    db_test_fail_at(conn_db(w->c), 1000000);
    int rc = orchestrate_flow_run(&o, &run, &state, ret, err);
    s->statements = 1000000 - db_test_fail_at(conn_db(w->c), 0);
    return rc;
}

struct run_options {
    Uuid deployment, parent, queue;
    const char *state;  /* NULL: none */
    const char *policy; /* empirical_policy */
    const char *pid;
    const char *tags;
    const char *created_by;
};

static int insert_run(struct setup *s, struct run_options o, Uuid *ret, struct err *err)
{
    struct world *w = s->w;
    struct flow_run r;
    struct verdict_result got;
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
    if (record_insert(w->c, &flow_run_resource, &r, "", err) < 0)
        return -1;
    return o.state ? propose(s, r.id, o.state, POLICY_MINIMAL, true, &got, err) : 0;
}

static int get_run(struct setup *s, Uuid id, struct flow_run *ret, struct flow_run_policy *policy, struct err *err)
{
    int rc = record_by_id(s->w->c, s->w->a, &flow_run_resource, id, ret, err);
    if (rc == 0)
        return err_set(err, ERR_INTERNAL, "no such run");
    if (rc > 0 && policy)
        shape_read(s->w->a, &flow_run_policy_shape, ret->empirical_policy, policy);
    return rc;
}

static const char *typed(struct world *w, int type)
{
    return str_fmt(w->a, "{\"type\":\"%s\"}%c", state_type_names[type], 0).p;
}

static char letter_of(const struct verdict_result *r)
{
    switch (r->verdict) {
    case VERDICT_ACCEPT:
        return 'A';
    case VERDICT_REJECT:
        return r->wrote ? r->state.type.p[0] : 'R';
    case VERDICT_WAIT:
        return 'W';
    case VERDICT_ABORT:
        return 'B';
    }
    return '?';
}

/* ---- every pair ---- */

/* Verdict (A accepted, R refused, B aborted, C made Cancelled), run_count after it, then what the policy has: r resuming, k a
 * pause key, s retry_type reschedule. As a 3.8.8 server answers; the first row follows from the rules, since no request there
 * meets a run without a state. */
static const char *const flow_pairs[2][10][9] = {
    {
        /* SCHEDULED PENDING RUNNING COMPLETED FAILED CANCELLED CRASHED PAUSED CANCELLING */
        [STATE_COUNT] = {"A0", "A0", "A1", "A0", "A0", "A0", "A0", "B0", "A0"},
        [STATE_SCHEDULED] = {"A0", "A0", "A1", "A0", "A0", "A0", "A0", "R0", "C0"},
        [STATE_PENDING] = {"A0", "B0", "A1", "A0", "A0", "A0", "A0", "R0", "A0"},
        [STATE_RUNNING] = {"A1", "B1", "A2", "A1", "A1", "A1", "A1", "A1k", "A1"},
        [STATE_COMPLETED] = {"B0", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_FAILED] = {"B0", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_CANCELLED] = {"B0", "B0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_CRASHED] = {"B0", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_PAUSED] = {"A0r", "R0r", "A1r", "A0r", "A0r", "A0r", "A0r", "R0", "A0r"},
        [STATE_CANCELLING] = {"R0", "R0", "R0", "R0", "R0", "A0", "R0", "R0", "R0"},
    },
    {
        [STATE_COUNT] = {"A0", "A0", "A1", "A0", "A0", "A0", "A0", "B0", "A0"},
        [STATE_SCHEDULED] = {"A0", "A0", "A1", "A0", "A0", "A0", "A0", "R0", "C0"},
        [STATE_PENDING] = {"A0", "B0", "A1", "A0", "A0", "A0", "A0", "R0", "A0"},
        [STATE_RUNNING] = {"A1", "B1", "A2", "A1", "A1", "A1", "A1", "A1k", "A1"},
        [STATE_COMPLETED] = {"A0s", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_FAILED] = {"A0s", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_CANCELLED] = {"A0s", "B0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_CRASHED] = {"A0s", "A0", "A1", "A0", "A0", "A0", "B0", "B0", "B0"},
        [STATE_PAUSED] = {"A0r", "R0r", "A1r", "A0r", "A0r", "A0r", "A0r", "R0", "A0r"},
        [STATE_CANCELLING] = {"R0", "R0", "R0", "R0", "R0", "A0", "R0", "R0", "R0"},
    },
};

static int flow_pairs_all(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, NULL, err));
    for (int deployed = 0; deployed < 2; deployed++) {
        for (int from = 0; from <= STATE_COUNT; from++) {
            for (int to = 0; to < STATE_COUNT; to++) {
                Uuid id;
                struct run_options o = {.deployment = deployed ? deployment : UUID_NIL,
                                        .state = from < STATE_COUNT ? typed(w, from) : NULL};
                struct verdict_result got;
                struct flow_run run;
                struct flow_run_policy p;
                TRY(insert_run(&s, o, &id, err));
                TRY(propose(&s, id, typed(w, to), POLICY_CORE, false, &got, err));
                TRY(get_run(&s, id, &run, &p, err));
                Str have = str_fmt(w->a, "%c%lld%s%s%s", letter_of(&got), (long long)run.run_count, p.resuming == 1 ? "r" : "",
                                   p.pause_keys.n > 2 ? "k" : "", str_eqz(p.retry_type, "reschedule") ? "s" : "");
                const char *want = flow_pairs[deployed][from][to];
                if (!str_eqz(have, want))
                    return err_set(err, ERR_INTERNAL, "%s -> %s%s: %.*s, not %s (%.*s)",
                                   from < STATE_COUNT ? state_type_names[from] : "none", state_type_names[to],
                                   deployed ? " with a deployment" : "", STR_ARG(have), want, STR_ARG(got.reason));
                EXPECT(got.verdict == VERDICT_ACCEPT || got.reason.n);
                EXPECT(got.wrote == (*want == 'A' || *want == 'C'));
                EXPECT(got.has_state == (from < STATE_COUNT || got.wrote));
                /* What is answered is what is stored. */
                EXPECT(uuid_eq(run.state_id, got.has_state ? got.state.id : UUID_NIL));
                if (got.has_state) {
                    struct state stored;
                    EXPECT_INT(state_find(w->c, w->a, FLOW_RUN, id, run.state_id, &stored, err), 1);
                    EXPECT(str_eq(stored.type, run.state_type) && str_eq(stored.name, run.state_name));
                    EXPECT_INT(stored.timestamp, run.state_timestamp);
                }
            }
        }
    }
    return 0;
}

static const struct db_case cases[] = {
    {"every pair of flow states", flow_pairs_all},
};

int main(void)
{
    return dbtest_main("orchestration", cases, COUNT_OF(cases));
}
