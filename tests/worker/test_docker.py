"""The docker pool against an Engine of the test's own (dockerd, as root, without a network bridge), and against one that only listens."""
import base64
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.worker.pools import FixedServer, Worker, deployment, finish, messages, pool, read, start, wait_for

IMAGE = "millpond-test/shell:1"


def image_of_this_machine(directory):
    """A shell and a few commands, with their libraries, as a tar file."""
    root = Path(directory) / "root"
    for command in ("sh", "sleep", "cat", "head", "tr", "env"):
        path = Path(shutil.which(command)).resolve()
        libraries = [w for line in subprocess.run(["ldd", path], capture_output=True, text=True).stdout.splitlines() for w in line.split() if w.startswith("/")]
        for source, target in [(path, root / "bin" / command)] + [(Path(p), root / p.lstrip("/")) for p in libraries]:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755)
    subprocess.run(["tar", "-C", root, "-cf", f"{directory}/image.tar", "."], check=True)
    return f"{directory}/image.tar"


@pytest.fixture(scope="module")
def engine():
    if not shutil.which("dockerd") or os.geteuid() != 0:
        pytest.skip("left out: no dockerd, or not root")
    d = tempfile.mkdtemp(prefix="mpd-", dir="/tmp")
    log = open(f"{d}/log", "wb")
    daemon = subprocess.Popen(["dockerd", "-H", f"unix://{d}/s", "--data-root", f"{d}/data", "--exec-root", f"{d}/exec", "-p", f"{d}/pid",
                               "--iptables=false", "--bridge=none"], stdout=log, stderr=log, start_new_session=True)

    def ask(method, path, *more):
        r = subprocess.run(["curl", "-s", "-X", method, "--unix-socket", f"{d}/s", *more, f"http://engine{path}"], capture_output=True, text=True)
        try:
            return json.loads(r.stdout) if r.stdout.strip() else None
        except ValueError:
            return r.stdout
    try:
        try:
            wait_for(lambda: ask("GET", "/_ping") == "OK" or daemon.poll() is not None, 30)
        except AssertionError:
            pass
        if ask("GET", "/_ping") != "OK":
            pytest.skip(f"left out: dockerd does not start here: {Path(d, 'log').read_text()[-300:]}")
        ask("POST", "/images/create?fromSrc=-&repo=millpond-test/shell&tag=1", "--data-binary", f"@{image_of_this_machine(d)}", "-H", "Content-Type: application/x-tar")
        ask.address = f"unix://{d}/s"
        yield ask
        for c in ask("GET", "/containers/json?all=1"):
            ask("DELETE", f"/containers/{c['Id']}?force=1")
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(d, ignore_errors=True)


@pytest.fixture(scope="module")
def server():
    s = FixedServer()
    pool(s, "d", "docker")
    yield s
    assert s.stop() == 0, s.tail()


@pytest.fixture(scope="module")
def worker(server, engine):
    w = Worker(server, "--pool", "d", env={"DOCKER_HOST": engine.address}).ready()
    yield w
    assert w.stop() == 0, w.text()


def run(server, script, **variables):
    """A run of the script in a container."""
    d = deployment(server, "d", f"d-{time.monotonic_ns()}", job_variables={
        "image": IMAGE, "image_pull_policy": "Never", "network_mode": "host", "command": "/bin/sh -c '" + script.replace("'", "'\\''") + "'"} | variables)
    return start(server, d)


def containers(engine, run):
    label = json.dumps({"label": [f"prefect.io/flow-run-id={run}"]})
    return engine("GET", "/containers/json?all=1&filters=" + __import__("urllib.parse").parse.quote(label))


def test_a_run(server, engine, worker):
    with tempfile.TemporaryDirectory() as d:
        Path(d, "in").write_text("from outside")
        one = run(server, 'echo out; echo err >&2; env; cat /data/in; exit 3', env={"OWN": "x y"}, labels={"mine": "1"}, volumes=[f"{d}:/data:ro"],
                  mem_limit="64m", container_create_kwargs={"hostname": "inside", "pids_limit": 50})
        end = finish(server, one)
    assert end["state_type"] == "CRASHED" and "status code 3" in end["state"]["message"], end["state"]
    said = messages(server, one)
    for text in ("out", "err", "OWN=x y", "HOSTNAME=inside", f"PREFECT__FLOW_RUN_ID={one}", f"PREFECT_API_URL={server.url}", "from outside"):
        assert any(text in m for m in said), (text, said)
    kept = containers(engine, one)
    assert len(kept) == 1 and kept[0]["State"] == "exited" and kept[0]["Labels"]["mine"] == "1" and kept[0]["Labels"]["prefect.io/work-pool-name"] == "d"
    assert kept[0]["Names"] == ["/" + read(server, one)["name"]]
    limits = engine("GET", f"/containers/{kept[0]['Id']}/json")["HostConfig"]
    assert (limits["Memory"], limits["PidsLimit"], limits["NetworkMode"]) == (64 << 20, 50, "host")


def test_much_output_and_removal(server, engine, worker):
    one = run(server, "head -c 3000000 /dev/zero | tr '\\\\0' 'x'; echo; echo the last line", auto_remove=True)
    assert finish(server, one)["state_type"] in ("CRASHED", "COMPLETED", "PENDING")
    wait_for(lambda: any("the last line" in m for m in messages(server, one)), 20)
    wait_for(lambda: not containers(engine, one))


def test_names_that_are_taken(server, engine, worker):
    runs = [run(server, "exit 3", name="same name!") for _ in range(3)]
    for one in runs:
        finish(server, one)
    assert sorted(containers(engine, one)[0]["Names"][0] for one in runs) == ["/same-name-", "/same-name--1", "/same-name--2"]


