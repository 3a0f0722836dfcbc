#include "db/driver.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

/* ---- the cache of prepared statements ---- */

/* Eight bytes a step: statements are long and the hash need only spread them. */
static uint64_t hash_text(const char *p, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, n);
    h = (h ^ w) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}

static void used_unlink(struct stmt_cache *cache, struct stmt *q)
{
    *(q->used.prev ? &q->used.prev->used.next : &cache->used.first) = q->used.next;
    *(q->used.next ? &q->used.next->used.prev : &cache->used.last) = q->used.prev;
}

static void used_push(struct stmt_cache *cache, struct stmt *q)
{
    q->used = (struct stmt_links){.next = cache->used.first};
    *(cache->used.first ? &cache->used.first->used.prev : &cache->used.last) = q;
    cache->used.first = q;
}

static void stmt_free(struct stmt *q)
{
    char *sql = (char *)(uintptr_t)q->sql.p, *types = q->types;
    const char **names = q->names;
    q->c->driver->unprepare(q);
    free(sql);
    free(types);
    free((void *)names);
}

static void cache_drop(struct conn *c, struct stmt *q)
{
    struct stmt_cache *cache = &c->cache;
    struct stmt **at = &cache->by_hash[q->hash % CACHE_SLOTS];
    while (*at != q)
        at = &(*at)->chain;
    *at = q->chain;
    if (q->pointer_slot && *q->pointer_slot == q)
        *q->pointer_slot = NULL;
    used_unlink(cache, q);
    cache->n--;
    cache->bytes -= q->bytes;
    q->cached = false;
    if (!q->is_busy)
        stmt_free(q);
}

static void cache_shrink(struct conn *c)
{
    struct stmt_cache *cache = &c->cache;
    for (struct stmt *q = cache->used.last, *prev;
         q && (cache->n > CACHE_STATEMENTS || cache->bytes > cache->bytes_max); q = prev) {
        prev = q->used.prev;
        if (!q->is_busy)
            cache_drop(c, q);
    }
}

void conn_cache_clear(struct conn *c)
{
    while (c->cache.used.first)
        cache_drop(c, c->cache.used.first);
}

static bool same_types(const struct conn *c, const struct stmt *q, const struct db_value *v, size_t n)
{
    if (q->values != n)
        return false;
    if (c->driver->typed)
        for (size_t i = 0; i < n; i++)
            if (q->types[i] != v[i].type)
                return false;
    return true;
}

static size_t pointer_slot(const char *sql)
{
    return (size_t)((uintptr_t)sql * 0x9e3779b97f4a7c15u >> 56) % CACHE_SLOTS;
}

/* The statement, ready to run and marked busy. `literal`: sql.p is likely to come again at this address. */
static struct stmt *acquire(struct conn *c, Str sql, bool literal, const struct db_value *v, size_t n,
                            struct err *err)
{
    struct stmt_cache *cache = &c->cache;
    struct stmt *q = NULL, **slot = literal ? &cache->by_pointer[pointer_slot(sql.p)] : NULL;
    uint64_t hash = 0;
    if (slot && *slot && str_eq((*slot)->sql, sql) && same_types(c, *slot, v, n)) {
        q = *slot;
    } else {
        hash = hash_text(sql.p, sql.n);
        for (q = cache->by_hash[hash % CACHE_SLOTS]; q; q = q->chain)
            if (q->hash == hash && str_eq(q->sql, sql) && same_types(c, q, v, n))
                break;
    }
    if (q && !q->is_busy) {
        if (cache->used.first != q) {
            used_unlink(cache, q);
            used_push(cache, q);
        }
    } else {
        bool second = q != NULL; /* the first one is being stepped through: this one lives for one use */
        if (sql.n > LIMIT_SQL || memchr(sql.p, 0, sql.n)) {
            err_set(err, ERR_INTERNAL, "a statement of %zu bytes is too long or holds a NUL", sql.n);
            conn_fail(c, err);
            return NULL;
        }
        char *text = strndup(sql.p, sql.n), *types = malloc(n + 1);
        if (!text || !types)
            die("out of memory");
        for (size_t i = 0; i < n; i++)
            types[i] = v[i].type;
        types[n] = 0;
        q = c->driver->prepare(c, text, v, n, err);
        if (!q) {
            free(text);
            free(types);
            conn_fail(c, err);
            return NULL;
        }
        q->c = c;
        q->sql = (Str){text, sql.n};
        q->types = types;
        q->values = n;
        q->hash = hash;
        q->bytes += sizeof *q + sql.n + n;
        if (!second) {
            q->cached = true;
            q->chain = cache->by_hash[hash % CACHE_SLOTS];
            cache->by_hash[hash % CACHE_SLOTS] = q;
            used_push(cache, q);
            cache->n++;
            cache->bytes += q->bytes;
        }
    }
    if (slot && q->cached && *slot != q) {
        if (q->pointer_slot && *q->pointer_slot == q)
            *q->pointer_slot = NULL;
        *slot = q;
        q->pointer_slot = slot;
    }
    q->is_busy = true;
    q->busy = (struct stmt_links){.next = c->busy.first};
    if (c->busy.first)
        c->busy.first->busy.prev = q;
    c->busy.first = q;
    q->hint = 0;
    if (c->cache.n > CACHE_STATEMENTS || c->cache.bytes > c->cache.bytes_max)
        cache_shrink(c);
    return q;
}

