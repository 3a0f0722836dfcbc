/* The process pool: a command of this machine, as the user that the worker runs as. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/supervised.h"

static int check(struct infra_context *cx, const struct infra_run *run, struct err *err)
{
    Str dir = json_get_str(run->config, STR("working_dir"));
    struct stat st;
    if (!dir.n)
        return 0;
    if (dir.p[0] != '/')
        return err_set(err, ERR_INVALID, "working_dir '%.*s' is not an absolute path", STR_ARG(dir));
    if (stat(str_z(cx->a, dir), &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "working_dir '%.*s' is no directory of this machine", STR_ARG(dir));
    return 0;
}

static int submit(struct infra_context *cx, const struct infra_run *run, Str *ret_identifier, struct err *err)
{
    struct arena *a = cx->a;
    /* What the worker was started with, under what the run asks for. */
    struct infra_run full = *run;
    full.env = (EnvVars){0};
    for (char **e = environ; *e; e++) {
        const char *eq = strchr(*e, '=');
        if (eq && eq != *e)
            env_set(a, &full.env, (Str){*e, (size_t)(eq - *e)}, str_of(eq + 1));
    }
    for (size_t i = 0; i < run->env.n; i++)
        env_set(a, &full.env, run->env.v[i].name, run->env.v[i].value);
    Str python = env_get(&full.env, STR("MILLPOND_PYTHON"));
    Str fallback[] = {python.n ? python : STR("python3"), STR("-m"), STR("prefect.engine")};
    struct run_spec spec;
    if (supervised_spec(cx, &full, fallback, COUNT_OF(fallback), &spec, err) < 0)
        return -1;
    const struct json *stream = json_getz(run->config, "stream_output");
    spec.echo = !json_is(stream, JSON_BOOL) || stream->boolean;
    return supervised_start(cx, &spec, ret_identifier, err);
}

const struct infra_driver infra_process = {
    .type = "process",
    .supervised = true,
    .check = check,
    .submit = submit,
    .cancel = supervised_cancel,
};
