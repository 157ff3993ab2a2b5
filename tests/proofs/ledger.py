"""An agent that plays its message and keeps a ledger of what it really did: what a receipt and a log are held against.

The one rule: the ledger knows nothing of the server's answer but whether a write was taken.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress

from msgspec import Struct

from agent_ws import AgentError, Fenced, Turn
from agent_ws.events import Fate, ToolResult, ToolStart
from agent_ws.testing.invariants import check_history

STEPS = "ttbzwwWkkKodDsvVqruUxcC"
"""One letter a step; see `Ledger`. An answer that begins with `g` comes from a generator."""
LATE = "LATE"
"""What an agent writes that was cancelled: nobody must ever see it."""


class Life(Struct):
    """One run, as its agent lived it."""

    text: str = ""
    """What it wrote and was told was taken."""
    refused: int = 0
    """Writes that were not taken."""
    gone: float | None = None
    """When it came to its end, on the loop's clock."""
    tools: dict[str, Fate] = {}
    """What became of each call, until now."""
    upstream: bool | None = None
    """Whether its connection to a provider is closed; None: it had none."""


class Ledger:
    """The agent, and the lives that it had: by run."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}

    def agent(self, turn: Turn) -> AsyncGenerator[str] | Awaitable[None]:
        """Both forms of an agent."""
        return self._generate(turn) if turn.message.startswith("g") else self._play(turn)

    def _begin(self, turn: Turn) -> Life:
        check_history(turn.history)
        check_history(turn.messages)
        life = self.lives[turn.run] = Life()
        return life

    async def _generate(self, turn: Turn) -> AsyncGenerator[str]:
        life = self._begin(turn)
        try:
            for n, step in enumerate(turn.message):
                word = f"{step}{n} "
                yield word
                life.text += word  # it is asked for the next one: this one was taken
                if step == "w":
                    await asyncio.sleep(0.2)
        finally:
            life.gone = asyncio.get_running_loop().time()

    async def _play(self, turn: Turn) -> None:
        life = self._begin(turn)
        try:
            for n, step in enumerate(turn.message):
                await self._step(turn, life, n, step)
        finally:
            life.gone = asyncio.get_running_loop().time()

    async def _step(self, turn: Turn, life: Life, n: int, step: str) -> None:
        match step:
            case "t":
                _say(turn, life, f"Word {n}. And anoth")
            case "b":
                for i in range(5):
                    _say(turn, life, f"{i} ")
                    await asyncio.sleep(0)
            case "z":
                await asyncio.sleep(0)
            case "w":
                await asyncio.sleep(0.2)
            case "W":
                await asyncio.sleep(20)
            case "k" | "d" | "D":
                await _call(turn, life, f"{step}{n}")
            case "K":
                turn.tools(**{f"K{n}": "never"})
                life.tools[f"K{n}"] = "never_started"
            case "o":
                turn.write(ToolStart(f"o{n}", "open"))
                life.tools[f"o{n}"] = "running"
            case "s":
                async with turn.section(f"s{n}", "A section"):
                    _say(turn, life, "inside ", f"s{n}")
                    await asyncio.sleep(0.4)
                    _say(turn, life, "still inside ", f"s{n}")
            case "v":
                _say(turn, life, f"er. Heard {len(turn.steered())}. ")
            case "V":
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        _say(turn, life, f"Waited for {len(await turn.wait_steered())}. ")
            case "q":
                await turn.ask("question", "Well?", timeout=1)
            case "r":
                turn.take_back(4)
            case "u" | "U":
                await _ask_a_provider(turn, life, stubborn=step == "U")
            case "x":
                raise AgentError("The calendar is not connected.")
            case "c" | "C":
                await _swallow(turn, life, 3 if step == "c" else 20)
            case _:
                pass


def _say(turn: Turn, life: Life, text: str, section: str | None = None) -> None:
    try:
        turn.content(text, section)
    except Fenced:
        life.refused += 1
        raise
    life.text += text


async def _call(turn: Turn, life: Life, tool: str) -> None:
    """A tool that stops when it is told to, or one (`d`, and longer `D`) that does not."""
    ran = False
    try:
        async with turn.tool("search", tool=tool):
            life.tools[tool] = "running"
            await (asyncio.sleep(0.4) if tool.startswith("k") else _swallow(turn, life, 2 if tool[0] == "d" else 20))
            ran = True
        life.tools[tool] = "finished"
    except Fenced:
        if ran:
            life.tools[tool] = "finished_after_stop"
        raise
    except asyncio.CancelledError:
        life.tools[tool] = "cancelled"
        raise


async def _ask_a_provider(turn: Turn, life: Life, *, stubborn: bool) -> None:
    try:
        async with turn.upstream():
            life.upstream = False
            await (_swallow(turn, life, 20) if stubborn else asyncio.sleep(0.3))
            _say(turn, life, "It says. ")
    finally:
        life.upstream = True


async def _swallow(turn: Turn, life: Life, seconds: float) -> None:
    """Take no notice of being cancelled, and write all the same; what was left open comes to its end too late."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        try:
            await asyncio.sleep(end - loop.time())
        except asyncio.CancelledError:
            with suppress(Fenced):
                _say(turn, life, LATE)
            for tool in [t for t, fate in life.tools.items() if fate == "running" and t.startswith("o")]:
                try:
                    turn.write(ToolResult(tool))
                except Fenced:
                    life.tools[tool] = "finished_after_stop"
                else:
                    life.tools[tool] = "finished"
