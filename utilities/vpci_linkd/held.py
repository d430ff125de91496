# SPDX-License-Identifier: Apache-2.0
"""Which machines and ports are released, in a file: releases outlive the service,
not the host."""
import json
import logging
import os
import time

log = logging.getLogger("linkd")


class Held:
    """Names that are released, and until when, of time.monotonic()."""

    def __init__(self, path, timeout):
        """Goes on with what is in the file 'path', if it is there.  A release
        lasts 'timeout' seconds, or what is left of it."""
        self._path = path
        self.timeout = timeout
        self._until = {}
        try:
            with open(path, encoding="utf-8") as file:
                self._until = self._parse(json.load(file))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("%s, with releases, cannot be read (%s): there are "
                        "none", path, error)
        for name, seconds in self.left().items():
            log.info("%s is still released, for %d s", name, seconds)

    def _parse(self, data):
        if not isinstance(data, dict) or not all(
                isinstance(until, (int, float)) for until in data.values()):
            raise ValueError("these are no names and times")
        latest = time.monotonic() + self.timeout
        return {name: min(until, latest) for name, until in data.items()}

    def __iter__(self):
        return iter(self._until)

    def add(self, name):
        """Releases 'name'."""
        self._until[name] = time.monotonic() + self.timeout
        self._save()

    def remove(self, name):
        """Ends the release of 'name'.  Returns whether there was one."""
        if self._until.pop(name, None) is None:
            return False
        self._save()
        return True

    def expire(self):
        """Ends releases whose time is over.  Returns their names."""
        now = time.monotonic()
        over = [name for name, until in self._until.items() if until <= now]
        for name in over:
            self.remove(name)
        return over

    def left(self):
        """How many seconds are left, by name."""
        now = time.monotonic()
        return {name: max(round(until - now), 0)
                for name, until in self._until.items()}

    def _save(self):
        new = f"{self._path}.new"
        try:
            with open(new, "w", encoding="utf-8") as file:
                json.dump(self._until, file)
            os.replace(new, self._path)
        except OSError as error:
            log.warning("%s: %s: releases end with this service", self._path,
                        error.strerror)
