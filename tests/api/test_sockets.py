"""WebSockets: the handshake, events and logs in and out, background tasks, waking workers."""
import json
import signal
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.api.conftest import Server, wait_for
from tests.api.events_help import event, iso, now, receive, socket, stored

PATHS = ["/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled", "/millpond/wake"]


def closed(ws, seconds=10):
    """(code, reason) of the close that comes."""
    end = time.monotonic() + seconds
    while True:
        try:
            ws.recv(max(0.01, end - time.monotonic()))
        except ConnectionClosed as e:
            return e.rcvd.code, e.rcvd.reason


def silent(ws, seconds=0.3):
    with pytest.raises(TimeoutError):
        print("not silent:", ws.recv(seconds))


def frames(ws, seconds=0.5):
    got = []
    try:
        while True:
            got.append(receive(ws, seconds))
    except TimeoutError:
        return got


# ---- the handshake ----

@pytest.mark.parametrize("path", PATHS)
def test_handshake(server, path):
    with socket(server, path, auth=False) as ws:
        assert ws.subprotocol == "prefect"
        assert ws.ping().wait(10), "pings are answered before it too"
        ws.send('{"type":"auth","token":null}')
        assert receive(ws) == {"type": "auth_success"}
    for first in ('{"type":"filter"}', "nonsense", '{"token":"x"}', "5", "[]"):
        with socket(server, path, auth=False) as ws:
            ws.send(first)
            assert closed(ws) == (1008, "Expected 'auth' message")


@pytest.mark.parametrize("path", PATHS)
def test_without_subprotocol(server, path):
    if path == "/millpond/wake":
        with pytest.raises(InvalidStatus) as refused, socket(server, path, auth=False, subprotocols=None):
            pass
        assert refused.value.response.status_code == 403
    else:
        with socket(server, path, auth=False, subprotocols=None) as ws:
            assert ws.subprotocol is None and ws.ping().wait(10)


@pytest.fixture(scope="module")
def guarded():
    s = Server(None, env={"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_API_AUTH_STRING": "user:pässword"})
    yield s
    assert s.stop() == 0, s.tail()


@pytest.mark.parametrize("path", PATHS)
def test_auth(guarded, path):
    with socket(guarded, path, token="user:pässword"):
        pass
    for token, reason in ((None, "Auth required but no token provided"), ("user:x", "Invalid token"), ("", "Invalid token"), ("user:pässword ", "Invalid token")):
        with socket(guarded, path, auth=False) as ws:
            ws.send(json.dumps({"type": "auth", "token": token}))
            assert closed(ws) == (1008, reason)
    with pytest.raises(InvalidStatus) as refused, socket(guarded, path, auth=False, subprotocols=None):
        pass
    assert refused.value.response.status_code == 403


def test_plain_requests_are_refused(server):
    for path in PATHS:
        assert server.request("GET", path)[0] in (400, 426)


@pytest.fixture
def own(tmp_path):
    """A server of the test's own, that it may kill."""
    s = Server(home=str(tmp_path), env={"MILLPOND_SERVER_MANAGED": "false"})
    yield s
    assert s.stop() == 0, s.tail()


# ---- /events/in ----

def test_events_in(server):
    name = f"in.{uuid.uuid4()}"
    with socket(server, "/events/in") as ws:
        sent = [event(name, f"r.{i}") for i in range(700)]
        for e in sent:
            ws.send(json.dumps(e))
        assert ws.ping().wait(10)
        total = server.api("POST", "/events/filter", {"filter": {"event": {"name": [name]}}})["total"]
        assert total == 700, "a pong comes after what was sent before its ping is stored"
        for e in sent[:10]:  # as after a reconnect
            ws.send(json.dumps(e))
        ws.send(json.dumps(event(name, "last")))
        assert ws.ping().wait(10)
        assert server.api("POST", "/events/filter", {"filter": {"event": {"name": [name]}}})["total"] == 701


def test_what_is_no_event_is_passed_over(server):
    name = f"in.{uuid.uuid4()}"
    with socket(server, "/events/in") as ws:
        for text in ("nonsense", "5", "{}", json.dumps(event(name) | {"id": "x"}), json.dumps(event(name))):
            ws.send(text)
        assert ws.ping().wait(10)
    assert len(stored(server, name)) == 1


