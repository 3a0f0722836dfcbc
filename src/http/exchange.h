/* http/exchange.h: what server.c, exchange.c and upgrade.c share of one request and its reply.
 *
 * An exchange has two holders: libmicrohttpd, from the request's first line until the reply is sent or the client is
 * gone; and the handler, from its call until exchange_reply or exchange_upgrade. `phase` says who may do what; each
 * move is one compare-and-swap, so that a reply from another thread may come at any instant:
 *
 *   READING    the body arrives; the handler has not been called
 *   HANDLED    the handler has it and the connection is not suspended (yet)
 *   SUSPENDED  the handler keeps it; whoever moves it on resumes the connection
 *   REPLIED    `reply` is filled; it is libmicrohttpd's alone
 *   ABANDONED  the server stops and answers 503 in the handler's place; both still hold it
 *   ORPHANED   as ABANDONED, and libmicrohttpd has let go: the handler's reply frees it
 */
#pragma once
#include "base/str.h"
#include "http/server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum phase { PHASE_READING, PHASE_HANDLED, PHASE_SUSPENDED, PHASE_REPLIED, PHASE_ABANDONED, PHASE_ORPHANED };

struct header {
    Str name, value;
};

struct reply {
    int status;
    const char *content_type;
    struct buf body;
    VEC(struct header) headers;
    struct ws *socket; /* not NULL: the reply is a switch to WebSocket, and this is to be its end */
};

struct exchange {
    struct http_server *server;
    struct http_worker *worker;
    struct MHD_Connection *connection;
    struct arena *arena;
    _Atomic enum phase phase;
    Str method, path, query;
    struct header *headers;
    size_t header_count;
    struct buf body;
    uint64_t received; /* bytes of the body, also of one that is thrown away */
    bool http_1_1;
    bool head_seen;    /* the request's headers were looked at */
    int refused;       /* the status that it gets without the handler's being called; 0: none */
    Dur started, handed; /* monotonic: its first line came; the handler was called, 0: not yet */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
    struct reply reply;
    void *data;
    struct exchange *next, *prev; /* among the worker's live ones, or its spare ones */
};

/* A daemon of libmicrohttpd's and its one thread, with exchanges of its own. */
struct http_worker {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    _Atomic size_t connections;
    pthread_mutex_t lock;   /* over the lists: the thread's own but for http_server_stop */
    pthread_cond_t changed; /* no request is under way any more */
    struct exchange *live;
    size_t live_count;
    struct exchange *spare;
    size_t spare_count;
};

struct http_server {
    struct http_options o;
    struct http_worker *workers;
    size_t worker_count;
    pthread_t acceptor;
    int listen_fd;
    int port;
    struct tls_front *tls; /* NULL: none */
    _Atomic size_t refs;     /* the owner's, and one for each exchange without a reply and each WebSocket */
    _Atomic size_t inside; /* threads not of libmicrohttpd's in a call of it; its daemons outlive that */
    _Atomic size_t sockets; /* WebSockets that came from here */
    _Atomic bool quiet;     /* no new connections; replies close theirs */
    bool started;
    _Atomic bool closing;   /* the grace is over */
    char complaint[200];    /* libmicrohttpd's, when it does not start */
};

/* Tells who counts replies. */
void exchange_tell(struct exchange *x, int status);
/* Hands the reply over; wakes the connection if it sleeps. */
void exchange_done(struct exchange *x);

/* The response that makes a WebSocket of x->reply.socket once it is sent. */
struct MHD_Response *upgrade_response(void);
/* The socket that the reply was to open will not be: its handler hears of it. */
void exchange_drop_socket(struct exchange *x);
/* Closes the server's WebSockets (1012). Any thread. */
void server_close_sockets(struct http_server *s);
void server_lose_socket(struct http_server *s);
