"""The server's frames as types.

The one rule: what a newer server says is no error. An event that is not understood still counts as a place in the log;
a control frame of an unknown type is nothing.
"""

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from ..events import Event
from ..frames import ControlFrame, ServerFrame

CONTROL = frozenset({"session", "reset", "accepted", "rejected", "error", "pong"})


class Unknown(Struct, frozen=True, omit_defaults=True):
    """An event of a type, or with a value, that this version doesn't know."""

    type: str
    seq: int = 0
    run: str = ""


Incoming: TypeAlias = ServerFrame | Unknown


class _Head(Struct):
    type: str
    seq: int | None = None
    run: str = ""


_head = msgspec.json.Decoder(_Head).decode
# One union of both won't do: an ending and a control frame are both called `error`.
_events: Any = msgspec.json.Decoder(Event)
_controls: Any = msgspec.json.Decoder(ControlFrame)


def decode(data: str | bytes) -> Incoming | None:
    """One frame; None for a control frame to be ignored. Raises `ValueError` for what is no frame of this protocol."""
    try:
        head = _head(data)
        if head.seq is None:
            return _controls.decode(data) if head.type in CONTROL else None
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"expected a frame of the protocol, got one that is not: {type(error).__name__}") from None
    try:
        return _events.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return Unknown(head.type, head.seq, head.run)
