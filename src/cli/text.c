#include "cli/text.h"

/* Ranges of code points, ascending: combining marks and other characters without a width. */
static const uint32_t zero_width[][2] = {
    {0x0300, 0x036f},   {0x0483, 0x0489},   {0x0591, 0x05bd},   {0x0610, 0x061a},   {0x064b, 0x065f},   {0x06d6, 0x06dc},
    {0x0730, 0x074a},   {0x0900, 0x0902},   {0x093c, 0x093c},   {0x0941, 0x0948},   {0x094d, 0x094d},   {0x0e31, 0x0e31},
    {0x0e34, 0x0e3a},   {0x0e47, 0x0e4e},   {0x1160, 0x11ff},   {0x1ab0, 0x1aff},   {0x1dc0, 0x1dff},   {0x200b, 0x200f},
    {0x202a, 0x202e},   {0x2060, 0x2064},   {0x20d0, 0x20ff},   {0xfe00, 0xfe0f},   {0xfe20, 0xfe2f},   {0xfeff, 0xfeff},
    {0x1f3fb, 0x1f3ff}, {0xe0001, 0xe01ef},
};

/* East Asian wide and full-width characters, emoji shown as pictures. */
static const uint32_t double_width[][2] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23ec},   {0x23f0, 0x23f0},   {0x23f3, 0x23f3},
    {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},   {0x26ce, 0x26ce},   {0x26d4, 0x26d4},   {0x26ea, 0x26ea},
    {0x26f2, 0x26f3},   {0x26f5, 0x26f5},   {0x26fa, 0x26fa},   {0x26fd, 0x26fd},   {0x2705, 0x2705},   {0x270a, 0x270b},
    {0x2728, 0x2728},   {0x274c, 0x274c},   {0x274e, 0x274e},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27b0, 0x27b0},   {0x27bf, 0x27bf},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},   {0x2b55, 0x2b55},   {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},   {0xa960, 0xa97f},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x16fe0, 0x18aff},
    {0x1b000, 0x1b2ff}, {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a}, {0x1f200, 0x1f265},
    {0x1f300, 0x1f320}, {0x1f32d, 0x1f335}, {0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca}, {0x1f3cf, 0x1f3d3},
    {0x1f3e0, 0x1f3f0}, {0x1f3f4, 0x1f3f4}, {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc}, {0x1f4ff, 0x1f53d},
    {0x1f54b, 0x1f54e}, {0x1f550, 0x1f567}, {0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4}, {0x1f5fb, 0x1f64f},
    {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6d7}, {0x1f6dc, 0x1f6df}, {0x1f6eb, 0x1f6ec},
    {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7eb}, {0x1f7f0, 0x1f7f0}, {0x1f90c, 0x1f93a}, {0x1f93c, 0x1f945}, {0x1f947, 0x1f9ff},
    {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
};

static bool in_ranges(uint32_t c, const uint32_t (*ranges)[2], size_t n)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > ranges[mid][1])
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= ranges[low][0];
}

/* The character at s.p[at], and past it; a byte that is no UTF-8 counts as a character of its own. */
static uint32_t next_char(Str s, size_t *at)
{
    uint8_t lead = (uint8_t)s.p[(*at)++];
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    uint32_t c = more == 3 ? lead & 7u : more == 2 ? lead & 15u : more == 1 ? lead & 31u : lead;
    for (size_t i = 0; i < more; i++) {
        if (*at >= s.n || ((uint8_t)s.p[*at] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | ((uint8_t)s.p[(*at)++] & 0x3fu);
    }
    return c;
}

static size_t char_width(uint32_t c)
{
    if (c < 0x300)
        return c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0);
    if (in_ranges(c, zero_width, COUNT_OF(zero_width)))
        return 0;
    return in_ranges(c, double_width, COUNT_OF(double_width)) ? 2 : 1;
}

size_t text_width(Str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.n;)
        n += char_width(next_char(s, &at));
    return n;
}

/* Bytes of s that fit into `width` columns. */
static size_t fitting(Str s, size_t width)
{
    size_t used = 0;
    for (size_t at = 0; at < s.n;) {
        size_t before = at, w = char_width(next_char(s, &at));
        if (used + w > width)
            return before;
        used += w;
    }
    return s.n;
}

