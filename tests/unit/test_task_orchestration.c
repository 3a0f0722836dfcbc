/* The rules for task runs. */
#include "tests/unit/runs.h"

/* ---- every pair ---- */

/* Verdict (A accepted, B aborted), run_count and flow_run_run_count after it; t: renamed to Retrying, r: to Rerunning. As a
 * 3.8.8 server answers, without a flow run and in a running one; the first row follows from the rules. */
static const char *const task_pairs[2][10][9] = {
    {
        /* SCHEDULED PENDING RUNNING COMPLETED FAILED CANCELLED CRASHED PAUSED CANCELLING */
        [STATE_COUNT] = {"A00", "A00", "A10", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_SCHEDULED] = {"A00", "A00", "A10", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_PENDING] = {"A00", "A00", "A10", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_RUNNING] = {"A10", "A10", "A20r", "A10", "A10", "A10", "A10", "A10", "A10"},
        [STATE_COMPLETED] = {"A00", "A00", "A10", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_FAILED] = {"A00", "A00", "A10", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_CANCELLED] = {"A00", "A00", "A10", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_CRASHED] = {"A00", "A00", "A10", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_PAUSED] = {"A00", "A00", "A10", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_CANCELLING] = {"A00", "A00", "A10", "A00", "A00", "A00", "A00", "A00", "A00"},
    },
    {
        [STATE_COUNT] = {"A00", "A00", "A11", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_SCHEDULED] = {"A00", "A00", "A11", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_PENDING] = {"A00", "A00", "A11", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_RUNNING] = {"A10", "A10", "A21r", "A10", "A10", "A10", "A10", "A10", "A10"},
        [STATE_COMPLETED] = {"A00", "A00", "A11t", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_FAILED] = {"A00", "A00", "A11t", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_CANCELLED] = {"A00", "A00", "A11t", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_CRASHED] = {"A00", "A00", "A11t", "A00", "A00", "A00", "B00", "B00", "B00"},
        [STATE_PAUSED] = {"A00", "A00", "A11", "A00", "A00", "A00", "A00", "A00", "A00"},
        [STATE_CANCELLING] = {"A00", "A00", "A11", "A00", "A00", "A00", "A00", "A00", "A00"},
    },
};

static int task_pairs_all(struct world *w, struct err *err)
{
    struct setup s;
    Uuid flow_run;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &flow_run, err));
    for (int in_flow = 0; in_flow < 2; in_flow++) {
        for (int from = 0; from <= STATE_COUNT; from++) {
            for (int to = 0; to < STATE_COUNT; to++) {
                Uuid id;
                struct verdict_result got;
                struct task_run run;
                TRY(insert_task(&s, (struct task_options){.flow_run = in_flow ? flow_run : UUID_NIL, .state = from < STATE_COUNT ? state_type_names[from] : NULL}, &id, err));
                TRY(propose_task(&s, id, state_type_names[to], POLICY_CORE, false, &got, err));
                EXPECT_INT(record_by_id(w->c, w->a, &task_run_resource, id, &run, err), 1);
                Str have = str_fmt(w->a, "%c%lld%lld%s%s", letter_of(&got), (long long)run.run_count, (long long)run.flow_run_run_count,
                                   str_eqz(run.state_name, "Retrying") ? "t" : "", str_eqz(run.state_name, "Rerunning") ? "r" : "");
                const char *want = task_pairs[in_flow][from][to];
                if (!str_eqz(have, want))
                    return err_set(err, ERR_INTERNAL, "%s -> %s%s: %.*s, not %s (%.*s)",
                                   from < STATE_COUNT ? state_type_names[from] : "none", state_type_names[to], in_flow ? " in a flow run" : "",
                                   STR_ARG(have), want, STR_ARG(got.reason));
                EXPECT(got.wrote == (*want == 'A'));
                EXPECT(uuid_eq(run.state_id, got.state.id));
                struct state_details d;
                state_details_get(w->a, &got.state, &d);
                EXPECT(uuid_eq(d.task_run_id, id) && uuid_eq(d.flow_run_id, run.flow_run_id));
            }
        }
    }
    return 0;
}

