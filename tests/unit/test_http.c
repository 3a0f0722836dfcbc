#include "tests/unit/test.h"

#include "base/limits.h"
#include "base/time.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The server's side: paths say how the handler answers. */

static struct http_server *server;
static atomic_int handled;

/* Exchanges that a handler keeps, for other threads to answer. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct exchange *v[4096];
    size_t n;
    bool end;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void keep(struct exchange *x)
{
    pthread_mutex_lock(&kept.lock);
    assert_true(kept.n < COUNT_OF(kept.v));
    kept.v[kept.n++] = x;
    pthread_cond_broadcast(&kept.changed);
    pthread_mutex_unlock(&kept.lock);
}

static struct exchange *kept_take(void)
{
    pthread_mutex_lock(&kept.lock);
    while (!kept.n && !kept.end)
        pthread_cond_wait(&kept.changed, &kept.lock);
    struct exchange *x = kept.n ? kept.v[--kept.n] : NULL;
    pthread_mutex_unlock(&kept.lock);
    return x;
}

/* Method, path, some header, the query's `q`, and the body, each on a line. */
static void echo(struct exchange *x, int status)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    Str header = exchange_header(x, "x-test"), q = exchange_query(x, "q");
    buf_fmt(&b, "%.*s %.*s|%.*s|%.*s|", STR_ARG(exchange_method(x)), STR_ARG(exchange_path(x)), STR_ARG(header),
            STR_ARG(q));
    buf_str(&b, exchange_body(x));
    exchange_add_header(x, "X-Peer", exchange_peer(x));
    exchange_reply(x, status, "text/plain", &b);
}

static void *answerer(void *arg)
{
    UNUSED(arg);
    for (struct exchange *x; (x = kept_take());)
        echo(x, 200);
    return NULL;
}

static void handler(struct exchange *x, void *user)
{
    UNUSED(user);
    handled++;
    Str path = exchange_path(x);
    if (str_starts(path, STR("/later")) || str_starts(path, STR("/kept")))
        keep(x);
    else if (str_eq(path, STR("/nothing")))
        exchange_reply(x, 204, NULL, NULL);
    else if (str_eq(path, STR("/length"))) {
        AUTO(buf_free) struct buf b = BUF(100);
        buf_fmt(&b, "%zu", exchange_body(x).n);
        exchange_reply(x, 200, "text/plain", &b);
    } else
        echo(x, 201);
}

/* The client's side: plain sockets. */

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

struct answer {
    int status; /* 0: the connection was closed without one */
    Str head, body;
};

/* Reads one reply. `left` keeps what came after it. */
static struct answer hear_more(struct arena *a, int fd, Str *left, bool no_body)
{
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 20);
    buf_str(&b, *left);
    *left = STR_NONE;
    ptrdiff_t end = -1;
    size_t length = 0;
    for (;;) {
        Str got = buf_view(&b);
        if (end < 0 && (end = str_find(got, STR("\r\n\r\n"))) >= 0) {
            end += 4;
            for (Str rest = str_sub(got, 0, (size_t)end), line; str_cut(&rest, '\n', &line);) {
                Str name = STR_NONE;
                int64_t n;
                if (str_cut(&line, ':', &name) && str_ieq(name, STR("content-length")) &&
                    str_int(str_trim(line), &n) && !no_body)
                    length = (size_t)n;
            }
        }
        if (end >= 0 && got.n >= (size_t)end + length)
            break;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 10000) <= 0)
            fail_msg("no answer within 10 s");
        char *room = buf_room(&b, 65536);
        ssize_t n = recv(fd, room, 65536, 0);
        if (n <= 0)
            return (struct answer){0};
        b.n += (size_t)n;
    }
    Str all = str_dup(a, buf_view(&b));
    int64_t status = 0;
    assert_true(str_int(str_sub(all, 9, 3), &status));
    *left = str_sub(all, (size_t)end + length, all.n);
    return (struct answer){(int)status, str_sub(all, 0, (size_t)end), str_sub(all, (size_t)end, length)};
}

