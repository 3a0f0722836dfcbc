/* The parts of a worker that need no process: lines of output, the verdict on an end, command lines, run directories. */
#include "tests/unit/test.h"

#include "worker/lines.h"
#include "worker/run_dir.h"
#include "worker/supervised.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct sink {
    struct buf text; /* each entry followed by '|' */
    size_t longest;
};

static void take(void *user, int stream, Str line)
{
    struct sink *s = user;
    UNUSED(stream);
    assert_true(str_utf8_valid(line));
    assert_true(!memchr(line.p, 0, line.n));
    s->longest = MAX(s->longest, line.n);
    buf_str(&s->text, line);
    buf_char(&s->text, '|');
}

static const struct {
    const char *in, *out;
} line_cases[] = {
    {"a\nb\n", "a|b|"},
    {"no end", "no end|"},
    {"\n\n\n", ""},
    {"dos\r\nline\r\n", "dos|line|"},
    {"10%\r20%\r100%\ndone\n", "100%|done|"},
    {"10%\r\r\n", "10%|"},
    {"bad \xff\xfe byte\n", "bad \xef\xbf\xbd\xef\xbf\xbd byte|"},
    {"half \xc3", "half \xef\xbf\xbd|"},
    {"over\xc0\xaflong \xed\xa0\x80 surrogate\n",
     "over\xef\xbf\xbd\xef\xbf\xbdlong \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd surrogate|"},
    {"na\xc3\xafve \xf0\x9f\x98\x80\n", "na\xc3\xafve \xf0\x9f\x98\x80|"},
    {"Traceback (most recent call last):\n  File \"x\", line 1\n    f()\nValueError: no\nafter\n",
     "Traceback (most recent call last):\n  File \"x\", line 1\n    f()\nValueError: no|after|"},
    {"Traceback (most recent call last):\n  File \"x\"\n", "Traceback (most recent call last):\n  File \"x\"|"},
};

static void test_lines(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(line_cases); i++) {
        /* Whole, and a byte at a time. */
        for (size_t step = 1; step < 100; step += 98) {
            struct sink s = {.text = BUF((size_t)1 << 20)};
            static struct lines l;
            lines_init(&l, 1, take, &s);
            size_t n = strlen(line_cases[i].in);
            for (size_t at = 0; at < n; at += step)
                lines_feed(&l, line_cases[i].in + at, MIN(step, n - at));
            lines_flush(&l);
            if (!str_eqz(buf_view(&s.text), line_cases[i].out))
                fail_msg("case %zu, step %zu: '%.*s'", i, step, STR_ARG(buf_view(&s.text)));
            buf_free(&s.text);
        }
    }
}

static void test_lines_any_bytes(void **state)
{
    UNUSED(state);
    struct sink s = {.text = BUF((size_t)64 << 20)};
    static struct lines l;
    lines_init(&l, 1, take, &s);
    static char bytes[100000];
    for (int round = 0; round < 20; round++) {
        random_bytes(bytes, sizeof bytes);
        for (size_t i = 0; round % 2 && i < sizeof bytes; i++)
            bytes[i] = "ab \n\r\xc3\xa9T"[(unsigned char)bytes[i] % 8];
        lines_feed(&l, bytes, sizeof bytes);
    }
    /* One line of 200 KB: cut, with a word about it. */
    memset(bytes, 'x', sizeof bytes);
    lines_feed(&l, "\n", 1);
    s.text.n = 0;
    lines_feed(&l, bytes, sizeof bytes);
    lines_feed(&l, bytes, sizeof bytes);
    lines_flush(&l);
    assert_true(s.text.n < LINE_MAX_BYTES + 64);
    assert_true(str_find(buf_view(&s.text), STR("more bytes cut]")) > 0);
    assert_true(s.longest < LINE_MAX_BYTES * 3 + 64);
    buf_free(&s.text);
}

#define CLAIM "11111111-1111-4111-8111-111111111111"
#define STATE(type, name, id, details)                                                                                 \
    "{\"infrastructure_pid\":\"h:7\",\"empirical_policy\":{\"retry_type\":null},\"state\":{\"type\":\"" type              \
    "\",\"name\":\"" name "\",\"id\":\"" id "\",\"state_details\":" details "}}"
#define OTHER "22222222-2222-4222-8222-222222222222"

