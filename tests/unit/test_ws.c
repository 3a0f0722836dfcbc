/* WebSockets: the frames alone; the server's end against a plain socket that may break every rule; both ends against
 * each other. */
#include "tests/unit/test.h"

#include "base/limits.h"
#include "base/time.h"
#include "http/server.h"
#include "http/ws_frames.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What both ends' handlers note down. */

struct notes {
    bool echo;
    struct ws *w; /* the latest that opened */
    atomic_int opened, messages, pings, closed;
    _Atomic size_t bytes;
    int code;
    char reason[128], last[64];
    int ping_after[8]; /* how many messages had been handed over when the ping came */
    char ping_payload[8][16];
    _Atomic size_t sent; /* messages taken before ws_send said no */
};

static struct loop *loop, *client_loop;
static struct http_server *server;
static struct notes ours, theirs; /* the server's end, ws_connect's end */
static bool take_pings;

static void on_open(struct ws *w, void *user)
{
    struct notes *n = user;
    assert_true(loop_is_here(ws_loop(w)));
    n->w = w;
    n->opened++;
}

static void on_message(struct ws *w, Str text, void *user)
{
    struct notes *n = user;
    snprintf(n->last, sizeof n->last, "%.*s", STR_ARG(text));
    n->bytes += text.n;
    if (str_starts(text, STR("close "))) {
        int64_t code = 0;
        assert_true(str_int(str_sub(text, 6, 4), &code));
        ws_close(w, (int)code, "as you wish");
        ws_close(w, 1000, "a second time does nothing");
        assert_int_equal(ws_send(w, STR("too late")), -1);
    } else if (str_eq(text, STR("pause"))) {
        ws_pause(w, true);
    } else if (str_starts(text, STR("flood "))) {
        int64_t size = 0;
        assert_true(str_int(str_sub(text, 6, 10), &size));
        char *big = calloc(1, (size_t)size);
        assert_non_null(big);
        memset(big, 'f', (size_t)size);
        for (n->sent = 0; n->sent < 100000 && ws_send(w, (Str){big, (size_t)size}) == 0;)
            n->sent++;
        assert_true(ws_queued(w) <= LIMIT_SUBSCRIBER_QUEUE);
        free(big);
    } else if (n->echo) {
        assert_int_equal(ws_send(w, text), 0);
    }
    n->messages++; /* last: the test waits for it */
}

static bool on_ping(struct ws *w, Str payload, void *user)
{
    UNUSED(w);
    struct notes *n = user;
    int i = n->pings % 8;
    n->ping_after[i] = n->messages;
    snprintf(n->ping_payload[i], sizeof n->ping_payload[i], "%.*s", STR_ARG(payload));
    n->pings++;
    return take_pings;
}

static void on_closed(struct ws *w, int code, Str reason, void *user)
{
    struct notes *n = user;
    assert_int_equal(ws_send(w, STR("after the end")), -1);
    ws_pause(w, false);
    n->code = code;
    snprintf(n->reason, sizeof n->reason, "%.*s", STR_ARG(reason));
    n->w = NULL;
    n->closed++;
}

static const struct ws_handler handler = {on_open, on_message, on_ping, on_closed};

static void on_request(struct exchange *x, void *user)
{
    UNUSED(user);
    if (str_eq(exchange_path(x), STR("/plain"))) {
        exchange_reply(x, 404, NULL, NULL);
        return;
    }
    exchange_upgrade(x, exchange_offers(x, "prefect") ? "prefect" : NULL, &handler, &ours);
}

static void start_server(Str cert, Str key)
{
    struct err err = {0};
    loop = loop_start("ws-server", &err);
    client_loop = loop_start("ws-client", &err);
    assert_non_null(loop);
    assert_non_null(client_loop);
    struct http_options o = {.host = STR("127.0.0.1"),
                             .handler = on_request,
                             .loop = loop,
                             .threads = 2,
                             .tls_cert = cert,
                             .tls_key = key};
    server = http_server_start(&o, &err);
    if (!server)
        fail_msg("%s", err.text);
    memset(&ours, 0, sizeof ours);
    memset(&theirs, 0, sizeof theirs);
    ours.echo = true;
    take_pings = false;
}

static int setup(void **state)
{
    UNUSED(state);
    start_server(STR_NONE, STR_NONE);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    http_server_stop(server, SEC);
    server = NULL;
    loop_stop(client_loop);
    loop_stop(loop);
    return 0;
}

