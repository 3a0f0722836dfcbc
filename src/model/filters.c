/* The filter leaves, joins and sort orders of every resource that can be listed. */
#include "model/filter.h"
#include "model/text_query.h"

#define ANY "any_"
#define ANY_NOT "any_ not_any_"
#define ANY_NULL "any_ is_null_ operator"
#define ANY_LIKE "any_ like_"
#define TAG_KEYS "all_ any_ is_null_ operator"
#define RANGE "before_ after_"
#define RANGE_NULL "before_ after_ is_null_"
/* In the order that state_load (store/state.h) reads them. */
#define STATE_COLUMNS \
    ", run_state.id, run_state.type, run_state.name, run_state.timestamp, run_state.message, " STATE_DATA("run_state.") ", run_state.state_details"
#define LEAVES(a) (a), COUNT_OF(a)

/* clang-format off */

/* ---- flows ---- */

static void flow_deployment(struct sql *q, const struct json *v, struct violations *out)
{
    const struct json *is_null = json_getz(v, "is_null_");
    if (!json_is_null(is_null) && is_null->kind != JSON_BOOL)
        violation_add(out, "bool_type", STR("is_null_"), is_null, "must be true or false");
    if (json_is_null(is_null)) {
        sql_z(q, "1 = 1");
        return;
    }
    sql_z(q, is_null->boolean ? "NOT " : "");
    sql_z(q, "EXISTS (SELECT 1 FROM deployment AS of_flow WHERE of_flow.flow_id = flow.id)");
}

static const struct leaf flow_leaves[] = {
    {"id",         LEAF_UUID, "flow.id",   ANY_NOT},
    {"name",       LEAF_TEXT, "flow.name", ANY_LIKE},
    {"tags",       LEAF_TAGS, "flow.tags", "all_ is_null_ operator"},
    {"deployment", LEAF_FN,   .fn = flow_deployment, .keys = "is_null_ operator"},
};
static const struct filter_def flows = {"flows", NULL, "flow", LEAVES(flow_leaves)};

/* ---- flow runs ---- */

/* One leaf of our own around what was sent: for leaves whose clause stands inside a subquery. */
static void inner_leaf(struct sql *q, const struct leaf *l, const struct json *v, struct violations *out)
{
    struct json_member m = {str_of(l->name), *v};
    struct json object = {.kind = JSON_OBJECT, .raw = v->raw, .object = {&m, 1}};
    struct filter_def f = {l->name, NULL, NULL, l, 1};
    filter_where(q, &f, &object, out);
}

static void parent_flow_run(struct sql *q, const struct json *v, struct violations *out)
{
    static const struct leaf leaf = {"parent_flow_run_id", LEAF_UUID, "parent.flow_run_id", "any_ operator"};
    if (json_is_null(json_getz(v, "any_"))) {
        sql_z(q, "1 = 1");
        return;
    }
    sql_z(q, "flow_run.parent_task_run_id IN (SELECT parent.id FROM task_run AS parent WHERE ");
    inner_leaf(q, &leaf, v, out);
    sql_z(q, ")");
}

static void created_by_key(struct sql *q, const char *key, const struct json *list, struct violations *out)
{
    if (list->kind != JSON_ARRAY) {
        violation_add(out, "list_type", STR_NONE, list, "must be a list");
        return;
    }
    buf_fmt(&q->text, q->kind == DB_POSTGRES ? "(flow_run.created_by::jsonb ->> '%s') IN (" : "json_extract(flow_run.created_by, '$.%s') IN (", key);
    for (size_t i = 0; i < list->array.n; i++) {
        if (i)
            sql_z(q, ", ");
        Uuid id;
        Str s = json_str(&list->array.items[i]);
        if (str_eqz(str_of(key), "id") && uuid_parse(s, &id))
            s = str_dup(q->a, str_of(uuid_text(id).s));
        sql_str(q, s.p ? s : STR(""));
    }
    sql_z(q, list->array.n ? ")" : "NULL)");
}

