#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/settle.h"
#include "worker/crew.h"
#include "worker/supervised.h"

#define HANDS 4
#define HAND_STACK ((size_t)1 << 20)
#define SWEEP_AWAKE (60 * SEC) /* a look for cancelled runs where the server tells of them, and where it does not */
#define SWEEP_BLIND (10 * SEC)

void crew_nudge(struct crew *c)
{
    uint64_t one = 1;
    ssize_t done = write(c->event, &one, sizeof one);
    UNUSED(done);
}

void crew_add(struct crew *c, struct job job, Dur later)
{
    struct job *j = malloc(sizeof *j);
    if (!j)
        die("out of memory");
    *j = job;
    j->not_before = time_monotonic() + later;
    pthread_mutex_lock(&c->lock);
    struct job **at = &c->jobs;
    while (*at && (*at)->not_before <= j->not_before)
        at = &(*at)->next;
    j->next = *at;
    *at = j;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void crew_poll(struct crew *c, struct pool *p)
{
    pthread_mutex_lock(&c->lock);
    bool add = !p->poll_queued && !c->draining && !p->gone && p->driver;
    if (add)
        p->poll_queued = true;
    else if (p->poll_queued)
        p->poll_again = true;
    pthread_mutex_unlock(&c->lock);
    if (add)
        crew_add(c, (struct job){.kind = JOB_POLL, .pool = p}, 0);
}

struct pool *crew_pool(struct crew *c, Str name)
{
    struct pool *found = NULL;
    pthread_mutex_lock(&c->lock);
    for (struct pool *p = c->pools; p && !found; p = p->next)
        if (str_eqz(name, p->name))
            found = p;
    pthread_mutex_unlock(&c->lock);
    return found;
}

void crew_fail(struct crew *c, const struct err *err)
{
    pthread_mutex_lock(&c->lock);
    if (!c->failed)
        c->fatal = *err;
    c->failed = true;
    pthread_mutex_unlock(&c->lock);
    crew_nudge(c);
}

static struct slot *find_slot(struct crew *c, Uuid run)
{
    for (size_t i = 0; i < c->slot_count; i++)
        if (uuid_eq(c->slots[i].run, run))
            return &c->slots[i];
    return NULL;
}

bool crew_reserve(struct crew *c, Uuid run, struct pool *p, bool *ret_full)
{
    pthread_mutex_lock(&c->lock);
    *ret_full = (c->o.limit && c->slot_count >= (size_t)c->o.limit) || c->draining;
    bool taken = find_slot(c, run);
    /* What lives already counts, whatever the limit says now. */
    bool ok = !taken && (!*ret_full || !p);
    if (ok) {
        if (c->slot_count == c->slot_cap) {
            c->slot_cap = c->slot_cap ? c->slot_cap * 2 : 16;
            c->slots = realloc(c->slots, c->slot_cap * sizeof *c->slots);
            if (!c->slots)
                die("out of memory");
        }
        c->slots[c->slot_count++] = (struct slot){.run = run, .pool = p, .pidfd = -1};
    }
    pthread_mutex_unlock(&c->lock);
    return ok;
}

/* With the lock held. */
static void drop_slot(struct crew *c, struct slot *s)
{
    if (s->pidfd >= 0)
        close(s->pidfd);
    *s = c->slots[--c->slot_count];
}

void crew_release(struct crew *c, Uuid run)
{
    pthread_mutex_lock(&c->lock);
    struct slot *s = find_slot(c, run);
    if (s)
        drop_slot(c, s);
    pthread_mutex_unlock(&c->lock);
    crew_nudge(c);
}

void crew_started(struct crew *c, Uuid run, int pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    pthread_mutex_lock(&c->lock);
    struct slot *s = find_slot(c, run);
    if (s && fd >= 0) {
        s->pid = pid;
        s->pidfd = fd;
    } else if (s) {
        drop_slot(c, s); /* over already */
    }
    pthread_mutex_unlock(&c->lock);
    crew_nudge(c);
}

int crew_slot_pid(struct crew *c, Uuid run)
{
    pthread_mutex_lock(&c->lock);
    struct slot *s = find_slot(c, run);
    int pid = !s ? 0 : s->pid ? s->pid : -1;
    pthread_mutex_unlock(&c->lock);
    return pid;
}

static void do_job(struct hand *h, struct job *j)
{
    switch (j->kind) {
    case JOB_DISCOVER:
        job_discover(h);
        break;
    case JOB_HEARTBEAT:
        job_heartbeat(h, j->pool);
        break;
    case JOB_REFRESH:
        job_refresh(h, j->pool);
        break;
    case JOB_POLL:
        job_poll(h, j->pool);
        break;
    case JOB_SWEEP:
        job_sweep(h, j->pool);
        break;
    case JOB_CLAIM:
        job_claim(h, j);
        break;
    case JOB_CANCEL:
        job_cancel(h, j);
        break;
    case JOB_TEARDOWN:
        job_teardown(h, j);
        break;
    }
}

/* The next job that is due, waiting for it; NULL when there is none any more. With the lock held. */
static struct job *next_job(struct crew *c)
{
    for (;;) {
        struct job *j = c->jobs;
        if (c->quit)
            return NULL;
        if (j && j->not_before <= time_monotonic()) {
            c->jobs = j->next;
            return j;
        }
        if (j) {
            struct timespec ts = {.tv_sec = j->not_before / SEC, .tv_nsec = j->not_before % SEC * 1000};
            pthread_cond_timedwait(&c->wake, &c->lock, &ts);
        } else {
            pthread_cond_wait(&c->wake, &c->lock);
        }
    }
}

static void *hand_run(void *arg)
{
    struct hand *h = arg;
    struct crew *c = h->crew;
    pthread_mutex_lock(&c->lock);
    for (struct job *j; (j = next_job(c));) {
        c->busy++;
        pthread_mutex_unlock(&c->lock);
        do_job(h, j);
        arena_reset(h->arena);
        free(j);
        pthread_mutex_lock(&c->lock);
        c->busy--;
        if (c->draining)
            crew_nudge(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* No claim is under way any more. With the lock held. */
static bool is_drained(const struct crew *c)
{
    for (size_t i = 0; i < c->slot_count; i++)
        if (!c->slots[i].pid)
            return false;
    return true;
}

/* Supervisors that have ended give their slots back. */
static void collect(struct crew *c, const struct pollfd *f, size_t n)
{
    bool freed = false;
    for (size_t k = 0; k < n; k++) {
        if (!f[k].revents)
            continue;
        Uuid run = UUID_NIL;
        pthread_mutex_lock(&c->lock);
        for (size_t i = 0; i < c->slot_count; i++) {
            if (c->slots[i].pidfd != f[k].fd)
                continue;
            run = c->slots[i].run;
            drop_slot(c, &c->slots[i]);
            freed = true;
            break;
        }
        pthread_mutex_unlock(&c->lock);
        if (!uuid_is_nil(run))
            runs_lost(c, run);
    }
    supervised_reap();
    for (struct pool *p = freed ? c->pools : NULL; p; p = p->next)
        crew_poll(c, p); /* what the limit (of the worker, pool or queue) held back */
}

/* Monotonic instants. */
struct timers {
    Dur poll, heartbeat, sweep, discover;
};

static Dur tick(struct crew *c, struct timers *t)
{
    Dur now = time_monotonic();
    pthread_mutex_lock(&c->lock);
    bool ready = c->ready, awake = c->awake, draining = c->draining;
    pthread_mutex_unlock(&c->lock);
    if (!ready || draining)
        return now + SEC;
    if (now >= t->poll) {
        for (struct pool *p = c->pools; p; p = p->next)
            crew_poll(c, p);
        t->poll = now + c->o.poll_every;
    }
    if (now >= t->sweep) {
        for (struct pool *p = c->pools; p; p = p->next)
            if (!p->gone && p->driver)
                crew_add(c, (struct job){.kind = JOB_SWEEP, .pool = p}, 0);
        t->sweep = now + (awake ? SWEEP_AWAKE : SWEEP_BLIND);
    } else if (!awake) {
        t->sweep = MIN(t->sweep, now + SWEEP_BLIND);
    }
    if (now >= t->heartbeat) {
        for (struct pool *p = c->pools; p; p = p->next)
            if (!c->o.managed)
                crew_add(c, (struct job){.kind = JOB_HEARTBEAT, .pool = p}, 0);
        t->heartbeat = now + c->o.heartbeat_every;
    }
    if (c->o.managed && now >= t->discover) {
        crew_add(c, (struct job){.kind = JOB_DISCOVER}, 0);
        t->discover = now + c->o.heartbeat_every;
    }
    return MIN(MIN(t->poll, t->sweep), MIN(t->heartbeat, c->o.managed ? t->discover : TIME_NEVER));
}

static void begin_drain(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->draining)
        log_at(LOG_INFO, "worker", "stopping; runs that are started go on", "in_hand=%zu", c->slot_count);
    c->draining = true;
    pthread_mutex_unlock(&c->lock);
}

/* Once the pool is known. */
static void start_link(struct crew *c)
{
    struct err why;
    struct wake *w = wake_start(c, &why);
    if (!w)
        log_at(LOG_WARN, "worker", "no socket to the server, polling", "error=\"%s\"", why.text);
}

/* Timers, signals, supervisors: until it is told to stop. */
static void main_loop(struct crew *c, int signals)
{
    Dur now = time_monotonic();
    struct timers t = {.poll = now + c->o.poll_every, .sweep = now + SEC, .discover = now + c->o.heartbeat_every};
    int asked = 0;
    bool started_once = false, linking = false;
    Dur settle_at = now + 2 * SEC; /* 0: done */
    for (;;) {
        Dur next = tick(c, &t);
        pthread_mutex_lock(&c->lock);
        bool link = c->ready && !linking && !c->o.run_once && !c->draining;
        size_t n = 2, slots = c->slot_count;
        bool polls = false;
        for (struct pool *p = c->pools; p; p = p->next)
            polls |= p->poll_queued;
        bool idle = !slots && !polls && !c->busy;
        bool stop = c->failed || (c->draining && (is_drained(c) || asked > 1)) ||
                    (c->o.run_once && started_once && idle);
        started_once |= c->ready && !polls;
        struct pollfd *f = calloc(2 + slots, sizeof *f);
        if (!f)
            die("out of memory");
        f[0] = (struct pollfd){.fd = c->event, .events = POLLIN};
        f[1] = (struct pollfd){.fd = signals, .events = POLLIN};
        for (size_t i = 0; i < slots; i++)
            if (c->slots[i].pidfd >= 0)
                f[n++] = (struct pollfd){.fd = c->slots[i].pidfd, .events = POLLIN};
        pthread_mutex_unlock(&c->lock);
        if (stop) {
            free(f);
            return;
        }
        if (link) {
            linking = true;
            start_link(c);
        }
        Dur left = next - time_monotonic();
        int ms = left <= 0 ? 0 : (int)MIN(left / MSEC + 1, 60000);
        if (c->o.run_once)
            ms = MIN(ms, 50);
        if (settle_at)
            ms = MIN(ms, 500);
        poll(f, n, ms);
        if (settle_at && time_monotonic() > settle_at) {
            memory_settle();
            settle_at = 0;
        }
        uint64_t count;
        while (f[0].revents && read(c->event, &count, sizeof count) > 0)
            ;
        struct signalfd_siginfo info;
        while (f[1].revents && read(signals, &info, sizeof info) == sizeof info) {
            if (info.ssi_signo == SIGCHLD)
                continue; /* collect() sees to it */
            asked++;
            begin_drain(c);
        }
        collect(c, f + 2, n - 2);
        free(f);
    }
}

static int block_signals(sigset_t *ret_before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, ret_before);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static Str own_home(struct arena *a, Str given)
{
    const char *home = getenv("MILLPOND_HOME");
    if (given.n)
        return str_dup(a, given);
    if (home && *home)
        return str_dup(a, str_of(home));
    home = getenv("HOME");
    return str_fmt(a, "%s/.millpond", home && *home ? home : "/root");
}

static int crew_init(struct crew *c, const struct worker_options *o, struct err *err)
{
    *c = (struct crew){.o = *o, .arena = arena_create(), .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .claims_fd = -1};
    struct arena *a = c->arena;
    if (c->event < 0)
        return err_errno(err, "making an eventfd");
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (!c->o.type.n)
        c->o.type = STR("process");
    if (!c->o.name.n)
        c->o.name = str_fmt(a, "%.*s %s", STR_ARG(c->o.type), uuid_text(uuid_v4()).s);
    if (c->o.prefetch < 0)
        c->o.prefetch = 10 * SEC;
    if (!c->o.poll_every)
        c->o.poll_every = 10 * SEC;
    if (!c->o.heartbeat_every)
        c->o.heartbeat_every = 30 * SEC;
    c->o.api.repeat_posts = true;
    char host[256] = "", exe[4096];
    gethostname(host, sizeof host - 1);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe);
    c->host = (struct infra_host){
        .home = own_home(a, o->home),
        .exe = o->exe.n ? o->exe : str_dup(a, ((Str){exe, (size_t)MAX(n, 0)})),
        .host_name = str_dup(a, str_of(host)),
        .worker_name = c->o.name,
        .api = o->api,
    };
    if (claims_open(c, err) < 0)
        return -1;
    if (!o->managed && !o->pool.n)
        return err_set(err, ERR_INVALID, "no work pool was named");
    if (!o->managed) {
        c->pools = calloc(1, sizeof *c->pools);
        if (!c->pools)
            die("out of memory");
        c->pools->name = strndup(o->pool.p, o->pool.n);
    }
    return 0;
}

static void crew_clear(struct crew *c)
{
    for (struct job *j = c->jobs, *next; j; j = next) {
        next = j->next;
        free(j->flow_run);
        free(j->why);
        free(j->said);
        free(j);
    }
    for (struct pool *p = c->pools, *next; p; p = next) {
        next = p->next;
        free(p->name);
        free(p->type);
        free(p->template);
        free(p);
    }
    while (c->slot_count)
        drop_slot(c, c->slots);
    free(c->slots);
    claims_close(c);
    if (c->event >= 0)
        close(c->event);
    arena_free(c->arena);
}

int worker_main(const struct worker_options *o, struct err *err)
{
    struct crew c;
    sigset_t before;
    mallopt(M_ARENA_MAX, 2);
    if (crew_init(&c, o, err) < 0) {
        crew_clear(&c);
        return -1;
    }
    int signals = block_signals(&before);
    if (o->managed) /* a server that is killed starts another of us when it is back */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    runs_adopt(&c);
    crew_add(&c, c.o.managed ? (struct job){.kind = JOB_DISCOVER} : (struct job){.kind = JOB_REFRESH, .pool = c.pools}, 0);
    struct hand hands[HANDS];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, HAND_STACK);
    for (int i = 0; i < HANDS; i++) {
        hands[i] = (struct hand){.crew = &c, .api = client_create(&c.o.api), .arena = arena_create()};
        if (pthread_create(&hands[i].thread, &attr, hand_run, &hands[i]))
            die("cannot start the worker's threads");
    }
    pthread_attr_destroy(&attr);
    main_loop(&c, signals);
    pthread_mutex_lock(&c.lock);
    c.quit = true;
    pthread_cond_broadcast(&c.wake);
    pthread_mutex_unlock(&c.lock);
    for (int i = 0; i < HANDS; i++) {
        pthread_join(hands[i].thread, NULL);
        client_free(hands[i].api);
        arena_free(hands[i].arena);
    }
    wake_stop(c.link);
    int rc = 0;
    if (c.failed) {
        *err = c.fatal;
        rc = -1;
    }
    close(signals);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    crew_clear(&c);
    return rc;
}
