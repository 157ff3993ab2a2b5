"""The log of one session: append, read after a position, wait for more.

The one rule: what somebody has read never changes. Until then the last event may still grow: text that an agent
writes faster than anyone reads is joined into one event, so the first token of a tick leaves at once and a burst
costs one entry.

Appending is synchronous on purpose: whoever appends has decided, and nobody can run in between.
Must not know: sockets, stores, what an event means beyond "is it text".
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from .events import Content, Event, Thinking

GROWTH = 4096
"""Characters up to which an unread text event grows. Joining is quadratic in it, so it is small."""


class Epoch(Struct, frozen=True):
    """One incarnation of a log, and the first `seq` that it wrote."""

    epoch: str
    first: int


class Position(Struct, frozen=True):
    """A place between two events: all up to `seq`, and `part` characters of the text after it, were delivered."""

    epoch: str
    seq: int
    part: int = 0


Mismatch = Literal["epoch", "ahead"]
"""Why a cursor can't be honoured: an unknown incarnation of the log, or events that this one never had."""


class Log:
    """Events 1, 2, 3 ... of one session, in memory.

    `events` and `epochs` are what a store had; `epoch` names this incarnation. Every event has the `seq` of its place.
    """

    def __init__(self, epoch: str, events: Sequence[Event] = (), epochs: Sequence[Epoch] = ()) -> None:
        self._events: list[Event] = list(events)
        self.epochs: tuple[Epoch, ...] = (*epochs, Epoch(epoch, len(self._events) + 1))
        self._watchers: dict[int, Callable[[], None]] = {}
        self._watched = 0
        self._read = len(self._events)
        """The highest `seq` that anyone was shown: the event there is frozen."""

    @property
    def epoch(self) -> str:
        """This incarnation's name."""
        return self.epochs[-1].epoch

    @property
    def tail(self) -> int:
        """The last `seq`, 0 for an empty log. The event there may still grow: to hand a position out, take
        `position`.
        """
        return len(self._events)

    @property
    def position(self) -> Position:
        """The end of the log, as a cursor. Freezes the last event."""
        self._read = len(self._events)
        return Position(self.epoch, self._read)

    def check(self, cursor: Position) -> Mismatch | None:
        """None where a client at `cursor` holds a prefix of this log; else why not.

        Each incarnation vouches for what it wrote and for all before it; its part of the log ends where the next one
        begins, and a cursor beyond that end saw events that never reached the store.
        """
        for i, epoch in enumerate(self.epochs):
            if epoch.epoch == cursor.epoch:
                end = self.epochs[i + 1].first - 1 if i + 1 < len(self.epochs) else self.tail
                return None if 0 <= cursor.seq <= end and self._has(cursor, end) else "ahead"
        return "epoch"

    def _has(self, cursor: Position, end: int) -> bool:
        """Whether `part` is inside a text; one beyond it would cut characters off the text that follows."""
        if cursor.part == 0:
            return True
        event = self._events[cursor.seq] if cursor.seq < end else None
        return isinstance(event, Content | Thinking) and 0 < cursor.part < len(event.data)

    def append(self, event: Event) -> Event:
        """Write `event` at the end and wake who waits. Returns it with its `seq`."""
        stamped = replace(event, seq=len(self._events) + 1)
        self._events.append(stamped)
        self._wake()
        return stamped

    def append_text(
        self, kind: type[Content] | type[Thinking], run: str, data: str, agent: str | None, section: str | None
    ) -> None:
        """Write text, growing the last event where it is of the same kind and nobody has read it yet."""
        seq = len(self._events)
        if seq > self._read:
            last = self._events[-1]
            if (
                isinstance(last, Content | Thinking)
                and type(last) is kind
                and last.run == run
                and last.agent == agent
                and last.section == section
                and len(last.data) + len(data) <= GROWTH
            ):
                self._events[-1] = kind(last.data + data, section, seq=seq, run=run, agent=agent)
                return  # who waits was woken by the first piece and has not read since
        self._events.append(kind(data, section, seq=seq + 1, run=run, agent=agent))
        self._wake()

    def read(self, after: int, limit: int | None = None) -> list[Event]:
        """The events after `after`, at most `limit`. Not a cancellation point."""
        events = self._events[after:] if limit is None else self._events[after : after + limit]
        if events:
            self._read = max(self._read, after + len(events))
        return events

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed()` on each append, inside it: it must be quick and must not raise. Returns what ends it."""
        self._watched += 1
        key = self._watched
        self._watchers[key] = changed
        return lambda: self._watchers.pop(key, None) and None

    async def wait(self, after: int) -> None:
        """Return once there is an event after `after`. A cancellation point only where there is none yet."""
        # An Event of its own for each waiter: a shared future would break for all when one is cancelled.
        changed = asyncio.Event()
        unwatch = self.watch(changed.set)
        try:
            while self.tail <= after:
                changed.clear()
                await changed.wait()
        finally:
            unwatch()

    def _wake(self) -> None:
        if self._watchers:
            for changed in tuple(self._watchers.values()):
                changed()
