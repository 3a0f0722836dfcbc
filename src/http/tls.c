#include "http/tls.h"

#include "base/time.h"
#include "loop/loop.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define RECORD ((size_t)16 << 10) /* a TLS record's largest content */
#define SHAKE_MS 10000
/* How long the client may take to read the rest, and to hang up, after the plain side has closed. */
#define LINGER_MS 5000

/* A thread, and the connections that it forwards. */
struct lane {
    struct tls_front *front;
    struct loop *loop;
    struct conn *conns;
    char scratch[RECORD];
};

/* A certificate with its key, for as long as a session has it. */
struct identity {
    gnutls_certificate_credentials_t credentials;
    _Atomic size_t refs;
};

struct tls_front {
    void (*pass)(void *user, int fd, const struct sockaddr *from, socklen_t n);
    void *user;
    pthread_mutex_t lock; /* over `identity` */
    struct identity *identity;
    gnutls_priority_t priority;
    gnutls_datum_t ticket_key;
    _Atomic size_t count;
    size_t lane_count, turn;
    struct lane lanes[];
};

struct conn {
    struct lane *lane;
    struct conn *next, *prev;
    int net, app; /* the client; our end of the socket pair, -1 before the handshake is done */
    gnutls_session_t tls;
    struct identity *identity;
    struct buf up, down; /* plain text that app, or the session, did not take yet */
    bool shaken, net_end, app_end, said_bye, broken;
    int net_events, app_events;
    uint8_t pending; /* libuv's callbacks to come before the memory may go */
    uv_poll_t net_poll, app_poll;
    uv_timer_t timer;
    socklen_t from_n;
    struct sockaddr_storage from;
};

static void identity_unref(struct identity *i)
{
    if (!i || atomic_fetch_sub(&i->refs, 1) != 1)
        return;
    gnutls_certificate_free_credentials(i->credentials);
    free(i);
}

static struct identity *identity_of(struct tls_front *f)
{
    pthread_mutex_lock(&f->lock);
    struct identity *i = f->identity;
    atomic_fetch_add(&i->refs, 1);
    pthread_mutex_unlock(&f->lock);
    return i;
}

static void on_gone(uv_handle_t *h)
{
    struct conn *c = h->data;
    if (--c->pending == 0)
        free(c);
}

static void conn_close(struct conn *c)
{
    struct lane *l = c->lane;
    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->pending = 2;
    uv_close((uv_handle_t *)&c->timer, on_gone);
    uv_close((uv_handle_t *)&c->net_poll, on_gone);
    if (c->app >= 0) {
        c->pending++;
        uv_close((uv_handle_t *)&c->app_poll, on_gone);
        close(c->app);
    }
    gnutls_deinit(c->tls);
    identity_unref(c->identity);
    close(c->net);
    buf_free(&c->up);
    buf_free(&c->down);
    atomic_fetch_sub(&l->front->count, 1);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void wait_for(uv_poll_t *poll, int *now, int events)
{
    if (*now == events)
        return;
    *now = events;
    if (events)
        uv_poll_start(poll, events, on_poll);
    else
        uv_poll_stop(poll);
}

static void on_timer(uv_timer_t *timer)
{
    conn_close(timer->data);
}

/* Gives what it can to the plain side; the rest stays in `up`. What comes after that side has closed is dropped. */
static void give_up(struct conn *c, const char *p, size_t n)
{
    while (n && !c->app_end) {
        ssize_t r = send(c->app, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == EAGAIN) {
            buf_put(&c->up, p, n);
            return;
        }
        if (r < 0)
            return;
        p += r;
        n -= (size_t)r;
    }
}

/* As give_up, towards the client. After EAGAIN GnuTLS wants the same bytes again: they stay in `down`. */
static void give_down(struct conn *c, const char *p, size_t n)
{
    while (n) {
        ssize_t r = gnutls_record_send(c->tls, p, n);
        if (r == GNUTLS_E_AGAIN) {
            buf_put(&c->down, p, n);
            return;
        }
        if (r < 0 && gnutls_error_is_fatal((int)r)) {
            c->broken = true;
            return;
        }
        if (r > 0) {
            p += r;
            n -= (size_t)r;
        }
    }
}

/* What is left over from before. */
static void flush(struct conn *c, struct buf *b, void (*give)(struct conn *c, const char *p, size_t n))
{
    if (!b->n)
        return;
    struct buf held = *b;
    *b = BUF(held.max);
    give(c, held.p, held.n);
    buf_free(&held);
}

static void pump_up(struct conn *c)
{
    flush(c, &c->up, give_up);
    while (!c->up.n && !c->net_end && !c->broken) {
        ssize_t r = gnutls_record_recv(c->tls, c->lane->scratch, RECORD);
        if (r == GNUTLS_E_AGAIN)
            return;
        if (r > 0)
            give_up(c, c->lane->scratch, (size_t)r);
        else if (r == 0 || r == GNUTLS_E_PREMATURE_TERMINATION)
            c->net_end = true;
        else if (r == GNUTLS_E_REHANDSHAKE || gnutls_error_is_fatal((int)r))
            c->broken = true;
    }
    if (c->net_end && !c->up.n)
        shutdown(c->app, SHUT_WR);
}

static void pump_down(struct conn *c)
{
    flush(c, &c->down, give_down);
    while (!c->down.n && !c->app_end && !c->broken) {
        ssize_t r = recv(c->app, c->lane->scratch, RECORD, MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == EAGAIN)
            return;
        if (r > 0) {
            give_down(c, c->lane->scratch, (size_t)r);
        } else {
            c->app_end = true;
            uv_timer_start(&c->timer, on_timer, LINGER_MS, 0);
        }
    }
    if (c->app_end && !c->down.n && !c->broken) {
        if (!c->said_bye) {
            (void)gnutls_bye(c->tls, GNUTLS_SHUT_WR);
            shutdown(c->net, SHUT_WR);
        }
        c->said_bye = true;
        c->broken = c->net_end; /* else the client hangs up, or the timer does */
    }
}

/* The handshake is done: the plain side comes into being. */
static void pass_on(struct conn *c)
{
    struct tls_front *f = c->lane->front;
    int pair[2];
    c->shaken = true;
    uv_timer_stop(&c->timer);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        c->broken = true;
        return;
    }
    c->app = pair[0];
    if (uv_poll_init(loop_uv(c->lane->loop), &c->app_poll, c->app) < 0) {
        close(pair[0]);
        close(pair[1]);
        c->app = -1;
        c->broken = true;
        return;
    }
    c->app_poll.data = c;
    f->pass(f->user, pair[1], (struct sockaddr *)&c->from, c->from_n);
}

