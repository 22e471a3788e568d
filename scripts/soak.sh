#!/bin/sh
# SPDX-License-Identifier: MIT
# The random tests for UHMM_SOAK_SECONDS (600) each: plain, then under AddressSanitizer, then under ThreadSanitizer.
set -u
cd "$(dirname "$0")/.." || exit 1

seconds=${UHMM_SOAK_SECONDS:-600}
export UHMM_FUZZ_SECONDS="$seconds"
status=0
# Meson's time limits are for the short runs; -t multiplies them.
limit="-t $((seconds / 10 + 2)) --suite fuzz"
# shellcheck disable=SC2086  # a list of words
{
    scripts/test.sh build/test -- $limit || status=1
    scripts/test.sh build/asan -Db_sanitize=address,undefined -Db_lundef=false -- $limit || status=1
    scripts/test.sh build/tsan -Db_sanitize=thread -Db_lundef=false -- $limit || status=1
}
exit $status
