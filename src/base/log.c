#include "base/log.h"

#include "base/time.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static enum log_level least = LOG_INFO;
static int out_fd = 2;
static bool as_json;
static const char *const names[] = {"debug", "info", "warning", "error"};

void log_set_level(enum log_level level)
{
    least = level;
}

enum log_level log_level(void)
{
    return least;
}

bool log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (!strcasecmp(name, names[i]) || (i == LOG_WARN && !strcasecmp(name, "warn"))) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_fd(int fd)
{
    out_fd = fd;
}

void log_set_json(bool json)
{
    as_json = json;
}

static size_t json_escape(char *out, size_t room, const char *s)
{
    size_t n = 0;
    for (; *s && n + 7 < room; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20) {
            n += (size_t)snprintf(out + n, room - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    return n;
}

void log_at(enum log_level level, const char *module, const char *msg, const char *fmt, ...)
{
    if (level < least)
        return;
    char pairs[1024], line[2400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(pairs, sizeof pairs, fmt, ap);
    va_end(ap);
    size_t n;
    struct time_text now = time_iso(time_now());
    if (as_json) {
        n = (size_t)snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"module\":\"%s\",\"message\":\"",
                             now.s, names[level], module);
        n += json_escape(line + n, 1000, msg);
        n += (size_t)snprintf(line + n, sizeof line - n, "\",\"fields\":\"");
        n += json_escape(line + n, sizeof line - n - 4, pairs);
        line[n++] = '"', line[n++] = '}', line[n++] = '\n';
    } else {
        /* One event is one line, whatever the values hold. */
        for (char *p = pairs; *p; p++)
            if ((unsigned char)*p < 0x20)
                *p = ' ';
        int w = snprintf(line, sizeof line - 1, "%s %-7s %s: %s%s%s", now.s, names[level], module, msg,
                         *pairs ? " " : "", pairs);
        n = MIN((size_t)w, sizeof line - 2);
        line[n++] = '\n';
    }
    ssize_t done = write(out_fd, line, n);
    UNUSED(done); /* a log that cannot be written has nowhere to say so */
}