static const struct {
    const char *run;
    struct run_end end;
    const char *type; /* NULL: nothing */
    const char *name, *message;
} verdicts[] = {
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, 1}, "CRASHED", NULL, "Flow run infrastructure exited with non-zero status code 1."},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, 0}, "CRASHED", NULL, "never came to a final state"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, -9}, "CRASHED", NULL, "status code -9. The process was killed"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, 137, STOP_NONE, true}, "CRASHED", NULL, "more memory than its limit"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, -15, STOP_CANCEL}, "CANCELLED", NULL, "cancelled"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, -15, STOP_ASKED}, "CRASHED", NULL, "together with its supervisor"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, -9, STOP_TIME_LIMIT, false, 5 * SEC}, "FAILED", "TimedOut", "5 seconds"},
    {STATE("RUNNING", "Running", OTHER, "{}"), {true, 0, STOP_LOST}, "CRASHED", NULL, "lost"},
    {STATE("CANCELLING", "Cancelling", OTHER, "{}"), {true, 0}, "CANCELLED", NULL, "cancelled"},
    {STATE("CANCELLING", "Cancelling", OTHER, "{}"), {true, -9, STOP_ASKED}, "CANCELLED", NULL, "cancelled"},
    {STATE("COMPLETED", "Completed", OTHER, "{}"), {true, 1}, NULL},
    {STATE("COMPLETED", "Completed", OTHER, "{}"), {true, 0, STOP_CANCEL}, NULL},
    {STATE("FAILED", "Failed", OTHER, "{}"), {true, 0, STOP_TIME_LIMIT}, NULL},
    {STATE("CRASHED", "Crashed", OTHER, "{}"), {true, -15, STOP_TIME_LIMIT, false, SEC}, "FAILED", "TimedOut", "1 seconds"},
    {STATE("CRASHED", "Crashed", OTHER, "{}"), {true, -15, STOP_CANCEL}, "CANCELLED", NULL, ""},
    {STATE("CRASHED", "Crashed", OTHER, "{}"), {true, 1}, NULL},
    {STATE("PAUSED", "Suspended", OTHER, "{\"pause_reschedule\":true}"), {true, 0}, NULL},
    {STATE("PAUSED", "Paused", OTHER, "{\"pause_reschedule\":false}"), {true, -9}, "CRASHED", NULL, "-9"},
    {STATE("PENDING", "Pending", CLAIM, "{}"), {true, 1}, "CRASHED", NULL, "status code 1"},
    {STATE("PENDING", "Pending", CLAIM, "{}"), {false, 127, .detail = {"no such command", 15}}, "CRASHED", NULL,
     "Failed to submit flow run to infrastructure: no such command"},
    {STATE("PENDING", "Pending", OTHER, "{}"), {true, 0}, NULL}, /* resumed, and claimed by somebody else */
    {STATE("PENDING", "Submitting", OTHER, "{}"), {true, 3}, "CRASHED", NULL, "3"},
    {STATE("SCHEDULED", "Resuming", OTHER, "{}"), {true, 0}, NULL},
    {"{\"infrastructure_pid\":\"h:7\",\"empirical_policy\":{\"retry_type\":\"in_process\"},\"state\":{\"type\":\"SCHEDULED\",\"name\":\"AwaitingRetry\",\"id\":\"" OTHER "\"}}",
     {true, -9}, "CRASHED", NULL, "-9"},
    {"{\"infrastructure_pid\":\"h:8\",\"state\":{\"type\":\"RUNNING\",\"name\":\"Running\",\"id\":\"" OTHER "\"}}", {true, 1}, NULL},
    {"{\"infrastructure_pid\":null,\"state\":{\"type\":\"RUNNING\",\"name\":\"Running\",\"id\":\"" OTHER "\"}}", {true, 1}, "CRASHED", NULL, ""},
};

static void test_verdict(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    Uuid claim;
    assert_true(uuid_parse(STR(CLAIM), &claim));
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        struct err err;
        const struct json *run = json_parse(a, str_of(verdicts[i].run), &err);
        assert_non_null(run);
        struct verdict v = run_verdict(a, &verdicts[i].end, run, claim, STR("h:7"));
        const char *type = v.kind == VERDICT_STATE ? v.type : NULL;
        bool same = (type && verdicts[i].type) ? !strcmp(type, verdicts[i].type) : type == verdicts[i].type;
        if (!same)
            fail_msg("case %zu: %s (%s)", i, type ? type : "nothing", v.why);
        if (!type)
            continue;
        if (verdicts[i].name && (!v.name || strcmp(v.name, verdicts[i].name)))
            fail_msg("case %zu: name %s", i, v.name);
        if (str_find(v.message, str_of(verdicts[i].message)) < 0)
            fail_msg("case %zu: message '%.*s'", i, STR_ARG(v.message));
        assert_int_equal(v.force, !strcmp(type, "FAILED"));
    }
}

static const struct {
    const char *in, *out; /* words joined by '|'; NULL: refused */
} commands[] = {
    {"python -m prefect.engine", "python|-m|prefect.engine"},
    {"  a \t b\n", "a|b"},
    {"sh -c 'echo \"hi there\"'", "sh|-c|echo \"hi there\""},
    {"a\\ b \"c\\\"d\" \"e\\f\"", "a b|c\"d|e\\f"},
    {"'' \"\"", "|"},
    {"a'b'c", "abc"},
    {"", NULL},
    {"   ", NULL},
    {"'open", NULL},
    {"\"open", NULL},
    {"end\\", NULL},
};

static void test_commands(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        Str *v;
        size_t n;
        struct err err;
        int rc = argv_split(a, str_of(commands[i].in), &v, &n, &err);
        if ((rc == 0) != (commands[i].out != NULL))
            fail_msg("case %zu: %d", i, rc);
        if (rc < 0)
            continue;
        AUTO(buf_free) struct buf b = BUF(4096);
        for (size_t k = 0; k < n; k++) {
            if (k)
                buf_char(&b, '|');
            buf_str(&b, v[k]);
        }
        if (!str_eqz(buf_view(&b), commands[i].out))
            fail_msg("case %zu: '%.*s'", i, STR_ARG(buf_view(&b)));
    }
}

