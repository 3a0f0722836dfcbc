/* ws /work_pools/{name}/workers/connect: the worker channel of 3.8.x, `work_pool_worker_channel.v1`.
 *
 * After the handshake the worker says hello, which makes the pool where it asks for that, counts as its first sign of life and is
 * answered with the pool as it is. Then its heartbeats come here, changes of the pool go to it, and what cancelled runs left running
 * (store/cleanups.h), which it confirms, gives back, or keeps longer. Runs it fetches by REST.
 *
 * Workers of ours ask for one capability more, `millpond_wake.v1`: then {"type":"millpond.due.v1"} comes the moment a run of the pool is
 * due and "millpond.cancel.v1" (payload flow_run_id) where one is to be cancelled; a server that has no such thing rejects the
 * capability and the worker polls.
 *
 * One job on the database at a time for each channel: while it is under way the peer's next frame waits, and no more is read; what
 * happened meanwhile is a flag, however often it happened. A peer that reads too slowly is let go, and comes again. */
#include "api/handlers.h"
#include "api/pools.h"
#include "api/socket.h"
#include "api/worker_frames.h"
#include "store/cleanups.h"

#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TEARDOWN "cancelling_timeout_teardown.v1"
#define CLEANUP_MOST 100

static const struct {
    int code;
    const char *text;
} reasons[] = {
    [UNSUPPORTED_VERSION] = {1008, "unsupported_version"},
    [AUTHORIZATION_FAILED] = {1008, "authorization_failed"},
    [PROTOCOL_ERROR] = {1002, "protocol_error"},
    [HEARTBEAT_FAILED] = {1011, "heartbeat_persistence_failed"},
    [TRANSIENT] = {1011, "transient_server_error"},
};

enum errand_kind { HELLO, HEARTBEAT, OPERATION, LOOK, RESERVE };

struct channel {
    struct arena *a; /* names */
    Str pool_name, worker;
    Uuid pool, consumer;
    Uuid *queues; /* those named in the hello; none: all */
    size_t queue_count;
    int64_t interval, cleanups; /* seconds; how many at once, 0: it takes none */
    bool ready, busy, wakes;
    bool look, reserve; /* to be done when it is free */
    struct arena *waiting_arena;
    Str waiting; /* the peer's next frame */
    int64_t sequence;
    uint64_t shown; /* of the pool's part that a snapshot is about */
    atomic_bool on_way[TOPIC_COUNT]; /* a thousand runs that become due together take one place in the bus' queue */
    struct subscription *subscription;
};

/* One job on the database, and what came of it. */
struct errand {
    struct socket *socket;
    enum errand_kind kind;
    struct arena *a;
    const struct json *frame; /* the peer's; NULL where none began it */
    struct call c;
    enum reason end;
    struct work_pool pool;
    uint64_t shown;
    struct work_queue *queues;
    size_t queue_count;
    enum cleanup_operation operation;
    const char *status;
    Time lease;
    struct cleanup cleanup;
    bool found;
};

/* ---- frames ---- */

static void frame_begin(struct jw *w, const char *type)
{
    jw_object(w);
    jw_kz(w, "type", type);
    jw_kuuid(w, "id", uuid_v7());
    jw_ktime(w, "sent_at", time_now());
    jw_key(w, STR("payload"));
    jw_object(w);
}

static void frame_send(struct socket *s, struct buf *b, struct jw *w)
{
    jw_end(w);
    jw_end(w);
    if (b->overflow || !socket_send(s, buf_view(b)))
        socket_close(s, reasons[TRANSIENT].code, reasons[TRANSIENT].text);
}

static void end(struct socket *s, enum reason why)
{
    socket_close(s, reasons[why].code, reasons[why].text);
}

static void put_snapshot(struct jw *w, int64_t sequence, const char *reason, Str pool)
{
    jw_kint(w, "snapshot_sequence", sequence);
    jw_kz(w, "reason", reason);
    jw_kraw(w, "work_pool", pool);
}

/* ---- on the database ---- */

static uint64_t shown_part(struct arena *a, const struct work_pool *p)
{
    return str_hash(str_fmt(a, "%lld %d %.*s %.*s", (long long)p->concurrency_limit, p->is_paused, STR_ARG(p->storage_configuration),
                            STR_ARG(p->base_job_template)));
}

