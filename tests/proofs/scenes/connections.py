"""A client on its way in, and what it does there: its connection is lost, or its server cancels the connection's task.

The one rule: that is a detach. The run goes on, what was accepted is there, and who comes back gets the rest.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, cast

from helpers import Http
from starlette.applications import Starlette

from agent_ws.server import build_app
from agent_ws.server.serve import make_server
from agent_ws.session import Session
from agent_ws.settings import Limits, Settings
from agent_ws.testing.client import Client, Closed, Refused, connect, running, websocket_scope
from agent_ws.testing.invariants import Copy, check_copy, check_log
from agent_ws.turn import Turn

from .runs import pauses
from .scene import Base, Case, Scene, becomes, expect, settled, steps, warm

World = Callable[[Path], AbstractAsyncContextManager[Case]]


async def agent(turn: Turn) -> None:
    """Says something now and then, by the loop's steps and not by a clock."""
    for n in range(3):
        turn.content(f"{n} ")
        await pauses(2)


async def saved(app: Starlette, settings: Settings) -> tuple[dict[str, Any], Copy]:
    """A session with a run in it that is in the store alone, and a client's copy of it."""
    copy = Copy()
    async with connect(app) as client:
        await client.send({"message": "before"})
        await client.until("settled")
        opened = next(frame for frame in client.frames if frame["type"] == "session")
        for frame in client.frames:
            copy.take(frame)
    assert settings.limits.loaded_sessions == 1
    sessions = app.state.gateway.sessions
    while opened["session"] in [session.id for session in loaded(app)]:  # until the store has it
        other, _ = await sessions.create("me")
        await other.say("hi")
        await settled(other)
    return opened, copy


def loaded(app: Starlette) -> list[Session]:
    """The sessions in memory."""
    held = cast("dict[str, Session]", vars(app.state.gateway.sessions)["_loaded"])
    return list(held.values())


async def found(app: Starlette, opened: dict[str, Any]) -> Session:
    return await app.state.gateway.sessions.find(opened["session"], owner=None, token=opened["token"])


async def check(app: Starlette, opened: dict[str, Any], copy: Copy, frames: list[dict[str, Any]]) -> None:
    """The session after a client was lost that had received these frames; it comes back with its copy."""
    session = await found(app, opened)
    events = await settled(session)
    check_log(events, over=True)
    said = {getattr(event, "id", None) for event in events}
    for frame in frames:
        copy.take(frame)
        expect(frame["type"] != "accepted" or frame["id"] in said, f"expected what was accepted, got {events}")
    back = {key: opened[key] for key in ("session", "token")}
    async with connect(app) as client:
        await client.send({"type": "hello", **back, **copy.come_back()})
        await client.send({"type": "message", "data": "again", "id": "m1"})  # perhaps it was taken, perhaps not
        accepted = False
        while not accepted or session.busy or copy.cursor.seq < session.log.tail:
            frame = await client.receive()
            copy.take(frame)
            accepted = accepted or frame["type"] == "accepted"
    events = session.log.read(0)
    expect(sum(getattr(e, "id", None) == "m1" for e in events) == 1, f"expected the message once, got {events}")
    check_log(events, over=True)
    check_copy(copy, events)
    expect(not copy.resets, f"expected no reset, got {copy.resets}")
    await quiet(app, session)


async def quiet(app: Starlette, session: Session) -> None:
    """Nobody is counted who has gone."""
    expect(session.idle, "expected the session to have no viewer")
    expect(not vars(app.state.gateway)["_clients"], "expected no client to be counted")


def coming(*, lost: bool) -> World:
    """A WebSocket client comes back to a session that has to be loaded, and says something."""

    @asynccontextmanager
    async def world(folder: Path) -> AsyncGenerator[Case]:
        settings = Settings(store=f"sqlite:{folder}/test.db", limits=Limits(loaded_sessions=1))
        app = build_app(agent, settings)
        async with running(app):
            await saved(app, settings)
            base = Base()

            async def case(k: int) -> bool:
                opened, copy = await saved(app, settings)
                client = Client(app, websocket_scope(), binary=False)
                serving = asyncio.create_task(client.serve(), name="asgi")
                using = asyncio.create_task(use(client, opened, copy), name="client")
                reached = False

                def stop() -> None:
                    nonlocal reached
                    reached = not using.done()
                    if lost:
                        client.drop()
                    else:
                        serving.cancel()

                steps().arm(k, stop)
                await asyncio.wait({serving, using}, return_when=asyncio.FIRST_COMPLETED)
                steps().disarm()
                if not reached:
                    client.drop()
                await asyncio.wait({serving})
                expect(serving.cancelled() or lost or not reached, f"expected its task to be cancelled, got {serving}")
                if not serving.cancelled():
                    serving.result()
                using.cancel()
                with suppress(asyncio.CancelledError):
                    await using
                await check(app, opened, copy, client.frames)
                await base.again()
                return not reached

            yield case

    return world


