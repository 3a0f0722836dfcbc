#include "json/json.h"

#include <math.h>
#include <string.h>

struct reader {
    struct arena *a;
    const char *at, *end, *start;
    int depth;
    struct err *err;
};

static int fail(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_INVALID, "%s at byte %zu", what, (size_t)(r->at - r->start));
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static char *put_utf8(char *p, unsigned c)
{
    if (c < 0x80) {
        *p++ = (char)c;
    } else if (c < 0x800) {
        *p++ = (char)(0xc0 | c >> 6);
        *p++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *p++ = (char)(0xe0 | c >> 12);
        *p++ = (char)(0x80 | (c >> 6 & 0x3f));
        *p++ = (char)(0x80 | (c & 0x3f));
    } else {
        *p++ = (char)(0xf0 | c >> 18);
        *p++ = (char)(0x80 | (c >> 12 & 0x3f));
        *p++ = (char)(0x80 | (c >> 6 & 0x3f));
        *p++ = (char)(0x80 | (c & 0x3f));
    }
    return p;
}

static int read_escape(struct reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->end - r->at < 2)
        return fail(r, "unfinished escape");
    char c = r->at[1];
    const char *hit = c ? strchr(from, c) : NULL;
    if (hit) {
        *(*out)++ = to[hit - from];
        r->at += 2;
        return 0;
    }
    if (c != 'u' || r->end - r->at < 6)
        return fail(r, "bad escape");
    int u = hex4(r->at + 2);
    if (u < 0)
        return fail(r, "bad \\u escape");
    r->at += 6;
    unsigned code = (unsigned)u;
    if (u >= 0xd800 && u < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        int low = hex4(r->at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + ((unsigned)(u - 0xd800) << 10) + (unsigned)(low - 0xdc00);
            r->at += 6;
        }
    }
    if (code >= 0xd800 && code < 0xe000)
        return fail(r, "half of a surrogate pair");
    *out = put_utf8(*out, code);
    return 0;
}

static int read_string(struct reader *r, Str *ret)
{
    const char *from = ++r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20)
        r->at++;
    if (r->at < r->end && *r->at == '"') {
        *ret = (Str){from, (size_t)(r->at - from)};
        r->at++;
    } else {
        const char *close = r->at;
        while (close < r->end && *close != '"')
            close += *close == '\\' ? 2 : 1;
        if (close >= r->end) {
            r->at = r->end;
            return fail(r, "unfinished string");
        }
        char *text = arena_alloc(r->a, (size_t)(close - from) + 1), *out = text;
        memcpy(out, from, (size_t)(r->at - from));
        out += r->at - from;
        while (*r->at != '"') {
            if ((unsigned char)*r->at < 0x20)
                return fail(r, "control character in a string");
            if (*r->at == '\\') {
                if (read_escape(r, &out) < 0)
                    return -1;
            } else {
                *out++ = *r->at++;
            }
        }
        r->at++;
        *ret = (Str){text, (size_t)(out - text)};
    }
    if (!str_utf8_valid((Str){from, (size_t)(r->at - 1 - from)}))
        return fail(r, "string is not UTF-8");
    return 0;
}

static bool digit(const struct reader *r)
{
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static int read_number(struct reader *r)
{
    if (*r->at == '-')
        r->at++;
    if (!digit(r))
        return fail(r, "bad number");
    if (*r->at == '0')
        r->at++;
    else
        while (digit(r))
            r->at++;
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!digit(r))
            return fail(r, "bad number");
        while (digit(r))
            r->at++;
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        if (!digit(r))
            return fail(r, "bad number");
        while (digit(r))
            r->at++;
    }
    return 0;
}

static int read_value(struct reader *r, struct json *v);

