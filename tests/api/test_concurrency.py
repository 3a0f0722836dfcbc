"""Concurrency limits: slots, leases, tags, and who holds what."""
import datetime
import time
import uuid

import pytest

from tests.api.conftest import wait_for
from tests.api.test_runs import make_run, set_state

V2 = "/v2/concurrency_limits"


def limit(server, name, limit=1, **more):
    return server.api("POST", f"{V2}/", {"name": name, "limit": limit} | more, expect=201)


def locked(server, path, body):
    status, headers, text = server.request("POST", path, body)
    assert status == 423, (status, text)
    return headers, text


def active(server, name):
    return server.api("GET", f"{V2}/{name}")["active_slots"]


def test_life_of_a_limit(server):
    made = limit(server, "life", 3)
    assert (made["active"], made["active_slots"], made["denied_slots"], made["slot_decay_per_second"], made["avg_slot_occupancy_seconds"]) == (True, 0, 0, 0.0, 2.0)
    status, _, _ = server.request("POST", f"{V2}/", {"name": "life", "limit": 1})
    assert status == 409
    by_name = server.api("GET", f"{V2}/life")
    assert by_name == server.api("GET", f"{V2}/{made['id']}")
    assert "denied_slots" not in by_name and by_name["limit"] == 3
    server.api("PATCH", f"{V2}/life", {"name": "life-2", "limit": 5, "active": False}, expect=204)
    changed = server.api("GET", f"{V2}/{made['id']}")
    assert (changed["name"], changed["limit"], changed["active"]) == ("life-2", 5, False)
    limit(server, "taken")
    assert server.request("PATCH", f"{V2}/life-2", {"name": "taken"})[0] == 409
    assert [x["name"] for x in server.api("POST", f"{V2}/filter", {})] == ["life-2", "taken"]
    assert [x["name"] for x in server.api("POST", f"{V2}/filter", {"limit": 1, "offset": 1})] == ["taken"]
    server.api("DELETE", f"{V2}/life-2", expect=204)
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"limit": 1})):
        assert server.request(method, f"{V2}/life-2", body)[0] == 404
    server.api("DELETE", f"{V2}/taken", expect=204)


def test_refused_bodies(server):
    limit(server, "refuse", 2)
    for path, body in (("/", {"name": "x"}), ("/", {"name": "x", "limit": -1}), ("/", {"name": "a/b", "limit": 1}), ("/", {"name": "x", "limit": 1, "more": 1}),
                       ("/increment", {"names": ["refuse"]}), ("/increment", {"names": ["refuse"], "slots": 0}), ("/increment", {"slots": 1}),
                       ("/increment", {"names": "refuse", "slots": 1}), ("/increment", {"names": ["refuse"], "slots": 1, "mode": "other"}),
                       ("/increment", {"names": ["refuse"], "slots": 3}), ("/increment", {"names": ["refuse"], "slots": 1, "mode": "rate_limit"}),
                       ("/increment-with-lease", {"names": ["refuse"], "slots": 1, "lease_duration": 59}),
                       ("/increment-with-lease", {"names": ["refuse"], "slots": 1, "lease_duration": 86401}),
                       ("/increment-with-lease", {"names": ["refuse"], "slots": 1, "holder": {"type": "worker", "id": str(uuid.uuid4())}}),
                       ("/increment-with-lease", {"names": ["refuse"], "slots": 1, "holder": {"type": "flow_run"}}),
                       ("/decrement", {"names": ["refuse"], "slots": 1, "occupancy_seconds": 0}), ("/decrement-with-lease", {}),
                       ("/decrement-with-lease", {"lease_id": "x"})):
        assert server.request("POST", V2 + path, body)[0] == 422, (path, body)
    assert active(server, "refuse") == 0


