/* api/database.h: a server's two databases from outside: what they are, what has been done to their tables. For commands that run
 * beside a server, or instead of one. */
#pragma once
#include "api/server_main.h"
#include "base/time.h"

struct db_options;

/* A migration that this program knows, or the database alone (then it has no text). */
struct database_step {
    const char *database; /* "main" or "telemetry" */
    int64_t version;
    Str name;
    Time applied; /* TIME_NONE: not yet */
    Str sql;      /* for this kind of database */
};
struct database_state {
    Str url;      /* of the main one, the password covered */
    bool exists;  /* false: nothing has been made there yet */
    struct database_step *steps; /* by database, then version */
    size_t n, pending;
};

/* Reads, also beside a running server, and makes nothing. */
NODISCARD int database_look(struct arena *a, const struct server_options *o, struct database_state *ret, struct err *err);
/* Brings the tables up to this program. ERR_LOCKED where a server has the SQLite file. */
NODISCARD int database_upgrade(struct arena *a, const struct server_options *o, struct err *err);
/* Deletes everything and makes empty tables. ERR_LOCKED where a server has the SQLite file; of PostgreSQL the caller sees to it that
 * none is running. */
NODISCARD int database_reset(struct arena *a, const struct server_options *o, struct err *err);
/* How the two are opened; for the server itself. */
void database_options(struct arena *a, const struct server_options *o, struct db_options *ret_main, struct db_options *ret_telemetry);

/* Services of every server, for people: row i, or NULL past the last. */
struct server_service {
    const char *name, *doc;
};
const struct server_service *server_service(size_t i);
