#include "tests/fuzz/world.h"

#include "assets/assets.h"
#include "base/limits.h"
#include "base/log.h"
#include "events/store.h"
#include "http/exchange.h"
#include "services/alarms.h"
#include "services/recorder.h"
#include "services/reset.h"
#include "services/task_queues.h"
#include "services/upkeep.h"
#include "store/seal.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* In the order in which they are made; the answer's `id` becomes @name (the last one's, where a name is made twice). */
static const struct {
    const char *name, *request;
} made[] = {
    {"flow", "POST /flows/\n\n{\"name\":\"flow\",\"tags\":[\"a\"]}"},
    {"pool", "POST /work_pools/\n\n{\"name\":\"pool\",\"type\":\"process\",\"base_job_template\":{\"job_configuration\":{\"env\":\"{{ env }}\"},"
             "\"variables\":{\"type\":\"object\",\"properties\":{\"env\":{\"type\":\"object\"}}}}}"},
    {"queue", "POST /work_pools/pool/queues\n\n{\"name\":\"queue\",\"priority\":3,\"concurrency_limit\":2}"},
    {"worker", "POST /work_pools/pool/workers/heartbeat\n\n{\"name\":\"worker\"}"},
    {"deployment", "POST /deployments/\n\n{\"name\":\"deployment\",\"flow_id\":\"@flow\",\"work_pool_name\":\"pool\",\"work_queue_name\":\"queue\","
                   "\"parameters\":{\"x\":1},\"parameter_openapi_schema\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}}},"
                   "\"concurrency_limit\":1,\"schedules\":[{\"schedule\":{\"interval\":3600,\"anchor_date\":\"2024-01-01T00:00:00Z\"}}]}"},
    {"schedule", "POST /deployments/@deployment/schedules\n\n[{\"schedule\":{\"cron\":\"*/5 * * * *\"},\"active\":true}]"},
    {"scheduled", "POST /deployments/@deployment/create_flow_run\n\n{\"state\":{\"type\":\"SCHEDULED\"},\"idempotency_key\":\"k\"}"},
    {"done", "POST /flow_runs/\n\n{\"flow_id\":\"@flow\",\"name\":\"done\",\"state\":{\"type\":\"COMPLETED\"}}"},
    {"run", "POST /flow_runs/\n\n{\"flow_id\":\"@flow\",\"name\":\"run\",\"tags\":[\"a\",\"b\"],\"state\":{\"type\":\"RUNNING\"}}"},
    {"task", "POST /task_runs/\n\n{\"flow_run_id\":\"@run\",\"task_key\":\"t\",\"dynamic_key\":\"0\",\"name\":\"task\",\"tags\":[\"limited\"],"
             "\"state\":{\"type\":\"PENDING\"}}"},
    {"input", "POST /flow_runs/@run/input\n\n{\"key\":\"input\",\"value\":\"1\"}"},
    {"type", "POST /block_types/\n\n{\"name\":\"Mine\",\"slug\":\"mine\"}"},
    {"schema", "POST /block_schemas/\n\n{\"block_type_id\":\"@type\",\"fields\":{\"title\":\"Mine\",\"type\":\"object\",\"properties\":{"
               "\"value\":{\"type\":\"string\",\"format\":\"password\",\"writeOnly\":true}},\"secret_fields\":[\"value\"]},\"capabilities\":[\"c\"]}"},
    {"block", "POST /block_documents/\n\n{\"name\":\"block\",\"block_type_id\":\"@type\",\"block_schema_id\":\"@schema\",\"data\":{\"value\":\"v\"}}"},
    {"tag", "POST /concurrency_limits/\n\n{\"tag\":\"limited\",\"concurrency_limit\":2}"},
    {"limit", "POST /v2/concurrency_limits/\n\n{\"name\":\"limit\",\"limit\":5}"},
    {"lease", "POST /v2/concurrency_limits/increment-with-lease\n\n{\"names\":[\"limit\"],\"slots\":1,\"mode\":\"concurrency\",\"lease_duration\":60}"},
    {"variable", "POST /variables/\n\n{\"name\":\"variable\",\"value\":{\"a\":1},\"tags\":[\"a\"]}"},
    {"artifact", "POST /artifacts/\n\n{\"key\":\"artifact\",\"type\":\"markdown\",\"data\":\"text\",\"flow_run_id\":\"@run\"}"},
    {"automation", "POST /automations/\n\n{\"name\":\"automation\",\"trigger\":{\"type\":\"event\",\"posture\":\"Reactive\",\"threshold\":1,\"within\":0,"
                   "\"expect\":[\"prefect.flow-run.Failed\"]},\"actions\":[{\"type\":\"do-nothing\"}]}"},
    {"search", "PUT /saved_searches/\n\n{\"name\":\"search\",\"filters\":[]}"},
    {"policy", "POST /flow_run_notification_policies/\n\n{\"is_active\":true,\"state_names\":[\"Failed\"],\"tags\":[],\"block_document_id\":\"@block\"}"},
    {"log", "POST /logs/\n\n[{\"name\":\"l\",\"level\":20,\"message\":\"m\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"flow_run_id\":\"@run\"}]"},
    {"event", "POST /events\n\n[{\"occurred\":\"2024-01-01T00:00:00Z\",\"event\":\"e\",\"resource\":{\"prefect.resource.id\":\"r.1\"},\"id\":"
              "\"018f0000-0000-7000-8000-000000000001\"}]"},
};

