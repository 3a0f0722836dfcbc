"""The worker channel between real workers and real servers: the published client's worker, ours, the published server."""
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.worker.pools import PEER, FixedServer, Worker, deployment, finish, free_port, logs, pool, read, shell, start, wait_for

peer = pytest.mark.skipif(not (PEER / "bin" / "prefect").exists(), reason="left out: MILLPOND_PEER names no environment with the client")
OLD_PEER = Path(os.environ.get("MILLPOND_OLD_PEER", PEER.parent / "V2"))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request):
    """Gives runs that are being cancelled two seconds."""
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres")
        subprocess.run(["psql", database, "-qc", "DROP SCHEMA IF EXISTS millpond CASCADE; DROP SCHEMA IF EXISTS millpond_telemetry CASCADE"], check=True, capture_output=True)
    s = FixedServer(database=database, env={"MILLPOND_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "2", "MILLPOND_SEAL_KEY": "5a" * 32})
    yield s
    assert s.stop() == 0, s.tail()


def given_up(server, pool_name, place):
    """A run whose worker is gone, cancelled, and counted as such after a while."""
    run = start(server, deployment(server, pool_name, f"d-{time.monotonic_ns()}"))
    for type in ("PENDING", "RUNNING"):
        server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": type}})
    server.api("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": place})
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert finish(server, run)["state_type"] == "CANCELLED"
    return run


def heartbeats(server, name):
    return [w["last_heartbeat_time"] for w in server.api("POST", f"/work_pools/{name}/workers/filter", {})]


KILLS = """
import asyncio, os
from prefect.workers.process import ProcessWorker

class Kills(ProcessWorker):
    async def kill_infrastructure(self, infrastructure_pid, configuration, grace_seconds=30):
        os.kill(int(infrastructure_pid.split(":")[1]), 15)

asyncio.run(Kills(work_pool_name="real", name="theirs").start())
"""


@peer
@pytest.mark.parametrize("command", [["-m", "prefect", "worker", "start", "--pool", "real", "--name", "theirs"], ["-c", KILLS]], ids=["plain", "kills"])
def test_the_clients_own_worker(server, command):
    """Unmodified, it takes the channel by itself and heartbeats over it; of a kind that can, it ends what is left of a cancelled run."""
    server.api("DELETE", "/work_pools/real") if server.request("GET", "/work_pools/real")[0] == 200 else None
    pool(server, "real")
    home = tempfile.mkdtemp(prefix="millpond-test-")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {
        "PREFECT_API_URL": server.url, "PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_WORKER_HEARTBEAT_SECONDS": "1"}
    log = Path(home) / "worker.log"
    left = subprocess.Popen(["sleep", "300"])
    if command[1] == KILLS:
        given_up(server, "real", f"{socket.gethostname()}:{left.pid}")
    worker = subprocess.Popen([PEER / "bin" / "python", *command], env=env, stdout=open(log, "wb"), stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "the worker channel is healthy" in log.read_text() or worker.poll() is not None, 60)
        if command[1] == KILLS:
            wait_for(lambda: left.poll() is not None, 30)
        first = heartbeats(server, "real")
        wait_for(lambda: heartbeats(server, "real") != first, 10)
        text = log.read_text()
        assert "Worker channel disabled" not in text and "REST fallback" not in text, text[-3000:]
    finally:
        left.kill()
        left.wait()
        worker.terminate()
        worker.wait(30)


def test_ours(server):
    """Heartbeats and waking go over it; what a worker left running when its run was cancelled is ended by the next."""
    pool(server, "ours")
    env = {"MILLPOND_LOG_LEVEL": "debug", "MILLPOND_LOGGING_LEVEL": "DEBUG", "MILLPOND_WORKER_HEARTBEAT_SECONDS": "1"}
    worker = Worker(server, "--pool", "ours", "--name", "mine", env=env).ready()
    wait_for(lambda: server.api("POST", "/work_pools/ours/workers/filter", {}))
    first = heartbeats(server, "ours")
    wait_for(lambda: heartbeats(server, "ours") != first, 10)
    marker = Path(server.home) / f"marker-{time.monotonic_ns()}"
    d = deployment(server, "ours", "sleeps", job_variables=shell(f"echo $$ > {marker}; exec sleep 300"))
    asked = time.monotonic()
    run = start(server, d)
    wait_for(lambda: marker.exists() and marker.read_text().strip())
    assert time.monotonic() - asked < 5, "it was woken"
    assert worker.stop() == 0
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}})
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert finish(server, run)["state_type"] == "CANCELLED"
    pid = int(marker.read_text())
    assert Path(f"/proc/{pid}").exists(), "nobody has ended it yet"
    worker = Worker(server, "--pool", "ours", "--name", "mine", env=env).ready()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 20)
    assert worker.stop() == 0