def test_large_event(server):
    name = f"in.{uuid.uuid4()}"
    with socket(server, "/events/in") as ws:
        ws.send(json.dumps(event(name, payload={"x": "y" * 2_000_000})))
        assert ws.ping().wait(10)
    assert len(stored(server, name)[0]["payload"]["x"]) == 2_000_000


def test_confirmed_events_survive_a_kill(own):
    server = own
    for round in range(3):
        confirmed = 0
        with socket(server, "/events/in") as ws:
            def kill():
                time.sleep(0.1)
                server.process.send_signal(signal.SIGKILL)
            threading.Thread(target=kill).start()
            try:
                for i in range(100_000):
                    ws.send(json.dumps(event(f"kill.{round}", f"r.{i}")))
                    if i % 50 == 49:
                        if not ws.ping().wait(2):
                            break
                        confirmed = i + 1
            except (ConnectionClosed, OSError):
                pass
        assert server.process.wait(10) == -signal.SIGKILL
        server.start()
        total = server.api("POST", "/events/filter", {"filter": {"event": {"name": [f"kill.{round}"]}}})["total"]
        assert total >= confirmed > 0


# ---- task runs that arrive as events ----

def task_event(run, flow_run, type, at, **fields):
    return event(f"prefect.task-run.{type.capitalize()}", f"prefect.task-run.{run}", at, labels={"prefect.orchestration": "client"},
                 related=[{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}],
                 payload={"validated_state": {"type": type, "name": type.capitalize(), "message": "", "state_details": {}},
                          "task_run": {"name": "t-0", "task_key": "t", "dynamic_key": run, "tags": ["x"]} | fields})


