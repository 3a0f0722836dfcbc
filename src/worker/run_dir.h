/* worker/run_dir.h: one directory a run, through which worker and supervisor speak of it.
 *
 * $MILLPOND_HOME/runs/<flow run id>[.<n>]/
 *   spec.json    what to run and for whom; written by the driver, 0600: it holds credentials
 *   status.json  how far it is; written by the supervisor alone, replaced atomically
 *   lock         locked (fcntl) by the supervisor while it lives
 *   work/        the working directory, where the run has none of its own
 *
 * The directory goes away when the run's end has been heard by the API. A second start of the same run (resumed after a
 * suspension, say) while the first is still reporting gets ".2" and so on. */
#pragma once
#include "worker/infra.h"
#include "worker/verdict.h"

struct run_limits {
    Dur time;           /* 0: none, for all of these */
    Dur grace;          /* between SIGTERM and SIGKILL */
    int64_t memory_mb;
    double cpus;
    int64_t pids;
    int64_t disk_mb;    /* of the sandbox's scratch space */
};

struct run_spec {
    Uuid flow_run_id, claim_state;
    Str name;
    Str pool, pool_type, worker; /* who started it */
    VEC(Str) argv;
    EnvVars env;
    Str cwd;             /* STR_NONE: work/ */
    bool echo;           /* copy the output to the supervisor's own */
    bool capture;        /* ship it to the run's log */
    struct client_options api;
    struct run_limits limits;
    Str container;       /* the run is a container of an Engine's: what is asked of it, JSON (container.h); STR_NONE: a process */
    /* Managed runs alone: */
    bool sandbox;
    Str network;         /* "open", "none" or "allow" */
    VEC(Str) network_allow;
    Str python;          /* version wanted; STR_NONE: the default's */
    Str client;          /* "prefect==3.8.8"; STR_NONE: the default one */
    VEC(Str) packages;
    bool engine;         /* the command is the client's engine, so that a warm interpreter can be it */
};

/* Makes the directory with its spec.json. */
NODISCARD int run_dir_create(struct arena *a, Str home, const struct run_spec *spec, Str *ret_dir, struct err *err);
NODISCARD int run_spec_read(struct arena *a, Str dir, struct run_spec *ret, struct err *err);
/* The same as text, for those who hand one on. */
NODISCARD int run_spec_parse(struct arena *a, Str text, struct run_spec *ret, struct err *err);
void run_spec_print(struct buf *b, const struct run_spec *s);

struct run_status {
    Str phase;           /* "preparing", "running", "ended" */
    Str identifier;      /* "host:pid" of the supervisor */
    int64_t pid;         /* of the process; 0: none yet */
    bool ended;
    struct run_end end;  /* where ended */
};
NODISCARD int run_status_write(Str dir, const struct run_status *s, struct err *err);
/* ERR_NOT_FOUND where there is none yet. */
NODISCARD int run_status_read(struct arena *a, Str dir, struct run_status *ret, struct err *err);

/* The lock, held until the fd is closed or the process ends; -1 with ERR_BUSY where a supervisor lives. */
NODISCARD int run_dir_lock(Str dir, struct err *err);
/* The pid of the supervisor that lives, 0 where none does. Takes nothing. */
int run_dir_holder(Str dir);
/* Since the directory was made: a young one's supervisor may not have come to locking it. */
Dur run_dir_age(Str dir);
/* All directories of runs under home; of one run where `id` is not nil. */
struct run_dir {
    Uuid flow_run_id;
    Str path;
};
typedef VEC(struct run_dir) RunDirs;
void run_dir_list(struct arena *a, Str home, Uuid id, RunDirs *ret);
/* With all that is in it; symbolic links are not followed. */
NODISCARD int run_dir_remove(Str dir, struct err *err);

/* A command line into words as a shell would read it: quotes and backslashes, nothing else. */
NODISCARD int argv_split(struct arena *a, Str command, Str **ret_v, size_t *ret_n, struct err *err);

/* Whole file; at most `max` bytes. */
NODISCARD int file_read(struct arena *a, const char *path, size_t max, Str *ret, struct err *err);
/* Replaces the file at once (temporary, rename), mode 0600; durable: on disk before the return. */
NODISCARD int file_replace(const char *path, Str text, bool durable, struct err *err);
/* mkdir -p, mode 0700 for what is made. */
NODISCARD int dir_make(const char *path, struct err *err);
