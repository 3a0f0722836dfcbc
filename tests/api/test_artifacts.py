"""Artifacts: versions of a key, the newest of each, results of runs, and what is told of them."""
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.conftest import wait_for
from tests.api.events_help import stored
from tests.api.test_history_graph import task
from tests.api.test_runs import make_run, set_state


def make(server, key=None, **more):
    return server.api("POST", "/artifacts/", ({"key": key} if key else {}) | more, expect=201)


def keys(server, path="/artifacts/filter", **body):
    return [x["key"] for x in server.api("POST", path, body)]


def latest(server, key, status=200):
    return server.api("GET", f"/artifacts/{key}/latest", expect=status)


def test_every_field(server):
    run, step = make_run(server), str(uuid.uuid4())
    sent = {"key": "report-1", "type": "markdown", "description": "d", "data": {"n": 12345678901234567890123, "x": [1.50, None]},
            "metadata_": {"a": "b"}, "flow_run_id": run["id"], "task_run_id": step}
    made = make(server, **sent)
    assert set(made) == set(sent) | {"id", "created", "updated"} and made["created"] == made["updated"]
    assert all(made[k] == v for k, v in sent.items())
    assert server.api("GET", f"/artifacts/{made['id']}") == made
    assert b'{"n": 12345678901234567890123, "x": [1.5, null]}' in server.request("GET", f"/artifacts/{made['id']}")[2], "as it was sent"
    empty = make(server)
    assert {k for k, v in empty.items() if v is not None} == {"id", "created", "updated"}


@pytest.mark.parametrize("bad", [{"key": "Upper"}, {"key": ""}, {"key": "a_b"}, {"key": "a/b"}, {"key": 5}, {"type": 5}, {"description": []}, {"metadata_": []},
                                 {"metadata_": {"a": 1}}, {"metadata_": {"a": None}}, {"flow_run_id": "x"}, {"task_run_id": 1}, {"unknown": 1}, {"id": str(uuid.uuid4())}])
def test_refused(server, bad):
    before = server.api("POST", "/artifacts/count", {})
    assert server.request("POST", "/artifacts/", bad)[0] == 422
    assert server.api("POST", "/artifacts/count", {}) == before


def test_data_of_any_kind(server):
    for data in (5, 2.5, True, False, "", "text", [], {}, [1, [2]], None, {"a": None}):
        made = make(server, data=data)
        assert server.api("GET", f"/artifacts/{made['id']}")["data"] == data


def test_metadata_is_cut(server):
    made = make(server, metadata_={"short": "x" * 500, "long": "y" * 501, "wide": "é" * 501})
    assert made["metadata_"] == {"short": "x" * 500, "long": "y" * 500 + "...", "wide": "é" * 500 + "..."}
    server.api("PATCH", f"/artifacts/{made['id']}", {"metadata_": {"z": "q" * 1000}}, expect=204)
    assert server.api("GET", f"/artifacts/{made['id']}")["metadata_"] == {"z": "q" * 500 + "..."}


def test_versions_of_a_key(server):
    latest(server, "versions", 404)
    run = make_run(server)
    first = make(server, "versions", type="markdown", data=1, description="first", metadata_={"m": "1"}, flow_run_id=run["id"])
    row = latest(server, "versions")
    assert row["id"] != first["id"] and "latest_id" not in row and row["data"] == 1 and row["flow_run_id"] == run["id"]
    second = make(server, "versions", data=2)
    assert latest(server, "versions") == row | {"data": 2, "type": None, "description": None, "metadata_": None, "flow_run_id": None, "updated": second["created"]}
    collection, = server.api("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["versions"]}}})
    assert collection["latest_id"] == second["id"] and collection["id"] == row["id"] and collection["created"] == first["created"]
    # changes of the newest show, those of others do not
    server.api("PATCH", f"/artifacts/{first['id']}", {"data": "first, changed"}, expect=204)
    assert latest(server, "versions")["data"] == 2
    server.api("PATCH", f"/artifacts/{second['id']}", {"data": [2], "description": "second"}, expect=204)
    now = latest(server, "versions")
    assert (now["data"], now["description"], now["type"]) == ([2], "second", None)
    server.api("PATCH", f"/artifacts/{second['id']}", {}, expect=204)
    assert latest(server, "versions")["data"] == [2]
    # the newest goes, the one before takes its place, and the key ends with the last
    third = make(server, "versions", data=3)
    server.api("DELETE", f"/artifacts/{second['id']}", expect=204)
    assert latest(server, "versions")["data"] == 3
    server.api("DELETE", f"/artifacts/{third['id']}", expect=204)
    back = latest(server, "versions")
    assert (back["id"], back["data"], back["type"], back["description"], back["flow_run_id"]) == (row["id"], "first, changed", "markdown", "first", run["id"])
    server.api("DELETE", f"/artifacts/{first['id']}", expect=204)
    latest(server, "versions", 404)
    assert server.api("POST", "/artifacts/latest/count", {"artifacts": {"key": {"any_": ["versions"]}}}) == 0


def test_what_is_not_there(server):
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"data": 1})):
        assert server.request(method, f"/artifacts/{uuid.uuid4()}", body)[0] == 404
        assert server.request(method, "/artifacts/no-id", body)[0] == 404
    made = make(server)
    for bad in ({"key": "k"}, {"type": "t"}, {"flow_run_id": None}, {"metadata_": {"a": 1}}, {"description": 5}):
        assert server.request("PATCH", f"/artifacts/{made['id']}", bad)[0] == 422, bad


