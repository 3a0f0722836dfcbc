#include "cli/commands.h"
#include "cli/guess.h"
#include "cli/pools.h"

#include "base/log.h"
#include "worker/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NAMES_SHOWN 8

struct start {
    struct cli *x;
    struct worker_options o;
};

static void on_ready(void *user)
{
    struct start *s = user;
    cli_ok(s->x, "Worker '%.*s' started!", STR_ARG(s->o.name));
    cli_flush(s->x);
}

/* A pool that is not there is made where that was asked for, by its flag or by naming a type; as `prefect`, always, unless the flag
 * says no. Else a mistyped name would wait for work for ever: the names that there are are told, nearest first. */
static int missing_pool(struct cli *x, struct start *s, struct err *err)
{
    Str quoted = text_quoted(x->a, s->o.pool);
    bool given = args_given(&x->args, "create-pool-if-not-found");
    struct items pools;
    struct guesses g = {.word = s->o.pool};
    if (api_list(x, STR("/work_pools/filter"), STR(""), INT_NONE, &pools, err) < 0)
        return -1;
    Str all = STR("");
    for (size_t i = 0; i < pools.n; i++) {
        Str name = field(pools.v[i], "name"), shown = text_quoted(x->a, name);
        guess_try(&g, name);
        if (i < NAMES_SHOWN)
            all = str_fmt(x->a, "%.*s%s%.*s", STR_ARG(all), i ? ", " : "", STR_ARG(shown));
    }
    if (pools.n > NAMES_SHOWN)
        all = str_fmt(x->a, "%.*s and %zu more", STR_ARG(all), pools.n - NAMES_SHOWN);
    Str hint = guess_hint(x->a, &g), there = STR("there are no work pools yet");
    if (hint.n)
        there = str_sub(hint, 2, SIZE_MAX);
    else if (pools.n)
        there = str_fmt(x->a, "there %s %.*s", pools.n == 1 ? "is" : "are", STR_ARG(all));
    bool make = s->o.create_pool_if_not_found && (given || s->o.type.p || x->as_prefect);
    if (!make && !given && cli_interactive(x)) {
        cli_note(x, "Work pool %.*s does not exist; %.*s", STR_ARG(quoted), STR_ARG(there));
        int answer = cli_ask(x, "Make it, with the type 'process'?", 'n', err);
        if (answer < 0)
            return -1;
        if (!answer)
            return err_set(err, ERR_NOT_FOUND, "no worker was started");
        make = s->o.create_pool_if_not_found = true;
    }
    if (!make && !x->as_prefect)
        return err_set(err, ERR_NOT_FOUND, "Work pool %.*s does not exist; %.*s%s `%s work-pool create %.*s --type process` makes it.", STR_ARG(quoted),
                       STR_ARG(there), hint.n ? "" : ".", x->program, STR_ARG((memchr(s->o.pool.p, ' ', s->o.pool.n) ? quoted : s->o.pool)));
    if (!s->o.type.p)
        s->o.type = STR("process");
    if (make)
        cli_note(x, "Work pool %.*s does not exist: it will be made, with the type '%.*s'%.*s", STR_ARG(quoted), STR_ARG(s->o.type),
                 hint.n ? (int)hint.n : 1, hint.n ? hint.p : ".");
    else
        cli_note(x, "Work pool %.*s does not exist yet; %.*s", STR_ARG(quoted), STR_ARG(there));
    return 0;
}

/* What the pool is: its type where none was given, and whether a worker is of use to it. */
static int look_at_pool(struct cli *x, struct start *s, struct err *err)
{
    Str pool = s->o.pool, quoted = text_quoted(x->a, pool);
    const struct json *v;
    if (pool_get(x, pool, &v, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return s->o.type.p && err->code == ERR_IO ? 0 : err_wrap(err, "asking for work pool %.*s", STR_ARG(quoted));
        return missing_pool(x, s, err);
    }
    Str type = field(v, "type");
    if (!s->o.type.p) {
        if (pool_type_is_push(type) || pool_type_is_managed(type))
            return err_set(err, ERR_INVALID, "Work pool %.*s is of type '%.*s': workers are not required, the server runs its flows itself.", STR_ARG(quoted), STR_ARG(type));
        if (str_eq(type, STR("prefect-agent")))
            return err_set(err, ERR_INVALID, "Work pool %.*s is for agents, which are gone: make a pool of type process.", STR_ARG(quoted));
        cli_put(x, "Discovered type '%.*s' for work pool %.*s.\n", STR_ARG(type), STR_ARG(quoted));
        s->o.type = type;
    }
    if (field_bool(v, "is_paused"))
        cli_note(x, "Work pool %.*s is paused: nothing runs until it is resumed.", STR_ARG(quoted));
    return 0;
}

/* "ProcessWorker <uuid>". */
static Str default_name(struct cli *x, Str type)
{
    char *z = str_z(x->a, type);
    if (*z >= 'a' && *z <= 'z')
        *z = (char)(*z - 32);
    return str_fmt(x->a, "%sWorker %s", z, uuid_text(uuid_v4()).s);
}

/* What supervisors read, which are processes of their own. */
static void hand_on(struct cli *x)
{
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *row = &setting_table[i];
        Str value = str_starts(str_of(row->path), STR("managed.")) ? settings_text(x->settings, row->path) : STR_NONE;
        if (value.p)
            setenv(str_z(x->a, setting_env(x->a, row, "MILLPOND")), str_z(x->a, value), 1);
    }
}

