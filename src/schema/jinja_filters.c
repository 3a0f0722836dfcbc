/* Filters, tests and methods. */
#include "schema/jinja.h"

#include "schema/pyrepr.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

typedef const struct json *filter_fn(struct machine *m, const struct json *v, const struct args *args);

struct entry {
    const char *name;
    size_t args_max;
    filter_fn *run;
};

/* ---- letters ---- */

static locale_t letters;

static void letters_load(void)
{
    letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static unsigned code_at(Str s, size_t *at)
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

static void put_code(struct buf *b, unsigned c)
{
    char text[4];
    size_t n = 0;
    if (c < 0x80) {
        text[n++] = (char)c;
    } else if (c < 0x800) {
        text[n++] = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        text[n++] = (char)(0xe0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    } else {
        text[n++] = (char)(0xf0 | c >> 18);
        text[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        text[n++] = (char)(0x80 | (c & 0x3f));
    buf_put(b, text, n);
}

enum letter_case { UPPER, LOWER, TITLE, CAPITALIZED };

static const struct json *in_case(struct machine *m, const struct json *v, enum letter_case to)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, letters_load);
    Str s = text_of(m, v);
    if (!s.p)
        return NULL;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX * 2);
    bool inside = false; /* a word */
    for (size_t i = 0; i < s.n;) {
        unsigned c = code_at(s, &i);
        bool up = to == UPPER || (to != LOWER && !inside);
        bool wide = letters != (locale_t)0;
        if (wide)
            c = (unsigned)(up ? towupper_l((wint_t)c, letters) : towlower_l((wint_t)c, letters));
        else if ((c | 32) - 'a' < 26u)
            c = up ? c & ~32u : c | 32;
        put_code(&b, c);
        /* The first letter of a word is what follows white space or one of these. */
        inside = to == CAPITALIZED ||
                 !(c == ' ' || (c >= '\t' && c <= '\r') || (c < 0x80 && c && strchr("-({[<", (int)c)));
    }
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_upper(struct machine *m, const struct json *v, const struct args *args)
{
    return in_case(m, v, UPPER);
}

static const struct json *f_lower(struct machine *m, const struct json *v, const struct args *args)
{
    return in_case(m, v, LOWER);
}

static const struct json *f_title(struct machine *m, const struct json *v, const struct args *args)
{
    return in_case(m, v, TITLE);
}

static const struct json *f_capitalize(struct machine *m, const struct json *v, const struct args *args)
{
    return in_case(m, v, CAPITALIZED);
}

/* ---- texts ---- */

static bool in_set(Str set, Str c)
{
    return str_find(set, c) >= 0;
}

static size_t char_length(Str s, size_t at)
{
    size_t n = 1;
    while (at + n < s.n && ((unsigned char)s.p[at + n] & 0xc0) == 0x80)
        n++;
    return n;
}

static const struct json *strip(struct machine *m, const struct json *v, const struct args *args, bool left,
                                bool right)
{
    Str s = text_of(m, v), set = STR(" \t\n\r\f\v");
    const struct json *chars = arg_get(args, 0, "chars");
    if (chars && chars->kind != JSON_NULL)
        set = text_of(m, chars);
    if (!s.p || !set.p)
        return NULL;
    while (left && s.n && in_set(set, str_sub(s, 0, char_length(s, 0)))) {
        if (!spend(m, set.n / 64))
            return NULL;
        s = str_sub(s, char_length(s, 0), s.n);
    }
    while (right && s.n) {
        if (!spend(m, set.n / 64))
            return NULL;
        size_t at = s.n - 1;
        while (at && ((unsigned char)s.p[at] & 0xc0) == 0x80)
            at--;
        if (!in_set(set, str_sub(s, at, s.n - at)))
            break;
        s.n = at;
    }
    return made_str(m, s);
}

static const struct json *f_trim(struct machine *m, const struct json *v, const struct args *args)
{
    return strip(m, v, args, true, true);
}

static const struct json *f_lstrip(struct machine *m, const struct json *v, const struct args *args)
{
    return strip(m, v, args, true, false);
}

static const struct json *f_rstrip(struct machine *m, const struct json *v, const struct args *args)
{
    return strip(m, v, args, false, true);
}

static const struct json *f_string(struct machine *m, const struct json *v, const struct args *args)
{
    return made_str(m, text_of(m, v));
}

/* An integer argument; false with the error where it is something else. */
static bool whole_arg(struct machine *m, const struct args *args, size_t i, const char *name, int64_t absent,
                      int64_t *ret)
{
    const struct json *v = arg_get(args, i, name);
    bool whole;
    double d;
    *ret = absent;
    if (!v || v->kind == JSON_NULL)
        return true;
    if (number_of(v, &whole, ret, &d) && whole)
        return true;
    oops(m, "%s must be a whole number", name);
    return false;
}

static const struct json *f_replace(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *old_value = arg_get(args, 0, "old"), *new_value = arg_get(args, 1, "new");
    int64_t count;
    if (!old_value || !new_value)
        return oops(m, "replace wants what to replace and by what");
    if (!whole_arg(m, args, 2, "count", -1, &count))
        return NULL;
    Str s = text_of(m, v), old = text_of(m, old_value), new = text_of(m, new_value);
    if (!s.p || !old.p || !new.p)
        return NULL;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX + 1);
    size_t at = 0;
    for (; count != 0; count--) {
        ptrdiff_t hit = str_find(str_sub(s, at, s.n), old);
        if (hit < 0 || b.overflow)
            break;
        if (!old.n) { /* before each character, and at the end */
            buf_str(&b, new);
            if (at >= s.n)
                break;
            size_t n = char_length(s, at);
            buf_put(&b, s.p + at, n);
            at += n;
            continue;
        }
        buf_put(&b, s.p + at, (size_t)hit);
        buf_str(&b, new);
        at += (size_t)hit + old.n;
    }
    buf_str(&b, str_sub(s, at, s.n));
    if (b.overflow)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_truncate(struct machine *m, const struct json *v, const struct args *args)
{
    int64_t length, leeway;
    const struct json *kill = arg_get(args, 1, "killwords"), *end_value = arg_get(args, 2, "end");
    Str s = text_of(m, v), end = end_value ? text_of(m, end_value) : STR("...");
    if (!s.p || !end.p || !whole_arg(m, args, 0, "length", 255, &length) ||
        !whole_arg(m, args, 3, "leeway", 5, &leeway))
        return NULL;
    int64_t keep = length - (int64_t)str_codepoints(end);
    if (keep < 0)
        return oops(m, "truncate wants a length of at least that of the end");
    if ((int64_t)str_codepoints(s) <= length + leeway)
        return made_str(m, s);
    size_t at = 0;
    for (; keep > 0 && at < s.n; keep--)
        at += char_length(s, at);
    Str cut = str_sub(s, 0, at);
    if (!kill || !truthy(kill)) {
        size_t space = cut.n;
        while (space && cut.p[space - 1] != ' ')
            space--;
        if (space)
            cut.n = space - 1;
    }
    return made_str(m, str_fmt(m->a, "%.*s%.*s", STR_ARG(cut), STR_ARG(end)));
}

static const struct json *f_escape(struct machine *m, const struct json *v, const struct args *args)
{
    Str s = text_of(m, v);
    if (!s.p)
        return NULL;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX * 6);
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&':
            buf_z(&b, "&amp;");
            break;
        case '<':
            buf_z(&b, "&lt;");
            break;
        case '>':
            buf_z(&b, "&gt;");
            break;
        case '"':
            buf_z(&b, "&#34;");
            break;
        case '\'':
            buf_z(&b, "&#39;");
            break;
        default:
            buf_char(&b, s.p[i]);
        }
    }
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_urlencode(struct machine *m, const struct json *v, const struct args *args)
{
    Str s = text_of(m, v);
    if (!s.p)
        return NULL;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX * 3);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain =
            (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("-._~/", c));
        if (plain)
            buf_char(&b, (char)c);
        else
            buf_fmt(&b, "%%%02X", c);
    }
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_wordcount(struct machine *m, const struct json *v, const struct args *args)
{
    Str s = text_of(m, v);
    int64_t n = 0;
    bool inside = false;
    if (!s.p)
        return NULL;
    for (size_t i = 0; i < s.n;) {
        unsigned c = code_at(s, &i);
        bool word = c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 0xa1;
        n += word && !inside;
        inside = word;
    }
    return tree_int(m->a, n);
}

