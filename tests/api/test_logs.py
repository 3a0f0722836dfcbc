"""Logs over HTTP: batches in, pages, search, the CSV file."""
import csv
import io
import json
import time
import uuid

import pytest


def run_of(server, **more):
    flow = server.api("POST", "/flows/", {"name": "logs"})
    return server.api("POST", "/flow_runs/", {"flow_id": flow["id"]} | more)["id"]


def log(message="a line", second=0, level=20, name="logger", **more):
    return {"name": name, "level": level, "message": message, "timestamp": f"2026-11-23T12:00:{second:02d}.5Z"} | more


def messages(server, **body):
    return [row["message"] for row in server.api("POST", "/logs/filter", body)]


def test_in_and_out(server):
    run, task = run_of(server), str(uuid.uuid4())
    status, headers, text = server.request("POST", "/logs/", [log("one", 1, flow_run_id=run, task_run_id=task), log("two", 2, 30, flow_run_id=run, task_run_id=None)])
    assert (status, text) == (201, b"null")
    rows = server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    assert [r["message"] for r in rows] == ["one", "two"]
    assert set(rows[0]) == {"id", "created", "updated", "name", "level", "message", "timestamp", "flow_run_id", "task_run_id"}
    assert rows[0]["timestamp"] == "2026-11-23T12:00:01.500000Z" and rows[0]["task_run_id"] == task and rows[1]["task_run_id"] is None
    assert rows[0]["created"] and rows[0]["created"] == rows[0]["updated"]
    assert messages(server, logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_DESC") == ["two", "one"]
    assert messages(server, logs={"flow_run_id": {"any_": [run]}}, limit=1, offset=1) == ["two"]


@pytest.mark.parametrize("logs, found", [
    ({"level": {"ge_": 30}}, ["line1\nline2", "=cmd|x"]),
    ({"level": {"ge_": 20, "le_": 25}}, ['Connection lost, "quoted" text', "  lead", "errör"]),
    ({"timestamp": {"after_": "2026-11-23T12:00:01.5Z", "before_": "2026-11-23T12:00:03.5Z"}}, ["line1\nline2", "=cmd|x", "error debug"]),
    ({"task_run_id": {"is_null_": False}}, []),
    ({"task_run_id": {"any_": []}}, []),
    ({"text": {"query": "my.logger"}}, ['Connection lost, "quoted" text', "=cmd|x"]),
    ({"text": {"query": "ERROR"}}, ["error debug"]),
    ({"text": {"query": "error -debug"}}, []),
    ({"text": {"query": "error connection"}}, ['Connection lost, "quoted" text', "error debug"]),
    ({"text": {"query": "+error"}}, ["error debug"]),
    ({"text": {"query": '"lost, "'}}, ['Connection lost, "quoted" text']),
    ({"text": {"query": "20"}}, []),
])
def test_filter(server, logs, found):
    if not hasattr(server, "searched"):
        server.searched = run_of(server)
        lines = [('Connection lost, "quoted" text', 20, "my.logger"), ("line1\nline2", 30, "other"), ("=cmd|x", 40, "my.logger"),
                 ("error debug", 10, "z"), ("  lead", 25, "z"), ("errör", 25, "z")]
        server.api("POST", "/logs/", [log(m, i, level, name, flow_run_id=server.searched) for i, (m, level, name) in enumerate(lines)])
    assert messages(server, logs={"flow_run_id": {"any_": [server.searched]}} | logs) == found


def test_operator(server):
    run = run_of(server)
    server.api("POST", "/logs/", [log("x1", 1, 50, flow_run_id=run), log("x2", 2, 10, flow_run_id=run)])
    both = {"operator": "or_", "flow_run_id": {"any_": [run]}, "level": {"ge_": 60}}
    assert messages(server, logs=both) == ["x1", "x2"]


def test_nul_characters_go(server):
    run = run_of(server)
    server.api("POST", "/logs/", [log("nul\x00x", name="a\x00b", flow_run_id=run)], expect=201)
    row, = server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    assert (row["message"], row["name"]) == ("nulx", "ab")


@pytest.mark.parametrize("body, place", [
    ({}, ["body"]),
    ([5], ["body", 0]),
    ([log() | {"worker_id": None}], ["body", 0, "worker_id"]),
    ([log(), {"name": "a", "level": 20, "message": "m"}], ["body", 1, "timestamp"]),
    ([log() | {"level": "high"}], ["body", 0, "level"]),
    ([log() | {"message": None}], ["body", 0, "message"]),
    ([log() | {"flow_run_id": "x"}], ["body", 0, "flow_run_id"]),
])
def test_refused(server, body, place):
    status, _, text = server.request("POST", "/logs/", body)
    assert status == 422 and json.loads(text)["exception_detail"][0]["loc"] == place


def test_nothing_of_a_refused_batch_is_kept(server):
    run = run_of(server)
    status, _, _ = server.request("POST", "/logs/", [log(flow_run_id=run), log(flow_run_id=run) | {"level": None}])
    assert status == 422 and messages(server, logs={"flow_run_id": {"any_": [run]}}) == []


@pytest.mark.parametrize("body, status", [({"limit": 201}, 422), ({"limit": -1}, 422), ({"logs": {"foo": 1}}, 422), ({"sort": "UP"}, 422),
                                          ({"logs": {"text": {"query": "x" * 201}}}, 422), ({"logs": {"text": {}}}, 422), (None, 200), ({"limit": 0}, 200),
                                          ({"logs": None, "limit": None, "offset": None, "sort": None}, 200)])
def test_filter_bodies(server, body, status):
    assert server.request("POST", "/logs/filter", body)[0] == status


def test_large_batch(server):
    run = run_of(server)
    batch = [log("x" * 150, i % 60, flow_run_id=run) for i in range(14000)]
    assert len(json.dumps(batch)) > 4_000_000
    server.api("POST", "/logs/", batch, expect=201)
    body = server.request("GET", f"/flow_runs/{run}/logs/download")[2]
    assert body.count(b"\r\n") == 14001


def test_download(server):
    run = run_of(server, name='na,me "x" é')
    lines = ['a, "quoted" one', "line1\nline2", "=cmd|x", "  lead", "errör", "cr\rhere", ""]
    server.api("POST", "/logs/", [log(m, i, flow_run_id=run) for i, m in enumerate(lines)])
    status, headers, body = server.request("GET", f"/flow_runs/{run}/logs/download")
    assert status == 200 and headers["content-type"] == "text/csv; charset=utf-8"
    assert headers["content-disposition"] == "attachment; filename=\"flow-run-logs.csv\"; filename*=UTF-8''na%2Cme%20%22x%22%20%C3%A9-logs.csv"
    text = body.decode()
    assert text.startswith("timestamp,level,flow_run_id,task_run_id,message\r\n2026-11-23 12:00:00.500000+00:00,20," + run + ",,\"a, \"\"quoted\"\" one\"\r\n")
    assert [row["message"] for row in csv.DictReader(io.StringIO(text, newline=""))] == lines
    assert server.request("GET", f"/flow_runs/{uuid.uuid4()}/logs/download")[::2] == (404, b'{"detail":"Flow run not found"}')


def test_logs_go_with_their_run(server):
    run = run_of(server)
    server.api("POST", "/logs/", [log(flow_run_id=run)])
    server.api("DELETE", f"/flow_runs/{run}", expect=204)
    end = time.monotonic() + 10
    while messages(server, logs={"flow_run_id": {"any_": [run]}}):
        assert time.monotonic() < end
        time.sleep(0.02)
