#include "cli/commands.h"
#include "cli/cli.h"
#include "cli/guess.h"

#include <unistd.h>

/* The active profile in the file, made there where it was only one of those that are always there. */
static struct profile *profile_to_change(struct cli *x)
{
    struct profiles *p = settings_profiles(x->settings);
    Str active = settings_profile(x->settings);
    struct profile *f = profiles_find(p, active);
    if (f)
        return f;
    const struct profile *below = settings_profile_find(x->settings, active);
    f = profiles_add(p, active);
    for (size_t i = 0; below && i < below->settings.n; i++)
        profile_set(p, f, below->settings.v[i].key, below->settings.v[i].value);
    return f;
}

/* Takes a setting out of a profile, by whatever name it stands there. */
static bool unset_all_names(struct cli *x, struct profile *f, const struct setting *row)
{
    bool was = false;
    for (size_t i = f->settings.n; i-- > 0;)
        if (setting_find(f->settings.v[i].key) == row)
            was |= profile_unset(f, f->settings.v[i].key);
    UNUSED(x);
    return was;
}

/* Writes the profiles file. With -o json: the settings that changed, null for those taken out. */
static int save(struct cli *x, const struct map *changed, struct err *err)
{
    struct profiles *p = settings_profiles(x->settings);
    Str active = settings_profile(x->settings), quoted = text_quoted(x->a, active);
    if (!p->active.p)
        p->active = active;
    if (profiles_save(p, err) < 0)
        return -1;
    cli_ok(x, "Updated profile %.*s.", STR_ARG(quoted));
    if (!x->json)
        return 0;
    struct jw w = jw_on(&x->out);
    w.indent = 2;
    jw_object(&w);
    jw_kstr(&w, "profile", active);
    jw_key(&w, STR("settings"));
    jw_object(&w);
    for (size_t i = 0; i < changed->n; i++) {
        const Str *value = changed->entries[i].value;
        jw_key(&w, changed->entries[i].key);
        jw_str(&w, value ? *value : STR_NONE);
    }
    jw_end(&w);
    jw_end(&w);
    buf_char(&x->out, '\n');
    return 0;
}

/* --- view --- */

struct shown {
    const struct setting *row;
    Str name, value;
    enum setting_source source;
};

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const struct shown *)x)->name, ((const struct shown *)y)->name);
}

static void view_json(struct cli *x, const struct shown *rows, size_t n, bool sources)
{
    struct jw w = jw_on(&x->out);
    w.indent = 2;
    jw_object(&w);
    jw_kstr(&w, "profile", settings_profile(x->settings));
    jw_key(&w, STR("settings"));
    jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        jw_object(&w);
        jw_kstr(&w, "name", rows[i].name);
        jw_kstr(&w, "value", rows[i].value);
        if (sources)
            jw_kz(&w, "source", setting_source_names[rows[i].source]);
        jw_end(&w);
    }
    jw_end(&w);
    jw_kstr(&w, "ui_url", settings_ui_url(x->settings));
    jw_end(&w);
    buf_char(&x->out, '\n');
}

static int view(struct cli *x, struct err *err)
{
    UNUSED(err);
    bool defaults = args_flag(&x->args, "show-defaults", false), sources = args_flag(&x->args, "show-sources", true),
         secrets = args_flag(&x->args, "show-secrets", false);
    struct shown *rows = arena_array(x->a, struct shown, setting_count);
    size_t n = 0;
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *row = &setting_table[i];
        enum setting_source source = settings_source(x->settings, row);
        Str value = settings_value(x->settings, row);
        if ((source == SOURCE_DEFAULT && !defaults) || (source == SOURCE_DEFAULT && !value.p) || !strcmp(row->path, "home"))
            continue;
        if (setting_is_secret(row) && !secrets)
            value = STR("********");
        rows[n++] = (struct shown){row, setting_env(x->a, row, settings_prefix(x->settings)), value, source};
    }
    qsort(rows, n, sizeof *rows, by_name);
    if (x->json) {
        view_json(x, rows, n, sources);
        return 0;
    }
    Str ui = settings_ui_url(x->settings), profile = settings_profile(x->settings);
    if (settings_text(x->settings, "api.url").p) {
        cli_put(x, "🚀 you are connected to:\n");
        cli_styled(x, STYLE_GREEN, "%.*s", STR_ARG(ui));
        cli_put(x, "\n");
    }
    cli_styled(x, STYLE_BOLD ";" STYLE_BLUE, "%s_PROFILE='%.*s'", settings_prefix(x->settings), STR_ARG(profile));
    cli_put(x, "\n");
    for (size_t i = 0; i < n; i++) {
        cli_put(x, "%.*s='%.*s'", STR_ARG(rows[i].name), STR_ARG(rows[i].value));
        if (sources)
            cli_put(x, " (from %s)", setting_source_names[rows[i].source]);
        cli_put(x, "\n");
    }
    return 0;
}

