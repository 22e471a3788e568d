#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: installed.sh BUILD_DIR
#
# What `make install` leaves is enough to build a program: headers, pkg-config file, shared and static library, in C and in C++
# (headers only where there is no C++ compiler for the latter), under a prefix that is not the configured one.
set -eu

build=$1
tree=$(mktemp -d "${TMPDIR:-/tmp}/uhmm-installed.XXXXXX")
trap 'rm -rf "$tree"' EXIT

meson install -C "$build" --no-rebuild --quiet --destdir "$tree"
pc=$(find "$tree" -name uhmm.pc)
[ -n "$pc" ] || { echo "no uhmm.pc"; exit 1; }
# The build configured a prefix; this tree stands in for it.
prefix=$(sed -n 's/^prefix=//p' "$pc")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
sed -i "s|^prefix=.*|prefix=$tree$prefix|" "$pc"

cat >"$tree/program.c" <<'EOF'
#include <uhmm/uhmm.h>

int main(void)
{
	static struct uhmm_mm_options options;
	struct uhmm_mm *mm;

	options.size = sizeof(options);
	options.monitors = UHMM_MONITOR_EXPLICIT;
	if (uhmm_mm_open(&mm, &options))
		return 1;
	if (uhmm_mm_monitors(mm) != UHMM_MONITOR_EXPLICIT)
		return 2;
	uhmm_mm_close(mm);
	return 0;
}
EOF
# shellcheck disable=SC2046  # lists of words
{
    cc -Wall -Wextra -Werror -pedantic -std=c17 -o "$tree/shared" "$tree/program.c" $(pkg-config --cflags --libs uhmm)
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir uhmm) "$tree/shared"
    archive=$(find "$tree" -name libuhmm.a)
    cc -std=c17 -o "$tree/static" "$tree/program.c" $(pkg-config --cflags uhmm) "$archive" \
        $(pkg-config --static --libs uhmm | tr ' ' '\n' | grep -v -e '-luhmm' | tr '\n' ' ')
    "$tree/static"
    if command -v c++ >/dev/null; then
        c++ -x c++ -Wall -Wextra -Werror -o "$tree/plusplus" "$tree/program.c" $(pkg-config --cflags --libs uhmm)
        LD_LIBRARY_PATH=$(pkg-config --variable=libdir uhmm) "$tree/plusplus"
    fi
}
# The soname is a promise.
objdump -p "$(find "$tree" -name 'libuhmm.so.0')" | grep -q 'SONAME *libuhmm.so.0$'
echo "installed and used: $(find "$tree$prefix" -type f | wc -l) files"
