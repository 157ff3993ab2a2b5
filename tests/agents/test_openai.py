"""The agent that asks a model by the chat completions API: what it sends, what it makes of the answer, and that a Stop
reaches the provider.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx2
import openai
import pytest
from asking import KEY, SAID, ask, every, fresh_logs, leaks, settled, the, words, written
from chat import (
    DONE,
    ChatProvider,
    answer,
    call,
    closing,
    delta,
    text,
    thought,
    usage,
    whole,
)
from msgspec import Struct
from provider import HANG, Cut, End, Refuse, Step

from agent_ws.agents.openai import MODEL, OpenAI, default
from agent_ws.attempts import Retry
from agent_ws.errors import RunError
from agent_ws.events import (
    Content,
    Done,
    Error,
    Event,
    Interrupted,
    Settled,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Usage,
)
from agent_ws.history import Message, Text, history
from agent_ws.sessions import Sessions
from agent_ws.settings import Limits, Settings, Timeouts
from agent_ws.tools import Tool, tool
from agent_ws.turn import Agent, Turn


@pytest.fixture
async def provider() -> AsyncGenerator[ChatProvider]:
    async with ChatProvider() as provider:
        yield provider


@pytest.fixture
async def client(provider: ChatProvider) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{provider.url}/v1") as client:
        yield client


@pytest.fixture
def model(client: openai.AsyncOpenAI) -> OpenAI:
    return OpenAI(client=client, tools=[look_up, fail], retry=Retry(base=0))


@tool
async def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: the word
    """
    return f"{word} means something"


@tool
async def fail() -> str:
    """Fail."""
    raise ValueError(KEY)


LIBRARIES = ("openai", "httpcore2")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment and the libraries' loggers as a new process has them."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AGENT_WS_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with fresh_logs(LIBRARIES):
        yield


def once(model: OpenAI, tools: Sequence[Tool] = ()) -> Agent:
    """The model asked once, without another attempt."""

    async def agent(turn: Turn) -> None:
        await model.stream(turn, turn.messages, tools)

    return agent


# What it makes of an answer


