# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU guests that need no KVM: Debian's cloud kernel, translated.  Part of
# guests.sh.

# Prints the image that guest "$1" boots from, which is image "$2" with
# $GUEST_PROGRAMS.
qemu__image () {
    local image=$GUESTS_DIR/$1/initrd.cpio base=$GUESTS_CACHE/$2.cpio
    local programs=()

    if test -z "$GUEST_PROGRAMS"; then
        echo "$base"
        return
    fi
    read -r -a programs <<< "$GUEST_PROGRAMS"
    bash "${guests__here:?}/make-initramfs.sh" --programs "$image.programs" \
        "${programs[@]}" || return 1
    cat "$base" "$image.programs" > "$image"
    rm "$image.programs"
    echo "$image"
}

# qemu__launch NAME IMAGE KERNEL-OPTIONS QEMU-OPTION...
#
# Guests may have devices plugged in later: see vm_plug.
qemu__launch () {
    local name=$1 image=$2 append=$3

    shift 3
    guests__create "$name" qemu || return 1
    image=$(qemu__image "$name" "$image") || return 1
    ln -s control.in "$GUESTS_DIR/$name/line.in"
    ln -s control.out "$GUESTS_DIR/$name/line.out"
    guests__launch "$name" \
        qemu-system-x86_64 -nodefaults -no-user-config -no-reboot \
        -display none -machine q35,accel=tcg,memory-backend=memory \
        -m "$GUEST_MEMORY" -object \
        "memory-backend-memfd,id=memory,size=${GUEST_MEMORY}M,share=on\
${GUEST_SEAL:+,seal=$GUEST_SEAL}" \
        -kernel "$GUESTS_CACHE/vmlinuz" -initrd "$image" \
        -append "console=ttyS0 quiet panic=-1 rdinit=/init \
guest.control=ttyS1 $append" \
        -chardev stdio,id=console,signal=off -serial chardev:console \
        -chardev pipe,id=control,path=line -serial chardev:control \
        -qmp unix:qmp,server=on,wait=off \
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
    qemu__launch "$name" qemu "guest.mac=$mac guest.ip=$address \
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
    qemu__launch "$name" qemu guest.nic=off "$@"
}

# A device at a port may have so many vectors, or fewer.
vm_vectors=8

# See guests.sh.
vm_start () {
    local name=$1 socket=$2 address=$3 slots=()

    shift 3
    guests__check_socket "$socket" || return 1
    guests_prepare vpci || return 1
    if ! guests__wait_until 10 test -S "$socket"; then
        guests__error "nothing listens on '$socket': add a port with" \
                      "options:ivshmem-path first, and is vpcid running?"
        return 1
    fi
    # Slot 9 has no room for the memory of a device.
    for slot in 1 2 3 4; do
        slots+=(-device "pcie-root-port,id=slot$slot,slot=$slot,chassis=1\
,pref64-reserve=64M")
    done
    slots+=(-device "pcie-root-port,id=slot9,slot=9,chassis=1\
,pref64-reserve=0,mem-reserve=2M")
    qemu__launch "$name" vpci "guest.interface=vpci0 guest.ip=$address \
guest.mtu=$GUEST_MTU" \
        "${slots[@]}" \
        -chardev "socket,id=slot1-socket,path=$socket" -device \
        "ivshmem-doorbell,id=slot1-device,chardev=slot1-socket\
,vectors=$vm_vectors,bus=slot1" \
        "$@"
}

vm__qmp () {
    local name=$1

    shift
    timeout -s KILL 40 python3 "${guests__here:?}/qmp.py" \
        "$GUESTS_DIR/$name/qmp" "$@"
}

# See guests.sh.
vm_plug () {
    vm__qmp "$1" plug "slot$2" "$3" "$vm_vectors"
}

vm_plug_nic () {
    vm__qmp "$1" plug-nic "slot$2" "$3"
}

vm_unplug () {
    vm__qmp "$1" unplug "slot$2"
}

vm_reset () {
    rm -f "$GUESTS_DIR/$1/ready"
    vm__qmp "$1" reset
}

vm_sleep () {
    # It answers before it sleeps.
    guest_run "$1" '(sleep 0.5; echo mem > /sys/power/state) > /tmp/sleep 2>&1 &'
}

vm_wake () {
    vm__qmp "$1" wake
}

vm_signal () {
    pkill -"$2" -P "$(cat "$GUESTS_DIR/$1/pid")"
}
