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
    bool forget_secrets; /* take a seal.key that is not the database's, and delete what the lost one sealed */
    bool allow_reset; /* /admin/database/clear and drop may delete everything */
    bool no_managed;  /* do not run managed pools here */
    Str log_file;     /* STR_NONE: stderr; SIGHUP opens it anew */
    struct orchestration_settings orchestration;
    struct service_settings services;
};

/* Runs until SIGTERM or SIGINT, then finishes what was accepted; prints one line with its address when it listens.
 * 0, or -1 with *err where it could not start. */
NODISCARD int server_main(const struct server_options *o, struct err *err);
