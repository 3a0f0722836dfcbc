/* api/handlers.h: every handler of routes.def, and what several of them share. */
#pragma once
#include "api/call.h"
#include "schema/hydrate.h"
#include "services/scheduler.h"
#include "store/merge.h"

#define ROUTE(method, path, handler, ...) call_handler handler;
#include "api/routes.def"
#undef ROUTE

/* `prefect.<kind>.<what>` with the resource's id and name; payload JSON or STR_NONE for {}. */
void event_resource_changed(struct call *c, const char *kind, const char *what, Uuid id, Str name, Str payload);
/* Deletes what the filter of the body finds (limit 50 at most): {"deleted": [ids]}. `one` returns 1, 0 or -1. */
NODISCARD int bulk_delete(struct call *c, const struct listing *l, int (*one)(struct call *c, Uuid id, struct err *err), struct err *err);

/* A flow run as FlowRunResponse; the row is one of flow_run_listing. */
int flow_run_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err);
/* Its members without the braces; `state` NULL: null. */
void flow_run_print_fields(struct call *c, const struct flow_run *run, const struct state *state, Uuid pool_id, Str pool_name);
/* Reads it anew and prints it: 1, 0, -1. */
NODISCARD int flow_run_print_by_id(struct call *c, Uuid id, struct err *err);
/* Inserts a run whose fields are set (id, times and name are filled in) and gives it its first state `state` by force. 1: made; 0: a run of this
 * idempotency key was there: *run is it; -1. */
NODISCARD int flow_run_insert(struct call *c, struct flow_run *run, const struct state *state, struct err *err);
/* ERR_CONFLICT where there is no such object, which the body's `key` names; a nil id names none and is fine. */
NODISCARD int call_refers(struct call *c, const char *key, const struct resource *to, Uuid id, struct err *err);
/* Task runs are about to be deleted: flow runs that were started from them stay, and are nobody's then. `tasks` is a SELECT of the
 * task runs' ids, with $1 the id. */
NODISCARD int subflows_release(struct call *c, const char *tasks, Uuid id, struct err *err);
/* parameters over LIMIT_PARAMETERS: a violation. */
void parameters_check(struct call *c, Str parameters);
/* Who makes this, from Prefect-Automation-* headers; STR_NONE: nobody named. */
Str created_by_header(struct call *c);
/* The variables and block documents of this call's workspace, for schema/hydrate.h. */
struct hydrate_context call_hydrate_context(struct call *c);
/* A task run as the API's TaskRun; the row is one of task_run_listing. */
int task_run_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err);
/* Its members without the braces; `state` NULL: null. */
void task_run_print_fields(struct call *c, const struct task_run *run, const struct state *state);
/* This call's connection, clock and outbox for services/scheduler.h. */
struct scheduling call_scheduling(struct call *c);
