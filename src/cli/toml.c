#include "cli/toml.h"

#include "json/json.h"

#define DEPTH_MAX 32

struct reader {
    struct arena *a;
    Str s;
    size_t at;
    int depth;
    toml_value *fn;
    void *user;
    struct err *err;
    struct map tables; /* arrays of tables: path to (count) */
};

static int fault(const struct reader *r, const char *what)
{
    int line = 1;
    for (size_t i = 0; i < r->at && i < r->s.n; i++)
        line += r->s.p[i] == '\n';
    return err_set(r->err, ERR_INVALID, "line %d: %s", line, what);
}

static char peek(const struct reader *r)
{
    return r->at < r->s.n ? r->s.p[r->at] : '\0';
}

static bool ahead(const struct reader *r, const char *text)
{
    return str_starts(str_sub(r->s, r->at, SIZE_MAX), str_of(text));
}

static void skip_spaces(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t')
        r->at++;
}

static void skip_comment(struct reader *r)
{
    skip_spaces(r);
    if (peek(r) == '#')
        while (r->at < r->s.n && r->s.p[r->at] != '\n')
            r->at++;
}

/* Spaces, comments and line ends. */
static void skip_all(struct reader *r)
{
    for (;;) {
        skip_comment(r);
        if (peek(r) == '\r' || peek(r) == '\n')
            r->at++;
        else
            return;
    }
}

static bool bare_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static void put_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_char(out, (char)c);
    } else if (c < 0x800) {
        buf_char(out, (char)(0xc0 | c >> 6));
        buf_char(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_char(out, (char)(0xe0 | c >> 12));
        buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_char(out, (char)(0x80 | (c & 63)));
    } else {
        buf_char(out, (char)(0xf0 | c >> 18));
        buf_char(out, (char)(0x80 | (c >> 12 & 63)));
        buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_char(out, (char)(0x80 | (c & 63)));
    }
}

/* What stands after a backslash. */
static int read_escape(struct reader *r, struct buf *out, bool many_lines)
{
    char c = peek(r);
    r->at++;
    static const char from[] = "btnfre\"\\", to[] = "\b\t\n\f\r\033\"\\";
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        buf_char(out, to[found - from]);
        return 0;
    }
    size_t digits = c == 'u' ? 4 : c == 'U' ? 8 : c == 'x' ? 2 : 0;
    if (digits) {
        uint32_t code = 0;
        for (size_t i = 0; i < digits; i++, r->at++) {
            const char *hex = "0123456789abcdef", *at = peek(r) ? strchr(hex, peek(r) | 32) : NULL;
            if (!at)
                return fault(r, "a bad \\u escape");
            code = code << 4 | (uint32_t)(at - hex);
        }
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return fault(r, "an escape that is no character");
        put_utf8(out, code);
        return 0;
    }
    if (many_lines && (c == '\n' || c == '\r' || c == ' ' || c == '\t')) {
        while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r')
            r->at++;
        return 0;
    }
    r->at--;
    return fault(r, "an unknown escape");
}

/* A string of any of the four kinds; the place is at its first quote. */
static int read_string(struct reader *r, Str *ret)
{
    AUTO(buf_free) struct buf out = BUF(r->s.n + 1);
    char quote = peek(r);
    bool many_lines = ahead(r, "\"\"\"") || ahead(r, "'''");
    const char *end = quote == '"' ? (many_lines ? "\"\"\"" : "\"") : (many_lines ? "'''" : "'");
    r->at += strlen(end);
    if (many_lines && ahead(r, "\r\n"))
        r->at++;
    if (many_lines && peek(r) == '\n')
        r->at++;
    while (!ahead(r, end)) {
        if (r->at >= r->s.n || (!many_lines && peek(r) == '\n'))
            return fault(r, "a string without an end");
        char c = peek(r);
        r->at++;
        if (c == '\\' && quote == '"') {
            if (read_escape(r, &out, many_lines) < 0)
                return -1;
        } else {
            buf_char(&out, c);
        }
    }
    r->at += strlen(end);
    while (many_lines && peek(r) == quote) { /* up to two quotes may stand before the end */
        buf_char(&out, quote);
        r->at++;
    }
    *ret = str_dup(r->a, buf_view(&out));
    return 0;
}

/* A dotted key; joined to `base` where that is not empty. */
static int read_key(struct reader *r, Str base, Str *ret)
{
    Str path = base;
    for (;;) {
        skip_spaces(r);
        Str part;
        if (peek(r) == '"' || peek(r) == '\'') {
            if (read_string(r, &part) < 0)
                return -1;
        } else {
            size_t from = r->at;
            while (bare_char(peek(r)))
                r->at++;
            part = str_sub(r->s, from, r->at - from);
            if (!part.n)
                return fault(r, "a key is wanted here");
        }
        path = path.n ? str_fmt(r->a, "%.*s%c%.*s", STR_ARG(path), TOML_SEP, STR_ARG(part)) : part;
        skip_spaces(r);
        if (peek(r) != '.')
            break;
        r->at++;
    }
    *ret = path;
    return 0;
}

static int read_value(struct reader *r, Str path);

static int read_pair(struct reader *r, Str base)
{
    Str path;
    if (read_key(r, base, &path) < 0)
        return -1;
    if (peek(r) != '=')
        return fault(r, "\"=\" is wanted after a key");
    r->at++;
    skip_spaces(r);
    return read_value(r, path);
}

