"""A WebSocket client without a socket: it speaks ASGI to an application in the same event loop.

The one rule: no clock and no thread, so a test on a virtual loop runs the unmodified server at any order of events.
It can do to the server what a network can: go without a word, read slowly, not at all. It takes frames both ways: at
once, as from our own server's protocol (`outlet.PUSH`), and by ASGI's `send` alone, as any other server has it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from starlette.types import ASGIApp, Message

from ..server.outlet import PUSH


class Closed(Exception):
    """The server closed the connection, with this code; after all frames before it were received."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


class Refused(Exception):
    """The handshake was answered with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class _HasLifespan(Protocol):
    @property
    def router(self) -> Any: ...


@asynccontextmanager
async def running(app: _HasLifespan) -> AsyncGenerator[None]:
    """The application's lifespan."""
    async with app.router.lifespan_context(app):
        yield


class Client:
    """One connection. Use `connect`."""

    def __init__(self, app: ASGIApp, scope: dict[str, Any], *, binary: bool, push: bool = True) -> None:
        self._app = app
        if push:
            scope["extensions"][PUSH] = self._push
        self._scope = scope
        self._binary = binary
        self._to_server: asyncio.Queue[Message] = asyncio.Queue()
        self._from_server: asyncio.Queue[Message] = asyncio.Queue()
        self._gone = False
        self.reading = asyncio.Event()
        """While it is clear the client's socket is full, and the server's sends wait."""
        self.reading.set()
        self.frames: list[dict[str, Any]] = []
        """All frames that were received."""
        self.headers: list[tuple[bytes, bytes]] = []
        """What the handshake was answered with."""
        self.subprotocol: str | None = None

    async def _send(self, message: Message) -> None:
        await self.reading.wait()
        if self._gone:
            raise OSError("the client has gone")
        self._from_server.put_nowait(message)

    def _push(self, messages: Sequence[bytes], binary: bool) -> bool:  # noqa: FBT001 - the extension's form
        if self._gone or not self.reading.is_set():
            return False
        for data in messages:
            message: Message = {"type": "websocket.send"} | ({"bytes": data} if binary else {"text": data.decode()})
            self._from_server.put_nowait(message)
        return True

    async def open(self) -> None:
        """Shake hands. Raises `Refused`."""
        self._to_server.put_nowait({"type": "websocket.connect"})
        answer = await self._from_server.get()
        match answer["type"]:
            case "websocket.accept":
                self.headers = list(answer.get("headers", []))
                self.subprotocol = answer.get("subprotocol")
            case "websocket.http.response.start":
                raise Refused(answer["status"])
            case _:
                raise Refused(403)

    async def serve(self) -> None:
        """Run the application for this connection, to its end."""
        await self._app(self._scope, self._to_server.get, self._send)
        self._from_server.put_nowait({"type": "websocket.close", "code": 1006, "reason": "the application returned"})

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame."""
        await self.send_raw(msgspec.msgpack.encode(frame) if self._binary else msgspec.json.encode(frame).decode())

    async def send_raw(self, data: str | bytes) -> None:
        """Send one WebSocket message as it is."""
        key = "text" if isinstance(data, str) else "bytes"
        self._to_server.put_nowait({"type": "websocket.receive", key: data})
        await asyncio.sleep(0)

    async def receive(self) -> dict[str, Any]:
        """The next frame. Raises `Closed`."""
        message = await self._from_server.get()
        if message["type"] == "websocket.close":
            self._from_server.put_nowait(message)  # it stays closed
            raise Closed(message.get("code", 1000), message.get("reason", ""))
        data: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
        frame = msgspec.json.decode(data) if isinstance(data, str) else msgspec.msgpack.decode(data)
        self.frames.append(frame)
        return frame

    async def until(self, *types: str, run: str | None = None) -> dict[str, Any]:
        """Receive up to the first frame of one of these types (of `run`), and return it."""
        while True:
            frame = await self.receive()
            if frame["type"] in types and run in (None, frame.get("run")):
                return frame

    def drop(self) -> None:
        """Be gone without a word, as by a lost network."""
        self._gone = True
        self.reading.set()
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})

    @property
    def events(self) -> list[dict[str, Any]]:
        """The frames that are events."""
        return [frame for frame in self.frames if "seq" in frame]

    def text(self, run: str | None = None) -> str:
        """The text that was received, of all runs or one."""
        return "".join(f["data"] for f in self.events if f["type"] == "content" and run in (None, f["run"]))


def websocket_scope(
    headers: Mapping[str, str] | None = None, subprotocols: Sequence[str] = (), path: str = "/ws"
) -> dict[str, Any]:
    """The ASGI scope of a connection. `path` may have a query."""
    path, _, query = path.partition("?")
    sent = {"host": "localhost"} | dict(headers or {})
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 50000),
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "subprotocols": list(subprotocols),
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


@asynccontextmanager
async def connect(
    app: ASGIApp,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    path: str = "/ws",
    push: bool = True,
) -> AsyncGenerator[Client]:
    """Connect to `app`, whose lifespan must be running; disconnect at the end. `push`: see above."""
    binary = any(name.endswith("msgpack") for name in subprotocols)
    client = Client(app, websocket_scope(headers, subprotocols, path), binary=binary, push=push)
    # No task group: what the test meets must reach it as it is, not in a group. It is awaited below.
    serving = asyncio.create_task(client.serve(), name="asgi")
    try:
        await client.open()
        yield client
    finally:
        client.drop()
        await serving
