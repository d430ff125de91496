# SPDX-License-Identifier: Apache-2.0

# libvpci runs in the switch, in applications and in guests.  It never includes
# a header of Open vSwitch or DPDK, and has no path to them here.
VPCI_CPPFLAGS = -I$(top_srcdir)/include

# What processes and containers use, and the shared library has.  The other
# sources, in VPCI_SWITCH_SOURCES, are for the switch and the keeper.
VPCI_SOURCES = \
	lib/vpci/backoff.h \
	lib/vpci/bus-ops.h \
	lib/vpci/bus-pci.c \
	lib/vpci/bus-private.h \
	lib/vpci/bus-unix.c \
	lib/vpci/bus.c \
	lib/vpci/channel-private.h \
	lib/vpci/channel.c \
	lib/vpci/classes.c \
	lib/vpci/connector-loop.c \
	lib/vpci/connector-pci.c \
	lib/vpci/connector-pci.h \
	lib/vpci/connector-unix.c \
	lib/vpci/connector-unix.h \
	lib/vpci/device-fds.c \
	lib/vpci/device-private.h \
	lib/vpci/device.c \
	lib/vpci/doorbell.c \
	lib/vpci/edit.c \
	lib/vpci/edit.h \
	lib/vpci/gate.c \
	lib/vpci/key.c \
	lib/vpci/layout-format.c \
	lib/vpci/layout.c \
	lib/vpci/memory.c \
	lib/vpci/net-call.c \
	lib/vpci/net-hold.c \
	lib/vpci/net-link-rx.c \
	lib/vpci/net-link-tx.c \
	lib/vpci/net-link-worker.c \
	lib/vpci/net-link.c \
	lib/vpci/net-link.h \
	lib/vpci/net-look.c \
	lib/vpci/net-look.h \
	lib/vpci/net-peer-ring.c \
	lib/vpci/net-peer-rx.c \
	lib/vpci/net-peer-tx.c \
	lib/vpci/net-peer.c \
	lib/vpci/net-peer.h \
	lib/vpci/net-policy.c \
	lib/vpci/net-private.h \
	lib/vpci/net-process.c \
	lib/vpci/net-region.c \
	lib/vpci/net-region.h \
	lib/vpci/net-rx.c \
	lib/vpci/net-tx.c \
	lib/vpci/net-wait.c \
	lib/vpci/net-watch.c \
	lib/vpci/net.c \
	lib/vpci/pci-access.c \
	lib/vpci/pci-access.h \
	lib/vpci/pci-function.c \
	lib/vpci/pci-function.h \
	lib/vpci/pci-vfio.c \
	lib/vpci/peer.c \
	lib/vpci/projection-private.h \
	lib/vpci/projection.c \
	lib/vpci/ring-private.h \
	lib/vpci/ring-rx.c \
	lib/vpci/ring-tx.c \
	lib/vpci/signal.c \
	lib/vpci/steer-copy.c \
	lib/vpci/steer-lookup.c \
	lib/vpci/steer-memory.c \
	lib/vpci/steer-private.h \
	lib/vpci/steer.c \
	lib/vpci/storm.c \
	lib/vpci/storm.h \
	lib/vpci/vring-doorbell.c \
	lib/vpci/vring-layout.h \
	lib/vpci/vring-native.c \
	lib/vpci/vring-packed.c \
	lib/vpci/vring-peek.h \
	lib/vpci/vring-private.h \
	lib/vpci/vring-push.h \
	lib/vpci/vring-split.c \
	lib/vpci/vring.c \
	lib/vpci/wire.c

VPCI_SWITCH_SOURCES = \
	lib/vpci/callee.c \
	lib/vpci/callee.h \
	lib/vpci/guard.c \
	lib/vpci/keeper.c \
	lib/vpci/keeper.h \
	lib/vpci/splice.c \
	lib/vpci/spread.c

# The library that our own programs are linked with: a part of them, so that they
# start anywhere, and not slower than one program made of the same sources, which
# the switch is measured by.  It is not installed.
noinst_LTLIBRARIES += lib/libvpci.la
lib_libvpci_la_CPPFLAGS = $(VPCI_CPPFLAGS)
lib_libvpci_la_LIBADD = -lpthread
lib_libvpci_la_LIBTOOLFLAGS = --tag=disable-shared
lib_libvpci_la_SOURCES = $(VPCI_SOURCES) $(VPCI_SWITCH_SOURCES)

# The library for everybody else's programs: libvpci.so.
#
# VPCI_LIBTOOL_VERSION is CURRENT:REVISION:AGE, and changes with a release only:
#
#     only sources have changed       REVISION + 1
#     functions or fields were added  CURRENT + 1, REVISION = 0, AGE + 1
#     anything went or is different   CURRENT + 1, REVISION = 0, AGE = 0
#
# The last of these makes another library, libvpci.so.1, to be avoided; see also
# lib/vpci/libvpci.map and tests/libvpci.abi, by which "make check" finds out.
#
# Calls of functions in the library itself go there directly.  It stays when a
# program that has loaded it by dlopen() lets go, since the doorbells' watchman
# (vpci/doorbell.h) runs in it.
VPCI_LIBTOOL_VERSION = 0:0:0
lib_LTLIBRARIES += lib/vpci/libvpci.la
lib_vpci_libvpci_la_CPPFLAGS = $(VPCI_CPPFLAGS)
lib_vpci_libvpci_la_LIBADD = -lpthread
lib_vpci_libvpci_la_LDFLAGS = \
	$(AM_LDFLAGS) \
	-version-info $(VPCI_LIBTOOL_VERSION) \
	-Wl,--version-script=$(srcdir)/lib/vpci/libvpci.map \
	-Wl,-Bsymbolic-functions \
	-Wl,-z,nodelete
