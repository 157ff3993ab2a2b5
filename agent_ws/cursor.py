"""A cursor on a log: what one client gets next.

The one rule: it has no queue. What a slow client lacks stays in the log, and is merged when it is asked for; what a
client that wants whole words or sentences may not have yet stays there too.
"""

from msgspec.structs import replace

from .events import Content, Event, Thinking
from .fold import merge
from .log import Log, Mismatch, Position
from .streams import ChunkMode, boundary

READ = 4096
"""Events taken from the log at once."""
HELD = 1024
"""Characters held back at most for a word's or sentence's end; text without one is let through then."""


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

    def pull(self) -> list[tuple[Event, int]]:
        """The next events, text merged, each with the `part` to print; the cursor moves behind them. Empty: nothing
        yet.
        """
        events = self.log.read(self.seq, READ)
        if not events:
            return []
        frames = [(event, 0) for event in merge(events)]
        if self.part:
            first = frames[0][0]
            if isinstance(first, Content | Thinking):
                frames[0] = (replace(first, data=first.data[self.part :]), 0)
        last = frames[-1][0]
        if self._chunk != "token" and isinstance(last, Content | Thinking):
            return self._hold(frames, events)
        self.seq, self.part = events[-1].seq, 0
        return frames

    def _hold(self, frames: list[tuple[Event, int]], events: list[Event]) -> list[tuple[Event, int]]:
        """Keep the unfinished end of the last text back."""
        last = frames.pop()[0]
        assert isinstance(last, Content | Thinking)  # noqa: S101 - for the type checker: `pull` looked
        before = frames[-1][0].seq if frames else self.seq
        done = 0 if frames else self.part
        text = last.data
        cut = boundary(text, self._chunk)
        if not cut and len(text) > HELD:
            cut = len(text)
        self.seq, self.part = before, done
        if cut:
            # Walk the events that the text was merged from, to say how far the cut reaches.
            reach = done + cut
            for event in events[before - events[0].seq + 1 :]:
                assert isinstance(event, Content | Thinking)  # noqa: S101 - they were merged into `last`
                if reach < len(event.data):
                    break
                reach -= len(event.data)
                self.seq = event.seq
            self.part = reach
            frames.append((replace(last, data=text[:cut], seq=self.seq), self.part))
        return frames
