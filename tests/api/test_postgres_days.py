"""PostgreSQL stopped, crashed, paused, full, or another one than was thought."""
import asyncio
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, ROOT, Server, wait_for
from tests.api.test_kill import check, event_ids, load


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of these tests' own: they are not gentle."""
    directory = tempfile.mkdtemp(prefix="millpond-pgdays-")
    started = subprocess.run([ROOT / "tests/pg.sh", "start", directory], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"left out: PostgreSQL ({started.stderr.strip() or started.stdout.strip()})")
    url = started.stdout.strip().splitlines()[-1]
    yield Cluster(url, Path(directory))
    subprocess.run([ROOT / "tests/pg.sh", "stop", directory])


class Cluster:
    def __init__(self, url, directory):
        self.url, self.directory = url, directory
        self.data = directory / "pg/data"

    def sql(self, text):
        return subprocess.run(["psql", self.url, "-XAtqc", text], check=True, capture_output=True, text=True).stdout.strip()

    def pg(self, what):
        subprocess.run([ROOT / "tests/pg.sh", what, self.directory], check=True, capture_output=True)

    def processes(self):
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster] + [int(c) for c in children]

    def backends(self):
        return [int(pid) for pid in self.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'millpond'").split()]


@pytest.fixture(scope="module")
def served(cluster):
    s = Server(cluster.url, "--no-managed")
    yield s
    assert s.stop() == 0, s.tail()


def is_back(server):
    wait_for(lambda: server.request("POST", "/flows/", {"name": "back"})[0] in (200, 201), 20, 0.1)


def assert_nothing_lost(server, writers):
    refused = [r for w in writers for r in w.refused]
    assert all(status == 503 for _, status, _ in refused), [r for r in refused if r[1] != 503][:3]
    ids = check(server, writers, unanswered_may_be_there=True, refused_may_be_there=True)
    assert len(ids) > 20
    found = wait_for(lambda: (f := event_ids(server, ids)).keys() == set(ids) and f, 20, 0.3)
    assert set(found.values()) == {1}, "an event twice"


def test_connections_cut_again_and_again(served, cluster):
    """Every connection ended by the database, at any instant of a transaction."""
    with load(served, "cut") as writers:
        for _ in range(25):
            cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millpond'")
            time.sleep(0.05)
        is_back(served)
        time.sleep(0.3)
    assert_nothing_lost(served, writers)


def test_one_backend_crashes(served, cluster):
    """kill -9 of one: PostgreSQL ends all others and recovers."""
    with load(served, "crash") as writers:
        time.sleep(0.3)
        os.kill(cluster.backends()[0], signal.SIGKILL)
        time.sleep(0.3)
        is_back(served)
        time.sleep(0.3)
    assert_nothing_lost(served, writers)


def test_paused(served, cluster):
    """The database's machine stands still for some seconds: what was sent is answered afterwards."""
    with load(served, "paused") as writers:
        time.sleep(0.3)
        stopped = cluster.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            before = {w: len(w.acknowledged) for w in writers}
            time.sleep(6)
            assert served.request("GET", "/health")[0] == 200
            assert all(len(w.acknowledged) <= n + 1 for w, n in before.items())
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: all(len(w.acknowledged) > n + 3 for w, n in before.items()), 20, 0.1)
    assert_nothing_lost(served, writers)


