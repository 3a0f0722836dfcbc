#include "cli/cli.h"

#include "cli/commands.h"
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUT_MAX ((size_t)1 << 30)

void cli_flush(struct cli *x)
{
    x->flushed |= x->out.n > 0;
    for (size_t at = 0; at < x->out.n;) {
        ssize_t n = write(1, x->out.p + at, x->out.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            _exit(errno == EPIPE ? 141 : 1); /* nobody reads any more */
        at += (size_t)n;
    }
    buf_reset(&x->out);
}

void cli_styled(struct cli *x, const char *style, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    text_styled(&x->out, x->color, style, str_vfmt(x->a, fmt, ap));
    va_end(ap);
}

void cli_put(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_str(&x->out, str_vfmt(x->a, fmt, ap));
    va_end(ap);
}

void cli_say(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!x->json)
        buf_str(&x->out, str_vfmt(x->a, fmt, ap));
    va_end(ap);
}

PRINTF_LIKE(3, 0) static void message(struct cli *x, const char *style, const char *fmt, va_list ap)
{
    Str rest = str_vfmt(x->a, fmt, ap), line;
    bool wrap = x->width && settings_bool(x->settings, "cli.wrap_lines");
    while (text_line(&rest, wrap ? x->width : SIZE_MAX, &line)) {
        text_styled(&x->out, x->color, style, line);
        buf_char(&x->out, '\n');
    }
}

void cli_ok(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    if (x->json)
        return; /* the value says it */
    va_start(ap, fmt);
    message(x, STYLE_GREEN, fmt, ap);
    va_end(ap);
}

void cli_note(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (x->json) { /* standard output is for the value alone */
        Str text = str_vfmt(x->a, fmt, ap);
        fprintf(stderr, "%s: %.*s\n", x->program, STR_ARG(text));
    } else {
        message(x, STYLE_YELLOW, fmt, ap);
    }
    va_end(ap);
}

void cli_table(struct cli *x, const struct table *t)
{
    table_print(t, &x->out, x->width, x->color);
}

void cli_show(struct cli *x, const struct json *v)
{
    if (x->json)
        text_json(&x->out, v);
    else
        text_yaml(&x->out, v, 0);
}

void cli_result(struct cli *x, const struct json *v)
{
    if (x->json)
        text_json(&x->out, v);
}

int cli_result_at(struct cli *x, Str path, struct err *err)
{
    const struct json *v;
    if (!x->json)
        return 0;
    if (api_get(x, path, &v, err) < 0)
        return -1;
    text_json(&x->out, v);
    return 0;
}

void cli_result_items(struct cli *x, const struct items *items)
{
    if (x->json)
        cli_show_items(x, items);
}

/* What the output is: a terminal of which width, with colours or without. */
static void look_at_output(struct cli *x)
{
    struct winsize size = {0};
    const char *term = getenv("TERM"), *columns = getenv("COLUMNS"), *no_color = getenv("NO_COLOR"),
               *force = getenv("FORCE_COLOR");
    int64_t n = 0;
    x->terminal = isatty(1) == 1;
    if (columns && str_int(str_of(columns), &n) && n > 0 && n < 10000)
        x->width = (size_t)n;
    else if (x->terminal && ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_col)
        x->width = size.ws_col;
    else if (x->terminal || x->as_prefect)
        x->width = 80;
    bool dumb = term && !strcmp(term, "dumb");
    x->color = ((x->terminal && !dumb) || (force && *force)) && !(no_color && *no_color);
}

static void put_error(struct cli *x, const struct err *err, int status)
{
    /* Called as `prefect`, a command that says no says so on standard output, where that one's scripts look for it. */
    bool to_stdout = x->as_prefect && status == 1 && err->code != ERR_IO && err->code != ERR_INTERNAL;
    int fd = to_stdout ? 1 : 2;
    progress_clear(x);
    cli_flush(x);
    AUTO(buf_free) struct buf line = BUF(sizeof err->text + 64);
    bool color = to_stdout ? x->color : isatty(2) == 1 && !getenv("NO_COLOR");
    AUTO(buf_free) struct buf text = BUF(sizeof err->text + 32);
    if (!to_stdout)
        buf_fmt(&text, "%s: ", x->program);
    buf_z(&text, err->text);
    text_styled(&line, color, STYLE_RED, buf_view(&text));
    buf_char(&line, '\n');
    if (write(fd, line.p, line.n) < 0)
        _exit(1);
}

