#include "model/all.h"

#include "base/limits.h"

#include <string.h>

const char *const state_type_names[] = {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED",
                                        "CANCELLED", "CRASHED", "PAUSED",  "CANCELLING", NULL};
_Static_assert(COUNT_OF(state_type_names) == STATE_COUNT + 1, "a name per state type");
const char *const retry_type_names[] = {"in_process", "reschedule", NULL};
const char *const collision_strategy_names[] = {"ENQUEUE", "CANCEL_NEW", NULL};
const char *const deployment_status_names[] = {"READY", "NOT_READY", NULL};
const char *const work_pool_status_names[] = {"READY", "NOT_READY", "PAUSED", NULL};
const char *const work_queue_status_names[] = {"READY", "NOT_READY", "PAUSED", NULL};
const char *const worker_status_names[] = {"ONLINE", "OFFLINE", NULL};
const char *const trigger_postures[] = {"Reactive", "Proactive", NULL};
const char *const action_sources[] = {"selected", "inferred", NULL};
static const char *const trigger_type_event[] = {"event", NULL}, *const trigger_type_compound[] = {"compound", NULL},
                         *const trigger_type_sequence[] = {"sequence", NULL};

int state_type_of(Str name)
{
    for (int i = 0; i < STATE_COUNT; i++)
        if (str_eqz(name, state_type_names[i]))
            return i;
    return -1;
}

Str state_type_text(enum state_type t)
{
    return str_of(state_type_names[t]);
}


/* Policies of old clients give retries by their older names. */

static void settle_flow_run_policy(struct arena *a, void *rec, struct violations *v)
{
    struct flow_run_policy *p = rec;
    if ((p->retries == INT_NONE || !p->retries) && p->max_retries > 0)
        p->retries = p->max_retries;
    double seconds = p->retry_delay_seconds;
    if ((p->retry_delay == INT_NONE || !p->retry_delay) && seconds > 0 && seconds < INT32_MAX && seconds == (double)(int64_t)seconds)
        p->retry_delay = (int64_t)seconds;
}

#define RETRY_DELAYS 50

static void check_retry_delay(struct arena *a, Str text, struct violations *v)
{
    struct err err;
    const struct json *delay = json_parse(a, text, &err);
    bool list = json_is(delay, JSON_ARRAY), numbers = list || json_is(delay, JSON_NUMBER);
    for (size_t i = 0; list && i < delay->array.n; i++)
        numbers &= delay->array.items[i].kind == JSON_NUMBER;
    if (!numbers)
        violation_add(v, "float_type", STR("retry_delay"), delay, "must be a number of seconds or a list of such");
    else if (list && delay->array.n > RETRY_DELAYS)
        violation_add(v, "value_error", STR("retry_delay"), delay, "must not hold more than 50 delays");
}

static void settle_task_run_policy(struct arena *a, void *rec, struct violations *v)
{
    struct task_run_policy *p = rec;
    if ((p->retries == INT_NONE || !p->retries) && p->max_retries > 0)
        p->retries = p->max_retries;
    if (p->retry_delay.p)
        check_retry_delay(a, p->retry_delay, v);
    if (p->retry_jitter_factor < 0)
        violation_add(v, "value_error", STR("retry_jitter_factor"), NULL, "must be 0 or more");
    if ((!p->retry_delay.p || str_eqz(p->retry_delay, "0")) && p->retry_delay_seconds > 0) {
        AUTO(buf_free) struct buf b = BUF(64);
        struct jw w = jw_on(&b);
        jw_double(&w, p->retry_delay_seconds);
        p->retry_delay = str_dup(a, buf_view(&b));
    }
}

/* Metadata of artifacts: names and texts, the texts cut. */

#define METADATA_MAX 500 /* characters; published */

static Str first_characters(Str s, size_t n)
{
    size_t i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80 && n-- == 0)
            break;
    return str_sub(s, 0, i);
}

