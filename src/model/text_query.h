/* model/text_query.h: the search language of events and logs, as SQL and as a test in memory.
 *
 * Words and "phrases in quotes", separated by blanks; one of them must occur. +word must occur, -word or !word must
 * not. A word occurs where it is part of one of the texts searched; letters of ASCII match in either case. */
#pragma once
#include "model/record.h"

#define TEXT_QUERY_MAX 200 /* characters; the API's own cap, and so the cap on words */

struct text_word {
    enum { WORD_ANY, WORD_REQUIRED, WORD_EXCLUDED } kind;
    Str text;
};
struct text_query {
    struct text_word *words; /* NULL where the query says nothing */
    size_t n;
};

/* A too long query is a violation at `key`. The words are copied into `a`. */
struct text_query text_query_parse(struct arena *a, Str key, const struct json *query, struct violations *v);
/* A clause over columns ("event.event"), NULL-ended; columns may hold NULL, which matches nothing. */
void text_query_where(struct sql *q, const struct text_query *t, const char *const *columns);
bool text_query_match(const struct text_query *t, const Str *texts, size_t n);