static struct answer hear(struct arena *a, int fd)
{
    Str left = STR_NONE;
    struct answer r = hear_more(a, fd, &left, false);
    assert_int_equal(left.n, 0);
    return r;
}

static struct answer ask(struct arena *a, int fd, const char *method, const char *path, Str body)
{
    say(fd, str_fmt(a, "%s %s HTTP/1.1\r\nHost: x\r\nX-Test: yes\r\nContent-Length: %zu\r\n\r\n", method, path, body.n));
    say(fd, body);
    return hear(a, fd);
}

static void *settle(void *arg)
{
    UNUSED(arg);
    for (int i = 0; i < 5000 && http_server_connections(server); i++)
        usleep(1000);
    assert_int_equal(http_server_connections(server), 0);
    return NULL;
}

static int setup(void **state)
{
    UNUSED(state);
    struct err err = {0};
    server = http_server_start(
        &(struct http_options){.host = STR("127.0.0.1"), .handler = handler, .threads = 2, .idle_timeout = 2 * SEC},
        &err);
    if (!server)
        print_error("%s\n", err.text);
    handled = 0;
    kept.n = 0;
    kept.end = false;
    return server ? 0 : -1;
}

static int teardown(void **state)
{
    UNUSED(state);
    if (server)
        http_server_stop(server, SEC);
    server = NULL;
    return 0;
}

static void test_replies_now(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial();
    struct answer r = ask(a, fd, "POST", "/a%20b/c?x=1&q=one+two%21&q=3", STR("{\"a\": 1}"));
    assert_int_equal(r.status, 201);
    assert_true(str_eqz(r.body, "POST /a%20b/c|yes|one two!|{\"a\": 1}"));
    assert_true(str_find(r.head, STR("Content-Type: text/plain\r\n")) > 0);
    assert_true(str_find(r.head, STR("X-Peer: 127.0.0.1\r\n")) > 0);
    assert_true(str_find(r.head, STR("Date: ")) > 0);
    r = ask(a, fd, "OPTIONS", "/?q", STR(""));
    assert_true(str_eqz(r.body, "OPTIONS /|yes||"));
    r = ask(a, fd, "DELETE", "/nothing", STR(""));
    assert_int_equal(r.status, 204);
    assert_true(str_find(r.head, STR("Content-Type")) < 0);
    Str left = STR_NONE;
    say(fd, STR("HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n"));
    r = hear_more(a, fd, &left, true);
    assert_int_equal(r.status, 201);
    assert_int_equal(left.n, 0);
    assert_true(str_find(r.head, STR("Content-Length: 13\r\n")) > 0);
    assert_int_equal(http_server_connections(server), 1);
    assert_int_equal(http_server_pending(server), 0);
    close(fd);
    settle(NULL);
}

static void test_pipelined(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    pthread_t t;
    pthread_create(&t, NULL, answerer, NULL);
    int fd = dial();
    say(fd, STR("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /later2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"));
    Str left = STR_NONE;
    assert_true(str_eqz(hear_more(a, fd, &left, false).body, "GET /1|||"));
    assert_true(str_eqz(hear_more(a, fd, &left, false).body, "POST /later2|||abc"));
    assert_true(str_eqz(hear_more(a, fd, &left, false).body, "GET /3|||"));
    close(fd);
    pthread_mutex_lock(&kept.lock);
    kept.end = true;
    pthread_cond_broadcast(&kept.changed);
    pthread_mutex_unlock(&kept.lock);
    pthread_join(t, NULL);
}

