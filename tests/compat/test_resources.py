"""Artifacts, automations and notification policies: the published clients of both generations, and their command lines, against our server."""
import json
import uuid

import pytest

from tests.api.conftest import wait_for
from tests.compat.clients import FLOWS, PEERS, Commands, Program


pytestmark = pytest.mark.parametrize("server, peer", [("postgres", "3.8.8"), ("sqlite", "2.19.9")], indirect=True, scope="module")


@pytest.fixture(scope="module")
def peer(request):
    if not (PEERS[request.param] / "prefect").exists():
        pytest.skip(f"left out: the published client {request.param} is not installed")
    return request.param, PEERS[request.param]


@pytest.fixture(scope="module")
def left(server, peer):
    type, = server.api("POST", "/block_types/filter", {"block_types": {"slug": {"any_": ["secret"]}}})
    schema = server.api("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [type["id"]]}}})[0]
    document = server.api("POST", "/block_documents/", {"name": f"for-{uuid.uuid4()}", "data": {"value": "v"}, "block_type_id": type["id"], "block_schema_id": schema["id"]})
    program = Program(server, peer[1] / "python", FLOWS / "leaving.py", document["id"], peer=peer[1])
    try:
        return json.loads(program.end().splitlines()[-1])
    finally:
        program.stop()


def run_of(server, peer):
    """The run that the client of this version made last."""
    return server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["leaving"]}}, "sort": "START_TIME_DESC", "limit": 1})[0]


def test_artifacts(server, peer, left):
    run = run_of(server, peer)
    made = server.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"exists_": True}}, "sort": "CREATED_DESC"})[::-1]
    new = [] if peer[0].startswith("2") else [("leaving-image", "image", "https://example.org/x.png"), ("leaving-bar", "progress", 100.0)]
    assert [(a["key"], a["type"], a["data"]) for a in made] == [
        ("leaving-text", "markdown", "# 0"), ("leaving-text", "markdown", "# 1"), ("leaving-link", "markdown", "[there](https://example.org/a?b=c)"),
        ("leaving-table", "table", json.dumps([{"a": 1, "b": None}, {"a": 2, "b": "x"}]))] + new
    tasks = wait_for(lambda: len(t := server.api("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}})) == 2 and t)
    assert {a["task_run_id"] for a in made[:2]} == {t["id"] for t in tasks} and {a["task_run_id"] for a in made[2:]} == {None}
    assert server.api("GET", "/artifacts/leaving-text/latest")["description"] == "number 1"
    graph = wait_for(lambda: len((g := server.api("GET", f"/flow_runs/{run['id']}/graph-v2"))["nodes"]) == 2 and g)
    assert [[(a["key"], a["is_latest"]) for a in node["artifacts"]] for _, node in graph["nodes"]] == [[("leaving-text", False)], [("leaving-text", True)]]
    assert {a["key"] for a in graph["artifacts"]} == {a["key"] for a in made[2:]}


def test_results(server, peer, left):
    """The run's state names its result, which is kept as an artifact."""
    run = run_of(server, peer)
    results = server.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"exists_": False}}})
    of_run, = [r for r in results if not r["task_run_id"]]
    assert run["state_type"] == "COMPLETED" and run["state"]["data"] == of_run["data"] and "storage_key" in of_run["data"]
    if peer[0].startswith("2"):  # whose tasks tell their states one by one
        assert len(results) == 3 and {r["type"] for r in results} == {"result"}


def test_automations(server, peer, left):
    assert left["automations"] not in [a["name"] for a in server.api("POST", "/automations/filter", {})]
    mine, = server.api("GET", f"/automations/related-to/prefect.deployment.{left['deployment']}")
    assert mine["trigger"]["expect"] == ["two"] and mine["trigger"]["match"] == {"prefect.resource.id": "watched"}, "what was deployed last"
    assert [(a["type"], a["source"], a["deployment_id"]) for a in mine["actions"]] == [("run-deployment", "selected", left["deployment"])]


# ---- the command line ----

@pytest.fixture(scope="module")
def prefect(server, peer, left):
    c = Commands(server, peer[1])
    yield c
    c.process.stdin.close()
    c.end()


def test_artifact_commands(server, prefect):
    for n in range(2):
        server.api("POST", "/artifacts/", {"key": "typed", "type": "markdown", "data": f"# {n}", "description": "of the command line"})
    listed = prefect("artifact", "ls")
    assert "leaving-text" in listed and listed.count("typed") == 1  # --all fails in the client where one has no key, with its own server too
    shown = prefect("artifact", "inspect", "typed")
    assert "# 0" in shown and "# 1" in shown and "of the command line" in shown
    prefect("artifact", "inspect", "no-such-key", expect=1)
    one = server.api("POST", "/artifacts/", {"key": "typed-2", "data": 1})["id"]
    prefect("artifact", "delete", "--id", one)
    server.api("GET", f"/artifacts/{one}", expect=404)
    prefect("artifact", "delete", "--id", one, expect=1)
    prefect("artifact", "delete", "typed")
    assert server.api("POST", "/artifacts/count", {"artifacts": {"key": {"any_": ["typed"]}}}) == 0


def test_automation_commands(server, peer, prefect):
    def make(name):
        body = {"name": name, "trigger": {"type": "event", "posture": "Reactive", "expect": ["typed.event"], "threshold": 1, "within": 5}, "actions": [{"type": "cancel-flow-run"}]}
        if peer[0].startswith("2"):
            return server.api("POST", "/automations/", body)["id"]
        prefect("automation", "create", "--from-json", json.dumps(body))
        made, = server.api("POST", "/automations/filter", {"automations": {"name": {"any_": [name]}}})
        return made["id"]
    id = make("typed automation")
    listed = prefect("automation", "ls")
    assert "typed automation" in listed.replace("\n", " ") and id[:13] in listed
    assert "typed.event" in prefect("automation", "inspect", "typed automation") and "typed automation" in prefect("automation", "inspect", "--id", id)
    assert json.loads(prefect("automation", "inspect", "typed automation", "--json"))[0]["id"] == id
    for words, enabled in ((("pause", "typed automation"), False), (("resume", "--id", id), True), (("disable", "--id", id), False), (("enable", "typed automation"), True)):
        prefect("automation", *words)
        assert server.api("GET", f"/automations/{id}")["enabled"] is enabled, words
    if not peer[0].startswith("2"):
        changed = {"name": "typed anew", "trigger": {"type": "event", "posture": "Reactive", "expect": ["other.event"]}, "actions": [{"type": "do-nothing"}]}
        prefect("automation", "update", "--id", id, "--from-json", json.dumps(changed))
        assert server.api("GET", f"/automations/{id}")["actions"] == [{"type": "do-nothing"}]
    prefect("automation", "inspect", "no such automation", expect=1)
    prefect("automation", "delete", "--id", id)
    server.api("GET", f"/automations/{id}", expect=404)
    prefect("automation", "delete", "--id", id, expect=1)


def test_deployment_with_triggers(server, peer, left, prefect):
    """`deployment inspect` shows the automations of a deployment."""
    deployment = server.api("GET", f"/deployments/{left['deployment']}")
    assert "two" in prefect("deployment", "inspect", f"watched/{deployment['name']}")