static void created_by(struct sql *q, const struct json *v, struct violations *out)
{
    const char *joiner = str_eqz(json_get_str(v, STR("operator")), "or_") ? " OR " : " AND ";
    const struct json *id = json_getz(v, "id_"), *type = json_getz(v, "type_"), *is_null = json_getz(v, "is_null_");
    size_t n = 0;
    sql_z(q, "(");
    if (!json_is_null(id)) {
        n++;
        created_by_key(q, "id", id, out);
    }
    if (!json_is_null(type)) {
        if (n++)
            sql_z(q, joiner);
        created_by_key(q, "type", type, out);
    }
    if (json_is(is_null, JSON_BOOL)) {
        if (n++)
            sql_z(q, joiner);
        sql_z(q, is_null->boolean ? "flow_run.created_by IS NULL" : "flow_run.created_by IS NOT NULL");
    }
    sql_z(q, n ? ")" : "1 = 1)");
}

static const struct leaf flow_run_state_leaves[] = {
    {"type", LEAF_TEXT, "flow_run.state_type", ANY_NOT, .names = state_type_names},
    {"name", LEAF_TEXT, "flow_run.state_name", ANY_NOT},
};
static const struct leaf flow_run_leaves[] = {
    {"id",                  LEAF_UUID, "flow_run.id",                  ANY_NOT},
    {"name",                LEAF_TEXT, "flow_run.name",                ANY_LIKE},
    {"tags",                LEAF_TAGS, "flow_run.tags",                TAG_KEYS},
    {"deployment_id",       LEAF_UUID, "flow_run.deployment_id",       ANY_NULL},
    {"work_queue_name",     LEAF_TEXT, "flow_run.work_queue_name",     ANY_NULL},
    {"state",               LEAF_GROUP, .sub = flow_run_state_leaves, .sub_count = COUNT_OF(flow_run_state_leaves)},
    {"flow_version",        LEAF_TEXT, "flow_run.flow_version",        ANY},
    {"start_time",          LEAF_TIME, "coalesce(flow_run.start_time, flow_run.expected_start_time)", RANGE_NULL, .null_expr = "flow_run.start_time"},
    {"end_time",            LEAF_TIME, "flow_run.end_time",            RANGE_NULL},
    {"expected_start_time", LEAF_TIME, "flow_run.expected_start_time", RANGE},
    {"next_scheduled_start_time", LEAF_TIME, "flow_run.next_scheduled_start_time", RANGE},
    {"parent_flow_run_id",  LEAF_FN,   .fn = parent_flow_run, .keys = "any_ operator"},
    {"parent_task_run_id",  LEAF_UUID, "flow_run.parent_task_run_id",  ANY_NULL},
    {"idempotency_key",     LEAF_TEXT, "flow_run.idempotency_key",     ANY_NOT},
    {"created_by",          LEAF_FN,   .fn = created_by, .keys = "id_ type_ is_null_ operator"},
};
static const struct filter_def flow_runs = {"flow_runs", NULL, "flow_run", LEAVES(flow_run_leaves)};

/* ---- task runs ---- */

static void subflow_runs(struct sql *q, const struct json *v, struct violations *out)
{
    const struct json *exists = json_getz(v, "exists_");
    if (json_is_null(exists)) {
        sql_z(q, "1 = 1");
        return;
    }
    if (exists->kind != JSON_BOOL)
        violation_add(out, "bool_type", STR("exists_"), exists, "must be true or false");
    sql_z(q, exists->boolean ? "" : "NOT ");
    sql_z(q, "EXISTS (SELECT 1 FROM flow_run AS sub WHERE sub.parent_task_run_id = task_run.id)");
}

