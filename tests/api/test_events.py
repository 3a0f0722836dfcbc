"""Events over HTTP: in, filtered, paged, counted; and that a crash loses none."""
import json
import signal
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from tests.api.conftest import Server, wait_for
from tests.api.events_help import event, iso, now, stored

CASES = json.loads((Path(__file__).parents[1] / "data" / "event-filters.json").read_text())
WINDOW = {"since": "2026-11-23T12:00:00Z", "until": "2026-11-23T12:01:00Z"}


@pytest.fixture(scope="module")
def filled(server):
    server.api("POST", "/events", CASES["events"], expect=204)
    return server


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda c: c["name"])
def test_filter(filled, case):
    page = filled.api("POST", "/events/filter", {"filter": {"occurred": WINDOW} | case["filter"]})
    ids = [int(e["id"][-2:], 16) for e in page["events"]]
    assert ids == case["ids"] and page["total"] == len(ids) and page["next_page"] is None


def test_one_event(server):
    follows = str(uuid.uuid4())
    e = event("one.event", "thing.é", labels={"name": "ü"}, follows=follows, payload={"n": 12345678901234567890, "x": [1.5], "é": "ü"},
              related=[{"prefect.resource.id": "r", "prefect.resource.role": "x"}])
    before = now()
    raw = json.dumps([e]).replace("[1.5]", "[1.50]").encode()
    assert server.request("POST", "/events", raw=raw)[::2] == (204, b"")
    got, = stored(server, "one.event")
    assert list(got) == ["occurred", "event", "resource", "related", "payload", "id", "follows", "received"]
    assert iso(before) <= got.pop("received") <= iso(now(1))
    assert got == e
    _, _, text = server.request("POST", "/events/filter", {"filter": {"id": {"id": [e["id"]]}}})
    assert b"1.50" in text, "numbers come back as they were sent"


def test_again_is_once(server):
    e = event("again")
    for _ in range(3):
        server.api("POST", "/events", [e, e, event("again.other")], expect=204)
    assert len(stored(server, "again")) == 1


@pytest.mark.parametrize("change, place", [
    ({"occurred": None}, ["occurred"]), ({"event": 5}, ["event"]), ({"event": "x" * 1025}, ["event"]), ({"id": "x"}, ["id"]), ({"id": None}, ["id"]),
    ({"resource": {"a": "b"}}, ["resource"]), ({"resource": {"prefect.resource.id": "a", "n": 5}}, ["resource", "n"]),
    ({"resource": {"prefect.resource.id": ""}}, ["resource"]), ({"related": [{"prefect.resource.id": "a"}]}, ["related", 0]),
    ({"related": None}, ["related"]), ({"payload": None}, ["payload"]), ({"payload": []}, ["payload"]), ({"follows": "x"}, ["follows"]),
])
def test_refused(server, change, place):
    status, _, text = server.request("POST", "/events", [event(), event() | change])
    answer = json.loads(text)
    assert status == 422 and answer["exception_detail"][0]["loc"] == ["body", 1] + place


@pytest.mark.parametrize("body, status", [
    ({}, 200), (None, 200), ({"filter": None, "limit": None}, 200), ({"limit": 0}, 200), ({"limit": 51}, 422), ({"limit": -1}, 422),
    ({"filter": {"bad": 1}}, 422), ({"filter": {"order": "UP"}}, 422), ({"filter": {"text": {"query": "x" * 201}}}, 422),
    ({"filter": {"event": {"name": ["x"] * 2001}}}, 422), ({"filter": 5}, 422), ({"unknown": 1}, 200),
])
def test_filter_bodies(server, body, status):
    assert server.request("POST", "/events/filter", body)[0] == status


def test_pages(server):
    server.api("POST", "/events", [event("page", f"p.{i}", now(-i)) for i in range(120)])
    page = server.api("POST", "/events/filter", {"filter": {"event": {"name": ["page"]}}})
    seen, total = [e["resource"]["prefect.resource.id"] for e in page["events"]], page["total"]
    server.api("POST", "/events", [event("page", "late")])  # is not there when the answer began
    while page["next_page"]:
        assert page["next_page"].startswith(server.url + "/events/filter/next?page-token=")
        page = server.api("GET", page["next_page"][len(server.url):])
        seen += [e["resource"]["prefect.resource.id"] for e in page["events"]]
    assert total == 120 and seen == [f"p.{i}" for i in range(120)]
    for token in ("", "x", "e30", "eyJmaWx0ZXIiOjF9", "%00"):
        assert server.request("GET", "/events/filter/next?page-token=" + token)[0] == (422 if token == "%00" else 403)
    assert server.request("GET", "/events/filter/next")[0] == 422


