/* cli/python.h: the Python beside us: what only it can do, because it reads people's code. */
#pragma once
#include "cli/cli.h"

/* The interpreter: the setting python (MILLPOND_PYTHON), else python3. */
Str python_program(struct cli *x);
/* What the settings say, put into this process's environment under the names that the Python side reads. */
void python_environment(struct cli *x);
/* 0 where the interpreter has the module; ERR_NOT_FOUND with what to do. */
NODISCARD int python_has(struct cli *x, const char *module, struct err *err);
/* A command's `run`: hands the command with all that was given over to the Python package's own. Comes back only where it cannot. */
NODISCARD int python_hand_over(struct cli *x, struct err *err);
