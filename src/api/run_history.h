/* api/run_history.h: what is computed of a run, as SQL: whole µs of the run in `table` at `now`. */
#pragma once
#include "api/handlers.h"

void sql_estimated_run_time(struct sql *q, const char *table, Time now);
void sql_estimated_lateness(struct sql *q, const char *table, Time now);