def test_all_or_nothing(server):
    limit(server, "one", 1)
    limit(server, "two", 2)
    body = {"names": ["one", "two", "unknown"], "slots": 1, "mode": "concurrency", "create_if_missing": None}
    assert sorted((x["name"], x["limit"]) for x in server.api("POST", f"{V2}/increment", body)) == [("one", 1), ("two", 2)]
    headers, text = locked(server, f"{V2}/increment", body)
    assert text == b'{"detail":"Locked"}' and 0 < float(headers["Retry-After"]) <= 60
    assert (active(server, "one"), active(server, "two")) == (1, 1)
    server.api("POST", f"{V2}/increment", {"names": ["two"], "slots": 1})
    given = server.api("POST", f"{V2}/decrement", {"names": ["one", "two"], "slots": 1, "occupancy_seconds": 0.5})
    assert sorted(x["name"] for x in given) == ["one", "two"]
    assert (active(server, "one"), active(server, "two")) == (0, 1)
    server.api("POST", f"{V2}/decrement", {"names": ["one"], "slots": 1})
    assert active(server, "one") == 0, "never below none"
    assert server.api("POST", f"{V2}/increment", {"names": ["unknown"], "slots": 1}) == []
    server.api("PATCH", f"{V2}/one", {"active": False})
    for _ in range(3):
        server.api("POST", f"{V2}/increment", {"names": ["one"], "slots": 1})
    assert active(server, "one") == 0, "an inactive limit counts nothing"


def test_those_who_were_refused_lengthen_the_wait(server):
    limit(server, "crowd", 1)
    server.api("POST", f"{V2}/increment", {"names": ["crowd"], "slots": 1})
    waits = [float(locked(server, f"{V2}/increment", {"names": ["crowd"], "slots": 1})[0]["Retry-After"]) for _ in range(40)]
    assert sum(waits[-5:]) > 2 * sum(waits[:2]), waits


def test_rate(server):
    limit(server, "rate", 2, slot_decay_per_second=5.0)
    body = {"names": ["rate"], "slots": 2, "mode": "rate_limit"}
    server.api("POST", f"{V2}/increment", body)
    assert 0 < float(locked(server, f"{V2}/increment", body)[0]["Retry-After"]) < 3
    wait_for(lambda: server.request("POST", f"{V2}/increment", body)[0] == 200, 5, every=0.05)
    wait_for(lambda: active(server, "rate") == 0, 5)


def test_lease(server):
    limit(server, "leased", 2)
    run = str(uuid.uuid4())
    got = server.api("POST", f"{V2}/increment-with-lease", {"names": ["leased"], "slots": 2, "lease_duration": 60, "holder": {"type": "flow_run", "id": run}})
    assert [x["name"] for x in got["limits"]] == ["leased"] and active(server, "leased") == 2
    locked(server, f"{V2}/increment-with-lease", {"names": ["leased"], "slots": 1})
    server.api("POST", f"{V2}/leases/{got['lease_id']}/renew", {"lease_duration": 120}, expect=204)
    server.api("POST", f"{V2}/leases/{got['lease_id']}/renew", expect=204)
    assert server.request("POST", f"{V2}/leases/{got['lease_id']}/renew", {"lease_duration": 1})[0] == 422
    for _ in range(2):
        server.api("POST", f"{V2}/decrement-with-lease", {"lease_id": got["lease_id"]}, expect=204)
        assert active(server, "leased") == 0
    assert server.request("POST", f"{V2}/leases/{got['lease_id']}/renew", {})[0] == 410
    none = server.api("POST", f"{V2}/increment-with-lease", {"names": ["nothing"], "slots": 1})
    assert none["limits"] == [] and uuid.UUID(none["lease_id"])


def test_lease_outlives_what_changed_under_it(server):
    limit(server, "kept", 1)
    limit(server, "dropped", 1)
    limit(server, "asleep", 1, active=False)
    got = server.api("POST", f"{V2}/increment-with-lease", {"names": ["kept", "dropped", "asleep"], "slots": 1})
    server.api("DELETE", f"{V2}/dropped", expect=204)
    server.api("PATCH", f"{V2}/asleep", {"active": True, "active_slots": 1})
    server.api("POST", f"{V2}/decrement-with-lease", {"lease_id": got["lease_id"]}, expect=204)
    assert active(server, "kept") == 0
    assert active(server, "asleep") == 1, "its slot was not this lease's"


def test_lease_survives_a_crash(server):
    limit(server, "durable", 1)
    got = server.api("POST", f"{V2}/increment-with-lease", {"names": ["durable"], "slots": 1, "lease_duration": 300})
    server.kill()
    server.start()
    assert active(server, "durable") == 1
    server.api("POST", f"{V2}/leases/{got['lease_id']}/renew", {}, expect=204)
    server.api("POST", f"{V2}/decrement-with-lease", {"lease_id": got["lease_id"]}, expect=204)
    assert active(server, "durable") == 0


