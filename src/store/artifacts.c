#include "store/artifacts.h"

#include "base/limits.h"
#include "store/state.h"

#define EVENT_DATA_MAX ((size_t)1 << 20) /* larger data is not told: an event has 1.5 MB */

/* ---- the collection ---- */

static void print_related(struct jw *w, const char *kind, Uuid id, const char *role, struct arena *a)
{
    if (uuid_is_nil(id))
        return;
    jw_object(w);
    jw_kstr(w, "prefect.resource.id", str_fmt(a, "prefect.%s.%s", kind, uuid_text(id).s));
    jw_kz(w, "prefect.resource.role", role);
    jw_end(w);
}

static void tell(struct outbox *out, Time now, const char *what, const struct artifact_collection *c)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_array(&w);
    print_related(&w, "artifact", c->latest_id, "latest", out->a);
    print_related(&w, "flow-run", c->flow_run_id, "flow-run", out->a);
    print_related(&w, "task-run", c->task_run_id, "task-run", out->a);
    jw_end(&w);
    Str related = str_dup(out->a, buf_view(&b));
    b.n = 0;
    w = jw_on(&b);
    jw_object(&w);
    jw_kstr(&w, "key", c->key);
    jw_kstr(&w, "type", c->type);
    jw_kraw(&w, "data", c->data.n > EVENT_DATA_MAX ? STR_NONE : c->data);
    jw_kstr(&w, "description", c->description);
    jw_end(&w);
    outbox_changed(out, now, "artifact-collection", what, c->id, c->key, related, str_dup(out->a, buf_view(&b)));
}

static struct artifact_collection copy_of(const struct artifact *a)
{
    return (struct artifact_collection){
        .latest_id = a->id,
        .key = a->key,
        .type = a->type,
        .description = a->description,
        .data = a->data,
        .metadata_ = a->metadata_,
        .flow_run_id = a->flow_run_id,
        .task_run_id = a->task_run_id,
    };
}

#define COPIED                                                                                                                       \
    "latest_id = excluded.latest_id, updated = excluded.updated, type = excluded.type, description = excluded.description, "        \
    "data = excluded.data, metadata_ = excluded.metadata_, flow_run_id = excluded.flow_run_id, task_run_id = excluded.task_run_id"

static int become_latest(struct conn *c, struct outbox *out, Time now, const struct artifact *artifact, struct err *err)
{
    struct artifact_collection all = copy_of(artifact);
    Uuid mine = all.id = uuid_v7();
    all.created = all.updated = now;
    if (record_insert(c, &artifact_collection_resource, &all, "ON CONFLICT (key) DO UPDATE SET " COPIED, err) < 0 ||
        db_get_uuid(c, err, &all.id, "SELECT id FROM artifact_collection WHERE key = $1", "s", all.key) < 0)
        return -1;
    tell(out, now, uuid_eq(all.id, mine) ? "created" : "updated", &all);
    return 0;
}

/* The newest of its key is going: the one before it takes its place. */
static int step_down(struct conn *c, struct outbox *out, Time now, struct artifact_collection *all, struct err *err)
{
    struct artifact before;
    int rc = record_find(c, out->a, &artifact_resource, &before, err, "key = $1 AND id <> $2 ORDER BY created DESC, id DESC LIMIT 1", "su", all->key,
                         all->latest_id);
    if (rc < 0)
        return -1;
    if (!rc) {
        tell(out, now, "deleted", all);
        return record_delete(c, &artifact_collection_resource, all->id, err) < 0 ? -1 : 0;
    }
    struct artifact_collection next = copy_of(&before);
    next.id = all->id;
    next.created = all->created;
    next.updated = now;
    tell(out, now, "updated", &next);
    return record_update(c, &artifact_collection_resource, &next, record_diff(&artifact_collection_resource, all, &next), all->id, err) < 0 ? -1 : 0;
}

/* A key's row, which nobody else changes until the write is done. */
static int lock_by_key(struct conn *c, struct arena *a, Str key, struct artifact_collection *ret, struct err *err)
{
    return record_find(c, a, &artifact_collection_resource, ret, err, conn_kind(c) == DB_POSTGRES ? "key = $1 FOR UPDATE" : "key = $1", "s", key);
}

