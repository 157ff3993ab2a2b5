"""A server for a thousand clients of one address, whose answers never end."""

import asyncio
import sys
from collections.abc import AsyncGenerator

from agent_ws import Limits, Settings, Timeouts, Turn
from agent_ws.server.serve import serve


async def agent(_: Turn) -> AsyncGenerator[str]:
    n = 0
    while True:
        n += 1
        yield f"{n} "
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    many = Limits(address_connections=5_000, frame_rate=5_000, frame_burst=5_000, session_burst=5_000)
    settings = Settings(store=sys.argv[1], limits=many, timeouts=Timeouts(drain=0.3, lag=60))
    sys.exit(serve(agent, settings, host="127.0.0.1", port=0))
