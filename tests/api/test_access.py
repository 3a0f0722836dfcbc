"""Who may ask: the auth string on every route and socket, CSRF tokens, TLS."""
import asyncio
import base64
import json
import re
import ssl
import subprocess
import urllib.request

import pytest
import websockets

from tests.api.conftest import ROOT, Server

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


def test_tls(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    s = Server(None, "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"), env={"MILLPOND_SERVER_MANAGED": "false"})
    try:
        assert s.url.startswith("https://")
        context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        assert urllib.request.urlopen(s.url + "/health", context=context).read() == b"true"
    finally:
        assert s.stop() == 0
