"""The worker channel: hello, heartbeats, what the pool becomes, what cancelled runs left running, waking."""
import json
import subprocess
import time
import uuid
from contextlib import contextmanager

import pytest
from websockets.exceptions import InvalidStatus

from tests.api.conftest import Server, wait_for
from tests.api.events_help import iso, now, receive, socket
from tests.api.test_sockets import closed, pool_with_deployment, silent

TEMPLATE = {"job_configuration": {"command": "{{ command }}"}, "variables": {"type": "object", "properties": {"command": {"type": "string"}}}}
BASE = ["worker_heartbeat.v1", "work_pool_snapshot.v1"]


def frame(type, **payload):
    return {"type": type, "id": str(uuid.uuid4()), "sent_at": iso(now()), "payload": payload}


def hello(**more):
    return frame("worker.hello.v1", **{"consumer_id": str(uuid.uuid4()), "worker_name": "w", "worker_type": "process", "heartbeat_interval_seconds": 30,
                                      "supported_channel_versions": ["work_pool_worker_channel.v1"], "requested_capabilities": BASE} | more)


@contextmanager
def channel(server, pool, **more):
    """The socket, and the answer to hello."""
    with socket(server, f"/work_pools/{pool}/workers/connect") as ws:
        said = hello(**more)
        ws.send(json.dumps(said))
        ready = receive(ws)
        assert ready["type"] == "worker.ready.v1" and ready["payload"]["consumer_id"] == said["payload"]["consumer_id"], ready
        yield ws, ready["payload"]


def new_pool(server, **more):
    name = f"pool-{uuid.uuid4()}"
    return server.api("POST", "/work_pools/", {"name": name, "type": "process"} | more)


def workers(server, pool):
    return server.api("POST", f"/work_pools/{pool}/workers/filter", {})


def test_hello(server):
    pool = new_pool(server, concurrency_limit=3)
    queue = server.api("POST", f"/work_pools/{pool['name']}/queues", {"name": "q"})
    with channel(server, pool["name"], worker_name="one", requested_capabilities=BASE + ["x.v9"], work_queue_names=["q"]) as (ws, ready):
        assert ready["worker_id"] is None and ready["effective_heartbeat_interval_seconds"] == 30
        assert sorted(ready["accepted_capabilities"]) == sorted(BASE) and ready["rejected_capabilities"] == ["x.v9"]
        assert ready["effective_max_cleanup_concurrency"] == 0
        assert ready["resolved_work_queues"] == [{"id": queue["id"], "name": "q"}]
        first = ready["initial_snapshot"]
        assert (first["snapshot_sequence"], first["reason"]) == (1, "initial")
        shown = server.api("GET", f"/work_pools/{pool['name']}")
        assert first["work_pool"] == shown and shown["status"] == "READY"
        assert [(w["name"], w["status"]) for w in workers(server, pool["name"])] == [("one", "ONLINE")]
        silent(ws)


def test_pools_are_made_and_filled(server):
    template = TEMPLATE
    name = f"pool-{uuid.uuid4()}"
    for create, reason in ((False, "authorization_failed"), (True, None)):
        if reason:
            with socket(server, f"/work_pools/{name}/workers/connect") as ws:
                ws.send(json.dumps(hello(create_pool_if_not_found=create)))
                assert closed(ws) == (1008, reason)
        else:
            with channel(server, name, create_pool_if_not_found=True, default_base_job_template=template) as (ws, ready):
                assert ready["initial_snapshot"]["work_pool"]["base_job_template"] == template
    assert server.api("GET", f"/work_pools/{name}")["base_job_template"] == template
    empty = new_pool(server)["name"]
    with channel(server, empty, default_base_job_template=template):
        assert server.api("GET", f"/work_pools/{empty}")["base_job_template"] == template
    with channel(server, empty, default_base_job_template={}):
        assert server.api("GET", f"/work_pools/{empty}")["base_job_template"] == template
    with socket(server, "/work_pools/prefect-own/workers/connect") as ws:
        ws.send(json.dumps(hello(create_pool_if_not_found=True)))
        assert closed(ws) == (1008, "authorization_failed")


