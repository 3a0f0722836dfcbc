/* worker/relay_int.h: what the relay's files share. All of it runs on the relay's thread, but for relay_permit(). */
#pragma once
#include <sys/socket.h>

#include "worker/relay.h"

#define LINKS 512 /* connections at once; more wait in the socket's queue */
#define PATHS 64  /* UDP sockets at once; the one unused for longest makes room */
#define CHUNK ((size_t)16 << 10)
#define RETRY (250 * MSEC)

enum stage {
    STAGE_FREE,
    STAGE_HEAD,       /* a proxy's request is read */
    STAGE_INSIDE,     /* a call: its socket connects to something inside */
    STAGE_ASKED,      /* a call: `out` connects, and the call waits for that */
    STAGE_WAIT,       /* for the next try */
    STAGE_CONNECTING, /* `out` connects */
    STAGE_OPEN,
};

/* An address and port, IPv4 in mapped form. */
struct place {
    unsigned char address[16];
    int port;
};

struct half {
    char *p; /* CHUNK bytes read from one side, not yet written to the other */
    size_t from, n;
    bool end;  /* nothing more will be read */
    bool shut; /* and the other side has been told */
};

struct link {
    enum stage stage;
    enum way way;
    int in, out;          /* `in` is -1 until a called one has arrived */
    struct half up, down; /* from the sandbox, to the sandbox */
    Dur until, next_try;
    char host[256];
    int port;
    /* A call's: */
    uint64_t call;
    int sock;           /* the caller's socket, -1 once it is answered */
    bool waits;         /* the caller blocks for as long as it takes */
    struct place from;  /* where `sock` arrives from */
};

/* One UDP socket of the inside. */
struct path {
    bool used, names;
    struct place from;
    struct place to;
    int out; /* -1: nothing was sent yet */
    Dur last;
};

/* A name of the list that was looked up. */
struct known_name {
    unsigned char address[16];
    char name[256];
};

struct relay {
    struct relay_options o;
    pthread_t thread;
    int quit;
    char host[256];
    struct place alias; /* port 0: none */
    int out_port;       /* of WAY_OUT */
    _Atomic int policy; /* set last of these: */
    bool loopback;
    const Str *allow;
    size_t allow_count;
    bool told;          /* that calls cannot be looked into */
    void *notif, *answer;
    size_t notif_size, answer_size;
    struct place servers[3]; /* of names */
    int server_count;
    struct known_name known[128];
    size_t known_next;
    struct path paths[PATHS];
    struct link links[LINKS];
};

/* relay.c */
struct link *link_new(struct relay *r, enum way way, int in);
void link_close(struct link *l);
/* Both sides know that it broke. */
void link_reset(struct link *l);
void link_dial(struct relay *r, struct link *l);

/* relay_policy.c */
bool place_of(const struct sockaddr_storage *s, struct place *ret);
/* As `family` has it; 0 where it cannot. */
socklen_t place_sockaddr(const struct place *p, int family, struct sockaddr_storage *ret);
bool place_is_loopback(const struct place *p);
bool place_same(const struct place *x, const struct place *y);
bool relay_permits(const struct relay *r, const struct place *p);
/* A non-blocking socket that connects there; -1 with errno. */
int place_dial(const struct place *p, int type);

/* relay_proxy.c: more of the request. */
void proxy_read(struct relay *r, struct link *l);
void proxy_refuse(struct link *l, const char *status, const char *text);

/* relay_calls.c */
int calls_prepare(struct relay *r);
void calls_read(struct relay *r);
void call_step(struct relay *r, struct link *l, short sock, short out);
void call_drop(struct relay *r, struct link *l);

/* relay_names.c */
void names_prepare(struct relay *r);
/* A connected UDP socket's way; -1 with errno. */
int path_make(struct relay *r, const struct place *from, const struct place *to);
void path_up(struct relay *r);
void path_down(struct relay *r, struct path *p);
