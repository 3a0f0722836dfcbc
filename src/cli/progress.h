/* cli/progress.h: something takes a while.
 *
 * A step with a name is a line that moves on a terminal, and one plain line otherwise. A bar of many steps, and the wait for an
 * answer, show themselves after a second, on standard error where that is a terminal, and leave nothing behind. */
#pragma once
#include "cli/cli.h"

struct progress;

/* Shows `text` and begins. NULL is accepted by the others and shows nothing. */
struct progress *progress_begin(struct cli *x, Str text);
/* Something happened, or some time went by. */
void progress_tick(struct progress *p);
/* Another text from now on. */
void progress_text(struct progress *p, Str text);
/* Leaves the text as a line of its own. */
void progress_end(struct progress *p);

/* `total` steps to do, of which `done` are: call it before each. It is gone with the last (done == total), and with any message. */
void progress_steps(struct cli *x, const char *what, size_t done, size_t total);
/* The wait for an answer, as client_options has it; `user` is the struct cli. */
void progress_waiting(void *user, Dur waited);
void progress_answered(struct cli *x);
/* Takes away what these have drawn. */
void progress_clear(struct cli *x);
