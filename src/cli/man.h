/* cli/man.h: manual pages from the command table. */
#pragma once
#include "cli/command.h"

/* The page of a group (or a command) that stands at the root, or of the program where `group` is NULL, in roff's man macros. */
void man_page(const struct command *root, const struct command *group, struct buf *out);