/* The program that long output is shown through; NULL: none. As `prefect` there is none, as that name's users expect. */
static const char *pager(struct cli *x)
{
    const struct setting *row = setting_find(STR("cli.pager"));
    Str wanted = x->settings ? settings_value(x->settings, row) : str_of(getenv("MILLPOND_CLI_PAGER"));
    const char *term = getenv("TERM"), *usual = getenv("PAGER");
    if (!x->terminal || x->flushed || x->as_prefect || !isatty(0) || !term || !strcmp(term, "dumb"))
        return NULL;
    if (!wanted.p)
        wanted = str_of(usual ? usual : "less");
    wanted = str_trim(wanted);
    return wanted.n && !str_eq(wanted, STR("cat")) ? str_z(x->a, wanted) : NULL;
}

static size_t lines_of(const struct cli *x)
{
    size_t n = 0, column = 0;
    for (size_t i = 0; i < x->out.n; i++) {
        bool begins = ((uint8_t)x->out.p[i] & 0xc0) != 0x80;
        if (x->out.p[i] == '\033') { /* a style takes no room */
            while (i < x->out.n && x->out.p[i] != 'm')
                i++;
            continue;
        }
        if (x->out.p[i] == '\n' || (x->width && begins && ++column > x->width)) {
            n++;
            column = 0;
        }
    }
    return n;
}

/* All at once: on a terminal that it would run past, through a pager. */
static void put_all(struct cli *x)
{
    struct winsize size = {0};
    const char *command = pager(x);
    if (!command || ioctl(1, TIOCGWINSZ, &size) < 0 || !size.ws_row || lines_of(x) < size.ws_row) {
        cli_flush(x);
        return;
    }
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        cli_flush(x);
        return;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* who has seen enough leaves */
    pid_t pid = fork();
    if (pid == 0) {
        setenv("LESS", "FRX", 0);
        if (dup2(fds[0], 0) == 0)
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[0]);
    for (size_t at = 0; pid > 0 && at < x->out.n;) {
        ssize_t n = write(fds[1], x->out.p + at, x->out.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        at += (size_t)n;
    }
    close(fds[1]);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127))
        cli_flush(x); /* there is no such program */
    buf_reset(&x->out);
}

static int finish(struct cli *x, int status)
{
    progress_clear(x);
    put_all(x);
    client_free(x->client);
    buf_free(&x->out);
    arena_free(x->a);
    return status;
}

static int show_help(struct cli *x)
{
    help_print(&x->args, &x->out, x->width ? x->width : 80, x->color);
    return finish(x, 0);
}

/* Settings and what they change; only a command that runs needs them. */
static int begin(struct cli *x, struct err *err)
{
    AUTO(buf_free) struct buf warnings = BUF(4096);
    x->settings = settings_load(x->a, x->program, x->args.profile, &warnings, err);
    if (!x->settings)
        return -1;
    if (!settings_bool(x->settings, "cli.colors"))
        x->color = false;
    for (Str rest = buf_view(&warnings), line; str_cut(&rest, '\n', &line);)
        if (line.n)
            fprintf(stderr, "%s: %.*s\n", x->program, STR_ARG(line));
    const struct command *c = args_command(&x->args);
    for (const struct option *o = c->options; o && o->name; o++) {
        if (o->brief && !strcmp(o->name, "output") && !strcmp(o->brief, "o") && o->type == VALUE_TEXT) {
            Str format = args_text(&x->args, "output");
            if (format.p && !str_ieq(format, STR("json")))
                return err_set(err, ERR_INVALID, "--output: only json is known, not '%.*s'", STR_ARG(format));
            x->json = format.p != NULL;
        }
    }
    return 0;
}

/* "help work-pool ls" is "work-pool ls --help". */
static char *const *help_words(struct arena *a, int argc, char *const *argv)
{
    char **words = arena_array(a, char *, argc + 1);
    words[0] = argv[0];
    for (int i = 2; i < argc; i++)
        words[i - 1] = argv[i];
    words[argc - 1] = str_z(a, STR("--help"));
    return words;
}

int cli_main(int argc, char *const *argv)
{
    struct cli *x = &(struct cli){.a = arena_create(), .out = BUF(OUT_MAX), .now = time_now(), .can_draw = BOOL_NONE};
    struct err err;
    if (argc > 1 && !strcmp(argv[1], "help"))
        argv = help_words(x->a, argc, argv);
    int rc = args_parse(x->a, &command_root, argc, argv, &x->args, &err);
    x->program = x->args.program;
    x->as_prefect = !strcmp(x->program, "prefect");
    look_at_output(x);
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-v"))) {
        cli_put(x, "%s\n", x->as_prefect ? PREFECT_VERSION : MILLPOND_VERSION);
        return finish(x, 0);
    }
    if (rc < 0) {
        put_error(x, &err, 2);
        return finish(x, 2);
    }
    if (x->args.help)
        return show_help(x);
    rc = begin(x, &err);
    if (rc == 0)
        rc = args_command(&x->args)->run(x, &err);
    if (rc < 0) {
        put_error(x, &err, 1);
        rc = 1;
    }
    return finish(x, rc);
}
