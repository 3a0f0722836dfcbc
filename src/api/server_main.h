/* api/server_main.h: the server as a whole: start, listen, drain, stop. */
#pragma once
#include "base/err.h"
#include "services/workspace.h"

struct server_options {
    Str home;         /* MILLPOND_HOME: database, key, runs, environments */
    Str host;         /* "127.0.0.1" */
    int port;         /* 4200; 0: any free one */
    Str database;     /* "sqlite:PATH" or "postgresql://…"; STR_NONE: sqlite:<home>/millpond.db */
    bool relaxed;     /* --durability normal */
    Str tls_cert, tls_key; /* paths; STR_NONE: no TLS */
    Str auth_string;  /* "user:password"; STR_NONE: none */
    bool csrf;        /* CSRF protection */
    Dur csrf_life;    /* a token is good for that long, and at most for twice that; at least 1 s */
    Str cors_origins, cors_methods, cors_headers; /* "*", or names with commas between: what pages of other origins may do */
    bool forget_secrets; /* take a seal.key that is not the database's, and delete what the lost one sealed */
    bool allow_reset; /* /admin/database/clear and drop may delete everything */
    bool no_managed;  /* do not run managed pools here */
    Str log_file;     /* STR_NONE: stderr; SIGHUP opens it anew */
    struct orchestration_settings orchestration;
    struct service_settings services;
};

/* Runs until SIGTERM or SIGINT, then finishes what was accepted; prints one line with its address when it listens.
 * A second signal ends it at once: what was acknowledged is there, what is under way is cut off.
 * 0, or -1 with *err where it could not start. */
NODISCARD int server_main(const struct server_options *o, struct err *err);