static int read_array(struct reader *r, struct json *v)
{
    VEC(struct json) items = {0};
    r->at++;
    skip_space(r);
    if (r->at < r->end && *r->at == ']') {
        r->at++;
    } else {
        for (;;) {
            struct json item;
            if (read_value(r, &item) < 0)
                return -1;
            vec_push(r->a, &items, item);
            skip_space(r);
            if (r->at == r->end)
                return fail(r, "unfinished array");
            char c = *r->at;
            if (c != ',' && c != ']')
                return fail(r, "expected ',' or ']'");
            r->at++;
            if (c == ']')
                break;
        }
    }
    v->array.items = items.v;
    v->array.n = items.n;
    return 0;
}

static int read_object(struct reader *r, struct json *v)
{
    VEC(struct json_member) members = {0};
    r->at++;
    skip_space(r);
    if (r->at < r->end && *r->at == '}') {
        r->at++;
    } else {
        for (;;) {
            struct json_member m;
            skip_space(r);
            if (r->at == r->end || *r->at != '"')
                return fail(r, "expected a key");
            if (read_string(r, &m.key) < 0)
                return -1;
            skip_space(r);
            if (r->at == r->end || *r->at != ':')
                return fail(r, "expected ':'");
            r->at++;
            if (read_value(r, &m.value) < 0)
                return -1;
            vec_push(r->a, &members, m);
            skip_space(r);
            if (r->at == r->end)
                return fail(r, "unfinished object");
            char c = *r->at;
            if (c != ',' && c != '}')
                return fail(r, "expected ',' or '}'");
            r->at++;
            if (c == '}')
                break;
        }
    }
    v->object.members = members.v;
    v->object.n = members.n;
    return 0;
}

static int read_word(struct reader *r, Str word)
{
    if (!str_starts((Str){r->at, (size_t)(r->end - r->at)}, word))
        return fail(r, "unexpected character");
    r->at += word.n;
    return 0;
}

static int read_value(struct reader *r, struct json *v)
{
    skip_space(r);
    if (r->at == r->end)
        return fail(r, "expected a value");
    if (++r->depth > LIMIT_JSON_DEPTH)
        return fail(r, "nested too deeply");
    const char *from = r->at;
    int rc;
    *v = (struct json){0};
    switch (*from) {
    case '{':
        v->kind = JSON_OBJECT;
        rc = read_object(r, v);
        break;
    case '[':
        v->kind = JSON_ARRAY;
        rc = read_array(r, v);
        break;
    case '"':
        v->kind = JSON_STRING;
        rc = read_string(r, &v->string);
        break;
    case 't':
        v->kind = JSON_BOOL;
        v->boolean = true;
        rc = read_word(r, STR("true"));
        break;
    case 'f':
        v->kind = JSON_BOOL;
        rc = read_word(r, STR("false"));
        break;
    case 'n':
        v->kind = JSON_NULL;
        rc = read_word(r, STR("null"));
        break;
    default:
        v->kind = JSON_NUMBER;
        rc = read_number(r);
    }
    r->depth--;
    v->raw = (Str){from, (size_t)(r->at - from)};
    return rc;
}

const struct json *json_parse(struct arena *a, Str text, struct err *err)
{
    struct reader r = {a, text.p, text.p + text.n, text.p, 0, err};
    struct json *v = arena_new(a, struct json);
    if (read_value(&r, v) < 0)
        return NULL;
    skip_space(&r);
    if (r.at != r.end) {
        fail(&r, "text after the value");
        return NULL;
    }
    return v;
}

const struct json *json_get(const struct json *v, Str key)
{
    if (!v || v->kind != JSON_OBJECT)
        return NULL;
    for (size_t i = v->object.n; i-- > 0;)
        if (str_eq(v->object.members[i].key, key))
            return &v->object.members[i].value;
    return NULL;
}

const struct json *json_path(const struct json *v, const char *path)
{
    Str rest = str_of(path), part;
    while (v && str_cut(&rest, '.', &part))
        v = json_get(v, part);
    return v;
}

bool json_is(const struct json *v, enum json_kind kind)
{
    return v && v->kind == kind;
}

bool json_is_null(const struct json *v)
{
    return !v || v->kind == JSON_NULL;
}

