"""A model that calls tools, by the official SDK and real sockets, stopped in all that its turn can be in: a stream, a
call, the wait for a permission, the pause before the next attempt, another model, an answer in one piece.

The one rule: the next request is one that the API takes, and tells what really became of each call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import anthropic
import httpx2
from provider import (
    HANG,
    Cut,
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
from agent_ws.agents.loop import Options
from agent_ws.attempts import Retry
from agent_ws.errors import Refused
from agent_ws.events import Event, Fate, Request, ToolResult, ToolStart
from agent_ws.history import FATES
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.tools import Tool, tool
from agent_ws.turn import ToolCall

from .runs import pauses
from .scene import Case, Notes, Scene, driving, expect, playing
from .streams import ProviderTalk

ONCE = Retry(attempts=1, whole=0)


class ModelTalk(ProviderTalk):
    """A talk whose next request is looked at: it has to tell of each call what the tools know."""

    def __init__(self, provider: Provider, *args: Any, **options: Any) -> None:
        super().__init__(provider, *args, **options)
        self._told: list[str] | None = None
        """What has to be told of the calls of the last case, in their order."""

    def _check(self, events: list[Event], *, stopped: bool) -> None:
        results = {event.tool: event for event in events if isinstance(event, ToolResult)}
        calls = [event.tool for event in events if isinstance(event, ToolStart)]
        for call in calls:  # those of which no tool knows
            self._notes.tools.setdefault(call, "never_started")
        super()._check(events, stopped=stopped)
        kept = [call for call in calls if call not in results or results[call].outcome != "withdrawn"]
        for call in set(calls) - set(kept):
            expect(self._notes.tools[call] == "never_started", "expected no call to run that was withdrawn")
        self._told = [self._words(call, results[call]) for call in kept]

    def _words(self, call: str, result: ToolResult) -> str:
        fate = self._notes.tools[call]
        if result.outcome == "interrupted":
            return FATES[cast("Fate", fate)]
        expect((fate == "finished") == (result.outcome == "ok"), f"expected the truth, {fate}, got {result}")
        return result.output

    async def answered(self, session: Session) -> None:
        provider = self._provider
        provider.forget()
        await super().answered(session)
        expect(not provider.broken, f"expected requests that the API takes, got {provider.broken}")
        if self._told is not None:
            blocks = [block for message in self.asked["messages"] for block in message["content"]]
            told = [block["content"] for block in blocks if block["type"] == "tool_result"]
            expect(told == self._told, f"expected the model to be told {self._told}, got {told}")
            self._told = None


def tools(notes: Notes) -> list[Tool]:
    """They note what became of each call."""

    async def worked(call: ToolCall, steps: int) -> str:
        notes.tools[call.tool] = "cancelled"
        await pauses(steps)
        notes.finished(call.tool)
        return f"done in {steps}"

    @tool
    async def work(steps: int, call: ToolCall) -> str:
        return await worked(call, steps)

    @tool(needs_approval=True)
    async def delete(call: ToolCall) -> str:
        return await worked(call, 3)

    return [work, delete]


def steering(session: Session) -> None:
    """Somebody says more, while it streams and while tools run."""
    loop = asyncio.get_running_loop()
    for after in (0.004, 0.012):
        loop.call_later(after, lambda: session.going and session.take("more", when_busy="steer"))


def allowing(session: Session) -> None:
    """Somebody allows whatever is asked, some steps later."""
    loop = asyncio.get_running_loop()
    allowed: set[str] = set()

    def look() -> None:
        for event in session.log.read(0):
            if isinstance(event, Request) and event.request not in allowed:
                allowed.add(event.request)
                with suppress(Refused):  # it was stopped meanwhile
                    session.reply(event.request, {"approved": True})

    session.log.watch(lambda: loop.call_later(0.005, look) and None)


def turn(
    *scripts: Sequence[Step], retry: Retry | None = None, allow: bool = True, steer: bool = False
) -> Callable[[Path], AbstractAsyncContextManager[Case]]:
    """The world of a scene that is one turn of a model. scripts: what the provider answers to its requests. allow:
    somebody allows what is asked; else nobody ever answers. steer: somebody says more meanwhile.
    """

    @asynccontextmanager
    async def world(_: Path) -> AsyncGenerator[Case]:
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with Provider() as provider:

            def begin(session: Session) -> None:
                for script in scripts:
                    provider.script(*script)
                if allow:
                    allowing(session)
                if steer:
                    steering(session)

            async with anthropic.AsyncAnthropic(
                api_key="key", base_url=provider.url, http_client=httpx2.AsyncClient(limits=limits)
            ) as client:
                notes = Notes()
                options: Options = {"tools": tools(notes), "fallback": ["another"], "retry": retry or ONCE}
                model = Anthropic(client=client, **options)
                async with Sessions(playing(driving(model), notes, model), Settings()) as sessions:
                    quiet = not allow or any(HANG in script for script in scripts)
                    yield ModelTalk(provider, sessions, notes, quiet=quiet, begin=begin).case

    return world


def step(*blocks: Sequence[Step]) -> list[Step]:
    """A message that makes calls."""
    return [*opening(), *(event for block in blocks for event in block), *closing("tool_use")]


CALLS = step(
    thinking("Hm."),
    text("Let me", " see.", index=1),
    calling("work", '{"ste', 'ps": 4}', index=2),
    calling("delete", "{}", index=3),
    calling("work", '{"steps": 1}', index=4),
)
WHOLE = whole(
    {"type": "thinking", "thinking": "Hm.", "signature": signature("Hm.")},
    {"type": "text", "text": "Let me see."},
    {"type": "tool_use", "id": "toolu_1", "name": "work", "input": {"steps": 3}},
    stop_reason="tool_use",
)
BUSY = [Refuse(529, "overloaded_error")]
CUT = [*CALLS[:-3], Cut()]
AGAIN = Retry(attempts=2, base=0.02, random=lambda: 0.5, whole=0)
PIECE = Retry(attempts=1, whole=10.0)
LATE = Retry(attempts=2, base=0.02, random=lambda: 0.5, first=0.04, silence=0.04, whole=0)

SCENES = (
    Scene("model that calls tools", turn(CALLS, answer("Done", "."))),
    Scene("model whose call nobody allows", turn(CALLS, allow=False)),
    Scene("model that is steered", turn(CALLS, answer("Done."), steer=True)),
    Scene("model that is asked again", turn(CALLS, BUSY, CUT, BUSY, answer("Done."), retry=AGAIN)),
    Scene("model that is late", turn([*CALLS[:-3], HANG], [HANG], answer("Done."), retry=LATE)),
    Scene("another model", turn(CUT, CALLS, answer("Done."))),
    Scene("model that answers in one piece", turn(BUSY, CUT, [WHOLE], answer("Done."), retry=PIECE)),
)
