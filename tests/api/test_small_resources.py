"""Saved searches, notification policies of 2.x clients, and the database as a whole."""
import uuid

import pytest

from tests.api.conftest import Server, _clear, wait_for
from tests.api.events_help import event, stored
from tests.api.test_runs import make_run, set_state

SEARCHES, POLICIES = "/saved_searches/", "/flow_run_notification_policies/"
FILTER = {"object": "flow_run", "property": "name", "type": "string", "operation": "equals", "value": {"a": [1, None, 12345678901234567890]}}


# ---- saved searches ----

def test_saved_search(server):
    made = server.api("PUT", SEARCHES, {"name": "mine", "filters": [FILTER]}, expect=201)
    assert made == {"id": made["id"], "created": made["created"], "updated": made["created"], "name": "mine", "filters": [FILTER]}
    assert server.api("GET", SEARCHES + made["id"]) == made
    again = server.api("PUT", SEARCHES, {"name": "mine", "filters": [FILTER | {"value": None, "more": 1}]}, expect=200)
    assert (again["id"], again["created"]) == (made["id"], made["created"]) and again["filters"] == [FILTER | {"value": None}], "known keys alone are kept"
    assert server.api("PUT", SEARCHES, {"name": "mine"}, expect=200)["filters"] == []
    server.api("PUT", SEARCHES, {"name": "a/b & c"}, expect=201)
    server.api("PUT", SEARCHES, {"name": ""}, expect=201)
    assert [x["name"] for x in server.api("POST", SEARCHES + "filter", {})] == ["", "a/b & c", "mine"]
    assert [x["name"] for x in server.api("POST", SEARCHES + "filter", {"limit": 1, "offset": 1, "sort": "of no meaning here"})] == ["a/b & c"]
    server.api("DELETE", SEARCHES + made["id"], expect=204)
    for method in ("GET", "DELETE"):
        server.api(method, SEARCHES + made["id"], expect=404)


@pytest.mark.parametrize("bad", [{}, {"name": None}, {"name": 5}, {"name": "x", "filters": None}, {"name": "x", "filters": {}}, {"name": "x", "filters": [5]}, {"name": "x", "more": 1},
                                 *({"name": "x", "filters": [FILTER, {k: v for k, v in FILTER.items() if k != gone}]} for gone in FILTER),
                                 *({"name": "x", "filters": [FILTER | {k: 5}]} for k in FILTER if k != "value")])
def test_no_saved_search(server, bad):
    assert server.request("PUT", SEARCHES, bad)[0] == 422
    assert "x" not in [s["name"] for s in server.api("POST", SEARCHES + "filter", {})]


def test_pages_of_saved_searches(server):
    for body in ({"limit": 201}, {"limit": -1}, {"offset": -1}):
        assert server.request("POST", SEARCHES + "filter", body)[0] == 422


# ---- notification policies ----

@pytest.fixture(scope="module")
def block(server):
    type, = server.api("POST", "/block_types/filter", {"block_types": {"slug": {"any_": ["secret"]}}})
    schema = server.api("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [type["id"]]}}})[0]

    def make(name):
        return server.api("POST", "/block_documents/", {"name": name, "data": {"value": "v"}, "block_type_id": type["id"], "block_schema_id": schema["id"]})["id"]
    return make


def test_policy(server, block):
    document, other = block("notify"), block("notify-2")
    made = server.api("POST", POLICIES, {"state_names": ["Failed"], "tags": ["a", "b"], "block_document_id": document}, expect=201)
    assert made == {"id": made["id"], "created": made["created"], "updated": made["created"], "is_active": True, "state_names": ["Failed"], "tags": ["a", "b"],
                    "block_document_id": document, "message_template": None}
    assert server.api("GET", POLICIES + made["id"]) == made
    quiet = server.api("POST", POLICIES, {"state_names": [], "tags": [], "block_document_id": other, "is_active": False, "message_template": "{flow_run_name!r:>{flow_id}} {{x}}"}, expect=201)

    def found(**filter):
        return [x["id"] for x in server.api("POST", POLICIES + "filter", {"flow_run_notification_policy_filter": filter} if filter else {})]
    assert found() == [made["id"], quiet["id"]]
    assert found(is_active={"eq_": True}) == [made["id"]] and found(is_active={"eq_": False}) == [quiet["id"]] and found(is_active={}) == found(is_active=None) == found()
    assert [x["id"] for x in server.api("POST", POLICIES + "filter", {"flow_run_notification_policy_filter": {}})] == [quiet["id"]], "inactive ones, where it does not say"
    assert [x["id"] for x in server.api("POST", POLICIES + "filter", {"limit": 1, "offset": 1})] == [quiet["id"]]
    for bad in ({"x": 1}, {"operator": "or_"}, {"is_active": {"eq_": "maybe"}}, {"is_active": True}):
        assert server.request("POST", POLICIES + "filter", {"flow_run_notification_policy_filter": bad})[0] == 422, bad
    server.api("PATCH", POLICIES + made["id"], {"is_active": False, "tags": [], "message_template": "x"}, expect=204)
    server.api("PATCH", POLICIES + made["id"], {}, expect=204)
    changed = server.api("GET", POLICIES + made["id"])
    assert changed["updated"] > made["updated"] and changed | {"updated": made["updated"]} == made | {"is_active": False, "tags": [], "message_template": "x"}
    for bad in ({"is_active": None}, {"state_names": None}, {"tags": [1]}, {"message_template": "{"}, {"name": "x"}):
        assert server.request("PATCH", POLICIES + made["id"], bad)[0] == 422, bad
    assert server.request("PATCH", POLICIES + made["id"], {"block_document_id": str(uuid.uuid4())})[0] == 409
    server.api("DELETE", f"/block_documents/{other}", expect=204)
    assert found() == [made["id"]], "a policy goes with its block"
    server.api("DELETE", POLICIES + made["id"], expect=204)
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"is_active": True})):
        assert server.request(method, POLICIES + made["id"], body)[0] == 404