static const struct json *f_indent(struct machine *m, const struct json *v, const struct args *args)
{
    int64_t width;
    const struct json *first = arg_get(args, 1, "first");
    Str s = text_of(m, v);
    if (!s.p || !whole_arg(m, args, 0, "width", 4, &width))
        return NULL;
    if (width < 0 || width > 200)
        return oops(m, "indent wants a width from 0 to 200");
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX + 1);
    for (size_t i = 0; i < s.n && !b.overflow; i++) {
        bool start = i == 0 ? first && truthy(first) : s.p[i - 1] == '\n' && s.p[i] != '\n';
        for (int64_t k = 0; start && k < width; k++)
            buf_char(&b, ' ');
        buf_char(&b, s.p[i]);
    }
    if (b.overflow)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_tojson(struct machine *m, const struct json *v, const struct args *args)
{
    int64_t indent;
    if (!whole_arg(m, args, 0, "indent", 0, &indent))
        return NULL;
    if (indent < 0 || indent > 16)
        return oops(m, "tojson wants an indent from 0 to 16");
    AUTO(buf_free) struct buf plain = BUF(JINJA_OUTPUT_MAX), b = BUF(JINJA_OUTPUT_MAX * 6);
    Str text;
    if (indent) {
        struct jw w = jw_on(&plain);
        w.indent = (int)indent;
        jw_value(&w, v);
        text = buf_view(&plain);
    } else {
        if (!text_of(m, v).p) /* also counts it, and caps it */
            return NULL;
        text = is_undefined(v) ? STR("null") : v->kind == JSON_NULL ? STR("null") : json_text_python(m->a, v);
    }
    if (plain.overflow)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < text.n; i++) { /* so that it may stand in HTML */
        if (strchr("<>&'", text.p[i]) && text.p[i])
            buf_fmt(&b, "\\u%04x", (unsigned)text.p[i]);
        else
            buf_char(&b, text.p[i]);
    }
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_split(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *sep_value = arg_get(args, 0, "sep");
    int64_t most;
    struct tree_items items = {0};
    Str s = text_of(m, v), sep = STR_NONE;
    if (!s.p || !whole_arg(m, args, 1, "maxsplit", -1, &most) || !spend(m, s.n / 8))
        return NULL;
    if (sep_value && sep_value->kind != JSON_NULL && !(sep = text_of(m, sep_value)).p)
        return NULL;
    if (sep.p && !sep.n)
        return oops(m, "split wants a separator");
    while (sep.p) {
        ptrdiff_t at = most-- == 0 ? -1 : str_find(s, sep);
        if (!spend(m, 2))
            return NULL;
        tree_push(m->a, &items, tree_str(m->a, str_sub(s, 0, at < 0 ? s.n : (size_t)at)));
        if (at < 0)
            return tree_array(m->a, &items);
        s = str_sub(s, (size_t)at + sep.n, s.n);
    }
    for (s = str_trim(s); s.n; s = str_trim(s)) { /* at white space */
        size_t n = 0;
        while (n < s.n && !(s.p[n] == ' ' || (s.p[n] >= '\t' && s.p[n] <= '\r')))
            n++;
        n = most-- == 0 ? s.n : n;
        if (!spend(m, 2))
            return NULL;
        tree_push(m->a, &items, tree_str(m->a, str_sub(s, 0, n)));
        s = str_sub(s, n, s.n);
    }
    return tree_array(m->a, &items);
}

