# SPDX-License-Identifier: Apache-2.0

m4_ifndef([PKG_CHECK_MODULES],
  [m4_fatal([pkg.m4 not found: apt-get install pkg-config])])

dnl VPCI_CHECK_LINUX
dnl
dnl Fails unless the program is going to run on 64-bit Linux.
AC_DEFUN([VPCI_CHECK_LINUX],
  [AC_REQUIRE([AC_CANONICAL_HOST])
   AS_CASE([$host_os], [linux*], [],
     [AC_MSG_ERROR([ovs-vpci runs on Linux only, not on $host_os])])
   AC_CHECK_SIZEOF([void *])
   AS_IF([test "$ac_cv_sizeof_void_p" != 8],
     [AC_MSG_ERROR([ovs-vpci needs a 64-bit machine])])])

dnl VPCI_CHECK_PYTHON3
dnl
dnl Open vSwitch's own build and many tests are written in Python 3.
AC_DEFUN([VPCI_CHECK_PYTHON3],
  [AC_ARG_VAR([PYTHON3], [Python 3 interpreter])
   AC_PATH_PROG([PYTHON3], [python3], [no])
   AS_IF([test "$PYTHON3" = no],
     [AC_MSG_ERROR([python3 not found: apt-get install python3])])])

dnl VPCI_CHECK_AUTOTEST
dnl
dnl The test suite is generated from our own macros and those of the Open
dnl vSwitch that we are built against, so it cannot come ready-made.
AC_DEFUN([VPCI_CHECK_AUTOTEST],
  [AC_ARG_VAR([AUTOM4TE], [autom4te command])
   AC_PATH_PROG([AUTOM4TE], [autom4te], [no])
   AS_IF([test "$AUTOM4TE" = no],
     [AC_MSG_ERROR([autom4te not found: apt-get install autoconf])])])

