"""What a dialect is.

The one rule: a dialect has no state, so any event can be the first that a client gets from it.
"""

from typing import Protocol

from msgspec import Struct

from ..errors import FrameError
from ..events import Event
from ..frames import ControlFrame
from ..log import Position


class Place(Struct, frozen=True):
    """Where an HTTP stream is: what an SSE id says. `run` is the run that the stream is about; empty: all."""

    session: str
    position: Position
    run: str = ""

    def __str__(self) -> str:
        return f"{self.session}.{self.position.epoch}.{self.position.seq}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The reverse of `str`. Raises `FrameError`."""
        fields = text.split(".")
        if len(fields) != 4 or not fields[2].isascii() or not fields[2].isdigit() or len(fields[2]) > 16:  # noqa: PLR2004
            raise FrameError("expected an id of this stream (`session.epoch.seq.run`), got something else")
        session, epoch, seq, run = fields
        return cls(session, Position(epoch, int(seq)), run)


class Dialect(Protocol):
    """A printer for HTTP streams."""

    media_type: str
    heartbeat: bytes
    """What is sent while nothing happens, so that a dead client is noticed; empty: nothing."""

    def event(self, event: Event, place: Place) -> bytes:
        """An event, and the place behind it."""
        ...

    def control(self, frame: ControlFrame) -> bytes:
        """A frame that is not in the log."""
        ...

    def end(self) -> bytes:
        """The end of the stream."""
        ...
