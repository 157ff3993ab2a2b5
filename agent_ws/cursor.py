"""A cursor on a log: what one client gets next.

The one rule: it has no queue. What a slow client lacks stays in the log, and is merged when it is asked for; what a
client that wants whole words or sentences may not have yet stays there too.
"""

from msgspec.structs import replace

from .events import Content, Event, Thinking
from .fold import merge
from .log import Log, Mismatch, Position
from .streams import HELD, ChunkMode, boundary

READ = 4096
"""Events taken from the log at once."""


class Cursor:
    """One client's place in a log.

    `position` is where the client claims to be; None is the start. Where the log can't honour it the cursor begins at
    the start, and `reset` says why.
    """

    def __init__(self, log: Log, position: Position | None = None, chunk: ChunkMode = "token") -> None:
        self.log = log
        self.seq = 0
        """The last event that was let through whole."""
        self.part = 0
        """Characters of the text behind it that were let through."""
        self.reset: Mismatch | None = None
        self._chunk: ChunkMode = chunk
        if position is not None:
            self.reset = log.check(position)
            if self.reset is None:
                self.seq, self.part = position.seq, position.part

    @property
    def behind(self) -> bool:
        """Whether the log has anything after the cursor."""
        return self.log.tail > self.seq

    def next(self) -> Event | None:
        """The next event, where it is the only one and needs nothing done to it; the cursor moves behind it. None:
        `pull` knows.
        """
        if self.part or self._chunk != "token":
            return None
        event = self.log.after(self.seq)
        if event is not None:
            self.seq += 1
        return event

    def pull(self) -> list[Event]:
        """The next events, text merged; the cursor moves behind them. Empty: nothing yet."""
        events = self.log.read(self.seq, READ)
        if not events:
            return []
        merged = merge(events)
        first = merged[0]
        if self.part and isinstance(first, Content | Thinking):
            merged[0] = replace(first, data=first.data[self.part :])
        last = merged[-1]
        if self._chunk != "token" and isinstance(last, Content | Thinking):
            merged.pop()
            return merged + self._cut(last, merged[-1].seq if merged else None, events)
        self.seq, self.part = events[-1].seq, 0
        return merged

    def _cut(self, text: Content | Thinking, before: int | None, events: list[Event]) -> list[Event]:
        """What may be let through of the last text, which follows the event `before`, if one was pulled with it."""
        if before is not None:
            self.seq, self.part = before, 0
        cut = boundary(text.data, self._chunk)
        if not cut and len(text.data) > HELD:
            cut = len(text.data)
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
