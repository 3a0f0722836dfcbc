/* A WebSocket's life on its loop: reading, the queue of what is to be sent, closing, keep-alive. */
#include "http/ws.h"

#include "base/limits.h"
#include "http/ws_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_BYTES ((size_t)16 << 20)
/* Pongs and the like that may wait; past it nothing is read until they are sent. */
#define QUEUE_CONTROLS 64
#define CLOSE_WAIT_MS 2000
#define KEEPALIVE_MS 20000
#define DIAL_MS 30000
#define READ_ROUNDS 4

struct hub {
    struct loop *loop;
    struct ws *sockets;
    struct ws *dirty;
    struct ws_writer *plain, *masked;
    uv_prepare_t before_sleep;
    char scratch[64 << 10];
};

static _Thread_local struct hub *hub; /* a loop is a thread */

static uint64_t now_ms(const struct ws *w)
{
    return uv_now(loop_uv(w->loop));
}

/* Looked at before the loop sleeps. */
static void mark(struct ws *w)
{
    if (w->dirty || !w->hub || w->state == WS_CLOSED)
        return;
    w->dirty = true;
    w->next_dirty = w->hub->dirty;
    w->hub->dirty = w;
}

static void set_end(struct ws *w, int code, Str reason)
{
    if (w->code)
        return;
    w->code = code;
    size_t n = MIN(reason.n, sizeof w->reason - 1);
    while (n && n < reason.n && ((uint8_t)reason.p[n] & 0xc0) == 0x80)
        n--;
    if (n)
        memcpy(w->reason, reason.p, n);
    w->reason[n] = 0;
}

void ws_break(struct ws *w, int code, const char *fmt, ...)
{
    char reason[sizeof w->reason];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    set_end(w, code, str_of(reason));
    w->broken = true;
    mark(w);
}

static void out_clear(struct ws *w)
{
    for (struct out *o = w->out, *next; o; o = next) {
        next = o->next;
        free(o);
    }
    w->out = NULL;
    w->out_end = &w->out;
    w->out_bytes = w->out_messages = w->out_controls = 0;
}

void ws_unhold(struct ws *w)
{
    if (--w->pending)
        return;
    dial_free(w);
    free(w);
}

static void on_handle_closed(uv_handle_t *h)
{
    ws_unhold(h->data);
}

static void unmark(struct ws *w)
{
    for (struct ws **at = &w->hub->dirty; w->dirty && *at; at = &(*at)->next_dirty) {
        if (*at == w) {
            *at = w->next_dirty;
            break;
        }
    }
    w->dirty = false;
}

/* The end: the socket goes, `closed` is called, the memory goes once libuv has let go of it. */
static void finish(struct ws *w)
{
    w->state = WS_CLOSED;
    unmark(w);
    if (w->prev)
        w->prev->next = w->next;
    else
        w->hub->sockets = w->next;
    if (w->next)
        w->next->prev = w->prev;
    if (w->has_poll) {
        w->pending++;
        uv_close((uv_handle_t *)&w->poll, on_handle_closed);
    }
    if (w->has_timer) {
        w->pending++;
        uv_close((uv_handle_t *)&w->timer, on_handle_closed);
    }
    w->release(w);
    set_end(w, 1006, STR("the connection broke"));
    w->h->closed(w, w->code, str_of(w->reason), w->user);
    out_clear(w);
    ws_reader_clear(&w->in);
    buf_free(&w->held);
    ws_unhold(w);
}

static void start_timer(struct ws *w, uint64_t ms);

static void push(struct ws *w, int opcode, Str payload)
{
    struct out *o = malloc(sizeof *o + WS_HEAD_MAX + payload.n);
    if (!o)
        die("out of memory: a frame of %zu bytes", payload.n);
    *o = (struct out){.opcode = opcode};
    o->n = ws_frame(w->client ? w->hub->masked : w->hub->plain, opcode, payload, o->data);
    *w->out_end = o;
    w->out_end = &o->next;
    w->out_bytes += o->n;
    if (opcode == WS_TEXT)
        w->out_messages++;
    else
        w->out_controls++;
    mark(w);
}

