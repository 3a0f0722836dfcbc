"""What dashboards and run pages draw: history, lateness, graphs, counts."""
import random
import uuid
from datetime import datetime, timedelta, timezone

from tests.api.test_runs import make_run, set_state

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def iso(t):
    return t.isoformat().replace("+00:00", "Z")


def at(server, flow, when, *states, **more):
    """A run that was expected `when`, and went through these states."""
    run = make_run(server, flow=flow, state={"type": "SCHEDULED", "state_details": {"scheduled_time": iso(when)}}, **more)
    for s in states:
        set_state(server, run, s, force=True)
    return run


def task(server, run, key, *states, inputs=None, **more):
    t = server.api("POST", "/task_runs/", {"flow_run_id": run["id"], "task_key": key, "dynamic_key": str(uuid.uuid4()), "name": key, "task_inputs": inputs or {}} | more)
    for s in states:
        set_state(server, t, s, kind="task_runs", force=True)
    return t


def of(t):
    return [{"input_type": "task_run", "id": t["id"]}]


def test_history(server):
    start = NOW - timedelta(hours=10)
    at(server, "history", start, "RUNNING", "COMPLETED")
    at(server, "history", start + timedelta(minutes=59, seconds=59), "RUNNING", "COMPLETED")
    at(server, "history", start + timedelta(hours=1))
    at(server, "history", start + timedelta(hours=3))
    at(server, "history", start - timedelta(seconds=1))
    where = {"flows": {"name": {"any_": ["history"]}}}
    span = {"history_start": iso(start), "history_end": iso(start + timedelta(hours=2, minutes=30)), "history_interval_seconds": 3600}
    got = server.api("POST", "/flow_runs/history", where | span)
    assert [(x["interval_start"], x["interval_end"]) for x in got] == [(iso(start + timedelta(hours=i)), iso(start + timedelta(hours=i + 1))) for i in range(3)]
    first, second, third = (x["states"] for x in got)
    assert [(s["state_type"], s["state_name"], s["count_runs"]) for s in first] == [("COMPLETED", "Completed", 2)]
    since = (datetime.now(timezone.utc) - NOW).total_seconds()  # lateness goes on while the tests run
    assert 19 * 3600 - 5 < first[0]["sum_estimated_lateness"] < 19 * 3600 + 2 * since + 60 and 0 <= first[0]["sum_estimated_run_time"] < 5
    assert [(s["state_name"], s["count_runs"]) for s in second] == [("Scheduled", 1)] and third == []
    assert 9 * 3600 - 5 < second[0]["sum_estimated_lateness"] < 9 * 3600 + since + 60
    assert server.api("POST", "/flow_runs/history", span | {"history_end": iso(start)}) == []
    assert len(server.api("POST", "/flow_runs/history", where | span | {"history_end": "9999-01-01T00:00:00Z", "history_interval_seconds": 1})) == 500
    assert len(server.api("POST", "/flow_runs/history", {"history_start": "0001-01-01T00:00:00Z", "history_end": "9999-12-31T00:00:00Z", "history_interval_seconds": 3.1e9})) > 90
    for bad in ({"history_interval_seconds": 0.5}, {"history_interval_seconds": None}, {"history_start": "x"}, {"history_interval_seconds": 1e300}):
        assert server.request("POST", "/flow_runs/history", span | bad)[0] == 422, bad


def test_history_of_tasks_and_lateness(server):
    run = at(server, "work", NOW - timedelta(seconds=100), "RUNNING")
    task(server, run, "a", "RUNNING", "COMPLETED")
    task(server, run, "b", "RUNNING", "FAILED")
    where = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    got = server.api("POST", "/task_runs/history", where | {"history_start": iso(NOW - timedelta(hours=1)), "history_end": iso(NOW + timedelta(hours=1)), "history_interval_seconds": 7200})
    assert [(s["state_type"], s["count_runs"]) for s in got[0]["states"]] == [("COMPLETED", 1), ("FAILED", 1)]
    assert 99 < server.api("POST", "/flow_runs/lateness", where) < 1000  # NOW is when the tests were collected
    assert server.api("POST", "/flow_runs/lateness", {"flow_runs": {"id": {"any_": []}}}) is None


