"""What test_differential.py asks both servers about artifacts, saved searches, notification policies and automations."""


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
]