@pytest.mark.parametrize("over", ["socket", "http"])
def test_recorder(server, over):
    flow = server.api("POST", "/flows/", {"name": "recorded"})
    flow_run, run = server.api("POST", "/flow_runs/", {"flow_id": flow["id"]})["id"], str(uuid.uuid4())
    at = now(-10)
    events = [task_event(run, flow_run, "PENDING", at, run_count=0), task_event(run, flow_run, "RUNNING", at + timedelta(seconds=1), run_count=1),
              task_event(run, flow_run, "COMPLETED", at + timedelta(seconds=3), run_count=1, total_run_time=2.0)]
    shuffled = [events[2], events[0], events[1], events[0]]
    if over == "http":
        server.api("POST", "/events", shuffled, expect=204)
    else:
        with socket(server, "/events/in") as ws:
            for e in shuffled:
                ws.send(json.dumps(e))
            assert ws.ping().wait(10)
    got = server.api("GET", f"/task_runs/{run}")
    assert (got["state_type"], got["run_count"], got["total_run_time"], got["flow_run_id"]) == ("COMPLETED", 1, 2.0, flow_run)
    assert got["state"]["id"] == got["state_id"] == events[2]["id"]
    assert got["state"]["state_details"]["task_run_id"] == run and got["state"]["state_details"]["flow_run_id"] == flow_run
    states = server.api("GET", f"/task_run_states/?task_run_id={run}")
    assert [s["id"] for s in states] == [e["id"] for e in events]
    found, = server.api("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    assert found["id"] == run and found["tags"] == ["x"]


# ---- /events/out ----

def follow(ws, backfill=None, **filter):
    ws.send(json.dumps({"type": "filter", "filter": filter} | ({} if backfill is None else {"backfill": backfill})))


def test_backfill_then_live(server):
    name = f"out.{uuid.uuid4()}"
    old = [event(name, f"r.{i}", now(-300 + i / 10)) for i in range(600)]
    server.api("POST", "/events", old + [event(name, "too.old", now(-1000)), event("out.other")])
    with socket(server, "/events/out") as ws:
        follow(ws, event={"name": [name]})
        got = [receive(ws) for _ in range(600)]
        assert {g["type"] for g in got} == {"event"}
        assert [g["event"]["id"] for g in got] == [e["id"] for e in old]
        assert set(got[0]["event"]) == {"occurred", "event", "resource", "related", "payload", "id", "follows", "received"}
        live = [event(name, f"l.{i}") for i in range(5)]
        server.api("POST", "/events", live + live[:2] + [event("out.other")])
        assert [receive(ws)["event"]["id"] for _ in range(5)] == [e["id"] for e in live]
        silent(ws)


def test_without_backfill(server):
    name = f"out.{uuid.uuid4()}"
    server.api("POST", "/events", [event(name)])
    with socket(server, "/events/out") as ws:
        follow(ws, backfill=False, event={"name": [name]})
        silent(ws)
        e = event(name)
        server.api("POST", "/events", [e])
        assert receive(ws)["event"]["id"] == e["id"]


def test_as_the_client_asks(server):
    """occurred from a minute ago until next year, and labels of related resources."""
    name = f"out.{uuid.uuid4()}"
    with socket(server, "/events/out") as ws:
        follow(ws, occurred={"since": iso(now(-60)), "until": iso(now(365 * 86400))}, event={"prefix": ["out."]},
               related=[{"role": ["flow-run"], "labels": {"env": ["prod*"]}}])
        assert ws.ping().wait(10)
        yes = event(name, related=[{"prefect.resource.id": "a", "prefect.resource.role": "flow-run", "env": "prod-eu"}])
        no = event(name, related=[{"prefect.resource.id": "a", "prefect.resource.role": "flow", "env": "prod"}])
        server.api("POST", "/events", [no, yes])
        assert receive(ws)["event"]["id"] == yes["id"]
        silent(ws)


CASES = json.loads((Path(__file__).parents[1] / "data" / "event-filters.json").read_text())
LIVE = [c for c in CASES["cases"] if "distinct" not in c["name"] and not {"occurred", "id"} & set(c["filter"])]


@pytest.mark.parametrize("case", LIVE[::9], ids=lambda c: c["name"])
def test_live_filter(server, case):
    """The same cases as stored ones are found by, a few of them through the socket."""
    ids = {str(uuid.uuid4()): int(e["id"][-2:], 16) for e in CASES["events"]}
    with socket(server, "/events/out") as ws:
        follow(ws, backfill=False, **case["filter"])
        assert ws.ping().wait(10)
        server.api("POST", "/events", [e | {"id": i, "occurred": iso(now())} for i, e in zip(ids, CASES["events"])])
        got = [ids[frame["event"]["id"]] for frame in frames(ws, 0.3)]
        assert sorted(got, reverse=True) == sorted(case["ids"], reverse=True)


@pytest.mark.parametrize("message, code, reason", [
    ('{"type":"subscribe"}', 1002, "Expected 'filter' message"), ("nonsense", 1002, "Expected 'filter' message"),
    ('{"type":"filter","filter":{"bad":1}}', 1002, "Invalid filter"), ('{"type":"filter","filter":5}', 1002, "Invalid filter"),
])
@pytest.mark.parametrize("path", ["/events/out", "/logs/out"])
def test_bad_filters(server, path, message, code, reason):
    with socket(server, path) as ws:
        ws.send(message)
        got = closed(ws)
        assert got[0] == code and got[1].startswith(reason)


def test_a_slow_reader_misses_nothing(server):
    """What a socket has no room for it reads from the table later, in order."""
    name = f"slow.{uuid.uuid4()}"
    with socket(server, "/events/out", max_queue=1) as ws:
        follow(ws, event={"name": [name]})
        assert ws.ping().wait(10)
        sent = []
        for i in range(40):
            batch = [event(name, payload={"x": "y" * 20_000}) for _ in range(50)]
            server.api("POST", "/events", batch)
            sent += [e["id"] for e in batch]
        got = [receive(ws)["event"]["id"] for _ in range(len(sent))]
        assert got == sent


def test_subscribers_come_and_go_under_load(server):
    name = f"busy.{uuid.uuid4()}"
    stop = threading.Event()

    def load():
        while not stop.is_set():
            server.api("POST", "/events", [event(name) for _ in range(20)])
    threads = [threading.Thread(target=load) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for i in range(20):
            with socket(server, "/events/out", close_timeout=0.05) as ws:  # it does not read on to the end
                follow(ws, event={"name": [name]}, backfill=bool(i % 2))
                ids = [receive(ws)["event"]["id"] for _ in range(100)]
                assert len(set(ids)) == 100
    finally:
        stop.set()
        for t in threads:
            t.join()


# ---- /logs/out ----

def test_logs_out(server):
    run, other = str(uuid.uuid4()), str(uuid.uuid4())

    def log(message, level, flow_run):
        return {"name": "n", "level": level, "message": message, "timestamp": iso(now()), "flow_run_id": flow_run}
    server.api("POST", "/logs/", [log("before", 40, run)])
    with socket(server, "/logs/out") as ws:
        follow(ws, flow_run_id={"any_": [run]}, level={"ge_": 30})
        assert ws.ping().wait(10)
        server.api("POST", "/logs/", [log("yes", 40, run), log("low", 10, run), log("other", 40, other), log("too", 30, run)])
        got = [receive(ws) for _ in range(2)]
        assert [g["log"]["message"] for g in got] == ["yes", "too"] and got[0]["type"] == "log"
        row, = server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}, "text": {"query": "yes"}}})
        assert got[0]["log"] == row
        silent(ws)


