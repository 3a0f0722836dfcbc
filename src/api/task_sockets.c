/* ws /task_runs/subscriptions/scheduled: background task runs to those who serve them; POST /task_workers/filter. */
#include "api/handlers.h"
#include "api/list.h"
#include "api/socket.h"
#include "services/task_queues.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 1000 /* task keys of one worker */
#define VIOLATION 4001

struct subscription_to_tasks {
    struct task_worker *worker; /* NULL until it has subscribed, and when the socket is closed */
    Uuid run;                   /* what it was given and has not confirmed; nil: nothing */
    bool sent;                  /* it is on its way */
};

static void tasks_freed(void *own)
{
    free(own);
}

static void next(struct socket *s)
{
    struct subscription_to_tasks *sub = s->own;
    sub->run = UUID_NIL;
    sub->sent = false;
    task_worker_next(sub->worker);
}

/* ---- one run, from the queue over the table to the worker ---- */

struct giving {
    struct socket *socket;
    Uuid run;
    struct arena *a;
    Str text; /* STR_NONE: it is not SCHEDULED any more */
    bool failed;
};

static int give_work(struct conn *conn, void *arg, struct err *err)
{
    struct giving *g = arg;
    g->text = STR_NONE;
    struct call c = {.a = g->a, .ws = g->socket->workspace, .conn = conn, .now = time_now(), .out = BUF(LIMIT_REPLY)};
    c.w = jw_on(&c.out);
    int rc = list_one(&c, &task_run_listing, "task_run.state_type = 'SCHEDULED' AND task_run.id = ", g->run, task_run_print, err);
    if (rc == 1)
        g->text = str_dup(g->a, buf_view(&c.out));
    buf_free(&c.out);
    return rc < 0 ? -1 : 0;
}

static void given(void *arg)
{
    struct giving *g = arg;
    struct socket *s = g->socket;
    struct subscription_to_tasks *sub = s->own;
    if (!sub->worker) {
        /* closed meanwhile: the queue has the run again */
    } else if (g->failed) {
        socket_close(s, 1011, "the task run could not be read");
    } else if (!g->text.p) {
        task_worker_taken(sub->worker);
        next(s);
    } else {
        sub->sent = socket_send(s, g->text);
    }
    arena_free(g->a);
    free(g);
    socket_release(s);
}

static void give_done(void *arg, const struct err *err)
{
    struct giving *g = arg;
    g->failed = err != NULL;
    loop_post(g->socket->workspace->loop, given, g);
}

static void give(void *user, Uuid id)
{
    struct socket *s = user;
    struct subscription_to_tasks *sub = s->own;
    struct giving *g = calloc(1, sizeof *g);
    if (!g)
        die("out of memory");
    sub->run = id;
    sub->sent = false;
    *g = (struct giving){.socket = s, .run = id, .a = arena_create()};
    socket_hold(s);
    struct err err;
    if (db_read(s->workspace->db, give_work, give_done, g, &err) < 0)
        give_done(g, &err);
}

/* ---- the conversation ---- */

static void subscribe(struct socket *s, const struct json *v)
{
    struct subscription_to_tasks *sub = s->own;
    const struct json *keys = json_getz(v, "keys");
    Str client = json_get_str(v, STR("client_id"));
    if (!str_eqz(json_get_str(v, STR("type")), "subscribe")) {
        socket_close(s, VIOLATION, "Protocol violation: expected 'subscribe' message");
        return;
    }
    if (!json_is(keys, JSON_ARRAY) || !keys->array.n || keys->array.n > KEYS_MAX) {
        socket_close(s, VIOLATION, "Protocol violation: expected 'keys' in subscribe message");
        return;
    }
    Str list[KEYS_MAX];
    for (size_t i = 0; i < keys->array.n; i++) {
        list[i] = json_str(&keys->array.items[i]);
        if (!list[i].p) {
            socket_close(s, VIOLATION, "Protocol violation: expected 'keys' in subscribe message");
            return;
        }
    }
    /* 2.x clients may leave it out */
    sub->worker = task_worker_join(s->workspace->task_queues, list, keys->array.n, client.p ? client : STR("unknown"), give, s);
    next(s);
}

static void tasks_message(struct socket *s, Str text)
{
    struct subscription_to_tasks *sub = s->own;
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = json_parse(a, text, &err);
    Str type = json_get_str(v, STR("type"));
    if (!sub->worker) {
        subscribe(s, v);
    } else if (str_eqz(type, "quit")) {
        socket_close(s, 1000, "");
    } else if (str_eqz(type, "ack") && sub->sent) {
        task_worker_taken(sub->worker);
        next(s);
    } else {
        socket_close(s, VIOLATION, "Protocol violation: expected 'ack' message");
    }
}

static void tasks_ready(struct socket *s)
{
    UNUSED(s);
}

static void tasks_closed(struct socket *s)
{
    struct subscription_to_tasks *sub = s->own;
    if (sub->worker)
        task_worker_leave(TAKE(sub->worker));
}

static const struct socket_kind tasks_kind = {.ready = tasks_ready, .message = tasks_message, .closed = tasks_closed, .freed = tasks_freed};

int task_runs_scheduled(struct call *c, struct err *err)
{
    struct subscription_to_tasks *sub = calloc(1, sizeof *sub);
    if (!sub)
        die("out of memory");
    return socket_open(c, &tasks_kind, sub, err);
}

/* {"task_worker_filter": {"task_keys": […]}} */
int task_workers_filter(struct call *c, struct err *err)
{
    const struct json *filter = call_json(c, "task_worker_filter"), *keys = json_getz(filter, "task_keys");
    size_t n = filter ? keys->array.n : 0;
    Str *list = filter ? arena_array(c->a, Str, n + 1) : NULL;
    for (size_t i = 0; i < n; i++)
        list[i] = keys->array.items[i].string;
    task_workers_print(c->ws->task_queues, &c->w, list, n);
    return 0;
}
