# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# User-Mode Linux guests: a real Linux kernel in a process, with the stock
# virtio_net driver and vhost-user on a UNIX socket.  Part of guests.sh.

# Prints where guest "$1" can have its memory: shared memory if there is enough
# of it (containers may have little), else a file in the guest's directory.
uml__memory_directory () {
    local free

    free=$(df --output=avail -m /dev/shm 2> /dev/null | tail -n 1)
    if test "${free:-0}" -gt "$GUEST_MEMORY"; then
        echo /dev/shm
    else
        echo "$GUESTS_DIR/$1/uml"
    fi
}

# See guests.sh.
uml_start () {
    local name=$1 socket=$2 mac=$3 address=$4

    shift 4
    guests__check_socket "$socket" || return 1
    guests_prepare uml || return 1
    if ! guests__wait_until 10 test -S "$socket"; then
        guests__error "nothing listens on '$socket': add a port with" \
                      "options:vhost-listen-path first"
        return 1
    fi
    guests__create "$name" uml || return 1
    mkdir "$GUESTS_DIR/$name/uml"

    # The guest's memory is a file in TMPDIR, which has no name left once the
    # guest runs.
    TMPDIR=$(uml__memory_directory "$name") HOME=$GUESTS_DIR/$name guests__launch "$name" \
        linux.uml "mem=${GUEST_MEMORY}M" initrd="$GUESTS_CACHE/uml.cpio" \
        rdinit=/init con=null con0=null,fd:1 ssl=null ssl0=fd:8,fd:9 \
        umid="$name" uml_dir=uml/ "virtio_uml.device=$socket:1" \
        guest.control=ttyS0 "guest.mac=$mac" "guest.ip=$address" \
        "guest.mtu=$GUEST_MTU" "$@"
}