def test_services_wake_after_it_comes_back(served, cluster):
    """A run that is due, and then late, while the database is away is late soon after it is back."""
    flow = served.api("POST", "/flows/", {"name": "services"})["id"]
    at = (datetime.now(timezone.utc) + timedelta(seconds=-12)).isoformat()
    run = served.api("POST", "/flow_runs/", {"flow_id": flow, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": at}}})["id"]
    cluster.pg("stop")
    time.sleep(4)  # late by now
    assert served.request("GET", f"/flow_runs/{run}")[0] == 503
    cluster.pg("start")
    is_back(served)
    wait_for(lambda: served.api("GET", f"/flow_runs/{run}")["state_name"] == "Late", 10, 0.1)


class Others:
    """So many idle connections of others, opened until there is room for no more."""

    def __init__(self, cluster):
        import asyncpg
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.open = []
        async def fill():
            while True:
                try:
                    self.open.append(await asyncpg.connect(host=str(cluster.directory / "pg"), user="millpond", database="postgres"))
                except (asyncpg.TooManyConnectionsError, asyncpg.CannotConnectNowError):
                    return
        self.run(fill())

    def run(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(30)

    def leave(self):
        async def close():
            for c in self.open:
                await c.close()
        self.run(close())
        self.loop.call_soon_threadsafe(self.loop.stop)


def test_no_connection_to_be_had(served, cluster):
    """The others have them all: at start a clear line; while running, those that we hold do the work; when we lose them, 503 until there is room."""
    served.api("POST", "/flows/", {"name": "warm"})
    others = Others(cluster)
    try:
        assert re.search("too many (clients|connections)|connection slots", start_fails(cluster.url))
        answers = [served.request("POST", "/flows/", {"name": f"full-{n}"})[0] for n in range(40)]
        assert set(answers) <= {200, 201}, answers
        assert served.request("GET", "/health")[0] == 200
    finally:
        others.leave()
    is_back(served)
    with load(served, "room") as writers:
        time.sleep(0.3)
    assert_nothing_lost(served, writers)


def test_no_more_connections_to_be_had(cluster):
    """A server that holds few of its connections yet, and cannot have more: those do the work of all."""
    s = Server(cluster.url, "--no-managed")
    others = Others(cluster)
    try:
        with load(s, "few") as writers:
            time.sleep(1.5)
        assert not any(w.refused for w in writers), [w.refused[:1] for w in writers]
        assert sum(len(w.acknowledged) for w in writers) > 20
    finally:
        others.leave()
        assert s.stop() == 0, s.tail()


def start_fails(url):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
    env |= {"MILLPOND_HOME": tempfile.mkdtemp(prefix="millpond-test-"), "MILLPOND_SEAL_KEY": "5a" * 32}
    started = time.monotonic()
    r = subprocess.run([MILLPOND, "server", "start", "--port", "0", "--no-managed", "--database", url], env=env, capture_output=True, text=True, timeout=40)
    assert r.returncode > 0 and "listens" not in r.stdout, r
    assert time.monotonic() - started < 15
    lines = r.stderr.strip().splitlines()
    assert lines and len(lines) <= 3, r.stderr
    assert "sesame" not in r.stderr, "a password"
    return " ".join(lines)


def with_parts(url, user=None, password=None, database=None):
    host = url.split("host=")[1]
    who = (user or "millpond") + (f":{password}" if password else "")
    return f"postgresql://{who}@/{database or 'postgres'}?host={host}"


def test_wrong_database_at_start(cluster):
    assert "nowhere" in start_fails(with_parts(cluster.url, database="nowhere"))
    assert "nobody" in start_fails(with_parts(cluster.url, user="nobody"))
    assert re.search("refused|No such file|reach", start_fails("postgresql://millpond:sesame@127.0.0.1:1/postgres"))
    hba = cluster.data / "pg_hba.conf"
    text = hba.read_text()
    cluster.sql("CREATE ROLE careful LOGIN PASSWORD 'open'")
    hba.write_text("local all careful scram-sha-256\n" + text)
    cluster.sql("SELECT pg_reload_conf()")
    try:
        said = wait_for(lambda: (s := start_fails(with_parts(cluster.url, user="careful", password="sesame"))) and "password" in s and s, 10)
        assert "careful" in said
        said = start_fails(with_parts(cluster.url, user="careful", password="open"))  # right, but it may not make a schema
        assert "permission" in said
    finally:
        hba.write_text(text)
        cluster.sql("SELECT pg_reload_conf()")


def test_server_of_another_version():
    """One that is too old, as far as it says."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)

    def message(kind, body):
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    def answer():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            while (first := c.recv(4096)):
                if first[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # TLS, GSS: no
                    c.sendall(b"N")
                    continue
                c.sendall(message(b"R", bytes(4)) + message(b"S", b"server_version\x009.6.24\x00") + message(b"Z", b"I"))
                break
    threading.Thread(target=answer, daemon=True).start()
    said = start_fails(f"postgresql://millpond@127.0.0.1:{listener.getsockname()[1]}/postgres")
    listener.close()
    assert re.search("version 9|too old", said), said
