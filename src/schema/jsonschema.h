/* schema/jsonschema.h: JSON Schema draft 2020-12: does a value fit, and if not, where and why. */
#pragma once
#include "json/json.h"

struct schema_error {
    Str path;    /* "a.b" and "[0]" parts from the value's root: "a.b[2].c"; "" for the root */
    Str message; /* "'x' is not of type 'integer'", in the family of words that clients know */
    Str keyword; /* "type", "required" … */
    const struct json *instance; /* the value at fault */
    Str property;                /* for required and additionalProperties: the key */
};
struct schema_errors {
    VEC(struct schema_error)
    list;
};

enum { SCHEMA_IGNORE_REQUIRED = 1 };

/* Checks `value` against `schema`. 0: it was checked (errors in ret, none where it fits); -1: the schema itself is no good
 * (circular references without end, bad $ref, too deep). Formats are annotations. References stay inside
 * the schema, but for those that `resolve` (may be NULL) finds by URI. */
typedef const struct json *schema_resolve(void *user, Str uri);
NODISCARD int schema_validate(struct arena *a, const struct json *schema, const struct json *value, int flags,
                              schema_resolve *resolve, void *user, struct schema_errors *ret, struct err *err);

/* The parameter schema as the API checks it: optional properties with `type` and no `default` accept null too,
 * `items` lists become prefixItems, block definitions also accept {"$ref": …}. */
const struct json *schema_preprocess(struct arena *a, const struct json *schema);
/* "Validation failed for field 'a.b'. Failure reason: …" of the first error. */
Str schema_error_text(struct arena *a, const struct schema_errors *errors);
/* The nested form of /ui/schemas/validate: [string | {property, errors} | {index, errors}]. */
void schema_errors_print(const struct schema_errors *errors, struct jw *w);
