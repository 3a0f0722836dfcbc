/* The listening socket, libmicrohttpd's callbacks, and the life of an exchange (see exchange.h). */
#include "http/server.h"

#include "base/limits.h"
#include "base/time.h"
#include "http/exchange.h"
#include "http/pages.h"
#include "http/tls.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Connections past LIMIT_CONNECTIONS that are taken in to be told 503. */
#define CONNECTION_RESERVE 256
/* How much of a body that is too large is read to the end before its 413, since many clients look for an
 * answer only when they have sent all; past it the connection is closed. */
#define DISCARD_MAX ((uint64_t)LIMIT_BODY * 4)
/* Spare exchanges, and what one may keep. */
#define SPARE_MAX 64
#define SPARE_ARENA ((size_t)32 << 10)
#define SPARE_BODY ((size_t)16 << 10)
/* A body must come at 1 kB/s once the idle timeout is over. */
#define SLOWEST 1024

#define TOO_LARGE "The request body is larger than 16 MB."
#define TOO_MANY "There are too many connections; try again later."
#define STOPPING "The server is stopping; try again later."

_Static_assert(LIMIT_BODY == (size_t)16 << 20, "TOO_LARGE says 16 MB");

static void reply_error(struct reply *r, int status, const char *message)
{
    r->status = status;
    r->content_type = "application/json";
    buf_free(&r->body);
    r->body = BUF(512);
    buf_fmt(&r->body, "{\"exception_message\":\"%s\"}", message);
}

static struct exchange *exchange_take(struct http_worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct exchange *x = w->spare;
    if (x) {
        w->spare = x->next;
        w->spare_count--;
        *x = (struct exchange){.arena = x->arena, .body = x->body};
        buf_reset(&x->body);
    } else {
        x = calloc(1, sizeof *x);
        if (!x)
            die("out of memory");
        x->arena = arena_create();
    }
    x->server = w->server;
    x->worker = w;
    x->next = w->live;
    if (w->live)
        w->live->prev = x;
    w->live = x;
    w->live_count++;
    pthread_mutex_unlock(&w->lock);
    return x;
}

static void exchange_free(struct exchange *x)
{
    exchange_drop_socket(x);
    buf_free(&x->body);
    buf_free(&x->reply.body);
    arena_free(x->arena);
    free(x);
}

/* libmicrohttpd lets go of it: it is kept for the next request if it is cheap to keep, or left to the handler that
 * still has it. */
static void exchange_release(struct exchange *x)
{
    struct http_worker *w = x->worker;
    bool mine = atomic_load(&x->phase) != PHASE_ABANDONED;
    bool keep = mine && arena_bytes(x->arena) <= SPARE_ARENA;
    if (keep) {
        exchange_drop_socket(x);
        buf_free(&x->reply.body);
        if (x->body.cap > SPARE_BODY)
            buf_free(&x->body);
        arena_reset(x->arena);
    }
    pthread_mutex_lock(&w->lock);
    if (x->prev)
        x->prev->next = x->next;
    else
        w->live = x->next;
    if (x->next)
        x->next->prev = x->prev;
    if (--w->live_count == 0)
        pthread_cond_broadcast(&w->changed);
    keep = keep && w->spare_count < SPARE_MAX;
    if (keep) {
        x->next = w->spare;
        w->spare = x;
        w->spare_count++;
    }
    pthread_mutex_unlock(&w->lock);
    enum phase abandoned = PHASE_ABANDONED;
    if (!keep && (mine || !atomic_compare_exchange_strong(&x->phase, &abandoned, PHASE_ORPHANED)))
        exchange_free(x);
}

static void server_unref(struct http_server *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (struct http_worker *w = s->workers; w < s->workers + s->worker_count; w++) {
        for (struct exchange *x = w->spare, *next; x; x = next) {
            next = x->next;
            exchange_free(x);
        }
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
    }
    free(s->workers);
    free(s);
}

void server_lose_socket(struct http_server *s)
{
    atomic_fetch_sub(&s->sockets, 1);
    server_unref(s);
}

