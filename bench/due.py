"""Many cron schedules: how late each slot's run is handed to the worker that waits for it, and that each slot has one run.

Schedules fall due a given number a second. What plays the worker listens on the pool's wake socket, asks for what is scheduled and
claims each run with PENDING, as workers do; a slot's lateness is from its instant to the answer that has its run."""
import collections
import datetime
import json
import selectors
import socket
import time

from size import open_socket


class Pipe:
    """Kept connections on which requests are sent one behind the other without waiting for answers."""

    def __init__(self, server, n):
        self.host, port = server.url.removeprefix("http://").split(":")
        self.selector, self.conns = selectors.DefaultSelector(), []
        for _ in range(n):
            s = socket.create_connection((self.host, int(port)), timeout=60)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.conns.append([s, b"", 0])
            self.selector.register(s, selectors.EVENT_READ, self.conns[-1])
        self.turn = 0

    def send(self, path, body):
        data = json.dumps(body).encode()
        c = self.conns[self.turn]
        self.turn = (self.turn + 1) % len(self.conns)
        c[2] += 1
        c[0].sendall(f"POST /api{path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    def waiting(self):
        return sum(c[2] for c in self.conns)

    def answers(self, timeout):
        """(status, body) of those that have come."""
        for key, _ in self.selector.select(timeout):
            c = key.data
            got = c[0].recv(1 << 20)
            if not got:
                raise RuntimeError("the server closed a connection")
            c[1] += got
            while (end := c[1].find(b"\r\n\r\n")) >= 0:
                head = c[1][:end].decode()
                length = int(next(x.split(":")[1] for x in head.split("\r\n") if x.lower().startswith("content-length")))
                if len(c[1]) < end + 4 + length:
                    break
                body, c[1] = c[1][end + 4:end + 4 + length], c[1][end + 4 + length:]
                c[2] -= 1
                yield int(head.split()[1]), body

    def finish(self, most):
        while self.waiting() > most:
            for status, body in self.answers(60):
                if status >= 300:
                    raise RuntimeError(f"{status} {body[:300]!r}")


def measure_due(server, schedules, seconds):
    """A fifth of the schedules fire each minute, the others each second minute: a hundredth of all in each second."""
    server.api("POST", "/work_pools/", {"name": "due", "type": "process"})
    flow = server.api("POST", "/flows/", {"name": "due"})["id"]
    pipe, begun = Pipe(server, 16), time.monotonic()
    for i in range(schedules):
        minute = "*" if i % 5 == 0 else f"{i // 60 % 2}-59/2"
        pipe.send("/deployments/", {"name": f"due-{i}", "flow_id": flow, "work_pool_name": "due",
                                    "schedules": [{"active": True, "schedule": {"cron": f"{minute} * * * * {i % 60}", "timezone": "UTC"}}]})
        if pipe.waiting() > 256:
            pipe.finish(128)
    pipe.finish(0)
    made = time.monotonic() - begun
    until = time.monotonic() + 600
    while server.api("POST", "/flow_runs/count", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}) < 2 * schedules:
        if time.monotonic() > until:
            raise RuntimeError("the schedules' runs were not made")
        time.sleep(1)
    wake = open_wake(server)
    late, slots, claimed = [], collections.Counter(), set()
    patience, measured_from = time.time() + 300, None  # what fell due while the deployments were made is claimed first
    asks = Pipe(server, 1)
    ask = True
    while not measured_from or time.time() < measured_from + seconds:
        if time.time() > patience + seconds:
            raise RuntimeError("what is due is not caught up with")
        if ask and not asks.waiting() and not pipe.waiting():
            asks.send("/work_pools/due/get_scheduled_flow_runs", {"scheduled_before": datetime.datetime.now(datetime.timezone.utc).isoformat(), "limit": 200})
            ask = False
        for status, body in asks.answers(0.002):
            now = time.time()
            if status != 200:
                raise RuntimeError(f"{status} {body[:300]!r}")
            runs = json.loads(body)
            if not measured_from and len(runs) < 200:
                measured_from = now + 3
            for r in runs:
                run = r["flow_run"]
                if run["id"] in claimed:
                    continue
                claimed.add(run["id"])
                slots[run["deployment_id"], run["expected_start_time"]] += 1
                due = datetime.datetime.fromisoformat(run["next_scheduled_start_time"]).timestamp()
                if measured_from and due >= measured_from:
                    late.append((now - due) * 1000)
                pipe.send(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "PENDING"}})
            ask = ask or len(runs) >= 200
        for status, body in pipe.answers(0):
            if status != 201:
                raise RuntimeError(f"{status} {body[:300]!r}")
        wake.setblocking(False)
        try:
            ask = bool(wake.recv(65536)) or ask
        except BlockingIOError:
            pass
    late.sort()
    return {"schedules": schedules, "made_per_second": schedules / made, "due_per_second": len(late) / seconds, "p50_ms": late[len(late) // 2],
            "p99_ms": late[int((len(late) - 1) * 0.99)], "most_ms": late[-1], "twice": sum(n > 1 for n in slots.values())}


def open_wake(server):
    return open_socket(server, "/millpond/wake")