static const struct leaf task_run_state_leaves[] = {
    {"type", LEAF_TEXT, "task_run.state_type", ANY, .names = state_type_names},
    {"name", LEAF_TEXT, "task_run.state_name", ANY},
};
static const struct leaf task_run_leaves[] = {
    {"id",                  LEAF_UUID, "task_run.id",                  ANY},
    {"name",                LEAF_TEXT, "task_run.name",                ANY_LIKE},
    {"tags",                LEAF_TAGS, "task_run.tags",                "all_ is_null_ operator"},
    {"flow_run_id",         LEAF_UUID, "task_run.flow_run_id",         ANY_NULL, .set_unless = true},
    {"state",               LEAF_GROUP, .sub = task_run_state_leaves, .sub_count = COUNT_OF(task_run_state_leaves)},
    {"start_time",          LEAF_TIME, "coalesce(task_run.start_time, task_run.expected_start_time)", RANGE_NULL, .null_expr = "task_run.start_time"},
    {"end_time",            LEAF_TIME, "task_run.end_time",            RANGE_NULL},
    {"expected_start_time", LEAF_TIME, "task_run.expected_start_time", RANGE},
    {"subflow_runs",        LEAF_FN,   .fn = subflow_runs, .keys = "exists_"},
};
static const struct filter_def task_runs = {"task_runs", NULL, "task_run", LEAVES(task_run_leaves)};

/* ---- deployments ---- */

static void flow_or_deployment_name(struct sql *q, const struct json *v, struct violations *out)
{
    const struct json *like = json_getz(v, "like_");
    if (json_is_null(like)) {
        sql_z(q, "1 = 1");
        return;
    }
    if (like->kind != JSON_STRING)
        violation_add(out, "string_type", STR("like_"), like, "must be a string");
    Str pattern = str_fmt(q->a, "%%%.*s%%", STR_ARG(like->kind == JSON_STRING ? like->string : STR("")));
    const char *op = q->kind == DB_POSTGRES ? " ILIKE " : " LIKE ";
    sql_z(q, "(deployment.name");
    sql_z(q, op);
    sql_str(q, pattern);
    sql_z(q, " OR EXISTS (SELECT 1 FROM flow AS of_deployment WHERE of_deployment.id = deployment.flow_id AND of_deployment.name");
    sql_z(q, op);
    sql_str(q, pattern);
    sql_z(q, "))");
}

static const struct leaf deployment_leaves[] = {
    {"id",                 LEAF_UUID, "deployment.id",              ANY_NOT},
    {"name",               LEAF_TEXT, "deployment.name",            ANY_LIKE},
    {"paused",             LEAF_BOOL, "deployment.paused",          "eq_"},
    {"is_schedule_active", LEAF_BOOL, "(1 - deployment.paused)",    "eq_"}, /* 2.x */
    {"tags",               LEAF_TAGS, "deployment.tags",            TAG_KEYS},
    {"work_queue_name",    LEAF_TEXT, "deployment.work_queue_name", ANY},
    {"concurrency_limit",  LEAF_IGNORED, .keys = "ge_ le_ is_null_"},
    {"flow_or_deployment_name", LEAF_FN, .fn = flow_or_deployment_name, .keys = "like_"},
};
static const struct filter_def deployments = {"deployments", NULL, "deployment", LEAVES(deployment_leaves)};

/* ---- work pools, queues, workers ---- */

static const struct leaf work_pool_leaves[] = {
    {"id",   LEAF_UUID, "work_pool.id",   ANY},
    {"name", LEAF_TEXT, "work_pool.name", ANY},
    {"type", LEAF_TEXT, "work_pool.type", ANY},
};
static const struct filter_def work_pools = {"work_pools", NULL, "work_pool", LEAVES(work_pool_leaves)};

static const struct leaf work_queue_leaves[] = {
    {"id",   LEAF_UUID, "work_queue.id",   ANY},
    {"name", LEAF_TEXT, "work_queue.name", "any_ startswith_"},
};
static const struct filter_def work_queues = {"work_pool_queues", "work_queues", "work_queue", LEAVES(work_queue_leaves)};

