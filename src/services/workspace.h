/* services/workspace.h: one workspace: its two databases and all that watches them.
 *
 * Nothing assumes that there is only one. Made at start, lives as long as the server; thread-safe. */
#pragma once
#include "db/db.h"
#include "events/bus.h"
#include "events/retention.h"
#include "orchestration/orchestrate.h"
#include "store/outbox.h"

struct alarms;
struct event_store;
struct recorder;
struct seal_key;
struct task_queues;
struct upkeep;

/* What settings may change of the services (settings.def, server.services). */
struct service_settings {
    Dur min_scheduled_time, max_scheduled_time; /* how far ahead a schedule's runs are made: 1 h at least, 100 days at most */
    int64_t min_runs, max_runs;                 /* of a schedule at a time: 3, 100 */
    Dur deployment_silence, queue_silence;      /* 60 s: one that nobody polled since counts as not ready */
    struct retention retention;                 /* 7 days of events, 30 of logs */
};
extern const struct service_settings service_defaults;

struct workspace {
    Str name;
    struct db *db;        /* records: sql/migrations/main */
    struct db *telemetry; /* logs and events: sql/migrations/telemetry */
    struct bus *bus;
    struct event_store *events; /* writes what is told to the telemetry database */
    struct loop *loop;    /* sockets */
    struct alarms *alarms;
    struct recorder *recorder; /* task runs that arrive as events */
    struct task_queues *task_queues; /* background tasks to hand out */
    struct upkeep *upkeep;     /* events that a crash cut off; retention */
    const struct seal_key *key; /* secrets; lies outside the database */
    struct orchestration_settings orchestration;
    struct service_settings services;
};

/* What must be there before the first request: the right sealing key (see seal_key_check), built-in block types. */
NODISCARD int workspace_prepare(struct workspace *ws, bool forget_secrets, struct err *err);

/* After a commit: stores and publishes the outbox' events, publishes what else it tells, lowers alarms. Any thread; never
 * waits. The outbox' texts may be freed afterwards. */
void workspace_tell(struct workspace *ws, const struct outbox *o);

/* Takes events that a client sent: stores and publishes them, and records the task runs that they tell of. `done` is called once
 * both are on disk, or with the error; on any thread, also inside this call. */
void workspace_take_events(struct workspace *ws, const struct event *events, size_t n, db_done *done, void *arg);
/* Stores and publishes them alone; see event_store_add. */
void workspace_store_events(struct workspace *ws, const struct event *events, size_t n, db_done *done, void *arg);
