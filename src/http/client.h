/* http/client.h: a blocking HTTP client that keeps its connection, for command line and worker: plain.h for
 * http://, libcurl where there is TLS, a proxy or a redirect.
 *
 * Not thread-safe: a client a thread. Knows the API's habits: JSON in and out, authorization, CSRF token only after
 * a 403 asks for one. Tries again (exponential pauses with jitter, or Retry-After) on 408, 429, 502, 503, on a
 * refused connection, and, for calls that may be repeated, on one that breaks. */
#pragma once
#include "base/err.h"
#include "json/json.h"

struct client;

struct client_options {
    Str base_url;     /* "http://127.0.0.1:4200/api"; also "unix:/path/to.sock" + base path after ':' */
    Str auth_string;  /* "user:pass" for Basic; STR_NONE: none */
    Str api_key;      /* Bearer; used where there is no auth string */
    Str user_agent;   /* STR_NONE: "millpond/<version> (API 0.8.4)" */
    Str headers;      /* extra "Name: value\n" lines; STR_NONE: none */
    Str ca_file;      /* certificates to trust, PEM; STR_NONE: the system's */
    bool tls_insecure; /* takes any certificate */
    bool repeat_posts; /* a POST whose answer was lost is sent again too (worker: its calls may be repeated) */
    Dur timeout;      /* of one try; 0: 60 s */
    Dur backoff;      /* pause before the second try, then doubled, at most 30 s; 0: 200 ms */
    int retries;      /* further tries; -1: 5; 0: none */
    int connect_retries; /* of those, while nothing listens at the address; -1: as retries */
    /* Called about once a second while a call has no answer yet, also between its tries; NULL: not. */
    void (*waiting)(void *user, Dur waited);
    void *user;
};

struct response {
    int status;
    Str body;                /* in the arena given */
    const struct json *json; /* NULL where the body is none, or not JSON by its content type */
    Dur retry_after;         /* what the header says, -1 where there is none */
};

struct client *client_create(const struct client_options *o);
void client_free(struct client *c);
void client_freep(struct client **c);
/* The address in use, as given. */
Str client_base_url(const struct client *c);

/* One call: path starts with '/', below base_url, already percent-encoded; body STR_NONE: none. 0 where an answer
 * came, whatever its status; -1 where none did (err says what was tried and what to do). */
NODISCARD int client_call(struct client *c, struct arena *a, const char *method, Str path, Str body,
                          struct response *ret, struct err *err);
/* As client_call, but a status of 400 and more is an error too: *err gets the code and the sentence that the
 * body holds (`detail`, `exception_message`, or the first violations). *ret is NULL where the answer has no body. */
NODISCARD int client_json(struct client *c, struct arena *a, const char *method, Str path, Str body,
                          const struct json **ret, struct err *err);
/* Fills *err from an answer of 400 and more, as client_json does; returns -1. */
int response_error(struct arena *a, const struct response *r, struct err *err);
/* The sentence in an error body of any of the API's three shapes; "the server answered 502" where it has none. */
Str response_error_text(struct arena *a, const struct response *r);
/* Percent-encodes one path segment. */
Str url_segment(struct arena *a, Str s);
/* "http://…/api" + path as ws://… for ws_connect; STR_NONE on a Unix socket. */
Str client_ws_url(const struct client *c, struct arena *a, Str path);
/* Header lines ("Authorization: …\r\n") for ws_connect, and the token of the sockets' auth message (JSON value:
 * the text quoted, or null). */
Str client_auth_headers(const struct client *c, struct arena *a);
Str client_ws_token(const struct client *c);