static int find_or_make(struct errand *e, Str name, const struct json *hello, struct err *err)
{
    struct call *c = &e->c;
    const struct json *create = json_getz(hello, "create_pool_if_not_found"), *template = json_getz(hello, "default_base_job_template");
    Str text = template ? template->raw : STR("{}");
    int rc = record_find(c->conn, c->a, &work_pool_resource, &e->pool, err, "name = $1", "s", name);
    if (rc < 0)
        return -1;
    if (rc == 1) {
        const struct json *has = json_parse(c->a, e->pool.base_job_template, err);
        bool empty = json_is(has, JSON_OBJECT) && has->object.n == 0;
        return empty && template && template->object.n ? pool_set_template(c, &e->pool, text, err) : 0;
    }
    if (!create || !create->boolean)
        return err_set(err, ERR_NOT_FOUND, "no such work pool");
    record_init(&work_pool_resource, &e->pool);
    e->pool.name = name;
    e->pool.type = json_get_str(hello, STR("worker_type"));
    e->pool.base_job_template = text;
    e->pool.storage_configuration = STR("{}");
    e->pool.is_paused = 0;
    return pool_make(c, &e->pool, err);
}

static int hello_work(struct errand *e, const struct channel *ch, struct err *err)
{
    const struct json *p = json_getz(e->frame, "payload");
    int64_t interval = INT_NONE;
    (void)json_int(json_getz(p, "heartbeat_interval_seconds"), &interval);
    if (find_or_make(e, ch->pool_name, p, err) < 0 || pool_queues(&e->c, &e->pool, json_getz(p, "work_queue_names"), &e->queues, &e->queue_count, err) < 0 ||
        worker_heard(&e->c, &e->pool, json_get_str(p, STR("worker_name")), interval, err) < 0)
        return -1;
    e->shown = shown_part(e->a, &e->pool);
    return pool_print(&e->c, &e->pool, err);
}

static int look_work(struct errand *e, const struct channel *ch, struct err *err)
{
    int rc = record_find(e->c.conn, e->a, &work_pool_resource, &e->pool, err, "id = $1", "u", ch->pool);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "the work pool is gone");
    int64_t interval = INT_NONE;
    (void)json_int(json_path(e->frame, "payload.heartbeat_interval_seconds"), &interval);
    if (e->kind == HEARTBEAT && worker_heard(&e->c, &e->pool, ch->worker, interval, err) < 0)
        return -1;
    e->shown = shown_part(e->a, &e->pool);
    return e->shown == ch->shown ? 0 : pool_print(&e->c, &e->pool, err);
}

static int operation_work(struct errand *e, const struct channel *ch, struct err *err)
{
    const struct json *p = json_getz(e->frame, "payload");
    Uuid id = UUID_NIL;
    (void)uuid_parse(json_get_str(p, STR("message_id")), &id);
    return cleanup_operate(e->c.conn, e->operation, ch->pool, ch->worker, id, json_get_str(p, STR("reservation_token")), e->c.now, &e->c.outbox,
                           &e->status, &e->lease, err);
}

static int errand_work(struct conn *conn, void *arg, struct err *err)
{
    struct errand *e = arg;
    struct channel *ch = e->socket->own; /* what is read of it changes only while no errand is under way */
    struct call *c = &e->c;
    buf_reset(&c->out);
    *c = (struct call){.a = e->a, .server = e->socket->server, .ws = e->socket->workspace, .conn = conn, .now = time_now(),
                       .client = {.version = {-1, -1, -1}}, .out = c->out, .violations = {.a = e->a}, .retry_after = -1};
    c->w = jw_on(&c->out);
    outbox_init(&c->outbox, e->a);
    int rc = 0;
    switch (e->kind) {
    case HELLO:
        return hello_work(e, ch, err);
    case HEARTBEAT:
    case LOOK:
        return look_work(e, ch, err);
    case OPERATION:
        return operation_work(e, ch, err);
    case RESERVE:
        rc = cleanup_reserve(conn, e->a, ch->pool, ch->worker, ch->queues, ch->queue_count, ch->cleanups, c->now, &c->outbox, &e->cleanup, err);
        e->found = rc == 1;
        return rc < 0 ? -1 : 0;
    }
    return 0;
}

/* ---- and back on the loop ---- */

static void go_on(struct socket *s);

static bool wants(void *user, const struct message *m)
{
    const struct socket *s = user;
    struct channel *ch = s->own;
    return m->topic == TOPIC_RUN_CANCELLING || (uuid_eq(m->id, ch->pool) && !atomic_exchange(&ch->on_way[m->topic], true));
}

