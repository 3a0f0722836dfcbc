/* api/call.h: what a handler gets: a request, an open connection, and a reply to fill.
 *
 * A handler is a plain function `int flows_create(struct call *c, struct err *err)`: it reads top to bottom, may
 * block on SQL, never sees a socket. 0: c->status and c->out are the answer; -1: *err is, its code's status and
 * {"detail": text} (or {"exception_message": text} where c->exception_shape is set). It may be run again after a lost
 * transaction (PostgreSQL), with c->out, c->outbox and c->status as new. */
#pragma once
#include "api/bodies.h"
#include "api/server_main.h"
#include "http/server.h"
#include "model/filter.h"
#include "services/workspace.h"

enum call_kind {
    INLINE, /* no database: on the HTTP thread */
    READ_,  /* cheap read: the HTTP thread's own connection (SQLite) */
    HEAVY,  /* filter, count, history: reader pool */
    WRITE,  /* the records' writer */
    LOGS_READ,  /* as HEAVY, on the telemetry database */
    LOGS_WRITE, /* the telemetry database's writer */
    LATER,  /* on the HTTP thread, without a connection: the handler keeps the call and ends it with call_finish, once, from
             * any thread; -1 answers at once instead */
    SOCKET, /* a WebSocket: the handler upgrades (exchange_upgrade) or refuses; c->conn is NULL */
};

struct route;

struct call {
    struct arena *a;       /* lives until the reply is sent */
    struct exchange *x;
    struct server *server; /* what all workspaces share: settings, metrics */
    struct workspace *ws;
    const struct route *route;
    struct conn *conn;
    Time now;
    struct client_info client;
    Str params[4];         /* decoded path segments, in the order of the path's {names} */
    Uuid id;               /* params[0], where the segment is {id} or ends in _id} (checked: else 404) */
    const struct json *body; /* NULL where none was sent */
    struct violations violations; /* what is wrong with the body: any entry makes the answer a 422 */
    int status;            /* the route's, unless set */
    struct buf out;
    struct jw w;           /* on `out` */
    const char *content_type; /* "application/json" */
    struct outbox outbox;
    bool exception_shape;
    const struct listing *listed; /* what list.c is printing rows of */
    double retry_after;    /* seconds; >= 0: a Retry-After header */
};

typedef int call_handler(struct call *c, struct err *err);

struct route {
    const char *method;
    const char *path; /* below the API's base, "{name}" for a segment */
    enum call_kind kind;
    int status;
    call_handler *handler;
    struct asks asks;
    struct answers answers;
};
extern const struct route routes[];
extern const size_t route_count;

/* -1 where violations were gathered: `if (call_invalid(c, err)) return -1;` after parsing. */
int call_invalid(struct call *c, struct err *err);
/* A body that must be an object, parsed for the view that its route says: record_init, record_parse; call_parse: call_invalid too. */
void call_read(struct call *c, const struct resource *r, int view, void *rec);
NODISCARD int call_parse(struct call *c, const struct resource *r, int view, void *rec, struct err *err);
/* Values of the route's keys, in the body or the query, that asks_check has checked: a key of another name or type than the route's rows
 * say ends the program. Absent or null: the row's default; where it has none, INT_NONE, false, STR_NONE, NaN, `dflt`, the nil UUID, no items. */
int64_t call_int(struct call *c, const char *key);
bool call_bool(struct call *c, const char *key);
Str call_str(struct call *c, const char *key);
double call_double(struct call *c, const char *key);
Dur call_dur(struct call *c, const char *key);
Time call_time(struct call *c, const char *key, Time dflt);
Uuid call_uuid(struct call *c, const char *key);
Uuid *call_uuids(struct call *c, const char *key, size_t *ret_n);
Str *call_strs(struct call *c, const char *key, size_t *ret_n);
bool call_asks(const struct call *c, const char *key); /* it has such a key */
/* A whole object or list; NULL where absent or null. */
const struct json *call_json(struct call *c, const char *key);
/* limit (default and cap LIMIT_PAGE) and offset of the body; too large or negative: 422 with a `detail` sentence. */
NODISCARD int call_page(struct call *c, int64_t *ret_limit, int64_t *ret_offset, struct err *err);
/* {"results", "count", "limit", "pages", "page"} routes. */
NODISCARD int call_page_number(struct call *c, int64_t *ret_limit, int64_t *ret_page, struct err *err);

/* Ends a call of kind LATER: with its answer (err NULL), which is its status and what is in c->out, or with an error. */
void call_finish(struct call *c, const struct err *err);

/* Answers. */
int call_null(struct call *c);                /* body `null` */
int call_empty(struct call *c, int status);   /* 204 */
int call_not_found(struct err *err, const char *what); /* "<what> not found" */

/* One orchestration of this call, on its connection, outbox and clock. */
struct orchestration call_orchestration(struct call *c, enum policy policy, bool force);