Str text_cut(struct arena *a, Str s, size_t width)
{
    char *z = str_z(a, s.p ? s : STR(""));
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)z[i] < 0x20 || z[i] == 0x7f)
            z[i] = ' ';
    s.p = z;
    if (text_width(s) <= width)
        return s;
    if (width == 0)
        return STR("");
    s.n = fitting(s, width - 1);
    return str_fmt(a, "%.*s…", STR_ARG(s));
}

bool text_line(Str *rest, size_t width, Str *ret_line)
{
    if (!rest->n)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    Str line = {rest->p, end ? (size_t)(end - rest->p) : rest->n};
    size_t skip = end ? 1 : 0, n = fitting(line, MAX(width, (size_t)1));
    if (n == 0 && line.n) {
        size_t at = 0;
        (void)next_char(line, &at);
        n = at; /* one too wide for the space */
    }
    if (n < line.n) {
        skip = 0;
        size_t space = n;
        while (space > 0 && line.p[space] != ' ')
            space--;
        n = space > 0 ? space : n;
        while (space > 0 && n + skip < line.n && line.p[n + skip] == ' ')
            skip++;
        line.n = n;
    }
    *rest = (Str){rest->p + line.n + skip, rest->n - line.n - skip};
    while (skip && line.n && line.p[line.n - 1] == ' ')
        line.n--;
    *ret_line = line;
    return true;
}

void text_styled(struct buf *out, bool color, const char *style, Str s)
{
    if (!color || !style || !s.n) {
        buf_str(out, s);
        return;
    }
    buf_fmt(out, "\033[%sm", style);
    buf_str(out, s);
    buf_z(out, "\033[0m");
}

Str text_quoted(struct arena *a, Str s)
{
    bool single = memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n);
    return single ? str_fmt(a, "\"%.*s\"", STR_ARG(s)) : str_fmt(a, "'%.*s'", STR_ARG(s));
}

static void python_string(struct buf *out, Str s)
{
    char quote = memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n) ? '"' : '\'';
    buf_char(out, quote);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\n')
            buf_z(out, "\\n");
        else if (c == '\t')
            buf_z(out, "\\t");
        else if (c == '\r')
            buf_z(out, "\\r");
        else if ((uint8_t)c < 0x20 || c == 0x7f)
            buf_fmt(out, "\\x%02x", (unsigned)(uint8_t)c);
        else if (c == quote || c == '\\')
            buf_fmt(out, "\\%c", c);
        else
            buf_char(out, c);
    }
    buf_char(out, quote);
}

void text_python(struct buf *out, const struct json *v)
{
    if (json_is_null(v)) {
        buf_z(out, "None");
        return;
    }
    switch (v->kind) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        buf_z(out, v->boolean ? "True" : "False");
        break;
    case JSON_NUMBER:
        buf_str(out, v->raw);
        break;
    case JSON_STRING:
        python_string(out, v->string);
        break;
    case JSON_ARRAY:
        buf_char(out, '[');
        for (size_t i = 0; i < v->array.n; i++) {
            buf_z(out, i ? ", " : "");
            text_python(out, &v->array.items[i]);
        }
        buf_char(out, ']');
        break;
    case JSON_OBJECT:
        buf_char(out, '{');
        for (size_t i = 0; i < v->object.n; i++) {
            buf_z(out, i ? ", " : "");
            python_string(out, v->object.members[i].key);
            buf_z(out, ": ");
            text_python(out, &v->object.members[i].value);
        }
        buf_char(out, '}');
        break;
    }
}

void text_json(struct buf *out, const struct json *v)
{
    struct jw w = jw_on(out);
    w.indent = 2;
    jw_value(&w, v);
    buf_char(out, '\n');
}

