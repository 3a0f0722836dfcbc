"""The published clients where the server asks who they are, and for tokens against forged requests; and where one knows neither."""
import base64
import json

import pytest

from tests.api.conftest import Server, wait_for
from tests.compat.clients import OLD_PEER, PEER, script

AUTH = "somebody:a long: word"
SEEN = {"Authorization": "Basic " + base64.b64encode(AUTH.encode()).decode()}
CSRF = {"MILLPOND_SERVER_MANAGED": "false", "MILLPOND_SERVER_API_CSRF_PROTECTION_ENABLED": "true"}


@pytest.fixture(scope="module")
def locked():
    s = Server(env=CSRF | {"MILLPOND_SERVER_API_AUTH_STRING": AUTH})
    yield s
    assert s.stop() == 0, s.tail()


@pytest.fixture(scope="module")
def guarded():
    s = Server(env=CSRF)
    yield s
    assert s.stop() == 0, s.tail()


@pytest.fixture(scope="module")
def programs(locked, guarded):
    all = {"known": script(locked, "small", PREFECT_API_AUTH_STRING=AUTH), "wrong": script(locked, "small", PREFECT_API_AUTH_STRING="somebody:else"), "nobody": script(locked, "small"),
           "without": script(guarded, "small", PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="false")}
    if (OLD_PEER / "prefect").exists():
        all["older"] = script(guarded, "small", peer=OLD_PEER)
        all["older without"] = script(guarded, "small", peer=OLD_PEER, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="false")
    yield all
    for p in all.values():
        p.stop()


def ended(server, id, headers):
    def told():
        run = json.loads(server.request("GET", f"/flow_runs/{id}", headers=headers)[2])
        # what 3.x sends over its socket comes a little later
        asked = csrf(server, headers)
        tasks = json.loads(server.request("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [id]}}}, headers=headers | asked)[2])
        return run["state_type"] == "COMPLETED" and [t["state_type"] for t in tasks] == ["COMPLETED"]
    return wait_for(told)


def csrf(server, headers):
    token = json.loads(server.request("GET", "/csrf-token?client=the-test", headers=headers)[2])["token"]
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "the-test"}


def test_who_is_known(locked, programs):
    assert ended(locked, programs["known"].end().split()[-1], SEEN)


def test_who_is_not(locked, programs):
    for name in ("wrong", "nobody"):
        programs[name].end(expect=1)
        assert "401" in programs[name].text() or "Unauthorized" in programs[name].text(), programs[name].text()[-2000:]
    asked = csrf(locked, SEEN)
    assert json.loads(locked.request("POST", "/flow_runs/count", {}, headers=SEEN | asked)[2]) == 1, "only the known one's"


def test_tokens(guarded, programs):
    programs["without"].end(expect=1)
    assert "403" in programs["without"].text(), programs["without"].text()[-2000:]
    if "older" not in programs:
        pytest.skip("left out: the published client 2.19.9 is not installed")
    assert ended(guarded, programs["older"].end().split()[-1], {})
    programs["older without"].end(expect=1)
    assert "403" in programs["older without"].text()
    assert json.loads(guarded.request("POST", "/flow_runs/count", {}, headers=csrf(guarded, {}))[2]) == 1
