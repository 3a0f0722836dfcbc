"""`--output json` of every command: what is printed is one JSON value, and nothing beside it.

The scenario runs every command that has the option; a command without it stands in PLAIN, with the reason."""
import json
import subprocess

import pytest

from tests.api.conftest import MILLPOND
from tests.cli.run import Place
from tests.cli.test_commands import leaves, tree

PLAIN = {
    "server start": "serves until it is ended",
    "worker start": "serves until it is ended",
    "flow-run execute": "prints what the flow prints",
    "deploy": "is handed over to Python",
    "deploy init": "is handed over to Python",
    "init": "is handed over to Python",
    "flow serve": "is handed over to Python",
    "task serve": "is handed over to Python",
    "block register": "is handed over to Python",
    "sdk generate": "is handed over to Python",
    "plugins diagnose": "is handed over to Python",
    "events stream": "prints JSON lines anyway",
    "api": "prints what the API answers",
    "completion": "prints a script",
    "complete": "is for shells",
    "reference": "prints a page",
    "man": "prints a page",
}

# A line a command; `{…}` is a value of an earlier answer: {key.member}. "key = " keeps the answer, "! " wants it to fail.
SCENARIO = """
config set api.key=k logging.level=DEBUG
config view
config validate
config unset api.key
profile create p1 --from local
profile ls
profile inspect p1
profile rename p1 p2
profile use default
profile delete p2 -y
profile populate-defaults
version
server status
server stop
server database current
server database upgrade --yes
server database history
server database reset --yes
! server database downgrade
! server database revision
! server database stamp 1
server services ls
! server services start
! server services stop
! server services manager
dashboard open
schedule next --cron '0 9 * * *'
pool = work-pool create jp --type process
work-pool create jp --type process --overwrite --paused
work-pool ls
work-pool inspect jp
work-pool resume jp
work-pool pause jp
work-pool update jp --description d
work-pool set-concurrency-limit jp 3
work-pool clear-concurrency-limit jp
work-pool slots jp
work-pool preview jp
work-pool storage inspect jp
work-pool storage configure s3 jp --bucket b
work-pool storage configure gcs jp --bucket b --launcher uv
! work-pool storage configure azure-blob-storage jp --container c
block create azure-blob-storage-credentials --name jc --field connection_string=x
work-pool storage configure azure-blob-storage jp --container c --azure-blob-storage-credentials-block-name jc
work-pool storage inspect jp
work-pool get-default-base-job-template --type process
! work-pool provision-infrastructure jp
queue = work-queue create jq --pool jp --limit 2
work-queue ls --pool jp
work-queue inspect jq --pool jp
work-queue set-concurrency-limit jq 3 --pool jp
work-queue clear-concurrency-limit jq --pool jp
work-queue pause jq --pool jp
work-queue resume jq --pool jp
work-queue slots jq --pool jp
work-queue preview jq --pool jp
work-queue read-runs jq --pool jp
flow = api POST /flows/ --data '{"name":"json-flow"}'
dep = api POST /deployments/ --data '{"name":"d","flow_id":"{flow.id}","work_pool_name":"jp"}'
flow ls
deployment ls
deployment inspect json-flow/d
deployment pause json-flow/d
deployment resume json-flow/d
deployment pause-schedule json-flow/d
deployment resume-schedule json-flow/d
sched = deployment schedule create json-flow/d --cron '0 9 * * *'
deployment schedule create json-flow/d --interval 3600 --replace -y
dep = deployment inspect json-flow/d
deployment schedule ls json-flow/d
deployment schedule pause json-flow/d {dep.schedules.0.id}
deployment schedule resume json-flow/d {dep.schedules.0.id}
deployment schedule pause --all
deployment schedule delete json-flow/d {dep.schedules.0.id}
deployment schedule clear json-flow/d
run = deployment run json-flow/d --start-in 1h
flow-run ls
flow-run inspect {run.id}
flow-run cancel {run.id}
flow-run retry {run.id}
api POST /flow_runs/{run.id}/set_state --data '{"state":{"type":"COMPLETED"},"force":true}'
flow-run watch {run.id}
flow-run logs {run.id}
flow-run delete {run.id}
task = api POST /task_runs/ --data '{"task_key":"t","dynamic_key":"0","name":"t-0"}'
task-run ls
task-run inspect {task.id}
task-run logs {task.id}
variable set v '{"a":1}' --tag t
variable ls
variable get v
variable inspect v
variable unset v
concurrency-limit create jt 3
concurrency-limit ls
concurrency-limit inspect jt
concurrency-limit reset jt
concurrency-limit delete jt
gcl create jg --limit 3
gcl ls
gcl inspect jg
gcl update jg --limit 4
gcl disable jg
gcl enable jg
gcl delete jg
events emit json.event --resource-id r1
events ls --event json.event
block type ls
block type inspect secret
block ls
bt = api POST /block_types/ --data '{"name":"Json Type","slug":"json-type"}'
bs = api POST /block_schemas/ --data '{"block_type_id":"{bt.id}","fields":{"title":"J","type":"object","properties":{}}}'
bd = api POST /block_documents/ --data '{"name":"b","data":{},"block_type_id":"{bt.id}","block_schema_id":"{bs.id}"}'
block inspect json-type/b
block create json-type
block create json-type --name c
block create json-type --name c --overwrite
block delete json-type/c
block delete json-type/b
block type delete json-type
deployment delete json-flow/d
work-queue delete jq --pool jp
work-pool delete jp
"""

