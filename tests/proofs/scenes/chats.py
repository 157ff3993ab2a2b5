"""A model behind the chat completions API that answers and calls tools, by the official SDK and real sockets.

The one rule: what it is told after a Stop, wherever that came, is what the provider's strict rules allow.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import openai
from chat import ChatProvider, answer, call, closing, text, thought
from provider import HANG, Cut, Event, Refuse, Request, Step

from agent_ws.agents.openai import OpenAI
from agent_ws.attempts import Retry
from agent_ws.events import Done, Error, Interrupted, ToolRun, ToolStart
from agent_ws.events import Event as LogEvent
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.tools import Tool, tool
from agent_ws.turn import ToolCall

from .scene import Case, Notes, Scene, driving, playing
from .streams import ProviderTalk

SILENT = [*thought("hm"), *text("a", "b"), HANG]
CALLING = [
    *text("Let me see. "),
    *call("look", '{"at":', '"one"}', id="a"),
    *call("look", '{"at":', '"two"}', id="b", index=1),
    *closing("tool_calls"),
]


class Calling(ChatProvider):
    """Answers `go` with `first`, and all that follows it in the run as ever."""

    def __init__(self, first: Sequence[Step]) -> None:
        super().__init__()
        self._first = first

    def take(self, headers: dict[str, str], body: Event) -> tuple[Request, Sequence[Step]]:
        request, steps = super().take(headers, body)
        if body["messages"][-1]["content"].endswith("go") and steps is self.otherwise:
            steps = self._first
        return request, steps


class ToolTalk(ProviderTalk):
    """A talk whose tools note what became of them, but for those that were never begun."""

    def _check(self, events: list[LogEvent], *, stopped: bool) -> None:
        ran = {event.tool for event in events if isinstance(event, ToolRun)}
        for event in events:
            if isinstance(event, ToolStart):
                self._notes.tools.setdefault(event.tool, "cancelled" if event.tool in ran else "never_started")
        super()._check(events, stopped=stopped)


def looking(notes: Notes) -> Tool:
    """A tool that takes some steps, and some more when it is cancelled."""

    @tool
    async def look(at: str, call: ToolCall) -> str:
        notes.tools[call.tool] = "cancelled"
        try:
            await _pauses(3)
        finally:
            await _pauses(2)
        notes.finished(call.tool)
        return at

    return look


async def _pauses(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def chatting(
    first: Sequence[Step],
    *,
    kept: bool = True,
    pace: int = 1,
    alone: type[Interrupted | Done | Error] = Done,
) -> Callable[[Path], AbstractAsyncContextManager[Case]]:
    """The world of a scene that is one turn of the agent. `kept`: its requests find a connection that is there."""

    @asynccontextmanager
    async def world(_: Path) -> AsyncGenerator[Case]:
        limits = httpx2.Limits() if kept else httpx2.Limits(max_keepalive_connections=0)
        async with Calling(first) as provider:
            provider.pace = pace
            async with openai.AsyncOpenAI(
                api_key="key", base_url=f"{provider.url}/v1", http_client=httpx2.AsyncClient(limits=limits)
            ) as client:
                notes = Notes()
                model = OpenAI(client=client, tools=[looking(notes)], retry=Retry(attempts=2, base=0.001))
                async with Sessions(playing(driving(model), notes, model), Settings()) as sessions:
                    yield ToolTalk(
                        provider,
                        sessions,
                        notes,
                        ok=answer("ok"),
                        alone=alone,
                        quiet=HANG in first,
                    ).case

    return world


SCENES = (
    Scene("chat, new connection", chatting(SILENT, kept=False)),
    Scene("chat, kept connection", chatting(SILENT)),
    Scene("chat, silent before the headers", chatting([HANG], kept=False)),
    Scene("chat, while it ends slowly", chatting(answer("abc"), kept=False, pace=3)),
    Scene("chat, with tools", chatting(CALLING)),
    Scene("chat, with tools and new connections", chatting(CALLING, kept=False, pace=2)),
    Scene("chat, while it breaks and is tried again", chatting([*text("abc"), Cut()], alone=Error)),
    Scene("chat, refused", chatting([Refuse(529, "overloaded_error")], alone=Error)),
)
