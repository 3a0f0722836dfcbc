"""Every command of the published command lines that speaks to the API, once with success and once with what cannot be, and what the
server then holds."""
import json
import re
import uuid
from datetime import datetime, timezone

import pytest

from tests.api.conftest import wait_for
from tests.compat.clients import Commands, Program, run_of, states_of
from tests.compat.conftest import pairs

pytestmark = pairs("sqlite-3.8.8", "postgres-2.19.9")
NOBODY = "11111111-1111-4111-8111-111111111111"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DAILY = {"schedule": {"cron": "0 3 * * *"}, "active": False}


@pytest.fixture(scope="module")
def server(pair):
    return pair.server


@pytest.fixture(scope="module")
def prefect(pair):
    c = Commands(pair.server, pair.peer)
    yield c
    c.process.stdin.close()
    c.end()


@pytest.fixture(scope="module")
def made(server):
    """A flow, a pool, a deployment, and a run of each kind."""
    flow = server.api("POST", "/flows/", {"name": "commanded"})["id"]
    server.api("POST", "/work_pools/", {"name": "commanded", "type": "process", "base_job_template": {"job_configuration": {"env": "{{ env }}"}, "variables": {"type": "object", "properties": {"env": {"type": "object"}}}}})
    deployment = server.api("POST", "/deployments/", {"name": "d", "flow_id": flow, "work_pool_name": "commanded", "entrypoint": "a.py:f", "parameters": {"n": 1},
                                                       "parameter_openapi_schema": {"type": "object", "properties": {"n": {"type": "integer"}, "word": {"type": "string"}}}})
    runs = {}
    for name, state in (("done", "COMPLETED"), ("failed", "FAILED"), ("running", "RUNNING"), ("planned", "SCHEDULED")):
        runs[name] = server.api("POST", "/flow_runs/", {"flow_id": flow, "name": f"run-{name}", "state": {"type": state, "message": "m"}})["id"]
    runs["again"] = server.api("POST", f"/deployments/{deployment['id']}/create_flow_run", {"name": "run-again", "state": {"type": "FAILED"}})["id"]
    task = server.api("POST", "/task_runs/", {"flow_run_id": runs["done"], "task_key": "t", "dynamic_key": "0", "name": "the-task", "state": {"type": "COMPLETED"}})["id"]
    lines = [{"name": "prefect.flow_runs", "level": 20, "message": f"line {n}", "timestamp": f"2024-01-01T00:00:{n:02}Z", "flow_run_id": runs["done"]} for n in range(30)]
    lines.append({"name": "prefect.task_runs", "level": 40, "message": "of the task", "timestamp": "2024-01-01T00:01:00Z", "flow_run_id": runs["done"], "task_run_id": task})
    server.api("POST", "/logs/", lines)
    return {"flow": flow, "deployment": deployment["id"], "task": task} | runs


def now():
    return datetime.now(timezone.utc).isoformat()


def test_pools(server, prefect, pair, tmp_path):
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"job_configuration": {"command": "{{ command }}"}, "variables": {"type": "object", "properties": {"command": {"type": "string", "default": "mine"}}}}))
    for type in ("process", "docker", "kubernetes"):
        prefect("work-pool", "create", f"of-{type}", "--type", type, *(["--paused"] if type == "docker" else []))
        pool = server.api("GET", f"/work_pools/of-{type}")
        assert (pool["type"], pool["is_paused"]) == (type, type == "docker") and "variables" in pool["base_job_template"]
    prefect("work-pool", "create", "of-process", "--type", "process", expect=1)
    prefect("work-pool", "create", "odd", "--type", "no-such-type", expect=1)
    server.api("GET", "/work_pools/odd", expect=404)
    prefect("work-pool", "create", "own", "--type", "process", "--base-job-template", template)
    assert server.api("GET", "/work_pools/own")["base_job_template"]["variables"]["properties"]["command"]["default"] == "mine"
    prefect("work-pool", "create", "own", "--type", "process", "--base-job-template", tmp_path / "none.json", expect=1)
    if not pair.old:
        prefect("work-pool", "create", "own", "--type", "process", "--overwrite", "--paused")
        assert server.api("GET", "/work_pools/own")["is_paused"] is True
        prefect("work-pool", "resume", "own")
    listed = prefect("work-pool", "ls")
    assert all(f"of-{t}" in listed for t in ("process", "docker", "kubernetes")) and "command" in prefect("work-pool", "ls", "--verbose")
    assert "of-docker" in prefect("work-pool", "inspect", "of-docker")
    prefect("work-pool", "inspect", "none", expect=1)
    for words, field, value in (("pause of-process", "is_paused", True), ("resume of-process", "is_paused", False), ("set-concurrency-limit of-process 7", "concurrency_limit", 7),
                                ("clear-concurrency-limit of-process", "concurrency_limit", None), ("update of-process --description told", "description", "told"),
                                ("update of-process --concurrency-limit 2", "concurrency_limit", 2)):
        prefect("work-pool", *words.split())
        assert server.api("GET", "/work_pools/of-process")[field] == value, words
        prefect("work-pool", *words.replace("of-process", "none").split(), expect=1)
    prefect("work-pool", "update", "of-process", "--base-job-template", template)
    assert "mine" in json.dumps(server.api("GET", "/work_pools/of-process")["base_job_template"])
    assert '"image"' in prefect("work-pool", "get-default-base-job-template", "--type", "docker")
    prefect("work-pool", "get-default-base-job-template", "--type", "none", expect=1)
    prefect("work-pool", "delete", "own")
    server.api("GET", "/work_pools/own", expect=404)
    prefect("work-pool", "delete", "own", expect=1)


