/* Manual pages, printed from the command table: one of the program, one of each group. */
#include "cli/man.h"

#include "cli/settings.h"
#include "cli/text.h"

/* One character beyond ASCII, by its number; the bytes it takes. */
static size_t put_code_point(struct buf *out, Str s)
{
    uint8_t lead = (uint8_t)s.p[0];
    size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    uint32_t c = lead & (n == 4 ? 7u : n == 3 ? 15u : 31u);
    for (size_t i = 1; i < n && i < s.n; i++)
        c = c << 6 | ((uint8_t)s.p[i] & 0x3fu);
    buf_fmt(out, "\\[u%04X]", (unsigned)c);
    return n;
}

/* Text in roff, in ASCII: what begins a request or an escape is made plain. */
static void put_text(struct buf *out, Str s)
{
    bool line_begins = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (line_begins && (c == '.' || c == '\''))
            buf_z(out, "\\&");
        if (c == '\\')
            buf_z(out, "\\e");
        else if (c == '-')
            buf_z(out, "\\-");
        else if ((uint8_t)c >= 0x80)
            i += put_code_point(out, str_sub(s, i, SIZE_MAX)) - 1;
        else
            buf_char(out, c);
        line_begins = c == '\n';
    }
}

static void put_z(struct buf *out, const char *z)
{
    put_text(out, str_of(z));
}

static void paragraph(struct buf *out, const char *text)
{
    buf_z(out, ".PP\n");
    put_z(out, text);
    buf_char(out, '\n');
}

/* One of a list: what it is, bold, and its explanation. */
static void item(struct buf *out, Str term, const char *text, const char *end)
{
    buf_z(out, ".TP\n.B ");
    put_text(out, term);
    buf_char(out, '\n');
    put_z(out, text);
    buf_z(out, str_ends(str_of(text), STR("…")) ? "" : end);
    buf_char(out, '\n');
}

static void put_command(struct arena *a, struct buf *out, const struct command *c, Str path);

static void put_commands(struct arena *a, struct buf *out, const struct command *c, Str path)
{
    for (size_t i = 0; c->groups && c->groups[i]; i++)
        if (!c->groups[i]->hidden)
            put_command(a, out, c->groups[i], str_fmt(a, "%.*s %s", STR_ARG(path), c->groups[i]->name));
    for (const struct command *sub = c->commands; sub && sub->name; sub++)
        if (!sub->hidden)
            put_command(a, out, sub, str_fmt(a, "%.*s %s", STR_ARG(path), sub->name));
}

/* A command's arguments and options. */
static void put_details(struct arena *a, struct buf *out, const struct command *c)
{
    if (c->details)
        paragraph(out, c->details);
    for (const struct positional *p = c->args; p && p->name; p++)
        item(out, help_capitals(a, p->name), p->help, ".");
    for (const struct option *o = c->options; o && o->name; o++)
        if (!(o->is & OPTION_HIDDEN))
            item(out, str_trim(help_option_left(a, o)), help_option_right(a, o).p, ".");
}

static void put_command(struct arena *a, struct buf *out, const struct command *c, Str path)
{
    if (!c->run) {
        put_commands(a, out, c, path);
        return;
    }
    buf_z(out, ".SS \"");
    put_text(out, help_usage(a, path.p, c));
    buf_z(out, "\"\n");
    put_z(out, c->summary);
    buf_z(out, ".\n");
    if (c->alias) {
        buf_z(out, "Also called ");
        put_z(out, c->alias);
        buf_z(out, ".\n");
    }
    put_details(a, out, c);
    put_commands(a, out, c, path);
}

