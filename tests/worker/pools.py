"""What the tests of workers share: a server on a port of its own, deployments that need no client, runs to their end."""
import base64
import os
import socket
import subprocess
import time
from pathlib import Path

from tests.api.conftest import MILLPOND, Server, wait_for

PEER = Path(os.environ.get("MILLPOND_PEER", "/nonexistent"))
PYTHON = PEER / "bin" / "python"
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class FixedServer(Server):
    """Comes back at the same address after a kill."""

    def __init__(self, managed=False, env=None, home=None, prefix=None, database=None):
        self.port = free_port()
        self.command = prefix or [MILLPOND]
        super().__init__(database, home=home, env={"MILLPOND_SERVER_MANAGED": str(managed).lower(), "MILLPOND_SERVER_API_PORT": str(self.port)}
                         | ({"MILLPOND_MANAGED_PYTHON": str(PYTHON)} if PYTHON.exists() else {}) | (env or {}))

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
        env |= {"MILLPOND_HOME": self.home} | self.extra_env
        self.log = open(Path(self.home) / "server.log", "ab")
        self.process = subprocess.Popen(self.command + ["server", "start", "--port", str(self.port)] + (["--database", self.database] if self.database else []), env=env, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert "http" in line, f"the server did not start: {line!r} {self.tail()}"
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = self.root + "/api"


class Worker:
    def __init__(self, server, *args, env=None):
        self.server = server
        e = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
        e |= {"MILLPOND_HOME": server.home, "MILLPOND_API_URL": server.url, "NO_COLOR": "1"} | (env or {})
        if PYTHON.exists():
            e["MILLPOND_PYTHON"] = str(PYTHON)
        self.path = Path(server.home) / f"worker-{time.monotonic_ns()}.log"
        self.process = subprocess.Popen([MILLPOND, "worker", "start", *args], env=e, stdout=open(self.path, "wb"), stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL)

    def ready(self):
        wait_for(lambda: "ready" in self.text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()
        return self

    def text(self):
        return self.path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        return self.process.returncode


def pool(server, name, type="process"):
    all_types = server.api("GET", "/collections/views/aggregate-worker-metadata")
    template = next(r["default_base_job_configuration"] for p in all_types.values() for r in p.values() if r["type"] == type)
    server.api("POST", "/work_pools/", {"name": name, "type": type, "base_job_template": template})


def deployment(server, pool, name, flow="f", **more):
    f = server.api("POST", "/flows/", {"name": flow})
    return server.api("POST", "/deployments/", {"name": name, "flow_id": f["id"], "work_pool_name": pool, "enforce_parameter_schema": False} | more)


def shell(script):
    return {"command": "/bin/sh -c '" + script.replace("'", "'\\''") + "'"}


def start(server, deployment, variables=None, **more):
    body = {"state": {"type": "SCHEDULED"}} | more
    if variables:
        body["job_variables"] = variables
    return server.api("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"]


def read(server, run):
    return server.api("GET", f"/flow_runs/{run}")


def finish(server, run, seconds=60):
    return wait_for(lambda: (r := read(server, run)) and r["state_type"] in FINAL and r, seconds, every=0.1)


def logs(server, run):
    return server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200})


def messages(server, run, logger=None):
    return [entry["message"] for entry in logs(server, run) if logger is None or entry["name"] == logger]


def run_dirs(server):
    path = Path(server.home) / "runs"
    return sorted(p.name for p in path.iterdir()) if path.exists() else []


def states(server, run):
    return [s["type"] for s in server.api("GET", f"/flow_run_states/?flow_run_id={run}")]


# A flow that is written where it runs, so that no repository is needed.
SOURCE = '''
import os, time
from prefect import flow, get_run_logger

@flow
def hello(mode="ok", seconds=0.0):
    print("printed", os.getpid(), flush=True)
    get_run_logger().info("logged by the flow")
    if mode == "fail":
        raise ValueError("as asked")
    if mode == "exit":
        os._exit(3)
    time.sleep(seconds)
    return 7
'''


def client_deployment(server, pool, name, directory=None, **more):
    """The flow above, run by the real client: from a directory, or written into the sandbox's home by a step."""
    if directory:
        Path(directory, "f.py").write_text(SOURCE)
        steps = []
    else:
        text = base64.b64encode(SOURCE.encode()).decode()
        directory = "/home/run"
        steps = [{"prefect.deployments.steps.run_shell_script": {
            "script": f"""python -c "import base64; open('/home/run/f.py','wb').write(base64.b64decode('{text}'))\"""", "stream_output": False}}]
    steps.append({"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}})
    return deployment(server, pool, name, flow="hello", entrypoint="f.py:hello", pull_steps=steps, **more)
