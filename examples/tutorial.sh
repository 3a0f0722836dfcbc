#!/usr/bin/env bash
# Plays the tutorial: each command with its real output.
#   examples/tutorial.sh BUILD_DIR PEER_DIR [1]      1: leave the server running at the end (make tutorial KEEP=1)
# PEER_DIR is a virtual environment with the published client, which deploys. Everything is on loopback; what is started
# is ended, and what is written is under BUILD_DIR/tutorial.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd) peer=$(cd "$2" && pwd) keep=${3:-}
home=$build/tutorial
rm -rf "$home"
mkdir -p "$home/bin" "$home/git"
ln -s "$build/millpond" "$home/bin/millpond"
unset PREFECT_API_URL PREFECT_API_KEY MILLPOND_API_URL
export PATH=$home/bin:$peer/bin:$PATH MILLPOND_HOME=$home/state PREFECT_HOME=$home/prefect COLUMNS=100 NO_COLOR=1
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false

pids=()
finish() {
    local p
    for p in "${pids[@]}"; do stop "$p"; done
}
trap finish EXIT

# Asks a process to end, and makes it end where it does not within ten seconds.
stop() {
    local i
    kill "$1" 2>/dev/null || return 0
    for i in $(seq 100); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
title() { printf '\n== %s\n' "$*"; }
# Prints the command as one would type it, and runs it.
try() { printf '\n$ %s\n' "$*"; eval "$*"; }
# The id of the newest run of a deployment.
newest() { millpond flow-run ls --limit 1 --flow-name get-repo-info -o json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])'; }
# Waits until `test` prints something; says what was waited for otherwise.
await() { # seconds, what, command …
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until [ -n "$("$@" 2>/dev/null)" ]; do
        [ $SECONDS -lt $end ] || { echo "tutorial: $what did not come in time" >&2; tail -20 "$home/server.log" >&2; exit 1; }
        sleep 0.2
    done
}

title "The flow, in a git repository"
cp "$here/get-repo-info/get_repo_info.py" "$here/deploy.py" "$home/"
git -c init.defaultBranch=main init -q "$home/git/work"
cp "$home/get_repo_info.py" "$home/git/work/"
git -C "$home/git/work" add -A
git -C "$home/git/work" -c user.name=tutorial -c user.email=tutorial@localhost commit -qm "A flow that prints a repository's figures"
git clone -q --bare "$home/git/work" "$home/git/get-repo-info.git"
free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
git daemon --reuseaddr --listen=127.0.0.1 --port="$port" --base-path="$home/git" --export-all "$home/git" >/dev/null 2>&1 &
pids+=($!)
repository=git://127.0.0.1:$port/get-repo-info.git
try cat "$here/get-repo-info/get_repo_info.py"
# Where the public API cannot be reached the flow says so and asks this one.
python "$here/standin.py" >"$home/standin" &
pids+=($!)
await 10 "the stand-in's address" cat "$home/standin"
export STATISTICS_API=$(cat "$home/standin")

title "The server: SQLite, no other set-up"
listen=4200
(exec 3<>"/dev/tcp/127.0.0.1/$listen") 2>/dev/null && listen=$(free_port)
printf '\n$ millpond server start --port %s &\n' "$listen"
millpond server start --port "$listen" >"$home/ready" 2>"$home/server.log" &
server=$!
pids+=("$server")
await 10 "the server" cat "$home/ready"
cat "$home/ready"
export MILLPOND_API_URL=http://127.0.0.1:$listen/api PREFECT_API_URL=http://127.0.0.1:$listen/api

title "A managed work pool: the server runs its flows itself"
try millpond work-pool create my-managed-pool --type prefect:managed
try millpond work-pool ls
title "Deployed by the published client"
cd "$home"
try "python deploy.py $repository my-managed-pool"
title "Run now, in the sandbox, with nothing else started"
echo "(the first run of a pool builds its environment; the next ones find it ready)"
try "millpond deployment run 'get-repo-info/my-first-deployment' --watch"
try millpond flow-run ls
try millpond flow-run logs "$(newest)"
title "Again, with the environment ready"
try "millpond deployment run 'get-repo-info/my-first-deployment' --param repo_name=torvalds/linux --watch"
millpond flow-run logs "$(newest)" | grep -q Stars

title "By a schedule: every ten seconds (the sixth field counts seconds)"
try "millpond deployment schedule create 'get-repo-info/my-first-deployment' --cron '* * * * * */10'"
try "millpond schedule next --cron '* * * * * */10' --timezone UTC --count 3"
scheduled_done() {
    millpond flow-run ls --state-type COMPLETED -o json | python -c 'import json, sys; print("".join(r["name"] for r in json.load(sys.stdin) if r["auto_scheduled"]))'
}
await 20 "the scheduler's runs" sh -c "millpond flow-run ls --state-type SCHEDULED | grep -i scheduled"
try "millpond flow-run ls --state-type SCHEDULED --limit 3"
await 60 "a scheduled run" scheduled_done
try "millpond flow-run ls --state-type COMPLETED --limit 3"
try "millpond deployment schedule clear 'get-repo-info/my-first-deployment' --yes"

title "A process pool and its worker"
try millpond work-pool create my-process-pool --type process
try "python deploy.py $repository my-process-pool on-my-machine"
printf '\n$ millpond worker start --pool my-process-pool &\n'
millpond worker start --pool my-process-pool >"$home/worker.log" 2>&1 &
worker=$!
pids+=("$worker")
await 20 "the worker" grep started "$home/worker.log"
try "millpond deployment run 'get-repo-info/on-my-machine' --watch"
stop "$worker"
title "The same by the reference's own worker"
printf '\n$ prefect worker start --pool my-process-pool &\n'
prefect worker start --pool my-process-pool >"$home/prefect-worker.log" 2>&1 &
worker=$!
pids+=("$worker")
await 60 "prefect's worker" grep started "$home/prefect-worker.log"
try "millpond deployment run 'get-repo-info/on-my-machine' --watch"
stop "$worker"

title "Everything that ran"
try millpond flow-run ls
if [ -n "$keep" ]; then
    trap - EXIT
    echo
    echo "The server goes on at http://127.0.0.1:$listen (process $server); to stop it: kill $server"
else
    title "SIGTERM: the server finishes what it accepted"
    kill "$server"
    wait "$server" && echo "exit 0"
fi
echo
echo "tutorial: done"