/* ---- lives ---- */

struct life {
    const char *name;
    const char *flow_run; /* state of the flow run; NULL: there is none */
    struct task_options run;
    struct step steps[10];
};

#define DEFERRED(type) "{\"type\":\"" type "\",\"state_details\":{\"deferred\":true}}"

static const struct life lives[] = {
    {"a plain life", "RUNNING",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "A RUNNING/Running n1,1"}, {"{\"type\":\"COMPLETED\",\"data\":{\"a\":1}}", "A COMPLETED/Completed n1,1 data={\"a\":1}"},
               {"RUNNING", "R COMPLETED/Completed n1,1 data={\"a\":1}", "completed already"},
               {"COMPLETED", "R COMPLETED/Completed n1,1 data={\"a\":1}", "completed already"},
               {"FAILED", "R COMPLETED/Completed n1,1 data={\"a\":1}", "completed already"},
               {"PAUSED", "B COMPLETED/Completed n1,1 data={\"a\":1}", "COMPLETED already"},
               {"FAILED", "A FAILED/Failed n1,1", .force = true}}},
    {"results that are nowhere do not bind", NULL,
     .run = {.state = "RUNNING"},
     .steps = {{"{\"type\":\"COMPLETED\",\"data\":{\"type\":\"unpersisted\"}}", "A COMPLETED/Completed n1,0"},
               {"{\"type\":\"COMPLETED\",\"data\":{}}", "A COMPLETED/Completed n1,0 data={}"},
               {"{\"type\":\"COMPLETED\",\"data\":\"s\"}", "A COMPLETED/Completed n1,0 data=\"s\""},
               {"RUNNING", "A RUNNING/Running n1,0"}}},
    {"retries with a list of delays", "RUNNING",
     .run = {.state = "RUNNING", .policy = "{\"retries\":3,\"retry_delay\":[10,20.5]}"},
     .steps = {{"{\"type\":\"FAILED\",\"message\":\"m\",\"data\":{\"q\":1}}", "R SCHEDULED/AwaitingRetry n1,0 next+10 'm' data={\"q\":1}", "Retrying"},
               {"RUNNING", "W SCHEDULED/AwaitingRetry n1,0 next+9.99 'm' data={\"q\":1}", .later = 5 * MSEC, .delay = 10},
               {"RUNNING", "A RUNNING/Retrying n2,1", .later = 10 * SEC},
               {"FAILED", "R SCHEDULED/AwaitingRetry n2,1 next+20.5"},
               {"RUNNING", "A RUNNING/Retrying n3,1", .later = 21 * SEC},
               {"FAILED", "R SCHEDULED/AwaitingRetry n3,1 next+20.5"},
               {"RUNNING", "A RUNNING/Retrying n4,1", .later = 21 * SEC},
               {"FAILED", "A FAILED/Failed n4,1"}}},
    {"retries by their old names", NULL,
     .run = {.state = "RUNNING", .policy = "{\"max_retries\":1,\"retry_delay_seconds\":7}"},
     .steps = {{"FAILED", "R SCHEDULED/AwaitingRetry n1,0 next+7"}, {"RUNNING", "A RUNNING/Retrying n2,0", .later = 7 * SEC}, {"FAILED", "A FAILED/Failed n2,0"}}},
    {"one delay; an empty list of them", NULL,
     .run = {.state = "RUNNING", .policy = "{\"retries\":1,\"retry_delay\":2.5}"},
     .steps = {{"FAILED", "R SCHEDULED/AwaitingRetry n1,0 next+2.5"}}},
    {"an empty list of delays", NULL,
     .run = {.state = "RUNNING", .policy = "{\"retries\":1,\"retry_delay\":[]}"},
     .steps = {{"FAILED", "R SCHEDULED/AwaitingRetry n1,0 next+0"}, {"RUNNING", "A RUNNING/Retrying n2,0"}, {"FAILED", "A FAILED/Failed n2,0"},
               /* a final failure starts anew with all its retries */
               {"RUNNING", "A RUNNING/Running n1,0"}, {"FAILED", "R SCHEDULED/AwaitingRetry n1,0 next+0"}}},
    {"not retriable", NULL,
     .run = {.state = "RUNNING", .policy = "{\"retries\":5}"},
     .steps = {{"{\"type\":\"FAILED\",\"state_details\":{\"retriable\":false}}", "A FAILED/Failed n1,0"}}},
    {"retriable", NULL,
     .run = {.state = "RUNNING", .policy = "{\"retries\":5}"},
     .steps = {{"{\"type\":\"FAILED\",\"state_details\":{\"retriable\":true}}", "R SCHEDULED/AwaitingRetry n1,0 next+0"}}},
    {"the flow run must run: pending", "PENDING",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "B PENDING/Pending n0,0", "only while its flow run is running"}, {"RUNNING", "A RUNNING/Running n1,0", .force = true}}},
    {"the flow run must run: failed; the count of a new start is put back", "FAILED",
     .run = {.state = "RUNNING"},
     .steps = {{"FAILED", "A FAILED/Failed n1,0"}, {"RUNNING", "B FAILED/Failed n1,0", "only while"}, {"SCHEDULED", "A SCHEDULED/Scheduled n0,0 next+0"}}},
    {"the flow run is paused", "{\"type\":\"PAUSED\",\"state_details\":{\"pause_timeout\":\"@500\"}}",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "R PAUSED/NotReady n0,0", "is paused"}, {"RUNNING", "R PAUSED/NotReady n0,0", "is paused"}}},
    {"scheduled times", "RUNNING",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@20\"}}"},
     .steps = {{"PENDING", "A PENDING/Pending n0,0"}, {"RUNNING", "W PENDING/Pending n0,0", "future", .delay = 20}, {"RUNNING", "A RUNNING/Running n1,1", .later = 20 * SEC}}},

    {"a background task", NULL,
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"deferred\":true,\"task_parameters_id\":\"00000000-0000-4000-8000-00000000000a\"}}"},
     .steps = {{DEFERRED("PENDING"), "A PENDING/Pending n0,0"},
               {DEFERRED("PENDING"), "B PENDING/Pending n0,0", "PENDING", .force = true},
               {"{\"type\":\"PENDING\",\"name\":\"Warm\",\"state_details\":{\"deferred\":true}}", "A PENDING/Warm n0,0"},
               {"PENDING", "A PENDING/Pending n0,0"},
               {DEFERRED("RUNNING"), "A RUNNING/Running n1,0"},
               {DEFERRED("PENDING"), "B RUNNING/Running n1,0", "RUNNING"},
               {DEFERRED("RUNNING"), "A RUNNING/Rerunning n2,0"}}},
    {"a background task does not ask for its flow run", "PENDING",
     .run = {.state = "PENDING"},
     .steps = {{DEFERRED("RUNNING"), "A RUNNING/Running n1,0"}}},
    {"a background task waits, fails, is tried again and is done", "RUNNING",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"deferred\":true,\"scheduled_time\":\"@20\"}}", .policy = "{\"retries\":1}"},
     .steps = {{DEFERRED("PENDING"), "A PENDING/Pending n0,0"},
               {DEFERRED("RUNNING"), "W PENDING/Pending n0,0", "future", .delay = 20},
               {DEFERRED("RUNNING"), "A RUNNING/Running n1,1", .later = 20 * SEC},
               {DEFERRED("FAILED"), "R SCHEDULED/AwaitingRetry n1,1 next+0"},
               {DEFERRED("RUNNING"), "A RUNNING/Retrying n2,1"},
               {"{\"type\":\"COMPLETED\",\"data\":{\"a\":1},\"state_details\":{\"deferred\":true}}", "A COMPLETED/Completed n2,1 data={\"a\":1}"},
               {DEFERRED("RUNNING"), "R COMPLETED/Completed n2,1 data={\"a\":1}", "completed already"},
               {DEFERRED("CRASHED"), "B COMPLETED/Completed n2,1 data={\"a\":1}", "COMPLETED already"}}},
};

