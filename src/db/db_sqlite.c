/* SQLite, in WAL mode: one connection that writes, any number that read.
 *
 * Checkpoints are kept out of the way of commits: when the log has grown by CHECKPOINT_SOFT pages a pool
 * thread copies it into the file while writing goes on; past CHECKPOINT_HARD the writer does what is left
 * between two batches, so that the log can start anew. Readers that overlap without a gap would still
 * keep it from that: past CHECKPOINT_FORCE the writer waits for those that are under way. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "db/driver.h"

#define CHECKPOINT_SOFT 1000   /* pages: 4 MB */
#define CHECKPOINT_HARD 8000   /* pages: 32 MB */
#define CHECKPOINT_FORCE 16000 /* pages: 64 MB */
#define FORCE_MS 250           /* that the writer waits for readers then */
#define JOURNAL_LIMIT "67108864"
#define BUSY_MS 5000 /* only another program's lock can make us wait */

struct state {
    const char *path; /* NULL: in memory */
    int lock_fd;
    _Atomic bool checkpointing;
    int wal_pages;        /* the writer's: after the last commit */
    int wal_checkpointed; /* of these, when the last checkpoint was asked for */
    int force_at;         /* pages */
};

struct sqlite_conn {
    struct conn c;
    sqlite3 *db;
    sqlite3_stmt *begin_write, *begin_read, *commit, *rollback;
};

struct sqlite_stmt {
    struct stmt q;
    sqlite3_stmt *st;
    int *place;   /* of $1, $2 … */
    int first;    /* result of the step done by `run`, not handed out yet; 0: none */
    bool changes; /* INSERT, UPDATE, DELETE: sqlite3_changes speaks of it */
    bool read_only;
    int reprepared;
    char *kept; /* copies of bound values */
    size_t kept_cap;
};

static struct sqlite_conn *of_conn(struct conn *c)
{
    return (struct sqlite_conn *)c;
}

static struct sqlite_stmt *of_stmt(const struct stmt *q)
{
    return (struct sqlite_stmt *)(uintptr_t)q;
}

/* ---- errors ---- */

/* The table that a statement writes to, for messages that name none. */
static Str written_table(const char *sql)
{
    static const char *const before[] = {"INTO", "UPDATE", "FROM"};
    for (const char *p = sql; *p;) {
        size_t n = strcspn(p, " \n\t");
        const char *next = p + n + strspn(p + n, " \n\t");
        for (size_t i = 0; i < COUNT_OF(before); i++)
            if (n == strlen(before[i]) && !strncasecmp(p, before[i], n))
                return (Str){next, strcspn(next, " \n\t(;")};
        p = next;
    }
    return STR("");
}

/* "UNIQUE constraint failed: flow_run.flow_id, flow_run.idempotency_key", or "…: index 'name'". */
static int fail_unique(const char *what, const char *sql, struct err *err)
{
    Str rest = str_of(what), table = STR_NONE, part;
    ptrdiff_t colon = str_find(rest, STR(": "));
    AUTO(buf_free) struct buf columns = BUF(sizeof err->text);
    for (rest = str_sub(rest, colon < 0 ? rest.n : (size_t)colon + 2, rest.n); str_cut(&rest, ',', &part);) {
        Str column = str_trim(part);
        if (!str_cut(&column, '.', &table) || !column.n)
            return db_conflict_set(err, DB_UNIQUE, sql ? written_table(sql) : STR(""), STR(""));
        buf_fmt(&columns, "%s%.*s", columns.n ? ", " : "", STR_ARG(column));
    }
    return db_conflict_set(err, DB_UNIQUE, table.p ? table : STR(""), buf_view(&columns));
}

static bool is_writing(int rc)
{
    switch (rc) {
    case SQLITE_IOERR_WRITE:
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_TRUNCATE:
    case SQLITE_IOERR_SHMSIZE:
    case SQLITE_IOERR_SHMOPEN:
    case SQLITE_IOERR_SHMMAP:
        return true;
    default:
        return false;
    }
}

