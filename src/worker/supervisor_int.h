/* worker/supervisor_int.h: what the supervisor's two files share. */
#pragma once
#include "worker/child.h"
#include "worker/control.h"
#include "worker/environment.h"
#include "worker/lines.h"
#include "worker/relay.h"
#include "worker/uplink.h"

#define LOGGER_OUTPUT "millpond.output"
#define LOGGER_SELF "millpond.supervisor"
#define LOGGER_ENVIRONMENT "millpond.environment"

struct stream {
    int fd; /* -1: at its end */
    bool in_record, at_start; /* inside a marked record; at the start of a line */
    size_t record;            /* its bytes so far */
    struct lines lines;
};

struct supervisor {
    struct arena *a;
    Str home, dir; /* DIR is HOME/runs/<run> */
    Str group;     /* see supervisor_group */
    struct run_spec spec;
    struct run_status status;
    struct uplink *uplink;
    struct child child;
    struct stream streams[2];
    int signals;      /* signalfd */
    bool exited;      /* the child has */
    bool again;       /* follows a container whose supervisor died */
    struct run_end end;
    Dur started, stop_at, kill_at; /* monotonic; 0: none */
    bool killed;
    struct control control;
    /* Managed runs: */
    struct environments environments;
    struct relay *relay;
    bool building;
    char last_words[4][256]; /* of a build's output */
    int spoken;
};

/* The name of the control group. */
Str supervisor_group(struct supervisor *s);
void supervisor_note(struct supervisor *s, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The uplink's thread, if it does not run yet. */
void supervisor_connect(struct supervisor *s);
/* Standard output and error of what is started next: the writing ends. */
NODISCARD int supervisor_pipes(struct supervisor *s, int ret_fds[2], struct err *err);
/* From a child's start to its end and that of its output. */
void supervisor_watch(struct supervisor *s);
/* Waits, taking signals; false once somebody wants the run to end. */
bool supervisor_wait(struct supervisor *s, Dur d);
/* The logging configuration for the run's client. */
Str supervisor_logging(struct arena *a, bool echo);

/* supervisor_managed.c: builds what environments are missing. -1 with what failed, or because the run is to end. */
NODISCARD int managed_prepare(struct supervisor *s, struct err *err);
NODISCARD int managed_start(struct supervisor *s, struct err *err);
void managed_clear(struct supervisor *s);
/* A sandbox with a warm interpreter; *ret_fd leads to it. managed_tell makes it the run's. */
NODISCARD int managed_warm(struct supervisor *s, int *ret_fd, struct err *err);
NODISCARD int managed_tell(struct supervisor *s, int fd);

/* supervisor_network.c: the sandbox's sockets and files for it; the same for every policy but for what it knows of hosts. */
struct sandbox_spec;
NODISCARD int network_plan(struct supervisor *s, struct sandbox_spec *box, struct relay_options *way, struct err *err);
/* The relay, which lets nothing out yet but to the API. */
NODISCARD int network_open(struct supervisor *s, const struct relay_options *way, const int ways[WAY_COUNT], struct err *err);
void network_permit(struct supervisor *s);
/* Variables of proxies, where the network is not open. */
void network_proxies(struct supervisor *s, const struct relay_options *way, EnvVars *env, int port);

/* supervisor_spare.c: waits for a run; 0 with its directory locked (*ret_lock), its specification read and its process started, -1 where
 * there is nothing to do (any more). */
NODISCARD int spare_become(struct supervisor *s, int *ret_lock);
/* Tries to be the run's supervisor: lock, specification, status. */
NODISCARD int supervisor_open(struct supervisor *s, Str dir, int *ret_lock, struct err *err);
void supervisor_save(struct supervisor *s);
