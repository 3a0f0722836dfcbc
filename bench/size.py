"""What a server does when it holds much, and when much comes in: a million runs, floods of logs and events, many that wait.

Runs are put into SQLite by SQL while the server is down, as a year would have left them; all else goes through the API."""
import base64
import datetime
import hashlib
import http.client
import json
import os
import random
import socket
import sqlite3
import struct
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from servers import cpu, memory, ours

RUNS_A_DAY = 100_000
SEC = 1_000_000
ADJECTIVES = "brave calm clever daring eager fancy gentle happy jolly kind lively mighty noble proud quick royal silent tidy vivid witty".split()
ANIMALS = "badger condor dolphin eagle falcon gecko heron ibis jaguar koala lemur marmot newt otter panda quail raven seal tapir vole".split()
RUN_COLUMNS = ("id, created, updated, name, flow_id, state_id, deployment_id, parameters, context, empirical_policy, tags, state_type, state_name, "
               "state_timestamp, run_count, expected_start_time, next_scheduled_start_time, start_time, end_time, total_run_time, auto_scheduled").split(", ")


# ---- a million runs ----

def fill(path, count, waiting=5000):
    """`count` runs of 20 flows and 50 deployments, the last `waiting` of them scheduled; ended ones with their three states."""
    r, now = random.Random(7), int(time.time() * SEC)
    begin, step = now - count * 86400 * SEC // RUNS_A_DAY, 86400 * SEC // RUNS_A_DAY
    c = sqlite3.connect(path)
    c.execute("PRAGMA synchronous = OFF")

    def uuid7(us):
        return (us // 1000 << 80 | 7 << 76 | r.getrandbits(12) << 64 | 2 << 62 | r.getrandbits(62)).to_bytes(16, "big")

    def insert(table, columns, rows):
        c.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)

    flows = [uuid7(begin + i) for i in range(20)]
    insert("flow", ["id", "created", "updated", "name", "tags"], [(f, begin, begin, f"flow-{i}", "[]") for i, f in enumerate(flows)])
    deployments = [(uuid7(begin + i), flows[i % 20]) for i in range(50)]
    insert("deployment", ["id", "created", "updated", "name", "flow_id", "paused", "parameters", "tags", "status", "enforce_parameter_schema", "job_variables"],
           [(d, begin, begin, f"deployment-{i}", f, 0, "{}", "[]", "NOT_READY", 1, "{}") for i, (d, f) in enumerate(deployments)])
    ends = ["COMPLETED"] * 90 + ["FAILED"] * 6 + ["CANCELLED"] * 2 + ["CRASHED"] * 2
    runs, states = [], []
    for i in range(count):
        at = begin + i * step
        run, last = uuid7(at), uuid7(at + 5)
        deployment, flow = r.choice(deployments) if r.random() < 0.8 else (None, r.choice(flows))
        waits = i >= count - waiting
        type = "SCHEDULED" if waits else r.choice(ends)
        tags = [] if r.random() < 0.7 else [f"tag-{r.randrange(40)}"] + (["rare"] if r.random() < 0.0005 else [])
        name = f"{r.choice(ADJECTIVES)}-{r.choice(ANIMALS)}" if r.random() < 0.9 else f"nightly-{i}"
        start = at + 2 * SEC
        end = start + r.randrange(1, 60) * SEC
        due = now + (i - count + waiting) * 10 * SEC if waits else at
        runs.append((run, at, end, name, flow, last, deployment, "{}", "{}", '{"retries":0}', json.dumps(tags), type, type.title(), at if waits else end, 1,
                     due, due if waits else None, None if waits else start, None if waits else end, 0 if waits else end - start, int(waits)))
        if waits:
            states.append((run, last, type, type.title(), at, "{}"))
        else:
            states += [(run, uuid7(at), "SCHEDULED", "Scheduled", at, "{}"), (run, uuid7(start), "RUNNING", "Running", start, "{}"),
                       (run, last, type, type.title(), end, "{}")]
        if len(runs) == 20_000 or i == count - 1:
            insert("flow_run", RUN_COLUMNS, runs)
            insert("flow_run_state", ["run_id", "id", "type", "name", "timestamp", "state_details"], states)
            c.commit()
            runs, states = [], []
    c.close()


