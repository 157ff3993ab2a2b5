"""How long a connection may last: not for ever without a word, and not for ever at all.

The one rule: nothing is noted when something is sent. Whoever asks says what was sent until then, and a difference
since the last question is a sign of life.
"""

from typing import Literal

from .settings import Timeouts

SPREAD = 0.1
"""The part of the age by which connections differ: those that came together after a restart must not go together."""
HARD = 2.0
"""Times the age, after which even an answer is cut off: its client comes back for the rest."""


class Life:
    """One connection's. `chance`: from 0 to 1, how much earlier than others it gets old."""

    __slots__ = ("_age", "_born", "_lively", "_sent", "_times")

    def __init__(self, times: Timeouts, now: float, chance: float = 0.0) -> None:
        self._times = times
        self._born = self._lively = now
        self._age = times.age * (1 - SPREAD * chance)
        self._sent = 0

    def over(self, now: float, *, heard: float, sent: int, going: bool) -> Literal["idle", "old_connection"] | None:
        """Why it should end, if it should. `heard`: when its client last sent anything; `sent`: the last event that it
        was sent; `going`: it waits for more.
        """
        if going or sent != self._sent:
            self._lively = now
            self._sent = sent
        age = now - self._born
        if age >= self._times.age * HARD or (age >= self._age and not going):
            return "old_connection"
        return "idle" if now - max(heard, self._lively) >= self._times.idle else None
