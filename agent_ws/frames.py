"""The native frames, as types: what PROTOCOL.md says, and the source of the published schemas.

The one rule: decoding is strict about types and lengths and ignores what it doesn't know, so old servers take new
clients.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

from .brackets import ID_CHARS
from .errors import FrameError
from .events import Event
from .log import Mismatch
from .settings import WhenBusy
from .streams import ChunkMode

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARS)]
MAX_INT = 2**53 - 1
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
BufferChars = Annotated[int, Meta(ge=0, le=16_384)]
"""Characters for which text may be held: beyond that a frame would get too big for some clients."""
BufferMs = Annotated[int, Meta(ge=0, le=10_000)]
"""Milliseconds for which text may be held: longer, and nobody would call it a stream."""
DEPTH = 64
"""Levels of a client's free value."""


def check_plain(value: Any, depth: int = DEPTH) -> None:
    """Raise `ValueError` for a client's free value that not every wire and store could carry on.

    It becomes an event, and an event that can't be printed would cut off everybody who reads the log: MessagePack has
    keys, numbers and types that JSON has not, JSON has integers that MessagePack has not, and what was just shallow
    enough to be read may be too deep to be written.
    """
    match value:
        case None | bool() | str():
            return
        case int() if abs(value) <= MAX_INT:
            return
        case float() if math.isfinite(value):
            return
        case list() if depth:
            for item in cast("list[Any]", value):
                check_plain(item, depth - 1)
            return
        case dict() if depth and all(isinstance(key, str) for key in cast("dict[Any, Any]", value)):
            for item in cast("dict[str, Any]", value).values():
                check_plain(item, depth - 1)
            return
        case _:
            raise ValueError(f"expected JSON, at most {DEPTH} levels deep, with integers up to 2^53 - 1")


class Pace(Struct, frozen=True, kw_only=True):
    """How a WebSocket client wants its text, where it says so in the address: what its `hello` leaves out."""

    chunk: ChunkMode | None = None
    buffer_chars: BufferChars | None = None
    buffer_ms: BufferMs | None = None


class _In(Struct, frozen=True, tag=str.lower, tag_field="type", omit_defaults=True):
    """A frame from a client."""


class Hello(_In, frozen=True):
    """Opens a session or comes back to one. The first frame."""

    session: Id | None = None
    token: Id | None = None
    epoch: Id | None = None
    after: Count | None = None
    part: Count = 0
    chunk: ChunkMode | None = None
    buffer_chars: BufferChars | None = None
    buffer_ms: BufferMs | None = None
    when_busy: WhenBusy | None = None
    ticket: Id | None = None


class Say(_In, frozen=True, tag="message"):
    """A message for the agent."""

    data: str
    id: Id | None = None
    when_busy: WhenBusy | None = None
    continues: Id | None = None
    """The run whose answer is to go on."""


class Interrupt(_In, frozen=True):
    """Stop a run, all runs, or a part of one."""

    run: Id | None = None
    agent: Id | None = None
    section: Id | None = None
    seen: Count | None = None
    reason: Id | None = None
    redo: bool = False
    """With `section`: write it again."""


class Pause(_In, frozen=True):
    """Hold this connection's events."""

    run: Id | None = None


class Continue(_In, frozen=True):
    """Release them."""

    run: Id | None = None


class Reply(_In, frozen=True):
    """Answer a request of the agent's."""

    request: Id
    data: Any = None

    def __post_init__(self) -> None:
        check_plain(self.data)


class Ping(_In, frozen=True):
    """Ask for a `pong`."""

    data: Annotated[str, Meta(max_length=128)] | None = None


class Short(Struct, frozen=True, omit_defaults=True):
    """The short form of `message`, for the smallest client in the world."""

    message: str
    id: Id | None = None
    when_busy: WhenBusy | None = None


class _Out(Struct, frozen=True, tag=str.lower, tag_field="type", omit_defaults=True):
    """A control frame from the server."""


class LimitsNotice(Struct, frozen=True):
    """What a client has to keep to."""

    message_bytes: int
    queued: int