static void settle_artifact(struct arena *a, void *rec, struct violations *v)
{
    struct artifact *artifact = rec;
    struct err err;
    const struct json *metadata = artifact->metadata_.p ? json_parse(a, artifact->metadata_, &err) : NULL;
    if (!json_is(metadata, JSON_OBJECT))
        return;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    Str before = violations_enter(v, STR("metadata_"));
    for (size_t i = 0; i < metadata->object.n; i++) {
        const struct json_member *m = &metadata->object.members[i];
        if (m->value.kind != JSON_STRING)
            violation_add(v, "string_type", m->key, &m->value, "must be a string");
        Str text = json_str(&m->value), cut = first_characters(text, METADATA_MAX);
        jw_key(&w, m->key);
        jw_str(&w, cut.n < text.n ? str_fmt(a, "%.*s...", STR_ARG(cut)) : text);
    }
    v->prefix = before;
    jw_end(&w);
    artifact->metadata_ = str_dup(a, buf_view(&b));
}

static const struct field created_by_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct created_by, name), dflt, more, doc, __VA_ARGS__},
#include "model/created_by.def"
#undef FIELD
};
static struct resource_sql created_by_sql;
const struct resource created_by_shape = {"created_by", NULL, created_by_fields, COUNT_OF(created_by_fields), sizeof(struct created_by), .ignore_unknown = true, .sql = &created_by_sql};

static const struct field state_details_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct state_details, name), dflt, more, doc, __VA_ARGS__},
#include "model/state_details.def"
#undef FIELD
};
static struct resource_sql state_details_sql;
const struct resource state_details_shape = {"state_details", NULL, state_details_fields, COUNT_OF(state_details_fields), sizeof(struct state_details), .ignore_unknown = true, .sql = &state_details_sql};

static const struct field flow_run_policy_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct flow_run_policy, name), dflt, more, doc, __VA_ARGS__},
#include "model/flow_run_policy.def"
#undef FIELD
};
static struct resource_sql flow_run_policy_sql;
const struct resource flow_run_policy_shape = {"flow_run_policy", NULL, flow_run_policy_fields, COUNT_OF(flow_run_policy_fields), sizeof(struct flow_run_policy), .ignore_unknown = true, .sql = &flow_run_policy_sql, .settle = settle_flow_run_policy};

static const struct field task_run_policy_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct task_run_policy, name), dflt, more, doc, __VA_ARGS__},
#include "model/task_run_policy.def"
#undef FIELD
};
static struct resource_sql task_run_policy_sql;
const struct resource task_run_policy_shape = {"task_run_policy", NULL, task_run_policy_fields, COUNT_OF(task_run_policy_fields), sizeof(struct task_run_policy), .ignore_unknown = true, .sql = &task_run_policy_sql, .settle = settle_task_run_policy};

static const struct field concurrency_options_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct concurrency_options, name), dflt, more, doc, __VA_ARGS__},
#include "model/concurrency_options.def"
#undef FIELD
};
static struct resource_sql concurrency_options_sql;
const struct resource concurrency_options_shape = {"concurrency_options", NULL, concurrency_options_fields, COUNT_OF(concurrency_options_fields), sizeof(struct concurrency_options), .ignore_unknown = true, .sql = &concurrency_options_sql};

static const struct field work_pool_storage_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct work_pool_storage, name), dflt, more, doc, __VA_ARGS__},
#include "model/work_pool_storage.def"
#undef FIELD
};
static struct resource_sql work_pool_storage_sql;
const struct resource work_pool_storage_shape = {"work_pool_storage", NULL, work_pool_storage_fields, COUNT_OF(work_pool_storage_fields), sizeof(struct work_pool_storage), .sql = &work_pool_storage_sql};

static const struct field queue_filter_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct queue_filter, name), dflt, more, doc, __VA_ARGS__},
#include "model/queue_filter.def"
#undef FIELD
};
static struct resource_sql queue_filter_sql;
const struct resource queue_filter_shape = {"queue_filter", NULL, queue_filter_fields, COUNT_OF(queue_filter_fields), sizeof(struct queue_filter), .ignore_unknown = true, .sql = &queue_filter_sql};

