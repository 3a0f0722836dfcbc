/* What a transition leaves behind: the run's row, its states, events, alarms, the answer. */
#include "tests/unit/runs.h"

#include <semaphore.h>
#include <stdatomic.h>

/* ---- the run's row ---- */

static int get(struct setup *s, Uuid id, struct flow_run *ret, struct err *err)
{
    int rc = record_by_id(s->w->c, s->w->a, &flow_run_resource, id, ret, err);
    return rc == 1 ? 0 : rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "no such run");
}

static int row_of_a_run(struct world *w, struct err *err)
{
    struct setup s;
    Uuid id;
    struct flow_run r;
    struct verdict_result got;
    TRY(start(w, &s, err));
    Time t0 = w->now, scheduled = w->now + MSEC + HOUR;
    TRY(insert_run(&s, (struct run_options){.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@3600\"}}"}, &id, err));
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.state_timestamp, t0 + MSEC);
    EXPECT_INT(r.expected_start_time, scheduled);
    EXPECT_INT(r.next_scheduled_start_time, scheduled);
    EXPECT(r.start_time == TIME_NONE && r.end_time == TIME_NONE && r.total_run_time == 0);
    EXPECT_INT(r.updated, w->now);

    TRY(propose(&s, id, "PENDING", POLICY_CORE, false, &got, err));
    TRY(get(&s, id, &r, err));
    EXPECT(r.next_scheduled_start_time == TIME_NONE && r.start_time == TIME_NONE);

    w->now = scheduled;
    TRY(propose(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    Time started = w->now;
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.start_time, started);
    EXPECT_INT(r.expected_start_time, scheduled);

    w->now += 10 * SEC;
    TRY(propose(&s, id, "SCHEDULED", POLICY_CORE, false, &got, err));
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.total_run_time, 10 * SEC + MSEC);
    EXPECT_INT(r.next_scheduled_start_time, w->now);
    EXPECT_INT(r.expected_start_time, scheduled);

    TRY(propose(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    w->now += 5 * SEC;
    TRY(propose(&s, id, "FAILED", POLICY_CORE, false, &got, err));
    Time ended = w->now;
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.total_run_time, 15 * SEC + 2 * MSEC);
    EXPECT_INT(r.end_time, ended);
    EXPECT_INT(r.start_time, started);
    EXPECT_INT(r.run_count, 2);

    TRY(propose(&s, id, "CANCELLED", POLICY_CORE, false, &got, err)); /* keeps the first end */
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.end_time, ended);
    TRY(propose(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    TRY(get(&s, id, &r, err));
    EXPECT(r.end_time == TIME_NONE);
    EXPECT_INT(r.start_time, started);

    /* An end without a start starts there. */
    TRY(insert_run(&s, (struct run_options){.state = "PENDING"}, &id, err));
    TRY(get(&s, id, &r, err));
    EXPECT_INT(r.expected_start_time, w->now);
    TRY(propose(&s, id, "CRASHED", POLICY_CORE, false, &got, err));
    TRY(get(&s, id, &r, err));
    EXPECT(r.start_time == w->now && r.end_time == w->now);

    /* What is refused changes nothing. */
    struct flow_run before = r;
    TRY(propose(&s, id, "PAUSED", POLICY_CORE, false, &got, err));
    TRY(get(&s, id, &r, err));
    EXPECT(record_diff(&flow_run_resource, &before, &r) == 0);
    return 0;
}

/* The same of a task run. */
static int row_of_a_task_run(struct world *w, struct err *err)
{
    struct setup s;
    Uuid id;
    struct task_run r;
    struct verdict_result got;
    TRY(start(w, &s, err));
    TRY(insert_task(&s, (struct task_options){.state = "PENDING"}, &id, err));
    Time made = w->now;
    TRY(propose_task(&s, id, "RUNNING", POLICY_CORE, false, &got, err));
    Time started = w->now;
    w->now += 5 * SEC;
    TRY(propose_task(&s, id, "FAILED", POLICY_CORE, false, &got, err));
    EXPECT_INT(record_by_id(w->c, w->a, &task_run_resource, id, &r, err), 1);
    EXPECT(r.expected_start_time == made && r.start_time == started && r.end_time == w->now && r.updated == w->now);
    EXPECT_INT(r.total_run_time, 5 * SEC + MSEC);
    TRY(propose_task(&s, id, "SCHEDULED", POLICY_CORE, false, &got, err));
    EXPECT_INT(record_by_id(w->c, w->a, &task_run_resource, id, &r, err), 1);
    EXPECT(r.end_time == TIME_NONE && r.next_scheduled_start_time == w->now && r.start_time == started && r.expected_start_time == made);
    return 0;
}

/* States of a run have instants of their own, whatever the clock says. */
static int instants(struct world *w, struct err *err)
{
    static const Dur clock[] = {0, 0, 0, -5 * SEC, -MSEC, 0, -5 * SEC, 0, 0};
    static const char *const types[] = {"PENDING", "RUNNING", "RUNNING", "SCHEDULED", "RUNNING", "RUNNING", "RUNNING", "FAILED", "RUNNING"};
    struct setup s;
    Uuid id;
    StateList list = {0};
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){0}, &id, err));
    Time t0 = w->now + SEC;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct verdict_result got;
        struct flow_run r;
        w->now = t0 - MSEC + clock[i];
        TRY(propose(&s, id, types[i], POLICY_CORE, false, &got, err));
        EXPECT(got.verdict == VERDICT_ACCEPT && got.wrote);
        TRY(get(&s, id, &r, err));
        EXPECT(uuid_eq(r.state_id, got.state.id) && r.state_timestamp == got.state.timestamp);
        EXPECT(got.state.timestamp >= t0 + clock[i] && got.state.timestamp < t0 + clock[i] + 10);
        EXPECT(r.total_run_time >= 0);
        EXPECT(i != 1 || r.start_time == got.state.timestamp);
    }
    TRY(state_list(w->c, w->a, FLOW_RUN, id, &list, err));
    EXPECT_INT((int64_t)list.n, COUNT_OF(types));
    for (size_t i = 1; i < list.n; i++)
        EXPECT(list.v[i].timestamp > list.v[i - 1].timestamp);
    return 0;
}