static void put_common(struct buf *out, const char *program)
{
    buf_z(out, ".SH OPTIONS OF EVERY COMMAND\n");
    item(out, STR("--profile TEXT"), "Use this profile's settings, over the environment's", ".");
    item(out, STR("--prompt/--no-prompt"), "Ask, or never ask, whatever the output is", ".");
    item(out, STR("--help"), "Show what the command is for and what it takes", ".");
    buf_z(out, ".SH EXIT STATUS\n");
    item(out, STR("0"), "Done.", "");
    item(out, STR("1"), "It was not done; one line on standard error says why.", "");
    item(out, STR("2"), "The words were no command: an unknown option, a missing argument.", "");
    if (!strcmp(program, "api")) {
        item(out, STR("3"), "The server wants other credentials.", "");
        item(out, STR("4"), "The server refuses the request.", "");
        item(out, STR("5"), "The server failed.", "");
        item(out, STR("7"), "No server answers.", "");
    }
}

static void put_settings(struct arena *a, struct buf *out)
{
    buf_z(out, ".SH ENVIRONMENT\n.ad l\n"); /* names longer than a line cannot be adjusted */
    buf_z(out, "Each setting is also a key of millpond.toml in the working directory and of a profile. The older names, "
               "PREFECT_ in front, count where ours are not set.\n");
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        if (!s->help)
            continue;
        item(out, setting_env(a, s, "MILLPOND"), s->help, s->value ? "" : ".");
        if (s->value) {
            buf_z(out, "(");
            put_z(out, s->value);
            buf_z(out, ")\n");
        }
    }
    buf_z(out, ".SH FILES\n");
    item(out, STR("~/.millpond/profiles.toml"), "Profiles; below them those of ~/.prefect/profiles.toml, which is never written.", "");
    item(out, STR("~/.millpond/"), "The server's database, its sealing key and what its runs leave; MILLPOND_HOME names another place.", "");
}

static void put_title(struct buf *out, Str name, const char *summary)
{
    buf_fmt(out, ".TH \"%.*s\" 1 \"\" \"millpond %s\" \"\"\n.SH NAME\n", STR_ARG(name), MILLPOND_VERSION);
    put_text(out, name);
    buf_z(out, " \\- ");
    put_z(out, summary);
    buf_z(out, "\n.SH SYNOPSIS\n");
}

/* The names of a group's commands in one line, for "SEE ALSO" and the synopsis. */
static void put_children(struct arena *a, struct buf *out, const struct command *c)
{
    struct help_rows rows = help_commands(a, c);
    for (size_t i = 0; i < rows.n; i++)
        item(out, rows.v[i].left, rows.v[i].right.p, ".");
}

void man_page(const struct command *root, const struct command *group, struct buf *out)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    if (!group) {
        put_title(out, STR("millpond"), root->summary);
        buf_z(out, ".B millpond\nCOMMAND [OPTIONS]\n.SH DESCRIPTION\n");
        buf_z(out, "Server, workers and command line of a workflow orchestrator, in one program. \"millpond COMMAND \\-\\-help\" tells "
                   "what a command takes; millpond\\-COMMAND(1) tells it of a whole group.\n.SH COMMANDS\n");
        put_children(a, out, root);
        put_common(out, "");
        put_settings(a, out);
        return;
    }
    Str path = str_fmt(a, "millpond %s", group->name);
    put_title(out, str_fmt(a, "millpond-%s", group->name), group->summary);
    if (group->run) {
        put_text(out, help_usage(a, path.p, group));
        buf_z(out, "\n.SH DESCRIPTION\n");
        put_z(out, group->summary);
        buf_z(out, ".\n");
        put_details(a, out, group);
        if (group->commands || group->groups) {
            buf_z(out, ".SH COMMANDS\n");
            put_commands(a, out, group, path);
        }
    } else {
        buf_z(out, ".B ");
        put_text(out, path);
        buf_z(out, "\nCOMMAND [OPTIONS]\n.SH DESCRIPTION\n");
        put_z(out, group->summary);
        buf_z(out, ".\n");
        if (group->alias) {
            buf_z(out, "Also called ");
            put_z(out, group->alias);
            buf_z(out, ".\n");
        }
        if (group->details)
            paragraph(out, group->details);
        buf_z(out, ".SH COMMANDS\n");
        put_commands(a, out, group, path);
    }
    put_common(out, group->name);
    buf_z(out, ".SH SEE ALSO\nmillpond(1)\n");
}
