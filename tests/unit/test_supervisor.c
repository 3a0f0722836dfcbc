/* The supervisor as a real process, beside an API of a few lines. */
#include "tests/unit/test.h"

#include "http/server.h"
#include "worker/run_dir.h"
#include "worker/supervised.h"
#include "worker/supervisor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* For what must come, on a machine that is busy, and under sanitizers slow: nothing here waits for it to pass. */
#ifdef __SANITIZE_ADDRESS__
#define PATIENCE (120 * SEC)
#else
#define PATIENCE (40 * SEC)
#endif
#define RUN "01234567-89ab-4cde-8f01-23456789abcd"
#define CLAIM "11111111-1111-4111-8111-111111111111"

/* One run and its log. */
static struct api {
    pthread_mutex_t lock;
    struct http_server *server;
    char type[32], name[64], message[512], place[128];
    struct buf log;
    size_t log_bytes, log_lines;
    int set_states, refuse; /* answers 503 while > 0, that often; -1: always */
    bool gone;
} api = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char home[64];
static struct infra_host host;

static void answer(struct exchange *x, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void answer(struct exchange *x, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct buf b = BUF(LIMIT_BODY);
    buf_str(&b, str_vfmt(exchange_arena(x), fmt, ap));
    va_end(ap);
    exchange_reply(x, status, "application/json", &b);
}

static void take_state(struct exchange *x)
{
    struct err err;
    const struct json *v = json_parse(exchange_arena(x), exchange_body(x), &err), *s = json_getz(v, "state");
    snprintf(api.type, sizeof api.type, "%.*s", STR_ARG(json_get_str(s, STR("type"))));
    Str name = json_get_str(s, STR("name"));
    snprintf(api.name, sizeof api.name, "%.*s", STR_ARG(name.p ? name : json_get_str(s, STR("type"))));
    snprintf(api.message, sizeof api.message, "%.*s", STR_ARG(json_get_str(s, STR("message"))));
    api.set_states++;
    answer(x, 201, "{\"status\":\"ACCEPT\",\"state\":{\"type\":\"%s\"},\"details\":{}}", api.type);
}

static void take_logs(struct exchange *x)
{
    struct err err;
    const struct json *v = json_parse(exchange_arena(x), exchange_body(x), &err);
    for (size_t i = 0; v && i < v->array.n; i++) {
        Str m = json_get_str(&v->array.items[i], STR("message"));
        api.log_bytes += m.n;
        api.log_lines++;
        buf_str(&api.log, m);
        buf_char(&api.log, '\n');
    }
    answer(x, 201, "null");
}

static void handle(struct exchange *x, void *user)
{
    UNUSED(user);
    pthread_mutex_lock(&api.lock);
    Str path = exchange_path(x), method = exchange_method(x);
    if (api.refuse) {
        api.refuse -= api.refuse > 0;
        answer(x, 503, "{\"exception_message\":\"no\"}");
    } else if (api.gone) {
        answer(x, 404, "{\"detail\":\"Flow run not found\"}");
    } else if (str_ends(path, STR("/set_state"))) {
        take_state(x);
    } else if (str_ends(path, STR("/logs/"))) {
        take_logs(x);
    } else if (str_eqz(method, "PATCH")) {
        struct err err;
        const struct json *v = json_parse(exchange_arena(x), exchange_body(x), &err);
        snprintf(api.place, sizeof api.place, "%.*s", STR_ARG(json_get_str(v, STR("infrastructure_pid"))));
        exchange_reply(x, 204, NULL, NULL);
    } else {
        answer(x, 200, "{\"id\":\"" RUN "\",\"infrastructure_pid\":\"%s\",\"state\":{\"type\":\"%s\",\"name\":\"%s\",\"id\":\"" CLAIM "\"}}",
               api.place, api.type, api.name);
    }
    pthread_mutex_unlock(&api.lock);
}

static void set_run(const char *type)
{
    pthread_mutex_lock(&api.lock);
    snprintf(api.type, sizeof api.type, "%s", type);
    snprintf(api.name, sizeof api.name, "%c%s", type[0], "");
    for (int i = 1; type[i]; i++)
        snprintf(api.name + i, sizeof api.name - (size_t)i, "%c", type[i] + 32);
    api.message[0] = api.place[0] = '\0';
    api.set_states = api.refuse = 0;
    api.gone = false;
    api.log_bytes = api.log_lines = 0;
    buf_reset(&api.log);
    pthread_mutex_unlock(&api.lock);
}

/* Starts `sh -c script`; the supervisor's pid. */
static int start(struct arena *a, const char *script, Dur time, Dur grace, Str *ret_dir)
{
    struct run_spec spec = {
        .capture = true,
        .api = host.api,
        .limits = {.time = time, .grace = grace},
    };
    assert_true(uuid_parse(STR(RUN), &spec.flow_run_id));
    assert_true(uuid_parse(STR(CLAIM), &spec.claim_state));
    vec_push(a, &spec.argv, STR("/bin/sh"));
    vec_push(a, &spec.argv, STR("-c"));
    vec_push(a, &spec.argv, str_of(script));
    env_set(a, &spec.env, STR("PATH"), STR("/usr/bin:/bin"));
    env_set(a, &spec.env, STR("GREETING"), STR("hello"));
    struct infra_context cx = {.a = a, .host = &host};
    struct err err;
    Str identifier, where;
    int pid;
    if (supervised_start(&cx, &spec, &identifier, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(identifier_parse(identifier, &where, &pid));
    *ret_dir = str_fmt(a, "%s/runs/" RUN, home);
    return pid;
}

/* Waits for the supervisor's end; its exit status, its largest size in *ret_kb. */
static int wait_end(int pid, Dur most, long *ret_kb)
{
    for (Dur until = time_monotonic() + most; time_monotonic() < until; usleep(5000)) {
        int status;
        struct rusage use;
        if (wait4(pid, &status, WNOHANG, &use) == pid) {
            if (ret_kb)
                *ret_kb = use.ru_maxrss;
            pthread_mutex_lock(&api.lock); /* what it has told the server is there for whoever looks */
            pthread_mutex_unlock(&api.lock);
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fail_msg("the supervisor does not end");
    return -1;
}

#define WAIT_FOR(cond)                                                                                                 \
    do {                                                                                                               \
        Dur until_ = time_monotonic() + PATIENCE;                                                                      \
        while (!(cond)) {                                                                                              \
            if (time_monotonic() > until_)                                                                             \
                fail_msg("waited in vain for " #cond);                                                                 \
            usleep(5000);                                                                                              \
        }                                                                                                              \
    } while (0)

static bool logged(const char *text)
{
    pthread_mutex_lock(&api.lock);
    bool found = str_find(buf_view(&api.log), str_of(text)) >= 0;
    pthread_mutex_unlock(&api.lock);
    return found;
}

static bool is_alive(int pid)
{
    return kill(pid, 0) == 0;
}

static int number_in(const char *path)
{
    FILE *f = fopen(path, "r");
    int n = 0;
    if (f) {
        if (fscanf(f, "%d", &n) != 1)
            n = 0;
        fclose(f);
    }
    return n;
}

static const struct {
    const char *script, *before; /* state the run gives itself */
    const char *type, *message, *log;
} ends[] = {
    {"echo $GREETING; echo on stderr >&2; exit 3", "RUNNING", "CRASHED", "exited with non-zero status code 3.", "hello\n"},
    {"printf 'no newline'; kill -9 $$", "RUNNING", "CRASHED", "status code -9. The process was killed", "no newline\n"},
    {"exit 0", "RUNNING", "CRASHED", "never came to a final state", ""},
    {"exit 0", "COMPLETED", "COMPLETED", "", ""},
    {"exit 1", "FAILED", "FAILED", "", ""},
    {"exit 0", "CANCELLING", "CANCELLED", "cancelled", ""},
    {"printf 'a\\377b\\000c\\n'", "COMPLETED", "COMPLETED", "", "a\xef\xbf\xbd" "b\xef\xbf\xbd" "c\n"},
    {"pwd; ls -A | wc -l", "COMPLETED", "COMPLETED", "", "/work\n0\n"},
};

static void test_ends(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        Str dir;
        set_run(ends[i].before);
        int pid = start(a, ends[i].script, 0, SEC, &dir);
        assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
        if (strcmp(api.type, ends[i].type) || !strstr(api.message, ends[i].message))
            fail_msg("case %zu: %s '%s'", i, api.type, api.message);
        if (!logged(ends[i].log))
            fail_msg("case %zu: the log is '%.*s'", i, STR_ARG(buf_view(&api.log)));
        assert_true(str_ends(str_of(api.place), str_fmt(a, ":%d", pid)));
        assert_int_equal(access(str_z(a, dir), F_OK), -1);
    }
}

static void test_not_started(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    set_run("PENDING");
    struct run_spec spec = {.capture = true, .api = host.api};
    (void)uuid_parse(STR(RUN), &spec.flow_run_id);
    (void)uuid_parse(STR(CLAIM), &spec.claim_state);
    vec_push(a, &spec.argv, STR("/no/such/program"));
    struct infra_context cx = {.a = a, .host = &host};
    struct err err;
    Str identifier, where;
    int pid;
    assert_int_equal(supervised_start(&cx, &spec, &identifier, &err), 0);
    assert_true(identifier_parse(identifier, &where, &pid));
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CRASHED");
    assert_non_null(strstr(api.message, "Failed to submit flow run to infrastructure: the command '/no/such/program' cannot be executed"));
}

static void test_cancel(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    const char *out = str_fmt(a, "%s/pids", home).p;
    /* A child that ignores the wish, and one that has left the session. */
    const char *script = str_fmt(a, "trap 'exit 0' TERM; (trap '' TERM; exec sleep 60) & setsid sleep 61 & echo $! > %s; "
                                    "echo up; while :; do sleep 0.05; done", out).p;
    int pid = start(a, script, 0, 30 * SEC, &dir);
    WAIT_FOR(logged("up"));
    struct infra_context cx = {.a = a, .host = &host};
    Uuid id;
    struct err err;
    (void)uuid_parse(STR(RUN), &id);
    assert_int_equal(supervised_cancel(&cx, id, STR_NONE, 0, &err), 0);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CANCELLED");
    int left = number_in(out);
    assert_true(left > 1);
    assert_false(is_alive(left));
    unlink(out);
    assert_int_equal(supervised_cancel(&cx, id, STR_NONE, 0, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(supervised_cancel(&cx, id, STR("elsewhere:77"), 0, &err), -1);
    assert_int_equal(err.code, ERR_FORBIDDEN);
}

/* The wish comes before the supervisor can have looked. */
static void test_cancel_at_once(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("CANCELLING");
    int pid = start(a, "sleep 60", 0, SEC, &dir);
    struct infra_context cx = {.a = a, .host = &host};
    Uuid id;
    struct err err;
    (void)uuid_parse(STR(RUN), &id);
    assert_int_equal(supervised_cancel(&cx, id, str_fmt(a, "%.*s:%d", STR_ARG(host.host_name), pid), 0, &err), 0);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CANCELLED");
}

static void test_time_limit_and_grace(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    Dur began = time_monotonic();
    int pid = start(a, "trap '' TERM; while :; do sleep 0.05; done", 300 * MSEC, 300 * MSEC, &dir);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_true(time_monotonic() - began >= 600 * MSEC);
    assert_string_equal(api.type, "FAILED");
    assert_string_equal(api.name, "TimedOut");
    assert_true(logged("did not end in time"));
}

static void test_stopped(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    int pid = start(a, "echo up; exec sleep 60", 0, SEC, &dir);
    WAIT_FOR(logged("up"));
    kill(pid, SIGTERM);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CRASHED");
}

/* The server is away when the run ends; it learns of it when it is back. */
static void test_heard_late(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    int pid = start(a, "echo up; sleep 0.3; echo last words; exit 5", 0, SEC, &dir);
    WAIT_FOR(logged("up"));
    pthread_mutex_lock(&api.lock);
    api.refuse = -1;
    pthread_mutex_unlock(&api.lock);
    const char *status = str_fmt(a, "%.*s/status.json", STR_ARG(dir)).p;
    struct err err;
    struct run_status s = {0};
    WAIT_FOR(run_status_read(a, dir, &s, &err) == 0 && s.ended);
    assert_int_equal(s.end.code, 5);
    kill(pid, SIGTERM); /* no reason to give up */
    kill(pid, SIGUSR1);
    usleep(300000);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    assert_int_equal(access(status, F_OK), 0);
    pthread_mutex_lock(&api.lock);
    api.refuse = 0;
    pthread_mutex_unlock(&api.lock);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CRASHED");
    assert_non_null(strstr(api.message, "status code 5"));
    assert_int_equal(api.set_states, 1);
    assert_true(logged("last words"));
}

static void test_run_is_gone(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    pthread_mutex_lock(&api.lock);
    api.gone = true;
    pthread_mutex_unlock(&api.lock);
    int pid = start(a, "echo x; exit 5", 0, SEC, &dir);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_int_equal(api.set_states, 0);
}

/* A supervisor that is killed takes its run with it; the one after it says so. */
static void test_supervisor_killed(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("RUNNING");
    const char *out = str_fmt(a, "%s/pid", home).p;
    int pid = start(a, str_fmt(a, "echo $$ > %s; echo up; exec sleep 60", out).p, 0, SEC, &dir);
    WAIT_FOR(logged("up"));
    int child = number_in(out);
    assert_true(is_alive(child));
    assert_int_equal(run_dir_holder(dir), pid);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    WAIT_FOR(!is_alive(child));
    assert_int_equal(run_dir_holder(dir), 0);
    struct err err;
    assert_int_equal(supervised_report(&host, dir, &pid, &err), 0);
    assert_int_equal(wait_end(pid, PATIENCE, NULL), 0);
    assert_string_equal(api.type, "CRASHED");
    assert_non_null(strstr(api.message, "lost"));
    assert_int_equal(access(str_z(a, dir), F_OK), -1);
    unlink(out);
}

/* 150 MB in lines of 60: nothing grows, nothing stalls, what is kept is bounded. */
static void test_flood(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Str dir;
    set_run("COMPLETED");
    long kb = 0;
    int pid = start(a, "yes 'a line of output that says nothing and says it for ever more' | head -c 150000000; echo the end", 0, SEC, &dir);
    assert_int_equal(wait_end(pid, 3 * PATIENCE, &kb), 0);
    assert_true(api.log_bytes <= (size_t)66 << 20);
    assert_true(api.log_bytes > (size_t)4 << 20);
    if (!logged("has printed more than") && !logged("were left out"))
        fail_msg("kept %zu lines, %zu bytes, log %zu of %zu%s, the end: '%.*s'", api.log_lines, api.log_bytes, api.log.n, api.log.max,
                 api.log.overflow ? " overflown" : "", (int)MIN(api.log.n, 600), api.log.p + api.log.n - MIN(api.log.n, 600));
#ifndef __SANITIZE_ADDRESS__
    if (kb > 60000)
        fail_msg("the supervisor grew to %ld KB", kb);
#endif
    print_message("# kept %zu lines, %zu KB; the supervisor took %ld KB\n", api.log_lines, api.log_bytes >> 10, kb);
}

static int setup(void **state)
{
    UNUSED(state);
    struct err err;
    snprintf(home, sizeof home, "/tmp/millpond-test-XXXXXX");
    if (!mkdtemp(home))
        return -1;
    api.log = BUF((size_t)128 << 20);
    api.server = http_server_start(&(struct http_options){.host = STR("127.0.0.1"), .handler = handle, .threads = 1}, &err);
    if (!api.server) {
        print_message("# %s\n", err.text);
        return -1;
    }
    static char url[64], name[256], exe[4096];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/api", http_server_port(api.server));
    gethostname(name, sizeof name - 1);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    host = (struct infra_host){
        .home = str_of(home), .exe = {exe, (size_t)n}, .host_name = str_of(name), .worker_name = STR("w"), .api.base_url = str_of(url)};
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    struct err err;
    http_server_stop(api.server, SEC);
    buf_free(&api.log);
    return run_dir_remove(str_of(home), &err);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "supervise"))
        return supervisor_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_not_started),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_at_once),
        cmocka_unit_test(test_time_limit_and_grace),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_heard_late),
        cmocka_unit_test(test_run_is_gone),
        cmocka_unit_test(test_supervisor_killed),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests_name("supervisor", tests, setup, teardown);
}
