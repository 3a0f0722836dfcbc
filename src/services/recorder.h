/* services/recorder.h: task runs of 3.x clients, which arrive as events (semantics.md 10).
 *
 * Events come in any order and more than once; a run's row shows the newest of its states, and each state is kept once.
 * Events that wait are written together, one upsert a run. One whose flow run is not there (yet) is tried five more times
 * over some three seconds, then given up; its event is stored all the same. */
#pragma once
#include "services/workspace.h"

struct recorder;
NODISCARD struct recorder *recorder_start(struct workspace *ws, struct err *err);
/* Waits for what it was given; before the database is closed. NULL is accepted. */
void recorder_stop(struct recorder *r);
/* Takes those of the events that tell of task runs. `done` (may be NULL) is called once they are on disk or given up, or
 * with the database's error: on a thread of its own or the database's, or inside this call where there is nothing to
 * wait for. Any thread; never waits. */
void recorder_add(struct recorder *r, const struct event *events, size_t n, db_done *done, void *arg);

struct recorder_stats {
    uint64_t recorded, malformed, retried, given_up;
    size_t waiting;
};
struct recorder_stats recorder_stats(const struct recorder *r);
