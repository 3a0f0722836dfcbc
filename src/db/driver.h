/* db/driver.h: what the folder db keeps to itself: a database, its queues and connections, and what a
 * driver must do.
 *
 * db.c owns threads, queues and transactions; stmt.c the statements and their cache; a driver is a row of
 * functions that run on whatever thread holds the connection. */
#pragma once
#include "db/db.h"

#include <pthread.h>
#include <stdatomic.h>

#define DB_VALUES_MAX 512                      /* values bound to one statement given as letters */
#define CACHE_STATEMENTS 512                   /* prepared statements kept by a connection */
#define CACHE_SLOTS 256

/* CONN_MORE: another reader, which does not wait for a server that has no room: those that are there do the work. */
enum conn_role { CONN_WRITER, CONN_READER, CONN_MORE };

enum job_kind {
    JOB_READ,
    JOB_WRITE,
    JOB_BARE, /* the driver's own upkeep: no transaction, not counted */
};

struct job {
    db_work *work;
    db_done *done;
    void *arg;
    struct err *err; /* malloc'ed when it failed */
    enum job_kind kind;
};

/* A ring that grows up to `max` jobs. */
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *ring;
    size_t cap, first, n, max;
    unsigned sleepers;
    bool closing;
};

/* Links of a doubly linked list through statements. */
struct stmt_links {
    struct stmt *prev, *next;
};
struct stmt_list {
    struct stmt *first, *last;
};

struct stmt_cache {
    struct stmt *by_hash[CACHE_SLOTS];
    struct stmt *by_pointer[CACHE_SLOTS]; /* string literals: found without hashing them */
    struct stmt_list used;                /* most recently used first */
    size_t n, bytes, bytes_max;
};

/* The common head of a driver's connection. */
struct conn {
    struct db *db;
    const struct db_driver *driver;
    struct conn *next; /* in db->here_conns */
    struct stmt_cache cache;
    struct stmt_list busy;
    int savepoints;
    bool open;          /* a transaction is under way */
    bool writing;       /* … that may write */
    bool failed;        /* a statement of this job failed and was not undone: nothing more runs */
    bool lost;          /* the server is gone: the connection must be made anew */
    bool raced;         /* the job lost to another and may be run again */
    bool clashed;       /* it broke a constraint that another may have come to in between: run again, it sees what is there */
    struct err failure; /* valid when failed */
};

/* The common head of a driver's statement. */
struct stmt {
    struct conn *c;
    Str sql; /* NUL-terminated, owned */
    char *types;
    uint64_t hash;
    size_t values; /* number of parameters */
    size_t bytes;  /* memory, for the cache's cap */
    struct stmt *chain;
    struct stmt_links used, busy;
    struct stmt **pointer_slot;
    bool cached, is_busy;
    int columns;
    const char **names;
    int hint; /* column after the one looked up last */
};

struct db_driver {
    enum db_kind kind;
    bool gathers; /* one writer thread, many jobs a commit */
    bool typed;   /* a statement is prepared for the types of its values */

    /* Readies db->state (locks, parsed URL); called once, before any connection. */
    int (*start)(struct db *db, struct err *err);
    void (*stop)(struct db *db); /* after the last connection is closed; half-started is fine */

    struct conn *(*open)(struct db *db, enum conn_role role, struct err *err);
    void (*close)(struct conn *c);

    int (*begin)(struct conn *c, struct err *err); /* c->writing says which kind */
    int (*commit)(struct conn *c, struct err *err);
    void (*rollback)(struct conn *c);
    bool (*in_transaction)(struct conn *c);
    /* May be NULL. After a job: -1 where it left something that a commit would refuse. */
    int (*settled)(struct conn *c, struct err *err);
    /* May be NULL. After a commit, when its jobs have been told. */
    void (*upkeep)(struct conn *c);

    /* Runs SQL text of several statements, in the open transaction. */
    int (*script)(struct conn *c, Str sql, struct err *err);
    /* May be NULL: around all migrations. */
    int (*migrate_begin)(struct conn *c, struct err *err);
    int (*migrate_check)(struct conn *c, struct err *err); /* before each one's commit */
    void (*migrate_end)(struct conn *c);

    struct stmt *(*prepare)(struct conn *c, const char *sql, const struct db_value *v, size_t n, struct err *err);
    void (*unprepare)(struct stmt *q); /* frees the driver's part and the struct */
    /* Binds and starts; rows, if any, are there for `step`. With `keep`, values are copied, since the
     * caller's may be gone when rows are read. */
    int (*run)(struct stmt *q, const struct db_value *v, size_t n, bool keep, struct err *err);
    int (*step)(struct stmt *q, struct err *err);
    int64_t (*finish_exec)(struct stmt *q, struct err *err); /* to the end; rows changed */
    void (*reset)(struct stmt *q);

    bool (*is_null)(const struct stmt *q, int col);
    int64_t (*get_int)(const struct stmt *q, int col);
    double (*get_double)(const struct stmt *q, int col);
    Str (*get_bytes)(const struct stmt *q, int col);
};

extern const struct db_driver db_sqlite, db_postgres;

struct db {
    const struct db_driver *driver;
    struct arena *a;
    Str url, schema; /* NUL-terminated */
    bool relaxed, peek;
    bool single;                 /* one connection serves all, under `single_lock` */
    pthread_mutex_t single_lock;
    struct conn *writer_conn;    /* gathering drivers, and `single` */
    struct conn *spare;          /* made at opening, for the first pool thread that asks */
    pthread_mutex_t conns_lock;  /* spare, here_conns */
    struct conn *here_conns;     /* of db_read_here, one a thread */
    pthread_key_t here;
    bool has_here, has_writer;
    struct queue writer, pool;
    pthread_t writer_thread, *pool_threads;
    int pool_size, pool_started;
    _Atomic int connected;       /* threads of the pool that have had a connection */
    void *state;                 /* the driver's */
    _Atomic int64_t fail_in;     /* db_test_fail_at */
    _Atomic uint64_t commits, writes, failed, reads, largest_batch;
    _Atomic int64_t commit_time;
};

/* db.c */
/* Fills *err with ERR_CONFLICT in the form that db_conflict_read takes apart. Returns -1. */
int db_conflict_set(struct err *err, enum db_constraint kind, Str table, Str columns);
/* Queues a JOB_BARE on the pool. */
NODISCARD int db_queue_bare(struct db *db, db_work *work, db_done *done, void *arg);
NODISCARD int conn_begin(struct conn *c, bool writing, struct err *err);
NODISCARD int conn_commit(struct conn *c, struct err *err);
void conn_rollback(struct conn *c);
/* True once, when the armed test failure strikes. */
bool db_test_strikes(struct db *db, struct err *err);

/* stmt.c */
/* Marks the transaction as failed, with *err as the reason. Returns -1. */
int conn_fail(struct conn *c, const struct err *err);
/* Runs a statement without values, whatever the state of the job. */
NODISCARD int conn_plain(struct conn *c, const char *sql, struct err *err);
/* Ends what a job left under way. */
void conn_finish_all(struct conn *c);
/* Forgets all prepared statements. */
void conn_cache_clear(struct conn *c);

/* migrate.c */
NODISCARD int db_migrate(struct conn *c, const struct migration *list, size_t n, struct err *err);
