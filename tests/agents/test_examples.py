"""The examples run as they are printed, and keep what the suite of agents asks for.

The one rule: a test stands in for a model or a provider, and for nothing else. An example whose library is not
installed is skipped.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from backends import Chat, Messages
from chat import ChatProvider
from provider import Provider

from agent_ws.events import Content, Event, Request, Settled, ToolResult
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.testing.agents import AgentSuite, Subject, stepped
from agent_ws.testing.steps import SteppedLoop
from agent_ws.tools import Tool
from agent_ws.turn import Agent

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    """The example's module, fresh."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(agent: Agent, said: str = "Where is my order?") -> list[Event]:
    """One question in a session of its own: its log."""
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say(said)
        return await settled(session)


def words(events: list[Event]) -> str:
    return "".join(event.data for event in events if isinstance(event, Content))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_it_is_served(path: Path) -> None:
    assert f"agent-ws serve {path.stem}:agent" in path.read_text()


# The Anthropic SDK


class TestPlainAnthropic(AgentSuite):
    has_tools = False

    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
        self._environment = monkeypatch

    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        assert not tools
        async with Provider() as provider:
            self._environment.setenv("ANTHROPIC_BASE_URL", provider.url)
            module = example("plain_anthropic")
            yield Subject(module.agent, Messages(provider))
            await module.client().close()


# LangGraph


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the place of Claude."""
    pytest.importorskip("langgraph")
    from chains import Played  # noqa: PLC0415 - it needs what may not be installed

    played = Played()

    class ChatAnthropic:
        def __init__(self, **_: object) -> None: ...

        def bind_tools(self, _: object) -> object:
            return played.model

    monkeypatch.setitem(sys.modules, "langchain_anthropic", SimpleNamespace(ChatAnthropic=ChatAnthropic))
    return played


class TestLangGraph(AgentSuite):
    has_tools = False

    @pytest.fixture(autouse=True)
    def stand_in(self, played: Any) -> None:
        self._played = played

    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        assert not tools
        yield Subject(example("langgraph_agent").agent, self._played)


@pytest.mark.parametrize(("said", "done"), [("yes", "Refunded 5.00 euros for order 7."), ("no", "The user said no.")])
async def test_the_graph_asks_before_it_pays(played: Any, said: str, done: str) -> None:
    played.call(("refund", {"order": "7", "euros": 5}))
    played.say("Ready.")
    async with Sessions(example("langgraph_agent").agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("I want my money back.")
        while not (asked := [event for event in session.log.read(0) if isinstance(event, Request)]):
            await session.log.wait(session.log.tail)
        session.reply(asked[0].request, {"text": said})
        events = await settled(session)
    assert asked[0].prompt == "Refund 5.00 euros for order 7? (yes or no)"
    assert [event.output for event in events if isinstance(event, ToolResult)][-1] == done
    assert words(events) == "Ready."


# Pydantic AI


class Function:
    """A model of Pydantic AI's own for tests, as the suite's backend."""

    def __init__(self) -> None:
        from pydantic_ai.models.function import DeltaToolCall, FunctionModel  # noqa: PLC0415 - as above

        self._call = DeltaToolCall
        self.model = FunctionModel(stream_function=self._stream)
        self.open = 0
        self._replies: list[tuple[str, tuple[Any, ...]]] = []
        self._heard: list[Any] = []

    def say(self, *pieces: str, bytewise: bool = False) -> None:
        self._replies.append(("end", tuple("".join(pieces)) if bytewise else pieces or ("",)))

    def call(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        self._replies.append(("end", calls))

    def fail(self, *pieces: str) -> None:
        self._replies.append(("fail", pieces))

    def hang(self, *pieces: str) -> None:
        self._replies.append(("hang", pieces))

    def forget(self) -> None:
        self._replies.clear()

    def heard(self) -> str:
        return " ".join(str(part.content) for message in self._heard for part in message.parts)

    async def _stream(self, messages: list[Any], _: Any) -> AsyncIterator[Any]:
        self._heard = messages
        end, pieces = self._replies.pop(0)
        self.open += 1
        try:
            for n, piece in enumerate(pieces):
                await asyncio.sleep(0)
                if isinstance(piece, str):
                    yield piece
                else:
                    yield {n: self._call(piece[0], json.dumps(dict(piece[1])))}
            if end == "fail":
                raise ConnectionError("SECRET")
            if end == "hang":
                await asyncio.Event().wait()
        finally:
            self.open -= 1


def test_a_stop_at_any_step_ends_pydantic_ai(record_property: Callable[[str, object], None]) -> None:
    """Not by the suite: the library takes an empty answer for a failure, and forgets a task of its own that waits for
    nothing (2.68: at 4 of 69 steps), which is all that may be left.
    """
    pytest.importorskip("pydantic_ai")

    async def sweep() -> int:
        function, module = Function(), example("pydantic_ai_agent")
        before = asyncio.all_tasks()
        with module.support.override(model=function.model):
            for k in range(1000):
                async with Sessions(module.agent, Settings()) as sessions:
                    session, _ = await sessions.create("me")
                    function.forget()
                    function.say("a", "b", "c")
                    session.take("go")
                    stepped().steps.arm(k, session.interrupt)
                    receipt = (await settled(session))[-1]
                    stopped = stepped().steps.disarm()
                    assert isinstance(receipt, Settled)
                    assert receipt.stop_ms < 900, f"after {k} steps, expected one cancellation to be enough: {receipt}"
                    assert function.open == 0, f"after {k} steps the model goes on"
                    function.forget()
                    function.say("ok")
                    await session.say("and?")
                    assert words(await settled(session)).endswith("ok")
                    assert "go" in function.heard()
                for task in asyncio.all_tasks() - before:
                    assert "ScopedTask" in repr(task.get_coro()), f"after {k} steps: {task}"
                    task.cancel()
                if not stopped:
                    return k
        raise AssertionError("expected an end")

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        record_property("facts", f"Pydantic AI: stopped at each of {runner.run(sweep())} steps")


async def test_pydantic_ais_tool_is_shown() -> None:
    pytest.importorskip("pydantic_ai")
    function, module = Function(), example("pydantic_ai_agent")
    function.call(("order_status", {"order": "7"}))
    function.say("On its ", "way.")
    with module.support.override(model=function.model):
        events = await ask(module.agent)
    assert [(e.outcome, e.output) for e in events if isinstance(e, ToolResult)] == [("ok", "Order 7 is on its way.")]
    assert words(events) == "On its way."


# The OpenAI Agents SDK


class TestOpenAIAgents(AgentSuite):
    has_tools = False

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        # Not `agents`: a folder of tests is called that.
        pytest.importorskip("agents.run", reason="openai-agents wants an older websockets than the rest here")

    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        assert not tools
        agents: Any = importlib.import_module("agents")
        async with (
            ChatProvider() as provider,
            openai.AsyncOpenAI(api_key="key", base_url=f"{provider.url}/v1", max_retries=0) as client,
        ):
            agents.set_default_openai_api("chat_completions")
            agents.set_default_openai_client(client)
            agents.set_tracing_disabled(True)
            yield Subject(example("openai_agents_sdk").agent, Chat(provider))
