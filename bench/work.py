"""What a server is asked to stream. Every server in Python plays the same generator.

The one rule: the schedule is absolute. A token that is late doesn't move the ones behind it, so a server that falls
behind is seen to.

    pace RATE COUNT      a timer-driven stream
    burst READY SECONDS  never waits: READY tokens, then the loop may run once, and again
    count N              N tokens, one for each turn of the loop
    once                 one token
    hold                 nothing, until it is interrupted
"""

import asyncio
from collections.abc import AsyncGenerator

MARK = "~"
"""In each token once, and nowhere else: a client counts it, however tokens were joined into frames."""
TOKEN = "word~ "
RUN = "0123456789abcdefghijkl"
"""A run's id where a server has none, as long as ours: frames are to be of one size."""


async def play(work: str) -> AsyncGenerator[str]:
    """The tokens of `work`, when they are due."""
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
            raise ValueError(f"expected a work that bench/work.py lists, got {work!r}")
