"""`flow-run execute` and `retry --entrypoint`: with the real engine, and with a stand-in for it where only how it ends matters."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, wait_for

pytestmark = pytest.mark.parametrize("server", ["sqlite"], indirect=True)

STAND_IN = """#!/bin/bash
[ "$1" = -c ] && exit 0
echo "$*" "$PREFECT__FLOW_RUN_ID" "$PREFECT__FLOW_ENTRYPOINT" "$PREFECT_API_URL" >"$HOME/started"
pwd >"$HOME/cwd"
set_state() { curl -sf -o /dev/null -X POST -H 'Content-Type: application/json' -d "{\\"state\\":{\\"type\\":\\"$1\\"},\\"force\\":true}" $PREFECT_API_URL/flow_runs/$PREFECT__FLOW_RUN_ID/set_state; }
"""


class Bench:
    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        (folder / "tmp").mkdir()
        self.env = {"PATH": f"{os.environ['PATH']}", "HOME": str(folder), "MILLPOND_HOME": str(folder / "home"), "MILLPOND_API_URL": server.url, "TMPDIR": str(folder / "tmp")}

    def engine(self, does):
        path = self.folder / "python"
        path.write_text(STAND_IN + does + "\n")
        path.chmod(0o755)
        self.env["MILLPOND_PYTHON"] = str(path)

    def run(self, **more):
        flow = self.server.api("POST", "/flows/", {"name": "executed"})
        return self.server.api("POST", "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "PENDING"}} | more)["id"]

    def state(self, run):
        return self.server.api("GET", f"/flow_runs/{run}")["state"]

    def start(self, *words, **env):
        return subprocess.Popen([MILLPOND, "flow-run", *words], env=self.env | env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def execute(self, *words, **env):
        p = self.start(*words, **env)
        out, err = p.communicate(timeout=60)
        return p.returncode, out, err

    def started(self):
        wait_for(lambda: (self.folder / "started").exists() and (self.folder / "cwd").exists() and (self.folder / "cwd").read_text().strip())
        time.sleep(0.05)


@pytest.fixture
def bench(server, tmp_path):
    return Bench(server, tmp_path)


def test_ends_well(bench):
    bench.engine("set_state RUNNING; echo from the flow; touch left; set_state COMPLETED")
    run = bench.run()
    assert bench.execute("execute", run) == (0, "from the flow\n", "")
    assert bench.state(run)["type"] == "COMPLETED"
    assert (bench.folder / "started").read_text().split() == ["-m", "prefect.engine", run, bench.server.url]
    assert "millpond-run-" in (bench.folder / "cwd").read_text()
    assert list((bench.folder / "tmp").iterdir()) == [], "the folder for its code is gone"
    rc, _, err = bench.execute("execute", run)
    assert rc == 1 and "it has ended" in err


def test_the_run_of_the_environment(bench):
    bench.engine("set_state COMPLETED")
    run = bench.run()
    assert bench.execute("execute", PREFECT__FLOW_RUN_ID=run)[0] == 0
    assert bench.execute("execute")[::2] == (1, "millpond: Could not determine the ID of the flow run to execute. Give it, or set PREFECT__FLOW_RUN_ID.\n")
    assert bench.execute("execute", "00000000-0000-4000-8000-000000000000")[0] == 1


@pytest.mark.parametrize("does,status,message", [
    ("exit 3", 3, "non-zero status code 3"), ("kill -KILL $$", 137, "non-zero status code -9"), ("exit 0", 0, "never came to a final state"),
    ("set_state RUNNING; exit 1", 1, "non-zero status code 1")])
def test_dies(bench, does, status, message):
    bench.engine(does)
    run = bench.run()
    assert bench.execute("execute", run)[0] == status
    assert bench.state(run)["type"] == "CRASHED" and message in bench.state(run)["message"]


def test_what_the_run_says_itself_stands(bench):
    bench.engine("set_state FAILED; exit 1")
    run = bench.run()
    assert bench.execute("execute", run)[0] == 1
    assert bench.state(run)["type"] == "FAILED"


def test_cancelled(bench):
    bench.engine("set_state RUNNING; sleep 100 & wait")
    run = bench.run()
    p = bench.start("execute", run)
    bench.started()
    wait_for(lambda: bench.state(run)["type"] == "RUNNING")
    bench.server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    p.communicate(timeout=20)
    assert bench.state(run)["type"] == "CANCELLED"


@pytest.mark.parametrize("behaviour,status,kind,name", [
    ("crash", 143, "CRASHED", "Crashed"), ("reschedule", 0, "SCHEDULED", "AwaitingRetry"), ("relinquish", 1, "RUNNING", "Running")])
def test_sigterm(bench, behaviour, status, kind, name):
    bench.engine("set_state RUNNING; echo $$ >$HOME/pid; sleep 100 & wait")
    run = bench.run()
    p = bench.start("execute", run, PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR=behaviour)
    bench.started()
    wait_for(lambda: bench.state(run)["type"] == "RUNNING" and (bench.folder / "pid").exists())
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=20)
    assert p.returncode == status
    assert (bench.state(run)["type"], bench.state(run)["name"]) == (kind, name)
    assert not Path(f"/proc/{(bench.folder / 'pid').read_text().strip()}").exists(), "nothing of it goes on"


def test_killed_takes_the_run_with_it(bench):
    bench.engine("set_state RUNNING; echo $$ >$HOME/pid; exec sleep 100")
    run = bench.run()
    p = bench.start("execute", run)
    bench.started()
    pid = wait_for(lambda: (bench.folder / "pid").exists() and (bench.folder / "pid").read_text().strip())
    p.kill()
    p.communicate()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_refusals(bench):
    bench.engine("exit 0")
    run = bench.run()
    assert "is one of crash, reschedule, relinquish" in bench.execute("execute", run, PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR="x")[2]
    assert "cannot be started" in bench.execute("execute", run, MILLPOND_PYTHON="/nonexistent")[2]
    assert "needs the package 'prefect'" in bench.execute("execute", run, MILLPOND_PYTHON="/bin/false")[2]
    assert bench.state(run)["type"] == "PENDING", "what could not be tried changes nothing"


def test_real_engine(bench):
    pytest.importorskip("prefect", reason="left out: the real engine: no peer here")
    bench.env |= {"MILLPOND_PYTHON": sys.executable, "PREFECT_HOME": str(bench.folder / "prefect"), "PREFECT_LOGGING_LEVEL": "INFO"}
    (bench.folder / "code.py").write_text("from prefect import flow\n\n@flow(log_prints=True)\ndef add(x: int = 1):\n    print('the sum is', x + 1)\n    return x + 1\n")
    flow = bench.server.api("POST", "/flows/", {"name": "add"})
    deployment = bench.server.api("POST", "/deployments/", {
        "name": "here", "flow_id": flow["id"], "entrypoint": "code.py:add", "path": ".", "parameters": {"x": 4},
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(bench.folder)}}]})
    run = bench.server.api("POST", f"/deployments/{deployment['id']}/create_flow_run", {})["id"]
    rc, out, err = bench.execute("execute", run)
    assert rc == 0 and bench.state(run)["type"] == "COMPLETED", out + err
    assert "the sum is 5" in out + err

    alone = bench.run(parameters={"x": 6}, state={"type": "FAILED"})
    rc, out, err = bench.execute("retry", alone)
    assert rc == 1 and "--entrypoint path.py:function" in err
    rc, out, err = bench.execute("retry", alone, "--entrypoint", "code.py:add")
    assert rc == 0 and bench.state(alone)["type"] == "COMPLETED", out + err
    assert "the sum is 7" in out + err


def test_handed_over(bench):
    """Commands that read code go to the Python package, with our settings and all that was given."""
    path = bench.folder / "python"
    path.write_text('#!/bin/bash\n[ "$1" = -c ] && exit 0\nfor a in "$@"; do printf "<%s>" "$a"; done; echo; echo "$PREFECT_API_URL $PREFECT_API_KEY $PREFECT_LOGGING_LEVEL ${PREFECT_PROFILE-none}"\n')
    path.chmod(0o755)
    (bench.folder / "home").mkdir()
    (bench.folder / "home" / "profiles.toml").write_text('[profiles.p]\nMILLPOND_API_KEY = "k"\nMILLPOND_LOGGING_LEVEL = "DEBUG"\n')
    env = bench.env | {"MILLPOND_PYTHON": str(path), "PREFECT_PROFILE": "p"}

    def run(*words):
        return subprocess.run([MILLPOND, *words], env=env, cwd=bench.folder, capture_output=True, text=True).stdout.splitlines()

    told = f"{bench.server.url} k DEBUG none"
    assert run("deploy", "a.py:f", "-n", "d", "--tag", "x", "-t", "y", "--all", "--no-enforce-parameter-schema", "--no-prompt") == \
        ["<-m><prefect><--no-prompt><deploy><--name=d><--tag=x><--tag=y><--all><--no-enforce-parameter-schema><a.py:f>", told]
    assert run("deploy", "init", "--recipe", "git") == ["<-m><prefect><deploy><init><--recipe=git>", told]
    assert run("flows", "serve", "--name", "n", "--", "-odd.py:f") == ["<-m><prefect><flow><serve><--name=n><--><-odd.py:f>", told]
    assert run("block", "register", "-m", "prefect_aws") == ["<-m><prefect><block><register><--module=prefect_aws>", told]
    assert json.loads(subprocess.run([MILLPOND, "reference", "tree"], env=env, capture_output=True, text=True).stdout)
