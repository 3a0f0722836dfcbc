/* ws /millpond/wake: tells workers the moment a run of their pools is due, is to be cancelled, or a pool changed.
 *
 * Of our own making, for the worker that serves all managed pools; one of a single pool has its channel (worker_channel.c). Frames:
 * {"type":"due","pool":NAME}, {"type":"cancel","flow_run_id":ID} and {"type":"pool","pool":NAME}, of every pool.
 * What happened before the handshake's end is not told: a worker looks once then.
 * A refused place in the queue of a socket that reads too slowly closes it, so that the worker looks again. */
#include "api/handlers.h"
#include "api/socket.h"

#include "base/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX 128

/* Names never change: what is read once of an id holds. A pool that is gone keeps its name for the frame that says so. */
struct pool_name {
    struct pool_name *next;
    Uuid id;
    Str name;
};
/* What is on its way through the bus: a thousand runs of one pool that become due together take one place in the queue. */
struct pending {
    enum topic topic;
    Uuid id;
};
struct wake {
    pthread_mutex_t lock; /* over pending */
    struct pending pending[PENDING_MAX];
    size_t pending_n;
    struct arena *a;
    struct pool_name *known;
    struct subscription *subscription;
};

static void wake_freed(void *own)
{
    struct wake *w = own;
    pthread_mutex_destroy(&w->lock);
    arena_free(w->a);
    free(w);
}

static void send_frame(struct socket *s, const char *type, const char *key, Str value)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_FRAME);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kz(&w, "type", type);
    jw_key(&w, str_of(key));
    jw_str(&w, value);
    jw_end(&w);
    if (!socket_send(s, buf_view(&b)))
        socket_close(s, 1013, "too slow: look at everything again");
}

static void tell(struct socket *s, enum topic topic, const struct pool_name *p)
{
    send_frame(s, topic == TOPIC_POOL_DUE ? "due" : "pool", "pool", p->name);
}

/* ---- a pool that was not heard of before ---- */

struct asking {
    struct socket *socket;
    enum topic topic;
    Uuid id;
    bool found;
    struct arena *a;
    Str name;
};

static int ask_work(struct conn *c, void *arg, struct err *err)
{
    struct asking *k = arg;
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, "SELECT name FROM work_pool WHERE id = $1", "u", k->id);
    int rc = q ? stmt_step(q, err) : -1;
    k->found = rc == 1;
    if (k->found)
        k->name = str_dup(k->a, stmt_str(q, 0));
    return rc < 0 ? -1 : 0;
}

static struct pool_name *find(struct wake *w, Uuid id)
{
    for (struct pool_name *p = w->known; p; p = p->next)
        if (uuid_eq(p->id, id))
            return p;
    return NULL;
}

static void asked(void *arg)
{
    struct asking *k = arg;
    struct socket *s = k->socket;
    struct wake *w = s->own;
    if (k->found && s->ws) {
        struct pool_name *p = find(w, k->id);
        if (!p) {
            p = arena_new(w->a, struct pool_name);
            *p = (struct pool_name){.next = w->known, .id = k->id, .name = str_dup(w->a, k->name)};
            w->known = p;
        }
        tell(s, k->topic, p);
    }
    arena_free(k->a);
    free(k);
    socket_release(s);
}

static void ask_done(void *arg, const struct err *err)
{
    struct asking *k = arg;
    if (err)
        k->found = false; /* it polls too: what is not told it finds by itself */
    loop_post(k->socket->workspace->loop, asked, k);
}

static void ask(struct socket *s, const struct message *m)
{
    struct asking *k = calloc(1, sizeof *k);
    if (!k)
        die("out of memory");
    *k = (struct asking){.socket = s, .topic = m->topic, .id = m->id, .a = arena_create()};
    socket_hold(s);
    struct err err;
    if (db_read(s->workspace->db, ask_work, ask_done, k, &err) < 0)
        ask_done(k, &err);
}

/* ---- */

static struct pending *find_pending(struct wake *w, const struct message *m)
{
    for (size_t i = 0; i < w->pending_n; i++)
        if (w->pending[i].topic == m->topic && uuid_eq(w->pending[i].id, m->id))
            return &w->pending[i];
    return NULL;
}

static bool wake_wants(void *user, const struct message *m)
{
    const struct socket *s = user;
    struct wake *w = s->own;
    pthread_mutex_lock(&w->lock);
    bool is_new = !find_pending(w, m);
    if (is_new && w->pending_n < PENDING_MAX) /* past it some are told twice */
        w->pending[w->pending_n++] = (struct pending){m->topic, m->id};
    pthread_mutex_unlock(&w->lock);
    return is_new;
}

static void wake_deliver(void *user, const struct message *m)
{
    struct socket *s = user;
    struct wake *w = s->own;
    pthread_mutex_lock(&w->lock); /* what comes from now on is told again */
    struct pending *on_way = find_pending(w, m);
    if (on_way)
        *on_way = w->pending[--w->pending_n];
    pthread_mutex_unlock(&w->lock);
    if (m->topic == TOPIC_RUN_CANCELLING) {
        send_frame(s, "cancel", "flow_run_id", str_of(uuid_text(m->id).s));
        return;
    }
    struct pool_name *p = find(w, m->id);
    if (p)
        tell(s, m->topic, p);
    else
        ask(s, m);
}

static void wake_lost(void *user)
{
    socket_close(user, 1013, "too much at once: look at everything again");
}

static void wake_ready(struct socket *s)
{
    struct wake *w = s->own;
    struct subscriber who = {TOPIC_BIT(TOPIC_POOL_DUE) | TOPIC_BIT(TOPIC_POOL_CHANGED) | TOPIC_BIT(TOPIC_RUN_CANCELLING), wake_wants,
                             wake_deliver, wake_lost, s};
    w->subscription = bus_subscribe(s->workspace->bus, s->workspace->loop, &who);
}

static void wake_message(struct socket *s, Str text)
{
    UNUSED(s);
    UNUSED(text);
}

static void wake_closed(struct socket *s)
{
    struct wake *w = s->own;
    if (w->subscription)
        bus_unsubscribe(TAKE(w->subscription));
}

static const struct socket_kind wake_kind = {
    .strict = true, .ready = wake_ready, .message = wake_message, .closed = wake_closed, .freed = wake_freed};

int millpond_wake(struct call *c, struct err *err)
{
    struct wake *w = calloc(1, sizeof *w);
    if (!w)
        die("out of memory");
    pthread_mutex_init(&w->lock, NULL);
    w->a = arena_create();
    return socket_open(c, &wake_kind, w, err);
}
