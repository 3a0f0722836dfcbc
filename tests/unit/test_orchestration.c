/* The rules for flow runs: which transition is let through, and what becomes of the others. */
#include "tests/unit/runs.h"

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
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    for (int deployed = 0; deployed < 2; deployed++) {
        for (int from = 0; from <= STATE_COUNT; from++) {
            for (int to = 0; to < STATE_COUNT; to++) {
                Uuid id;
                struct run_options o = {.deployment = deployed ? deployment : UUID_NIL,
                                        .state = from < STATE_COUNT ? state_type_names[from] : NULL};
                struct verdict_result got;
                struct flow_run run;
                struct flow_run_policy p;
                TRY(insert_run(&s, o, &id, err));
                TRY(propose(&s, id, state_type_names[to], POLICY_CORE, false, &got, err));
                EXPECT_INT(record_by_id(w->c, w->a, &flow_run_resource, id, &run, err), 1);
                shape_read(w->a, &flow_run_policy_shape, run.empirical_policy, &p);
                Str have = str_fmt(w->a, "%c%lld%s%s%s", got.verdict == VERDICT_REJECT && got.wrote ? 'C' : letter_of(&got), (long long)run.run_count, p.resuming == 1 ? "r" : "",
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


/* ---- lives of flow runs ---- */

static const struct client_info api_083 = {{0, 8, 3}, {3, 8, 8}}, unknown = {{0, 8, 4}, {-1, 0, 0}},
                                 two = {{0, 8, 4}, {2, 19, 9}}, old = {{0, 8, 4}, {3, 4, 10}}, v303 = {{0, 8, 4}, {3, 0, 3}};

#define LIFE_STEPS 10
struct life {
    const char *name;
    bool deployed;
    bool limited;
    int64_t limit;
    const char *options;
    struct run_options run;
    struct step steps[LIFE_STEPS];
};

static const char ENQUEUE[] = "{\"collision_strategy\":\"ENQUEUE\"}", CANCEL_NEW[] = "{\"collision_strategy\":\"CANCEL_NEW\"}";

static const struct life lives[] = {
    {"a plain life",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "A RUNNING/Running n1"}, {"{\"type\":\"COMPLETED\",\"message\":\"done\"}", "A COMPLETED/Completed n1 'done'"}}},
    {"a transition is made once",
     .run = {.state = "{\"type\":\"PENDING\",\"state_details\":{\"transition_id\":\"00000000-0000-4000-8000-000000000001\"}}"},
     .steps = {{"{\"type\":\"RUNNING\",\"state_details\":{\"transition_id\":\"00000000-0000-4000-8000-000000000001\"}}", "R PENDING/Pending n0", "already"},
               {"{\"type\":\"RUNNING\",\"state_details\":{\"transition_id\":\"00000000-0000-4000-8000-000000000002\"}}", "A RUNNING/Running n1"},
               {"{\"type\":\"RUNNING\",\"state_details\":{\"transition_id\":\"00000000-0000-4000-8000-000000000002\"}}", "R RUNNING/Running n1", "already"},
               {"RUNNING", "A RUNNING/Running n2"}}},
    {"terminal states give way, and their policy with them",
     .deployed = true,
     .run = {.state = "FAILED", .policy = "{\"pause_keys\":[\"a\"],\"resuming\":true}"},
     .steps = {{"CRASHED", "B FAILED/Failed n0 keys=[\"a\"]", "terminal state FAILED"},
               {"CANCELLED", "A CANCELLED/Cancelled n0 keys=[\"a\"]"},
               /* prevent_pending undoes what leave_terminal did to the policy */
               {"PENDING", "B CANCELLED/Cancelled n0 keys=[\"a\"]", "PENDING"},
               {"SCHEDULED", "A SCHEDULED/Scheduled n0 retry=reschedule next+0"},
               {"RUNNING", "A RUNNING/Running n1 retry=reschedule"},
               {"COMPLETED", "A COMPLETED/Completed n1 retry=reschedule"},
               {"RUNNING", "A RUNNING/Running n2"}}},
    {"clients below API 0.8.4 keep their policy",
     .deployed = true,
     .run = {.state = "CANCELLED", .policy = "{\"pause_keys\":[\"a\"]}"},
     .steps = {{"SCHEDULED", "A SCHEDULED/Scheduled n0 keys=[\"a\"] next+0", .client = &api_083}}},
    {"clients below API 0.8.4 count every start",
     .run = {.state = "PAUSED"},
     .steps = {{"PENDING", "R PAUSED/Paused n0 resuming", .client = &api_083},
               {"RUNNING", "A RUNNING/Running n1 resuming", .client = &api_083},
               {"RUNNING", "A RUNNING/Running n2 resuming", .client = &api_083},
               {"COMPLETED", "A COMPLETED/Completed n2 resuming", .client = &api_083}}},
    {"cancelling ends Cancelled",
     .run = {.state = "CANCELLING"},
     .steps = {{"COMPLETED", "R CANCELLING/Cancelling n0", "Cancelled"},
               {"{\"type\":\"COMPLETED\"}", "A COMPLETED/Completed n0", .force = true}}},
    {"nothing to cancel: scheduled",
     .run = {.state = "SCHEDULED"},
     .steps = {{"{\"type\":\"CANCELLING\",\"message\":\"m\"}", "R CANCELLED/Cancelled n0", "no infrastructure"}}},
    {"nothing to cancel: forced",
     .run = {.state = "SCHEDULED"},
     .steps = {{"CANCELLING", "R CANCELLED/Cancelled n0", "no infrastructure", .force = true}}},
    {"scheduled with infrastructure",
     .run = {.state = "SCHEDULED", .pid = "host:1"},
     .steps = {{"CANCELLING", "A CANCELLING/Cancelling n0"}, {"CANCELLED", "A CANCELLED/Cancelled n0"}}},
    {"nothing to cancel: about to resume",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"name\":\"Resuming\"}", .pid = "host:1"},
     .steps = {{"CANCELLING", "R CANCELLED/Cancelled n0", "no infrastructure"}}},
    {"nothing to cancel: suspended",
     .deployed = true,
     .run = {.state = "{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_reschedule\":true}}", .pid = "host:1"},
     .steps = {{"CANCELLING", "R CANCELLED/Cancelled n0", "no infrastructure"}}},
    {"paused with its process there",
     .run = {.state = "PAUSED", .pid = "host:1"},
     .steps = {{"CANCELLING", "A CANCELLING/Cancelling n0 resuming"}}},
    {"one worker gets a run",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@30\"}}"},
     .steps = {{"PENDING", "A PENDING/Pending n0"},
               {"PENDING", "B PENDING/Pending n0", "PENDING"},
               {"{\"type\":\"PENDING\",\"name\":\"Submitting\"}", "A PENDING/Submitting n0"},
               {"{\"type\":\"PENDING\",\"name\":\"Submitting\"}", "B PENDING/Submitting n0"},
               {"PENDING", "B PENDING/Submitting n0"},
               {"{\"type\":\"PENDING\",\"name\":\"InfrastructurePending\"}", "A PENDING/InfrastructurePending n0"},
               /* the scheduled time has come along */
               {"RUNNING", "W PENDING/InfrastructurePending n0", "future", .delay = 30},
               {"RUNNING", "A RUNNING/Running n1", .later = 30 * SEC},
               {"PENDING", "B RUNNING/Running n1", "RUNNING"}}},
    {"an explicit scheduled time is not overwritten",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@30\"}}"},
     .steps = {{"{\"type\":\"PENDING\",\"state_details\":{\"scheduled_time\":\"@100\"}}", "A PENDING/Pending n0"},
               {"RUNNING", "W PENDING/Pending n0", .delay = 100}}},
    {"late once, and only if scheduled",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@-20\"}}"},
     .steps = {{"{\"type\":\"SCHEDULED\",\"name\":\"Late\",\"state_details\":{\"scheduled_time\":\"@-20\"}}", "A SCHEDULED/Late n0 next-20", .policy = POLICY_MARK_LATE},
               {"{\"type\":\"SCHEDULED\",\"name\":\"Late\"}", "R SCHEDULED/Late n0 next-20", "late already", .policy = POLICY_MARK_LATE},
               {"RUNNING", "A RUNNING/Running n1"},
               {"{\"type\":\"SCHEDULED\",\"name\":\"Late\"}", "R RUNNING/Running n1", "Only a scheduled"}}},
    {"pause, resume, resume again",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "A RUNNING/Running n1"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_key\":\"k\\\"1\"}}", "A PAUSED/Paused n1 keys=[\"k\\\"1\"]"},
               {"PENDING", "R PAUSED/Paused n1 resuming keys=[\"k\\\"1\"]", "PENDING"},
               {"RUNNING", "A RUNNING/Running n1 resuming keys=[\"k\\\"1\"]"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_key\":\"k\\\"1\"}}", "R RUNNING/Running n1 resuming keys=[\"k\\\"1\"]", "pause has happened already"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_key\":\"k2\"}}", "A PAUSED/Paused n1 resuming keys=[\"k\\\"1\",\"k2\"]"},
               {"RUNNING", "A RUNNING/Running n1 resuming keys=[\"k\\\"1\",\"k2\"]"},
               {"COMPLETED", "A COMPLETED/Completed n1 keys=[\"k\\\"1\",\"k2\"]"}}},
    {"the order of hooks: a pause counts twice, then once",
     .run = {.state = "PENDING"},
     .steps = {{"RUNNING", "A RUNNING/Running n1"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_key\":\"a\"}}", "A PAUSED/Paused n1 keys=[\"a\"]"},
               {"RUNNING", "A RUNNING/Running n2 resuming keys=[\"a\"]"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_key\":\"b\"}}", "A PAUSED/Paused n2 resuming keys=[\"a\",\"b\"]"},
               {"RUNNING", "A RUNNING/Running n2 resuming keys=[\"a\",\"b\"]"},
               {"FAILED", "A FAILED/Failed n2 keys=[\"a\",\"b\"]"}}},
    {"suspend and resume",
     .deployed = true,
     .run = {.state = "RUNNING"},
     .steps = {{"{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_reschedule\":true,\"pause_key\":\"k1\",\"pause_timeout\":\"@100\"}}",
                "A PAUSED/Suspended n1 keys=[\"k1\"]"},
               {"{\"type\":\"PAUSED\",\"name\":\"Suspended\"}", "R PAUSED/Suspended n1 keys=[\"k1\"]", "suspend a run that is not running"},
               {"{\"type\":\"SCHEDULED\",\"name\":\"Resuming\"}", "A SCHEDULED/Resuming n1 resuming keys=[\"k1\"] next+0"},
               {"PENDING", "A PENDING/Pending n1 resuming keys=[\"k1\"]"},
               {"RUNNING", "A RUNNING/Running n1 keys=[\"k1\"]"},
               {"{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_key\":\"k1\"}}", "R RUNNING/Running n1 keys=[\"k1\"]", "suspend has happened"}}},
    {"suspending wants a deployment",
     .run = {.state = "RUNNING"},
     .steps = {{"{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_reschedule\":true,\"pause_key\":\"k\"}}", "B RUNNING/Running n1", "suspend a run without a deployment"},
               {"{\"type\":\"PAUSED\",\"state_details\":{\"pause_reschedule\":true,\"pause_key\":\"k\"}}", "B RUNNING/Running n1", "pause a run without a deployment"}}},
    {"a suspended run without a deployment cannot be rescheduled",
     .run = {.state = "{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_reschedule\":true}}"},
     .steps = {{"RUNNING", "R PAUSED/Suspended n0 resuming", "without a deployment"}, {"FAILED", "R PAUSED/Suspended n0 resuming", "without a deployment"}}},
    {"a pause that has timed out",
     .deployed = true,
     .run = {.state = "{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_timeout\":\"@10\"}}"},
     .steps = {{"PENDING", "R PAUSED/Suspended n0 resuming", .later = 11 * SEC},
               {"RUNNING", "R FAILED/Failed n0 resuming 'The run was suspended and was not resumed in time.'", "suspension"}}},
    {"a pause that has timed out can be cancelled",
     .run = {.state = "{\"type\":\"PAUSED\",\"state_details\":{\"pause_timeout\":\"@10\"}}"},
     .steps = {{"CANCELLING", "A CANCELLING/Cancelling n0 resuming", .later = 11 * SEC}}},
    {"a pause that has not timed out",
     .run = {.state = "{\"type\":\"PAUSED\",\"state_details\":{\"pause_timeout\":\"@10\"}}"},
     .steps = {{"RUNNING", "A RUNNING/Running n1 resuming", .later = 9 * SEC}}},
    {"wait: a third of a second is nothing",
     .run = {.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@0.3\"}}"},
     .steps = {{"RUNNING", "A RUNNING/Running n1"}}},
    {"wait: two thirds are a second",
     .run = {.state = "{\"type\":\"PENDING\",\"state_details\":{\"scheduled_time\":\"@1.7\"}}"},
     .steps = {{"RUNNING", "W PENDING/Pending n0", .delay = 2},
               {"RUNNING", "W PENDING/Pending n0", .later = 300 * MSEC, .delay = 1},
               {"COMPLETED", "A COMPLETED/Completed n0"}}},
    {"retries",
     .run = {.state = "RUNNING", .policy = "{\"retries\":1,\"retry_delay\":10,\"retry_type\":\"reschedule\",\"pause_keys\":[\"a\"],\"resuming\":true}"},
     .steps = {{"{\"type\":\"FAILED\",\"message\":\"boo\",\"data\":{\"z\": 1}}", "R SCHEDULED/AwaitingRetry n0 retry=in_process next+10 'boo' data={\"z\": 1}", "Retrying"},
               {"RUNNING", "W SCHEDULED/AwaitingRetry n0 retry=in_process next+9.99 'boo' data={\"z\": 1}", "future", .later = 5 * MSEC, .delay = 10},
               {"RUNNING", "A RUNNING/Running n1 retry=in_process", .later = 10 * SEC},
               {"FAILED", "R SCHEDULED/AwaitingRetry n1 retry=in_process next+10"},
               {"RUNNING", "A RUNNING/Running n2 retry=in_process", .later = 10 * SEC},
               {"FAILED", "A FAILED/Failed n2"}}},
    {"retries by their old names",
     .run = {.state = "RUNNING", .policy = "{\"max_retries\":1,\"retry_delay_seconds\":2.5}"},
     .steps = {{"FAILED", "R SCHEDULED/AwaitingRetry n1 retry=in_process next+2.5"},
               {"RUNNING", "A RUNNING/Running n2 retry=in_process", .later = 3 * SEC},
               {"FAILED", "A FAILED/Failed n2"}}},
    {"retries 0 is none",
     .run = {.state = "RUNNING", .policy = "{\"retries\":0}"},
     .steps = {{"FAILED", "A FAILED/Failed n1"}}},
    {"a retry of an old client leaves the policy",
     .run = {.state = "RUNNING", .policy = "{\"retries\":3}"},
     .steps = {{"FAILED", "R SCHEDULED/AwaitingRetry n1 next+0", .client = &api_083}}},

    {"a forced success of a 2.x client has an unknown result",
     .run = {.state = "{\"type\":\"FAILED\",\"data\":{\"type\":\"reference\",\"storage_key\":\"k\"}}"},
     .steps = {{"COMPLETED", "A COMPLETED/Completed n0 data={\"type\":\"unknown\",\"value\":null}", .force = true, .client = &two}}},
    {"… and of a 3.x client none",
     .run = {.state = "{\"type\":\"FAILED\",\"data\":{\"type\":\"reference\",\"storage_key\":\"k\"}}"},
     .steps = {{"COMPLETED", "A COMPLETED/Completed n0", .force = true}}},

    /* the deployment's limit */
    {"a slot from Pending to the end",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1"},
               {"{\"type\":\"PENDING\",\"name\":\"Submitting\"}", "A PENDING/Submitting n0 lease slots1/1"},
               {"RUNNING", "A RUNNING/Running n1 lease slots1/1"},
               {"COMPLETED", "A COMPLETED/Completed n1 lease slots0/0"},
               {"RUNNING", "A RUNNING/Running n2 lease slots0/0"},
               {"COMPLETED", "A COMPLETED/Completed n2 lease slots0/0"}}},
    {"a slot back by way of Cancelling",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1"},
               {"CANCELLING", "A CANCELLING/Cancelling n0 lease slots1/1"},
               {"CANCELLED", "A CANCELLED/Cancelled n0 lease slots0/0"}}},
    {"a forced state names no lease, and the slot goes back all the same",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1"},
               {"CANCELLING", "A CANCELLING/Cancelling n0 slots1/1", .force = true},
               {"CANCELLED", "A CANCELLED/Cancelled n0 slots0/0"}}},
    {"a slot back when it is scheduled again",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {"SCHEDULED", "A SCHEDULED/Scheduled n0 next+0 lease slots0/0"},
               {"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {"CRASHED", "A CRASHED/Crashed n0 slots0/0", .force = true}}},
    {"a retry keeps its slot",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED", .policy = "{\"retries\":2}"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1"},
               {"RUNNING", "A RUNNING/Running n1 lease slots1/1"},
               {"FAILED", "R SCHEDULED/AwaitingRetry n1 retry=in_process next+0 lease slots1/1"},
               {"RUNNING", "A RUNNING/Running n2 retry=in_process lease slots1/1"},
               {"FAILED", "R SCHEDULED/AwaitingRetry n2 retry=in_process next+0 lease slots1/1"},
               /* … and takes no second one when a worker starts it */
               {"PENDING", "A PENDING/Pending n2 retry=in_process lease slots1/1"},
               {"RUNNING", "A RUNNING/Running n3 retry=in_process lease slots1/1"},
               {"FAILED", "A FAILED/Failed n3 lease slots0/0"}}},
    {"a limit of 0",
     .deployed = true, .limited = true, .limit = 0,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "B SCHEDULED/Scheduled n0 next-0.001 slots0/0", "is 0"}, {"RUNNING", "A RUNNING/Running n1 slots0/0"}}},
    {"clients that cannot cope take no slot",
     .deployed = true, .limited = true, .limit = 0,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 slots0/0", .client = &v303}, {"FAILED", "A FAILED/Failed n0 slots0/0", .client = &v303}}},
    {"a slot that a later rule refuses goes back",
     .deployed = true, .limited = true, .limit = 2,
     .run = {.state = "PAUSED"},
     .steps = {{"PENDING", "R PAUSED/Paused n0 resuming slots0/0", "PENDING"}}},
    {"an old client's lease ends with the run",
     .deployed = true, .limited = true, .limit = 1,
     .run = {.state = "SCHEDULED"},
     .steps = {{"PENDING", "A PENDING/Pending n0 lease slots1/1", .client = &old},
               {"RUNNING", "A RUNNING/Running n1 lease slots1/1", .client = &old},
               {"RUNNING", "A RUNNING/Running n2 lease slots1/1", .client = &old, .later = 400 * SEC},
               {"COMPLETED", "A COMPLETED/Completed n2 lease slots0/0", .client = &old, .later = DAY}}},
    {"a run that holds no slot gives none back",
     .deployed = true, .limited = true, .limit = 3,
     .run = {.state = "RUNNING"},
     .steps = {{"COMPLETED", "A COMPLETED/Completed n1 slots0/0"}}},
};

