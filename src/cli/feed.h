/* cli/feed.h: a socket of the API read one message at a time, as a command wants it.
 *
 * The socket lives on a loop's thread; the command's thread waits for messages. The handshake (subprotocol, credentials) is made
 * when it opens. One feed a command. */
#pragma once
#include "cli/cli.h"

struct feed;

/* Opens `path` ("/events/out"), waits until the server takes the credentials, and sends `first`. NULL with ERR_NOT_FOUND where
 * the server has no such socket, ERR_AUTH where it wants other credentials, ERR_IO where it does not answer. */
NODISCARD struct feed *feed_open(struct cli *x, const char *path, Str first, struct err *err);
/* The next message, in `a`: 1; 0 where none came within `timeout` (0: without end); -1 where the socket is closed, with why. */
NODISCARD int feed_next(struct feed *f, struct arena *a, Dur timeout, Str *ret, struct err *err);
void feed_close(struct feed *f); /* NULL is accepted */
void feed_closep(struct feed **f);
