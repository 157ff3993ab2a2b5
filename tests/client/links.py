"""The Python client without a socket: what it dials is the real application, in the same loop, by a link that the test
can cut.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import ASGIApp

from agent_ws.client import Client, LogEvent, Reset, connect
from agent_ws.client.core import Ending
from agent_ws.client.incoming import decode
from agent_ws.client.websocket import Listener, Transport
from agent_ws.events import Content, Event
from agent_ws.frames import ClientFrame
from agent_ws.tasks import Tasks
from agent_ws.testing.client import Client as Wire
from agent_ws.testing.client import Closed, Refused, websocket_scope
from agent_ws.testing.invariants import Copy, check_copy


class Link:
    """One connection, see `client.websocket.Transport`."""

    def __init__(self, app: ASGIApp, listener: Listener, tasks: Tasks) -> None:
        self._wire = Wire(app, websocket_scope(subprotocols=["agent-ws.v1.json"]), binary=False)
        self._listener = listener
        self._outgoing: asyncio.Queue[ClientFrame | None] = asyncio.Queue()
        self._dropped = False
        self.said: list[ClientFrame] = []
        self.deaf = False
        """Nothing that the server says comes through."""
        self._parts = [
            tasks.spawn(part, f"link {part.__name__}") for part in (self._wire.serve(), self._read(), self._write())
        ]

    def send(self, frame: ClientFrame) -> None:
        self.said.append(frame)
        self._outgoing.put_nowait(frame)

    def drop(self) -> None:
        self._dropped = True
        self._outgoing.put_nowait(None)

    async def gone(self) -> None:
        await asyncio.wait(self._parts[2:])

    def cut(self, code: int = 1006, reason: str = "") -> None:
        """Be gone without a word, for both sides."""
        self._wire.drop()
        self._end(Ending(code, reason))

    def _end(self, ending: Ending) -> None:
        if not self._dropped:
            self.drop()
            self._listener.closed(ending)

    async def _read(self) -> None:
        try:
            await self._wire.open()
            if not self._dropped:
                self._listener.opened()
            while True:
                frame = decode(msgspec.json.encode(await self._wire.receive()))
                if frame is not None and not (self._dropped or self.deaf):
                    self._listener.frame(frame)
        except Closed as closed:
            self._end(Ending(closed.code, str(closed)))
        except Refused:
            self._end(Ending(1006))

    async def _write(self) -> None:
        while (frame := await self._outgoing.get()) is not None:
            await self._wire.send_raw(msgspec.json.encode(frame).decode())
        self._wire.drop()


class Links:
    """The way from clients to one application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.made: list[Link] = []
        self.broken = False
        """New ones end before they begin."""
        self.attempts = 0

    def dial(self, listener: Listener, tasks: Tasks) -> Transport:
        self.attempts += 1
        if self.broken:
            asyncio.get_running_loop().call_soon(listener.closed, Ending(1006, "nobody is there"))
            return Nothing()
        self.made.append(Link(self._app, listener, tasks))
        return self.made[-1]

    def client(self, **options: Any) -> Client:
        plain: dict[str, Any] = {"random": lambda: 0.5}
        return connect("http://nowhere", dial=self.dial, **plain | options)


class Nothing:
    """A connection that never was."""

    def send(self, frame: ClientFrame) -> None:
        raise AssertionError(f"expected nothing to be said before `opened`, got {frame}")

    def drop(self) -> None:
        pass

    async def gone(self) -> None:
        pass


class Held:
    """What a reader of the client's events holds: a gap, a double or a disorder is an error at once."""

    def __init__(self) -> None:
        self.copy = Copy()
        self.copy.take({"type": "session", "epoch": "e", "after": 0, "resumed": False})

    def take(self, event: LogEvent) -> None:
        if isinstance(event, Reset):
            self.copy.take({"type": "reset", "epoch": "e", "reason": event.reason})
        else:
            self.copy.take(msgspec.to_builtins(event))

    def check(self, log: list[Event]) -> None:
        """It is the whole log."""
        check_copy(self.copy, log)
        assert self.copy.cursor.seq == log[-1].seq


async def read_until(client: Client, kind: type[Event], held: Held | None = None) -> Any:
    """The next event of this kind."""
    async for event in client:
        if held is not None:
            held.take(event)
        if isinstance(event, kind):
            return event
    raise AssertionError(f"expected {kind.__name__}, got the end")


def text(events: Iterable[LogEvent]) -> str:
    """What is content of it."""
    return "".join(event.data for event in events if isinstance(event, Content))


async def cancelled(task: asyncio.Task[Any]) -> None:
    """End a task of the test's own."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
