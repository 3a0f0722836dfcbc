/* services/ticks.h: the services' ticks (rows of `services`, see alarms.h). */
#pragma once
#include "services/alarms.h"

int tick_scheduler(struct tick *t, struct err *err); /* scheduler.c */
int tick_late(struct tick *t, struct err *err);
int tick_due(struct tick *t, struct err *err);
int tick_pauses(struct tick *t, struct err *err);
int tick_leases(struct tick *t, struct err *err);
int tick_foreman(struct tick *t, struct err *err);
int tick_slots(struct tick *t, struct err *err);
int tick_cancellation(struct tick *t, struct err *err);

/* t->next := the one instant that `sql` finds, plus `after`; never where it finds none. */
NODISCARD int tick_next(struct tick *t, const char *sql, Dur after, struct err *err);
