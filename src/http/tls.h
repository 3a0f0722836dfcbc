/* http/tls.h: TLS in front of the HTTP threads.
 *
 * A connection is shaken hands with and forwarded, decrypted, through a socket pair to whoever takes plain
 * connections; loops of its own do it. (libmicrohttpd speaks TLS too, but forwards an upgraded connection four bytes
 * at a time.) An idle connection holds the TLS session and no buffer. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#include <sys/socket.h>

struct tls_front;

/* `pass` gets each plain connection: it owns fd; `from` is the client's address. On a loop's thread.
 * NULL with *err where certificate and key (PEM) are none. */
NODISCARD struct tls_front *tls_front_create(Str cert, Str key, size_t threads,
                                             void (*pass)(void *user, int fd, const struct sockaddr *from, socklen_t n),
                                             void *user, struct err *err);
/* Another certificate and key for connections from now on; those that are open keep theirs. -1 with *err: nothing changed. Any thread. */
NODISCARD int tls_front_renew(struct tls_front *f, Str cert, Str key, struct err *err);
/* Takes over an accepted, non-blocking socket. One thread at a time. */
void tls_front_take(struct tls_front *f, int fd, const struct sockaddr *from, socklen_t n);
/* Connections, those that still shake hands too. */
size_t tls_front_count(const struct tls_front *f);
/* Once the plain ends are closed: sends what is left of their replies (1 s at most), closes all, frees. */
void tls_front_free(struct tls_front *f);
