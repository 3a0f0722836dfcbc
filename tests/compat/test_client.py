"""The published client against our server: its engine, its scheduler loop, its worker, its command line.

The programs in flows/ run side by side as soon as the server listens; each test waits for the one that it looks at."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from tests.api.conftest import MILLPOND, wait_for
from tests.compat.clients import FLOWS, PEER, Commands, Program, logs_of, newest, run_of, script, states_of, task_runs_of

if not (PEER / "prefect").exists():
    pytest.skip("left out: the published client is not installed", allow_module_level=True)

pytestmark = pytest.mark.parametrize("server", ["postgres"], indirect=True, scope="module")  # other modules have it with SQLite


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository with a flow, served on loopback."""
    base = tmp_path_factory.mktemp("git")
    work = base / "work"
    work.mkdir()
    (work / "shout.py").write_text((FLOWS / "shout.py").read_text())
    git = ["git", "-c", "init.defaultBranch=main", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C", str(work)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a flow"], ["clone", "-q", "--bare", ".", str(base / "shout.git")]):
        subprocess.run(git + words, check=True)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    daemon = subprocess.Popen(["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={base}", "--export-all", str(base)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens)
    yield f"git://127.0.0.1:{port}/shout.git"
    os.killpg(daemon.pid, signal.SIGTERM)
    daemon.wait()


@pytest.fixture(scope="module")
def programs(server, repository):
    server.api("POST", "/work_pools/", {"name": "theirs", "type": "process"})
    server.api("POST", "/work_pools/", {"name": "ours", "type": "process"})
    all = {name: script(server, name) for name in ("basics", "crashing", "asking")}
    for pool in ("theirs", "ours"):
        all[pool] = script(server, "deploying", repository, pool, f"to-{pool}")
    yield all
    for p in all.values():
        p.stop()


# ---- the engine ----

@pytest.fixture(scope="module")
def basics(programs):
    return json.loads(programs["basics"].end().splitlines()[-1])


def test_flow(server, basics):
    run = run_of(server, basics["basics"])
    assert run["state_type"] == "COMPLETED" and run["state"]["message"] == "all done" and run["run_count"] == 1
    assert run["parameters"] == {"n": 4, "words": ["a", "b"]}
    assert run["start_time"] and run["end_time"] and run["total_run_time"] > 0
    assert states_of(server, run["id"]) == ["Pending", "Running", "Completed"]
    wait_for(lambda: {"a line of the logger", "a line of print"} <= set(logs_of(server, run["id"])))


def test_task_runs_come_as_events(server, basics):
    def all_done():
        runs = task_runs_of(server, basics["basics"])
        return len(runs) == 7 and {t["state_type"] for t in runs} == {"COMPLETED"} and runs
    runs = wait_for(all_done)
    names = sorted(re.sub("-.*", "", t["name"]) for t in runs)
    assert names == ["child"] + ["double"] * 4 + ["total", "unsteady"], names
    unsteady = next(t for t in runs if t["name"].startswith("unsteady"))
    assert unsteady["run_count"] == 3 and unsteady["empirical_policy"]["retries"] == 2
    names = [s["name"] for s in server.api("GET", f"/task_run_states/?task_run_id={unsteady['id']}")]
    assert names[0] == "Pending" and names[-1] == "Completed" and names.count("Retrying") == 2, names
    total = next(t for t in runs if t["name"].startswith("total"))
    doubled = {t["id"] for t in runs if t["name"].startswith("double")}
    assert {i["id"] for i in total["task_inputs"]["numbers"]} == doubled


def test_subflow(server, basics):
    child = run_of(server, basics["child"])
    parent = wait_for(lambda: next((t for t in task_runs_of(server, basics["basics"]) if t["id"] == child["parent_task_run_id"]), None))
    assert parent["state_type"] == "COMPLETED" and parent["state"]["state_details"]["child_flow_run_id"] == child["id"]
    assert child["parameters"] == {"n": 5}


def test_failures(server, basics):
    assert states_of(server, basics["retried"]) == ["Pending", "Running", "AwaitingRetry", "Running", "Completed"]
    assert run_of(server, basics["retried"])["run_count"] == 2
    failing = run_of(server, basics["failing"])
    assert failing["state_type"] == "FAILED" and "KeyError" in failing["state"]["message"]
    broken = wait_for(lambda: [t for t in task_runs_of(server, failing["id"]) if t["state_type"] == "FAILED"])
    assert len(broken) == 1
    timed = run_of(server, basics["timed"])
    assert (timed["state_type"], timed["state_name"]) == ("FAILED", "TimedOut")


def test_crash(server, programs):
    programs["crashing"].end(expect=None)
    run = newest(server, "crashing")
    assert run["state_type"] == "CRASHED", run["state"]


def test_events_of_runs(server, basics):
    """The client sees a run's life as events, each state's once."""
    ids = [s["id"] for s in server.api("GET", f"/flow_run_states/?flow_run_id={basics['retried']}")]

    def told():
        page = server.api("POST", "/events/filter", {"filter": {"resource": {"id": [f"prefect.flow-run.{basics['retried']}"]}, "event": {"prefix": ["prefect.flow-run."]}}})
        return [e["id"] for e in page["events"]]
    wait_for(lambda: set(ids) <= set(told()))
    assert len(told()) == len(set(told()))


def test_pause_and_resume_with_input(server, programs):
    run = wait_for(lambda: (r := newest(server, "asking")) and r["state_type"] == "PAUSED" and r, seconds=120)
    keys = run["state"]["state_details"]["run_input_keyset"]
    assert server.api("GET", f"/flow_runs/{run['id']}/input/{keys['schema']}")["title"] == "Number"
    refused = server.api("POST", f"/flow_runs/{run['id']}/resume", {"run_input": {"n": "many"}})
    assert refused["status"] == "REJECT" and run_of(server, run["id"])["state_type"] == "PAUSED"
    assert server.api("POST", f"/flow_runs/{run['id']}/resume", {"run_input": {"n": 41}})["status"] == "ACCEPT"
    wait_for(lambda: states_of(server, run["id"]).count("Paused") == 2 and run_of(server, run["id"])["state_type"] == "PAUSED")
    assert server.api("POST", f"/flow_runs/{run['id']}/resume", {})["status"] == "ACCEPT"
    programs["asking"].end()
    assert run_of(server, run["id"])["state_type"] == "COMPLETED"


# ---- deployments ----

def test_serve(server):
    """Served on a schedule; ended by Ctrl-C, it pauses its schedule."""
    serving = script(server, "serving", PREFECT_RUNNER_POLL_FREQUENCY="1")

    def done():
        return server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["served"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    try:
        run = wait_for(done, seconds=120, every=0.2)[0]
    finally:
        serving.stop(signal.SIGINT)
    assert run["parameters"] == {"word": "hello"} and run["auto_scheduled"] and run["run_count"] == 1
    wait_for(lambda: "served hello" in logs_of(server, run["id"]))
    assert server.api("GET", "/deployments/name/served/often")["paused"] is True


@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_deploy_and_work(server, programs, whose):
    """Deployed by the client from a git repository, run by their worker or by ours."""
    id = programs[whose].end().split()[-1]
    command = {"theirs": [PEER / "prefect", "worker", "start", "--pool", "theirs", "--run-once", "--name", "w-theirs"],
               "ours": [MILLPOND, "worker", "start", "--pool", "ours", "--run-once", "--name", "w-ours"]}[whose]
    worker = Program(server, *command)
    try:
        wait_for(lambda: run_of(server, id)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"), seconds=120, every=0.2)
        run = run_of(server, id)
        assert run["state_type"] == "COMPLETED", (run["state"], worker.text()[-3000:], logs_of(server, id))
        worker.end(seconds=60)
    finally:
        worker.stop()
    assert wait_for(lambda: (m := logs_of(server, id)).count("COOEE") == 2 and m), logs_of(server, id)
    assert run["infrastructure_pid"] and run["work_pool_name"] == whose and "asked" in run["tags"]
    names = states_of(server, id)
    assert names[0] == "Scheduled" and "Pending" in names and names[-2:] == ["Running", "Completed"], names
    workers = server.api("POST", f"/work_pools/{whose}/workers/filter", {})
    assert [w["name"] for w in workers] == [f"w-{whose}"]
    wait_for(lambda: len(task_runs_of(server, id)) == 2)


# ---- the command line ----

@pytest.fixture(scope="module")
def prefect(server, programs):
    for name in ("theirs", "ours"):
        programs[name].end()
    c = Commands(server)
    yield c
    c.process.stdin.close()
    c.end()


def test_command_line_runs(server, prefect):
    server.api("POST", "/work_pools/", {"name": "idle", "type": "process"})
    deployment = server.api("GET", "/deployments/name/shout/to-ours")
    assert "shout/to-ours" in prefect("deployment", "ls")
    assert "shout.py:shout" in prefect("deployment", "inspect", "shout/to-ours")
    prefect("deployment", "schedule", "create", "shout/to-ours", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    schedules = server.api("GET", f"/deployments/{deployment['id']}/schedules")
    assert [s["schedule"]["cron"] for s in schedules] == ["0 3 * * *"]
    assert "0 3 * * *" in prefect("deployment", "schedule", "ls", "shout/to-ours")
    prefect("deployment", "schedule", "pause", "shout/to-ours", schedules[0]["id"])
    assert server.api("GET", f"/deployments/{deployment['id']}/schedules")[0]["active"] is False
    out = prefect("deployment", "run", "shout/to-ours", "--param", 'word="from the command line"', "--tag", "typed")
    id = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", out[out.index("UUID"):])[0]
    run = run_of(server, id)
    assert run["parameters"]["word"] == "from the command line" and run["state_type"] == "SCHEDULED" and "typed" in run["tags"]
    assert id in prefect("flow-run", "ls", "--flow-name", "shout")
    assert id in prefect("flow-run", "inspect", id)
    prefect("flow-run", "cancel", id)
    assert run_of(server, id)["state_type"] == "CANCELLED", "it has no infrastructure to be waited for"
    prefect("flow-run", "logs", id)
    prefect("flow-run", "delete", id)
    server.api("GET", f"/flow_runs/{id}", expect=404)
    prefect("flow-run", "inspect", id, expect=1)
    assert "shout" in prefect("flow", "ls")
