#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ONE_MALLOC_PER_OBJECT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_MALLOC_PER_OBJECT 1
#endif
#endif

#define CHUNK_FIRST ((size_t)4096)
#define CHUNK_MAX ((size_t)1 << 20)

struct chunk {
    struct chunk *next;
    size_t cap, used;
    _Alignas(16) char data[];
};

struct arena {
    struct chunk *chunks; /* newest first */
    size_t bytes;
};

static struct chunk *chunk_new(struct arena *a, size_t cap)
{
    struct chunk *c = malloc(sizeof *c + cap);
    if (!c)
        die("out of memory: %zu bytes", cap);
    *c = (struct chunk){.next = a->chunks, .cap = cap};
    a->chunks = c;
    a->bytes += cap;
    return c;
}

struct arena *arena_create(void)
{
    struct arena *a = calloc(1, sizeof *a);
    if (!a)
        die("out of memory");
    return a;
}

static void chunks_free(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    chunks_free(a->chunks);
    free(a);
}

void arena_freep(struct arena **a)
{
    arena_free(*a);
    *a = NULL;
}

void arena_reset(struct arena *a)
{
#ifdef ONE_MALLOC_PER_OBJECT
    chunks_free(a->chunks);
    a->chunks = NULL;
    a->bytes = 0;
#else
    /* The largest of the ordinary chunks is kept: the next request will want it. */
    struct chunk *keep = NULL;
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        if (c->cap <= CHUNK_MAX && (!keep || c->cap > keep->cap)) {
            free(keep);
            keep = c;
        } else {
            free(c);
        }
    }
    a->chunks = keep;
    a->bytes = 0;
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
        a->bytes = keep->cap;
    }
#endif
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > (size_t)1 << 40)
        die("arena: absurd size %zu", size);
#ifdef ONE_MALLOC_PER_OBJECT
    return chunk_new(a, size)->data;
#else
    size = (size + 15) & ~(size_t)15;
    struct chunk *c = a->chunks;
    if (!c || c->cap - c->used < size) {
        size_t cap = c ? MIN(c->cap * 2, CHUNK_MAX) : CHUNK_FIRST;
        c = chunk_new(a, MAX(cap, size));
    }
    void *p = c->data + c->used;
    c->used += size;
    return p;
#endif
}

void *arena_zalloc(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

void *arena_grow(struct arena *a, const void *old, size_t old_size, size_t new_size)
{
    void *p = arena_alloc(a, new_size);
    if (old_size)
        memcpy(p, old, old_size);
    return p;
}

size_t arena_bytes(const struct arena *a)
{
    return a->bytes;
}
