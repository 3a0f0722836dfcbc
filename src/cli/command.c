#include "cli/command.h"

#include "base/time.h"
#include "cli/guess.h"
#include "cli/text.h"

#include <math.h>

static const struct {
    const char *word, *noun;
} types[] = {
    [VALUE_FLAG] = {"", ""},
    [VALUE_TEXT] = {"TEXT", "text"},
    [VALUE_INT] = {"INT", "a whole number"},
    [VALUE_FLOAT] = {"NUMBER", "a number"},
    [VALUE_UUID] = {"UUID", "a UUID"},
    [VALUE_PATH] = {"PATH", "a path"},
    [VALUE_JSON] = {"JSON", "JSON"},
};
_Static_assert(COUNT_OF(types) == VALUE_COUNT, "a row per type");

/* Of every command; --profile's short form only where the command has no -p. */
static const struct option common[] = {
    {"profile", "p", VALUE_TEXT, 0, "Use this profile's settings, over the environment's"},
    {"prompt", NULL, VALUE_FLAG, 0, "Ask, or never ask, whatever the output is"},
    {"help", NULL, VALUE_FLAG, OPTION_NO_NEG, "Show this text"},
    {0},
};

static const struct option no_options[] = {{0}};
static const struct positional no_args[] = {{0}};

static const struct option *options_of(const struct command *c)
{
    return c->options ? c->options : no_options;
}

static const struct positional *args_of(const struct command *c)
{
    return c->args ? c->args : no_args;
}

/* Subcommand number i, over both kinds; NULL past the last. */
static const struct command *subcommand(const struct command *c, size_t i)
{
    size_t n = 0;
    for (; c->groups && c->groups[n]; n++)
        if (n == i)
            return c->groups[n];
    return c->commands && c->commands[i - n].name ? &c->commands[i - n] : NULL;
}

const struct command *command_find(const struct command *c, Str word)
{
    const struct command *sub;
    for (size_t i = 0; (sub = subcommand(c, i)); i++)
        if (str_eqz(word, sub->name) || (sub->alias && str_eqz(word, sub->alias)))
            return sub;
    return NULL;
}

/* "millpond work-pool ls". */
static Str path_text(struct arena *a, const struct args *x)
{
    Str s = str_of(x->program);
    for (size_t i = 1; i < x->depth; i++)
        s = str_fmt(a, "%.*s %s", STR_ARG(s), x->path[i]->name);
    return s;
}

static int unknown_command(struct arena *a, const struct args *x, Str word, struct err *err)
{
    const struct command *group = x->path[x->depth - 1], *sub;
    struct guesses g = {.word = word};
    for (size_t i = 0; (sub = subcommand(group, i)); i++) {
        if (!sub->hidden) {
            guess_try(&g, str_of(sub->name));
            guess_try(&g, str_of(sub->alias));
        }
    }
    Str path = path_text(a, x);
    if (g.n)
        return err_set(err, ERR_INVALID, "unknown command \"%.*s\": did you mean \"%.*s %.*s\"?", STR_ARG(word),
                       STR_ARG(path), STR_ARG(g.best[0].name));
    return err_set(err, ERR_INVALID, "unknown command \"%.*s\"; \"%.*s --help\" lists what there is", STR_ARG(word),
                   STR_ARG(path));
}

static int unknown_option(struct arena *a, const struct args *x, Str word, struct err *err)
{
    const struct command *c = args_command(x);
    struct guesses g = {.word = word};
    for (const struct option *o = options_of(c); o->name; o++) {
        guess_try(&g, str_of(o->name));
        guess_try(&g, str_of(o->alias));
    }
    for (const struct positional *p = args_of(c); p->name; p++)
        guess_try(&g, str_of(p->name));
    for (const struct option *o = common; o->name; o++)
        guess_try(&g, str_of(o->name));
    const char *dashes = word.n > 1 ? "--" : "-";
    Str path = path_text(a, x);
    if (g.n && word.n > 1)
        return err_set(err, ERR_INVALID, "unknown option %s%.*s: did you mean --%.*s?", dashes, STR_ARG(word),
                       STR_ARG(g.best[0].name));
    return err_set(err, ERR_INVALID, "unknown option %s%.*s; \"%.*s --help\" lists what there is", dashes,
                   STR_ARG(word), STR_ARG(path));
}

