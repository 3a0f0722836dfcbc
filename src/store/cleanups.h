/* store/cleanups.h: what cancelled runs may have left running, until a worker of their pool says that it is gone.
 *
 * A run whose cancellation nobody confirmed in time counts as CANCELLED; the infrastructure that it was started on is then named to
 * one worker of its pool after another (worker channel, `cleanup.message.v1`). A worker has it for a lease, which it may renew; a lease that
 * ends, or is given back, counts as a delivery, and after the third nobody is asked any more. Kept in the database: a restart forgets
 * nothing. */
#pragma once
#include "db/db.h"
#include "store/outbox.h"

#define CLEANUP_LEASE (30 * SEC)
#define CLEANUP_DELIVERIES 3

struct cleanup {
    Uuid id, pool_id, queue_id, flow_run_id;
    Str infrastructure_pid, token;
    int64_t deliveries;
    Time lease;
};

/* For a run that has just been given up: nothing where its pool is gone, or has no workers of its own. Workers are told after the commit. */
NODISCARD int cleanup_add(struct conn *c, Uuid flow_run, Time now, struct outbox *out, struct err *err);
/* One for this worker, who holds fewer than `most`: 1, 0 where there is none for it now. Who serves some queues only gets those of
 * other queues when nobody else took them. */
NODISCARD int cleanup_reserve(struct conn *c, struct arena *a, Uuid pool, Str worker, const Uuid *queues, size_t n, int64_t most, Time now,
                              struct outbox *out, struct cleanup *ret, struct err *err);
enum cleanup_operation { CLEANUP_ACK, CLEANUP_RELEASE, CLEANUP_RENEW };
/* What a holder does with its reservation: *ret_status is a word of the protocol ("accepted", "not_found", …), *ret_lease the
 * lease's new end after an accepted CLEANUP_RENEW. */
NODISCARD int cleanup_operate(struct conn *c, enum cleanup_operation op, Uuid pool, Str worker, Uuid id, Str token, Time now, struct outbox *out,
                              const char **ret_status, Time *ret_lease, struct err *err);
/* Tells the pools with something to take, gives up what was delivered too often, and says when to look again. */
NODISCARD int cleanup_tick(struct conn *c, struct arena *a, Time now, struct outbox *out, Time *ret_next, struct err *err);
