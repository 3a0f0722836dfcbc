/* http/ws_int.h: what ws.c, ws_connect.c and upgrade.c share of a WebSocket. */
#pragma once
#include "http/ws.h"
#include "http/ws_frames.h"

#include <uv.h>

enum ws_state {
    WS_NEW,     /* not on the loop yet */
    WS_DIALING, /* the client's end, up to the server's 101 */
    WS_OPEN,
    WS_CLOSING, /* one side has sent, or queued, a close frame */
    WS_CLOSED,
};

struct hub;  /* what the sockets of one loop share */
struct dial; /* ws_connect.c: the way to WS_OPEN */

/* A frame to send. */
struct out {
    struct out *next;
    size_t n, sent;
    int opcode;
    char data[];
};

struct ws {
    struct loop *loop;
    struct hub *hub;
    struct ws *next, *prev;
    struct ws *next_dirty;
    const struct ws_handler *h;
    void *user;
    enum ws_state state;
    bool client;
    bool dirty;      /* on the hub's list of those that are looked at before the loop sleeps */
    bool broken;     /* to be finished */
    bool peer_done;  /* its close frame came */
    bool deaf;       /* what still comes is thrown away */
    bool blocked;    /* the kernel takes no more for now */
    bool paused;
    bool pinged;     /* and nothing has come since */
    bool has_poll, has_timer;
    uint8_t pending; /* callbacks of libuv that must come before the memory may go */
    int events;      /* what poll waits for */
    int fd;
    void *tls; /* gnutls_session_t of a wss:// client */
    struct dial *dial;
    void (*release)(struct ws *w); /* closes fd */
    void *release_arg;
    const void *owner; /* the server it came from */
    struct out *out, **out_end;
    size_t out_bytes, out_messages, out_controls;
    struct buf held; /* read, and not to be handed over yet */
    struct ws_reader in;
    uv_poll_t poll;
    uv_timer_t timer;
    uint64_t every, timeout, seen, ping_at; /* ms of the loop's clock */
    int code;
    char reason[WS_CONTROL_MAX - 1];
};

struct ws *ws_create(struct loop *l, const struct ws_handler *h, void *user, bool client);
/* The rest on the loop's thread. */
void ws_attach(struct ws *w);  /* to its loop's hub */
void ws_watch(struct ws *w);   /* starts poll on fd; sets broken where it cannot */
void ws_wait_for(struct ws *w, int events);
void ws_begin(struct ws *w, Str early); /* open; `early` was read already */
void ws_break(struct ws *w, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void ws_settle(struct ws *w);  /* at the end of each event: finishes what is broken or done */
void ws_unhold(struct ws *w);  /* a libuv callback counted in `pending` has come; frees the last time */
ssize_t ws_read(struct ws *w, void *p, size_t n);  /* -1 with EAGAIN, as recv */
ssize_t ws_write(struct ws *w, const void *p, size_t n);

/* ws_connect.c, called by ws.c */
void dial_event(struct ws *w, int events);
void dial_free(struct ws *w);
ssize_t tls_read(struct ws *w, void *p, size_t n);
ssize_t tls_write(struct ws *w, const void *p, size_t n);

/* Closes all that came from `owner`. Any thread. */
void ws_close_owned(struct loop *l, const void *owner, int code, const char *reason);
