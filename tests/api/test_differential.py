"""The same requests to the reference server and to ours: status, keys and values are compared, ids and times masked.

Texts of messages are not compared: they are ours. What differs on purpose is in EXPLAINED."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.api.conftest import ROOT, Server
from tests.api.differential_resources import RESOURCES
from tests.api.differential_rest import OLD, REST

PEER = Path(os.environ["MILLPOND_PEER"]) / "bin" if os.environ.get("MILLPOND_PEER") else Path(sys.executable).parent
OLD_PEER = Path(os.environ.get("MILLPOND_PEER_2", "/nowhere")) / "bin"
ROUTES = [m.groups() for m in re.finditer(r'^ROUTE\((\w+), *"([^"]+)", *\w+, *(\w+)', (ROOT / "src/api/routes.def").read_text(), re.M)]

MISSING = "11111111-1111-4111-8111-111111111111"  # no object's id
REFERS = json.dumps({"block_schema_id": MISSING})

# name of a value, or "METHOD path", where it differs → why
EXPLAINED = {
    "job_variables": "a run that is made with none: theirs says {} or null by the way it was inserted",
    "infra_overrides": "2.x clients read job_variables under this name",
    "is_schedule_active": "2.x", "manifest_path": "2.x", "schedule": "2.x: the only schedule", "catchup": "2.x", "max_active_runs": "2.x",
    "POST /task_runs/paginate": "theirs leaves out fields that /task_runs/filter has; ours are the same in both",
    "[].flow_run.work_pool_id": "ours says the pool here too", "[].flow_run.work_pool_name": "ours says the pool here too",
    "DELETE /work_pools/p/queues/default": "theirs answers 500, ours 409",
    "POST /block_documents/": "theirs answers 500 where the block type is not there, ours 409 as for the schema",
    "[].parameters.n": "theirs loses a schedule's parameters when its times are changed",
    "schedules[].parameters.a": "theirs does not change a schedule's parameters",
    f"PATCH /block_documents/<rdoc> {REFERS}": "theirs takes the id of a block schema that is not there",
    "POST /flow_runs/<h1>/input/filter": "theirs takes a negative limit for none",
    "PATCH /work_pools/xp": "theirs says 409 to null where none can be; ours takes it for not said",
    "[].work_pool_id": "ours says the pool here too", "[].work_pool_name": "ours says the pool here too",
    "GET /deployments/<xd>/work_queue_check": "theirs names every queue without a filter, of any pool",
    f"POST /deployments/{MISSING}/schedule": "theirs says 200 where there is no deployment",
    "POST /concurrency_limits/increment": "a task run that asks again has its slot; theirs gives it another",
    "GET /admin/settings": "they are other servers' settings",
    "GET /collections/views/aggregate-worker-metadata": "the pool types that ours runs",
    "POST /v2/concurrency_limits/leases/x/renew": "an id that is none is nothing's: 404, as in all other paths",
}
# The older one's answers; ours has what the newer one has too.
EXPLAINED_OLD = {
    "job_variables": "3.x", "labels": "3.x", "concurrency_limit": "3.x", "concurrency_options": "3.x", "global_concurrency_limit": "3.x", "schedules[].parameters": "3.x", "schedules[].slug": "3.x",
    "work_queue_id": "3.x", "enforce_parameter_schema": "3.x: true where nothing is said", "parameter_openapi_schema": "3.x: {} where nothing is said", "pull_steps": "3.x: [] where nothing is said",
    "anchor_date": "the same instant, written the other way",
}
# Where theirs breaks (500), with why; ours answers.
BROKEN = {
    f"POST /flow_runs/{MISSING}/resume": "it looks at the state of a run that is not there",
    "POST /flow_runs/<h1>/input": "the key is checked too late",
    "GET /flow_runs/<tr>/graph": "it has no place for inputs that are flow runs",
    "PATCH /deployments/<xd>": "the pool is not there",
    "POST /deployments/": "the name is checked too late",
    "POST /events/count-by/time": "its buckets end before events of the future",
    "POST /events/count-by/day": "its buckets end before events of the future",
}
TEXTS = {"message", "reason", "detail", "exception_message", "msg", "description", "documentation_url", "logo_url", "code_example"}
SAYS = "Invalid JSON: "  # what stands behind it is of the parser
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def masked(value, key=""):
    """Ids and times by their kind, measured numbers by their sort; texts by whether there is one."""
    if isinstance(value, dict):
        return {UUID.sub("<id>", k): masked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v, key) for v in (sorted(value) if key in ("tags", "after", "expect", "for_each") else value)]  # their order is by chance
    if key in TEXTS and isinstance(value, str) or isinstance(value, str) and value.startswith(SAYS):
        return "<text>"
    if key == "next_page" and value:
        return "<address>"
    if isinstance(value, str) and TIME.match(value):
        return value if value.startswith(("2035", "2099")) else "<time>"
    if isinstance(value, str):
        return UUID.sub("<id>", value)
    if key in ("estimated_run_time", "estimated_start_time_delta", "total_run_time", "time_in_current_state") and isinstance(value, (int, float)):
        return "<seconds>"
    return value


def differences(theirs, ours, path=""):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for k in sorted(theirs.keys() | ours.keys()):
            at = f"{path}.{k}" if path else k
            if k not in ours:
                yield f"{at}: missing, theirs is {theirs[k]!r}"[:300]
            elif k not in theirs:
                yield f"{at}: not theirs, ours is {ours[k]!r}"[:300]
            else:
                yield from differences(theirs[k], ours[k], at)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for a, b in zip(theirs, ours):
            yield from differences(a, b, path + "[]")
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{path}: {theirs!r} is {ours!r} here"[:400]


class Side:
    """One of the two servers, and the names given to what it made."""

    def __init__(self, url):
        self.url = url
        self.names = {}
        self.answers = {}

    def fill(self, text):
        """<name> is the id of what was answered under this name, <name.key> another of its values."""
        return re.sub(r"<(\w+)(?:\.(\w+))?>", lambda m: self.names[m[1]] if not m[2] else self.answers[m[1]][m[2]], text).replace(self.url, "")

    def ask(self, method, path, body=None):
        data = None if body is None else self.fill(json.dumps(body)).encode()
        for _ in range(10):  # theirs says 503 when its own writers are in its way
            request = urllib.request.Request(self.url + self.fill(path), data=data, method=method, headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, text = answer.status, answer.read()
            except urllib.error.HTTPError as e:
                status, text = e.code, e.read()
            if status != 503:
                break
            time.sleep(0.2)
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode()


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}, "required": []}
NOBODY, NIL = "11111111-2222-4333-8444-555555555555", "00000000-0000-0000-0000-000000000000"
AT = "2099-01-01T00:00:00Z"
TEMPLATE = {"job_configuration": {"command": "{{ command }}", "size": "{{ size }}"},
            "variables": {"type": "object", "properties": {"command": {"type": "string"}, "size": {"type": "integer", "default": 3}}}}


def state(type, **more):
    return {"state": {"type": type} | more}


# (name of the answer's id or None, method, path, body)
SCENARIO = [
    ("flow", "POST", "/flows/", {"name": "f", "tags": ["b", "a"], "labels": {"x": 1}}),
    (None, "POST", "/flows/", {"name": "f"}),
    (None, "GET", "/flows/name/f", None),
    (None, "GET", "/flows/name/none", None),
    (None, "POST", "/flows/", {}),
    (None, "POST", "/flows/filter", {"flows": {"name": {"like_": "F"}}}),
    (None, "POST", "/flows/filter", {"limit": 1000}),
    (None, "PATCH", "/flows/<flow>", {"tags": ["c"]}),
    (None, "POST", "/flows/paginate", {"limit": 1, "page": 1}),
    # flow runs
    ("run", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "r1", "parameters": {"a": [1, 2.5, None, "é"]}, "tags": ["t"], "idempotency_key": "k1",
                                    "empirical_policy": {"retries": 1, "retry_delay": 0}, "state": {"type": "PENDING"}}),
    (None, "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "other", "idempotency_key": "k1"}),
    (None, "POST", "/flow_runs/<run>/set_state", state("RUNNING")),
    (None, "GET", "/flow_runs/<run>", None),
    (None, "POST", "/flow_runs/<run>/set_state", state("PENDING")),
    (None, "POST", "/flow_runs/<run>/set_state", state("FAILED", message="m", data={"type": "unpersisted"})),
    (None, "POST", "/flow_runs/<run>/set_state", state("RUNNING")),
    (None, "POST", "/flow_runs/<run>/set_state", state("COMPLETED", data={"type": "result", "v": 1})),
    (None, "POST", "/flow_runs/<run>/set_state", state("RUNNING")),
    (None, "POST", "/flow_runs/<run>/set_state", state("CRASHED")),
    (None, "POST", "/flow_runs/<run>/set_state", state("SCHEDULED") | {"force": True}),
    (None, "POST", "/flow_runs/<run>/set_state", state("NOWHERE")),
    (None, "GET", "/flow_run_states/?flow_run_id=<run>", None),
    (None, "GET", "/flow_runs/<run>", None),
    (None, "PATCH", "/flow_runs/<run>", {"name": "renamed", "tags": ["u"], "infrastructure_pid": "p:1"}),
    (None, "PATCH", "/flow_runs/<run>/labels", {"l": "v", "n": 2}),
    (None, "GET", "/flow_runs/<run>", None),
    ("later", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "r2", "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": AT}}}),
    (None, "POST", "/flow_runs/<later>/set_state", state("PENDING")),
    (None, "POST", "/flow_runs/<later>/set_state", state("CANCELLING")),
    (None, "GET", "/flow_runs/<later>", None),
    (None, "POST", "/flow_runs/filter", {"sort": "NAME_ASC", "flow_runs": {"tags": {"any_": ["u"]}}}),
    (None, "POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CANCELLING"]}}}}),
    (None, "POST", "/flow_runs/count", {"flow_runs": {"operator": "or_", "name": {"any_": ["renamed"]}, "state": {"name": {"any_": ["Cancelling"]}}}}),
    (None, "POST", "/flow_runs/filter", {"sort": "NO_SUCH"}),
    (None, "POST", "/flow_runs/paginate", {"sort": "NAME_ASC"}),
    (None, "POST", "/flow_runs/<later>/resume", {}),
    (None, "POST", "/flow_runs/<run>/input", {"key": "k", "value": "{\"a\": 1}", "sender": "me"}),
    (None, "POST", "/flow_runs/<run>/input", {"key": "k", "value": "2"}),
    (None, "GET", "/flow_runs/<run>/input/k", None),
    (None, "POST", "/flow_runs/<run>/input/filter", {"prefix": "k"}),
    (None, "DELETE", "/flow_runs/<run>/input/k", None),
    (None, "DELETE", "/flow_runs/<run>/input/k", None),
    ("bulk", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "r3"}),
    (None, "POST", "/flow_runs/bulk_set_state", {"flow_runs": {"name": {"any_": ["r3"]}}, "state": {"type": "CANCELLED"}}),
    # task runs
    ("parent", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "r4", "state": {"type": "RUNNING"}}),
    ("task", "POST", "/task_runs/", {"flow_run_id": "<parent>", "task_key": "t", "dynamic_key": "0", "name": "t-0", "task_inputs": {"x": [{"input_type": "constant", "type": "int"}]},
                                     "empirical_policy": {"retries": 1, "retry_delay": 0}}),
    (None, "POST", "/task_runs/", {"flow_run_id": "<parent>", "task_key": "t", "dynamic_key": "0", "name": "again"}),
    (None, "POST", "/task_runs/<task>/set_state", state("RUNNING")),
    (None, "POST", "/task_runs/<task>/set_state", state("FAILED")),
    (None, "POST", "/task_runs/<task>/set_state", state("RUNNING")),
    (None, "POST", "/task_runs/<task>/set_state", state("COMPLETED", state_details={"cache_key": "ck"})),
    (None, "GET", "/task_runs/<task>", None),
    (None, "GET", "/task_run_states/?task_run_id=<task>", None),
    ("cached", "POST", "/task_runs/", {"flow_run_id": "<parent>", "task_key": "t", "dynamic_key": "1", "name": "t-1"}),
    (None, "POST", "/task_runs/<cached>/set_state", state("RUNNING", state_details={"cache_key": "ck"})),
    (None, "POST", "/task_runs/filter", {"sort": "NAME_ASC", "task_runs": {"flow_run_id": {"any_": ["<parent>"]}}}),
    (None, "POST", "/task_runs/count", {"flow_runs": {"name": {"any_": ["r4"]}}}),
    (None, "PATCH", "/task_runs/<task>", {"name": "t-renamed"}),
    (None, "POST", "/task_runs/paginate", {"task_runs": {"flow_run_id": {"any_": ["<parent>"]}}, "sort": "NAME_ASC"}),
    # pools and queues
    ("pool", "POST", "/work_pools/", {"name": "p", "type": "mine", "base_job_template": TEMPLATE}),
    (None, "POST", "/work_pools/", {"name": "p", "type": "mine"}),
    (None, "POST", "/work_pools/", {"name": "prefect-x", "type": "mine"}),
    (None, "POST", "/work_pools/", {"name": "bad", "base_job_template": {"job_configuration": {"a": "{{ b }}"}, "variables": {"properties": {}}}}),
    (None, "GET", "/work_pools/p", None),
    ("queue", "POST", "/work_pools/p/queues", {"name": "q", "priority": 1, "concurrency_limit": 5}),
    (None, "POST", "/work_pools/p/queues", {"name": "q"}),
    (None, "POST", "/work_pools/p/queues/filter", {}),
    (None, "GET", "/work_pools/p/queues/default", None),
    (None, "PATCH", "/work_pools/p/queues/q", {"is_paused": True}),
    (None, "GET", "/work_queues/<queue>", None),
    (None, "GET", "/work_queues/<queue>/status", None),
    (None, "POST", "/work_pools/p/workers/heartbeat", {"name": "w", "heartbeat_interval_seconds": 30}),
    (None, "POST", "/work_pools/p/workers/filter", {}),
    (None, "POST", "/work_pools/none/workers/heartbeat", {"name": "w"}),
    (None, "POST", "/work_pools/none/get_scheduled_flow_runs", {}),
    (None, "GET", "/work_pools/p", None),
    (None, "PATCH", "/work_pools/p", {"concurrency_limit": 2, "description": "d"}),
    (None, "POST", "/work_pools/filter", {}),
    (None, "POST", "/work_pools/count", {}),
    (None, "DELETE", "/work_pools/p/queues/default", None),
    # deployments
    ("deployment", "POST", "/deployments/", {"name": "d", "flow_id": "<flow>", "work_pool_name": "p", "work_queue_name": "q", "entrypoint": "a.py:f", "parameters": {"n": 2},
                                             "parameter_openapi_schema": SCHEMA, "enforce_parameter_schema": True, "tags": ["dt"], "job_variables": {"size": 4},
                                             "schedules": [{"schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "active": False, "slug": "s1"}]}),
    (None, "POST", "/deployments/", {"name": "d", "flow_id": "<flow>", "work_pool_name": "none"}),
    (None, "POST", "/deployments/", {"name": "x", "flow_id": "<flow>", "work_pool_name": "p", "job_variables": {"size": "large"}}),
    (None, "GET", "/deployments/<deployment>", None),
    (None, "GET", "/deployments/name/f/d", None),
    (None, "GET", "/deployments/name/f/none", None),
    (None, "POST", "/deployments/filter", {"deployments": {"tags": {"all_": ["dt"]}}}),
    ("schedules", "POST", "/deployments/<deployment>/schedules", [{"schedule": {"interval": 3600, "anchor_date": AT}, "active": False, "parameters": {"n": 9}}]),
    (None, "GET", "/deployments/<deployment>/schedules", None),
    (None, "PATCH", "/deployments/<deployment>/schedules/<schedules>", {"schedule": {"rrule": "FREQ=DAILY"}}),
    (None, "POST", "/deployments/<deployment>/schedules", [{"schedule": {"cron": "not cron"}}]),
    (None, "GET", "/deployments/<deployment>/schedules", None),
    (None, "PATCH", "/deployments/<deployment>", {"description": "new", "paused": True}),
    (None, "POST", "/deployments/<deployment>/resume_deployment", None),
    ("drun", "POST", "/deployments/<deployment>/create_flow_run", {"name": "from-d", "parameters": {"n": 3}, "tags": ["x"], "job_variables": {"size": 7}}),
    (None, "POST", "/deployments/<deployment>/create_flow_run", {"name": "bad", "parameters": {"n": "three"}}),
    (None, "GET", "/flow_runs/<drun>", None),
    (None, "POST", "/work_pools/p/get_scheduled_flow_runs", {"scheduled_before": AT}),
    (None, "PATCH", "/work_pools/p/queues/q", {"is_paused": False}),
    (None, "POST", "/work_pools/p/get_scheduled_flow_runs", {"scheduled_before": AT}),
    (None, "POST", "/flow_runs/<drun>/set_state", state("PENDING")),
    (None, "POST", "/flow_runs/<drun>/set_state", state("RUNNING")),
    (None, "POST", "/flow_runs/<drun>/set_state", state("PAUSED", name="Suspended", state_details={"pause_reschedule": True, "pause_key": "1", "pause_timeout": AT})),
    (None, "POST", "/flow_runs/<drun>/resume", {}),
    (None, "GET", "/flow_runs/<drun>", None),
    (None, "DELETE", "/deployments/<deployment>/schedules/<schedules>", None),
    # variables
    ("variable", "POST", "/variables/", {"name": "v", "value": {"a": [1, True, None]}, "tags": ["t"]}),
    (None, "POST", "/variables/", {"name": "v", "value": 1}),
    (None, "POST", "/variables/", {"name": "Upper Case", "value": 1}),
    (None, "GET", "/variables/name/v", None),
    (None, "PATCH", "/variables/name/v", {"value": "text"}),
    (None, "POST", "/variables/filter", {"variables": {"name": {"like_": "v"}}}),
    (None, "POST", "/variables/count", {}),
    (None, "DELETE", "/variables/name/v", None),
    (None, "DELETE", "/variables/name/v", None),
    # blocks
    ("type", "POST", "/block_types/", {"name": "Thing", "slug": "thing", "description": "a thing"}),
    (None, "POST", "/block_types/", {"name": "Thing", "slug": "thing"}),
    ("schema", "POST", "/block_schemas/", {"block_type_id": "<type>", "capabilities": ["cap"], "version": "1.0",
                                           "fields": {"title": "Thing", "type": "object", "block_type_slug": "thing", "block_schema_references": {}, "secret_fields": ["key"],
                                                      "properties": {"key": {"type": "string", "format": "password", "writeOnly": True}, "n": {"type": "integer"}}}}),
    (None, "POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": ["<type>"]}}}),
    ("document", "POST", "/block_documents/", {"name": "doc", "block_type_id": "<type>", "block_schema_id": "<schema>", "data": {"key": "secret", "n": 1}}),
    (None, "POST", "/block_documents/", {"name": "doc", "block_type_id": "<type>", "block_schema_id": "<schema>", "data": {}}),
    (None, "GET", "/block_documents/<document>", None),
    (None, "GET", "/block_documents/<document>?include_secrets=true", None),
    (None, "GET", "/block_types/slug/thing/block_documents/name/doc?include_secrets=true", None),
    (None, "PATCH", "/block_documents/<document>", {"data": {"n": 5}}),
    (None, "GET", "/block_documents/<document>?include_secrets=true", None),
    (None, "POST", "/block_documents/filter", {"block_types": {"slug": {"any_": ["thing"]}}}),
    (None, "DELETE", "/block_documents/<document>", None),
    (None, "GET", "/block_documents/<document>", None),
    # names of what is not there
    (None, "POST", "/flow_runs/", {"flow_id": NOBODY}),
    (None, "POST", "/flow_runs/", {"flow_id": "<flow>", "parent_task_run_id": NOBODY}),
    (None, "POST", "/flow_runs/", {"flow_id": "<flow>", "parent_task_run_id": NOBODY, "idempotency_key": "k2"}),
    (None, "POST", "/flow_runs/", {"flow_id": "<flow>", "infrastructure_document_id": NOBODY}),
    ("soft", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "r5", "deployment_id": NOBODY, "work_queue_name": "none"}),
    (None, "POST", "/task_runs/", {"flow_run_id": NOBODY, "task_key": "t", "dynamic_key": "0"}),
    (None, "POST", "/deployments/", {"flow_id": NOBODY, "name": "x"}),
    (None, "POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "storage_document_id": NOBODY}),
    (None, "POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "infrastructure_document_id": NOBODY}),
    (None, "POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "global_concurrency_limit_id": NOBODY}),
    (None, "PATCH", "/deployments/<deployment>", {"storage_document_id": NOBODY}),
    (None, "PATCH", "/deployments/<deployment>", {"infrastructure_document_id": NOBODY}),
    (None, "PATCH", "/deployments/<deployment>", {"global_concurrency_limit_id": NOBODY}),
    (None, "POST", "/deployments/<deployment>/create_flow_run", {"parent_task_run_id": NOBODY}),
    (None, "POST", "/block_schemas/", {"block_type_id": NOBODY, "fields": {"title": "T"}, "capabilities": [], "version": "1"}),
    (None, "POST", "/block_documents/", {"name": "x", "block_type_id": NOBODY, "block_schema_id": NOBODY, "data": {}}),
    (None, "POST", "/block_documents/", {"name": "x", "block_type_id": "<type>", "block_schema_id": NOBODY, "data": {}}),
    (None, "POST", "/block_documents/", {"name": "x", "block_type_id": "<type>", "block_schema_id": "<schema>", "data": {"r": {"$ref": {"block_document_id": NOBODY}}}}),
    (None, "PUT", "/admin/storage", {"default_result_storage_block_id": NOBODY}),
    ("wp", "POST", "/work_pools/", {"name": "soft", "type": "mine", "storage_configuration": {"default_result_storage_block_id": NOBODY}}),
    (None, "POST", "/flow_runs/count", {"flow_runs": {"id": {"not_any_": [NIL]}}}),
    (None, "POST", "/flow_runs/count", {"flow_runs": {"id": {"any_": [NIL]}}}),
    (None, "POST", "/flow_runs/count", {"flow_runs": {"id": {"any_": [NIL, "<run>"]}}}),
    (None, "DELETE", f"/deployments/{NIL}/schedules/{NOBODY}", None),
    (None, "GET", f"/flow_runs/{NIL}", None),
    # what hangs on what is deleted
    ("ptask", "POST", "/task_runs/", {"flow_run_id": "<parent>", "task_key": "sub", "dynamic_key": "0", "name": "sub"}),
    ("sub", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "sub", "parent_task_run_id": "<ptask>"}),
    (None, "DELETE", "/task_runs/<ptask>", None),
    (None, "GET", "/flow_runs/<sub>", None),
    ("ptask2", "POST", "/task_runs/", {"flow_run_id": "<parent>", "task_key": "sub", "dynamic_key": "1", "name": "sub2"}),
    ("sub2", "POST", "/flow_runs/", {"flow_id": "<flow>", "name": "sub2", "parent_task_run_id": "<ptask2>"}),
    (None, "DELETE", "/flow_runs/<parent>", None),
    (None, "GET", "/flow_runs/<sub2>", None),
    # the end
    (None, "DELETE", "/deployments/<deployment>", None),
    (None, "DELETE", "/deployments/<deployment>", None),
    (None, "DELETE", "/work_pools/p", None),
    (None, "DELETE", "/flow_runs/<run>", None),
    (None, "DELETE", "/flows/<flow>", None),
    (None, "POST", "/flow_runs/count", {}),
    (None, "GET", "/flow_runs/not-an-id", None),
]


# services of the reference that would act by themselves: all but that which keeps events
QUIET = ("SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "FOREMAN", "PAUSE_EXPIRATIONS", "TASK_RUN_RECORDER", "TRIGGERS", "REPOSSESSOR", "FLOW_RUN_NOTIFICATIONS", "TELEMETRY")


def start_reference(peer, settings):
    """A reference server, without its periodic services; it takes its time."""
    if not (peer / "prefect").exists():
        pytest.skip("left out: the reference server is not installed")
    home = tempfile.mkdtemp(prefix="millpond-reference-")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))}
    env |= {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_SERVER_UI_ENABLED": "false"} | settings
    log = open(Path(home) / "log", "wb")
    process = subprocess.Popen([peer / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)], env=env, cwd=home,
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        end = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(url + "/health", timeout=2)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    pytest.skip("left out: the reference server does not start here")
                time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def reference(postgres):
    """On PostgreSQL: with SQLite its own writers are in each other's way, for a minute at times, and it cannot search text."""
    if os.environ.get("MILLPOND_REFERENCE"):  # one that runs already, with an empty database
        yield os.environ["MILLPOND_REFERENCE"]
    else:
        subprocess.run(["psql", postgres, "-qc", "CREATE DATABASE reference"], check=True, capture_output=True)
        url = postgres.replace("postgresql:", "postgresql+asyncpg:").replace("/postgres?", "/reference?")
        yield from start_reference(PEER, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} | {f"PREFECT_SERVER_SERVICES_{s}_ENABLED": "false" for s in QUIET} | {"PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1"})


