"""The loop that asks a model and runs its calls: what it asks for, and when it ends. The models here are scripts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, cast

import pytest
from msgspec import Struct

from agent_ws.agents.loop import MAX_STEPS, PAUSED, REFUSED, Model, ModelAgent, Options, Reply, Said, Told
from agent_ws.attempts import Retry
from agent_ws.errors import RunError
from agent_ws.events import Done, Error, Event, Status, ToolResult, ToolRun, User
from agent_ws.fold import RunView, runs
from agent_ws.history import Message, Text, ToolOutput, ToolUse
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.tools import Asked, Tool, tool
from agent_ws.turn import Turn

pytestmark = pytest.mark.virtual(seeds=3)

BUSY = RunError("Busy.", code="provider_error")
DOWN = RunError("Down.", code="provider_error", retry=False)


class Call(Struct, frozen=True):
    """A call in a script. input: None, it can't be read."""

    name: str
    input: dict[str, Any] | None = {}


class Answer(Struct, frozen=True):
    """A message in a script: text, then calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    stop_reason: str = "end_turn"


class Scripted(ModelAgent):
    """A model that plays one step for each request; after the last it says "ok"."""

    def __init__(self, name: str, *steps: Answer | RunError | asyncio.Event, **options: Any) -> None:
        self.name = name
        self.asked: list[tuple[tuple[Told, ...], list[str]]] = []
        """What each request had: messages and names of tools."""
        self._steps = list(steps)
        super().__init__(**cast("Options", options))

    async def stream(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        self.asked.append((tuple(messages), [each.name for each in tools]))
        step = self._steps.pop(0) if self._steps else Answer("ok")
        while isinstance(step, asyncio.Event):
            await step.wait()
            step = self._steps.pop(0)
        if isinstance(step, RunError):
            turn.content("half of ")
            turn.begin_tool("cut off")
            raise step
        turn.content(step.text)
        ids = [turn.begin_tool(call.name) for call in step.calls]
        parts = (
            *((Text(step.text),) if step.text else ()),
            *(ToolUse(id, call.name, call.input) for id, call in zip(ids, step.calls, strict=True)),
        )
        calls = tuple(
            Asked(id, call.name, call.input, "" if call.input is not None else "it is broken")
            for id, call in zip(ids, step.calls, strict=True)
        )
        return Reply(Said(Message("assistant", parts), self, step.text), calls, step.stop_reason)

    async def complete(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        del turn, messages, tools
        raise DOWN


ONCE = Retry(attempts=1, whole=0)


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    await asyncio.sleep(b)
    return a + b


async def settled(session: Session) -> list[Event]:
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(model: Scripted) -> RunView:
    """One question in a session of its own."""
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        (view,) = runs(await settled(session))
        return view


def plain(messages: Sequence[Told]) -> list[tuple[Any, ...]]:
    """Messages without ids."""
    made: list[tuple[Any, ...]] = []
    for each in messages:
        message = each.message if isinstance(each, Said) else each
        parts: list[Any] = []
        for part in message.parts:
            match part:
                case Text(text=text):
                    parts.append(text)
                case ToolUse(name=name, input=value):
                    parts.append((name, value))
                case ToolOutput(output=output, ok=ok):
                    parts.append((output, ok))
        made.append((message.role, *parts))
    return made


async def test_calls_run_together_and_their_results_are_told_in_order() -> None:
    calls = (Call("add", {"a": 1, "b": 3}), Call("add", {"a": 1, "b": 1}), Call("add", {"a": 1, "b": 2}))
    model = Scripted("m", Answer("Let me see.", calls), Answer("Done."), tools=[add])
    view = await ask(model)
    assert plain(model.asked[1][0]) == [
        ("user", "hi"),
        ("assistant", "Let me see.", *(("add", call.input) for call in calls)),
        ("user", ("4", True), ("2", True), ("3", True)),
    ]
    said = model.asked[1][0][1]
    assert isinstance(said, Said)
    results = model.asked[1][0][2]
    assert isinstance(results, Message)
    uses = [part.id for part in said.message.parts if isinstance(part, ToolUse)]
    assert [part.id for part in results.parts if isinstance(part, ToolOutput)] == uses
    assert asyncio.get_running_loop().time() == 3.0
    assert [event.output for event in view.events if isinstance(event, ToolResult)] == ["2", "3", "4"]
    assert view.text() == "Let me see.Done."
    assert [names for _, names in model.asked] == [["add"], ["add"]]


async def test_a_call_that_can_not_be_read_is_told_so() -> None:
    model = Scripted("m", Answer(calls=(Call("add", None), Call("nothing"))), tools=[add])
    view = await ask(model)
    (_, unread), (_, unknown) = [(part.ok, part.output) for part in results(model)]
    assert "it is broken" in unread
    assert "no tool 'nothing'; there are: add" in unknown
    assert not any(isinstance(event, ToolRun) for event in view.events)
    assert view.text() == "ok"


def results(model: Scripted) -> list[ToolOutput]:
    """Of the second request."""
    last = model.asked[1][0][-1]
    assert isinstance(last, Message)
    return [part for part in last.parts if isinstance(part, ToolOutput)]


async def test_a_failed_attempt_leaves_no_call_and_no_text() -> None:
    model = Scripted("m", BUSY, Answer(calls=(Call("add", {"a": 1, "b": 0}),)), BUSY, Answer("ok"), tools=[add])
    view = await ask(model)
    assert view.text() == "ok"
    outcomes = [event.outcome for event in view.events if isinstance(event, ToolResult)]
    assert outcomes == ["withdrawn", "ok", "withdrawn"]
    assert plain(model.asked[2][0]) == plain(model.asked[3][0])


# What the user says meanwhile


async def test_steering_is_told_behind_the_results_and_once_more_at_the_end() -> None:
    gates = asyncio.Event(), asyncio.Event()
    step = Answer("One.", (Call("add", {"a": 1, "b": 0}),))
    model = Scripted("m", gates[0], step, gates[1], Answer("Two."), Answer("Three."), tools=[add])
    async with Sessions(model, Settings(when_busy="steer")) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await session.say("first")
        gates[0].set()
        await asyncio.sleep(1)
        await session.say("second")
        gates[1].set()
        events = await settled(session)
    (view,) = runs(events)
    assert plain(model.asked[1][0])[-1] == ("user", ("1", True), "first")
    assert plain(model.asked[2][0])[-2:] == [("assistant", "Two."), ("user", "second")]
    assert view.text() == "One.Two.Three."
    assert [event.id for event in events if isinstance(event, Status) and event.state == "steered"] == [
        event.id for event in events if isinstance(event, User) and event.steer
    ]


async def test_what_was_said_too_late_becomes_the_next_run() -> None:
    gate = asyncio.Event()
    model = Scripted("m", gate, Answer("One."), max_steps=1)
    async with Sessions(model, Settings(when_busy="steer")) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await session.say("and?")
        gate.set()
        first, second = runs(await settled(session))
    assert (first.text(), second.text()) == ("One.", "ok")


# Where it ends


async def test_the_last_request_has_no_tools() -> None:
    again = Answer("Again.", (Call("add", {"a": 1, "b": 0}),))
    model = Scripted("m", *[again] * 3, tools=[add], max_steps=3)
    view = await ask(model)
    assert [names for _, names in model.asked] == [["add"], ["add"], []]
    assert [event.outcome for event in view.events if isinstance(event, ToolResult)] == ["ok", "ok", "withdrawn"]
    assert isinstance(view.ending, Done)


async def test_there_is_a_last_request_by_default() -> None:
    model = Scripted("m", *[Answer("Again.", (Call("add", {"a": 1, "b": 0}),))] * 2 * MAX_STEPS, tools=[add])
    await ask(model)
    assert len(model.asked) == MAX_STEPS


async def test_a_paused_answer_is_gone_on_with() -> None:
    gate = asyncio.Event()
    model = Scripted("m", gate, Answer("One.", stop_reason=PAUSED), Answer("Two."), Answer("Three."))
    async with Sessions(model, Settings(when_busy="steer")) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await session.say("and?")
        gate.set()
        (view,) = runs(await settled(session))
    assert plain(model.asked[1][0]) == [("user", "hi"), ("assistant", "One.")]
    assert plain(model.asked[2][0])[2:] == [("assistant", "Two."), ("user", "and?")]
    assert view.text() == "One.Two.Three."


async def test_a_refusal_goes_to_the_next_model_and_no_call_of_it_runs() -> None:
    refusal = Answer("How to", (Call("add", {"a": 1, "b": 0}),), REFUSED)
    second = Scripted("second", refusal)
    view = await ask(Scripted("first", refusal, fallback=[second], tools=[add]))
    assert [event.outcome for event in view.events if isinstance(event, ToolResult)] == ["withdrawn"] * 2
    assert [(event.state, event.detail) for event in view.events if isinstance(event, Status)] == [
        ("reset", ""),
        ("fallback", "second"),
    ]
    assert view.text() == "How to"
    assert isinstance(view.ending, Done)
    assert view.ending.stop_reason == REFUSED


async def test_a_model_that_had_to_be_left_is_not_asked_again_in_the_run() -> None:
    call = Answer("", (Call("add", {"a": 1, "b": 0}),))
    third = Scripted("third", call)
    second = Scripted("second", call, DOWN)
    first = Scripted("first", DOWN, fallback=[second, third], tools=[add])
    view = await ask(first)
    assert [len(model.asked) for model in (first, second, third)] == [1, 2, 2]
    assert view.text() == "ok"
    (_, one, *_) = third.asked[1][0]
    assert isinstance(one, Said)
    assert one.maker is second


async def test_the_last_error_ends_the_run() -> None:
    view = await ask(Scripted("m", BUSY, retry=ONCE))
    assert isinstance(view.ending, Error)
    assert (view.ending.code, view.ending.message) == ("provider_error", "Busy.")


async def test_where_all_streams_fail_the_model_is_asked_for_the_whole() -> None:
    model = Scripted("m", BUSY, BUSY, BUSY)
    view = await ask(model)
    assert isinstance(view.ending, Error)
    assert view.ending.message == "Down."
    assert any(event.state == "degraded" for event in view.events if isinstance(event, Status))


# What an agent is given


class Source:
    """A source of tools that tells what became of it."""

    def __init__(self) -> None:
        self.state = "never entered"

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[Sequence[Tool]]:
        self.state = "open"
        try:
            yield [add]
        finally:
            self.state = "left"


async def twice(x: int) -> int:
    """Double it."""
    return 2 * x


async def test_functions_and_sources_become_tools() -> None:
    source = Source()
    other = Scripted("other", tools=[source.entered()])
    model = Scripted("m", Answer(calls=(Call("twice", {"x": 2}),)), tools=[twice], fallback=[other])
    async with model:
        assert source.state == "open"
        await ask(model)
    assert source.state == "left"
    assert [part.output for part in results(model)] == ["4"]


async def test_an_agent_whose_tools_are_not_known_says_what_to_do() -> None:
    model = Scripted("m", tools=[Source().entered()])
    endings = [(await ask(model)).ending]
    async with model:
        await ask(model)
    endings.append((await ask(model)).ending)
    for ending in endings:
        assert isinstance(ending, Error)
        assert "to be entered (`async with`)" in ending.message
    assert len(model.asked) == 1


async def test_a_source_that_fails_leaves_what_was_entered_before_it() -> None:
    source = Source()

    @asynccontextmanager
    async def broken() -> AsyncGenerator[Sequence[Tool]]:
        raise ConnectionError
        yield []

    with pytest.raises(ConnectionError):
        async with Scripted("m", tools=[source.entered(), broken()]):
            pass
    assert source.state == "left"


async def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'add' twice"):
        Scripted("m", tools=[add, add])


class Named(Scripted):
    """One that takes names."""

    def like(self, name: str) -> Model:
        other = copy(self)
        other.name = name
        other.asked = []
        return other


async def test_a_named_fallback_is_entered_and_left_without_the_tools() -> None:
    source = Source()
    model = Named("m", DOWN, Answer("ok"), tools=[source.entered()], fallback=["other"])
    async with model:
        view = await ask(model)
        assert source.state == "open"
    assert source.state == "left"
    assert [event.detail for event in view.events if isinstance(event, Status)][-1] == "other"


async def test_a_name_is_a_fallback_only_where_it_means_something() -> None:
    with pytest.raises(TypeError, match="got the name 'other'"):
        Scripted("m", fallback=["other"])


def test_a_model_agent_is_a_model() -> None:
    model: Model = Scripted("m")
    assert model.name == "m"
