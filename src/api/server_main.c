/* The server as a whole. */
#include "api/server_main.h"

#include "api/database.h"
#include "api/metrics.h"
#include "api/server.h"
#include "assets/assets.h"
#include "base/log.h"
#include "base/settle.h"
#include "events/store.h"
#include "services/alarms.h"
#include "services/recorder.h"
#include "services/task_queues.h"
#include "services/upkeep.h"
#include "store/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a stop waits for requests that were accepted. */
#define DRAIN_GRACE (30 * SEC)
/* Seconds between looks for managed pools that another server of the same database has made. */
#define POOLS_LOOK 30
#define TLS_FILE_MOST ((size_t)1 << 20)

static Str read_file(struct arena *a, Str path, struct err *err)
{
    FILE *f = fopen(str_z(a, path), "re");
    if (!f) {
        err_errno(err, "%.*s", STR_ARG(path));
        return STR_NONE;
    }
    char *text = arena_alloc(a, TLS_FILE_MOST + 1);
    size_t n = fread(text, 1, TLS_FILE_MOST + 1, f);
    fclose(f);
    if (n <= TLS_FILE_MOST)
        return (Str){text, n};
    err_set(err, ERR_TOO_LARGE, "%.*s: larger than 1 MiB, so no certificate or key", STR_ARG(path));
    return STR_NONE;
}

/* Both databases of a workspace: for SQLite a second file beside the first, for PostgreSQL a second schema. */
static int open_databases(struct arena *a, const struct server_options *o, struct workspace *ws, struct err *err)
{
    struct db_options main, telemetry;
    database_options(a, o, &main, &telemetry);
    ws->db = db_open(&main, err);
    if (!ws->db)
        return -1;
    ws->telemetry = db_open(&telemetry, err);
    return ws->telemetry ? 0 : -1;
}

static void workspace_close(struct workspace *ws)
{
    alarms_stop(ws->alarms);
    upkeep_stop(ws->upkeep);
    task_queues_stop(ws->task_queues);
    recorder_stop(ws->recorder);
    db_close(ws->db);
    event_store_free(ws->events);
    db_close(ws->telemetry);
    bus_free(ws->bus);
    seal_key_free(ws->key);
}

static int workspace_open(struct arena *a, const struct server_options *o, struct loop *loop, struct workspace *ws, struct err *err)
{
    ws->name = STR("default");
    ws->loop = loop;
    ws->orchestration = o->orchestration;
    ws->services = o->services;
    ws->bus = bus_create();
    ws->key = seal_key_open(str_fmt(a, "%.*s/seal.key", STR_ARG(o->home)), err);
    if (!ws->key || open_databases(a, o, ws, err) < 0)
        return -1;
    ws->events = event_store_create(ws->telemetry, ws->bus, err);
    if (!ws->events)
        return -1;
    ws->recorder = recorder_start(ws, err);
    if (!ws->recorder || workspace_prepare(ws, o->forget_secrets, err) < 0)
        return -1;
    ws->task_queues = task_queues_start(ws, err);
    ws->upkeep = ws->task_queues ? upkeep_start(ws, err) : NULL;
    return ws->upkeep && alarms_start(ws, err) ? 0 : -1;
}

/* ---- the child that runs managed pools: the same worker as anybody's, over the same API ---- */

/* It is started with the first managed pool: a server without one does without the child's memory. */
struct child {
    pid_t pid; /* 0: none */
    Dur started; /* monotonic */
    bool wanted; /* there is a managed pool */
    struct subscription *pools;
};

static int find_managed(struct conn *c, void *arg, struct err *err)
{
    int64_t one;
    int rc = db_get_int(c, err, &one, "SELECT 1 FROM work_pool WHERE type LIKE '%:managed' LIMIT 1", "");
    if (rc >= 0)
        *(bool *)arg = rc == 1;
    return rc < 0 ? -1 : 0;
}

