#include "loop/loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

struct call {
    void (*fn)(void *arg);
    void *arg;
};

struct calls {
    struct call *v;
    size_t n, cap;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t lock; /* over posted and ending */
    struct calls posted;
    bool ending;
    struct calls running; /* the loop's thread alone: the batch that is being run */
    struct calls at_end;
};

static void calls_push(struct calls *c, void (*fn)(void *arg), void *arg)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        struct call *v = realloc(c->v, cap * sizeof *v);
        if (!v)
            die("out of memory: %zu posted calls", cap);
        c->v = v;
        c->cap = cap;
    }
    c->v[c->n++] = (struct call){fn, arg};
}

/* Runs what is posted. Calls posted by these calls wait for the next turn, so that sockets and timers are not
 * starved. Once the loop is asked to end, turns go on until nothing is left. */
static void on_wake(uv_async_t *wake)
{
    struct loop *l = wake->data;
    pthread_mutex_lock(&l->lock);
    struct calls batch = l->posted;
    l->posted = l->running;
    l->running = batch;
    bool ending = l->ending;
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < batch.n; i++)
        batch.v[i].fn(batch.v[i].arg);
    l->running.n = 0;
    if (l->running.cap > 4096) {
        free(l->running.v);
        l->running = (struct calls){0};
    }
    if (ending && batch.n == 0)
        uv_stop(&l->uv);
    else if (ending)
        uv_async_send(wake);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    UNUSED(arg);
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void *thread_main(void *arg)
{
    struct loop *l = arg;
    uv_run(&l->uv, UV_RUN_DEFAULT);
    while (l->at_end.n) {
        struct call c = l->at_end.v[--l->at_end.n];
        c.fn(c.arg);
    }
    uv_walk(&l->uv, close_handle, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

struct loop *loop_start(const char *thread_name, struct err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        die("out of memory");
    int r = uv_loop_init(&l->uv);
    if (r < 0) {
        err_set(err, ERR_IO, "cannot make an event loop: %s", uv_strerror(r));
        free(l);
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->wake.data = l;
    r = uv_async_init(&l->uv, &l->wake, on_wake);
    if (r == 0)
        r = -pthread_create(&l->thread, NULL, thread_main, l);
    if (r < 0) {
        err_set(err, ERR_IO, "cannot start the thread of an event loop: %s", uv_strerror(r));
        uv_walk(&l->uv, close_handle, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        uv_loop_close(&l->uv);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return NULL;
    }
    pthread_setname_np(l->thread, thread_name);
    return l;
}

void loop_stop(struct loop *l)
{
    if (!l)
        return;
    if (loop_is_here(l))
        die("loop_stop: called on the loop's own thread");
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_mutex_unlock(&l->lock);
    uv_async_send(&l->wake);
    pthread_join(l->thread, NULL);
    if (uv_loop_close(&l->uv) < 0)
        die("loop_stop: handles are still open");
    pthread_mutex_destroy(&l->lock);
    free(l->posted.v);
    free(l->running.v);
    free(l->at_end.v);
    free(l);
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->lock);
    bool first = l->posted.n == 0;
    calls_push(&l->posted, fn, arg);
    /* Under the lock: once it is let go, the call may run and loop_stop may free the loop. */
    if (first)
        uv_async_send(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

void loop_at_end(struct loop *l, void (*fn)(void *arg), void *arg)
{
    calls_push(&l->at_end, fn, arg);
}

struct uv_loop_s *loop_uv(struct loop *l)
{
    return &l->uv;
}

bool loop_is_here(const struct loop *l)
{
    return pthread_equal(l->thread, pthread_self());
}