async def use(client: Client, opened: dict[str, Any], copy: Copy) -> None:
    """What the client does, until it has its answer."""
    with suppress(Closed, Refused):
        await client.open()
        back = {key: opened[key] for key in ("session", "token")}
        await client.send({"type": "hello", **back, **copy.come_back()})
        await client.until("session")
        await client.send({"type": "message", "data": "go", "id": "m1"})
        await client.until("settled")


def requesting(*, lost: bool) -> World:
    """An HTTP client asks in a session that has to be loaded, and reads the answer as it comes."""

    @asynccontextmanager
    async def world(folder: Path) -> AsyncGenerator[Case]:
        settings = Settings(store=f"sqlite:{folder}/test.db", limits=Limits(loaded_sessions=1))
        app = build_app(agent, settings)
        async with running(app):
            await saved(app, settings)
            base = Base()

            async def case(k: int) -> bool:
                opened, copy = await saved(app, settings)
                body = {"session": opened["session"], "token": opened["token"], "message": "go", "id": "m1"}
                http = Http(app, "/api/agent/stream", body)
                serving: asyncio.Task[None] = vars(http)["_serving"]
                reached = False

                def stop() -> None:
                    nonlocal reached
                    reached = not serving.done()
                    if lost:
                        vars(http)["_gone"].set()
                    else:
                        serving.cancel()

                steps().arm(k, stop)
                await asyncio.wait({serving})
                steps().disarm()
                expect(serving.cancelled() or lost or not reached, f"expected its task to be cancelled, got {serving}")
                if not serving.cancelled():
                    serving.result()
                await check(app, opened, copy, [])
                await base.again()
                return not reached

            yield case

    return world


class Raw(asyncio.Protocol):
    """A client that is nothing but its bytes: shakes hands, says something, and waits for the receipt."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        """It has all that it wanted, or has lost its connection."""
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        if not self._received:
            message = b'{"message":"go"}'
            self._transport.write(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message)  # masked with zeros
        self._received += data
        if b'"settled"' in self._received:
            self.over.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.over.set()


@asynccontextmanager
async def connecting(folder: Path) -> AsyncGenerator[Case]:
    """A client's socket is gone at any step between its first byte and its answer: over TCP, as it is shipped."""
    settings = Settings(store=f"sqlite:{folder}/test.db")
    server = make_server(agent, settings, host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    with redirect_stdout(None):  # it says where it serves
        await becomes(lambda: server.started, lambda: "expected a server that starts")
    port = server.servers[0].sockets[0].getsockname()[1]
    app: Any = server.config.app

    loop = asyncio.get_running_loop()
    await warm(app.state.gateway.sessions)
    base = Base()

    async def case(k: int) -> bool:
        transport, raw = await loop.create_connection(Raw, "127.0.0.1", port)
        reached = False

        def stop() -> None:
            nonlocal reached
            reached = not raw.over.is_set()
            transport.abort()

        steps().arm(k, stop)
        await raw.over.wait()
        steps().disarm()
        transport.abort()
        await becomes(lambda: not server.server_state.connections, lambda: "expected no connection to be left")
        await becomes(lambda: not vars(app.state.gateway)["_clients"], lambda: "expected no client to be counted")
        for session in loaded(app):
            check_log(await settled(session), over=True)
        await base.again()
        return not reached

    try:
        yield case
    finally:
        server.should_exit = True
        await serving


SCENES = (
    Scene("connection cancelled", coming(lost=False)),
    Scene("client lost", coming(lost=True)),
    Scene("HTTP request cancelled", requesting(lost=False)),
    Scene("HTTP client lost", requesting(lost=True)),
    Scene("socket lost", connecting),
)
