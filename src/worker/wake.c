/* The socket by which the server tells of due runs and cancellations the moment they come.
 *
 * GET /millpond/wake[?pool=NAME], subprotocol `prefect`, first {"type":"auth","token":…} and its answer, then frames:
 * {"type":"due","pool":NAME}, {"type":"cancel","flow_run_id":ID}, {"type":"pool","pool":NAME}. Without ?pool= those of every pool
 * come. A server that has no such socket refuses the upgrade: then the worker polls, and asks again now and then. */
#include "worker/crew.h"

#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "http/ws.h"
#include "json/json.h"
#include "loop/loop.h"

#define PAUSE_FIRST (500 * MSEC)
#define PAUSE_MOST (10 * SEC)
#define PAUSE_REFUSED (60 * SEC)

struct wake {
    struct crew *crew;
    struct loop *loop;
    struct arena *arena; /* url, headers, token */
    Str url, headers, token;
    struct ws *socket; /* on the loop alone */
    uv_timer_t timer;
    Dur pause;
    bool stopping, told;
};

static const struct ws_handler handler;

static void connect_now(struct wake *w);

static void on_timer(uv_timer_t *t)
{
    connect_now(t->data);
}

static void connect_later(struct wake *w, Dur pause)
{
    if (!w->stopping)
        uv_timer_start(&w->timer, on_timer, (uint64_t)(pause / MSEC), 0);
}

static void connect_now(struct wake *w)
{
    struct err err;
    if (w->stopping)
        return;
    if (ws_connect(w->loop, w->url, "prefect", w->headers, &handler, w, &err) < 0) {
        log_at(LOG_WARN, "worker", "no wake socket, polling", "error=\"%s\"", err.text);
        connect_later(w, PAUSE_REFUSED);
    }
}

static void set_awake(struct wake *w, bool awake)
{
    struct crew *c = w->crew;
    pthread_mutex_lock(&c->lock);
    bool changed = c->awake != awake;
    c->awake = awake;
    pthread_mutex_unlock(&c->lock);
    if (changed)
        crew_nudge(c);
}

static void on_open(struct ws *s, void *user)
{
    struct wake *w = user;
    w->socket = s;
    ws_keepalive(s, 20 * SEC, 20 * SEC);
    char text[1024];
    int n = snprintf(text, sizeof text, "{\"type\":\"auth\",\"token\":%.*s}", STR_ARG(w->token));
    if (n >= (int)sizeof text || ws_send(s, (Str){text, (size_t)n}) < 0)
        ws_close(s, 1002, "no auth message");
}

/* All that may have happened while nobody told us. */
static void catch_up(struct crew *c)
{
    if (c->o.managed)
        crew_add(c, (struct job){.kind = JOB_DISCOVER}, 0);
    for (struct pool *p = c->pools; p; p = p->next) {
        crew_poll(c, p);
        crew_add(c, (struct job){.kind = JOB_SWEEP, .pool = p}, 0);
    }
}

static void on_message(struct ws *s, Str text, void *user)
{
    struct wake *w = user;
    struct crew *c = w->crew;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, text, &err);
    Str type = json_get_str(v, STR("type"));
    struct pool *p = crew_pool(c, json_get_str(v, STR("pool")));
    Uuid run;
    if (str_eqz(type, "due")) {
        if (p)
            crew_poll(c, p);
    } else if (str_eqz(type, "cancel")) {
        if (uuid_parse(json_get_str(v, STR("flow_run_id")), &run))
            crew_add(c, (struct job){.kind = JOB_CANCEL, .run = run}, 0);
    } else if (str_eqz(type, "pool")) {
        if (p)
            crew_add(c, (struct job){.kind = JOB_REFRESH, .pool = p}, 0);
        else if (c->o.managed)
            crew_add(c, (struct job){.kind = JOB_DISCOVER}, 0);
    } else if (str_eqz(type, "auth_success")) {
        w->pause = PAUSE_FIRST;
        w->told = false;
        set_awake(w, true);
        catch_up(c);
        log_at(LOG_DEBUG, "worker", "the wake socket is open", "%s", "");
    }
    UNUSED(s);
}

static void on_closed(struct ws *s, int code, Str reason, void *user)
{
    UNUSED(s);
    struct wake *w = user;
    w->socket = NULL;
    set_awake(w, false);
    if (w->stopping)
        return;
    bool refused = str_starts(reason, STR("HTTP 4"));
    if (!w->told)
        log_at(refused ? LOG_INFO : LOG_WARN, "worker", refused ? "the server wakes nobody, polling" : "the wake socket is closed, polling meanwhile",
               "code=%d reason=\"%.*s\"", code, STR_ARG(reason));
    w->told = true;
    connect_later(w, refused || code == 1008 ? PAUSE_REFUSED : (Dur)((double)w->pause * (0.75 + random_double() / 2)));
    w->pause = MIN(w->pause * 2, PAUSE_MOST);
}

static const struct ws_handler handler = {.open = on_open, .message = on_message, .closed = on_closed};

static void begin(void *arg)
{
    struct wake *w = arg;
    uv_timer_init(loop_uv(w->loop), &w->timer);
    w->timer.data = w;
    connect_now(w);
}

static void end(void *arg)
{
    struct wake *w = arg;
    w->stopping = true;
    uv_close((uv_handle_t *)&w->timer, NULL);
    if (w->socket)
        ws_close(w->socket, 1000, "the worker stops");
}

struct wake *wake_start(struct crew *c, struct err *err)
{
    struct wake *w = calloc(1, sizeof *w);
    if (!w)
        die("out of memory");
    w->crew = c;
    w->arena = arena_create();
    w->pause = PAUSE_FIRST;
    AUTO(client_freep) struct client *api = client_create(&c->o.api);
    Str path = STR("/millpond/wake");
    if (!c->o.managed)
        path = str_fmt(w->arena, "/millpond/wake?pool=%.*s", STR_ARG(url_segment(w->arena, c->o.pool)));
    w->url = client_ws_url(api, w->arena, path);
    w->headers = client_auth_headers(api, w->arena);
    w->token = str_dup(w->arena, client_ws_token(api));
    w->loop = w->url.p ? loop_start("wake", err) : NULL;
    if (!w->loop) {
        if (!w->url.p)
            err_set(err, ERR_INVALID, "the API's address has no sockets");
        arena_free(w->arena);
        free(w);
        return NULL;
    }
    loop_post(w->loop, begin, w);
    return w;
}

void wake_stop(struct wake *w)
{
    if (!w)
        return;
    loop_post(w->loop, end, w);
    loop_stop(w->loop);
    arena_free(w->arena);
    free(w);
}
