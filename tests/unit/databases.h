/* Databases for tests that open several of them: SQLite files, and schemas of a PostgreSQL that tests/pg.sh starts where
 * it is installed (MILLPOND_TEST_POSTGRES names one that runs already). */
#pragma once
#include "tests/unit/test.h"

#include "assets/assets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char databases_dir[] = "/tmp/millpond-test-XXXXXX";
static char databases_server[256]; /* "": none */
static bool databases_started;
static int databases_opened;

/* for (…) over both kinds: 0 SQLite, 1 PostgreSQL */
#define EACH_DATABASE(postgres) for (int postgres = 0; postgres <= (databases_server[0] != 0); postgres++)

static struct db *open_database(struct arena *a, int postgres, const char *which)
{
    struct err err;
    struct db_options o = {0};
    if (postgres) {
        o.url = str_of(databases_server);
        o.schema = str_fmt(a, "t_%d_%d", (int)getpid(), databases_opened++);
    } else {
        o.url = str_fmt(a, "sqlite:%s/%d.db", databases_dir, databases_opened++);
    }
    o.migrations = asset_migrations(a, which, &o.migration_count);
    struct db *db = db_open(&o, &err);
    if (!db)
        fail_msg("%s", err.text);
    return db;
}

static bool databases_run(const char *what)
{
    char sh[160];
    snprintf(sh, sizeof sh, "tests/pg.sh %s %s", what, databases_dir);
    FILE *p = popen(sh, "r");
    bool said = p && fgets(databases_server, sizeof databases_server, p);
    databases_server[said ? strcspn(databases_server, "\n") : 0] = 0;
    return p && pclose(p) == 0 && said;
}

static int set_up_databases(void **state)
{
    UNUSED(state);
    const char *there = getenv("MILLPOND_TEST_POSTGRES");
    if (!mkdtemp(databases_dir))
        return -1;
    if (there)
        snprintf(databases_server, sizeof databases_server, "%s", there);
    else if (!(databases_started = databases_run("start")))
        print_message("# left out: PostgreSQL is not installed or does not start\n");
    if (!there && !databases_started)
        databases_server[0] = 0;
    return 0;
}

static int tear_down_databases(void **state)
{
    UNUSED(state);
    char command[100];
    if (databases_started)
        (void)databases_run("stop");
    snprintf(command, sizeof command, "rm -r %s", databases_dir);
    return system(command);
}