void stmt_finish(struct stmt **ref)
{
    struct stmt *q = *ref;
    if (!q)
        return;
    *ref = NULL;
    struct conn *c = q->c;
    c->driver->reset(q);
    *(q->busy.prev ? &q->busy.prev->busy.next : &c->busy.first) = q->busy.next;
    if (q->busy.next)
        q->busy.next->busy.prev = q->busy.prev;
    q->is_busy = false;
    if (!q->cached)
        stmt_free(q);
}

void conn_finish_all(struct conn *c)
{
    while (c->busy.first) {
        struct stmt *q = c->busy.first;
        stmt_finish(&q);
    }
}

/* ---- running ---- */

int conn_fail(struct conn *c, const struct err *err)
{
    if (!c->failed) {
        c->failed = true;
        c->failure = *err;
    }
    return -1;
}

/* Both kinds of database: after a failure nothing runs until it is undone. (PostgreSQL is so; SQLite
 * would go on, and hide the mistake of ignoring an error.) */
static int may_run(struct conn *c, struct err *err)
{
    if (!c->open)
        return err_set(err, ERR_INTERNAL, "a statement outside of a job");
    if (c->failed)
        return err_set(err, c->failure.code, "after a failed statement: %s", c->failure.text);
    if (db_test_strikes(c->db, err))
        return conn_fail(c, err);
    return 0;
}

static struct stmt *run_query(struct conn *c, Str sql, bool literal, const struct db_value *v, size_t n,
                              struct err *err)
{
    if (may_run(c, err) < 0)
        return NULL;
    struct stmt *q = acquire(c, sql, literal, v, n, err);
    if (!q)
        return NULL;
    if (c->driver->run(q, v, n, /* keep= */ true, err) < 0) {
        conn_fail(c, err);
        stmt_finish(&q);
        return NULL;
    }
    return q;
}

