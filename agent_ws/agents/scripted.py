"""An agent that plays a script: for tests and recordings, where it has to be known what the agent does and when.

The one rule: it decides nothing. Each message plays a list of steps in order, as fast as it can, waiting only where a
step says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeAlias

from msgspec import Struct

from ..events import Emitted
from ..turn import Turn


class Wait(Struct, frozen=True):
    """Let `seconds` pass on the loop's clock."""

    seconds: float


class Raise(Struct, frozen=True):
    """Fail with `error`."""

    error: BaseException


class Gate(asyncio.Event):
    """Wait until the test opens it with `set()`. Once open it stays open, until `clear()`.

    `await gate.reached.wait()` returns when an agent stands at it: everything before it was written then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()


Step: TypeAlias = str | Emitted | Wait | Gate | Raise
"""A `str` is text; an event is written as it is."""


class Scripted:
    """The first message plays the first script, the second the second; the last one plays for every message after it.

    `turns` are the turns so far, oldest first: what the agent was told is there. One instance serves one test; sessions
    that share it share the count of messages.

        gate = Gate()
        agent = Scripted(["Hello ", gate, ToolStart("t1", "search"), ToolResult("t1", output="3 hits"), Wait(0.5), "."])
    """

    def __init__(self, script: Sequence[Step], *later: Sequence[Step]) -> None:
        self.turns: list[Turn] = []
        self._scripts = (script, *later)

    async def __call__(self, turn: Turn) -> AsyncGenerator[str | Emitted]:
        """An agent, see `turn.Agent`."""
        script = self._scripts[min(len(self.turns), len(self._scripts) - 1)]
        self.turns.append(turn)
        for step in script:
            match step:
                case Wait(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Gate():
                    step.reached.set()
                    await step.wait()
                case Raise(error=error):
                    raise error
                case _:
                    yield step