static int task_lives(struct world *w, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(lives); i++) {
        struct setup s;
        Uuid id;
        struct task_options o = lives[i].run;
        TRY(start(w, &s, err));
        if (lives[i].flow_run)
            TRY(insert_run(&s, (struct run_options){.state = lives[i].flow_run}, &o.flow_run, err));
        TRY(insert_task(&s, o, &id, err));
        if (live(&s, /* task= */ true, id, lives[i].steps, err) < 0)
            return err_wrap(err, "%s", lives[i].name);
    }
    return 0;
}

static int paused_details(struct world *w, struct err *err)
{
    struct setup s;
    Uuid flow_run, id;
    struct verdict_result got;
    struct state_details d;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = "{\"type\":\"PAUSED\",\"state_details\":{\"pause_timeout\":\"@500\",\"pause_reschedule\":true,\"pause_key\":\"k\"}}"}, &flow_run, err));
    Time timeout = w->now + 500 * SEC;
    TRY(insert_task(&s, (struct task_options){.flow_run = flow_run, .state = "PENDING"}, &id, err));
    TRY(propose_task(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    state_details_get(w->a, &got.state, &d);
    EXPECT(d.pause_timeout == timeout && d.pause_reschedule == 1 && !d.pause_key.p);
    return 0;
}

/* The second run of the flow: its tasks are Retrying. */
static int tasks_of_a_second_run(struct world *w, struct err *err)
{
    struct setup s;
    Uuid flow_run, id;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &flow_run, err));
    TRY(insert_task(&s, (struct task_options){.flow_run = flow_run, .state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{"RUNNING", "A RUNNING/Running n1,1"}, {"FAILED", "A FAILED/Failed n1,1"}, {"RUNNING", "A RUNNING/Running n1,1"}, {"FAILED", "A FAILED/Failed n1,1"}, {0}}, err));
    TRY(live(&s, false, flow_run, (struct step[]){{"RUNNING", "A RUNNING/Running n2"}, {0}}, err));
    return live(&s, true, id, (struct step[]){{"RUNNING", "A RUNNING/Retrying n1,2"}, {"RUNNING", "A RUNNING/Rerunning n2,2"}, {0}}, err);
}