# ---- background tasks ----

def delay(server, key, name="Scheduled", **details):
    """What `.delay()` sends."""
    return server.api("POST", "/task_runs/", {"task_key": key, "dynamic_key": str(uuid.uuid4()), "flow_run_id": None,
                                              "state": {"type": "SCHEDULED", "name": name, "state_details": {"deferred": True} | details}})


def subscribe(ws, *keys, client_id="host-1"):
    ws.send(json.dumps({"type": "subscribe", "keys": keys, "client_id": client_id}))


def test_background_tasks(server):
    key = f"key-{uuid.uuid4()}"
    first = [delay(server, key)["id"] for _ in range(3)]
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, key)
        for id in first:
            run = receive(ws)
            assert run["id"] == id and run["state"]["type"] == "SCHEDULED" and run["task_key"] == key and "estimated_run_time" in run
            silent(ws, 0.1)  # one at a time
            ws.send('{"type":"ack"}')
        silent(ws, 0.1)
        later = delay(server, key)["id"]
        assert receive(ws)["id"] == later
        workers = server.api("POST", "/task_workers/filter", {"task_worker_filter": {"task_keys": [key, "none"]}})
        assert [(w["identifier"], w["task_keys"]) for w in workers] == [("host-1", [key])] and workers[0]["timestamp"]
        assert server.api("POST", "/task_workers/filter", {"task_worker_filter": {"task_keys": ["none"]}}) == []
        ws.send('{"type":"quit"}')
        assert closed(ws)[0] == 1000
    assert server.api("POST", "/task_workers/filter", {"task_worker_filter": {"task_keys": [key]}}) == []
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, key)
        assert receive(ws)["id"] == later, "it was not confirmed: another gets it"


def test_keys_in_their_order(server):
    """Keys as the worker names them, of each key what is tried again first; what was answered before the worker asked is in its place."""
    for _ in range(20):
        a, b = (f"{x}-{uuid.uuid4()}" for x in "ab")
        with socket(server, "/task_runs/subscriptions/scheduled") as ws:
            runs = {k: [delay(server, k)["id"] for _ in range(3)] for k in (a, b)}
            retry = [delay(server, b, "AwaitingRetry")["id"] for _ in range(2)]
            subscribe(ws, b, a)
            for id in retry + runs[b] + runs[a]:
                assert receive(ws)["id"] == id
                ws.send('{"type":"ack"}')


def test_order_while_they_come(server):
    """A retry that was answered while the worker was busy stands before what waited longer."""
    for _ in range(10):
        key = str(uuid.uuid4())
        with socket(server, "/task_runs/subscriptions/scheduled") as ws:
            first, second = delay(server, key)["id"], delay(server, key)["id"]
            subscribe(ws, key)
            assert receive(ws)["id"] == first
            retry = delay(server, key, "AwaitingRetry")["id"]
            ws.send('{"type":"ack"}')
            for id in (retry, second):
                assert receive(ws)["id"] == id
                ws.send('{"type":"ack"}')


def test_order_after_a_start(own):
    """What waited in the table stands before what comes while that is read."""
    server, key = own, str(uuid.uuid4())
    ids = [delay(server, key)["id"] for _ in range(20)]
    retry = [delay(server, key, "AwaitingRetry")["id"] for _ in range(5)]
    server.stop()
    server.start()
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, key)
        got, new = [receive(ws)["id"]], delay(server, key)["id"]
        while len(got) < 26:
            ws.send('{"type":"ack"}')
            got.append(receive(ws)["id"])
        assert got == retry + ids + [new]


