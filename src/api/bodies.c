/* The rows of what is asked and answered where it is no resource's own; and the check of a request against them. */
#include "api/bodies.h"

#include "api/call.h"
#include "api/concurrency.h"
#include "base/limits.h"
#include "store/concurrency.h"

#include <math.h>

#define K(t, key, flag, text, ...) {.name = key, .type = F_##t, .flags = flag, .doc = text, __VA_ARGS__}
/* Asked: keys that are not known are passed over, and null is none, as published; but not in CLOSED ones. */
#define KEYS_ARE(id, ...) \
    static const struct field id##_key_rows[] = {__VA_ARGS__}; \
    const struct resource id##_keys = {.name = #id "_keys", .fields = id##_key_rows, .n = COUNT_OF(id##_key_rows), .ignore_unknown = true};
#define CLOSED_KEYS_ARE(id, ...) \
    static const struct field id##_key_rows[] = {__VA_ARGS__}; \
    const struct resource id##_keys = {.name = #id "_keys", .fields = id##_key_rows, .n = COUNT_OF(id##_key_rows)};
#define QUERY_IS(id, ...) \
    static const struct field id##_query_rows[] = {__VA_ARGS__}; \
    const struct resource id##_query = {.name = #id "_query", .fields = id##_query_rows, .n = COUNT_OF(id##_query_rows), .ignore_unknown = true};
/* Answered: the READ fields of a resource (but for some), and more. */
#define ANSWER_IS(id, on, but, ...) \
    static const struct field id##_rows[] = {__VA_ARGS__}; \
    const struct resource id##_resource = {.name = #id, .fields = id##_rows, .n = COUNT_OF(id##_rows), .base = on, .without = but, .ignore_unknown = true};
#define BUT(...) (const char *const[]){__VA_ARGS__, NULL}
#define NEVER_NULL REQUIRED
#define MAY_BE_NULL NULLABLE /* 0: not always there */

