"""The calls that a model made in one step: allowed, run, and answered.

The one rule: each call gets one result, which is the same in the log, for the model now, and for the model in the
history later. A call that can't run, or may not, is told so, and its tool is not touched.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

from ..errors import AgentWsError, Fenced, ToolError, ToolTimeout
from ..events import Outcome
from ..history import OUTCOMES, ToolOutput
from ..journal import note
from ..tasks import all_of, wait_out
from ..turn import ToolCall, Turn
from .base import Tool, Work
from .threads import Threw

PROMPT = 500
"""Characters of the input that an approval's prompt has; its `data` has all of it."""
NO_OUTPUT = "[no output]"


class Asked(Struct, frozen=True):
    """A call as a model made it. Its `ToolStart`, which waits, was written (`Turn.begin_tool`)."""

    tool: str
    """The call's id in the run."""
    name: str
    input: dict[str, Any] | None
    problem: str = ""
    """Why there is no input: what the model wrote can't be read. In words for the model."""


class _End(Struct, frozen=True):
    outcome: Outcome
    output: str


async def use_all(turn: Turn, tools: Mapping[str, Tool], calls: Sequence[Asked]) -> list[ToolOutput]:
    """Run the calls at the same time, at most `Limits.tool_calls` of them; the results are in the calls' order."""
    free = asyncio.Semaphore(turn.limits.tool_calls)

    async def one(call: Asked) -> ToolOutput:
        async with free:
            return await use(turn, tools, call)

    return await all_of([one(call) for call in calls], f"tools {turn.run}")


async def use(turn: Turn, tools: Mapping[str, Tool], asked: Asked) -> ToolOutput:
    """Run one call, after asking the user where its tool wants that, and return what the model is told.

    Whatever the tool does becomes a result. Raises only what ends the run: a cancellation, `Fenced`, and `RunError` of
    the writer's limits.
    """
    try:
        tool, work, wants_approval = _prepared(tools, asked)
    except BaseException as error:  # noqa: BLE001 - user code: SystemExit too must not end the server
        return _never_ran(turn, asked, "error", _explained(error, turn))
    if wants_approval and (why := await _refused(turn, asked)):
        return _never_ran(turn, asked, "denied", why)
    limit = turn.timeouts.tool if tool.timeout is None else tool.timeout
    try:
        # Its own limit is kept inside; this one is for what takes no notice of that.
        async with turn.tool(tool.name, asked.input, tool=asked.tool, timeout=limit + turn.timeouts.grace) as call:
            if tool.on_interrupt == "cancel":
                end = await _ended(turn, tool, work, call, limit)
            else:
                end = await _ended_apart(turn, tool, work, call, limit)
            call.outcome, call.output = end.outcome, end.output
    except ToolTimeout:
        return ToolOutput(asked.tool, OUTCOMES["timeout"], ok=False)
    return ToolOutput(asked.tool, end.output or NO_OUTPUT, ok=end.outcome == "ok")


def _prepared(tools: Mapping[str, Tool], asked: Asked) -> tuple[Tool, Work, bool]:
    """The tool, the call as work, and whether it must be allowed."""
    tool = tools.get(asked.name)
    if tool is None:
        raise ToolError(f"[there is no tool {asked.name!r}; there are: {', '.join(tools) or 'none'}]")
    input = _input(asked)
    work, wants = tool.bind(input), tool.needs_approval
    return tool, work, wants(input) if callable(wants) else wants


def _input(asked: Asked) -> dict[str, Any]:
    if asked.input is None:
        raise ToolError(f"[its input can't be read, so it did not run: {asked.problem or 'there is none'}]")
    try:
        msgspec.msgpack.encode(asked.input)  # takes no integer beyond 64 bits
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ToolError(
            "[its input was expected to hold integers of at most 64 bits and well-formed text, no deeper than 64 "
            "levels, and does not, so it did not run]"
        ) from None
    return asked.input


def _never_ran(turn: Turn, asked: Asked, outcome: Outcome, text: str) -> ToolOutput:
    text = _cut(text, turn)
    turn.end_tool(asked.tool, outcome, text)
    return ToolOutput(asked.tool, text, ok=False)


async def _refused(turn: Turn, asked: Asked) -> str:
    """Ask the user. Empty: it was allowed; else what the model is told."""
    shown = msgspec.json.encode(asked.input).decode()
    shown = shown if len(shown) <= PROMPT else f"{shown[:PROMPT]}…"
    data = {"name": asked.name, "input": asked.input}
    match await turn.ask("approval", f"Allow {asked.name} with {shown}?", tool=asked.tool, data=data):
        case None:
            return "[nobody allowed it in time: it did not run]"
        case {"approved": True}:
            return ""
        case _:
            return OUTCOMES["denied"]


async def _ended(turn: Turn, tool: Tool, work: Work, call: ToolCall, limit: float) -> _End:
    """Run it to its end within its limit."""
    scope = asyncio.timeout(limit)
    try:
        async with scope:
            value = await work(turn, call)
        if not scope.expired():  # else it came to an end because it was stopped
            return _End(call.outcome, _cut(call.output if value is None else _said(value), turn))
    except (Fenced, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
            raise  # else it is a cancellation of the tool's own, which it let escape
        if not (isinstance(error, TimeoutError) and scope.expired()):
            return _End("error", _cut(_explained(error, turn), turn))
    what = "given up, though it may still go on" if tool.threaded else "stopped"
    return _End("timeout", f"[{what}: it took longer than {limit:g} s]")


async def _ended_apart(turn: Turn, tool: Tool, work: Work, call: ToolCall, limit: float) -> _End:
    """The same in a task of its own, which a Stop doesn't cancel."""
    ends: list[_End] = []

    async def apart() -> None:
        try:
            ends.append(await _ended(turn, tool, work, call, limit))
        except Fenced:
            note(logging.DEBUG, "a tool wrote after its run's ending", run=turn.run)
        finally:
            over(finished=bool(ends) and ends[0].outcome != "timeout")

    over = turn.outlives(call.tool)
    task = turn.spawn(apart(), f"tool {tool.name} {call.tool}")
    task.add_done_callback(lambda _: over(finished=False))  # where it was cancelled before its first step
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        call.stopped.set()
        if tool.on_interrupt == "finish":
            await wait_out(task, turn.timeouts.abandon / 2)
        if not ends:
            raise
    if not ends:
        raise asyncio.CancelledError  # the server's shutdown cancelled it
    return ends[0]


def _explained(error: BaseException, turn: Turn) -> str:
    """What the model is told of it: of an exception that was not made to be shown, its type."""
    error = error.error if isinstance(error, Threw) else error
    if isinstance(error, AgentWsError):
        return str(error)
    note(logging.WARNING, "a tool failed", error=error, run=turn.run)
    return f"[the tool failed: {type(error).__name__}]"


def _said(value: object) -> str:
    """What a tool returned, as text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str, turn: Turn) -> str:
    """At most `Limits.tool_output` characters, which every encoding can carry."""
    text = text.encode(errors="replace").decode()
    most = turn.limits.tool_output
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut: these are the first {most} of {len(text)} characters]"