def test_filters_and_sorts(server):
    flow_run, other = make_run(server, flow="filtered", name="fr-a", tags=["aa"]), make_run(server, flow="unfiltered")
    step = task(server, flow_run, "step")
    deployed = server.api("POST", "/deployments/", {"name": "filtered", "flow_id": flow_run["flow_id"]})
    third = server.api("POST", f"/deployments/{deployed['id']}/create_flow_run", {})
    made = {n: make(server, n, **m) for n, m in {
        "f-b": {"type": "table", "flow_run_id": flow_run["id"]}, "f-a": {"type": "markdown", "flow_run_id": flow_run["id"], "task_run_id": step["id"]},
        "f-c": {"flow_run_id": other["id"]}, "f-d": {"type": "result", "flow_run_id": third["id"]}, "f-old": {"type": "table"}}.items()}
    keyless = make(server, type="table", flow_run_id=flow_run["id"])
    newer = make(server, "f-old", type="image")
    mine = {"key": {"like_": "F-"}}
    for path, more in (("/artifacts/filter", ["f-old"]), ("/artifacts/latest/filter", [])):
        def found(**body):
            assert server.api("POST", path.replace("filter", "count"), body) == len(rows := keys(server, path, **body)), body
            return sorted(rows, key=str)
        assert found(artifacts=mine) == sorted(["f-a", "f-b", "f-c", "f-d", "f-old"] + more)
        assert found(artifacts={"key": {"any_": ["f-a", "f-d", "none"]}}) == ["f-a", "f-d"] and found(artifacts={"key": {"any_": []}}) == []
        assert found(artifacts=mine | {"type": {"any_": ["markdown", "result"]}}) == ["f-a", "f-d"]
        assert found(artifacts=mine | {"type": {"not_any_": ["table", "image"]}}) == ["f-a", "f-d"], "one without a type is neither"
        assert found(artifacts={"operator": "or_", "key": {"any_": ["f-a"]}, "type": {"any_": ["image"]}}) == ["f-a", "f-old"]
        assert found(artifacts=mine | {"flow_run_id": {"any_": [flow_run["id"]]}}) == ["f-a", "f-b"]
        assert found(artifacts={"task_run_id": {"any_": [step["id"]]}}) == ["f-a"]
        assert found(artifacts=mine, flows={"name": {"any_": ["unfiltered"]}}) == ["f-c"]
        assert found(artifacts=mine, flow_runs={"tags": {"all_": ["aa"]}}) == ["f-a", "f-b"]
        assert found(task_runs={"id": {"any_": [step["id"]]}}) == ["f-a"]
        assert found(artifacts=mine, deployments={"id": {"any_": [deployed["id"]]}}) == ["f-d"]
        assert found(artifacts=mine, flow_runs={"name": {"any_": ["fr-a"]}}, task_runs={"name": {"any_": ["step"]}}) == ["f-a"]
        assert keys(server, path, artifacts=mine, sort="KEY_ASC")[:3] == ["f-a", "f-b", "f-c"] and keys(server, path, artifacts=mine, sort="KEY_DESC")[0] == "f-old"
        assert keys(server, path, artifacts=mine, sort="ID_DESC")[-1] == "f-b" == keys(server, path, artifacts=mine)[-1]
        assert keys(server, path, artifacts=mine, sort="CREATED_DESC")[-1] == "f-b"
        assert keys(server, path, artifacts=mine, sort="KEY_ASC", limit=2, offset=1) == ["f-b", "f-c"] and keys(server, path, limit=0) == []
        for bad in ({"artifacts": {"name": {"any_": []}}}, {"artifacts": {"key": {"any_": [1]}}}, {"artifacts": {"key": {"operator": "or_"}}}, {"artifacts": {"type": {"like_": "x"}}},
                    {"artifacts": {"key": {"exists_": 1}}}, {"sort": "NAME_ASC"}, {"limit": 201}, {"offset": -1}, {"artifacts": []}):
            assert server.request("POST", path, bad)[0] == 422, (path, bad)
    server.api("PATCH", f"/artifacts/{made['f-b']['id']}", {"description": "touched"}, expect=204)
    assert keys(server, sort="UPDATED_DESC")[0] == "f-b" == keys(server, "/artifacts/latest/filter", sort="UPDATED_DESC")[0]
    assert keys(server, artifacts={"flow_run_id": {"any_": [flow_run["id"]]}, "key": {"exists_": False}}) == [None]
    assert keyless["id"] not in [x["id"] for x in server.api("POST", "/artifacts/filter", {"artifacts": {"key": {"exists_": True}}})]
    assert [x["id"] for x in server.api("POST", "/artifacts/filter", {"artifacts": {"id": {"any_": [newer["id"]]}}})] == [newer["id"]]
    assert [x["key"] for x in server.api("POST", "/artifacts/latest/filter", {"artifacts": {"latest_id": {"any_": [newer["id"], made["f-old"]["id"]]}}})] == ["f-old"]
    assert server.request("POST", "/artifacts/filter", {"artifacts": {"latest_id": {}}})[0] == 422
    assert server.request("POST", "/artifacts/latest/filter", {"artifacts": {"id": {}}})[0] == 422
    order = keys(server, artifacts={"operator": "or_", "flow_run_id": {"any_": [flow_run["id"]]}}, sort="KEY_ASC")
    assert order[0] is None and order[-1] is not None, "those without a key come first"