#define WAIT_FOR(cond)                                                                             \
    do {                                                                                           \
        Dur until_ = time_monotonic() + 10 * SEC;                                                  \
        while (!(cond)) {                                                                          \
            if (time_monotonic() > until_)                                                         \
                fail_msg("%s: not within 10 s", #cond);                                            \
            usleep(500);                                                                           \
        }                                                                                          \
    } while (0)

/* A plain socket as the client. */

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void say(int fd, Str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the server has closed; what it said comes next */
        s = str_sub(s, (size_t)n, s.n);
    }
}

/* Reads exactly n bytes; false at the end of the stream. */
static bool hear(int fd, void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 10000) <= 0)
            fail_msg("nothing came within 10 s");
        ssize_t r = recv(fd, (char *)to + got, n - got, 0);
        if (r <= 0)
            return false;
        got += (size_t)r;
    }
    return true;
}

/* Any bytes, NUL too. */
static Str join(struct arena *a, Str x, Str y)
{
    char *p = arena_alloc(a, x.n + y.n + 1);
    memcpy(p, x.p, x.n);
    memcpy(p + x.n, y.p, y.n);
    p[x.n + y.n] = 0;
    return (Str){p, x.n + y.n};
}

static Str hear_head(struct arena *a, int fd)
{
    char head[4096];
    size_t n = 0;
    do
        assert_true(n < sizeof head && hear(fd, head + n, 1));
    while (++n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4));
    return str_dup(a, (Str){head, n});
}

#define ASK                                                                                        \
    "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"     \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static int dial_ws(Str early)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial();
    say(fd, join(a, STR(ASK "Sec-WebSocket-Protocol: other, prefect\r\n\r\n"), early));
    Str head = hear_head(a, fd);
    assert_true(str_starts(head, STR("HTTP/1.1 101 ")));
    assert_true(str_find(head, STR("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")) > 0);
    assert_true(str_find(head, STR("Sec-WebSocket-Protocol: prefect\r\n")) > 0);
    assert_true(str_find(head, STR("Connection: Upgrade\r\n")) > 0);
    return fd;
}

/* A frame as a client sends it, or one that is wrong in a chosen way. */
static Str frame(struct arena *a, int first_byte, bool masked, Str payload)
{
    AUTO(buf_free) struct buf b = BUF((size_t)32 << 20);
    buf_char(&b, (char)first_byte);
    int mask_bit = masked ? 0x80 : 0;
    if (payload.n < 126) {
        buf_char(&b, (char)(mask_bit | (int)payload.n));
    } else if (payload.n < 65536) {
        buf_char(&b, (char)(mask_bit | 126));
        buf_char(&b, (char)(payload.n >> 8));
        buf_char(&b, (char)payload.n);
    } else {
        buf_char(&b, (char)(mask_bit | 127));
        for (int i = 7; i >= 0; i--)
            buf_char(&b, (char)(payload.n >> (8 * i)));
    }
    static const char mask[4] = {0x12, (char)0xa4, 0x00, 0x77};
    if (masked)
        buf_put(&b, mask, 4);
    size_t at = b.n;
    buf_str(&b, payload);
    for (size_t i = 0; masked && i < payload.n; i++)
        b.p[at + i] ^= mask[i % 4];
    return str_dup(a, buf_view(&b));
}

#define TEXT(a, lit) frame(a, 0x81, true, STR(lit))

struct heard {
    int opcode; /* -1: the end of the stream */
    Str payload;
    int code; /* of a close frame */
};

static struct heard hear_frame(struct arena *a, int fd)
{
    uint8_t head[2], more[8];
    if (!hear(fd, head, 2))
        return (struct heard){.opcode = -1};
    assert_int_equal(head[0] & 0x70, 0);
    assert_int_equal(head[1] & 0x80, 0); /* a server does not mask */
    size_t n = head[1] & 0x7f, extended = n == 126 ? 2 : n == 127 ? 8 : 0;
    assert_true(hear(fd, more, extended));
    if (extended) {
        n = 0;
        for (size_t i = 0; i < extended; i++)
            n = n << 8 | more[i];
    }
    char *p = arena_alloc(a, n + 1);
    if (!hear(fd, p, n))
        return (struct heard){.opcode = -1};
    p[n] = 0;
    struct heard h = {.opcode = head[0] & 15, .payload = {p, n}};
    if (h.opcode == WS_CLOSE && n >= 2) {
        h.code = (uint8_t)p[0] << 8 | (uint8_t)p[1];
        h.payload = str_sub(h.payload, 2, n);
    }
    return h;
}

static void assert_heard(struct heard h, int opcode, const char *payload)
{
    assert_int_equal(h.opcode, opcode);
    if (!str_eqz(h.payload, payload))
        fail_msg("'%.*s' is not '%s'", (int)MIN(h.payload.n, 100), h.payload.p, payload);
}