static const char *const countable_units[] = {"week", "day", "hour", "minute", "second", NULL};
static const char *const slot_modes[] = {"concurrency", "rate_limit", NULL};
static const char *const holder_types[] = {"flow_run", "task_run", "deployment", NULL};
static const char *const verdicts[] = {"ACCEPT", "REJECT", "ABORT", "WAIT", NULL};
static const char *const details_types[] = {"accept_details", "reject_details", "abort_details", "wait_details", NULL};
static const char *const bulk_run_status[] = {"CREATED", "FAILED", NULL};
static const char *const state_types[] = {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING", NULL};
static const char *const node_kinds[] = {"flow-run", "task-run", NULL};

/* clang-format off */

/* ---- asked ---- */

#define STATE_KEY K(SHAPE, "state", REQUIRED, "The state that is proposed", .more = &state_resource)
#define FORCE_KEY K(BOOL, "force", 0, "Against the rules", .dflt = "false")
/* Its bounds are call_page's, who answers them with a sentence. */
#define LIMIT_KEY K(INT, "limit", 0, "Most rows of the answer; 200 at most")
#define NAMES_KEY K(TAGS, "names", REQUIRED, "The limits' names", .max = LIMIT_NAMES)
#define SLOTS_KEY K(INT, "slots", REQUIRED | POSITIVE, "How many slots of each", .min = 1, .max = INT32_MAX)
#define MODE_KEY K(ENUM, "mode", 0, "rate_limit: the slots come back by themselves", .more = slot_modes, .dflt = "\"concurrency\"")
#define LEASE_KEY K(DUR, "lease_duration", 0, "Seconds until the lease ends by itself", .dflt = "300.0", .min = 60, .max = 86400)
#define CREATE_KEY K(BOOL, "create_if_missing", 0, "Kept from older clients; says nothing")

KEYS_ARE(bulk_delete, K(INT, "limit", 0, "Most that are deleted", .dflt = "50", .min = 1, .max = 50))
KEYS_ARE(bulk_set_state, STATE_KEY, FORCE_KEY, K(INT, "limit", 0, "Most runs that are moved", .dflt = "50", .min = 1, .max = 50))
KEYS_ARE(confirm, K(BOOL, "confirm", 0, "Must be true: it is meant", .dflt = "false"))
KEYS_ARE(count_events,
    K(OBJECT, "filter", REQUIRED, "Which events (events/filter.h)"),
    K(ENUM, "time_unit", 0, "Width of an interval", .more = countable_units, .dflt = "\"day\""),
    K(DOUBLE, "time_interval", 0, "How many of the unit make one interval", .dflt = "1.0", .min = 0.01, .max = 1e6))
KEYS_ARE(deployments_due,
    K(UUIDS, "deployment_ids", REQUIRED, "Whose runs"),
    K(TIME, "scheduled_before", 0, "Due until then"), LIMIT_KEY)
KEYS_ARE(events_filter,
    K(OBJECT, "filter", 0, "Which events (events/filter.h)"),
    K(INT, "limit", 0, "Events of a page", .dflt = "50", .min = 0, .max = LIMIT_EVENTS_PAGE))
KEYS_ARE(flow_ids, K(UUIDS, "flow_ids", REQUIRED, "Flows", .max = LIMIT_PAGE))
KEYS_ARE(flow_run_ids, K(UUIDS, "flow_run_ids", REQUIRED, "Flow runs", .max = LIMIT_PAGE))
KEYS_ARE(take_slots, NAMES_KEY, SLOTS_KEY, MODE_KEY, CREATE_KEY)
KEYS_ARE(give_slots, NAMES_KEY, SLOTS_KEY, CREATE_KEY,
    K(DOUBLE, "occupancy_seconds", POSITIVE, "How long the slots were held"))
KEYS_ARE(take_lease, NAMES_KEY, SLOTS_KEY, MODE_KEY, LEASE_KEY,
    K(SHAPE, "holder", 0, "Who holds them", .more = &lease_holder_shape))
KEYS_ARE(heartbeat,
    K(STR, "name", REQUIRED, "The worker's name"),
    K(INT, "heartbeat_interval_seconds", 0, "How often it speaks", .min = 1, .max = 86400))
KEYS_ARE(history,
    K(TIME, "history_start", REQUIRED, "Begin of the first interval"),
    K(TIME, "history_end", REQUIRED, "End of the last"),
    K(DUR, "history_interval_seconds", REQUIRED, "Width of each", .min = 1, .max = 36500. * 86400))
KEYS_ARE(include_secrets, K(BOOL, "include_secrets", 0, "Secret values as they are, not as asterisks", .dflt = "false"))
KEYS_ARE(input_filter,
    K(STR, "prefix", REQUIRED, "How the inputs' keys begin"),
    K(INT, "limit", 0, "Most inputs", .dflt = "1", .min = 0, .max = LIMIT_PAGE),
    K(TAGS, "exclude_keys", 0, "Not these", .dflt = "[]"))
KEYS_ARE(lease_duration, LEASE_KEY)
KEYS_ARE(lease_id, K(UUID, "lease_id", REQUIRED, "The lease that is given back"))
KEYS_ARE(offset_page, LIMIT_KEY, K(INT, "offset", NOT_NEGATIVE, "Rows to pass over", .dflt = "0"))
KEYS_ARE(page, LIMIT_KEY, K(INT, "page", 0, "Which page, from 1", .dflt = "1", .min = 1, .max = INT32_MAX))
KEYS_ARE(pool_slots, LIMIT_KEY, K(INT, "page", 0, "Which page of queues, from 1", .dflt = "1", .min = 1, .max = INT32_MAX),
    K(INT, "flow_run_limit", 0, "Most runs shown of each queue", .dflt = "10", .min = 0, .max = LIMIT_PAGE))
KEYS_ARE(pool_due,
    K(TAGS, "work_queue_names", 0, "Of these queues only"),
    K(TIME, "scheduled_before", 0, "Due until then"), K(TIME, "scheduled_after", 0, "Due from then on"), LIMIT_KEY)
KEYS_ARE(queue_due,
    K(TIME, "scheduled_before", 0, "Due until then"), LIMIT_KEY,
    K(UUID, "agent_id", 0, "2.x; says nothing"))
KEYS_ARE(result_storage_update, K(UUID, "default_result_storage_block_id", REQUIRED, "The block that keeps results"))
KEYS_ARE(resume, K(OBJECT, "run_input", 0, "Input that the paused run asked for"))
KEYS_ARE(schedule_runs,
    K(TIME, "start_time", 0, "Runs from then on"), K(TIME, "end_time", 0, "Until then"),
    K(DUR, "min_time", 0, "At least so far ahead", .min = 0, .max = (double)(TIME_LAST / SEC)),
    K(INT, "min_runs", 0, "At least so many", .min = 0, .max = LIMIT_SCHEDULE_RUNS),
    K(INT, "max_runs", 0, "At most so many", .min = 0, .max = LIMIT_SCHEDULE_RUNS))
KEYS_ARE(set_state, STATE_KEY, FORCE_KEY)
KEYS_ARE(flow_run_set_state, STATE_KEY, FORCE_KEY,
    K(ENUM, "expected_state_type", 0, "Ours: where the run is in a state of another type by now, it stays there", .more = state_types))
KEYS_ARE(slot_override, K(UUIDS, "slot_override", 0, "Task runs that hold a slot from now on; others hold none", .max = 10000))
CLOSED_KEYS_ARE(switch, K(BOOL, "enabled", 0, "It acts", .dflt = "true"))
CLOSED_KEYS_ARE(tag_limit,
    K(STR, "tag", REQUIRED, "Task runs with this tag"),
    K(INT, "concurrency_limit", REQUIRED, "Most that run at once", .min = 0, .max = INT32_MAX))
KEYS_ARE(tag_slots, NAMES_KEY, K(UUID, "task_run_id", REQUIRED, "The task run that takes or gives"))
static const struct field task_keys_rows[] = {K(TAGS, "task_keys", REQUIRED, "Tasks that they run")};
static const struct resource task_worker_filter_shape = {.name = "task_worker_filter", .fields = task_keys_rows, .n = COUNT_OF(task_keys_rows), .ignore_unknown = true};
KEYS_ARE(task_workers, K(SHAPE, "task_worker_filter", 0, "Which", .more = &task_worker_filter_shape))
KEYS_ARE(ui_history,
    K(INT, "limit", 0, "Most runs", .dflt = "1000", .min = 0, .max = 1000),
    K(INT, "offset", NOT_NEGATIVE, "Runs to pass over", .dflt = "0"),
    K(ENUM, "sort", 0, "Order of the runs", .dflt = "\"EXPECTED_START_TIME_DESC\"", .more = NULL /* the listing's */))
KEYS_ARE(validate, K(OBJECT, "schema", REQUIRED, "JSON Schema of a form"), K(OBJECT, "values", REQUIRED, "What was filled in"))

QUERY_IS(ui, K(BOOL, "x-prefect-ui", 0, "The web page asks, nobody who will run them", .dflt = "false"))
QUERY_IS(csrf, K(STR, "client", REQUIRED, "Who asks"))
QUERY_IS(graph, K(TIME, "since", 0, "Only what changed after", .dflt = "\"0001-01-01T00:00:00+00:00\""))
QUERY_IS(include_secrets, K(BOOL, "include_secrets", 0, "Secret values as they are, not as asterisks", .dflt = "false"))
QUERY_IS(page_token, K(STR, "page-token", REQUIRED, "From the page before"))
QUERY_IS(states_of_flow_run, K(UUID, "flow_run_id", REQUIRED, "Whose states"))
QUERY_IS(states_of_task_run, K(UUID, "task_run_id", REQUIRED, "Whose states"))
QUERY_IS(version, K(STR, "version", 0, "Of this version only"))

static const char *const countables[] = {"day", "time", "event", "resource", NULL};
static const struct field countable_rows[] = {K(ENUM, "countable", REQUIRED, "What is counted apart", .more = countables)};
const struct resource countable_path = {.name = "countable_path", .fields = countable_rows, .n = COUNT_OF(countable_rows), .ignore_unknown = true};

/* Read into a struct lease. */
static const struct field lease_holder_rows[] = {
    K(ENUM, "type", REQUIRED, "What holds it", .more = holder_types, .offset = offsetof(struct lease, holder_type)),
    K(UUID, "id", REQUIRED, "Which", .offset = offsetof(struct lease, holder_id)),
};
const struct resource lease_holder_shape = {.name = "lease_holder", .fields = lease_holder_rows, .n = COUNT_OF(lease_holder_rows), .size = sizeof(struct lease)};

/* ---- answered ---- */

#define STATE_OF K(SHAPE, "state", MAY_BE_NULL, "Its state", .more = &state_resource)
#define ESTIMATES \
    K(DOUBLE, "estimated_run_time", NEVER_NULL, "Seconds spent running, the present run's until now"), \
    K(DOUBLE, "estimated_start_time_delta", NEVER_NULL, "Seconds that it started, or has not started, late")

ANSWER_IS(message, NULL, NULL, K(STR, "message", NEVER_NULL, "OK where the database answers"))
ANSWER_IS(deleted, NULL, NULL, K(UUIDS, "deleted", NEVER_NULL, "What was deleted"))
ANSWER_IS(csrf_token, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "Identifier"), K(TIME, "created", NEVER_NULL, "When it was made"), K(TIME, "updated", NEVER_NULL, "As created"),
    K(STR, "token", NEVER_NULL, "To be sent with what changes something"), K(STR, "client", NEVER_NULL, "Whose it is"),
    K(TIME, "expiration", NEVER_NULL, "Until when it counts"))
