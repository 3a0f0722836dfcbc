#include "worker/lines.h"

#include <string.h>

#define TRACEBACK STR("Traceback (most recent call last):")

void lines_init(struct lines *l, int stream, lines_emit *emit, void *user)
{
    *l = (struct lines){.stream = stream, .emit = emit, .user = user};
}

/* Length of the UTF-8 sequence at p, 0 where it is none. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

static void emit(struct lines *l)
{
    size_t n = l->n;
    while (n && (l->held[n - 1] == '\n' || l->held[n - 1] == '\r'))
        n--;
    char out[LINE_MAX_BYTES * 3 + 64];
    size_t o = 0;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_len((const unsigned char *)l->held + i, n - i);
        if (len == 1 && !l->held[i])
            len = 0;
        if (len) {
            memcpy(out + o, l->held + i, len);
            i += len;
            o += len;
        } else if (l->cut && n - i < 4) {
            break; /* a character cut in two by our own cap */
        } else {
            memcpy(out + o, "\xef\xbf\xbd", 3);
            i++;
            o += 3;
        }
    }
    if (l->cut)
        o += (size_t)snprintf(out + o, 64, " [%zu more bytes cut]", l->cut);
    l->n = l->cut = l->line_start = 0;
    l->traceback = false;
    if (o)
        l->emit(l->user, l->stream, (Str){out, o});
}

static bool is_blank(Str s)
{
    return !str_trim(s).n;
}

/* A newline has come: either the entry is whole, or it is a traceback that may go on. */
static void end_line(struct lines *l)
{
    Str line = {l->held + l->line_start, l->n - l->line_start};
    if (!l->traceback) {
        if (l->cut || !str_starts(str_trim(line), TRACEBACK)) {
            emit(l);
            return;
        }
        l->traceback = true;
    } else if (line.n && line.p[0] != ' ' && line.p[0] != '\t' && !is_blank(line) &&
               !str_starts(line, TRACEBACK)) {
        /* "ValueError: …", the last line of it */
        emit(l);
        return;
    }
    if (l->n < sizeof l->held)
        l->held[l->n++] = '\n';
    else
        l->cut++;
    l->line_start = l->n;
}

static void put(struct lines *l, const char *p, size_t n)
{
    size_t fit = MIN(n, sizeof l->held - l->n);
    memcpy(l->held + l->n, p, fit);
    l->n += fit;
    l->cut += n - fit;
}

void lines_feed(struct lines *l, const char *p, size_t n)
{
    while (n) {
        if (l->cr) {
            l->cr = false;
            if (*p != '\n' && *p != '\r') {
                l->n = l->line_start;
                if (!l->line_start)
                    l->cut = 0;
            }
        }
        size_t len = 0;
        while (len < n && p[len] != '\n' && p[len] != '\r')
            len++;
        put(l, p, len);
        if (len < n) {
            if (p[len] == '\n')
                end_line(l);
            else
                l->cr = true;
            len++;
        }
        p += len;
        n -= len;
    }
}

void lines_flush(struct lines *l)
{
    l->cr = false;
    if (l->n || l->cut)
        emit(l);
}
