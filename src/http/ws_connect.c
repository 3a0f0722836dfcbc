/* The client's end of a WebSocket up to the server's 101: resolve, connect, TLS, ask, check the answer. */
#include "http/ws.h"

#include "base/limits.h"
#include "base/time.h"
#include "http/ws_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nettle/base64.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum step { STEP_RESOLVE, STEP_CONNECT, STEP_TLS, STEP_ASK, STEP_ANSWER };

struct dial {
    struct arena *arena;
    enum step step;
    char *host, *service;
    bool tls;
    const char *subprotocol;
    struct ws_accept accept;
    uv_getaddrinfo_t resolve;
    struct addrinfo *found;
    const struct addrinfo *at; /* the address that is being tried */
    char problem[128];         /* of the last one */
    Str request;               /* what is left of it to send */
    struct buf answer;
};

/* The process's trust, made at the first wss:// and kept. */
static struct {
    pthread_mutex_t lock;
    gnutls_certificate_credentials_t credentials;
    bool insecure;
} trust = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int trust_load(struct err *err)
{
    if (trust.credentials)
        return 0;
    int r = gnutls_certificate_allocate_credentials(&trust.credentials);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, "TLS: %s", gnutls_strerror(r));
    (void)gnutls_certificate_set_x509_system_trust(trust.credentials); /* none is no error: all is then refused */
    return 0;
}

int ws_trust(Str pem, bool insecure, struct err *err)
{
    pthread_mutex_lock(&trust.lock);
    int r = trust_load(err);
    if (r == 0) {
        trust.insecure = insecure;
        gnutls_datum_t d = {.data = (unsigned char *)(uintptr_t)pem.p, .size = (unsigned)pem.n};
        int n = pem.n ? gnutls_certificate_set_x509_trust_mem(trust.credentials, &d, GNUTLS_X509_FMT_PEM) : 1;
        if (n <= 0)
            r = err_set(err, ERR_INVALID, "no certificate in the given PEM text: %s", gnutls_strerror(n));
    }
    pthread_mutex_unlock(&trust.lock);
    return r;
}

static ssize_t tls_result(ssize_t r)
{
    if (r >= 0)
        return r;
    if (r == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    errno = r == GNUTLS_E_AGAIN ? EAGAIN : !gnutls_error_is_fatal((int)r) ? EINTR : EPROTO;
    return -1;
}

ssize_t tls_read(struct ws *w, void *p, size_t n)
{
    return tls_result(gnutls_record_recv(w->tls, p, n));
}

ssize_t tls_write(struct ws *w, const void *p, size_t n)
{
    return tls_result(gnutls_record_send(w->tls, p, n));
}

static void release_client(struct ws *w)
{
    if (w->tls) {
        if (w->state != WS_DIALING)
            (void)gnutls_bye(w->tls, GNUTLS_SHUT_WR);
        gnutls_deinit(w->tls);
        w->tls = NULL;
    }
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    if (w->dial && w->dial->step == STEP_RESOLVE)
        uv_cancel((uv_req_t *)&w->dial->resolve);
}

void dial_free(struct ws *w)
{
    struct dial *d = TAKE(w->dial);
    if (!d)
        return;
    if (d->found)
        uv_freeaddrinfo(d->found);
    buf_free(&d->answer);
    arena_free(d->arena);
    free(d);
}

static bool tls_start(struct ws *w)
{
    struct dial *d = w->dial;
    struct err err;
    pthread_mutex_lock(&trust.lock);
    bool ok = trust_load(&err) == 0;
    pthread_mutex_unlock(&trust.lock);
    gnutls_session_t s = NULL;
    unsigned char any[sizeof(struct in6_addr)];
    gnutls_datum_t protocol = {.data = (unsigned char *)(uintptr_t) "http/1.1", .size = 8};
    ok = ok && gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) == 0 &&
         gnutls_set_default_priority(s) == 0 && gnutls_alpn_set_protocols(s, &protocol, 1, 0) == 0 &&
         gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, trust.credentials) == 0;
    w->tls = s;
    if (!ok) {
        ws_break(w, 1006, "TLS cannot be set up");
        return false;
    }
    if (inet_pton(AF_INET, d->host, any) != 1 && inet_pton(AF_INET6, d->host, any) != 1)
        gnutls_server_name_set(s, GNUTLS_NAME_DNS, d->host, strlen(d->host));
    if (!trust.insecure)
        gnutls_session_set_verify_cert(s, d->host, 0);
    gnutls_transport_set_int(s, w->fd);
    return true;
}

