"""Automations: triggers and actions, read, checked and answered; what they are about; what is told of them."""
import json
import uuid

import pytest

from tests.api.conftest import wait_for
from tests.api.events_help import stored
from tests.api.test_runs import make_run

URL, SOME, OTHER = "/automations/", str(uuid.uuid4()), str(uuid.uuid4())
EVENT = {"type": "event", "posture": "Reactive", "expect": ["a.b"], "threshold": 2, "within": 60}
NOTHING = [{"type": "do-nothing"}]
DEFAULTS = {"type": "event", "match": {}, "match_related": {}, "after": [], "expect": [], "for_each": [], "threshold": 1, "within": 0.0}


def make(server, name="made", **more):
    return server.api("POST", URL, {"name": name, "trigger": EVENT, "actions": NOTHING} | more, expect=201)


def status(server, **more):
    code, _, text = server.request("POST", URL, {"name": "tried", "trigger": EVENT, "actions": NOTHING} | more)
    assert code < 500, (more, text)
    return code


def without_ids(trigger):
    """The trigger without its ids, of which none is missing or there twice."""
    ids = []

    def strip(t):
        ids.append(t["id"])
        return {k: [strip(x) for x in v] if k == "triggers" else v for k, v in t.items() if k != "id"}
    stripped = strip(trigger)
    assert all(uuid.UUID(i) for i in ids) and len(set(ids)) == len(ids)
    return stripped


# ---- the whole ----

def test_every_field(server):
    sent = {"name": "a/b & c", "description": "d", "enabled": False, "tags": ["x", "x"], "trigger": EVENT, "actions": NOTHING,
            "actions_on_trigger": [{"type": "cancel-flow-run"}], "actions_on_resolve": [{"type": "resume-flow-run"}]}
    made = server.api("POST", URL, sent, expect=201)
    assert without_ids(made["trigger"]) == DEFAULTS | EVENT | {"within": 60.0}
    assert {k: v for k, v in made.items() if k not in ("id", "created", "updated")} == sent | {"trigger": made["trigger"]} and made["created"] == made["updated"]
    assert server.api("GET", URL + made["id"]) == made
    least = server.api("POST", URL, {"name": "", "trigger": {"posture": "Proactive"}, "actions": []}, expect=201)
    assert {k: least[k] for k in ("name", "description", "enabled", "tags", "actions", "actions_on_trigger", "actions_on_resolve")} == {
        "name": "", "description": "", "enabled": True, "tags": [], "actions": [], "actions_on_trigger": [], "actions_on_resolve": []}
    assert without_ids(least["trigger"]) == DEFAULTS | {"posture": "Proactive", "within": 10.0}


@pytest.mark.parametrize("gone", ["name", "trigger", "actions"])
def test_required(server, gone):
    body = {k: v for k, v in {"name": "n", "trigger": EVENT, "actions": NOTHING}.items() if k != gone}
    made = make(server)
    for method, path in (("POST", URL), ("PUT", URL + made["id"])):
        code, _, text = server.request(method, path, body)
        detail = json.loads(text)["exception_detail"]
        assert code == 422 and [(e["type"], e["loc"]) for e in detail] == [("missing", ["body", gone])]


@pytest.mark.parametrize("bad", [{"name": None}, {"name": 5}, {"description": None}, {"enabled": None}, {"enabled": "maybe"}, {"tags": None}, {"tags": [1]}, {"trigger": None}, {"trigger": []},
                                 {"actions": None}, {"actions": {}}, {"actions": ["x"]}, {"actions": [None]}, {"actions_on_trigger": None}, {"actions_on_resolve": [{"type": "nope"}]},
                                 {"owner_resource": 5}, {"id": SOME}, {"unknown": 1}])
def test_refused(server, bad):
    before = server.api("POST", URL + "count", {})
    assert status(server, **bad) == 422
    assert server.api("POST", URL + "count", {}) == before


def test_too_large(server):
    assert status(server, actions=[{"type": "call-webhook", "block_document_id": SOME, "payload": "x" * (600 << 10)}]) == 422
    assert status(server, trigger=EVENT | {"match": {"x": "x" * (600 << 10)}}) == 422
    assert status(server, trigger=EVENT | {"expect": [str(i) for i in range(1001)]}) == 422
    assert status(server, trigger=EVENT | {"expect": [str(i) for i in range(1000)]}) == 201
    deep = EVENT
    for _ in range(30):
        deep = {"type": "sequence", "triggers": [deep], "within": None}
    assert status(server, trigger=deep) == 201


