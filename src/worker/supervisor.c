#include "worker/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/child.h"
#include "worker/lines.h"
#include "worker/uplink.h"

#define LOGGER_OUTPUT "millpond.output"
#define LOGGER_SELF "millpond.supervisor"
#define DRAIN (2 * SEC) /* after the end: for what is still in the pipes */
#define HOLD (500 * MSEC) /* a traceback that does not go on is one */

struct stream {
    int fd; /* -1: at its end */
    struct lines lines;
};

struct supervisor {
    struct arena *a;
    Str dir;
    struct run_spec spec;
    struct run_status status;
    struct uplink *uplink;
    struct child child;
    struct stream streams[2];
    int signals;      /* signalfd */
    bool exited;      /* the child has */
    struct run_end end;
    Dur started, stop_at, kill_at; /* monotonic; 0: none */
    bool killed;
};

static void note(struct supervisor *s, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void note(struct supervisor *s, int level, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO(arena_freep) struct arena *a = arena_create();
    uplink_log(s->uplink, LOGGER_SELF, level, str_vfmt(a, fmt, ap), /* is_output: */ false);
    va_end(ap);
}

static void save_status(struct supervisor *s)
{
    struct err err;
    if (run_status_write(s->dir, &s->status, &err) < 0)
        log_at(LOG_WARN, "supervisor", "the run's status was not written, going on", "error=\"%s\"", err.text);
}

/* Copies to our own output as far as that takes it without waiting. */
static void echo(const char *p, size_t n)
{
    static bool closed;
    while (n && !closed) {
        struct pollfd f = {.fd = 1, .events = POLLOUT};
        if (poll(&f, 1, 0) != 1 || !(f.revents & POLLOUT))
            return;
        ssize_t done = write(1, p, MIN(n, 4096));
        if (done <= 0) {
            closed = done < 0 && errno != EINTR && errno != EAGAIN;
            return;
        }
        p += done;
        n -= (size_t)done;
    }
}

static void on_line(void *user, int stream, Str line)
{
    struct supervisor *s = user;
    if (s->spec.capture)
        uplink_log(s->uplink, LOGGER_OUTPUT, stream == 1 ? UPLINK_INFO : UPLINK_WARNING, line, /* is_output: */ true);
}

static void read_stream(struct supervisor *s, struct stream *st)
{
    static char bytes[1 << 16];
    ssize_t n = read(st->fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        if (s->spec.echo)
            echo(bytes, (size_t)n);
        lines_feed(&st->lines, bytes, (size_t)n);
        return;
    }
    lines_flush(&st->lines);
    close(st->fd);
    st->fd = -1;
}

/* Asks the run to end; by force when the grace is over. A second call only adds nothing. */
static void stop(struct supervisor *s, enum stop_reason reason)
{
    if (s->end.reason != STOP_NONE || s->exited)
        return;
    s->end.reason = reason;
    s->kill_at = time_monotonic() + s->spec.limits.grace;
    s->stop_at = 0;
    static const char *const why[] = {
        [STOP_CANCEL] = "cancelled", [STOP_TIME_LIMIT] = "over its time limit", [STOP_ASKED] = "asked to stop"};
    note(s, UPLINK_INFO, "The run is %s: its process gets %g seconds to end.", why[reason], (double)s->spec.limits.grace / SEC);
    child_signal(&s->child, SIGTERM);
}

static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1)
            stop(s, STOP_CANCEL);
        else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            stop(s, STOP_ASKED);
        else if (info.ssi_signo == SIGCHLD && child_reap(&s->child, &s->end.code))
            s->exited = true;
    }
}

static int wait_ms(Dur until, int most)
{
    if (!until)
        return most;
    Dur left = until - time_monotonic();
    int ms = left <= 0 ? 0 : (int)MIN(left / MSEC + 1, 60000);
    return most < 0 ? ms : MIN(ms, most);
}