static bool is_wanted(struct workspace *ws)
{
    bool found = false;
    struct err err;
    if (db_read_wait(ws->db, find_managed, &found, &err) < 0)
        log_at(LOG_WARN, "server", "cannot look for managed pools, trying again", "error=\"%s\"", err.text);
    return found;
}

static void on_pool_changed(void *user, const struct message *m)
{
    UNUSED(user), UNUSED(m);
    kill(getpid(), SIGUSR1); /* wakes wait_for_stop */
}

static void child_start(struct child *c, const struct server_options *o, const char *url)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    static const char *const argv[] = {"millpond", "worker", "start", "--managed", NULL};
    VEC(char *) env = {0};
    extern char **environ;
    for (char **e = environ; *e; e++) {
        Str one = str_of(*e);
        if (!str_starts(one, STR("MILLPOND_API_URL=")) && !str_starts(one, STR("MILLPOND_HOME=")) &&
            !str_starts(one, STR("PREFECT_API_URL=")) && !str_starts(one, STR("MILLPOND_API_AUTH_STRING=")))
            vec_push(a, &env, *e);
    }
    vec_push(a, &env, str_z(a, str_fmt(a, "MILLPOND_API_URL=%s", url)));
    vec_push(a, &env, str_z(a, str_fmt(a, "MILLPOND_HOME=%.*s", STR_ARG(o->home))));
    if (o->auth_string.n)
        vec_push(a, &env, str_z(a, str_fmt(a, "MILLPOND_API_AUTH_STRING=%.*s", STR_ARG(o->auth_string))));
    vec_push(a, &env, NULL);
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none); /* the server blocks the signals it waits for */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(&c->pid, "/proc/self/exe", NULL, &attr, (char *const *)(uintptr_t)argv, env.v);
    posix_spawnattr_destroy(&attr);
    c->started = time_monotonic();
    if (rc != 0) {
        c->pid = 0;
        log_at(LOG_ERROR, "server", "the worker for managed pools cannot be started", "error=%d", rc);
    }
}

/* ---- start, wait, stop ---- */

static int reopen_log(const struct server_options *o, struct err *err)
{
    if (!o->log_file.n)
        return 0;
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = open(str_z(a, o->log_file), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_errno(err, "log file %.*s", STR_ARG(o->log_file));
    static int last = -1;
    log_set_fd(fd);
    if (last >= 0)
        close(last);
    last = fd;
    return 0;
}

static int read_tls(struct arena *a, const struct server_options *o, Str *ret_cert, Str *ret_key, struct err *err)
{
    if (!o->tls_cert.n != !o->tls_key.n)
        return err_set(err, ERR_INVALID, "TLS needs both a certificate (--tls-cert) and its key (--tls-key)");
    if (!o->tls_cert.n)
        return 0;
    *ret_cert = read_file(a, o->tls_cert, err);
    *ret_key = ret_cert->p ? read_file(a, o->tls_key, err) : STR_NONE;
    return ret_key->p ? 0 : err_wrap(err, "TLS");
}

static void renew_tls(const struct server_options *o, struct http_server *http)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str cert = STR_NONE, key = STR_NONE;
    struct err err;
    if (!o->tls_cert.n)
        return;
    if (read_tls(a, o, &cert, &key, &err) < 0 || http_server_renew_tls(http, cert, key, &err) < 0)
        log_at(LOG_WARN, "server", "keeping the TLS certificate that was there", "error=\"%s\"", err.text);
    else
        log_at(LOG_INFO, "server", "the TLS certificate was read anew", "file=\"%.*s\"", STR_ARG(o->tls_cert));
}

/* Until a signal to stop: starts the child when it is wanted, reaps it and starts it anew (not more than once a second),
 * opens the log and the certificate anew. */
