"""The calls of a model: side by side, refused, asked for, out of time, in threads, and each kind of `on_interrupt`.

The one rule: a tool notes when it began and when it came to its end; the log has whether that was in time; the receipt
has to say the same.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.server.mcpserver import MCPServer

from agent_ws.errors import ToolError
from agent_ws.events import Done, Error, Event, Interrupted, Request, ToolResult
from agent_ws.run import Phase
from agent_ws.session import Session
from agent_ws.sessions import Sessions
from agent_ws.settings import Settings, Timeouts
from agent_ws.tools import Asked, Tool, Work, named, tool, use_all
from agent_ws.tools.mcp import McpTools
from agent_ws.turn import ToolCall, Turn

from .runs import part, pauses
from .scene import Case, Notes, Scene, Script, Talk, becomes, interrupt, playing, warm


class Noted(Tool):
    """A tool that notes what became of it."""

    def __init__(self, tool: Tool, notes: Notes) -> None:
        super().__init__(
            tool.name,
            tool.description,
            tool.schema,
            timeout=tool.timeout,
            on_interrupt=tool.on_interrupt,
            needs_approval=tool.needs_approval,
        )
        self._tool = tool
        self._notes = notes

    def bind(self, input: dict[str, Any]) -> Work:
        work = self._tool.bind(input)

        async def noted(turn: Turn, call: ToolCall) -> Any:
            told = self._notes.tools
            alone = self.on_interrupt == "detach" or self.name == "deaf"
            told[call.tool] = "running" if alone else "cancelled"
            try:
                made = await work(turn, call)
            except asyncio.CancelledError:
                if self.name != "deaf":
                    told[call.tool] = "cancelled"
                raise
            except ToolError:
                made = None
            # Not after the receipt, which can't know.
            if turn._run.phase is not Phase.SETTLED:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - asked of nobody else
                told[call.tool] = "ended"
            return made

        return noted


class ToolTalk(Talk):
    """What ended did so in time where the log has its result."""

    def _check(self, events: list[Event], *, stopped: bool) -> None:
        results = {e.tool for e in events if isinstance(e, ToolResult) and e.outcome != "interrupted"}
        for call, fate in self._notes.tools.items():
            if fate == "ended":
                self._notes.tools[call] = "finished" if call in results else "finished_after_stop"
        super()._check(events, stopped=stopped)


def tools(notes: Notes) -> dict[str, Tool]:
    """One of each kind."""

    @tool
    async def work(steps: int) -> str:
        await pauses(steps)
        return "worked"

    @tool
    async def tidy() -> None:
        try:
            await pauses(6)
        finally:
            await pauses(6)

    @tool
    async def fail() -> None:
        await pauses(3)
        raise ToolError("no")

    @tool(needs_approval=True)
    async def delete() -> str:
        await pauses(4)
        return "deleted"

    @tool(on_interrupt="finish")
    async def save(steps: int = 8) -> str:
        await pauses(steps)
        return "saved"

    @tool(on_interrupt="detach")
    async def send() -> str:
        await pauses(8)
        return "sent"

    @tool(timeout=0.03)
    async def late() -> None:
        await pauses(60)

    @tool(timeout=0.03, on_interrupt="finish")
    async def late_to_finish() -> None:
        await pauses(60)

    @tool
    def thread() -> str:
        time.sleep(0.002)
        return "done"

    @tool
    def told(call: ToolCall) -> str:
        """Takes notice of a stop."""
        call.stopped.wait(0.005)
        return "done"

    @tool
    def deaf() -> str:
        """Takes none."""
        for _ in range(4):
            time.sleep(0.001)
            if notes.stopped:
                time.sleep(0.1)
        return "done"

    all_of_them = (work, tidy, fail, delete, save, send, late, late_to_finish, thread, told, deaf)
    return named(Noted(each, notes) for each in all_of_them)


Make = Callable[[dict[str, Tool]], Script]


def calling(*steps: Sequence[tuple[str, dict[str, Any]]], in_parts: bool = False) -> Make:
    """Makes the calls of each step. `in_parts`: inside a section, then as one of several agents."""

    def make(made: dict[str, Tool]) -> Script:
        async def calls(turn: Turn, notes: Notes, label: str = "t") -> None:
            for number, step in enumerate(steps):
                asked: list[Asked] = []
                for place, (name, input) in enumerate(step):
                    call = turn.begin_tool(name, f"{label}{number}{place}")
                    notes.tools[call] = "never_started"
                    asked.append(Asked(call, name, input))
                outputs = await use_all(turn, made, asked)
                turn.content(" ".join(output.output for output in outputs))

        async def script(turn: Turn, notes: Notes) -> None:
            if not in_parts:
                await calls(turn, notes)
                return
            async with turn.section("part") as section:
                section.content("a")
                await calls(turn, notes, "s")

            async def one(turn: Turn) -> None:
                await calls(turn, notes, "a")

            async def other(turn: Turn) -> None:
                await pauses(20)
                turn.content("d")

            await turn.together(part=one, other=other)
            turn.content("e")

        return script

    return make


def using(
    make: Make,
    *,
    stop: Callable[[Session], object] = interrupt,
    ending: type[Interrupted | Done | Error] = Interrupted,
    begin: Callable[[Session], object] | None = None,
) -> Callable[[Path], AbstractAsyncContextManager[Case]]:
    """The world of a scene that is one run which makes calls."""

    @asynccontextmanager
    async def world(_: Path) -> AsyncGenerator[Case]:
        notes = Notes()
        settings = Settings(timeouts=Timeouts(grace=0.1))
        async with Sessions(playing(make(tools(notes)), notes), settings) as sessions:
            await warm(sessions)
            yield ToolTalk(sessions, notes, stop=stop, ending=ending, begin=begin).case

    return world


class Served:
    """An MCP server in this process, which notes what goes on in it."""

    def __init__(self) -> None:
        self.going = 0
        self.server = MCPServer("served")
        self.server.tool(name="serve")(self.serve)

    async def serve(self) -> str:
        """Take some steps."""
        self.going += 1
        try:
            await pauses(5)
        finally:
            self.going -= 1
        return "served"


class ServedTalk(ToolTalk):
    """Nothing goes on at the server that nobody waits for."""

    served: Served

    async def case(self, k: int) -> bool:
        whole = await super().case(k)
        await becomes(lambda: self.served.going == 0, lambda: f"{self.served.going} calls go on at the server")
        return whole


@asynccontextmanager
async def served(_: Path) -> AsyncGenerator[Case]:
    """The world of a run that calls an MCP server, twice at once and once more."""
    notes, at = Notes(), Served()
    script = calling([("serve", {}), ("serve", {})], [("serve", {})])
    async with McpTools(connect=lambda: Client(at.server, mode="legacy")) as [serve]:
        agent = playing(script({"serve": Noted(serve, notes)}), notes)
        async with Sessions(agent, Settings()) as sessions:
            await warm(sessions)
            talk = ServedTalk(sessions, notes)
            talk.served = at
            yield talk.case


def allowing(session: Session) -> None:
    """Somebody allows the first call and refuses the second."""

    async def reply() -> None:
        await pauses(6)
        asked = [event for event in session.log.read(0) if isinstance(event, Request)]
        for event in sorted(asked, key=lambda event: event.tool or ""):
            if session.going is not None:
                session.reply(event.request, {"approved": event is asked[0]})
                await pauses(2)

    session.replier = asyncio.create_task(reply())  # pyright: ignore[reportAttributeAccessIssue] - a place to keep it


SIDE_BY_SIDE = calling([("work", {"steps": 5}), ("fail", {}), ("nothing", {}), ("work", {})], [("tidy", {})])
ASKED = calling([("delete", {}), ("delete", {})])
APART = calling([("save", {}), ("work", {"steps": 4})], [("send", {})], [("save", {"steps": 15})])
LATE = calling([("late", {}), ("late_to_finish", {}), ("work", {"steps": 3})])
PARTS = calling([("save", {}), ("tidy", {}), ("send", {})], in_parts=True)
THREADS = calling([("thread", {}), ("told", {})], [("thread", {})])
DEAF = calling([("deaf", {}), ("thread", {})])

SCENES = (
    Scene("calls side by side", using(SIDE_BY_SIDE), virtual=True),
    Scene("calls that are asked for", using(ASKED, begin=allowing), virtual=True),
    Scene("calls that finish or go on", using(APART), virtual=True),
    Scene("calls out of time", using(LATE), virtual=True),
    Scene("calls in a part, stopped alone", using(PARTS, stop=part, ending=Done), virtual=True),
    Scene("calls in parts, all stopped", using(PARTS), virtual=True),
    Scene("calls, shut down", using(APART, stop=Session.shut_down), virtual=True),
    Scene("calls of an MCP server", served, virtual=True),
    Scene("calls in threads", using(THREADS)),
    Scene("calls in threads that take no notice", using(DEAF)),
)
