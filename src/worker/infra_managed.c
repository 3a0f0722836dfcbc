/* The managed pool: the server's own machine runs the flow, in a sandbox, in an environment made for it. */
#include <stdlib.h>
#include <string.h>

#include "worker/container.h"
#include "worker/engine.h"
#include "worker/environment.h"
#include "worker/sandbox.h"
#include "worker/supervised.h"
#include "worker/warm.h"

/* Of an official image's name what matters here: which client, which Python. "prefecthq/prefect:3-latest",
 * "prefecthq/prefect:2.19.9-python3.11", "prefecthq/prefect-client:3-python3.12". */
static int read_image(struct arena *a, Str image, Str *ret_client, Str *ret_python, bool *ret_own, struct err *err)
{
    struct err why;
    *ret_client = *ret_python = STR_NONE;
    image = str_trim(image);
    if (!image.n)
        return 0;
    if (str_starts(image, STR("docker.io/")))
        image = str_sub(image, 10, image.n);
    Str rest = image, name, part;
    (void)str_cut(&rest, ':', &name);
    if (!str_eqz(name, "prefecthq/prefect") && !str_eqz(name, "prefecthq/prefect-client"))
    {
        *ret_own = true;
        return engine_probe(STR_NONE, &why) == 0 ? 0 : err_set(err, ERR_INVALID,
            "image '%.*s' needs a container engine on the server's machine (%s); without one managed pools take prefecthq/prefect images only: name what is"
            " missing in pip_packages", STR_ARG(image), why.text);
    }
    for (bool first = true; str_cut(&rest, '-', &part); first = false) {
        if (str_starts(part, STR("python")))
            *ret_python = str_sub(part, 6, part.n);
        if (!first || !part.n || part.p[0] < '0' || part.p[0] > '9')
            continue;
        int dots = 0;
        for (size_t i = 0; i < part.n; i++)
            dots += part.p[i] == '.';
        if (dots == 2)
            *ret_client = str_fmt(a, "prefect==%.*s", STR_ARG(part));
        else if (part.p[0] == '2')
            *ret_client = STR("prefect==2.19.9");
    }
    return 0;
}

/* The configuration's number, else the variable's, else the default. -1 where it is none or not above zero. */
static int number(const struct json *config, Str key, const char *variable, double fallback, double *ret, struct err *err)
{
    const struct json *v = json_get(config, key);
    const char *text = getenv(variable);
    *ret = fallback;
    if (!json_is_null(v)) {
        if (!json_double(v, ret) || !(*ret > 0) || *ret > 1e9)
            return err_set(err, ERR_INVALID, "%.*s must be a number above 0", STR_ARG(key));
    } else if (text && *text && (!str_double(str_of(text), ret) || !(*ret >= 0) || *ret > 1e9)) {
        return err_set(err, ERR_INVALID, "the setting %s must be a number", variable);
    }
    return 0;
}