/* The reply is in place: says so, and wakes the connection if it sleeps. */
void exchange_done(struct exchange *x)
{
    struct http_server *s = x->server;
    enum phase phase = PHASE_HANDLED;
    if (!atomic_compare_exchange_strong(&x->phase, &phase, PHASE_REPLIED)) {
        /* Counted before the move, so that http_server_stop cannot end the daemon under our hands. */
        atomic_fetch_add(&s->inside, 1);
        struct MHD_Connection *connection = x->connection;
        while (phase != PHASE_ORPHANED && !atomic_compare_exchange_weak(&x->phase, &phase, PHASE_REPLIED))
            ;
        switch (phase) {
        case PHASE_SUSPENDED:
            MHD_resume_connection(connection);
            break;
        case PHASE_ORPHANED:
            exchange_free(x);
            break;
        case PHASE_HANDLED:
        case PHASE_ABANDONED:
            break;
        case PHASE_READING:
        case PHASE_REPLIED:
            die("exchange_reply: a second reply, or one without a request");
        }
        atomic_fetch_sub(&s->inside, 1);
    }
    server_unref(s);
}

/* Answers 503 in the place of a handler that keeps the exchange while the server ends. */
static void exchange_abandon(struct exchange *x)
{
    enum phase suspended = PHASE_SUSPENDED;
    if (atomic_compare_exchange_strong(&x->phase, &suspended, PHASE_ABANDONED))
        MHD_resume_connection(x->connection);
}

static enum MHD_Result queue(struct exchange *x, struct reply *r)
{
    if (r->body.overflow) {
        reply_error(r, 500, "the reply is longer than this server sends");
        r->headers.n = 0;
    }
    struct MHD_Response *response;
    if (r->socket) {
        response = upgrade_response();
    } else if (r->body.n) {
        response = MHD_create_response_from_buffer_with_free_callback(r->body.n, r->body.p, free);
        if (response)
            r->body = BUF(0);
    } else {
        static char nothing[1];
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    }
    if (!response)
        return MHD_NO;
    if (r->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
    for (size_t i = 0; i < r->headers.n; i++)
        MHD_add_response_header(response, r->headers.v[i].name.p, r->headers.v[i].value.p);
    if (!r->socket && atomic_load_explicit(&x->server->quiet, memory_order_relaxed))
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result queue_error(struct exchange *x, int status, const char *message)
{
    struct header retry = {STR("Retry-After"), STR("1")};
    struct reply r = {0};
    reply_error(&r, status, message);
    if (status == 503) { /* not in the exchange: an abandoned one is its handler's */
        r.headers.v = &retry;
        r.headers.n = 1;
    }
    exchange_tell(x, status);
    enum MHD_Result result = queue(x, &r);
    buf_free(&r.body);
    return result;
}

/* A request's first line has come: its exchange begins. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = exchange_take(cls);
    x->connection = connection;
    x->started = time_monotonic();
    Str rest = str_dup(x->arena, str_of(uri));
    str_cut(&rest, '?', &x->path);
    x->query = rest;
    return x;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_n,
                                 const char *value, size_t value_n)
{
    UNUSED(kind);
    struct exchange *x = cls;
    x->headers[x->header_count++] = (struct header){
        str_dup(x->arena, (Str){name, name_n}),
        str_dup(x->arena, (Str){value ? value : "", value ? value_n : 0}),
    };
    return MHD_YES;
}

/* What is wrong with the headers, or NULL. Where a proxy in front could see another request than we do, it is refused:
 * two lengths, a length beside chunks, a name with blanks in it. (libmicrohttpd is told not to look for Host: its own
 * answer would have two heads.) */
static const char *head_fault(const struct exchange *x)
{
    size_t hosts = 0, lengths = 0, codings = 0;
    for (size_t i = 0; i < x->header_count; i++) {
        Str name = x->headers[i].name;
        for (size_t k = 0; k < name.n; k++)
            if ((unsigned char)name.p[k] <= ' ' || name.p[k] == 127)
                return "A header's name has a blank in it.";
        hosts += str_ieq(name, STR("host"));
        lengths += str_ieq(name, STR("content-length"));
        codings += str_ieq(name, STR("transfer-encoding"));
    }
    if (hosts > 1 || (hosts == 0 && x->http_1_1))
        return "There must be one Host header.";
    if (lengths + codings > 1)
        return "There must be at most one of Content-Length and Transfer-Encoding.";
    return NULL;
}

/* All headers have come. They are copied: libmicrohttpd's own end with the connection, which may be before the
 * handler's reply. */
static enum MHD_Result take_head(struct exchange *x, const char *method, const char *version)
{
    struct http_server *s = x->server;
    x->head_seen = true;
    x->http_1_1 = !strcmp(version, MHD_HTTP_VERSION_1_1);
    x->method = str_dup(x->arena, str_of(method));
    int n = MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, NULL, NULL);
    x->headers = arena_array(x->arena, struct header, n);
    MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, x);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr->sa_family == AF_INET)
        memcpy(&x->peer, info->client_addr, sizeof(struct sockaddr_in));
    else if (info && info->client_addr->sa_family == AF_INET6)
        memcpy(&x->peer, info->client_addr, sizeof(struct sockaddr_in6));
    const char *fault = head_fault(x);
    if (fault)
        return queue_error(x, 400, fault);
    if (x->path.n + x->query.n > LIMIT_URL)
        return queue_error(x, 414, "The URL is longer than 8 KB.");
    int64_t length;
    if (!str_int(exchange_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH), &length) || length <= 0) {
        x->body.max = LIMIT_BODY;
    } else if ((uint64_t)length <= LIMIT_BODY) {
        x->body.max = LIMIT_BODY;
        (void)buf_room(&x->body, (size_t)length);
    } else {
        x->refused = 413;
        if ((uint64_t)length > DISCARD_MAX || exchange_header(x, MHD_HTTP_HEADER_EXPECT).p)
            return queue_error(x, 413, TOO_LARGE);
    }
    if (http_server_connections(s) > LIMIT_CONNECTIONS)
        x->refused = 503;
    return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *x, const char *p, size_t n)
{
    x->received += n;
    if (!x->refused) {
        buf_put(&x->body, p, n);
        if (x->body.overflow) {
            x->refused = 413;
            buf_free(&x->body);
        }
    } else if (x->received > DISCARD_MAX) {
        return MHD_NO;
    }
    Dur late = time_monotonic() - x->started - x->server->o.idle_timeout;
    return late > (Dur)(x->received / SLOWEST) * SEC ? MHD_NO : MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *x)
{
    struct http_server *s = x->server;
    if (x->refused)
        return queue_error(x, x->refused, x->refused == 413 ? TOO_LARGE : TOO_MANY);
    if (atomic_load(&s->closing))
        return queue_error(x, 503, STOPPING);
    atomic_fetch_add(&s->refs, 1);
    atomic_store(&x->phase, PHASE_HANDLED);
    x->handed = time_monotonic();
    s->o.handler(x, s->o.user);
    if (atomic_load(&x->phase) == PHASE_REPLIED)
        return queue(x, &x->reply);
    MHD_suspend_connection(x->connection);
    enum phase handled = PHASE_HANDLED;
    if (!atomic_compare_exchange_strong(&x->phase, &handled, PHASE_SUSPENDED))
        MHD_resume_connection(x->connection); /* the reply came just now */
    else if (atomic_load(&s->closing))
        exchange_abandon(x);
    return MHD_YES;
}

