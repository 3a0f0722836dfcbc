"""Who may ask: the auth string on every route and socket, CSRF tokens, TLS."""
import asyncio
import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest
import websockets

from tests.api.conftest import MILLPOND, ROOT, Server, wait_for

ROUTES = re.findall(r'ROUTE\((\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+)', (ROOT / "src/api/routes.def").read_text())
SECRET = "admin:correct horse"
BASIC = {"Authorization": "Basic " + base64.b64encode(SECRET.encode()).decode()}


@pytest.fixture(scope="module")
def locked():
    s = Server(env={"MILLPOND_SERVER_API_AUTH_STRING": SECRET, "MILLPOND_SERVER_MANAGED": "false"})
    yield s
    assert s.stop() == 0
    assert SECRET.encode() not in (s.tail()).encode()


def test_every_route_asks(locked):
    for method, path, _, kind in ROUTES:
        if kind == "SOCKET" or path in ("/health", "/ready"):
            continue
        target = re.sub(r"\{[^}]+\}", "x", path)
        status, _, text = locked.request(method, target, body={} if method != "GET" else None)
        assert (status, json.loads(text)) == (401, {"exception_message": "Unauthorized"}), (method, target)
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        assert locked.request(method, target, body={} if method != "GET" else None, headers=headers)[0] == 401, f"let in as a socket: {method} {target}"
    for wrong in ("Basic " + base64.b64encode(b"admin:wrong").decode(), "Basic ???", "Bearer nothing", "admin:correct horse", ""):
        assert locked.request("GET", "/admin/version", headers={"Authorization": wrong})[0] == 401
    assert locked.request("GET", "/admin/version", headers=BASIC)[0] == 200
    assert locked.request("GET", "/health")[0] == 200


def first_answer(server, path, token):
    async def talk():
        async with websockets.connect(server.url.replace("http", "ws") + path, subprotocols=["prefect"]) as ws:
            await ws.send(json.dumps({"type": "auth", "token": token}))
            return json.loads(await asyncio.wait_for(ws.recv(), 5))

    return asyncio.run(talk())


@pytest.mark.parametrize("path", [re.sub(r"\{[^}]+\}", "x", p) for _, p, _, kind in ROUTES if kind == "SOCKET" and "connect" not in p])
def test_every_socket_asks(locked, path):
    assert first_answer(locked, path, SECRET) == {"type": "auth_success"}
    for token in ("wrong", None):
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            first_answer(locked, path, token)
        assert closed.value.rcvd.code == 1008


def test_csrf():
    s = Server(env={"MILLPOND_SERVER_API_CSRF_PROTECTION_ENABLED": "true", "MILLPOND_SERVER_MANAGED": "false"})
    try:
        assert s.request("POST", "/flows/", {"name": "x"})[0] == 403
        token = s.api("GET", "/csrf-token?client=one")["token"]
        assert s.request("POST", "/flows/", {"name": "x"}, headers={"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "two"})[0] == 403
        assert s.request("POST", "/flows/", {"name": "x"}, headers={"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "one"})[0] == 201
        assert s.request("GET", "/admin/version")[0] == 200
    finally:
        assert s.stop() == 0


def make_certificate(at, name, ca=None):
    """name.pem and name.key in `at`: a CA, or a certificate for 127.0.0.1 that `ca` has signed."""
    subject = ["-subj", f"/CN={name}", "-newkey", "rsa:2048", "-nodes", "-keyout", at / f"{name}.key"]
    if not ca:
        subprocess.run(["openssl", "req", "-x509", *subject, "-days", "2", "-out", at / f"{name}.pem"], check=True, capture_output=True)
        return
    (at / "ext").write_text("subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", "req", *subject, "-out", at / "csr"], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", at / "csr", "-CA", at / f"{ca}.pem", "-CAkey", at / f"{ca}.key", "-CAcreateserial", "-days", "2",
                    "-extfile", at / "ext", "-out", at / f"{name}.pem"], check=True, capture_output=True)


def test_tls(tmp_path):
    """HTTP and WebSockets over TLS, a certificate of a CA's; SIGHUP: another one, and the log's file anew."""
    for name, ca in ("ca", None), ("one", "ca"), ("two", "ca"):
        make_certificate(tmp_path, name, ca)
    cert, key, log = tmp_path / "cert", tmp_path / "key", tmp_path / "log"

    def put(name):
        cert.write_bytes((tmp_path / f"{name}.pem").read_bytes())
        key.write_bytes((tmp_path / f"{name}.key").read_bytes())

    put("one")
    s = Server(None, "--tls-cert", str(cert), "--tls-key", str(key), "--log-file", str(log), env={"MILLPOND_SERVER_MANAGED": "false"})
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    address = ("127.0.0.1", int(s.url.split(":")[2].split("/")[0]))

    def served():
        with socket.create_connection(address, 5) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            return dict(x[0] for x in tls.getpeercert()["subject"])["commonName"]

    async def talk():
        async with websockets.connect(s.url.replace("https", "wss") + "/logs/out", subprotocols=["prefect"], ssl=context) as ws:
            await ws.send(json.dumps({"type": "auth", "token": None}))
            return json.loads(await asyncio.wait_for(ws.recv(), 5))

    try:
        assert s.url.startswith("https://") and served() == "one"
        assert urllib.request.urlopen(s.url + "/health", context=context).read() == b"true"
        assert asyncio.run(talk()) == {"type": "auth_success"}
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(s.url + "/health")  # a CA that is not known
        with socket.create_connection(address, 5) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as before:
            log.rename(tmp_path / "log.1")
            put("two")
            s.process.send_signal(signal.SIGHUP)
            wait_for(lambda: served() == "two")
            before.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert before.recv(4096).startswith(b"HTTP/1.1 200")
        assert log.exists()
        key.write_bytes((tmp_path / "one.key").read_bytes())
        s.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "keeping the TLS certificate" in log.read_text())
        assert served() == "two" and asyncio.run(talk()) == {"type": "auth_success"}
    finally:
        assert s.stop() == 0


def test_tls_that_cannot_be(tmp_path):
    make_certificate(tmp_path, "one")
    make_certificate(tmp_path, "two")
    (tmp_path / "junk").write_text("no PEM")

    def start(*args):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {"MILLPOND_HOME": str(tmp_path / "home")}
        r = subprocess.run([MILLPOND, "server", "start", "--port", "0", "--no-managed", *args], env=env, capture_output=True, text=True, timeout=20)
        assert r.returncode != 0 and "listens" not in r.stdout
        return r.stderr.strip()

    for cert, key, says in [("junk", "one.key", "TLS certificate cannot be used"), ("one.pem", "junk", "TLS key cannot be used"),
                            ("one.pem", "two.key", "key is not the certificate's"), ("none", "one.key", "No such file")]:
        text = start("--tls-cert", str(tmp_path / cert), "--tls-key", str(tmp_path / key))
        assert says in text and len([line for line in text.splitlines() if "TLS" in line]) == 1, text
    for one in ("--tls-cert", str(tmp_path / "one.pem")), ("--tls-key", str(tmp_path / "one.key")):
        assert "needs both" in start(*one)