static struct {
    struct server server;
    struct server_options options;
    struct workspace ws;
    struct http_server http;
    struct arena *a;
    char ids[COUNT_OF(made)][40];
} w;

/* ---- in libmicrohttpd's place ---- */

static sem_t answered;

void exchange_done(struct exchange *x)
{
    atomic_store(&x->phase, PHASE_REPLIED);
    sem_post(&answered);
}

void server_lose_socket(struct http_server *s);
void server_lose_socket(struct http_server *s)
{
    UNUSED(s);
}

int http_server_port(const struct http_server *s)
{
    UNUSED(s);
    return 4200;
}

size_t http_server_pending(const struct http_server *s)
{
    UNUSED(s);
    return 1;
}

size_t http_server_connections(const struct http_server *s)
{
    UNUSED(s);
    return 1;
}

static bool is_token(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 127)
            return false;
    return s.n > 0;
}

struct world_answer world_ask(struct arena *a, Str request)
{
    struct world_answer none = {0};
    struct exchange x = {.server = &w.http, .arena = a, .http_1_1 = true, .body = BUF(LIMIT_BODY), .phase = PHASE_HANDLED};
    struct sockaddr_in peer = {.sin_family = AF_INET};
    x.peer.v4 = peer;
    Str line, rest = world_fill(a, request);
    struct header headers[16];
    x.headers = headers;
    if (!str_cut(&rest, '\n', &line) || !str_cut(&line, ' ', &x.method) || !is_token(line) || line.p[0] != '/')
        return none; /* libmicrohttpd would not hand it over */
    x.query = line;
    if (!str_cut(&x.query, '?', &x.path))
        return none;
    x.path = str_fmt(a, "/api%.*s", STR_ARG(x.path));
    while (str_cut(&rest, '\n', &line) && line.n && x.header_count < COUNT_OF(headers)) {
        struct header h = {.value = line};
        if (str_cut(&h.value, ':', &h.name) && is_token(h.name))
            headers[x.header_count++] = (struct header){h.name, str_trim(h.value.p ? h.value : STR(""))};
    }
    buf_str(&x.body, rest.p ? rest : STR(""));
    api_handle(&x, &w.server);
    while (sem_wait(&answered) < 0)
        ;
    struct world_answer r = {.status = x.reply.status, .body = str_dup(a, buf_view(&x.reply.body))};
    r.content_type = x.reply.content_type ? str_of(x.reply.content_type) : STR("");
    exchange_drop_socket(&x);
    buf_free(&x.body);
    buf_free(&x.reply.body);
    return r;
}

