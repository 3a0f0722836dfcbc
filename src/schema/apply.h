/* schema/apply.h: the inside of the validator: a schema applied to a value, and what is kept on the way.
 *
 * apply() walks a schema object's keywords in the order they were written and calls each one's row of the
 * table. A frame is one such application; frames, paths and dynamic scopes are linked lists on the C stack,
 * whose depth is capped. A caller that asks only yes or no gives no `faults` and is answered at the first no. */
#pragma once
#include "schema/jsonschema.h"
#include "schema/pattern.h"

/* Faults kept in all, those inside branches included. */
#define FAULTS_MAX 2000

enum fit { BROKEN = -1, UNFIT, FIT };

/* KEYWORD(id, name, what its value is, handler), ordered by length of name: keyword_find() relies on it. Handlers of
 * the validation vocabulary are marked ASSERT, of the others APPLY; NONE has no handler. */
/* clang-format off */
#define KEYWORDS(K)                                                     \
    K(IF,                    "if",                    SCHEMA,        APPLY,  kw_if)                  \
    K(ID,                    "$id",                   STRING,        NONE,   NULL)                   \
    K(NOT,                   "not",                   SCHEMA,        APPLY,  kw_not)                 \
    K(REF,                   "$ref",                  STRING,        APPLY,  kw_ref)                 \
    K(TYPE,                  "type",                  TYPE,          ASSERT, kw_type)                \
    K(ENUM,                  "enum",                  LIST,          ASSERT, kw_enum)                \
    K(THEN,                  "then",                  SCHEMA,        NONE,   NULL)                   \
    K(ELSE,                  "else",                  SCHEMA,        NONE,   NULL)                   \
    K(DEFS,                  "$defs",                 SCHEMA_MAP,    NONE,   NULL)                   \
    K(ALL_OF,                "allOf",                 SCHEMAS,       APPLY,  kw_all_of)              \
    K(ANY_OF,                "anyOf",                 SCHEMAS,       APPLY,  kw_any_of)              \
    K(ONE_OF,                "oneOf",                 SCHEMAS,       APPLY,  kw_one_of)              \
    K(CONST,                 "const",                 ANY,           ASSERT, kw_const)               \
    K(ITEMS,                 "items",                 SCHEMA,        APPLY,  kw_items)               \
    K(TITLE,                 "title",                 STRING,        NONE,   NULL)                   \
    K(FORMAT,                "format",                STRING,        APPLY,  kw_format)              \
    K(ANCHOR,                "$anchor",               NAME,          NONE,   NULL)                   \
    K(SCHEMA,                "$schema",               STRING,        NONE,   NULL)                   \
    K(PATTERN,               "pattern",               REGEX,         ASSERT, kw_pattern)             \
    K(MINIMUM,               "minimum",               NUMBER,        ASSERT, kw_minimum)             \
    K(MAXIMUM,               "maximum",               NUMBER,        ASSERT, kw_maximum)             \
    K(COMMENT,               "$comment",              STRING,        NONE,   NULL)                   \
    K(CONTAINS,              "contains",              SCHEMA,        APPLY,  kw_contains)            \
    K(MIN_ITEMS,             "minItems",              NATURAL,       ASSERT, kw_min_items)           \
    K(MAX_ITEMS,             "maxItems",              NATURAL,       ASSERT, kw_max_items)           \
    K(REQUIRED,              "required",              STRINGS,       ASSERT, kw_required)            \
    K(EXAMPLES,              "examples",              LIST,          NONE,   NULL)                   \
    K(READ_ONLY,             "readOnly",              BOOL,          NONE,   NULL)                   \
    K(MIN_LENGTH,            "minLength",             NATURAL,       ASSERT, kw_min_length)          \
    K(MAX_LENGTH,            "maxLength",             NATURAL,       ASSERT, kw_max_length)          \
    K(WRITE_ONLY,            "writeOnly",             BOOL,          NONE,   NULL)                   \
    K(MULTIPLE_OF,           "multipleOf",            POSITIVE,      ASSERT, kw_multiple_of)         \
    K(PROPERTIES,            "properties",            SCHEMA_MAP,    APPLY,  kw_properties)          \
    K(DEPRECATED,            "deprecated",            BOOL,          NONE,   NULL)                   \
    K(PREFIX_ITEMS,          "prefixItems",           SCHEMAS,       APPLY,  kw_prefix_items)        \
    K(UNIQUE_ITEMS,          "uniqueItems",           BOOL,          ASSERT, kw_unique_items)        \
    K(MIN_CONTAINS,          "minContains",           NATURAL,       NONE,   NULL)                   \
    K(MAX_CONTAINS,          "maxContains",           NATURAL,       NONE,   NULL)                   \
    K(DEFINITIONS,           "definitions",           SCHEMA_MAP,    NONE,   NULL)                   \
    K(DYNAMIC_REF,           "$dynamicRef",           STRING,        APPLY,  kw_dynamic_ref)         \
    K(VOCABULARY,            "$vocabulary",           BOOLS,         NONE,   NULL)                   \
    K(DESCRIPTION,           "description",           STRING,        NONE,   NULL)                   \
    K(MIN_PROPERTIES,        "minProperties",         NATURAL,       ASSERT, kw_min_properties)      \
    K(MAX_PROPERTIES,        "maxProperties",         NATURAL,       ASSERT, kw_max_properties)      \
    K(PROPERTY_NAMES,        "propertyNames",         SCHEMA,        APPLY,  kw_property_names)      \
    K(CONTENT_SCHEMA,        "contentSchema",         SCHEMA,        NONE,   NULL)                   \
    K(DYNAMIC_ANCHOR,        "$dynamicAnchor",        NAME,          NONE,   NULL)                   \
    K(DEPENDENT_SCHEMAS,     "dependentSchemas",      SCHEMA_MAP,    APPLY,  kw_dependent_schemas)   \
    K(UNEVALUATED_ITEMS,     "unevaluatedItems",      SCHEMA,        LATE,   kw_unevaluated_items)   \
    K(EXCLUSIVE_MINIMUM,     "exclusiveMinimum",      NUMBER,        ASSERT, kw_exclusive_minimum)   \
    K(EXCLUSIVE_MAXIMUM,     "exclusiveMaximum",      NUMBER,        ASSERT, kw_exclusive_maximum)   \
    K(PATTERN_PROPERTIES,    "patternProperties",     PATTERN_MAP,   APPLY,  kw_pattern_properties)  \
    K(DEPENDENT_REQUIRED,    "dependentRequired",     STRINGS_MAP,   ASSERT, kw_dependent_required)  \
    K(ADDITIONAL_PROPERTIES, "additionalProperties",  SCHEMA,        APPLY,  kw_additional_properties) \
    K(UNEVALUATED_PROPERTIES,"unevaluatedProperties", SCHEMA,        LATE,   kw_unevaluated_properties)
