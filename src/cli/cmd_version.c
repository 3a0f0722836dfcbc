#include "cli/cli.h"
#include "cli/commands.h"

#include <errno.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *server_type(struct cli *x)
{
    Str url = settings_text(x->settings, "api.url"), cloud = settings_text(x->settings, "cloud.api_url");
    if (!url.p)
        return x->as_prefect && settings_bool(x->settings, "server.ephemeral.enabled") ? "ephemeral" : "server";
    return str_starts(url, cloud) ? "cloud" : "server";
}

/* The first line of a program's output, or "none". */
static Str first_line(struct cli *x, const char *program, char *const *argv)
{
    int fds[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe(fds) < 0)
        return STR("none");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    int rc = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    char text[128] = "";
    ssize_t n = rc == 0 ? read(fds[0], text, sizeof text - 1) : 0;
    close(fds[0]);
    int status = 1;
    if (rc == 0 && waitpid(pid, &status, 0) < 0)
        status = 1;
    if (n <= 0 || status != 0)
        return STR("none");
    Str rest = {text, (size_t)n}, line;
    (void)str_cut(&rest, '\n', &line);
    return str_dup(x->a, str_trim(line));
}

struct shown {
    const char *key, *label;
    Str value;
};

static void line(struct cli *x, const char *label, Str value)
{
    cli_put(x, "%-21s %.*s\n", label, STR_ARG(value));
}

static int version(struct cli *x, struct err *err)
{
    UNUSED(err);
    char python[] = "python3", flag[] = "--version";
    char *argv[] = {python, flag, NULL};
    struct utsname u;
    Str python_version = first_line(x, python, argv), database = settings_text(x->settings, "server.database.connection_url");
    if (str_starts(python_version, STR("Python ")))
        python_version = str_sub(python_version, 7, SIZE_MAX);
    for (char *c = uname(&u) == 0 ? u.sysname : NULL; c && *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    const struct shown rows[] = {
        {"version", "Version:", x->as_prefect ? STR(PREFECT_VERSION) : STR(MILLPOND_VERSION)},
        {"millpond_version", "Millpond version:", x->as_prefect ? STR(MILLPOND_VERSION) : STR_NONE},
        {"api_version", "API version:", STR("0.8.4")},
        {"python_version", "Python version:", python_version},
        {"os_arch", "OS/Arch:", str_fmt(x->a, "%s/%s", u.sysname, u.machine)},
        {"profile", "Profile:", settings_profile(x->settings)},
        {"server_type", "Server type:", str_of(server_type(x))},
    };
    Str kind = str_starts(database.p ? database : STR(""), STR("postgres")) ? STR("postgresql") : STR("sqlite");
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        jw_object(&w);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            if (rows[i].value.p) {
                jw_key(&w, str_of(rows[i].key));
                jw_str(&w, rows[i].value);
            }
        }
        jw_key(&w, STR("server"));
        jw_object(&w);
        jw_kstr(&w, "database", kind);
        jw_end(&w);
        jw_end(&w);
        buf_char(&x->out, '\n');
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].value.p)
            line(x, rows[i].label, rows[i].value);
    cli_put(x, "Server:\n");
    line(x, "  Database:", kind);
    return 0;
}

int cli_open_page(struct cli *x, Str url, struct err *err)
{
    char opener[] = "xdg-open";
    char *argv[] = {opener, str_z(x->a, url), NULL};
    pid_t pid;
    if (x->json) {
        Str quoted = json_quote(x->a, url);
        cli_put(x, "{\n  \"url\": %.*s\n}\n", STR_ARG(quoted));
        return 0;
    }
    cli_put(x, "%.*s\n", STR_ARG(url));
    if (!x->terminal)
        return 0; /* the address is the answer */
    int rc = posix_spawnp(&pid, opener, NULL, NULL, argv, environ);
    errno = rc;
    return rc ? err_errno(err, "no browser could be opened (xdg-open)") : 0;
}

static int dashboard_open(struct cli *x, struct err *err)
{
    return cli_open_page(x, settings_ui_url(x->settings), err);
}

static const struct command dashboard[] = {
    {.name = "open", .summary = "Open the server's page in a browser", .run = dashboard_open, .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_version = {
    .name = "version", .summary = "Show versions and what this installation uses", .run = version,
    .options = OPTIONS({"omit-integrations", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used"}, OPTION_OUTPUT)};
const struct command command_dashboard = {.name = "dashboard", .summary = "The server's page", .commands = dashboard};
