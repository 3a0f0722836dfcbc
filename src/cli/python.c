#include "cli/python.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

Str python_program(struct cli *x)
{
    Str s = settings_text(x->settings, "python");
    return s.p ? s : STR("python3");
}

void python_environment(struct cli *x)
{
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *row = &setting_table[i];
        Str value = settings_value(x->settings, row);
        bool own = !strcmp(row->path, "home") || !strcmp(row->path, "profiles_path") || !strcmp(row->path, "python");
        if (own || !value.p || settings_source(x->settings, row) == SOURCE_DEFAULT)
            continue;
        setenv(setting_env(x->a, row, "PREFECT").p, str_z(x->a, value), 1);
    }
    setenv("PREFECT_API_URL", str_z(x->a, settings_api_url(x->settings)), 1);
    unsetenv("PREFECT_PROFILE"); /* its settings are all there, by name */
}

/* Exit status of a command whose output nobody wants; -1 where it cannot be started. */
static int quiet_status(const char *program, char *const *argv)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd ? O_WRONLY : O_RDONLY, 0);
    int rc = posix_spawnp(&pid, program, &actions, NULL, argv, environ), status = 1;
    posix_spawn_file_actions_destroy(&actions);
    if (rc)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int python_has(struct cli *x, const char *module, struct err *err)
{
    Str program = python_program(x);
    char *code = str_z(x->a, str_fmt(x->a, "import importlib.util, sys; sys.exit(importlib.util.find_spec('%s') is None)", module)), flag[] = "-c";
    char *argv[] = {str_z(x->a, program), flag, code, NULL};
    int status = quiet_status(argv[0], argv);
    if (status == 0)
        return 0;
    if (status < 0)
        return err_set(err, ERR_NOT_FOUND, "this needs Python, and '%.*s' cannot be started: MILLPOND_PYTHON names another", STR_ARG(program));
    return err_set(err, ERR_NOT_FOUND, "this reads flows' code, which needs the package '%s' in %.*s: install it there (pip install %s), or name another interpreter in MILLPOND_PYTHON",
                   module, STR_ARG(program), module);
}

int python_hand_over(struct cli *x, struct err *err)
{
    const struct command *c = args_command(&x->args);
    VEC(char *) argv = {0};
    if (cli_check_url(x, err) < 0 || python_has(x, "prefect", err) < 0)
        return -1;
    vec_push(x->a, &argv, str_z(x->a, python_program(x)));
    vec_push(x->a, &argv, str_z(x->a, STR("-m")));
    vec_push(x->a, &argv, str_z(x->a, STR("prefect")));
    if (x->args.prompt != BOOL_NONE)
        vec_push(x->a, &argv, str_z(x->a, x->args.prompt ? STR("--prompt") : STR("--no-prompt")));
    for (size_t i = 1; i < x->args.depth; i++)
        vec_push(x->a, &argv, str_z(x->a, str_of(x->args.path[i]->name)));
    for (size_t i = 0; i < x->args.options.n; i++) {
        const struct given *g = &x->args.options.v[i];
        if (g->option->type == VALUE_FLAG)
            vec_push(x->a, &argv, str_z(x->a, str_fmt(x->a, "--%s%s", g->on ? "" : "no-", g->option->name)));
        for (size_t k = 0; k < g->values.n; k++)
            vec_push(x->a, &argv, str_z(x->a, str_fmt(x->a, "--%s=%.*s", g->option->name, STR_ARG(g->values.v[k]))));
    }
    bool dashes = false;
    for (size_t i = 0; c->args && c->args[i].name; i++)
        for (size_t k = 0; k < x->args.positionals[i].n; k++) {
            Str value = x->args.positionals[i].v[k];
            if (!dashes && str_starts(value, STR("-")))
                vec_push(x->a, &argv, str_z(x->a, STR("--")));
            dashes |= str_starts(value, STR("-"));
            vec_push(x->a, &argv, str_z(x->a, value));
        }
    vec_push(x->a, &argv, NULL);
    python_environment(x);
    cli_flush(x);
    execvp(argv.v[0], argv.v);
    return err_errno(err, "cannot start %s", argv.v[0]);
}
