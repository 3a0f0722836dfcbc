/* worker/supervised.h: what the drivers share whose runs have a supervisor on this machine. */
#pragma once
#include "worker/run_dir.h"

/* Fills what process and managed have in common: run, command (`fallback` where the configuration names none),
 * environment, API, grace and time limit. */
NODISCARD int supervised_spec(struct infra_context *cx, const struct infra_run *run, const Str *fallback, size_t fallback_n,
                              struct run_spec *ret, struct err *err);
/* Writes the run's directory and starts its supervisor in a session of its own, or gives it to a spare (warm.h). */
NODISCARD int supervised_start(struct infra_context *cx, const struct run_spec *spec, Str *ret_identifier, struct err *err);
/* Starts a supervisor that only reports, for a directory whose own one is dead. Its pid. */
NODISCARD int supervised_report(const struct infra_host *host, Str dir, int *ret_pid, struct err *err);
/* Starts a supervisor that has no run yet; `fd` becomes its file 3. */
NODISCARD int supervised_spare(const struct infra_host *host, int fd, int *ret_pid, struct err *err);
/* Collects those of the processes started here that have ended (and no others). Any thread. */
void supervised_reap(void);
/* infra_driver.cancel of both. */
int supervised_cancel(struct infra_context *cx, Uuid flow_run_id, Str identifier, Dur grace, struct err *err);
/* "host:pid" */
bool identifier_parse(Str identifier, Str *ret_host, int *ret_pid);
