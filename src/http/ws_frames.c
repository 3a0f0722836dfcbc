#include "http/ws_frames.h"

#include "base/limits.h"
#include "base/time.h"

#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

static ssize_t give(uint8_t *to, size_t n, int flags, void *user)
{
    UNUSED(flags);
    struct ws_reader *r = user;
    n = MIN(n, r->n);
    if (n == 0)
        return -1;
    memcpy(to, r->p, n);
    r->p += n;
    r->n -= n;
    r->taken += n;
    return (ssize_t)n;
}

static bool is_control(int opcode)
{
    return opcode & 8;
}

/* A frame's head is known, and none of its payload was looked at. */
static int check_start(const struct ws_reader *r, const struct wslay_frame_iocb *f)
{
    if (f->rsv || (f->mask != 0) != r->masked)
        return 1002;
    switch (f->opcode) {
    case WSLAY_CONTINUATION_FRAME:
        if (!r->open)
            return 1002;
        break;
    case WSLAY_TEXT_FRAME:
        if (r->open)
            return 1002;
        break;
    case WSLAY_BINARY_FRAME:
        return r->open ? 1002 : 1003;
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return 0;
    default:
        return 1002;
    }
    return f->payload_length > LIMIT_FRAME - r->message.n ? 1009 : 0;
}

static int deliver(struct ws_reader *r, Str text)
{
    if (!str_utf8_valid(text))
        return 1007;
    r->text(r->user, text);
    buf_free(&r->message);
    return 0;
}

/* A frame, or a further piece of one. */
static int take(struct ws_reader *r, const struct wslay_frame_iocb *f)
{
    int code = r->got == 0 ? check_start(r, f) : 0;
    if (code)
        return code;
    bool whole = f->data_length == f->payload_length, last = r->got + f->data_length == f->payload_length;
    Str piece = {(const char *)f->data, f->data_length};
    r->got += f->data_length;
    if (last) {
        size_t extended = f->payload_length < 126 ? 0 : f->payload_length <= UINT16_MAX ? 2 : 8;
        r->taken -= 2 + extended + (f->mask ? 4 : 0) + f->payload_length;
        r->got = 0;
    }
    if (is_control(f->opcode)) {
        memcpy(r->control_data + r->control_n, piece.p, piece.n);
        r->control_n = (uint8_t)(r->control_n + piece.n);
        if (last) {
            Str payload = {r->control_data, r->control_n};
            r->control_n = 0;
            r->control(r->user, f->opcode, payload);
        }
        return 0;
    }
    if (f->fin && whole && !r->open)
        return deliver(r, piece);
    buf_put(&r->message, piece.p, piece.n);
    if (last) {
        r->open = !f->fin;
        if (f->fin)
            return deliver(r, buf_view(&r->message));
    }
    return 0;
}

int ws_reader_feed(struct ws_reader *r, Str *text)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = give};
    int code = 0;
    r->p = text->p;
    r->n = text->n;
    r->stop = false;
    r->message.max = LIMIT_FRAME;
    while (!code && !r->stop) {
        if (!r->frames) {
            if (!r->n)
                break;
            if (wslay_frame_context_init(&r->frames, &callbacks, r) < 0)
                die("out of memory");
        }
        struct wslay_frame_iocb f;
        ssize_t n = wslay_frame_recv(r->frames, &f);
        if (n == WSLAY_ERR_WANT_READ)
            break;
        code = n < 0 ? 1002 : take(r, &f);
        if (!code && r->n == 0 && r->taken == 0) {
            wslay_frame_context_free(r->frames);
            r->frames = NULL;
        }
    }
    *text = (Str){r->p, r->n};
    return code;
}

void ws_reader_clear(struct ws_reader *r)
{
    if (r->frames)
        wslay_frame_context_free(r->frames);
    r->frames = NULL;
    buf_free(&r->message);
}

struct ws_writer {
    struct wslay_frame_context *frames;
    bool masking;
    char *at;
};

static ssize_t put(const uint8_t *p, size_t n, int flags, void *user)
{
    UNUSED(flags);
    struct ws_writer *w = user;
    memcpy(w->at, p, n);
    w->at += n;
    return (ssize_t)n;
}

static int make_mask(uint8_t *to, size_t n, void *user)
{
    UNUSED(user);
    random_bytes(to, n);
    return 0;
}

struct ws_writer *ws_writer_create(bool masking)
{
    static const struct wslay_frame_callbacks callbacks = {.send_callback = put, .genmask_callback = make_mask};
    struct ws_writer *w = calloc(1, sizeof *w);
    if (!w || wslay_frame_context_init(&w->frames, &callbacks, w) < 0)
        die("out of memory");
    w->masking = masking;
    return w;
}

void ws_writer_free(struct ws_writer *w)
{
    if (w)
        wslay_frame_context_free(w->frames);
    free(w);
}

size_t ws_frame(struct ws_writer *w, int opcode, Str payload, char *to)
{
    struct wslay_frame_iocb f = {
        .fin = 1,
        .opcode = (uint8_t)opcode,
        .mask = w->masking,
        .payload_length = payload.n,
        .data = (const uint8_t *)payload.p,
        .data_length = payload.n,
    };
    w->at = to;
    if (wslay_frame_send(w->frames, &f) != (ssize_t)payload.n)
        die("ws_frame: a frame of %zu bytes was not taken", payload.n);
    return (size_t)(w->at - to);
}

bool ws_close_parse(Str payload, int *ret_code, Str *ret_reason)
{
    *ret_reason = str_sub(payload, 2, payload.n);
    *ret_code = 1005;
    if (payload.n == 0)
        return true;
    int code = payload.n < 2 ? 0 : (uint8_t)payload.p[0] << 8 | (uint8_t)payload.p[1];
    bool known = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
    *ret_code = !known ? 1002 : str_utf8_valid(*ret_reason) ? code : 1007;
    return *ret_code == code;
}

Str ws_close_payload(int code, Str reason, char *to)
{
    if (code == 1005 || code == 1006 || code == 1015)
        return STR("");
    size_t n = MIN(reason.n, (size_t)WS_CONTROL_MAX - 2);
    while (n && n < reason.n && ((uint8_t)reason.p[n] & 0xc0) == 0x80)
        n--;
    to[0] = (char)(code >> 8);
    to[1] = (char)code;
    if (n)
        memcpy(to + 2, reason.p, n);
    return (Str){to, n + 2};
}

struct ws_accept ws_accept(Str key)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct sha1_ctx h;
    uint8_t digest[SHA1_DIGEST_SIZE];
    sha1_init(&h);
    sha1_update(&h, key.n, (const uint8_t *)key.p);
    sha1_update(&h, sizeof guid - 1, (const uint8_t *)guid);
    sha1_digest(&h, sizeof digest, digest);
    struct ws_accept a = {0};
    base64_encode_raw(a.s, sizeof digest, digest);
    return a;
}
