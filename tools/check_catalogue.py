#!/usr/bin/env python3
"""Checks the catalogue that is built into the server: assets/worker-metadata.json, assets/block-types.json.

usage: check_catalogue.py [REFERENCE]

REFERENCE is a folder of published facts (pools/<type>.json, blocks/*.json), by default ../shared beside the project.
Where it is present, names, types, defaults, enums and all else but prose must be the same as there.
The last line says how many checks passed and failed; the exit status is 1 if any failed.
"""
import hashlib
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROSE = {"title", "description"}
RECORD = {"type": str, "display_name": str, "description": str, "documentation_url": str, "logo_url": str,
          "install_command": str, "is_beta": bool, "default_base_job_configuration": dict}
BLOCK = {"name": str, "slug": str, "logo_url": (str, type(None)), "documentation_url": (str, type(None)),
         "description": str, "code_example": str, "is_protected": bool, "block_schema": dict}
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}
OWN = {"modal-credentials", "coiled-credentials"}  # block types that exist here alone: their checksum is computed
# What the managed pool has beyond the published names, or in another form: the form keeps `deploy` from offering a build.
MANAGED_OWN = {"image", "python_version", "pids", "disk", "network", "network_allow", "stream_output", "working_dir", "cpu", "memory"}

passed = failed = 0


def check(ok, text):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {text}")


def shape(record, keys, where):
    check(set(record) == set(keys), f"{where}: keys are {sorted(record)}")
    for k, t in keys.items():
        check(isinstance(record.get(k), t), f"{where}: {k} is {record.get(k)!r:.60}")


def walk(o):
    """Every value in it, itself first."""
    yield o
    for v in o.values() if isinstance(o, dict) else o if isinstance(o, list) else ():
        yield from walk(v)


