/* tests/fuzz/world.h: a server without sockets: requests go through the router, the handlers and two databases in memory, on the threads
 * of a real one. A world of one or two of everything stands in it; a request speaks of its ids by name: "@run". */
#pragma once
#include "api/server.h"

struct world_answer {
    int status;
    Str content_type, body; /* in the caller's arena */
};

/* Made at the first call. */
struct server *world(void);
/* Empties it and makes it anew, so that what an input does depends little on those before it. */
void world_renew(void);
/* One request: "METHOD /path?query", then headers a line each, then an empty line, then the body. */
struct world_answer world_ask(struct arena *a, Str request);
/* `text` with every @name replaced; what no name fits is left. */
Str world_fill(struct arena *a, Str text);
/* The i-th name without its @; NULL past the last. */
const char *world_name(size_t i);
