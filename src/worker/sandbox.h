/* worker/sandbox.h: a command run where it can reach nothing but what it was given.
 *
 * The command lives in user, pid, mount, net, ipc, uts and cgroup namespaces of its own, as a user that owns nothing
 * outside, without capabilities, with no way to get any, under a filter of system calls, under limits of memory, CPU, processes
 * and scratch space. Its root shows the system's programs and libraries and the given paths, read-only; /tmp, the home directory
 * and /dev/shm share one memory file system of limited size. Its network has a loopback and nothing else: ways out are
 * sockets handed to the caller (relay.h). A small init is process 1: with it all ends, and it ends when the caller does.
 *
 * It works as root and as any user whose kernel lets it make user namespaces. What the kernel refuses is an error, never
 * left out in silence; what is weaker than it should be (no control group to be had: per-process limits instead) is a note.
 * Scratch space counts as the run's memory. */
#pragma once
#include "worker/child.h"
#include "worker/relay.h"

#define SANDBOX_HOME "/home/run"
#define SANDBOX_ANY_PORT (-1)

/* What is shown, and where. */
struct sandbox_path {
    Str source, target;
};

struct sandbox_spec {
    const Str *argv;
    size_t argc;
    const EnvVars *env;
    Str cwd;                 /* inside; STR_NONE: the home directory. Made where it lies in scratch space. */
    const struct sandbox_path *read_only; /* what does not exist is an error */
    size_t read_only_count;
    struct sandbox_path writable; /* one path that may be written to; STR_NONE: none */
    int ways[WAY_COUNT];     /* ports of the sockets that are handed out, SANDBOX_ANY_PORT, or 0: none; WAY_CONNECTS: 1 or 0 */
    Str hosts;               /* text of /etc/hosts below the loopback's own lines; STR_NONE: none */
    Str address;             /* one more IPv4 address that the inside has; STR_NONE: none */
    struct sandbox_file {
        const char *path, *text;
    } files[5];              /* small files of ours, at paths below /etc; unused ones are NULL */
    Str group;               /* name of the control group */
    int64_t memory_mb, pids, disk_mb; /* 0: 4096, 1024, 1024 */
    double cpus;             /* 0: all */
    int out_fd, err_fd;
    int pass_fd;             /* stays open in the command as fd 3; -1: none */
};

/* On success `c` is the running sandbox; ret_ways[i] is the socket for ways[i], to be served from outside, -1 where none was
 * asked for. `a` lives as long as the child. Other threads may run meanwhile: the child allocates nothing. */
NODISCARD int sandbox_start(struct arena *a, const struct sandbox_spec *s, struct child *c, int ret_ways[WAY_COUNT],
                            struct buf *notes, struct err *err);

/* Starts and ends one: -1 says which mechanism this machine refuses and why. */
NODISCARD int sandbox_probe(struct buf *notes, struct err *err);

/* sandbox_root.c: in the new mount namespace, with all rights in it: makes the root and moves into it. NULL, or
 * what could not be done, with errno. */
struct sandbox_root {
    struct sandbox_mount {
        const char *source, *target; /* real path outside; path inside */
        bool directory, writable, link; /* link: target is a symbolic link to source */
        bool veiled; /* the list of mounts does not tell the source, where the kernel can hide it */
    } *mounts;
    size_t count;
    const char *hosts; /* text of /etc/hosts */
    struct sandbox_file files[5];
    const char *cwd;
    int64_t disk_mb;
    unsigned uid, gid;      /* inside, owner of scratch space */
};
const char *sandbox_root_enter(const struct sandbox_root *r);
/* The system's part of the mounts, then the given paths. -1 where one does not exist. */
NODISCARD int sandbox_root_plan(struct arena *a, const struct sandbox_spec *s, struct sandbox_root *ret, struct err *err);