/* Chance spreads a delay of 10 s over [6.9, 15] s and not wider (factor 0.5), 50 times not twice alike. */
static int jitter(struct world *w, struct err *err)
{
    struct setup s;
    double least = 1e9, most = 0;
    TRY(start(w, &s, err));
    for (int i = 0; i < 50; i++) {
        Uuid id;
        struct task_run r;
        struct verdict_result got;
        TRY(insert_task(&s, (struct task_options){.state = "RUNNING", .policy = "{\"retries\":1,\"retry_delay\":10,\"retry_jitter_factor\":0.5}"}, &id, err));
        TRY(propose_task(&s, id, "FAILED", POLICY_CORE, false, &got, err));
        EXPECT_INT(record_by_id(w->c, w->a, &task_run_resource, id, &r, err), 1);
        double delay = (double)(r.next_scheduled_start_time - w->now) / SEC;
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    EXPECT(least >= 10 * 0.6296 && most <= 15.0001 && most - least > 1);
    return 0;
}

/* ---- the cache ---- */

static int caching(struct world *w, struct err *err)
{
    struct setup s;
    Uuid id;
    struct verdict_result got;
    struct state_details d;
    Str key = str_fmt(w->a, "key-%s", uuid_text(uuid_v4()).s);
    const char *running = str_fmt(w->a, "{\"type\":\"RUNNING\",\"state_details\":{\"cache_key\":\"%.*s\"}}%c", STR_ARG(key), 0).p;
    const char *refresh = str_fmt(w->a, "{\"type\":\"RUNNING\",\"state_details\":{\"cache_key\":\"%.*s\",\"refresh_cache\":true}}%c", STR_ARG(key), 0).p;
    const char *first = str_fmt(w->a, "{\"type\":\"COMPLETED\",\"data\":{\"v\":1},\"message\":\"m\",\"state_details\":{\"cache_key\":\"%.*s\",\"cache_expiration\":\"@100\"}}%c", STR_ARG(key), 0).p;
    const char *second = str_fmt(w->a, "{\"type\":\"COMPLETED\",\"data\":{\"v\":2},\"state_details\":{\"cache_key\":\"%.*s\",\"cache_expiration\":\"@50\"}}%c", STR_ARG(key), 0).p;
    TRY(start(w, &s, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "A RUNNING/Running n1,0"}, {first, "A COMPLETED/Completed n1,0 'm' data={\"v\":1}"}, {0}}, err));
    Uuid maker = id;
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "R COMPLETED/Cached n0,0 'm' data={\"v\":1}", "cache"}, {0}}, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(propose_task(&s, id, running, POLICY_CORE, false, &got, err));
    state_details_get(w->a, &got.state, &d);
    EXPECT(str_eq(d.cache_key, key) && uuid_eq(d.task_run_id, id) && got.state.timestamp == w->now);
    /* The newest counts, while it lasts; then the one before it. */
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{refresh, "A RUNNING/Running n1,0"}, {second, "A COMPLETED/Completed n1,0 data={\"v\":2}"}, {0}}, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "R COMPLETED/Cached n0,0 data={\"v\":2}"}, {0}}, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "R COMPLETED/Cached n0,0 'm' data={\"v\":1}", .later = 60 * SEC}, {0}}, err));
    /* Gone with the run that made it, and in the end by itself. */
    TRY(record_delete(w->c, &task_run_resource, maker, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "A RUNNING/Running n1,0"}, {first, "A COMPLETED/Completed n1,0 'm' data={\"v\":1}"}, {0}}, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    TRY(live(&s, true, id, (struct step[]){{running, "A RUNNING/Running n1,0", .later = 101 * SEC}, {0}}, err));
    return 0;
}

