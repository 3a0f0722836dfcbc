/* base/log.h: structured lines on stderr: time, level, module, message, key=value pairs.
 *
 * Thread-safe, one write(2) a line. Only api/, services/, cli/ and worker/ log; layers below return
 * errors. Secrets never go in: values are given by name, and nobody logs a body or a header. */
#pragma once
#include "base/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "debug", "info", "warning" or "warn", "error" (any case); false where it is none. */
bool log_level_parse(const char *name, enum log_level *ret);
/* fd 2 unless told; the caller keeps ownership. */
void log_set_fd(int fd);
/* logfmt text (default) or one JSON object a line. */
void log_set_json(bool json);

/* log_at(LOG_INFO, "server", "listening", "address=%s", url): the last argument is printf-like and
 * holds the key=value pairs, "" for none. */
void log_at(enum log_level level, const char *module, const char *msg, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
