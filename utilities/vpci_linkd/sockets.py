# SPDX-License-Identifier: Apache-2.0
"""UNIX sockets whose paths may be longer than their addresses."""
import contextlib
import os


@contextlib.contextmanager
def address(path):
    """Gives an address, for connect() and bind(), of the socket at 'path'."""
    directory, name = os.path.split(os.path.abspath(path))
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
