/* What a flow run consists of: its task runs and subflow runs, and which result went where. */
#include "api/handlers.h"
#include "api/list.h"
#include "base/limits.h"
#include "orchestration/orchestrate.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 10000     /* more cannot be drawn */
#define ARTIFACTS_MAX 10000 /* nor of these */
#define ENCAPSULATING "__parents__"

/* ---- the flat list ---- */

static int print_dependency(struct call *c, const void *rec, struct stmt *row, int extra, struct err *err)
{
    UNUSED(err);
    const struct task_run *run = rec;
    struct state state;
    struct state_details details = {0};
    struct err why;
    bool has = state_load(c->a, row, extra, &state);
    if (has)
        state_details_get(c->a, &state, &details);
    jw_object(&c->w);
    jw_kuuid(&c->w, "id", run->id);
    jw_kstr(&c->w, "name", run->name);
    jw_key(&c->w, STR("upstream_dependencies"));
    jw_array(&c->w);
    const struct json *inputs = json_parse(c->a, run->task_inputs, &why);
    VEC(Uuid) seen = {0};
    for (size_t i = 0; json_is(inputs, JSON_OBJECT) && i < inputs->object.n; i++) {
        const struct json *list = &inputs->object.members[i].value;
        for (size_t k = 0; json_is(list, JSON_ARRAY) && k < list->array.n; k++) {
            Uuid id;
            if (!uuid_parse(json_get_str(&list->array.items[k], STR("id")), &id))
                continue; /* a parameter or constant: nothing ran for it */
            bool twice = false;
            for (size_t s = 0; s < seen.n; s++)
                twice |= uuid_eq(seen.v[s], id);
            if (twice)
                continue;
            vec_push(c->a, &seen, id);
            Str type = json_get_str(&list->array.items[k], STR("input_type"));
            jw_object(&c->w);
            jw_kstr(&c->w, "input_type", type.p ? type : STR("task_run"));
            jw_kuuid(&c->w, "id", id);
            jw_end(&c->w);
        }
    }
    jw_end(&c->w);
    jw_key(&c->w, STR("state"));
    state_print(&c->w, has ? &state : NULL);
    jw_ktime(&c->w, "expected_start_time", run->expected_start_time);
    jw_ktime(&c->w, "start_time", run->start_time);
    jw_ktime(&c->w, "end_time", run->end_time);
    jw_kdouble(&c->w, "total_run_time", (double)run->total_run_time / SEC);
    jw_kdouble(&c->w, "estimated_run_time",
               (double)estimated_run_time(run->total_run_time, state_type_of(run->state_type), run->state_timestamp, c->now) / SEC);
    jw_kbool(&c->w, "untrackable_result", details.untrackable_result == 1);
    jw_end(&c->w);
    return 0;
}

static int too_large(struct call *c, struct err *err)
{
    return err_set(err, ERR_INVALID, "The graph of flow run %s has more than %d nodes.", uuid_text(c->id).s, NODES_MAX);
}

int flow_runs_graph(struct call *c, struct err *err)
{
    const struct listing *l = &task_run_listing;
    int64_t one, n = 0;
    int rc = db_get_int(c->conn, err, &one, "SELECT 1 FROM flow_run WHERE id = $1", "u", c->id);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Flow run");
    AUTO(sql_free) struct sql q = sql_new(c->a, conn_kind(c->conn));
    sql_z(&q, "SELECT ");
    sql_put(&q, resource_columns(l->resource));
    sql_z(&q, l->columns);
    sql_z(&q, " FROM ");
    sql_z(&q, l->from);
    sql_z(&q, " WHERE task_run.flow_run_id = ");
    sql_uuid(&q, c->id);
    sql_z(&q, " ORDER BY task_run.id LIMIT ");
    sql_int(&q, NODES_MAX + 1);
    int extra = 0;
    for (size_t i = 0; i < l->resource->n; i++)
        extra += (l->resource->fields[i].flags & COL) != 0;
    AUTO(stmt_finish) struct stmt *rows = sql_query(c->conn, &q, err);
    rc = rows ? 1 : -1;
    jw_array(&c->w);
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct task_run run;
        record_load(c->a, l->resource, rows, 0, &run);
        if (++n > NODES_MAX)
            return too_large(c, err);
        if (print_dependency(c, &run, rows, extra, err) < 0)
            return -1;
    }
    jw_end(&c->w);
    return rc;
}

