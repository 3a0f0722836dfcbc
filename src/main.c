/* millpond: one program for all: server, workers, command line.
 *
 * A short tour. This file only says which of four lives a process leads:
 *
 *   millpond supervise DIR   a run's supervisor (worker/supervisor.h): the small process beside each local run
 *   millpond container DIR   what a supervisor starts for a run that is a container (worker/container.h)
 *   millpond help WORD…      the same as WORD… --help
 *   millpond …               everything else is a row in the command table (cli/commands.c)
 *
 * cli/command.c reads the words by that table and cli/cli.c runs the row's function, one file a group:
 *
 *   cli/cmd_server.c      `server start` → api/server_main.c: sockets (http/), routes (api/), rules (orchestration/),
 *                         one writer over the database (db/, store/), periodic duties (services/)
 *   cli/cmd_worker.c      `worker start` → worker/worker.c: claims runs and starts them (worker/infra_*.c)
 *   cli/cmd_deployment.c, cmd_flow_run.c, cmd_work_pool.c, …: clients of the API (http/client.c), nothing more
 *
 * Nothing is set up before it is needed: --help and --version answer at once. Called through a link named `prefect`, the
 * program follows that name's command line. */
#include "cli/cli.h"
#include "worker/container.h"
#include "worker/supervisor.h"

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "supervise"))
        return supervisor_main(argc - 1, argv + 1);
    if (argc > 2 && !strcmp(argv[1], "container"))
        return container_main(argc - 1, argv + 1);
    return cli_main(argc, argv);
}