/* Background tasks share the cache; and give slots back that somebody took for them. */
static int background_cache_and_slots(struct world *w, struct err *err)
{
    struct setup s;
    struct concurrency_limit limit;
    struct slots_result taken;
    Uuid id, lease;
    Str u = str_fmt(w->a, "%s", uuid_text(uuid_v4()).s);
    const char *running = str_fmt(w->a, "{\"type\":\"RUNNING\",\"state_details\":{\"deferred\":true,\"cache_key\":\"%.*s\"}}%c", STR_ARG(u), 0).p;
    const char *completed = str_fmt(w->a, "{\"type\":\"COMPLETED\",\"data\":{\"v\":1},\"state_details\":{\"deferred\":true,\"cache_key\":\"%.*s\"}}%c", STR_ARG(u), 0).p;
    TRY(start(w, &s, err));
    TRY(insert_limit(w, str_fmt(w->a, "tag:%.*s", STR_ARG(u)), 1, 0, &limit, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = str_fmt(w->a, "[\"%.*s\"]%c", STR_ARG(u), 0).p}, &id, err));
    struct slots_wanted want = {.ids = &limit.id, .n = 1, .slots = 1};
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &taken, err));
    TRY(lease_create(w->c, w->a, &limit.id, 1, 1, LEASE_FOREVER, STR("task_run"), id, w->now, &w->out, &lease, err));
    TRY(live(&s, true, id, (struct step[]){{running, "A RUNNING/Running n1,0 leases1"}, {completed, "A COMPLETED/Completed n1,0 data={\"v\":1}"}, {0}}, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    return live(&s, true, id, (struct step[]){{running, "R COMPLETED/Cached n0,0 data={\"v\":1}"}, {0}}, err);
}

static int long_cache_keys(struct world *w, struct err *err)
{
    static const struct {
        const char *letter;
        size_t n;
        bool kept, told;
    } cases[] = {{"k", 2000, true, false}, {"k", 2001, false, true}, {"\xc3\xa9", 1000, true, false}, {"\xc3\xa9", 2001, false, true}, {"\xe2\x82\xac", 2000, false, false}};
    struct setup s;
    TRY(start(w, &s, err));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Uuid id;
        struct verdict_result got;
        Str key = STR("");
        size_t bytes = strlen(cases[i].letter);
        char *p = arena_alloc(w->a, cases[i].n * bytes);
        for (size_t k = 0; k < cases[i].n; k++)
            memcpy(p + k * bytes, cases[i].letter, bytes);
        key = (Str){p, cases[i].n * bytes};
        const char *completed = str_fmt(w->a, "{\"type\":\"COMPLETED\",\"state_details\":{\"cache_key\":\"%.*s\"}}%c", STR_ARG(key), 0).p;
        const char *running = str_fmt(w->a, "{\"type\":\"RUNNING\",\"state_details\":{\"cache_key\":\"%.*s\"}}%c", STR_ARG(key), 0).p;
        TRY(insert_task(&s, (struct task_options){.state = "RUNNING"}, &id, err));
        TRY(propose_task(&s, id, completed, POLICY_CORE, false, &got, err));
        EXPECT(got.wrote && str_eqz(got.state.type, "COMPLETED"));
        EXPECT(got.verdict == (cases[i].told ? VERDICT_REJECT : VERDICT_ACCEPT));
        EXPECT(!cases[i].told || str_find(got.reason, STR("2000")) > 0);
        TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
        TRY(propose_task(&s, id, running, POLICY_CORE, false, &got, err));
        EXPECT(str_eqz(got.state.name, "Cached") == cases[i].kept);
    }
    return 0;
}

