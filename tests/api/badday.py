"""A server whose clock can be set and whose disk can fail (tests/preload/badday.c); one on a small disk."""
import errno
import mmap
import os
import struct
import tempfile
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, Server

PRELOAD = Path(MILLPOND).resolve().parent / "tests/preload/badday.so"
DAY = 86400


class BadDay:
    """The control file. `fail(errno.ENOSPC)`: writes to files whose path has `match` in it fail from now on; `well()`: all is well."""

    def __init__(self):
        if not PRELOAD.exists():
            pytest.skip("left out: clock and disk that go wrong (the build has no tests/preload/badday.so: sanitizers)")
        self.path = tempfile.mkstemp(prefix="millpond-badday-")[1]
        with open(self.path, "r+b") as f:
            f.truncate(4096)
            self.memory = mmap.mmap(f.fileno(), 4096)
        self.env = {"LD_PRELOAD": str(PRELOAD), "BADDAY_CONTROL": self.path}

    def fail(self, write=0, sync=0, match="millpond"):
        self.memory[24:280] = match.encode().ljust(256, b"\0")
        self.memory[8:16] = struct.pack("=ii", write, sync)

    def well(self):
        self.memory[8:16] = bytes(8)

    def set_clock(self, seconds):
        """So much ahead of the true time, or behind it."""
        self.memory[0:8] = struct.pack("=q", int(seconds * 1e6))

    def kill_at_sync(self, n, match="millpond"):
        self.memory[24:280] = match.encode().ljust(256, b"\0")
        self.memory[16:24] = struct.pack("=q", n)


@pytest.fixture
def badday():
    b = BadDay()
    yield b
    b.memory.close()
    os.unlink(b.path)


def server_on(badday, database=None, **more):
    return Server(database, "--no-managed", env=badday.env, **more)


__all__ = ["BadDay", "badday", "server_on", "DAY", "errno"]
