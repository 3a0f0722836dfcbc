/* The HTTP client against a server of a few lines, in a thread of its own, that behaves and misbehaves by path. */
#include "tests/unit/test.h"

#include "http/client.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct fake {
    int fd, port;
    pthread_t thread;
    atomic_int connections, requests;
    char last[8192]; /* the last request, head and body; read after its answer came */
} fake;

struct answer {
    const char *path, *reply; /* reply: status line and headers without length, blank line, body; NULL: hang up */
    int times;                /* how often it is given before the next row of the path counts; 0: always */
};

/* Rows of a path are used in order. */
static struct answer answers[] = {
    {"/json", "200 OK\r\nContent-Type: application/json\r\n\r\n{\"n\": 1}", 0},
    {"/none", "204 No Content\r\n\r\n", 0},
    {"/page", "200 OK\r\nContent-Type: text/html\r\n\r\n<html>", 0},
    {"/broken", "200 OK\r\nContent-Type: application/json\r\n\r\n{", 0},
    {"/busy", "503 Busy\r\nContent-Type: application/json\r\n\r\n{\"exception_message\":\"Service Unavailable\"}", 2},
    {"/busy", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/later", "429 Wait\r\nRetry-After: 0.15\r\n\r\n", 1},
    {"/later", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/locked", "423 Locked\r\nRetry-After: 2.5\r\nContent-Type: application/json\r\n\r\n{\"detail\":\"Locked\"}", 0},
    {"/drops", NULL, 1},
    {"/drops", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/drops/get", NULL, 1},
    {"/drops/get", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/drops/filter", NULL, 1},
    {"/drops/filter", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/guarded", "403 Forbidden\r\nContent-Type: application/json\r\n\r\n{\"detail\":\"Missing CSRF token.\"}", 1},
    {"/guarded", "200 OK\r\nContent-Type: application/json\r\n\r\n[]", 0},
    {"/csrf-token", "200 OK\r\nContent-Type: application/json\r\n\r\n{\"token\":\"t0k\"}", 0},
    {"/moved", "307 Elsewhere\r\nLocation: /api/json\r\n\r\n", 0},
    {"/gone", "404 Not Found\r\nContent-Type: application/json\r\n\r\n{\"detail\":\"Work pool \\\"x\\\" not found.\"}", 0},
    {"/unauthorized", "401 No\r\nContent-Type: application/json\r\n\r\n{\"exception_message\":\"Unauthorized\"}", 0},
    {"/invalid",
     "422 No\r\nContent-Type: application/json\r\n\r\n"
     "{\"exception_message\":\"Invalid request received.\",\"exception_detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"name\"],"
     "\"msg\":\"Field required\"},{\"loc\":[\"body\",\"xs\",0],\"msg\":\"not an integer\"},{\"loc\":[],\"msg\":\"c\"},{\"loc\":[],\"msg\":\"d\"}]}",
     0},
    {"/bare", "500 Oops\r\n\r\n", 0},
    /* given as they stand, and then the connection ends */
    {"/raw/chunked", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3;x=y\r\n[1,\r\n00a\r\n2,3,4,5,6 \r\n1\r\n]\r\n0\r\nTrailer: x\r\n\r\n", 0},
    {"/raw/until-close", "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[1,2,3,4,5,6]", 0},
    {"/raw/cut", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n[1", 0},
    {"/raw/cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1", 0},
    {"/raw/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n[1]", 0},
    {"/raw/huge-length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", 0},
    {"/raw/no-http", "SSH-2.0-x\r\n\r\n", 0},
    {"/raw/status", "HTTP/1.1 2x0 OK\r\n\r\n", 0},
};
static _Atomic int given[COUNT_OF(answers)];

/* Reads one request into fake.last: its length, or 0 at the end of the connection. */
static size_t read_request(int fd)
{
    char b[sizeof fake.last];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, b + n, sizeof b - 1 - n);
        if (got <= 0)
            return 0;
        n += (size_t)got;
        b[n] = 0;
        char *end = strstr(b, "\r\n\r\n"), *length = strcasestr(b, "content-length: ");
        if (end && n >= (size_t)(end + 4 - b) + (length ? strtoul(length + 16, NULL, 10) : 0))
            break;
    }
    (void)fake.requests; /* after the request before */
    memcpy(fake.last, b, n + 1);
    return n;
}

static const struct answer *answer_for(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        if (!strcmp(answers[i].path, path) && (!answers[i].times || given[i] < answers[i].times)) {
            given[i]++;
            return &answers[i];
        }
    return NULL;
}

/* The thread that put it there counted it afterwards. */
static const char *last_request(void)
{
    (void)fake.requests;
    return fake.last;
}

static void *serve_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    while (read_request(fd)) {
        char method[16], path[200];
        int words = sscanf(fake.last, "%15s /api%199[^ ?]", method, path);
        fake.requests++;
        if (words != 2)
            break;
        const struct answer *found = answer_for(path);
        if (!found || !found->reply)
            break;
        if (!strncmp(path, "/raw/", 5)) {
            size_t half = strlen(found->reply) / 2;
            if (write(fd, found->reply, half) < 0 || usleep(5000) < 0 || write(fd, found->reply + half, strlen(found->reply + half)) < 0)
                break;
            break;
        }
        const char *body = strstr(found->reply, "\r\n\r\n");
        char out[4096];
        int n = snprintf(out, sizeof out, "HTTP/1.1 %.*s\r\nContent-Length: %zu\r\n\r\n%s",
                         (int)(body - found->reply), found->reply, strlen(body + 4), body + 4);
        if (write(fd, out, (size_t)n) != n)
            break;
    }
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    UNUSED(arg);
    for (int fd; (fd = accept(fake.fd, NULL, NULL)) >= 0;) {
        fake.connections++;
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd))
            abort();
        pthread_detach(thread);
    }
    return NULL;
}

static int group_start(void **state)
{
    UNUSED(state);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    fake.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fake.fd, (struct sockaddr *)&at, n) < 0 || listen(fake.fd, 5) < 0 ||
        getsockname(fake.fd, (struct sockaddr *)&at, &n) < 0)
        return -1;
    fake.port = ntohs(at.sin_port);
    return pthread_create(&fake.thread, NULL, serve, NULL);
}

static int group_stop(void **state)
{
    UNUSED(state);
    shutdown(fake.fd, SHUT_RDWR);
    pthread_join(fake.thread, NULL);
    return close(fake.fd);
}

static struct arena *arena;
static struct err err;

static int case_start(void **state)
{
    UNUSED(state);
    memset(given, 0, sizeof given);
    fake.connections = fake.requests = 0;
    arena = arena_create();
    return 0;
}

static int case_stop(void **state)
{
    UNUSED(state);
    arena_free(arena);
    return 0;
}

static struct client *client_for(struct client_options o)
{
    if (!o.base_url.p)
        o.base_url = str_fmt(arena, "http://127.0.0.1:%d/api", fake.port);
    o.backoff = 5 * MSEC;
    o.timeout = 5 * SEC;
    return client_create(&o);
}

static bool last_has(const char *text)
{
    return strcasestr(last_request(), text) != NULL;
}

static void test_keeps_connection(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){
        .auth_string = STR("me:secret"), .headers = STR("X-One: 1\nnonsense\nX-Two: 2\n")});
    const struct json *v;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(client_json(c, arena, "POST", STR("/json"), STR("{\"a\":1}"), &v, &err), 0);
        assert_true(str_eqz(json_text(arena, v), "{\"n\":1}"));
    }
    assert_true(last_has("\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"));
    assert_true(last_has("\r\nContent-Type: application/json\r\n"));
    assert_true(last_has("\r\nX-PREFECT-API-VERSION: 0.8.4\r\n"));
    assert_true(last_has("\r\nX-Two: 2\r\n"));
    assert_true(last_has("\r\n\r\n{\"a\":1}"));
    assert_int_equal(client_json(c, arena, "PATCH", STR("/none"), STR("{}"), &v, &err), 0);
    assert_null(v);
    assert_true(str_starts(str_of(last_request()), STR("PATCH /api/none ")));
    assert_int_equal(client_json(c, arena, "DELETE", STR("/none?x=1"), STR_NONE, &v, &err), 0);
    assert_true(str_starts(str_of(last_request()), STR("DELETE /api/none?x=1 ")));
    assert_false(last_has("Content-Type"));
    assert_int_equal(fake.connections, 1);
    assert_int_equal(client_json(c, arena, "POST", STR("/moved"), STR("{\"b\":2}"), &v, &err), 0);
    assert_true(str_starts(str_of(last_request()), STR("POST /api/json ")));
    assert_true(last_has("\r\n\r\n{\"b\":2}")); /* libcurl's, which follows */
    assert_int_equal(fake.connections, 2);
}