ANSWER_IS(result_storage, NULL, NULL, K(UUID, "default_result_storage_block_id", MAY_BE_NULL, "The block that keeps results"))

ANSWER_IS(flow_run_answer, &flow_run_resource, NULL, STATE_OF, ESTIMATES,
    K(UUID, "work_pool_id", MAY_BE_NULL, "The pool it waits in"), K(STR, "work_pool_name", MAY_BE_NULL, "That pool's name"))
ANSWER_IS(task_run_answer, &task_run_resource, NULL, STATE_OF, ESTIMATES)
ANSWER_IS(ui_task_run, &task_run_answer_resource, NULL, K(STR, "flow_run_name", MAY_BE_NULL, "Name of its flow run"))
static const struct field verdict_details_rows[] = {
    K(ENUM, "type", NEVER_NULL, "Which of them", .more = details_types),
    K(STR, "reason", 0, "Why not"), K(INT, "delay_seconds", 0, "When to ask again"),
};
static const struct resource verdict_details_shape = {.name = "verdict_details", .fields = verdict_details_rows, .n = COUNT_OF(verdict_details_rows), .ignore_unknown = true};
#define VERDICT \
    K(SHAPE, "state", MAY_BE_NULL, "The state that the run is in now", .more = &state_resource), \
    K(ENUM, "status", NEVER_NULL, "What became of the proposal", .more = verdicts), \
    K(SHAPE, "details", NEVER_NULL, "Why, and when to ask again", .more = &verdict_details_shape)
