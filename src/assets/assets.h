/* assets/assets.h: files that are built into the program. */
#pragma once
#include "base/str.h"
#include "db/db.h"

/* The file of this name ("worker-metadata.json", "migrations/main/0001_init.sql"); STR_NONE where there is none.
 * Lives as long as the program, and a NUL follows it. */
Str asset_find(const char *name);
/* The migrations of "main" or "telemetry", in order, in the arena. */
const struct migration *asset_migrations(struct arena *a, const char *which, size_t *ret_n);
