/* A YAML document as JSON; and any JSON value, written as YAML for people, is read back as it was. */
#include "cli/text.h"
#include "cli/yaml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str text = str_dup(a, (Str){(const char *)data, size});
    struct err err = {0};
    const struct json *v = yaml_parse(a, text, &err), *back;
    if (!v && !*err.text)
        abort();
    if (v) {
        AUTO(buf_free) struct buf b = BUF((size_t)64 << 20);
        text_yaml(&b, v, 0);
        back = yaml_parse(a, str_dup(a, buf_view(&b)), &err);
        if (!b.overflow && b.n < LIMIT_BODY && (!back || !json_equal(v, back)))
            abort();
    }
    return 0;
}
