/* cli/progress.h: something takes a while: a line that moves on a terminal, one plain line otherwise. */
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
