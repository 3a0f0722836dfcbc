#include "cli/settings.h"

#include "base/time.h"
#include "cli/files.h"
#include "cli/toml.h"
#include "json/json.h"

#include <math.h>
#include <pwd.h>
#include <unistd.h>

extern char **environ;

const struct setting setting_table[] = {
#define SETTING(path, also, type, value, help) {path, also, type, value, help},
#include "cli/settings.def"
#undef SETTING
};
const size_t setting_count = COUNT_OF(setting_table);

const char *const setting_source_names[SOURCE_COUNT] = {
    [SOURCE_DEFAULT] = "defaults",      [SOURCE_PROFILE] = "profile",   [SOURCE_PYPROJECT] = "pyproject.toml",
    [SOURCE_TOML] = "prefect.toml",     [SOURCE_DOTENV] = ".env file",  [SOURCE_ENV] = "env",
};

/* A name's worth within one place; the higher wins. */
enum rank { RANK_NONE, RANK_PREFECT_OLD, RANK_MILLPOND_OLD, RANK_PREFECT, RANK_MILLPOND };

struct value {
    Str text, name; /* as it was said */
    enum setting_source source;
    enum rank rank;
};

struct settings {
    struct arena *a;
    const char *program;
    Str home, profile;
    struct profiles profiles, builtin;
    struct profiles others; /* as `millpond`: those of the field's own file, below ours */
    struct value values[COUNT_OF(setting_table)];
    enum setting_source source; /* being read */
    const char *table;          /* of the TOML file being read: "" or "tool.prefect" */
};