static int check_value(enum value_type type, const char *shown, Str value, struct err *err)
{
    int64_t i;
    double d;
    Uuid u;
    bool good = true;
    switch (type) {
    case VALUE_FLAG:
    case VALUE_TEXT:
    case VALUE_PATH:
    case VALUE_JSON:
    case VALUE_COUNT:
        break;
    case VALUE_INT:
        good = str_int(value, &i) && i != INT_NONE;
        break;
    case VALUE_FLOAT:
        good = str_double(value, &d) && isfinite(d);
        break;
    case VALUE_UUID:
        good = uuid_parse(value, &u);
        break;
    }
    if (!good)
        return err_set(err, ERR_INVALID, "%s: \"%.*s\" is not %s", shown, STR_ARG(value), types[type].noun);
    return 0;
}

static struct given *given_of(struct arena *a, struct args *x, const struct option *o)
{
    for (size_t i = 0; i < x->options.n; i++)
        if (x->options.v[i].option == o)
            return &x->options.v[i];
    vec_push(a, &x->options, (struct given){.option = o});
    return &x->options.v[x->options.n - 1];
}

/* A long name is the same with '-' and '_'. */
static bool same_name(Str x, Str y)
{
    if (x.n != y.n)
        return false;
    for (size_t i = 0; i < x.n; i++)
        if (x.p[i] != y.p[i] && !((x.p[i] == '_' || x.p[i] == '-') && (y.p[i] == '_' || y.p[i] == '-')))
            return false;
    return true;
}

/* How a long name stands to an option: not at all, itself, a flag's contrary, a list made empty. */
enum match { MATCH_NONE, MATCH_ITSELF, MATCH_NEGATIVE, MATCH_EMPTY };

static enum match match_long(const struct option *o, Str name)
{
    const char *names[] = {o->name, o->alias};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        Str n = str_of(names[i]);
        if (!n.p)
            continue;
        if (same_name(name, n))
            return MATCH_ITSELF;
        bool flag = o->type == VALUE_FLAG && !(o->is & OPTION_NO_NEG);
        if (flag && str_starts(name, STR("no-")) && same_name(str_sub(name, 3, SIZE_MAX), n))
            return MATCH_NEGATIVE;
        if ((o->is & OPTION_LIST) && str_starts(name, STR("empty-")) && same_name(str_sub(name, 6, SIZE_MAX), n))
            return MATCH_EMPTY;
    }
    return o->negative && same_name(name, str_of(o->negative)) ? MATCH_NEGATIVE : MATCH_NONE;
}

static const struct option *find_long(const struct args *x, Str name, enum match *ret_match)
{
    for (const struct option *o = options_of(args_command(x)); o->name; o++)
        if ((*ret_match = match_long(o, name)))
            return o;
    for (const struct option *o = common; o->name; o++)
        if ((*ret_match = match_long(o, name)))
            return o;
    return NULL;
}

static const struct option *find_brief(const struct args *x, Str name)
{
    for (const struct option *o = options_of(args_command(x)); o->name; o++)
        if (o->brief && str_eqz(name, o->brief))
            return o;
    for (const struct option *o = common; o->name; o++)
        if (o->brief && str_eqz(name, o->brief))
            return o;
    return NULL;
}

static bool bool_word(Str s, bool *ret)
{
    static const char *const yes[] = {"true", "1", "yes", "on", "y", "t"}, *const no[] = {"false", "0", "no", "off", "n", "f"};
    for (size_t i = 0; i < COUNT_OF(yes); i++)
        if (str_ieq(s, str_of(yes[i])) || str_ieq(s, str_of(no[i]))) {
            *ret = str_ieq(s, str_of(yes[i]));
            return true;
        }
    return false;
}

/* A word that may stand where a value is wanted: all but what looks like an option. */
static bool is_value(Str word)
{
    return word.n < 2 || word.p[0] != '-' || (word.p[1] >= '0' && word.p[1] <= '9') ||
           (word.p[1] == '.' && word.n > 2 && word.p[2] >= '0' && word.p[2] <= '9');
}

struct words {
    int n, at;
    char *const *v;
};

/* The value of `shown`: glued on, or the next word. */
static int take_value(struct words *w, const char *shown, Str glued, bool dash, const char *type, Str *ret, struct err *err)
{
    if (glued.p) {
        *ret = glued;
        return 0;
    }
    if (w->at < w->n && (dash || is_value(str_of(w->v[w->at])))) {
        *ret = str_of(w->v[w->at++]);
        return 0;
    }
    return err_set(err, ERR_INVALID, "%s needs a value (%s)", shown, type);
}