static bool tls_shake(struct ws *w)
{
    int r;
    do
        r = gnutls_handshake(w->tls);
    while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
    if (r == 0)
        return true;
    gnutls_datum_t text = {0};
    if (r == GNUTLS_E_AGAIN) {
        ws_wait_for(w, gnutls_record_get_direction(w->tls) ? UV_WRITABLE : UV_READABLE);
    } else if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
               gnutls_certificate_verification_status_print(gnutls_session_get_verify_cert_status(w->tls),
                                                            GNUTLS_CRT_X509, &text, 0) == 0) {
        ws_break(w, 1006, "TLS: %s", text.data);
        gnutls_free(text.data);
    } else {
        ws_break(w, 1006, "TLS: %s", gnutls_strerror(r));
    }
    return false;
}

static bool has_token(Str list, Str token)
{
    for (Str part; str_cut(&list, ',', &part);)
        if (str_ieq(str_trim(part), token))
            return true;
    return false;
}

/* What is wrong with the server's answer, or NULL where it is a 101 as we asked for it. */
static const char *answer_fault(struct dial *d, Str head)
{
    Str line, version;
    bool upgrade = false, connection = false, accept = false;
    str_cut(&head, '\n', &line);
    str_cut(&line, ' ', &version);
    int64_t status = 0;
    if (!str_starts(version, STR("HTTP/1.")) || !str_int(str_sub(line, 0, 3), &status))
        return "the server does not speak HTTP/1.1";
    if (status != 101) {
        snprintf(d->problem, sizeof d->problem, "HTTP %d", (int)status);
        return d->problem;
    }
    while (str_cut(&head, '\n', &line)) {
        Str name, value = line;
        str_cut(&value, ':', &name);
        name = str_trim(name);
        value = str_trim(value);
        if (str_ieq(name, STR("upgrade")))
            upgrade = has_token(value, STR("websocket"));
        else if (str_ieq(name, STR("connection")))
            connection = connection || has_token(value, STR("upgrade"));
        else if (str_ieq(name, STR("sec-websocket-accept")))
            accept = str_eqz(value, d->accept.s);
        else if (str_ieq(name, STR("sec-websocket-extensions")) && value.n)
            return "the server wants an extension that was not offered";
        else if (str_ieq(name, STR("sec-websocket-protocol")) && !(d->subprotocol && str_eqz(value, d->subprotocol)))
            return "the server wants a subprotocol that was not offered";
    }
    return upgrade && connection && accept ? NULL : "the server's answer is no WebSocket handshake";
}

static void ask(struct ws *w)
{
    struct dial *d = w->dial;
    while (d->request.n) {
        ssize_t n = ws_write(w, d->request.p, d->request.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            ws_wait_for(w, UV_WRITABLE);
            return;
        }
        if (n < 0) {
            ws_break(w, 1006, "the connection broke: %s", strerror(errno));
            return;
        }
        d->request = str_sub(d->request, (size_t)n, d->request.n);
    }
    d->step = STEP_ANSWER;
    ws_wait_for(w, UV_READABLE);
}

static void hear_answer(struct ws *w)
{
    struct dial *d = w->dial;
    for (;;) {
        char *room = buf_room(&d->answer, 4096);
        if (!room) {
            ws_break(w, 1006, "the server's answer is too long");
            return;
        }
        ssize_t n = ws_read(w, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            ws_break(w, 1006, "the connection broke before the answer: %s", n ? strerror(errno) : "closed");
            return;
        }
        d->answer.n += (size_t)n;
        Str got = buf_view(&d->answer);
        ptrdiff_t end = str_find(got, STR("\r\n\r\n"));
        if (end < 0)
            continue;
        const char *fault = answer_fault(d, str_sub(got, 0, (size_t)end));
        if (fault)
            ws_break(w, 1006, "%s", fault);
        else
            ws_begin(w, str_sub(got, (size_t)end + 4, got.n));
        if (w->state == WS_OPEN)
            dial_free(w);
        return;
    }
}