dnl VPCI_CHECK_DPDK
dnl
dnl Finds DPDK 22.11 and its vhost library.  Sets DPDK_CFLAGS and DPDK_LIBS.
dnl
dnl The directories become system directories, to keep DPDK's headers clear of
dnl our warning options.  '-march' goes away: every object has to be compiled
dnl for the same processor as Open vSwitch (see VPCI_OVS_MACHINE_FLAGS).
AC_DEFUN([VPCI_CHECK_DPDK],
  [PKG_PROG_PKG_CONFIG([0.24])
   AS_IF([test -z "$PKG_CONFIG"],
     [AC_MSG_ERROR([pkg-config not found: apt-get install pkg-config])])
   PKG_CHECK_MODULES([DPDK], [libdpdk >= 22.11 libdpdk < 23], [],
     [AC_MSG_ERROR([$DPDK_PKG_ERRORS
DPDK 22.11 not found: apt-get install libdpdk-dev
(or point PKG_CONFIG_PATH to the directory with libdpdk.pc)])])
   DPDK_CFLAGS=`AS_ECHO([" $DPDK_CFLAGS"]) |
     $SED 's/ -I */ -isystem /g; s/ -march=[[^ ]]*//g'`

   vpci_save_CFLAGS=$CFLAGS
   vpci_save_LIBS=$LIBS
   CFLAGS="$CFLAGS $DPDK_CFLAGS -mssse3"
   LIBS="$DPDK_LIBS $LIBS"
   AC_MSG_CHECKING([for librte_vhost])
   AC_LINK_IFELSE(
     [AC_LANG_PROGRAM([#include <rte_vhost.h>],
                      [return rte_vhost_driver_start("");])],
     [AC_MSG_RESULT([yes])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([DPDK has no usable librte_vhost:
apt-get install libdpdk-dev (config.log has the compiler's words)])])
   CFLAGS=$vpci_save_CFLAGS
   LIBS=$vpci_save_LIBS])

dnl VPCI_CHECK_NUMA
dnl
dnl Without libnuma, both DPDK's vhost library and Open vSwitch put memory and
dnl threads on the wrong node.
AC_DEFUN([VPCI_CHECK_NUMA],
  [AC_CHECK_HEADER([numa.h], [],
     [AC_MSG_ERROR([numa.h not found: apt-get install libnuma-dev])])
   AC_CHECK_LIB([numa], [numa_available], [NUMA_LIBS=-lnuma],
     [AC_MSG_ERROR([libnuma not found: apt-get install libnuma-dev])])
   AC_SUBST([NUMA_LIBS])])

dnl VPCI_CHECK_OVS
dnl
dnl Finds the Open vSwitch to build against.
dnl
dnl --with-ovs-source names a source tree and --with-ovs-build where it was
dnl built, by default the same directory.  With neither, the source that
dnl Debian's openvswitch-source installs is unpacked into 'openvswitch' in the
dnl build directory and configured here; 'make' then builds it.
dnl
dnl Sets ovs_srcdir, ovs_builddir (absolute), OVS_VERSION, OVS_MACHINE_FLAGS
dnl and the conditional BUILD_OVS.
AC_DEFUN([VPCI_CHECK_OVS],
  [AC_ARG_WITH([ovs-source],
     [AS_HELP_STRING([--with-ovs-source=DIR],
        [source of Open vSwitch 3.1 (default: unpack and build what the
         package openvswitch-source has)])])
   AC_ARG_WITH([ovs-build],
     [AS_HELP_STRING([--with-ovs-build=DIR],
        [where that source was built (default: in the source directory)])])

   AC_MSG_CHECKING([for Open vSwitch])
   AS_CASE([$with_ovs_source],
     [yes], [AC_MSG_ERROR([--with-ovs-source needs a directory])],
     [no|''],
       [AS_CASE([$with_ovs_build],
          [no|''], [],
          [AC_MSG_ERROR([--with-ovs-build needs --with-ovs-source as well])])
        build_ovs=yes
        ovs_srcdir=`pwd`/openvswitch
        ovs_builddir=$ovs_srcdir
        AC_MSG_RESULT([to be built in $ovs_srcdir])
        VPCI_UNPACK_OVS],
     [build_ovs=no
      AS_IF([test ! -f "$with_ovs_source/lib/netdev-provider.h"],
        [AC_MSG_ERROR([$with_ovs_source (--with-ovs-source) is not a source
tree of Open vSwitch: it has no lib/netdev-provider.h])])
      ovs_srcdir=`cd "$with_ovs_source" && pwd`
      AS_CASE([$with_ovs_build],
        [no|''], [ovs_builddir=$ovs_srcdir],
        [yes], [AC_MSG_ERROR([--with-ovs-build needs a directory])],
        [AS_IF([test ! -d "$with_ovs_build"],
           [AC_MSG_ERROR([$with_ovs_build (--with-ovs-build) is not a
directory])])
         ovs_builddir=`cd "$with_ovs_build" && pwd`])
      AC_MSG_RESULT([$ovs_srcdir, built in $ovs_builddir])])

   VPCI_CHECK_OVS_VERSION
   VPCI_CHECK_OVS_BUILT
   VPCI_CHECK_DPDK_NETDEV
   VPCI_OVS_MACHINE_FLAGS

   AC_SUBST([ovs_srcdir])
   AC_SUBST([ovs_builddir])
   AC_SUBST([OVS_VERSION])
   AM_CONDITIONAL([BUILD_OVS], [test $build_ovs = yes])])

dnl VPCI_UNPACK_OVS
dnl
dnl Unpacks and configures Debian's source of Open vSwitch in $ovs_srcdir,
dnl unless that was already done from the same source with the same options.
m4_define([VPCI_OVS_TARBALL], [/usr/src/openvswitch/openvswitch.tar.gz])
AC_DEFUN([VPCI_UNPACK_OVS],
  [AS_IF([test ! -f VPCI_OVS_TARBALL],
     [AC_MSG_ERROR([VPCI_OVS_TARBALL not found:
apt-get install openvswitch-source, or name a source tree of Open vSwitch 3.1
by --with-ovs-source=DIR])])

   # What Open vSwitch's build depends on.  If it changes, build anew.
   vpci_ovs_prefix=$prefix
   test "$vpci_ovs_prefix" = NONE && vpci_ovs_prefix=$ac_default_prefix
   cat > openvswitch.wanted <<_VPCI_EOF
`cksum < VPCI_OVS_TARBALL`
PYTHON3=$PYTHON3
CC=$CC
CFLAGS=$CFLAGS
CPPFLAGS=$CPPFLAGS
LDFLAGS=$LDFLAGS
PKG_CONFIG_PATH=$PKG_CONFIG_PATH
prefix=$vpci_ovs_prefix
sysconfdir=$sysconfdir
localstatedir=$localstatedir
_VPCI_EOF
   AS_IF([cmp -s openvswitch.wanted "$ovs_srcdir/vpci-configured"],
     [AC_MSG_NOTICE([Open vSwitch is already configured in $ovs_srcdir])
      rm -f openvswitch.wanted],
     [AC_MSG_NOTICE([unpacking ]VPCI_OVS_TARBALL)
      rm -rf "$ovs_srcdir"
      mkdir "$ovs_srcdir" &&
      tar -xzf VPCI_OVS_TARBALL -C "$ovs_srcdir" --strip-components=1 ||
        AC_MSG_ERROR([cannot unpack ]VPCI_OVS_TARBALL[ into $ovs_srcdir])
      AC_MSG_NOTICE(
        [configuring Open vSwitch (log: openvswitch/vpci-configure.log)])
      (cd "$ovs_srcdir" &&
       $SHELL ./configure --with-dpdk=shared --prefix="$vpci_ovs_prefix" \
           --sysconfdir="$sysconfdir" --localstatedir="$localstatedir" \
           PYTHON3="$PYTHON3" CC="$CC" CFLAGS="$CFLAGS" \
           CPPFLAGS="$CPPFLAGS" LDFLAGS="$LDFLAGS" \
           < /dev/null > vpci-configure.log 2>&1) ||
        { tail -n 25 "$ovs_srcdir/vpci-configure.log" >&2
          AC_MSG_ERROR([cannot configure Open vSwitch: see above and
$ovs_srcdir/vpci-configure.log])
        }
      mv openvswitch.wanted "$ovs_srcdir/vpci-configured"])])

dnl VPCI_CHECK_OVS_VERSION
dnl
dnl 'struct netdev_class' differs from version to version.
AC_DEFUN([VPCI_CHECK_OVS_VERSION],
  [AC_MSG_CHECKING([for the version of Open vSwitch])
   OVS_VERSION=`$SED -n \
     ['s/^AC.INIT(openvswitch, *\([0-9][0-9.]*\).*/\1/p'] \
     "$ovs_srcdir/configure.ac"`
   AC_MSG_RESULT([$OVS_VERSION])
   AS_CASE([$OVS_VERSION],
     [3.1.*], [],
     [AC_MSG_ERROR([this version of ovs-vpci is for Open vSwitch 3.1, but
$ovs_srcdir is version '$OVS_VERSION'])])])

dnl VPCI_CHECK_OVS_BUILT
dnl
dnl Checks that $ovs_builddir has what we link, unless we build it ourselves.
AC_DEFUN([VPCI_CHECK_OVS_BUILT],
  [AS_IF([test $build_ovs = no],
     [for vpci_file in config.h lib/libopenvswitch.la ofproto/libofproto.la \
                       vswitchd/bridge.o vswitchd/ovs-vswitchd.o \
                       vswitchd/system-stats.o; do
        AS_IF([test ! -f "$ovs_builddir/$vpci_file"],
          [AC_MSG_ERROR([$ovs_builddir has no $vpci_file: build Open vSwitch
there first (./configure --with-dpdk=shared && make), or name the directory
where it was built by --with-ovs-build=DIR])])
      done])])

dnl VPCI_CHECK_DPDK_NETDEV
dnl
dnl 'struct dp_packet' has another shape when Open vSwitch is built with DPDK,
dnl and only that shape is an rte_mbuf.
AC_DEFUN([VPCI_CHECK_DPDK_NETDEV],
  [AC_MSG_CHECKING([whether Open vSwitch was configured with DPDK])
   vpci_save_CPPFLAGS=$CPPFLAGS
   CPPFLAGS="-I$ovs_builddir $CPPFLAGS"
   # Without 'confdefs.h': config.h defines the same macros.
   AC_COMPILE_IFELSE(
     [AC_LANG_DEFINES_PROVIDED[#include <config.h>
#ifndef DPDK_NETDEV
#error "DPDK_NETDEV is not defined"
#endif
int dummy;
]],
     [AC_MSG_RESULT([yes])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([$ovs_builddir/config.h does not define DPDK_NETDEV:
configure and build Open vSwitch with --with-dpdk=shared])])
   CPPFLAGS=$vpci_save_CPPFLAGS])

dnl VPCI_OVS_MACHINE_FLAGS
dnl
dnl Sets OVS_MACHINE_FLAGS to the '-m' options that Open vSwitch is compiled
dnl with.  Inline functions in its headers, those that hash among them, go by
dnl the instructions that the compiler may use: objects that disagree do not
dnl find each other's hash table entries.
AC_DEFUN([VPCI_OVS_MACHINE_FLAGS],
  [AC_MSG_CHECKING([for the -m options of Open vSwitch])
   OVS_MACHINE_FLAGS=
   for vpci_flag in \
     `$SED -n 's/^WARNING_FLAGS = //p; s/^OVS_CFLAGS = //p' \
      "$ovs_builddir/Makefile"` \
     `$SED -n 's/^CFLAGS = //p' "$ovs_builddir/Makefile"`; do
     AS_CASE([$vpci_flag],
       [-m*], [AS_VAR_APPEND([OVS_MACHINE_FLAGS], [" $vpci_flag"])])
   done
   AC_MSG_RESULT([${OVS_MACHINE_FLAGS:-none}])
   AC_SUBST([OVS_MACHINE_FLAGS])

   vpci_theirs=`$CC $OVS_MACHINE_FLAGS -dM -E -x c /dev/null | $GREP \
     -e __SSE4_2__ -e __POPCNT__ -e __ARM_FEATURE_CRC32`
   vpci_ours=`$CC $OVS_MACHINE_FLAGS $CFLAGS -dM -E -x c /dev/null | $GREP \
     -e __SSE4_2__ -e __POPCNT__ -e __ARM_FEATURE_CRC32`
   AS_IF([test "$vpci_theirs" != "$vpci_ours"],
     [AC_MSG_ERROR([CFLAGS "$CFLAGS" and Open vSwitch, compiled with
"$OVS_MACHINE_FLAGS", are for different processors and would hash differently:
use the same -m options for both])])])

dnl VPCI_CHECK_RST2MAN
dnl
dnl Manual pages are written in reStructuredText.  Whoever lacks docutils does
dnl without them.
AC_DEFUN([VPCI_CHECK_RST2MAN],
  [AC_ARG_VAR([RST2MAN], [converter from reStructuredText to manual pages])
   AC_CHECK_PROGS([RST2MAN], [rst2man rst2man.py], [no])
   AM_CONDITIONAL([HAVE_RST2MAN], [test "$RST2MAN" != no])])

dnl VPCI_ENABLE_OPTION([OPTION])
dnl
dnl Adds OPTION to WARNING_FLAGS if the compiler accepts it.
AC_DEFUN([VPCI_ENABLE_OPTION],
  [AS_VAR_PUSHDEF([vpci_cv], [vpci_cv_cc_option_$1])
   AC_CACHE_CHECK([whether $CC accepts $1], [vpci_cv],
     [vpci_save_CFLAGS=$CFLAGS
      # A compiler may accept -Wno-whatever, and clang accepts everything
      # unless warnings are errors.
      CFLAGS="$CFLAGS -Werror m4_bpatsubst([$1], [-Wno-], [-W])"
      AC_COMPILE_IFELSE([AC_LANG_SOURCE([int dummy;])],
        [AS_VAR_SET([vpci_cv], [yes])], [AS_VAR_SET([vpci_cv], [no])])
      CFLAGS=$vpci_save_CFLAGS])
   AS_VAR_IF([vpci_cv], [yes],
     [WARNING_FLAGS="$WARNING_FLAGS $1"])
   AC_SUBST([WARNING_FLAGS])
   AS_VAR_POPDEF([vpci_cv])])

dnl VPCI_ENABLE_WERROR
AC_DEFUN([VPCI_ENABLE_WERROR],
  [AC_ARG_ENABLE([Werror],
     [AS_HELP_STRING([--enable-Werror], [turn warnings into errors])])
   AS_IF([test "$enable_Werror" = yes],
     [WARNING_FLAGS="$WARNING_FLAGS -Werror"])])

dnl VPCI_ENABLE_SANITIZERS
dnl
dnl Our own objects get the sanitizers, those of Open vSwitch stay as they are.
AC_DEFUN([VPCI_ENABLE_SANITIZERS],
  [AC_ARG_ENABLE([sanitizers],
     [AS_HELP_STRING([--enable-sanitizers],
        [compile with AddressSanitizer and UndefinedBehaviorSanitizer])])
   SANITIZER_FLAGS=
   AS_IF([test "$enable_sanitizers" = yes],
     [SANITIZER_FLAGS="-fsanitize=address,undefined -fno-omit-frame-pointer"
      AC_MSG_CHECKING([whether $CC has the sanitizers])
      vpci_save_CFLAGS=$CFLAGS
      CFLAGS="$CFLAGS $SANITIZER_FLAGS"
      AC_LINK_IFELSE([AC_LANG_PROGRAM], [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([--enable-sanitizers: $CC cannot link
$SANITIZER_FLAGS: apt-get install libasan8 libubsan1 (gcc), or
libclang-rt-14-dev (clang)])])
      CFLAGS=$vpci_save_CFLAGS])
   AC_SUBST([SANITIZER_FLAGS])
   AM_CONDITIONAL([SANITIZERS], [test "$enable_sanitizers" = yes])])

dnl VPCI_ENABLE_FUZZERS
AC_DEFUN([VPCI_ENABLE_FUZZERS],
  [AC_ARG_ENABLE([fuzzers],
     [AS_HELP_STRING([--enable-fuzzers],
        [build the libFuzzer programs (clang only)])])
   AS_IF([test "$enable_fuzzers" = yes],
     [AC_MSG_CHECKING([whether $CC has libFuzzer])
      vpci_save_CFLAGS=$CFLAGS
      CFLAGS="$CFLAGS -fsanitize=fuzzer-no-link"
      AC_COMPILE_IFELSE([AC_LANG_SOURCE([int dummy;])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([--enable-fuzzers needs CC=clang:
apt-get install clang libclang-rt-14-dev])])
      CFLAGS=$vpci_save_CFLAGS])
   AM_CONDITIONAL([FUZZERS], [test "$enable_fuzzers" = yes])])
