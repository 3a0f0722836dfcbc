/* The worker's socket to the server, over which it is told what happens the moment it does.
 *
 * A worker of one pool speaks Prefect's worker channel (GET /work_pools/NAME/workers/connect): its heartbeats go there, the pool's changes
 * and what cancelled runs left running come from there. Our server also tells of due runs and of cancellations (capability
 * `millpond_wake.v1`, api/worker_channel.c); with another's, which rejects that, the worker polls beside it.
 * The worker of all managed pools listens at /millpond/wake: {"type":"due","pool":NAME}, {"type":"cancel","flow_run_id":ID},
 * {"type":"pool","pool":NAME}.
 *
 * A server that has no such socket refuses the upgrade: then the worker polls, sends its heartbeats by REST, and asks again now and then. */
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
    uv_timer_t timer, heartbeat;
    Uuid consumer;
    Dur pause;
    bool stopping, told, open; /* open: the channel's hello is answered */
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
        log_at(LOG_WARN, "worker", "no socket to the server, polling", "error=\"%s\"", err.text);
        connect_later(w, PAUSE_REFUSED);
    }
}

static void set_awake(struct wake *w, bool awake, bool linked)
{
    struct crew *c = w->crew;
    pthread_mutex_lock(&c->lock);
    bool changed = c->awake != awake || c->linked != linked;
    c->awake = awake;
    c->linked = linked;
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

/* ---- the worker channel ---- */

#define TEARDOWN "cancelling_timeout_teardown.v1"
#define TEARDOWNS 4 /* at once */

static void send_frame(struct wake *w, const char *type, Str payload)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw j = jw_on(&b);
    jw_object(&j);
    jw_kz(&j, "type", type);
    jw_kuuid(&j, "id", uuid_v7());
    jw_ktime(&j, "sent_at", time_now());
    jw_kraw(&j, "payload", payload);
    jw_end(&j);
    if (!w->socket || ws_send(w->socket, buf_view(&b)) < 0)
        log_at(LOG_DEBUG, "worker", "a frame found no channel", "type=%s", type);
}

static void say_hello(struct wake *w)
{
    const struct worker_options *o = &w->crew->o;
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw j = jw_on(&b);
    jw_object(&j);
    jw_kuuid(&j, "consumer_id", w->consumer);
    jw_kstr(&j, "worker_name", o->name);
    jw_kz(&j, "worker_type", w->crew->pools->type);
    jw_kint(&j, "heartbeat_interval_seconds", MAX(1, o->heartbeat_every / SEC));
    jw_kraw(&j, "supported_channel_versions", STR("[\"work_pool_worker_channel.v1\"]"));
    jw_kraw(&j, "requested_capabilities", STR("[\"worker_heartbeat.v1\",\"work_pool_snapshot.v1\",\"cleanup_delivery.v1\",\"millpond_wake.v1\"]"));
    jw_key(&j, STR("work_queue_names"));
    jw_array(&j);
    for (size_t i = 0; i < o->queue_count; i++)
        jw_str(&j, o->queues[i]);
    jw_end(&j);
    jw_kraw(&j, "handled_cleanup_kinds", STR("[\"" TEARDOWN "\"]"));
    jw_kint(&j, "max_cleanup_concurrency", TEARDOWNS);
    jw_end(&j);
    send_frame(w, "worker.hello.v1", buf_view(&b));
}

static void on_heartbeat(uv_timer_t *t)
{
    struct wake *w = t->data;
    if (!w->open)
        return;
    const struct worker_options *o = &w->crew->o;
    AUTO(buf_free) struct buf b = BUF(4096);
    struct jw j = jw_on(&b);
    jw_object(&j);
    jw_kuuid(&j, "consumer_id", w->consumer);
    jw_kstr(&j, "worker_name", o->name);
    jw_kint(&j, "heartbeat_interval_seconds", MAX(1, o->heartbeat_every / SEC));
    jw_end(&j);
    send_frame(w, "worker.heartbeat.v1", buf_view(&b));
}

static bool has_word(const struct json *list, const char *word)
{
    for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n; i++)
        if (str_eqz(json_str(&list->array.items[i]), word))
            return true;
    return false;
}

