#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: aarch64.sh [--quick] BUILD_DIR
#
# Cross-compiles for aarch64 and runs, under qemu-user, what says something there: the guarantees, the hooks under load, what
# they refuse, races of the registration cache. Everything is built; with --quick no more than is run. 77 without a cross
# compiler or an emulator. The emulator runs guest threads on this machine's processor, so that orders of memory are not what
# is tested here.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1

quick=
if [ "${1-}" = --quick ]; then
    quick=yes
    shift
fi
build=${1:?"usage: aarch64.sh [--quick] BUILD_DIR"}
sysroot=/usr/aarch64-linux-gnu

for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v $tool >/dev/null 2>&1 || { echo "skipped: no $tool"; exit 77; }
done
[ -e $sysroot/lib/libc.so.6 ] || { echo "skipped: no $sysroot/lib/libc.so.6"; exit 77; }

tests='
protocol/protocol_g01
protocol/protocol_g02
protocol/protocol_g03
protocol/protocol_g04
protocol/protocol_g05
protocol/protocol_g06
protocol/protocol_g07
protocol/protocol_g08
protocol/protocol_g09
protocol/protocol_g10
protocol/protocol_g11
protocol/protocol_g12
protocol/protocol_stress
unit/aarch64_trampolines
integration/integration_hooks_hammer 3 20
integration/integration_hooks_chain 1
integration/integration_hooks_files
integration/integration_hooks_table
integration/integration_hooks_process
integration/integration_hooks_dlclose
integration/integration_hooks_refuse
races/race_r25 10
races/race_r31 500
races/race_r32 500
races/race_r33 500
'

[ "$quick" ] || tests=$(echo "$tests" | sed 's|_hooks_chain 1|_hooks_chain|')

mkdir -p "$(dirname "$build")" || exit 1
if [ ! -e "$build/build.ninja" ]; then
    unset CC CFLAGS LDFLAGS
    # Without cmocka and liburing, which nobody has for another machine; --quick without the race lab, which is not run.
    meson setup "$build" "$root" --cross-file "$root/cross/aarch64-linux-gnu.ini" -Dliburing=disabled \
        -Dlab="$([ "$quick" ] && echo false || echo true)" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
fi
targets=
[ "$quick" ] && targets=$(echo "$tests" | sed -n 's|^\([a-z].*\)|tests/\1|p' | cut -d' ' -f1)
# shellcheck disable=SC2086  # a list of words
ninja -C "$build" --quiet -j "${JOBS:-$(nproc 2>/dev/null || echo 2)}" $targets >"$build.log" 2>&1 ||
    { cat "$build.log"; exit 1; }

failed=0
passed=0
skipped=0

# What the emulator cannot show: barriers, looked for in the code itself; the control is the same code without them.
aarch64-linux-gnu-objdump -d --no-show-raw-insn "$build/src/libuhmm.so.0" >"$build/libuhmm.s" || exit 1
if awk -f "$root/scripts/aarch64_barriers.awk" "$build/libuhmm.s" &&
    ! grep -v dmb "$build/libuhmm.s" | awk -f "$root/scripts/aarch64_barriers.awk" >/dev/null; then
    passed=1
else
    failed=1
fi

while read -r test arguments; do
    [ -n "$test" ] || continue
    # shellcheck disable=SC2086
    UHMM_TEST_EMULATED=1 timeout 120 qemu-aarch64 -L $sysroot "$build/tests/$test" $arguments >"$build/test.log" 2>&1 </dev/null
    status=$?
    case $status in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)); echo "$test: $(tail -n 1 "$build/test.log")" ;;
    *)
        failed=$((failed + 1))
        echo "$test $arguments: exit status $status"
        tail -n 20 "$build/test.log"
        ;;
    esac
done <<EOF
$tests
EOF
echo "aarch64 under qemu-user: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