/* Called when the headers are there, for each piece of the body, at its end, and again once the connection is
 * resumed. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *piece, size_t *piece_n, void **context)
{
    struct exchange *x = *context;
    if (!x->head_seen)
        return take_head(x, method, version);
    if (*piece_n) {
        size_t n = *piece_n;
        *piece_n = 0;
        return take_body(x, piece, n);
    }
    switch (atomic_load(&x->phase)) {
    case PHASE_READING:
        return dispatch(x);
    case PHASE_REPLIED:
        return queue(x, &x->reply);
    case PHASE_ABANDONED:
        return queue_error(x, 503, STOPPING);
    case PHASE_HANDLED:
    case PHASE_SUSPENDED:
    case PHASE_ORPHANED:
        break;
    }
    die("http: a connection woke without a reply");
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    if (*context)
        exchange_release(*context);
    *context = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_worker *w = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        atomic_fetch_add_explicit(&w->connections, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&w->connections, 1, memory_order_relaxed);
}

/* Paths and queries are decoded by those who use them. */
static size_t leave_encoded(void *cls, struct MHD_Connection *connection, char *s)
{
    return strlen(s);
}

/* libmicrohttpd's own words, kept for the error when it does not start; later it only speaks of clients' doings. */
PRINTF_LIKE(2, 0)
static void on_log(void *cls, const char *fmt, va_list ap)
{
    struct http_server *s = cls;
    if (!s->started)
        vsnprintf(s->complaint, sizeof s->complaint, fmt, ap);
}

/* Sockets for LIMIT_CONNECTIONS and what else the process opens, as far as the hard limit lets. Gives back how many
 * connections there may be. */