def test_counts(server):
    at = now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=30)
    names = ["count.a"] * 3 + ["count.b"] * 5 + ["count.c"]
    server.api("POST", "/events", [event(n, f"counted.{i % 2}", at + timedelta(seconds=i), labels={"prefect.resource.name": f"name {i % 2}"})
                                   for i, n in enumerate(names)])
    filter = {"event": {"prefix": ["count."]}, "occurred": {"since": iso(at), "until": iso(at + timedelta(seconds=9))}}

    def count(by, **more):
        return server.api("POST", f"/events/count-by/{by}", {"filter": filter} | more)

    assert [(c["value"], c["label"], c["count"]) for c in count("event")] == [("count.b", "count.b", 5), ("count.a", "count.a", 3), ("count.c", "count.c", 1)]
    assert count("event")[0]["start_time"] == iso(at + timedelta(seconds=3)) and count("event")[0]["end_time"] == iso(at + timedelta(seconds=7))
    assert [(c["value"], c["label"], c["count"]) for c in count("resource")] == [("counted.0", "name 0", 5), ("counted.1", "name 1", 4)]
    buckets = count("time", time_unit="second", time_interval=2.5)
    assert [c["count"] for c in buckets] == [3, 2, 3, 1] and [c["value"] for c in buckets] == ["0", "1", "2", "3"]
    assert buckets[1]["start_time"] == iso(at + timedelta(seconds=2.5)) and buckets[1]["end_time"] == iso(at + timedelta(seconds=4.999999))
    assert buckets[0]["label"] == at.isoformat() and buckets[1]["label"] == (at + timedelta(seconds=2.5)).isoformat()
    day, = count("day")
    assert day["count"] == 9 and day["start_time"].endswith("T00:00:00Z") and day["end_time"].endswith("T23:59:59.999999Z")
    week, = count("time", time_unit="week")
    assert week["count"] == 9


@pytest.mark.parametrize("by, body, status", [
    ("foo", {"filter": {}}, 422), ("day", {}, 422), ("day", {"filter": None}, 422), ("time", {"filter": {}, "time_interval": 0}, 422),
    ("time", {"filter": {}, "time_unit": "month"}, 422), ("time", {"filter": {}, "time_unit": "second"}, 422), ("day", {"filter": {}}, 200),
    ("time", {"filter": {"occurred": {"since": "2026-11-24T00:00:00Z", "until": "2026-11-23T00:00:00Z"}}}, 200),
])
def test_count_bodies(server, by, body, status):
    assert server.request("POST", f"/events/count-by/{by}", body)[0] == status


def test_states_are_told(server):
    flow = server.api("POST", "/flows/", {"name": "told"})
    run = server.api("POST", "/flow_runs/", {"flow_id": flow["id"], "tags": ["told"]})
    server.api("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}})
    told = wait_for(lambda: (e := stored(server, "prefect.flow-run.Running", resource={"id": [f"prefect.flow-run.{run['id']}"]})) and e[0])
    assert told["payload"]["intended"] == {"from": "PENDING", "to": "RUNNING"} and told["follows"] == run["state_id"]
    related = server.api("POST", "/events/filter", {"filter": {"related": {"id": ["prefect.tag.told"], "role": ["tag"]}}})
    assert related["total"] == 2


# ---- crashes ----

@pytest.fixture
def own(tmp_path):
    """A server of the test's own, that it may kill."""
    s = Server(home=str(tmp_path), env={"MILLPOND_SERVER_MANAGED": "false"})
    yield s
    assert s.stop() == 0, s.tail()


def states_and_events(server):
    """Ids of all flow-run states, and of those of them whose event is stored."""
    states = set()
    for run in server.api("POST", "/flow_runs/filter", {}):
        states |= {s["id"] for s in server.api("GET", f"/flow_run_states/?flow_run_id={run['id']}")}
    page = server.api("POST", "/events/filter", {"filter": {"event": {"prefix": ["prefect.flow-run."]}}})
    events = [e["id"] for e in page["events"]]
    while page["next_page"]:
        page = server.api("GET", page["next_page"][len(server.url):])
        events += [e["id"] for e in page["events"]]
    assert len(events) == len(set(events))
    return states, set(events)


def test_a_kill_loses_no_event(own):
    """States are committed in one database, events in another: what falls between is told after the restart."""
    server = own
    flow = server.api("POST", "/flows/", {"name": "killed"})
    for round in range(3):
        for _ in range(15):
            run = server.api("POST", "/flow_runs/", {"flow_id": flow["id"]})
            server.api("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}})
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.start()
        wait_for(lambda: (lambda s, e: s == e)(*states_and_events(server)))


def test_events_older_than_their_time_go(own):
    server = own
    server.api("POST", "/events", [event("kept", at=now(-6 * 86400)), event("gone", at=now(-8 * 86400))])
    assert server.stop() == 0
    server.start()  # which is one of the times when the old is deleted
    wait_for(lambda: not stored(server, "gone"))
    assert len(stored(server, "kept")) == 1
