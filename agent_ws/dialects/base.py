"""What a dialect is.

The one rule: a dialect has no state, so any event can be the first that a client gets from it.
"""

import re
from typing import Protocol

from msgspec import Struct

from ..errors import FrameError
from ..events import Event
from ..frames import ControlFrame
from ..log import Position

PLACE = re.compile(r"([^.\s]{1,64})\.([^.\s]{1,64})\.([0-9]{1,15})(?:\+([0-9]{1,15}))?\.([^.\s]{0,64})")
"""`Place` as text. Fifteen digits stay below 2^53."""


class Place(Struct, frozen=True):
    """Where an HTTP stream is: what an SSE id says. `run` is the run that the stream is about; empty: all."""

    session: str
    position: Position
    run: str = ""

    def __str__(self) -> str:
        part = f"+{self.position.part}" if self.position.part else ""
        return f"{self.session}.{self.position.epoch}.{self.position.seq}{part}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The reverse of `str`. Raises `FrameError`."""
        match = PLACE.fullmatch(text)
        if match is None:
            raise FrameError("expected an id of this stream (`session.epoch.seq.run`), got something else")
        session, epoch, seq, part, run = match.groups()
        return cls(session, Position(epoch, int(seq), int(part or 0)), run)


class Dialect(Protocol):
    """A printer for HTTP streams."""

    media_type: str
    heartbeat: bytes
    """What is sent while nothing happens, so that a dead client is noticed and a proxy doesn't lose patience."""

    def event(self, event: Event, place: Place) -> bytes:
        """An event, and the place behind it."""
        ...

    def control(self, frame: ControlFrame, place: Place) -> bytes:
        """A frame that is not in the log, and the place where it was sent."""
        ...

    def end(self, place: Place) -> bytes:
        """The end of the stream."""
        ...
