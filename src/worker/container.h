/* worker/container.h: a run as a container of an Engine's.
 *
 * The run's supervisor starts `millpond container DIR` in the place of the run's own process: it makes the container (image, name,
 * networks), starts it, copies what it prints to its own output and ends with its exit status; on SIGTERM it stops the container. So
 * that log, limits, cancellation and report are the supervisor's, as for any run. The container bears the run's claim as a label: with
 * --attach, after the supervisor died, it is found again by that and followed to its end; none is made a second time.
 *
 * spec.container: {"engine": address, "image", "policy", "auth": X-Registry-Auth or "", "name", "create": body of the Engine's
 * /containers/create, "networks": [further ones], "auto_remove", "stream", "grace": seconds, "claim"}. */
#pragma once
#include "worker/infra.h"
#include "worker/run_dir.h"

#define CONTAINER_LABEL "io.millpond.claim"

/* argv: "container", ["--attach",] DIR. */
int container_main(int argc, char **argv);
/* From a docker pool's configuration. */
NODISCARD int container_request(struct infra_context *cx, const struct infra_run *run, Str *ret, struct err *err);
/* For the supervisor's end: what still runs of it is killed. */
void container_end(Str request);
