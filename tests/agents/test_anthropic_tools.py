"""The agent that asks a model, where calls of tools are in its answers: what the provider gets to see, request by
request, and what is done about its faults.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import pytest
from msgspec.structs import replace
from provider import (
    HANG,
    Cut,
    End,
    Provider,
    Refuse,
    Step,
    answer,
    calling,
    closing,
    opening,
    signature,
    text,
    thinking,
    whole,
)

from agent_ws.agents.anthropic import Anthropic
from agent_ws.attempts import Retry
from agent_ws.errors import ToolError
from agent_ws.events import (
    Done,
    Error,
    Event,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    ToolStart,
    Usage,
)
from agent_ws.fold import RunView, runs
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.tools import tool

QUICK = Retry(base=0.0)


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def client(provider: Provider) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="key", base_url=provider.url) as client:
        yield client


@tool
async def search(query: str) -> str:
    """Find something."""
    return f"3 hits for {query}"


async def settled(session: Session) -> list[Event]:
    while session.busy:
        await session.log.wait(session.log.tail)
    return session.log.read(0)


async def ask(agent: Anthropic, settings: Settings | None = None) -> RunView:
    """One question in a session of its own."""
    async with Sessions(agent, settings or Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("hi")
        (view,) = runs(await settled(session))
        return view


def of(view: RunView, *kinds: type[Event]) -> list[Any]:
    return [event for event in view.events if isinstance(event, kinds)]


def step(*blocks: list[Step], stop_reason: str = "tool_use") -> list[Step]:
    """One message of these blocks."""
    return [*opening(), *(event for block in blocks for event in block), *closing(stop_reason)]


def messages(provider: Provider, request: int = -1) -> list[dict[str, Any]]:
    """Those of a request, without the marks for the cache."""
    return [
        {
            "role": message["role"],
            "content": [{k: v for k, v in block.items() if k != "cache_control"} for block in message["content"]],
        }
        for message in provider.requests[request].body["messages"]
    ]


# What goes back and forth


async def test_calls_are_shown_as_they_are_written_and_go_back_as_they_came(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.script(
        *step(
            thinking("Let me ", "look."),
            text("Looking.", index=1),
            calling("search", '{"que', 'ry": "a"}', index=2),
            calling("search", '{"query": "b"}', index=3),
        )
    )
    provider.script(*answer("Found."))
    view = await ask(Anthropic(client=client, tools=[search]))
    assert view.text() == "Looking.Found."
    assert "".join(event.data for event in of(view, Thinking)) == "Let me look."
    first, second = (event.tool for event in of(view, ToolStart))
    assert [(event.tool, event.data) for event in of(view, ToolInput)] == [
        (first, '{"que'),
        (first, 'ry": "a"}'),
        (second, '{"query": "b"}'),
    ]
    assert [(event.tool, event.input) for event in of(view, ToolRun)] == [
        (first, {"query": "a"}),
        (second, {"query": "b"}),
    ]
    assert {(event.tool, event.output) for event in of(view, ToolResult)} == {
        (first, "3 hits for a"),
        (second, "3 hits for b"),
    }
    assert messages(provider) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Let me look.", "signature": signature("Let me look.")},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "toolu_search_2", "name": "search", "input": {"query": "a"}},
                {"type": "tool_use", "id": "toolu_search_3", "name": "search", "input": {"query": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": id, "content": output, "is_error": False}
                for id, output in (("toolu_search_2", "3 hits for a"), ("toolu_search_3", "3 hits for b"))
            ],
        },
    ]
    for request in provider.requests:
        assert [each["name"] for each in request.body["tools"]] == ["search"]
        assert request.body["tools"][0]["input_schema"] == search.schema
        assert request.body["tools"][0]["description"] == "Find something."
        assert request.body["tools"][0]["eager_input_streaming"] is True
        assert "tool_choice" not in request.body


def results(provider: Provider, request: int = -1) -> list[tuple[str, bool]]:
    """What the model was told of its calls last: output, and whether it is an error."""
    last = messages(provider, request)[-1]["content"]
    return [(block["content"], block["is_error"]) for block in last if block["type"] == "tool_result"]


UNREADABLE: dict[str, tuple[list[Step], str, str]] = {
    "no JSON": (calling("search", '{"query": ', "oops"), "tool_use", "was expected to be a JSON object"),
    "no object": (calling("search", "[1]"), "tool_use", "was expected to be a JSON object"),
    "half a surrogate": (calling("search", '{"query": "\\ud800"}'), "tool_use", "was expected to be a JSON object"),
    "half a surrogate, unescaped": (
        calling("search", '{"a', "\ud800", '": 1}'),
        "tool_use",
        "expected to be a JSON object",
    ),
    "too deep": (calling("search", "[" * 5000 + "]" * 5000), "tool_use", "was expected to be a JSON object"),
    "cut off": (calling("search", '{"query": "a'), "max_tokens", "cut off, because an answer can have 77 tokens"),
    "cut off before it": (calling("search"), "max_tokens", "cut off, because an answer can have 77 tokens"),
    "cut off by the window": (calling("search", "{"), "model_context_window_exceeded", "cut off"),
}


@pytest.mark.parametrize(("block", "reason", "why"), UNREADABLE.values(), ids=UNREADABLE)
async def test_an_input_that_can_not_be_read_is_told_and_the_run_goes_on(
    provider: Provider, client: anthropic.AsyncAnthropic, block: list[Step], reason: str, why: str
) -> None:
    provider.script(*step(block, stop_reason=reason))
    view = await ask(Anthropic(client=client, tools=[search], max_tokens=77, thinking=None))
    assert view.text() == "ok"
    ((output, is_error),) = results(provider)
    assert is_error
    assert why in output
    assert messages(provider)[1]["content"][0]["input"] == {}
    assert not of(view, ToolRun)


async def test_whole_calls_before_the_one_that_was_cut_off_run(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    @tool
    async def look() -> str:
        """Look around."""
        return "nothing"

    blocks = calling("look"), calling("search", '{"query": "a"}', index=1), calling("search", '{"query": "b', index=2)
    provider.script(*step(*blocks, stop_reason="max_tokens"))
    await ask(Anthropic(client=client, tools=[search, look]))
    (*whole_ones, cut) = results(provider)
    assert whole_ones == [("nothing", False), ("3 hits for a", False)]
    assert cut[1]


async def test_a_call_without_an_input_has_an_empty_one(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    @tool
    async def look() -> None:
        """Look around."""

    provider.script(*step(calling("look"), calling("look", "", index=1)))
    view = await ask(Anthropic(client=client, tools=[look]))
    assert results(provider) == [("[no output]", False)] * 2
    assert [event.input for event in of(view, ToolRun)] == [{}, {}]


async def test_failures_of_tools_are_told(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    @tool
    async def fail(how: str) -> None:
        """Fail."""
        raise ToolError("There is no such file.") if how == "told" else KeyError(how)

    inputs = ('{"how": "told"}', '{"how": "else"}', '{"what": 1}')
    blocks = [calling("fail", each, index=index) for index, each in enumerate(inputs)]
    provider.script(*step(*blocks, calling("gone", "{}", index=3)))
    await ask(Anthropic(client=client, tools=[fail]))
    told, other, misfit, unknown = results(provider)
    assert told == ("There is no such file.", True)
    assert "KeyError" in other[0]
    assert "how" in misfit[0]
    assert "there are: fail" in unknown[0]
    # A tool that isn't there is declared all the same: proxies refuse a call of one that is not.
    assert [each["name"] for each in provider.requests[1].body["tools"]] == ["fail", "gone"]


async def test_what_may_not_go_back_is_left_out(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    blocks: list[list[Step]] = [
        text(" ", index=0),
        [*thinking("cut off", index=1)[:-2], {"type": "content_block_stop", "index": 1}],
        [
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "redacted_thinking", "data": "c2VjcmV0"},
            },
            {"type": "content_block_stop", "index": 2},
        ],
        calling("search", '{"query": "a"}', index=3),
    ]
    provider.script(*step(*blocks))
    await ask(Anthropic(client=client, tools=[search]))
    assert [block["type"] for block in messages(provider)[1]["content"]] == ["redacted_thinking", "tool_use"]


async def test_a_paused_answer_goes_back_as_it_is(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    start: dict[str, Any] = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    used: list[Step] = [
        {"type": "content_block_start", "index": 1, "content_block": start},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"query": "a"}'},
        },
        {"type": "content_block_stop", "index": 1},
    ]
    provider.script(*step(text("Let me see."), used, stop_reason="pause_turn"))
    view = await ask(Anthropic(client=client))
    assert view.text() == "Let me see.ok"
    assert messages(provider)[1:] == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Let me see."}, start | {"input": {"query": "a"}}],
        }
    ]
    assert not of(view, ToolStart)


async def test_a_refusal_goes_to_the_fallback(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(*step(text("How to"), calling("search", '{"query": "x"}', index=1), stop_reason="refusal"))
    view = await ask(Anthropic(client=client, tools=[search], fallback=["claude-opus-5-5"]))
    assert view.text() == "ok"
    assert [request.body["model"] for request in provider.requests] == ["claude-sonnet-5-5", "claude-opus-5-5"]
    assert messages(provider) == messages(provider, 0)
    assert [event.outcome for event in of(view, ToolResult)] == ["withdrawn"]


async def test_another_model_is_told_in_its_own_words_what_the_first_one_did(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    provider.script(*step(thinking("Hm."), calling("search", '{"query": "a"}', index=1)))
    provider.script(Refuse(404, "not_found_error"))
    view = await ask(Anthropic(client=client, tools=[search], fallback=["claude-opus-5-5"]))
    assert view.text() == "ok"
    use = {"type": "tool_use", "id": "call_1", "name": "search", "input": {"query": "a"}}
    assert messages(provider)[1] == {"role": "assistant", "content": [use]}


async def test_after_the_run_the_calls_are_history(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(*step(thinking("Hm."), calling("search", '{"query": "a"}', index=1, id="call_2")))
    async with Sessions(Anthropic(client=client, tools=[search]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("one")
        await settled(session)
        # An id of the provider's that looks like one that is made here.
        provider.script(*step(calling("search", '{"query": "b"}', id="call_1")))
        await session.say("two")
        await settled(session)
    ids = [block["id"] for each in messages(provider) for block in each["content"] if block["type"] == "tool_use"]
    assert ids == ["call_2", "call_1"]
    assert results(provider) == [("3 hits for b", False)]


async def test_usage_adds_up_over_the_steps(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(*step(calling("search", '{"query": "a"}')))
    view = await ask(Anthropic(client=client, tools=[search]))
    assert isinstance(view.ending, Done)
    assert view.ending.usage == Usage(input_tokens=24, output_tokens=80)
    assert view.ending.stop_reason == "end_turn"


# Thinking by hand


async def test_manual_thinking_waits_where_the_last_step_has_none(
    provider: Provider, client: anthropic.AsyncAnthropic
) -> None:
    model = Anthropic(client=client, tools=[search], thinking={"type": "enabled", "budget_tokens": 1024})
    provider.script(*step(thinking("Hm."), calling("search", '{"query": "a"}', index=1)))
    provider.script(HANG)
    async with Sessions(model, Settings()) as sessions:
        session, _ = await sessions.create("me")
        await session.say("one")
        await provider.until(lambda: len(provider.requests) == 2)
        session.interrupt()
        await settled(session)
        await session.say("two")  # the call is in the history, without the thought before it
        await settled(session)
        await session.say("three")
        await settled(session)
    assert ["thinking" in request.body for request in provider.requests] == [True, True, False, True]


# The provider's cache


class Cache:
    """What a provider's cache would hold: the beginnings of requests, up to each block that is marked."""

    LOOK_BACK = 20
    """Blocks before a mark, at whose ends it looks for an older entry."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    def read(self, body: dict[str, Any]) -> int:
        """Take a request. How many of its blocks need not be read again."""
        blocks = [
            *body.get("tools", ()),
            *body.get("system", ()),
            *({**block, "role": each["role"]} for each in body["messages"] for block in each["content"]),
        ]
        plain = [json.dumps({k: v for k, v in block.items() if k != "cache_control"}) for block in blocks]
        marks = [place + 1 for place, block in enumerate(blocks) if "cache_control" in block]
        near = {end for mark in marks for end in range(max(1, mark - self.LOOK_BACK), mark + 1)}
        hit = max((end for end in near if "".join(plain[:end]) in self._held), default=0)
        self._held |= {"".join(plain[:mark]) for mark in marks}
        return hit


@pytest.mark.parametrize("system", [None, "Be kind."])
async def test_what_was_sent_before_is_read_from_the_cache(
    provider: Provider, client: anthropic.AsyncAnthropic, system: str | None
) -> None:
    many = [calling("search", '{"query": "a"}', index=index) for index in range(12)]
    async with Sessions(Anthropic("m", system, client=client, tools=[search]), Settings()) as sessions:
        session, _ = await sessions.create("me")
        for _ in range(3):
            await session.say("hello")
            await settled(session)
        provider.script(*step(*many))  # with the results that is more than a look back spans
        provider.script(*step(*many[:2]))
        await session.say("go")
        await settled(session)
    cache = Cache()
    before = 0
    for request in provider.requests:
        assert cache.read(request.body) == before
        content = sum(len(each["content"]) for each in request.body["messages"])
        before = len(request.body["tools"]) + len(request.body.get("system", ())) + content
    # Another conversation of the same agent begins with the same tools and the same system.
    provider.requests.clear()
    await ask(Anthropic("m", system, client=client, tools=[search]))
    assert cache.read(provider.requests[0].body) >= (1 if system is None else 2)


# Faults: each is tried again, and then another model is asked, and then without streaming


HALF = [*opening(), *text("Hel")[:-1]]
CALL = [*opening(), *calling("search", '{"query": "a"}')]
FAULTS: dict[str, list[Step]] = {
    "429": [Refuse(429, "rate_limit_error", {"retry-after": "0"})],
    "500": [Refuse(500, "api_error")],
    "529": [Refuse(529, "overloaded_error")],
    "overloaded in mid-stream": [*HALF, {"type": "error", "error": {"type": "overloaded_error", "message": "No."}}],
    "cut before the headers": [Cut()],
    "cut in mid-stream": [*HALF, Cut()],
    "reset in mid-stream": [*HALF, Cut(reset=True)],
    "cut behind a call": [*CALL, Cut()],
    "ended too early": [*CALL, End()],
    "malformed event": [*HALF, b"event: content_block_delta\ndata: {nope\n\n"],
    "misshapen event": [*HALF, {"type": "content_block_stop"}, {"type": "message_start"}],
}
HANGS: dict[str, tuple[list[Step], str]] = {
    "hang before the headers": ([HANG], "first_event_timeout"),
    "hang before the first token": ([*opening(), HANG], "first_event_timeout"),
    "hang in mid-stream": ([*HALF, HANG], "silence_timeout"),
    "hang in a call": ([*CALL, HANG], "silence_timeout"),
}


def hasty(code: str, seconds: float, attempts: int = 3) -> Retry:
    """With this limit of time short, and the others long enough for a busy machine."""
    first, silence = (seconds, 10.0) if code == "first_event_timeout" else (10.0, seconds)
    return Retry(attempts=attempts, base=0.0, first=first, silence=silence, whole=10.0)


AGAIN = {
    **{name: (fault, QUICK) for name, fault in FAULTS.items()},
    **{name: (fault, hasty(code, 1.5)) for name, (fault, code) in HANGS.items()},
}


@pytest.mark.parametrize(("fault", "retry"), AGAIN.values(), ids=AGAIN)
async def test_a_fault_is_tried_again(
    provider: Provider, client: anthropic.AsyncAnthropic, fault: list[Step], retry: Retry
) -> None:
    provider.script(*step(calling("search", '{"query": "a"}')))
    provider.script(*fault)
    provider.script(*answer("Found."))
    view = await ask(Anthropic(client=client, tools=[search], retry=retry))
    assert view.text() == "Found."
    assert [(event.state, event.attempt) for event in of(view, Status) if event.state != "reset"] == [("retrying", 2)]
    assert messages(provider) == messages(provider, 1), "the same request was expected"
    ran, *withdrawn = (event.outcome for event in of(view, ToolResult))
    assert ran == "ok"
    assert set(withdrawn) <= {"withdrawn"}
    assert isinstance(view.ending, Done)
    assert view.ending.streamed
    await provider.disconnected()


STAYS = {
    **{name: (fault, Retry(attempts=2, base=0.0)) for name, fault in FAULTS.items()},
    **{name: (fault, hasty(code, 0.3, attempts=2)) for name, (fault, code) in HANGS.items()},
}


@pytest.mark.parametrize(("fault", "retry"), STAYS.values(), ids=STAYS)
async def test_a_fault_that_stays_goes_to_the_next_model_and_then_to_one_piece(
    provider: Provider, client: anthropic.AsyncAnthropic, fault: list[Step], retry: Retry
) -> None:
    for _ in range(4):
        provider.script(*fault)
    provider.script(whole({"type": "text", "text": "Whole."}))
    view = await ask(Anthropic(client=client, tools=[search], fallback=["claude-opus-5-5"], retry=retry))
    assert view.text() == "Whole."
    assert [request.body["model"] for request in provider.requests] == [
        *["claude-sonnet-5-5"] * 2,
        *["claude-opus-5-5"] * 2,
        "claude-sonnet-5-5",
    ]
    assert [request.body["stream"] for request in provider.requests] == [True] * 4 + [False]
    states = [event.state for event in of(view, Status) if event.state != "reset"]
    assert states == ["retrying", "fallback", "retrying", "degraded"]
    assert isinstance(view.ending, Done)
    assert not view.ending.streamed
    await provider.disconnected()


FOR_GOOD = {
    **{name: (fault, Retry(attempts=2, base=0.0, whole=0), "provider_error") for name, fault in FAULTS.items()},
    **{name: (fault, replace(hasty(code, 0.3, attempts=2), whole=0), code) for name, (fault, code) in HANGS.items()},
}


@pytest.mark.parametrize(("fault", "retry", "code"), FOR_GOOD.values(), ids=FOR_GOOD)
async def test_a_fault_for_good_ends_the_run_with_its_code(
    provider: Provider, client: anthropic.AsyncAnthropic, fault: list[Step], retry: Retry, code: str
) -> None:
    provider.otherwise = fault
    view = await ask(Anthropic(client=client, tools=[search], retry=retry))
    assert isinstance(view.ending, Error)
    assert view.ending.code == code
    assert len(provider.requests) == 2
    await provider.disconnected()


@pytest.mark.parametrize(
    ("refusal", "requests"),
    [
        (Refuse(429, "rate_limit_error", {"retry-after": "31"}), 1),
        (Refuse(400, "invalid_request_error"), 1),
        (Refuse(401, "authentication_error"), 1),
        (Refuse(404, "not_found_error"), 1),
        (Refuse(413, "request_too_large"), 1),
        (Refuse(409, "conflict"), 4),
        (Refuse(408, "timeout_error"), 4),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
async def test_what_would_not_help_is_not_done(
    provider: Provider, client: anthropic.AsyncAnthropic, refusal: Refuse, requests: int
) -> None:
    provider.otherwise = [refusal]
    view = await ask(Anthropic(client=client, tools=[search], retry=QUICK))
    assert isinstance(view.ending, Error)
    assert len(provider.requests) == requests


async def test_a_provider_that_asks_to_wait_is_waited_for(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(Refuse(429, "rate_limit_error", {"retry-after-ms": "300"}))
    clock = asyncio.get_running_loop().time
    before = clock()
    view = await ask(Anthropic(client=client, retry=QUICK))
    assert view.text() == "ok"
    assert 0.3 <= clock() - before < 5


async def test_calls_in_one_piece_run_too(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(Refuse(529, "overloaded_error"))
    provider.script(
        whole(
            {"type": "thinking", "thinking": "Hm.", "signature": signature("Hm.")},
            {"type": "text", "text": "Looking. "},
            {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"query": "a"}},
            stop_reason="tool_use",
        )
    )
    retry = Retry(attempts=1, whole=5.0)
    view = await ask(Anthropic(client=client, tools=[search], retry=retry, max_tokens=64_000))
    assert view.text() == "Looking. ok"
    assert results(provider) == [("3 hits for a", False)]
    assert [block["type"] for block in messages(provider)[1]["content"]] == ["thinking", "text", "tool_use"]
    assert [event.data for event in of(view, Thinking)] == ["Hm."]
    assert [request.body["stream"] for request in provider.requests] == [True, False, True]
    assert isinstance(view.ending, Done)
    assert view.ending.usage == Usage(input_tokens=24, output_tokens=41)


async def test_one_piece_has_a_time_limit_of_its_own(provider: Provider, client: anthropic.AsyncAnthropic) -> None:
    provider.script(Refuse(529, "overloaded_error"))
    provider.script(HANG)
    view = await ask(Anthropic(client=client, retry=Retry(attempts=1, whole=0.2)))
    assert isinstance(view.ending, Error)
    assert view.ending.code in ("first_event_timeout", "silence_timeout", "run_timeout")
    await provider.disconnected()


async def test_the_fallback_shares_the_client_and_another_kind_of_model_is_asked_as_well(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    for _ in range(2):
        provider.script(Refuse(404, "not_found_error"))
    other = Anthropic("third", "Be kind.")
    async with Anthropic("first", fallback=["second", other]) as model:
        await ask(model)
    assert [request.body["model"] for request in provider.requests] == ["first", "second", "third"]
    assert provider.accepted == 2
    await provider.until(lambda: provider.open == 0)
