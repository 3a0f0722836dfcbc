/* What the program knows of itself, for readers: reference pages, manual pages. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/man.h"

static void settings_page(struct cli *x)
{
    cli_put(x, "Each setting is an environment variable (`MILLPOND_…`, or the older `PREFECT_…` where ours is not set), a key of "
               "`millpond.toml` or `prefect.toml` in the working directory (the path, as tables), or an entry of a profile "
               "(`millpond config set`).\n\n| variable | path | type | default | meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str env = setting_env(x->a, s, "MILLPOND");
        if (s->help)
            cli_put(x, "| `%.*s` | `%s` | %s | %s%s%s | %s |\n", STR_ARG(env), s->path, s->type, s->value ? "`" : "", s->value ? s->value : "",
                    s->value ? "`" : "", s->help);
    }
    cli_put(x, "\nKnown too, for the Python side and for scripts that set them; this program does not read them:\n\n");
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        if (!s->help)
            cli_put(x, "- `%s` (%s%s%s%s)\n", s->path, s->type, s->value ? ", `" : "", s->value ? s->value : "", s->value ? "`" : "");
    }
}

static int reference(struct cli *x, struct err *err)
{
    Str page = args_text(&x->args, "page");
    if (str_eq(page, STR("commands"))) {
        help_reference(&command_root, "millpond", &x->out);
        return 0;
    }
    if (str_eq(page, STR("tree"))) {
        help_tree(&command_root, &x->out);
        return 0;
    }
    if (!str_eq(page, STR("settings")))
        return err_set(err, ERR_INVALID, "there are the pages commands and settings, and tree, which is the first as JSON");
    settings_page(x);
    return 0;
}

/* --- manual pages --- */

static int write_page(struct cli *x, Str folder, const struct command *group, struct err *err)
{
    AUTO(buf_free) struct buf b = BUF((size_t)4 << 20);
    man_page(&command_root, group, &b);
    return path_write(x->a, str_fmt(x->a, "%.*s/millpond%s%s.1", STR_ARG(folder), group ? "-" : "", group ? group->name : ""), buf_view(&b), 0644, err);
}

static int man(struct cli *x, struct err *err)
{
    Str word = args_text(&x->args, "command"), folder = args_text(&x->args, "to");
    const struct command *group = word.p ? command_find(&command_root, word) : NULL;
    if (word.p && (!group || group->hidden))
        return err_set(err, ERR_NOT_FOUND, "there is no page of '%.*s': there is one of each command that `%s --help` lists", STR_ARG(word), x->program);
    if (!folder.p) {
        man_page(&command_root, group, &x->out);
        return 0;
    }
    if (word.p)
        return write_page(x, folder, group, err);
    if (write_page(x, folder, NULL, err) < 0)
        return -1;
    for (size_t i = 0; command_root.groups[i]; i++)
        if (!command_root.groups[i]->hidden && write_page(x, folder, command_root.groups[i], err) < 0)
            return -1;
    return 0;
}

const struct command command_reference = {
    .name = "reference", .summary = "Print a reference page as Markdown", .run = reference, .hidden = true, .args = ARGS({"page", "commands or settings; tree: the commands as JSON"})};
const struct command command_man = {
    .name = "man", .summary = "Print a manual page", .run = man, .args = ARGS({"command", "One of the program's commands; else the program's own page", .optional = true}),
    .details = "To read one: millpond man work-pool | man -l -",
    .options = OPTIONS({"to", NULL, VALUE_PATH, 0, "Write all pages, or the one named, into this folder"})};
