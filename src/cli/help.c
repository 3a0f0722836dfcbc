/* Help and the reference page, printed from the command table. */
#include "cli/command.h"

#include "cli/settings.h"
#include "cli/text.h"

static const char *const words[] = {
    [VALUE_FLAG] = "", [VALUE_TEXT] = "TEXT", [VALUE_INT] = "INT", [VALUE_FLOAT] = "NUMBER",
    [VALUE_UUID] = "UUID", [VALUE_PATH] = "PATH", [VALUE_JSON] = "JSON",
};
_Static_assert(COUNT_OF(words) == VALUE_COUNT, "a word per type");

Str help_capitals(struct arena *a, const char *name)
{
    char *z = str_z(a, str_of(name));
    for (char *c = z; *c; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    return str_of(z);
}

Str help_usage(struct arena *a, const char *path, const struct command *c)
{
    Str s = str_of(path);
    if (!c->run)
        return str_fmt(a, "%.*s COMMAND", STR_ARG(s));
    if (c->options && c->options->name)
        s = str_fmt(a, "%.*s [OPTIONS]", STR_ARG(s));
    for (const struct positional *p = c->args; p && p->name; p++) {
        Str name = help_capitals(a, p->name);
        const char *dots = p->many ? "…" : "";
        s = p->optional ? str_fmt(a, "%.*s [%.*s%s]", STR_ARG(s), STR_ARG(name), dots)
                        : str_fmt(a, "%.*s %.*s%s", STR_ARG(s), STR_ARG(name), dots);
    }
    return s;
}

Str help_option_left(struct arena *a, const struct option *o)
{
    Str s = o->brief ? str_fmt(a, "-%s, --%s", o->brief, o->name) : str_fmt(a, "    --%s", o->name);
    if (o->alias)
        s = str_fmt(a, "%.*s, --%s", STR_ARG(s), o->alias);
    if (o->type == VALUE_FLAG && o->negative)
        s = str_fmt(a, "%.*s/--%s", STR_ARG(s), o->negative);
    else if (o->type == VALUE_FLAG && (o->is & OPTION_ON))
        s = str_fmt(a, "%.*s/--no-%s", STR_ARG(s), o->name);
    if (o->type != VALUE_FLAG)
        s = str_fmt(a, "%.*s %s", STR_ARG(s), words[o->type]);
    return s;
}

Str help_option_right(struct arena *a, const struct option *o)
{
    Str s = str_of(o->help);
    if (o->is & OPTION_LIST)
        s = str_fmt(a, "%.*s (again for more)", STR_ARG(s));
    if (o->is & OPTION_ON)
        s = str_fmt(a, "%.*s (on)", STR_ARG(s));
    if (o->is & OPTION_REQUIRED)
        s = str_fmt(a, "%.*s (required)", STR_ARG(s));
    if (o->setting) {
        const struct setting *row = setting_find(str_of(o->setting));
        if (!row)
            die("option --%s names no setting: %s", o->name, o->setting);
        Str env = setting_env(a, row, "MILLPOND");
        s = str_fmt(a, "%.*s [%.*s%s%s]", STR_ARG(s), STR_ARG(env), row->value ? "; default " : "",
                    row->value ? row->value : "");
    }
    return s;
}

static void print_rows(struct buf *out, const char *title, const struct help_rows *rows, size_t width, bool color)
{
    if (!rows->n)
        return;
    size_t left = 0;
    for (size_t i = 0; i < rows->n; i++)
        left = MAX(left, MIN(text_width(rows->v[i].left), (size_t)36));
    buf_char(out, '\n');
    text_styled(out, color, STYLE_BOLD, str_of(title));
    buf_char(out, '\n');
    for (size_t i = 0; i < rows->n; i++) {
        Str rest = rows->v[i].right, line;
        buf_z(out, "  ");
        text_styled(out, color, STYLE_CYAN, rows->v[i].left);
        size_t used = text_width(rows->v[i].left);
        bool below = used > left; /* too long: its help begins on a line of its own */
        for (bool first = true; text_line(&rest, width > left + 24 ? width - left - 4 : 20, &line); first = false) {
            if (!first || below) {
                buf_char(out, '\n');
                used = 0;
                buf_z(out, "  ");
            }
            buf_fmt(out, "%*s", (int)(left - MIN(used, left)) + 2, "");
            buf_str(out, line);
        }
        buf_char(out, '\n');
    }
}

/* Rows of a group's commands, by name. */
struct help_rows help_commands(struct arena *a, const struct command *c)
{
    struct help_rows rows = {0};
    for (size_t i = 0; c->groups && c->groups[i]; i++)
        if (!c->groups[i]->hidden)
            vec_push(a, &rows, ((struct help_row){str_of(c->groups[i]->name), str_of(c->groups[i]->summary)}));
    for (const struct command *sub = c->commands; sub && sub->name; sub++)
        if (!sub->hidden)
            vec_push(a, &rows, ((struct help_row){str_of(sub->name), str_of(sub->summary)}));
    for (size_t i = 1; i < rows.n; i++)
        for (size_t k = i; k > 0 && str_cmp(rows.v[k].left, rows.v[k - 1].left) < 0; k--) {
            struct help_row swap = rows.v[k];
            rows.v[k] = rows.v[k - 1];
            rows.v[k - 1] = swap;
        }
    return rows;
}

static struct help_rows arg_rows(struct arena *a, const struct command *c)
{
    struct help_rows rows = {0};
    for (const struct positional *p = c->args; p && p->name; p++)
        vec_push(a, &rows, ((struct help_row){help_capitals(a, p->name), str_of(p->help)}));
    return rows;
}

static struct help_rows option_rows(struct arena *a, const struct command *c)
{
    struct help_rows rows = {0};
    for (const struct option *o = c->options; o && o->name; o++)
        if (!(o->is & OPTION_HIDDEN))
            vec_push(a, &rows, ((struct help_row){help_option_left(a, o), help_option_right(a, o)}));
    return rows;
}

static void print_text(struct buf *out, const char *text, size_t width)
{
    Str rest = str_of(text), line;
    while (text_line(&rest, width, &line)) {
        buf_str(out, line);
        buf_char(out, '\n');
    }
}

void help_print(const struct args *x, struct buf *out, size_t width, bool color)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct command *c = args_command(x);
    Str path = str_of(x->program);
    for (size_t i = 1; i < x->depth; i++)
        path = str_fmt(a, "%.*s %s", STR_ARG(path), x->path[i]->name);
    width = MIN(width, (size_t)110);

    text_styled(out, color, STYLE_BOLD, STR("Usage:"));
    Str usage = help_usage(a, path.p, c);
    buf_fmt(out, " %.*s\n\n", STR_ARG(usage));
    print_text(out, str_fmt(a, "%s.", c->summary).p, width);
    if (c->alias)
        print_text(out, str_fmt(a, "Also called %s.", c->alias).p, width);
    if (c->details) {
        buf_char(out, '\n');
        print_text(out, c->details, width);
    }
    struct help_rows rows = help_commands(a, c);
    print_rows(out, "Commands", &rows, width, color);
    rows = arg_rows(a, c);
    print_rows(out, "Arguments", &rows, width, color);
    rows = option_rows(a, c);
    print_rows(out, "Options", &rows, width, color);
    rows = (struct help_rows){0};
    vec_push(a, &rows, ((struct help_row){STR("    --profile TEXT"), STR("Use this profile's settings, over the environment's")}));
    vec_push(a, &rows, ((struct help_row){STR("    --prompt/--no-prompt"), STR("Ask, or never ask, whatever the output is")}));
    vec_push(a, &rows, ((struct help_row){STR("    --help"), STR("Show this text")}));
    if (x->depth == 1)
        vec_push(a, &rows, ((struct help_row){STR("-v, --version"), STR("Show the version and nothing else")}));
    print_rows(out, "Options of every command", &rows, width, color);
}

