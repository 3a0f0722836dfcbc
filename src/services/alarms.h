/* services/alarms.h: one heap of due instants instead of loops that look every few seconds.
 *
 * Each service of the table in services.c has one entry for each workspace: when it must next run. A committed write brings it forward
 * (alarms_lower); a tick runs as a write of that workspace's database and says when the next one is due, found by
 * an indexed MIN. Due instants are wall time, compared on each tick, so that a clock that jumps or a machine
 * that slept is caught up with in bounded steps. One thread ("clock") waits for the earliest; it hears at once of the clock's being set, looks
 * at everything anew, and moves the leases along. */
#pragma once
#include "services/workspace.h"

struct alarms;

/* What a tick is given and gives. It runs inside a write transaction and may be run again (see db.h). */
struct tick {
    struct workspace *ws;
    struct conn *conn;
    struct arena *a;
    Time now;
    struct outbox out;
    Time next; /* when to run again; TIME_NEVER: until lowered. Not later than a minute is waited on PostgreSQL, where others write too */
};
struct service {
    const char *name; /* settings and metrics speak of it by this name */
    enum alarm alarm;
    Dur min_gap;      /* between two ticks: bounds work, gathers what comes together */
    int (*tick)(struct tick *t, struct err *err);
    const char *doc;
    bool reads;       /* its tick changes nothing: it does not wait for the writer, whose commits take the disk's time */
};
extern const struct service services[ALARM_COUNT];

/* Starts the clock thread, known as ws->alarms from then on; every alarm of the workspace is due at once (the heap is read from the database by the first ticks). */
struct alarms *alarms_start(struct workspace *ws, struct err *err);
void alarms_stop(struct alarms *a);
/* Any thread; keeps the earlier of the two. */
void alarms_lower(struct alarms *a, enum alarm which, Time at);
/* For /api/metrics and /api/ready: ticks run, failures, and by how much the last one was late. */
struct alarm_stats {
    uint64_t ticks, failures;
    Dur last_lag;
    Time due;
    Dur overdue; /* how long a tick that should have begun has not, or one that began has not ended; 0: all is well */
    Dur failing; /* how long every tick has failed; 0: the last did not */
};
struct alarm_stats alarms_stats(const struct alarms *a, enum alarm which);
