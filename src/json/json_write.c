#include "json/json.h"

#include <math.h>
#include <string.h>

struct jw jw_on(struct buf *b)
{
    return (struct jw){.buf = b};
}

static void newline(struct jw *w)
{
    if (!w->indent)
        return;
    buf_char(w->buf, '\n');
    for (int i = 0; i < w->indent * w->depth; i++)
        buf_char(w->buf, ' ');
}

/* What stands between the last thing written and the value that comes now. */
static void lead(struct jw *w)
{
    if (w->depth && w->in_object[w->depth - 1])
        return; /* its key has seen to it */
    if (w->comma)
        buf_char(w->buf, ',');
    if (w->depth)
        newline(w);
}

static void open(struct jw *w, bool object)
{
    lead(w);
    if (w->depth == COUNT_OF(w->in_object))
        die("JSON written too deep");
    buf_char(w->buf, object ? '{' : '[');
    w->in_object[w->depth++] = object;
    w->comma = false;
}

void jw_object(struct jw *w)
{
    open(w, true);
}

void jw_array(struct jw *w)
{
    open(w, false);
}

void jw_end(struct jw *w)
{
    bool object = w->in_object[--w->depth];
    if (w->comma)
        newline(w);
    buf_char(w->buf, object ? '}' : ']');
    w->comma = true;
}

/* Whether the text stands in JSON as it is. Looks at all of it without a branch for each byte: most texts are plain. */
static bool is_plain(Str s, bool ascii)
{
    unsigned bad = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad |= (c < 0x20) | (c == '"') | (c == '\\') | (ascii & (c >= 0x80));
    }
    return !bad;
}

static void quoted(struct buf *b, Str s, bool ascii)
{
    static const char hex[] = "0123456789abcdef";
    if (is_plain(s, ascii)) {
        char *at = buf_room(b, s.n + 2);
        if (!at)
            return;
        at[0] = '"';
        if (s.n)
            memcpy(at + 1, s.p, s.n);
        at[s.n + 1] = '"';
        b->n += s.n + 2;
        return;
    }
    buf_char(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && c < 0x80)
            continue;
        if (!ascii && c >= 0x7f)
            continue;
        if (c == 0x7f)
            continue;
        buf_put(b, s.p + from, i - from);
        from = i + 1;
        switch (c) {
        case '"':
            buf_z(b, "\\\"");
            break;
        case '\\':
            buf_z(b, "\\\\");
            break;
        case '\n':
            buf_z(b, "\\n");
            break;
        case '\r':
            buf_z(b, "\\r");
            break;
        case '\t':
            buf_z(b, "\\t");
            break;
        case '\b':
            buf_z(b, "\\b");
            break;
        case '\f':
            buf_z(b, "\\f");
            break;
        default:
            if (c < 0x20) {
                char u[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
                buf_put(b, u, sizeof u);
            } else { /* valid UTF-8, to be escaped */
                int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
                unsigned code = c & (0x3fu >> more);
                for (int k = 0; k < more && i + 1 < s.n; k++)
                    code = code << 6 | ((unsigned char)s.p[++i] & 0x3f);
                from = i + 1;
                if (code >= 0x10000)
                    buf_fmt(b, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
                else
                    buf_fmt(b, "\\u%04x", code);
            }
        }
    }
    buf_put(b, s.p + from, s.n - from);
    buf_char(b, '"');
}

void jw_key(struct jw *w, Str key)
{
    if (w->comma)
        buf_char(w->buf, ',');
    newline(w);
    quoted(w->buf, key, false);
    buf_char(w->buf, ':');
    if (w->indent)
        buf_char(w->buf, ' ');
    w->comma = false;
}

void jw_raw(struct jw *w, Str json)
{
    lead(w);
    buf_str(w->buf, json.p ? json : STR("null"));
    w->comma = true;
}

void jw_null(struct jw *w)
{
    jw_raw(w, STR("null"));
}

void jw_bool(struct jw *w, bool v)
{
    jw_raw(w, v ? STR("true") : STR("false"));
}

void jw_int(struct jw *w, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)v);
    jw_raw(w, v == INT_NONE ? STR_NONE : (Str){text, (size_t)n});
}