static void reference_rows(struct buf *out, const struct help_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        Str left = str_trim(rows->v[i].left);
        buf_fmt(out, "- `%.*s`: %.*s\n", STR_ARG(left), STR_ARG(rows->v[i].right));
    }
    if (rows->n)
        buf_char(out, '\n');
}

static void reference_command(struct arena *a, struct buf *out, const struct command *c, Str path, int level)
{
    Str usage = help_usage(a, path.p, c);
    buf_fmt(out, "%.*s `%.*s`\n\n", MIN(level, 5), "#####", STR_ARG(path));
    buf_fmt(out, "%s.", c->summary);
    if (c->alias)
        buf_fmt(out, " Also called `%s`.", c->alias);
    buf_z(out, "\n\n");
    if (c->details)
        buf_fmt(out, "%s\n\n", c->details);
    if (c->run)
        buf_fmt(out, "    %.*s\n\n", STR_ARG(usage));
    struct help_rows rows = arg_rows(a, c);
    reference_rows(out, &rows);
    rows = option_rows(a, c);
    reference_rows(out, &rows);
    for (size_t i = 0; c->groups && c->groups[i]; i++)
        if (!c->groups[i]->hidden)
            reference_command(a, out, c->groups[i], str_fmt(a, "%.*s %s", STR_ARG(path), c->groups[i]->name), level + 1);
    for (const struct command *sub = c->commands; sub && sub->name; sub++)
        if (!sub->hidden)
            reference_command(a, out, sub, str_fmt(a, "%.*s %s", STR_ARG(path), sub->name), level + 1);
}

