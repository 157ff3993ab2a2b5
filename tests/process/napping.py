"""The load's agent, on a server that stands still now and then: the agent blocks its event loop."""

import time
from collections.abc import AsyncGenerator
from itertools import count

from agent_ws import Turn
from agent_ws.load.work import play

NAP_S = 0.8
"""Below the second from which on a server takes nothing new."""
_runs = count(1)


async def agent(turn: Turn) -> AsyncGenerator[str]:
    if next(_runs) % 40 == 0:
        time.sleep(NAP_S)  # noqa: ASYNC251 - that is the point
    async for token in play(turn.message):
        yield token
