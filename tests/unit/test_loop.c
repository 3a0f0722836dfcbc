#include "tests/unit/test.h"

#include "loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct seen {
    struct loop *loop;
    int order[1000];
    atomic_int n;
    bool here, ended;
    uv_timer_t timer;
};

static struct seen seen;

static void note(void *arg)
{
    seen.here = loop_is_here(seen.loop);
    seen.order[seen.n++] = (int)(intptr_t)arg;
}

static void test_runs_in_order(void **state)
{
    UNUSED(state);
    struct err err;
    seen = (struct seen){.loop = loop_start("test-loop", &err)};
    assert_non_null(seen.loop);
    assert_false(loop_is_here(seen.loop));
    for (intptr_t i = 0; i < 1000; i++)
        loop_post(seen.loop, note, (void *)i);
    loop_stop(seen.loop);
    assert_int_equal(seen.n, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(seen.order[i], i);
    assert_true(seen.here);
}

static void again(void *arg)
{
    if (++seen.n < 100)
        loop_post(seen.loop, again, arg);
}

/* Calls that post further calls all run before the end. */
static void test_posts_from_posts(void **state)
{
    UNUSED(state);
    struct err err;
    seen = (struct seen){.loop = loop_start("test-loop", &err)};
    assert_non_null(seen.loop);
    loop_post(seen.loop, again, NULL);
    loop_stop(seen.loop);
    assert_int_equal(seen.n, 100);
}

static void *poster(void *arg)
{
    for (int i = 0; i < 1000; i++)
        loop_post(seen.loop, arg, NULL);
    return NULL;
}

static void count(void *arg)
{
    UNUSED(arg);
    seen.n++;
}

static void test_many_threads(void **state)
{
    UNUSED(state);
    struct err err;
    seen = (struct seen){.loop = loop_start("test-loop", &err)};
    assert_non_null(seen.loop);
    pthread_t t[4];
    for (size_t i = 0; i < COUNT_OF(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, poster, (void *)(uintptr_t)count), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        pthread_join(t[i], NULL);
    loop_stop(seen.loop);
    assert_int_equal(seen.n, 4000);
}

static void never(uv_timer_t *t)
{
    UNUSED(t);
    fail();
}

static void at_end(void *arg)
{
    assert_int_equal(seen.n, 0);
    seen.ended = true;
    UNUSED(arg);
}

static void before_it(void *arg)
{
    UNUSED(arg);
    assert_false(seen.ended);
}

static void with_timer(void *arg)
{
    UNUSED(arg);
    uv_timer_init(loop_uv(seen.loop), &seen.timer);
    uv_timer_start(&seen.timer, never, 1000000, 0);
    loop_at_end(seen.loop, at_end, NULL);
    loop_at_end(seen.loop, before_it, NULL);
}

/* A handle that nobody closed does not keep the loop from ending. */
static void test_ends_with_open_handles(void **state)
{
    UNUSED(state);
    struct err err;
    seen = (struct seen){.loop = loop_start("test-loop", &err)};
    assert_non_null(seen.loop);
    loop_post(seen.loop, with_timer, NULL);
    loop_stop(seen.loop);
    assert_true(seen.ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_in_order),
        cmocka_unit_test(test_posts_from_posts),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_ends_with_open_handles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