ANSWER_IS(verdict, NULL, NULL, VERDICT)
ANSWER_IS(run_verdict, NULL, NULL, K(UUID, "flow_run_id", NEVER_NULL, "The run"), VERDICT)
ANSWER_IS(bulk_states, NULL, NULL, K(SHAPES, "results", NEVER_NULL, "What became of each run", .more = &run_verdict_resource))
ANSWER_IS(bulk_run, NULL, NULL,
    K(UUID, "flow_run_id", MAY_BE_NULL, "The run that was made"), K(ENUM, "status", NEVER_NULL, "Whether it was", .more = bulk_run_status),
    K(STR, "error", MAY_BE_NULL, "Why not"))
ANSWER_IS(bulk_runs, NULL, NULL, K(SHAPES, "results", NEVER_NULL, "In the order in which they were asked for", .more = &bulk_run_resource))

ANSWER_IS(history_state, NULL, NULL,
    K(ENUM, "state_type", NEVER_NULL, "Type of the state", .more = state_type_names), K(STR, "state_name", NEVER_NULL, "Its name"),
    K(INT, "count_runs", NEVER_NULL, "Runs in it"), K(DOUBLE, "sum_estimated_run_time", NEVER_NULL, "Seconds that they ran"),
    K(DOUBLE, "sum_estimated_lateness", NEVER_NULL, "Seconds that they were late"))
ANSWER_IS(history_interval, NULL, NULL,
    K(TIME, "interval_start", NEVER_NULL, "Its begin"), K(TIME, "interval_end", NEVER_NULL, "Its end"),
    K(SHAPES, "states", NEVER_NULL, "What the runs expected in it are in", .more = &history_state_resource))
ANSWER_IS(simple_run, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The run"), K(ENUM, "state_type", NEVER_NULL, "Type of its state", .more = state_type_names),
    K(TIME, "timestamp", NEVER_NULL, "When it started or was to start"), K(DOUBLE, "duration", NEVER_NULL, "Seconds that it ran"),
    K(DOUBLE, "lateness", NEVER_NULL, "Seconds that it was late"))
