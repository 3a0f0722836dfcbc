#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "db/driver.h"

/* ---- the text for one kind of database ---- */

/* Drops the lines that are for the other kind, and the marks of those for this one. */
static void keep_lines(struct buf *out, Str sql, enum db_kind kind)
{
    static const Str marks[] = {[DB_SQLITE] = {"--sqlite", 8}, [DB_POSTGRES] = {"--postgres", 10}};
    bool first = true;
    for (Str line; str_cut(&sql, '\n', &line); first = false) {
        if (!first)
            buf_char(out, '\n'); /* also for a dropped line: numbers of lines stay */
        Str bare = str_trim(line);
        bool mine = str_ends(bare, marks[kind]);
        bool other = str_ends(bare, marks[kind == DB_SQLITE ? DB_POSTGRES : DB_SQLITE]);
        if (!other)
            buf_str(out, mine ? str_sub(bare, 0, bare.n - marks[kind].n) : line);
    }
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

/* Length of what starts at `p` and is not to be looked into: a quoted text or name, or a comment. */
static size_t opaque(const char *p, const char *end)
{
    const char *q = p + 1;
    if (*p == '\'' || *p == '"') {
        while (q < end && *q != *p)
            q++;
        return (size_t)(MIN(q + 1, end) - p); /* a doubled quote reads as two texts: the same length */
    }
    if (*p == '-' && q < end && *q == '-') {
        while (q < end && *q != '\n')
            q++;
        return (size_t)(q - p);
    }
    return 0;
}

static Str word_at(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && is_word(*q))
        q++;
    return (Str){p, (size_t)(q - p)};
}

/* PostgreSQL's types to those of SQLite's STRICT tables, and STRICT at the end of each CREATE TABLE. */
static void to_sqlite(struct buf *out, Str sql)
{
    static const struct {
        const char *from, *to;
    } types[] = {{"uuid", "BLOB"}, {"bytea", "BLOB"}, {"bigint", "INTEGER"}, {"text", "TEXT"}};
    int words = 0;  /* of this statement */
    int create = 0; /* 1: CREATE, 2: CREATE [TEMPORARY] TABLE, 3: and its "(" came before any AS */
    int depth = 0;
    bool after = false; /* something stands behind the table's ")" */
    const char *p = sql.p, *end = sql.p + sql.n;
    for (size_t n; p < end; p += n) {
        if ((n = opaque(p, end))) {
            buf_put(out, p, n);
            continue;
        }
        Str w = word_at(p, end);
        if (w.n) {
            n = w.n;
            words++;
            if (words == 1)
                create = str_ieq(w, STR("create"));
            else if (create == 1 && str_ieq(w, STR("table")))
                create = 2;
            else if (create == 1 && !str_ieq(w, STR("temp")) && !str_ieq(w, STR("temporary")))
                create = 0;
            else if (create == 2 && str_ieq(w, STR("as")))
                create = 0;
            else if (create == 3 && depth == 0)
                after = true;
            Str to = w;
            for (size_t i = 0; i < COUNT_OF(types); i++)
                if (str_ieq(w, str_of(types[i].from)))
                    to = str_of(types[i].to);
            if (str_ieq(w, STR("double"))) {
                const char *q = p + n;
                while (q < end && isspace((unsigned char)*q))
                    q++;
                Str second = word_at(q, end);
                if (str_ieq(second, STR("precision"))) {
                    to = STR("REAL");
                    n = (size_t)(second.p + second.n - p);
                }
            }
            buf_str(out, to);
            continue;
        }
        n = 1;
        if (*p == '(') {
            if (create == 2)
                create = 3;
            depth++;
        } else if (*p == ')') {
            depth--;
        } else if (*p == ';' && depth == 0) {
            if (create == 3)
                buf_z(out, after ? ", STRICT" : " STRICT");
            words = create = 0;
            after = false;
        }
        buf_char(out, *p);
    }
}