static int take_option(struct arena *a, struct args *x, const struct option *o, enum match match, const char *shown,
                       Str glued, struct words *w, struct err *err)
{
    Str value;
    if (o == &common[0]) {
        return take_value(w, shown, glued, false, "TEXT", &x->profile, err);
    }
    bool on = match == MATCH_ITSELF;
    if (o->type == VALUE_FLAG) {
        bool said = true;
        if (glued.p && !bool_word(glued, &said))
            return err_set(err, ERR_INVALID, "%s: \"%.*s\" is neither true nor false", shown, STR_ARG(glued));
        on = on == said;
        if (o == &common[1])
            x->prompt = on;
        else if (o == &common[2])
            x->help = true;
        else
            given_of(a, x, o)->on = on;
        return 0;
    }
    struct given *g = given_of(a, x, o);
    if (match == MATCH_EMPTY) {
        g->values.n = 0;
        return 0;
    }
    if (take_value(w, shown, glued, o->is & OPTION_DASH, types[o->type].word, &value, err) < 0 ||
        check_value(o->type, shown, value, err) < 0)
        return -1;
    vec_push(a, &g->values, value);
    return 0;
}

static int take_long(struct arena *a, struct args *x, Str word, struct words *w, struct err *err)
{
    Str glued = STR_NONE, name = word;
    const char *equals = memchr(word.p, '=', word.n);
    if (equals) {
        name.n = (size_t)(equals - word.p);
        glued = str_sub(word, name.n + 1, SIZE_MAX);
    }
    const char *shown = str_fmt(a, "--%.*s", STR_ARG(name)).p;
    enum match match;
    const struct option *o = find_long(x, name, &match);
    if (o)
        return take_option(a, x, o, match, shown, glued, w, err);
    const struct command *c = args_command(x);
    for (size_t i = 0; args_of(c)[i].name; i++) {
        const struct positional *p = &args_of(c)[i];
        if (!same_name(name, str_of(p->name)))
            continue;
        Str value;
        if (take_value(w, shown, glued, false, types[p->type ? p->type : VALUE_TEXT].word, &value, err) < 0 ||
            check_value(p->type, shown, value, err) < 0)
            return -1;
        vec_push(a, &x->positionals[i], value);
        return 0;
    }
    return unknown_option(a, x, name, err);
}

static int take_brief(struct arena *a, struct args *x, Str word, struct words *w, struct err *err)
{
    Str glued = STR_NONE, name = word;
    const char *equals = memchr(word.p, '=', word.n);
    if (equals) {
        name.n = (size_t)(equals - word.p);
        glued = str_sub(word, name.n + 1, SIZE_MAX);
    }
    const struct option *o = find_brief(x, name);
    if (!o && name.n > 1 && (o = find_brief(x, str_sub(name, 0, 1))) && o->type != VALUE_FLAG) {
        glued = str_sub(word, 1, SIZE_MAX); /* -n5 */
        name.n = 1;
    }
    if (!o || (o->type == VALUE_FLAG && !str_eqz(name, o->brief)))
        return unknown_option(a, x, name, err);
    return take_option(a, x, o, MATCH_ITSELF, str_fmt(a, "-%.*s", STR_ARG(name)).p, glued, w, err);
}

