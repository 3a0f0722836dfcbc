"""Our table of commands against the field's own: every command that speaks to the API, its names, arguments and options."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.api.conftest import MILLPOND, ROOT

FIELD = Path(ROOT) / "tests" / "data" / "field-commands.txt"

# What is not ours to have, by the first words, and why.
OTHERS = {
    "cloud": "of the hosted service alone",
    "dev": "for people who work on that project's own source",
}


# What is still to come; this list only shrinks.
LATER = {"experimental", "shell", "transfer",
         "api"}


def tree(tmp_path=None):
    env = {"PATH": os.environ["PATH"], "MILLPOND_HOME": str(tmp_path or "/nonexistent")}
    done = subprocess.run([MILLPOND, "reference", "tree"], env=env, cwd=tmp_path or "/", check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def leaves(node, path=()):
    """(path, command) of all that can be run."""
    for sub in node.get("commands", []):
        here = path + (sub["names"][0],)
        if "args" in sub:
            yield here, sub
        yield from leaves(sub, here)


def find(node, words):
    for word in words:
        subs = [s for s in node.get("commands", []) if word in s["names"]]
        if not subs:
            return None
        node = subs[0]
    return node


def same(name):
    return name.replace("_", "-").lower()


def option_fault(node, text):
    """Why our command does not take an option that the line has; None where it does."""
    body, _, off = text.partition("|")
    required = body.endswith(":required")
    body = body.removesuffix(":required")
    flag, many = body.endswith("!"), body.endswith("*")
    names, _, kind = body.rstrip("!*").partition(":")
    names = names.split(",")
    ours = [o for o in node["options"] if same(names[0]) in [same(n) for n in o["names"]]]
    if not ours:
        return f"no {names[0]}"
    option = ours[0]
    lacking = [n for n in names if same(n) not in [same(m) for m in option["names"]]]
    if lacking:
        return f"{names[0]} is not also {', '.join(lacking)}"
    if flag != (option["type"] == "FLAG"):
        return f"{names[0]} is {option['type']}"
    if many != option["many"]:
        return f"{names[0]} is {'a list' if option['many'] else 'no list'}"
    if required != option["required"]:
        return f"{names[0]} is {'' if option['required'] else 'not '}required"
    if kind == "INT" and option["type"] not in ("INT", "NUMBER") or kind == "FLOAT" and option["type"] != "NUMBER":
        return f"{names[0]} is {option['type']}, not {kind}"
    lacking = [n for n in off.split(",") if n and same(n) not in [same(m) for m in option["off"]]]
    return f"{names[0]} is not turned off by {', '.join(lacking)}" if lacking else None


def faults(line, root):
    words = line.split(" ")
    path = []
    while words and re.match(r"[a-z]", words[0]):
        path.append(words.pop(0).split("="))
    node = root
    for names in path:
        for name in names:
            if find(node, [name]) is None:
                return [f"no command {name}"]
        node = find(node, [names[0]])
    if "args" not in node:
        return ["is a group"]
    out = []
    args = [w for w in words if not w.startswith("-")]
    if len(args) != len(node["args"]):
        out.append(f"takes {[a['name'] for a in node['args']]}")
    for text, ours in zip(args, node["args"]):
        name, _, kind = text.strip("[]").partition(":")
        many = name.endswith("…")
        if same(name.rstrip("…")) != same(ours["name"]):
            out.append(f"{text} is called {ours['name']}")
        if (text[0] == "[") != ours["optional"] or many != ours["many"]:
            out.append(f"{text}: optional {ours['optional']}, many {ours['many']}")
        if kind == "INT" and ours["type"] != "INT":
            out.append(f"{text} is {ours['type']}")
    return out + [f for f in (option_fault(node, w) for w in words if w.startswith("-")) if f]


def main_names(line):
    """The words of a line's command, by their main names."""
    return " ".join(w.split("=")[0] for w in line.split(" ") if re.match(r"[a-z]", w))


LINES = [line for line in FIELD.read_text().splitlines() if main_names(line).split()[0] not in OTHERS]


def test_as_the_field_has_them():
    root = tree()
    wrong = {main_names(line): faults(line, root) for line in LINES}
    wrong = {k: v for k, v in wrong.items() if v}
    later = {k for k in wrong if any((k + " ").startswith(word + " ") for word in LATER)}
    assert {k: v for k, v in wrong.items() if k not in later} == {}
    assert {word for word in LATER if not any((k + " ").startswith(word + " ") for k in later)} == set(), "no longer to come"


def test_others_are_in_the_field():
    assert all(any(line.split()[0].split("=")[0] == word for line in FIELD.read_text().splitlines()) for word in OTHERS)


def test_list_is_fresh(tmp_path, monkeypatch):
    """The list is what the installed peer has, where these tests run in its Python."""
    pytest.importorskip("cyclopts", reason="left out: the list of commands is not compared: no peer here")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    import prefect

    if prefect.__version__ != "3.8.8":
        pytest.skip(f"left out: the list of commands is that of 3.8.8, not of {prefect.__version__}")
    from tests.cli.field_commands import commands

    assert FIELD.read_text().splitlines() == commands()


def test_every_command_is_well_formed():
    """What holds for all rows: no name twice, a summary without full stop."""
    for path, command in leaves(tree()):
        names = [n for o in command["options"] for n in o["names"] + o["off"]] + ["--" + a["name"] for a in command["args"]]
        assert len(names) == len(set(names)), f"{path}: {sorted(names)}"
        assert command["summary"] and not command["summary"].endswith("."), path
