"""What test_differential.py asks both servers of the routes that no other list names: each at least once with success and once without."""

NOBODY = "11111111-1111-4111-8111-111111111111"
AT, SOON, BEFORE = "2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z", "2098-01-01T00:00:00Z"
PAST = "2035-01-01T00:00:00Z"
EVENT = {"occurred": AT, "event": "told.by.hand", "resource": {"prefect.resource.id": "thing.1", "prefect.resource.name": "one", "kind": "x"},
         "related": [{"prefect.resource.id": "thing.2", "prefect.resource.role": "other"}], "payload": {"a": [1, 2.5, None, "é"]}, "id": "aaaaaaaa-0000-4000-8000-000000000001"}
SEEN = {"occurred": {"since": "2098-12-31T00:00:00Z", "until": "2099-12-31T00:00:00Z"}}
FIELDS = {"title": "Part", "type": "object", "block_type_slug": "part", "block_schema_references": {}, "secret_fields": [], "properties": {"n": {"type": "integer"}}}
HISTORY = {"history_start": AT, "history_end": SOON, "history_interval_seconds": 21600}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "title": "n"}, "s": {"type": "string", "enum": ["a", "b"], "title": "s"}}, "required": ["n"], "title": "T"}


def state(type, **more):
    return {"state": {"type": type} | more}


def at(path, *bodies, method="POST"):
    return [(None, method, path, body) for body in bodies]


def get(*paths):
    return [(None, "GET", path, None) for path in paths]


def drop(*paths):
    return [(None, "DELETE", path, None) for path in paths]


def told(n, **more):
    return EVENT | {"id": f"aaaaaaaa-0000-4000-8000-{n:012}"} | more


