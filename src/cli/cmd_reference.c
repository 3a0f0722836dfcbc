/* What the program knows of itself, for readers and shells: reference pages, completion. */
#include "cli/cli.h"
#include "cli/commands.h"

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

/* --- completion --- */

static bool wants(Str word, const char *candidate)
{
    return str_starts(str_of(candidate), word);
}

static void offer_group(struct cli *x, const struct command *c, Str word)
{
    for (size_t i = 0; c->groups && c->groups[i]; i++)
        if (!c->groups[i]->hidden && wants(word, c->groups[i]->name))
            cli_put(x, "%s\n", c->groups[i]->name);
    for (const struct command *sub = c->commands; sub && sub->name; sub++)
        if (!sub->hidden && wants(word, sub->name))
            cli_put(x, "%s\n", sub->name);
}

static void offer_options(struct cli *x, const struct command *c, Str word)
{
    for (const struct option *o = c->options; o && o->name; o++) {
        Str full = str_fmt(x->a, "--%s", o->name);
        if (!(o->is & OPTION_HIDDEN) && wants(word, full.p))
            cli_put(x, "%.*s\n", STR_ARG(full));
    }
    static const char *const common[] = {"--help", "--profile", "--prompt", "--no-prompt"};
    for (size_t i = 0; i < COUNT_OF(common); i++)
        if (wants(word, common[i]))
            cli_put(x, "%s\n", common[i]);
}

/* Names that the server knows, for a value of this name; nothing where it does not answer. */
static void offer_names(struct cli *x, const char *kind, Str word)
{
    bool pool = !strcmp(kind, "pool"), flow = !strcmp(kind, "flow"), variable = !strcmp(kind, "variable");
    struct client_options o = cli_client_options(x);
    o.timeout = SEC;
    o.retries = 0;
    x->client = client_create(&o);
    struct items items, flows = {0};
    struct err ignored;
    Str path = pool ? STR("/work_pools/filter") : flow ? STR("/flows/filter") : variable ? STR("/variables/filter") : STR("/deployments/filter");
    if (api_list(x, path, STR(""), 200, &items, &ignored) < 0)
        return;
    bool deployment = !pool && !flow && !variable;
    if (deployment && items.n && api_list(x, STR("/flows/filter"), STR(""), INT_NONE, &flows, &ignored) < 0)
        return;
    for (size_t i = 0; i < items.n; i++) {
        Str name = field(items.v[i], "name");
        if (deployment) {
            Str of = field(items_find(&flows, "id", field(items.v[i], "flow_id")), "name");
            name = str_fmt(x->a, "%.*s/%.*s", STR_ARG(of), STR_ARG(name));
        }
        if (str_starts(name, word) && !memchr(name.p, '\n', name.n))
            cli_put(x, "%.*s\n", STR_ARG(name));
    }
}

static const char *names_for(const struct command *group, const char *option)
{
    if (option)
        return !strcmp(option, "pool") ? "pool" : !strcmp(option, "flow-name") ? "flow" : NULL;
    return !strcmp(group->name, "work-pool") ? "pool" : !strcmp(group->name, "deployment") || !strcmp(group->name, "schedule") ? "deployment"
           : !strcmp(group->name, "variable") ? "variable" : NULL;
}

/* The option that the word before the last one is, where it takes a value. */
static const struct option *open_option(const struct command *c, Str word)
{
    for (const struct option *o = c->options; o && o->name; o++) {
        bool named = (str_starts(word, STR("--")) && str_eqz(str_sub(word, 2, SIZE_MAX), o->name)) ||
                     (o->brief && str_starts(word, STR("-")) && str_eqz(str_sub(word, 1, SIZE_MAX), o->brief));
        if (named)
            return o->type == VALUE_FLAG ? NULL : o;
    }
    return NULL;
}

/* Prints what the last of the words may become, a line each. */
static int complete(struct cli *x, struct err *err)
{
    UNUSED(err);
    struct strs words = args_list(&x->args, "words");
    const struct command *c = &command_root, *group = c;
    Str last = words.n ? words.v[words.n - 1] : STR("");
    for (size_t i = 0; i + 1 < words.n; i++) {
        const struct command *sub = c->run ? NULL : command_find(c, words.v[i]);
        if (sub) {
            group = sub->run ? c : sub;
            c = sub;
        }
    }
    const struct option *o = words.n > 1 ? open_option(c, words.v[words.n - 2]) : NULL;
    const char *kind = o ? names_for(group, o->name) : c->run && c->args && c->args->name ? names_for(group, NULL) : NULL;
    if (!c->run)
        offer_group(x, c, last);
    else if (!o && str_starts(last, STR("-")))
        offer_options(x, c, last);
    else if (kind)
        offer_names(x, kind, last);
    return 0;
}

static int completion(struct cli *x, struct err *err)
{
    Str shell = args_text(&x->args, "shell");
    const char *p = x->program;
    if (str_eq(shell, STR("bash")))
        cli_put(x,
                "_%s() {\n"
                "    local IFS=$'\\n'\n"
                "    COMPREPLY=($(%s complete -- \"${COMP_WORDS[@]:1:$COMP_CWORD}\" 2>/dev/null))\n"
                "    [ ${#COMPREPLY[@]} -eq 0 ] && compopt -o default\n"
                "}\n"
                "complete -F _%s %s\n",
                p, p, p, p);
    else if (str_eq(shell, STR("zsh")))
        cli_put(x,
                "#compdef %s\n"
                "_%s() {\n"
                "    local -a found\n"
                "    found=(${(f)\"$(%s complete -- \"${(@)words[2,$CURRENT]}\" 2>/dev/null)\"})\n"
                "    (( $#found )) && compadd -- $found || _files\n"
                "}\n"
                "compdef _%s %s\n",
                p, p, p, p, p);
    else if (str_eq(shell, STR("fish")))
        cli_put(x, "complete -c %s -f -a '(%s complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'\n", p, p);
    else
        return err_set(err, ERR_INVALID, "completion is for bash, zsh and fish");
    return 0;
}

const struct command command_reference = {
    .name = "reference", .summary = "Print a reference page as Markdown", .run = reference, .hidden = true, .args = ARGS({"page", "commands or settings; tree: the commands as JSON"})};
const struct command command_complete = {
    .name = "complete", .summary = "Print what the last word may become", .run = complete, .hidden = true,
    .args = ARGS({"words", "The words so far", .optional = true, .many = true})};
const struct command command_completion = {
    .name = "completion", .summary = "Print what makes a shell complete commands and names", .run = completion,
    .details = "For bash: eval \"$(millpond completion bash)\" in ~/.bashrc.", .args = ARGS({"shell", "bash, zsh or fish"})};
