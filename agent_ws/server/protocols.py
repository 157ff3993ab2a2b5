"""What our server does with a socket that uvicorn does not: it cuts off who takes nothing, and bounds its waiting.

The one rule: attributes of uvicorn's that have no documentation are used here and in `serve`, and a test guards each.

A send that blocks can't be taken back by an application; only the transport can be aborted, and it belongs to these.
"""

import asyncio
import contextlib
import logging
import struct
import sys
from asyncio import TimerHandle
from collections.abc import Generator, Sequence
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.version import version as websockets_version

from ..errors import CODES, FrameError
from ..journal import note
from ..rates import FRAGMENT, Meter
from ..settings import Timeouts
from .door import OVER, Door
from .outlet import PUSH

if sys.platform == "linux":
    import fcntl
    import termios


SLOW_CLIENT = CODES["slow_client"].close or 4504
TOO_FAST = CODES["rate_limited"].close or 4429

PUSHES = uvicorn.__version__.startswith("0.54.") and websockets_version.startswith(("16.", "17."))
"""Whether these are versions that sending past the library is known to fit; with others everything goes by ASGI."""
SLICE = 16_384
"""Bytes that are parsed at once. uvloop reads 256 KiB, which may be 40,000 frames: what is refused is refused early."""
PIPELINE = 16
"""Requests of one connection that wait for the answer to the one before. Browsers send none, and each is held whole."""
FRAGMENTS = 1024
"""Fragments of one WebSocket message."""
HEAD_BYTES = 131_072
"""A request's line and headers, and the trailers behind its body; uvicorn takes any number."""
TOO_LONG = b"431 Request Header Fields Too Large"
BAD_HANDSHAKE = b"400 Bad Request"
TOO_MANY = b"429 Too Many Requests"
REFUSALS = {
    BAD_HANDSHAKE: "a handshake is not of HTTP/1.1",
    TOO_MANY: "too many others of its connection wait for their answers",
}


def _times_of(config: uvicorn.Config) -> Timeouts:
    """The time limits, which travel in the application's state: uvicorn makes its protocols itself."""
    return config.app.state.gateway.settings.timeouts  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportFunctionMemberAccess, reportUnknownVariableType]


def _door_of(config: uvicorn.Config) -> Door:
    return config.app.state.gateway.door  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportFunctionMemberAccess, reportUnknownVariableType]