ANSWER_IS(next_run, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The run"), K(UUID, "flow_id", NEVER_NULL, "Its flow"), K(STR, "name", NEVER_NULL, "Its name"),
    K(STR, "state_name", NEVER_NULL, "Name of its state"), K(ENUM, "state_type", NEVER_NULL, "SCHEDULED", .more = state_type_names),
    K(TIME, "next_scheduled_start_time", NEVER_NULL, "When it is to start"))
ANSWER_IS(state_counts, NULL, NULL,
    K(INT, "SCHEDULED", NEVER_NULL, "Runs"), K(INT, "PENDING", NEVER_NULL, "Runs"), K(INT, "RUNNING", NEVER_NULL, "Runs"),
    K(INT, "COMPLETED", NEVER_NULL, "Runs"), K(INT, "FAILED", NEVER_NULL, "Runs"), K(INT, "CANCELLED", NEVER_NULL, "Runs"),
    K(INT, "CRASHED", NEVER_NULL, "Runs"), K(INT, "PAUSED", NEVER_NULL, "Runs"), K(INT, "CANCELLING", NEVER_NULL, "Runs"))
ANSWER_IS(task_run_counts, NULL, NULL, K(INT, "completed", NEVER_NULL, "Task runs"), K(INT, "failed", NEVER_NULL, "Task runs"))

ANSWER_IS(dependency_of, NULL, NULL, K(STR, "input_type", NEVER_NULL, "task_run"), K(UUID, "id", NEVER_NULL, "The task run"))
ANSWER_IS(dependency, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The task run"), K(STR, "name", NEVER_NULL, "Its name"),
    K(SHAPES, "upstream_dependencies", NEVER_NULL, "What its arguments came from", .more = &dependency_of_resource), STATE_OF,
    K(TIME, "expected_start_time", MAY_BE_NULL, "When it was to start"), K(TIME, "start_time", MAY_BE_NULL, "When it did"),
    K(TIME, "end_time", MAY_BE_NULL, "When it ended"), K(DOUBLE, "total_run_time", MAY_BE_NULL, "Seconds that it ran"),
    K(DOUBLE, "estimated_run_time", MAY_BE_NULL, "The same, until now"), K(BOOL, "untrackable_result", NEVER_NULL, "Its result cannot be traced"))
ANSWER_IS(graph_edge, NULL, NULL, K(UUID, "id", NEVER_NULL, "A node"))
ANSWER_IS(graph_artifact, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The artifact"), K(TIME, "created", NEVER_NULL, "When it was made"), K(STR, "key", MAY_BE_NULL, "Its key"),
    K(STR, "type", MAY_BE_NULL, "How it is to be shown"), K(BOOL, "is_latest", NEVER_NULL, "None of its key is newer"),
    K(JSON, "data", MAY_BE_NULL, "Where it is a progress: how far"))
ANSWER_IS(graph_node, NULL, NULL,
    K(ENUM, "kind", NEVER_NULL, "What it is", .more = node_kinds), K(UUID, "id", NEVER_NULL, "Its identifier"), K(STR, "label", NEVER_NULL, "Its name"),
    K(ENUM, "state_type", NEVER_NULL, "Type of its state", .more = state_type_names), K(TIME, "start_time", NEVER_NULL, "When it started"),
    K(TIME, "end_time", MAY_BE_NULL, "When it ended"), K(SHAPES, "parents", NEVER_NULL, "Before it", .more = &graph_edge_resource),
    K(SHAPES, "children", NEVER_NULL, "After it", .more = &graph_edge_resource),
    K(SHAPES, "encapsulating", NEVER_NULL, "Around it", .more = &graph_edge_resource),
    K(SHAPES, "artifacts", NEVER_NULL, "What it made", .more = &graph_artifact_resource))
ANSWER_IS(graph_state, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The state"), K(TIME, "timestamp", NEVER_NULL, "When it was entered"),
    K(ENUM, "type", NEVER_NULL, "Its type", .more = state_type_names), K(STR, "name", NEVER_NULL, "Its name"))
