"""What the engines of both generations do, and what the server then holds: states in order, task runs, inputs, limits."""
import pytest

from tests.api.conftest import wait_for
from tests.compat.clients import logs_of, run_of, script, states_of, task_runs_of, task_states_of
from tests.compat.conftest import pairs

pytestmark = pairs("postgres-3.8.8", "sqlite-2.19.9")
RUN, DONE, FAIL = ["Pending", "Running"], ["Pending", "Running", "Completed"], ["Pending", "Running", "Failed"]
SUBFLOW = ["Pending", *RUN]  # the stand-in for a run within a run hears of each of its states


@pytest.fixture(scope="module")
def programs(pair):
    for limit in ({"name": "two", "limit": 2}, {"name": "two-more", "limit": 2}, {"name": "rated", "limit": 1, "slot_decay_per_second": 5}, {"name": "shut", "limit": 0}):
        pair.server.api("POST", "/v2/concurrency_limits/", limit)
    for tag, n in (("one-at-a-time", 1), ("never", 0)):
        pair.server.api("POST", "/concurrency_limits/", {"tag": tag, "concurrency_limit": n})
    all = {name: script(pair.server, name, peer=pair.peer) for name in ("engine", "pausing", "limits", "objects")}
    yield all
    for p in all.values():
        p.stop()


@pytest.fixture(scope="module")
def engine(programs):
    return programs["engine"].said()


def tasks(server, id, whole):
    """{the task's name: the states of each of its runs}, once `whole` runs are there in a final state."""
    def told():
        runs = task_runs_of(server, id)
        ended = [r for r in runs if r["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") or r["state_name"] == "NotReady"]
        return len(ended) == whole and runs
    found = {}
    for run in wait_for(told):
        found.setdefault(run["name"].rsplit("-", 1)[0], []).append(task_states_of(server, run["id"]))
    return {name: sorted(states) for name, states in found.items()}