def placeholders(o):
    return {name for v in walk(o) if isinstance(v, str) for name in re.findall(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}", v)}


def texts(o, key):
    """What stands under `key` anywhere in it, where that is a string."""
    return {v[key] for v in walk(o) if isinstance(v, dict) and isinstance(v.get(key), str)}


def is_type(value, name):
    return isinstance(value, TYPES[name]) and not (isinstance(value, bool) and name in ("integer", "number"))


def accepts(schema, value, root):
    """The part of JSON Schema that the catalogue uses."""
    if "$ref" in schema:
        at = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            at = at.get(part, {})
        if not accepts(at, value, root):
            return False
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return all((
        "type" not in schema or is_type(value, schema["type"]),
        "enum" not in schema or value in schema["enum"],
        "const" not in schema or value == schema["const"],
        "anyOf" not in schema or any(accepts(s, value, root) for s in schema["anyOf"]),
        all(accepts(s, value, root) for s in schema.get("allOf", [])),
        not isinstance(value, str) or re.search(schema.get("pattern", ""), value) is not None,
        not isinstance(value, list) or all(accepts(schema.get("items", {}), v, root) for v in value),
        not number or schema.get("minimum", value) <= value <= schema.get("maximum", value),
        not number or "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
    ))


def objects(schema):
    """The schema itself and each of its definitions, with a name."""
    yield "", schema
    for k in ("definitions", "$defs"):
        yield from schema.get(k, {}).items()


def properties(schema, where):
    """Each property: a title, one sentence, a default that it accepts itself; each $ref leads somewhere."""
    for name, o in objects(schema):
        props = o.get("properties", {})
        check(set(o.get("required", [])) <= set(props), f"{where} {name}: a required property does not exist")
        for n, p in props.items():
            at = f"{where} {name}.{n}"
            check(bool(p.get("title")), f"{at}: no title")
            check(re.fullmatch(r"[ -~]+[.]", p.get("description", "")) is not None, f"{at}: description {p.get('description')!r}")
            check("default" not in p or accepts(p, p["default"], schema), f"{at}: default {p.get('default')!r} is not of its type")
    for r in texts(schema, "$ref"):
        kind, _, name = r.removeprefix("#/").partition("/")
        check(name in schema.get(kind, {}), f"{where}: {r} leads nowhere")


def bare(o):
    """Without prose: descriptions everywhere, titles of properties, examples."""
    if isinstance(o, dict):
        return {k: bare(v) for k, v in o.items() if not ((k in PROSE and isinstance(v, str)) or (k == "examples" and isinstance(v, list)))}
    return [bare(v) for v in o] if isinstance(o, list) else o


def checksum(fields):
    """What a client computes over the fields of a block class without definitions."""
    def public(o):
        return {k: public(v) for k, v in o.items() if k != "secret_fields"} if isinstance(o, dict) else o
    return "sha256:" + hashlib.sha256(json.dumps([[public(fields)], {}], sort_keys=True).encode()).hexdigest()


def main():
    pools = json.loads((ROOT / "assets/worker-metadata.json").read_text())
    blocks = json.loads((ROOT / "assets/block-types.json").read_text())
    records = {r["type"]: (package, r) for package, types in pools.items() for r in types.values()}
    slugs = {slug: (package, b) for package, types in blocks.items() for slug, b in types.items()}

    for kind, (_, r) in records.items():
        shape(r, RECORD, kind)
        template = r["default_base_job_configuration"]
        check(set(template) == {"job_configuration", "variables"}, f"{kind}: template keys are {sorted(template)}")
        variables, used = template["variables"], placeholders(template["job_configuration"])
        check(used == set(variables["properties"]), f"{kind}: placeholders and variables differ: {sorted(used ^ set(variables['properties']))}")
        properties(variables, kind)
        if kind.endswith((":managed", ":push")):
            check(bool(variables["properties"].get("image")), f"{kind}: deploying an image needs the variable")
        for name, d in objects(variables):
            check("block_type_slug" not in d or d["block_type_slug"] in slugs, f"{kind} {name}: no such block type")
    check("prefect-agent" not in records, "prefect-agent is no type of this view")
    check("type" not in records["prefect:managed"][1]["default_base_job_configuration"]["variables"]["properties"]["image"],
          "prefect:managed: a plain string image makes clients offer to build one")

    for slug, (_, b) in slugs.items():
        shape(b, BLOCK, slug)
        s, fields = b["block_schema"], b["block_schema"]["fields"]
        shape(s, {"checksum": str, "fields": dict, "capabilities": list, "version": str}, slug)
        check(b["slug"] == slug == fields["block_type_slug"], f"{slug}: slugs differ")
        check(re.fullmatch(r"sha256:[0-9a-f]{64}", s["checksum"]) is not None, f"{slug}: checksum {s['checksum']}")
        check(slug not in OWN or s["checksum"] == checksum(fields), f"{slug}: checksum should be {checksum(fields)}")
        properties(fields, slug)
        for name, o in objects(fields):
            for key, ref in o.get("block_schema_references", {}).items():
                for one in ref if isinstance(ref, list) else [ref]:
                    check(one["block_type_slug"] in slugs and key in o["properties"], f"{slug} {name}.{key}: refers to nothing")

    source = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared"
    if not (source / "pools/index.json").is_file() or not (source / "blocks").is_dir():
        print(f"left out: comparison with the published facts ({source} has none)")
    else:
        compare(source, records, slugs)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def compare(source, records, slugs):
    files = [json.loads(f.read_text()) for f in sorted(source.glob("pools/**/*.json")) + sorted(source.glob("blocks/*.json"))]
    theirs = texts(files, "description")
    for key, (_, o) in (records | slugs).items():
        for d in texts(o, "description"):
            check(d not in theirs, f"{key}: not our own words: {d}")
    for f in files:
        kind = f.get("type")
        if "default_base_job_template" not in f or kind == "prefect-agent":
            continue
        package, r = records.pop(kind, ("", {}))
        ours, want = r.get("default_base_job_configuration"), f["default_base_job_template"]
        check(package == f["package"] and r.get("is_beta") == f["is_beta"], f"{kind}: package or is_beta differ")
        check(r.get("install_command") == (f["install_command"] or ""), f"{kind}: install_command differs")
        if kind == "prefect:managed" and ours:
            for side in (ours, want):
                for part in (side["job_configuration"], side["variables"]["properties"]):
                    for n in MANAGED_OWN:
                        part.pop(n, None)
        check(bare(ours) == bare(want), f"{kind}: template differs from {kind} of the reference")
    check(not records, f"types without a reference: {sorted(records)}")
    for f in files:
        for package, types in f.items() if "aws-credentials" in f.get("prefect-aws", {}) else ():
            for slug, t in types.items():
                where, b = slugs.get(slug, ("", {}))
                check(where == package and b.get("name") == t["name"], f"{slug}: package or name differs")
                check(bare(b.get("block_schema")) == bare(t["block_schema"]), f"{slug}: schema differs")


if __name__ == "__main__":
    sys.exit(main())
