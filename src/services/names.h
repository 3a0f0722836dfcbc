/* services/names.h: the index of parts of flow runs' names (SQLite; sql/migrations/main). Names are gathered, and indexed many at a
 * time: one at a time would cost each run ten times as much. A question reads those behind the mark one by one. */
#pragma once
#include "services/alarms.h"

#define NAMES_AFTER (5 * SEC) /* from a new name to its being indexed */

int tick_names(struct tick *t, struct err *err);