static int read_inline_table(struct reader *r, Str path)
{
    r->at++;
    skip_all(r);
    while (peek(r) != '}') {
        if (read_pair(r, path) < 0)
            return -1;
        skip_all(r);
        if (peek(r) == ',') {
            r->at++;
            skip_all(r);
        } else if (peek(r) != '}') {
            return fault(r, "\",\" or \"}\" is wanted");
        }
    }
    r->at++;
    return 0;
}

/* A number, bool or date; the latter alone may hold a space, between day and time. */
static Str read_bare(struct reader *r)
{
    size_t from = r->at;
    while (peek(r) && !strchr(" \t,]}#\r\n", peek(r)))
        r->at++;
    if (r->at == from + 10 && peek(r) == ' ' && r->s.p[from + 4] == '-' && r->at + 1 < r->s.n && r->s.p[r->at + 1] >= '0' &&
        r->s.p[r->at + 1] <= '9')
        for (r->at++; peek(r) && !strchr(" \t,]}#\r\n", peek(r)); r->at++)
            ;
    return str_sub(r->s, from, r->at - from);
}

static void collect(void *user, Str path, Str value)
{
    UNUSED(path);
    *(Str *)user = value;
}

/* An array as JSON text. Tables in it are kept as their source text, which nobody here asks for. */
static int read_array(struct reader *r, Str *ret)
{
    AUTO(buf_free) struct buf out = BUF(r->s.n * 6 + 16);
    struct jw w = jw_on(&out);
    jw_array(&w);
    r->at++;
    skip_all(r);
    while (peek(r) != ']') {
        bool string = peek(r) == '"' || peek(r) == '\'', nested = peek(r) == '[', table = peek(r) == '{';
        size_t from = r->at;
        Str value = STR("");
        struct reader inner = *r;
        inner.fn = collect;
        inner.user = &value;
        if (read_value(&inner, STR("")) < 0)
            return -1;
        r->at = inner.at;
        struct err ignored;
        if (table)
            jw_str(&w, str_sub(r->s, from, r->at - from));
        else if (string || (!nested && !json_parse(r->a, value, &ignored)))
            jw_str(&w, value);
        else
            jw_raw(&w, value);
        skip_all(r);
        if (peek(r) == ',') {
            r->at++;
            skip_all(r);
        } else if (peek(r) != ']') {
            return fault(r, "\",\" or \"]\" is wanted");
        }
    }
    r->at++;
    jw_end(&w);
    *ret = str_dup(r->a, buf_view(&out));
    return 0;
}

static int read_value(struct reader *r, Str path)
{
    Str value;
    if (r->depth >= DEPTH_MAX)
        return fault(r, "nested too deep");
    r->depth++;
    if (peek(r) == '{') {
        if (read_inline_table(r, path) < 0)
            return -1;
        r->depth--;
        return 0;
    }
    if (peek(r) == '"' || peek(r) == '\'') {
        if (read_string(r, &value) < 0)
            return -1;
    } else if (peek(r) == '[') {
        if (read_array(r, &value) < 0)
            return -1;
    } else {
        value = read_bare(r);
        if (!value.n)
            return fault(r, "a value is wanted after \"=\"");
    }
    r->depth--;
    r->fn(r->user, path, value);
    return 0;
}

static int read_header(struct reader *r, Str *ret_table)
{
    bool many = ahead(r, "[[");
    r->at += many ? 2 : 1;
    if (read_key(r, STR(""), ret_table) < 0)
        return -1;
    if (!ahead(r, many ? "]]" : "]"))
        return fault(r, "\"]\" is wanted after a table's name");
    r->at += many ? 2 : 1;
    if (many) {
        void **count = map_at(r->a, &r->tables, *ret_table);
        *ret_table = str_fmt(r->a, "%.*s%c%ld", STR_ARG(*ret_table), TOML_SEP, (long)(intptr_t)*count);
        *count = (void *)((intptr_t)*count + 1);
    }
    r->fn(r->user, *ret_table, STR_NONE);
    return 0;
}

int toml_read(struct arena *a, Str text, toml_value *fn, void *user, struct err *err)
{
    struct reader r = {.a = a, .s = text, .fn = fn, .user = user, .err = err};
    Str table = STR("");
    if (str_starts(text, STR("\xef\xbb\xbf")))
        r.at = 3;
    for (skip_all(&r); r.at < r.s.n; skip_all(&r)) {
        if (peek(&r) == '[' ? read_header(&r, &table) < 0 : read_pair(&r, table) < 0)
            return -1;
        skip_comment(&r);
        if (r.at < r.s.n && peek(&r) != '\n' && peek(&r) != '\r')
            return fault(&r, "more than one thing on the line");
    }
    return 0;
}

void toml_put_string(struct buf *out, Str s)
{
    buf_char(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '"' || c == '\\')
            buf_fmt(out, "\\%c", c);
        else if (c == '\n')
            buf_z(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buf_fmt(out, "\\u%04x", c);
        else
            buf_char(out, (char)c);
    }
    buf_char(out, '"');
}

void toml_put_key(struct buf *out, Str key)
{
    bool bare = key.n > 0;
    for (size_t i = 0; i < key.n; i++)
        bare = bare && bare_char(key.p[i]);
    if (bare)
        buf_str(out, key);
    else
        toml_put_string(out, key);
}
