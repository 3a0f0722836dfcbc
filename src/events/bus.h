/* events/bus.h: what committed writes tell, to those who listen, in this process.
 *
 * Publishing never waits: a message that somebody wants is copied once, counted by references, and posted to each
 * subscriber's loop. A subscriber that is behind by LIMIT_SUBSCRIBER_QUEUE messages loses further ones (counted, and it is
 * told), and holds nobody up. What a subscriber does not want (`wants`) takes no place in its queue. */
#pragma once
#include "loop/loop.h"
#include "model/all.h"
#include "store/outbox.h"

enum topic {
    TOPIC_EVENT,          /* an event that is stored: text is the API's ReceivedEvent */
    TOPIC_LOG,            /* a log row that is stored: text is the API's Log */
    TOPIC_POOL_DUE,       /* id: a work pool that has a run due now */
    TOPIC_POOL_CHANGED,   /* id: a work pool whose row changed or is gone */
    TOPIC_RUN_CANCELLING, /* id: a flow run that entered CANCELLING */
    TOPIC_POOL_CLEANUP,   /* id: a work pool with something for a worker to clean up */
    TOPIC_COUNT,
};
#define TOPIC_BIT(t) (1u << (t))

struct message {
    enum topic topic;
    Uuid id;
    Str text;  /* JSON; STR_NONE for topics that only carry an id. Made from `event` or `log` if somebody wants it */
    Time when; /* EVENT: occurred; LOG: timestamp */
    Time received; /* EVENT */
    /* Only while publishing, for `wants`; NULL when delivered. */
    const struct event *event;
    const struct log *log;
};

struct bus;
struct subscription;

/* Who listens. `wants` may be NULL (everything); it runs on the publisher's thread, under the bus' lock: quick, and
 * touching nothing that the subscriber changes while subscribed. `deliver` runs on the loop's thread; the message is
 * valid during the call. */
struct subscriber {
    unsigned topics; /* TOPIC_BIT(…) | … */
    bool (*wants)(void *user, const struct message *m);
    void (*deliver)(void *user, const struct message *m);
    void (*lost)(void *user); /* may be NULL; on the loop, after what was before a gap is delivered */
    void *user;
};

struct bus *bus_create(void);
/* After every subscriber is gone. NULL is accepted. */
void bus_free(struct bus *b);
struct subscription *bus_subscribe(struct bus *b, struct loop *l, const struct subscriber *s);
/* On the loop's thread: nothing is asked or delivered after it. */
void bus_unsubscribe(struct subscription *s);
/* Any thread. */
void bus_publish(struct bus *b, const struct message *m);
/* Whether anybody listens to the topic: a cheap look before making messages. */
bool bus_has(const struct bus *b, enum topic t);
uint64_t bus_dropped(const struct bus *b);
