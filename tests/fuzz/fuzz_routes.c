/* Requests through the router, the body's parser, validation, handlers and SQLite: up to four, a line "===" between two (see world.h for
 * a request's text). Whatever is asked, the answer is JSON of a status that says what was wrong with the question: never 500, which a statement
 * that SQLite refuses or a broken promise inside would be. */
#include "api/call.h"
#include "model/all.h"
#include "tests/fuzz/world.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RENEW 64 /* inputs between two new worlds */
#define REQUESTS 4

#define CHECK(x)                                                                                                                           \
    do {                                                                                                                                   \
        if (!(x)) {                                                                                                                        \
            fprintf(stderr, "%.*s\n-> %d %.*s\n", STR_ARG(str_sub(one, 0, 2000)), r.status, STR_ARG(str_sub(r.body, 0, 1000)));             \
            die("fuzz_routes: " #x);                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static void ask(Str one)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    struct world_answer r = world_ask(a, one);
    if (!r.status)
        return;
    CHECK(r.status >= 101 && r.status < 600 && r.status != 500);
    if (str_eqz(r.content_type, "application/json"))
        CHECK(json_parse(a, r.body, &err));
    if (r.status == 422)
        CHECK(str_find(r.body, STR("\"detail\"")) >= 0 || str_find(r.body, STR("\"exception_message\"")) >= 0 || str_find(r.body, STR("\"error\"")) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static size_t done;
    if (done++ % RENEW == 0 && done > 1)
        world_renew();
    (void)world();
    Str text = {(const char *)p, n};
    for (int i = 0; i < REQUESTS && text.n; i++) {
        ptrdiff_t end = str_find(text, STR("\n===\n"));
        ask(end < 0 ? text : str_sub(text, 0, (size_t)end));
        text = end < 0 ? STR("") : str_sub(text, (size_t)end + 5, text.n);
    }
    return 0;
}

/* ---- the mutator: routes of the table, keys of the resources' fields; else whatever libFuzzer thinks of ---- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const struct resource *const resources[] = {
    &flow_resource, &state_details_shape, &state_resource, &flow_run_policy_shape, &task_run_policy_shape, &flow_run_resource,
    &task_run_resource, &concurrency_options_shape, &deployment_resource, &deployment_schedule_resource, &work_pool_resource,
    &work_queue_resource, &variable_resource, &log_resource, &block_document_resource, &artifact_resource, &automation_resource,
    &event_trigger_shape, &compound_trigger_shape, &action_shape, &deployment_flow_run_resource, &concurrency_limit_resource,
};
static const char *const values[] = {
    "null", "true", "0", "-1", "1", "2.5", "1e308", "9223372036854775807", "\"\"", "\"a\"", "[]", "{}", "[\"a\"]", "[null]", "\"pool\"",
    "\"2024-02-29T23:59:60Z\"", "\"0001-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59+14:00\"", "\"\\u0000\"", "\"%\"", "\"@run\"", "\"@flow\"",
    "\"@deployment\"", "\"@task\"", "{\"any_\":[\"@run\"]}", "{\"any_\":[]}", "{\"is_null_\":true}", "{\"like_\":\"%\"}", "{\"all_\":[\"a\"]}",
    "{\"before_\":\"2030-01-01T00:00:00Z\"}", "{\"type\":{\"any_\":[\"RUNNING\"]}}", "{\"type\":\"COMPLETED\"}", "{\"id\":{\"any_\":[\"@run\"]}}",
    "{\"operator\":\"or_\"}", "{\"cron\":\"0 0 31 2 *\"}", "{\"rrule\":\"FREQ=DAILY\"}", "{\"interval\":1}",
};
static const char *const keys[] = {
    "flows", "flow_runs", "task_runs", "deployments", "work_pools", "work_queues", "work_pool_queues", "logs", "filter", "artifacts", "sort", "limit",
    "offset", "page", "any_", "not_any_", "all_", "like_", "is_null_", "before_", "after_", "operator", "eq_", "exists_", "scheduled_before",
    "history_start", "history_end", "history_interval", "names", "slots", "mode", "lease_duration", "schedule", "schedules", "block_documents",
    "block_schemas", "block_types", "include_secrets", "within", "occurred", "resource", "related", "order", "since", "until",
};

/* Puts `s` at `at` in place of `drop` bytes. */
static size_t put(uint8_t *data, size_t size, size_t max, size_t at, size_t drop, Str s)
{
    if (size - drop + s.n > max)
        return size;
    memmove(data + at + s.n, data + at + drop, size - at - drop);
    memcpy(data + at, s.p, s.n);
    return size - drop + s.n;
}

static size_t put_route(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    const struct route *r = &routes[seed % route_count];
    AUTO(buf_free) struct buf b = BUF(1024);
    buf_fmt(&b, "%s ", r->method);
    size_t names = 0;
    while (world_name(names))
        names++;
    for (Str rest = str_of(r->path + 1), part; str_cut(&rest, '/', &part);) {
        buf_char(&b, '/');
        Str first = str_sub(str_of(r->path), 1, 5);
        size_t k = rand() % (int)names;
        for (size_t i = 0; i < names && rand() % 8; i++) /* most often of the right kind */
            if (str_starts(first, str_sub(str_of(world_name(i)), 0, 4)))
                k = i;
        if (part.n && part.p[0] == '{')
            buf_fmt(&b, "%s%s", rand() % 4 && part.p[part.n - 2] == 'd' ? "@" : "", world_name(k));
        else
            buf_str(&b, part);
    }
    const void *line = memchr(data, '\n', size);
    return put(data, size, max, 0, line ? (size_t)((const uint8_t *)line - data) : size, buf_view(&b));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    srand(seed);
    switch (seed % 8) {
    case 0:
        return put_route(data, size, max, (unsigned)rand());
    case 1:
    case 2: { /* a member more, behind some "{" */
        size_t opens[64], n = 0;
        for (size_t i = 0; i < size && n < COUNT_OF(opens); i++)
            if (data[i] == '{')
                opens[n++] = i;
        if (!n)
            return put(data, size, max, size, 0, STR("\n\n{}"));
        size_t at = opens[(size_t)rand() % n] + 1;
        const struct resource *of = resources[(size_t)rand() % COUNT_OF(resources)];
        const char *key = rand() % 2 ? keys[(size_t)rand() % COUNT_OF(keys)] : of->fields[(size_t)rand() % of->n].name;
        AUTO(buf_free) struct buf b = BUF(1024);
        bool last = at < size && data[at] == '}';
        buf_fmt(&b, "\"%s\":%s%s", key, values[(size_t)rand() % COUNT_OF(values)], last ? "" : ",");
        return put(data, size, max, at, 0, buf_view(&b));
    }
    case 3: { /* another value behind some ":" */
        size_t colons[64], n = 0;
        for (size_t i = 0; i < size && n < COUNT_OF(colons); i++)
            if (data[i] == ':')
                colons[n++] = i;
        if (n) {
            size_t at = colons[(size_t)rand() % n] + 1, end = at;
            while (end < size && !memchr(",}]\n", data[end], 4))
                end++;
            return put(data, size, max, at, end - at, str_of(values[(size_t)rand() % COUNT_OF(values)]));
        }
        break;
    }
    default:
        break;
    }
    return LLVMFuzzerMutate ? LLVMFuzzerMutate(data, size, max) : size;
}