/* The reader alone. */

static void note_text(void *user, Str text)
{
    struct buf *b = user;
    buf_fmt(b, "<%.*s>", STR_ARG(text));
}

static void note_control(void *user, int opcode, Str payload)
{
    struct buf *b = user;
    buf_fmt(b, "[%d %.*s]", opcode, STR_ARG(payload));
}

/* A stream cut at every place gives the same messages, and an idle reader holds nothing. */
static void test_reader_cuts(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    char long_text[300];
    memset(long_text, 'l', sizeof long_text);
    struct buf all = BUF(1 << 20);
    buf_str(&all, TEXT(a, "one"));
    buf_str(&all, frame(a, 0x01, true, STR("gr\xc3")));
    buf_str(&all, frame(a, 0x89, true, STR("ping")));
    buf_str(&all, frame(a, 0x00, true, STR("\xbc\xc3\x9f")));
    buf_str(&all, frame(a, 0x80, true, STR("e")));
    buf_str(&all, frame(a, 0x81, true, STR("")));
    buf_str(&all, frame(a, 0x81, true, (Str){long_text, sizeof long_text}));
    buf_str(&all, frame(a, 0x8a, true, STR("")));
    Str want = str_fmt(a, "<one>[9 ping]<gr\xc3\xbc\xc3\x9f" "e><><%.*s>[10 ]", (int)sizeof long_text, long_text);
    for (size_t cut = 0; cut < all.n; cut++) {
        struct buf notes = BUF(1 << 20);
        struct ws_reader r = {.masked = true, .text = note_text, .control = note_control, .user = &notes};
        Str first = str_sub(buf_view(&all), 0, cut), rest = str_sub(buf_view(&all), cut, all.n);
        assert_int_equal(ws_reader_feed(&r, &first), 0);
        assert_int_equal(first.n, 0);
        if (cut % 3 == 0) { /* and one byte at a time */
            for (size_t i = 0; i < rest.n; i++) {
                Str one = str_sub(rest, i, 1);
                assert_int_equal(ws_reader_feed(&r, &one), 0);
            }
        } else {
            assert_int_equal(ws_reader_feed(&r, &rest), 0);
        }
        assert_true(str_eq(buf_view(&notes), want));
        assert_null(r.frames);
        assert_null(r.message.p);
        ws_reader_clear(&r);
        buf_free(&notes);
    }
    buf_free(&all);
}

static void test_writer(void **state)
{
    UNUSED(state);
    static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 300000};
    struct ws_writer *plain = ws_writer_create(false), *masked = ws_writer_create(true);
    char *text = malloc(300000), *to = malloc(300000 + WS_HEAD_MAX);
    memset(text, 'x', 300000);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int m = 0; m < 2; m++) {
            struct buf notes = BUF(1 << 20);
            struct ws_reader r = {.masked = m, .text = note_text, .control = note_control, .user = &notes};
            size_t n = ws_frame(m ? masked : plain, WS_TEXT, (Str){text, sizes[i]}, to);
            assert_true(n <= sizes[i] + WS_HEAD_MAX);
            Str in = {to, n};
            assert_int_equal(ws_reader_feed(&r, &in), 0);
            assert_int_equal(notes.n, sizes[i] + 2);
            struct ws_reader wrong = {.masked = !m, .text = note_text, .control = note_control, .user = &notes};
            in = (Str){to, n};
            assert_int_equal(ws_reader_feed(&wrong, &in), 1002);
            ws_reader_clear(&r);
            ws_reader_clear(&wrong);
            buf_free(&notes);
        }
    }
    ws_writer_free(plain);
    ws_writer_free(masked);
    free(text);
    free(to);
}

