/* orchestration/transition.h: one proposal under way, and what rules may do with it. Private to the folder.
 *
 * A rule's `before` may let the proposal pass, change it (t->proposed, t->details), or call one of the verdicts below; `after`
 * runs when the rule's outcome stood to the end, `cleanup` when a later rule changed it. They may change the run's row (struct
 * members; the walker finds out what is to be written) and use the connection; an error undoes the whole write. */
#pragma once
#include "orchestration/orchestrate.h"
#include "store/concurrency.h"

/* "No state" in masks, beside STATE_BIT. */
#define NO_STATE STATE_COUNT
#define EVERY_STATE (STATE_BIT(STATE_COUNT) - 1)
#define ANY_FROM (EVERY_STATE | STATE_BIT(NO_STATE))

/* The columns that flow runs and task runs share, in either's row. */
#define RUN_COLUMNS(X)                                                                             \
    X(Uuid, id)                                                                                    \
    X(Time, updated)                                                                               \
    X(Uuid, state_id)                                                                              \
    X(Str, state_type)                                                                             \
    X(Str, state_name)                                                                             \
    X(Time, state_timestamp)                                                                       \
    X(int64_t, run_count)                                                                          \
    X(Time, expected_start_time)                                                                   \
    X(Time, next_scheduled_start_time)                                                             \
    X(Time, start_time)                                                                            \
    X(Time, end_time)                                                                              \
    X(Dur, total_run_time)
struct run {
#define X(type, name) type *name;
    RUN_COLUMNS(X)
#undef X
};

/* What a flow run's rules and its event need to know of other rows; texts are STR_NONE where there is no such row. */
struct around {
    Str flow_name, flow_tags;
    bool has_deployment;
    Str deployment_name, deployment_tags, concurrency_options;
    Uuid limit_id; /* the deployment's */
    Str queue_name;
    int64_t queue_limit;
    Uuid pool_id;
    Str pool_name, pool_type;
    int64_t pool_limit;
    Str parent_name; /* of the parent task run */
};

/* A task run's flow run. */
struct enclosing {
    bool read, found;
    int type;
    int64_t run_count;
    Uuid state_id;
    Time state_timestamp;
};

struct transition {
    struct orchestration *o;
    enum run_kind kind;
    struct flow_run *flow_run; /* one of the two */
    struct task_run *task_run;
    struct run run;
    const struct resource *resource; /* of the row */
    void *row;    /* flow_run or task_run */
    void *before; /* the row as it is in the table */

    int from; /* type of the current state, or NO_STATE */
    struct state current; /* with the run's columns alone where the row is gone */
    struct state_details current_details;
    int to; /* type of what stands proposed; -1: nothing any more */
    struct state proposed;
    struct state_details details; /* of `proposed`; put into its text before it is stored */

    enum verdict verdict;
    Str reason;
    int64_t delay_seconds;
    bool wrote;
    bool exists; /* the run was to be inserted, and there is one */

    struct around around;       /* flow runs */
    struct enclosing enclosing; /* task runs */
    bool policy_read;
    union {
        struct flow_run_policy flow_policy;
        struct task_run_policy task_policy;
    };

    /* What rules remember between their hooks. */
    Str old_policy;       /* terminal states: to be put back */
    int64_t old_run_count;
    Str pause_key;
    Uuid lease;           /* made by a rule of this transition */
};

struct rule {
    const char *name;
    uint16_t from, to;
    int (*before)(struct transition *t, struct err *err);
    int (*after)(struct transition *t, struct err *err);
    int (*cleanup)(struct transition *t, struct err *err);
    bool transform; /* its hooks always run, whatever became of the proposal */
};
struct rule_list {
    const struct rule *rules;
    size_t n;
};

extern const struct rule_list flow_core, flow_minimal, flow_mark_late, flow_global; /* rules_flow.c, transforms.c */
extern const struct rule_list task_core, task_background, task_autonomous, task_minimal, task_global; /* rules_task.c, transforms.c */

/* Verdicts; they return 0, so that a hook ends with one. `reason` must live as long as the arena. */
int reject_with(struct transition *t, const struct state *instead, const struct state_details *details, Str reason);
int reject(struct transition *t, Str reason); /* the current state is kept */
int wait_for(struct transition *t, int64_t seconds, Str reason);
int abort_because(struct transition *t, Str reason);

/* The details that a new state starts with. */
struct state_details details_none(void);

/* Rules that both kinds of run have. */
int copy_scheduled_time(struct transition *t, struct err *err);
int wait_for_scheduled_time(struct transition *t, struct err *err);
int prevent_pending(struct transition *t, struct err *err);

/* True where the client names no API version or one from this on. */
bool client_api_from(const struct client_info *client, int major, int minor, int patch);
/* True where the client is known to be of this version or newer. */
bool client_from(const struct client_info *client, int major, int minor, int patch);

/* The run's policy, read at first use; flow_policy_put stores what was changed in it. */
struct flow_run_policy *flow_policy(struct transition *t);
void flow_policy_put(struct transition *t);
const struct task_run_policy *task_policy(struct transition *t);

/* events.c: "prefect.flow-run.<name>" of the state just written. */
void event_flow_run(struct transition *t);
/* The flow run of a task run, read at first use. */
int enclosing_read(struct transition *t, struct err *err);
