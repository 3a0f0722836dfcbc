/* bench/load.c: lives of flow runs against a server, over many kept connections, from one thread.
 *
 *   load HOST PORT CONNECTIONS SECONDS
 *
 * Each connection makes a flow run (POST /flow_runs/), moves it to RUNNING and to COMPLETED, and begins anew. A life counts when
 * all three answers have come with status 200 or 201 and the server has accepted both states. An error or a 503 (also counted as
 * "busy") ends that life; the connection waits ERROR_PAUSE and begins anew. Prints one JSON object: lives, errors, busy, seconds,
 * lives per second, and median and 99th percentile of a life in µs. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ERROR_PAUSE 20000 /* µs */

struct conn {
    int fd;
    int64_t resume; /* when it goes on after an error; 0: it is waiting for an answer */
    int step; /* 0 create, 1 RUNNING, 2 COMPLETED */
    char id[37];
    char in[65536];
    size_t have;
    int64_t began;
};

static struct sockaddr_in address;
static char host[64], flow_id[37];
static int port, ep;
static uint64_t lives, errors, answers_503;
static uint32_t *times;
static size_t time_count, time_cap;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_request(struct conn *c)
{
    char body[512], head[512];
    int n;
    if (c->step == 0) {
        c->began = now_us();
        n = snprintf(body, sizeof body,
                     "{\"flow_id\":\"%s\",\"parameters\":{\"n\":1},\"tags\":[\"bench\"],\"state\":{\"type\":\"PENDING\"}}", flow_id);
    } else {
        n = snprintf(body, sizeof body, "{\"state\":{\"type\":\"%s\",\"state_details\":{\"flow_run_id\":\"%s\"}},\"force\":false}",
                     c->step == 1 ? "RUNNING" : "COMPLETED", c->id);
    }
    char path[100] = "/api/flow_runs/";
    if (c->step)
        snprintf(path, sizeof path, "/api/flow_runs/%s/set_state", c->id);
    int h = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nX-PREFECT-API-VERSION: 0.8.4\r\nContent-Length: %d\r\n\r\n",
                     path, host, port, n);
    char all[1024];
    memcpy(all, head, (size_t)h);
    memcpy(all + h, body, (size_t)n);
    /* A connection that is gone shows itself at the next recv. */
    (void)!send(c->fd, all, (size_t)(h + n), MSG_NOSIGNAL);
}

/* One whole answer at the front of c->in: its length, or 0 if more is to come. */
static size_t whole(const struct conn *c, int *ret_status, const char **ret_body)
{
    const char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *ret_status = (int)strtol(c->in + 9, NULL, 10);
    *ret_body = end + 4;
    size_t length = 0;
    for (const char *l = c->in; l < end; l = memchr(l, '\n', (size_t)(end + 2 - l)) + 1)
        if (!strncasecmp(l, "content-length:", 15))
            length = strtoul(l + 15, NULL, 10);
    size_t total = (size_t)(end + 4 - c->in) + length;
    return c->have >= total ? total : 0;
}

static void life_done(struct conn *c)
{
    if (time_count == time_cap) {
        time_cap = time_cap ? time_cap * 2 : 65536;
        times = realloc(times, time_cap * sizeof *times);
        if (!times)
            exit(1);
    }
    times[time_count++] = (uint32_t)(now_us() - c->began);
    lives++;
}

/* A life that failed: the next one begins after a pause, so that a server that refuses is not asked in a circle. */
static void failed(struct conn *c)
{
    errors++;
    c->step = 0;
    c->resume = now_us() + ERROR_PAUSE;
}

static void answer(struct conn *c, int status, const char *body)
{
    bool good = status == 200 || status == 201;
    const char *id = good && c->step == 0 ? strstr(body, "\"id\":\"") : NULL;
    answers_503 += status == 503;
    if (!good || (c->step == 0 ? !id : !strstr(body, "\"ACCEPT\""))) {
        failed(c);
        return;
    }
    if (id)
        memcpy(c->id, id + 6, 36);
    if (c->step == 2)
        life_done(c);
    c->step = (c->step + 1) % 3;
    send_request(c);
}

