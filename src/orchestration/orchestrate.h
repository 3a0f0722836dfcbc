/* orchestration/orchestrate.h: may this run enter that state, and what follows.
 *
 * The rules of semantics.md 1.2 and 1.3 as ordered tables of { name, from_mask, to_mask, before, after, cleanup }; one walker
 * runs them (1.1). Everything happens on one connection inside the caller's transaction: the run is locked by the caller,
 * the new state is inserted, the run's row updated, slots and leases taken or returned, and what is to be told is put
 * into the outbox. Errors are the database's alone; a refusal is a result, not an error. */
#pragma once
#include "store/outbox.h"
#include "store/state.h"

enum policy { POLICY_CORE, POLICY_MINIMAL, POLICY_MARK_LATE };
enum verdict { VERDICT_ACCEPT, VERDICT_REJECT, VERDICT_WAIT, VERDICT_ABORT };

/* Who asks; from the request's headers. */
struct client_info {
    int api[3];     /* X-PREFECT-API-VERSION; {0,0,0}: absent, counts as the newest */
    int version[3]; /* of User-Agent "prefect/3.8.8 (API 0.8.4)"; {-1,…}: unknown */
};

struct orchestration {
    struct conn *conn;
    struct arena *a;
    Time now;
    enum policy policy;
    bool force; /* as POLICY_MINIMAL */
    unsigned expected; /* STATE_BITs: a flow run in a state of another type stays there (not with `force`); 0: any */
    struct client_info client;
    struct outbox *out;
    const struct orchestration_settings *settings; /* NULL: the defaults */
    /* Not NULL: the run is not in the table yet; it is inserted with its first state, with this behind the INSERT
     * ("", "ON CONFLICT … DO NOTHING"). */
    const char *insert;
};

/* Durations that settings may change (defaults in semantics.md). */
struct orchestration_settings {
    Dur deployment_slot_wait;  /* 30 s */
    Dur initial_lease;         /* 300 s */
    Dur tag_slot_wait;         /* 10 s */
    Dur max_slot_wait;         /* 30 s */
    int64_t max_cache_key;     /* 2000 characters */
    Dur late_grace;            /* 15 s: a run that has not started by then is late */
    Dur cancelling_timeout;    /* 300 s: a run that has not ended by then counts as cancelled */
};
extern const struct orchestration_settings orchestration_defaults;

struct verdict_result {
    bool exists;        /* `insert` met a run that is there: nothing was done */
    enum verdict verdict;
    bool wrote;         /* a state was written: the HTTP status is 201 */
    bool has_state;
    struct state state; /* the run's state now; meaningful if has_state */
    Str reason;         /* STR_NONE: none */
    int64_t delay_seconds; /* WAIT */
};

/* Proposes `proposed` (not NULL) for a locked run; *run is updated in place and in the table. */
NODISCARD int orchestrate_flow_run(struct orchestration *o, struct flow_run *run, const struct state *proposed,
                                   struct verdict_result *ret, struct err *err);
NODISCARD int orchestrate_task_run(struct orchestration *o, struct task_run *run, const struct state *proposed,
                                   struct verdict_result *ret, struct err *err);
/* Tells anew of a state that a flow run has entered: its event into the outbox, as it was told then (names as they are now).
 * 1; 0 where run or state are gone; -1. */
NODISCARD int orchestrate_tell_again(struct orchestration *o, Uuid run_id, Uuid state_id, struct err *err);
/* The API's OrchestrationResult. */
void verdict_print(struct jw *w, const struct verdict_result *r);
const char *verdict_name(enum verdict v); /* "ACCEPT" … */
/* Its `details` alone. */
void verdict_details_print(struct jw *w, const struct verdict_result *r);

/* Computed on read (semantics.md 1.4, end). */
Dur estimated_run_time(Dur total_run_time, int state_type, Time state_timestamp, Time now);
Dur estimated_start_time_delta(Time start_time, Time expected_start_time, int state_type, Time now);
