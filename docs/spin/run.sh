#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: run.sh [-q] [NAME...]      runs of runs.txt; all, or those named; -q: without the long ones
#
# Prints a row for each: states stored, and what was found. Exit 0 if every run came out as it must, 1 if not, 77 without spin.
set -u
here=$(cd "$(dirname "$0")" && pwd)
quick=
[ "${1:-}" = -q ] && quick=1 && shift

if ! command -v spin >/dev/null 2>&1; then
    echo "skipped: spin is not installed (Debian: apt install spin)"
    exit 77
fi
if ! command -v cc >/dev/null 2>&1; then
    echo "skipped: no C compiler for the verifier that spin writes"
    exit 77
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# one NAME MODEL EXPECTED FLAG...
one() {
    name=$1 model=$2 expected=$3
    shift 3
    (cd "$work" && rm -f pan* && spin -a "$@" "$here/$model.pml" &&
        cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=8000 -o pan pan.c) >"$work/log" 2>&1 || {
        echo "$name: does not compile"
        cat "$work/log"
        failed=1
        return
    }
    (cd "$work" && ./pan -m1000000) >"$work/out" 2>&1
    states=$(awk '/states, stored/ { print $1 }' "$work/out")
    # "invalid end states +" is a heading of every report, so only what the verifier says of an error is looked at.
    error=$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$work/out" | tr -s ' ')
    incomplete=$(grep -cE 'max search depth too small|out of memory|reached -DMEMLIM' "$work/out")
    if grep -q 'errors: 0' "$work/out" && [ "$incomplete" = 0 ]; then
        outcome=ok
    elif [ -n "$error" ]; then
        outcome=caught
    else
        outcome=incomplete
    fi
    verdict=
    [ "$outcome" = "$expected" ] || { verdict="   <-- expected: $expected"; failed=1; }
    printf '%-24s %9s states  %-7s %s%s\n' "$name" "${states:-?}" "$outcome" "$error" "$verdict"
}

while read -r name model expected flags; do
    case $name in '#'* | '') continue ;; esac
    short=${name%\*}
    if [ $# -gt 0 ]; then
        case " $* " in *" $short "*) ;; *) continue ;; esac
    elif [ -n "$quick" ] && [ "$short" != "$name" ]; then
        continue
    fi
    # shellcheck disable=SC2086  # a list of words
    one "$short" "$model" "$expected" $flags
done <"$here/runs.txt"
exit $failed
