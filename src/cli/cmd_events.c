#include "cli/commands.h"
#include "cli/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PAUSE_FIRST (500 * MSEC)
#define PAUSE_MOST (10 * SEC)
#define SEEN_MAX 5000 /* ids kept to tell events that come twice; two generations of them */
#define OVERLAP MINUTE /* how far back is asked for after a break: what was on its way then */

/* --- stream --- */

struct stream {
    bool text;        /* not JSON */
    int fd;           /* of --output-file; -1: standard output */
    struct arena *old_arena, *arena;
    struct map old, seen;
    Time since;       /* what is asked for begins here */
    bool lost;        /* told that the connection is gone */
};

static bool is_new(struct stream *s, Str id)
{
    if (map_get(&s->seen, id) || map_get(&s->old, id))
        return false;
    if (s->seen.n >= SEEN_MAX) {
        arena_free(s->old_arena);
        s->old_arena = s->arena;
        s->old = s->seen;
        s->arena = arena_create();
        s->seen = (struct map){0};
    }
    *map_at(s->arena, &s->seen, str_dup(s->arena, id)) = s;
    return true;
}

static int write_all(int fd, Str s, struct err *err)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot write to the file");
        s = str_sub(s, (size_t)n, SIZE_MAX);
    }
    return 0;
}

static int put_event(struct cli *x, struct stream *s, const struct json *e, struct err *err)
{
    Str line;
    if (s->text) {
        Str when = field(e, "occurred"), name = field(e, "event"), resource = json_get_str(json_getz(e, "resource"), STR("prefect.resource.id"));
        line = str_fmt(x->a, "%.*s %.*s %.*s\n", STR_ARG(when), STR_ARG(name), resource.p ? (int)resource.n : 0, resource.p ? resource.p : "");
    } else {
        Str value = json_text(x->a, e);
        line = str_fmt(x->a, "%.*s\n", STR_ARG(value));
    }
    if (s->fd >= 0)
        return write_all(s->fd, line, err);
    buf_str(&x->out, line);
    cli_flush(x);
    return 0;
}

/* The first message of the socket: what is asked for. */
static Str filter_message(struct cli *x, const struct stream *s)
{
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct time_text since = time_iso(s->since), until = time_iso(x->now + 365 * DAY);
    Str events = json_strings(x->a, args_list(&x->args, "event")), resources = json_strings(x->a, args_list(&x->args, "resource"));
    buf_fmt(&b, "{\"type\":\"filter\",\"filter\":{\"occurred\":{\"since\":\"%s\",\"until\":\"%s\"}", since.s, until.s);
    if (events.n)
        buf_fmt(&b, ",\"event\":{\"prefix\":[%.*s]}", STR_ARG(events));
    if (resources.n)
        buf_fmt(&b, ",\"any_resource\":{\"id\":[%.*s]}", STR_ARG(resources));
    buf_z(&b, "}}");
    return str_dup(x->a, buf_view(&b));
}

/* Messages of one connection. 1: as many as were wanted; -1 where it ends. */
static int read_feed(struct cli *x, struct stream *s, struct feed *f, struct err *err)
{
    struct arena *keep = x->a;
    AUTO(arena_freep) struct arena *scratch = arena_create();
    for (;;) {
        Str text;
        struct err fault;
        arena_reset(scratch);
        if (feed_next(f, scratch, /* timeout= */ 0, &text, err) < 0)
            return -1;
        const struct json *v = json_parse(scratch, text, &fault), *e = json_getz(v, "event");
        if (!json_is(e, JSON_OBJECT) || !is_new(s, field(e, "id")))
            continue;
        Time when = field_time(e, "occurred");
        if (when != TIME_NONE && when - OVERLAP > s->since)
            s->since = when - OVERLAP;
        x->a = scratch;
        int rc = put_event(x, s, e, err);
        x->a = keep;
        if (rc < 0) {
            err->code = ERR_INTERNAL; /* of the file, not of the connection: no reason to try again */
            return -1;
        }
        if (args_flag(&x->args, "run-once", false))
            return 1;
    }
}

