"""The sealing key is the database's: a server with another one says so and does not start."""
import os
import secrets
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, Server, _clear

FIELDS = {"title": "Thing", "type": "object", "block_type_slug": "thing", "block_schema_references": {}, "secret_fields": ["key"],
          "properties": {"key": {"type": "string", "format": "password", "writeOnly": True}}}


def refused(home, database, *args, env=None):
    """Its line on stderr."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_"))} | {"MILLPOND_HOME": str(home)} | (env or {})
    command = [MILLPOND, "server", "start", "--port", "0", "--no-managed", *args] + (["--database", database] if database else [])
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1 and "listens" not in ended.stdout, ended
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


def make_secret(server):
    type = server.api("POST", "/block_types/", {"name": "Thing", "slug": "thing"})["id"]
    schema = server.api("POST", "/block_schemas/", {"block_type_id": type, "fields": FIELDS, "capabilities": [], "version": "1"})["id"]
    return server.api("POST", "/block_documents/", {"name": "doc", "block_type_id": type, "block_schema_id": schema, "data": {"key": "sesame"}})["id"]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request):
    if request.param == "sqlite":
        return None
    url = request.getfixturevalue("postgres")
    request.addfinalizer(lambda: _clear(url))
    _clear(url)
    return url


@pytest.fixture
def kept(database):
    """A server that was used and stopped: its home, and the id of a block document."""
    server = Server(database, "--no-managed", own_key=True)
    document = make_secret(server)
    assert server.stop() == 0
    yield server, document
    server.stop()


def test_replaced_key(database, kept):
    server, document = kept
    key = Path(server.home) / "seal.key"
    right = key.read_text()
    for wrong in (secrets.token_hex(32), None):  # another one, and none: a new one is made
        key.unlink()
        if wrong:
            key.write_text(wrong)
            key.chmod(0o600)
        line = refused(server.home, database)
        assert str(key) in line and "--forget-secrets" in line, line
    line = refused(server.home, database, env={"MILLPOND_SEAL_KEY": secrets.token_hex(32)})
    assert "MILLPOND_SEAL_KEY is not" in line, line
    key.write_text(right)
    server.start()
    assert server.api("GET", f"/block_documents/{document}?include_secrets=true")["data"]["key"] == "sesame"


def test_two_servers(postgres, request):
    """On one PostgreSQL database, each with a key that it made itself."""
    _clear(postgres)
    request.addfinalizer(lambda: _clear(postgres))
    first = Server(postgres, "--no-managed", own_key=True)
    try:
        document = make_secret(first)
        home = tempfile.mkdtemp(prefix="millpond-test-")
        line = refused(home, postgres)
        assert f"{home}/seal.key" in line, line
        assert refused(home, postgres) == line, "the second time it must not think better of it"
        (Path(home) / "seal.key").write_text((Path(first.home) / "seal.key").read_text())
        second = Server(postgres, "--no-managed", home=home, own_key=True)
        try:
            assert second.api("GET", f"/block_documents/{document}?include_secrets=true")["data"]["key"] == "sesame"
        finally:
            second.stop()
    finally:
        assert first.stop() == 0


def test_lost_key(database, kept):
    server, document = kept
    (Path(server.home) / "seal.key").unlink()
    server.args = ("--no-managed", "--forget-secrets")
    server.start()
    assert server.request("GET", f"/block_documents/{document}")[0] == 404
    assert "documents=1" in server.tail()
    assert server.stop() == 0
    server.args = ("--no-managed",)  # from now on the new one is the right one
    server.start()
    assert server.request("GET", f"/block_documents/{document}")[0] == 404
    assert server.stop() == 0


def test_database_without_check(database, kept):
    """One of an earlier release: its documents tell."""
    server, document = kept
    if database:
        subprocess.run(["psql", database, "-qc", "DELETE FROM millpond.configuration WHERE key = 'seal_key_check'"], check=True)
    else:
        import sqlite3
        with sqlite3.connect(Path(server.home) / "millpond.db") as c:
            assert c.execute("DELETE FROM configuration WHERE key = 'seal_key_check'").rowcount == 1
    key = Path(server.home) / "seal.key"
    right = key.read_text()
    key.write_text(secrets.token_hex(32))
    refused(server.home, database)
    key.write_text(right)
    server.start()
    assert server.api("GET", f"/block_documents/{document}?include_secrets=true")["data"]["key"] == "sesame"