static void test_shapes_of_answers(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){.retries = 0});
    const struct json *v;
    static const char *const whole[] = {"/raw/chunked", "/raw/until-close"};
    for (size_t i = 0; i < COUNT_OF(whole); i++) {
        assert_int_equal(client_json(c, arena, "GET", str_of(whole[i]), STR_NONE, &v, &err), 0);
        assert_true(str_eqz(json_text(arena, v), "[1,2,3,4,5,6]"));
    }
    static const struct {
        const char *path, *said;
    } broken[] = {
        {"/raw/cut", "broke"}, {"/raw/cut-chunk", "broke"}, {"/raw/bad-chunk", "no HTTP/1.1"}, {"/raw/huge-length", "no HTTP/1.1"},
        {"/raw/no-http", "no HTTP/1.1"}, {"/raw/status", "no HTTP/1.1"}, {"/none-such", "broke"},
    };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        assert_int_equal(client_json(c, arena, "GET", str_of(broken[i].path), STR_NONE, &v, &err), -1);
        if (err.code != ERR_IO || !strstr(err.text, broken[i].said))
            fail_msg("%s: %s", broken[i].path, err.text);
    }
    assert_int_equal(client_json(c, arena, "GET", STR("/json"), STR_NONE, &v, &err), 0);
}