static int fail_writing(sqlite3 *db, struct err *err)
{
    int e = db ? sqlite3_system_errno(db) : 0;
    return err_set(err, ERR_DISK, "the database cannot be written: its disk %s",
                   e == ENOSPC || e == EDQUOT ? "is full" : e == EROFS || e == EPERM ? "is read-only" : "fails");
}

static int fail(struct conn *c, int rc, const char *sql, struct err *err)
{
    sqlite3 *db = of_conn(c)->db;
    const char *what = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    if (db && !sqlite3_errcode(db))
        what = sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        switch (rc) {
        case SQLITE_CONSTRAINT_FOREIGNKEY:
            return db_conflict_set(err, DB_FOREIGN_KEY, sql ? written_table(sql) : STR(""), STR(""));
        case SQLITE_CONSTRAINT_UNIQUE:
        case SQLITE_CONSTRAINT_PRIMARYKEY:
        case SQLITE_CONSTRAINT_ROWID:
            return fail_unique(what, sql, err);
        case SQLITE_CONSTRAINT_CHECK:
        case SQLITE_CONSTRAINT_TRIGGER:
            return db_conflict_set(err, DB_CHECK, sql ? written_table(sql) : STR(""), STR(""));
        default:
            return err_set(err, ERR_INTERNAL, "%s", what);
        }
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_DB, "database: another program holds a lock on it (%s)", what);
    case SQLITE_FULL:
        return err_set(err, ERR_DISK, "the database cannot be written: its disk is full");
    case SQLITE_READONLY:
        return err_set(err, ERR_DISK, "the database cannot be written: its file or disk is read-only");
    case SQLITE_IOERR:
        if (is_writing(rc))
            return fail_writing(db, err);
        return err_set(err, ERR_DB, "database: %s (%s)", what, sqlite3_errstr(rc));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
    case SQLITE_PROTOCOL:
        return err_set(err, ERR_DB, "database: %s (%s)", what, sqlite3_errstr(rc));
    default:
        return err_set(err, ERR_INTERNAL, "SQL: %s%s%.200s", what, sql ? ", in: " : "", sql ? sql : "");
    }
}

/* ---- the file ---- */

static int make_parents(struct arena *a, const char *path, struct err *err)
{
    char *dir = str_z(a, str_of(path));
    for (char *p = dir + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
            return err_errno(err, "cannot make the database's directory '%s'", dir);
    }
    return 0;
}

/* Two servers on one file would each think itself the only writer. */
static int lock_file(struct arena *a, struct state *s, struct err *err)
{
    const char *path = str_fmt(a, "%s.lock", s->path).p;
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_errno(err, "cannot open the lock file '%s'", path);
    char pid[24] = "";
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(err, "cannot lock '%s'", path);
        ssize_t n = pread(s->lock_fd, pid, sizeof pid - 1, 0);
        pid[n < 0 ? 0 : n] = 0;
        pid[strspn(pid, "0123456789")] = 0;
        return err_set(err, ERR_LOCKED, "the database '%s' is in use by another millpond%s%s (it holds '%s')",
                       s->path, *pid ? ", process " : "", pid, path);
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* The number is for people; the lock holds without it. */
    if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) < 0)
        (void)0;
    return 0;
}

static void configure(void)
{
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* its counters are behind a lock that all threads meet at */
    sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, 8 << 20); /* a batch's savepoints stay in memory */
}

static int sqlite_start(struct db *db, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure);
    struct state *s = arena_new(db->a, struct state);
    s->lock_fd = -1;
    s->force_at = CHECKPOINT_FORCE;
    db->state = s;
    Str path = str_sub(db->url, strlen("sqlite:"), db->url.n);
    if (str_eqz(path, ":memory:")) {
        db->single = true;
        return 0;
    }
    if (!path.n || memchr(path.p, 0, path.n))
        return err_set(err, ERR_INVALID, "the database URL 'sqlite:' wants a path after the colon");
    s->path = str_z(db->a, path);
    if (db->peek)
        return access(s->path, R_OK) < 0 ? err_errno(err, "cannot open the database '%s'", s->path) : 0;
    if (make_parents(db->a, s->path, err) < 0 || lock_file(db->a, s, err) < 0)
        return -1;
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would make it readable by all */
    if (fd < 0)
        return err_errno(err, "cannot open the database '%s'", s->path);
    close(fd);
    return 0;
}

