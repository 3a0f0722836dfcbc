"""What the bench starts: servers of both kinds, PostgreSQL, workers; and what /proc says about them.

Everything listens on loopback alone, knows no settings from outside, and is ended by its pid."""
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(**more):
    """Ours without any setting of the caller's."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
    return env | {k: str(v) for k, v in more.items()}


def end(process, seconds=10):
    """SIGTERM, then SIGKILL to what is left of it and of its descendants."""
    if not process or process.poll() is not None:
        return
    family = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for pid in family[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def end_of(folder):
    """Ends what was started for `folder` and outlived its parent, as the supervisors of runs do."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                if words[1:2] == [b"supervise"] and words[2].startswith(os.fsencode(folder) + b"/"):
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, IndexError):
                continue


# ---- /proc ----

def tree(pid):
    """The process and all its descendants that live."""
    children = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for p in found:
        found += children.get(p, [])
    return found


def cpu(pid):
    """Seconds of CPU of a process, all its threads and descendants, those that have ended too."""
    total = 0
    for p in tree(pid):
        try:
            fields = Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(fields[i]) for i in range(11, 15))
    return total / TICKS


def written(pid):
    """Bytes that a process and its descendants have caused to be written to disk."""
    total = 0
    for p in tree(pid):
        try:
            total += int(Path(f"/proc/{p}/io").read_text().split("\nwrite_bytes: ")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total


def memory(pid):
    """{"rss": MB, "pss": MB, "processes": n} of a process and its descendants."""
    rss = pss = count = 0
    for p in tree(pid):
        try:
            status = Path(f"/proc/{p}/status").read_text()
            rollup = Path(f"/proc/{p}/smaps_rollup").read_text()
            rss += int(status.split("VmRSS:")[1].split()[0])
            pss += int(rollup.split("\nPss:")[1].split()[0])
        except (OSError, IndexError):
            continue
        count += 1
    return {"rss": rss / 1024, "pss": pss / 1024, "processes": count}


# ---- servers ----

class Server:
    """A server on a database of its own; `listen_ms` is the time from its spawn to the first 200 on /api/health."""

    def __init__(self, home, *, url, env, command, patience):
        self.home, self.url, self.api_url = Path(home), url, url + "/api"
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = open(self.home / "server.log", "wb")
        begun = time.monotonic()
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log, cwd=self.home)
        self.pid = self.process.pid
        try:
            self._wait(begun, patience)
        except BaseException:
            self.stop()
            raise

    def _wait(self, begun, patience):
        host, port = self.url.removeprefix("http://").split(":")
        request = f"GET /api/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        while True:
            try:
                with socket.create_connection((host, int(port)), timeout=5) as s:
                    s.sendall(request)
                    if s.recv(64).split(b" ")[1:2] == [b"200"]:
                        break
            except OSError:
                pass
            passed = time.monotonic() - begun
            if self.process.poll() is not None or passed > patience:
                raise RuntimeError(f"the server did not start: {(self.home / 'server.log').read_text()[-2000:]}")
            time.sleep(0.0005 if passed < 1 else 0.05)
        self.listen_ms = (time.monotonic() - begun) * 1000

    def api(self, method, path, body=None, patience=90):
        """The answer's JSON; a server that says 503 is asked again, as the published client does."""
        r = urllib.request.Request(self.api_url + path, method=method, headers={"Content-Type": "application/json"},
                                   data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(r, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            if e.code == 503 and patience > 0:
                time.sleep(1)
                return self.api(method, path, body, patience - 1)
            raise RuntimeError(f"{method} {path}: {e.code} {e.read()[:500]!r}") from None
        return json.loads(text) if text else None

    def stop(self):
        end(self.process)
        self.log.close()


def ours(build, home, database=None, managed=True, **env):
    port = free_port()
    command = [str(build / "millpond"), "server", "start", "--host", "127.0.0.1", "--port", str(port), "--managed" if managed else "--no-managed"]
    if database:
        command += ["--database", database]
    return Server(home, url=f"http://127.0.0.1:{port}", command=command, patience=20,
                  env=environment(MILLPOND_HOME=Path(home) / "state", **env))


def reference_environment(home, **more):
    return environment(PREFECT_HOME=Path(home) / "state", DO_NOT_TRACK=1, PREFECT_SERVER_ANALYTICS_ENABLED="false",
                       PREFECT_SERVER_UI_ENABLED="false", NO_COLOR=1, **more)


def reference(peer, home, database=None):
    port = free_port()
    env = reference_environment(home)
    if database:
        env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    return Server(home, url=f"http://127.0.0.1:{port}", patience=120, env=env,
                  command=[str(peer / "bin" / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)])


class Postgres:
    """A throwaway PostgreSQL that keeps its own promise: fsync and synchronous_commit on. `url` is None where there is none."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir()
        done = subprocess.run([str(ROOT / "tests" / "pg.sh"), "start", str(directory)], capture_output=True, text=True,
                              env=environment(PG_TEST_FSYNC="on"))
        self.url = done.stdout.strip().splitlines()[-1] if done.returncode == 0 else None
        self.why = done.stderr.strip()

    def reference_url(self):
        """A second database in it, named the reference's way."""
        subprocess.run(["psql", self.url, "-qc", "CREATE DATABASE reference"], check=True, capture_output=True)
        return "postgresql+asyncpg" + self.url.removeprefix("postgresql").replace("/postgres?", "/reference?")

    def stop(self):
        if self.url:
            subprocess.run([str(ROOT / "tests" / "pg.sh"), "stop", str(self.directory)], capture_output=True)
