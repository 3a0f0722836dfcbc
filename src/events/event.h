/* events/event.h: an event of the API as JSON and as a row (store/outbox.h has the struct). */
#pragma once
#include "model/record.h"
#include "store/outbox.h"

#define EVENT_NAME_MAX 1024   /* characters */
#define EVENT_LABELS_MAX 500  /* of one resource */
#define EVENT_RELATED_MAX 100 /* resources */

/* From what a client sent; texts are in `a` or in the body's text. What is wrong goes to `v`; keys that are not
 * known are passed over, as the API does. Labels are kept as compact JSON without NUL characters and doubles. */
void event_parse(struct arena *a, const struct json *body, struct event *ret, struct violations *v);
/* The API's ReceivedEvent. */
void event_print(struct jw *w, const struct event *e, Time received);
/* A value of the JSON object `resource`; STR_NONE where it has none. */
Str event_label(struct arena *a, Str resource, Str label);

/* "event.id, event.occurred, …": what event_load reads. */
extern const char event_columns[];
void event_load(struct arena *a, struct stmt *q, int first, struct event *ret, Time *ret_received);
/* Stores events, those that are there already excepted; fresh[i]: this one was new. 0 or -1. */
NODISCARD int events_insert(struct conn *c, const struct event *events, size_t n, Time received, bool *fresh, struct err *err);