static const struct leaf worker_leaves[] = {
    {"last_heartbeat_time", LEAF_TIME, "worker.last_heartbeat_time", RANGE},
    {"status",              LEAF_TEXT, "worker.status",              ANY_NOT, .names = worker_status_names},
};
static const struct filter_def workers = {"workers", NULL, "worker", LEAVES(worker_leaves)};

/* ---- variables, blocks, logs ---- */

static const struct leaf variable_leaves[] = {
    {"id",    LEAF_UUID, "variable.id",    ANY},
    {"name",  LEAF_TEXT, "variable.name",  ANY_LIKE},
    {"value", LEAF_TEXT, "variable.value", ANY_LIKE}, /* 2.x; the value's JSON text */
    {"tags",  LEAF_TAGS, "variable.tags",  "all_ is_null_ operator"},
};
static const struct filter_def variables = {"variables", NULL, "variable", LEAVES(variable_leaves)};

static const struct leaf block_type_leaves[] = {
    {"name", LEAF_TEXT, "block_type.name", "like_"},
    {"slug", LEAF_TEXT, "block_type.slug", ANY},
};
static const struct filter_def block_types = {"block_types", NULL, "block_type", LEAVES(block_type_leaves), .plain = true};

static const struct leaf block_schema_leaves[] = {
    {"block_type_id",      LEAF_UUID, "block_schema.block_type_id", ANY},
    {"block_capabilities", LEAF_TAGS, "block_schema.capabilities",  "all_"},
    {"id",                 LEAF_UUID, "block_schema.id",            ANY},
    {"version",            LEAF_TEXT, "block_schema.version",       ANY},
};
static const struct filter_def block_schemas = {"block_schemas", NULL, "block_schema", LEAVES(block_schema_leaves)};

static const struct leaf block_document_leaves[] = {
    {"id",            LEAF_UUID, "block_document.id",            ANY},
    {"is_anonymous",  LEAF_BOOL, "block_document.is_anonymous",  "eq_", .dflt = "{\"eq_\":false}"},
    {"block_type_id", LEAF_UUID, "block_document.block_type_id", ANY},
    {"name",          LEAF_TEXT, "block_document.name",          ANY_LIKE},
};
static const struct filter_def block_documents = {"block_documents", NULL, "block_document", LEAVES(block_document_leaves)};

static void log_text(struct sql *q, const struct json *v, struct violations *out)
{
    static const char *const columns[] = {"log.message", "log.name", NULL};
    struct text_query t = text_query_parse(q->a, STR("query"), json_getz(v, "query"), out);
    text_query_where(q, &t, columns);
}

static const struct leaf log_leaves[] = {
    {"level",       LEAF_INT,  "log.level",       "ge_ le_"},
    {"timestamp",   LEAF_TIME, "log.timestamp",   RANGE},
    {"flow_run_id", LEAF_UUID, "log.flow_run_id", ANY},
    {"task_run_id", LEAF_UUID, "log.task_run_id", "any_ is_null_"},
    {"text",        LEAF_FN, .fn = log_text, .keys = "query", .must = "query"},
};
static const struct filter_def logs = {"logs", NULL, "log", LEAVES(log_leaves)};

static const struct leaf notification_policy_leaves[] = {
    {"is_active", LEAF_BOOL, "flow_run_notification_policy.is_active", "eq_", .dflt = "{\"eq_\":false}"},
};
static const struct filter_def notification_policies = {"flow_run_notification_policy_filter", NULL, "flow_run_notification_policy",
                                                        LEAVES(notification_policy_leaves), .plain = true, .if_given = true};

/* ---- automations ---- */

static const struct leaf automation_leaves[] = {
    {"id",      LEAF_UUID, "automation.id",      ANY},
    {"name",    LEAF_TEXT, "automation.name",    ANY},
    {"tags",    LEAF_TAGS, "automation.tags",    TAG_KEYS},
    {"created", LEAF_TIME, "automation.created", "before_"},
};
static const struct filter_def automations = {"automations", NULL, "automation", LEAVES(automation_leaves)};

