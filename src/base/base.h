/* base/base.h: the words that every file of the project uses.
 *
 * Small values passed by copy are capitalised typedefs (Str, Uuid, Time, Dur); objects held by
 * pointer are structs without a typedef. "No value" is a value of the type itself (a Str whose p is
 * NULL, UUID_NIL, TIME_NONE, INT_NONE, NAN, BOOL_NONE), so that a record needs no second set of flags. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define COUNT_OF(x) (sizeof(x) / sizeof *(x))
#define UNUSED(x) ((void)(x))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* AUTO(fn) type v: calls fn(&v) when v leaves its scope. TAKE(p) moves out and leaves NULL. */
#define AUTO(fn) __attribute__((cleanup(fn)))
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })

/* Bytes with a length, not NUL-terminated; the owner is whoever made them (mostly an arena). */
typedef struct {
    const char *p;
    size_t n;
} Str;

typedef struct {
    uint8_t b[16];
} Uuid;

typedef int64_t Time; /* µs since 1970-01-01 UTC */
typedef int64_t Dur;  /* µs */

#define TIME_NONE INT64_MIN
#define TIME_NEVER INT64_MAX
#define TIME_FIRST (-62135596800 * SEC) /* the calendar's ends: 0001-01-01 and 9999-12-31 */
#define TIME_LAST (253402300800 * SEC - 1)
#define INT_NONE INT64_MIN
#define BOOL_NONE ((int8_t)-1)

#define USEC ((Dur)1)
#define MSEC ((Dur)1000)
#define SEC ((Dur)1000000)
#define MINUTE (60 * SEC)
#define HOUR (3600 * SEC)
#define DAY (86400 * SEC)

/* Out of memory, or a broken promise of our own: one line on stderr, then abort(). */
_Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
