"""One connection without its socket: frames in, what to do out.

The one rule: it decides and never does. It knows the states of PROTOCOL.md and nothing of sessions, stores or time.

A frame beyond the connection's rate is not served, but for `interrupt`: a Stop is cheap, and is what a client in
trouble needs most. So it is read first and refused second.

    state    hello          message           other frames   not understood
    OPENING  Open → OPEN    Open, Do → OPEN   Close 4400     Close 4400
    OPEN     Close 4409     Do                Do, or Send    Send error; the tenth: Close 4400
    CLOSED   ignored        ignored           ignored        ignored
"""

import enum
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from .errors import FrameError
from .frames import (
    ClientFrame,
    Codec,
    Continue,
    ControlFrame,
    ErrorFrame,
    Hello,
    Interrupt,
    Pause,
    Ping,
    Pong,
    Rejected,
    Reply,
    Say,
    control_error,
)
from .settings import Limits, WhenBusy

TOO_FAST = "expected fewer frames, or smaller ones: wait and send it again"


class State(enum.Enum):
    """Where a connection is. It only moves down this list."""

    OPENING = 1
    OPEN = 2
    CLOSED = 3


class Open(Struct, frozen=True):
    """Find or make the session, answer with `session`, and begin to deliver."""

    hello: Hello


class Do(Struct, frozen=True):
    """Serve a frame at the session."""

    frame: Say | Interrupt | Pause | Continue | Reply


class Send(Struct, frozen=True):
    """Answer with a control frame."""

    frame: ControlFrame


class Close(Struct, frozen=True):
    """Say why, and close."""

    error: FrameError


Effect: TypeAlias = Open | Do | Send | Close


class Connection:
    """The protocol's state for one client."""

    def __init__(self, codec: Codec, limits: Limits) -> None:
        self.codec = codec
        self.state = State.OPENING
        self._limits = limits
        self._bad = 0
        self._when_busy: WhenBusy | None = None

    def receive(self, data: bytes | str, *, over: bool = False) -> Sequence[Effect]:
        """What one WebSocket message asks for, in order. `over`: it is beyond the connection's rate."""
        if self.state is State.CLOSED:
            return []
        size = len(data) if isinstance(data, bytes) else len(data.encode())
        if size > self._limits.message_bytes:
            return self._close(
                f"expected at most {self._limits.message_bytes} bytes in a message, got {size}", "message_too_big"
            )
        try:
            frame = self.codec.decode(data)
        except FrameError as error:
            self._bad += 1
            if self.state is State.OPENING or self._bad >= self._limits.bad_frames:
                self.state = State.CLOSED
                # A new one: the traceback of this one holds the message, and who keeps the error is held by it.
                return [Close(FrameError(str(error), code=error.code))]
            return [Send(control_error(error))]
        if self.state is State.OPENING:
            return self._opening(frame)
        if over and not isinstance(frame, Interrupt):
            return [Send(_too_fast(frame))]
        return self._open(frame)

    def overrun(self) -> list[Close]:
        """What happens when too many frames were beyond the rate."""
        if self.state is State.CLOSED:
            return []
        return self._close(TOO_FAST, "rate_limited")

    def timed_out(self) -> list[Close]:
        """What happens when the first frame did not come in time."""
        if self.state is not State.OPENING:
            return []
        return self._close("expected `hello` or `message` as the first frame, got none in time", "hello_timeout")

    def _opening(self, frame: ClientFrame) -> Sequence[Effect]:
        match frame:
            case Hello():
                self.state = State.OPEN
                self._when_busy = frame.when_busy
                return [Open(frame)]
            case Say():
                self.state = State.OPEN
                return [Open(Hello()), Do(frame)]
            case _:
                kind = type(frame).__name__.lower()
                return self._close(f"expected `hello` or `message` as the first frame, got `{kind}`", "bad_frame")

    def _open(self, frame: ClientFrame) -> Sequence[Effect]:
        match frame:
            case Hello():
                return self._close("expected one `hello` a connection, got a second", "conflict")
            case Ping(data=data):
                return [Send(Pong(data))]
            case Say(when_busy=None) if self._when_busy is not None:
                return [Do(replace(frame, when_busy=self._when_busy))]
            case _:
                return [Do(frame)]

    def _close(self, message: str, code: str) -> list[Close]:
        self.state = State.CLOSED
        return [Close(FrameError(message, code=code))]


def _too_fast(frame: ClientFrame) -> ControlFrame:
    """The answer to a frame that is not served. A message has an outcome all the same."""
    match frame:
        case Say(id=name):
            return Rejected("rate_limited", TOO_FAST, name)
        case Reply(request=request):
            return ErrorFrame("rate_limited", TOO_FAST, request)
        case _:
            return ErrorFrame("rate_limited", TOO_FAST)
