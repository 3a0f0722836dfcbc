"""Events and sockets, as several tests need them."""
import json
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from websockets.sync.client import connect


def iso(at):
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def now(seconds=0):
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def event(name="test.event", resource="thing.1", at=None, **more):
    labels = {"prefect.resource.id": resource} | more.pop("labels", {})
    return {"id": str(uuid.uuid4()), "occurred": iso(at or now()), "event": name, "resource": labels, "related": [], "payload": {}} | more


@contextmanager
def socket(server, path, token=None, auth=True, **options):
    """An open socket; with `auth` the handshake is done."""
    options.setdefault("subprotocols", ["prefect"])
    options.setdefault("max_size", None)
    with connect(server.url.replace("http", "ws", 1) + path, **options) as ws:
        if auth:
            ws.send(json.dumps({"type": "auth", "token": token}))
            assert json.loads(ws.recv(10)) == {"type": "auth_success"}
        yield ws


def receive(ws, seconds=10):
    return json.loads(ws.recv(seconds))


def stored(server, name, **filter):
    return server.api("POST", "/events/filter", {"filter": {"event": {"name": [name]}, "order": "ASC"} | filter})["events"]
