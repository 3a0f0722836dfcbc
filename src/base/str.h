/* base/str.h: strings with a length, and a growing buffer with a cap.
 *
 * A Str never owns; functions that make text take the arena it lives in. */
#pragma once
#include "base/arena.h"
#include "base/base.h"

#include <stdarg.h>

#define STR(lit) ((Str){("" lit), sizeof(lit) - 1})
#define STR_NONE ((Str){NULL, 0})
#define STR_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

bool str_eq(Str a, Str b);
bool str_eqz(Str a, const char *z);
bool str_ieq(Str a, Str b); /* ASCII case ignored */
int str_cmp(Str a, Str b);  /* bytewise, like memcmp; the shorter first */
bool str_starts(Str s, Str prefix);
bool str_ends(Str s, Str suffix);
/* Index of the first `needle`, or -1. */
ptrdiff_t str_find(Str s, Str needle);
Str str_trim(Str s); /* ASCII white space at both ends */
Str str_sub(Str s, size_t from, size_t n); /* clamped to s */
/* Takes what stands before `sep` off the front of *s: false when *s is used up.
 * for (Str rest = s, part; str_cut(&rest, ',', &part);) … */
bool str_cut(Str *s, char sep, Str *ret_part);

Str str_of(const char *z); /* borrows z; NULL gives STR_NONE */
char *str_z(struct arena *a, Str s);
Str str_dup(struct arena *a, Str s);
Str str_lower(struct arena *a, Str s);
Str str_fmt(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
Str str_vfmt(struct arena *a, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
uint64_t str_hash(Str s);
/* Whole text as a decimal number within int64; false otherwise. */
bool str_int(Str s, int64_t *ret);
bool str_double(Str s, double *ret);
bool str_utf8_valid(Str s);
/* Number of Unicode code points (of valid UTF-8). */
size_t str_codepoints(Str s);

/* A growing run of bytes on the heap, never longer than its cap. Past the cap it keeps what it has and
 * sets `overflow`, which the user of the result checks. */
struct buf {
    char *p;
    size_t n, cap, max;
    bool overflow;
};
#define BUF(max_) ((struct buf){.max = (max_)})
void buf_free(struct buf *b); /* content; for AUTO too */
void buf_reset(struct buf *b); /* n = 0, memory kept */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_char(struct buf *b, char c);
void buf_str(struct buf *b, Str s);
void buf_z(struct buf *b, const char *z);
void buf_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Room for n more bytes at the end, or NULL past the cap; add to b->n what was used. */
char *buf_room(struct buf *b, size_t n);
static inline Str buf_view(const struct buf *b)
{
    return (Str){b->p ? b->p : "", b->n};
}

/* Text keys to pointers, in an arena; insertion order is kept. */
struct map_entry {
    Str key;
    void *value;
};
struct map {
    struct map_entry *entries; /* in insertion order */
    size_t n;
    uint32_t *slots;
    size_t slot_count;
};
/* The value's place, made (NULL) if absent. Valid until the next call. */
void **map_at(struct arena *a, struct map *m, Str key);
void *map_get(const struct map *m, Str key);
