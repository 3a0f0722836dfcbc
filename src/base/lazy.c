#include "base/lazy.h"

#include <dlfcn.h>
#include <string.h>

void lazy_load(const char *const *files, const struct lazy_symbol *symbols, size_t n, void *table)
{
    void *library = NULL;
    for (size_t i = 0; files[i] && !library; i++)
        library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("a library is missing: %s", dlerror());
    for (size_t i = 0; i < n; i++) {
        void *fn = dlsym(library, symbols[i].name);
        if (!fn)
            die("%s is of another age: %s", files[0], dlerror());
        memcpy((char *)table + symbols[i].offset, &fn, sizeof fn);
    }
}
