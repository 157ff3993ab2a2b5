"""An agent that does what the message says: what `agent-ws check` and scenarios are played against.

The message is a small program, one statement a line or between `;`. Whoever wants to have another server checked writes
the same agent there; it takes an hour. In the words of PROTOCOL.md:

    say TEXT              text, in one piece
    words N [at R]        the text "1 2 3 ... N " in pieces of one number with its space; R a second, else at once
    fill N                N characters ("abcdefghij" again and again), in pieces of at most 1,000
    think TEXT            reasoning (`thinking`)
    wait S                S seconds of nothing
    hang                  nothing, for ever
    status TEXT           `status`, state `working`
    back N                takes its last N characters back (`status`, state `reset`)
    usage IN OUT          tokens to be told at the end
    announce NAME...      `tools`: announces these calls, which never start
    tool NAME [S]         runs a tool that takes S seconds (0); its output is "NAME done"
    tool NAME S stays     the same, but it takes no notice of a Stop and finishes
    tool NAME S fails     the same, but it fails
    call NAME S JSON      a call that is written first: `tool_start` with `waits`, the input in pieces of 4 characters,
                          `tool_run`, S seconds, `tool_result`
    write NAME JSON       a call that is written, as above, and does not run: it is left open
    deny NAME             a call that is written and then refused: it ends as `denied` without having run
    ask PROMPT            asks a question and waits; says the reply's `text`, or "nobody" where none came
    approve PROMPT        asks for approval and waits; says "yes", "no" or "nobody"
    section ID TITLE      opens a section; what follows is in it, up to
    end                   which closes it. A section that is stopped goes on behind its end
    sections ID... each STATEMENT
                          announces sections (`outline`) and writes each by the statement; each may be skipped and
                          written anew, and says "again " first where it is
    together NAME STATEMENT | NAME STATEMENT
                          several agents at once, by name
    steered               takes what the user has said meanwhile, waits for it if need be, and says "heard: TEXT"
    upstream              holds a connection to a provider from here on, which a Stop closes
    stay S                takes no notice of a Stop for S seconds and tries to write "LATE" at each one that it hears of
    history               says what it is told of the conversation before: a line "ROLE: TEXT" for each message, where
                          a call is "[NAME]" and what it returned "(OUTPUT)"
    fail                  fails

Anything else is no program: it says "You said: MESSAGE". Where an answer is to go on (`continues`), it says "goes on
behind: KEPT", where KEPT is the text that was kept of it, and waits for ever where KEPT has the word "hang".

The one rule: it decides nothing, so a case knows what has to come.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, assert_never

from ..errors import AgentError, AgentWsError, ToolTimeout
from ..events import Call, Tools, Usage
from ..history import Message, Text, ToolOutput, ToolUse
from ..turn import Turn, TurnSection

LETTERS = "abcdefghij"
PIECE = 1000
"""Characters of `fill` at once."""
BREATH = 64
"""Pieces that are written without letting anybody else run."""
KNOWN = re.compile(
    "say|words|fill|think|wait|hang|status|back|usage|announce|tool|call|write|deny|ask|approve|section|end|sections|together"
    "|steered|upstream|stay|history|fail"
)


async def obedient(turn: Turn) -> None:
    """The agent."""
    if turn.continues is not None:
        turn.content(f"goes on behind: {turn.continues}")
        if "hang" in turn.continues.split():
            await asyncio.Event().wait()
        return
    statements = [line.strip() for line in re.split(r"[;\n]", turn.message) if line.strip()]
    if not statements or any(not KNOWN.fullmatch(statement.split()[0]) for statement in statements):
        turn.content(f"You said: {turn.message}")
        return
    async with AsyncExitStack() as held:
        await _Program(turn, held).run(statements)


class _Program:
    """One program. section: where its text goes."""

    def __init__(self, turn: Turn, held: AsyncExitStack, section: str | None = None) -> None:
        self._turn = turn
        self._held = held
        self._section = section

    async def run(self, statements: list[str]) -> None:
        """Do one after the other."""
        left = list(statements)
        while left:
            name, _, rest = left.pop(0).partition(" ")
            if name == "section":
                await self._open(rest, left)
            else:
                await self._do(name, rest.strip())

    async def _open(self, rest: str, left: list[str]) -> None:
        end = left.index("end") if "end" in left else len(left)
        inside, left[: end + 1] = left[:end], []
        section, _, title = rest.partition(" ")
        async with self._turn.section(section, title):
            await _Program(self._turn, self._held, section).run(inside)

    def _say(self, text: str) -> None:
        if text:
            self._turn.content(text, self._section)

    async def _do(self, name: str, rest: str) -> None:  # noqa: C901 - one arm a statement
        turn, words = self._turn, rest.split()
        match name:
            case "say":
                self._say(rest)
            case "words":
                await self._words(int(words[0]), float(words[2]) if len(words) > 1 else None)
            case "fill":
                await self._fill(int(words[0]))
            case "think":
                turn.thinking(rest, self._section)
            case "wait":
                await asyncio.sleep(float(words[0]))
            case "hang":
                await asyncio.Event().wait()
            case "status":
                turn.status("working", rest)
            case "back":
                turn.take_back(int(words[0]))
            case "usage":
                turn.report(Usage(input_tokens=int(words[0]), output_tokens=int(words[1])), "end_turn")
            case "announce":
                turn.write(Tools(tuple(Call(f"announced-{i}", name) for i, name in enumerate(words))))
            case "tool":
                await self._tool(words[0], float(words[1]) if len(words) > 1 else 0.0, "".join(words[2:]))
            case "call":
                await self._call(rest)
            case "write":
                await self._write(*rest.split(" ", 1))
            case "deny":
                turn.end_tool(turn.begin_tool(words[0]), "denied")
            case "ask":
                self._say(_reply(await turn.ask("question", rest), "text"))
            case "approve":
                self._say(_reply(await turn.ask("approval", rest), "approved"))
            case "sections":
                await self._sections(rest)
            case "together":
                await self._together(rest)
            case "steered":
                for said in await turn.wait_steered():
                    self._say(f"heard: {said}")
            case "upstream":
                await self._held.enter_async_context(turn.upstream())
            case "stay":
                await self._stay(float(words[0]))
            case "history":
                self._say("\n".join(_told(message) for message in turn.history))
            case _:  # fail, and an `end` too many
                raise AgentError("It was told to fail.")

    async def _words(self, number: int, rate: float | None) -> None:
        for i in range(1, number + 1):
            self._say(f"{i} ")
            if rate is not None:
                await asyncio.sleep(1 / rate)
            elif not i % BREATH:
                await asyncio.sleep(0)

    async def _fill(self, number: int) -> None:
        text = LETTERS * (number // len(LETTERS) + 1)
        for i, at in enumerate(range(0, number, PIECE)):
            self._say(text[at : min(number, at + PIECE)])
            if not i % BREATH:
                await asyncio.sleep(0)

    async def _tool(self, name: str, seconds: float, how: str) -> None:
        with suppress(ToolTimeout, _ToolFailed):
            async with self._turn.tool(name, {"seconds": seconds}) as call:
                due = asyncio.get_running_loop().time() + seconds
                while (left := due - asyncio.get_running_loop().time()) > 0:
                    try:
                        await asyncio.sleep(left)
                    except asyncio.CancelledError:
                        if how != "stays":
                            raise
                if how == "fails":
                    raise _ToolFailed
                call.output = f"{name} done"

    async def _call(self, rest: str) -> None:
        name, seconds, text = rest.split(" ", 2)
        tool = await self._write(name, text)
        async with self._turn.tool(name, json.loads(text), tool=tool) as call:
            await asyncio.sleep(float(seconds))
            call.output = f"{name} done"

    async def _write(self, name: str, text: str) -> str:
        tool = self._turn.begin_tool(name)
        for at in range(0, len(text), 4):
            self._turn.tool_input(tool, text[at : at + 4])
            await asyncio.sleep(0)
        return tool

    async def _sections(self, rest: str) -> None:
        names, _, statement = rest.partition(" each ")

        async def write(section: TurnSection) -> None:
            if section.attempt > 1:
                section.content("again ")
            await _Program(self._turn, self._held, section.section).run([statement])

        parts: dict[str, Any] = {name: (name.title(), write) for name in names.split()}
        await self._turn.sections(**parts)

    async def _together(self, rest: str) -> None:
        def agent(statement: str) -> Callable[[Turn], Awaitable[None]]:
            return lambda turn: _Program(turn, self._held).run([statement])

        parts = [part.strip().partition(" ") for part in rest.split("|")]
        await self._turn.together(**{name: agent(statement) for name, _, statement in parts})

    async def _stay(self, seconds: float) -> None:
        due = asyncio.get_running_loop().time() + seconds
        while (left := due - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                self._say_late()

    def _say_late(self) -> None:
        with suppress(AgentWsError):
            self._say("LATE")
        with suppress(AgentWsError):
            self._turn.thinking("LATE")
        with suppress(AgentWsError):
            self._turn.status("working", "LATE")


class _ToolFailed(Exception):
    """The tool was told to fail."""


def _reply(reply: Any, field: str) -> str:
    """What to say of a reply."""
    try:
        said = reply[field]
    except (TypeError, LookupError):
        return "nobody"
    return said if isinstance(said, str) else "yes" if said else "no"


def _told(message: Message) -> str:
    parts: list[str] = []
    for part in message.parts:
        match part:
            case Text(text=text):
                parts.append(text)
            case ToolUse(name=name):
                parts.append(f"[{name}]")
            case ToolOutput(output=output):
                parts.append(f"({output})")
            case _:
                assert_never(part)
    return f"{message.role}: {''.join(parts)}"
