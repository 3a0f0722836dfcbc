/* schema/tree.h: JSON trees that are made, not read.
 *
 * A made array or object has no `raw` of its own until tree_seal() gives it one. */
#pragma once
#include "json/json.h"

struct tree_members {
    VEC(struct json_member) list;
};
struct tree_items {
    VEC(struct json) list;
};

/* Sets or replaces `key` (which is looked for). */
void tree_set(struct arena *a, struct tree_members *m, Str key, const struct json *value);
void tree_add(struct arena *a, struct tree_members *m, Str key, const struct json *value);
void tree_push(struct arena *a, struct tree_items *t, const struct json *value);
const struct json *tree_object(struct arena *a, const struct tree_members *m);
const struct json *tree_array(struct arena *a, const struct tree_items *t);
const struct json *tree_bool(bool v);
const struct json *tree_null(void);
const struct json *tree_int(struct arena *a, int64_t v);
/* Infinity and NaN give null: JSON has none. */
const struct json *tree_double(struct arena *a, double v);
/* The string alone, its `raw` left out. */
const struct json *tree_str(struct arena *a, Str s);

/* The same tree with every `raw` true: printed and read again. NULL with ERR_TOO_LARGE where it is over `max`
 * bytes of text, ERR_INVALID where nested too deeply. */
NODISCARD const struct json *tree_seal(struct arena *a, const struct json *v, size_t max, struct err *err);
