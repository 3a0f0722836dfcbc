/* Saved searches: filters of the web UI under a name. */
#include "api/handlers.h"
#include "api/list.h"

static int found(int64_t rc, struct err *err)
{
    return rc == 0 ? call_not_found(err, "Saved search") : rc < 0 ? -1 : 0;
}

/* Makes it, or replaces the filters of the one of that name. */
int saved_searches_put(struct call *c, struct err *err)
{
    struct saved_search search;
    if (call_parse(c, &saved_search_resource, CREATE, &search, err) < 0)
        return -1;
    Uuid mine = search.id = uuid_v7();
    search.created = search.updated = c->now;
    if (record_insert(c->conn, &saved_search_resource, &search, "ON CONFLICT (name) DO UPDATE SET filters = excluded.filters, updated = excluded.updated", err) < 0 ||
        found(record_find(c->conn, c->a, &saved_search_resource, &search, err, "name = $1", "s", search.name), err) < 0)
        return -1;
    c->status = uuid_eq(search.id, mine) ? 201 : 200;
    return record_print_object(c, &saved_search_resource, &search);
}

int saved_searches_read(struct call *c, struct err *err)
{
    struct saved_search search;
    if (found(record_by_id(c->conn, c->a, &saved_search_resource, c->id, &search, err), err) < 0)
        return -1;
    return record_print_object(c, &saved_search_resource, &search);
}

int saved_searches_delete(struct call *c, struct err *err)
{
    return found(record_delete(c->conn, &saved_search_resource, c->id, err), err) < 0 ? -1 : call_empty(c, 204);
}

int saved_searches_filter(struct call *c, struct err *err)
{
    return list_filter(c, &saved_search_listing, NULL, list_print_record, err);
}
