/* http/ws_frames.h: WebSocket frames to messages and back (RFC 6455, without extensions), apart from any socket.
 *
 * wslay reads and writes the frames; what is on top of them stands here: masks, fragments, sizes, UTF-8, close codes.
 * A reader keeps wslay's context (4.4 kB) only while a frame is half read, so that idle sockets cost little. */
#pragma once
#include "base/str.h"

enum {
    WS_TEXT = 1,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
    WS_CONTROL_MAX = 125,
};

struct wslay_frame_context;

struct ws_reader {
    bool masked; /* frames must be masked (the server's end), or must not be (the client's) */
    bool stop;   /* a callback sets it: ws_reader_feed comes back after that message */
    bool open;   /* a message has begun in an earlier frame */
    uint8_t control_n;
    char control_data[WS_CONTROL_MAX];
    void (*text)(void *user, Str text); /* whole, UTF-8 checked */
    void (*control)(void *user, int opcode, Str payload);
    void *user;
    struct wslay_frame_context *frames;
    const char *p; /* what the call was given and wslay has not taken */
    size_t n;
    uint64_t taken; /* bytes that wslay took, of frames that are not at their end */
    uint64_t got;   /* of the frame's payload */
    struct buf message;
};

/* Reads *text on; what a `stop` left is in *text afterwards. 0, or the code to close with: 1002 (protocol),
 * 1003 (binary), 1007 (not UTF-8), 1009 (longer than LIMIT_FRAME); then it must not be fed again. */
NODISCARD int ws_reader_feed(struct ws_reader *r, Str *text);
void ws_reader_clear(struct ws_reader *r);

/* Frames to send, one at a time. Not thread-safe. */
struct ws_writer;
struct ws_writer *ws_writer_create(bool masking);
void ws_writer_free(struct ws_writer *w);
#define WS_HEAD_MAX 14
/* Writes a whole frame to `to`, which has room for WS_HEAD_MAX + payload.n bytes; gives back its length. */
size_t ws_frame(struct ws_writer *w, int opcode, Str payload, char *to);

/* A close frame's payload: code (1005 where it has none) and reason. False where it breaks the protocol; then
 * *ret_code is what to close with. */
bool ws_close_parse(Str payload, int *ret_code, Str *ret_reason);
/* The payload for a code and a reason (cut to 123 bytes between characters); empty for 1005, 1006 and 1015, which are
 * never sent. `to` has room for WS_CONTROL_MAX bytes. */
Str ws_close_payload(int code, Str reason, char *to);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key. */
struct ws_accept {
    char s[29];
};
struct ws_accept ws_accept(Str key);
