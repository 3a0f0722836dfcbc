/* PostgreSQL: a pool of connections, a transaction for each job.
 *
 * BEGIN and the preparing of a statement travel with the first use, in one round trip; the end of a read
 * is sent and its answer awaited only when the connection is needed again. Parameters and results are
 * binary. A connection that is lost is made anew at the next job; while the server is away, jobs fail fast
 * after one of them has waited for it in vain. */
#include <assert.h>
#include <ctype.h>
#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/driver.h"
#include "db/pq_lazy.h"

#define RECONNECT_MAX (3 * SEC) /* that a job waits for the server to come back */
#define RECONNECT_PAUSE (SEC)   /* of failing fast between attempts */
#define DEAD_MAX 32 /* prepared statements forgotten here and still known there, before these are told */
#define SERVER_MIN 120000 /* version 12 */

/* Type numbers are the protocol's; libpq has no header for them. */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_OID = 26,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_NUMERIC = 1700,
    OID_UUID = 2950,
    OID_JSONB = 3802,
};

struct state {
    _Atomic Dur away_until; /* monotonic; 0: the server was there when last asked */
};

struct params {
    size_t cap;
    const char **values;
    int *lengths, *formats;
    uint64_t *numbers; /* in network order */
    Oid *types;
};

struct pg_conn {
    struct conn c;
    PGconn *pg;
    struct params params;
    bool begun;  /* BEGIN was sent */
    bool ending; /* the answer to the end of a read is still to come */
    bool stale;  /* a prepared statement no longer fits its tables: forget them all */
    unsigned last_name;
    unsigned *dead;
    size_t dead_count, dead_cap;
};

struct pg_stmt {
    struct stmt q;
    PGresult *rows;
    int row;
    unsigned name;
    bool known; /* by the server */
};

static struct pg_conn *of_conn(struct conn *c)
{
    return (struct pg_conn *)c;
}

static struct pg_stmt *of_stmt(const struct stmt *q)
{
    return (struct pg_stmt *)(uintptr_t)q;
}

struct name_text {
    char s[16];
};

static struct name_text name_text(unsigned name)
{
    struct name_text t;
    snprintf(t.s, sizeof t.s, "s%u", name);
    return t;
}

/* ---- errors ---- */

static Str field(const PGresult *r, int code)
{
    return r ? str_of(PQresultErrorField(r, code)) : STR_NONE;
}

/* "Key (a, b)=(1, 2) already exists." → "a, b"; the values stay out of messages. */
static Str key_columns(Str detail)
{
    ptrdiff_t from = str_find(detail, STR("(")), to = str_find(detail, STR(")=("));
    return from < 0 || to < from ? STR("") : str_sub(detail, (size_t)from + 1, (size_t)(to - from) - 1);
}

static int fail_constraint(const PGresult *r, enum db_constraint kind, struct err *err)
{
    Str table = field(r, PG_DIAG_TABLE_NAME);
    return db_conflict_set(err, kind, table.p ? table : STR(""),
                           kind == DB_UNIQUE ? key_columns(field(r, PG_DIAG_MESSAGE_DETAIL)) : STR(""));
}

static int fail_lost(struct pg_conn *p, struct err *err)
{
    p->c.lost = p->c.raced = true; /* nothing of this job can have been kept: there was no COMMIT */
    Str why = str_trim(str_of(PQerrorMessage(p->pg)));
    return err_set(err, ERR_DB, "database: the connection was lost: %.*s", STR_ARG(why));
}

