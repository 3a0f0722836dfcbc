#include "cli/commands.h"
#include "cli/files.h"
#include "cli/progress.h"
#include "cli/server_options.h"

#include "api/server_main.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_WAIT (20 * SEC) /* how long a server in the background may take until it listens */
#define STOP_WAIT (60 * SEC)

static Str pid_path(struct cli *x)
{
    Str home = settings_state_home(x->settings);
    return str_fmt(x->a, "%.*s/server.pid", STR_ARG(home));
}

static void pause_for(Dur d)
{
    struct timespec t = {d / SEC, d % SEC * 1000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

/* --- start --- */

/* An option, else its setting. */
static Str option_or_setting(struct cli *x, const char *option, const char *setting)
{
    Str s = args_text(&x->args, option);
    return s.p ? s : settings_text(x->settings, setting);
}

int server_database_url(struct cli *x, Str *ret, struct err *err)
{
    Str url = option_or_setting(x, "database", "server.database.connection_url");
    if (!url.p) {
        *ret = STR_NONE;
        return 0;
    }
    if (str_starts(url, STR("postgresql+"))) {
        ptrdiff_t at = str_find(url, STR("://"));
        if (at > 0) {
            Str rest = str_sub(url, (size_t)at, SIZE_MAX);
            url = str_fmt(x->a, "postgresql%.*s", STR_ARG(rest));
        }
    }
    if (str_starts(url, STR("sqlite+aiosqlite:")))
        return err_set(err, ERR_INVALID, "%.*s is the file of another server's tables: this one keeps its own; give sqlite:PATH, or leave it out",
                       STR_ARG(url));
    if (!str_starts(url, STR("sqlite:")) && !str_starts(url, STR("postgresql://")) && !str_starts(url, STR("postgres://")))
        return err_set(err, ERR_INVALID, "--database: \"%.*s\" is neither sqlite:PATH nor postgresql://…", STR_ARG(url));
    *ret = url;
    return 0;
}

/* Settings of the services and of orchestration: a duration, or (count) a whole number. */
static const struct tuning {
    const char *path;
    size_t at;
    bool count;
} tunings[] = {
    {"server.api.csrf_token_expiration", offsetof(struct server_options, csrf_life)},
    {"server.services.scheduler.min_scheduled_time", offsetof(struct server_options, services.min_scheduled_time)},
    {"server.services.scheduler.max_scheduled_time", offsetof(struct server_options, services.max_scheduled_time)},
    {"server.services.scheduler.min_runs", offsetof(struct server_options, services.min_runs), true},
    {"server.services.scheduler.max_runs", offsetof(struct server_options, services.max_runs), true},
    {"server.services.foreman.deployment_last_polled_timeout_seconds", offsetof(struct server_options, services.deployment_silence)},
    {"server.services.foreman.work_queue_last_polled_timeout_seconds", offsetof(struct server_options, services.queue_silence)},
    {"server.events.retention_period", offsetof(struct server_options, services.retention.events)},
    {"server.logs.retention_period", offsetof(struct server_options, services.retention.logs)},
    {"server.services.late_runs.after_seconds", offsetof(struct server_options, orchestration.late_grace)},
    {"server.services.cancellation_cleanup.cancelling_timeout_seconds", offsetof(struct server_options, orchestration.cancelling_timeout)},
    {"server.deployments.concurrency_slot_wait_seconds", offsetof(struct server_options, orchestration.deployment_slot_wait)},
    {"server.concurrency.initial_deployment_lease_duration", offsetof(struct server_options, orchestration.initial_lease)},
    {"server.concurrency.maximum_concurrency_slot_wait_seconds", offsetof(struct server_options, orchestration.max_slot_wait)},
    {"server.tasks.tag_concurrency_slot_wait_seconds", offsetof(struct server_options, orchestration.tag_slot_wait)},
    {"server.tasks.max_cache_key_length", offsetof(struct server_options, orchestration.max_cache_key), true},
};

static int tune(const struct settings *s, struct server_options *o, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(tunings); i++) {
        Str text = settings_text(s, tunings[i].path);
        int64_t *value = (int64_t *)((char *)o + tunings[i].at);
        if (!text.p)
            continue;
        if (!(tunings[i].count ? str_int(text, value) : setting_duration(text, value)) || *value < 0)
            return err_set(err, ERR_INVALID, "%.*s: \"%.*s\" must be %s", STR_ARG(settings_origin(s, tunings[i].path)), STR_ARG(text),
                           tunings[i].count ? "a whole number, 0 or more" : "a duration, 0 or more");
    }
    return 0;
}

static int start_options(struct cli *x, struct server_options *ret, struct err *err)
{
    const struct settings *s = x->settings;
    int64_t port = args_given(&x->args, "port") ? args_int(&x->args, "port") : settings_int(s, "server.api.port");
    Str durability = option_or_setting(x, "durability", "server.durability"), level = option_or_setting(x, "log-level", "server.logging_level");
    enum log_level parsed;
    if (port < 0 || port > 65535)
        return err_set(err, ERR_INVALID, "--port: %lld is no port: 0 to 65535", (long long)port);
    if (!str_ieq(durability, STR("full")) && !str_ieq(durability, STR("normal")))
        return err_set(err, ERR_INVALID, "--durability: \"%.*s\" is neither full nor normal", STR_ARG(durability));
    if (!log_level_parse(str_z(x->a, level), &parsed) && !str_ieq(level, STR("critical")))
        return err_set(err, ERR_INVALID, "--log-level: \"%.*s\" is none of debug, info, warning, error", STR_ARG(level));
    log_set_level(str_ieq(level, STR("critical")) ? LOG_ERROR : settings_bool(s, "debug_mode") ? LOG_DEBUG : parsed);
    struct server_options o = {
        .home = settings_state_home(s),
        .host = option_or_setting(x, "host", "server.api.host"),
        .port = (int)port,
        .relaxed = str_ieq(durability, STR("normal")),
        .tls_cert = option_or_setting(x, "tls-cert", "server.tls_cert_file"),
        .tls_key = option_or_setting(x, "tls-key", "server.tls_key_file"),
        .auth_string = settings_text(s, "server.api.auth_string"),
        .cors_origins = settings_text(s, "server.api.cors_allowed_origins"),
        .cors_methods = settings_text(s, "server.api.cors_allowed_methods"),
        .cors_headers = settings_text(s, "server.api.cors_allowed_headers"),
        .csrf = settings_bool(s, "server.api.csrf_protection_enabled"),
        .allow_reset = settings_bool(s, "server.database.allow_reset"),
        .forget_secrets = args_flag(&x->args, "forget-secrets", false),
        .no_managed = !args_flag(&x->args, "managed", settings_bool(s, "server.managed")),
        .log_file = option_or_setting(x, "log-file", "server.log_file"),
        .orchestration = orchestration_defaults,
        .services = service_defaults,
    };
    if (tune(s, &o, err) < 0)
        return -1;
    if (!o.tls_cert.p != !o.tls_key.p)
        return err_set(err, ERR_INVALID, "TLS needs both --tls-cert and --tls-key");
    if (server_database_url(x, &o.database, err) < 0 || folder_make(x->a, o.home, err) < 0)
        return -1;
    *ret = o;
    return 0;
}

/* What other servers can leave out and this one cannot: said, not silently passed over. */
static void note_unknown(struct cli *x)
{
    static const char *const names[] = {"scheduler", "late-runs", "ui"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!args_flag(&x->args, names[i], true))
            cli_note(x, "--no-%s has no effect here.", names[i]);
    if (args_flag(&x->args, "no-services", false))
        cli_note(x, "--no-services has no effect here: servers of one database share its services among them.");
}

/* The pid file, made and locked: as long as a server runs in the background it holds the lock. -1 with ERR_CONFLICT where
 * one does. */
static int pid_file_take(struct cli *x, struct err *err)
{
    Str path = pid_path(x);
    int fd = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "cannot write %.*s", STR_ARG(path));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return err_set(err, ERR_CONFLICT, "A server is already running in the background; \"%s server stop\" ends it.", x->program);
    }
    return fd;
}