if !SANITIZERS
lib_vpci_libvpci_la_LDFLAGS += -Wl,-z,defs
endif
lib_vpci_libvpci_la_SOURCES = $(VPCI_SOURCES)
EXTRA_lib_vpci_libvpci_la_DEPENDENCIES = lib/vpci/libvpci.map
EXTRA_DIST += lib/vpci/libvpci.map

pkgconfig_DATA = lib/vpci/libvpci.pc

# The netdev provider is not a library: it registers itself by a constructor,
# and the linker would leave it in its archive.
#
# Open vSwitch's <config.h> comes first: it decides the shape of its structures.
NETDEV_VPCI_CPPFLAGS = $(OVS_CPPFLAGS) $(VPCI_CPPFLAGS) -I$(top_srcdir)/lib \
	-DVPCI_VERSION='"$(VERSION)"'
NETDEV_VPCI_CFLAGS = $(DPDK_CFLAGS) $(OVS_MACHINE_FLAGS) $(AM_CFLAGS)
NETDEV_VPCI_SOURCES = \
	lib/netdev-offload-vpci.c \
	lib/netdev-vpci-actions.c \
	lib/netdev-vpci-actions.h \
	lib/netdev-vpci-base.c \
	lib/netdev-vpci-call.c \
	lib/netdev-vpci-call.h \
	lib/netdev-vpci-closer.c \
	lib/netdev-vpci-config.c \
	lib/netdev-vpci-config-links.c \
	lib/netdev-vpci-copies.c \
	lib/netdev-vpci-copies.h \
	lib/netdev-vpci-datapath.c \
	lib/netdev-vpci-fds.c \
	lib/netdev-vpci-filter.c \
	lib/netdev-vpci-follow.c \
	lib/netdev-vpci-keeper.c \
	lib/netdev-vpci-keeper-peer.c \
	lib/netdev-vpci-keeper-private.h \
	lib/netdev-vpci-keeper.h \
	lib/netdev-vpci-link-begin.c \
	lib/netdev-vpci-link-consent.c \
	lib/netdev-vpci-link-count.c \
	lib/netdev-vpci-link-edit.c \
	lib/netdev-vpci-link-edit.h \
	lib/netdev-vpci-link-life.c \
	lib/netdev-vpci-link-move.c \
	lib/netdev-vpci-link-private.h \
	lib/netdev-vpci-link-rest.c \
	lib/netdev-vpci-link-show.c \
	lib/netdev-vpci-link-static.c \
	lib/netdev-vpci-held.c \
	lib/netdev-vpci-lend-flow.c \
	lib/netdev-vpci-lend-main.c \
	lib/netdev-vpci-lend-memory.c \
	lib/netdev-vpci-lend-port.c \
	lib/netdev-vpci-lend-private.h \
	lib/netdev-vpci-lend-ring.c \
	lib/netdev-vpci-lend-show.c \
	lib/netdev-vpci-lend.c \
	lib/netdev-vpci-lend.h \
	lib/netdev-vpci-link-wait.c \
	lib/netdev-vpci-link.c \
	lib/netdev-vpci-link.h \
	lib/netdev-vpci-match.c \
	lib/netdev-vpci-match.h \
	lib/netdev-vpci-megaflow.c \
	lib/netdev-vpci-megaflow.h \
	lib/netdev-vpci-memory.c \
	lib/netdev-vpci-mempool.c \
	lib/netdev-vpci-message.h \
	lib/netdev-vpci-private.h \
	lib/netdev-vpci-qos.c \
	lib/netdev-vpci-queues.c \
	lib/netdev-vpci-queues.h \
	lib/netdev-vpci-rings.c \
	lib/netdev-vpci-rxtx.c \
	lib/netdev-vpci-show.c \
	lib/netdev-vpci-sockets.c \
	lib/netdev-vpci-source.c \
	lib/netdev-vpci-splice-burst.c \
	lib/netdev-vpci-splice-send.c \
	lib/netdev-vpci-splice.c \
	lib/netdev-vpci-splice.h \
	lib/netdev-vpci-stats.c \
	lib/netdev-vpci-steering.c \
	lib/netdev-vpci-target.c \
	lib/netdev-vpci-target.h \
	lib/netdev-vpci-translation.c \
	lib/netdev-vpci-tso.c \
	lib/netdev-vpci-tso.h \
	lib/netdev-vpci-vhost.c \
	lib/netdev-vpci-wire.c \
	lib/netdev-vpci-wire.h \
	lib/netdev-vpci.c