/* From the start to the end of the process and of what it has written. */
static void watch(struct supervisor *s)
{
    Dur drain_until = 0;
    for (;;) {
        Dur now = time_monotonic();
        if (s->stop_at && now >= s->stop_at)
            stop(s, STOP_TIME_LIMIT);
        if (s->kill_at && now >= s->kill_at && !s->exited && !s->killed) {
            note(s, UPLINK_WARNING, "The process did not end in time and is killed.");
            child_kill_tree(&s->child);
            s->killed = true;
        }
        if (s->exited && !drain_until) {
            child_kill_tree(&s->child); /* a run's helpers end with it */
            drain_until = now + DRAIN;
        }
        bool open = s->streams[0].fd >= 0 || s->streams[1].fd >= 0;
        if (s->exited && (!open || now >= drain_until))
            break;
        bool room = uplink_room(s->uplink), held = s->streams[0].lines.traceback || s->streams[1].lines.traceback;
        struct pollfd f[3] = {
            {.fd = s->signals, .events = POLLIN},
            {.fd = room ? s->streams[0].fd : -1, .events = POLLIN},
            {.fd = room ? s->streams[1].fd : -1, .events = POLLIN},
        };
        int ms = wait_ms(s->stop_at, wait_ms(s->exited ? drain_until : s->killed ? 0 : s->kill_at, -1));
        if (!room && open)
            ms = ms < 0 ? 20 : MIN(ms, 20);
        if (held)
            ms = ms < 0 ? (int)(HOLD / MSEC) : MIN(ms, (int)(HOLD / MSEC));
        int n = poll(f, COUNT_OF(f), ms);
        if (n < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (f[0].revents)
            read_signals(s);
        for (int i = 0; i < 2; i++) {
            if (f[1 + i].revents)
                read_stream(s, &s->streams[i]);
            else if (n == 0 && s->streams[i].lines.traceback)
                lines_flush(&s->streams[i].lines);
        }
    }
    for (int i = 0; i < 2; i++) {
        lines_flush(&s->streams[i].lines);
        if (s->streams[i].fd >= 0)
            close(s->streams[i].fd);
    }
}

/* The last part of the directory's path. */
static Str group_name(const struct supervisor *s)
{
    Str name = s->dir;
    for (size_t i = 0; i < s->dir.n; i++)
        if (s->dir.p[i] == '/')
            name = str_sub(s->dir, i + 1, s->dir.n);
    return name;
}

static int start(struct supervisor *s, struct err *err)
{
    int out[2], errs[2];
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0)
        return err_errno(err, "making a pipe");
    AUTO(buf_free) struct buf notes = BUF(4096);
    cgroup_create(s->a, group_name(s), &(struct cgroup_limits){0}, &s->child.group, &notes);
    struct child_plain p = {
        .argv = s->spec.argv.v,
        .argc = s->spec.argv.n,
        .env = &s->spec.env,
        .cwd = s->spec.cwd,
        .out_fd = out[1],
        .err_fd = errs[1],
    };
    if (!p.cwd.p) {
        p.cwd = str_fmt(s->a, "%.*s/work", STR_ARG(s->dir));
        if (mkdir(p.cwd.p, 0700) < 0 && errno != EEXIST)
            return err_errno(err, "making directory %s", p.cwd.p);
    }
    int rc = child_start(&p, &s->child, err);
    close(out[1]);
    close(errs[1]);
    s->streams[0].fd = out[0];
    s->streams[1].fd = errs[0];
    lines_init(&s->streams[0].lines, 1, on_line, s);
    lines_init(&s->streams[1].lines, 2, on_line, s);
    return rc;
}

static void note_use(struct supervisor *s)
{
    struct rusage r;
    getrusage(RUSAGE_CHILDREN, &r);
    struct cgroup_use g = cgroup_use(&s->child.group);
    double cpu = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    int64_t peak = g.peak_memory >= 0 ? g.peak_memory : (int64_t)r.ru_maxrss * 1024;
    if (g.cpu >= 0)
        cpu = (double)g.cpu / SEC;
    s->end.out_of_memory = g.oom_kills > 0;
    note(s, UPLINK_DEBUG, "The process ended with %s %d after %.1f s: %.2f s of CPU, %lld MiB of memory at most.",
         s->end.code < 0 ? "signal" : "status", s->end.code < 0 ? -s->end.code : s->end.code,
         (double)(time_monotonic() - s->started) / SEC, cpu, (long long)(peak >> 20));
}

