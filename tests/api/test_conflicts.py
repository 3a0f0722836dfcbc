"""What exists already is told in words, with its name: on both databases the same."""
import concurrent.futures
import json
import re

import pytest

RAW = re.compile(r"constraint|UNIQUE|FOREIGN|_key|_pkey|Key \(|\w+\.\w+_id|[a-z]_[a-z]")


def answer(server, method, path, body):
    status, _, text = server.request(method, path, body)
    return status, json.loads(text) if text else None


@pytest.fixture(scope="module")
def made(server):
    """What the requests below find there already."""
    ids = {}
    for name, path, body in [
            ("flow", "/flows/", {"name": "f"}), ("run", "/flow_runs/", {"flow_id": "<flow>"}),
            ("deployment", "/deployments/", {"flow_id": "<flow>", "name": "d", "schedules": [{"schedule": {"cron": "0 0 1 1 *"}, "slug": "s1", "active": False}, {"schedule": {"cron": "0 0 2 1 *"}, "slug": "s2", "active": False}]}),
            ("pool", "/work_pools/", {"name": "p", "type": "t"}), ("queue", "/work_pools/p/queues", {"name": "q"}), ("other", "/work_pools/p/queues", {"name": "other"}),
            ("v", "/variables/", {"name": "v", "value": 1}), ("w", "/variables/", {"name": "w", "value": 1}),
            ("limit", "/v2/concurrency_limits/", {"name": "l", "limit": 1}), ("limit2", "/v2/concurrency_limits/", {"name": "l2", "limit": 1}),
            ("type", "/block_types/", {"name": "Thing", "slug": "thing"}),
            ("schema", "/block_schemas/", {"block_type_id": "<type>", "fields": {"title": "T"}, "capabilities": [], "version": "1"}),
            ("document", "/block_documents/", {"name": "doc", "block_type_id": "<type>", "block_schema_id": "<schema>", "data": {}}),
            ("input", "/flow_runs/<run>/input", {"key": "k", "value": "1"}),
            ("task", "/task_runs/", {"flow_run_id": "<run>", "task_key": "t", "dynamic_key": "0"})]:
        got = server.api("POST", fill(path, ids), json.loads(fill(json.dumps(body), ids)))
        ids[name] = got["id"] if got else None
    for s in server.api("GET", fill("/deployments/<deployment>/schedules", ids)):
        ids[s["slug"]] = s["id"]
    return ids


def fill(text, ids):
    return re.sub(r"<(\w+)>", lambda m: ids[m[1]], text)


@pytest.mark.parametrize("method,path,body,says", [
    ("POST", "/work_pools/", {"name": "p", "type": "t"}, "'p'"),
    ("POST", "/work_pools/p/queues", {"name": "q"}, "'q'"),
    ("PATCH", "/work_pools/p/queues/other", {"name": "q"}, "'q'"),
    ("PATCH", "/work_queues/<other>", {"name": "q"}, "'q'"),
    ("POST", "/variables/", {"name": "v", "value": 2}, "'v'"),
    ("PATCH", "/variables/<w>", {"name": "v"}, "'v'"),
    ("PATCH", "/variables/name/w", {"name": "v"}, "'v'"),
    ("POST", "/v2/concurrency_limits/", {"name": "l", "limit": 1}, "'l'"),
    ("PATCH", "/v2/concurrency_limits/<limit2>", {"name": "l"}, "'l'"),
    ("POST", "/block_types/", {"name": "Thing", "slug": "thing"}, "Thing"),
    ("POST", "/block_documents/", {"name": "doc", "block_type_id": "<type>", "block_schema_id": "<schema>", "data": {}}, "'doc'"),
    ("POST", "/flow_runs/<run>/input", {"key": "k", "value": "2"}, "key"),
    ("POST", "/task_runs/", {"id": "<task>", "flow_run_id": "<run>", "task_key": "t", "dynamic_key": "1"}, "<task>"),
    ("POST", "/deployments/<deployment>/schedules", [{"schedule": {"cron": "0 0 3 1 *"}, "slug": "s1"}], "'s1'"),
    ("PATCH", "/deployments/<deployment>/schedules/<s2>", {"slug": "s1"}, "'s1'"),
])
def test_exists_already(server, made, method, path, body, says):
    status, got = answer(server, method, fill(path, made), json.loads(fill(json.dumps(body), made)))
    assert status == 409, (status, got)
    assert fill(says, made) in got["detail"] and not RAW.search(got["detail"]), got
    assert re.search(r"already", got["detail"]), got


def test_made_at_once(server, made):
    """Many make the same at once: as if they came one after another."""
    for n in range(5):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            def make(_):
                return answer(server, "POST", "/deployments/", {"flow_id": made["flow"], "name": f"at-once-{n}"})
            got = list(pool.map(make, range(8)))
        assert sorted(s for s, _ in got) == [200] * 7 + [201], got
        assert len({g["id"] for _, g in got}) == 1