/* ---- artifacts ---- */

#define ARTIFACT_LEAVES(table) \
    {"key",         LEAF_TEXT, table ".key",         "any_ like_ exists_"}, \
    {"flow_run_id", LEAF_UUID, table ".flow_run_id", ANY}, \
    {"task_run_id", LEAF_UUID, table ".task_run_id", ANY}, \
    {"type",        LEAF_TEXT, table ".type",        ANY_NOT}
static const struct leaf artifact_leaves[] = {
    {"id",          LEAF_UUID, "artifact.id",        ANY},
    ARTIFACT_LEAVES("artifact"),
};
static const struct filter_def artifacts = {"artifacts", NULL, "artifact", LEAVES(artifact_leaves)};
static const struct leaf artifact_collection_leaves[] = {
    {"latest_id",   LEAF_UUID, "artifact_collection.latest_id", ANY},
    ARTIFACT_LEAVES("artifact_collection"),
};
static const struct filter_def artifact_collections = {"artifacts", NULL, "artifact_collection", LEAVES(artifact_collection_leaves)};

/* ---- what may be listed ---- */


static const struct join flow_joins[] = {
    {&flow_runs,   "EXISTS (SELECT 1 FROM flow_run WHERE flow_run.flow_id = flow.id AND %s)"},
    {&task_runs,   "EXISTS (SELECT 1 FROM task_run JOIN flow_run ON flow_run.id = task_run.flow_run_id WHERE flow_run.flow_id = flow.id AND %s)"},
    {&deployments, "EXISTS (SELECT 1 FROM deployment WHERE deployment.flow_id = flow.id AND %s)"},
    {&work_pools,  "EXISTS (SELECT 1 FROM deployment JOIN work_queue ON work_queue.id = deployment.work_queue_id JOIN work_pool ON work_pool.id = work_queue.work_pool_id WHERE deployment.flow_id = flow.id AND %s)"},
};
static const struct sort flow_sorts[] = {
    {"NAME_ASC", "flow.name ASC"}, {"NAME_DESC", "flow.name DESC"},
    {"CREATED_DESC", "flow.created DESC, flow.id DESC"}, {"UPDATED_DESC", "flow.updated DESC, flow.id DESC"},
};
const struct listing flow_listing = {&flow_resource, &flows, LEAVES(flow_joins), LEAVES(flow_sorts), NULL, NULL};

static const struct join flow_run_joins[] = {
    {&flows,       "EXISTS (SELECT 1 FROM flow WHERE flow.id = flow_run.flow_id AND %s)"},
    {&task_runs,   "EXISTS (SELECT 1 FROM task_run WHERE task_run.flow_run_id = flow_run.id AND %s)"},
    {&deployments, "EXISTS (SELECT 1 FROM deployment WHERE deployment.id = flow_run.deployment_id AND %s)"},
    {&work_pools,  "EXISTS (SELECT 1 FROM work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id WHERE work_queue.id = flow_run.work_queue_id AND %s)"},
    {&work_queues, "EXISTS (SELECT 1 FROM work_queue WHERE work_queue.id = flow_run.work_queue_id AND %s)"},
};
static const struct sort flow_run_sorts[] = {
    {"ID_DESC", "flow_run.id DESC", "drive.run_id DESC"},
    {"START_TIME_ASC", "coalesce(flow_run.start_time, flow_run.expected_start_time) ASC NULLS LAST, flow_run.id"},
    {"START_TIME_DESC", "coalesce(flow_run.start_time, flow_run.expected_start_time) DESC NULLS LAST, flow_run.id"},
    {"EXPECTED_START_TIME_ASC", "flow_run.expected_start_time ASC NULLS LAST, flow_run.id", "drive.expected_start_time ASC, drive.run_id"},
    {"EXPECTED_START_TIME_DESC", "flow_run.expected_start_time DESC NULLS LAST, flow_run.id", "drive.expected_start_time DESC, drive.run_id"},
    {"NAME_ASC", "flow_run.name ASC, flow_run.id"}, {"NAME_DESC", "flow_run.name DESC, flow_run.id"},
    {"NEXT_SCHEDULED_START_TIME_ASC", "flow_run.next_scheduled_start_time ASC NULLS LAST, flow_run.id"},
    {"END_TIME_DESC", "flow_run.end_time DESC NULLS LAST, flow_run.id"},
};
/* The state, and the pool, come with the row. */
const struct listing flow_run_listing = {
    &flow_run_resource, &flow_runs, LEAVES(flow_run_joins), LEAVES(flow_run_sorts),
    "flow_run LEFT JOIN flow_run_state AS run_state ON run_state.run_id = flow_run.id AND run_state.timestamp = flow_run.state_timestamp"
    " LEFT JOIN work_queue AS run_queue ON run_queue.id = flow_run.work_queue_id LEFT JOIN work_pool AS run_pool ON run_pool.id = run_queue.work_pool_id",
    STATE_COLUMNS ", run_pool.id, run_pool.name", "flow_run_tag", "flow_run_name"};

