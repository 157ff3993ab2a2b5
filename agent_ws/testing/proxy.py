"""A TCP proxy that does to connections what networks do to them: late, in crumbs, slow, cut, or dead without a word.

    async with Proxy("127.0.0.1", 8000, Plan(down=Faults(slices=7, latency=0.02)), seed=3) as proxy:
        ...  # clients connect to proxy.port
        proxy.connections[0].reset()

The one rule: short of a fault that was asked for it is TCP. Every byte is passed on, in order; an end is passed on as
an end, a reset as a reset; who doesn't read is felt by who writes, because no buffer here grows beyond `PIECES` pieces.

It knows nothing of what the bytes mean.
"""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Literal, Self, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..tasks import Tasks

PIECE = 16_384
"""Bytes that are taken at once."""
PIECES = 16
"""Pieces that may be on their way, late, in one direction."""
CLOSE_S = 10.0
"""For the end of all tasks, which are cancelled and wait for nothing."""

Ending: TypeAlias = Literal["reset", "hole", "fin"]
"""`reset`: RST to both sides, and what was on its way is lost. `hole`: nothing more comes through, and nobody is told.
`fin`: the reader gets an end, the writer may write on, into a hole; the other direction lives.
"""


class Faults(Struct, frozen=True, kw_only=True):
    """What is wrong with one direction. The default is nothing."""

    latency: float = 0.0
    """Seconds that each byte is late, ends too."""
    jitter: float = 0.0
    """Up to as many seconds more, at random. The order stays."""
    slices: int = 0
    """The bytes come in pieces of 1 to as many, cut at random places that depend on the seed alone. 0: as they come."""
    bandwidth: float = 0.0
    """Bytes a second. 0: no limit."""
    end: Ending | None = None
    """What happens when `after` bytes have come through in this direction."""
    after: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` where a number is negative."""
        for name in ("latency", "jitter", "slices", "bandwidth", "after"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} of 0 or more, got {getattr(self, name)}")


class Plan(Struct, frozen=True, kw_only=True):
    """What is wrong with a connection from its start. `up` is to the server, `down` to the client."""

    up: Faults = Faults()
    down: Faults = Faults()


Plans: TypeAlias = Plan | Callable[[int, Random], Plan]
"""One plan for all connections, or what makes that of connection `i`, with a generator of this connection's own."""


class _Reset(Exception):
    """The plan says that the connection is reset here."""


class Flow:
    """One direction of a connection."""

    def __init__(self, faults: Faults, dice: Random) -> None:
        self.faults = faults
        """May be replaced at any time; holds for what comes then."""
        self.passed = 0
        """Bytes that were passed on."""
        self.holed = False
        """Nothing comes through any more."""
        self._cuts = Random(dice.random())  # noqa: S311 - to be repeated, not unguessable
        self._delays = Random(dice.random())  # noqa: S311 - the same
        self._slice = 0
        """What is left of the slice that has begun."""
        self._sink: StreamWriter | None = None

    def hole(self) -> None:
        """Swallow everything from now on, the end too."""
        self.holed = True

    def fin(self) -> None:
        """Tell the reader that this was the end, and swallow the rest."""
        self.faults = replace(self.faults, end="fin", after=0)
        if self._sink is not None:  # else it begins with that
            self._end_where_due(self._sink)

    async def carry(self, source: StreamReader, sink: StreamWriter, back: "Flow") -> None:
        """Pass on, until the source's end. Raises `_Reset`, or `ConnectionError` where a side broke and the other has
        not been told.
        """
        self._sink = sink
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(source, late), name="proxy take")
            await self._give(late, sink, back)

    async def _take(self, source: StreamReader, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Note when each piece is due; the empty one is the end."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                data = await source.read(PIECE)
            except ConnectionError:
                if not self.holed:
                    raise
                data = b""
            delay = self.faults.latency + self.faults.jitter * self._delays.random()
            await late.put((clock() + delay, data))
            if not data:
                return

    async def _give(self, late: asyncio.Queue[tuple[float, bytes]], sink: StreamWriter, back: "Flow") -> None:
        clock = asyncio.get_running_loop().time
        self._end_where_due(sink)
        while True:
            due, data = await late.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            if not data:
                if not self.holed:
                    _finish(sink)
                return
            try:
                await self._write(data, sink)
            except ConnectionError:
                self.holed = True
                if not back.holed:  # else the news of it goes the same way as everything else
                    raise

    async def _write(self, data: bytes, sink: StreamWriter) -> None:
        while data:
            self._end_where_due(sink)
            if self.holed:
                return
            size = self._size(len(data))
            piece, data = data[:size], data[size:]
            sink.write(piece)
            await sink.drain()
            self.passed += size
            self._end_where_due(sink)
            if self.faults.bandwidth:
                await asyncio.sleep(size / self.faults.bandwidth)
            elif data:
                await asyncio.sleep(0)  # a reader in the same loop gets the pieces one by one

    def _size(self, size: int) -> int:
        """How much of `size` bytes goes at once."""
        faults = self.faults
        if faults.slices:
            self._slice = self._slice or self._cuts.randint(1, faults.slices)
            size = min(size, self._slice)
        if faults.bandwidth:
            size = min(size, max(1, int(faults.bandwidth / 50)))
        if faults.end is not None:
            size = min(size, faults.after - self.passed)
        self._slice = max(0, self._slice - size)
        return size

    def _end_where_due(self, sink: StreamWriter) -> None:
        if self.holed or self.faults.end is None or self.passed < self.faults.after:
            return
        match self.faults.end:
            case "reset":
                raise _Reset
            case "hole":
                self.holed = True
            case "fin":
                self.holed = True
                _finish(sink)


class Connection:
    """One client's connection and the one to the server behind it."""

    def __init__(self, plan: Plan, dice: Random, client: StreamWriter) -> None:
        self.up = Flow(plan.up, dice)
        self.down = Flow(plan.down, dice)
        self.address: tuple[str, int] = client.get_extra_info("peername")[:2]
        """The client's, by which it is found among many."""
        self.over = asyncio.Event()
        """Set when both sides are closed."""
        self._writers = [client]
        self._task: asyncio.Task[None] | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        """`task` is the one that runs it. For `Proxy`."""
        self._task = task
        task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        for writer in self._writers:
            writer.close()
        self.over.set()

    def reset(self) -> None:
        """Cut both sides at once, with RST. Harmless where it is over."""
        for writer in self._writers:
            _reset(writer)
        self._stop()

    def close(self) -> None:
        """End both sides in order, with FIN, behind what has come through."""
        for writer in self._writers:
            writer.close()
        self._stop()

    def hole(self) -> None:
        """Half open: swallow everything, both ways. Each side's own closing is all it will ever see."""
        self.up.hole()
        self.down.hole()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def run(self, reader: StreamReader, host: str, port: int) -> None:
        """Connect and carry, until both sides have ended. For `Proxy`."""
        client = self._writers[0]
        try:
            upstream, server = await asyncio.open_connection(host, port, limit=PIECE)
            self._writers.append(server)
            for writer in self._writers:
                writer.transport.set_write_buffer_limits(PIECE)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.up.carry(reader, server, self.down), name="proxy up")
                group.create_task(self.down.carry(upstream, client, self.up), name="proxy down")
        except* (OSError, _Reset):
            for writer in self._writers:
                _reset(writer)


class Proxy:
    """Listens on a port of its own and passes on to `host` and `port`. An async context manager: at its end every
    connection is cut and no task is left.

    Connection `i` has a generator made of `seed` and `i` alone, so a plan and its cuts come again whatever the others
    do; when bytes arrive is the machine's affair all the same.
    """

    def __init__(self, host: str, port: int, plan: Plans | None = None, *, seed: int = 0) -> None:
        self.port = 0
        """Where it listens, on 127.0.0.1."""
        self.connections: list[Connection] = []
        """All that ever came, in order."""
        self.plan: Plans = plan or Plan()
        """May be replaced at any time; holds for connections that come then."""
        self._server = (host, port)
        self._seed = seed
        self._tasks = Tasks()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        assert self._listener is not None  # noqa: S101 - it was entered
        self._listener.close()
        for connection in self.connections:
            connection.reset()
        await self._tasks.close(CLOSE_S)

    def find(self, address: tuple[str, int]) -> Connection:
        """The newest connection of the client whose own socket says that it is at `address`. Raises `LookupError`."""
        for connection in reversed(self.connections):
            if connection.address == address[:2]:
                return connection
        raise LookupError(f"expected a connection from {address}, got none")

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        dice = Random(f"{self._seed}:{len(self.connections)}")  # noqa: S311 - to be repeated, not unguessable
        plan = self.plan(len(self.connections), dice) if callable(self.plan) else self.plan
        connection = Connection(plan, dice, writer)
        self.connections.append(connection)
        connection.begin(self._tasks.spawn(connection.run(reader, *self._server), "proxy connection"))


def _finish(sink: StreamWriter) -> None:
    """FIN, as far as there is still somebody to get it."""
    if not sink.is_closing():
        with suppress(OSError):  # it has just gone
            sink.write_eof()


def _reset(writer: StreamWriter) -> None:
    """RST (RFC 9293, 3.5.2): what a close becomes that is to linger for no time."""
    if (sock := writer.get_extra_info("socket")) is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