/* clang-format on */

enum keyword_id {
    KW_UNKNOWN,
#define K(id, name, is, vocabulary, handler) KW_##id,
    KEYWORDS(K)
#undef K
        KW_COUNT
};

/* What a keyword's value must be. */
enum keyword_value {
    IS_ANY,
    IS_SCHEMA,
    IS_SCHEMAS,     /* an array of one at least */
    IS_SCHEMA_MAP,
    IS_PATTERN_MAP, /* the same; the keys are regular expressions */
    IS_STRING,
    IS_NAME, /* a plain name */
    IS_REGEX,
    IS_NUMBER,
    IS_POSITIVE,
    IS_NATURAL,
    IS_BOOL,
    IS_BOOLS, /* an object of booleans */
    IS_LIST,
    IS_STRINGS, /* different ones */
    IS_STRINGS_MAP,
    IS_TYPE, /* a type's name or an array of such */
};
enum keyword_vocabulary { IN_NONE, IN_APPLY, IN_ASSERT, IN_LATE /* applied when the others are done */ };

struct run;
struct frame;

struct keyword {
    Str name;
    enum keyword_value is;
    enum keyword_vocabulary vocabulary;
    enum fit (*handle)(struct run *r, const struct frame *f, const struct json *arg);
};
extern const struct keyword keywords[KW_COUNT];
enum keyword_id keyword_find(Str name);
/* Is `schema` well formed: what `where` (a place in words) is made of goes before the sentence. */
NODISCARD int keyword_check(struct patterns *p, const struct json *schema, struct err *err);

/* A schema document, or a part of one that has an $id of its own. */
struct resource {
    Str uri; /* absolute where the schema says so; without fragment */
    const struct json *root;
};

struct anchor {
    const struct resource *resource;
    const struct json *schema;
    bool dynamic;
};

/* The resources entered on the way here, innermost first. */
struct scope {
    const struct scope *outer;
    const struct resource *resource;
};

struct path {
    const struct path *outer;
    struct schema_step step;
    size_t depth; /* number of steps, this one included */
};

/* Which members or items have been looked at by a keyword that counts for unevaluated*. Lives on the stack of the
 * frame that asks; the bits are made when the first is set. */