def test_pools_seen(server, prefect, pair, made):
    """What a pool and a queue have before them."""
    run = server.api("POST", f"/deployments/{made['deployment']}/create_flow_run", {"name": "seen-ahead"})["id"]
    assert run[:8] in prefect("work-pool", "preview", "commanded")
    assert run[:8] in prefect("work-queue", "preview", "default", "--pool", "commanded")
    prefect("work-pool", "preview", "none", expect=1)
    prefect("work-queue", "preview", "none", "--pool", "commanded", expect=1)
    assert "1" in prefect("work-queue", "read-runs", "default", "--pool", "commanded")
    prefect("work-queue", "read-runs", "none", "--pool", "commanded", expect=1)
    if not pair.old:
        server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
        assert "seen-ahead" in prefect("work-pool", "slots", "commanded") and "seen-ahead" in prefect("work-queue", "slots", "default", "--pool", "commanded")
        prefect("work-pool", "slots", "none", expect=1)
        prefect("work-queue", "slots", "none", "--pool", "commanded", expect=1)
        assert json.loads(prefect("work-pool", "inspect", "commanded", "-o", "json"))["name"] == "commanded"
        assert prefect("work-pool", "storage", "inspect", "commanded")
        prefect("work-pool", "storage", "inspect", "none", expect=1)
        prefect("work-pool", "storage", "configure", "s3", "commanded", "--bucket", "b", "--aws-credentials-block-name", "none", expect=1)


def test_queues(server, prefect, pair):
    server.api("POST", "/work_pools/", {"name": "queued", "type": "process"})
    prefect("work-queue", "create", "urgent", "--pool", "queued", "--priority", "1", "--limit", "2")
    prefect("work-queue", "create", "urgent", "--pool", "queued", expect=1)
    prefect("work-queue", "create", "urgent", "--pool", "none", expect=1)
    path = "/work_pools/queued/queues/urgent"
    queue = server.api("GET", path)
    assert (queue["priority"], queue["concurrency_limit"]) == (1, 2)
    for words, field, value in (("pause", "is_paused", True), ("resume", "is_paused", False), ("set-concurrency-limit", "concurrency_limit", 9), ("clear-concurrency-limit", "concurrency_limit", None)):
        more = [9] if words.startswith("set") else []
        prefect("work-queue", words, "urgent", *more, "--pool", "queued")
        assert server.api("GET", path)[field] == value, words
        prefect("work-queue", words, "none", *more, "--pool", "queued", expect=1)
    assert "urgent" in prefect("work-queue", "ls", "--pool", "queued") and "urgent" in prefect("work-queue", "ls")
    listed = prefect("work-queue", "ls", "--match", "urg")
    assert "urgent" in listed and "default" not in listed
    prefect("work-queue", "ls", "--pool", "none", expect=1)
    assert "urgent" in prefect("work-queue", "inspect", "urgent", "--pool", "queued")
    prefect("work-queue", "inspect", "none", "--pool", "queued", expect=1)
    prefect("work-queue", "create", "without-a-pool")
    assert server.api("GET", "/work_queues/name/without-a-pool")["work_pool_name"] == "default-agent-pool"
    prefect("work-queue", "delete", "without-a-pool")
    prefect("work-queue", "delete", "urgent", "--pool", "queued")
    server.api("GET", path, expect=404)
    prefect("work-queue", "delete", "urgent", "--pool", "queued", expect=1)