static _Noreturn void serve_detached(struct cli *x, const struct server_options *o, int pid_fd)
{
    struct err err;
    Str path = pid_path(x), log = o->log_file.p ? o->log_file : str_fmt(x->a, "%.*s/server.log", STR_ARG(o->home));
    int null = open("/dev/null", O_RDWR), out = open(str_z(x->a, log), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (setsid() < 0 || null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(1);
    char pid[24];
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(pid_fd, 0) < 0 || pwrite(pid_fd, pid, (size_t)n, 0) != n)
        _exit(1);
    int rc = server_main(o, &err);
    if (rc < 0)
        log_at(LOG_ERROR, "server", "cannot start", "reason=\"%s\"", err.text);
    unlink(path.p);
    _exit(rc < 0);
}

/* Whether the server's address answers; the first sign of life. */
static bool answers(struct cli *x, Str url)
{
    struct client_options o = cli_client_options(x);
    o.base_url = url;
    o.timeout = 2 * SEC;
    o.retries = 0;
    o.tls_insecure = true; /* our own server, just started, by its local address */
    AUTO(client_freep) struct client *c = client_create(&o);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct response r;
    struct err ignored;
    return client_call(c, a, "GET", STR("/health"), STR_NONE, &r, &ignored) == 0 && r.status == 200;
}

static int start_in_background(struct cli *x, const struct server_options *o, struct err *err)
{
    if (o->port == 0)
        return err_set(err, ERR_INVALID, "a server in the background needs a --port of its own: with 0 nobody would know which");
    int fd = pid_file_take(x, err);
    if (fd < 0)
        return -1;
    cli_flush(x);
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, "cannot start a process");
    if (pid == 0)
        serve_detached(x, o, fd);
    close(fd);
    bool any = str_eq(o->host, STR("0.0.0.0")) || str_eq(o->host, STR("::"));
    Str url = str_fmt(x->a, "%s://%.*s:%d/api", o->tls_cert.p ? "https" : "http", any ? 9 : (int)o->host.n, any ? "127.0.0.1" : o->host.p, o->port);
    for (Dur begun = time_monotonic(); !answers(x, url); pause_for(10 * MSEC)) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return err_set(err, ERR_IO, "the server did not start; why stands in %.*s", o->log_file.p ? (int)o->log_file.n : (int)o->home.n + 11,
                           o->log_file.p ? o->log_file.p : str_fmt(x->a, "%.*s/server.log", STR_ARG(o->home)).p);
        if (time_monotonic() > begun + START_WAIT)
            return err_set(err, ERR_BUSY, "the server (process %d) is not listening at %.*s yet", (int)pid, STR_ARG(url));
    }
    cli_ok(x, "The server is running in the background at %.*s; \"%s server stop\" ends it.", STR_ARG(url), x->program);
    return 0;
}