static int fail(struct pg_conn *p, const PGresult *r, const char *sql, struct err *err)
{
    Str state = field(r, PG_DIAG_SQLSTATE), what = field(r, PG_DIAG_MESSAGE_PRIMARY);
    /* An error without a code is not the server's: the connection broke, though libpq may not call it BAD yet (one that ends
     * between two statements of a pipeline leaves it out of step). 26000: a pooler has put another server behind it. */
    if (PQstatus(p->pg) == CONNECTION_BAD || p->c.lost || !state.n || str_eqz(state, "26000"))
        return fail_lost(p, err);
    static const struct {
        const char *state; /* how it begins */
        enum err_code code;
    } codes[] = {
        {"08", ERR_DB},
        {"28", ERR_DB},
        {"3D", ERR_DB},
        {"40", ERR_DB},
        {"53", ERR_DB},
        {"57", ERR_DB},
        {"58", ERR_DB},
        {"55P03", ERR_DB},
        {"25P03", ERR_DB},
        {"XX", ERR_DB},
        {"22021", ERR_UNPROCESSABLE}, /* a NUL in a text, which this database cannot hold */
    };
    if (!what.p)
        what = str_trim(str_of(PQerrorMessage(p->pg)));
    p->c.clashed |= str_eqz(state, "23505") || str_eqz(state, "23503");
    if (str_eqz(state, "23505"))
        return fail_constraint(r, DB_UNIQUE, err);
    if (str_eqz(state, "23503"))
        return fail_constraint(r, DB_FOREIGN_KEY, err);
    if (str_eqz(state, "23514"))
        return fail_constraint(r, DB_CHECK, err);
    if (str_eqz(state, "40001") || str_eqz(state, "40P01"))
        p->c.raced = true;
    if (str_eqz(state, "0A000") && str_find(what, STR("cached plan")) >= 0)
        p->c.raced = p->stale = true;
    if (str_eqz(state, "25006") && p->c.writing) { /* this server became a standby: look for the other one */
        p->c.lost = p->c.raced = true;
        return err_set(err, ERR_DB, "database: %.*s", STR_ARG(what));
    }
    if (str_eqz(state, "53100"))
        return err_set(err, ERR_DISK, "the database cannot be written: its disk is full");
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        if (str_starts(state, str_of(codes[i].state)))
            return err_set(err, codes[i].code, "database: %.*s (%.*s)", STR_ARG(what), STR_ARG(state));
    return err_set(err, ERR_INTERNAL, "SQL: %.*s (%.*s)%s%.200s", STR_ARG(what), STR_ARG(state),
                   sql ? ", in: " : "", sql ? sql : "");
}

/* ---- connections ---- */

static void quiet(void *arg, const char *message)
{
    UNUSED(arg);
    UNUSED(message); /* notices; errors come with results */
}

static int command(struct pg_conn *p, const char *sql, struct err *err)
{
    PGresult *r = PQexec(p->pg, sql);
    ExecStatusType st = PQresultStatus(r);
    int rc = st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK ? 0 : fail(p, r, sql, err);
    PQclear(r);
    return rc;
}

static int connect_once(struct pg_conn *p, struct err *err)
{
    struct db *db = p->c.db;
    /* What stands in the URL comes later and wins; the encoding is ours to say. */
    const char *const keys[] = {"connect_timeout", "application_name", "tcp_user_timeout",
                                "dbname",          "client_encoding",  NULL};
    const char *const values[] = {"10", "millpond", "30000", db->url.p, "UTF8", NULL};
    PQfinish(p->pg);
    p->begun = p->ending = p->stale = false;
    p->c.lost = false;
    conn_cache_clear(&p->c);
    p->dead_count = 0;
    p->pg = PQconnectdbParams(keys, values, /* expand_dbname= */ 1);
    if (!p->pg)
        die("out of memory");
    if (PQstatus(p->pg) != CONNECTION_OK) {
        Str why = str_trim(str_of(PQerrorMessage(p->pg)));
        return err_set(err, ERR_DB, "cannot reach the database server: %.*s", STR_ARG(why));
    }
    PQsetNoticeProcessor(p->pg, quiet, NULL);
    if (PQserverVersion(p->pg) < SERVER_MIN)
        return err_set(err, ERR_DB, "the PostgreSQL server is of version %d, too old: 12 and later will do",
                       PQserverVersion(p->pg) / 10000);
    char *schema =
        PQescapeIdentifier(p->pg, db->schema.p ? db->schema.p : "public", db->schema.p ? db->schema.n : 6);
    if (!schema)
        return err_set(err, ERR_INVALID, "'%.*s' cannot be the name of a schema", STR_ARG(db->schema));
    AUTO(arena_freep) struct arena *a = arena_create();
    Str set = str_fmt(
        a,
        "SET search_path TO %s; SET client_min_messages TO warning; SET TimeZone TO 'UTC';"
        "SET default_transaction_isolation TO 'read committed'; SET standard_conforming_strings TO on; %s",
        schema,
        db->relaxed ? "SET synchronous_commit TO off"
                    : "SELECT set_config('synchronous_commit', 'on', false)"
                      " WHERE current_setting('synchronous_commit') = 'off'");
    PQfreemem(schema);
    return command(p, set.p, err);
}

