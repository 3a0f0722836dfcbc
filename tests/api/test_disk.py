"""The disk is full, read-only or failing: writes are refused with a clear answer, reads go on, and with the disk everything comes back
without a restart."""
import errno
import json
import os
import re
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from tests.api.badday import badday, server_on  # noqa: F401 (a fixture)
from tests.api.conftest import MILLPOND, Server, wait_for
from tests.api.test_kill import check, load


def refused(answer, word):
    status, headers, text = answer
    assert status == 503, (status, text)
    assert headers["Retry-After"]
    said = json.loads(text)
    assert re.search(word, said["exception_message"]), said
    assert "/" not in said["exception_message"], "paths are the log's, not a client's"


@pytest.mark.parametrize("error, where, word", [
    (errno.ENOSPC, "write", "disk.* full"),
    (errno.EROFS, "write", "read-only|cannot be written"),
    (errno.EIO, "write", "disk|cannot be written"),
    (errno.EIO, "sync", "disk|cannot be written"),
    (errno.EDQUOT, "write", "disk|cannot be written"),
])
def test_disk_fails_under_load(badday, error, where, word):  # noqa: F811
    server = server_on(badday)
    try:
        before = server.api("POST", "/flows/", {"name": "before"})["id"]
        with load(server, "failing") as writers:
            time.sleep(0.3)
            badday.fail(**{where: error})
            time.sleep(0.3)
            refused(server.request("POST", "/flows/", {"name": "no"}), word)
            refused(server.request("POST", "/logs/", [{"name": "n", "level": 20, "message": "m", "timestamp": "2024-01-01T00:00:00Z"}]), word)
            assert server.api("GET", f"/flows/{before}")["name"] == "before"
            assert server.api("POST", "/flows/filter", {"flows": {"name": {"any_": ["no"]}}}) == []
            assert server.api("GET", "/health") is True
            badday.well()
            wait_for(lambda: server.request("POST", "/flows/", {"name": "well"})[0] in (200, 201), 10, 0.05)
            done = {w: len(w.acknowledged) for w in writers}
            wait_for(lambda: all(len(w.acknowledged) > n + 3 for w, n in done.items()), 10, 0.05)
        assert all(status == 503 for w in writers for _, status, _ in w.refused), [r for w in writers for r in w.refused if r[1] != 503][:3]
        check_lives(server, writers)
        server.kill()
        badday.well()
        server.start()
        check_lives(server, writers)
        # what a state's event could not be stored for a while is told all the same
        ids = [i for w in writers for s in w.acknowledged.values() for i, _ in s]
        assert len(ids) > 20
    finally:
        server.stop()


def check_lives(server, writers):
    """As check(), but what was refused may have been followed by nothing: a life that a 503 ended."""
    check(server, writers, unanswered_may_be_there=True)


def test_telemetry_alone_is_full(badday):  # noqa: F811
    """Logs are refused; runs go on, and their events are there afterwards."""
    server = server_on(badday)
    try:
        badday.fail(write=errno.ENOSPC, match="telemetry")
        with load(server, "quiet") as writers:
            time.sleep(0.5)
            refused(server.request("POST", "/logs/", [{"name": "n", "level": 20, "message": "m", "timestamp": "2024-01-01T00:00:00Z"}]), "full")
            refused(server.request("POST", "/events", [{"occurred": "2024-01-01T00:00:00Z", "event": "e", "id": str(uuid.uuid4()),
                                                        "resource": {"prefect.resource.id": "r"}}]), "full")
        assert not any(w.refused for w in writers), [w.refused[:1] for w in writers]
        ids = check(server, writers, unanswered_may_be_there=False)
        assert len(ids) > 20
        badday.well()
        from tests.api.test_kill import event_ids
        found = wait_for(lambda: (f := event_ids(server, ids)).keys() == set(ids) and f, 20, 0.2)
        assert set(found.values()) == {1}
        assert server.request("POST", "/logs/", [{"name": "n", "level": 20, "message": "m", "timestamp": "2024-01-01T00:00:00Z"}])[0] == 201
    finally:
        assert server.stop() == 0, server.tail()


def test_log_file_full():
    server = Server(None, "--no-managed", "--log-level", "debug", "--log-file", "/dev/full")
    try:
        for n in range(20):
            server.api("POST", "/flows/", {"name": f"f{n}"})
            server.request("GET", "/nothing/here")
    finally:
        assert server.stop() == 0


def start_fails(home, *args, env=None, preload=None):
    """What it says when it does not start."""
    e = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {"MILLPOND_HOME": str(home)} | (env or {})
    r = subprocess.run([MILLPOND, "server", "start", "--port", "0", "--no-managed", *args], env=e, capture_output=True, text=True, timeout=30)
    assert r.returncode > 0 and "listens" not in r.stdout, r
    lines = [line for line in r.stderr.strip().splitlines() if line]
    assert lines, "it ended without a word"
    return lines[-1]


def test_start_on_a_full_disk(badday):  # noqa: F811
    home = tempfile.mkdtemp(prefix="millpond-full-")
    badday.fail(write=errno.ENOSPC, match=home)
    assert re.search("full|No space", start_fails(home, env=badday.env))
    badday.well()
    server = server_on(badday, home=home)  # what the attempt left behind does not keep it from starting
    server.api("POST", "/flows/", {"name": "f"})
    assert server.stop() == 0


@pytest.mark.parametrize("what", ["folder", "file", "disk"])
def test_read_only_at_start(what):
    home = Path(tempfile.mkdtemp(prefix="millpond-ro-"))
    server = Server(None, "--no-managed", home=str(home))
    flow = server.api("POST", "/flows/", {"name": "f"})["id"]
    assert server.stop() == 0
    undo = []
    if what == "disk" or os.geteuid() == 0:  # root is above permissions: a mount is not
        target = home if what != "file" else home / "millpond.db"
        if subprocess.run(["mount", "--bind", target, target], capture_output=True).returncode:
            pytest.skip("left out: a read-only disk (no right to mount)")
        undo.append(["umount", "-l", target])
        subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
    else:
        (home if what == "folder" else home / "millpond.db").chmod(0o500 if what == "folder" else 0o400)
        undo.append(["chmod", "u+w", home if what == "folder" else home / "millpond.db"])
    try:
        assert re.search("[Rr]ead-only|Permission", start_fails(home)), what
    finally:
        for command in undo:
            subprocess.run(command, check=True)
    server = Server(None, "--no-managed", home=str(home))
    assert server.api("GET", f"/flows/{flow}")["name"] == "f"
    assert server.stop() == 0


def test_broken_file_at_start():
    home = Path(tempfile.mkdtemp(prefix="millpond-broken-"))
    (home / "millpond.db").write_bytes(b"this is no database, whatever its name says " * 200)
    assert "not a database" in start_fails(home)
    (home / "millpond.db").write_bytes(b"")
    server = Server(None, "--no-managed", home=str(home))
    assert server.stop() == 0