def test_deployments(server, prefect, pair, made):
    path = f"/deployments/{made['deployment']}"
    of = [] if not pair.old else ["--flow-name"]
    assert "commanded/d" in prefect("deployment", "ls") and "commanded/d" in prefect("deployment", "ls", *of, "commanded")
    assert "commanded/d" not in prefect("deployment", "ls", *of, "another")
    assert made["deployment"] in prefect("deployment", "inspect", "commanded/d")
    for wrong in ("commanded/none", "none"):
        prefect("deployment", "inspect", wrong, expect=1)
    prefect("deployment", "schedule", "create", "commanded/d", "--cron", "0 4 * * *", "--timezone", "Europe/Berlin")
    prefect("deployment", "schedule", "create", "commanded/d", "--interval", "3600", "--anchor-date", "2035-01-01T00:00:00")
    prefect("deployment", "schedule", "create", "commanded/d", "--rrule", "FREQ=DAILY;COUNT=3", "--replace", "--accept-yes", *([] if pair.old else ["--timezone", "Asia/Tokyo"]))
    prefect("deployment", "schedule", "create", "commanded/d", "--cron", "0 5 * * *")
    for wrong in (["--cron", "x"], ["--cron", "0 5 * * *", "--interval", "60"], []):
        prefect("deployment", "schedule", "create", "commanded/d", *wrong, expect=1)
    prefect("deployment", "schedule", "create", "commanded/none", "--interval", "60", expect=1)
    schedules = server.api("GET", f"{path}/schedules")
    assert sorted(json.dumps(s["schedule"], sort_keys=True)[:8] for s in schedules) == ['{"cron":', '{"rrule"'], "the first two are replaced"
    cron = next(s["id"] for s in schedules if "cron" in s["schedule"])
    listed = prefect("deployment", "schedule", "ls", "commanded/d")
    assert "0 5 * * *" in listed and "FREQ=DAILY" in listed
    prefect("deployment", "schedule", "ls", "commanded/none", expect=1)
    for words, active in (("pause", False), ("resume", True)):
        prefect("deployment", "schedule", words, "commanded/d", cron)
        assert next(s for s in server.api("GET", f"{path}/schedules") if s["id"] == cron)["active"] is active
        prefect("deployment", "schedule", words, "commanded/d", NOBODY, expect=1)
    prefect("deployment", "schedule", "delete", "commanded/d", cron, "--accept-yes")
    assert cron not in [s["id"] for s in server.api("GET", f"{path}/schedules")]
    prefect("deployment", "schedule", "delete", "commanded/d", cron, "--accept-yes", expect=1)
    prefect("deployment", "schedule", "clear", "commanded/d", "--accept-yes")
    assert server.api("GET", f"{path}/schedules") == []
    prefect("deployment", "schedule", "clear", "commanded/none", "--accept-yes", expect=1)


def test_deployments_run(server, prefect, pair, made):
    out = prefect("deployment", "run", "commanded/d", "--param", "n=5", "--params", '{"word": "w"}', "--tag", "typed", "--job-variable", 'env={"A": "1"}')
    run = run_of(server, ID.search(out[out.index("UUID"):])[0])
    assert (run["parameters"], run["tags"], run["job_variables"], run["state_name"]) == ({"n": 5, "word": "w"}, ["typed"], {"env": {"A": "1"}}, "Scheduled")
    out = prefect("deployment", "run", "--id", made["deployment"], "--start-in", "2 hours")
    later = run_of(server, ID.search(out[out.index("UUID"):])[0])
    assert later["expected_start_time"] > run["expected_start_time"] and later["state_type"] == "SCHEDULED"
    for wrong in (["commanded/none"], ["--id", NOBODY], ["commanded/d", "--param", "unknown=1"], ["commanded/d", "--param", "n=many"], ["commanded/d", "--start-in", "some day"]):
        if not (pair.old and "n=many" in wrong):  # it does not ask for it to be checked
            prefect("deployment", "run", *wrong, expect=1)
    flow = server.api("POST", "/flows/", {"name": "short-lived"})["id"]
    ids = [server.api("POST", "/deployments/", {"name": f"d{n}", "flow_id": flow})["id"] for n in range(2)]
    prefect("deployment", "delete", "short-lived/d0")
    prefect("deployment", "delete", "--id", ids[1])
    for n, id in enumerate(ids):
        server.api("GET", f"/deployments/{id}", expect=404)
    prefect("deployment", "delete", "short-lived/d0", expect=1)
    prefect("deployment", "delete", "--id", ids[1], expect=1)


