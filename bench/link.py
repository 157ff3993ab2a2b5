"""One client connection: it counts tokens, and says how late each came.

The one rule: as little as possible for each chunk of bytes. What is slow here would be taken for a slow server.
"""

import asyncio
import time
from array import array
from typing import cast

from .wires import WIRES, Wire, frame

clock = time.perf_counter
MARK = b"~"
PING = b"2"
PONG = frame("3")


class Board:
    """What all links of one load count together."""

    def __init__(self, rate: float) -> None:
        self.tokens = 0
        self.frames = 0
        self.bytes = 0
        self.chunks = 0
        self.recording = False
        self.late = array("d")
        """Seconds behind the schedule, for each token that came while `recording`."""
        self.period = 1 / rate if rate else 0.0


class Link(asyncio.Protocol):
    """One connection.

    A stream's schedule is a straight line: token k is due `k / rate` after token 0. The line is laid through the
    earliest arrivals before `recording`; from then on it is fixed, so a server that falls behind stays late.
    """

    def __init__(self, board: Board, wire: Wire, port: int) -> None:
        self.transport: asyncio.Transport
        self.lost = False
        self.count = 0
        self.base = float("inf")
        self.last = b""
        """The last chunk's bytes: for the resume, which needs to know the cursor."""
        self._board = board
        self._wire = wire
        self._port = port
        self._tail = b""
        self._shaking = wire.framed
        self._awaited = b""
        self._future: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass
        if self._wire.framed:
            self.transport.write(self._wire.handshake(self._port))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._future is not None and not self._future.done():
            self._future.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        now = clock()
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if self._shaking:
            data = self._shake(data)
            if not data:
                return
        board = self._board
        if not self._wire.framed:
            tokens = data.count(MARK)
            board.frames += tokens
        elif data[1:2] < b"\x7e" and data[1] + 2 == len(data):  # one small frame: nearly always
            tokens = data.count(MARK)
            board.frames += 1
            if data[2:] == PING:
                self.transport.write(PONG)
        else:
            tokens = self._frames(data)
        board.tokens += tokens
        board.bytes += len(data)
        board.chunks += 1
        if tokens:
            late = now - self.count * board.period
            self.count += tokens
            if board.recording:
                late -= self.base
                board.late.append(late)
                for i in range(1, tokens):
                    board.late.append(late - i * board.period)
            else:
                self.base = min(self.base, late - (tokens - 1) * board.period)
        if self._future is not None and self._awaited in data:
            self.last = data
            future, self._future = self._future, None
            if not future.done():
                future.set_result(now)

    def due(self, until: float) -> int:
        """How many tokens the stream's schedule has up to a time of the clock."""
        return max(0, int((until - self.base) / self._board.period) + 1)

    def _shake(self, data: bytes) -> bytes:
        """Read the answer to the handshake; returns what follows it."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._tail = data
            return b""
        self._shaking = False
        if b" 101 " not in head[:16]:
            self.transport.abort()
            raise ConnectionError(f"expected the handshake to be answered with 101, got {head[:80]!r}")
        if self._future is not None and not self._awaited:
            self._future.set_result(clock())
            self._future = None
        return rest

    def _frames(self, data: bytes) -> int:
        """Count a chunk's whole frames; the rest waits for the next chunk."""
        at, size, frames, tokens = 0, len(data), 0, 0
        while at + 2 <= size:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4]), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10]), 10
            end = at + head + length
            if end > size or at + head > size:
                break
            frames += 1
            tokens += data.count(MARK, at + head, end)
            at = end
        self._tail = data[at:]
        self._board.frames += frames
        return tokens

    # For tasks

    def expect(self, what: bytes) -> asyncio.Future[float]:
        """When a frame with `what` comes; what came before is not looked at."""
        self._awaited = what
        self._future = asyncio.get_running_loop().create_future()
        return self._future

    async def ask(self, data: bytes, what: bytes) -> tuple[float, float]:
        """Send, and wait for `what`. Returns when it was sent and when it came."""
        answer = self.expect(what)
        sent = clock()
        self.transport.write(data)
        return sent, await answer


async def open_link(board: Board, wire: str, port: int) -> Link:
    """A link that may say its first message."""
    spoken = WIRES[wire]
    loop = asyncio.get_running_loop()
    link = Link(board, spoken, port)
    shaken = link.expect(b"") if spoken.framed else None
    await loop.create_connection(lambda: link, "127.0.0.1", port)
    if shaken is not None:
        await shaken
    if spoken.hello:
        await link.ask(frame(spoken.hello), spoken.ready)
    return link


async def open_links(board: Board, wire: str, port: int, count: int) -> list[Link]:
    """Many of them, not all at once: a listening socket's queue is short."""
    links: list[Link] = []
    while len(links) < count:
        step = min(64, count - len(links))
        links += await asyncio.gather(*(open_link(board, wire, port) for _ in range(step)))
    return links