static void shake(struct conn *c)
{
    int r;
    do
        r = gnutls_handshake(c->tls);
    while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
    if (r == 0)
        pass_on(c);
    else if (r == GNUTLS_E_AGAIN)
        wait_for(&c->net_poll, &c->net_events,
                 gnutls_record_get_direction(c->tls) ? UV_WRITABLE : UV_READABLE);
    else
        c->broken = true;
}

static void pump(struct conn *c)
{
    if (!c->shaken)
        shake(c);
    if (c->shaken && !c->broken) {
        pump_up(c);
        pump_down(c);
    }
    if (c->broken) {
        conn_close(c);
    } else if (c->shaken) {
        wait_for(&c->net_poll, &c->net_events,
                 (!c->net_end && !c->up.n ? UV_READABLE : 0) | (c->down.n ? UV_WRITABLE : 0));
        wait_for(&c->app_poll, &c->app_events,
                 (!c->app_end && !c->down.n ? UV_READABLE : 0) | (c->up.n ? UV_WRITABLE : 0));
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    UNUSED(events); /* each side tries what it waits for */
    struct conn *c = poll->data;
    if (status < 0) { /* libuv has stopped polling: an error, which reading may or may not show */
        *(poll == &c->net_poll ? &c->net_events : &c->app_events) = 0;
        if (poll == &c->net_poll)
            c->broken = true;
    }
    pump(c);
}

static void conn_start(void *arg)
{
    struct conn *c = arg;
    struct tls_front *f = c->lane->front;
    static const gnutls_datum_t protocol = {.data = (unsigned char *)(uintptr_t) "http/1.1", .size = 8};
    uv_loop_t *uv = loop_uv(c->lane->loop);
    if (gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0 ||
        uv_poll_init(uv, &c->net_poll, c->net) < 0) {
        if (c->tls)
            gnutls_deinit(c->tls);
        close(c->net);
        free(c);
        atomic_fetch_sub(&f->count, 1);
        return;
    }
    gnutls_priority_set(c->tls, f->priority);
    c->identity = identity_of(f);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->identity->credentials);
    gnutls_certificate_server_set_request(c->tls, GNUTLS_CERT_IGNORE);
    gnutls_alpn_set_protocols(c->tls, &protocol, 1, 0);
    gnutls_session_ticket_enable_server(c->tls, &f->ticket_key);
    gnutls_transport_set_int(c->tls, c->net);
    uv_timer_init(uv, &c->timer);
    uv_timer_start(&c->timer, on_timer, SHAKE_MS, 0);
    c->net_poll.data = c->timer.data = c;
    c->next = c->lane->conns;
    if (c->next)
        c->next->prev = c;
    c->lane->conns = c;
    pump(c);
}