def test_tag_limits(server):
    status, _, _ = server.request("POST", "/concurrency_limits/", {"tag": "db", "concurrency_limit": 1})
    assert status == 201
    status, _, text = server.request("POST", "/concurrency_limits/", {"tag": "db", "concurrency_limit": 2})
    assert status == 200 and b'"concurrency_limit":2' in text
    one = server.api("GET", "/concurrency_limits/tag/db")
    assert one == server.api("GET", f"/concurrency_limits/{one['id']}") and set(one) == {"id", "created", "updated", "tag", "concurrency_limit", "active_slots"}
    assert server.api("GET", f"{V2}/tag:db")["limit"] == 2
    first, second, third = (str(uuid.uuid4()) for _ in range(3))
    for task in (first, first, second):
        assert server.api("POST", "/concurrency_limits/increment", {"names": ["db", "none"], "task_run_id": task}) == [{"id": one["id"], "name": "db", "limit": 2}]
    assert server.api("GET", "/concurrency_limits/tag/db")["active_slots"] == [first, second], "asked twice, taken once"
    headers, text = locked(server, "/concurrency_limits/increment", {"names": ["db"], "task_run_id": third})
    assert 0 < float(headers["Retry-After"]) <= 13 and b"db" in text
    back = server.api("POST", "/concurrency_limits/decrement", {"names": ["db"], "task_run_id": first, "occupancy_seconds": 1})
    assert [x["name"] for x in back] == ["tag:db"], "by the whole name, here alone, as the reference does"
    again = server.api("POST", "/concurrency_limits/decrement", {"names": ["db", "none"], "task_run_id": first})
    assert again == back, "those that are there, given back now or before"
    assert server.api("POST", "/concurrency_limits/filter", {})[0]["active_slots"] == [second]
    assert server.api("POST", "/concurrency_limits/tag/db/reset", {"slot_override": [first, third]}) is None
    assert sorted(server.api("GET", "/concurrency_limits/tag/db")["active_slots"]) == sorted([first, third]) and active(server, "tag:db") == 2
    server.api("POST", "/concurrency_limits/tag/db/reset")
    assert server.api("GET", "/concurrency_limits/tag/db")["active_slots"] == [] and active(server, "tag:db") == 0
    assert server.api("DELETE", "/concurrency_limits/tag/db", expect=200) is None
    for method, path in (("GET", "/tag/db"), ("DELETE", "/tag/db"), ("POST", "/tag/db/reset"), ("GET", f"/{one['id']}"), ("DELETE", f"/{one['id']}")):
        assert server.request(method, "/concurrency_limits" + path)[0] == 404
    assert server.request("GET", "/concurrency_limits/" + limit(server, "not-a-tag")["id"])[0] == 404


def test_tag_limit_of_none(server):
    made = server.api("POST", "/concurrency_limits/", {"tag": "never", "concurrency_limit": 0})
    headers, text = locked(server, "/concurrency_limits/increment", {"names": ["never"], "task_run_id": str(uuid.uuid4())})
    assert headers["Retry-After"] is None and b"never" in text
    server.api("DELETE", f"/concurrency_limits/{made['id']}", expect=200)
    for body in ({"tag": "t"}, {"concurrency_limit": 1}, {"tag": "", "concurrency_limit": 1}, {"tag": "t", "concurrency_limit": 1, "x": 1}, [], None):
        assert server.request("POST", "/concurrency_limits/", body)[0] == 422, body


def test_tags_of_rest_task_runs(server):
    """A task run that goes through the server's own rules shows as a holder."""
    server.api("POST", "/concurrency_limits/", {"tag": "rest", "concurrency_limit": 1})
    run = make_run(server, flow="tagged")
    set_state(server, run, "RUNNING")
    tasks = [server.api("POST", "/task_runs/", {"flow_run_id": run["id"], "task_key": "t", "dynamic_key": str(i), "tags": ["rest"]}) for i in range(2)]
    assert set_state(server, tasks[0], "RUNNING", kind="task_runs")["status"] == "ACCEPT"
    assert set_state(server, tasks[1], "RUNNING", kind="task_runs")["status"] == "WAIT"
    assert server.api("GET", "/concurrency_limits/tag/rest")["active_slots"] == [tasks[0]["id"]]
    set_state(server, tasks[0], "COMPLETED", kind="task_runs")
    assert set_state(server, tasks[1], "RUNNING", kind="task_runs")["status"] == "ACCEPT"


