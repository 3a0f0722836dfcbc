#include "model/text_query.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* One word or phrase from the front of `rest`. A quote begins a phrase wherever it stands; one that is not closed
 * reaches to the end. */
static Str take_word(Str *rest)
{
    Str s = *rest;
    size_t n = 0;
    if (s.n && s.p[0] == '"') {
        const char *end = memchr(s.p + 1, '"', s.n - 1);
        n = end ? (size_t)(end - s.p) - 1 : s.n - 1;
        *rest = str_sub(s, n + 2, s.n);
        return str_sub(s, 1, n);
    }
    while (n < s.n && !is_blank(s.p[n]) && s.p[n] != '"')
        n++;
    *rest = str_sub(s, n, s.n);
    return str_sub(s, 0, n);
}

struct text_query text_query_parse(struct arena *a, Str key, const struct json *query, struct violations *v)
{
    struct text_query t = {0};
    if (!json_is(query, JSON_STRING)) {
        violation_add(v, query ? "string_type" : "missing", key, query, query ? "must be a string" : "is required");
        return t;
    }
    if (str_codepoints(query->string) > TEXT_QUERY_MAX) {
        violation_add(v, "string_too_long", key, query, "must have at most 200 characters");
        return t;
    }
    if (memchr(query->string.p, 0, query->string.n)) {
        violation_add(v, "value_error", key, query, "must not hold a NUL character");
        return t;
    }
    VEC(struct text_word) words = {0};
    for (Str rest = str_dup(a, query->string); rest.n;) {
        if (is_blank(rest.p[0])) {
            rest = str_sub(rest, 1, rest.n);
            continue;
        }
        struct text_word w = {.kind = WORD_ANY};
        if (strchr("+-!", rest.p[0])) {
            w.kind = rest.p[0] == '+' ? WORD_REQUIRED : WORD_EXCLUDED;
            rest = str_sub(rest, 1, rest.n);
        }
        w.text = take_word(&rest);
        if (w.text.n)
            vec_push(a, &words, w);
    }
    t.words = words.v;
    t.n = words.n;
    return t;
}

/* Part of one of the columns: LIKE '%word%'. SQLite's LIKE takes ASCII letters of either case as one; PostgreSQL is
 * given lower case on both sides, by the rules of "C", so that both agree with the test in memory. */
static void word_where(struct sql *q, Str word, const char *const *columns)
{
    AUTO(buf_free) struct buf pattern = BUF(4 * 4 * TEXT_QUERY_MAX + 2);
    buf_char(&pattern, '%');
    for (size_t i = 0; i < word.n; i++) {
        if (strchr("%_\\", word.p[i]))
            buf_char(&pattern, '\\');
        buf_char(&pattern, lower(word.p[i]));
    }
    buf_char(&pattern, '%');
    Str text = str_dup(q->a, buf_view(&pattern));
    sql_z(q, "(");
    for (size_t i = 0; columns[i]; i++) {
        bool pg = q->kind == DB_POSTGRES;
        buf_fmt(&q->text, pg ? "%slower(%s COLLATE \"C\") LIKE " : "%s%s LIKE ", i ? " OR " : "", columns[i]);
        sql_str(q, text);
        sql_z(q, " ESCAPE '\\'");
    }
    sql_z(q, ")");
}

void text_query_where(struct sql *q, const struct text_query *t, const char *const *columns)
{
    size_t written = 0, any = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->words[i].kind == WORD_ANY) {
            any++;
            continue;
        }
        sql_z(q, written++ ? " AND " : "(");
        if (t->words[i].kind == WORD_EXCLUDED)
            sql_z(q, "NOT ");
        word_where(q, t->words[i].text, columns);
    }
    if (any) {
        sql_z(q, written++ ? " AND (" : "((");
        for (size_t i = 0, n = 0; i < t->n; i++) {
            if (t->words[i].kind != WORD_ANY)
                continue;
            if (n++)
                sql_z(q, " OR ");
            word_where(q, t->words[i].text, columns);
        }
        sql_z(q, ")");
    }
    sql_z(q, written ? ")" : "1 = 1");
}

static bool occurs(Str text, Str word)
{
    char first = lower(word.p[0]);
    for (size_t i = 0; i + word.n <= text.n; i++) {
        size_t k = 0;
        if (lower(text.p[i]) != first)
            continue;
        while (k < word.n && lower(text.p[i + k]) == lower(word.p[k]))
            k++;
        if (k == word.n)
            return true;
    }
    return false;
}

bool text_query_match(const struct text_query *t, const Str *texts, size_t n)
{
    bool any_asked = false, any_found = false;
    for (size_t i = 0; i < t->n; i++) {
        const struct text_word *w = &t->words[i];
        bool found = false;
        for (size_t k = 0; k < n && !found; k++)
            found = occurs(texts[k], w->text);
        if (w->kind == WORD_ANY) {
            any_asked = true;
            any_found |= found;
        } else if (found != (w->kind == WORD_REQUIRED)) {
            return false;
        }
    }
    return any_found || !any_asked;
}
