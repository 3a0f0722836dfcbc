/* cli/server_options.h: what the commands on the server and its database share. */
#pragma once
#include "api/server_main.h"
#include "cli/cli.h"

/* --database, else its setting; addresses as others write them are taken where they mean the same. STR_NONE: the server's own. */
NODISCARD int server_database_url(struct cli *x, Str *ret, struct err *err);
#define OPTION_DATABASE {"database", NULL, VALUE_TEXT, 0, "sqlite:PATH or postgresql://USER@HOST/NAME", .setting = "server.database.connection_url"}

extern const struct command command_server_database, command_server_services;
