"""agent_ws as `agent-ws serve` runs it, everything on, with the load's agent: sessions, the log, the feed of the memory
store, limits, receipts.

The one rule: nothing is left out but what bounds one address, because all users have the same.
"""

import asyncio

from ...server.serve import make_server
from ...settings import Limits, Settings
from ..work import agent
from .process import leave_with_parent

LIMITS = Limits(
    address_connections=10_000, frame_rate=1e5, frame_burst=1e5, byte_rate=1e9, byte_burst=1e9, session_burst=1e5
)


def main() -> None:
    """Serve until the input ends. The server says where."""
    leave_with_parent()
    server = make_server(agent, Settings(limits=LIMITS), host="127.0.0.1", port=0)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())


if __name__ == "__main__":
    main()
