/* Times as people write them, and text laid out for a terminal of any width. */
#include "cli/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str text = str_dup(a, (Str){(const char *)data, size});
    size_t width = size ? data[0] % 40 + 1u : 1;
    Time t;
    Dur d;
    if (text_when(text, 1763925000 * SEC, &t))
        (void)text_relative(a, t, 1763925000 * SEC);
    if (text_span(text, &d) && d < 0)
        abort();
    if (text_width(text_cut(a, text, width)) > width)
        abort();
    size_t before = size + 1;
    for (Str rest = text, line; text_line(&rest, width, &line); before = rest.n)
        if (rest.n >= before || (text_width(line) > MAX(width, (size_t)2)))
            abort();
    return 0;
}
