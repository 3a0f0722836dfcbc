/* services/task_queues.h: background task runs (`.delay()`) that wait for a task worker: two queues a task key, in memory.
 *
 * The table is the truth: what waits there is read at the start, and looked for again while a worker stands idle, so that
 * a run that came through another server, found no room here, or was taken by a worker that died before it began, is
 * handed out (again). A run that two workers get is begun by one: the state rules refuse the other. */
#pragma once
#include "services/workspace.h"

struct task_queues;
struct task_worker;

/* Uses ws->db and ws->loop; reads what waits. */
NODISCARD struct task_queues *task_queues_start(struct workspace *ws, struct err *err);
/* When no worker is connected any more; before the database is closed and the loop ended. NULL is accepted. */
void task_queues_stop(struct task_queues *q);
/* Runs that entered SCHEDULED, in their order; before their write is answered, so that who asks for a run after that answer finds them
 * in their places. Any thread; the texts are copied. */
void task_queues_add(struct task_queues *q, const struct task_scheduled *runs, size_t n);

/* The following on the loop's thread. A worker gets one run at a time: `run` is called once for each task_worker_next, in
 * it or later. Its keys' queues are looked at in the order given, runs that are tried again first. */
struct task_worker *task_worker_join(struct task_queues *q, const Str *keys, size_t n, Str client_id,
                                     void (*run)(void *user, Uuid id), void *user);
void task_worker_next(struct task_worker *w);
/* The run it was given: taken (the worker has it), or not to be handed out at all. */
void task_worker_taken(struct task_worker *w);
/* A run that was given and not taken goes to the front again, for another. */
void task_worker_leave(struct task_worker *w);

/* [{"identifier", "task_keys", "timestamp"}] of the connected workers that serve one of `keys` (n 0: all). Any thread. */
void task_workers_print(struct task_queues *q, struct jw *w, const Str *keys, size_t n);
