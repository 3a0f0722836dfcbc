"""docs/bench.md from the raw results of bench/run.py."""
from statistics import median

DURABLE = {
    "sqlite": "SQLite, `synchronous=FULL`: on disk before the answer",
    "postgres": "PostgreSQL 15, `fsync=on`, `synchronous_commit=on`: on disk before the answer",
    "reference": "SQLite as it sets it up itself (WAL, `synchronous=NORMAL`: an answer may be lost with the machine)",
}
# name, value of the results, the least we hold ourselves to, the aim, whether more is better, unit
TARGETS = (
    ("lives/s at 64 connections", lambda o: o["lives"]["sqlite"][64]["per_second"], 2500, 5000, True, "/s"),
    ("CPU of a life at 64 connections", lambda o: o["lives"]["sqlite"][64].get("cpu_ms", float("inf")), 0.3, 0.2, False, "ms"),
    ("time to listen", lambda o: median(o["listen_ms"]), 200, 50, False, "ms"),
    ("memory when idle", lambda o: o["idle"]["rss"], 16, 10, False, "MB"),
    ("log rows in", lambda o: o["floods"]["logs"]["per_second"], 100_000, 100_000, True, "/s"),
    ("task run events in, one socket", lambda o: o["floods"]["events"]["per_second"], 30_000, 30_000, True, "/s"),
    ("schedules: a due run with the worker, p99", lambda o: o["due"]["p99_ms"], 50, 50, False, "ms"),
    ("CPU while 10,000 scheduled runs wait", lambda o: o["waiting"]["percent"], 0.1, 0.1, False, "% of a core"),
    ("memory with 1,000,000 runs, asked", lambda o: o["million"]["memory"]["rss"], 120, 120, False, "MB"),
    ("a request of one connection over the disk's own sync", lambda o: o["lives"]["sqlite"][1]["p50_us"] / 3000 - o["sync_ms"], 0.2, 0.2, False, "ms"),
)


def number(v):
    if v is None:
        return "–"
    digits = 0 if abs(v) >= 100 else 1 if abs(v) >= 10 else 2 if abs(v) >= 1 else 3
    return f"{v:,.{digits}f}"


def ratio(better, worse):
    """How many times: `better` over `worse`, None where one is missing or nothing."""
    return f"**{number(better / worse)}×**" if better and worse else "it made none" if better and worse == 0 else "–"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows])


def errors(row):
    return f"{row['errors']} ({row['busy']})" if row["errors"] else "0"


def lives(r, database):
    ours, theirs = r["ours"]["lives"][database], r["reference"]["lives"][database]
    rows = []
    for n, a in ours.items():
        b = theirs[n]
        rows.append([str(n), ratio(a["per_second"], b["per_second"]), number(a["per_second"]), number(b["per_second"]),
                     ratio(b.get("cpu_ms"), a.get("cpu_ms")), number(a.get("cpu_ms")), number(b.get("cpu_ms")),
                     number(a["p50_us"] / 1000), number(a["p99_us"] / 1000), errors(a), errors(b)])
    return table(["connections", "lives/s, ratio", "ours", "reference", "CPU, ratio", "ours ms", "reference ms", "ours p50 ms", "p99 ms",
                  "errors (503), ours", "reference"], rows)


def resources(r):
    a, b = r["ours"], r["reference"]
    rows = [["from spawn to the first 200 on `/api/health`, fresh database", ratio(median(b["listen_ms"]), median(a["listen_ms"])),
             f"{number(median(a['listen_ms']))} ms", f"{number(median(b['listen_ms']))} ms"]]
    for key, theirs, name in (("idle", "idle", "idle"), ("idle_managed", "idle", "idle, ours with a managed pool and its worker"),
                              ("after_load", "after_load", "after the load (ours still with that worker)")):
        for kind in ("rss", "pss"):
            rows.append([f"memory, {name}, all processes, {kind.upper()}", ratio(b[theirs][kind], a[key][kind]),
                         f"{number(a[key][kind])} MB", f"{number(b[theirs][kind])} MB"])
    at = r["ours"]["lives"]["sqlite"]
    rows.append(["written to disk for a life, 1 / 64 connections, SQLite",
                 "", f"{number(at[1].get('written_kb'))} / {number(at[64].get('written_kb'))} kB",
                 f"{number(r['reference']['lives']['sqlite'][1].get('written_kb'))} / "
                 f"{number(r['reference']['lives']['sqlite'][64].get('written_kb'))} kB"])
    return table(["what", "ratio", "ours", "reference"], rows)


def first_lines(r):
    f = r["first_line"]
    base = f["reference_process"]
    rows = []
    for key, name in (("managed", "managed pool, environment ready (clones a git repository, in a sandbox)"),
                      ("process", "process pool, our worker"), ("reference_process", "reference: process pool, its worker")):
        if "ms" in f[key]:
            ms = f[key]["ms"]
            rows.append([name, ratio(median(base["ms"]), median(ms)) if "ms" in base and key != "reference_process" else "",
                         number(median(ms)), f"{number(min(ms))} – {number(max(ms))}"])
        else:
            rows.append([f"{name}: skipped, the pool did not run ({f[key]['skipped'][:200]})", "", "–", "–"])
    return table(["where", "ratio", "median ms", "least – most"], rows)


