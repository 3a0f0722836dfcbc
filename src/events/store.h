/* events/store.h: the telemetry database's writing side: events gathered into few large commits, logs beside them.
 *
 * What the server itself emits is gathered for up to 10 ms where events come one after the other; what a client waits for is
 * written at once. An event is stored once by its id, however often it comes; those that were new are published on the bus after their
 * commit. What the server itself emits (no `done`) is kept and tried again while the database fails; what a client waits
 * for is answered with the error, and the client sends it again. */
#pragma once
#include "db/db.h"
#include "events/bus.h"

struct event_store;

NODISCARD struct event_store *event_store_create(struct db *telemetry, struct bus *bus, struct err *err);
/* Before the database is closed: hands over what waits for another try. NULL is accepted. */
void event_store_free(struct event_store *s);
/* Texts are copied. `done` (may be NULL) is called once all of them are on disk, or with the error: on a thread of the
 * database's, or from inside this call where the database takes no more. Any thread; never waits. */
void event_store_add(struct event_store *s, const struct event *events, size_t n, db_done *done, void *arg);

struct event_store_stats {
    uint64_t stored, doubles, batches, failures, lost; /* lost: dropped because the database failed for too long */
    size_t waiting;
};
struct event_store_stats event_store_stats(const struct event_store *s);
