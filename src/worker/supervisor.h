/* worker/supervisor.h: the small process beside a run that outlives server and worker.
 *
 * `millpond supervise DIR` takes what to do from DIR/spec.json (run_dir.h): prepares the environment, starts the command
 * (plainly, or in a sandbox), reads its output into the run's log, keeps its time limit, ends it with all that it
 * started, and reports the end until it is heard; then the directory goes away.
 *
 * Signals: SIGUSR1 cancels (the run becomes CANCELLED), SIGTERM and SIGINT stop it (CRASHED, unless the run is being
 * cancelled anyway). `supervise --report DIR` starts nothing: it takes over from a supervisor that died, reports the last it
 * wrote down, or that the run was lost. */
#pragma once

/* argv[1] is the directory. The exit status: 0 once all is heard, 1 where it cannot even begin. */
int supervisor_main(int argc, char **argv);
