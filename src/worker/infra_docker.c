/* The docker pool: a container of the Engine's at DOCKER_HOST. What a supervisor does with it is in container.c. */
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/container.h"
#include "worker/engine.h"
#include "worker/supervised.h"

#define IMAGE "prefecthq/prefect:3-latest"

/* "512m", "2g", "1048576": bytes; 0 where none is said. */
static int read_size(const struct json *config, const char *key, int64_t *ret, struct err *err)
{
    const struct json *v = json_get(config, str_of(key));
    *ret = 0;
    if (json_is_null(v) || json_int(v, ret))
        return 0;
    Str text = str_trim(json_str(v));
    if (!text.n && v->kind == JSON_STRING)
        return 0;
    static const char units[] = "bkmgt";
    if (text.n > 1 && (text.p[text.n - 1] | 32) == 'b' && strchr("kmgtKMGT", text.p[text.n - 2]))
        text.n--; /* "512mb" */
    const char *unit = text.n ? strchr(units, text.p[text.n - 1] | 32) : NULL;
    double n;
    if (!text.n || !str_double(unit ? str_sub(text, 0, text.n - 1) : text, &n) || !(n > 0) || n > 1e15)
        return err_set(err, ERR_INVALID, "%s '%.*s' is no size: a number, and b, k, m or g", key, STR_ARG(text));
    for (ptrdiff_t i = unit ? unit - units : 0; i > 0; i--)
        n *= 1024;
    *ret = (int64_t)n;
    return 0;
}

static bool get_bool(const struct json *v, const char *key, bool dflt)
{
    const struct json *m = json_get(v, str_of(key));
    return json_is(m, JSON_BOOL) ? m->boolean : dflt;
}

/* X-Registry-Auth: JSON in base64 for URLs. */
static Str registry_auth(struct arena *a, const struct json *block)
{
    if (!json_is(block, JSON_OBJECT))
        return STR("");
    AUTO(buf_free) struct buf b = BUF(65536);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "username", json_get_str(block, STR("username")));
    jw_kstr(&w, "password", json_get_str(block, STR("password")));
    jw_kstr(&w, "serveraddress", json_get_str(block, STR("registry_url")));
    jw_end(&w);
    size_t n = BASE64_ENCODE_RAW_LENGTH(b.n);
    char *out = arena_alloc(a, n + 1);
    base64_encode_raw(out, b.n, (const uint8_t *)b.p);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    return (Str){out, n};
}

/* Keys of container_create_kwargs as people write them, and where the Engine has them. */
static const struct {
    const char *key, *name;
    bool host;
} extras[] = {
    {"user", "User", false}, {"hostname", "Hostname", false}, {"domainname", "Domainname", false}, {"working_dir", "WorkingDir", false},
    {"entrypoint", "Entrypoint", false}, {"tty", "Tty", false}, {"stop_signal", "StopSignal", false}, {"extra_hosts", "ExtraHosts", true},
    {"cap_add", "CapAdd", true}, {"cap_drop", "CapDrop", true}, {"dns", "Dns", true}, {"dns_search", "DnsSearch", true}, {"init", "Init", true},
    {"ipc_mode", "IpcMode", true}, {"pid_mode", "PidMode", true}, {"cpu_shares", "CpuShares", true}, {"cpuset_cpus", "CpusetCpus", true},
    {"cpu_period", "CpuPeriod", true}, {"cpu_quota", "CpuQuota", true}, {"nano_cpus", "NanoCpus", true}, {"pids_limit", "PidsLimit", true},
    {"read_only", "ReadonlyRootfs", true}, {"security_opt", "SecurityOpt", true}, {"shm_size", "ShmSize", true}, {"tmpfs", "Tmpfs", true},
    {"sysctls", "Sysctls", true}, {"group_add", "GroupAdd", true}, {"runtime", "Runtime", true}, {"userns_mode", "UsernsMode", true},
    {"oom_score_adj", "OomScoreAdj", true}, {"oom_kill_disable", "OomKillDisable", true}, {"device_requests", "DeviceRequests", true},
    {"ulimits", "Ulimits", true}, {"volumes_from", "VolumesFrom", true}, {"log_config", "LogConfig", true}, {"restart_policy", NULL, true},
};

