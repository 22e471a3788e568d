#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: test.sh BUILD_DIR [MESON_SETUP_OPTION...] [-- MESON_TEST_OPTION...]
#
# Configures BUILD_DIR once, builds it and runs its tests; ends with the line "N passed, N failed, N skipped".
# UHMM_FUZZ_SECONDS: how long each random test runs.
set -u
cd "$(dirname "$0")/.." || exit 1

build=$1
shift
options=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options="$options $1"
    shift
done
[ $# -gt 0 ] && shift

jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
log=$build/meson-logs/testlog.json

mkdir -p "$build" || exit 1
if [ ! -e "$build/build.ninja" ]; then
    # shellcheck disable=SC2086  # a list of words
    meson setup "$build" $options >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
fi
rm -f "$log"
ninja -C "$build" -j "$jobs" --quiet || exit 1
# Reports go to stderr and a failing exit status, which is what the tests look at.
export ASAN_OPTIONS="${ASAN_OPTIONS:-abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1:history_size=4}"
export UHMM_FUZZ_SECONDS="${UHMM_FUZZ_SECONDS:-10}"
meson test -C "$build" --no-rebuild --num-processes "$jobs" --print-errorlogs "$@"
status=$?
python3 scripts/summary.py "$log" || status=1
exit $status