static void pause_for(Dur d)
{
    struct timespec t = {.tv_sec = d / SEC, .tv_nsec = d % SEC * 1000};
    nanosleep(&t, NULL);
}

static int reconnect(struct pg_conn *p, struct err *err)
{
    struct state *s = p->c.db->state;
    Dur start = time_monotonic(), pause = 20 * MSEC;
    if (start < s->away_until)
        return err_set(err, ERR_DB, "the database server is away");
    bool was_away = s->away_until != 0;
    while (connect_once(p, err) < 0) {
        if (was_away || time_monotonic() - start + pause > RECONNECT_MAX) {
            s->away_until = time_monotonic() + RECONNECT_PAUSE;
            return -1;
        }
        pause_for((Dur)((double)pause * (0.5 + random_double())));
        pause = MIN(pause * 2, SEC / 2);
    }
    s->away_until = 0;
    return 0;
}

static int pg_start(struct db *db, struct err *err)
{
    pq_lazy_load();
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(db->url.p, &why);
    if (!options) {
        /* libpq's sentence may quote the URL, and with it a password. */
        PQfreemem(why);
        return err_set(err, ERR_INVALID,
                       "the database URL is no PostgreSQL URL"
                       " (postgresql://user:password@host:port/database?key=value)");
    }
    PQconninfoFree(options);
    if (!PQisthreadsafe())
        return err_set(err, ERR_INTERNAL, "this libpq was built without threads");
    db->state = arena_new(db->a, struct state);
    return 0;
}

static void pg_stop(struct db *db)
{
    UNUSED(db);
}

static void pg_close(struct conn *c)
{
    struct pg_conn *p = of_conn(c);
    conn_finish_all(c);
    conn_cache_clear(c);
    PQfinish(p->pg);
    free(p->dead);
    free(p->params.values);
    free(p->params.lengths);
    free(p->params.formats);
    free(p->params.numbers);
    free(p->params.types);
    free(p);
}

static struct conn *pg_open(struct db *db, enum conn_role role, struct err *err)
{
    struct pg_conn *p = calloc(1, sizeof *p);
    if (!p)
        die("out of memory");
    p->c.db = db;
    p->c.driver = &db_postgres;
    p->c.cache.bytes_max = (size_t)4 << 20;
    if ((role == CONN_READER ? reconnect(p, err) : connect_once(p, err)) < 0) {
        pg_close(&p->c);
        return NULL;
    }
    return &p->c;
}

/* ---- transactions ---- */

static void drain(struct pg_conn *p)
{
    for (PGresult *r; (r = PQgetResult(p->pg)); PQclear(r))
        ;
    p->ending = false;
}

static void deallocate_dead(struct pg_conn *p)
{
    AUTO(buf_free) struct buf sql = BUF(p->dead_count * 32 + 1);
    for (size_t i = 0; i < p->dead_count; i++)
        buf_fmt(&sql, "DEALLOCATE %s;", name_text(p->dead[i]).s);
    buf_char(&sql, 0);
    p->dead_count = 0;
    struct err ignored;
    (void)command(p, sql.p, &ignored); /* a lost connection shows itself at the next statement */
}

static int pg_begin(struct conn *c, struct err *err)
{
    struct pg_conn *p = of_conn(c);
    if (p->ending)
        drain(p);
    if (c->lost || PQstatus(p->pg) == CONNECTION_BAD) {
        if (reconnect(p, err) < 0)
            return -1;
    }
    if (p->stale) {
        conn_cache_clear(c);
        p->stale = false;
    }
    if (p->dead_count >= DEAD_MAX)
        deallocate_dead(p);
    p->begun = false; /* it goes with the first statement */
    return 0;
}

static const char *begin_text(const struct conn *c)
{
    return c->writing ? "BEGIN" : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
}

