# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU guests that need no KVM: Debian's cloud kernel, translated.  Part of
# guests.sh.

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
    guests__create "$name" qemu || return 1
    ln -s control.in "$GUESTS_DIR/$name/line.in"
    ln -s control.out "$GUESTS_DIR/$name/line.out"

    # With MSI-X on a vhost-user device QEMU 7.2 crashes under tcg: vectors=0.
    guests__launch "$name" \
        qemu-system-x86_64 -nodefaults -no-user-config -no-reboot \
        -display none -machine q35,accel=tcg,memory-backend=memory \
        -m "$GUEST_MEMORY" -object \
        "memory-backend-memfd,id=memory,size=${GUEST_MEMORY}M,share=on" \
        -kernel "$GUESTS_CACHE/vmlinuz" -initrd "$GUESTS_CACHE/qemu.cpio" \
        -append "console=ttyS0 quiet panic=-1 rdinit=/init \
guest.control=ttyS1 guest.mac=$mac guest.ip=$address guest.mtu=$GUEST_MTU" \
        -chardev stdio,id=console,signal=off -serial chardev:console \
        -chardev pipe,id=control,path=line -serial chardev:control \
        -chardev "socket,id=net,path=$socket,server=$server" \
        -netdev vhost-user,id=net,chardev=net \
        -device "virtio-net-pci,netdev=net,mac=$mac,vectors=0\
${QEMU_NIC:+,$QEMU_NIC}" \
        "$@"
}