static void deliver(void *user, const struct message *m)
{
    struct socket *s = user;
    struct channel *ch = s->own;
    ch->on_way[m->topic] = false; /* what comes from now on is told again */
    if (m->topic == TOPIC_POOL_DUE || m->topic == TOPIC_RUN_CANCELLING) {
        AUTO(buf_free) struct buf b = BUF(1024);
        struct jw w = jw_on(&b);
        frame_begin(&w, m->topic == TOPIC_POOL_DUE ? "millpond.due.v1" : "millpond.cancel.v1");
        if (m->topic == TOPIC_RUN_CANCELLING)
            jw_kuuid(&w, "flow_run_id", m->id);
        frame_send(s, &b, &w);
        return;
    }
    ch->look |= m->topic == TOPIC_POOL_CHANGED;
    ch->reserve |= m->topic == TOPIC_POOL_CLEANUP && ch->cleanups;
    go_on(s);
}

static void lost(void *user)
{
    struct socket *s = user;
    struct channel *ch = s->own;
    if (ch->wakes) { /* comes again and asks for everything */
        end(s, TRANSIENT);
        return;
    }
    ch->look = true;
    ch->reserve = ch->cleanups > 0;
    go_on(s);
}

static void send_ready(struct socket *s, struct errand *e)
{
    struct channel *ch = s->own;
    const struct json *p = json_getz(e->frame, "payload"), *asked = json_getz(p, "requested_capabilities");
    int64_t most = 1;
    (void)json_int(json_getz(p, "max_cleanup_concurrency"), &most);
    (void)uuid_parse(json_get_str(p, STR("consumer_id")), &ch->consumer);
    (void)json_int(json_getz(p, "heartbeat_interval_seconds"), &ch->interval);
    ch->worker = str_dup(ch->a, json_get_str(p, STR("worker_name")));
    ch->pool = e->pool.id;
    ch->shown = e->shown;
    ch->sequence = 1;
    ch->ready = true;
    ch->cleanups = lists(asked, "cleanup_delivery.v1") && lists(json_getz(p, "handled_cleanup_kinds"), TEARDOWN) ? MIN(most, CLEANUP_MOST) : 0;
    ch->wakes = lists(asked, "millpond_wake.v1");
    const struct json *named = json_getz(p, "work_queue_names");
    if (named && named->array.n) {
        ch->queues = arena_array(ch->a, Uuid, e->queue_count);
        ch->queue_count = e->queue_count;
        for (size_t i = 0; i < e->queue_count; i++)
            ch->queues[i] = e->queues[i].id;
    }
    unsigned topics = TOPIC_BIT(TOPIC_POOL_CHANGED) | (ch->cleanups ? TOPIC_BIT(TOPIC_POOL_CLEANUP) : 0) |
                      (ch->wakes ? TOPIC_BIT(TOPIC_POOL_DUE) | TOPIC_BIT(TOPIC_RUN_CANCELLING) : 0);
    struct subscriber who = {topics, wants, deliver, lost, s};
    ch->subscription = bus_subscribe(s->workspace->bus, s->workspace->loop, &who);
    ch->look = true; /* what came between the job and the subscription */
    ch->reserve = ch->cleanups > 0;

    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    frame_begin(&w, "worker.ready.v1");
    jw_kuuid(&w, "consumer_id", ch->consumer);
    jw_knull(&w, "worker_id");
    jw_kz(&w, "selected_channel_version", CHANNEL_VERSION);
    jw_kint(&w, "effective_heartbeat_interval_seconds", ch->interval);
    for (int accepted = 1; accepted >= 0; accepted--) {
        jw_key(&w, accepted ? STR("accepted_capabilities") : STR("rejected_capabilities"));
        jw_array(&w);
        for (size_t i = 0; i < asked->array.n; i++) {
            Str name = json_str(&asked->array.items[i]);
            bool yes = is_one_of(name, "worker_heartbeat.v1 work_pool_snapshot.v1 millpond_wake.v1") ||
                       (ch->cleanups && str_eqz(name, "cleanup_delivery.v1"));
            if (yes == accepted)
                jw_str(&w, name);
        }
        jw_end(&w);
    }
    jw_kint(&w, "effective_max_cleanup_concurrency", ch->cleanups);
    jw_key(&w, STR("resolved_work_queues"));
    jw_array(&w);
    for (size_t i = 0; i < e->queue_count; i++) {
        jw_object(&w);
        jw_kuuid(&w, "id", e->queues[i].id);
        jw_kstr(&w, "name", e->queues[i].name);
        jw_end(&w);
    }
    jw_end(&w);
    jw_key(&w, STR("initial_snapshot"));
    jw_object(&w);
    put_snapshot(&w, 1, "initial", buf_view(&e->c.out));
    jw_end(&w);
    frame_send(s, &b, &w);
}

