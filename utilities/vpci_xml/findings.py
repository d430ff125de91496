# SPDX-License-Identifier: Apache-2.0
"""What a check has found: for people, and for programs."""
import textwrap
from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
WIDTH = 79


class Finding(NamedTuple):
    """One thing that is wrong (ERROR), will be some day (WARNING), or should
    be known (NOTE)."""
    severity: str
    code: str           # Which check, for programs.
    where: str          # The device, or "domain NAME".
    seen: str           # What there is.
    wanted: str         # What there should be; may be empty, of a NOTE.
    todo: str           # How to get there; may be empty, of a NOTE.

    def as_text(self):
        """Some lines for people."""
        lines = [_wrap(f"{self.severity}: {self.where}: {self.seen}", "")]
        for title, text in (("wanted", self.wanted), ("do", self.todo)):
            if text:
                lines.append(_wrap(f"{title}: {text}", "  "))
        return "\n".join(lines)

    def as_json(self):
        """An object for programs."""
        return {"severity": self.severity, "code": self.code,
                "where": self.where, "seen": self.seen,
                "wanted": self.wanted, "do": self.todo}

    def is_problem(self):
        """Whether something should be done."""
        return self.severity != NOTE


def _wrap(text, indent):
    """'text' in lines; what begins with two blanks in it stays a line of its
    own, to be copied."""
    first, *rest = text.split("\n")
    lines = textwrap.wrap(first, WIDTH, initial_indent=indent,
                          subsequent_indent=indent + "    ",
                          break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines + [indent + "    " + line for line in rest])


def _clean(text, kept=""):
    """'text' without what a terminal would not print: most of it comes out of
    somebody's XML."""
    return "".join(c if c.isprintable() or c in kept else "?" for c in text)


def _make(severity, code, where, seen, wanted, todo):
    return Finding(severity, code, _clean(where), _clean(seen),
                   _clean(wanted, "\n"), _clean(todo, "\n"))


def error(code, where, seen, wanted, todo):
    """It does not work."""
    return _make(ERROR, code, where, seen, wanted, todo)


def warning(code, where, seen, wanted, todo):
    """It works, until something happens."""
    return _make(WARNING, code, where, seen, wanted, todo)


def note(code, where, seen, wanted="", todo=""):
    """It should be known."""
    return _make(NOTE, code, where, seen, wanted, todo)
