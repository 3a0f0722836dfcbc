#include "assets/assets.h"

#include <string.h>

struct asset {
    const char *name;
    const char *start;
    size_t size;
};
/* Written by tools/embed.py; migrations come in the order of their numbers. */
extern const struct asset asset_table[];
extern const size_t asset_count;

Str asset_find(const char *name)
{
    for (size_t i = 0; i < asset_count; i++)
        if (!strcmp(asset_table[i].name, name))
            return (Str){asset_table[i].start, asset_table[i].size};
    return STR_NONE;
}

const struct migration *asset_migrations(struct arena *a, const char *which, size_t *ret_n)
{
    Str prefix = str_fmt(a, "migrations/%s/", which);
    VEC(struct migration) list = {0};
    for (size_t i = 0; i < asset_count; i++) {
        Str name = str_of(asset_table[i].name);
        if (!str_starts(name, prefix) || !str_ends(name, STR(".sql")))
            continue;
        struct migration m = {.name = str_z(a, str_sub(name, prefix.n, name.n - prefix.n - 4)),
                              .sql = {asset_table[i].start, asset_table[i].size}};
        vec_push(a, &list, m);
    }
    *ret_n = list.n;
    return list.v;
}