static const struct field flow_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct flow, name), dflt, more, doc, __VA_ARGS__},
#include "model/flow.def"
#undef FIELD
};
static struct resource_sql flow_sql;
const struct resource flow_resource = {"flow", "flow", flow_fields, COUNT_OF(flow_fields), sizeof(struct flow), .sql = &flow_sql};

static const struct field state_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct state, name), dflt, more, doc, __VA_ARGS__},
#include "model/state.def"
#undef FIELD
};
static struct resource_sql state_sql;
const struct resource state_resource = {"state", "flow_run_state", state_fields, COUNT_OF(state_fields), sizeof(struct state), .sql = &state_sql};

static const struct field flow_run_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct flow_run, name), dflt, more, doc, __VA_ARGS__},
#include "model/flow_run.def"
#undef FIELD
};
static struct resource_sql flow_run_sql;
const struct resource flow_run_resource = {"flow_run", "flow_run", flow_run_fields, COUNT_OF(flow_run_fields), sizeof(struct flow_run), .sql = &flow_run_sql};

static const struct field task_run_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct task_run, name), dflt, more, doc, __VA_ARGS__},
#include "model/task_run.def"
#undef FIELD
};
static struct resource_sql task_run_sql;
const struct resource task_run_resource = {"task_run", "task_run", task_run_fields, COUNT_OF(task_run_fields), sizeof(struct task_run), .sql = &task_run_sql};

static const struct field deployment_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct deployment, name), dflt, more, doc, __VA_ARGS__},
#include "model/deployment.def"
#undef FIELD
};
static struct resource_sql deployment_sql;
const struct resource deployment_resource = {"deployment", "deployment", deployment_fields, COUNT_OF(deployment_fields), sizeof(struct deployment), .sql = &deployment_sql};

static const struct field deployment_schedule_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct deployment_schedule, name), dflt, more, doc, __VA_ARGS__},
#include "model/deployment_schedule.def"
#undef FIELD
};
static struct resource_sql deployment_schedule_sql;
const struct resource deployment_schedule_resource = {"deployment_schedule", "deployment_schedule", deployment_schedule_fields, COUNT_OF(deployment_schedule_fields), sizeof(struct deployment_schedule), .sql = &deployment_schedule_sql};

static const struct field work_pool_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct work_pool, name), dflt, more, doc, __VA_ARGS__},
#include "model/work_pool.def"
#undef FIELD
};
static struct resource_sql work_pool_sql;
const struct resource work_pool_resource = {"work_pool", "work_pool", work_pool_fields, COUNT_OF(work_pool_fields), sizeof(struct work_pool), .sql = &work_pool_sql};

static const struct field work_queue_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct work_queue, name), dflt, more, doc, __VA_ARGS__},
#include "model/work_queue.def"
#undef FIELD
};
static struct resource_sql work_queue_sql;
const struct resource work_queue_resource = {"work_queue", "work_queue", work_queue_fields, COUNT_OF(work_queue_fields), sizeof(struct work_queue), .sql = &work_queue_sql};

static const struct field worker_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct worker, name), dflt, more, doc, __VA_ARGS__},
#include "model/worker.def"
#undef FIELD
};
static struct resource_sql worker_sql;
const struct resource worker_resource = {"worker", "worker", worker_fields, COUNT_OF(worker_fields), sizeof(struct worker), .sql = &worker_sql};

static const struct field variable_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct variable, name), dflt, more, doc, __VA_ARGS__},
#include "model/variable.def"
#undef FIELD
};
static struct resource_sql variable_sql;
const struct resource variable_resource = {"variable", "variable", variable_fields, COUNT_OF(variable_fields), sizeof(struct variable), .sql = &variable_sql};

