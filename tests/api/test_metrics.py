"""/api/metrics, read by a strict parser, and /api/ready."""
import asyncio
import json
import math
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import websockets

from tests.api.conftest import ROOT, Server, wait_for

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\\n]|\\["\\n])*",?)*)\}})? (\S+)')
LABEL = re.compile(rf'({NAME})="((?:[^"\\]|\\.)*)"(?:,|$)')


def parse(text):
    """{(name, ((label, value), …)): number}; whatever the text form forbids fails."""
    assert text.endswith("\n")
    types, helped, found, family, closed = {}, set(), {}, None, set()
    for line in text[:-1].split("\n"):
        if m := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            assert m[1] not in helped, f"helped twice: {line}"
            if family:
                closed.add(family)
            family = m[1]
            assert family not in closed
            helped.add(family)
        elif m := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert m[1] == family and m[1] not in types, line
            types[m[1]] = m[2]
        else:
            m = SAMPLE.fullmatch(line)
            assert m, f"no sample: {line!r}"
            labels = tuple(sorted(LABEL.findall(m[2] or "")))
            assert len({k for k, _ in labels}) == len(labels), line
            base = re.sub("_(bucket|sum|count)$", "", m[1]) if types.get(family) == "histogram" else m[1]
            assert base == family, f"{line!r} stands among {family}"
            assert (types[family] == "counter") == m[1].endswith("_total") or m[1].startswith("process_") or types[family] == "histogram", line
            value = float(m[3].replace("+Inf", "inf"))
            assert not math.isnan(value) and (m[1], labels) not in found, line
            if types[family] != "gauge":
                assert value >= 0, line
            found[m[1], labels] = value
    check_histograms(types, found)
    return found


def check_histograms(types, found):
    for name in (n for n, t in types.items() if t == "histogram"):
        series = {}
        for (sample, labels), value in found.items():
            if sample == name + "_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        for rest, buckets in series.items():
            counts = [v for _, v in sorted(buckets)]
            assert counts == sorted(counts) and max(buckets)[0] == math.inf
            assert found[name + "_count", rest] == counts[-1]
            assert found[name + "_sum", rest] >= 0


def metrics(server, **headers):
    status, answer, text = server.request("GET", "/metrics", headers=headers)
    assert status == 200 and answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(text.decode())


def value(found, name, **labels):
    return found.get((name, tuple(sorted(labels.items()))), 0)


def test_counters_move(server):
    before = metrics(server)
    flow = server.api("POST", "/flows/", {"name": "measured"})["id"]
    for state in ("SCHEDULED", "PENDING", "COMPLETED", "COMPLETED", "FAILED"):
        server.api("POST", "/flow_runs/", {"flow_id": flow, "state": {"type": state}})
    assert server.request("GET", f"/flows/{flow}")[0] == 200
    assert server.request("GET", "/flows/00000000-0000-4000-8000-000000000000")[0] == 404
    assert server.request("GET", "/nothing\"\\here")[0] == 404
    after = metrics(server)

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    requests = "millpond_http_requests_total"
    assert grew(requests, method="POST", route="/flow_runs/", status="201") == 5
    assert grew(requests, method="GET", route="/flows/{id}", status="200") == 1
    assert grew(requests, method="GET", route="/flows/{id}", status="404") == 1
    assert grew(requests, method="GET", route="", status="404") == 1
    assert grew(requests, method="GET", route="/metrics", status="200") == 1
    assert grew("millpond_http_request_duration_seconds_count", method="POST", route="/flow_runs/") == 5
    assert 0 < grew("millpond_http_request_duration_seconds_sum", method="POST", route="/flow_runs/") < 30
    assert {s: grew("millpond_flow_runs", state=s) for s in ("SCHEDULED", "PENDING", "COMPLETED", "FAILED", "CRASHED")} == \
        {"SCHEDULED": 1, "PENDING": 1, "COMPLETED": 2, "FAILED": 1, "CRASHED": 0}
    assert grew("millpond_database_writes_total", database="records") >= 6
    assert grew("millpond_database_commits_total", database="records") >= 1
    assert grew("millpond_database_commit_seconds_total", database="records") > 0
    assert grew("millpond_service_ticks_total", service="scheduler") >= 0 and value(after, "millpond_service_ticks_total", service="scheduler") >= 1
    assert value(after, "millpond_database_up") == 1
    # what has just been answered is counted as under way until the answer's last byte is out
    wait_for(lambda: value(metrics(server), "millpond_http_requests_in_flight") == 1)
    assert value(after, "process_resident_memory_bytes") > 1e6 and value(after, "process_open_fds") > 5
    assert value(after, "process_cpu_seconds_total") > 0
    assert any(name == "millpond_build_info" for name, _ in after)


def test_sockets_are_counted(server):
    def sockets():
        return value(metrics(server), "millpond_sockets", route="/logs/out")

    async def talk():
        async with websockets.connect(server.url.replace("http", "ws") + "/logs/out", subprotocols=["prefect"]) as ws:
            await ws.send(json.dumps({"type": "auth", "token": None}))
            await ws.recv()
            return await asyncio.to_thread(lambda: wait_for(lambda: sockets() == 1))

    wait_for(lambda: sockets() == 0)
    assert asyncio.run(talk())
    wait_for(lambda: sockets() == 0)
    assert server.request("GET", "/logs/out")[0] == 426  # no upgrade: none is left over
    wait_for(lambda: sockets() == 0)


def test_ready(server):
    assert server.api("GET", "/ready") == {"message": "OK"}


def test_without_database():
    """PostgreSQL stopped: not ready, and the other figures are there still; back: ready."""
    directory = tempfile.mkdtemp(prefix="millpond-pgready-")
    started = subprocess.run([ROOT / "tests/pg.sh", "start", directory], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"left out: PostgreSQL ({started.stderr.strip() or started.stdout.strip()})")
    server = None
    try:
        server = Server(started.stdout.strip().splitlines()[-1], "--no-managed")
        assert server.request("GET", "/ready")[0] == 200
        subprocess.run([ROOT / "tests/pg.sh", "stop", directory], check=True, capture_output=True)
        status, _, text = server.request("GET", "/ready")
        assert status == 503 and json.loads(text)["message"] == "Database is not available" and "database" in json.loads(text)["failing"]
        assert server.request("GET", "/health")[0] == 200
        found = metrics(server)
        assert value(found, "millpond_database_up") == 0 and not any(name == "millpond_flow_runs" for name, _ in found)
        subprocess.run([ROOT / "tests/pg.sh", "start", directory], check=True, capture_output=True)
        wait_for(lambda: server.request("GET", "/ready")[0] == 200, 20, 0.2)
        assert value(metrics(server), "millpond_database_up") == 1
    finally:
        if server:
            assert server.stop() == 0
        subprocess.run([ROOT / "tests/pg.sh", "stop", directory], capture_output=True)
