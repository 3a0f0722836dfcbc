/* worker/child.h: the supervisor's one child: a command started, signalled, and ended with all that it started.
 *
 * Single-threaded callers only (fork without exec in between). The caller is made subreaper, so that what a run leaves
 * behind comes to it and can be found. */
#pragma once
#include "worker/cgroup.h"
#include "worker/infra.h"

struct child {
    int pid;   /* 0: none */
    int pidfd;
    bool init; /* pid is the init of a pid namespace: it passes SIGTERM on, and with its death all is dead */
    struct cgroup group;
};

struct child_plain {
    const Str *argv;
    size_t argc;
    const EnvVars *env;
    Str cwd;
    int out_fd, err_fd;
};

/* As a plain process of this machine: own process group, killed if the caller dies. -1 where the
 * command cannot be executed, with a sentence that names it. */
NODISCARD int child_start(const struct child_plain *p, struct child *c, struct err *err);
void child_signal(const struct child *c, int sig);
/* SIGKILL to it and to all below it; comes back when none is left, or after 5 s. */
void child_kill_tree(struct child *c);
/* Collects ended descendants; true once the child itself has ended: exit status, or -n for signal n. */
bool child_reap(struct child *c, int *ret_code);
void child_clear(struct child *c);

/* For those who fork: what a fresh process must not inherit. Also gives it the death signal. */
void child_reset_signals(void);
/* NULL-terminated "name=value" list. */
char **env_block(struct arena *a, const EnvVars *env);
char **argv_block(struct arena *a, const Str *v, size_t n);
