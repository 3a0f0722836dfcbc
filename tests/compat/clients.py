"""The published clients as processes: scripts of flows/, and their command line."""
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.api.conftest import wait_for

FLOWS = Path(__file__).parent / "flows"
PEER = Path(os.environ["MILLPOND_PEER"]) / "bin" if os.environ.get("MILLPOND_PEER") else Path(sys.executable).parent
OLD_PEER = Path(os.environ.get("MILLPOND_PEER_2", "/nowhere")) / "bin"
PEERS = {"3.8.8": PEER, "2.19.9": OLD_PEER}
OLD_SETTINGS = {"PREFECT_EXPERIMENTAL_EVENTS": "true", "PREFECT_EXPERIMENTAL_ENABLE_TASK_SCHEDULING": "true"}  # without them it has neither


class Program:
    """A client process; its output is in files, so that nobody has to read it for it to go on."""

    def __init__(self, server, *words, peer=PEER, home=None, **env):
        self.home = home or tempfile.mkdtemp(prefix="millpond-client-")
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
        self.env = keep | {"PREFECT_API_URL": server.url, "MILLPOND_API_URL": server.url, "PREFECT_HOME": self.home, "MILLPOND_HOME": self.home,
                           "DO_NOT_TRACK": "1", "NO_COLOR": "1", "COLUMNS": "240", "PYTHONUNBUFFERED": "1", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
                           "PATH": f"{peer}:{os.environ['PATH']}"} | (OLD_SETTINGS if peer == OLD_PEER else {}) | env
        files = tempfile.mkdtemp(prefix="millpond-output-")
        self.out, self.err = (Path(files) / name for name in ("out", "err"))
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen([str(w) for w in words], env=self.env, cwd=self.home, stdin=subprocess.PIPE, stdout=out, stderr=err)

    def end(self, expect=0, seconds=150):
        """Its output, once it has ended as expected."""
        rc = self.process.wait(seconds)
        assert expect is None or rc == expect, f"{self.process.args}: {rc}\n{self.text()[-4000:]}"
        return self.out.read_text()

    def said(self):
        """The last line that it printed, read as JSON, once it has ended well."""
        return json.loads(self.end().splitlines()[-1])

    def text(self):
        return self.out.read_text() + self.err.read_text()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def script(server, name, *words, **more):
    return Program(server, more.get("peer", PEER) / "python", FLOWS / f"{name}.py", *words, **more)


class Commands(Program):
    """Its command line: one process for many commands."""

    def __init__(self, server, peer=PEER, **env):
        super().__init__(server, peer / "python", FLOWS / "commands.py", peer=peer, **env)
        self.seen = 0

    def __call__(self, *words, expect=0):
        """What it prints. `expect` 1: it refuses, by its own reading of the words (2) or by what it was answered (1)."""
        self.process.stdin.write(json.dumps([str(w) for w in words]).encode() + b"\n")
        self.process.stdin.flush()

        def answered():
            assert self.process.poll() is None, self.text()[-3000:]
            lines = self.out.read_text().split("\n")[:-1]
            return len(lines) > self.seen and lines
        answer = json.loads(wait_for(answered, seconds=60)[self.seen])
        self.seen += 1
        assert answer["rc"] in ((1, 2) if expect == 1 else (expect,)), (words, answer)
        return answer["out"]


# ---- what the server then holds ----

def run_of(server, id):
    return server.api("GET", f"/flow_runs/{id}")


def states_of(server, id):
    return [s["name"] for s in server.api("GET", f"/flow_run_states/?flow_run_id={id}")]


def task_states_of(server, id):
    return [s["name"] for s in server.api("GET", f"/task_run_states/?task_run_id={id}")]


def logs_of(server, id):
    return [r["message"] for r in server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [id]}}, "sort": "TIMESTAMP_ASC"})]


def task_runs_of(server, id):
    return server.api("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [id]}}})


def newest(server, flow):
    runs = server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1})
    return runs and runs[0]
