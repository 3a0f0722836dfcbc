"""Managed pools: the server runs the flow itself, in a sandbox, in an environment made for it."""
import http.server
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND
from tests.worker.pools import PYTHON, FixedServer, client_deployment, deployment, finish, logs, messages, pool, read, run_dirs, shell, start, states, wait_for

with_client = pytest.mark.skipif(not PYTHON.exists(), reason="left out: the published client is not installed (MILLPOND_PEER)")


def wheel(directory, name, version="1.0", source="VALUE = 42\n"):
    """A package of one module."""
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": source, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    path = Path(directory) / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as z:
        for path_in, text in (files | {f"{info}/RECORD": record}).items():
            z.writestr(path_in, text)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    wheels = tmp_path_factory.mktemp("wheels")
    wheels.chmod(0o755)
    for parent in list(wheels.parents)[:3]:
        parent.chmod(0o755)
    wheel(wheels, "millpondtest")
    s = FixedServer(managed=True, env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)})
    pool(s, "managed", "prefect:managed")
    run = start(s, deployment(s, "managed", "probe"), shell("exit 0"))
    try:
        finish(s, run, 10)
    except AssertionError:
        if "no sandbox can be made here" in s.tail():
            s.stop()
            pytest.skip("left out: " + s.tail().split("no sandbox")[-1].splitlines()[0])
        raise
    yield s
    wait_for(lambda: not run_dirs(s), 30)
    assert s.stop() == 0, s.tail()


def output(server, deployment, script, **variables):
    run = start(server, deployment, shell(script) | variables)
    return finish(server, run), messages(server, run, "millpond.output"), run


def test_pool_is_ready(server):
    assert server.api("GET", "/work_pools/managed")["status"] == "READY"


def test_what_a_run_sees(server):
    d = deployment(server, "managed", "sees")
    done, seen, _ = output(server, d, "id -u; pwd; hostname; ls -A ~ | wc -l; cat /etc/shadow; ls /root | wc -l; ps ax 2>/dev/null | wc -l; "
                                      "touch /usr/x; echo $HOME $PREFECT_API_URL; ls " + server.home + "; exit 3")
    assert done["state_type"] == "CRASHED" and "status code 3." in done["state"]["message"]
    assert seen[:4] == ["1000", "/home/run", "run", "0"]
    assert f"/home/run {server.url}" in seen
    assert any("/etc/shadow" in line and "No such file" in line for line in seen)
    assert any("Read-only file system" in line for line in seen)
    assert any(server.home in line and "No such file" in line for line in seen), "the server's own files"


def left_behind(server, runs):
    """What a run could leave on the machine: control groups, mounts, processes, folders."""
    groups = [str(p) for tree in Path("/sys/fs/cgroup").glob("**/millpond/*") if (p := tree).is_dir() and p.name[:36] in runs]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/scratch" in line or server.home in line]
    processes = []
    for p in Path("/proc").iterdir():
        try:
            if p.name.isdigit() and f"MILLPOND_TEST_MARK={server.port}".encode() in (p / "environ").read_bytes().split(b"\0"):
                processes.append(p.name)
        except OSError:
            pass
    return groups, mounts, processes, run_dirs(server), list(Path(server.home, "claims").glob("*/*"))


def test_nothing_is_left_behind(server):
    d = deployment(server, "managed", "tidy", job_variables={"env": {"MILLPOND_TEST_MARK": str(server.port)}})
    script = "(setsid sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done' &) ; head -c 10M /dev/zero > ~/x; mkdir -p /tmp/a/b; echo up; "
    ends = [start(server, d, shell(script + end)) for end in ("exit 1", "kill -9 $$", "exec sleep 100", "exec sleep 100", "exec sleep 100")]
    for run in ends[2:]:
        wait_for(lambda run=run: messages(server, run, "millpond.output"))
    server.api("POST", f"/flow_runs/{ends[2]}/set_state", {"state": {"type": "CANCELLING"}})
    os.kill(int(read(server, ends[3])["infrastructure_pid"].rpartition(":")[2]), 9)  # its supervisor
    os.kill(int(read(server, ends[4])["infrastructure_pid"].rpartition(":")[2]), 15)
    for run in ends:
        finish(server, run)
    try:
        wait_for(lambda: not any(left_behind(server, ends)), 20)
    except AssertionError:
        assert left_behind(server, ends) == ([], [], [], [], [])


