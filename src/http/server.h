/* http/server.h: HTTP/1.1 on libmicrohttpd: whole requests in, one reply out, from any thread.
 *
 * The handler is called on an HTTP thread (one a core, epoll) when the whole body has arrived. It either
 * replies at once, or keeps the exchange and replies later from any thread: the connection is suspended in
 * between. Each exchange gets exactly one exchange_reply or exchange_upgrade, at any time: after the client has gone, and
 * even after http_server_stop, it is still valid. Caps of base/limits.h are kept here: too large a body 413, too many
 * connections 503; so do the answers that libmicrohttpd gives by itself (too large a head 431, what is no HTTP 400 or 505): all in
 * the API's error shape. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "http/ws.h"
#include "loop/loop.h"

struct http_server;
struct exchange;

typedef void http_handler(struct exchange *x, void *user);

struct http_options {
    Str host;      /* address or name; "127.0.0.1" */
    int port;      /* 0: any free one */
    int threads;   /* 0: one a core */
    Str tls_cert, tls_key; /* PEM texts; STR_NONE: no TLS */
    http_handler *handler;
    /* NULL, or told of each reply, on the thread that gives it: `took` since the handler was called; 0 where it was not */
    void (*replied)(struct exchange *x, int status, Dur took);
    void *user;
    struct loop *loop; /* where upgraded sockets live */
    Dur idle_timeout;  /* keep-alive and slow senders; 0: 60 s */
};

NODISCARD struct http_server *http_server_start(const struct http_options *o, struct err *err);
int http_server_port(const struct http_server *s);
/* Another certificate for TLS connections from now on (see tls_front_renew); only where there was one. */
NODISCARD int http_server_renew_tls(struct http_server *s, Str cert, Str key, struct err *err);
/* Stops accepting; exchanges under way go on. */
void http_server_quiesce(struct http_server *s);
/* Quiesces, closes the WebSockets (1012), waits up to `grace` until every exchange has its reply sent, answers 503 to
 * those that have none, closes all and frees. Not on the loop's thread; before loop_stop. */
void http_server_stop(struct http_server *s, Dur grace);
/* Exchanges that have no reply yet, and open connections. */
size_t http_server_pending(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);

/* The request; texts live as long as the exchange. */
struct arena *exchange_arena(struct exchange *x);
Str exchange_method(const struct exchange *x);
Str exchange_path(const struct exchange *x); /* as sent: percent-encoded, without the query */
Str exchange_query_text(const struct exchange *x); /* as sent, without the question mark; "" where none */
Str exchange_body(const struct exchange *x); /* "" where none */
Str exchange_header(const struct exchange *x, const char *name); /* STR_NONE where absent */
/* The decoded value of the first such key; STR_NONE where absent. */
Str exchange_query(const struct exchange *x, const char *name);
/* Of several of one key the nth, from 0. */
Str exchange_query_nth(const struct exchange *x, const char *name, size_t nth);
Str exchange_peer(struct exchange *x); /* numeric address of the other end */
/* Free use by the handler's owner (a pointer kept with the exchange). */
void exchange_set_data(struct exchange *x, void *data);
void *exchange_data(const struct exchange *x);

/* Adds a response header (before the reply). One whose value holds a line end is left out. */
void exchange_add_header(struct exchange *x, const char *name, Str value);
/* Sends the reply: `body`'s content is moved out of it, *body is left empty; NULL for none.
 * content_type NULL: no such header (204). After this call the exchange belongs to the server. */
void exchange_reply(struct exchange *x, int status, const char *content_type, struct buf *body);
/* Answers 101 to a WebSocket upgrade (checked: GET, Upgrade, Connection, Sec-WebSocket-Key, version 13; else
 * 426 or 400 is answered here) and hands the socket to the loop; `subprotocol` NULL: none is named.
 * `h->open` is called on the loop with `user`; where it comes to nothing, `h->closed` alone is (1006). Needs a loop. */
void exchange_upgrade(struct exchange *x, const char *subprotocol, const struct ws_handler *h, void *user);
bool exchange_is_upgrade(const struct exchange *x);
/* Whether the request offers this subprotocol. */
bool exchange_offers(const struct exchange *x, const char *subprotocol);
