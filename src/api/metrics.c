/* GET /api/metrics: the server in figures, in Prometheus' text form. */
#include "api/metrics.h"

#include "api/handlers.h"
#include "api/server.h"
#include "base/limits.h"
#include "services/alarms.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- what replies add to: memory that is touched for the routes that are asked ---- */

static const int statuses[] = {101, 200, 201, 204, 304, 307, 400, 401, 403, 404, 405, 409, 413, 414, 422, 423, 426, 429, 500, 503, 0 /* any other */};
static const Dur bounds[] = {MSEC, 5 * MSEC, 25 * MSEC, 100 * MSEC, 500 * MSEC, 2500 * MSEC, 10 * SEC};
static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"};

enum {
    ROUTES = 0
#define ROUTE(...) +1
#include "api/routes.def"
#undef ROUTE
};

struct route_counts {
    _Atomic uint64_t by_status[COUNT_OF(statuses)];
    _Atomic uint64_t within[COUNT_OF(bounds) + 1]; /* each its own bucket; the last: longer */
    _Atomic uint64_t took;                         /* µs, sum */
    _Atomic int64_t sockets;
};
static struct route_counts counts[ROUTES];
static _Atomic uint64_t unrouted[COUNT_OF(methods)][COUNT_OF(statuses)];

static void add(_Atomic uint64_t *n, uint64_t by)
{
    atomic_fetch_add_explicit(n, by, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static size_t status_index(int status)
{
    size_t i = 0;
    while (statuses[i] && statuses[i] != status)
        i++;
    return i;
}

void metrics_replied(struct exchange *x, int status, Dur took)
{
    const struct route *route = exchange_data(x);
    if (!route) {
        Str method = exchange_method(x);
        size_t m = 0;
        while (m < COUNT_OF(methods) - 1 && !str_eqz(method, methods[m]))
            m++;
        add(&unrouted[m][status_index(status)], 1);
        return;
    }
    struct route_counts *n = &counts[route - routes];
    size_t bucket = 0;
    while (bucket < COUNT_OF(bounds) && took > bounds[bucket])
        bucket++;
    add(&n->by_status[status_index(status)], 1);
    add(&n->within[bucket], 1);
    add(&n->took, (uint64_t)MAX(took, 0));
}

void metrics_socket(const struct route *route, int by)
{
    atomic_fetch_add_explicit(&counts[route - routes].sockets, by, memory_order_relaxed);
}

/* ---- print ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value, between its quotes. */
static void put_label(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\' || *s == '"')
            buf_char(b, '\\');
        if (*s == '\n')
            buf_z(b, "\\n");
        else
            buf_char(b, *s);
    }
}

static void put_route(struct buf *b, const char *name, const struct route *r)
{
    buf_fmt(b, "%s{method=\"%s\",route=\"", name, r->method);
    put_label(b, r->path);
    buf_char(b, '"');
}

static void put_status(struct buf *b, int status, uint64_t n)
{
    if (status)
        buf_fmt(b, ",status=\"%d\"} %llu\n", status, (unsigned long long)n);
    else
        buf_fmt(b, ",status=\"other\"} %llu\n", (unsigned long long)n);
}

static void put_one(struct buf *b, const char *name, const char *type, const char *help, double value)
{
    head(b, name, type, help);
    buf_fmt(b, "%s %.15g\n", name, value);
}

static void put_requests(struct buf *b)
{
    head(b, "millpond_http_requests_total", "counter",
         "Replies by route, method and status. HEAD counts as GET; an empty route: none of the API's, or refused before it was looked for.");
    for (size_t i = 0; i < ROUTES; i++)
        for (size_t k = 0; k < COUNT_OF(statuses); k++) {
            uint64_t n = get(&counts[i].by_status[k]);
            if (!n)
                continue;
            put_route(b, "millpond_http_requests_total", &routes[i]);
            put_status(b, statuses[k], n);
        }
    for (size_t m = 0; m < COUNT_OF(methods); m++)
        for (size_t k = 0; k < COUNT_OF(statuses); k++) {
            uint64_t n = get(&unrouted[m][k]);
            if (!n)
                continue;
            buf_fmt(b, "millpond_http_requests_total{method=\"%s\",route=\"\"", methods[m]);
            put_status(b, statuses[k], n);
        }
}

static void put_latencies(struct buf *b)
{
    head(b, "millpond_http_request_duration_seconds", "histogram", "From the whole request's being there to its reply, which for a write is after the commit.");
    for (size_t i = 0; i < ROUTES; i++) {
        uint64_t n = 0;
        uint64_t within[COUNT_OF(bounds) + 1];
        for (size_t k = 0; k <= COUNT_OF(bounds); k++)
            n += within[k] = get(&counts[i].within[k]);
        if (!n)
            continue;
        uint64_t sum = 0;
        for (size_t k = 0; k <= COUNT_OF(bounds); k++) {
            sum += within[k];
            put_route(b, "millpond_http_request_duration_seconds_bucket", &routes[i]);
            if (k < COUNT_OF(bounds))
                buf_fmt(b, ",le=\"%g\"} %llu\n", (double)bounds[k] / SEC, (unsigned long long)sum);
            else
                buf_fmt(b, ",le=\"+Inf\"} %llu\n", (unsigned long long)sum);
        }
        put_route(b, "millpond_http_request_duration_seconds_sum", &routes[i]);
        buf_fmt(b, "} %.6f\n", (double)get(&counts[i].took) / SEC);
        put_route(b, "millpond_http_request_duration_seconds_count", &routes[i]);
        buf_fmt(b, "} %llu\n", (unsigned long long)sum);
    }
}

static void put_sockets(struct buf *b)
{
    head(b, "millpond_sockets", "gauge", "Open WebSockets by route.");
    for (size_t i = 0; i < ROUTES; i++)
        if (routes[i].kind == SOCKET) {
            buf_z(b, "millpond_sockets{route=\"");
            put_label(b, routes[i].path);
            buf_fmt(b, "\"} %lld\n", (long long)atomic_load_explicit(&counts[i].sockets, memory_order_relaxed));
        }
}

static void put_databases(struct buf *b, const struct workspace *ws)
{
    struct db_stats of[] = {db_stats(ws->db), db_stats(ws->telemetry)};
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"millpond_database_queue", "gauge", "Writes and reads that wait for a thread of the database's."},
        {"millpond_database_commits_total", "counter", "Commits."},
        {"millpond_database_writes_total", "counter", "Writes; divided by commits: the mean batch."},
        {"millpond_database_reads_total", "counter", "Reads."},
        {"millpond_database_failures_total", "counter", "Writes and reads that were undone with an error."},
        {"millpond_database_largest_batch", "gauge", "Writes in the largest commit since the start."},
        {"millpond_database_commit_seconds_total", "counter", "Time spent in commits."},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        head(b, rows[i].name, rows[i].type, rows[i].help);
        for (size_t d = 0; d < COUNT_OF(of); d++) {
            const struct db_stats *s = &of[d];
            const double values[] = {(double)s->queue_now, (double)s->commits, (double)s->writes, (double)s->reads, (double)s->failed,
                                     (double)s->largest_batch, (double)s->commit_time / SEC};
            _Static_assert(COUNT_OF(values) == COUNT_OF(rows), "a value for each row");
            buf_fmt(b, "%s{database=\"%s\"} %.15g\n", rows[i].name, d ? "telemetry" : "records", values[i]);
        }
    }
}

