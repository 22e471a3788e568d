#!/bin/sh
# SPDX-License-Identifier: MIT
# examples/uring_cp ($1) copies: files of awkward sizes, onto a longer file too; mistakes get one line and no copy.
set -u
cp=$1
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/uring_cp.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "$*"
    exit 1
}

for size in 0 1 511 512 513 4095 4096 4097 131071 131072 131073 1000003 20971527; do
    head -c "$size" /dev/urandom >"$dir/from"
    for depth in 1 7 32; do
        head -c 3000000 /dev/zero >"$dir/to"
        "$cp" "$dir/from" "$dir/to" "$depth" >"$dir/out" 2>"$dir/err"
        status=$?
        if [ "$status" = 1 ] && grep -q 'io_uring: ' "$dir/err"; then
            echo "skipped: $(cat "$dir/err")"
            exit 77
        fi
        [ "$status" = 0 ] || fail "$size bytes, depth $depth: status $status: $(cat "$dir/err")"
        cmp "$dir/from" "$dir/to" || fail "$size bytes, depth $depth: not the same"
    done
done

# status, arguments
refused() {
    wanted=$1
    shift
    "$cp" "$@" >"$dir/out" 2>"$dir/err"
    status=$?
    [ "$status" = "$wanted" ] || fail "status $status, not $wanted: $*"
    [ "$(wc -l <"$dir/err")" = 1 ] || fail "not one line: $(cat "$dir/err")"
}

refused 2
refused 2 "$dir/from"
refused 2 "$dir/from" "$dir/to" 0
refused 2 "$dir/from" "$dir/to" 33
refused 2 "$dir/from" "$dir/to" many
refused 1 "$dir/missing" "$dir/to"
refused 1 "$dir" "$dir/to"
refused 1 "$dir/from" "$dir/no/such/place"
echo "all copies are the same"