# (name of the answer's id or None, method, path, body)
REST = [
    # what has no body and cannot fail: another method does
    *get("/health", "/ready", "/hello", "/csrf-token?client=me", "/csrf-token", "/block_capabilities/"),
    *drop("/health", "/ready", "/hello", "/version", "/csrf-token", "/admin/settings", "/admin/version", "/block_capabilities/"), *at("/automations/owned-by/x", {}), *at("/automations/related-to/x", {}),
    *drop(f"/block_documents/{NOBODY}"), *at("/artifacts/count", {"artifacts": 1}), *at("/artifacts/latest/count", {"artifacts": 1}), *get(f"/artifacts/{NOBODY}"), *at("/automations/count", {"automations": 1}),
    *get("/version", "/admin/version", "/admin/settings", "/collections/views/aggregate-worker-metadata", "/no/such/route", "/collections/views/nothing"),
    # where results go by default
    ("rtype", "POST", "/block_types/", {"name": "Part", "slug": "part"}),
    ("rschema", "POST", "/block_schemas/", {"block_type_id": "<rtype>", "capabilities": ["b", "a", "write-path", "read-path"], "version": "2", "fields": FIELDS}),
    (None, "POST", "/block_schemas/", {"block_type_id": "<rtype>", "capabilities": ["b", "a", "write-path", "read-path"], "version": "2", "fields": FIELDS}),
    ("rdoc", "POST", "/block_documents/", {"name": "part-1", "block_type_id": "<rtype>", "block_schema_id": "<rschema>", "data": {"n": 1}}),
    ("anon", "POST", "/block_documents/", {"is_anonymous": True, "block_type_id": "<rtype>", "block_schema_id": "<rschema>", "data": {"n": 2}}),
    *get("/admin/storage"),
    *at("/admin/storage", {"default_result_storage_block_id": "<rdoc>"}, {"default_result_storage_block_id": "x"}, {}, method="PUT"),
    *get("/admin/storage"), *drop("/admin/storage", "/admin/storage"), *get("/admin/storage"), *at("/admin/storage", {}),
    # blocks
    *get("/block_types/<rtype>", "/block_types/slug/part", f"/block_types/{NOBODY}", "/block_types/slug/none", "/block_types/slug/part/block_documents", "/block_types/slug/none/block_documents",
         "/block_types/slug/part/block_documents/name/none", "/block_types/slug/none/block_documents/name/none", "/block_schemas/<rschema>", f"/block_schemas/{NOBODY}",
         "/block_schemas/checksum/sha256:0000", "/block_schemas/checksum/<rschema.checksum>", "/block_schemas/checksum/<rschema.checksum>?version=2", "/block_schemas/checksum/<rschema.checksum>?version=3",
         "/block_documents/<anon>?include_secrets=maybe"),
    *at("/block_types/<rtype>", {"description": "changed"}, {"name": "New"}, {"logo_url": "not a url"}, {"code_example": None, "documentation_url": "https://example.org/"}, method="PATCH"),
    *at(f"/block_types/{NOBODY}", {"description": "changed"}, method="PATCH"),
    *get("/block_types/slug/part"),
    *at("/block_types/filter", {"block_types": {"name": {"like_": "art"}}}, {"block_types": {"slug": {"any_": ["part", "none"]}}, "block_schemas": {"block_capabilities": {"all_": ["a"]}}}, {"limit": -1}),
    *at("/block_schemas/filter", {"block_schemas": {"block_capabilities": {"all_": ["a", "b"]}}}, {"block_schemas": {"version": {"any_": ["2"]}, "block_type_id": {"any_": ["<rtype>"]}}}, {"offset": -1}),
    *at("/block_documents/count", {"block_types": {"slug": {"any_": ["part"]}}}, {"block_documents": {"is_anonymous": {"eq_": True}}}, {"block_documents": None, "block_types": {"slug": {"any_": ["part"]}}},
        {"block_documents": {"name": {"any_": ["part-1"]}}}, {"block_documents": {"name": {"any_": "part-1"}}}),
    *at("/block_documents/filter", {"block_types": {"slug": {"any_": ["part"]}}, "block_documents": None, "sort": "NAME_DESC"}, {"block_documents": {"name": {"like_": "part%"}}}, {"sort": "NOPE"}),
    *at("/block_documents/<rdoc>", {"name": "x"}, {"data": {"n": "y"}, "merge_existing_data": False}, {"block_schema_id": NOBODY}, {"data": "x"}, method="PATCH"),
    *at(f"/block_documents/{NOBODY}", {"data": {}}, method="PATCH"),
    *get("/block_documents/<rdoc>"),
    *at("/block_types/install_system_block_types", None, method="PUT"), *at("/block_types/install_system_block_types", None),
    ("rschema2", "POST", "/block_schemas/", {"block_type_id": "<rtype>", "capabilities": [], "version": "3", "fields": FIELDS | {"properties": {"n": {"type": "integer"}, "m": {"type": "string"}}}}),
    *drop("/block_schemas/<rschema2>", "/block_schemas/<rschema2>", "/block_types/<rtype>", "/block_types/<rtype>"),
    *get("/block_documents/<rdoc>", "/block_schemas/<rschema>"),
    # flows
    ("f1", "POST", "/flows/", {"name": "many-1", "tags": ["many"]}), ("f2", "POST", "/flows/", {"name": "many-2", "tags": ["many"]}), ("f3", "POST", "/flows/", {"name": "kept", "tags": ["kept"]}),
    *get("/flows/<f1>", f"/flows/{NOBODY}", "/flows/x", f"/flows/name/%C3%A9"),
    *at("/flows/count", {"flows": {"tags": {"all_": ["many"]}}}, {"flows": {"id": {"any_": ["<f1>"]}}}, {"flows": 3}),
    *at("/flows/paginate", {"flows": {"name": {"like_": "many"}}, "sort": "NAME_DESC", "limit": 1, "page": 2}, {"page": 0}),
    *at("/flows/filter", {"flows": {"name": {"like_": "many"}}, "sort": "NAME_DESC"}, {"sort": "x"}),
    *at("/flows/bulk_delete", {"flows": {"tags": {"all_": ["many"]}}, "limit": 1}, {"flows": {"tags": {"all_": ["many"]}}}, {"flows": {"tags": {"all_": ["many"]}}}, {"limit": 0}, {"limit": 1000}),
    *at("/flows/<f1>", {"tags": []}, method="PATCH"), *drop("/flows/<f1>"),
    # flow runs: deleted many at a time, history, lateness, graphs, states
    *[(f"h{n}", "POST", "/flow_runs/", {"flow_id": "<f3>", "name": f"history-{n}", "tags": ["history"], "state": s}) for n, s in enumerate((
        {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T01:00:00Z"}}, {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T02:00:00Z"}},
        {"type": "SCHEDULED", "name": "Late", "state_details": {"scheduled_time": "2099-01-01T23:00:00Z"}}))],
    *at("/flow_runs/history", HISTORY | {"flow_runs": {"tags": {"all_": ["history"]}}}, HISTORY | {"flows": {"name": {"any_": ["kept"]}}, "flow_runs": {"state": {"name": {"any_": ["Late"]}}}},
        HISTORY | {"history_interval_seconds": 0}, HISTORY | {"history_interval_seconds": 0.5}, HISTORY | {"history_start": "x"}, HISTORY | {"history_end": BEFORE}, {"history_start": AT}),
    *at("/flow_runs/lateness", {"flow_runs": {"tags": {"all_": ["history"]}}}, {"flow_runs": {"name": {"any_": ["none"]}}}, {"flow_runs": "x"}),
    *at("/ui/flow_runs/history", {"flow_runs": {"tags": {"all_": ["history"]}}}, {"flow_runs": {"tags": {"all_": ["history"]}}, "sort": "NAME_ASC", "limit": 2, "offset": 1}, {"limit": 2000}, {"sort": "x"}),
    *at("/ui/flow_runs/count-task-runs", {"flow_run_ids": ["<h0>", NOBODY]}, {"flow_run_ids": []}, {"flow_run_ids": ["x"]}, {}, {"flow_run_ids": [NOBODY] * 200}),
    *get("/flow_runs/<h0>/graph", f"/flow_runs/{NOBODY}/graph", "/flow_runs/x/graph", "/flow_runs/<h0>/graph-v2", f"/flow_runs/{NOBODY}/graph-v2", "/flow_runs/<h0>/graph-v2?since=x", "/flow_runs/<h0>/graph-v2?since=2099-01-01T00:00:00Z"),
    *get("/flow_run_states/<h0.state_id>", f"/flow_run_states/{NOBODY}", "/flow_run_states/?flow_run_id=x", "/flow_run_states/", f"/flow_run_states/?flow_run_id={NOBODY}"),
    *get("/flow_runs/<h0>/logs/download", f"/flow_runs/{NOBODY}/logs/download"),
    *at("/flow_runs/<h0>/set_state", {}, {"state": {}}, state("SCHEDULED", name="AwaitingRetry", state_details={"scheduled_time": PAST}), state("PAUSED"), state("CANCELLED")),
    *at(f"/flow_runs/{NOBODY}/set_state", state("RUNNING")),
    *at("/flow_runs/<h0>/resume", None, {"run_input": {"a": 1}}, {"run_input": 3}), *at(f"/flow_runs/{NOBODY}/resume", {}),
    *at("/flow_runs/<h1>", {"nothing": 1}, {"tags": "x"}, {"empirical_policy": {"retries": 3, "retry_delay": 1}, "flow_version": "v"}, {"job_variables": {"a": 1}}, method="PATCH"),
    *at(f"/flow_runs/{NOBODY}", {"name": "x"}, method="PATCH"), *at(f"/flow_runs/{NOBODY}/labels", {"a": 1}, method="PATCH"), *at("/flow_runs/<h1>/labels", ["a"], {"a": [1]}, {"a": True, "b": 1.5}, method="PATCH"),
    *get("/flow_runs/<h1>"),
    *at("/flow_runs/<h1>/input", {"key": "not a key", "value": "1"}, {"key": "k"}, {"key": "raw", "value": "not json"}, {"key": "k2", "value": "[1]", "sender": None}), *at(f"/flow_runs/{NOBODY}/input", {"key": "k", "value": "1"}),
    *at("/flow_runs/<h1>/input/filter", {"prefix": "k", "limit": 1, "exclude_keys": ["k2"]}, {"prefix": "k"}, {}, {"prefix": "", "limit": -1}),
    *get("/flow_runs/<h1>/input/none", f"/flow_runs/{NOBODY}/input/k"), *drop("/flow_runs/<h1>/input/none"),
    *at("/flow_runs/count", {"flow_runs": {"start_time": {"is_null_": True}, "tags": {"all_": ["history"]}}}, {"flow_runs": {"state": {"type": {"any_": ["x"]}}}}),
    *at("/flow_runs/paginate", {"flow_runs": {"tags": {"all_": ["history"]}}, "sort": "NAME_DESC", "limit": 2, "page": 2}, {"limit": 0, "flow_runs": {"tags": {"all_": ["history"]}}}, {"page": 0}),
    *at("/flow_runs/bulk_set_state", {"flow_runs": {"name": {"any_": ["history-1", "history-2"]}}, "state": {"type": "CANCELLED", "message": "m"}, "limit": 1},
        {"flow_runs": {"name": {"any_": ["none"]}}, "state": {"type": "CANCELLED"}}, {"flow_runs": {}}, {"flow_runs": {}, "state": {"type": "x"}}, {"flow_runs": {}, "state": {"type": "FAILED"}, "limit": 0}),
    *at("/flow_runs/bulk_delete", {"flow_runs": {"name": {"any_": ["history-0"]}}}, {"flow_runs": {"name": {"any_": ["history-0"]}}}, {"flow_runs": {"tags": {"all_": ["history"]}}, "limit": 1}, {"limit": 1000}, {"flow_runs": 1}),
    *drop(f"/flow_runs/{NOBODY}"),
    # task runs
    ("tr", "POST", "/flow_runs/", {"flow_id": "<f3>", "name": "tasks", "state": {"type": "RUNNING"}}),
    *[(f"t{n}", "POST", "/task_runs/", {"flow_run_id": "<tr>", "task_key": "k", "dynamic_key": str(n), "name": f"k-{n}", "tags": ["tt"]} | more) for n, more in enumerate((
        {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T01:00:00Z"}}}, {}, {"task_inputs": {"a": [{"input_type": "parameter", "name": "x"}, {"input_type": "flow_run", "id": NOBODY}]}},
        {"empirical_policy": {"retries": 2, "retry_delay": [1, 2], "retry_jitter_factor": 0.5}}))],
    (None, "POST", "/task_runs/", {"flow_run_id": "<tr>", "task_key": "k"}), (None, "POST", "/task_runs/", {"flow_run_id": "<tr>", "task_key": "k", "dynamic_key": "x", "task_inputs": {"a": [{"input_type": "x"}]}}),
    (None, "POST", "/task_runs/", {"task_key": "free", "dynamic_key": "0", "name": "free", "id": "bbbbbbbb-0000-4000-8000-000000000001", "state": {"type": "SCHEDULED"}}),
    *at("/task_runs/<t1>/set_state", state("RUNNING"), state("COMPLETED", name="Cached"), state("RUNNING"), state("CRASHED") | {"force": True}, {}, {"state": None}), *at(f"/task_runs/{NOBODY}/set_state", state("RUNNING")),
    *at("/task_runs/<t3>/set_state", state("RUNNING"), state("FAILED", message="x"), state("RUNNING") | {"force": True}, state("PAUSED"), state("CANCELLING")),
    *get("/task_runs/<t3>", f"/task_runs/{NOBODY}", "/task_run_states/<t1.state_id>", f"/task_run_states/{NOBODY}", "/task_run_states/", "/task_run_states/?task_run_id=<t3>", "/ui/task_runs/<t1>", f"/ui/task_runs/{NOBODY}"),
    *at("/task_runs/<t1>", {"name": "renamed"}, {"tags": ["x"]}, method="PATCH"), *at(f"/task_runs/{NOBODY}", {"name": "x"}, method="PATCH"),
    *at("/task_runs/history", HISTORY | {"task_runs": {"tags": {"all_": ["tt"]}}}, HISTORY | {"history_interval_seconds": -1}, {}),
    *at("/task_runs/filter", {"task_runs": {"tags": {"all_": ["tt"]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}}, "sort": "NAME_DESC"}, {"task_runs": {"subflow_runs": {"exists_": True}, "flow_run_id": {"any_": ["<tr>"]}}}, {"sort": "x"}),
    *at("/task_runs/count", {"task_runs": {"name": {"like_": "k-"}}}, {"task_runs": []}), *at("/task_runs/paginate", {"task_runs": {"tags": {"all_": ["tt"]}}, "limit": 2, "page": 3}, {"limit": 201}),
    *at("/ui/task_runs/count", {"task_runs": {"tags": {"all_": ["tt"]}}}, {"flow_runs": {"name": {"any_": ["tasks"]}}}, {"task_runs": 1}),
    *at("/ui/task_runs/dashboard/counts", {"task_runs": {"start_time": {"after_": "2020-01-01T00:00:00Z", "before_": "2090-01-01T00:00:00Z"}}, "flow_runs": {"name": {"any_": ["tasks"]}}}, {"task_runs": {}}, {}),
    *get("/flow_runs/<tr>/graph", "/flow_runs/<tr>/graph-v2"),
    *drop("/task_runs/<t2>", "/task_runs/<t2>", f"/task_runs/{NOBODY}"),
    # pools, queues and workers
    ("xp", "POST", "/work_pools/", {"name": "xp", "type": "mine", "concurrency_limit": 3}), ("xq", "POST", "/work_pools/xp/queues", {"name": "xq", "concurrency_limit": 2}),
    *get("/work_pools/none", "/work_pools/none/queues/default", "/work_pools/xp/queues/none"),
    *at("/work_pools/count", {"work_pools": {"name": {"any_": ["xp"]}}}, {"work_pools": {"type": {"any_": ["mine"]}}}, {"work_pools": 1}),
    *at("/work_pools/filter", {"work_pools": {"name": {"any_": ["xp"]}}}, {"limit": 201}),
    *at("/work_pools/xp", {"type": "x"}, {"name": "y"}, {"concurrency_limit": -1}, {"is_paused": True}, {"is_paused": None}, {"default_queue_id": None}, {"base_job_template": {"job_configuration": {}, "variables": {}}}, method="PATCH"), *at("/work_pools/none", {"is_paused": True}, method="PATCH"),
    *get("/work_pools/xp"), *at("/work_pools/xp", {"is_paused": False}, method="PATCH"),
    *at("/work_pools/xp/queues/xq", {"priority": 0}, {"concurrency_limit": -1}, {"priority": 2, "name": "xr"}, method="PATCH"), *at("/work_pools/xp/queues/none", {"priority": 1}, method="PATCH"), *at("/work_pools/xp/queues/xr", {"name": "xq"}, method="PATCH"),
    *at("/work_pools/xp/queues/filter", {"limit": 1, "offset": 1}, {"work_queues": {"name": {"startswith_": ["xq"]}}}, {"limit": 999}), *at("/work_pools/none/queues/filter", {}),
    *at("/work_pools/none/queues", {"name": "x"}), *at("/work_pools/xp/queues", {}, {"name": "a/b"}, {"name": ""}, {"name": "third", "priority": 1}), *at("/work_pools/xp/queues/filter", {}),
    ("xflow", "POST", "/flows/", {"name": "xf"}),
    ("xd", "POST", "/deployments/", {"name": "xd", "flow_id": "<xflow>", "work_pool_name": "xp", "work_queue_name": "xq", "tags": ["xd"], "concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}),
    ("xr1", "POST", "/deployments/<xd>/create_flow_run", {"name": "xr1", "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": PAST}}}), ("xr2", "POST", "/deployments/<xd>/create_flow_run", {"name": "xr2"}),
    *at("/work_queues/<xq>/get_runs", {"scheduled_before": AT}, {"limit": 1, "scheduled_before": AT}, {"limit": 0}, {"limit": -1}, {"scheduled_before": "x"}), *at(f"/work_queues/{NOBODY}/get_runs", {}),
    *at("/work_pools/xp/get_scheduled_flow_runs", {"work_queue_names": ["xq"], "scheduled_before": AT, "limit": 1}, {"work_queue_names": ["none"]}, {"limit": "x"}, {"scheduled_after": AT}),
    *at("/deployments/get_scheduled_flow_runs", {"deployment_ids": ["<xd>"], "scheduled_before": AT}, {"deployment_ids": [NOBODY]}, {}, {"deployment_ids": ["<xd>"], "limit": 0}),
    *at("/flow_runs/<xr2>/set_state", state("PENDING")),
    *at("/flow_runs/<xr1>/set_state", state("PENDING")),
    *get("/flow_runs/<xr1>"),
    *at("/work_pools/xp/concurrency_status", {}, {"page": 1, "limit": 1}, {"flow_run_limit": 0}, {"page": 0}), *at("/work_pools/none/concurrency_status", {}),
    *at("/work_queues/<xq>/concurrency_status", {}, {"limit": 0}), *at(f"/work_queues/{NOBODY}/concurrency_status", {}),
    *at("/flow_runs/<xr2>/set_state", state("RUNNING"), state("COMPLETED")),
    *get("/work_queues/name/default", "/work_queues/name/none", f"/work_queues/{NOBODY}", f"/work_queues/{NOBODY}/status", "/work_queues/<xq>/status"),
    ("lq", "POST", "/work_queues/", {"name": "legacy", "concurrency_limit": 1}), (None, "POST", "/work_queues/", {"name": "legacy"}), (None, "POST", "/work_queues/", {}), (None, "POST", "/work_queues/", {"name": "filtered", "filter": {"tags": ["xd"]}}),
    *get("/work_queues/name/legacy", "/work_queues/<lq>"),
    *at("/work_queues/<lq>", {"description": "d", "is_paused": True}, {"priority": 0}, {"concurrency_limit": "x"}, method="PATCH"), *at(f"/work_queues/{NOBODY}", {"description": "d"}, method="PATCH"),
    *at("/work_queues/filter", {"work_queues": {"name": {"any_": ["legacy"]}}}, {"limit": 999}),
    *drop("/work_queues/<lq>", "/work_queues/<lq>"),
    *at("/work_pools/xp/workers/heartbeat", {"name": "w1", "heartbeat_interval_seconds": 10}, {}, {"name": "w1", "heartbeat_interval_seconds": "x"}),
    *at("/work_pools/xp/workers/filter", {"workers": {"status": {"any_": ["ONLINE"]}}}, {"workers": {"status": {"any_": ["x"]}}}), *at("/work_pools/none/workers/filter", {}),
    *drop("/work_pools/xp/workers/w1", "/work_pools/xp/workers/w1", "/work_pools/none/workers/w1"),
    # deployments
    *at("/deployments/count", {"deployments": {"tags": {"all_": ["xd"]}}}, {"deployments": {"paused": {"eq_": True}}}, {"deployments": "x"}),
    *at("/deployments/filter", {"deployments": {"work_queue_name": {"any_": ["xq"]}}}, {"deployments": {"flow_or_deployment_name": {"like_": "xf"}}}, {"deployments": {"concurrency_limit": {"ge_": 1}, "name": {"like_": "xd"}}}, {"sort": "x"}),
    *at("/deployments/paginate", {"deployments": {"tags": {"all_": ["xd"]}}, "limit": 1}, {"page": 0}),
    *get("/deployments/<xd>/work_queue_check", f"/deployments/{NOBODY}/work_queue_check", f"/deployments/{NOBODY}", f"/deployments/{NOBODY}/schedules"),
    *at("/deployments/<xd>/pause_deployment", None), *get("/deployments/<xd>"), *at(f"/deployments/{NOBODY}/pause_deployment", None), *at("/deployments/<xd>/resume_deployment", None), *at(f"/deployments/{NOBODY}/resume_deployment", None),
    *at("/deployments/<xd>/schedule", None, {"min_runs": "x"}), *at(f"/deployments/{NOBODY}/schedule", {}),
    *at("/deployments/<xd>", {"concurrency_limit": 0}, {"concurrency_limit": 2, "concurrency_options": None}, {"schedules": [{"schedule": {"interval": 0}}]}, {"name": "x"}, {"paused": "x"},
        {"work_queue_name": "made", "work_pool_name": "xp", "entrypoint": "e", "path": "p", "version": "1", "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": "/"}}], "enforce_parameter_schema": False}, {"work_pool_name": "none"}, {"concurrency_limit": None}, method="PATCH"),
    *at(f"/deployments/{NOBODY}", {"paused": True}, method="PATCH"),
    *get("/deployments/<xd>"), *at("/work_pools/xp/queues/filter", {}),
    *at(f"/deployments/{NOBODY}/schedules", [{"schedule": {"interval": 60}}]), *at("/deployments/<xd>/schedules", {}, [{"schedule": {}}], [{"schedule": {"interval": 60}, "active": "maybe"}], [{"schedule": {"rrule": "FREQ=SECONDLY"}, "active": False}], [{"schedule": {"rrule": "x"}}], [{"schedule": {"interval": 60, "timezone": "Nowhere/X"}}]),
    ("xs", "POST", "/deployments/<xd>/schedules", [{"schedule": {"cron": "*/5 * * * *", "day_or": False}, "active": False, "max_scheduled_runs": 7, "slug": "five"}]),
    *at("/deployments/<xd>/schedules/<xs>", {"active": True}, {"schedule": {"cron": "x"}}, {"max_scheduled_runs": 0}, {"max_scheduled_runs": 1000}, {"parameters": {"a": 1}}, {"slug": "six"}, method="PATCH"), *at(f"/deployments/<xd>/schedules/{NOBODY}", {"active": True}, method="PATCH"),
    *drop(f"/deployments/<xd>/schedules/{NOBODY}"),
    *at("/deployments/<xd>/create_flow_run/bulk", [{"name": "b1", "parameters": {"a": 1}}, {"name": "b2", "idempotency_key": "bk"}, {"name": "b3", "idempotency_key": "bk"}], [], {}, [{"name": 3}]), *at(f"/deployments/{NOBODY}/create_flow_run/bulk", [{"name": "b"}]),
    *at(f"/deployments/{NOBODY}/create_flow_run", {}), *at("/deployments/<xd>/create_flow_run", {"work_queue_name": "none", "name": "nq"}, {"state": {"type": "x"}}, {"idempotency_key": "bk"}, {"labels": {"a": 1}, "name": "labelled"}),
    *at("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["b1", "b2", "b3", "labelled"]}}, "sort": "NAME_ASC"}),
    ("f3d", "POST", "/deployments/", {"name": "nd", "flow_id": "<f3>", "tags": ["nd"]}), *at("/deployments/", {"flow_id": "<f3>"}, {"name": "a/b", "flow_id": "<f3>"}, {"name": "sla", "flow_id": "<f3>", "schedules": [{"schedule": {"cron": "x"}}]}),
    *at("/ui/flows/count-deployments", {"flow_ids": ["<f3>", "<xflow>", NOBODY]}, {"flow_ids": "x"}, {}, {"flow_ids": [NOBODY] * 200}), *at("/ui/flows/next-runs", {"flow_ids": ["<f3>", "<xflow>", NOBODY]}, {"flow_ids": "x"}, {}),
    *at("/deployments/bulk_delete", {"deployments": {"tags": {"all_": ["nd"]}}}, {"deployments": {"tags": {"all_": ["nd"]}}}, {"limit": 0}, {"deployments": 1}),
    *get("/deployments/<xd>"), *drop("/deployments/<xd>", "/work_pools/none", "/work_pools/xp/queues/none", "/work_pools/xp/queues/xq", f"/deployments/{NOBODY}"),  # xp stays: theirs locks itself out when it is deleted
    # limits on tags
    ("cl", "POST", "/concurrency_limits/", {"tag": "slow", "concurrency_limit": 2}), *at("/concurrency_limits/", {"tag": "slow", "concurrency_limit": 1}, {"tag": "x"}, {"tag": "x", "concurrency_limit": "many"}),
    *get("/concurrency_limits/<cl>", f"/concurrency_limits/{NOBODY}", "/concurrency_limits/tag/slow", "/concurrency_limits/tag/none"),
    *at("/concurrency_limits/increment", {"names": ["slow"], "task_run_id": NOBODY}, {"names": ["slow"], "task_run_id": NOBODY}, {"names": ["slow"], "task_run_id": "22222222-1111-4111-8111-111111111111"}, {"names": ["none"], "task_run_id": NOBODY}, {"names": ["slow"]}, {"names": ["slow"], "task_run_id": "x"}),
    *get("/concurrency_limits/tag/slow"),
    *at("/concurrency_limits/decrement", {"names": ["slow", "none"], "task_run_id": NOBODY}, {"names": ["slow"], "task_run_id": NOBODY}, {"task_run_id": NOBODY}),
    *at("/concurrency_limits/tag/slow/reset", {"slot_override": [NOBODY]}, None, {"slot_override": ["x"]}), *at("/concurrency_limits/tag/none/reset", None),
    *at("/concurrency_limits/filter", {}, {"limit": 1, "offset": 1}, {"limit": 999}),
    *at("/concurrency_limits/filter", None),
    *drop("/concurrency_limits/tag/slow", "/concurrency_limits/tag/slow"), ("cl2", "POST", "/concurrency_limits/", {"tag": "slow2", "concurrency_limit": 0}),
    *drop("/concurrency_limits/<cl2>", "/concurrency_limits/<cl2>"),
    # global limits
    ("g", "POST", "/v2/concurrency_limits/", {"name": "g", "limit": 3}), ("gd", "POST", "/v2/concurrency_limits/", {"name": "gd", "limit": 1, "slot_decay_per_second": 0.5, "active": False}),
    *at("/v2/concurrency_limits/", {"name": "g", "limit": 1}, {"name": "x"}, {"name": "x", "limit": -1}, {"name": "a/b", "limit": 1}, {"name": "x", "limit": 1, "slot_decay_per_second": -1}, {"name": "x", "limit": 1, "active_slots": -1}),
    *get("/v2/concurrency_limits/g", "/v2/concurrency_limits/<g>", "/v2/concurrency_limits/none", f"/v2/concurrency_limits/{NOBODY}"),
    *at("/v2/concurrency_limits/increment", {"names": ["g"], "slots": 2}, {"names": ["g"], "slots": 2}, {"names": ["g"], "slots": 4}, {"names": ["none"], "slots": 1}, {"names": ["gd"], "slots": 1}, {"names": ["g"], "slots": 0}, {"names": ["g"]},
        {"names": ["g"], "slots": 1, "mode": "rate_limit"}, {"names": ["g"], "slots": 1, "mode": "x"}, {"names": ["made-here"], "slots": 1, "create_if_missing": True}, {"names": [], "slots": 1}, {"names": ["g", "g"], "slots": 1}),
    *get("/v2/concurrency_limits/g", "/v2/concurrency_limits/made-here"),
    *at("/v2/concurrency_limits/decrement", {"names": ["g"], "slots": 1, "occupancy_seconds": 1.5}, {"names": ["none"], "slots": 1}, {"names": ["g"], "slots": 9}, {"names": ["g"], "slots": 0}, {"names": ["g"], "slots": 1, "occupancy_seconds": 0}),
    *get("/v2/concurrency_limits/g"),
    ("lease", "POST", "/v2/concurrency_limits/increment-with-lease", {"names": ["g"], "slots": 1, "lease_duration": 60, "holder": {"type": "flow_run", "id": NOBODY}}),
    *at("/v2/concurrency_limits/increment-with-lease", {"names": ["g"], "slots": 99, "lease_duration": 60}, {"names": ["g"], "slots": 1, "lease_duration": 1}, {"names": ["g"], "slots": 1, "lease_duration": 1e9}, {"names": ["g"], "slots": 1, "holder": {"type": "x", "id": NOBODY}}, {"slots": 1}),
    *at("/v2/concurrency_limits/leases/<lease>/renew", {"lease_duration": 60}, {"lease_duration": 1}, {}), *at(f"/v2/concurrency_limits/leases/{NOBODY}/renew", {"lease_duration": 60}), *at("/v2/concurrency_limits/leases/x/renew", {"lease_duration": 60}),
    *at("/v2/concurrency_limits/filter", {}, {"limit": 1, "offset": 1}, {"limit": 999}),
    *at("/v2/concurrency_limits/decrement-with-lease", {"lease_id": "<lease>"}, {"lease_id": "<lease>"}, {"lease_id": NOBODY}, {}),
    *at("/v2/concurrency_limits/g", {"limit": 5, "active": False}, {"limit": -1}, {"name": "gd"}, {"name": "a/b"}, {"nothing": 1}, {"active_slots": 0, "denied_slots": 1, "slot_decay_per_second": 1.5, "name": "h"}, method="PATCH"), *at("/v2/concurrency_limits/none", {"limit": 1}, method="PATCH"),
    *get("/v2/concurrency_limits/h"), *drop("/v2/concurrency_limits/h", "/v2/concurrency_limits/h", "/v2/concurrency_limits/<gd>"),
    # variables by id
    ("v1", "POST", "/variables/", {"name": "v1", "value": 1.5}), *get("/variables/<v1>", f"/variables/{NOBODY}", "/variables/name/none"),
    *at("/variables/<v1>", {"value": None, "tags": ["a"]}, {"name": "v 2"}, {"name": "v_2"}, {"x": 1}, method="PATCH"), *at(f"/variables/{NOBODY}", {"value": 1}, method="PATCH"), *at("/variables/name/none", {"value": 1}, method="PATCH"),
    *at("/variables/", {"name": "v2"}, {"name": "x" * 256, "value": 1}, {"name": "long", "value": "y" * 5001}),
    *at("/variables/count", {"variables": {"tags": {"all_": ["a"]}}}, {"variables": {"name": 1}}), *at("/variables/filter", {"variables": {"id": {"any_": ["<v1>"]}}, "sort": "NAME_DESC"}, {"sort": "x"}),
    *drop("/variables/<v1>", "/variables/<v1>"),
    # events
    *at("/events", [EVENT, told(2, event="told.again", resource={"prefect.resource.id": "thing.2"}, occurred="2099-01-01T05:00:00Z")], [told(3, occurred="2099-01-02T00:00:00Z", follows="aaaaaaaa-0000-4000-8000-000000000002")], [], {}, [{"event": "x"}], [told(4, resource={})], [told(4, occurred="x")]),
    *at("/events/filter", {"filter": SEEN | {"order": "ASC"}}, {"filter": SEEN | {"event": {"name": ["told.again"]}}}, {"filter": SEEN | {"event": {"prefix": ["told."], "exclude_name": ["told.again"]}}},
        {"filter": SEEN | {"resource": {"id_prefix": ["thing."], "labels": {"kind": "x"}}}}, {"filter": SEEN | {"related": {"role": ["other"]}}}, {"filter": SEEN | {"any_resource": {"id": ["thing.2"]}}},
        {"filter": SEEN | {"id": {"id": ["aaaaaaaa-0000-4000-8000-000000000002"]}}}, {"filter": SEEN | {"text": {"query": "hand"}}}, {"filter": SEEN | {"order": "x"}}, {"limit": 51}, {"filter": {"resource": 1}}),
    *at("/events/count-by/event", {"filter": SEEN}), *at("/events/count-by/resource", {"filter": SEEN}), *at("/events/count-by/time", {"filter": SEEN | {"occurred": {"since": AT, "until": SOON}}, "time_unit": "hour", "time_interval": 6}, {"filter": SEEN, "time_unit": "second"}, {"filter": SEEN, "time_interval": 0}),
    *at("/events/count-by/day", {"filter": SEEN | {"occurred": {"since": AT, "until": "2099-01-03T00:00:00Z"}}}), *at("/events/count-by/other", {"filter": SEEN}), *at("/events/count-by/event", {}),
    ("page", "POST", "/events/filter", {"filter": SEEN, "limit": 1}), ("page", "GET", "<page.next_page>", None), *get("<page.next_page>"),
    *get("/events/filter/next", "/events/filter/next?page-token=x"),
    # logs
    *at("/logs/", [{"name": "n", "level": 20, "message": "m1", "timestamp": AT, "flow_run_id": "<tr>"}, {"name": "n", "level": 40, "message": "m2", "timestamp": SOON, "flow_run_id": "<tr>", "task_run_id": "<t1>"}], [], {}, [{"name": "n"}], [{"name": "n", "level": "x", "message": "m", "timestamp": AT}]),
    *at("/logs/filter", {"logs": {"flow_run_id": {"any_": ["<tr>"]}}, "sort": "TIMESTAMP_DESC"}, {"logs": {"level": {"ge_": 30}, "flow_run_id": {"any_": ["<tr>"]}}}, {"logs": {"timestamp": {"after_": SOON}, "task_run_id": {"is_null_": False}}},
        {"logs": {"text": {"query": "m2 -m1"}}}, {"sort": "x"}, {"limit": 999}),
    *get("/flow_runs/<tr>/logs/download", "/flow_runs/x/logs/download"),
    # templates, schemas, workers of tasks
    *at("/templates/validate", "{{ a.b|upper }}", "{% for x in y %}{{ x }}{% endfor %}", "{% if", "{{ x|nope }}", 3, ""), *at("/task_workers/filter", {}, None, {"task_worker_filter": {"task_keys": ["x"]}}, {"task_worker_filter": {"task_keys": 1}}),
    *at("/ui/schemas/validate", {"schema": SCHEMA, "values": {"n": 1, "s": "a"}}, {"schema": SCHEMA, "values": {"n": "x", "s": "c"}}, {"schema": SCHEMA, "values": {}}, {"schema": SCHEMA, "values": {"n": {"__prefect_kind": "json", "value": "4"}}},
        {"schema": SCHEMA, "values": {"n": {"__prefect_kind": "json", "value": "{"}}}, {"schema": {"type": "nothing"}, "values": {}}, {"schema": SCHEMA, "values": 1}, {"values": {}}),
]

