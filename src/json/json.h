/* json/json.h: JSON text into a tree in an arena, and text out of a writer.
 *
 * The reader is strict (RFC 8259, UTF-8) and keeps, for each value, the text it was read from: numbers
 * and opaque values are stored and sent back as they came, so that no integer loses its digits. A tree is
 * immutable; threads may share it while its arena lives. Depth is capped (LIMIT_JSON_DEPTH). */
#pragma once
#include "base/err.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/time.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_member;

struct json {
    enum json_kind kind;
    Str raw; /* this value's text in the source, which must outlive the tree */
    union {
        bool boolean;
        Str string; /* decoded */
        struct {
            const struct json *items;
            size_t n;
        } array;
        struct {
            const struct json_member *members; /* as sent; of equal keys the last one counts */
            size_t n;
        } object;
    };
};

struct json_member {
    Str key; /* decoded */
    struct json value;
};

/* Reads the one value that `text` is. NULL with ERR_INVALID and "… at byte N" where it is not JSON. */
NODISCARD const struct json *json_parse(struct arena *a, Str text, struct err *err);

/* The member's value, or NULL where `v` is NULL, no object, or has none such. */
const struct json *json_get(const struct json *v, Str key);
#define json_getz(v, lit) json_get((v), STR(lit))
/* Follows keys separated by '.', for fixed paths of our own ("payload.task_run.id"). */
const struct json *json_path(const struct json *v, const char *path);

bool json_is(const struct json *v, enum json_kind kind); /* false for NULL */
bool json_is_null(const struct json *v);                 /* NULL or null */
/* An integer within int64, also when written 5.0 or 5e3 where the value is whole. */
bool json_int(const struct json *v, int64_t *ret);
bool json_double(const struct json *v, double *ret);
/* The string's text, or STR_NONE. */
Str json_str(const struct json *v);
/* Shorthand for json_str(json_get(v, key)). */
Str json_get_str(const struct json *v, Str key);
/* Same value by JSON's own notion: 1 equals 1.0, member order does not count. */
bool json_equal(const struct json *a, const struct json *b);

/* Makers, for values that did not come as text. `raw` is filled in. */
const struct json *json_new_str(struct arena *a, Str s);

/* Writes JSON into a buf: commas and quoting are its business, nesting the caller's.
 *
 *   struct jw w = jw_on(&buf);
 *   jw_object(&w); jw_key(&w, STR("name")); jw_str(&w, name); jw_end(&w);
 *
 * A Str or Uuid or Time that is "none" is written as null. */
struct jw {
    struct buf *buf;
    bool comma;      /* a value stands before this place */
    uint16_t depth;
    bool in_object[LIMIT_JSON_DEPTH + 56];
    int indent;      /* 0: compact; else spaces a level, for people */
};
struct jw jw_on(struct buf *b);
void jw_object(struct jw *w);
void jw_array(struct jw *w);
void jw_end(struct jw *w); /* closes the innermost */
void jw_key(struct jw *w, Str key);
void jw_null(struct jw *w);
void jw_bool(struct jw *w, bool v);
void jw_int(struct jw *w, int64_t v);      /* INT_NONE: null */
void jw_double(struct jw *w, double v);    /* shortest text that reads back; 3.0 keeps its ".0"; NaN: null */
void jw_str(struct jw *w, Str s);
void jw_z(struct jw *w, const char *z);    /* NULL: null */
void jw_uuid(struct jw *w, Uuid u);
void jw_time(struct jw *w, Time t);
/* Text that is JSON already, put in as it stands; STR_NONE: null. */
void jw_raw(struct jw *w, Str json);
/* A tree again (compact or indented as the writer is). */
void jw_value(struct jw *w, const struct json *v);
/* Key and value in one. */
#define jw_kstr(w, lit, s) (jw_key((w), STR(lit)), jw_str((w), (s)))
#define jw_kz(w, lit, s) (jw_key((w), STR(lit)), jw_z((w), (s)))
#define jw_kint(w, lit, v) (jw_key((w), STR(lit)), jw_int((w), (v)))
#define jw_kdouble(w, lit, v) (jw_key((w), STR(lit)), jw_double((w), (v)))
#define jw_kbool(w, lit, v) (jw_key((w), STR(lit)), jw_bool((w), (v)))
#define jw_kuuid(w, lit, v) (jw_key((w), STR(lit)), jw_uuid((w), (v)))
#define jw_ktime(w, lit, v) (jw_key((w), STR(lit)), jw_time((w), (v)))
#define jw_kraw(w, lit, v) (jw_key((w), STR(lit)), jw_raw((w), (v)))
#define jw_kvalue(w, lit, v) (jw_key((w), STR(lit)), jw_value((w), (v)))
#define jw_knull(w, lit) (jw_key((w), STR(lit)), jw_null((w)))

/* A tree as compact text in the arena. With sorted keys, ASCII escapes and ", " / ": " separators it is
 * what Python's json.dumps(sort_keys=True) prints, which block schema checksums are made of. */
Str json_text(struct arena *a, const struct json *v);
Str json_text_python(struct arena *a, const struct json *v);