static int put_extras(struct arena *a, struct jw *w, const struct json *given, bool host, struct err *err)
{
    for (size_t i = 0; json_is(given, JSON_OBJECT) && i < given->object.n; i++) {
        const struct json_member *m = &given->object.members[i];
        size_t k = 0;
        while (k < COUNT_OF(extras) && !(str_eqz(m->key, extras[k].key) && extras[k].name))
            k++;
        if (k == COUNT_OF(extras))
            return err_set(err, ERR_INVALID, "container_create_kwargs: '%.*s' is not taken here", STR_ARG(m->key));
        if (extras[k].host != host || json_is_null(&m->value))
            continue;
        jw_key(w, str_of(extras[k].name));
        bool lines = !strcmp(extras[k].key, "extra_hosts") && json_is(&m->value, JSON_OBJECT);
        int64_t size;
        if (!strcmp(extras[k].key, "shm_size") && m->value.kind == JSON_STRING) {
            if (read_size(given, "shm_size", &size, err) < 0)
                return -1;
            jw_int(w, size);
        } else if (!strcmp(extras[k].key, "entrypoint") && m->value.kind == JSON_STRING) {
            Str *words;
            size_t n;
            if (argv_split(a, m->value.string, &words, &n, err) < 0)
                return -1;
            jw_array(w);
            for (size_t j = 0; j < n; j++)
                jw_str(w, words[j]);
            jw_end(w);
        } else if (lines) {
            jw_array(w);
            for (size_t j = 0; j < m->value.object.n; j++)
                jw_str(w, str_fmt(a, "%.*s:%.*s", STR_ARG(m->value.object.members[j].key), STR_ARG(json_str(&m->value.object.members[j].value))));
            jw_end(w);
        } else {
            jw_value(w, &m->value);
        }
    }
    return 0;
}

static void put_labels(struct jw *w, struct infra_context *cx, const struct infra_run *run)
{
    const struct json *own = json_getz(run->config, "labels");
    jw_key(w, STR("Labels"));
    jw_object(w);
    jw_key(w, STR(CONTAINER_LABEL));
    jw_uuid(w, run->claim_state);
    const struct {
        const char *name;
        Str value;
    } usual[] = {
        {"prefect.io/flow-run-id", str_of(uuid_text(run->id).s)}, {"prefect.io/flow-run-name", run->name},
        {"prefect.io/work-pool-name", run->pool_name}, {"prefect.io/worker-name", cx->host->worker_name},
        {"prefect.io/flow-id", json_get_str(run->flow_run, STR("flow_id"))}, {"prefect.io/deployment-id", json_get_str(run->flow_run, STR("deployment_id"))},
        {"prefect.io/deployment-name", json_get_str(run->deployment, STR("name"))},
    };
    for (size_t i = 0; i < COUNT_OF(usual); i++) {
        if (!usual[i].value.n || json_get(own, str_of(usual[i].name)))
            continue;
        jw_key(w, str_of(usual[i].name));
        jw_str(w, usual[i].value);
    }
    for (size_t i = 0; json_is(own, JSON_OBJECT) && i < own->object.n; i++) {
        const struct json *v = &own->object.members[i].value;
        jw_key(w, own->object.members[i].key);
        jw_str(w, v->kind == JSON_STRING ? v->string : json_text(cx->a, v));
    }
    jw_end(w);
}

/* This machine's loopback is another's inside a container. */
static Str seen_from_inside(struct arena *a, Str url)
{
    static const char *const here[] = {"://127.0.0.1", "://localhost", "://0.0.0.0", "://[::1]"};
    for (size_t i = 0; i < COUNT_OF(here); i++) {
        ptrdiff_t at = str_find(url, str_of(here[i]));
        if (at >= 0)
            return str_fmt(a, "%.*s://host.docker.internal%.*s", (int)at, url.p, STR_ARG(str_sub(url, (size_t)at + strlen(here[i]), SIZE_MAX)));
    }
    return url;
}

