"""The log of one session: append, read after a position, wait for more.

The one rule: what somebody has read never changes. Until then the last event may still grow: text that an agent
writes faster than anyone reads becomes one event, so the first token of a tick leaves at once and a burst costs one
entry.

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
"""Characters up to which an unread text event grows."""
FROZEN = -1


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
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._room = FROZEN
        """Characters by which the last event may grow; FROZEN: somebody was shown it, or it is no text."""
        self._grown: list[str] = []
        """What it has grown by, joined when somebody looks."""
        self._source: tuple[type[Content | Thinking], str, str | None, str | None] = (Content, "", None, None)
        """What the last text is, and what run, agent and section it is of: only the same continues it."""

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
        self._freeze()
        return Position(self.epoch, len(self._events))

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
        self._join()
        event = self._events[cursor.seq] if cursor.seq < end else None
        return isinstance(event, Content | Thinking) and 0 < cursor.part < len(event.data)

    def append(self, event: Event) -> Event:
        """Write `event` at the end and wake who waits. Returns it with its `seq`."""
        self._freeze()
        stamped = replace(event, seq=len(self._events) + 1)
        self._events.append(stamped)
        for changed in self._watchers:
            changed()
        return stamped

    def append_text(
        self, kind: type[Content] | type[Thinking], run: str, data: str, agent: str | None, section: str | None
    ) -> None:
        """Write text, growing the last event where it is of the same kind and nobody has read it yet."""
        source = (kind, run, agent, section)
        if source != self._source:
            self._source = source
            self._freeze()
        self.continue_text(data)

    def continue_text(self, data: str) -> None:
        """Write more of what `append_text` wrote last, whatever else was appended since."""
        if self._room >= len(data):
            self._room -= len(data)
            self._grown.append(data)
            return  # who waits was woken by the first piece and has not read since
        if self._grown:
            self._join()
        kind, run, agent, section = self._source
        self._room = GROWTH - len(data)
        self._events.append(kind(data, section, seq=len(self._events) + 1, run=run, agent=agent))
        for changed in self._watchers:
            changed()

    def read(self, after: int, limit: int | None = None) -> list[Event]:
        """The events after `after`, at most `limit`. Not a cancellation point."""
        self._join()
        end = len(self._events) if limit is None else after + limit
        if end >= len(self._events) > after:
            self._room = FROZEN
        return self._events[after:end]

    @property
    def last(self) -> Event | None:
        """The last event, to be looked at and not shown: it may still grow."""
        return self._events[-1] if self._events else None

    @property
    def grows(self) -> bool:
        """Whether more text may still join the last event: nobody was shown it yet."""
        return self._room >= 0

    def after(self, seq: int) -> Event | None:
        """The event after `seq`, where it is the last one: what `read` returns for who lacks only this."""
        if len(self._events) != seq + 1:
            return None
        if self._grown:
            self._join()
        self._room = FROZEN
        return self._events[seq]

    def _freeze(self) -> None:
        """The last event is shown to somebody, or no longer the last."""
        self._join()
        self._room = FROZEN

    def _join(self) -> None:
        """Let the last event have the text that it has grown by."""
        if self._grown:
            last = self._events[-1]
            assert isinstance(last, Content | Thinking)  # noqa: S101 - for the type checker: nothing else grows
            self._events[-1] = replace(last, data="".join((last.data, *self._grown)))
            self._grown.clear()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed()` on each append, inside it, until `unwatch`: it must be quick and must not raise."""
        self._watchers = (*self._watchers, changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        """Call `changed` no more."""
        self._watchers = tuple(watcher for watcher in self._watchers if watcher != changed)

    async def wait(self, after: int) -> None:
        """Return once there is an event after `after`. A cancellation point only where there is none yet."""
        # An Event of its own for each waiter: a shared future would break for all when one is cancelled.
        changed = asyncio.Event()
        self.watch(changed.set)
        try:
            while self.tail <= after:
                changed.clear()
                await changed.wait()
        finally:
            self.unwatch(changed.set)
