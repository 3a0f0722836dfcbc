/* The command line's own machinery: words by the table, tables by width, times in words, TOML, settings. */
#include "tests/unit/test.h"

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/guess.h"
#include "cli/settings.h"
#include "cli/toml.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct arena *arena;
static struct err err;

static int case_start(void **state)
{
    UNUSED(state);
    arena = arena_create();
    err = (struct err){0};
    return 0;
}

static int case_stop(void **state)
{
    UNUSED(state);
    arena_free(arena);
    return 0;
}

/* --- words --- */

static int none(struct cli *x, struct err *e)
{
    UNUSED(x), UNUSED(e);
    return 0;
}

static const struct command below[] = {{.name = "sub", .summary = "Sub", .run = none}, {0}};
static const struct command leaf[] = {
    {.name = "both", .summary = "Command and group", .run = none, .commands = below, .args = ARGS({"word", "Word", .optional = true})},
    {.name = "run", .summary = "Run", .run = none, .args = ARGS({"name", "Name"}, {"many", "More", .optional = true, .many = true}),
     .options = OPTIONS({"limit", "l", VALUE_INT, 0, "Limit"}, {"tag", "t", VALUE_TEXT, OPTION_LIST, "Tag"},
                        {"paused", NULL, VALUE_FLAG, 0, "Paused", .alias = "halted"}, {"param", "p", VALUE_TEXT, OPTION_LIST, "Param"},
                        {"params", NULL, VALUE_JSON, OPTION_DASH, "Params"}, {"job-variable", "jv", VALUE_TEXT, OPTION_LIST, "Variable"},
                        {"on", NULL, VALUE_FLAG, 0, "On", .negative = "off"}, {"id", NULL, VALUE_UUID, 0, "Id"})},
    {.name = "list", .alias = "ls", .summary = "List", .run = none, .options = OPTIONS({"verbose", "v", VALUE_FLAG, 0, "Much"})},
    {.name = "secret", .summary = "Hidden", .run = none, .hidden = true},
    {0},
};
static const struct command group = {.name = "thing", .alias = "things", .summary = "Things", .commands = leaf};
static const struct command *const groups[] = {&group, NULL};
static const struct command root = {.name = "millpond", .summary = "Root", .groups = groups};

/* Words of one line, quotes not known. */
static int parse(const char *line, struct args *ret)
{
    char *argv[40], *copy = str_z(arena, str_of(line));
    int argc = 0;
    for (Str rest = str_of(copy), word; str_cut(&rest, ' ', &word);)
        argv[argc++] = str_z(arena, word);
    return args_parse(arena, &root, argc, argv, ret, &err);
}

static void test_words(void **state)
{
    UNUSED(state);
    struct args x;
    assert_int_equal(parse("millpond things run --limit=5 a -t x --tag y b c --paused=false -p=k=v -jv a=1", &x), 0);
    assert_string_equal(args_command(&x)->name, "run");
    assert_true(str_eqz(args_text(&x, "name"), "a"));
    struct args both;
    assert_int_equal(parse("millpond thing both", &both), 0);
    assert_string_equal(args_command(&both)->name, "both");
    assert_int_equal(parse("millpond thing both sub", &both), 0);
    assert_string_equal(args_command(&both)->name, "sub");
    assert_int_equal(parse("millpond thing both -- sub", &both), 0);
    assert_true(str_eqz(args_text(&both, "word"), "sub"));
    assert_int_equal(parse("millpond thing both x sub", &both), -1);
    struct strs many = args_list(&x, "many"), tags = args_list(&x, "tag");
    assert_int_equal(many.n, 2);
    assert_true(str_eqz(many.v[1], "c"));
    assert_int_equal(tags.n, 2);
    assert_int_equal(args_int(&x, "limit"), 5);
    assert_false(args_flag(&x, "paused", true));
    assert_true(str_eqz(args_text(&x, "param"), "k=v"));
    assert_true(str_eqz(args_text(&x, "job-variable"), "a=1"));
    assert_false(args_given(&x, "params"));
    assert_int_equal(args_int(&x, "limit"), 5);

    assert_int_equal(parse("/usr/bin/prefect --profile q thing run --name n --no-halted --off --params - -5 --tag z --empty-tag -l-3", &x), 0);
    assert_string_equal(x.program, "prefect");
    assert_true(str_eqz(x.profile, "q"));
    assert_true(str_eqz(args_text(&x, "name"), "n"));
    assert_true(str_eqz(args_text(&x, "many"), "-5"));
    assert_false(args_flag(&x, "paused", true));
    assert_false(args_flag(&x, "on", true));
    assert_true(str_eqz(args_text(&x, "params"), "-"));
    assert_int_equal(args_list(&x, "tag").n, 0);
    assert_true(args_given(&x, "tag"));
    assert_int_equal(args_int(&x, "limit"), -3);

    assert_int_equal(parse("millpond thing run -- --limit", &x), 0);
    assert_true(str_eqz(args_text(&x, "name"), "--limit"));
    assert_int_equal(args_int(&x, "limit"), INT_NONE);
    assert_true(isnan(args_float(&x, "limit")));

    assert_int_equal(parse("millpond -p q --no-prompt thing run a -p r", &x), 0); /* -p before the command is the profile */
    assert_true(str_eqz(x.profile, "q"));
    assert_true(str_eqz(args_text(&x, "param"), "r"));
    assert_int_equal(x.prompt, 0);
    assert_int_equal(parse("millpond thing", &x), 0);
    assert_true(x.help);
    assert_int_equal(parse("millpond thing run --help", &x), 0); /* nothing is missing where help is asked for */
    assert_true(x.help);
}

