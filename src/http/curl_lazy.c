#include "http/curl_lazy.h"

#include "base/lazy.h"

#include <pthread.h>

struct curl_lazy curl_lazy;

static void load(void)
{
    static const char *const files[] = {"libcurl-gnutls.so.4", "libcurl.so.4", NULL};
    static const struct lazy_symbol symbols[] = {
#define X(fn) {#fn, offsetof(struct curl_lazy, fn##_)},
        CURL_FUNCTIONS(X)
#undef X
    };
    lazy_load(files, symbols, COUNT_OF(symbols), &curl_lazy);
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        die("libcurl cannot be started");
}

void curl_lazy_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
}