def test_results_are_artifacts(server):
    """A state's result is kept as an artifact, and read from there."""
    run = make_run(server)
    data = {"type": "result", "v": [1, 2.50], "artifact_type": "result", "artifact_description": "what came out"}
    answer = set_state(server, run, "COMPLETED", data=data)
    kept = {"type": "result", "v": [1, 2.5]}
    assert answer["state"]["data"] == kept
    one, = server.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert (one["data"], one["type"], one["description"], one["key"], one["task_run_id"]) == (kept, "result", "what came out", None, None)

    def read():
        shown = server.api("GET", f"/flow_runs/{run['id']}")["state"]
        assert server.api("GET", f"/flow_run_states/{shown['id']}") == shown == server.api("GET", f"/flow_run_states/?flow_run_id={run['id']}")[-1]
        assert server.api("POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})[0]["state"] == shown
        return shown["data"]
    assert read() == kept
    assert set_state(server, run, "RUNNING")["status"] == "REJECT", "a result is not thrown away"
    server.api("PATCH", f"/artifacts/{one['id']}", {"data": "other"}, expect=204)
    assert read() == "other"
    server.api("DELETE", f"/artifacts/{one['id']}", expect=204)
    assert read() is None


@pytest.mark.parametrize("data, kept", [({"type": "unpersisted"}, None), (None, None), ({}, {}), (0, 0), (False, False), ("", ""), ("text", "text"), ([1], [1]),
                                        ({"artifact_key": None}, {})])
def test_which_data_is_kept(server, data, kept):
    run = make_run(server)
    set_state(server, run, "COMPLETED", data=data)
    assert server.api("GET", f"/flow_runs/{run['id']}")["state"]["data"] == kept
    rows = server.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert [x["data"] for x in rows] == ([] if kept is None else [kept])


def test_results_of_tasks(server):
    run = make_run(server)
    set_state(server, run, "RUNNING")
    t = task(server, run, "t")
    for bad in ("artifact_type", "artifact_key", "artifact_description"):
        assert server.request("POST", f"/task_runs/{t['id']}/set_state", {"state": {"type": "RUNNING", "data": {bad: 5}}})[0] == 422
    set_state(server, t, "RUNNING", kind="task_runs")
    set_state(server, t, "COMPLETED", kind="task_runs", data={"v": 1, "artifact_key": "task-result", "artifact_type": "markdown"}, state_details={"cache_key": "task-result"})
    assert server.api("GET", f"/task_runs/{t['id']}")["state"]["data"] == {"v": 1} == latest(server, "task-result")["data"]
    cached = task(server, run, "again")
    answer = set_state(server, cached, "RUNNING", kind="task_runs", state_details={"cache_key": "task-result"})
    assert answer["state"]["name"] == "Cached" and answer["state"]["data"] == {"v": 1}
    rows = server.api("POST", "/artifacts/filter", {"artifacts": {"task_run_id": {"any_": [t["id"], cached["id"]]}}, "sort": "CREATED_DESC"})
    assert [(x["task_run_id"], x["flow_run_id"], x["type"]) for x in rows] == [(cached["id"], run["id"], None), (t["id"], run["id"], "markdown")]


def test_in_the_graph(server):
    run = make_run(server, flow="drawn")
    set_state(server, run, "RUNNING")
    a, b = task(server, run, "a", "RUNNING"), task(server, run, "b", "RUNNING")
    old = make(server, "drawn", type="markdown", data="x", flow_run_id=run["id"], task_run_id=a["id"])
    new = make(server, "drawn", type="table", data="y", flow_run_id=run["id"], task_run_id=b["id"])
    bar = make(server, type="progress", data=37.5, flow_run_id=run["id"], task_run_id=b["id"])
    own = make(server, type="markdown", data="z", flow_run_id=run["id"])
    for hidden in ({"type": "result"}, {}):
        make(server, flow_run_id=run["id"], task_run_id=a["id"], data="hidden", **hidden)
    make(server, "elsewhere", type="markdown", flow_run_id=make_run(server)["id"])
    graph = server.api("GET", f"/flow_runs/{run['id']}/graph-v2")
    nodes = dict(graph["nodes"])

    def shown(x, latest, data=None):
        return {k: x[k] for k in ("id", "created", "key", "type")} | {"is_latest": latest, "data": data}
    assert nodes[a["id"]]["artifacts"] == [shown(old, False)]
    assert nodes[b["id"]]["artifacts"] == [shown(new, True), shown(bar, True, 37.5)]
    assert graph["artifacts"] == [shown(own, True)]


def test_what_is_told(server):
    run = make_run(server)
    step = task(server, run, "teller")
    first = make(server, "told", type="markdown", data={"a": 1}, description="d", flow_run_id=run["id"], task_run_id=step["id"])
    second = make(server, "told", data="x")
    server.api("PATCH", f"/artifacts/{second['id']}", {"data": "not told"}, expect=204)
    server.api("DELETE", f"/artifacts/{second['id']}", expect=204)
    server.api("DELETE", f"/artifacts/{first['id']}", expect=204)
    server.api("DELETE", f"/artifacts/{make(server, data='of no key')['id']}", expect=204)

    def events():
        found = [e for what in ("created", "updated", "deleted") for e in stored(server, f"prefect.artifact-collection.{what}")]
        return [e for e in sorted(found, key=lambda e: e["occurred"]) if e["resource"]["prefect.resource.name"] == "told"]
    made, updated, back, gone = wait_for(lambda: len(e := events()) == 4 and e)
    related = [{"prefect.resource.id": f"prefect.{k}.{v['id']}", "prefect.resource.role": r} for k, v, r in
               (("artifact", first, "latest"), ("flow-run", run, "flow-run"), ("task-run", step, "task-run"))]
    payload = {"key": "told", "type": "markdown", "data": {"a": 1}, "description": "d"}
    assert (made["event"], made["related"], made["payload"]) == ("prefect.artifact-collection.created", related, payload)
    assert (updated["event"], updated["payload"]) == ("prefect.artifact-collection.updated", {"key": "told", "type": None, "data": "x", "description": None})
    assert [r["prefect.resource.id"] for r in updated["related"]] == [f"prefect.artifact.{second['id']}"]
    assert (back["event"], back["related"], back["payload"]) == ("prefect.artifact-collection.updated", related, payload)
    assert (gone["event"], gone["related"], gone["payload"]) == ("prefect.artifact-collection.deleted", related, payload)
    assert len({e["resource"]["prefect.resource.id"] for e in (made, updated, back, gone)}) == 1


def test_large_data(server):
    """Stored whole, and not sent to everybody who listens."""
    big = "x" * (3 << 20)
    made = make(server, "large", data=big)
    assert server.api("GET", f"/artifacts/{made['id']}")["data"] == big == latest(server, "large")["data"]
    event = wait_for(lambda: [e for e in stored(server, "prefect.artifact-collection.created") if e["payload"]["key"] == "large"])[0]
    assert event["payload"]["data"] is None


def test_many_at_once(server):
    """Whoever comes in whichever order: the key's row is a copy of one that is there, and goes with the last."""
    def one(n):
        id = make(server, "crowded", data=n)["id"]
        server.api("PATCH", f"/artifacts/{id}", {"description": str(n)}, expect=204)
        return id
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(one, range(80)))
        row, = server.api("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["crowded"]}}})
        newest = server.api("GET", f"/artifacts/{row['latest_id']}")
        assert row["data"] == newest["data"] and row["description"] == newest["description"] == str(newest["data"])
        list(pool.map(lambda id: server.api("DELETE", f"/artifacts/{id}", expect=204), ids[::-1]))
    latest(server, "crowded", 404)
