#include "cli/feed.h"

#include "cli/files.h"
#include "http/ws.h"
#include "loop/loop.h"

#include <errno.h>
#include <pthread.h>

#define OPEN_WAIT (20 * SEC) /* for the handshake */
#define QUEUE_MAX 4096       /* messages not read yet; past it the sender has to wait */

struct message {
    struct message *next;
    size_t n;
    char text[];
};

struct feed {
    struct loop *loop;
    struct arena *a; /* url, headers, texts of the handshake */
    Str url, headers, auth, first;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct message *head, **tail;
    size_t queued;
    bool ready, closed, paused;
    int code;
    char reason[160];
    struct ws *socket; /* the loop's thread alone */
};

static void on_open(struct ws *s, void *user)
{
    struct feed *f = user;
    f->socket = s;
    ws_keepalive(s, 20 * SEC, 20 * SEC);
    if (ws_send(s, f->auth) < 0)
        ws_close(s, 1002, "no auth message");
}

static void on_message(struct ws *s, Str text, void *user)
{
    struct feed *f = user;
    if (!f->ready) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err ignored;
        if (!str_eq(json_get_str(json_parse(a, text, &ignored), STR("type")), STR("auth_success")) || ws_send(s, f->first) < 0) {
            ws_close(s, 1002, "not the answer that was awaited");
            return;
        }
        pthread_mutex_lock(&f->lock);
        f->ready = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        return;
    }
    struct message *m = malloc(sizeof *m + text.n);
    if (!m)
        die("out of memory");
    m->next = NULL;
    m->n = text.n;
    memcpy(m->text, text.p, text.n);
    pthread_mutex_lock(&f->lock);
    *f->tail = m;
    f->tail = &m->next;
    if (++f->queued >= QUEUE_MAX && !f->paused) {
        f->paused = true;
        ws_pause(s, true);
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void on_closed(struct ws *s, int code, Str reason, void *user)
{
    UNUSED(s);
    struct feed *f = user;
    f->socket = NULL;
    pthread_mutex_lock(&f->lock);
    f->closed = true;
    f->code = code;
    snprintf(f->reason, sizeof f->reason, "%.*s", STR_ARG(reason));
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void begin(void *arg)
{
    static const struct ws_handler handler = {.open = on_open, .message = on_message, .closed = on_closed};
    struct feed *f = arg;
    struct err err;
    if (ws_connect(f->loop, f->url, "prefect", f->headers, &handler, f, &err) < 0)
        on_closed(NULL, 1006, str_of(err.text), f);
}

static void go_on(void *arg)
{
    struct feed *f = arg;
    if (f->socket)
        ws_pause(f->socket, false);
}

static void end(void *arg)
{
    struct feed *f = arg;
    if (f->socket)
        ws_close(f->socket, 1000, "");
}

/* Until something changes or the time is up (monotonic; 0: never); false: it is. The lock is held. */
static bool wait_change(struct feed *f, Dur until)
{
    if (!until) {
        pthread_cond_wait(&f->changed, &f->lock);
        return true;
    }
    struct timespec t = {until / SEC, until % SEC * 1000};
    return pthread_cond_timedwait(&f->changed, &f->lock, &t) != ETIMEDOUT;
}

static int closed_error(const struct feed *f, struct err *err)
{
    if (!strncmp(f->reason, "HTTP 404", 8))
        return err_set(err, ERR_NOT_FOUND, "the server has no such socket: %.*s", STR_ARG(f->url));
    if (!strncmp(f->reason, "HTTP 401", 8) || !strncmp(f->reason, "HTTP 403", 8) || f->code == 1008)
        return err_set(err, ERR_AUTH, "%.*s: the server wants other credentials (%s)", STR_ARG(f->url), f->reason);
    return err_set(err, ERR_IO, "%.*s: the connection is closed%s%s", STR_ARG(f->url), *f->reason ? ": " : "", f->reason);
}

/* --cacert and its like are settings: told to the sockets once for the process. */
static int trust(struct cli *x, struct err *err)
{
    struct client_options o = cli_client_options(x);
    Str pem = STR("");
    if (o.ca_file.p && path_read(x->a, o.ca_file, &pem, err) < 0)
        return -1;
    return pem.n || o.tls_insecure ? ws_trust(pem, o.tls_insecure, err) : 0;
}

struct feed *feed_open(struct cli *x, const char *path, Str first, struct err *err)
{
    if (cli_check_url(x, err) < 0 || trust(x, err) < 0)
        return NULL;
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        die("out of memory");
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    f->tail = &f->head;
    f->a = arena_create();
    struct client *c = cli_client(x);
    Str token = client_ws_token(c);
    f->url = client_ws_url(c, f->a, str_of(path));
    f->headers = client_auth_headers(c, f->a);
    f->auth = str_fmt(f->a, "{\"type\":\"auth\",\"token\":%.*s}", STR_ARG(token));
    f->first = str_dup(f->a, first);
    if (!f->url.p)
        (void)err_set(err, ERR_INVALID, "the API's address is a Unix socket, which has no sockets of this kind");
    f->loop = f->url.p ? loop_start("feed", err) : NULL;
    if (!f->loop) {
        feed_close(f);
        return NULL;
    }
    loop_post(f->loop, begin, f);
    pthread_mutex_lock(&f->lock);
    Dur until = time_monotonic() + OPEN_WAIT;
    while (!f->ready && !f->closed && wait_change(f, until))
        ;
    bool ready = f->ready;
    if (f->closed && !ready && str_starts(str_of(f->reason), STR("cannot connect")))
        (void)api_no_server(x, err);
    else if (f->closed && !ready)
        (void)closed_error(f, err);
    else if (!ready)
        (void)err_set(err, ERR_IO, "%.*s: the server does not answer", STR_ARG(f->url));
    pthread_mutex_unlock(&f->lock);
    if (ready)
        return f;
    feed_close(f);
    return NULL;
}

int feed_next(struct feed *f, struct arena *a, Dur timeout, Str *ret, struct err *err)
{
    Dur until = timeout ? time_monotonic() + timeout : 0;
    bool resume = false;
    pthread_mutex_lock(&f->lock);
    while (!f->head && !f->closed && wait_change(f, until))
        ;
    struct message *m = f->head;
    if (m) {
        f->head = m->next;
        f->tail = f->head ? f->tail : &f->head;
        resume = --f->queued == QUEUE_MAX / 2 && f->paused;
        f->paused = f->paused && !resume;
    }
    int rc = m ? 1 : f->closed ? closed_error(f, err) : 0;
    pthread_mutex_unlock(&f->lock);
    if (resume)
        loop_post(f->loop, go_on, f);
    if (m)
        *ret = str_dup(a, (Str){m->text, m->n});
    free(m);
    return rc;
}

void feed_close(struct feed *f)
{
    if (!f)
        return;
    if (f->loop) {
        loop_post(f->loop, end, f);
        loop_stop(f->loop);
    }
    while (f->head) {
        struct message *next = f->head->next;
        free(f->head);
        f->head = next;
    }
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    arena_free(f->a);
    free(f);
}

void feed_closep(struct feed **f)
{
    feed_close(*f);
}
