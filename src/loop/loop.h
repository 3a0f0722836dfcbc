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
/* Asks the loop to end, waits for its thread, frees it. Posted calls that came before are run. */
void loop_stop(struct loop *l);
/* Runs fn(arg) on the loop's thread, in order of posting. Any thread. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
struct uv_loop_s *loop_uv(struct loop *l);
bool loop_is_here(const struct loop *l); /* on its own thread? */
