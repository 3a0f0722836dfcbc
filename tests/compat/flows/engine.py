"""The engine's ways, one after the other, in what both generations of the client have and, past OLD, the newer alone: prints what
the test needs to know as JSON."""
import asyncio
import json
import os
import sys
import time
from datetime import timedelta

import prefect
from prefect import allow_failure, flow, get_run_logger, tags, task, unmapped
from prefect.context import get_run_context
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff, task_input_hash

OLD = prefect.__version__.startswith("2")
WORD = f"{prefect.__version__} {os.getpid()}"  # no cache of another run of this program answers
ids, seen = {}, {}


def note(name):
    ids[name] = str(get_run_context().flow_run.id)


def times(key):
    seen[key] = seen.get(key, 0) + 1
    return seen[key]


# ---- retries ----

@task(retries=2, retry_delay_seconds=[0.05, 0.1], retry_jitter_factor=0.5)
def delayed():
    if times("delayed") < 3:
        raise ValueError("not yet")


@task(retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=0.02))
def backing_off():
    if times("backing_off") < 2:
        raise ValueError("not yet")


@task(retries=5, retry_condition_fn=lambda task, task_run, state: False)
def refused():
    times("refused")
    raise ValueError("and no more")


@task(retries=1, retry_delay_seconds=0)
def hopeless():
    times("hopeless")
    raise ValueError("for ever")


@flow(name="retrying", retries=1, retry_delay_seconds=0.2)
def retrying():
    note("retrying")
    delayed()
    backing_off()
    refused(return_state=True)
    hopeless(return_state=True)
    if times("retrying") == 1:
        raise RuntimeError("once more")
    return "at last"


# ---- subflows, mapping, dependencies ----

@task
def double(x, by=2):
    return x * by


@task
def add(a, b):
    return a + b


@task
def fails():
    raise KeyError("always")


@flow
def inner(n: int):
    note("inner")
    return double(n)


@flow
def broken_inner():
    note("broken_inner")
    raise LookupError("inside")


@flow(name="nesting")
def nesting():
    note("nesting")
    doubled = double.map([1, 2, 3], by=unmapped(3))
    assert [f.result() for f in doubled] == [3, 6, 9]
    first = add.submit(doubled[0], doubled[1])
    waited = add.with_options(name="waited").submit(1, 1, wait_for=[first])
    bad = fails.submit()
    late = task(lambda state: 1, name="late").submit(allow_failure(bad))
    assert late.result() == 1
    skipped = double.with_options(name="skipped").submit(bad)
    assert waited.result() == 2
    assert inner(first.result()) == 18
    assert broken_inner(return_state=True).is_failed()
    for future in (bad, skipped):
        future.wait()
    return Completed(name="Nested", message="by hand")


# ---- caches ----

@flow(name="caching", persist_result=True)
def caching():
    note("caching")
    keyed = task(double.fn, name="keyed", cache_key_fn=lambda context, parameters: f"{WORD}-{parameters['x']}", cache_expiration=timedelta(hours=1), persist_result=True)
    assert keyed(4) == keyed(4) == 8 and keyed(5) == 10
    keyed.with_options(name="refreshed", refresh_cache=True)(4)
    hashed = task(add.fn, name="hashed", cache_key_fn=task_input_hash, persist_result=True)
    assert hashed(WORD, "") == hashed(WORD, "") == WORD
    short = task(double.fn, name="short", cache_key_fn=lambda context, parameters: f"{WORD}-short", cache_expiration=timedelta(seconds=0.1), persist_result=True)
    short(1)
    time.sleep(0.2)
    short(1)
    if not OLD:
        from prefect.cache_policies import INPUTS, NONE, TASK_SOURCE
        policy = task(add.fn, name="policy", cache_policy=INPUTS + TASK_SOURCE, persist_result=True)
        assert policy(WORD, "p") == policy(WORD, "p")
        part = task(add.fn, name="part", cache_policy=INPUTS - "b", persist_result=True)
        assert part(WORD, "p") == part(WORD, "q") == f"{WORD}p"
        none = task(add.fn, name="none", cache_policy=NONE)
        assert none(WORD, "r") == none(WORD, "r")


