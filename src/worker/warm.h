/* worker/warm.h: spare sandboxes in which Python has imported the client already.
 *
 * A spare is a supervisor that has no run yet (`supervise --spare HOME`): it has made the sandbox and started assets/warm.py
 * in it. Given a run's directory it becomes that run's supervisor, at the cost of a fork less, an import less. A spare serves
 * one run and no other, so that runs share nothing. Each environment that was used of late has one, started after its last was taken;
 * what is not wanted for a while goes away. They are the worker's: with it they end.
 *
 * MILLPOND_MANAGED_WARM: how many environments have one (2; 0: none). MILLPOND_MANAGED_WARM_SECONDS: how long one
 * is kept (900). Any thread. */
#pragma once
#include "worker/run_dir.h"

/* Can a spare serve it? Only what is as usual: the client's engine, nothing that Python reads at its start. */
bool warm_fits(const struct run_spec *s);
/* Hands the run's directory to a spare, ready or under way: its pid, 0 where there is none. */
int warm_take(struct arena *a, const struct run_spec *s, Str dir);
/* A spare for the next run like this one, unless there is one. */
void warm_keep(const struct infra_host *host, const struct run_spec *s);