int container_request(struct infra_context *cx, const struct infra_run *run, Str *ret, struct err *err)
{
    struct arena *a = cx->a;
    const struct json *config = run->config, *networks = json_getz(config, "networks"), *volumes = json_getz(config, "volumes"),
                      *extra = json_getz(config, "container_create_kwargs");
    Str mode = json_get_str(config, STR("network_mode")), policy = json_get_str(config, STR("image_pull_policy")), image = str_trim(json_get_str(config, STR("image"))),
        command = json_get_str(config, STR("command")), name = str_trim(json_get_str(config, STR("name")));
    int64_t memory, swap;
    if (read_size(config, "mem_limit", &memory, err) < 0 || read_size(config, "memswap_limit", &swap, err) < 0)
        return -1;
    if (policy.n && !str_eqz(policy, "Always") && !str_eqz(policy, "IfNotPresent") && !str_eqz(policy, "IfPossible") && !str_eqz(policy, "Never"))
        return err_set(err, ERR_INVALID, "image_pull_policy '%.*s' is none of Always, IfNotPresent, IfPossible, Never", STR_ARG(policy));
    Str *words;
    size_t word_count;
    if (argv_split(a, str_trim(command).n ? command : STR("prefect flow-run execute"), &words, &word_count, err) < 0)
        return -1;
    bool joins = json_is(networks, JSON_ARRAY) && networks->array.n;
    if (!mode.n && joins)
        mode = json_str(&networks->array.items[0]);
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    const char *engine = getenv("DOCKER_HOST");
    jw_kz(&w, "engine", engine && *engine ? engine : "");
    jw_kstr(&w, "image", image.n ? image : STR(IMAGE));
    jw_kstr(&w, "policy", policy.n ? policy : STR(""));
    jw_kstr(&w, "auth", registry_auth(a, json_getz(config, "registry_credentials")));
    jw_kstr(&w, "name", name.n ? name : run->name);
    jw_kbool(&w, "auto_remove", get_bool(config, "auto_remove", false));
    jw_kbool(&w, "stream", get_bool(config, "stream_output", true));
    jw_key(&w, STR("claim"));
    jw_uuid(&w, run->claim_state);
    jw_key(&w, STR("networks"));
    jw_array(&w);
    for (size_t i = 1; joins && i < networks->array.n; i++)
        jw_str(&w, json_str(&networks->array.items[i]));
    jw_end(&w);
    jw_key(&w, STR("create"));
    jw_object(&w);
    jw_kstr(&w, "Image", image.n ? image : STR(IMAGE));
    jw_key(&w, STR("Cmd"));
    jw_array(&w);
    for (size_t i = 0; i < word_count; i++)
        jw_str(&w, words[i]);
    jw_end(&w);
    jw_key(&w, STR("Env"));
    jw_array(&w);
    for (size_t i = 0; i < run->env.n; i++) {
        Str value = run->env.v[i].value;
        if (!value.p)
            continue;
        if (str_eqz(run->env.v[i].name, "PREFECT_API_URL") && !str_eqz(mode, "host"))
            value = seen_from_inside(a, value);
        jw_str(&w, str_fmt(a, "%.*s=%.*s", STR_ARG(run->env.v[i].name), STR_ARG(value)));
    }
    jw_end(&w);
    put_labels(&w, cx, run);
    if (put_extras(a, &w, extra, false, err) < 0)
        return -1;
    jw_key(&w, STR("HostConfig"));
    jw_object(&w);
    if (memory)
        jw_kint(&w, "Memory", memory);
    if (swap)
        jw_kint(&w, "MemorySwap", swap);
    jw_kbool(&w, "Privileged", get_bool(config, "privileged", false));
    if (mode.n)
        jw_kstr(&w, "NetworkMode", mode);
    if (!json_getz(extra, "extra_hosts") && !str_eqz(mode, "host") && !str_eqz(mode, "none"))
        jw_kraw(&w, "ExtraHosts", STR("[\"host.docker.internal:host-gateway\"]"));
    jw_key(&w, STR("Binds"));
    jw_array(&w);
    for (size_t i = 0; json_is(volumes, JSON_ARRAY) && i < volumes->array.n; i++) {
        Str v = json_str(&volumes->array.items[i]);
        if (str_find(v, STR(":")) < 1)
            return err_set(err, ERR_INVALID, "volume '%.*s' is not of the form source:target[:mode]", STR_ARG(v));
        char cwd[4096];
        if (str_starts(v, STR("./")) && getcwd(cwd, sizeof cwd))
            v = str_fmt(a, "%s/%.*s", cwd, STR_ARG(str_sub(v, 2, SIZE_MAX)));
        jw_str(&w, v);
    }
    jw_end(&w);
    if (put_extras(a, &w, extra, true, err) < 0)
        return -1;
    jw_end(&w);
    jw_end(&w);
    jw_end(&w);
    if (b.overflow)
        return err_set(err, ERR_TOO_LARGE, "the container's configuration is larger than %zu MB", LIMIT_BODY >> 20);
    *ret = str_dup(a, buf_view(&b));
    return 0;
}

static int fill(struct infra_context *cx, const struct infra_run *run, struct run_spec *ret, struct err *err)
{
    static const Str none[] = {STR("container")};
    struct infra_run plain = *run;
    plain.env = (EnvVars){0}; /* the container's; what speaks with the Engine has the worker's */
    if (supervised_spec(cx, &plain, none, 1, ret, err) < 0)
        return -1;
    ret->cwd = STR_NONE; /* the image's own */
    return container_request(cx, run, &ret->container, err);
}

static int probe(struct infra_context *cx, struct buf *notes, struct err *err)
{
    UNUSED(cx), UNUSED(notes);
    return engine_probe(STR_NONE, err);
}

static int check(struct infra_context *cx, const struct infra_run *run, struct err *err)
{
    struct run_spec s;
    return fill(cx, run, &s, err);
}

static int submit(struct infra_context *cx, const struct infra_run *run, Str *ret_identifier, struct err *err)
{
    struct run_spec s;
    return fill(cx, run, &s, err) < 0 ? -1 : supervised_start(cx, &s, ret_identifier, err);
}

const struct infra_driver infra_docker = {
    .type = "docker",
    .supervised = true,
    .probe = probe,
    .check = check,
    .submit = submit,
    .cancel = supervised_cancel,
};
