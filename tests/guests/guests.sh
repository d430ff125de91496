#!/bin/bash
# shellcheck source-path=SCRIPTDIR
# SPDX-License-Identifier: Apache-2.0
#
# Real guests for tests: User-Mode Linux, QEMU without KVM, and testpmd.
#
# Either source this file and call its functions, or run it as a program whose
# arguments are a function and that function's arguments:
#
#     guests.sh uml_start vm1 "$PWD/vm1.sock" 02:00:00:00:00:01 10.0.0.1/24
#     guests.sh guest_wait vm1
#     guests.sh guest_run vm1 'ping -c 3 10.0.0.2'
#     guests.sh guests_stop_all
#
# uml_start NAME SOCKET MAC ADDRESS/BITS [KERNEL-OPTION...]
#     starts a User-Mode Linux guest, which connects to SOCKET (a port with
#     options:vhost-listen-path).
# qemu_start NAME SOCKET client|server MAC ADDRESS/BITS [QEMU-OPTION...]
#     starts a QEMU guest, which connects to SOCKET (client) or listens on it
#     (server: a port with options:vhost-server-path).
# vm_start NAME SOCKET ADDRESS/BITS [QEMU-OPTION...]
#     starts a QEMU guest with the driver of guest/linux, and a device at
#     SOCKET (a port with options:ivshmem-path), vpci0.
# vm_plug NAME SLOT SOCKET     plugs another such device, of a link for
#                              instance, into slot 2, 3 or 4 of a guest; slot 9
#                              has no room for its memory, and slot 1 has vpci0.
# vm_plug_nic NAME SLOT SOCKET plugs a virtio-net whose vhost-user back end
#                              listens at SOCKET.
# vm_unplug NAME SLOT          unplugs it.
# vm_reset NAME                resets a QEMU guest: guest_wait waits until it has
#                              booted.
# vm_sleep NAME                lets a QEMU guest sleep, with its memory kept, in a
#                              moment.
# vm_wake NAME                 wakes it, once it sleeps.
# vm_signal NAME SIGNAL        sends SIGNAL to its QEMU.
# qemu_boot NAME [QEMU-OPTION...]
#     starts a QEMU guest without a network card.
# testpmd_start NAME SOCKET MAC [TESTPMD-OPTION...]
#     starts dpdk-testpmd on a virtio-user device that listens on SOCKET.  By
#     default it answers every ARP request and every ping.
# guest_wait NAME [SECONDS]    waits until the guest takes commands.
# guest_run NAME COMMAND       runs COMMAND in the guest (for testpmd: a
#                              testpmd command); its output and status are
#                              the guest's.
# guest_log NAME               prints the guest's console.
# guest_stop NAME              shuts the guest down; kills it if that fails.
# guest_kill NAME              kills the guest.
# guests_stop_all              shuts all guests of $GUESTS_DIR down.
# guests_missing KIND...       prints what KIND (uml, qemu, vpci: a QEMU guest
#                              with the driver; testpmd) lacks on
#                              this machine, nothing if it can run.
# guests_prepare KIND...       builds the images that KIND needs.
# guests_kernel_version        prints the version of QEMU guests' kernel.
# guests_processors            prints the processor for a switch's polling
#                              thread, and the list of those left for guests.
#
# Environment:
#     GUESTS_DIR       where running guests keep their state; ./guests
#     GUESTS_CACHE     where kernels and images are kept; ./guests.cache
#     GUESTS_CPUS      the processors that guests may use (as for taskset)
#     GUEST_LIFETIME   seconds after which a guest is killed anyway; 600
#     GUEST_TIMEOUT    seconds that one command in a guest may take; 30
#     GUEST_MTU        the MTU of eth0
#     GUEST_MEMORY     memory in MB; 256
#     GUEST_SEAL       off: the memory of a QEMU guest can grow and shrink
#     GUEST_PROGRAMS   programs of this machine, by their names or paths, that a
#                      QEMU guest has in /bin; none
#     QEMU_NIC         further properties of QEMU's virtio-net-pci device
#     TESTPMD_VDEV     further properties of testpmd's virtio-user device
#     TESTPMD_DEVICE   a second device of testpmd's, as for --vdev
#
# Functions of which the name has two underscores are internal.
set -u