@pytest.mark.parametrize("steps", [[{"prefect.deployments.steps.set_working_directory": {"directory": "/home/me/project"}}],
                                   [{"prefect.deployments.steps.git_clone": {"repository": "/home/me/project"}}],
                                   [{"prefect.deployments.steps.git_clone": {"repository": "file:///tmp/project", "branch": "main"}}]])
def test_code_in_a_folder_of_the_machine(server, steps):
    """It is said at once what to do, not by what breaks in the sandbox."""
    run = start(server, deployment(server, "managed", "folder", pull_steps=steps))
    done = finish(server, run, 20)
    assert done["state_type"] == "CRASHED" and "a folder that no sandbox shows" in done["state"]["message"]
    assert any("https or ssh" in line and "start the run again" in line for line in messages(server, run, "millpond.worker"))


@pytest.mark.parametrize("steps", [[{"prefect.deployments.steps.git_clone": {"repository": "https://example.com/a.git"}}],
                                   [{"prefect.deployments.steps.set_working_directory": {"directory": "/usr/share"}}],
                                   [{"prefect.deployments.steps.run_shell_script": {"script": "true"}},
                                    {"prefect.deployments.steps.set_working_directory": {"directory": "/tmp/a"}}], [{}]])
def test_code_that_a_run_may_have(server, steps):
    run = start(server, deployment(server, "managed", "folder", pull_steps=steps), shell("echo begun"))
    finish(server, run, 20)
    assert messages(server, run, "millpond.output") == ["begun"]


def test_limits(server):
    d = deployment(server, "managed", "limits")
    done, _, _ = output(server, d, "sleep 100", timeout=1)
    assert (done["state_type"], done["state_name"]) == ("FAILED", "TimedOut") and "1 seconds" in done["state"]["message"]
    done, seen, _ = output(server, d, "head -c 100M /dev/zero > /tmp/x; stat -c %s /tmp/x", disk=16)
    assert seen[-1] == str(16 << 20) and "No space left" in seen[0]
    done, seen, _ = output(server, d, "head -c 100M /dev/zero > ~/x; stat -c %s ~/x", disk=16)
    assert seen[-1] == str(16 << 20), "the work folder counts"
    done, seen, _ = output(server, d, "python -c 'import time\nb, e = time.process_time(), time.monotonic() + 2\nwhile time.monotonic() < e: pass\n"
                                      "print(time.process_time() - b < 1.2)'", cpu=0.5)
    assert seen == ["True"] or "for CPU" in str(messages(server, done["id"]))
    done, seen, _ = output(server, d, "for i in $(seq 200); do sleep 5 & done; echo started", pids=32)
    assert done["state_type"] == "CRASHED" and any("fork" in line for line in seen)
    done, _, run = output(server, d, "exec python -c \"x = bytearray(600 << 20)\"", memory=128)
    assert done["state_type"] == "CRASHED"
    assert "more memory than its limit of 128 MiB" in done["state"]["message"] or "status code 1." in done["state"]["message"]


