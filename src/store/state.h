/* store/state.h: states of flow runs and task runs in their tables, and as JSON.
 *
 * A state row never changes and its id is always ours; a run's row points at its current one. */
#pragma once
#include "model/all.h"

enum run_kind { FLOW_RUN, TASK_RUN };

/* A state row under run `run_id`; data that says {"type":"unpersisted"}, or that result_artifact_id has, is not stored here. 1; 0 where the run has a
 * state of that instant (flow runs) or that very state (task runs); -1. */
NODISCARD int state_insert(struct conn *c, enum run_kind kind, Uuid run_id, const struct state *s, struct err *err);
/* The run's state of this id: 1, 0, -1. */
NODISCARD int state_find(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, Uuid state_id, struct state *ret, struct err *err);
/* The same by the table's primary key: `at` is the run's state_timestamp. */
NODISCARD int state_find_at(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, Time at, Uuid state_id, struct state *ret, struct err *err);
/* By id alone; ret_run may be NULL. */
NODISCARD int state_by_id(struct conn *c, struct arena *a, enum run_kind kind, Uuid state_id, struct state *ret, Uuid *ret_run, struct err *err);
/* All of a run, oldest first. */
typedef VEC(struct state) StateList;
NODISCARD int state_list(struct conn *c, struct arena *a, enum run_kind kind, Uuid run_id, StateList *ret, struct err *err);
/* The state in the seven columns "id, type, name, timestamp, message, data, state_details" from `first` on; texts copied into `a`.
 * False where they are NULL (a run without a state, of an outer join). */
bool state_load(struct arena *a, struct stmt *q, int first, struct state *ret);

/* Reads a StateCreate body. The id and timestamp that 2.x clients send are checked and passed over: every state gets an id of
 * ours and `now`. The name defaults to the type's; a SCHEDULED state without scheduled_time gets `now`. */
void state_parse(struct arena *a, const struct json *body, Time now, struct state *ret, struct violations *v);
/* A new state: id, timestamp now, name the type's where `name` is STR_NONE. */
struct state state_new(enum state_type type, Str name, Str message, Time now);
/* "Scheduled", "Pending" … */
Str state_type_title(enum state_type type);
void state_print(struct jw *w, const struct state *s); /* as an object with every key; NULL: null */
/* Its details, as a struct and back (only what differs from the defaults is stored). */
void state_details_get(struct arena *a, const struct state *s, struct state_details *ret);
void state_details_put(struct arena *a, struct state *s, const struct state_details *d);

/* What a state's data says about the result. */
enum state_data {
    DATA_NONE,        /* null, or nothing that names a result: not an object, or an empty one */
    DATA_UNPERSISTED, /* {"type":"unpersisted"}: the result is in no storage */
    DATA_PERSISTED,   /* any other object: where the result is */
};
enum state_data state_data_kind(Str data);
