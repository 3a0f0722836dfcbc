"""Nothing acknowledged is lost: the server killed or stopped under load, its disk full, its database gone."""
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, ROOT, Server, wait_for

WRITERS = 6
KILLS = 5


class Writer(threading.Thread):
    """Makes runs and moves them to their end over one connection, until that breaks or `stop` is set.

    `acknowledged`: run id → ids and types of its states, in order, all of them answered for. `open`: what was sent last and not
    answered: ("create", idempotency key) or ("state", run id, type, transition id); None when the last request was answered."""

    def __init__(self, server, flow):
        super().__init__(daemon=True)
        self.address = urllib.parse.urlsplit(server.root)
        self.flow = flow
        self.acknowledged = {}
        self.open = None
        self.refused = []
        self.unknown = []  # those that a 503 answered: a connection lost in its commit may have been heard all the same
        self.stop = threading.Event()

    def send(self, path, body):
        self.connection.request("POST", "/api" + path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            self.refused.append((path, answer.status, text[:200]))
            if answer.status == 503:
                self.unknown.append(self.open)
            return None
        return json.loads(text)

    def life(self):
        key = uuid.uuid4().hex
        self.open = ("create", key)
        run = self.send("/flow_runs/", {"flow_id": self.flow, "idempotency_key": key, "state": {"type": "PENDING"}})
        self.open = None
        if not run:
            return
        states = self.acknowledged[run["id"]] = [(run["state_id"], "PENDING")]
        for type in ("RUNNING", random.choice(("COMPLETED", "FAILED", "CRASHED"))):
            transition = str(uuid.uuid4())
            self.open = ("state", run["id"], type, transition)
            answer = self.send(f"/flow_runs/{run['id']}/set_state", {"state": {"type": type, "state_details": {"transition_id": transition}}})
            self.open = None
            if not answer:
                return
            assert answer["status"] == "ACCEPT", answer
            states.append((answer["state"]["id"], type))

    def run(self):
        self.connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.connection.connect()
            while not self.stop.is_set():
                self.life()
        self.connection.close()


@contextlib.contextmanager
def load(server, name):
    flow = server.api("POST", "/flows/", {"name": name})["id"]
    writers = [Writer(server, flow) for _ in range(WRITERS)]
    for w in writers:
        w.start()
    yield writers
    for w in writers:
        w.stop.set()
    for w in writers:
        w.join(40)
        assert not w.is_alive()


def event_ids(server, ids):
    """How often each of the ids is there as an event: {id: count}."""
    found = {}
    for i in range(0, len(ids), 50):
        page = server.api("POST", "/events/filter", {"filter": {"id": {"id": ids[i:i + 50]}}, "limit": 50})
        assert page["total"] == len(page["events"])
        for e in page["events"]:
            assert e["event"].startswith("prefect.flow-run.")
            found[e["id"]] = found.get(e["id"], 0) + 1
    return found


def check(server, writers, unanswered_may_be_there, refused_may_be_there=False):
    """All that was acknowledged is there, once; returns the ids of the states."""
    ids = []
    for w in writers:
        for run_id, acknowledged in w.acknowledged.items():
            run = server.api("GET", f"/flow_runs/{run_id}")
            states = [(s["id"], s["type"]) for s in server.api("GET", f"/flow_run_states/?flow_run_id={run_id}")]
            assert states[:len(acknowledged)] == acknowledged, "an acknowledged state is lost"
            ahead = states[len(acknowledged):]
            maybe = [w.open] * unanswered_may_be_there + w.unknown * refused_may_be_there
            maybe = [m[2] for m in maybe if m and m[:2] == ("state", run_id)]
            if maybe:
                assert [t for _, t in ahead] in ([], maybe[:1]), "more than what was sent"
            else:
                assert ahead == [], "a state that nobody asked for, or that was never answered"
            assert (run["state_id"], run["state_type"]) == states[-1]
            assert run["run_count"] == sum(t == "RUNNING" for _, t in states)
            assert len({i for i, _ in states}) == len(states)
            ids += [i for i, _ in states]
        for sent, may_be in [(w.open, unanswered_may_be_there)] + [(u, refused_may_be_there) for u in w.unknown]:
            if sent and sent[0] == "create":
                runs = server.api("POST", "/flow_runs/filter", {"flow_runs": {"idempotency_key": {"any_": [sent[1]]}}})
                assert len(runs) <= (1 if may_be else 0), "made, and not said"
    return ids


def test_killed_under_load(server):
    """kill -9 at a random instant, five times."""
    total, ids = 0, []
    for n in range(KILLS):
        with load(server, f"killed-{n}") as writers:
            time.sleep(0.3 + random.random() * 0.7)
            server.kill()
        server.start()
        now = check(server, writers, unanswered_may_be_there=True)
        assert len(now) > 20, f"hardly any load: {len(now)} {[w.refused for w in writers]}"
        assert not any(w.refused for w in writers), [w.refused[:2] for w in writers]
        total += len(now)
        ids += now
    assert len(set(ids)) == total
    wanted = set(ids)
    found = wait_for(lambda: (f := event_ids(server, ids)).keys() == wanted and f, seconds=15, every=0.3)
    assert set(found.values()) == {1}, "an event is there twice"


def test_stopped_under_load(server):
    """SIGTERM: what was accepted is answered; what was not answered did not happen."""
    with load(server, "stopped") as writers:
        time.sleep(0.6)
        assert server.stop() == 0, server.tail()
    server.start()
    ids = check(server, writers, unanswered_may_be_there=False)
    assert len(ids) > 20
    for w in writers:
        assert all(status == 503 for _, status, _ in w.refused), w.refused[:3]
    wait_for(lambda: event_ids(server, ids).keys() == set(ids), seconds=15, every=0.3)


def test_second_server_on_the_same_file():
    with contextlib.closing(_Closing(Server(None, "--no-managed"))) as first:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {"MILLPOND_HOME": first.server.home}
        second = subprocess.run([MILLPOND, "server", "start", "--port", "0", "--no-managed"], env=env, capture_output=True, text=True, timeout=20)
        assert second.returncode != 0 and "listens" not in second.stdout
        line = second.stderr.strip().splitlines()[-1]
        assert re.search(r"another|in use|already|locked", line), second.stderr
        assert first.server.api("GET", "/health") is True
        first.server.api("POST", "/flows/", {"name": "the-first-goes-on"})


class _Closing:
    def __init__(self, server):
        self.server = server

    def close(self):
        self.server.stop()


def test_full_disk():
    """No room: writes answer 503 and leave nothing; reads go on; with room again, writes go on."""
    home = tempfile.mkdtemp(prefix="millpond-full-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "millpond-test", home], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("left out: a full disk (no right to mount a small one)")
    try:
        server = Server(None, "--no-managed", home=home)
        try:
            flow = server.api("POST", "/flows/", {"name": "full"})["id"]
            run = server.api("POST", "/flow_runs/", {"flow_id": flow})
            filler = Path(home) / "filler"
            with open(filler, "wb", buffering=0) as f, contextlib.suppress(OSError):
                while f.write(b"x" * 4096):
                    pass
            made, answers = [], []
            for n in range(60):
                status, headers, text = server.request("POST", "/flow_runs/", {"flow_id": flow, "parameters": {"x": "y" * 200_000}})
                answers.append(status)
                if status < 400:
                    made.append(json.loads(text)["id"])
                elif answers[-3:] == [503] * 3:
                    break
            assert answers[-3:] == [503] * 3, answers
            assert json.loads(text)["exception_message"]
            assert server.api("GET", f"/flow_runs/{run['id']}")["id"] == run["id"]
            assert server.api("POST", "/flow_runs/count", {}) == 1 + len(made)
            assert server.api("GET", "/health") is True
            filler.unlink()
            def room_again():
                status, _, text = server.request("POST", "/flow_runs/", {"flow_id": flow})
                return status == 201 and json.loads(text)["id"]
            made.append(wait_for(room_again, 10, 0.1))
            server.kill()
            server.start()
            for id in made:
                server.api("GET", f"/flow_runs/{id}")
            assert server.api("POST", "/flow_runs/count", {}) == 1 + len(made)
        finally:
            server.stop()
    finally:
        subprocess.run(["umount", "-l", home], check=True)
        os.rmdir(home)


def test_database_goes_away(postgres):
    """PostgreSQL stopped and started again: 503 meanwhile, then well, and nothing is lost."""
    directory = Path(urllib.parse.unquote(postgres.split("host=")[1])).parent
    server = Server(postgres, "--no-managed")
    try:
        with load(server, "goes-away") as writers:
            time.sleep(0.3)
            subprocess.run([ROOT / "tests/pg.sh", "stop", directory], check=True, capture_output=True)
            time.sleep(0.2)
            for method, path, body in (("POST", "/flows/", {"name": "x"}), ("POST", "/flow_runs/filter", {}), ("GET", f"/flows/{uuid.uuid4()}", None)):
                started = time.monotonic()
                status, _, text = server.request(method, path, body)
                assert status == 503, (path, status, text)
                assert time.monotonic() - started < 10
            assert server.request("GET", "/health")[0] == 200 and server.request("GET", "/ready")[0] == 503
            subprocess.run([ROOT / "tests/pg.sh", "start", directory], check=True, capture_output=True)
            wait_for(lambda: server.request("POST", "/flows/", {"name": "back"})[0] in (200, 201), 20, 0.1)
            time.sleep(0.3)
        refused = [r for w in writers for r in w.refused]
        assert all(status == 503 for _, status, _ in refused), [r for r in refused if r[1] != 503][:3]
        for w in writers:
            for run_id, acknowledged in w.acknowledged.items():
                states = [(s["id"], s["type"]) for s in server.api("GET", f"/flow_run_states/?flow_run_id={run_id}")]
                assert states[:len(acknowledged)] == acknowledged
        assert server.process.poll() is None
    finally:
        assert server.stop() == 0, server.tail()