static bool readable(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - 1 - c->have, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    c->have += (size_t)n;
    c->in[c->have] = 0;
    int status;
    const char *body;
    size_t used = whole(c, &status, &body);
    if (used) {
        answer(c, status, body);
        memmove(c->in, c->in + used, c->have - used);
        c->have -= used;
    }
    return true;
}

static void make_flow(void)
{
    static struct conn c;
    c.fd = dial();
    const char *body = "{\"name\":\"bench\"}";
    char req[512];
    int n = snprintf(req, sizeof req, "POST /api/flows/ HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", host,
                     port, strlen(body), body);
    if (send(c.fd, req, (size_t)n, 0) != n)
        exit(1);
    int status;
    const char *text;
    while (!whole(&c, &status, &text)) {
        ssize_t got = recv(c.fd, c.in + c.have, sizeof c.in - 1 - c.have, 0);
        if (got <= 0)
            exit(1);
        c.have += (size_t)got;
    }
    const char *id = strstr(text, "\"id\":\"");
    if (!id) {
        fprintf(stderr, "no flow: %s\n", c.in);
        exit(1);
    }
    memcpy(flow_id, id + 6, 36);
    close(c.fd);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void watch(struct conn *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = dial();
    c->have = 0;
    c->step = 0;
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void run(struct conn *conns, int n, int64_t end)
{
    struct epoll_event e[256];
    for (int64_t now; (now = now_us()) < end;) {
        int k = epoll_wait(ep, e, 256, 10);
        for (int i = 0; i < k; i++) {
            struct conn *c = e[i].data.ptr;
            if (!readable(c)) {
                close(c->fd);
                watch(c);
                if (!c->resume) /* else its answer was already counted, and it closed after it */
                    failed(c);
            }
        }
        for (int i = 0; i < n && errors; i++)
            if (conns[i].resume && conns[i].resume <= now) {
                conns[i].resume = 0;
                send_request(&conns[i]);
            }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: load HOST PORT CONNECTIONS SECONDS\n");
        return 2;
    }
    snprintf(host, sizeof host, "%s", argv[1]);
    port = (int)strtol(argv[2], NULL, 10);
    int n = (int)strtol(argv[3], NULL, 10);
    double seconds = strtod(argv[4], NULL);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || strncmp(host, "127.", 4) || port < 1 || port > 65535) {
        fprintf(stderr, "only loopback addresses\n");
        return 2;
    }
    if (n < 1 || n > 1000 || !(seconds > 0 && seconds <= 60)) {
        fprintf(stderr, "1 to 1000 connections, up to 60 seconds\n");
        return 2;
    }
    make_flow();
    ep = epoll_create1(0);
    struct conn *conns = calloc((size_t)n, sizeof *conns);
    if (!conns || ep < 0)
        return 1;
    for (int i = 0; i < n; i++)
        watch(&conns[i]);
    int64_t start = now_us();
    for (int i = 0; i < n; i++)
        send_request(&conns[i]);
    run(conns, n, start + (int64_t)(seconds * 1e6));
    double took = (double)(now_us() - start) / 1e6;
    if (time_count)
        qsort(times, time_count, sizeof *times, by_value);
    printf("{\"lives\":%llu,\"errors\":%llu,\"busy\":%llu,\"seconds\":%.3f,\"per_second\":%.1f,\"p50_us\":%u,\"p99_us\":%u}\n",
           (unsigned long long)lives, (unsigned long long)errors, (unsigned long long)answers_503, took, (double)lives / took,
           time_count ? times[time_count / 2] : 0, time_count ? times[time_count * 99 / 100] : 0);
    return 0;
}
