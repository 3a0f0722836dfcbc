#include "schema/uri.h"

#include <string.h>

struct uri {
    Str scheme, authority, path, query; /* scheme, authority, query: p is NULL for none */
};

static bool scheme_char(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (!first && ((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'));
}

static struct uri uri_split(Str s)
{
    struct uri u = {0};
    size_t i = 0;
    while (i < s.n && scheme_char(s.p[i], i == 0))
        i++;
    if (i && i < s.n && s.p[i] == ':') {
        u.scheme = str_sub(s, 0, i);
        s = str_sub(s, i + 1, s.n);
    }
    if (str_starts(s, STR("//"))) {
        s = str_sub(s, 2, s.n);
        for (i = 0; i < s.n && s.p[i] != '/' && s.p[i] != '?';)
            i++;
        u.authority = str_sub(s, 0, i);
        s = str_sub(s, i, s.n);
    }
    ptrdiff_t mark = str_find(s, STR("?"));
    if (mark >= 0) {
        u.query = str_sub(s, (size_t)mark + 1, s.n);
        s = str_sub(s, 0, (size_t)mark);
    }
    u.path = s;
    return u;
}

static Str remove_dots(struct arena *a, Str path)
{
    char *out = arena_alloc(a, path.n + 1);
    size_t n = 0;
    bool rooted = path.n && path.p[0] == '/';
    Str rest = rooted ? str_sub(path, 1, path.n) : path;
    if (rooted)
        out[n++] = '/';
    for (Str part; str_cut(&rest, '/', &part);) {
        bool last = !rest.p;
        if (str_eqz(part, ".") || str_eqz(part, "..")) {
            if (part.n == 2) { /* back to the slash before the one at the end */
                if (n > (size_t)rooted)
                    n--;
                while (n > (size_t)rooted && out[n - 1] != '/')
                    n--;
            }
            continue;
        }
        memcpy(out + n, part.p, part.n);
        n += part.n;
        if (!last)
            out[n++] = '/';
    }
    return (Str){out, n};
}

static Str merge(struct arena *a, const struct uri *base, Str path)
{
    if (base->authority.p && !base->path.n)
        return str_fmt(a, "/%.*s", STR_ARG(path));
    size_t n = base->path.n;
    while (n && base->path.p[n - 1] != '/')
        n--;
    return str_fmt(a, "%.*s%.*s", (int)n, base->path.p, STR_ARG(path));
}

Str uri_cut_fragment(Str uri, Str *ret_fragment)
{
    ptrdiff_t at = str_find(uri, STR("#"));
    if (at < 0) {
        *ret_fragment = STR_NONE;
        return uri;
    }
    *ret_fragment = str_sub(uri, (size_t)at + 1, uri.n);
    return str_sub(uri, 0, (size_t)at);
}

Str uri_resolve(struct arena *a, Str base, Str ref)
{
    Str fragment, none;
    struct uri r = uri_split(uri_cut_fragment(ref, &fragment)), b = uri_split(uri_cut_fragment(base, &none));
    struct uri t = r;
    if (r.scheme.p) {
        t.path = remove_dots(a, r.path);
    } else {
        t.scheme = b.scheme;
        if (r.authority.p) {
            t.path = remove_dots(a, r.path);
        } else {
            t.authority = b.authority;
            if (!r.path.n) {
                t.path = b.path;
                t.query = r.query.p ? r.query : b.query;
            } else if (r.path.p[0] == '/') {
                t.path = remove_dots(a, r.path);
            } else {
                t.path = remove_dots(a, merge(a, &b, r.path));
            }
        }
    }
    return str_fmt(a, "%.*s%s%s%.*s%.*s%s%.*s%s%.*s", STR_ARG(t.scheme), t.scheme.p ? ":" : "",
                   t.authority.p ? "//" : "", STR_ARG(t.authority), STR_ARG(t.path), t.query.p ? "?" : "",
                   STR_ARG(t.query), fragment.p ? "#" : "", STR_ARG(fragment));
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

Str uri_decode(struct arena *a, Str s)
{
    if (str_find(s, STR("%")) < 0)
        return s;
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
        if (s.p[i] == '%' && lo >= 0) {
            out[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    return (Str){out, n};
}
