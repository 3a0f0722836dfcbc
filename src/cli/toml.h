/* cli/toml.h: TOML read from front to back, value by value: what profiles and settings files need of it. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define TOML_SEP '\x1f' /* between the parts of a path */

/* A value: `path` is its keys from the top, joined by TOML_SEP; arrays of tables count as "0", "1", … in between. `value` is
 * the decoded text of a string, the text of a number, bool or date, or an array as JSON; STR_NONE where a [table] begins. Both live as long as the arena. */
typedef void toml_value(void *user, Str path, Str value);

/* -1 with ERR_INVALID, naming the line, where the text is no TOML. Values before the fault have been handed over. */
NODISCARD int toml_read(struct arena *a, Str text, toml_value *fn, void *user, struct err *err);
/* A basic string with its quotes. */
void toml_put_string(struct buf *out, Str s);
/* A key: bare where it may be. */
void toml_put_key(struct buf *out, Str key);
