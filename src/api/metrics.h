/* api/metrics.h: what GET /api/metrics tells: counters that every reply adds to, without a lock. */
#pragma once
#include "http/server.h"

struct route;

/* For http_options.replied; the exchange's data is its route, NULL where the path is none's. */
void metrics_replied(struct exchange *x, int status, Dur took);
/* One socket of this route more, or less. */
void metrics_socket(const struct route *route, int by);
