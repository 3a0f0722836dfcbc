/* ws /events/in, /events/out, /logs/out */
#include "api/handlers.h"
#include "api/socket.h"
#include "events/event.h"
#include "events/filter.h"
#include "events/log_filter.h"

#include "base/limits.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ==== /events/in: events come, nothing is answered but pings ====
 *
 * A pong says that all events before its ping are on disk, in both databases. Events of one turn of the loop are handed on
 * together, as a flight; a ping waits for the flights before it. */

#define UNSTORED_MAX ((size_t)8 << 20) /* bytes under way from one socket; past it the sender has to wait */

struct flight {
    struct flight *next;
    struct socket *socket;
    uint64_t number;
    size_t bytes;
    bool failed;
};
struct waiting_ping {
    struct waiting_ping *next;
    uint64_t after; /* the last flight that it waits for */
    Str payload;
    char text[125];
};
struct events_in {
    struct arena *a; /* the events that are gathered */
    VEC(struct event) events;
    size_t bytes, bytes_under_way;
    bool posted, paused;
    uint64_t number;
    struct flight *flights, **flights_end;
    struct waiting_ping *pings, **pings_end;
};

static void in_freed(void *own)
{
    struct events_in *in = own;
    for (struct waiting_ping *p; (p = in->pings);) {
        in->pings = p->next;
        free(p);
    }
    arena_free(in->a);
    free(in);
}

static void answer_pings(struct socket *s)
{
    struct events_in *in = s->own;
    for (struct waiting_ping *p; (p = in->pings) && (!in->flights || in->flights->number > p->after);) {
        in->pings = p->next;
        if (!in->pings)
            in->pings_end = &in->pings;
        if (s->ws)
            ws_pong(s->ws, p->payload);
        free(p);
    }
}

static void flow_control(struct socket *s)
{
    struct events_in *in = s->own;
    size_t n = in->bytes + in->bytes_under_way;
    bool pause = in->paused ? n > UNSTORED_MAX / 2 : n > UNSTORED_MAX;
    if (s->ws && pause != in->paused)
        ws_pause(s->ws, in->paused = pause);
}

static void landed(void *arg)
{
    struct flight *f = arg;
    struct socket *s = f->socket;
    struct events_in *in = s->own;
    struct flight **at = &in->flights;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    if (!*at)
        in->flights_end = at;
    in->bytes_under_way -= f->bytes;
    if (f->failed) /* no pong: the client comes again and sends anew what was not confirmed */
        socket_close(s, 1011, "events could not be stored, send them again");
    else
        answer_pings(s);
    flow_control(s);
    free(f);
    socket_release(s);
}

static void flight_done(void *arg, const struct err *err)
{
    struct flight *f = arg;
    f->failed = err != NULL;
    loop_post(f->socket->workspace->loop, landed, f);
}

static void take_off(struct socket *s)
{
    struct events_in *in = s->own;
    if (!in->events.n)
        return;
    struct flight *f = calloc(1, sizeof *f);
    if (!f)
        die("out of memory");
    *f = (struct flight){.socket = s, .number = ++in->number, .bytes = in->bytes};
    *in->flights_end = f;
    in->flights_end = &f->next;
    in->bytes_under_way += in->bytes;
    socket_hold(s);
    workspace_take_events(s->workspace, in->events.v, in->events.n, flight_done, f);
    in->events.v = NULL;
    in->events.n = in->events.cap = 0;
    in->bytes = 0;
    arena_reset(in->a);
}

static void turn_over(void *arg)
{
    struct socket *s = arg;
    struct events_in *in = s->own;
    in->posted = false;
    take_off(s);
    socket_release(s);
}

static void in_message(struct socket *s, Str text)
{
    struct events_in *in = s->own;
    struct err err;
    struct event e;
    struct violations v = {.a = in->a, .prefix = STR("[\"event\"")};
    const struct json *body = json_parse(in->a, str_dup(in->a, text), &err);
    if (body)
        event_parse(in->a, body, &e, &v);
    if (!body || v.list.n) {
        /* To close would make the client send it again, for ever. */
        log_at(LOG_WARN, "events", "a client sent what is no event, skipping", "error=\"%.*s\"",
               STR_ARG(body ? v.list.v[0].msg : str_of(err.text)));
        return;
    }
    vec_push(in->a, &in->events, e);
    in->bytes += text.n;
    if (!in->posted) {
        in->posted = true;
        socket_hold(s);
        loop_post(s->workspace->loop, turn_over, s);
    }
    flow_control(s);
}

