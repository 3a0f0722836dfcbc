/* events/recorder.h: task runs of 3.x clients, which arrive as events (semantics.md 10). */
#pragma once
#include "services/workspace.h"

struct recorder;
NODISCARD struct recorder *recorder_start(struct workspace *ws, struct err *err);
/* Waits for what it was given. */
void recorder_stop(struct recorder *r);
/* Takes those of the events that tell of task runs, in order. `done` (may be NULL) is called once they are on disk or given up. Any thread. */
void recorder_add(struct recorder *r, const struct event *events, size_t n, db_done *done, void *arg);
