#include "schema/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define PATTERN_MAX 4000 /* bytes; what people write is a tenth of it */

struct compiled {
    pcre2_code *code;
    pcre2_match_data *data;
};

static void *memory_take(PCRE2_SIZE n, void *arena)
{
    return arena_alloc(arena, n);
}

static void memory_give(void *p, void *arena)
{
    UNUSED(p); /* the arena's owner gives all back at once */
    UNUSED(arena);
}

/* Called before each item of the pattern, at each try. Between two calls the matcher looks at no more
 * than what is left of the text. */
static int step(pcre2_callout_block *block, void *user)
{
    struct patterns *p = user;
    p->budget -= 1 + (int64_t)((block->subject_length - block->current_position) / 128);
    return p->budget < 0 ? PCRE2_ERROR_CALLOUT : 0;
}

struct patterns patterns_on(struct arena *a, int64_t budget)
{
    return (struct patterns){.a = a, .budget = budget};
}

static const char *short_category(Str name)
{
    static const char *const names[][2] = {
        {"Letter", "L"},
        {"Cased_Letter", "L&"},
        {"Uppercase_Letter", "Lu"},
        {"Lowercase_Letter", "Ll"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Combining_Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Enclosing_Mark", "Me"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"digit", "Nd"},
        {"Letter_Number", "Nl"},
        {"Other_Number", "No"},
        {"Punctuation", "P"},
        {"punct", "P"},
        {"Connector_Punctuation", "Pc"},
        {"Dash_Punctuation", "Pd"},
        {"Open_Punctuation", "Ps"},
        {"Close_Punctuation", "Pe"},
        {"Initial_Punctuation", "Pi"},
        {"Final_Punctuation", "Pf"},
        {"Other_Punctuation", "Po"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Modifier_Symbol", "Sk"},
        {"Other_Symbol", "So"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Line_Separator", "Zl"},
        {"Paragraph_Separator", "Zp"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"cntrl", "Cc"},
        {"Format", "Cf"},
        {"Surrogate", "Cs"},
        {"Private_Use", "Co"},
        {"Unassigned", "Cn"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eqz(name, names[i][0]))
            return names[i][1];
    return NULL;
}

/* \p{Letter} and \p{General_Category=Letter} become \p{L}, the only form that PCRE2 10.42 knows. */
static Str short_names(struct arena *a, Str pattern)
{
    if (str_find(pattern, STR("\\p{")) < 0 && str_find(pattern, STR("\\P{")) < 0)
        return pattern;
    char *out = arena_alloc(a, pattern.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < pattern.n;) {
        if (pattern.p[i] != '\\' || i + 1 >= pattern.n) {
            out[n++] = pattern.p[i++];
            continue;
        }
        Str rest = str_sub(pattern, i, pattern.n);
        ptrdiff_t close = str_find(rest, STR("}"));
        if ((str_starts(rest, STR("\\p{")) || str_starts(rest, STR("\\P{"))) && close > 0) {
            Str name = str_sub(rest, 3, (size_t)close - 3);
            static const Str prefixes[] = {STR("General_Category="), STR("gc=")};
            for (size_t k = 0; k < COUNT_OF(prefixes); k++)
                if (str_starts(name, prefixes[k]))
                    name = str_sub(name, prefixes[k].n, name.n);
            const char *category = short_category(name);
            if (category)
                name = str_of(category);
            memcpy(out + n, rest.p, 3);
            n += 3;
            memcpy(out + n, name.p, name.n);
            n += name.n;
            out[n++] = '}';
            i += (size_t)close + 1;
            continue;
        }
        out[n++] = pattern.p[i++];
        out[n++] = pattern.p[i++];
    }
    return (Str){out, n};
}

static const struct compiled *compile(struct patterns *p, Str pattern, struct err *err)
{
    void **slot = map_at(p->a, &p->compiled, pattern);
    if (*slot)
        return *slot;
    if (!p->general) {
        p->general = pcre2_general_context_create(memory_take, memory_give, p->a);
        pcre2_match_context *m = pcre2_match_context_create(p->general);
        pcre2_set_match_limit(m, 5000000);
        pcre2_set_depth_limit(m, 100000);
        pcre2_set_heap_limit(m, 8192); /* KiB */
        p->context = m;
    }
    if (pattern.n > PATTERN_MAX) {
        err_set(err, ERR_UNPROCESSABLE, "a pattern of %zu bytes is over the limit of %d", pattern.n,
                PATTERN_MAX);
        return NULL;
    }
    pcre2_compile_context *cc = pcre2_compile_context_create(p->general);
    pcre2_set_parens_nest_limit(cc, 60);
    pcre2_set_compile_extra_options(cc, PCRE2_EXTRA_ALT_BSUX);
    int code;
    PCRE2_SIZE at;
    Str text = short_names(p->a, pattern);
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)text.p, text.n,
                      PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                          PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT,
                      &code, &at, cc);
    if (!re) {
        PCRE2_UCHAR why[160];
        pcre2_get_error_message(code, why, sizeof why);
        err_set(err, ERR_UNPROCESSABLE, "'%.*s' is not a regular expression: %s (at %zu)",
                (int)MIN(pattern.n, 200), pattern.p, (const char *)why, (size_t)at);
        return NULL;
    }
    struct compiled *c = arena_new(p->a, struct compiled);
    *c = (struct compiled){re, pcre2_match_data_create(1, p->general)};
    *slot = c;
    return c;
}

int pattern_match(struct patterns *p, Str pattern, Str text, struct err *err)
{
    const struct compiled *c = compile(p, pattern, err);
    if (!c)
        return -1;
    pcre2_set_callout(p->context, step, p);
    p->budget -= (int64_t)(1 + text.n / 128);
    int rc = pcre2_match(c->code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, 0, 0, c->data, p->context);
    if (rc >= 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    return err_set(err, ERR_UNPROCESSABLE, "pattern '%.*s' takes too long on a value of %zu bytes",
                   (int)MIN(pattern.n, 200), pattern.p, text.n);
}

int pattern_check(struct patterns *p, Str pattern, struct err *err)
{
    return compile(p, pattern, err) ? 0 : -1;
}