@pytest.fixture(scope="module")
def old_reference():
    yield from start_reference(OLD_PEER, {f"PREFECT_API_SERVICES_{s}_ENABLED": "false" for s in QUIET} | {"PREFECT_EXPERIMENTAL_EVENTS": "true"})


@pytest.fixture(scope="module")
def ours():
    server = Server(None, "--no-managed", env={"MILLPOND_SERVER_DATABASE_ALLOW_RESET": "true"})
    yield server.url
    server.stop()


def route_of(method, path):
    """The row of routes.def that a request goes to: the one with the fewest names in it. Where its method has none, "ANY" and the path's."""
    path = path.split("?")[0]
    fits = [(m, r) for m, r, _ in ROUTES if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", r), path)]
    best = min([r for m, r in fits if m == method] or [r for _, r in fits], key=lambda r: r.count("{"), default=None)
    return method if (method, best) in fits else "ANY", best


def compare(theirs, ours, scenario, explained, broken):
    """What differs, as texts; and (route, whether it went well) of all that both answered."""
    found, used, covered = [], set(), set()
    for n, (name, method, path, body) in enumerate(scenario):
        (status_a, a), (status_b, b) = theirs.ask(method, path, body), ours.ask(method, path, body)
        where = f"{n} {method} {path} {json.dumps(body)[:120] if body is not None else ''}"
        covered.add((route_of(method, ours.fill(path)), status_b < 400))
        if name:
            for side, answer in ((theirs, a), (ours, b)):
                one = answer[0] if isinstance(answer, list) else answer
                assert isinstance(one, dict) and one.keys() & {"id", "lease_id", "next_page"}, (where, side.url, answer)
                side.answers[name], side.names[name] = one, one.get("id") or one.get("lease_id")
        request = f"{method} {path}"
        exact = f"{request} {json.dumps(body)}"
        if status_a != status_b:
            known = [k for k in explained if k in (request, exact)]
            used.update(known)
            if status_a == 500 and request in broken and status_b < 500:
                used.add(request)
            elif not known:
                found.append(f"{where}\n    status {status_a} is {status_b} here: {str(b)[:200]}, theirs {str(a)[:200]}")
            continue
        if method == "POST" and path == "/events" and status_a < 400:  # theirs keeps them a little later
            time.sleep(0.5)
        if status_a >= 400:
            continue  # what stands in it is text
        a, b = masked(a), masked(b)
        if "/related-to/" in path or path == "/block_capabilities/":  # in no order
            a, b = (sorted(x, key=lambda v: json.dumps(v, sort_keys=True)) for x in (a, b))
        for d in differences(a, b):
            at = d.split(":")[0]
            known = [k for k in explained if k in (at, at.split(".")[-1], request)]
            used.update(known)
            if not known:
                found.append(f"{where}\n    {d}")
    found += [f"no longer there: {k}" for k in sorted((explained.keys() | broken.keys()) - used)]
    return found, covered


COVERED = set()
ELSEWHERE = {("GET", "/csrf-token"): "with success only where a server asks for tokens: test_access.py"}


def test_same_answers(reference, ours):
    found, covered = compare(Side(reference), Side(ours), SCENARIO + RESOURCES + REST, EXPLAINED, BROKEN)
    COVERED.update(covered)
    assert not found, f"{len(found)} differences\n" + "\n".join(found)


def test_same_answers_of_the_older(old_reference, ours):
    """What only 2.x has."""
    found, covered = compare(Side(old_reference), Side(ours), OLD, EXPLAINED_OLD, {})
    COVERED.update(covered)
    assert not found, f"{len(found)} differences\n" + "\n".join(found)


def test_every_route_is_asked(reference, old_reference, ours):
    """Each route with success and without; those without parameters fail by another method."""
    assert COVERED, "the tests above have not run"
    routes = [(m, p) for m, p, kind in ROUTES if kind != "SOCKET" and "/millpond/" not in p and p not in ("/openapi.json", "/metrics")]  # those: test_openapi.py, test_metrics.py
    asked = {route for route, well in COVERED if well}
    refused = {route for route, well in COVERED if not well}
    assert len(routes) >= 197
    assert not (left := [r for r in routes if r not in asked and r not in ELSEWHERE]), f"with success: {left}"
    assert not (left := [r for r in routes if not {r, ("ANY", r[1])} & refused]), f"without: {left}"


# ---- runs made ahead of time ----

HOURLY, DAILY = {"interval": 3600, "anchor_date": AT}, {"interval": 86400, "anchor_date": "2099-01-01T00:00:00-05:00", "timezone": "America/New_York"}
NINE = {"cron": "0 9 * * *", "timezone": "America/New_York"}
# (schedules, the bodies of POST …/schedule one after another)
SCHEDULES = [
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z"}, {"start_time": "2099-01-01T05:00:00Z"}]),  # the start counts, and twice makes one
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00.000001Z", "min_runs": 1, "min_time": 0}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "end_time": "2099-01-01T07:00:00Z", "min_runs": 50}]),  # so does the end
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "end_time": "2099-01-01T06:59:59Z", "min_runs": 50}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:30:00Z", "min_time": 7200}, {"start_time": "2099-01-01T06:30:00Z", "min_time": 7200}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "min_time": 0, "min_runs": 2}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "min_runs": 0, "min_time": 0}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "max_runs": 2, "min_runs": 5}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "max_runs": 150, "min_runs": 120}]),
    ([HOURLY], [{"start_time": "2099-01-01T05:00:00Z", "min_time": 86400 * 30}]),
    ([HOURLY, NINE], [{"start_time": "2099-01-01T05:00:00Z", "min_runs": 3}]),
    ([DAILY], [{"start_time": "2099-03-06T00:00:00Z", "min_runs": 5}]),  # the clocks change on the 8th
    ([NINE], [{"start_time": "2099-03-06T14:00:00Z", "min_runs": 4}, {"start_time": "2099-03-06T14:00:01Z", "min_runs": 4}]),
    ([NINE], [{"start_time": "2099-03-06T14:00:00.5Z", "min_runs": 2}]),
    ([{"cron": "0 0 * * *"}], [{"start_time": AT, "min_runs": 2, "min_time": 0}]),
    ([{"rrule": "DTSTART:20990101T000000\nFREQ=DAILY;COUNT=3"}], [{"start_time": AT, "min_runs": 10}, {"start_time": "2099-01-02T00:00:00Z", "min_runs": 10}]),
    # not 2099: the zones of dateutil, which theirs uses here, have no summer time past 2037
    ([{"rrule": "DTSTART:20350101T090000\nFREQ=DAILY", "timezone": "Europe/Berlin"}], [{"start_time": "2035-03-23T08:00:00Z", "min_runs": 4}]),
]


