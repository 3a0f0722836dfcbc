#include "http/curl_lazy.h"

#include "base/base.h"

#include <dlfcn.h>
#include <pthread.h>

struct curl_lazy curl_lazy;

static void load(void)
{
    static const char *const files[] = {"libcurl-gnutls.so.4", "libcurl.so.4"};
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
#define X(fn) {#fn, offsetof(struct curl_lazy, fn##_)},
        CURL_FUNCTIONS(X)
#undef X
    };
    void *library = NULL;
    for (size_t i = 0; i < COUNT_OF(files) && !library; i++)
        library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("libcurl is not here: %s", dlerror());
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        void *fn = dlsym(library, rows[i].name);
        if (!fn)
            die("this libcurl has no %s", rows[i].name);
        memcpy((char *)&curl_lazy + rows[i].offset, &fn, sizeof fn);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        die("libcurl cannot be started");
}

void curl_lazy_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
}
