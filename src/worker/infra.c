#include "worker/infra.h"

#include <string.h>

static const struct infra_driver *const drivers[] = {&infra_process, &infra_docker, &infra_managed};

const struct infra_driver *infra_find(Str pool_type)
{
    for (size_t i = 0; i < COUNT_OF(drivers); i++) {
        Str type = str_of(drivers[i]->type);
        if (str_eq(pool_type, type) || (type.p[0] == ':' && str_ends(pool_type, type)))
            return drivers[i];
    }
    return NULL;
}

void env_set(struct arena *a, EnvVars *env, Str name, Str value)
{
    for (size_t i = 0; i < env->n; i++) {
        if (!str_eq(env->v[i].name, name))
            continue;
        if (value.p)
            env->v[i].value = value;
        else
            env->v[i] = env->v[--env->n];
        return;
    }
    if (value.p)
        vec_push(a, env, ((struct env_var){name, value}));
}

void env_unset(struct arena *a, EnvVars *env, Str name)
{
    env_set(a, env, name, STR_NONE);
    vec_push(a, env, ((struct env_var){name, STR_NONE}));
}

Str env_get(const EnvVars *env, Str name)
{
    for (size_t i = 0; i < env->n; i++)
        if (str_eq(env->v[i].name, name))
            return env->v[i].value;
    return STR_NONE;
}
