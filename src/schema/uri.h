/* schema/uri.h: references resolved against a base (RFC 3986, section 5.2). */
#pragma once
#include "base/str.h"

/* `ref` seen from `base`, dots removed; a fragment of `ref` is kept. `base` may be "". */
Str uri_resolve(struct arena *a, Str base, Str ref);
/* What stands before '#'; *ret_fragment is what follows, STR_NONE where there is no '#'. */
Str uri_cut_fragment(Str uri, Str *ret_fragment);
/* %41 becomes A; a '%' without two hex digits stays. */
Str uri_decode(struct arena *a, Str s);
