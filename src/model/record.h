/* model/record.h: a resource is a list of fields, and everything else walks the list.
 *
 * model/<name>.def has a row per field:
 *     FIELD(type, name, flags, default, more, doc[, least, greatest])
 * model/all.h expands it into the members of `struct <name>` and the enum `<name>__<field>`, model/all.c into
 * the descriptors that the walkers here read: JSON in (whole bodies, violations gathered), JSON out, SQL columns.
 * A record is a plain struct whose first member is the set of fields that were sent. A shape is a resource
 * without a table: a nested object such as state_details, kept as text in its column with only what differs from the defaults. */
#pragma once
#include "db/db.h"
#include "json/json.h"

enum ftype {
    F_UUID,   /* Uuid; nil: null */
    F_STR,    /* Str; p NULL: null */
    F_TIME,   /* Time; TIME_NONE: null */
    F_DUR,    /* Dur; float seconds in JSON, µs in the table */
    F_INT,    /* int64_t; INT_NONE: null */
    F_BOOL,   /* int8_t; BOOL_NONE: null */
    F_DOUBLE, /* double; NaN: null */
    F_JSON,   /* Str: any value's text as it was sent; p NULL: null */
    F_OBJECT, /* Str: text of an object */
    F_LIST,   /* Str: text of an array */
    F_TAGS,   /* Str: text of an array of strings */
    F_LABELS, /* Str: text of an object of scalars */
    F_ENUM,   /* Str: one of the names in `more` (NULL-ended list) */
    F_SHAPE,  /* Str: text of an object of the shape in `more` (const struct resource *) */
    F_UUIDS,  /* Str: text of an array of UUIDs */
    F_SHAPES, /* Str: text of an array of objects of the shape in `more` */
};

#define C_UUID Uuid
#define C_STR Str
#define C_TIME Time
#define C_DUR Dur
#define C_INT int64_t
#define C_BOOL int8_t
#define C_DOUBLE double
#define C_JSON Str
#define C_OBJECT Str
#define C_LIST Str
#define C_TAGS Str
#define C_LABELS Str
#define C_ENUM Str
#define C_SHAPE Str
#define C_UUIDS Str
#define C_SHAPES Str

enum {
    COL = 1,         /* has a column */
    READ = 2,        /* in the response */
    CREATE = 4,      /* accepted in the create body */
    UPDATE = 8,      /* accepted in the update body */
    REQUIRED = 16,   /* must be in the create body */
    NULLABLE = 32,   /* null may be sent */
    NAME = 64,       /* not empty, none of / % & > < */
    POSITIVE = 128,  /* > 0 */
    NOT_NEGATIVE = 256,
    UPDATE_NULL_UNSETS = 512, /* null in an update means "not sent" */
    SLUG = 1024,     /* lower-case letters, digits, '-' */
    SLUG_ = 2048,    /* and '_' */
    ALWAYS = 4096,   /* never null in the response */
};

typedef uint64_t FieldSet;

struct field {
    const char *name;
    enum ftype type;
    uint16_t flags;
    uint16_t offset;
    const char *dflt; /* JSON text that a create fills in; NULL: none (null) */
    const void *more;
    const char *doc;
    double min, max; /* a number's least and greatest value (a F_DUR's: seconds); a list's items; both 0: any */
};

struct violations;

/* Texts that record.c builds at a resource's first use. */
struct resource_sql {
    Str columns, insert, by_id;
    size_t column_count;
};

struct resource {
    const char *name;  /* "flow_run" */
    const char *table; /* NULL: a shape */
    const struct field *fields;
    size_t n, size;
    bool ignore_unknown; /* keys that are no field are passed over, not refused */
    const struct resource *base; /* of an answer: its READ fields come first, but for those in `without` (NULL-ended, or NULL) */
    const char *const *without;
    struct resource_sql *sql;
    void (*settle)(struct arena *a, void *rec, struct violations *v); /* after reading: what a row cannot say; NULL: nothing */
};

#define IS_SET(rec, index) (((rec)->set >> (index)) & 1)
#define SET_FIELD(rec, index) ((rec)->set |= (FieldSet)1 << (index))

/* What is wrong with a body: gathered, answered together (422). */
struct violation {
    const char *type; /* the API's word: "missing", "extra_forbidden", "value_error" … */
    Str loc;          /* JSON text of the path: ["body","name"] */
    Str msg;
    Str input;        /* JSON text of the value at fault */
};
struct violations {
    struct arena *a;
    VEC(struct violation) list;
    Str prefix; /* loc of the object that is being read, without the closing bracket: ["body" */
};
void violation_add(struct violations *v, const char *type, Str key, const struct json *input, const char *msg);
/* Reads inside a member or item: returns the prefix to put back afterwards. */
Str violations_enter(struct violations *v, Str key);
Str violations_enter_item(struct violations *v, size_t index);