def questions(deployments):
    now = datetime.datetime.now(datetime.timezone.utc)
    newest = {"sort": "EXPECTED_START_TIME_DESC", "limit": 200}

    def runs(**filter):
        return newest | {"flow_runs": filter}

    def day(days, interval):
        return {"history_start": (now - datetime.timedelta(days=days)).isoformat(), "history_end": now.isoformat(), "history_interval_seconds": interval}

    return [
        ("newest 200", "/flow_runs/filter", newest),
        ("newest 200 by id", "/flow_runs/filter", {"sort": "ID_DESC", "limit": 200}),
        ("200 by state", "/flow_runs/filter", runs(state={"type": {"any_": ["FAILED"]}})),
        ("200 by deployment", "/flow_runs/filter", runs(deployment_id={"any_": [deployments[3]]})),
        ("200 by flow's name", "/flow_runs/filter", newest | {"flows": {"name": {"any_": ["flow-3"]}}}),
        ("200 by tag", "/flow_runs/filter", runs(tags={"all_": ["tag-7"]})),
        ("by a rare tag", "/flow_runs/filter", runs(tags={"all_": ["rare"]})),
        ("by name", "/flow_runs/filter", runs(name={"any_": ["nightly-7770"]})),
        ("200 by name part, 1 in 400 has it", "/flow_runs/filter", runs(name={"like_": "witty-otter"})),
        ("by name part that one has", "/flow_runs/filter", runs(name={"like_": "tly-777000"})),
        ("scheduled runs of 10 deployments", "/deployments/get_scheduled_flow_runs", {"deployment_ids": deployments[:10]}),
        ("count of all", "/flow_runs/count", {}),
        ("count of a state", "/flow_runs/count", {"flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}}),
        ("count of the last day", "/flow_runs/count", {"flow_runs": {"expected_start_time": {"after_": (now - datetime.timedelta(days=1)).isoformat()}}}),
        ("history of a day, hours", "/flow_runs/history", day(1, 3600)),
        ("history of ten days, days", "/flow_runs/history", day(10, 86400)),
    ]


def ask(server, path, body, times=100, seconds=4):
    """Milliseconds of up to `times` requests one after the other."""
    host, port = server.url.removeprefix("http://").split(":")
    h, took, begun, text = http.client.HTTPConnection(host, int(port), timeout=60), [], time.monotonic(), json.dumps(body)
    while len(took) < 3 or (len(took) < times and time.monotonic() - begun < seconds):
        at = time.perf_counter()
        h.request("POST", "/api" + path, text, {"Content-Type": "application/json"})
        answer = h.getresponse()
        data = answer.read()
        took.append((time.perf_counter() - at) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:300]!r}")
    h.close()
    return sorted(took)


def names_indexed(path, patience=120):
    """Waits for the index of names that a server makes behind what was filled in."""
    c, until = sqlite3.connect(f"file:{path}?mode=ro", uri=True), time.monotonic() + patience
    while c.execute("SELECT coalesce((SELECT max(id) FROM flow_run_name), 0) > coalesce((SELECT max(name_id) FROM flow_run_name_mark), 0)").fetchone()[0]:
        if time.monotonic() > until:
            raise RuntimeError("the names of flow runs are not indexed")
        time.sleep(0.1)
    c.close()


def measure_queries(o, work, say, count=1_000_000):
    home = work / "million"
    server = ours(o.build, home, managed=False)
    server.stop()
    fill(home / "state" / "millpond.db", count)
    server = ours(o.build, home, managed=False)
    rows = {}
    try:
        names_indexed(home / "state" / "millpond.db")
        deployments = [d["id"] for d in server.api("POST", "/deployments/filter", {"limit": 20})]
        for name, path, body in questions(deployments):
            took = ask(server, path, body)
            rows[name] = {"p50": took[len(took) // 2], "p99": took[int((len(took) - 1) * 0.99)], "n": len(took)}
            say(f"of {count} runs, {name}: {rows[name]['p50']:.1f} ms, p99 {rows[name]['p99']:.1f}")
        return {"count": count, "rows": rows, "memory": memory(server.pid)}
    finally:
        server.stop()


# ---- floods ----

def measure_logs(server, seconds, connections=4, batch=500):
    """Rows a second, in batches as the published client's handler sends them."""
    flow = server.api("POST", "/flows/", {"name": "logs"})
    run = server.api("POST", "/flow_runs/", {"flow_id": flow["id"]})["id"]
    at = datetime.datetime.now(datetime.timezone.utc).isoformat()
    body = json.dumps([{"name": "prefect.flow_runs", "level": 20, "message": f"row {i} of the table 'orders' was written to the store after 12.5 ms",
                        "timestamp": at, "flow_run_id": run, "task_run_id": None} for i in range(batch)]).encode()
    host, port = server.url.removeprefix("http://").split(":")
    deadline, counts, used = time.monotonic() + seconds, [0] * connections, cpu(server.pid)

    def one(i):
        h = http.client.HTTPConnection(host, int(port), timeout=60)
        while time.monotonic() < deadline:
            try:
                h.request("POST", "/api/logs/", body, {"Content-Type": "application/json"})
                answer = h.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                h.close()
                continue
            if answer.status == 201:
                counts[i] += batch
            elif answer.status not in (429, 503):
                raise RuntimeError(f"/logs/: {answer.status}")

    begun = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(one, range(connections)))
    took = time.monotonic() - begun
    return {"per_second": sum(counts) / took, "cpu_us": (cpu(server.pid) - used) * 1e6 / max(sum(counts), 1)}


def frame(text):
    """A client's text frame; the mask is nothing, which the protocol allows."""
    data = text.encode()
    head = struct.pack("!BB", 0x81, 0x80 | len(data)) if len(data) < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, len(data))
    return head + b"\0\0\0\0" + data


def open_socket(server, path):
    host, port = server.url.removeprefix("http://").split(":")
    s = socket.create_connection((host, int(port)), timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    s.sendall(f"GET /api{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: prefect\r\n\r\n".encode())
    answer = s.recv(4096)
    if base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()) not in answer:
        raise RuntimeError(f"{path}: {answer[:200]!r}")
    s.sendall(frame('{"type":"auth","token":null}'))
    s.recv(4096)
    return s


def measure_events(server, runs, patience=60):
    """Task run events a second over one socket: three of each of `runs` task runs, until the last one's end can be read."""
    flow = server.api("POST", "/flows/", {"name": "events"})
    flow_run = server.api("POST", "/flow_runs/", {"flow_id": flow["id"]})["id"]
    base = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    frames, ids = [], [str(uuid.uuid4()) for _ in range(runs)]
    for i, run in enumerate(ids):
        for k, type in enumerate(("PENDING", "RUNNING", "COMPLETED")):
            at = (base + datetime.timedelta(milliseconds=i * 3 + k)).isoformat()
            state = {"type": type, "name": type.title(), "message": "", "state_details": {"flow_run_id": flow_run, "task_run_id": run}}
            frames.append(frame(json.dumps({
                "id": str(uuid.uuid4()), "occurred": at, "event": f"prefect.task-run.{type.title()}",
                "resource": {"prefect.resource.id": f"prefect.task-run.{run}", "prefect.resource.name": f"load-{i}", "prefect.state-type": type,
                             "prefect.state-name": type.title(), "prefect.state-timestamp": at, "prefect.orchestration": "client"},
                "related": [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}],
                "payload": {"validated_state": state, "initial_state": None, "intended": {"from": None, "to": type},
                            "task_run": {"name": f"load-{i}", "task_key": "load", "dynamic_key": run, "run_count": 1, "tags": []}}})))
    used, s = cpu(server.pid), open_socket(server, "/events/in")
    begun = time.monotonic()
    threading.Thread(target=lambda: [s.sendall(b"".join(frames[i:i + 100])) for i in range(0, len(frames), 100)], daemon=True).start()
    done = {"task_runs": {"flow_run_id": {"any_": [flow_run]}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    found = 0
    while found < runs and time.monotonic() - begun < patience:
        time.sleep(0.05)
        found = server.api("POST", "/task_runs/count", done)
    took = time.monotonic() - begun
    s.close()
    return {"per_second": 3 * found / took, "lost": runs - found, "cpu_us": (cpu(server.pid) - used) * 1e6 / max(3 * found, 1)}


def measure_waiting(server, runs, seconds=10):
    """Share of a core, in per cent, that a server with `runs` scheduled runs takes while nothing is due."""
    flow = server.api("POST", "/flows/", {"name": "waiting"})
    due = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).isoformat()
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"flow_id": flow["id"], "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}})

    def some(n):
        h = http.client.HTTPConnection(host, int(port), timeout=60)
        for _ in range(n):
            h.request("POST", "/api/flow_runs/", body, {"Content-Type": "application/json"})
            h.getresponse().read()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(some, [runs // 16] * 16))
    time.sleep(2)
    before, begun = cpu(server.pid), time.monotonic()
    time.sleep(seconds)
    return {"runs": runs // 16 * 16, "percent": (cpu(server.pid) - before) * 100 / (time.monotonic() - begun)}


def sync_ms(folder, size=8192, times=200):
    """The median of appending `size` bytes to a file and having them on disk: what no durable answer can be faster than."""
    path, took = folder / "sync", []
    with open(path, "wb", buffering=0) as f:
        for _ in range(times):
            at = time.perf_counter()
            f.write(b"x" * size)
            os.fdatasync(f.fileno())
            took.append((time.perf_counter() - at) * 1000)
    path.unlink()
    return sorted(took)[times // 2]
