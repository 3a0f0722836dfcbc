/* db/db.h: a database with one writer that gathers writes, and readers.
 *
 * SQLite: one writer thread owns the only writing connection. It takes what waits in its queue (no timer),
 * runs each job inside a savepoint of one BEGIN IMMEDIATE, commits once, and then calls every job's `done`.
 * A job that fails is undone alone. Readers have connections of their own (WAL), so nobody ever sees
 * "database is locked".
 * PostgreSQL: the same jobs run on a pool of threads, a connection and a transaction each; the database
 * gathers commits itself. A job that loses to another (40001, 40P01) is run again, and once where it broke a
 * UNIQUE or FOREIGN KEY (another may have come between its look and its write), so a job must be
 * repeatable: it may change nothing but the database and memory that it sets up anew when it starts.
 *
 * SQL is one text for both where possible: parameters are $1, $2 …; column types are those of
 * sql/migrations. Values are bound, never printed into SQL. What differs is asked of db_kind(). */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "base/time.h"

struct db;   /* thread-safe, except open and close */
struct conn; /* one connection, used by one thread at a time */
struct stmt; /* a statement under way on a connection */

enum db_kind { DB_SQLITE, DB_POSTGRES };

/* A migration: numbered from 1 without gaps, append-only, each in one transaction, recorded in the table
 * schema_version (version, name, applied). In the text, types are PostgreSQL's (uuid, bigint, double
 * precision, text, bytea, and `bigserial`-free); for SQLite whole words are replaced (uuid, bytea: BLOB;
 * bigint: INTEGER; double precision: REAL; text: TEXT) and ") STRICT" ends each CREATE TABLE. A line that ends in
 * "--sqlite" or "--postgres" is for that database alone. Statements end in ";" at the end of a line. */
struct migration {
    const char *name; /* "0001_init" */
    Str sql;
};

struct db_options {
    Str url;              /* "sqlite:PATH", "sqlite::memory:" (tests; one connection serves all), or "postgresql://…" */
    Str schema;           /* PostgreSQL schema of this database, made if missing; STR_NONE: public */
    bool relaxed;         /* --durability normal: commits may be lost with the machine, not with the process */
    bool peek;            /* only to look: what is not there is not made, nothing is locked or migrated, beside a running server too */
    int readers;          /* threads of the reader pool (SQLite), connections of the pool (PostgreSQL); 0: 2 and 8 */
    const struct migration *migrations;
    size_t migration_count;
    size_t queue_max;     /* jobs waiting; past it db_write says ERR_BUSY */
};

/* A migration's text for one kind of database, as it is run. */
Str db_migration_text(struct arena *a, Str sql, enum db_kind kind);
/* Opens and migrates. The SQLite file and its directory are made (mode 0600, 0700). NULL with *err: wrong
 * URL, no permission, newer schema than this program knows, server unreachable. */
NODISCARD struct db *db_open(const struct db_options *options, struct err *err);
/* Runs what is queued, then closes; NULL is accepted. */
void db_close(struct db *db);
enum db_kind db_kind(const struct db *db);

/* What a job does. 0: keep it; -1: undo it, *err says why. Runs on a thread of the database's. */
typedef int db_work(struct conn *c, void *arg, struct err *err);
/* Called once, after the commit that has the job in it is on disk, or with the error (err != NULL) after it
 * was undone. Runs on a thread of the database's and must not wait. */
typedef void db_done(void *arg, const struct err *err);

/* Queues a write. -1 with ERR_BUSY where the queue is full or the database is closing; `done` is then not called. */
NODISCARD int db_write(struct db *db, db_work *work, db_done *done, void *arg, struct err *err);
/* Queues a read on the reader pool (a read-only transaction: one consistent view). */
NODISCARD int db_read(struct db *db, db_work *work, db_done *done, void *arg, struct err *err);
/* The same, waiting for the end on the calling thread; never from a `work` or `done`. */
NODISCARD int db_write_wait(struct db *db, db_work *work, void *arg, struct err *err);
NODISCARD int db_read_wait(struct db *db, db_work *work, void *arg, struct err *err);
/* Runs a read here and now on the calling thread's own read connection (made at its first use, closed with
 * the database). On PostgreSQL, where it may wait for the network, it goes through the pool: use db_read there.
 * Inside a job of the same database it is part of that job. */
NODISCARD int db_read_here(struct db *db, db_work *work, void *arg, struct err *err);