static void test_wrong_words(void **state)
{
    UNUSED(state);
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"millpond thing lists", "unknown command \"lists\": did you mean \"millpond thing list\"?"},
        {"millpond thing frobnicate", "unknown command \"frobnicate\"; \"millpond thing --help\" lists what there is"},
        {"millpond thing list --verbos", "unknown option --verbos: did you mean --verbose?"},
        {"millpond thing list --xyzzy", "unknown option --xyzzy; \"millpond thing list --help\" lists what there is"},
        {"millpond thing list -x", "unknown option -x; \"millpond thing list --help\" lists what there is"},
        {"millpond thing run", "\"millpond thing run\" needs NAME (--name)"},
        {"millpond thing list extra", "\"extra\" is one word too many for \"millpond thing list\""},
        {"millpond thing run a --limit", "--limit needs a value (INT)"},
        {"millpond thing run a --tag --paused", "--tag needs a value (TEXT)"},
        {"millpond thing run a --limit five", "--limit: \"five\" is not a whole number"},
        {"millpond thing run a --id 7", "--id: \"7\" is not a UUID"},
        {"millpond thing run a --paused=perhaps", "--paused: \"perhaps\" is neither true nor false"},
        {"millpond thing run a --nothing", "unknown option --nothing; \"millpond thing run --help\" lists what there is"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct args x;
        int rc = parse(cases[i].line, &x);
        if (rc != -1 || strcmp(err.text, cases[i].message))
            fail_msg("%s: %d %s", cases[i].line, rc, rc ? err.text : "");
    }
}

/* Every row of the program's own table has what help needs, and no name twice. */
static void check_command(const struct command *c)
{
    if (!c->name || !c->summary || str_ends(str_of(c->summary), STR(".")))
        fail_msg("%s: no summary, or one with a full stop", c->name);
    if (!c->run && !c->commands && !c->groups)
        fail_msg("%s: neither command nor group", c->name);
    for (const struct option *o = c->options; o && o->name; o++) {
        if (!o->help || !*o->help || (o->setting && !setting_find(str_of(o->setting))))
            fail_msg("%s --%s: no help, or a setting that is none", c->name, o->name);
        for (const struct option *p = o + 1; p->name; p++)
            if (!strcmp(o->name, p->name) || (o->brief && p->brief && !strcmp(o->brief, p->brief)))
                fail_msg("%s --%s and --%s", c->name, o->name, p->name);
    }
    for (size_t i = 0; c->groups && c->groups[i]; i++)
        check_command(c->groups[i]);
    for (const struct command *sub = c->commands; sub && sub->name; sub++)
        check_command(sub);
}

static void test_table_of_commands(void **state)
{
    UNUSED(state);
    check_command(&command_root);
    AUTO(buf_free) struct buf out = BUF((size_t)1 << 20);
    help_reference(&command_root, "millpond", &out);
    assert_true(str_find(buf_view(&out), STR("`millpond work-pool create`")) > 0);
    struct args x;
    assert_int_equal(parse("millpond thing run --help", &x), 0);
    buf_reset(&out);
    help_print(&x, &out, 60, false);
    assert_true(str_starts(buf_view(&out), STR("Usage: millpond thing run [OPTIONS] NAME [MANY…]\n\nRun.\n")));
    for (Str rest = buf_view(&out), line; str_cut(&rest, '\n', &line);)
        if (text_width(line) > 60)
            fail_msg("too wide: %.*s", STR_ARG(line));
}

/* --- text --- */