@pytest.mark.parametrize("variables, text", [
    ({"image": "ubuntu:24.04"}, "prefecthq/prefect images only"),
    ({"pip_packages": ["--index-url=http://example.com"]}, "is no requirement"),
    ({"pip_packages": ["a --no-deps"]}, "has an option"),
    ({"python_version": "3.99"}, "Python 3.99 is not installed"),
    ({"working_dir": "x"}, "not an absolute path"),
    ({"federated_identity": {"kind": "aws", "aws_role_arn": "arn:x"}}, "federated_identity"),
])
def test_refused(server, variables, text):
    d = deployment(server, "managed", "refused")
    done = finish(server, start(server, d, variables))
    assert done["state_type"] == "CRASHED" and text in done["state"]["message"]
    assert "Failed to submit flow run to infrastructure" in done["state"]["message"] and not done["infrastructure_pid"]
    (line,) = [e["message"] for e in logs(server, done["id"]) if e["level"] == 40]
    assert text in line and "start the run again" in line


def test_a_field_closed_after_the_deployment_was_made(server):
    pool(server, "narrowed", "prefect:managed")
    d = deployment(server, "narrowed", "narrowed", job_variables={"disk": 100})
    server.api("PATCH", "/work_pools/narrowed", {"is_paused": True})
    run = start(server, d)
    template = server.api("GET", "/work_pools/narrowed")["base_job_template"]
    del template["variables"]["properties"]["disk"], template["job_configuration"]["disk"]
    server.api("PATCH", "/work_pools/narrowed", {"base_job_template": template, "is_paused": False})
    done = finish(server, run)
    assert done["state_type"] == "CRASHED" and "opens no field 'disk'" in done["state"]["message"]
    assert any("opens no field 'disk'" in m for m in messages(server, run, "millpond.worker"))


def test_as_a_plain_user(tmp_path_factory):
    """The whole server without a right: user namespaces do it all, but for the limits that only control groups can set."""
    if os.geteuid():
        pytest.skip("left out: not root, and so every test here was a plain user's")
    home = Path(tempfile.mkdtemp(prefix="millpond-plain-"))
    binary = home / "millpond"
    shutil.copy(MILLPOND, binary)
    for p in (home, binary):
        p.chmod(0o755)
        os.chown(p, 65534, 65534)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", home / "environment"], check=True)
    s = FixedServer(managed=True, home=str(home), env={"MILLPOND_MANAGED_PYTHON": str(home / "environment/bin/python")}, prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(binary)])
    try:
        pool(s, "managed", "prefect:managed")
        d = deployment(s, "managed", "plain")
        done, seen, _ = output(s, d, f"id -u; ls -A {home}; cat {home}/*.db; touch /usr/x; head -c 100M /dev/zero > /tmp/x; stat -c %s /tmp/x; "
                                     "python3 -c 'import os, socket, urllib.request as u\n"
                                     "print(u.urlopen(os.environ[\"PREFECT_API_URL\"] + \"/health\").status)\n"
                                     "s = socket.socket(); print(s.connect_ex((\"169.254.169.254\", 80)))'; exit 3", disk=16)
        assert "status code 3" in done["state"]["message"], done["state"]
        assert seen[0] == "1000" and "200" in seen and "13" in seen and str(16 << 20) in seen, seen
        assert any("/x" in line and "Read-only" in line for line in seen) and any(".db" in line and "No such file" in line for line in seen)
        done, _, _ = output(s, d, "exec python3 -c 'x = bytearray(600 << 20)'", memory=128)
        assert done["state_type"] == "CRASHED"
        wait_for(lambda: not run_dirs(s))
    finally:
        assert s.stop() == 0, s.tail()
        shutil.rmtree(home)


