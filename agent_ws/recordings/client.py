"""A recording as a client: sends a server what was sent, and compares what comes with what came.

The one rule: a command is sent when its time has come and what it was an answer to is there, so that a server which is
slower gets it at the same place and not at the same moment. What doesn't come in time is a difference, not a hang.
"""

import asyncio
from contextlib import suppress
from typing import cast

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..recording import LOST, Closed, FromClient, FromServer, Line, Opened, Recording, Refused
from ..tasks import Tasks
from .story import NAMED, Answers, Frame, Held, compare, difference
from .url import Url

OPEN_S = 10.0
CLOSE_S = 10.0
"""For the end of all tasks, whose sockets are closed."""
MESSAGE_BYTES = 64 * 2**20
"""As much as the recorder reads."""


class _Told:
    """What one connection was told."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.answers = Answers()
        self.end = ""
        """How it ended, or was refused; "" while it is open."""

    def take(self, frame: Frame) -> None:
        self.held.take(frame)
        self.answers.take(frame)

    def covers(self, other: "_Told") -> bool:
        return bool(self.end) or (not other.end and self.answers.covers(other.answers) and self.held.covers(other.held))

    @property
    def lines(self) -> list[str]:
        return [*self.answers.lines, *([self.end] if self.end else [])]


class Again:
    """Does what the recorded clients did at `server`, once. `patience`: seconds for what has to come first, or at the
    end. `token`: a bearer token, where the server wants a login.
    """

    def __init__(
        self, recording: Recording, server: Url, *, speed: float = 1.0, patience: float = 10.0, token: str = ""
    ) -> None:
        self._recording = recording
        self._server = server
        self._speed = speed
        self._patience = patience
        self._token = token
        self._was: dict[int, _Told] = {}
        self._is: dict[int, _Told] = {}
        self._sockets: dict[int, ClientConnection] = {}
        self._tasks = Tasks()
        self._more = asyncio.Event()
        """Set, and replaced, whenever something has come."""
        self._late: set[int] = set()
        """Connections that lack something: they are not waited for again."""
        self._differences: list[str] = []

    async def run(self) -> list[str]:
        """Play it, and return the differences, in lines; none: it is the same.

        Raises `OSError` where the server can't be reached, and `ValueError` for a recording that doesn't begin its
        sessions.
        """
        clock = asyncio.get_running_loop().time
        lines = self._recording.lines
        at, before = clock(), lines[0].t if lines else 0.0
        try:
            for place, line in enumerate(lines):
                if isinstance(line, FromServer):
                    self._was[line.c].take(line.value)
                    continue
                if not (isinstance(line, Closed) and line.by == "server"):
                    await asyncio.sleep(at + (line.t - before) / self._speed - clock())
                    await self._caught_up(place)
                    at, before = clock(), line.t
                await self._do(place, line)
            if lines:
                await self._caught_up(len(lines) - 1)
        finally:
            for socket in self._sockets.values():
                await socket.close()
            await self._tasks.close(CLOSE_S)
        return self._differences + self._compared()

    async def _caught_up(self, place: int) -> None:
        """Wait until as much has come as had come before the line at `place`."""

        def lacking() -> list[int]:
            return [c for c, was in self._was.items() if c not in self._late and not self._is[c].covers(was)]

        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while lacking():
                    await self._more.wait()
        for c in lacking():
            self._late.add(c)
            self._differences.append(
                f"{self._recording.place(place)}: connection {c} has not got what it had got here, "
                f"{self._patience:g} s later"
            )

    async def _do(self, place: int, line: Line) -> None:
        match line:
            case Opened() | Refused():
                await self._open(line)
            case FromClient():
                message = self._message(place, line)
                if (socket := self._sockets.get(line.c)) is not None:
                    with suppress(ConnectionClosed):  # which is a difference, told at the end
                        await socket.send(message)
            case Closed(by="server"):
                self._was[line.c].end = _ended("server", line.code, line.reason)
                await self._caught_up(place)
            case Closed():
                self._was[line.c].end = "left"
                if not self._is[line.c].end:
                    self._is[line.c].end = "left"
                if (socket := self._sockets.get(line.c)) is None:
                    return
                if line.code == LOST:
                    socket.transport.abort()
                else:
                    await socket.close()
            case FromServer():
                pass

    # Connections

    async def _open(self, line: Opened | Refused) -> None:
        self._was[line.c] = _Told(Held())
        told = self._is[line.c] = _Told(Held())
        if isinstance(line, Refused):
            self._was[line.c].end = f"refused status={line.status}"
        chosen = line.subprotocol if isinstance(line, Opened) else ""
        address = self._server.websocket.removesuffix("/ws") + line.path
        try:
            async with asyncio.timeout(OPEN_S):
                socket = await connect(
                    address,
                    subprotocols=[Subprotocol(chosen)] if chosen else None,
                    additional_headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                    compression=None,
                    proxy=None,
                    max_size=MESSAGE_BYTES,
                    ssl=self._server.context,
                    open_timeout=None,
                )
        except InvalidStatus as error:
            told.end = f"refused status={error.response.status_code}"
        except InvalidHandshake as error:
            told.end = f"refused: {error}"
        else:
            self._sockets[line.c] = socket
            self._tasks.spawn(self._listen(line.c, socket), "replay listens")

    async def _listen(self, c: int, socket: ClientConnection) -> None:
        told = self._is[c]
        with suppress(ConnectionClosed):
            async for message in socket:
                told.take(_read(message))
                self._wake()
        if not told.end:
            told.end = _ended("server", socket.close_code or LOST, socket.close_reason or "")
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    # What is sent

    def _message(self, place: int, line: FromClient) -> str | bytes:
        """A recorded message with the names that are in use now."""
        frame = line.value
        binary = self._recording.connections[line.c].binary
        changed = self._hello(place, line.c, frame) if frame.get("type") == "hello" else self._named(line.c, frame)
        if changed == frame:
            return line.message(binary=binary)
        return msgspec.msgpack.encode(changed) if binary else msgspec.json.encode(changed).decode()

    def _hello(self, place: int, c: int, frame: Frame) -> Frame:
        changed = {field: value for field, value in frame.items() if field != "ticket"}
        session = frame.get("session")
        if not isinstance(session, str):
            return changed
        earlier = [other for other in self._was if other != c and self._was[other].held.session == session]
        if not earlier:
            raise ValueError(
                f"{self._recording.place(place)}: expected a session that the recording began, got a client that comes "
                "back to another one: record from the first message on"
            )
        changed["session"] = self._is[earlier[-1]].held.session
        # Who came back by a cookie has to have the token here.
        known = {self._was[other].held.token: self._is[other].held.token for other in earlier}
        token = known.get(frame.get("token", ""), frame.get("token")) or self._is[earlier[-1]].held.token
        if token:
            changed["token"] = token
        if frame.get("epoch") is not None and frame.get("after") is not None:
            # It goes on with what it holds, which is what the last connection to reach as far has brought.
            parent = next(
                (other for other in reversed(earlier) if self._was[other].held.cursor[0] >= frame["after"]), earlier[-1]
            )
            self._was[c].held, held = self._was[parent].held, self._is[parent].held
            self._is[c].held = held
            seq, part = held.cursor
            changed |= {"epoch": held.epoch, "after": seq}
            changed.pop("part", None)
            if part:
                changed["part"] = part
        return changed

    def _named(self, c: int, frame: Frame) -> Frame:
        changed = dict(frame)
        for field in NAMED.keys() - {"id"}:
            name = frame.get(field)
            if isinstance(name, str):
                changed[field] = self._is[c].held.counterpart(field, name, self._was[c].held) or name
        return changed

    # What came

    def _compared(self) -> list[str]:
        told: list[str] = []
        seen: set[int] = set()
        for c, was in self._was.items():
            told += compare(was.lines, self._is[c].lines, f"connection {c}")
        for c, was in reversed(self._was.items()):
            if id(was.held) not in seen:  # the last one of those that a client had
                seen.add(id(was.held))
                told += difference(was.held, self._is[c].held, f"what connection {c} has")
        return told


def _ended(by: str, code: int, reason: str) -> str:
    return f"closed by={by} code={code}{f' reason={reason}' if reason else ''}"


def _read(message: str | bytes) -> Frame:
    """A frame of the server's; an empty one where it is none."""
    try:
        value = msgspec.json.decode(message) if isinstance(message, str) else msgspec.msgpack.decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return cast("Frame", value) if isinstance(value, dict) else {}
