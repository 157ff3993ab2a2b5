"""An agent that plays a script: for tests and recordings, where it has to be known what the agent does and when.

The one rule: it decides nothing. Each message plays a list of steps in order, as fast as it can, waiting only where a
step says so.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence

from .. import recording
from ..events import Emitted
from ..turn import Turn
from .recorded import scripts
from .steps import Ask, Gate, Hear, Raise, Report, Step, Wait

__all__ = ["Ask", "Gate", "Hear", "Raise", "Report", "Scripted", "Step", "Wait"]


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

    @classmethod
    def recorded(cls, path: str | os.PathLike[str], *, speed: float = 1.0) -> "Scripted":
        """An agent that does what the agent of a recording did (`agent-ws record`), run by run, at the same moments, or
        `speed` times as fast; `math.inf`: without a pause. So a provider is asked once, and its answers are there for
        every test.

        It asks what was asked, and takes what was said meanwhile, where that was. A run that was stopped goes as far as
        the recording does, and stands there until it is stopped again. Raises `ValueError` for what is no recording,
        with the line.
        """
        return cls(*scripts(recording.read(path), speed))

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
                case Ask():
                    await turn.ask(step.kind, step.prompt, data=step.data, tool=step.tool)
                case Hear(messages=messages):
                    heard = 0
                    while heard < messages:
                        heard += len(await turn.wait_steered())
                case Report():
                    turn.report(step.usage, step.stop_reason)
                case _:
                    yield step
