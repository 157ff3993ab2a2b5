"""A WebSocket on a TCP connection of our own, so that what a network does to one can be done for real.

The one rule: it never comes back by itself and hides nothing; what comes is handed on as it comes. Framing is the
websockets library's; the socket is ours: a reset is a reset, and who reads slowly is felt by the other side's TCP.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Event, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

PIECE = 65_536
"""Bytes that are read at once where nothing else is asked for."""
TICK = 0.02
"""Seconds between two reads of a client that reads slowly."""
GONE = 1006
"""The code of an end that nobody said (RFC 6455, 7.1.5)."""

Take: TypeAlias = Callable[[str | bytes], None]


class Unreachable(Exception):
    """There is no server, or it is gone before it answered. Its text says which address."""


class Ended(Struct, frozen=True):
    """The connection is over."""

    code: int
    reason: str = ""


class Answered(Struct, frozen=True):
    """The handshake was answered by HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Socket:
    """One connection. `take` gets each message, in order; `ended` is told once."""

    def __init__(self, url: str, take: Take, ended: Callable[[Ended], None]) -> None:
        self._url = url
        self._take = take
        self._on_end = ended
        self._over = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._rate: float | None = None
        self._holed = False
        self._early: list[Event] = []
        """What came in one piece with the answer to the handshake."""
        self._parts: list[bytes] = []
        self._text = False
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.headers: dict[str, str] = {}
        """What the handshake was answered with."""

    async def open(
        self,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> Answered | None:
        """Connect and shake hands. None: it is open. Else what the server said instead. Raises `Unreachable`."""
        uri = parse_uri(self._url)
        try:
            self._reader, self._writer = await _dial(uri.host, uri.port, secure=uri.secure, buffer=receive_buffer)
        except OSError as error:
            raise Unreachable(f"expected a server at {self._url}, got none: {error.strerror or error}") from None
        self._piece = PIECE if receive_buffer is None else 1024
        wanted = [Subprotocol(name) for name in subprotocols] or None
        self._protocol = ClientProtocol(uri, subprotocols=wanted, max_size=None)
        request = self._protocol.connect()
        for name, value in (headers or {}).items():
            if name.lower() in request.headers:
                del request.headers[name]
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        answer = await self._shaken()
        if answer is not None:
            self.reset()
            return answer
        self._reading = asyncio.create_task(self._read(), name=f"read {self._url}")
        return None

    @property
    def subprotocol(self) -> str | None:
        """The one that was agreed on."""
        return self._protocol.subprotocol

    async def _shaken(self) -> Answered | None:
        while True:
            try:
                data = await self._reader.read(self._piece)
            except OSError as error:
                raise Unreachable(f"expected an answer of {self._url}, got {error.strerror or error}") from None
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._flush()
            events = self._protocol.events_received()
            for event in events[:1]:
                if isinstance(event, Response):
                    self._early = events[1:]
                    self.headers = {name.lower(): value for name, value in event.headers.raw_items()}
                    if self._protocol.state is State.CONNECTING or self._protocol.handshake_exc is not None:
                        return Answered(event.status_code, self.headers, bytes(event.body or b""))
                    return None
            if not data or isinstance(self._protocol.handshake_exc, InvalidMessage):
                raise Unreachable(f"expected a WebSocket handshake of {self._url}, got something else")

    # What a client does

    def send(self, message: str | bytes) -> None:
        """Send one message."""
        if not self._open():
            return
        if isinstance(message, str):
            self._protocol.send_text(message.encode("utf-8", "surrogatepass"))
        else:
            self._protocol.send_binary(message)
        self._flush()

    def send_tcp(self, data: bytes) -> None:
        """Send bytes that the WebSocket library knows nothing of."""
        if self._writer is not None and not self._writer.transport.is_closing():
            self._writer.write(data)

    def _open(self) -> bool:
        return not self._over and not self._holed and self._protocol.state is State.OPEN

    # What a network does

    def close(self, code: int = 1000) -> None:
        """Begin the closing handshake; the server's part is still read."""
        if self._open():
            self._protocol.send_close(code)
            self._flush()

    def reset(self) -> None:
        """RST (RFC 9293, 3.5.2): what a close becomes that is to linger for no time."""
        self._end(Ended(GONE))
        if self._writer is None:
            return
        sock = self._writer.get_extra_info("socket")
        if sock is not None and not self._writer.transport.is_closing():
            with contextlib.suppress(OSError):  # the other side was first
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        if self._reading is not None:
            self._reading.cancel()

    def hole(self) -> None:
        """Half open: what comes is swallowed, nothing is answered, nobody is told."""
        self._holed = True
        self._end(Ended(GONE))

    def pace(self, rate: float | None) -> None:
        """Read so many bytes a second; 0: none; None: as they come."""
        self._rate = rate
        if rate == 0:
            self._flowing.clear()
        else:
            self._flowing.set()

    async def done(self) -> None:
        """Wait until nothing of it is left; after `reset`."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    # Inside

    async def _read(self) -> None:
        try:
            self._events(self._early)
            while not self._over or self._holed:
                await self._flowing.wait()
                size = self._piece if self._rate is None else max(1, int(self._rate * TICK))
                data = await self._reader.read(size)
                if self._holed:
                    if not data:
                        return
                    continue
                self._receive(data)
                if not data:
                    return
                if self._rate:
                    await asyncio.sleep(TICK)
        except OSError:
            pass
        finally:
            self._end(Ended(GONE))

    def _receive(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._events(self._protocol.events_received())

    def _events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Frame):
                self._frame(event)
        self._flush()
        if self._protocol.close_rcvd is not None:
            self._end(Ended(self._protocol.close_rcvd.code, self._protocol.close_rcvd.reason))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._parts, self._text = [], frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            whole = b"".join(self._parts)
            self._parts = []
            self._take(whole.decode() if self._text else whole)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.send_tcp(data)
            elif self._writer is not None and not self._writer.transport.is_closing():
                with contextlib.suppress(OSError, NotImplementedError):  # it has just gone; TLS has no such thing
                    self._writer.write_eof()

    def _end(self, how: Ended) -> None:
        if not self._over:
            self._over = True
            self._on_end(how)


async def _dial(
    host: str, port: int, *, secure: bool, buffer: int | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    failed = OSError(f"no address for {host}")
    for family, kind, proto, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)  # noqa: FBT003 - it has no name
        try:
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failed = error
            continue
        except BaseException:
            sock.close()
            raise
        limit = PIECE if buffer is None else 512
        if not secure:
            return await asyncio.open_connection(sock=sock, limit=limit)
        context = ssl.create_default_context()
        return await asyncio.open_connection(sock=sock, limit=limit, ssl=context, server_hostname=host)
    raise failed


def decode(message: str | bytes) -> Any:
    """A message as a frame: JSON where it is text, MessagePack where it is binary. Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(message) if isinstance(message, str) else msgspec.msgpack.decode(message)


def encode(frame: Mapping[str, Any], subprotocol: str | None) -> str | bytes:
    """A frame as a message of the subprotocol."""
    if subprotocol is not None and subprotocol.endswith("msgpack"):
        return msgspec.msgpack.encode(frame)
    return msgspec.json.encode(frame).decode()
