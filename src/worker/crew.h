/* worker/crew.h: what the worker's threads share: pools, jobs, and the runs in hand. Inside worker/ only.
 *
 * One lock guards it all; it is never held over HTTP or fork. Pools live as long as the crew; a deleted one is marked. */
#pragma once
#include <pthread.h>

#include "worker/worker.h"

struct pool {
    struct pool *next;
    char *name, *type;
    const struct infra_driver *driver;
    char *template; /* base_job_template as text; replaced under the lock */
    Time refreshed;
    bool paused, gone, created;
    bool poll_queued, poll_again;
    bool told_unusable;
};

enum job_kind { JOB_DISCOVER, JOB_HEARTBEAT, JOB_REFRESH, JOB_POLL, JOB_SWEEP, JOB_CLAIM, JOB_CANCEL, JOB_TEARDOWN };
enum claim_stage { CLAIM_ASK, CLAIM_SUBMIT, CLAIM_FAIL };

struct job {
    struct job *next;
    enum job_kind kind;
    struct pool *pool;
    Dur not_before; /* monotonic */
    int tries;
    Uuid run;
    /* A claim's: */
    enum claim_stage stage;
    Uuid transition, state;
    char *flow_run; /* JSON text; JOB_TEARDOWN: the message */
    char *why;      /* CLAIM_FAIL: the state's message */
    char *said;     /* CLAIM_FAIL: the line for the run's log; NULL once it is there */
    const char *final; /* its state type */
};

/* A run in hand: from its being chosen to its supervisor's end. */
struct slot {
    Uuid run;
    struct pool *pool;
    int pid, pidfd; /* 0, -1 while it is being claimed */
};

/* What one thread has of its own. */
struct hand {
    struct crew *crew;
    struct client *api;
    struct arena *arena; /* reset after each job */
    pthread_t thread;
};

struct crew {
    struct worker_options o;
    struct infra_host host;
    struct arena *arena; /* of the texts in o and host */
    Str claims;          /* directory of our claims on their way; claims_fd keeps it locked */
    int claims_fd;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *jobs;
    int busy;           /* hands at work */
    bool draining;      /* nothing new is claimed */
    bool quit;
    struct pool *pools;
    struct slot *slots;
    size_t slot_count, slot_cap;
    struct wake *link;  /* NULL: not yet, or never */
    bool awake;         /* the server tells of due runs and of cancellations */
    bool linked;        /* heartbeats and the pool's changes go over the channel */
    bool ready;
    int event;          /* eventfd: the main thread should look again */
    bool failed;
    struct err fatal;
};

/* Adds a job; its content moves in. */
void crew_add(struct crew *c, struct job job, Dur later);
/* A poll of the pool, now; one at a time, and again where it was asked for meanwhile. */
void crew_poll(struct crew *c, struct pool *p);
struct pool *crew_pool(struct crew *c, Str name); /* NULL where it is not served */
void crew_nudge(struct crew *c);
/* The worker cannot go on. */
void crew_fail(struct crew *c, const struct err *err);

/* False where it is in hand already, or the limit is reached (*ret_full). */
bool crew_reserve(struct crew *c, Uuid run, struct pool *p, bool *ret_full);
void crew_release(struct crew *c, Uuid run);
void crew_started(struct crew *c, Uuid run, int pid);
/* pid of the run's supervisor, 0 where it is not in hand, -1 while it is being claimed. */
int crew_slot_pid(struct crew *c, Uuid run);

/* jobs.c, claim.c: one job each. Errors are logged or answered there; what should be tried again is added again. */
void job_discover(struct hand *h);
void job_heartbeat(struct hand *h, struct pool *p);
void job_refresh(struct hand *h, struct pool *p);
void job_poll(struct hand *h, struct pool *p);
void job_sweep(struct hand *h, struct pool *p);
void job_cancel(struct hand *h, struct job *j);
void job_teardown(struct hand *h, struct job *j);
void job_claim(struct hand *h, struct job *j);
/* Our directory of claims, for as long as we live. */
NODISCARD int claims_open(struct crew *c, struct err *err);
void claims_close(struct crew *c);
/* Claims that a worker before us began: gone on with, or dropped. */
void claims_recover(struct hand *h);
/* Directories whose supervisor is dead get one that reports; those alive count as in hand. */
void runs_adopt(struct crew *c);
/* A supervisor has ended: if it left the run's directory, it died. */
void runs_lost(struct crew *c, Uuid run);

/* Does trying again help? No answer, or one that says so. */
bool is_passing_error(const struct err *err);
/* One state for a run, where it is in one of type `expected` (NULL: any): 1 accepted, 0 refused (*ret has the state it is in), -1 no
 * answer. */
int propose(struct hand *h, Uuid run, const char *type, const char *name, Str message, Uuid transition, const char *expected,
            const struct json **ret, struct err *err);

/* Takes over what the API says of a pool. False where nobody here can serve it. */
bool pool_take(struct crew *c, struct pool *p, const struct json *v);

/* wake.c */
struct wake *wake_start(struct crew *c, struct err *err);
void wake_stop(struct wake *w);
/* One frame of the worker channel; nothing where it is closed. Any thread. */
void wake_send(struct wake *w, const char *type, Str payload);
