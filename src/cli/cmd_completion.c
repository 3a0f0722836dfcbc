/* Completion: what the last word may become, by the table and by what the server knows, and the scripts that ask for it. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/pools.h"

/* Where names come from: a list of the API and the member that names its objects. */
static const struct source {
    const char *kind, *path, *members, *key;
} sources[] = {
    {"pool", "/work_pools/filter", "", "name"},
    {"queue", "/work_queues/filter", "", "name"},
    {"flow", "/flows/filter", "", "name"},
    {"run", "/flow_runs/filter", "\"sort\":\"START_TIME_DESC\"", "name"},
    {"variable", "/variables/filter", "", "name"},
    {"artifact", "/artifacts/latest/filter", "", "key"},
    {"automation", "/automations/filter", "", "name"},
    {"limit", "/v2/concurrency_limits/filter", "", "name"},
    {"tag", "/concurrency_limits/filter", "", "tag"},
    {"block-type", "/block_types/filter", "", "slug"},
};

/* What an argument ("name") or an option ("--pool") of a command stands for; the first row that fits counts. */
static const struct place {
    const char *command, *name, *kind; /* command: the path's beginning, "" any */
} places[] = {
    {"", "--pool", "pool"},           {"", "--profile", "profile"},        {"", "--state-type", "state-type"},
    {"", "--flow-name", "flow"},      {"", "--deployment", "deployment"},  {"", "--work-queue", "queue"},
    {"work-pool", "--type", "type"},  {"worker", "--type", "type"},        {"profile create", "--from", "profile"},
    {"profile create", "name", NULL}, {"profile", "name", "profile"},      {"profile", "new-name", NULL},
    {"work-pool create", "name", NULL}, {"work-pool", "name", "pool"},     {"work-pool", "work-pool-name", "pool"},
    {"work-queue create", "name", NULL}, {"work-queue", "name", "queue"},  {"deployment", "flow-name", "flow"},
    {"deployment", "name", "deployment"}, {"deployment", "deployment-name", "deployment"},
    {"flow-run", "id", "run"},        {"flow-run", "id-or-name", "run"},   {"variable", "name", "variable"},
    {"artifact", "key", "artifact"},  {"automation", "name", "automation"}, {"global-concurrency-limit", "name", "limit"},
    {"concurrency-limit", "tag", "tag"}, {"block type", "slug", "block-type"}, {"block", "slug", "block"}, {"block", "block-type-slug", "block-type"},
    {"config set", "settings", "setting="}, {"config", "setting-names", "setting"}, {"completion", "shell", "shell"},
    {"api", "method", "method"},
};

/* What the words so far come to. */
struct standing {
    const struct command *command;
    Str path;                   /* "work-pool inspect" */
    const struct option *value; /* whose value the last word is; NULL */
    bool common_profile;        /* it is --profile's */
    size_t bare;                /* arguments before it */
    bool only_words;            /* after -- */
    Str last;
};

static void offer(struct cli *x, const struct standing *s, Str name, const char *help)
{
    if (!str_starts(name, s->last) || memchr(name.p, '\n', name.n))
        return;
    if (help && args_flag(&x->args, "describe", false))
        cli_put(x, "%.*s\t%s\n", STR_ARG(name), help);
    else
        cli_put(x, "%.*s\n", STR_ARG(name));
}

static void offer_commands(struct cli *x, const struct standing *s)
{
    struct help_rows rows = help_commands(x->a, s->command);
    for (size_t i = 0; i < rows.n; i++)
        offer(x, s, rows.v[i].left, rows.v[i].right.p);
}

static void offer_options(struct cli *x, const struct standing *s)
{
    static const struct option common[] = {
        {.name = "help", .help = "Show this text"}, {.name = "profile", .help = "Use this profile's settings"},
        {.name = "prompt", .help = "Ask, whatever the output is"}, {.name = "no-prompt", .help = "Never ask"},
    };
    for (const struct option *o = s->command->options; o && o->name; o++)
        if (!(o->is & OPTION_HIDDEN))
            offer(x, s, str_fmt(x->a, "--%s", o->name), o->help);
    for (size_t i = 0; i < COUNT_OF(common); i++)
        offer(x, s, str_fmt(x->a, "--%s", common[i].name), common[i].help);
}

/* Lists of the API with a second's patience: nothing where it does not answer. */
static int quick_list(struct cli *x, const char *path, const char *members, struct items *ret)
{
    struct err ignored;
    if (cli_check_url(x, &ignored) < 0)
        return -1;
    if (!x->client) {
        struct client_options o = cli_client_options(x);
        o.timeout = SEC;
        o.retries = 0;
        x->client = client_create(&o);
    }
    return api_list(x, str_of(path), str_of(members), 200, ret, &ignored);
}

