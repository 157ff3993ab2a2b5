"""How late the event loop is, and whether that is too late to take more.

The one rule: it gets late all at once and better slowly, so what was refused for it is taken again only after the loop
has kept its time for a while.
"""

from collections import deque
from math import ceil
from typing import NamedTuple

WINDOW = 600
"""Measurements that are kept: a minute of them, at ten a second."""
CALM = 10
"""Measurements in a row below half the limit, until nothing is refused any more."""


class Lateness(NamedTuple):
    """Seconds, over the last `WINDOW` measurements."""

    last: float
    p99: float
    max: float


class Lag:
    """Measurements of one loop. `limit`: seconds from which on it is too late."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._calm = 0
        self.refusing = False
        """Whether nothing new is to be begun."""

    def note(self, late: float) -> bool:
        """Take a measurement. Whether `refusing` changed by it."""
        late = max(0.0, late)
        self._seconds.append(late)
        self._calm = self._calm + 1 if late < self._limit / 2 else 0
        before = self.refusing
        if late >= self._limit:
            self.refusing = True
        elif self._calm >= CALM:
            self.refusing = False
        return self.refusing is not before

    @property
    def lateness(self) -> Lateness:
        """How late it was."""
        if not self._seconds:
            return Lateness(0.0, 0.0, 0.0)
        ordered = sorted(self._seconds)
        return Lateness(self._seconds[-1], ordered[ceil(len(ordered) * 0.99) - 1], ordered[-1])
