/* What a broken unique constraint becomes: words with the value in them, for every one that the migrations make. */
#include "tests/unit/dbtest.h"

#include "model/all.h"

static const struct resource *const resources[] = {
    &flow_resource, &flow_run_resource, &task_run_resource, &deployment_resource, &deployment_schedule_resource, &work_pool_resource,
    &work_queue_resource, &worker_resource, &variable_resource, &concurrency_limit_resource, &flow_run_input_resource, &block_type_resource,
    &block_schema_resource, &block_document_resource, &artifact_resource, &artifact_collection_resource,
    &saved_search_resource, &notification_policy_resource, &automation_resource,
};
/* Tables that no body of a request names: written with ON CONFLICT, or with ids that we make. */
static const char *const inner[] = {"flow_run_tag", "flow_run_tally", "flow_run_name", "flow_run_name_mark", "flow_run_name_gone", "flow_run_state", "task_run_state", "task_run_state_cache", "concurrency_lease", "block_document_reference", "automation_related_resource", "configuration", "worker_cleanup",
                                    "schema_version"};

static const char *const catalogue[] = {
    [DB_SQLITE] = "SELECT m.name, l.name, group_concat(i.name) FROM pragma_table_list m, pragma_index_list(m.name) l, pragma_index_info(l.name) i"
                  " WHERE m.schema = 'main' AND m.type = 'table' AND l.\"unique\" = 1 GROUP BY 1, 2 ORDER BY 1, 2",
    [DB_POSTGRES] = "SELECT t.relname::text, n.relname::text, string_agg(a.attname::text, ',' ORDER BY k.place) FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid"
                    " JOIN pg_class n ON n.oid = x.indexrelid CROSS JOIN unnest(x.indkey) WITH ORDINALITY k(number, place)"
                    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number WHERE x.indisunique AND t.relnamespace = 't'::regnamespace"
                    " GROUP BY 1, 2 ORDER BY 1, 2",
};

struct constraint {
    Str table, name, columns;
};

static const struct resource *resource_of(Str table)
{
    for (size_t i = 0; i < COUNT_OF(resources); i++)
        if (str_eqz(table, resources[i]->table))
            return resources[i];
    return NULL;
}

static bool is_inner(Str table)
{
    for (size_t i = 0; i < COUNT_OF(inner); i++)
        if (str_eqz(table, inner[i]))
            return true;
    return false;
}

static bool has(Str columns, const char *name)
{
    for (Str part; str_cut(&columns, ',', &part);)
        if (str_eqz(part, name))
            return true;
    return false;
}

/* Every field something of its own, but for the columns that are to be as in `like`. */
static void fill(struct world *w, const struct resource *r, const struct constraint *k, const char *like, char *rec)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        void *p = rec + f->offset;
        bool same = like && has(k->columns, f->name);
        size_t size = f->type == F_UUID ? sizeof(Uuid) : f->type == F_BOOL ? 1 : f->type == F_INT || f->type == F_DUR || f->type == F_TIME || f->type == F_DOUBLE ? 8 : sizeof(Str);
        if (same)
            memcpy(p, like + f->offset, size);
        else if (f->type == F_UUID)
            *(Uuid *)p = uuid_v4();
        else if (f->type == F_BOOL)
            *(int8_t *)p = 0;
        else if (f->type == F_DOUBLE)
            *(double *)p = 1;
        else if (size == 8)
            *(int64_t *)p = 1;
        else if (!strcmp(f->name, "tags")) /* PostgreSQL's index and SQLite's triggers read it */
            *(Str *)p = STR("[]");
        else
            *(Str *)p = str_fmt(w->a, "text-%s", uuid_text(uuid_v4()).s);
        if (str_eqz(k->name, "task_run_without_flow") && !strcmp(f->name, "flow_run_id"))
            *(Uuid *)p = UUID_NIL;
    }
}

static bool says(const struct err *e, const char *text)
{
    return strstr(e->text, text) != NULL;
}