static int statements(struct world *w, struct err *err)
{
    static const char *const types[] = {"PENDING", "RUNNING", "COMPLETED"};
    struct setup s;
    Uuid plain, deployed, deployment;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    TRY(insert_run(&s, (struct run_options){.state = "PENDING"}, &plain, err));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &deployed, err));
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct verdict_result got;
        TRY(propose(&s, deployed, types[i], POLICY_CORE, false, &got, err));
        EXPECT_INT(s.statements, 3); /* what is, the state, the run */
        TRY(propose(&s, plain, types[i], POLICY_CORE, false, &got, err));
        EXPECT_INT(s.statements, i ? 3 : 1); /* a refusal reads only */
    }
    return 0;
}

/* A run that is inserted with its first state, unless it is there. */
static int inserting(struct world *w, struct err *err)
{
    struct setup s;
    Uuid id, again;
    struct flow_run r, stored;
    struct verdict_result got;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = NULL}, &id, err));
    TRY(get(&s, id, &r, err));
    struct state state = state_new(STATE_SCHEDULED, STR_NONE, STR_NONE, w->now);
    struct orchestration o = asking(&s, POLICY_MINIMAL, true);
    o.insert = "ON CONFLICT (flow_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING";
    for (int i = 0; i < 2; i++) {
        outbox_init(&w->out, w->a);
        r.id = again = uuid_v7();
        r.idempotency_key = STR("once");
        db_test_fail_at(conn_db(w->c), MANY_STATEMENTS);
        TRY(orchestrate_flow_run(&o, &r, &state, &got, err));
        EXPECT_INT(MANY_STATEMENTS - db_test_fail_at(conn_db(w->c), 0), i ? 2 : 3); /* the flow, the run, the state */
        EXPECT(got.exists == (i == 1) && got.wrote == (i == 0));
        EXPECT_INT((int64_t)w->out.events.n, i ? 0 : 1);
        EXPECT_INT(record_by_id(w->c, w->a, &flow_run_resource, again, &stored, err), i ? 0 : 1);
        if (i == 0)
            EXPECT(record_diff(&flow_run_resource, &stored, &r) == 0);
        r.state_id = UUID_NIL;
    }
    return 0;
}

/* Every statement of a transition fails in turn: the error comes up, and the savepoint leaves nothing of it. */
static int each_failure(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment, id;
    Str before, after;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, 2, NULL, &deployment, err));
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &id, err));
    static const char *const types[] = {"PENDING", "RUNNING", "FAILED"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        TRY(flow_line(&s, id, &before, err));
        bool struck = true;
        for (int64_t n = 1; struck; n++) {
            struct err why = {0};
            struct flow_run run;
            struct state state;
            struct verdict_result got;
            EXPECT(n < 20);
            TRY(db_savepoint(w->c, err));
            TRY(state_of(w, types[i], &state, err));
            TRY(record_lock(w->c, w->a, &flow_run_resource, id, &run, err));
            struct orchestration o = asking(&s, POLICY_CORE, false);
            db_test_fail_at(conn_db(w->c), n);
            int rc = orchestrate_flow_run(&o, &run, &state, &got, &why);
            struck = db_test_fail_at(conn_db(w->c), 0) <= 0;
            EXPECT(struck == (rc < 0));
            if (struck) {
                EXPECT(why.code == ERR_DB);
                TRY(db_rollback_to(w->c, err));
                TRY(flow_line(&s, id, &after, err));
                EXPECT(str_eq(before, after));
            } else {
                TRY(db_release(w->c, err));
                EXPECT(got.verdict == VERDICT_ACCEPT);
            }
        }
        w->now += MSEC;
    }
    TRY(flow_line(&s, id, &after, err));
    EXPECT_STR(after, "FAILED/Failed n1 lease slots0/0");
    return 0;
}

/* ---- subflows ---- */

