/* Questions to a person. */
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

bool cli_interactive(const struct cli *x)
{
    const char *term = getenv("TERM");
    bool set;
    if (x->args.prompt != BOOL_NONE)
        return x->args.prompt;
    if (setting_bool(settings_text(x->settings, "cli.prompt"), &set))
        return set;
    return x->terminal && !(term && !strcmp(term, "dumb"));
}

/* A line of standard input without its end; false at the end of input. Reads byte by byte: what stands behind the
 * line is for the next reader, who may be another program. */
static bool read_line(struct arena *a, Str *ret)
{
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    char c;
    ssize_t n;
    while ((n = read(0, &c, 1)) == 1 && c != '\n')
        buf_char(&b, c);
    if (n != 1 && !b.n)
        return false;
    *ret = str_trim(str_dup(a, buf_view(&b)));
    return true;
}

/* A question: where a value is printed (-o json), it is asked on standard error. */
static void put_question(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put_question(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Str text = str_vfmt(x->a, fmt, ap);
    va_end(ap);
    if (x->json)
        fprintf(stderr, "%.*s", STR_ARG(text));
    else
        buf_str(&x->out, text);
    cli_flush(x);
}

static int no_answer(struct cli *x, struct err *err)
{
    put_question(x, "\n");
    return err_set(err, ERR_INVALID, "the question was left without an answer");
}

int cli_ask(struct cli *x, const char *question, char otherwise, struct err *err)
{
    const char *shown = otherwise == 'y' ? " (y)" : otherwise == 'n' ? " (n)" : "";
    for (;;) {
        Str line;
        put_question(x, "? %s [y/n]%s: ", question, shown);
        if (!read_line(x->a, &line))
            return no_answer(x, err);
        if (str_ieq(line, STR("y")) || str_ieq(line, STR("yes")) || (!line.n && otherwise == 'y'))
            return 1;
        if (str_ieq(line, STR("n")) || str_ieq(line, STR("no")) || (!line.n && otherwise == 'n'))
            return 0;
        put_question(x, "Please answer y or n.\n");
    }
}

int cli_confirm(struct cli *x, const char *question, const char *refused, struct err *err)
{
    const struct command *c = args_command(&x->args);
    for (const struct option *o = c->options; o && o->name; o++)
        if (!strcmp(o->name, "yes") && args_flag(&x->args, "yes", false))
            return 1;
    if (!cli_interactive(x))
        return 1;
    int answer = cli_ask(x, question, 'n', err);
    return answer == 0 ? err_set(err, ERR_INVALID, "%s", refused) : answer;
}

Str cli_ask_text(struct cli *x, const char *question, struct err *err)
{
    Str line;
    do {
        put_question(x, "? %s: ", question);
        if (!read_line(x->a, &line)) {
            (void)no_answer(x, err);
            return STR_NONE;
        }
    } while (!line.n);
    return line;
}

int cli_choose(struct cli *x, const char *question, const Str *rows, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        put_question(x, "%3zu  %.*s\n", i + 1, STR_ARG(rows[i]));
    for (;;) {
        Str line = cli_ask_text(x, question, err);
        int64_t k;
        if (!line.p)
            return -1;
        if (str_int(line, &k) && k >= 1 && (size_t)k <= n)
            return (int)k - 1;
        for (size_t i = 0; i < n; i++) { /* or the row's first word */
            Str rest = rows[i], word;
            (void)str_cut(&rest, ' ', &word);
            if (str_eq(word, line))
                return (int)i;
        }
        put_question(x, "Please give a number from 1 to %zu.\n", n);
    }
}