static void try_address(struct ws *w)
{
    struct dial *d = w->dial;
    for (; d->at; d->at = d->at->ai_next) {
        w->fd = socket(d->at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (w->fd >= 0 && (connect(w->fd, d->at->ai_addr, d->at->ai_addrlen) == 0 || errno == EINPROGRESS)) {
            int on = 1;
            setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            d->step = STEP_CONNECT;
            ws_watch(w);
            ws_wait_for(w, UV_WRITABLE);
            return;
        }
        snprintf(d->problem, sizeof d->problem, "%s", strerror(errno));
        if (w->fd >= 0)
            close(w->fd);
        w->fd = -1;
    }
    ws_break(w, 1006, "cannot connect to %s port %s: %s", d->host, d->service, d->problem);
}

/* The address that did not answer is out of libuv's hands: on to the next. */
static void on_poll_gone(uv_handle_t *h)
{
    struct ws *w = h->data;
    if (w->state == WS_DIALING) {
        w->dial->at = w->dial->at->ai_next;
        try_address(w);
        ws_settle(w);
    }
    ws_unhold(w);
}

static void connected(struct ws *w)
{
    struct dial *d = w->dial;
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        snprintf(d->problem, sizeof d->problem, "%s", strerror(error));
        w->pending++;
        w->has_poll = false;
        uv_close((uv_handle_t *)&w->poll, on_poll_gone);
        close(w->fd);
        w->fd = -1;
        return;
    }
    d->step = d->tls ? STEP_TLS : STEP_ASK;
    if (d->tls && !tls_start(w))
        return;
    dial_event(w, 0);
}

void dial_event(struct ws *w, int events)
{
    UNUSED(events); /* each step tries what it waits for */
    struct dial *d = w->dial;
    switch (d->step) {
    case STEP_RESOLVE:
        break;
    case STEP_CONNECT:
        connected(w);
        break;
    case STEP_TLS:
        if (!tls_shake(w))
            break;
        d->step = STEP_ASK;
        ask(w);
        break;
    case STEP_ASK:
        ask(w);
        break;
    case STEP_ANSWER:
        hear_answer(w);
        break;
    }
}

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *found)
{
    struct ws *w = r->data;
    w->dial->found = found;
    if (w->state == WS_DIALING) {
        w->dial->step = STEP_CONNECT;
        w->dial->at = found;
        if (status < 0)
            ws_break(w, 1006, "cannot resolve %s: %s", w->dial->host, uv_strerror(status));
        else
            try_address(w);
        ws_settle(w);
    }
    ws_unhold(w);
}

static void dial_start(void *arg)
{
    struct ws *w = arg;
    struct dial *d = w->dial;
    ws_attach(w);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    d->resolve.data = w;
    int r = uv_getaddrinfo(loop_uv(w->loop), &d->resolve, on_resolved, d->host, d->service, &hints);
    if (r == 0) {
        w->pending++;
        return;
    }
    d->step = STEP_CONNECT;
    ws_break(w, 1006, "cannot resolve %s: %s", d->host, uv_strerror(r));
    ws_settle(w);
}

/* "Name: value" lines, each ended by CRLF, nothing that could end the request early. */
static bool headers_ok(Str headers)
{
    for (Str rest = headers, line; rest.n;) {
        ptrdiff_t end = str_find(rest, STR("\r\n"));
        if (end < 0)
            return false;
        line = str_sub(rest, 0, (size_t)end);
        rest = str_sub(rest, (size_t)end + 2, rest.n);
        if (str_find(line, STR(":")) < 1)
            return false;
        for (size_t i = 0; i < line.n; i++)
            if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 127)
                return false;
    }
    return true;
}

static bool url_ok(Str url)
{
    for (size_t i = 0; i < url.n; i++)
        if ((unsigned char)url.p[i] <= ' ' || url.p[i] == 127)
            return false;
    return url.n <= LIMIT_URL;
}

