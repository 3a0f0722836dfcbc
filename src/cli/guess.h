/* cli/guess.h: what a mistyped word may have meant.
 *
 * Names are tried one after another; the nearest few are kept, nearest first, equal ones in the order tried. Case and the
 * difference between '-', '_' and '.' do not count. */
#pragma once
#include "base/str.h"

#define GUESSES_MAX 3

struct guesses {
    Str word;
    struct {
        Str name;
        size_t distance;
    } best[GUESSES_MAX];
    size_t n;
};

/* `name` must outlive the guesses; STR_NONE is passed over. */
void guess_try(struct guesses *g, Str name);
/* As guess_try, but the word may also be some of the name's words, or beginnings of them: LOG_LEVEL is near logging.level. */
void guess_words(struct guesses *g, Str name);
/* "'a'", "'a' or 'b'", "'a', 'b' or 'c'"; "" where nothing is near. */
Str guess_text(struct arena *a, const struct guesses *g);
/* "; did you mean 'a' or 'b'?", or "" where nothing is near: the end of a message. */
Str guess_hint(struct arena *a, const struct guesses *g);