static const struct join task_run_joins[] = {
    {&flows,       "EXISTS (SELECT 1 FROM flow_run JOIN flow ON flow.id = flow_run.flow_id WHERE flow_run.id = task_run.flow_run_id AND %s)"},
    {&flow_runs,   "EXISTS (SELECT 1 FROM flow_run WHERE flow_run.id = task_run.flow_run_id AND %s)"},
    {&deployments, "EXISTS (SELECT 1 FROM flow_run JOIN deployment ON deployment.id = flow_run.deployment_id WHERE flow_run.id = task_run.flow_run_id AND %s)"},
    {&work_pools,  "EXISTS (SELECT 1 FROM flow_run JOIN work_queue ON work_queue.id = flow_run.work_queue_id JOIN work_pool ON work_pool.id = work_queue.work_pool_id WHERE flow_run.id = task_run.flow_run_id AND %s)"},
    {&work_queues, "EXISTS (SELECT 1 FROM flow_run JOIN work_queue ON work_queue.id = flow_run.work_queue_id WHERE flow_run.id = task_run.flow_run_id AND %s)"},
};
static const struct sort task_run_sorts[] = {
    {"ID_DESC", "task_run.id DESC"},
    {"EXPECTED_START_TIME_ASC", "task_run.expected_start_time ASC NULLS LAST, task_run.id"},
    {"EXPECTED_START_TIME_DESC", "task_run.expected_start_time DESC NULLS LAST, task_run.id"},
    {"NAME_ASC", "task_run.name ASC, task_run.id"}, {"NAME_DESC", "task_run.name DESC, task_run.id"},
    {"NEXT_SCHEDULED_START_TIME_ASC", "task_run.next_scheduled_start_time ASC NULLS LAST, task_run.id"},
    {"END_TIME_DESC", "task_run.end_time DESC NULLS LAST, task_run.id"},
};
const struct listing task_run_listing = {
    &task_run_resource, &task_runs, LEAVES(task_run_joins), LEAVES(task_run_sorts),
    "task_run LEFT JOIN task_run_state AS run_state ON run_state.run_id = task_run.id AND run_state.timestamp = task_run.state_timestamp AND run_state.id = task_run.state_id",
    STATE_COLUMNS};