def test_flow_runs(server, prefect, pair, made):
    assert "run-done" in prefect("flow-run", "ls", "--flow-name", "commanded", "--state", "Completed")
    listed = prefect("flow-run", "ls", "--state-type", "FAILED")
    assert "run-failed" in listed and "run-done" not in listed
    prefect("flow-run", "ls", "--state-type", "NO_SUCH", expect=1)
    assert "run-done" in prefect("flow-run", "inspect", made["done"])
    prefect("flow-run", "inspect", NOBODY, expect=1)
    lines = [f"line {n}" in prefect("flow-run", "logs", made["done"]) for n in (0, 29)]
    assert all(lines), "all that there are"
    assert prefect("flow-run", "logs", made["done"], "--head").count("line ") == 20 and "line 29" not in prefect("flow-run", "logs", made["done"], "--head", "--num-logs", "5")
    tail = prefect("flow-run", "logs", made["done"], "--tail", "--num-logs", "2")
    assert "line 28" not in tail and "line 29" in tail and "of the task" in tail
    assert prefect("flow-run", "logs", made["done"], "--reverse").index("line 20") < prefect("flow-run", "logs", made["done"], "--reverse").index("line 19")
    prefect("flow-run", "logs", NOBODY, expect=1)
    prefect("flow-run", "cancel", made["running"])
    assert states_of(server, made["running"])[-1] in ("Cancelling", "Cancelled")
    prefect("flow-run", "cancel", made["planned"])
    assert run_of(server, made["planned"])["state_type"] == "CANCELLED"
    prefect("flow-run", "cancel", made["done"], expect=1)
    prefect("flow-run", "cancel", NOBODY, expect=1)
    prefect("flow-run", "execute", expect=1)
    if not pair.old:
        prefect("flow-run", "retry", made["again"])
        assert states_of(server, made["again"])[-2:] == ["Failed", "Scheduled"]
        prefect("flow-run", "retry", made["again"], expect=1)  # it does not run yet
        prefect("flow-run", "retry", made["failed"], expect=1)  # nobody knows its code
        prefect("flow-run", "retry", "no-such-run", expect=1)
        prefect("flow-run", "watch", made["done"])
        prefect("flow-run", "watch", made["failed"], expect=1)
        prefect("flow-run", "watch", NOBODY, expect=1)
        assert json.loads(prefect("flow-run", "inspect", made["done"], "-o", "json"))["id"] == made["done"]
        assert len(json.loads(prefect("flow-run", "logs", made["done"], "-o", "json"))) == 31
    prefect("flow-run", "delete", made["planned"])
    server.api("GET", f"/flow_runs/{made['planned']}", expect=404)
    prefect("flow-run", "delete", made["planned"], expect=1)


def test_watching(server, pair, made):
    """Its states and lines come over sockets as they happen."""
    if pair.old:
        return  # it has no such command
    run = server.api("POST", "/flow_runs/", {"flow_id": made["flow"], "name": "watched"})["id"]
    watching = Program(server, pair.peer / "prefect", "flow-run", "watch", run, peer=pair.peer)
    try:
        steps = iter([lambda: server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}, "force": True})] * 400)

        def seen():
            next(steps)()
            return "Running" in watching.text()
        wait_for(seen, seconds=60, every=0.3)
        server.api("POST", "/logs/", [{"name": "prefect.flow_runs", "level": 20, "message": "a line to be seen", "timestamp": now(), "flow_run_id": run}])
        wait_for(lambda: "a line to be seen" in watching.text())
        server.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
        watching.end(seconds=60)
    finally:
        watching.stop()
    assert "prefect.flow-run.Completed" in watching.text()


