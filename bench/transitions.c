/* bench/transitions.c: CPU time of what a run's life costs the rules, without HTTP.
 *
 *   transitions [URL] [RUNS]     URL: "sqlite::memory:" unless given
 *
 * RUNS runs are made and taken through PENDING, RUNNING and COMPLETED in jobs of 256, each from its own JSON body and arena as
 * a request has them. Prints µs of this process' CPU for each step, the run's SELECT, the event's text and the commit included, and
 * what it has written. */
#include "assets/assets.h"
#include "orchestration/orchestrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH 256

static const char *const bodies[] = {
    "{\"state\":{\"type\":\"PENDING\",\"name\":\"Pending\",\"message\":null,\"data\":null,\"state_details\":{}}}",
    "{\"state\":{\"type\":\"RUNNING\",\"name\":\"Running\",\"message\":null,\"data\":null,\"state_details\":{\"flow_run_id\":"
    "\"01a20a1b-84a5-7088-8d71-2eca4b3f702e\",\"transition_id\":\"a70f82bf-d68e-4c1b-8836-9d4747de8167\"}},\"force\":false}",
    "{\"state\":{\"type\":\"COMPLETED\",\"name\":\"Completed\",\"message\":null,\"data\":{\"storage_key\":\"/data/results/b1\","
    "\"expiration\":null,\"serializer\":{\"type\":\"pickle\"},\"prefect_version\":\"3.8.8\"},\"state_details\":{\"flow_run_id\":"
    "\"01a20a1b-84a5-7088-8d71-2eca4b3f702e\",\"transition_id\":\"b70f82bf-d68e-4c1b-8836-9d4747de8167\"}},\"force\":false}",
};

struct job {
    Uuid flow, *runs;
    size_t first, n;
    int step; /* 0: make and PENDING */
};

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Bytes this process has written so far. */
static double written(void)
{
    double n = 0;
    char line[80];
    FILE *f = fopen("/proc/self/io", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "wchar: %lf", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

static int make_flow(struct conn *c, void *arg, struct err *err)
{
    struct job *j = arg;
    struct flow f;
    record_init(&flow_resource, &f);
    f.id = j->flow = uuid_v7();
    f.created = f.updated = time_now();
    f.name = STR("bench");
    f.tags = STR("[]");
    f.labels = STR("{}");
    return record_insert(c, &flow_resource, &f, "", err) < 0 ? -1 : 0;
}

static void make_run(Uuid flow, Time now, struct flow_run *r)
{
    record_init(&flow_run_resource, r);
    r->id = uuid_v7();
    r->created = r->updated = now;
    r->name = STR("brisk-heron");
    r->flow_id = flow;
    r->parameters = r->context = r->empirical_policy = STR("{}");
    r->labels = STR("{\"prefect.flow.id\":\"01a20a1b-84a5-7088-8d71-2eca4b3f702e\"}");
    r->tags = STR("[]");
    r->run_count = r->total_run_time = r->auto_scheduled = 0;
}

static int work(struct conn *c, void *arg, struct err *err)
{
    struct job *j = arg;
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = j->first; i < j->first + j->n; i++) {
        struct violations v = {.a = a, .prefix = STR("[\"body\"")};
        struct outbox out;
        struct flow_run run;
        struct state state;
        struct verdict_result got;
        Time now = time_now();
        AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
        struct jw w = jw_on(&b);
        arena_reset(a);
        outbox_init(&out, a);
        const struct json *body = json_parse(a, str_of(bodies[j->step]), err);
        if (!body)
            return -1;
        state_parse(a, json_getz(body, "state"), now, &state, &v);
        if (j->step == 0) {
            make_run(j->flow, now, &run);
            j->runs[i] = run.id;
        } else if (record_lock(c, a, &flow_run_resource, j->runs[i], &run, err) <= 0) {
            return -1;
        }
        struct orchestration o = {.conn = c, .a = a, .now = now, .policy = j->step ? POLICY_CORE : POLICY_MINIMAL,
                                  .client = {{0, 8, 4}, {3, 8, 8}}, .out = &out, .insert = j->step ? NULL : ""};
        if (orchestrate_flow_run(&o, &run, &state, &got, err) < 0)
            return -1;
        verdict_print(&w, &got);
        if (got.verdict != VERDICT_ACCEPT || out.events.n != 1)
            return err_set(err, ERR_INTERNAL, "refused: %.*s", STR_ARG(got.reason));
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"make + PENDING", "RUNNING", "COMPLETED"};
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    struct db_options o = {.url = str_of(argc > 1 ? argv[1] : "sqlite::memory:"), .schema = STR("bench"), .queue_max = 100};
    o.migrations = asset_migrations(a, "main", &o.migration_count);
    struct db *db = db_open(&o, &err);
    int64_t runs = 20000;
    if (argc > 2)
        (void)str_int(str_of(argv[2]), &runs);
    struct job j = {.runs = arena_array(a, Uuid, runs)};
    if (!db || db_write_wait(db, make_flow, &j, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    /* Step 1 of a batch follows step 0 of the one after it, as runs that are under way at the same time. */
    double spent[3] = {0}, bytes[3] = {0};
    size_t batches = ((size_t)runs + BATCH - 1) / BATCH;
    for (size_t b = 0; b < batches + 2; b++) {
        for (j.step = 0; j.step < 3; j.step++) {
            if (b < (size_t)j.step || b - (size_t)j.step >= batches)
                continue;
            j.first = (b - (size_t)j.step) * BATCH;
            j.n = MIN((size_t)runs - j.first, (size_t)BATCH);
            double cpu_before = cpu(), bytes_before = written();
            if (db_write_wait(db, work, &j, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                return 1;
            }
            spent[j.step] += cpu() - cpu_before;
            bytes[j.step] += written() - bytes_before;
        }
    }
    for (int i = 0; i < 3; i++)
        printf("%-15s %6.1f us %6.0f bytes written\n", names[i], spent[i] / (double)runs, bytes[i] / (double)runs);
    db_close(db);
    return 0;
}
