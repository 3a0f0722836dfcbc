#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int http, cli;
} rows[] = {
    [ERR_NONE] = {"ERR_NONE", 200, 0},
#define ERR(name, http, cli, doc) [name] = {#name, http, cli},
#include "base/errors.def"
#undef ERR
};
_Static_assert(COUNT_OF(rows) == ERR_COUNT, "a row per code");

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, ": %s", inner);
    return -1;
}

int err_errno(struct err *err, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    err->code = ERR_IO;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    char reason[128];
    snprintf(err->text + n, sizeof err->text - n, ": %s", strerror_r(saved, reason, sizeof reason));
    return -1;
}

int err_http_status(enum err_code code)
{
    return rows[code].http;
}

int err_exit_status(enum err_code code)
{
    return rows[code].cli;
}

const char *err_name(enum err_code code)
{
    return rows[code].name;
}

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("millpond: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}
