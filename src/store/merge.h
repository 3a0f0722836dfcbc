/* store/merge.h: small operations on stored JSON text, and names for runs. */
#pragma once
#include "json/json.h"

/* {…x, …y}: the members of both objects, y's counting; either may be STR_NONE. */
Str json_merge(struct arena *a, Str x, Str y);
/* ["…", …] without doubles, x's first. */
Str tags_union(struct arena *a, Str x, Str y);
/* Two words, "brisk-otter". */
Str name_invent(struct arena *a);