static int broken(struct world *w, const struct constraint *k, const struct resource *r, struct err *err)
{
    char *one = arena_zalloc(w->a, r->size), *two = arena_zalloc(w->a, r->size);
    fill(w, r, k, NULL, one);
    fill(w, r, k, one, two);
    TRY(db_savepoint(w->c, err));
    struct err why = {0};
    if (record_insert(w->c, r, one, "", err) < 0)
        return err_wrap(err, "%.*s", STR_ARG(k->table));
    int64_t n = record_insert(w->c, r, two, "", &why);
    TRY(db_rollback_to(w->c, err));
    if (n >= 0)
        return err_set(err, ERR_INTERNAL, "%.*s was not broken", STR_ARG(k->name));
    EXPECT(why.code == ERR_CONFLICT);
    if (says(&why, "constraint") || says(&why, "_") || says(&why, "(") || !says(&why, "exists already"))
        return err_set(err, ERR_INTERNAL, "%.*s: %s", STR_ARG(k->name), why.text);
    for (size_t i = 0; i < r->n; i++) {
        const struct field *f = &r->fields[i];
        if (!has(k->columns, f->name) || (f->type != F_STR && strcmp(f->name, "id")))
            continue;
        const char *value = f->type == F_STR ? ((const Str *)(const void *)(one + f->offset))->p : uuid_text(*(Uuid *)(void *)(one + f->offset)).s;
        if (!says(&why, value))
            return err_set(err, ERR_INTERNAL, "%.*s: the value of %s is not in: %s", STR_ARG(k->name), f->name, why.text);
    }
    return 0;
}

static int every_constraint(struct world *w, struct err *err)
{
    bool postgres = conn_kind(w->c) == DB_POSTGRES;
    /* owners need not be there: all is undone */
    TRY(db_exec(w->c, err, postgres ? "SET LOCAL session_replication_role = replica" : "PRAGMA defer_foreign_keys = ON", ""));
    VEC(struct constraint) list = {0};
    {
        AUTO(stmt_finish) struct stmt *q = db_query(w->c, err, catalogue[conn_kind(w->c)], "");
        int rc = q ? 1 : -1;
        while (rc == 1 && (rc = stmt_step(q, err)) == 1)
            vec_push(w->a, &list, ((struct constraint){str_dup(w->a, stmt_str(q, 0)), str_dup(w->a, stmt_str(q, 1)), str_dup(w->a, stmt_str(q, 2))}));
        TRY(rc);
    }
    EXPECT(list.n > 25);
    for (size_t i = 0; i < list.n; i++) {
        const struct resource *r = resource_of(list.v[i].table);
        if (!r && !is_inner(list.v[i].table))
            return err_set(err, ERR_INTERNAL, "table %.*s is in no list of this test", STR_ARG(list.v[i].table));
        if (r)
            TRY(broken(w, &list.v[i], r, err));
    }
    return 0;
}

static int sentences(struct world *w, struct err *err)
{
    struct flow flow = {.id = uuid_v7(), .created = w->now, .updated = w->now, .name = str_fmt(w->a, "f-%s", uuid_text(uuid_v4()).s), .tags = STR("[]")};
    TRY(record_insert(w->c, &flow_resource, &flow, "", err));
    struct deployment d = {.id = uuid_v7(), .flow_id = flow.id, .name = STR("it's (one), with = signs"), .parameters = STR("{}"), .tags = STR("[]"), .status = STR("READY"),
                           .job_variables = STR("{}")};
    TRY(record_insert(w->c, &deployment_resource, &d, "", err));
    struct err why;
    TRY(db_savepoint(w->c, err));
    d.id = uuid_v7();
    EXPECT(record_insert(w->c, &deployment_resource, &d, "", &why) < 0);
    EXPECT_STR(str_of(why.text), "A deployment with the name 'it's (one), with = signs' exists already in the same flow.");
    TRY(db_rollback_to(w->c, err));
    TRY(db_savepoint(w->c, err));
    d.flow_id = uuid_v4();
    EXPECT(record_insert(w->c, &deployment_resource, &d, "", &why) < 0);
    EXPECT_STR(str_of(why.text), "What a deployment refers to does not exist.");
    TRY(db_rollback_to(w->c, err));
    /* without a record at hand: no value, and no column's name either */
    TRY(db_savepoint(w->c, err));
    EXPECT(db_exec(w->c, &why, "INSERT INTO flow (id, created, updated, name, tags) VALUES ($1, $2, $2, $3, '[]')", "uts", uuid_v7(), w->now, flow.name) < 0);
    conflict_explain(NULL, NULL, &why);
    EXPECT_STR(str_of(why.text), "A flow with the name exists already.");
    TRY(db_rollback_to(w->c, err));
    return 0;
}

static const struct db_case cases[] = {
    {"every unique constraint in words", every_constraint},
    {"sentences", sentences},
};

int main(void)
{
    return dbtest_main("conflict", cases, COUNT_OF(cases));
}