def test_networks(server):
    d = deployment(server, "managed", "networks")
    ask = ("python - <<E\nimport urllib.request as u, os, socket\n"
           "def get(url):\n  try: return u.urlopen(url, timeout=5).status\n  except Exception as e: return type(e).__name__ + str(getattr(e, 'code', ''))\n"
           "print('api', get(os.environ['PREFECT_API_URL'] + '/health'))\n"
           "print('other', get('http://127.0.0.1:%d/'))\nprint('proxied', get('http://allowed.test:%d/'), get('http://denied.test/'))\n"
           "import errno\ndef code(s, a): return errno.errorcode.get(s.connect_ex(a), 'connected')\n"
           "print('metadata', code(socket.socket(), ('169.254.169.254', 80)))\n"
           "print('abstract', code(socket.socket(socket.AF_UNIX), '\\0millpond-test-%d'))\nE\nexit 1")
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *a):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    port = other.server_address[1]
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0millpond-test-{port}")
    abstract.listen()
    ask = ask % (port, port, port)
    _, seen, _ = output(server, d, ask, network="open")
    assert "api 200" in seen and "other 200" in seen and "metadata EACCES" in seen and "abstract ECONNREFUSED" in seen
    _, seen, _ = output(server, d, ask, network="none")
    assert seen == ["api 200", "other URLError", "proxied URLError URLError", "metadata ENETUNREACH", "abstract ECONNREFUSED"]
    # A name of the list is connected to (and not found: it is no name), others are refused by the proxy itself.
    _, seen, _ = output(server, d, ask, network="allow", network_allow=[f"allowed.test:{port}"])
    assert seen == ["api 200", "other URLError", "proxied HTTPError502 HTTPError403", "metadata EACCES", "abstract ECONNREFUSED"]
    _, seen, _ = output(server, d, ask, network="allow", network_allow=[f"127.0.0.1:{port}"])
    assert seen[:2] == ["api 200", "other 200"]
    abstract.close()
    other.shutdown()


def test_cancel(server):
    d = deployment(server, "managed", "cancel")
    run = start(server, d, shell("trap '' TERM; echo up; while :; do sleep 0.1; done") | {"timeout": 600})
    wait_for(lambda: messages(server, run, "millpond.output"))
    quick = start(server, d, shell("echo up; exec sleep 100"))
    wait_for(lambda: messages(server, quick, "millpond.output"))
    server.api("POST", f"/flow_runs/{quick}/set_state", {"state": {"type": "CANCELLING"}})
    began = time.monotonic()
    assert finish(server, quick)["state_type"] == "CANCELLED" and time.monotonic() - began < 5
    # One that will not listen, by its supervisor's death: the whole sandbox goes with it.
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    os.kill(int(read(server, run)["infrastructure_pid"].rpartition(":")[2]), 9)
    assert finish(server, run)["state_type"] == "CANCELLED"


def test_server_killed_and_back(server):
    d = deployment(server, "managed", "back")
    runs = [start(server, d, shell("echo up; sleep 1; exit 5")) for _ in range(4)]
    for run in runs:
        wait_for(lambda run=run: messages(server, run, "millpond.output"))
    server.kill()
    time.sleep(0.3)
    server.start()
    for run in runs:
        assert "status code 5" in finish(server, run)["state"]["message"]
        assert states(server, run) == ["SCHEDULED", "PENDING", "CRASHED"]
    run = start(server, d, shell("exit 6"))
    assert "status code 6" in finish(server, run)["state"]["message"], "the new server's worker runs what comes"


@with_client
def test_environment_is_built_once(server):
    d = deployment(server, "managed", "packages", job_variables={"pip_packages": ["millpondtest"]})
    runs = [start(server, d, {"command": "python -c \"import millpondtest; print(millpondtest.VALUE)\""}) for _ in range(10)]
    for run in runs:
        finish(server, run, 90)
    built = [r for r in runs if any("Building an environment: millpondtest" in m for m in messages(server, r))]
    assert len(built) == 1
    assert any("Installing millpondtest" in m for m in messages(server, built[0], "millpond.environment"))
    for run in runs:
        assert messages(server, run, "millpond.output") == ["42"], messages(server, run)
    # another run finds it ready
    run = start(server, d, {"command": "python -c \"import millpondtest; print(millpondtest.VALUE)\""})
    began = time.monotonic()
    finish(server, run)
    assert time.monotonic() - began < 5 and not messages(server, run, "millpond.environment")


