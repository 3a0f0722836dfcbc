#include "worker/supervisor_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assets/assets.h"
#include "worker/sandbox.h"

#define BUILD_TIME (20 * MINUTE)
#define BUILD_DISK_MB 4096
#define LOGGING_FILE "/etc/millpond-logging.yml"
#define CERTIFICATE_FILE "/etc/millpond-certificate.pem"
#define WARM_FILE "/etc/millpond-warm.py"

static int plan(struct supervisor *s, struct err *err)
{
    struct environment_want want = {
        .python = s->spec.python, .client = s->spec.client, .packages = s->spec.packages.v, .package_count = s->spec.packages.n};
    return environment_plan(s->a, s->home, &want, &s->environments, err);
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
    environment_discard(e);
    if (mkdir(str_z(s->a, e->dir), 0755) < 0 || chmod(str_z(s->a, e->dir), 0755) < 0)
        return err_errno(err, "making directory %.*s", STR_ARG(e->dir));
    Paths shown = {0};
    EnvVars env = {0};
    Str *argv;
    size_t argc;
    environment_paths(s->a, &s->environments, layer, &shown);
    environment_inherit(s->a, /* for_pip: */ true, &env, &shown);
    environment_build_command(s->a, e, &env, &argv, &argc);
    int out[2], ways[WAY_COUNT];
    if (supervisor_pipes(s, out, err) < 0)
        return -1;
    struct sandbox_spec box = {
        .argv = argv, .argc = argc, .env = &env, .read_only = shown.v, .read_only_count = shown.n, .writable = {e->dir, e->seen},
        .files = {{ENVIRONMENT_CONSTRAINTS, str_z(s->a, e->constraints)}},
        .group = supervisor_group(s), .disk_mb = BUILD_DISK_MB, .out_fd = out[0], .err_fd = out[1], .pass_fd = -1,
    };
    AUTO(buf_free) struct buf notes = BUF(4096);
    struct relay_options way;
    s->building = true;
    int rc = network_plan(s, &box, &way, err);
    box.ways[WAY_CONTROL] = 0;
    if (rc == 0)
        rc = sandbox_start(s->a, &box, &s->child, ways, &notes, err);
    close(out[0]);
    close(out[1]);
    if (rc < 0)
        return -1;
    if (network_open(s, &way, ways, err) < 0) {
        child_kill_tree(&s->child);
        return -1;
    }
    network_permit(s);
    supervisor_note(s, UPLINK_INFO, "Building an environment: %.*s.", STR_ARG(e->description));
    Dur began = time_monotonic();
    s->stop_at = began + BUILD_TIME;
    supervisor_watch(s);
    s->building = false;
    managed_clear(s);
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

/* The first certificate of the machine's own list. The client reads the whole list for each of its connections (18 ms
 * each, half a dozen a run) though it speaks plain HTTP with the API; with one certificate it does not. Whatever else a run speaks TLS
 * with is not concerned: this setting is for the API alone, and a list of one lets nobody in who was not let in before. */
static const char *one_certificate(struct arena *a)
{
    static const char *const lists[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    static const Str begin = STR("-----BEGIN CERTIFICATE-----"), end = STR("-----END CERTIFICATE-----");
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        Str text;
        struct err err;
        if (file_read(a, lists[i], (size_t)4 << 20, &text, &err) < 0)
            continue;
        ptrdiff_t from = str_find(text, begin), to = str_find(text, end);
        if (from >= 0 && to > from)
            return str_fmt(a, "%.*s\n", (int)(to + (ptrdiff_t)end.n - from), text.p + from).p;
    }
    return NULL;
}

/* What the run finds around it, below its own variables: variables, paths, files. */
static EnvVars surroundings(struct supervisor *s, Paths *shown, struct sandbox_spec *box)
{
    struct arena *a = s->a;
    EnvVars env = {0};
    Str top = s->environments.v[s->environments.n - 1].seen, path = str_fmt(a, "%.*s/bin", STR_ARG(top));
    if (s->environments.n > 1)
        path = str_fmt(a, "%.*s:%.*s/bin", STR_ARG(path), STR_ARG(s->environments.v[0].seen));
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
    box->files[0] = (struct sandbox_file){LOGGING_FILE, str_z(a, supervisor_logging(a, /* echo: */ false))};
    bool older = s->spec.client.n && !str_starts(s->spec.client, STR("prefect==3"));
    const char *certificate = !older && str_starts(s->spec.api.base_url, STR("http://")) ? one_certificate(a) : NULL;
    if (certificate) {
        box->files[1] = (struct sandbox_file){CERTIFICATE_FILE, certificate};
        env_set(a, &env, STR("PREFECT_API_SSL_CERT_FILE"), STR(CERTIFICATE_FILE));
    }
    return env;
}

/* Into the sandbox; `box` lacks what is the same for all. */
static int enter(struct supervisor *s, struct sandbox_spec *box, Paths *shown, const struct relay_options *way, struct buf *notes, struct err *err)
{
    int out[2], ways[WAY_COUNT];
    environment_paths(s->a, &s->environments, s->environments.n, shown);
    if (supervisor_pipes(s, out, err) < 0)
        return -1;
    box->read_only = shown->v;
    box->read_only_count = shown->n;
    box->group = supervisor_group(s);
    box->memory_mb = s->spec.limits.memory_mb;
    box->pids = s->spec.limits.pids;
    box->disk_mb = s->spec.limits.disk_mb;
    box->cpus = s->spec.limits.cpus;
    box->out_fd = out[0];
    box->err_fd = out[1];
    int rc = sandbox_start(s->a, box, &s->child, ways, notes, err);
    close(out[0]);
    close(out[1]);
    if (rc < 0)
        return -1;
    if (network_open(s, way, ways, err) < 0) {
        child_kill_tree(&s->child);
        return -1;
    }
    return 0;
}

/* The run's own variables over its surroundings. */
static void run_variables(struct supervisor *s, const struct relay_options *way, const struct sandbox_spec *box, EnvVars *env)
{
    network_proxies(s, way, env, box->ways[WAY_PROXY]);
    int listener = s->control.listener;
    control_prepare(&s->control, box->ways[WAY_CONTROL], s->a, env);
    s->control.listener = listener;
    for (size_t i = 0; i < s->spec.env.n; i++)
        env_set(s->a, env, s->spec.env.v[i].name, s->spec.env.v[i].value);
}

int managed_start(struct supervisor *s, struct err *err)
{
    Paths shown = {0};
    struct sandbox_spec box = {.argv = s->spec.argv.v, .argc = s->spec.argv.n, .cwd = s->spec.cwd, .pass_fd = -1};
    struct relay_options way;
    EnvVars env = surroundings(s, &shown, &box);
    if (network_plan(s, &box, &way, err) < 0)
        return -1;
    run_variables(s, &way, &box, &env);
    box.env = &env;
    AUTO(buf_free) struct buf notes = BUF(4096);
    if (enter(s, &box, &shown, &way, &notes, err) < 0)
        return -1;
    network_permit(s);
    supervisor_connect(s);
    Str lines = buf_view(&notes);
    for (Str line; str_cut(&lines, '\n', &line);)
        if (line.n)
            supervisor_note(s, UPLINK_DEBUG, "The sandbox is weaker than it could be: %.*s.", STR_ARG(line));
    return 0;
}

int managed_warm(struct supervisor *s, int *ret_fd, struct err *err)
{
    if (plan(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->environments.n; i++) {
        int fd; /* held until we end */
        if (environment_take(&s->environments.v[i], &fd, err) < 0)
            return -1;
    }
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, "making a socket");
    Str argv[] = {STR("python"), STR(WARM_FILE)};
    Paths shown = {0};
    struct sandbox_spec box = {.argv = argv, .argc = COUNT_OF(argv), .pass_fd = pair[1]};
    struct relay_options way;
    EnvVars env = surroundings(s, &shown, &box);
    box.env = &env;
    box.files[2] = (struct sandbox_file){WARM_FILE, str_z(s->a, asset_find("warm.py"))};
    AUTO(buf_free) struct buf notes = BUF(4096);
    int rc = network_plan(s, &box, &way, err) < 0 ? -1 : enter(s, &box, &shown, &way, &notes, err);
    close(pair[1]);
    if (rc < 0)
        close(pair[0]);
    else
        *ret_fd = pair[0];
    return rc;
}

/* The run as warm.py wants it. */
int managed_tell(struct supervisor *s, int fd)
{
    struct arena *a = s->a;
    Paths shown = {0};
    struct sandbox_spec box = {0};
    struct relay_options way;
    struct err err;
    EnvVars env = surroundings(s, &shown, &box);
    if (network_plan(s, &box, &way, &err) < 0)
        return -1;
    run_variables(s, &way, &box, &env);
    AUTO(buf_free) struct buf b = BUF((size_t)8 << 20);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "module", "prefect.engine");
    jw_kz(&w, "cwd", SANDBOX_HOME);
    jw_key(&w, STR("env"));
    jw_object(&w);
    for (size_t i = 0; i < env.n; i++) {
        jw_key(&w, env.v[i].name);
        jw_str(&w, env.v[i].value);
    }
    jw_end(&w);
    jw_end(&w);
    struct cgroup_limits limits = {.memory_bytes = s->spec.limits.memory_mb << 20, .pids = s->spec.limits.pids, .cpus = s->spec.limits.cpus};
    AUTO(buf_free) struct buf notes = BUF(4096);
    cgroup_limit(a, &s->child.group, &limits, &notes);
    network_permit(s);
    for (Str rest = buf_view(&b); rest.n;) {
        ssize_t done = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
        if (done <= 0)
            return -1;
        rest = str_sub(rest, (size_t)done, rest.n);
    }
    return shutdown(fd, SHUT_WR);
}

void managed_clear(struct supervisor *s)
{
    relay_stop(s->relay);
    s->relay = NULL;
}
