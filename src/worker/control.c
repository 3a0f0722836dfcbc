#include "worker/control.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE 1000 /* ms */

void control_prepare(struct control *c, int port, struct arena *a, EnvVars *env)
{
    unsigned char bytes[16];
    *c = (struct control){.listener = -1, .fd = -1};
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(c->token + 2 * i, 3, "%02x", bytes[i]);
    env_set(a, env, STR("PREFECT__CONTROL_PORT"), str_fmt(a, "%d", port));
    env_set(a, env, STR("PREFECT__CONTROL_TOKEN"), str_fmt(a, "%s", c->token));
}

void control_open(struct control *c, struct arena *a, EnvVars *env)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 4) < 0 || getsockname(fd, (struct sockaddr *)&at, &n) < 0) {
        if (fd >= 0)
            close(fd);
        *c = (struct control){.listener = -1, .fd = -1};
        return;
    }
    control_prepare(c, ntohs(at.sin_port), a, env);
    c->listener = fd;
}

int control_poll(const struct control *c)
{
    return c->fd >= 0 ? c->fd : c->listener;
}

static void drop(struct control *c)
{
    close(c->fd);
    c->fd = -1;
    c->known = false;
    c->n = 0;
}

void control_step(struct control *c)
{
    if (c->fd < 0) {
        c->fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        return;
    }
    ssize_t n = read(c->fd, c->got + c->n, sizeof c->got - c->n);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            drop(c);
        return;
    }
    if (c->known)
        return; /* what it offers beyond: not taken up, as an older supervisor would not */
    c->n += (size_t)n;
    size_t len = sizeof c->token - 1;
    if (c->n > len && c->got[len] == '\n' && !memcmp(c->got, c->token, len))
        c->known = true;
    else if (c->n > len)
        drop(c);
    c->n = c->known ? 0 : c->n;
}

void control_cancel(struct control *c)
{
    /* It may just be connecting. */
    struct pollfd f = {.fd = control_poll(c), .events = POLLIN};
    for (int i = 0; i < 4 && f.fd >= 0 && !c->known && poll(&f, 1, 0) > 0; i++) {
        control_step(c);
        f.fd = control_poll(c);
    }
    if (!c->known || send(c->fd, "c", 1, MSG_NOSIGNAL) != 1)
        return;
    for (Dur until = time_monotonic() + PATIENCE * MSEC, left; (left = until - time_monotonic()) > 0;) {
        char bytes[64];
        f = (struct pollfd){.fd = c->fd, .events = POLLIN};
        if (poll(&f, 1, (int)(left / MSEC) + 1) <= 0)
            return;
        ssize_t n = read(c->fd, bytes, sizeof bytes);
        if (n <= 0 || memchr(bytes, 'a', (size_t)n))
            return;
    }
}

void control_close(struct control *c)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->listener >= 0)
        close(c->listener);
    c->fd = c->listener = -1;
}
