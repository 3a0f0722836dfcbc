/* base/lazy.h: a library that is loaded when it is first needed.
 *
 * For libraries that draw many others in and that most processes of ours never call (http/curl_lazy.h, db/pq_lazy.h):
 * their functions stand in a table of pointers that this fills. */
#pragma once
#include "base/base.h"

struct lazy_symbol {
    const char *name;
    size_t offset; /* of its pointer in the table */
};

/* Opens the first of `files` (ends with NULL) that is there and fills `table`. Ends the program with a line where none is, or
 * one lacks a symbol. The library stays. */
void lazy_load(const char *const *files, const struct lazy_symbol *symbols, size_t n, void *table);
