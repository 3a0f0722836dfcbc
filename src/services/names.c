#include "services/names.h"

#define BATCH 1000

int tick_names(struct tick *t, struct err *err)
{
    t->next = TIME_NEVER;
    if (conn_kind(t->conn) == DB_POSTGRES)
        return 0;
    /* The index forgets a name by being told it. What is in it and no longer among the names finds nothing until then. */
    if (db_exec(t->conn, err, "INSERT INTO flow_run_name_part (flow_run_name_part, rowid, name) SELECT 'delete', id, name FROM flow_run_name_gone ORDER BY id LIMIT $1", "i", (int64_t)BATCH) < 0)
        return -1;
    int64_t forgotten = db_exec(t->conn, err, "DELETE FROM flow_run_name_gone WHERE id IN (SELECT id FROM flow_run_name_gone ORDER BY id LIMIT $1)", "i", (int64_t)BATCH);
    if (forgotten < 0)
        return -1;
    if (forgotten == BATCH)
        t->next = t->now;
    int64_t mark, last;
    if (db_get_int(t->conn, err, &mark, "SELECT coalesce(max(name_id), 0) FROM flow_run_name_mark", "") < 0 ||
        db_get_int(t->conn, err, &last, "SELECT coalesce(max(id), $1) FROM (SELECT id FROM flow_run_name WHERE id > $1 ORDER BY id LIMIT $2)", "ii", mark, (int64_t)BATCH) < 0)
        return -1;
    if (last == mark)
        return 0;
    int64_t indexed = db_exec(t->conn, err, "INSERT INTO flow_run_name_part (rowid, name) SELECT id, name FROM flow_run_name WHERE id > $1 AND id <= $2", "ii", mark, last);
    if (indexed < 0 || db_exec(t->conn, err, "DELETE FROM flow_run_name_mark", "") < 0 || db_exec(t->conn, err, "INSERT INTO flow_run_name_mark VALUES ($1)", "i", last) < 0)
        return -1;
    if (indexed == BATCH)
        t->next = t->now;
    return 0;
}
