/* services/scheduler.h: runs ahead of time from schedules (semantics.md 2). */
#pragma once
#include "model/all.h"
#include "services/workspace.h"

struct scheduling {
    struct conn *conn;
    struct arena *a;
    Time now;
    struct outbox *out;
    const struct workspace *ws;
};
/* How far ahead. */
struct horizon {
    Time start;       /* from when on, itself too */
    Time end;         /* itself too; TIME_NONE: start + max_scheduled_time */
    Dur min_time;     /* at least so far */
    int64_t min_runs; /* at least so many */
    int64_t max_runs; /* at most; LIMIT_SCHEDULE_RUNS at the very most */
};
/* As the workspace's settings say. */
struct horizon horizon_from(const struct workspace *ws, Time start);

/* Makes the runs of one schedule after row->made_to that are not there yet, and brings that forward; *ret_next: when it must be
 * looked at again, TIME_NONE: never. */
NODISCARD int schedule_make_runs(struct scheduling *s, const struct deployment *d, struct deployment_schedule *row,
                                 const struct horizon *h, Time *ret_next, struct err *err);
/* Deletes runs that schedules made and that have not begun: those after now, or (past_too) all; of one schedule or, nil, of all the deployment's. */
NODISCARD int schedule_drop_runs(struct scheduling *s, Uuid deployment_id, Uuid schedule_id, bool past_too, struct err *err);
/* The deployment's active schedules are looked at at once (not paused), or never (paused). */
NODISCARD int schedule_arm(struct scheduling *s, Uuid deployment_id, bool paused, struct err *err);
/* {flow's labels, prefect.flow.id, deployment's, prefect.deployment.id} as JSON. ERR_CONFLICT where there is no such flow. */
NODISCARD int run_labels(struct scheduling *s, Uuid flow_id, Uuid deployment_id, Str deployment_labels, Str *ret, struct err *err);
