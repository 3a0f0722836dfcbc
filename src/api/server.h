/* api/server.h: what all workspaces share. */
#pragma once
#include "api/server_main.h"
#include "http/server.h"
#include "services/workspace.h"

struct server {
    const struct server_options *options;
    struct http_server *http;
    struct loop *loop;
    struct workspace *ws;     /* the default workspace: `/api/…` */
    Time started;
    bool draining;
};

/* The HTTP server's handler: finds the route, checks who asks, runs it where it belongs, answers. */
void api_handle(struct exchange *x, void *user /* struct server */);
/* Whether `authorization` (the header) is that of the auth string; true where none is set. Constant time. */
bool api_authorized(const struct server *s, Str authorization);
/* Whether a socket's auth message token fits; true where none is set. */
bool api_token_fits(const struct server *s, Str token);