/* --- set, unset, validate --- */

/* The names that come nearest to one that is none: present names, also where it resembles an old one. */
static Str nearest_settings(struct cli *x, Str name)
{
    const Str prefixes[] = {STR("MILLPOND_"), STR("PREFECT_")};
    struct guesses g = {.word = name}, shown = {0};
    for (size_t i = 0; i < COUNT_OF(prefixes); i++)
        if (str_ieq(str_sub(name, 0, prefixes[i].n), prefixes[i]))
            g.word = str_sub(name, prefixes[i].n, SIZE_MAX);
    for (size_t i = 0; i < setting_count; i++) {
        guess_words(&g, str_of(setting_table[i].path));
        for (Str rest = str_of(setting_table[i].also), old; rest.p && str_cut(&rest, '|', &old);)
            guess_try(&g, old);
    }
    for (size_t i = 0; i < g.n; i++) {
        Str env = setting_env(x->a, setting_find(g.best[i].name), settings_prefix(x->settings));
        bool again = false;
        for (size_t k = 0; k < shown.n; k++)
            again |= str_eq(shown.best[k].name, env);
        if (!again)
            shown.best[shown.n++].name = env;
    }
    return guess_text(x->a, &shown);
}

static int known_setting(struct cli *x, Str name, const struct setting **ret, struct err *err)
{
    const struct setting *row = setting_find(name);
    if (!row) {
        Str near = nearest_settings(x, name);
        if (near.n)
            return err_set(err, ERR_NOT_FOUND, "Unknown setting name '%.*s'. Did you mean %.*s?", STR_ARG(name), STR_ARG(near));
        return err_set(err, ERR_NOT_FOUND, "Unknown setting name '%.*s'. `%s config view --show-defaults` lists those there are.", STR_ARG(name), x->program);
    }
    if (!strcmp(row->path, "home") || !strcmp(row->path, "profiles_path"))
        return err_set(err, ERR_INVALID, "Setting '%.*s' cannot be changed with this command: it says where profiles are. Use the environment.", STR_ARG(name));
    *ret = row;
    return 0;
}

static int set(struct cli *x, struct err *err)
{
    struct strs pairs = args_list(&x->args, "settings");
    const struct setting *row;
    for (size_t i = 0; i < pairs.n; i++) { /* all are checked before one is written */
        Str rest = pairs.v[i], name;
        struct err fault;
        if (!memchr(rest.p, '=', rest.n) || !str_cut(&rest, '=', &name) || !name.n)
            return err_set(err, ERR_INVALID, "Failed to parse argument '%.*s'. Use the format 'VAR=VAL'.", STR_ARG(pairs.v[i]));
        if (known_setting(x, name, &row, err) < 0)
            return -1;
        if (setting_check(row, rest.p ? rest : STR(""), &fault) < 0)
            return err_set(err, ERR_INVALID, "Validation error(s) for setting %.*s\n\n - Input %s", STR_ARG(name), fault.text);
    }
    struct profile *f = profile_to_change(x);
    struct map changed = {0};
    for (size_t i = 0; i < pairs.n; i++) {
        Str value = pairs.v[i], name;
        (void)str_cut(&value, '=', &name);
        row = setting_find(name);
        unset_all_names(x, f, row);
        Str env = setting_env(x->a, row, settings_prefix(x->settings)), *shown_too = arena_new(x->a, Str);
        value = value.p ? value : STR("");
        profile_set(settings_profiles(x->settings), f, env, value);
        Str shown = *shown_too = setting_is_secret(row) ? STR("********") : value;
        *map_at(x->a, &changed, env) = shown_too;
        cli_say(x, "Set '%.*s' to '%.*s'.\n", STR_ARG(name), STR_ARG(shown));
        if (settings_source(x->settings, row) == SOURCE_ENV)
            cli_note(x, "%.*s is also set in the environment, which comes first.", STR_ARG(name));
    }
    return save(x, &changed, err);
}

