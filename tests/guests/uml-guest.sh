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

# Runs the User-Mode Linux "$2"... as guest "$1".
uml__launch () {
    local name=$1

    shift
    if grep -q '^flags.* amx_tile' /proc/cpuinfo; then
        # What processes of the guest have in wide registers is lost when they
        # fault, so they must not use these.
        set -- python3 "$guests__here/old-ptrace.py" "$@" \
            GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load
    fi
    guests__launch "$name" "$@"
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
    TMPDIR=$(uml__memory_directory "$name") HOME=$GUESTS_DIR/$name uml__launch "$name" \
        linux.uml "mem=${GUEST_MEMORY}M" initrd="$GUESTS_CACHE/uml.cpio" \
        rdinit=/init con=null con0=null,fd:1 ssl=null ssl0=fd:8,fd:9 \
        umid="$name" uml_dir=uml/ "virtio_uml.device=$socket:1" \
        guest.control=ttyS0 "guest.mac=$mac" "guest.ip=$address" \
        "guest.mtu=$GUEST_MTU" "$@"
}
