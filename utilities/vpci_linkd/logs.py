# SPDX-License-Identifier: Apache-2.0
"""The log, as Open vSwitch's daemons write theirs."""
import itertools
import logging
import logging.handlers
import os
import sys
import threading
import time

# How often, in seconds, the same is said of the same.
REPEAT = 60
FORMAT = "%(asctime)s|%(number)05d|%(name)s|%(levelname)s|%(message)s"
_LEVELS = {"WARNING": "WARN", "ERROR": "ERR", "CRITICAL": "EMER",
           "DEBUG": "DBG"}


class _Formatter(logging.Formatter):
    """Time, number of the line, module, level, message."""

    def __init__(self):
        super().__init__(FORMAT)
        self._numbers = itertools.count(1)

    def formatTime(self, record, datefmt=None):
        when = time.gmtime(record.created)
        return (time.strftime("%Y-%m-%dT%H:%M:%S", when)
                + f".{int(record.msecs):03d}Z")

    def format(self, record):
        record.number = next(self._numbers)
        record.levelname = _LEVELS.get(record.levelname, record.levelname)
        return super().format(record)


class _SysLogFormatter(logging.Formatter):
    def __init__(self):
        super().__init__(f"vpci-linkd[{os.getpid()}]: "
                         "%(name)s|%(levelname)s|%(message)s")


def _syslog():
    """The system's log, or nothing if there is none."""
    if (os.environ.get("OVS_SYSLOG_METHOD") == "null"
            or not os.path.exists("/dev/log")):
        return logging.NullHandler()
    handler = logging.handlers.SysLogHandler(
        "/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.setFormatter(_SysLogFormatter())
    return handler


def start(file=None, detach=False, verbose=False):
    """Begins to log to 'file', if there is one, and to standard error or, if
    this program detaches itself, to the system's log."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    handlers = []
    if file:
        # It is opened again when somebody has moved it.
        handlers.append(logging.handlers.WatchedFileHandler(file))
    if detach:
        root.addHandler(_syslog())
    else:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = _Formatter()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)


class Limited:
    """A log that says the same of the same thing once in a while."""

    def __init__(self, log, clock=time.monotonic):
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._said = {}         # Text, when, how often since, by thing.

    def warn(self, thing, text):
        """Says 'text' of 'thing', unless that was said lately."""
        now = self._clock()
        with self._lock:
            last, when, missed = self._said.get(thing, (None, 0, 0))
            if text == last and now - when < REPEAT:
                self._said[thing] = last, when, missed + 1
                return
            self._said[thing] = text, now, 0
        again = (f" ({missed} more times in {now - when:.0f} s)"
                 if missed and text == last else "")
        self._log.warning("%s%s", text, again)

    def forget(self, thing):
        """All is well with 'thing'.  Returns whether it was not before."""
        with self._lock:
            return self._said.pop(thing, None) is not None
