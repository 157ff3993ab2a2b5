"""The end of things: the server shuts down at any step of a run, and a shutdown is itself cut short at any step.

The one rule: what has ended keeps nothing, however it ended, and the store has every run with its receipt.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from provider import Provider

from agent_ws.agents.anthropic import Anthropic
from agent_ws.events import Interrupted
from agent_ws.fold import recover
from agent_ws.server import build_app
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.client import Closed, connect, running
from agent_ws.testing.invariants import check_log

from .runs import several
from .scene import Base, Case, Notes, Scene, expect, playing, steps
from .stores import cancelled_after, file

SETTINGS = Settings(timeouts=Timeouts(drain=0.02))


async def check_store(folder: Path, session: str, *, over: bool) -> None:
    """The log is in the store, whole; where the end was cut short it may be one that a crash would leave."""
    store = file(folder)
    await store.open()
    saved = await store.load(session)
    await store.close()
    assert saved is not None
    lost = recover(saved.events, 0.0)
    expect(not lost or not over, f"expected every run with its receipt in the store, got {saved.events}")
    check_log(saved.events, over=over)


@asynccontextmanager
async def leaving(folder: Path) -> AsyncGenerator[Case]:
    """The server ends at any step of a run."""
    base = Base()

    async def case(k: int) -> bool:
        notes, leave = Notes(), asyncio.Event()
        async with Sessions(playing(several, notes), SETTINGS, store=file(folder)) as sessions:
            session, _ = await sessions.create("me")
            await session.say("go")
            steps().arm(k, leave.set)
            while session.busy and not leave.is_set():
                waiting = asyncio.create_task(session.log.wait(session.log.tail))
                left = asyncio.create_task(leave.wait())
                await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                left.cancel()
            steps().disarm()
        interrupted = any(isinstance(event, Interrupted) for event in session.log.read(0))
        check_log(session.log.read(0), over=True)
        await base.again()
        await check_store(folder, session.id, over=True)
        return not interrupted

    yield case


@asynccontextmanager
async def left_in_haste(folder: Path) -> AsyncGenerator[Case]:
    """The end of the server is cancelled: it ends all the same, and keeps nothing."""
    base = Base()

    async def case(k: int) -> bool:
        notes = Notes()
        sessions = Sessions(playing(several, notes), SETTINGS, store=file(folder))
        await sessions.__aenter__()
        session, _ = await sessions.create("me")
        await session.say("go")
        whole = await cancelled_after(k + 1, sessions.__aexit__(None, None, None))  # it begins where it is left
        await base.again()
        check_log(session.log.read(0), over=whole)
        await check_store(folder, session.id, over=whole)
        return whole

    yield case


@asynccontextmanager
async def drained(_: Path) -> AsyncGenerator[Case]:
    """A drain is cancelled: the next one goes on with it, and everybody is told."""
    base = Base()

    async def case(k: int) -> bool:
        notes = Notes()
        app = build_app(playing(several, notes), SETTINGS)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(app))
            client = await stack.enter_async_context(connect(app))
            await client.send({"message": "go"})
            await client.until("accepted")
            whole = await cancelled_after(k, app.state.gateway.drain())
            again = asyncio.create_task(app.state.gateway.drain())
            with suppress(Closed):
                while True:
                    await client.receive()
            await again
        expect(client.frames[-1]["type"] == "error", f"expected the client to be told, got {client.frames[-1]}")
        expect([f["type"] for f in client.frames].count("settled") == 1, f"expected a receipt, got {client.frames}")
        await base.again()
        return whole

    yield case


@asynccontextmanager
async def agent_closed(_: Path) -> AsyncGenerator[Case]:
    """An agent that holds a connection to its provider is closed, and that is cancelled."""
    async with Provider() as provider:
        os.environ |= {"ANTHROPIC_BASE_URL": provider.url, "ANTHROPIC_API_KEY": "key"}
        base = Base()

        async def case(k: int) -> bool:
            model = Anthropic()
            async with Sessions(model, Settings()) as sessions:
                session, _ = await sessions.create("me")
                await session.say("hi")
                while session.busy:
                    await session.log.wait(session.log.tail)
            expect(provider.open == 1, f"expected a connection to be kept, got {provider.open}")
            whole = await cancelled_after(k + 1, model.aclose())
            await provider.until(lambda: provider.open == 0)
            await base.again()
            return whole

        try:
            yield case
        finally:
            del os.environ["ANTHROPIC_BASE_URL"], os.environ["ANTHROPIC_API_KEY"]


SCENES = (
    Scene("server ends", leaving),
    Scene("server's end cancelled", left_in_haste),
    Scene("drain cancelled", drained, virtual=True),
    Scene("agent's end cancelled", agent_closed),
)
