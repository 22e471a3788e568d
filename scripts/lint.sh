#!/bin/sh
# SPDX-License-Identifier: MIT
# clang-tidy (the checks are in .clang-tidy) and cppcheck over what is installed and what a reader copies: library,
# tool, examples.
set -u
cd "$(dirname "$0")/.." || exit 1

build=build/lint
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
status=0

mkdir -p "$build" || exit 1
if [ ! -e "$build/build.ninja" ]; then
    CC=clang meson setup "$build" -Dtests=false >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
fi
# Brings the compilation database up to date where a meson.build has changed, and makes what sources include.
ninja -C "$build" build.ninja guarantees/rows.h >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }

# Every such source that this machine's build compiles, once.
python3 -c 'import json, os, sys
entries = json.load(open(sys.argv[1] + "/compile_commands.json"))
paths = {os.path.normpath(os.path.join(e["directory"], e["file"])) for e in entries}
paths = sorted(os.path.relpath(p) for p in paths)
print("\n".join(p for p in paths if p.split("/")[0] in ("src", "tools", "examples")))' "$build" >"$build/sources"
# One process a file: clang-tidy's memory of a file does not help the next.
xargs -P "$jobs" -n 1 clang-tidy -p "$build" --quiet <"$build/sources" >"$build/tidy.out" 2>"$build/tidy.err" || status=1
cat "$build/tidy.out"
[ "$status" = 0 ] || grep -v -e ' generated' -e 'Suppressed ' -e 'Use -header-filter' "$build/tidy.err"

# The assembler's register variables look like statements without effect; a closing and what it points to share a frame.
cppcheck --quiet --std=c11 --error-exitcode=1 -j "$jobs" --inline-suppr --enable=warning,portability \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=constStatement:src/monitors/hook_op.h \
    --suppress=autoVariables:src/monitors/hook_dlclose.c \
    -D_GNU_SOURCE -DUHMM_VERSION=x -D__x86_64__ -D__linux__ -Iinclude -Isrc -Isrc/port/native src tools examples || status=1
exit $status
