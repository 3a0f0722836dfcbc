"""Limits: of one name, of a rate, of a tag, of nobody: prints what was seen as JSON. The limits are there: two (2 slots), rated (1, 5 a second),
shut (0), and the tags one-at-a-time (1) and never (0)."""
import asyncio
import json
import threading
import time

import prefect
from prefect import flow, task
from prefect.concurrency.asyncio import concurrency as aconcurrency
from prefect.concurrency.asyncio import rate_limit as arate_limit
from prefect.concurrency.sync import concurrency, rate_limit
from prefect.context import get_run_context

OLD = prefect.__version__.startswith("2")
seen, ids = {}, {}


class Crowd:
    """How many are inside at once, at most."""

    def __init__(self):
        self.now = self.most = self.all = 0
        self.lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.now, self.all = self.now + 1, self.all + 1
            self.most = max(self.most, self.now)

    def __exit__(self, *why):
        with self.lock:
            self.now -= 1


def held():
    crowd = Crowd()

    def one():
        with concurrency("two", occupy=1):
            with crowd:
                time.sleep(0.2)
    with concurrency("two", occupy=2):
        pass  # the client cannot be used for the first time by many threads at once
    threads = [threading.Thread(target=one) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seen["two"] = [crowd.most, crowd.all]


async def held_async():
    crowd = Crowd()

    async def one():
        async with aconcurrency(["two", "two-more"], occupy=1):
            with crowd:
                await asyncio.sleep(0.1)
    await asyncio.gather(*(one() for _ in range(4)))
    seen["both"] = [crowd.most, crowd.all]
    start = time.monotonic()
    for _ in range(3):
        await arate_limit("rated")
    seen["rated-async"] = time.monotonic() - start


def refused():
    for name, more in (("shut", {"timeout_seconds": 0.5}),) + (() if OLD else (("no-such-limit", {"strict": True}), )):
        try:
            with concurrency(name, occupy=1, **more):
                seen[name] = "got in"
        except Exception as e:
            seen[name] = type(e).__name__
    with concurrency("unheard-of", occupy=1):
        seen["unheard-of"] = "got in"


inside = Crowd()


@task(tags=["one-at-a-time"])
def alone(n):
    with inside:
        time.sleep(0.1)
    return n


@task(tags=["never"])
def never():
    seen["never"] = "ran"


@flow(name="tagged")
def tagged():
    ids["tagged"] = str(get_run_context().flow_run.id)
    futures = [alone.submit(n) for n in range(3)]
    assert [f.result() for f in futures] == [0, 1, 2]
    try:
        seen["never-ended"] = never(return_state=True).type.value
    except Exception as e:
        seen["never-ended"] = type(e).__name__
    return 1


@flow(name="inside-a-flow")
def within():
    """The limit's events name the run that holds it."""
    ids["within"] = str(get_run_context().flow_run.id)
    with concurrency("two", occupy=2):
        time.sleep(0.05)


if __name__ == "__main__":
    held()
    asyncio.run(held_async())
    start = time.monotonic()
    for _ in range(3):
        rate_limit("rated")
    seen["rated"] = time.monotonic() - start
    refused()
    within()
    tagged()
    seen["alone"] = [inside.most, inside.all]
    print(json.dumps({"seen": seen, "ids": ids}))