/* ---- the graph ---- */

typedef VEC(uint32_t) Edges;

struct graph_artifact {
    Uuid id, task_run; /* task_run nil: of the flow run itself */
    Time created;
    Str key, type, data;
    bool latest;
};
typedef VEC(struct graph_artifact) Artifacts;

struct node {
    Uuid task_run, flow_run; /* flow_run nil: it is a task */
    Str label, state_type, inputs;
    Time start, end;
    Edges parents, children, encapsulating;
    Artifacts artifacts;
};
typedef VEC(struct node) Nodes;

/* From an id that inputs may name to its node. */
struct place {
    Uuid id;
    uint32_t node;
};

static int by_id(const void *x, const void *y)
{
    return memcmp(((const struct place *)x)->id.b, ((const struct place *)y)->id.b, sizeof(Uuid));
}

/* By start and end, so that edges, which follow this order, do too. */
static int load_nodes(struct call *c, Nodes *ret, struct err *err)
{
    AUTO(stmt_finish)
    struct stmt *rows = db_query(
        c->conn, err,
        "SELECT task_run.id, sub.id, coalesce(flow.name || ' / ' || sub.name, task_run.name), coalesce(sub.state_type, task_run.state_type),"
        " coalesce(sub.start_time, sub.expected_start_time, task_run.start_time, task_run.expected_start_time) AS start_at,"
        " coalesce(sub.end_time, task_run.end_time, CASE WHEN task_run.state_type = 'COMPLETED' THEN task_run.expected_start_time END) AS end_at,"
        " task_run.task_inputs"
        " FROM task_run LEFT JOIN flow_run AS sub ON sub.parent_task_run_id = task_run.id LEFT JOIN flow ON flow.id = sub.flow_id"
        " WHERE task_run.flow_run_id = $1"
        " AND coalesce(sub.start_time, sub.expected_start_time, task_run.start_time, task_run.expected_start_time) IS NOT NULL"
        " ORDER BY start_at, end_at NULLS LAST, task_run.id LIMIT $2",
        "ui", c->id, (int64_t)NODES_MAX + 1);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct node n = {.task_run = stmt_uuid(rows, 0), .flow_run = stmt_uuid(rows, 1), .label = str_dup(c->a, stmt_str(rows, 2)),
                         .state_type = str_dup(c->a, stmt_str(rows, 3)), .start = stmt_int(rows, 4), .end = stmt_is_null(rows, 5) ? TIME_NONE : stmt_int(rows, 5),
                         .inputs = str_dup(c->a, stmt_str(rows, 6))};
        vec_push(c->a, ret, n);
    }
    if (rc == 0 && ret->n > NODES_MAX)
        return too_large(c, err);
    return rc;
}

/* What the run and its tasks left to be looked at (results are not), oldest first. */
static int load_artifacts(struct call *c, Artifacts *ret, struct err *err)
{
    AUTO(stmt_finish)
    struct stmt *rows = db_query(c->conn, err,
                                 "SELECT artifact.id, artifact.task_run_id, artifact.created, artifact.key, artifact.type,"
                                 " CASE WHEN artifact.type = 'progress' THEN artifact.data END, newest.id FROM artifact"
                                 " LEFT JOIN artifact_collection AS newest ON newest.latest_id = artifact.id"
                                 " WHERE artifact.flow_run_id = $1 AND artifact.type <> 'result' ORDER BY artifact.created, artifact.id LIMIT $2",
                                 "ui", c->id, (int64_t)ARTIFACTS_MAX);
    int rc = rows ? 1 : -1;
    while (rc == 1 && (rc = stmt_step(rows, err)) == 1) {
        struct graph_artifact one = {.id = stmt_uuid(rows, 0), .task_run = stmt_uuid(rows, 1), .created = stmt_int(rows, 2),
                                     .key = str_dup(c->a, stmt_str(rows, 3)), .type = str_dup(c->a, stmt_str(rows, 4)),
                                     .data = str_dup(c->a, stmt_str(rows, 5)), .latest = stmt_is_null(rows, 3) || !stmt_is_null(rows, 6)};
        vec_push(c->a, ret, one);
    }
    return rc;
}

