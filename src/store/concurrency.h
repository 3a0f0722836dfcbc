/* store/concurrency.h: slots of global concurrency limits, and leases on them (semantics.md 6).
 *
 * Slots and leases are rows, changed in the caller's transaction: a crash loses none. A lease is what a holder has in hand:
 * as long as its row exists its slots count, and they are given back when it goes, so never twice. */
#pragma once
#include "model/all.h"
#include "store/outbox.h"

/* A lease that only its holder ends. */
#define LEASE_FOREVER (36500 * DAY)

struct slots_wanted {
    const Str *names;  /* limits by name … */
    const Uuid *ids;   /* … or by id; the other is NULL */
    size_t n;
    int64_t slots;
    bool rate_limit;   /* mode "rate_limit" */
    Dur max_tag_wait;  /* longest retry_after of limits named "tag:…"; 0: 10 s */
};
struct slots_result {
    bool taken;
    double retry_after; /* seconds, where not taken */
    VEC(struct concurrency_limit) limits; /* those that exist, by name, decayed to now; before what was taken or given */
};

/* All or nothing, and nothing is written where a slot is missing. Inactive limits are listed and not counted, unknown ones are
 * passed over; the rows stay locked until the transaction ends. -1 with ERR_UNPROCESSABLE for a request that could never be met. */
NODISCARD int slots_take(struct conn *c, struct arena *a, const struct slots_wanted *want, Dur max_wait, Time now, struct slots_result *ret, struct err *err);
/* Remembers that these could not be had, so that whoever asks next waits the longer: `refused` is what slots_take answered. */
NODISCARD int slots_count_refused(struct conn *c, const struct slots_result *refused, int64_t slots, struct err *err);
/* occupancy: seconds the slots were held, NaN: unknown. What gives slots back lowers ALARM_SLOT: a run may have waited for one. */
NODISCARD int slots_give(struct conn *c, struct arena *a, const struct slots_wanted *want, double occupancy, Time now, struct slots_result *ret, struct outbox *out, struct err *err);

struct lease {
    Uuid id;
    Time created, expires;
    int64_t slots;
    Str limit_ids; /* JSON array */
    Str holder_type;
    Uuid holder_id;
};
NODISCARD int lease_create(struct conn *c, struct arena *a, const Uuid *limit_ids, size_t n, int64_t slots, Dur ttl, Str holder_type, Uuid holder_id, Time now, struct outbox *out, Uuid *ret_id, struct err *err);
NODISCARD int lease_find(struct conn *c, struct arena *a, Uuid id, Time now, struct lease *ret, struct err *err); /* 1, 0, -1; an expired one is not found */
/* 1, 0 gone or expired, -1. */
NODISCARD int lease_renew(struct conn *c, Uuid id, Dur ttl, Time now, struct outbox *out, struct err *err);
/* The holder's own: as lease_renew for a lease that `holder_id` has, also an expired one that still stands. */
NODISCARD int lease_renew_held(struct conn *c, Uuid id, Uuid holder_id, Dur ttl, Time now, struct outbox *out, struct err *err);
/* Gives the slots back (occupancy: the lease's age) and deletes the lease: 1, 0 unknown, -1. */
NODISCARD int lease_release(struct conn *c, struct arena *a, Uuid id, Time now, struct outbox *out, struct err *err);
/* What a flow run has of its deployment's limit: the lease `id` if the run holds it, and any that it holds on `limit_id` alone
 * (either may be nil). Their number, or -1. */
NODISCARD int lease_release_run(struct conn *c, struct arena *a, Uuid run_id, Uuid id, Uuid limit_id, Time now, struct outbox *out, struct err *err);
/* All leases of a holder: their number, or -1. */
NODISCARD int leases_release(struct conn *c, struct arena *a, Str holder_type, Uuid holder_id, Time now, struct outbox *out, struct err *err);
/* What runs have that are about to be deleted: the task runs of a flow run; or all runs of a flow and their task runs. */
NODISCARD int leases_release_tasks(struct conn *c, struct arena *a, Uuid flow_run_id, Time now, struct outbox *out, struct err *err);
NODISCARD int leases_release_flow(struct conn *c, struct arena *a, Uuid flow_id, Time now, struct outbox *out, struct err *err);
/* Those of a holder that are on the named limits alone: their number, or -1. */
NODISCARD int leases_release_limits(struct conn *c, struct arena *a, Str holder_type, Uuid holder_id, const Str *names, size_t n, Time now, struct outbox *out, struct err *err);
/* A limit that begins anew or goes: no lease speaks of it any more, and those that spoke of it alone are gone. */
NODISCARD int leases_forget_limit(struct conn *c, struct arena *a, Uuid limit_id, struct err *err);
/* The slots back without a trace in the limit's average, for a lease that was made in vain: 1, 0, -1. */
NODISCARD int lease_undo(struct conn *c, struct arena *a, Uuid id, Time now, struct outbox *out, struct err *err);
/* The repossessor's tick: releases what has expired by now; *ret_next is the next expiry or TIME_NEVER. */
NODISCARD int leases_expire(struct conn *c, struct arena *a, Time now, Time *ret_next, struct outbox *out, struct err *err);
/* The clock was set by so much: what is held is held as long as before. */
NODISCARD int leases_move(struct conn *c, Dur by, struct err *err);
/* Limit as it stands at `now`, decayed, without writing. */
void limit_decay(struct concurrency_limit *l, Time now);
/* exponential(mean a) restricted to [a·log2(2^k/(2^k−1)), a·k], k = 1 + f. */
double clamped_poisson(double mean, double f);
