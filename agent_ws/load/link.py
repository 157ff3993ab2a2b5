"""A client's connection, as cheap as it can be: a WebSocket, or an event stream by HTTP.

The one rule: as little as possible for each chunk of bytes. What is slow here would be taken for a slow server.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Protocol, cast

from .target import Target

if sys.platform != "win32":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

__all__ = ["EventsLink", "Link", "Listener", "WebSocketLink", "clock", "frame", "new_event_loop"]

clock = time.perf_counter
CONTINUED, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
FIN = 0x80
SMALL = 126
"""From this length on a frame's head is longer."""
SMALL_HEAD, LONG_HEAD, LONGEST_HEAD = 2, 4, 10
MAX_HEAD = 16_384
"""Bytes of the answer to a request: what never ends is no server."""
HTTP_OK = 200
UPGRADED = 101
NO_CODE = 1005


def frame(data: bytes, kind: int = TEXT) -> bytes:
    """A client's frame. Its mask is zero: the payload is sent as it is."""
    size = len(data)
    if size < SMALL:
        head = bytes([FIN | kind, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([FIN | kind, 0x80 | SMALL]) + size.to_bytes(2)
    else:
        head = bytes([FIN | kind, 0x80 | SMALL + 1]) + size.to_bytes(8)
    return head + bytes(4) + data


class Listener(Protocol):
    """Who has a connection."""

    def opened(self) -> None:
        """It may be written to."""
        ...

    def received(self, data: bytes, now: float) -> None:
        """A message, or an event's data."""
        ...

    def lost(self, why: str) -> None:
        """It is gone, and nobody here has cut it. At most once."""
        ...


class Link(asyncio.Protocol):
    """One connection. `cut` ends it without a word."""

    def __init__(self, target: Target, listener: Listener, now: Callable[[], float]) -> None:
        self._target = target
        self._listener: Listener | None = listener
        self._now = now
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._why = "the connection was lost"

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._transport is not None:
            self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Send a message."""
        self.write(frame(data))

    def cut(self) -> None:
        """End it as a network does: without a farewell, and whatever is still to come is lost."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        if self._listener is None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.lost(self._why)

    def _fail(self, why: str) -> None:
        """Give up a server that does what it should not."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def _head(self, data: bytes) -> tuple[int, bytes] | None:
        """The status of an answer, and what follows its head. None: there is more to come."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._tail = data
            if len(data) > MAX_HEAD:
                self._fail("not HTTP")
            return None
        try:
            return int(head.split(b" ", 2)[1]), rest
        except (IndexError, ValueError):
            self._fail("not HTTP")
            return None


class WebSocketLink(Link):
    """A WebSocket."""

    def __init__(self, target: Target, listener: Listener, now: Callable[[], float] = clock) -> None:
        super().__init__(target, listener, now)
        self._open = False
        self._pieces = b""
        """Of a message that comes in fragments."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._target.handshake())

    def data_received(self, data: bytes) -> None:
        now = self._now()
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if not self._open:
            found = self._head(data)
            if found is None:
                return
            status, data = found
            if status != UPGRADED:
                self._fail(f"refused with HTTP {status}{_code(data)}")
                return
            self._open = True
            if self._listener is not None:
                self._listener.opened()
        size = len(data)
        if size > SMALL_HEAD and data[0] == FIN | TEXT and data[1] + SMALL_HEAD == size and data[1] < SMALL:
            if self._listener is not None:  # one small frame: nearly always
                self._listener.received(data[SMALL_HEAD:], now)
            return
        self._frames(data, now)

    def _frames(self, data: bytes, now: float) -> None:
        """Take a chunk's whole frames; the rest waits for the next chunk."""
        at, size = 0, len(data)
        while at + SMALL_HEAD <= size and self._listener is not None:
            length, head = data[at + 1], SMALL_HEAD
            if length == SMALL:
                length, head = int.from_bytes(data[at + 2 : at + LONG_HEAD]), LONG_HEAD
            elif length == SMALL + 1:
                length, head = int.from_bytes(data[at + 2 : at + LONGEST_HEAD]), LONGEST_HEAD
            end = at + head + length
            if end > size or at + head > size:
                break
            self._frame(data[at], data[at + head : end], now)
            at = end
        self._tail = data[at:]

    def _frame(self, first: int, data: bytes, now: float) -> None:
        match first & 0x0F:
            case kind if kind in (TEXT, BINARY, CONTINUED):
                if not first & FIN or self._pieces:
                    self._pieces += data
                    if not first & FIN:
                        return
                    data, self._pieces = self._pieces, b""
                if self._listener is not None:
                    self._listener.received(data, now)
            case n if n == PING:
                self.write(frame(data, PING + 1))
            case n if n == CLOSE:
                code = int.from_bytes(data[:2]) if len(data) > 1 else NO_CODE
                reason = data[2:].decode(errors="replace")[:64]
                self._why = f"closed with {code}" + (f" ({reason})" if reason else "")
                self.write(frame(data[:2], CLOSE))
            case _:
                pass  # a pong


class EventsLink(Link):
    """HTTP requests that are answered by an event stream each, one after the other. `send` takes a whole request."""

    def __init__(self, target: Target, listener: Listener, now: Callable[[], float] = clock) -> None:
        super().__init__(target, listener, now)
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._listener is not None:
            self._listener.opened()

    def send(self, data: bytes) -> None:
        self._answered = False
        self.write(data)

    def data_received(self, data: bytes) -> None:
        now = self._now()
        data, self._tail = self._tail + data, b""
        if not self._answered:
            begin = data.find(b"HTTP/1.")  # before it may be the last chunk of the answer before
            if begin < 0:
                self._tail = data
                return
            found = self._head(data[begin:])
            if found is None:
                return
            status, data = found
            if status != HTTP_OK:
                self._fail(f"refused with HTTP {status}{_code(data)}")
                return
            self._answered = True
        *events, self._tail = data.split(b"\n\n")
        for event in events:
            # What is before the first field is the chunk's size.
            if (payload := event.partition(b"data: ")[2]) and self._listener is not None:
                self._listener.received(payload, now)


def _code(body: bytes) -> str:
    """The code in the body of a refusal, where there is one."""
    code = body.partition(b'"code":"')[2].partition(b'"')[0][:64]
    return f" ({code.decode(errors='replace')})" if code else ""