/* ---- limits on tags ---- */

static int tag_slots(struct world *w, struct err *err)
{
    struct setup s;
    struct concurrency_limit a, b, zero, l;
    Uuid first, second, third;
    struct verdict_result got;
    Str u = str_fmt(w->a, "%s", uuid_text(uuid_v4()).s);
    TRY(start(w, &s, err));
    TRY(insert_limit(w, str_fmt(w->a, "tag:a-%.*s", STR_ARG(u)), 1, 0, &a, err));
    TRY(insert_limit(w, str_fmt(w->a, "tag:b-%.*s", STR_ARG(u)), 2, 0, &b, err));
    TRY(insert_limit(w, str_fmt(w->a, "tag:zero-%.*s", STR_ARG(u)), 0, 0, &zero, err));
    const char *both = str_fmt(w->a, "[\"b-%.*s\",\"a-%.*s\",\"unlimited\"]%c", STR_ARG(u), STR_ARG(u), 0).p;
    const char *only_b = str_fmt(w->a, "[\"b-%.*s\"]%c", STR_ARG(u), 0).p;
    const char *none = str_fmt(w->a, "[\"b-%.*s\",\"zero-%.*s\"]%c", STR_ARG(u), STR_ARG(u), 0).p;
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = both}, &first, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = both}, &second, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = only_b}, &third, err));
    TRY(live(&s, true, first, (struct step[]){{"RUNNING", "A RUNNING/Running n1,0 leases1"}, {0}}, err));
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, a.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 1);
    const char *reason = str_fmt(w->a, "tags: a-%.*s%c", STR_ARG(u), 0).p; /* that one alone is full */
    TRY(live(&s, true, second, (struct step[]){{"RUNNING", "W PENDING/Pending n0,0", reason}, {0}}, err));
    TRY(propose_task(&s, second, "RUNNING", POLICY_CORE, false, &got, err));
    EXPECT(got.delay_seconds >= 1 && got.delay_seconds <= 3); /* an average of 2 s, spread by 0.3 */
    TRY(live(&s, true, third, (struct step[]){{"RUNNING", "A RUNNING/Running n1,0 leases1"}, {0}}, err));
    /* All or nothing: the refused one has taken none of b. */
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, b.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 2);
    /* Started again it keeps what it has; Cancelling too; any other state gives it back. */
    w->now += 30 * SEC;
    TRY(live(&s, true, first, (struct step[]){{"RUNNING", "A RUNNING/Rerunning n2,0 leases1"}, {"CANCELLING", "A CANCELLING/Cancelling n2,0 leases1"},
                                              {"RUNNING", "A RUNNING/Rerunning n3,0 leases1"}, {"PAUSED", "A PAUSED/Paused n3,0"}, {0}}, err));
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, a.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 0);
    EXPECT(l.avg_slot_occupancy_seconds > 15 && l.avg_slot_occupancy_seconds < 17); /* 2 + 30/2 - 2/2 */
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, b.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 1);
    TRY(live(&s, true, second, (struct step[]){{"RUNNING", "A RUNNING/Running n1,0 leases1"}, {"CRASHED", "A CRASHED/Crashed n1,0", .force = true}, {0}}, err));
    TRY(live(&s, true, third, (struct step[]){{"FAILED", "A FAILED/Failed n1,0"}, {0}}, err));
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, b.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 0);
    /* A limit of 0 can never be met. */
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = none}, &first, err));
    TRY(live(&s, true, first, (struct step[]){{"RUNNING", "B PENDING/Pending n0,0", str_fmt(w->a, "\"zero-%.*s\" is 0%c", STR_ARG(u), 0).p}, {0}}, err));
    /* A rule after it that makes the task wait gives the slot back. */
    TRY(insert_task(&s, (struct task_options){.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@60\"}}", .tags = both}, &first, err));
    TRY(live(&s, true, first, (struct step[]){{"RUNNING", "W SCHEDULED/Scheduled n0,0 next+60", "future"}, {0}}, err));
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, a.id, &l, err), 1);
    EXPECT_INT(l.active_slots, 0);
    /* Background tasks are not limited by tags. */
    TRY(insert_task(&s, (struct task_options){.state = "PENDING", .tags = none}, &first, err));
    return live(&s, true, first, (struct step[]){{DEFERRED("RUNNING"), "A RUNNING/Running n1,0"}, {0}}, err);
}

