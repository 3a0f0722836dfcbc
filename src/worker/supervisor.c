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

#include "assets/assets.h"
#include "base/log.h"
#include "base/settle.h"
#include "worker/supervised.h"
#include "worker/container.h"
#include "worker/supervisor_int.h"

#define SETTLE_AFTER (2 * SEC)
#define DRAIN (2 * SEC) /* after the end: for what is still in the pipes */
#define HOLD (500 * MSEC) /* a traceback that does not go on is one */
#define RECORD_MAX ((size_t)1 << 20)

/* The last part of the directory's path, and who supervises: two machines' worth of tests may know one run. */
static Str group_of(struct supervisor *s, int pid)
{
    Str name = s->dir;
    while (name.n && name.p[name.n - 1] != '/')
        name.n--;
    return str_fmt(s->a, "%.*s-%d", STR_ARG(str_sub(s->dir, name.n, s->dir.n)), pid);
}

Str supervisor_group(struct supervisor *s)
{
    if (!s->group.p)
        s->group = group_of(s, (int)getpid());
    return s->group;
}

void supervisor_note(struct supervisor *s, int level, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO(arena_freep) struct arena *a = arena_create();
    uplink_log(s->uplink, LOGGER_SELF, level, str_vfmt(a, fmt, ap), /* is_output: */ false);
    va_end(ap);
}

void supervisor_connect(struct supervisor *s)
{
    if (!s->uplink)
        s->uplink = uplink_start(&(struct uplink_options){
            .api = &s->spec.api,
            .flow_run_id = s->spec.flow_run_id,
            .claim_state = s->spec.claim_state,
            .identifier = s->status.identifier,
        });
}

/* The configuration with "[api] #x_echo" made "[api, x_echo]", or left a comment. */
Str supervisor_logging(struct arena *a, bool with_echo)
{
    Str text = asset_find("logging.yml");
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    for (Str line; str_cut(&text, '\n', &line);) {
        ptrdiff_t at = str_find(line, STR("] #"));
        if (with_echo && at >= 0)
            buf_fmt(&b, "%.*s, %.*s]\n", (int)at, line.p, (int)line.n - (int)at - 3, line.p + at + 3);
        else
            buf_fmt(&b, "%.*s\n", STR_ARG(line));
    }
    return str_dup(a, buf_view(&b));
}

void supervisor_save(struct supervisor *s)
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
    if (s->building) {
        char *words = s->last_words[s->spoken++ % (int)COUNT_OF(s->last_words)];
        snprintf(words, sizeof s->last_words[0], "%.*s", STR_ARG(line));
        uplink_log(s->uplink, LOGGER_ENVIRONMENT, UPLINK_INFO, line, /* is_output: */ true);
    } else if (s->spec.capture) {
        uplink_log(s->uplink, LOGGER_OUTPUT, stream == 1 ? UPLINK_INFO : UPLINK_WARNING, line, /* is_output: */ true);
    }
}

/* Copies to our output and into the log; marked records, which the client has shipped itself, to our output alone. */
static void feed_marked(struct stream *st, const char *p, size_t n)
{
    while (n) {
        size_t len = 0;
        if (st->in_record) {
            while (len < n && p[len] != '\x1f')
                len++;
            st->record += len;
            echo(p, len);
            if (len < n || st->record > RECORD_MAX) {
                st->in_record = false;
                st->at_start = true;
                if (len < n && ++len < n && p[len] == '\n') {
                    echo("\n", 1);
                    len++;
                }
            }
        } else if (st->at_start && *p == '\x1e') {
            st->in_record = true;
            st->record = 0;
            len = 1;
        } else if (st->at_start && *p == '\n' && st->record) {
            echo("\n", 1); /* a record's own, in another read */
            len = 1;
            st->record = 0;
        } else {
            st->record = 0;
            while (len < n && p[len] != '\n')
                len++;
            st->at_start = len < n;
            len += len < n;
            echo(p, len);
            lines_feed(&st->lines, p, len);
        }
        p += len;
        n -= len;
    }
}

