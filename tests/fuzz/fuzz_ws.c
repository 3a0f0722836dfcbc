/* WebSocket frames from a client: whatever comes, what is handed over is whole, valid and within its caps, and does not
 * depend on how the stream was cut. The first byte chooses the cuts and where a handler stops, the rest is the
 * stream. */
#include "base/limits.h"
#include "http/ws_frames.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    struct ws_reader reader;
    unsigned stop_each; /* the reader is stopped after each n-th message; 0: never */
    unsigned messages;
    uint64_t hash; /* of all that was handed over */
    bool closed;
};

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x))                                                                                  \
            die("fuzz_ws: " #x);                                                                   \
    } while (0)

static void note(struct seen *s, int opcode, Str text)
{
    CHECK(!s->closed);
    s->hash = (s->hash ^ (uint64_t)opcode ^ str_hash(text)) * 0x9e3779b97f4a7c15u;
    s->messages++;
    s->reader.stop = s->stop_each && s->messages % s->stop_each == 0;
}

static void on_text(void *user, Str text)
{
    CHECK(text.n <= LIMIT_FRAME && str_utf8_valid(text));
    note(user, WS_TEXT, text);
}

static void on_control(void *user, int opcode, Str payload)
{
    struct seen *s = user;
    CHECK(payload.n <= WS_CONTROL_MAX);
    CHECK(opcode == WS_CLOSE || opcode == WS_PING || opcode == WS_PONG);
    note(s, opcode, payload);
    if (opcode == WS_CLOSE) {
        int code;
        Str reason;
        char answer[WS_CONTROL_MAX];
        bool ok = ws_close_parse(payload, &code, &reason);
        CHECK(code >= 1000 && code < 5000 && (ok || code == 1002 || code == 1007));
        CHECK(ws_close_payload(code, reason, answer).n <= WS_CONTROL_MAX);
        s->closed = s->reader.stop = true;
    }
}

/* The close code that the stream ends in, or 0. */
static int run(struct seen *s, Str stream, size_t cut, unsigned stop_each)
{
    *s = (struct seen){.stop_each = stop_each};
    s->reader = (struct ws_reader){.masked = true, .text = on_text, .control = on_control, .user = s};
    int code = 0;
    while (!code && !s->closed && (stream.n || s->reader.stop)) {
        Str piece = str_sub(stream, 0, cut);
        size_t n = piece.n;
        code = ws_reader_feed(&s->reader, &piece);
        CHECK(piece.n == 0 || s->reader.stop || code);
        stream = str_sub(stream, n - piece.n, stream.n);
    }
    CHECK(code == 0 || code == 1002 || code == 1003 || code == 1007 || code == 1009);
    ws_reader_clear(&s->reader);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 1)
        return 0;
    Str stream = {(const char *)p + 1, n - 1};
    struct seen whole, cut;
    int a = run(&whole, stream, SIZE_MAX, 0);
    int b = run(&cut, stream, (size_t)(p[0] & 15) + 1, p[0] >> 4);
    CHECK(a == b && whole.hash == cut.hash && whole.messages == cut.messages);
    return 0;
}