static ssize_t send_some(struct ws *w)
{
    if (w->tls)
        return tls_write(w, w->out->data + w->out->sent, w->out->n - w->out->sent);
    struct iovec v[64];
    size_t n = 0;
    for (struct out *o = w->out; o && n < COUNT_OF(v); o = o->next)
        v[n++] = (struct iovec){o->data + o->sent, o->n - o->sent};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
    return sendmsg(w->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void flush(struct ws *w)
{
    w->blocked = false;
    while (w->out && !w->broken) {
        ssize_t n = send_some(w);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            w->blocked = true;
            return;
        }
        if (n < 0) {
            ws_break(w, 1006, "the connection broke: %s", strerror(errno));
            return;
        }
        for (size_t left = (size_t)n; left;) {
            struct out *o = w->out;
            size_t part = MIN(left, o->n - o->sent);
            left -= part;
            o->sent += part;
            if (o->sent < o->n)
                break;
            w->out = o->next;
            if (!w->out)
                w->out_end = &w->out;
            w->out_bytes -= o->n;
            if (o->opcode == WS_TEXT)
                w->out_messages--;
            else
                w->out_controls--;
            free(o);
        }
    }
}

/* Queues the one close frame that we send. */
static void push_close(struct ws *w, int code, Str reason)
{
    char payload[WS_CONTROL_MAX];
    push(w, WS_CLOSE, ws_close_payload(code, reason, payload));
    w->state = WS_CLOSING;
    start_timer(w, CLOSE_WAIT_MS);
}

/* The peer broke the rules: it is told, and what it says from now on is not heard. */
static void fail(struct ws *w, int code)
{
    const char *why = code == 1003   ? "only text messages are taken"
                      : code == 1007 ? "not valid UTF-8"
                      : code == 1009 ? "the message is too long"
                                     : "the protocol was broken";
    w->deaf = true;
    buf_free(&w->held);
    ws_reader_clear(&w->in);
    if (w->state != WS_OPEN)
        return;
    set_end(w, code, str_of(why));
    push_close(w, code, str_of(why));
}

static void on_text(void *user, Str text)
{
    struct ws *w = user;
    if (w->state == WS_OPEN)
        w->h->message(w, text, w->user);
    w->in.stop = w->paused;
}

static void on_control(void *user, int opcode, Str payload)
{
    struct ws *w = user;
    int code;
    Str reason;
    switch (opcode) {
    case WS_PING:
        if (w->state == WS_OPEN && !(w->h->ping && w->h->ping(w, payload, w->user)))
            ws_pong(w, payload);
        w->in.stop = w->paused;
        break;
    case WS_CLOSE:
        w->in.stop = w->deaf = w->peer_done = true;
        if (w->state != WS_OPEN) {
            mark(w);
        } else if (ws_close_parse(payload, &code, &reason)) {
            set_end(w, code, reason);
            push_close(w, code, STR(""));
        } else {
            fail(w, code);
        }
        break;
    default: /* a pong: that it came is enough */
        break;
    }
}

/* Hands over what was read, as far as the handler takes it. */
static void take(struct ws *w, Str text)
{
    int code = ws_reader_feed(&w->in, &text);
    if (code)
        fail(w, code);
    else if (text.n && !w->deaf)
        buf_put(&w->held, text.p, text.n);
}

ssize_t ws_read(struct ws *w, void *p, size_t n)
{
    return w->tls ? tls_read(w, p, n) : recv(w->fd, p, n, MSG_DONTWAIT);
}

ssize_t ws_write(struct ws *w, const void *p, size_t n)
{
    return w->tls ? tls_write(w, p, n) : send(w->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool may_read(const struct ws *w)
{
    return w->deaf || (!w->paused && (w->out_controls < QUEUE_CONTROLS || !w->blocked));
}

static void read_some(struct ws *w)
{
    size_t room = sizeof w->hub->scratch;
    /* GnuTLS may hold bytes that poll knows nothing of: they are read to the end. */
    for (int i = 0; (i < READ_ROUNDS || w->tls) && may_read(w) && !w->broken; i++) {
        ssize_t n = ws_read(w, w->hub->scratch, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            ws_break(w, 1006, "the connection broke: %s", strerror(errno));
            return;
        }
        if (n == 0) {
            ws_break(w, 1006, "the other side closed the connection");
            return;
        }
        w->seen = now_ms(w);
        if (!w->deaf)
            take(w, (Str){w->hub->scratch, (size_t)n});
        if (w->out_controls >= QUEUE_CONTROLS)
            flush(w);
        if ((size_t)n < room && !w->tls)
            return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ws *w = poll->data;
    if (status < 0) { /* libuv has stopped polling; the call that fails says why */
        events = UV_READABLE | UV_WRITABLE;
        w->events = 0;
    }
    if (w->state == WS_DIALING) {
        dial_event(w, events);
    } else {
        if (events & UV_WRITABLE)
            flush(w);
        if (events & UV_READABLE)
            read_some(w);
        if (status < 0 && !w->broken)
            ws_break(w, 1006, "the connection broke");
    }
    ws_settle(w);
}

void ws_wait_for(struct ws *w, int events)
{
    if (!w->has_poll || w->events == events)
        return;
    w->events = events;
    if (events)
        uv_poll_start(&w->poll, events, on_poll);
    else
        uv_poll_stop(&w->poll);
}

void ws_watch(struct ws *w)
{
    int r = uv_poll_init(loop_uv(w->loop), &w->poll, w->fd);
    if (r < 0) {
        ws_break(w, 1006, "the socket cannot be watched: %s", uv_strerror(r));
        return;
    }
    w->poll.data = w;
    w->has_poll = true;
    w->events = 0;
}

/* An open socket after an event. */
static void settle_open(struct ws *w)
{
    /* What a pause left over goes first. */
    while ((w->held.n || w->in.stop) && !w->paused && !w->deaf && !w->broken) {
        struct buf held = w->held;
        w->held = BUF(held.max);
        take(w, buf_view(&held));
        buf_free(&held);
    }
    if (w->state == WS_CLOSING && !w->out && !w->client) {
        /* The server hangs up first (the client waits for that): at once where both are done; else it lets the
         * other side read our close frame before a reset could overtake it. */
        if (w->peer_done)
            w->broken = true;
        else if (w->deaf)
            shutdown(w->fd, SHUT_WR);
    }
    if (!w->broken)
        ws_wait_for(w, (may_read(w) ? UV_READABLE : 0) | (w->blocked ? UV_WRITABLE : 0));
}

void ws_settle(struct ws *w)
{
    if (!w->broken && (w->state == WS_OPEN || w->state == WS_CLOSING))
        settle_open(w);
    if (w->broken && w->state != WS_CLOSED)
        finish(w);
}

static void on_before_sleep(uv_prepare_t *prepare)
{
    struct hub *here = prepare->data;
    while (here->dirty) {
        struct ws *w = here->dirty;
        here->dirty = w->next_dirty;
        w->dirty = false;
        if (!w->blocked && w->state != WS_DIALING)
            flush(w);
        ws_settle(w);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct ws *w = timer->data;
    uint64_t now = now_ms(w);
    if (w->state == WS_DIALING) {
        ws_break(w, 1006, "no connection within %d s", DIAL_MS / 1000);
    } else if (w->state == WS_CLOSING) {
        w->broken = true;
    } else if (w->pinged && w->seen < w->ping_at && !w->paused) {
        set_end(w, 1011, STR("no answer to a ping"));
        push_close(w, 1011, STR("no answer to a ping"));
    } else if (now < w->seen + w->every) {
        w->pinged = false;
        start_timer(w, w->seen + w->every - now);
    } else {
        w->pinged = true;
        w->ping_at = now;
        push(w, WS_PING, STR(""));
        start_timer(w, w->timeout);
    }
    ws_settle(w);
}

static void start_timer(struct ws *w, uint64_t ms)
{
    uv_timer_start(&w->timer, on_timer, ms, 0);
}

static void on_hub_closed(uv_handle_t *h)
{
    free(h->data);
}

static void hub_end(void *arg)
{
    struct hub *here = arg;
    while (here->sockets) {
        set_end(here->sockets, 1001, STR("the program ends"));
        finish(here->sockets);
    }
    ws_writer_free(here->plain);
    ws_writer_free(here->masked);
    uv_close((uv_handle_t *)&here->before_sleep, on_hub_closed);
    hub = NULL;
}

void ws_attach(struct ws *w)
{
    if (!hub) {
        hub = calloc(1, sizeof *hub);
        if (!hub)
            die("out of memory");
        hub->loop = w->loop;
        hub->plain = ws_writer_create(false);
        hub->masked = ws_writer_create(true);
        uv_prepare_init(loop_uv(w->loop), &hub->before_sleep);
        hub->before_sleep.data = hub;
        uv_prepare_start(&hub->before_sleep, on_before_sleep);
        loop_at_end(w->loop, hub_end, hub);
    }
    w->hub = hub;
    w->next = hub->sockets;
    if (hub->sockets)
        hub->sockets->prev = w;
    hub->sockets = w;
    uv_timer_init(loop_uv(w->loop), &w->timer);
    w->timer.data = w;
    w->has_timer = true;
    if (w->client) {
        w->state = WS_DIALING;
        start_timer(w, DIAL_MS);
    }
}

void ws_begin(struct ws *w, Str early)
{
    w->state = WS_OPEN;
    w->seen = now_ms(w);
    if (w->every)
        start_timer(w, w->every);
    else
        uv_timer_stop(&w->timer);
    w->h->open(w, w->user);
    if (early.n && w->paused)
        buf_put(&w->held, early.p, early.n);
    else if (early.n)
        take(w, early);
    if (w->tls) /* poll does not know what GnuTLS has read */
        read_some(w);
}

struct ws *ws_create(struct loop *l, const struct ws_handler *h, void *user, bool client)
{
    struct ws *w = calloc(1, sizeof *w);
    if (!w)
        die("out of memory");
    *w = (struct ws){.loop = l, .h = h, .user = user, .client = client, .fd = -1, .out_end = &w->out};
    w->pending = 1; /* until finish */
    w->held = BUF(LIMIT_FRAME * 2);
    w->in = (struct ws_reader){.masked = !client, .text = on_text, .control = on_control, .user = w};
    w->every = client ? 0 : KEEPALIVE_MS;
    w->timeout = KEEPALIVE_MS;
    return w;
}

struct owned {
    struct loop *loop;
    const void *owner;
    int code;
    const char *reason;
};

static void close_owned(void *arg)
{
    struct owned *o = arg;
    for (struct ws *w = hub ? hub->sockets : NULL; w; w = w->next)
        if (w->owner == o->owner)
            ws_close(w, o->code, o->reason);
    free(o);
}

void ws_close_owned(struct loop *l, const void *owner, int code, const char *reason)
{
    struct owned *o = malloc(sizeof *o);
    if (!o)
        die("out of memory");
    *o = (struct owned){l, owner, code, reason};
    loop_post(l, close_owned, o);
}

int ws_send(struct ws *w, Str text)
{
    if (w->state != WS_OPEN || w->broken)
        return -1;
    bool full = w->out_messages >= LIMIT_SUBSCRIBER_QUEUE || w->out_bytes + text.n > QUEUE_BYTES;
    if (full && !w->blocked) { /* the peer had no chance to read it */
        flush(w);
        full = w->out_messages >= LIMIT_SUBSCRIBER_QUEUE || w->out_bytes + text.n > QUEUE_BYTES;
    }
    if (full || w->broken)
        return -1;
    push(w, WS_TEXT, text);
    return 0;
}

void ws_pong(struct ws *w, Str payload)
{
    if (w->state == WS_OPEN)
        push(w, WS_PONG, str_sub(payload, 0, WS_CONTROL_MAX));
}

void ws_close(struct ws *w, int code, const char *reason)
{
    if (w->state == WS_DIALING) {
        ws_break(w, code, "%s", reason ? reason : "");
    } else if (w->state == WS_OPEN) {
        set_end(w, code, reason ? str_of(reason) : STR(""));
        push_close(w, code, reason ? str_of(reason) : STR(""));
    }
}

void ws_pause(struct ws *w, bool paused)
{
    w->paused = paused;
    mark(w);
}

size_t ws_queued(const struct ws *w)
{
    return w->out_messages;
}

void *ws_user(const struct ws *w)
{
    return w->user;
}

struct loop *ws_loop(const struct ws *w)
{
    return w->loop;
}

void ws_keepalive(struct ws *w, Dur every, Dur timeout)
{
    w->every = (uint64_t)(every > 0 ? MAX(every / MSEC, 1) : 0);
    w->timeout = (uint64_t)MAX(timeout / MSEC, 1);
    w->pinged = false;
    if (w->state != WS_OPEN)
        return;
    if (w->every)
        start_timer(w, w->every);
    else
        uv_timer_stop(&w->timer);
}
