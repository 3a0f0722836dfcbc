/* worker/cgroup.h: a control group for a run: limits, use, and a kill that nothing in it escapes.
 *
 * Both versions are used as they are found: version 2 with its controllers, version 1 hierarchy by hierarchy, or a mix (a
 * version 2 tree without controllers still kills). A machine that lets us make none leaves all of it empty; what is then
 * missing is said in `notes`, a line each, and is the caller's to make up for.
 *
 * Groups are made below the group we are in, so that its limits go on to hold, else below the root. */
#pragma once
#include "base/err.h"
#include "base/str.h"

enum cgroup_part { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_ACCOUNT, CGROUP_KILL, CGROUP_PART_COUNT };

struct cgroup {
    Str dir[CGROUP_PART_COUNT]; /* STR_NONE where there is none; version 2: the same for all */
    bool v2[CGROUP_PART_COUNT];
};

struct cgroup_limits {
    int64_t memory_bytes, pids; /* 0: no limit */
    double cpus;
};

/* Makes a group `name` for each part that the machine gives. A limit asked for and not to be had is a note. */
void cgroup_create(struct arena *a, Str name, const struct cgroup_limits *limits, struct cgroup *ret, struct buf *notes);
/* Other limits for a group that exists. */
void cgroup_limit(struct arena *a, const struct cgroup *g, const struct cgroup_limits *limits, struct buf *notes);
/* Ends what is in the groups of this name, and removes them: those of a supervisor that was killed. */
void cgroup_end(Str name);
/* Removes groups of ours that nothing is in: what supervisors that were killed left behind. */
void cgroup_sweep(void);
/* Puts a process in. -1 where a part that exists refused it. */
NODISCARD int cgroup_enter(const struct cgroup *g, int pid, struct err *err);
/* Kills all that is in it; false where it cannot. */
bool cgroup_kill(const struct cgroup *g);

struct cgroup_use {
    Dur cpu;             /* -1: not known */
    int64_t peak_memory; /* bytes, -1: not known */
    int64_t oom_kills;
};
struct cgroup_use cgroup_use(const struct cgroup *g);
/* Removes it; what is in it must have ended. Waits a little for the kernel to notice. */
void cgroup_remove(struct cgroup *g);

/* Out of a service manager's group, so that stopping the service does not end us. Best effort. */
void cgroup_leave_service(void);
