/* Artifacts: what runs leave to be looked at, and the newest of each key. */
#include "api/handlers.h"
#include "api/list.h"
#include "store/artifacts.h"

static int found(int rc, struct err *err)
{
    return rc == 0 ? err_set(err, ERR_NOT_FOUND, "Artifact not found.") : rc < 0 ? -1 : 0;
}

int artifacts_create(struct call *c, struct err *err)
{
    struct artifact artifact;
    if (call_parse(c, &artifact_resource, CREATE, &artifact, err) < 0 || artifact_insert(c->conn, &c->outbox, c->now, &artifact, err) < 0)
        return -1;
    return record_print_object(c, &artifact_resource, &artifact);
}

int artifacts_read(struct call *c, struct err *err)
{
    struct artifact artifact;
    if (found(record_by_id(c->conn, c->a, &artifact_resource, c->id, &artifact, err), err) < 0)
        return -1;
    return record_print_object(c, &artifact_resource, &artifact);
}

/* The key's row, with its own id, in the form of an artifact. */
int artifacts_read_latest(struct call *c, struct err *err)
{
    static const char *const not_here[] = {"latest_id", NULL};
    struct artifact_collection all;
    if (found(record_find(c->conn, c->a, &artifact_collection_resource, &all, err, "key = $1", "s", c->params[0]), err) < 0)
        return -1;
    jw_object(&c->w);
    record_print(&c->w, &artifact_collection_resource, &all, not_here);
    jw_end(&c->w);
    return 0;
}

int artifacts_update(struct call *c, struct err *err)
{
    struct artifact change;
    if (call_parse(c, &artifact_resource, UPDATE, &change, err) < 0 || found(artifact_update(c->conn, c->now, c->id, &change, err), err) < 0)
        return -1;
    return call_empty(c, 204);
}

int artifacts_delete(struct call *c, struct err *err)
{
    return found(artifact_delete(c->conn, &c->outbox, c->now, c->id, err), err) < 0 ? -1 : call_empty(c, 204);
}

int artifacts_filter(struct call *c, struct err *err)
{
    return list_filter(c, &artifact_listing, NULL, list_print_record, err);
}

int artifacts_count(struct call *c, struct err *err)
{
    return list_count(c, &artifact_listing, err);
}

int artifacts_latest_filter(struct call *c, struct err *err)
{
    return list_filter(c, &artifact_collection_listing, NULL, list_print_record, err);
}

int artifacts_latest_count(struct call *c, struct err *err)
{
    return list_count(c, &artifact_collection_listing, err);
}
