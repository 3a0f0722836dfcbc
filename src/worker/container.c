#include "worker/container.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "worker/engine.h"

#define PULL_WITHIN (3600 * SEC)
#define NAMES_TRIED 50
#define FRAME_HEAD 8
#define FAILED 125 /* as `docker run` says: not the container's own status */

struct container {
    struct arena *a;
    const struct json *want;
    struct engine engine;
    Str id;
    int64_t grace;
};

static const struct json *member(const struct container *c, const char *key)
{
    return json_get(c->want, str_of(key));
}

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vdprintf(2, fmt, ap);
    va_end(ap);
    dprintf(2, "\n");
}

static int fail(const struct err *err)
{
    say("%s", err->text);
    return FAILED;
}

static int find(struct container *c, struct err *err)
{
    Str claim = json_str(member(c, "claim"));
    const struct json *list;
    Str filter = str_fmt(c->a, "{\"label\":[\"" CONTAINER_LABEL "=%.*s\"]}", STR_ARG(claim));
    if (engine_json(&c->engine, c->a, "GET", str_fmt(c->a, "/containers/json?all=1&filters=%.*s", STR_ARG(url_segment(c->a, filter))), STR_NONE, &list, err) < 0)
        return -1;
    if (json_is(list, JSON_ARRAY) && list->array.n)
        c->id = json_get_str(&list->array.items[0], STR("Id"));
    return c->id.n > 0;
}

/* ---- the image ---- */

static int has_image(struct container *c, Str image, struct err *err)
{
    int rc = engine_json(&c->engine, c->a, "GET", str_fmt(c->a, "/images/%.*s/json", STR_ARG(url_segment(c->a, image))), STR_NONE, NULL, err);
    return rc == 0 ? 1 : err->code == ERR_NOT_FOUND ? 0 : -1;
}

static int pull(struct container *c, Str image, struct err *err)
{
    /* the tag after the last ':' that no '/' follows; a digest keeps its '@' */
    size_t cut = image.n;
    for (size_t i = image.n; i-- > 0 && image.p[i] != '/';)
        if (image.p[i] == ':')
            cut = i;
    bool digest = memchr(image.p, '@', image.n);
    Str name = digest ? image : str_sub(image, 0, cut), tag = digest ? STR("") : cut < image.n ? str_sub(image, cut + 1, SIZE_MAX) : STR("latest");
    Str auth = json_str(member(c, "auth")), text;
    Str headers = auth.n ? str_fmt(c->a, "X-Registry-Auth: %.*s\r\n", STR_ARG(auth)) : STR("");
    Str path = str_fmt(c->a, "/images/create?fromImage=%.*s%s%.*s", STR_ARG(url_segment(c->a, name)), tag.n ? "&tag=" : "", STR_ARG(url_segment(c->a, tag)));
    int status;
    say("Pulling image %.*s", STR_ARG(image));
    if (engine_call(&c->engine, c->a, "POST", path, headers, STR_NONE, PULL_WITHIN, &status, &text, err) < 0)
        return -1;
    /* a JSON object a line; what went wrong on the way is in the last */
    Str said = STR_NONE;
    for (Str line; str_cut(&text, '\n', &line);) {
        struct err ignored;
        const struct json *v = str_trim(line).n ? json_parse(c->a, str_trim(line), &ignored) : NULL;
        Str bad = json_get_str(v, STR("error")).n ? json_get_str(v, STR("error")) : status >= 400 ? json_get_str(v, STR("message")) : STR_NONE;
        said = bad.n ? bad : said;
    }
    if (said.n || status >= 400)
        return err_set(err, ERR_INVALID, "image %.*s cannot be pulled: %.*s (%d)", STR_ARG(image), STR_ARG(str_sub(said, 0, 150)), status);
    return 0;
}

static int provide_image(struct container *c, struct err *err)
{
    Str image = json_str(member(c, "image")), policy = json_str(member(c, "policy"));
    size_t slash = 0;
    for (size_t i = 0; i < image.n; i++)
        slash = image.p[i] == '/' ? i : slash;
    Str last = str_sub(image, slash, SIZE_MAX);
    bool latest = !memchr(last.p, ':', last.n) || str_ends(last, STR(":latest"));
    bool always = str_eqz(policy, "Always") || (!policy.n && latest);
    if (str_eqz(policy, "Never"))
        return 0;
    struct err why;
    if (always || str_eqz(policy, "IfPossible")) {
        if (pull(c, image, &why) == 0)
            return 0;
        if (always || has_image(c, image, err) <= 0) {
            *err = why;
            return -1;
        }
        say("%s; the image that is here is used", why.text);
        return 0;
    }
    int there = has_image(c, image, err);
    return there < 0 ? -1 : there ? 0 : pull(c, image, err);
}

/* ---- the container ---- */