static int subflow(struct world *w, struct err *err)
{
    struct setup s;
    Uuid parent_run, parent_task, child, deployment;
    struct task_run task;
    struct state state;
    struct state_details d;
    struct verdict_result got;
    Str line;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &parent_run, err));
    TRY(insert_task(&s, (struct task_options){.flow_run = parent_run, .state = "PENDING"}, &parent_task, err));
    TRY(insert_run(&s, (struct run_options){.parent = parent_task, .deployment = deployment, .state = "{\"type\":\"PENDING\",\"message\":\"hi\"}"}, &child, err));
    TRY(task_line(&s, parent_task, &line, err));
    EXPECT_STR(line, "PENDING/Pending n0,0 'hi'");
    TRY(propose(&s, child, "{\"type\":\"RUNNING\",\"name\":\"Warm\"}", POLICY_CORE, false, &got, err));
    state_details_get(w->a, &got.state, &d);
    EXPECT(uuid_eq(d.flow_run_id, child) && uuid_eq(d.task_run_id, parent_task) && uuid_is_nil(d.child_flow_run_id));
    EXPECT_INT(record_by_id(w->c, w->a, &task_run_resource, parent_task, &task, err), 1);
    EXPECT_INT(state_find(w->c, w->a, TASK_RUN, parent_task, task.state_id, &state, err), 1);
    EXPECT(!uuid_eq(state.id, got.state.id));
    EXPECT_STR(state.name, "Warm");
    state_details_get(w->a, &state, &d);
    EXPECT(uuid_eq(d.flow_run_id, parent_run) && uuid_eq(d.task_run_id, parent_task) && uuid_eq(d.child_flow_run_id, child));
    EXPECT_INT(task.run_count, 1);
    EXPECT_INT(task.flow_run_run_count, 0);
    TRY(live(&s, false, child,
             (struct step[]){{"{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"state_details\":{\"pause_reschedule\":true,\"pause_key\":\"k\"}}", "B RUNNING/Warm n1", "suspend a subflow"},
                             {"{\"type\":\"COMPLETED\",\"data\":{\"z\":1}}", "A COMPLETED/Completed n1 data={\"z\":1}"},
                             {0}},
             err));
    TRY(task_line(&s, parent_task, &line, err));
    EXPECT_STR(line, "COMPLETED/Completed n1,0 data={\"z\":1}");
    /* A parent that is gone is no error. */
    TRY(insert_run(&s, (struct run_options){.parent = uuid_v7(), .state = "PENDING"}, &child, err));
    return live(&s, false, child, (struct step[]){{"RUNNING", "A RUNNING/Running n1"}, {0}}, err);
}

/* Clients below API 0.8.3 leave it to the server to start failed tasks anew. */
static int retry_of_tasks(struct world *w, struct err *err)
{
    static const struct client_info api_082 = {{0, 8, 2}, {2, 13, 0}};
    for (int i = 0; i < 2; i++) {
        struct setup s;
        Uuid run, failed, done;
        Str line;
        TRY(start(w, &s, err));
        TRY(insert_run(&s, (struct run_options){.state = "RUNNING", .policy = "{\"retries\":1,\"retry_delay\":5}"}, &run, err));
        TRY(insert_task(&s, (struct task_options){.flow_run = run, .state = "RUNNING"}, &failed, err));
        TRY(insert_task(&s, (struct task_options){.flow_run = run, .state = "COMPLETED"}, &done, err));
        TRY(live(&s, true, failed, (struct step[]){{"FAILED", "A FAILED/Failed n1,0", .force = true}, {0}}, err));
        TRY(live(&s, false, run,
                 (struct step[]){{"FAILED", i ? "R SCHEDULED/AwaitingRetry n1 next+5" : "R SCHEDULED/AwaitingRetry n1 retry=in_process next+5",
                                  .client = i ? &api_082 : NULL}, {0}}, err));
        TRY(task_line(&s, failed, &line, err));
        EXPECT_STR(line, i ? "SCHEDULED/AwaitingRetry n0,0 next+5" : "FAILED/Failed n1,0");
        TRY(task_line(&s, done, &line, err));
        EXPECT_STR(line, "COMPLETED/Completed n0,0");
    }
    return 0;
}

/* ---- what is told ---- */

static int insert_queue(struct setup *s, int64_t pool_limit, Uuid *ret_pool, Uuid *ret_queue, struct err *err)
{
    struct world *w = s->w;
    struct work_pool p;
    struct work_queue q;
    record_init(&work_pool_resource, &p);
    record_init(&work_queue_resource, &q);
    p.id = *ret_pool = uuid_v7();
    q.id = *ret_queue = uuid_v7();
    p.created = p.updated = q.created = q.updated = w->now;
    p.name = str_fmt(w->a, "pool-%s", uuid_text(p.id).s);
    p.type = STR("process");
    p.base_job_template = p.storage_configuration = STR("{}");
    p.is_paused = q.is_paused = 0;
    p.concurrency_limit = pool_limit;
    q.name = STR("default");
    q.work_pool_id = p.id;
    q.status = STR("READY");
    return record_insert(w->c, &work_pool_resource, &p, "", err) < 0 || record_insert(w->c, &work_queue_resource, &q, "", err) < 0 ? -1 : 0;
}

