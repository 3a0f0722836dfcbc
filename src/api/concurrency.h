/* api/concurrency.h: what the routes of global limits and of tag limits share. */
#pragma once
#include "api/handlers.h"
#include "store/concurrency.h"

#define LIMIT_NAMES 500 /* limits named in one request */

/* `prefect.concurrency-limit.<what>`. */
void limit_event(struct call *c, const struct concurrency_limit *l, const char *what);
/* The limit, and what leases say of it. */
NODISCARD int limit_delete(struct call *c, const struct concurrency_limit *l, struct err *err);
/* [{id, name, limit}]; `prefix` characters of each name are left out. */
void limits_print_minimal(struct call *c, const struct slots_result *r, size_t prefix);
/* 423; retry_after in seconds, negative: nothing is said of another try. What was written is kept. */
int reply_locked(struct call *c, double retry_after, Str detail);