static void test_widths(void **state)
{
    UNUSED(state);
    assert_int_equal(text_width(STR("abc")), 3);
    assert_int_equal(text_width(STR("日本")), 4);
    assert_int_equal(text_width(STR("e\xcc\x81"
                                    "x")), 2); /* e and a combining accent */
    assert_int_equal(text_width(STR("🚀")), 2);
    assert_int_equal(text_width(STR("\xff\xfe")), 2); /* no UTF-8 */
    assert_true(str_eqz(text_cut(arena, STR("日本語"), 4), "日…"));
    assert_true(str_eqz(text_cut(arena, STR("日本語"), 5), "日本…"));
    assert_true(str_eqz(text_cut(arena, STR("a\nb\033"), 9), "a b "));
    assert_true(str_eqz(text_cut(arena, STR("abc"), 1), "…"));
    assert_true(str_eqz(text_cut(arena, STR("abc"), 0), ""));
    Str rest = STR("one two  three\n\nfour"), line;
    static const char *const lines[] = {"one two", "three", "", "four"};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        assert_true(text_line(&rest, 8, &line));
        if (!str_eqz(line, lines[i]))
            fail_msg("line %zu: '%.*s'", i, STR_ARG(line));
    }
    assert_false(text_line(&rest, 8, &line));
}

static void test_relative(void **state)
{
    UNUSED(state);
    static const struct {
        Dur d;
        const char *text;
    } cases[] = {
        {-5 * SEC, "a few seconds ago"}, {-32 * SEC, "32 seconds ago"},  {-61 * SEC, "1 minute ago"}, {-4 * MINUTE - 59 * SEC, "4 minutes ago"},
        {-HOUR, "1 hour ago"},           {-2 * DAY, "2 days ago"},       {-7 * DAY, "1 week ago"},    {-95 * DAY, "3 months ago"},
        {-800 * DAY, "2 years ago"},     {5 * SEC, "in a few seconds"},  {2 * HOUR - SEC, "in 1 hour"}, {22 * HOUR, "in 22 hours"},
        {0, "a few seconds ago"},
    };
    Time now = 1763925000 * SEC;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (!str_eqz(text_relative(arena, now + cases[i].d, now), cases[i].text))
            fail_msg("%s: %s", cases[i].text, text_relative(arena, now + cases[i].d, now).p);
    assert_true(str_eqz(text_time(arena, now + 46202), "2025-11-23 19:10:00.046202+00:00"));
    assert_true(str_eqz(text_time(arena, now), "2025-11-23 19:10:00+00:00"));
    assert_true(str_eqz(text_duration(arena, 45 * SEC), "45s"));
    assert_true(str_eqz(text_duration(arena, 125 * SEC), "2m 5s"));
    assert_true(str_eqz(text_duration(arena, 3725 * SEC), "1h 2m"));
}

