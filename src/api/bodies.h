/* api/bodies.h: what a request holds and what is answered, in the words that routes.def uses.
 *
 * `struct asks` says how a body is read: as a view of a resource, as filters of a listing, or key by key. The keys are checked
 * against their rows before the handler runs (asks_check), which then takes their values by name (call_int and its kin, which
 * know no other keys than those). `struct answers` says what the handler writes. api/openapi.c prints both. */
#pragma once
#include "model/filter.h"

struct call;

enum listing_part { FILTERS_ALONE, FILTERS_SORT_OFFSET, FILTERS_SORT_PAGE };

struct asks {
    const struct resource *keys;   /* read by name: NULL or absent keys get the row's default */
    const struct resource *record; /* `view` of it, by call_parse or call_read */
    int view;
    bool list;                     /* an array of such records */
    bool replace;                  /* an update that must hold what a create must */
    const struct listing *listing; /* its filters, and with it: */
    enum listing_part part;
    bool own_filter;               /* its own filter must be there */
    const struct field *whole;     /* the body as a whole is one value */
    const struct resource *query;  /* keys of the query */
    const struct resource *header; /* headers */
    const struct resource *path;   /* segments of the path that are no mere text or id */
};

enum answer_kind { ANSWER_NOTHING, ANSWER_NULL, ANSWER_VALUE, ANSWER_ONE, ANSWER_MANY, ANSWER_PAGE, ANSWER_MAP, ANSWER_CSV, ANSWER_TEXT };

struct answers {
    enum answer_kind kind;
    const struct resource *shape; /* of ONE, MANY, PAGE, MAP; its READ fields, or all where it is no table's */
    enum ftype type;              /* of VALUE, and of MAP without a shape */
    bool nullable;
    bool made;                    /* 201 where something was made, 200 where it was there */
};

/* Rows of the api's own: asked for, and answered. */
extern const struct resource bulk_delete_keys, bulk_set_state_keys, confirm_keys, count_events_keys, deployments_due_keys, events_filter_keys,
    flow_ids_keys, flow_run_ids_keys, give_slots_keys, heartbeat_keys, history_keys, include_secrets_keys, input_filter_keys, lease_duration_keys,
    lease_id_keys, offset_page_keys, page_keys, pool_due_keys, pool_slots_keys, queue_due_keys, result_storage_update_keys, resume_keys,
    schedule_runs_keys, set_state_keys, flow_run_set_state_keys, slot_override_keys, switch_keys, tag_limit_keys, tag_slots_keys, take_lease_keys, take_slots_keys,
    task_workers_keys, ui_history_keys, validate_keys;
extern const struct resource csrf_query, graph_query, include_secrets_query, page_token_query, states_of_flow_run_query, states_of_task_run_query,
    ui_query, version_query;
extern const struct resource countable_path;
extern const struct resource block_document_answer_resource, block_schema_answer_resource, bulk_runs_resource, bulk_states_resource,
    concurrency_limit_answer_resource, csrf_token_resource, deleted_resource, dependency_resource, deployment_answer_resource, due_run_resource,
    event_count_resource, event_page_resource, flow_run_answer_resource, graph_resource, history_interval_resource, lease_answer_resource,
    limit_minimal_resource, message_resource, next_run_resource, pool_slots_answer_resource, queue_slots_answer_resource, queue_status_resource,
    result_storage_resource, schedule_answer_resource, simple_run_resource, state_counts_resource, tag_limit_resource, task_run_answer_resource,
    task_run_counts_resource, task_worker_resource, ui_task_run_resource, validity_resource, verdict_resource, work_pool_answer_resource,
    work_queue_answer_resource, work_queue_plain_resource;
extern const struct resource lease_holder_shape; /* "holder" of take_lease_keys: struct lease */

/* The words of routes.def. */
#define NO_BODY {0}
#define CREATE_OF(r) {.record = &r##_resource, .view = CREATE}
#define CREATES_OF(r) {.record = &r##_resource, .view = CREATE, .list = true}
#define UPDATE_OF(r) {.record = &r##_resource, .view = UPDATE}
#define REPLACE_OF(r) {.record = &r##_resource, .view = UPDATE, .replace = true}
#define FILTERS_OF(l) {.listing = &l##_listing, .part = FILTERS_ALONE}
#define FILTER_OF(l) {.listing = &l##_listing, .part = FILTERS_SORT_OFFSET}
#define PAGE_OF(l) {.listing = &l##_listing, .part = FILTERS_SORT_PAGE}
#define KEYS(k) {.keys = &k##_keys}
#define KEYS_AND_FILTERS(k, l) {.keys = &k##_keys, .listing = &l##_listing, .part = FILTERS_ALONE}
#define KEYS_AND_LISTING(k, l) {.keys = &k##_keys, .listing = &l##_listing, .part = FILTERS_SORT_OFFSET}
#define WHOLE(t) {.whole = &(const struct field){.name = "body", .type = F_##t, .flags = REQUIRED}}
#define WHOLE_OR_NONE(t, none) {.whole = &(const struct field){.name = "body", .type = F_##t, .dflt = none}}
#define OWN_FILTER_OF(l) {.listing = &l##_listing, .part = FILTERS_ALONE, .own_filter = true}
#define KEYS_AND_HEADER(k, h) {.keys = &k##_keys, .header = &h##_query}
#define KEYS_AND_PATH(k, p) {.keys = &k##_keys, .path = &p##_path}
#define QUERY(k) {.query = &k##_query}
#define NOTHING {ANSWER_NOTHING}
#define NULL_ {ANSWER_NULL}
#define VALUE(t) {ANSWER_VALUE, .type = F_##t}
#define VALUE_OR_NULL(t) {ANSWER_VALUE, .type = F_##t, .nullable = true}
#define ONE(r) {ANSWER_ONE, .shape = &r##_resource}
#define MADE(r) {ANSWER_ONE, .shape = &r##_resource, .made = true}
#define MANY(r) {ANSWER_MANY, .shape = &r##_resource}
#define PAGE(r) {ANSWER_PAGE, .shape = &r##_resource}
#define MAP(t) {ANSWER_MAP, .type = F_##t}
#define MAP_OF(r) {ANSWER_MAP, .shape = &r##_resource, .nullable = true}
#define CSV {ANSWER_CSV}
#define TEXT {ANSWER_TEXT}

/* Checks the query and the keys of the body against their rows; what is wrong goes to the call's violations. */
void asks_check(struct call *c);