static int unset(struct cli *x, struct err *err)
{
    struct strs names = args_list(&x->args, "setting-names");
    const struct profile *f = settings_profile_find(x->settings, settings_profile(x->settings));
    Str profile = settings_profile(x->settings);
    const struct setting *row;
    for (size_t i = 0; i < names.n; i++) {
        bool there = false;
        if (known_setting(x, names.v[i], &row, err) < 0)
            return -1;
        for (size_t k = 0; f && k < f->settings.n; k++)
            there |= setting_find(f->settings.v[k].key) == row;
        if (!there)
            return err_set(err, ERR_NOT_FOUND, "'%.*s' is not set in profile '%.*s'.", STR_ARG(names.v[i]), STR_ARG(profile));
    }
    Str question = str_fmt(x->a, "Take %zu setting%s out of profile '%.*s'?", names.n, names.n == 1 ? "" : "s", STR_ARG(profile));
    if (cli_confirm(x, question.p, "Unset aborted.", err) < 0)
        return -1;
    struct profile *mine = profile_to_change(x);
    struct map changed = {0};
    for (size_t i = 0; i < names.n; i++) {
        row = setting_find(names.v[i]);
        unset_all_names(x, mine, row);
        *map_at(x->a, &changed, setting_env(x->a, row, settings_prefix(x->settings))) = NULL;
        cli_say(x, "Unset '%.*s'.\n", STR_ARG(names.v[i]));
        if (settings_source(x->settings, row) == SOURCE_ENV)
            cli_note(x, "%.*s is still set in the environment.", STR_ARG(names.v[i]));
    }
    return save(x, &changed, err);
}

/* Checks all profiles and the environment; old names in the file become the present ones. */
static int validate(struct cli *x, struct err *err)
{
    struct profiles *p = settings_profiles(x->settings);
    struct err fault;
    bool changed = false;
    for (size_t i = 0; i < p->list.n; i++) {
        struct profile *f = &p->list.v[i];
        for (size_t k = 0; k < f->settings.n; k++) {
            struct pair *s = &f->settings.v[k];
            const struct setting *row = setting_find(s->key);
            if (!row)
                return err_set(err, ERR_NOT_FOUND, "profile '%.*s': unknown setting '%.*s'", STR_ARG(f->name), STR_ARG(s->key));
            if (setting_check(row, s->value, &fault) < 0)
                return err_set(err, ERR_INVALID, "profile '%.*s': %.*s %s", STR_ARG(f->name), STR_ARG(s->key), fault.text);
            Str ours = setting_env(x->a, row, "MILLPOND"), theirs = setting_env(x->a, row, "PREFECT");
            if (!str_eq(s->key, ours) && !str_eq(s->key, theirs)) {
                s->key = setting_env(x->a, row, settings_prefix(x->settings));
                changed = true;
            }
        }
    }
    for (size_t i = 0; i < setting_count; i++) {
        Str value = settings_value(x->settings, &setting_table[i]);
        if (settings_source(x->settings, &setting_table[i]) != SOURCE_DEFAULT && setting_check(&setting_table[i], value, &fault) < 0)
            return err_set(err, ERR_INVALID, "%s (from %s) %s", setting_table[i].path,
                           setting_source_names[settings_source(x->settings, &setting_table[i])], fault.text);
    }
    if (changed && profiles_save(p, err) < 0)
        return -1;
    cli_ok(x, "Configuration valid!");
    if (x->json)
        cli_put(x, "{\n  \"valid\": true\n}\n");
    return 0;
}

static const struct command commands[] = {
    {.name = "view", .summary = "Show the settings in force", .run = view,
     .options = OPTIONS({"show-defaults", NULL, VALUE_FLAG, 0, "Those nobody has set, too", .negative = "hide-defaults"},
                        {"show-sources", NULL, VALUE_FLAG, OPTION_ON, "Say where each is set", .negative = "hide-sources"},
                        {"show-secrets", NULL, VALUE_FLAG, 0, "Passwords and keys in clear", .negative = "hide-secrets"}, OPTION_OUTPUT)},
    {.name = "set", .summary = "Set settings in the active profile", .run = set, .args = ARGS({"settings", "NAME=VALUE; the name as in the environment, or a path like api.url", .many = true}),
     .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "unset", .summary = "Take settings out of the active profile", .run = unset, .args = ARGS({"setting-names", "Names of settings", .many = true}),
     .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {.name = "validate", .summary = "Check all settings; write old names anew", .run = validate, .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_config = {.name = "config", .summary = "Show and change settings", .commands = commands};