ANSWER_IS(graph, NULL, NULL,
    K(TIME, "start_time", MAY_BE_NULL, "When the run started, or is to"), K(TIME, "end_time", MAY_BE_NULL, "When it ended"),
    K(UUIDS, "root_node_ids", NEVER_NULL, "Nodes without parents"),
    K(LIST, "nodes", NEVER_NULL, "Pairs of an identifier and its node"),
    K(SHAPES, "artifacts", NEVER_NULL, "Of the run itself", .more = &graph_artifact_resource),
    K(SHAPES, "states", NEVER_NULL, "That the run went through", .more = &graph_state_resource))

ANSWER_IS(work_pool_answer, &work_pool_resource, BUT("last_transitioned_status_at"), K(INT, "active_slots", MAY_BE_NULL, "Runs that take a slot now"))
ANSWER_IS(work_queue_answer, &work_queue_resource, NULL,
    K(STR, "work_pool_name", MAY_BE_NULL, "Its pool's name"), K(INT, "active_slots", MAY_BE_NULL, "Runs that take a slot now"))
ANSWER_IS(slot_run, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The run"), K(STR, "name", NEVER_NULL, "Its name"), K(ENUM, "state_type", MAY_BE_NULL, "Type of its state", .more = state_type_names),
    K(STR, "state_name", MAY_BE_NULL, "Its name"), K(TIME, "start_time", MAY_BE_NULL, "When it started"),
    K(TIME, "state_timestamp", MAY_BE_NULL, "Since when it is in its state"), K(DOUBLE, "time_in_current_state", MAY_BE_NULL, "Seconds since"))
#define PAGE_KEYS \
    K(INT, "count", NEVER_NULL, "How many there are"), K(INT, "limit", NEVER_NULL, "How many make a page"), \
    K(INT, "pages", NEVER_NULL, "How many pages that makes"), K(INT, "page", NEVER_NULL, "Which this is, from 1")
#define SLOTS K(INT, "concurrency_limit", MAY_BE_NULL, "Most runs at once"), K(INT, "active_slots", NEVER_NULL, "Runs that take a slot now")
ANSWER_IS(queue_slots, NULL, NULL,
    K(UUID, "queue_id", NEVER_NULL, "The queue"), K(STR, "queue_name", NEVER_NULL, "Its name"), SLOTS,
    K(INT, "flow_run_count", MAY_BE_NULL, "The same"), K(SHAPES, "flow_runs", NEVER_NULL, "The first of them", .more = &slot_run_resource))
ANSWER_IS(pool_slots_answer, NULL, NULL, PAGE_KEYS, SLOTS, K(SHAPES, "queues", NEVER_NULL, "Its queues", .more = &queue_slots_resource))
ANSWER_IS(queue_slots_answer, NULL, NULL, PAGE_KEYS, SLOTS, K(SHAPES, "flow_runs", NEVER_NULL, "The runs that take them", .more = &slot_run_resource))
ANSWER_IS(work_queue_plain, &work_queue_resource, BUT("status"))
ANSWER_IS(health_policy, NULL, NULL,
    K(INT, "maximum_late_runs", MAY_BE_NULL, "More are not healthy"), K(INT, "maximum_seconds_since_last_polled", MAY_BE_NULL, "Longer is not healthy"))
ANSWER_IS(queue_status, NULL, NULL,
    K(BOOL, "healthy", NEVER_NULL, "Somebody asks for its runs, and none is late"), K(INT, "late_runs_count", NEVER_NULL, "Runs that are late"),
    K(TIME, "last_polled", MAY_BE_NULL, "When a worker last asked"),
    K(SHAPE, "health_check_policy", NEVER_NULL, "What counts as healthy", .more = &health_policy_resource))
ANSWER_IS(due_run, NULL, NULL,
    K(UUID, "work_pool_id", NEVER_NULL, "Its pool"), K(UUID, "work_queue_id", NEVER_NULL, "Its queue"),
    K(SHAPE, "flow_run", NEVER_NULL, "The run", .more = &flow_run_answer_resource))

ANSWER_IS(schedule_answer, &deployment_schedule_resource, NULL,
    K(INT, "max_active_runs", MAY_BE_NULL, "2.x; not used"), K(BOOL, "catchup", NEVER_NULL, "2.x; not used"))
