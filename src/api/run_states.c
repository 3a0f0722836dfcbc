/* States of runs, read alone. */
#include "api/handlers.h"

static int read_one(struct call *c, enum run_kind kind, const char *what, struct err *err)
{
    struct state s;
    int rc = state_by_id(c->conn, c->a, kind, c->id, &s, NULL, err);
    if (rc <= 0)
        return rc < 0 ? -1 : call_not_found(err, what);
    state_print(&c->w, &s);
    return 0;
}

static int read_all(struct call *c, enum run_kind kind, const char *param, struct err *err)
{
    Uuid run = call_uuid(c, param);
    StateList list = {0};
    if (state_list(c->conn, c->a, kind, run, &list, err) < 0)
        return -1;
    jw_array(&c->w);
    for (size_t i = 0; i < list.n; i++)
        state_print(&c->w, &list.v[i]);
    jw_end(&c->w);
    return 0;
}

int flow_run_states_read(struct call *c, struct err *err)
{
    return read_one(c, FLOW_RUN, "Flow run state", err);
}

int flow_run_states_list(struct call *c, struct err *err)
{
    return read_all(c, FLOW_RUN, "flow_run_id", err);
}

int task_run_states_read(struct call *c, struct err *err)
{
    return read_one(c, TASK_RUN, "Task run state", err);
}

int task_run_states_list(struct call *c, struct err *err)
{
    return read_all(c, TASK_RUN, "task_run_id", err);
}
