/* model/all.h: the resources as structs; their fields stand in the .def files (see record.h). */
#pragma once
#include "model/record.h"

/* In the order of the API's enum; the mask of a type is 1 << its number. */
enum state_type {
    STATE_SCHEDULED,
    STATE_PENDING,
    STATE_RUNNING,
    STATE_COMPLETED,
    STATE_FAILED,
    STATE_CANCELLED,
    STATE_CRASHED,
    STATE_PAUSED,
    STATE_CANCELLING,
    STATE_COUNT,
};
extern const char *const state_type_names[]; /* ends in NULL */
/* -1: none of them (also for no state). */
int state_type_of(Str name);
Str state_type_text(enum state_type t);
#define STATE_BIT(t) (1u << (t))
#define STATES_TERMINAL (STATE_BIT(STATE_COMPLETED) | STATE_BIT(STATE_FAILED) | STATE_BIT(STATE_CANCELLED) | STATE_BIT(STATE_CRASHED))

extern const char *const retry_type_names[], *const collision_strategy_names[], *const deployment_status_names[],
    *const work_pool_status_names[], *const work_queue_status_names[], *const worker_status_names[], *const trigger_postures[],
    *const action_sources[];


struct flow {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/flow.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) flow__##name,
#include "model/flow.def"
#undef FIELD
};
extern const struct resource flow_resource;

struct state_details {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/state_details.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) state_details__##name,
#include "model/state_details.def"
#undef FIELD
};
extern const struct resource state_details_shape;

struct state {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/state.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) state__##name,
#include "model/state.def"
#undef FIELD
};
extern const struct resource state_resource;
/* SQL of a state's data, `of` being its table's name and a dot, or "". */
#define STATE_DATA(of) "coalesce(" of "data, (SELECT artifact.data FROM artifact WHERE artifact.id = " of "result_artifact_id))"

struct flow_run_policy {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/flow_run_policy.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) flow_run_policy__##name,
#include "model/flow_run_policy.def"
#undef FIELD
};
extern const struct resource flow_run_policy_shape;

struct task_run_policy {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/task_run_policy.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) task_run_policy__##name,
#include "model/task_run_policy.def"
#undef FIELD
};
extern const struct resource task_run_policy_shape;

struct created_by {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/created_by.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) created_by__##name,
#include "model/created_by.def"
#undef FIELD
};
extern const struct resource created_by_shape;

struct flow_run {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/flow_run.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) flow_run__##name,
#include "model/flow_run.def"
#undef FIELD
};
extern const struct resource flow_run_resource;

struct task_run {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/task_run.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) task_run__##name,
#include "model/task_run.def"
#undef FIELD
};
extern const struct resource task_run_resource;

struct concurrency_options {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/concurrency_options.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) concurrency_options__##name,
#include "model/concurrency_options.def"
#undef FIELD
};
extern const struct resource concurrency_options_shape;

struct deployment {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/deployment.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) deployment__##name,
#include "model/deployment.def"
#undef FIELD
};
extern const struct resource deployment_resource;

struct deployment_schedule {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/deployment_schedule.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) deployment_schedule__##name,
#include "model/deployment_schedule.def"
#undef FIELD
};
extern const struct resource deployment_schedule_resource;

struct work_pool_storage {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/work_pool_storage.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) work_pool_storage__##name,
#include "model/work_pool_storage.def"
#undef FIELD
};
extern const struct resource work_pool_storage_shape;

struct work_pool {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/work_pool.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) work_pool__##name,
#include "model/work_pool.def"
#undef FIELD
};
extern const struct resource work_pool_resource;

struct queue_filter {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/queue_filter.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) queue_filter__##name,
#include "model/queue_filter.def"
#undef FIELD
};
extern const struct resource queue_filter_shape;

struct work_queue {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/work_queue.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) work_queue__##name,
#include "model/work_queue.def"
#undef FIELD
};
extern const struct resource work_queue_resource;

struct worker {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/worker.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) worker__##name,
#include "model/worker.def"
#undef FIELD
};
extern const struct resource worker_resource;

struct variable {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/variable.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) variable__##name,
#include "model/variable.def"
#undef FIELD
};
extern const struct resource variable_resource;

struct concurrency_limit {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/concurrency_limit.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) concurrency_limit__##name,
#include "model/concurrency_limit.def"
#undef FIELD
};
extern const struct resource concurrency_limit_resource;

struct flow_run_input {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/flow_run_input.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) flow_run_input__##name,
#include "model/flow_run_input.def"
#undef FIELD
};
extern const struct resource flow_run_input_resource;

struct log {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/log.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) log__##name,
#include "model/log.def"
#undef FIELD
};
extern const struct resource log_resource;

struct block_type {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/block_type.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) block_type__##name,
#include "model/block_type.def"
#undef FIELD
};
extern const struct resource block_type_resource;

struct block_schema {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/block_schema.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) block_schema__##name,
#include "model/block_schema.def"
#undef FIELD
};
extern const struct resource block_schema_resource;

struct block_document {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/block_document.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) block_document__##name,
#include "model/block_document.def"
#undef FIELD
};
extern const struct resource block_document_resource;

struct artifact {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/artifact.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) artifact__##name,
#include "model/artifact.def"
#undef FIELD
};
extern const struct resource artifact_resource;

struct artifact_collection {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/artifact_collection.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) artifact_collection__##name,
#include "model/artifact_collection.def"
#undef FIELD
};
extern const struct resource artifact_collection_resource;

struct saved_search_filter {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/saved_search_filter.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) saved_search_filter__##name,
#include "model/saved_search_filter.def"
#undef FIELD
};
extern const struct resource saved_search_filter_shape;

struct saved_search {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/saved_search.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) saved_search__##name,
#include "model/saved_search.def"
#undef FIELD
};
extern const struct resource saved_search_resource;

struct notification_policy {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/notification_policy.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) notification_policy__##name,
#include "model/notification_policy.def"
#undef FIELD
};
extern const struct resource notification_policy_resource;

struct event_trigger {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/event_trigger.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) event_trigger__##name,
#include "model/event_trigger.def"
#undef FIELD
};
extern const struct resource event_trigger_shape;

struct compound_trigger {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/compound_trigger.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) compound_trigger__##name,
#include "model/compound_trigger.def"
#undef FIELD
};
extern const struct resource compound_trigger_shape;

struct sequence_trigger {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/sequence_trigger.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) sequence_trigger__##name,
#include "model/sequence_trigger.def"
#undef FIELD
};
extern const struct resource sequence_trigger_shape;

struct action {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/action.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) action__##name,
#include "model/action.def"
#undef FIELD
};
extern const struct resource action_shape;

struct automation {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/automation.def"
#undef FIELD
};
enum {
#define FIELD(type, name, flags, dflt, more, doc, ...) automation__##name,
#include "model/automation.def"
#undef FIELD
};
extern const struct resource automation_resource;

struct deployment_flow_run {
    FieldSet set;
#define FIELD(type, name, flags, dflt, more, doc, ...) C_##type name;
#include "model/deployment_flow_run.def"
#undef FIELD
};
extern const struct resource deployment_flow_run_resource; /* a request only: no table */
