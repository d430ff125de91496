# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# testpmd on a virtio-user device: a DPDK program as a guest, as it would be in
# a container.  Part of guests.sh.

# DPDK makes a directory of this name in /run/dpdk, which stays empty.
testpmd__prefix=vpci-guests

# The processor that testpmd's threads run on: the first that guests may use.
testpmd__processor () {
    local list=$GUESTS_CPUS

    test -n "$list" ||
        list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    echo "${list%%[-,]*}"
}

# See guests.sh.  The memory is not from huge pages, which are the switch's.
testpmd_start () {
    local name=$1 socket=$2 mac=$3 cpu forward=(--forward-mode=icmpecho)

    shift 3
    guests__check_socket "$socket" || return 1
    guests_prepare testpmd || return 1
    guests__create "$name" testpmd || return 1
    cpu=$(testpmd__processor)
    case " $* " in
        *" --forward-mode="*) forward=() ;;
    esac
    rm -f "$socket"
    # It polls all the time, so it yields to guests that share its processor.
    guests__launch "$name" \
        nice -n 19 stdbuf -oL bash -c 'exec "$@" <&8' testpmd \
        dpdk-testpmd --lcores "0@$cpu,1@$cpu" --no-pci --no-huge \
        -m "$GUEST_MEMORY" --no-shconf --file-prefix "$testpmd__prefix" \
        --no-telemetry --vdev \
        "net_virtio_user0,mac=$mac,path=$socket,server=1\
${TESTPMD_VDEV:+,$TESTPMD_VDEV}" \
        ${TESTPMD_DEVICE:+--vdev "$TESTPMD_DEVICE"} \
        -- --interactive --auto-start --total-num-mbufs=8192 \
        "${forward[@]}" "$@"
}

# Removes what testpmd leaves behind.
testpmd__clean () {
    rmdir /run/dpdk/$testpmd__prefix 2> /dev/null
    return 0
}

# Prints what testpmd "$1" has said since byte "$2" of its console.
testpmd__since () {
    tail -c "+$(($2 + 1))" "$GUESTS_DIR/$1/console.log"
}

testpmd__said () {
    testpmd__since "$1" "$2" | grep -q -- "$3" || guests__gone "$1"
}

# Interactive testpmd prompts when its device has found its switch.
testpmd__wait () {
    guests__wait_until "$2" testpmd__said "$1" 0 '^testpmd> '
    if ! testpmd__since "$1" 0 | grep -q '^testpmd> '; then
        guests__fail "$1" "not ready in $2 s: does the switch connect to it?"
        return 1
    fi
}

# Gives command "$2" to testpmd "$1" and prints its answer.  testpmd echoes
# what it reads, so that a comment after the command marks the answer's end.
testpmd__run () {
    local name=$1 start mark=end-of-$BASHPID-$RANDOM

    start=$(stat -c %s "$GUESTS_DIR/$name/console.log")
    printf '%s\n#%s\n' "$2" "$mark" > "$GUESTS_DIR/$name/control.in"
    guests__wait_until "$GUEST_TIMEOUT" testpmd__said "$name" "$start" \
        "#$mark"
    if ! testpmd__since "$name" "$start" | grep -q "#$mark"; then
        guests__fail "$name" "no answer to: $2"
        return 124
    fi
    testpmd__since "$name" "$start" | tr -d '\r' | sed "/#$mark/,\$d"
}