# (name, method, path, body): what the 2.x server alone has
OLD = [
    ("of", "POST", "/flows/", {"name": "of"}),
    ("od", "POST", "/deployments/", {"name": "od", "flow_id": "<of>", "schedules": [{"schedule": {"interval": 3600, "anchor_date": AT}, "active": True}]}),
    *at("/deployments/<od>/set_schedule_inactive", None), *get("/deployments/<od>"), *at("/deployments/<od>/set_schedule_active", None), *get("/deployments/<od>"),
    *at(f"/deployments/{NOBODY}/set_schedule_active", None), *at(f"/deployments/{NOBODY}/set_schedule_inactive", None), *at("/deployments/x/set_schedule_active", None),
    ("ot", "POST", "/block_types/", {"name": "OPart", "slug": "opart"}),
    ("os", "POST", "/block_schemas/", {"block_type_id": "<ot>", "capabilities": ["notify"], "version": "2", "fields": FIELDS | {"block_type_slug": "opart"}}),
    ("odoc", "POST", "/block_documents/", {"name": "part-1", "block_type_id": "<ot>", "block_schema_id": "<os>", "data": {"n": 1}}),
    ("policy", "POST", "/flow_run_notification_policies/", {"block_document_id": "<odoc>", "is_active": True, "state_names": ["Failed"], "tags": ["b", "a"], "message_template": "{flow_run_name}"}),
    *at("/flow_run_notification_policies/", {}, {"block_document_id": "x", "state_names": [], "tags": []}, {"block_document_id": "<odoc>", "state_names": [], "tags": [], "message_template": "{nope}"}, {"block_document_id": NOBODY, "state_names": [], "tags": []}),
    *get("/flow_run_notification_policies/<policy>", f"/flow_run_notification_policies/{NOBODY}"),
    *at("/flow_run_notification_policies/<policy>", {"is_active": False}, {"tags": []}, {"message_template": "{x}"}, {"nothing": 1}, method="PATCH"), *at(f"/flow_run_notification_policies/{NOBODY}", {"is_active": False}, method="PATCH"),
    *at("/flow_run_notification_policies/filter", {}, {"flow_run_notification_policy_filter": {"is_active": {"eq_": False}}}, {"flow_run_notification_policy_filter": {"is_active": {"eq_": True}}}, {"limit": 999}),
    *drop("/flow_run_notification_policies/<policy>", "/flow_run_notification_policies/<policy>"),
    *at("/admin/database/create", {}, {"confirm": False}, {"confirm": "x"}), *at("/admin/database/clear", {"confirm": False}, {}, {"confirm": True}),
    *at("/flows/count", {}), *at("/admin/database/drop", {}, {"confirm": False}, {"confirm": True}), *at("/admin/database/create", {"confirm": True}),
    *at("/flows/count", {}),
]
