"""What a client has, beside what it may have: the promises, looked at frame by frame.

The one rule: it knows PROTOCOL.md through `testing.invariants` alone, so a scenario, a suite and a random schedule
mean the same by a broken promise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from ..events import ENDINGS, Content, Event, Thinking
from ..fold import RunView, runs
from ..frames import ControlFrame, Reset, SessionFrame
from ..testing.invariants import Broken, Copy, Cursor, check_log


class Judge:
    """One client's copy of a session; it outlives connections. Raises `Broken`."""

    def __init__(self) -> None:
        self.copy = Copy()
        self._run: list[Event] | None = None
        """The events of a stream that is about one run: other runs' numbers are missing in it."""
        self._epoch = ""
        self._checked = 0

    def of_one_run(self) -> None:
        """What comes is a stream of one run."""
        self._run = []

    def come_back(self) -> dict[str, Any]:
        """The connection is gone; the cursor for the next one."""
        if self._run is None:
            return self.copy.come_back()
        seq, part = _place(self._run[-1]) if self._run else (0, 0)
        return {"epoch": self._epoch, "after": seq} | ({"part": part} if part else {})

    def back_to(self, seq: int) -> None:
        """Lose what came behind `seq`."""
        self.copy.events = [event for event in self.copy.events if event.seq <= seq]
        self.copy.cursor = Cursor(seq)

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take any frame, in the order of arrival."""
        try:
            if "seq" not in frame:
                if frame["type"] == "end":
                    return
                control = msgspec.convert(frame, ControlFrame)
                if self._run is None:
                    self.copy.take(frame)
                elif isinstance(control, SessionFrame | Reset):
                    self._epoch = control.epoch
                    self._run = [] if isinstance(control, Reset) else self._run
            elif self._run is None:
                self.copy.take(frame)
            else:
                self._append(self._run, msgspec.convert(frame, Event))
        except msgspec.ValidationError as error:
            raise Broken(f"expected a frame of the protocol, got one that is not ({error}): {dict(frame)}") from None

    def _append(self, events: list[Event], event: Event) -> None:
        if events:
            last = events[-1]
            if _place(event) <= _place(last):
                raise Broken(f"expected a frame behind {_place(last)}, got a duplicate or an older one: {event}")
            if event.run != last.run and not isinstance(last, ENDINGS) and event.seq < last.seq:
                raise Broken(f"expected one run's events in order, got {event} after {last}")
        events.append(event)

    @property
    def events(self) -> Sequence[Event]:
        """What the client has."""
        return self.copy.events if self._run is None else self._run

    def views(self) -> list[RunView]:
        """Its runs, in the order in which they began."""
        return runs(self.events)

    def check(self, *, over: bool = False, anew: bool = False) -> None:
        """Look at the whole copy, where anything has come since. `over`: nothing is going."""
        if self._run is not None or not (over or anew or len(self.copy.events) != self._checked):
            return
        self._checked = len(self.copy.events)
        # Merged text has the last number: gaps and doubles were judged when it came.
        check_log([replace(event, seq=i) for i, event in enumerate(self.copy.events, 1)], over=over)


def _place(event: Event) -> tuple[int, int]:
    return event.seq, event.part if isinstance(event, Content | Thinking) else 0


def joined(events: Sequence[Event]) -> list[Event]:
    """The events with adjacent text joined, and text without its number: what two clients must have alike."""
    found: list[Event] = []
    pieces: list[str] = []
    """Of the last of them, where it is text: joined once, because a long answer comes in hundreds of frames."""

    def close() -> None:
        if pieces:
            found[-1] = replace(found[-1], data="".join(pieces))
            pieces.clear()

    for event in events:
        if not isinstance(event, Content | Thinking):
            close()
            found.append(event)
            continue
        text = replace(event, seq=0, part=0, data="")
        if not (pieces and found[-1] == text):
            close()
            found.append(text)
        pieces.append(event.data)
    close()
    return found
