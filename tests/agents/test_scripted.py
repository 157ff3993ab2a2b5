"""The scripted agent: other tests are only as true as it is."""

import asyncio

import pytest

from agent_ws.agents.scripted import Gate, Raise, Scripted, Wait
from agent_ws.errors import AgentError
from agent_ws.events import Content, Done, Error, Event, Interrupted, Settled, ToolResult, ToolStart
from agent_ws.fold import merge
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings

pytestmark = pytest.mark.virtual


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


def words(events: list[Event]) -> list[str]:
    return [event.data for event in merge(events) if isinstance(event, Content)]


async def test_it_plays_text_and_events_in_order() -> None:
    agent = Scripted(["a", "b", ToolStart("t1", "search"), ToolResult("t1", output="3"), "c"])
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        events = await settled(session)
    kinds = [type(event).__name__ for event in merge(events)]
    assert kinds == ["User", "Start", "Content", "ToolStart", "ToolResult", "Content", "Done", "Settled"]
    assert words(events) == ["ab", "c"]


async def test_wait_takes_its_time() -> None:
    async with Sessions(Scripted(["a", Wait(7.5), "b"]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        began = asyncio.get_running_loop().time()
        await session.say("hi")
        await settled(session)
        assert asyncio.get_running_loop().time() - began == pytest.approx(7.5)


async def test_a_gate_tells_that_it_was_reached_and_holds_until_opened() -> None:
    gate = Gate()
    async with Sessions(Scripted(["a", gate, "b"]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await gate.reached.wait()
        assert words(session.log.read(0)) == ["a"]
        gate.set()
        assert words(await settled(session)) == ["ab"]


async def test_it_can_be_interrupted_at_a_gate() -> None:
    gate = Gate()
    async with Sessions(Scripted(["a", gate, "b"]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await gate.reached.wait()
        session.interrupt()
        events = await settled(session)
    assert words(events) == ["a"]
    assert [type(event) for event in events[-2:]] == [Interrupted, Settled]


async def test_raise_fails_the_run() -> None:
    async with Sessions(Scripted(["a", Raise(AgentError("The calendar is not connected."))]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        ending = (await settled(session))[-2]
    assert isinstance(ending, Error)
    assert (ending.code, ending.message) == ("agent_error", "The calendar is not connected.")


async def test_each_message_plays_the_next_script_and_the_last_one_stays() -> None:
    agent = Scripted(["one"], ["two"])
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        for message in ("1", "2", "3"):
            await session.say(message)
            events = await settled(session)
    assert words(events) == ["one", "two", "two"]
    assert [turn.message for turn in agent.turns] == ["1", "2", "3"]
    assert [message.text for message in agent.turns[2].history] == ["1", "one", "2", "two"]
    assert isinstance(events[-2], Done)