# ---- triggers ----

COMPOUND = {"type": "compound", "triggers": [EVENT, EVENT], "within": 60, "require": "all"}
SEQUENCE = {"type": "sequence", "triggers": [EVENT, COMPOUND], "within": None}


@pytest.mark.parametrize("change, answered", [
    ({}, {}), ({"threshold": "3"}, {"threshold": 3}), ({"threshold": -3}, {"threshold": -3}), ({"threshold": 0}, {"threshold": 0}), ({"unknown": 1}, {}), ({"id": SOME}, {}),
    ({"expect": ["b", "a", "b"], "after": ["z", "y", "z"], "for_each": ["x", "x"]}, {"expect": ["b", "a"], "after": ["z", "y"], "for_each": ["x"]}), ({"expect": [""]}, {"expect": [""]}),
    *(({k: v}, {k: v}) for k, v in (("match", {"prefect.resource.id": "a.*", "b": ["x", "!y"]}), ("match", {"a": []}), ("match_related", {"a": "b"}),
                                    ("match_related", [{"a": "b"}, {"c": ["d"]}, {}]), ("match_related", []))),
    ({"within": 0.5}, {"within": 0.5}), ({"within": "PT1M30S"}, {"within": 90.0}), ({"within": "1 day"}, {"within": 86400.0}), ({"within": "01:00:00"}, {"within": 3600.0}), ({"within": 0}, {"within": 0.0}),
    ({"posture": "Proactive", "within": 0}, {"posture": "Proactive", "within": 10.0}), ({"posture": "Proactive", "within": 10}, {"posture": "Proactive", "within": 10.0}),
])
def test_event_trigger(server, change, answered):
    made = make(server, trigger=EVENT | change)
    assert without_ids(made["trigger"]) == DEFAULTS | EVENT | {"within": 60.0} | answered and made["trigger"]["id"] != SOME


@pytest.mark.parametrize("bad", [
    {"posture": "reactive"}, {"posture": "Metric"}, {"posture": None}, {"type": None}, {"type": "metric"}, {"type": "nope"}, {"threshold": None}, {"threshold": 1.5}, {"threshold": "x"}, {"threshold": 10**30},
    {"expect": "a"}, {"expect": None}, {"expect": [1]}, {"after": {}}, {"for_each": [None]}, {"match": None}, {"match": []}, {"match": {"a": 1}}, {"match": {"a": None}}, {"match": {"a": [1]}},
    {"match_related": None}, {"match_related": "x"}, {"match_related": ["x"]}, {"match_related": [{"a": 1}]}, {"within": None}, {"within": -1}, {"within": "x"}, {"within": "60"}, {"within": 1e20},
    {"posture": "Proactive", "within": 5}, {"posture": "Proactive", "within": "PT9.9S"}, {"posture": "Proactive", "within": None}, {"id": "x"}, {"id": None}])
def test_no_event_trigger(server, bad):
    assert status(server, trigger=EVENT | bad) == 422
    assert status(server, trigger=COMPOUND | {"triggers": [EVENT, EVENT | bad]}) == 422
    assert status(server, trigger=SEQUENCE | {"triggers": [COMPOUND | {"triggers": [EVENT | bad, EVENT]}]}) == 422


@pytest.mark.parametrize("trigger, change, answered", [
    (COMPOUND, {}, {}), (COMPOUND, {"require": "any"}, {"require": "any"}), (COMPOUND, {"require": 1}, {"require": 1}), (COMPOUND, {"require": "2"}, {"require": 2}), (COMPOUND, {"require": 2.0}, {"require": 2}),
    (COMPOUND, {"within": None}, {"within": None}), (COMPOUND, {"within": -5}, {"within": -5.0}), (COMPOUND, {"within": "PT1H"}, {"within": 3600.0}), (COMPOUND, {"triggers": []}, {"triggers": []}),
    (COMPOUND, {"id": SOME, "unknown": 1}, {}), (SEQUENCE, {}, {}), (SEQUENCE, {"within": 0}, {"within": 0.0}), (SEQUENCE, {"triggers": []}, {"triggers": []}), (SEQUENCE, {"require": "any"}, {})])