# Where the server has the list: the rest is as above.
ARTIFACTS = """
art = api POST /artifacts/ --data '{"key":"jk","type":"text","data":"x"}'
artifact ls
artifact inspect jk
artifact delete jk
"""
AUTOMATIONS = """
auto = automation create --from-json '{"name":"ja","trigger":{"type":"event","expect":["x"],"posture":"Reactive","threshold":1,"within":0},"actions":[{"type":"do-nothing"}]}'
automation ls
automation inspect ja
automation pause ja
automation resume ja
automation update --id {auto.0.id} --from-json '{"name":"ja","trigger":{"type":"event","expect":["y"],"posture":"Reactive","threshold":1,"within":0},"actions":[{"type":"do-nothing"}]}'
automation delete ja
"""


def fill(line, kept):
    """{key.member.0} replaced by the value kept."""
    out = line
    for key, value in kept.items():
        while f"{{{key}." in out:
            start = out.index(f"{{{key}.")
            end = out.index("}", start)
            v = value
            for part in out[start + 1 : end].split(".")[1:]:
                v = v[int(part)] if isinstance(v, list) else v[part]
            out = out[:start] + str(v) + out[end + 1 :]
    return out


def play(scenario, url):
    """The paths of the commands that were run; each printed one JSON value alone."""
    place, kept, done = Place(url, MILLPOND), {}, set()
    TREE[:] = [tree()]
    table = {path: names_of(path) for path, _ in leaves(tree())}
    try:
        for line in scenario.strip().splitlines():
            key, _, command = line.rpartition(" = ") if " = " in line.split("'")[0] else ("", "", line)
            fails, command = command.startswith("! "), command.removeprefix("! ")
            command = fill(command, kept)
            raw = command.startswith("api ")
            r = subprocess.run(["bash", "-c", f"millpond {command}" + ("" if raw else " --output json")], cwd=place.path / "work", env=place.env,
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            assert (r.returncode != 0) == fails, f"{command}: {r.stdout} {r.stderr}"
            if fails:
                assert r.stdout == "" and r.stderr.count("\n") == 1, f"{command}: {r.stdout} {r.stderr}"
            elif not raw or r.stdout.strip():
                try:
                    kept[key] = json.loads(r.stdout)
                except ValueError:
                    raise AssertionError(f"{command}: not JSON: {r.stdout!r} {r.stderr!r}") from None
            words = command.split()
            done.add(max((p for p, each in table.items() if len(p) <= len(words) and all(w in names for w, names in zip(words, each))), key=len))
        return done
    finally:
        place.remove()


TREE = []


def names_of(path):
    """For each word of a path, the names it goes by."""
    node, out = TREE[0], []
    for word in path:
        node = next(s for s in node["commands"] if word in s["names"])
        out.append(node["names"])
    return out


def has(server, path):
    return server.request("POST", path, {"limit": 1})[0] != 404


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_every_command(server):
    done = play(SCENARIO, server.url)
    left = set()
    for name, path, scenario in (("artifact", "/artifacts/filter", ARTIFACTS), ("automation", "/automations/filter", AUTOMATIONS)):
        if has(server, path):
            done |= play(scenario, server.url)
        else:
            left.add(name)
    for path, command in leaves(tree()):
        words = " ".join(path)
        output = any("--output" in o["names"] and o["type"] == "TEXT" for o in command["options"])
        assert output != (words in PLAIN), f"{words}: {'has' if output else 'lacks'} --output"
        assert not output or path in done or path[0] in left, f"{words}: no line of the scenario runs it"
