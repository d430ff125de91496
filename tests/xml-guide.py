# SPDX-License-Identifier: Apache-2.0
"""Compares the XML in guides with what vpci-xml prints.

    xml-guide.py GUIDE.rst... FILE.xml...

Each literal block of a GUIDE that is XML has to be, but for its indentation, a
part of some FILE.  RESERVE stands for the number there.  Prints how many
blocks there are."""
import re
import sys


def lines_of(text):
    """The lines of 'text', without indentation."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def blocks(text):
    """The literal blocks of a guide that are XML, each as its lines."""
    for block in re.findall(r"::\n\n((?:[ ]+.*\n|\n)+)", text):
        lines = lines_of(block)
        if lines[0].startswith("<") and not lines[0].startswith("<domain"):
            yield lines


def read(name):
    """The text of file 'name', without comments of XML."""
    with open(name, encoding="utf-8") as f:
        return re.sub(r"<!--.*?-->", "", f.read(), flags=re.DOTALL)


def is_part(lines, of):
    """Whether 'lines' follow each other in 'of'."""
    return any(of[i:i + len(lines)] == lines for i in range(len(of)))


guides = [name for name in sys.argv[1:] if name.endswith(".rst")]
files = [lines_of(re.sub(r"(pref64-reserve.*value=')\d+", r"\1RESERVE",
                         read(name)))
         for name in sys.argv[1:] if name.endswith(".xml")]
count = 0
for guide in guides:
    for lines in blocks(read(guide)):
        count += 1
        if not any(is_part(lines, each) for each in files):
            print(f"{guide}: vpci-xml prints nothing like this:",
                  *lines, sep="\n    ")
print(count)