static int pg_commit(struct conn *c, struct err *err)
{
    struct pg_conn *p = of_conn(c);
    if (!p->begun)
        return 0;
    if (!c->writing) {
        /* Whether it ends well changes nothing for what was read. */
        p->ending = PQsendQuery(p->pg, "COMMIT") == 1;
        return 0;
    }
    PGresult *r = PQexec(p->pg, "COMMIT");
    int rc = 0;
    if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        rc = fail(p, r, NULL, err);
        if (c->lost) {
            c->raced = false;
            rc = err_set(err, ERR_DB,
                         "database: the connection was lost during a commit; whether it was kept is unknown");
        }
    } else if (strcmp(PQcmdStatus(r), "COMMIT")) {
        rc = err_set(err, ERR_INTERNAL, "a failed transaction was not committed");
    }
    PQclear(r);
    return rc;
}

static bool pg_in_transaction(struct conn *c)
{
    struct pg_conn *p = of_conn(c);
    return !c->lost && (!p->begun || PQtransactionStatus(p->pg) != PQTRANS_IDLE);
}

static void pg_rollback(struct conn *c)
{
    struct pg_conn *p = of_conn(c);
    struct err ignored;
    if (p->begun && !c->lost && PQtransactionStatus(p->pg) != PQTRANS_IDLE) {
        bool raced = c->raced;
        (void)command(p, "ROLLBACK", &ignored);
        c->raced = raced;
    }
    p->begun = false;
}

/* ---- statements ---- */

static Oid type_of(char letter)
{
    switch (letter) {
    case 'd':
        return OID_FLOAT8;
    case 's':
        return OID_TEXT;
    case 'u':
        return OID_UUID;
    case 'b':
        return OID_BYTEA;
    default:
        return OID_INT8;
    }
}

/* The server would take more values than the text has places for. */
static bool uses_each(const char *sql, size_t n)
{
    bool *seen = calloc(n + 1, sizeof *seen);
    if (!seen)
        die("out of memory");
    size_t count = 0;
    for (const char *p = sql; (p = strchr(p, '$'));) {
        size_t i = strtoul(++p, NULL, 10);
        if (isdigit((unsigned char)*p) && i >= 1 && i <= n && !seen[i]) {
            seen[i] = true;
            count++;
        }
    }
    free(seen);
    return count == n;
}

static struct stmt *pg_prepare(struct conn *c, const char *sql, const struct db_value *v, size_t n,
                               struct err *err)
{
    UNUSED(v);
    struct pg_conn *p = of_conn(c);
    if (!uses_each(sql, n)) {
        err_set(err, ERR_INTERNAL, "SQL: %zu values for fewer parameters, in: %.200s", n, sql);
        return NULL;
    }
    struct pg_stmt *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->name = ++p->last_name;
    s->q.bytes = sizeof *s - sizeof s->q;
    return &s->q;
}

static void pg_unprepare(struct stmt *q)
{
    struct pg_conn *p = of_conn(q->c);
    struct pg_stmt *s = of_stmt(q);
    PQclear(s->rows);
    if (s->known) {
        if (p->dead_count == p->dead_cap) {
            p->dead_cap = p->dead_cap ? p->dead_cap * 2 : DEAD_MAX;
            p->dead = realloc(p->dead, p->dead_cap * sizeof *p->dead);
            if (!p->dead)
                die("out of memory");
        }
        p->dead[p->dead_count++] = s->name;
    }
    free(s);
}

static void params_fit(struct params *p, size_t n)
{
    if (n <= p->cap)
        return;
    size_t cap = MAX(n, (size_t)32);
    p->values = realloc(p->values, cap * sizeof *p->values);
    p->lengths = realloc(p->lengths, cap * sizeof *p->lengths);
    p->formats = realloc(p->formats, cap * sizeof *p->formats);
    p->numbers = realloc(p->numbers, cap * sizeof *p->numbers);
    p->types = realloc(p->types, cap * sizeof *p->types);
    if (!p->values || !p->lengths || !p->formats || !p->numbers || !p->types)
        die("out of memory");
    p->cap = cap;
}