static void offer_deployments(struct cli *x, const struct standing *s)
{
    struct items deployments, flows;
    if (quick_list(x, "/deployments/filter", "", &deployments) < 0 || !deployments.n || quick_list(x, "/flows/filter", "", &flows) < 0)
        return;
    for (size_t i = 0; i < deployments.n; i++) {
        Str name = field(deployments.v[i], "name"), flow = field(items_find(&flows, "id", field(deployments.v[i], "flow_id")), "name");
        offer(x, s, str_fmt(x->a, "%.*s/%.*s", STR_ARG(flow), STR_ARG(name)), NULL);
    }
}

static void offer_blocks(struct cli *x, const struct standing *s)
{
    struct items blocks;
    if (quick_list(x, "/block_documents/filter", "", &blocks) < 0)
        return;
    for (size_t i = 0; i < blocks.n; i++) {
        Str type = field(json_getz(blocks.v[i], "block_type"), "slug"), name = field(blocks.v[i], "name");
        offer(x, s, str_fmt(x->a, "%.*s/%.*s", STR_ARG(type), STR_ARG(name)), NULL);
    }
}

static void offer_types(struct cli *x, const struct standing *s)
{
    struct items ignored, records;
    struct err err;
    if (quick_list(x, "/work_pools/filter", "", &ignored) < 0 || pool_type_records(x, &records, &err) < 0)
        return;
    for (size_t i = 0; i < records.n; i++)
        offer(x, s, field(records.v[i], "type"), str_z(x->a, field(records.v[i], "display_name")));
}

static void offer_profiles(struct cli *x, const struct standing *s)
{
    const struct profiles *all[] = {settings_profiles(x->settings), settings_other_profiles(x->settings), settings_builtin_profiles(x->settings)};
    struct map seen = {0};
    for (size_t k = 0; k < COUNT_OF(all); k++)
        for (size_t i = 0; i < all[k]->list.n; i++) {
            void **slot = map_at(x->a, &seen, all[k]->list.v[i].name);
            if (!*slot)
                offer(x, s, all[k]->list.v[i].name, NULL);
            *slot = &seen;
        }
}

static void offer_words(struct cli *x, const struct standing *s, const char *words)
{
    for (Str rest = str_of(words), word; str_cut(&rest, ' ', &word);)
        offer(x, s, word, NULL);
}

static void offer_kind(struct cli *x, const struct standing *s, const char *kind)
{
    struct items items;
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        if (strcmp(sources[i].kind, kind))
            continue;
        if (quick_list(x, sources[i].path, sources[i].members, &items) < 0)
            return;
        for (size_t k = 0; k < items.n; k++)
            offer(x, s, field(items.v[k], sources[i].key), NULL);
        return;
    }
    if (!strcmp(kind, "deployment"))
        offer_deployments(x, s);
    else if (!strcmp(kind, "block"))
        offer_blocks(x, s);
    else if (!strcmp(kind, "type"))
        offer_types(x, s);
    else if (!strcmp(kind, "profile"))
        offer_profiles(x, s);
    else if (!strcmp(kind, "state-type"))
        offer_words(x, s, "SCHEDULED PENDING RUNNING COMPLETED FAILED CANCELLED CRASHED PAUSED CANCELLING");
    else if (!strcmp(kind, "shell"))
        offer_words(x, s, "bash zsh fish");
    else if (!strcmp(kind, "method"))
        offer_words(x, s, "GET POST PUT PATCH DELETE HEAD OPTIONS");
    else
        for (size_t i = 0; i < setting_count; i++) {
            Str env = setting_env(x->a, &setting_table[i], settings_prefix(x->settings));
            offer(x, s, str_fmt(x->a, "%.*s%s", STR_ARG(env), strchr(kind, '=') ? "=" : ""), setting_table[i].help);
        }
}

static const char *kind_of(const struct standing *s, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        Str command = str_of(places[i].command);
        bool at = !command.n || (str_starts(s->path, command) && (s->path.n == command.n || s->path.p[command.n] == ' '));
        if (at && !strcmp(places[i].name, name))
            return places[i].kind;
    }
    return NULL;
}

