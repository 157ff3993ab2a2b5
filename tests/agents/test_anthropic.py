"""The agent that asks a model: what it sends, what it makes of the answer, and that a Stop reaches the provider."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import anthropic
import httpx2
import pytest
from asking import KEY, SAID, ask, fresh_logs, leaks, settled, the, words, written
from provider import (
    HANG,
    Cut,
    End,
    Provider,
    Refuse,
    Step,
    answer,
    broken_rule,
    closing,
    opening,
    text,
    thinking,
)

from agent_ws.agents.anthropic import MAX_TOKENS, MODEL, Anthropic, converted, default
from agent_ws.attempts import Retry
from agent_ws.events import Content, Done, Error, Event, Interrupted, Settled, Status, Thinking, ToolStart, Usage
from agent_ws.history import Message, Text, ToolOutput, ToolUse, history
from agent_ws.sessions import Sessions
from agent_ws.settings import Limits, Settings, Timeouts
from agent_ws.turn import Turn

ONCE = Retry(attempts=1, whole=0)
"""What a fault leads to is looked at here; what is done about it, in test_anthropic_tools.py."""


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def model(provider: Provider) -> AsyncGenerator[Anthropic]:
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=provider.url) as client:
        yield Anthropic(client=client, retry=ONCE)


LIBRARIES = ("anthropic", "httpcore2")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """The libraries' loggers as a new process has them."""
    with fresh_logs(LIBRARIES):
        yield


def cached(text: str) -> dict[str, object]:
    """A block of text up to which the provider's cache should hold the request."""
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


# What it makes of an answer


async def test_text_thinking_usage_and_stop_reason_arrive(provider: Provider, model: Anthropic) -> None:
    start = opening(12, 1, cache_read_input_tokens=5, cache_creation_input_tokens=3)
    provider.script(*start, *thinking("Let me ", "see."), *text("Hello", " world", index=1), *closing())
    events = await ask(model)
    assert words(events) == "Hello world"
    assert "".join(event.data for event in events if isinstance(event, Thinking)) == "Let me see."
    usage = Usage(input_tokens=12, output_tokens=40, cache_read_tokens=5, cache_write_tokens=3)
    assert (the(Done, events).usage, the(Done, events).stop_reason) == (usage, "end_turn")
    receipt = the(Settled, events)
    assert (receipt.usage, receipt.upstream_closed, receipt.task) == (usage, True, "finished")
    assert receipt.chars == len("Hello world")


async def test_text_is_streamed_while_the_model_still_writes(provider: Provider, model: Anthropic) -> None:
    gate = asyncio.Event()
    provider.script(*opening(), *text("a"), gate, *text("b", index=1), *closing())
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await written(session, Content)
        assert words(session.log.read(0)) == "a"
        gate.set()
        assert words(await settled(session)) == "ab"


async def test_a_later_total_replaces_the_earlier_one(provider: Provider, model: Anthropic) -> None:
    provider.script(*opening(12), *text("a"), *closing("end_turn", 40, input_tokens=20, cache_read_input_tokens=7))
    usage = the(Done, await ask(model)).usage
    assert usage == Usage(input_tokens=20, output_tokens=40, cache_read_tokens=7)


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "model_context_window_exceeded"])
async def test_other_stop_reasons_are_told(provider: Provider, model: Anthropic, reason: str) -> None:
    provider.script(*opening(), *text("a"), *closing(reason))
    assert the(Done, await ask(model)).stop_reason == reason


async def test_a_refusal_without_a_word_leaves_a_valid_history(provider: Provider, model: Anthropic) -> None:
    provider.script(*opening(), *closing("refusal", 0))
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        for said in ("one", "two"):
            await session.say(said)
            await settled(session)
    blocks = [{"type": "text", "text": "one"}, cached("two")]
    assert provider.requests[1].body["messages"] == [{"role": "user", "content": blocks}]


# What it sends


async def test_the_request_has_what_was_configured_and_nothing_else(provider: Provider) -> None:
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=provider.url) as client:
        await ask(Anthropic("claude-haiku-5-5", "Be kind.", max_tokens=77, thinking=None, client=client))
        await ask(Anthropic(client=client, retry=ONCE))
    messages = [{"role": "user", "content": [cached("hi")]}]
    assert provider.requests[0].body == {
        "model": "claude-haiku-5-5",
        "system": [cached("Be kind.")],
        "max_tokens": 77,
        "messages": messages,
        "stream": True,
    }
    assert provider.requests[1].body == {
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "messages": messages,
        "stream": True,
    }


