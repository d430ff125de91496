#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: old-ptrace.py COMMAND...

Becomes COMMAND, for which the kernel has no PTRACE_GETREGSET.

Debian 12's User-Mode Linux has room for 2,696 bytes of the state of a process
that PTRACE_GETREGSET gets and PTRACE_SETREGSET wants.  On processors with AMX
there are 11,008, and each guest ends with its first process.  Without that
request it falls back to PTRACE_GETFPREGS, which knows no registers of more
than 16 bytes.
"""

import ctypes
import errno
import os
import struct
import sys

# <linux/prctl.h>, <linux/seccomp.h>
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7fff0000

# <linux/audit.h>, <asm/unistd_64.h>, <linux/ptrace.h>
AUDIT_ARCH_X86_64 = 0xc000003e
NR_PTRACE = 101
PTRACE_GETREGSET = 0x4204

# Offsets in struct seccomp_data.
NR, ARCH, ARG0 = 0, 4, 16

# <linux/filter.h>
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def instruction(code, k, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, k)


FILTER = b"".join((
    instruction(LOAD, ARCH),
    instruction(JUMP_IF_EQUAL, AUDIT_ARCH_X86_64, if_false=5),
    instruction(LOAD, NR),
    instruction(JUMP_IF_EQUAL, NR_PTRACE, if_false=3),
    instruction(LOAD, ARG0),
    instruction(JUMP_IF_EQUAL, PTRACE_GETREGSET, if_false=1),
    instruction(RETURN, SECCOMP_RET_ERRNO | errno.EIO),
    instruction(RETURN, SECCOMP_RET_ALLOW)))


class Program(ctypes.Structure):
    """struct sock_fprog"""
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install_filter():
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(FILTER) // 8, FILTER)
    if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                          ctypes.byref(program), 0, 0)):
        sys.exit("old-ptrace.py: cannot set a seccomp filter: "
                 + os.strerror(ctypes.get_errno()))


install_filter()
os.execvp(sys.argv[1], sys.argv[1:])
