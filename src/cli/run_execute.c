/* A flow run carried out here: the Python engine as a child, watched. What a container, a cloud's task or a person starts. */
#include "cli/python.h"
#include "cli/runs.h"
#include "worker/child.h"
#include "worker/verdict.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

extern char **environ;

#define LOOK_EVERY (5 * SEC)  /* for a cancellation */
#define STOP_GRACE (30 * SEC) /* between SIGTERM and SIGKILL */

/* What SIGTERM means to us (PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR). */
enum on_term { TERM_CRASH, TERM_RESCHEDULE, TERM_RELINQUISH };

struct execution {
    struct cli *x;
    Str id, entrypoint; /* entrypoint: STR_NONE: the deployment's */
    const struct json *run;
    struct client *client; /* impatient: for looks while the child runs */
    struct child child;
    enum on_term on_term;
    enum stop_reason reason;
    Dur kill_at;           /* 0: not asked to stop yet */
    int code;
    bool ended, given_back;
};

static int read_behaviour(enum on_term *ret, struct err *err)
{
    static const char *const names[] = {[TERM_CRASH] = "crash", [TERM_RESCHEDULE] = "reschedule", [TERM_RELINQUISH] = "relinquish"};
    const char *set = getenv("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR");
    *ret = TERM_CRASH;
    if (!set || !*set)
        return 0;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_ieq(str_of(set), str_of(names[i]))) {
            *ret = (enum on_term)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR is \"%s\": it is one of crash, reschedule, relinquish", set);
}

/* The run as it is now; NULL where it cannot be had at the moment. */
static const struct json *look(struct execution *e, struct arena *a)
{
    const struct json *v;
    struct err ignored;
    return client_json(e->client, a, "GET", str_fmt(a, "/flow_runs/%.*s", STR_ARG(e->id)), STR_NONE, &v, &ignored) == 0 ? v : NULL;
}

static void stop_child(struct execution *e, enum stop_reason reason)
{
    if (e->kill_at)
        return;
    e->reason = reason;
    e->kill_at = time_monotonic() + STOP_GRACE;
    child_signal(&e->child, SIGTERM);
}

/* The run goes back to those that wait. */
static void reschedule(struct execution *e)
{
    struct cli *x = e->x;
    struct err err;
    struct time_text now = time_iso(time_now());
    Str state = str_fmt(x->a, "{\"type\":\"SCHEDULED\",\"name\":\"AwaitingRetry\",\"message\":\"Its place was taken away\",\"state_details\":{\"scheduled_time\":\"%s\"}}", now.s);
    e->given_back = true;
    if (run_set_state(x, e->id, state, /* force= */ true, &err) < 0)
        fprintf(stderr, "%s: flow run '%.*s' was not rescheduled: %s\n", x->program, STR_ARG(e->id), err.text);
    else
        fprintf(stderr, "%s: flow run '%.*s' is rescheduled\n", x->program, STR_ARG(e->id));
    child_kill_tree(&e->child);
}

static void on_signal(struct execution *e, int sig)
{
    if (e->kill_at && sig == SIGINT) { /* asked twice */
        e->kill_at = 1;
        return;
    }
    if (sig == SIGTERM && e->on_term == TERM_RESCHEDULE) {
        reschedule(e);
    } else if (sig == SIGTERM && e->on_term == TERM_RELINQUISH) {
        e->given_back = true;
        child_kill_tree(&e->child);
    } else {
        stop_child(e, STOP_ASKED);
    }
}