@with_client
def test_environment_that_cannot_be_built(server):
    d = deployment(server, "managed", "impossible")
    run = start(server, d, {"pip_packages": ["no-such-package-here"]})
    done = finish(server, run, 60)
    assert done["state_type"] == "CRASHED"
    assert "No matching distribution found for no-such-package-here" in done["state"]["message"]


@with_client
def test_client(server):
    d = client_deployment(server, "managed", "client")
    run = start(server, d)
    done = finish(server, run)
    assert done["state_type"] == "COMPLETED", messages(server, run)
    assert states(server, run) == ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]
    wait_for(lambda: any("The process ended" in m for m in messages(server, run)))
    assert [m.split()[0] for m in messages(server, run, "millpond.output") if "printed" in m] == ["printed"]
    assert [m for m in messages(server, run) if "logged by the flow" in m] == ["logged by the flow"], "once"
    run = start(server, d, {"network": "none"}, parameters={"seconds": 100})
    wait_for(lambda: any("printed" in m for m in messages(server, run)), 30)
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert finish(server, run)["state_type"] == "CANCELLED"
    assert "CRASHED" not in states(server, run), "the engine was told through the closed network, too"


def spares(server):
    found = set()
    for p in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = p.read_bytes().split(b"\0")
        except OSError:
            continue
        pid = int(p.parent.name)
        try: # the sandbox's init is a fork of it: the same words, but no leader of a session
            if b"--spare" in words and server.home.encode() in words and os.getsid(pid) == pid:
                found.add(pid)
        except ProcessLookupError:
            pass
    return found


@with_client
def test_warm(server):
    """A run is followed by a spare sandbox, in which the next one starts; nothing of the one is in the other."""
    d = client_deployment(server, "managed", "warm")
    for _ in range(10):
        before = spares(server)
        run = start(server, d, {"memory": 900, "env": {"ONLY_HERE": "1"}}, parameters={"seconds": 0.3})
        done = finish(server, run)
        assert done["state_type"] == "COMPLETED", messages(server, run)
        served = int(done["infrastructure_pid"].rpartition(":")[2])
        if served in before:
            break
        time.sleep(3)
    assert served in before, server.tail()
    assert [m.split()[0] for m in messages(server, run, "millpond.output")] == ["printed"]
    # What must be known before Python starts is for a sandbox of its own.
    run = start(server, d, {"env": {"PYTHONHASHSEED": "1"}})
    done = finish(server, run)
    assert done["state_type"] == "COMPLETED"
    assert int(done["infrastructure_pid"].rpartition(":")[2]) not in spares(server)
    server.stop()
    wait_for(lambda: not spares(server))
    server.start()


def test_server_that_speaks_tls(server, tmp_path):
    """Its managed runs need not trust its certificate, nor does that bear the loopback's name; a run outlives a kill of the server."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=flows.example"], check=True, capture_output=True)
    s = FixedServer(managed=True, env={"MILLPOND_SERVER_TLS_CERT_FILE": str(cert), "MILLPOND_SERVER_TLS_KEY_FILE": str(key)})

    def by_the_local_door():
        port = Path(s.home, "local-port").read_text().strip()
        s.root = f"http://127.0.0.1:{port}"
        s.url = s.root + "/api"
        return port
    port = by_the_local_door()
    pool(s, "managed", "prefect:managed")
    d = deployment(s, "managed", "d")
    assert finish(s, start(s, d, shell("echo $PREFECT_API_URL")), 20)
    run = start(s, d, shell("echo begun; sleep 4; echo ended"))
    wait_for(lambda: "begun" in messages(s, run, "millpond.output"))
    s.kill()
    s.start()
    assert by_the_local_door() == port
    finish(s, run, 20)
    assert messages(s, run, "millpond.output") == ["begun", "ended"]
    wait_for(lambda: not run_dirs(s), 20)
    assert s.stop() == 0, s.tail()