static unsigned raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 512;
    rlim_t wanted = LIMIT_CONNECTIONS + CONNECTION_RESERVE + 2048;
    if (r.rlim_cur < wanted) {
        r.rlim_cur = MIN(wanted, r.rlim_max);
        if (setrlimit(RLIMIT_NOFILE, &r) < 0)
            getrlimit(RLIMIT_NOFILE, &r);
    }
    rlim_t room = r.rlim_cur > 1024 ? r.rlim_cur - 512 : r.rlim_cur / 2;
    return (unsigned)MIN(room, (rlim_t)LIMIT_CONNECTIONS + CONNECTION_RESERVE);
}

static int listen_on(Str host, int port, int *ret_port, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const char *name = host.n ? str_z(a, host) : "127.0.0.1";
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    int r = getaddrinfo(name, service, &hints, &found);
    if (r)
        return err_set(err, ERR_INVALID, "cannot listen on '%s': %s", name, gai_strerror(r));
    /* A name such as localhost has several: IPv4 is what every client tries. */
    const struct addrinfo *at = found;
    for (const struct addrinfo *i = found; i; i = i->ai_next)
        if (i->ai_family == AF_INET) {
            at = i;
            break;
        }
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;
    struct sockaddr_storage bound = {0};
    socklen_t n = sizeof bound;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    bool ok = fd >= 0 && bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 1024) == 0 &&
              getsockname(fd, (struct sockaddr *)&bound, &n) == 0;
    if (!ok) {
        err_errno(err, "cannot listen on %s port %d", name, port);
        if (fd >= 0)
            close(fd);
        fd = -1;
    } else if (bound.ss_family == AF_INET6) {
        *ret_port = ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
    } else {
        *ret_port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
    }
    freeaddrinfo(found);
    return fd;
}

static struct MHD_Daemon *daemon_start(struct http_worker *w, unsigned connections)
{
    struct http_server *s = w->server;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_ALLOW_UPGRADE | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LIMIT_HEADERS, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)MAX(s->o.idle_timeout / SEC, 1), MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, w, MHD_OPTION_URI_LOG_CALLBACK, on_uri, w,
        MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL, MHD_OPTION_STRICT_FOR_CLIENT, -1, MHD_OPTION_END);
}

/* Gives a connection to the worker that has the fewest. On the acceptor's thread, or one that speaks TLS. */
static void pass_on(void *user, int fd, const struct sockaddr *from, socklen_t n)
{
    struct http_server *s = user;
    atomic_fetch_add(&s->inside, 1);
    struct http_worker *least = &s->workers[0];
    for (size_t i = 1; i < s->worker_count; i++)
        if (atomic_load_explicit(&s->workers[i].connections, memory_order_relaxed) <
            atomic_load_explicit(&least->connections, memory_order_relaxed))
            least = &s->workers[i];
    if (atomic_load(&s->quiet))
        close(fd);
    else
        (void)MHD_add_connection(least->daemon, fd, from, n); /* it closes what it does not take */
    atomic_fetch_sub(&s->inside, 1);
}

/* Takes connections in. libmicrohttpd could listen itself, but its way to stop that while its threads run may end in
 * its panic: two sides take the socket out of epoll. */
static void *acceptor_main(void *arg)
{
    struct http_server *s = arg;
    pthread_setname_np(pthread_self(), "http-accept");
    while (!atomic_load(&s->quiet)) {
        struct sockaddr_storage from;
        socklen_t n = sizeof from;
        int fd = accept4(s->listen_fd, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            /* Out of descriptors or memory: what runs will give some back. */
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                usleep(10000);
            continue;
        }
        if (!s->tls)
            pass_on(s, fd, (struct sockaddr *)&from, n);
        else if (tls_front_count(s->tls) < LIMIT_CONNECTIONS + CONNECTION_RESERVE)
            tls_front_take(s->tls, fd, (struct sockaddr *)&from, n);
        else
            close(fd);
    }
    return NULL;
}