/* A name that an Engine takes: letters, digits, _ . - ; empty: the Engine makes one up. */
static Str name_of(struct arena *a, Str s)
{
    char *p = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < 200; i++) {
        char ch = s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (plain || (n && (ch == '_' || ch == '.' || ch == '-')))
            p[n++] = ch;
        else if (n && p[n - 1] != '-')
            p[n++] = '-';
    }
    return (Str){p, n};
}

static int create(struct container *c, struct err *err)
{
    Str name = name_of(c->a, json_str(member(c, "name"))), body = member(c, "create")->raw;
    const struct json *made = NULL;
    for (int i = 0;; i++) {
        Str path = !name.n ? STR("/containers/create") : i ? str_fmt(c->a, "/containers/create?name=%.*s-%d", STR_ARG(name), i)
                                                         : str_fmt(c->a, "/containers/create?name=%.*s", STR_ARG(name));
        if (engine_json(&c->engine, c->a, "POST", path, body, &made, err) == 0)
            break;
        if (err->code != ERR_CONFLICT || !name.n || i >= NAMES_TRIED)
            return err_wrap(err, "making the container");
    }
    c->id = json_get_str(made, STR("Id"));
    const struct json *networks = member(c, "networks");
    for (size_t i = 0; json_is(networks, JSON_ARRAY) && i < networks->array.n; i++) {
        Str path = str_fmt(c->a, "/networks/%.*s/connect", STR_ARG(url_segment(c->a, json_str(&networks->array.items[i]))));
        if (engine_json(&c->engine, c->a, "POST", path, str_fmt(c->a, "{\"Container\":\"%.*s\"}", STR_ARG(c->id)), NULL, err) < 0)
            return err_wrap(err, "joining network %.*s", STR_ARG(json_str(&networks->array.items[i])));
    }
    return 0;
}

static void remove_container(struct container *c)
{
    struct err ignored;
    (void)!engine_json(&c->engine, c->a, "DELETE", str_fmt(c->a, "/containers/%.*s?force=1&v=1", STR_ARG(c->id)), STR_NONE, NULL, &ignored);
}

static void write_all(int fd, Str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return;
        text = str_sub(text, n > 0 ? (size_t)n : 0, SIZE_MAX);
    }
}

/* Whole frames of {stream, 0, 0, 0, length (4 bytes, big end first)} and content; what is not whole yet stays. */
static void demultiplex(struct buf *b, bool raw)
{
    size_t at = 0;
    while (!raw && b->n - at >= FRAME_HEAD) {
        const uint8_t *h = (const uint8_t *)b->p + at;
        size_t n = (size_t)h[4] << 24 | (size_t)h[5] << 16 | (size_t)h[6] << 8 | h[7];
        size_t have = MIN(n, b->n - at - FRAME_HEAD);
        if (have < n && have < 65536)
            break;
        write_all(h[0] == 2 ? 2 : 1, (Str){b->p + at + FRAME_HEAD, have});
        if (have < n) { /* a long one goes out in parts: the rest gets a head of its own */
            size_t left = n - have;
            uint8_t *next = (uint8_t *)b->p + at + have;
            uint8_t stream = h[0];
            next[0] = stream;
            next[4] = (uint8_t)(left >> 24), next[5] = (uint8_t)(left >> 16), next[6] = (uint8_t)(left >> 8), next[7] = (uint8_t)left;
            at += have;
            continue;
        }
        at += FRAME_HEAD + n;
    }
    if (raw) {
        write_all(1, buf_view(b));
        at = b->n;
    }
    if (at) {
        memmove(b->p, b->p + at, b->n - at);
        b->n -= at;
    }
}

/* Stops it in a thread of its own, so that its last words are read meanwhile. */
static void *stop(void *arg)
{
    struct container *c = arg, own = {.a = arena_create()};
    struct err err;
    if (engine_open(&own.engine, json_str(member(c, "engine")), &err) == 0) {
        int status;
        Str text, path = str_fmt(own.a, "/containers/%.*s/stop?t=%lld", STR_ARG(c->id), (long long)MAX(0, c->grace - 3));
        (void)!engine_call(&own.engine, own.a, "POST", path, STR(""), STR_NONE, (c->grace + 30) * SEC, &status, &text, &err);
    }
    engine_close(&own.engine);
    arena_free(own.a);
    return NULL;
}