def test_deployment_lease_is_renewed(server):
    flow = server.api("POST", "/flows/", {"name": "limited"})
    d = server.api("POST", "/deployments/", {"name": "d", "flow_id": flow["id"], "concurrency_limit": 1})
    runs = [server.api("POST", f"/deployments/{d['id']}/create_flow_run", {}) for _ in range(2)]
    first, second = (set_state(server, r, "PENDING") for r in runs)
    assert first["status"] == "ACCEPT" and second["status"] == "REJECT" and second["state"]["name"] == "AwaitingConcurrencySlot"
    lease = first["state"]["state_details"]["deployment_concurrency_lease_id"]
    server.api("POST", f"{V2}/leases/{lease}/renew", {"lease_duration": 300}, expect=204)
    assert active(server, f"deployment:{d['id']}") == 1
    set_state(server, runs[0], "RUNNING")
    set_state(server, runs[0], "COMPLETED")
    assert active(server, f"deployment:{d['id']}") == 0
    assert server.request("POST", f"{V2}/leases/{lease}/renew", {})[0] == 410


def test_bulk_runs_of_a_deployment(server):
    flow = server.api("POST", "/flows/", {"name": "bulk"})
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    d = server.api("POST", "/deployments/", {"name": "d", "flow_id": flow["id"], "enforce_parameter_schema": True, "parameter_openapi_schema": schema})
    path = f"/deployments/{d['id']}/create_flow_run/bulk"
    results = server.api("POST", path, [{"parameters": {"n": 1}}, {"parameters": {"n": "x"}}, {"parameters": {"n": 2}, "work_queue_name": "q"}, {"parameters": {"n": 3}}])["results"]
    assert [r["status"] for r in results] == ["CREATED", "FAILED", "FAILED", "CREATED"]
    assert "integer" in results[1]["error"] and results[1]["flow_run_id"] is None and results[0]["error"] is None
    where = {"deployments": {"id": {"any_": [d["id"]]}}}
    assert server.api("POST", "/flow_runs/count", where) == 2
    assert server.api("GET", f"/flow_runs/{results[3]['flow_run_id']}")["parameters"] == {"n": 3}
    assert server.api("POST", path, []) == {"results": []}
    for body in ({}, None, [{"parameters": {"n": 1}}, {"unknown": 1}], [{"parameters": {"n": 1}}] * 101, [1]):
        assert server.request("POST", path, body)[0] == 422, body
    assert server.api("POST", "/flow_runs/count", where) == 2, "a body that is wrong makes nothing"
    assert server.request("POST", f"/deployments/{uuid.uuid4()}/create_flow_run/bulk", [{}])[0] == 404


def test_who_fills_a_pool(server):
    server.api("POST", "/work_pools/", {"name": "status", "type": "process", "concurrency_limit": 5})
    q = server.api("POST", "/work_pools/status/queues", {"name": "busy", "concurrency_limit": 2})
    flow = server.api("POST", "/flows/", {"name": "status"})
    runs = [server.api("POST", "/flow_runs/", {"flow_id": flow["id"], "work_pool_name": "status", "work_queue_name": "busy", "name": f"r{i}"}) for i in range(4)]
    set_state(server, runs[0], "RUNNING")
    set_state(server, runs[1], "RUNNING")
    set_state(server, runs[1], "CANCELLING")
    set_state(server, runs[2], "COMPLETED")
    pool = server.api("POST", "/work_pools/status/concurrency_status", {})
    assert (pool["concurrency_limit"], pool["active_slots"], pool["count"], pool["pages"], pool["page"]) == (5, 2, 2, 1, 1)
    busy = next(x for x in pool["queues"] if x["queue_name"] == "busy")
    assert (busy["queue_id"], busy["concurrency_limit"], busy["active_slots"], busy["flow_run_count"]) == (q["id"], 2, 2, 2)
    assert [(r["name"], r["state_type"]) for r in busy["flow_runs"]] == [("r0", "RUNNING"), ("r3", "PENDING")]
    assert busy["flow_runs"][0]["time_in_current_state"] >= 0 and busy["flow_runs"][0]["start_time"] and busy["flow_runs"][1]["start_time"] is None
    short = server.api("POST", "/work_pools/status/concurrency_status", {"flow_run_limit": 1, "limit": 1, "page": 2})
    assert [x["queue_name"] for x in short["queues"]] == ["busy"] and len(short["queues"][0]["flow_runs"]) == 1 and short["pages"] == 2
    queue = server.api("POST", f"/work_queues/{q['id']}/concurrency_status", {"limit": 2, "page": 2})
    assert (queue["concurrency_limit"], queue["active_slots"], queue["count"], queue["pages"]) == (2, 3, 3, 2)
    assert [r["name"] for r in queue["flow_runs"]] == ["r3"]
    assert server.request("POST", "/work_pools/none/concurrency_status", {})[0] == 404
    assert server.request("POST", f"/work_queues/{uuid.uuid4()}/concurrency_status", {})[0] == 404