/* Splits the URL into d's members; the path in *ret_path, what goes into Host in *ret_authority. */
static int parse_url(struct dial *d, Str url, Str *ret_path, Str *ret_authority, struct err *err)
{
    static const struct {
        Str prefix;
        bool tls;
    } schemes[] = {
        {{"ws://", 5}, false}, {{"wss://", 6}, true}, {{"http://", 7}, false}, {{"https://", 8}, true}};
    Str rest = STR_NONE;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (str_ieq(str_sub(url, 0, schemes[i].prefix.n), schemes[i].prefix)) {
            rest = str_sub(url, schemes[i].prefix.n, url.n);
            d->tls = schemes[i].tls;
        }
    if (!rest.p || !url_ok(url))
        return err_set(err, ERR_INVALID, "'%.*s' is no URL of a WebSocket (ws:// or wss://)", STR_ARG(url));
    str_cut(&(Str){rest.p, rest.n}, '#', &rest);
    size_t slash = 0;
    while (slash < rest.n && rest.p[slash] != '/' && rest.p[slash] != '?')
        slash++;
    Str authority = str_sub(rest, 0, slash), path = str_sub(rest, slash, rest.n), host, port = STR_NONE;
    for (size_t i = authority.n; i > 0; i--)
        if (authority.p[i - 1] == '@') {
            authority = str_sub(authority, i, authority.n);
            break;
        }
    if (str_starts(authority, STR("["))) {
        ptrdiff_t end = str_find(authority, STR("]"));
        host = end < 0 ? STR("") : str_sub(authority, 1, (size_t)end - 1);
        Str after = str_sub(authority, (size_t)(end + 1), authority.n);
        if (str_starts(after, STR(":")))
            port = str_sub(after, 1, after.n);
        else if (after.n)
            host = STR("");
    } else {
        port = authority;
        str_cut(&port, ':', &host);
    }
    int64_t number = d->tls ? 443 : 80;
    if (host.n == 0 || host.n > 255 || (port.n && (!str_int(port, &number) || number < 1 || number > 65535)))
        return err_set(err, ERR_INVALID, "'%.*s' has no host, or a wrong port", STR_ARG(url));
    d->host = str_z(d->arena, host);
    d->service = str_z(d->arena, str_fmt(d->arena, "%d", (int)number));
    *ret_path = str_starts(path, STR("/")) ? path : str_fmt(d->arena, "/%.*s", STR_ARG(path));
    *ret_authority = authority;
    return 0;
}

int ws_connect(struct loop *l, Str url, const char *subprotocol, Str headers, const struct ws_handler *h, void *user,
               struct err *err)
{
    struct dial *d = calloc(1, sizeof *d);
    if (!d)
        die("out of memory");
    struct ws *w = ws_create(l, h, user, /* client= */ true);
    w->dial = d;
    w->release = release_client;
    d->arena = arena_create();
    d->answer = BUF(LIMIT_HEADERS);
    Str path = STR_NONE, authority = STR_NONE;
    int r = parse_url(d, url, &path, &authority, err);
    if (r == 0 && !headers_ok(headers))
        r = err_set(err, ERR_INVALID, "headers for a WebSocket must be 'Name: value' lines ended by CRLF");
    if (r < 0) {
        ws_unhold(w);
        return -1;
    }
    uint8_t nonce[16];
    char key[25] = {0};
    random_bytes(nonce, sizeof nonce);
    base64_encode_raw(key, sizeof nonce, nonce);
    d->accept = ws_accept(str_of(key));
    Str protocol = STR("");
    if (subprotocol) {
        d->subprotocol = str_z(d->arena, str_of(subprotocol));
        protocol = str_fmt(d->arena, "Sec-WebSocket-Protocol: %s\r\n", subprotocol);
    }
    d->request = str_fmt(d->arena,
                         "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%.*s%.*s\r\n",
                         STR_ARG(path), STR_ARG(authority), key, STR_ARG(protocol), STR_ARG(headers));
    loop_post(l, dial_start, w);
    return 0;
}
