#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: setup.sh {build|test|extras|lint|clang}...
#
# Says what these jobs need and do not find, and installs it through apt; silent and quick when everything is there.
# Optional are liburing (without it uhmm/uring.h's functions answer -EOPNOTSUPP), mandoc (which checks the manual pages), and
# the extras, without which some tests skip.
set -u

missing=
optional=

# note PACKAGE [optional]
note() {
    if [ "${2-}" = optional ]; then
        optional="$optional $1"
    else
        missing="$missing $1"
    fi
}

# need_command COMMAND PACKAGE [optional]: a program on the path
need_command() {
    command -v "$1" >/dev/null 2>&1 || note "$2" "${3-}"
}

# need_library PKG_CONFIG_NAME PACKAGE [optional]
need_library() {
    pkg-config --exists "$1" 2>/dev/null || note "$2" "${3-}"
}

for job in "$@"; do
    case $job in
    build)
        need_command "${CC:-gcc}" "${CC:-gcc}"
        [ -e /usr/include/stdio.h ] || note libc6-dev
        need_command meson meson
        need_command ninja ninja-build
        need_command pkg-config pkg-config
        need_command python3 python3
        need_library libxxhash libxxhash-dev
        need_library liburing liburing-dev optional
        need_library libdw libdw-dev optional
        ;;
    test)
        need_library cmocka libcmocka-dev
        need_command mandoc mandoc optional
        need_command nm binutils
        ;;
    clang) need_command clang clang ;;
    extras)
        need_library libfabric libfabric-dev optional
        need_library ucx libucx-dev optional
        need_library libibverbs libibverbs-dev optional
        need_command aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu optional
        [ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ] || note libc6-dev-arm64-cross optional
        need_command qemu-aarch64 qemu-user optional
        need_command musl-gcc musl-tools optional
        need_command go golang-go optional
        ;;
    lint)
        need_command clang-tidy clang-tidy
        need_command clang-format clang-format
        need_command cppcheck cppcheck
        ;;
    *) echo "setup.sh: unknown job '$job'" >&2; exit 2 ;;
    esac
done

[ -n "$missing$optional" ] || exit 0
echo "setup: not found:$missing$optional" >&2

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null 2>&1 || as_root=none
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing through apt" >&2
    # shellcheck disable=SC2086  # lists of words
    $as_root apt-get -qq update >&2 &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing $optional \
            >&2 && exit 0
    echo "setup: apt could not install them" >&2
else
    echo "setup: please install them (this needs apt-get, and root or sudo)" >&2
fi
# What is optional does not stop the build.
[ -z "$missing" ]
