/* The event of a flow run's new state (semantics.md 9). */
#include "orchestration/transition.h"

#include <stdlib.h>

#define MESSAGE_MAX ((size_t)100000) /* characters of a state's message that an event carries */
#define FOLLOWS_WITHIN (5 * MINUTE)

static Str cut(Str s)
{
    if (s.n <= MESSAGE_MAX)
        return s;
    size_t chars = 0, i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80 && chars++ == MESSAGE_MAX)
            break;
    return str_sub(s, 0, i);
}

/* "prefect.flow." and the id. */
static Str resource_id(struct arena *a, Str kind, Uuid id)
{
    struct uuid_text u = uuid_text(id);
    char *p = arena_alloc(a, kind.n + 36);
    for (size_t i = 0; i < kind.n; i++)
        p[i] = kind.p[i];
    for (size_t i = 0; i < 36; i++)
        p[kind.n + i] = u.s[i];
    return (Str){p, kind.n + 36};
}

/* ---- the run itself ---- */

static void print_resource(struct jw *w, struct transition *t, Str id)
{
    struct time_text at = time_iso(t->proposed.timestamp);
    char zoned[sizeof at.s + 8];
    Str iso = str_of(at.s);
    size_t n = 0;
    for (; n + 1 < iso.n; n++) /* without the Z */
        zoned[n] = iso.p[n];
    for (const char *z = "+00:00"; *z; z++)
        zoned[n++] = *z;
    jw_object(w);
    jw_kstr(w, "prefect.resource.id", id);
    jw_kstr(w, "prefect.resource.name", t->flow_run->name);
    jw_key(w, STR("prefect.run-count"));
    jw_str(w, str_fmt(t->o->a, "%lld", (long long)t->flow_run->run_count));
    jw_kstr(w, "prefect.state-message", t->proposed.message.p ? cut(t->proposed.message) : STR(""));
    jw_kstr(w, "prefect.state-name", t->proposed.name);
    jw_kstr(w, "prefect.state-timestamp", ((Str){zoned, n}));
    jw_kstr(w, "prefect.state-type", t->proposed.type);
    jw_end(w);
}

/* ---- what is related to it ---- */

static void print_related(struct jw *w, struct arena *a, Str kind, Uuid id, Str role, Str name)
{
    jw_object(w);
    jw_kstr(w, "prefect.resource.id", resource_id(a, kind, id));
    jw_kstr(w, "prefect.resource.role", role);
    if (name.p)
        jw_kstr(w, "prefect.resource.name", name);
}

typedef VEC(Str) StrList;

static void add_tags(struct arena *a, StrList *list, Str tags)
{
    if (tags.n <= 2)
        return;
    struct err why;
    const struct json *v = json_parse(a, tags, &why);
    if (!json_is(v, JSON_ARRAY))
        return;
    for (size_t i = 0; i < v->array.n; i++)
        if (json_is(&v->array.items[i], JSON_STRING))
            vec_push(a, list, v->array.items[i].string);
}

static int by_text(const void *x, const void *y)
{
    return str_cmp(*(const Str *)x, *(const Str *)y);
}

/* Tags of the run, its flow and its deployment, each once. */
static void print_tags(struct jw *w, struct transition *t)
{
    StrList tags = {0};
    struct arena *a = t->o->a;
    add_tags(a, &tags, t->flow_run->tags);
    add_tags(a, &tags, t->around.flow_tags);
    add_tags(a, &tags, t->around.deployment_tags);
    if (tags.n > 1)
        qsort(tags.v, tags.n, sizeof *tags.v, by_text);
    for (size_t i = 0; i < tags.n; i++) {
        if (i && str_eq(tags.v[i], tags.v[i - 1]))
            continue;
        jw_object(w);
        jw_kstr(w, "prefect.resource.id", str_fmt(a, "prefect.tag.%.*s", STR_ARG(tags.v[i])));
        jw_kz(w, "prefect.resource.role", "tag");
        jw_end(w);
    }
}