static void on_frame(struct wake *w, Str type, const struct json *p)
{
    struct crew *c = w->crew;
    struct pool *pool = c->pools; /* the one that it serves */
    Uuid run;
    if (str_eqz(type, "worker.ready.v1")) {
        bool wakes = has_word(json_getz(p, "accepted_capabilities"), "millpond_wake.v1");
        w->pause = PAUSE_FIRST;
        w->told = false;
        w->open = true;
        (void)pool_take(c, pool, json_path(p, "initial_snapshot.work_pool"));
        set_awake(w, wakes, true);
        catch_up(c);
        log_at(LOG_DEBUG, "worker", "the worker channel is open", "wakes=%d", wakes);
    } else if (str_eqz(type, "work_pool.snapshot.v1")) {
        (void)pool_take(c, pool, json_getz(p, "work_pool"));
        crew_poll(c, pool);
    } else if (str_eqz(type, "millpond.due.v1")) {
        crew_poll(c, pool);
    } else if (str_eqz(type, "millpond.cancel.v1")) {
        if (uuid_parse(json_get_str(p, STR("flow_run_id")), &run))
            crew_add(c, (struct job){.kind = JOB_CANCEL, .run = run}, 0);
    } else if (str_eqz(type, "cleanup.message.v1") && str_eqz(json_get_str(p, STR("kind")), TEARDOWN)) {
        if (uuid_parse(json_str(json_path(p, "target.flow_run_id")), &run))
            crew_add(c, (struct job){.kind = JOB_TEARDOWN, .pool = pool, .run = run, .flow_run = strndup(p->raw.p, p->raw.n)}, 0);
    }
}

struct letter {
    struct wake *wake;
    char type[64];
    Str payload;
};

static void post(void *arg)
{
    struct letter *l = arg;
    if (l->wake->open)
        send_frame(l->wake, l->type, l->payload);
    free(l);
}

void wake_send(struct wake *w, const char *type, Str payload)
{
    struct letter *l = malloc(sizeof *l + payload.n);
    if (!l)
        die("out of memory");
    l->wake = w;
    snprintf(l->type, sizeof l->type, "%s", type);
    memcpy(l + 1, payload.p, payload.n);
    l->payload = (Str){(const char *)(l + 1), payload.n};
    loop_post(w->loop, post, l);
}

/* ---- */

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
    if (!c->o.managed && !str_eqz(type, "auth_success")) {
        on_frame(w, type, json_getz(v, "payload"));
    } else if (!c->o.managed) {
        say_hello(w);
    } else if (str_eqz(type, "due")) {
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
        set_awake(w, true, false);
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
    w->open = false;
    set_awake(w, false, false);
    if (w->stopping)
        return;
    bool refused = str_starts(reason, STR("HTTP 4")) || code == 1002;
    if (!w->told)
        log_at(refused ? LOG_INFO : LOG_WARN, "worker", refused ? "the server has no such socket, polling" : "the socket to the server is closed, polling meanwhile",
               "code=%d reason=\"%.*s\"", code, STR_ARG(reason));
    w->told = true;
    bool gone = str_eqz(reason, "authorization_failed"); /* the pool is, and may be made again */
    connect_later(w, refused || (code == 1008 && !gone) ? PAUSE_REFUSED : (Dur)((double)w->pause * (0.75 + random_double() / 2)));
    w->pause = MIN(w->pause * 2, PAUSE_MOST);
}

static const struct ws_handler handler = {.open = on_open, .message = on_message, .closed = on_closed};

static void begin(void *arg)
{
    struct wake *w = arg;
    uv_timer_init(loop_uv(w->loop), &w->timer);
    uv_timer_init(loop_uv(w->loop), &w->heartbeat);
    w->timer.data = w->heartbeat.data = w;
    uint64_t every = (uint64_t)(w->crew->o.heartbeat_every / MSEC);
    if (!w->crew->o.managed)
        uv_timer_start(&w->heartbeat, on_heartbeat, every, every);
    connect_now(w);
}

static void end(void *arg)
{
    struct wake *w = arg;
    w->stopping = true;
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->heartbeat, NULL);
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
    w->consumer = uuid_v7();
    AUTO(client_freep) struct client *api = client_create(&c->o.api);
    Str path = STR("/millpond/wake");
    if (!c->o.managed)
        path = str_fmt(w->arena, "/work_pools/%.*s/workers/connect", STR_ARG(url_segment(w->arena, c->o.pool)));
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
    c->link = w;
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