static const struct json *f_startswith(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *prefix = arg_get(args, 0, "prefix");
    if (json_is(prefix, JSON_STRING) && !spend(m, prefix->string.n / 64))
        return NULL;
    return json_is(prefix, JSON_STRING) ? tree_bool(str_starts(json_str(v), prefix->string))
                                        : oops(m, "startswith wants a text");
}

static const struct json *f_endswith(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *suffix = arg_get(args, 0, "suffix");
    if (json_is(suffix, JSON_STRING) && !spend(m, suffix->string.n / 64))
        return NULL;
    return json_is(suffix, JSON_STRING) ? tree_bool(str_ends(json_str(v), suffix->string))
                                        : oops(m, "endswith wants a text");
}

/* ---- numbers ---- */

/* A decimal number and nothing else: no hexadecimal, no "inf". */
static bool decimal_text(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("0123456789.eE+-", s.p[i]) || !s.p[i])
            return false;
    return s.n > 0;
}

static const struct json *f_int(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *absent = arg_get(args, 0, "default");
    bool whole;
    int64_t i;
    double d;
    if (v->kind == JSON_STRING) {
        Str s = str_trim(v->string);
        if (str_int(s, &i))
            return tree_int(m->a, i);
        if (decimal_text(s) && str_double(s, &d) && fabs(d) < 9e18)
            return tree_int(m->a, (int64_t)d);
    } else if (number_of(v, &whole, &i, &d)) {
        if (whole)
            return tree_int(m->a, i);
        if (fabs(d) < 9e18)
            return tree_int(m->a, (int64_t)d);
    }
    return absent ? absent : tree_int(m->a, 0);
}

static const struct json *f_float(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *absent = arg_get(args, 0, "default");
    bool whole;
    int64_t i;
    double d;
    if (v->kind == JSON_STRING ? decimal_text(str_trim(v->string)) && str_double(str_trim(v->string), &d)
                               : number_of(v, &whole, &i, &d) && isfinite(d))
        return tree_double(m->a, d);
    return absent ? absent : tree_double(m->a, 0);
}

static const struct json *f_abs(struct machine *m, const struct json *v, const struct args *args)
{
    bool whole;
    int64_t i;
    double d;
    if (!number_of(v, &whole, &i, &d))
        return oops(m, "abs wants a number");
    return whole && i != INT64_MIN ? tree_int(m->a, i < 0 ? -i : i) : tree_double(m->a, fabs(d));
}

