#include "api/list.h"

#include "api/run_tally.h"

#include <string.h>

static size_t column_count(const struct resource *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += (r->fields[i].flags & COL) != 0;
    return n;
}

/* Where the route's row says that filters of a listing are read, they are of this one. */
static void must_ask(const struct call *c, const struct listing *l, enum listing_part part)
{
    const struct asks *asks = &c->route->asks;
    if (asks->listing && (asks->listing != l || asks->part != part))
        die("%s %s: routes.def says otherwise what is listed", c->route->method, c->route->path);
}

static int print_rows(struct call *c, const struct listing *l, struct sql *q, list_print *print, struct err *err)
{
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, q, err);
    if (!rows)
        return -1;
    int extra = (int)column_count(l->resource), rc;
    jw_array(&c->w);
    while ((rc = stmt_step(rows, err)) == 1) {
        void *rec = arena_alloc(c->a, l->resource->size);
        record_load(c->a, l->resource, rows, 0, rec);
        c->listed = l;
        if (print(c, rec, rows, extra, err) < 0)
            return -1;
    }
    jw_end(&c->w);
    return rc;
}

static int count_rows(struct call *c, const struct listing *l, int64_t *ret, struct err *err)
{
    int tallied = tally_count(c, l, ret, err);
    if (tallied)
        return tallied < 0 ? -1 : 0;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    listing_count(&q, l, c->body, &c->violations);
    if (call_invalid(c, err) < 0)
        return -1;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows || stmt_step(rows, err) != 1)
        return -1;
    *ret = stmt_int(rows, 0);
    return 0;
}

/* The statement of one page: those that the body's filters and `more` choose, in its order. */
static int select_page(struct call *c, struct sql *q, const struct listing *l, list_where *more, int64_t limit, int64_t offset, struct err *err)
{
    if (listing_plan(q, c->conn, l, c->body, err) < 0)
        return -1;
    if (q->by_name) { /* all that were found are sorted: by themselves, without what is joined to them */
        listing_select(q, l);
        buf_fmt(&q->text, " WHERE %s.id IN (SELECT %s.id", l->resource->table, l->resource->table);
        listing_from_where(q, l, c->body, &c->violations);
    } else {
        listing_select_where(q, l, c->body, &c->violations);
    }
    if (more)
        more(c, q);
    listing_order(q, l, c->body, &c->violations);
    sql_z(q, " LIMIT ");
    sql_int(q, limit);
    sql_z(q, " OFFSET ");
    sql_int(q, offset);
    if (q->by_name) {
        sql_z(q, ")");
        listing_order(q, l, c->body, &c->violations);
    }
    return call_invalid(c, err);
}

int list_filter(struct call *c, const struct listing *l, list_where *more, list_print *print, struct err *err)
{
    int64_t limit, offset;
    must_ask(c, l, FILTERS_SORT_OFFSET);
    if (call_page(c, &limit, &offset, err) < 0)
        return -1;
    c->listed = l;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    return select_page(c, &q, l, more, limit, offset, err) < 0 ? -1 : print_rows(c, l, &q, print, err);
}

int list_count(struct call *c, const struct listing *l, struct err *err)
{
    int64_t n = 0;
    must_ask(c, l, FILTERS_ALONE);
    if (count_rows(c, l, &n, err) < 0)
        return -1;
    jw_int(&c->w, n);
    return 0;
}

int list_paginate(struct call *c, const struct listing *l, list_print *print, struct err *err)
{
    int64_t limit, page, count = 0;
    must_ask(c, l, FILTERS_SORT_PAGE);
    if (call_page_number(c, &limit, &page, err) < 0 || call_invalid(c, err) < 0 || count_rows(c, l, &count, err) < 0)
        return -1;
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    if (select_page(c, &q, l, NULL, limit, (page - 1) * limit, err) < 0)
        return -1;
    jw_object(&c->w);
    jw_key(&c->w, STR("results"));
    if (print_rows(c, l, &q, print, err) < 0)
        return -1;
    jw_kint(&c->w, "count", count);
    jw_kint(&c->w, "limit", limit);
    jw_kint(&c->w, "pages", limit ? (count + limit - 1) / limit : 0);
    jw_kint(&c->w, "page", page);
    jw_end(&c->w);
    return 0;
}

int list_one(struct call *c, const struct listing *l, const char *where, Uuid id, list_print *print, struct err *err)
{
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(l->resource));
    if (l->columns)
        sql_z(&q, l->columns);
    sql_z(&q, " FROM ");
    sql_z(&q, l->from ? l->from : l->resource->table);
    sql_z(&q, " WHERE ");
    sql_z(&q, where);
    sql_uuid(&q, id);
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    if (!rows)
        return -1;
    int rc = stmt_step(rows, err);
    if (rc != 1)
        return rc;
    void *rec = arena_alloc(c->a, l->resource->size);
    record_load(c->a, l->resource, rows, 0, rec);
    c->listed = l;
    return print(c, rec, rows, (int)column_count(l->resource), err) < 0 ? -1 : 1;
}

int record_print_object(struct call *c, const struct resource *r, const void *rec)
{
    jw_object(&c->w);
    record_print(&c->w, r, rec, NULL);
    jw_end(&c->w);
    return 0;
}

int list_print_record(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(row), UNUSED(extra), UNUSED(err);
    return record_print_object(c, c->listed->resource, rec);
}
