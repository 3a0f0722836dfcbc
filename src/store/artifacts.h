/* store/artifacts.h: artifacts, and which is the newest of each key.
 *
 * artifact_collection has a row a key: a copy of the key's newest artifact. Each change of it is told by an event. */
#pragma once
#include "model/all.h"
#include "store/outbox.h"

/* Id and times are filled in. */
NODISCARD int artifact_insert(struct conn *c, struct outbox *out, Time now, struct artifact *artifact, struct err *err);
/* The fields of `change` that are set, also in the collection where it is the newest; no event. 1; 0 where there is no such artifact; -1. */
NODISCARD int artifact_update(struct conn *c, Time now, Uuid id, struct artifact *change, struct err *err);
/* The one before becomes the newest. 1; 0 where there is no such artifact; -1. */
NODISCARD int artifact_delete(struct conn *c, struct outbox *out, Time now, Uuid id, struct err *err);
/* A state's data that is to be kept (not null, not unpersisted) as an artifact of this run: its artifact_type, _key and _description are
 * taken out of the data, and the state points to it. */
NODISCARD int artifact_of_state(struct conn *c, struct outbox *out, Time now, Uuid flow_run_id, Uuid task_run_id, struct state *s, struct err *err);
