"""The agent that asks a model, where calls of tools are in its answers: what the provider gets to see, request by
request, and what is done about its faults.
"""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import pytest
from provider import Provider, Step, answer, calling, closing, opening, signature, text, thinking

from agent_ws.agents.anthropic import Anthropic
from agent_ws.attempts import Retry
from agent_ws.events import Event, Thinking, ToolInput, ToolResult, ToolRun, ToolStart
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
        assert "tool_choice" not in request.body
