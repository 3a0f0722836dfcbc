"""/openapi.json: what it is, that it is true (see also conftest.Server.request), and in what it differs from the published descriptions."""
import json
import os
import re
import urllib.request
from pathlib import Path

import pytest

from tests.api.conftest import ROOT
from tests.api.openapi import METHODS, Document, compare

PUBLISHED = ["prefect-3.8.8-openapi.json", "prefect-2.19.9-openapi.json"]

# Differences that are meant: a pattern of their lines (METHOD path: place: what), and why.
MEANT = [
    (r": body\.(.*\.)?(work_queues|work_pool_queues): extra$", "both names of the queues' filter are known wherever one is"),
    (r"bulk_(delete|set_state): body\.(flows|flow_runs|task_runs|deployments|work_pools|work_queues|work_pool_queues): extra$",
     "filters on other objects narrow what is deleted here too, and are not passed over"),
    (r"task_runs/(count|filter|history|paginate): body\.work_pools: extra$", "the pools' filter narrows task runs too, as it narrows flow runs"),
    (r"POST /flow_runs/\{id\}/set_state: body\.expected_state_type: extra$", "ours: how a worker claims a run only as it was told of it"),
    (r"\.deployments\.is_schedule_active: extra$", "2.x's name of a filter is known to routes that came later"),
    (r": (body|body\[\])\.state\.(id|timestamp): extra$", "2.x's keys of a state are known to routes that came later"),
    (r"POST /deployments/paginate: answer\.results\[\]\.(infra_overrides|is_schedule_active|manifest_path|schedule|schedules\[\]\.(catchup|max_active_runs)): extra$",
     "2.x's keys are answered by the route that came later"),
    (r"POST /task_runs/paginate: answer\.results\[\]\.\w+: extra$", "whole task runs are answered, not a choice of their keys"),
    (r"get_scheduled_flow_runs: answer\[\]\.flow_run\.work_pool_(id|name): extra$", "the run is answered as everywhere, with its pool's name"),
    (r": statuses \['20[01]', ('201', )?'422'\] / \['200', '422'\]$", "201 for what was made: answered there too, but not described"),
    (r": statuses \['20[04]'\] / \['20[04]', '422'\]$", "nothing can be wrong but the version's header, which is a 400, there too"),
    (r"templates/validate: statuses \['204', '422'\] / ", "204: answered there too, but not described"),
    (r": path resource(_id)?: (extra|not there)$", "it is no id: a name, prefect.deployment.<id>"),
    (r"schedule: opaque$", "alternatives that schedule/schedule.c reads: cron, interval, rrule"),
    (r"\.(trigger|actions\[\]|actions_on_\w+\[\]): opaque$", "alternatives that events/automation.c reads"),
    (r" /events.*: (body\.filter|body\[\]): opaque$", "read by events/: many nested alternatives"),
    (r"retry_delay: type any / ", "a number or a list of them: checked after the row (settle_task_run_policy)"),
    (r"body\.version_info: opaque$", "kept from clients, not used"),
    (r"GET /admin/settings: answer: opaque$", "our settings, which are not theirs"),
    (r"input_type: enum \[\] / ", "a flow run's result can be an input too"),
    (r"graph-v2: answer\.nodes\[\]: type any / array$", "pairs of an identifier and its node"),
    (r"ui/schemas/validate: answer\.errors\[\]: type any / ", "sentences, and objects of sentences by place, nested"),
    (r"POST /deployments/: body\.is_schedule_active: default none / True$", "not sent: `paused` says it"),
    (r"PUT /automations/\{id\}: body\.(description|enabled): default none / ", "not sent: it stays as it is, there too"),
]


def text_of(server, path="/openapi.json"):
    status, headers, text = server.request("GET", path)
    assert status == 200 and headers["Content-Type"] == "application/json"
    return text, headers


@pytest.fixture(scope="module")
def described(server):
    return Document(text_of(server)[0])


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def test_whole(described):
    """Every reference leads somewhere, everything is used, and each operation says what it must."""
    everything, seen = described.all, set()
    assert everything["openapi"].startswith("3.1")
    for one in references(everything):
        described.resolve({"$ref": one})
        seen.add(one)
    assert {f"#/components/schemas/{name}" for name in everything["components"]["schemas"]} == seen & {s for s in seen if "/schemas/" in s}
    ids = [o["operationId"] for _, _, _, o in described.routes]
    assert len(ids) == len(set(ids))
    for method, _, path, operation in described.routes:
        named = [p["name"] for p in map(described.resolve, operation["parameters"]) if p["in"] == "path"]
        assert named == re.findall(r"\{([^}]+)\}", path), path
        assert any(s.startswith("2") for s in operation["responses"]), path
        assert all("description" in described.resolve(a) for a in operation["responses"].values()), path
        assert method != "get" or "requestBody" not in operation, path


