#!/usr/bin/env bash
# All tests; the last line is "N passed, N failed". BUILD is the build directory.
#   fastest first: layers, build, units, units under sanitizers, API and commands against a server on both databases
set -uo pipefail
build=${1:-build}
passed=0 failed=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

count() { # name, passed, failed
    passed=$((passed + $2)) failed=$((failed + $3))
    printf '%-28s %5d passed, %d failed\n' "$1" "$2" "$3"
}
step() { # name, command …: passes or fails as a whole
    local name=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then count "$name" 1 0; else count "$name" 0 1; tail -40 "$log"; fi
    rm -f "$log"
}
meson_suite() { # name, build dir, suites …: each subtest counts
    local name=$1 dir=$2 log p f
    shift 2
    log=$(mktemp)
    # Some tests wait for real processes within bounds: what fails on a busy machine is tried once more, one at a time.
    if ! meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$log" 2>&1; then
        echo "    $name: again, one at a time, for: $(grep -oE '(unit|fuzz) / [a-z_]+ +(FAIL|ERROR|TIMEOUT)' "$log" | sort -u | tr -s ' ' | tr '\n' ';')"
        meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 1 -t 3 "$@" >"$log" 2>&1
    fi
    p=$(grep -cE '^ok ' "$dir/meson-logs/testlog.txt"); f=$(grep -cE '^not ok ' "$dir/meson-logs/testlog.txt")
    local bad
    bad=$(sed -n 's/^\(Fail\|Timeout\|Unexpected Pass\): *//p' "$log" | awk '{s += $1} END {print s + 0}')
    [ "$bad" -gt "$f" ] && f=$bad
    count "$name" "$p" "$f"
    [ "$f" -eq 0 ] || tail -80 "$log"
    grep -h "left out" "$dir/meson-logs/testlog.txt" | sort -u | sed 's/^/    /'
    rm -f "$log"
}
pytests() { # name, args …
    local name=$1 log p f
    shift
    log=$(mktemp)
    timeout 900 "$build/peer-3.8.8/bin/python" -m pytest -q -o cache_dir="$PWD/$build/pytest" "$@" >"$log" 2>&1
    local rc=$?
    if [ $rc -eq 1 ]; then
        echo "    $name: once more for: $(grep -E '^(FAILED|ERROR) ' "$log" | cut -c1-110 | tr '\n' ';')"
        local before
        before=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)
        timeout 600 "$build/peer-3.8.8/bin/python" -m pytest -q --lf -o cache_dir="$PWD/$build/pytest" "$@" >"$log" 2>&1
        rc=$?
        p=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)
        f=$(grep -E '(passed|failed|error)' "$log" | tail -1 | grep -oE '[0-9]+ (failed|error)' | awk '{s += $1} END {print s + 0}')
        [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1
        count "$name" "$((before + p))" "$f"
        [ "$f" -eq 0 ] || tail -120 "$log"
        rm -f "$log"
        return
    fi
    p=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)
    f=$(grep -E '(passed|failed|error)' "$log" | tail -1 | grep -oE '[0-9]+ (failed|error)' | awk '{s += $1} END {print s + 0}')
    [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1
    count "$name" "${p:-0}" "$f"
    [ "$f" -eq 0 ] || tail -120 "$log"
    grep -oE 'left out: .*' "$log" | sort -u | sed 's/^/    /'
    rm -f "$log"
}

step layers python3 tools/check_layers.py
step catalogue python3 tools/check_catalogue.py
[ -d "$build" ] && [ -f "$build/build.ninja" ] || meson setup "$build" >/dev/null || exit 1
step build ninja -C "$build"
meson_suite "units and fuzz corpora" "$build"
[ -d build-asan ] || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
step "build with sanitizers" ninja -C build-asan
meson_suite "the same, ASan and UBSan" build-asan
step "fuzzing, 3 s a target" tests/fuzz/run.sh build-fuzz 3
tools/peer.sh "$build/peer-3.8.8" 3.8.8
tools/peer.sh "$build/peer-2.19.9" 2.19.9
export MILLPOND=$PWD/$build/millpond MILLPOND_PEER=$PWD/$build/peer-3.8.8 MILLPOND_PEER_2=$PWD/$build/peer-2.19.9
UNITS="loop http ws events recorder" step "threads, with their sanitizer" tests/tsan.sh build-tsan "$build/peer-3.8.8" \
    tests/api/test_kill.py tests/api/test_sockets.py -k "load or socket"
MILLPOND=$PWD/build-asan/millpond pytests "API, ASan and UBSan" tests/api/test_bad_input.py tests/api/test_runs.py tests/api/test_history_graph.py \
    tests/api/test_small_resources.py tests/api/test_automations.py tests/api/test_logs.py
pytests "API, commands, workers" tests/api tests/cli tests/worker
pytests "the published clients" tests/compat
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
