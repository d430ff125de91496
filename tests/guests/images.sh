# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The kernels and initial file systems of guests.  Part of guests.sh.

# Prints the first directory below "$1" that has kernel modules.
guests__module_tree () {
    local file

    file=$(find "$1" -name virtio_net.ko -print -quit 2> /dev/null)
    test -n "$file" && echo "${file%/kernel/*}"
}

# Prints "$1" unless the program "$2" exists.
guests__lacks_program () {
    command -v "$2" > /dev/null || echo "$1"
}

guests__lacks_kernel () {
    test -e "$GUESTS_CACHE/vmlinuz" || test -e "$GUESTS_CACHE/kernel.deb" ||
        echo linux-image-cloud-amd64
}

# Prints the version of the kernel that QEMU's guests boot.
guests_kernel_version () {
    guests__unpack_kernel && ls "$GUESTS_CACHE/kernel/lib/modules"
}

# Prints what it takes to build the driver of guest/linux for that kernel.
guests__lacks_headers () {
    local version

    test -z "$(guests__lacks_kernel)" || return 0
    version=$(guests_kernel_version)
    test -e "/lib/modules/$version/build/Makefile" ||
        echo "linux-headers-$version"
}

guests_missing () {
    local kind

    for kind; do
        case $kind in
            vpci)
                guests__lacks_program qemu-system-x86 qemu-system-x86_64
                guests__lacks_kernel
                guests__lacks_headers
                guests__lacks_program make make
                ;;
            uml)
                guests__lacks_program user-mode-linux linux.uml
                ;;
            qemu)
                guests__lacks_program qemu-system-x86 qemu-system-x86_64
                guests__lacks_kernel
                ;;
            testpmd)
                guests__lacks_program dpdk-dev dpdk-testpmd
                continue
                ;;
        esac
        guests__lacks_program busybox-static busybox
        guests__lacks_program iperf3 iperf3
        guests__lacks_program cpio cpio
    done | sort -u
}

# Downloads Debian's kernel package for virtual machines into the cache, for
# guests only: nothing is installed and no boot loader is touched.
guests_download_kernel () {
    local package deb

    package=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null |
              sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    test -n "$package" || package=linux-image-cloud-amd64
    mkdir -p "$GUESTS_CACHE/download" || return 1
    (cd "$GUESTS_CACHE/download" &&
     apt-get download -o APT::Sandbox::User=root "$package") || return 1
    for deb in "$GUESTS_CACHE/download/$package"_*.deb; do
        mv "$deb" "$GUESTS_CACHE/kernel.deb"
    done
    rm -rf "$GUESTS_CACHE/download"
}

guests__unpack_kernel () {
    local tree=$GUESTS_CACHE/kernel

    test ! -e "$GUESTS_CACHE/vmlinuz" || return 0
    rm -rf "$tree"
    dpkg-deb -x "$GUESTS_CACHE/kernel.deb" "$tree" &&
        cp "$tree"/boot/vmlinuz-* "$GUESTS_CACHE/vmlinuz" &&
        rm -f "$GUESTS_CACHE/kernel.deb"
}

# Makes the image of kind "$1" from module tree "$2" with the modules "$3"...
guests__image () {
    local image=$GUESTS_CACHE/$1.cpio tree=$2 source here=${guests__here:?}

    shift 2
    # An image is made anew after an upgrade of its kernel, too.
    for source in "$here/init.sh" "$here/make-initramfs.sh" \
                   "$here/images.sh" "$@"; do
        case $source in
            */*) ;;
            *) continue ;;
        esac
        if test ! -e "$image" || test "$source" -nt "$image" ||
           test "$(cat "$image.kernel")" != "$tree"; then
            bash "$here/make-initramfs.sh" "$tree" "$image" "$@" || return 1
            echo "$tree" > "$image.kernel"
        fi
    done
}

# Builds the driver of guest/linux.  Prints nothing unless that fails.
guests__build_driver () {
    local log=$GUESTS_CACHE/driver.log

    make -C "${guests__here:?}/../../guest/linux" \
        KVER="$(guests_kernel_version)" TREE="$GUESTS_CACHE/driver" \
        JOBS="$(nproc)" > "$log" 2>&1 && return 0
    tail -n 20 "$log" >&2
    guests__error "the driver of guest/linux cannot be built: see $log"
}

guests__prepare_one () {
    case $1 in
        vpci)
            guests__unpack_kernel && guests__build_driver || return 1
            guests__image vpci \
                "$(guests__module_tree "$GUESTS_CACHE/kernel")" \
                failover net_failover virtio_ring virtio \
                virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci \
                virtio_net "$GUESTS_CACHE/driver/vpci.ko" \
                "$GUESTS_CACHE/driver/vpci_net.ko" -- tls bonding
            ;;
        uml)
            guests__image uml "$(guests__module_tree /usr/lib/uml/modules)" \
                failover net_failover virtio_net
            ;;
        qemu)
            guests__unpack_kernel || return 1
            guests__image qemu \
                "$(guests__module_tree "$GUESTS_CACHE/kernel")" \
                failover net_failover virtio_ring virtio \
                virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci \
                virtio_net -- \
                irqbypass vfio_virqfd vfio vfio_iommu_type1 vfio-pci-core \
                vfio-pci uio uio_pci_generic
            ;;
    esac
}

guests_prepare () {
    local missing lock status=0

    missing=$(guests_missing "$@")
    if test -n "$missing"; then
        guests__error "these packages are missing: ${missing//$'\n'/ }" \
                      "(./quickstart.sh installs them)"
        return 1
    fi
    mkdir -p "$GUESTS_CACHE" || return 1
    exec {lock}> "$GUESTS_CACHE/lock"
    flock "$lock"
    while test $# -gt 0 && test "$status" -eq 0; do
        guests__prepare_one "$1" || status=1
        shift
    done
    exec {lock}>&-
    return "$status"
}