def test_all_routes(described):
    """What the router knows, but for WebSockets, is described; and nothing else."""
    rows = re.findall(r'^ROUTE\((\w+),\s*"([^"]+)",\s*\w+,\s*(\w+)', (ROOT / "src/api/routes.def").read_text(), re.M)
    assert {(m.lower(), p) for m, p, kind in rows if kind != "SOCKET"} == {(m, p) for m, _, p, _ in described.routes}
    assert all(set(item) <= METHODS for item in described.all["paths"].values())


def test_valid(described):
    validator = pytest.importorskip("openapi_spec_validator", reason="left out: openapi_spec_validator is not installed")
    validator.validate(described.all)


def test_unchanged(server):
    """One text under both paths, with a tag by which it is not sent twice."""
    text, headers = text_of(server)
    with urllib.request.urlopen(server.root + "/openapi.json") as answer:
        assert answer.read() == text and answer.headers["ETag"] == headers["ETag"]
    status, again, nothing = server.request("GET", "/openapi.json", headers={"If-None-Match": headers["ETag"]})
    assert (status, nothing, again["ETag"]) == (304, b"", headers["ETag"])
    assert server.request("GET", "/openapi.json", headers={"If-None-Match": '"other"'})[0] == 200


# (method, path, body that is refused, where): each rule of a kind that the description states is held.
HELD = [
    ("POST", "/flow_runs/history", {"history_start": "2024-01-01T00:00:00Z", "history_end": "2024-01-02T00:00:00Z"}, ["body", "history_interval_seconds"]),
    ("POST", "/flow_runs/bulk_delete", {"limit": 51}, ["body", "limit"]),
    ("POST", "/flow_runs/bulk_delete", {"limit": "many"}, ["body", "limit"]),
    ("POST", "/v2/concurrency_limits/increment", {"names": ["a"], "slots": 0}, ["body", "slots"]),
    ("POST", "/v2/concurrency_limits/increment", {"names": [1], "slots": 1}, ["body", "names", 0]),
    ("POST", "/v2/concurrency_limits/increment", {"names": ["a"], "slots": 1, "mode": "other"}, ["body", "mode"]),
    ("POST", "/v2/concurrency_limits/leases/00000000-0000-0000-0000-000000000001/renew", {"lease_duration": 59}, ["body", "lease_duration"]),
    ("POST", "/concurrency_limits/", {"tag": "t", "concurrency_limit": 1, "more": 1}, ["body", "more"]),
    ("POST", "/task_workers/filter", {"task_worker_filter": {"task_keys": "k"}}, ["body", "task_worker_filter", "task_keys"]),
    ("POST", "/events/count-by/nothing", {"filter": {}}, ["path", "countable"]),
    ("POST", "/events/count-by/day", {}, ["body", "filter"]),
    ("POST", "/events/count-by/day", {"filter": {}, "time_interval": 0.001}, ["body", "time_interval"]),
    ("POST", "/logs/filter", {"logs": {"text": {}}}, ["body", "logs", "text", "query"]),
    ("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"more": 1}}}, ["body", "flow_runs", "parent_flow_run_id", "more"]),
    ("POST", "/ui/task_runs/dashboard/counts", {}, ["body", "task_runs"]),
    ("POST", "/deployments/get_scheduled_flow_runs", {"deployment_ids": ["x"]}, ["body", "deployment_ids", 0]),
    ("PATCH", "/automations/00000000-0000-0000-0000-000000000001", {"enabled": None}, ["body", "enabled"]),
    ("GET", "/flow_run_states/?flow_run_id=x", None, ["query", "flow_run_id"]),
    ("GET", "/flow_run_states/", None, ["query", "flow_run_id"]),
    ("GET", "/flow_runs/00000000-0000-0000-0000-000000000001/graph-v2?since=x", None, ["query", "since"]),
    ("GET", "/block_documents/00000000-0000-0000-0000-000000000001?include_secrets=perhaps", None, ["query", "include_secrets"]),
]


@pytest.mark.parametrize("method,path,body,where", HELD)
def test_held(server, method, path, body, where):
    status, _, text = server.request(method, path, body)
    assert status == 422, text
    assert where in [d["loc"] for d in json.loads(text)["exception_detail"]], text


def test_as_published(described):
    """In nothing but MEANT does the description differ from those of both generations of clients."""
    folder = Path(os.environ.get("MILLPOND_PUBLISHED") or ROOT.parent / "shared" / "api")
    if not folder.is_dir():
        pytest.skip("left out: the published descriptions are not here")
    found = list(compare(described, [Document((folder / name).read_text()) for name in PUBLISHED]))
    met = {pattern for pattern, _ in MEANT for line in found if re.search(pattern, line)}
    assert [line for line in found if not any(re.search(pattern, line) for pattern, _ in MEANT)] == []
    assert [pattern for pattern, _ in MEANT if pattern not in met] == [], "these no longer differ"