static int wait_for_child(struct execution *e, int signals)
{
    Dur look_at = time_monotonic() + LOOK_EVERY;
    while (!e->ended) {
        struct pollfd f[] = {{.fd = e->child.pidfd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        Dur now = time_monotonic(), next = e->kill_at ? MIN(e->kill_at, look_at) : look_at;
        if (poll(f, COUNT_OF(f), (int)(MAX(next - now, (Dur)0) / MSEC) + 1) < 0 && errno != EINTR)
            return -1;
        struct signalfd_siginfo info;
        if (f[1].revents && read(signals, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo != SIGCHLD)
            on_signal(e, (int)info.ssi_signo);
        e->ended = child_reap(&e->child, &e->code);
        now = time_monotonic();
        if (!e->ended && e->kill_at && now >= e->kill_at) {
            child_kill_tree(&e->child);
            e->ended = child_reap(&e->child, &e->code);
        }
        if (!e->ended && !e->kill_at && now >= look_at) {
            AUTO(arena_freep) struct arena *a = arena_create();
            const struct json *run = look(e, a);
            if (run && str_eq(field(run, "state_type"), STR("CANCELLING")))
                stop_child(e, STOP_CANCEL);
            look_at = now + LOOK_EVERY;
        }
    }
    return 0;
}

/* Tells the server how it ended, where the run did not do so itself. */
static int report(struct execution *e, struct err *err)
{
    struct cli *x = e->x;
    const struct json *run;
    struct run_end end = {.started = true, .code = e->code, .reason = e->reason};
    if (api_get(x, str_fmt(x->a, "/flow_runs/%.*s", STR_ARG(e->id)), &run, err) < 0)
        return -1;
    struct verdict v = run_verdict(x->a, &end, run, UUID_NIL, STR_NONE);
    if (v.kind == VERDICT_NOTHING)
        return 0;
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "type", v.type);
    if (v.name)
        jw_kz(&w, "name", v.name);
    jw_kstr(&w, "message", v.message);
    jw_end(&w);
    return run_set_state(x, e->id, buf_view(&b), v.force, err);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    UNUSED(st), UNUSED(kind), UNUSED(at);
    (void)remove(path); /* what cannot be removed stays */
    return 0;
}

/* An empty folder for the run's code, below TMPDIR. */
static int make_workspace(struct cli *x, Str *ret, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *path = str_z(x->a, str_fmt(x->a, "%s/millpond-run-XXXXXX", tmp && *tmp ? tmp : "/tmp"));
    if (!mkdtemp(path))
        return err_errno(err, "cannot make a folder for the run's code (%s)", path);
    *ret = str_of(path);
    return 0;
}

static int start(struct execution *e, Str cwd, struct err *err)
{
    struct cli *x = e->x;
    EnvVars env = {0};
    python_environment(x);
    setenv("PREFECT__FLOW_RUN_ID", str_z(x->a, e->id), 1);
    if (e->entrypoint.p)
        setenv("PREFECT__FLOW_ENTRYPOINT", str_z(x->a, e->entrypoint), 1);
    for (char **v = environ; *v; v++) {
        const char *equals = strchr(*v, '=');
        if (equals && equals != *v)
            env_set(x->a, &env, (Str){*v, (size_t)(equals - *v)}, str_of(equals + 1));
    }
    Str argv[] = {python_program(x), STR("-m"), STR("prefect.engine")};
    struct child_plain p = {.argv = argv, .argc = COUNT_OF(argv), .env = &env, .cwd = cwd, .out_fd = 1, .err_fd = 2};
    return child_start(&p, &e->child, err);
}

static int execute(struct execution *e, Str cwd, struct err *err)
{
    struct cli *x = e->x;
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    cli_flush(x);
    sigprocmask(SIG_BLOCK, &set, &before);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals < 0)
        return err_errno(err, "waiting for signals");
    struct client_options o = cli_client_options(x);
    o.timeout = 5 * SEC;
    o.retries = 0;
    e->client = client_create(&o);
    int rc = start(e, cwd, err);
    if (rc == 0 && wait_for_child(e, signals) < 0)
        rc = err_errno(err, "waiting for the run's process");
    if (rc == 0)
        child_kill_tree(&e->child); /* what it left behind */
    child_clear(&e->child);
    client_free(e->client);
    close(signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (rc < 0)
        return -1;
    if (e->given_back)
        return e->on_term == TERM_RESCHEDULE ? 0 : 1;
    if (report(e, err) < 0)
        return err_wrap(err, "telling how flow run '%.*s' ended", STR_ARG(e->id));
    return e->code < 0 ? 128 - e->code : e->code;
}

int run_execute(struct cli *x, const struct json *run, Str entrypoint, struct err *err)
{
    struct execution e = {.x = x, .id = field(run, "id"), .run = run, .entrypoint = entrypoint};
    Str cwd = STR(".");
    if (read_behaviour(&e.on_term, err) < 0 || python_has(x, "prefect", err) < 0 || (!entrypoint.p && make_workspace(x, &cwd, err) < 0))
        return -1;
    int rc = execute(&e, cwd, err);
    if (!entrypoint.p)
        (void)nftw(cwd.p, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}