def test_each_run_to_one_worker(server):
    key = f"key-{uuid.uuid4()}"
    with socket(server, "/task_runs/subscriptions/scheduled") as one, socket(server, "/task_runs/subscriptions/scheduled") as two:
        subscribe(one, key)
        subscribe(two, key)
        assert one.ping().wait(10) and two.ping().wait(10)
        ids = {delay(server, key)["id"] for _ in range(2)}
        assert {receive(one)["id"], receive(two)["id"]} == ids


def test_cancelled_tasks_are_not_handed_out(server):
    key = f"key-{uuid.uuid4()}"
    gone, there = delay(server, key)["id"], delay(server, key)["id"]
    server.api("POST", f"/task_runs/{gone}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, key)
        assert receive(ws)["id"] == there


@pytest.mark.parametrize("message, what", [
    ('{"type":"ack"}', "expected 'subscribe' message"), ('{"type":"subscribe"}', "expected 'keys' in subscribe message"),
    ('{"type":"subscribe","keys":[],"client_id":"x"}', "expected 'keys' in subscribe message"),
    ('{"type":"subscribe","keys":[5],"client_id":"x"}', "expected 'keys' in subscribe message"), ("nonsense", "expected 'subscribe' message"),
])
def test_task_protocol(server, message, what):
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        ws.send(message)
        assert closed(ws) == (4001, "Protocol violation: " + what)


def test_delayed_tasks_survive_a_kill(own):
    server = own
    ids = [delay(server, "kept")["id"] for _ in range(5)]
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, "kept")
        assert receive(ws)["id"] == ids[0]
        ws.send('{"type":"ack"}')
        server.api("POST", f"/task_runs/{ids[0]}/set_state", {"state": {"type": "RUNNING", "state_details": {"deferred": True}}})
        assert receive(ws)["id"] == ids[1]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    server.start()
    with socket(server, "/task_runs/subscriptions/scheduled") as ws:
        subscribe(ws, "kept")
        got = []
        for _ in range(4):
            got.append(receive(ws)["id"])
            ws.send('{"type":"ack"}')
        assert sorted(got) == sorted(ids[1:])


# ---- waking workers ----

def pool_with_deployment(server):
    name = f"pool-{uuid.uuid4()}"
    server.api("POST", "/work_pools/", {"name": name, "type": "process"})
    flow = server.api("POST", "/flows/", {"name": "woken"})
    deployment = server.api("POST", "/deployments/", {"name": name, "flow_id": flow["id"], "work_pool_name": name})
    return name, deployment["id"]


def test_wake(server):
    pool, deployment = pool_with_deployment(server)
    with socket(server, "/millpond/wake") as ws:
        run = server.api("POST", f"/deployments/{deployment}/create_flow_run", {})
        asked = time.monotonic()
        assert receive(ws) == {"type": "due", "pool": pool}
        assert time.monotonic() - asked < 1
        for type in ("PENDING", "RUNNING"):
            server.api("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": type}})
        server.api("PATCH", f"/work_pools/{pool}", {"is_paused": True})
        server.api("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
        got = frames(ws)
        assert {"type": "pool", "pool": pool} in got and {"type": "cancel", "flow_run_id": run["id"]} in got


def test_a_run_that_becomes_due_later(server):
    pool, deployment = pool_with_deployment(server)
    with socket(server, "/millpond/wake") as ws:
        server.api("POST", f"/deployments/{deployment}/create_flow_run",
                   {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": iso(now(1))}}})
        asked = time.monotonic()
        assert receive(ws) == {"type": "due", "pool": pool}
        assert 0.7 < time.monotonic() - asked < 3


# ---- the end ----

def test_a_stop_closes_sockets(own):
    server = own
    open_sockets = []
    for path in PATHS:
        ws = connect(server.url.replace("http", "ws", 1) + path, subprotocols=["prefect"])
        ws.send('{"type":"auth","token":null}')
        assert receive(ws) == {"type": "auth_success"}
        open_sockets.append(ws)
    follow(open_sockets[1], event={"name": ["x"]})
    follow(open_sockets[2])
    subscribe(open_sockets[3], "key")
    assert all(ws.ping().wait(10) for ws in open_sockets)
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    assert {closed(ws)[0] for ws in open_sockets} == {1012}