static void test_close_payload(void **state)
{
    UNUSED(state);
    char to[WS_CONTROL_MAX], reason[200];
    memset(reason, 'r', sizeof reason);
    memcpy(reason + 122, "\xe2\x82\xac", 3); /* the cut must not split it */
    assert_int_equal(ws_close_payload(1000, (Str){reason, sizeof reason}, to).n, 124);
    assert_int_equal(ws_close_payload(1006, STR("x"), to).n, 0);
    int code;
    Str text;
    assert_true(ws_close_parse(STR("\x03\xe8" "bye"), &code, &text));
    assert_int_equal(code, 1000);
    assert_true(str_eqz(text, "bye"));
    assert_true(ws_close_parse(STR(""), &code, &text));
    assert_int_equal(code, 1005);
    assert_false(ws_close_parse(STR("\x03"), &code, &text));
    assert_int_equal(code, 1002);
    assert_false(ws_close_parse(STR("\x03\xed"), &code, &text)); /* 1005 is never sent */
    assert_int_equal(code, 1002);
    assert_false(ws_close_parse(STR("\x03\xe8\xff"), &code, &text));
    assert_int_equal(code, 1007);
    assert_string_equal(ws_accept(STR("dGhlIHNhbXBsZSBub25jZQ==")).s, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* The server's end. */

static void test_echo(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    /* The first message comes in one piece with the handshake. */
    int fd = dial_ws(TEXT(a, "early"));
    assert_heard(hear_frame(a, fd), WS_TEXT, "early");
    say(fd, TEXT(a, "a"));
    assert_heard(hear_frame(a, fd), WS_TEXT, "a");
    say(fd, frame(a, 0x01, true, STR("ab")));
    say(fd, frame(a, 0x89, true, STR("p")));
    say(fd, frame(a, 0x00, true, STR("cd")));
    assert_heard(hear_frame(a, fd), WS_PONG, "p");
    say(fd, frame(a, 0x80, true, STR("ef")));
    assert_heard(hear_frame(a, fd), WS_TEXT, "abcdef");
    Str slow = TEXT(a, "slowly");
    for (size_t i = 0; i < slow.n; i++) {
        say(fd, str_sub(slow, i, 1));
        usleep(1000);
    }
    assert_heard(hear_frame(a, fd), WS_TEXT, "slowly");
    char *big = arena_alloc(a, LIMIT_FRAME + 1);
    memset(big, 'b', LIMIT_FRAME);
    big[LIMIT_FRAME] = 0;
    say(fd, frame(a, 0x81, true, (Str){big, LIMIT_FRAME}));
    assert_heard(hear_frame(a, fd), WS_TEXT, big);
    assert_int_equal(http_server_connections(server), 1);
    assert_int_equal(http_server_pending(server), 0);
    say(fd, frame(a, 0x88, true, STR("\x0f\xa1" "bye")));
    struct heard h = hear_frame(a, fd);
    assert_int_equal(h.opcode, WS_CLOSE);
    assert_int_equal(h.code, 4001);
    assert_int_equal(hear_frame(a, fd).opcode, -1);
    WAIT_FOR(ours.closed);
    assert_int_equal(ours.code, 4001);
    assert_string_equal(ours.reason, "bye");
    WAIT_FOR(http_server_connections(server) == 0);
    close(fd);
}

static void test_broken_rules(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    char *big = arena_alloc(a, LIMIT_FRAME);
    memset(big, 'b', LIMIT_FRAME);
    Str half = {big, LIMIT_FRAME / 2 + 1};
    const struct {
        const char *name;
        Str bytes;
        int code;
    } cases[] = {
        {"no mask", frame(a, 0x81, false, STR("x")), 1002},
        {"reserved bit", frame(a, 0xc1, true, STR("x")), 1002},
        {"unknown opcode", frame(a, 0x83, true, STR("x")), 1002},
        {"unknown control", frame(a, 0x8b, true, STR("x")), 1002},
        {"binary", frame(a, 0x82, true, STR("x")), 1003},
        {"continues nothing", frame(a, 0x80, true, STR("x")), 1002},
        {"starts twice", join(a, frame(a, 0x01, true, STR("x")), TEXT(a, "y")), 1002},
        {"long ping", frame(a, 0x89, true, str_sub(half, 0, 126)), 1002},
        {"ping in pieces", frame(a, 0x09, true, STR("x")), 1002},
        {"not UTF-8", frame(a, 0x81, true, STR("\xff")), 1007},
        {"cut UTF-8", frame(a, 0x81, true, STR("\xc3")), 1007},
        {"close of one byte", frame(a, 0x88, true, STR("x")), 1002},
        {"close with 1006", frame(a, 0x88, true, STR("\x03\xee")), 1002},
        {"close not UTF-8", frame(a, 0x88, true, STR("\x03\xe8\xff")), 1007},
        {"too long", (Str){"\x81\xff\x00\x00\x00\x00\x00\x40\x00\x01" "mmmmdata", 18}, 1009},
        {"absurdly long", (Str){"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" "mmmmdata", 18}, 1009},
        {"negative length", (Str){"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" "mmmmdata", 18}, 1002},
        {"length not shortest", (Str){"\x81\xfe\x00\x01" "mmmmx", 9}, 1002},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int closed = ours.closed;
        int fd = dial_ws(STR(""));
        Dur start = time_monotonic();
        say(fd, cases[i].bytes);
        struct heard h = hear_frame(a, fd);
        if (h.opcode != WS_CLOSE || h.code != cases[i].code)
            fail_msg("%s: opcode %d, code %d", cases[i].name, h.opcode, h.code);
        assert_int_equal(hear_frame(a, fd).opcode, -1); /* the server hangs up first */
        close(fd);
        WAIT_FOR(ours.closed == closed + 1);
        if (ours.code != cases[i].code || time_monotonic() - start > SEC)
            fail_msg("%s: closed with %d after %d ms", cases[i].name, ours.code,
                     (int)((time_monotonic() - start) / MSEC));
    }
    assert_int_equal(ours.messages, 0);
    /* Too long in fragments, each of which is not. */
    int fd = dial_ws(STR(""));
    say(fd, frame(a, 0x01, true, half));
    say(fd, frame(a, 0x80, true, half));
    assert_int_equal(hear_frame(a, fd).code, 1009);
    close(fd);
}

static void test_refused(void **state)
{
    UNUSED(state);
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"GET /ws HTTP/1.1\r\nHost: x\r\n", 426},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n", 426},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
         426},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
         400},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
         400},
        {"POST /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
         400},
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial();
        say(fd, str_fmt(a, "%s\r\n", cases[i].request));
        Str head = hear_head(a, fd);
        int64_t status = 0;
        assert_true(str_int(str_sub(head, 9, 3), &status));
        assert_int_equal(status, cases[i].status);
        if (status == 426)
            assert_true(str_find(head, STR("Sec-WebSocket-Version: 13\r\n")) > 0);
        close(fd);
    }
    WAIT_FOR(ours.closed == (int)COUNT_OF(cases));
    assert_int_equal(ours.opened, 0);
    assert_int_equal(ours.code, 1006);
}

