"""Flows that wait for somebody, and one that answers them: prints the runs' ids as JSON."""
import json
import sys
import threading
import time

import prefect
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import get_run_context
from prefect.input import RunInput
from prefect.input.run_input import receive_input, send_input

OLD = prefect.__version__.startswith("2")
if OLD:
    from prefect import pause_flow_run, resume_flow_run, suspend_flow_run
    from prefect.exceptions import FlowPauseTimeout
else:
    from prefect.exceptions import FlowPauseTimeout
    from prefect.flow_runs import pause_flow_run, resume_flow_run, suspend_flow_run
ids, notes = {}, {}


def note(name):
    ids[name] = str(get_run_context().flow_run.id)


class Person(RunInput):
    name: str
    age: int = 7


def answer_once(name, **input):
    """Resumes the run of this name as soon as it is paused."""
    def wait():
        import urllib.request
        url = prefect.settings.PREFECT_API_URL.value()
        while True:
            if name in ids:
                run = json.load(urllib.request.urlopen(f"{url}/flow_runs/{ids[name]}"))
                if run["state_type"] == "PAUSED":
                    break
            time.sleep(0.05)
        # a first answer that does not fit is refused, and the run stays paused
        body = {"run_input": input["wrong"]} if "wrong" in input else None
        if body:
            request = urllib.request.Request(f"{url}/flow_runs/{ids[name]}/resume", json.dumps(body).encode(), {"Content-Type": "application/json"})
            notes["refused"] = json.load(urllib.request.urlopen(request))["status"]
        resume_flow_run(ids[name], run_input=input.get("right"))
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()


@flow(name="asks-plainly", persist_result=True)
def plainly():
    note("plainly")
    answer_once("plainly")
    pause_flow_run(timeout=60, poll_interval=1)
    return "went on"


@flow(name="asks-model", persist_result=True)
def model():
    note("model")
    answer_once("model", wrong={"name": ["x"]}, right={"name": "Ada"})
    person = pause_flow_run(wait_for_input=Person.with_initial_data(name="nobody", description="Who?"), timeout=60, poll_interval=1)
    assert (person.name, person.age) == ("Ada", 7), person
    return person.name


@flow(name="asks-type", persist_result=True)
def typed():
    note("typed")
    answer_once("typed", right={"value": 5})
    got = pause_flow_run(wait_for_input=int, timeout=60, poll_interval=1)
    assert got == 5, got
    return got


@flow(name="asks-too-long", persist_result=True)
def too_long():
    note("too_long")
    pause_flow_run(timeout=1, poll_interval=1)


@flow(name="suspends", persist_result=True)
def suspends():
    note("suspends")
    suspend_flow_run(timeout=60)  # it has no deployment: nobody could run it again


@flow(name="sends")
def sends(to: str):
    note("sends")
    for word in ("one", "two"):
        send_input(word, flow_run_id=to)
    return 1


@flow(name="receives")
def receives():
    note("receives")
    sends(ids["receives"])
    got = []
    for word in receive_input(str, timeout=20, poll_interval=0.1):
        got.append(word)
        if len(got) == 2:
            break
    assert got == ["one", "two"], got
    return 1


if __name__ == "__main__":
    assert plainly() == "went on"
    assert model() == "Ada"
    assert typed() == 5
    receives()
    for late in (too_long, suspends):
        state = late(return_state=True)
        notes[late.name] = [state.type.value, type(state.result(raise_on_failure=False)).__name__]
    print(json.dumps({"ids": ids, "notes": notes}))
