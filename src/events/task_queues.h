/* events/task_queues.h: background task runs that wait for a task worker: a queue a task key, in memory, capped. */
#pragma once
#include "base/base.h"

struct task_queues;
struct task_queues *task_queues_create(void);
void task_queues_free(struct task_queues *q);
