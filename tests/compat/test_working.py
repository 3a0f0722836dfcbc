"""Deployments from prefect.yaml and what runs them: the published workers, agents, `serve`, and workers of background tasks."""
import json
import shutil
import signal
from datetime import datetime, timezone

import pytest

from tests.api.conftest import wait_for
from tests.compat.clients import FLOWS, Program, logs_of, run_of, script, states_of, task_runs_of, task_states_of
from tests.compat.conftest import pairs

pytestmark = pairs("sqlite-3.8.8", "postgres-2.19.9")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
HASTE = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_RUNNER_POLL_FREQUENCY": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "1", "PREFECT_AGENT_QUERY_INTERVAL": "1"}

YAML = """
name: worked
pull:
- prefect.deployments.steps.set_working_directory:
    directory: {directory}
deployments:
- name: plain
  entrypoint: worked.py:plain
  parameters: {{n: 1}}
  tags: [of-yaml]
  description: the plain one
  version: v1
  work_pool: &pool
    name: worked
    work_queue_name: fast
    job_variables: {{env: {{COLOUR: blue}}}}
  schedules:
  - cron: 0 9 * * 1
    timezone: Europe/Berlin
  - interval: 86400
    anchor_date: "2035-01-01T00:00:00+00:00"
    timezone: UTC
    active: false
  - rrule: FREQ=MONTHLY;BYMONTHDAY=1
- name: asleep
  entrypoint: worked.py:asleep
  work_pool: *pool
  {asleep}
- name: dying
  entrypoint: worked.py:dying
  work_pool: *pool
  {dying}
- name: suspending
  entrypoint: worked.py:suspending
  work_pool: *pool
- name: calling
  entrypoint: worked.py:calling
  work_pool: *pool
"""


@pytest.fixture(scope="module")
def server(pair):
    return pair.server


@pytest.fixture(scope="module")
def deployed(pair, tmp_path_factory):
    """The deployments of a prefect.yaml, by name."""
    directory = tmp_path_factory.mktemp("worked")
    shutil.copy(FLOWS / "worked.py", directory)
    limited = {"asleep": "concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}", "dying": "concurrency_limit: 1"} if not pair.old else {"asleep": "", "dying": ""}
    (directory / "prefect.yaml").write_text(YAML.format(directory=directory, **limited))
    pair.server.api("POST", "/work_pools/", {"name": "worked", "type": "process"})
    pair.server.api("POST", "/work_pools/worked/queues", {"name": "fast", "priority": 1})
    command = Program(pair.server, pair.peer / "prefect", "--no-prompt", "deploy", "--all", peer=pair.peer, home=str(directory))
    said = command.end()
    assert said.count("successfully created") == 5, said
    return {d["name"]: d for d in pair.server.api("POST", "/deployments/filter", {})} | {"directory": directory}


@pytest.fixture(scope="module")
def programs(pair, deployed):
    """All at once: a worker, who orders runs, what is served, tasks in the background, an agent."""
    worker = Program(pair.server, pair.peer / "prefect", "worker", "start", "--pool", "worked", "--work-queue", "fast", "--limit", "4", "--prefetch-seconds", "20", "--name", "w",
                     peer=pair.peer, **HASTE)
    all = {"worker": worker, "orders": script(pair.server, "ordering", peer=pair.peer), "serve": script(pair.server, "serving", peer=pair.peer, **HASTE),
           "tasks": script(pair.server, "tasking", "serve", peer=pair.peer)}
    all["delay"] = script(pair.server, "tasking", "delay", "4", peer=pair.peer, home=all["tasks"].home)  # where arguments are kept
    for what in ("die", "hold"):
        pair.server.api("POST", "/v2/concurrency_limits/", {"name": what, "limit": 1})
        if not pair.old:  # which holds its slots without a time
            all[what] = script(pair.server, "holding", what, peer=pair.peer)
    if pair.old:
        all["agented"] = script(pair.server, "agented", deployed["directory"], peer=pair.peer)
    yield all
    for p in all.values():
        p.stop(signal.SIGINT if p is all["serve"] else signal.SIGTERM)


@pytest.fixture(scope="module")
def orders(programs):
    return programs["orders"].said()


def ended(server, id, seconds=90):
    return wait_for(lambda: (r := run_of(server, id))["state_type"] in FINAL and r, seconds, every=0.1)


