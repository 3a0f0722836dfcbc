#include "base/time.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

Time time_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec / 1000;
}

Dur time_monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec / 1000;
}

/* Days before 1 January of `year`, counted from year 1; leap years by the Gregorian rule. */
static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1;
    return 365 * y + y / 4 - y / 100 + y / 400;
}

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

int civil_month_days(int64_t year, int month)
{
    static const int n[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return n[month - 1] + (month == 2 && is_leap(year));
}

/* Days of the year before the first of `month`. */
static int days_before_month(int64_t year, int month)
{
    static const int n[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    return n[month - 1] + (month > 2 && is_leap(year));
}

int64_t civil_days(int64_t year, int month, int day)
{
    return days_before_year(year) - days_before_year(1970) + days_before_month(year, month) + day - 1;
}

void civil_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    /* A first guess from the mean length of a year is at most one off; so is one of the month from 31 days. */
    int64_t since = days + days_before_year(1970);
    int64_t y = since * 400 / 146097 + 1;
    while (days_before_year(y) > since)
        y--;
    while (days_before_year(y + 1) <= since)
        y++;
    int yday = (int)(since - days_before_year(y));
    int m = yday / 31 + 1;
    if (m < 12 && days_before_month(y, m + 1) <= yday)
        m++;
    *ret_year = y, *ret_month = m, *ret_day = yday - days_before_month(y, m) + 1;
}

static char *put_digits(char *p, int64_t v, int n)
{
    for (int i = n; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

struct time_text time_iso(Time t)
{
    struct time_text out;
    int64_t days = t / DAY, us = t % DAY;
    if (us < 0)
        us += DAY, days--;
    int64_t y;
    int m, d;
    civil_date(days, &y, &m, &d);
    char *p = out.s;
    p = put_digits(p, y < 0 ? 0 : y % 10000, 4);
    *p++ = '-', p = put_digits(p, m, 2);
    *p++ = '-', p = put_digits(p, d, 2);
    *p++ = 'T', p = put_digits(p, us / HOUR, 2);
    *p++ = ':', p = put_digits(p, us / MINUTE % 60, 2);
    *p++ = ':', p = put_digits(p, us / SEC % 60, 2);
    if (us % SEC)
        *p++ = '.', p = put_digits(p, us % SEC, 6);
    *p++ = 'Z', *p = 0;
    return out;
}

static bool take_digits(Str *s, size_t n, int *ret)
{
    if (s->n < n)
        return false;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s->p[i]))
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    s->p += n, s->n -= n;
    *ret = v;
    return true;
}

static bool take_char(Str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    s->p++, s->n--;
    return true;
}

bool time_parse(Str s, Time *ret)
{
    int y, mo, d, h = 0, mi = 0, sec = 0;
    int64_t us = 0, offset = 0;
    if (!take_digits(&s, 4, &y) || !take_char(&s, '-') || !take_digits(&s, 2, &mo) ||
        !take_char(&s, '-') || !take_digits(&s, 2, &d))
        return false;
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > civil_month_days(y, mo))
        return false;
    if (s.n) {
        if (!take_char(&s, 'T') && !take_char(&s, 't') && !take_char(&s, ' '))
            return false;
        if (!take_digits(&s, 2, &h) || !take_char(&s, ':') || !take_digits(&s, 2, &mi))
            return false;
        if (take_char(&s, ':')) {
            if (!take_digits(&s, 2, &sec))
                return false;
            if (take_char(&s, '.') || take_char(&s, ',')) {
                int64_t unit = SEC / 10;
                size_t n = 0;
                for (; s.n && isdigit((unsigned char)s.p[0]); s.p++, s.n--, n++, unit /= 10)
                    us += (s.p[0] - '0') * unit;
                if (n == 0 || n > 9)
                    return false;
            }
        }
        if (h > 23 || mi > 59 || sec > 59)
            return false;
        if (s.n && !(take_char(&s, 'Z') || take_char(&s, 'z'))) {
            int sign = s.p[0] == '-' ? -1 : 1, oh, om = 0, os = 0;
            if (s.p[0] != '+' && s.p[0] != '-')
                return false;
            s.p++, s.n--;
            if (!take_digits(&s, 2, &oh))
                return false;
            if (s.n) {
                take_char(&s, ':');
                if (!take_digits(&s, 2, &om))
                    return false;
                if (take_char(&s, ':') && !take_digits(&s, 2, &os))
                    return false;
            }
            if (oh > 23 || om > 59 || os > 59)
                return false;
            offset = sign * (oh * HOUR + om * MINUTE + os * SEC);
        }
    }
    if (s.n)
        return false;
    Time t = civil_days(y, mo, d) * DAY + h * HOUR + mi * MINUTE + sec * SEC + us - offset;
    if (t < TIME_FIRST || t > TIME_LAST)
        return false;
    *ret = t;
    return true;
}

bool dur_parse(Str s, Dur *ret)
{
    int sign = 1;
    if (take_char(&s, '-'))
        sign = -1;
    else
        (void)take_char(&s, '+');
    if (!take_char(&s, 'P') || !s.n)
        return false;
    bool in_time = false, any = false;
    double total = 0;
    while (s.n) {
        if (!in_time && take_char(&s, 'T')) {
            in_time = true;
            continue;
        }
        size_t n = 0;
        while (n < s.n && (isdigit((unsigned char)s.p[n]) || s.p[n] == '.'))
            n++;
        double v;
        if (n == s.n || !str_double((Str){s.p, n}, &v))
            return false;
        char unit = s.p[n];
        Dur of = in_time ? (unit == 'H'   ? HOUR
                            : unit == 'M' ? MINUTE
                            : unit == 'S' ? SEC
                                          : 0)
                         : (unit == 'Y'   ? 365 * DAY
                            : unit == 'M' ? 30 * DAY
                            : unit == 'W' ? 7 * DAY
                            : unit == 'D' ? DAY
                                          : 0);
        if (!of)
            return false;
        total += v * (double)of;
        s.p += n + 1, s.n -= n + 1;
        any = true;
    }
    if (!any || total > 9e18)
        return false;
    *ret = sign * (Dur)llround(total);
    return true;
}