static bool in_ping(struct socket *s, Str payload)
{
    struct events_in *in = s->own;
    take_off(s);
    if (!in->flights)
        return false;
    struct waiting_ping *p = calloc(1, sizeof *p);
    if (!p)
        die("out of memory");
    p->after = in->number;
    p->payload = (Str){p->text, MIN(payload.n, sizeof p->text)};
    if (payload.n)
        memcpy(p->text, payload.p, p->payload.n);
    *in->pings_end = p;
    in->pings_end = &p->next;
    return true;
}

static void in_ready(struct socket *s)
{
    UNUSED(s);
}

static void in_closed(struct socket *s)
{
    take_off(s); /* what has come whole is kept, though nobody is told */
}

static const struct socket_kind in_kind = {.ready = in_ready, .message = in_message, .ping = in_ping, .closed = in_closed, .freed = in_freed};

int events_in(struct call *c, struct err *err)
{
    struct events_in *in = calloc(1, sizeof *in);
    if (!in)
        die("out of memory");
    in->a = arena_create();
    in->flights_end = &in->flights;
    in->pings_end = &in->pings;
    return socket_open(c, &in_kind, in, err);
}

/* ==== /events/out: what was stored in the last minutes, then what comes ====
 *
 * The socket listens to the bus before it looks into the table, and holds what it hears until the table's pages are sent.
 * Where it hears more than it can hold, or its reader is too slow for what is heard, it goes back to the table, from the
 * last event that was sent on. */

#define BACKFILL_MAX (15 * MINUTE)
#define BACKFILL_PAGE 250
#define HELD_MAX 200
#define DRAIN_EVERY 5 /* ms between looks at whether a page has left */

struct held {
    Uuid id;
    Str text; /* malloc'ed */
};
struct events_out {
    struct arena *a; /* the filter */
    struct event_filter filter;
    bool asked;      /* the filter has come */
    struct subscription *subscription;
    Time subscribed;
    bool live, gap;
    Time from; /* the next page: what is after this instant and id */
    Uuid from_id;
    struct held held[HELD_MAX];
    size_t held_n;
    VEC(Uuid) sent; /* by pages, and may be held too */
    uv_timer_t *drain;
};

static void out_freed(void *own)
{
    struct events_out *out = own;
    for (size_t i = 0; i < out->held_n; i++)
        free((char *)(uintptr_t)out->held[i].text.p);
    arena_free(out->a);
    free(out);
}

static void look_back_later(struct socket *s);

static bool send_event(struct socket *s, Str event)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    buf_z(&b, "{\"type\":\"event\",\"event\":");
    buf_str(&b, event);
    buf_char(&b, '}');
    return socket_send(s, buf_view(&b));
}

static bool out_wants(void *user, const struct message *m)
{
    const struct socket *s = user;
    const struct events_out *out = s->own;
    return event_filter_match(&out->filter, m->event);
}

/* Back to the table: the bus had, or the reader has, no room. */
static void fall_back(struct socket *s)
{
    struct events_out *out = s->own;
    if (!out->live) {
        out->gap = true;
        return;
    }
    out->live = false;
    out->sent.n = 0;
    if (s->ws)
        look_back_later(s);
}

static void out_lost(void *user)
{
    fall_back(user);
}

static void out_deliver(void *user, const struct message *m)
{
    struct socket *s = user;
    struct events_out *out = s->own;
    if (out->live) {
        if (!send_event(s, m->text)) {
            fall_back(s);
        } else if (m->when >= out->from) { /* late ones do not set it back */
            out->from = m->when;
            out->from_id = m->id;
        }
        return;
    }
    if (out->held_n == HELD_MAX || out->gap) {
        out->gap = true;
        return;
    }
    char *copy = malloc(m->text.n + 1);
    if (!copy)
        die("out of memory");
    memcpy(copy, m->text.p, m->text.n);
    out->held[out->held_n++] = (struct held){m->id, {copy, m->text.n}};
}

static void let_go(struct socket *s, bool send)
{
    struct events_out *out = s->own;
    for (size_t i = 0; i < out->held_n; i++) {
        bool double_ = false;
        for (size_t k = 0; k < out->sent.n && !double_ && send; k++)
            double_ = uuid_eq(out->sent.v[k], out->held[i].id);
        if (send && !double_)
            send_event(s, out->held[i].text);
        free((char *)(uintptr_t)out->held[i].text.p);
    }
    out->held_n = 0;
}

struct backfill {
    struct socket *socket;
    struct arena *a;
    struct event_filter filter;
    Time from;
    Uuid from_id;
    Time subscribed;
    VEC(Str) texts;
    VEC(Uuid) recent; /* those that may have come by the bus too */
    bool failed;
};

