/* worker/control.h: telling a run's engine why it is about to be stopped.
 *
 * The 3.x client takes SIGTERM for a crash, and says so to the API, unless its supervisor has told it before that the run is being
 * cancelled: it connects to PREFECT__CONTROL_PORT on 127.0.0.1, sends the line PREFECT__CONTROL_TOKEN, and answers the
 * byte 'c' with 'a'. A client that never connects (2.x, another command) is stopped all the same. */
#pragma once
#include "worker/infra.h"

struct control {
    int listener; /* -1: none */
    int fd;       /* the engine's connection, -1: none */
    bool known;   /* it has sent the token */
    size_t n;
    char got[80];
    char token[33];
};

/* Listens on 127.0.0.1, any port, and sets the two variables in `env`. Where it fails the run goes without. */
void control_open(struct control *c, struct arena *a, EnvVars *env);
/* For a listener that is made elsewhere (inside a sandbox) and put into c->listener then. */
void control_prepare(struct control *c, int port, struct arena *a, EnvVars *env);
/* What to poll for reading; -1: nothing. To be called again after each control_step. */
int control_poll(const struct control *c);
/* Accepts, or reads the token. */
void control_step(struct control *c);
/* Says that the run is being cancelled; waits at most a second for the engine to have heard. */
void control_cancel(struct control *c);
void control_close(struct control *c);
