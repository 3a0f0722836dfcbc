/* cli/profiles.h: named sets of settings in a file, $MILLPOND_HOME/profiles.toml. */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct pair {
    Str key, value;
};
struct profile {
    Str name;
    struct {
        struct pair *v;
        size_t n, cap;
    } settings;
};
struct profiles {
    struct arena *a;
    Str path;
    Str active; /* of the file; STR_NONE: it names none, or is not there */
    struct {
        struct profile *v;
        size_t n, cap;
    } list;     /* of the file */
};

/* A file that is not there reads as empty. */
NODISCARD int profiles_load(struct arena *a, Str path, struct profiles *ret, struct err *err);
/* Writes the whole file anew, mode 0600, in one step. */
NODISCARD int profiles_save(const struct profiles *p, struct err *err);
struct profile *profiles_find(const struct profiles *p, Str name);
struct profile *profiles_add(struct profiles *p, Str name);
void profiles_remove(struct profiles *p, Str name);
void profile_set(struct profiles *p, struct profile *f, Str key, Str value);
bool profile_unset(struct profile *f, Str key); /* false where it was not set */