def test_composite_trigger(server, trigger, change, answered):
    def complete(t):
        if t["type"] == "event":
            return DEFAULTS | t | {"within": float(t["within"])}
        return t | {"triggers": [complete(x) for x in t["triggers"]], "within": None if t["within"] is None else float(t["within"])}
    assert without_ids(make(server, trigger=trigger | change)["trigger"]) == complete(trigger) | answered


@pytest.mark.parametrize("bad", [COMPOUND | {"require": 3}, COMPOUND | {"require": 0}, COMPOUND | {"require": -1}, COMPOUND | {"require": "some"}, COMPOUND | {"require": None}, COMPOUND | {"require": 1.5},
                                 COMPOUND | {"triggers": None}, COMPOUND | {"triggers": EVENT}, COMPOUND | {"triggers": ["x"]}, COMPOUND | {"within": "x"},
                                 *({k: v for k, v in COMPOUND.items() if k != gone} for gone in ("triggers", "within", "require")),
                                 *({k: v for k, v in SEQUENCE.items() if k != gone} for gone in ("triggers", "within")), COMPOUND | {"type": "event"}, {}, {"type": "event"}])
def test_no_composite_trigger(server, bad):
    assert status(server, trigger=bad) == 422


def test_types_that_are_not_said(server):
    for trigger, type in (({"posture": "Reactive"}, "event"), ({"triggers": [EVENT], "within": 5}, "sequence"), ({"triggers": [EVENT], "within": 5, "require": "any"}, "compound"),
                          ({"triggers": [EVENT], "within": 5, "require": 7}, "sequence")):
        assert make(server, trigger=trigger)["trigger"]["type"] == type
    for action, type in (({}, "do-nothing"), ({"deployment_id": SOME}, "run-deployment"), ({"work_pool_id": SOME}, "pause-work-pool"), ({"state": "FAILED"}, "change-flow-run-state"),
                         ({"block_document_id": SOME}, "call-webhook"), ({"block_document_id": SOME, "body": "x"}, "send-notification"), ({"source": "inferred"}, "run-deployment"),
                         ({"block_document_id": "x"}, "do-nothing"), ({"work_pool_id": SOME, "source": "inferred"}, "run-deployment")):
        assert make(server, actions=[action])["actions"][0]["type"] == type


# ---- actions ----

RUN = {"type": "run-deployment", "source": "selected", "deployment_id": SOME, "parameters": None, "job_variables": None, "schedule_after": 0.0}
STATE = {"type": "change-flow-run-state", "name": None, "state": "FAILED", "message": None, "force": False}
NOTIFY = {"type": "send-notification", "block_document_id": SOME, "subject": "Prefect automated notification", "body": "b"}


@pytest.mark.parametrize("sent, answered", [
    *(({"type": t, "unknown": 1}, {"type": t}) for t in ("do-nothing", "cancel-flow-run", "suspend-flow-run", "resume-flow-run", "delete-flow-run")),
    *(({"type": f"{verb}-{kind}", f"{key}_id": SOME}, {"type": f"{verb}-{kind}", "source": "selected", f"{key}_id": SOME})
      for verb in ("pause", "resume") for kind, key in (("deployment", "deployment"), ("work-pool", "work_pool"), ("work-queue", "work_queue"), ("automation", "automation"))),
    *(({"type": f"pause-{kind}", "source": "inferred"}, {"type": f"pause-{kind}", "source": "inferred", f"{key}_id": None})
      for kind, key in (("deployment", "deployment"), ("work-pool", "work_pool"), ("work-queue", "work_queue"), ("automation", "automation"))),
    ({"type": "run-deployment", "deployment_id": SOME, "name": 5}, RUN), ({"type": "run-deployment", "source": "inferred"}, RUN | {"source": "inferred", "deployment_id": None}),
    ({"type": "run-deployment", "deployment_id": SOME, "parameters": {"a": "{{ event.id }}", "b": [1, "{{ not looked at"], "c": {"__prefect_kind": "jinja", "template": "{{ x }}"}},
      "job_variables": {}, "schedule_after": "PT1M"},
     RUN | {"parameters": {"a": "{{ event.id }}", "b": [1, "{{ not looked at"], "c": {"__prefect_kind": "jinja", "template": "{{ x }}"}}, "job_variables": {}, "schedule_after": 60.0}),
    ({"type": "change-flow-run-state", "state": "FAILED"}, STATE),
    ({"type": "change-flow-run-state", "state": "PAUSED", "name": "n", "message": "{{ no template", "force": True}, STATE | {"state": "PAUSED", "name": "n", "message": "{{ no template", "force": True}),
    ({"type": "send-notification", "block_document_id": SOME, "body": "b"}, NOTIFY), (NOTIFY | {"subject": "{{ x }}", "body": "{% if a %}b{% endif %}"}, NOTIFY | {"subject": "{{ x }}", "body": "{% if a %}b{% endif %}"}),
    *(({"type": "call-webhook", "block_document_id": SOME} | sent, {"type": "call-webhook", "block_document_id": SOME, "payload": text}) for sent, text in (
        ({}, ""), ({"payload": "x"}, "x"), ({"payload": 5}, "5"), ({"payload": {"a": "é{{ x }}", "b": []}}, '{\n  "a": "é{{ x }}",\n  "b": []\n}'), ({"payload": [1, "x"]}, '[\n  1,\n  "x"\n]'))),
])
def test_action(server, sent, answered):
    for key in ("actions", "actions_on_trigger", "actions_on_resolve"):
        assert make(server, **{key: [sent, {"type": "do-nothing"}]})[key] == [answered, {"type": "do-nothing"}]