/* The automation or deployment that made the run. */
static void print_creator(struct jw *w, struct transition *t)
{
    struct created_by by;
    if (t->flow_run->created_by.n <= 2)
        return;
    shape_read(t->o->a, &created_by_shape, t->flow_run->created_by, &by);
    Str kind = str_eqz(by.type, "DEPLOYMENT")   ? STR("prefect.deployment.")
               : str_eqz(by.type, "AUTOMATION") ? STR("prefect.automation.")
                                                : STR_NONE;
    if (!kind.p || uuid_is_nil(by.id))
        return;
    print_related(w, t->o->a, kind, by.id, STR("creator"), by.display_value);
    jw_end(w);
}

static void print_all_related(struct jw *w, struct transition *t)
{
    const struct flow_run *run = t->flow_run;
    const struct around *around = &t->around;
    struct arena *a = t->o->a;
    const struct {
        Str kind;
        Uuid id;
        Str role, name;
    } list[] = {
        {STR("prefect.flow."), run->flow_id, STR("flow"), around->flow_name},
        {STR("prefect.deployment."), run->deployment_id, STR("deployment"), around->deployment_name},
        {STR("prefect.work-queue."), run->work_queue_id, STR("work-queue"), around->queue_name},
        {STR("prefect.work-pool."), around->pool_id, STR("work-pool"), around->pool_name},
        {STR("prefect.task-run."), run->parent_task_run_id, STR("task-run"), around->parent_name},
    };
    jw_array(w);
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        if (uuid_is_nil(list[i].id) || !list[i].name.p)
            continue;
        print_related(w, a, list[i].kind, list[i].id, list[i].role, list[i].name);
        if (str_eqz(list[i].role, "work-pool"))
            jw_kstr(w, "prefect.work-pool.type", around->pool_type);
        jw_end(w);
    }
    print_tags(w, t);
    print_creator(w, t);
    jw_end(w);
}

/* ---- what happened ---- */

static void print_state(struct jw *w, const struct state *s, const struct state_details *d)
{
    jw_object(w);
    jw_kstr(w, "type", s->type);
    jw_kstr(w, "name", s->name);
    if (s->message.n)
        jw_kstr(w, "message", cut(s->message));
    if (str_eqz(s->type, "PAUSED"))
        jw_kz(w, "pause_reschedule", d->pause_reschedule == 1 ? "true" : "false");
    jw_end(w);
}

static void print_payload(struct jw *w, struct transition *t)
{
    bool first = t->from == NO_STATE;
    jw_object(w);
    jw_key(w, STR("intended"));
    jw_object(w);
    jw_kstr(w, "from", first ? STR_NONE : t->current.type);
    jw_kstr(w, "to", t->proposed.type);
    jw_end(w);
    jw_key(w, STR("initial_state"));
    if (first)
        jw_null(w);
    else
        print_state(w, &t->current, &t->current_details);
    jw_key(w, STR("validated_state"));
    print_state(w, &t->proposed, &t->details);
    jw_end(w);
}

void event_flow_run(struct transition *t)
{
    struct outbox *out = t->o->out;
    struct arena *a = out->a;
    const struct state *s = &t->proposed;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct event e = {
        .id = s->id,
        .occurred = s->timestamp,
        .event = str_fmt(a, "prefect.flow-run.%.*s", STR_ARG(s->name)),
        .resource_id = resource_id(a, STR("prefect.flow-run."), t->flow_run->id),
        .follows = UUID_NIL,
    };
    if (t->from != NO_STATE && s->timestamp - t->current.timestamp <= FOLLOWS_WITHIN)
        e.follows = t->current.id;

    struct jw w = jw_on(&b);
    print_resource(&w, t, e.resource_id);
    size_t resource_end = b.n;
    w = jw_on(&b);
    print_all_related(&w, t);
    size_t related_end = b.n;
    w = jw_on(&b);
    print_payload(&w, t);

    Str text = str_dup(a, buf_view(&b));
    e.resource = str_sub(text, 0, resource_end);
    e.related = str_sub(text, resource_end, related_end - resource_end);
    e.payload = str_sub(text, related_end, text.n - related_end);
    vec_push(a, &out->events, e);
}
