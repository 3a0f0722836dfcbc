#include "worker/supervisor_int.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/sandbox.h"

#define BUILD_TIME (20 * MINUTE)
#define BUILD_DISK_MB 4096
#define PROXY_PORT 3128   /* inside a closed network */
#define CONTROL_PORT 3126
#define LOGGING_FILE "/etc/millpond-logging.yml"

static int plan(struct supervisor *s, struct err *err)
{
    struct environment_want want = {
        .python = s->spec.python, .client = s->spec.client, .packages = s->spec.packages.v, .package_count = s->spec.packages.n};
    /* DIR is $MILLPOND_HOME/runs/<run> */
    Str home = str_sub(s->dir, 0, s->dir.n - supervisor_group(s).n - sizeof "/runs");
    return environment_plan(s->a, home, &want, &s->environments, err);
}

/* What the build said last, errors first. */
static int build_failed(struct supervisor *s, const struct environment *e, struct err *err)
{
    const char *best = "";
    for (int i = 0; i < (int)COUNT_OF(s->last_words); i++) {
        const char *w = s->last_words[(s->spoken + i) % (int)COUNT_OF(s->last_words)];
        if (*w && (!strstr(best, "ERROR") || strstr(w, "ERROR")))
            best = w;
    }
    return err_set(err, ERR_INVALID, "the environment (%.*s) could not be built: %s", STR_ARG(e->description), *best ? best : "the build said nothing");
}

static int build(struct supervisor *s, size_t layer, struct err *err)
{
    const struct environment *e = &s->environments.v[layer];
    struct environments below = s->environments;
    below.n = layer + 1;
    environment_discard(e);
    if (mkdir(str_z(s->a, e->dir), 0755) < 0 || chmod(str_z(s->a, e->dir), 0755) < 0)
        return err_errno(err, "making directory %.*s", STR_ARG(e->dir));
    Paths shown = {0};
    EnvVars env = {0};
    Str *argv;
    size_t argc;
    if (environment_paths(s->a, &below, &shown, err) < 0)
        return -1;
    environment_inherit(s->a, /* for_pip: */ true, &env, &shown);
    environment_build_command(s->a, e, &env, &argv, &argc);
    int out[2], listeners[SANDBOX_LISTENERS];
    if (supervisor_pipes(s, out, err) < 0)
        return -1;
    struct sandbox_spec box = {
        .argv = argv, .argc = argc, .env = &env, .read_only = shown.v, .read_only_count = shown.n, .writable = e->dir,
        .files = {{ENVIRONMENT_CONSTRAINTS, str_z(s->a, e->constraints)}},
        .network = SANDBOX_OPEN, .group = supervisor_group(s), .disk_mb = BUILD_DISK_MB, .out_fd = out[0], .err_fd = out[1], .pass_fd = -1,
    };
    AUTO(buf_free) struct buf notes = BUF(4096);
    int rc = sandbox_start(s->a, &box, &s->child, listeners, &notes, err);
    close(out[0]);
    close(out[1]);
    if (rc < 0)
        return -1;
    supervisor_note(s, UPLINK_INFO, "Building an environment: %.*s.", STR_ARG(e->description));
    Dur began = time_monotonic();
    s->building = true;
    s->stop_at = began + BUILD_TIME;
    supervisor_watch(s);
    s->building = false;
    child_clear(&s->child);
    bool late = s->end.reason == STOP_TIME_LIMIT;
    int code = s->end.code;
    if (late)
        s->end.reason = STOP_NONE;
    s->end.code = 0;
    s->exited = s->killed = false;
    s->kill_at = s->stop_at = 0;
    if (s->end.reason != STOP_NONE)
        return err_set(err, ERR_BUSY, "stopped while the environment was built");
    if (late)
        return err_set(err, ERR_INVALID, "building the environment (%.*s) took longer than %d minutes", STR_ARG(e->description), (int)(BUILD_TIME / MINUTE));
    if (code)
        return build_failed(s, e, err);
    supervisor_note(s, UPLINK_INFO, "The environment is ready after %.1f s.", (double)(time_monotonic() - began) / SEC);
    return 0;
}

