#!/usr/bin/env python3
"""Measures millpond beside the reference in one run and writes docs/bench.md.

    bench/run.py --build build --peer build/peer-3.8.8 [--quick] [--json FILE] [--out FILE] [--dir DIR]

The same load generator (bench/load.c) drives both, one after the other, on loopback. Databases lie under --dir, which should be
a disk, not memory: the figures are of commits that are on disk. --quick halves the phases."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report
from due import measure_due
from servers import Postgres, cpu, end, end_of, environment, free_port, memory, ours, reference, reference_environment, written
from size import measure_events, measure_logs, measure_queries, measure_waiting, sync_ms

CONNECTIONS = (1, 16, 64, 256)
FLOW = """\
import time
from prefect import flow, get_run_logger

@flow
def first_line():
    now = time.time()
    get_run_logger().info("first line %.6f", now)
"""


def say(text):
    print(f"bench: {text}", flush=True)


# ---- lives ----

def phases(build, server, seconds, name):
    """The load at each number of connections: what it counted, with the server's CPU and disk writes for each life."""
    rows = {}
    for n in CONNECTIONS:
        before_cpu, before_written = cpu(server.pid), written(server.pid)
        host, port = server.url.removeprefix("http://").split(":")
        out = subprocess.run([str(build / "bench" / "load"), host, port, str(n), str(seconds)], capture_output=True, text=True, timeout=seconds + 120)
        if out.returncode:
            raise RuntimeError(f"the load ended with {out.returncode}: {out.stderr}")
        row = json.loads(out.stdout)
        used, wrote = cpu(server.pid) - before_cpu, written(server.pid) - before_written
        if row["lives"]:
            row["cpu_ms"] = used * 1000 / row["lives"]
            row["written_kb"] = wrote / 1024 / row["lives"]
        rows[n] = row
        say(f"{name}, {n} connections: {row['per_second']:.1f} lives/s, {row.get('cpu_ms', 0):.3f} ms of CPU each, "
            f"{row['errors']} errors ({row['busy']} times 503)")
        time.sleep(0.5)
    return rows


