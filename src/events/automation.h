/* events/automation.h: what automations wait for and what they do, read, checked and in the form that is stored and sent.
 *
 * A trigger is an event trigger, or a compound or sequence of triggers; each has an id of ours. The forms are complete (every key is
 * there), so that whoever reads the stored text needs no defaults. */
#pragma once
#include "model/all.h"

/* The trigger of a request with new ids. What is wrong goes to `v`, whose prefix is the trigger's place; the result is good only where
 * nothing came. */
Str trigger_settle(struct arena *a, const struct json *sent, struct violations *v);
/* The actions of a request, a list. */
Str actions_settle(struct arena *a, const struct json *sent, struct violations *v);
/* Why an automation of this (settled) trigger and these actions would run for ever, each run setting off the next; NULL: it would not. */
const char *automation_loops(const struct json *trigger, const struct json *actions);
/* The deployments that run-deployment actions select, each once. */
typedef VEC(Uuid) UuidList;
void actions_deployments(struct arena *a, const struct json *actions, UuidList *ret);