static void test_run_dir(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    char home[] = "/tmp/millpond-test-XXXXXX";
    assert_non_null(mkdtemp(home));
    struct run_spec spec = {
        .flow_run_id = uuid_v4(),
        .claim_state = uuid_v4(),
        .name = STR("na\xc3\xafve \"run\""),
        .pool = STR("p"),
        .pool_type = STR("x:managed"),
        .worker = STR("w"),
        .capture = true,
        .api = {.base_url = STR("http://127.0.0.1:1/api"), .api_key = STR("secret")},
        .limits = {.time = 1500 * MSEC, .grace = SEC, .memory_mb = 512, .cpus = 1.5, .pids = 64, .disk_mb = 100},
        .sandbox = true,
        .network = STR("none"),
        .python = STR("3.11"),
        .client = STR("prefect==3.8.8"),
    };
    vec_push(a, &spec.argv, STR("sh"));
    vec_push(a, &spec.argv, STR("-c"));
    vec_push(a, &spec.packages, STR("numpy==2.0"));
    env_set(a, &spec.env, STR("A"), STR("1"));
    env_set(a, &spec.env, STR("B"), STR("two\nlines"));
    env_set(a, &spec.env, STR("C"), STR("gone"));
    env_set(a, &spec.env, STR("C"), STR_NONE);
    env_set(a, &spec.env, STR("A"), STR("one"));
    Str dir, second;
    struct err err;
    assert_int_equal(run_dir_create(a, str_of(home), &spec, &dir, &err), 0);
    assert_int_equal(run_dir_create(a, str_of(home), &spec, &second, &err), 0);
    assert_true(str_ends(second, STR(".2")));
    struct run_spec r;
    assert_int_equal(run_spec_read(a, dir, &r, &err), 0);
    assert_true(uuid_eq(r.flow_run_id, spec.flow_run_id) && uuid_eq(r.claim_state, spec.claim_state));
    assert_true(str_eq(r.name, spec.name) && str_eq(r.pool, spec.pool) && str_eq(r.pool_type, spec.pool_type));
    assert_true(r.argv.n == 2 && str_eqz(r.argv.v[1], "-c") && r.packages.n == 1 && str_eqz(r.client, "prefect==3.8.8"));
    assert_true(r.env.n == 2 && str_eqz(env_get(&r.env, STR("A")), "one") && str_eqz(env_get(&r.env, STR("B")), "two\nlines"));
    assert_true(r.capture && !r.echo && r.sandbox && str_eqz(r.network, "none") && !r.cwd.p && !r.api.auth_string.p);
    assert_true(str_eqz(r.api.api_key, "secret"));
    assert_true(r.limits.time == spec.limits.time && r.limits.grace == SEC && r.limits.memory_mb == 512 &&
                r.limits.cpus == 1.5 && r.limits.pids == 64 && r.limits.disk_mb == 100);
    RunDirs dirs = {0};
    run_dir_list(a, str_of(home), spec.flow_run_id, &dirs);
    assert_int_equal(dirs.n, 2);
    assert_int_equal(run_dir_holder(dir), 0);
    struct run_status s = {.phase = STR("ended"), .identifier = STR("h:1"), .pid = 7, .ended = true,
                           .end = {.started = true, .code = -9, .reason = STOP_CANCEL, .detail = STR("d")}};
    struct run_status t;
    assert_int_equal(run_status_read(a, dir, &t, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(run_status_write(dir, &s, &err), 0);
    assert_int_equal(run_status_read(a, dir, &t, &err), 0);
    assert_true(t.ended && t.end.code == -9 && t.end.reason == STOP_CANCEL && t.pid == 7 && str_eqz(t.end.detail, "d"));
    /* Removal takes everything but what a link points to. */
    char outside[] = "/tmp/millpond-test-XXXXXX";
    assert_non_null(mkdtemp(outside));
    assert_int_equal(symlink(outside, str_fmt(a, "%.*s/link", STR_ARG(dir)).p), 0);
    assert_int_equal(run_dir_remove(dir, &err), 0);
    assert_int_equal(access(str_z(a, dir), F_OK), -1);
    assert_int_equal(access(outside, F_OK), 0);
    assert_int_equal(run_dir_remove(str_of(home), &err), 0);
    assert_int_equal(rmdir(outside), 0);
}

static void test_identifiers(void **state)
{
    UNUSED(state);
    Str host;
    int pid;
    assert_true(identifier_parse(STR("box:123"), &host, &pid) && pid == 123 && str_eqz(host, "box"));
    static const char *const bad[] = {"", "box", "box:", ":5", "box:x", "box:1", "box:-4", "box:99999999999", "a:b:3"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (identifier_parse(str_of(bad[i]), &host, &pid))
            fail_msg("'%s' was read", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),    cmocka_unit_test(test_lines_any_bytes), cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_commands), cmocka_unit_test(test_run_dir),         cmocka_unit_test(test_identifiers),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
