# SPDX-License-Identifier: Apache-2.0

# Open vSwitch's own objects and, beside them, the provider.
sbin_PROGRAMS += vswitchd/ovs-vswitchd
vswitchd_ovs_vswitchd_SOURCES = $(NETDEV_VPCI_SOURCES)
vswitchd_ovs_vswitchd_CPPFLAGS = $(NETDEV_VPCI_CPPFLAGS)
vswitchd_ovs_vswitchd_CFLAGS = $(NETDEV_VPCI_CFLAGS)
vswitchd_ovs_vswitchd_LDFLAGS = \
	-Wl,--wrap=bridge_exit \
	-Wl,--wrap=dpif_set_config
vswitchd_ovs_vswitchd_LDADD = \
	$(OVS_VSWITCHD_OBJECTS) \
	lib/libvpci.la \
	$(OVS_LIBS) \
	$(DPDK_LIBS) \
	$(NUMA_LIBS)

# Open vSwitch generates some of its headers.
$(vswitchd_ovs_vswitchd_OBJECTS): $(OVS_STAMP)