def missed(r):
    """A sentence for each target that is missed, or for each that is met but short of its aim."""
    lines = []
    for name, value, least, aim, more, unit in TARGETS:
        v = value(r["ours"])
        short = v < least if more else v > least
        off = v < aim if more else v > aim
        if short or off:
            goal = least if short else aim
            by = abs(v - goal) / goal * 100
            lines.append(f"{'MISSED' if short else 'met, short of its aim'}: {name} is {number(v)} {unit}, "
                         f"{'target' if short else 'aim'} {'≥' if more else '≤'} {goal:g} {unit}: off by {by:.0f} %")
    return lines


def floods(r):
    rows = []
    for key, name in (("logs", "log rows/s, 4 connections, batches of 500, stored"), ("events", "task run events/s, one socket, until recorded as states")):
        a, b = r["ours"]["floods"][key], r["reference"]["floods"][key]
        rows.append([name, ratio(a["per_second"], b["per_second"]), number(a["per_second"]), number(b["per_second"]),
                     ratio(b["cpu_us"], a["cpu_us"]), number(a["cpu_us"]), number(b["cpu_us"]),
                     f"{a.get('lost', 0)} / {b.get('lost', 0)}"])
    return table(["what", "ratio", "ours", "reference", "CPU, ratio", "ours µs", "reference µs", "runs not recorded within a minute"], rows)


def due(r):
    d = r["ours"]["due"]
    return table(["schedules", "due a second", "median ms", "p99 ms", "most ms", "slots with two runs", "deployments made a second"],
                 [[f"{d['schedules']:,}", number(d["due_per_second"]), number(d["p50_ms"]), number(d["p99_ms"]), number(d["most_ms"]), str(d["twice"]), number(d["made_per_second"])]])


def million(r):
    rows = [[name, number(v["p50"]), number(v["p99"]), str(v["n"]), "met" if v["p99"] <= 20 else "missed"] for name, v in r["ours"]["million"]["rows"].items()]
    return table(["question", "median ms", "p99 ms", "times asked", "p99 ≤ 20 ms"], rows)


def targets(r):
    rows = []
    for name, value, least, aim, more, unit in TARGETS:
        v = value(r["ours"])
        sign = "≥" if more else "≤"
        met = v >= least if more else v <= least
        aimed = v >= aim if more else v <= aim
        rows.append([name, f"{sign} {least:g} ({aim:g}) {unit}", f"{number(v)} {unit}",
                     "met, and the aim" if aimed else "met" if met else f"missed by {abs(v - least) / least * 100:.0f} %"])
    return table(["what", "target (aim)", "measured", ""], rows)


def page(r):
    parts = [f"""# Measured beside the reference

`make bench` wrote this page on {r['date']}: both servers on the same machine in one run, one after the other, driven by the same load
generator (`bench/load.c`) over loopback, which has its share of the same {r['cores']} cores{', short phases (`--quick`)' if r['quick'] else ''}.
The reference is `prefect server start` 3.8.8 without its page and analytics. Take the ratios, not the absolute values.

A **life** is a flow run made, set RUNNING and set COMPLETED: three requests, each answered before the next is sent; it counts when
all three were accepted. **CPU** is user and system time of the server's processes, all threads and children, for each life; for PostgreSQL
that of PostgreSQL itself is not in it. **503** is counted in brackets after all errors.

## Lives, each on its default database

Ours: {DURABLE['sqlite']}. Reference: {DURABLE['reference']}.

{lives(r, 'sqlite')}
"""]
    if "postgres" in r["ours"]["lives"] and "postgres" in r["reference"]["lives"]:
        parts.append(f"""## Lives, both on PostgreSQL

Both: {DURABLE['postgres']}.

{lives(r, 'postgres')}
""")
    parts.append(f"""## To listen, and to wait

{resources(r)}

## From `deployment run` to the flow's first line

From the request that asks for the run to the first statement of the flow, which imports the published client in a fresh interpreter in
every case; the first run of each pool is not counted.

{first_lines(r)}

## What floods in

{floods(r)}

## With {r["ours"]["million"]["count"]:,} runs stored

SQLite, one connection asking, the pages in the machine's memory; {number(r["ours"]["million"]["memory"]["rss"])} MB of RSS afterwards.

{million(r)}

## Many schedules

Cron schedules with seconds, so that all that is due in a second is due at its first instant. Lateness is from a slot's instant to the
answer that has its run, for one worker that is woken, asks (200 runs an answer at most), and claims what it got before it asks again. The worker is
of Python and has its share of the same cores.

{due(r)}

## Against our targets

{targets(r)}
""")
    return "\n".join(parts)
