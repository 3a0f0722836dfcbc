#include "events/bus.h"

#include "base/limits.h"
#include "events/event.h"
#include "events/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct shared {
    atomic_uint refs;
    struct message m;
    char text[];
};

struct subscription {
    struct bus *bus;
    struct loop *loop;
    struct subscriber s;
    struct subscription *next;
    /* Under the bus' lock. */
    struct shared *queue[LIMIT_SUBSCRIBER_QUEUE];
    size_t first, n;
    bool posted; /* a drain is on its way to the loop */
    bool gap;    /* messages were dropped behind those in the queue */
    bool gone;   /* unsubscribed; freed by whoever comes last: unsubscriber or drain */
};

struct bus {
    pthread_mutex_t lock;
    struct subscription *list;
    atomic_size_t listeners[TOPIC_COUNT];
    atomic_uint_fast64_t dropped;
};

static void release(struct shared *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        free(s);
}

struct bus *bus_create(void)
{
    struct bus *b = calloc(1, sizeof *b);
    if (!b)
        die("out of memory");
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    if (b->list)
        die("bus_free: somebody still listens");
    pthread_mutex_destroy(&b->lock);
    free(b);
}

struct subscription *bus_subscribe(struct bus *b, struct loop *l, const struct subscriber *who)
{
    struct subscription *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->bus = b;
    s->loop = l;
    s->s = *who;
    pthread_mutex_lock(&b->lock);
    s->next = b->list;
    b->list = s;
    for (int t = 0; t < TOPIC_COUNT; t++)
        if (who->topics & TOPIC_BIT(t))
            b->listeners[t]++;
    pthread_mutex_unlock(&b->lock);
    return s;
}

void bus_unsubscribe(struct subscription *s)
{
    struct bus *b = s->bus;
    pthread_mutex_lock(&b->lock);
    struct subscription **at = &b->list;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    for (int t = 0; t < TOPIC_COUNT; t++)
        if (s->s.topics & TOPIC_BIT(t))
            b->listeners[t]--;
    for (; s->n; s->n--, s->first = (s->first + 1) % LIMIT_SUBSCRIBER_QUEUE)
        release(s->queue[s->first]);
    s->gone = true;
    bool posted = s->posted;
    pthread_mutex_unlock(&b->lock);
    if (!posted)
        free(s);
}

static struct shared *take(struct subscription *s, bool *ret_gap)
{
    struct shared *m = NULL;
    *ret_gap = false;
    pthread_mutex_lock(&s->bus->lock);
    if (s->n) {
        m = s->queue[s->first];
        s->first = (s->first + 1) % LIMIT_SUBSCRIBER_QUEUE;
        s->n--;
        if (!s->n && s->gap) {
            *ret_gap = true;
            s->gap = false;
        }
    } else {
        s->posted = false;
    }
    pthread_mutex_unlock(&s->bus->lock);
    return m;
}

static void drain(void *arg)
{
    struct subscription *s = arg;
    /* `gone` changes on this thread alone, inside `deliver`; the bus may be gone with it. */
    bool gap;
    for (struct shared *m; !s->gone && (m = take(s, &gap)); release(m)) {
        s->s.deliver(s->s.user, &m->m);
        if (gap && !s->gone && s->s.lost)
            s->s.lost(s->s.user);
    }
    if (s->gone)
        free(s);
}

static struct shared *copy(const struct message *m)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    Str text = m->text;
    if (!text.p && (m->event || m->log)) {
        struct jw w = jw_on(&b);
        if (m->event)
            event_print(&w, m->event, m->received);
        else
            log_print(&w, m->log);
        text = buf_view(&b);
    }
    struct shared *s = malloc(sizeof *s + text.n);
    if (!s)
        die("out of memory");
    s->refs = 1;
    s->m = *m;
    s->m.event = NULL;
    s->m.log = NULL;
    if (text.n)
        memcpy(s->text, text.p, text.n);
    s->m.text = text.p ? (Str){s->text, text.n} : STR_NONE;
    return s;
}

void bus_publish(struct bus *b, const struct message *m)
{
    if (!bus_has(b, m->topic))
        return;
    struct shared *shared = NULL;
    pthread_mutex_lock(&b->lock);
    for (struct subscription *s = b->list; s; s = s->next) {
        if (!(s->s.topics & TOPIC_BIT(m->topic)))
            continue;
        if (s->gap || s->n == LIMIT_SUBSCRIBER_QUEUE) { /* not asked whether it wants it: it may count on getting it */
            s->gap = true;
            b->dropped++;
            continue;
        }
        if (s->s.wants && !s->s.wants(s->s.user, m))
            continue;
        if (!shared)
            shared = copy(m);
        atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
        s->queue[(s->first + s->n++) % LIMIT_SUBSCRIBER_QUEUE] = shared;
        if (!s->posted) {
            s->posted = true;
            loop_post(s->loop, drain, s);
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (shared)
        release(shared);
}

bool bus_has(const struct bus *b, enum topic t)
{
    return b->listeners[t] > 0;
}

uint64_t bus_dropped(const struct bus *b)
{
    return b->dropped;
}
