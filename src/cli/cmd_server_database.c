/* server database, server services: what lies below a server, also where none is running. */
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/server_options.h"

#include "api/database.h"

static int options(struct cli *x, struct server_options *ret, struct err *err)
{
    *ret = (struct server_options){.home = settings_state_home(x->settings)};
    return server_database_url(x, &ret->database, err);
}

static int look(struct cli *x, struct server_options *o, struct database_state *ret, struct err *err)
{
    return options(x, o, err) < 0 ? -1 : database_look(x->a, o, ret, err);
}

static void show_json(struct cli *x, const struct database_state *s)
{
    struct jw w = jw_on(&x->out);
    w.indent = 2;
    jw_object(&w);
    jw_kstr(&w, "url", s->url);
    jw_kbool(&w, "exists", s->exists);
    jw_kint(&w, "pending", (int64_t)s->pending);
    jw_key(&w, STR("migrations"));
    jw_array(&w);
    for (size_t i = 0; i < s->n; i++) {
        jw_object(&w);
        jw_kz(&w, "database", s->steps[i].database);
        jw_kint(&w, "version", s->steps[i].version);
        jw_kstr(&w, "name", s->steps[i].name);
        jw_ktime(&w, "applied", s->steps[i].applied);
        jw_end(&w);
    }
    jw_end(&w);
    jw_end(&w);
    buf_char(&x->out, '\n');
}

static int history(struct cli *x, struct err *err)
{
    static const struct column columns[] = {{.title = "Database", .style = STYLE_BLUE}, {.title = "Migration", .style = STYLE_GREEN}, {.title = "Applied"}};
    struct server_options o;
    struct database_state s;
    if (look(x, &o, &s, err) < 0)
        return -1;
    if (x->json) {
        show_json(x, &s);
        return 0;
    }
    struct table *t = table_create(x->a, "Migrations", columns, COUNT_OF(columns));
    for (size_t i = 0; i < s.n; i++) {
        table_cell(t, str_of(s.steps[i].database));
        table_cell(t, s.steps[i].name);
        if (s.steps[i].applied == TIME_NONE)
            table_styled(t, STYLE_YELLOW, STR("not yet"));
        else
            table_cellf(t, "%.19s", text_time(x->a, s.steps[i].applied).p);
    }
    cli_table(x, t);
    return 0;
}

static int current(struct cli *x, struct err *err)
{
    struct server_options o;
    struct database_state s;
    if (look(x, &o, &s, err) < 0)
        return -1;
    if (x->json) {
        show_json(x, &s);
        return 0;
    }
    cli_put(x, "%.*s\n", STR_ARG(s.url));
    for (size_t i = 0; i < s.n; i++) { /* the last applied of each */
        bool last = i + 1 == s.n || strcmp(s.steps[i + 1].database, s.steps[i].database) || s.steps[i + 1].applied == TIME_NONE;
        if (s.steps[i].applied != TIME_NONE && last)
            cli_put(x, "%s: %.*s\n", s.steps[i].database, STR_ARG(s.steps[i].name));
    }
    if (!s.exists)
        cli_note(x, "There is no database yet: the server makes it when it starts.");
    else if (s.pending)
        cli_note(x, "%zu migration%s not applied yet: `%s server database upgrade`, or the next start of the server, does it.", s.pending, s.pending == 1 ? " is" : "s are",
                 x->program);
    return 0;
}

/* Where nobody can be asked, what cannot be undone wants a --yes. */
static int confirm_hard(struct cli *x, const char *question, const char *refused, struct err *err)
{
    if (!args_flag(&x->args, "yes", false) && !cli_interactive(x))
        return err_set(err, ERR_INVALID, "nobody can be asked here: give --yes");
    return cli_confirm(x, question, refused, err);
}

static int finish(struct cli *x, const struct server_options *o, const char *done, struct err *err)
{
    struct database_state s;
    if (database_look(x->a, o, &s, err) < 0)
        return -1;
    if (x->json)
        show_json(x, &s);
    cli_ok(x, "Migrations succeeded!");
    cli_ok(x, "The database at %.*s is %s.", STR_ARG(s.url), done);
    return 0;
}

static int upgrade(struct cli *x, struct err *err)
{
    Str revision = args_text(&x->args, "revision");
    struct server_options o;
    struct database_state s;
    if (revision.p && !str_eq(revision, STR("head")) && !str_eq(revision, STR("heads")))
        return err_set(err, ERR_INVALID, "--revision: the tables of a program go together: head is the only one");
    if (look(x, &o, &s, err) < 0)
        return -1;
    if (args_flag(&x->args, "dry-run", false)) {
        if (x->json)
            show_json(x, &s);
        for (size_t i = 0; i < s.n && !x->json; i++)
            if (s.steps[i].applied == TIME_NONE)
                cli_put(x, "-- %s: %.*s\n%.*s\n", s.steps[i].database, STR_ARG(s.steps[i].name), STR_ARG(s.steps[i].sql));
        return 0;
    }
    if (!s.pending) {
        cli_ok(x, "The database at %.*s has all migrations.", STR_ARG(s.url));
        if (x->json)
            show_json(x, &s);
        return 0;
    }
    Str question = str_fmt(x->a, "Apply %zu migration%s to the database at %.*s?", s.pending, s.pending == 1 ? "" : "s", STR_ARG(s.url));
    if (confirm_hard(x, question.p, "Database upgrade aborted!", err) < 0 || folder_make(x->a, o.home, err) < 0 || database_upgrade(x->a, &o, err) < 0)
        return -1;
    return finish(x, &o, "up to date", err);
}

