"""Bad input on every route: a clear 4xx, and nothing half done."""
import json
import re
import socket
import uuid

import pytest

from tests.api.conftest import ROOT

ROUTES = re.findall(r'ROUTE\((\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+)', (ROOT / "src/api/routes.def").read_text())
BODIES = [b"", b"{", b"[]", b"null", b'"text"', b"5", b'{"a":' * 3000, b'{"unknown_key":1}', b"\xff\xfe", b'{"limit":-1}', b'{"limit":"x"}',
          b'{"name":"' + b"x" * 70000 + b'"}', b'{"name":"a\\u0000b","value":"\\u0000"}', b'{"state":{"type":"NO_SUCH"}}', b'{"flow_runs":{"id":{"any_":["x"]}}}',
          b'{"sort":"NO_SUCH_SORT"}', b'{"flow_id":"%s"}' % uuid.uuid4().hex.encode(), b'[{"a":1}]']


def counts(server):
    return [server.api("POST", f"/{kind}/count", {}) for kind in ("flows", "flow_runs", "deployments", "work_pools", "variables", "block_documents")]


@pytest.mark.parametrize("method,path", sorted({(m, p) for m, p, _, kind in ROUTES if kind != "SOCKET"}))
def test_route(server, method, path):
    """Whatever is sent to an object that does not exist, or in a body that makes no sense, is no 5xx."""
    for segment in ("no-such", "%00", "%ff", "a%2Fb", str(uuid.uuid4()), "x" * 3000):
        target = re.sub(r"\{[^}]+\}", segment, path)
        for body in BODIES if method in ("POST", "PUT", "PATCH") else [b""]:
            status, _, text = server.request(method, target, raw=body)
            assert status < 500, (method, target, body[:60], status, text[:300])
            if status >= 400:
                assert text.startswith(b"{"), (method, target, body[:60], status, text[:300])
            if "{" not in path:
                continue
        if "{" not in path:
            break


def test_nothing_was_made(server):
    """Refused bodies leave no rows behind."""
    before = counts(server)
    for path, body in [("/flow_runs/", {"flow_id": str(uuid.uuid4())}), ("/deployments/", {"name": "d", "flow_id": str(uuid.uuid4())}),
                       ("/work_pools/", {"name": "bad/name"}), ("/work_pools/", {"name": "p", "base_job_template": {"variables": {}}}),
                       ("/variables/", {"name": "UPPER", "value": 1}), ("/flow_runs/", {"flow_id": "x"})]:
        status, _, text = server.request("POST", path, body)
        assert 400 <= status < 500, (path, body, status, text)
    assert counts(server) == before


def test_versions_and_methods(server):
    assert server.request("GET", "/flows/filter")[0] == 405
    assert server.request("GET", "/no/such/route")[0] == 404
    assert server.request("GET", "/admin/version", headers={"X-PREFECT-API-VERSION": "abc"})[0] == 400
    assert server.request("GET", "/admin/version", headers={"X-PREFECT-API-VERSION": "0.7.0"})[0] == 400
    assert server.request("GET", "/admin/version", headers={"X-PREFECT-API-VERSION": "0.9.0"})[0] == 200
    status, headers, _ = server.request("PATCH", "/flows/", {})
    assert (status, headers["Allow"]) == (405, "POST")
    assert server.request("PUT", f"/flows/{uuid.uuid4()}")[1]["Allow"] == "GET, HEAD, PATCH, DELETE"


def test_slashes(server):
    """A slash too many or too few: where to go instead, whatever the method."""
    for method, path, there in (("POST", "/flows", "/flows/"), ("PUT", "/flows", "/flows/"), ("POST", "/flows/filter/", "/flows/filter"),
                                ("GET", "/flows/filter//", "/flows/filter"), ("DELETE", "/admin/version/", "/admin/version")):
        answer = raw(server, f"{method} /api{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()).decode()
        assert answer.startswith("HTTP/1.1 307 ") and f"\r\nLocation: /api{there}\r\n" in answer, (method, path, answer[:300])
    assert server.request("GET", "/no/such/route/")[0] == 404


def test_names_of_routes(server):
    """What is named as a route is, is found where that route has not the method."""
    for name in ("filter", "decrement", "increment-with-lease"):
        server.api("POST", "/v2/concurrency_limits/", {"name": name, "limit": 1})
        assert server.api("GET", f"/v2/concurrency_limits/{name}")["name"] == name
        server.api("PATCH", f"/v2/concurrency_limits/{name}", {"limit": 2})
        server.api("DELETE", f"/v2/concurrency_limits/{name}")


def raw(server, text):
    host, port = server.root.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as s:
        try:
            s.sendall(text)
        except OSError:
            pass  # it was told before it had said all
        s.settimeout(5)
        got = b""
        try:
            while piece := s.recv(4096):
                got += piece
                if b"}" in got:
                    break
        except OSError:
            pass
        return got


HEAD = b"POST /api/flows/ HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("text,status", [
    (b"GET /api/health\r\n\r\n", 400), (b"GET /api/health HTTP/9.9\r\n\r\n", 505), (b"GET /api/health HTTP/0.9\r\n\r\n", 505),
    (b"GET /api/health HTTP/1.1\r\n\r\n", 400), (b"GET /api/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (HEAD + b"Content-Length: -5\r\n\r\n", 400), (HEAD + b"Content-Length: five\r\n\r\n", 400), (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
    (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400), (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400), (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}", 413),
    (HEAD + b"X: " + b"y" * 100000 + b"\r\n\r\n", 431), (HEAD + b"".join(b"X%d: y\r\n" % i for i in range(20000)) + b"\r\n", 431),
    (b"GET /api/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414), (b"GET /api/" + b"x" * 60000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (HEAD + b"no colon here\r\n\r\n", 400),
])
def test_no_http(server, text, status):
    """What is no request, or too much of one, is answered in the API's shape too, whoever finds it; and the server goes on."""
    answer = raw(server, text)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"content-type: application/json" in head.lower(), answer[:300]
    assert list(json.loads(body)) == ["exception_message"] and len(json.loads(body)["exception_message"]) > 10, body
    assert server.api("GET", "/health") is True


def test_half_requests(server):
    """A line that is not even a request's: a closed socket, or one that waits for more; and the server goes on."""
    for text in (b"GARBAGE\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET"):
        host, port = server.root.split("//")[1].split(":")
        with socket.create_connection((host, int(port)), timeout=0.3) as s:
            s.sendall(text)
            try:
                assert s.recv(4096) == b""
            except TimeoutError:
                pass
        assert server.api("GET", "/health") is True


def test_too_large(server):
    assert server.request("POST", "/flows/", raw=b" " * (17 << 20))[0] in (413, 400)
    big = "x" * (600 << 10)
    flow = server.api("POST", "/flows/", {"name": "large"})
    assert server.request("POST", "/flow_runs/", {"flow_id": flow["id"], "parameters": {"a": big}})[0] == 422
