"""`server database`, on both kinds, with no server and beside one."""
import json
import os
import subprocess

import pytest

from tests.api.conftest import MILLPOND, Server, _clear


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request, tmp_path):
    """(environment, URL or None): a place where no server has been yet."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MILLPOND_HOME": str(tmp_path / "home")}
    url = None
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
        _clear(url)
    return env, url


def run(kind, *words, stdin=subprocess.DEVNULL, text=None):
    env, url = kind
    command = [MILLPOND, *words] + (["--database", url] if url and "start" not in words else [])
    return subprocess.run(command, env=env, cwd=env["HOME"], stdin=None if text is not None else stdin, input=text, capture_output=True, text=True, timeout=60)


def state(kind):
    done = run(kind, "server", "database", "current", "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_life(kind):
    env, url = kind
    before = state(kind)
    assert not before["exists"] and before["pending"] == len(before["migrations"]) >= 2
    assert "no database yet" in run(kind, "server", "database", "current").stdout
    assert not os.path.exists(env["MILLPOND_HOME"]), "looking makes nothing"
    sql = run(kind, "server", "database", "upgrade", "--dry-run").stdout
    assert "CREATE TABLE flow_run " in sql and "-- telemetry: 0001_init" in sql
    assert not state(kind)["exists"], "a dry run makes nothing"
    assert run(kind, "server", "database", "upgrade").stderr == "millpond: nobody can be asked here: give --yes\n"
    done = run(kind, "server", "database", "upgrade", "--yes")
    assert done.returncode == 0 and done.stdout.startswith("Migrations succeeded!"), done.stderr
    after = state(kind)
    assert after["exists"] and after["pending"] == 0 and all(m["applied"] for m in after["migrations"])
    assert "has all migrations" in run(kind, "server", "database", "upgrade").stdout
    assert "not yet" not in run(kind, "server", "database", "history").stdout

    server = Server(url, home=env["MILLPOND_HOME"], env={"MILLPOND_SERVER_MANAGED": "false"})
    try:
        server.api("POST", "/flows/", {"name": "kept"})
        assert state(kind)["pending"] == 0, "looking works beside a server"
        if not url:
            done = run(kind, "server", "database", "reset", "--yes")
            assert done.returncode == 1 and "in use by another millpond" in done.stderr
        assert len(server.api("POST", "/flows/filter", {})) == 1
    finally:
        assert server.stop() == 0

    assert run(kind, "server", "database", "reset").returncode == 1
    refused = run(kind, "--prompt", "server", "database", "reset", text="n\n")
    assert refused.returncode == 1 and "Database reset aborted!" in refused.stderr
    assert run(kind, "--prompt", "server", "database", "reset", text="y\n").returncode == 0
    server = Server(url, home=env["MILLPOND_HOME"], env={"MILLPOND_SERVER_MANAGED": "false"})
    try:
        assert server.api("POST", "/flows/filter", {}) == []
    finally:
        assert server.stop() == 0


def test_password_is_covered(tmp_path):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MILLPOND_HOME": str(tmp_path)}
    done = run((env, "postgresql://me:hush@127.0.0.1:1/x"), "server", "database", "current")
    assert done.returncode == 1 and "hush" not in done.stderr + done.stdout


def test_what_is_no_database(tmp_path):
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MILLPOND_HOME": str(tmp_path)}
    (tmp_path / "millpond.db").write_text("this is no database" * 100)
    done = run((env, None), "server", "database", "current")
    assert done.returncode == 1 and "not a database" in done.stderr
    assert run((env, None), "server", "database", "reset", "--yes").returncode == 0
    assert state((env, None))["pending"] == 0
    assert "head is the only one" in run((env, None), "server", "database", "upgrade", "-r", "abc").stderr
    assert "copy of the database" in run((env, None), "server", "database", "downgrade").stderr
