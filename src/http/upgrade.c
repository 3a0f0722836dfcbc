/* From an exchange to the server's end of a WebSocket. */
#include "http/exchange.h"
#include "http/ws_int.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <unistd.h>

/* Whether `token` is in one of the comma-separated lists of the headers of this name. */
static bool header_has(const struct exchange *x, Str name, Str token, bool any_case)
{
    for (size_t i = 0; i < x->header_count; i++) {
        if (!str_ieq(x->headers[i].name, name))
            continue;
        for (Str list = x->headers[i].value, part; str_cut(&list, ',', &part);) {
            part = str_trim(part);
            if (any_case ? str_ieq(part, token) : str_eq(part, token))
                return true;
        }
    }
    return false;
}

bool exchange_is_upgrade(const struct exchange *x)
{
    return header_has(x, STR("upgrade"), STR("websocket"), true);
}

bool exchange_offers(const struct exchange *x, const char *subprotocol)
{
    return header_has(x, STR("sec-websocket-protocol"), str_of(subprotocol), false);
}

static bool key_ok(Str key)
{
    struct base64_decode_ctx c;
    uint8_t nonce[BASE64_DECODE_LENGTH(24)];
    size_t n = 0;
    base64_decode_init(&c);
    return key.n == 24 && base64_decode_update(&c, &n, nonce, key.n, key.p) && base64_decode_final(&c) && n == 16;
}

static void release(struct ws *w)
{
    if (w->fd >= 0)
        close(w->fd);
    server_lose_socket(w->release_arg);
}

static void release_nothing(struct ws *w)
{
    UNUSED(w);
}

static void on_loop(void *arg)
{
    struct ws *w = arg;
    ws_attach(w);
    if (!w->broken)
        ws_watch(w);
    struct buf early = w->held;
    w->held = BUF(early.max);
    if (!w->broken)
        ws_begin(w, buf_view(&early));
    buf_free(&early);
    ws_settle(w);
}

/* The 101 has left: we go on with a duplicate of the socket, and libmicrohttpd forgets the connection with all its
 * memory. */
static void on_upgrade(void *cls, struct MHD_Connection *connection, void *context, const char *early, size_t early_n,
                       MHD_socket fd, struct MHD_UpgradeResponseHandle *handle)
{
    struct exchange *x = context;
    struct http_server *s = x->server;
    struct ws *w = TAKE(x->reply.socket);
    int on = 1;
    atomic_fetch_add(&s->sockets, 1);
    atomic_fetch_add(&s->refs, 1);
    w->owner = w->release_arg = s;
    w->release = release;
    w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    w->broken = w->fd < 0;
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    buf_put(&w->held, early, early_n);
    loop_post(w->loop, on_loop, w);
    if (atomic_load(&s->quiet))
        server_close_sockets(s);
}

void exchange_drop_socket(struct exchange *x)
{
    struct ws *w = TAKE(x->reply.socket);
    if (!w)
        return;
    w->broken = true;
    loop_post(w->loop, on_loop, w);
}

struct MHD_Response *upgrade_response(void)
{
    return MHD_create_response_for_upgrade(on_upgrade, NULL);
}

void server_close_sockets(struct http_server *s)
{
    if (s->o.loop)
        ws_close_owned(s->o.loop, s, 1012, "the server stops");
}

static void refuse(struct exchange *x, int status, const char *message)
{
    AUTO(buf_free) struct buf b = BUF(512);
    buf_fmt(&b, "{\"exception_message\":\"%s\"}", message);
    if (status == 426) {
        exchange_add_header(x, "Upgrade", STR("websocket"));
        exchange_add_header(x, "Sec-WebSocket-Version", STR("13"));
    }
    exchange_drop_socket(x);
    exchange_reply(x, status, "application/json", &b);
}

void exchange_upgrade(struct exchange *x, const char *subprotocol, const struct ws_handler *h, void *user)
{
    if (!x->server->o.loop)
        die("exchange_upgrade: the server was started without a loop");
    struct ws *w = ws_create(x->server->o.loop, h, user, /* client= */ false);
    w->release = release_nothing;
    x->reply.socket = w;
    Str key = exchange_header(x, "sec-websocket-key");
    if (!exchange_is_upgrade(x) || !header_has(x, STR("connection"), STR("upgrade"), true))
        refuse(x, 426, "This path is a WebSocket.");
    else if (!str_eq(exchange_header(x, "sec-websocket-version"), STR("13")))
        refuse(x, 426, "Only version 13 of the WebSocket protocol is spoken.");
    else if (!str_eq(x->method, STR("GET")) || !key_ok(key) || x->body.n || !x->http_1_1)
        refuse(x, 400, "The WebSocket handshake is malformed.");
    else {
        exchange_add_header(x, "Upgrade", STR("websocket"));
        exchange_add_header(x, "Sec-WebSocket-Accept", str_of(ws_accept(key).s));
        if (subprotocol)
            exchange_add_header(x, "Sec-WebSocket-Protocol", str_of(subprotocol));
        x->reply.status = MHD_HTTP_SWITCHING_PROTOCOLS;
        exchange_tell(x, MHD_HTTP_SWITCHING_PROTOCOLS);
        exchange_done(x);
    }
}
