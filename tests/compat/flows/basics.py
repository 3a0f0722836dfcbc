"""What flows do, one after the other: prints the runs' ids as JSON."""
import json
import sys
import time

from prefect import flow, get_run_logger, task
from prefect.context import get_run_context
from prefect.states import Completed

tries = {"task": 0, "flow": 0}
ids = {}


def note(name):
    ids[name] = str(get_run_context().flow_run.id)


@task(retries=2, retry_delay_seconds=0)
def unsteady():
    tries["task"] += 1
    if tries["task"] < 3:
        raise ValueError("not yet")
    return tries["task"]


@task
def double(x):
    return 2 * x


@task
def total(numbers):
    return sum(numbers)


@flow
def child(n: int):
    note("child")
    return double(n)


@flow(name="basics", log_prints=True)
def basics(n: int = 3, words: list[str] = ["a", "b"]):
    note("basics")
    get_run_logger().info("a line of the logger")
    print("a line of print")
    mapped = double.map(list(range(n)))
    total(mapped)
    unsteady()
    child(5)
    return Completed(message="all done")


@flow(name="retried", retries=1, retry_delay_seconds=0)
def retried():
    note("retried")
    tries["flow"] += 1
    if tries["flow"] == 1:
        raise RuntimeError("the first time")


@task
def broken():
    raise KeyError("broken")


@flow(name="failing")
def failing():
    note("failing")
    broken()


@flow(name="timed", timeout_seconds=0.3)
def timed():
    note("timed")
    time.sleep(5)


if __name__ == "__main__":
    basics(n=4)
    retried()
    for bad in (failing, timed):
        try:
            bad()
        except Exception as e:
            print(type(e).__name__, file=sys.stderr)
    print(json.dumps(ids))
