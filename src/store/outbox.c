#include "store/outbox.h"

#include "base/limits.h"

void outbox_init(struct outbox *o, struct arena *a)
{
    *o = (struct outbox){.a = a};
    for (int i = 0; i < ALARM_COUNT; i++)
        o->alarm[i] = TIME_NEVER;
}

void outbox_alarm(struct outbox *o, enum alarm which, Time at)
{
    if (at != TIME_NONE)
        o->alarm[which] = MIN(o->alarm[which], at);
}

void outbox_changed(struct outbox *o, Time now, const char *kind, const char *what, Uuid id, Str name, Str related, Str payload)
{
    struct event e = {.id = uuid_v7(), .occurred = now};
    e.event = str_fmt(o->a, "prefect.%s.%s", kind, what);
    e.resource_id = str_fmt(o->a, "prefect.%s.%s", kind, uuid_text(id).s);
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "prefect.resource.id", e.resource_id);
    if (name.p)
        jw_kstr(&w, "prefect.resource.name", name);
    jw_end(&w);
    e.resource = str_dup(o->a, buf_view(&b));
    e.related = related.p ? related : STR("[]");
    e.payload = payload.p ? payload : STR("{}");
    vec_push(o->a, &o->events, e);
}
