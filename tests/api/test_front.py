"""The server's front: pages of other origins, CSRF tokens that end, an open address, being told to stop twice."""
import http.client
import json
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tests.api.conftest import Server


@pytest.fixture
def own():
    """Servers that are made here, and ended."""
    made = []

    def make(*args, **env):
        made.append(Server(None, *args, env=env))
        return made[-1]
    yield make
    for server in made:
        if server.process.poll() is None:
            server.kill()


def preflight(server, origin, method="GET", headers=None):
    asks = {"Origin": origin, "Access-Control-Request-Method": method} | ({"Access-Control-Request-Headers": headers} if headers else {})
    status, got, _ = server.request("OPTIONS", "/flows/filter", headers=asks)
    return status, {k.lower(): v for k, v in got.items() if k.lower().startswith("access-control-") or k.lower() == "vary"}


def test_pages_of_all_origins(own):
    server = own()
    status, got = preflight(server, "https://a.example", "DELETE", "X-Any, Content-Type")
    assert status == 200 and got["access-control-allow-origin"] == "*" and "DELETE" in got["access-control-allow-methods"]
    assert got["access-control-allow-headers"] == "X-Any, Content-Type"
    assert server.request("GET", "/health")[1]["Access-Control-Allow-Origin"] is None, "nobody asked"


def test_pages_of_some_origins(own):
    server = own(PREFECT_SERVER_CORS_ALLOWED_ORIGINS="https://a.example, https://b.example", PREFECT_SERVER_CORS_ALLOWED_METHODS="GET,POST",
                 PREFECT_SERVER_CORS_ALLOWED_HEADERS="content-type")
    for origin in ("https://a.example", "https://b.example"):
        status, got = preflight(server, origin, "POST", "Content-Type")
        assert (status, got["access-control-allow-origin"], got["vary"]) == (200, origin, "Origin")
        assert got["access-control-allow-methods"] == "GET,POST" and got["access-control-allow-headers"] == "content-type"
    assert preflight(server, "https://c.example") == (400, {"vary": "Origin"})
    assert preflight(server, "https://a.example", "DELETE")[0] == 400
    assert preflight(server, "https://a.example", "POST", "Content-Type, X-Other")[0] == 400
    answer = server.request("GET", "/health", headers={"Origin": "https://a.example.evil.example"})
    assert answer[0] == 200 and answer[1]["Access-Control-Allow-Origin"] is None
    assert server.request("GET", "/health", headers={"Origin": "https://b.example"})[1]["Access-Control-Allow-Origin"] == "https://b.example"


def test_a_csrf_token_ends(own):
    server = own(PREFECT_SERVER_CSRF_PROTECTION_ENABLED="true", PREFECT_SERVER_CSRF_TOKEN_EXPIRATION="1")
    token = json.loads(server.request("GET", "/csrf-token?client=me")[2])
    headers = {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": "me"}
    assert server.request("POST", "/flows/", {"name": "f"}, headers=headers)[0] in (200, 201)
    time.sleep(2.1)
    status, _, text = server.request("POST", "/flows/", {"name": "g"}, headers=headers)
    assert status == 403 and b"Invalid CSRF token" in text


def test_an_address_that_anybody_reaches(own):
    words = "whoever reaches this address"
    assert words not in own().tail()
    assert words in own("--host", "0.0.0.0").tail()
    assert words not in own("--host", "0.0.0.0", PREFECT_SERVER_API_AUTH_STRING="u:p").tail()


def test_certificates_that_are_none(own, tmp_path):
    large = tmp_path / "large.pem"
    large.write_bytes(b"x" * (1 << 20) + b"x")
    with pytest.raises(AssertionError, match="larger than 1 MiB"):
        own("--tls-cert", str(large), "--tls-key", str(large))


def connect(server):
    host, port = server.root.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_redirects_keep_the_query(own):
    c = http.client.HTTPConnection(own().root.removeprefix("http://"), timeout=10)
    c.request("GET", "/api/flow_run_states?flow_run_id=00000000-0000-0000-0000-000000000001&a=%20b")
    answer = c.getresponse()
    assert (answer.status, answer.headers["Location"]) == (307, "/api/flow_run_states/?flow_run_id=00000000-0000-0000-0000-000000000001&a=%20b")
    c.close()


def test_half_requests(own):
    """A thousand senders that stop in the middle of a head or a body, and a thousand that read nothing, hold nobody up and take little."""
    server = own()

    def resident():
        return int(next(line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])
    before, sockets = resident(), []
    for i in range(2000):
        s = connect(server)
        if i % 2:
            s.sendall(b"POST /api/flows/filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{" if i % 4 == 1 else b"GET /api/health HT")
        else:  # asks for answers that it never reads
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        sockets.append(s)
    for i in range(50):
        assert server.api("POST", "/flows/", {"name": f"f{i}"})["name"] == f"f{i}"
    assert resident() - before < 2000 * 64, "KiB: less than 64 each"
    for s in sockets:
        s.close()
    assert server.stop() == 0


def test_told_to_stop_twice(own):
    """The first time it waits for what it has accepted; the second time it ends, and what it acknowledged is there."""
    server = own()
    flow = server.api("POST", "/flows/", {"name": "kept"})
    other = sqlite3.connect(Path(server.home, "millpond.db"), timeout=10, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asked = threading.Thread(target=lambda: pytest.raises(Exception, server.request, "POST", "/flows/", {"name": "waits"}))
    kept = http.client.HTTPConnection(server.root.removeprefix("http://"), timeout=10)
    kept.request("GET", "/api/health")
    kept.getresponse().read()
    asked.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    assert server.process.poll() is None, "it waits for the request"
    kept.request("GET", "/api/health")
    answer = kept.getresponse()
    assert answer.status in (200, 503) and (answer.status == 200 or answer.headers["Retry-After"])
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(3) == 1
    asked.join(10)
    other.execute("ROLLBACK")
    other.close()
    server.start()
    assert server.api("GET", f"/flows/{flow['id']}")["name"] == "kept"
    assert server.stop() == 0
