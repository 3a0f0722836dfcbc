/* schema/pyrepr.h: values as Python prints them, which is what clients of the API are used to read. */
#pragma once
#include "json/json.h"

/* repr(): 'it', "it's", True, None, [1, 'a'], {'k': 1.5}. */
void py_repr(struct buf *b, const struct json *v);
void py_repr_str(struct buf *b, Str s);
/* str(): a string as it stands, all else as repr(). */
void py_str(struct buf *b, const struct json *v);
/* A double as repr() has it: the shortest digits that read back, "1.0", "1e+16", "inf", "nan". */
void py_repr_double(struct buf *b, double d);
