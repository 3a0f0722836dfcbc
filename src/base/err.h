/* base/err.h: errors are values: a code and a sentence.
 *
 * Fallible functions take `struct err *err` last and return 0 or -1 (or a pointer or NULL). On
 * success *err is not touched. The struct is the caller's; nothing is allocated. */
#pragma once
#include "base/base.h"

enum err_code {
    ERR_NONE,
#define ERR(name, http, cli, doc) name,
#include "base/errors.def"
#undef ERR
    ERR_COUNT
};

struct err {
    enum err_code code;
    char text[480]; /* UTF-8, NUL-terminated, cut at the end if too long */
};

/* Fill *err and return -1, so that one statement fills and leaves. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "fmt: " before the text that is there. */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* As err_set, with ": strerror(errno)" at the end. */
int err_errno(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

int err_http_status(enum err_code code);
int err_exit_status(enum err_code code);
const char *err_name(enum err_code code);