/* The option that a word names, where it takes a value. */
static const struct option *value_option(const struct command *c, Str word)
{
    for (const struct option *o = c->options; o && o->name; o++) {
        Str bare = str_starts(word, STR("--")) ? str_sub(word, 2, SIZE_MAX) : STR_NONE, brief = str_sub(word, 1, SIZE_MAX);
        bool named = bare.p ? str_eqz(bare, o->name) || (o->alias && str_eqz(bare, o->alias)) : o->brief && str_eqz(brief, o->brief);
        if (named)
            return o->type == VALUE_FLAG ? NULL : o;
    }
    return NULL;
}

static void walk(struct cli *x, struct strs words, struct standing *s)
{
    *s = (struct standing){.command = &command_root, .path = STR(""), .last = words.n ? words.v[words.n - 1] : STR("")};
    if (str_eq(s->last, STR("="))) /* bash makes a word of it */
        s->last = STR("");
    for (size_t i = 0; i + 1 < words.n; i++) {
        Str word = words.v[i];
        const struct command *sub = s->command->run ? NULL : command_find(s->command, word);
        bool value = s->value || s->common_profile;
        if (str_eq(word, STR("=")) && value)
            continue;
        s->value = NULL;
        s->common_profile = false;
        if (value)
            continue;
        if (sub) {
            s->command = sub;
            s->path = str_fmt(x->a, "%.*s%s%s", STR_ARG(s->path), s->path.n ? " " : "", sub->name);
        } else if (!s->only_words && str_eq(word, STR("--"))) {
            s->only_words = true;
        } else if (!s->only_words && word.n > 1 && word.p[0] == '-') {
            s->value = value_option(s->command, word);
            s->common_profile = str_eq(word, STR("--profile")) && !s->value;
        } else {
            s->bare++;
        }
    }
}

/* Prints what the last of the words may become, a line each. */
static int complete(struct cli *x, struct err *err)
{
    UNUSED(err);
    struct standing s;
    walk(x, args_list(&x->args, "words"), &s);
    const char *kind = NULL;
    if (s.common_profile) {
        kind = "profile";
    } else if (s.value) {
        kind = kind_of(&s, str_fmt(x->a, "--%s", s.value->name).p);
    } else if (!s.only_words && str_starts(s.last, STR("-"))) {
        offer_options(x, &s);
        return 0;
    } else if (!s.command->run) {
        offer_commands(x, &s);
        return 0;
    } else {
        const struct positional *p = s.command->args;
        for (size_t i = 0; p && p->name && i < s.bare && !p->many; i++)
            p++;
        kind = p && p->name ? kind_of(&s, p->name) : NULL;
    }
    if (kind)
        offer_kind(x, &s, kind);
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
                "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
                "    [ ${#COMPREPLY[@]} -eq 0 ] && compopt -o default\n"
                "}\n"
                "complete -F _%s %s\n",
                p, p, p, p);
    else if (str_eq(shell, STR("zsh")))
        cli_put(x,
                "#compdef %s\n"
                "_%s() {\n"
                "    local line\n"
                "    local -a names shown\n"
                "    for line in \"${(@f)$(%s complete --describe -- \"${(@)words[2,$CURRENT]}\" 2>/dev/null)}\"; do\n"
                "        [[ -n $line ]] || continue\n"
                "        names+=(\"${line%%%%$'\\t'*}\")\n"
                "        shown+=(\"${line/$'\\t'/  -- }\")\n"
                "    done\n"
                "    if (( $#names )); then compadd -l -d shown -a names; else _files; fi\n"
                "}\n"
                "if [ \"$funcstack[1]\" = _%s ]; then _%s \"$@\"; else compdef _%s %s; fi\n",
                p, p, p, p, p, p, p);
    else if (str_eq(shell, STR("fish")))
        cli_put(x, "complete -c %s -f -a '(%s complete --describe -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'\n", p, p);
    else
        return err_set(err, ERR_INVALID, "completion is for bash, zsh and fish");
    return 0;
}

const struct command command_complete = {
    .name = "complete", .summary = "Print what the last word may become", .run = complete, .hidden = true,
    .args = ARGS({"words", "The words so far", .optional = true, .many = true}),
    .options = OPTIONS({"describe", NULL, VALUE_FLAG, OPTION_NO_NEG, "With an explanation behind a tab"})};
const struct command command_completion = {
    .name = "completion", .summary = "Print what makes a shell complete commands and names", .run = completion,
    .details = "For bash: eval \"$(millpond completion bash)\" in ~/.bashrc. For zsh: the output as _millpond in a folder of fpath, or eval. "
               "For fish: the output as ~/.config/fish/completions/millpond.fish.",
    .args = ARGS({"shell", "bash, zsh or fish"})};