/* Figures for /api/metrics: all since opening. */
struct db_stats {
    uint64_t commits, writes, failed, reads;
    uint64_t largest_batch, queue_now;
    Dur commit_time; /* sum */
};
struct db_stats db_stats(const struct db *db);

/* ---- statements, inside a job ---- */

struct db *conn_db(const struct conn *c);
enum db_kind conn_kind(const struct conn *c);

/* Runs a statement. `types` has a letter for each argument that follows, bound to $1, $2 …:
 *   i int64_t (INT_NONE: NULL)   t Time (TIME_NONE: NULL)   d double (NaN: NULL)   o int (0 or 1; -1: NULL)
 *   s Str (p NULL: NULL)         z const char *             u Uuid (nil: NULL)     b Str as bytes
 * For one text the letters must always be the same. Prepared once per connection and text.
 * db_exec: number of rows changed, or -1. db_query: rows to step through; NULL on error. What it changes
 * (RETURNING) is changed by then, however far one steps.
 * After a statement failed, nothing of the job runs until db_rollback_to undoes it, and a job that goes on
 * to return 0 is undone with that error: so it is in PostgreSQL, and so we keep it in SQLite. */
NODISCARD int64_t db_exec(struct conn *c, struct err *err, const char *sql, const char *types, ...);
NODISCARD struct stmt *db_query(struct conn *c, struct err *err, const char *sql, const char *types, ...);

/* The same with values gathered at run time (the query builder's way). */
struct db_value {
    char type; /* as above */
    union {
        int64_t i;
        double d;
        Str s;
        Uuid u;
    };
};
NODISCARD struct stmt *db_query_v(struct conn *c, struct err *err, Str sql, const struct db_value *values, size_t n);
NODISCARD int64_t db_exec_v(struct conn *c, struct err *err, Str sql, const struct db_value *values, size_t n);

/* 1: a row is there; 0: no more; -1: error. */
NODISCARD int stmt_step(struct stmt *q, struct err *err);
/* Ends the statement (safe at any point, on NULL); for AUTO(stmt_finish). */
void stmt_finish(struct stmt **q);
int stmt_columns(const struct stmt *q);
/* Column by name, -1 where there is none (our mistake: asserted in debug builds). */
int stmt_column(const struct stmt *q, const char *name);
/* Values of the row at hand, columns from 0; NULL becomes the type's "none". Text and bytes are valid
 * until the next step or finish: str_dup what must live. */
bool stmt_is_null(const struct stmt *q, int col);
int64_t stmt_int(const struct stmt *q, int col); /* also Time */
double stmt_double(const struct stmt *q, int col);
Str stmt_str(const struct stmt *q, int col);
Uuid stmt_uuid(const struct stmt *q, int col);

/* One-row helpers: 1 found, 0 not, -1 error. */
NODISCARD int db_get_int(struct conn *c, struct err *err, int64_t *ret, const char *sql, const char *types, ...);
NODISCARD int db_get_uuid(struct conn *c, struct err *err, Uuid *ret, const char *sql, const char *types, ...);

/* A part of a job that may be undone alone (nests). */
NODISCARD int db_savepoint(struct conn *c, struct err *err);
NODISCARD int db_release(struct conn *c, struct err *err);
NODISCARD int db_rollback_to(struct conn *c, struct err *err); /* undoes and releases */

/* Errors from SQL: a broken UNIQUE, FOREIGN KEY or CHECK is ERR_CONFLICT (db_conflict_read says which), a full, read-only or failing
 * disk ERR_DISK, a lost server ERR_DB, a text with a NUL on PostgreSQL ERR_UNPROCESSABLE, anything else ERR_INTERNAL. */

enum db_constraint { DB_UNIQUE, DB_FOREIGN_KEY, DB_CHECK, DB_CONSTRAINT_COUNT };
struct db_conflict {
    enum db_constraint kind;
    Str table;   /* "" where the database does not say */
    Str columns; /* "a, b"; "" as well */
};
/* What was broken, of an error as a driver makes it; false where it is another, or was put into other words. Points into *err. */
bool db_conflict_read(const struct err *err, struct db_conflict *ret);

/* ---- for tests ---- */

/* Makes the n-th statement or commit of a write from now on fail with ERR_DB (savepoints count); 0: none.
 * Returns what was left of the number armed before, 0 or less where it has struck: a test that walks n = 1, 2 …
 * ends when some is left. */
int64_t db_test_fail_at(struct db *db, int64_t n);