def measure_ours(o, work, postgres):
    """Starts, memory and lives of ours."""
    starts = []
    for i in range(5):
        server = ours(o.build, work / f"start-{i}")
        starts.append(server.listen_ms)
        if i < 4:
            server.stop()
    try:
        time.sleep(3)
        idle = memory(server.pid)
        server.api("POST", "/work_pools/", {"name": "idle", "type": "prefect:managed"})
        time.sleep(2)
        with_pool = memory(server.pid)
        say(f"ours listens after {statistics.median(starts):.1f} ms, idle {idle['rss']:.1f} MB (PSS {idle['pss']:.1f}) in {idle['processes']} processes, "
            f"with a managed pool's worker {with_pool['rss']:.1f} (PSS {with_pool['pss']:.1f}) in {with_pool['processes']}")
        lives = {"sqlite": phases(o.build, server, 5 * o.scale, "ours, SQLite")}
        after = memory(server.pid)
    finally:
        server.stop()
    if postgres.url:
        server = ours(o.build, work / "ours-postgres", database=postgres.url)
        try:
            lives["postgres"] = phases(o.build, server, 5 * o.scale, "ours, PostgreSQL")
        finally:
            server.stop()
    server = ours(o.build, work / "floods", managed=False)
    try:
        floods = measure_floods(server, 5 * o.scale, 20_000, "ours")
        waiting = measure_waiting(server, 10_000)
        say(f"ours, {waiting['runs']} runs waiting: {waiting['percent']:.2f} % of a core")
    finally:
        server.stop()
    server = ours(o.build, work / "due", managed=False, MILLPOND_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME=120)
    try:
        due = measure_due(server, 20_000 // (5 if o.quick else 1), 20)
        say(f"ours, {due['schedules']} schedules, {due['due_per_second']:.0f} due a second: {due['p50_ms']:.0f} ms, p99 {due['p99_ms']:.0f}; {due['twice']} twice")
    finally:
        server.stop()
    return {"due": due, "listen_ms": starts, "idle": idle, "idle_managed": with_pool, "after_load": after, "lives": lives, "floods": floods, "waiting": waiting,
            "sync_ms": sync_ms(work), "million": measure_queries(o, work, say)}


def measure_floods(server, seconds, runs, name):
    floods = {"logs": measure_logs(server, seconds), "events": measure_events(server, runs)}
    say(f"{name}: {floods['logs']['per_second']:,.0f} log rows/s, {floods['events']['per_second']:,.0f} task run events/s, {floods['events']['lost']} runs lost")
    return floods


def measure_reference(o, work, postgres):
    say("the reference starts; that takes a while")
    server = reference(o.peer, work / "reference")
    result = {"listen_ms": [server.listen_ms], "lives": {}}
    try:
        time.sleep(3)
        result["idle"] = memory(server.pid)
        say(f"reference listens after {server.listen_ms:.0f} ms, idle {result['idle']['rss']:.0f} MB")
        result["lives"]["sqlite"] = phases(o.build, server, 8 * o.scale, "reference, SQLite")
        result["after_load"] = memory(server.pid)
    finally:
        server.stop()
    server = reference(o.peer, work / "reference-floods")
    try:
        result["floods"] = measure_floods(server, 5 * o.scale, 500, "reference")
    finally:
        server.stop()
    if postgres.url:
        server = reference(o.peer, work / "reference-postgres", database=postgres.reference_url())
        try:
            result["lives"]["postgres"] = phases(o.build, server, 8 * o.scale, "reference, PostgreSQL")
        finally:
            server.stop()
    return result


# ---- from asking for a run to its first line ----

class Late(Exception):
    pass


def first_line_ms(server, deployment, patience):
    """Asks for a run as `deployment run` does; the time until the flow's own first line ran."""
    asked = time.time()
    run = server.api("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
    while time.time() < asked + patience:
        time.sleep(0.25)
        state = server.api("GET", f"/flow_runs/{run}")["state"]
        if state["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            continue
        for line in server.api("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}):
            if line["message"].startswith("first line "):
                return (float(line["message"].split()[2]) - asked) * 1000
    raise Late(f"no line within {patience} s; the run is {state['name']}: {state.get('message')}")


def deployment(server, pool, pool_type, pull):
    server.api("POST", "/work_pools/", {"name": pool, "type": pool_type} | (
        {"base_job_template": process_template()} if pool_type == "process" else {}))
    flow = server.api("POST", "/flows/", {"name": "first-line"})["id"]
    return server.api("POST", "/deployments/", {"name": pool, "flow_id": flow, "entrypoint": "flow.py:first_line", "work_pool_name": pool,
                                                "pull_steps": pull})["id"]


def process_template():
    """The least that a worker for processes understands."""
    names = ("command", "env", "labels", "name", "working_dir", "stream_output")
    return {"job_configuration": {n: "{{ %s }}" % n for n in names},
            "variables": {"type": "object", "properties": {
                "command": {"type": "string"}, "name": {"type": "string"}, "working_dir": {"type": "string", "format": "path"},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "stream_output": {"type": "boolean", "default": True}}}}


def repository(work):
    """A folder with the flow, and the same as a git repository served on loopback: (folder, daemon, url)."""
    folder, served = work / "flow", work / "git"
    folder.mkdir()
    (folder / "flow.py").write_text(FLOW)
    git = ["git", "-C", str(folder), "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "flow.py"], ["commit", "-qm", "A flow with one line"]):
        subprocess.run(git + words, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(folder), str(served / "flow.git")], check=True)
    port = free_port()
    daemon = subprocess.Popen(["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={served}", "--export-all", str(served)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder, daemon, f"git://127.0.0.1:{port}/flow.git"


def first_lines(server, pool, pool_type, pull, times, patience, name):
    """{"ms": [...]} or {"skipped": why}; the first run, which may have to prepare something, is not counted."""
    try:
        d = deployment(server, pool, pool_type, pull)
        first_line_ms(server, d, patience * 3)
        result = {"ms": [first_line_ms(server, d, patience) for _ in range(times)]}
        say(f"{name}: first line after {statistics.median(result['ms']):.0f} ms (median of {times})")
    except (Late, RuntimeError, OSError) as e:
        result = {"skipped": str(e)}
        say(f"{name}: SKIPPED, the pool does not run: {e}")
    return result


def with_worker(command, env, log, body):
    with open(log, "wb") as out:
        worker = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=log.parent)
        try:
            return body()
        finally:
            end(worker)


def measure_first_lines(o, work):
    folder, daemon, url = repository(work)
    here = [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    clone = [{"prefect.deployments.steps.git_clone": {"repository": url, "branch": "main"}}]
    times, python = max(1, int(5 * o.scale)), o.peer / "bin" / "python"
    path = f"{o.peer / 'bin'}:{os.environ['PATH']}"
    result = {}
    try:
        server = ours(o.build, work / "first-ours", MILLPOND_MANAGED_PYTHON=python, PATH=path)
        try:
            result["managed"] = first_lines(server, "bench-managed", "prefect:managed", clone, times, 30, "ours, managed pool")
            env = environment(MILLPOND_HOME=work / "first-worker", MILLPOND_API_URL=server.api_url, PREFECT_API_URL=server.api_url, PATH=path)
            result["process"] = with_worker(
                [str(o.build / "millpond"), "worker", "start", "--pool", "bench-process", "--type", "process"], env, work / "worker-ours.log",
                lambda: first_lines(server, "bench-process", "process", here, times, 30, "ours, process pool"))
        finally:
            server.stop()
        server = reference(o.peer, work / "first-reference")
        try:
            env = reference_environment(work / "first-reference-worker", PREFECT_API_URL=server.api_url, PATH=path)
            result["reference_process"] = with_worker(
                [str(o.peer / "bin" / "prefect"), "worker", "start", "--pool", "bench-process", "--type", "process"], env, work / "worker-reference.log",
                lambda: first_lines(server, "bench-process", "process", here, times, 40, "reference, process pool"))
        finally:
            server.stop()
    finally:
        end(daemon)
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", type=Path, required=True)
    p.add_argument("--peer", type=Path, required=True, help="a virtual environment with the reference")
    p.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the databases lie while it runs")
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "bench.md")
    p.add_argument("--json", type=Path, help="raw results")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--ours-only", action="store_true", help="leave the reference out; prints, writes no page")
    o = p.parse_args()
    o.build, o.peer, o.scale = o.build.resolve(), o.peer.absolute(), 0.5 if o.quick else 1
    work = Path(tempfile.mkdtemp(prefix="millpond-bench-", dir=o.dir))
    work.chmod(0o711)  # PostgreSQL's own user passes through
    begun, postgres = time.monotonic(), None
    try:
        postgres = Postgres(work / "postgres")
        if not postgres.url:
            say(f"PostgreSQL left out: {postgres.why}")
        results = {"cores": len(os.sched_getaffinity(0)), "date": time.strftime("%Y-%m-%d"), "quick": o.quick,
                   "load_before": os.getloadavg()[0], "ours": measure_ours(o, work, postgres)}
        if not o.ours_only:
            results["reference"] = measure_reference(o, work, postgres)
            results["first_line"] = measure_first_lines(o, work)
    finally:
        if postgres:
            postgres.stop()
        end_of(work)
        shutil.rmtree(work, ignore_errors=True)
    results["took"] = time.monotonic() - begun
    if o.json:
        o.json.write_text(json.dumps(results, indent=1) + "\n")
    if not o.ours_only:
        o.out.write_text(report.page(results))
        say(f"{o.out} written")
    for line in report.missed(results):
        say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