guests__here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${GUESTS_DIR:=$PWD/guests}"
: "${GUESTS_CACHE:=$PWD/guests.cache}"
: "${GUESTS_CPUS:=}"
: "${GUEST_LIFETIME:=600}"
: "${GUEST_TIMEOUT:=30}"
: "${GUEST_MTU:=}"
: "${GUEST_MEMORY:=256}"
: "${GUEST_PROGRAMS:=}"
: "${GUEST_SEAL:=}"
: "${QEMU_NIC:=}"
: "${TESTPMD_VDEV:=}"

. "$guests__here/images.sh"
. "$guests__here/uml-guest.sh"
. "$guests__here/qemu-guest.sh"
. "$guests__here/testpmd-guest.sh"

guests__error () {
    printf 'guests: %s\n' "$*" >&2
    return 1
}

# The milliseconds of a clock that never goes back.
guests__now () {
    local up

    read -r up _ < /proc/uptime
    echo $((10#${up/./} * 10))
}

guests_processors () {
    local list ranges range cpus=() rest

    list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    IFS=, read -r -a ranges <<< "$list"
    for range in "${ranges[@]}"; do
        mapfile -t -O ${#cpus[@]} cpus < <(seq "${range%-*}" "${range#*-}")
    done
    rest=("${cpus[0]}" "${cpus[@]:2}")
    (IFS=,; echo "${cpus[1]-${cpus[0]}} ${rest[*]}")
}

# Waits until the command "$2"... succeeds, for at most "$1" seconds.
guests__wait_until () {
    local deadline=$(($(guests__now) + $1 * 1000))

    shift
    until "$@"; do
        test "$(guests__now)" -lt "$deadline" || return 1
        read -r -t 0.02 <> <(:)
    done
    return 0
}

# UNIX socket addresses have room for 107 bytes, and no front end says so.
guests__check_socket () {
    test ${#1} -le 107 ||
        guests__error "the socket path '$1' has ${#1} characters; at most" \
                      "107 are possible: use a shorter directory"
}

# Creates the directory of guest "$1" of kind "$2", with its control line.
guests__create () {
    local dir=$GUESTS_DIR/$1

    if guests__running "$1"; then
        guests__error "guest '$1' runs already: guest_stop $1"
        return 1
    fi
    rm -rf "$dir"
    mkdir -p "$dir" && mkfifo "$dir/control.in" "$dir/control.out" || return 1
    echo "$2" > "$dir/kind"
    : > "$dir/lock"
    : > "$dir/console.log"
}

guests__running () {
    local pid

    pid=$(cat "$GUESTS_DIR/$1/pid" 2> /dev/null) &&
        kill -0 "$pid" 2> /dev/null
}

guests__gone () {
    ! guests__running "$1"
}

# Starts "$2"... as guest "$1".  Its output goes to the console file, its
# control line is on descriptors 8 (to the guest) and 9 (from it).
guests__launch () {
    local name=$1 dir=$GUESTS_DIR/$1 pin=()

    shift
    test -z "$GUESTS_CPUS" || pin=(taskset -c "$GUESTS_CPUS")
    "${pin[@]}" python3 "$guests__here/supervise.py" "$GUEST_LIFETIME" "$dir" \
        "$@" < /dev/null > "$dir/console.log" 2>&1 &
    echo $! > "$dir/pid"
    disown
}

# Reads a line from the control line of guest "$1" into the variable "$2", for
# at most "$3" seconds.  Fails at once if the guest ends.
#
# With "nudge" as "$4", sends an empty line now and then, which the guest passes
# over: without KVM, a guest with many interrupts sometimes misses one of its
# serial line, and the next one makes up for it.
guests__read_control () {
    local fd deadline=$(($(guests__now) + $3 * 1000)) status=1 part='' n=0
    local -n text=$2

    text=''
    exec {fd}<> "$GUESTS_DIR/$1/control.out"
    while test "$(guests__now)" -lt "$deadline"; do
        if IFS= read -r -t 0.5 -u "$fd" part; then
            text+=$part
            status=0
            break
        fi
        text+=$part
        guests__running "$1" || break
        n=$((n + 1))
        if test "${4-}" = nudge && test $((n % 6)) -eq 0; then
            echo 1<> "$GUESTS_DIR/$1/control.in"
        fi
    done
    exec {fd}>&-
    return "$status"
}

# Shows the end of the console of guest "$1" and says "$2"...
guests__fail () {
    local name=$1

    shift
    {
        echo "--- the last lines of the console of guest '$name':"
        tail -n 20 "$GUESTS_DIR/$name/console.log"
        echo "---"
    } >&2
    guests__error "guest '$name': $*"
}

guest_log () {
    cat "$GUESTS_DIR/$1/console.log"
}

guest_wait () {
    local name=$1 bound=${2:-60} line=''

    test ! -e "$GUESTS_DIR/$name/ready" || return 0
    case $(cat "$GUESTS_DIR/$name/kind") in
        testpmd) testpmd__wait "$name" "$bound" || return 1 ;;
        *)
            guests__read_control "$name" line "$bound"
            if test "$line" != ready; then
                if guests__running "$name"; then
                    guests__fail "$name" "not ready in $bound s (said '$line')"
                else
                    guests__fail "$name" "ended before it was ready"
                fi
                return 1
            fi
            ;;
    esac
    touch "$GUESTS_DIR/$name/ready"
}

# Sends the request "$2" to guest "$1", with a checksum.
guests__send () {
    local sum

    read -r sum _ < <(printf %s "$2" | md5sum)
    printf '%s %s\n' "$sum" "$2" > "$GUESTS_DIR/$1/control.in"
}

# Sends command "$2" to the Linux guest "$1" and prints the answer.  What the
# serial line has spoilt, either way, is sent again: the guest knows by the ID
# what it has done already.
guests__request () {
    local name=$1 line='' id request sum right status output
    local deadline=$(($(guests__now) + (GUEST_TIMEOUT + 10) * 1000))

    id=$BASHPID.$RANDOM
    request="$id $GUEST_TIMEOUT $(printf '%s\n' "$2" | base64 -w 0)"
    guests__send "$name" "$request"
    while test "$(guests__now)" -lt "$deadline" &&
          guests__read_control "$name" line "$((GUEST_TIMEOUT + 10))" \
              nudge; do
        read -r sum line <<< "$line"
        read -r right _ < <(printf %s "$line" | md5sum)
        if test "$sum" != "$right"; then
            guests__send "$name" "$request"
            continue
        fi
        # A command that was given up earlier may still answer: skip that.
        read -r -a answer <<< "$line"
        if test "${answer[0]-}" = "$id"; then
            status=${answer[1]}
            output=${answer[2]-}
            base64 -d <<< "$output"
            return "$status"
        fi
    done
    guests__fail "$name" "no answer to: $2"
    return 124
}

guest_run () {
    local name=$1 lock status

    guest_wait "$name" || return 1
    if ! guests__running "$name"; then
        guests__fail "$name" "is not running, cannot run: $2"
        return 1
    fi
    exec {lock}> "$GUESTS_DIR/$name/lock"
    flock "$lock"
    case $(cat "$GUESTS_DIR/$name/kind") in
        testpmd) testpmd__run "$name" "$2" ;;
        *) guests__request "$name" "$2" ;;
    esac
    status=$?
    exec {lock}>&-
    return "$status"
}

