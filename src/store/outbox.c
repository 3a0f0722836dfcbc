#include "store/outbox.h"

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