def ahead(side, n, schedules, calls):
    """The deployment's runs of 2099 after the calls, as several routes list them; and how often each route's answer was in order."""
    side.names["flow"] = side.ask("POST", "/flows/", {"name": "ahead"})[1]["id"]
    side.ask("POST", "/work_pools/", {"name": f"ahead-{n}", "type": "mine"})
    status, made = side.ask("POST", "/deployments/", {"name": f"d{n}", "flow_id": "<flow>", "work_pool_name": f"ahead-{n}", "tags": ["t"], "parameters": {"a": 1},
                                                       "schedules": [{"schedule": s, "active": True, "parameters": {"b": 2}, "slug": f"s{i}"} for i, s in enumerate(schedules)]})
    assert status in (200, 201), made
    ids = {s["id"]: s["slug"] for s in made["schedules"]} | {made["id"]: "deployment"}
    answers = [side.ask("POST", f"/deployments/{made['id']}/schedule", body) for body in calls]
    mine = {"deployments": {"id": {"any_": [made["id"]]}}, "flow_runs": {"expected_start_time": {"after_": calls[0]["start_time"][:4] + "-01-01"}}}
    runs = []
    for sort in ("NEXT_SCHEDULED_START_TIME_ASC", "EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC"):
        page = side.ask("POST", "/flow_runs/filter", mine | {"sort": sort})[1]
        times = [r["expected_start_time"] for r in page]
        assert times == sorted(times, reverse=sort.endswith("DESC")), (side.url, sort, times)
        runs = runs or page
    due = side.ask("POST", f"/work_pools/ahead-{n}/get_scheduled_flow_runs", {"scheduled_after": calls[0]["start_time"][:4] + "-01-01"})[1]
    times = [r["flow_run"]["next_scheduled_start_time"] for r in due]
    assert times == sorted(times) and len(times) == min(len(runs), 200), (side.url, "a worker gets them soonest first")
    by_deployment = side.ask("POST", "/deployments/get_scheduled_flow_runs", {"deployment_ids": [made["id"]], "scheduled_before": "2099-12-31T00:00:00Z"})[1]
    times = [r["next_scheduled_start_time"] for r in by_deployment]
    assert times == sorted(times)
    named = lambda text: re.sub(UUID, lambda m: ids.get(m[0], "<id>"), text)
    keep = ("expected_start_time", "next_scheduled_start_time", "idempotency_key", "parameters", "tags", "auto_scheduled", "state_type", "state_name", "run_count", "created_by")
    side.ask("DELETE", f"/deployments/{made['id']}")
    return answers, sorted(json.loads(named(json.dumps([masked({k: r[k] for k in keep}) for r in runs]))), key=lambda r: (r["expected_start_time"], r["idempotency_key"]))


def test_same_runs_ahead(reference, ours):
    theirs, ours = Side(reference), Side(ours)
    found = []
    for n, (schedules, calls) in enumerate(SCHEDULES):
        (said_a, a), (said_b, b) = ahead(theirs, n, schedules, calls), ahead(ours, n, schedules, calls)
        if said_a != said_b:
            found.append(f"{n} {schedules} {calls}: answered {said_a}, here {said_b}")
        if a != b:
            x, y = ([r["idempotency_key"] for r in side] for side in (a, b))
            found.append(f"{n} {schedules} {calls}\n    theirs {len(a)} not here {[k for k in x if k not in y][:6]}, here {len(b)} not theirs {[k for k in y if k not in x][:6]}"
                         + (f"\n    {list(differences(a, b))[:5]}" if x == y else ""))
    assert not found, "\n".join(found)