def test_graph(server):
    run = make_run(server, flow="graph")
    set_state(server, run, "RUNNING")
    a = task(server, run, "a", "RUNNING", "COMPLETED")
    b = task(server, run, "b", "RUNNING", "COMPLETED", inputs={"x": of(a), "y": of(a), "n": [{"input_type": "parameter", "name": "n"}]})
    outer = task(server, run, "outer", "RUNNING")
    inner = task(server, run, "inner", "RUNNING", inputs={"x": of(b), "__parents__": of(outer)})
    stand_in = task(server, run, "sub")
    sub = make_run(server, flow="sub-flow", name="child", parent_task_run_id=stand_in["id"])
    set_state(server, sub, "RUNNING")
    after = task(server, run, "after", "RUNNING", inputs={"x": [{"input_type": "flow_run", "id": sub["id"]}], "gone": [{"input_type": "task_run", "id": str(uuid.uuid4())}]})
    graph = server.api("GET", f"/flow_runs/{run['id']}/graph-v2")
    nodes = dict(graph["nodes"])
    assert [k for k, _ in graph["nodes"]] == sorted(nodes, key=lambda k: nodes[k]["start_time"]) and graph["end_time"] is None and graph["start_time"]
    assert [s["type"] for s in graph["states"]] == ["PENDING", "RUNNING"]
    ids = lambda edges: [e["id"] for e in edges]
    assert ids(nodes[b["id"]]["parents"]) == [a["id"]], "named twice, drawn once"
    assert ids(nodes[a["id"]]["children"]) == [b["id"]] and ids(nodes[b["id"]]["children"]) == [inner["id"]]
    assert ids(nodes[inner["id"]]["encapsulating"]) == [outer["id"]] and nodes[outer["id"]]["children"] == []
    child = nodes[sub["id"]]
    assert (child["kind"], child["label"], child["state_type"]) == ("flow-run", "sub-flow / child", "RUNNING") and stand_in["id"] not in nodes
    assert ids(child["children"]) == [after["id"]] and ids(nodes[after["id"]]["parents"]) == [sub["id"]]
    assert set(graph["root_node_ids"]) == {a["id"], outer["id"], sub["id"]}
    ended = nodes[b["id"]]["end_time"]
    later = {k for k, _ in server.api("GET", f"/flow_runs/{run['id']}/graph-v2?since={ended}")["nodes"]}
    assert later == set(nodes) - {a["id"]}
    assert server.request("GET", f"/flow_runs/{run['id']}/graph-v2?since=x")[0] == 422
    flat = {x["id"]: x for x in server.api("GET", f"/flow_runs/{run['id']}/graph")}
    assert len(flat) == 6 and flat[b["id"]]["upstream_dependencies"] == [{"input_type": "task_run", "id": a["id"]}]
    assert flat[after["id"]]["upstream_dependencies"][0] == {"input_type": "flow_run", "id": sub["id"]}
    assert flat[a["id"]]["state"]["type"] == "COMPLETED" and flat[a["id"]]["untrackable_result"] is False and flat[a["id"]]["estimated_run_time"] >= 0
    for path in ("graph", "graph-v2"):
        assert server.request("GET", f"/flow_runs/{uuid.uuid4()}/{path}")[0] == 404


def test_ui_counts(server):
    run = at(server, "counts", NOW - timedelta(minutes=5), "RUNNING")
    done = task(server, run, "a", "RUNNING", "COMPLETED")
    for i, s in enumerate(("FAILED", "CRASHED", "CANCELLED")):
        task(server, run, f"t{i}", "RUNNING", s)
    stand_in = task(server, run, "sub")
    make_run(server, flow="counts-sub", parent_task_run_id=stand_in["id"])
    other, where = str(uuid.uuid4()), {"flow_runs": {"id": {"any_": [run["id"]]}}}
    assert server.api("POST", "/ui/flow_runs/count-task-runs", {"flow_run_ids": [run["id"], other, run["id"]]}) == {run["id"]: 4, other: 0}
    counts = server.api("POST", "/ui/task_runs/count", where)
    assert counts == {"SCHEDULED": 0, "PENDING": 1, "RUNNING": 0, "COMPLETED": 1, "FAILED": 1, "CANCELLED": 1, "CRASHED": 1, "PAUSED": 0, "CANCELLING": 0}
    buckets = server.api("POST", "/ui/task_runs/dashboard/counts", where | {"task_runs": {"start_time": {"after_": iso(NOW - timedelta(hours=1))}}})
    assert len(buckets) == 20 and sum(x["completed"] for x in buckets) == 2 and sum(x["failed"] for x in buckets) == 2
    assert sum(x["completed"] + x["failed"] for x in buckets[:15]) == 0
    for body in ({}, {"task_runs": {}}, {"task_runs": {"start_time": {"before_": iso(NOW)}}}, {"task_runs": {"start_time": {"after_": "x"}}}):
        assert server.request("POST", "/ui/task_runs/dashboard/counts", body)[0] == 422, body
    shown = server.api("GET", f"/ui/task_runs/{done['id']}")
    assert shown["flow_run_name"] == run["name"] and shown["state"]["type"] == "COMPLETED" and shown["task_key"] == "a"
    assert server.request("GET", f"/ui/task_runs/{other}")[0] == 404
    simple = server.api("POST", "/ui/flow_runs/history", where)
    assert [(x["id"], x["state_type"]) for x in simple] == [(run["id"], "RUNNING")] and simple[0]["lateness"] >= 299 and simple[0]["duration"] >= 0
    assert server.request("POST", "/ui/flow_runs/history", {"limit": 1001})[0] == 422
    assert server.request("POST", "/ui/flow_runs/count-task-runs", {"flow_run_ids": [other] * 201})[0] == 422


