#!/usr/bin/env bash
# tests/fuzz/run.sh BUILD SECONDS [TARGET …]: builds the fuzz targets with clang and runs each for so long, from its corpus on. New inputs that
# reach something new are kept in BUILD/corpus/TARGET, those that break something in BUILD/found/TARGET-…; exit 1 where there are any.
set -euo pipefail
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
build=$1 seconds=$2
shift 2
cd "$(dirname "$0")/../.."
[ -f "$build/build.ninja" ] || CC=clang meson setup "$build" -Dfuzzing=true -Db_lundef=false -Db_sanitize=address,undefined >/dev/null
targets=("$@")
[ $# -gt 0 ] || targets=($(ls tests/fuzz/corpus))
ninja -C "$build" --quiet "${targets[@]/#/tests/fuzz/fuzz_}"
mkdir -p "$build/found"
bad=0
for t in "${targets[@]}"; do
    mkdir -p "$build/corpus/$t"
    log=$build/found/$t.log
    if "$build/tests/fuzz/fuzz_$t" "$build/corpus/$t" "tests/fuzz/corpus/$t" -max_total_time="$seconds" -max_len=8192 -timeout=20 \
        -rss_limit_mb=3000 -artifact_prefix="$build/found/$t-" >"$log" 2>&1; then
        echo "ok $t: $(tail -1 "$log")"
    else
        bad=1
        echo "not ok $t: $(grep -m1 -E 'ERROR|runtime error|millpond: ' "$log" || tail -1 "$log") (see $log)"
    fi
done
exit $bad
