/* worker/relay.h: the ways out of a sandbox, whose network is its own and leads nowhere.
 *
 * Sockets made inside the sandbox are served here, outside, by one thread:
 *   - the API's: every connection is carried there; while the server is away, a connection waits for it;
 *   - an HTTP proxy's, for the hosts of a list;
 *   - and what any program asks for with connect(): the call comes here before the kernel carries it out (seccomp's user
 *     notification). Where the policy says yes, the connection is made here, and the program's own socket is
 *     connected to us and carried there. A refused or failed connection is the call's own error. Sockets of the machine's
 *     network never come to be inside, so that no trick with the call's arguments reaches further than the policy.
 * Names are asked of 127.0.0.1:53, and carried to the machine's name servers.
 *
 * What a program can tell: the other end's address is ours (getpeername); a connection that does not block and takes long
 * is reported as made, and reset should it fail; datagrams go out from connected sockets alone. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "base/time.h"

/* Sockets of the sandbox. */
enum way {
    WAY_API,       /* listens; to the API */
    WAY_CONTROL,   /* listens; not the relay's (control.h) */
    WAY_PROXY,     /* listens; HTTP proxy for the list */
    WAY_NAMES,     /* listens, port 53 */
    WAY_DATAGRAMS, /* UDP, port 53: names, and what connected UDP sockets send */
    WAY_OUT,       /* listens, any port: where allowed connections arrive */
    WAY_CONNECTS,  /* seccomp's listener: the calls to connect() */
    WAY_COUNT
};

enum relay_policy {
    RELAY_NOTHING, /* the API alone */
    RELAY_LISTED,  /* and the hosts of the list */
    RELAY_ALL,     /* and any but those of relay_forbids() */
};

struct relay;

struct relay_options {
    int ways[WAY_COUNT]; /* -1: none; all but WAY_CONTROL become the relay's */
    Str host;            /* of the API: name or address */
    int port;
    Str alias;           /* an IPv4 address that the inside has as its own; STR_NONE: none */
    Str names;           /* "address:port" of the one name server; STR_NONE: those of /etc/resolv.conf */
    Dur patience;        /* how long a connection waits for a server that refuses; 0: 45 s */
};

NODISCARD struct relay *relay_start(const struct relay_options *o, struct err *err);
/* RELAY_NOTHING until this is called; once. `loopback`: RELAY_ALL means the machine's own loopback, too (TCP). The list is of
 * "name", "name:port", "*.name", addresses; its texts outlive the relay. */
void relay_permit(struct relay *r, enum relay_policy policy, bool loopback, const Str *allow, size_t allow_count);
/* Closes all. NULL is accepted. */
void relay_stop(struct relay *r);

/* Does the list let this host and port through? Names are compared without regard to case. */
bool relay_allows(const Str *allow, size_t n, Str host, int port);
/* Addresses that only the machine itself should speak with: link-local ones and those of clouds' metadata services. An IPv6
 * address, or IPv4 mapped into one (also by NAT64). */
bool relay_forbids(const unsigned char address[16]);
/* "http://host[:port]/…" into its parts; 80 or 443 where no port is named. False where it is none. */
bool url_origin(Str url, Str *ret_host, int *ret_port, bool *ret_tls);
