#include "api/database.h"

#include "assets/assets.h"
#include "db/db.h"
#include "services/alarms.h"

#include <errno.h>
#include <unistd.h>

void database_options(struct arena *a, const struct server_options *o, struct db_options *ret_main, struct db_options *ret_telemetry)
{
    Str url = o->database.p ? o->database : str_fmt(a, "sqlite:%.*s/millpond.db", STR_ARG(o->home));
    bool file = str_starts(url, STR("sqlite:")), memory = str_eqz(url, "sqlite::memory:");
    struct db_options main = {.url = url, .relaxed = o->relaxed, .queue_max = 0};
    if (!file)
        main.schema = STR("millpond");
    main.migrations = asset_migrations(a, "main", &main.migration_count);
    struct db_options telemetry = main;
    if (file && !memory) {
        Str path = str_sub(url, 7, url.n);
        Str stem = str_ends(path, STR(".db")) ? str_sub(path, 0, path.n - 3) : path;
        telemetry.url = str_fmt(a, "sqlite:%.*s-telemetry.db", STR_ARG(stem));
    } else if (!file) {
        telemetry.schema = STR("millpond_telemetry");
    }
    telemetry.migrations = asset_migrations(a, "telemetry", &telemetry.migration_count);
    *ret_main = main;
    *ret_telemetry = telemetry;
}

/* "postgresql://user:********@host/name". */
static Str covered(struct arena *a, Str url)
{
    ptrdiff_t at = str_find(url, STR("://"));
    const char *end = at >= 0 ? memchr(url.p + at + 3, '@', url.n - (size_t)at - 3) : NULL;
    const char *colon = end ? memchr(url.p + at + 3, ':', (size_t)(end - url.p) - (size_t)at - 3) : NULL;
    if (!colon)
        return url;
    return str_fmt(a, "%.*s:********%.*s", (int)(colon - url.p), url.p, (int)(url.p + url.n - end), end);
}

/* --- looking --- */

struct look {
    struct arena *a;
    VEC(struct database_step) found;
};

static int read_versions(struct conn *c, void *arg, struct err *err)
{
    struct look *l = arg;
    int64_t there;
    int rc = conn_kind(c) == DB_SQLITE
                 ? db_get_int(c, err, &there, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'", "")
                 : db_get_int(c, err, &there, "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_version'", "");
    if (rc < 0 || !there)
        return rc < 0 ? -1 : 0;
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, "SELECT version, name, applied FROM schema_version ORDER BY version", "");
    if (!q)
        return -1;
    while ((rc = stmt_step(q, err)) == 1)
        vec_push(l->a, &l->found, ((struct database_step){.version = stmt_int(q, 0), .name = str_dup(l->a, stmt_str(q, 1)), .applied = stmt_int(q, 2)}));
    return rc;
}

/* The steps of one of the two: what the database has, then what it lacks. */
static int look_at(struct arena *a, struct db_options *o, const char *which, struct look *all, bool *ret_exists, struct err *err)
{
    struct look one = {.a = a};
    const char *path = str_starts(o->url, STR("sqlite:")) ? str_z(a, str_sub(o->url, 7, SIZE_MAX)) : NULL;
    *ret_exists = !path || access(path, F_OK) == 0;
    o->peek = true;
    struct db *db = *ret_exists ? db_open(o, err) : NULL;
    if (*ret_exists && !db)
        return -1;
    int rc = db ? db_read_wait(db, read_versions, &one, err) : 0;
    db_close(db);
    *ret_exists = one.found.n > 0;
    if (rc < 0)
        return err_wrap(err, "reading which migrations %s has", which);
    for (size_t i = 0; i < MAX(one.found.n, o->migration_count); i++) {
        struct database_step s = i < one.found.n ? one.found.v[i] : (struct database_step){.version = (int64_t)i + 1, .applied = TIME_NONE};
        s.database = which;
        if (i < o->migration_count) {
            if (!s.name.p)
                s.name = str_of(o->migrations[i].name);
            s.sql = db_migration_text(a, o->migrations[i].sql, path ? DB_SQLITE : DB_POSTGRES);
        }
        vec_push(a, &all->found, s);
    }
    return 0;
}

int database_look(struct arena *a, const struct server_options *o, struct database_state *ret, struct err *err)
{
    struct db_options main, telemetry;
    struct look all = {.a = a};
    bool main_exists, telemetry_exists;
    database_options(a, o, &main, &telemetry);
    *ret = (struct database_state){.url = covered(a, main.url)};
    if (look_at(a, &main, "main", &all, &main_exists, err) < 0 || look_at(a, &telemetry, "telemetry", &all, &telemetry_exists, err) < 0)
        return -1;
    ret->exists = main_exists || telemetry_exists;
    ret->steps = all.found.v;
    ret->n = all.found.n;
    for (size_t i = 0; i < ret->n; i++)
        ret->pending += ret->steps[i].applied == TIME_NONE;
    return 0;
}

/* --- changing --- */

int database_upgrade(struct arena *a, const struct server_options *o, struct err *err)
{
    struct db_options main, telemetry;
    database_options(a, o, &main, &telemetry);
    struct db *first = db_open(&main, err), *second = first ? db_open(&telemetry, err) : NULL;
    bool done = second != NULL;
    db_close(second);
    db_close(first);
    return done ? 0 : -1;
}

static int drop_schema(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    return db_exec(c, err, "DROP SCHEMA IF EXISTS millpond CASCADE", "") < 0 || db_exec(c, err, "DROP SCHEMA IF EXISTS millpond_telemetry CASCADE", "") < 0 ? -1 : 0;
}

static int remove_files(struct arena *a, Str url, struct err *err)
{
    static const char *const endings[] = {"-wal", "-shm", ""};
    Str path = str_sub(url, 7, SIZE_MAX);
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        const char *file = str_fmt(a, "%.*s%s", STR_ARG(path), endings[i]).p;
        if (unlink(file) < 0 && errno != ENOENT)
            return err_errno(err, "cannot remove %s", file);
    }
    return 0;
}

int database_reset(struct arena *a, const struct server_options *o, struct err *err)
{
    struct db_options main, telemetry;
    database_options(a, o, &main, &telemetry);
    bool file = str_starts(main.url, STR("sqlite:"));
    main.migration_count = 0; /* what is there may be of any age, even no database: it is not looked into */
    if (!file) {
        main.peek = true;
        struct db *db = db_open(&main, err);
        int rc = db ? db_write_wait(db, drop_schema, NULL, err) : -1;
        db_close(db);
        return rc < 0 ? -1 : database_upgrade(a, o, err);
    }
    struct db_options held = main;
    struct db *db = db_open(&held, err); /* holds the lock while the files go */
    if (!db && err->code == ERR_LOCKED)
        return -1;
    int rc = remove_files(a, main.url, err) < 0 || remove_files(a, telemetry.url, err) < 0 ? -1 : 0;
    db_close(db);
    if (rc == 0)
        rc = remove_files(a, main.url, err); /* what closing wrote */
    return rc < 0 ? -1 : database_upgrade(a, o, err);
}

const struct server_service *server_service(size_t i)
{
    static struct server_service row;
    if (i >= ALARM_COUNT)
        return NULL;
    row = (struct server_service){services[i].name, services[i].doc};
    return &row;
}
