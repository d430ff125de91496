# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What quickstart.sh does before its commands: packages, huge pages, build.
# The caller sets top (the source), build (the build directory) and logs.

: "${top:?}" "${build:?}" "${logs:?}"

packages_to_build=(
    autoconf automake libtool pkg-config make gcc libc6-dev python3
    openvswitch-source libdpdk-dev libssl-dev libcap-ng-dev libunbound-dev
    libnuma-dev libpcap-dev python3-docutils
)
packages_for_guests=(
    user-mode-linux busybox-static cpio iperf3 ethtool
)
packages_to_check=(
    qemu-system-x86 dpdk-dev clang python3-scapy socat xz-utils iproute2
    tcpdump shellcheck gnuplot-nox sparse
    libvirt-daemon libvirt-clients libxml2-utils python3-libvirt
)

# The switch's memory, in huge pages of 2 MB: what we ask for, and what is
# just enough.
huge_pages_wanted=1024
huge_pages_needed=384
huge_pages=/sys/kernel/mm/hugepages/hugepages-2048kB

installed () {
    test "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = \
        installed
}

check_machine () {
    if ! command -v apt-get > /dev/null ||
       ! command -v dpkg-query > /dev/null; then
        die "This is for Debian 12, and there is no apt-get here." \
            "Elsewhere, read Documentation/quickstart.rst for what to install."
    fi
    test "$(uname -m)" = x86_64 ||
        die "ovs-vpci is for x86_64, and this machine is $(uname -m)."
}

# install_packages NAME...
install_packages () {
    local missing=() package

    for package; do
        installed "$package" || missing+=("$package")
    done
    if test ${#missing[@]} -eq 0; then
        return
    fi
    if test "$(id -u)" -ne 0; then
        die "Packages are missing, and only root can install them.  Do" \
            "'apt-get update && apt-get install ${missing[*]}' as root," \
            "then run this again."
    fi
    say "    installs by apt-get: ${missing[*]}" | fold -s -w 76
    export DEBIAN_FRONTEND=noninteractive
    long_step "Getting the list of packages" "apt-get update" \
        "Is there a network, and does /etc/apt name Debian's servers?"
    long_step "Installing ${#missing[@]} packages" \
        "apt-get install -y --no-install-recommends ${missing[*]}" \
        "If a package was not found: this is for Debian 12 (bookworm)." \
        "If the download failed: is there a network?"
}

# Prints how many more huge pages to reserve, at most a third of the memory
# that is available.
huge_pages_missing () {
    local free available missing

    free=$(cat "$huge_pages/free_hugepages")
    available=$(awk '/^MemAvailable:/ { print int($2 / 2048 / 3) }' \
                /proc/meminfo)
    missing=$((huge_pages_wanted - free))
    test "$missing" -le "$available" || missing=$available
    test "$missing" -ge 0 || missing=0
    echo "$missing"
}

reserve_huge_pages () {
    local old missing new

    test -r "$huge_pages/nr_hugepages" ||
        die "This kernel has no huge pages of 2 MB ($huge_pages), which the" \
            "switch needs: boot a kernel with CONFIG_HUGETLBFS."
    missing=$(huge_pages_missing)
    old=$(cat "$huge_pages/nr_hugepages")
    if test "$missing" -gt 0; then
        if echo $((old + missing)) 2> /dev/null \
               > "$huge_pages/nr_hugepages"; then
            new=$(cat "$huge_pages/nr_hugepages")
            say "    reserves huge pages of 2 MB: $old before, $new now; undo:"
            say "    echo $old > $huge_pages/nr_hugepages"
        fi
    fi 2> /dev/null
    test "$(cat "$huge_pages/free_hugepages")" -ge "$huge_pages_needed" ||
        die "Only $(cat "$huge_pages/free_hugepages") huge pages of 2 MB are" \
            "free, and the switch needs $huge_pages_needed.  Do 'echo" \
            "$((old + huge_pages_wanted)) > $huge_pages/nr_hugepages' as" \
            "root (in a container: on its host), or free memory first."
}

# Prints variable "ovs_$1" of the configured build.
built_ovs () {
    sed -n "s/^ovs_$1 = //p" "$build/Makefile"
}

# The options of configure.  Python is Debian's, which has the packages.
configure_options () {
    printf '%s\n' "CFLAGS=-O2 -g -march=native" PYTHON3=/usr/bin/python3
    test -z "${CI-}" || echo --enable-Werror
}

make_configure () {
    (cd "$top" && ./boot.sh)
}

run_configure () {
    local options

    mapfile -t options < <(configure_options)
    cd "$build" && "$top/configure" "${options[@]}" &&
        configure_options > "$build/quickstart.options"
}

# Whether there is a configured build with the options that we want.
configured () {
    test -e "$build/config.status" &&
        configure_options | cmp -s - "$build/quickstart.options"
}

run_make () {
    make -C "$build" -j"$(nproc)" "$@"
}

build_all () {
    test ! -e "$top/config.status" || test "$build" = "$top" ||
        die "The source directory is configured itself, so that it cannot be" \
            "built elsewhere: do 'make distclean' in $top first."
    if test ! -e "$top/configure"; then
        long_step "Making 'configure'" make_configure
    fi
    if ! configured; then
        long_step "Configuring Open vSwitch and ovs-vpci" run_configure
    fi
    long_step "Building (the first time takes minutes)" "run_make all" \
        "If a file of Open vSwitch is at fault, remove $build and try again."
}

# Downloads a kernel for QEMU's guests, once.
download_kernel () {
    test -n "$(guests__lacks_kernel)" || return 0
    say "    downloads (does not install) linux-image-cloud-amd64 for guests"
    if ! apt-cache show linux-image-cloud-amd64 > /dev/null 2>&1; then
        long_step "Getting the list of packages" "apt-get update"
    fi
    long_step "Downloading a kernel for guests" guests_download_kernel \
        "If it was not found, the list of packages is old: 'apt-get update'." \
        "If the download failed: is there a network?"
}

# Installs what the guest driver is built with for that kernel.  One that was
# downloaded long ago may be of a version that Debian has no more.
install_headers () {
    local package

    test -n "$(guests__lacks_headers)" || return 0
    package=$(guests__lacks_headers)
    if ! apt-cache show "$package" > /dev/null 2>&1; then
        rm -rf "$GUESTS_CACHE/vmlinuz" "$GUESTS_CACHE/kernel"
        download_kernel
        package=$(guests__lacks_headers)
    fi
    test -z "$package" || install_packages "$package"
}

# Two runs must not install or build at the same time.
lock_build () {
    exec {build_lock}> "$build/quickstart.lock"
    if ! flock -n "$build_lock"; then
        say "    waits for another quickstart.sh that is building here"
        flock "$build_lock"
    fi
}

unlock_build () {
    exec {build_lock}>&-
}

# Brings the machine to where "$1" (demo or check) can run.
machine_ready () {
    local packages=("${packages_to_build[@]}" "${packages_for_guests[@]}")

    test "$1" != check || packages+=("${packages_to_check[@]}")
    say "ovs-vpci in $build (logs: $logs)"
    check_machine
    lock_build
    install_packages "${packages[@]}"
    reserve_huge_pages
    build_all
    unlock_build
}
