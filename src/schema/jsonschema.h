/* schema/jsonschema.h: JSON Schema draft 2020-12: does a value fit, and if not, where and why.
 *
 * The schema is walked as it stands; nothing is compiled. Numbers are compared exactly. Whatever the schema and
 * the value, a check ends within a budget of steps, regular expressions included. */
#pragma once
#include "json/json.h"

/* One step from the value's root: into a member (key), or an item (key is STR_NONE). */
struct schema_step {
    Str key;
    size_t index;
};

struct schema_error {
    Str path; /* "a.b" and "[0]" parts from the value's root: "a.b[2].c"; "['a b']" for other names; "" for the root */
    Str message; /* "'x' is not of type 'integer'", in the family of words that clients know */
    Str keyword; /* "type", "required" … */
    const struct json *instance; /* the value at fault */
    Str property;                /* for required and additionalProperties: the key */
    const struct schema_step *steps; /* the path in parts */
    size_t step_count;
};
struct schema_errors {
    VEC(struct schema_error) list; /* in the order of the schema's keywords; at most SCHEMA_ERRORS_MAX */
    const struct schema_error *best; /* the one to tell where one is told; of the branches of an anyOf that failed, this
                                        may be the cause inside the likeliest. NULL where the list is empty */
};
#define SCHEMA_ERRORS_MAX 500

enum {
    SCHEMA_IGNORE_REQUIRED = 1, /* `required` is passed over, at any depth */
    SCHEMA_FORMATS = 2,         /* `format` is held against the value; else it is an annotation */
};

/* Checks `value` against `schema`. 0: it was checked (errors in ret, none where it fits); -1: the schema itself is no good
 * (circular references without end, bad $ref, a keyword of the wrong kind, too deep), or it would take too long: ERR_UNPROCESSABLE.
 * Formats are annotations. References stay inside
 * the schema, but for those that `resolve` (may be NULL) finds by URI, and the draft's own metaschema. */
typedef const struct json *schema_resolve(void *user, Str uri);
NODISCARD int schema_validate(struct arena *a, const struct json *schema, const struct json *value, int flags,
                              schema_resolve *resolve, void *user, struct schema_errors *ret, struct err *err);

/* Is `schema` a schema of the draft: each keyword of the right kind, each pattern a regular expression. References are
 * not followed. -1 with ERR_UNPROCESSABLE and a sentence
 * that names keyword and place: "properties.a.minimum must be a number". */
NODISCARD int schema_check(struct arena *a, const struct json *schema, struct err *err);

/* The parameter schema as the API checks it: optional properties with `type` and no `default` accept null too,
 * `items` lists become prefixItems, block definitions also accept {"$ref": …}. Objects that it changed have no `raw`. */
const struct json *schema_preprocess(struct arena *a, const struct json *schema);
/* The same for a pool's job variables: null is accepted also where there is a `default`. */
const struct json *schema_preprocess_variables(struct arena *a, const struct json *schema);
/* "Validation failed for field 'a.b'. Failure reason: …" of the best error; STR_NONE where there is none. */
Str schema_error_text(struct arena *a, const struct schema_errors *errors);
/* The nested form of /ui/schemas/validate: [string | {property, errors} | {index, errors}]. */
void schema_errors_print(const struct schema_errors *errors, struct jw *w);
