"""The clock is set forward and back by days while the server runs: what is due is done once, what is held stays held as long as it should,
and nothing waits for a day that is over."""
import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from tests.api.badday import DAY, badday, server_on  # noqa: F811,F401 (a fixture)
from tests.api.conftest import _clear, wait_for


@pytest.fixture(params=["sqlite", "postgres"])
def ticking(request, badday):  # noqa: F811
    database = None
    if request.param == "postgres":
        database = request.getfixturevalue("postgres")
        _clear(database)
    s = server_on(badday, database)
    s.kind = request.param
    s.set_clock = badday.set_clock
    yield s
    assert s.stop() == 0, s.tail()


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def stamp(t):
    return t.isoformat().replace("+00:00", "Z")


def runs_of(server, deployment):
    runs, offset = [], 0
    while page := server.api("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}, "limit": 200, "offset": offset}):
        runs += page
        offset += len(page)
    return runs


def scheduled(server, every=3600):
    flow = server.api("POST", "/flows/", {"name": uuid.uuid4().hex})["id"]
    return server.api("POST", "/deployments/", {
        "name": "d", "flow_id": flow, "schedules": [{"schedule": {"interval": every, "anchor_date": "2020-01-01T00:00:00Z"}}]})["id"]


def assert_slots_once(runs, every=3600):
    slots = [instant(r["expected_start_time"]) for r in runs]
    assert len(slots) == len(set(slots)), "a slot twice"
    assert all(s.timestamp() % every == 0 for s in slots)


def test_schedule(ticking):
    """Forward by four days, back by eight, and right again: each slot once, those that were skipped not made up for."""
    deployment = scheduled(ticking)
    first = wait_for(lambda: (r := runs_of(ticking, deployment)) and len(r) >= 3 and r, 15, 0.1)
    at = datetime.now(timezone.utc)
    for days in (4, -4, 0):
        ticking.set_clock(days * DAY)
        now = datetime.now(timezone.utc) + timedelta(days=days)
        coming = wait_for(lambda: len([r for r in runs_of(ticking, deployment) if instant(r["expected_start_time"]) > now]) >= 3, 15, 0.1)
        assert coming
        runs = runs_of(ticking, deployment)
        assert_slots_once(runs)
        in_hole = [r for r in runs if at + timedelta(hours=110) < instant(r["expected_start_time"]) < now]
        assert not in_hole, "slots that were over before they were looked at"
    runs = runs_of(ticking, deployment)
    assert {r["id"] for r in first} <= {r["id"] for r in runs}
    assert len(runs) < 450, "a flood"
    late = [r for r in runs if r["state_name"] == "Late"]
    assert len(late) <= len(first) + 5


def test_late_once(ticking):
    """A run that became late by a wrong clock is late once; one made afterwards becomes late at its time."""
    flow = ticking.api("POST", "/flows/", {"name": uuid.uuid4().hex})["id"]
    def run(at):
        return ticking.api("POST", "/flow_runs/", {"flow_id": flow, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": stamp(at)}}})["id"]
    def name(id):
        return ticking.api("GET", f"/flow_runs/{id}")["state_name"]
    early = run(datetime.now(timezone.utc) + timedelta(hours=5))
    ticking.set_clock(2 * DAY)
    wait_for(lambda: name(early) == "Late", 8, 0.05)
    ticking.set_clock(-2 * DAY)
    time.sleep(0.3)
    behind = run(datetime.now(timezone.utc) - timedelta(days=2, seconds=13))  # late two seconds from now
    wait_for(lambda: name(behind) == "Late", 8, 0.05)
    names = [s["name"] for s in ticking.api("GET", f"/flow_run_states/?flow_run_id={early}")]
    assert names.count("Late") == 1, names


@pytest.mark.parametrize("days", [3, -3])
def test_leases(ticking, days):
    """A lease of a live holder outlives the change; that of a dead one ends at about its time."""
    if ticking.kind == "postgres" and days < 0:
        pytest.skip("leases that other servers may share are not moved: the dead holder's ends when the clock has caught up")
    for name in ("dead", "alive"):
        ticking.api("POST", "/v2/concurrency_limits/", {"name": f"{name}{days}", "limit": 1})
    def take(name, seconds):
        return ticking.request("POST", "/v2/concurrency_limits/increment-with-lease", {
            "names": [f"{name}{days}"], "slots": 1, "mode": "concurrency", "lease_duration": seconds})
    assert take("dead", 60)[0] == 200
    import json
    alive = json.loads(take("alive", 90)[2])["lease_id"]
    ticking.set_clock(days * DAY)
    time.sleep(2.5)  # the repossessor looks once a second
    assert take("alive", 90)[0] == 423 and take("dead", 60)[0] == 423, "the slot was given twice"
    assert ticking.request("POST", f"/v2/concurrency_limits/leases/{alive}/renew", {"lease_duration": 90})[0] in (200, 204)
    if ticking.kind == "sqlite":
        ticking.set_clock(days * DAY + 3)  # trimmed, not set
        ticking.set_clock(days * DAY)
        time.sleep(0.2)
        ticking.api("POST", "/v2/concurrency_limits/", {"name": f"short{days}", "limit": 1})
        assert take("short", 60)[0] == 200


def test_pause_and_ids(ticking):
    """A pause ends at the instant that was said; ids and states made before and after keep their order of making."""
    flow = ticking.api("POST", "/flows/", {"name": uuid.uuid4().hex})["id"]
    def paused(timeout):
        run = ticking.api("POST", "/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
        answer = ticking.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "PAUSED", "state_details": {"pause_timeout": stamp(timeout)}}})
        assert answer["status"] == "ACCEPT", answer
        return run
    run = paused(datetime.now(timezone.utc) + timedelta(days=1))
    made = [ticking.api("POST", "/flow_runs/", {"flow_id": flow})["id"]]
    for days in (-2, 0.5, -1):
        ticking.set_clock(days * DAY)
        made += [ticking.api("POST", "/flow_runs/", {"flow_id": flow})["id"] for _ in range(3)]
        assert ticking.api("GET", f"/flow_runs/{run}")["state_type"] == "PAUSED"
    assert made == sorted(made) and len(set(made)) == len(made)
    ticking.set_clock(2 * DAY)
    wait_for(lambda: ticking.api("GET", f"/flow_runs/{run}")["state_type"] == "FAILED", 8, 0.05)
    states = ticking.api("GET", f"/flow_run_states/?flow_run_id={run}")
    assert [s["type"] for s in states] == ["RUNNING", "PAUSED", "FAILED"]


def test_states_while_the_clock_goes_back(ticking):
    """A run whose states were set under a clock that went back meanwhile is in the one that was set last, also after a restart."""
    flow = ticking.api("POST", "/flows/", {"name": uuid.uuid4().hex})["id"]
    run = ticking.api("POST", "/flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}})["id"]
    def state(type):
        answer = ticking.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": type}})
        assert answer["status"] == "ACCEPT", answer
    state("RUNNING")
    ticking.set_clock(-3 * DAY)
    state("COMPLETED")
    end = ticking.api("GET", f"/flow_runs/{run}")
    assert end["state_type"] == "COMPLETED" and end["total_run_time"] >= 0, end
    # by their timestamps, as the API lists them
    assert [s["type"] for s in ticking.api("GET", f"/flow_run_states/?flow_run_id={run}")] == ["COMPLETED", "PENDING", "RUNNING"]
    ticking.kill()
    ticking.start()
    assert ticking.api("GET", f"/flow_runs/{run}")["state_type"] == "COMPLETED"
    events = wait_for(lambda: (e := ticking.api("POST", "/events/filter", {"filter": {"resource": {"id": [f"prefect.flow-run.{run}"]},
        "occurred": {"since": "2000-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}}})["events"]) and len(e) >= 3 and e, 15, 0.2)
    assert sorted(e["event"].split(".")[-1] for e in events if e["event"].startswith("prefect.flow-run.")) == ["Completed", "Pending", "Running"]