static void wait_for_stop(const struct server_options *o, struct http_server *http, const sigset_t *set, struct workspace *ws, struct child *child, const char *url)
{
    bool settled = false;
    for (;;) {
        bool none = !o->no_managed && !child->pid;
        if (none && !child->wanted)
            child->wanted = is_wanted(ws);
        if (none && child->wanted && time_monotonic() - child->started >= SEC)
            child_start(child, o, url);
        struct timespec tick = {.tv_sec = child->wanted ? 1 : POOLS_LOOK};
        if (!settled)
            tick.tv_sec = 1;
        int sig = !settled || (!o->no_managed && !child->pid) ? sigtimedwait(set, NULL, &tick) : sigwaitinfo(set, NULL);
        if (sig < 0 && !settled) {
            memory_settle();
            settled = true;
        }
        if (sig == SIGTERM || sig == SIGINT)
            return;
        if (sig == SIGHUP) {
            struct err err;
            if (reopen_log(o, &err) < 0)
                log_at(LOG_WARN, "server", "keeping the log file that was open", "error=\"%s\"", err.text);
            renew_tls(o, http);
        }
        if (sig == SIGCHLD) {
            int status;
            for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
                if (pid == child->pid) {
                    log_at(LOG_WARN, "server", "the worker for managed pools ended, starting it again", "status=%d", status);
                    child->pid = 0;
                }
        }
    }
}

struct leaving {
    struct subscription *subscription;
    sem_t done;
};

static void leave(void *arg)
{
    struct leaving *l = arg;
    bus_unsubscribe(l->subscription);
    sem_post(&l->done);
}

/* bus_unsubscribe is the loop's thread's business. */
static void unsubscribe_wait(struct loop *loop, struct subscription *subscription)
{
    struct leaving l = {.subscription = subscription};
    sem_init(&l.done, 0, 0);
    loop_post(loop, leave, &l);
    while (sem_wait(&l.done) < 0)
        ;
    sem_destroy(&l.done);
}

static void end_now(int sig)
{
    static const char text[] = "told to stop again: ending at once\n";
    UNUSED(sig);
    ssize_t done = write(STDERR_FILENO, text, sizeof text - 1);
    UNUSED(done);
    _exit(1);
}

/* What was acknowledged is on disk: nothing of it is lost by not waiting for what is under way. */
static void let_a_second_signal_end_it(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM), sigaddset(&set, SIGINT);
    signal(SIGTERM, end_now);
    signal(SIGINT, end_now);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static sigset_t waited_for(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM), sigaddset(&set, SIGINT), sigaddset(&set, SIGHUP), sigaddset(&set, SIGCHLD), sigaddset(&set, SIGUSR1);
    return set;
}

/* With TLS the worker for managed pools, and its runs, come by a door of their own: the certificate bears the name by which others
 * come, and need not be one that a run's client trusts. On the loopback, plain, with the same auth string. Its port stays the same over
 * restarts ($MILLPOND_HOME/local-port), for runs that outlive the server. */
static struct http_server *local_door(struct arena *a, const struct http_options *front, const struct server_options *o, struct err *err)
{
    const char *path = str_z(a, str_fmt(a, "%.*s/local-port", STR_ARG(o->home)));
    struct http_options local = *front;
    int before = 0;
    FILE *f = fopen(path, "re");
    if (f && (fscanf(f, "%d", &before) != 1 || before < 1024 || before > 65535))
        before = 0;
    if (f)
        fclose(f);
    local.host = STR("127.0.0.1");
    local.port = before;
    local.threads = 1;
    local.tls_cert = local.tls_key = STR_NONE;
    struct http_server *s = http_server_start(&local, err);
    if (!s && before) {
        log_at(LOG_WARN, "server", "runs that outlived the last server cannot report: their port is taken", "port=%d error=\"%s\"", before, err->text);
        local.port = 0;
        s = http_server_start(&local, err);
    }
    if (!s || http_server_port(s) == before)
        return s;
    f = fopen(path, "we");
    if (!f || fprintf(f, "%d\n", http_server_port(s)) < 0)
        log_at(LOG_WARN, "server", "the port for managed runs cannot be noted down: runs that outlive this server cannot report", "file=\"%s\"", path);
    if (f)
        fclose(f);
    return s;
}

