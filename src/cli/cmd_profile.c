#include "cli/commands.h"
#include "cli/progress.h"

static int not_found(struct cli *x, Str name, struct err *err)
{
    UNUSED(x);
    return err_set(err, ERR_NOT_FOUND, "Profile '%.*s' not found.", STR_ARG(name));
}

static void put_settings(struct jw *w, const struct profile *f, bool secrets)
{
    jw_object(w);
    for (size_t i = 0; i < f->settings.n; i++) {
        const struct setting *row = setting_find(f->settings.v[i].key);
        jw_key(w, f->settings.v[i].key);
        jw_str(w, row && setting_is_secret(row) && !secrets ? STR("********") : f->settings.v[i].value);
    }
    jw_end(w);
}

/* Names of the file, of the field's own, then those that are always there. */
static struct strs names_of(struct cli *x)
{
    struct strs names = {0};
    const struct profiles *places[] = {settings_profiles(x->settings), settings_other_profiles(x->settings), settings_builtin_profiles(x->settings)};
    for (size_t k = 0; k < COUNT_OF(places); k++)
        for (size_t i = 0; i < places[k]->list.n; i++) {
            Str name = places[k]->list.v[i].name;
            bool above = (k > 0 && profiles_find(places[0], name)) || (k > 1 && profiles_find(places[1], name));
            if (!above)
                vec_push(x->a, &names, name);
        }
    return names;
}

static int ls(struct cli *x, struct err *err)
{
    UNUSED(err);
    static const struct column columns[] = {{.title = "Available Profiles:", .right = true}};
    struct strs names = names_of(x);
    Str active = settings_profile(x->settings);
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        jw_array(&w);
        for (size_t i = 0; i < names.n; i++) {
            jw_object(&w);
            jw_kstr(&w, "name", names.v[i]);
            jw_kbool(&w, "active", str_eq(names.v[i], active));
            jw_end(&w);
        }
        jw_end(&w);
        buf_char(&x->out, '\n');
        return 0;
    }
    struct table *t = table_create(x->a, NULL, columns, COUNT_OF(columns));
    table_caption(t, "* active profile", NULL);
    for (size_t i = 0; i < names.n; i++) {
        if (str_eq(names.v[i], active))
            table_styled(t, STYLE_GREEN, str_fmt(x->a, "* %.*s", STR_ARG(names.v[i])));
        else
            table_cell(t, names.v[i]);
    }
    cli_table(x, t);
    return 0;
}

/* With -o json: a profile, its secrets covered. */
static void profile_result(struct cli *x, const struct profile *f)
{
    if (!x->json)
        return;
    struct jw w = jw_on(&x->out);
    const struct profiles *p = settings_profiles(x->settings);
    w.indent = 2;
    jw_object(&w);
    jw_kstr(&w, "name", f->name);
    jw_kbool(&w, "active", p->active.p ? str_eq(p->active, f->name) : str_eq(settings_profile(x->settings), f->name));
    jw_key(&w, STR("settings"));
    put_settings(&w, f, /* secrets= */ false);
    jw_end(&w);
    buf_char(&x->out, '\n');
}

static struct profile *copy_profile(struct cli *x, Str name, const struct profile *from)
{
    struct profiles *p = settings_profiles(x->settings);
    struct profile old = from ? *from : (struct profile){0}; /* the list may move */
    struct profile *f = profiles_add(p, name);
    for (size_t i = 0; i < old.settings.n; i++)
        profile_set(p, f, old.settings.v[i].key, old.settings.v[i].value);
    return f;
}

static int create(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name"), from = args_text(&x->args, "from");
    const struct profile *source = NULL;
    if (!name.n)
        return err_set(err, ERR_INVALID, "a profile's name cannot be empty");
    if (settings_profile_find(x->settings, name))
        return err_set(err, ERR_CONFLICT, "Profile '%.*s' already exists.", STR_ARG(name));
    if (from.p && !(source = settings_profile_find(x->settings, from)))
        return not_found(x, from, err);
    copy_profile(x, name, source);
    if (profiles_save(settings_profiles(x->settings), err) < 0)
        return -1;
    cli_ok(x, "Created profile '%.*s'%s%.*s.", STR_ARG(name), from.p ? " with the settings of " : "", from.p ? (int)from.n : 0, from.p ? from.p : "");
    profile_result(x, settings_profile_find(x->settings, name));
    cli_say(x, "To make it the active one: %s profile use '%.*s'\nFor one command: %s --profile '%.*s' …\n", x->program, STR_ARG(name), x->program, STR_ARG(name));
    return 0;
}

static int use(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name");
    struct profiles *p = settings_profiles(x->settings);
    if (!settings_profile_find(x->settings, name))
        return not_found(x, name, err);
    p->active = name;
    if (profiles_save(p, err) < 0)
        return -1;
    AUTO(buf_free) struct buf warnings = BUF(4096);
    struct settings *now = settings_load(x->a, x->program, name, &warnings, err);
    if (!now)
        return -1;
    x->settings = now;
    struct progress *shown = x->json ? NULL : progress_begin(x, STR("Checking API connectivity..."));
    struct client_options o = cli_client_options(x);
    o.timeout = 3 * SEC;
    o.retries = 0;
    AUTO(client_freep) struct client *c = client_create(&o);
    struct response r;
    struct err fault;
    int rc = client_call(c, x->a, "GET", STR("/health"), STR_NONE, &r, &fault);
    progress_end(shown);
    if (rc < 0 || r.status != 200)
        cli_note(x, "Profile '%.*s' is active, but its server does not answer: %s", STR_ARG(name), rc < 0 ? fault.text : "it is no server of this kind");
    else
        cli_ok(x, "Connected to server using profile '%.*s'", STR_ARG(name));
    profile_result(x, settings_profile_find(x->settings, name));
    return rc < 0 && x->as_prefect ? 1 : 0;
}

