"""Runs made ahead of time by the server itself: each instant once, none left out, whatever happens to the deployment meanwhile."""
import datetime
import subprocess

import pytest

from tests.api.conftest import Server, wait_for


@pytest.fixture(scope="module")
def flow(server):
    return server.api("POST", "/flows/", {"name": "ahead"})["id"]


def times(server, deployment, sort="NEXT_SCHEDULED_START_TIME_ASC"):
    page = server.api("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}, "sort": sort,
                                                    "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
    return [datetime.datetime.fromisoformat(r["expected_start_time"]) for r in page]


def deploy(server, flow, name, schedule, **more):
    return server.api("POST", "/deployments/", {"name": name, "flow_id": flow, "schedules": [{"schedule": schedule, "active": True, "slug": "s"}]} | more)["id"]


def steady(found, step):
    assert found == sorted(found), "not soonest first"
    assert {b - a for a, b in zip(found, found[1:])} == {datetime.timedelta(seconds=step)}, "one is missing or there twice"
    return True


def test_ahead(server, flow):
    """At least 3 and at least an hour ahead."""
    d = deploy(server, flow, "quarter", {"interval": 900})
    found = wait_for(lambda: (t := times(server, d)) and len(t) >= 4 and t)
    steady(found, 900)
    now = datetime.datetime.now(datetime.timezone.utc)
    assert now <= found[0] <= now + datetime.timedelta(seconds=900) and found[-1] >= now + datetime.timedelta(minutes=59)
    d = deploy(server, flow, "daily", {"cron": "0 9 * * *"})
    assert len(wait_for(lambda: (t := times(server, d)) and len(t) >= 3 and t)) == 3


def test_once_whatever_happens(server, flow):
    d = deploy(server, flow, "busy", {"interval": 1, "anchor_date": "2024-01-01T00:00:00Z"})
    steady(wait_for(lambda: (t := times(server, d)) and len(t) >= 90 and t), 1)
    schedule = server.api("GET", f"/deployments/{d}/schedules")[0]["id"]
    for _ in range(4):  # each drops what lies ahead, and it is made anew
        server.api("PATCH", f"/deployments/{d}", {"description": "x"})
        server.api("PATCH", f"/deployments/{d}/schedules/{schedule}", {"active": True})
        server.api("POST", f"/deployments/{d}/schedule", {})
        deploy(server, flow, "busy", {"interval": 1, "anchor_date": "2024-01-01T00:00:00Z"})
        schedule = server.api("GET", f"/deployments/{d}/schedules")[0]["id"]
    found = wait_for(lambda: (t := times(server, d)) and len(t) >= 90 and t)
    assert len(set(found)) == len(found), "twice"
    ahead = [t for t in found if t > datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)]
    steady(ahead, 1)
    server.api("POST", f"/deployments/{d}/pause_deployment")
    assert wait_for(lambda: not times(server, d))
    server.api("POST", f"/deployments/{d}/resume_deployment")
    steady(wait_for(lambda: (t := times(server, d)) and len(t) >= 90 and t), 1)
    server.api("DELETE", f"/deployments/{d}")


def test_two_servers(postgres):
    """Both look at all schedules; nothing is made twice."""
    subprocess.run(["psql", postgres, "-qc", "DROP SCHEMA IF EXISTS millpond CASCADE; DROP SCHEMA IF EXISTS millpond_telemetry CASCADE"], check=True, capture_output=True)
    one, two = Server(postgres, "--no-managed"), Server(postgres, "--no-managed")
    try:
        flow = one.api("POST", "/flows/", {"name": "shared"})["id"]
        ids = [deploy(s, flow, f"d{i}", {"interval": 60}) for i, s in enumerate((one, two) * 10)]
        for n, d in enumerate(ids):
            server = (two, one)[n % 2]
            steady(wait_for(lambda: (t := times(server, d)) and len(t) >= 60 and t), 60)
    finally:
        assert (one.stop(), two.stop()) == (0, 0)


def test_settings():
    """How far ahead is the settings' business, by either name; what cannot be is refused at the start."""
    s = Server(env={"PREFECT_API_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT5M", "MILLPOND_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "2", "MILLPOND_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "20"})
    try:
        f = s.api("POST", "/flows/", {"name": "ahead"})["id"]
        found = {}
        for name, schedule, n in (("minutes", {"cron": "* * * * *"}, 6), ("daily", {"cron": "0 9 * * *"}, 2), ("seconds", {"interval": 1}, 20)):
            d = deploy(s, f, name, schedule)
            found[name] = wait_for(lambda: (t := times(s, d)) and len(t) >= n - 1 and t)
            assert n - 1 <= len(found[name]) <= n + 2, (name, found[name])
    finally:
        assert s.stop() == 0
    for name, value in (("MIN_RUNS", "x"), ("MIN_RUNS", "-1"), ("MIN_SCHEDULED_TIME", "soon")):
        with pytest.raises(AssertionError, match=f"SCHEDULER_{name}"):
            Server(env={f"MILLPOND_SERVER_SERVICES_SCHEDULER_{name}": value})
