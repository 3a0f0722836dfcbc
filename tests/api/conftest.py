"""A server for each kind of database, fresh for each module.

`server.url` is the API's base, `server.api(method, path, body)` one call. PostgreSQL runs in a throwaway cluster;
where it is not installed its tests are left out, and say so."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.api.openapi import Document

ROOT = Path(__file__).resolve().parents[2]
MILLPOND = os.environ.get("MILLPOND", str(ROOT / "build" / "millpond"))


def wait_for(condition, seconds=20, every=0.02):
    """The first true value of condition(); fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(every)


class Server:
    def __init__(self, database=None, *args, home=None, env=None, own_key=False):
        self.home = home or tempfile.mkdtemp(prefix="millpond-test-")
        self.database = database
        self.args = args
        self.extra_env = env or {}
        if database and not own_key:  # modules share a PostgreSQL database, each with a home of its own
            self.extra_env = {"MILLPOND_SEAL_KEY": "5a" * 32} | self.extra_env
        self.process = None
        self.description = None
        self.start()

    def start(self):
        command = [MILLPOND, "server", "start", "--port", "0"]
        if self.database:
            command += ["--database", self.database]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
        env |= {"MILLPOND_HOME": self.home, "PREFECT_HOME": self.home} | self.extra_env  # no profile of whoever runs this
        self.log = open(Path(self.home) / "server.log", "ab")
        self.process = subprocess.Popen(command + list(self.args), env=env, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert "http" in line, f"the server did not start: {line!r} {self.tail()}"
        self.root = line.split("listens on ")[1].split()[0]
        self.url = self.root + "/api"

    def tail(self):
        return (Path(self.home) / "server.log").read_text()[-3000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)
        return self.process.returncode

    def request(self, method, path, body=None, headers=None, raw=None):
        """(status, headers, bytes); every answer is looked at: it must be what /openapi.json says."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        r = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json"} | (headers or {}))
        try:
            with urllib.request.urlopen(r, timeout=30) as answer:
                status, headers_back, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as e:
            status, headers_back, text = e.code, e.headers, e.read()
        if not self.description and status < 400:
            access = {k: v for k, v in (headers or {}).items() if k == "Authorization"}
            with urllib.request.urlopen(urllib.request.Request(self.root + "/openapi.json", headers=access), timeout=30) as answer:
                self.description = Document(answer.read())
        faults = self.description.check_answer(method, path, status, text) if self.description else []
        assert not faults, f"{method} {path}: not as /openapi.json says: {faults[:5]}"
        return status, headers_back, text

    def api(self, method, path, body=None, expect=None):
        """The answer's JSON; `expect` a status, else any below 400."""
        status, _, text = self.request(method, path, body)
        assert status == expect if expect else status < 400, f"{method} {path}: {status} {text[:600]!r}"
        return json.loads(text) if text else None


@pytest.fixture(scope="session")
def postgres():
    directory = tempfile.mkdtemp(prefix="millpond-pg-")
    started = subprocess.run([str(ROOT / "tests" / "pg.sh"), "start", directory], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"left out: PostgreSQL ({started.stderr.strip() or started.stdout.strip()})")
    yield started.stdout.strip().splitlines()[-1]
    subprocess.run([str(ROOT / "tests" / "pg.sh"), "stop", directory])


def _clear(url):
    subprocess.run(["psql", url, "-qc", "DROP SCHEMA IF EXISTS millpond CASCADE; DROP SCHEMA IF EXISTS millpond_telemetry CASCADE"],
                   check=True, capture_output=True)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request):
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres")
        _clear(database)
    s = Server(database, env={"MILLPOND_SERVER_MANAGED": "false"})
    yield s
    assert s.stop() == 0, s.tail()