ANSWER_IS(concurrency_limit_answer, &concurrency_limit_resource, BUT("denied_slots", "avg_slot_occupancy_seconds"))
ANSWER_IS(deployment_answer, &deployment_resource, BUT("work_queue_name"),
    K(SHAPE, "global_concurrency_limit", MAY_BE_NULL, "Its limit", .more = &concurrency_limit_answer_resource),
    K(STR, "work_queue_name", MAY_BE_NULL, "Queue its runs wait in"), K(STR, "work_pool_name", MAY_BE_NULL, "That queue's pool"),
    K(SHAPES, "schedules", NEVER_NULL, "When it runs by itself", .more = &schedule_answer_resource),
    K(OBJECT, "infra_overrides", NEVER_NULL, "2.x: job_variables"), K(BOOL, "is_schedule_active", NEVER_NULL, "2.x: not paused"),
    K(STR, "manifest_path", MAY_BE_NULL, "2.x; not used"), K(OBJECT, "schedule", MAY_BE_NULL, "2.x: the first of its schedules"))

ANSWER_IS(block_schema_answer, &block_schema_resource, NULL, K(SHAPE, "block_type", MAY_BE_NULL, "Its type", .more = &block_type_resource))
ANSWER_IS(block_document_answer, &block_document_resource, NULL,
    K(STR, "block_type_name", MAY_BE_NULL, "Its type's name"), K(OBJECT, "data", NEVER_NULL, "Its values, secret ones as asterisks"),
    K(SHAPE, "block_schema", MAY_BE_NULL, "Its schema", .more = &block_schema_answer_resource),
    K(SHAPE, "block_type", MAY_BE_NULL, "Its type", .more = &block_type_resource),
    K(OBJECT, "block_document_references", NEVER_NULL, "Other documents that it uses"))

ANSWER_IS(tag_limit, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "Identifier"), K(TIME, "created", NEVER_NULL, "When the row was made"), K(TIME, "updated", NEVER_NULL, "When the row last changed"),
    K(STR, "tag", NEVER_NULL, "Task runs with this tag"), K(INT, "concurrency_limit", NEVER_NULL, "Most that run at once"),
    K(UUIDS, "active_slots", NEVER_NULL, "Task runs that hold a slot"))
ANSWER_IS(limit_minimal, NULL, NULL,
    K(UUID, "id", NEVER_NULL, "The limit"), K(STR, "name", NEVER_NULL, "Its name"), K(INT, "limit", NEVER_NULL, "Most slots taken at once"))
ANSWER_IS(lease_answer, NULL, NULL,
    K(UUID, "lease_id", NEVER_NULL, "The lease on the slots"), K(SHAPES, "limits", NEVER_NULL, "Limits that were taken", .more = &limit_minimal_resource))

ANSWER_IS(event, NULL, NULL,
    K(TIME, "occurred", NEVER_NULL, "When it happened"), K(STR, "event", NEVER_NULL, "What happened"), K(OBJECT, "resource", NEVER_NULL, "To what: labels"),
    K(SHAPES, "related", NEVER_NULL, "Who else has to do with it: labels of each"), K(OBJECT, "payload", NEVER_NULL, "Free data"),
    K(UUID, "id", NEVER_NULL, "Identifier"), K(UUID, "follows", MAY_BE_NULL, "The event before it"), K(TIME, "received", NEVER_NULL, "When it came here"))
ANSWER_IS(event_page, NULL, NULL,
    K(SHAPES, "events", NEVER_NULL, "The page", .more = &event_resource), K(INT, "total", NEVER_NULL, "How many there are"),
    K(STR, "next_page", MAY_BE_NULL, "Where the next page is"))
ANSWER_IS(event_count, NULL, NULL,
    K(STR, "value", NEVER_NULL, "What is counted"), K(STR, "label", NEVER_NULL, "Its name for people"), K(INT, "count", NEVER_NULL, "Events"),
    K(TIME, "start_time", NEVER_NULL, "The first"), K(TIME, "end_time", NEVER_NULL, "The last"))
ANSWER_IS(task_worker, NULL, NULL,
    K(STR, "identifier", NEVER_NULL, "The worker"), K(TAGS, "task_keys", NEVER_NULL, "Tasks that it runs"), K(TIME, "timestamp", NEVER_NULL, "When it was last heard"))
ANSWER_IS(validity, NULL, NULL,
    K(LIST, "errors", NEVER_NULL, "What does not fit, by place"), K(BOOL, "valid", NEVER_NULL, "Everything fits"))