static void add_edge(struct arena *a, Edges *e, uint32_t to)
{
    for (size_t i = e->n; i > 0; i--)
        if (e->v[i - 1] == to)
            return;
    vec_push(a, e, to);
}

static int by_number(const void *x, const void *y)
{
    uint32_t p = *(const uint32_t *)x, q = *(const uint32_t *)y;
    return (p > q) - (p < q);
}

static void hand_out_artifacts(struct arena *a, Nodes *nodes, const Artifacts *artifacts)
{
    struct place *places = arena_array(a, struct place, nodes->n + 1);
    for (uint32_t i = 0; i < nodes->n; i++)
        places[i] = (struct place){nodes->v[i].task_run, i};
    qsort(places, nodes->n, sizeof *places, by_id);
    for (size_t i = 0; i < artifacts->n; i++) {
        struct place want = {artifacts->v[i].task_run, 0};
        const struct place *at = bsearch(&want, places, nodes->n, sizeof *places, by_id);
        if (at)
            vec_push(a, &nodes->v[at->node].artifacts, artifacts->v[i]);
    }
}

/* Task inputs say where a value came from; a subflow's value may be named by its flow run or by the task run that stands for it. */
static void link_nodes(struct arena *a, Nodes *nodes)
{
    struct place *places = arena_array(a, struct place, 2 * nodes->n + 1);
    size_t n = 0;
    for (uint32_t i = 0; i < nodes->n; i++) {
        places[n++] = (struct place){nodes->v[i].task_run, i};
        if (!uuid_is_nil(nodes->v[i].flow_run))
            places[n++] = (struct place){nodes->v[i].flow_run, i};
    }
    qsort(places, n, sizeof *places, by_id);
    for (uint32_t i = 0; i < nodes->n; i++) {
        struct node *node = &nodes->v[i];
        struct err why;
        const struct json *inputs = json_parse(a, node->inputs, &why);
        for (size_t m = 0; json_is(inputs, JSON_OBJECT) && m < inputs->object.n; m++) {
            bool around = str_eqz(inputs->object.members[m].key, ENCAPSULATING);
            const struct json *list = &inputs->object.members[m].value;
            for (size_t k = 0; json_is(list, JSON_ARRAY) && k < list->array.n; k++) {
                struct place want;
                if (!uuid_parse(json_get_str(&list->array.items[k], STR("id")), &want.id))
                    continue;
                const struct place *at = bsearch(&want, places, n, sizeof *places, by_id);
                if (!at || at->node == i)
                    continue;
                add_edge(a, around ? &node->encapsulating : &node->parents, at->node);
            }
        }
        if (node->parents.n)
            qsort(node->parents.v, node->parents.n, sizeof *node->parents.v, by_number);
        if (node->encapsulating.n)
            qsort(node->encapsulating.v, node->encapsulating.n, sizeof *node->encapsulating.v, by_number);
        for (size_t k = 0; k < node->parents.n; k++)
            vec_push(a, &nodes->v[node->parents.v[k]].children, i);
    }
}

static Uuid node_id(const struct node *n)
{
    return uuid_is_nil(n->flow_run) ? n->task_run : n->flow_run;
}

static void print_edges(struct jw *w, const Nodes *nodes, const Edges *e)
{
    jw_array(w);
    for (size_t i = 0; i < e->n; i++) {
        jw_object(w);
        jw_kuuid(w, "id", node_id(&nodes->v[e->v[i]]));
        jw_end(w);
    }
    jw_end(w);
}