static int backfill_work(struct conn *c, void *arg, struct err *err)
{
    struct backfill *b = arg;
    b->texts.n = b->recent.n = 0;
    AUTO(sql_free) struct sql q = sql_new(b->a, conn_kind(c));
    sql_z(&q, "SELECT ");
    sql_z(&q, event_columns);
    event_filter_from(&q, &b->filter);
    if (!uuid_is_nil(b->from_id)) {
        sql_z(&q, " AND (event.occurred > ");
        sql_time(&q, b->from);
        sql_z(&q, " OR event.id > ");
        sql_uuid(&q, b->from_id);
        sql_z(&q, ")");
    }
    sql_z(&q, " ORDER BY event.occurred, event.id LIMIT ");
    sql_int(&q, BACKFILL_PAGE);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c, &q, err);
    if (!rows)
        return -1;
    int rc;
    while ((rc = stmt_step(rows, err)) == 1) {
        struct event e;
        Time received;
        event_load(b->a, rows, 0, &e, &received);
        AUTO(buf_free) struct buf text = BUF(LIMIT_REPLY);
        struct jw w = jw_on(&text);
        event_print(&w, &e, received);
        vec_push(b->a, &b->texts, str_dup(b->a, buf_view(&text)));
        if (received >= b->subscribed)
            vec_push(b->a, &b->recent, e.id);
        b->from = e.occurred;
        b->from_id = e.id;
    }
    return rc;
}

static void look_back(struct socket *s);

static void drain_closed(uv_handle_t *h)
{
    free(h);
}

static void on_drain(uv_timer_t *t)
{
    struct socket *s = t->data;
    struct events_out *out = s->own;
    if (s->ws && ws_queued(s->ws))
        return;
    uv_close((uv_handle_t *)TAKE(out->drain), drain_closed);
    if (s->ws)
        look_back(s);
    socket_release(s);
}

/* The next page when what is queued has left. */
static void look_back_later(struct socket *s)
{
    struct events_out *out = s->own;
    if (out->drain)
        return;
    if (!ws_queued(s->ws)) {
        look_back(s);
        return;
    }
    out->drain = calloc(1, sizeof *out->drain);
    if (!out->drain)
        die("out of memory");
    uv_timer_init(loop_uv(s->workspace->loop), out->drain);
    out->drain->data = s;
    socket_hold(s);
    uv_timer_start(out->drain, on_drain, DRAIN_EVERY, DRAIN_EVERY);
}

static void looked_back(void *arg)
{
    struct backfill *b = arg;
    struct socket *s = b->socket;
    struct events_out *out = s->own;
    if (s->ws && b->failed) {
        socket_close(s, 1011, "events could not be read");
    } else if (s->ws) {
        for (size_t i = 0; i < b->texts.n; i++)
            send_event(s, b->texts.v[i]);
        for (size_t i = 0; i < b->recent.n; i++)
            vec_push(out->a, &out->sent, b->recent.v[i]);
        out->from = b->from;
        out->from_id = b->from_id;
        if (out->gap) { /* it heard of more than it holds: the table tells */
            out->gap = false;
            let_go(s, false);
            look_back_later(s);
        } else if (b->texts.n == BACKFILL_PAGE || ws_queued(s->ws) + out->held_n > LIMIT_SUBSCRIBER_QUEUE) {
            look_back_later(s);
        } else {
            let_go(s, true);
            out->live = true;
        }
    }
    arena_free(b->a);
    free(b);
    socket_release(s);
}

static void backfill_done(void *arg, const struct err *err)
{
    struct backfill *b = arg;
    b->failed = err != NULL;
    loop_post(b->socket->workspace->loop, looked_back, b);
}

static void look_back(struct socket *s)
{
    struct events_out *out = s->own;
    struct backfill *b = calloc(1, sizeof *b);
    if (!b)
        die("out of memory");
    b->socket = s;
    b->a = arena_create();
    b->filter = out->filter;
    b->from = out->from;
    b->from_id = out->from_id;
    b->subscribed = out->subscribed;
    if (!uuid_is_nil(b->from_id))
        b->filter.since = MAX(b->filter.since, b->from);
    socket_hold(s);
    struct err err;
    if (db_read(s->workspace->telemetry, backfill_work, backfill_done, b, &err) < 0)
        backfill_done(b, &err);
}

