#include "worker/warm.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/supervised.h"

#define MOST 16
#define TAKEN_WITHIN (1500 * MSEC)

struct spare {
    uint64_t key; /* 0: no spare */
    int pid, fd;
    Dur used;
};

static struct spare spares[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t setting(const char *name, int64_t fallback)
{
    int64_t n;
    const char *text = getenv(name);
    return text && str_int(str_of(text), &n) && n >= 0 ? n : fallback;
}

bool warm_fits(const struct run_spec *s)
{
    static const Str early[] = {STR("PYTHON"), STR("LD_"), STR("MALLOC_"), STR("PREFECT_LOGGING"), STR("PREFECT_PROFILES"), STR("GCONV_")};
    if (!s->engine || !s->sandbox)
        return false;
    for (size_t i = 0; i < s->env.n; i++)
        for (size_t k = 0; k < COUNT_OF(early); k++)
            if (str_starts(s->env.v[i].name, early[k]))
                return false;
    return true;
}

/* What a spare is made for and cannot change any more. */
static uint64_t key_of(const struct run_spec *s)
{
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    bool open = str_eqz(s->network, "open"); /* what the sandbox knows of hosts; the rest is told later */
    buf_fmt(&b, "%.*s\n%.*s\n%lld\n%d\n", STR_ARG(s->python), STR_ARG(s->client), (long long)s->limits.disk_mb, open);
    for (size_t i = 0; i < s->packages.n; i++)
        buf_fmt(&b, "%.*s\n", STR_ARG(s->packages.v[i]));
    uint64_t h = str_hash(buf_view(&b));
    return h ? h : 1;
}

static void drop(struct spare *s)
{
    close(s->fd); /* it sees that, and ends */
    *s = (struct spare){.fd = -1};
}

/* Takes in what the spares have said; those that are gone are forgotten. With the lock held. */
static void look(void)
{
    for (int i = 0; i < MOST; i++) {
        struct spare *s = &spares[i];
        char byte;
        if (!s->key)
            continue;
        ssize_t n = recv(s->fd, &byte, 1, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            drop(s);
    }
}

static struct spare *find(uint64_t key)
{
    for (int i = 0; i < MOST; i++)
        if (spares[i].key == key)
            return &spares[i];
    return NULL;
}

int warm_take(struct arena *a, const struct run_spec *spec, Str dir)
{
    if (!warm_fits(spec))
        return 0;
    int pid = 0;
    pthread_mutex_lock(&lock);
    look();
    struct spare *s = find(key_of(spec));
    const char *text = str_z(a, dir);
    if (s && send(s->fd, text, dir.n, MSG_NOSIGNAL) == (ssize_t)dir.n) {
        /* It answers once it holds the directory's lock: from then on it is the run's supervisor. */
        struct pollfd f = {.fd = s->fd, .events = POLLIN};
        char byte = 0;
        Dur until = time_monotonic() + TAKEN_WITHIN;
        for (Dur left; byte != 'k' && (left = until - time_monotonic()) > 0;) /* 'r' may be on its way */
            if (poll(&f, 1, (int)(left / MSEC) + 1) == 1 && recv(s->fd, &byte, 1, MSG_DONTWAIT) != 1)
                break;
        pid = byte == 'k' ? s->pid : 0;
    }
    if (s)
        drop(s);
    pthread_mutex_unlock(&lock);
    return pid;
}

/* Room for one more: a free place, or that of the one unused for longest. With the lock held. */
static struct spare *make_room(int64_t most)
{
    int n = 0;
    struct spare *oldest = NULL, *empty = NULL;
    for (int i = 0; i < MOST; i++) {
        if (!spares[i].key) {
            empty = empty ? empty : &spares[i];
            continue;
        }
        n++;
        if (!oldest || spares[i].used < oldest->used)
            oldest = &spares[i];
    }
    if (n >= MIN(most, MOST)) {
        drop(oldest);
        return oldest;
    }
    return empty;
}

void warm_keep(const struct infra_host *host, const struct run_spec *spec)
{
    int64_t most = setting("MILLPOND_MANAGED_WARM", 2);
    if (!most || !warm_fits(spec))
        return;
    uint64_t key = key_of(spec);
    pthread_mutex_lock(&lock);
    look();
    struct spare *s = find(key);
    if (s) {
        s->used = time_monotonic();
        pthread_mutex_unlock(&lock);
        return;
    }
    s = make_room(most);
    struct run_spec bare = *spec;
    bare.env = (EnvVars){0};
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    run_spec_print(&b, &bare);
    struct err err;
    int pair[2], pid = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
        if (supervised_spare(host, pair[1], &pid, &err) == 0 && send(pair[0], b.p, b.n, MSG_NOSIGNAL) == (ssize_t)b.n)
            *s = (struct spare){.key = key, .pid = pid, .fd = pair[0], .used = time_monotonic()};
        else
            close(pair[0]);
        close(pair[1]);
    }
    pthread_mutex_unlock(&lock);
    log_at(LOG_DEBUG, "worker", s->key ? "a warm sandbox is being made" : "no warm sandbox", "pid=%d", pid);
}
