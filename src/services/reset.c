#include "services/reset.h"

#include "base/limits.h"
#include "model/record.h"
#include "services/catalogue.h"
#include "store/seal.h"

#include <stdlib.h>

struct reset {
    struct workspace *ws;
    db_done *done;
    void *arg;
};

/* Those of the migrations, whatever they are called: a table that is forgotten in a list would keep its rows. */
static const char *const tables[] = {
    [DB_SQLITE] = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('schema_version', 'configuration')",
    [DB_POSTGRES] = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('schema_version', 'configuration')",
};

static int empty_tables(struct conn *c, struct arena *a, struct err *err)
{
    bool postgres = conn_kind(c) == DB_POSTGRES;
    VEC(Str) names = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c, err, tables[conn_kind(c)], "");
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(a, &names, str_dup(a, stmt_str(q, 0)));
        if (rc < 0)
            return -1;
    }
    if (!postgres && db_exec(c, err, "PRAGMA defer_foreign_keys = ON", "") < 0)
        return -1;
    AUTO(sql_free) struct sql all = sql_new(a, conn_kind(c));
    for (size_t i = 0; i < names.n; i++) {
        buf_fmt(&all.text, "%s\"%.*s\"", i ? ", " : "TRUNCATE ", STR_ARG(names.v[i]));
        if (postgres)
            continue;
        Str one = str_fmt(a, "DELETE FROM \"%.*s\"", STR_ARG(names.v[i]));
        if (db_exec_v(c, err, one, NULL, 0) < 0)
            return -1;
    }
    return postgres && names.n && sql_exec(c, &all, err) < 0 ? -1 : 0;
}

int workspace_complete(struct conn *c, struct arena *a, Time now, struct err *err)
{
    return catalogue_install(c, a, now, err);
}

static int reset_records(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    AUTO(arena_freep) struct arena *a = arena_create();
    if (empty_tables(c, a, err) < 0 || db_exec(c, err, "DELETE FROM configuration WHERE key <> $1", "z", SEAL_CHECK_ROW) < 0)
        return -1;
    return workspace_complete(c, a, time_now(), err);
}

static int reset_telemetry(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    AUTO(arena_freep) struct arena *a = arena_create();
    return empty_tables(c, a, err);
}

static void end(struct reset *r, const struct err *err)
{
    r->done(r->arg, err);
    free(r);
}

static void telemetry_done(void *arg, const struct err *err)
{
    end(arg, err);
}

static void records_done(void *arg, const struct err *err)
{
    struct reset *r = arg;
    struct err why;
    if (err)
        end(r, err);
    else if (db_write(r->ws->telemetry, reset_telemetry, telemetry_done, r, &why) < 0)
        end(r, &why);
}

int workspace_reset(struct workspace *ws, db_done *done, void *arg, struct err *err)
{
    struct reset *r = malloc(sizeof *r);
    if (!r)
        die("out of memory");
    *r = (struct reset){ws, done, arg};
    if (db_write(ws->db, reset_records, records_done, r, err) == 0)
        return 0;
    free(r);
    return -1;
}
