#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: UHMM=path/to/uhmm [KERNEL=xxh64] [SABOTAGE=announce_before] run.sh [FILE...]
#
# The job that the library exists for, and its negative control, on at least 100 MB of real files (found on this machine, or
# those given): a device streams them through registered buffers in memory that other threads keep changing.
#   sound      the shipped protocol: the answer is right, nothing stale is read, no write is lost
#   sabotaged  a change is announced before the call only: the device must be caught using pages that are gone
# Exit status 0 only if both come out so.
set -u
start=$PWD
cd "$(dirname "$0")/.." || exit 1

uhmm=${UHMM:-build/release/tools/uhmm}
kernel=${KERNEL:-xxh64}
sabotage=${SABOTAGE:-announce_before}
bytes_wanted=100000000
work=$(mktemp -d "${TMPDIR:-/tmp}/uhmm-run.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Largest first, so that few files make up the amount; none so large that one alone takes the whole run.
find_files() {
    find -L /usr/lib /usr /opt /var/lib -xdev -type f -readable -size +256k -size -40000k -printf '%s\t%p\n' 2>/dev/null |
        sort -rn | uniq |
        awk -F '\t' -v wanted="$bytes_wanted" '{ sum += $1; print $2; if (sum >= wanted) exit }'
}

# figure NAME RUN: the number on the report's line of that name
figure() {
    sed -n "s/^  $1  *\([0-9,]*\)\$/\1/p" "$work/$2" | tr -d ,
}

# run_once NAME OPTION...: shows the report and keeps it; the status is the tool's
run_once() {
    name=$1
    shift
    set -- --chaos 1 "$@"
    [ "$kernel" != copy ] || set -- --output "$work/copy" "$@"
    "$uhmm" exec "$@" -- "$kernel" $files >"$work/$name" 2>"$work/$name.error"
    status=$?
    cat "$work/$name"
    return $status
}

wrong() {
    [ ! -s "$work/$2.error" ] || cat "$work/$2.error" >&2
    echo "run: $1" >&2
    exit 1
}

if [ $# -gt 0 ]; then
    for file in "$@"; do
        case $file in
        /*) echo "$file" ;;
        *) echo "$start/$file" ;;
        esac
    done >"$work/files"
else
    find_files >"$work/files"
    [ -s "$work/files" ] || wrong "no files of a fitting size found; name some: make run FILE=..." none
fi
# One name a line, whatever else is in it.
IFS='
'
set -f
files=$(cat "$work/files")

echo "The shipped protocol, while another thread unmaps, replaces, discards and moves the memory:"
run_once sound --seconds 10 || wrong "the sound run failed" sound
[ "$(figure 'stale reads' sound)" = 0 ] && [ "$(figure 'lost writes' sound)" = 0 ] || wrong "the sound run lost data" sound

echo
echo "The same, sabotaged ($sabotage):"
run_once sabotaged --seconds 3 --protocol "$sabotage" &&
    wrong "the sabotaged run came through: the attack does not work here" sabotaged
stale=$(figure 'stale reads' sabotaged)
lost=$(figure 'lost writes' sabotaged)
[ "$((${stale:-0} + ${lost:-0}))" -gt 0 ] || wrong "the sabotaged run failed for another reason" sabotaged

echo
echo "As it must be: the sound run is right and lost nothing; the sabotaged one used $((stale + lost)) pages that were gone."