static void send_snapshot(struct socket *s, struct errand *e)
{
    struct channel *ch = s->own;
    if (!e->c.out.n)
        return;
    ch->shown = e->shown;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    frame_begin(&w, "work_pool.snapshot.v1");
    put_snapshot(&w, ++ch->sequence, e->kind == HEARTBEAT ? "heartbeat_reconciliation" : "work_pool_updated", buf_view(&e->c.out));
    frame_send(s, &b, &w);
}

static void send_cleanup(struct socket *s, struct errand *e)
{
    struct channel *ch = s->own;
    if (!e->found)
        return;
    ch->reserve = true; /* perhaps there is another */
    AUTO(buf_free) struct buf b = BUF(LIMIT_FRAME);
    struct jw w = jw_on(&b);
    frame_begin(&w, "cleanup.message.v1");
    jw_kuuid(&w, "message_id", e->cleanup.id);
    jw_kstr(&w, "reservation_token", e->cleanup.token);
    jw_ktime(&w, "lease_expires_at", e->cleanup.lease);
    jw_kint(&w, "delivery_count", e->cleanup.deliveries);
    jw_kuuid(&w, "work_queue_id", e->cleanup.queue_id);
    jw_kz(&w, "kind", TEARDOWN);
    jw_key(&w, STR("target"));
    jw_object(&w);
    jw_kuuid(&w, "flow_run_id", e->cleanup.flow_run_id);
    jw_kstr(&w, "infrastructure_pid", e->cleanup.infrastructure_pid);
    jw_end(&w);
    jw_key(&w, STR("data"));
    jw_object(&w);
    jw_end(&w);
    frame_send(s, &b, &w);
}

static void send_result(struct socket *s, struct errand *e, const struct err *err)
{
    static const char *const names[] = {[CLEANUP_ACK] = "ack", [CLEANUP_RELEASE] = "release", [CLEANUP_RENEW] = "renew"};
    const struct json *p = json_getz(e->frame, "payload");
    const char *status = err ? "error" : e->status;
    AUTO(buf_free) struct buf b = BUF(LIMIT_FRAME);
    struct jw w = jw_on(&b);
    frame_begin(&w, "cleanup.operation_result.v1");
    jw_kstr(&w, "request_frame_id", json_get_str(e->frame, STR("id")));
    jw_kstr(&w, "message_id", json_get_str(p, STR("message_id")));
    jw_kz(&w, "operation", names[e->operation]);
    jw_kz(&w, "status", status);
    if (!err && e->lease != TIME_NONE)
        jw_ktime(&w, "lease_expires_at", e->lease);
    if (strcmp(status, "accepted") != 0)
        jw_kz(&w, "reason", err ? "cleanup_queue_operation_failed" : status);
    frame_send(s, &b, &w);
}

static enum reason reason_of(const struct errand *e, const struct err *err)
{
    switch (err->code) {
    case ERR_NOT_FOUND:
    case ERR_FORBIDDEN:
        return AUTHORIZATION_FAILED;
    case ERR_INVALID:
    case ERR_UNPROCESSABLE:
        return PROTOCOL_ERROR;
    default:
        return e->kind == HEARTBEAT ? HEARTBEAT_FAILED : TRANSIENT;
    }
}

static void errand_free(struct errand *e)
{
    struct socket *s = e->socket;
    buf_free(&e->c.out);
    arena_free(e->a);
    free(e);
    socket_release(s);
}

/* `pool` and `queues` point into the errand's arena, which ends here. */
static void returned(void *arg)
{
    struct errand *e = arg;
    struct socket *s = e->socket;
    struct channel *ch = s->own;
    const struct err *err = e->end == GO_ON ? NULL : &(struct err){.code = ERR_INTERNAL};
    ch->busy = false;
    if (!s->ws) {
        errand_free(e);
        return;
    }
    if (e->kind == OPERATION)
        send_result(s, e, err);
    else if (err)
        end(s, e->end);
    else if (e->kind == HELLO)
        send_ready(s, e);
    else if (e->kind == RESERVE)
        send_cleanup(s, e);
    else
        send_snapshot(s, e);
    if (e->kind == OPERATION)
        ch->reserve = ch->cleanups > 0; /* it has a hand free */
    go_on(s);
    errand_free(e);
}

