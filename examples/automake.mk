# SPDX-License-Identifier: Apache-2.0

# Programs that use libvpci as everybody may.  They are built where it is
# installed, by the Makefile beside them.
examplesdir = $(docdir)/examples
dist_examples_DATA = \
	examples/Makefile \
	examples/device.c \
	examples/forward.c \
	examples/hello.c \
	examples/rings.c