/* Waits for the report; signals no longer matter, all that is left is to be heard. */
static void await_report(struct supervisor *s)
{
    uplink_end(s->uplink, &s->end);
    for (;;) {
        struct pollfd f[2] = {{.fd = uplink_fd(s->uplink), .events = POLLIN}, {.fd = s->signals, .events = POLLIN}};
        if (poll(f, 2, -1) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (f[0].revents)
            return;
        read_signals(s);
    }
}

static void take_signals(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signals < 0)
        die("signalfd: %s", strerror(errno));
}

/* One of us was here before and died: its last word, or that there is none. What it left running ends. */
static void inherit(struct supervisor *s)
{
    struct err err;
    struct run_status old = {0};
    (void)!run_status_read(s->a, s->dir, &old, &err);
    s->status = old;
    s->end = old.ended ? old.end : (struct run_end){.started = true, .reason = STOP_LOST, .time_limit = s->spec.limits.time};
    AUTO(buf_free) struct buf notes = BUF(4096);
    cgroup_create(s->a, group_name(s), &(struct cgroup_limits){0}, &s->child.group, &notes);
    (void)cgroup_kill(&s->child.group);
    cgroup_remove(&s->child.group);
}

static void run(struct supervisor *s)
{
    struct err err;
    s->started = time_monotonic();
    s->end = (struct run_end){.started = true, .time_limit = s->spec.limits.time};
    s->status.phase = STR("running");
    if (start(s, &err) < 0) {
        log_at(LOG_WARN, "supervisor", "the run did not start", "error=\"%s\"", err.text);
        s->end.started = false;
        s->end.code = 127;
        s->end.detail = str_dup(s->a, str_of(err.text));
    }
}

int supervisor_main(int argc, char **argv)
{
    bool report_only = argc == 3 && !strcmp(argv[1], "--report");
    if (argc != 2 && !report_only) {
        log_at(LOG_ERROR, "supervisor", "usage: supervise [--report] DIRECTORY", "%s", "");
        return 1;
    }
    struct supervisor *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->a = arena_create();
    s->dir = str_of(argv[argc - 1]);
    struct err err;
    int lock = run_dir_lock(s->dir, &err);
    if (lock < 0 || run_spec_read(s->a, s->dir, &s->spec, &err) < 0) {
        log_at(LOG_ERROR, "supervisor", "cannot begin", "error=\"%s\"", err.text);
        return 1;
    }
    take_signals(s);
    cgroup_leave_service();
    prctl(PR_SET_NAME, "mp-supervise");
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    if (report_only) {
        inherit(s);
    } else {
        s->status.identifier = str_fmt(s->a, "%s:%d", host, (int)getpid());
        run(s); /* first of all: forking comes before threads */
    }
    s->uplink = uplink_start(&(struct uplink_options){
        .api = &s->spec.api,
        .flow_run_id = s->spec.flow_run_id,
        .claim_state = s->spec.claim_state,
        .identifier = s->status.identifier,
    });
    if (!report_only && s->end.started) {
        if (s->spec.limits.time)
            s->stop_at = s->started + s->spec.limits.time;
        s->status.pid = s->child.pid;
        save_status(s);
        watch(s);
        note_use(s);
        child_clear(&s->child);
    }
    if (!s->status.ended) {
        s->status.phase = STR("ended");
        s->status.ended = true;
        s->status.end = s->end;
        save_status(s);
    }
    await_report(s);
    uplink_free(s->uplink);
    if (run_dir_remove(s->dir, &err) < 0)
        log_at(LOG_WARN, "supervisor", "what the run left behind stays", "error=\"%s\"", err.text);
    close(lock);
    arena_free(s->a);
    free(s);
    return 0;
}