static int reset(struct cli *x, struct err *err)
{
    struct server_options o;
    struct database_state s;
    struct err ignored;
    if (options(x, &o, err) < 0)
        return -1;
    if (database_look(x->a, &o, &s, &ignored) < 0) /* of another program, or broken: a reset is what it needs */
        s = (struct database_state){.url = o.database.p ? o.database : STR("its usual place")};
    Str question = str_fmt(x->a, "Delete ALL that is in the database at %.*s? Servers that use it must be stopped first.", STR_ARG(s.url));
    if (confirm_hard(x, question.p, "Database reset aborted!", err) < 0 || folder_make(x->a, o.home, err) < 0 || database_reset(x->a, &o, err) < 0)
        return -1;
    return finish(x, &o, "empty", err);
}

static int downgrade(struct cli *x, struct err *err)
{
    return err_set(err, ERR_INVALID, "migrations go forward alone: to go back to an older program, take a copy of the database that was made before (%s server stop, then "
                                     "copy the file, or pg_dump)", x->program);
}

static int not_here(struct cli *x, struct err *err)
{
    UNUSED(x);
    return err_set(err, ERR_INVALID, "migrations are built into the program, and which are applied stands in the database: there is nothing to write by hand");
}

#define DATABASE_OPTIONS OPTION_YES, OPTION_DATABASE, OPTION_OUTPUT

static const struct command database_commands[] = {
    {.name = "current", .summary = "Say which migrations the database has", .run = current, .options = OPTIONS(OPTION_DATABASE, OPTION_OUTPUT)},
    {.name = "history", .summary = "List migrations", .run = history, .options = OPTIONS(OPTION_DATABASE, OPTION_OUTPUT)},
    {.name = "upgrade", .summary = "Bring the tables up to this program", .run = upgrade, .details = "A server does it when it starts; this is for doing it apart.",
     .options = OPTIONS({"revision", "r", VALUE_TEXT, 0, "head, the only one"}, {"dry-run", NULL, VALUE_FLAG, 0, "Print the SQL instead"}, DATABASE_OPTIONS)},
    {.name = "reset", .summary = "Delete everything and make empty tables", .run = reset, .options = OPTIONS(DATABASE_OPTIONS)},
    {.name = "downgrade", .summary = "Say how to go back", .run = downgrade, .hidden = true,
     .options = OPTIONS({"revision", "r", VALUE_TEXT, 0, "Not used"}, {"dry-run", NULL, VALUE_FLAG, 0, "Not used"}, DATABASE_OPTIONS)},
    {.name = "revision", .summary = "Not here", .run = not_here, .hidden = true,
     .options = OPTIONS({"message", "m", VALUE_TEXT, 0, "Not used"}, {"autogenerate", NULL, VALUE_FLAG, 0, "Not used"}, OPTION_OUTPUT)},
    {.name = "stamp", .summary = "Not here", .run = not_here, .hidden = true, .args = ARGS({"revision", "Not used"}), .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_server_database = {.name = "database", .summary = "The server's tables", .commands = database_commands};

/* --- services --- */

static int services_ls(struct cli *x, struct err *err)
{
    UNUSED(err);
    static const struct column columns[] = {{.title = "Name", .share = 30}, {.title = "Enabled?", .style = STYLE_GREEN, .share = 15}, {.title = "Description", .style = STYLE_CYAN, .share = 55, .wrap = true}};
    const struct server_service *s;
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        jw_array(&w);
        for (size_t i = 0; (s = server_service(i)); i++) {
            jw_object(&w);
            jw_kz(&w, "name", s->name);
            jw_kbool(&w, "enabled", true);
            jw_kz(&w, "description", s->doc);
            jw_end(&w);
        }
        jw_end(&w);
        buf_char(&x->out, '\n');
        return 0;
    }
    struct table *t = table_create(x->a, "Available Services", columns, COUNT_OF(columns));
    table_expand(t);
    for (size_t i = 0; (s = server_service(i)); i++) {
        table_cell(t, str_of(s->name));
        table_cell(t, STR("✓"));
        table_cell(t, str_of(s->doc));
    }
    cli_table(x, t);
    return 0;
}

static int services_alone(struct cli *x, struct err *err)
{
    return err_set(err, ERR_INVALID, "services are a part of every server, and servers of one database share them among themselves: `%s server start` runs them, `%s server stop` ends them",
                   x->program, x->program);
}

static const struct command services_commands[] = {
    {.name = "ls", .alias = "list", .summary = "List what a server does by itself", .run = services_ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "start", .alias = "enable", .summary = "Say how they run", .run = services_alone, .hidden = true,
     .options = OPTIONS({"background", "b", VALUE_FLAG, 0, "Not used"}, OPTION_OUTPUT)},
    {.name = "stop", .alias = "disable", .summary = "Say how they run", .run = services_alone, .hidden = true, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "manager", .summary = "Say how they run", .run = services_alone, .hidden = true, .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_server_services = {.name = "services", .summary = "What a server does by itself", .commands = services_commands};
