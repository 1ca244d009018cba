"""Where the time goes: a clock of named sections that never overlap."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up wall seconds by section. Entering a section pauses the one around it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._section: str | None = None
        self._since = time.perf_counter()

    def _switch(self, section: str | None) -> str | None:
        now = time.perf_counter()
        if self._section is not None:
            self.seconds[self._section] += now - self._since
        self._section, self._since, before = section, now, self._section
        return before

    @contextmanager
    def __call__(self, section: str) -> Iterator[None]:
        """Charge the time inside to ``section``."""
        around = self._switch(section)
        try:
            yield
        finally:
            self._switch(around)