def test_ui_history_order(server):
    runs = [at(server, "order", NOW + timedelta(hours=h)) for h in (2, 1, 3)]
    where = {"flows": {"name": {"any_": ["order"]}}}
    assert [x["id"] for x in server.api("POST", "/ui/flow_runs/history", where)] == [runs[i]["id"] for i in (2, 0, 1)]
    assert [x["id"] for x in server.api("POST", "/ui/flow_runs/history", where | {"sort": "EXPECTED_START_TIME_ASC", "limit": 2})] == [runs[i]["id"] for i in (1, 0)]


def test_ui_flows(server):
    soon = at(server, "next", NOW + timedelta(hours=1))
    at(server, "next", NOW + timedelta(hours=2))
    idle = server.api("POST", "/flows/", {"name": "idle"})
    for name in ("d1", "d2"):
        server.api("POST", "/deployments/", {"name": name, "flow_id": idle["id"]})
    ids = {"flow_ids": [soon["flow_id"], idle["id"]]}
    next_runs = server.api("POST", "/ui/flows/next-runs", ids)
    assert next_runs[idle["id"]] is None and next_runs[soon["flow_id"]] == {
        "id": soon["id"], "flow_id": soon["flow_id"], "name": soon["name"], "state_name": "Scheduled", "state_type": "SCHEDULED",
        "next_scheduled_start_time": iso(NOW + timedelta(hours=1))}
    assert server.api("POST", "/ui/flows/count-deployments", ids) == {soon["flow_id"]: 0, idle["id"]: 2}
    assert server.api("POST", "/ui/flows/next-runs", {"flow_ids": []}) == {}
    assert server.request("POST", "/ui/flows/next-runs", {})[0] == 422


def test_forms(server):
    server.api("POST", "/variables/", {"name": "five", "value": 5})
    schema = {"type": "object", "required": ["must"], "properties": {"n": {"type": "integer"}, "list": {"type": "array", "items": {"type": "integer"}}, "must": {"type": "string"}}}
    check = lambda values: server.api("POST", "/ui/schemas/validate", {"schema": schema, "values": values})
    assert check({"must": "x", "n": {"__prefect_kind": "workspace_variable", "variable_name": "five"}}) == {"errors": [], "valid": True}
    wrong = check({"n": "x", "list": [1, "y"]})
    assert not wrong["valid"] and {e["property"] for e in wrong["errors"]} == {"n", "list", "must"}
    assert next(e for e in wrong["errors"] if e["property"] == "list")["errors"][0]["index"] == 1
    missing = check({"must": "x", "n": {"__prefect_kind": "workspace_variable", "variable_name": "no-such"}})
    assert not missing["valid"] and "no-such" in missing["errors"][0]["errors"][0]
    later = check({"must": "x", "n": {"__prefect_kind": "jinja", "template": "{{ later }}"}})
    assert later["valid"], "what is rendered later is not held against it"
    for body in ({}, {"schema": {}}, {"schema": 1, "values": {}}, {"schema": {"type": "no-such-type"}, "values": {}}):
        assert server.request("POST", "/ui/schemas/validate", body)[0] == 422, body


def test_templates(server):
    assert server.request("POST", "/templates/validate", "Hello {{ flow.name }}")[0] == 204
    assert server.request("POST", "/templates/validate")[0] == 204
    status, _, text = server.request("POST", "/templates/validate", "one\ntwo {{ x")
    assert status == 422 and b'"line":2' in text and b'"source":"one\\ntwo {{ x"' in text
    assert server.request("POST", "/templates/validate", {"a": 1})[0] == 422


