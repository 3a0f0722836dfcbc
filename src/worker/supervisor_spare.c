/* A supervisor that has no run yet (warm.h). */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/supervisor_int.h"

#define WORKER_FD 3       /* a socket to the worker */
#define HEAD_START SEC /* for the run beside which we were started: it has more use for the processor */
#define KEPT 900          /* seconds */

/* Until the worker says something (1), is gone or the time is over (0), or the child is ready: -1 goes on. */
static int listen_to(struct supervisor *s, int worker, int python, Dur until, Str *ret_text)
{
    static char text[1 << 20];
    for (;;) {
        Dur left = until - time_monotonic();
        if (left <= 0)
            return 0;
        struct pollfd f[4] = {{.fd = worker, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}, {.fd = python, .events = POLLIN},
                              {.fd = s->child.pid ? s->child.pidfd : -1, .events = POLLIN}};
        if (poll(f, COUNT_OF(f), (int)MIN(left / MSEC + 1, 60000)) < 0 && errno != EINTR)
            return 0;
        if (f[1].revents || f[3].revents)
            return 0; /* we are to end, or have nothing left to offer */
        if (f[0].revents) {
            ssize_t n = recv(worker, text, sizeof text, 0);
            *ret_text = (Str){text, (size_t)MAX(n, 0)};
            return n > 0;
        }
        char byte;
        if (f[2].revents)
            return recv(python, &byte, 1, 0) == 1 ? -1 : 0;
    }
}

static int64_t kept_seconds(void)
{
    const char *text = getenv("MILLPOND_MANAGED_WARM_SECONDS");
    int64_t n;
    return text && str_int(str_of(text), &n) && n > 0 && n < 1000000 ? n : KEPT;
}

static int end(struct supervisor *s)
{
    if (s->child.pid)
        child_kill_tree(&s->child);
    int code;
    for (int i = 0; s->child.pid && i < 500 && !child_reap(&s->child, &code); i++)
        usleep(2000);
    child_clear(&s->child);
    return -1;
}

/* The run's supervisor from now on, and says so. -1: the worker gets no answer, and starts another. */
static int take_over(struct supervisor *s, Str dir, int *ret_lock)
{
    struct err err;
    if (supervisor_open(s, str_dup(s->a, dir), ret_lock, &err) < 0)
        return -1;
    supervisor_save(s);
    (void)!send(WORKER_FD, "k", 1, MSG_NOSIGNAL);
    close(WORKER_FD);
    s->started = time_monotonic();
    s->end = (struct run_end){.started = true, .time_limit = s->spec.limits.time};
    return 0;
}

/* A run may come at any time: before the sandbox is there, while Python imports, or when all is ready. What is under way is ahead of what
 * would be started anew. */
int spare_become(struct supervisor *s, int *ret_lock)
{
    struct err err;
    Str text;
    int python = -1, said;
    bool taken = false;
    s->group = str_fmt(s->a, "spare-%d", (int)getpid());
    if (listen_to(s, WORKER_FD, -1, time_monotonic() + 10 * SEC, &text) != 1 || run_spec_parse(s->a, str_dup(s->a, text), &s->spec, &err) < 0)
        return -1;
    Dur until = time_monotonic() + HEAD_START;
    said = listen_to(s, WORKER_FD, -1, until, &text);
    if (said == 1)
        return take_over(s, text, ret_lock); /* nothing is there yet: it is started as any other */
    if (time_monotonic() < until)
        return -1;
    if (managed_warm(s, &python, &err) < 0) {
        log_at(LOG_DEBUG, "supervisor", "no warm sandbox", "error=\"%s\"", err.text);
        return end(s);
    }
    until = time_monotonic() + kept_seconds() * SEC;
    said = listen_to(s, WORKER_FD, python, until, &text);
    if (said == -1)
        said = send(WORKER_FD, "r", 1, MSG_NOSIGNAL) == 1 ? listen_to(s, WORKER_FD, python, until, &text) : 0;
    else if (said == 1) {
        taken = true;
        if (take_over(s, text, ret_lock) < 0)
            return end(s);
        said = listen_to(s, -1, python, until, &text) == -1; /* its import's end */
    }
    if (!taken && (said != 1 || take_over(s, text, ret_lock) < 0))
        return end(s);
    if (said != 1 || managed_tell(s, python) < 0) {
        end(s); /* the cold way, then */
        control_close(&s->control);
    }
    close(python);
    return 0;
}
