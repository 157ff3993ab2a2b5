"""agent_ws as `agent-ws serve` runs it, with everything on: sessions, the log, the feed of the memory store, limits,
receipts. The agent alone is the benchmark's, and what one address may do: all its clients have the same.
"""

import asyncio
import cProfile
import sys
from collections.abc import AsyncGenerator, AsyncIterator

from agent_ws.events import Content, Emitted, Thinking
from agent_ws.load.work import TOKEN, play
from agent_ws.server.serve import make_server
from agent_ws.settings import Limits, Settings
from agent_ws.turn import Turn

LIMITS = Limits(
    address_connections=10_000, frame_rate=1e5, frame_burst=1e5, byte_rate=1e9, byte_burst=1e9, session_burst=1e5
)


def agent(turn: Turn) -> AsyncIterator[str | Emitted]:
    """Plays what the message asks for."""
    match turn.message.split():
        case ["mixed", count]:
            return _mixed(int(count))
        case _:
            return play(turn.message)


async def _mixed(count: int) -> AsyncGenerator[Emitted]:
    """Events that can't be merged."""
    for k in range(count):
        yield Thinking(TOKEN) if k % 2 else Content(TOKEN)


def main(port: int, profile: str = "") -> None:
    """Serve until a signal. `profile`: the file for a profile of all that was done until then."""
    server = make_server(agent, Settings(limits=LIMITS), host="127.0.0.1", port=port)
    profiler = cProfile.Profile()
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        if profile:
            profiler.enable()
        runner.run(server.serve())
        if profile:
            profiler.disable()
            profiler.dump_stats(profile)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
