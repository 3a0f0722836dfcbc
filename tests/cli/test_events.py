"""`events stream` outlives its server's restart: what happens before and after is told, each once."""
import json
import os
import socket
import subprocess
import threading

import pytest

from tests.api.conftest import MILLPOND, Server, wait_for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_server_goes_and_comes(tmp_path, end):
    server = Server(None, "--port", str(free_port()), env={"MILLPOND_SERVER_MANAGED": "false"})
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MILLPOND_HOME": str(tmp_path), "MILLPOND_API_URL": server.url}
    got, said = [], []
    stream = subprocess.Popen([MILLPOND, "events", "stream", "--event", "test."], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    readers = [threading.Thread(target=lambda: got.extend(json.loads(line) for line in stream.stdout)),
               threading.Thread(target=lambda: said.extend(stream.stderr))]
    for r in readers:
        r.start()

    def names():
        return [e["event"] for e in got]

    def emit(name):
        subprocess.run([MILLPOND, "events", "emit", name, "--resource-id", "r"], env=env, check=True, capture_output=True)

    try:
        def subscribed():
            emit("test.probe")
            return "test.probe" in names()

        wait_for(subscribed, every=0.1)
        emit("test.before")
        wait_for(lambda: "test.before" in names())
        getattr(server, end)()
        wait_for(lambda: any("trying again" in line for line in said))
        server.start()
        emit("test.between")
        wait_for(lambda: "test.between" in names())
        emit("test.after")
        wait_for(lambda: "test.after" in names())
        ids = [e["id"] for e in got]
        assert len(ids) == len(set(ids)), names()
        assert len(said) == 2 and "connected again" in said[1], said
        assert stream.poll() is None
    finally:
        stream.terminate()
        stream.wait(10)
        for r in readers:
            r.join(10)
        server.stop()