static int live_one(struct world *w, const struct life *l, struct err *err)
{
    struct setup s;
    Uuid id;
    struct run_options o = l->run;
    TRY(start(w, &s, err));
    if (l->deployed)
        TRY(insert_deployment(&s, l->limited ? l->limit : -1, l->options, &o.deployment, err));
    TRY(insert_run(&s, o, &id, err));
    return live(&s, /* task= */ false, id, l->steps, err);
}

static int flow_lives(struct world *w, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(lives); i++)
        if (live_one(w, &lives[i], err) < 0)
            return err_wrap(err, "%s", lives[i].name);
    return 0;
}

/* ---- results ---- */

/* A COMPLETED state with such data; then what is proposed, the rules' verdict and the verdict when it is forced. */
static int flow_results(struct world *w, struct err *err)
{
    static const char *const persisted[] = {"{\"type\":\"reference\",\"x\":1}", "{\"a\":1}"},
                             *const not_persisted[] = {"null", "\"text\"", "5", "[1]", "false", "{}", "{\"type\":\"unpersisted\"}"};
    static const struct {
        const char *state;
        char core, forced;
    } cases[] = {
        {"RUNNING", 'R', 'A'},
        {"FAILED", 'A', 'A'},
        {"COMPLETED", 'R', 'R'},
        {"{\"type\":\"COMPLETED\",\"data\":{\"type\":\"unpersisted\"}}", 'R', 'R'},
        {"{\"type\":\"COMPLETED\",\"data\":\"str\"}", 'R', 'R'},
        {"{\"type\":\"COMPLETED\",\"data\":{\"b\":1}}", 'A', 'A'},
    };
    struct setup s;
    TRY(start(w, &s, err));
    for (size_t d = 0; d < COUNT_OF(persisted) + COUNT_OF(not_persisted); d++) {
        bool is = d < COUNT_OF(persisted);
        const char *data = is ? persisted[d] : not_persisted[d - COUNT_OF(persisted)];
        for (size_t i = 0; i < COUNT_OF(cases) * 2; i++) {
            bool force = i % 2;
            char want = !is ? 'A' : force ? cases[i / 2].forced : cases[i / 2].core;
            Uuid id;
            struct verdict_result got;
            TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &id, err));
            TRY(propose(&s, id, str_fmt(w->a, "{\"type\":\"COMPLETED\",\"data\":%s}%c", data, 0).p, POLICY_CORE, false, &got, err));
            EXPECT_STR(got.state.data.p ? got.state.data : STR("null"), data); /* echoed, stored or not */
            TRY(propose(&s, id, cases[i / 2].state, POLICY_CORE, force, &got, err));
            if (letter_of(&got) != want)
                return err_set(err, ERR_INTERNAL, "%s -> %s%s: %c, not %c", data, cases[i / 2].state, force ? " (forced)" : "", letter_of(&got), want);
            if (want == 'R') /* the answer has the state that stays, with its data */
                EXPECT_STR(got.state.data, data);
        }
    }
    Uuid id;
    Str line;
    TRY(insert_run(&s, (struct run_options){.state = "{\"type\":\"COMPLETED\",\"data\":{\"type\": \"unpersisted\"}}"}, &id, err));
    TRY(flow_line(&s, id, &line, err));
    EXPECT_STR(line, "COMPLETED/Completed n0"); /* nothing stored */
    return 0;
}

