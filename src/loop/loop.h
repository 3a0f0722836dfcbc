/* loop/loop.h: a thread with a libuv loop, for sockets after an upgrade, timers and children.
 *
 * All callbacks run on the loop's thread. Other threads only post. */
#pragma once
#include "base/base.h"
#include "base/err.h"

struct loop;
struct uv_loop_s;

/* Starts the thread. NULL with *err where it cannot be made. */
NODISCARD struct loop *loop_start(const char *thread_name, struct err *err);
/* Asks the loop to end, waits for its thread, frees it. Posted calls that came before are run, then what loop_at_end
 * was given; handles still open after that are closed without their owners' hearing of it. Not from its own thread. */
void loop_stop(struct loop *l);
/* Runs fn(arg) on the loop's thread, in order of posting. Any thread, its own too (then it runs later, not now). */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
/* Runs fn(arg) on the loop's thread when it ends, the latest given first. On its own thread only. */
void loop_at_end(struct loop *l, void (*fn)(void *arg), void *arg);
struct uv_loop_s *loop_uv(struct loop *l);
bool loop_is_here(const struct loop *l); /* on its own thread? */
