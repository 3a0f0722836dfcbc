"""Flows for workers: what a run of theirs may do to its process."""
import os
import signal
import time

import prefect
from prefect import flow, task
from prefect.deployments import run_deployment
from prefect.input import RunInput

if prefect.__version__.startswith("2"):
    from prefect import suspend_flow_run
else:
    from prefect.flow_runs import suspend_flow_run


class Number(RunInput):
    n: int


@task
def double(n):
    return 2 * n


@flow(log_prints=True)
def plain(n: int = 1):
    print("colour", os.environ.get("COLOUR"), double(n))
    return n


def cleaned(flow, flow_run, state):
    print("cleaned up after", state.name, flush=True)


@flow(log_prints=True, on_cancellation=[cleaned])
def asleep():
    print("asleep")
    time.sleep(300)


@flow
def dying():
    os.kill(os.getpid(), signal.SIGKILL)


@flow(log_prints=True, persist_result=True)
def suspending():
    answer = suspend_flow_run(wait_for_input=Number, timeout=300)
    print("answered", answer.n)
    return answer.n


@flow(log_prints=True)
def calling():
    run = run_deployment("plain/plain", timeout=90, poll_interval=1, parameters={"n": 5})
    assert run.state.is_completed(), run.state
    print("called", run.id)
    return 1
