# SPDX-License-Identifier: Apache-2.0

EXTRA_DIST += \
	Documentation/examples/libvirt-hook \
	Documentation/examples/link.xml \
	Documentation/examples/peer-borrower.xml \
	Documentation/examples/peer-owner.xml \
	Documentation/examples/standby.xml \
	Documentation/examples/vpci-linkd.service \
	Documentation/examples/vpci-virsh \
	Documentation/examples/virtio-net.xml \
	Documentation/examples/vpci-net.xml \
	Documentation/guests.rst \
	Documentation/linux-driver.rst \
	Documentation/libvirt.rst \
	Documentation/perf.rst \
	Documentation/quickstart.rst

# Manual pages.  PAGE.SECTION is made from PAGE.SECTION.rst.  Section 3 has each
# function that libvpci exports once: tests/check-libvpci.py.
MAN_RST = \
	Documentation/libvpci.7.rst \
	Documentation/vpci-dump.1.rst \
	Documentation/vpci-echo.1.rst \
	Documentation/vpci-gen.1.rst \
	Documentation/vpci-linkd.8.rst \
	Documentation/vpci-perf.1.rst \
	Documentation/vpci-sink.1.rst \
	Documentation/vpci-tap.1.rst \
	Documentation/vpci-xml.1.rst \
	Documentation/vpci.7.rst \
	Documentation/vpci_bus.3.rst \
	Documentation/vpci_channel.3.rst \
	Documentation/vpci_device.3.rst \
	Documentation/vpci_doorbell.3.rst \
	Documentation/vpci_key.3.rst \
	Documentation/vpci_layout.3.rst \
	Documentation/vpci_net.3.rst \
	Documentation/vpci_peer.3.rst \
	Documentation/vpci_projection.3.rst \
	Documentation/vpci_ring.3.rst \
	Documentation/vpci_signal.3.rst \
	Documentation/vpci_steer.3.rst \
	Documentation/vpcid.8.rst
EXTRA_DIST += $(MAN_RST)

if HAVE_RST2MAN
man_MANS = $(MAN_RST:.rst=)
CLEANFILES += $(man_MANS)
$(man_MANS): %: %.rst
	$(AM_V_GEN)$(MKDIR_P) Documentation && \
	    $(RST2MAN) --strict $< $@.tmp && mv $@.tmp $@
endif
