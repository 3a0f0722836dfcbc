/* api/list.h: the filter, count and paginate routes of every resource. */
#pragma once
#include "api/call.h"

/* Writes one row as an object. `rec` is the resource's struct; further columns of the listing begin at `extra`. */
typedef int list_print(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err);

/* POST …/filter: limit, offset, sort and filters from the body; an array. `more` (may be NULL) is a further condition,
 * " AND work_queue.work_pool_id = $…" written by the caller into the statement. */
typedef void list_where(struct call *c, struct sql *q);
NODISCARD int list_filter(struct call *c, const struct listing *l, list_where *more, list_print *print, struct err *err);
/* POST …/count: a number. */
NODISCARD int list_count(struct call *c, const struct listing *l, struct err *err);
/* POST …/paginate: {"results", "count", "limit", "pages", "page"}. */
NODISCARD int list_paginate(struct call *c, const struct listing *l, list_print *print, struct err *err);
/* The one row where `where` ("flow_run.id = ") equals id: 1 (printed), 0, -1. */
NODISCARD int list_one(struct call *c, const struct listing *l, const char *where, Uuid id, list_print *print, struct err *err);
/* A plain resource: every READ field. */
list_print list_print_record;
int record_print_object(struct call *c, const struct resource *r, const void *rec);