@pytest.mark.parametrize("variables, text", [
    ({"image": "millpond-test/none:1"}, "No such image"),
    ({"volumes": ["nowhere"]}, "is not of the form"),
    ({"mem_limit": "much"}, "is no size"),
    ({"networks": ["no-such-network"], "network_mode": None}, "no-such-network"),
    ({"container_create_kwargs": {"nonsense": 1}}, "'nonsense' is not taken here"),
    ({"command": "/no/such/program"}, "no such file"),
])
def test_what_fails_is_said(server, engine, worker, variables, text):
    one = run(server, "true", **variables)
    assert finish(server, one)["state_type"] == "CRASHED"
    wait_for(lambda: any(text in m for m in messages(server, one)), 10)


def cancel(server, one):
    server.api("POST", f"/flow_runs/{one}/set_state", {"state": {"type": "RUNNING"}})
    server.api("POST", f"/flow_runs/{one}/set_state", {"state": {"type": "CANCELLING"}})


def test_cancel(server, engine, worker):
    one = run(server, "trap 'echo told to stop; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    wait_for(lambda: any("up" == m for m in messages(server, one)))
    cancel(server, one)
    assert finish(server, one)["state_type"] == "CANCELLED"
    assert "told to stop" in messages(server, one)
    assert containers(engine, one)[0]["State"] == "exited"


def test_a_container_outlives_worker_and_supervisor(server, engine):
    w = Worker(server, "--pool", "d", env={"DOCKER_HOST": engine.address}).ready()
    go = tempfile.mkdtemp(prefix="mpd-")
    one = run(server, "echo up; until cat /go/on; do sleep 0.2; done 2>/dev/null; echo went on; exit 5", volumes=[f"{go}:/go"])
    wait_for(lambda: any("up" == m for m in messages(server, one)))
    supervisor = int(read(server, one)["infrastructure_pid"].split(":")[1])
    w.kill()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{supervisor}").exists() or "Z" in Path(f"/proc/{supervisor}/stat").read_text().split(")")[1][:3])
    time.sleep(11)  # a directory so young may be another worker's
    w = Worker(server, "--pool", "d", env={"DOCKER_HOST": engine.address}).ready()
    time.sleep(1)
    Path(go, "on").write_text("now\n")
    end = finish(server, one)
    assert end["state_type"] == "CRASHED" and "status code 5" in end["state"]["message"], end["state"]
    assert "went on" in messages(server, one)
    assert len(containers(engine, one)) == 1, "it was not made a second time"
    assert w.stop() == 0


def test_an_engine_that_is_not_there(server):
    w = Worker(server, "--pool", "d", env={"DOCKER_HOST": "unix:///nonexistent/s"})
    assert w.process.wait(20) != 0
    assert "the container engine at unix:///nonexistent/s does not answer" in w.text()
    w = Worker(server, "--pool", "d", env={"DOCKER_HOST": "ssh://far"})
    assert w.process.wait(20) != 0 and "is no address that is served here" in w.text()


def test_registry_credentials(server):
    """An Engine that refuses every pull, and remembers who asked."""
    seen = []

    class Engine(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(200, b"[]" if "containers" in self.path else b'"OK"')

        def do_POST(self):
            seen.append((self.path, self.headers.get("X-Registry-Auth")))
            self.answer(200, b'{"status":"Pulling"}\r\n{"errorDetail":{},"error":"pull access denied"}\r\n')

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    fake = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    pool(server, "far", "docker")
    w = Worker(server, "--pool", "far", env={"DOCKER_HOST": f"tcp://127.0.0.1:{fake.server_port}"}).ready()
    try:
        kind = server.api("GET", "/block_types/slug/docker-registry-credentials")
        schema = server.api("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
        block = server.api("POST", "/block_documents/", {"name": "reg", "block_type_id": kind["id"], "block_schema_id": schema["id"],
                                                         "data": {"username": "u", "password": "p?>~", "registry_url": "reg.example"}})
        one = start(server, deployment(server, "far", "d", job_variables={"image": "reg.example:5000/team/flow:7", "image_pull_policy": "Always",
                                                                          "registry_credentials": {"$ref": {"block_document_id": block["id"]}}}))
        assert finish(server, one)["state_type"] == "CRASHED"
        assert any("pull access denied" in m for m in messages(server, one)), messages(server, one)
        path, auth = seen[0]
        assert path == "/images/create?fromImage=reg.example%3A5000%2Fteam%2Fflow&tag=7"
        assert json.loads(base64.urlsafe_b64decode(auth)) == {"username": "u", "password": "p?>~", "serveraddress": "reg.example"}
    finally:
        assert w.stop() == 0
        fake.shutdown()


def test_a_managed_pools_own_image(engine):
    """Where an Engine is; where none is it says so."""
    script = {"command": "/bin/sh -c 'echo in the image; exit 4'", "image": IMAGE, "memory": 64}
    for address in (engine.address, "unix:///nonexistent/s"):
        server = FixedServer(managed=True, env={"DOCKER_HOST": address})
        try:
            server.api("POST", "/work_pools/", {"name": "m", "type": "prefect:managed"})
            one = start(server, deployment(server, "m", "d", job_variables=script))
            end = finish(server, one)
            if address == engine.address:
                assert end["state_type"] == "CRASHED" and "status code 4" in end["state"]["message"], end["state"]
                assert "in the image" in messages(server, one)
                wait_for(lambda: not containers(engine, one))
            else:
                assert "needs a container engine on the server's machine" in end["state"]["message"], end["state"]
        finally:
            assert server.stop() == 0