/* One layer, taken for use: built here, or waited for where another run builds it. The lock stays with the process. */
static int take(struct supervisor *s, size_t layer, struct err *err)
{
    const struct environment *e = &s->environments.v[layer];
    for (bool told = false;;) {
        int fd;
        if (environment_take(e, &fd, err) == 0)
            return 0;
        if (err->code == ERR_NOT_FOUND) {
            supervisor_connect(s);
            if (build(s, layer, err) == 0)
                return environment_built(e, fd, err);
            environment_discard(e);
            close(fd);
            return -1;
        }
        if (err->code != ERR_BUSY)
            return -1;
        supervisor_connect(s);
        if (!told)
            supervisor_note(s, UPLINK_INFO, "Waiting for an environment that another run builds: %.*s.", STR_ARG(e->description));
        told = true;
        if (!supervisor_wait(s, 200 * MSEC))
            return err_set(err, ERR_BUSY, "stopped while the environment was built");
    }
}

int managed_prepare(struct supervisor *s, struct err *err)
{
    if (plan(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->environments.n; i++)
        if (take(s, i, err) < 0)
            return -1;
    return 0;
}

/* What the run finds around it, below its own variables. */
static EnvVars surroundings(struct supervisor *s, Paths *shown)
{
    struct arena *a = s->a;
    EnvVars env = {0};
    Str top = s->environments.v[s->environments.n - 1].dir, path = str_fmt(a, "%.*s/bin", STR_ARG(top));
    if (s->environments.n > 1)
        path = str_fmt(a, "%.*s:%.*s/bin", STR_ARG(path), STR_ARG(s->environments.v[0].dir));
    env_set(a, &env, STR("PATH"), str_fmt(a, "%.*s:/usr/local/bin:/usr/bin:/bin", STR_ARG(path)));
    env_set(a, &env, STR("VIRTUAL_ENV"), top);
    env_set(a, &env, STR("HOME"), STR(SANDBOX_HOME));
    env_set(a, &env, STR("USER"), STR("run"));
    env_set(a, &env, STR("LANG"), STR("C.UTF-8"));
    env_set(a, &env, STR("TMPDIR"), STR("/tmp"));
    env_set(a, &env, STR("PYTHONUNBUFFERED"), STR("1"));
    env_set(a, &env, STR("DO_NOT_TRACK"), STR("1"));
    env_set(a, &env, STR("PREFECT_HOME"), STR(SANDBOX_HOME "/.prefect"));
    env_set(a, &env, STR("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"), STR("false"));
    env_set(a, &env, STR("PREFECT_LOGGING_SETTINGS_PATH"), STR(LOGGING_FILE));
    /* A server that is being restarted is no reason to lose what a run has done. */
    env_set(a, &env, STR("PREFECT_CLIENT_MAX_RETRIES"), STR("8"));
    environment_inherit(a, /* for_pip: */ false, &env, shown);
    return env;
}

/* The API as seen from inside a closed network, and the socket that leads there. */
static int close_network(struct supervisor *s, struct sandbox_spec *box, EnvVars *env, Str *ret_host, int *ret_port, struct err *err)
{
    bool tls;
    if (!url_origin(s->spec.api.base_url, ret_host, ret_port, &tls))
        return err_set(err, ERR_INVALID, "the API's address %.*s cannot be reached from a closed network", STR_ARG(s->spec.api.base_url));
    Str host = *ret_host;
    bool numeric = host.n && host.p[0] >= '0' && host.p[0] <= '9', loopback = str_starts(host, STR("127.")) || str_eqz(host, "::1");
    box->network = SANDBOX_CLOSED;
    box->listen_ports[0] = *ret_port;
    if (numeric && !loopback)
        box->address = host;
    else if (!loopback)
        box->hosts = host;
    static const char *const proxies[] = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"};
    bool allow = str_eqz(s->spec.network, "allow");
    if (allow)
        box->listen_ports[1] = *ret_port == PROXY_PORT ? PROXY_PORT + 1 : PROXY_PORT;
    box->listen_ports[2] = *ret_port == CONTROL_PORT ? CONTROL_PORT + 1 : CONTROL_PORT;
    for (size_t i = 0; i < COUNT_OF(proxies); i++) /* the machine's own proxy is out of reach */
        env_set(s->a, env, str_of(proxies[i]),
                allow && !str_ends(str_of(proxies[i]), STR("ALL_PROXY")) ? str_fmt(s->a, "http://127.0.0.1:%d", box->listen_ports[1]) : STR_NONE);
    Str none = str_fmt(s->a, "localhost,127.0.0.1,::1,%.*s", STR_ARG(host));
    env_set(s->a, env, STR("NO_PROXY"), none);
    env_set(s->a, env, STR("no_proxy"), none);
    return 0;
}

static int open_relay(struct supervisor *s, const int listeners[SANDBOX_LISTENERS], Str host, int port, struct err *err)
{
    struct relay_options o = {.host = host, .port = port, .allow = s->spec.network_allow.v, .allow_count = s->spec.network_allow.n};
    for (int i = 0; i < 2; i++)
        if (listeners[i] >= 0)
            o.listeners[o.listener_count++] = (struct relay_listener){.fd = listeners[i], .proxy = i == 1};
    if (!o.listener_count)
        return 0;
    s->control.listener = listeners[2];
    s->relay = relay_start(&o, err);
    return s->relay ? 0 : -1;
}

int managed_start(struct supervisor *s, struct err *err)
{
    struct arena *a = s->a;
    Paths shown = {0};
    if (environment_paths(a, &s->environments, &shown, err) < 0)
        return -1;
    EnvVars env = surroundings(s, &shown);
    struct sandbox_spec box = {
        .argv = s->spec.argv.v, .argc = s->spec.argv.n, .env = &env, .cwd = s->spec.cwd, .read_only = shown.v, .read_only_count = shown.n,
        .network = SANDBOX_OPEN, .group = supervisor_group(s), .memory_mb = s->spec.limits.memory_mb, .pids = s->spec.limits.pids,
        .disk_mb = s->spec.limits.disk_mb, .cpus = s->spec.limits.cpus, .pass_fd = -1,
        .files = {{LOGGING_FILE, str_z(a, supervisor_logging(a, /* echo: */ false))}},
    };
    Str host = STR_NONE;
    int port = 0;
    bool open = str_eqz(s->spec.network, "open");
    if (!open && close_network(s, &box, &env, &host, &port, err) < 0)
        return -1;
    if (open)
        control_open(&s->control, a, &env);
    else
        control_prepare(&s->control, box.listen_ports[2], a, &env);
    for (size_t i = 0; i < s->spec.env.n; i++)
        env_set(a, &env, s->spec.env.v[i].name, s->spec.env.v[i].value);
    int out[2], listeners[SANDBOX_LISTENERS];
    if (supervisor_pipes(s, out, err) < 0)
        return -1;
    box.out_fd = out[0];
    box.err_fd = out[1];
    AUTO(buf_free) struct buf notes = BUF(4096);
    int rc = sandbox_start(a, &box, &s->child, listeners, &notes, err);
    close(out[0]);
    close(out[1]);
    if (rc < 0)
        return -1;
    if (open_relay(s, listeners, host, port, err) < 0) {
        child_kill_tree(&s->child);
        return -1;
    }
    supervisor_connect(s);
    Str lines = buf_view(&notes);
    for (Str line; str_cut(&lines, '\n', &line);)
        if (line.n)
            supervisor_note(s, UPLINK_DEBUG, "The sandbox is weaker than it could be: %.*s.", STR_ARG(line));
    return 0;
}

void managed_clear(struct supervisor *s)
{
    relay_stop(s->relay);
    s->relay = NULL;
}