/* ---- the world ---- */

const char *world_name(size_t i)
{
    return i < COUNT_OF(made) ? made[i].name : NULL;
}

Str world_fill(struct arena *a, Str text)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    for (size_t i = 0; i < text.n; i++) {
        size_t k = COUNT_OF(made), n = 0;
        if (text.p[i] == '@')
            for (k = 0; k < COUNT_OF(made); k++) {
                n = strlen(made[k].name);
                if (w.ids[k][0] && str_eqz(str_sub(text, i + 1, n), made[k].name))
                    break;
            }
        if (k == COUNT_OF(made)) {
            buf_char(&b, text.p[i]);
        } else {
            buf_z(&b, w.ids[k]);
            i += n;
        }
    }
    return str_dup(a, buf_view(&b));
}

static void populate(void)
{
    memset(w.ids, 0, sizeof w.ids);
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct world_answer r = world_ask(a, str_of(made[i].request));
        if (r.status >= 300)
            die("the world's %s: %d %.*s", made[i].name, r.status, STR_ARG(r.body));
        struct err err;
        const struct json *v = r.body.n ? json_parse(a, r.body, &err) : NULL;
        if (json_is(v, JSON_ARRAY) && v->array.n)
            v = &v->array.items[0];
        const struct json *id = json_is(v, JSON_OBJECT) ? json_get(v, STR("id")) : NULL;
        if (json_is(v, JSON_OBJECT) && !id)
            id = json_get(v, STR("lease_id"));
        Str text = id ? json_str(id) : STR_NONE;
        if (text.n && text.n < sizeof w.ids[i])
            memcpy(w.ids[i], text.p, text.n);
    }
}

static struct db *memory_db(const char *which)
{
    struct err err;
    struct db_options o = {.url = STR("sqlite::memory:")};
    o.migrations = asset_migrations(w.a, which, &o.migration_count);
    struct db *db = db_open(&o, &err);
    if (!db)
        die("%s: %s", which, err.text);
    return db;
}

struct server *world(void)
{
    if (w.a)
        return &w.server;
    struct err err;
    setenv("MILLPOND_SEAL_KEY", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", 1);
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (sodium_init() < 0)
        die("libsodium");
    sem_init(&answered, 0, 0);
    w.a = arena_create();
    w.options = (struct server_options){.home = STR("/nonexistent"), .host = STR("127.0.0.1"), .csrf = false};
    w.http.o.loop = loop_start("sockets", &err);
    struct workspace *ws = &w.ws;
    *ws = (struct workspace){.name = STR("default"), .loop = w.http.o.loop, .orchestration = orchestration_defaults, .bus = bus_create(),
                             .services = service_defaults};
    ws->key = seal_key_open(STR("/nonexistent"), &err);
    ws->db = memory_db("main");
    ws->telemetry = memory_db("telemetry");
    ws->events = event_store_create(ws->telemetry, ws->bus, &err);
    ws->recorder = recorder_start(ws, &err);
    if (!w.http.o.loop || !ws->key || !ws->events || !ws->recorder || workspace_prepare(ws, false, &err) < 0)
        die("the world: %s", err.text);
    ws->task_queues = task_queues_start(ws, &err);
    ws->upkeep = upkeep_start(ws, &err);
    if (!ws->task_queues || !ws->upkeep || !alarms_start(ws, &err))
        die("the world: %s", err.text);
    w.server = (struct server){.options = &w.options, .http = &w.http, .loop = w.http.o.loop, .ws = ws, .started = time_now()};
    populate();
    return &w.server;
}

static void on_reset(void *arg, const struct err *err)
{
    UNUSED(arg);
    if (err)
        die("emptying the world: %s", err->text);
    sem_post(&answered);
}

void world_renew(void)
{
    struct err err;
    if (workspace_reset(&w.ws, on_reset, NULL, &err) < 0)
        die("emptying the world: %s", err.text);
    while (sem_wait(&answered) < 0)
        ;
    populate();
}
