# SPDX-License-Identifier: Apache-2.0

# The keeper of regions.
sbin_PROGRAMS += vpcid/vpcid
vpcid_vpcid_CPPFLAGS = \
	$(OVS_CPPFLAGS) \
	-I$(top_srcdir)/vpcid \
	-I$(top_srcdir)/lib \
	$(VPCI_CPPFLAGS) \
	-DVPCI_VERSION='"$(VERSION)"'
vpcid_vpcid_CFLAGS = $(OVS_MACHINE_FLAGS) $(AM_CFLAGS)
# Open vSwitch's library names all libraries of DPDK.  Some come along, as they
# do with its own ovsdb-server; nothing here uses them.
vpcid_vpcid_LDFLAGS = -Wl,--as-needed
vpcid_vpcid_LDADD = lib/libvpci.la $(ovs_builddir)/lib/libopenvswitch.la
vpcid_vpcid_SOURCES = \
	vpcid/client.c \
	vpcid/client.h \
	vpcid/control.c \
	vpcid/control.h \
	vpcid/descriptors.c \
	vpcid/descriptors.h \
	vpcid/events.c \
	vpcid/events.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h \
	vpcid/listener.c \
	vpcid/listener.h \
	vpcid/peer-id.c \
	vpcid/peer-id.h \
	vpcid/refused.c \
	vpcid/refused.h \
	vpcid/region.c \
	vpcid/region.h \
	vpcid/request.c \
	vpcid/request.h \
	vpcid/show.c \
	vpcid/show.h \
	vpcid/state-json.c \
	vpcid/state-json.h \
	vpcid/state-load.c \
	vpcid/state-private.h \
	vpcid/state-save.c \
	vpcid/state.h \
	vpcid/stranger.c \
	vpcid/stranger.h \
	vpcid/upgrade.c \
	vpcid/upgrade.h \
	vpcid/vpcid.c \
	vpcid/watch.c \
	vpcid/watch.h

# Open vSwitch generates some of its headers.
$(vpcid_vpcid_OBJECTS): $(OVS_STAMP)