static void put_services(struct buf *b, const struct alarms *alarms)
{
    struct alarm_stats of[ALARM_COUNT];
    for (int i = 0; i < ALARM_COUNT; i++)
        of[i] = alarms_stats(alarms, (enum alarm)i);
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"millpond_service_ticks_total", "counter", "Times that a service ran."},
        {"millpond_service_failures_total", "counter", "Times that it failed."},
        {"millpond_service_lag_seconds", "gauge", "By how much it was late when it last began."},
        {"millpond_service_overdue_seconds", "gauge", "How long it should have begun, or ended, by now; past 30 the server is not ready."},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        head(b, rows[i].name, rows[i].type, rows[i].help);
        for (int k = 0; k < ALARM_COUNT; k++) {
            const struct alarm_stats *s = &of[k];
            const double values[] = {(double)s->ticks, (double)s->failures, (double)s->last_lag / SEC, (double)s->overdue / SEC};
            _Static_assert(COUNT_OF(values) == COUNT_OF(rows), "a value for each row");
            buf_fmt(b, "%s{service=\"%s\"} %.15g\n", rows[i].name, services[k].name, values[i]);
        }
    }
}

static double resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    double n = -3; /* ".", "..", and this one */
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void put_process(struct buf *b, const struct server *s)
{
    struct rusage used;
    struct rlimit files;
    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_NOFILE, &files);
    put_one(b, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    put_one(b, "process_cpu_seconds_total", "counter", "Processor time, user and system.",
            (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    put_one(b, "process_open_fds", "gauge", "Open file descriptors.", open_files());
    put_one(b, "process_max_fds", "gauge", "How many there may be.", (double)files.rlim_cur);
    put_one(b, "process_start_time_seconds", "gauge", "When the server started, since 1970.", (double)s->started / SEC);
}

/* ---- runs by state, then all ---- */

/* Each as its index counts it, so that a million runs that have ended cost a few thousand rows of the tally. */
#define NOT_ENDED "SELECT state_type, count(*) FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING', 'PAUSED', 'CANCELLING') GROUP BY state_type"
#define RUNS_SQL                                                                                                       \
    "SELECT state_type, CAST(sum(runs) AS bigint) FROM flow_run_tally WHERE span = 3600000000 GROUP BY state_type"      \
    " UNION ALL SELECT 'SCHEDULED', count(*) FROM flow_run WHERE state_type = 'SCHEDULED' UNION ALL " NOT_ENDED

static const char *const states[] = {"SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED"};

struct gathered {
    struct call *c;
    int64_t runs[COUNT_OF(states)];
};

static int count_runs(struct conn *conn, void *arg, struct err *err)
{
    struct gathered *g = arg;
    memset(g->runs, 0, sizeof g->runs);
    AUTO(stmt_finish) struct stmt *q = db_query(conn, err, RUNS_SQL, "");
    int rc = q ? 0 : -1;
    while (q && (rc = stmt_step(q, err)) > 0)
        for (size_t i = 0; i < COUNT_OF(states); i++)
            if (str_eqz(stmt_str(q, 0), states[i]))
                g->runs[i] += stmt_int(q, 1);
    return rc;
}

static void print(void *arg, const struct err *err)
{
    struct gathered *g = arg;
    struct call *c = g->c;
    struct buf *b = &c->out;
    head(b, "millpond_build_info", "gauge", "Which program this is.");
    buf_fmt(b, "millpond_build_info{version=\"%s\",database=\"%s\"} 1\n", MILLPOND_VERSION, db_kind(c->ws->db) == DB_SQLITE ? "sqlite" : "postgresql");
    put_requests(b);
    put_latencies(b);
    put_one(b, "millpond_http_requests_in_flight", "gauge", "Requests that have no reply yet; this one is among them.", (double)http_server_pending(c->server->http));
    put_one(b, "millpond_http_connections", "gauge", "Open connections, WebSockets too.", (double)http_server_connections(c->server->http));
    put_one(b, "millpond_http_connections_max", "gauge", "How many there may be; those past it are told 503.", LIMIT_CONNECTIONS);
    put_sockets(b);
    put_one(b, "millpond_database_up", "gauge", "Whether the database answered just now; without it there are no figures of runs.", err ? 0 : 1);
    put_databases(b, c->ws);
    if (!err) {
        head(b, "millpond_flow_runs", "gauge", "Flow runs by the type of their state.");
        for (size_t i = 0; i < COUNT_OF(states); i++)
            buf_fmt(b, "millpond_flow_runs{state=\"%s\"} %lld\n", states[i], (long long)g->runs[i]);
    }
    put_services(b, c->ws->alarms);
    put_process(b, c->server);
    c->content_type = "text/plain; version=0.0.4; charset=utf-8";
    call_finish(c, NULL);
}

int metrics_read(struct call *c, struct err *err)
{
    struct gathered *g = arena_new(c->a, struct gathered);
    g->c = c;
    if (db_read(c->ws->db, count_runs, print, g, err) < 0)
        print(g, err); /* too much to do, which the other figures show */
    return 0;
}
