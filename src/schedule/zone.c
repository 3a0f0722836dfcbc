#include "schedule/schedule.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* Compiled zones (RFC 8536) are read from here. libical has no look-up from wall time to both instants that
 * it may mean, and for its offsets alone (right to 2037, wrong for St. John's and Gaza after that) it is not
 * worth it. */
#define ZONEINFO "/usr/share/zoneinfo"
#define FILE_MAX ((size_t)256 << 10) /* the largest is 4 KB */
#define CYCLE (146097 * DAY)         /* 400 years: the calendar repeats, week days and all */
#define SPAN_YEARS 402               /* a cycle and room */

/* offset[0] is in force until at[0], offset[i + 1] from at[i] on. Where the file ends with a rule for all
 * years to come, its changes are written out for a whole cycle; what lies past the horizon is looked up a
 * number of cycles earlier. wall[i] is what clocks show when at[i] comes, before they are set: ascending as
 * at[] is. */
struct zone {
    Str name;
    size_t n;
    Time *at, *wall;
    int32_t *offset; /* s */
    Time horizon;    /* TIME_NEVER: no repeating rule */
};

struct change {
    Time at;
    int32_t offset;
};

struct changes {
    struct arena *a;
    VEC(struct change) list;
};

/* --- the rule at the end of a file: "CET-1CEST,M3.5.0,M10.5.0/3" --- */

struct yearly { /* a day of the year and the time of it, by the clock in force before */
    char kind;  /* 'M': month, week, weekday; 'J': day 1–365, no leap day; 'D': day 0–365 */
    int month, week, weekday, day;
    int32_t time;
};

struct footer {
    int32_t std, dst; /* s east of UTC */
    bool has_dst;
    struct yearly start, end;
};

static bool take(Str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_sub(*s, 1, s->n);
    return true;
}

static bool take_number(Str *s, int max, int *ret)
{
    int v = 0;
    size_t n = 0;
    for (; n < s->n && n < 4 && isdigit((unsigned char)s->p[n]); n++)
        v = v * 10 + (s->p[n] - '0');
    *s = str_sub(*s, n, s->n);
    *ret = v;
    return n > 0 && v <= max;
}

static bool take_time(Str *s, int32_t *ret)
{
    int sign = take(s, '-') ? -1 : 1, h, m = 0, sec = 0;
    if (sign > 0)
        (void)take(s, '+');
    if (!take_number(s, 167, &h) || (take(s, ':') && !take_number(s, 59, &m)) ||
        (take(s, ':') && !take_number(s, 59, &sec)))
        return false;
    *ret = sign * (h * 3600 + m * 60 + sec);
    return true;
}

static bool take_abbreviation(Str *s)
{
    size_t n = 0;
    if (take(s, '<')) {
        while (n < s->n && s->p[n] != '>')
            n++;
        *s = str_sub(*s, n, s->n);
        return n > 0 && take(s, '>');
    }
    while (n < s->n && isalpha((unsigned char)s->p[n]))
        n++;
    *s = str_sub(*s, n, s->n);
    return n >= 3;
}

static bool take_yearly(Str *s, struct yearly *y)
{
    *y = (struct yearly){.kind = 'D', .time = 2 * 3600};
    if (!take(s, ','))
        return false;
    if (take(s, 'M')) {
        y->kind = 'M';
        if (!take_number(s, 12, &y->month) || !take(s, '.') || !take_number(s, 5, &y->week) ||
            !take(s, '.') || !take_number(s, 6, &y->weekday) || !y->month || !y->week)
            return false;
    } else {
        if (take(s, 'J'))
            y->kind = 'J';
        if (!take_number(s, 365, &y->day) || (y->kind == 'J' && !y->day))
            return false;
    }
    return !take(s, '/') || take_time(s, &y->time);
}

static bool footer_parse(Str s, struct footer *f)
{
    *f = (struct footer){0};
    if (!take_abbreviation(&s) || !take_time(&s, &f->std))
        return false;
    f->std = -f->std;
    if (!s.n)
        return true;
    f->has_dst = true;
    f->dst = f->std + 3600;
    if (!take_abbreviation(&s))
        return false;
    if (s.n && s.p[0] != ',') {
        if (!take_time(&s, &f->dst))
            return false;
        f->dst = -f->dst;
    }
    return take_yearly(&s, &f->start) && take_yearly(&s, &f->end) && !s.n;
}

static Time yearly_at(const struct yearly *y, int64_t year, int32_t offset_before)
{
    int64_t day = civil_days(year, 1, 1);
    if (y->kind == 'M') {
        day = civil_days(year, y->month, 1);
        int first = (int)((day + 4) % 7 + 7) % 7; /* 0: Sunday */
        int mday = (y->weekday - first + 7) % 7 + 7 * (y->week - 1);
        while (mday >= civil_month_days(year, y->month))
            mday -= 7;
        day += mday;
    } else if (y->kind == 'J') {
        day += y->day - 1 + (y->day >= 60 && civil_month_days(year, 2) == 29);
    } else {
        day += y->day;
    }
    return day * DAY + (y->time - offset_before) * SEC;
}

/* --- the file --- */

static int64_t be(const uint8_t *p, int bytes)
{
    uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static void add_change(struct changes *c, int32_t first, Time at, int32_t offset)
{
    struct change *last = c->list.n ? &c->list.v[c->list.n - 1] : NULL;
    if (last && at <= last->at) {
        last->offset = offset;
    } else if (offset != (last ? last->offset : first)) {
        struct change item = {at, offset};
        vec_push(c->a, &c->list, item);
    }
}

/* Counts of a TZif header and the sizes that follow from them. */
struct block {
    size_t utc, std, leaps, times, types, chars, size;
};

static bool read_header(Str s, int time_size, struct block *ret)
{
    if (s.n < 44 || memcmp(s.p, "TZif", 4) != 0)
        return false;
    const uint8_t *p = (const uint8_t *)s.p + 20;
    size_t v[6];
    for (int i = 0; i < 6; i++) {
        int64_t count = be(p + 4 * i, 4);
        if (count < 0 || (size_t)count > FILE_MAX)
            return false;
        v[i] = (size_t)count;
    }
    struct block b = {v[0], v[1], v[2], v[3], v[4], v[5], 0};
    size_t word = (size_t)time_size;
    b.size = b.times * (word + 1) + b.types * 6 + b.chars + b.leaps * (word + 4) + b.std + b.utc;
    if (b.size > s.n - 44 || !b.types)
        return false;
    *ret = b;
    return true;
}

/* `known` is the last time that the file lists, TIME_NONE where it lists none. */
static void add_footer(struct changes *c, int32_t first, const struct footer *f, Time known,
                       Time *ret_horizon)
{
    int64_t year = 1970;
    int month, day;
    if (known != TIME_NONE)
        civil_date(known / DAY - (known < 0), &year, &month, &day);
    for (int64_t y = year - 1; y <= year + SPAN_YEARS; y++) {
        struct change two[2] = {{yearly_at(&f->end, y, f->dst), f->std},
                                {yearly_at(&f->start, y, f->std), f->dst}};
        bool swap = two[1].at < two[0].at;
        for (int i = 0; i < 2; i++) {
            const struct change *x = &two[swap ? 1 - i : i];
            if (x->at > known)
                add_change(c, first, x->at, x->offset);
        }
    }
    /* A summer time that lasts all year leaves no change to repeat. */
    if (c->list.n && c->list.v[c->list.n - 1].at > known + CYCLE)
        *ret_horizon = c->list.v[c->list.n - 1].at - 2 * DAY;
}

static struct zone *zone_read(struct arena *a, Str name, Str file)
{
    struct block b;
    int word = 4;
    if (!read_header(file, 4, &b))
        return NULL;
    if (file.p[4] >= '2') { /* the same again with 64-bit times, and the footer */
        word = 8;
        file = str_sub(file, 44 + b.size, file.n);
        if (!read_header(file, 8, &b))
            return NULL;
    }
    const uint8_t *at = (const uint8_t *)file.p + 44, *kind = at + b.times * (size_t)word,
                  *type = kind + b.times;
    int32_t first = (int32_t)be(type, 4);
    Time known = TIME_NONE;
    struct changes c = {.a = a};
    for (size_t i = 0; i < b.times; i++) {
        int64_t t = be(at + i * (size_t)word, word);
        if (kind[i] >= b.types || t > 1000000000000 || t < -1000000000000000000)
            return NULL;
        t = MAX(t, -100000000000); /* some files begin with the big bang */
        known = t * SEC;
        add_change(&c, first, known, (int32_t)be(type + 6 * (size_t)kind[i], 4));
    }
    struct zone *z = arena_new(a, struct zone);
    z->name = str_dup(a, name);
    z->horizon = TIME_NEVER;
    if (word == 8) {
        Str rest = str_sub(file, 44 + b.size, file.n), line;
        struct footer f;
        if (take(&rest, '\n') && str_cut(&rest, '\n', &line) && footer_parse(line, &f) && f.has_dst)
            add_footer(&c, first, &f, known, &z->horizon);
    }
    z->n = c.list.n;
    z->at = arena_array(a, Time, z->n + 1);
    z->wall = arena_array(a, Time, z->n + 1);
    z->offset = arena_array(a, int32_t, z->n + 1);
    z->offset[0] = first;
    for (size_t i = 0; i < z->n; i++) {
        z->at[i] = c.list.v[i].at;
        z->offset[i + 1] = c.list.v[i].offset;
        if (z->offset[i + 1] < -DAY / SEC || z->offset[i + 1] > DAY / SEC)
            return NULL;
        z->wall[i] = z->at[i] + z->offset[i] * SEC;
        if (i && z->wall[i] < z->wall[i - 1])
            z->wall[i] = z->wall[i - 1];
    }
    return z;
}

/* Letters, digits, '_', '+', '-' in parts between single slashes: no way out of the folder, and none of the
 * files there that are no zones. */
static bool name_ok(Str name)
{
    if (!name.n || name.n > 60 || name.p[0] == '/' || name.p[name.n - 1] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '/' ? name.p[i - 1] == '/' : !isalnum((unsigned char)c) && c != '_' && c != '+' && c != '-')
            return false;
    }
    return !str_starts(name, STR("posix/")) && !str_starts(name, STR("right/")) &&
           !str_eq(name, STR("posixrules")) && !str_eq(name, STR("localtime"));
}

static struct zone *zone_load(struct arena *a, Str name)
{
    AUTO(arena_freep) struct arena *scratch = arena_create();
    Str path = str_fmt(scratch, ZONEINFO "/%.*s", STR_ARG(name));
    int fd = open(path.p, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (!str_eq(name, STR("UTC")))
            return NULL;
        struct zone *z = arena_new(a, struct zone);
        *z = (struct zone){.name = STR("UTC"), .offset = arena_new(a, int32_t), .horizon = TIME_NEVER};
        return z;
    }
    char *p = arena_alloc(scratch, FILE_MAX);
    size_t n = 0;
    ssize_t got = 0;
    while (n < FILE_MAX && ((got = read(fd, p + n, FILE_MAX - n)) > 0 || (got < 0 && errno == EINTR)))
        n += got > 0 ? (size_t)got : 0;
    (void)close(fd);
    return got < 0 ? NULL : zone_read(a, name, (Str){p, n});
}

const struct zone *zone_find(Str name)
{
    /* As long as the process, so never freed; only names that are files get in: some 600. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct arena *arena;
    static struct map known;
    if (!name_ok(name))
        return NULL;
    pthread_mutex_lock(&lock);
    struct zone *z = map_get(&known, name);
    if (!z) {
        if (!arena)
            arena = arena_create();
        z = zone_load(arena, name);
        if (z)
            *map_at(arena, &known, z->name) = z;
    }
    pthread_mutex_unlock(&lock);
    return z;
}

Str zone_name(const struct zone *z)
{
    return z->name;
}

/* How far to go back to come within what is written out: a number of cycles. */
static Dur fold(const struct zone *z, Time t)
{
    return t <= z->horizon ? 0 : ((t - z->horizon - 1) / CYCLE + 1) * CYCLE;
}

/* How many of v, ascending, are not after t. */
static size_t count_until(const Time *v, size_t n, Time t)
{
    size_t low = 0;
    while (n) {
        size_t half = n / 2;
        if (v[low + half] <= t)
            low += half + 1, n -= half + 1;
        else
            n = half;
    }
    return low;
}

Dur zone_offset(const struct zone *z, Time utc)
{
    return z->offset[count_until(z->at, z->n, utc - fold(z, utc))] * SEC;
}

Time zone_to_utc(const struct zone *z, Time local, enum zone_pick pick)
{
    Time t = local - fold(z, local);
    size_t i = count_until(z->wall, z->n, t);
    Dur offset = z->offset[i] * SEC;
    if (i && t < z->at[i - 1] + offset) { /* skipped: the clocks were set past it */
        if (pick == ZONE_LATER)
            offset = z->offset[i - 1] * SEC;
    } else if (pick == ZONE_LATER && i < z->n && t >= z->at[i] + z->offset[i + 1] * SEC) {
        offset = z->offset[i + 1] * SEC; /* shown again after the next change */
    }
    return local - offset;
}

Time zone_change_before(const struct zone *z, Time utc)
{
    Dur back = fold(z, utc);
    size_t i = count_until(z->at, z->n, utc - back);
    return i ? z->at[i - 1] + back : TIME_NONE;
}

Time zone_change_after(const struct zone *z, Time utc)
{
    Dur back = fold(z, utc);
    size_t i = count_until(z->at, z->n, utc - back);
    return i < z->n ? z->at[i] + back : TIME_NEVER;
}