static void errand_done(void *arg, const struct err *err)
{
    struct errand *e = arg;
    struct workspace *ws = e->socket->workspace;
    if (!err)
        workspace_tell(ws, &e->c.outbox);
    else
        log_at(LOG_DEBUG, "api", "worker channel", "error=\"%s\"", err->text);
    e->end = err ? reason_of(e, err) : GO_ON;
    loop_post(ws->loop, returned, e);
}

/* Takes `a` with the frame in it. */
static void errand_begin(struct socket *s, enum errand_kind kind, struct arena *a, const struct json *frame, enum cleanup_operation op)
{
    struct channel *ch = s->own;
    struct errand *e = calloc(1, sizeof *e);
    if (!e)
        die("out of memory");
    *e = (struct errand){.socket = s, .kind = kind, .a = a, .frame = frame, .operation = op};
    e->c.out = BUF(LIMIT_REPLY);
    ch->busy = true;
    socket_hold(s);
    struct err err;
    int rc = kind == LOOK ? db_read(s->workspace->db, errand_work, errand_done, e, &err) : db_write(s->workspace->db, errand_work, errand_done, e, &err);
    if (rc < 0)
        errand_done(e, &err);
}

static void take_frame(struct socket *s, struct arena *a, Str text)
{
    struct channel *ch = s->own;
    struct err err;
    const struct json *v = json_parse(a, text, &err), *p = json_getz(v, "payload");
    Str type = json_get_str(v, STR("type"));
    bool fine = frame_check(v);
    enum reason why = PROTOCOL_ERROR;
    if (fine && !ch->ready && str_eqz(type, "worker.hello.v1") && (why = hello_check(p)) == GO_ON) {
        errand_begin(s, HELLO, a, v, 0);
        return;
    }
    if (fine && ch->ready && str_eqz(type, "worker.heartbeat.v1") && heartbeat_check(p, ch->consumer, ch->worker)) {
        errand_begin(s, HEARTBEAT, a, v, 0);
        return;
    }
    bool release = str_eqz(type, "cleanup.release.v1"), renew = str_eqz(type, "cleanup.renew.v1");
    if (fine && ch->ready && (release || renew || str_eqz(type, "cleanup.ack.v1")) &&
        operation_check(p, release)) {
        errand_begin(s, OPERATION, a, v, release ? CLEANUP_RELEASE : renew ? CLEANUP_RENEW : CLEANUP_ACK);
        return;
    }
    arena_free(a);
    end(s, why);
}

/* What is next, if nothing is under way. */
static void go_on(struct socket *s)
{
    struct channel *ch = s->own;
    if (ch->busy || !s->ws)
        return;
    if (ch->waiting.p) {
        Str text = ch->waiting;
        ch->waiting = STR_NONE;
        ws_pause(s->ws, false);
        take_frame(s, TAKE(ch->waiting_arena), text);
    } else if (ch->look) {
        ch->look = false;
        errand_begin(s, LOOK, arena_create(), NULL, 0);
    } else if (ch->reserve) {
        ch->reserve = false;
        errand_begin(s, RESERVE, arena_create(), NULL, 0);
    }
}

static void channel_ready(struct socket *s)
{
    UNUSED(s);
}

static void channel_message(struct socket *s, Str text)
{
    struct channel *ch = s->own;
    struct arena *a = arena_create();
    Str own = str_dup(a, text);
    if (!ch->busy) {
        take_frame(s, a, own);
    } else if (!ch->waiting.p) {
        ch->waiting_arena = a;
        ch->waiting = own;
        ws_pause(s->ws, true);
    } else { /* came in one piece with the last; there is no third */
        arena_free(a);
        end(s, TRANSIENT);
    }
}

static void channel_closed(struct socket *s)
{
    struct channel *ch = s->own;
    if (ch->subscription)
        bus_unsubscribe(TAKE(ch->subscription));
}

static void channel_freed(void *own)
{
    struct channel *ch = own;
    if (ch->waiting_arena)
        arena_free(ch->waiting_arena);
    arena_free(ch->a);
    free(ch);
}

static const struct socket_kind channel_kind = {
    .strict = true, .ready = channel_ready, .message = channel_message, .closed = channel_closed, .freed = channel_freed};

int worker_channel(struct call *c, struct err *err)
{
    struct channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        die("out of memory");
    ch->a = arena_create();
    ch->pool_name = str_dup(ch->a, c->params[0]);
    return socket_open(c, &channel_kind, ch, err);
}