/* An image of one's own is run by the machine's container engine, with the same limits. */
static int fill_container(struct infra_context *cx, const struct infra_run *run, struct run_spec *s, struct err *err)
{
    struct arena *a = cx->a;
    if (!str_eqz(s->network, "open"))
        return err_set(err, ERR_INVALID, "network '%.*s' is for runs without an image of their own", STR_ARG(s->network));
    Str url = cx->host->api.base_url;
    bool here = str_find(url, STR("://127.")) > 0 || str_find(url, STR("://localhost")) > 0 || str_find(url, STR("://[::1]")) > 0;
    struct infra_run own = *run;
    own.env = (EnvVars){0};
    for (size_t i = 0; i < run->env.n; i++)
        env_set(a, &own.env, run->env.v[i].name, run->env.v[i].value);
    AUTO(buf_free) struct buf packages = BUF(65536), b = BUF(LIMIT_BODY);
    for (size_t i = 0; i < s->packages.n; i++)
        buf_fmt(&packages, "%s%.*s", i ? " " : "", STR_ARG(s->packages.v[i]));
    if (packages.n) /* what the published images' entry point installs */
        env_set(a, &own.env, STR("EXTRA_PIP_PACKAGES"), str_dup(a, buf_view(&packages)));
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "image", json_get_str(run->config, STR("image")));
    jw_kstr(&w, "command", json_get_str(run->config, STR("command")));
    jw_kint(&w, "mem_limit", s->limits.memory_mb << 20);
    jw_kbool(&w, "auto_remove", true);
    jw_kstr(&w, "image_pull_policy", STR("IfPossible"));
    if (here) /* the API listens on the loopback alone */
        jw_kz(&w, "network_mode", "host");
    jw_key(&w, STR("container_create_kwargs"));
    jw_object(&w);
    jw_kint(&w, "pids_limit", s->limits.pids);
    if (s->limits.cpus > 0)
        jw_kint(&w, "nano_cpus", (int64_t)(s->limits.cpus * 1e9));
    jw_kraw(&w, "security_opt", STR("[\"no-new-privileges\"]"));
    if (s->cwd.p)
        jw_kstr(&w, "working_dir", s->cwd);
    jw_end(&w);
    jw_end(&w);
    own.config = json_parse(a, str_dup(a, buf_view(&b)), err);
    if (!own.config || container_request(cx, &own, &s->container, err) < 0)
        return -1;
    s->sandbox = s->engine = false;
    s->cwd = STR_NONE;
    s->env = (EnvVars){0};
    return 0;
}

static int fill(struct infra_context *cx, const struct infra_run *run, struct run_spec *s, struct err *err)
{
    struct arena *a = cx->a;
    static const Str engine[] = {STR("python"), STR("-m"), STR("prefect.engine")};
    double memory, cpus, pids, disk, seconds;
    Str image_python;
    bool own_image = false;
    if (supervised_spec(cx, run, engine, COUNT_OF(engine), s, err) < 0 ||
        read_image(a, json_get_str(run->config, STR("image")), &s->client, &image_python, &own_image, err) < 0 ||
        number(run->config, STR("memory"), "MILLPOND_MANAGED_MEMORY", 2048, &memory, err) < 0 ||
        number(run->config, STR("cpu"), "MILLPOND_MANAGED_CPU", 0, &cpus, err) < 0 ||
        number(run->config, STR("pids"), "MILLPOND_MANAGED_PIDS", 512, &pids, err) < 0 ||
        number(run->config, STR("disk"), "MILLPOND_MANAGED_DISK", 1024, &disk, err) < 0 ||
        number(run->config, STR("timeout"), "MILLPOND_MANAGED_TIMEOUT", 86400, &seconds, err) < 0)
        return -1;
    s->sandbox = true;
    s->engine = !str_trim(json_get_str(run->config, STR("command"))).n && !s->cwd.p;
    s->limits.memory_mb = (int64_t)memory;
    s->limits.cpus = cpus;
    s->limits.pids = (int64_t)pids;
    s->limits.disk_mb = (int64_t)disk;
    s->limits.time = (Dur)(seconds * SEC);
    s->python = json_get_str(run->config, STR("python_version"));
    if (!s->python.n)
        s->python = image_python;
    s->network = json_get_str(run->config, STR("network"));
    if (!s->network.n)
        s->network = STR("open");
    if (!str_eqz(s->network, "open") && !str_eqz(s->network, "none") && !str_eqz(s->network, "allow"))
        return err_set(err, ERR_INVALID, "network '%.*s' is neither open, allow nor none", STR_ARG(s->network));
    if (!json_is_null(json_getz(run->config, "federated_identity")))
        return err_set(err, ERR_INVALID, "federated_identity needs a public issuer of identities, which this server is not");
    const struct json *lists[] = {json_getz(run->config, "pip_packages"), json_getz(run->config, "network_allow")};
    for (size_t k = 0; k < COUNT_OF(lists); k++) {
        for (size_t i = 0; json_is(lists[k], JSON_ARRAY) && i < lists[k]->array.n; i++) {
            Str item = json_str(&lists[k]->array.items[i]);
            if (!item.p)
                return err_set(err, ERR_INVALID, "%s has an entry that is no text", k ? "network_allow" : "pip_packages");
            if (k)
                vec_push(a, &s->network_allow, item);
            else
                vec_push(a, &s->packages, item);
        }
    }
    if (s->cwd.p && s->cwd.p[0] != '/')
        return err_set(err, ERR_INVALID, "working_dir '%.*s' is not an absolute path", STR_ARG(s->cwd));
    return own_image ? fill_container(cx, run, s, err) : 0;
}

