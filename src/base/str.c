#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool str_eq(Str a, Str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqz(Str a, const char *z)
{
    return str_eq(a, str_of(z));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_ieq(Str a, Str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

int str_cmp(Str a, Str b)
{
    size_t n = MIN(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(Str s, Str prefix)
{
    return s.n >= prefix.n && str_eq((Str){s.p, prefix.n}, prefix);
}

bool str_ends(Str s, Str suffix)
{
    return s.n >= suffix.n && str_eq((Str){s.p + s.n - suffix.n, suffix.n}, suffix);
}

ptrdiff_t str_find(Str s, Str needle)
{
    if (needle.n == 0)
        return 0;
    if (s.n == 0)
        return -1;
    const char *at = memmem(s.p, s.n, needle.p, needle.n);
    return at ? at - s.p : -1;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

Str str_trim(Str s)
{
    while (s.n && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

Str str_sub(Str s, size_t from, size_t n)
{
    if (from >= s.n)
        return (Str){s.p ? s.p + s.n : "", 0};
    return (Str){s.p + from, MIN(n, s.n - from)};
}

bool str_cut(Str *s, char sep, Str *ret_part)
{
    if (!s->p)
        return false;
    const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
    if (!at) {
        *ret_part = *s;
        *s = STR_NONE;
        return true;
    }
    size_t n = (size_t)(at - s->p);
    *ret_part = (Str){s->p, n};
    *s = (Str){at + 1, s->n - n - 1};
    return true;
}

Str str_of(const char *z)
{
    return z ? (Str){z, strlen(z)} : STR_NONE;
}

char *str_z(struct arena *a, Str s)
{
    char *z = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(z, s.p, s.n);
    z[s.n] = 0;
    return z;
}

Str str_dup(struct arena *a, Str s)
{
    return s.p ? (Str){str_z(a, s), s.n} : STR_NONE;
}

Str str_lower(struct arena *a, Str s)
{
    char *z = str_z(a, s);
    for (size_t i = 0; i < s.n; i++)
        z[i] = lower(z[i]);
    return (Str){z, s.n};
}

Str str_vfmt(struct arena *a, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n < 0)
        die("bad format %s", fmt);
    char *z = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(z, small, (size_t)n + 1);
    else
        vsnprintf(z, (size_t)n + 1, fmt, again);
    va_end(again);
    return (Str){z, (size_t)n};
}

Str str_fmt(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Str s = str_vfmt(a, fmt, ap);
    va_end(ap);
    return s;
}

uint64_t str_hash(Str s)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 1099511628211u;
    return h ^ h >> 29;
}

bool str_int(Str s, int64_t *ret)
{
    char z[24];
    if (s.n == 0 || s.n >= sizeof z || is_space(s.p[0]) || s.p[0] == '+')
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    char *end;
    errno = 0;
    long long v = strtoll(z, &end, 10);
    if (errno || *end || end == z)
        return false;
    *ret = v;
    return true;
}

bool str_double(Str s, double *ret)
{
    char z[400];
    if (s.n == 0 || s.n >= sizeof z || is_space(s.p[0]) || memchr(s.p, 'x', s.n) || memchr(s.p, 'X', s.n)) /* strtod reads hexadecimal too */
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    char *end;
    double v = strtod(z, &end);
    if (*end || end == z || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

bool str_utf8_valid(Str s)
{
    if (!s.n)
        return true; /* also without a pointer */
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    while (p < end) {
        uint8_t c = *p++;
        if (c < 0x80)
            continue;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - p < more)
            return false;
        uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        uint8_t hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (p[0] < lo || p[0] > hi)
            return false;
        for (int i = 1; i < more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += more;
    }
    return true;
}

size_t str_codepoints(Str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->overflow = false;
}

char *buf_room(struct buf *b, size_t n)
{
    if (b->overflow || n > b->max - b->n) {
        b->overflow = true;
        return NULL;
    }
    if (b->cap - b->n < n) {
        size_t cap = MAX(b->cap * 2, (size_t)256);
        cap = MIN(MAX(cap, b->n + n), b->max);
        char *p = realloc(b->p, cap);
        if (!p)
            die("out of memory: %zu bytes", cap);
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    char *at = n ? buf_room(b, n) : NULL;
    if (at) {
        memcpy(at, p, n);
        b->n += n;
    }
}

void buf_char(struct buf *b, char c)
{
    char *at = b->n < b->cap && !b->overflow ? b->p + b->n : buf_room(b, 1);
    if (at) {
        *at = c;
        b->n++;
    }
}

void buf_str(struct buf *b, Str s)
{
    buf_put(b, s.p, s.n);
}

void buf_z(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n < 0)
        die("bad format %s", fmt);
    if ((size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
    } else if (buf_room(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}

static size_t map_slot(const struct map *m, Str key)
{
    size_t i = str_hash(key) & (m->slot_count - 1);
    while (m->slots[i] && !str_eq(m->entries[m->slots[i] - 1].key, key))
        i = (i + 1) & (m->slot_count - 1);
    return i;
}

void *map_get(const struct map *m, Str key)
{
    if (!m->slot_count)
        return NULL;
    uint32_t at = m->slots[map_slot(m, key)];
    return at ? m->entries[at - 1].value : NULL;
}

void **map_at(struct arena *a, struct map *m, Str key)
{
    if (m->n * 2 >= m->slot_count) {
        m->slot_count = m->slot_count ? m->slot_count * 2 : 16;
        m->slots = arena_array(a, uint32_t, m->slot_count);
        m->entries = arena_grow(a, m->entries, m->n * sizeof *m->entries,
                                m->slot_count / 2 * sizeof *m->entries);
        for (size_t i = 0; i < m->n; i++)
            m->slots[map_slot(m, m->entries[i].key)] = (uint32_t)i + 1;
    }
    size_t s = map_slot(m, key);
    if (!m->slots[s]) {
        m->entries[m->n] = (struct map_entry){.key = key};
        m->slots[s] = (uint32_t)++m->n;
    }
    return &m->entries[m->slots[s] - 1].value;
}
