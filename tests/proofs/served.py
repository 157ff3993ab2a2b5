"""A server process for proofs: `python served.py SETTINGS`, the settings as JSON. It is `agent-ws serve` in all but its
limits, which a proof has no time to wait for.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator

import msgspec

from agent_ws import Settings, Turn
from agent_ws.server.serve import serve


async def agent(turn: Turn) -> AsyncGenerator[str]:
    """`census`: what the process holds. `stream`: tokens without end. `flood`: more than any socket holds. Anything
    else is said again.
    """
    match turn.message:
        case "census":
            descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number is all that is wanted
            yield json.dumps({"tasks": len(asyncio.all_tasks()), "descriptors": descriptors})
        case "stream":
            while True:
                yield "token "
                await asyncio.sleep(0.02)
        case "flood":
            while True:
                yield "x" * 4000
                await asyncio.sleep(0.02)
        case message:
            yield message


if __name__ == "__main__":
    sys.exit(serve(agent, msgspec.json.decode(sys.argv[1], type=Settings), host="127.0.0.1", port=0))