static void test_chunked_and_slow(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial();
    say(fd, STR("POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    Str chunks = STR("3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n");
    for (size_t i = 0; i < chunks.n; i++) {
        say(fd, str_sub(chunks, i, 1));
        usleep(2000);
    }
    struct answer r = hear(a, fd);
    assert_int_equal(r.status, 201);
    assert_true(str_eqz(r.body, "POST /c|||abcdefg"));
    /* The client waits to be told to go on. */
    say(fd, STR("POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    r = hear(a, fd);
    assert_int_equal(r.status, 100);
    say(fd, STR("ok"));
    r = hear(a, fd);
    assert_true(str_eqz(r.body, "POST /e|||ok"));
    close(fd);
}

/* Bytes one at a time, but never the end: the connection is closed once the idle timeout is over. */
static void test_too_slow(void **state)
{
    UNUSED(state);
    int fd = dial();
    say(fd, STR("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"));
    Dur start = time_monotonic();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int i = 0;
    while (i < 90 && poll(&p, 1, 100) == 0) {
        say(fd, STR("x"));
        i++;
    }
    char c;
    assert_true(recv(fd, &c, 1, 0) <= 0);
    assert_true(time_monotonic() - start < 5 * SEC);
    assert_int_equal(handled, 0);
    close(fd);
    settle(NULL);
}

static void test_too_large(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    char *big = calloc(1, LIMIT_BODY + 2);
    assert_non_null(big);
    memset(big, 'x', LIMIT_BODY + 1);
    int fd = dial();
    struct answer r = ask(a, fd, "POST", "/length", (Str){big, LIMIT_BODY});
    assert_int_equal(r.status, 200);
    assert_true(str_eqz(r.body, "16777216"));
    r = ask(a, fd, "POST", "/length", (Str){big, LIMIT_BODY + 1});
    assert_int_equal(r.status, 413);
    assert_true(str_starts(r.body, STR("{\"exception_message\":")));
    /* Without a length, and on the same connection. */
    say(fd, STR("POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 17; i++) {
        say(fd, STR("100000\r\n"));
        say(fd, (Str){big, 1 << 20});
        say(fd, STR("\r\n"));
    }
    say(fd, STR("0\r\n\r\n"));
    r = hear(a, fd);
    assert_int_equal(r.status, 413);
    close(fd);
    /* Told beforehand: refused before it is sent. */
    fd = dial();
    say(fd, STR("POST /length HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 16777217\r\n\r\n"));
    r = hear(a, fd);
    assert_int_equal(r.status, 413);
    close(fd);
    fd = dial();
    say(fd, STR("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"));
    r = hear(a, fd);
    assert_int_equal(r.status, 413);
    close(fd);
    assert_int_equal(handled, 1);
    free(big);
}

static void test_malformed(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},                                              /* no Host */
        {"GET / HTTP/1.0\r\n\r\n", 201},
        {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nX-A : y\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999999999\r\n\r\n", 413},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"\x16\x03\x01\x02\r\n\r\n", 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        int fd = dial();
        say(fd, str_of(cases[i].text));
        Str left = STR_NONE;
        struct answer r = hear_more(a, fd, &left, false);
        if (r.status != cases[i].status)
            fail_msg("case %zu: %d, not %d: %.*s", i, r.status, cases[i].status, STR_ARG(r.body));
        close(fd);
    }
    AUTO(arena_freep) struct arena *a = arena_create();
    char *big = arena_alloc(a, LIMIT_HEADERS + 1000);
    memset(big, 'h', LIMIT_HEADERS + 1000);
    int fd = dial();
    say(fd, STR("GET / HTTP/1.1\r\nHost: x\r\nX-Big: "));
    say(fd, (Str){big, LIMIT_HEADERS + 1000});
    say(fd, STR("\r\n\r\n"));
    struct answer r = hear(a, fd);
    assert_int_equal(r.status, 431);
    close(fd);
    assert_int_equal(handled, 1);
    settle(NULL);
}

/* 200 connections that stay open, answered by two other threads, several times over. */
static void test_many_connections(void **state)
{
    UNUSED(state);
    pthread_t t[2];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        pthread_create(&t[i], NULL, answerer, NULL);
    int fds[200];
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        fds[i] = dial();
    for (int round = 0; round < 5; round++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        for (size_t i = 0; i < COUNT_OF(fds); i++)
            say(fds[i], str_fmt(a, "POST /%s%zu HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
                                i % 3 ? "later" : "now", i));
        for (size_t i = 0; i < COUNT_OF(fds); i++) {
            struct answer r = hear(a, fds[i]);
            Str want = str_fmt(a, "POST /%s%zu|||body", i % 3 ? "later" : "now", i);
            assert_int_equal(r.status, i % 3 ? 200 : 201);
            assert_true(str_eq(r.body, want));
        }
    }
    assert_int_equal(http_server_connections(server), 200);
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    pthread_mutex_lock(&kept.lock);
    kept.end = true;
    pthread_cond_broadcast(&kept.changed);
    pthread_mutex_unlock(&kept.lock);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        pthread_join(t[i], NULL);
    settle(NULL);
    assert_int_equal(handled, 1000);
}

static void wait_kept(size_t n)
{
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&kept.lock);
        bool there = kept.n == n;
        pthread_mutex_unlock(&kept.lock);
        if (there)
            return;
        usleep(1000);
    }
    fail_msg("%zu exchanges are kept, not %zu", kept.n, n);
}

/* A client goes while its request is being worked on; the answer comes later. */
static void test_client_goes(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < 50; i++) {
        int fd = dial();
        say(fd, STR("POST /kept HTTP/1.1\r\nHost: x\r\nX-Test: v\r\nContent-Length: 1\r\n\r\nx"));
        wait_kept(i + 1);
        if (i % 2) { /* with a reset */
            struct linger l = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        }
        close(fd);
    }
    assert_int_equal(http_server_pending(server), 50);
    int fd = dial();
    assert_int_equal(ask(a, fd, "GET", "/", STR("")).status, 201);
    close(fd);
    while (kept.n)
        echo(kept_take(), 200);
    assert_int_equal(http_server_pending(server), 0);
    settle(NULL);
}

struct stopping {
    Dur grace;
    atomic_bool done;
};

static void *stopper(void *arg)
{
    struct stopping *s = arg;
    http_server_stop(server, s->grace);
    s->done = true;
    return NULL;
}

/* What was accepted before the stop is answered; new connections are refused meanwhile. */
static void test_stop_waits(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd = dial(), idle = dial(), port = http_server_port(server);
    assert_int_equal(ask(a, idle, "GET", "/", STR("")).status, 201);
    say(fd, STR("POST /kept HTTP/1.1\r\nHost: x\r\nX-Test: v\r\nContent-Length: 1\r\n\r\nx"));
    wait_kept(1);
    struct stopping s = {.grace = 20 * SEC};
    pthread_t t;
    pthread_create(&t, NULL, stopper, &s);
    int r = 0, tried = 0;
    do {
        int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        r = connect(late, (struct sockaddr *)&at, sizeof at);
        close(late);
        usleep(1000);
    } while (r == 0 && tried++ < 5000);
    assert_int_equal(r, -1);
    assert_false(s.done);
    echo(kept_take(), 200);
    struct answer last = hear(a, fd);
    assert_int_equal(last.status, 200);
    assert_true(str_find(last.head, STR("Connection: close")) > 0);
    pthread_join(t, NULL);
    server = NULL;
    close(fd);
    close(idle);
}

/* The grace ends before the handler's reply: the client is told 503, and the reply that comes after the server's end
 * harms nothing. */
static void test_stop_does_not_wait_for_ever(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    int fd[20];
    for (size_t i = 0; i < COUNT_OF(fd); i++) {
        fd[i] = dial();
        say(fd[i], STR("POST /kept HTTP/1.1\r\nHost: x\r\nX-Test: v\r\nContent-Length: 1\r\n\r\nx"));
    }
    wait_kept(COUNT_OF(fd));
    Dur start = time_monotonic();
    http_server_stop(server, 50 * MSEC);
    server = NULL;
    assert_true(time_monotonic() - start < SEC);
    for (size_t i = 0; i < COUNT_OF(fd); i++) {
        struct answer r = hear(a, fd[i]);
        assert_int_equal(r.status, 503);
        assert_true(str_starts(r.body, STR("{\"exception_message\":")));
        close(fd[i]);
    }
    while (kept.n)
        echo(kept_take(), 200);
}

/* Replies and the end of the grace at the same time, many times over. */
static void test_stop_races(void **state)
{
    for (int round = 0; round < 40; round++) {
        if (!server)
            assert_int_equal(setup(state), 0);
        AUTO(arena_freep) struct arena *a = arena_create();
        int fd[16];
        for (size_t i = 0; i < COUNT_OF(fd); i++) {
            fd[i] = dial();
            say(fd[i], STR("POST /kept HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"));
        }
        wait_kept(COUNT_OF(fd));
        struct stopping s = {.grace = round % 4 * 50 * USEC};
        pthread_t t;
        pthread_create(&t, NULL, stopper, &s);
        usleep((unsigned)round * 20);
        while (kept.n)
            echo(kept_take(), 200);
        pthread_join(t, NULL);
        server = NULL;
        for (size_t i = 0; i < COUNT_OF(fd); i++) {
            struct answer r = hear(a, fd[i]);
            assert_true(r.status == 200 || r.status == 503);
            close(fd[i]);
        }
    }
}

/* Clients that go on asking until they are hung up on. */
static void *hammer(void *arg)
{
    int fd = (int)(intptr_t)arg;
    Str ask = STR("POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    char got[4096];
    while (send(fd, ask.p, ask.n, MSG_NOSIGNAL) > 0 && recv(fd, got, sizeof got, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void test_stop_under_load(void **state)
{
    for (int round = 0; round < 10; round++) {
        if (!server)
            assert_int_equal(setup(state), 0);
        pthread_t clients[8], answerers[2], t;
        for (size_t i = 0; i < COUNT_OF(answerers); i++)
            pthread_create(&answerers[i], NULL, answerer, NULL);
        for (size_t i = 0; i < COUNT_OF(clients); i++)
            pthread_create(&clients[i], NULL, hammer, (void *)(intptr_t)dial());
        usleep(20000);
        struct stopping s = {.grace = round % 2 * SEC};
        pthread_create(&t, NULL, stopper, &s);
        pthread_join(t, NULL);
        server = NULL;
        for (size_t i = 0; i < COUNT_OF(clients); i++)
            pthread_join(clients[i], NULL);
        pthread_mutex_lock(&kept.lock);
        kept.end = true;
        pthread_cond_broadcast(&kept.changed);
        pthread_mutex_unlock(&kept.lock);
        for (size_t i = 0; i < COUNT_OF(answerers); i++)
            pthread_join(answerers[i], NULL);
        assert_true(handled > 0);
    }
}

static void test_cannot_listen(void **state)
{
    UNUSED(state);
    struct err err = {0};
    struct http_options o = {.host = STR("127.0.0.1"), .port = http_server_port(server), .handler = handler};
    assert_null(http_server_start(&o, &err));
    assert_non_null(strstr(err.text, "cannot listen on 127.0.0.1 port"));
    o = (struct http_options){.host = STR("no such host"), .handler = handler};
    assert_null(http_server_start(&o, &err));
    assert_int_equal(err.code, ERR_INVALID);
    o = (struct http_options){.host = STR("127.0.0.1"), .handler = handler, .tls_cert = STR("x"), .tls_key = STR("y")};
    assert_null(http_server_start(&o, &err));
    assert_non_null(strstr(err.text, "the TLS certificate cannot be used: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replies_now, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunked_and_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_does_not_wait_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_races, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_listen, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