async def test_it_works_from_environment_variables_alone(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("AGENT_WS_MODEL", "claude-opus-5-5")
    provider.script(*answer("Hello"))
    async with default() as model:
        events = [await ask(model), await ask(model)]
    assert [words(log) for log in events] == ["Hello", "ok"]
    assert [request.body["model"] for request in provider.requests] == ["claude-opus-5-5"] * 2
    assert KEY in provider.requests[0].headers["authorization"]
    assert provider.accepted == 1, "the second run was expected to find the first one's connection"


@pytest.mark.parametrize("place", ["HOME", "ANTHROPIC_CONFIG_DIR"])
async def test_without_a_key_it_says_which_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(place, str(tmp_path))
    async with default() as model:
        events = await ask(model)
    error = the(Error, events)
    assert (error.code, error.message) == ("provider_error", "No API key was found: set ANTHROPIC_API_KEY.")
    assert the(Settled, events).upstream_closed is None
    assert not any(isinstance(event, Status) for event in events), "expected it to give up at once"


async def test_a_client_is_closed_by_who_made_it(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    async with anthropic.AsyncAnthropic() as client:
        async with Anthropic(client=client, retry=ONCE) as model:
            await ask(model)
        assert not client.is_closed()
    async with Anthropic() as model:
        await ask(model)
    await provider.until(lambda: provider.open == 0)


async def test_an_interrupt_with_seen_leaves_a_history_the_provider_takes(provider: Provider, model: Anthropic) -> None:
    provider.script(*opening(), *text("Hello", " world"), HANG)
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("one")
        while words(session.log.read(0)) != "Hello world":
            await session.log.wait(session.log.tail)
        session.interrupt(seen=4)
        await session.say("two")
        events = await settled(session)
    assert words(events).endswith("ok")
    assert provider.requests[1].body["messages"] == [
        {"role": "user", "content": [cached("one")]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hell"}]},
        {"role": "user", "content": [cached("two")]},
    ]


async def test_tool_calls_of_another_agent_are_told_as_the_provider_takes_them(
    provider: Provider, model: Anthropic
) -> None:
    async def clerk(turn: Turn) -> None:
        if turn.message == "continue":
            await model(turn)
            return
        turn.content("Let me look.")
        async with turn.tool("my files.search", "monad", tool="t1") as call:  # the same id in each run
            call.output = " "
        async with asyncio.TaskGroup() as group:
            for tool in ("a b", "c"):
                group.create_task(_never(turn, tool))

    async with Sessions(clerk, Settings()) as sessions:
        session, _ = await sessions.create("me")
        for said in ("one", "two"):
            run = (await session.say(said)).run
            while sum(isinstance(event, ToolStart) and event.run == run for event in session.log.read(0)) < 3:
                await session.log.wait(session.log.tail)
            session.interrupt()
            await settled(session)
        await session.say("continue")
        events = await settled(session)
    assert words(events).endswith("ok")
    (request,) = provider.requests
    assert [tool["name"] for tool in request.body["tools"]] == ["my_files_search", "wait"]
    assert request.body["tool_choice"] == {"type": "none"}
    blocks = [block for message in request.body["messages"] for block in message["content"]]
    assert [block["id"] for block in blocks if block["type"] == "tool_use"] == [f"call_{i}" for i in range(1, 7)]
    assert [block["content"] for block in blocks if block["type"] == "tool_result"][:2] == [
        "[no output]",
        "[interrupted while running]",
    ]


async def _never(turn: Turn, tool: str) -> None:
    async with turn.tool("wait", tool=tool):
        await asyncio.Event().wait()


HISTORIES: dict[str, list[Message]] = {
    "words": [Message("user", (Text("a"),))],
    "blank text between words": [
        Message("user", (Text("a"),)),
        Message("assistant", (Text(" \n"),)),
        Message("user", (Text("b"), Text("\t"))),
    ],
    "inputs that are no objects": [
        Message("user", (Text("a"),)),
        Message("assistant", (ToolUse("1", "f", None), ToolUse("2", "", 7), ToolUse("3", "f" * 99, {"x": 1}))),
        Message("user", (ToolOutput("3", "", ok=False), ToolOutput("1", "x", ok=True), ToolOutput("2", "x", ok=True))),
        Message("user", (Text("b"),)),
    ],
    "the same id in each step": [
        Message("user", (Text("a"),)),
        *[Message("assistant", (ToolUse("t", "f", {}),)), Message("user", (ToolOutput("t", "x", ok=True),))] * 3,
    ],
}


@pytest.mark.parametrize("past", HISTORIES.values(), ids=HISTORIES)
def test_any_history_breaks_no_rule_of_the_provider(past: list[Message]) -> None:
    messages, tools = converted(past)
    assert broken_rule({"model": "m", "max_tokens": 1, "stream": True, "messages": messages, "tools": tools}) is None


# A Stop reaches the provider


STOPS: dict[str, tuple[list[Step], type[Event] | None]] = {
    "before the headers": ([HANG], None),
    "before the first token": ([*opening(), HANG], None),
    "while it thinks": ([*opening(), *thinking("hm"), HANG], Thinking),
    "after the first token": ([*opening(), *text("a")[:-1], HANG], Content),
}


@pytest.mark.parametrize(("steps", "shown"), STOPS.values(), ids=STOPS)
async def test_an_interrupt_closes_the_connection(
    provider: Provider, model: Anthropic, steps: list[Step], shown: type[Event] | None
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
    receipt = the(Settled, events)
    assert (receipt.task, receipt.upstream_closed) == ("cancelled", True)
    assert receipt.stop_ms < 1000, "it needed the second cancellation"
    assert isinstance(the(Interrupted, events), Interrupted)


async def test_a_run_that_is_ended_while_it_writes_closes_the_connection(provider: Provider, model: Anthropic) -> None:
    # Here no cancellation reaches the SDK, which would clean up after one by itself: only `async with` does it.
    provider.script(*opening(), *text("abc", "def"), HANG)
    events = await ask(model, settings=Settings(limits=Limits(run_chars=3)))
    assert the(Error, events).code == "run_too_long"
    assert the(Settled, events).upstream_closed is True
    async with asyncio.timeout(5):
        await provider.requests[0].disconnected.wait()


async def test_one_of_several_agents_is_stopped_alone(provider: Provider, model: Anthropic) -> None:
    gate = asyncio.Event()
    provider.script(*opening(), *text("a"), HANG)
    provider.script(*opening(), *text("b"), gate, *text("c", index=1), *closing())

    async def both(turn: Turn) -> None:
        await turn.together(left=model, right=model)

    async with Sessions(both, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        while sorted(words(session.log.read(0))) != ["a", "b"]:
            await session.log.wait(session.log.tail)
        first = next(event for event in session.log.read(0) if isinstance(event, Content) and event.data == "a")
        assert session.stop_part("agent", first.agent or "")
        async with asyncio.timeout(5):
            await next(
                request for request in provider.requests if request.sent == len(opening()) + 3
            ).disconnected.wait()
        gate.set()
        events = await settled(session)
    assert sorted(words(events)) == ["a", "b", "c"]
    assert isinstance(events[-2], Done)


async def test_an_interrupted_runs_receipt_has_the_usage_that_is_known(provider: Provider, model: Anthropic) -> None:
    provider.script(*opening(12, 1, cache_read_input_tokens=5), *text("a"), HANG)
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        await written(session, Content)
        session.interrupt()
        receipt = the(Settled, await settled(session))
    assert receipt.usage == Usage(input_tokens=12, output_tokens=1, cache_read_tokens=5)


# Faults


PARTIAL = [*opening(), *text("Hel")[:-1]]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": KEY}}
BEFORE: dict[str, tuple[Step, str, str]] = {
    "401": (Refuse(401, "authentication_error"), "provider_error", "The API key was refused: check ANTHROPIC_API_KEY."),
    "402": (Refuse(402, "billing_error"), "provider_error", "check its billing"),
    "403": (Refuse(403, "permission_error"), "provider_error", f"may not use {MODEL}"),
    "404": (Refuse(404, "not_found_error"), "provider_error", f"does not know {MODEL}: check AGENT_WS_MODEL"),
    "408": (Refuse(408, "timeout_error"), "provider_timeout", "did not answer in time"),
    "413": (Refuse(413, "request_too_large"), "provider_error", "too long"),
    "429": (Refuse(429, "rate_limit_error"), "provider_error", "try again later"),
    "429, when": (Refuse(429, "rate_limit_error", {"retry-after": "7"}), "provider_error", "try again in 7 s"),
    "429, odd": (Refuse(429, "rate_limit_error", {"retry-after": KEY}), "provider_error", "try again later"),
    "500": (Refuse(500, "api_error"), "provider_error", "failed (status 500)"),
    "504": (Refuse(504, "timeout_error"), "provider_timeout", "did not answer in time"),
    "529": (Refuse(529, "overloaded_error"), "provider_error", "The model is overloaded"),
    "400": (Refuse(400, "invalid_request_error", {}, f"{SAID} {KEY}"), "provider_error", "refused the request"),
    "400, named": (
        Refuse(400, "invalid_request_error", {}, f"max_tokens: {KEY} > 64000, {SAID}"),
        "provider_error",
        "The provider refused the request (status 400). It names: max_tokens.",
    ),
    "cut": (Cut(), "provider_error", "could not be reached"),
    "reset": (Cut(reset=True), "provider_error", "could not be reached"),
}
MIDWAY: dict[str, tuple[Step, str, str]] = {
    "cut": (Cut(), "provider_error", "broke in mid-answer"),
    "reset": (Cut(reset=True), "provider_error", "broke in mid-answer"),
    "ended early": (End(), "provider_error", "ended the stream in mid-answer"),
    "malformed": (b"event: content_block_delta\ndata: {nope\n\n", "provider_error", "failed (JSONDecodeError)"),
    "misshapen": (
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}},
        "provider_error",
        "failed (KeyError)",
    ),
    "not UTF-8": (b"event: ping\ndata: \xff\n\n", "provider_error", "failed (UnicodeDecodeError)"),
    "overloaded": (OVERLOADED, "provider_error", "The model is overloaded"),
}


@pytest.mark.parametrize(("fault", "code", "message"), BEFORE.values(), ids=BEFORE)
async def test_a_fault_before_the_answer(
    provider: Provider, model: Anthropic, caplog: pytest.LogCaptureFixture, fault: Step, code: str, message: str
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.script(fault)
    events = await ask(model, SAID)
    error = the(Error, events)
    assert error.code == code
    assert message in error.message
    assert the(Settled, events).upstream_closed is True
    assert len(provider.requests) == 1, "the SDK was expected not to retry"
    assert any(record.name == "agent_ws" and "provider" in record.getMessage() for record in caplog.records)
    assert not leaks(events, caplog)


@pytest.mark.parametrize(("fault", "code", "message"), MIDWAY.values(), ids=MIDWAY)
async def test_a_fault_in_mid_answer_keeps_the_text(
    provider: Provider, model: Anthropic, caplog: pytest.LogCaptureFixture, fault: Step, code: str, message: str
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.script(*PARTIAL, fault)
    events = await ask(model, SAID)
    error = the(Error, events)
    assert error.code == code
    assert message in error.message
    assert history(events) == (Message("user", (Text(SAID),)), Message("assistant", (Text("Hel"),)))
    assert the(Settled, events).usage == Usage(input_tokens=12, output_tokens=1)
    assert not leaks(events, caplog)


async def test_a_refused_connection() -> None:
    async with Provider() as gone:
        url = gone.url
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=url) as client:
        events = await ask(Anthropic(client=client, retry=ONCE))
    assert "could not be reached: check the network and ANTHROPIC_BASE_URL" in the(Error, events).message


@pytest.mark.parametrize(
    ("steps", "limits", "code"),
    [
        ([HANG], Timeouts(first_event=1.5), "first_event_timeout"),
        ([*PARTIAL, HANG], Timeouts(silence=0.2), "silence_timeout"),
    ],
    ids=["before the headers", "in mid-answer"],
)
async def test_silence_is_ended_by_the_gateway_and_closes_the_connection(
    provider: Provider, model: Anthropic, steps: list[Step], limits: Timeouts, code: str
) -> None:
    provider.script(*steps)
    events = await ask(model, settings=Settings(timeouts=limits))
    assert the(Error, events).code == code
    assert the(Settled, events).upstream_closed is True
    async with asyncio.timeout(5):
        await provider.requests[0].disconnected.wait()


class Slow(httpx2.AsyncByteStream):
    """A body that times out."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""
        raise httpx2.ReadTimeout("")


@pytest.mark.parametrize("phase", ["connect", "read"])
async def test_a_time_limit_of_the_clients_own(phase: str) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        if phase == "connect":
            raise httpx2.ConnectTimeout("", request=request)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())

    transport = httpx2.MockTransport(respond)
    async with anthropic.AsyncAnthropic(api_key=KEY, http_client=httpx2.AsyncClient(transport=transport)) as client:
        events = await ask(Anthropic(client=client, retry=ONCE))
    assert the(Error, events).code == "provider_timeout"


# Nothing leaks


async def test_no_log_has_the_key_or_what_was_said(
    provider: Provider, model: Anthropic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("agent_ws", "httpx2"):
        caplog.set_level(logging.DEBUG, name)
    provider.script(*answer("Hello"))
    events = await ask(model, SAID)
    assert words(events) == "Hello"
    assert any(record.name == "httpx2" for record in caplog.records)
    assert not leaks(events, caplog)


async def test_the_libraries_debug_logs_are_left_to_who_asks_for_them_and_have_no_key(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for name in LIBRARIES:
        caplog.set_level(logging.DEBUG, name)
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=provider.url) as client:
        await ask(Anthropic(client=client, retry=ONCE), SAID)
    assert {logging.getLogger(name).level for name in LIBRARIES} == {logging.DEBUG}
    assert SAID in caplog.text
    assert KEY not in caplog.text


async def test_a_key_that_is_no_header_is_not_shown(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with anthropic.AsyncAnthropic(api_key=KEY + "\n", base_url=provider.url) as client:
        events = await ask(Anthropic(client=client, retry=ONCE))
    assert the(Error, events).message == "The API key can't be sent: check ANTHROPIC_API_KEY for line breaks."
    assert not leaks(events, caplog)
