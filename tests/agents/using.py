"""A run that makes tool calls, as an agent with a model would."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from agent_ws.events import Event, Request, Settled, ToolResult
from agent_ws.history import ToolOutput, history
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings
from agent_ws.testing.invariants import check_log
from agent_ws.tools import Asked, Tool, named, use_all
from agent_ws.turn import Agent, Turn

E = TypeVar("E")


class Call(NamedTuple):
    """What a model asks for; None: nothing that can be read."""

    name: str
    input: dict[str, Any] | None


class Using:
    """A run of one step: these calls, with the ids t1, t2 and so on."""

    def __init__(self, tools: Sequence[Tool], calls: Sequence[Call]) -> None:
        self.outputs: list[ToolOutput] = []
        """What the model was told in the run."""
        self.session: Session
        self._tools = named(tools)
        self._calls = calls

    async def __call__(self, turn: Turn) -> None:
        """An agent, see `turn.Agent`."""
        asked = [
            Asked(turn.begin_tool(name, f"t{place}"), name, input, "broken" if input is None else "")
            for place, (name, input) in enumerate(self._calls, 1)
        ]
        self.outputs = await use_all(turn, self._tools, asked)

    async def settled(self) -> list[Event]:
        """The log, once the run is over."""
        while self.session.busy:
            await self.session.log.wait(self.session.log.tail)
        events = self.session.log.read(0)
        check_log(events, over=True)
        return events

    async def comes(self, kind: type[E], count: int = 1) -> E:
        """The `count`th event of a kind, once it is there."""
        while len(found := self.all(kind)) < count:
            await self.session.log.wait(self.session.log.tail)
        return found[count - 1]

    def all(self, kind: type[E]) -> list[E]:
        """The events of a kind so far."""
        return [event for event in self.session.log.read(0) if isinstance(event, kind)]

    async def results(self) -> dict[str, tuple[str, str]]:
        """Outcome and output of each call, once the run is over."""
        return {e.tool: (e.outcome, e.output) for e in await self.settled() if isinstance(e, ToolResult)}

    async def fates(self) -> dict[str, str]:
        """What the receipt says of each call."""
        await self.settled()
        [receipt] = self.all(Settled)
        return dict(receipt.tools)

    async def remembered(self) -> list[ToolOutput]:
        """What a model is told later."""
        messages = history(await self.settled())
        return [part for message in messages for part in message.parts if isinstance(part, ToolOutput)]

    async def reply(self, approved: Any, count: int = 1) -> None:
        """Answer the `count`th request."""
        self.session.reply((await self.comes(Request, count)).request, approved)


@asynccontextmanager
async def using(
    tools: Sequence[Tool], *calls: tuple[str, dict[str, Any] | None], agent: Agent | None = None, **more: Any
) -> AsyncGenerator[Using]:
    """The run has begun; of `agent`, if it is more than one step. `more`: settings."""
    made = Using(tools, [Call(*call) for call in calls])
    async with Sessions(agent or made, Settings(**more)) as sessions:
        made.session, _ = await sessions.create("me")
        await made.session.say("go")
        yield made