/* Characters that JSON leaves as they are, and that are line ends or not allowed in YAML: how many bytes, 0 for others. */
static size_t yaml_special(Str s, uint32_t *ret)
{
    const uint8_t *p = (const uint8_t *)s.p;
    *ret = p[0];
    if (p[0] == 0x7f)
        return 1;
    if (s.n >= 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        *ret = p[1];
        return 2;
    }
    if (s.n < 3 || (p[0] != 0xe2 && p[0] != 0xef))
        return 0;
    *ret = (uint32_t)(p[0] & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
    return *ret == 0x2028 || *ret == 0x2029 || *ret == 0xfeff || *ret >= 0xfffe ? 3 : 0;
}

/* Whether YAML reads the bare text back as this very string. */
static bool yaml_plain(Str s)
{
    static const char *const others[] = {"true", "false", "null", "yes", "no", "on", "off", "~", "<<"};
    if (!s.n || s.p[0] == ' ' || s.p[s.n - 1] == ' ' || strchr("-?:,[]{}#&*!|>'\"%@`=+.", s.p[0]) ||
        (s.p[0] >= '0' && s.p[0] <= '9' && s.n < 36))
        return false;
    uint32_t special;
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 || yaml_special(str_sub(s, i, SIZE_MAX), &special) || (s.p[i] == '#' && s.p[i - 1] == ' ') ||
            (s.p[i] == ':' && (i + 1 == s.n || s.p[i + 1] == ' ')))
            return false;
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (str_ieq(s, str_of(others[i])))
            return false;
    return true;
}

static void yaml_quoted(struct buf *out, Str s)
{
    AUTO(buf_free) struct buf b = BUF(out->max);
    struct jw w = jw_on(&b);
    jw_str(&w, s);
    Str text = buf_view(&b);
    for (size_t i = 0, n; i < text.n; i += n ? n : 1) {
        uint32_t c;
        n = yaml_special(str_sub(text, i, SIZE_MAX), &c);
        if (n)
            buf_fmt(out, "\\u%04x", (unsigned)c);
        else
            buf_char(out, text.p[i]);
    }
}

/* 1e+23 would be a text: YAML 1.1 wants a point in a number that has an exponent, and a sign in that. */
static void yaml_number(struct buf *out, Str s)
{
    ptrdiff_t e = str_find(s, STR("e"));
    e = e < 0 ? str_find(s, STR("E")) : e;
    if (e < 0) {
        buf_str(out, s);
        return;
    }
    Str mantissa = str_sub(s, 0, (size_t)e), exponent = str_sub(s, (size_t)e + 1, s.n);
    bool signs = exponent.n && (exponent.p[0] == '-' || exponent.p[0] == '+');
    buf_fmt(out, "%.*s%se%s%.*s", STR_ARG(mantissa), str_find(mantissa, STR(".")) < 0 ? ".0" : "", signs ? "" : "+", STR_ARG(exponent));
}

static void yaml_scalar(struct buf *out, const struct json *v)
{
    Time t;
    if (v->kind == JSON_STRING && (yaml_plain(v->string) || (v->string.n >= 20 && time_parse(v->string, &t))))
        buf_str(out, v->string);
    else if (v->kind == JSON_STRING)
        yaml_quoted(out, v->string);
    else if (v->kind == JSON_ARRAY)
        buf_z(out, "[]");
    else if (v->kind == JSON_OBJECT)
        buf_z(out, "{}");
    else if (v->kind == JSON_NUMBER)
        yaml_number(out, v->raw);
    else
        buf_str(out, v->raw);
}

static bool yaml_nested(const struct json *v)
{
    return (v->kind == JSON_ARRAY && v->array.n) || (v->kind == JSON_OBJECT && v->object.n);
}

/* The lines of v; `begun`: the first one's indent stands already. */
static void yaml_block(struct buf *out, const struct json *v, int indent, bool begun)
{
    if (!yaml_nested(v)) {
        yaml_scalar(out, v);
        buf_char(out, '\n');
        return;
    }
    size_t n = v->kind == JSON_ARRAY ? v->array.n : v->object.n;
    for (size_t i = 0; i < n; i++) {
        if (i || !begun)
            buf_fmt(out, "%*s", indent, "");
        if (v->kind == JSON_ARRAY) {
            buf_z(out, "- ");
            yaml_block(out, &v->array.items[i], indent + 2, /* begun= */ true);
            continue;
        }
        const struct json_member *m = &v->object.members[i];
        if (yaml_plain(m->key))
            buf_str(out, m->key);
        else
            yaml_quoted(out, m->key);
        buf_char(out, ':');
        if (yaml_nested(&m->value)) {
            buf_char(out, '\n');
            yaml_block(out, &m->value, indent + 2, /* begun= */ false);
        } else {
            buf_char(out, ' ');
            yaml_scalar(out, &m->value);
            buf_char(out, '\n');
        }
    }
}

void text_yaml(struct buf *out, const struct json *v, int indent)
{
    yaml_block(out, v, indent, /* begun= */ false);
}
