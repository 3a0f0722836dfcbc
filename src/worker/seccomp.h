/* worker/seccomp.h: which system calls a sandboxed run may make.
 *
 * An allow-list: what programs need and no more. What opens other namespaces, mounts, modules, keys, tracing, raw or
 * uncommon sockets, io_uring and the like is refused with EPERM; what the list does not know is refused with ENOSYS, as an
 * older kernel would, so that libraries fall back. Programs of another instruction set (32-bit) are killed. The lists, and the
 * program made of them when we are built, come from tools/seccomp_program.c. */
#pragma once

/* Holds from now on for the calling thread and its children; sets no_new_privs. Async-signal-safe. 0, or -1 with errno. */
int seccomp_enter(void);
/* From now on each connect() waits for an answer to come through the file that is returned (seccomp_unotify(2)); after
 * seccomp_enter(). -1 with errno. */
int seccomp_ask_connect(void);
