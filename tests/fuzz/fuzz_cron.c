/* A line each: the expression, then the second to begin at. What is found matches on both ways: it is not
 * before the beginning, it is found again from itself, and the next is later. */
#include "schedule/cron.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define CHECK(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            die("fuzz_cron: " #x);                                                                           \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str rest = {(const char *)p, n}, text;
    struct err err = {0};
    int64_t from = 0;
    if (!str_cut(&rest, '\n', &text))
        return 0;
    (void)str_int(rest, &from);
    from = MAX(from % (TIME_LAST / SEC), TIME_FIRST / SEC);
    const struct cron *either = cron_parse(a, text, true, &err);
    const struct cron *both = cron_parse(a, text, false, &err);
    CHECK(!either == !both && (either || (err.code == ERR_UNPROCESSABLE && err.text[0])));
    if (!either)
        return 0;
    int64_t t = cron_next(either, from);
    for (int i = 0; i < 5 && t != CRON_NEVER; i++) {
        CHECK(t >= from && cron_next(either, t) == t);
        from = t + 1;
        t = cron_next(either, from);
    }
    /* A day that is right for both fields is right for one of them; but for the first days of March, see
     * there. */
    t = cron_next(both, from);
    CHECK(t == CRON_NEVER || t >= from);
    return 0;
}