static const struct json *f_round(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *method = arg_get(args, 1, "method");
    bool whole;
    int64_t i, precision;
    double d;
    if (!number_of(v, &whole, &i, &d))
        return oops(m, "round wants a number");
    if (!whole_arg(m, args, 0, "precision", 0, &precision))
        return NULL;
    if (precision < -300 || precision > 300)
        return oops(m, "round wants a precision from -300 to 300");
    if (whole && precision >= 0)
        return v->kind == JSON_NUMBER ? v : tree_int(m->a, i);
    double scale = pow(10, (double)llabs(precision));
    double x = precision >= 0 ? d * scale : d / scale;
    if (json_is(method, JSON_STRING) && str_eqz(method->string, "ceil"))
        x = ceil(x);
    else if (json_is(method, JSON_STRING) && str_eqz(method->string, "floor"))
        x = floor(x);
    else
        x = nearbyint(x); /* halves to even */
    x = precision >= 0 ? x / scale : x * scale;
    return tree_double(m->a, isfinite(x) ? x : d);
}

/* "%s took %.1f s"|format(name, seconds): %s, %d, %f, %e, %g, %x and %% with flags, width and precision. */
static const struct json *f_format(struct machine *m, const struct json *v, const struct args *args)
{
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX + 1);
    Str s = text_of(m, v);
    size_t used = 0;
    if (!s.p)
        return NULL;
    for (size_t i = 0; i < s.n && !b.overflow; i++) {
        if (s.p[i] != '%') {
            buf_char(&b, s.p[i]);
            continue;
        }
        int width = 0, precision = -1;
        static const char flag_signs[] = "-+ 0#";
        bool flag[5] = {false};
        for (const char *hit; ++i < s.n && s.p[i] && (hit = strchr(flag_signs, s.p[i]));)
            flag[hit - flag_signs] = true;
        for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && width < 1000; i++)
            width = width * 10 + s.p[i] - '0';
        if (i < s.n && s.p[i] == '.')
            for (i++, precision = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && precision < 100; i++)
                precision = precision * 10 + s.p[i] - '0';
        char kind = i < s.n ? s.p[i] : 0;
        if (kind == '%') {
            buf_char(&b, '%');
            continue;
        }
        const struct json *arg = used < args->n ? args->values[used++] : NULL;
        bool whole;
        int64_t whole_value;
        double d;
        char text[512];
        Str piece;
        if (!arg || !kind || !strchr("sdifgex", kind) || width > 300 || precision > 90)
            return oops(m, "format cannot fill '%%%c'", kind > ' ' && kind < 0x7f ? kind : '?');
        if (kind == 's') {
            piece = text_of(m, arg);
            if (!piece.p)
                return NULL;
            if (precision >= 0) {
                size_t at = 0;
                for (int k = 0; k < precision && at < piece.n; k++)
                    at += char_length(piece, at);
                piece.n = at;
            }
        } else {
            bool in_whole = strchr("dix", kind);
            if (!number_of(arg, &whole, &whole_value, &d) || fabs(d) > 1e300 || (in_whole && fabs(d) > 9e18))
                return oops(m, "format wants a number for '%%%c'", kind);
            const char *sign = flag[1] ? "+" : flag[2] ? " " : "";
            int n;
            long long in_int = in_whole ? (whole ? whole_value : (int64_t)d) : 0;
            if (kind == 'd' || kind == 'i')
                n = snprintf(text, sizeof text, "%s%lld", d >= 0 ? sign : "", in_int);
            else if (kind == 'x')
                n = snprintf(text, sizeof text, "%s%llx", in_int < 0 ? "-" : sign, llabs(in_int) + 0ull);
            else if (kind == 'e')
                n = snprintf(text, sizeof text, "%s%.*e", d >= 0 ? sign : "", precision < 0 ? 6 : precision,
                             d);
            else if (kind == 'g')
                n = snprintf(text, sizeof text, "%s%.*g", d >= 0 ? sign : "", precision < 0 ? 6 : precision,
                             d);
            else
                n = snprintf(text, sizeof text, "%s%.*f", d >= 0 ? sign : "", precision < 0 ? 6 : precision,
                             d);
            piece = (Str){text, (size_t)n};
        }
        size_t length = str_codepoints(piece), pad = (size_t)width > length ? (size_t)width - length : 0;
        bool zeros = flag[3] && !flag[0] && kind != 's';
        if (zeros && piece.n && strchr("+- ", piece.p[0])) {
            buf_char(&b, piece.p[0]);
            piece = str_sub(piece, 1, piece.n);
        }
        for (size_t k = 0; !flag[0] && k < pad; k++)
            buf_char(&b, zeros ? '0' : ' ');
        buf_str(&b, piece);
        for (size_t k = 0; flag[0] && k < pad; k++)
            buf_char(&b, ' ');
    }
    if (b.overflow)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

/* ---- lists and mappings ---- */

static const struct json *f_default(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *absent = arg_get(args, 0, "default_value"), *also_false = arg_get(args, 1, "boolean");
    bool use = is_undefined(v) || (also_false && truthy(also_false) && !truthy(v));
    return !use ? v : absent ? absent : made_str(m, STR(""));
}

