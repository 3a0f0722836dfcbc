"""Asks for runs of deployments in every way that there is; prints their ids as JSON."""
import json
from datetime import datetime, timedelta, timezone

from prefect import flow, task
from prefect.deployments import run_deployment

ids = {}


def note(name, run):
    ids[name] = str(run.id)


@task
def ordered():
    return run_deployment("plain/plain", timeout=0, as_subflow=False, scheduled_time=datetime.now(timezone.utc) + timedelta(hours=5))


@flow(name="orders")
def orders():
    note("inside", run_deployment("plain/plain", timeout=0, parameters={"n": 7}, scheduled_time=datetime.now(timezone.utc) + timedelta(hours=5)))
    note("detached", run_deployment("plain/plain", timeout=0, as_subflow=False, scheduled_time=datetime.now(timezone.utc) + timedelta(hours=5)))
    note("as-task", ordered())
    return 1


if __name__ == "__main__":
    note("plain", run_deployment("plain/plain", timeout=0, parameters={"n": 3}, job_variables={"env": {"COLOUR": "red"}}, tags=["asked"], flow_run_name="by-name", idempotency_key="once"))
    note("again", run_deployment("plain/plain", timeout=0, parameters={"n": 4}, idempotency_key="once"))
    for name in ("calling", "asleep", "suspending", "dying"):
        note(name, run_deployment(f"{name}/{name}", timeout=0))
    orders()
    try:
        run_deployment("plain/none", timeout=0)
        raise SystemExit("there is no such deployment")
    except Exception as e:
        assert type(e).__name__ == "ObjectNotFound", e
    print(json.dumps(ids))
