/* events/filter.h: the API's EventFilter, read once, then asked of rows as SQL and of events in memory.
 *
 * A filter is a list of tests ("the label k of the resource begins with one of …"). One table of rows says which key of
 * the API makes which test; both walks go over the tests, so that what a subscriber hears live is what he would have
 * found stored. `order` and `distinct` matter to SQL alone. */
#pragma once
#include "model/text_query.h"
#include "store/outbox.h"

/* Whose label a test looks at. */
enum event_scope {
    SCOPE_NAME,     /* the event's name, no label */
    SCOPE_RESOURCE, /* the event's own resource */
    SCOPE_RELATED,  /* one of the related ones */
    SCOPE_ANY,      /* one of all */
};

enum event_test_kind {
    TEST_IN,         /* equal to one of the values */
    TEST_NOT_IN,
    TEST_PREFIX,     /* begins with one of the values */
    TEST_NOT_PREFIX,
    TEST_PATTERN,    /* fits one of the values, in which '*' and '?' stand for any text and any character, and a
                      * leading '!' for "not"; false where the label is not there */
    TEST_PAIR,       /* the resource's id and role are values[2i] and values[2i + 1] */
};

struct event_test {
    enum event_test_kind kind;
    Str label; /* STR_NONE: the event's name */
    const Str *values;
    size_t n;
};

/* Tests that one and the same resource must pass. */
struct event_group {
    enum event_scope scope;
    VEC(struct event_test) tests;
};

struct event_filter {
    Time since, until;
    bool ascending, distinct;
    VEC(Uuid) ids; /* n 0: any */
    VEC(struct event_group) groups;
    struct text_query text;
};

/* `object` may be NULL or null: everything of the last 180 days until `now`. What is wrong goes to `v`. Values point into the
 * body's tree. */
void event_filter_parse(struct arena *a, const struct json *object, Time now, struct event_filter *ret, struct violations *v);
/* " FROM event WHERE …": what stands before it is the caller's, and what comes after. */
void event_filter_from(struct sql *q, const struct event_filter *f);
bool event_filter_match(const struct event_filter *f, const struct event *e);
/* The object again as text, with its default times filled in: pages of one answer go on asking the same. */
Str event_filter_text(struct arena *a, const struct event_filter *f, const struct json *object);