void tls_front_take(struct tls_front *f, int fd, const struct sockaddr *from, socklen_t n)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        die("out of memory");
    c->lane = &f->lanes[f->turn++ % f->lane_count];
    c->net = fd;
    c->app = -1;
    c->up = c->down = BUF(RECORD);
    c->from_n = (socklen_t)MIN(n, sizeof c->from);
    memcpy(&c->from, from, c->from_n);
    atomic_fetch_add(&f->count, 1);
    loop_post(c->lane->loop, conn_start, c);
}

size_t tls_front_count(const struct tls_front *f)
{
    return atomic_load_explicit(&f->count, memory_order_relaxed);
}

static void lane_end(void *arg)
{
    struct lane *l = arg;
    while (l->conns)
        conn_close(l->conns);
}

static void lane_begin(void *arg)
{
    struct lane *l = arg;
    loop_at_end(l->loop, lane_end, l);
}

static void front_free(struct tls_front *f)
{
    for (size_t i = 0; i < f->lane_count; i++)
        loop_stop(f->lanes[i].loop);
    identity_unref(f->identity);
    pthread_mutex_destroy(&f->lock);
    if (f->priority)
        gnutls_priority_deinit(f->priority);
    gnutls_free(f->ticket_key.data);
    free(f);
}

static gnutls_datum_t datum(Str s)
{
    return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)s.p, .size = (unsigned)s.n};
}

/* Which of the two it is that cannot be used: each is read alone first. */
static int identity_fault(Str cert, Str key, struct err *err)
{
    gnutls_datum_t c = datum(cert), k = datum(key);
    gnutls_x509_crt_t *list;
    unsigned n = 0;
    int r = gnutls_x509_crt_list_import2(&list, &n, &c, GNUTLS_X509_FMT_PEM, 0);
    if (r < 0)
        return err_set(err, ERR_INVALID, "the TLS certificate cannot be used: %s", gnutls_strerror(r));
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    gnutls_privkey_t alone;
    r = gnutls_privkey_init(&alone);
    if (r >= 0) {
        r = gnutls_privkey_import_x509_raw(alone, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
        gnutls_privkey_deinit(alone);
    }
    return r < 0 ? err_set(err, ERR_INVALID, "the TLS key cannot be used: %s", gnutls_strerror(r)) : 0;
}

static struct identity *identity_create(Str cert, Str key, struct err *err)
{
    if (identity_fault(cert, key, err) < 0)
        return NULL;
    struct identity *i = calloc(1, sizeof *i);
    if (!i || gnutls_certificate_allocate_credentials(&i->credentials) < 0)
        die("out of memory");
    i->refs = 1;
    gnutls_datum_t c = datum(cert), k = datum(key);
    int r = gnutls_certificate_set_x509_key_mem2(i->credentials, &c, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (r >= 0)
        return i;
    if (r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        err_set(err, ERR_INVALID, "the TLS key is not the certificate's");
    else
        err_set(err, ERR_INVALID, "the TLS certificate and key cannot be used: %s", gnutls_strerror(r));
    identity_unref(i);
    return NULL;
}

int tls_front_renew(struct tls_front *f, Str cert, Str key, struct err *err)
{
    struct identity *fresh = identity_create(cert, key, err);
    if (!fresh)
        return -1;
    pthread_mutex_lock(&f->lock);
    struct identity *old = f->identity;
    f->identity = fresh;
    pthread_mutex_unlock(&f->lock);
    identity_unref(old);
    return 0;
}

struct tls_front *tls_front_create(Str cert, Str key, size_t threads,
                                   void (*pass)(void *user, int fd, const struct sockaddr *from, socklen_t n),
                                   void *user, struct err *err)
{
    struct tls_front *f = calloc(1, sizeof *f + threads * sizeof f->lanes[0]);
    if (!f)
        die("out of memory");
    f->pass = pass;
    f->user = user;
    pthread_mutex_init(&f->lock, NULL);
    f->identity = identity_create(cert, key, err);
    if (!f->identity) {
        front_free(f);
        return NULL;
    }
    int r;
    r = gnutls_priority_init(&f->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE", NULL);
    if (r >= 0)
        r = gnutls_session_ticket_key_generate(&f->ticket_key);
    if (r < 0) {
        err_set(err, ERR_INTERNAL, "TLS cannot be set up: %s", gnutls_strerror(r));
        front_free(f);
        return NULL;
    }
    for (size_t i = 0; i < threads; i++) {
        struct lane *l = &f->lanes[i];
        l->front = f;
        l->loop = loop_start("http-tls", err);
        if (!l->loop) {
            front_free(f);
            return NULL;
        }
        f->lane_count++;
        loop_post(l->loop, lane_begin, l);
    }
    return f;
}

void tls_front_free(struct tls_front *f)
{
    if (!f)
        return;
    for (Dur until = time_monotonic() + SEC; tls_front_count(f) && time_monotonic() < until;)
        usleep(1000);
    front_free(f);
}