def test_listed_by_tag(server):
    """The same answers whether a listing goes along the tags or along the runs."""
    runs = [at(server, "tagged", NOW + timedelta(minutes=m), tags=tags)
            for m, tags in ((3, ["by-tag", "even"]), (1, ["by-tag"]), (2, ["by-tag", "even"]), (4, ["other-tag"]), (5, []))]
    a, b, c, other, none = (r["id"] for r in runs)

    def ids(sort="EXPECTED_START_TIME_ASC", **tags):
        body = {"flow_runs": {"tags": tags}, "flows": {"name": {"any_": ["tagged"]}}}
        found = [r["id"] for r in server.api("POST", "/flow_runs/filter", body | {"sort": sort, "limit": 50})]
        assert server.api("POST", "/flow_runs/count", body) == len(found)
        return found

    assert ids(all_=["by-tag"]) == [b, c, a]
    assert ids("EXPECTED_START_TIME_DESC", all_=["by-tag"]) == [a, c, b]
    assert ids("ID_DESC", all_=["by-tag"]) == [c, b, a]
    assert ids("START_TIME_ASC", all_=["by-tag"]) == [b, c, a]
    assert ids(all_=["by-tag", "even"]) == [c, a]
    assert ids(any_=["even"]) == [c, a]
    assert ids(any_=["even", "other-tag"]) == [c, a, other]
    assert ids(is_null_=True) == [none]
    assert ids(operator="or_", all_=["even"], is_null_=True) == [c, a, none]
    assert ids(all_=["no such tag"]) == []
    server.api("PATCH", f"/flow_runs/{b}", {"tags": ["even"]})
    server.api("DELETE", f"/flow_runs/{a}")
    assert ids(all_=["by-tag"]) == [c]
    assert ids(all_=["even"]) == [b, c]
    page = server.api("POST", "/flow_runs/paginate", {"flow_runs": {"tags": {"all_": ["even"]}}, "limit": 1, "page": 2, "sort": "EXPECTED_START_TIME_ASC"})
    assert [r["id"] for r in page["results"]] == [c] and page["count"] == 2


def test_tallies(server):
    """What is counted in advance (run_tally.h) is what counting one by one gives, for all kinds of edges and after all kinds of changes."""
    r = random.Random(5)
    runs = [at(server, f"tally-{i % 3}", NOW - timedelta(seconds=r.randrange(6 * 3600)), *r.choice((["RUNNING", "COMPLETED"], ["FAILED"], ["RUNNING"], ["CANCELLED"], [])))
            for i in range(60)]
    for run in runs[:12]:
        set_state(server, run, r.choice(("SCHEDULED", "CRASHED", "RUNNING", "COMPLETED")), force=True)
    for run in runs[12:18]:
        server.api("DELETE", f"/flow_runs/{run['id']}")
    server.api("DELETE", f"/flows/{runs[2]['flow_id']}")
    server.api("POST", "/flow_runs/", {"flow_id": runs[0]["flow_id"]})  # it has no state
    one_by_one = {"id": {"not_any_": [str(uuid.uuid4())]}}

    def same(quick, slow):
        """Equal, but for what goes on between the two questions."""
        for a, b in zip(quick, slow) if isinstance(quick, list) else ():
            for x, y in zip(a["states"], b["states"]):
                for key in ("sum_estimated_run_time", "sum_estimated_lateness"):
                    moving = x["state_type"] not in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
                    if abs(x.pop(key) - y.pop(key)) > (x["count_runs"] * 30 if moving else 1e-3):
                        return False
        return quick == slow

    def agree(path, body, own={}):
        for _ in range(3):  # a run may become late in between
            quick, slow = (server.api("POST", path, body | {"flow_runs": own | more}) for more in ({}, one_by_one))
            if same(quick, slow):
                return quick
        raise AssertionError((path, body, own, quick, slow))

    for seconds in (7, 61, 600, 1800, 3600, 5400, 86400):
        start = NOW - timedelta(seconds=r.randrange(7 * 3600), microseconds=r.randrange(10**6))
        for begin in (start, start.replace(minute=0, second=0, microsecond=0)):
            span = {"history_start": iso(begin), "history_end": iso(NOW + timedelta(hours=1)), "history_interval_seconds": seconds}
            got = agree("/flow_runs/history", span)
            agree("/flow_runs/history", span, {"state": {"type": {"any_": ["COMPLETED", "RUNNING"]}}})
            agree("/flow_runs/history", span, {"expected_start_time": {"after_": iso(begin + timedelta(minutes=7))}})
            assert seconds < 3600 or any(x["states"] for x in got)
            window = {"after_": iso(begin), "before_": iso(begin + timedelta(seconds=seconds))}
            for own in ({"expected_start_time": window}, {"expected_start_time": {"before_": iso(begin)}}, {"expected_start_time": window, "state": {"type": {"any_": ["FAILED", "COMPLETED"]}}}):
                agree("/flow_runs/count", {}, own)
    for own in ({}, {"state": {"type": {"any_": ["COMPLETED"]}}}, {"state": {"type": {"any_": ["SCHEDULED"]}}}, {"state": {"type": {"any_": ["CRASHED", "PENDING"]}}}):
        agree("/flow_runs/count", {}, own)
    assert agree("/flow_runs/count", {}) >= 30
    for bad in ({"state": {"type": {"any_": 1}}}, {"expected_start_time": {"after_": "x"}}, {"expected_start_time": {"x": 1}}, {"no": 1}):
        assert server.request("POST", "/flow_runs/count", {"flow_runs": bad})[0] == 422, bad
