#include "schema/pyrepr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void py_repr_double(struct buf *b, double d)
{
    if (!isfinite(d)) {
        buf_z(b, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    /* %.15g drops zeros at the end, so it is the shortest where it reads back; but for denormals. */
    char text[40];
    for (int precision = fabs(d) < 1e-300 ? 0 : 14; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    if (text[0] == '-')
        buf_char(b, '-');
    char digits[24];
    int n = 0;
    const char *p = text + (text[0] == '-');
    for (; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    int exponent = (int)strtol(p + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        buf_put(b, digits, 1);
        if (n > 1) {
            buf_char(b, '.');
            buf_put(b, digits + 1, (size_t)n - 1);
        }
        buf_fmt(b, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        buf_z(b, "0.");
        for (int i = -1; i > exponent; i--)
            buf_char(b, '0');
        buf_put(b, digits, (size_t)n);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        buf_char(b, i < n ? digits[i] : '0');
    buf_char(b, '.');
    if (n > exponent + 1)
        buf_put(b, digits + exponent + 1, (size_t)(n - exponent - 1));
    else
        buf_char(b, '0');
}

/* The characters that Python would not print as they are: controls, separators other than the space,
 * formatting marks, private use. */
static bool printable(unsigned c)
{
    static const unsigned ranges[][2] = {
        {0x00, 0x1f},     {0x7f, 0xa0},     {0xad, 0xad},        {0x600, 0x605},   {0x61c, 0x61c},
        {0x6dd, 0x6dd},   {0x70f, 0x70f},   {0x1680, 0x1680},    {0x180e, 0x180e}, {0x2000, 0x200f},
        {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000},    {0xd800, 0xf8ff}, {0xfeff, 0xfeff},
        {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0x10ffff},
    };
    if (c >= 0x20 && c < 0x7f)
        return true;
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return false;
    return true;
}

static unsigned next_code(Str s, size_t *at)
{
    unsigned char c = (unsigned char)s.p[(*at)++];
    if (c < 0xc0)
        return c;
    int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    unsigned code = c & (0x3fu >> more);
    while (more-- && *at < s.n)
        code = code << 6 | ((unsigned char)s.p[(*at)++] & 0x3f);
    return code;
}

void py_repr_str(struct buf *b, Str s)
{
    char quote = str_find(s, STR("'")) >= 0 && str_find(s, STR("\"")) < 0 ? '"' : '\'';
    buf_char(b, quote);
    for (size_t i = 0; i < s.n && !b->overflow;) {
        size_t from = i;
        unsigned c = next_code(s, &i);
        if (c == (unsigned char)quote || c == '\\')
            buf_fmt(b, "\\%c", (int)c);
        else if (c == '\n')
            buf_z(b, "\\n");
        else if (c == '\r')
            buf_z(b, "\\r");
        else if (c == '\t')
            buf_z(b, "\\t");
        else if (printable(c))
            buf_put(b, s.p + from, i - from);
        else if (c < 0x100)
            buf_fmt(b, "\\x%02x", c);
        else if (c < 0x10000)
            buf_fmt(b, "\\u%04x", c);
        else
            buf_fmt(b, "\\U%08x", c);
    }
    buf_char(b, quote);
}

static void repr_number(struct buf *b, Str raw)
{
    bool floating = false;
    for (size_t i = 0; i < raw.n; i++)
        floating |= raw.p[i] == '.' || raw.p[i] == 'e' || raw.p[i] == 'E';
    if (!floating) {
        buf_str(b, str_eqz(raw, "-0") ? STR("0") : raw);
        return;
    }
    char z[400];
    if (raw.n >= sizeof z) { /* nobody wrote this by hand: as it came */
        buf_str(b, raw);
        return;
    }
    memcpy(z, raw.p, raw.n);
    z[raw.n] = 0;
    py_repr_double(b, strtod(z, NULL));
}

void py_repr(struct buf *b, const struct json *v)
{
    if (b->overflow)
        return;
    switch (v->kind) {
    case JSON_NULL:
        buf_z(b, "None");
        break;
    case JSON_BOOL:
        buf_z(b, v->boolean ? "True" : "False");
        break;
    case JSON_NUMBER:
        repr_number(b, v->raw);
        break;
    case JSON_STRING:
        py_repr_str(b, v->string);
        break;
    case JSON_ARRAY:
        buf_char(b, '[');
        for (size_t i = 0; i < v->array.n && !b->overflow; i++) {
            if (i)
                buf_z(b, ", ");
            py_repr(b, &v->array.items[i]);
        }
        buf_char(b, ']');
        break;
    case JSON_OBJECT:
        buf_char(b, '{');
        for (size_t i = 0; i < v->object.n && !b->overflow; i++) {
            if (i)
                buf_z(b, ", ");
            py_repr_str(b, v->object.members[i].key);
            buf_z(b, ": ");
            py_repr(b, &v->object.members[i].value);
        }
        buf_char(b, '}');
        break;
    }
}

void py_str(struct buf *b, const struct json *v)
{
    if (v->kind == JSON_STRING)
        buf_str(b, v->string);
    else
        py_repr(b, v);
}
