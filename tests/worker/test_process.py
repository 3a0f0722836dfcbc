"""Process pools: `millpond worker start` against a server, with commands of a shell and with the real client."""
import os
import signal
import time
from pathlib import Path

import pytest

from tests.worker.pools import (PYTHON, FixedServer, Worker, client_deployment, deployment, finish, logs, messages, pool, read, run_dirs, shell,
                                start, states, wait_for)

with_client = pytest.mark.skipif(not PYTHON.exists(), reason="left out: the published client is not installed (MILLPOND_PEER)")


@pytest.fixture(scope="module")
def server():
    s = FixedServer()
    pool(s, "local")
    yield s
    wait_for(lambda: not run_dirs(s), 30)
    assert s.stop() == 0, s.tail()


@pytest.fixture(scope="module")
def worker(server):
    w = Worker(server, "--pool", "local").ready()
    yield w
    assert w.stop() == 0, w.text()


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


@pytest.mark.parametrize("script, state, message, log", [
    ("echo out; echo err >&2; exit 3", "CRASHED", "exited with non-zero status code 3.", ["out", "err"]),
    ("exit 0", "CRASHED", "never came to a final state", []),
    ("kill -9 $$", "CRASHED", "status code -9. The process was killed", []),
])
def test_end_of_a_command(server, worker, script, state, message, log):
    d = deployment(server, "local", "ends")
    run = start(server, d, shell(script))
    done = finish(server, run)
    assert done["state_type"] == state and message in done["state"]["message"]
    assert done["infrastructure_pid"].rpartition(":")[0] == os.uname().nodename
    assert messages(server, run, "millpond.output") == log
    assert wait_for(lambda: run not in run_dirs(server))


def test_what_the_run_finds(server, worker):
    d = deployment(server, "local", "env", job_variables={"env": {"FROM_DEPLOYMENT": "1", "BOTH": "deployment", "HOME": None}})
    run = start(server, d, shell("pwd; env | sort") | {"env": {"BOTH": "run", "N": "2"}})
    finish(server, run)
    seen = messages(server, run, "millpond.output")
    assert seen[0].endswith(f"/runs/{run}/work")
    wanted = {f"PREFECT__FLOW_RUN_ID={run}", f"PREFECT_API_URL={server.url}", "BOTH=run", "N=2", "PREFECT__DEPLOYMENT_NAME=env",
              "PREFECT__FLOW_NAME=f", "FROM_DEPLOYMENT=1"}
    assert wanted <= set(seen)
    assert not any(line.startswith("HOME=") for line in seen), "null takes a variable away"


def test_bad_configuration_is_said(server, worker):
    d = deployment(server, "local", "bad")
    run = start(server, d, {"working_dir": "/no/such/directory"})
    done = finish(server, run)
    assert done["state_type"] == "CRASHED"
    assert "Failed to submit flow run to infrastructure" in done["state"]["message"] and "/no/such/directory" in done["state"]["message"]
    run = start(server, d, {"command": "/no/such/program --x"})
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and "'/no/such/program' cannot be executed" in done["state"]["message"]


def test_cancel(server, worker):
    d = deployment(server, "local", "cancel")
    run = start(server, d, shell("sleep 100 & echo $!; setsid sleep 101 & echo $!; wait"))
    wait_for(lambda: len(messages(server, run, "millpond.output")) == 2)
    pids = [int(p) for p in messages(server, run, "millpond.output")]
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    begun = time.monotonic()
    done = finish(server, run)
    assert done["state_type"] == "CANCELLED" and time.monotonic() - begun < 5
    assert not any(alive(p) for p in pids)


def test_due_runs_start_at_once(server, worker):
    d = deployment(server, "local", "quick")
    run = start(server, d, shell("exit 1"))
    began = time.monotonic()
    finish(server, run)
    assert time.monotonic() - began < 3, "the worker was told, it did not wait for its next look"


def test_limit(server):
    pool(server, "narrow")
    w = Worker(server, "--pool", "narrow", "--limit", "1").ready()
    d = deployment(server, "narrow", "one-by-one")
    runs = [start(server, d, shell("sleep 0.3; exit 1")) for _ in range(3)]
    most = 0
    while not all(read(server, r)["state_type"] == "CRASHED" for r in runs):
        most = max(most, sum(read(server, r)["state_type"] == "PENDING" for r in runs))
        time.sleep(0.05)
    assert most == 1
    assert w.stop() == 0


def test_pool_is_made_and_worker_is_listed(server):
    w = Worker(server, "--pool", "fresh", "--type", "process", "--name", "the worker").ready()
    made = server.api("GET", "/work_pools/fresh")
    assert made["type"] == "process" and "command" in made["base_job_template"]["variables"]["properties"]
    listed = wait_for(lambda: server.api("POST", "/work_pools/fresh/workers/filter", {}))
    assert [x["name"] for x in listed] == ["the worker"]
    assert wait_for(lambda: server.api("GET", "/work_pools/fresh")["status"] == "READY")
    assert w.stop() == 0


