#include "schema/format.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Takes `n` digits off the front of *s. */
static bool take_digits(Str *s, size_t n, int *ret)
{
    int v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(s->p[i]))
            return false;
        v = v * 10 + s->p[i] - '0';
    }
    *s = str_sub(*s, n, s->n);
    *ret = v;
    return true;
}

static bool take(Str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_sub(*s, 1, s->n);
    return true;
}

static bool take_date(Str *s)
{
    static const int8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d;
    if (!take_digits(s, 4, &y) || !take(s, '-') || !take_digits(s, 2, &m) || !take(s, '-') ||
        !take_digits(s, 2, &d))
        return false;
    if (m < 1 || m > 12 || d < 1 || d > days[m - 1])
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m != 2 || d < 29 || leap;
}

/* RFC 3339: the offset is a must; a leap second is one in UTC only. */
static bool take_time(Str *s)
{
    int h, m, sec, oh = 0, om = 0, sign = 0;
    if (!take_digits(s, 2, &h) || !take(s, ':') || !take_digits(s, 2, &m) || !take(s, ':') ||
        !take_digits(s, 2, &sec) || h > 23 || m > 59 || sec > 60)
        return false;
    if (take(s, '.')) {
        if (!s->n || !is_digit(s->p[0]))
            return false;
        while (s->n && is_digit(s->p[0]))
            *s = str_sub(*s, 1, s->n);
    }
    if (!take(s, 'Z') && !take(s, 'z')) {
        sign = take(s, '+') ? 1 : take(s, '-') ? -1 : 0;
        if (!sign || !take_digits(s, 2, &oh) || !take(s, ':') || !take_digits(s, 2, &om) || oh > 23 ||
            om > 59)
            return false;
    }
    int utc = (h * 60 + m - sign * (oh * 60 + om) + 2880) % 1440;
    return sec < 60 || utc == 1439;
}

static bool is_date(Str s)
{
    return take_date(&s) && !s.n;
}

static bool is_time(Str s)
{
    return take_time(&s) && !s.n;
}

static bool is_date_time(Str s)
{
    return take_date(&s) && (take(&s, 'T') || take(&s, 't')) && take_time(&s) && !s.n;
}

/* PnW, or PnYnMnDTnHnMnS with units left out at the ends only. */
static bool is_duration(Str s)
{
    if (!take(&s, 'P') || !s.n)
        return false;
    const char *units = "YMD";
    bool in_time = false, weeks = false, some = false;
    int last = -1;
    while (s.n) {
        if (take(&s, 'T')) {
            if (in_time || weeks || !s.n)
                return false;
            in_time = true;
            units = "HMS";
            last = -1;
            continue;
        }
        size_t i = 0;
        while (i < s.n && is_digit(s.p[i]))
            i++;
        if (!i || i == s.n || weeks)
            return false;
        char unit = s.p[i];
        s = str_sub(s, i + 1, s.n);
        if (unit == 'W' && !some && !in_time) {
            weeks = some = true;
            continue;
        }
        const char *at = unit ? strchr(units, unit) : NULL;
        int place = at ? (int)(at - units) : -1;
        if (place < 0 || place <= last || (last >= 0 && place != last + 1))
            return false;
        last = place;
        some = true;
    }
    return some;
}

static bool is_email(Str s)
{
    return str_find(s, STR("@")) >= 0;
}

static bool is_hostname(Str s)
{
    if (!s.n || s.n > 253)
        return false;
    for (Str rest = s, label; str_cut(&rest, '.', &label);) {
        if (!label.n || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!is_alnum(label.p[i]) && label.p[i] != '-')
                return false;
    }
    return true;
}

static bool is_ip(Str s, int family)
{
    char z[64], out[16];
    if (!s.n || s.n >= sizeof z || memchr(s.p, 0, s.n))
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    return inet_pton(family, z, out) == 1;
}

static bool is_ipv4(Str s)
{
    return is_ip(s, AF_INET);
}

static bool is_ipv6(Str s)
{
    return is_ip(s, AF_INET6);
}

static bool is_uuid(Str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? s.p[i] != '-' : !is_hex(s.p[i]))
            return false;
    }
    return true;
}

static bool is_pointer(Str s)
{
    if (s.n && s.p[0] != '/')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '~' && (i + 1 == s.n || (s.p[i + 1] != '0' && s.p[i + 1] != '1')))
            return false;
    return true;
}

static bool is_relative_pointer(Str s)
{
    size_t i = 0;
    while (i < s.n && is_digit(s.p[i]))
        i++;
    if (!i || (i > 1 && s.p[0] == '0'))
        return false;
    s = str_sub(s, i, s.n);
    return str_eqz(s, "#") || is_pointer(s);
}

static bool is_uri_text(Str s, bool scheme)
{
    size_t i = 0;
    bool letter = s.n && is_alnum(s.p[0]) && !is_digit(s.p[0]);
    while (letter && i < s.n && (is_alnum(s.p[i]) || strchr("+-.", s.p[i])) && s.p[i])
        i++;
    if (scheme && (!i || i == s.n || s.p[i] != ':'))
        return false;
    for (i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c))
            return false;
        if (c == '%' && (i + 2 >= s.n || !is_hex(s.p[i + 1]) || !is_hex(s.p[i + 2])))
            return false;
    }
    return true;
}

static bool is_uri(Str s)
{
    return is_uri_text(s, true);
}

static bool is_uri_reference(Str s)
{
    return is_uri_text(s, false);
}

bool format_fits(Str format, Str s)
{
    static const struct {
        const char *name;
        bool (*fits)(Str s);
    } formats[] = {
        {"date", is_date},
        {"time", is_time},
        {"date-time", is_date_time},
        {"duration", is_duration},
        {"email", is_email},
        {"idn-email", is_email},
        {"hostname", is_hostname},
        {"ipv4", is_ipv4},
        {"ipv6", is_ipv6},
        {"uuid", is_uuid},
        {"json-pointer", is_pointer},
        {"relative-json-pointer", is_relative_pointer},
        {"uri", is_uri},
        {"uri-reference", is_uri_reference},
    };
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        if (str_eqz(format, formats[i].name))
            return formats[i].fits(s);
    return true;
}