/* Its output until it ends. Its exit status; -1 with *err. */
static int follow(struct container *c, int signals, bool started, struct err *err)
{
    AUTO(engine_close) struct engine out;
    bool silent = json_is(member(c, "stream"), JSON_BOOL) && !member(c, "stream")->boolean;
    const struct json *inspected;
    Str path = str_fmt(c->a, "/containers/%.*s", STR_ARG(c->id)), text;
    int status;
    if (engine_open(&out, json_str(member(c, "engine")), err) < 0 || engine_json(&c->engine, c->a, "GET", str_fmt(c->a, "%.*s/json", STR_ARG(path)), STR_NONE, &inspected, err) < 0)
        return -1;
    const struct json *tty = json_path(inspected, "Config.Tty");
    bool raw = json_is(tty, JSON_BOOL) && tty->boolean;
    bool running = !started || str_eqz(json_str(json_path(inspected, "State.Status")), "running");
    if (running && engine_call(&out, c->a, "POST", str_fmt(c->a, "%.*s/attach?stream=1&stdout=1&stderr=1", STR_ARG(path)),
                               STR("Connection: Upgrade\r\nUpgrade: tcp\r\n"), STR_NONE, 30 * SEC, &status, &text, err) < 0)
        return -1;
    if (running && status != 101)
        return err_set(err, ERR_IO, "the container engine gives no output (%d)", status);
    if (!started && engine_json(&c->engine, c->a, "POST", str_fmt(c->a, "%.*s/start", STR_ARG(path)), STR_NONE, NULL, err) < 0)
        return err_wrap(err, "starting the container");
    pthread_t stopper;
    bool stopping = false;
    struct buf *in = &out.plain.in;
    while (running) {
        if (silent)
            buf_reset(in);
        demultiplex(in, raw);
        struct pollfd f[2] = {{.fd = out.plain.fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        if (poll(f, 2, -1) < 0 && errno != EINTR)
            break;
        struct signalfd_siginfo info;
        while (f[1].revents && read(signals, &info, sizeof info) == sizeof info)
            if (!stopping)
                stopping = pthread_create(&stopper, NULL, stop, c) == 0;
        if (!f[0].revents)
            continue;
        char *room = buf_room(in, 65536);
        ssize_t n = room ? read(out.plain.fd, room, 65536) : -1;
        if (n > 0)
            in->n += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    if (stopping)
        pthread_join(stopper, NULL);
    /* an Engine that was started anew closes the stream, though the container may run on: this waits for it */
    for (int tries = 0;; tries++) {
        int rc = engine_call(&c->engine, c->a, "POST", str_fmt(c->a, "%.*s/wait", STR_ARG(path)), STR(""), STR_NONE, 366 * DAY, &status, &text, err);
        if (rc == 0)
            break;
        if (tries >= 60)
            return -1;
        sleep(1);
    }
    struct err bad;
    const struct json *ended = json_parse(c->a, text, &bad);
    int64_t code;
    if (status >= 400 || !json_int(json_getz(ended, "StatusCode"), &code))
        return err_set(err, ERR_IO, "the container engine does not say how the container ended: %.*s", STR_ARG(str_sub(text, 0, 150)));
    if (engine_json(&c->engine, c->a, "GET", str_fmt(c->a, "%.*s/json", STR_ARG(path)), STR_NONE, &inspected, &bad) == 0) {
        const struct json *oom = json_path(inspected, "State.OOMKilled");
        if (json_is(oom, JSON_BOOL) && oom->boolean)
            say("The container was killed because it reached its memory limit.");
    }
    return (int)code;
}

static int make_and_follow(struct container *c, const char *dir, bool attach, struct err *err)
{
    struct run_spec spec;
    if (run_spec_read(c->a, str_of(dir), &spec, err) < 0 || !(c->want = json_parse(c->a, spec.container, err)) ||
        engine_open(&c->engine, json_str(member(c, "engine")), err) < 0)
        return -1;
    c->grace = spec.limits.grace / SEC;
    int found = find(c, err);
    if (found < 0)
        return -1;
    if (!found && attach)
        return err_set(err, ERR_NOT_FOUND, "The container of this run is gone, and with it its end.");
    if (!found && provide_image(c, err) < 0)
        return -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int code = !found && create(c, err) < 0 ? -1 : follow(c, signals, found, err);
    close(signals);
    const struct json *keep = member(c, "auto_remove");
    if (c->id.n && (code < 0 || (json_is(keep, JSON_BOOL) && keep->boolean)))
        remove_container(c);
    return code;
}

int container_main(int argc, char **argv)
{
    bool attach = argc == 3 && !strcmp(argv[1], "--attach");
    if (argc != 2 && !attach)
        return 2;
    struct container c = {.a = arena_create()};
    struct err err;
    int code = make_and_follow(&c, argv[argc - 1], attach, &err);
    engine_close(&c.engine);
    arena_free(c.a);
    return code < 0 ? fail(&err) : code;
}

void container_end(Str request)
{
    struct container c = {.a = arena_create()};
    struct err err;
    if ((c.want = json_parse(c.a, request, &err)) && engine_open(&c.engine, json_str(member(&c, "engine")), &err) == 0 && find(&c, &err) == 1)
        (void)!engine_json(&c.engine, c.a, "POST", str_fmt(c.a, "/containers/%.*s/kill", STR_ARG(c.id)), STR_NONE, NULL, &err);
    engine_close(&c.engine);
    arena_free(c.a);
}