def test_two_workers_run_each_once(server, worker):
    second = Worker(server, "--pool", "local", "--name", "second").ready()
    d = deployment(server, "local", "shared")
    runs = [start(server, d, shell("echo here; exit 1")) for _ in range(20)]
    for run in runs:
        finish(server, run)
    for run in runs:
        assert states(server, run) == ["SCHEDULED", "PENDING", "CRASHED"]
        assert messages(server, run, "millpond.output") == ["here"]
    assert second.stop() == 0


def test_runs_outlive_their_worker(server):
    pool(server, "left")
    d = deployment(server, "left", "long")
    w = Worker(server, "--pool", "left").ready()
    run = start(server, d, shell("echo up; sleep 1.5; echo done; exit 4"))
    wait_for(lambda: messages(server, run, "millpond.output"))
    w.kill()
    # A worker that comes back leaves it alone, and can cancel it.
    again = Worker(server, "--pool", "left").ready()
    other = start(server, d, shell("echo up; sleep 100"))
    wait_for(lambda: messages(server, other, "millpond.output"))
    again.kill()
    third = Worker(server, "--pool", "left").ready()
    server.api("POST", f"/flow_runs/{other}/set_state", {"state": {"type": "CANCELLING"}})
    assert finish(server, other)["state_type"] == "CANCELLED"
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and "status code 4" in done["state"]["message"]
    assert messages(server, run, "millpond.output") == ["up", "done"]
    assert third.stop() == 0


def test_server_killed_under_way(server, worker):
    d = deployment(server, "local", "through")
    runs = [start(server, d, shell("echo up; sleep 1; echo last words; exit 5")) for _ in range(5)]
    for run in runs:
        wait_for(lambda run=run: messages(server, run, "millpond.output"))
    server.kill()
    time.sleep(1.5)  # they end while nobody listens
    server.start()
    for run in runs:
        done = finish(server, run)
        assert done["state_type"] == "CRASHED" and "status code 5" in done["state"]["message"]
        assert states(server, run) == ["SCHEDULED", "PENDING", "CRASHED"]
        wait_for(lambda run=run: messages(server, run, "millpond.output") == ["up", "last words"])
    # and the worker has found it again
    run = start(server, d, shell("exit 1"))
    began = time.monotonic()
    finish(server, run)
    assert time.monotonic() - began < 20


def test_supervisor_killed(server, worker):
    d = deployment(server, "local", "lost")
    run = start(server, d, shell("echo $$; exec sleep 100"))
    pid = int(wait_for(lambda: messages(server, run, "millpond.output"))[0])
    os.kill(int(wait_for(lambda: read(server, run)["infrastructure_pid"]).rpartition(":")[2]), signal.SIGKILL)
    wait_for(lambda: not alive(pid))
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and "lost" in done["state"]["message"]


def test_supervisor_and_worker_killed(server):
    pool(server, "lost")
    d = deployment(server, "lost", "lost")
    w = Worker(server, "--pool", "lost").ready()
    run = start(server, d, shell("echo $$; exec sleep 100"))
    wait_for(lambda: messages(server, run, "millpond.output"))
    supervisor = int(wait_for(lambda: read(server, run)["infrastructure_pid"]).rpartition(":")[2])
    w.kill()
    os.kill(supervisor, signal.SIGKILL)
    # A directory this young might be another worker's that has only just begun: make it older.
    spec = Path(server.home) / "runs" / run / "spec.json"
    os.utime(spec, (time.time() - 60, time.time() - 60))
    again = Worker(server, "--pool", "lost").ready()
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and "lost" in done["state"]["message"]
    assert again.stop() == 0


@with_client
def test_client(server, worker, tmp_path):
    d = client_deployment(server, "local", "client", tmp_path)
    ok, failing, gone = (start(server, d, parameters=p) for p in ({}, {"mode": "fail"}, {"mode": "exit"}))
    done = finish(server, ok)
    assert done["state_type"] == "COMPLETED" and states(server, ok) == ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
    wait_for(lambda: any(e["name"] == "millpond.supervisor" and "The process ended" in e["message"] for e in logs(server, ok)))
    assert [m.split()[0] for m in messages(server, ok, "millpond.output")] == ["printed"]
    assert [m for m in messages(server, ok) if "logged by the flow" in m] == ["logged by the flow"], "once"
    assert "logged by the flow" in worker.text(), "the terminal shows it, too"
    assert finish(server, failing)["state_type"] == "FAILED"
    done = finish(server, gone)
    assert done["state_type"] == "CRASHED" and "status code 3" in done["state"]["message"]


@with_client
def test_client_is_cancelled(server, worker, tmp_path):
    d = client_deployment(server, "local", "client-cancel", tmp_path)
    run = start(server, d, parameters={"seconds": 100})
    wait_for(lambda: any("printed" in m for m in messages(server, run)), 30)
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert finish(server, run)["state_type"] == "CANCELLED"
    assert "CRASHED" not in states(server, run)


@with_client
def test_client_through_a_restart(server, worker, tmp_path):
    """The server is killed while a flow runs and comes back: the flow's own end is what counts."""
    d = client_deployment(server, "local", "client-restart", tmp_path)
    run = start(server, d, parameters={"seconds": 2})
    wait_for(lambda: read(server, run)["state_type"] == "RUNNING", 30)
    server.kill()
    time.sleep(0.5)
    server.start()
    assert finish(server, run)["state_type"] == "COMPLETED"
    assert states(server, run) == ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
