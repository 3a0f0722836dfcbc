/* worker/verdict.h: what a run's state should become once its process has ended.
 *
 * A pure function of how the process ended and what the API says of the run now, so that asking twice is safe. It
 * never overrules a final state that the run gave itself, and leaves a run alone that somebody else has taken over
 * since (resumed after a suspension, rescheduled by hand). */
#pragma once
#include "json/json.h"

enum stop_reason { STOP_NONE, STOP_CANCEL, STOP_TIME_LIMIT, STOP_ASKED, STOP_LOST };

struct run_end {
    bool started;            /* false: the process never ran, `detail` says why */
    int code;                /* exit status; -n: ended by signal n */
    enum stop_reason reason; /* who ended it; STOP_LOST: its supervisor vanished, code is unknown */
    bool out_of_memory;      /* the kernel killed something of it for its memory limit */
    Dur time_limit;
    Str detail;
};

enum verdict_kind { VERDICT_NOTHING, VERDICT_STATE };

struct verdict {
    enum verdict_kind kind;
    const char *type, *name; /* name NULL: the type's own */
    Str message;
    bool force;
    const char *why; /* for the log: what was found */
};

/* `run` is the API's flow run; `claim_state` and `identifier` are what made it ours. */
struct verdict run_verdict(struct arena *a, const struct run_end *end, const struct json *run, Uuid claim_state,
                           Str identifier);

/* What an exit status usually means, one sentence; never NULL. */
const char *exit_explanation(int code);