static const struct json *f_length(struct machine *m, const struct json *v, const struct args *args)
{
    switch (v->kind) {
    case JSON_STRING:
        return spend(m, v->string.n / 64) ? tree_int(m->a, (int64_t)str_codepoints(v->string)) : NULL;
    case JSON_ARRAY:
        return tree_int(m->a, (int64_t)v->array.n);
    case JSON_OBJECT:
        return tree_int(m->a, (int64_t)v->object.n);
    case JSON_NULL:
        if (is_undefined(v))
            return tree_int(m->a, 0);
        break;
    case JSON_BOOL:
    case JSON_NUMBER:
        break;
    }
    return oops(m, "length wants a text, a list or a mapping");
}

/* "a.b.0" of a value; the value itself without a path. */
static const struct json *at_path(struct machine *m, const struct json *v, const struct json *path)
{
    if (!path || path->kind == JSON_NULL)
        return v;
    Str rest = text_of(m, path), part;
    while (v && str_cut(&rest, '.', &part)) {
        int64_t i;
        if (!spend(m, 1))
            return NULL;
        if (v->kind == JSON_ARRAY && str_int(part, &i) && i >= 0 && (uint64_t)i < v->array.n)
            v = &v->array.items[i];
        else
            v = attribute(m, v, part);
    }
    return v;
}

static const struct json *f_join(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *sep_value = arg_get(args, 0, "d"), *path = arg_get(args, 1, "attribute");
    Str sep = sep_value ? text_of(m, sep_value) : STR("");
    struct tree_items items;
    if (!sep.p || !items_of(m, v, &items))
        return NULL;
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX + 1);
    for (size_t i = 0; i < items.list.n && !b.overflow; i++) {
        const struct json *item = at_path(m, &items.list.v[i], path);
        Str s = item ? text_of(m, item) : STR_NONE;
        if (!s.p)
            return NULL;
        if (i)
            buf_str(&b, sep);
        buf_str(&b, s);
    }
    if (b.overflow)
        return oops(m, "a text is longer than %zu bytes", JINJA_OUTPUT_MAX);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

static const struct json *f_first(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items items;
    if (!items_of(m, v, &items))
        return NULL;
    return items.list.n ? &items.list.v[0] : undefined(m, STR("the first item"));
}

static const struct json *f_last(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items items;
    if (!items_of(m, v, &items))
        return NULL;
    return items.list.n ? &items.list.v[items.list.n - 1] : undefined(m, STR("the last item"));
}

static const struct json *f_list(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items items;
    return items_of(m, v, &items) ? tree_array(m->a, &items) : NULL;
}

static const struct json *f_reverse(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items items, out = {0};
    if (!items_of(m, v, &items))
        return NULL;
    for (size_t i = items.list.n; i-- > 0;)
        tree_push(m->a, &out, &items.list.v[i]);
    if (v->kind != JSON_STRING)
        return tree_array(m->a, &out);
    AUTO(buf_free) struct buf b = BUF(JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < out.list.n; i++)
        buf_str(&b, out.list.v[i].string);
    return made_str(m, str_dup(m->a, buf_view(&b)));
}

struct sorted {
    const struct json *item, *key;
};

/* Merge sort: stable, and it can stop at an error. */
static int sort_items(struct machine *m, struct sorted *v, struct sorted *spare, size_t n, bool descending)
{
    if (n < 2)
        return 0;
    size_t half = n / 2;
    if (sort_items(m, v, spare, half, descending) < 0 ||
        sort_items(m, v + half, spare, n - half, descending) < 0)
        return -1;
    memcpy(spare, v, half * sizeof *v);
    size_t i = 0, k = half, out = 0;
    while (i < half) {
        int order = -1;
        if (k < n) {
            order = pay_comparison(m, spare[i].key, v[k].key) ? order_of(m, spare[i].key, v[k].key) : 2;
            if (order == 2 || !spend(m, 1))
                return -1;
            order = descending ? -order : order;
        }
        v[out++] = order <= 0 ? spare[i++] : v[k++];
    }
    return 0;
}

/* The items with the keys that they are ordered by. NULL with the error. */
static struct sorted *keyed(struct machine *m, const struct json *v, const struct json *path, bool fold,
                            size_t *ret_n)
{
    struct tree_items items;
    if (!items_of(m, v, &items))
        return NULL;
    struct sorted *s = arena_array(m->a, struct sorted, items.list.n + 1);
    for (size_t i = 0; i < items.list.n; i++) {
        const struct json *key = at_path(m, &items.list.v[i], path);
        if (key && fold && key->kind == JSON_STRING)
            key = in_case(m, key, LOWER);
        if (!key)
            return NULL;
        s[i] = (struct sorted){&items.list.v[i], key};
    }
    *ret_n = items.list.n;
    return s;
}

