/* base/arena.h: memory that is given back all at once.
 *
 * A request, a service tick and a command each own one arena; what is allocated from it lives until
 * the arena is reset or freed. Not thread-safe: one thread at a time. Out of memory ends the program
 * (die). Under AddressSanitizer each object is a malloc of its own, so that overruns are caught. */
#pragma once
#include "base/base.h"

struct arena;

struct arena *arena_create(void);
void arena_free(struct arena *a); /* NULL is accepted */
void arena_freep(struct arena **a); /* for AUTO */
/* Gives back all objects and keeps one chunk for reuse. */
void arena_reset(struct arena *a);

/* `size` bytes aligned to 16, not cleared (arena_alloc) or zeroed (arena_zalloc). Never NULL. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc, alloc_size(2), returns_nonnull));
void *arena_zalloc(struct arena *a, size_t size) __attribute__((malloc, alloc_size(2), returns_nonnull));
/* Copies and moves to a larger block; `old` stays valid until the arena is reset. */
void *arena_grow(struct arena *a, const void *old, size_t old_size, size_t new_size);
#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (size_t)(n)))

/* Bytes taken from the system so far (for metrics and tests). */
size_t arena_bytes(const struct arena *a);

/* A growing list in an arena: VEC(struct job) jobs = {0}; vec_push(a, &jobs, job); jobs.v[i], jobs.n. */
#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *v;                                                                                   \
        size_t n, cap;                                                                             \
    }
#define vec_push(a, vec, item)                                                                     \
    do {                                                                                           \
        if ((vec)->n == (vec)->cap) {                                                              \
            size_t cap_ = (vec)->cap ? (vec)->cap * 2 : 8;                                         \
            (vec)->v = arena_grow((a), (vec)->v, (vec)->n * sizeof *(vec)->v,                      \
                                  cap_ * sizeof *(vec)->v);                                        \
            (vec)->cap = cap_;                                                                     \
        }                                                                                          \
        (vec)->v[(vec)->n++] = (item);                                                             \
    } while (0)
