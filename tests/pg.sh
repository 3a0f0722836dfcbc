#!/bin/sh
# A throwaway PostgreSQL for tests, on a Unix socket inside DIR.
#   tests/pg.sh start DIR    makes and starts it, prints its URL; exit 77 where PostgreSQL is not installed
#   tests/pg.sh stop DIR     stops it at once; the caller removes DIR
#   tests/pg.sh restart DIR  stops it at once and starts it again
# It runs with fsync off: a test's database need not outlive the machine. PG_TEST_FSYNC=on, for measuring, turns it on.
# PostgreSQL refuses to run as root: then it runs as user postgres (PG_TEST_USER).
set -eu

[ $# -eq 2 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
what=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)

bin=
for candidate in "${PG_BIN:-}" $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) "$(dirname "$(command -v initdb || echo /nowhere/initdb)")"; do
    [ -n "$candidate" ] && [ -x "$candidate/initdb" ] && { bin=$candidate; break; }
done
[ -n "$bin" ] || { echo "PostgreSQL is not installed" >&2; exit 77; }

as=
if [ "$(id -u)" = 0 ]; then
    user=${PG_TEST_USER:-postgres}
    as="runuser -u $user --"
    mkdir -p "$dir/pg"
    chown "$user" "$dir/pg"
    chmod o+x "$dir"
    runuser -u "$user" -- test -x "$dir/pg" || { echo "user $user cannot reach $dir" >&2; exit 1; }
fi
data=$dir/pg/data

start() {
    $as "$bin/pg_ctl" start -s -w -t 60 -D "$data" -l "$dir/pg/log" \
        -o "-c listen_addresses='' -c unix_socket_directories='$dir/pg' -c fsync=${PG_TEST_FSYNC:-off} -c max_connections=60 -c shared_buffers=32MB" \
        >/dev/null || { cat "$dir/pg/log" >&2; exit 1; }
}

cd /
case $what in
start)
    mkdir -p "$dir/pg"
    [ -d "$data" ] || $as "$bin/initdb" -D "$data" -U millpond -A trust -E UTF8 --locale=C -N >/dev/null
    start
    echo "postgresql://millpond@/postgres?host=$(printf %s "$dir/pg" | sed 's|/|%2F|g')"
    ;;
stop) $as "$bin/pg_ctl" stop -s -m immediate -D "$data" ;;
restart)
    $as "$bin/pg_ctl" stop -s -m immediate -D "$data"
    start
    ;;
*) exit 2 ;;
esac