class SessionFrame(_Out, frozen=True, tag="session"):
    """The session, and the cursor from which its events follow."""

    session: str
    epoch: str
    after: int
    resumed: bool
    limits: LimitsNotice
    token: str | None = None
    tail: int = 0
    """The last event that the log has now."""


class Reset(_Out, frozen=True):
    """The client's copy is no prefix of the log: the whole log follows."""

    epoch: str
    reason: Mismatch


class Accepted(_Out, frozen=True):
    """The store has the message."""

    id: str
    run: str
    outcome: Literal["started", "queued", "steered"]


class Rejected(_Out, frozen=True):
    """The message was not taken."""

    code: str
    message: str
    id: str | None = None


class ErrorFrame(_Out, frozen=True, tag="error"):
    """A frame could not be served."""

    code: str
    message: str
    about: str | None = None
    """The run or request that the frame named."""


class Pong(_Out, frozen=True):
    """The answer to `ping`."""

    data: str | None = None


ClientFrame: TypeAlias = Hello | Say | Interrupt | Pause | Continue | Reply | Ping
ControlFrame: TypeAlias = SessionFrame | Reset | Accepted | Rejected | ErrorFrame | Pong


ServerFrame: TypeAlias = Event | ControlFrame


class SessionCard(Struct, frozen=True, omit_defaults=True):
    """One session in a list. No frame: it is answered by HTTP."""

    session: str
    title: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    """When the user last said something in it."""
    going: bool = False


class SessionPage(Struct, frozen=True, omit_defaults=True):
    """A part of a list. `next`: what to give as `before`, where there may be more."""

    sessions: tuple[SessionCard, ...]
    next: str | None = None


class Codec:
    """One subprotocol: frames to WebSocket messages and back. Stateless; both directions are reentrant."""

    def __init__(self, name: str, *, binary: bool) -> None:
        self.name = name
        self.binary = binary
        module: Any = msgspec.msgpack if binary else msgspec.json
        self.encode: Callable[[ServerFrame], bytes] = module.Encoder().encode
        """One frame as bytes."""
        self._decode: Any = module.Decoder(ClientFrame).decode
        self._decode_short: Any = module.Decoder(Short).decode
        self._form = "a binary MessagePack map" if binary else "a text JSON object"

    def decode(self, data: bytes | str) -> ClientFrame:
        """One client frame. Raises `FrameError` that says what was expected and what came, without quoting it."""
        if isinstance(data, str) is self.binary:
            expected, got = ("binary", "text") if self.binary else ("text", "binary")
            raise FrameError(f"expected a {expected} message ({self.name}), got a {got} one", code=f"{got}_frame")
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            short = self._short(data, error)
            if short is not None:
                return Say(short.message, short.id, short.when_busy)
            raise FrameError(f"expected {self._form} of the protocol, got one that is not: {why(error)}") from None

    def _short(self, data: bytes | str, error: Exception) -> Short | None:
        """`data` in the short form. It has no `type`, which is what the first attempt stumbled over."""
        if not isinstance(error, msgspec.ValidationError) or "`type`" not in str(error):
            return None
        try:
            return self._decode_short(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return None


def why(error: Exception) -> str:
    """A decoding error in words that hold nothing of what came: msgspec quotes tag values."""
    match error:
        case RecursionError():
            return "nested too deeply"
        case UnicodeError():
            return "not UTF-8"
        case msgspec.ValidationError():
            text = str(error)
            if text.startswith("Invalid "):  # the one kind that quotes: an unknown `type` or option
                return f"an unknown value at {text.rpartition('at `')[2].rstrip('`') or 'its place'}"
            return "neither a `type` nor a text `message`" if "`type`" in text and "missing" in text else text
        case _:
            return "malformed"


JSON = Codec("agent-ws.v1.json", binary=False)
MSGPACK = Codec("agent-ws.v1.msgpack", binary=True)
CODECS = {codec.name: codec for codec in (JSON, MSGPACK)}


def control_error(error: FrameError, about: str | None = None) -> ErrorFrame:
    """An error as its control frame."""
    return ErrorFrame(error.code, str(error), about)
