# SPDX-License-Identifier: Apache-2.0

# The driver for Linux guests is built by its own Makefile, for a guest's kernel.
EXTRA_DIST += \
	guest/linux/Kbuild \
	guest/linux/Makefile \
	guest/linux/compat/arpa/inet.h \
	guest/linux/compat/errno.h \
	guest/linux/compat/inttypes.h \
	guest/linux/compat/limits.h \
	guest/linux/compat/netinet/in.h \
	guest/linux/compat/pthread.h \
	guest/linux/compat/stdarg.h \
	guest/linux/compat/stdbool.h \
	guest/linux/compat/stddef.h \
	guest/linux/compat/stdint.h \
	guest/linux/compat/stdio.h \
	guest/linux/compat/stdlib.h \
	guest/linux/compat/string.h \
	guest/linux/compat/sys/random.h \
	guest/linux/compat/sys/syscall.h \
	guest/linux/compat/time.h \
	guest/linux/compat/unistd.h \
	guest/linux/dkms.conf \
	guest/linux/make-tree.sh \
	guest/linux/vpci_bus.c \
	guest/linux/vpci_bus.h \
	guest/linux/vpci_exports.c \
	guest/linux/vpci_ivshmem.c \
	guest/linux/vpci_ivshmem.h \
	guest/linux/vpci_net.h \
	guest/linux/vpci_net_ethtool.c \
	guest/linux/vpci_net_failover.c \
	guest/linux/vpci_net_links.c \
	guest/linux/vpci_net_main.c \
	guest/linux/vpci_net_memory.c \
	guest/linux/vpci_net_port.c \
	guest/linux/vpci_net_queue.c \
	guest/linux/vpci_net_storm.c \
	guest/linux/vpci_net_sysfs.c \
	guest/linux/vpci_signal.c