void jw_double(struct jw *w, double v)
{
    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    char text[40];
    int n = 0;
    for (int precision = 15; precision <= 17; precision++) {
        n = snprintf(text, sizeof text, "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    if (!memchr(text, '.', (size_t)n) && !memchr(text, 'e', (size_t)n)) {
        text[n++] = '.';
        text[n++] = '0';
    }
    jw_raw(w, (Str){text, (size_t)n});
}

void jw_str(struct jw *w, Str s)
{
    if (!s.p) {
        jw_null(w);
        return;
    }
    lead(w);
    quoted(w->buf, s, false);
    w->comma = true;
}

void jw_z(struct jw *w, const char *z)
{
    jw_str(w, str_of(z));
}

void jw_uuid(struct jw *w, Uuid u)
{
    if (uuid_is_nil(u)) {
        jw_null(w);
        return;
    }
    char text[38];
    text[0] = '"';
    memcpy(text + 1, uuid_text(u).s, 36);
    text[37] = '"';
    jw_raw(w, (Str){text, 38});
}

void jw_time(struct jw *w, Time t)
{
    if (t == TIME_NONE)
        jw_null(w);
    else
        jw_z(w, time_iso(t).s);
}

void jw_value(struct jw *w, const struct json *v)
{
    if (!v) {
        jw_null(w);
        return;
    }
    switch (v->kind) {
    case JSON_ARRAY:
        jw_array(w);
        for (size_t i = 0; i < v->array.n; i++)
            jw_value(w, &v->array.items[i]);
        jw_end(w);
        break;
    case JSON_OBJECT:
        jw_object(w);
        for (size_t i = 0; i < v->object.n; i++) {
            jw_key(w, v->object.members[i].key);
            jw_value(w, &v->object.members[i].value);
        }
        jw_end(w);
        break;
    case JSON_STRING:
        jw_str(w, v->string);
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_NUMBER:
        jw_raw(w, v->raw);
        break;
    }
}

Str json_text(struct arena *a, const struct json *v)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_value(&w, v);
    return str_dup(a, buf_view(&b));
}

static int by_key(const void *x, const void *y)
{
    const struct json_member *const *p = x, *const *q = y;
    return str_cmp((*p)->key, (*q)->key);
}

static void python(struct arena *a, struct buf *b, const struct json *v)
{
    switch (v->kind) {
    case JSON_ARRAY:
        buf_char(b, '[');
        for (size_t i = 0; i < v->array.n; i++) {
            if (i)
                buf_z(b, ", ");
            python(a, b, &v->array.items[i]);
        }
        buf_char(b, ']');
        break;
    case JSON_OBJECT: {
        const struct json_member **order = arena_array(a, const struct json_member *, v->object.n + 1);
        for (size_t i = 0; i < v->object.n; i++)
            order[i] = &v->object.members[i];
        qsort(order, v->object.n, sizeof *order, by_key);
        buf_char(b, '{');
        for (size_t i = 0; i < v->object.n; i++) {
            if (i)
                buf_z(b, ", ");
            quoted(b, order[i]->key, true);
            buf_z(b, ": ");
            python(a, b, &order[i]->value);
        }
        buf_char(b, '}');
        break;
    }
    case JSON_STRING:
        quoted(b, v->string, true);
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_NUMBER:
        buf_str(b, v->raw);
        break;
    }
}

Str json_text_python(struct arena *a, const struct json *v)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    python(a, &b, v);
    return str_dup(a, buf_view(&b));
}

const struct json *json_new_str(struct arena *a, Str s)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    quoted(&b, s, false);
    struct json *v = arena_new(a, struct json);
    *v = (struct json){.kind = JSON_STRING, .raw = str_dup(a, buf_view(&b)), .string = s};
    return v;
}