@pytest.mark.parametrize("bad", [
    {"type": "nope"}, {"type": None}, {"type": "declare-incident"}, {"type": "run-deployment"}, RUN | {"deployment_id": None}, RUN | {"source": "inferred"}, RUN | {"source": "other"}, RUN | {"source": None},
    RUN | {"deployment_id": "x"}, RUN | {"parameters": []}, RUN | {"job_variables": 5}, RUN | {"schedule_after": -1}, RUN | {"schedule_after": None}, RUN | {"schedule_after": "x"},
    *(RUN | {"parameters": {"a": p}} for p in ("{{ bad", "{% if x %}", {"n": "{{ bad"}, {"__prefect_kind": "jinja", "template": "{{ bad"}, {"__prefect_kind": "jinja"}, {"__prefect_kind": "json", "value": "{"},
                                               {"__prefect_kind": "none"}, [{"__prefect_kind": "jinja"}], {"__prefect_kind": "json", "value": {"__prefect_kind": "none", "value": "{"}})),
    *({"type": f"pause-{kind}"} for kind in ("deployment", "work-pool", "work-queue", "automation")), {"type": "pause-work-pool", "work_pool_id": SOME, "source": "inferred"},
    {"type": "resume-automation", "automation_id": 5}, {"type": "change-flow-run-state"}, STATE | {"state": "failed"}, STATE | {"name": 5}, STATE | {"force": None},
    {"type": "send-notification", "block_document_id": SOME}, {"type": "send-notification", "body": "b"}, NOTIFY | {"body": "{{ bad"}, NOTIFY | {"subject": "{{ bad"}, NOTIFY | {"subject": None}, NOTIFY | {"body": None},
    NOTIFY | {"body": "{% for a in b %}{% for c in d %}{% for e in f %}x{% endfor %}{% endfor %}{% endfor %}"},
    {"type": "call-webhook"}, {"type": "call-webhook", "block_document_id": SOME, "payload": None}, {"type": "call-webhook", "block_document_id": SOME, "payload": "{{ bad"},
    {"type": "call-webhook", "block_document_id": SOME, "payload": {"a": "{{ bad"}}])
def test_no_action(server, bad):
    for key in ("actions", "actions_on_trigger", "actions_on_resolve"):
        assert status(server, **{key: [{"type": "do-nothing"}, bad]}) == 422


def test_what_is_wrong_is_said(server):
    code, _, text = server.request("POST", URL, {"name": 5, "trigger": COMPOUND | {"triggers": [EVENT, EVENT | {"threshold": "x"}]}, "actions": [RUN | {"parameters": {"a": {"b": "{{ bad"}}}], "more": 1})
    assert code == 422
    assert sorted(".".join(map(str, e["loc"])) for e in json.loads(text)["exception_detail"]) == [
        "body.actions.0.parameters.a.b", "body.more", "body.name", "body.trigger.triggers.1.threshold"]