static int encode(struct params *p, const struct db_value *v, size_t n, struct err *err)
{
    params_fit(p, n);
    for (size_t i = 0; i < n; i++) {
        const struct db_value *x = &v[i];
        const char *value = (const char *)&p->numbers[i];
        size_t length = 8;
        uint64_t bits;
        switch (x->type) {
        case 'd':
            memcpy(&bits, &x->d, sizeof bits);
            p->numbers[i] = htobe64(bits);
            if (isnan(x->d))
                value = NULL;
            break;
        case 's':
        case 'b':
            value = x->s.p;
            length = x->s.n;
            break;
        case 'u':
            value = uuid_is_nil(x->u) ? NULL : (const char *)x->u.b;
            length = sizeof x->u;
            break;
        default:
            p->numbers[i] = htobe64((uint64_t)x->i);
            if (x->i == INT_NONE || (x->type == 'o' && x->i < 0))
                value = NULL;
        }
        if (length > INT32_MAX / 2)
            return err_set(err, ERR_TOO_LARGE, "a value of %zu bytes", length);
        p->values[i] = value;
        p->lengths[i] = (int)length;
        p->formats[i] = 1;
        p->types[i] = type_of(x->type);
    }
    return 0;
}

static bool is_good(const PGresult *r)
{
    ExecStatusType st = PQresultStatus(r);
    return st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK;
}

/* One command's result, and the NULL behind it. */
static PGresult *pipeline_result(struct pg_conn *p)
{
    PGresult *r = PQgetResult(p->pg);
    for (PGresult *more; r && (more = PQgetResult(p->pg)); PQclear(more))
        if (PQstatus(p->pg) == CONNECTION_BAD)
            break;
    return r;
}

/* BEGIN, where it was not sent yet, the statement's preparing, where it is new, and the statement itself,
 * in one round trip. The first error, or the statement's result. */
static PGresult *round_trip(struct pg_conn *p, struct pg_stmt *s, size_t n)
{
    struct params *v = &p->params;
    struct name_text name = name_text(s->name);
    if (p->begun && s->known)
        return PQexecPrepared(p->pg, name.s, (int)n, v->values, v->lengths, v->formats, 1);
    bool begin = !p->begun, parse = !s->known;
    if (!PQenterPipelineMode(p->pg))
        return NULL;
    p->begun = true;
    PGresult *r = NULL;
    if ((!begin || PQsendQueryParams(p->pg, begin_text(&p->c), 0, NULL, NULL, NULL, NULL, 0)) &&
        (!parse || PQsendPrepare(p->pg, name.s, s->q.sql.p, (int)n, v->types)) &&
        PQsendQueryPrepared(p->pg, name.s, (int)n, v->values, v->lengths, v->formats, 1) &&
        PQpipelineSync(p->pg)) {
        PGresult *begun = begin ? pipeline_result(p) : NULL;
        PGresult *parsed = parse ? pipeline_result(p) : NULL;
        PGresult *ran = pipeline_result(p);
        s->known |= parse && is_good(parsed); /* it stays, whatever becomes of the transaction */
        r = begin && !is_good(begun) ? begun : parse && !is_good(parsed) ? parsed : ran;
        if (begun != r)
            PQclear(begun);
        if (parsed != r)
            PQclear(parsed);
        if (ran != r)
            PQclear(ran);
        if (PQstatus(p->pg) != CONNECTION_BAD)
            PQclear(PQgetResult(p->pg)); /* of the sync */
    }
    if (!PQexitPipelineMode(p->pg))
        p->c.lost = true; /* out of step with the server: this connection is of no more use */
    return r;
}

static void name_columns(struct pg_stmt *s)
{
    int n = PQnfields(s->rows);
    if (s->q.names && n == s->q.columns)
        return;
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += strlen(PQfname(s->rows, i)) + 1;
    free((void *)s->q.names);
    s->q.names = malloc((size_t)n * sizeof(char *) + bytes + 1);
    if (!s->q.names)
        die("out of memory");
    char *text = (char *)(s->q.names + n);
    for (int i = 0; i < n; i++) {
        size_t size = strlen(PQfname(s->rows, i)) + 1;
        s->q.names[i] = memcpy(text, PQfname(s->rows, i), size);
        text += size;
    }
    s->q.columns = n;
}