#define TAG(t) ",{\"prefect.resource.id\":\"prefect.tag." t "\",\"prefect.resource.role\":\"tag\"}"

static int events(struct world *w, struct err *err)
{
    struct setup s;
    Uuid deployment, pool, queue, id, plain, task, parent_run, creator = uuid_v7();
    struct verdict_result first, got;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    TRY(insert_queue(&s, INT_NONE, &pool, &queue, err));
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &parent_run, err));
    TRY(insert_task(&s, (struct task_options){.flow_run = parent_run, .state = "RUNNING"}, &task, err));
    const char *by = str_fmt(w->a, "{\"id\":\"%s\",\"type\":\"AUTOMATION\",\"display_value\":\"nightly rule\"}%c", uuid_text(creator).s, 0).p;
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .queue = queue, .parent = task, .tags = "[\"z\",\"b\",\"a \\\"q\\\"\"]", .created_by = by}, &id, err));
    outbox_init(&w->out, w->a);
    TRY(propose(&s, id, "{\"type\":\"SCHEDULED\",\"message\":\"hey \\\"you\\\"\"}", POLICY_MINIMAL, true, &first, err));
    EXPECT_INT((int64_t)w->out.events.n, 1);
    const struct event *e = &w->out.events.v[0];
    Str at = str_of(time_iso(first.state.timestamp).s);
    EXPECT(uuid_eq(e->id, first.state.id) && e->occurred == first.state.timestamp && uuid_is_nil(e->follows));
    EXPECT_STR(e->event, "prefect.flow-run.Scheduled");
    EXPECT_STR(e->resource_id, str_fmt(w->a, "prefect.flow-run.%s%c", uuid_text(id).s, 0).p);
    EXPECT_STR(e->resource, str_fmt(w->a,
                                    "{\"prefect.resource.id\":\"prefect.flow-run.%s\",\"prefect.resource.name\":\"brisk-heron\",\"prefect.run-count\":\"0\","
                                    "\"prefect.state-message\":\"hey \\\"you\\\"\",\"prefect.state-name\":\"Scheduled\","
                                    "\"prefect.state-timestamp\":\"%.*s+00:00\",\"prefect.state-type\":\"SCHEDULED\"}%c",
                                    uuid_text(id).s, (int)at.n - 1, at.p, 0).p);
    EXPECT_STR(e->payload, "{\"intended\":{\"from\":null,\"to\":\"SCHEDULED\"},\"initial_state\":null,"
                           "\"validated_state\":{\"type\":\"SCHEDULED\",\"name\":\"Scheduled\",\"message\":\"hey \\\"you\\\"\"}}");
    EXPECT_STR(e->related,
               str_fmt(w->a,
                       "[{\"prefect.resource.id\":\"prefect.flow.%s\",\"prefect.resource.role\":\"flow\",\"prefect.resource.name\":\"flow-%s\"},"
                       "{\"prefect.resource.id\":\"prefect.deployment.%s\",\"prefect.resource.role\":\"deployment\",\"prefect.resource.name\":\"nightly-%s\"},"
                       "{\"prefect.resource.id\":\"prefect.work-queue.%s\",\"prefect.resource.role\":\"work-queue\",\"prefect.resource.name\":\"default\"},"
                       "{\"prefect.resource.id\":\"prefect.work-pool.%s\",\"prefect.resource.role\":\"work-pool\",\"prefect.resource.name\":\"pool-%s\",\"prefect.work-pool.type\":\"process\"},"
                       "{\"prefect.resource.id\":\"prefect.task-run.%s\",\"prefect.resource.role\":\"task-run\",\"prefect.resource.name\":\"stir-0\"}"
                       TAG("a \\\"q\\\"") TAG("b") TAG("of-deployment") TAG("of-flow") TAG("z")
                       ",{\"prefect.resource.id\":\"prefect.automation.%s\",\"prefect.resource.role\":\"creator\",\"prefect.resource.name\":\"nightly rule\"}]%c",
                       uuid_text(s.flow).s, uuid_text(s.flow).s, uuid_text(deployment).s, uuid_text(deployment).s, uuid_text(queue).s,
                       uuid_text(pool).s, uuid_text(pool).s, uuid_text(task).s, uuid_text(creator).s, 0).p);

    /* Following within five minutes; names of states as they are; a pause says whether its process ends. */
    static const struct {
        const char *state, *event, *payload;
        Dur later;
        bool follows;
    } steps[] = {
        {"PENDING", "prefect.flow-run.Pending",
         "{\"intended\":{\"from\":\"SCHEDULED\",\"to\":\"PENDING\"},\"initial_state\":{\"type\":\"SCHEDULED\",\"name\":\"Scheduled\",\"message\":\"hey \\\"you\\\"\"},"
         "\"validated_state\":{\"type\":\"PENDING\",\"name\":\"Pending\"}}", 0, true},
        {"{\"type\":\"RUNNING\",\"message\":\"\"}", "prefect.flow-run.Running",
         "{\"intended\":{\"from\":\"PENDING\",\"to\":\"RUNNING\"},\"initial_state\":{\"type\":\"PENDING\",\"name\":\"Pending\"},"
         "\"validated_state\":{\"type\":\"RUNNING\",\"name\":\"Running\"}}", 301 * SEC, false},
        {"{\"type\":\"PAUSED\",\"name\":\"Suspended\"}", "prefect.flow-run.Suspended",
         "{\"intended\":{\"from\":\"RUNNING\",\"to\":\"PAUSED\"},\"initial_state\":{\"type\":\"RUNNING\",\"name\":\"Running\"},"
         "\"validated_state\":{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"pause_reschedule\":\"false\"}}", 299 * SEC, true},
        {"RUNNING", "prefect.flow-run.Running",
         "{\"intended\":{\"from\":\"PAUSED\",\"to\":\"RUNNING\"},\"initial_state\":{\"type\":\"PAUSED\",\"name\":\"Suspended\",\"pause_reschedule\":\"false\"},"
         "\"validated_state\":{\"type\":\"RUNNING\",\"name\":\"Running\"}}", 0, true},
    };
    Uuid last = first.state.id;
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        outbox_init(&w->out, w->a);
        w->now += steps[i].later;
        TRY(propose(&s, id, steps[i].state, POLICY_CORE, false, &got, err));
        EXPECT_INT((int64_t)w->out.events.n, 1);
        e = &w->out.events.v[0];
        EXPECT_STR(e->event, steps[i].event);
        EXPECT_STR(e->payload, steps[i].payload);
        EXPECT(uuid_eq(e->follows, steps[i].follows ? last : UUID_NIL));
        last = got.state.id;
    }
    outbox_init(&w->out, w->a);
    TRY(propose(&s, id, "PENDING", POLICY_CORE, false, &got, err)); /* refused: nothing happened */
    EXPECT_INT((int64_t)w->out.events.n, 0);

    /* A run of a flow alone; a retry tells what it became; a long message is cut. */
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING", .policy = "{\"retries\":1}"}, &plain, err));
    outbox_init(&w->out, w->a);
    char *longest = arena_alloc(w->a, 300000);
    size_t n = 0;
    for (; n < 200010; n += 2)
        memcpy(longest + n, "\xc3\xa9", 2);
    struct state state = state_new(STATE_FAILED, STR_NONE, (Str){longest, n}, w->now + SEC);
    struct flow_run run;
    TRY(get(&s, plain, &run, err));
    struct orchestration o = asking(&s, POLICY_CORE, false);
    TRY(orchestrate_flow_run(&o, &run, &state, &got, err));
    e = &w->out.events.v[0];
    EXPECT_STR(e->event, "prefect.flow-run.AwaitingRetry");
    EXPECT_STR(e->related, str_fmt(w->a,
                                   "[{\"prefect.resource.id\":\"prefect.flow.%s\",\"prefect.resource.role\":\"flow\",\"prefect.resource.name\":\"flow-%s\"}"
                                   TAG("b") TAG("of-flow") "]%c", uuid_text(s.flow).s, uuid_text(s.flow).s, 0).p);
    const struct json *payload = json_parse(w->a, e->payload, err);
    EXPECT_STR(json_str(json_path(payload, "intended.to")), "SCHEDULED");
    EXPECT_INT((int64_t)str_codepoints(json_str(json_path(payload, "validated_state.message"))), 100000);
    const struct json *resource = json_parse(w->a, e->resource, err);
    EXPECT_INT((int64_t)str_codepoints(json_get_str(resource, STR("prefect.state-message"))), 100000);
    EXPECT_INT((int64_t)got.state.message.n, 200010);
    return 0;
}