Str db_migration_text(struct arena *a, Str sql, enum db_kind kind)
{
    AUTO(buf_free) struct buf lines = BUF(sql.n * 2 + 64);
    keep_lines(&lines, sql, kind);
    if (kind == DB_POSTGRES)
        return str_dup(a, buf_view(&lines));
    AUTO(buf_free) struct buf out = BUF(sql.n * 4 + 64);
    to_sqlite(&out, buf_view(&lines));
    return str_dup(a, buf_view(&out));
}

/* ---- running them ---- */

static int64_t stored_version(struct conn *c, const struct migration *list, size_t n, struct err *err)
{
    AUTO(stmt_finish)
    struct stmt *q = db_query(c, err, "SELECT version, name FROM schema_version ORDER BY version", "");
    if (!q)
        return -1;
    int64_t version = 0;
    int rc;
    while ((rc = stmt_step(q, err)) == 1) {
        version = stmt_int(q, 0);
        if (version < 1 || (uint64_t)version > n)
            return err_set(
                err, ERR_CONFLICT,
                "the database has schema version %lld ('%.*s'), this program knows versions up to %zu: "
                "use a newer program",
                (long long)version, STR_ARG(stmt_str(q, 1)), n);
        if (!str_eqz(stmt_str(q, 1), list[version - 1].name))
            return err_set(err, ERR_CONFLICT,
                           "schema version %lld of the database is '%.*s', of this program '%s'",
                           (long long)version, STR_ARG(stmt_str(q, 1)), list[version - 1].name);
    }
    return rc < 0 ? -1 : version;
}

static int in_transaction(struct conn *c, int (*fn)(struct conn *, void *, struct err *), void *arg,
                          struct err *err)
{
    if (conn_begin(c, true, err) < 0)
        return -1;
    if (fn(c, arg, err) < 0) {
        conn_rollback(c);
        return -1;
    }
    return conn_commit(c, err);
}

static int make_table(struct conn *c, void *arg, struct err *err)
{
    UNUSED(arg);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str sql =
        db_migration_text(a,
                          STR("CREATE TABLE IF NOT EXISTS schema_version (\n"
                              "    version bigint PRIMARY KEY, name text NOT NULL, applied bigint NOT NULL\n"
                              ");\n"),
                          conn_kind(c));
    return c->driver->script(c, sql, err);
}

struct plan {
    const struct migration *list;
    size_t n;
    int64_t version;
};

static int read_version(struct conn *c, void *arg, struct err *err)
{
    struct plan *p = arg;
    p->version = stored_version(c, p->list, p->n, err);
    return p->version < 0 ? -1 : 0;
}

static int apply_next(struct conn *c, void *arg, struct err *err)
{
    struct plan *p = arg;
    const struct migration *m = &p->list[p->version];
    AUTO(arena_freep) struct arena *a = arena_create();
    if (c->driver->script(c, db_migration_text(a, m->sql, conn_kind(c)), err) < 0 ||
        (c->driver->migrate_check && c->driver->migrate_check(c, err) < 0) ||
        db_exec(c, err, "INSERT INTO schema_version (version, name, applied) VALUES ($1, $2, $3)", "izt",
                p->version + 1, m->name, time_now()) < 0)
        return err_wrap(err, "migration %s", m->name);
    return 0;
}

static int run_all(struct conn *c, struct plan *p, struct err *err)
{
    if (in_transaction(c, make_table, NULL, err) < 0 || in_transaction(c, read_version, p, err) < 0)
        return -1;
    for (; (uint64_t)p->version < p->n; p->version++)
        if (in_transaction(c, apply_next, p, err) < 0)
            return -1;
    return 0;
}

int db_migrate(struct conn *c, const struct migration *list, size_t n, struct err *err)
{
    struct plan p = {.list = list, .n = n};
    if (c->driver->migrate_begin && c->driver->migrate_begin(c, err) < 0)
        return -1;
    int rc = n ? run_all(c, &p, err) : 0;
    if (c->driver->migrate_end)
        c->driver->migrate_end(c);
    conn_cache_clear(c);
    return rc;
}
