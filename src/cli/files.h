/* cli/files.h: whole files in and out. */
#pragma once
#include "base/err.h"
#include "json/json.h"

/* At most 16 MB. ERR_NOT_FOUND where there is no such file; "-" is standard input. */
NODISCARD int path_read(struct arena *a, Str path, Str *ret, struct err *err);
/* In one step: a reader sees the old content or the new. Makes the folder (mode 0700) where it is not there. */
NODISCARD int path_write(struct arena *a, Str path, Str text, unsigned mode, struct err *err);
/* The folder and those above it. */
NODISCARD int folder_make(struct arena *a, Str path, struct err *err);
/* A file with one value: YAML where its name ends in .yaml or .yml, else JSON; "-" is standard input, where either will do. */
NODISCARD int document_read(struct arena *a, Str path, const struct json **ret, struct err *err);
