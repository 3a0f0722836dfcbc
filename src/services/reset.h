/* services/reset.h: a workspace emptied, as a new one is. */
#pragma once
#include "services/workspace.h"

/* Deletes every record, event and log; the built-in block types are put in again, and the database stays sealed with the same key. `done` is
 * called once both databases are empty, or with the error; any thread. -1 where it does not even begin. */
NODISCARD int workspace_reset(struct workspace *ws, db_done *done, void *arg, struct err *err);
/* Puts in what is missing of that which a new workspace has. */
NODISCARD int workspace_complete(struct conn *c, struct arena *a, Time now, struct err *err);