/* clang-format on */

/* ---- the check ---- */

static void check_object(struct call *c, const struct resource *rows, const struct json *body)
{
    struct violations *v = &c->violations;
    union {
        Str s;
        Uuid u;
        int64_t i;
        double d;
    } value;
    for (size_t i = 0; i < rows->n; i++) {
        struct field f = rows->fields[i];
        const struct json *sent = json_get(body, str_of(f.name));
        if (json_is_null(sent)) {
            if (sent && !rows->ignore_unknown && !(f.flags & NULLABLE))
                violation_add(v, "value_error", str_of(f.name), sent, "must not be null");
            else if (f.flags & REQUIRED)
                violation_add(v, "missing", str_of(f.name), body, "is required");
            continue;
        }
        f.offset = 0;
        if (f.type != F_SHAPE) {
            if (f.type != F_ENUM || f.more)
                field_parse(c->a, &f, sent, &value, v);
            continue;
        }
        /* what is inside is read by who uses it, as the shape says, unless it has no struct */
        const struct resource *shape = f.more;
        Str before = violations_enter(v, str_of(f.name));
        if (sent->kind != JSON_OBJECT)
            violation_add(v, "model_attributes_type", STR_NONE, sent, "must be an object");
        else if (!shape->size)
            check_object(c, shape, sent);
        v->prefix = before;
    }
    for (size_t i = 0; !rows->ignore_unknown && json_is(body, JSON_OBJECT) && i < body->object.n; i++)
        if (!resource_field(rows, body->object.members[i].key))
            violation_add(v, "extra_forbidden", body->object.members[i].key, &body->object.members[i].value, "is not a known key here");
}

static void check_query(struct call *c, const struct resource *rows)
{
    struct json members[8];
    struct json_member m[COUNT_OF(members)];
    size_t n = 0;
    for (size_t i = 0; i < rows->n && n < COUNT_OF(m); i++) {
        Str text = exchange_query(c->x, rows->fields[i].name);
        if (text.p)
            m[n++] = (struct json_member){str_of(rows->fields[i].name), *json_new_str(c->a, text)};
    }
    struct json object = {.kind = JSON_OBJECT, .raw = STR("null"), .object = {m, n}};
    Str before = c->violations.prefix;
    c->violations.prefix = STR("[\"query\"");
    check_object(c, rows, &object);
    c->violations.prefix = before;
}

static void check_path(struct call *c, const struct resource *rows)
{
    Str rest = str_of(c->route->path + 1), segment, before = c->violations.prefix;
    Str value;
    c->violations.prefix = STR("[\"path\"");
    for (size_t i = 0; str_cut(&rest, '/', &segment);) {
        if (!segment.n || segment.p[0] != '{')
            continue;
        const struct field *row = resource_field(rows, str_sub(segment, 1, segment.n - 2));
        if (row && row->type == F_ENUM)
            field_parse(c->a, row, json_new_str(c->a, c->params[i]), &value, &c->violations);
        i++;
    }
    c->violations.prefix = before;
}

void asks_check(struct call *c)
{
    const struct asks *asks = &c->route->asks;
    if (asks->path)
        check_path(c, asks->path);
    if (asks->query)
        check_query(c, asks->query);
    if (asks->own_filter && json_is_null(json_get(c->body, str_of(asks->listing->self->key))))
        violation_add(&c->violations, "missing", str_of(asks->listing->self->key), c->body, "is required");
    if (asks->keys) {
        if (!json_is_null(c->body) && c->body->kind != JSON_OBJECT)
            violation_add(&c->violations, "model_attributes_type", STR_NONE, c->body, "must be an object");
        else if (json_is_null(c->body) && !asks->keys->ignore_unknown)
            violation_add(&c->violations, "missing", STR_NONE, c->body, "a body is required");
        else
            check_object(c, asks->keys, c->body);
    }
    if (asks->whole && !json_is_null(c->body)) {
        struct field f = *asks->whole;
        Str value;
        f.offset = 0;
        field_parse(c->a, &f, c->body, &value, &c->violations);
    } else if (asks->whole && (asks->whole->flags & REQUIRED)) {
        violation_add(&c->violations, "missing", STR_NONE, c->body, "a body is required");
    }
}
