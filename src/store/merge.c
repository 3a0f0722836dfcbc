#include "store/merge.h"

#include "base/limits.h"

Str json_merge(struct arena *a, Str x, Str y)
{
    struct err err;
    const struct json *parts[2] = {x.p ? json_parse(a, x, &err) : NULL, y.p ? json_parse(a, y, &err) : NULL};
    if (!json_is(parts[0], JSON_OBJECT) || !parts[0]->object.n)
        return json_is(parts[1], JSON_OBJECT) ? y : STR("{}");
    if (!json_is(parts[1], JSON_OBJECT) || !parts[1]->object.n)
        return x;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < parts[k]->object.n; i++) {
            const struct json_member *m = &parts[k]->object.members[i];
            if (k == 0 && json_get(parts[1], m->key))
                continue;
            jw_key(&w, m->key);
            jw_raw(&w, m->value.raw);
        }
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

Str tags_union(struct arena *a, Str x, Str y)
{
    struct err err;
    const struct json *lists[2] = {x.p ? json_parse(a, x, &err) : NULL, y.p ? json_parse(a, y, &err) : NULL};
    struct map seen = {0};
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; json_is(lists[k], JSON_ARRAY) && i < lists[k]->array.n; i++) {
            Str tag = json_str(&lists[k]->array.items[i]);
            void **slot = map_at(a, &seen, tag);
            if (*slot)
                continue;
            *slot = &seen;
            jw_str(&w, tag);
        }
    }
    jw_end(&w);
    return str_dup(a, buf_view(&b));
}

Str name_invent(struct arena *a)
{
    static const char *const first[] = {
        "amber",  "brisk",   "calm",    "clever", "copper",  "crisp",  "curious", "dapper", "deft",   "eager",
        "early",  "fleet",   "fond",    "frosty", "gentle",  "glad",   "golden",  "grand",  "hardy",  "hazel",
        "humble", "ivory",   "jolly",   "keen",   "kind",    "lively", "lucid",   "mellow", "merry",  "mild",
        "mossy",  "nimble",  "noble",   "olive",  "patient", "placid", "plucky",  "polite", "quick",  "quiet",
        "rapid",  "rosy",    "rustic",  "sandy",  "serene",  "sharp",  "silver",  "sleek",  "smart",  "snug",
        "sober",  "spry",    "steady",  "still",  "sturdy",  "sunny",  "swift",   "tidy",   "tranquil", "trusty",
        "velvet", "vivid",   "warm",    "wise",
    };
    static const char *const second[] = {
        "badger", "bear",   "beaver", "bee",     "bison",   "bittern", "carp",   "coot",    "crane",  "crow",
        "curlew", "dace",   "deer",   "dipper",  "dove",    "duck",    "eagle",  "egret",   "elk",    "falcon",
        "finch",  "fox",    "frog",   "gecko",   "goose",   "grebe",   "gull",   "hare",    "hawk",   "heron",
        "ibis",   "jay",    "kestrel", "lark",   "lynx",    "mallard", "marten", "merlin",  "mink",   "mole",
        "moth",   "newt",   "otter",  "owl",     "perch",   "pike",    "plover", "quail",   "raven",  "robin",
        "rook",   "salmon", "seal",   "shrew",   "snipe",   "sparrow", "stork",  "swan",    "teal",   "tern",
        "toad",   "trout",  "vole",   "wren",
    };
    uint8_t r[2];
    random_bytes(r, sizeof r);
    return str_fmt(a, "%s-%s", first[r[0] % COUNT_OF(first)], second[r[1] % COUNT_OF(second)]);
}
