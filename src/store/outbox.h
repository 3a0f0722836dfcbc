/* store/outbox.h: what a write will tell the world once it is committed.
 *
 * Handlers and rules add to it while they work; after the commit the API layer stores the events (telemetry),
 * publishes them on the bus, wakes workers and lowers the services' alarms. An undone write tells nothing.
 * Lives in the write's arena; one thread. */
#pragma once
#include "base/arena.h"
#include "json/json.h"

/* An event of the API (semantics.md 9). Texts are JSON where it says so. */
struct event {
    Uuid id;
    Time occurred;
    Str event;       /* "prefect.flow-run.Running" */
    Str resource_id; /* "prefect.flow-run.<id>" */
    Str resource;    /* JSON object of labels */
    Str related;     /* JSON array of label objects */
    Str payload;     /* JSON object */
    Uuid follows;
};

/* Services whose next due instant a write may bring forward (services/services.h has the table). */
enum alarm {
    ALARM_SCHEDULER, /* a schedule's next_due */
    ALARM_LATE,      /* a Scheduled run's next_scheduled_start_time + grace */
    ALARM_DUE,       /* a Scheduled run with a work queue or deployment: wake who waits for it */
    ALARM_PAUSE,     /* pause_timeout of a Paused run */
    ALARM_LEASE,     /* a concurrency lease's expiry */
    ALARM_FOREMAN,   /* a worker, queue or deployment that will count as silent */
    ALARM_CANCEL,    /* cancellation clean-up */
    ALARM_SLOT,      /* a slot that runs of a deployment may wait for has become free */
    ALARM_NAMES,     /* flow runs have names that are not indexed yet */
    ALARM_COUNT,
};

/* A background task run that entered SCHEDULED: it is to be handed out. */
struct task_scheduled {
    Uuid id;
    Str key;    /* its task_key */
    bool retry; /* it is tried again */
};

struct outbox {
    struct arena *a;
    VEC(struct event) events;
    VEC(Uuid) pools_due;     /* work pools with a run that is due now: their workers are woken */
    VEC(Uuid) runs_cancelling; /* flow runs that entered CANCELLING */
    VEC(Uuid) pools_changed; /* work pools whose row changed */
    VEC(Uuid) pools_cleanup; /* work pools with something for a worker to clean up */
    VEC(Uuid) runs_deleted;  /* flow runs that are gone: their logs go too */
    VEC(struct task_scheduled) tasks_scheduled; /* in their order (EnqueueScheduledTasks) */
    Time alarm[ALARM_COUNT]; /* TIME_NEVER: unchanged */
};
void outbox_init(struct outbox *o, struct arena *a);
/* An event "prefect.<kind>.<what>" of the resource "prefect.<kind>.<id>"; name, related (JSON list) and payload (JSON object) may be STR_NONE. */
void outbox_changed(struct outbox *o, Time now, const char *kind, const char *what, Uuid id, Str name, Str related, Str payload);
void outbox_alarm(struct outbox *o, enum alarm which, Time at); /* keeps the earliest */
