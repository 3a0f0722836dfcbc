/* model/filter.h: the API's filter objects become WHERE clauses; sorts become ORDER BY.
 *
 * A filterable resource is a row list of leaves (filters.c); filters on other objects are EXISTS joins, a row each. Column
 * names come from the rows, values are bound. Unknown keys are violations (extra_forbidden). */
#pragma once
#include "model/all.h"

enum leaf_kind {
    LEAF_UUID,  /* any_, not_any_, is_null_ (those that `keys` names) */
    LEAF_TEXT,  /* any_, not_any_, like_, is_null_, startswith_, exists_ */
    LEAF_TAGS,  /* all_, any_, is_null_ */
    LEAF_TIME,  /* before_, after_, is_null_ */
    LEAF_BOOL,  /* eq_ */
    LEAF_INT,   /* ge_, le_, is_null_ */
    LEAF_GROUP, /* an object of further leaves (`sub`) joined by its own operator */
    LEAF_FN,    /* `fn` writes the clause; any_ and not_any_ of it are UUIDs */
    LEAF_IGNORED, /* known, and says nothing */
};
struct filter_def;
struct leaf {
    const char *name;
    enum leaf_kind kind;
    const char *expr; /* SQL of the value; a resource's columns are written table.column */
    const char *keys; /* accepted operators, space separated; "operator" where they may be joined by or */
    const char *null_expr; /* what is_null_ asks of, where it is not expr */
    const struct leaf *sub;
    size_t sub_count;
    void (*fn)(struct sql *q, const struct json *v, struct violations *out);
    const char *const *names; /* LEAF_TEXT: the only values that there are, ends in NULL; NULL: any text */
    bool set_unless; /* without is_null_, the value must be there: is_null_ is false by default */
    const char *must; /* an operator that the leaf must have; NULL: none */
    const char *dflt; /* JSON of the leaf where the filter object does not have it; NULL: none */
};
struct filter_def {
    const char *key; /* in bodies: "flow_runs"; `also` another spelling or NULL */
    const char *also;
    const char *table;
    const struct leaf *leaves;
    size_t n;
    bool plain;    /* it takes no `operator` */
    bool if_given; /* its leaves' defaults count only where the filter was sent */
};
struct join {
    const struct filter_def *to;
    const char *exists; /* "EXISTS (SELECT 1 FROM flow WHERE flow.id = flow_run.flow_id AND %s)": the %s is the filter */
};
struct sort {
    const char *name;   /* "NAME_ASC"; NULL: the only one, and bodies have no `sort` */
    const char *order;  /* "flow.name ASC, flow.id ASC" */
    const char *driven; /* the same by the columns of the tag table (struct listing); NULL: it has them not */
};
/* What may be listed: its own filter, joins, sorts (the first is the default). */
struct listing {
    const struct resource *resource;
    const struct filter_def *self; /* NULL: none */
    const struct join *joins;
    size_t join_count;
    const struct sort *sorts;
    size_t sort_count;
    const char *from; /* FROM text where it is more than the table (joins for output columns); NULL */
    const char *columns; /* further output columns after the resource's, ", x.y"; NULL */
    /* SQLite: the table with a row (tag, run_id, …) for each tag; NULL. A list or count by tag goes along it ("drive") instead
     * of looking at every row's JSON, where the sort order's columns are in it. On PostgreSQL an index does that. */
    const char *tag_table;
    /* SQLite: the table of the names that rows have, (id, name); "<it>_part" is its index of parts (FTS5, three letters each) up to
     * the id in "<it>_mark"; NULL. A list by a part of the name goes along it where it finds few rows. */
    const char *name_table;
};
extern const struct listing flow_listing, flow_run_listing, task_run_listing, deployment_listing, work_pool_listing,
    work_queue_listing, work_pool_queue_listing, worker_listing, variable_listing, block_document_listing, block_schema_listing,
    block_type_listing, log_listing, artifact_listing, artifact_collection_listing,
    saved_search_listing, notification_policy_listing, automation_listing;

/* Before the other listing_…: chooses what the statement goes along, which may ask the database. */
NODISCARD int listing_plan(struct sql *q, struct conn *c, const struct listing *l, const struct json *body, struct err *err);
/* Writes one filter object's clause ("1 = 1" where it says nothing). `object` may be NULL or null. */
void filter_where(struct sql *q, const struct filter_def *f, const struct json *object, struct violations *v);
/* "WHERE …" from all filters of a multi-key body. */
void listing_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v);
/* " FROM table WHERE …" for a SELECT of the caller's own that listing_order sorts. */
void listing_from_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v);
/* After listing_select_where or listing_from_where: "ORDER BY …" of the body's `sort` (null or absent: the default). */
void listing_order(struct sql *q, const struct listing *l, const struct json *body, struct violations *v);
/* "SELECT columns FROM … WHERE …": the caller goes on with AND, listing_order, LIMIT. */
void listing_select_where(struct sql *q, const struct listing *l, const struct json *body, struct violations *v);
/* "SELECT columns FROM …": the caller goes on with WHERE. */
void listing_select(struct sql *q, const struct listing *l);
void listing_count(struct sql *q, const struct listing *l, const struct json *body, struct violations *v);
/* "table.id IN (…)" and the like, for use by handlers. */
void sql_in_uuids(struct sql *q, const char *expr, const Uuid *ids, size_t n);