/* Gives bare words to the positionals that have no value yet, in order. */
static int place_positionals(struct arena *a, struct args *x, const struct strs *bare, struct err *err)
{
    const struct positional *rows = args_of(args_command(x));
    size_t row = 0, i = 0;
    for (; i < bare->n; i++) {
        while (rows[row].name && !rows[row].many && x->positionals[row].n)
            row++;
        if (!rows[row].name)
            break;
        const char *shown = rows[row].name;
        if (check_value(rows[row].type, shown, bare->v[i], err) < 0)
            return -1;
        vec_push(a, &x->positionals[row], bare->v[i]);
    }
    Str path = path_text(a, x);
    if (i < bare->n)
        return err_set(err, ERR_INVALID, "\"%.*s\" is one word too many for \"%.*s\"", STR_ARG(bare->v[i]), STR_ARG(path));
    for (row = 0; rows[row].name; row++) {
        if (rows[row].optional || x->positionals[row].n)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s", rows[row].name);
        for (char *c = name; *c; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        return err_set(err, ERR_INVALID, "\"%.*s\" needs %s (--%s)", STR_ARG(path), name, rows[row].name);
    }
    for (const struct option *o = options_of(args_command(x)); o->name; o++)
        if ((o->is & OPTION_REQUIRED) && !args_given(x, o->name))
            return err_set(err, ERR_INVALID, "\"%.*s\" needs --%s", STR_ARG(path), o->name);
    return 0;
}

const struct command *args_command(const struct args *x)
{
    return x->path[x->depth - 1];
}

int args_parse(struct arena *a, const struct command *root, int argc, char *const *argv, struct args *ret,
               struct err *err)
{
    struct args *x = ret;
    *x = (struct args){.program = "millpond", .prompt = BOOL_NONE};
    struct words w = {argc, argc ? 1 : 0, argv};
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    if (argc && !strcmp(slash ? slash + 1 : argv[0], "prefect"))
        x->program = "prefect";
    x->path[x->depth++] = root;
    struct strs bare = {0};
    bool only_words = false;
    while (w.at < w.n) {
        Str word = str_of(w.v[w.at++]);
        const struct command *c = args_command(x);
        if (!only_words && str_eq(word, STR("--"))) {
            only_words = true;
        } else if (!only_words && str_starts(word, STR("--"))) {
            if (take_long(a, x, str_sub(word, 2, SIZE_MAX), &w, err) < 0)
                return -1;
        } else if (!only_words && !is_value(word)) {
            if (take_brief(a, x, str_sub(word, 1, SIZE_MAX), &w, err) < 0)
                return -1;
        } else if (!c->run || (!only_words && !bare.n && command_find(c, word))) {
            const struct command *sub = command_find(c, word);
            if (!sub)
                return x->help ? 0 : unknown_command(a, x, word, err);
            if (x->depth == COUNT_OF(x->path))
                die("the command table is deeper than %zu", COUNT_OF(x->path));
            x->path[x->depth++] = sub;
            size_t n = 0;
            while (args_of(sub)[n].name)
                n++;
            x->positionals = arena_array(a, struct strs, n + 1);
        } else {
            vec_push(a, &bare, word);
        }
    }
    if (!args_command(x)->run)
        x->help = true;
    return x->help ? 0 : place_positionals(a, x, &bare, err);
}

/* What was given for a name of the command's tables; NULL: nothing. *ret_found says of which kind it is. */
static const struct strs *values_of(const struct args *x, const char *name, const struct given **ret_given)
{
    const struct command *c = args_command(x);
    for (size_t i = 0; args_of(c)[i].name; i++)
        if (!strcmp(args_of(c)[i].name, name))
            return x->positionals[i].n ? &x->positionals[i] : NULL;
    for (size_t i = 0; i < x->options.n; i++)
        if (!strcmp(x->options.v[i].option->name, name)) {
            *ret_given = &x->options.v[i];
            return &x->options.v[i].values;
        }
    for (const struct option *o = options_of(c); o->name; o++)
        if (!strcmp(o->name, name))
            return NULL;
    die("command '%s' has no option '%s'", c->name, name);
}

bool args_given(const struct args *x, const char *name)
{
    const struct given *g = NULL;
    return values_of(x, name, &g) != NULL;
}

Str args_text(const struct args *x, const char *name)
{
    const struct given *g = NULL;
    const struct strs *v = values_of(x, name, &g);
    return v && v->n ? v->v[v->n - 1] : STR_NONE;
}

int64_t args_int(const struct args *x, const char *name)
{
    int64_t i = INT_NONE;
    Str s = args_text(x, name);
    return s.p && str_int(s, &i) ? i : INT_NONE;
}

double args_float(const struct args *x, const char *name)
{
    double d = NAN;
    Str s = args_text(x, name);
    return s.p && str_double(s, &d) ? d : (double)NAN;
}

bool args_flag(const struct args *x, const char *name, bool otherwise)
{
    const struct given *g = NULL;
    return values_of(x, name, &g) && g ? g->on : otherwise;
}

struct strs args_list(const struct args *x, const char *name)
{
    const struct given *g = NULL;
    const struct strs *v = values_of(x, name, &g);
    return v ? *v : (struct strs){0};
}