/* ---- artifacts ---- */

int artifact_insert(struct conn *c, struct outbox *out, Time now, struct artifact *artifact, struct err *err)
{
    artifact->id = uuid_v7();
    artifact->created = artifact->updated = now;
    if (artifact->key.p && become_latest(c, out, now, artifact, err) < 0)
        return -1;
    return record_insert(c, &artifact_resource, artifact, "", err) < 0 ? -1 : 0;
}

int artifact_update(struct conn *c, Time now, Uuid id, struct artifact *change, struct err *err)
{
    /* the rows that may be changed are of the same names in both */
    struct artifact_collection all = copy_of(change);
    FieldSet mask = (FieldSet)1 << artifact_collection__updated;
    const struct {
        int from, to;
    } fields[] = {{artifact__description, artifact_collection__description},
                  {artifact__data, artifact_collection__data},
                  {artifact__metadata_, artifact_collection__metadata_}};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (IS_SET(change, fields[i].from))
            mask |= (FieldSet)1 << fields[i].to;
    change->updated = all.updated = now;
    SET_FIELD(change, artifact__updated);
    struct artifact artifact;
    struct artifact_collection newest;
    AUTO(arena_freep) struct arena *a = arena_create();
    int rc = record_by_id(c, a, &artifact_resource, id, &artifact, err);
    if (rc <= 0)
        return rc;
    /* in the order in which artifact_insert takes them */
    bool latest = false;
    if (artifact.key.p) {
        rc = lock_by_key(c, a, artifact.key, &newest, err);
        latest = rc == 1 && uuid_eq(newest.latest_id, id);
    }
    if (rc < 0 || (latest && record_update(c, &artifact_collection_resource, &all, mask, newest.id, err) < 0))
        return -1;
    return (int)record_update(c, &artifact_resource, change, change->set, id, err);
}

int artifact_delete(struct conn *c, struct outbox *out, Time now, Uuid id, struct err *err)
{
    struct artifact artifact;
    struct artifact_collection all;
    int rc = record_by_id(c, out->a, &artifact_resource, id, &artifact, err);
    if (rc <= 0)
        return rc;
    if (artifact.key.p)
        rc = lock_by_key(c, out->a, artifact.key, &all, err);
    if (rc < 0 || (artifact.key.p && rc && uuid_eq(all.latest_id, id) && step_down(c, out, now, &all, err) < 0))
        return -1;
    int64_t n = record_delete(c, &artifact_resource, id, err);
    return n < 0 ? -1 : n > 0;
}

/* ---- results ---- */

static bool is_result(Str data)
{
    return data.p && !str_eqz(str_trim(data), "null") && state_data_kind(data) != DATA_UNPERSISTED;
}

int artifact_of_state(struct conn *c, struct outbox *out, Time now, Uuid flow_run_id, Uuid task_run_id, struct state *s, struct err *err)
{
    if (!is_result(s->data))
        return 0;
    struct artifact artifact;
    record_init(&artifact_resource, &artifact);
    const struct json *data = json_parse(out->a, s->data, err);
    if (!data)
        return -1;
    const struct {
        const char *key;
        Str *to;
    } taken[] = {{"artifact_type", &artifact.type}, {"artifact_key", &artifact.key}, {"artifact_description", &artifact.description}};
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    bool any = false;
    jw_object(&w);
    for (size_t i = 0; json_is(data, JSON_OBJECT) && i < data->object.n; i++) {
        const struct json_member *m = &data->object.members[i];
        Str *to = NULL;
        for (size_t k = 0; k < COUNT_OF(taken); k++)
            if (str_eqz(m->key, taken[k].key))
                to = taken[k].to;
        any |= to != NULL;
        if (to) {
            *to = json_str(&m->value);
            continue;
        }
        jw_key(&w, m->key);
        jw_value(&w, &m->value);
    }
    jw_end(&w);
    if (any)
        s->data = str_dup(out->a, buf_view(&b));
    artifact.data = s->data;
    artifact.flow_run_id = flow_run_id;
    artifact.task_run_id = task_run_id;
    if (artifact_insert(c, out, now, &artifact, err) < 0)
        return -1;
    s->result_artifact_id = artifact.id;
    return 0;
}
