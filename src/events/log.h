/* events/log.h: log rows as they come in, go out and are stored. */
#pragma once
#include "model/all.h"

/* One LogCreate: NUL characters in its texts are left out, since no text column holds them; it gets an id. What is wrong
 * goes to `v`. Texts are in `a` or in the body's text. */
void log_parse(struct arena *a, const struct json *body, struct log *ret, struct violations *v);
/* When it arrived: its id says. */
Time log_created(const struct log *l);
/* The API's Log, with `created` and `updated`. */
void log_print(struct jw *w, const struct log *l);
/* On the telemetry database. */
NODISCARD int logs_insert(struct conn *c, const struct log *logs, size_t n, struct err *err);