static void read_stream(struct supervisor *s, struct stream *st)
{
    static char bytes[1 << 16];
    ssize_t n = read(st->fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        if (s->spec.echo)
            feed_marked(st, bytes, (size_t)n);
        else
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
    supervisor_note(s, UPLINK_INFO, "The run is %s: its process gets %g seconds to end.", why[reason], (double)s->spec.limits.grace / SEC);
    if (reason != STOP_ASKED)
        control_cancel(&s->control); /* or it would report a crash */
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

bool supervisor_wait(struct supervisor *s, Dur d)
{
    struct pollfd f = {.fd = s->signals, .events = POLLIN};
    if (poll(&f, 1, (int)(d / MSEC)) > 0)
        read_signals(s);
    return s->end.reason == STOP_NONE;
}

void supervisor_watch(struct supervisor *s)
{
    Dur drain_until = 0, settle_at = time_monotonic() + SETTLE_AFTER; /* 0: done */
    for (;;) {
        Dur now = time_monotonic();
        if (settle_at && now >= settle_at) {
            memory_settle(); /* a long run: what is left of its supervisor is small */
            settle_at = 0;
        }
        if (s->stop_at && now >= s->stop_at)
            stop(s, STOP_TIME_LIMIT);
        if (s->kill_at && now >= s->kill_at && !s->exited && !s->killed) {
            supervisor_note(s, UPLINK_WARNING, "The process did not end in time and is killed.");
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
        struct pollfd f[4] = {
            {.fd = s->signals, .events = POLLIN},
            {.fd = room ? s->streams[0].fd : -1, .events = POLLIN},
            {.fd = room ? s->streams[1].fd : -1, .events = POLLIN},
            {.fd = control_poll(&s->control), .events = POLLIN},
        };
        int ms = wait_ms(s->stop_at, wait_ms(s->exited ? drain_until : s->killed ? 0 : s->kill_at, wait_ms(settle_at, -1)));
        if (!room && open)
            ms = ms < 0 ? 20 : MIN(ms, 20);
        if (held)
            ms = ms < 0 ? (int)(HOLD / MSEC) : MIN(ms, (int)(HOLD / MSEC));
        int n = poll(f, COUNT_OF(f), ms);
        if (n < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        if (f[0].revents)
            read_signals(s);
        if (f[3].revents)
            control_step(&s->control);
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

int supervisor_pipes(struct supervisor *s, int ret_fds[2], struct err *err)
{
    for (int i = 0; i < 2; i++) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
            return err_errno(err, "making a pipe");
        ret_fds[i] = fds[1];
        s->streams[i].fd = fds[0];
        s->streams[i].at_start = true;
        lines_init(&s->streams[i].lines, 1 + i, on_line, s);
    }
    return 0;
}

/* A process of this machine, or what makes and follows a container. */
static int start(struct supervisor *s, struct err *err)
{
    struct arena *a = s->a;
    Str work = str_fmt(a, "%.*s/work", STR_ARG(s->dir)), logging = str_fmt(a, "%.*s/logging.yml", STR_ARG(s->dir));
    if (!env_get(&s->spec.env, STR("PREFECT_LOGGING_SETTINGS_PATH")).p) {
        if (file_replace(logging.p, supervisor_logging(a, s->spec.echo), /* durable: */ false, err) < 0)
            return -1;
        env_set(a, &s->spec.env, STR("PREFECT_LOGGING_SETTINGS_PATH"), logging);
    }
    if (!s->spec.cwd.p && mkdir(work.p, 0700) < 0 && errno != EEXIST)
        return err_errno(err, "making directory %s", work.p);
    AUTO(buf_free) struct buf notes = BUF(4096);
    cgroup_create(a, supervisor_group(s), &(struct cgroup_limits){0}, &s->child.group, &notes);
    EnvVars own = {0};
    Str words[4];
    size_t word_count = 0;
    if (s->spec.container.p) {
        for (char **e = environ; *e; e++) {
            const char *eq = strchr(*e, '=');
            if (eq)
                env_set(a, &own, (Str){*e, (size_t)(eq - *e)}, str_of(eq + 1));
        }
        words[word_count++] = STR("/proc/self/exe");
        words[word_count++] = STR("container");
        if (s->again)
            words[word_count++] = STR("--attach");
        words[word_count++] = s->dir;
    } else {
        control_open(&s->control, a, &s->spec.env);
    }
    int out[2];
    if (supervisor_pipes(s, out, err) < 0)
        return -1;
    struct child_plain p = {
        .argv = word_count ? words : s->spec.argv.v,
        .argc = word_count ? word_count : s->spec.argv.n,
        .env = word_count ? &own : &s->spec.env,
        .cwd = s->spec.cwd.p ? s->spec.cwd : work,
        .out_fd = out[0],
        .err_fd = out[1],
    };
    int rc = child_start(&p, &s->child, err);
    close(out[0]);
    close(out[1]);
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
    if (s->spec.limits.memory_mb)
        s->end.detail = str_fmt(s->a, "%lld MiB", (long long)s->spec.limits.memory_mb);
    supervisor_note(s, UPLINK_DEBUG, "The process ended with %s %d after %.1f s: %.2f s of CPU, %lld MiB of memory at most.",
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
    Str host;
    int pid;
    if (!identifier_parse(old.identifier, &host, &pid))
        return;
    cgroup_end(group_of(s, pid));
}

static void run(struct supervisor *s)
{
    struct err err;
    s->started = time_monotonic();
    s->end = (struct run_end){.started = true, .time_limit = s->spec.limits.time};
    int rc = s->spec.sandbox ? managed_prepare(s, &err) : 0;
    if (rc == 0) {
        s->started = time_monotonic();
        rc = s->spec.sandbox ? managed_start(s, &err) : start(s, &err);
    }
    if (rc < 0) {
        log_at(LOG_WARN, "supervisor", "the run did not start", "error=\"%s\"", err.text);
        s->end.started = false;
        s->end.code = 127;
        s->end.detail = str_dup(s->a, str_of(err.text));
    }
}

int supervisor_open(struct supervisor *s, Str dir, int *ret_lock, struct err *err)
{
    s->dir = dir;
    Str name = dir;
    while (name.n && name.p[name.n - 1] != '/')
        name.n--;
    s->home = str_sub(dir, 0, name.n - MIN(name.n, sizeof "/runs/" - 1));
    int lock = run_dir_lock(dir, err);
    if (lock < 0)
        return -1;
    struct run_spec spec;
    if (run_spec_read(s->a, dir, &spec, err) < 0) {
        close(lock);
        return -1;
    }
    s->spec = spec;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    s->status = (struct run_status){.phase = STR("running"), .identifier = str_fmt(s->a, "%s:%d", host, (int)getpid())};
    *ret_lock = lock;
    return 0;
}

/* Whether a run whose supervisor died goes on elsewhere, so that this one takes its place. */
static bool supervisor_follows(struct supervisor *s)
{
    struct run_status old;
    struct err ignored;
    s->again = s->spec.container.p && !(run_status_read(s->a, s->dir, &old, &ignored) == 0 && old.ended);
    return s->again;
}

int supervisor_main(int argc, char **argv)
{
    bool report_only = argc == 3 && !strcmp(argv[1], "--report"), spare = argc == 3 && !strcmp(argv[1], "--spare");
    if (argc != 2 && !report_only && !spare) {
        log_at(LOG_ERROR, "supervisor", "usage: supervise [--report] DIRECTORY", "%s", "");
        return 1;
    }
    struct supervisor *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->a = arena_create();
    s->control = (struct control){.listener = -1, .fd = -1};
    struct err err;
    int lock = -1;
    take_signals(s);
    cgroup_leave_service();
    prctl(PR_SET_NAME, spare ? "mp-spare" : "mp-supervise");
    if (spare) {
        s->home = str_of(argv[2]);
        if (spare_become(s, &lock) < 0)
            return 0;
        prctl(PR_SET_NAME, "mp-supervise");
    } else if (supervisor_open(s, str_of(argv[argc - 1]), &lock, &err) < 0) {
        log_at(LOG_ERROR, "supervisor", "cannot begin", "error=\"%s\"", err.text);
        return 1;
    }
    if (report_only && supervisor_follows(s))
        report_only = false; /* the container may have outlived its supervisor */
    if (report_only)
        inherit(s);
    else if (!s->child.pid)
        run(s); /* first of all: forking comes before threads */
    supervisor_connect(s);
    if (!report_only && !s->end.started && s->end.reason == STOP_NONE)
        supervisor_note(s, UPLINK_ERROR, "The run could not be started: %.*s. Correct the job variables of the deployment or of the run (command, "
                        "working_dir, pip_packages, …), or what they need on this machine (%.*s), and start the run again.",
                        STR_ARG(s->end.detail), STR_ARG(s->status.identifier));
    if (!report_only && s->end.started) {
        if (s->spec.limits.time)
            s->stop_at = s->started + s->spec.limits.time;
        s->status.pid = s->child.pid;
        supervisor_save(s);
        supervisor_watch(s);
        if (s->spec.container.p && s->killed)
            container_end(s->spec.container);
        note_use(s);
        child_clear(&s->child);
        managed_clear(s);
        control_close(&s->control);
    }
    if (!s->status.ended) {
        s->status.phase = STR("ended");
        s->status.ended = true;
        s->status.end = s->end;
        supervisor_save(s);
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