static int start(struct cli *x, struct err *err)
{
    struct server_options o;
    if (start_options(x, &o, err) < 0)
        return -1;
    note_unknown(x);
    cli_flush(x);
    return args_flag(&x->args, "background", false) ? start_in_background(x, &o, err) : server_main(&o, err);
}

/* --- stop --- */

static void stop_result(struct cli *x, const char *status)
{
    if (x->json)
        cli_put(x, "{\n  \"status\": \"%s\"\n}\n", status);
}

static int stop(struct cli *x, struct err *err)
{
    Str path = pid_path(x), text;
    int64_t pid;
    int fd = open(path.p, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        cli_say(x, "No server running in the background.\n");
        stop_result(x, "not_running");
        return 0;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        unlink(path.p);
        close(fd);
        cli_say(x, "No server running in the background: the one that was there is gone.\n");
        stop_result(x, "not_running");
        return 0;
    }
    int rc = 0;
    if (path_read(x->a, path, &text, err) < 0)
        rc = -1;
    else if (!str_int(str_trim(text), &pid) || pid < 2 || kill((pid_t)pid, SIGTERM) < 0)
        rc = err_set(err, ERR_IO, "%.*s names no process that could be stopped", STR_ARG(path));
    /* It is over when the lock is free: a process that nobody has waited for looks alive. */
    for (Dur begun = time_monotonic(); rc == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; pause_for(10 * MSEC))
        if (time_monotonic() > begun + STOP_WAIT)
            rc = err_set(err, ERR_BUSY, "the server (process %lld) is still finishing what it has accepted", (long long)pid);
    close(fd);
    if (rc == 0) {
        cli_ok(x, "Server stopped!");
        stop_result(x, "stopped");
    }
    return rc;
}

/* --- status --- */

static void status_json(struct cli *x, const char *status, Str version, const char *error, int64_t timeout)
{
    struct jw w = jw_on(&x->out);
    w.indent = 2;
    jw_object(&w);
    jw_kz(&w, "status", status);
    jw_kstr(&w, "api_url", settings_api_url(x->settings));
    if (version.p)
        jw_kstr(&w, "server_version", version);
    if (error)
        jw_kz(&w, "error", error);
    if (timeout != INT_NONE)
        jw_kint(&w, "timeout", timeout);
    jw_end(&w);
    buf_char(&x->out, '\n');
}

