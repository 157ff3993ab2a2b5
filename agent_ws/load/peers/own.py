"""agent_ws as `agent-ws serve` runs it, everything on, with the load's agent: sessions, the log, the feed of the memory
store, limits, receipts.

The one rule: nothing is left out but what bounds one address, because all users have the same.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator

import msgspec

from ...server.serve import make_server
from ...settings import Limits, Settings
from ...turn import Agent, Turn
from ..work import agent
from .process import leave_with_parent
from .sse import Content, request

LIMITS = Limits(
    address_connections=10_000, frame_rate=1e5, frame_burst=1e5, byte_rate=1e9, byte_burst=1e9, session_burst=1e5
)


def relaying(port: int) -> Agent:
    """An agent that has its tokens from a provider: the event stream of a peer on this machine."""
    decode = msgspec.json.Decoder(Content).decode

    async def relay(turn: Turn) -> AsyncGenerator[str]:
        async with turn.upstream():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request(turn.message))
                async for line in reader:
                    if line.startswith(b'data: {"type":"content"'):
                        yield decode(line[len(b"data: ") :]).data
                    elif line.startswith(b"data: "):
                        return
            finally:
                writer.transport.abort()

    return relay


def main() -> None:
    """Serve until the input ends; the server says where. An argument is the port of a provider."""
    leave_with_parent()
    plays = relaying(int(sys.argv[1])) if len(sys.argv) > 1 else agent
    server = make_server(plays, Settings(limits=LIMITS), host="127.0.0.1", port=0)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())


if __name__ == "__main__":
    main()