guest_kill () {
    local pid

    if guests__running "$1"; then
        pid=$(cat "$GUESTS_DIR/$1/pid") && kill -TERM "$pid"
        guests__wait_until 10 guests__gone "$1" ||
            guests__error "guest '$1' does not end"
    fi
    rm -rf "$GUESTS_DIR/$1/control.in" "$GUESTS_DIR/$1/control.out" \
           "$GUESTS_DIR/$1/uml" "$GUESTS_DIR/$1/initrd.cpio" \
           "$GUESTS_DIR/$1/pid"
    testpmd__clean
}

guest_stop () {
    local dir=$GUESTS_DIR/$1

    if guests__running "$1" && test -e "$dir/ready"; then
        case $(cat "$dir/kind") in
            testpmd) echo quit > "$dir/control.in" ;;
            *) echo "0 5 $(echo 'poweroff -f' | base64)" > "$dir/control.in" ;;
        esac
        guests__wait_until 5 guests__gone "$1"
    fi
    guest_kill "$1"
}

guests_stop_all () {
    local dir

    for dir in "$GUESTS_DIR"/*/; do
        test ! -e "$dir/kind" || guest_stop "$(basename "$dir")"
    done
}

if test "${BASH_SOURCE[0]}" = "$0"; then
    case ${1-} in
        uml_start | qemu_start | qemu_boot | testpmd_start | vm_start | \
        vm_plug | vm_plug_nic | vm_unplug | vm_reset | vm_sleep | vm_wake | vm_signal | guest_wait | guest_run | guest_log | \
        guest_stop | guest_kill | guests_stop_all | guests_kernel_version | \
        guests_missing | guests_prepare | guests_processors) "$@" ;;
        *)
            sed -n '5,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p;}' "$0"
            test "${1-}" = --help
            ;;
    esac
fi
