#include "cli/guess.h"

#define LENGTH_MAX ((size_t)48)

static char plain(char c)
{
    return c == '-' || c == '.' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Insertions, deletions, replacements and swaps of neighbours from one word to the other, as far as LENGTH_MAX characters go. */
static size_t distance(Str x, Str y)
{
    size_t rows[3][LENGTH_MAX + 1];
    x.n = MIN(x.n, LENGTH_MAX);
    y.n = MIN(y.n, LENGTH_MAX);
    for (size_t k = 0; k <= y.n; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= x.n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t k = 1; k <= y.n; k++) {
            char c = plain(x.p[i - 1]), d = plain(y.p[k - 1]);
            row[k] = MIN(MIN(above[k], row[k - 1]) + 1, above[k - 1] + (c != d));
            if (i > 1 && k > 1 && c == plain(y.p[k - 2]) && plain(x.p[i - 2]) == d)
                row[k] = MIN(row[k], before[k - 2] + 1);
        }
    }
    return rows[x.n % 3][y.n];
}

static bool begins(Str name, Str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (i >= name.n || plain(name.p[i]) != plain(word.p[i]))
            return false;
    return true;
}

static void keep(struct guesses *g, Str name, size_t d)
{
    size_t at = g->n;
    while (at > 0 && g->best[at - 1].distance > d)
        at--;
    if (at == GUESSES_MAX)
        return;
    g->n = MIN(g->n + 1, (size_t)GUESSES_MAX);
    for (size_t i = g->n - 1; i > at; i--)
        g->best[i] = g->best[i - 1];
    g->best[at].name = name;
    g->best[at].distance = d;
}

static bool near(const struct guesses *g, Str name, size_t *ret)
{
    *ret = distance(g->word, name);
    return *ret * 5 <= MIN(MAX(g->word.n, name.n), LENGTH_MAX) * 2 || (g->word.n >= 3 && begins(name, g->word));
}

void guess_try(struct guesses *g, Str name)
{
    size_t d;
    if (name.p && g->word.n && near(g, name, &d))
        keep(g, name, d);
}

/* The next of the words that '_', '-' and '.' part. */
static bool next_word(Str *rest, Str *ret)
{
    while (rest->n && plain(rest->p[0]) == '_')
        *rest = str_sub(*rest, 1, SIZE_MAX);
    if (!rest->n)
        return false;
    size_t n = 0;
    while (n < rest->n && plain(rest->p[n]) != '_')
        n++;
    *ret = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, SIZE_MAX);
    return true;
}

/* Whether all words of `few` begin, in their order, words of `many`; how many more of those there are. */
static bool words_in(Str few, Str many, size_t *ret_more)
{
    Str word, candidate;
    size_t more = 0;
    while (next_word(&few, &word)) {
        bool found = false;
        while (!found && next_word(&many, &candidate)) {
            found = word.n >= 2 && begins(candidate, word);
            more += !found;
        }
        if (!found)
            return false;
    }
    while (next_word(&many, &candidate))
        more++;
    *ret_more = more;
    return true;
}

void guess_words(struct guesses *g, Str name)
{
    size_t d, more;
    bool letters = near(g, name, &d), words = words_in(g->word, name, &more);
    if (!g->word.n || (!letters && !words))
        return;
    keep(g, name, words ? MIN(more + 1, letters ? d : SIZE_MAX) : d);
}

Str guess_text(struct arena *a, const struct guesses *g)
{
    Str s = STR("");
    for (size_t i = 0; i < g->n; i++)
        s = str_fmt(a, "%.*s%s'%.*s'", STR_ARG(s), i == 0 ? "" : i + 1 < g->n ? ", " : " or ", STR_ARG(g->best[i].name));
    return s;
}

Str guess_hint(struct arena *a, const struct guesses *g)
{
    Str s = guess_text(a, g);
    return s.n ? str_fmt(a, "; did you mean %.*s?", STR_ARG(s)) : s;
}
