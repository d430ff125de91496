# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU guests that need no KVM: Debian's cloud kernel, translated.  Part of
# guests.sh.

# Prints the image that guest "$1" boots from.
qemu__image () {
    local image=$GUESTS_DIR/$1/initrd.cpio programs=()

    if test -z "$GUEST_PROGRAMS"; then
        echo "$GUESTS_CACHE/qemu.cpio"
        return
    fi
    read -r -a programs <<< "$GUEST_PROGRAMS"
    bash "${guests__here:?}/make-initramfs.sh" --programs "$image.programs" \
        "${programs[@]}" || return 1
    cat "$GUESTS_CACHE/qemu.cpio" "$image.programs" > "$image"
    rm "$image.programs"
    echo "$image"
}

# Starts QEMU as guest "$1", with the kernel options "$2" and the options "$3"...
qemu__launch () {
    local name=$1 append=$2 image

    shift 2
    guests__create "$name" qemu || return 1
    image=$(qemu__image "$name") || return 1
    ln -s control.in "$GUESTS_DIR/$name/line.in"
    ln -s control.out "$GUESTS_DIR/$name/line.out"
    guests__launch "$name" \
        qemu-system-x86_64 -nodefaults -no-user-config -no-reboot \
        -display none -machine q35,accel=tcg,memory-backend=memory \
        -m "$GUEST_MEMORY" -object \
        "memory-backend-memfd,id=memory,size=${GUEST_MEMORY}M,share=on" \
        -kernel "$GUESTS_CACHE/vmlinuz" -initrd "$image" \
        -append "console=ttyS0 quiet panic=-1 rdinit=/init \
guest.control=ttyS1 $append" \
        -chardev stdio,id=console,signal=off -serial chardev:console \
        -chardev pipe,id=control,path=line -serial chardev:control \
        "$@"
}

# See guests.sh.  In server mode QEMU waits for the switch before it boots.
qemu_start () {
    local name=$1 socket=$2 mode=$3 mac=$4 address=$5 server=off

    shift 5
    guests__check_socket "$socket" || return 1
    guests_prepare qemu || return 1
    case $mode in
        client)
            if ! guests__wait_until 10 test -S "$socket"; then
                guests__error "nothing listens on '$socket': add a port with" \
                              "options:vhost-listen-path first"
                return 1
            fi
            ;;
        server) server=on ;;
        *)
            guests__error "'$mode' is neither 'client' nor 'server'"
            return 1
            ;;
    esac
    # With MSI-X on a vhost-user device QEMU 7.2 crashes under tcg: vectors=0.
    qemu__launch "$name" "guest.mac=$mac guest.ip=$address \
guest.mtu=$GUEST_MTU" \
        -chardev "socket,id=net,path=$socket,server=$server" \
        -netdev vhost-user,id=net,chardev=net \
        -device "virtio-net-pci,netdev=net,mac=$mac,vectors=0\
${QEMU_NIC:+,$QEMU_NIC}" \
        "$@"
}

# See guests.sh.
qemu_boot () {
    local name=$1

    shift
    guests_prepare qemu || return 1
    qemu__launch "$name" guest.nic=off "$@"
}