def test_job_variables(server):
    template = {"job_configuration": {"command": "{{ command }}", "size": "{{ size }}"},
                "variables": {"type": "object", "required": ["command"], "properties": {"command": {"type": "string"}, "size": {"type": "integer", "default": 3}}}}
    flow = make_run(server, flow="automated")["flow_id"]
    server.api("POST", "/work_pools/", {"name": "automated", "type": "mine", "base_job_template": template})
    deployment = server.api("POST", "/deployments/", {"name": "pooled", "flow_id": flow, "work_pool_name": "automated"})["id"]
    poolless = server.api("POST", "/deployments/", {"name": "poolless", "flow_id": flow})["id"]
    made = make(server)

    def codes(id, variables):
        actions = [RUN | {"deployment_id": id, "job_variables": variables}]
        assert status(server, actions=[], actions_on_trigger=actions) == 201, "only what is done each time is looked at"
        return status(server, actions=actions), server.request("PUT", URL + made["id"], {"name": "n", "trigger": EVENT, "actions": actions})[0]
    assert codes(deployment, {"command": "x"}) == codes(deployment, {}) == codes(deployment, None) == codes(poolless, {"size": "x"}) == (201, 204)
    assert codes(deployment, {"command": "x", "size": "x"}) == codes(deployment, {"size": 1}) == (422, 422)
    assert codes(SOME, {"command": "x"}) == (404, 404)


# ---- what would never end ----

STARTS = ("prefect.flow-run.Scheduled", "prefect.flow-run.Pending", "prefect.flow-run.Running", "prefect.flow-run.*")


def starting(**more):
    return {"type": "event", "posture": "Reactive", "expect": ["prefect.flow-run.Running"]} | more


@pytest.mark.parametrize("trigger, inferred, selected", [
    *((starting(expect=[e, "x"]), 422, 422) for e in STARTS),
    *((starting(expect=[e]), 201, 201) for e in ("prefect.flow-run.Completed", "prefect.flow-run.Late", "prefect.*", "*", "prefect.flow-run.R*")), (starting(expect=[]), 201, 201),
    (starting(expect=["x"], after=[STARTS[0]]), 201, 201), (starting(posture="Proactive"), 201, 201), (COMPOUND | {"triggers": [starting()], "require": 1}, 201, 201),
    (starting(match={"prefect.resource.id": "prefect.flow-run.*"}), 422, 422), (starting(match={"prefect.resource.id": ["x", "prefect.flow-run.*"]}), 422, 422),
    (starting(match={"prefect.resource.id": "prefect.flow-run.1"}), 422, 201), (starting(match={"prefect.resource.id": "prefect.flow-run.*", "a": "b"}), 422, 201),
    (starting(match={"prefect.resource.id": []}), 422, 201), (starting(match_related={"prefect.resource.id": "prefect.flow.x"}), 422, 201),
    (starting(match_related=[{}, {"a": "b"}]), 422, 422), (starting(match_related=[{"a": "b"}]), 422, 201), (starting(match_related=[]), 422, 201)])
def test_endless(server, trigger, inferred, selected):
    inferring, selecting = [{"type": "run-deployment", "source": "inferred"}], [{"type": "run-deployment", "deployment_id": SOME}]
    assert (status(server, trigger=trigger, actions=inferring), status(server, trigger=trigger, actions=selecting)) == (inferred, selected)
    assert status(server, trigger=trigger, actions=NOTHING, actions_on_trigger=inferring) == 201
    off = make(server, trigger=trigger, actions=inferring, enabled=False)["id"]
    for body in ({"enabled": True}, {}):  # which means to enable it
        assert server.request("PATCH", URL + off, body)[0] == (204 if inferred == 201 else 422)
    assert server.request("PATCH", URL + off, {"enabled": False})[0] == 204
    assert server.request("PUT", URL + off, {"name": "n", "trigger": trigger, "actions": inferring})[0] == (204 if inferred == 201 else 422)


# ---- changes ----