static void test_when(void **state)
{
    UNUSED(state);
    Time now; /* a Sunday */
    assert_true(time_parse(STR("2025-11-23T19:10:00Z"), &now));
    static const struct {
        const char *text, *iso; /* NULL: refused */
    } cases[] = {
        {"now", "2025-11-23T19:10:00Z"},
        {"in 5 minutes", "2025-11-23T19:15:00Z"},
        {"in 1h30m", "2025-11-23T20:40:00Z"},
        {"2 days and 3 hours from now", "2025-11-25T22:10:00Z"},
        {"5:30pm", "2025-11-24T17:30:00Z"},
        {"7:30 PM", "2025-11-23T19:30:00Z"},
        {"23:05", "2025-11-23T23:05:00Z"},
        {"tomorrow 5pm", "2025-11-24T17:00:00Z"},
        {"tomorrow at noon", "2025-11-24T12:00:00Z"},
        {"9am tomorrow", "2025-11-24T09:00:00Z"},
        {"tomorrow", "2025-11-24T19:10:00Z"},
        {"today 8pm", "2025-11-23T20:00:00Z"},
        {"monday 9am", "2025-11-24T09:00:00Z"},
        {"sunday 9am", "2025-11-30T09:00:00Z"},
        {"next wed 17:00:05", "2025-11-26T17:00:05Z"},
        {"2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"},
        {"2026-01-01 10:00", "2026-01-01T10:00:00Z"},
        {"soon", NULL},
        {"", NULL},
        {"in", NULL},
        {"in 5 parsecs", NULL},
        {"25:00", NULL},
        {"13pm", NULL},
        {"tomorrow today", NULL},
        {"5", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Time t;
        bool good = text_when(str_of(cases[i].text), now, &t);
        if (good != (cases[i].iso != NULL) || (good && strcmp(time_iso(t).s, cases[i].iso)))
            fail_msg("'%s': %s", cases[i].text, good ? time_iso(t).s : "refused");
    }
    static const struct {
        const char *text;
        Dur span; /* -1: refused */
    } spans[] = {{"5 minutes", 5 * MINUTE}, {"90", 90 * SEC},        {"1.5h", 90 * MINUTE},       {"PT5M", 5 * MINUTE}, {"an hour", HOUR},
                 {"1 day, 2 hours", 26 * HOUR}, {"2 hours 3", -1}, {"-5 minutes", -1}, {"", -1}, {"minutes", -1}};
    for (size_t i = 0; i < COUNT_OF(spans); i++) {
        Dur d = -1;
        bool good = text_span(str_of(spans[i].text), &d);
        if (good != (spans[i].span >= 0) || (good && d != spans[i].span))
            fail_msg("'%s': %lld", spans[i].text, (long long)d);
    }
}

static void test_python_and_yaml(void **state)
{
    UNUSED(state);
    const struct json *v = json_parse(arena, STR("{\"n\": 5, \"s\": \"it's\", \"t\": [true, null], \"o\": {}, \"l\": [{\"a\": 1, \"b\": \"x: y\"}, []], "
                                                 "\"q\": \"no\", \"d\": \"2025-11-23T19:10:00Z\", \"m\": \"a\\nb\"}"), &err);
    assert_non_null(v);
    AUTO(buf_free) struct buf out = BUF(4096);
    text_python(&out, v);
    assert_true(str_eqz(buf_view(&out), "{'n': 5, 's': \"it's\", 't': [True, None], 'o': {}, 'l': [{'a': 1, 'b': 'x: y'}, []], 'q': 'no', "
                                        "'d': '2025-11-23T19:10:00Z', 'm': 'a\\nb'}"));
    buf_reset(&out);
    text_yaml(&out, v, 0);
    assert_true(str_eqz(buf_view(&out), "n: 5\ns: it's\nt:\n  - true\n  - null\no: {}\nl:\n  - a: 1\n    b: \"x: y\"\n  - []\n"
                                        "q: \"no\"\nd: 2025-11-23T19:10:00Z\nm: \"a\\nb\"\n"));
}

/* --- tables --- */

static const struct column columns[] = {
    {.title = "Name"}, {.title = "ID", .right = true}, {.title = "Note", .wrap = true}};

static struct table *sample(void)
{
    struct table *t = table_create(arena, "Things", columns, COUNT_OF(columns));
    table_caption(t, "(**) paused", NULL);
    table_cell(t, STR("日本"));
    table_append(t, STYLE_RED, STR(" (**)"));
    table_cell(t, STR("12345678"));
    table_cell(t, STR("short"));
    table_cell(t, STR("plain"));
    table_cell(t, STR("1"));
    table_cell(t, STR("a longer note of some words"));
    return t;
}

static void assert_table(size_t width, const char *expected)
{
    AUTO(buf_free) struct buf out = BUF(65536);
    table_print(sample(), &out, width, false);
    if (!str_eqz(buf_view(&out), expected))
        fail_msg("at %zu:\n%.*s", width, (int)out.n, out.p);
}

static void test_tables(void **state)
{
    UNUSED(state);
    assert_table(0, "                        Things\n"
                    "┏━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓\n"
                    "┃ Name      ┃       ID ┃ Note                        ┃\n"
                    "┡━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩\n"
                    "│ 日本 (**) │ 12345678 │ short                       │\n"
                    "│ plain     │        1 │ a longer note of some words │\n"
                    "└───────────┴──────────┴─────────────────────────────┘\n"
                    "                     (**) paused\n");
    assert_table(42, "                  Things\n"
                     "┏━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┓\n"
                     "┃ Name      ┃       ID ┃ Note            ┃\n"
                     "┡━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━━━━━┩\n"
                     "│ 日本 (**) │ 12345678 │ short           │\n"
                     "│ plain     │        1 │ a longer note   │\n"
                     "│           │          │ of some words   │\n"
                     "└───────────┴──────────┴─────────────────┘\n"
                     "               (**) paused\n");
    /* Never wider than the space, whatever it is; and the ends of lines stand below each other. */
    for (size_t width = 9; width < 60; width++) {
        AUTO(buf_free) struct buf out = BUF(65536);
        table_print(sample(), &out, width, false);
        for (Str rest = buf_view(&out), line; str_cut(&rest, '\n', &line);)
            if (text_width(line) > width)
                fail_msg("at %zu: %.*s", width, STR_ARG(line));
    }
    AUTO(buf_free) struct buf out = BUF(65536);
    table_print(sample(), &out, 0, true);
    assert_true(str_find(buf_view(&out), STR("日本\033[31m (**)\033[0m")) > 0);
}

/* --- TOML, profiles, settings --- */

static void put_value(void *user, Str path, Str value)
{
    struct buf *b = user;
    if (!value.p)
        return;
    for (size_t i = 0; i < path.n; i++)
        buf_char(b, path.p[i] == TOML_SEP ? '/' : path.p[i]);
    buf_fmt(b, "=%.*s;", STR_ARG(value));
}

static void test_toml(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text, *values; /* NULL: refused */
    } cases[] = {
        {"active = \"a\" # c\n[profiles.x]\nK = 'v\\n'\n", "active=a;profiles/x/K=v\\n;"},
        {"[a.\"b.c\"]\nd.e = 1\nf = [1, \"two\", [3,],\n 4]\ng = {h = true, i = \"j\"}\n", "a/b.c/d/e=1;a/b.c/f=[1,\"two\",[3],4];a/b.c/g/h=true;a/b.c/g/i=j;"},
        {"[[x]]\nn=1\n[[x]]\nn=2\n", "x/0/n=1;x/1/n=2;"},
        {"s = \"\"\"\nline \\\n   on \\\"\"\"\"\nt = '''raw \\'''\nu = \"\\u00e9\"\n", "s=line on \";t=raw \\;u=é;"},
        {"d = 2026-01-02T03:04:05Z\n\r\n", "d=2026-01-02T03:04:05Z;"},
        {"a = [{x = 1}, 2026-01-01]\n", "a=[\"{x = 1}\",\"2026-01-01\"];"},
        {"", ""},
        {"a", NULL},
        {"a =", NULL},
        {"a = \"x\n", NULL},
        {"a = 1 b = 2", NULL},
        {"[a\n", NULL},
        {"a = [1, 2", NULL},
        {"a = \"\\q\"", NULL},
        {"= 1", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(buf_free) struct buf b = BUF(4096);
        int rc = toml_read(arena, str_of(cases[i].text), put_value, &b, &err);
        if ((rc == 0) != (cases[i].values != NULL) || (rc == 0 && !str_eqz(buf_view(&b), cases[i].values)))
            fail_msg("%s: %d %.*s%s", cases[i].text, rc, (int)b.n, b.n ? b.p : "", rc ? err.text : "");
    }
    char deep[4096] = "a = ";
    memset(deep + 4, '[', sizeof deep - 5);
    AUTO(buf_free) struct buf b = BUF(64);
    assert_int_equal(toml_read(arena, str_of(deep), put_value, &b, &err), -1);
}

/* A folder of its own, and an environment without settings. */
static char home[64], before[4096];

static int settings_start(void **state)
{
    snprintf(home, sizeof home, "/tmp/millpond-cli-%d", (int)getpid());
    if (!getcwd(before, sizeof before) || mkdir(home, 0700) < 0 || chdir(home) < 0)
        return -1;
    static const char *const names[] = {"PREFECT_API_URL", "MILLPOND_API_URL", "PREFECT_PROFILE", "MILLPOND_PROFILE", "PREFECT_HOME",
                                        "PREFECT_UI_ENABLED", "PREFECT_SERVER_UI_ENABLED"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        unsetenv(names[i]);
    setenv("MILLPOND_HOME", home, 1);
    setenv("PREFECT_HOME", "theirs", 1); /* in the working directory, which is our home */
    return case_start(state);
}

static int settings_stop(void **state)
{
    static const char *const files[] = {"profiles.toml", ".env", "prefect.toml", "pyproject.toml"};
    for (size_t i = 0; i < COUNT_OF(files); i++)
        unlink(files[i]);
    if (chdir(before) < 0 || rmdir(home) < 0)
        return -1;
    return case_stop(state);
}

static void put_file(const char *name, const char *text)
{
    if (path_write(arena, str_of(name), str_of(text), 0600, &err) < 0)
        fail_msg("%s", err.text);
}

static struct buf warnings = {.max = 4096};

static struct settings *load(const char *profile)
{
    buf_reset(&warnings);
    struct settings *s = settings_load(arena, "millpond", profile ? str_of(profile) : STR_NONE, &warnings, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static void assert_setting(const struct settings *s, const char *path, const char *value, enum setting_source source)
{
    const struct setting *row = setting_find(str_of(path));
    if (!row || !str_eqz(settings_value(s, row), value) || settings_source(s, row) != source)
        fail_msg("%s: %.*s from %s", path, STR_ARG(settings_value(s, row)), setting_source_names[settings_source(s, row)]);
}

static void test_settings_order(void **state)
{
    UNUSED(state);
    assert_setting(load(NULL), "server.api.port", "4200", SOURCE_DEFAULT);
    assert_true(str_eqz(settings_api_url(load(NULL)), "http://127.0.0.1:4200/api"));
    put_file("profiles.toml", "active = \"p\"\n[profiles.p]\nPREFECT_API_URL = \"http://p/api\"\nPREFECT_UI_ENABLED = \"false\"\n"
                              "[profiles.q]\nMILLPOND_API_URL=\"http://q/api\"\n[profiles.empty]\n");
    assert_setting(load(NULL), "api.url", "http://p/api", SOURCE_PROFILE);
    assert_setting(load(NULL), "server.ui.enabled", "false", SOURCE_PROFILE);
    put_file("pyproject.toml", "[tool.other]\nx = 1\n[tool.prefect.api]\nurl = \"http://py/api\"\n");
    assert_setting(load(NULL), "api.url", "http://py/api", SOURCE_PYPROJECT);
    put_file("prefect.toml", "[api]\nurl = \"http://toml/api\"\n[server.api]\nport = 4300\n");
    assert_setting(load(NULL), "api.url", "http://toml/api", SOURCE_TOML);
    assert_setting(load(NULL), "server.api.port", "4300", SOURCE_TOML);
    put_file(".env", "# x\nexport PREFECT_API_URL='http://dot/api'\nPATH=/nowhere\n");
    assert_setting(load(NULL), "api.url", "http://dot/api", SOURCE_DOTENV);
    setenv("PREFECT_API_URL", "http://env/api/", 1);
    assert_setting(load(NULL), "api.url", "http://env/api/", SOURCE_ENV);
    assert_true(str_eqz(settings_ui_url(load(NULL)), "http://env"));
    setenv("MILLPOND_API_URL", "http://ours/api", 1);
    assert_setting(load(NULL), "api.url", "http://ours/api", SOURCE_ENV);
    assert_setting(load("q"), "api.url", "http://q/api", SOURCE_PROFILE); /* named, and not the active one */
    assert_setting(load("p"), "api.url", "http://ours/api", SOURCE_ENV);
    setenv("MILLPOND_PROFILE", "nowhere", 1);
    struct settings *s = load(NULL);
    assert_true(str_find(buf_view(&warnings), STR("'nowhere'")) >= 0);
    assert_true(str_eqz(settings_profile(s), "default"));
    unsetenv("MILLPOND_PROFILE");
    assert_null(settings_load(arena, "millpond", STR("none"), &warnings, &err));
    assert_string_equal(err.text, "Unknown profile 'none'.");
    put_file("profiles.toml", "active = ");
    load(NULL);
    assert_true(str_find(buf_view(&warnings), STR("line 1")) >= 0);
    put_file("prefect.toml", "[api");
    assert_null(settings_load(arena, "millpond", STR_NONE, &warnings, &err));
    unsetenv("PREFECT_API_URL");
    unsetenv("MILLPOND_API_URL");
    buf_free(&warnings);
}

/* The field's own file counts where ours says nothing, profile by profile, and is never written. */
static void test_other_profiles(void **state)
{
    UNUSED(state);
    assert_int_equal(mkdir("theirs", 0700), 0);
    put_file("theirs/profiles.toml", "active = \"work\"\n[profiles.work]\nPREFECT_API_URL = \"http://work/api\"\n"
                                     "PREFECT_API_DATABASE_CONNECTION_URL = \"sqlite+aiosqlite:///theirs.db\"\nPREFECT_API_KEY = \"k\"\n"
                                     "[profiles.both]\nPREFECT_API_URL = \"http://theirs/api\"\nPREFECT_API_KEY = \"k\"\n");
    struct settings *s = load(NULL);
    assert_true(str_eqz(settings_profile(s), "work"));
    assert_setting(s, "api.url", "http://work/api", SOURCE_PROFILE);
    assert_setting(s, "api.key", "k", SOURCE_PROFILE);
    assert_int_equal(settings_source(s, setting_find(STR("server.database.connection_url"))), SOURCE_DEFAULT);
    assert_true(str_eqz(settings_origin(s, "api.url"), "PREFECT_API_URL of profile 'work'"));
    put_file("profiles.toml", "[profiles.both]\nMILLPOND_API_URL = \"http://ours/api\"\n");
    assert_setting(load(NULL), "api.url", "http://work/api", SOURCE_PROFILE); /* ours names none as active */
    s = load("both");
    assert_setting(s, "api.url", "http://ours/api", SOURCE_PROFILE);
    assert_int_equal(settings_source(s, setting_find(STR("api.key"))), SOURCE_DEFAULT);
    put_file("profiles.toml", "active = \"both\"\n[profiles.both]\nMILLPOND_API_URL = \"http://ours/api\"\n");
    assert_setting(load(NULL), "api.url", "http://ours/api", SOURCE_PROFILE);
    /* One that is always there for them is nothing to us, and no reason to warn. */
    put_file("profiles.toml", "");
    put_file("theirs/profiles.toml", "active = \"ephemeral\"\n");
    s = load(NULL);
    assert_true(str_eqz(settings_profile(s), "default"));
    assert_int_equal(warnings.n, 0);
    put_file("theirs/profiles.toml", "active = ");
    load(NULL);
    assert_true(str_find(buf_view(&warnings), STR("theirs/profiles.toml")) >= 0);
    /* As their own name, their file alone counts. */
    put_file("theirs/profiles.toml", "active = \"work\"\n[profiles.work]\nPREFECT_API_URL = \"http://work/api\"\n");
    put_file("profiles.toml", "active = \"mine\"\n[profiles.mine]\nMILLPOND_API_URL = \"http://mine/api\"\n");
    unsetenv("MILLPOND_HOME");
    s = settings_load(arena, "prefect", STR_NONE, &warnings, &err);
    assert_non_null(s);
    assert_setting(s, "api.url", "http://work/api", SOURCE_PROFILE);
    /* Another place for it. */
    setenv("MILLPOND_HOME", home, 1);
    put_file("profiles.toml", "");
    setenv("PREFECT_PROFILES_PATH", "elsewhere.toml", 1);
    put_file("elsewhere.toml", "active = \"far\"\n[profiles.far]\nPREFECT_API_URL = \"http://far/api\"\n");
    assert_setting(load(NULL), "api.url", "http://far/api", SOURCE_PROFILE);
    unsetenv("PREFECT_PROFILES_PATH");
    unlink("elsewhere.toml");
    unlink("theirs/profiles.toml");
    assert_int_equal(rmdir("theirs"), 0);
    buf_free(&warnings);
}

static void test_profiles(void **state)
{
    UNUSED(state);
    struct profiles p, q;
    Str path = str_fmt(arena, "%s/profiles.toml", home);
    assert_int_equal(profiles_load(arena, path, &p, &err), 0);
    assert_int_equal(p.list.n, 0);
    struct profile *f = profiles_add(&p, STR("odd \"name\""));
    profile_set(&p, f, STR("K"), STR("a\\b\"c\n\x01"));
    profile_set(&p, f, STR("L"), STR("1"));
    assert_true(profile_unset(f, STR("L")));
    assert_false(profile_unset(f, STR("L")));
    profiles_add(&p, STR("empty"));
    p.active = STR("empty");
    assert_int_equal(profiles_save(&p, &err), 0);
    struct stat st;
    assert_int_equal(stat(path.p, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(profiles_load(arena, path, &q, &err), 0);
    assert_true(str_eqz(q.active, "empty"));
    assert_int_equal(q.list.n, 2);
    assert_non_null(profiles_find(&q, STR("empty")));
    assert_true(str_eqz(profiles_find(&q, STR("odd \"name\""))->settings.v[0].value, "a\\b\"c\n\x01"));
}

static void test_setting_values(void **state)
{
    UNUSED(state);
    static const struct {
        const char *name, *value;
        bool good;
    } cases[] = {
        {"PREFECT_LOGGING_LEVEL", "debug", true},
        {"PREFECT_LOGGING_LEVEL", "bogus", false},
        {"MILLPOND_SERVER_API_PORT", "4x", false},
        {"PREFECT_UI_ENABLED", "off", true},
        {"ui.enabled", "off", true},
        {"server.ui.enabled", "maybe", false},
        {"PREFECT_API_SERVICES_LATE_RUNS_AFTER_SECONDS", "00:00:15", true},
        {"PREFECT_API_SERVICES_LATE_RUNS_AFTER_SECONDS", "PT15S", true},
        {"PREFECT_API_SERVICES_LATE_RUNS_AFTER_SECONDS", "a while", false},
        {"PREFECT_CLIENT_CUSTOM_HEADERS", "{\"a\": \"b\"}", true},
        {"PREFECT_CLIENT_CUSTOM_HEADERS", "[]", false},
        {"PREFECT_CLIENT_RETRY_EXTRA_CODES", "404, 500", true},
        {"PREFECT_CLIENT_RETRY_EXTRA_CODES", "99", false},
        {"PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS", "[1, 2]", true},
        {"PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "warn", true},
        {"PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "shout", false},
        {"MILLPOND_DATABASE", "sqlite:x", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct setting *row = setting_find(str_of(cases[i].name));
        if (!row || (setting_check(row, str_of(cases[i].value), &err) == 0) != cases[i].good)
            fail_msg("%s=%s: %s", cases[i].name, cases[i].value, row ? err.text : "unknown");
    }
    assert_null(setting_find(STR("PREFECT_NO_SUCH_THING")));
    for (size_t i = 0; i < setting_count; i++) { /* the table's own defaults are values, and no name stands twice */
        const struct setting *row = &setting_table[i];
        if (row->value && setting_check(row, str_of(row->value), &err) < 0)
            fail_msg("%s: default %s %s", row->path, row->value, err.text);
        if (setting_find(str_of(row->path)) != row)
            fail_msg("%s stands twice", row->path);
        for (Str rest = str_of(row->also), old; rest.p && str_cut(&rest, '|', &old);)
            if (setting_find(old) != row)
                fail_msg("%.*s means %s and %s", STR_ARG(old), row->path, setting_find(old)->path);
    }
}

/* --- values on the command line --- */

static void test_pairs(void **state)
{
    UNUSED(state);
    Str given[] = {STR("n=5"), STR("name=bob"), STR("q=\"5\""), STR("o={\"a\": [1, 2]}"), STR("n=6"), STR("e=")};
    struct map m = {0};
    assert_int_equal(pairs_json(arena, (struct strs){given, COUNT_OF(given), COUNT_OF(given)}, "param", &m, &err), 0);
    assert_true(str_eqz(*(Str *)map_get(&m, STR("n")), "6"));
    assert_true(str_eqz(*(Str *)map_get(&m, STR("name")), "\"bob\""));
    assert_true(str_eqz(*(Str *)map_get(&m, STR("q")), "\"5\""));
    assert_true(str_eqz(*(Str *)map_get(&m, STR("o")), "{\"a\":[1,2]}"));
    assert_true(str_eqz(*(Str *)map_get(&m, STR("e")), "\"\""));
    Str bad[] = {STR("x={\"a\":")};
    assert_int_equal(pairs_json(arena, (struct strs){bad, 1, 1}, "param", &m, &err), -1);
    Str none_there[] = {STR("x")};
    assert_int_equal(pairs_json(arena, (struct strs){none_there, 1, 1}, "param", &m, &err), -1);
    assert_string_equal(err.text, "--param: \"x\" is not KEY=VALUE");
}

static int by_n(const struct json *x, const struct json *y)
{
    int64_t s = field_int(x, "n"), t = field_int(y, "n");
    return (s > t) - (s < t);
}

static void test_sort(void **state)
{
    UNUSED(state);
    for (size_t n = 0; n < 40; n++) {
        struct items items = {0};
        for (size_t i = 0; i < n; i++) {
            const struct json *v = json_parse(arena, str_fmt(arena, "{\"n\":%zu,\"i\":%zu}", i * 7 % 5, i), &err);
            vec_push(arena, &items, v);
        }
        items_sort(&items, by_n);
        for (size_t i = 1; i < n; i++) {
            int order = by_n(items.v[i - 1], items.v[i]);
            assert_true(order < 0 || (order == 0 && field_int(items.v[i - 1], "i") < field_int(items.v[i], "i")));
        }
    }
}

static void test_guesses(void **state)
{
    UNUSED(state);
    static const char *const names[] = {"api.url", "api.request_timeout", "cloud.api_url", "logging.level", "server.logging_level", "worker.limit", "a"};
    static const struct {
        const char *word, *by_letters, *by_words;
    } cases[] = {
        {"API_URI", "'api.url'", "'api.url'"},
        {"api-ulr", "'api.url'", "'api.url'"}, /* a swap is one mistake */
        {"log_level", "'logging.level'", "'logging.level' or 'server.logging_level'"},
        {"api_timeout", "", "'api.request_timeout'"},
        {"worker", "'worker.limit'", "'worker.limit'"},
        {"nothing_of_it", "", ""},
        {"", "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct guesses letters = {.word = str_of(cases[i].word)}, words = {.word = str_of(cases[i].word)};
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            guess_try(&letters, str_of(names[k]));
            guess_words(&words, str_of(names[k]));
        }
        Str by_letters = guess_text(arena, &letters), by_words = guess_text(arena, &words);
        if (!str_eqz(by_letters, cases[i].by_letters) || !str_eqz(by_words, cases[i].by_words))
            fail_msg("%s: %.*s; %.*s", cases[i].word, STR_ARG(by_letters), STR_ARG(by_words));
    }
    /* Only the nearest few are kept, nearest first, and a word as long as anybody likes is no trouble. */
    struct guesses g = {.word = STR("abcd")};
    const char *const many[] = {"abxx", "abcx", "abcd", "abcde", "abdc"};
    for (size_t i = 0; i < COUNT_OF(many); i++)
        guess_try(&g, str_of(many[i]));
    assert_int_equal(g.n, GUESSES_MAX);
    assert_true(str_eq(guess_text(arena, &g), STR("'abcd', 'abcx' or 'abcde'")));
    char *same = arena_alloc(arena, 4000);
    memset(same, 'x', 4000);
    g = (struct guesses){.word = {same, 4000}};
    guess_words(&g, (Str){same, 3000});
    guess_words(&g, STR("y"));
    assert_int_equal(g.n, 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, case_start, case_stop)
#define FILE_CASE(fn) cmocka_unit_test_setup_teardown(fn, settings_start, settings_stop)
    const struct CMUnitTest tests[] = {
        CASE(test_words),  CASE(test_wrong_words), CASE(test_table_of_commands),  CASE(test_widths),         CASE(test_relative), CASE(test_when),
        CASE(test_python_and_yaml), CASE(test_tables), CASE(test_toml), FILE_CASE(test_settings_order), FILE_CASE(test_profiles), FILE_CASE(test_other_profiles),
        CASE(test_setting_values), CASE(test_pairs), CASE(test_sort), CASE(test_guesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
