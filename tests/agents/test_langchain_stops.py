"""A Stop in a LangChain runnable or a LangGraph graph, at each step of the event loop: nothing of it goes on.

The one rule: how many steps a scene has is found by going on until it comes to its own end.
"""

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import anthropic
import pytest
from chains import MessagesState, Model, Played, calling, counted, graph_of, line
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt
from provider import Provider, broken_rule, closing, opening, text
from steps import SteppedLoop

from agent_ws.agents.anthropic import converted as for_anthropic
from agent_ws.agents.langchain import LangChain
from agent_ws.agents.langchain.messages import converted
from agent_ws.agents.langchain.watch import BURST, Watch
from agent_ws.agents.scripted import Gate
from agent_ws.errors import Refused
from agent_ws.events import Content, Done, Error, Event, Interrupted, Request, Settled, ToolResult, ToolRun
from agent_ws.history import ToolOutput, history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.testing.agents import AgentSuite, Subject
from agent_ws.testing.invariants import check_log
from agent_ws.tools import Tool
from agent_ws.turn import Turn

MOST = 2_000
"""Steps that a scene can have."""


class World:
    """What a scene's parts say of themselves."""

    def __init__(self) -> None:
        self.models: list[Model] = []
        self.tools = 0
        """Tools that run."""
        self.replies: list[asyncio.Task[None]] = []

    def model(self, *scripts: Any) -> Model:
        self.models.append(Model(scripts=list(scripts)))
        return self.models[-1]

    def tool(self) -> BaseTool:
        @tool
        async def work(n: int) -> int:
            """Work."""
            self.tools += 1
            try:
                for _ in range(3):
                    await asyncio.sleep(0)
                return n
            finally:
                self.tools -= 1

        return work


CALLS = ("Let me see. ", *calling(("work", "c1", '{"n":', "1}"), ("work", "c2", '{"n":', "2}")), counted(3, 4))


def alone(world: World) -> Runnable[Any, Any]:
    return world.model(["a", "b", "c"])


def chain(world: World) -> Runnable[Any, Any]:
    return world.model(["a", "b", "c"]) | StrOutputParser()


def with_tools(world: World) -> Any:
    return graph_of(world.model(CALLS, ["So."]), world.tool())


def kept(world: World) -> Any:
    return graph_of(world.model(CALLS, ["So."]), world.tool(), saver=InMemorySaver())


def nested(world: World) -> Any:
    async def last(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await world.model(["d"]).ainvoke(state["messages"])]}

    return line(with_tools(world), last)


def at_once(world: World) -> Any:
    """Two models in one node, one of which is not heard."""

    async def node(state: MessagesState) -> dict[str, Any]:
        heard = world.model(["a", "b"])
        unheard = world.model(["c", "d", "e"]).with_config(tags=["nostream"])
        said = await asyncio.gather(heard.ainvoke(state["messages"]), unheard.ainvoke(state["messages"]))
        return {"messages": said[:1]}

    return line(node)


def asks(world: World) -> Any:
    async def node(state: MessagesState) -> dict[str, Any]:
        await world.model(["Hm. "]).ainvoke(state["messages"])
        return {"messages": [AIMessage(str(interrupt("Sure?")))]}

    return line(node, saver=InMemorySaver())


def fails(world: World) -> Any:
    return graph_of(world.model(["a", *CALLS[1:2], KeyError("x")]))


class Asking(Model):
    """A model that asks a provider, by its official SDK."""

    client: Any
    scripts: list[Any] = []  # noqa: RUF012 - pydantic copies it

    async def _astream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        said = [{"role": "user", "content": message.text} for message in messages[:1]]
        async with self.client.messages.stream(model="m", max_tokens=9, messages=said) as stream:
            async for piece in stream.text_stream:
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def reply(session: Session, run: str) -> None:
    while session.busy:
        for event in session.log.read(0):
            if isinstance(event, Request) and event.run == run:
                with suppress(Refused):  # it was stopped meanwhile
                    session.reply(event.request, {"text": "yes"})
                return
        await session.log.wait(session.log.tail)


