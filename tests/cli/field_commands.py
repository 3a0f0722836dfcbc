#!/usr/bin/env python3
"""Prints the commands of the field's own command line as it is installed beside this Python: a line a command, its words with
their other names, then arguments and options.

    work-pool=work-pools create NAME --base-job-template:TEXT --paused! --type,-t:TEXT …

NAME is required, [NAME] is not, NAME… takes several; an option's type follows a colon, `*` marks a list, `!` a flag, and behind
a bar stand the names that turn it off. tests/data/field-commands.txt is what it printed."""
import re
import typing
import uuid

import cyclopts


def word(hint):
    """The type of a value, in our words."""
    inner = [a for a in typing.get_args(hint) if a is not type(None)]
    if typing.get_origin(hint) is list or hint is list:
        return word(inner[0]) if inner else "TEXT"
    if inner and typing.get_origin(hint) is not None:
        return word(inner[0])
    return {int: "INT", float: "FLOAT", bool: "FLAG", uuid.UUID: "UUID"}.get(hint, "TEXT")


def is_list(hint):
    inner = [a for a in typing.get_args(hint) if a is not type(None)]
    return hint is list or typing.get_origin(hint) is list or (typing.get_origin(hint) is not None and any(is_list(a) for a in inner))


def argument(arg):
    off = list(arg.negatives)
    names = sorted((n for n in arg.names if n not in off), key=lambda n: (not n.startswith("--"), -len(n)))
    kind = word(arg.hint)
    if arg.index is not None:
        name = names[0].lstrip("-").upper()
        many = is_list(arg.hint)
        shown = name + ("…" if many else "") + ("" if kind == "TEXT" else f":{kind}")
        return shown if arg.required else f"[{shown}]"
    text = ",".join(names)
    if kind == "FLAG":
        text += "!"
    else:
        text += f":{kind}" + ("*" if is_list(arg.hint) else "")
    if off:
        text += "|" + ",".join(off)
    return text + ("" if not arg.required else ":required")


def walk(app, path):
    subs = {}
    for name in app:
        if not name.startswith("-"):
            sub = app[name]
            subs.setdefault(id(sub), (sub, []))[1].append(name)
    for sub, names in subs.values():
        here = path + ["=".join(names)]
        if sub.default_command is not None:
            args = [argument(a) for a in sub.assemble_argument_collection(parse_docstring=False)]
            yield " ".join(here + args)
        yield from walk(sub, here)


def commands():
    """Sorted lines."""
    from prefect.cli import _app

    root = next(v for v in vars(_app).values() if isinstance(v, cyclopts.App))
    return sorted(re.sub(r"\s+", " ", line) for line in walk(root, []))


if __name__ == "__main__":
    print("\n".join(commands()))