static bool lists(const Uuid *v, size_t n, Uuid id)
{
    return n == 1 && uuid_eq(v[0], id);
}

static int alarms(struct world *w, struct err *err)
{
    struct setup s;
    Uuid pool, queue, limited_pool, limited_queue, deployment, id;
    struct verdict_result got;
    struct outbox *out = &w->out;
    TRY(start(w, &s, err));
    TRY(insert_deployment(&s, -1, NULL, &deployment, err));
    TRY(insert_queue(&s, INT_NONE, &pool, &queue, err));
    TRY(insert_queue(&s, 1, &limited_pool, &limited_queue, err));

    /* Without queue or deployment nobody waits for a run, but it can be late. */
    outbox_init(out, w->a);
    TRY(insert_run(&s, (struct run_options){.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@60\"}}"}, &id, err));
    Time due = w->now + 60 * SEC;
    EXPECT_INT(out->alarm[ALARM_LATE], due + 15 * SEC);
    EXPECT(out->alarm[ALARM_DUE] == TIME_NEVER && out->pools_due.n == 0);
    /* Of a deployment; not due yet. */
    outbox_init(out, w->a);
    TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@60\"}}"}, &id, err));
    EXPECT_INT(out->alarm[ALARM_DUE], w->now + 60 * SEC);
    /* In a queue, due now. */
    outbox_init(out, w->a);
    TRY(insert_run(&s, (struct run_options){.queue = queue, .state = "SCHEDULED"}, &id, err));
    EXPECT_INT(out->alarm[ALARM_DUE], w->now);
    EXPECT(lists(out->pools_due.v, out->pools_due.n, pool));
    /* In a queue, later; a late one is not late again. */
    outbox_init(out, w->a);
    TRY(insert_run(&s, (struct run_options){.queue = queue, .state = "{\"type\":\"SCHEDULED\",\"name\":\"Late\",\"state_details\":{\"scheduled_time\":\"@60\"}}"}, &id, err));
    EXPECT(out->alarm[ALARM_LATE] == TIME_NEVER && out->pools_due.n == 0);
    EXPECT_INT(out->alarm[ALARM_DUE], w->now + 60 * SEC);
    /* The end of a run frees a place where places are counted. */
    for (int i = 0; i < 2; i++) {
        TRY(insert_run(&s, (struct run_options){.queue = i ? limited_queue : queue, .state = "RUNNING"}, &id, err));
        outbox_init(out, w->a);
        TRY(propose(&s, id, "COMPLETED", POLICY_CORE, false, &got, err));
        EXPECT(i ? lists(out->pools_due.v, out->pools_due.n, limited_pool) : out->pools_due.n == 0);
    }
    /* Pauses. */
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &id, err));
    outbox_init(out, w->a);
    TRY(propose(&s, id, "{\"type\":\"PAUSED\",\"state_details\":{\"pause_timeout\":\"@300\"}}", POLICY_CORE, false, &got, err));
    EXPECT_INT(out->alarm[ALARM_PAUSE], w->now + 300 * SEC);
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &id, err));
    outbox_init(out, w->a);
    TRY(propose(&s, id, "PAUSED", POLICY_CORE, false, &got, err));
    EXPECT(out->alarm[ALARM_PAUSE] == TIME_NEVER);
    /* Cancelling: who runs it is told now, and it has 300 s. */
    TRY(insert_run(&s, (struct run_options){.state = "RUNNING"}, &id, err));
    outbox_init(out, w->a);
    TRY(propose(&s, id, "CANCELLING", POLICY_CORE, false, &got, err));
    EXPECT_INT(out->alarm[ALARM_CANCEL], w->now + 300 * SEC);
    EXPECT(lists(out->runs_cancelling.v, out->runs_cancelling.n, id));
    outbox_init(out, w->a);
    TRY(propose(&s, id, "CANCELLED", POLICY_CORE, false, &got, err));
    EXPECT_INT(out->alarm[ALARM_CANCEL], w->now);
    EXPECT_INT((int64_t)out->runs_cancelling.n, 0);
    for (int i = 0; i < ALARM_COUNT; i++)
        EXPECT(i == ALARM_CANCEL || out->alarm[i] == TIME_NEVER);
    return 0;
}