static int start(struct cli *x, struct err *err)
{
    hand_on(x);
    const struct settings *set = x->settings;
    struct start *s = arena_new(x->a, struct start);
    struct strs queues = args_list(&x->args, "work-queue");
    Str template = args_text(&x->args, "base-job-template");
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : settings_int(set, "worker.limit");
    double prefetch = args_given(&x->args, "prefetch-seconds") ? args_float(&x->args, "prefetch-seconds") : settings_number(set, "worker.prefetch_seconds");
    if (limit != INT_NONE && limit < 1)
        return err_set(err, ERR_INVALID, "--limit is at least 1");
    if (prefetch < 0 || prefetch > 1e9)
        return err_set(err, ERR_INVALID, "--prefetch-seconds is 0 or more");
    s->x = x;
    s->o = (struct worker_options){
        .pool = args_text(&x->args, "pool"),
        .type = args_text(&x->args, "type").p ? pool_type(args_text(&x->args, "type")) : STR_NONE,
        .name = args_text(&x->args, "name"),
        .queues = queues.v,
        .queue_count = queues.n,
        .limit = limit == INT_NONE ? 0 : limit,
        .prefetch = (Dur)(prefetch * 1e6),
        .poll_every = (Dur)(settings_number(set, "worker.query_seconds") * 1e6),
        .heartbeat_every = (Dur)(settings_number(set, "worker.heartbeat_seconds") * 1e6),
        .run_once = args_flag(&x->args, "run-once", false),
        .create_pool_if_not_found = args_flag(&x->args, "create-pool-if-not-found", true),
        .home = settings_state_home(set),
        .api = cli_client_options(x),
        .ready = on_ready,
        .user = s,
    };
    if (cli_check_url(x, err) < 0)
        return -1;
    s->o.managed = args_flag(&x->args, "managed", false);
    enum log_level level;
    Str wanted = settings_text(set, s->o.managed ? "server.logging_level" : "logging.level");
    if (settings_bool(set, "debug_mode"))
        log_set_level(LOG_DEBUG);
    else if (wanted.p && log_level_parse(str_z(x->a, wanted), &level))
        log_set_level(level);
    s->o.api.repeat_posts = true;
    s->o.api.connect_retries = -1;
    if (s->o.managed) {
        /* It goes with its server, also when that is killed; the runs stay, with their supervisors. */
        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() == 1)
            return err_set(err, ERR_INVALID, "--managed is how a server starts its own worker");
        s->o.name = str_fmt(x->a, "managed %s", uuid_text(uuid_v4()).s);
        s->o.ready = NULL;
        return worker_main(&s->o, err);
    }
    if (!s->o.pool.p && !cli_interactive(x))
        return err_set(err, ERR_INVALID, "nobody can be asked here which pool to serve: give it with `--pool`");
    if (!s->o.pool.p && !(s->o.pool = cli_ask_text(x, "Work pool name", err)).p)
        return -1;
    const struct json *v;
    if (template.p) {
        if (template_read(x, template, &v, err) < 0)
            return -1;
        s->o.base_job_template = json_text(x->a, v);
    }
    if (look_at_pool(x, s, err) < 0)
        return -1;
    if (!s->o.name.p)
        s->o.name = default_name(x, s->o.type);
    cli_flush(x);
    if (worker_main(&s->o, err) < 0)
        return -1;
    cli_ok(x, "Worker '%.*s' stopped!", STR_ARG(s->o.name));
    return 0;
}

static const struct command commands[] = {
    {.name = "start", .summary = "Run a pool's flows on this machine", .run = start,
     .details = "It ends with SIGTERM or Ctrl-C; runs that it has started go on to their end, and are reported whatever becomes of it.",
     .options = OPTIONS({"name", "n", VALUE_TEXT, 0, "What the server shows it as"}, {"pool", "p", VALUE_TEXT, 0, "The work pool to serve"},
                        {"work-queue", "q", VALUE_TEXT, OPTION_LIST, "Only runs of this queue"}, {"type", "t", VALUE_TEXT, 0, "The pool's type; else as the server says"},
                        {"prefetch-seconds", NULL, VALUE_FLOAT, 0, "How long before its time a run is taken", .setting = "worker.prefetch_seconds"},
                        {"run-once", NULL, VALUE_FLAG, 0, "Run what is due, wait for it, and end"},
                        {"limit", "l", VALUE_INT, 0, "Most runs at once", .setting = "worker.limit"},
                        {"base-job-template", NULL, VALUE_PATH, 0, "JSON file with the template of a pool that is made"},
                        {"create-pool-if-not-found", NULL, VALUE_FLAG, OPTION_ON, "Make the pool where there is none"},
                        {"managed", NULL, VALUE_FLAG, OPTION_HIDDEN, "Serve every managed pool: how the server starts it"},
                        {"install-policy", NULL, VALUE_TEXT, OPTION_HIDDEN, "Not used: nothing needs to be installed"},
                        {"with-healthcheck", NULL, VALUE_FLAG, OPTION_HIDDEN, "Not used"})},
    {0},
};

const struct command command_worker = {.name = "worker", .summary = "Run flows of work pools", .commands = commands};
