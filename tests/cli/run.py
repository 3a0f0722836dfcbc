#!/usr/bin/env python3
"""Transcripts: commands and what they print, at a fixed width, run again and compared.

    run.py [--update] FILE…      against the server at MILLPOND_API_URL (default http://127.0.0.1:4200/api)

A file holds `$ command` lines (bash; `millpond` and `prefect` are the program's two names), each followed by all that
it printed and its exit status in brackets. Lines beginning with `#` are for the reader. Ids, times, ports and paths are masked
before comparing, an id by as many characters, so that tables keep their shape; `# unmasked` ends that for the rest of a file.
`# needs /path/filter` leaves a file out where the server has no such list. `--update` writes what is printed now.

Commands of a file share a home folder and a working directory, both empty at first, and run in order."""
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASKS = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
    (re.compile(r"\b[0-9a-f]{5}[0-9a-f-]*…"), lambda m: "x" * (len(m.group()) - 1) + "…"),
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00"), "YYYY-MM-DD HH:MM:SS.ssssss+00:00"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"), "YYYY-MM-DDTHH:MM:SSZ"),
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?"), "YYYY-MM-DD HH:MM:SS"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "HH:MM:SS.sss"),
    (re.compile(r"\d+ seconds ago"), "a few seconds ago"),
    (re.compile(r"127\.0\.0\.1:\d{4,5}"), "HOST"),
    (re.compile(r"/tmp/millpond-transcript-\w+"), "HOME"),
]


def mask(text):
    for pattern, instead in MASKS:
        text = pattern.sub(instead, text)
    return text


class Place:
    """A home, a working directory, the program's two names, and an environment without settings of its own."""

    def __init__(self, url, program, env=None):
        self.path = Path(tempfile.mkdtemp(prefix="millpond-transcript-"))
        for folder in ("home", "work", "bin"):
            (self.path / folder).mkdir()
        for name in ("millpond", "prefect"):
            (self.path / "bin" / name).symlink_to(Path(program).resolve())
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MILLPOND_", "XDG_"))}
        for name in ("NO_COLOR", "FORCE_COLOR", "LINES"):
            self.env.pop(name, None)
        self.env |= {"HOME": str(self.path / "work"), "MILLPOND_HOME": str(self.path / "home"), "MILLPOND_API_URL": url, "COLUMNS": "100", "TERM": "xterm", "TZ": "UTC",
                     "LC_ALL": "C.UTF-8", "PATH": f"{self.path / 'bin'}:{self.env.get('PATH', '/usr/bin:/bin')}"}
        self.env |= env or {}

    def run(self, command):
        """What it printed, errors too, and the status line."""
        done = subprocess.run(["bash", "-c", command], cwd=self.path / "work", env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        out = done.stdout.decode("utf-8", "replace")
        if out and not out.endswith("\n"):
            out += "\n"
        return f"{out}[{done.returncode}]\n"

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def replay(text, place):
    """The transcript as it comes out now."""
    out, masked = [], True
    for line in text.splitlines():
        if line.startswith("#"):
            out.append(line + "\n")
            masked = masked and line != "# unmasked"
        elif line.startswith("$ "):
            printed = place.run(line[2:])
            out.append(line + "\n" + (mask(printed) if masked else printed))
    return "".join(out).rstrip("\n") + "\n"


def missing(text, url):
    """The list that a file needs and the server does not have; None where it has all."""
    for needed in re.findall(r"^# needs (\S+)$", text, re.M):
        request = urllib.request.Request(url + needed, data=b'{"limit": 1}', method="POST", headers={"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return needed
    return None


def difference(path, url, program, update=False, env=None):
    """The lines by which a file differs from what comes out; "" where it does not."""
    expected = path.read_text()
    place = Place(url, program, env)
    try:
        actual = replay(expected, place)
    finally:
        place.remove()
    if update and actual != expected:
        path.write_text(actual)
    return "".join(difflib.unified_diff(expected.splitlines(True), actual.splitlines(True), str(path), "now"))


def main():
    update = "--update" in sys.argv
    url = os.environ.get("MILLPOND_API_URL", "http://127.0.0.1:4200/api")
    program = os.environ.get("MILLPOND", str(ROOT / "build" / "millpond"))
    bad = 0
    for name in [a for a in sys.argv[1:] if not a.startswith("--")]:
        needed = missing(Path(name).read_text(), url)
        if needed:
            print(f"left out: {name} needs {needed}")
            continue
        diff = difference(Path(name), url, program, update)
        bad += bool(diff)
        sys.stdout.write(diff)
    return 0 if update else bool(bad)


if __name__ == "__main__":
    sys.exit(main())