static int plan(struct infra_context *cx, const struct run_spec *s, struct err *err)
{
    struct environment_want want = {.python = s->python, .client = s->client, .packages = s->packages.v, .package_count = s->packages.n};
    struct environments all;
    return environment_plan(cx->a, cx->host->home, &want, &all, err);
}

static int probe(struct infra_context *cx, struct buf *notes, struct err *err)
{
    UNUSED(cx);
    return sandbox_probe(notes, err);
}

/* Whether a run may have something there: the machine's system; its own folders, which are empty before its first step. */
static bool is_inside(Str path, bool first)
{
    static const struct {
        const char *dir;
        bool own;
    } dirs[] = {{"/usr"}, {"/bin"}, {"/sbin"}, {"/lib"}, {"/lib32"}, {"/lib64"}, {"/libx32"}, {"/opt"}, {"/tmp", true}, {"/var/tmp", true},
                {"/dev/shm", true}, {SANDBOX_HOME, true}};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        size_t n = strlen(dirs[i].dir);
        if (str_starts(path, str_of(dirs[i].dir)) && (path.n == n || (path.p[n] == '/' && !(dirs[i].own && first))))
            return true;
    }
    return false;
}

/* Code that lies in a folder of the machine it was deployed from: said before an environment is built for nothing. */
static int check_code(const struct infra_run *run, struct err *err)
{
    const struct json *steps = json_getz(run->deployment, "pull_steps");
    for (size_t i = 0; json_is(steps, JSON_ARRAY) && i < steps->array.n; i++) {
        const struct json *step = &steps->array.items[i];
        if (!json_is(step, JSON_OBJECT) || step->object.n < 1)
            continue;
        Str name = step->object.members[0].key;
        bool folder = str_ends(name, STR(".set_working_directory"));
        if (!folder && !str_ends(name, STR(".git_clone")))
            continue;
        Str path = json_get_str(&step->object.members[0].value, folder ? STR("directory") : STR("repository"));
        if (str_starts(path, STR("file://")))
            path = str_sub(path, 7, path.n);
        if (str_starts(path, STR("/")) && !is_inside(path, i == 0))
            return err_set(err, ERR_INVALID, "the deployment's code lies in %.*s, a folder that no sandbox shows: deploy from a git repository that is reached by"
                                             " https or ssh, or to a process pool on that machine", STR_ARG(str_sub(path, 0, 200)));
    }
    return 0;
}

static int check(struct infra_context *cx, const struct infra_run *run, struct err *err)
{
    struct run_spec s;
    if (fill(cx, run, &s, err) < 0)
        return -1;
    if (s.container.p) /* an image may have it */
        return 0;
    return check_code(run, err) < 0 ? -1 : plan(cx, &s, err);
}

static int submit(struct infra_context *cx, const struct infra_run *run, Str *ret_identifier, struct err *err)
{
    struct run_spec s;
    if (fill(cx, run, &s, err) < 0 || supervised_start(cx, &s, ret_identifier, err) < 0)
        return -1;
    if (!s.container.p)
        warm_keep(cx->host, &s);
    return 0;
}

const struct infra_driver infra_managed = {
    .type = ":managed",
    .supervised = true,
    .probe = probe,
    .check = check,
    .submit = submit,
    .cancel = supervised_cancel,
};