/* Runs that are deleted while they run. */
static int slots_of_deleted_runs(struct world *w, struct err *err)
{
    struct setup s;
    struct concurrency_limit limit;
    Uuid flow_run, task;
    Str u = str_fmt(w->a, "%s", uuid_text(uuid_v4()).s);
    TRY(start(w, &s, err));
    TRY(insert_limit(w, str_fmt(w->a, "tag:%.*s", STR_ARG(u)), 9, 0, &limit, err));
    const char *tags = str_fmt(w->a, "[\"%.*s\"]%c", STR_ARG(u), 0).p;
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &flow_run, err));
    for (int i = 0; i < 4; i++) {
        TRY(insert_task(&s, (struct task_options){.flow_run = flow_run, .state = "PENDING", .tags = tags}, &task, err));
        TRY(live(&s, true, task, (struct step[]){{"RUNNING", "A RUNNING/Running n1,1 leases1"}, {0}}, err));
    }
    EXPECT_INT(leases_release_tasks(w->c, w->a, uuid_v4(), w->now, &w->out, err), 0);
    EXPECT_INT(leases_release_flow(w->c, w->a, uuid_v4(), w->now, &w->out, err), 0);
    EXPECT_INT(leases_release(w->c, w->a, STR("task_run"), task, w->now, &w->out, err), 1);
    EXPECT_INT(leases_release_tasks(w->c, w->a, flow_run, w->now, &w->out, err), 3);
    TRY(live(&s, true, task, (struct step[]){{"PENDING", "A PENDING/Pending n1,1"}, {"RUNNING", "A RUNNING/Rerunning n2,1 leases1"}, {0}}, err));
    EXPECT_INT(leases_release_flow(w->c, w->a, s.flow, w->now, &w->out, err), 1);
    EXPECT_INT(record_by_id(w->c, w->a, &concurrency_limit_resource, limit.id, &limit, err), 1);
    EXPECT_INT(limit.active_slots, 0);
    return 0;
}

