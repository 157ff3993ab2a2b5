"""What is done now and then: the lag is measured, the silent and the old are asked to leave, what is over is forgotten.

The one rule: one beat for the whole process, and no beat does much. A timer for each connection would cost all of them
memory; a look at all of them at once would be a lag of its own.
"""

import logging
from collections import deque
from collections.abc import Callable

from ..journal import note
from ..lag import Lag
from ..settings import Timeouts

BEAT_S = 0.1
"""From one beat to the next; uvicorn's main loop has it."""
ROUND = 50
"""Beats in which everybody is looked at once."""
TELL_S = 10.0
"""From one line about the lag to the next."""

Sweep = Callable[[float], None]


class House:
    """The housekeeping of one gateway. `overloaded` is told when the loop gets too late, and when it has recovered."""

    def __init__(self, times: Timeouts, lag: Lag, overloaded: Callable[[bool], None]) -> None:
        self._times = times
        self._lag = lag
        self._overloaded = overloaded
        self._sweeps: dict[int, Sweep] = {}
        self._watched = 0
        self._round: deque[int] = deque()
        """Whom this round has not looked at yet."""
        self._share = 0
        """How many one beat looks at."""
        self._beat: float | None = None
        self._told = -TELL_S
        self._late: list[float] = []

    def watch(self, sweep: Sweep) -> Callable[[], None]:
        """Call `sweep` with the loop's time now and then. Returns what ends that."""
        self._watched += 1
        key = self._watched
        self._sweeps[key] = sweep

        def leave() -> None:
            self._sweeps.pop(key, None)

        return leave

    @property
    def watched(self) -> int:
        """How many there are to look at."""
        return len(self._sweeps)

    def beat(self, now: float) -> None:
        """Do what is due. `now`: the loop's time; to be called every `BEAT_S`."""
        if self._beat is not None:
            self._measure(now - self._beat - BEAT_S, now)
        self._beat = now
        if not self._round:
            self._round.extend(self._sweeps)
            self._share = len(self._round) // ROUND + 1
        for _ in range(min(self._share, len(self._round))):
            sweep = self._sweeps.get(self._round.popleft())
            if sweep is not None:
                sweep(now)

    def _measure(self, late: float, now: float) -> None:
        if self._lag.note(late):
            self._overloaded(self._lag.refusing)
            if self._lag.refusing:
                note(logging.ERROR, "the event loop was held: nothing new is begun", ms=round(late * 1000))
            else:
                note(logging.WARNING, "the event loop keeps its time again: everything is served")
        if late >= self._times.lag_told:
            self._late.append(late)
        if self._late and now >= self._told + TELL_S:
            note(logging.WARNING, "the event loop was held", count=len(self._late), ms=round(max(self._late) * 1000))
            self._late.clear()
            self._told = now