struct http_server *http_server_start(const struct http_options *o, struct err *err)
{
    int port = 0;
    pages_link();
    int fd = listen_on(o->host, o->port, &port, err);
    if (fd < 0)
        return NULL;
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        die("out of memory");
    s->o = *o;
    s->o.idle_timeout = o->idle_timeout > 0 ? o->idle_timeout : MINUTE;
    s->o.host = s->o.tls_cert = s->o.tls_key = STR_NONE; /* the caller's texts may go */
    s->listen_fd = fd;
    s->port = port;
    s->refs = 1;

    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t threads = (size_t)MIN(o->threads > 0 ? o->threads : MAX(cores, 1), 64);
    s->workers = calloc(threads, sizeof *s->workers);
    if (!s->workers)
        die("out of memory");
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    bool ok = true;
    while (ok && s->worker_count < threads) {
        struct http_worker *w = &s->workers[s->worker_count++];
        w->server = s;
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->changed, &monotonic);
        w->daemon = daemon_start(w, raise_file_limit() / (unsigned)threads + 1);
        ok = w->daemon;
        if (!ok)
            err_set(err, ERR_IO, "cannot start the HTTP server: %s", *s->complaint ? s->complaint : strerror(errno));
    }
    pthread_condattr_destroy(&monotonic);
    if (ok && o->tls_cert.p) {
        s->tls = tls_front_create(o->tls_cert, o->tls_key, threads, pass_on, s, err);
        ok = s->tls;
    }
    int r = ok ? pthread_create(&s->acceptor, NULL, acceptor_main, s) : 0;
    if (ok && r == 0) {
        s->started = true;
        return s;
    }
    if (r) {
        errno = r;
        err_errno(err, "cannot start a thread for the HTTP server");
    }
    for (size_t i = 0; i < s->worker_count; i++)
        if (s->workers[i].daemon)
            MHD_stop_daemon(s->workers[i].daemon);
    tls_front_free(s->tls);
    close(fd);
    server_unref(s);
    return NULL;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

int http_server_renew_tls(struct http_server *s, Str cert, Str key, struct err *err)
{
    return tls_front_renew(s->tls, cert, key, err);
}

void http_server_quiesce(struct http_server *s)
{
    if (atomic_exchange(&s->quiet, true))
        return;
    shutdown(s->listen_fd, SHUT_RDWR); /* wakes the acceptor; who tries to connect from now on is refused */
    pthread_join(s->acceptor, NULL);
    close(s->listen_fd);
}

/* Waits until no request is under way; false where `deadline` (monotonic) comes first. */
static bool wait_idle(struct http_server *s, Dur deadline)
{
    struct timespec at = {.tv_sec = deadline / SEC, .tv_nsec = deadline % SEC * 1000};
    bool idle = true;
    for (struct http_worker *w = s->workers; w < s->workers + s->worker_count; w++) {
        pthread_mutex_lock(&w->lock);
        int r = 0;
        while (w->live_count && r != ETIMEDOUT)
            r = pthread_cond_timedwait(&w->changed, &w->lock, &at);
        idle = idle && w->live_count == 0;
        pthread_mutex_unlock(&w->lock);
    }
    return idle;
}

void http_server_stop(struct http_server *s, Dur grace)
{
    if (!s)
        return;
    http_server_quiesce(s);
    server_close_sockets(s);
    bool idle = wait_idle(s, time_monotonic() + grace);
    /* Whatever is under way now, or comes on a connection that is still open, is answered here: libmicrohttpd must
     * not end with a connection asleep. */
    atomic_store(&s->closing, true);
    for (struct http_worker *w = s->workers; w < s->workers + s->worker_count; w++) {
        pthread_mutex_lock(&w->lock);
        for (struct exchange *x = w->live; x; x = x->next)
            exchange_abandon(x);
        pthread_mutex_unlock(&w->lock);
    }
    if (!idle)
        (void)wait_idle(s, time_monotonic() + SEC);
    /* Each ends within the 2 s that its close frame has. */
    while (atomic_load(&s->sockets))
        usleep(1000);
    while (atomic_load(&s->inside))
        usleep(100);
    for (size_t i = 0; i < s->worker_count; i++)
        MHD_stop_daemon(s->workers[i].daemon);
    tls_front_free(s->tls);
    server_unref(s);
}

size_t http_server_pending(const struct http_server *s)
{
    return atomic_load(&s->refs) - atomic_load(&s->sockets) - 1;
}

size_t http_server_connections(const struct http_server *s)
{
    /* A WebSocket is no connection of libmicrohttpd's any more. */
    size_t n = atomic_load_explicit(&s->sockets, memory_order_relaxed);
    for (size_t i = 0; i < s->worker_count; i++)
        n += atomic_load_explicit(&s->workers[i].connections, memory_order_relaxed);
    return n;
}
