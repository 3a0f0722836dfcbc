/* worker/infra.h: where a run's process lives: the one seam between the worker and what it starts.
 *
 * A driver serves one type of work pool. The worker claims a run, resolves its pool's template and hands both
 * to the driver; what comes back is a text, the infrastructure identifier, that the API keeps with the run and
 * that is all a later call (from another worker, after a restart) has to go by.
 *
 * Two kinds. A *supervised* driver (process, managed) starts a supervisor that watches its run, ends it and
 * reports by itself: `watch` and `cleanup` are NULL. Any other driver (containers, clouds) is asked by the worker:
 * watch until it says INFRA_ENDED or INFRA_GONE, then cleanup.
 *
 * Calls block (HTTP, fork) and come from any of the worker's threads, never two at once for one run. They are
 * safe to repeat: a crash may come between any two. */
#pragma once
#include "http/client.h"

/* What a driver may know of the worker it runs in: the same for all calls, never changes. */
struct infra_host {
    Str home;                  /* $MILLPOND_HOME */
    Str exe;                   /* our own program: `exe supervise DIR` */
    Str host_name;             /* first part of "host:pid" identifiers */
    Str worker_name;
    struct client_options api; /* how a run reaches the API */
};

struct infra_context {
    struct arena *a;   /* of this call */
    struct client *api; /* the calling thread's own */
    const struct infra_host *host;
};

struct env_var {
    Str name, value;
};
typedef VEC(struct env_var) EnvVars;
/* Adds or replaces; a STR_NONE value takes the name away. */
void env_set(struct arena *a, EnvVars *env, Str name, Str value);
Str env_get(const EnvVars *env, Str name); /* STR_NONE where absent */
/* Remembers that a name is to be taken away from whatever this list is laid over: a value STR_NONE that stays. */
void env_unset(struct arena *a, EnvVars *env, Str name);

/* A claimed run. */
struct infra_run {
    Uuid id;
    Uuid claim_state;              /* the PENDING state by which it is ours */
    Str name;
    Str pool_name, pool_type;
    const struct json *flow_run;   /* as the API has them; deployment may be NULL */
    const struct json *deployment;
    const struct json *config;     /* the pool's job_configuration, resolved */
    EnvVars env;                   /* PREFECT__FLOW_RUN_ID, API address …, then the configuration's own; see env_unset */
};

enum infra_phase {
    INFRA_STARTING,
    INFRA_RUNNING,
    INFRA_ENDED, /* exit_code and message hold */
    INFRA_GONE,  /* nobody knows it any more */
};

struct infra_status {
    enum infra_phase phase;
    int exit_code;
    Str message;    /* what to say beside a non-zero exit; STR_NONE: the usual explanation */
    Dur look_again; /* when to ask next */
};

struct infra_driver {
    const char *type; /* the pool's type; ":suffix" stands for all that end so */
    bool supervised;
    /* Can this machine (or account) serve such pools at all? -1 says what is missing. `notes` takes lines about
     * what is weaker than it should be. Called at start, and again when a pool is met. */
    int (*probe)(struct infra_context *cx, struct buf *notes, struct err *err);
    /* Is this configuration acceptable? Before submit; nothing is started. */
    int (*check)(struct infra_context *cx, const struct infra_run *run, struct err *err);
    int (*submit)(struct infra_context *cx, const struct infra_run *run, Str *ret_identifier, struct err *err);
    int (*watch)(struct infra_context *cx, const struct infra_run *run, Str identifier, struct infra_status *ret,
                 struct err *err);
    /* Stops it: gently, after `grace` by force. ERR_NOT_FOUND: it is gone (as good as done);
     * ERR_FORBIDDEN: it is not this machine's. A supervised driver comes back at once; its supervisor reports CANCELLED. */
    int (*cancel)(struct infra_context *cx, Uuid flow_run_id, Str identifier, Dur grace, struct err *err);
    int (*cleanup)(struct infra_context *cx, const struct infra_run *run, Str identifier, struct err *err);
};

/* NULL where no driver serves the type. */
const struct infra_driver *infra_find(Str pool_type);

extern const struct infra_driver infra_process;
extern const struct infra_driver infra_docker;
extern const struct infra_driver infra_managed;
