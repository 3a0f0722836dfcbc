/* Flows: what a run is a run of; made by the first run or deployment that names them. */
#include "api/handlers.h"
#include "api/list.h"

#include "store/concurrency.h"

int flows_create(struct call *c, struct err *err)
{
    struct flow flow;
    if (call_parse(c, &flow_resource, CREATE, &flow, err) < 0)
        return -1;
    flow.id = uuid_v7();
    flow.created = flow.updated = c->now;
    int64_t made = record_insert(c->conn, &flow_resource, &flow, "ON CONFLICT (name) DO NOTHING", err);
    if (made < 0)
        return -1;
    if (made) {
        c->status = 201;
        event_resource_changed(c, "flow", "created", flow.id, flow.name, STR_NONE);
    } else if (record_find(c->conn, c->a, &flow_resource, &flow, err, "name = $1", "s", flow.name) < 0) {
        return -1;
    }
    return record_print_object(c, &flow_resource, &flow);
}

static int find(struct call *c, struct flow *ret, struct err *err)
{
    int rc = record_by_id(c->conn, c->a, &flow_resource, c->id, ret, err);
    return rc == 0 ? call_not_found(err, "Flow") : rc;
}

int flows_read(struct call *c, struct err *err)
{
    struct flow flow;
    return find(c, &flow, err) < 0 ? -1 : record_print_object(c, &flow_resource, &flow);
}

int flows_read_by_name(struct call *c, struct err *err)
{
    struct flow flow;
    int rc = record_find(c->conn, c->a, &flow_resource, &flow, err, "name = $1", "s", c->params[0]);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Flow");
    return record_print_object(c, &flow_resource, &flow);
}

int flows_update(struct call *c, struct err *err)
{
    struct flow flow;
    if (call_parse(c, &flow_resource, UPDATE, &flow, err) < 0)
        return -1;
    FieldSet mask = flow.set | (FieldSet)1 << flow__updated;
    flow.updated = c->now;
    int64_t n = record_update(c->conn, &flow_resource, &flow, mask, c->id, err);
    return n < 0 ? -1 : n == 0 ? call_not_found(err, "Flow") : call_empty(c, 204);
}

static int delete_one(struct call *c, Uuid id, struct err *err)
{
    if (leases_release_flow(c->conn, c->a, id, c->now, &c->outbox, err) < 0 ||
        subflows_release(c, "SELECT task_run.id FROM task_run JOIN flow_run ON flow_run.id = task_run.flow_run_id WHERE flow_run.flow_id = $1", id, err) < 0 ||
        db_exec(c->conn, err, "DELETE FROM task_run WHERE flow_run_id IN (SELECT id FROM flow_run WHERE flow_id = $1)", "u", id) < 0)
        return -1;
    int64_t n = record_delete(c->conn, &flow_resource, id, err);
    if (n > 0)
        event_resource_changed(c, "flow", "deleted", id, STR_NONE, STR_NONE);
    return n < 0 ? -1 : n > 0;
}

int flows_delete(struct call *c, struct err *err)
{
    int rc = delete_one(c, c->id, err);
    return rc < 0 ? -1 : rc == 0 ? call_not_found(err, "Flow") : call_empty(c, 204);
}

int flows_bulk_delete(struct call *c, struct err *err)
{
    return bulk_delete(c, &flow_listing, delete_one, err);
}

int flows_filter(struct call *c, struct err *err)
{
    return list_filter(c, &flow_listing, NULL, list_print_record, err);
}

int flows_count(struct call *c, struct err *err)
{
    return list_count(c, &flow_listing, err);
}

int flows_paginate(struct call *c, struct err *err)
{
    return list_paginate(c, &flow_listing, list_print_record, err);
}
