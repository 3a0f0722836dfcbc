/* services/upkeep.h: what a workspace's telemetry needs done in the background: after a start, the events that a crash kept
 * from being stored; then, now and again, the end of what is old. */
#pragma once
#include "services/workspace.h"

struct upkeep;
NODISCARD struct upkeep *upkeep_start(struct workspace *ws, struct err *err);
/* Before the databases are closed. NULL is accepted. */
void upkeep_stop(struct upkeep *u);

/* Emits anew the events of flow runs' states younger than the mark (events/store.h) less a margin and older than `until`, where
 * they are not stored. *ret_told: how many. `stop` (may be NULL) ends it early. */
NODISCARD int upkeep_tell_again(struct workspace *ws, Time until, const bool *stop, size_t *ret_told, struct err *err);