@pytest.mark.parametrize("template, fine", [("", True), ("plain", True), ("{flow_id}", True), ("{flow_run_state_message:>10}", True), ("{{}}", True), ("{flow_run_url!s}", True),
                                            ("{", False), ("}", False), ("{}", False), ("{0}", False), ("{nope}", False), ("{flow_id.x}", False), ("{flow_id[0]}", False),
                                            ("{flow_id!x}", False), ("{flow_id!}", False), ("{flow_id:{nope}}", False), ("{flow_id:{flow_id:{flow_id}}}", False), ("a } b", False), ("{flow_id", False)])
def test_templates_of_policies(server, block, template, fine):
    document = block(f"t-{uuid.uuid4()}")
    status, _, text = server.request("POST", POLICIES, {"state_names": [], "tags": [], "block_document_id": document, "message_template": template})
    assert status == (201 if fine else 422), text


def test_no_policy(server, block):
    good = {"state_names": ["x"], "tags": [], "block_document_id": block("no-policy")}
    for gone in good:
        assert server.request("POST", POLICIES, {k: v for k, v in good.items() if k != gone})[0] == 422
        assert server.request("POST", POLICIES, good | {gone: None})[0] == 422
    for bad in ({"is_active": None}, {"tags": "x"}, {"state_names": [1]}, {"block_document_id": "x"}, {"name": "x"}):
        assert server.request("POST", POLICIES, good | bad)[0] == 422, bad
    assert server.request("POST", POLICIES, good | {"block_document_id": str(uuid.uuid4())})[0] == 409


# ---- the database ----

@pytest.mark.parametrize("what", ["clear", "create", "drop"])
def test_nothing_is_deleted_by_mistake(server, what):
    make_run(server, flow="kept")
    path = f"/admin/database/{what}"
    for body in (None, {}, {"confirm": False}, {"confirm": None}):
        status, _, text = server.request("POST", path, body)
        assert status == 400 and b"confirm" in text, (body, status, text)
    for body in ({"confirm": "yes"}, {"confirm": 1}, {"confirm": []}):
        assert server.request("POST", path, body)[0] == 422
    status, _, text = server.request("POST", path, {"confirm": True})
    assert (status, b"ALLOW_RESET" in text) == ((204, False) if what == "create" else (403, True)), (status, text)
    assert server.api("GET", "/flows/name/kept")


@pytest.fixture(params=["sqlite", "postgres"])
def unlocked(request):
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres") + "&application_name=reset"
        _clear(database)
    s = Server(database, env={"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_DATABASE_ALLOW_RESET": "true"})
    yield s
    assert s.stop() == 0, s.tail()
    if database:
        _clear(database)


@pytest.mark.parametrize("what", ["clear", "drop"])
def test_reset(unlocked, what):
    """All is deleted, and the server is as good as new, also after a restart."""
    server = unlocked
    types = server.api("POST", "/block_types/filter", {})
    for _ in range(2):
        run = make_run(server, flow="gone")
        set_state(server, run, "RUNNING")
        set_state(server, run, "COMPLETED", data={"v": 1})
        server.api("POST", "/variables/", {"name": "gone", "value": 1})
        server.api("PUT", SEARCHES, {"name": "gone"})
        server.api("POST", "/work_pools/", {"name": "gone", "type": "process"})
        server.api("POST", "/deployments/", {"name": "gone", "flow_id": run["flow_id"], "work_pool_name": "gone", "schedules": [{"schedule": {"interval": 3600}}]})
        server.api("POST", "/logs/", [{"name": "n", "level": 20, "message": "m", "timestamp": run["created"], "flow_run_id": run["id"]}])
        server.api("POST", "/events", [event("gone.event")])
        wait_for(lambda: stored(server, "prefect.flow-run.Completed") and stored(server, "gone.event"))
        server.api("POST", f"/admin/database/{what}", {"confirm": True}, expect=204)
        for kind in ("flows", "flow_runs", "task_runs", "deployments", "work_pools", "variables", "artifacts", "block_documents"):
            assert server.api("POST", f"/{kind}/count", {}) == 0, kind
        assert server.api("POST", SEARCHES + "filter", {}) == [] == server.api("POST", "/logs/filter", {})
        assert not stored(server, "gone.event")
        assert {t["slug"] for t in server.api("POST", "/block_types/filter", {})} == {t["slug"] for t in types}
        server.api("POST", "/admin/database/create", {"confirm": True}, expect=204)
    make_run(server, flow="after")
    assert server.stop() == 0
    server.start()
    assert [f["name"] for f in server.api("POST", "/flows/filter", {})] == ["after"]
