/* worker/relay.h: the ways out of a sandbox with a closed network.
 *
 * A listening socket that was made inside the sandbox is accepted here, outside. In one of two manners: to the API alone
 * (every connection is carried there; while the server is away, a connection waits for it), or as an HTTP proxy that connects
 * to the hosts of a list and to no others. One thread for all. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "base/time.h"

struct relay;

struct relay_listener {
    int fd;      /* listening, non-blocking or not; becomes the relay's */
    bool proxy;
};

struct relay_options {
    struct relay_listener listeners[2];
    size_t listener_count;
    Str host;         /* where connections that are no proxy's go: name or address */
    int port;
    const Str *allow; /* "name", "name:port", "*.name", an address; texts outlive the relay */
    size_t allow_count;
    Dur patience;     /* how long a connection waits for a server that refuses; 0: 45 s */
};

NODISCARD struct relay *relay_start(const struct relay_options *o, struct err *err);
/* Closes all. NULL is accepted. */
void relay_stop(struct relay *r);

/* Does the list let this host and port through? Names are compared without regard to case. */
bool relay_allows(const Str *allow, size_t n, Str host, int port);
/* "http://host[:port]/…" into its parts; 80 or 443 where no port is named. False where it is none. */
bool url_origin(Str url, Str *ret_host, int *ret_port, bool *ret_tls);
