/* worker/engine.h: a container engine's REST API (Docker's, and what speaks it), over its Unix socket or TCP. One thread. */
#pragma once
#include "http/plain.h"
#include "json/json.h"

struct engine {
    struct plain plain;
    char shown[300], socket[108];
};

/* `address` as DOCKER_HOST: "unix:///path" or "tcp://host:port"; STR_NONE: that variable, else unix:///var/run/docker.sock. */
NODISCARD int engine_open(struct engine *e, Str address, struct err *err);
void engine_close(struct engine *e); /* for AUTO too */
/* One call: 0 with the answer's status and body, -1 where none came. `headers`: lines ending in "\r\n", or "". */
NODISCARD int engine_call(struct engine *e, struct arena *a, const char *method, Str path, Str headers, Str body, Dur timeout, int *ret_status,
                          Str *ret_body, struct err *err);
/* The same where 400 and more is an error: its sentence is the Engine's. *ret (may be NULL) is NULL where the answer is no JSON. */
NODISCARD int engine_json(struct engine *e, struct arena *a, const char *method, Str path, Str body, const struct json **ret, struct err *err);
/* Does an Engine answer there? */
NODISCARD int engine_probe(Str address, struct err *err);