REFUSED = [
    ({"supported_channel_versions": ["v0"]}, (1008, "unsupported_version")),
    ({"requested_capabilities": ["worker_heartbeat.v1"]}, (1002, "protocol_error")),
    ({"heartbeat_interval_seconds": 0}, (1002, "protocol_error")),
    ({"consumer_id": "x"}, (1002, "protocol_error")),
    ({"worker_name": ""}, (1002, "protocol_error")),
    ({"more": 1}, (1002, "protocol_error")),
    ({"max_cleanup_concurrency": 1}, (1002, "protocol_error")),
    ({"handled_cleanup_kinds": ["cancelling_timeout_teardown.v1"]}, (1002, "protocol_error")),
    ({"work_queue_names": ["no-such-queue"]}, (1008, "authorization_failed")),
]


def test_what_is_refused(server):
    pool = new_pool(server)["name"]
    for more, end in REFUSED:
        with socket(server, f"/work_pools/{pool}/workers/connect") as ws:
            ws.send(json.dumps(hello(**more)))
            assert closed(ws) == end, more
    for text in ("nonsense", "5", "{}", json.dumps(frame("worker.heartbeat.v1")), json.dumps(hello() | {"x": 1}), json.dumps(hello() | {"id": 5})):
        with socket(server, f"/work_pools/{pool}/workers/connect") as ws:
            ws.send(text)
            assert closed(ws) == (1002, "protocol_error"), text
    assert workers(server, pool) == []
    with pytest.raises(InvalidStatus) as refused, socket(server, f"/work_pools/{pool}/workers/connect", auth=False, subprotocols=None):
        pass
    assert refused.value.response.status_code == 403


def test_authentication():
    server = Server(None, env={"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_API_AUTH_STRING": "user:x"})
    try:
        for token in (None, "user:y"):
            with socket(server, "/work_pools/p/workers/connect", auth=False) as ws:
                ws.send(json.dumps({"type": "auth", "token": token}))
                assert closed(ws)[0] == 1008
        with socket(server, "/work_pools/p/workers/connect", token="user:x") as ws:
            ws.send(json.dumps(hello(create_pool_if_not_found=True)))
            assert receive(ws)["type"] == "worker.ready.v1"
    finally:
        assert server.stop() == 0


def test_heartbeats_and_changes(server):
    pool = new_pool(server)["name"]
    with channel(server, pool, worker_name="beating", heartbeat_interval_seconds=1) as (ws, ready):
        beat = dict(consumer_id=ready["consumer_id"], worker_name="beating", heartbeat_interval_seconds=7)
        before = workers(server, pool)[0]["last_heartbeat_time"]
        for _ in range(200):  # more than it takes at once: read as fast as they are written down, none refused
            ws.send(json.dumps(frame("worker.heartbeat.v1", **beat)))
        wait_for(lambda: workers(server, pool)[0]["last_heartbeat_time"] > before)
        wait_for(lambda: workers(server, pool)[0]["heartbeat_interval_seconds"] == 7)
        silent(ws)
        server.api("PATCH", f"/work_pools/{pool}", {"description": "of no interest"})
        silent(ws)
        for sequence, change in enumerate(({"is_paused": True}, {"concurrency_limit": 5}, {"base_job_template": TEMPLATE}), 2):
            server.api("PATCH", f"/work_pools/{pool}", change)
            got = receive(ws)
            assert got["type"] == "work_pool.snapshot.v1"
            assert (got["payload"]["snapshot_sequence"], got["payload"]["reason"]) == (sequence, "work_pool_updated")
            assert change.items() <= got["payload"]["work_pool"].items()
        ws.send(json.dumps(frame("worker.heartbeat.v1", **beat | {"worker_name": "another"})))
        assert closed(ws) == (1002, "protocol_error")
    with channel(server, pool) as (ws, _):
        server.api("DELETE", f"/work_pools/{pool}")
        assert closed(ws) == (1008, "authorization_failed")


def test_a_worker_that_vanishes(server):
    pool = new_pool(server)["name"]
    with channel(server, pool, worker_name="gone", heartbeat_interval_seconds=1) as (ws, _):
        ws.socket.shutdown(2)
    wait_for(lambda: workers(server, pool)[0]["status"] == "OFFLINE")
    wait_for(lambda: server.api("GET", f"/work_pools/{pool}")["status"] == "NOT_READY", seconds=10)