static const struct join deployment_joins[] = {
    {&flows,       "EXISTS (SELECT 1 FROM flow WHERE flow.id = deployment.flow_id AND %s)"},
    {&flow_runs,   "EXISTS (SELECT 1 FROM flow_run WHERE flow_run.deployment_id = deployment.id AND %s)"},
    {&task_runs,   "EXISTS (SELECT 1 FROM flow_run JOIN task_run ON task_run.flow_run_id = flow_run.id WHERE flow_run.deployment_id = deployment.id AND %s)"},
    {&work_pools,  "EXISTS (SELECT 1 FROM work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id WHERE work_queue.id = deployment.work_queue_id AND %s)"},
    {&work_queues, "EXISTS (SELECT 1 FROM work_queue WHERE work_queue.id = deployment.work_queue_id AND %s)"},
};
static const struct sort deployment_sorts[] = {
    {"NAME_ASC", "deployment.name ASC, deployment.id"}, {"NAME_DESC", "deployment.name DESC, deployment.id"},
    {"CREATED_DESC", "deployment.created DESC, deployment.id DESC"}, {"UPDATED_DESC", "deployment.updated DESC, deployment.id DESC"},
};
const struct listing deployment_listing = {
    &deployment_resource, &deployments, LEAVES(deployment_joins), LEAVES(deployment_sorts),
    "deployment LEFT JOIN work_queue AS run_queue ON run_queue.id = deployment.work_queue_id LEFT JOIN work_pool AS run_pool ON run_pool.id = run_queue.work_pool_id",
    ", run_pool.id, run_pool.name, run_queue.name, run_queue.last_polled"};

static const struct sort work_pool_sorts[] = {{NULL, "work_pool.name ASC"}};
const struct listing work_pool_listing = {&work_pool_resource, &work_pools, NULL, 0, LEAVES(work_pool_sorts), NULL, NULL};

static const struct sort work_queue_sorts[] = {
    {NULL, "work_queue.name ASC, work_queue.id"},
};
const struct listing work_queue_listing = {
    &work_queue_resource, &work_queues, NULL, 0, LEAVES(work_queue_sorts),
    "work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id", ", work_pool.name"};

/* The same, listed inside one pool. */
static const struct sort pool_queue_sorts[] = {{NULL, "work_queue.priority ASC, work_queue.id"}};
const struct listing work_pool_queue_listing = {
    &work_queue_resource, &work_queues, NULL, 0, LEAVES(pool_queue_sorts),
    "work_queue JOIN work_pool ON work_pool.id = work_queue.work_pool_id", ", work_pool.name"};

static const struct sort worker_sorts[] = {{NULL, "worker.last_heartbeat_time DESC NULLS LAST, worker.id"}};
const struct listing worker_listing = {&worker_resource, &workers, NULL, 0, LEAVES(worker_sorts), NULL, NULL};

static const struct sort variable_sorts[] = {
    {"NAME_ASC", "variable.name ASC"}, {"NAME_DESC", "variable.name DESC"},
    {"CREATED_DESC", "variable.created DESC, variable.id DESC"}, {"UPDATED_DESC", "variable.updated DESC, variable.id DESC"},
};
const struct listing variable_listing = {&variable_resource, &variables, NULL, 0, LEAVES(variable_sorts), NULL, NULL};

#define ARTIFACT_JOINS(table) \
    {&flows,       "EXISTS (SELECT 1 FROM flow_run JOIN flow ON flow.id = flow_run.flow_id WHERE flow_run.id = " table ".flow_run_id AND %s)"}, \
    {&flow_runs,   "EXISTS (SELECT 1 FROM flow_run WHERE flow_run.id = " table ".flow_run_id AND %s)"}, \
    {&task_runs,   "EXISTS (SELECT 1 FROM task_run WHERE task_run.id = " table ".task_run_id AND %s)"}, \
    {&deployments, "EXISTS (SELECT 1 FROM flow_run JOIN deployment ON deployment.id = flow_run.deployment_id WHERE flow_run.id = " table ".flow_run_id AND %s)"}
#define ARTIFACT_SORTS(table) \
    {"ID_DESC", table ".id DESC"}, \
    {"CREATED_DESC", table ".created DESC, " table ".id DESC"}, {"UPDATED_DESC", table ".updated DESC, " table ".id DESC"}, \
    {"KEY_DESC", table ".key DESC NULLS LAST, " table ".id"}, {"KEY_ASC", table ".key ASC NULLS FIRST, " table ".id"}