static const struct json *f_sort(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *reverse = arg_get(args, 0, "reverse"), *exact = arg_get(args, 1, "case_sensitive");
    size_t n;
    struct sorted *s = keyed(m, v, arg_get(args, 2, "attribute"), !(exact && truthy(exact)), &n);
    struct tree_items out = {0};
    if (!s || sort_items(m, s, arena_array(m->a, struct sorted, n + 1), n, reverse && truthy(reverse)) < 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        tree_push(m->a, &out, s[i].item);
    return tree_array(m->a, &out);
}

static const struct json *extreme(struct machine *m, const struct json *v, const struct args *args, int sign)
{
    const struct json *exact = arg_get(args, 0, "case_sensitive");
    size_t n, best = 0;
    struct sorted *s = keyed(m, v, arg_get(args, 1, "attribute"), !(exact && truthy(exact)), &n);
    if (!s)
        return NULL;
    for (size_t i = 1; i < n; i++) {
        int order = pay_comparison(m, s[i].key, s[best].key) ? order_of(m, s[i].key, s[best].key) : 2;
        if (order == 2)
            return NULL;
        best = order == sign ? i : best;
    }
    return n ? s[best].item : undefined(m, STR("the item"));
}

static const struct json *f_min(struct machine *m, const struct json *v, const struct args *args)
{
    return extreme(m, v, args, -1);
}

static const struct json *f_max(struct machine *m, const struct json *v, const struct args *args)
{
    return extreme(m, v, args, 1);
}

static const struct json *f_unique(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *exact = arg_get(args, 0, "case_sensitive");
    size_t n, kept = 0;
    struct sorted *s = keyed(m, v, arg_get(args, 1, "attribute"), !(exact && truthy(exact)), &n);
    struct tree_items out = {0};
    if (!s)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        if (!spend(m, 1 + kept))
            return NULL;
        while (k < kept && pay_comparison(m, s[k].key, s[i].key) && !equal_values(s[k].key, s[i].key))
            k++;
        if (m->steps < 0)
            return NULL;
        if (k < kept)
            continue;
        s[kept++] = s[i];
        tree_push(m->a, &out, s[i].item);
    }
    return tree_array(m->a, &out);
}

static const struct json *f_sum(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *path = arg_get(args, 0, "attribute"), *start = arg_get(args, 1, "start");
    struct tree_items items;
    bool whole = true, is_whole;
    int64_t total = 0, i;
    double sum = 0, d;
    if (!items_of(m, v, &items))
        return NULL;
    for (size_t k = 0; k < items.list.n + (start != NULL); k++) {
        const struct json *item = k < items.list.n ? at_path(m, &items.list.v[k], path) : start;
        if (!item)
            return NULL;
        if (!number_of(item, &is_whole, &i, &d))
            return oops(m, "sum wants numbers");
        whole = whole && is_whole && !__builtin_add_overflow(total, i, &total);
        sum += d;
    }
    return whole ? tree_int(m->a, total) : tree_double(m->a, sum);
}

static const struct json *f_map(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *path = arg_get(args, SIZE_MAX, "attribute"),
                      *absent = arg_get(args, SIZE_MAX, "default");
    struct tree_items items, out = {0};
    if (!path && (args->n - args->named < 1 || args->values[0]->kind != JSON_STRING))
        return oops(m, "map wants the name of a filter, or attribute=");
    if (!items_of(m, v, &items))
        return NULL;
    for (size_t i = 0; i < items.list.n; i++) {
        struct args rest = {args->values + 1, args->n ? args->n - 1 : 0, args->names, args->named};
        const struct json *item = path ? at_path(m, &items.list.v[i], path)
                                       : jinja_filter(m, args->values[0]->string, &items.list.v[i], &rest);
        if (!item || !spend(m, 1))
            return NULL;
        tree_push(m->a, &out, is_undefined(item) && absent ? absent : item);
    }
    return tree_array(m->a, &out);
}

/* select, reject, selectattr, rejectattr */
static const struct json *choose(struct machine *m, const struct json *v, const struct args *args,
                                 bool by_attribute, bool keep)
{
    struct tree_items items, out = {0};
    size_t used = by_attribute;
    if (by_attribute && !args->n)
        return oops(m, "the name of an attribute is wanted");
    Str test = STR_NONE;
    if (args->n - args->named > used) {
        if (args->values[used]->kind != JSON_STRING)
            return oops(m, "the name of a test is wanted");
        test = args->values[used++]->string;
    }
    struct args rest = {args->values + used, args->n - used, args->names, args->named};
    if (!items_of(m, v, &items))
        return NULL;
    for (size_t i = 0; i < items.list.n; i++) {
        const struct json *item =
            by_attribute ? at_path(m, &items.list.v[i], args->values[0]) : &items.list.v[i];
        if (item && test.p)
            item = jinja_test(m, test, item, &rest);
        if (!item || !spend(m, 1))
            return NULL;
        if (truthy(item) == keep)
            tree_push(m->a, &out, &items.list.v[i]);
    }
    return tree_array(m->a, &out);
}

static const struct json *f_select(struct machine *m, const struct json *v, const struct args *args)
{
    return choose(m, v, args, false, true);
}

static const struct json *f_reject(struct machine *m, const struct json *v, const struct args *args)
{
    return choose(m, v, args, false, false);
}

