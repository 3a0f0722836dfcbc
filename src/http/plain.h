/* http/plain.h: one HTTP/1.1 request at a time without TLS, over TCP or a Unix socket, on a connection that is kept. After an
 * answer of 101 (asked for by the headers) `fd` and what is in `in` are the caller's to use.
 *
 * What a worker, a run's supervisor and most commands need, without the thirty libraries and 5 MB of libcurl. It follows no
 * redirect, asks no proxy and knows no TLS: http/client.c leaves those to libcurl. */
#pragma once
#include "base/str.h"
#include "base/time.h"

enum plain_result {
    PLAIN_OK,
    PLAIN_NO_HOST,    /* the name has no address */
    PLAIN_NO_CONNECT, /* nothing listens there */
    PLAIN_BROKE,      /* the connection broke, or the time was over, before the answer was whole */
    PLAIN_BAD,        /* what came is no HTTP/1, or larger than body takes */
};

struct plain {
    const char *socket; /* path of a Unix socket; NULL: host and port */
    char host[256], port[8];
    int fd;             /* -1: none open */
    struct buf in;
};

struct plain_answer {
    int status;
    char type[100];      /* Content-Type */
    char retry_after[64];
};

/* For "http://host[:port]…"; false where the URL is of another kind, or says who asks. */
bool plain_init(struct plain *p, Str url, const char *socket);
void plain_clear(struct plain *p);
/* `headers` are lines ending in "\r\n"; body STR_NONE: none. `waiting` (may be NULL) is called about once a second. */
enum plain_result plain_call(struct plain *p, const char *method, Str target, Str headers, Str body, Dur timeout,
                             void (*waiting)(void *user), void *user, struct buf *ret_body, struct plain_answer *ret, const char **ret_why);