def _unread(transport: asyncio.Transport) -> int:
    """Bytes that the client has not taken, those in the kernel's buffer too: it is emptied in steps so big that a slow
    reader would seem to stand still between two.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a socket that is gone
            waiting = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            size += int.from_bytes(waiting, sys.byteorder)
    return size


class _Stalling(asyncio.Protocol):
    """What both protocols below share: a look at a full socket every stall limit. A client that takes anything in
    between is slow, and may be.
    """

    config: uvicorn.Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _stall: TimerHandle | None = None
    _left = 0
    _seat: str | None = None
    """Where the socket is counted: a WebSocket takes over that of the request which it began as."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        if self._seat is not None:
            _door_of(self.config).leave(self._seat)
            self._seat = None
        super().connection_lost(exc)

    def take_seat(self, seat: str | None) -> None:
        """Be counted as `seat`, and give it back when the connection is lost."""
        self._seat = seat

    def _watch(self) -> None:
        self._left = _unread(self.transport)
        self._stall = self.loop.call_later(_times_of(self.config).stall, self._look)

    def _settle(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _look(self) -> None:
        if _unread(self.transport) < self._left:
            self._watch()
            return
        note(logging.WARNING, "a client took nothing: closed", seconds=_times_of(self.config).stall)
        self._cut_off()

    def _cut_off(self) -> None:
        self.transport.abort()


_SMALL = 126
_MEDIUM = 65_536
_TEXT, _BINARY = 0x81, 0x82
_TEXTS = [bytes((_TEXT, size)) for size in range(_SMALL)]
"""The heads of most frames, by size."""


def _head(opcode: int, size: int) -> bytes:
    """The head of a whole frame that is not masked (RFC 6455, 5.2)."""
    if size < _SMALL:
        return bytes((opcode, size))
    if size < _MEDIUM:
        return struct.pack("!BBH", opcode, 126, size)
    return struct.pack("!BBQ", opcode, 127, size)


class _Frames(Protocol):
    """The parser of frames, which `ServerProtocol` calls at the end of its own."""

    def parse(self) -> Generator[None]:
        """Nothing: as long as it went on in there, the parser of the handshake would hold the request, 2 KiB."""
        yield from ()


class _Messages(ServerProtocol, _Frames):
    """What websockets does otherwise than we would: a message that is not complete forbids no close frame (RFC 6455,
    5.4), and the handshake is forgotten behind it.
    """

    def parse(self) -> Generator[None]:
        yield from super().parse()
        yield from Protocol.parse(self)

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class _Inbox:
    """A queue with one reader. asyncio's takes three KiB when it is empty, for each connection that is silent."""

    __slots__ = ("_came", "_next", "_waiting")

    def __init__(self) -> None:
        self._came: list[Any] = []
        self._next: list[Any] = []
        """What came before, last first."""
        self._waiting: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._came and not self._next

    def put_nowait(self, item: Any) -> None:
        self._came.append(item)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> Any:
        while self.empty():
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if not self._next:
            self._next, self._came = self._came[::-1], []
        return self._next.pop()


class _Gate:
    """An event that is set nearly always. asyncio's takes 760 bytes: here one is there while it is not set."""

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: asyncio.Event | None = None

    def set(self) -> None:
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    def clear(self) -> None:
        self._opened = self._opened or asyncio.Event()

    async def wait(self) -> None:
        if self._opened is not None:
            await self._opened.wait()


class StallingWebSocket(_Stalling, WebSocketsSansIOProtocol):
    """A WebSocket whose client is told, then cut off, when it takes nothing from a full socket. Its messages have a
    limit of fragments too: empty ones count for nothing in their size. And what an application never sees counts for
    the rate of the connection all the same: fragments, pings, pongs that answer nothing.

    It offers the application a way to send at once (`outlet.PUSH`), past ASGI's task and the framing of a library
    that has to be ready for everything.
    """

    # uvicorn sets more attributes than the 30 for which Python lets instances share a dict's keys: each WebSocket would
    # have a dict of its own, of 1.5 KiB. Those of its names that are listed here are not the dict's.
    __slots__ = (
        "app",
        "app_state",
        "asgi_version",
        "config",
        "conn",
        "connections",
        "default_headers",
        "logger",
        "loop",
        "root_path",
        "tasks",
        "transport",
    )

    _full = False
    """The socket takes nothing more at the moment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.__class__ = _Messages  # uvicorn makes it, and asks nobody of which class
        self.conn.parser = self.conn.parse()
        next(self.conn.parser)
        self.queue = _Inbox()  # pyright: ignore[reportAttributeAccessIssue] - all of a queue's methods that are used
        self.writable = _Gate()  # pyright: ignore[reportAttributeAccessIssue] - and all of an event's

    def start_keepalive(self) -> None:
        super().start_keepalive()
        # The handshake is over: the application has what it wants of it.
        del self.request, self.response

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # Not where an extension was agreed on: it would have to see every frame.
        if PUSHES and self.handshake_initiated and not self.handshake_complete and not self.conn.extensions:
            offered: dict[str, Any] = self.scope.setdefault("extensions", {})
            offered[PUSH] = self.push  # its task has not run yet

    def push(self, messages: Sequence[bytes], binary: bool) -> bool:  # noqa: FBT001 - on the path of every token
        """Send whole messages now. False: the socket is full, or nothing may be sent any more; ASGI's `send` waits, or
        says so.
        """
        transport = self.transport
        if self._full or self.conn.state is not OPEN or transport.is_closing():
            return False
        if len(messages) == 1 and not binary and len(messages[0]) < _SMALL:  # nearly always
            transport.write(_TEXTS[len(messages[0])] + messages[0])
            return True
        pieces: list[bytes] = []
        for data in messages:
            size = len(data)
            pieces.append(_TEXTS[size] if size < _SMALL and not binary else _head(_BINARY if binary else _TEXT, size))
            pieces.append(data)
        transport.write(b"".join(pieces))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._full = True  # for good
        super().connection_lost(exc)
        self.conn.parser.close()  # it is a cycle that holds the last frame until the garbage is collected

    def pause_writing(self) -> None:
        self._full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            super().data_received(data[start : start + SLICE])
            if self.transport.is_closing():
                return
        if not self.handshake_initiated and not self.transport.is_closing():
            # A head that was complete for the HTTP parser and is none for this one: uvicorn would wait for ever.
            note(logging.WARNING, "refused a handshake: it has a body, or too many fields, too long ones, or bad ones")
            self.transport.write(b"".join(self.conn.data_to_send()) or _refusal(b"400 Bad Request"))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        # Not UTF-8, and its close was read in the same piece: that one is answered next.
        with contextlib.suppress(InvalidState):
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        super().handle_ping()
        self._count()

    def handle_pong(self, event: Frame) -> None:
        if self.pending_ping_payload is None or bytes(event.data) != self.pending_ping_payload:
            self._count()
        super().handle_pong(event)

    def _count(self, frames: float = 1.0) -> None:
        meter: Meter | None = self.scope.get("state", {}).get("meter")
        now = self.loop.time()
        if meter is not None and meter.over(now, frames=frames) and meter.strike(now) and not self.close_sent:
            self.conn.fail(TOO_FAST, "rate_limited")
            self.handle_parser_exception()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        self._count(FRAGMENT)
        if len(self.frames) > FRAGMENTS:
            self.frames = []
            self.conn.fail(1009, "too many fragments")
            self.handle_parser_exception()

    def _cut_off(self) -> None:
        if self.handshake_complete and not self.close_sent:
            # Behind what it has not read: if it reads on after all, it learns why and comes back.
            self.conn.send_close(SLOW_CLIENT, "slow_client")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": SLOW_CLIENT, "reason": "slow_client"})
        self._stall = self.loop.call_later(_times_of(self.config).stall, self.transport.abort)


class StallingHttp(_Stalling, HttpToolsProtocol):
    """An HTTP connection that is cut off when its client takes nothing from a full socket, and that waits neither for
    ever nor for ever more until a request's head is complete. It is counted from its first moment on.
    """

    _head: int | None = 0
    """Bytes of a head that is not complete; None: none is awaited."""
    _patience: TimerHandle | None = None
    _fields = 0
    """Bytes of the request's line and fields so far, trailers too: a head may come in one piece."""
    _body = False
    """A request's body has begun and not ended."""
    _fault = b""
    """The status for what a callback of the parser refused."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn has it
        super().connection_made(transport)
        seat = _door_of(self.config).seat(self.client[0] if self.client else "")
        if seat is None:
            note(logging.WARNING, "refused a connection: there are too many")
            transport.abort()
            return
        self.take_seat(seat)
        if seat == OVER:
            # It is refused when it asks: before that it would not listen.
            self.app_state = self.app_state | {"over": True}
        self._await_head()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        upgraded = self.transport.get_protocol()
        assert isinstance(upgraded, _Stalling)  # noqa: S101 - what uvicorn has just made
        upgraded.take_seat(self._seat)  # this protocol is told nothing any more, not even that the connection is lost
        self.parser = None  # pyright: ignore[reportAttributeAccessIssue] - as uvicorn ends it: the two hold each other

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEAD_BYTES:
            self._refuse_head(TOO_LONG)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = 0
        if self._head is None:  # another request on the same connection
            self._await_head()
            self._head = 1  # it has begun

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._fields += size
        if self._fields > HEAD_BYTES:
            self._stop_parsing(TOO_LONG)

    def _stop_parsing(self, status: bytes) -> None:
        """In a callback: no byte more is parsed, and uvicorn asks for the answer to a bad request."""
        self._fault = status
        raise ValueError

    def send_400_response(self, msg: str) -> None:
        if self._fault:
            self._refuse_head(self._fault)
        else:
            super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        self._stop_awaiting()
        if self._upgrades() and self._version() != "1.1":  # uvicorn makes it 1.1 for the parser that would refuse it
            self._stop_parsing(BAD_HANDSHAKE)
        if len(self.pipeline) >= PIPELINE:
            self._stop_parsing(TOO_MANY)
        self._body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body = False
        if self._answer() == "complete" and not self._upgrades():
            self._stop_awaiting()
            self._await_head()  # for the next one; uvicorn has stopped to wait for it when more of this one came

    def _upgrades(self) -> bool:
        """Whether the request that is being read becomes a WebSocket."""
        parser: Any = self.parser
        return parser.should_upgrade() and self._should_upgrade()

    def _version(self) -> str:
        parser: Any = self.parser
        return parser.get_http_version()

    def _answer(self) -> Literal["none", "begun", "complete"]:
        """How far the answer to the newest request is."""
        cycle: Any = self.cycle  # None before the first, whatever its type says
        if cycle is None or not cycle.response_started:
            return "none"
        return "complete" if cycle.response_complete else "begun"

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._body:
            # Nobody reads the rest; while some comes now and then uvicorn would wait for it for ever.
            self._stop_awaiting()
            self._patience = self.loop.call_later(_times_of(self.config).hello, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = 0
        self._patience = self.loop.call_later(_times_of(self.config).hello, self._out_of_patience)

    def _stop_awaiting(self) -> None:
        self._head = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _out_of_patience(self) -> None:
        if self._head:
            self._refuse_head(b"408 Request Timeout")
        else:
            self.transport.close()  # a browser opens connections in advance: no fault

    def _refuse_head(self, status: bytes) -> None:
        what = REFUSALS.get(status, "its head is too long or takes too long")
        note(logging.WARNING, "refused a request", error=FrameError(what))
        self._stop_awaiting()
        if self._answer() != "begun":
            self.transport.write(_refusal(status))
        self.transport.close()


def _refusal(status: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
