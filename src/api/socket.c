#include "api/socket.h"

#include "api/metrics.h"
#include "base/limits.h"

#include <stdlib.h>
#include <uv.h>

#define HANDSHAKE_WITHIN (30 * SEC)

void socket_hold(struct socket *s)
{
    s->holds++;
}

void socket_release(struct socket *s)
{
    if (--s->holds)
        return;
    if (s->kind->freed)
        s->kind->freed(s->own);
    free(s);
}

bool socket_send(struct socket *s, Str text)
{
    return s->ws && ws_send(s->ws, text) == 0;
}

void socket_close(struct socket *s, int code, const char *reason)
{
    if (s->ws)
        ws_close(s->ws, code, reason);
}

/* ---- the handshake ---- */

static void deadline_closed(uv_handle_t *h)
{
    free(h);
}

static void end_deadline(struct socket *s)
{
    if (s->deadline)
        uv_close((uv_handle_t *)TAKE(s->deadline), deadline_closed);
}

static void on_deadline(uv_timer_t *t)
{
    struct socket *s = t->data;
    end_deadline(s);
    socket_close(s, 1008, "Expected 'auth' message");
}

static void let_in(struct socket *s)
{
    end_deadline(s);
    s->let_in = true;
    s->kind->ready(s);
}

static void authenticate(struct socket *s, Str text)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, text, &err);
    Str token = json_get_str(v, STR("token"));
    if (!str_eqz(json_get_str(v, STR("type")), "auth")) {
        socket_close(s, 1008, "Expected 'auth' message");
    } else if (!api_token_fits(s->server, token)) {
        socket_close(s, 1008, token.p ? "Invalid token" : "Auth required but no token provided");
    } else {
        let_in(s);
        socket_send(s, STR("{\"type\":\"auth_success\"}"));
    }
}

/* ---- what the connection calls ---- */

static void on_open(struct ws *ws, void *user)
{
    struct socket *s = user;
    s->ws = ws;
    if (s->let_in) {
        let_in(s);
        return;
    }
    s->deadline = calloc(1, sizeof *s->deadline);
    if (!s->deadline)
        die("out of memory");
    uv_timer_init(loop_uv(ws_loop(ws)), s->deadline);
    s->deadline->data = s;
    uv_timer_start(s->deadline, on_deadline, HANDSHAKE_WITHIN / MSEC, 0);
}

static void on_message(struct ws *ws, Str text, void *user)
{
    UNUSED(ws);
    struct socket *s = user;
    if (s->let_in)
        s->kind->message(s, text);
    else
        authenticate(s, text);
}

static bool on_ping(struct ws *ws, Str payload, void *user)
{
    UNUSED(ws);
    struct socket *s = user;
    return s->let_in && s->kind->ping && s->kind->ping(s, payload);
}

static void on_closed(struct ws *ws, int code, Str reason, void *user)
{
    UNUSED(ws);
    UNUSED(code);
    UNUSED(reason);
    struct socket *s = user;
    bool was_open = s->ws != NULL;
    s->ws = NULL;
    end_deadline(s);
    metrics_socket(s->route, -1);
    if (was_open && s->let_in)
        s->kind->closed(s);
    socket_release(s);
}

static const struct ws_handler handler = {.open = on_open, .message = on_message, .ping = on_ping, .closed = on_closed};

int socket_open(struct call *c, const struct socket_kind *kind, void *own, struct err *err)
{
    bool prefect = exchange_offers(c->x, "prefect");
    if (exchange_is_upgrade(c->x) && !prefect && (kind->strict || !api_token_fits(c->server, STR_NONE))) {
        if (kind->freed)
            kind->freed(own);
        return err_set(err, ERR_FORBIDDEN, "the subprotocol 'prefect' is required here");
    }
    struct socket *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    *s = (struct socket){.kind = kind, .server = c->server, .workspace = c->ws, .route = c->route, .own = own, .let_in = !prefect, .holds = 1};
    metrics_socket(c->route, 1); /* until `closed`, which comes in any case */
    exchange_upgrade(c->x, prefect ? "prefect" : NULL, &handler, s);
    return 0;
}
