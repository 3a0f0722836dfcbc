/* worker/environment.h: Python environments for managed runs, built once for each content and then only read.
 *
 * What a run asks for (Python version, client, packages) names an environment; the same wish gives the same one. It lies in
 * $MILLPOND_HOME/environments/<key>/ and is whole once its .ready file is there. Packages come in a second environment that
 * stands on the client's (its site-packages first, the client's behind it), so that a list of two packages installs two
 * packages. MILLPOND_MANAGED_PYTHON names an interpreter whose environment serves instead of a client's built here.
 *
 * <key>.lock: whoever builds or removes holds it alone, each run that uses the environment holds it shared. Locks are
 * the process's (fcntl) and end with it. */
#pragma once
#include "worker/sandbox.h"

struct environment_want {
    Str python;      /* "3.12"; STR_NONE: this machine's default */
    Str client;      /* requirement: "prefect==3.8.8" */
    const Str *packages;
    size_t package_count;
};

/* One of at most two layers; the run uses the last. */
struct environment {
    Str dir;         /* its prefix; the marker and bin/python are in it */
    Str seen;        /* its prefix inside a sandbox, where alone it is ever used: tells nothing of this machine's paths */
    Str lock;        /* STR_NONE: not ours, always ready */
    Str interpreter; /* what to build it with */
    Str python, python_seen; /* the prefix of that, and where a sandbox has it; STR_NONE: part of the system */
    Str below;       /* `seen` of the layer below, whose packages are seen through; STR_NONE: this is the lowest */
    Str description; /* for people: "prefect==3.8.8 for Python 3.11" */
    VEC(Str) packages;
    Str constraints; /* text of a constraints file; "" for none */
};

struct environments {
    struct environment v[2];
    size_t n;
};

/* What is wanted as layers; nothing is built. -1 where the wish is no good (ERR_INVALID) or no such Python is here. */
NODISCARD int environment_plan(struct arena *a, Str home, const struct environment_want *want, struct environments *ret, struct err *err);
bool environment_ready(const struct environment *e);

/* Locks it for use: 0 and *ret_fd (-1 where none is needed) with the environment ready; ERR_BUSY: somebody builds it, come
 * again; ERR_NOT_FOUND: it is to be built, and *ret_fd is the lock for that. */
NODISCARD int environment_take(const struct environment *e, int *ret_fd, struct err *err);
/* After the build's success: marks it, and turns the lock into one for use. */
NODISCARD int environment_built(const struct environment *e, int fd, struct err *err);
/* What is left of a build that failed. */
void environment_discard(const struct environment *e);

/* The build as a command for a sandbox, in which `dir` is at `seen`: words and variables; `dir` exists and is empty. What is built
 * may be hostile: nothing that lies in it is read out here. */
void environment_build_command(struct arena *a, const struct environment *e, EnvVars *env, Str **ret_argv, size_t *ret_argc);
#define ENVIRONMENT_CONSTRAINTS "/etc/millpond-constraints.txt"

/* Paths that a sandbox must show for the first `layers` of it: their prefixes, and the Python they stand on. */
typedef VEC(struct sandbox_path) Paths;
void environment_paths(struct arena *a, const struct environments *e, size_t layers, Paths *ret);
/* Settings of pip and of certificates and proxies that the machine has; paths among them are added to `shown`. */
void environment_inherit(struct arena *a, bool for_pip, EnvVars *env, Paths *shown);

/* Is this a requirement, and nothing that pip would take for an option? */
NODISCARD int requirement_check(Str requirement, struct err *err);

/* Removes environments that nobody uses: those unused for longer than `age`, then the longest unused until what is
 * left takes at most `bytes`. The number removed. */
int environment_evict(Str home, Dur age, int64_t bytes);
