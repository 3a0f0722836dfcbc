/* events/bus.h: what committed writes tell, to those who listen, in this process.
 *
 * Publishing never waits: a message is copied once, counted by references, and posted to each subscriber's loop.
 * A subscriber that is behind by LIMIT_SUBSCRIBER_QUEUE messages loses further ones (counted), never the publisher. */
#pragma once
#include "loop/loop.h"
#include "store/outbox.h"

enum topic {
    TOPIC_EVENT,          /* event stored (or about to be): text is the API's ReceivedEvent */
    TOPIC_LOG,            /* a log row: text is the API's Log */
    TOPIC_POOL_DUE,       /* id: a work pool that has a run due now */
    TOPIC_POOL_CHANGED,   /* id: a work pool whose row changed or is gone */
    TOPIC_RUN_CANCELLING, /* id: a flow run that entered CANCELLING */
    TOPIC_TASK_SCHEDULED, /* id: a background task run to hand out */
    TOPIC_COUNT,
};
#define TOPIC_BIT(t) (1u << (t))

struct message {
    enum topic topic;
    Uuid id;
    Str text; /* JSON; STR_NONE for topics that only carry an id */
    /* For matching without parsing; EVENT: name, resource id, occurred; LOG: level in `level`, run ids. */
    Str name, resource_id;
    Time when;
    int64_t level;
    Uuid flow_run_id, task_run_id;
};

struct bus;
struct subscription;

struct bus *bus_create(void);
void bus_free(struct bus *b);
/* `deliver` runs on `l`'s thread; the message is valid during the call. */
struct subscription *bus_subscribe(struct bus *b, unsigned topics, struct loop *l,
                                   void (*deliver)(void *user, const struct message *m), void *user);
/* On the loop's thread: nothing is delivered after it. */
void bus_unsubscribe(struct subscription *s);
/* Any thread; copies the message (nothing where nobody listens to the topic: bus_has tells). */
void bus_publish(struct bus *b, const struct message *m);
bool bus_has(const struct bus *b, enum topic t);
uint64_t bus_dropped(const struct bus *b);