void help_reference(const struct command *root, const char *program, struct buf *out)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    reference_command(a, out, root, str_of(program), 1);
}

/* --- the table as JSON --- */

static void put_names(struct jw *w, const char *const *names, size_t n)
{
    jw_array(w);
    for (size_t i = 0; i < n; i++)
        if (names[i])
            jw_z(w, names[i]);
    jw_end(w);
}

static void put_option(struct arena *a, struct jw *w, const struct option *o)
{
    const char *names[] = {str_fmt(a, "--%s", o->name).p, o->alias ? str_fmt(a, "--%s", o->alias).p : NULL, o->brief ? str_fmt(a, "-%s", o->brief).p : NULL};
    const char *off[] = {o->negative ? str_fmt(a, "--%s", o->negative).p : NULL, NULL, NULL};
    if (o->type == VALUE_FLAG && !(o->is & OPTION_NO_NEG)) {
        off[1] = str_fmt(a, "--no-%s", o->name).p;
        off[2] = o->alias ? str_fmt(a, "--no-%s", o->alias).p : NULL;
    }
    if (o->is & OPTION_LIST)
        off[0] = str_fmt(a, "--empty-%s", o->name).p;
    jw_object(w);
    jw_key(w, STR("names"));
    put_names(w, names, COUNT_OF(names));
    jw_key(w, STR("off"));
    put_names(w, off, COUNT_OF(off));
    jw_kz(w, "type", o->type == VALUE_FLAG ? "FLAG" : words[o->type]);
    jw_kbool(w, "many", o->is & OPTION_LIST);
    jw_kbool(w, "required", o->is & OPTION_REQUIRED);
    jw_kbool(w, "hidden", o->is & OPTION_HIDDEN);
    jw_kz(w, "help", o->help);
    jw_end(w);
}

static void put_command(struct arena *a, struct jw *w, const struct command *c)
{
    const char *names[] = {c->name, c->alias};
    jw_object(w);
    jw_key(w, STR("names"));
    put_names(w, names, COUNT_OF(names));
    jw_kz(w, "summary", c->summary);
    jw_kbool(w, "hidden", c->hidden);
    if (c->run) {
        jw_key(w, STR("args"));
        jw_array(w);
        for (const struct positional *p = c->args; p && p->name; p++) {
            jw_object(w);
            jw_kz(w, "name", p->name);
            jw_kz(w, "type", p->type ? words[p->type] : "TEXT");
            jw_kbool(w, "optional", p->optional);
            jw_kbool(w, "many", p->many);
            jw_kz(w, "help", p->help);
            jw_end(w);
        }
        jw_end(w);
        jw_key(w, STR("options"));
        jw_array(w);
        for (const struct option *o = c->options; o && o->name; o++)
            put_option(a, w, o);
        jw_end(w);
    }
    if (c->groups || c->commands) {
        jw_key(w, STR("commands"));
        jw_array(w);
        for (size_t i = 0; c->groups && c->groups[i]; i++)
            put_command(a, w, c->groups[i]);
        for (const struct command *sub = c->commands; sub && sub->name; sub++)
            put_command(a, w, sub);
        jw_end(w);
    }
    jw_end(w);
}

void help_tree(const struct command *root, struct buf *out)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct jw w = jw_on(out);
    put_command(a, &w, root);
    buf_char(out, '\n');
}
