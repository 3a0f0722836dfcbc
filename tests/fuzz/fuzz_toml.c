/* A settings file: TOML, read to its end or to its fault. What is read is written as a profile and read again. */
#include "cli/toml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    size_t n, bytes;
};

static void on_value(void *user, Str path, Str value)
{
    struct seen *s = user;
    s->n++;
    for (size_t i = 0; i < path.n; i++)
        s->bytes += (uint8_t)path.p[i];
    for (size_t i = 0; i < value.n; i++)
        s->bytes += (uint8_t)value.p[i];
}

static void keep_value(void *user, Str path, Str value)
{
    UNUSED(path);
    *(Str *)user = value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str text = str_dup(a, (Str){(const char *)data, size});
    struct seen seen = {0};
    struct err err;
    if (toml_read(a, text, on_value, &seen, &err) < 0 && !*err.text)
        abort();
    /* Any text without NUL survives being written as a string. */
    if (memchr(text.p, 0, text.n))
        return 0;
    AUTO(buf_free) struct buf b = BUF(size * 6 + 64);
    buf_z(&b, "k = ");
    toml_put_string(&b, text);
    Str back = STR_NONE;
    if (toml_read(a, str_dup(a, buf_view(&b)), keep_value, &back, &err) < 0 || !str_eq(back, text))
        abort();
    return 0;
}