static char name_char(char c)
{
    return c == '.' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* SERVER_API_HOST is server.api.host. */
static bool name_eq(Str s, Str t)
{
    if (s.n != t.n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (name_char(s.p[i]) != name_char(t.p[i]))
            return false;
    return true;
}

static const struct setting *find_ranked(Str name, enum rank *ret)
{
    bool ours = name.n > 9 && str_ieq(str_sub(name, 0, 9), STR("MILLPOND_"));
    bool theirs = name.n > 8 && str_ieq(str_sub(name, 0, 8), STR("PREFECT_"));
    Str bare = ours ? str_sub(name, 9, SIZE_MAX) : theirs ? str_sub(name, 8, SIZE_MAX) : name;
    for (size_t i = 0; i < setting_count; i++)
        if (name_eq(bare, str_of(setting_table[i].path))) {
            *ret = theirs ? RANK_PREFECT : RANK_MILLPOND;
            return &setting_table[i];
        }
    for (size_t i = 0; i < setting_count; i++) {
        Str rest = str_of(setting_table[i].also), old;
        while (rest.p && str_cut(&rest, '|', &old))
            if (name_eq(bare, old)) {
                *ret = theirs ? RANK_PREFECT_OLD : RANK_MILLPOND_OLD;
                return &setting_table[i];
            }
    }
    return NULL;
}

const struct setting *setting_find(Str name)
{
    enum rank ignored;
    return find_ranked(name, &ignored);
}

Str setting_env(struct arena *a, const struct setting *s, const char *prefix)
{
    Str name = str_fmt(a, "%s_%s", prefix, s->path);
    char *z = str_z(a, name);
    for (char *c = z; *c; c++)
        *c = *c == '.' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    return (Str){z, name.n};
}

bool setting_is_secret(const struct setting *s)
{
    return !strcmp(s->type, "secret");
}

bool setting_bool(Str text, bool *ret)
{
    static const char *const words[][2] = {{"true", "false"}, {"1", "0"}, {"yes", "no"}, {"on", "off"}, {"t", "f"}, {"y", "n"}};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        for (int k = 0; k < 2; k++)
            if (str_ieq(text, str_of(words[i][k]))) {
                *ret = k == 0;
                return true;
            }
    return false;
}

bool setting_duration(Str text, Dur *ret)
{
    double seconds;
    if (str_double(text, &seconds) && seconds >= 0 && seconds < 1e12) {
        *ret = (Dur)(seconds * 1e6);
        return true;
    }
    if (dur_parse(text, ret))
        return true;
    Str rest = text, part;
    int64_t n, sum = 0, parts = 0;
    while (str_cut(&rest, ':', &part)) {
        if (!str_int(part, &n) || n < 0 || (parts > 0 && n > 59))
            return false;
        sum = sum * 60 + n;
        parts++;
    }
    *ret = sum * SEC;
    return parts == 3;
}

/* One of the words between '/'. */
static bool is_choice(const char *choices, Str value)
{
    for (Str rest = str_of(choices), word; str_cut(&rest, '/', &word);)
        if (str_ieq(word, value))
            return true;
    return false;
}

static bool all_numbers(Str value, double low, double high)
{
    double d;
    for (Str rest = value, part; str_cut(&rest, ',', &part);) {
        part = str_trim(part);
        if (!str_double(part, &d) || d < low || d > high)
            return false;
    }
    return true;
}

int setting_check(const struct setting *s, Str value, struct err *err)
{
    static const char levels[] = "DEBUG/INFO/WARNING/ERROR/CRITICAL";
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err ignored;
    bool flag;
    int64_t i;
    double d;
    Dur span;
    const char *want = NULL;
    if (!strcmp(s->type, "bool"))
        want = setting_bool(value, &flag) ? NULL : "true or false";
    else if (!strcmp(s->type, "int"))
        want = str_int(value, &i) ? NULL : "a whole number";
    else if (!strcmp(s->type, "number"))
        want = str_double(value, &d) && isfinite(d) ? NULL : "a number";
    else if (!strcmp(s->type, "numbers"))
        want = all_numbers(value, 0, 1e12) || json_is(json_parse(a, value, &ignored), JSON_ARRAY) ? NULL : "a number or a list of numbers";
    else if (!strcmp(s->type, "duration"))
        want = setting_duration(value, &span) ? NULL : "a duration (seconds, HH:MM:SS or ISO 8601)";
    else if (!strcmp(s->type, "level"))
        want = is_choice(levels, value) ? NULL : "one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'";
    else if (!strcmp(s->type, "json"))
        want = json_is(json_parse(a, value, &ignored), JSON_OBJECT) ? NULL : "a JSON object";
    else if (!strcmp(s->type, "codes"))
        want = !value.n || all_numbers(value, 100, 599) ? NULL : "HTTP status codes (100 to 599), comma between";
    else if (strchr(s->type, '/') && !is_choice(s->type, value))
        return err_set(err, ERR_INVALID, "should be one of %s", s->type);
    return want ? err_set(err, ERR_INVALID, "should be %s", want) : 0;
}

static void take(struct settings *s, Str name, Str text, enum setting_source source)
{
    enum rank rank;
    const struct setting *row = find_ranked(name, &rank);
    if (!row)
        return;
    struct value *v = &s->values[row - setting_table];
    if (source > v->source || (source == v->source && rank > v->rank))
        *v = (struct value){text, name, source, rank};
}

static void on_toml(void *user, Str path, Str value)
{
    struct settings *s = user;
    if (!value.p)
        return;
    char *z = str_z(s->a, path);
    for (char *c = z; *c; c++)
        if (*c == TOML_SEP)
            *c = '.';
    Str dotted = {z, path.n}, table = str_of(s->table);
    if (!str_starts(dotted, table))
        return;
    enum rank rank;
    dotted = str_sub(dotted, table.n, SIZE_MAX);
    const struct setting *row = find_ranked(dotted, &rank);
    if (row && str_eqz(dotted, row->path))
        take(s, dotted, value, s->source);
}

/* A settings file of the working directory; one that is not there is passed over. */
static int read_toml(struct settings *s, const char *name, const char *table, enum setting_source source, struct err *err)
{
    Str text;
    if (access(name, R_OK) < 0)
        return 0;
    s->table = table;
    s->source = source;
    if (path_read(s->a, str_of(name), &text, err) < 0)
        return -1;
    if (toml_read(s->a, text, on_toml, s, err) < 0)
        return err_wrap(err, "%s", name);
    return 0;
}

static void read_dotenv(struct settings *s)
{
    Str text, line, name;
    struct err ignored;
    if (access(".env", R_OK) < 0 || path_read(s->a, STR(".env"), &text, &ignored) < 0)
        return;
    while (str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (str_starts(line, STR("export ")))
            line = str_trim(str_sub(line, 7, SIZE_MAX));
        if (!line.n || line.p[0] == '#' || !memchr(line.p, '=', line.n))
            continue;
        (void)str_cut(&line, '=', &name);
        line = str_trim(line);
        if (line.n > 1 && (line.p[0] == '"' || line.p[0] == '\'') && line.p[line.n - 1] == line.p[0])
            line = str_sub(line, 1, line.n - 2);
        name = str_trim(name);
        if (str_starts(name, STR("MILLPOND_")) || str_starts(name, STR("PREFECT_")))
            take(s, name, line, SOURCE_DOTENV);
    }
}

static void read_environment(struct settings *s)
{
    for (char **e = environ; *e; e++) {
        Str rest = str_of(*e), name;
        if ((**e | 32) != 'm' && (**e | 32) != 'p')
            continue;
        (void)str_cut(&rest, '=', &name);
        if (name.n > 8 && (str_ieq(str_sub(name, 0, 9), STR("MILLPOND_")) || str_ieq(str_sub(name, 0, 8), STR("PREFECT_"))))
            take(s, name, rest.p ? rest : STR(""), SOURCE_ENV);
    }
}

static Str env_text(const char *ours, const char *theirs)
{
    const char *z = getenv(ours);
    if (!z || !*z)
        z = getenv(theirs);
    return z && *z ? str_of(z) : STR_NONE;
}

static Str expand_home(struct arena *a, Str path)
{
    if (!str_eq(path, STR("~")) && !str_starts(path, STR("~/")))
        return path;
    const char *home = getenv("HOME");
    const struct passwd *user = home ? NULL : getpwuid(getuid());
    return str_fmt(a, "%s%.*s", home ? home : user ? user->pw_dir : "", (int)path.n - 1, path.p + 1);
}

static void add_builtin(struct settings *s, const char *name, const char *key, const char *value)
{
    struct profile *f = profiles_add(&s->builtin, str_of(name));
    if (key)
        profile_set(&s->builtin, f, str_fmt(s->a, "%s_%s", settings_prefix(s), key), str_of(value));
}

const char *settings_prefix(const struct settings *s)
{
    return strcmp(s->program, "prefect") ? "MILLPOND" : "PREFECT";
}

/* The file of profiles: by the setting, where its name is of this program, or in our home. */
static Str profiles_path(struct settings *s)
{
    const struct setting *row = setting_find(STR("profiles_path"));
    const struct value *v = &s->values[row - setting_table];
    if (v->source != SOURCE_DEFAULT && (v->rank == RANK_MILLPOND || !strcmp(s->program, "prefect")))
        return expand_home(s->a, v->text);
    return str_fmt(s->a, "%.*s/profiles.toml", STR_ARG(s->home));
}

/* The field's own file, of which we take what ours does not say. Nothing is ever written there. */
static void read_others(struct settings *s, struct buf *warnings)
{
    const char *path = getenv("PREFECT_PROFILES_PATH"), *home = getenv("PREFECT_HOME");
    Str file = path && *path ? str_of(path) : str_fmt(s->a, "%s/profiles.toml", home && *home ? home : "~/.prefect");
    struct err fault;
    file = expand_home(s->a, file);
    s->others = (struct profiles){.a = s->a, .path = file};
    if (str_eq(file, s->profiles.path))
        return;
    struct profiles read;
    if (profiles_load(s->a, file, &read, &fault) < 0) {
        buf_fmt(warnings, "%s; its settings are ignored\n", fault.text);
        return;
    }
    s->others = read;
}

/* Which profile counts, and what it sets. */
static int read_profiles(struct settings *s, Str wanted, struct buf *warnings, struct err *err)
{
    bool theirs = !strcmp(s->program, "prefect");
    const char *standard = theirs ? "ephemeral" : "default";
    s->builtin = (struct profiles){.a = s->a};
    add_builtin(s, standard, theirs ? "SERVER_EPHEMERAL_ENABLED" : NULL, "true");
    add_builtin(s, "local", "API_URL", "http://127.0.0.1:4200/api");
    if (theirs)
        add_builtin(s, "cloud", NULL, NULL);

    Str path = profiles_path(s);
    struct err fault;
    if (profiles_load(s->a, path, &s->profiles, &fault) < 0) {
        buf_fmt(warnings, "%s; its settings are ignored\n", fault.text);
        s->profiles = (struct profiles){.a = s->a, .path = path};
    }
    if (!theirs)
        read_others(s, warnings);
    Str env = env_text("MILLPOND_PROFILE", "PREFECT_PROFILE");
    Str active = env.p ? env : s->profiles.active;
    if (!active.p && s->others.active.p && settings_profile_find(s, s->others.active))
        active = s->others.active; /* else it is one that is always there for them: it sets nothing that we read */
    s->profile = wanted.p ? wanted : active.p ? active : str_of(standard);
    const struct profile *f = settings_profile_find(s, s->profile);
    if (!f && wanted.p)
        return err_set(err, ERR_NOT_FOUND, "Unknown profile '%.*s'.", STR_ARG(wanted));
    if (!f) {
        buf_fmt(warnings, "the active profile '%.*s' (set in %s) does not exist; going on with '%s'\n", STR_ARG(s->profile),
                env.p ? "the environment" : "the profiles file", standard);
        s->profile = str_of(standard);
        f = settings_profile_find(s, s->profile);
    }
    bool before_environment = wanted.p && !str_eq(wanted, active);
    for (size_t i = 0; f && i < f->settings.n; i++) {
        const struct pair *p = &f->settings.v[i];
        enum rank rank;
        const struct setting *row = find_ranked(p->key, &rank);
        /* Another server's tables are no business of ours. */
        if (row && f >= s->others.list.v && f < s->others.list.v + s->others.list.n && str_starts(str_of(row->path), STR("server.database.")))
            continue;
        if (row && before_environment)
            s->values[row - setting_table] = (struct value){p->value, p->key, SOURCE_PROFILE, rank};
        else
            take(s, p->key, p->value, SOURCE_PROFILE);
    }
    return 0;
}

struct settings *settings_load(struct arena *a, const char *program, Str profile, struct buf *warnings, struct err *err)
{
    struct settings *s = arena_new(a, struct settings);
    s->a = a;
    s->program = program;
    bool theirs = !strcmp(program, "prefect");
    Str home = env_text("MILLPOND_HOME", theirs ? "PREFECT_HOME" : "MILLPOND_HOME");
    if (!home.p)
        home = theirs ? STR("~/.prefect") : STR("~/.millpond");
    s->home = expand_home(a, home);
    struct err fault; /* pyproject.toml is for many readers: one that we cannot read is not the end */
    if (read_toml(s, "pyproject.toml", "tool.millpond.", SOURCE_PYPROJECT, &fault) < 0 ||
        read_toml(s, "pyproject.toml", "tool.prefect.", SOURCE_PYPROJECT, &fault) < 0)
        buf_fmt(warnings, "%s; its settings are ignored\n", fault.text);
    if (read_toml(s, "millpond.toml", "", SOURCE_TOML, err) < 0 || read_toml(s, "prefect.toml", "", SOURCE_TOML, err) < 0)
        return NULL;
    read_dotenv(s);
    read_environment(s);
    if (read_profiles(s, profile, warnings, err) < 0)
        return NULL;
    return s;
}

enum setting_source settings_source(const struct settings *s, const struct setting *row)
{
    return s->values[row - setting_table].source;
}

Str settings_value(const struct settings *s, const struct setting *row)
{
    const struct value *v = &s->values[row - setting_table];
    if (v->source != SOURCE_DEFAULT)
        return v->text;
    if (!strcmp(row->path, "home"))
        return s->home;
    if (row->value && !strncmp(row->value, "{home}", 6))
        return str_fmt(s->a, "%.*s%s", STR_ARG(s->home), row->value + 6);
    return str_of(row->value);
}

Str settings_origin(const struct settings *s, const char *path)
{
    const struct setting *row = setting_find(str_of(path));
    const struct value *v = &s->values[row - setting_table];
    switch (v->source) {
    case SOURCE_DEFAULT:
        return STR("the default");
    case SOURCE_PROFILE:
        return str_fmt(s->a, "%.*s of profile '%.*s'", STR_ARG(v->name), STR_ARG(s->profile));
    case SOURCE_ENV:
        return v->name;
    case SOURCE_PYPROJECT:
    case SOURCE_TOML:
    case SOURCE_DOTENV:
    case SOURCE_COUNT:
        break;
    }
    return str_fmt(s->a, "%.*s of the %s", STR_ARG(v->name), setting_source_names[v->source]);
}

Str settings_text(const struct settings *s, const char *path)
{
    for (size_t i = 0; i < setting_count; i++)
        if (!strcmp(setting_table[i].path, path)) {
            Str v = settings_value(s, &setting_table[i]);
            return v.n ? v : STR_NONE;
        }
    die("no setting is called %s", path);
}

bool settings_bool(const struct settings *s, const char *path)
{
    bool on = false;
    return setting_bool(settings_text(s, path), &on) && on;
}

int64_t settings_int(const struct settings *s, const char *path)
{
    int64_t n;
    return str_int(settings_text(s, path), &n) ? n : INT_NONE;
}

double settings_number(const struct settings *s, const char *path)
{
    double d;
    return str_double(settings_text(s, path), &d) ? d : (double)NAN;
}

Str settings_home(const struct settings *s)
{
    return s->home;
}

Str settings_state_home(const struct settings *s)
{
    Str home = env_text("MILLPOND_HOME", "PREFECT_HOME");
    return expand_home(s->a, home.p ? home : STR("~/.millpond"));
}

Str settings_profile(const struct settings *s)
{
    return s->profile;
}

struct profiles *settings_profiles(struct settings *s)
{
    return &s->profiles;
}

const struct profile *settings_profile_find(struct settings *s, Str name)
{
    const struct profile *f = profiles_find(&s->profiles, name);
    if (!f)
        f = profiles_find(&s->others, name);
    return f ? f : profiles_find(&s->builtin, name);
}

const struct profiles *settings_other_profiles(struct settings *s)
{
    return &s->others;
}

const struct profiles *settings_builtin_profiles(struct settings *s)
{
    return &s->builtin;
}

Str settings_api_url(const struct settings *s)
{
    Str url = settings_text(s, "api.url");
    if (!url.p) {
        Str host = settings_text(s, "server.api.host");
        bool any = str_eq(host, STR("0.0.0.0")) || str_eq(host, STR("::"));
        bool six = !any && memchr(host.p, ':', host.n);
        url = str_fmt(s->a, "http://%s%.*s%s:%lld/api", six ? "[" : "", any ? 9 : (int)host.n, any ? "127.0.0.1" : host.p,
                      six ? "]" : "", (long long)settings_int(s, "server.api.port"));
    }
    while (url.n && url.p[url.n - 1] == '/' && !str_ends(url, STR("://")))
        url.n--;
    return url;
}

Str settings_ui_url(const struct settings *s)
{
    Str url = settings_text(s, "ui_url");
    if (url.p)
        return url;
    url = settings_api_url(s);
    return str_ends(url, STR("/api")) ? str_sub(url, 0, url.n - 4) : url;
}
