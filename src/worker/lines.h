/* worker/lines.h: bytes of a run's output made into lines fit for a log.
 *
 * Any bytes go in; what comes out is valid UTF-8 without NUL, a line at a time, never longer than LINE_MAX_BYTES: a longer
 * line is cut and says by how much. What a carriage return overwrote (progress bars) is left out, and an indented line
 * that follows a traceback's head joins it, so that a traceback is one entry. */
#pragma once
#include "base/str.h"

#define LINE_MAX_BYTES ((size_t)16 << 10)

typedef void lines_emit(void *user, int stream, Str line);

struct lines {
    int stream; /* handed through */
    lines_emit *emit;
    void *user;
    size_t n, cut;     /* bytes held; bytes of this line thrown away */
    bool traceback;    /* held text is a traceback that may go on */
    bool cr;           /* a carriage return came; what follows, unless it is a newline, overwrites */
    size_t line_start; /* of the last line inside a held traceback */
    char held[LINE_MAX_BYTES];
};

void lines_init(struct lines *l, int stream, lines_emit *emit, void *user);
void lines_feed(struct lines *l, const char *p, size_t n);
/* What is held without a newline yet: at the end of the stream, or when nothing has come for a while. */
void lines_flush(struct lines *l);