static const struct json *f_selectattr(struct machine *m, const struct json *v, const struct args *args)
{
    return choose(m, v, args, true, true);
}

static const struct json *f_rejectattr(struct machine *m, const struct json *v, const struct args *args)
{
    return choose(m, v, args, true, false);
}

static const struct json *pair(struct machine *m, const struct json_member *member)
{
    struct tree_items items = {0};
    tree_push(m->a, &items, tree_str(m->a, member->key));
    tree_push(m->a, &items, &member->value);
    return tree_array(m->a, &items);
}

static const struct json *f_items(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items out = {0};
    if (v->kind != JSON_OBJECT && !is_undefined(v))
        return oops(m, "items wants a mapping");
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++) {
        if (!spend(m, 3))
            return NULL;
        tree_push(m->a, &out, pair(m, &v->object.members[i]));
    }
    return tree_array(m->a, &out);
}

static const struct json *f_values(struct machine *m, const struct json *v, const struct args *args)
{
    struct tree_items out = {0};
    if (v->kind != JSON_OBJECT || !spend(m, v->object.n))
        return v->kind == JSON_OBJECT ? NULL : oops(m, "values wants a mapping");
    for (size_t i = 0; i < v->object.n; i++)
        tree_push(m->a, &out, &v->object.members[i].value);
    return tree_array(m->a, &out);
}

static const struct json *f_keys(struct machine *m, const struct json *v, const struct args *args)
{
    return v->kind == JSON_OBJECT ? f_list(m, v, args) : oops(m, "keys wants a mapping");
}

static const struct json *f_dictsort(struct machine *m, const struct json *v, const struct args *args)
{
    struct args by_key = {.n = 0};
    struct args none = {.n = 0};
    const struct json *items = f_items(m, v, &none);
    const struct json *zero = tree_str(m->a, STR("0"));
    const struct json *values[] = {tree_bool(false), tree_bool(false), zero};
    by_key = (struct args){values, 3, NULL, 0};
    return items ? f_sort(m, items, &by_key) : NULL;
}

static const struct json *f_get(struct machine *m, const struct json *v, const struct args *args)
{
    const struct json *key = arg_get(args, 0, "key"), *absent = arg_get(args, 1, "default");
    if (v->kind != JSON_OBJECT || !key)
        return oops(m, "get wants a mapping and a key");
    const struct json *found = key->kind == JSON_STRING ? json_get(v, key->string) : NULL;
    return found ? found : absent ? absent : tree_null();
}

/* "-".join(list): the separator is the value. */
static const struct json *method_join(struct machine *m, const struct json *v, const struct args *args)
{
    if (args->n != 1)
        return oops(m, "join wants a list");
    struct args sep = {&v, 1, NULL, 0};
    return f_join(m, args->values[0], &sep);
}

static const struct json *f_safe(struct machine *m, const struct json *v, const struct args *args)
{
    return v;
}

static const struct entry filters[] = {
    {"abs", 0, f_abs},
    {"capitalize", 0, f_capitalize},
    {"count", 0, f_length},
    {"d", 2, f_default},
    {"default", 2, f_default},
    {"dictsort", 0, f_dictsort},
    {"e", 0, f_escape},
    {"escape", 0, f_escape},
    {"first", 0, f_first},
    {"float", 1, f_float},
    {"format", 20, f_format},
    {"indent", 2, f_indent},
    {"int", 1, f_int},
    {"items", 0, f_items},
    {"join", 2, f_join},
    {"last", 0, f_last},
    {"length", 0, f_length},
    {"list", 0, f_list},
    {"lower", 0, f_lower},
    {"map", 4, f_map},
    {"max", 2, f_max},
    {"min", 2, f_min},
    {"reject", 3, f_reject},
    {"rejectattr", 3, f_rejectattr},
    {"replace", 3, f_replace},
    {"reverse", 0, f_reverse},
    {"round", 2, f_round},
    {"safe", 0, f_safe},
    {"select", 3, f_select},
    {"selectattr", 3, f_selectattr},
    {"sort", 3, f_sort},
    {"string", 0, f_string},
    {"sum", 2, f_sum},
    {"title", 0, f_title},
    {"tojson", 1, f_tojson},
    {"trim", 1, f_trim},
    {"truncate", 4, f_truncate},
    {"unique", 2, f_unique},
    {"upper", 0, f_upper},
    {"urlencode", 0, f_urlencode},
    {"wordcount", 0, f_wordcount},
};

static const struct entry text_methods[] = {
    {"capitalize", 0, f_capitalize}, {"endswith", 1, f_endswith},
    {"join", 1, method_join},        {"lower", 0, f_lower},
    {"lstrip", 1, f_lstrip},         {"replace", 3, f_replace},
    {"rstrip", 1, f_rstrip},         {"split", 2, f_split},
    {"startswith", 1, f_startswith}, {"strip", 1, f_trim},
    {"title", 0, f_title},           {"upper", 0, f_upper},
};

