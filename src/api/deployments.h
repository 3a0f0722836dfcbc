/* api/deployments.h: what the deployment handlers share. */
#pragma once
#include "api/handlers.h"

/* A deployment as DeploymentResponse; the row is one of deployment_listing. */
int deployment_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err);
/* 0, or -1 with 404; `lock`: until the transaction ends. */
NODISCARD int deployment_load(struct call *c, Uuid id, bool lock, struct deployment *ret, struct err *err);
typedef VEC(struct deployment_schedule) ScheduleList;
NODISCARD int schedules_of(struct call *c, Uuid deployment_id, ScheduleList *ret, struct err *err);
void schedule_print_row(struct jw *w, const struct deployment_schedule *s);
/* Schedule bodies in a list (DeploymentScheduleCreate, or Update for view UPDATE), checked; the schedule's text with its defaults. */
void schedules_parse(struct call *c, const struct json *list, int view, ScheduleList *ret);
NODISCARD int schedule_insert(struct call *c, Uuid deployment_id, struct deployment_schedule *s, struct err *err);
/* All of the deployment's schedules give way to these. */
NODISCARD int schedules_replace(struct call *c, Uuid deployment_id, ScheduleList *list, struct err *err);
/* PATCH of a deployment's `schedules`: matched by slug where all have one, else replaced. */
NODISCARD int schedules_patch(struct call *c, Uuid deployment_id, ScheduleList *list, struct err *err);
/* Runs of schedules that changed are dropped and made anew. */
NODISCARD int schedules_changed(struct call *c, const struct deployment *d, struct err *err);
/* Job variables over the pool's template: -1 with 422 and a sentence that starts with `prefix`. */
NODISCARD int job_variables_check(struct call *c, Uuid queue_id, const Str *overrides, size_t n, int flags, const char *prefix, struct err *err);
