#!/usr/bin/env bash
# tests/tsan.sh BUILD PEER [pytest arguments]: builds with ThreadSanitizer, runs the units of what has threads, and the given API tests against that
# server. Any report fails. Left out: test_sandbox, whose children run under a seccomp filter and limits that the sanitizer cannot live in,
# and which changes a call's arguments under the kernel's eyes on purpose. There are no suppressions.
set -uo pipefail
build=$1 peer=$2
shift 2
cd "$(dirname "$0")/.."
[ -f "$build/build.ninja" ] || meson setup "$build" -Db_sanitize=thread -Db_lundef=false >/dev/null || exit 1
units=${UNITS:-base loop http ws client db db_cut events recorder upkeep concurrency supervisor}
ninja -C "$build" --quiet millpond $(printf 'tests/unit/test_%s ' $units) || exit 1
reports=$(mktemp -d)
bad=0
for u in $units; do
    TSAN_OPTIONS="log_path=$reports/$u" "$build/tests/unit/test_$u" >"$reports/out" 2>&1 || { echo "not ok $u"; tail -20 "$reports/out"; bad=1; }
done
if [ $# -gt 0 ]; then
    MILLPOND=$PWD/$build/millpond MILLPOND_PEER=$(cd "$peer" && pwd) TSAN_OPTIONS="log_path=$reports/server" timeout 600 \
        "$peer/bin/python" -m pytest -q -o cache_dir="$build/pytest" "$@" >"$reports/out" 2>&1 || { tail -40 "$reports/out"; bad=1; }
    tail -1 "$reports/out"
fi
rm -f "$reports/out"
if [ -n "$(ls "$reports")" ]; then
    head -60 "$reports"/*
    bad=1
fi
rm -rf "$reports"
exit $bad
