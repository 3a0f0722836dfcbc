/* cli/runs.h: flow runs: finding one, following it, its log lines. */
#pragma once
#include "cli/cli.h"

/* A run by id, or by name where one run alone has it. */
NODISCARD int run_find(struct cli *x, Str id_or_name, const struct json **ret, struct err *err);
bool state_is_final(Str type);
const char *state_style(Str type);

/* Proposes a state (JSON); ERR_CONFLICT with the server's reason where it is not taken. */
NODISCARD int run_set_state(struct cli *x, Str id, Str state, bool force, struct err *err);
/* Runs it here and now, in a child that is watched: cancelled where it is cancelled, and reported where it dies. `entrypoint`
 * (path.py:function): instead of its deployment's, in this folder; STR_NONE: the deployment's, in an empty one. Its exit status. */
NODISCARD int run_execute(struct cli *x, const struct json *run, Str entrypoint, struct err *err);

/* The commands' functions; their rows are with those of their groups. */
NODISCARD int flow_run_ls(struct cli *x, struct err *err);
NODISCARD int task_run_ls(struct cli *x, struct err *err);

/* Reads a run's log records as they come, each once, also those that arrive late. */
struct log_reader {
    Str run_id;
    struct arena *a; /* of what was seen */
    struct map seen;
    Time last;
};
/* The new ones, oldest first, in x->a. */
NODISCARD int log_reader_next(struct cli *x, struct log_reader *r, struct items *ret, struct err *err);
/* "YYYY-MM-DD HH:MM:SS.mmm | LEVEL   | Flow run 'name' - message". */
void log_line(struct cli *x, const char *kind, Str name, const struct json *record);

/* What a follower prints. */
enum watch_style { WATCH_ALL /* states and logs */, WATCH_LOGS /* log lines alone */, WATCH_NOTHING /* only waits */ };
/* Follows a run until it is final and its last logs are there, or `timeout` (0: none) is over (ERR_BUSY). The run as it
 * is then. */
NODISCARD int watch_run(struct cli *x, const struct json *run, enum watch_style style, Dur timeout, const struct json **ret,
                        struct err *err);
