"""kill -9 for every kind of write, and at instants that chance hardly finds: before each sync of a commit, of a migration, of the first start."""
import contextlib
import http.client
import json
import os
import random
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid

import pytest

from tests.api.badday import badday, server_on  # noqa: F401 (a fixture)
from tests.api.conftest import MILLPOND, Server, wait_for
from tests.api.events_help import event, now
from tests.api.test_kill import check, event_ids, load


def task_event(run, type, at):
    """As a client of 3.x tells of its task runs."""
    return event(f"prefect.task-run.{type.capitalize()}", f"prefect.task-run.{run}", at, labels={
        "prefect.orchestration": "client", "prefect.state-type": type, "prefect.state-name": type.capitalize(),
        "prefect.state-timestamp": at.isoformat(), "prefect.state-message": "", "prefect.resource.name": "t"},
        payload={"intended": {"from": None, "to": type}, "initial_state": None, "validated_state": {"type": type, "name": type.capitalize(), "message": ""},
                 "task_run": {"name": "t", "task_key": "k", "dynamic_key": str(run), "tags": [], "empirical_policy": {}, "task_inputs": {}}})


class AllKinds(threading.Thread):
    """One client that writes a little of everything, until its server dies. `said`: kind → what was acknowledged; `open`: the (kind, thing)
    that was sent and not answered."""

    def __init__(self, server, flow, limit):
        super().__init__(daemon=True)
        self.address = urllib.parse.urlsplit(server.root)
        self.flow, self.limit = flow, limit
        self.said = {k: [] for k in ("log", "task", "client_task", "deployment", "variable", "slot", "artifact", "input", "delete")}
        self.open = None

    def send(self, kind, thing, path, body, method="POST"):
        self.open = (kind, thing)
        self.connection.request(method, "/api" + path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (path, answer.status, text[:300])
        self.open = None
        answer = json.loads(text) if text else None
        self.said[kind].append((thing, answer))
        return answer

    def one(self):
        tag = uuid.uuid4().hex
        self.send("log", tag, "/logs/", [{"name": "l", "level": 20, "message": f"{tag}", "timestamp": now().isoformat(), "flow_run_id": None}])
        run = str(uuid.uuid4())
        self.send("client_task", run, "/events", [task_event(run, "RUNNING", now()), task_event(run, "COMPLETED", now(0.01))])
        self.send("task", tag, "/task_runs/", {"flow_run_id": None, "task_key": "k", "dynamic_key": tag, "state": {"type": "RUNNING"}})
        self.send("deployment", tag, "/deployments/", {"name": tag, "flow_id": self.flow, "schedules": [
            {"schedule": {"interval": 3600, "anchor_date": "2020-01-01T00:00:00Z"}}]})
        self.send("variable", tag, "/variables/", {"name": tag, "value": tag})
        self.send("slot", tag, "/v2/concurrency_limits/increment-with-lease", {"names": [self.limit], "slots": 1, "mode": "concurrency", "lease_duration": 3600})
        self.send("artifact", tag, "/artifacts/", {"key": tag, "type": "markdown", "data": tag})
        if random.random() < 0.3:
            gone = self.said["variable"].pop(0)[0]
            self.send("delete", gone, f"/variables/name/{gone}", None, "DELETE")

    def run(self):
        self.connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.connection.connect()
            while True:
                self.one()
        self.connection.close()


def assert_all_there(server, writers, limit):
    slots_open = 0
    for w in writers:
        kind, thing = w.open or (None, None)
        slots_open += kind == "slot"
        messages = [m for m, _ in w.said["log"]]
        for m in messages:
            found = server.api("POST", "/logs/filter", {"logs": {"text": {"query": m}}})
            assert [x["message"] for x in found] == [m], "a log lost, or there twice"
        for run, _ in w.said["client_task"]:
            got = wait_for(lambda: (a := server.request("GET", f"/task_runs/{run}"))[0] == 200 and json.loads(a[2]), 5)
            assert got["state_type"] == "COMPLETED", got
        for tag, made in w.said["task"]:
            assert server.api("GET", f"/task_runs/{made['id']}")["state_type"] == "RUNNING"
        for tag, made in w.said["deployment"]:
            assert server.api("GET", f"/deployments/{made['id']}")["name"] == tag
            assert len(server.api("GET", f"/deployments/{made['id']}/schedules")) == 1
        for tag, _ in w.said["variable"]:
            if (kind, thing) != ("delete", tag):
                assert server.api("GET", f"/variables/name/{tag}")["value"] == tag
        for tag, _ in w.said["delete"]:
            assert server.request("GET", f"/variables/name/{tag}")[0] == 404, "what was deleted is back"
        for tag, made in w.said["artifact"]:
            assert server.api("GET", f"/artifacts/{made['id']}")["data"] == server.api("GET", f"/artifacts/{tag}/latest")["data"] == tag
    held = sum(len(w.said["slot"]) for w in writers)
    active = server.api("GET", f"/v2/concurrency_limits/{limit}")["active_slots"]
    assert held <= active <= held + slots_open, "slots and leases do not agree"
    # the scheduler's runs: at most one a slot, and each deployment gets them
    for w in writers:
        for tag, made in w.said["deployment"][:5]:
            runs = wait_for(lambda: (r := server.api("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [made["id"]]}}})) and len(r) >= 3 and r, 20, 0.1)
            slots = [r["expected_start_time"] for r in runs]
            assert len(slots) == len(set(slots)), "a slot twice"


@contextlib.contextmanager
def writing(server, tag):
    flow = server.api("POST", "/flows/", {"name": f"kinds-{tag}"})["id"]
    server.api("POST", "/v2/concurrency_limits/", {"name": f"kinds-{tag}", "limit": 1_000_000})
    writers = [AllKinds(server, flow, f"kinds-{tag}") for _ in range(4)]
    for w in writers:
        w.start()
    yield writers
    for w in writers:
        w.join(40)
        assert not w.is_alive()


def test_every_kind(server):
    for n in range(3):
        with writing(server, n) as writers:
            time.sleep(0.3 + random.random() * 0.5)
            server.kill()
        server.start()
        assert sum(len(v) for w in writers for v in w.said.values()) > 20
        assert_all_there(server, writers, f"kinds-{n}")


def test_killed_before_a_sync(badday):  # noqa: F811
    """Before the n-th sync of either database: the commit is written, not yet said to be kept."""
    server = server_on(badday)
    try:
        for n, match in [(7, "millpond.db"), (40, "millpond.db"), (3, "telemetry"), (random.randint(1, 60), "millpond")]:
            with writing(server, n) as writers:
                badday.kill_at_sync(n, match)
                server.process.wait(30)
            server.start()
            assert_all_there(server, writers, f"kinds-{n}")
        with load(server, "sync") as writers:
            badday.kill_at_sync(random.randint(5, 50), "millpond.db")
            server.process.wait(30)
        server.start()
        ids = check(server, writers, unanswered_may_be_there=True)
        wait_for(lambda: event_ids(server, ids).keys() == set(ids), 15, 0.3)
    finally:
        badday.kill_at_sync(0)
        server.stop()


def test_killed_in_the_first_start(badday):  # noqa: F811
    """At each sync until it listens: the next start goes on from there, and ends in the same tables."""
    def tables(home):
        return [subprocess.run(["sqlite3", f"{home}/{f}", "SELECT name, sql FROM sqlite_master ORDER BY name; SELECT version, name FROM schema_version"],
                               capture_output=True, text=True, check=True).stdout for f in ("millpond.db", "millpond-telemetry.db")]
    kills = 0
    for n in range(1, 60):
        home = tempfile.mkdtemp(prefix="millpond-first-")
        badday.kill_at_sync(n, home)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | badday.env | {"MILLPOND_HOME": home}
        first = subprocess.Popen([MILLPOND, "server", "start", "--port", "0", "--no-managed"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = first.stdout.readline()
        if line:  # it listens: all of the start is behind
            first.kill()
        assert first.wait(20) == -9
        badday.kill_at_sync(0)
        if n % 5 == 1 or line:
            server = Server(None, "--no-managed", home=home)
            server.api("POST", "/flows/", {"name": "f"})
            assert len(server.api("POST", "/block_types/filter", {})) > 10
            assert server.stop() == 0, server.tail()
            if n == 1:
                want = tables(home)
            assert tables(home) == want
        if line:
            break
        kills += 1
    assert kills > 3, "it made hardly any sync"


@pytest.mark.parametrize("after", [0.02, 0.1, 0.25])
def test_killed_in_the_first_start_on_postgres(postgres, after):
    from tests.api.conftest import _clear
    _clear(postgres)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
    env |= {"MILLPOND_HOME": tempfile.mkdtemp(prefix="millpond-first-"), "MILLPOND_SEAL_KEY": "5a" * 32}
    first = subprocess.Popen([MILLPOND, "server", "start", "--port", "0", "--no-managed", "--database", postgres], env=env, stdout=subprocess.DEVNULL)
    time.sleep(after)
    first.kill()
    first.wait()
    server = Server(postgres, "--no-managed")
    server.api("POST", "/flows/", {"name": "f"})
    assert len(server.api("POST", "/block_types/filter", {})) > 10
    assert server.stop() == 0, server.tail()