static int pg_run(struct stmt *q, const struct db_value *v, size_t n, bool keep, struct err *err)
{
    UNUSED(keep);
    struct pg_conn *p = of_conn(q->c);
    struct pg_stmt *s = of_stmt(q);
    if (encode(&p->params, v, n, err) < 0)
        return -1;
    s->rows = round_trip(p, s, n);
    if (!is_good(s->rows))
        return fail(p, s->rows, q->sql.p, err);
    s->row = -1;
    name_columns(s);
    return 0;
}

static int pg_step(struct stmt *q, struct err *err)
{
    UNUSED(err);
    struct pg_stmt *s = of_stmt(q);
    if (s->row + 1 >= PQntuples(s->rows))
        return 0;
    s->row++;
    return 1;
}

static int64_t pg_finish_exec(struct stmt *q, struct err *err)
{
    UNUSED(err);
    struct pg_stmt *s = of_stmt(q);
    int64_t n;
    if (str_starts(str_of(PQcmdStatus(s->rows)), STR("SELECT")) || !str_int(str_of(PQcmdTuples(s->rows)), &n))
        return 0;
    return n;
}

static void pg_reset(struct stmt *q)
{
    struct pg_stmt *s = of_stmt(q);
    PQclear(s->rows);
    s->rows = NULL;
}

/* ---- values ---- */

static bool pg_is_null(const struct stmt *q, int col)
{
    const struct pg_stmt *s = of_stmt(q);
    return PQgetisnull(s->rows, s->row, col);
}

static uint64_t big_endian(const char *p, int n)
{
    uint64_t x = 0;
    for (int i = 0; i < n; i++)
        x = x << 8 | (uint8_t)p[i];
    return x;
}

/* numeric: counts of 10000 digits, weight of the first, sign, scale, then the digits. */
static double numeric(const char *p, int n, int64_t *ret_int)
{
    int digits = (int16_t)big_endian(p, 2), weight = (int16_t)big_endian(p + 2, 2);
    unsigned sign = (unsigned)big_endian(p + 4, 2);
    double x = 0;
    int64_t i64 = 0;
    bool over = false;
    for (int i = 0; i < digits && 8 + 2 * i + 2 <= n; i++) {
        int d = (int)big_endian(p + 8 + 2 * i, 2), power = weight - i;
        x += d * pow(10000, power);
        if (power >= 0)
            over |= __builtin_mul_overflow(i64, INT64_C(10000), &i64) || __builtin_add_overflow(i64, d, &i64);
    }
    for (int power = weight - digits; power >= 0; power--) /* zeros at the end are not sent */
        over |= __builtin_mul_overflow(i64, INT64_C(10000), &i64);
    if (sign & 0x8000) { /* NaN 0xC000, infinities 0xD000 and 0xF000 */
        *ret_int = 0;
        return sign == 0xD000 ? INFINITY : sign == 0xF000 ? -INFINITY : NAN;
    }
    if (over)
        i64 = INT64_MAX;
    *ret_int = sign ? -i64 : i64;
    return sign ? -x : x;
}

static double number(const struct stmt *q, int col, int64_t *ret_int)
{
    const struct pg_stmt *s = of_stmt(q);
    const char *p = PQgetvalue(s->rows, s->row, col);
    int n = PQgetlength(s->rows, s->row, col);
    uint64_t bits = big_endian(p, MIN(n, 8));
    double x;
    float f;
    uint32_t bits32 = (uint32_t)bits;
    switch (PQftype(s->rows, col)) {
    case OID_BOOL:
    case OID_OID:
    case OID_INT8:
        return (double)(*ret_int = (int64_t)bits);
    case OID_INT2:
        return (double)(*ret_int = (int16_t)bits);
    case OID_INT4:
        return (double)(*ret_int = (int32_t)bits);
    case OID_NUMERIC:
        return numeric(p, n, ret_int);
    case OID_FLOAT4:
        memcpy(&f, &bits32, sizeof f);
        x = (double)f;
        break;
    case OID_FLOAT8:
        memcpy(&x, &bits, sizeof x);
        break;
    default:
        assert(!"a number was asked for and the column is none");
        *ret_int = INT_NONE;
        return NAN;
    }
    *ret_int = x >= 9.2e18 ? INT64_MAX : x <= -9.2e18 ? -INT64_MAX : isnan(x) ? 0 : (int64_t)x;
    return x;
}