bool dur_parse_clock(Str s, double *ret)
{
    double days = 0, sign = 1, part[3] = {0};
    s = str_trim(s);
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        sign = s.p[0] == '-' ? -1 : 1;
        s = str_sub(s, 1, s.n);
    }
    size_t n = 0;
    while (n < s.n && isdigit((unsigned char)s.p[n]))
        n++;
    Str after = str_trim(str_sub(s, n, s.n));
    if (n && n < 10 && after.n && (after.p[0] == 'd' || after.p[0] == 'D')) {
        size_t w = 1;
        while (w < after.n && isalpha((unsigned char)after.p[w]))
            w++;
        Str word = str_sub(after, 0, w);
        if (!str_double(str_sub(s, 0, n), &days) ||
            !(str_ieq(word, STR("d")) || str_ieq(word, STR("day")) || str_ieq(word, STR("days"))))
            return false;
        s = str_sub(after, w, after.n);
        if (s.n && s.p[0] == ',')
            s = str_sub(s, 1, s.n);
        s = str_trim(s);
        if (!s.n) {
            *ret = sign * days * 86400;
            return true;
        }
    }
    int parts = 0;
    for (Str rest = s, item; str_cut(&rest, ':', &item); parts++) {
        bool last = parts == 2;
        if (parts == 3 || !item.n || item.n > 16 || !isdigit((unsigned char)item.p[0]))
            return false;
        for (size_t i = 0; i < item.n; i++)
            if (!isdigit((unsigned char)item.p[i]) && !(last && item.p[i] == '.'))
                return false;
        if (!str_double(item, &part[parts]) || (parts && part[parts] >= 60))
            return false;
    }
    *ret = sign * (days * 86400 + part[0] * 3600 + part[1] * 60 + part[2]);
    return parts >= 2;
}

bool uuid_eq(Uuid a, Uuid b)
{
    return memcmp(a.b, b.b, 16) == 0;
}

bool uuid_is_nil(Uuid u)
{
    return uuid_eq(u, UUID_NIL);
}

void random_bytes(void *p, size_t n)
{
    /* One system call fills a thread's pool; ids are made by the ten thousand a second. */
    static __thread uint8_t pool[256];
    static __thread size_t left;
    uint8_t *at = p;
    while (n) {
        if (!left) {
            ssize_t got = getrandom(pool, sizeof pool, 0);
            if (got != sizeof pool) {
                if (got < 0 && errno == EINTR)
                    continue;
                die("getrandom failed");
            }
            left = sizeof pool;
        }
        size_t take = MIN(n, left);
        memcpy(at, pool + sizeof pool - left, take);
        memset(pool + sizeof pool - left, 0, take);
        left -= take, at += take, n -= take;
    }
}

double random_double(void)
{
    uint64_t v;
    random_bytes(&v, sizeof v);
    return (double)(v >> 11) * 0x1p-53;
}

static pthread_mutex_t v7_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t v7_last; /* 48 bits of ms, 12 of counter */

void uuid_v7_after(Time t)
{
    pthread_mutex_lock(&v7_lock);
    v7_last = MAX(v7_last, (uint64_t)MAX(t / MSEC, 0) << 12);
    pthread_mutex_unlock(&v7_lock);
}

Time uuid_v7_latest(void)
{
    pthread_mutex_lock(&v7_lock);
    uint64_t t = v7_last;
    pthread_mutex_unlock(&v7_lock);
    return (Time)(t >> 12) * MSEC;
}

Uuid uuid_v7(void)
{
    Uuid u;
    random_bytes(u.b, 16);
    uint64_t now = (uint64_t)(time_now() / MSEC) << 12;
    pthread_mutex_lock(&v7_lock);
    v7_last = now > v7_last ? now : v7_last + 1;
    uint64_t t = v7_last;
    pthread_mutex_unlock(&v7_lock);
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(t >> (52 - 8 * i));
    u.b[6] = (uint8_t)(0x70 | (t >> 8 & 0x0f));
    u.b[7] = (uint8_t)t;
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

Uuid uuid_v4(void)
{
    Uuid u;
    random_bytes(u.b, 16);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

struct uuid_text uuid_text(Uuid u)
{
    static const char hex[] = "0123456789abcdef";
    struct uuid_text out;
    char *p = out.s;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[u.b[i] >> 4];
        *p++ = hex[u.b[i] & 15];
    }
    *p = 0;
    return out;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool uuid_parse(Str s, Uuid *ret)
{
    if (str_starts(s, STR("urn:uuid:")))
        s = str_sub(s, 9, s.n);
    if (s.n >= 2 && s.p[0] == '{' && s.p[s.n - 1] == '}')
        s = (Str){s.p + 1, s.n - 2};
    bool hyphens = s.n == 36;
    if (!hyphens && s.n != 32)
        return false;
    Uuid u;
    for (size_t i = 0, at = 0; i < 16; i++, at += 2) {
        if (hyphens && (i == 4 || i == 6 || i == 8 || i == 10) && s.p[at++] != '-')
            return false;
        int hi = hex_value(s.p[at]), lo = hex_value(s.p[at + 1]);
        if (hi < 0 || lo < 0)
            return false;
        u.b[i] = (uint8_t)(hi << 4 | lo);
    }
    *ret = u;
    return true;
}