def test_retries(pair, engine):
    server, id = pair.server, engine["ids"]["retrying"]
    assert states_of(server, id) == ["Pending", "Running", "AwaitingRetry", "Running", "Completed"]
    run = run_of(server, id)
    assert (run["run_count"], run["empirical_policy"]["retries"]) == (2, 1)
    late = ["Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"]
    if pair.old:  # the same task run is run again when the flow is
        assert tasks(server, id, 4) == {
            "delayed": [late], "backing_off": [["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]], "refused": [[*FAIL, "Retrying", "Failed"]],
            "hopeless": [["Pending", "Running", "AwaitingRetry", "Retrying", "Failed", "Retrying", "AwaitingRetry", "Retrying", "Failed"]]}
    else:
        assert tasks(server, id, 8) == {
            "delayed": [late, DONE], "backing_off": [["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"], DONE], "refused": [FAIL, FAIL],
            "hopeless": [["Pending", "Running", "Retrying", "Failed"]] * 2}
    delayed = next(t for t in task_runs_of(server, id) if t["name"].startswith("delayed") and t["run_count"] == 3)
    policy = delayed["empirical_policy"]
    assert (policy["retries"], policy["retry_jitter_factor"]) == (2, 0.5)
    assert engine["seen"]["hopeless"] == 4 and engine["seen"]["refused"] == 2


def test_runs_within_runs(pair, engine):
    server, ids = pair.server, engine["ids"]
    nesting = run_of(server, ids["nesting"])
    assert (nesting["state_type"], nesting["state_name"], nesting["state"]["message"]) == ("COMPLETED", "Nested", "by hand")
    stand_ins = ("inner", "broken_inner") if pair.old else ("inner", "broken-inner")
    found = tasks(server, ids["nesting"], 10)
    if pair.old:
        found = {name.rsplit("-", 1)[0] if name.startswith(("inner", "broken")) else name: states for name, states in found.items()}
    assert found == {"double": [DONE] * 3, "add": [DONE], "waited": [DONE], "fails": [FAIL], "skipped": [["Pending", "NotReady"]], "late": [DONE],
                     stand_ins[0]: [[*SUBFLOW, "Completed"]], stand_ins[1]: [[*SUBFLOW, "Failed"]]}
    runs = {t["id"]: t for t in task_runs_of(server, ids["nesting"])}
    by_name = {t["name"].split("-")[0]: t for t in runs.values()}
    for child, state in (("inner", "COMPLETED"), ("broken_inner", "FAILED")):
        run = run_of(server, ids[child])
        assert run["state_type"] == state and runs[run["parent_task_run_id"]]["state"]["state_details"]["child_flow_run_id"] == run["id"]
    assert [i["id"] for i in by_name["skipped"]["task_inputs"]["x"]] == [by_name["fails"]["id"]]
    assert {i["id"] for i in by_name["waited"]["task_inputs"]["wait_for"]} == {by_name["add"]["id"]}
    graph = wait_for(lambda: len((g := server.api("GET", f"/flow_runs/{ids['nesting']}/graph-v2"))["nodes"]) == 10 and g)
    kinds = [node["kind"] for _, node in graph["nodes"]]
    assert kinds.count("flow-run") == 2
    assert [p["id"] for p in dict(graph["nodes"])[by_name["late"]["id"]]["parents"]] == [by_name["fails"]["id"]]


def test_caches(pair, engine):
    cached = ["Pending", "Cached"] if pair.old else [*RUN, "Cached"]
    expect = {"keyed": sorted([cached, DONE, DONE]), "refreshed": [DONE], "hashed": sorted([cached, DONE]), "short": [DONE, DONE]}
    if not pair.old:
        expect |= {"policy": sorted([cached, DONE]), "part": sorted([cached, DONE]), "none": [DONE, DONE]}
    assert tasks(pair.server, engine["ids"]["caching"], sum(map(len, expect.values()))) == expect


def test_timeouts(pair, engine):
    server, ids = pair.server, engine["ids"]
    run = run_of(server, ids["slowly"])
    assert (run["state_type"], states_of(server, run["id"])) == ("FAILED", [*RUN, "TimedOut"])
    found = tasks(server, ids["timing"], 2)
    assert found["slow"] == [[*RUN, "TimedOut"]] and [s for n, s in found.items() if n != "slow"] == [[[*SUBFLOW, "TimedOut"]]]


def test_hooks_and_names(pair, engine):
    server, ids = pair.server, engine["ids"]
    assert [run_of(server, ids[f"hooked{n}"])["name"] for n in (1, 2)] == ["run-1-w", "run-2-w"]
    assert sorted(t["name"] for t in task_runs_of(server, ids["hooked2"])) == ["of-1", "of-2"]
    hooks = [(word, state) for word, _, state in engine["seen"]["hooks"]]
    assert hooks == [("running", "Running"), ("task done", "Completed"), ("task done", "Completed"), ("done", "Completed"),
                     ("running", "Running"), ("task done", "Completed"), ("task failed", "Failed"), ("failed", "Failed"), ("crashed", "Crashed")]


def test_ends(pair, engine):
    server, ids = pair.server, engine["ids"]
    crash = run_of(server, ids["crash"])
    assert states_of(server, crash["id"]) == [*RUN, "Crashed"] and crash["state_type"] == "CRASHED" and "interrupt" in crash["state"]["message"]
    odd = run_of(server, ids["returns-failed"])
    assert (odd["state_type"], odd["state_name"], odd["state"]["message"]) == ("FAILED", "Odd", "said so")
    assert run_of(server, ids["returns-states"])["state"]["message"] == "1/3 states failed."
    tagged = run_of(server, ids["returns-tagged"])
    assert sorted(tagged["tags"]) == ["b", "outside"] and tagged["state_type"] == "COMPLETED"
    one, = wait_for(lambda: task_runs_of(server, tagged["id"]))
    assert sorted(one["tags"]) == ["b", "inside", "outside"]
    wait_for(lambda: "an error, told" in logs_of(server, tagged["id"]))
    levels = {r["message"]: r["level"] for r in server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [tagged["id"]]}, "level": {"ge_": 40}}})}
    assert levels == {"an error, told": 40}
    typed, = server.api("POST", "/flow_runs/filter", {"flows": {"name": {"any_": ["typed"]}}})
    assert typed["state_type"] == "FAILED" and "n" in typed["state"]["message"] and typed["parameters"] == {"n": "many"}


def test_asynchronous(pair, engine):
    found = tasks(pair.server, engine["ids"]["gathering"], 6)
    assert found["asleep"] == sorted([DONE] * 4 + [["Pending", "Running", *(["AwaitingRetry"] if pair.old else []), "Retrying", "Completed"]])
    assert [s for n, s in found.items() if n != "asleep"] == [[[*SUBFLOW, "Completed"]]]


def test_transactions(pair, engine):
    if pair.old:
        return  # it has none
    assert engine["seen"]["transactions"] == ["commit", "rollback"]
    server, ids = pair.server, engine["ids"]
    assert tasks(server, ids["transacting-True"], 1) == {"write": [DONE]}
    wait_for(lambda: tasks(server, ids["transacting-False"], 1) == {"write": [[*DONE, "RolledBack"]]})


# ---- those who wait ----

