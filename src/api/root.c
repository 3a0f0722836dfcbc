/* What says that the server is there, and which. */
#include "api/handlers.h"
#include "api/server.h"
#include "services/alarms.h"

#include <pthread.h>
#include <sodium.h>

int root_health(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_bool(&c->w, true);
    return 0;
}

/* A service that is this late, has been at one tick, or has failed for this long, is not alive. */
#define SERVICE_BOUND (30 * SEC)

/* The parts that do not work, as a JSON list; `database`: whether it answered. */
static void ready_answer(struct call *c, bool database)
{
    bool draining = __atomic_load_n(&c->server->draining, __ATOMIC_RELAXED);
    struct buf failing = BUF((size_t)4096);
    struct jw w = jw_on(&failing);
    const char *message = !database ? "Database is not available" : draining ? "The server is stopping" : NULL;
    jw_array(&w);
    if (!database)
        jw_z(&w, "database");
    if (draining)
        jw_z(&w, "draining");
    for (int i = 0; i < ALARM_COUNT; i++) {
        struct alarm_stats s = alarms_stats(c->ws->alarms, (enum alarm)i);
        if (s.overdue < SERVICE_BOUND && s.failing < SERVICE_BOUND)
            continue;
        jw_z(&w, services[i].name);
        message = message ? message : "A service of the server does not run";
    }
    jw_end(&w);
    c->status = message ? 503 : 200;
    jw_object(&c->w);
    jw_kz(&c->w, "message", message ? message : "OK");
    if (message)
        jw_kraw(&c->w, "failing", buf_view(&failing));
    jw_end(&c->w);
    buf_free(&failing);
    call_finish(c, NULL);
}

static int ready_work(struct conn *conn, void *arg, struct err *err)
{
    UNUSED(arg);
    int64_t one;
    return db_get_int(conn, err, &one, "SELECT 1", "") == 1 ? 0 : -1;
}

static void ready_done(void *arg, const struct err *err)
{
    ready_answer(arg, !err);
}

static bool is_stuck(const struct call *c)
{
    for (int i = 0; i < ALARM_COUNT; i++)
        if (alarms_stats(c->ws->alarms, (enum alarm)i).overdue >= SERVICE_BOUND)
            return true;
    return false;
}

/* A database that does not answer at all shows in the services, whose ticks are writes of it, and is not waited for; nor is a full queue. */
int root_ready(struct call *c, struct err *err)
{
    if (is_stuck(c))
        ready_answer(c, true);
    else if (db_kind(c->ws->db) == DB_SQLITE)
        ready_answer(c, db_read_here(c->ws->db, ready_work, c, err) == 0 && db_read_here(c->ws->telemetry, ready_work, c, err) == 0);
    else if (db_read(c->ws->db, ready_work, ready_done, c, err) < 0)
        ready_answer(c, false);
    return 0;
}

int root_hello(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_z(&c->w, "\xf0\x9f\x91\x8b");
    return 0;
}

/* Version of the published API; both client generations send the same. */
int root_version(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_z(&c->w, "0.8.4");
    return 0;
}

/* 3.x clients refuse another major version than theirs, and warn of a lower one. */
int admin_version(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_z(&c->w, "3.8.8");
    return 0;
}

int millpond_version(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_z(&c->w, MILLPOND_VERSION);
    return 0;
}

/* ---- the API's description ---- */

/* Made by openapi_document.c when the program is built; a program without it (that one itself, tests) has none. */
extern const char openapi_text[] __attribute__((weak)), openapi_text_end[] __attribute__((weak));

static char openapi_tag[2 * 16 + 3]; /* "hash" */

static void make_openapi_tag(void)
{
    unsigned char hash[16];
    crypto_generichash(hash, sizeof hash, (const unsigned char *)openapi_text, (size_t)(openapi_text_end - openapi_text), NULL, 0);
    openapi_tag[0] = '"';
    sodium_bin2hex(openapi_tag + 1, sizeof openapi_tag - 1, hash, sizeof hash);
    openapi_tag[sizeof openapi_tag - 2] = '"';
}

int openapi_read(struct call *c, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!openapi_text)
        return call_not_found(err, "The API's description");
    pthread_once(&once, make_openapi_tag);
    exchange_add_header(c->x, "ETag", str_of(openapi_tag));
    if (str_eqz(exchange_header(c->x, "If-None-Match"), openapi_tag))
        return call_empty(c, 304);
    buf_put(&c->out, openapi_text, (size_t)(openapi_text_end - openapi_text));
    return 0;
}