def test_prefect_yaml(server, deployed, pair):
    plain = deployed["plain"]
    assert (plain["parameters"], plain["tags"], plain["description"], plain["version"], plain["entrypoint"]) == ({"n": 1}, ["of-yaml"], "the plain one", "v1", "worked.py:plain")
    assert (plain["work_pool_name"], plain["work_queue_name"], plain["job_variables"]) == ("worked", "fast", {"env": {"COLOUR": "blue"}})
    found = sorted((min(s["schedule"].keys() & {"cron", "interval", "rrule"}), s["active"]) for s in plain["schedules"])
    assert found == [("cron", True), ("interval", False), ("rrule", True)]
    assert plain["parameter_openapi_schema"]["properties"]["n"]["type"] == "integer" and plain["pull_steps"]
    limits = {n: d["global_concurrency_limit"] and (d["global_concurrency_limit"]["limit"], d["concurrency_options"]) for n, d in deployed.items() if n in ("asleep", "dying", "plain")}
    assert limits["plain"] is None
    if not pair.old:
        assert limits["asleep"][0] == limits["dying"][0] == 1 and limits["asleep"][1]["collision_strategy"] == "CANCEL_NEW", limits
    ahead = wait_for(lambda: server.api("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [plain["id"]]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}))
    assert ahead[0]["auto_scheduled"] and ahead[0]["state_name"] == "Scheduled"


def test_prefect_yaml_again(server, deployed, pair):
    """Deployed again it is changed, not made; what is not in the file is refused."""
    again = Program(server, pair.peer / "prefect", "--no-prompt", "deploy", "--name", "plain", "--tag", "again", peer=pair.peer, home=str(deployed["directory"]))
    none = Program(server, pair.peer / "prefect", "--no-prompt", "deploy", "worked.py:no_such_flow", "--name", "x", "--pool", "worked", peer=pair.peer, home=str(deployed["directory"]))
    again.end()
    now = server.api("GET", "/deployments/name/plain/plain")
    assert now["id"] == deployed["plain"]["id"] and now["tags"] == ["again"] and len(now["schedules"]) == 3
    none.end(expect=1)
    assert [d for d in server.api("POST", "/deployments/filter", {}) if d["name"] == "x"] == []


def test_ordered(server, orders):
    assert orders["plain"] == orders["again"], "of one idempotency key"
    run = ended(server, orders["plain"])
    assert (run["state_type"], run["name"], run["parameters"], run["idempotency_key"]) == ("COMPLETED", "by-name", {"n": 3}, "once"), run["state"]
    assert "asked" in run["tags"] and run["infrastructure_pid"] and run["work_queue_name"] == "fast"
    names = states_of(server, run["id"])
    assert names[:2] == ["Scheduled", "Pending"] and names[-2:] == ["Running", "Completed"], names
    assert wait_for(lambda: "colour red 6" in logs_of(server, run["id"]))
    assert [t["state_type"] for t in wait_for(lambda: task_runs_of(server, run["id"]))] == ["COMPLETED"]


def test_ordered_inside_flows(server, orders):
    inside, detached, as_task = (run_of(server, orders[n]) for n in ("inside", "detached", "as-task"))
    assert inside["parent_task_run_id"] and not detached["parent_task_run_id"] and not as_task["parent_task_run_id"]
    outer = server.api("GET", f"/task_runs/{inside['parent_task_run_id']}")
    assert outer["state"]["state_details"]["child_flow_run_id"] == inside["id"]
    assert {r["state_type"] for r in (inside, detached, as_task)} == {"SCHEDULED"}
    ran = wait_for(lambda: [t for t in task_runs_of(server, outer["flow_run_id"]) if t["state_type"] == "COMPLETED"])
    assert [t["name"].split("-")[0] for t in ran] == ["ordered"]


def test_a_run_waits_for_another(server, orders):
    calling = ended(server, orders["calling"])
    assert calling["state_type"] == "COMPLETED", (calling["state"], logs_of(server, calling["id"]))
    stand_in, = task_runs_of(server, calling["id"])
    child = run_of(server, stand_in["state"]["state_details"]["child_flow_run_id"])
    assert child["state_type"] == "COMPLETED" and child["parameters"] == {"n": 5} and stand_in["state_type"] == "COMPLETED"
    assert wait_for(lambda: "colour blue 10" in logs_of(server, child["id"]))


def test_suspended(server, orders):
    """Its process ends; asked and answered, another goes on."""
    id = orders["suspending"]
    run = wait_for(lambda: (r := run_of(server, id))["state_type"] == "PAUSED" and r, 90, every=0.1)
    keys = run["state"]["state_details"]["run_input_keyset"]
    assert run["state_name"] == "Suspended" and server.api("GET", f"/flow_runs/{id}/input/{keys['schema']}")["required"] == ["n"]
    assert server.api("POST", f"/flow_runs/{id}/resume", {"run_input": {}})["status"] == "REJECT"
    assert server.api("POST", f"/flow_runs/{id}/resume", {"run_input": {"n": 3}})["status"] == "ACCEPT"
    run = ended(server, id)
    assert run["state_type"] == "COMPLETED" and run["run_count"] == 1, (run["state"], states_of(server, id))
    assert wait_for(lambda: "answered 3" in logs_of(server, id))
    names = states_of(server, id)
    assert names.index("Suspended") < names.index("Resuming") < len(names) - 1, names


def test_killed(server, orders, pair):
    run = ended(server, orders["dying"])
    assert run["state_type"] == "CRASHED", run["state"]
    assert states_of(server, run["id"])[-2:] == ["Running", "Crashed"]


def test_limits_of_deployments(server, orders, deployed, pair):
    """Who is killed leaves his slot; who comes while another runs is turned away."""
    if pair.old:
        return  # it has none
    id = deployed["dying"]["id"]
    limit = server.api("GET", f"/deployments/{id}")["global_concurrency_limit"]
    ended(server, orders["dying"])
    second = server.api("POST", f"/deployments/{id}/create_flow_run", {"name": "second"})["id"]
    assert ended(server, second)["state_type"] == "CRASHED"
    wait_for(lambda: server.api("GET", f"/v2/concurrency_limits/{limit['id']}")["active_slots"] == 0)
    wait_for(lambda: run_of(server, orders["asleep"])["state_type"] == "RUNNING", 90)
    turned = server.api("POST", f"/deployments/{deployed['asleep']['id']}/create_flow_run", {"name": "turned away"})["id"]
    run = ended(server, turned)
    assert run["state_type"] == "CANCELLED" and "Running" not in states_of(server, turned)


def test_enqueued(server, orders, deployed, pair):
    """Two at once of a deployment that lets one run: the other waits for its slot."""
    if pair.old:
        return  # it has none
    runs = [server.api("POST", f"/deployments/{deployed['dying']['id']}/create_flow_run", {"name": f"at-once-{n}"})["id"] for n in range(2)]
    for id in runs:
        assert ended(server, id)["state_type"] == "CRASHED"
    waited = [id for id in runs if "AwaitingConcurrencySlot" in states_of(server, id)]
    assert len(waited) == 1, [states_of(server, id) for id in runs]


def test_cancelled(server, orders, pair):
    id = orders["asleep"]
    wait_for(lambda: "asleep" in logs_of(server, id), 90)
    command = Program(server, pair.peer / "prefect", "flow-run", "cancel", id, peer=pair.peer)
    command.end()
    run = ended(server, id)
    assert run["state_type"] == "CANCELLED" and states_of(server, id)[-2:] == ["Cancelling", "Cancelled"], states_of(server, id)


def test_worker(server, programs):
    """It is known while it runs, took from its queue alone, and leaves in peace."""
    worker, = server.api("POST", "/work_pools/worked/workers/filter", {})
    assert (worker["name"], worker["status"]) == ("w", "ONLINE")
    assert server.api("GET", "/work_pools/worked")["status"] == "READY" and server.api("GET", "/work_pools/worked/queues/fast")["last_polled"]
    slow = server.api("POST", "/work_pools/worked/queues", {"name": "slow"})
    plain = server.api("GET", "/deployments/name/plain/plain")
    left = server.api("POST", f"/deployments/{plain['id']}/create_flow_run", {"work_queue_name": "slow"})
    taken = server.api("POST", f"/deployments/{plain['id']}/create_flow_run", {})
    assert ended(server, taken["id"])["state_type"] == "COMPLETED"
    assert run_of(server, left["id"])["state_type"] == "SCHEDULED" and left["work_queue_id"] == slow["id"]
    programs["worker"].stop()
    assert "Traceback" not in programs["worker"].text()


def test_executed(server, pair, deployed):
    """A run in the process of a command, and of one that is not there."""
    plain = deployed["plain"]["id"]
    id = server.api("POST", f"/deployments/{plain}/create_flow_run", {"parameters": {"n": 21}, "state": {"type": "PENDING"}})["id"]
    good, bad = (Program(server, pair.peer / "prefect", "flow-run", "execute", which, peer=pair.peer) for which in (id, "11111111-1111-4111-8111-111111111111"))
    good.end()
    bad.end(expect=1)
    run = run_of(server, id)
    assert run["state_type"] == "COMPLETED" and states_of(server, id)[-2:] == ["Running", "Completed"], run["state"]
    assert wait_for(lambda: "colour None 42" in logs_of(server, id)), "of the worker's variables it knows nothing"


def test_agent(server, programs, pair):
    if not pair.old:
        return  # there are none any more
    id = programs["agented"].end().split()[-1]
    assert run_of(server, id)["work_queue_name"] == "agents" and server.api("GET", "/work_queues/name/agents")["work_pool_name"] == "default-agent-pool"
    agent = Program(server, pair.peer / "prefect", "agent", "start", "--work-queue", "agents", peer=pair.peer, **HASTE)
    try:
        run = ended(server, id)
    finally:
        agent.stop()
    assert run["state_type"] == "COMPLETED", (run["state"], agent.text()[-3000:])
    assert run["parameters"] == {"n": 11} and wait_for(lambda: "colour green 22" in logs_of(server, id))


def test_served(server, programs):
    """On a schedule; Ctrl-C pauses it."""
    def done():
        return server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["served"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "sort": "START_TIME_ASC"})
    run = wait_for(done, seconds=120, every=0.2)[0]
    programs["serve"].stop(signal.SIGINT)
    assert run["auto_scheduled"] and run["parameters"] == {"word": "hello"} and run["run_count"] == 1
    wait_for(lambda: "served hello" in logs_of(server, run["id"]))
    deployment = server.api("GET", "/deployments/name/served/often")
    assert deployment["paused"] is True or [s["active"] for s in deployment["schedules"]] == [False]


def test_background_tasks(server, programs):
    ids = json.loads(programs["delay"].end().splitlines()[-1])

    def done():
        runs = server.api("POST", "/task_runs/filter", {"task_runs": {"id": {"any_": ids}}})
        return len(runs) == 4 and {r["state_type"] for r in runs} == {"COMPLETED"} and runs
    runs = wait_for(done, 60)
    assert all(r["flow_run_id"] is None for r in runs)
    for run in runs:
        names = task_states_of(server, run["id"])
        assert names[0] == "Scheduled" and names[-1] == "Completed" and "Running" in names, names
    retried = [r["id"] for r in runs if "Retrying" in task_states_of(server, r["id"])]
    assert len(retried) == 1, "the third is tried again"
    programs["tasks"].stop()
    assert sorted(line for line in programs["tasks"].out.read_text().splitlines() if line.startswith("doubling")) == [f"doubling {n}" for n in range(4)]


def test_slots_of_the_dead_and_the_living(server, programs, pair):
    """Held for a minute at a time: who lives renews it in time, who was killed leaves it."""
    if pair.old:
        return
    assert programs["die"].end(expect=-signal.SIGKILL).split() == ["in"]

    def active(name):
        return server.api("GET", f"/v2/concurrency_limits/{name}")["active_slots"]
    wait_for(lambda: active("die") == 0, 90, every=0.2)
    held, = [e for e in server.api("POST", "/events/filter", {"filter": {"event": {"name": ["prefect.concurrency-limit.acquired"]}}})["events"]
             if e["resource"]["prefect.resource.name"] == "hold"]
    since = datetime.fromisoformat(held["occurred"].replace("Z", "+00:00"))
    wait_for(lambda: (datetime.now(timezone.utc) - since).total_seconds() > 62, 90, every=0.2)
    assert active("hold") == 1 and programs["hold"].process.poll() is None
    programs["hold"].process.stdin.close()
    programs["hold"].end()
    wait_for(lambda: active("hold") == 0)
