#!/usr/bin/env python3
"""Holds the layers: a folder of src/ includes headers only from itself and from the folders before it."""
import re
import sys
from pathlib import Path

ORDER = [["base"], ["json", "loop"], ["db", "http"], ["assets"], ["model"], ["schedule", "schema"], ["store"],
         ["orchestration"], ["events"], ["services"], ["api"]]
# These speak HTTP with a server, whoever runs it, and never see its store.
CLIENTS = {"worker": {"base", "json", "loop", "http", "schema", "assets", "worker"},
           "cli": {"base", "json", "loop", "http", "schema", "schedule", "assets", "worker", "cli"}}
# A command starts the server; nothing else of it is known there.
DOORS = {"api/server_main.h", "api/database.h"}
THIRD_PARTY = re.compile(r"#include <(microhttpd|uv|wslay|curl|sqlite3|libpq|libical|sodium|seccomp|pcre2)")


def allowed(folder):
    if folder in CLIENTS:
        return CLIENTS[folder]
    seen = set()
    for rank in ORDER:
        seen.update(rank)
        if folder in rank:
            return seen
    return None


def main():
    root = Path(__file__).resolve().parent.parent / "src"
    wrong, shared, own = [], set(), {}
    for path in sorted(root.rglob("*.[ch]")):
        folder = path.relative_to(root).parts[0] if path.parent != root else None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            if path.suffix == ".h" and THIRD_PARTY.match(line):
                own[str(path.relative_to(root))] = where
            m = re.match(r'#include "(([a-z]+)/[^"]+)"', line)
            if not m or folder is None or m.group(1) in DOORS:
                continue
            if m.group(2) != folder:
                shared.add(m.group(1))
            may = allowed(folder)
            if may is None:
                wrong.append(f"{where}: the folder {folder} is in no layer")
            elif m.group(2) not in may:
                wrong.append(f"{where}: {folder} may not include {m.group(2)}")
    # a header that only its own folder includes may say what its library says
    wrong += [f"{where}: a library's header in what other folders include" for h, where in own.items() if h in shared]
    print("\n".join(wrong) or "layers hold")
    sys.exit(bool(wrong))


main()
