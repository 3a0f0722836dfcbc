/* schema/pattern.h: regular expressions of schemas, run by PCRE2 within a budget.
 *
 * A pattern is ECMA 262's as far as PCRE2 has it: UTF-8, `$` is the very end, \d and \w are ASCII,
 * \uXXXX, [^] is anything, \p{Letter} and other long names of general categories. It may match anywhere.
 * No pattern can hang: each step of the matcher takes from `budget`, in proportion to the text that is left.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct patterns {
    struct arena *a;
    struct map compiled;
    void *general, *context; /* PCRE2's contexts, whose memory is the arena's */
    int64_t budget;
};
struct patterns patterns_on(struct arena *a, int64_t budget);
/* 1 where it matches, 0 where not; -1 where it is no pattern or the budget is used up. */
NODISCARD int pattern_match(struct patterns *p, Str pattern, Str text, struct err *err);
/* -1 where it is no pattern. */
NODISCARD int pattern_check(struct patterns *p, Str pattern, struct err *err);
