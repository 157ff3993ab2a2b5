"""A cursor on a log: what one client gets next.

The one rule: it has no queue. What a slow client lacks stays in the log, and is merged when it is asked for; what a
client that wants whole words, or more at once, may not have yet stays there too.
"""

from collections.abc import Callable

from msgspec.structs import replace

from .events import Content, Event, Thinking
from .fold import MERGED, merge
from .log import Log, Mismatch, Position
from .streams import HELD, ChunkMode, boundary

READ = 4096
"""Events taken from the log at once."""
SOON = 0.0006
"""Seconds before its time at which held text may go: timers of some event loops round to milliseconds."""


class Hold:
    """What keeps text back from one client, until a word or sentence ends, or more of it is there.

    chars: so many characters at least. seconds: for so long at most, from when the first of them came. 0: neither.
    now: the clock of `seconds` and of `Cursor.due`.
    """

    def __init__(self, chunk: ChunkMode, chars: int, seconds: float, now: Callable[[], float]) -> None:
        self.looked = 0
        """The last event that was looked at."""
        self._chunk: ChunkMode = chunk
        # Where only the time is given, nothing else is waited for; but a frame must not get too big.
        self._chars = min(chars, MERGED) or (MERGED if seconds and chunk == "token" else 0)
        self._seconds = seconds
        self._now = now
        self._size = 0
        """Characters that are held: text of one kind, section and agent, at the end of the log."""
        self._source: object = None
        """What text may join it."""
        self._arrivals: list[tuple[int, float]] = []
        """How many of them were there, and since when."""

    @classmethod
    def of(cls, chunk: ChunkMode | None, chars: int | None, ms: int | None, now: Callable[[], float]) -> "Hold | None":
        """What a client asks for in these words of the wire. None: nothing is held."""
        if chars or ms or (chunk or "token") != "token":
            return cls(chunk or "token", chars or 0, (ms or 0) / 1000, now)
        return None

    @property
    def due(self) -> float | None:
        """When what is held goes in any case."""
        return self._arrivals[0][1] + self._seconds if self._arrivals else None

    def waits(self, log: Log) -> bool:
        """Whether there is nothing to be let through yet. Looks at each event once, however long it waits."""
        while new := log.read(self.looked, READ):
            for event in new:
                if not isinstance(event, Content | Thinking) or _source(event) != self._source:
                    return False
                self._size += len(event.data)
            self.looked = new[-1].seq
            self._note()
            if self._size >= self._chars:
                return False
        return not self._size or not self._overdue

    def ready(self, text: Content | Thinking, *, anew: bool) -> int:
        """How many characters of `text`, the last of the log, may go. `anew`: none of it was held before."""
        if anew:
            self._arrivals.clear()
        size = self._size = len(text.data)
        self._note()
        if self._overdue:
            return size
        if size < self._chars:
            return 0
        return boundary(text.data, self._chunk) or (size if size > HELD else 0)

    def went(self, cut: int, text: Content | Thinking | None, last: int) -> None:
        """The first `cut` characters of `text` have gone; `last` is the event at its end. None: everything has."""
        self.looked = last
        self._source = text and _source(text)
        self._size = len(text.data) - cut if text is not None else 0
        self._arrivals = [(size - cut, at) for size, at in self._arrivals if size > cut] if text is not None else []

    def _note(self) -> None:
        if self._seconds and self._size > (self._arrivals[-1][0] if self._arrivals else 0):
            self._arrivals.append((self._size, self._now()))

    @property
    def _overdue(self) -> bool:
        return self.due is not None and self._now() + SOON >= self.due


def _source(event: Content | Thinking) -> object:
    """What text of the log may be joined."""
    return type(event), event.run, event.agent, event.section


class Cursor:
    """One client's place in a log.

    `position` is where the client claims to be; None is the start. Where the log can't honour it the cursor begins at
    the start, and `reset` says why.
    """

    def __init__(self, log: Log, position: Position | None = None, hold: Hold | None = None) -> None:
        self.log = log
        self.seq = 0
        """The last event that was let through whole."""
        self.part = 0
        """Characters of the text behind it that were let through."""
        self.reset: Mismatch | None = None
        self.due: float | None = None
        """When to pull again even if nothing new comes: text is held until then."""
        self._hold = hold
        if position is not None:
            self.reset = log.check(position)
            if self.reset is None:
                self.seq, self.part = position.seq, position.part
        if self._hold is not None:
            self._hold.looked = self.seq

    @property
    def behind(self) -> bool:
        """Whether the log has anything that was not pulled, nor is held."""
        return self.log.tail > (self.seq if self._hold is None else self._hold.looked)

    def next(self) -> Event | None:
        """The next event, where it is the only one and needs nothing done to it; the cursor moves behind it. None:
        `pull` knows.
        """
        if self.part or self._hold is not None:
            return None
        event = self.log.after(self.seq)
        if event is not None:
            self.seq += 1
        return event

    def pull(self) -> list[Event]:
        """The next events, text merged; the cursor moves behind them. Empty: nothing yet."""
        if self._hold is not None:
            return self._pull(self._hold)
        events = self.log.read(self.seq, READ)
        if not events:
            return []
        merged = self._merged(events)
        self.seq, self.part = events[-1].seq, 0
        return merged

    def _pull(self, hold: Hold) -> list[Event]:
        """The same, without what is held."""
        merged: list[Event] = []
        while not merged and not hold.waits(self.log):
            events = self.log.read(self.seq, hold.looked - self.seq + READ)  # what is held, and what is new
            merged = self._merged(events)
            last = merged[-1]
            if isinstance(last, Content | Thinking):
                merged.pop()
                merged += self._cut(hold, last, merged[-1].seq if merged else None, events)
            else:
                self.seq, self.part = events[-1].seq, 0
                hold.went(0, None, self.seq)
        self.due = hold.due
        return merged

    def _merged(self, events: list[Event]) -> list[Event]:
        merged = merge(events)
        first = merged[0]
        if self.part and isinstance(first, Content | Thinking):
            merged[0] = replace(first, data=first.data[self.part :])
        return merged

    def _cut(self, hold: Hold, text: Content | Thinking, before: int | None, events: list[Event]) -> list[Event]:
        """What may be let through of the last text, which follows the event `before`, if one was pulled with it."""
        if before is not None:
            self.seq, self.part = before, 0
        cut = hold.ready(text, anew=before is not None)
        hold.went(cut, text, events[-1].seq)
        if not cut:
            return []
        # Walk the events that the text was merged from, to say how far the cut reaches.
        reach = self.part + cut
        for event in events[self.seq - events[0].seq + 1 :]:
            if not isinstance(event, Content | Thinking) or reach < len(event.data):
                break
            reach -= len(event.data)
            self.seq = event.seq
        self.part = reach
        return [replace(text, data=text.data[:cut], seq=self.seq, part=self.part)]