/* Those of one task run (nil: of none). */
static void print_artifacts(struct jw *w, const Artifacts *artifacts, Uuid task_run)
{
    jw_array(w);
    for (size_t i = 0; i < artifacts->n; i++) {
        const struct graph_artifact *one = &artifacts->v[i];
        if (!uuid_eq(one->task_run, task_run))
            continue;
        jw_object(w);
        jw_kuuid(w, "id", one->id);
        jw_ktime(w, "created", one->created);
        jw_kstr(w, "key", one->key);
        jw_kstr(w, "type", one->type);
        jw_kbool(w, "is_latest", one->latest);
        jw_kraw(w, "data", one->data);
        jw_end(w);
    }
    jw_end(w);
}

static void print_node(struct jw *w, const Nodes *nodes, const struct node *n)
{
    jw_array(w);
    jw_uuid(w, node_id(n));
    jw_object(w);
    jw_kz(w, "kind", uuid_is_nil(n->flow_run) ? "task-run" : "flow-run");
    jw_kuuid(w, "id", node_id(n));
    jw_kstr(w, "label", n->label);
    jw_kstr(w, "state_type", n->state_type);
    jw_ktime(w, "start_time", n->start);
    jw_ktime(w, "end_time", n->end);
    jw_key(w, STR("parents"));
    print_edges(w, nodes, &n->parents);
    jw_key(w, STR("children"));
    print_edges(w, nodes, &n->children);
    jw_key(w, STR("encapsulating"));
    print_edges(w, nodes, &n->encapsulating);
    jw_key(w, STR("artifacts"));
    print_artifacts(w, &n->artifacts, n->task_run);
    jw_end(w);
    jw_end(w);
}

static int print_states(struct call *c, struct err *err)
{
    StateList list = {0};
    if (state_list(c->conn, c->a, FLOW_RUN, c->id, &list, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < list.n; i++) {
        jw_object(&c->w);
        jw_kuuid(&c->w, "id", list.v[i].id);
        jw_ktime(&c->w, "timestamp", list.v[i].timestamp);
        jw_kstr(&c->w, "type", list.v[i].type);
        jw_kstr(&c->w, "name", list.v[i].name);
        jw_end(&c->w);
    }
    jw_end(&c->w);
    return 0;
}

int flow_runs_graph_v2(struct call *c, struct err *err)
{
    struct flow_run run;
    Nodes nodes = {0};
    Time since = call_time(c, "since", TIME_NONE);
    int rc = record_by_id(c->conn, c->a, &flow_run_resource, c->id, &run, err);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, "Flow run");
    Artifacts artifacts = {0};
    if (load_nodes(c, &nodes, err) < 0 || load_artifacts(c, &artifacts, err) < 0)
        return -1;
    link_nodes(c->a, &nodes);
    hand_out_artifacts(c->a, &nodes, &artifacts);
    jw_object(&c->w);
    jw_ktime(&c->w, "start_time", run.start_time != TIME_NONE ? run.start_time : run.expected_start_time);
    jw_ktime(&c->w, "end_time", run.end_time);
    /* what ended before `since` was sent before */
    Nodes shown = {0};
    for (size_t i = 0; i < nodes.n; i++)
        if (since == TIME_NONE || nodes.v[i].end == TIME_NONE || nodes.v[i].end >= since)
            vec_push(c->a, &shown, nodes.v[i]);
    jw_key(&c->w, STR("root_node_ids"));
    jw_array(&c->w);
    for (size_t i = 0; i < shown.n; i++)
        if (!shown.v[i].parents.n)
            jw_uuid(&c->w, node_id(&shown.v[i]));
    jw_end(&c->w);
    jw_key(&c->w, STR("nodes"));
    jw_array(&c->w);
    for (size_t i = 0; i < shown.n; i++)
        print_node(&c->w, &nodes, &shown.v[i]);
    jw_end(&c->w);
    jw_key(&c->w, STR("artifacts"));
    print_artifacts(&c->w, &artifacts, UUID_NIL);
    jw_key(&c->w, STR("states"));
    if (print_states(c, err) < 0)
        return -1;
    jw_end(&c->w);
    return 0;
}