/* ---- JSON, and what is computed ---- */

static int answers(struct world *w, struct err *err)
{
    struct setup s;
    Uuid id;
    struct verdict_result got;
    TRY(start(w, &s, err));
    TRY(insert_run(&s, (struct run_options){.state = "{\"type\":\"SCHEDULED\",\"state_details\":{\"scheduled_time\":\"@60\"}}"}, &id, err));
    static const struct {
        const char *state, *status, *details;
    } cases[] = {
        {"RUNNING", "\"WAIT\"", "{\"type\":\"wait_details\",\"delay_seconds\":60,\"reason\":\"The scheduled time is in the future.\"}"},
        {"PAUSED", "\"REJECT\"", "{\"type\":\"reject_details\",\"reason\":\"Cannot pause a run that is not running.\"}"},
        {"PENDING", "\"ACCEPT\"", "{\"type\":\"accept_details\"}"},
        {"PENDING", "\"ABORT\"", "{\"type\":\"abort_details\",\"reason\":\"A run in state PENDING cannot become PENDING.\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
        struct jw jw = jw_on(&b);
        TRY(propose(&s, id, cases[i].state, POLICY_CORE, false, &got, err));
        verdict_print(&jw, &got);
        const struct json *v = json_parse(w->a, buf_view(&b), err);
        EXPECT(v && v->object.n == 3);
        EXPECT_STR(json_getz(v, "status")->raw, cases[i].status);
        EXPECT_STR(json_getz(v, "details")->raw, cases[i].details);
        const struct json *state = json_getz(v, "state");
        EXPECT(json_is(state, JSON_OBJECT) && state->object.n == 7);
        EXPECT_INT((int64_t)json_getz(state, "state_details")->object.n, 18);
        EXPECT_STR(json_str(json_path(state, "state_details.flow_run_id")), str_fmt(w->a, "%s%c", uuid_text(id).s, 0).p);
    }
    /* No state at all. */
    TRY(insert_run(&s, (struct run_options){0}, &id, err));
    TRY(propose(&s, id, "{\"type\":\"SCHEDULED\",\"name\":\"Late\"}", POLICY_CORE, false, &got, err));
    EXPECT(got.verdict == VERDICT_ABORT && !got.has_state);
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw jw = jw_on(&b);
    verdict_print(&jw, &got);
    EXPECT_STR(buf_view(&b), "{\"state\":null,\"status\":\"ABORT\",\"details\":{\"type\":\"abort_details\",\"reason\":\"Only a scheduled run can be late.\"}}");
    return 0;
}

static int parsing(struct world *w, struct err *err)
{
    static const struct {
        const char *body, *loc; /* NULL: fine */
    } cases[] = {
        {"{\"type\":\"RUNNING\"}", NULL},
        {"{\"type\":\"RUNNING\",\"name\":\"\",\"message\":null,\"data\":null,\"state_details\":{\"unknown\":1}}", NULL},
        {"{\"type\":\"RUNNING\",\"id\":\"00000000-0000-4000-8000-000000000001\",\"timestamp\":\"2020-01-01T00:00:00Z\"}", NULL},
        {"{}", "[\"body\",\"type\"]"},
        {"{\"type\":\"NAPPING\"}", "[\"body\",\"type\"]"},
        {"{\"type\":\"RUNNING\",\"mood\":1}", "[\"body\",\"mood\"]"},
        {"{\"type\":\"RUNNING\",\"state_details\":{\"scheduled_time\":\"soon\"}}", "[\"body\",\"state_details\",\"scheduled_time\"]"},
        {"[]", "[\"body\"]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct violations v = {.a = w->a, .prefix = STR("[\"body\"")};
        struct state s;
        const struct json *body = json_parse(w->a, str_of(cases[i].body), err);
        EXPECT(body);
        state_parse(w->a, body, w->now, &s, &v);
        if (cases[i].loc) {
            EXPECT(v.list.n == 1);
            EXPECT_STR(v.list.v[0].loc, cases[i].loc);
            continue;
        }
        EXPECT_INT((int64_t)v.list.n, 0);
        EXPECT_STR(s.type, "RUNNING");
        EXPECT_STR(s.name, i == 1 ? "" : "Running");
        EXPECT_INT(s.timestamp, w->now); /* not what a client says */
        EXPECT(s.id.b[6] >> 4 == 7);
    }
    struct state s = state_new(STATE_CANCELLING, STR_NONE, STR_NONE, w->now);
    EXPECT_STR(s.name, "Cancelling");
    return 0;
}

/* Policies are checked, and old names for retries are understood. */
static int policies(struct world *w, struct err *err)
{
    static const struct {
        bool task;
        const char *body, *loc; /* loc of what is wrong, or … */
        const char *text;       /* … what is kept */
    } cases[] = {
        {false, "{}", NULL, "{}"},
        {false, "{\"max_retries\":2,\"retry_delay_seconds\":3}", NULL, "{\"max_retries\":2,\"retry_delay_seconds\":3.0,\"retries\":2,\"retry_delay\":3}"},
        {false, "{\"max_retries\":2,\"retries\":5}", NULL, "{\"max_retries\":2,\"retries\":5}"},
        {false, "{\"retry_type\":\"reschedule\",\"resuming\":true}", NULL, "{\"resuming\":true,\"retry_type\":\"reschedule\"}"},
        {false, "{\"retry_type\":\"later\"}", "[\"p\",\"retry_type\"]", NULL},
        {false, "{\"retry_delay\":\"x\"}", "[\"p\",\"retry_delay\"]", NULL},
        {false, "{\"pause_keys\":[1]}", "[\"p\",\"pause_keys\",0]", NULL},
        {true, "{\"max_retries\":2,\"retry_delay_seconds\":0.5}", NULL, "{\"max_retries\":2,\"retry_delay_seconds\":0.5,\"retries\":2,\"retry_delay\":0.5}"},
        {true, "{\"retry_delay\":[1, 2.50]}", NULL, "{\"retry_delay\":[1, 2.50]}"},
        {true, "{\"retry_delay\":-5}", NULL, "{\"retry_delay\":-5}"},
        {true, "{\"retry_delay\":\"x\"}", "[\"p\",\"retry_delay\"]", NULL},
        {true, "{\"retry_delay\":[1,\"x\"]}", "[\"p\",\"retry_delay\"]", NULL},
        {true, "{\"retry_delay\":{}}", "[\"p\",\"retry_delay\"]", NULL},
        {true, "{\"retry_delay\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", "[\"p\",\"retry_delay\"]", NULL},
        {true, "{\"retry_jitter_factor\":-0.1}", "[\"p\",\"retry_jitter_factor\"]", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct violations v = {.a = w->a, .prefix = STR("[\"p\"")};
        const struct resource *shape = cases[i].task ? &task_run_policy_shape : &flow_run_policy_shape;
        void *rec = arena_alloc(w->a, shape->size);
        record_init(shape, rec);
        record_parse(w->a, shape, 0, json_parse(w->a, str_of(cases[i].body), err), rec, &v);
        if (v.list.n != (cases[i].loc != NULL))
            return err_set(err, ERR_INTERNAL, "%s: %zu violations", cases[i].body, v.list.n);
        if (cases[i].loc)
            EXPECT_STR(v.list.v[0].loc, cases[i].loc);
        else
            EXPECT_STR(shape_text(w->a, shape, rec), cases[i].text);
    }
    return 0;
}

/* ---- many at once ---- */

#define WORKERS 40
#define PLACES 7

struct rush {
    Uuid runs[WORKERS]; /* each of its own; or all the same */
    Uuid limit;
    bool same;
    atomic_int next, accepted, waiting, refused, failed;
    sem_t done;
};

static int rush_setup(struct conn *c, void *arg, struct err *err)
{
    struct rush *r = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct world w = {.c = c, .a = a, .now = dbtest_now};
    struct setup s;
    Uuid deployment;
    outbox_init(&w.out, a);
    TRY(start(&w, &s, err));
    TRY(insert_deployment(&s, PLACES, NULL, &deployment, err));
    r->limit = s.limit;
    for (int i = 0; i < (r->same ? 1 : WORKERS); i++)
        TRY(insert_run(&s, (struct run_options){.deployment = deployment, .state = "SCHEDULED"}, &r->runs[i], err));
    return 0;
}

static int rush_in(struct conn *c, void *arg, struct err *err)
{
    struct rush *r = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct world w = {.c = c, .a = a, .now = dbtest_now + SEC};
    struct setup s = {.w = &w, .client = client_newest};
    struct verdict_result got;
    int i = r->same ? 0 : atomic_fetch_add(&r->next, 1);
    outbox_init(&w.out, a);
    TRY(propose(&s, r->runs[i % WORKERS], "PENDING", POLICY_CORE, false, &got, err));
    atomic_fetch_add(got.verdict == VERDICT_ACCEPT ? &r->accepted : got.verdict == VERDICT_REJECT ? &r->waiting : &r->refused, 1);
    return 0;
}

static void rush_done(void *arg, const struct err *err)
{
    struct rush *r = arg;
    if (err)
        atomic_fetch_add(&r->failed, 1);
    sem_post(&r->done);
}

static int rush_check(struct conn *c, void *arg, struct err *err)
{
    struct rush *r = arg;
    int64_t slots = 0, leases = 0;
    TRY(db_get_int(c, err, &slots, "SELECT active_slots FROM concurrency_limit_v2 WHERE id = $1", "u", r->limit));
    TRY(db_get_int(c, err, &leases, "SELECT count(*) FROM concurrency_lease", "")); /* there was none before */
    EXPECT_INT(slots, r->same ? 1 : PLACES);
    EXPECT_INT(leases, slots);
    return 0;
}

static int clear_leases(struct conn *c, void *arg, struct err *err)
{
    return db_exec(c, err, "DELETE FROM concurrency_lease", "") < 0 ? -1 : 0;
}

/* Of many workers that claim one run one gets it; of many runs as many start as there are slots. */
static int rush(struct db *db, struct err *err)
{
    for (int same = 0; same < 2; same++) {
        struct rush r = {.same = same};
        sem_init(&r.done, 0, 0);
        TRY(db_write_wait(db, clear_leases, NULL, err));
        TRY(db_write_wait(db, rush_setup, &r, err));
        for (int i = 0; i < WORKERS; i++)
            TRY(db_write(db, rush_in, rush_done, &r, err));
        for (int i = 0; i < WORKERS; i++)
            sem_wait(&r.done);
        sem_destroy(&r.done);
        EXPECT_INT(r.failed, 0);
        TRY(db_write_wait(db, rush_check, &r, err));
        if (same) {
            EXPECT_INT(r.accepted, 1);
            EXPECT_INT(r.refused, WORKERS - 1);
        }
    }
    return 0;
}

static int computed(struct world *w, struct err *err)
{
    Time t = w->now;
    EXPECT_INT(estimated_run_time(5 * SEC, STATE_COMPLETED, t - 10 * SEC, t), 5 * SEC);
    EXPECT_INT(estimated_run_time(5 * SEC, STATE_RUNNING, t - 10 * SEC, t), 15 * SEC);
    EXPECT_INT(estimated_run_time(0, -1, TIME_NONE, t), 0);
    EXPECT_INT(estimated_start_time_delta(t + 3 * SEC, t, STATE_RUNNING, t + DAY), 3 * SEC);
    EXPECT_INT(estimated_start_time_delta(t - 3 * SEC, t, STATE_RUNNING, t + DAY), 0);
    EXPECT_INT(estimated_start_time_delta(TIME_NONE, t, STATE_SCHEDULED, t + 7 * SEC), 7 * SEC);
    EXPECT_INT(estimated_start_time_delta(TIME_NONE, t, STATE_SCHEDULED, t - 7 * SEC), 0);
    EXPECT_INT(estimated_start_time_delta(TIME_NONE, t, STATE_FAILED, t + 7 * SEC), 0);
    EXPECT_INT(estimated_start_time_delta(TIME_NONE, TIME_NONE, -1, t), 0);
    return 0;
}

static const struct db_case cases[] = {
    {"the row of a run", row_of_a_run},
    {"the row of a task run", row_of_a_task_run},
    {"instants of states", instants},
    {"statements of a transition", statements},
    {"runs made with their state", inserting},
    {"each failure", each_failure},
    {"subflows", subflow},
    {"retries of tasks for old clients", retry_of_tasks},
    {"events", events},
    {"alarms", alarms},
    {"answers", answers},
    {"reading states", parsing},
    {"many at once", .outside = rush},
    {"policies", policies},
    {"computed values", computed},
};

int main(void)
{
    return dbtest_main("transition", cases, COUNT_OF(cases));
}
