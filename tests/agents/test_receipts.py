"""What the receipt of a stopped run says, beside what the provider and the tools have counted themselves."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import anthropic
import openai
import pytest
from backends import ONCE, Chat, Messages, Wire
from chat import ChatProvider
from msgspec import Struct
from provider import Provider, Request, Step

from agent_ws.agents.anthropic import Anthropic
from agent_ws.agents.loop import ModelAgent
from agent_ws.agents.openai import OpenAI
from agent_ws.events import Event, Settled, ToolRun, ToolStart
from agent_ws.events import Request as Question
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.testing.agents import becomes
from agent_ws.tools import Tool, tool

TOKENS = tuple(f"word{n} " for n in range(40))
SETTINGS = Settings(timeouts=Timeouts(grace=2.0, abandon=4.0))


class World(Struct, frozen=True):
    """An agent, its provider, a session."""

    wire: Wire
    session: Session

    @property
    def asked(self) -> Request:
        """The last request."""
        return self.wire.provider.requests[-1]


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def claude(*tools: Tool) -> AsyncGenerator[tuple[ModelAgent, Wire]]:
    async with (
        Provider() as provider,
        anthropic.AsyncAnthropic(api_key="sk-test", base_url=provider.url) as client,
        Anthropic(client=client, tools=tools, retry=ONCE) as agent,
    ):
        yield agent, Messages(provider)


@asynccontextmanager
async def completions(*tools: Tool) -> AsyncGenerator[tuple[ModelAgent, Wire]]:
    async with (
        ChatProvider() as provider,
        openai.AsyncOpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as client,
        OpenAI(client=client, tools=tools, retry=ONCE) as agent,
    ):
        yield agent, Chat(provider)


@pytest.fixture(params=[claude, completions])
def make(request: pytest.FixtureRequest) -> Make:
    @asynccontextmanager
    async def world(*tools: Tool) -> AsyncGenerator[World]:
        async with request.param(*tools) as (agent, wire), Sessions(agent, SETTINGS) as sessions:
            session, _ = await sessions.create("me")
            yield World(wire, session)

    return world


async def comes(session: Session, true: Callable[[list[Event]], bool]) -> list[Event]:
    """The log, once it is as asked."""
    async with asyncio.timeout(10):
        while not true(events := session.log.read(0)):
            await session.log.wait(len(events))
    return events


async def receipt(session: Session) -> Settled:
    events = await comes(session, lambda events: isinstance(events[-1], Settled))
    last = events[-1]
    assert isinstance(last, Settled)
    return last


@pytest.mark.parametrize("sent", [0, 1, 7, len(TOKENS)])
@pytest.mark.parametrize("seen", [None, 0, 5])
async def test_tokens_are_those_that_the_provider_sent(make: Make, sent: int, seen: int | None) -> None:
    async with make() as world:
        held = asyncio.Event()
        script: list[Step] = world.wire.begun(*TOKENS)
        before = len(script) - len(TOKENS)
        world.wire.provider.script(*script[: before + sent], held, *script[before + sent :])
        world.session.take("Go.")
        await world.wire.provider.until(lambda: bool(world.wire.provider.requests))
        await world.wire.provider.until(lambda: world.asked.sent == before + sent)
        said = "".join(TOKENS[:sent])
        await comes(world.session, lambda _: (run := world.session.going) is not None and run.writer.chars == len(said))
        began = time.monotonic()
        world.session.interrupt(seen=seen)
        told = await receipt(world.session)
        assert told.stop_ms <= (time.monotonic() - began) * 1000 + 1
        assert (told.task, told.upstream_closed) == ("cancelled", True)
        assert (told.chunks, told.chars, told.seen) == (
            sent,
            len(said),
            None if seen is None else min(seen, len(said)),
        )
        async with asyncio.timeout(5):
            await world.asked.disconnected.wait()
        assert world.asked.sent == before + sent, "expected nothing to be made for nobody"
        assert (told.usage is None) == (not world.wire.counts_at_once)


async def test_the_time_to_stop_is_the_time_that_it_took(make: Make) -> None:
    @tool
    async def stubborn() -> None:
        """Takes a moment to clean up."""
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(asyncio.sleep(0.12))

    async with make(stubborn) as world:
        world.wire.call(("stubborn", {}))
        world.session.take("Go.")
        await comes(world.session, lambda events: isinstance(events[-1], ToolRun))
        began = time.monotonic()
        world.session.interrupt()
        told = await receipt(world.session)
        assert 115 <= told.stop_ms <= (time.monotonic() - began) * 1000 + 1
        assert told.upstream_closed is True


async def test_each_call_has_the_fate_that_it_had(make: Make) -> None:
    began: set[str] = set()
    free = asyncio.Event()

    @tool
    async def quick() -> str:
        """Is done before the stop."""
        return "done"

    @tool
    async def slow() -> None:
        """Is cancelled by it."""
        began.add("slow")
        await asyncio.Event().wait()

    @tool(on_interrupt="finish")
    async def pays() -> None:
        """Must not be cut short."""
        began.add("pays")
        await free.wait()

    @tool(on_interrupt="detach")
    async def mails() -> None:
        """Nobody waits for it."""
        began.add("mails")
        await asyncio.Event().wait()

    @tool(needs_approval=True)
    async def deletes() -> None:
        """Is never allowed."""
        began.add("deletes")

    tools = {each.name: each for each in (quick, slow, pays, mails, deletes)}
    async with make(*tools.values()) as world:
        nothing: dict[str, str] = {}
        world.wire.call(*((name, nothing) for name in tools))
        world.session.take("Go.")
        events = await comes(world.session, lambda events: any(isinstance(event, Question) for event in events))
        await becomes(lambda: len(began) == 3, lambda: f"expected three calls to run, got {began}")
        names = {event.tool: event.name for event in events if isinstance(event, ToolStart)}
        world.session.interrupt()
        free.set()
        told = await receipt(world.session)
        assert {names[id]: fate for id, fate in told.tools.items()} == {
            "quick": "finished",
            "slow": "cancelled",
            "pays": "finished_after_stop",
            "mails": "running",
            "deletes": "never_started",
        }
        assert "deletes" not in began