/* ---- background tasks ---- */

static int handing_out(struct world *w, struct err *err)
{
    static const struct {
        const char *state;
        bool told;
    } cases[] = {
        {DEFERRED("SCHEDULED"), true},
        {"SCHEDULED", false},
        {DEFERRED("PENDING"), false},
        {"{\"type\":\"SCHEDULED\",\"name\":\"AwaitingRetry\",\"state_details\":{\"deferred\":true}}", true},
    };
    struct setup s;
    TRY(start(w, &s, err));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Uuid id;
        outbox_init(&w->out, w->a);
        TRY(insert_task(&s, (struct task_options){.state = cases[i].state}, &id, err));
        EXPECT_INT((int64_t)w->out.tasks_scheduled.n, cases[i].told);
        EXPECT(!cases[i].told || (uuid_eq(w->out.tasks_scheduled.v[0].id, id) && w->out.tasks_scheduled.v[0].key.n &&
                                  w->out.tasks_scheduled.v[0].retry == !!strstr(cases[i].state, "AwaitingRetry")));
        EXPECT_INT((int64_t)w->out.events.n, 0); /* task runs tell by themselves */
    }
    /* The parameters go along. */
    Uuid id;
    struct verdict_result got;
    struct state_details d;
    TRY(insert_task(&s, (struct task_options){.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"deferred\":true,\"task_parameters_id\":\"00000000-0000-4000-8000-00000000000a\"}}"}, &id, err));
    static const char *const types[] = {DEFERRED("PENDING"), DEFERRED("RUNNING")};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        TRY(propose_task(&s, id, types[i], POLICY_CORE, false, &got, err));
        state_details_get(w->a, &got.state, &d);
        EXPECT_STR(str_of(uuid_text(d.task_parameters_id).s), "00000000-0000-4000-8000-00000000000a");
    }
    return 0;
}

static int statements(struct world *w, struct err *err)
{
    struct setup s;
    Uuid flow_run, id;
    struct verdict_result got;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &flow_run, err));
    TRY(insert_task(&s, (struct task_options){.flow_run = flow_run, .state = "PENDING"}, &id, err));
    TRY(propose_task(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    EXPECT_INT(s.statements, 4); /* what is, the flow run, the state, the run */
    TRY(propose_task(&s, id, "COMPLETED", POLICY_CORE, false, &got, err));
    EXPECT_INT(s.statements, 3);
    return 0;
}

static const struct db_case cases[] = {
    {"every pair of task states", task_pairs_all},
    {"lives of task runs", task_lives},
    {"details of a pause", paused_details},
    {"tasks of a second run", tasks_of_a_second_run},
    {"jitter", jitter},
    {"caching", caching},
    {"background tasks and the cache", background_cache_and_slots},
    {"long cache keys", long_cache_keys},
    {"slots of tags", tag_slots},
    {"slots of deleted runs", slots_of_deleted_runs},
    {"handing out", handing_out},
    {"statements of a transition", statements},
};

int main(void)
{
    return dbtest_main("task_orchestration", cases, COUNT_OF(cases));
}