static const struct field concurrency_limit_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct concurrency_limit, name), dflt, more, doc, __VA_ARGS__},
#include "model/concurrency_limit.def"
#undef FIELD
};
static struct resource_sql concurrency_limit_sql;
const struct resource concurrency_limit_resource = {"concurrency_limit", "concurrency_limit_v2", concurrency_limit_fields, COUNT_OF(concurrency_limit_fields), sizeof(struct concurrency_limit), .sql = &concurrency_limit_sql};

static const struct field flow_run_input_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct flow_run_input, name), dflt, more, doc, __VA_ARGS__},
#include "model/flow_run_input.def"
#undef FIELD
};
static struct resource_sql flow_run_input_sql;
const struct resource flow_run_input_resource = {"flow_run_input", "flow_run_input", flow_run_input_fields, COUNT_OF(flow_run_input_fields), sizeof(struct flow_run_input), .ignore_unknown = true, .sql = &flow_run_input_sql};

static const struct field log_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct log, name), dflt, more, doc, __VA_ARGS__},
#include "model/log.def"
#undef FIELD
};
static struct resource_sql log_sql;
const struct resource log_resource = {"log", "log", log_fields, COUNT_OF(log_fields), sizeof(struct log), .sql = &log_sql};

static const struct field block_type_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct block_type, name), dflt, more, doc, __VA_ARGS__},
#include "model/block_type.def"
#undef FIELD
};
static struct resource_sql block_type_sql;
const struct resource block_type_resource = {"block_type", "block_type", block_type_fields, COUNT_OF(block_type_fields), sizeof(struct block_type), .sql = &block_type_sql};

static const struct field block_schema_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct block_schema, name), dflt, more, doc, __VA_ARGS__},
#include "model/block_schema.def"
#undef FIELD
};
static struct resource_sql block_schema_sql;
const struct resource block_schema_resource = {"block_schema", "block_schema", block_schema_fields, COUNT_OF(block_schema_fields), sizeof(struct block_schema), .sql = &block_schema_sql};

static const struct field block_document_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct block_document, name), dflt, more, doc, __VA_ARGS__},
#include "model/block_document.def"
#undef FIELD
};
static struct resource_sql block_document_sql;
const struct resource block_document_resource = {"block_document", "block_document", block_document_fields, COUNT_OF(block_document_fields), sizeof(struct block_document), .sql = &block_document_sql};

static const struct field artifact_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct artifact, name), dflt, more, doc, __VA_ARGS__},
#include "model/artifact.def"
#undef FIELD
};
static struct resource_sql artifact_sql;
const struct resource artifact_resource = {"artifact", "artifact", artifact_fields, COUNT_OF(artifact_fields), sizeof(struct artifact), .sql = &artifact_sql, .settle = settle_artifact};

static const struct field artifact_collection_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct artifact_collection, name), dflt, more, doc, __VA_ARGS__},
#include "model/artifact_collection.def"
#undef FIELD
};
static struct resource_sql artifact_collection_sql;
const struct resource artifact_collection_resource = {"artifact_collection", "artifact_collection", artifact_collection_fields, COUNT_OF(artifact_collection_fields), sizeof(struct artifact_collection), .sql = &artifact_collection_sql};

static const struct field saved_search_filter_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct saved_search_filter, name), dflt, more, doc, __VA_ARGS__},
#include "model/saved_search_filter.def"
#undef FIELD
};
static struct resource_sql saved_search_filter_sql;
const struct resource saved_search_filter_shape = {"saved_search_filter", NULL, saved_search_filter_fields, COUNT_OF(saved_search_filter_fields), sizeof(struct saved_search_filter), .sql = &saved_search_filter_sql, .ignore_unknown = true};