def test_waking(server):
    pool, deployment = pool_with_deployment(server)
    with channel(server, pool, requested_capabilities=BASE + ["millpond_wake.v1"]) as (ws, ready):
        assert "millpond_wake.v1" in ready["accepted_capabilities"]
        run = server.api("POST", f"/deployments/{deployment}/create_flow_run", {})
        assert receive(ws)["type"] == "millpond.due.v1"
        for type in ("PENDING", "RUNNING", "CANCELLING"):
            server.api("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": type}})
        got = receive(ws)
        while got["type"] == "millpond.due.v1":  # may be told twice
            got = receive(ws)
        assert (got["type"], got["payload"]) == ("millpond.cancel.v1", {"flow_run_id": run["id"]})


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def impatient(request):
    """A server that gives cancelled runs a second."""
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres")
        subprocess.run(["psql", database, "-qc", "DROP SCHEMA IF EXISTS millpond CASCADE; DROP SCHEMA IF EXISTS millpond_telemetry CASCADE"], check=True)
    s = Server(database, env={"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "1"})
    yield s
    assert s.stop() == 0, s.tail()


def given_up(server, deployment, place="host:1"):
    run = server.api("POST", f"/deployments/{deployment}/create_flow_run", {})["id"]
    for type in ("PENDING", "RUNNING"):
        server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": type}})
    server.api("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": place})
    server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    return run


TAKES = dict(requested_capabilities=BASE + ["cleanup_delivery.v1"], handled_cleanup_kinds=["cancelling_timeout_teardown.v1"], max_cleanup_concurrency=1)


def ask(ws, operation, message, **more):
    sent = frame(f"cleanup.{operation}.v1", message_id=message["message_id"], reservation_token=message["reservation_token"], **more)
    ws.send(json.dumps(sent))
    got = receive(ws)
    assert got["type"] == "cleanup.operation_result.v1" and got["payload"]["request_frame_id"] == sent["id"], got
    return got["payload"]


def test_cleanup(impatient):
    server = impatient
    pool, deployment = pool_with_deployment(server)
    with channel(server, pool, worker_name="a", **TAKES) as (a, ready):
        assert ready["effective_max_cleanup_concurrency"] == 1
        run = given_up(server, deployment, "host:77")
        got = receive(a)
        message = got["payload"]
        assert got["type"] == "cleanup.message.v1" and message["target"] == {"flow_run_id": run, "infrastructure_pid": "host:77"}
        assert (message["kind"], message["delivery_count"], message["data"]) == ("cancelling_timeout_teardown.v1", 1, {})
        assert server.api("GET", f"/flow_runs/{run}")["state_type"] == "CANCELLED"
        given_up(server, deployment)
        silent(a, 2)  # it has one in hand and takes no two
        renewed = ask(a, "renew", message)
        assert renewed["status"] == "accepted" and renewed["lease_expires_at"] >= message["lease_expires_at"]
        with channel(server, pool, worker_name="b", **TAKES) as (b, _):
            second = receive(b)["payload"]  # the other run's
            assert ask(b, "ack", message)["status"] == "unauthorized"
            assert ask(b, "ack", message | {"reservation_token": "x"})["status"] == "invalid_token"
            assert ask(b, "ack", second)["status"] == "accepted"
            assert ask(b, "ack", second)["status"] == "not_found"
            assert ask(a, "release", message, reason="not mine")["status"] == "accepted"
            again = receive(b)["payload"]  # and not back to a
            assert again["message_id"] == message["message_id"] and again["delivery_count"] == 2
            assert ask(a, "renew", message)["status"] == "invalid_token"
            assert ask(b, "ack", again)["status"] == "accepted"
        silent(a)


def test_cleanup_waits_for_a_worker_and_survives_a_kill(impatient):
    server = impatient
    pool, deployment = pool_with_deployment(server)
    run = given_up(server, deployment)
    wait_for(lambda: server.api("GET", f"/flow_runs/{run}")["state_type"] == "CANCELLED")
    server.kill()
    server.start()
    with channel(server, pool) as (plain, _):
        silent(plain)
    for delivery in (1, 2, 3):
        with channel(server, pool, worker_name=f"w{delivery}", **TAKES) as (ws, _):
            message = receive(ws)["payload"]
            assert (message["target"]["flow_run_id"], message["delivery_count"]) == (run, delivery)
            assert ask(ws, "release", message, reason="handler_failed")["status"] == "accepted"
    with channel(server, pool, worker_name="w4", **TAKES) as (ws, _):
        silent(ws, 0.5)  # nobody is asked a fourth time
        assert ask(ws, "ack", message)["status"] == "dead_lettered"
