/* http/ws.h: one WebSocket (RFC 6455) on a loop: framing by wslay, messages whole, text only.
 *
 * Everything runs on the loop's thread. The server's end comes from exchange_upgrade, the client's from
 * ws_connect. The other side's pings are answered in order, that is after the messages before them were handed over;
 * a handler that must first make those durable takes over `ping` and answers with ws_pong when it is done. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

struct ws;

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
/* Sends a close frame (reason cut to 123 bytes), waits a little for the other side's, then `closed` comes. */
void ws_close(struct ws *w, int code, const char *reason);
size_t ws_queued(const struct ws *w);
void *ws_user(const struct ws *w);
struct loop *ws_loop(const struct ws *w);
/* Keep-alive: a ping each `every`, closed with 1011 where no answer comes within `timeout`. Default 20 s, 20 s on the
 * server's end. 0 turns it off. */
void ws_keepalive(struct ws *w, Dur every, Dur timeout);

/* Client: connects to ws:// (or http://) or wss:// (https://). `headers` are "Name: value\r\n" lines or "". Comes back at once;
 * `open` follows, or `closed` with code 1006 and a reason (for a refused upgrade "HTTP 404"). Any thread. */
NODISCARD int ws_connect(struct loop *l, Str url, const char *subprotocol, Str headers,
                         const struct ws_handler *h, void *user, struct err *err);