static int64_t pg_get_int(const struct stmt *q, int col)
{
    int64_t i;
    (void)number(q, col, &i);
    return i;
}

static double pg_get_double(const struct stmt *q, int col)
{
    int64_t i;
    return number(q, col, &i);
}

static Str pg_get_bytes(const struct stmt *q, int col)
{
    const struct pg_stmt *s = of_stmt(q);
    Str v = {PQgetvalue(s->rows, s->row, col), (size_t)PQgetlength(s->rows, s->row, col)};
    switch (PQftype(s->rows, col)) {
    case OID_BOOL:
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC:
        assert(!"a text was asked for and the column is a number");
        return STR("");
    case OID_JSONB:
        return str_sub(v, 1, v.n); /* a version stands before it */
    default:
        return v;
    }
}

/* ---- migrations ---- */

static int pg_script(struct conn *c, Str sql, struct err *err)
{
    struct pg_conn *p = of_conn(c);
    if (!p->begun) {
        if (command(p, "BEGIN", err) < 0)
            return -1;
        p->begun = true;
    }
    PGresult *r = PQexec(p->pg, sql.p);
    ExecStatusType st = PQresultStatus(r);
    int rc = 0;
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK && st != PGRES_EMPTY_QUERY) {
        rc = fail(p, r, NULL, err);
        int64_t at;
        if (str_int(field(r, PG_DIAG_STATEMENT_POSITION), &at)) {
            int line = 1;
            for (size_t i = 0; i < sql.n && (int64_t)i < at; i++)
                line += sql.p[i] == '\n';
            err_wrap(err, "line %d", line);
        }
    }
    PQclear(r);
    return rc;
}

/* One server at a time, whichever comes first; the others find the work done. */
static int pg_migrate_begin(struct conn *c, struct err *err)
{
    struct pg_conn *p = of_conn(c);
    Str schema = c->db->schema.p ? c->db->schema : STR("public");
    int64_t key = (int64_t)(str_hash(schema) ^ 0x6d696c6c706f6e64); /* "millpond" */
    AUTO(arena_freep) struct arena *a = arena_create();
    if (command(p, str_fmt(a, "SELECT pg_advisory_lock(%lld)", (long long)key).p, err) < 0)
        return err_wrap(err, "waiting for another server's migration");
    const char *const values[] = {schema.p};
    PGresult *r = PQexecParams(p->pg,
                               "SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace"
                               " WHERE nspname = $1",
                               1, NULL, values, NULL, NULL, 0);
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? PQntuples(r) : fail(p, r, NULL, err);
    bool may = rc > 0 && *PQgetvalue(r, 0, 0) == 't';
    PQclear(r);
    if (rc > 0 && !may)
        return err_set(err, ERR_FORBIDDEN, "the database's user '%s' has no permission on schema '%.*s': GRANT USAGE, CREATE ON SCHEMA", PQuser(p->pg), STR_ARG(schema));
    if (rc != 0)
        return MIN(rc, 0);
    char *name = PQescapeIdentifier(p->pg, schema.p, schema.n);
    rc = command(p, str_fmt(a, "CREATE SCHEMA %s", name).p, err);
    PQfreemem(name);
    return rc < 0 ? err_wrap(err, "making schema '%.*s'", STR_ARG(schema)) : 0;
}

static void pg_migrate_end(struct conn *c)
{
    struct err ignored;
    (void)command(of_conn(c), "SELECT pg_advisory_unlock_all()", &ignored);
}

const struct db_driver db_postgres = {
    .kind = DB_POSTGRES,
    .typed = true,
    .start = pg_start,
    .stop = pg_stop,
    .open = pg_open,
    .close = pg_close,
    .begin = pg_begin,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .in_transaction = pg_in_transaction,
    .script = pg_script,
    .migrate_begin = pg_migrate_begin,
    .migrate_end = pg_migrate_end,
    .prepare = pg_prepare,
    .unprepare = pg_unprepare,
    .run = pg_run,
    .step = pg_step,
    .finish_exec = pg_finish_exec,
    .reset = pg_reset,
    .is_null = pg_is_null,
    .get_int = pg_get_int,
    .get_double = pg_get_double,
    .get_bytes = pg_get_bytes,
};
