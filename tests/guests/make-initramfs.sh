#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: make-initramfs.sh MODULES OUTPUT [MODULE...]
#
# Packs a small root file system for a test guest into the cpio archive
# OUTPUT: a static busybox, iperf3 with its libraries (ethtool too, if there
# is one), init.sh, and the kernel modules MODULE... of the module tree MODULES
# in the order in which the guest is to load them.  A
# MODULE with a slash is a file.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

die () {
    printf 'make-initramfs.sh: %s\n' "$*" >&2
    exit 1
}

# Copies the program "$1" and the shared libraries that it needs.
add_program () {
    local file

    cp "$(command -v "$1")" "$root/bin/$1"
    ldd "$root/bin/$1" | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}

# Copies module "$1", a name or a file, and notes it down, to be loaded after
# those before it.
add_module () {
    local file=$1 name

    name=$(basename "$1" .ko)
    case $1 in
        */*) ;;
        *) file=$(find "$modules" -name "$1.ko" -print -quit) ;;
    esac
    test -n "$file" || die "there is no module '$1' below $modules"
    strip --strip-debug -o "$root/modules/$name.ko" "$file"
    echo "$name.ko" >> "$root/modules/order"
}

test $# -ge 2 || die "usage: make-initramfs.sh MODULES OUTPUT [MODULE...]"
modules=$1
output=$2
shift 2

busybox=$(command -v busybox) || die "install busybox-static"
command -v iperf3 > /dev/null || die "install iperf3"
command -v cpio > /dev/null || die "install cpio"
if ldd "$busybox" > /dev/null 2>&1; then
    die "$busybox is not static: install busybox-static"
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root/bin" "$root/modules"
cp "$busybox" "$root/bin/busybox"
cp "$here/init.sh" "$root/init"
chmod 755 "$root/init"
add_program iperf3
if command -v ethtool > /dev/null; then
    add_program ethtool
fi
: > "$root/modules/order"
for module; do
    add_module "$module"
done

(cd "$root" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0) \
    > "$output.new"
mv "$output.new" "$output"
