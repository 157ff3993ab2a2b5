"""LangChain runnables and LangGraph graphs as agents: what is shown of them, and that a Stop leaves nothing of them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import pytest
from chains import MessagesState, Model, Whole, calling, counted, graph_of, line
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.types import interrupt

from agent_ws.agents.langchain import LangChain
from agent_ws.agents.langchain.messages import converted
from agent_ws.agents.scripted import Gate
from agent_ws.errors import RunError
from agent_ws.events import (
    Content,
    Done,
    Error,
    Event,
    Interrupted,
    Request,
    Settled,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    ToolStart,
    Usage,
)
from agent_ws.history import Message, Text, ToolOutput, ToolUse, history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.turn import Agent, Turn


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b


async def settled(session: Session) -> list[Event]:
    """The log, once nothing is going."""
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(agent: Agent, said: str = "hi", settings: Settings | None = None) -> list[Event]:
    """One question in a session of its own: its log."""
    async with Sessions(agent, settings or Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say(said)
        return await settled(session)


async def until(session: Session, true: Callable[[Sequence[Event]], object]) -> None:
    """Return when it holds for the log."""
    while not true(session.log.read(0)):
        await session.log.wait(session.log.tail)


def words(events: Sequence[Event], kind: type[Content | Thinking] = Content) -> str:
    return "".join(event.data for event in events if isinstance(event, kind))


def ending(events: Sequence[Event]) -> Event:
    (one,) = (event for event in events if isinstance(event, Done | Interrupted | Error))
    return one


def receipt(events: Sequence[Event]) -> Settled:
    (one,) = (event for event in events if isinstance(event, Settled))
    return one


# What is shown


async def test_a_model_alone_is_an_agent() -> None:
    model = Model(scripts=[["Hel", "lo", counted(12, 3, cache_read=5, cache_creation=4)]])
    events = await ask(LangChain(model), "hi there")
    assert words(events) == "Hello"
    assert [message.content for message in model.asked[0]] == ["hi there"]
    end = ending(events)
    assert isinstance(end, Done)
    assert end.usage == Usage(input_tokens=3, output_tokens=3, cache_read_tokens=5, cache_write_tokens=4)
    assert (receipt(events).upstream_closed, receipt(events).task) == (True, "finished")


def shout(said: str) -> str:
    return said[4:].upper()


def wrap(said: str) -> dict[str, str]:
    return {"answer": said}


def measure(said: AIMessage) -> str:
    return str(len(said.text))


async def test_what_a_chain_comes_to_takes_the_place_of_what_its_model_said() -> None:
    model = Model(scripts=[["Hm, ", "hel", "lo"]])
    prompt = ChatPromptTemplate([("system", "Be kind."), ("placeholder", "{messages}")])
    events = await ask(LangChain(prompt | model | StrOutputParser() | shout))
    assert [event.chars for event in events if isinstance(event, Status)] == [len("Hm, hello")]
    assert shown(events) == "HELLO"
    assert [message.content for message in model.asked[0]] == ["Be kind.", "hi"]


async def test_a_chain_that_gives_more_than_text_is_taken_at_its_models_word() -> None:
    events = await ask(LangChain(Model(scripts=[["hello"]]) | StrOutputParser() | wrap))
    assert words(events) == "hello"
    assert not [event for event in events if isinstance(event, Status)]


def shown(events: Sequence[Event]) -> str:
    """The answer as a client has it in the end."""
    text = ""
    for event in events:
        match event:
            case Content(data=data):
                text += data
            case Status(state="reset", chars=chars):
                text = text[: len(text) - chars]
            case _:
                pass
    return text


def same(model: Model) -> Any:
    return model


async def test_text_is_shown_while_the_model_still_writes() -> None:
    for of in (same, graph_of):
        gate = Gate()
        async with Sessions(LangChain(of(Model(scripts=[["a", gate, "b"]]))), Settings()) as sessions:
            session, _ = await sessions.create("me")
            await session.say("hi")
            await gate.reached.wait()
            assert words(session.log.read(0)) == "a"
            gate.set()
            assert words(await settled(session)) == "ab"


async def test_a_graph_with_tools_shows_every_step() -> None:
    calls = calling(("add", "c1", '{"a": 1,', ' "b": 2}'), ("add", "c2", '{"a": 3,', ' "b": 4}'))
    model = Model(scripts=[["Let me see. ", *calls, counted(10, 5)], ["It is ", "3 and 7.", counted(20, 6)]])
    events = await ask(LangChain(graph_of(model, add)))
    assert words(events) == "Let me see. It is 3 and 7."
    begun = [event for event in events if isinstance(event, ToolStart)]
    assert [(event.name, event.waits) for event in begun] == [("add", True)] * 2
    for event, first, total in zip(begun, (1, 3), ("3", "7"), strict=True):
        mine = [e for e in events if isinstance(e, ToolInput | ToolRun | ToolResult) and e.tool == event.tool]
        assert "".join(e.data for e in mine if isinstance(e, ToolInput)) == f'{{"a": {first}, "b": {first + 1}}}'
        assert [e.input for e in mine if isinstance(e, ToolRun)] == [{"a": first, "b": first + 1}]
        assert [(e.outcome, e.output) for e in mine if isinstance(e, ToolResult)] == [("ok", total)]
    assert [event.detail for event in events if isinstance(event, Status)] == ["agent", "tools", "agent"]
    end = ending(events)
    assert isinstance(end, Done)
    assert end.usage == Usage(input_tokens=30, output_tokens=11)
    assert [type(message) for message in model.asked[1]] == [HumanMessage, AIMessage, ToolMessage, ToolMessage]
    assert set(receipt(events).tools.values()) == {"finished"}


async def test_tools_at_once_are_told_apart_and_each_call_has_its_own_result() -> None:
    gates = {"first": Gate(), "second": Gate()}

    @tool
    async def wait(name: str) -> str:
        """Wait."""
        await gates[name].wait()
        return name

    calls = calling(("wait", "c1", '{"name": ', '"first"}'), ("wait", "c2", '{"name": ', '"second"}'))
    async with Sessions(LangChain(graph_of(Model(scripts=[calls, ["ok"]]), wait)), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await until(session, lambda log: sum(isinstance(event, ToolRun) for event in log) == 2)
        gates["second"].set()
        await until(session, lambda log: any(isinstance(event, ToolResult) for event in log))
        gates["first"].set()
        events = await settled(session)
    runs = {event.tool: event.input["name"] for event in events if isinstance(event, ToolRun)}
    assert [runs[e.tool] for e in events if isinstance(e, ToolResult)] == ["second", "first"]
    assert all(runs[event.tool] == event.output for event in events if isinstance(event, ToolResult))


@pytest.mark.parametrize("id", [None, "c1"])
async def test_calls_without_ids_find_their_tools_by_name(id: str | None) -> None:
    answer = AIMessage("Sum: ", tool_calls=[{"name": "add", "args": {"a": 1, "b": 1}, "id": id}])

    async def node(state: MessagesState) -> dict[str, Any]:
        said = await Whole(answers=[answer]).ainvoke(state["messages"])
        assert isinstance(said, AIMessage)
        return {"messages": [AIMessage(str(await add.ainvoke(said.tool_calls[0]["args"])))]}

    events = await ask(LangChain(line(node)))
    assert words(events) == "Sum: 2"
    assert [type(e) for e in events if isinstance(e, ToolStart | ToolRun | ToolResult)] == [
        ToolStart,
        ToolRun,
        ToolResult,
    ]


async def test_what_a_model_that_cannot_stream_says_comes_in_one_piece() -> None:
    call = AIMessage("Let me see. ", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"}])
    usage: Any = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    model = Whole(answers=[call, AIMessage("3.", usage_metadata=usage)])
    events = await ask(LangChain(graph_of(model, add)))
    assert words(events) == "Let me see. 3."
    assert [e.input for e in events if isinstance(e, ToolRun)] == [{"a": 1, "b": 2}]
    end = ending(events)
    assert isinstance(end, Done)
    assert end.usage == Usage(input_tokens=7, output_tokens=2)


HM = {"reasoning_content": "Hm. "}


async def test_reasoning_is_shown_apart_in_each_form() -> None:
    old = AIMessageChunk(content="", additional_kwargs=HM)
    new = AIMessageChunk(content=[{"type": "reasoning", "reasoning": "So. "}, {"type": "text", "text": "Yes"}])
    for agent in (LangChain(Model(scripts=[[old, new, "."]])), LangChain(graph_of(Model(scripts=[[old, new, "."]])))):
        events = await ask(agent)
        assert (words(events), words(events, Thinking)) == ("Yes.", "Hm. So. ")


async def test_a_call_that_nobody_runs_was_none_and_is_not_told_to_the_next_model() -> None:
    model = Model(scripts=[["Hm.", *calling(("Answer", "c1", '{"score":', " 3}"))]])
    for runnable in (model, graph_without_tools(model)):
        events = await ask(LangChain(runnable))
        assert [event.outcome for event in events if isinstance(event, ToolResult)] == ["withdrawn"]
        assert [type(part) for message in history(events) for part in message.parts] == [Text, Text]


def graph_without_tools(model: Runnable[Any, Any]) -> Any:

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": await model.ainvoke(state["messages"])}

    return line(node)


async def test_a_model_that_is_not_to_be_heard_is_not() -> None:
    router = Model(scripts=[["search", *calling(("route", "c1", "{", "}"))]]).with_config(tags=["nostream"])

    async def node(state: MessagesState) -> dict[str, Any]:
        routed = await router.ainvoke(state["messages"])
        return {"messages": [AIMessage(f"[{len(routed.text)}]")]}

    events = await ask(LangChain(line(node)))
    assert words(events) == "[6]"
    assert not [event for event in events if isinstance(event, ToolStart)]


async def test_what_nodes_return_is_shown_once_and_what_they_were_given_never() -> None:
    class State(MessagesState):
        draft: str

    async def greet(state: State) -> dict[str, Any]:
        return {"messages": [*state["messages"], AIMessage("Good day. ")], "draft": "not for the user"}

    async def repeat(state: State) -> dict[str, Any]:
        return {"messages": [AIMessage(message.content, id=message.id) for message in state["messages"][1:]]}

    agent = LangChain(line(greet, line(repeat), state=State))
    async with Sessions(agent, Settings()) as sessions:
        session, _ = await sessions.create("me")
        for _ in range(2):
            await session.say("hi")
            await settled(session)
        events = session.log.read(0)
    assert words(events) == "Good day. Good day. "


async def test_what_a_node_streams_is_status_or_an_event() -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        assert state
        write = get_stream_writer()
        write("halfway")
        write(Thinking("Hm."))
        write({"of": "its own"})
        return {}

    events = await ask(LangChain(line(node)))
    assert [event.detail for event in events if isinstance(event, Status)] == ["node", "halfway"]
    assert words(events, Thinking) == "Hm."


async def test_tools_that_fail_say_so_to_the_model_and_no_secret_to_the_user() -> None:
    @tool
    async def fail(how: str) -> str:
        """Fail."""
        if how == "said":
            raise ToolException("There is no such city.")
        raise ValueError("SECRET")

    calls = calling(("fail", "c1", '{"how": ', '"said"}'), ("fail", "c2", '{"how": ', '"raised"}'))
    model = Model(scripts=[calls, ["Sorry."]])

    events = await ask(LangChain(graph_of(model, fail, handle_tool_errors=True)))
    results = sorted((event.outcome, event.output) for event in events if isinstance(event, ToolResult))
    assert results == [("error", "There is no such city."), ("error", "[ValueError]")]
    assert words(events) == "Sorry."


async def test_a_tool_in_a_thread_is_told_in_order() -> None:
    @tool
    def look(place: str) -> str:
        """Look."""
        return f"{place}: {threading.get_ident() != main}"

    main = threading.get_ident()
    model = Model(scripts=[["Let me see.", *calling(("look", "c1", '{"place": ', '"here"}'))], ["So."]])
    events = await ask(LangChain(graph_of(model, look)))
    shown = [type(e) for e in events if isinstance(e, Content | ToolStart | ToolRun | ToolResult)]
    assert shown == [Content, ToolStart, ToolRun, ToolResult, Content]
    assert [event.output for event in events if isinstance(event, ToolResult)] == ["here: True"]
    assert set(receipt(events).tools.values()) == {"finished"}


async def test_a_tools_input_that_is_no_json_is_shown_as_text() -> None:
    @tool
    async def keep(what: Any) -> str:
        """Keep."""
        return str(what)

    async def node(state: MessagesState) -> dict[str, Any]:
        assert state
        await keep.ainvoke({"what": Session})
        return {}

    events = await ask(LangChain(line(node)))
    assert [event.input for event in events if isinstance(event, ToolStart)] == [{"what": str(Session)}]


async def test_the_input_and_the_configuration_may_be_the_users_own() -> None:
    class State(TypedDict):
        question: str
        thread: str

    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"thread": config.get("configurable", {})["thread_id"], "note": AIMessage(f"{state['question']}!")}

    saver = InMemorySaver()
    agent = LangChain(
        line(node, state=State, saver=saver),
        input=lambda turn: {"question": turn.message},
        config=lambda turn: {"configurable": {"thread_id": f"kept {turn.message}"}},
    )
    await ask(agent)
    assert list(saver.storage) == ["kept hi"]


async def test_something_that_is_no_text_is_explained() -> None:
    model = Model(scripts=[["{}"]]).with_config(tags=["nostream"])
    end = ending(await ask(LangChain(model | JsonOutputParser())))
    assert isinstance(end, Error)
    assert "expected the runnable to make text or messages, got dict" in end.message


# Questions to the user


async def asking(value: Any, *replies: Any, settings: Settings | None = None) -> tuple[list[Event], InMemorySaver]:
    async def node(state: MessagesState) -> dict[str, Any]:
        assert state
        return {"messages": [AIMessage(str(interrupt(value)))]}

    saver = InMemorySaver()
    async with Sessions(LangChain(line(node, saver=saver)), settings or Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        for reply in replies:
            await until(session, lambda log: any(isinstance(event, Request) for event in log))
            asked = next(event for event in session.log.read(0) if isinstance(event, Request))
            session.reply(asked.request, reply)
        return await settled(session), saver


ASKED: list[tuple[Any, Any, str, str, str]] = [
    ("Who?", {"text": "Bob"}, "question", "Who?", "Bob"),
    ({"pick": [1, 2]}, {"picked": 2}, "question", "", "{'picked': 2}"),
    (
        {"action_requests": [{"name": "rm", "args": {}, "description": "Delete it?"}, {"name": "mv", "args": {}}]},
        {"approved": True},
        "approval",
        "Delete it?\n\nmv",
        "{'decisions': [{'type': 'approve'}, {'type': 'approve'}]}",
    ),
    (
        {"action_requests": [{"name": "rm", "args": {}}]},
        {"approved": False},
        "approval",
        "rm",
        "{'decisions': [{'type': 'reject'}]}",
    ),
]


@pytest.mark.parametrize(("value", "reply", "kind", "prompt", "got"), ASKED)
async def test_a_graphs_interrupt_asks_the_user(value: Any, reply: Any, kind: str, prompt: str, got: str) -> None:
    events, saver = await asking(value, reply)
    (asked,) = (event for event in events if isinstance(event, Request))
    assert (asked.kind, asked.prompt, asked.data) == (kind, prompt, None if isinstance(value, str) else value)
    assert words(events) == got
    assert not saver.storage, "a run's own thread is expected to be deleted"


async def test_a_question_that_nobody_answers_ends_the_run() -> None:
    events, saver = await asking("Who?", settings=Settings(timeouts=Timeouts(reply=0.01)))
    end = ending(events)
    assert isinstance(end, Error)
    assert "nobody answered" in end.message
    assert not saver.storage


async def test_a_tool_that_asks_begins_again_with_the_answer() -> None:
    @tool
    async def book(city: str) -> str:
        """Book."""
        return f"{city}: {interrupt('Sure?')}"

    model = Model(scripts=[calling(("book", "c1", '{"city": ', '"Rome"}')), ["Done."]])
    async with Sessions(LangChain(graph_of(model, book, saver=InMemorySaver())), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await until(session, lambda log: any(isinstance(event, Request) for event in log))
        asked = next(event for event in session.log.read(0) if isinstance(event, Request))
        session.reply(asked.request, {"text": "yes"})
        events = await settled(session)
    results = [(event.outcome, event.output) for event in events if isinstance(event, ToolResult)]
    assert results == [("error", "[stopped to ask the user; it begins again with the answer]"), ("ok", "Rome: yes")]
    assert words(events) == "Done."


# What a graph is told


def test_a_history_becomes_messages_that_every_provider_takes() -> None:
    past = (
        Message("user", (Text("one"),)),
        Message("assistant", (Text("Let me see."), ToolUse("t1", "my tool!", {"q": 1}), ToolUse("t2", "b", None))),
        Message("user", (ToolOutput("t1", "3", ok=True), ToolOutput("t2", "[interrupted]", ok=False))),
        Message("assistant", (ToolUse("t1", "b", [1]),)),
        Message("user", (ToolOutput("t1", "4", ok=True), Text("two"), Text("three"))),
    )
    made = converted(past)
    assert [type(message) for message in made] == [
        HumanMessage,
        AIMessage,
        ToolMessage,
        ToolMessage,
        AIMessage,
        ToolMessage,
        HumanMessage,
    ]
    calls = [call for message in made if isinstance(message, AIMessage) for call in message.tool_calls]
    assert [(call["name"], call["args"], call["id"]) for call in calls] == [
        ("my_tool_", {"q": 1}, "call_1"),
        ("b", {}, "call_2"),
        ("b", {"input": [1]}, "call_3"),
    ]
    results = [message for message in made if isinstance(message, ToolMessage)]
    assert [(message.tool_call_id, message.status) for message in results] == [
        ("call_1", "success"),
        ("call_2", "error"),
        ("call_3", "success"),
    ]
    assert made[-1].content == "two\n\nthree"


# Failures


class Refused(Exception):
    def __init__(self, status: int, after: str | None = None) -> None:
        super().__init__("SECRET")
        self.status_code = status
        self.response = type("Response", (), {"headers": {"retry-after": after} if after else {}})()


class APITimeoutError(Exception):
    pass


class APIConnectionError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "retry", "wait"),
    [
        (Refused(401), "provider_error", False, None),
        (Refused(429, "7"), "provider_error", True, 7.0),
        (Refused(529, "x"), "provider_error", True, None),
        (APITimeoutError("SECRET"), "provider_timeout", True, None),
        (APIConnectionError("SECRET"), "provider_error", True, None),
        (KeyError("SECRET"), None, None, None),
    ],
)
async def test_a_failing_provider_is_explained_without_its_own_words(
    error: Exception, code: str | None, *, retry: bool | None, wait: float | None
) -> None:
    raised: list[Exception] = []
    for agent in (LangChain(Model(scripts=[["a", error]])), LangChain(graph_of(Model(scripts=[["a", error]])))):

        async def watched(turn: Turn, agent: LangChain = agent) -> None:
            try:
                await agent(turn)
            except Exception as failure:
                raised.append(failure)
                raise

        events = await ask(watched)
        end = ending(events)
        assert isinstance(end, Error)
        assert (words(events), end.code) == ("a", code or "agent_error")
        assert "SECRET" not in end.message
        if code is not None:
            assert isinstance(raised[-1], RunError)
            assert (raised[-1].retry, raised[-1].wait) == (retry, wait)
            assert raised[-1].__suppress_context__, "the cause holds the request, and with it the key"


async def test_what_a_failed_attempt_said_is_taken_back_where_another_follows() -> None:
    call = calling(("add", "c1", '{"a": 1', ""))[0]
    model = Model(
        scripts=[["Let me"], ["see. ", AIMessageChunk(content="", additional_kwargs=HM), call, Refused(529)], ["ok"]]
    )
    tried = model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)

    async def first(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def second(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await tried.ainvoke(state["messages"])]}

    events = await ask(LangChain(line(first, second)))
    assert [event.outcome for event in events if isinstance(event, ToolResult)] == ["withdrawn"]
    taken = [(event.chars, event.thinking) for event in events if isinstance(event, Status) and event.state == "reset"]
    assert taken == [(len("see. "), len("Hm. "))]
    assert shown(events) == "Let meok"


async def test_a_model_that_is_not_heard_is_counted() -> None:
    model = Model(scripts=[["no", counted(5, 6)]]).with_config(tags=["nostream"])
    end = ending(await ask(LangChain(model | measure)))
    assert isinstance(end, Done)
    assert end.usage == Usage(input_tokens=5, output_tokens=6)