static void test_retries(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){.retries = -1});
    const struct json *v;
    assert_int_equal(client_json(c, arena, "POST", STR("/busy"), STR("{}"), &v, &err), 0);
    assert_int_equal(fake.requests, 3);
    Dur before = time_monotonic();
    assert_int_equal(client_json(c, arena, "GET", STR("/later"), STR_NONE, &v, &err), 0);
    assert_in_range(time_monotonic() - before, 150 * MSEC, 2 * SEC);
    struct response r;
    fake.requests = 0;
    assert_int_equal(client_call(c, arena, "POST", STR("/locked"), STR("{}"), &r, &err), 0);
    assert_int_equal(fake.requests, 1);
    assert_int_equal(r.status, 423);
    assert_int_equal(r.retry_after, 2500 * MSEC);
}

static void test_no_retries(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){.retries = 1});
    const struct json *v;
    assert_int_equal(client_json(c, arena, "GET", STR("/busy"), STR_NONE, &v, &err), -1);
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.text, "Service Unavailable");
    assert_int_equal(fake.requests, 2);
}

/* A POST whose answer is lost may have been carried out: only one that says so is sent twice. */
static void test_lost_answers(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){.retries = -1});
    const struct json *v;
    assert_int_equal(client_json(c, arena, "POST", STR("/drops"), STR("{}"), &v, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(client_json(c, arena, "POST", STR("/drops/filter"), STR("{}"), &v, &err), 0);
    assert_int_equal(client_json(c, arena, "GET", STR("/drops/get"), STR_NONE, &v, &err), 0);
    memset(given, 0, sizeof given);
    AUTO(client_freep) struct client *again = client_for((struct client_options){.retries = -1, .repeat_posts = true});
    assert_int_equal(client_json(again, arena, "POST", STR("/drops"), STR("{}"), &v, &err), 0);
}

static void test_csrf(void **state)
{
    UNUSED(state);
    AUTO(client_freep) struct client *c = client_for((struct client_options){.api_key = STR("k3y")});
    const struct json *v;
    assert_int_equal(client_json(c, arena, "POST", STR("/guarded"), STR("{}"), &v, &err), 0);
    assert_int_equal(fake.requests, 3);
    assert_true(last_has("\r\nPrefect-Csrf-Token: t0k\r\n"));
    assert_true(last_has("\r\nPrefect-Csrf-Client: "));
    assert_true(last_has("\r\nAuthorization: Bearer k3y\r\n"));
    assert_int_equal(client_json(c, arena, "POST", STR("/json"), STR("{}"), &v, &err), 0);
    assert_true(last_has("\r\nPrefect-Csrf-Token: t0k\r\n"));
}

static void test_errors(void **state)
{
    UNUSED(state);
    static const struct {
        const char *path;
        enum err_code code;
        const char *text;
    } cases[] = {
        {"/gone", ERR_NOT_FOUND, "Work pool \"x\" not found."},
        {"/unauthorized", ERR_AUTH, "Unauthorized"},
        {"/invalid", ERR_UNPROCESSABLE, "body.name: Field required; body.xs.0: not an integer; c; and 1 more"},
        {"/bare", ERR_INTERNAL, "the server answered 500"},
    };
    AUTO(client_freep) struct client *c = client_for((struct client_options){0});
    const struct json *v;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(client_json(c, arena, "GET", str_of(cases[i].path), STR_NONE, &v, &err), -1);
        if (err.code != cases[i].code || strcmp(err.text, cases[i].text))
            fail_msg("%s: %s: %s", cases[i].path, err_name(err.code), err.text);
    }
    assert_int_equal(client_json(c, arena, "GET", STR("/page"), STR_NONE, &v, &err), -1);
    assert_non_null(strstr(err.text, "/api"));
    assert_int_equal(client_json(c, arena, "GET", STR("/broken"), STR_NONE, &v, &err), -1);
    assert_non_null(strstr(err.text, "JSON"));
}