def test_pauses(pair, programs):
    server, said = pair.server, programs["pausing"].said()
    ids = said["ids"]
    for name in ("plainly", "model", "typed"):
        run = run_of(server, ids[name])
        names = states_of(server, ids[name])
        assert names[:3] == ["Pending", "Running", "Paused"] and names[-2:] in (["Running", "Completed"], ["Resuming", "Completed"]) and run["state_type"] == "COMPLETED", names
    assert said["notes"]["refused"] == "REJECT"
    model = next(s for s in server.api("GET", f"/flow_run_states/?flow_run_id={ids['model']}") if s["name"] == "Paused")
    keys = model["state_details"]["run_input_keyset"]
    assert server.api("GET", f"/flow_runs/{ids['model']}/input/{keys['description']}") == "Who?"
    assert server.api("GET", f"/flow_runs/{ids['model']}/input/{keys['schema']}")["properties"]["name"]["default"] == "nobody"
    assert server.api("GET", f"/flow_runs/{ids['model']}/input/{keys['response']}") == {"name": "Ada"}
    assert said["notes"]["asks-too-long"] == ["FAILED", "FlowPauseTimeout"]
    assert states_of(server, ids["too_long"])[:4] == ["Pending", "Running", "Paused", "Failed"], "by the server's clock; the client says it once more"
    assert said["notes"]["suspends"] == ["FAILED", "RuntimeError"] and states_of(server, ids["suspends"]) == FAIL, "it has no deployment"
    assert run_of(server, ids["receives"])["state_type"] == "COMPLETED"
    assert len(server.api("POST", f"/flow_runs/{ids['receives']}/input/filter", {"prefix": ""})) < 2, "what was received is taken away"


# ---- limits ----

def test_limits(pair, programs):
    server, said = pair.server, programs["limits"].said()
    seen = said["seen"]
    assert seen["two"] == [2, 5] and seen["both"] == [2, 4], "never more than two inside"
    assert seen["rated"] >= 0.35 and seen["rated-async"] >= 0.35, "three of five a second"
    assert seen["shut"] == "ConcurrencySlotAcquisitionError" and seen["unheard-of"] == "got in" and seen.get("no-such-limit") in (None, "ConcurrencySlotAcquisitionError")
    assert seen["alone"] == [1, 3] and "never" not in seen
    found = wait_for(lambda: len(t := task_runs_of(server, said["ids"]["tagged"])) == 4 and t)
    assert {t["name"].rsplit("-", 1)[0]: t["state_name"] for t in found} == {"alone": "Completed", "never": "Pending"}
    for name in ("two", "two-more", "rated"):
        limit = server.api("GET", f"/v2/concurrency_limits/{name}")
        assert limit["limit"] in (1, 2) and limit["active_slots"] == 0 or name == "rated", limit
    assert server.api("GET", "/concurrency_limits/tag/one-at-a-time")["active_slots"] == []

    def told():
        page = server.api("POST", "/events/filter", {"filter": {"event": {"prefix": ["prefect.concurrency-limit."]}, "resource": {"labels": {"prefect.resource.name": "two"}},
                                                                "related": {"id": [f"prefect.flow-run.{said['ids']['within']}"]}}})
        return {e["event"] for e in page["events"]} >= {"prefect.concurrency-limit.acquired", "prefect.concurrency-limit.released"}
    wait_for(told)


# ---- blocks and variables ----

def test_objects(pair, programs):
    server = pair.server
    run, said = programs["objects"].end().split()
    assert said == "done"
    town = server.api("GET", "/variables/name/town")
    assert town["value"] == "Aalen" and town["tags"] == ([] if pair.old else ["x"]), "the older one's overwriting forgets them"
    read = "/block_types/slug/{}/block_documents/name/{}"
    assert "other" not in str(server.api("GET", read.format("secret", "password"))["data"])
    server.api("GET", read.format("car", "beetle"), expect=404)
    engine = server.api("GET", read.format("engine", "v8") + "?include_secrets=true")
    assert engine["data"] == {"fuel": "water", "key": "k2"} and engine["block_type"]["name"] == "Engine"
    hook = server.api("GET", read.format("custom-webhook", "hook"))
    assert hook["data"]["method"] == "POST" and "'t'" not in str(hook["data"]) and "notify" in hook["block_schema"]["capabilities"]
    shelf = server.api("GET", read.format("local-file-system", "shelf"))
    keeping = run_of(server, run)
    data = keeping["state"]["data"]
    assert keeping["state_type"] == "COMPLETED" and shelf["id"] in (data.get("storage_block_id"), data.get("metadata", {}).get("storage_block_id")), data
    assert tasks(server, run, 1) == {"keep": [DONE]}