/* All members at their "none". */
void record_init(const struct resource *r, void *rec);
/* The fields of `view` (CREATE or UPDATE; 0: every field, as for shapes) from an object; CREATE fills defaults. What is wrong
 * goes to `v`; the record is to be used only if nothing came. Values point into the body's text. */
void record_parse(struct arena *a, const struct resource *r, int view, const struct json *body, void *rec, struct violations *v);
/* An instant as the API takes it: ISO 8601, or seconds since 1970 as a number or decimal text without an exponent (past 2e10 it is
 * milliseconds). False where it is none of these, or before year 1 or after 9999. */
bool time_read(const struct json *v, Time *ret);
/* One field's value from JSON (also for query keys and the like). */
void field_parse(struct arena *a, const struct field *f, const struct json *value, void *rec, struct violations *v);
/* Writes the READ fields, in order, into an open object; names in `skip` (NULL-ended, may be NULL) are the caller's own affair. */
void record_print(struct jw *w, const struct resource *r, const void *rec, const char *const *skip);
void record_print_field(struct jw *w, const struct field *f, const void *rec);
const struct field *resource_field(const struct resource *r, Str name);

/* Shapes: object text ↔ struct. Reading stored text of ours cannot fail; unknown keys are passed over. */
void shape_read(struct arena *a, const struct resource *shape, Str text, void *rec);
/* Only what differs from the defaults: the stored form. */
Str shape_text(struct arena *a, const struct resource *shape, const void *rec);
/* Every key: the form that goes out. */
void shape_print(struct jw *w, const struct resource *shape, const void *rec);

/* ---- SQL ---- */

/* Text and values under way. */
struct sql {
    struct arena *a;
    struct buf text;
    VEC(struct db_value) values;
    enum db_kind kind;
    bool by_name; /* a listing goes along its table of names (listing_plan) */
};
struct sql sql_new(struct arena *a, enum db_kind kind); /* AUTO(sql_free) */
void sql_free(struct sql *q);
void sql_z(struct sql *q, const char *text);
void sql_put(struct sql *q, Str text);
void sql_uuid(struct sql *q, Uuid v); /* these write $n and keep the value */
void sql_str(struct sql *q, Str v);
void sql_int(struct sql *q, int64_t v);
void sql_time(struct sql *q, Time v);
void sql_double(struct sql *q, double v);
void sql_bool(struct sql *q, bool v);
NODISCARD struct stmt *sql_query(struct conn *c, struct sql *q, struct err *err);
NODISCARD int64_t sql_exec(struct conn *c, struct sql *q, struct err *err);

/* "table.id, table.created, …" of the COL fields, in order. */
Str resource_columns(const struct resource *r);
/* The record from a row whose columns are resource_columns() starting at `first`; texts copied into `a`. */
void record_load(struct arena *a, const struct resource *r, struct stmt *q, int first, void *rec);
/* INSERT of all COL fields; `tail` ("ON CONFLICT DO NOTHING", "" for none). Number of rows, or -1. */
NODISCARD int64_t record_insert(struct conn *c, const struct resource *r, const void *rec, const char *tail, struct err *err);
/* The COL fields in which two records differ. */
FieldSet record_diff(const struct resource *r, const void *x, const void *y);
/* UPDATE of the COL fields in `mask` WHERE id = `id`; 0 rows: not there. */
NODISCARD int64_t record_update(struct conn *c, const struct resource *r, const void *rec, FieldSet mask, Uuid id, struct err *err);
/* SELECT … WHERE `where` ("name = $1") with the first row loaded: 1, 0 or -1. */
NODISCARD int record_find(struct conn *c, struct arena *a, const struct resource *r, void *ret, struct err *err, const char *where, const char *types, ...);
NODISCARD int record_by_id(struct conn *c, struct arena *a, const struct resource *r, Uuid id, void *ret, struct err *err);
/* The same with a row lock until the transaction ends (FOR UPDATE on PostgreSQL; SQLite has one writer). */
NODISCARD int record_lock(struct conn *c, struct arena *a, const struct resource *r, Uuid id, void *ret, struct err *err);
/* Puts a broken constraint, which *err is as the database says it, into words of the API: what exists already, and under which name. The
 * record (of `r`) has the values; NULL, NULL where they are not at hand. Another error is left alone. record_insert and
 * record_update do so themselves. */
void conflict_explain(const struct resource *r, const void *rec, struct err *err);
/* DELETE … WHERE id: rows. */
NODISCARD int64_t record_delete(struct conn *c, const struct resource *r, Uuid id, struct err *err);