def waiting(server, name, runs=3, **more):
    """A deployment with a limit of 1: the run that has the slot, and those that wait for it, in their order."""
    flow = server.api("POST", "/flows/", {"name": "limited"})
    d = server.api("POST", "/deployments/", {"name": name, "flow_id": flow["id"], "concurrency_limit": 1} | more)
    made = [server.api("POST", f"/deployments/{d['id']}/create_flow_run", {}) for _ in range(runs)]
    assert set_state(server, made[0], "PENDING")["status"] == "ACCEPT"
    set_state(server, made[0], "RUNNING")
    for r in made[1:]:
        state = set_state(server, r, "PENDING")["state"]
        assert state["name"] == "AwaitingConcurrencySlot" and not due(state["state_details"]["scheduled_time"])
    return d, made


def due(at):
    return datetime.datetime.fromisoformat(at) <= datetime.datetime.now(datetime.timezone.utc)


def may_try(server, runs):
    """Which of the runs that wait for a slot are due."""
    states = [server.api("GET", f"/flow_runs/{r['id']}") for r in runs]
    return [due(r["next_scheduled_start_time"]) for r in states if r["state_name"] == "AwaitingConcurrencySlot"]


def test_freed_slot_wakes_who_waits(server):
    """Not after its 30 s but at once; as many as there are slots, who waits longest first; and it starts without another wait."""
    d, (first, second, third) = waiting(server, "wakes")
    time.sleep(0.3)
    assert may_try(server, (second, third)) == [False, False]
    set_state(server, first, "COMPLETED")
    wait_for(lambda: may_try(server, (second, third)) == [True, False], 3)
    time.sleep(0.3)
    assert may_try(server, (second, third)) == [True, False], "one slot, one run"
    assert set_state(server, second, "PENDING")["status"] == "ACCEPT"
    assert set_state(server, second, "RUNNING")["status"] == "ACCEPT"
    assert may_try(server, (third,)) == [False]
    server.api("DELETE", f"/flow_runs/{second['id']}")
    wait_for(lambda: may_try(server, (third,)) == [True], 3)
    assert set_state(server, third, "PENDING")["status"] == "ACCEPT"


@pytest.mark.parametrize("method, path, body", [
    ("PATCH", "/v2/concurrency_limits/deployment:<d>", {"limit": 3}), ("PATCH", "/v2/concurrency_limits/deployment:<d>", {"active": False}),
    ("PATCH", "/v2/concurrency_limits/deployment:<d>", {"active_slots": 0, "limit": 2}), ("DELETE", "/v2/concurrency_limits/deployment:<d>", None),
    ("PATCH", "/deployments/<d>", {"concurrency_limit": 3}), ("PATCH", "/deployments/<d>", {"concurrency_limit": None}),
])
def test_changed_limit_wakes_who_waits(server, method, path, body):
    d, (_, second, third) = waiting(server, f"changed-{uuid.uuid4()}")
    server.api(method, path.replace("<d>", d["id"]), body)
    wait_for(lambda: may_try(server, (second, third)) == [True, True], 3)


def test_lease_given_back_wakes_who_waits(server):
    flow = server.api("POST", "/flows/", {"name": "limited"})
    shared = limit(server, f"shared-{uuid.uuid4()}")
    lease = server.api("POST", f"{V2}/increment-with-lease", {"names": [shared["name"]], "slots": 1, "lease_duration": 60})["lease_id"]
    d = server.api("POST", "/deployments/", {"name": "expires", "flow_id": flow["id"], "global_concurrency_limit_id": shared["id"]})
    run = server.api("POST", f"/deployments/{d['id']}/create_flow_run", {})
    assert set_state(server, run, "PENDING")["state"]["name"] == "AwaitingConcurrencySlot"
    server.api("POST", f"{V2}/decrement-with-lease", {"lease_id": lease})
    wait_for(lambda: may_try(server, (run,)) == [True], 3)