struct seen {
    bool all;
    size_t n;
    uint64_t *bits;
};

struct fault;
struct faults {
    VEC(struct fault *) list;
    size_t base; /* steps of the path to the value that these faults are about */
};
struct fault {
    struct schema_error error;
    size_t base;
    bool weak;       /* of anyOf or oneOf: other faults at the same place say more */
    bool type_fits;  /* the schema at fault names a type, and the value is of it */
    struct faults context;
};

struct frame {
    const struct frame *outer;
    const struct json *schema, *value;
    const struct json *const *kw; /* this schema's keywords by id; NULL where absent */
    const struct scope *scope;
    const struct path *path; /* NULL at the root */
    struct seen *seen;       /* NULL: nobody asks */
    struct faults *faults;   /* NULL: only yes or no */
};

struct run {
    struct arena *a;
    int flags;
    schema_resolve *resolve;
    void *user;
    struct err *err;
    int64_t steps; /* left */
    int depth;
    size_t fault_count;
    bool no_assertions; /* the schema's own metaschema leaves the validation vocabulary out */
    struct patterns patterns;
    struct resource root;
    bool scanned; /* resources and anchors of the root document are listed */
    struct map resources, anchors;
    /* Key indexes of large objects, by the object's address. */
    struct {
        const struct json **objects;
        uint32_t **slots;
        size_t n, cap;
    } indexes;
};

/* jsonschema.c */
enum fit apply(struct run *r, const struct frame *outer, const struct json *schema, const struct json *value,
               const struct scope *scope, const struct path *path, struct seen *seen, struct faults *faults);
/* On the same value, in the same scope; what it has seen joins f's where it fits. */
enum fit apply_here(struct run *r, const struct frame *f, const struct json *schema, struct faults *faults);
/* On a member or item of f's value. */
enum fit apply_at(struct run *r, const struct frame *f, const struct json *schema, const struct json *value,
                  struct schema_step step, struct faults *faults);
/* Takes n steps off the budget: BROKEN where it is used up, else FIT. */
enum fit charge(struct run *r, size_t n);
/* The schema is no good: "'minimum' must be a number". */
enum fit bad_keyword(struct run *r, enum keyword_id id);
/* UNFIT; with a fault where somebody collects them. `message` is built by the say_ functions. */
enum fit unfit(struct run *r, const struct frame *f, enum keyword_id id, Str property, const struct faults *context,
               const struct buf *message);
#define MESSAGE BUF(4000)
void say_value(struct buf *b, const struct json *v); /* as Python's repr; long ones are cut */
void say_name(struct buf *b, Str name);
/* The value of the last member named `key`, or NULL. */
const struct json *member(struct run *r, const struct json *object, Str key);
size_t member_index(const struct json *object, const struct json *value);
/* False for a member that a later one of the same key replaces. */
bool member_counts(struct run *r, const struct json *object, size_t i);
size_t member_count(struct run *r, const struct json *object);
void seen_add(struct run *r, struct seen *s, const struct json *value, size_t i);
bool seen_has(const struct seen *s, size_t i);
enum fit same_value(struct run *r, const struct json *x, const struct json *y);

/* jsonschema_refs.c */
/* What `ref` means in `resource`; *ret_anchor is the anchor it went by, or NULL. NULL with r->err. */
const struct json *ref_find(struct run *r, const struct resource *resource, Str ref,
                            const struct resource **ret_resource, const struct anchor **ret_anchor);
/* The resource that `schema`, met in `resource`, opens by its $id. NULL with r->err. */
const struct resource *resource_enter(struct run *r, const struct resource *resource, const struct json *schema);
const struct anchor *anchor_find(struct run *r, const struct resource *resource, Str name);
extern const struct json metaschema; /* stands for the draft's own schema: what fits it is a schema */
#define METASCHEMA_URI "https://json-schema.org/draft/2020-12/schema"

/* jsonschema_errors.c */
const struct schema_error *faults_best(const struct faults *faults);
Str steps_text(struct arena *a, const struct schema_step *steps, size_t n);

/* Handlers: jsonschema_assert.c, jsonschema_apply.c. */
#define K(id, name, is, vocabulary, handler) HANDLER_##vocabulary(handler)
#define HANDLER_NONE(h)
#define HANDLER_APPLY(h) enum fit h(struct run *r, const struct frame *f, const struct json *arg);
#define HANDLER_ASSERT(h) HANDLER_APPLY(h)
#define HANDLER_LATE(h) HANDLER_APPLY(h)
KEYWORDS(K)
#undef K