/* The connection goes without a close frame. */
static void test_client_goes(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    for (int i = 0; i < 20; i++) {
        int fd = dial_ws(TEXT(a, "x"));
        if (i % 2) {
            struct linger l = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        }
        if (i % 3)
            WAIT_FOR(ours.opened == i + 1);
        close(fd);
        WAIT_FOR(ours.closed == i + 1);
        assert_int_equal(ours.code, 1006);
    }
}

static void test_server_closes(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial_ws(STR(""));
    say(fd, TEXT(a, "close 4003"));
    struct heard h = hear_frame(a, fd);
    assert_heard(h, WS_CLOSE, "as you wish");
    assert_int_equal(h.code, 4003);
    say(fd, TEXT(a, "not heard"));
    say(fd, frame(a, 0x88, true, STR("\x0f\xa3")));
    assert_int_equal(hear_frame(a, fd).opcode, -1);
    WAIT_FOR(ours.closed == 1);
    assert_int_equal(ours.code, 4003);
    assert_int_equal(ours.messages, 1);
    close(fd);
    /* A peer that does not answer the close frame is left after 2 s. */
    fd = dial_ws(STR(""));
    say(fd, TEXT(a, "close 4004"));
    Dur start = time_monotonic();
    WAIT_FOR(ours.closed == 2);
    assert_true(time_monotonic() - start > SEC && time_monotonic() - start < 5 * SEC);
    assert_int_equal(ours.code, 4004);
    close(fd);
}

static void pong(void *arg)
{
    ws_pong(ours.w, str_of(arg));
}

/* The handler takes pings over: each comes after the messages before it, and its pong when the handler says so. */
static void test_pings_in_order(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    ours.echo = false;
    take_pings = true;
    int fd = dial_ws(STR(""));
    say(fd, join(a, join(a, TEXT(a, "a"), frame(a, 0x89, true, STR("one"))),
                 join(a, TEXT(a, "b"), frame(a, 0x89, true, STR("two")))));
    WAIT_FOR(ours.pings == 2);
    assert_int_equal(ours.ping_after[0], 1);
    assert_int_equal(ours.ping_after[1], 2);
    assert_string_equal(ours.ping_payload[0], "one");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 50), 0); /* nothing yet */
    static char one[] = "one", two[] = "two";
    loop_post(loop, pong, one);
    assert_heard(hear_frame(a, fd), WS_PONG, "one");
    loop_post(loop, pong, two);
    assert_heard(hear_frame(a, fd), WS_PONG, "two");
    close(fd);
}