def test_replace(server):
    made = make(server, description="d", tags=["t"], enabled=False, actions_on_trigger=[{"type": "cancel-flow-run"}], actions_on_resolve=[{"type": "resume-flow-run"}])
    server.api("PUT", URL + made["id"], {"name": "new", "trigger": SEQUENCE, "actions": []}, expect=204)
    new = server.api("GET", URL + made["id"])
    assert new["trigger"]["type"] == "sequence" and new["trigger"]["id"] != made["trigger"]["id"] and new["updated"] > made["updated"]
    kept = ("id", "created", "description", "tags", "enabled", "actions_on_trigger", "actions_on_resolve")
    assert (new["name"], new["actions"]) == ("new", []) and all(new[k] == made[k] for k in kept), "what is not sent stays"
    server.api("PUT", URL + made["id"], {"name": "n", "trigger": EVENT, "actions": NOTHING, "description": "", "tags": [], "enabled": True, "actions_on_trigger": [], "actions_on_resolve": []}, expect=204)
    assert {k: v for k, v in server.api("GET", URL + made["id"]).items() if k in kept[2:]} == {"description": "", "tags": [], "enabled": True, "actions_on_trigger": [], "actions_on_resolve": []}
    for bad in ({"owner_resource": "x"}, {"enabled": None}, {"trigger": {}}, {"actions": [{"type": "nope"}]}, {"id": SOME}):
        assert server.request("PUT", URL + made["id"], {"name": "n", "trigger": EVENT, "actions": []} | bad)[0] == 422, bad


def test_on_and_off(server):
    made = make(server)
    for body, enabled in (({"enabled": False}, False), ({}, False), ({"enabled": True}, True)):
        server.api("PATCH", URL + made["id"], body, expect=204)
        now = server.api("GET", URL + made["id"])
        assert now == made | {"enabled": enabled, "updated": now["updated"]}
    for bad in ({"enabled": None}, {"enabled": "maybe"}, {"name": "x"}, [], None):
        assert server.request("PATCH", URL + made["id"], bad)[0] == 422, bad


def test_what_is_not_there(server):
    made = make(server)
    server.api("DELETE", URL + made["id"], expect=204)
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"enabled": True}), ("PUT", {"name": "n", "trigger": EVENT, "actions": []})):
        code, _, text = server.request(method, URL + made["id"], body)
        assert (code, json.loads(text)) == (404, {"exception_message": "Automation not found"})
        assert server.request(method, URL + "no-id", body)[0] == 404


# ---- lists ----

def names(server, **body):
    rows = [x["name"] for x in server.api("POST", URL + "filter", body)]
    if not body.keys() & {"limit", "offset"}:
        assert server.api("POST", URL + "count", body) == len(rows), body
    return rows


def test_filters_and_sorts(server):
    for x in server.api("POST", URL + "filter", {}):
        server.api("DELETE", URL + x["id"], expect=204)
    while rest := server.api("POST", URL + "filter", {}):
        for x in rest:
            server.api("DELETE", URL + x["id"], expect=204)
    b, a, c = make(server, "B", tags=["x", "y"]), make(server, "a", tags=["x"]), make(server, "C")
    assert sorted(names(server)) == ["B", "C", "a"] and names(server, sort="NAME_ASC") == names(server) == names(server, sort="NAME_DESC")[::-1]
    assert names(server, sort="CREATED_DESC") == ["C", "a", "B"] == names(server, sort="UPDATED_DESC")
    server.api("PATCH", URL + b["id"], {"enabled": False}, expect=204)
    assert names(server, sort="UPDATED_DESC") == ["B", "C", "a"]
    assert sorted(names(server, automations={"name": {"any_": ["a", "B", "none"]}})) == ["B", "a"] and names(server, automations={"name": {"any_": []}}) == []
    assert names(server, automations={"id": {"any_": [c["id"], SOME]}}) == ["C"]
    assert sorted(names(server, automations={"tags": {"all_": ["x"]}})) == ["B", "a"] and names(server, automations={"tags": {"any_": ["y", "z"]}}) == ["B"]
    assert names(server, automations={"tags": {"is_null_": True}}) == ["C"] and sorted(names(server, automations={"tags": {"operator": "or_", "is_null_": True, "all_": ["y"]}})) == ["B", "C"]
    assert sorted(names(server, automations={"operator": "or_", "name": {"any_": ["a"]}, "tags": {"all_": ["y"]}})) == ["B", "a"]
    assert names(server, automations={"created": {"before_": b["created"]}}) == ["B"] and names(server, automations={"created": {"before_": "2020-01-01T00:00:00Z"}}) == []
    assert names(server, sort="CREATED_DESC", limit=1, offset=1) == ["a"] and names(server, limit=0) == [] and len(names(server, automations=None, sort=None)) == 3
    for bad in ({"automations": {"name": {"like_": "a"}}}, {"automations": {"enabled": {"eq_": True}}}, {"automations": {"created": {"after_": "2020-01-01T00:00:00Z"}}}, {"automations": {"name": {"operator": "or_"}}},
                {"automations": {"id": {"any_": ["x"]}}}):
        for path in ("filter", "count"):
            assert server.request("POST", URL + path, bad)[0] == 422, bad
    for bad in ({"sort": "ID_DESC"}, {"limit": 201}, {"offset": -1}):
        assert server.request("POST", URL + "filter", bad)[0] == 422, bad
    assert json.loads(server.request("POST", URL + "count")[2]) == 3 == len(json.loads(server.request("POST", URL + "filter")[2])), "no body is asked for"