def test_task_runs_and_flows(server, prefect, pair, made):
    assert "the-task" in prefect("task-run", "inspect", made["task"])
    prefect("task-run", "inspect", NOBODY, expect=1)
    assert "the-task" in prefect("task-run", "ls") and "the-task" in prefect("task-run", "ls", "--task-run-name", "the-task", "--state", "Completed")
    assert "the-task" not in prefect("task-run", "ls", "--state-type", "FAILED")
    assert "of the task" in prefect("task-run", "logs", made["task"]) and "line 1" not in prefect("task-run", "logs", made["task"], "--tail")
    prefect("task-run", "logs", NOBODY, expect=1)
    assert "commanded" in prefect("flow", "ls") and "commanded" in prefect("flow", "ls", "--limit", "5")
    prefect("flow", "ls", "--limit", "1000", expect=1)
    prefect("flow", "serve", "none.py:f", "--name", "x", expect=1)


def test_blocks(server, prefect, pair, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(f"from prefect.blocks.core import Block\nfrom {'pydantic.v1' if pair.old else 'pydantic'} import SecretStr\n\n\nclass Registered(Block):\n    word: str\n    key: SecretStr\n")
    prefect("block", "register", "--file", own)
    type = server.api("GET", "/block_types/slug/registered")
    schema, = server.api("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [type["id"]]}}})
    assert schema["fields"]["secret_fields"] == ["key"]
    prefect("block", "register", "--module", "no.such.module", expect=1)
    prefect("block", "register", "--file", tmp_path / "none.py", expect=1)
    ids = [server.api("POST", "/block_documents/", {"name": name, "data": {"word": "w", "key": "k"}, "block_type_id": type["id"], "block_schema_id": schema["id"]})["id"] for name in ("one", "two")]
    listed = prefect("block", "ls")
    assert "registered/one" in listed and "registered/two" in listed
    assert "one" in prefect("block", "inspect", "registered/one") and "two" in prefect("block", "inspect", "--id", ids[1])
    prefect("block", "inspect", "registered/none", expect=1)
    types = prefect("block", "type", "ls")
    assert "secret" in types and "registered" in types
    assert "registered" in prefect("block", "type", "inspect", "registered")
    prefect("block", "type", "inspect", "no-such-type", expect=1)
    assert "create" in prefect("block", "create", "registered").lower()
    prefect("block", "create", "no-such-type", expect=1)
    prefect("block", "delete", "registered/one")
    prefect("block", "delete", "--id", ids[1])
    for id in ids:
        server.api("GET", f"/block_documents/{id}", expect=404)
    prefect("block", "delete", "registered/one", expect=1)
    prefect("block", "type", "delete", "registered")
    server.api("GET", "/block_types/slug/registered", expect=404)
    prefect("block", "type", "delete", "registered", expect=1)


def test_variables(server, prefect, pair):
    if pair.old:
        server.api("POST", "/variables/", {"name": "colour", "value": "red", "tags": ["paint"]})
    else:
        prefect("variable", "set", "colour", "blue", "--tag", "paint")
        assert server.api("GET", "/variables/name/colour")["tags"] == ["paint"]
        prefect("variable", "set", "colour", "red", expect=1)
        prefect("variable", "set", "colour", "red", "--overwrite")
        prefect("variable", "set", "object", '{"a": [1, null]}')
        assert server.api("GET", "/variables/name/object")["value"] == {"a": [1, None]}
        assert json.loads(prefect("variable", "get", "object")) == {"a": [1, None]}
        prefect("variable", "get", "none", expect=1)
        prefect("variable", "unset", "object")
        prefect("variable", "unset", "object", expect=1)
    assert "red" in prefect("variable", "inspect", "colour") and "colour" in prefect("variable", "ls") and prefect("variable", "ls", "--limit", "1")
    prefect("variable", "inspect", "none", expect=1)
    prefect("variable", "delete", "colour")
    server.api("GET", "/variables/name/colour", expect=404)
    prefect("variable", "delete", "colour", expect=1)


def test_limits(server, prefect, pair):
    prefect("concurrency-limit", "create", "slow", "3")
    prefect("concurrency-limit", "create", "slow", "many", expect=1)
    holder = str(uuid.uuid4())
    server.api("POST", "/concurrency_limits/increment", {"names": ["slow"], "task_run_id": holder})
    assert holder in prefect("concurrency-limit", "inspect", "slow") and "slow" in prefect("concurrency-limit", "ls")
    prefect("concurrency-limit", "inspect", "none", expect=1)
    prefect("concurrency-limit", "reset", "slow")
    assert server.api("GET", "/concurrency_limits/tag/slow")["active_slots"] == []
    prefect("concurrency-limit", "reset", "none", expect=1)
    prefect("concurrency-limit", "delete", "slow")
    server.api("GET", "/concurrency_limits/tag/slow", expect=404)
    prefect("concurrency-limit", "delete", "slow", expect=1)


def test_global_limits(server, prefect, pair):
    prefect("gcl", "create", "shared", "--limit", "4", "--slot-decay-per-second", "0.5")
    prefect("gcl", "create", "shared", "--limit", "4", expect=1)
    prefect("gcl", "create", "wrong", "--limit", "-1", expect=1)
    path = "/v2/concurrency_limits/shared"
    limit = server.api("GET", path)
    assert (limit["limit"], limit["slot_decay_per_second"], limit["active"]) == (4, 0.5, True)
    assert "shared" in prefect("gcl", "ls") and "shared" in prefect("gcl", "inspect", "shared")
    prefect("gcl", "inspect", "none", expect=1)
    for words, field, value in (("update shared --limit 9", "limit", 9), ("disable shared", "active", False), ("enable shared", "active", True), ("update shared --active-slots 2", "active_slots", 2)):
        prefect("gcl", *words.split())
        assert server.api("GET", path)[field] == value, words
        prefect("gcl", *words.replace("shared", "none").split(), expect=1)
    prefect("gcl", "enable", "shared", expect=1)
    prefect("gcl", "delete", "shared")
    server.api("GET", path, expect=404)
    prefect("gcl", "delete", "shared", expect=1)


def test_events(server, pair):
    streaming = Program(server, pair.peer / "prefect", "events", "stream", "--format", "json", peer=pair.peer)
    word = f"streamed.{uuid.uuid4()}"
    event = {"event": word, "resource": {"prefect.resource.id": "a.thing"}}
    try:
        def seen():
            server.api("POST", "/events", [event | {"id": str(uuid.uuid4()), "occurred": now()}])
            return word in streaming.text()
        wait_for(seen, seconds=60, every=0.3)
        if not pair.old:
            emitting = Program(server, pair.peer / "prefect", "events", "emit", "emitted.event", "--resource-id", "b.thing", "--payload", '{"a": 1}', peer=pair.peer)
            emitting.end()
            kept, = wait_for(lambda: server.api("POST", "/events/filter", {"filter": {"event": {"name": ["emitted.event"]}}})["events"])
            assert kept["resource"]["prefect.resource.id"] == "b.thing" and kept["payload"] == {"a": 1}
            wait_for(lambda: "emitted.event" in streaming.text())
            Program(server, pair.peer / "prefect", "events", "emit", "emitted.event", "--resource-id", "b.thing", "--payload", "{", peer=pair.peer).end(expect=1)
    finally:
        streaming.stop()


def test_settings_and_server(server, prefect, pair):
    assert server.url in prefect("config", "view", "--show-sources")
    prefect("config", "validate")
    prefect("config", "set", "NO_SUCH_SETTING=1", expect=1)
    prefect("config", "unset", "NO_SUCH_SETTING", expect=1)
    prefect("profile", "create", "other")
    prefect("profile", "create", "other", expect=1)
    assert "other" in prefect("profile", "ls")
    prefect("profile", "inspect", "none", expect=1)
    prefect("profile", "rename", "other", "another")
    prefect("profile", "rename", "other", "x", expect=1)
    prefect("profile", "delete", "another")
    prefect("profile", "delete", "another", expect=1)
    prefect("version")
    prefect("worker", "start", "--pool", "no-such-pool", "--type", "no-such-type", expect=1)
    if not pair.old:
        assert json.loads(prefect("api", "POST", "/flows/count", "--data", "{}")) >= 1
        prefect("api", "POST", "/flows/filter", "--data", '{"limit": -1}', expect=4)
        prefect("server", "status")
        prefect("experimental", "result-storage", "inspect")