bool json_int(const struct json *v, int64_t *ret)
{
    if (!json_is(v, JSON_NUMBER))
        return false;
    if (str_int(v->raw, ret))
        return true;
    double d;
    if (!str_double(v->raw, &d) || d != floor(d) || fabs(d) > 9007199254740992.0)
        return false;
    *ret = (int64_t)d;
    return true;
}

bool json_double(const struct json *v, double *ret)
{
    return json_is(v, JSON_NUMBER) && str_double(v->raw, ret);
}

Str json_str(const struct json *v)
{
    return json_is(v, JSON_STRING) ? v->string : STR_NONE;
}

Str json_get_str(const struct json *v, Str key)
{
    return json_str(json_get(v, key));
}

/* Decimal text without its exponent: digits (no zeros at the ends) and the power of ten of the last. */
struct decimal {
    bool negative;
    Str whole, fraction;
    int64_t exponent;
};

static struct decimal decimal_of(Str s)
{
    struct decimal d = {0};
    if (s.n && s.p[0] == '-')
        d.negative = true, s = str_sub(s, 1, s.n);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == 'e' || s.p[i] == 'E') {
            Str e = str_sub(s, i + 1, s.n);
            if (e.n && e.p[0] == '+')
                e = str_sub(e, 1, e.n);
            if (!str_int(e, &d.exponent))
                d.exponent = e.n && e.p[0] == '-' ? -1000000000 : 1000000000;
            s = str_sub(s, 0, i);
            break;
        }
    }
    d.fraction = STR("");
    ptrdiff_t dot = str_find(s, STR("."));
    if (dot >= 0) {
        d.fraction = str_sub(s, (size_t)dot + 1, s.n);
        s = str_sub(s, 0, (size_t)dot);
    }
    d.whole = s;
    return d;
}

static char decimal_digit(const struct decimal *d, size_t i)
{
    return i < d->whole.n ? d->whole.p[i] : d->fraction.p[i - d->whole.n];
}

static bool number_equal(Str x, Str y)
{
    struct decimal d[2] = {decimal_of(x), decimal_of(y)};
    size_t from[2], to[2];
    int64_t power[2];
    for (int k = 0; k < 2; k++) {
        from[k] = 0;
        to[k] = d[k].whole.n + d[k].fraction.n;
        while (from[k] < to[k] && decimal_digit(&d[k], from[k]) == '0')
            from[k]++;
        while (to[k] > from[k] && decimal_digit(&d[k], to[k] - 1) == '0')
            to[k]--;
        power[k] = d[k].exponent + (int64_t)d[k].whole.n - (int64_t)to[k];
    }
    if (from[0] == to[0] || from[1] == to[1])
        return from[0] == to[0] && from[1] == to[1];
    if (d[0].negative != d[1].negative || to[0] - from[0] != to[1] - from[1] || power[0] != power[1])
        return false;
    for (size_t i = 0; i < to[0] - from[0]; i++)
        if (decimal_digit(&d[0], from[0] + i) != decimal_digit(&d[1], from[1] + i))
            return false;
    return true;
}

bool json_equal(const struct json *x, const struct json *y)
{
    if (x->kind != y->kind)
        return false;
    switch (x->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return x->boolean == y->boolean;
    case JSON_NUMBER:
        return number_equal(x->raw, y->raw);
    case JSON_STRING:
        return str_eq(x->string, y->string);
    case JSON_ARRAY:
        if (x->array.n != y->array.n)
            return false;
        for (size_t i = 0; i < x->array.n; i++)
            if (!json_equal(&x->array.items[i], &y->array.items[i]))
                return false;
        return true;
    case JSON_OBJECT:
        for (size_t i = 0; i < x->object.n; i++) {
            const struct json *other = json_get(y, x->object.members[i].key);
            if (!other || !json_equal(json_get(x, x->object.members[i].key), other))
                return false;
        }
        for (size_t i = 0; i < y->object.n; i++)
            if (!json_get(x, y->object.members[i].key))
                return false;
        return true;
    }
    return false;
}