async def test_text_thinking_usage_and_stop_reason_arrive(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(*thought("Let me ", "see."), *text("Hello", " world"), *closing("stop", usage(12, 40, 5)))
    events = await ask(model)
    assert words(events) == "Hello world"
    assert "".join(event.data for event in every(Thinking, events)) == "Let me see."
    counted = Usage(input_tokens=7, output_tokens=40, cache_read_tokens=5)
    assert (the(Done, events).usage, the(Done, events).stop_reason) == (counted, "end_turn")
    receipt = the(Settled, events)
    assert (receipt.usage, receipt.upstream_closed, receipt.task) == (counted, True, "finished")
    assert receipt.chars == len("Hello world")


async def test_text_is_streamed_while_the_model_still_writes(provider: ChatProvider, model: OpenAI) -> None:
    gate = asyncio.Event()
    provider.script(*text("a"), gate, *text("b"), *closing())
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await written(session, Content)
        assert words(session.log.read(0)) == "a"
        gate.set()
        assert words(await settled(session)) == "ab"


async def test_tools_are_called_and_the_answer_follows(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(
        *thought("hm"),
        *text("Let me see."),
        *call("look_up", '{"word":', ' "monad"}', id="a"),
        *call("fail", id="b", index=1),
        *closing("tool_calls"),
    )
    provider.script(*answer("It is a monoid."))
    events = await ask(model)
    assert words(events) == "Let me see.It is a monoid."
    assert "".join(event.data for event in every(ToolInput, events)) == '{"word": "monad"}'
    assert [event.input for event in every(ToolRun, events)] == [{"word": "monad"}, {}]
    assert [event.outcome for event in every(ToolResult, events)] == ["ok", "error"]
    first, second = (request.body for request in provider.requests)
    assert [made["function"]["name"] for made in first["tools"]] == ["look_up", "fail"]
    assert first["tools"][0]["function"]["parameters"]["required"] == ["word"]
    assert second["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "monad"}'}},
                {"id": "b", "type": "function", "function": {"name": "fail", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "monad means something"},
        {"role": "tool", "tool_call_id": "b", "content": "[the tool failed: ValueError]"},
    ]
    assert the(Done, events).usage == Usage(input_tokens=24, output_tokens=80)


async def test_the_next_run_tells_the_calls_of_the_last_one(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(*call("look_up", '{"word":"x"}', id="a"), *closing("tool_calls"))
    await ask(model, "one", "two")
    assert [message["role"] for message in provider.requests[2].body["messages"]] == [
        *("user", "assistant", "tool"),
        *("assistant", "user"),
    ]


@pytest.mark.parametrize(
    ("reason", "arguments", "told"),
    [
        ("tool_calls", '{"word":', "expected to be a JSON object"),
        ("tool_calls", "[]", "expected to be a JSON object"),
        ("length", '{"word":', "it was cut off"),
    ],
)
async def test_an_input_that_cannot_be_read_is_told_to_the_model(
    provider: ChatProvider, model: OpenAI, reason: str, arguments: str, told: str
) -> None:
    provider.script(*call("look_up", arguments), *closing(reason))
    events = await ask(model)
    assert words(events) == "ok"
    assert the(ToolResult, events).outcome == "error"
    assert not every(ToolRun, events)
    assert told in provider.requests[1].body["messages"][-1]["content"]


async def test_a_cut_answer_has_only_its_last_call_cut(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(*call("look_up", "[]", id="a"), *call("look_up", "[", id="b", index=1), *closing("length"))
    await ask(model)
    first, second = (message["content"] for message in provider.requests[1].body["messages"][-2:])
    assert "JSON object" in first
    assert "cut off" in second


async def test_the_last_bytes_of_an_answer_may_be_missing(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(*text("Hello"), delta("stop"), Cut(reset=True))
    events = await ask(model)
    assert (words(events), the(Done, events).stop_reason) == ("Hello", "end_turn")


async def test_a_burst_lets_others_run(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(b"".join(provider.encoded(delta(content="a")) for _ in range(1000)), *closing())
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await written(session, Content)
        assert len(words(session.log.read(0))) < 100
        assert len(words(await settled(session))) == 1000


# What it sends


async def test_the_request_has_what_was_configured_and_nothing_else(
    provider: ChatProvider, client: openai.AsyncOpenAI
) -> None:
    await ask(OpenAI("gpt-6-luna", "Be kind.", request={"max_completion_tokens": 77}, client=client))
    await ask(OpenAI(client=client))
    ask_ = {"role": "user", "content": "hi"}
    more = {"stream": True, "stream_options": {"include_usage": True}}
    assert [request.body for request in provider.requests] == [
        {
            "model": "gpt-6-luna",
            "messages": [{"role": "system", "content": "Be kind."}, ask_],
            "max_completion_tokens": 77,
            **more,
        },
        {"model": MODEL, "messages": [ask_], **more},
    ]


async def test_it_works_from_environment_variables_alone(
    provider: ChatProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AGENT_WS_MODEL", "qwen")
    provider.script(*answer("Hello"))
    async with default() as model:
        events = [await ask(model), await ask(model)]
    assert [words(log) for log in events] == ["Hello", "ok"]
    assert [request.body["model"] for request in provider.requests] == ["qwen"] * 2
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert provider.accepted == 1, "the second run was expected to find the first one's connection"
    await provider.until(lambda: provider.open == 0)


@pytest.mark.parametrize("told", ["argument", "environment"])
async def test_a_server_of_ones_own_needs_no_key(
    provider: ChatProvider, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    url = f"{provider.url}/v1"
    if told == "environment":
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    async with OpenAI("qwen", base_url=url if told == "argument" else None) as model:
        assert words(await ask(model)) == "ok"
    assert provider.requests[0].headers["authorization"] == "Bearer none"


async def test_without_a_key_and_an_address_it_says_which_variable_to_set() -> None:
    async with default() as model:
        events = await ask(model)
    error = the(Error, events)
    assert error.code == "provider_error"
    assert "set OPENAI_API_KEY, or OPENAI_BASE_URL" in error.message
    assert the(Settled, events).upstream_closed is None
    assert not every(Status, events), "no attempt was expected to help"


def test_a_server_of_ones_own_needs_the_name_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    with pytest.raises(ValueError, match="AGENT_WS_MODEL"):
        default()


async def test_a_client_is_closed_by_who_made_it(provider: ChatProvider, client: openai.AsyncOpenAI) -> None:
    async with OpenAI(client=client) as model:
        await ask(model)
    assert not client.is_closed()
    async with OpenAI(base_url=f"{provider.url}/v1") as model:
        await ask(model)
        assert provider.open == 2
    await provider.until(lambda: provider.open == 1)


async def test_a_client_of_its_own_does_not_try_again_by_itself(provider: ChatProvider) -> None:
    provider.script(Refuse(500, "server_error"))
    async with OpenAI(base_url=f"{provider.url}/v1") as model:
        await ask(once(model))
    assert len(provider.requests) == 1


async def test_an_interrupt_with_seen_leaves_a_history_the_provider_takes(
    provider: ChatProvider, model: OpenAI
) -> None:
    provider.script(*text("Hello", " world"), HANG)
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("one")
        while words(session.log.read(0)) != "Hello world":
            await session.log.wait(session.log.tail)
        session.interrupt(seen=4)
        await session.say("two")
        await settled(session)
    assert provider.requests[1].body["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Hell"},
        {"role": "user", "content": "two"},
    ]


# What servers differ in


def without(name: str) -> Callable[[dict[str, Any]], Refuse | None]:
    """A server that doesn't know a parameter."""
    return lambda body: Refuse(422, "invalid_request_error", {}, f"unknown: {name}") if name in body else None


async def test_a_server_that_does_not_count_is_not_asked_to_again(provider: ChatProvider, model: OpenAI) -> None:
    provider.peculiar = without("stream_options")
    events = await ask(model, "one", "two")
    assert words(events) == "okok"
    assert ["stream_options" in request.body for request in provider.requests] == [True, False, False]
    assert not every(Status, events), "it was expected to be no failure"


async def test_a_model_that_takes_tools_only_without_reasoning_gets_them_so(
    provider: ChatProvider, model: OpenAI, client: openai.AsyncOpenAI
) -> None:
    said = "Function tools with reasoning_effort are not supported. Set reasoning_effort to 'none'."
    refuse = Refuse(400, "invalid_request_error", {}, said)
    provider.peculiar = lambda body: refuse if "tools" in body and body.get("reasoning_effort") != "none" else None
    assert words(await ask(model, "one", "two")) == "okok"
    assert [request.body.get("reasoning_effort") for request in provider.requests] == [None, "none", "none"]
    # Without tools it may reason; and who asks for reasoning and tools is told that both can't be had.
    await ask(OpenAI(client=client))
    events = await ask(OpenAI(client=client, tools=[fail], request={"reasoning_effort": "high"}))
    assert "reasoning_effort" not in provider.requests[3].body
    assert "It names: tools, reasoning_effort." in the(Error, events).message
    assert len(provider.requests) == 5


async def test_a_server_that_wants_the_reasoning_of_each_call_gets_a_blank_one_where_it_is_lost(
    provider: ChatProvider, model: OpenAI
) -> None:
    refuse = Refuse(400, "invalid_request_error", {}, "The `reasoning_content` must be passed back to the API.")

    def peculiar(body: dict[str, Any]) -> Refuse | None:
        made = [message for message in body["messages"] if "tool_calls" in message]
        return None if all("reasoning_content" in message for message in made) else refuse

    provider.peculiar = peculiar
    provider.script(*thought("hm"), *call("look_up", '{"word":"x"}'), *closing("tool_calls"))
    assert words(await ask(model, "one", "two")) == "okok"
    said = [message for message in provider.requests[-1].body["messages"] if "tool_calls" in message]
    assert [message["reasoning_content"] for message in said] == [""]


@pytest.mark.parametrize(("tools", "streamed", "requests"), [([fail], True, 3), ([], True, 2), ([], False, 1)])
async def test_a_refusal_is_asked_away_only_by_what_could_mend_it(
    provider: ChatProvider,
    client: openai.AsyncOpenAI,
    tools: list[Tool],
    requests: int,
    *,
    streamed: bool,
) -> None:
    said = "stream_options reasoning_effort reasoning_content"
    provider.peculiar = lambda _: Refuse(400, "invalid_request_error", {}, said)

    async def agent(turn: Turn) -> None:
        model = OpenAI(client=client)
        await (model.stream if streamed else model.complete)(turn, turn.messages, tools)

    events = await ask(agent)
    assert the(Error, events).code == "provider_error"
    assert len(provider.requests) == requests


async def test_what_was_learned_of_a_model_is_not_taken_for_another_ones(
    provider: ChatProvider, client: openai.AsyncOpenAI
) -> None:
    refuse = Refuse(400, "invalid_request_error", {}, "reasoning_effort")
    provider.peculiar = lambda body: refuse if body["model"] == "one" and "reasoning_effort" not in body else None
    provider.script(Refuse(404, "invalid_request_error"))
    await ask(OpenAI("one", client=client, fallback=["two"], tools=[fail]))
    assert [request.body.get("reasoning_effort") for request in provider.requests] == [None, "none", None]


async def test_another_model_of_the_same_kind_is_a_name(provider: ChatProvider, client: openai.AsyncOpenAI) -> None:
    provider.script(Refuse(404, "invalid_request_error"))
    events = await ask(OpenAI("one", client=client, fallback=["two"]))
    assert words(events) == "ok"
    assert [request.body["model"] for request in provider.requests] == ["one", "two"]
    assert the(Status, events).state == "fallback"


async def test_what_another_model_said_in_this_run_is_told_in_no_providers_own_form(
    provider: ChatProvider, client: openai.AsyncOpenAI
) -> None:
    provider.script(*thought("hm"), *text("a"), *call("look_up", '{ "word": "x" }', id="a"), *closing("tool_calls"))
    provider.script(Refuse(404, "invalid_request_error"))
    await ask(OpenAI("one", client=client, fallback=["two"], tools=[look_up]))
    assert provider.requests[2].body["messages"][1] == {
        "role": "assistant",
        "content": "a",
        "tool_calls": [
            {"id": "call00001", "type": "function", "function": {"name": "look_up", "arguments": '{"word":"x"}'}}
        ],
    }


# A Stop reaches the provider


STOPS: dict[str, tuple[list[Step], type[Event] | None]] = {
    "before the headers": ([HANG], None),
    "before the first token": ([delta(role="assistant", content=""), HANG], None),
    "while it thinks": ([*thought("hm"), HANG], Thinking),
    "after the first token": ([*text("a"), HANG], Content),
    "while it writes a call": ([*call("look_up", '{"word"'), HANG], ToolInput),
    "behind its last token": ([*text("a"), delta("stop"), HANG], Content),
}


@pytest.mark.parametrize(("steps", "shown"), STOPS.values(), ids=STOPS)
async def test_an_interrupt_closes_the_connection(
    provider: ChatProvider, model: OpenAI, steps: list[Step], shown: type[Event] | None
) -> None:
    provider.script(*steps)
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await provider.until(lambda: bool(provider.requests) and provider.requests[0].sent == len(steps) - 1)
        if shown is not None:
            await written(session, shown)
        session.interrupt()
        events = await settled(session)
        async with asyncio.timeout(5):
            await provider.requests[0].disconnected.wait()
        await session.say("and?")
        await settled(session)  # the provider takes what it is told of the rest
    receipt = the(Settled, events)
    assert (receipt.task, receipt.upstream_closed) == ("cancelled", True)
    assert receipt.stop_ms < 1000, "it needed the second cancellation"
    assert set(receipt.tools.values()) <= {"never_started"}
    assert isinstance(the(Interrupted, events), Interrupted)


async def test_a_run_that_is_ended_while_it_writes_closes_the_connection(provider: ChatProvider, model: OpenAI) -> None:
    # Here no cancellation reaches the SDK, which would clean up after one by itself: only `async with` does it.
    provider.script(*text("abc", "def"), HANG)
    events = await ask(model, settings=Settings(limits=Limits(run_chars=3)))
    assert the(Error, events).code == "run_too_long"
    assert the(Settled, events).upstream_closed is True
    async with asyncio.timeout(5):
        await provider.requests[0].disconnected.wait()


async def test_an_interrupted_runs_receipt_has_the_usage_that_is_known(provider: ChatProvider, model: OpenAI) -> None:
    provider.script(usage(12, 1), *text("a"), HANG)  # some count as they go
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await written(session, Content)
        session.interrupt()
        receipt = the(Settled, await settled(session))
    assert receipt.usage == Usage(input_tokens=12, output_tokens=1)


# Faults


class Fault(Struct, frozen=True):
    """What happens, and what is told of it."""

    step: Step
    message: str
    code: str = "provider_error"
    retry: bool = True
    wait: float | None = None


def refused(status: int, name: str = "x", said: str = "No.", **headers: str) -> Refuse:
    return Refuse(status, name, {field.replace("_", "-"): value for field, value in headers.items()}, said)


def error(**error: Any) -> Step:
    """An error in a stream."""
    return {"error": error}


BROKE = "The connection to the provider broke."
NOTHING = "answered with nothing: check OPENAI_BASE_URL"
LATE = "did not answer in time"
BEFORE = {
    "401": Fault(refused(401, "invalid_request_error"), "refused: check OPENAI_API_KEY", retry=False),
    "403": Fault(refused(403), f"may not use {MODEL}", retry=False),
    "404": Fault(refused(404), f"know {MODEL}: check AGENT_WS_MODEL and OPENAI_BASE_URL", retry=False),
    "408": Fault(refused(408), LATE, "provider_timeout"),
    "413": Fault(refused(413), "too long", retry=False),
    "400, too long": Fault(refused(400, "exceed_context_size_error"), "too long", retry=False),
    "429": Fault(refused(429, "rate_limit_error"), "try again later"),
    "429, when": Fault(refused(429, retry_after="7"), "try again in 7 s", wait=7.0),
    "429, in ms": Fault(refused(429, retry_after_ms="70"), "try again in 0.07 s", wait=0.07),
    "429, odd": Fault(refused(429, retry_after=KEY), "try again later"),
    "429, no money": Fault(refused(429, "insufficient_quota"), "check its billing", retry=False),
    "500": Fault(refused(500), "failed (status 500)"),
    "503": Fault(refused(503, retry_after="2"), "failed (status 503)", wait=2.0),
    "504": Fault(refused(504), LATE, "provider_timeout"),
    "529": Fault(refused(529), "The model is overloaded"),
    "400": Fault(refused(400, said=f"{SAID} {KEY}"), "refused the request (status 400).", retry=False),
    "400, named": Fault(
        refused(400, said=f"max_completion_tokens: {KEY} > 64000, {SAID}"),
        "refused the request (status 400). It names: max_completion_tokens.",
        retry=False,
    ),
    "cut": Fault(Cut(), BROKE),
    "reset": Fault(Cut(reset=True), BROKE),
    "nothing": Fault(DONE, NOTHING),
    "no stream": Fault(whole(content="x"), NOTHING),
    "an error in the stream": Fault(error(message=KEY, type="overloaded_error"), "The model is overloaded"),
}
MIDWAY = {
    "cut": Fault(Cut(), BROKE),
    "reset": Fault(Cut(reset=True), BROKE),
    "ended early": Fault(End(), "ended the stream in mid-answer"),
    "done early": Fault(DONE, "ended the stream in mid-answer"),
    "malformed": Fault(b"data: {nope\n\n", "failed (JSONDecodeError)"),
    "misshapen": Fault({"choices": ["x"]}, "failed (AttributeError)"),
    "no object": Fault(b"data: []\n\n", "failed (AttributeError)"),
    "not UTF-8": Fault(b"data: \xff\n\n", "failed (UnicodeDecodeError)"),
    "overloaded": Fault(error(message=KEY, type="overloaded_error"), "The model is overloaded"),
    "by number": Fault(error(message="x", code=503), "failed (status 503)"),
    "by name": Fault(error(code="context_length_exceeded", type="x"), "too long", retry=False),
    "by kind": Fault(error(type="invalid_request_error"), "refused the request", retry=False),
    "by nothing": Fault(error(code=7, message=KEY), "failed (status 500)"),
    "by a word": Fault({"error": KEY}, "failed (status 500)"),
}


class Noted:
    """The model asked once; what it raised is kept."""

    def __init__(self, model: OpenAI) -> None:
        self._model = model
        self.error: RunError | None = None

    async def __call__(self, turn: Turn) -> None:
        try:
            await self._model.stream(turn, turn.messages, ())
        except RunError as error:
            self.error = error
            raise


@pytest.fixture
def noted(client: openai.AsyncOpenAI) -> Noted:
    return Noted(OpenAI(client=client, request={"max_completion_tokens": 9}))


@pytest.mark.parametrize("fault", BEFORE.values(), ids=BEFORE)
async def test_a_fault_before_the_answer(
    provider: ChatProvider, noted: Noted, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.script(fault.step)
    events = await ask(noted, SAID)
    told = the(Error, events)
    assert told.code == fault.code
    assert fault.message in told.message
    assert noted.error is not None
    assert (noted.error.retry, noted.error.wait) == (fault.retry, fault.wait)
    assert noted.error.__cause__ is None
    assert the(Settled, events).upstream_closed is True
    assert len(provider.requests) == 1, "the SDK was expected not to retry"
    assert not leaks(events, caplog)


@pytest.mark.parametrize("fault", MIDWAY.values(), ids=MIDWAY)
async def test_a_fault_in_mid_answer(
    provider: ChatProvider, noted: Noted, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.script(*text("Hel"), fault.step)
    events = await ask(noted, SAID)
    told = the(Error, events)
    assert told.code == fault.code
    assert fault.message in told.message
    assert noted.error is not None
    assert noted.error.retry is fault.retry
    assert history(events) == (Message("user", (Text(SAID),)), Message("assistant", (Text("Hel"),)))
    assert not leaks(events, caplog)


@pytest.mark.parametrize("fault", [Refuse(429, "x", {"retry-after": "0"}), Refuse(529, "x"), Cut(), b"data: {\n\n"])
async def test_a_passing_fault_is_asked_away_and_leaves_nothing(
    provider: ChatProvider, model: OpenAI, fault: Step
) -> None:
    provider.script(*([] if isinstance(fault, Refuse) else [*text("Hel"), *call("look_up", '{"w')]), fault)
    provider.script(*answer("Hello"))
    events = await ask(model, "one", "two")
    assert len(every(Done, events)) == 2
    assert provider.requests[2].body["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "two"},
    ]


@pytest.mark.parametrize("steps", [[HANG], [*text("Hel"), HANG]], ids=["before the headers", "in mid-answer"])
async def test_a_silent_provider_is_left_and_asked_again(
    provider: ChatProvider, client: openai.AsyncOpenAI, steps: list[Step]
) -> None:
    provider.script(*steps)
    provider.script(*answer("Hello"))
    events = await ask(OpenAI(client=client, retry=Retry(base=0, first=0.2, silence=0.2)), "one", "two")
    assert len(every(Done, events)) == 2
    async with asyncio.timeout(5):
        await provider.requests[0].disconnected.wait()
    assert provider.requests[2].body["messages"][1]["content"] == "Hello"


async def test_what_cannot_be_streamed_comes_in_one_piece(provider: ChatProvider, model: OpenAI) -> None:
    made = {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": '{"word":"x"}'}}
    for _ in range(3):
        provider.script(*text("Hel"), Cut())
    provider.script(whole("tool_calls", content="Let me see.", tool_calls=[made]))
    events = await ask(model)
    assert the(Done, events).streamed is False
    assert the(ToolResult, events).output == "x means something"
    assert "stream" not in provider.requests[3].body
    assert [message["role"] for message in provider.requests[4].body["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Refuse(500, "x"), "failed (status 500)"),
        (Cut(), "broke"),
        (b"<html>", "AttributeError"),
        (b"", "x"),
    ],
)
async def test_a_fault_of_a_whole_answer(
    provider: ChatProvider, client: openai.AsyncOpenAI, fault: Step, message: str
) -> None:
    async def agent(turn: Turn) -> None:
        await OpenAI(client=client).complete(turn, turn.messages, ())

    provider.script(fault)
    events = await ask(agent)
    assert message in the(Error, events).message
    assert the(Settled, events).upstream_closed is True


async def test_a_refused_connection() -> None:
    async with ChatProvider() as gone:
        url = gone.url
    events = await ask(once(OpenAI(base_url=url)))
    assert "could not be reached: check the network and OPENAI_BASE_URL" in the(Error, events).message


@pytest.mark.parametrize("url", ["localhost:11434/v1", "http://[::1", ""])
async def test_an_address_that_is_none(url: str) -> None:
    events = await ask(once(OpenAI(base_url=url)))
    error = the(Error, events)
    assert error.code == "provider_error"
    assert "OPENAI_BASE_URL" in error.message


@pytest.mark.parametrize(
    ("steps", "limits", "code"),
    [
        ([HANG], Timeouts(first_event=1.5), "first_event_timeout"),
        ([*text("a"), HANG], Timeouts(silence=0.2), "silence_timeout"),
    ],
    ids=["before the headers", "in mid-answer"],
)
async def test_silence_is_ended_by_the_gateway_and_closes_the_connection(
    provider: ChatProvider, model: OpenAI, steps: list[Step], limits: Timeouts, code: str
) -> None:
    provider.script(*steps)
    events = await ask(once(model), settings=Settings(timeouts=limits))
    assert the(Error, events).code == code
    assert the(Settled, events).upstream_closed is True
    async with asyncio.timeout(5):
        await provider.requests[0].disconnected.wait()


class Broken(httpx2.AsyncByteStream):
    """A body that fails."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
        raise self._failure


FAILURES: dict[str, tuple[Exception, bool, str, str]] = {
    "no connection in time": (httpx2.ConnectTimeout(""), True, "provider_timeout", LATE),
    "no connection": (httpx2.ConnectError(""), True, "provider_error", "could not be reached"),
    "no name": (httpx2.ConnectError("[Errno -2] Name or service not known"), True, "provider_error", "reached"),
    "no proxy": (httpx2.ProxyError(""), True, "provider_error", "could not be reached"),
    "no answer in time": (httpx2.ReadTimeout(""), True, "provider_timeout", LATE),
    "no answer": (httpx2.ReadError(""), True, "provider_error", BROKE),
    "no word in time": (httpx2.ReadTimeout(""), False, "provider_timeout", LATE),
    "no further word": (httpx2.ReadError(""), False, "provider_error", BROKE),
    "half a chunk": (httpx2.RemoteProtocolError(""), False, "provider_error", BROKE),
    "no such encoding": (httpx2.DecodingError(""), False, "provider_error", BROKE),
}


@pytest.mark.parametrize(("failure", "before", "code", "message"), FAILURES.values(), ids=FAILURES)
async def test_what_the_transport_fails_with(failure: Exception, code: str, message: str, *, before: bool) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        if before:
            raise failure
        assert request.url.path == "/v1/chat/completions"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Broken(failure))

    transport = httpx2.MockTransport(respond)
    async with openai.AsyncOpenAI(api_key=KEY, http_client=httpx2.AsyncClient(transport=transport)) as client:
        noted = Noted(OpenAI(client=client))
        events = await ask(noted)
    told = the(Error, events)
    assert (told.code, message in told.message) == (code, True)
    assert noted.error is not None
    assert noted.error.retry


# Nothing leaks


async def test_no_log_has_the_key_or_what_was_said(
    provider: ChatProvider, model: OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("agent_ws", "httpx2"):
        caplog.set_level(logging.DEBUG, name)
    provider.script(*answer("Hello"))
    events = await ask(model, SAID)
    assert words(events) == "Hello"
    assert any(record.name == "httpx2" for record in caplog.records)
    assert not leaks(events, caplog)


async def test_the_libraries_debug_logs_are_left_to_who_asks_for_them(
    client: openai.AsyncOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    for name in LIBRARIES:
        caplog.set_level(logging.DEBUG, name)
    await ask(OpenAI(client=client), SAID)
    assert {logging.getLogger(name).level for name in LIBRARIES} == {logging.DEBUG}
    assert KEY not in caplog.text


async def test_a_key_that_is_no_header_is_not_shown(provider: ChatProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with openai.AsyncOpenAI(api_key=KEY + "\n", base_url=f"{provider.url}/v1") as client:
        events = await ask(once(OpenAI(client=client)))
    assert the(Error, events).message == "The API key can't be sent: check OPENAI_API_KEY for line breaks."
    assert not leaks(events, caplog)
