"""A proxy that records: what a client and a server say to each other by WebSocket, as it passes.

The one rule: it changes nothing that a WebSocket carries. Bytes are passed on as they come, pings, closes and resets
too; a line is written before what it tells of is passed on, so whatever anybody answers stands behind it.

What it changes is heads: each connection is for one request, no compression is agreed on, and `Host` (with an `Origin`
that is the proxy's own) is the server's, whose checks would refuse it else. What goes by HTTP passes, unrecorded.
"""

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self

from websockets.frames import Close

from ..recording import LOST, Closed, File, FromClient, FromServer, Line, Opened, Refused, Side
from ..tasks import Tasks
from .ear import Deaf, Ear
from .secrets import Secrets
from .url import Url

PIECE = 65_536
"""Bytes that are taken at once."""
HEAD_BYTES = 131_072
"""Of a request or a response: what our server takes too."""
CONNECT_S = 10.0
CLOSE_S = 10.0
"""For the end of all tasks, which are cancelled and wait for nothing."""


class Notes:
    """The recording as it is written. `tell` gets a line for people when something is not recorded."""

    def __init__(self, file: File, tell: Callable[[str], None]) -> None:
        self.secrets = Secrets()
        self.tell = tell
        self.connections = 0
        self.broken = False
        """The disk took no more: the recording ends there."""
        self._file = file
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    @property
    def now(self) -> float:
        """The time of a line that is made now."""
        return round(self._clock() - self._began, 4)

    def begin(self) -> int:
        """The number of a new connection."""
        self.connections += 1
        return self.connections

    def add(self, line: Line) -> None:
        """Write a line."""
        if self.broken:
            return
        try:
            self._file.add([line])
        except OSError as error:
            self.broken = True
            self.tell(f"can't write {self._file.path} any more ({error.strerror}): what comes now is not recorded")


class Proxy:
    """Listens on `host` and `port` (0: any that is free) and passes on to `server`. An async context manager: at its
    end every connection is cut and no task is left.
    """

    def __init__(self, server: Url, file: File, tell: Callable[[str], None], *, host: str, port: int) -> None:
        self.port = port
        self.notes = Notes(file, tell)
        self._server = server
        self._host = host
        self._tasks = Tasks()
        self._listener: asyncio.Server | None = None
        self._told_of_http = False

    async def listen(self) -> None:
        """Take the port. Raises `OSError` where that can't be."""
        self._listener = await asyncio.start_server(self._accept, self._host, self.port, limit=HEAD_BYTES, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        if self._listener is None:
            await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None  # noqa: S101 - it was entered
        self._listener.close()
        await self._tasks.close(CLOSE_S)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = _Connection(self._server, self.notes, reader, writer, self._by_http)
        self._tasks.spawn(connection.run(), "recorded connection")

    def _by_http(self, path: str) -> None:
        if not self._told_of_http and path.startswith("/api/"):
            self._told_of_http = True
            self.notes.tell(f"{path.partition('?')[0]} is asked by HTTP: that passes, and is not recorded")


class _Head(NamedTuple):
    """The head of a request or a response."""

    first: str
    fields: list[tuple[str, str]]

    @classmethod
    def parse(cls, data: bytes) -> "_Head":
        first, *lines = data.decode("latin-1").split("\r\n")[:-2]
        return cls(first, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])

    def get(self, name: str) -> str:
        return ", ".join(value for found, value in self.fields if found.lower() == name)

    def word(self, i: int) -> str:
        """One of the first line."""
        return ([*self.first.split(" "), "", ""])[i]

    @property
    def upgrades(self) -> bool:
        return self.get("upgrade").lower() == "websocket"

    @property
    def path(self) -> str:
        return self.word(1)

    def for_server(self, server: Url) -> bytes:
        own = self.get("host")
        left_out = {"host", "connection", "keep-alive", "sec-websocket-extensions"}
        fields = [("Host", server.netloc), ("Connection", "Upgrade" if self.upgrades else "close")]
        for name, value in self.fields:
            if name.lower() == "origin" and re.fullmatch("https?://" + re.escape(own), value):
                fields.append((name, str(server)))
            elif name.lower() not in left_out:
                fields.append((name, value))
        return "\r\n".join([self.first, *(f"{name}: {value}" for name, value in fields), "", ""]).encode("latin-1")