SCENES = {
    "a model": (alone, Done),
    "a chain": (chain, Done),
    "a graph with tools": (with_tools, Done),
    "a graph that keeps its state": (kept, Done),
    "a graph in a graph": (nested, Done),
    "models at once": (at_once, Done),
    "a graph that asks": (asks, Done),
    "a model that fails": (fails, Error),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_stop_at_any_step_leaves_nothing(
    scene: str, record_property: Callable[[str, object], None], caplog: pytest.LogCaptureFixture
) -> None:
    make, alone = SCENES[scene]
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        steps = runner.run(sweep(make, alone))
    gc.collect()  # what was never awaited or closed is told here
    assert not [line for line in caplog.record_tuples if "langchain" in line[0]], "a Stop is no line of the log"
    record_property("facts", f"{scene}: stopped at each of {steps} steps")


async def sweep(make: Callable[[World], Runnable[Any, Any]], alone: type[Done | Error]) -> int:
    """Stop it after each number of steps, until it ends before that."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    for k in range(MOST):
        world = World()
        async with Sessions(LangChain(make(world)), Settings()) as sessions:
            session, _ = await sessions.create("me")
            before = asyncio.all_tasks()
            run = session.take("go").run
            replying = asyncio.create_task(reply(session, run), name="reply")
            loop.steps.arm(k, session.interrupt)
            events = await settled(session)
            stopped = loop.steps.disarm()
            await replying
            check(k, events, world, alone=alone, stopped=stopped)
            for _ in range(3):  # what was let go of, and closes behind: asyncio's own business takes a step
                await asyncio.sleep(0)
            left = {task.get_name() for task in asyncio.all_tasks() - before}
            assert not left, f"after {k} steps: {left}"
            assert not complaints, f"after {k} steps: {complaints}"
            check_log(session.log.read(0), over=True)
            if not stopped:
                return k
    raise AssertionError(f"expected an end within {MOST} steps")


def check(k: int, events: list[Event], world: World, *, alone: type[Done | Error], stopped: bool) -> None:
    """Right after the receipt: nothing is given time to end."""
    (ending,) = (event for event in events if isinstance(event, Done | Error | Interrupted))
    receipt = events[-1]
    assert isinstance(receipt, Settled), f"after {k} steps: {receipt}"
    assert isinstance(ending, (Interrupted, alone) if stopped else alone), f"after {k} steps: {ending}"
    assert receipt.stop_ms < 1000, f"after {k} steps, expected one cancellation to be enough: {receipt}"
    assert [model.open for model in world.models] == [0] * len(world.models), f"after {k} steps a model goes on"
    assert world.tools == 0, f"after {k} steps a tool goes on"
    ran = {event.tool for event in events if isinstance(event, ToolRun)}
    told = {tool for tool, fate in receipt.tools.items() if fate != "never_started"}
    assert told - ran == {e.tool for e in events if isinstance(e, ToolResult) and e.outcome == "withdrawn"} & told
    messages = history(events)
    converted(messages)
    blocks, tools = for_anthropic((*messages, *([] if messages[-1].role == "user" else history(events[:2]))))
    body = {"model": "m", "max_tokens": 1, "stream": True, "messages": blocks}
    assert broken_rule(body | ({"tools": tools} if tools else {})) is None, f"after {k} steps"


def parsed(model: Model) -> Runnable[Any, Any]:
    return model | StrOutputParser()


@pytest.mark.parametrize("of", [parsed, graph_of])
def test_a_stop_at_any_step_closes_the_providers_connection(
    of: Callable[[Any], Any], record_property: Callable[[str, object], None]
) -> None:
    async def sweep() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        async with Provider() as provider:
            provider.otherwise = [*opening(), *text("a", "b", "c"), *closing()]
            async with anthropic.AsyncAnthropic(api_key="key", base_url=provider.url, max_retries=0) as client:
                for k in range(MOST):
                    async with Sessions(LangChain(of(Asking(client=client))), Settings()) as sessions:
                        session, _ = await sessions.create("me")
                        session.take("go")
                        loop.steps.arm(k, session.interrupt)
                        receipt = (await settled(session))[-1]
                        stopped = loop.steps.disarm()
                    assert isinstance(receipt, Settled)
                    assert receipt.stop_ms < 1000, f"after {k} steps: {receipt}"
                    await provider.disconnected()  # what was asked for is answered to its end, or cut off
                    if not stopped:
                        return k
        raise AssertionError(f"expected an end within {MOST} steps")

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        steps = runner.run(sweep())
    gc.collect()
    record_property("facts", f"a provider's connection: stopped at each of {steps} steps")


async def stopped_in(agent: LangChain, reached: threading.Event) -> tuple[Session, Settled]:
    """Stop it once a thread says that it is there. The session is over afterwards, the thread is not."""
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("go")
        assert await asyncio.to_thread(reached.wait, 5)
        session.interrupt()
        receipt = (await settled(session))[-1]
        assert isinstance(receipt, Settled)
        return session, receipt


class Old(BaseTool):
    """A tool of the older kind: one method, which LangChain runs in a thread."""

    name: str = "work"
    description: str = "Work."
    reached: Any
    free: Any

    def _run(self, n: int) -> int:
        self.reached.set()
        assert self.free.wait(5)
        return n


@pytest.mark.parametrize("old", [False, True])
async def test_a_tool_in_a_thread_is_told_to_go_on(*, old: bool) -> None:
    reached, free = threading.Event(), threading.Event()

    @tool
    def work(n: int) -> int:
        """Work."""
        reached.set()
        assert free.wait(5)
        return n

    agent = LangChain(graph_of(Model(scripts=[CALLS[:3]]), Old(reached=reached, free=free) if old else work))
    try:
        session, receipt = await stopped_in(agent, reached)
        assert (receipt.task, list(receipt.tools.values())) == ("cancelled", ["running"])
        told = [part.output for m in history(session.log.read(0)) for part in m.parts if isinstance(part, ToolOutput)]
        assert told == ["[interrupted while running; it could not be stopped and may still finish]"]
    finally:
        free.set()


@pytest.mark.parametrize("of", ["a tool", "a model"])
async def test_a_thread_is_stopped_where_it_next_tells_something(of: str) -> None:
    reached, free, ended = threading.Event(), threading.Event(), threading.Event()
    went: list[str] = []

    @tool
    def inner(n: int) -> int:
        """Be called by the other one."""
        went.append("inner")
        return n

    @tool
    def work(n: int) -> int:
        """Work."""
        try:
            reached.set()
            assert free.wait(5)
            if of == "a tool":
                inner.invoke({"n": n})
            else:
                FakeListChatModel(responses=["x"]).invoke("hi")
            went.append("on")
            return n
        finally:
            ended.set()

    session, _ = await stopped_in(LangChain(graph_of(Model(scripts=[CALLS[:3]]), work)), reached)
    before = len(session.log.read(0))
    free.set()
    assert await asyncio.to_thread(ended.wait, 5)
    assert went == []
    assert len(session.log.read(0)) == before


async def test_a_model_that_never_waits_is_stopped_all_the_same() -> None:
    model = Model(scripts=[["a"] * 100_000], pause=False)
    for agent in (LangChain(model), LangChain(graph_of(model))):
        async with Sessions(agent, Settings()) as sessions:
            session, _ = await sessions.create("me")
            await session.say("go")
            await session.log.wait(session.log.tail)
            session.interrupt()
            receipt = (await settled(session))[-1]
            assert isinstance(receipt, Settled)
            assert receipt.chars < 2 * BURST
            assert receipt.task == "cancelled"


async def test_a_model_that_waits_now_and_then_is_not_held_up() -> None:
    async def agent(turn: Turn) -> None:
        watch = Watch(turn)
        for _ in range(3):
            for _ in range(BURST - 1):
                with pytest.raises(StopIteration):
                    watch.breathe().send(None)  # it does not suspend
            await asyncio.sleep(0)

    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("go")
        assert any(isinstance(event, Done) for event in await settled(session))


class Saver(InMemorySaver):
    """Keeps the states of threads, and notes which were given up."""

    def __init__(self) -> None:
        cast("Any", super()).__init__()
        self.deleted: set[str] = set()

    async def adelete_thread(self, thread_id: str) -> None:
        self.deleted.add(thread_id)
        await super().adelete_thread(thread_id)


async def test_one_of_several_graphs_is_stopped_alone() -> None:
    gate = Gate()
    saver = Saver()
    left = LangChain(graph_of(Model(scripts=[["a", gate, "b"]]), saver=saver))
    right = LangChain(graph_of(Model(scripts=[["c", gate, "d"]]), saver=saver))

    async def both(turn: Turn) -> None:
        await turn.together(left=left, right=right)

    async with Sessions(both, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("go")
        await gate.reached.wait()
        session.stop_part("agent", "left")
        gate.set()
        events = await settled(session)
    said = {
        name: "".join(e.data for e in events if isinstance(e, Content) and e.agent == name)
        for name in ("left", "right")
    }
    assert said == {"left": "a", "right": "cd"}
    assert not saver.storage
    assert len(saver.deleted) == 2, "they share a run and a checkpointer, and must not share a thread"


class TestGraph(AgentSuite):
    hears_ends = False  # LangChain runs a tool in a task of its own, and tells of its end a step later

    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        played = Played()
        theirs = [StructuredTool.from_function(coroutine=cast("Any", one)) for one in tools]
        yield Subject(LangChain(graph_of(played.model, *theirs)), played)


class TestChain(AgentSuite):
    has_tools = False

    @asynccontextmanager
    async def subject(self, *tools: Tool) -> AsyncGenerator[Subject]:
        assert not tools
        played = Played()
        yield Subject(LangChain(played.model | StrOutputParser()), played)