/* ---- slots, several runs ---- */

static int lease_of(struct setup *s, Uuid run, Uuid *ret, struct err *err)
{
    struct flow_run r;
    struct state state;
    struct state_details d;
    if (record_by_id(s->w->c, s->w->a, &flow_run_resource, run, &r, err) <= 0 ||
        state_find(s->w->c, s->w->a, FLOW_RUN, run, r.state_id, &state, err) <= 0)
        return -1;
    state_details_get(s->w->a, &state, &d);
    *ret = d.deployment_concurrency_lease_id;
    return 0;
}

static int full_limit(struct world *w, struct err *err)
{
    static const struct {
        const char *options, *expect;
    } cases[] = {
        {NULL, "R SCHEDULED/AwaitingConcurrencySlot n0 next+30 slots1/1"},
        {ENQUEUE, "R SCHEDULED/AwaitingConcurrencySlot n0 next+30 slots1/1"},
        {CANCEL_NEW, "R CANCELLED/Cancelled n0 'The deployment's concurrency limit is reached.' slots1/1"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct setup s;
        Uuid deployment, first, second;
        TRY(start(w, &s, err));
        TRY(insert_deployment(&s, 1, cases[i].options, &deployment, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &first, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &second, err));
        TRY(live(&s, false, first, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
        TRY(live(&s, false, second, (struct step[]){{"PENDING", cases[i].expect, "limit is reached"}, {0}}, err));
        /* The second goes without; the first one's slot is still the first one's. */
        TRY(live(&s, false, second, (struct step[]){{"RUNNING", "A RUNNING/Running n1 slots1/1", .force = true}, {"COMPLETED", "A COMPLETED/Completed n1 slots1/1"}, {0}}, err));
        TRY(live(&s, false, first, (struct step[]){{"FAILED", "A FAILED/Failed n0 lease slots0/0"}, {0}}, err));
    }
    return 0;
}

/* The lease runs out before the run starts. */
static int lost_lease(struct world *w, struct err *err)
{
    for (int i = 0; i < 5; i++) {
        struct setup s;
        Uuid deployment, first, second, lease;
        Time next;
        TRY(start(w, &s, err));
        TRY(insert_deployment(&s, 1, i == 4 ? "{\"collision_strategy\":\"ENQUEUE\",\"grace_period_seconds\":900}" : NULL, &deployment, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &first, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &second, err));
        outbox_init(&w->out, w->a);
        TRY(live(&s, false, first, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
        EXPECT_INT(w->out.alarm[ALARM_LEASE], w->now + (i == 4 ? 900 : 300) * SEC);
        TRY(lease_of(&s, first, &lease, err));
        w->now += 301 * SEC;
        TRY(leases_expire(w->c, w->a, w->now, &next, &w->out, err));
        Str line;
        TRY(flow_line(&s, first, &line, err));
        EXPECT_STR(line, i == 4 ? "PENDING/Pending n0 lease slots1/1" : "PENDING/Pending n0 lease slots0/0");
        if (i == 0) { /* a new one */
            TRY(live(&s, false, first, (struct step[]){{"RUNNING", "A RUNNING/Running n1 lease slots1/1"}, {0}}, err));
            Uuid again;
            TRY(lease_of(&s, first, &again, err));
            EXPECT(!uuid_eq(lease, again) && !uuid_is_nil(again));
            TRY(live(&s, false, first, (struct step[]){{"COMPLETED", "A COMPLETED/Completed n1 lease slots0/0"}, {0}}, err));
        } else if (i == 1) { /* somebody else has the slot by now */
            TRY(live(&s, false, second, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
            TRY(live(&s, false, first,
                     (struct step[]){{"RUNNING", "R CANCELLED/Cancelled n0 'The run's slot of its deployment's concurrency limit was lost before it started, and no other is free.' slots1/1", "expired"}, {0}}, err));
        } else if (i == 2) { /* a client that renews no lease is not asked for one, and gives nothing back that it has not */
            TRY(live(&s, false, second, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
            TRY(live(&s, false, first, (struct step[]){{"RUNNING", "A RUNNING/Running n1 lease slots1/1", .client = &unknown}, {"COMPLETED", "A COMPLETED/Completed n1 lease slots1/1", .client = &unknown}, {0}}, err));
        } else if (i == 3) { /* a wait after the new slot was taken gives it back */
            TRY(live(&s, false, second, (struct step[]){{"{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@1000\"}}", "A SCHEDULED/Scheduled n0 next+1e+03 slots0/0"},
                                                        {"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
            w->now += 400 * SEC;
            TRY(leases_expire(w->c, w->a, w->now, &next, &w->out, err));
            TRY(live(&s, false, second, (struct step[]){{"RUNNING", "W PENDING/Pending n0 lease slots0/0", "future"}, {0}}, err));
        } else { /* the grace period is the lease's time, from the start on anew */
            TRY(live(&s, false, first, (struct step[]){{"RUNNING", "A RUNNING/Running n1 lease slots1/1"}, {0}}, err));
            struct lease l;
            EXPECT_INT(lease_find(w->c, w->a, lease, w->now, &l, err), 1);
            EXPECT_INT(l.expires, w->now + 900 * SEC);
            EXPECT_STR(l.holder_type, "flow_run");
            EXPECT(uuid_eq(l.holder_id, first));
        }
    }
    return 0;
}

/* An older client renews no lease: what it has when it starts, it has until the end. */
static int old_clients_lease(struct world *w, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        struct setup s;
        Uuid deployment, id;
        Time next;
        TRY(start(w, &s, err));
        TRY(insert_deployment(&s, 1, NULL, &deployment, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &id, err));
        TRY(live(&s, false, id, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {"RUNNING", "A RUNNING/Running n1 lease slots1/1", .client = i ? &old : NULL}, {0}}, err));
        w->now += HOUR;
        TRY(leases_expire(w->c, w->a, w->now, &next, &w->out, err));
        TRY(live(&s, false, id, (struct step[]){{"RUNNING", i ? "A RUNNING/Running n2 lease slots1/1" : "A RUNNING/Running n2 lease slots0/0", .client = i ? &old : NULL},
                                                {"COMPLETED", "A COMPLETED/Completed n2 lease slots0/0"}, {0}}, err));
    }
    return 0;
}

/* A state may name any lease; only the holder's own is touched. */
static int foreign_lease(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment, first, second, lease;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, 1, NULL, &deployment, err));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &first, err));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &second, err));
    TRY(live(&s, false, first, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
    TRY(lease_of(&s, first, &lease, err));
    const char *stolen = str_fmt(w->a, "{\"type\":\"RUNNING\",\"state_details\":{\"deployment_concurrency_lease_id\":\"%s\"}}%c", uuid_text(lease).s, 0).p;
    TRY(live(&s, false, second, (struct step[]){{stolen, "A RUNNING/Running n1 lease slots1/1"}, {"COMPLETED", "A COMPLETED/Completed n1 lease slots1/1"}, {0}}, err));
    return 0;
}

static int deployment_gone(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment, id;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &id, err));
    TRY(record_delete(w->c, &deployment_resource, deployment, err));
    return live(&s, false, id, (struct step[]){{"PENDING", "B SCHEDULED/Scheduled n0 next-0.001", "does not exist"}, {0}}, err);
}

/* An inactive limit counts nobody. */
static int inactive_limit(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment, id;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, 1, NULL, &deployment, err));
    TRY(db_exec(w->c, err, "UPDATE concurrency_limit_v2 SET active = 0, active_slots = 1 WHERE id = $1", "u", s.limit));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &id, err));
    return live(&s, false, id, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/0"}, {"FAILED", "A FAILED/Failed n0 lease slots1/0"}, {0}}, err);
}

static int late_without_slots(struct world *w, struct err *err)
{
    static const char late[] = "{\"type\":\"SCHEDULED\",\"name\":\"Late\",\"state_details\":{\"scheduled_time\":\"@-20\"}}";
    static const struct {
        const char *options;
        int64_t limit;
        const char *expect;
    } cases[] = {
        {CANCEL_NEW, 1, "R CANCELLED/Cancelled n0 'The deployment's concurrency limit is reached.' slots1/1"},
        {CANCEL_NEW, 2, "A SCHEDULED/Late n0 next-20 slots1/1"},
        {ENQUEUE, 1, "A SCHEDULED/Late n0 next-20 slots1/1"},
        {NULL, 1, "A SCHEDULED/Late n0 next-20 slots1/1"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct setup s;
        Uuid deployment, first, second;
        TRY(start(w, &s, err));
        TRY(insert_deployment(&s, cases[i].limit, cases[i].options, &deployment, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &first, err));
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &second, err));
        TRY(live(&s, false, first, (struct step[]){{"PENDING", "A PENDING/Pending n0 lease slots1/1"}, {0}}, err));
        outbox_init(&w->out, w->a);
        TRY(live(&s, false, second, (struct step[]){{late, cases[i].expect, .policy = POLICY_MARK_LATE}, {0}}, err));
        EXPECT_INT((int64_t)w->out.events.n, 1);
        EXPECT_STR(w->out.events.v[0].event, cases[i].expect[0] == 'A' ? "prefect.flow-run.Late" : "prefect.flow-run.Cancelled");
    }
    return 0;
}

static const struct db_case cases[] = {
    {"every pair of flow states", flow_pairs_all},
    {"lives of flow runs", flow_lives},
    {"results", flow_results},
    {"a full limit", full_limit},
    {"a lost lease", lost_lease},
    {"an old client's lease", old_clients_lease},
    {"another's lease", foreign_lease},
    {"the deployment is gone", deployment_gone},
    {"an inactive limit", inactive_limit},
    {"late without a slot", late_without_slots},
};

int main(void)
{
    return dbtest_main("orchestration", cases, COUNT_OF(cases));
}