static const struct entry mapping_methods[] = {
    {"get", 2, f_get},
    {"items", 0, f_items},
    {"keys", 0, f_keys},
    {"values", 0, f_values},
};

static const struct json *run_entry(struct machine *m, const struct entry *e, const struct json *v,
                                    const struct args *args)
{
    if (args->n > e->args_max)
        return oops(m, "%s has %zu arguments at most", e->name, e->args_max);
    return e->run(m, v, args);
}

const struct json *jinja_filter(struct machine *m, Str name, const struct json *v, const struct args *args)
{
    if (m->depth > 1400)
        return oops(m, "the template is nested too deeply");
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        if (!str_eqz(name, filters[i].name))
            continue;
        m->depth++;
        const struct json *result = run_entry(m, &filters[i], v, args);
        m->depth--;
        return result;
    }
    const struct json *result;
    if (m->filters) {
        int rc = m->filters->filter(m->filters->user, m->a, name, v, &result, m->err);
        if (rc != 0)
            return rc < 0 ? (err_wrap(m->err, "line %d", m->line), NULL) : result;
    }
    return oops(m, "there is no filter '%.*s'", (int)MIN(name.n, 60), name.p);
}

const struct json *jinja_method(struct machine *m, Str name, const struct json *v, const struct args *args)
{
    const struct entry *methods = v->kind == JSON_STRING ? text_methods : mapping_methods;
    size_t n = v->kind == JSON_STRING   ? COUNT_OF(text_methods)
               : v->kind == JSON_OBJECT ? COUNT_OF(mapping_methods)
                                        : 0;
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, methods[i].name))
            return run_entry(m, &methods[i], v, args);
    return oops(m, "'%.*s' cannot be called", (int)MIN(name.n, 60), name.p);
}

static bool divides(const struct json *v, const struct json *by)
{
    int64_t i, k;
    return json_int(v, &i) && json_int(by, &k) && k != 0 && (k == -1 || i % k == 0);
}

const struct json *jinja_test(struct machine *m, Str name, const struct json *v, const struct args *args)
{
    static const struct {
        const char *name;
        enum op op;
    } comparisons[] = {{"eq", OP_EQ}, {"equalto", OP_EQ},     {"==", OP_EQ}, {"ne", OP_NE}, {"!=", OP_NE},
                       {"lt", OP_LT}, {"lessthan", OP_LT},    {"<", OP_LT},  {"le", OP_LE}, {"<=", OP_LE},
                       {"gt", OP_GT}, {"greaterthan", OP_GT}, {">", OP_GT},  {"ge", OP_GE}, {">=", OP_GE},
                       {"in", OP_IN}, {"sameas", OP_EQ}};
    static const struct {
        const char *name;
        unsigned kinds; /* bits of enum json_kind */
    } types[] = {
        {"none", 1 << JSON_NULL},
        {"boolean", 1 << JSON_BOOL},
        {"number", 1 << JSON_NUMBER},
        {"string", 1 << JSON_STRING},
        {"mapping", 1 << JSON_OBJECT},
        {"sequence", 1 << JSON_ARRAY | 1 << JSON_STRING | 1 << JSON_OBJECT},
        {"iterable", 1 << JSON_ARRAY | 1 << JSON_STRING | 1 << JSON_OBJECT},
    };
    if (str_eqz(name, "defined"))
        return tree_bool(!is_undefined(v));
    if (str_eqz(name, "undefined"))
        return tree_bool(is_undefined(v));
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (str_eqz(name, types[i].name))
            return tree_bool(!is_undefined(v) && types[i].kinds >> v->kind & 1);
    if (str_eqz(name, "true") || str_eqz(name, "false"))
        return tree_bool(v->kind == JSON_BOOL && v->boolean == str_eqz(name, "true"));
    bool floating =
        v->kind == JSON_NUMBER && (str_find(v->raw, STR(".")) >= 0 || str_find(v->raw, STR("e")) >= 0 ||
                                   str_find(v->raw, STR("E")) >= 0);
    if (str_eqz(name, "float"))
        return tree_bool(floating);
    if (str_eqz(name, "integer"))
        return tree_bool(v->kind == JSON_NUMBER && !floating);
    if (str_eqz(name, "even") || str_eqz(name, "odd"))
        return tree_bool(v->kind == JSON_NUMBER && divides(v, tree_int(m->a, 2)) == str_eqz(name, "even"));
    const struct json *arg = args->n == 1 ? args->values[0] : NULL;
    if (arg && str_eqz(name, "divisibleby"))
        return tree_bool(divides(v, arg));
    for (size_t i = 0; arg && i < COUNT_OF(comparisons); i++) {
        if (!str_eqz(name, comparisons[i].name))
            continue;
        int rc = jinja_compare(m, comparisons[i].op, v, arg);
        return rc < 0 ? NULL : tree_bool(rc);
    }
    return oops(m, "there is no test '%.*s' with %zu arguments", (int)MIN(name.n, 60), name.p, args->n);
}
