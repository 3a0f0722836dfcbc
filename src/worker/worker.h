/* worker/worker.h: from "a run is due" to "its process is started": the worker's loop.
 *
 * One process serves one pool, or (managed) every pool whose type ends in ":managed". It speaks HTTP and WebSocket
 * with the server alone, so that it serves Prefect's as well. Over a socket (wake.c) it sends its
 * heartbeats and is told of due runs and of cancellations at once; where the server has no such thing it polls.
 *
 * A main thread keeps the timers, the signals and the runs' supervisors; a few others do what blocks, a job
 * each: look for runs, claim and submit one, cancel one, say that the worker lives. A claim is made known on disk before it is
 * sent, so that a worker that dies in the middle finishes it when it comes back.
 *
 * SIGTERM or SIGINT: nothing more is claimed, what is claimed is submitted, then it returns. The runs go on. */
#pragma once
#include "worker/infra.h"

struct worker_options {
    Str pool;                    /* name; unused where managed */
    Str type;                    /* of a pool that is to be created; STR_NONE: "process" */
    Str name;                    /* STR_NONE: "<type> <uuid>" */
    const Str *queues;           /* of the pool; none: all */
    size_t queue_count;
    int64_t limit;               /* most runs at once; 0: no limit */
    Dur prefetch;                /* how long before their time runs are taken; -1: 10 s */
    Dur poll_every;              /* 0: 10 s */
    Dur heartbeat_every;         /* 0: 30 s */
    bool run_once;               /* what is due now, then wait for it, then return */
    bool create_pool_if_not_found;
    Str base_job_template;       /* JSON, for a pool that is created; STR_NONE: the server's for the type */
    bool managed;                /* every pool whose type ends in ":managed"; stops when its parent dies */
    Str home;                    /* $MILLPOND_HOME; STR_NONE: from the environment, else ~/.millpond */
    Str exe;                     /* STR_NONE: /proc/self/exe */
    struct client_options api;   /* of this process and of the runs */
    void (*ready)(void *user);   /* called once the pool is known and work is looked for; may be NULL */
    void *user;
};

/* Runs until a signal says stop, or run_once is through. -1 where it cannot begin or go on: no such pool and none may be
 * made, a type nobody here can serve, a refused login. */
NODISCARD int worker_main(const struct worker_options *o, struct err *err);
