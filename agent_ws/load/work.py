"""What a server is asked to stream under load, and the agent that does it: `agent-ws serve agent_ws.load.work:agent`.

The one rule: the schedule is absolute. A token that is late doesn't move the ones behind it, so a server that falls
behind is seen to.

    pace RATE COUNT      a timer-driven stream
    burst READY SECONDS  never waits: READY tokens, then the loop may run once, and again
    count N              N tokens, one for each turn of the loop
    once                 one token
    hold                 nothing, until it is interrupted
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from ..events import Emitted
from ..turn import Turn

MARK = "~"
"""In each token once, and nowhere else: a client counts it, however tokens were joined into frames."""
TOKEN = "word~ "  # noqa: S105 - a piece of text


async def play(work: str) -> AsyncGenerator[str]:
    """The tokens of `work`, when they are due. Raises `ValueError` for a work that is none."""
    loop = asyncio.get_running_loop()
    match work.split():
        case ["pace", rate, count]:
            begin, period = loop.time(), 1 / float(rate)
            for k in range(int(count)):
                delay = begin + k * period - loop.time()
                if delay > 0:
                    await asyncio.sleep(delay)
                yield TOKEN
        case ["burst", ready, seconds]:
            end = loop.time() + float(seconds)
            batch = range(int(ready))
            while loop.time() < end:
                for _ in batch:
                    yield TOKEN
                await asyncio.sleep(0)
        case ["count", count]:
            for _ in range(int(count)):
                yield TOKEN
                await asyncio.sleep(0)
        case ["once"]:
            yield TOKEN
        case ["hold"]:
            await asyncio.Event().wait()
        case _:
            raise ValueError(f"expected a work that agent_ws/load/work.py lists, got {work!r}")


def agent(turn: Turn) -> AsyncIterator[str | Emitted]:
    """Plays what the message asks for."""
    return play(turn.message)
