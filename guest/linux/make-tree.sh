#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
#
# usage: make-tree.sh DIRECTORY VERSION
#
# Makes DIRECTORY the source tree of the guest driver: its own files, and those
# of libvpci that it is made of.  Files that are there already and the same are
# left alone, so that make need not build them again.
set -eu

test $# -eq 2 || { echo "usage: make-tree.sh DIRECTORY VERSION" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tree=$1
mkdir -p "$tree"

# put FILE NAME: FILE is NAME in the tree.
put () {
    mkdir -p "$tree/$(dirname "$2")"
    cmp -s "$1" "$tree/$2" || cp "$1" "$tree/$2"
}

for file in "$here"/*.c "$here"/*.h "$here/Kbuild" "$here/dkms.conf"; do
    put "$file" "$(basename "$file")"
done
(cd "$here" && find compat -name '*.h') | while read -r file; do
    put "$here/$file" "$file"
done
for file in "$root"/include/vpci/*.h; do
    put "$file" "include/vpci/$(basename "$file")"
done
for file in "$root"/lib/vpci/*.h; do
    put "$file" "core/$(basename "$file")"
done
grep -o 'core/[a-z-]*\.o' "$here/Kbuild" | sort -u | while read -r object; do
    put "$root/lib/vpci/$(basename "$object" .o).c" "${object%.o}.c"
done
echo "$2" > "$tree/VERSION.new"
put "$tree/VERSION.new" VERSION
rm "$tree/VERSION.new"
sed -i "s/@VERSION@/$2/" "$tree/dkms.conf"
