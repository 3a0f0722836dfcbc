"""A body that names what is not there, or the nil UUID, makes nothing."""
import uuid

import pytest

from tests.api.test_bad_input import counts

NIL = str(uuid.UUID(int=0))


@pytest.fixture(scope="module")
def made(server):
    flow = server.api("POST", "/flows/", {"name": "f"})["id"]
    type = server.api("POST", "/block_types/", {"name": "Thing", "slug": "thing"})["id"]
    return {"flow": flow, "run": server.api("POST", "/flow_runs/", {"flow_id": flow})["id"], "type": type,
            "deployment": server.api("POST", "/deployments/", {"flow_id": flow, "name": "d"})["id"],
            "schema": server.api("POST", "/block_schemas/", {"block_type_id": type, "fields": {"title": "T"}, "capabilities": [], "version": "1"})["id"]}


# (method, path, body, the key that names nobody, status)
CASES = [
    ("POST", "/flow_runs/", {}, "flow_id", 409),
    ("POST", "/flow_runs/", {"flow_id": "<flow>"}, "parent_task_run_id", 409),
    ("POST", "/flow_runs/", {"flow_id": "<flow>", "idempotency_key": "k"}, "parent_task_run_id", 409),
    ("POST", "/flow_runs/", {"flow_id": "<flow>"}, "infrastructure_document_id", 409),
    ("POST", "/task_runs/", {"task_key": "t", "dynamic_key": "0"}, "flow_run_id", 409),
    ("POST", "/deployments/", {"name": "x", "work_queue_name": "half-done"}, "flow_id", 409),
    ("POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "work_queue_name": "half-done"}, "storage_document_id", 409),
    ("POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "work_queue_name": "half-done"}, "infrastructure_document_id", 409),
    ("POST", "/deployments/", {"flow_id": "<flow>", "name": "x", "work_queue_name": "half-done"}, "global_concurrency_limit_id", 404),
    ("PATCH", "/deployments/<deployment>", {"work_queue_name": "half-done"}, "storage_document_id", 409),
    ("PATCH", "/deployments/<deployment>", {"work_queue_name": "half-done"}, "infrastructure_document_id", 409),
    ("PATCH", "/deployments/<deployment>", {"work_queue_name": "half-done"}, "global_concurrency_limit_id", 404),
    ("POST", "/deployments/<deployment>/create_flow_run", {}, "parent_task_run_id", 409),
    ("POST", "/deployments/<deployment>/create_flow_run", {}, "infrastructure_document_id", 409),
    ("POST", "/block_schemas/", {"fields": {"title": "U"}, "capabilities": [], "version": "1"}, "block_type_id", 404),
    ("POST", "/block_documents/", {"name": "x", "block_schema_id": "<schema>", "data": {}}, "block_type_id", 409),
    ("POST", "/block_documents/", {"name": "x", "block_type_id": "<type>", "data": {}}, "block_schema_id", 409),
]


def everything(server):
    return counts(server) + [server.api("POST", "/task_runs/count", {}), len(server.api("POST", "/work_queues/filter", {}))]


@pytest.mark.parametrize("method,path,body,key,status", CASES)
def test_nobody(server, made, method, path, body, key, status):
    body = {k: made.get(str(v).strip("<>"), v) if isinstance(v, str) else v for k, v in body.items()}
    path = path.replace("<deployment>", made["deployment"])
    before, nobody = everything(server), str(uuid.uuid4())
    got, _, text = server.request(method, path, body | {key: nobody})
    assert got == status, text
    assert status == 404 or (key in text.decode() and nobody in text.decode()), text
    got, _, text = server.request(method, path, body | {key: NIL})
    assert got == 422 and key in text.decode(), text
    assert everything(server) == before


@pytest.mark.parametrize("path,body", [
    ("/flow_runs/", {"flow_id": "<flow>", "deployment_id": NIL}),
    ("/task_runs/", {"id": NIL, "flow_run_id": "<run>", "task_key": "t", "dynamic_key": "0"}),
    ("/flow_runs/<run>/set_state", {"state": {"type": "RUNNING", "state_details": {"child_flow_run_id": NIL}}}),
    ("/work_pools/", {"name": "p", "type": "t", "storage_configuration": {"default_result_storage_block_id": NIL}}),
])
def test_nil(server, made, path, body):
    """Kept as null it would be another thing than was sent; the reference keeps it as the id that it is."""
    body = {k: made.get(str(v).strip("<>"), v) if isinstance(v, str) else v for k, v in body.items()}
    status, _, text = server.request("POST", path.replace("<run>", made["run"]), body)
    assert status == 422 and b"nil UUID" in text, text


def test_nil_in_filters(server, made):
    count = lambda leaf: server.api("POST", "/flow_runs/count", {"flow_runs": {"id": leaf}})
    assert count({"any_": [NIL]}) == 0 and count({"any_": [NIL, made["run"]]}) == 1
    assert count({"not_any_": [NIL]}) == count({}) == server.api("POST", "/flow_runs/count", {}) > 0


def test_parents_that_go(server, made):
    """The run of a subflow outlives the task run that it was started from, and names it no more."""
    def family():
        parent = server.api("POST", "/flow_runs/", {"flow_id": made["flow"]})["id"]
        task = server.api("POST", "/task_runs/", {"flow_run_id": parent, "task_key": "t", "dynamic_key": "0"})["id"]
        other = server.api("POST", "/flows/", {"name": "other"})["id"]
        sub = server.api("POST", "/flow_runs/", {"flow_id": other, "parent_task_run_id": task})["id"]
        assert server.api("GET", f"/flow_runs/{sub}")["parent_task_run_id"] == task
        return parent, task, sub
    for which in ("task", "run", "flow"):
        parent, task, sub = family()
        server.api("DELETE", {"task": f"/task_runs/{task}", "run": f"/flow_runs/{parent}", "flow": f"/flows/{made['flow']}"}[which])
        assert server.api("GET", f"/flow_runs/{sub}")["parent_task_run_id"] is None, which