class _Connection:
    """One client's connection, and the one to the server behind it."""

    def __init__(
        self,
        server: Url,
        notes: Notes,
        reader: StreamReader,
        writer: StreamWriter,
        by_http: Callable[[str], None],
    ) -> None:
        self._server = server
        self._notes = notes
        self._client = reader, writer
        self._by_http = by_http
        self._writers = [writer]
        self._c = 0
        """Its number; 0 where it is none that is recorded."""
        self._closed = False
        """Its end was recorded, or can't be read."""

    async def run(self) -> None:
        try:
            await self._run()
        except* (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # one of them has gone, or spoke no HTTP
        finally:
            for writer in self._writers:
                writer.transport.abort()

    async def _run(self) -> None:
        reader, writer = self._client
        try:
            request = _Head.parse(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            await _answer(writer, "431 Request Header Fields Too Large")
            return
        for name, value in request.fields:
            self._notes.secrets.learn(name, value)
        try:
            async with asyncio.timeout(CONNECT_S):
                upstream, server = await asyncio.open_connection(
                    self._server.host, self._server.port, limit=HEAD_BYTES, ssl=self._server.context
                )
        except OSError as error:  # TimeoutError too
            self._notes.tell(f"{self._server} can't be reached: {error.strerror or type(error).__name__}")
            if request.upgrades:
                self._refused(request, 502)
            await _answer(writer, "502 Bad Gateway")
            return
        self._writers.append(server)
        server.write(request.for_server(self._server))
        ears: tuple[Ear | None, Ear | None] = None, None
        if request.upgrades:
            head = await upstream.readuntil(b"\r\n\r\n")
            ears = self._opened(request, _Head.parse(head))
            writer.write(head)
        else:
            self._by_http(request.path)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry(reader, server, "client", ears[0]), name="recorder up")
            group.create_task(self._carry(upstream, writer, "server", ears[1]), name="recorder down")

    def _refused(self, request: _Head, status: int) -> None:
        notes = self._notes
        notes.add(Refused(notes.now, notes.begin(), notes.secrets.path(request.path), status))

    def _opened(self, request: _Head, response: _Head) -> tuple[Ear | None, Ear | None]:
        notes = self._notes
        for name, value in response.fields:
            notes.secrets.learn(name, value)
        status = response.word(1)
        if status != "101":
            self._refused(request, int(status) if status.isdecimal() else 502)
            return None, None
        self._subprotocol = response.get("sec-websocket-protocol")
        self._c = notes.begin()
        notes.add(Opened(notes.now, self._c, notes.secrets.path(request.path), self._subprotocol))
        return Ear(masked=True), Ear(masked=False)

    async def _carry(self, source: StreamReader, sink: StreamWriter, by: Side, ear: Ear | None) -> None:
        lost: Side = by
        try:
            while data := await source.read(PIECE):
                if ear is not None and not self._closed:
                    self._note(ear, data, by)
                lost = "server" if by == "client" else "client"  # who doesn't take it
                sink.write(data)
                await sink.drain()
                lost = by
        except OSError:
            self._end(lost, Close(LOST, ""))
            raise  # the other side is reset too
        self._end(by, Close(LOST, ""))
        with suppress(OSError, NotImplementedError):  # it has just gone; TLS can't be closed by halves
            sink.write_eof()

    def _note(self, ear: Ear, data: bytes, by: Side) -> None:
        notes = self._notes
        line = FromClient if by == "client" else FromServer
        try:
            for heard in ear.hear(data):
                if isinstance(heard, Close):
                    self._end(by, heard)
                    return
                notes.add(line(notes.now, self._c, **notes.secrets.form(heard, self._subprotocol)))
        except Deaf as deaf:
            self._closed = True
            notes.tell(f"connection {self._c} is no WebSocket any more ({deaf}): the rest of it is not recorded")

    def _end(self, by: Side, close: Close) -> None:
        """Note who ended it. What comes behind that belongs to nothing."""
        if self._c and not self._closed:
            self._closed = True
            notes = self._notes
            notes.add(Closed(notes.now, self._c, by, int(close.code), close.reason))


async def _answer(writer: StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
    writer.write_eof()
    await writer.drain()
