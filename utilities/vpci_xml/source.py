# SPDX-License-Identifier: Apache-2.0
"""XML from anywhere becomes a tree, or an error that says why not.

Nothing is believed of it: there is no document type, hence no entity, and what
there is has a bound."""
import sys
import xml.etree.ElementTree as ET
from xml.parsers import expat

# libvirt itself takes no longer ones.
MAX_BYTES = 4 << 20
# What the largest domain is far from.
MAX_DEPTH = 64
MAX_ELEMENTS = 50000


class BadXml(Exception):
    """It is no XML of a domain; the message says why."""


class _Builder:
    """Makes a tree out of what expat says."""

    def __init__(self):
        self.tree = ET.TreeBuilder()
        self.depth = 0
        self.n_elements = 0

    def start(self, name, attributes):
        """An element begins."""
        self.depth += 1
        self.n_elements += 1
        if self.depth > MAX_DEPTH:
            raise BadXml(f"elements are nested more than {MAX_DEPTH} deep, "
                         "which those of no domain are")
        if self.n_elements > MAX_ELEMENTS:
            raise BadXml(f"there are more than {MAX_ELEMENTS} elements, "
                         "which no domain has")
        self.tree.start(_with_braces(name),
                        {_with_braces(key): value
                         for key, value in attributes.items()})

    def end(self, name):
        """An element ends."""
        self.depth -= 1
        self.tree.end(_with_braces(name))

    def doctype(self, name, *_):
        """There is a document type."""
        raise BadXml(f"it has a document type (<!DOCTYPE {name}), which may "
                     "define entities and so is refused: remove it, libvirt "
                     "writes none")


def _with_braces(name):
    """Name 'uri}tag' of expat, as ElementTree writes it."""
    return "{" + name if "}" in name else name


def parse(data):
    """Returns the root element of 'data', in bytes."""
    if not data.strip():
        raise BadXml("it is empty; wanted: the XML of a domain, such as "
                     "'virsh dumpxml DOMAIN' prints")
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.tree.data
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadXml(f"it is no well-formed XML: "
                     f"{expat.ErrorString(error.code)}, at line "
                     f"{error.lineno}, column {error.offset + 1}") from None
    except (LookupError, ValueError) as error:
        raise BadXml(f"its encoding is not understood: {error}") from None
    return builder.tree.close()


def read(name):
    """Reads file 'name', or standard input if that is '-'."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(name, "rb") as f:
                data = f.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadXml(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise BadXml(f"it is longer than {MAX_BYTES} bytes, which no domain "
                     "is")
    return parse(data)
