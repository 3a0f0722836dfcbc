#include "db/driver.h"

static int pg_start(struct db *db, struct err *err)
{
    UNUSED(db);
    return err_set(err, ERR_DB, "PostgreSQL cannot be used yet");
}

static void pg_stop(struct db *db)
{
    UNUSED(db);
}

const struct db_driver db_postgres = {.kind = DB_POSTGRES, .typed = true, .start = pg_start, .stop = pg_stop};