static int inspect(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name");
    if (!name.p)
        name = settings_profile(x->settings);
    const struct profile *f = settings_profile_find(x->settings, name);
    if (!f)
        return not_found(x, name, err);
    bool show = args_flag(&x->args, "show-secrets", false);
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        put_settings(&w, f, show);
        buf_char(&x->out, '\n');
        return 0;
    }
    for (size_t i = 0; i < f->settings.n; i++) {
        Str key = f->settings.v[i].key, value = f->settings.v[i].value;
        const struct setting *row = setting_find(key);
        if (row && setting_is_secret(row) && !show)
            value = STR("********");
        cli_put(x, "%.*s='%.*s'\n", STR_ARG(key), STR_ARG(value));
    }
    if (!f->settings.n)
        cli_put(x, "Profile '%.*s' is empty.\n", STR_ARG(name));
    return 0;
}

/* A profile that does not stand in our file can be used, but not changed. */
static int not_ours(struct cli *x, Str name, struct err *err)
{
    const struct profiles *others = settings_other_profiles(x->settings);
    if (profiles_find(others, name))
        return err_set(err, ERR_CONFLICT, "Profile '%.*s' stands in %.*s, which is only read here.", STR_ARG(name), STR_ARG(others->path));
    return err_set(err, ERR_CONFLICT, "Profile '%.*s' is always there.", STR_ARG(name));
}

static int rename_profile(struct cli *x, struct err *err)
{
    Str old = args_text(&x->args, "name"), name = args_text(&x->args, "new-name");
    struct profiles *p = settings_profiles(x->settings);
    const struct profile *f = settings_profile_find(x->settings, old);
    if (!f)
        return not_found(x, old, err);
    if (!name.n || settings_profile_find(x->settings, name))
        return err_set(err, ERR_CONFLICT, "Profile '%.*s' already exists.", STR_ARG(name));
    if (!profiles_find(p, old))
        return not_ours(x, old, err);
    copy_profile(x, name, f);
    profiles_remove(p, old);
    if (str_eq(settings_profile(x->settings), old))
        p->active = name;
    if (profiles_save(p, err) < 0)
        return -1;
    cli_ok(x, "Renamed profile '%.*s' to '%.*s'.", STR_ARG(old), STR_ARG(name));
    profile_result(x, profiles_find(p, name));
    return 0;
}

static int delete_profile(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "name");
    struct profiles *p = settings_profiles(x->settings);
    if (!settings_profile_find(x->settings, name))
        return not_found(x, name, err);
    if (str_eq(settings_profile(x->settings), name))
        return err_set(err, ERR_CONFLICT, "Profile '%.*s' is the active profile. Use another one first.", STR_ARG(name));
    if (!profiles_find(p, name))
        return not_ours(x, name, err);
    Str question = str_fmt(x->a, "Delete profile '%.*s'?", STR_ARG(name));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0)
        return -1;
    struct profile gone = *profiles_find(p, name);
    profiles_remove(p, name);
    if (profiles_save(p, err) < 0)
        return -1;
    cli_ok(x, "Removed profile '%.*s'.", STR_ARG(name));
    profile_result(x, &gone);
    return 0;
}

static int populate(struct cli *x, struct err *err)
{
    struct profiles *p = settings_profiles(x->settings);
    const struct profiles *below = settings_builtin_profiles(x->settings);
    struct strs added = {0};
    for (size_t i = 0; i < below->list.n; i++)
        if (!profiles_find(p, below->list.v[i].name)) {
            copy_profile(x, below->list.v[i].name, &below->list.v[i]);
            vec_push(x->a, &added, below->list.v[i].name);
        }
    size_t n = added.n;
    Str list = json_strings(x->a, added);
    if (x->json)
        cli_put(x, "[%.*s]\n", STR_ARG(list));
    if (!n) {
        cli_ok(x, "No changes needed: the file has all profiles that are always there.");
        return 0;
    }
    if (!p->active.p)
        p->active = settings_profile(x->settings);
    if (profiles_save(p, err) < 0)
        return -1;
    cli_ok(x, "Wrote %zu profile%s to %.*s.", n, n == 1 ? "" : "s", STR_ARG(p->path));
    return 0;
}

static const struct command commands[] = {
    {.name = "ls", .summary = "List profiles", .run = ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "create", .summary = "Make a profile", .run = create, .args = ARGS({"name", "Its name"}),
     .options = OPTIONS({"from", NULL, VALUE_TEXT, 0, "Begin with the settings of this one"}, OPTION_OUTPUT)},
    {.name = "use", .summary = "Make a profile the active one", .run = use, .args = ARGS({"name", "Its name"}), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a profile's settings", .run = inspect, .args = ARGS({"name", "Its name; else the active one", .optional = true}),
     .options = OPTIONS({"show-secrets", NULL, VALUE_FLAG, 0, "Passwords and keys in clear"}, OPTION_OUTPUT)},
    {.name = "rename", .summary = "Give a profile another name", .run = rename_profile, .args = ARGS({"name", "The present name"}, {"new-name", "The new one"}),
     .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a profile", .run = delete_profile, .args = ARGS({"name", "Its name"}), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {.name = "populate-defaults", .summary = "Write the profiles that are always there into the file", .run = populate, .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_profile = {.name = "profile", .alias = "profiles", .summary = "Named sets of settings", .commands = commands};
