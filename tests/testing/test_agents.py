"""The agents' suite, on a reference agent that keeps every promise and on ones that break one each."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
from msgspec import Struct

from agent_ws.errors import RunError
from agent_ws.history import Message, Text, ToolOutput, ToolUse
from agent_ws.testing.agents import AgentSuite, Subject
from agent_ws.testing.invariants import check_history
from agent_ws.tools import Asked, Tool, named, use_all
from agent_ws.turn import Agent, ToolCall, Turn


class Reply(Struct, frozen=True):
    """What the model does on one request."""

    pieces: tuple[str, ...] = ()
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    end: str = "done"


class Model:
    """A backend in this process: no wire, the same faults."""

    def __init__(self) -> None:
        self.open = 0
        self._replies: deque[Reply] = deque()
        self._heard = ""
        self._fault: Exception | None = None

    def say(self, *pieces: str, bytewise: bool = False) -> None:
        self._replies.append(Reply(tuple("".join(pieces)) if bytewise else pieces))

    def call(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        self._replies.append(Reply(calls=calls))

    def fail(self, *pieces: str) -> None:
        self._replies.append(Reply(pieces, end="fail"))

    def hang(self, *pieces: str) -> None:
        self._replies.append(Reply(pieces, end="hang"))

    def forget(self) -> None:
        self._replies.clear()

    def heard(self) -> str:
        if self._fault is not None:
            raise self._fault
        return self._heard

    async def ask(self, messages: Sequence[Message], write: Callable[[str], None]) -> Reply:
        """One request."""
        try:
            check_history(messages)
        except AssertionError as error:
            self._fault = error
        parts = [part for message in messages for part in message.parts]
        self._heard = " ".join(
            part.text if isinstance(part, Text) else part.output
            for part in parts
            if isinstance(part, Text | ToolOutput)
        )
        reply = self._replies.popleft()
        self.open += 1
        try:
            await asyncio.sleep(0)
            for piece in reply.pieces:
                write(piece)
                await asyncio.sleep(0)
            if reply.end == "hang":
                await asyncio.Event().wait()
            if reply.end == "fail":
                raise RunError("The model failed.", code="provider_error")
        finally:
            self.open -= 1
        return reply


async def converse(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """The reference: ask, run the calls, ask again."""
    messages = list(turn.messages)
    while True:
        async with turn.upstream():
            reply = await model.ask(messages, turn.content)
        if not reply.calls:
            return
        asked = [Asked(turn.begin_tool(name), name, dict(value)) for name, value in reply.calls]
        outputs = await use_all(turn, tools, asked)
        messages += [
            Message("assistant", tuple(ToolUse(call.tool, call.name, call.input) for call in asked)),
            Message("user", tuple(outputs)),
        ]


class TestReference(AgentSuite):
    def subject(self, *tools: Tool) -> AbstractAsyncContextManager[Subject]:
        model = Model()
        return subject(lambda turn: converse(turn, model, named(tools)), model)


@asynccontextmanager
async def subject(agent: Agent, model: Model) -> AsyncGenerator[Subject]:
    yield Subject(agent, model)


async def swallows(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Takes a Stop for nothing."""
    with suppress(asyncio.CancelledError):
        await converse(turn, model, tools)
        return
    await asyncio.sleep(1.2)


async def leaves_open(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Doesn't close what it opened."""
    try:
        await converse(turn, model, tools)
    except asyncio.CancelledError:
        model.open += 1
        raise


async def leaves_a_task(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Goes on beside itself."""
    turn.spawn(asyncio.sleep(20), "left behind")
    await converse(turn, model, tools)


async def hides_failures(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Calls a broken answer a whole one."""
    with suppress(RunError):
        await converse(turn, model, tools)


async def takes_back(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Throws away what the user has seen, because what follows it failed."""
    mark = turn.mark()
    try:
        await converse(turn, model, tools)
    except RunError:
        turn.take_back_to(mark)
        raise


async def forgets(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Tells the model the last message only."""
    async with turn.upstream():
        await model.ask((Message("user", (Text(turn.message),)),), turn.content)
    del tools


async def doubles(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Says things twice."""
    async with turn.upstream():
        await model.ask(turn.messages, lambda piece: (turn.content(piece), turn.content(piece))[0])
    del tools


async def breaks_letters(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Decodes piece by piece."""
    async with turn.upstream():
        await model.ask(turn.messages, lambda piece: turn.content(piece.encode()[:1].decode(errors="replace")))
    del tools


async def runs_in_secret(turn: Turn, model: Model, tools: Mapping[str, Tool]) -> None:
    """Runs its tools without showing them."""
    async with turn.upstream():
        reply = await model.ask(turn.messages, turn.content)
    for name, value in reply.calls:
        await tools[name].bind(dict(value))(turn, ToolCall("t"))
    if reply.calls:
        async with turn.upstream():
            await model.ask(turn.messages, turn.content)


WHOLE, FAILURE = "test_text_comes_whole_and_in_order", "test_a_failure_is_an_error_that_keeps_the_text"
SWEEP = "test_a_stop_at_every_step_of_"
BROKEN: dict[str, tuple[Callable[..., Any], str, dict[str, Any]]] = {
    "swallows": (swallows, SWEEP + "an_answer", {}),
    "leaves a connection open": (leaves_open, SWEEP + "an_answer", {}),
    "leaves a task": (leaves_a_task, WHOLE, {}),
    "hides failures": (hides_failures, SWEEP + "a_failure", {}),
    "takes back what failed": (takes_back, FAILURE, {"pieces": ("Stop ",)}),
    "forgets": (forgets, "test_an_empty_answer_is_an_answer", {}),
    "doubles": (doubles, WHOLE, {}),
    "breaks letters": (breaks_letters, WHOLE, {}),
    "runs in secret": (runs_in_secret, SWEEP + "tools_that_run_at_once", {}),
}
"""An agent, and the test that must tell."""


@pytest.mark.parametrize("name", BROKEN)
def test_the_suite_tells(name: str) -> None:
    agent, test, arguments = BROKEN[name]

    class Suite(AgentSuite):
        def subject(self, *tools: Tool) -> AbstractAsyncContextManager[Subject]:
            model = Model()
            return subject(lambda turn: agent(turn, model, named(tools)), model)

    with pytest.raises(AssertionError):
        getattr(Suite(), test)(**arguments)
