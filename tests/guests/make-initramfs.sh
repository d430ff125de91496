#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: make-initramfs.sh MODULES OUTPUT [MODULE...] [-- MODULE...]
#        make-initramfs.sh --programs OUTPUT PROGRAM...
#
# Packs a small root file system for a test guest into the cpio archive
# OUTPUT: a static busybox, iperf3 with its libraries (ethtool too, if there
# is one), init.sh, and the kernel modules MODULE... of the module tree MODULES
# in the order in which the guest is to load them.  A MODULE with a slash is a
# file.  Modules behind -- are in /modules for whoever wants them.
#
# With --programs, packs each PROGRAM, a name or a path, with its libraries.  The
# kernel takes such an archive behind the other one, in the same file.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

die () {
    printf 'make-initramfs.sh: %s\n' "$*" >&2
    exit 1
}

# Copies the program "$1" and the shared libraries that it needs.
add_program () {
    local file name=${1##*/}

    cp "$(command -v "$1")" "$root/bin/$name"
    ldd "$root/bin/$name" | grep -o '/[^ ]*' | while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}

# Copies module "$1", a name or a file.
add_module () {
    local file=$1 name

    name=$(basename "$1" .ko)
    case $1 in
        */*) ;;
        *) file=$(find "$modules" -name "$1.ko" -print -quit) ;;
    esac
    test -n "$file" || die "there is no module '$1' below $modules"
    strip --strip-debug -o "$root/modules/$name.ko" "$file"
}

# Packs what there is.
pack () {
    (cd "$root" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0) \
        > "$output.new"
    mv "$output.new" "$output"
}

test $# -ge 2 || die "usage: make-initramfs.sh MODULES OUTPUT [MODULE...]"
modules=$1
output=$2
shift 2

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root/bin" "$root/modules"
if test "$modules" = --programs; then
    for program; do
        command -v "$program" > /dev/null || die "there is no '$program'"
        add_program "$program"
    done
    pack
    exit
fi

busybox=$(command -v busybox) || die "install busybox-static"
command -v iperf3 > /dev/null || die "install iperf3"
command -v cpio > /dev/null || die "install cpio"
if ldd "$busybox" > /dev/null 2>&1; then
    die "$busybox is not static: install busybox-static"
fi

cp "$busybox" "$root/bin/busybox"
cp "$here/init.sh" "$root/init"
chmod 755 "$root/init"
add_program iperf3
if command -v ethtool > /dev/null; then
    add_program ethtool
fi
: > "$root/modules/order"
loaded=true
for module; do
    if test "$module" = --; then
        loaded=false
        continue
    fi
    add_module "$module"
    # Those that are noted down are loaded after those before them.
    if "$loaded"; then
        echo "$(basename "$module" .ko).ko" >> "$root/modules/order"
    fi
done
pack
