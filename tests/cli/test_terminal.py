"""What is different on a terminal: colours, questions, a pager, signs of life after a second. A pseudo-terminal stands in for it."""
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.api.conftest import MILLPOND
from tests.cli.run import Place


@pytest.fixture
def place(slow):
    p = Place(slow.url, MILLPOND)
    p.env |= {"TERM": "xterm", "PAGER": "cat"}
    p.env.pop("COLUMNS")
    yield p
    p.remove()


class Slow:
    """A server that answers after `delay` seconds, and knows thirty deployments."""

    def __init__(self):
        self.delay, self.deleted = 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(outer.delay)
                value = []
                if self.path.endswith("/deployments/filter"):
                    value = [{"id": f"00000000-0000-4000-8000-{i:012}", "name": f"d{i}"} for i in range(30)]
                elif self.path.endswith("/work_pools/p"):
                    value = {"name": "p", "id": "1"}
                if self.command == "DELETE":
                    outer.deleted += 1
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def slow():
    s = Slow()
    yield s
    s.close()


def on_terminal(place, command, typed="", rows=24, columns=100, seconds=20, **env):
    """(what the terminal got, exit status) of a command whose three streams are a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(["bash", "-c", command], stdin=slave, stdout=slave, stderr=slave, cwd=place.path / "work", env=place.env | env,
                               start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    if typed:
        os.write(master, typed.encode())
    got, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    piece = os.read(master, 65536)
                except OSError:
                    break
                if not piece:
                    break
                got += piece
            elif process.poll() is not None:
                break
        else:
            process.kill()
            raise AssertionError(f"{command} does not end: {got!r}")
    finally:
        os.close(master)
    return got.decode("utf-8", "replace").replace("\r\n", "\n"), process.wait(10)


def piped(place, command, **env):
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=place.path / "work", env=place.env | env)
    return done.stdout, done.stderr, done.returncode


def test_colours(place):
    assert "\033[32m* default\033[0m" in on_terminal(place, "millpond profile ls")[0]
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"MILLPOND_CLI_COLORS": "false"}):
        assert "\033" not in on_terminal(place, "millpond profile ls", **env)[0], env
    assert "\033" not in "".join(piped(place, "millpond profile ls; millpond nonsense")[:2])
    assert "\033[31mmillpond: unknown command" in on_terminal(place, "millpond nonsense")[0]


def test_width_is_the_terminals(place):
    text, _ = on_terminal(place, "millpond deployment ls", columns=60)
    assert max(len(re.sub("\033[^m]*m", "", line)) for line in text.splitlines()) == 60


@pytest.mark.parametrize("words,typed,deleted,status", [
    ("work-pool delete p", "n\n", 0, 1), ("work-pool delete p", "y\n", 1, 0), ("work-pool delete p", "what\ny\n", 1, 0), ("work-pool delete p", "\n", 0, 1),
    ("work-pool delete p", "\x04", 0, 1), ("work-pool delete p --yes", "", 1, 0), ("work-pool delete p --no-prompt", "", 1, 0), ("--no-prompt work-pool delete p", "", 1, 0),
])
def test_questions(place, slow, words, typed, deleted, status):
    text, rc = on_terminal(place, f"millpond {words}", typed)
    assert (slow.deleted, rc) == (deleted, status), text
    assert ("[y/n]" in text) == bool(typed), text
    assert ("Please answer" in text) == ("what" in typed)


def test_no_questions_in_a_pipe(place, slow):
    assert piped(place, "millpond work-pool delete p") == ("Deleted work pool 'p'\n", "", 0)
    out, err, rc = piped(place, "millpond --prompt work-pool delete p")
    assert slow.deleted == 1 and rc == 1 and "[y/n]" in out and "without an answer" in err
    out, err, rc = piped(place, "echo y | millpond --prompt work-pool delete p -o json")
    assert slow.deleted == 2 and json.loads(out)["name"] == "p" and "[y/n]" in err


def test_waiting_is_told_after_a_second(place, slow):
    assert "waiting" not in on_terminal(place, "millpond flow ls")[0]
    slow.delay = 2.3
    text, rc = on_terminal(place, "millpond flow ls")
    assert f"waiting for {slow.url} (1 s)" in text and rc == 0
    assert text.rpartition("\r\033[K")[2] == "\033[32mNo flows found.\033[0m\n", "nothing of it is left"
    assert piped(place, "millpond flow ls") == ("No flows found.\n", "", 0)
    assert "waiting" not in on_terminal(place, "millpond flow ls", TERM="dumb")[0]


def test_steps_have_a_bar(place, slow):
    slow.delay = 0.06
    text, rc = on_terminal(place, "millpond deployment delete --all --yes")
    assert rc == 0 and slow.deleted == 30
    assert "Deleting ████" in text and "/30" in text
    assert text.rpartition("\r\033[K")[2].endswith("Deleted 30 deployments.\033[0m\n")
    out, err, _ = piped(place, "millpond deployment delete --all --yes")
    assert (out, err) == ("Deleted 30 deployments.\n", "")


def test_pager(place):
    paged = "sed s/^/PAGED:/"
    assert on_terminal(place, "millpond deployment ls", rows=20, PAGER=paged)[0].count("PAGED:") == 35
    assert "PAGED:" not in on_terminal(place, "millpond deployment ls", rows=60, PAGER=paged)[0]
    assert "PAGED:" in on_terminal(place, "millpond --help", rows=10, PAGER=paged)[0]
    assert "PAGED:" in on_terminal(place, "millpond deployment ls", rows=20, PAGER="cat", MILLPOND_CLI_PAGER=paged)[0]
    for env in ({"MILLPOND_CLI_PAGER": ""}, {"MILLPOND_CLI_PAGER": "cat"}, {"TERM": "dumb"}):
        text, _ = on_terminal(place, "millpond deployment ls", rows=20, **({"PAGER": paged} | env))
        assert "PAGED:" not in text and "d29" in text, env
    text, rc = on_terminal(place, "millpond deployment ls", rows=20, PAGER="no-such-pager 2>/dev/null")
    assert "d29" in text and rc == 0, "where it cannot be started, the output is there all the same"
    assert on_terminal(place, "millpond deployment ls", rows=20, PAGER="head -1 >/dev/null")[1] == 0, "who has seen enough leaves"
    assert "PAGED:" not in on_terminal(place, "prefect deployment ls", rows=20, PAGER=paged)[0]
    assert "PAGED:" not in on_terminal(place, "millpond deployment ls | cat", rows=20, PAGER=paged)[0]