static const struct join artifact_joins[] = {ARTIFACT_JOINS("artifact")};
static const struct sort artifact_sorts[] = {ARTIFACT_SORTS("artifact")};
const struct listing artifact_listing = {&artifact_resource, &artifacts, LEAVES(artifact_joins), LEAVES(artifact_sorts), NULL, NULL};

static const struct join artifact_collection_joins[] = {ARTIFACT_JOINS("artifact_collection")};
static const struct sort artifact_collection_sorts[] = {ARTIFACT_SORTS("artifact_collection")};
const struct listing artifact_collection_listing = {
    &artifact_collection_resource, &artifact_collections, LEAVES(artifact_collection_joins), LEAVES(artifact_collection_sorts), NULL, NULL};

static const struct join block_type_joins[] = {
    {&block_schemas, "EXISTS (SELECT 1 FROM block_schema WHERE block_schema.block_type_id = block_type.id AND %s)"},
};
static const struct sort block_type_sorts[] = {{NULL, "block_type.name ASC, block_type.id"}};
const struct listing block_type_listing = {&block_type_resource, &block_types, LEAVES(block_type_joins), LEAVES(block_type_sorts), NULL, NULL};

static const struct sort automation_sorts[] = {
    {"NAME_ASC", "automation.name ASC, automation.id"}, {"NAME_DESC", "automation.name DESC, automation.id"},
    {"CREATED_DESC", "automation.created DESC, automation.id DESC"}, {"UPDATED_DESC", "automation.updated DESC, automation.id DESC"},
};
const struct listing automation_listing = {&automation_resource, &automations, NULL, 0, LEAVES(automation_sorts), NULL, NULL};

static const struct sort saved_search_sorts[] = {{NULL, "saved_search.name ASC"}};
const struct listing saved_search_listing = {&saved_search_resource, NULL, NULL, 0, LEAVES(saved_search_sorts), NULL, NULL};

static const struct sort notification_policy_sorts[] = {{NULL, "flow_run_notification_policy.id ASC"}};
const struct listing notification_policy_listing = {
    &notification_policy_resource, &notification_policies, NULL, 0, LEAVES(notification_policy_sorts), NULL, NULL};

static const struct sort block_schema_sorts[] = {{NULL, "block_schema.created DESC, block_schema.id DESC"}};
const struct listing block_schema_listing = {&block_schema_resource, &block_schemas, NULL, 0, LEAVES(block_schema_sorts), NULL, NULL};

static const struct join block_document_joins[] = {
    {&block_types,   "EXISTS (SELECT 1 FROM block_type WHERE block_type.id = block_document.block_type_id AND %s)"},
    {&block_schemas, "EXISTS (SELECT 1 FROM block_schema WHERE block_schema.id = block_document.block_schema_id AND %s)"},
};
static const struct sort block_document_sorts[] = {
    {"NAME_ASC", "block_document.name ASC, block_document.id"}, {"NAME_DESC", "block_document.name DESC, block_document.id"},
    {"BLOCK_TYPE_AND_NAME_ASC", "(SELECT of_document.name FROM block_type AS of_document WHERE of_document.id = block_document.block_type_id) ASC, block_document.name ASC"},
};
const struct listing block_document_listing = {&block_document_resource, &block_documents, LEAVES(block_document_joins), LEAVES(block_document_sorts), NULL, NULL};

static const struct sort log_sorts[] = {
    {"TIMESTAMP_ASC", "log.timestamp ASC, log.id ASC"}, {"TIMESTAMP_DESC", "log.timestamp DESC, log.id DESC"},
};
const struct listing log_listing = {&log_resource, &logs, NULL, 0, LEAVES(log_sorts), NULL, NULL};
/* clang-format on */