static int status(struct cli *x, struct err *err)
{
    Str url = settings_api_url(x->settings), version = STR_NONE;
    int64_t timeout = args_given(&x->args, "timeout") ? args_int(&x->args, "timeout") : 0;
    bool wait = args_flag(&x->args, "wait", false);
    const struct json *v;
    struct progress *p = x->json ? NULL : progress_begin(x, str_fmt(x->a, "Connecting to server at %.*s...", STR_ARG(url)));
    Dur begun = time_monotonic();
    while (api_get(x, STR("/health"), &v, err) < 0) {
        bool late = wait && timeout > 0 && time_monotonic() >= begun + timeout * SEC;
        if (wait && !late) {
            progress_tick(p);
            pause_for(timeout > 0 ? MIN(500 * MSEC, MAX(begun + timeout * SEC - time_monotonic(), (Dur)1)) : 500 * MSEC);
            continue;
        }
        progress_end(p);
        if (x->json) {
            status_json(x, late ? "timed_out" : "unavailable", STR_NONE, err->text, late ? timeout : INT_NONE);
            return 1;
        }
        if (late)
            return err_set(err, ERR_BUSY, "no server was available at %.*s within %lld seconds", STR_ARG(url), (long long)timeout);
        return err->code == ERR_IO ? -1 : err_wrap(err, "the server at %.*s is not available", STR_ARG(url));
    }
    progress_end(p);
    if (api_get(x, STR("/admin/version"), &v, err) < 0)
        return -1;
    version = json_str(v);
    if (x->json) {
        status_json(x, "available", version, NULL, INT_NONE);
        return 0;
    }
    cli_ok(x, "Server is available.");
    cli_put(x, "  API URL: %.*s\n", STR_ARG(url));
    cli_put(x, "  Server version: %.*s\n", version.n ? (int)version.n : 7, version.n ? version.p : "unknown");
    return 0;
}

static const struct command commands[] = {
    {.name = "start", .summary = "Start the server", .run = start,
     .details = "It listens when it has printed its address. SIGTERM and Ctrl-C end it once all it has accepted is done; a second one ends it at once."
                " Pages of other origins may use it as PREFECT_SERVER_CORS_ALLOWED_ORIGINS says (all of them, unless set).",
     .options = OPTIONS({"host", NULL, VALUE_TEXT, 0, "Address to listen on", .setting = "server.api.host"},
                        {"port", NULL, VALUE_INT, 0, "Port to listen on; 0 takes a free one", .setting = "server.api.port"},
                        OPTION_DATABASE,
                        {"durability", NULL, VALUE_TEXT, 0, "full: an answer leaves when its commit is on disk; normal: a power cut may cost the last moments",
                         .setting = "server.durability"},
                        {"tls-cert", NULL, VALUE_PATH, 0, "Certificate, PEM", .setting = "server.tls_cert_file"},
                        {"tls-key", NULL, VALUE_PATH, 0, "Its key, PEM", .setting = "server.tls_key_file"},
                        {"log-level", NULL, VALUE_TEXT, 0, "debug, info, warning or error", .setting = "server.logging_level"},
                        {"log-file", NULL, VALUE_PATH, 0, "Log to this file; SIGHUP opens it anew", .setting = "server.log_file"},
                        {"managed", NULL, VALUE_FLAG, OPTION_ON, "Run managed pools here", .setting = "server.managed"},
                        {"forget-secrets", NULL, VALUE_FLAG, OPTION_NO_NEG, "The seal.key is lost: delete the block documents that it sealed, and start with the one that is there"},
                        {"background", "b", VALUE_FLAG, 0, "Return when it listens, and let it run"},
                        {"keep-alive-timeout", NULL, VALUE_INT, OPTION_HIDDEN, "Not used"},
                        {"scheduler", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used"}, {"late-runs", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used"},
                        {"analytics-on", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used: there is nothing that reports home", .negative = "analytics-off"},
                        {"ui", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used"}, {"no-services", NULL, VALUE_FLAG, OPTION_HIDDEN | OPTION_NO_NEG, "Not used"},
                        {"workers", NULL, VALUE_INT, OPTION_HIDDEN, "Not used: one process serves on all cores"})},
    {.name = "stop", .summary = "Stop the server that runs in the background", .run = stop, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "status", .summary = "Say whether the server answers", .run = status,
     .options = OPTIONS({"wait", NULL, VALUE_FLAG, 0, "Wait until it does"}, {"timeout", "t", VALUE_INT, 0, "Seconds to wait at most; 0 is without end"}, OPTION_OUTPUT)},
    {0},
};

static const struct command *const groups[] = {&command_server_database, &command_server_services, NULL};

const struct command command_server = {.name = "server", .summary = "Start and stop the server", .groups = groups, .commands = commands};
