#include "db/pq_lazy.h"

#include "base/lazy.h"

#include <pthread.h>

struct pq_lazy pq_lazy;

static void load(void)
{
    static const char *const files[] = {"libpq.so.5", NULL};
    static const struct lazy_symbol symbols[] = {
#define X(fn) {#fn, offsetof(struct pq_lazy, fn##_)},
        PQ_FUNCTIONS(X)
#undef X
    };
    lazy_load(files, symbols, COUNT_OF(symbols), &pq_lazy);
}

void pq_lazy_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
}
