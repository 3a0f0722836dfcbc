"""What test_differential.py asks both servers about artifacts, saved searches, notification policies and automations."""


AT = "2099-01-01T00:00:00Z"
NOBODY = "11111111-1111-4111-8111-111111111111"
EVENT = {"type": "event", "posture": "Reactive", "expect": ["b", "a", "b"], "after": ["c"], "for_each": ["prefect.resource.id"], "threshold": 2, "within": 60,
         "match": {"prefect.resource.id": ["x.*", "!x.y"]}, "match_related": [{"a": "b"}, {}]}
RUNNING = {"posture": "Reactive", "expect": ["prefect.flow-run.Running"]}
INFER, SELECT = [{"type": "run-deployment", "source": "inferred"}], [{"type": "run-deployment", "deployment_id": "<rdeployment>"}]
POOL = {"job_configuration": {"command": "{{ command }}", "size": "{{ size }}"},
        "variables": {"type": "object", "required": ["command"], "properties": {"command": {"type": "string"}, "size": {"type": "integer", "default": 3}}}}


def automation(**more):
    return {"name": "n", "trigger": EVENT, "actions": []} | more


def state(type, **more):
    return {"state": {"type": type} | more}


# (name of the answer's id or None, method, path, body)
RESOURCES = [
    ("rflow", "POST", "/flows/", {"name": "rf"}),
    # artifacts
    ("arun", "POST", "/flow_runs/", {"flow_id": "<rflow>", "name": "artists", "state": {"type": "RUNNING"}}),
    ("atask", "POST", "/task_runs/", {"flow_run_id": "<arun>", "task_key": "a", "dynamic_key": "0", "name": "a-0"}),
    ("art1", "POST", "/artifacts/", {"key": "art", "type": "markdown", "description": "d", "data": {"a": [1, 2.5, None]}, "metadata_": {"m": "x" * 600}, "flow_run_id": "<arun>"}),
    ("art2", "POST", "/artifacts/", {"key": "art", "type": "progress", "data": 37.5, "flow_run_id": "<arun>", "task_run_id": "<atask>"}),
    ("art3", "POST", "/artifacts/", {"data": True}),
    ("art4", "POST", "/artifacts/", {"key": "other", "type": "table", "data": "[]", "flow_run_id": "<arun>", "task_run_id": "<atask>"}),
    (None, "POST", "/artifacts/", {"key": "Not a key"}),
    (None, "POST", "/artifacts/", {"metadata_": {"a": 1}}),
    (None, "POST", "/artifacts/", {"name": "x"}),
    (None, "GET", "/artifacts/<art1>", None),
    (None, "GET", "/artifacts/art/latest", None),
    (None, "GET", "/artifacts/none/latest", None),
    (None, "POST", "/artifacts/filter", {"sort": "KEY_ASC", "artifacts": {"key": {"exists_": True}, "type": {"not_any_": ["progress"]}}}),
    (None, "POST", "/artifacts/filter", {"sort": "CREATED_DESC", "flow_runs": {"name": {"any_": ["artists"]}}, "flows": {"name": {"any_": ["rf"]}}}),
    (None, "POST", "/artifacts/filter", {"task_runs": {"name": {"any_": ["a-0"]}}, "artifacts": {"key": {"like_": "RT"}}}),
    (None, "POST", "/artifacts/filter", {"artifacts": {"key": {"exists_": False}}, "sort": "UPDATED_DESC"}),
    (None, "POST", "/artifacts/filter", {"artifacts": {"key": {"operator": "or_"}}}),
    (None, "POST", "/artifacts/latest/filter", {"sort": "KEY_DESC", "deployments": None}),
    (None, "POST", "/artifacts/latest/filter", {"artifacts": {"latest_id": {"any_": ["<art2>"]}}}),
    (None, "POST", "/artifacts/latest/filter", {"artifacts": {"id": {"any_": []}}}),
    (None, "POST", "/artifacts/latest/filter", {"sort": "NAME_ASC"}),
    (None, "POST", "/artifacts/count", {"artifacts": {"operator": "or_", "type": {"any_": ["table"]}, "id": {"any_": ["<art3>"]}}}),
    (None, "POST", "/artifacts/latest/count", {"flows": {"name": {"any_": ["rf"]}}}),
    (None, "GET", "/flow_runs/<arun>/graph-v2", None),
    (None, "PATCH", "/artifacts/<art2>", {"data": 50, "description": "half"}),
    (None, "PATCH", "/artifacts/<art1>", {"metadata_": None}),
    (None, "PATCH", "/artifacts/<art1>", {"key": "x"}),
    (None, "PATCH", "/artifacts/<arun>", {"data": 1}),
    (None, "GET", "/artifacts/art/latest", None),
    (None, "DELETE", "/artifacts/<art2>", None),
    (None, "GET", "/artifacts/art/latest", None),
    (None, "DELETE", "/artifacts/<art1>", None),
    (None, "GET", "/artifacts/art/latest", None),
    (None, "DELETE", "/artifacts/<art1>", None),
    (None, "POST", "/task_runs/<atask>/set_state", state("RUNNING")),
    (None, "POST", "/task_runs/<atask>/set_state", state("COMPLETED", data={"v": 1, "artifact_type": "result", "artifact_description": "r"})),
    (None, "POST", "/artifacts/filter", {"artifacts": {"type": {"any_": ["result"]}, "task_run_id": {"any_": ["<atask>"]}}}),
    (None, "GET", "/task_runs/<atask>", None),
    # saved searches
    ("search", "PUT", "/saved_searches/", {"name": "s2", "filters": [{"object": "flow_run", "property": "name", "type": "string", "operation": "equals", "value": [1, None], "x": 1}]}),
    (None, "PUT", "/saved_searches/", {"name": "s2", "filters": []}),
    (None, "PUT", "/saved_searches/", {"name": "s1/ %"}),
    (None, "PUT", "/saved_searches/", {"name": "s3", "filters": [{"object": "flow_run"}]}),
    (None, "PUT", "/saved_searches/", {"name": "s3", "filters": None}),
    (None, "PUT", "/saved_searches/", {"name": "s3", "owner": "x"}),
    (None, "PUT", "/saved_searches/", {}),
    (None, "POST", "/saved_searches/filter", {"sort": "NONE"}),
    (None, "POST", "/saved_searches/filter", {"limit": 1, "offset": 1}),
    (None, "POST", "/saved_searches/filter", {"limit": 201}),
    (None, "GET", "/saved_searches/<search>", None),
    (None, "DELETE", "/saved_searches/<search>", None),
    (None, "DELETE", "/saved_searches/<search>", None),
    (None, "GET", "/saved_searches/<search>", None),
    # lists that cannot be sorted, and leaves that take no operator
    (None, "POST", "/work_pools/filter", {"sort": "NONE"}),
    (None, "POST", "/work_queues/filter", {"sort": "NONE", "limit": 0}),
    (None, "POST", "/block_types/filter", {"sort": "NONE", "limit": 0}),
    (None, "POST", "/block_types/filter", {"block_types": {"operator": "and_"}, "limit": 0}),
    (None, "POST", "/flows/filter", {"flows": {"tags": {"any_": ["c"]}}}),
    (None, "POST", "/flows/filter", {"flows": {"name": {"operator": "or_"}}}),
    (None, "POST", "/flow_runs/filter", {"flow_runs": {"deployment_id": {"operator": "or_", "is_null_": True}}, "limit": 0}),
    # automations
    ("auto", "POST", "/automations/", automation(description="d", enabled=False, tags=["t"], actions_on_trigger=[{"type": "do-nothing"}])),
    (None, "POST", "/automations/", {}),
    (None, "POST", "/automations/", automation(more=1)),
    (None, "POST", "/automations/", automation(name=None)),
    (None, "GET", "/automations/<auto>", None),
    *((None, "POST", "/automations/", automation(trigger=trigger)) for trigger in (
        {"posture": "Proactive"}, {"posture": "Proactive", "within": 9}, {"posture": "Proactive", "within": 10}, {"posture": "Nope"}, {"posture": "Reactive", "within": "PT1H"},
        {"posture": "Reactive", "within": "1 day"}, {"posture": "Reactive", "within": "60"}, {"posture": "Reactive", "within": None}, {"posture": "Reactive", "within": -1}, {"posture": "Reactive", "threshold": "3"},
        {"posture": "Reactive", "match": {"a": 1}}, {"posture": "Reactive", "match_related": [1]}, {"posture": "Reactive", "expect": "a"}, {"type": "metric", "posture": "Metric"},
        {"type": "compound", "triggers": [EVENT, EVENT], "within": 5, "require": "all"}, {"type": "compound", "triggers": [EVENT, EVENT], "within": None, "require": 2},
        {"type": "compound", "triggers": [EVENT, EVENT], "within": 5, "require": 3}, {"type": "compound", "triggers": [EVENT], "require": "any"}, {"triggers": [EVENT], "within": -5, "require": "any"},
        {"type": "sequence", "triggers": [EVENT, {"triggers": [EVENT], "within": None}], "within": 5}, {"type": "sequence", "triggers": [{"posture": "x"}], "within": 5}, {"unknown": 1})),
    *((None, "POST", "/automations/", automation(actions=[action])) for action in (
        {}, {"type": "nope"}, "x", {"type": "cancel-flow-run", "x": 1}, {"type": "suspend-flow-run"}, {"type": "resume-flow-run"}, {"type": "delete-flow-run"},
        {"type": "change-flow-run-state", "state": "FAILED"}, {"type": "change-flow-run-state", "state": "FAILED", "name": "N", "message": "m", "force": True}, {"type": "change-flow-run-state", "state": "x"},
        *({"type": f"{verb}-{kind}"} | more for verb, kind, key in (("pause", "deployment", "deployment_id"), ("resume", "work-pool", "work_pool_id"), ("pause", "work-queue", "work_queue_id"), ("resume", "automation", "automation_id"))
          for more in ({}, {key: NOBODY}, {"source": "inferred"}, {"source": "inferred", key: NOBODY})),
        {"type": "run-deployment", "deployment_id": NOBODY, "parameters": {"a": ["{{ x"], "b": {"c": "{{ d }}"}}, "schedule_after": 60}, {"type": "run-deployment", "deployment_id": NOBODY, "parameters": {"a": "{{ x"}},
        {"type": "run-deployment", "deployment_id": NOBODY, "schedule_after": -1}, {"type": "run-deployment", "deployment_id": NOBODY, "parameters": {"a": {"__prefect_kind": "json", "value": "{"}}},
        {"type": "send-notification", "block_document_id": NOBODY, "body": "{{ b }}"}, {"type": "send-notification", "block_document_id": NOBODY, "body": "{{ b"}, {"type": "send-notification", "body": "b"},
        {"type": "call-webhook", "block_document_id": NOBODY}, {"type": "call-webhook", "block_document_id": NOBODY, "payload": {"a": ["é{{ x }}", 1.5, None, [], {}]}}, {"type": "call-webhook", "block_document_id": NOBODY, "payload": "{{"},
        {"deployment_id": NOBODY}, {"block_document_id": NOBODY, "body": "b"}, {"block_document_id": "x"}, {"source": "inferred"})),
    # what runs for ever, and job variables
    (None, "POST", "/work_pools/", {"name": "rp", "type": "mine", "base_job_template": POOL}),
    ("rdeployment", "POST", "/deployments/", {"name": "rd", "flow_id": "<rflow>", "work_pool_name": "rp", "job_variables": {"command": "c"}}),
    *((None, "POST", "/automations/", automation(trigger=RUNNING | more, actions=actions)) for more in (
        {}, {"expect": ["prefect.flow-run.*"]}, {"expect": ["prefect.*"]}, {"posture": "Proactive"}, {"match": {"prefect.resource.id": "prefect.flow-run.*"}}, {"match": {"prefect.resource.id": ["prefect.flow-run.x"]}},
        {"match_related": {"a": "b"}}, {"match_related": [{}, {"a": "b"}]}, {"match_related": []}) for actions in (INFER, SELECT)),
    *((None, "POST", "/automations/", automation(actions=[SELECT[0] | {"job_variables": v}])) for v in ({}, {"size": 1}, {"command": "x", "size": "y"}, {"command": "x", "size": 4})),
    (None, "POST", "/automations/", automation(actions=[SELECT[0] | {"deployment_id": NOBODY, "job_variables": {"a": 1}}])),
    (None, "PUT", "/automations/<auto>", automation(actions=[SELECT[0] | {"deployment_id": NOBODY, "job_variables": {}}])),
    (None, "POST", "/automations/", automation(trigger=RUNNING, actions=[], actions_on_trigger=INFER)),
    ("loop", "POST", "/automations/", automation(trigger=RUNNING, actions=INFER, enabled=False)),
    (None, "PATCH", "/automations/<loop>", {"enabled": True}),
    (None, "PATCH", "/automations/<loop>", {}),
    # changes
    (None, "PUT", "/automations/<auto>", automation(name="new", actions=SELECT)),
    (None, "GET", "/automations/<auto>", None),
    (None, "PUT", "/automations/<auto>", automation(owner_resource="x")),
    (None, "PUT", "/automations/<auto>", {"name": "n"}),
    (None, "PATCH", "/automations/<auto>", {"enabled": True}),
    (None, "PATCH", "/automations/<auto>", {"enabled": None}),
    (None, "PATCH", "/automations/<auto>", {"name": "x"}),
    (None, "GET", "/automations/<auto>", None),
    (None, "PATCH", f"/automations/{NOBODY}", {"enabled": True}),
    # lists
    ("owned", "POST", "/automations/", automation(name="owned", owner_resource="prefect.deployment.<rdeployment>", tags=["u"])),
    (None, "POST", "/automations/filter", {"automations": {"name": {"any_": ["owned", "new"]}}}),
    (None, "POST", "/automations/filter", {"automations": {"tags": {"any_": ["t", "u"]}}, "sort": "NAME_DESC"}),
    (None, "POST", "/automations/filter", {"automations": {"operator": "or_", "id": {"any_": ["<auto>"]}, "tags": {"all_": ["u"]}}, "sort": "CREATED_DESC"}),
    (None, "POST", "/automations/filter", {"automations": {"name": {"like_": "n"}}}),
    (None, "POST", "/automations/filter", {"sort": "UPDATED_DESC", "limit": 2}),
    (None, "POST", "/automations/filter", {"sort": "ID_DESC"}),
    (None, "POST", "/automations/count", {"automations": {"created": {"before_": AT}}}),
    (None, "POST", "/automations/count", None),
    (None, "GET", "/automations/related-to/prefect.deployment.<rdeployment>", None),
    (None, "DELETE", "/automations/owned-by/prefect.deployment.<rdeployment>", None),
    (None, "GET", "/automations/<owned>", None),
    (None, "GET", "/automations/related-to/prefect.deployment.<rdeployment>", None),
    (None, "DELETE", "/automations/owned-by/nothing", None),
    (None, "POST", "/automations/templates/validate", "{{ x }}"),
    (None, "POST", "/automations/templates/validate", "{{ x"),
    (None, "DELETE", "/automations/<auto>", None),
    (None, "DELETE", "/automations/<auto>", None),
]