static int64_t run_exec(struct conn *c, Str sql, bool literal, const struct db_value *v, size_t n,
                        struct err *err)
{
    if (may_run(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *q = acquire(c, sql, literal, v, n, err);
    if (!q)
        return -1;
    int64_t changed = -1;
    if (c->driver->run(q, v, n, /* keep= */ false, err) == 0)
        changed = c->driver->finish_exec(q, err);
    if (changed < 0)
        conn_fail(c, err);
    return changed;
}

int conn_plain(struct conn *c, const char *sql, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = acquire(c, str_of(sql), true, NULL, 0, err);
    if (!q || c->driver->run(q, NULL, 0, false, err) < 0)
        return -1;
    return c->driver->finish_exec(q, err) < 0 ? -1 : 0;
}

static size_t gather(struct db_value *v, const char *types, va_list ap)
{
    size_t n = 0;
    for (const char *t = types; *t; t++, n++) {
        if (n == DB_VALUES_MAX)
            die("a statement with more than %d values", DB_VALUES_MAX);
        v[n].type = *t;
        switch (*t) {
        case 'i':
        case 't':
            v[n].i = va_arg(ap, int64_t);
            break;
        case 'd':
            v[n].d = va_arg(ap, double);
            break;
        case 'o':
            v[n].i = va_arg(ap, int);
            break;
        case 's':
        case 'b':
            v[n].s = va_arg(ap, Str);
            break;
        case 'z':
            v[n].s = str_of(va_arg(ap, const char *));
            v[n].type = 's';
            break;
        case 'u':
            v[n].u = va_arg(ap, Uuid);
            break;
        default:
            die("'%c' is no type of a bound value (in \"%s\")", *t, types);
        }
    }
    return n;
}

int64_t db_exec(struct conn *c, struct err *err, const char *sql, const char *types, ...)
{
    struct db_value v[DB_VALUES_MAX];
    va_list ap;
    va_start(ap, types);
    size_t n = gather(v, types, ap);
    va_end(ap);
    return run_exec(c, str_of(sql), true, v, n, err);
}

struct stmt *db_query(struct conn *c, struct err *err, const char *sql, const char *types, ...)
{
    struct db_value v[DB_VALUES_MAX];
    va_list ap;
    va_start(ap, types);
    size_t n = gather(v, types, ap);
    va_end(ap);
    return run_query(c, str_of(sql), true, v, n, err);
}

struct stmt *db_query_v(struct conn *c, struct err *err, Str sql, const struct db_value *values, size_t n)
{
    return run_query(c, sql, false, values, n, err);
}

int64_t db_exec_v(struct conn *c, struct err *err, Str sql, const struct db_value *values, size_t n)
{
    return run_exec(c, sql, false, values, n, err);
}

int stmt_step(struct stmt *q, struct err *err)
{
    if (q->c->failed) {
        *err = q->c->failure;
        return -1;
    }
    int rc = q->c->driver->step(q, err);
    return rc < 0 ? conn_fail(q->c, err) : rc;
}

int stmt_columns(const struct stmt *q)
{
    return q->columns;
}

int stmt_column(const struct stmt *q, const char *name)
{
    /* Callers mostly ask in the order of the columns: start behind the last answer. */
    for (int i = 0, at = q->hint; i < q->columns; i++, at++) {
        if (at >= q->columns)
            at = 0;
        if (!strcmp(q->names[at], name)) {
            ((struct stmt *)(uintptr_t)q)->hint = at + 1;
            return at;
        }
    }
#ifndef NDEBUG
    die("no column '%s' in: %.*s", name, STR_ARG(q->sql));
#else
    return -1;
#endif
}

static bool is_column(const struct stmt *q, int col)
{
    assert(col >= 0 && col < q->columns);
    return col >= 0 && col < q->columns && !q->c->driver->is_null(q, col);
}

bool stmt_is_null(const struct stmt *q, int col)
{
    return !is_column(q, col);
}

int64_t stmt_int(const struct stmt *q, int col)
{
    return is_column(q, col) ? q->c->driver->get_int(q, col) : INT_NONE;
}

double stmt_double(const struct stmt *q, int col)
{
    return is_column(q, col) ? q->c->driver->get_double(q, col) : NAN;
}

Str stmt_str(const struct stmt *q, int col)
{
    return is_column(q, col) ? q->c->driver->get_bytes(q, col) : STR_NONE;
}

Uuid stmt_uuid(const struct stmt *q, int col)
{
    Uuid u = UUID_NIL;
    Str s = stmt_str(q, col);
    assert(!s.p || s.n == sizeof u);
    if (s.n == sizeof u)
        memcpy(&u, s.p, sizeof u);
    return u;
}

int db_get_int(struct conn *c, struct err *err, int64_t *ret, const char *sql, const char *types, ...)
{
    struct db_value v[DB_VALUES_MAX];
    va_list ap;
    va_start(ap, types);
    size_t n = gather(v, types, ap);
    va_end(ap);
    AUTO(stmt_finish) struct stmt *q = run_query(c, str_of(sql), true, v, n, err);
    int found = q ? stmt_step(q, err) : -1;
    if (found == 1)
        *ret = stmt_int(q, 0);
    return found;
}

int db_get_uuid(struct conn *c, struct err *err, Uuid *ret, const char *sql, const char *types, ...)
{
    struct db_value v[DB_VALUES_MAX];
    va_list ap;
    va_start(ap, types);
    size_t n = gather(v, types, ap);
    va_end(ap);
    AUTO(stmt_finish) struct stmt *q = run_query(c, str_of(sql), true, v, n, err);
    int found = q ? stmt_step(q, err) : -1;
    if (found == 1)
        *ret = stmt_uuid(q, 0);
    return found;
}

/* ---- savepoints ---- */

static int savepoint_text(struct conn *c, struct err *err, const char *verb)
{
    char sql[64];
    int n = snprintf(sql, sizeof sql, "%s s%d", verb, c->savepoints);
    return run_exec(c, (Str){sql, (size_t)n}, false, NULL, 0, err) < 0 ? -1 : 0;
}

int db_savepoint(struct conn *c, struct err *err)
{
    c->savepoints++;
    if (savepoint_text(c, err, "SAVEPOINT") == 0)
        return 0;
    c->savepoints--;
    return -1;
}

int db_release(struct conn *c, struct err *err)
{
    assert(c->savepoints > 0);
    if (savepoint_text(c, err, "RELEASE SAVEPOINT") < 0)
        return -1;
    c->savepoints--;
    return 0;
}

int db_rollback_to(struct conn *c, struct err *err)
{
    assert(c->savepoints > 0);
    /* What was lost with the whole transaction no savepoint brings back. */
    if (c->failed && (c->lost || !c->driver->in_transaction(c))) {
        *err = c->failure;
        return -1;
    }
    c->failed = c->raced = false;
    if (savepoint_text(c, err, "ROLLBACK TO SAVEPOINT") < 0 ||
        savepoint_text(c, err, "RELEASE SAVEPOINT") < 0)
        return -1;
    c->savepoints--;
    return 0;
}