static int follow(struct cli *x, struct stream *s, struct err *err)
{
    Dur pause = PAUSE_FIRST;
    for (bool first = true;; first = false) {
        AUTO(feed_closep) struct feed *f = feed_open(x, "/events/out", filter_message(x, s), err);
        if (f) {
            if (s->lost)
                fprintf(stderr, "%s: connected again\n", x->program);
            s->lost = false;
            pause = PAUSE_FIRST;
            int rc = read_feed(x, s, f, err);
            if (rc > 0)
                return 0;
        }
        if (err->code != ERR_IO || (first && !f))
            return -1;
        if (!s->lost)
            fprintf(stderr, "%s: %s; trying again\n", x->program, err->text);
        s->lost = true;
        struct timespec t = {pause / SEC, pause % SEC * 1000};
        (void)nanosleep(&t, NULL);
        pause = MIN(pause * 2, PAUSE_MOST);
    }
}

static int stream(struct cli *x, struct err *err)
{
    Str format = args_text(&x->args, "format"), file = args_text(&x->args, "output-file"), since = args_text(&x->args, "since");
    struct stream s = {.fd = -1, .since = x->now, .text = format.p && str_ieq(format, STR("text"))};
    Dur back;
    if (format.p && !s.text && !str_ieq(format, STR("json")))
        return err_set(err, ERR_INVALID, "--format: json and text are known, not '%.*s'", STR_ARG(format));
    if (since.p && text_span(since, &back))
        s.since = x->now - back;
    else if (since.p && !time_parse(since, &s.since))
        return err_set(err, ERR_INVALID, "--since: \"%.*s\" is neither a time nor a span like '5 minutes'", STR_ARG(since));
    if (args_flag(&x->args, "account", false))
        return err_set(err, ERR_INVALID, "--account is of the hosted service: this server has one stream");
    if (file.p && (s.fd = open(str_z(x->a, file), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
        return err_errno(err, "cannot write %.*s", STR_ARG(file));
    s.arena = arena_create();
    if (x->as_prefect)
        cli_put(x, "Subscribing to event stream...\n");
    cli_flush(x);
    int rc = follow(x, &s, err);
    arena_free(s.arena);
    arena_free(s.old_arena);
    if (s.fd >= 0)
        close(s.fd);
    return rc;
}

/* --- emit --- */

/* Labels from a JSON object of texts, or from one KEY=VALUE. */
static int read_labels(struct cli *x, Str text, const char *option, struct map *ret, struct err *err)
{
    struct err ignored;
    const struct json *v = json_parse(x->a, text, &ignored);
    if (!v) {
        Str one[] = {text};
        struct map pairs = {0};
        if (pairs_json(x->a, (struct strs){one, 1, 1}, option, &pairs, err) < 0)
            return -1;
        Str key = pairs.entries[0].key, *value = arena_new(x->a, Str);
        *value = json_quote(x->a, str_sub(text, key.n + 1, SIZE_MAX));
        *map_at(x->a, ret, key) = value;
        return 0;
    }
    if (!json_is(v, JSON_OBJECT))
        return err_set(err, ERR_INVALID, "--%s is a JSON object of texts, or KEY=VALUE", option);
    for (size_t i = 0; i < v->object.n; i++) {
        const struct json_member *m = &v->object.members[i];
        if (m->value.kind != JSON_STRING)
            return err_set(err, ERR_INVALID, "--%s: the value of '%.*s' is no text", option, STR_ARG(m->key));
        Str *value = arena_new(x->a, Str);
        *value = m->value.raw;
        *map_at(x->a, ret, m->key) = value;
    }
    return 0;
}

static int put_json_option(struct cli *x, struct jw *w, const char *option, enum json_kind kind, struct err *err)
{
    Str text = args_text(&x->args, option);
    const struct json *v = text.p ? json_parse(x->a, text, err) : NULL;
    if (text.p && !v)
        return err_wrap(err, "--%s", option);
    if (v && v->kind != kind && !(kind == JSON_ARRAY && v->kind == JSON_OBJECT))
        return err_set(err, ERR_INVALID, "--%s is a JSON %s", option, kind == JSON_ARRAY ? "list of objects, or one" : "object");
    bool wrap = v && kind == JSON_ARRAY && v->kind == JSON_OBJECT;
    if (!v || wrap)
        kind == JSON_ARRAY ? jw_array(w) : jw_object(w);
    if (v)
        jw_value(w, v);
    if (!v || wrap)
        jw_end(w);
    return 0;
}

static int emit(struct cli *x, struct err *err)
{
    Str name = args_text(&x->args, "event"), resource = args_text(&x->args, "resource"), id = args_text(&x->args, "resource-id");
    struct map labels = {0};
    if (resource.p && read_labels(x, resource, "resource", &labels, err) < 0)
        return -1;
    if (id.p) {
        Str *value = arena_new(x->a, Str);
        *value = json_quote(x->a, id);
        *map_at(x->a, &labels, STR("prefect.resource.id")) = value;
    }
    if (!map_get(&labels, STR("prefect.resource.id")))
        return err_set(err, ERR_INVALID, "the event has no resource: give --resource-id, or 'prefect.resource.id' in --resource");
    struct uuid_text event_id = uuid_text(uuid_v4());
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    jw_object(&w);
    jw_kz(&w, "id", event_id.s);
    jw_ktime(&w, "occurred", x->now);
    jw_kstr(&w, "event", name);
    jw_key(&w, STR("resource"));
    jw_object(&w);
    for (size_t i = 0; i < labels.n; i++) {
        jw_key(&w, labels.entries[i].key);
        jw_raw(&w, *(Str *)labels.entries[i].value);
    }
    jw_end(&w);
    jw_key(&w, STR("related"));
    if (put_json_option(x, &w, "related", JSON_ARRAY, err) < 0)
        return -1;
    jw_key(&w, STR("payload"));
    if (put_json_option(x, &w, "payload", JSON_OBJECT, err) < 0)
        return -1;
    jw_end(&w);
    jw_end(&w);
    if (b.overflow)
        return err_set(err, ERR_TOO_LARGE, "the event is over %zu MB", LIMIT_BODY >> 20);
    if (api_post(x, STR("/events"), buf_view(&b), NULL, err) < 0)
        return -1;
    cli_ok(x, "Emitted event '%.*s' with id '%s'", STR_ARG(name), event_id.s);
    const struct json *sent = json_parse(x->a, str_dup(x->a, buf_view(&b)), err);
    if (!sent)
        return -1;
    cli_result(x, &sent->array.items[0]);
    return 0;
}

/* --- ls --- */

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Occurred", .style = STYLE_CYAN}, {.title = "Event", .style = STYLE_GREEN}, {.title = "Resource", .style = STYLE_BLUE}};
    Str since = args_text(&x->args, "since"), events = json_strings(x->a, args_list(&x->args, "event")), resources = json_strings(x->a, args_list(&x->args, "resource"));
    int64_t limit = args_given(&x->args, "limit") ? args_int(&x->args, "limit") : 15;
    Time from = x->now - DAY;
    Dur back;
    if (since.p && text_span(since, &back))
        from = x->now - back;
    else if (since.p && !time_parse(since, &from))
        return err_set(err, ERR_INVALID, "--since: \"%.*s\" is neither a time nor a span like '5 minutes'", STR_ARG(since));
    if (limit < 1)
        return err_set(err, ERR_INVALID, "--limit is at least 1");
    struct time_text first = time_iso(from), last = time_iso(x->now + MINUTE);
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    buf_fmt(&b, "{\"limit\":%lld,\"filter\":{\"order\":\"DESC\",\"occurred\":{\"since\":\"%s\",\"until\":\"%s\"}", (long long)MIN(limit, (int64_t)LIMIT_EVENTS_PAGE), first.s, last.s);
    if (events.n)
        buf_fmt(&b, ",\"event\":{\"prefix\":[%.*s]}", STR_ARG(events));
    if (resources.n)
        buf_fmt(&b, ",\"any_resource\":{\"id\":[%.*s]}", STR_ARG(resources));
    buf_z(&b, "}}");
    const struct json *page;
    struct items found = {0};
    if (api_post(x, STR("/events/filter"), buf_view(&b), &page, err) < 0)
        return -1;
    for (;;) {
        const struct json *list = json_getz(page, "events");
        for (size_t i = 0; json_is(list, JSON_ARRAY) && i < list->array.n && (int64_t)found.n < limit; i++)
            vec_push(x->a, &found, &list->array.items[i]);
        Str next = field(page, "next_page"), base = client_base_url(cli_client(x));
        ptrdiff_t at = str_find(next, STR("/events/filter/next"));
        if ((int64_t)found.n >= limit || at < 0 || !base.n)
            break;
        if (api_get(x, str_sub(next, (size_t)at, SIZE_MAX), &page, err) < 0)
            return -1;
    }
    if (x->json) {
        cli_show_items(x, &found);
        return 0;
    }
    if (!found.n) {
        cli_ok(x, "No events found.");
        return 0;
    }
    struct table *t = table_create(x->a, "Events", columns, COUNT_OF(columns));
    for (size_t i = 0; i < found.n; i++) {
        struct time_text when = time_iso(field_time(found.v[i], "occurred"));
        Str clock = text_clock(x->a, field_time(found.v[i], "occurred"));
        table_cellf(t, "%.10s %.*s", when.s, STR_ARG(clock));
        table_cell(t, field(found.v[i], "event"));
        table_cell(t, json_get_str(json_getz(found.v[i], "resource"), STR("prefect.resource.id")));
    }
    cli_table(x, t);
    return 0;
}

#define OPTIONS_WHICH                                                                                                              \
    {"event", NULL, VALUE_TEXT, OPTION_LIST, "Only events whose name begins so"},                                                  \
    {"resource", NULL, VALUE_TEXT, OPTION_LIST, "Only events about, or related to, the resource of this id"}

static const struct command commands[] = {
    {.name = "stream", .summary = "Print events as they happen, a line each", .run = stream,
     .options = OPTIONS({"format", NULL, VALUE_TEXT, 0, "json (usual) or text"}, {"output-file", NULL, VALUE_PATH, 0, "Add them to this file instead"},
                        {"since", NULL, VALUE_TEXT, 0, "First those that happened since then: a time, or a span like '5 minutes'"}, OPTIONS_WHICH,
                        {"run-once", NULL, VALUE_FLAG, 0, "End after the first"}, {"account", NULL, VALUE_FLAG, OPTION_HIDDEN, "Of the hosted service"})},
    {.name = "ls", .summary = "List the newest events", .run = ls,
     .options = OPTIONS({"limit", NULL, VALUE_INT, 0, "At most this many (15)"}, {"since", NULL, VALUE_TEXT, 0, "Since then: a time, or a span like '5 minutes' (1 day)"},
                        OPTIONS_WHICH, OPTION_OUTPUT)},
    {.name = "emit", .summary = "Tell an event of one's own", .run = emit, .args = ARGS({"event", "Its name: words with dots"}),
     .options = OPTIONS({"resource", "r", VALUE_TEXT, 0, "What it is about: a JSON object of labels, or KEY=VALUE"},
                        {"resource-id", NULL, VALUE_TEXT, 0, "The resource's id: its label prefect.resource.id"},
                        {"related", NULL, VALUE_JSON, 0, "Other resources: a JSON list of objects, or one"}, {"payload", "p", VALUE_JSON, 0, "A JSON object of anything"}, OPTION_OUTPUT)},
    {0},
};

const struct command command_events = {.name = "events", .alias = "event", .summary = "What happened", .commands = commands};