static bool is_loopback(Str host)
{
    return str_starts(host, STR("127.")) || str_eqz(host, "::1") || str_ieq(host, STR("localhost"));
}

static int run(struct arena *a, struct server *s, struct workspace *ws, struct err *err)
{
    const struct server_options *o = s->options;
    struct http_options http = {.host = o->host, .port = o->port, .handler = api_handle, .replied = metrics_replied, .user = s, .loop = s->loop};
    if (read_tls(a, o, &http.tls_cert, &http.tls_key, err) < 0)
        return -1;
    if (workspace_open(a, o, s->loop, ws, err) < 0)
        return -1;
    s->ws = ws;
    s->started = time_now();
    sigset_t set = waited_for();
    s->http = http_server_start(&http, err);
    if (!s->http)
        return -1;
    struct http_server *local = http.tls_cert.n && !o->no_managed ? local_door(a, &http, o, err) : NULL;
    if (http.tls_cert.n && !o->no_managed && !local)
        return err_wrap(err, "the address for managed runs");
    if (!o->auth_string.n && !is_loopback(o->host))
        log_at(LOG_WARN, "server", "whoever reaches this address may do everything: set PREFECT_SERVER_API_AUTH_STRING to user:password",
               "host=\"%.*s\"", STR_ARG(o->host));
    Str host = str_find(o->host, STR(":")) >= 0 ? str_fmt(a, "[%.*s]", STR_ARG(o->host)) : o->host;
    int port = http_server_port(s->http);
    const char *scheme = http.tls_cert.n ? "https" : "http";
    printf("millpond listens on %s://%.*s:%d (API: %s://%.*s:%d/api)\n", scheme, STR_ARG(host), port, scheme, STR_ARG(host), port);
    fflush(stdout);
    bool any = str_eqz(o->host, "0.0.0.0") || str_eqz(o->host, "::");
    char *url = str_z(a, str_fmt(a, "%s://%.*s:%d/api", scheme, STR_ARG(any ? STR("127.0.0.1") : host), port));
    if (local)
        url = str_z(a, str_fmt(a, "http://127.0.0.1:%d/api", http_server_port(local)));
    struct child child = {0};
    struct subscriber who = {.topics = TOPIC_BIT(TOPIC_POOL_CHANGED), .deliver = on_pool_changed};
    if (!o->no_managed)
        child.pools = bus_subscribe(ws->bus, s->loop, &who);
    wait_for_stop(o, s->http, &set, ws, &child, url);

    log_at(LOG_INFO, "server", "stopping", "pending=%zu", http_server_pending(s->http));
    s->draining = true;
    let_a_second_signal_end_it();
    if (child.pid > 0) {
        kill(child.pid, SIGTERM); /* its runs go on under their supervisors */
        waitpid(child.pid, NULL, 0);
    }
    http_server_quiesce(s->http);
    if (local) {
        http_server_quiesce(local);
        http_server_stop(local, DRAIN_GRACE);
    }
    http_server_stop(s->http, DRAIN_GRACE);
    s->http = NULL;
    if (child.pools)
        unsubscribe_wait(s->loop, child.pools);
    return 0;
}

int server_main(const struct server_options *o, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct workspace ws = {0};
    struct server s = {.options = o};
    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "libsodium cannot be initialised");
    signal(SIGPIPE, SIG_IGN);
    /* before any thread, so that all of them have it blocked */
    sigset_t set = waited_for();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (mkdir(str_z(a, o->home), 0700) < 0 && errno != EEXIST)
        return err_errno(err, "%.*s", STR_ARG(o->home));
    if (reopen_log(o, err) < 0)
        return -1;
    s.loop = loop_start("sockets", err);
    if (!s.loop)
        return -1;
    int rc = run(a, &s, &ws, err);
    workspace_close(&ws);
    loop_stop(s.loop);
    return rc;
}
