#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: readme.sh SOURCE_DIR EXAMPLE
#
# The README's example is examples/readme.c, to the letter, and does what its comments say.
set -eu

readme=$(sed -n '/^```c$/,/^```$/p' "$1/README.md" | sed '1d;$d')
example=$(sed -n '/^#include <stdio.h>/,$p' "$1/examples/readme.c")
[ "$readme" = "$example" ] || { echo "README.md and examples/readme.c differ"; exit 1; }
keys=$("$2" | sed 's/.*key //' | tr '\n' ' ')
[ "$keys" = "1 1 2 2 " ] || { echo "the example printed keys $keys"; exit 1; }