static void sqlite_stop(struct db *db)
{
    struct state *s = db->state;
    if (s && s->lock_fd >= 0)
        close(s->lock_fd);
}

/* ---- connections ---- */

static int pragma(struct sqlite_conn *s, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : fail(&s->c, rc, sql, err);
}

static sqlite3_stmt *prepare_fixed(struct sqlite_conn *s, const char *sql, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
    if (rc != SQLITE_OK)
        fail(&s->c, rc, sql, err);
    return st;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    UNUSED(db);
    UNUSED(name);
    struct state *s = arg;
    s->wal_pages = pages;
    return SQLITE_OK;
}

static void sqlite_close(struct conn *c)
{
    struct sqlite_conn *s = of_conn(c);
    conn_finish_all(c);
    conn_cache_clear(c);
    sqlite3_finalize(s->begin_write);
    sqlite3_finalize(s->begin_read);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->rollback);
    sqlite3_close(s->db);
    free(s);
}

static int set_up(struct sqlite_conn *s, enum conn_role role, struct err *err)
{
    struct state *state = s->c.db->state;
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* "x" is a name, never a text */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    if (pragma(s, "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF", err) < 0)
        return -1;
    if (state->path && role == CONN_WRITER && !s->c.db->peek) {
        /* A page that is read for the first time tells whether this is a database at all. */
        if (pragma(s,
                   "PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=" JOURNAL_LIMIT
                   "; PRAGMA cache_size=-2048",
                   err) < 0 ||
            pragma(s, s->c.db->relaxed ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL", err) < 0)
            return -1;
        sqlite3_wal_hook(s->db, on_commit, state); /* takes the place of wal_autocheckpoint */
    } else if (pragma(s, "PRAGMA cache_size=-1024", err) < 0) {
        return -1;
    }
    s->begin_write = prepare_fixed(s, "BEGIN IMMEDIATE", err);
    s->begin_read = prepare_fixed(s, "BEGIN", err);
    s->commit = prepare_fixed(s, "COMMIT", err);
    s->rollback = prepare_fixed(s, "ROLLBACK", err);
    return s->begin_write && s->begin_read && s->commit && s->rollback ? 0 : -1;
}

static struct conn *sqlite_open(struct db *db, enum conn_role role, struct err *err)
{
    struct state *state = db->state;
    struct sqlite_conn *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->c.db = db;
    s->c.driver = &db_sqlite;
    s->c.cache.bytes_max = role == CONN_WRITER ? (size_t)4 << 20 : (size_t)2 << 20;
    const char *path = state->path ? state->path : ":memory:";
    int rc = sqlite3_open_v2(
        path, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK)
        fail(&s->c, rc, NULL, err);
    if (rc != SQLITE_OK || set_up(s, role, err) < 0) {
        err_wrap(err, "opening '%s'", path);
        sqlite_close(&s->c);
        return NULL;
    }
    return &s->c;
}

/* ---- transactions ---- */

static int step_fixed(struct conn *c, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    if (rc != SQLITE_DONE)
        fail(c, rc, NULL, err);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int sqlite_begin(struct conn *c, struct err *err)
{
    struct sqlite_conn *s = of_conn(c);
    return step_fixed(c, c->writing ? s->begin_write : s->begin_read, err);
}

static int sqlite_commit(struct conn *c, struct err *err)
{
    return step_fixed(c, of_conn(c)->commit, err);
}

static bool sqlite_in_transaction(struct conn *c)
{
    return !sqlite3_get_autocommit(of_conn(c)->db);
}

static void sqlite_rollback(struct conn *c)
{
    struct err ignored;
    if (sqlite_in_transaction(c))
        (void)step_fixed(c, of_conn(c)->rollback, &ignored);
}

/* A deferred foreign key would be refused at the commit, with the whole batch: ask now. */
static int sqlite_settled(struct conn *c, struct err *err)
{
    int open = 0, most = 0;
    sqlite3_db_status(of_conn(c)->db, SQLITE_DBSTATUS_DEFERRED_FKS, &open, &most, 0);
    return open ? db_conflict_set(err, DB_FOREIGN_KEY, STR(""), STR("")) : 0;
}

static int checkpoint_work(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    UNUSED(err);
    /* Best effort: what it could not copy the next one will. */
    sqlite3_wal_checkpoint_v2(of_conn(c)->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return 0;
}

static void checkpoint_done(void *arg, const struct err *err)
{
    UNUSED(err);
    struct state *s = arg;
    s->checkpointing = false;
}

static void sqlite_upkeep(struct conn *c)
{
    struct state *s = c->db->state;
    sqlite3 *db = of_conn(c)->db;
    if (!s->path)
        return;
    int pages = s->wal_pages;
    if (pages < s->wal_checkpointed) { /* the log started anew */
        s->wal_checkpointed = 0;
        s->force_at = CHECKPOINT_FORCE;
    }
    if (pages >= s->force_at) {
        sqlite3_busy_timeout(db, FORCE_MS);
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
        sqlite3_busy_timeout(db, BUSY_MS);
        s->wal_checkpointed = pages;
        s->force_at = pages * 2; /* where a long read kept it from that, do not wait for it again and again */
    } else if (pages - s->wal_checkpointed < CHECKPOINT_SOFT || s->checkpointing) {
        return;
    } else if (pages >= CHECKPOINT_HARD) {
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        s->wal_checkpointed = pages;
    } else {
        s->wal_checkpointed = pages;
        s->checkpointing = true;
        if (db_queue_bare(c->db, checkpoint_work, checkpoint_done, s) < 0)
            s->checkpointing = false;
    }
}

/* ---- migrations ---- */

static int sqlite_script(struct conn *c, Str sql, struct err *err)
{
    sqlite3 *db = of_conn(c)->db;
    for (const char *at = sql.p, *end = sql.p + sql.n; at < end;) {
        sqlite3_stmt *st = NULL;
        const char *next = end;
        int rc = sqlite3_prepare_v2(db, at, (int)(end - at), &st, &next);
        if (rc == SQLITE_OK && st) {
            while ((rc = sqlite3_step(st)) == SQLITE_ROW)
                ;
            if (rc == SQLITE_DONE)
                rc = SQLITE_OK;
        }
        if (rc != SQLITE_OK) {
            fail(c, rc, NULL, err);
            sqlite3_finalize(st);
            Str statement = str_trim((Str){at, (size_t)(end - at)});
            return err_wrap(err, "statement '%.*s…'", (int)strcspn(statement.p, "\n;("), statement.p);
        }
        sqlite3_finalize(st);
        at = next;
    }
    return 0;
}

/* A table that is made anew under its old name would otherwise take the rows that point to it along. */
static int sqlite_migrate_begin(struct conn *c, struct err *err)
{
    return pragma(of_conn(c), "PRAGMA foreign_keys=OFF", err);
}

static int sqlite_migrate_check(struct conn *c, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, "PRAGMA foreign_key_check", "");
    int rc = q ? stmt_step(q, err) : -1;
    if (rc == 1) {
        Str from = stmt_str(q, 0), to = stmt_str(q, 2);
        rc = err_set(err, ERR_CONFLICT, "a row of table %.*s points to none of table %.*s", STR_ARG(from),
                     STR_ARG(to));
    }
    return rc;
}

static void sqlite_migrate_end(struct conn *c)
{
    struct err ignored;
    (void)pragma(of_conn(c), "PRAGMA foreign_keys=ON", &ignored);
}

/* ---- statements ---- */

static void name_columns(struct sqlite_stmt *s)
{
    int n = sqlite3_column_count(s->st);
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += strlen(sqlite3_column_name(s->st, i)) + 1;
    free((void *)s->q.names);
    s->q.names = malloc((size_t)n * sizeof(char *) + bytes + 1);
    if (!s->q.names)
        die("out of memory");
    char *text = (char *)(s->q.names + n);
    for (int i = 0; i < n; i++) {
        const char *name = sqlite3_column_name(s->st, i);
        size_t size = strlen(name) + 1;
        s->q.names[i] = memcpy(text, name, size);
        text += size;
    }
    s->q.columns = n;
}

static struct stmt *sqlite_prepare(struct conn *c, const char *sql, const struct db_value *v, size_t n,
                                   struct err *err)
{
    UNUSED(v);
    sqlite3_stmt *st = NULL;
    const char *rest = NULL;
    int rc = sqlite3_prepare_v3(of_conn(c)->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, &rest);
    if (rc != SQLITE_OK) {
        fail(c, rc, sql, err);
        return NULL;
    }
    if (!st || rest[strspn(rest, " \n\t;")]) {
        sqlite3_finalize(st);
        err_set(err, ERR_INTERNAL, "SQL: not one statement: %.200s", sql);
        return NULL;
    }
    struct sqlite_stmt *s = calloc(1, sizeof *s);
    int *place = calloc(n + 1, sizeof *place);
    if (!s || !place)
        die("out of memory");
    s->st = st;
    s->place = place;
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "$%zu", i + 1);
        place[i] = sqlite3_bind_parameter_index(st, name);
        found += place[i] > 0;
    }
    if (found != n || found != (size_t)sqlite3_bind_parameter_count(st)) {
        err_set(err, ERR_INTERNAL, "SQL: %zu values for %d parameters, in: %.200s", n,
                sqlite3_bind_parameter_count(st), sql);
        sqlite3_finalize(st);
        free(place);
        free(s);
        return NULL;
    }
    const char *word = sql + strspn(sql, " \n\t(");
    static const char *const verbs[] = {"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"};
    s->read_only = sqlite3_stmt_readonly(st);
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (!strncasecmp(word, verbs[i], strlen(verbs[i])) && !s->read_only)
            s->changes = true;
    s->q.c = c;
    name_columns(s);
    s->q.bytes = sizeof *s - sizeof s->q + (size_t)sqlite3_stmt_status(st, SQLITE_STMTSTATUS_MEMUSED, 0);
    return &s->q;
}

static void sqlite_unprepare(struct stmt *q)
{
    struct sqlite_stmt *s = of_stmt(q);
    sqlite3_finalize(s->st);
    free(s->place);
    free(s->kept);
    free(s);
}

static size_t value_bytes(const struct db_value *v)
{
    return v->type == 'u' ? sizeof v->u : v->type == 's' || v->type == 'b' ? v->s.n : 0;
}

static int bind(sqlite3_stmt *st, int place, const struct db_value *v, char **kept)
{
    const void *p;
    switch (v->type) {
    case 'i':
    case 't':
        return v->i == INT_NONE ? sqlite3_bind_null(st, place) : sqlite3_bind_int64(st, place, v->i);
    case 'o':
        return v->i < 0 ? sqlite3_bind_null(st, place) : sqlite3_bind_int64(st, place, v->i);
    case 'd':
        return sqlite3_bind_double(st, place, v->d); /* NaN becomes NULL */
    case 'u':
        if (uuid_is_nil(v->u))
            return sqlite3_bind_null(st, place);
        p = v->u.b;
        break;
    default:
        if (!v->s.p)
            return sqlite3_bind_null(st, place);
        p = v->s.p;
    }
    size_t n = value_bytes(v);
    if (*kept) {
        p = memcpy(*kept, p, n);
        *kept += n;
    }
    return v->type == 's' ? sqlite3_bind_text64(st, place, p, n, SQLITE_STATIC, SQLITE_UTF8)
                          : sqlite3_bind_blob64(st, place, p, n, SQLITE_STATIC);
}

static int sqlite_run(struct stmt *q, const struct db_value *v, size_t n, bool keep, struct err *err)
{
    struct sqlite_stmt *s = of_stmt(q);
    struct conn *c = q->c;
    if (!s->read_only && !c->writing)
        return err_set(err, ERR_INTERNAL, "a read job may not write: %.200s", q->sql.p);
    char *kept = NULL;
    if (keep) {
        size_t bytes = 1; /* never NULL */
        for (size_t i = 0; i < n; i++)
            bytes += value_bytes(&v[i]);
        if (bytes > s->kept_cap) {
            free(s->kept);
            s->kept_cap = MAX(bytes, (size_t)64);
            s->kept = malloc(s->kept_cap);
            if (!s->kept)
                die("out of memory");
        }
        kept = s->kept;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = bind(s->st, s->place[i], &v[i], &kept);
        if (rc != SQLITE_OK)
            return fail(c, rc, q->sql.p, err);
    }
    s->first = sqlite3_step(s->st);
    if (s->first != SQLITE_ROW && s->first != SQLITE_DONE)
        return fail(c, s->first, q->sql.p, err);
    int reprepared = sqlite3_stmt_status(s->st, SQLITE_STMTSTATUS_REPREPARE, 0);
    if (reprepared != s->reprepared) {
        s->reprepared = reprepared;
        name_columns(s);
    }
    return 0;
}

static int sqlite_step(struct stmt *q, struct err *err)
{
    struct sqlite_stmt *s = of_stmt(q);
    int rc = s->first ? s->first : sqlite3_step(s->st);
    s->first = rc == SQLITE_DONE ? SQLITE_DONE : 0; /* past the end it stays there */
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(q->c, rc, q->sql.p, err);
}

static int64_t sqlite_finish_exec(struct stmt *q, struct err *err)
{
    struct sqlite_stmt *s = of_stmt(q);
    int rc = s->first;
    while (rc == SQLITE_ROW)
        rc = sqlite3_step(s->st);
    if (rc != SQLITE_DONE)
        return fail(q->c, rc, q->sql.p, err);
    return s->changes ? sqlite3_changes64(of_conn(q->c)->db) : 0;
}

static void sqlite_reset(struct stmt *q)
{
    struct sqlite_stmt *s = of_stmt(q);
    sqlite3_reset(s->st); /* repeats the error that was reported by the step */
    s->first = 0;
    if (s->kept_cap > 65536) { /* one large value is no reason to hold memory */
        free(s->kept);
        s->kept = NULL;
        s->kept_cap = 0;
    }
}

static bool sqlite_is_null(const struct stmt *q, int col)
{
    return sqlite3_column_type(of_stmt(q)->st, col) == SQLITE_NULL;
}

static int64_t sqlite_get_int(const struct stmt *q, int col)
{
    return sqlite3_column_int64(of_stmt(q)->st, col);
}

static double sqlite_get_double(const struct stmt *q, int col)
{
    return sqlite3_column_double(of_stmt(q)->st, col);
}

static Str sqlite_get_bytes(const struct stmt *q, int col)
{
    sqlite3_stmt *st = of_stmt(q)->st;
    const void *p = sqlite3_column_type(st, col) == SQLITE_BLOB ? sqlite3_column_blob(st, col)
                                                                : sqlite3_column_text(st, col);
    int n = sqlite3_column_bytes(st, col);
    return (Str){p ? p : "", (size_t)n};
}

const struct db_driver db_sqlite = {
    .kind = DB_SQLITE,
    .gathers = true,
    .start = sqlite_start,
    .stop = sqlite_stop,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .in_transaction = sqlite_in_transaction,
    .settled = sqlite_settled,
    .upkeep = sqlite_upkeep,
    .script = sqlite_script,
    .migrate_begin = sqlite_migrate_begin,
    .migrate_check = sqlite_migrate_check,
    .migrate_end = sqlite_migrate_end,
    .prepare = sqlite_prepare,
    .unprepare = sqlite_unprepare,
    .run = sqlite_run,
    .step = sqlite_step,
    .finish_exec = sqlite_finish_exec,
    .reset = sqlite_reset,
    .is_null = sqlite_is_null,
    .get_int = sqlite_get_int,
    .get_double = sqlite_get_double,
    .get_bytes = sqlite_get_bytes,
};