static void test_refused(void **state)
{
    UNUSED(state);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, but nobody listens */
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    AUTO(client_freep) struct client *c = client_for(
        (struct client_options){.base_url = str_fmt(arena, "http://127.0.0.1:%d/api/", ntohs(at.sin_port)), .retries = 2});
    const struct json *v;
    assert_int_equal(client_json(c, arena, "GET", STR("/json"), STR_NONE, &v, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, str_fmt(arena, "http://127.0.0.1:%d/api:", ntohs(at.sin_port)).p));
    close(fd);
}

static void *serve_one(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    if (read_request(fd)) {
        const char *reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue";
        if (write(fd, reply, strlen(reply)) < 0)
            perror("write");
    }
    close(fd);
    return NULL;
}

static void test_unix_socket(void **state)
{
    UNUSED(state);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "/tmp/millpond-test-%d.sock", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    pthread_t thread;
    pthread_create(&thread, NULL, serve_one, &fd);
    AUTO(client_freep) struct client *c =
        client_for((struct client_options){.base_url = str_fmt(arena, "unix:%s:/v1.41", at.sun_path)});
    const struct json *v;
    int rc = client_json(c, arena, "GET", STR("/health"), STR_NONE, &v, &err);
    pthread_join(thread, NULL);
    close(fd);
    unlink(at.sun_path);
    if (rc < 0)
        fail_msg("%s", err.text);
    assert_true(json_is(v, JSON_BOOL));
    assert_true(str_starts(str_of(last_request()), STR("GET /v1.41/health ")));
}

static void test_texts(void **state)
{
    UNUSED(state);
    assert_true(str_eqz(url_segment(arena, STR("a/b c?\xc3\xa9~-._")), "a%2Fb%20c%3F%C3%A9~-._"));
    AUTO(client_freep) struct client *c = client_for(
        (struct client_options){.base_url = STR("https://h:1/api"), .auth_string = STR("a:\"b"), .api_key = STR("k")});
    assert_true(str_eqz(client_ws_url(c, arena, STR("/events/in")), "wss://h:1/api/events/in"));
    assert_true(str_eqz(client_ws_token(c), "\"a:\\\"b\""));
    assert_true(str_eqz(client_auth_headers(c, arena), "Authorization: Basic YToiYg==\r\n"));
    AUTO(client_freep) struct client *open = client_for((struct client_options){.base_url = STR("http://[::1]:1/api/")});
    assert_true(str_eqz(client_ws_url(open, arena, STR("/x")), "ws://[::1]:1/api/x"));
    assert_true(str_eqz(client_ws_token(open), "null"));
    assert_true(str_eqz(client_auth_headers(open, arena), ""));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, case_start, case_stop)
    const struct CMUnitTest tests[] = {
        CASE(test_keeps_connection), CASE(test_shapes_of_answers), CASE(test_retries), CASE(test_no_retries), CASE(test_lost_answers), CASE(test_csrf),
        CASE(test_errors), CASE(test_refused), CASE(test_unix_socket), CASE(test_texts),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