# ---- time, hooks, names ----

@task(timeout_seconds=0.2)
def slow():
    time.sleep(3)


@flow(name="slowly", timeout_seconds=0.5)
def slowly():
    note("slowly")
    time.sleep(5)


@flow(name="timing")
def timing():
    note("timing")
    assert slow(return_state=True).name == "TimedOut"
    assert slowly(return_state=True).name == "TimedOut"
    return 1


def hook(word):
    def called(*given, **named):  # one generation gives them by place, the other by name
        run, state = given[1:] if given else (named.get("flow_run") or named["task_run"], named["state"])
        seen.setdefault("hooks", []).append([word, run.name, state.name])
    called.__name__ = f"hook_{word}"
    return called


@task(task_run_name="of-{x}", on_completion=[hook("task done")], on_failure=[hook("task failed")])
def named(x):
    if x == 2:
        raise ValueError(x)


@flow(name="hooked", flow_run_name="run-{n}-{word}", on_running=[hook("running")], on_completion=[hook("done")], on_failure=[hook("failed")])
def hooked(n: int, word: str = "w"):
    note(f"hooked{n}")
    named(1)
    named(n)


@flow(name="crash", on_crashed=[hook("crashed")])
def crash():
    note("crash")
    raise KeyboardInterrupt


# ---- what a flow may end as ----

@flow(name="returns")
def returns(what: str):
    note(f"returns-{what}")
    if what == "failed":
        return Failed(message="said so", name="Odd")
    if what == "states":
        return [Completed(), Failed(), Completed()]
    if what == "tagged":
        with tags("inside"):
            get_run_logger().error("an error, told")
            double(1)
        return 1


@flow(name="typed", validate_parameters=True)
def typed(n: int):
    note("typed")


# ---- asynchronous ----

@task(retries=1, retry_delay_seconds=0)
async def asleep(n):
    await asyncio.sleep(0.05)
    if times(f"asleep{n}") == 1 and n == 1:
        raise ValueError("again")
    return n


@flow
async def inner_async(n):
    return await asleep(n)


@flow(name="gathering")
async def gathering():
    note("gathering")
    got = await asyncio.gather(*(asleep(n) for n in range(3)))
    assert got == [0, 1, 2]
    assert await inner_async(7) == 7
    futures = [asleep.submit(n) for n in (10, 11)]
    if OLD:
        futures = [await f for f in futures]
    return sum([(await f.result()) if OLD else f.result() for f in futures])


def transactions():
    from prefect.transactions import transaction

    @task
    def write(x):
        return x

    @write.on_commit
    def commit(t):
        seen.setdefault("transactions", []).append("commit")

    @write.on_rollback
    def rollback(t):
        seen.setdefault("transactions", []).append("rollback")

    @flow(name="transacting")
    def transacting(ok: bool):
        note(f"transacting-{ok}")
        with transaction(key=f"{WORD}-{ok}") as t:
            t.set("a", 1)
            write(1)
            assert t.get("a") == 1
            if not ok:
                raise ValueError("rolled back")
    transacting(True)
    transacting(False, return_state=True)


if __name__ == "__main__":
    retrying()
    nesting()
    caching()
    timing()
    hooked(1)
    hooked(2, return_state=True)
    try:
        crash()
        sys.exit("a crash went on")
    except KeyboardInterrupt:
        pass
    for what in ("failed", "states", "tagged"):
        with tags("outside", "b"):
            returns(what, return_state=True)
    typed("many", return_state=True)
    assert asyncio.run(gathering()) == 21
    if not OLD:
        transactions()
    print(json.dumps({"ids": ids, "seen": seen}))
