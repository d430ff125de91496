#! /bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes 'configure' and what it needs, in a fresh clone.

set -e
cd "$(dirname "$0")"

for tool in autoreconf:autoconf automake:automake libtoolize:libtool \
            pkg-config:pkg-config; do
    if ! command -v "${tool%%:*}" > /dev/null; then
        echo "$0: ${tool%%:*} not found: apt-get install ${tool#*:}" >&2
        exit 1
    fi
done

mkdir -p m4
exec autoreconf --install --force
