/* http/ws.h: one WebSocket (RFC 6455) on a loop: framing by wslay, messages whole, text only.
 *
 * Everything runs on the loop's thread. The server's end comes from exchange_upgrade, the client's from
 * ws_connect. The other side's pings are answered in order, that is after the messages before them were handed over;
 * a handler that must first make those durable takes over `ping` and answers with ws_pong when it is done.
 * What is sent in one turn of the loop leaves together at its end. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

struct ws;

/* `closed` comes exactly once for each exchange_upgrade and ws_connect, also where `open` never did. Its code is the
 * one sent first, by either side; 1005 where the other side gave none; 1006 where the connection broke or was
 * never made. Lives as long as its sockets. */
struct ws_handler {
    void (*open)(struct ws *w, void *user);
    void (*message)(struct ws *w, Str text, void *user); /* text valid during the call; UTF-8 checked */
    bool (*ping)(struct ws *w, Str payload, void *user); /* may be NULL; true: the handler will ws_pong */
    void (*closed)(struct ws *w, int code, Str reason, void *user); /* last call; w is freed after it */
};

/* Sends a text message. -1: the peer reads too slowly (more than `LIMIT_SUBSCRIBER_QUEUE` messages or 16 MB wait)
 * or the socket is closing; nothing was queued. */
NODISCARD int ws_send(struct ws *w, Str text);
void ws_pong(struct ws *w, Str payload);
/* Sends a close frame (reason cut to 123 bytes), waits up to 2 s for the other side's, then `closed` comes (never
 * inside this call). Messages that arrive meanwhile are dropped. */
void ws_close(struct ws *w, int code, const char *reason);
/* Stops handing over messages and pings, and soon reading too, so that the sender has to wait; false goes on. Allowed
 * inside `message`. A peer that goes meanwhile is noticed when reading goes on. */
void ws_pause(struct ws *w, bool paused);
size_t ws_queued(const struct ws *w); /* messages not sent yet */
void *ws_user(const struct ws *w);
struct loop *ws_loop(const struct ws *w);
/* Keep-alive: a ping where nothing came for `every`, closed with 1011 where nothing comes within `timeout` after it.
 * Default 20 s, 20 s on the server's end, off on the client's. 0 turns it off. */
void ws_keepalive(struct ws *w, Dur every, Dur timeout);

/* Client: connects to ws:// (or http://) or wss:// (https://). `headers` are "Name: value\r\n" lines or "". Comes back at once;
 * `open` follows, or `closed` with code 1006 and a reason (for a refused upgrade "HTTP 404"). Any thread. -1 where the
 * URL or the headers are wrong; then nothing follows. */
NODISCARD int ws_connect(struct loop *l, Str url, const char *subprotocol, Str headers,
                         const struct ws_handler *h, void *user, struct err *err);
/* For wss://: certificates to trust besides the system's (PEM text; "" for none), or to check none at all. For the
 * whole process; before the first ws_connect. */
NODISCARD int ws_trust(Str pem, bool insecure, struct err *err);