def test_a_pool_that_goes_and_comes(server):
    pool(server, "comes")
    worker = Worker(server, "--pool", "comes", env={"MILLPOND_WORKER_HEARTBEAT_SECONDS": "1"}).ready()
    run = start(server, deployment(server, "comes", "one", job_variables=shell("true")))
    assert finish(server, run)["state_type"] in ("CRASHED", "COMPLETED")
    server.api("PATCH", "/work_pools/comes", {"is_paused": True})
    waiting = start(server, deployment(server, "comes", "one", job_variables=shell("true")))
    time.sleep(1)
    assert read(server, waiting)["state_type"] == "SCHEDULED"
    server.api("PATCH", "/work_pools/comes", {"is_paused": False})
    finish(server, waiting)
    server.api("DELETE", "/work_pools/comes")
    wait_for(lambda: server.request("GET", "/work_pools/comes")[0] == 200, 10)  # made anew by the worker, as by Prefect's
    run = start(server, deployment(server, "comes", "two", job_variables=shell("true")))
    finish(server, run, 30)
    assert worker.stop() == 0


@peer
@pytest.mark.parametrize("which", ["channel", "polls"])
def test_against_the_published_server(which):
    """The newer serves a channel that wakes nobody, the older none at all."""
    prefix = PEER if which == "channel" else OLD_PEER
    if not (prefix / "bin" / "prefect").exists():
        pytest.skip(f"left out: no client at {prefix}")
    home, port = tempfile.mkdtemp(prefix="millpond-test-"), free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {
        "PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    published = subprocess.Popen([prefix / "bin" / "prefect", "server", "start", "--port", str(port)], env=env, stdout=open(f"{home}/log", "wb"),
                                 stderr=subprocess.STDOUT, start_new_session=True)

    class Theirs(FixedServer):
        def __init__(self):
            self.home, self.url, self.description = home, f"http://127.0.0.1:{port}/api", self

        def check_answer(self, *_):
            return []  # another's answers are not ours to check

        def request(self, *args, **kwargs):
            answer = super().request(*args, **kwargs)
            for _ in range(20):  # on a busy machine it says 503 for its database's locks
                if answer[0] != 503:
                    break
                time.sleep(1)
                answer = super().request(*args, **kwargs)
            return answer

    def up():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2).status == 200
        except OSError:
            return False

    server = Theirs()
    try:
        wait_for(up, 90, every=0.3)
        pool(server, "p")
        worker = Worker(server, "--pool", "p", "--name", "mine", env={"MILLPOND_LOGGING_LEVEL": "DEBUG", "MILLPOND_WORKER_HEARTBEAT_SECONDS": "1",
                                                                      "MILLPOND_WORKER_QUERY_SECONDS": "1"}).ready()
        wait_for(lambda: heartbeats(server, "p"), 20)
        first = heartbeats(server, "p")
        wait_for(lambda: heartbeats(server, "p") != first, 20)
        run = start(server, deployment(server, "p", "d"), shell("echo to be seen; exit 3"))
        end = finish(server, run, 60)
        assert end["state_type"] == "CRASHED" and "3" in end["state"]["message"], end["state"]
        wait_for(lambda: any("to be seen" in entry["message"] for entry in logs(server, run)), 10)
        text = worker.text()
        assert ("the server has no such socket" in text) == (which == "polls"), text[-3000:]
        assert worker.stop() == 0
    finally:
        os.killpg(published.pid, 15)
        try:
            published.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(published.pid, 9)
            published.wait()
