/* api/socket.h: what all the API's WebSockets share: the handshake, one message at a time, and a life that work for them
 * on other threads may outlast.
 *
 * A client offers the subprotocol `prefect` and sends {"type":"auth","token":…} first; {"type":"auth_success"} answers it. One
 * that offers none is let in at once where no authentication is asked for and the kind of socket allows it. Everything
 * here runs on the loop's thread. */
#pragma once
#include "api/call.h"
#include "api/server.h"

struct socket;

struct socket_kind {
    bool strict; /* the subprotocol is a must */
    void (*ready)(struct socket *s);             /* let in; auth_success goes out after it: what is subscribed to here is not missed */
    void (*message)(struct socket *s, Str text); /* text valid during the call */
    bool (*ping)(struct socket *s, Str payload); /* may be NULL; see ws.h */
    void (*closed)(struct socket *s);            /* the peer is gone: no more sending; subscriptions end here */
    void (*freed)(void *own);                    /* the last hold is let go; may be NULL */
};

struct socket {
    const struct socket_kind *kind;
    struct server *server;
    struct workspace *workspace;
    const struct route *route;
    struct ws *ws; /* NULL once it is closed */
    void *own;     /* the kind's */
    bool let_in;
    unsigned holds;
    struct uv_timer_s *deadline; /* of the handshake; NULL when it is over */
};

/* A handler's work: upgrades, or refuses with HTTP 403. `own` goes to the socket, and is freed by `freed` in any case. */
NODISCARD int socket_open(struct call *c, const struct socket_kind *kind, void *own, struct err *err);
/* For work under way elsewhere: the struct stays, though its ws may go. */
void socket_hold(struct socket *s);
void socket_release(struct socket *s);
/* Nothing where it is closed. False: not sent, the peer reads too slowly or is gone. */
bool socket_send(struct socket *s, Str text);
void socket_close(struct socket *s, int code, const char *reason);
