/* store/state.h: states of flow runs and task runs in their tables, and as JSON. */
#pragma once
#include "model/all.h"

enum run_kind { FLOW_RUN, TASK_RUN };

/* A state row under run `run_id`. ERR_CONFLICT where the run has a state of that instant (flow runs). */
NODISCARD int state_insert(struct conn *c, enum run_kind kind, Uuid run_id, const struct state *s, struct err *err);
/* The run's state of this id: 1, 0, -1. */
NODISCARD int state_find(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, Uuid state_id, struct state *ret, struct err *err);
/* By id alone; ret_run may be NULL. */
NODISCARD int state_by_id(struct conn *c, struct arena *a, enum run_kind kind, Uuid state_id, struct state *ret, Uuid *ret_run, struct err *err);
/* From a row whose columns from `first` on are those of STATE_COLUMNS (model/filters.c); false where they are NULL. */
bool state_load(struct arena *a, struct stmt *q, int first, struct state *ret);
/* All of a run, oldest first. */
typedef VEC(struct state) StateList;
NODISCARD int state_list(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, StateList *ret, struct err *err);
/* Reads a StateCreate body (also the 2.x form with id and timestamp); name defaults to the type's, a SCHEDULED state without
 * scheduled_time gets `now`; id and timestamp are filled in. */
void state_parse(struct arena *a, const struct json *body, Time now, struct state *ret, struct violations *v);
/* A new state: id, timestamp now, name the type's where `name` is STR_NONE. */
struct state state_new(enum state_type type, Str name, Str message, Time now);
void state_print(struct jw *w, const struct state *s); /* as an object with every key; NULL: null */
/* Its details, as a struct and back (only what differs from the defaults is stored). */
void state_details_get(struct arena *a, const struct state *s, struct state_details *ret);
void state_details_put(struct arena *a, struct state *s, const struct state_details *d);