static void out_message(struct socket *s, Str text)
{
    struct events_out *out = s->own;
    struct err err;
    Time now = time_now();
    if (out->asked)
        return;
    const struct json *v = json_parse(out->a, str_dup(out->a, text), &err), *object = json_getz(v, "filter");
    if (!str_eqz(json_get_str(v, STR("type")), "filter")) {
        socket_close(s, 1002, "Expected 'filter' message");
        return;
    }
    struct violations wrong = {.a = out->a, .prefix = STR("[\"filter\"")};
    event_filter_parse(out->a, object, now, &out->filter, &wrong);
    if (wrong.list.n) {
        Str why = str_fmt(out->a, "Invalid filter: %.*s: %.*s", STR_ARG(wrong.list.v[0].loc), STR_ARG(wrong.list.v[0].msg));
        socket_close(s, 1002, str_z(out->a, why));
        return;
    }
    out->asked = true;
    out->filter.since = MAX(out->filter.since, now - BACKFILL_MAX);
    if (!json_path(object, "occurred.until"))
        out->filter.until = TIME_NEVER;
    out->filter.ascending = true;
    out->filter.distinct = false;
    out->subscribed = now - SEC; /* what was received while we came here */
    struct subscriber who = {TOPIC_BIT(TOPIC_EVENT), out_wants, out_deliver, out_lost, s};
    out->subscription = bus_subscribe(s->workspace->bus, s->workspace->loop, &who);
    const struct json *backfill = json_getz(v, "backfill");
    if (json_is(backfill, JSON_BOOL) && !backfill->boolean) {
        out->live = true;
        out->from = now; /* where a return to the table would begin */
        out->from_id = (Uuid){{1}};
    } else
        look_back(s);
}

static void out_ready(struct socket *s)
{
    UNUSED(s);
}

static void out_closed(struct socket *s)
{
    struct events_out *out = s->own;
    if (out->subscription)
        bus_unsubscribe(TAKE(out->subscription));
}

static const struct socket_kind out_kind = {.ready = out_ready, .message = out_message, .closed = out_closed, .freed = out_freed};

int events_out(struct call *c, struct err *err)
{
    struct events_out *out = calloc(1, sizeof *out);
    if (!out)
        die("out of memory");
    out->a = arena_create();
    return socket_open(c, &out_kind, out, err);
}

/* ==== /logs/out: logs as they come ==== */

struct logs_out {
    struct arena *a;
    struct log_filter *filter;
    struct subscription *subscription;
};

static void logs_freed(void *own)
{
    struct logs_out *out = own;
    arena_free(out->a);
    free(out);
}

static bool logs_wants(void *user, const struct message *m)
{
    const struct socket *s = user;
    const struct logs_out *out = s->own;
    return log_filter_match(out->filter, m->log);
}

static void logs_deliver(void *user, const struct message *m)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    buf_z(&b, "{\"type\":\"log\",\"log\":");
    buf_str(&b, m->text);
    buf_char(&b, '}');
    socket_send(user, buf_view(&b)); /* one that reads too slowly loses it */
}

static void logs_message(struct socket *s, Str text)
{
    struct logs_out *out = s->own;
    struct err err;
    if (out->filter)
        return;
    const struct json *v = json_parse(out->a, str_dup(out->a, text), &err);
    if (!str_eqz(json_get_str(v, STR("type")), "filter")) {
        socket_close(s, 1002, "Expected 'filter' message");
        return;
    }
    struct violations wrong = {.a = out->a, .prefix = STR("[\"filter\"")};
    struct log_filter *f = log_filter_parse(out->a, json_getz(v, "filter"), &wrong);
    if (wrong.list.n) {
        Str why = str_fmt(out->a, "Invalid filter: %.*s: %.*s", STR_ARG(wrong.list.v[0].loc), STR_ARG(wrong.list.v[0].msg));
        socket_close(s, 1002, str_z(out->a, why));
        return;
    }
    out->filter = f;
    struct subscriber who = {TOPIC_BIT(TOPIC_LOG), logs_wants, logs_deliver, NULL, s};
    out->subscription = bus_subscribe(s->workspace->bus, s->workspace->loop, &who);
}

static void logs_closed(struct socket *s)
{
    struct logs_out *out = s->own;
    if (out->subscription)
        bus_unsubscribe(TAKE(out->subscription));
}

static const struct socket_kind logs_kind = {.ready = out_ready, .message = logs_message, .closed = logs_closed, .freed = logs_freed};

int logs_out(struct call *c, struct err *err)
{
    struct logs_out *out = calloc(1, sizeof *out);
    if (!out)
        die("out of memory");
    out->a = arena_create();
    return socket_open(c, &logs_kind, out, err);
}
