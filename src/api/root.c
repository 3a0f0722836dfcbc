/* What says that the server is there, and which. */
#include "api/handlers.h"
#include "api/server.h"

#include <pthread.h>
#include <sodium.h>

int root_health(struct call *c, struct err *err)
{
    UNUSED(err);
    jw_bool(&c->w, true);
    return 0;
}

/* READ: that it got here shows that the database answers. */
int root_ready(struct call *c, struct err *err)
{
    int64_t one;
    if (db_get_int(c->conn, err, &one, "SELECT 1", "") <= 0 || c->server->draining)
        c->status = 503;
    jw_object(&c->w);
    jw_kz(&c->w, "message", c->status == 503 ? "Database is not available" : "OK");
    jw_end(&c->w);
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
