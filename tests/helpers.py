"""What the tests of promises share: an application that runs, clients of both wires, agents that misbehave."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.types import Message

from agent_ws.agents.scripted import Gate
from agent_ws.server import build_app
from agent_ws.session import Session
from agent_ws.settings import Settings
from agent_ws.stores import Store
from agent_ws.testing.client import Client, running
from agent_ws.turn import Agent, Turn

Frame = dict[str, Any]


@asynccontextmanager
async def serving(
    agent: Agent, settings: Settings | None = None, store: Store | None = None
) -> AsyncGenerator[Starlette]:
    """The real application around `agent`."""
    app = build_app(agent, settings, store=store)
    async with running(app):
        yield app


async def hello(client: Client, session: Frame | None = None, **more: Any) -> Frame:
    """Open a session, or come back to the one of a `session` frame; with its epoch and `after` as cursor if given."""
    back = {"session": session["session"], "token": session["token"]} if session is not None else {}
    await client.send({"type": "hello", **back, **more})
    opened = await client.until("session")
    return opened if session is None else opened | {"token": session["token"]}


async def say(client: Client, data: str, **more: Any) -> Frame:
    """Send a message, with its text as its id, and return its `accepted` or `rejected`. Events may come before it."""
    await client.send({"type": "message", "data": data, "id": data, **more})
    while True:
        answer = await client.until("accepted", "rejected")
        if answer["id"] == data:
            return answer


async def got(client: Client, *kinds: str, run: str | None = None) -> Frame:
    """The first frame of these types (of `run`) that the client has received, or will."""
    for frame in client.frames:
        if frame["type"] in kinds and run in (None, frame.get("run")):
            return frame
    return await client.until(*kinds, run=run)


def cursor(client: Client, opened: Frame) -> dict[str, Any]:
    """What a client says that comes back after all that `client` received."""
    last: Frame = client.events[-1] if client.events else {"seq": 0}
    return {"epoch": opened["epoch"], "after": last["seq"], "part": last.get("part", 0)}


def types(frames: list[Frame]) -> list[str]:
    """The frames' types, adjacent text counted once."""
    found: list[str] = []
    for frame in frames:
        if not (found and found[-1] == frame["type"] == "content"):
            found.append(frame["type"])
    return found


def of(client: Client, *kinds: str) -> list[Frame]:
    """The frames of these types that a client received."""
    return [frame for frame in client.frames if frame["type"] in kinds]


async def drained(client: Client, seconds: float = 30.0) -> list[Frame]:
    """All that a client gets in the next `seconds`, of virtual time."""
    before = len(client.frames)
    try:
        async with asyncio.timeout(seconds):
            while True:
                await client.receive()
    except TimeoutError:
        return client.frames[before:]


async def core(app: Starlette, opened: Frame) -> Session:
    """The session behind a `session` frame."""
    return await app.state.gateway.sessions.find(opened["session"], owner=None, token=opened["token"])


class Http:
    """One HTTP request without a socket, whose answer may be a stream."""

    def __init__(
        self,
        app: Starlette,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        method: str | None = None,
    ) -> None:
        sent = {"host": "localhost"} | dict(headers or {})
        self.status = 0
        self.headers: dict[str, str] = {}
        self.received = b""
        """All that has come."""
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._body = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        self._asked = False
        self._started = asyncio.Event()
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method or ("GET" if body is None else "POST"),
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 50000),
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        }
        self._serving = asyncio.create_task(self._serve(app, scope), name="http")

    async def _serve(self, app: Starlette, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._started.set()
            self._chunks.put_nowait(None)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
        elif message.get("body"):
            self._chunks.put_nowait(message["body"])
            self.received += message["body"]

    async def text(self) -> str:
        """The rest of the answer, to its end."""
        data = b""
        while (chunk := await self._chunks.get()) is not None:
            data += chunk
        await self._serving
        return data.decode()

    async def until(self, needle: str) -> str:
        """The answer up to the chunk with `needle`."""
        await self._started.wait()
        data = b""
        while needle.encode() not in data:
            chunk = await self._chunks.get()
            assert chunk is not None, f"{needle} did not come in {data!r}"
            data += chunk
        return data.decode()

    async def json(self) -> Any:
        return msgspec.json.decode(await self.text())

    async def leave(self) -> None:
        """Disconnect."""
        self._gone.set()
        await self._serving


def sse(text: str) -> list[tuple[str, str, Any]]:
    """The events of a text/event-stream: name, id, data (decoded; `[DONE]` as it is)."""
    events: list[tuple[str, str, Any]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            data = fields["data"]
            decoded = data if data == "[DONE]" else msgspec.json.decode(data)
            events.append((fields.get("event", ""), fields.get("id", ""), decoded))
    return events


def shown(text: str) -> str:
    """The text that an `EventSource` shows which appends `JSON.parse(event.data).content` in `onmessage`."""
    return "".join(data["content"] for name, _, data in sse(text) if not name)


def stubborn(gate: Gate, wrote: list[str]) -> Callable[[Turn], Coroutine[Any, Any, None]]:
    """An agent that says "early ", stands at `gate`, swallows every cancellation and writes on, until the gate opens.

    `wrote` gets what became of each of its writes after its ending.
    """

    async def agent(turn: Turn) -> None:
        turn.content("early ")
        gate.reached.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                attempt(turn, wrote)
        attempt(turn, wrote)

    return agent


def attempt(turn: Turn, wrote: list[str]) -> None:
    """Try every way to write, and note what came of it."""
    ways: dict[str, Callable[[], None]] = {
        "content": lambda: turn.content("LATE"),
        "thinking": lambda: turn.thinking("LATE"),
        "status": lambda: turn.status("working", "LATE"),
        "tools": lambda: turn.tools(t9="LATE"),
        "outline": lambda: turn.outline(s9="LATE"),
    }
    for way, write in ways.items():
        try:
            write()
        except Exception as error:  # noqa: BLE001 - which one is the result
            wrote.append(f"{way}: {type(error).__name__}")
        else:
            wrote.append(f"{way}: written")