/* The filters' known keys, and nothing else. */
static void settle_saved_search(struct arena *a, void *rec, struct violations *v)
{
    struct saved_search *search = rec;
    struct err err;
    const struct json *list = search->filters.p ? json_parse(a, search->filters, &err) : NULL;
    if (!json_is(list, JSON_ARRAY))
        return;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    Str before = violations_enter(v, STR("filters"));
    for (size_t i = 0; i < list->array.n; i++) {
        struct saved_search_filter filter;
        Str list_prefix = violations_enter_item(v, i);
        record_init(&saved_search_filter_shape, &filter);
        record_parse(a, &saved_search_filter_shape, 0, &list->array.items[i], &filter, v);
        shape_print(&w, &saved_search_filter_shape, &filter);
        v->prefix = list_prefix;
    }
    v->prefix = before;
    jw_end(&w);
    search->filters = str_dup(a, buf_view(&b));
}

static const struct field saved_search_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct saved_search, name), dflt, more, doc, __VA_ARGS__},
#include "model/saved_search.def"
#undef FIELD
};
static struct resource_sql saved_search_sql;
const struct resource saved_search_resource = {"saved_search", "saved_search", saved_search_fields, COUNT_OF(saved_search_fields), sizeof(struct saved_search), .sql = &saved_search_sql, .settle = settle_saved_search};

static const struct field notification_policy_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct notification_policy, name), dflt, more, doc, __VA_ARGS__},
#include "model/notification_policy.def"
#undef FIELD
};
static struct resource_sql notification_policy_sql;
const struct resource notification_policy_resource = {"notification_policy", "flow_run_notification_policy", notification_policy_fields, COUNT_OF(notification_policy_fields), sizeof(struct notification_policy), .sql = &notification_policy_sql};

static const struct field event_trigger_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct event_trigger, name), dflt, more, doc, __VA_ARGS__},
#include "model/event_trigger.def"
#undef FIELD
};
static struct resource_sql event_trigger_sql;
const struct resource event_trigger_shape = {"event_trigger", NULL, event_trigger_fields, COUNT_OF(event_trigger_fields), sizeof(struct event_trigger), .sql = &event_trigger_sql, .ignore_unknown = true};

static const struct field compound_trigger_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct compound_trigger, name), dflt, more, doc, __VA_ARGS__},
#include "model/compound_trigger.def"
#undef FIELD
};
static struct resource_sql compound_trigger_sql;
const struct resource compound_trigger_shape = {"compound_trigger", NULL, compound_trigger_fields, COUNT_OF(compound_trigger_fields), sizeof(struct compound_trigger), .sql = &compound_trigger_sql, .ignore_unknown = true};

static const struct field sequence_trigger_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct sequence_trigger, name), dflt, more, doc, __VA_ARGS__},
#include "model/sequence_trigger.def"
#undef FIELD
};
static struct resource_sql sequence_trigger_sql;
const struct resource sequence_trigger_shape = {"sequence_trigger", NULL, sequence_trigger_fields, COUNT_OF(sequence_trigger_fields), sizeof(struct sequence_trigger), .sql = &sequence_trigger_sql, .ignore_unknown = true};

static const struct field action_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct action, name), dflt, more, doc, __VA_ARGS__},
#include "model/action.def"
#undef FIELD
};
static struct resource_sql action_sql;
const struct resource action_shape = {"action", NULL, action_fields, COUNT_OF(action_fields), sizeof(struct action), .sql = &action_sql, .ignore_unknown = true};

static const struct field automation_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct automation, name), dflt, more, doc, __VA_ARGS__},
#include "model/automation.def"
#undef FIELD
};
static struct resource_sql automation_sql;
const struct resource automation_resource = {"automation", "automation", automation_fields, COUNT_OF(automation_fields), sizeof(struct automation), .sql = &automation_sql};

static const struct field deployment_flow_run_fields[] = {
#define FIELD(type, name, flags, dflt, more, doc, ...)                                                  \
    {#name, F_##type, flags, offsetof(struct deployment_flow_run, name), dflt, more, doc, __VA_ARGS__},
#include "model/deployment_flow_run.def"
#undef FIELD
};
const struct resource deployment_flow_run_resource = {"deployment_flow_run", NULL, deployment_flow_run_fields,
                                                      COUNT_OF(deployment_flow_run_fields), sizeof(struct deployment_flow_run)};
