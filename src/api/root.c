/* What says that the server is there, and which. */
#include "api/handlers.h"
#include "api/server.h"

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