/* A reader that does not read: the queue ends at its cap, and what was taken comes when it reads again. */
static void test_slow_reader(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial_ws(STR(""));
    say(fd, TEXT(a, "flood 1000000"));
    WAIT_FOR(ours.messages == 1);
    assert_true(ours.sent >= 15 && ours.sent < 60); /* 16 MB, and what the kernel holds */
    for (size_t i = 0; i < ours.sent; i++) {
        struct heard h = hear_frame(a, fd);
        assert_int_equal(h.opcode, WS_TEXT);
        assert_int_equal(h.payload.n, 1000000);
    }
    say(fd, TEXT(a, "flood 10000"));
    WAIT_FOR(ours.messages == 2);
    assert_true(ours.sent >= LIMIT_SUBSCRIBER_QUEUE && ours.sent < 5000);
    for (size_t i = 0; i < ours.sent; i++)
        assert_int_equal(hear_frame(a, fd).payload.n, 10000);
    say(fd, TEXT(a, "fine"));
    assert_heard(hear_frame(a, fd), WS_TEXT, "fine");
    /* It sends pings without reading the pongs: the server stops reading before it holds too many. */
    Str pings = STR("");
    AUTO(buf_free) struct buf many = BUF(1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_str(&many, frame(a, 0x89, true, STR("0123456789012345678901234567890123456789")));
    pings = buf_view(&many);
    size_t sent = 0;
    for (struct pollfd p = {.fd = fd, .events = POLLOUT}; sent < (size_t)256 << 20 && poll(&p, 1, 300) == 1;) {
        ssize_t n = send(fd, pings.p + sent % pings.n, pings.n - sent % pings.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    assert_true(sent < (size_t)256 << 20);
    /* And goes on when they are read. */
    for (size_t i = 0; i < sent / (many.n / 5000); i++)
        assert_heard(hear_frame(a, fd), WS_PONG, "0123456789012345678901234567890123456789");
    close(fd);
}

static void unpause(void *arg)
{
    UNUSED(arg);
    ws_pause(ours.w, false);
}

/* Nothing is handed over while paused, nothing is lost, and the sender has to wait. */
static void test_pause(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    ours.echo = false;
    for (int tail = 1; tail < 20000; tail = tail * 5 + 1) {
        int fd = dial_ws(STR(""));
        int before = ours.messages;
        AUTO(buf_free) struct buf b = BUF(4 << 20);
        buf_str(&b, TEXT(a, "pause"));
        for (int i = 0; i < tail; i++)
            buf_str(&b, frame(a, 0x81, true, str_fmt(a, "message %d of %d", i, tail)));
        say(fd, buf_view(&b));
        WAIT_FOR(ours.messages == before + 1);
        usleep(20000);
        assert_int_equal(ours.messages, before + 1);
        loop_post(loop, unpause, NULL);
        WAIT_FOR(ours.messages == before + 1 + tail);
        assert_string_equal(ours.last, str_fmt(a, "message %d of %d", tail - 1, tail).p);
        int closed = ours.closed;
        close(fd);
        WAIT_FOR(ours.closed == closed + 1);
    }
    int fd = dial_ws(STR(""));
    say(fd, TEXT(a, "pause"));
    char *big = arena_alloc(a, 1 << 20);
    memset(big, 'b', 1 << 20);
    Str one = frame(a, 0x81, true, (Str){big, 1 << 20});
    size_t sent = 0;
    for (struct pollfd p = {.fd = fd, .events = POLLOUT}; sent < (size_t)256 << 20 && poll(&p, 1, 300) == 1;) {
        ssize_t n = send(fd, one.p + sent % one.n, one.n - sent % one.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    assert_true(sent < (size_t)64 << 20);
    size_t bytes = ours.bytes;
    loop_post(loop, unpause, NULL);
    WAIT_FOR(ours.bytes - bytes == (sent / one.n) << 20);
    close(fd);
}

static void quick_keepalive(void *arg)
{
    UNUSED(arg);
    ws_keepalive(ours.w, 50 * MSEC, 50 * MSEC);
}

static void test_keepalive(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial_ws(STR(""));
    WAIT_FOR(ours.opened == 1);
    loop_post(loop, quick_keepalive, NULL);
    for (int i = 0; i < 4; i++) {
        assert_heard(hear_frame(a, fd), WS_PING, "");
        say(fd, frame(a, 0x8a, true, STR("")));
    }
    assert_heard(hear_frame(a, fd), WS_PING, "");
    struct heard h = hear_frame(a, fd); /* not answered */
    assert_int_equal(h.opcode, WS_CLOSE);
    assert_int_equal(h.code, 1011);
    close(fd);
    WAIT_FOR(ours.closed == 1);
    assert_int_equal(ours.code, 1011);
}

static void test_many_sockets(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd[200];
    for (size_t i = 0; i < COUNT_OF(fd); i++)
        fd[i] = dial_ws(STR(""));
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(fd); i++)
            say(fd[i], frame(a, 0x81, true, str_fmt(a, "%d-%zu", round, i)));
        for (size_t i = 0; i < COUNT_OF(fd); i++)
            assert_heard(hear_frame(a, fd[i]), WS_TEXT, str_fmt(a, "%d-%zu", round, i).p);
    }
    assert_int_equal(http_server_connections(server), COUNT_OF(fd));
    /* The server stops with all of them open; half of them answer its close frame. */
    for (size_t i = 0; i < COUNT_OF(fd); i++)
        if (i % 2)
            say(fd[i], frame(a, 0x88, true, STR("\x03\xf4")));
    http_server_stop(server, SEC);
    assert_int_equal(ours.closed, COUNT_OF(fd));
    for (size_t i = 0; i < COUNT_OF(fd); i++) {
        struct heard h = hear_frame(a, fd[i]);
        assert_int_equal(h.opcode, WS_CLOSE);
        assert_int_equal(h.code, 1012);
        assert_int_equal(hear_frame(a, fd[i]).opcode, -1);
        close(fd[i]);
    }
    assert_int_equal(setup(state), 0); /* for teardown */
}

/* Both ends. */

static void do_connect(const char *path, const char *scheme, const struct ws_handler *h)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err = {0};
    Str url = str_fmt(a, "%s://127.0.0.1:%d%s", scheme, http_server_port(server), path);
    if (ws_connect(client_loop, url, "prefect", STR("Authorization: Bearer x\r\n"), h, &theirs, &err) < 0)
        fail_msg("%s", err.text);
}

static void send_hello(void *arg)
{
    assert_int_equal(ws_send(theirs.w, str_of(arg)), 0);
}

static void close_theirs(void *arg)
{
    UNUSED(arg);
    ws_close(theirs.w, 4005, "had enough");
}

static void both_ends(const char *scheme)
{
    static char hello[] = "hello", flood[] = "flood 70000", fin[] = "close 4006";
    do_connect("/ws", scheme, &handler);
    WAIT_FOR(theirs.opened == 1);
    loop_post(client_loop, send_hello, hello);
    WAIT_FOR(theirs.messages == 1);
    assert_string_equal(theirs.last, "hello");
    loop_post(client_loop, send_hello, flood);
    WAIT_FOR(ours.messages == 2);
    WAIT_FOR(theirs.messages == (int)ours.sent + 1);
    assert_int_equal(theirs.bytes, 5 + ours.sent * 70000);
    loop_post(loop, quick_keepalive, NULL);
    WAIT_FOR(theirs.pings >= 3);
    assert_int_equal(ours.closed, 0);
    loop_post(client_loop, close_theirs, NULL);
    WAIT_FOR(theirs.closed && ours.closed);
    assert_int_equal(theirs.code, 4005);
    assert_int_equal(ours.code, 4005);
    assert_string_equal(ours.reason, "had enough");
    do_connect("/ws?x=1#fragment", scheme, &handler);
    WAIT_FOR(theirs.opened == 2);
    loop_post(client_loop, send_hello, fin);
    WAIT_FOR(theirs.closed == 2 && ours.closed == 2);
    assert_int_equal(theirs.code, 4006);
    assert_string_equal(theirs.reason, "as you wish");
    do_connect("/plain", scheme, &handler);
    WAIT_FOR(theirs.closed == 3);
    assert_int_equal(theirs.code, 1006);
    assert_string_equal(theirs.reason, "HTTP 404");
    assert_int_equal(theirs.opened, 2);
    /* The server stops: the client hears why. */
    do_connect("/ws", scheme, &handler);
    WAIT_FOR(theirs.opened == 3 && ours.opened == 3);
    http_server_stop(server, SEC);
    WAIT_FOR(theirs.closed == 4);
    assert_int_equal(theirs.code, 1012);
    assert_int_equal(ours.closed, 3);
    struct err err;
    server = http_server_start(&(struct http_options){.host = STR("127.0.0.1"), .handler = on_request, .loop = loop},
                               &err);
    assert_non_null(server);
}

static void test_both_ends(void **state)
{
    UNUSED(state);
    both_ends("ws");
    /* The loop ends with a socket open. */
    do_connect("/ws", "http", &handler);
    WAIT_FOR(theirs.opened == 4);
    loop_stop(client_loop);
    assert_int_equal(theirs.closed, 5);
    assert_int_equal(theirs.code, 1001);
    struct err err;
    client_loop = loop_start("ws-client", &err);
}

static void test_cannot_connect(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"", "ftp://x/", "ws://", "ws:///path", "ws://host:0/", "ws://host:99999/",
                                      "ws://[::1/", "ws://h/a b", "ws://h/\r\nX: y"};
    struct err err = {0};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (ws_connect(client_loop, str_of(bad[i]), NULL, STR(""), &handler, &theirs, &err) != -1)
            fail_msg("'%s' was taken", bad[i]);
    static const char *const bad_headers[] = {"X: y", "X\r\n", "X: y\r\n\r\n", "X: y\nZ: a\r\n", ": y\r\n"};
    for (size_t i = 0; i < COUNT_OF(bad_headers); i++)
        if (ws_connect(client_loop, STR("ws://127.0.0.1/"), NULL, str_of(bad_headers[i]), &handler, &theirs, &err) != -1)
            fail_msg("'%s' was taken", bad_headers[i]);
    assert_int_equal(err.code, ERR_INVALID);
    /* A port where nobody listens: the server's, once it is gone. */
    AUTO(arena_freep) struct arena *a = arena_create();
    int port = http_server_port(server);
    http_server_stop(server, 0);
    assert_int_equal(
        ws_connect(client_loop, str_fmt(a, "ws://localhost:%d/", port), NULL, STR(""), &handler, &theirs, &err), 0);
    WAIT_FOR(theirs.closed == 1);
    assert_int_equal(theirs.code, 1006);
    assert_non_null(strstr(theirs.reason, "cannot connect to localhost port"));
    assert_int_equal(
        ws_connect(client_loop, STR("ws://no-such-host.invalid/"), NULL, STR(""), &handler, &theirs, &err), 0);
    WAIT_FOR(theirs.closed == 2);
    assert_non_null(strstr(theirs.reason, "cannot resolve no-such-host.invalid"));
    /* Servers that answer something else. */
    static const char *const answers[] = {
        "", "HTTP/1.1 101 Fine\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 500 Oops\r\n\r\n",
        "HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof at;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        Str url = str_fmt(a, "ws://127.0.0.1:%d/", ntohs(at.sin_port));
        assert_int_equal(ws_connect(client_loop, url, NULL, STR(""), &handler, &theirs, &err), 0);
        int fd = accept(listener, NULL, NULL);
        (void)hear_head(a, fd);
        say(fd, str_of(answers[i]));
        if (i == 0)
            close(fd);
        WAIT_FOR(theirs.closed == 3 + (int)i);
        assert_int_equal(theirs.code, 1006);
        if (i)
            close(fd);
    }
    assert_int_equal(theirs.opened, 0);
    /* The loop ends while the server has not answered. */
    assert_int_equal(ws_connect(client_loop, str_fmt(a, "ws://127.0.0.1:%d/", ntohs(at.sin_port)), NULL, STR(""),
                                &handler, &theirs, &err),
                     0);
    int fd = accept(listener, NULL, NULL);
    (void)hear_head(a, fd);
    int closed = theirs.closed;
    loop_stop(client_loop);
    assert_int_equal(theirs.closed, closed + 1);
    close(fd);
    close(listener);
    loop_stop(loop);
    assert_int_equal(setup(state), 0);
}

static Str export_pem(struct arena *a, gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    gnutls_datum_t d;
    if (crt)
        assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &d), 0);
    else
        assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &d), 0);
    Str s = str_dup(a, (Str){(const char *)d.data, d.size});
    gnutls_free(d.data);
    return s;
}

static void test_tls(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    static const unsigned char address[4] = {127, 0, 0, 1};
    gnutls_x509_privkey_init(&key);
    gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\x01", 1);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 1000);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 100000);
    gnutls_x509_crt_set_dn(crt, "CN=test", NULL);
    gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, sizeof address, GNUTLS_FSAN_SET);
    gnutls_x509_crt_set_key(crt, key);
    gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    start_server(export_pem(a, crt, NULL), export_pem(a, NULL, key));
    /* Not trusted yet. */
    do_connect("/ws", "wss", &handler);
    WAIT_FOR(theirs.closed == 1);
    assert_int_equal(theirs.code, 1006);
    assert_true(str_starts(str_of(theirs.reason), STR("TLS: ")));
    theirs.closed = 0;
    struct err err;
    assert_int_equal(ws_trust(STR("rubbish"), false, &err), -1);
    assert_int_equal(ws_trust(export_pem(a, crt, NULL), false, &err), 0);
    both_ends("wss");
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_cuts),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_close_payload),
        cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pings_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keepalive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_sockets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_connect, setup, teardown),
        cmocka_unit_test_teardown(test_tls, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