def test_what_they_are_about(server):
    deployment, run = f"prefect.deployment.{OTHER}", [{"type": "run-deployment", "deployment_id": OTHER}]

    def related(resource=deployment):
        return [x["name"] for x in server.api("GET", f"{URL}related-to/{resource}")]
    runs, owned = make(server, "runs", actions=run * 2), make(server, "owned", owner_resource=deployment)
    make(server, "inferred", actions=[{"type": "run-deployment", "source": "inferred"}])
    make(server, "pauses", actions=[{"type": "pause-deployment", "deployment_id": OTHER}])
    make(server, "on trigger", actions_on_trigger=run)
    both, odd = make(server, "both", actions=run, owner_resource=deployment), make(server, "odd", owner_resource="a/b c%")
    make(server, "unowned", owner_resource="")
    assert related() == ["runs", "owned", "both"] and related("a%2Fb%20c%25") == ["odd"] and related("nothing") == []
    assert server.api("GET", f"{URL}related-to/{deployment}")[1] == owned
    replace = {"name": "runs no more", "trigger": EVENT, "actions": []}
    server.api("PUT", URL + runs["id"], replace, expect=204)
    server.api("PUT", URL + both["id"], replace | {"name": "both"}, expect=204)
    assert related() == ["owned", "both"], "an owner stays"
    server.api("PUT", URL + owned["id"], replace | {"name": "owned", "actions": run}, expect=204)
    server.api("PUT", URL + runs["id"], replace | {"name": "runs", "actions": run}, expect=204)
    assert related() == ["runs", "owned", "both"]
    code, _, text = server.request("DELETE", f"{URL}owned-by/{deployment}")
    assert (code, text) == (202, b"null") and related() == ["runs"], "what is owned goes, also where it is run"
    assert server.request("DELETE", f"{URL}owned-by/a%2Fb%20c%25")[0] == 202 == server.request("DELETE", f"{URL}owned-by/nothing")[0]
    server.api("GET", URL + odd["id"], expect=404)
    server.api("DELETE", URL + runs["id"], expect=204)
    assert related() == []


def test_what_is_told(server):
    made = make(server, "told", owner_resource="teller")
    server.api("PATCH", URL + made["id"], {"enabled": False}, expect=204)
    server.api("PUT", URL + made["id"], {"name": "told anew", "trigger": EVENT, "actions": []}, expect=204)
    last = server.api("GET", URL + made["id"])
    server.request("DELETE", URL + "owned-by/teller")
    id = f"prefect.automation.{made['id']}"

    def events():
        found = [e for what in ("created", "updated", "deleted") for e in stored(server, f"prefect.automation.{what}", resource={"id": [id]})]
        return sorted(found, key=lambda e: e["occurred"])
    created, off, anew, deleted = wait_for(lambda: len(e := events()) == 4 and e)
    assert created["event"].endswith("created") and created["payload"] == made and created["resource"] == {"prefect.resource.id": id, "prefect.resource.name": "told"}
    assert off["event"] == anew["event"] == "prefect.automation.updated" and off["payload"] == made | {"enabled": False, "updated": off["payload"]["updated"]}
    assert anew["payload"] == last == deleted["payload"] and anew["resource"]["prefect.resource.name"] == "told anew" and deleted["event"].endswith("deleted")
    assert all(e["related"] == [] for e in (created, off, anew, deleted))


@pytest.mark.parametrize("text, code", [("x {{ a }}", 204), ("", 204), (None, 204), ("x {{", 422), (5, 422), ("{% for a in b %}{% for c in d %}{% for e in f %}x{% endfor %}{% endfor %}{% endfor %}", 422)])
def test_templates(server, text, code):
    status, _, body = server.request("POST", URL + "templates/validate", raw=json.dumps(text).encode())
    assert status == code
    if code == 422 and isinstance(text, str):
        error = json.loads(body)["error"]
        assert error["source"] == text and error["line"] == 1 and error["message"]
