"""How instants may be written: one way in all of the API. What is none of them is refused, and never becomes "now"."""
import uuid

import pytest

# what is sent → what it means; checked against the reference, which takes these alike
GOOD = {
    "2024-01-01": "2024-01-01T00:00:00Z", "2024-01-01T00:00": "2024-01-01T00:00:00Z", "2024-01-01 00:00:00Z": "2024-01-01T00:00:00Z",
    "2024-01-01t00:00:00z": "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.1234567Z": "2024-01-01T00:00:00.123456Z",
    "2024-01-01T00:00:00,5Z": "2024-01-01T00:00:00.500000Z", "2024-01-01T00:00:00-00:00": "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00+05:30": "2023-12-31T18:30:00Z",
    1000000000: "2001-09-09T01:46:40Z", 1000000000.123456: "2001-09-09T01:46:40.123456Z", "1000000000": "2001-09-09T01:46:40Z",
    "1000000000.5": "2001-09-09T01:46:40.500000Z", "-1000000000": "1938-04-24T22:13:20Z", "+1000000000": "2001-09-09T01:46:40Z",
    "0": "1970-01-01T00:00:00Z", ".5": "1970-01-01T00:00:00.500000Z", "5.": "1970-01-01T00:00:05Z",
    # past 2e10 milliseconds are meant
    20000000000: "2603-10-11T11:33:20Z", 20000000001: "1970-08-20T11:33:20.001000Z", "1700000000000": "2023-11-14T22:13:20Z",
    -20000000001: "1969-05-14T12:26:39.999000Z", 253402300799000: "9999-12-31T23:59:59Z",
}
# the last ones the reference takes: as an instant that nobody meant, or with a 500 later on
BAD = ["1e9", "1E9", " 1000000000 ", "1e400", "nan", "inf", "", "0x10", "1_000", "--5", ".", "2024-1-1", "2024-02-30", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z",
       "2024-01-01T00:00:00 Z", "2024-01-01T00:00:00+24:00", 253402300800000, 1e15, 1e20, 1e300, True, [], {}, "yesterday",
       "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "now"]


@pytest.fixture(scope="module")
def flow(server):
    return server.api("POST", "/flows/", {"name": "f"})["id"]


@pytest.fixture(scope="module")
def deployment(server, flow):
    return server.api("POST", "/deployments/", {"name": "d", "flow_id": flow})["id"]


def run_at(flow, value):
    return {"flow_id": flow, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": value}}}


def test_meaning(server, flow):
    for value, means in GOOD.items():
        run = server.api("POST", "/flow_runs/", run_at(flow, value))
        assert run["next_scheduled_start_time"] == run["state"]["state_details"]["scheduled_time"] == means, value


def places(deployment):
    """(method, path, body with "@" for the time)"""
    yield "POST", "/flow_runs/filter", {"flow_runs": {"start_time": {"before_": "@"}}}
    yield "POST", "/flow_runs/count", {"flow_runs": {"expected_start_time": {"after_": "@"}}}
    yield "POST", "/flow_runs/history", {"history_start": "@", "history_end": "2030-01-01T00:00:00Z", "history_interval_seconds": 3600 * 24 * 365}
    yield "POST", "/deployments/get_scheduled_flow_runs", {"deployment_ids": [], "scheduled_before": "@"}
    yield "POST", f"/deployments/{deployment}/schedule", {"start_time": "@"}
    yield "POST", "/ui/task_runs/dashboard/counts", {"task_runs": {"start_time": {"after_": "@"}}}
    yield "POST", "/logs/", [{"name": "l", "level": 20, "message": "m", "timestamp": "@"}]
    yield "POST", "/logs/filter", {"logs": {"timestamp": {"after_": "@"}}}
    yield "POST", "/events", [{"id": str(uuid.uuid4()), "occurred": "@", "event": "e", "resource": {"prefect.resource.id": "r"}}]
    yield "POST", "/events/filter", {"filter": {"occurred": {"since": "@", "until": "2030-01-01T00:00:00Z"}}}


def put(body, value):
    if isinstance(body, dict):
        return {k: put(v, value) for k, v in body.items()}
    return [put(v, value) for v in body] if isinstance(body, list) else value if body == "@" else body


def test_everywhere(server, flow, deployment):
    for method, path, body in places(deployment):
        for value in ("2024-01-01", "1700000000", 1700000000.5, "1700000000000"):
            status, _, text = server.request(method, path, put(body, value))
            assert status < 300, (path, value, text)
        for value in BAD:
            status, _, text = server.request(method, path, put(body, value))
            assert status == 422, (path, value, status, text[:300])


def test_nothing_is_made(server, flow):
    before = server.api("POST", "/flow_runs/count", {})
    for value in BAD:
        status, _, text = server.request("POST", "/flow_runs/", run_at(flow, value))
        assert status == 422 and b"scheduled_time" in text, (value, status, text[:300])
    assert server.api("POST", "/flow_runs/count", {}) == before
