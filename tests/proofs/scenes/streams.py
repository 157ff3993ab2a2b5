"""A model that answers, by the official SDK and real sockets: the provider has to see its connection closed.

The one rule: whatever is cancelled, what the provider was asked for is either answered to its end or cut off there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from provider import HANG, Cut, Provider, Refuse, Step, answer, opening, packet, text, thinking

from agent_ws.agents.anthropic import Anthropic
from agent_ws.attempts import Retry
from agent_ws.events import Done, Error, Interrupted
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.turn import Agent, Turn, drive

from .scene import Case, Notes, Scene, Script, Talk, driving, expect, interrupt, playing

SILENT = [*opening(), *thinking("hm"), *text("a", "b", "c", index=1), HANG]


class ProviderTalk(Talk):
    """A talk with an agent that asks the provider, which is asked what it saw."""

    def __init__(
        self, provider: Provider, *args: Any, ok: Sequence[Step] = tuple(answer("ok")), **options: Any
    ) -> None:
        super().__init__(*args, others=lambda: 2 * provider.open, **options)
        self._provider = provider
        self._ok = ok
        self.asked: dict[str, Any] = {}
        """The last request by which a conversation went on."""

    async def answered(self, session: Session) -> None:
        provider, receipt = self._provider, self.receipt
        await provider.disconnected()  # each request was answered or cut off
        if provider.requests:
            expect(receipt.upstream_closed, f"expected a receipt of a connection that was closed, got {receipt}")
        else:
            expect(receipt.upstream_closed is not False, f"expected no connection to be left, got {receipt}")
        provider.script(*self._ok)
        await super().answered(session)  # it takes the history, and the pool still has connections to give
        self.asked = provider.requests[-1].body
        provider.requests.clear()


Wrap = Callable[[Agent], Script]


def streaming(
    script: Sequence[Step],
    *,
    kept: bool = True,
    pace: int = 1,
    wrap: Wrap = driving,
    stop: Callable[[Session], object] = interrupt,
    ending: type[Interrupted | Done | Error] = Interrupted,
    alone: type[Interrupted | Done | Error] = Done,
) -> Callable[[Path], AbstractAsyncContextManager[Case]]:
    """The world of a scene that is one answer of a model. `kept`: its request finds a connection that is there."""

    @asynccontextmanager
    async def world(_: Path) -> AsyncGenerator[Case]:
        limits = httpx2.Limits() if kept else httpx2.Limits(max_keepalive_connections=0)
        async with Provider() as provider:
            provider.otherwise, provider.pace = script, pace
            async with anthropic.AsyncAnthropic(
                api_key="key", base_url=provider.url, http_client=httpx2.AsyncClient(limits=limits)
            ) as client:
                model, notes = Anthropic(client=client, retry=Retry(attempts=1, whole=0)), Notes()
                async with Sessions(playing(wrap(model), notes, model), Settings()) as sessions:
                    yield ProviderTalk(
                        provider, sessions, notes, stop=stop, ending=ending, alone=alone, quiet=HANG in script
                    ).case

    return world


OWN = "the agent's own"


def own_task(model: Agent) -> Script:
    """The agent cancels what it began, as any asyncio program may, and goes on."""

    async def script(turn: Turn, notes: Notes) -> None:
        task = asyncio.create_task(drive(model, turn), name=OWN)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        expect(task.cancelled() or not notes.stopped, f"expected the task to end cancelled, got {task}")
        turn.content("So much for that.")

    return script


def own(session: Session) -> bool:
    """The agent's task is cancelled, by whoever holds it: no Stop is there. False: it is not, or not any more."""
    del session
    return any(task.cancel() for task in asyncio.all_tasks() if task.get_name() == OWN)


def both(model: Agent) -> Script:
    async def script(turn: Turn, _: Notes) -> None:
        await turn.together(left=model, right=model)

    return script


def left(session: Session) -> None:
    """What a Stop does that names one of them."""
    session.stop_part("agent", "left")


SCENES = (
    Scene("stream, new connection", streaming(SILENT, kept=False)),
    Scene("stream, kept connection", streaming(SILENT)),
    Scene("stream, slow provider", streaming(SILENT, kept=False, pace=5)),
    Scene("stream, silent before the headers", streaming([HANG], kept=False)),
    Scene("stream, many tokens at once", streaming([packet([*opening(), *text(*[""] * 200, "abc")]), HANG])),
    Scene("stream, while it ends", streaming(answer("abc"))),
    Scene("stream, while it ends slowly", streaming(answer("abc"), kept=False, pace=3)),
    Scene("stream, while it breaks", streaming([*opening(), *text("abc"), Cut()], alone=Error)),
    Scene("stream, refused", streaming([Refuse(529, "overloaded_error")], alone=Error)),
    Scene("stream, in a task of the agent's", streaming(answer("abc"), pace=3, wrap=own_task, stop=own, ending=Done)),
    Scene("two streams", streaming(answer("a", "b"), wrap=both)),
    Scene("two streams, one stopped", streaming(answer("a", "b"), wrap=both, stop=left, ending=Done)),
)
